"""Small arithmetic on pixels that several parts share: luminance, masks that grow, pictures on tiles."""

from __future__ import annotations

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # luminance of R, G and B, ITU-R BT.601, as JPEG has it
PAPER = 255  # the white around a picture on a tile


def dilated(mask: np.ndarray, reach: int, shape: int = cv2.MORPH_RECT) -> np.ndarray:
    """A mask (H, W) uint8 grown by ``reach`` pixels; by 0 it is the very same array.

    Args:
        shape: what it grows by: a square (cv2.MORPH_RECT), or a disc (cv2.MORPH_ELLIPSE).
    """
    if reach < 1:
        return mask
    return cv2.dilate(mask, cv2.getStructuringElement(shape, (2 * reach + 1, 2 * reach + 1)))


def tile(image: np.ndarray, side: int, enlarge: int = cv2.INTER_CUBIC) -> np.ndarray:
    """The (H, W, 3) picture in a white square of ``side`` pixels, its proportions kept.

    Args:
        enlarge: OpenCV's interpolation for a picture smaller than the square.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else enlarge
    small = cv2.resize(image, size, interpolation=method)
    square = np.full((side, side, 3), PAPER, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square
