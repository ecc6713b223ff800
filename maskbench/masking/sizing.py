"""How large a mask must be to cover a wanted share of the face.

A mask is rendered in several sizes on the canonical face in several poses, what it covers is measured as
``faces.covered_fraction`` does on photographs, and the measured curve is inverted.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.types import MaskAsset

SIZES = (0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.2, 1.45, 1.75)
# Yaw and pitch in degrees: a face that looks at the camera, and the turns of a casual photograph.
POSES = ((0, 0), (-20, 6), (20, -6))
# How far people in photographs open their mouths on average, talking and smiling, in inter-ocular distances: measured
# on photographs of celebrities (CelebA), while the canonical face keeps its mouth shut.
OPEN_MOUTH = 0.11
INTER_OCULAR = 48.0  # pixels, of the faces that are measured
SIDE = 260
SIZE_STEP = 0.01


@lru_cache(maxsize=1024)
def size_for_fraction(asset: MaskAsset, fraction: float, style: str = "correct") -> float:
    """The size at which ``asset`` covers ``fraction`` of the face oval on average, in steps of 0.01.

    Raises:
        MaskbenchError: no size between the first and the last of ``SIZES`` does.
    """
    # The first of the sizes that covers enough; few of them are measured on the way.
    above = bisect_left(SIZES, fraction, key=lambda size: coverage(asset, style, size))
    around = SIZES[max(above - 1, 0) : above + 1]
    covered = [coverage(asset, style, size) for size in around]
    if not covered[0] <= fraction <= covered[-1]:
        least, most = (coverage(asset, style, size) for size in (SIZES[0], SIZES[-1]))
        raise MaskbenchError(
            f"mask {asset.asset_id} cannot cover {fraction:g} of the face, worn {style}: it covers {least:.2f} to "
            f"{most:.2f} in the sizes {SIZES[0]:g} to {SIZES[-1]:g}; choose another fraction, or leave the mask out"
        )
    size = float(np.interp(fraction, covered, around))
    return round(round(size / SIZE_STEP) * SIZE_STEP, 2)


@lru_cache(maxsize=4096)
def coverage(asset: MaskAsset, style: str, size: float) -> float:
    """The share of the face oval that a mask of a size covers, the mean over ``POSES``; more for a larger size."""
    from maskbench.masking.faces import covered_fraction
    from maskbench.masking.placement import still
    from maskbench.masking.render import render

    grey, colour = np.full((SIDE, SIDE, 3), 128, np.uint8), min(asset.colourways)
    faces = [posed_face(*pose) for pose in POSES]
    alphas = [render(grey, asset, still(points, asset, colour, style, size)).alpha for points in faces]
    return float(np.mean([covered_fraction(alpha, points) for alpha, points in zip(alphas, faces, strict=True)]))


def posed_face(yaw: float, pitch: float) -> np.ndarray:
    """The canonical face with its mouth a little open, turned by angles in degrees: (468, 3) in pixels of a square of
    ``SIDE``."""
    from maskbench.landmarks.canonical import canonical_face

    a, b = np.deg2rad([yaw, pitch])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    face = canonical_face()
    # The jaw falls, most at the chin and not at all at the ears.
    fall = np.clip((face[:, 1] - 0.95) / 0.4, 0, 1) * np.clip(1 - (face[:, 0] / 1.15) ** 2, 0, 1)
    opened = face + OPEN_MOUTH * fall[:, None] * [0, 1, 0]
    points = (opened - [0, 0.45, 0.4]) @ (nod @ turn).T
    return points * INTER_OCULAR + [SIDE / 2, SIDE / 2, 0]
