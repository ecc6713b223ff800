"""A mask's surface in the canonical frame: panels over the face or round the head, and ribbons that run to the ears.

Lengths are in inter-ocular distances, texture coordinates in 0 to 1. The format is described in docs/masks.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from maskbench.landmarks.base import FACE_OVAL
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.space import operator

COLUMNS, ROWS = 29, 19
STRAP_STEPS = 10
TOWARD_CAMERA = -1.0  # z grows away from the camera
HEAD_AXIS_DEPTH = 1.2  # the head's axis is vertical, well behind the face
LATHE_AXIS_DEPTH = 1.1  # of what goes round the head, unless the asset says otherwise
SEWN = 0.12  # a strap that begins this near to a panel, as seen from the front, is fixed to it
HEM, RIM = 4, 1  # rows and columns that a strap is sewn in from the edge of cloth, or hinged in from that of a frame
EDGE_SHARE = 0.3  # how much less than its inside a panel's edge may be off
PROBE = 0.1  # how far outside a strap its facing is probed


@dataclass(frozen=True)
class Layer:
    """Triangles ``start`` to ``stop`` of a surface, drawn over the layers before it.

    Attributes:
        tinted: whether the colourway multiplies it.
    """

    start: int
    stop: int
    tinted: bool


@dataclass(frozen=True)
class Surface:
    """A mask in the canonical frame, bound to the control points: panels of G nodes and R straps of n steps.

    The vertices are the panels' nodes, then for each strap its two sides, n vertices each. A strap is bound by its
    centre line; its sides are made in the picture, so that it never gets thinner than a pixel.

    Attributes:
        nodes: (G, 3) positions of the panels' nodes.
        binding: (G, K), ``space.operator(nodes)``.
        strap_binding: (R * n, K) of the centre lines; strap_probe: (R * n, K) of points ``PROBE`` outside of them,
            which tell whether a strap is on the visible side of the head.
        strap_width: (R,), the transparent margins of the texture included.
        normals: (V, 3) unit, outward, of all vertices; uv: (V, 2), u right, v down.
        triangles: (T, 3) int32, wound so that the projection of an outward-facing one has positive area.
        layers: in drawing order: the straps, then the panels.
    """

    nodes: np.ndarray
    binding: np.ndarray
    strap_binding: np.ndarray
    strap_probe: np.ndarray
    strap_width: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    layers: tuple[Layer, ...]

    @cached_property
    def carrier(self) -> np.ndarray:
        """(G + 2 R n, K): the bindings of nodes, centre lines and probes in one matrix."""
        return np.concatenate([self.binding, self.strap_binding, self.strap_probe])

    @cached_property
    def parts(self) -> np.ndarray:
        """(L, 2) int64: the first triangle of each layer, and the one after its last."""
        return np.array([(layer.start, layer.stop) for layer in self.layers], np.int64)


@dataclass(frozen=True)
class _Patch:
    """A grid of vertices: positions and normals (n, 3), uv (n, 2), triangles (t, 3) that count from 0."""

    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    tinted: bool


def build_surface(geometry: Mapping[str, Any], tolerance: float = 0.0) -> Surface:
    """Make the surface that ``geometry`` of an ``asset.json`` describes.

    Args:
        tolerance: by how much, in inter-ocular distances, the panels' inside may deviate for the sake of fewer
            triangles; their edges by ``EDGE_SHARE`` of it.

    Raises:
        KeyError, TypeError, ValueError, IndexError: the description is malformed.
    """
    hull = _fitted_hull(geometry["panels"])
    panels = [_panel(panel, hull) for panel in geometry["panels"]]
    ribbons = [
        (ribbon, side) for ribbon in geometry.get("ribbons", ())
        for side in ((1.0, -1.0) if ribbon.get("mirror", True) else (1.0,))
    ]  # fmt: skip
    hems = [RIM if "flat" in panel else HEM for panel in geometry["panels"]]
    sewn = list(zip((patch.points for patch in panels), hems, strict=True))
    panels = [_thinned(patch, tolerance) for patch in panels] if tolerance else panels
    nodes = np.concatenate([patch.points for patch in panels])
    straps = [_strap(ribbon, side, sewn) for ribbon, side in ribbons]
    straps.sort(key=lambda strap: strap.patch.tinted)
    patches = [*panels, *(strap.patch for strap in straps)]
    starts = np.cumsum([0, *(len(patch.points) for patch in patches)])
    drawn = [(patch, start) for patch, start in zip(patches, starts, strict=False)]
    drawn = drawn[len(panels) :] + drawn[: len(panels)]  # the straps lie under the panels
    centre, outward = (np.array([strap[k] for strap in straps]).reshape(-1, 3) for k in (1, 2))
    return Surface(
        nodes=nodes,
        binding=operator(nodes),
        strap_binding=operator(centre),
        strap_probe=operator(centre + PROBE * outward),
        strap_width=np.array([strap[3] for strap in straps]),
        normals=np.concatenate([patch.normals for patch in patches]),
        uv=np.concatenate([patch.uv for patch in patches]),
        triangles=np.concatenate([patch.triangles + start for patch, start in drawn]).astype(np.int32),
        layers=_layers([patch for patch, _ in drawn], len(straps)),
    )


def _thinned(patch: _Patch, tolerance: float) -> _Patch:
    """A panel with only those of its rows and columns that the tolerance needs."""
    grid = patch.points.reshape(ROWS, COLUMNS, 3)
    weight = np.ones((ROWS, COLUMNS))
    weight[[0, -1]] = weight[:, [0, -1]] = 1 / EDGE_SHARE
    rows, columns = _needed(grid, weight, tolerance), _needed(grid.swapaxes(0, 1), weight.T, tolerance)
    kept = (rows[:, None] * COLUMNS + columns).ravel()
    triangles = grid_triangles(len(rows), len(columns))
    if len(patch.triangles) > 2 * (ROWS - 1) * (COLUMNS - 1):
        triangles = np.concatenate([triangles, triangles[:, ::-1]])
    return _Patch(patch.points[kept], patch.normals[kept], patch.uv[kept], triangles, patch.tinted)


def _needed(lines: np.ndarray, weight: np.ndarray, tolerance: float) -> np.ndarray:
    """Which of (n, m, 3) lines suffice, so that those between two, linearly interpolated, are off by no more than the
    tolerance divided by their points' weight (n, m): rising indices, the first and the last included.

    Source: Douglas and Peucker, Cartographica 10, 1973, on all points of a line at once.
    """
    needed, spans = {0, len(lines) - 1}, [(0, len(lines) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        share = np.arange(1, last - first)[:, None, None] / (last - first)
        between = lines[first] + share * (lines[last] - lines[first])
        off = (weight[first + 1 : last] * np.linalg.norm(between - lines[first + 1 : last], axis=-1)).max(1)
        worst = first + 1 + int(off.argmax())
        if off.max() > tolerance:
            needed.add(worst)
            spans += [(first, worst), (worst, last)]
    return np.array(sorted(needed))


def _layers(drawn: Sequence[_Patch], straps: int) -> tuple[Layer, ...]:
    """One layer for each run of straps of one kind, and one for each panel."""
    layers, start = [], 0
    for number, patch in enumerate(drawn):
        stop = start + len(patch.triangles)
        if 0 < number < straps and layers[-1].tinted == patch.tinted:
            start = layers.pop().start
        layers.append(Layer(start, stop, patch.tinted))
        start = stop
    return tuple(layers)


def _panel(panel: Mapping[str, Any], hull: np.ndarray) -> _Patch:
    """A sheet on the face, or a lathe round the head; ``hull``: what a fitted sheet lies on."""
    grid = _lathe(panel) if "profile" in panel else _sheet(panel, hull if panel.get("fitted") else _hull_planes())
    rows, columns = grid.shape[:2]
    normals = np.cross(np.gradient(grid, axis=0), np.gradient(grid, axis=1))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals /= np.maximum(length, 1e-9)
    for turned, size in ((normals, length), (normals.swapaxes(0, 1), length.swapaxes(0, 1))):
        for end, beside in ((0, 1), (-1, -2)):  # where edges meet in a point, or a ring is a pole, there is no area
            turned[end] = np.where(size[end] < 1e-9, turned[beside], turned[end])
    u0, v0, u1, v1 = panel["uv"]
    u = u0 + (u1 - u0) * _arc_length(grid[rows // 2])
    v = v0 + (v1 - v0) * np.linspace(0.0, 1.0, rows)[:, None]
    uv = np.stack(np.broadcast_arrays(u, v), -1).reshape(-1, 2)
    triangles = grid_triangles(rows, columns)
    if panel.get("two_sided", False):
        triangles = np.concatenate([triangles, triangles[:, ::-1]])
    return _Patch(grid.reshape(-1, 3), normals.reshape(-1, 3), uv, triangles, bool(panel.get("tinted", True)))


def _sheet(panel: Mapping[str, Any], hull: np.ndarray) -> np.ndarray:
    """Positions (ROWS, COLUMNS, 3) of a sheet between two edges, on a hull or on its own flat surface."""
    s = np.linspace(-1.0, 1.0, COLUMNS)
    t = np.linspace(0.0, 1.0, ROWS)
    top, bottom = _edge(panel["top"], s), _edge(panel["bottom"], s)
    x, y = (top[:, axis] + t[:, None] * (bottom - top)[:, axis] for axis in (0, 1))
    if "flat" in panel:
        depth, bend = panel["flat"]
        z = depth + bend * x**2
    else:
        z = taut_depth(x, y, hull)
    z = z + TOWARD_CAMERA * _bulge(panel, s, t)
    # The lower rows turn in under the chin, where the height field of the face has ended.
    z += panel.get("tuck", 0.0) * np.clip((t - 0.8) / 0.2, 0, 1)[:, None] ** 2
    return np.stack([x, y, z], -1)


def _lathe(panel: Mapping[str, Any]) -> np.ndarray:
    """Positions (ROWS, COLUMNS, 3) of rings around a vertical axis, from the top row to the bottom row."""
    from scipy.interpolate import PchipInterpolator

    profile = np.asarray(panel["profile"], np.float64)
    if len(profile) < 2:
        raise ValueError("a profile needs two rings or more")
    first, last = np.deg2rad(np.asarray(panel["angles"], np.float64))
    if not -np.pi <= first < last <= np.pi:
        raise ValueError("angles must rise within -180 to 180")
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    rings = PchipInterpolator(length / length[-1], profile, axis=0)(np.linspace(0, 1, ROWS))
    y, across, deep = (rings[:, None, k] for k in range(3))
    angle = np.linspace(first, last, COLUMNS)
    x, z = across * np.sin(angle), panel.get("axis", LATHE_AXIS_DEPTH) - deep * np.cos(angle)
    return np.stack([x, np.broadcast_to(y, x.shape), z], -1)


def _edge(points: list[list[float]], s: np.ndarray) -> np.ndarray:
    """Sample an edge at s in -1..1: (n, 2). Given from the midline outward it is mirrored, else it is whole."""
    from scipy.interpolate import PchipInterpolator

    given = np.asarray(points, np.float64)
    whole = given if given[0, 0] < 0 else np.concatenate([given[:0:-1] * [-1, 1], given])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(whole, axis=0).T))])
    return PchipInterpolator(2 * length / length[-1] - 1, whole, axis=0)(s)


def _bulge(panel: Mapping[str, Any], s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """How far the panel stands off its ground surface, (ROWS, COLUMNS): gap, cup, vertical and level ridge."""
    tt, ss = t[:, None], np.abs(s)[None]
    dome = (1 - ss**2) * np.sin(np.pi * tt) ** 0.7
    ridge = np.clip(1 - ss / 0.75, 0, 1) * np.sin(np.pi * tt) ** 0.7
    level = np.exp(-(((tt - 0.45) / 0.16) ** 2)) * (1 - ss**2)
    lift = panel.get("cup", 0.0) * dome + panel.get("ridge", 0.0) * ridge + panel.get("shelf", 0.0) * level
    return panel.get("gap", 0.0) + lift


@lru_cache(maxsize=256)
def _hull_planes(points: bytes | None = None) -> np.ndarray:
    """Supporting planes (a, b, d) of the face seen from the front; the taut surface is their maximum a x + b y + d.

    Cloth pulled over a face follows its convex hull: it touches nose, cheek bones and chin and bridges the rest.

    Args:
        points: (n, 3) float64, what the cloth is pulled over besides the jaw's underside and the sides; without it the
            whole face.
    """
    from scipy.spatial import ConvexHull

    face = canonical_face()
    under = face if points is None else np.frombuffer(points).reshape(-1, 3)
    jaw = face[list(FACE_OVAL[9:27])]
    below = jaw + [0.0, 0.10, 0.22]  # the jaw's underside, which the mesh does not have
    sides = face[[234, 454, 127, 356, 93, 323]] * [1.08, 1, 1] + [0, 0, 0.35]  # on to the ears
    equations = ConvexHull(np.concatenate([under, below, sides])).equations
    front = equations[equations[:, 2] < -1e-6]
    return -front[:, [0, 1, 3]] / front[:, 2:3]


def _fitted_hull(panels: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The hull of what fitted panels cover alone: the face below their upper edges, and these edges on the skin.

    The hull of the whole face stands far before the root of the nose and the upper lip, since it runs from the forehead
    to the tip of the nose and on to the chin. What ends there would float in a turned face.
    """
    face, s = canonical_face(), np.linspace(-1.0, 1.0, 2 * COLUMNS + 1)
    edges = [_edge(panel["top"], s) for panel in panels if panel.get("fitted")]
    if not edges:
        return _hull_planes()
    covered = np.any([face[:, 1] > np.interp(face[:, 0], *edge.T) for edge in edges], axis=0)
    seams = [np.column_stack([edge, skin_depth(*edge.T)]) for edge in edges]
    return _hull_planes(np.concatenate([face[covered], *seams]).tobytes())


def skin_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth z of the skin at canonical positions (n,); of the taut surface beside the face."""
    from scipy.interpolate import LinearNDInterpolator

    face = canonical_face()
    depth = LinearNDInterpolator(face[:, :2], face[:, 2])(x, y)
    return np.where(np.isnan(depth), taut_depth(x, y), depth)


def taut_depth(x: np.ndarray, y: np.ndarray, planes: np.ndarray | None = None) -> np.ndarray:
    """Depth z of the taut surface at canonical positions, any shape; slightly rounded at the hull's edges.

    Args:
        planes: of the hull; without them that of the whole face.
    """
    planes = _hull_planes() if planes is None else planes
    depth = x[..., None] * planes[:, 0] + y[..., None] * planes[:, 1] + planes[:, 2]
    softness = 0.02
    peak = depth.max(-1, keepdims=True)
    return peak[..., 0] + softness * np.log(np.exp((depth - peak) / softness).sum(-1)) - softness


def _sewn(points: np.ndarray, panels: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """A strap's points (n, 3), its beginning fixed to the nearest panel if that is near as seen from the front.

    Args:
        panels: the nodes (G, 3) of each, and how many rows and columns from its edges the strap's end is hidden.
    """
    nodes, hem = min(panels, key=lambda panel: float(np.linalg.norm(panel[0] - points[0], axis=1).min()))
    apart = np.hypot(*(nodes[:, :2] - points[0, :2]).T)
    if apart.min() >= SEWN:
        return points
    first = np.array([*points[0, :2], nodes[apart < apart.min() + 0.02, 2].min()])
    inner = nodes.reshape(ROWS, COLUMNS, 3)[hem:-hem, hem:-hem].reshape(-1, 3)
    within = inner[np.linalg.norm(inner - first, axis=1).argmin()]
    hidden = [within] if np.linalg.norm(within - first) > 1e-3 else []
    return np.array([*hidden, first, *points[1:]])


class _Strap(NamedTuple):
    """A strap's sides as a patch, its centre line (n, 3), the outward directions there (n, 3), and its width."""

    patch: _Patch
    centre: np.ndarray
    outward: np.ndarray
    width: float


def _strap(ribbon: Mapping[str, Any], side: float, panels: Sequence[tuple[np.ndarray, int]]) -> _Strap:
    """One strap; ``side`` -1 mirrors it. Where it begins near one of the ``panels`` it is sewn to it."""
    from scipy.interpolate import PchipInterpolator

    points = np.asarray(ribbon["points"], np.float64) * [side, 1, 1]
    if len(points) < 2:
        raise ValueError("a ribbon needs two points or more")
    points = _sewn(points, panels)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    centre = PchipInterpolator(length / length[-1], points, axis=0)(np.linspace(0, 1, STRAP_STEPS))
    outward = (centre - [0.0, 0.0, HEAD_AXIS_DEPTH]) * [1, 0, 1]
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    u0, v0, u1, v1 = ribbon["uv"]
    u, width = np.linspace(u0, u1, STRAP_STEPS), float(ribbon["width"])
    uv = np.concatenate([np.column_stack([u, np.full(STRAP_STEPS, v)]) for v in (v0, v1)])
    both = np.tile(centre, (2, 1))  # the sides are placed in the picture
    patch = _Patch(both, np.tile(outward, (2, 1)), uv, grid_triangles(2, STRAP_STEPS), bool(ribbon.get("tinted")))
    return _Strap(patch, centre, outward, width)


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """The triangles (T, 3) of a grid of nodes in row order whose columns run right and rows run down."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def _arc_length(curve: np.ndarray) -> np.ndarray:
    """Normalised arc length 0..1 along an (n, 3) curve, so that cloth is not stretched towards the ears."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return length / length[-1]
