# ruff: noqa: E501 - long tables of numbers read better on one line
"""The six masks of the first release: surgical, N95, KN95, FFP2 and two of cotton.

A texture is an atlas: the panel in the upper part, with a soft contact shadow around the cloth, and one row per kind of
strap below it.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from catalogue import Built, Masks, described

SIZE = 512
PANEL_ROWS = 432  # the panel's part of the atlas
STRAP_ROWS = (448, 496)
MARGIN = 0.035  # of the panel on each side: room for the soft edge and the contact shadow
PANEL_UV = [0.0, 0.0, 1.0, PANEL_ROWS / SIZE]
STRAP_UV = [0.0, STRAP_ROWS[0] / SIZE, 1.0, STRAP_ROWS[1] / SIZE]
U, V = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE, (np.arange(PANEL_ROWS) + 0.5) / PANEL_ROWS)


def noise(seed: int, blur: float, shape: tuple[int, int] = (PANEL_ROWS, SIZE)) -> np.ndarray:
    """Seeded noise of unit deviation, smoothed by ``blur`` texels."""
    field = np.random.default_rng(seed).normal(size=shape)
    field = cv2.GaussianBlur(field, (0, 0), blur) if blur else field
    return field / field.std()


def line(distance: np.ndarray, width: float) -> np.ndarray:
    """A soft line: 1 at distance 0, falling within ``width``."""
    return np.exp(-((distance / width) ** 2))


def step(value: np.ndarray, edge: float, width: float) -> np.ndarray:
    """A smooth step from 0 below ``edge`` to 1 above."""
    t = np.clip((value - edge) / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def outline(roundness: float = 0.03) -> np.ndarray:
    """Signed distance, positive inside, to the cloth's rounded rectangle, in units of the panel."""
    qx = np.abs(U - 0.5) - (0.5 - MARGIN - roundness)
    qy = np.abs(V - 0.5) - (0.5 - MARGIN - roundness)
    outer = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)
    return roundness - outer


def pinched_outline(power: float) -> np.ndarray:
    """Like ``outline`` for a panel whose upper and lower edges meet at the sides in a rounded tip."""
    x, y = (U - 0.5) / (0.5 - MARGIN), (V - 0.5) / (0.5 - MARGIN)
    radius = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    return (1 - radius) * 0.4


def weave(pitch: float, seed: int) -> np.ndarray:
    """A fine plain weave about 0."""
    x, y = U * SIZE / pitch, V * PANEL_ROWS / pitch
    return 0.5 * np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y) + 0.35 * noise(seed, 1.0)


def atlas(colour: np.ndarray, distance: np.ndarray, strap: tuple[int, int, int], flat_strap: bool) -> np.ndarray:
    """Assemble the RGBA atlas from panel colours (rows, SIZE, 3) in 0..1 and the signed distance to the cloth."""
    edge = 2.2 / SIZE
    cover = step(distance, 0, 2 * edge)
    shadow = 0.34 * np.exp(-(np.maximum(-distance, 0) / (0.5 * MARGIN)) ** 2) * step(distance, -0.85 * MARGIN, MARGIN / 3)
    alpha = cover + (1 - cover) * shadow
    rgb = colour * (cover / np.maximum(alpha, 1e-6))[..., None]
    out = np.zeros((SIZE, SIZE, 4))
    out[:PANEL_ROWS, :, :3], out[:PANEL_ROWS, :, 3] = rgb, alpha
    rows = np.arange(STRAP_ROWS[0], STRAP_ROWS[1])
    across = (rows + 0.5 - np.mean(STRAP_ROWS)) / (STRAP_ROWS[1] - STRAP_ROWS[0]) * 2  # -1..1 over the ribbon
    along = (np.arange(SIZE) + 0.5) / SIZE
    half = 0.42
    body = step(half - np.abs(across), 0, 0.16)[:, None] * (1 - step(along, 0.93, 0.12))[None]
    under = 0.22 * np.exp(-(np.maximum(np.abs(across) - half, 0) / 0.22) ** 2)[:, None] * (1 - step(along, 0.85, 0.2))[None]
    strap_alpha = body + (1 - body) * under * step(1 - np.abs(across), 0.1, 0.2)[:, None]
    profile = 1 - 0.30 * np.abs(across / half) ** (3 if flat_strap else 2)
    ribs = 1 + 0.05 * np.sin(along * SIZE / 3.0)
    shade = np.clip(profile, 0.4, 1)[:, None] * ribs[None] * (body / np.maximum(strap_alpha, 1e-6))
    out[rows, :, :3] = shade[..., None] * (np.array(strap) / 255)
    out[rows, :, 3] = strap_alpha
    return np.clip(np.rint(out * 255), 0, 255).astype(np.uint8)


def grey(value: np.ndarray) -> np.ndarray:
    """(rows, SIZE) to three equal channels."""
    return np.repeat(value[..., None], 3, -1)


def hem(distance: np.ndarray, at: float, width: float, depth: float) -> np.ndarray:
    """A seam that runs parallel to the edge, darker at the groove and lighter beside it."""
    return -depth * line(distance - at, width) + 0.4 * depth * line(distance - at - 2 * width, width)


def surgical() -> tuple[np.ndarray, np.ndarray]:
    """Three level pleats, a nose wire, welded side hems, non-woven grain."""
    d = outline(0.035)
    value = 0.93 + 0.012 * noise(1, 0.8) + 0.014 * noise(2, 14) + 0.010 * noise(3, 40)
    for at in (0.36, 0.52, 0.68):
        bend = at + 0.012 * np.cos((U - 0.5) * 5)
        below = np.clip((V - bend) / 0.10, 0, 1)
        value += np.where(V >= bend, -0.13 * np.exp(-below * 3.2), 0) * (1 - 0.35 * line(np.abs(U - 0.5) - 0.5, 0.1))
        value += 0.045 * line(V - bend + 0.012, 0.010)
    value += hem(d, 0.028, 0.0035, 0.07) + 0.03 * line(V - 0.115, 0.018) - 0.05 * line(V - 0.142, 0.006)
    dots = line(np.mod(V * 46, 1) - 0.5, 0.3) * line(np.abs(U - 0.5) - 0.445, 0.006)
    value -= 0.07 * dots
    value -= 0.10 * line(d, 0.012)
    return grey(value), d


def n95() -> tuple[np.ndarray, np.ndarray]:
    """A moulded cup: a pressed rim, an aluminium nose clip, felt grain."""
    d = pinched_outline(2.35)
    value = 0.95 + 0.015 * noise(11, 0.9) + 0.012 * noise(12, 6) + 0.012 * noise(13, 30)
    value += -0.11 * line(d - 0.040, 0.006) + 0.05 * line(d - 0.053, 0.008) - 0.05 * line(d, 0.016)
    value += -0.06 * line(d - 0.105, 0.012) + 0.04 * line(d - 0.13, 0.012)
    colour = grey(value)
    # The clip: a thin bent strip below the upper rim.
    x = (U - 0.5) / 0.17
    centre = 0.118 + 0.020 * x**2
    clip = step(1 - np.abs(x), 0, 0.08) * step(0.017 - np.abs(V - centre), 0, 0.006)
    metal = 0.72 + 0.16 * line(V - centre + 0.006, 0.006) - 0.12 * line(V - centre - 0.011, 0.006)
    colour = colour * (1 - clip[..., None]) + grey(metal) * clip[..., None]
    return colour, d


def kn95() -> tuple[np.ndarray, np.ndarray]:
    """Two halves welded along a vertical ridge; embossed dots along the welds."""
    d = outline(0.10)
    value = 0.95 + 0.012 * noise(21, 0.8) + 0.012 * noise(22, 20)
    seam = np.abs(U - 0.5)
    value += 0.03 * np.exp(-seam / 0.02) - 0.13 * line(seam - 0.012, 0.004) - 0.05 * step(U, 0.5, 0.02)
    dots = line(np.mod(V * 60, 1) - 0.5, 0.25) * line(seam - 0.024, 0.004)
    value -= 0.07 * dots + 0.10 * line(d, 0.014)
    value += hem(d, 0.030, 0.004, 0.09)
    for tilt, at in ((0.55, 0.30), (-0.45, 0.74)):
        value -= 0.035 * line(V - at - tilt * (seam - 0.3) * 0.3, 0.006) * step(seam, 0.14, 0.05)
    return grey(value), d


def ffp2() -> tuple[np.ndarray, np.ndarray]:
    """The flat-fold 'fish': an upper flap, a middle panel and a lower flap joined by curved welds."""
    d = outline(0.09)
    value = 0.95 + 0.012 * noise(31, 0.8) + 0.012 * noise(32, 18)
    x = (U - 0.5) * 2
    for at, sign in ((0.37, -1), (0.70, 1)):
        bend = at - sign * 0.045 * (1 - x**2) + sign * 0.02
        value += -0.14 * line(V - bend, 0.005) + 0.05 * line(V - bend + sign * 0.012, 0.007)
        value -= 0.06 * line(np.mod(U * 70, 1) - 0.5, 0.25) * line(V - bend - sign * 0.016, 0.004)
    value -= 0.05 * step(V, 0.70, 0.04) + 0.02 * step(0.37 - V, 0, 0.04)
    value += hem(d, 0.026, 0.0035, 0.08) - 0.10 * line(d, 0.013)
    clip = step(0.2 - np.abs(U - 0.5), 0, 0.02)
    value += clip * (0.035 * line(V - 0.115, 0.010) - 0.07 * line(V - 0.137, 0.006))
    return grey(value), d


def cloth_shape() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shading and outline of a sewn two-part mask with a curved centre seam and a stitched hem."""
    d = outline(0.07)
    seam = U - 0.5
    value = 0.90 + 0.02 * noise(42, 26)
    value += -0.12 * line(seam, 0.004) - 0.05 * np.exp(-np.abs(seam) / 0.03) + 0.03 * line(np.abs(seam) - 0.016, 0.01)
    stitches = line(d - 0.034, 0.003) * (np.mod((U + V) * 55, 1) < 0.62)
    value += -0.14 * stitches + hem(d, 0.046, 0.006, 0.05) - 0.14 * line(d, 0.014)
    return value, d, seam


def cloth_plain() -> tuple[np.ndarray, np.ndarray]:
    """Plain woven cotton."""
    value, d, _ = cloth_shape()
    return grey(value + 0.022 * weave(4.0, 41)), d


def cloth_patterned() -> tuple[np.ndarray, np.ndarray]:
    """A madras check woven from five yarns; each half is cut on its own, so the check breaks at the seam."""
    value, d, seam = cloth_shape()
    shift = np.where(seam < 0, 0.021, 0.0)
    x, y = (np.abs(seam) + shift) * 7.5, (V + 0.25 * np.abs(seam)) * 6.5
    yarns = np.array([[0.80, 0.24, 0.22], [0.96, 0.92, 0.84], [0.14, 0.27, 0.50], [0.96, 0.92, 0.84], [0.88, 0.64, 0.26]])
    limits = np.array([0.30, 0.50, 0.74, 0.92])
    warp = yarns[np.searchsorted(limits, np.mod(x, 1))]
    weft = yarns[np.searchsorted(limits, np.mod(y, 1))]
    mix = (0.5 + 0.32 * np.sign(np.sin(U * SIZE * np.pi / 2.5) * np.sin(V * PANEL_ROWS * np.pi / 2.5)))[..., None]
    colour = cv2.GaussianBlur(warp * mix + weft * (1 - mix), (0, 0), 0.7)
    return colour * (value / 0.90 + 0.02 * noise(51, 0.8))[..., None], d


def tucked(point: list[float]) -> list[float]:
    """A strap's start moved under the panel's edge, so that no gap shows."""
    return [point[0] - 0.06, point[1], point[2]]


def loops(upper: list[float], lower: list[float], width: float) -> list[dict]:
    """Ear loops from the panel's two side corners over the cheek to the ear, behind which they vanish."""
    upper, lower = tucked(upper), tucked(lower)
    return [
        {"points": [upper, [1.07, (upper[1] + 0.02) * 0.5, 0.80], [1.16, -0.05, 1.34]], "width": width, "uv": STRAP_UV},
        {"points": [lower, [1.03, lower[1] - 0.22, 0.80], [1.14, 0.60, 1.32]], "width": width, "uv": STRAP_UV},
    ]


def bands(upper: list[float], lower: list[float], width: float) -> list[dict]:
    """Head bands: above the ear to the crown, and below it to the nape."""
    upper, lower = tucked(upper), tucked(lower)
    return [
        {"points": [upper, [1.08, upper[1] - 0.42, 0.86], [1.15, -0.36, 1.45]], "width": width, "uv": STRAP_UV},
        {"points": [lower, [1.05, lower[1] - 0.04, 0.90], [1.12, lower[1] - 0.12, 1.50]], "width": width, "uv": STRAP_UV},
    ]


SURGICAL_BLUES = {"blue": [121, 172, 211], "light-blue": [168, 205, 226], "green": [150, 200, 186], "white": [240, 242, 243],
                  "black": [44, 45, 48], "pink": [232, 180, 193]}
WHITES = {"white": [242, 242, 239], "grey": [176, 178, 180], "black": [48, 48, 50]}
COTTONS = {"black": [46, 46, 49], "navy": [48, 62, 98], "grey": [142, 144, 148], "red": [165, 52, 56],
           "beige": [214, 194, 166], "olive": [108, 114, 84]}

DRAWINGS = {
    "surgical": dict(
        name="Surgical mask, three pleats", category="simple", draw=surgical, colourways=SURGICAL_BLUES,
        strap=(238, 240, 242), flat_strap=False,
        panel=dict(top=[[0, 0.20], [0.16, 0.24], [0.42, 0.44], [0.72, 0.56], [0.98, 0.62]],
                   bottom=[[0, 1.92], [0.30, 1.89], [0.62, 1.68], [0.86, 1.36], [0.97, 1.16]],
                   gap=0.045, tuck=0.30),
        ribbons=lambda: loops([0.97, 0.68, 0.45], [0.95, 1.12, 0.52], 0.085),
    ),
    "n95": dict(
        name="N95 cup respirator", category="simple", draw=n95, colourways={"white": [243, 242, 236], "teal": [150, 190, 192]},
        strap=(222, 196, 120), flat_strap=True,
        panel=dict(top=[[0, 0.10], [0.18, 0.19], [0.40, 0.36], [0.66, 0.56], [0.86, 0.80]],
                   bottom=[[0, 1.92], [0.30, 1.87], [0.56, 1.70], [0.76, 1.42], [0.87, 1.10]],
                   gap=0.05, cup=0.20, shelf=0.05, tuck=0.25),
        ribbons=lambda: bands([0.80, 0.82, 0.26], [0.80, 1.10, 0.34], 0.13),
    ),
    "kn95": dict(
        name="KN95 folding respirator", category="simple", draw=kn95, colourways=WHITES,
        strap=(236, 236, 234), flat_strap=True,
        panel=dict(top=[[0, 0.08], [0.16, 0.20], [0.40, 0.40], [0.70, 0.56], [0.94, 0.64]],
                   bottom=[[0, 1.96], [0.26, 1.90], [0.58, 1.66], [0.82, 1.34], [0.93, 1.12]],
                   gap=0.05, cup=0.06, ridge=0.20, tuck=0.28),
        ribbons=lambda: loops([0.93, 0.70, 0.42], [0.91, 1.08, 0.48], 0.10),
    ),
    "ffp2": dict(
        name="FFP2 flat-fold respirator", category="simple", draw=ffp2,
        colourways={"white": [244, 244, 241], "blue": [96, 132, 176], "black": [46, 46, 48]},
        strap=(240, 240, 240), flat_strap=True,
        panel=dict(top=[[0, 0.10], [0.18, 0.20], [0.42, 0.40], [0.72, 0.56], [0.96, 0.66]],
                   bottom=[[0, 1.94], [0.30, 1.90], [0.62, 1.68], [0.84, 1.36], [0.95, 1.12]],
                   gap=0.05, cup=0.10, shelf=0.14, tuck=0.28),
        ribbons=lambda: loops([0.95, 0.72, 0.44], [0.93, 1.08, 0.50], 0.10),
    ),
    "cloth": dict(
        name="Cotton mask, plain", category="simple", draw=cloth_plain, colourways=COTTONS,
        strap=(60, 60, 63), flat_strap=False,
        panel=dict(top=[[0, 0.13], [0.18, 0.22], [0.42, 0.43], [0.70, 0.58], [0.94, 0.66]],
                   bottom=[[0, 1.90], [0.28, 1.87], [0.60, 1.64], [0.82, 1.34], [0.93, 1.14]],
                   gap=0.04, cup=0.04, ridge=0.10, tuck=0.28),
        ribbons=lambda: loops([0.93, 0.72, 0.42], [0.91, 1.09, 0.48], 0.095),
    ),
    "cloth-check": dict(
        name="Cotton mask, woven check", category="complex", draw=cloth_patterned,
        colourways={"madras": [255, 255, 255], "faded": [236, 226, 210], "cool": [196, 214, 246]},
        strap=(232, 228, 218), flat_strap=False,
        panel=dict(top=[[0, 0.13], [0.18, 0.22], [0.42, 0.43], [0.70, 0.58], [0.94, 0.66]],
                   bottom=[[0, 1.90], [0.28, 1.87], [0.60, 1.64], [0.82, 1.34], [0.93, 1.14]],
                   gap=0.04, cup=0.04, ridge=0.10, tuck=0.28),
        ribbons=lambda: loops([0.93, 0.72, 0.42], [0.91, 1.09, 0.48], 0.095),
    ),
}  # fmt: skip


def build(asset_id: str) -> Built:
    """asset.json and the texture of one of these masks."""
    mask = DRAWINGS[asset_id]
    colour, distance = mask["draw"]()
    geometry = {
        "panels": [{**mask["panel"], "uv": PANEL_UV}],
        "ribbons": [{**ribbon, "points": np.round(ribbon["points"], 4).tolist()} for ribbon in mask["ribbons"]()],
    }
    texture = atlas(colour, distance, mask["strap"], mask["flat_strap"])
    made, _ = described(
        asset_id, mask["name"], asset_id.split("-")[0], mask["colourways"], geometry, texture, "first.py",
        mask["category"],
    )  # fmt: skip
    return made | {"version": 2}, texture


MASKS: Masks = {asset_id: partial(build, asset_id) for asset_id in DRAWINGS}
