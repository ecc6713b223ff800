"""Made-up faces: smooth pictures of few degrees of freedom, so that one can be guessed from a part of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

SIZE = 128


def smooth(rng: np.random.Generator, cells: int = 6) -> np.ndarray:
    """A smooth random picture, (128, 128, 3) float, about 0."""
    small = rng.normal(size=(cells, cells, 3)).astype(np.float32)
    return cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def make_faces(count: int, seed: int = 0, degrees: int = 4) -> np.ndarray:
    """(count, 128, 128, 3) uint8: one base picture plus random shares of ``degrees`` others, the same for any seed."""
    shape = np.random.default_rng(99)
    base, parts = 128 + 25 * smooth(shape), [12 * smooth(shape) for _ in range(degrees)]
    shares = np.random.default_rng(seed).normal(size=(count, degrees))
    faces = np.stack([base + sum(s * part for s, part in zip(row, parts, strict=True)) for row in shares])
    return np.clip(np.rint(faces), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def training() -> np.ndarray:
    """60 training faces."""
    faces = make_faces(60, seed=1)
    faces.setflags(write=False)
    return faces


@pytest.fixture(scope="session")
def probes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four faces with red holes, masks and originals: a lower half, a band, one at the corner, none."""
    originals = make_faces(4, seed=2)
    masks = np.zeros(originals.shape[:3], np.uint8)
    masks[0, 70:, 20:110] = masks[1, 40:62, 10:118] = masks[2, :40, :40] = 1
    faces = originals.copy()
    faces[masks == 1] = (255, 0, 0)
    for array in (originals, masks, faces):
        array.setflags(write=False)
    return faces, masks, originals
