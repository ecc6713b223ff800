"""The default landmarker: the mesh first, the fixed template only for aligned crops in which no mesh is found."""

from __future__ import annotations

import numpy as np

from maskbench.landmarks.aligned import AlignedLandmarker
from maskbench.landmarks.mediapipe import MediapipeLandmarker
from maskbench.types import Landmarks


class AutoLandmarker:
    """``mediapipe``, then ``aligned`` for 112x112 crops; each face names the one that found it."""

    def __init__(self, thorough: bool = False) -> None:
        self._mesh = MediapipeLandmarker(thorough)
        self._template = AlignedLandmarker()
        self.name = f"auto({self._mesh.name},{self._template.name})"

    def detect(self, image: np.ndarray) -> list[Landmarks]:
        """Faces by the mesh, else by the template when the image is an aligned crop, else none."""
        return self._mesh.detect(image) or self._template.detect(image)
