"""Folders made by make.py, and figures over masks; shared by training and measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.files import read_json

LEAST = 100  # pixels of a target below which an overlap is not a figure of its own
NOTICED = 0.01  # share of a bare picture's pixels from which a mask was seen where there is none


@dataclass(frozen=True)
class Folder:
    """One folder of rendered rows; arrays are read from disk as they are used."""

    faces: np.ndarray
    alpha: np.ndarray
    done: np.ndarray

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Raises MaskbenchError if make.py has not been there."""
        try:
            return cls(*(np.load(path / f"{name}.npy", mmap_mode="r") for name in ("faces", "alpha", "done")))
        except OSError as error:
            raise MaskbenchError(f"{path}: no rendered rows ({error}); run make.py first") from error

    def rows(self) -> np.ndarray:
        """Numbers of the rows that are finished."""
        return np.flatnonzero(np.asarray(self.done) == 1)


def described(path: Path, rows: np.ndarray) -> list[dict]:
    """What rows.json says of these rows."""
    every = read_json(path / "rows.json")
    return [every[row] for row in rows]


def blocks(folder: Folder, rows: np.ndarray, size: int = 64) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Faces (n, 128, 128, 3) uint8 and targets (n, 128, 128) bool, ``size`` rows at a time."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield folder.faces[part], folder.alpha[part] >= 128


def overlaps(
    folder: Folder, rows: np.ndarray, probability: Callable[[np.ndarray], np.ndarray], thresholds: np.ndarray
) -> np.ndarray:
    """Pixels in both, in the prediction and in the target, for each threshold and row: (3, T, N) int64."""
    parts = []
    for faces, target in blocks(folder, rows):
        found = probability(faces)[None] >= thresholds[:, None, None, None]
        both = (found & target).sum((2, 3))
        parts.append(np.stack([both, found.sum((2, 3)), np.broadcast_to(target.sum((1, 2)), both.shape)]))
    return np.concatenate(parts, axis=2).astype(np.int64)


def figures(both: np.ndarray, found: np.ndarray, target: np.ndarray) -> dict[str, float | int]:
    """Intersection over union from pixel counts (N,): the mean over pictures whose target is not tiny, and pooled."""
    union = found + target - both
    large = target >= LEAST
    return {
        "pictures": int(large.sum()),
        "mean_iou": round(float((both[large] / union[large]).mean()), 4) if large.any() else float("nan"),
        "pooled_iou": round(float(both.sum() / max(1, union.sum())), 4),
    }
