"""How a photograph was taken: its blur and its noise, so that the mask can look taken by the same camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from maskbench.masking.kernels import bounds, compiled

TILE = 256
SAMPLED = 48  # rows and columns looked at, at most; the estimates are medians and quantiles
STRONGEST = 0.04  # share of the steepest places, taken as edges
LEAST_EDGE = 12.0  # of 255, over two pixels; flatter pictures show no edge to judge the blur by
MOST_BLUR, MOST_NOISE = 2.5, 14.0
# The energy of differences over one pixel, relative to those over two, at edges that a Gaussian of this deviation
# blurred, by simulation: the sharper, the nearer to 1/2; the more blurred, the nearer to 1/4.
BLUR_OF_RATIO = (
    (0.2594, 1.25), (0.2650, 1.00), (0.2753, 0.80), (0.2925, 0.60), (0.3189, 0.45), (0.3679, 0.30), (0.5000, 0.00),
)  # fmt: skip
_RATIOS, _BLURS = np.array(BLUR_OF_RATIO).T.copy()
LUMA_WEIGHTS, LUMA_BITS = (9798, 19235, 3735), 15  # of OpenCV's fixed-point luma, for other renderers
GREY_TOLERANCE = 12  # spread of the channels that JPEG and WebP leave in greyscale pictures
COARSE = 0.9  # above this blur the ratio hardly moves; it is judged over twice the distance then


@dataclass(frozen=True)
class Grain:
    """``blur``: standard deviation in pixels of the Gaussian that edges look blurred by; ``noise``: of luma, 0..255."""

    blur: float
    noise: float


def estimate_grain(region: np.ndarray, grey: bool = False) -> Grain:
    """Estimate blur and noise of a part of a picture.

    Noise: the median response to Immerkaer's mask ("Fast Noise Variance Estimation", CVIU 64, 1996; the median
    instead of the mean, against edges). Blur: how the energy of differences grows from one pixel to two at the
    steepest places, the noise's own part taken off.

    Args:
        region: (h, w, 3) uint8 RGB around the face. Less than 8 pixels on a side give no blur and no noise.
        grey: its channels are known to be equal, so that each is the luma.
    """
    if min(region.shape[:2]) < 8:
        return Grain(0.0, 0.0)
    return Grain(*_grain(cv2.extractChannel(region, 0) if grey else cv2.cvtColor(region, cv2.COLOR_RGB2GRAY)))


def face_grain(image: np.ndarray, control: np.ndarray, grey: bool = False) -> Grain:
    """Blur and noise of the part of an (H, W, 3) uint8 picture around the (K, 3) control points of a face; ``grey`` as
    ``estimate_grain`` has it."""
    height, width = image.shape[:2]
    x0, x1, y0, y1 = bounds(control)
    x0, y0 = (math.floor(max(value, 0.0)) for value in (x0, y0))
    x1, y1 = (math.ceil(max(value, 0.0)) + 1 for value in (x1, y1))
    return estimate_grain(image[y0:y1, x0:x1], grey) if x0 < width and y0 < height else Grain(0.0, 0.0)


@compiled
def _grain(luma):  # noqa: ANN001 - numba infers the types
    """Blur and noise of an (h, w) uint8 picture."""
    luma = luma.astype(np.int16)  # signed, for differences
    noise = _median_response(luma, 1 + luma.shape[0] // SAMPLED) / (6 * 0.6745)
    step = 1 + max(luma.shape[0], luma.shape[1]) // SAMPLED
    blur = _edge_blur(luma, noise, 1, step)
    if blur >= COARSE:
        blur = min(max(COARSE, 2 * _edge_blur(luma, noise, 2, step)), MOST_BLUR)
    return blur, min(noise, MOST_NOISE)


@compiled
def _edge_blur(luma, noise, reach, step):  # noqa: ANN001
    """Blur in units of ``reach`` pixels, from differences over ``reach`` and twice that."""
    one, two, count = _edge_energy(luma, reach, step, max(LEAST_EDGE, 6 * noise))
    if count < 12:
        return 0.0
    variance = 2 * noise**2
    ratio = (one - variance) / max(two - variance, 1e-6)
    return np.interp(ratio, _RATIOS, _BLURS)


@compiled
def _median_response(luma, step):  # noqa: ANN001
    """The median size of Immerkaer's response on every ``step``-th row of an (h, w) int16 picture."""
    counts, total = np.zeros(2041, np.int64), 0
    for r in range(1, luma.shape[0] - 1, step):
        above, here, below = luma[r - 1], luma[r], luma[r + 1]
        for c in range(1, luma.shape[1] - 1):
            corners = above[c - 1] + above[c + 1] + below[c - 1] + below[c + 1]
            sides = above[c] + below[c] + here[c - 1] + here[c + 1]
            counts[abs(corners - 2 * sides + 4 * here[c])] += 1
            total += 1
    return _quantile(counts, total, 0.5)


@compiled
def _quantile(counts, total, share):  # noqa: ANN001
    """The value below which lies this share of a histogram's ``total`` entries."""
    below = 0
    for value in range(counts.shape[0]):
        below += counts[value]
        if below > share * total:
            return value
    return counts.shape[0] - 1


@compiled
def _edge_energy(luma, reach, step, least):  # noqa: ANN001
    """Mean square difference over ``reach`` and over twice that at the steepest places, and how many these are."""
    height, width = luma.shape
    plane, differences = luma.reshape(luma.size), np.empty(2 * luma.size, np.uint8)
    counts, total = np.zeros(256, np.int64), 0
    for turn in range(2):  # along the rows, then along the columns
        dr, dc = (0, reach) if turn == 0 else (reach, 0)
        apart = np.uint64(dr * width + dc)  # unsigned indices spare the compiled code a test for negative ones
        for r in range(dr, height - dr, step if turn == 0 else 1):
            for c in range(dc, width - dc, 1 if turn == 0 else step):
                at = np.uint64(r * width + c)
                difference = np.uint8(abs(plane[at + apart] - plane[at - apart]))
                differences[np.uint64(total)] = difference
                counts[np.uint64(difference)] += 1
                total += 1
    limit = int(np.ceil(max(_quantile(counts, total, 1.0 - STRONGEST), least)))
    one, two, count, k = 0, 0, 0, 0
    for turn in range(2):
        dr, dc = (0, reach) if turn == 0 else (reach, 0)
        apart = np.uint64(dr * width + dc)
        for r in range(dr, height - dr, step if turn == 0 else 1):
            for c in range(dc, width - dc, 1 if turn == 0 else step):
                if differences[np.uint64(k)] >= limit:
                    at = np.uint64(r * width + c)
                    before, here, after = plane[at - apart], plane[at], plane[at + apart]
                    one += (here - before) ** 2 + (after - here) ** 2
                    two += (after - before) ** 2
                    count += 1
                k += 1
    return 0.5 * one / max(count, 1), two / max(count, 1), count


def looks_grey(image: np.ndarray) -> bool:
    """Whether an (H, W, 3) uint8 image is a greyscale photograph, allowing for the colour noise of its compression."""
    return _looks_grey(image, max(1, round((image.shape[0] * image.shape[1] / 4000) ** 0.5)))


@compiled
def _looks_grey(image, step):  # noqa: ANN001
    coloured, total = 0, 0
    for r in range(0, image.shape[0], step):
        for c in range(0, image.shape[1], step):
            red, green, blue = image[r, c, 0], image[r, c, 1], image[r, c, 2]
            coloured += int(max(red, green, blue)) - int(min(red, green, blue)) > GREY_TOLERANCE
            total += 1
    return coloured <= total // 50


@lru_cache(maxsize=1)
def noise_tile() -> np.ndarray:
    """(TILE, TILE) float32 of unit deviation, the same in every process."""
    tile = np.random.Generator(np.random.PCG64(468)).normal(size=(TILE, TILE))
    return (tile / tile.std()).astype(np.float32)
