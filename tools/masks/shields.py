"""A face shield: a padded band round the forehead and a clear visor that is seen by its edges and reflections only."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapes
from canvas import SIZE, atlas, axes, edge_roll, grey, line, noise, shade, step
from catalogue import Colours, Masks, described

BAND, VISOR = (96, SIZE), (396, SIZE)  # rows and columns of the two parts
VISOR_ROW = BAND[0] + 12
BAND_UV = [0.0, 0.0, 1.0, BAND[0] / SIZE]
VISOR_UV = [0.0, VISOR_ROW / SIZE, 1.0, (VISOR_ROW + VISOR[0]) / SIZE]
BANDS: Colours = {"white": [240, 241, 242], "blue": [96, 146, 200], "black": [66, 66, 70], "green": [120, 176, 150]}


def shield_geometry() -> dict[str, Any]:
    """The band is a lathe round the head; the visor, a wider one, stands off the face down to the chin."""
    band = {
        "angles": [-180, 180],
        "tinted": True,
        "uv": BAND_UV,
        "profile": [[-0.86, 1.24, 1.56], [-0.44, 1.28, 1.62]],
        "axis": 1.25,
    }
    # As round as a bent sheet is, so that it ends in a steep edge beyond the nose of a turned face, too.
    visor = {"angles": [-104, 104], "tinted": False, "uv": VISOR_UV, "profile": [
        [-0.90, 1.28, 1.24], [-0.40, 1.33, 1.36], [0.60, 1.34, 1.44], [1.50, 1.31, 1.46], [2.12, 1.26, 1.44],
    ], "axis": 0.66}  # fmt: skip
    return shapes.geometry(band, visor)


def band() -> np.ndarray:
    """Foam pad above, elastic towards the back, the rivets that hold the visor."""
    x, y = axes(BAND)
    d = np.minimum(y - 16, BAND[0] - 16 - y)
    relief = edge_roll(d, 12, 6) + 0.12 * noise(701, 1.6, BAND) + 0.8 * noise(702, 14, BAND)
    value = 0.90 * shade(relief, 0.8)
    value *= 1 - 0.16 * step(np.abs(x), 150, 20) + 0.05 * np.sin(y * 1.1) * step(np.abs(x), 150, 20)
    for at in (-120, 0, 120):
        value = value + 0.10 * line(np.hypot(x - at, y - 50) - 5, 2.0) - 0.14 * line(np.hypot(x - at, y - 48), 4.0)
    cover = step(d, 0, 3)
    under = 0.30 * np.exp(-((np.maximum(-d, 0) / 7) ** 2)) * step(y, 48, 4) * step(BAND[0] - y, 4, 6)
    alpha = cover + (1 - cover) * under
    return np.dstack([grey(value * cover / np.maximum(alpha, 1e-6)), alpha])


def visor() -> np.ndarray:
    """A faint veil, broad soft reflections of windows, bright cut edges; nothing else."""
    x, y = axes(VISOR)
    corner = 46.0
    qx, qy = np.abs(x) - (240 - corner), y - (VISOR[0] - 14 - corner)
    d = np.minimum(corner - np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) - np.minimum(np.maximum(qx, qy), 0), y - 10)
    inside = step(d, 0, 3)
    sway = 10 * noise(711, (1, 90), (VISOR[0], 1)) + 0 * x
    gloss = (
        0.22 * line(x + 148 + 0.10 * y + sway, 13)
        + 0.10 * line(x + 112 + 0.10 * y + sway, 7)
        + 0.16 * line(x - 152 + 0.06 * y - sway, 16)
    )
    gloss += 0.07 * line(x - 60 - 0.35 * (y - 200), 30) * line(y - 150, 90)
    gloss *= 0.35 + 0.65 * step(y, 60, 60) * step(360 - y, 0, 110)
    turn = np.abs(x) / 256 * 104  # degrees; plastic that is seen at a slant is less clear
    veil = 0.03 + 0.13 * step(turn, 52, 44) + 0.05 * step(turn, 84, 24) + 0.04 * step(y, 330, 90)
    rim = 0.55 * line(d - 2.0, 2.0) + 0.16 * line(d - 8, 4.0)
    shade_ = 0.16 * line(d - 5.5, 2.0)
    light = np.clip(veil + gloss + rim, 0, 0.75)
    alpha = (light + shade_ * (1 - light)) * inside
    value = np.where(alpha > 0, light / np.maximum(light + shade_ * (1 - light), 1e-6), 0)
    return np.dstack([grey(0.97 * value), alpha])


MASKS: Masks = {
    "face-shield": lambda: described(
        "face-shield", "Face shield with a padded band", "face-shield", BANDS, shield_geometry(),
        atlas([(0, 0, band()), (VISOR_ROW, 0, visor())]), "shields.py", regions=("upper",), styles=("correct",),
        version=2,
    ),
}  # fmt: skip
