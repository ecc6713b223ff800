# ruff: noqa: E501 - outlines read better on one line
"""Hair before the face: a fringe, strands across it, curtains at its sides, beards. Every strand is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from canvas import noise, step
from hands import flat_sheet
from pen import Built, Field, Masks, Piece, blank, blur, build, closed, fade_border, moved, over
from shell import Shell

from maskbench.masking.geometry import taut_depth

SOURCE = "hair.py"
OWN = {"hair": "hair"}  # hair of the head must go with the hair around it
BEARDS = {"hair": "hair", "black": [52, 47, 45], "brown": [112, 82, 60], "blond": [204, 160, 108], "grey": [176, 174, 172]}  # fmt: skip
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


BEARD = [(1.16, 0.30), (1.14, 0.60), (1.12, 0.95), (0.99, 1.35), (0.74, 1.72), (0.36, 1.98), (0.0, 2.04), (-0.01, 1.90), (-0.01, 0.78), (0.0, 0.775), (0.20, 0.80), (0.42, 0.88), (0.56, 1.02), (0.74, 1.01), (0.92, 0.90), (1.03, 0.74), (1.09, 0.52), (1.11, 0.30)]  # fmt: skip


def beard_density(grid: Field, soft: float, chin: float = 0.0) -> np.ndarray:
    """Where a beard grows, 0..1: from the ear's lobe along the jaw, chin and moustache, not the lips nor beside the lower lip."""
    half = np.array(BEARD) * [1, 1] + np.outer(np.clip(np.array(BEARD)[:, 1] - 1.55, 0, 1), [0, chin])
    distance = grid.inside(half, half * [-1, 1])
    x, y = np.abs(grid.x), grid.y
    lips = 1 - np.hypot(x / 0.43, (y - 1.075 - 0.05 * np.clip(x / 0.4, 0, 1) ** 2) / 0.17)
    bare = 1 - np.hypot((x - 0.24) / 0.15, (y - 1.285) / 0.075)
    thin = np.exp(-((x / 0.07) ** 2) - ((y - 0.82) / 0.07) ** 2)  # the groove below the nose
    density = (
        step(distance, 0.35 * soft, soft)
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
    value = (drawn[..., 0] * drawn[..., 1] + 0.42 * (1 - drawn[..., 1]) * ground) / np.maximum(alpha, 1e-6)
    return finish(value * (1 - 0.24 * step(grid.y, 1.75, 0.55)), alpha, shadow, 5, 6)


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
    return beard_density(grid, 0.10) * step(grid.inside(closed(outline)), 0.03, 0.09)


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


def on_shell(shell: Shell, along: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Paths (n, k, 2) in texels from lengths around and down a shell."""
    return np.stack([(along - shell.along[0, 0]) / shell.wide_texel, down / shell.texel], -1)


FRONT = [[-2.10, 0.0, 0.0], [-2.07, 0.40, 0.50], [-1.92, 0.86, 1.06], [-1.60, 1.20, 1.38], [-1.15, 1.36, 1.50], [-0.65, 1.38, 1.50], [-0.15, 1.36, 1.46], [0.45, 1.32, 1.40]]  # fmt: skip


def fringe() -> list[Piece]:
    """Hair combed from the crown down over the brows, longer at the temples."""
    rng = np.random.default_rng(21)
    shell = Shell(400, FRONT, (-170.0, 170.0), columns=720)
    count = 10000
    root = rng.uniform(-4.3, 4.3, count)
    lock = np.round(root * 9 + 0.3 * rng.normal(size=count))
    jitter = np.sin(lock * 78.233)
    side = np.abs(lock / 9)
    height = -0.20 + 0.07 * jitter + 0.05 * rng.normal(size=count) + 0.50 * np.clip((side - 1.05) / 0.35, 0, 1)
    tip = np.interp(height, shell.y[:, 0], shell.down[:, 0])
    begin = np.abs(rng.normal(0.10, 0.28, count))
    t = np.linspace(0, 1, 14)[None]
    along = root[:, None] * (1 + 0.02 * t) + ((lock / 9 - root) * 0.6 + 0.06 * np.sin(lock * 12.9))[:, None] * t**3
    along = along + 0.012 * np.sin(5 * t + lock[:, None]) + 0.03 * np.sin(lock * 5.1)[:, None] * t**2
    paths = on_shell(shell, along, begin[:, None] + (tip - begin)[:, None] * t)
    order = np.argsort(tip + 0.2 * rng.normal(size=count), kind="stable")
    tones = np.clip(0.50 + 0.10 * rng.normal(size=count) + 0.09 * np.sin(lock * 4.1), 0.22, 0.9)
    drawn = draw_strands(paths[order], tones[order], rng.uniform(0.6, 1.4, count)[order], shell.shape, 0.5)
    sheen = 0.34 * np.exp(-(((shell.y + 1.25 - 0.06 * np.sin(shell.along * 7)) / 0.20) ** 2))
    value = drawn[..., 0] * (0.96 + sheen - 0.18 * step(shell.y, -0.30, 0.4) - 0.20 * step(np.abs(shell.angle), 75, 50))
    return [shell.piece(finish(value, drawn[..., 1], 0.45, 9, 7))]


def across() -> list[Piece]:
    """Wind-blown locks from the parting across one eye, the nose and the cheek."""
    rng = np.random.default_rng(22)
    x, y, locks, each = (-0.92, 1.06), (-1.70, 1.7), 11, 130
    grid = Field((480, 400), x, y, hull((y[0] + y[1]) / 2))
    base = np.random.default_rng(29)
    lock = np.repeat(np.arange(locks), each)
    begin = np.column_stack([base.uniform(-0.55, 0.35, locks), base.uniform(-1.50, -1.20, locks)])[lock]
    end = np.column_stack([base.uniform(0.0, 0.92, locks), base.uniform(0.30, 1.35, locks)])[lock]
    bow = base.uniform(-0.55, 0.05, locks)[lock]
    fuzz = np.clip(rng.normal(size=lock.size), -2.2, 2.2)
    t = np.linspace(0, 1, 18)[None]
    width = (0.13 * fuzz)[:, None] * (1 - t) ** 0.7 + (0.035 * fuzz)[:, None]
    reach = np.clip(rng.normal(0.95, 0.09, lock.size), 0.5, 1.1)[:, None] * t
    sweep = (
        begin[:, :1]
        + (end - begin)[:, :1] * reach
        + bow[:, None] * 2 * reach * (1 - reach)
        + width
        + 0.02 * np.sin(6 * reach + lock[:, None])
    )
    fall = (
        begin[:, 1:]
        + (end - begin)[:, 1:] * reach
        + 0.5 * width
        - 0.12 * rng.uniform(0, 1, lock.size)[:, None] * (1 - t)
    )
    order = rng.permutation(lock.size)
    tones = np.clip(0.54 + 0.10 * rng.normal(size=lock.size) + 0.09 * np.sin(lock * 2.4), 0.25, 0.9)
    drawn = draw_strands(
        grid.texels(np.stack([sweep, fall], -1))[order],
        tones[order],
        rng.uniform(0.4, 1.0, lock.size) * 0.9,
        grid.shape,
        0.55,
    )
    value = drawn[..., 0] * (
        1 + 0.40 * np.exp(-(((grid.y + 0.55) / 0.16) ** 2)) + 0.18 * np.exp(-(((grid.y - 0.5) / 0.2) ** 2))
    )
    alpha = drawn[..., 1] * step(grid.y + 0.12 * noise(26, (2, 9), grid.shape), -1.24, 0.45) * before_throat(grid)
    return [Piece(finish(value, alpha, 0.40, 7, 5), (on_face(x, y, 1.0, 0.04),))]


CURTAIN = [[-2.10, 0.0, 0.0], [-2.06, 0.44, 0.54], [-1.86, 0.92, 1.10], [-1.48, 1.24, 1.42], [-0.95, 1.40, 1.55], [-0.30, 1.43, 1.54], [0.50, 1.42, 1.46], [1.40, 1.36, 1.32], [2.20, 1.32, 1.20], [3.10, 1.34, 1.14]]  # fmt: skip


def curtain() -> list[Piece]:
    """Long hair parted in the middle that falls over both sides of the face."""
    rng = np.random.default_rng(24)
    shell = Shell(480, CURTAIN, (-170.0, 170.0), columns=720)
    count = 12000
    side = rng.choice([-1, 1], count)
    rest = 0.56 + 3.75 * rng.uniform(0, 1, count) ** 1.15
    lock = np.round(rest * 10 + 0.25 * rng.normal(size=count))
    t = np.linspace(0, 1, 24)[None]
    wave = 0.05 * np.sin(6.5 * t + (lock * 1.7 + side)[:, None]) * t
    opened = 1 - np.exp(-t * (5.5 + 1.2 * np.sin(lock))[:, None])
    along = side[:, None] * (0.01 + rest[:, None] * opened + wave + (0.04 * np.sin(lock * 9.1))[:, None] * t)
    along = along + (rng.normal(0, 0.02, count))[:, None] * t
    begin = rng.uniform(0.05, 1.02, count) * (1 - 0.8 * (rest > 1.5))
    whole = shell.down[-1, 0]
    end = (
        whole
        - 0.10
        - np.abs(rng.normal(0, 0.30, count))
        - 0.22 * (1 + np.sin(lock * 3.3 + side))
        - 0.15 * np.clip(1.0 - rest, 0, 1)
    )
    down = begin[:, None] + (end - begin)[:, None] * t
    order = np.argsort(-rest + 0.5 * rng.normal(size=count), kind="stable")
    tones = np.clip(0.50 + 0.10 * rng.normal(size=count) + 0.10 * np.sin(lock * 2.7 + side), 0.22, 0.9)
    drawn = draw_strands(
        on_shell(shell, along, down)[order], tones[order], rng.uniform(0.6, 1.5, count)[order] * 0.9, shell.shape, 0.5
    )
    sheen = 0.36 * np.exp(-(((shell.y + 0.95) / 0.24) ** 2)) + 0.16 * np.exp(-(((shell.y - 1.2) / 0.35) ** 2))
    value = drawn[..., 0] * (0.94 + sheen - 0.22 * step(shell.y, 1.9, 1.0) - 0.30 * step(np.abs(shell.angle), 70, 50))
    scalp = step(-0.98 - 0.10 * noise(27, (3, 12), shell.shape) - shell.y, 0.0, 0.16) * step(
        0.5 - np.abs(shell.along), 0, 0.2
    )
    alpha = drawn[..., 1] + (1 - drawn[..., 1]) * scalp
    value = np.where(drawn[..., 1] > 0.5, value, 0.34 * (1 - drawn[..., 1]) + value * drawn[..., 1])
    return [shell.piece(finish(value, alpha, 0.45, 4, 8))]


TABLE: dict[str, tuple[str, str, str, Callable[[], list[Piece]]]] = {
    "beard-full": ("Full beard", "beard", "lower", beard_full),
    "beard-stubble": ("Stubble, long", "beard", "lower", beard_stubble),
    "beard-goatee": ("Goatee with moustache", "beard", "lower", goatee),
    "moustache": ("Moustache", "beard", "lower", moustache),
    "hair-fringe": ("Fringe down to the eyes", "hair", "upper", fringe),
    "hair-across": ("Strands across the face", "hair", "eye lower", across),
    "hair-curtain": ("Long hair over both sides of the face", "hair", "eye upper", curtain),
}  # fmt: skip


def make(asset_id: str) -> Built:
    """One asset of this module."""
    name, kind, regions, draw = TABLE[asset_id]
    colours = BEARDS if kind == "beard" else OWN
    return build(asset_id, name, "human-body", kind, regions, colours, draw(), SOURCE, coarse=8)


MASKS: Masks = {asset_id: (lambda asset_id=asset_id: make(asset_id)) for asset_id in TABLE}
