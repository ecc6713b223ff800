"""What is wound round face and neck: gaiters, bandanas, scarves. Drawings return the atlas.

Each has a part round the neck (a lathe, or a hanging sheet) and over it a part on the face, whose sides fade into the
former so that no joint shows. Prints are laid out in one frame for both parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import shapes
from canvas import (
    MARGIN,
    PANEL_ROWS,
    PRINT_STEP,
    SHAPE,
    SIZE,
    STRAP_ROWS,
    STRAP_UV,
    atlas,
    axes,
    block,
    edge_roll,
    fit,
    grey,
    line,
    noise,
    panel_and_strap,
    polyline,
    rounded,
    shade,
    slanted,
    step,
)  # fmt: skip
from catalogue import WASHES, WOOLS, Colours, Masks, described
from folds import overlap
from prints import Print, camouflage, paisley, yarns

FACE, NECK = (284, SIZE), (216, SIZE)  # rows and columns of the two parts
NECK_ROW = FACE[0] + 10
FACE_UV = [0.0, 0.0, 1.0, FACE[0] / SIZE]
NECK_UV = [0.0, NECK_ROW / SIZE, 1.0, (NECK_ROW + NECK[0]) / SIZE]
JERSEYS: Colours = {"black": [66, 66, 70], "grey": [134, 137, 142], "navy": [52, 64, 100], "sand": [206, 186, 152],
                    "red": [160, 52, 54], "olive": [104, 110, 82]}  # fmt: skip


def two_parts(face: np.ndarray, neck: np.ndarray, levels: int = 3) -> np.ndarray:
    """The atlas of a wrap."""
    return atlas([(0, 0, face), (NECK_ROW, 0, neck)], levels)


def faded(part: np.ndarray, sides: float, below: float) -> np.ndarray:
    """A block whose alpha fades out over ``sides`` texels left and right and ``below`` texels at its lower edge."""
    rows, columns = part.shape[:2]
    x, y = axes((rows, columns))
    soft = step(columns / 2 - np.abs(x), sides / 2 + 2, sides)
    if below:
        soft = soft * step(rows - y, below / 2 + 2, below)
    return np.dstack([part[..., :3], part[..., 3] * soft])


def rings(seed: int, shape: tuple[int, int], height: float, size: float) -> np.ndarray:
    """Folds that lie round the neck: level, of changing depth, running out into each other."""
    fold = slanted(seed, 4, 130, size, shape) + 0.7 * slanted(seed + 1, -6, 90, size * 0.8, shape)
    return height * (np.abs(fold) ** 0.8 * np.sign(fold)) + 0.4 * height * noise(seed + 2, (30, 12), shape)


# ---------------------------------------------------------------------------------------------- gaiters


def gaiter_geometry() -> dict[str, Any]:
    """A tube of cloth from the nose to the collar, gathered round the neck."""
    neck = {"angles": [-170, 170], "tinted": True, "uv": NECK_UV, "profile": [
        [0.40, 1.15, 1.10], [0.85, 1.14, 1.16], [1.20, 1.10, 1.16], [1.50, 1.03, 1.18], [1.70, 1.00, 1.22],
        [1.90, 1.03, 1.27], [2.10, 0.99, 1.23], [2.30, 1.04, 1.25], [2.48, 1.00, 1.20], [3.00, 1.02, 1.20],
    ], "axis": 1.46}  # fmt: skip
    face = shapes.sheet(
        [[0, 0.36], [0.18, 0.40], [0.42, 0.49], [0.75, 0.57], [1.14, 0.62]],
        [[0, 2.06], [0.36, 1.98], [0.70, 1.68], [0.94, 1.28], [1.10, 0.98]],
        gap=0.03, uv=FACE_UV, tuck=0.30,
    )  # fmt: skip
    return shapes.geometry(neck, face)


def gaiter(print_of: Print | None, seed: int) -> np.ndarray:
    """Stretched jersey: taut lines from the nose to the ears, folds gathered below the chin."""
    x, y = axes(FACE)
    d = y - MARGIN - 3.0 * noise(seed + 7, (34, 1), (1, SIZE)) * step(np.abs(x), 40, 60)
    gather = step(y, 205, 110)
    relief = edge_roll(d, 5, 2.0) + 1.2 * (1 - step(d, 14, 3)) - 0.8 * line(d - 15, 1.6)
    relief += 1.8 * slanted(seed, 6, 120, 12, FACE) * (0.35 + 0.65 * np.abs(x) / 256) * (1 - gather)
    relief += gather * rings(seed + 3, FACE, 3.4, 12) + 1.0 * noise(seed + 6, 26, FACE)
    face = _jersey(print_of, relief, x, y, seed)
    face = face * (1 - 0.30 * step(np.abs(x), 215, 110) * step(y, 60, 90))[..., None]  # the jaw turns away
    nx, ny = axes(NECK)
    top = MARGIN + 2 + 64 * step(np.abs(nx), 165, 150)  # below the ears down to the nape
    hem = NECK[0] - 38 - 30 * _aside(nx, 112) + 0.04 * nx + 4.5 * noise(seed + 9, (26, 1), (1, SIZE))
    nd = np.minimum(ny - top, hem - ny)
    hollow = rings(seed + 10, NECK, 5.0, 13) * (0.3 + 0.7 * step(ny, 60, 90)) + edge_roll(nd, 12, 6.0)
    hollow += swags(seed + 12, NECK, 4.0, 4) * step(ny, 90, 60)
    neck = _jersey(print_of, hollow, nx * 1.55, ny + 40, seed + 20)
    dark = 1 - 0.22 * line(ny - 100, 42) * step(170 - np.abs(nx), 0, 120)  # below the chin
    dark = dark * (1 - 0.45 * step(np.abs(nx), 130, 170)) * (1 - 0.28 * line(np.maximum(hem - ny, 0), 14))
    return two_parts(
        faded(block(face, d), 60, 46), faded(_resting(neck * dark[..., None], nd, hem, 0.50, 24), 10, 0),
        PRINT_STEP if print_of is not None else 3,
    )  # fmt: skip


def _jersey(print_of: Print | None, relief: np.ndarray, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    cloth = grey(np.full(relief.shape, 0.89)) if print_of is None else print_of(x, y)
    value = shade(relief) + 0.010 * noise(seed + 30, 24, relief.shape) + 0.008 * noise(seed + 31, 0.8, relief.shape)
    return cloth * value[..., None]


# --------------------------------------------------------------------------------------------- bandanas

HEM = [[0, 0.33], [0.18, 0.37], [0.42, 0.46], [0.75, 0.53], [1.13, 0.54]]
TIP = [[0, 2.62], [0.30, 2.30], [0.62, 1.84], [0.90, 1.38], [1.13, 0.84]]
HANG = [-0.46, 0.98]  # depth: the cloth hangs straight down from the nose and is drawn back to the ears


def bandana_geometry() -> dict[str, Any]:
    """A square folded to a triangle, tied at the nape; its tip hangs from the nose."""
    face = {**shapes.sheet(HEM, TIP, gap=0.0), "flat": HANG}
    back = {
        "angles": [-150, 150],
        "tinted": True,
        "uv": STRAP_UV,
        "profile": [[0.56, 1.17, 1.0], [0.68, 1.16, 1.0], [0.79, 1.14, 1.0]],
    }
    return shapes.geometry(back, face)


def on_the_face() -> tuple[np.ndarray, np.ndarray]:
    """Where each texel of the triangle lies, in texels of 1/200 of the frame's unit: x along the cloth, y down."""
    edges = []
    for half in (HEM, TIP):
        points = np.asarray(half)
        whole = np.concatenate([points[:0:-1] * [-1, 1], points])
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(whole, axis=0).T))])
        at = (np.arange(SIZE) + 0.5) / SIZE * length[-1]
        edges.append(np.column_stack([np.interp(at, length, whole[:, k]) for k in (0, 1)]))
    down = ((np.arange(PANEL_ROWS) + 0.5) / PANEL_ROWS)[:, None]
    x, y = (edges[0][:, k] + down * (edges[1] - edges[0])[:, k] for k in (0, 1))
    return 200 * x * (1 + 0.16 * x**2), 200 * y  # the cloth is longer than x where it is drawn back


def bandana(print_of: Print | None, seed: int) -> np.ndarray:
    """Thin cotton: a rolled upper edge, folds that fan out from the ears and hang from the nose."""
    x, y = axes()
    d = rounded(radius=6)
    away = np.abs(x) / 256
    relief = edge_roll(d, 6, 3.0) + 1.8 * line(y - MARGIN - 9, 6) - 1.0 * line(d - 8, 1.6)
    for side, tilt in ((1, 17), (-1, -17)):
        relief += 3.4 * slanted(seed + side, tilt, 120, 13) * step(side * x, 30, 200) * away
        relief += (
            2.6 * line(polyline([[side * 214, 60], [side * 110, 118], [side * 20, 150]]), 11) * step(away, 0.15, 0.3)
        )
    relief += 2.2 * slanted(seed + 3, 86, 110, 18) * step(y, 190, 160) + 1.4 * noise(seed + 4, 28)
    px, py = on_the_face()
    slope_down, slope_across = np.gradient(cv2.GaussianBlur(relief, (0, 0), 1.5))
    cloth = grey(np.full(SHAPE, 0.89)) if print_of is None else print_of(px + 2.5 * slope_across, py + 2.5 * slope_down)
    colour = cloth * (shade(relief) + 0.010 * noise(seed + 30, 24))[..., None]
    rows = STRAP_ROWS[1] - STRAP_ROWS[0]
    bx, by = axes((rows, SIZE))
    bd = np.minimum(by - 6, rows - 6 - by)
    plain = np.median(cloth.reshape(-1, 3), axis=0)
    back = plain * shade(edge_roll(bd, 6, 3.0) + 1.8 * slanted(seed + 8, 3, 90, 4, (rows, SIZE)))[..., None]
    return panel_and_strap(block(colour, d, 0.46), block(back, bd, 0.0), PRINT_STEP if print_of is not None else 3)


# ---------------------------------------------------------------------------------------------- scarves


TURNS = ((246, SIZE), (172, SIZE))  # rows and columns of the upper turn and of the lower
TAIL, TAIL_ROWS = (196, 132), 82  # of the end that hangs down: as drawn, and its rows in the atlas
LOWER_ROW, TAIL_ROW = TURNS[0][0] + 6, SIZE - TAIL_ROWS


def scarf_geometry() -> dict[str, Any]:
    """An end that hangs down, and two turns of thick wool: one lies on the collar, one is pulled up over the nose."""
    upper = [0.0, 0.0, 1.0, TURNS[0][0] / SIZE]
    lower = [0.0, LOWER_ROW / SIZE, 1.0, (LOWER_ROW + TURNS[1][0]) / SIZE]
    end = shapes.sheet(
        [[-0.70, 2.26], [-0.26, 2.32], [0.16, 2.34]], [[-1.02, 3.70], [-0.50, 3.80], [0.06, 3.84]], 0.0,
        [0.0, TAIL_ROW / SIZE, TAIL[1] / SIZE, 1.0], flat=[-0.10, 0.25],
    )  # fmt: skip
    low = {"angles": [-172, 172], "tinted": True, "uv": lower, "profile": [
        [1.25, 0.96, 1.14], [1.60, 1.04, 1.24], [1.90, 1.12, 1.34], [2.08, 1.20, 1.40], [2.24, 1.31, 1.46],
        [2.44, 1.38, 1.54], [2.58, 1.35, 1.53], [2.70, 1.37, 1.54], [2.90, 1.28, 1.50], [3.16, 1.04, 1.38],
    ], "axis": 1.16}  # fmt: skip
    high = {"angles": [-172, 172], "tinted": True, "uv": upper, "profile": [
        [0.36, 1.02, 1.44], [0.62, 1.07, 1.51], [0.86, 1.13, 1.56], [1.04, 1.14, 1.55], [1.26, 1.21, 1.56],
        [1.46, 1.15, 1.52], [1.58, 1.10, 1.47], [1.80, 1.09, 1.44], [2.00, 0.99, 1.31], [2.16, 0.90, 1.18],
    ], "axis": 0.98}  # fmt: skip
    return shapes.geometry(end, low, high)


Wool = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def scarf(wool: Wool, seed: int, levels: int = 3) -> np.ndarray:
    """``wool`` gives relief and colour of the stuff at (x along the scarf, y across), in texels."""
    high = _turn(wool, TURNS[0], seed, 4.4, 0.0)
    low = _turn(wool, TURNS[1], seed + 40, 5.6, 300.0)
    x, y = axes(TURNS[1])
    dark = 0.36 + 0.64 * step(y + 20 * _aside(x) + 0.08 * x, 78, 58)  # in the shadow of the upper turn
    low = np.dstack([low[..., :3] * dark[..., None], low[..., 3]])
    end = fit(_tail(wool, seed + 80), TAIL_ROWS, TAIL[1])
    return atlas([(0, 0, faded(high, 10, 0)), (LOWER_ROW, 0, faded(low, 10, 0)), (TAIL_ROW, 0, end)], levels)


def _tail(wool: Wool, seed: int) -> np.ndarray:
    """The scarf's end, gathered where it comes out from under the turns, with a fringe."""
    x, y = axes(TAIL)
    half = TAIL[1] / 2 - MARGIN - 5 + 7 * step(y, 60, 120) + 1.6 * noise(seed, (1, 26), (TAIL[0], 1))
    hem = TAIL[0] - 44 + 1.5 * noise(seed + 1, (16, 1), (1, TAIL[1]))
    d = np.minimum(half - np.abs(x), hem - y)
    folds = 5.0 * line(x + 14 - 0.05 * y, 9) - 5.0 * line(x + 1 - 0.05 * y, 7) + 3.0 * line(x - 26 + 0.06 * y, 8)
    relief = folds * (1 - 0.5 * step(y, 100, 120)) + edge_roll(d, 12, 7) + 1.2 * noise(seed + 2, 12, TAIL)
    stuff, colour = wool(1.5 * y, x + 60 + 2.0 * noise(seed + 3, 30, TAIL))
    value = shade(relief + stuff, 0.85, 0.05, 12) * (0.35 + 0.65 * step(y, 62, 60))
    part = block(colour * value[..., None], d, 0.40)
    strand = np.mod((x + 2.0 * noise(seed + 4, (2, 14), TAIL)) / 7.0, 1) - 0.5
    length = 18 + 3.0 * noise(seed + 5, (3, 1), (1, TAIL[1]))
    fringe = step(0.36 - np.abs(strand), 0, 0.3) * step(y, hem - 4, 4) * step(hem + length - y, 0, 6)
    fringe = fringe * step(half - 4 - np.abs(x), 0, 4) * (1 - part[..., 3])
    thread = np.median(colour.reshape(-1, 3), axis=0) * (0.86 - 0.5 * strand**2)[..., None]
    alpha = part[..., 3] + fringe
    mixed = part[..., :3] * part[..., 3:] + thread * fringe[..., None]
    sides = step(y, 14, 14)
    return np.dstack([mixed / np.maximum(alpha, 1e-6)[..., None], alpha * sides])


def _aside(x: np.ndarray, reach: float = 105.0) -> np.ndarray:
    """0 in front, towards 1 at the sides."""
    return 1 - np.exp(-((x / reach) ** 2))


def _turn(wool: Wool, shape: tuple[int, int], seed: int, depth: float, start: float) -> np.ndarray:
    """One turn of the scarf: highest at the nose, it falls to the nape; its lower edge hangs in front, in swags."""
    x, y = axes(shape)
    upper, rise = (4.0, 44.0) if start else (62.0, 26.0)
    waver = 4.5 * noise(seed, (24, 1), (1, shape[1])) + 0.05 * x
    top = MARGIN + 6 + upper * _aside(x, 120) + waver
    lean = 0.05 if start else -0.08
    hem = shape[0] - 34 - rise * _aside(x, 118) + lean * x + 4.5 * noise(seed + 1, (22, 1), (1, shape[1]))
    d = np.minimum(y - top, hem - y)
    relief = swags(seed + 2, shape, depth) + 0.45 * rings(seed + 3, shape, depth, 14) + edge_roll(d, 26, 15)
    down = np.gradient(cv2.GaussianBlur(relief, (0, 0), 2.5))[0]
    across = (y - top) / (hem - top) * (shape[0] - 70)  # the stuff hangs as the edges do
    across = across + 7.0 * noise(seed + 5, (60, 24), shape)
    stuff, colour = wool(x * 1.5 + start, across + 5.5 * down + 0.03 * start)
    value = shade(relief + stuff, 0.85, 0.05, 12) + 0.012 * noise(seed + 9, 30, shape)
    value = value * (1 - 0.42 * step(np.abs(x), 128, 150)) * (1 - 0.30 * line(np.maximum(hem - y, 0), 16))
    return _resting(colour * np.clip(value, 0.2, 1.25)[..., None], d, hem, 0.55, 26)


def _resting(
    colour: np.ndarray, d: np.ndarray, hem: np.ndarray, strength: float, reach: float
) -> np.ndarray:
    """Cloth where ``d`` > 0 that lies on what is below row ``hem``: its soft shadow fades ``reach`` texels down."""
    x, y = axes(d.shape)
    part = block(colour, d, 0.25)
    deep = np.maximum(y - hem, 0)
    cast = strength * np.exp(-((deep / (0.5 * reach)) ** 1.6)) * step(y, hem - 2, 3) * step(reach + 8 - deep, 4, 8)
    cast = cast * (1 - 0.75 * step(np.abs(x), 120, 70))
    alpha = part[..., 3] + (1 - part[..., 3]) * cast
    return np.dstack([part[..., :3] * (part[..., 3] / np.maximum(alpha, 1e-6))[..., None], alpha])


def swags(seed: int, shape: tuple[int, int], depth: float, count: int = 6) -> np.ndarray:
    """Folds that hang in curves from both sides and lie over one another, each running out somewhere."""
    x, y = axes(shape)
    draw = np.random.default_rng(seed)
    relief = np.zeros(shape)
    for k in range(count):
        row = shape[0] * (k + 0.75 + draw.uniform(-0.3, 0.3)) / (count + 0.6)
        centre, half = draw.uniform(-70, 70), draw.uniform(90, 170)
        sag, tilt = draw.uniform(4, 26), draw.uniform(-0.10, 0.10)
        curve = (
            row + sag * np.exp(-(((x - centre) / 90) ** 2)) + tilt * x + 2.5 * noise(seed + k, (26, 1), (1, shape[1]))
        )
        reach = step(half - np.abs(x - centre), 0, 110)
        relief += reach * (
            overlap(y - curve, draw.uniform(0.8, 1.4) * depth, 9, 42) + 0.5 * depth * line(y - curve + 13, 12)
        )
    return relief


def woven_wool(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Soft brushed twill."""
    fuzz = 0.30 * noise(9001, (2.6, 1.0), x.shape)
    return fuzz + 0.25 * np.sin((x + y) * 2 * np.pi / 6), grey(np.full(x.shape, 0.86))


def striped_wool(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Broad stripes along the scarf."""
    sett = [((0.20, 0.23, 0.32), 46), ((0.78, 0.74, 0.66), 9), ((0.45, 0.17, 0.18), 20), ((0.78, 0.74, 0.66), 9)]
    return woven_wool(x, y)[0], yarns(y, sett)


def knitted(x: np.ndarray, y: np.ndarray, wale: float = 13.0, course: float = 9.5) -> tuple[np.ndarray, np.ndarray]:
    """Stocking stitch seen close: columns of V, each leg a slanted lens."""
    u = x / wale
    leg = np.mod(u, 1) - 0.5
    slant = y / course + 1.1 * np.abs(leg)
    v = np.mod(slant, 1) - 0.5
    lens = np.clip(1 - (v / 0.5) ** 2, 0, 1) * np.clip(1 - ((np.abs(leg) - 0.25) / 0.27) ** 2, 0, 1)
    relief = 3.4 * np.sqrt(lens) + 0.25 * noise(9003, 1.2, x.shape)
    return relief, grey(0.70 + 0.22 * np.sqrt(lens))


# ------------------------------------------------------------------------------------------------ table

DUSK = [(0.30, 0.36, 0.44), (0.20, 0.25, 0.33), (0.44, 0.50, 0.56), (0.10, 0.12, 0.17)]


def _wrap(
    asset_id: str, name: str, kind: str, colours: Colours, shape: dict, texture: np.ndarray, category: str = "simple"
) -> tuple:
    return described(asset_id, name, kind, colours, shape, texture, "wraps.py", category, styles=("correct",))


MASKS: Masks = {
    "gaiter": lambda: _wrap("gaiter", "Neck gaiter, plain", "gaiter", JERSEYS, gaiter_geometry(), gaiter(None, 501)),
    "gaiter-camouflage": lambda: _wrap(
        "gaiter-camouflage", "Neck gaiter, camouflage", "gaiter",
        {"dusk": [255, 255, 255], "green": [196, 214, 150], "sand": [255, 226, 170]}, gaiter_geometry(),
        gaiter(lambda x, y: camouflage(x, y, 513, DUSK, 26), 515), "complex",
    ),
    "bandana": lambda: _wrap("bandana", "Bandana, plain", "bandana", JERSEYS, bandana_geometry(), bandana(None, 521)),
    "bandana-paisley": lambda: _wrap(
        "bandana-paisley", "Bandana, paisley", "bandana", WASHES, bandana_geometry(),
        bandana(lambda x, y: paisley(x, y, 62, (0.12, 0.17, 0.34), (0.95, 0.94, 0.90), (0.22, 0.28, 0.48)), 531),
        "complex",
    ),
    "scarf": lambda: _wrap("scarf", "Wool scarf, plain", "scarf", WOOLS, scarf_geometry(), scarf(woven_wool, 541)),
    "scarf-striped": lambda: _wrap(
        "scarf-striped", "Wool scarf, striped", "scarf", WASHES, scarf_geometry(),
        scarf(striped_wool, 551, PRINT_STEP), "complex",
    ),
    "scarf-knit": lambda: _wrap(
        "scarf-knit", "Scarf, knitted", "scarf", WOOLS, scarf_geometry(), scarf(knitted, 561, PRINT_STEP), "complex"
    ),
}  # fmt: skip
