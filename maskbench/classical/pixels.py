"""Aligned faces to the grey pictures that the classical methods start from."""

from __future__ import annotations

import cv2
import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.pixels import LUMA

LIGHTS = ("none", "standard", "equalise")
_FLAT = 1e-3  # standard deviation in grey levels below which a picture shows nothing


def check_faces(faces: np.ndarray, size: tuple[int, int] | None = None) -> None:
    """Refuse what is not a stack of pictures, or not of ``size`` (height, width).

    Raises:
        MaskbenchError: not (N, H, W, 3) RGB or (N, H, W) grey, not uint8, or of another size.
    """
    shape, right = faces.shape, faces.dtype == np.uint8
    right = right and (faces.ndim == 3 or (faces.ndim == 4 and shape[3] == 3)) and 0 not in shape[1:]
    if not right or (size is not None and shape[1:3] != tuple(size)):
        wanted = "H, W" if size is None else f"{size[0]}, {size[1]}"
        raise MaskbenchError(f"faces {shape} {faces.dtype}; give (N, {wanted}, 3) RGB or (N, {wanted}) grey, uint8")


def grey(face: np.ndarray) -> np.ndarray:
    """The luminance of one picture, (H, W, 3) RGB or (H, W) grey, uint8: (H, W) float64, 0 to 255 (Rec. 601)."""
    if face.ndim == 2:
        return face.astype(np.float64)
    return face[..., 0] * LUMA[0] + face[..., 1] * LUMA[1] + face[..., 2] * LUMA[2]


def reduced(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture averaged over areas down to ``size`` (height, width); the same values where it has that size already.

    Raises:
        MaskbenchError: ``size`` is larger than the picture.
    """
    if picture.shape == tuple(size):
        return picture
    if size[0] > picture.shape[0] or size[1] > picture.shape[1]:
        raise MaskbenchError(f"pictures {picture.shape} cannot be reduced to {tuple(size)}; choose a smaller size")
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def prepared(face: np.ndarray, size: tuple[int, int], light: str) -> np.ndarray:
    """One picture as the methods see it.

    Args:
        face: (H, W, 3) RGB or (H, W) grey, uint8.
        size: (height, width) to reduce to.
        light: "none" (grey levels 0 to 255), "standard" (then zero mean and unit variance over the picture) or
            "equalise" (the histogram of the whole picture equalised before it is reduced, then as "standard").

    Returns:
        ``size`` float64; NaN for a picture of one flat colour, unless ``light`` is "none".
    """
    picture = grey(face)
    if light == "equalise":
        picture = cv2.equalizeHist(np.rint(picture).astype(np.uint8)).astype(np.float64)
    picture = reduced(picture, size)
    return picture if light == "none" else standardised(picture)


def standardised(picture: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the last two axes; NaN where a picture is flat."""
    centred = picture - picture.mean(axis=(-2, -1), keepdims=True)
    spread = np.sqrt((centred * centred).mean(axis=(-2, -1), keepdims=True))
    return centred / np.where(spread < _FLAT, np.nan, spread)
