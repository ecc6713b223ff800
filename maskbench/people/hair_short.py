"""Short hair: each style draws its own lengths, volume and way of combing from a generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskbench.people.hair_long import edge_of, rim_roots, tangential, waved
from maskbench.people.hair_scalp import CENTRE, Scalp
from maskbench.people.hair_strands import (
    Edge,
    Hair,
    Piece,
    cap,
    grown,
    joined,
    knots,
    no_hair,
    ramp,
    scattered,
    singles,
    strips,
    swirl,
    unit,
)

DOWNWARDS = np.array([0.0, 1.0, 0.35])  # the way hair beside the head lies


def _frontal(azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
    """Few roots at the back of the head, which the camera hardly sees."""
    return 1 - 0.9 * ramp(np.abs(azimuth), 1.8, 2.4) * ramp(polar, 0.25, 0.6)


def _above(azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
    return _frontal(azimuth, polar) * (polar < 0.8 + 0.5 * (np.abs(azimuth) < 1.0))


def _beside(azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
    return _frontal(azimuth, polar) * ramp(polar, 0.55, 0.8) * ramp(np.abs(azimuth), 0.75, 0.95)


@dataclass(frozen=True)
class _Crop:
    """``top`` and ``sides`` are lengths, ``sweep`` the way the top is combed, from x = ``part`` if given, ``rise`` how
    steeply; ``thin`` is how wide a band the hairline fades over, besides the usual; ``loose`` how untidy it is."""

    top: float
    sides: float
    rise: float
    kind: str
    volume: float
    sweep: tuple[float, float, float]
    part: float | None = None
    temples: float = 0.0
    front: float = 0.0
    count: int = 235
    width: tuple[float, float] = (0.07, 0.17)
    curl: float = 0.0
    loose: float = 1.0
    thin: float = 0.0


def _short(rng: np.random.Generator, scalp: Scalp, **wanted: object) -> Hair:
    """Short hair: two close sheets for the body, locks on the top, short ones beside, strands at the hairline."""
    crop = _Crop(**wanted)
    edge, soft = edge_of(rng, crop.temples, crop.front), 0.2 + crop.thin
    pieces = [
        cap(rng, scalp, edge, 0.025, 0.3, soft),
        cap(rng, scalp, edge, 0.04, 0.16, soft + 0.06, 34.0, cover=0.35),
        _locks(rng, scalp, crop, edge, crop.count, _above, 4, crop.width),
        _locks(rng, scalp, crop, edge, 230, _beside, 2, (0.04, 0.1)),
        _rim(rng, scalp, crop, edge),
    ]
    return joined(scalp, pieces, crop.kind)


def _locks(
    rng: np.random.Generator,
    scalp: Scalp,
    crop: _Crop,
    edge: Edge,
    count: int,
    where: Callable[[np.ndarray, np.ndarray], np.ndarray],
    steps: int,
    wide: tuple[float, float],
) -> Piece:
    _, _, height, roots = scattered(rng, scalp, count, edge, where, (-0.03, 0.1 + crop.thin))
    count, t = len(roots), knots(steps, 1.1)
    rank, upper = rng.random(count), ramp(-roots[:, 1], 0.7, 1.15)
    comb = np.tile(np.array(crop.sweep), (count, 1))
    if crop.part is not None:
        right = roots[:, 0] + 0.04 * rng.standard_normal(count) > crop.part
        comb[:, 0] = np.where(right, 1, -1) * abs(crop.sweep[0])
    comb = comb * upper[:, None] + DOWNWARDS * (1 - upper[:, None])
    untidy = 0.3 * swirl(rng, roots) + 0.14 * swirl(rng, roots, 7.0) + 0.08 * rng.standard_normal(comb.shape)
    start = tangential(roots, comb + crop.loose * untidy, 0.05 + crop.rise * upper)
    lengths = (crop.sides + (crop.top - crop.sides) * upper) * rng.uniform(0.65, 1.05, count)
    layer = 0.02 + crop.volume * upper * (0.3 + 0.7 * rank) + 0.03 * rank
    cling = 0.85 - (0.3 + 0.2 * rank) * upper
    curve = grown(scalp, roots, start, lengths, t, layer, fall=0.3 + 0.9 * upper, cling=cling)
    if crop.curl:
        curve = waved(rng, curve, t, crop.curl * (0.3 + 0.7 * upper), 1.2)
    clumps = np.clip(0.5 + 0.35 * swirl(rng, roots, 5.0)[:, 0], 0, 1)
    shade, root_cut = 0.04 + 0.11 * (1 - rank) + 0.12 * clumps, 0.7 * ramp(-height, -0.2 - crop.thin, 0.0)
    return strips(
        rng, scalp, curve, rng.uniform(*wide, count), t, root_cut=root_cut, root_width=0.5, shade=shade, tip=0.55,
        last_cut=0.9, root_soft=0.4,
    )  # fmt: skip


def _rim(rng: np.random.Generator, scalp: Scalp, crop: _Crop, edge: Edge) -> Piece:
    """Single strands scattered over the hairline."""
    roots, t = rim_roots(rng, scalp, edge, 60, (-0.06, 0.08 + crop.thin)), knots(2, 1.0)
    upper = ramp(-roots[:, 1], 0.7, 1.15)[:, None]
    comb = np.array(crop.sweep) * upper + DOWNWARDS * (1 - upper) + 0.45 * rng.standard_normal(roots.shape)
    start = tangential(roots, comb, 0.1 + crop.rise * upper[:, 0])
    size = np.minimum(rng.uniform(0.08, 0.3, len(roots)), crop.top)
    curve = grown(scalp, roots, start, size, t, np.full(len(roots), 0.03), fall=0.3, cling=0.6)
    return singles(rng, scalp, curve, t, (0.015, 0.04))


def side_parted(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Combed to one side from a parting."""
    way = rng.choice([-1.0, 1.0])
    return _short(
        rng,
        scalp,
        top=rng.uniform(0.55, 1.1),
        sides=rng.uniform(0.2, 0.45),
        part=-rng.uniform(0.35, 0.65) * way,
        rise=rng.uniform(0.1, 0.45),
        kind="straight",
        volume=rng.uniform(0.05, 0.2),
        sweep=(1.0 * way, -0.1, rng.uniform(-0.3, 0.6)),
        temples=rng.uniform(0, 0.12),
        loose=rng.uniform(0.6, 1.1),
    )


def swept_up(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Standing up in front and combed back."""
    return _short(
        rng,
        scalp,
        top=rng.uniform(0.45, 0.9),
        sides=rng.uniform(0.16, 0.35),
        rise=rng.uniform(0.3, 0.7),
        kind="straight",
        volume=rng.uniform(0.08, 0.25),
        sweep=(0.5 * rng.standard_normal(), -0.4, 1.0),
        temples=rng.uniform(0, 0.15),
        loose=rng.uniform(0.6, 1.0),
    )


def crew(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Short all over, combed forwards."""
    return _short(
        rng,
        scalp,
        top=rng.uniform(0.22, 0.45),
        sides=rng.uniform(0.12, 0.22),
        rise=rng.uniform(0.1, 0.4),
        kind="straight",
        volume=rng.uniform(0.02, 0.06),
        loose=0.7,
        sweep=(0.5 * rng.standard_normal(), -0.2, -0.6),
        temples=rng.uniform(0, 0.15),
    )


def short_curly(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Short curls."""
    return _short(
        rng,
        scalp,
        top=rng.uniform(0.4, 0.85),
        sides=rng.uniform(0.2, 0.42),
        rise=0.5,
        kind="curly",
        volume=rng.uniform(0.08, 0.28),
        sweep=(0.4 * rng.standard_normal(), 0.2, -0.6),
        curl=rng.uniform(0.05, 0.09),
        width=(0.1, 0.2),
    )


def receding(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Short hair that has gone from the temples and thinned in front."""
    return _short(
        rng,
        scalp,
        top=rng.uniform(0.25, 0.6),
        sides=rng.uniform(0.14, 0.3),
        rise=rng.uniform(0.05, 0.2),
        kind="straight",
        volume=0.03,
        sweep=(0.5 * rng.standard_normal(), 0.1, 0.9),
        temples=rng.uniform(0.12, 0.32),
        front=rng.uniform(0.08, 0.3),
        loose=0.6,
        thin=rng.uniform(0.1, 0.2),
        width=(0.05, 0.11),
    )


def horseshoe(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Bald above, hair at the sides and behind."""
    top = rng.uniform(-1.1, -0.6)
    edge, t = edge_of(rng), knots(3, 1.1)
    azimuth, polar, height, roots = scattered(rng, scalp, 620, edge, _beside)
    limit = top + 1.2 * ramp(-np.abs(azimuth), -1.25, -0.9) + 0.1 * swirl(rng, roots, 3.0)[:, 0]
    low = rng.random(len(roots)) < ramp(roots[:, 1] - limit, -0.2, 0.4)
    roots, height, limit = roots[low], height[low], limit[low]
    count, rank = len(roots), rng.random(len(roots))
    comb = np.array([0.0, 1.0, 0.5]) + 0.2 * swirl(rng, roots) + 0.1 * rng.standard_normal((count, 3))
    start = tangential(roots, comb, 0.05)
    curve = grown(scalp, roots, start, rng.uniform(0.16, 0.34, count), t, 0.02 + 0.06 * rank, fall=0.3, cling=0.85)
    root_cut = np.maximum(0.7 * ramp(-height, -0.2, -0.02), 0.8 * ramp(limit + 0.35 - roots[:, 1], 0, 0.4))
    locks = strips(
        rng,
        scalp,
        curve,
        rng.uniform(0.03, 0.07, count),
        t,
        root_cut=root_cut,
        root_width=0.5,
        shade=0.05 + 0.2 * (1 - rank),
        tip=0.5,
        taper=0.25,
        root_soft=0.5,
    )
    return joined(scalp, [locks], "straight")


def buzz(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Clipped to a few millimetres."""
    edge, long = edge_of(rng, rng.uniform(0, 0.2)), rng.uniform(0.6, 1.5)
    shells = [
        cap(rng, scalp, edge, lift * long, shade, 0.22, 26.0, cover=cover, columns=40)
        for lift, shade, cover in ((0.012, 0.32, 0.1), (0.03, 0.18, 0.3))
    ]
    return joined(scalp, shells, "stubble")


def bald(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """No hair."""
    return no_hair()


def afro(rng: np.random.Generator, scalp: Scalp) -> Hair:
    """Tufts at all depths over the scalp, each a small leaf that faces outwards more or less."""
    size = 0.15 + 0.6 * rng.random() ** 1.3
    edge = edge_of(rng, rng.uniform(-0.05, 0.1))
    azimuth, polar, height, roots = scattered(rng, scalp, 800, edge, _frontal, (-0.05, 0.1))
    count, rank = len(roots), rng.random(len(roots)) ** 0.6
    out = unit(roots - CENTRE)
    depth = size * (0.15 + 0.85 * rank) * ramp(height, -0.05, 0.3 + 0.4 * size)
    depth = depth * (1 + 0.08 * swirl(rng, roots, 4.0)[:, 0])
    middle = roots + out * (0.03 + depth)[:, None]
    along = unit(rng.standard_normal((count, 3)) + 0.4 * out)
    reach = rng.uniform(0.08, 0.17, count)[:, None] * (0.8 + 0.5 * size)
    curve = np.stack([middle - along * reach, middle, middle + along * reach], 1)
    locks = strips(
        rng,
        scalp,
        curve,
        1.8 * reach[:, 0],
        np.array([0.0, 0.5, 1.0]),
        root_cut=0.9,
        root_soft=0.5,
        root_width=0.8,
        tip=0.5,
        taper=0.8,
        edges=(0.35, 0.35),
        shade=0.45 * (1 - rank),
        twist=0.9,
        root_shade=0.0,
        bend=0.4,
        smooth=0.5,
    )
    return joined(scalp, [cap(rng, scalp, edge, lift=0.05, shade=0.5), locks], "coily")
