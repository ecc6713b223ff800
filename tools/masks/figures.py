"""Cloth masks that carry a figure: a maker's mark, letters, teeth, a snout, lace, the valves of a sports mask.

The marks and letters are inventions; no real brand is meant.
"""

from __future__ import annotations

import cv2
import numpy as np
import shapes
from canvas import (
    INSET_UV,
    PRINT_STEP,
    SHAPE,
    SHORT_STRAP_UV,
    SHORT_UV,
    axes,
    block,
    edge_roll,
    grey,
    line,
    mix,
    noise,
    panel_and_strap,
    shade,
    step,
    strap,
    with_inset,
)  # fmt: skip
from catalogue import Colours, Masks, described
from cotton import DARK, WHITE, curved, curved_outline, foam, two_part
from folds import drape, hem, lumps, seam, stitches, tension
from prints import SOFT, cells, flat, flower, leaf
from respirators import valve

DYES: Colours = {"black": [66, 66, 70], "navy": [46, 58, 96], "burgundy": [118, 38, 50], "grey": [120, 123, 128],
                 "green": [58, 92, 74]}  # fmt: skip
PALE: Colours = {"white": [244, 243, 240], "pink": [236, 190, 198], "sand": [222, 204, 174], "sky": [184, 208, 228]}


def drawn(paths: list[tuple[list[tuple[float, float]], bool]], width: float, shape: tuple[int, int]) -> np.ndarray:
    """Weight of strokes through (x, y) texels from the middle of ``shape``; (path, closed) each; width 0 fills."""
    out = np.zeros(shape, np.uint8)
    for path, closed in paths:
        corners = [np.rint((np.asarray(path) + [shape[1] / 2, shape[0] / 2]) * 16).astype(np.int32)]
        if width:
            cv2.polylines(out, corners, closed, 255, max(1, round(width)), cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(out, corners, 255, cv2.LINE_AA, 4)
    return out.astype(np.float64) / 255


GLYPHS = {  # strokes on a grid 0..4 across and 0..6 down
    "D": [[(0, 0), (0, 6), (2.4, 6), (4, 4.4), (4, 1.6), (2.4, 0), (0, 0)]],
    "I": [[(2, 0), (2, 6)]],
    "K": [[(0, 0), (0, 6)], [(4, 0), (0, 3.4), (4, 6)]],
    "N": [[(0, 6), (0, 0), (4, 6), (4, 0)]],
    "O": [[(1.4, 0), (2.6, 0), (4, 1.6), (4, 4.4), (2.6, 6), (1.4, 6), (0, 4.4), (0, 1.6), (1.4, 0)]],
    "R": [[(0, 6), (0, 0), (2.8, 0), (4, 1.5), (2.8, 3.1), (0, 3.1)], [(2, 3.1), (4, 6)]],
    "V": [[(0, 0), (2, 6), (4, 0)]],
}  # fmt: skip


def lettering(text: str, height: float, at: tuple[float, float]) -> list[tuple[list[tuple[float, float]], bool]]:
    """Strokes of a line of capitals centred on ``at``."""
    unit = height / 6
    left = at[0] - unit * (6.2 * len(text) - 2.2) / 2
    return [
        ([(left + unit * (6.2 * k + px), at[1] + unit * (py - 3)) for px, py in stroke], False)
        for k, letter in enumerate(text) for stroke in GLYPHS.get(letter, [])
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ marks, letters


def mark() -> np.ndarray:
    """A maker's mark for the cheek, white: two peaks in a ring over a word; an inset without any cloth."""
    shape = (304, 304)
    x, y = axes(shape)
    radius = np.hypot(x, y - 122)
    weight = step(5 - np.abs(radius - 74), 0, 3)
    peaks = drawn([([(-56, 8), (-22, -48), (2, -12), (20, -36), (50, 8)], True)], 0, shape)
    weight = np.maximum(weight, peaks)
    weight = np.maximum(weight, drawn(lettering("NORDVIK", 38, (0, 88)), 9, shape))
    value = 0.92 + 0.02 * noise(601, 1.2, shape)
    return np.dstack([grey(value), 0.92 * cv2.GaussianBlur(weight, (0, 0), 1.0)])


def logo() -> np.ndarray:
    """A foam mask with the mark printed on one side."""
    return with_inset(foam(None, 611), mark(), strap("foam", (222, 222, 222)))


def logo_geometry() -> dict:
    """The foam mask, and the mark on the wearer's right cheek."""
    base = shapes.foam()
    panel = {**base["panels"][0], "uv": SHORT_UV}
    print_ = shapes.patch(-0.50, 1.20, (0.20, 0.20), 0.075, INSET_UV, tinted=False)
    ribbons = [{**ribbon, "uv": SHORT_STRAP_UV} for ribbon in base["ribbons"]]
    return shapes.geometry(panel, print_, ribbons=ribbons)


def monogram(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An all-over print of two letters, a four-petalled flower and a diamond, tan on brown."""
    pitch = 48.0
    dx, dy, row, column = cells(x, y, pitch, 0.75)
    kind = np.mod(row + 2 * column, 3)
    letters = drawn(lettering("V", 17, (-3, -2)) + lettering("K", 17, (5, 3)), 3, (64, 64))
    near = cv2.remap(letters, (dx + 32).astype(np.float32), (dy + 32).astype(np.float32), cv2.INTER_LINEAR)
    bloom = step(flower(dx, dy, 9.5, 4, 0.0), 0, SOFT) - step(3.0 - np.hypot(dx, dy), 0, SOFT)
    diamond = step(10 - np.abs(dx) * 1.2 - np.abs(dy), 0, SOFT) - step(5.5 - np.abs(dx) * 1.2 - np.abs(dy), 0, SOFT)
    weight = np.select([kind == 0, kind == 1], [near, bloom], diamond)
    return mix(flat(x, (0.30, 0.21, 0.16)), (0.74, 0.58, 0.36), np.clip(weight, 0, 1))


# ------------------------------------------------------------------------------------------- teeth, snout


def grin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of bared teeth, drawn with a brush: (RGB, weight)."""
    bend = y - 232 + 34 * np.abs(x / 150) ** 2.2  # the line between the rows; it curls up at the ends
    inside = step(132 - np.abs(x), 0, 3)
    tooth = np.abs(np.mod(x / 26 + 0.5 * (bend > 0), 1) - 0.5)
    height = 30 * np.sqrt(np.clip(1 - (x / 142) ** 2, 0, 1))
    crown = height * (1 - 0.45 * (2 * (0.5 - tooth) - 1) ** 4) - np.abs(np.abs(bend) - 1)
    white = step(crown, 0, 2.5) * step(tooth, 0.045, 0.05) * step(np.abs(bend), 2.6, 2.2) * inside
    tone = (
        flat(x, (0.93, 0.92, 0.87)) * (1 - 0.22 * np.clip(np.abs(bend) / 34, 0, 1) - 0.10 * (tooth < 0.12))[..., None]
    )
    gums = step(height + 9 - np.abs(bend), 0, 4) * inside * (1 - white)
    return mix(flat(x, (0.46, 0.10, 0.12)), tone, white), np.maximum(white, 0.9 * gums)


def teeth() -> np.ndarray:
    """The grin on a dark foam mask."""
    dark = foam(lambda x, y: grin(x, y), 621)
    return panel_and_strap(dark, strap("foam", (56, 56, 59)), PRINT_STEP)


def muzzle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A cat's nose, mouth and whiskers in dark ink on pale cloth."""
    ink = np.zeros(x.shape)
    nose = drawn([([(-26, -76), (26, -76), (22, -62), (6, -46), (-6, -46), (-22, -62)], True)], 0, SHAPE)
    ink = np.maximum(ink, nose)
    strokes = [
        [(0, -48), (0, -18)],
        [(0, -18), (-14, -2), (-34, 2), (-52, -8)],
        [(0, -18), (14, -2), (34, 2), (52, -8)],
    ]
    for side in (-1, 1):
        strokes += [[(side * 84, -34 + 15 * k), (side * 190, -54 + 30 * k)] for k in range(3)]
    ink = np.maximum(ink, drawn([(path, False) for path in strokes], 4, SHAPE))
    for px, py in ((60, -44), (76, -30), (62, -20)):
        ink = np.maximum(ink, step(4 - np.hypot(np.abs(x) - px, y - 216 - py), 0, SOFT))
    return mix(flat(x, (0.90, 0.90, 0.90)), (0.16, 0.13, 0.13), 0.92 * cv2.GaussianBlur(ink, (0, 0), 0.9))


def snout() -> np.ndarray:
    """The muzzle on a two-part cotton mask; it is printed after sewing, so it runs over the seam."""
    relief, d = curved(631)
    cloth = muzzle(*axes())
    value = shade(relief) - 0.10 * stitches(d - 10, 7, 1.1)
    return panel_and_strap(block(cloth * value[..., None], d), strap("cord", WHITE))


# --------------------------------------------------------------------------------------------- lace, sport


def lace() -> np.ndarray:
    """Flowers and leaves of corded lace on a net, over a plain lining; a scalloped border."""
    x, y = axes()
    base, outline = curved(641, 0.8)
    side = np.abs(x)
    d = outline - 4.0 * (1 - np.abs(np.sin(np.pi * np.where(np.abs(y - 216) > 150, x, y) / 19)))
    dx, dy, row, column = cells(side - 22, y + 0.15 * side, 74.0)
    turn = 0.7 * row + 1.3 * column
    bloom, heart = flower(dx, dy, 25.0, 6, turn), 7 - np.hypot(dx, dy)
    cord = line(bloom, 2.2) + line(bloom - 8, 1.6) + line(heart, 2.0)
    fill = 0.42 * step(bloom, 0, 2) * (0.6 + 0.4 * np.cos(np.arctan2(dy, dx) * 18 + 6 * turn))
    for k in range(3):
        blade = leaf(dx, dy, 40.0, 7.0, turn + 0.5 + 2.1 * k) * (bloom < -1)
        cord = np.maximum(cord, line(blade, 1.8) * (bloom < 0) * (blade > -4))
        fill = np.maximum(fill, 0.40 * step(blade, 0, 2) * (bloom < 0))
    border = line(d - 8, 2.0) + line(d - 15, 1.6)
    net = np.maximum(line(np.mod((x + y) / 8, 1) - 0.5, 0.14), line(np.mod((x - y) / 8, 1) - 0.5, 0.14))
    thread = np.clip(np.maximum.reduce([cord, fill, border, 0.34 * net]), 0, 1)
    value = (0.52 + 0.42 * thread) * shade(base + 1.6 * cv2.GaussianBlur(thread, (0, 0), 0.8))
    return panel_and_strap(block(grey(value), d, 0.34), strap("flat", (206, 206, 206)), PRINT_STEP)


def sport() -> np.ndarray:
    """A neoprene sports mask: piped edge, mesh cheeks, a valve on each side."""
    x, y = axes()
    d = curved_outline()
    side = np.abs(x)
    relief = edge_roll(d, 9, 5) - 2.2 * line(d - 13, 2.2) + seam(x, 2.0, 2.6) + tension(651, 1.6, 200)
    relief += lumps(656, 1.6, 32) + drape(657, 1.2)
    panel = side - 70 - 34 * np.cos((y - 216) / 130.0)
    relief += seam(panel, 2.0, 2.4) * step(d, 16, 6)
    holes = line(np.hypot(np.mod(x, 9) - 4.5, np.mod(y, 9) - 4.5), 2.0) * step(panel, 6, 4) * step(d, 18, 4)
    value = 0.90 * shade(relief) - 0.26 * holes + 0.010 * noise(661, 0.9)
    colour = mix(grey(value), grey(0.62 * shade(relief)), (1 - step(d, 12, 3)) * 0.9)
    for sign in (-1, 1):
        colour = _pasted(colour, valve(671, 0.62, 5), (int(sign * 142) + 256, 278), 92)
    return panel_and_strap(block(colour, d), strap("flat", (150, 150, 152)))


def _pasted(below: np.ndarray, inset: np.ndarray, centre: tuple[int, int], size: int) -> np.ndarray:
    """An inset block drawn on the cloth itself, ``size`` texels wide, around (column, row)."""
    weighted = np.dstack([inset[..., :3] * inset[..., 3:], inset[..., 3]])
    small = cv2.resize(weighted, (size, size), interpolation=cv2.INTER_AREA)
    left, top = centre[0] - size // 2, centre[1] - size // 2
    out = below.copy()
    window = out[top : top + size, left : left + size]
    window[:] = window * (1 - small[..., 3:]) + small[..., :3]
    return out


def filtered() -> np.ndarray:
    """A cotton mask with bound edges and a small valve on the wearer's right."""
    relief, d = curved(681)
    relief = relief + hem(d, 9, 2.4)
    value = 0.90 * shade(relief) - 0.05 * stitches(d - 11, 6, 1.0)
    colour = mix(grey(value), grey(0.55 * shade(relief)), (1 - step(d, 9.5, 2.5)) * 0.95)
    return with_inset(block(colour, d), valve(683, 0.92, 3), strap("cord", DARK))


def filtered_geometry() -> dict:
    """The two-part mask, and the valve."""
    base = shapes.curved()
    panel = {**base["panels"][0], "uv": SHORT_UV}
    patch = shapes.patch(-0.46, 1.24, (0.15, 0.155), 0.085, INSET_UV, tinted=False, cup=0.04)
    return shapes.geometry(panel, patch, ribbons=[{**ribbon, "uv": SHORT_STRAP_UV} for ribbon in base["ribbons"]])


def _cloth(
    asset_id: str, name: str, colours: Colours, shape: dict, texture: np.ndarray, category: str = "complex"
) -> tuple:
    return described(asset_id, name, "cloth", colours, shape, texture, "figures.py", category)


MASKS: Masks = {
    "cloth-logo": lambda: _cloth("cloth-logo", "Foam mask with a maker's mark", DYES, logo_geometry(), logo()),
    "cloth-monogram": lambda: _cloth(
        "cloth-monogram", "Cotton mask, letters and flowers",
        {"brown": [255, 255, 255], "grey": [196, 210, 240], "rose": [255, 214, 214]},
        shapes.curved(), two_part(monogram, 605, grain=0.6, colour=DARK),
    ),
    "cloth-teeth": lambda: _cloth(
        "cloth-teeth", "Foam mask with bared teeth", {"as-drawn": [255, 255, 255], "worn": [226, 214, 200]},
        shapes.foam(False), teeth(),
    ),
    "cloth-snout": lambda: _cloth("cloth-snout", "Cotton mask with a cat's muzzle", PALE, shapes.curved(), snout()),
    "cloth-lace": lambda: _cloth(
        "cloth-lace", "Lace over a lining", {**PALE, "black": [74, 72, 76], "wine": [134, 52, 66]},
        shapes.curved(True), lace(),
    ),
    "cloth-sport": lambda: _cloth(
        "cloth-sport", "Sports mask with two valves", DYES, shapes.curved(True), sport(), "simple"
    ),
    "cloth-filter": lambda: _cloth(
        "cloth-filter", "Cotton mask with a valve", DYES, filtered_geometry(), filtered(), "simple"
    ),
}  # fmt: skip
