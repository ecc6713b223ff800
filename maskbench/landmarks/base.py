"""What a landmarker is, the registry of landmarkers, and the named points of the 468-point face mesh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from maskbench.registry import Registry
from maskbench.types import Landmarks

MESH_POINTS = 468

# Indices into the MediaPipe face mesh. "left" is the left of the picture (the subject's right side).
LEFT_EYE = (33, 133, 159, 145)
RIGHT_EYE = (263, 362, 386, 374)
NOSE_TIP = 1
LEFT_MOUTH, RIGHT_MOUTH = 61, 291
# The mean of each group is one of the five alignment points; an eye is the mean of both corners and both lids.
FIVE_POINTS: tuple[tuple[int, ...], ...] = (LEFT_EYE, RIGHT_EYE, (NOSE_TIP,), (LEFT_MOUTH,), (RIGHT_MOUTH,))
_EYES = np.array([*LEFT_EYE, *RIGHT_EYE])
_EYE_WEIGHTS = np.repeat([-1 / len(LEFT_EYE), 1 / len(RIGHT_EYE)], [len(LEFT_EYE), len(RIGHT_EYE)])  # centre to centre
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip


class Landmarker(Protocol):
    """Finds faces in one image; cheap to hold, created once per worker process."""

    name: str

    def detect(self, image: np.ndarray) -> list[Landmarks]:
        """Faces in an (H, W, 3) uint8 RGB image, largest first; empty when there is none."""
        ...


LANDMARKERS: Registry = Registry(
    "landmarker",
    "maskbench.landmarks",
    {
        "auto": "maskbench.landmarks.auto:AutoLandmarker",
        "mediapipe": "maskbench.landmarks.mediapipe:MediapipeLandmarker",
        "aligned": "maskbench.landmarks.aligned:AlignedLandmarker",
    },
)


def mesh_landmarks(points: np.ndarray, detector: str) -> Landmarks:
    """Wrap (468, 3) pixel coordinates as Landmarks."""
    return Landmarks(np.ascontiguousarray(points, np.float32), "mesh468", math.nan, detector)


def five_point_rows(points: np.ndarray, groups: Sequence[Sequence[int]] = FIVE_POINTS) -> np.ndarray:
    """Left eye, right eye, nose tip, left and right mouth corner of a (468, D) mesh as (5, D).

    Args:
        groups: for other schemes than the mesh, the rows of ``points`` whose mean is each of the five.
    """
    return np.stack([points[list(group)].mean(0) for group in groups])


def inter_ocular_distance(points: np.ndarray) -> float:
    """Distance in pixels between the eye centres of a (468, 2 or 3) mesh; in 3D it does not shrink with yaw."""
    return math.hypot(*(_EYE_WEIGHTS @ points.take(_EYES, 0)).tolist())


def box_area(face: Landmarks) -> float:
    """Area in square pixels of a face's box."""
    x0, y0, x1, y1 = (float(v) for v in face.box)
    return max(0.0, x1 - x0) * max(0.0, y1 - y0)
