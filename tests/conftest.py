"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real data that MASKBENCH_DATA names. On CI its absence is a failure, elsewhere the test is skipped."""
    value = os.environ.get("MASKBENCH_DATA")
    if value and Path(value).is_dir():
        return Path(value)
    _absent(f"MASKBENCH_DATA is {value!r}, not a folder with the real data")


@pytest.fixture(scope="session")
def installed_ray() -> ModuleType:
    """The module ray. On CI its absence is a failure, elsewhere the test is skipped."""
    try:
        import ray
    except ImportError as error:
        _absent(f"ray cannot be imported ({error}); install maskbench[ray]")
    return ray


def _absent(message: str) -> NoReturn:
    """What a test needs is not there."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory):
    """Tests neither read nor fill the user's cache; within one session they share theirs."""
    before = os.environ.get("MASKBENCH_CACHE")
    os.environ["MASKBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    yield
    if before is None:
        del os.environ["MASKBENCH_CACHE"]
    else:
        os.environ["MASKBENCH_CACHE"] = before


def crop(seed: int, side: int = 112) -> np.ndarray:
    """A smooth random picture, (side, side, 3) uint8: no face, but as good as one for the fixed template."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(40, 220, (7, 7, 3)).astype(np.float32)
    return np.clip(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.fixture
def make_crop():
    """The function ``crop(seed, side)``."""
    return crop


@pytest.fixture
def crop_folder(tmp_path: Path):
    """A function that writes ``count`` 112x112 pictures as subject folders of two, and returns the folder."""
    from maskbench.images import write_image

    def write(count: int, name: str = "faces") -> Path:
        root = tmp_path / name
        for number in range(count):
            subject = f"Subject_{number // 2:03d}"
            # Pictures of one subject differ by a little noise only, so that a recognizer can tell subjects apart.
            base = crop(number // 2).astype(np.int16)
            noisy = base + np.random.default_rng(1000 + number).integers(-12, 13, base.shape)
            picture = np.clip(noisy, 0, 255).astype(np.uint8)
            write_image(root / subject / f"{subject}_{number % 2 + 1:04d}.png", picture)
        return root

    return write


@pytest.fixture(scope="session")
def mannequin() -> np.ndarray:
    """A rendered head looking at the camera, (512, 512, 3) uint8 RGB."""
    from maskbench.images import read_image
    from maskbench.masking.preview import mannequins

    return read_image(mannequins()[0])
