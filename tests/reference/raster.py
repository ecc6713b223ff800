"""The tests' fast oracle of who owns which pixel: a vectorised rasteriser in NumPy with painter's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CANDIDATES = 1_000_000  # pixels looked at at a time; bounds the memory on large faces


@dataclass(frozen=True)
class SurfaceMap:
    """What each pixel of a window sees of a mesh.

    Attributes:
        x0, y0: the window's top-left pixel in the picture.
        triangle: (h, w) int, the triangle seen, -1 where there is none.
        values: (C, h, w) float32, the vertex attributes interpolated; -1 where nothing is seen.
    """

    x0: int
    y0: int
    triangle: np.ndarray
    values: np.ndarray


def rasterise(
    points: np.ndarray, triangles: np.ndarray, attributes: Sequence[np.ndarray], width: int, height: int
) -> SurfaceMap | None:
    """Project a mesh orthographically along z and interpolate its vertex attributes.

    Triangles that face away are dropped; nearer ones (smaller z) are painted over farther ones.

    Args:
        points: (V, 3) pixels, z growing away from the camera.
        triangles: (T, 3) int, positive projected area when facing the camera.
        attributes: C arrays (V,).
        width, height: of the picture; nothing outside it is touched.

    Returns:
        The window around the mesh, or None if no part of it is visible.
    """
    x, y, z = (points[:, axis][triangles.T] for axis in range(3))  # (3 corners, T): rows are contiguous
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    left, right = _pixel_range(x, width)
    top, bottom = _pixel_range(y, height)
    seen = np.flatnonzero((area > 1e-6) & (left <= right) & (top <= bottom))
    if not len(seen):
        return None
    seen = seen[np.argsort(-(z[0] + z[1] + z[2])[seen], kind="stable")]
    left, right, top, bottom = left[seen], right[seen], top[seen], bottom[seen]
    x0, y0 = int(left.min()), int(top.min())
    window = (int(bottom.max()) - y0 + 1, int(right.max()) - x0 + 1)

    edges = _barycentric(x[:, seen], y[:, seen], area[seen])
    owner = np.full(window[0] * window[1], -1, np.int64)
    for part in _parts((right - left + 1) * (bottom - top + 1)):
        count, px, py = _candidates(left[part], right[part], top[part], bottom[part])
        inside = np.ones(len(px), bool)
        for a, b, c in edges[..., part]:
            inside &= np.repeat(a, count) * px + np.repeat(b, count) * py + np.repeat(c, count) >= -1e-9
        hit = np.flatnonzero(inside)
        # For a repeated index NumPy keeps the last value, so later (nearer) triangles win.
        triangle = np.repeat(np.arange(part.start, part.stop), count)
        owner[(py[hit] - y0) * window[1] + px[hit] - x0] = triangle[hit]
    pixels = np.flatnonzero(owner >= 0)
    mine = owner[pixels]
    row, column = np.divmod(pixels, window[1])
    values = np.full((len(attributes), len(owner)), -1.0, np.float32)
    for channel, attribute in zip(values, attributes, strict=True):
        # On a triangle an attribute is affine in the pixel's position.
        corners = attribute[triangles.T][:, seen]
        a, b, c = (edges[:, k] * corners for k in range(3))
        channel[pixels] = a.sum(0)[mine] * (column + x0) + b.sum(0)[mine] * (row + y0) + c.sum(0)[mine]
    owner[pixels] = seen[mine]
    return SurfaceMap(x0, y0, owner.reshape(window), values.reshape(-1, *window))


def _pixel_range(positions: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last pixel centre, within the picture, in the box of each triangle; (3, T) to two (T,) int arrays."""
    low = np.minimum(np.minimum(positions[0], positions[1]), positions[2])
    high = np.maximum(np.maximum(positions[0], positions[1]), positions[2])
    return np.maximum(np.ceil(low), 0).astype(np.int64), np.minimum(np.floor(high), size - 1).astype(np.int64)


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Runs of triangles, in order, with about ``CANDIDATES`` pixels to look at each: bounds the memory."""
    group = np.cumsum(counts) // CANDIDATES
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(counts)]
    yield from (slice(start, end) for start, end in zip(edges, edges[1:], strict=False))


def _candidates(left, right, top, bottom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel of every triangle's box, in the triangles' order: how many each has, and their x and y."""
    wide = right - left + 1
    count = wide * (bottom - top + 1)
    local = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    row = local // np.repeat(wide, count)
    column = local - row * np.repeat(wide, count)
    return count, np.repeat(left, count) + column, np.repeat(top, count) + row


def _barycentric(x: np.ndarray, y: np.ndarray, area: np.ndarray) -> np.ndarray:
    """(3 corners, 3, T) coefficients of the affine functions b = c0 px + c1 py + c2, from (3, T) corners."""
    nx, px, ny, py = x[[1, 2, 0]], x[[2, 0, 1]], y[[1, 2, 0]], y[[2, 0, 1]]
    return np.stack([ny - py, px - nx, nx * py - px * ny], 1) / area
