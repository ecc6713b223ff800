"""A small z-buffer rasteriser and a soft visibility test, in NumPy."""

from __future__ import annotations

import numpy as np


def triangles_of(quads: np.ndarray) -> np.ndarray:
    """Split (Q, 4) quads into (2Q, 3) triangles; triangles 2i and 2i + 1 come from quad i."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1).reshape(-1, 3)


def rasterise(points: np.ndarray, triangles: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw triangles into a square picture, nearest first.

    points: (V, 3), pixel x (right), pixel y (down) and depth (smaller is nearer). triangles: (T, 3); those wound
    clockwise on the picture are seen from behind and left out. Returns the triangle at each pixel (size, size), -1
    where there is none, and the barycentric weights of the pixel centre (size, size, 3).
    """
    corner = points[triangles]
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low = np.maximum(np.ceil(corner[..., :2].min(1) - 0.5), 0).astype(np.int64)
    high = np.minimum(np.floor(corner[..., :2].max(1) - 0.5), size - 1).astype(np.int64)
    seen = np.flatnonzero((area < 0) & (high >= low).all(1))
    span = (high - low + 1)[seen]
    hits = span[:, 0] * span[:, 1]
    owner = np.repeat(seen, hits)
    step = np.arange(hits.sum()) - np.repeat(np.cumsum(hits) - hits, hits)
    width = np.repeat(span[:, 0], hits)
    x, y = low[owner, 0] + step % width, low[owner, 1] + step // width
    weights = _barycentric(corner[owner], x + 0.5, y + 0.5, area[owner])
    inside = (weights >= 0).all(1)
    owner, weights, pixel = owner[inside], weights[inside], (y * size + x)[inside]
    depth = (weights * corner[owner, :, 2]).sum(1)
    nearest = np.full(size * size, np.inf)
    np.minimum.at(nearest, pixel, depth)
    front = depth <= nearest[pixel]
    face, bary = np.full(size * size, -1), np.zeros((size * size, 3))
    face[pixel[front]], bary[pixel[front]] = owner[front], weights[front]
    return face.reshape(size, size), bary.reshape(size, size, 3)


def _barycentric(corner: np.ndarray, x: np.ndarray, y: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Barycentric weights (N, 3) of points (x, y) in the triangles (N, 3, >=2) with the given signed areas."""
    ax, ay, bx, by, cx, cy = (corner[:, i, j] for i in range(3) for j in range(2))
    wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
    wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
    return np.stack([wa, wb, 1 - wa - wb], -1)


def directions(count: int) -> np.ndarray:
    """Unit vectors spread evenly over the sphere (a Fibonacci lattice), (count, 3)."""
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, i * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], -1)


def around(direction: np.ndarray, spread: float, count: int) -> np.ndarray:
    """Unit vectors scattered evenly about a direction; `spread` is the radius of the light as a tangent. (count, 3)."""
    side, up = _frame(direction)
    i = np.arange(count) + 0.5
    radius, turn = spread * np.sqrt(i / count), i * np.pi * (3 - np.sqrt(5))
    rays = direction + np.outer(radius * np.cos(turn), side) + np.outer(radius * np.sin(turn), up)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def visible(points: np.ndarray, normals: np.ndarray, direction: np.ndarray, cell: float = 0.04) -> np.ndarray:
    """How much of each point (V, 3) is seen from far away along `direction`: (V,) from 0 hidden to 1 seen.

    Points are binned into square cells across the direction; those well behind the foremost one in their cell are
    hidden. Slanting surfaces (see `normals`, (V, 3)) get more leeway, or they would hide themselves.
    """
    side, up = _frame(direction)
    column = np.floor(np.stack([points @ side, points @ up], -1) / cell).astype(np.int64)
    column -= column.min(0)
    index = column[:, 0] * (column[:, 1].max() + 1) + column[:, 1]
    height, facing = points @ direction, np.clip(np.abs(normals @ direction), 0.15, 1)
    foremost = np.full(index.max() + 1, -np.inf)
    np.maximum.at(foremost, index, height)
    leeway = 0.02 + cell * np.sqrt(1 - facing**2) / facing
    return np.clip(1 - (foremost[index] - height - leeway) / 0.05, 0, 1)


def _frame(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors that span the plane across a unit direction."""
    helper = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side = np.cross(helper, direction)
    side /= np.linalg.norm(side)
    return side, np.cross(direction, side)
