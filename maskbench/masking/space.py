"""From the canonical head to a face in a picture: one linear operator on a few landmarks.

A mask is drawn once, in the frame of the canonical face. A biharmonic spline (kernel r in three dimensions, plus an
affine part) carries any point of that frame to the picture. It interpolates the control landmarks, follows yaw, pitch
and the jaw continuously, and turns into an affine map away from the face, where ear loops and straps run. The spline is
linear in the control landmarks, so a mask costs one small matrix product per face.

Source: Carr et al., "Reconstruction and Representation of 3D Objects with Radial Basis Functions", SIGGRAPH 2001,
equations 5 to 9.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.kernels import compiled

# Mesh points that a mask hangs on: jaw and cheek outline, nose, cheeks, eyes, forehead. The lips are left out, since
# cloth bridges them; the chin is in, since an opening jaw pulls the mask down.
CONTROL = (
    234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454,
    168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 49, 279,
    50, 280, 117, 346, 205, 425, 123, 352, 187, 411, 36, 266, 214, 434, 199, 175,
    33, 133, 362, 263, 127, 356, 54, 284, 10,
)  # fmt: skip
_CONTROL = np.array(CONTROL)
EYE_ROWS = np.array([CONTROL.index(index) for index in (33, 133, 362, 263)])  # outer, inner, inner, outer corners
AXIS_ROWS = np.array([CONTROL.index(index) for index in (33, 263, 152, 168)])  # outer corners, chin, between the brows
SMOOTHING = 0.02  # in inter-ocular distances: single landmarks jitter by about this much


@lru_cache(maxsize=1)
def control_canonical() -> np.ndarray:
    """The control points on the canonical face, (K, 3) float64."""
    return canonical_face()[list(CONTROL)]


def control_points(points: np.ndarray) -> np.ndarray:
    """The control points of a (468, 3) mesh in pixels, as (K, 3) float64."""
    return np.asarray(points)[_CONTROL].astype(np.float64)


def operator(nodes: np.ndarray) -> np.ndarray:
    """The matrix A of shape (G, K) that carries canonical points to a face: ``A @ control_points``.

    Args:
        nodes: (G, 3) points in the canonical frame. Each row of A sums to one.
    """
    return np.hstack([_distances(nodes, control_canonical()), _affine(nodes)]) @ _inverse()


@lru_cache(maxsize=1)
def _inverse() -> np.ndarray:
    """The columns of the spline's inverse system matrix that belong to the control points: (K + 4, K)."""
    centres = control_canonical()
    count = len(centres)
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = _distances(centres, centres) - SMOOTHING * np.eye(count)
    system[:count, count:] = _affine(centres)
    system[count:, :count] = _affine(centres).T
    return np.linalg.inv(system)[:, :count]


@compiled
def scale_of(control):  # noqa: ANN001, ANN201 - numba infers the types
    """Pixels per canonical unit: the distance between the eye centres of (K, 3) control points, a float."""
    total = 0.0
    for axis in range(control.shape[1]):
        left = control[EYE_ROWS[0], axis] + control[EYE_ROWS[1], axis]
        total += ((control[EYE_ROWS[2], axis] + control[EYE_ROWS[3], axis] - left) / 2) ** 2
    return np.sqrt(total)


@compiled
def face_axes(control):  # noqa: ANN001, ANN201
    """Unit vectors of a face with (K, 3) control points in the picture, (3, 3) float64: to its right side as seen, down
    to the chin, and away from the camera."""
    axes = np.empty((3, 3))
    across, down, away = axes[0], axes[1], axes[2]
    along = 0.0
    for axis in range(3):
        across[axis] = control[AXIS_ROWS[1], axis] - control[AXIS_ROWS[0], axis]
        down[axis] = control[AXIS_ROWS[2], axis] - control[AXIS_ROWS[3], axis]
    _normalise(across)
    for axis in range(3):
        along += down[axis] * across[axis]
    for axis in range(3):
        down[axis] -= along * across[axis]
    _normalise(down)
    for axis in range(3):
        away[axis] = across[axis - 2] * down[axis - 1] - across[axis - 1] * down[axis - 2]
    return axes


@compiled
def _normalise(vector):  # noqa: ANN001
    vector /= max(np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2), 1e-9)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))


def _affine(points: np.ndarray) -> np.ndarray:
    return np.hstack([np.ones((len(points), 1)), points])
