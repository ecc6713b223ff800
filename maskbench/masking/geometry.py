"""A mask's surface in the canonical frame: a panel stretched over the face, and ribbons that run to the ears.

Everything is symmetric about the face's midline. Lengths are in inter-ocular distances, texture coordinates in 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from maskbench.landmarks.base import FACE_OVAL
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.space import operator

COLUMNS, ROWS = 29, 19
STRAP_STEPS = 10
TOWARD_CAMERA = -1.0  # z grows away from the camera
HEAD_AXIS_DEPTH = 1.2  # the head's axis is vertical, well behind the face
PROBE = 0.1  # how far outside a strap its facing is probed


@dataclass(frozen=True)
class Surface:
    """A mask in the canonical frame, bound to the control points: a panel of G nodes and R straps of n steps.

    The vertices are the panel's nodes, then for each strap its two sides, n vertices each. A strap is bound by its
    centre line; its sides are made in the picture, so that it never gets thinner than a pixel.

    Attributes:
        nodes: (G, 3) positions of the panel's nodes.
        binding: (G, K), ``space.operator(nodes)``.
        strap_binding: (R * n, K) of the centre lines; strap_probe: (R * n, K) of points ``PROBE`` outside of them,
            which tell whether a strap is on the visible side of the head.
        strap_width: (R,), the transparent margins of the texture included.
        normals: (V, 3) unit, outward, of all vertices; uv: (V, 2), u right, v down.
        triangles: (T, 3) int, wound so that the projection of an outward-facing one has positive area; the first
            ``panel_triangles`` are the panel's.
        uv_per_unit: square root of the panel's area in the texture over its area as seen from the front.
    """

    nodes: np.ndarray
    binding: np.ndarray
    strap_binding: np.ndarray
    strap_probe: np.ndarray
    strap_width: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    panel_triangles: int
    uv_per_unit: float


def build_surface(geometry: Mapping[str, Any]) -> Surface:
    """Make the surface that ``geometry`` of an ``asset.json`` describes (see docs/masks.md)."""
    grid, uv = _panel(geometry["panel"])
    normals = np.cross(np.gradient(grid, axis=0), np.gradient(grid, axis=1))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    nodes, flat = grid.reshape(-1, 3), uv.reshape(-1, 2)
    panel = grid_triangles(*grid.shape[:2])
    straps = [_strap(ribbon, side) for ribbon in geometry.get("ribbons", ()) for side in (1.0, -1.0)]
    centre, outward = (np.array([strap[k] for strap in straps]).reshape(-1, 3) for k in (0, 1))
    across = [np.tile(strap[1], (2, 1)) for strap in straps]
    starts = len(nodes) + 2 * STRAP_STEPS * np.arange(len(straps))
    return Surface(
        nodes=nodes,
        binding=operator(nodes),
        strap_binding=operator(centre),
        strap_probe=operator(centre + PROBE * outward),
        strap_width=np.array([float(ribbon["width"]) for ribbon in geometry.get("ribbons", ()) for _ in (1, 2)]),
        normals=np.concatenate([normals.reshape(-1, 3), *across]),
        uv=np.concatenate([flat, *(strap[2] for strap in straps)]),
        triangles=np.concatenate([panel, *(grid_triangles(2, STRAP_STEPS) + start for start in starts)]),
        panel_triangles=len(panel),
        uv_per_unit=float(np.sqrt(_area(flat[panel]) / max(_area(nodes[panel][..., :2]), 1e-9))),
    )


def _panel(panel: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (ROWS, COLUMNS, 3) and texture coordinates (ROWS, COLUMNS, 2)."""
    s = np.linspace(-1.0, 1.0, COLUMNS)
    t = np.linspace(0.0, 1.0, ROWS)
    top, bottom = _edge(panel["top"], s), _edge(panel["bottom"], s)
    x, y = (top[:, axis] + t[:, None] * (bottom - top)[:, axis] for axis in (0, 1))
    z = taut_depth(x, y)
    z = z + TOWARD_CAMERA * _bulge(panel, s, t)
    # The lower rows turn in under the chin, where the height field of the face has ended.
    z += panel.get("tuck", 0.0) * np.clip((t - 0.8) / 0.2, 0, 1)[:, None] ** 2
    grid = np.stack([x, y, z], -1)
    u = _arc_length(grid[ROWS // 2])
    u0, v0, u1, v1 = panel["uv"]
    uv = np.stack(np.broadcast_arrays(u0 + (u1 - u0) * u, (v0 + (v1 - v0) * t)[:, None]), -1)
    return grid, np.ascontiguousarray(uv)


def _edge(points: list[list[float]], s: np.ndarray) -> np.ndarray:
    """Sample a symmetric edge given by its right half (x >= 0, from the midline outward) at s in -1..1: (n, 2)."""
    from scipy.interpolate import PchipInterpolator

    half = np.asarray(points, np.float64)
    both = np.concatenate([half[:0:-1] * [-1, 1], half])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(both, axis=0).T))])
    return PchipInterpolator(2 * length / length[-1] - 1, both, axis=0)(s)


def _bulge(panel: Mapping[str, Any], s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """How far the panel stands off the taut surface, (ROWS, COLUMNS): gap, cup, vertical and level ridge."""
    tt, ss = t[:, None], np.abs(s)[None]
    dome = (1 - ss**2) * np.sin(np.pi * tt) ** 0.7
    ridge = np.clip(1 - ss / 0.75, 0, 1) * np.sin(np.pi * tt) ** 0.7
    level = np.exp(-(((tt - 0.45) / 0.16) ** 2)) * (1 - ss**2)
    lift = panel.get("cup", 0.0) * dome + panel.get("ridge", 0.0) * ridge + panel.get("shelf", 0.0) * level
    return panel["gap"] + lift


@lru_cache(maxsize=1)
def _hull_planes() -> np.ndarray:
    """Supporting planes (a, b, d) of the face seen from the front; the taut surface is their maximum a x + b y + d.

    Cloth pulled over a face follows its convex hull: it touches nose, cheek bones and chin and bridges the rest.
    """
    from scipy.spatial import ConvexHull

    face = canonical_face()
    jaw = face[list(FACE_OVAL[9:27])]
    below = jaw + [0.0, 0.10, 0.22]  # the jaw's underside, which the mesh does not have
    sides = face[[234, 454, 127, 356, 93, 323]] * [1.08, 1, 1] + [0, 0, 0.35]  # on to the ears
    equations = ConvexHull(np.concatenate([face, below, sides])).equations
    front = equations[equations[:, 2] < -1e-6]
    return -front[:, [0, 1, 3]] / front[:, 2:3]


def taut_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth z of the taut surface at canonical positions, any shape; slightly rounded at the hull's edges."""
    planes = _hull_planes()
    depth = x[..., None] * planes[:, 0] + y[..., None] * planes[:, 1] + planes[:, 2]
    softness = 0.02
    peak = depth.max(-1, keepdims=True)
    return peak[..., 0] + softness * np.log(np.exp((depth - peak) / softness).sum(-1)) - softness


def _strap(ribbon: Mapping[str, Any], side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre line (n, 3), outward directions (n, 3) and uv of the two sides (2n, 2); ``side`` -1 mirrors it."""
    from scipy.interpolate import PchipInterpolator

    points = np.asarray(ribbon["points"], np.float64) * [side, 1, 1]
    if len(points) < 2:
        raise ValueError("a ribbon needs two points or more")
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    centre = PchipInterpolator(length / length[-1], points, axis=0)(np.linspace(0, 1, STRAP_STEPS))
    outward = (centre - [0.0, 0.0, HEAD_AXIS_DEPTH]) * [1, 0, 1]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    u0, v0, u1, v1 = ribbon["uv"]
    u = np.linspace(u0, u1, STRAP_STEPS)
    return centre, outward, np.concatenate([np.column_stack([u, np.full(STRAP_STEPS, v)]) for v in (v0, v1)])


def _area(corners: np.ndarray) -> float:
    """Twice the summed absolute area of (T, 3, 2) triangles."""
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return float(np.abs(ax * by - ay * bx).sum())


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """The triangles (T, 3) of a grid of nodes in row order whose columns run right and rows run down."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def _arc_length(curve: np.ndarray) -> np.ndarray:
    """Normalised arc length 0..1 along an (n, 3) curve, so that cloth is not stretched towards the ears."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return length / length[-1]
