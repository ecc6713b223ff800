"""Face shapes without pose: many detections of 468 points laid over one another."""

from __future__ import annotations

import numpy as np

ROUNDS = 4


def aligned(points: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shapes (N, 468, 3) turned, scaled and moved onto ``mean`` (468, 3) in least squares (Umeyama 1991).

    Returns:
        The shapes (N, 468, 3), the rotations (N, 3, 3) that carry the mean's axes to the picture's, the scales (N,).
    """
    centred = points - points.mean(1, keepdims=True)
    target = mean - mean.mean(0)
    left, size, right = np.linalg.svd(np.einsum("nkc,kd->ncd", centred, target))
    sign = np.sign(np.linalg.det(left @ right))
    left[:, :, 2] *= sign[:, None]
    rotation = left @ right  # picture from mean
    size[:, 2] *= sign
    scale = (centred**2).sum((1, 2)) / size.sum(1)  # picture units per mean unit
    turned = np.einsum("nkc,ncd->nkd", centred, rotation) / scale[:, None, None]
    return turned + mean.mean(0), rotation, scale


def generalised(points: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean shape and aligned shapes, rotations, scales; the mean keeps the pose and the size of ``first``."""
    mean = first
    for _ in range(ROUNDS):
        shapes, rotation, scale = aligned(points, mean)
        mean = aligned(np.median(shapes, 0)[None], first)[0][0]
    return mean, shapes, rotation, scale


def angles(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll in degrees (N, 3): yaw > 0 to the viewer's right, pitch > 0 up, roll > 0 clockwise.

    The convention is that of ``maskbench.people.rendering.rotation``: roll after yaw after pitch.
    """
    yaw = np.degrees(np.arcsin(np.clip(rotation[:, 2, 0], -1, 1)))
    pitch = np.degrees(np.arctan2(-rotation[:, 2, 1], rotation[:, 2, 2]))
    roll = np.degrees(np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]))
    return np.column_stack([yaw, pitch, roll])
