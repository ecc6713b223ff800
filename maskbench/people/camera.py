"""What a camera makes of a scene: blur, noise, eight bits."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

WINDOW = 640  # side of the noise that pictures, of at most 512, take windows of


@lru_cache(maxsize=1)
def _white_noise() -> np.ndarray:
    """Standard normal noise (640, 640, 3) float32, always the same; pictures take windows of it, which is fast."""
    return np.random.default_rng(0).standard_normal((WINDOW, WINDOW, 3), np.float32)


@lru_cache(maxsize=1)
def _speckle() -> np.ndarray:
    """Noise of a sensor after its own processing: smooth over a pixel, and mostly alike in the three channels."""
    noise = _white_noise()
    return cv2.GaussianBlur(noise + noise[..., :1], (0, 0), 0.6)


def noise_window(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A window (rows, columns, 3) of white noise at a place drawn by chance, one way round or the other."""
    return _window(_white_noise(), rng, rows, columns)


def _window(noise: np.ndarray, rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A window of the noise."""
    turned = int(rng.integers(2)) * 2 - 1
    top, left = rng.integers(WINDOW - rows + 1), rng.integers(WINDOW - columns + 1)
    return noise[top : top + rows, left : left + columns][:, ::turned]


def photographed(picture: np.ndarray, blur: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """An exposure (N, N, 3) float32, 0..255, as uint8.

    Args:
        blur: standard deviation in pixels.
        noise: its strength of 255; it is smooth over a pixel or two, as after a camera's own processing.
    """
    picture = cv2.GaussianBlur(picture, (0, 0), blur)
    picture += _window(_speckle(), rng, *picture.shape[:2]) * np.float32(1.1 * noise)
    return cv2.convertScaleAbs(np.maximum(picture, 0))  # rounds, and cuts at 255
