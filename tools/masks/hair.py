# ruff: noqa: E501 - outlines read better on one line
"""Hair before the face: a fringe, strands across it, beards. Every strand is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from canvas import noise, step
from hands import flat_sheet
from pen import Built, Field, Masks, Piece, blank, blur, build, closed, fade_border, moved, over

from maskbench.masking.geometry import taut_depth

SOURCE = "hair.py"
OWN = {"hair": "hair"}  # hair and beards must go with the hair around them; any other colour can be asked for by its code
VERSIONS = {"beard": 2, "hair": 1}
OVERSAMPLE = 3


def hull(y: float) -> Callable[[np.ndarray], np.ndarray]:
    """Depth of the face's hull along a row."""
    return lambda x: taut_depth(x, np.full_like(x, y))


def before_throat(grid: Field) -> np.ndarray:
    """1 on the face, falling to 0 where the hull turns back under the jaw."""
    return 1 - step(taut_depth(grid.x, grid.y), 1.05, 0.5)


def on_face(x: tuple[float, float], y: tuple[float, float], narrow: float = 1.0, gap: float = 0.02) -> dict[str, Any]:
    """A sheet on the face's hull, ``narrow`` times as wide at the bottom as on top."""
    edges = [[[round(a * k, 4), at] for a in np.linspace(x[0], x[1], 5)] for k, at in ((1, y[0]), (narrow, y[1]))]
    return {"top": edges[0], "bottom": edges[1], "gap": gap, "tinted": True}


class Hairs(NamedTuple):
    """Paths (n, k, 2) in the face's frame, brightness (n,), widths (n,) in texels."""

    paths: np.ndarray
    tones: np.ndarray
    widths: np.ndarray


def draw_strands(
    paths: np.ndarray, tones: np.ndarray, widths: np.ndarray, shape: tuple[int, int], ground: float
) -> np.ndarray:
    """Draw strands, the later over the earlier: (rows, columns, 2) brightness and alpha, 0..1.

    Args:
        paths: (n, k, 2) in texels; tones: (n,) brightness; widths: (n,) in texels.
        ground: brightness that shows where a strand covers a texel in part.
    """
    size = [side * OVERSAMPLE for side in shape]
    value, cover = np.full(size, round(ground * 255), np.uint8), np.zeros(size, np.uint8)
    fixed = np.rint(paths * OVERSAMPLE * 16).astype(np.int32)
    for path, tone, width in zip(fixed, np.rint(tones * 255), np.maximum(1, np.rint(widths * OVERSAMPLE)), strict=True):
        cv2.polylines(value, [path], False, float(tone), int(width), cv2.LINE_AA, 4)
        cv2.polylines(cover, [path], False, 255.0, int(width), cv2.LINE_AA, 4)
    both = np.dstack([value * (cover / 255.0), cover])
    small = cv2.resize(both, shape[::-1], interpolation=cv2.INTER_AREA) / 255.0
    return np.dstack([small[..., 0] / np.maximum(small[..., 1], 1e-6), small[..., 1]])


def curves(roots: np.ndarray, ways: np.ndarray, lengths: np.ndarray, sag: np.ndarray, steps: int = 9) -> np.ndarray:
    """(n, steps, 2) arcs from roots (n, 2) along unit ways (n, 2); ``sag`` (n,) bends them sideways."""
    t = np.linspace(0, 1, steps)[None, :, None]
    side = np.stack([-ways[:, 1], ways[:, 0]], -1)[:, None]
    reach = lengths[:, None, None]
    return roots[:, None] + ways[:, None] * t * reach + side * sag[:, None, None] * reach * t**2


def unit(angle: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 2), y down, of angles in radians: 0 = right, pi / 2 = down."""
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def scattered(rng: np.random.Generator, grid: Field, density: np.ndarray, count: int) -> np.ndarray:
    """Positions (count, 2) in the face's frame, as dense as ``density`` over the grid (per area of the face)."""
    area = np.gradient(grid.x, axis=1) * density
    chosen = rng.choice(area.size, count, p=(area / area.sum()).ravel())
    row, column = np.divmod(chosen, grid.shape[1])
    jitter = rng.uniform(-0.5, 0.5, (count, 2)) * grid.texel
    return np.column_stack([grid.x[row, column], grid.y[row, column]]) + jitter


def finish(value: np.ndarray, alpha: np.ndarray, shadow: float, drop: float, spread: float) -> np.ndarray:
    """Hair over the soft shadow it casts."""
    cast = shadow * blur(moved(alpha, 0, drop), spread)
    picture = over(blank(alpha.shape), (0.05, 0.03, 0.02), cast)
    return fade_border(over(picture, np.clip(value, 0.05, 1)[..., None] * np.ones(3), alpha), 6, 6)


BEARD = [(1.16, 0.30), (1.14, 0.60), (1.12, 0.95), (0.99, 1.35), (0.74, 1.72), (0.36, 1.98), (0.0, 2.04), (-0.01, 1.90), (-0.01, 0.78), (0.0, 0.775), (0.20, 0.80), (0.42, 0.88), (0.57, 0.97), (0.74, 0.95), (0.91, 0.86), (1.03, 0.72), (1.09, 0.52), (1.11, 0.30)]  # fmt: skip


def beard_density(grid: Field, soft: float, chin: float = 0.0) -> np.ndarray:
    """Where a beard grows, 0..1: from the ear's lobe along the jaw, chin and moustache, not the lips nor beside the lower lip."""
    half = np.array(BEARD) * [1, 1] + np.outer(np.clip(np.array(BEARD)[:, 1] - 1.55, 0, 1), [0, chin])
    distance = grid.inside(half, half * [-1, 1])
    x, y = np.abs(grid.x), grid.y
    lips = 1 - np.hypot(x / 0.43, (y - 1.075 - 0.05 * np.clip(x / 0.4, 0, 1) ** 2) / 0.17)
    bare = 1 - np.hypot((x - 0.24) / 0.15, (y - 1.285) / 0.075)
    cheek = 0.9 * step(0.5 - np.abs(x - 0.72), 0.18, 0.16) * step(1.35 - y, 0, 0.3)  # where few hairs begin the beard
    thin = np.exp(-((x / 0.07) ** 2) - ((y - 0.82) / 0.07) ** 2)  # the groove below the nose
    density = (
        step(distance + 0.02 * noise(6, 4, grid.shape), 0.40 * soft, soft)
        * (1 - cheek * (1 - step(distance, 0.8 * soft, 1.8 * soft)))
        * (1 - step(lips, 0.02, 0.22))
        * (1 - 0.75 * step(bare, 0.0, 0.6))
        * (1 - 0.5 * thin)
    )
    return density * step(y, 0.58, 0.40) * (1 + 0.16 * np.clip(noise(5, 14, grid.shape), -2, 2))


def flow(points: np.ndarray) -> np.ndarray:
    """The angle in which beard hair lies: down, turned outwards along the moustache and inwards below the chin."""
    x, y = points.T
    moustache = np.exp(-(((y - 0.88) / 0.13) ** 2)) * (np.abs(x) < 0.62)
    out = np.pi / 2 - np.sign(x) * (
        0.95 * moustache * np.clip(np.abs(x) / 0.2, 0, 1) - 0.25 * np.clip(np.abs(x) - 0.5, 0, 1)
    )
    return out + np.sign(x) * 0.35 * np.clip((y - 1.5) / 0.5, 0, 1) * np.clip(np.abs(x) / 0.5, 0, 1)


def beard_hairs(
    seed: int,
    count: int,
    length: tuple[float, float],
    thick: float,
    wild: float,
    density: Callable[[Field], np.ndarray],
) -> Hairs:
    """``count`` hairs of ``length`` (at the cheek, at the chin)."""
    rng = np.random.default_rng(seed)
    grid = Field((300, 300), (-1.15, 1.15), (-0.2, 2.6))
    roots = scattered(rng, grid, np.clip(density(grid), 0, 1.4), count)
    clump = 0.5 * np.sin(roots[:, 0] * 23 + 3 * np.sin(roots[:, 1] * 9)) + 0.5 * np.sin(
        roots[:, 0] * 51 + roots[:, 1] * 17
    )
    angle = flow(roots) + wild * rng.normal(size=count) + 0.16 * clump
    down = np.clip((roots[:, 1] - 0.7) / 1.1, 0, 1) * np.clip(1.15 - 0.55 * np.abs(roots[:, 0]), 0.3, 1)
    lengths = (length[0] + (length[1] - length[0]) * down) * rng.uniform(0.6, 1.25, count)
    lengths *= np.where((np.abs(roots[:, 0]) < 0.6) & (roots[:, 1] < 1.06), 0.80, 1.0)
    paths = curves(roots, unit(angle), lengths, rng.normal(0, 0.22, count))
    order = np.argsort(roots[:, 1] + 0.15 * rng.normal(size=count), kind="stable")
    tones = np.clip(
        0.66 + 0.12 * rng.normal(size=count) + 0.07 * clump + 0.10 * np.exp(-(((roots[:, 1] - 1.45) / 0.25) ** 2)),
        0.30,
        1.0,
    )
    return Hairs(paths[order], tones[order], rng.uniform(0.5, 1.3, count)[order] * thick)


def beard_picture(grid: Field, hairs: Hairs, density: np.ndarray, under: float, shadow: float = 0.22) -> np.ndarray:
    """Hairs over a ground tone of opacity ``under`` where they grow, darker below the chin."""
    drawn = draw_strands(grid.texels(hairs.paths), hairs.tones, hairs.widths, grid.shape, 0.62)
    ground = under * blur(np.clip(density, 0, 1), 5) * step(blur(drawn[..., 1], 4), 0.05, 0.1)
    alpha = drawn[..., 1] + (1 - drawn[..., 1]) * ground
    thin = step(blur(np.clip(density, 0, 1), 4), 0.22, 0.56)  # the first hairs of the cheek are fine and pale
    begins = np.maximum(0.12 + 0.88 * thin, step(grid.y, 1.22, 0.3))
    value = (drawn[..., 0] * drawn[..., 1] + 0.42 * (1 - drawn[..., 1]) * ground) / np.maximum(alpha, 1e-6)
    return finish(value * (1 - 0.24 * step(grid.y, 1.75, 0.55)), alpha * begins, shadow, 5, 6)


def beard(hairs: Hairs, density: Callable[[Field], np.ndarray], under: float, hangs: bool = False) -> list[Piece]:
    """A beard on the face; where it ``hangs``, what is below the chin lies on a sheet of its own, not on the throat."""
    x, y, narrow = (-1.13, 1.13), (0.02, 2.02), 0.74
    grid = Field((330, 420), x, y, hull((y[0] + y[1]) / 2), narrow)
    picture = beard_picture(grid, hairs, density(grid), under)
    picture[..., 3] *= before_throat(grid)
    pieces = [Piece(picture, (on_face(x, y, narrow, 0.015),))]
    if hangs:
        x, y, flat = (-0.98, 0.98), (1.20, 2.72), (-0.10, 1.05)
        grid = Field((250, 420), x, y, flat[1])
        picture = beard_picture(grid, hairs, density(grid), under)
        picture[..., 3] *= step(grid.y - 0.10 * np.cos(grid.x * 2), 1.42, 0.24)
        pieces.append(Piece(picture, (flat_sheet(x, y, flat, 0.0, True),)))
    return pieces


def goatee_density(grid: Field) -> np.ndarray:
    """A moustache that runs down to a chin beard."""
    right = [(0.0, 0.765), (0.22, 0.79), (0.44, 0.89), (0.54, 1.06), (0.53, 1.32), (0.46, 1.66), (0.24, 1.92), (0.0, 1.97)]  # fmt: skip
    outline = np.array([*right, *[(-x, y) for x, y in right[-2:0:-1]]])
    return beard_density(grid, 0.10) * step(grid.inside(closed(outline)) + 0.015 * noise(6, 4, grid.shape), 0.045, 0.13)


def moustache_density(grid: Field) -> np.ndarray:
    """A full moustache that hides the upper lip."""
    right = [(0.0, 0.77), (0.20, 0.785), (0.42, 0.88), (0.60, 1.05), (0.62, 1.15), (0.50, 1.13), (0.28, 1.02), (0.0, 0.985)]  # fmt: skip
    outline = np.array([*right, *[(-x, y) for x, y in right[-2:0:-1]]])
    groove = 1 - 0.5 * np.exp(-((grid.x / 0.04) ** 2) - ((grid.y - 0.80) / 0.06) ** 2)
    return step(grid.inside(closed(outline)), 0.02, 0.06) * groove


def beard_full() -> list[Piece]:
    """A thick beard that hides the jaw and hangs below the chin."""

    def density(grid: Field) -> np.ndarray:
        return beard_density(grid, 0.10, 0.5)

    return beard(beard_hairs(11, 13000, (0.10, 0.34), 0.55, 0.28, density), density, 0.96, hangs=True)


def beard_stubble() -> list[Piece]:
    """A few weeks of growth; the skin shows through."""

    def density(grid: Field) -> np.ndarray:
        return beard_density(grid, 0.17)

    return beard(beard_hairs(12, 8000, (0.03, 0.06), 0.5, 0.45, density), density, 0.38)


def goatee() -> list[Piece]:
    """Moustache and chin beard."""
    return beard(beard_hairs(13, 6000, (0.09, 0.26), 0.55, 0.28, goatee_density), goatee_density, 0.92, hangs=True)


def moustache() -> list[Piece]:
    """A moustache alone."""
    return beard(beard_hairs(14, 3200, (0.12, 0.20), 0.55, 0.20, moustache_density), moustache_density, 0.94)


class Locks(NamedTuple):
    """Hair in locks: each runs along a cubic through ``posts`` (n, 4, 2) in the face's frame, ``spread`` (n,) wide
    at its root, and closes to a point; ``hairs`` of them make a lock."""

    posts: np.ndarray
    spread: np.ndarray
    hairs: int


def bezier(posts: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(n, k, 2) positions at t (n, k) on cubics with control points (n, 4, 2)."""
    s = 1 - t
    weights = np.stack([s**3, 3 * s**2 * t, 3 * s * t**2, t**3], -1)
    return weights @ posts


def lock_hairs(rng: np.random.Generator, locks: Locks, reach: float = 0.10, steps: int = 22) -> Hairs:
    """Every hair of the locks: those at a lock's rim end earlier, so that it ends in an uneven point.

    Roots lie at different places along the lock (the first sixth), so that no line of roots shows.
    """
    n, each = len(locks.posts), locks.hairs
    lock = np.repeat(np.arange(n), each)
    aside = np.clip(rng.normal(size=n * each), -2.2, 2.2)
    first = rng.uniform(0, 0.16, n * each)
    last = np.clip(1 - reach * np.abs(aside) - reach * np.abs(rng.normal(size=n * each)), 0.4, 1)
    t = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, steps)[None]
    path = bezier(locks.posts[lock], t)
    way = np.gradient(path, axis=1)
    side = np.stack([-way[..., 1], way[..., 0]], -1) / np.maximum(np.hypot(way[..., 0], way[..., 1]), 1e-9)[..., None]
    closing = (1 - t**1.6) ** 0.8 * 0.94 + 0.06
    wave = 0.10 * np.sin(5 * t + 1.7 * lock[:, None] + rng.normal(0, 0.4, n * each)[:, None])
    path = path + side * (locks.spread[lock][:, None] * (aside[:, None] * closing + wave))[..., None]
    tone = 0.52 + 0.08 * np.sin(lock * 4.1) + 0.09 * rng.normal(size=n * each) - 0.035 * np.abs(aside)
    order = np.argsort(rng.permutation(n)[lock] + 2.5 * rng.normal(size=n * each), kind="stable")
    return Hairs(path[order], np.clip(tone, 0.22, 0.9)[order], rng.uniform(0.5, 1.15, n * each)[order])


def hair_sheet(
    grid: Field, hairs: Hairs, seen: np.ndarray, light: np.ndarray, shadow: tuple[float, float, float]
) -> np.ndarray:
    """Hairs as far as they are ``seen`` (0..1), in ``light``, over a wide and a close shadow.

    Args:
        shadow: opacity of the wide one, its drop and its spread in texels.
    """
    drawn = draw_strands(grid.texels(hairs.paths), hairs.tones, hairs.widths, grid.shape, 0.5)
    opacity, drop, spread = shadow
    alpha = drawn[..., 1] * seen
    picture = over(blank(grid.shape), (0.05, 0.03, 0.02), opacity * blur(moved(alpha, 0, drop), spread) * seen)
    picture = over(picture, (0.05, 0.03, 0.02), 0.7 * opacity * blur(moved(alpha, 0, 0.35 * drop), 0.3 * spread))
    value = np.clip(drawn[..., 0] * light, 0.05, 1)
    return fade_border(over(picture, value[..., None] * np.ones(3), alpha), 8, 8)


def fringe_locks(rng: np.random.Generator, n: int, short: float) -> Locks:
    """Locks from above the hairline down over the forehead, ``short`` of the brows, unequal and a little swept."""
    tip = np.linspace(-0.98, 0.98, n) + rng.normal(0, 0.5 / n, n)
    hem = (
        -0.20
        - short
        + 0.10 * rng.normal(size=n)
        + 0.06 * np.sin(tip * 4 + 1)
        + 0.60 * np.clip(np.abs(tip) - 0.66, 0, 1)
    )
    root = 0.78 * tip + 0.05 + rng.normal(0, 0.05, n)
    top = -1.80 + 0.10 * tip**2 + rng.uniform(-0.10, 0.16, n)
    sweep = 0.05 + 0.09 * rng.normal(size=n)
    posts = np.stack(
        [
            np.column_stack([root, top]),
            np.column_stack([root + 0.25 * (tip - root), top + 0.35 * (hem - top)]),
            np.column_stack([tip - 0.4 * sweep, top + 0.72 * (hem - top)]),
            np.column_stack([np.clip(tip + sweep, -1.0, 1.0), hem]),
        ],
        1,
    )
    return Locks(posts, rng.uniform(0.4, 1.2, n) * np.minimum(1.05 / n, 0.036), 64)


def joined(*parts: Hairs) -> Hairs:
    """Hairs of several layers, the later over the earlier."""
    return Hairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def fringe() -> list[Piece]:
    """A fringe in thin locks down to the brows, that comes out of the hair above and is gone at the temples."""
    rng = np.random.default_rng(21)
    x, y = (-1.12, 1.12), (-2.0, 0.34)
    grid = Field((480, 440), x, y, hull(-0.83))
    hairs = joined(
        *(
            lock_hairs(rng, fringe_locks(rng, n, short))
            for n, short in ((40, 0.24), (32, 0.10), (26, -0.01), (12, -0.07))
        )
    )
    side = np.abs(grid.x + 0.03 * noise(23, (9, 2), grid.shape))
    seen = step(1.06 - side, 0.15, 0.30) * step(
        grid.y + 0.07 * noise(26, (2, 14), grid.shape) - 0.42 * grid.x**2, -1.50, 0.60
    )
    light = (
        0.98
        + 0.17 * np.exp(-(((grid.y + 0.86 - 0.05 * np.sin(grid.x * 9)) / 0.20) ** 2))
        - 0.10 * step(grid.y, -0.35, 0.3)
    )
    return [Piece(hair_sheet(grid, hairs, seen, light, (0.42, 15, 11)), (on_face(x, y, 1.0, 0.03),))]


def across_locks(rng: np.random.Generator, n: int, low: tuple[float, float]) -> Locks:
    """Locks from the parting on one side over the forehead and one eye, ending between ``low`` on the cheek."""
    at = (np.arange(n) + rng.uniform(0, 1, n)) / n
    root = np.column_stack([-0.52 + 1.30 * at + 0.05 * rng.normal(size=n), -1.82 + 0.08 * rng.normal(size=n)])
    eye = np.column_stack([0.30 + 0.68 * at + 0.07 * rng.normal(size=n), -0.30 + 0.20 * at + 0.08 * rng.normal(size=n)])
    tip = np.column_stack([np.minimum(0.36 + 0.55 * at + 0.10 * rng.normal(size=n), 0.93), rng.uniform(*low, n)])
    posts = np.stack([root, root + [0.40, 0.55] * (1.1 - 0.7 * at)[:, None], eye, tip], 1)
    return Locks(posts, rng.uniform(0.5, 1.3, n) * 0.85 / n, 70)


def across() -> list[Piece]:
    """Side-swept locks over the forehead, one eye and the cheek."""
    rng = np.random.default_rng(22)
    x, y = (-1.06, 1.16), (-2.1, 1.7)
    grid = Field((560, 400), x, y, hull(-0.2))
    hairs = joined(
        *(
            lock_hairs(rng, across_locks(rng, n, low), 0.2)
            for n, low in ((18, (-0.1, 0.9)), (13, (0.5, 1.3)), (5, (0.9, 1.6)))
        )
    )
    seen = (
        step(grid.y + 0.08 * noise(26, (2, 14), grid.shape), -1.46, 0.60)
        * before_throat(grid)
        * step(1.14 - grid.x, 0.12, 0.2)
    )
    light = (
        1
        + 0.34 * np.exp(-(((grid.y + 0.60 - 0.3 * grid.x) / 0.16) ** 2))
        + 0.14 * np.exp(-(((grid.y - 0.5) / 0.2) ** 2))
    )
    return [Piece(hair_sheet(grid, hairs, seen, light, (0.40, 9, 8)), (on_face(x, y, 1.0, 0.04),))]


TABLE: dict[str, tuple[str, str, str, Callable[[], list[Piece]]]] = {
    "beard-full": ("Full beard", "beard", "lower", beard_full),
    "beard-stubble": ("Stubble, long", "beard", "lower", beard_stubble),
    "beard-goatee": ("Goatee with moustache", "beard", "lower", goatee),
    "moustache": ("Moustache", "beard", "lower", moustache),
    "hair-fringe": ("Fringe down to the eyes", "hair", "upper", fringe),
    "hair-across": ("Strands over one eye and the cheek", "hair", "eye", across),
}  # fmt: skip


def make(asset_id: str) -> Built:
    """One asset of this module."""
    name, kind, regions, draw = TABLE[asset_id]
    return build(asset_id, name, "human-body", kind, regions, OWN, draw(), SOURCE, coarse=8, version=VERSIONS[kind])


MASKS: Masks = {asset_id: (lambda asset_id=asset_id: make(asset_id)) for asset_id in TABLE}
