"""Eyes: sclera, iris, pupil and the light that they mirror, painted on the atlas where the lids are open.

A mean of many photographs blurs the irises, whose places differ: so they are drawn, at their measured place and size.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from maskbench.people import kernels
from maskbench.people.atlas import COLUMNS, ROWS
from maskbench.people.model import FaceModel

LIDS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
CORNERS = ((33, 133), (263, 362))  # outer, inner
# Medians over 2,000 photographs of 188 people, MediaPipe's irises: from the middle between the corners; the radius.
IRIS_AT, IRIS = ((-0.017, -0.028), (0.017, -0.028)), 0.094
SCLERA = np.array([222.0, 214.0, 210.0], np.float32)
GLINT = np.array([250.0, 250.0, 248.0], np.float32)


@lru_cache(maxsize=2)
def _texels(model: FaceModel) -> tuple[tuple[np.ndarray, ...], ...]:
    """For each eye: rows and columns (E, 2), triangles' corners (E, 3), their weights (E, 3), texels inside (E,)."""
    found = []
    for lids in LIDS:
        inside = np.flatnonzero(np.isin(model.triangles, lids).all(1))
        opened = np.zeros((ROWS, COLUMNS), np.uint8)
        cells, corners, weights = [], [], []
        for number in inside:
            a, b, c = model.corners[number].astype(np.float64)
            y, x = np.mgrid[int(min(a[1], b[1], c[1])) : int(max(a[1], b[1], c[1])) + 2,
                            int(min(a[0], b[0], c[0])) : int(max(a[0], b[0], c[0])) + 2]  # fmt: skip
            area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
            if abs(area) < 1e-9:
                continue
            p = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
            q = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
            hit = (p >= 0) & (q >= 0) & (p + q <= 1) & (opened[y, x] == 0)
            opened[y[hit], x[hit]] = 1
            cells += list(zip(y[hit], x[hit], strict=True))
            weights += list(np.stack([1 - p - q, p, q], -1)[hit])
            corners += [model.triangles[number]] * int(hit.sum())
        row, column = np.array(cells).T
        depth = cv2.distanceTransform(opened, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[row, column]
        found.append((np.array(cells), np.array(corners), np.array(weights, np.float32), depth.astype(np.float32)))
    return tuple(found)


def paint_eyes(
    atlas: np.ndarray, model: FaceModel, points: np.ndarray, gaze: tuple[float, float], iris: np.ndarray, bright: float
) -> None:
    """Paint both eyes into an atlas (ROWS, COLUMNS, 3), in place.

    Args:
        points: (V, 3) of the head, not turned.
        gaze: inter-ocular distances that both irises are off their mean place, right and down.
        iris: (3,) sRGB 0..255.
        bright: the sclera's brightness, 1 as in a well lit photograph.
    """
    for (cells, corners, weights, depth), ends, at in zip(_texels(model), CORNERS, IRIS_AT, strict=True):
        place = (weights[..., None] * points[corners]).sum(1)
        middle = points[list(ends)].mean(0)
        off = place[:, :2] - middle[:2] - np.array(at) - np.array(gaze)
        kernels.paint_eye(atlas, cells, off, depth, iris, SCLERA, GLINT, bright, IRIS)
