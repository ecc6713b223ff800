"""Photos of masks, drawn here: what ``maskbench masks new`` is given in the tests."""

from __future__ import annotations

import cv2
import numpy as np

CORNERS = {"left-top": (-1, -1), "right-top": (1, -1), "right-bottom": (1, 1), "left-bottom": (-1, 1)}
QUADRANTS = {(-1, -1): (200, 40, 40), (1, -1): (40, 170, 60), (1, 1): (50, 70, 210), (-1, 1): (220, 200, 50)}


def place(x: float, y: float, angle: float, centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    """The photo's position of (x, y), each -1 to 1 over the mask, that is turned clockwise by ``angle`` degrees."""
    turn = np.deg2rad(angle)
    along, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    return np.asarray(centre) + x * half[0] * along + y * half[1] * down


def mask_photo(
    angle: float = 0.0, half: tuple[int, int] = (150, 90), size: tuple[int, int] = (480, 420), loops: bool = True,
    centre: tuple[float, float] | None = None,
) -> np.ndarray:  # fmt: skip
    """A turned rectangle of four colours with two thin loops, (height, width, 4) uint8 RGBA; the rest is bright green
    and transparent, and so is the rim's mixture."""
    centre = centre or (size[0] / 2, size[1] / 2)
    rgb, alpha = np.full((size[1], size[0], 3), (0, 255, 0), np.uint8), np.zeros((size[1], size[0]), np.uint8)

    def polygon(points) -> np.ndarray:
        return np.array([place(x, y, angle, centre, half) for x, y in points])

    for side in (-1, 1) if loops else ():
        arc = polygon([(side * (1 + 0.35 * np.sin(t)), -0.8 * np.cos(t)) for t in np.linspace(0, np.pi, 40)])
        for picture, value in ((rgb, (250, 250, 250)), (alpha, 255)):
            cv2.polylines(picture, [np.rint(arc).astype(np.int32)], False, value, 5)
    for (sx, sy), colour in QUADRANTS.items():
        corner = np.rint(polygon([(0, 0), (sx, 0), (sx, sy), (0, sy)])).astype(np.int32)
        cv2.fillPoly(rgb, [corner], colour)
        cv2.fillPoly(alpha, [corner], 255)
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.8)
    mixed = cv2.GaussianBlur(rgb, (0, 0), 0.8)
    return np.dstack([mixed, soft])


def write_photo(path, photo: np.ndarray) -> None:
    """Write (H, W, 4) RGBA as the path's suffix says."""
    assert cv2.imwrite(str(path), cv2.cvtColor(photo, cv2.COLOR_RGBA2BGRA))
