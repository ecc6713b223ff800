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
from maskbench.pixels import LUMA

# Skin that beard, brows, lips and glasses seldom hide: forehead, nose, cheeks, chin sides.
SKIN = (
    151, 108, 337, 69, 299, 9, 107, 336, 67, 297, 6, 197, 195, 5, 50, 280, 101, 330, 118, 347, 36, 266, 205, 425,
    116, 345, 123, 352, 147, 376, 187, 411, 213, 433, 192, 416, 207, 427, 199, 200, 208, 428,
)  # fmt: skip
USUAL_SKIN = 0.56  # median luma of skin in a well exposed photograph, 0..1
USUAL_HIGHLIGHT = 0.88
EXPOSURE_SHARE = 0.65
USUAL_SKIN_COLOUR = np.array([1.28, 0.95, 0.80])  # relative to its luma
DARKEST, BRIGHTEST = 0.45, 1.35
LEAST_SEEN, UNSEEN_GAIN = 8, 0.9  # with fewer spots of skin in the picture there is nothing to judge by
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
        shade = np.empty(len(normals))
        _shade(shade, normals, self.coefficients)
        return shade


@compiled
def _shade(shade, normals, coefficients):  # noqa: ANN001 - numba infers the types
    """``Light.shade``, written into (G,)."""
    for n in range(normals.shape[0]):
        level = coefficients[0]
        for axis in range(3):
            level += coefficients[axis + 1] * normals[n, axis]
        shade[n] = min(max(level, DARKEST), BRIGHTEST)


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
    return Light(*_light(image, binding @ control, solve))


@compiled
def _light(image, spots, solve):  # noqa: ANN001 - numba infers the types
    """Gain, colour (3,) and coefficients (4,) from (S, 3) spots of skin, and their solution (4, S)."""
    colours, inside = np.zeros((spots.shape[0], 3)), np.empty(spots.shape[0], np.bool_)
    _patches(colours, inside, image, spots)
    colour, coefficients = np.ones(3), np.zeros(4)
    luma, seen, ordered = np.empty(spots.shape[0]), 0, np.empty(spots.shape[0])
    for n in range(spots.shape[0]):
        luma[n] = colours[n, 0] * LUMA[0] + colours[n, 1] * LUMA[1] + colours[n, 2] * LUMA[2]
        if inside[n]:
            ordered[seen] = luma[n]
            seen += 1
    if seen < LEAST_SEEN:
        coefficients[0] = 1.0
        return UNSEEN_GAIN, colour, coefficients
    ordered = np.sort(ordered[:seen])
    bounds = (ordered[int(0.12 * seen)], ordered[int(0.88 * seen)])
    gain = _fit(luma, colour, colours, inside, bounds, _highlight(image, spots) / USUAL_HIGHLIGHT)
    for k in range(4):
        for n in range(spots.shape[0]):
            coefficients[k] += solve[k, n] * luma[n]
    return gain, colour, coefficients


@compiled
def _fit(luma, colour, colours, inside, bounds, exposure):  # noqa: ANN001
    """Return the gain; make ``luma`` (S,) relative to its mean, outliers and what is unseen replaced, and write the
    ``colour`` (3,)."""
    seen, skin, plain = 0.0, np.zeros(3), 0.0
    for n in range(luma.shape[0]):
        if inside[n]:
            seen += 1
            plain += luma[n]
            luma[n] = min(max(luma[n], bounds[0]), bounds[1])
            for c in range(3):
                skin[c] += colours[n, c]
    mean = 0.0
    for n in range(luma.shape[0]):
        if not inside[n]:
            luma[n] = plain / seen
        mean += luma[n]
    mean = max(mean / luma.shape[0], 1e-3)
    luma /= mean
    if max(skin[0], skin[1], skin[2]) - min(skin[0], skin[1], skin[2]) > 1e-3 * seen:
        total = 0.0
        for c in range(3):
            colour[c] = min(max((skin[c] / seen / mean / USUAL_SKIN_COLOUR[c]) ** 0.35, 0.88), 1.12)
            total += colour[c] * LUMA[c]
        colour /= total
    # More from the highlights of the surroundings (the exposure) than from the skin: skin alone would make white cloth
    # grey on dark skin, the exposure alone would make it glow on faces in the shade.
    bright = min(max(exposure, 0.3), 1.08) ** EXPOSURE_SHARE
    return bright * min(max(mean / USUAL_SKIN, 0.25), 1.15) ** (1 - EXPOSURE_SHARE)


def _sample(image: np.ndarray, spots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours (S, 3), 0..1, of small patches around (S, 3) positions, and which lie in the picture."""
    colours, inside = np.zeros((len(spots), 3)), np.empty(len(spots), np.bool_)
    _patches(colours, inside, image, spots)
    return colours, inside


@compiled
def _patches(colours, inside, image, spots):  # noqa: ANN001
    """Add to (S, 3) the mean, 0..1, of five bilinear samples around each position, clamped to the picture."""
    height, width = image.shape[:2]
    radius = max(1.0, (spots[:, 0].max() - spots[:, 0].min()) / 40)
    for n in range(spots.shape[0]):
        x, y = spots[n, 0], spots[n, 1]
        inside[n] = x > 0 and y > 0 and x < width - 1 and y < height - 1
        for dx, dy in ((0.0, 0.0), (radius, 0.0), (-radius, 0.0), (0.0, radius), (0.0, -radius)):
            u, v = min(max(x + dx, 0.0), width - 1.0), min(max(y + dy, 0.0), height - 1.0)
            u0, v0 = max(min(int(u), width - 2), 0), max(min(int(v), height - 2), 0)
            u1, v1 = min(u0 + 1, width - 1), min(v0 + 1, height - 1)
            fu, fv = u - u0, v - v0
            for c in range(3):
                upper = image[v0, u0, c] * (1 - fu) + image[v0, u1, c] * fu
                lower = image[v1, u0, c] * (1 - fu) + image[v1, u1, c] * fu
                colours[n, c] += (upper * (1 - fv) + lower * fv) / 1275.0


@compiled
def _highlight(image, spots):  # noqa: ANN001
    """The 95th percentile of luma, 0..1, in the region around the face: how bright white things are there."""
    luma = np.empty(HIGHLIGHT_SAMPLES**2)
    _grid_luma(luma, image, spots, HIGHLIGHT_SAMPLES)
    rank = int(0.95 * (luma.size - 1))
    return np.partition(luma, rank)[rank] / 255.0


@compiled
def _grid_luma(luma, image, spots, side):  # noqa: ANN001
    """Write the luma, 0..255, of a grid of pixels around (S, 3) spots, clamped to the picture: (side * side,)."""
    height, width = image.shape[:2]
    x0, x1, y0, y1 = spots[:, 0].min(), spots[:, 0].max(), spots[:, 1].min(), spots[:, 1].max()
    x0, x1, y0, y1 = x0 - (x1 - x0) * 0.5, x1 + (x1 - x0) * 0.5, y0 - (y1 - y0) * 0.5, y1 + (y1 - y0) * 0.5
    columns = np.empty(side, np.int64)
    for j in range(side):
        columns[j] = int(min(max(x0 + (x1 - x0) * ((j + 0.5) / side), 0.0), width - 1.0))
    for i in range(side):
        row = int(min(max(y0 + (y1 - y0) * ((i + 0.5) / side), 0.0), height - 1.0))
        for j in range(side):
            pixel = image[row, columns[j]]
            luma[i * side + j] = LUMA[0] * pixel[0] + LUMA[1] * pixel[1] + LUMA[2] * pixel[2]


def strap_sight(image: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """How much of each strap is in sight: it passes under hair, and is not seen before the background.

    Going outwards from the cheek, the strap ends where the picture stops looking like that cheek: the logarithm of the
    ratio of their luma, plus the distance of their colours at equal luma.

    Args:
        centres: (R, n, 3) pixels along the straps, beginning at the mask.

    Returns:
        (R, n) in 0..1, falling along each strap.
    """
    sight = np.empty(centres.shape[:2])
    _sight(sight, image, np.ascontiguousarray(centres))
    return sight


@compiled
def hide_behind(image, sides, opacity, steps):  # noqa: ANN001 - numba infers the types
    """Take from the ``opacity`` (R * 2 * n,) of straps, whose left and right sides are given as (R * 2 * n, 3) pixels,
    what is not in sight (``strap_sight``)."""
    straps = opacity.shape[0] // (2 * steps)
    sight, centres = np.empty((straps, steps)), np.empty((straps, steps, 3))
    for r in range(straps):
        for k in range(steps):
            for axis in range(3):
                centres[r, k, axis] = (sides[2 * r * steps + k, axis] + sides[(2 * r + 1) * steps + k, axis]) * 0.5
    _sight(sight, image, centres)
    for r in range(straps):
        for k in range(steps):
            opacity[2 * r * steps + k] *= sight[r, k]
            opacity[(2 * r + 1) * steps + k] *= sight[r, k]


@compiled
def _sight(sight, image, centres):  # noqa: ANN001
    """Write how much (R, n) of each strap with these (R, n, 3) centres looks like where it begins."""
    straps, steps = sight.shape
    colours, inside = np.full((straps * steps, 3), 0.02), np.empty(straps * steps, np.bool_)
    _patches(colours, inside, image, centres.reshape(straps * steps, 3))
    first, cheek = max(steps // 3, 1), np.empty(3)
    for r in range(straps):
        own, least = colours[r * steps : (r + 1) * steps], 1.0
        for c in range(3):  # the median of where it begins
            near = np.sort(own[:first, c])
            cheek[c] = (near[(first - 1) // 2] + near[first // 2]) / 2
        cheek_luma = cheek[0] * LUMA[0] + cheek[1] * LUMA[1] + cheek[2] * LUMA[2]
        for k in range(steps):
            luma = own[k, 0] * LUMA[0] + own[k, 1] * LUMA[1] + own[k, 2] * LUMA[2]
            apart = 0.0
            for c in range(3):
                apart += abs(own[k, c] / luma - cheek[c] / cheek_luma)
            unlike = abs(np.log(luma / cheek_luma)) + apart / 2
            least = min(least, max((UNLIKE_SKIN - unlike) / (UNLIKE_SKIN - LIKE_SKIN), 0.0))
            sight[r, k] = least


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
