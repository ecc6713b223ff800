"""Surgical masks: tied, duckbill, printed. Each drawing returns the atlas, uint8 RGBA (512, 512, 4)."""

from __future__ import annotations

import numpy as np
import prints
import shapes
from canvas import (
    PRINT_STEP,
    SHAPE,
    axes,
    block,
    edge_roll,
    grey,
    line,
    mix,
    noise,
    panel_and_strap,
    rounded,
    shade,
    step,
    strap,
)
from catalogue import AS_DRAWN, MEDICAL, Masks, described
from folds import bite, drape, lumps, nose_wire, overlap, pleats, tension

WHITE = (240, 242, 243)


def pleated_relief(seed: int, depth: float = 3.6) -> tuple[np.ndarray, np.ndarray]:
    """Relief and signed distance of three pleats that open towards the middle, side hems, a nose wire."""
    x, y = axes()
    d = rounded(radius=13)
    relief = pleats((128, 206, 284), (150, 206, 262), depth, seed) + nose_wire(2.2, 100, 50, 7)
    relief += tension(seed + 3, 1.3, 150) + lumps(seed + 8, 0.8, 26) + 0.7 * drape(seed + 9, 1.2)
    sides = np.abs(x) - 214
    relief += 1.6 * step(sides, 0, 4) + edge_roll(d, 4, 1.6) + 1.0 * (1 - step(d, 17, 3)) * (np.abs(x) < 225)
    relief += 0.8 * line(np.mod(y / 9, 1) - 0.5, 0.3) * line(np.abs(x) - 226, 2.5)  # the weld's dots
    return relief, d


def nonwoven(seed: int) -> np.ndarray:
    """Faint blotches of spun-bonded fibre about 0."""
    return 0.006 * noise(seed, 1.1) + 0.008 * noise(seed + 1, 3.0) + 0.008 * noise(seed + 2, 30)


def tied() -> np.ndarray:
    """A theatre mask: bound all around with tape, whose ends are the ties."""
    relief, d = pleated_relief(101, 4.2)
    relief += 1.8 * (1 - step(d, 15, 3)) - 0.9 * line(d - 16, 1.6)
    value = 0.90 * shade(relief) + nonwoven(111)
    value = np.where(d < 15, value * 1.03, value) - 0.08 * line(d - 7, 1.1)
    return panel_and_strap(block(grey(value), d), strap("tie", (232, 232, 232)))


def duckbill() -> np.ndarray:
    """Two leaves welded along the lower fold; the upper one juts out over it."""
    x, y = axes()
    d = rounded(radius=30)
    away = np.abs(x) / 238
    fold = y - (238 + 22 * away**2)
    relief = overlap(fold, 3.0, 5, 60) + 1.2 * line(fold + 8, 8) + nose_wire(2.4, 96, 48, 9)
    relief += tension(121, 1.6, 170) + drape(125, 1.4) + lumps(127, 0.9, 30) + edge_roll(d, 4, 1.8)
    relief += 1.4 * (1 - step(d, 18, 3)) + 0.6 * line(np.mod(x / 8, 1) - 0.5, 0.3) * line(d - 10, 2.5)
    value = 0.90 * shade(relief) * (1 - 0.10 * step(fold, 6, 60)) + nonwoven(131)
    return panel_and_strap(block(grey(value), d), strap("flat", WHITE))


def printed() -> np.ndarray:
    """A three-pleat mask with a small printed flower; the print vanishes into the pleats."""
    relief, d = pleated_relief(141)
    x, y = bite(relief, *axes(SHAPE))
    hidden = 9.0 * (step(y, 128, 6) + step(y, 206, 6) + step(y, 284, 6))  # cloth that lies in the folds
    figure, weight = prints.sprigs(x, y + hidden, 145, pitch=44)
    colour = mix(grey(np.full(SHAPE, 0.93)), figure, 0.85 * weight)
    colour *= (shade(relief) + nonwoven(151))[..., None]
    return panel_and_strap(block(colour, d), strap("cord", WHITE), PRINT_STEP)


MASKS: Masks = {
    "surgical-tie": lambda: described(
        "surgical-tie", "Surgical mask with ties", "surgical", MEDICAL, shapes.surgical("ties"), tied(), "medical.py",
        version=2,
    ),
    "surgical-duckbill": lambda: described(
        "surgical-duckbill", "Duckbill mask", "surgical", MEDICAL, shapes.duckbill(), duckbill(), "medical.py"
    ),
    "surgical-printed": lambda: described(
        "surgical-printed",
        "Surgical mask, printed flowers",
        "surgical",
        {**AS_DRAWN, "pink": [248, 206, 214], "mint": [204, 236, 222]},
        shapes.surgical(),
        printed(),
        "medical.py",
        "complex",
    ),
}
