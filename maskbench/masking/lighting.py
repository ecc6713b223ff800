"""How the face is lit, so that the mask can be lit the same way.

Skin brightness is read at points of known orientation and fitted with a constant and a direction (the first four
spherical harmonics: Ramamoorthi & Hanrahan, SIGGRAPH 2001). The mask's own normals then take that light.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.space import operator

# Skin that beard, brows, lips and glasses seldom hide: forehead, nose, cheeks, chin sides.
SKIN = (
    151, 108, 337, 69, 299, 9, 107, 336, 67, 297, 6, 197, 195, 5, 50, 280, 101, 330, 118, 347, 36, 266, 205, 425,
    116, 345, 123, 352, 147, 376, 187, 411, 213, 433, 192, 416, 207, 427, 199, 200, 208, 428,
)  # fmt: skip
LUMA = np.array([0.299, 0.587, 0.114])
USUAL_SKIN = 0.56  # median luma of skin in a well exposed photograph, 0..1
USUAL_HIGHLIGHT = 0.88
USUAL_SKIN_COLOUR = np.array([1.28, 0.95, 0.80])  # relative to its luma
DARKEST, BRIGHTEST = 0.45, 1.35


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
    # Half of the way from the highlights of the surroundings (the exposure), half from the skin: skin alone would make
    # white cloth grey on dark skin, the exposure alone would make it glow on faces in the shade.
    exposure = np.clip(_highlight(image, spots) / USUAL_HIGHLIGHT, 0.3, 1.08)
    gain = float(np.sqrt(exposure * np.clip(mean / USUAL_SKIN, 0.25, 1.15)))
    colour = np.ones(3)
    if np.ptp(colours[inside].mean(0)) > 1e-3:
        tint = colours[inside].mean(0) / mean / USUAL_SKIN_COLOUR
        colour = np.clip(tint**0.35, 0.88, 1.12)
        colour = colour / (colour @ LUMA)
    return Light(gain, colour, solve @ (luma / mean))


def _sample(image: np.ndarray, spots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours (S, 3), 0..1, of small patches around (S, 2) positions, and which of them lie in the picture."""
    height, width = image.shape[:2]
    inside = (spots > 0).all(1) & (spots[:, 0] < width - 1) & (spots[:, 1] < height - 1)
    radius = max(1.0, np.ptp(spots[:, 0]) / 40)
    offsets = radius * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    where = (spots[:, None] + offsets).astype(np.float32)
    colours = cv2.remap(image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return colours.mean(1) / 255.0, inside


def _highlight(image: np.ndarray, spots: np.ndarray) -> float:
    """The 95th percentile of luma, 0..1, in the region around the face: how bright white things are there."""
    x0, y0 = np.maximum(spots[:, :2].min(0) - np.ptp(spots[:, :2], axis=0) * 0.5, 0).astype(int)
    x1, y1 = (spots[:, :2].max(0) + np.ptp(spots[:, :2], axis=0) * 0.5).astype(int)
    region = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    if not region.size:
        return USUAL_HIGHLIGHT
    step = max(1, round((region.shape[0] * region.shape[1] / 2000) ** 0.5))
    luma = (region[::step, ::step] @ LUMA).ravel()
    rank = int(0.95 * (luma.size - 1))
    return float(np.partition(luma, rank)[rank] / 255.0)
