"""What a camera, a codec and a poor crop do to a training picture; and other colours for what is worn."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 128


def augmented(rng: np.random.Generator, face: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One training example, drawn anew each time.

    Args:
        face: (128, 128, 3) uint8; alpha: (128, 128) uint8. Neither is changed.

    Returns:
        The picture (128, 128, 3) uint8 and the target (128, 128) uint8, 1 where alpha is at least 128.
    """
    if rng.random() < 0.5:
        face, alpha = face[:, ::-1], alpha[:, ::-1]
    if rng.random() < 0.5:
        face, alpha = _moved(rng, face, alpha)
    if rng.random() < 0.3 and alpha.any():
        face = _recoloured(rng, face, alpha)
    face = cv2.LUT(np.ascontiguousarray(face), _curves(rng))
    if rng.random() < 0.1:
        face = np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return _camera(rng, face), (alpha >= 128).astype(np.uint8)


def _moved(rng: np.random.Generator, face: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turned, scaled and shifted a little more than the rendered crop is."""
    middle = (SIDE - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.uniform(-4, 4), rng.uniform(0.97, 1.06))
    matrix[:, 2] += rng.uniform(-2, 2, 2)
    return tuple(
        cv2.warpAffine(np.ascontiguousarray(x), matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        for x in (face, alpha)
    )


def _recoloured(rng: np.random.Generator, face: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What is worn in another brightness and tint, so that no set of colours is learnt by heart."""
    gain, offset = rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3), rng.uniform(-40, 40) + rng.uniform(-15, 15, 3)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)[None]
    worn = cv2.LUT(np.ascontiguousarray(face), table)
    share = np.ascontiguousarray(alpha).astype(np.float32)[..., None] / 255
    return (worn * share + face * (1 - share) + 0.5).astype(np.uint8)


def _curves(rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast, brightness and white balance as a table (1, 256, 3) uint8."""
    x = (np.arange(256)[:, None] / 255) ** np.exp(rng.uniform(-0.4, 0.4))
    x = (x - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.15, 0.15)
    return np.clip(x * rng.uniform(0.88, 1.12, 3) * 255 + 0.5, 0, 255).astype(np.uint8)[None]


def _camera(rng: np.random.Generator, face: np.ndarray) -> np.ndarray:
    """Fewer pixels, blur, noise, JPEG; each now and then."""
    if rng.random() < 0.25:
        small = int(SIDE * rng.uniform(0.25, 0.9))
        face = cv2.resize(cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
    if rng.random() < 0.2:
        face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.25:
        noise = rng.standard_normal(face.shape, np.float32) * rng.uniform(2, 14)
        face = np.clip(face + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        data = cv2.imencode(".jpg", face, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))))[1]
        face = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return face
