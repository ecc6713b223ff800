"""What alignment, a poor crop, light and camera do to a training picture. Every function leaves its input as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np

from maskbench.align import Template, estimate_similarity, template_at, warp
from maskbench.images import encode

CROP112 = template_at("arcface112")


@dataclass(frozen=True)
class Augmentation:
    """How far, and how often.

    Attributes:
        shift: largest shift of the crop, as a share of its size; turn: in degrees; scale: as a share.
        flip: probability of the mirror image.
        crop112: of a detour over a 112x112 ArcFace crop, whose border is repeated outside, as in packed test sets.
        colour: of other brightness, contrast, gamma and white balance; grey: of no colours.
        small: of fewer pixels; blur, noise, jpeg: of each of these.
        recolour: of another brightness and tint for what is worn; patch: of a plain or noisy shape over the face that
            is no mask.
    """

    shift: float = 0.02
    turn: float = 3.0
    scale: float = 0.04
    flip: float = 0.5
    crop112: float = 0.3
    colour: float = 0.5
    grey: float = 0.1
    small: float = 0.15
    blur: float = 0.1
    noise: float = 0.15
    jpeg: float = 0.2
    recolour: float = 0.2
    patch: float = 0.0


def jitter_matrix(rng: np.random.Generator, how: Augmentation, size: tuple[int, int], margin: int) -> np.ndarray:
    """A similarity (2, 3) from a crop with a margin to a crop of ``size``, turned, scaled and shifted a little."""
    height, width = size
    angle = np.deg2rad(rng.uniform(-how.turn, how.turn))
    factor = np.exp(rng.uniform(-how.scale, how.scale))
    shift = rng.uniform(-how.shift, how.shift, 2) * (width, height)
    linear = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([linear, middle + shift - linear @ (middle + margin)])


def degrade(rng: np.random.Generator, face: np.ndarray, how: Augmentation, template: Template) -> np.ndarray:
    """Colours, a detour over a smaller crop, and the camera: (H, W, 3) uint8 to the same."""
    if rng.random() < how.colour:
        face = cv2.LUT(np.ascontiguousarray(face), _curves(rng))
    if rng.random() < how.grey:
        face = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < how.crop112:
        face = through_crop(face, template)
    return _camera(rng, face, how)


def through_crop(face: np.ndarray, template: Template) -> np.ndarray:
    """The face as it looks when it is cut from a 112x112 ArcFace crop instead of from the photograph."""
    there, back = _detour(template.name, template.size)
    return warp(warp(face, there, CROP112.size), back, template.size)


@lru_cache(maxsize=8)
def _detour(name: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """From the crop of a template to the 112x112 crop, and back."""
    points = template_at(name, size).points
    return estimate_similarity(points, CROP112.points), estimate_similarity(CROP112.points, points)


def _curves(rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast, brightness and white balance as a table (1, 256, 3) uint8."""
    x = (np.arange(256)[:, None] / 255) ** np.exp(rng.uniform(-0.35, 0.35))
    x = (x - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.uniform(-0.1, 0.1)
    return np.clip(x * rng.uniform(0.92, 1.08, 3) * 255 + 0.5, 0, 255).astype(np.uint8)[None]


def _camera(rng: np.random.Generator, face: np.ndarray, how: Augmentation) -> np.ndarray:
    height, width = face.shape[:2]
    if rng.random() < how.small:
        factor = rng.uniform(0.3, 0.9)
        few = max(8, int(width * factor)), max(8, int(height * factor))
        face = cv2.resize(cv2.resize(face, few, interpolation=cv2.INTER_AREA), (width, height))
    if rng.random() < how.blur:
        face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < how.noise:
        noise = _normal(rng, face.shape) * np.float32(rng.uniform(2, 12))
        face = cv2.add(face, noise, dtype=cv2.CV_8U)
    if rng.random() < how.jpeg:
        data = np.frombuffer(encode(np.ascontiguousarray(face), ".jpg", int(rng.integers(30, 95))), np.uint8)
        face = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    return face


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal deviates in 256 steps, float32: a tenth of the time of exact ones, and pixels have 256 steps too."""
    drawn = np.frombuffer(rng.bytes(math.prod(shape)), np.uint8)
    return _quantiles()[drawn].reshape(shape)


@cache
def _quantiles() -> np.ndarray:
    """(256,) float32: the middles of 256 equal shares of the normal distribution, scaled to variance 1."""
    from scipy.special import ndtri

    found = ndtri((np.arange(256) + 0.5) / 256)
    return (found / found.std()).astype(np.float32)


def recoloured(rng: np.random.Generator, face: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What is worn in another brightness and tint, so that no set of colours is learnt by heart."""
    gain = rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3)
    offset = rng.uniform(-40, 40) + rng.uniform(-15, 15, 3)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)[None]
    worn = cv2.LUT(np.ascontiguousarray(face), table)
    return _mixed(worn, face, alpha)


def patched(rng: np.random.Generator, face: np.ndarray) -> np.ndarray:
    """A plain or noisy polygon, anywhere, over about a fifteenth of the picture on average: no mask at all."""
    height, width = face.shape[:2]
    shape = np.zeros((height, width), np.uint8)
    middle = rng.uniform(0.1, 0.9, 2) * (width, height)
    reach = np.sqrt(rng.uniform(0.02, 0.2) * width * height / np.pi) * np.exp(rng.uniform(-0.4, 0.4, 2))
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 12))))
    far = reach * rng.uniform(0.7, 1.2, (len(angles), 1))
    outline = middle + np.column_stack([np.cos(angles), np.sin(angles)]) * far
    cv2.fillPoly(shape, [np.rint(outline).astype(np.int32)], 255, lineType=cv2.LINE_AA)
    colour = np.empty(face.shape, np.uint8)
    colour[:] = rng.uniform(0, 255, 3)
    if rng.random() < 0.5:
        colour = cv2.add(colour, cv2.cvtColor(25 * _normal(rng, (height, width)), cv2.COLOR_GRAY2RGB), dtype=cv2.CV_8U)
    return _mixed(colour, face, shape)


def _mixed(over: np.ndarray, under: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Two pictures (H, W, 3) by an alpha (H, W) uint8 of the first; where it is 0 the second stays as it is."""
    share = alpha.astype(np.float32) / 255
    return cv2.blendLinear(np.ascontiguousarray(over), np.ascontiguousarray(under), share, 1 - share)
