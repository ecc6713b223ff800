"""A fixed template for face crops that are already aligned, ArcFace style, 112x112 pixels."""

from __future__ import annotations

import numpy as np

from maskbench.align import TEMPLATES, estimate_similarity
from maskbench.landmarks.base import five_point_rows, mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.types import Landmarks

CROP_SIZE = 112


def is_aligned_crop(image: np.ndarray) -> bool:
    """Whether an (H, W, 3) image has the size of an ArcFace-style aligned crop, 112x112 exactly."""
    return image.shape[:2] == (CROP_SIZE, CROP_SIZE)


def template_mesh() -> np.ndarray:
    """The canonical face laid on the five ArcFace points: (468, 3) float32 in pixels of a 112x112 crop."""
    canonical = canonical_face()
    matrix = estimate_similarity(five_point_rows(canonical)[:, :2], TEMPLATES["arcface112"].points)
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    xy = canonical[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([xy, canonical[:, 2] * scale]).astype(np.float32)


class AlignedLandmarker:
    """Gives every 112x112 image the same landmarks, and no face to images of another size."""

    name = "aligned-arcface112"

    def __init__(self, thorough: bool = False) -> None:
        del thorough  # a crop shows one face
        self._face = mesh_landmarks(template_mesh(), self.name)

    def detect(self, image: np.ndarray) -> list[Landmarks]:
        """The template, once, for a 112x112 image; otherwise nothing."""
        return [self._face] if is_aligned_crop(image) else []
