"""Long and tied hair: each style draws its own lengths, volume, parting and fringe from a generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.people.hair_scalp import CENTRE, Scalp
from maskbench.people.hair_strands import (
    Edge,
    Hair,
    Piece,
    ball,
    cap,
    ended,
    grown,
    hairline,
    joined,
    kept_out,
    knots,
    ramp,
    scattered,
    singles,
    strips,
    surface,
    swirl,
    unit,
    wobble,
)

LOWEST = 2.75  # below the picture


def edge_of(rng: np.random.Generator, temples: float = 0.0, crown: float = 0.0) -> Edge:
    """A hairline: ``temples`` is how far the corners of the forehead recede, ``crown`` the whole front."""
    base, peak, uneven = 0.05 * rng.standard_normal(), 0.06 * rng.random(), wobble(rng)

    def edge(azimuth: np.ndarray) -> np.ndarray:
        angle = np.abs(azimuth)
        front = 1 - ramp(angle, 1.0, 1.5)
        corner = np.exp(-(((angle - 0.62) / 0.30) ** 2))
        return (
            (base + 0.035 * uneven(azimuth)) * front
            - peak * np.exp(-((angle / 0.15) ** 2))
            + temples * corner
            + crown * front
        )

    return edge


def tangential(roots: np.ndarray, comb: np.ndarray, lift: np.ndarray | float) -> np.ndarray:
    """Unit directions (N, 3) along the scalp after ``comb``, raised by ``lift``."""
    out = unit(roots - CENTRE)
    flat = unit(comb - (comb * out).sum(1, keepdims=True) * out)
    return unit(flat + np.broadcast_to(lift, len(roots))[:, None] * out)


def waved(rng: np.random.Generator, curve: np.ndarray, t: np.ndarray, size: np.ndarray, waves: float) -> np.ndarray:
    """Curves that swing from side to side and in and out, locks nearby together."""
    along = unit(np.gradient(curve, axis=1))
    out = unit(curve - CENTRE)
    side = np.cross(along, out)
    phase = 2.5 * swirl(rng, curve[:, 0], 1.2)[:, :1] + 0.5 * rng.standard_normal((len(curve), 1))
    turn = 2 * np.pi * waves * t + phase
    grow = np.broadcast_to(size, len(curve))[:, None] * ramp(t, 0.1, 0.5)
    return curve + (grow * np.sin(turn))[..., None] * side + (0.45 * grow * np.cos(turn))[..., None] * out


def rim_roots(
    rng: np.random.Generator, scalp: Scalp, edge: Edge, count: int, reach: tuple[float, float], wide: float = 1.3
) -> np.ndarray:
    """Roots (count, 3) of single strands scattered over the hairline, ``reach`` below and above it."""
    azimuth = rng.uniform(-wide, wide, count)
    polar = hairline(scalp, azimuth, edge(azimuth) + rng.uniform(*reach, count))
    return surface(scalp, azimuth, polar)[0]


def _front(azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
    """No roots on the back of the head below the crown, which no pose shows."""
    return 1 - 0.93 * ramp(np.abs(azimuth), 1.7, 2.2) * ramp(polar, 0.25, 0.7)


@dataclass(frozen=True)
class _Cut:
    """Hair parted at x = ``part`` that falls to y = ``end``; a fringe to y = ``fringe``; ``clear`` is how far behind
    the eyes' plane it stays beside the face, ``ragged`` the spread of its ends, ``wave`` and ``waves`` how far locks
    swing and how often; ``count`` locks of ``width``, each of ``steps``; ``bend``, ``turn``: how it is combed back."""

    end: float
    part: float
    volume: float
    kind: str
    count: int = 92
    steps: int = 8
    wave: float = 0.0
    waves: float = 1.5
    fringe: float | None = None
    clear: float = 0.6
    width: tuple[float, float] = (0.11, 0.24)
    ragged: float = 0.25
    bend: float = 0.45
    turn: float = 0.0


def _curtain(
    rng: np.random.Generator,
    scalp: Scalp,
    cut: _Cut,
    roots: np.ndarray,
    polar: np.ndarray,
    azimuth: np.ndarray,
    layer: np.ndarray,
    t: np.ndarray,
) -> np.ndarray:
    """Curves (N, K, 3) from roots (N, 3) to the parting's sides and down."""
    count = len(roots)
    side = np.where(roots[:, 0] + 0.04 * rng.standard_normal(count) > cut.part, 1.0, -1.0)
    rear = ramp(np.abs(azimuth), 1.5, 2.3)
    comb = np.stack([side * (1.15 - rear), 0.2 + 0.8 * rear, cut.bend + cut.turn * side + 0.1 * rear], 1)
    comb += 0.15 * swirl(rng, roots) + 0.06 * rng.standard_normal(comb.shape)
    start = tangential(roots, comb, 0.2 + cut.volume)
    lengths = 1.5 * np.maximum(1.66 - polar, 0) + cut.end - np.maximum(roots[:, 1], -0.1)
    lengths = np.maximum(lengths + cut.ragged * rng.standard_normal(count) * 0.5, 0.4)
    near = cut.clear + 0.12 * rng.standard_normal(count)
    curve = grown(scalp, roots, start, lengths, t, layer, fall=2.4, cling=0.1 + 0.2 * (1 - rear), clear=near)
    if cut.wave:
        curve = kept_out(scalp, waved(rng, curve, t, np.full(count, cut.wave), cut.waves), 0.05)
    return ended(curve, LOWEST)


def _beside(azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
    """As ``_front``, but for where a fringe begins."""
    return _front(azimuth, polar) * (1 - (np.abs(azimuth) < 0.6) * (polar > 0.6))


def _long(rng: np.random.Generator, scalp: Scalp, **wanted: object) -> Hair:
    """Long hair: a few broad locks inside for the body, many narrow ones over them, wisps, and a fringe if wanted."""
    cut, edge = _Cut(bend=rng.uniform(0.3, 0.6), turn=0.15 * rng.standard_normal(), **wanted), edge_of(rng)
    pieces = [cap(rng, scalp, edge, 0.02 + 0.15 * cut.volume, shade=0.3, soft=0.14, tiles=20.0)]
    inner = (15, (0.34, 0.44), 0.15, cut.steps - 1, 0.09)
    for count, wide, spread, steps, dark in (inner, (cut.count, cut.width, 0.45, cut.steps, 0.0)):
        azimuth, polar, height, roots = scattered(rng, scalp, count, edge, _front if cut.fringe is None else _beside)
        t, rank = knots(steps, 1.35), rng.random(len(roots))
        layer = 0.055 + cut.volume * (0.4 + spread * rank) * (1 + 0.25 * swirl(rng, roots)[:, 0])
        curve = _curtain(rng, scalp, cut, roots, polar, azimuth, layer, t)
        clumps = np.clip(0.5 + 0.35 * swirl(rng, curve[:, steps // 2], 3.0)[:, 0], 0, 1)
        width, shade = rng.uniform(*wide, len(roots)), dark + 0.09 * (1 - rank) ** 1.5 + 0.18 * clumps
        root_cut = 0.6 * ramp(-height, -0.2, -0.02)
        pieces.append(strips(rng, scalp, curve, width, t, root_cut=root_cut, shade=shade, **_LOCKS))
    pieces += [_behind(rng, scalp, min(cut.end, LOWEST), cut.ragged), _strays(rng, scalp, edge, cut)]
    if cut.fringe is not None:
        pieces += _bangs(rng, scalp, edge, cut.fringe)
    return joined(scalp, pieces, cut.kind)


_LOCKS = {"tip": 0.8, "taper": 0.5, "last_cut": 0.68, "root_soft": 0.15, "flow": True}


def _behind(rng: np.random.Generator, scalp: Scalp, end: float, ragged: float) -> Piece:
    """The hair behind the neck: one layer of wide dark locks from ear to ear."""
    azimuth = np.linspace(1.75, 2 * np.pi - 1.75, 9) + 0.05 * rng.standard_normal(9)
    roots, _ = surface(scalp, azimuth, rng.uniform(1.35, 1.6, 9))
    t, out = knots(5, 1.1), unit(roots - CENTRE)
    lengths = np.maximum(end - roots[:, 1] - 0.05 + 0.4 * ragged * rng.standard_normal(9), 0.3)
    curve = grown(scalp, roots, unit(0.4 * out + [0, 1.0, 0]), lengths, t, np.full(9, 0.08), fall=2.0, cling=0.1)
    width = rng.uniform(0.45, 0.58, 9)
    return strips(rng, scalp, curve, width, t, shade=0.38, tip=0.85, taper=0.6, edges=(0.05, 0.2), twist=0.1)


def _strays(rng: np.random.Generator, scalp: Scalp, edge: Edge, cut: _Cut) -> Piece:
    """Wisps that leave the curtain, and single strands at the hairline."""
    azimuth, polar, _, roots = scattered(rng, scalp, 4, edge, _front)
    azimuth_rim = rng.uniform(-1.0, 1.0, 8)
    polar_rim = hairline(scalp, azimuth_rim, edge(azimuth_rim) + rng.uniform(-0.03, 0.08, 8))
    roots = np.concatenate([roots, surface(scalp, azimuth_rim, polar_rim)[0]])
    layer, t = 0.05 + cut.volume * rng.uniform(0.5, 1.05, len(roots)), knots(cut.steps - 2, 1.35)
    curve = _curtain(rng, scalp, cut, roots, np.r_[polar, polar_rim], np.r_[azimuth, azimuth_rim], layer, t)
    return singles(rng, scalp, curve, t, (0.014, 0.026))


def _bangs(rng: np.random.Generator, scalp: Scalp, edge: Edge, end: float) -> list[Piece]:
    """A fringe cut at y = ``end``, not quite straight: broad locks below, narrow ones above them."""
    lean, level, t = 0.35 * rng.standard_normal(), wobble(rng, 9), knots(5, 1.0)
    slope, pieces = 0.05 * rng.standard_normal(), []
    for count, wide, depth, dark in ((16, (0.2, 0.28), 0.03, 0.16), (75, (0.05, 0.12), 0.06, 0.0)):
        azimuth, polar = rng.uniform(-0.8, 0.8, count), rng.uniform(0.5, 1.0, count)
        polar = np.minimum(polar, hairline(scalp, azimuth, edge(azimuth) + 0.05))
        roots, _ = surface(scalp, azimuth, polar)
        ahead = np.stack([0.25 * roots[:, 0] + lean, np.ones(count), -np.ones(count)], 1)
        start = tangential(roots, ahead + 0.1 * swirl(rng, roots, 4.0) + 0.05 * rng.standard_normal((count, 3)), 0.2)
        layer = depth + 0.09 * rng.random(count)
        curve = grown(scalp, roots, start, np.full(count, 1.7), t, layer, fall=0.6, cling=0.5)
        x = curve[:, 3, 0]
        stop = end + slope * x + 0.03 * level(2 * x) + 0.035 * rng.standard_normal(count)
        stop = np.minimum(stop + 0.12 * ramp(np.abs(x), 0.5, 1), -0.18)
        width = rng.uniform(*wide, count)
        shade = dark + 0.14 * rng.random(count)
        pieces.append(strips(rng, scalp, ended(curve, stop), width, t, shade=shade, tip=0.86, taper=0.6, last_cut=0.85))
    return pieces


def long_straight(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Parted about the middle, falling straight."""
    return _long(
        rng,
        scalp,
        end=rng.uniform(2.0, 3.0),
        part=rng.choice([0.08, 0.25]) * rng.standard_normal(),
        volume=rng.uniform(0.03, 0.17),
        kind="straight",
        clear=rng.uniform(0.4, 0.9),
    )


def fringed(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Falling straight, with a fringe over the forehead."""
    return _long(
        rng,
        scalp,
        end=rng.uniform(1.1, 3.0),
        part=0.0,
        volume=rng.uniform(0.05, 0.17),
        kind="straight",
        fringe=rng.uniform(-0.52, -0.26),
        clear=rng.uniform(0.4, 0.7),
        count=78,
    )


def long_wavy(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Parted on one side, in waves."""
    return _long(
        rng,
        scalp,
        end=rng.uniform(2.4, 3.0),
        part=rng.choice([-1, 1]) * rng.uniform(0.1, 0.5),
        kind="wavy",
        volume=rng.uniform(0.12, 0.3),
        wave=rng.uniform(0.06, 0.13),
        waves=rng.uniform(1.8, 3.0),
        clear=rng.uniform(0.45, 0.8),
        steps=10,
        count=72,
        width=(0.15, 0.3),
    )


def shoulder(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """To the shoulders."""
    return _long(
        rng,
        scalp,
        end=rng.uniform(1.5, 2.15),
        part=rng.uniform(-0.45, 0.45),
        kind="wavy",
        volume=rng.uniform(0.05, 0.18),
        wave=rng.uniform(0.0, 0.07),
        waves=rng.uniform(1.0, 2.0),
        clear=rng.uniform(0.45, 0.8),
    )


def bob(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """To the chin."""
    return _long(
        rng,
        scalp,
        end=rng.uniform(0.8, 1.35),
        part=rng.uniform(-0.4, 0.4),
        kind="straight",
        volume=rng.uniform(0.05, 0.15),
        wave=rng.uniform(0.0, 0.04),
        waves=0.8,
        clear=rng.uniform(0.45, 0.7),
        ragged=rng.uniform(0.05, 0.14),
        fringe=rng.uniform(-0.5, -0.3) if rng.random() < 0.2 else None,
    )


def long_curly(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """In curls, full."""
    return _long(
        rng,
        scalp,
        end=rng.uniform(1.2, 2.6),
        part=rng.uniform(-0.4, 0.4),
        kind="curly",
        volume=rng.uniform(0.2, 0.48),
        wave=rng.uniform(0.06, 0.11),
        waves=rng.uniform(3.5, 5.5),
        steps=13,
        count=82,
        width=(0.16, 0.32),
        clear=rng.uniform(0.55, 0.8),
        ragged=0.5,
    )


_SLEEK = {"root_width": 0.5, "tip": 0.85, "twist": 0.06, "bend": 0.12, "root_shade": 0.03, "smooth": 0.75}


def tied(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Combed to a knot behind; a bun shows above or behind it, or a tail beside the neck."""
    edge, t = edge_of(rng), knots(5, 1.1)
    way, worn = rng.choice([-1.0, 1.0]), rng.choice(["bun", "high bun", "tail", "low"], p=[0.3, 0.22, 0.33, 0.15])
    knot = np.array([0.0, -2.0, 1.75] if worn == "high bun" else [0.0, rng.uniform(-1.0, 0.25), 2.83])
    loose = rng.uniform(0.02, 0.1)
    pieces = [cap(rng, scalp, edge, 0.02, shade=0.2, soft=0.26)]
    for count, wide, dark in ((40, (0.2, 0.3), 0.1), (190, (0.05, 0.12), 0.0)):
        azimuth, polar, height, roots = scattered(rng, scalp, count, edge, _front, (-0.02, 0.12))
        rank, goal = rng.random(len(roots)), knot - roots
        start = tangential(roots, goal + 0.15 * swirl(rng, roots) + 0.06 * rng.standard_normal(goal.shape), 0.05)
        size = np.minimum(np.linalg.norm(goal, axis=1) * 1.1, 2.4)  # what lies further back is out of sight
        layer = 0.03 + loose * (0.4 + 0.6 * rank)
        curve = grown(scalp, roots, start, size, t, layer, fall=0.0, cling=0.9, comb=unit(goal), pull=1.2)
        clumps = np.clip(0.5 + 0.35 * swirl(rng, roots, 4.0)[:, 0], 0, 1)
        width, shade = rng.uniform(*wide, len(roots)), dark + 0.12 * (1 - rank) + 0.1 * clumps
        root_cut = 0.75 * ramp(-height, -0.2, 0.0)
        pieces.append(strips(rng, scalp, curve, width, t, root_cut=root_cut, shade=shade, **_SLEEK))
    pieces += _gathered(rng, scalp, worn, knot, way)
    roots = rim_roots(rng, scalp, edge, 56, (-0.05, 0.07))
    start = tangential(roots, (knot - roots) + 0.3 * rng.standard_normal(roots.shape), 0.12)
    size = rng.uniform(0.1, 0.45, len(roots))
    curve = grown(scalp, roots, start, size, knots(3, 1.0), np.full(len(roots), 0.03), fall=0.2, cling=0.6)
    pieces.append(singles(rng, scalp, curve, knots(3, 1.0), (0.015, 0.035)))
    return joined(scalp, pieces, "straight")


def _gathered(rng: np.random.Generator, scalp: Scalp, worn: str, knot: np.ndarray, way: float) -> list[Piece]:
    """The bun, or the tail that falls to one side of the neck; or nothing."""
    if worn in ("bun", "high bun"):
        size = rng.uniform(0.32, 0.52) * np.array([1.15, 0.95, 0.9])
        return [ball(rng, knot + [0, 0, 0.1], size)]
    if worn == "low":
        return []
    count, t, rank = 30, knots(7, 1.0), np.sqrt(rng.random(30))
    shift = rng.uniform(0.5, 1.0) * way
    start = unit(np.array([[0.5 * shift, -0.15, 0.8]]))
    comb, length = np.array([[shift, 0.0, -0.3]]), np.array([rng.uniform(1.9, 3.0)])
    axis = grown(scalp, knot[None], start, length, t, np.array([0.3]), fall=1.6, comb=comb, pull=0.9)
    radius = rng.uniform(0.2, 0.36) * np.interp(t, [0, 0.12, 0.45, 1], [0.35, 0.7, 1.0, 0.45])
    turn = rng.uniform(0, 2 * np.pi, count)
    round_it = np.stack([np.cos(turn), 0.2 * np.sin(turn), np.sin(turn)], -1) * rank[:, None]
    curve = axis + round_it[:, None] * radius[None, :, None]
    curve = curve[:, :1] + (curve - curve[:, :1]) * rng.uniform(0.85, 1.05, count)[:, None, None]
    curve = ended(waved(rng, curve, t, np.full(count, rng.uniform(0, 0.06)), 1.5), LOWEST)
    width, shade = rng.uniform(0.14, 0.24, count), 0.06 + 0.2 * (1 - rank)
    return [strips(rng, scalp, curve, width, t, shade=shade, tip=0.78, taper=0.5, smooth=0.4)]
