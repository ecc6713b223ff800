"""What lies behind a head: plain walls, gradients, rooms and gardens far out of focus. Drawn, not photographed."""

from __future__ import annotations

import cv2
import numpy as np

WALLS = ((205, 205, 200), (170, 178, 186), (228, 224, 214), (120, 126, 134), (90, 100, 116), (186, 170, 150),
         (64, 70, 78), (150, 168, 178), (240, 240, 240), (132, 112, 100))  # fmt: skip
LIT = 0.4  # the share of blurred backgrounds with lights in them
SMALL = 48  # pixels a side at which backgrounds are drawn before they are enlarged
GARDEN = ((64, 92, 48), (100, 128, 70), (40, 60, 36), (150, 160, 120), (178, 196, 210), (120, 104, 78))
ROOM = (
    (150, 120, 90),
    (90, 74, 62),
    (200, 186, 160),
    (60, 62, 70),
    (140, 70, 58),
    (86, 100, 122),
    (176, 150, 124),
    (110, 112, 116),
    (220, 214, 200),
)


def background(kind: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """A picture (size, size, 3) float32, 0..255, of one of the kinds plain, gradient, blurred, outdoors."""
    if kind in ("blurred", "outdoors"):
        return _out_of_focus(rng, size, GARDEN if kind == "outdoors" else ROOM)
    y, x = np.mgrid[:SMALL, :SMALL].astype(np.float32) / SMALL - 0.5  # smooth enough to be enlarged
    wall = np.array(WALLS[rng.integers(len(WALLS))], np.float32) * rng.uniform(0.8, 1.08)
    slope = rng.uniform(-0.25, 0.25, 2) * (0.5 if kind == "plain" else 1.6)
    at = rng.uniform(-0.4, 0.4, 2)
    glow = 0.12 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 0.25)
    small = np.clip(wall * (0.95 + slope[0] * x + slope[1] * y + glow)[..., None], 0, 255).astype(np.float32)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)


def _out_of_focus(rng: np.random.Generator, size: int, colours: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Boxes and discs of some colours, drawn small, blurred, and enlarged; a few bright discs as lenses draw lights."""
    out = np.empty((SMALL, SMALL, 3), np.float32)
    out[:] = colours[rng.integers(len(colours))]
    for _ in range(int(rng.integers(8, 18))):
        colour = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.7, 1.2)
        at, reach = rng.integers(-4, SMALL + 4, 2), rng.integers(3, 22, 2)
        if rng.random() < 0.5:
            cv2.rectangle(out, tuple(map(int, at)), tuple(map(int, at + reach)), tuple(map(float, colour)), -1)
        else:
            cv2.circle(out, tuple(map(int, at)), int(reach[0] // 2 + 1), tuple(map(float, colour)), -1)
    out = cv2.GaussianBlur(out, (0, 0), rng.uniform(2.5, 5.0)) * np.float32(rng.uniform(0.75, 1.1))
    out = cv2.resize(np.clip(out, 0, 255), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.minimum(out + _lights(rng, size), 255) if rng.random() < LIT else out


def _lights(rng: np.random.Generator, size: int) -> np.ndarray:
    """Bright discs (size, size, 3) float32, as lenses draw lights that are out of focus."""
    out = np.zeros((size, size, 3), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        at, reach = rng.uniform(0, size, 2), rng.uniform(0.02, 0.05) * size
        colour = rng.uniform(20, 60) * np.array([1, 0.92, 0.8])
        cv2.circle(out, tuple(map(int, at)), int(reach), tuple(map(float, colour)), -1)
    return cv2.GaussianBlur(out, (0, 0), 0.006 * size)
