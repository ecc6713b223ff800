"""Relief of worn cloth, in texels of height: tension lines, drape, pleats, seams and hems (see canvas.py)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from canvas import SHAPE, axes, edge_roll, line, noise, slanted, step

CORNERS = ((-238.0, 30.0), (238.0, 30.0), (-238.0, 402.0), (238.0, 402.0))


def radiate(at: tuple[float, float], seed: int, fineness: float, reach: float, height: float) -> np.ndarray:
    """Creases that run out from a point under tension and die away within ``reach`` texels."""
    x, y = axes()
    dx, dy = x - at[0], y - at[1]
    angle, radius = np.arctan2(dy, dx), np.hypot(dx, dy)
    ring = np.random.default_rng(seed).normal(size=720)
    ring = cv2.GaussianBlur(np.tile(ring, 3)[None], (0, 0), fineness)[0, 720:1440]  # it is a circle
    ring /= ring.std()
    wave = np.interp(angle, np.linspace(-np.pi, np.pi, 721), np.append(ring, ring[0]))
    return height * wave * np.exp(-((radius / reach) ** 1.6)) * np.clip(radius / (0.25 * reach), 0, 1)


def tension(seed: int, height: float = 2.2, reach: float = 190.0) -> np.ndarray:
    """Creases out of all four corners, where the straps pull."""
    return sum(radiate(c, seed + k, 9.0, reach, height) for k, c in enumerate(CORNERS))


def drape(seed: int, height: float = 1.5) -> np.ndarray:
    """Soft folds that run from each side's top to the chin, smaller in the middle."""
    x, _ = axes()
    right, left = slanted(seed, 28, 70, 13), slanted(seed + 1, -28, 70, 13)
    side = step(x, 0, 160)
    return height * (left * (1 - side) + right * side) * (0.35 + 0.65 * np.abs(x) / 256)


def lumps(seed: int, height: float = 1.0, size: float = 24.0) -> np.ndarray:
    """Cloth that is not quite smooth."""
    return height * noise(seed, size)


def overlap(edge: np.ndarray, height: float, fall: float = 3.0, run: float = 40.0) -> np.ndarray:
    """A layer that ends at signed distance 0 (positive below it) over a deeper one that climbs back in ``run``."""
    below = np.clip(edge / run, 0, 1)
    return -height * step(edge, 0, fall) * (1 - below) ** 1.5


def pleats(middle: Sequence[float], sides: Sequence[float], height: float, seed: int) -> np.ndarray:
    """Level pleats at rows ``middle`` on the midline that close up to rows ``sides`` at the side seams (texels)."""
    x, y = axes()
    away = (np.abs(x) / 238.0).clip(0, 1)
    waver = 2.2 * noise(seed, (60, 8))
    relief = np.zeros(SHAPE)
    for at, end in zip(middle, sides, strict=True):
        row = at + (end - at) * away**1.7 + waver
        firm = (
            0.55 + 0.45 * away**0.8 + 0.12 * noise(seed + int(at), (70, 70))
        )  # open in the middle, pressed at the sides
        relief += overlap(y - row, height, 6.5, 46.0) * firm + 0.30 * height * line(y - row + 7, 7) * firm
    return relief


def seam(
    distance: np.ndarray, width: float = 2.2, depth: float = 3.0, pucker: float = 0.6, pitch: float = 9.0
) -> np.ndarray:
    """A sewn seam at signed distance 0: a groove between two swollen lips, puckered along the stitches."""
    x, y = axes(distance.shape)
    lips = line(np.abs(distance) - 3 * width, 2.2 * width)
    return -depth * line(distance, width) + lips * (0.35 * depth + pucker * np.sin((y + 0.3 * x) * 2 * np.pi / pitch))


def stitches(distance: np.ndarray, pitch: float = 7.0, width: float = 1.0, dash: float = 0.6) -> np.ndarray:
    """Weight 0..1 of a row of stitches at signed distance 0; the row may run in any direction."""
    down, across = np.gradient(cv2.GaussianBlur(distance, (0, 0), 3.0))
    x, y = axes(distance.shape)
    along = np.where(np.abs(down) > np.abs(across), x, y)
    return line(distance, width) * step(np.mod(along / pitch, 1), 1 - dash, 0.25)


def hem(distance: np.ndarray, at: float = 11.0, height: float = 2.2) -> np.ndarray:
    """A turned edge: the cloth's own thickness, then a double layer that ends in a groove ``at`` texels inside."""
    return edge_roll(distance, 5.0, 3.0) + height * (1 - step(distance, at, 4.0)) - 1.2 * line(distance - at, 1.8)


def nose_wire(height: float = 2.4, reach: float = 92.0, row: float = 46.0, drop: float = 8.0) -> np.ndarray:
    """The bump of a wire sewn in under the upper edge."""
    x, y = axes()
    at = row + drop * (x / reach) ** 2
    return height * line(y - at, 5.0) * step(reach - np.abs(x), 0, 14.0)


def bite(relief: np.ndarray, x: np.ndarray, y: np.ndarray, pull: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Where a print's (x, y) lies when the cloth under it is folded: shifted along the slopes."""
    down, across = np.gradient(cv2.GaussianBlur(relief, (0, 0), 1.5))
    return x + pull * across, y + pull * down
