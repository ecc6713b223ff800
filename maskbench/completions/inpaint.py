"""Inpainting without any knowledge of faces: two methods of OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maskbench.completions.base import CompletionSpec, completion_digest
from maskbench.completions.facewise import Facewise
from maskbench.completions.settings import as_mapping, make_settings, number, whole

_FLAGS = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}
MID_GREY = 128


@dataclass(frozen=True)
class InpaintSettings:
    """radius: of the neighbourhood of a pixel that is looked at, in pixels. guard: see docs/completions.md."""

    radius: float = number(3.0, 1.0, 64.0)
    guard: int = whole(0, 0, 16)


@dataclass(frozen=True, eq=False)
class InpaintFill:
    """A ``Fill`` by cv2.inpaint."""

    flag: int
    radius: float
    unseen: np.ndarray

    def __call__(self, face: np.ndarray, hole: np.ndarray, grey: bool) -> np.ndarray:
        """See ``Fill``."""
        return cv2.inpaint(face, hole.astype(np.uint8), self.radius, self.flag)


def _inpaint(name: str, settings: dict[str, object]) -> Facewise:
    options = make_settings(InpaintSettings, name, settings)
    spec = CompletionSpec(name, needs_fit=False, settings=as_mapping(options))
    unseen = np.full((*spec.input_size, 3), MID_GREY, np.uint8)
    return Facewise(
        spec, completion_digest(spec), InpaintFill(_FLAGS[name], options.radius, unseen), guard=options.guard
    )


def telea(device: str = "auto", **settings: object) -> Facewise:
    """The completion "telea": A. Telea, "An Image Inpainting Technique Based on the Fast Marching Method", 2004."""
    return _inpaint("telea", settings)


def navier_stokes(device: str = "auto", **settings: object) -> Facewise:
    """The completion "navier-stokes": Bertalmio, Bertozzi and Sapiro, CVPR 2001."""
    return _inpaint("navier-stokes", settings)
