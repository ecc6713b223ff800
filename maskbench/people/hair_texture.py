"""Strands as a picture that tiles across: how bright each is, and how far along it reaches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SIDE = 256
KINDS = ("straight", "wavy", "curly", "coily", "stubble")
# kind: cells of the noise across and along, for locks, strands and single hairs; how far locks weave, how often.
# At 160 pixels a tile is some 65 samples across, so what is finer than 25 cells would only flicker.
_SCALES = {
    "straight": ((5, 0.9), (11, 1.0), (24, 1.3), 0.012, 1),
    "wavy": ((5, 1.1), (11, 1.4), (24, 2.0), 0.040, 2),
    "curly": ((6, 3.0), (12, 4.0), (24, 7.0), 0.090, 5),
    "coily": ((8, 8.0), (16, 15.0), (28, 27.0), 0.025, 9),
    "stubble": ((8, 6.0), (30, 16.0), (60, 30.0), 0.004, 3),
}


@lru_cache(maxsize=8)
def strand_texture(kind: str) -> np.ndarray:
    """Brightness about 1 (0.5 to 1.5) and alpha, evenly spread over 0 to 1, of strands: (256, 256, 2) float32.

    Rows run along the strands from root to tip, columns across them; columns wrap. The same for every call.
    """
    rng = np.random.default_rng([77, KINDS.index(kind)])
    locks, strands, hairs, weave, turns = _SCALES[kind]
    down, across = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    phase = 2 * np.pi * smooth_noise(rng, 7, 1.0)
    shift = weave * np.sin(2 * np.pi * turns * down + 2.5 * phase) + 0.02 * (smooth_noise(rng, 4, 2.0) - 0.5)
    layers = [_moved(smooth_noise(rng, *cells), across + shift, down) for cells in (locks, strands, hairs)]
    bright = 1 + 0.40 * (layers[0] - 0.5) + 0.38 * (layers[1] - 0.5) + 0.20 * (layers[2] - 0.5)
    if kind in ("curly", "coily"):  # strands turn towards and away from the light as they coil
        bright += 0.16 * np.sin(2 * np.pi * turns * down + 2.5 * phase + 1.2)
    alpha = 0.35 * layers[0] + 0.7 * layers[1] + 0.4 * layers[2]
    alpha = (alpha - alpha.mean(1, keepdims=True)) / alpha.std(1, keepdims=True)
    rank = np.empty(alpha.size)
    rank[np.argsort(alpha.ravel(), kind="stable")] = (np.arange(alpha.size) + 0.5) / alpha.size
    rank = np.maximum(rank, 0.004)  # more than nought in eight bits: a cut of 0 leaves no hole
    return np.dstack([np.clip(bright, 0.5, 1.5), rank.reshape(alpha.shape)]).astype(np.float32)


def smooth_noise(rng: np.random.Generator, across: float, along: float) -> np.ndarray:
    """Noise (SIDE, SIDE) about 0.5 with the given numbers of cells; wraps both ways."""
    white = np.fft.rfft2(rng.standard_normal((SIDE, SIDE)))
    fy, fx = np.fft.fftfreq(SIDE)[:, None] * SIDE, np.fft.rfftfreq(SIDE)[None] * SIDE
    field = np.fft.irfft2(white * np.exp(-((fx / across) ** 2) - (fy / along) ** 2), (SIDE, SIDE))
    field -= field.mean()
    return np.clip(0.5 + 0.22 * field / field.std(), 0, 1)


def _moved(field: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The field read at other places across; bilinear, wrapping."""
    x = (across % 1) * SIDE
    column = x.astype(np.int64) % SIDE
    t, row = x - np.floor(x), np.rint(down * SIDE).astype(np.int64)
    return field[row, column] * (1 - t) + field[row, (column + 1) % SIDE] * t
