"""Respirators: folded, moulded, with valves; the dust mask; the rubber half mask. Drawings return the atlas."""

from __future__ import annotations

import numpy as np
import shapes
from canvas import (
    axes,
    block,
    edge_roll,
    grey,
    line,
    mix,
    noise,
    oval,
    panel_and_strap,
    polygon,
    rounded,
    shade,
    slanted,
    step,
    strap,
    with_inset,
)  # fmt: skip
from catalogue import WHITES, Colours, Masks, described
from folds import drape, lumps, overlap, tension

WHITE = (238, 239, 238)
INSET_SHAPE = (304, 304)  # insets are drawn at twice their size


CUPS: Colours = {"white": [243, 242, 236], "yellow": [238, 214, 132], "blue": [150, 186, 214]}
RUBBERS: Colours = {"black": [66, 66, 70], "grey": [124, 128, 132], "blue": [70, 104, 150]}


def felt(seed: int, amount: float = 1.0) -> np.ndarray:
    """Blotches of pressed fibre about 0."""
    return amount * (0.008 * noise(seed, 1.2) + 0.009 * noise(seed + 1, 5) + 0.009 * noise(seed + 2, 32))


def welds(distance: np.ndarray, along: np.ndarray, pitch: float = 7.0, width: float = 2.0) -> np.ndarray:
    """Weight of a row of weld points at signed distance 0."""
    return line(distance, width) * line(np.mod(along / pitch, 1) - 0.5, 0.28)


def valve(seed: int, tone: float = 0.94, bars: int = 4) -> np.ndarray:
    """A round exhalation valve: a rim, a domed cap, slots that show the dark inside; an inset block."""
    x, y = axes(INSET_SHAPE)
    y = y - INSET_SHAPE[0] / 2
    radius = np.hypot(x, y)
    d = 120 - radius
    relief = (
        edge_roll(d, 8, 7)
        + 9 * (1 - step(radius, 92, 10))
        + 5 * (1 - (radius / 92) ** 2).clip(0)
        - 3 * line(radius - 98, 4)
    )
    value = tone * shade(relief, 0.9, 0.02, 14) + 0.004 * noise(seed, 1.5, INSET_SHAPE)
    slots = step(0.5 - np.abs(np.mod(y / 30 + 0.5, 1) - 0.5) - 0.22, 0, 0.08) * (np.abs(y) < 15 * bars)
    slots *= step(np.sqrt(np.maximum(74**2 - y**2, 0)) - np.abs(x), 0, 4)
    value = value * (1 - 0.48 * slots) + 0.05 * line(np.mod(y / 30 + 0.22, 1) - 0.5, 0.08) * (radius < 74)
    value *= 1 - 0.10 * step(y, 20, 120)
    return block(grey(value), d, 0.62, 2.0)


def clip_strip(row: float, bend: float, reach: float, width: float, tone: float) -> tuple[np.ndarray, np.ndarray]:
    """Value and weight of an outer nose clip of bright metal."""
    x, y = axes()
    at = y - row - bend * (x / reach) ** 2
    weight = step(reach - np.abs(x), 0, 5) * step(width - np.abs(at), 0, 2.5)
    ends = 1 - 0.25 * line(np.abs(x) - reach + 5, 3)
    return (
        tone + 0.20 * line(at + 0.4 * width, 0.35 * width) - 0.20 * line(at - 0.8 * width, 0.3 * width)
    ) * ends, weight


def folded_relief(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Relief and signed distance of two halves welded along the midline."""
    x, y = axes()
    d = polygon(
        [
            [-238, 60],
            [-120, 24],
            [0, 18],
            [120, 24],
            [238, 60],
            [238, 372],
            [120, 408],
            [0, 414],
            [-120, 408],
            [-238, 372],
        ],
        round_off=9,
    )
    away = np.abs(x)
    relief = 2.6 * np.exp(-away / 6) - 1.5 * line(away - 15, 3) - 1.0 * welds(away - 21, y, 8)
    relief += tension(seed, 1.6, 170) + lumps(seed + 5, 1.0, 30) + 0.8 * drape(seed + 6, 1.2)
    for slope, at in ((0.26, 128.0), (-0.30, 318.0)):  # the pressed lines that keep the fold open
        press = y - at - slope * (away - 120)
        relief -= 1.7 * line(press, 2.6) * step(away, 70, 16) * step(206 - away, 0, 16)
    relief += edge_roll(d, 4, 1.8) + 1.0 * (1 - step(d, 20, 3)) - 1.1 * welds(d - 12, np.where(away > 225, y, x), 7)
    return relief, d


def ffp2_valve() -> np.ndarray:
    """A folding respirator with a round valve on the wearer's left cheek."""
    relief, d = folded_relief(201)
    x, _ = axes()
    value = 0.91 * shade(relief) + felt(211) - 0.03 * step(-x, 0, 8)
    return with_inset(block(grey(value), d), valve(213), strap("flat", WHITE))


def three_panels(seed: int, upper: float, lower: float, bow: float) -> tuple[np.ndarray, np.ndarray]:
    """Relief and signed distance of a flat-fold with an upper flap and a lower flap welded to a middle part."""
    x, y = axes()
    away = np.abs(x) / 238
    d = rounded(radius=52)
    top, bottom = y - upper + bow * (1 - away**2) - 30 * away**2, y - lower - bow * (1 - away**2) + 30 * away**2
    relief = (
        overlap(-top, 3.0, 5, 60) + overlap(bottom, 2.6, 5, 60) - 1.0 * welds(top - 9, x) - 1.0 * welds(bottom + 9, x)
    )
    relief += tension(seed, 1.6, 170) + lumps(seed + 5, 1.2, 32) + drape(seed + 7, 0.9)
    relief += edge_roll(d, 4, 1.8) + 1.0 * (1 - step(d, 17, 3)) - 0.8 * welds(d - 10, x)
    return relief, d


def kf94() -> np.ndarray:
    """The boat: a tall plain middle part between two flaps."""
    relief, d = three_panels(221, 146, 292, 26)
    x, y = axes()
    relief += 2.0 * line(y - 48 - 8 * (x / 92) ** 2, 5) * step(92 - np.abs(x), 0, 14)
    value = 0.91 * shade(relief) * (1 - 0.07 * step(y, 318, 40)) + felt(231, 0.7)
    return panel_and_strap(block(grey(value), d), strap("flat", WHITE))


def ffp3_valve() -> np.ndarray:
    """Three panels, embossed, a wide valve in the middle of the central one, braided head bands."""
    relief, d = three_panels(241, 150, 300, 30)
    x, y = axes()
    relief -= 0.5 * line(np.mod((x + y) / 26, 1) - 0.5, 0.12) * step(y, 320, 10) + 0.4 * line(
        np.mod((x - y) / 26, 1) - 0.5, 0.12
    ) * step(y, 320, 10)
    value = 0.92 * shade(relief) * (1 - 0.06 * step(y, 322, 40)) + felt(251, 0.8)
    metal, weight = clip_strip(60, 10, 96, 8, 0.80)
    colour = mix(grey(value), grey(metal), weight * 0.55)
    return with_inset(block(colour, d), valve(253, 0.93, 5), strap("flat", (196, 60, 52)))


def moulded(seed: int, rim: float, power: float = 2.3) -> tuple[np.ndarray, np.ndarray]:
    """Relief and signed distance of a pressed cup: a flat rim, ribs that stiffen it."""
    x, y = axes()
    d = oval(power=power)
    relief = (
        edge_roll(d, 4, 2.2)
        + 3.0 * step(d, rim, 9)
        - 1.8 * line(d - rim + 2, 3)
        + lumps(seed, 1.1, 20)
        + 0.10 * noise(seed + 1, 2.2)
    )
    for row, reach in ((150.0, 130.0), (300.0, 140.0)):
        bow = y - row - 16 * (x / reach) ** 2 * (1 if row < 216 else -1)
        relief += 1.6 * line(bow, 7) * step(reach - np.abs(x), 0, 40)
    return relief, d


def cup_valve() -> np.ndarray:
    """A moulded cup with a valve at its front."""
    relief, d = moulded(261, 26)
    value = 0.93 * shade(relief) + felt(271, 1.4)
    metal, weight = clip_strip(62, 14, 88, 7, 0.70)
    return with_inset(block(mix(grey(value), grey(metal), weight), d), valve(273, 0.90), strap("flat", (222, 180, 64)))


def cup_dust() -> np.ndarray:
    """A thin dust mask: a soft cup pressed from one sheet, one rubber band, a small clip."""
    relief, d = moulded(281, 34, 2.15)
    relief += slanted(285, 12, 40, 9) * 0.5
    value = 0.93 * shade(relief, 0.85) + felt(291, 1.6)
    metal, weight = clip_strip(70, 12, 62, 6, 0.66)
    staples = sum(line(np.abs(axes()[0]) - 208, 7) * line(axes()[1] - row, 1.6) for row in (176.0,))
    colour = mix(mix(grey(value), grey(metal), weight), (0.55, 0.55, 0.57), 0.8 * staples)
    return panel_and_strap(block(colour, d), strap("rubber", (226, 214, 176)))


def half_mask() -> np.ndarray:
    """Rubber face piece with a stiff front port; the two filters are insets."""
    x, y = axes()
    d = polygon([[0, 18], [70, 30], [130, 96], [226, 176], [238, 262], [196, 366], [120, 408], [0, 414],
                 [-120, 408], [-196, 366], [-238, 262], [-226, 176], [-130, 96], [-70, 30]], round_off=16)  # fmt: skip
    away = np.abs(x)
    relief = (
        edge_roll(d, 12, 9) - 3.0 * line(d - 24, 5) + 5 * step(d, 40, 14) + 5 * line(away, 26) * step(200 - y, 0, 90)
    )
    port = np.hypot(x, (y - 292) * 1.05)
    relief += 9 * (1 - step(port, 58, 9)) - 3 * line(port - 66, 4) + 3 * (1 - step(port, 40, 6))
    value = 0.86 * shade(relief, 0.85, 0.02, 16) + 0.004 * noise(301, 1.5) + 0.006 * noise(302, 24)
    value += 0.16 * line(np.hypot(x + 16, (y - 120) / 2.2), 16) + 0.07 * line(np.abs(d - 8), 3) * step(200 - y, 0, 120)
    slots = line(np.mod((y - 292) / 13, 1) - 0.5, 0.2) * (1 - step(port, 34, 4))
    colour = mix(grey(value), grey(0.42 * shade(relief, 0.9, 0.02, 16)), (1 - step(port, 56, 3)) * 0.72)
    colour *= (1 - 0.5 * slots)[..., None]
    return with_inset(block(colour, d, 0.5), filters(), strap("flat", (86, 88, 92)))


def filters() -> np.ndarray:
    """Two round pleated filters side by side on one wide inset (they are drawn three times as large)."""
    shape = (270, 768)
    x, y = axes(shape)
    x, y = np.abs(x) - 244, y - shape[0] / 2
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    arm = np.minimum(44 - np.abs(y + 0.10 * x), np.minimum(-x, x + 146))  # the bayonet that joins it to the face piece
    d = np.maximum(112 - radius, arm)
    relief = edge_roll(d, 12, 12) - 4 * line(radius - 90, 5) + 4 * (1 - step(radius, 36, 8))
    relief += 1.6 * np.sin(angle * 40) * step(radius, 42, 8) * (1 - step(radius, 86, 6))
    colour = mix(grey(np.full(shape, 0.40)), (0.76, 0.25, 0.45), (1 - step(radius, 88, 4)) * 0.9)
    colour = mix(colour, (0.86, 0.86, 0.84), 1 - step(radius, 36, 3))
    return block(colour * (shade(relief, 0.85, 0.02, 14) * (1 - 0.14 * step(y, 0, 160)))[..., None], d, 0.65, 2.4)


MASKS: Masks = {
    "ffp2-valve": lambda: described(
        "ffp2-valve",
        "FFP2 folding respirator with valve",
        "ffp2",
        WHITES,
        shapes.folded(),
        ffp2_valve(),
        "respirators.py",
    ),
    "kf94": lambda: described("kf94", "KF94 boat respirator", "kf94", WHITES, shapes.boat(), kf94(), "respirators.py"),
    "ffp3-valve": lambda: described(
        "ffp3-valve",
        "FFP3 flat-fold respirator with valve",
        "ffp3",
        {"white": [244, 244, 241], "light-blue": [190, 212, 228]},
        shapes.three_panels(),
        ffp3_valve(),
        "respirators.py",
    ),
    "cup-valve": lambda: described(
        "cup-valve", "Cup respirator with valve", "cup", CUPS, shapes.cup(True), cup_valve(), "respirators.py"
    ),
    "cup-dust": lambda: described(
        "cup-dust", "Dust mask, one band", "cup", CUPS, shapes.cup(False), cup_dust(), "respirators.py"
    ),
    "half-mask": lambda: described(
        "half-mask",
        "Rubber half mask with two filters",
        "half-mask",
        RUBBERS,
        shapes.rubber(),
        half_mask(),
        "respirators.py",
        styles=("correct",),
        version=2,
    ),
}
