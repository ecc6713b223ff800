"""How the face is lit, so that the mask can be lit the same way.

Skin brightness is read at points of known orientation and fitted with a constant and a direction (the first four
spherical harmonics: Ramamoorthi & Hanrahan, SIGGRAPH 2001). The mask's own normals then take that light.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.kernels import compiled
from maskbench.masking.space import operator

# Skin that beard, brows, lips and glasses seldom hide: forehead, nose, cheeks, chin sides.
SKIN = (
    151, 108, 337, 69, 299, 9, 107, 336, 67, 297, 6, 197, 195, 5, 50, 280, 101, 330, 118, 347, 36, 266, 205, 425,
    116, 345, 123, 352, 147, 376, 187, 411, 213, 433, 192, 416, 207, 427, 199, 200, 208, 428,
)  # fmt: skip
LUMA = np.array([0.299, 0.587, 0.114])
USUAL_SKIN = 0.56  # median luma of skin in a well exposed photograph, 0..1
USUAL_HIGHLIGHT = 0.88
EXPOSURE_SHARE = 0.65
USUAL_SKIN_COLOUR = np.array([1.28, 0.95, 0.80])  # relative to its luma
DARKEST, BRIGHTEST = 0.45, 1.35
BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 300, 293, 334, 296, 336, 276, 283, 282, 295)
HIGHLIGHT_SAMPLES = 45  # a side
LIKE_SKIN, UNLIKE_SKIN = 0.5, 0.9  # difference from the cheek below and above which a strap is in sight, or is not


@dataclass(frozen=True)
class Light:
    """The light on one face: ``gain`` for white cloth (0..~1.1), its ``colour`` (3,) about 1, and the shading fit."""

    gain: float
    colour: np.ndarray
    coefficients: np.ndarray  # (4,): constant, x, y, z in the head's frame, relative to the mean skin

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """Relative brightness (G,) of surfaces with these (G, 3) unit normals in the head's frame."""
        return np.clip(self.coefficients[0] + normals @ self.coefficients[1:], DARKEST, BRIGHTEST)


@lru_cache(maxsize=1)
def _skin_model() -> tuple[np.ndarray, np.ndarray]:
    """The binding (S, K) of the skin points and the ridge pseudo-inverse (4, S) of their normals."""
    nodes = canonical_face()[list(SKIN)]
    normals = _canonical_normals()[list(SKIN)]
    basis = np.hstack([np.ones((len(nodes), 1)), normals])
    ridge = np.diag([0.0, 2.0, 2.0, 6.0])  # front-back is barely seen on a frontal face
    return operator(nodes), np.linalg.solve(basis.T @ basis + ridge, basis.T)


def _canonical_normals() -> np.ndarray:
    """Outward unit normals of the canonical points, from planes fitted to their neighbours: (468, 3)."""
    from scipy.spatial import cKDTree

    face = canonical_face()
    _, near = cKDTree(face).query(face, 12)
    offsets = face[near] - face[near].mean(1, keepdims=True)
    normals = np.linalg.svd(offsets, full_matrices=False)[2][:, 2]
    outward = face - [0.0, 0.6, 0.9]  # from the middle of the head
    return normals * np.sign((normals * outward).sum(1, keepdims=True))


def estimate_light(image: np.ndarray, control: np.ndarray) -> Light:
    """Estimate the light from the face itself.

    Args:
        image: (H, W, 3) uint8 RGB.
        control: (K, 3) control points in pixels.
    """
    binding, solve = _skin_model()
    spots = binding @ control
    colours, inside = _sample(image, spots[:, :2])
    if inside.sum() < 8:
        return Light(0.9, np.ones(3), np.array([1.0, 0, 0, 0]))
    luma = colours @ LUMA
    ordered = np.sort(luma[inside])
    low, high = ordered[int(0.12 * len(ordered))], ordered[int(0.88 * len(ordered))]
    luma = np.where(inside, np.clip(luma, low, high), luma[inside].mean())
    mean = max(float(luma.mean()), 1e-3)
    # More from the highlights of the surroundings (the exposure) than from the skin: skin alone would make white cloth
    # grey on dark skin, the exposure alone would make it glow on faces in the shade.
    exposure = np.clip(_highlight(image, spots) / USUAL_HIGHLIGHT, 0.3, 1.08)
    gain = float(exposure**EXPOSURE_SHARE * np.clip(mean / USUAL_SKIN, 0.25, 1.15) ** (1 - EXPOSURE_SHARE))
    colour = np.ones(3)
    if np.ptp(colours[inside].mean(0)) > 1e-3:
        tint = colours[inside].mean(0) / mean / USUAL_SKIN_COLOUR
        colour = np.clip(tint**0.35, 0.88, 1.12)
        colour = colour / (colour @ LUMA)
    return Light(gain, colour, solve @ (luma / mean))


def _sample(image: np.ndarray, spots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours (S, 3), 0..1, of small patches around (S, 2 or 3) positions, and which lie in the picture."""
    height, width = image.shape[:2]
    x, y = spots[:, 0], spots[:, 1]
    inside = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    colours = np.zeros((len(x), 3))
    _patches(colours, image, x, y, max(1.0, (x.max() - x.min()) / 40))
    return colours, inside


@compiled
def _patches(colours, image, x, y, radius):  # noqa: ANN001 - numba infers the types
    """Add to (S, 3) the mean, 0..1, of five bilinear samples around each position, clamped to the picture."""
    height, width = image.shape[:2]
    for n in range(x.shape[0]):
        for dx, dy in ((0.0, 0.0), (radius, 0.0), (-radius, 0.0), (0.0, radius), (0.0, -radius)):
            u, v = min(max(x[n] + dx, 0.0), width - 1.0), min(max(y[n] + dy, 0.0), height - 1.0)
            u0, v0 = max(min(int(u), width - 2), 0), max(min(int(v), height - 2), 0)
            u1, v1 = min(u0 + 1, width - 1), min(v0 + 1, height - 1)
            fu, fv = u - u0, v - v0
            for c in range(3):
                upper = image[v0, u0, c] * (1 - fu) + image[v0, u1, c] * fu
                lower = image[v1, u0, c] * (1 - fu) + image[v1, u1, c] * fu
                colours[n, c] += (upper * (1 - fv) + lower * fv) / 1275.0


def _highlight(image: np.ndarray, spots: np.ndarray) -> float:
    """The 95th percentile of luma, 0..1, in the region around the face: how bright white things are there."""
    low, high = spots[:, :2].min(0), spots[:, :2].max(0)
    (x0, y0), (x1, y1) = low - (high - low) * 0.5, high + (high - low) * 0.5
    luma = np.empty(HIGHLIGHT_SAMPLES**2)
    _grid_luma(luma, image, x0, y0, x1, y1, HIGHLIGHT_SAMPLES)
    rank = int(0.95 * (luma.size - 1))
    return float(np.partition(luma, rank)[rank] / 255.0)


@compiled
def _grid_luma(luma, image, x0, y0, x1, y1, side):  # noqa: ANN001
    """Write the luma, 0..255, of a grid of pixels over a rectangle, clamped to the picture: (side * side,)."""
    height, width = image.shape[:2]
    for i in range(side):
        row = int(min(max(y0 + (y1 - y0) * ((i + 0.5) / side), 0.0), height - 1.0))
        for j in range(side):
            pixel = image[row, int(min(max(x0 + (x1 - x0) * ((j + 0.5) / side), 0.0), width - 1.0))]
            luma[i * side + j] = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def strap_sight(image: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """How much of each strap is in sight: it passes under hair, and is not seen before the background.

    Going outwards from the cheek, the strap ends where the picture stops looking like that cheek: the logarithm of the
    ratio of their luma, plus the distance of their colours at equal luma.

    Args:
        centres: (R, n, 2 or 3) pixels along the straps, beginning at the mask.

    Returns:
        (R, n) in 0..1, falling along each strap.
    """
    count, steps = centres.shape[:2]
    colours, _ = _sample(image, centres.reshape(count * steps, -1))
    colours = colours.reshape(count, steps, 3) + 0.02
    luma = colours @ LUMA
    cheek = np.median(colours[:, : max(steps // 3, 1)], axis=1, keepdims=True)
    cheek_luma = cheek @ LUMA
    unlike = np.abs(np.log(luma / cheek_luma))
    unlike += np.abs(colours / luma[..., None] - cheek / cheek_luma[..., None]).sum(-1) / 2
    sight = np.clip((UNLIKE_SKIN - unlike) / (UNLIKE_SKIN - LIKE_SKIN), 0, 1)
    return np.minimum.accumulate(sight, axis=1)


@lru_cache(maxsize=1)
def _brow_binding() -> np.ndarray:
    return operator(canonical_face()[list(BROWS)])


def face_colour(image: np.ndarray, control: np.ndarray, of: str) -> np.ndarray:
    """The colour of the face's own "skin" or "hair" as it appears in the picture: (3,) float64, 0..1.

    Hair is judged by the darkest quarter of the brows, which are in sight more often than the hair of the head. What
    lies outside the picture counts by the pixels at its border.
    """
    if of == "skin":
        colours, _ = _sample(image, _skin_model()[0] @ control)
        ordered = colours[np.argsort(colours @ LUMA, kind="stable")]
        return ordered[len(ordered) // 4 : -len(ordered) // 8].mean(0)
    colours, _ = _sample(image, _brow_binding() @ control)
    ordered = colours[np.argsort(colours @ LUMA, kind="stable")]
    return ordered[: len(ordered) // 4].mean(0)
