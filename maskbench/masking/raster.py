"""Triangles to a map of texture coordinates: a vectorised rasteriser with painter's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CANDIDATES = 1_000_000  # pixels looked at at a time: about 150 MB


@dataclass(frozen=True)
class UvMap:
    """What each pixel of a window sees of the surface.

    Attributes:
        x0, y0: the window's top-left pixel in the picture.
        values: (h, w, C) float32, the vertex attributes interpolated; -1 where nothing is seen.
        covered: (h, w) bool.
    """

    x0: int
    y0: int
    values: np.ndarray
    covered: np.ndarray


def rasterise(
    points: np.ndarray, triangles: np.ndarray, attributes: np.ndarray, width: int, height: int
) -> UvMap | None:
    """Project a mesh orthographically along z and interpolate its vertex attributes.

    Triangles that face away are dropped; nearer ones (smaller z) are painted over farther ones.

    Args:
        points: (G, 3) pixels, z growing away from the camera.
        triangles: (T, 3) int, positive projected area when facing the camera.
        attributes: (G, C).
        width, height: of the picture; nothing outside it is touched.

    Returns:
        The window around the mesh, or None if no part of it is visible.
    """
    corners = points[triangles]  # (T, 3, 3)
    x, y = corners[..., 0], corners[..., 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    left = np.maximum(np.ceil(x.min(1)), 0).astype(np.int64)
    right = np.minimum(np.floor(x.max(1)), width - 1).astype(np.int64)
    top = np.maximum(np.ceil(y.min(1)), 0).astype(np.int64)
    bottom = np.minimum(np.floor(y.max(1)), height - 1).astype(np.int64)
    seen = np.flatnonzero((area > 1e-6) & (left <= right) & (top <= bottom))
    if not len(seen):
        return None
    seen = seen[np.argsort(-corners[seen, :, 2].mean(1), kind="stable")]
    left, right, top, bottom = left[seen], right[seen], top[seen], bottom[seen]
    x0, y0 = int(left.min()), int(top.min())
    window = (int(bottom.max()) - y0 + 1, int(right.max()) - x0 + 1)

    weights, corner_values = _barycentric(x[seen], y[seen], area[seen]), attributes[triangles[seen]]
    values = np.full((window[0] * window[1], attributes.shape[1]), -1.0, np.float32)
    covered = np.zeros(window[0] * window[1], bool)
    for part in _parts((right - left + 1) * (bottom - top + 1)):
        owner, px, py = _candidates(left[part], right[part], top[part], bottom[part])
        c = weights[part][owner]
        b = c[..., 0] * px[:, None] + c[..., 1] * py[:, None] + c[..., 2]
        hit = np.flatnonzero((b >= -1e-9).all(1))
        pixel = (py[hit] - y0) * window[1] + px[hit] - x0
        # For a repeated index NumPy keeps the last value, so later (nearer) triangles win.
        values[pixel] = np.einsum("nk,nkc->nc", b[hit], corner_values[part][owner[hit]])
        covered[pixel] = True
    return UvMap(x0, y0, values.reshape(*window, -1), covered.reshape(window))


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Runs of triangles, in order, with about ``CANDIDATES`` pixels to look at each: bounds the memory."""
    group = np.cumsum(counts) // CANDIDATES
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(counts)]
    yield from (slice(start, end) for start, end in zip(edges, edges[1:], strict=False))


def _candidates(left, right, top, bottom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel of every triangle's box: owner index, x, y, in the triangles' order."""
    wide = right - left + 1
    count = wide * (bottom - top + 1)
    owner = np.repeat(np.arange(len(count)), count)
    local = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(local, wide[owner])
    return owner, left[owner] + column, top[owner] + row


def _barycentric(x: np.ndarray, y: np.ndarray, area: np.ndarray) -> np.ndarray:
    """(T, 3 corners, 3) coefficients of the affine functions b = c0 px + c1 py + c2."""
    nx, px = np.roll(x, -1, 1), np.roll(x, -2, 1)
    ny, py = np.roll(y, -1, 1), np.roll(y, -2, 1)
    return np.stack([ny - py, px - nx, nx * py - px * ny], -1) / area[:, None, None]
