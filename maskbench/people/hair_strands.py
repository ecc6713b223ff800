"""Locks of hair as strips: roots on the scalp, curves that grow over it and fall, and the triangles about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from maskbench.people import hair_kernels
from maskbench.people.hair_scalp import CELL, CENTRE, DEEPEST, LOW, POLARS, Scalp, direction

TILE = 0.9  # inter-ocular distances across the strands that one texture covers
DOWN = np.array([0.0, 1.0, 0.0])
NAPE = 0.75  # where the neck's shadow begins, below the eyes


@dataclass(frozen=True)
class Hair:
    """Hair bound to the template head. Frame and unit: inter-ocular distances, x right, y down, z away.

    bind: (H,) int32, the template vertex that each hair vertex follows.
    offset: (H, 3) float32, from that vertex on the mean template to the hair vertex.
    normals, tangents: (H, 3) float32, unit; outwards, and along the strand from root to tip.
    triangles: (F, 3) int32.
    uv: (H, 2) float32, across (wraps) and along (0 root, 1 tip) the strands.
    cut: (H,) float32; hair is drawn where the texture's alpha is greater (0 everywhere, 1 nowhere).
    shade: (H,) float32, 0 to 1, how much darker by depth.
    kind: of ``strand_texture``.
    """

    bind: np.ndarray
    offset: np.ndarray
    normals: np.ndarray
    tangents: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    cut: np.ndarray
    shade: np.ndarray
    kind: str = "straight"


@dataclass(frozen=True)
class Piece:
    """Hair not yet bound: ``points`` (H, 3) and the other arrays as in ``Hair``."""

    points: np.ndarray
    normals: np.ndarray
    tangents: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    cut: np.ndarray
    shade: np.ndarray


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1."""
    return vectors / np.maximum(np.sqrt((vectors * vectors).sum(-1, keepdims=True)), 1e-9)


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def surface(scalp: Scalp, azimuth: np.ndarray, polar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``scalp.surface`` at azimuths and angles from the crown (...): points (..., 3), height above the hairline."""
    azimuth, polar = np.broadcast_arrays(np.asarray(azimuth, float), np.asarray(polar, float))
    found = hair_kernels.skull_at(scalp.skull, DEEPEST, azimuth.ravel(), polar.ravel()).reshape(*polar.shape, 2)
    return CENTRE + direction(azimuth, polar) * found[..., :1], found[..., 1]


def joined(scalp: Scalp, pieces: list[Piece], kind: str) -> Hair:
    """One ``Hair`` of many pieces, bound to the template."""
    start, triangles = 0, []
    for piece in pieces:
        triangles.append(piece.triangles + start)
        start += len(piece.points)
    names = [field.name for field in fields(Piece) if field.name != "triangles"]
    whole = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
    points = whole.pop("points")
    bind = scalp.follow(points)
    arrays = {name: values.astype(np.float32) for name, values in whole.items()}
    offset = (points - scalp.points[bind]).astype(np.float32)
    return Hair(bind, offset, triangles=np.concatenate(triangles).astype(np.int32), kind=kind, **arrays)


def no_hair(kind: str = "stubble") -> Hair:
    """A ``Hair`` without anything."""
    empty = {name: np.zeros((0, 3), np.float32) for name in ("offset", "normals", "tangents")}
    flat = {name: np.zeros(0, np.float32) for name in ("cut", "shade")}
    return Hair(
        np.zeros(0, np.int32),
        triangles=np.zeros((0, 3), np.int32),
        uv=np.zeros((0, 2), np.float32),
        kind=kind,
        **empty,
        **flat,
    )


Edge = Callable[[np.ndarray], np.ndarray]  # azimuth -> height above the usual hairline at which hair begins


def scattered(
    rng: np.random.Generator,
    scalp: Scalp,
    count: int,
    edge: Edge,
    density: Callable[[np.ndarray, np.ndarray], np.ndarray],
    soft: tuple[float, float] = (-0.05, 0.09),
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Roots spread evenly over the hairy scalp: azimuth, angle from the crown, height above the edge, each (<= count,),
    and the points (<= count, 3).

    ``density`` of azimuth and angle, 0..1, thins them out, and so does the height above the edge between ``soft``.
    """
    step = np.arange(5 * count) + rng.integers(1000)
    azimuth = 2 * np.pi * ((step * 0.7548776662466927 + rng.random()) % 1) - np.pi  # the R2 sequence (Roberts 2018)
    polar = np.arccos(1 - (1 - np.cos(DEEPEST)) * ((step * 0.5698402909980532 + rng.random()) % 1))
    roots, above = surface(scalp, azimuth, polar)
    height = above - edge(azimuth)
    keep = np.flatnonzero(rng.random(len(step)) < density(azimuth, polar) * ramp(height, *soft))[:count]
    return azimuth[keep], polar[keep], height[keep], roots[keep]


def hairline(scalp: Scalp, azimuth: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Angle from the crown (N,) at which hair of height ``edge`` (N,) ends, going down at azimuths (N,)."""
    polar = np.linspace(0, DEEPEST, POLARS)
    shape = (len(azimuth), POLARS)
    where = np.broadcast_to(azimuth[:, None], shape).ravel(), np.broadcast_to(polar, shape).ravel()
    height = hair_kernels.skull_at(scalp.skull, DEEPEST, *where)[:, 1].reshape(shape) - edge[:, None]
    below = height < 0
    first = np.where(below.any(1), below.argmax(1), len(polar) - 1)
    last, rows = np.maximum(first - 1, 0), np.arange(len(azimuth))
    high, low = height[rows, last], height[rows, first]
    share = np.where(first > 0, high / np.maximum(high - low, 1e-6), 0)
    return polar[last] + np.clip(share, 0, 1) * (polar[1] - polar[0])


def wobble(rng: np.random.Generator, turns: int = 24) -> Callable[[np.ndarray], np.ndarray]:
    """Smooth noise of an angle, about -1..1, with up to ``turns`` waves around."""
    waves, at = np.zeros(129, complex), np.linspace(-np.pi, np.pi, 257)
    waves[3:turns] = rng.standard_normal((turns - 3, 2)) @ [1, 1j] / np.sqrt(2 * (turns - 3))
    values = 128 * np.fft.irfft(waves, 256)
    values = np.append(values, values[0])
    return lambda angle: np.interp(angle, at, values)


def cap(
    rng: np.random.Generator,
    scalp: Scalp,
    edge: Edge,
    lift: float = 0.03,
    shade: float = 0.42,
    soft: float = 0.2,
    tiles: float = 40.0,
    columns: int = 32,
    cover: float = 0.0,
    reach: float = 0.03,
) -> Piece:
    """A close sheet over the hairy scalp whose rim fades out over about ``soft``; ``cover`` is its cut elsewhere."""
    spread = np.linspace(-1, 1, columns + 1)
    azimuth = np.pi * (0.6 * spread + 0.4 * spread**3)  # closer together in front
    rim = hairline(scalp, azimuth, edge(azimuth) + reach * wobble(rng, 40)(azimuth) - soft / 2)
    rim[-1] = rim[0]
    inside = np.array([0.0, 0.22, 0.42, 0.62, 0.82, 1.0])
    polar = np.concatenate([inside * np.maximum(rim - soft / 1.2, 0.05)[:, None], rim[:, None]], 1)
    skull, _ = surface(scalp, azimuth[:, None], polar)
    skull_out = unit(skull - CENTRE)
    rows = polar.shape[1]
    points = skull + skull_out * (lift * np.r_[np.full(rows - 3, 1.9), 1.5, 1.0, 0.4])[:, None]
    tangents = unit(direction(azimuth[:, None], polar + 0.05) - direction(azimuth[:, None], polar - 0.05))
    grid = np.arange((columns + 1) * rows).reshape(columns + 1, rows)
    along = np.broadcast_to(np.linspace(0, 1, rows), polar.shape)
    across = np.broadcast_to((np.arange(columns + 1) / columns * tiles)[:, None], polar.shape)
    cut = np.broadcast_to(np.r_[np.full(rows - 1, cover), 1.0], polar.shape)
    flat = (points.reshape(-1, 3), skull_out.reshape(-1, 3), tangents.reshape(-1, 3), sheet(grid))
    return Piece(*flat, np.stack([across, along], -1).reshape(-1, 2), cut.ravel(), np.full(grid.size, shade))


def ball(rng: np.random.Generator, centre: np.ndarray, size: np.ndarray, shade: float = 0.1) -> Piece:
    """A bun: a sheet about an ellipsoid of half axes ``size`` (3,), its strands wound about it, its outline uneven."""
    turn, lean = np.meshgrid(np.linspace(0, 2 * np.pi, 15), np.linspace(0, np.pi, 7), indexing="ij")
    twist = turn + 0.7 * lean + rng.uniform(0, 6)
    out = np.stack([np.sin(lean) * np.cos(twist), np.cos(lean), np.sin(lean) * np.sin(twist)], -1)
    folds = 1 + 0.05 * np.sin(3 * turn + 2 * lean) + 0.03 * rng.standard_normal(turn.shape)
    folds[-1], folds[:, 0], folds[:, -1] = folds[0], 1, 1
    points = centre + out * folds[..., None] * size
    along = unit(np.gradient(points, axis=0) + 0.6 * np.gradient(points, axis=1) + 1e-6)
    uv = np.stack([lean / np.pi * 2 + 0.2 * np.sin(2 * turn), 0.5 + 0.3 * np.sin(turn)], -1)
    grid = np.arange(turn.size).reshape(turn.shape)
    dark = np.clip(shade + 0.25 * (1 + np.cos(3 * turn + 2 * lean)) / 2, 0, 1)
    flat = (points.reshape(-1, 3), out.reshape(-1, 3), along.reshape(-1, 3), sheet(grid), uv.reshape(-1, 2))
    return Piece(*flat, np.full(grid.size, 0.08), dark.ravel())


def sheet(grid: np.ndarray) -> np.ndarray:
    """Triangles (F, 3) of a grid of vertex numbers (M, N)."""
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    return np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)


def swirl(rng: np.random.Generator, points: np.ndarray, rate: float = 2.2, waves: int = 6) -> np.ndarray:
    """Smooth random vectors (N, 3) of spread 1 at points (N, 3): hair nearby goes the same way."""
    turns, phase = rate * rng.standard_normal((3, waves)), 2 * np.pi * rng.random(waves)
    return np.sqrt(2 / waves) * np.cos(points @ turns + phase) @ rng.standard_normal((waves, 3))


def knots(steps: int, late: float) -> np.ndarray:
    """Shares of a lock's length (steps + 1,) at which it has vertices; ``late`` > 1 puts more of them near its root."""
    return np.linspace(0, 1, steps + 1) ** late


def grown(
    scalp: Scalp,
    roots: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    t: np.ndarray,
    layer: np.ndarray,
    *,
    fall: np.ndarray | float = 1.0,
    cling: np.ndarray | float = 0.0,
    comb: np.ndarray | None = None,
    pull: np.ndarray | float = 0.0,
    clear: np.ndarray | float | None = None,
) -> np.ndarray:
    """Curves (N, K, 3) that leave roots (N, 3) along ``start`` (N, 3), stay out of the head and fall.

    t (K,): shares of the length at the knots. layer (N,): height over the skin. fall: how fast they turn down, in
    turns an inter-ocular distance; pull: the same towards ``comb`` (N, 3). cling: 0 they hang free, 1 they stay in
    their layer. clear: how far behind the eyes' plane they stay beside the face.
    """
    count = len(roots)
    fall, pull, cling, layer, behind = (
        np.ascontiguousarray(np.broadcast_to(value, count), float)
        for value in (fall, pull, cling, layer, 0.0 if clear is None else clear)
    )
    force = fall[:, None] * DOWN + (0 if comb is None else pull[:, None] * comb)
    free = np.full(count, clear is not None)
    places = (np.ascontiguousarray(values, float) for values in (roots, start, length, t, layer))
    return hair_kernels.grow(scalp.field, LOW, CELL, *places, force, cling, behind, free)


def kept_out(scalp: Scalp, curve: np.ndarray, least: float) -> np.ndarray:
    """The curves (N, K, 3), moved out to where they are at least ``least`` above the skin; roots stay."""
    moved = np.array(curve, float)
    hair_kernels.keep_out(scalp.field, LOW, CELL, moved, least)
    return moved


def ended(curve: np.ndarray, y: np.ndarray | float) -> np.ndarray:
    """The curves (N, K, 3), cut off where they fall below the height ``y`` (N,)."""
    shorter = np.array(curve, float)
    hair_kernels.end_at(shorter, np.ascontiguousarray(np.broadcast_to(y, len(curve)), float))
    return shorter


def strips(
    rng: np.random.Generator,
    scalp: Scalp,
    curve: np.ndarray,
    width: np.ndarray,
    t: np.ndarray,
    *,
    root_cut: np.ndarray | float = 0.0,
    tip: float = 0.7,
    taper: float = 0.3,
    root_width: float = 0.7,
    edges: tuple[float, float] = (0.0, 0.3),
    shade: np.ndarray | float = 0.0,
    bend: float = 0.2,
    smooth: float = 0.6,
    twist: float = 0.2,
    root_shade: float = 0.08,
    root_soft: float = 0.3,
    last_cut: float = 0.95,
    flow: bool = False,
) -> Piece:
    """A strip of triangles about each curve (N, K, 3), ``width`` (N,) across, lying flat over the head.

    tip: where along it the strands begin to end, at a cut of ``last_cut``. taper, root_width: the ends' share of the
    width. edges: cut at the two sides. bend: how much the normals turn to the sides. smooth: how much of the normals is
    the head's own, so that light passes over many strips as over one body. twist: spread of their slant, radians.
    flow: strips beside each other show the texture beside each other, so that they look like one body.
    """
    count, rows = curve.shape[:2]
    half = 0.5 * width[:, None] * np.interp(t, [0, 0.25, 0.6, 1], [root_width, 1, 1, taper])
    slant = twist * rng.standard_normal(count)
    points, normals, tangents = hair_kernels.ribbon(scalp.field, LOW, CELL, curve, half, slant, bend, smooth)
    grid = np.arange(count * rows * 2).reshape(count, rows, 2)
    a, b, c, d = grid[:, :-1, 0], grid[:, :-1, 1], grid[:, 1:, 1], grid[:, 1:, 0]
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)
    first = rng.random(count)
    if flow:
        middle = curve[:, rows // 2] - CENTRE
        first = 1.25 * np.arctan2(middle[:, 0], -middle[:, 2]) / TILE + 0.08 * first
    across = first[:, None, None] + np.stack([half, -half], -1) / TILE
    uv = np.stack([across, np.broadcast_to(t[None, :, None], across.shape)], -1)
    flip = rng.random(count) < 0.5
    sides = np.where(flip[:, None], edges[::-1], edges)[:, None, :]
    root = np.broadcast_to(root_cut, count)[:, None, None] * (1 - ramp(t, 0, root_soft))[None, :, None]
    end = np.clip((t - tip) / (1 - tip), 0, 1)[None, :, None] * last_cut
    cut = np.clip(np.maximum(sides, root) * (1 - end) + end, 0, 1)
    depth = np.broadcast_to(shade, count)[:, None, None] + (root_shade * (1 - ramp(t, 0, 0.3)))[None, :, None]
    behind = 0.55 * ramp(points[..., 1], NAPE - 0.5, NAPE + 0.3) * ramp(points[..., 2], 1.0, 1.6)
    depth = np.clip(np.maximum(depth, behind), 0, 0.95)
    flat = (values.reshape(-1, 3) for values in (points, normals, tangents))
    return Piece(*flat, triangles, uv.reshape(-1, 2), cut.ravel(), depth.ravel())


def singles(
    rng: np.random.Generator,
    scalp: Scalp,
    curve: np.ndarray,
    t: np.ndarray,
    width: tuple[float, float] = (0.02, 0.045),
    shade: float = 0.1,
) -> Piece:
    """Single strands and wisps about curves (N, K, 3): narrow strips that end in points."""
    wide = rng.uniform(*width, len(curve))
    return strips(
        rng, scalp, curve, wide, t, tip=0.99, taper=0.1, root_width=0.4, edges=(0.0, 0.0), shade=shade, root_shade=0.0
    )  # fmt: skip
