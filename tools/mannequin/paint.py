"""Colours painted on a head, as functions of the position on the undeformed base mesh.

Painting in that space puts lips, brows, irises and hairline on the same anatomy whatever the shape. All colours are
linear RGB; positions are in decimetres (see head.py) and everything is left-right symmetric, so x enters as |x|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EYE_CENTRE, IRIS, PUPIL = (0.3078, 7.284), 0.066, 0.025
_LIP_TOP = ((0, 6.668), (0.045, 6.684), (0.10, 6.671), (0.16, 6.647), (0.21, 6.622), (0.24, 6.606))
_LIP_BOTTOM = ((0, 6.503), (0.06, 6.507), (0.12, 6.525), (0.18, 6.557), (0.24, 6.602))
_BROW = ((0.09, 7.425), (0.20, 7.441), (0.34, 7.460), (0.45, 7.448), (0.58, 7.395))  # centre line
_BROW_HALF = ((0.09, 0.030), (0.20, 0.034), (0.36, 0.027), (0.58, 0.008))  # half thickness
_LID_TOP = ((0.19, 7.284), (0.215, 7.302), (0.235, 7.313), (0.271, 7.323), (0.314, 7.330), (0.351, 7.330),
            (0.385, 7.326), (0.41, 7.319), (0.435, 7.305), (0.48, 7.285))
_LID_BOTTOM = ((0.205, 7.270), (0.24, 7.247), (0.31, 7.240), (0.38, 7.246), (0.43, 7.272))
_HAIRLINE = ((0, 7.95), (20, 7.97), (35, 7.96), (48, 7.87), (57, 7.66), (65, 7.48), (69, 7.16), (76, 7.10), (90, 7.00),
             (104, 6.88), (130, 6.62), (180, 6.50))  # degrees round the head from the front, height


@dataclass(frozen=True)
class Look:
    """sRGB colours as `#rrggbb`; `hair_thickness` (0: shaven) and the radius of a `bun` (0: none) in
    decimetres; `brow` and `stubble` in [0, 1]."""

    skin: str = "#d9a98c"
    lips: str = "#b8695f"
    hair: str = "#3b2a20"
    iris: str = "#5b4632"
    cloth: str = "#6f7f8c"
    hair_thickness: float = 0.10
    bun: float = 0.0
    brow: float = 0.8
    stubble: float = 0.0


def linear(colour: str) -> np.ndarray:
    """`#rrggbb` (sRGB, IEC 61966-2-1) as linear RGB in [0, 1], (3,)."""
    code = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Value noise in [0, 1] with unit cells at points (N, 3): random corner values, smoothly interpolated."""
    cell = np.floor(points).astype(np.int64)
    t = points - cell
    t, total = t * t * (3 - 2 * t), np.zeros(len(points))
    table = np.random.default_rng(seed).random(4096)
    for corner in np.ndindex(2, 2, 2):
        key = (cell + corner) @ np.array([73856093, 19349663, 83492791])
        total += table[(key ^ (key >> 7)) % 4096] * np.prod(np.where(corner, t, 1 - t), 1)
    return total


def _curve(points: tuple, at: np.ndarray) -> np.ndarray:
    """Piecewise linear curve through (x, y) points."""
    return np.interp(at, *np.array(points, dtype=float).T)


def hair_height(rest: np.ndarray) -> np.ndarray:
    """Height above the hairline in decimetres (N,); negative on bare skin and on the ears."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    above = y - _curve(_HAIRLINE, np.degrees(np.arctan2(x, z - 0.35)))
    ear = np.hypot((y - 7.13) / 0.29, (z - 0.43) / 0.21)
    return np.where(x > 0.68, np.minimum(above, 0.25 * (ear - 1)), above)


def cloth_depth(rest: np.ndarray) -> np.ndarray:
    """Depth below the neckline of a plain round-necked garment, decimetres (N,); negative above it."""
    x = np.abs(rest[:, 0])
    flare = 0.35 * ramp(x, 0.35, 1.6) * x
    return 5.70 - 0.14 * np.cos(np.arctan2(x, rest[:, 2] - 0.15)) + flare - rest[:, 1]


def skin_colour(rest: np.ndarray, look: Look) -> np.ndarray:
    """Skin, lips, brows, lid lines, hair and garment (N, 3)."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    front, colour = ramp(z, 0.5, 0.9), np.tile(linear(look.skin), (len(rest), 1))
    colour *= (0.93 + 0.09 * noise(rest * 5, 1) + 0.05 * noise(rest * 30, 2))[:, None]
    blush = _spot(x, y, 0.52, 6.95, 0.26) + 0.8 * _spot(x, y, 0.0, 6.93, 0.16) + 0.5 * ramp(x, 0.85, 0.95) * (y < 7.6)
    colour *= 1 - np.outer(np.clip(blush, 0, 1) * 0.30, [0.02, 0.55, 0.50])
    shade = _spot(x, y, *EYE_CENTRE, 0.2) * front
    colour *= 1 - np.outer(0.16 * shade, [0.6, 1.0, 0.9])
    beard = ramp(-y, -6.78, -6.62) * ramp(y, 6.0, 6.15) * ramp(z, 0.25, 0.7) * look.stubble
    colour *= 1 - np.outer(0.45 * beard * (0.6 + 0.4 * noise(rest * 60, 3)), [1.0, 0.9, 0.8])
    colour = _mix(colour, linear(look.lips), 0.85 * lips(rest))
    colour = _mix(colour, 0.9 * linear(look.hair), look.brow * brows(rest))
    colour *= 1 - np.outer(0.85 * np.maximum(lashes(rest), nostrils(rest)), [0.92, 1.0, 1.0])
    grown = hair_height(rest) + 0.07 * (strands(rest) - 0.5)
    colour = _mix(colour, hair_colour(rest, look), ramp(grown, -0.03, 0.05) * (look.hair_thickness > 0))
    depth = cloth_depth(rest)
    seam = 1 - 0.25 * np.exp(-(((depth - 0.10) / 0.008) ** 2))
    return _mix(colour, linear(look.cloth) * seam[:, None], ramp(depth, -0.006, 0.006))


def lips(rest: np.ndarray) -> np.ndarray:
    """Where the lips are (N,), 0 to 1 with a soft border."""
    x, y = np.abs(rest[:, 0]), rest[:, 1]
    inside = np.minimum(_curve(_LIP_TOP, x) - y, y - _curve(_LIP_BOTTOM, x))
    return ramp(inside, -0.012, 0.012) * ramp(-x, -0.255, -0.225) * ramp(rest[:, 2], 1.0, 1.2)


def brows(rest: np.ndarray) -> np.ndarray:
    """Where the brows are (N,), 0 to 1, broken up into slanted hairs."""
    x, y = np.abs(rest[:, 0]), rest[:, 1]
    inside = 1 - np.abs(y - _curve(_BROW, x)) / _curve(_BROW_HALF, x)
    slant = np.stack([(x - 0.8 * (y - 7.43)) * 170, (y - 7.4 + 0.3 * x) * 18, rest[:, 0]], -1)
    inside = inside + 1.1 * (noise(slant, 4) - 0.5)
    return ramp(inside, -0.2, 0.9) * ramp(x, 0.07, 0.20) * ramp(-x, -0.58, -0.48) * ramp(rest[:, 2], 0.8, 1.0)


def lashes(rest: np.ndarray) -> np.ndarray:
    """Where lashes darken the edges of the lids (N,), 0 to 1, the upper lid most."""
    x, y = np.abs(rest[:, 0]), rest[:, 1]
    upper = 1 - np.abs(y - _curve(_LID_TOP, x)) / (0.007 + 0.007 * ramp(x, 0.20, 0.38))
    lower = 1 - np.abs(y - _curve(_LID_BOTTOM, x)) / 0.008
    line = np.maximum(ramp(upper, -0.3, 0.6), 0.35 * ramp(lower, -0.3, 0.6))
    return line * ramp(x, 0.195, 0.22) * ramp(-x, -0.475, -0.44) * (rest[:, 2] > 1.27)


def nostrils(rest: np.ndarray) -> np.ndarray:
    """Where the nostrils are (N,), 0 to 1."""
    offset = (np.abs(rest[:, 0:1]) - 0.097, rest[:, 1:2] - 6.868, rest[:, 2:3] - 1.568)
    far = np.linalg.norm(np.hstack(offset) / [0.036, 0.020, 0.045], axis=1)
    return ramp(-far, -1.5, -0.5)


def eye_colour(rest: np.ndarray, look: Look) -> np.ndarray:
    """Sclera, iris with a dark rim and pupil (N, 3)."""
    across, up = np.abs(rest[:, 0]) - EYE_CENTRE[0], rest[:, 1] - EYE_CENTRE[1]
    radius, angle = np.hypot(across, up), np.arctan2(up, across)
    white = np.array([0.66, 0.60, 0.57]) * (1 - 0.25 * ramp(np.abs(across), 0.08, 0.13))[:, None]
    rays = noise(np.stack([angle * 9, radius * 12, np.zeros_like(radius)], -1), 5)
    ring = (0.65 + 0.7 * rays) * (1.25 - 0.8 * ramp(radius, 0.7 * IRIS, IRIS))
    colour = _mix(white, linear(look.iris) * ring[:, None], 1 - ramp(radius, IRIS - 0.006, IRIS + 0.004))
    return colour * (0.02 + 0.98 * ramp(radius, PUPIL - 0.004, PUPIL + 0.004))[:, None]


def mouth_colour(rest: np.ndarray, teeth: bool) -> np.ndarray:
    """Teeth or tongue (N, 3)."""
    return np.tile([0.62, 0.56, 0.48] if teeth else [0.30, 0.08, 0.07], (len(rest), 1))


def hair_colour(rest: np.ndarray, look: Look) -> np.ndarray:
    """Hair colour with strands combed back and to the side (N, 3)."""
    return linear(look.hair) * (0.65 + 0.7 * strands(rest))[:, None]


def strands(rest: np.ndarray) -> np.ndarray:
    """Noise in [0, 1] drawn out along the combing direction (N,)."""
    x, y, z = rest.T
    across = np.arctan2(x, y - 7.2)
    fine = noise(np.stack([across * 60, z * 3, y * 2], -1), 6)
    return 0.6 * fine + 0.4 * noise(np.stack([across * 18, z * 1.5, y], -1), 7)


def _spot(x: np.ndarray, y: np.ndarray, at_x: float, at_y: float, radius: float) -> np.ndarray:
    """A Gaussian spot (N,)."""
    return np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * radius**2 / 2))


def _mix(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Lay one colour over another; `share` (N,) is how much of it covers."""
    return below + (above - below) * share[:, None]
