"""A stack of training faces, and the ones among them that look like what is seen of a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.completions.mean_face import mean_of
from maskbench.pixels import LUMA

# Rows and columns of the pictures that faces are compared by: luminance, and each of the two colour differences.
LUMA_SIDE, CHROMA_SIDE = 32, 16
LEVELS = 63  # of a compared value
_TO_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])  # Cb, Cr of JPEG, around 0
_FROM_CHROMA = np.array([[0.0, 1.402], [-0.344136, -0.714136], [1.772, 0.0]])


@dataclass(frozen=True, eq=False)
class Stack:
    """Training faces to choose exemplars from.

    Attributes:
        faces: (N, H, W, 3) uint8.
        features: (M, F) float32 of whole numbers 0 to 63, M = N, or 2 N with the mirror images after the faces.
        unseen: (H, W, 3) uint8, the mean face.
    """

    faces: np.ndarray
    features: np.ndarray
    squares: np.ndarray
    unseen: np.ndarray

    def nearest(self, face: np.ndarray, hole: np.ndarray, count: int, grey: bool) -> np.ndarray:
        """Numbers of the ``count`` faces with the least squared difference on the known pixels, nearest first.

        All sums are whole numbers below 2^24, which float32 holds exactly: no rounding decides. Of equals the first
        comes first. A grey face is compared by luminance alone.
        """
        values, known = reduced(face, hole, LUMA_SIDE)
        weights = known.astype(np.float32)
        if grey:
            weights[LUMA_SIDE**2 :] = 0
        distances = self.squares @ weights - 2 * (self.features @ (weights * _quantised(values[None])[0]))
        return np.argsort(distances, kind="stable")[:count]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """The faces (K, H, W, 3) uint8 with these numbers."""
        chosen = self.faces[numbers % len(self.faces)]
        turned = numbers >= len(self.faces)
        chosen[turned] = chosen[turned, :, ::-1]
        return chosen


def make_stack(faces: np.ndarray, keep: int, mirror: bool) -> Stack:
    """The stack of at most ``keep`` of the faces, evenly spaced in their order; the mean face is that of all."""
    kept = faces if len(faces) <= keep else faces[np.arange(keep) * len(faces) // keep]
    pictures = (kept, kept[:, :, ::-1]) if mirror else (kept,)
    features = np.concatenate([_quantised(reduced_all(part, LUMA_SIDE)) for part in pictures])
    return Stack(np.array(kept), features, features**2, mean_of(faces)[1])


def _quantised(values: np.ndarray) -> np.ndarray:
    """Reduced faces (N, F) as whole numbers 0 to 63: luminance in steps of 4, colour differences of 2 (from -64)."""
    split = LUMA_SIDE**2
    levels = np.concatenate([values[:, :split] / 4, values[:, split:] / 2 + 32], axis=1)
    return np.clip(np.floor(levels + 1e-6), 0, LEVELS).astype(np.float32)


def seen_means(face: np.ndarray, hole: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Block means (side * side, 3) of a face's known pixels, and which blocks count.

    A block counts when at least half of its pixels are known: (side * side,) bool. The others are 0.
    """
    share = block_means((~hole)[None, ..., None].astype(np.float64), side)[0]
    sums = block_means(np.where(hole[..., None], np.uint8(0), face)[None], side)[0]
    seen = share[:, 0] >= 0.5
    return np.where(seen[:, None], sums / np.where(share > 0, share, 1), 0.0), seen


def reduced(face: np.ndarray, hole: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A face as ``reduced_all`` has it, from its known pixels: values (F,) float64, and which count (F,) bool."""
    (fine, fine_seen), (coarse, coarse_seen) = (seen_means(face, hole, n) for n in (side, side // 2))
    values = np.concatenate([fine @ LUMA, coarse @ _TO_CHROMA[0], coarse @ _TO_CHROMA[1]])
    return values, np.concatenate([fine_seen, coarse_seen, coarse_seen])


def reduced_all(faces: np.ndarray, side: int) -> np.ndarray:
    """Faces (N, H, W, 3) as (N, F): block means of luminance on side x side, of both chromas on half of that."""
    parts = []
    for start in range(0, len(faces), 256):
        small = block_means(faces[start : start + 256], side)
        half = block_means(small.reshape(len(small), side, side, 3), side // 2)
        parts.append(np.concatenate([small @ LUMA, half @ _TO_CHROMA[0], half @ _TO_CHROMA[1]], axis=1))
    return np.concatenate(parts)


def block_means(pictures: np.ndarray, side: int) -> np.ndarray:
    """Block means of (N, H, W, C) as (N, side * side, C) float64; H and W are multiples of ``side``."""
    count, height, width, channels = pictures.shape
    high, wide = height // side, width // side
    exact = np.uint32 if pictures.dtype == np.uint8 else np.float64
    rows = pictures.reshape(count, side, high, width * channels).sum(axis=2, dtype=exact)
    sums = rows.reshape(count, side * side, wide, channels).sum(axis=2)
    return sums / (high * wide)


def enlarged(values: np.ndarray, side: int, size: tuple[int, int]) -> np.ndarray:
    """A reduced face (F,) as RGB (H, W, 3) float64, by cubic interpolation."""
    import cv2

    luma, half = side**2, side // 2
    planes = [values[:luma].reshape(side, side), *values[luma:].reshape(2, half, half)]
    y, *chroma = (cv2.resize(plane, size[::-1], interpolation=cv2.INTER_CUBIC) for plane in planes)
    return y[..., None] + np.stack(chroma, axis=-1) @ _FROM_CHROMA.T
