"""Cloth masks of printed and woven stuffs, each with its own shape, colours and thread."""

from __future__ import annotations

import shapes
from catalogue import WASHES, Colours, Masks, described
from cotton import CREAM, DARK, WHITE, two_part, with_pleats
from prints import (
    batik_dots,
    camouflage,
    denim,
    dots,
    floral,
    geometric,
    gingham,
    houndstooth,
    paisley,
    stripes,
    tartan,
    wax,
)  # fmt: skip

LINEN = (0.95, 0.94, 0.92)
RED_SETT = [((0.62, 0.08, 0.10), 26), ((0.08, 0.16, 0.12), 8), ((0.62, 0.08, 0.10), 6), ((0.10, 0.14, 0.30), 16),
            ((0.92, 0.84, 0.40), 2.4), ((0.10, 0.14, 0.30), 10)]  # fmt: skip
WOODLAND = [(0.55, 0.55, 0.40), (0.33, 0.39, 0.24), (0.36, 0.27, 0.19), (0.13, 0.14, 0.12)]
SUNS = [(0.95, 0.68, 0.15), (0.13, 0.18, 0.42), (0.82, 0.25, 0.15), (0.97, 0.93, 0.80)]
TRIANGLES = [(0.13, 0.50, 0.55), (0.93, 0.62, 0.30), (0.20, 0.25, 0.40)]
BLOOMS = [(0.86, 0.45, 0.50), (0.93, 0.84, 0.80), (0.90, 0.66, 0.40)]


def _cloth(asset_id: str, name: str, colours: Colours, texture: object, pleats: bool = False) -> tuple:
    shape = shapes.pleated() if pleats else shapes.curved()
    return described(asset_id, name, "cloth", colours, shape, texture, "printed.py", "complex")


MASKS: Masks = {
    "cloth-stripes": lambda: _cloth(
        "cloth-stripes", "Cotton mask, stripes", WASHES,
        two_part(lambda x, y: stripes(x, y, [(LINEN, 9), ((0.20, 0.28, 0.45), 9)]), 403),
    ),
    "cloth-gingham": lambda: _cloth(
        "cloth-gingham", "Cotton mask, gingham", WASHES,
        two_part(lambda x, y: gingham(x, y, 12, (0.78, 0.16, 0.20)), 405, colour=WHITE),
    ),
    "cloth-tartan": lambda: _cloth(
        "cloth-tartan", "Wool mask, tartan", WASHES, two_part(lambda x, y: tartan(x, y, RED_SETT), 407, colour=DARK)
    ),
    "cloth-dots": lambda: _cloth(
        "cloth-dots", "Cotton mask, dots", WASHES,
        with_pleats(lambda x, y: dots(x, y, 26, 5.5, LINEN, (0.16, 0.20, 0.34)), 409), True,
    ),
    "cloth-houndstooth": lambda: _cloth(
        "cloth-houndstooth", "Cotton mask, houndstooth", WASHES,
        two_part(lambda x, y: houndstooth(x, y, 24, (0.10, 0.10, 0.11), LINEN), 411, colour=DARK),
    ),
    "cloth-camouflage": lambda: _cloth(
        "cloth-camouflage", "Cotton mask, camouflage",
        {"woodland": [255, 255, 255], "desert": [255, 226, 190], "urban": [196, 206, 236]},
        two_part(lambda x, y: camouflage(x, y, 413, WOODLAND), 415, colour=DARK),
    ),
    "cloth-floral": lambda: _cloth(
        "cloth-floral", "Cotton mask, flowers", WASHES,
        two_part(lambda x, y: floral(x, y, 417, (0.12, 0.16, 0.28), BLOOMS, (0.30, 0.45, 0.33)), 419, colour=DARK),
    ),
    "cloth-paisley": lambda: _cloth(
        "cloth-paisley", "Cotton mask, paisley", WASHES,
        two_part(lambda x, y: paisley(x, y, 64, (0.55, 0.10, 0.14), (0.95, 0.92, 0.86), (0.20, 0.12, 0.20)), 421),
    ),
    "cloth-geometric": lambda: _cloth(
        "cloth-geometric", "Cotton mask, triangles", WASHES,
        two_part(lambda x, y: geometric(x, y, 30, TRIANGLES, (0.95, 0.94, 0.90), 3), 423, colour=WHITE),
    ),
    "cloth-wax": lambda: _cloth(
        "cloth-wax", "Cotton mask, wax print", WASHES, two_part(lambda x, y: wax(x, y, 92, SUNS, 5), 425, colour=DARK)
    ),
    "cloth-denim": lambda: _cloth(
        "cloth-denim", "Denim mask", {"indigo": [255, 255, 255], "dark": [150, 154, 168], "grey": [226, 200, 176]},
        two_part(lambda x, y: denim(x, y, 427), 429, thread=-0.16, colour=CREAM),
    ),
    "cloth-batik": lambda: _cloth(
        "cloth-batik", "Cotton mask, dotted batik", WASHES,
        with_pleats(lambda x, y: batik_dots(x, y, (0.16, 0.22, 0.40), (0.92, 0.90, 0.82)), 431), True,
    ),
}  # fmt: skip
