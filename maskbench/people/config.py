"""What people and pictures to make: the options of a run, where they are written down, and the names of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from maskbench._version import __version__
from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.tables import read_text

CONFIG = "people.json"
FORMATS = ("jpg", "webp", "png")
MOST_SHOTS, MOST_PEOPLE, LARGEST_IDENTITY = 9999, 10**7, 10**9 - 1
SIZES = (64, 512)

Shot = tuple[int, int]  # identity and number of the picture, from 1


@dataclass(frozen=True)
class PeopleConfig:
    """What people and pictures to make; the bytes follow from it, the model and the versions.

    Attributes:
        identities: the numbers of the people, each from 0 to ``LARGEST_IDENTITY``.
        pictures: of each person.
        size: of a side, in pixels.
        format: "jpg" and "webp" are compressed with the quality that the sampled camera uses, "png" without loss.
        quality: 1 to 100 for every picture, instead of the camera's; not for "png".
    """

    identities: tuple[int, ...]
    pictures: int
    size: int = 160
    seed: int = 0
    format: str = "jpg"
    quality: int | None = None

    def shots(self) -> list[Shot]:
        """Every picture, one person after the other."""
        return [(number, shot) for number in sorted(self.identities) for shot in range(1, self.pictures + 1)]


def picture_path(number: int, shot: int, form: str = "jpg") -> str:
    """Where a picture lies below its folder: "P00012/P00012_0003.jpg"."""
    return f"P{number:05d}/P{number:05d}_{shot:04d}.{form}"


def describe_config(config: PeopleConfig) -> dict[str, Any]:
    """The options, the model's digest and the versions that decide the pixels, JSON-like: what people.json holds."""
    from maskbench.people.portraits import Portraits

    numbers = sorted(config.identities)
    return {
        "maskbench": __version__,
        "versions": _versions(),
        "model_sha256": Portraits(config.seed, config.size).model_digest,
        "seed": config.seed,
        "size": config.size,
        "format": config.format,
        "quality": config.quality,
        "pictures": config.pictures,
        "identities": len(numbers),
        "first_identity": numbers[0],
        "identities_sha256": config_sha256(numbers),
    }


def _versions() -> dict[str, str]:
    """What the libraries say of themselves: OpenCV's wheels have several names, and none may be left out."""
    modules = {"llvmlite": "llvmlite", "numba": "numba", "numpy": "numpy", "opencv": "cv2", "scipy": "scipy"}
    return {name: import_module(module).__version__ for name, module in modules.items()}


def check_config(config: PeopleConfig) -> None:
    """Raise MaskbenchError for an option that cannot be."""
    numbers = config.identities
    if not numbers or len(set(numbers)) != len(numbers):
        raise MaskbenchError("identities: give at least one number, and each once")
    for name, value, least, most in (
        ("identities", len(numbers), 1, MOST_PEOPLE),
        ("identity", min(numbers), 0, LARGEST_IDENTITY), ("identity", max(numbers), 0, LARGEST_IDENTITY),
        ("pictures", config.pictures, 1, MOST_SHOTS), ("size", config.size, *SIZES),
        ("quality", 100 if config.quality is None else config.quality, 1, 100), ("seed", config.seed, 0, 2**31 - 1),
    ):  # fmt: skip
        if not least <= value <= most:
            raise MaskbenchError(f"{name} {value}: give a whole number from {least} to {most}")
    if config.format not in FORMATS:
        raise MaskbenchError(f'no format "{config.format}"; {nearest(config.format, FORMATS)}')
    if config.format == "png" and config.quality is not None:
        raise MaskbenchError(f"quality {config.quality}: a png is without loss and has none; leave the quality away")


def consecutive(first: int, count: int) -> tuple[int, ...]:
    """The numbers of ``count`` people from ``first`` on. Raises MaskbenchError before it makes any that cannot be."""
    if first < 0 or not 1 <= count <= MOST_PEOPLE or first + count - 1 > LARGEST_IDENTITY:
        wanted = f"{count} people from {first} on"
        raise MaskbenchError(f"{wanted}: give 1 to {MOST_PEOPLE}, with numbers from 0 to {LARGEST_IDENTITY}")
    return tuple(range(first, first + count))


def read_numbers(path: Path) -> tuple[int, ...]:
    """Identity numbers from a text file, one a line; empty lines and what follows a # are passed over.

    Raises:
        MaskbenchError: "FILE:LINE: ..." for anything else, a number twice, or no number at all.
    """
    found: dict[int, int] = {}
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        text = text.partition("#")[0].strip()
        if not text:
            continue
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise MaskbenchError(f"{path}:{line}: {text[:40]!r} is no identity number; write one a line")
        if found.setdefault(int(text), line) != line:
            raise MaskbenchError(f"{path}:{line}: {text} stands in line {found[int(text)]} already; remove one")
    if not found:
        raise MaskbenchError(f"{path}: no identity number in it; write one a line")
    return tuple(found)
