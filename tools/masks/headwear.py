# ruff: noqa: E501 - outlines and profiles read better on one line
"""Hats, caps, bands and helmets: shells around the head. ``MASKS`` has the headscarves and hoods too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hoods
import numpy as np
from canvas import line, noise, step
from pen import Built, Masks, Piece, blank, build, over
from shell import Profile, Shell, around, below, cloth, edge_at

SOURCE = "headwear.py"
KNITS = {"black": [62, 62, 66], "grey": [150, 152, 156], "red": [168, 52, 54], "navy": [56, 66, 104], "mustard": [204, 158, 66], "cream": [232, 224, 206]}  # fmt: skip
COTTONS = {"black": [56, 56, 60], "navy": [54, 66, 106], "grey": [146, 148, 152], "khaki": [186, 170, 134], "red": [176, 50, 52], "white": [238, 238, 236]}  # fmt: skip


def ribs(shell: Shell, pitch: float, seed: int, depth: float = 0.26) -> np.ndarray:
    """Brightness of rib knitting: plump columns of slanted stitches with dark furrows between them."""
    count = round((shell.along[0, -1] - shell.along[0, 0]) / pitch)
    phase = (shell.along - shell.along[0, 0]) / (shell.along[0, -1] - shell.along[0, 0]) * count
    phase = phase + 0.07 * noise(seed, (40, 14), shell.shape)
    across = np.mod(phase, 1) - 0.5
    stitch = np.sin(2 * np.pi * (shell.down / (0.62 * pitch) + np.abs(across) * 1.1))
    value = np.cos(np.pi * across) ** 0.8 * depth + 0.055 * stitch * np.cos(np.pi * across)
    return value - depth * 0.55 + 0.014 * noise(seed + 1, 1.2, shell.shape) + 0.02 * noise(seed + 2, 9, shell.shape)


def roomy(profile: Profile, up: float, down: float, wide: float) -> list[list[float]]:
    """A profile with room for hair: its top ``up`` higher, its rim ``down`` lower, ``wide`` times as wide."""
    rings = np.asarray(profile, np.float64)
    share = (rings[:, 0] - rings[0, 0]) / (rings[-1, 0] - rings[0, 0])
    return np.round(np.column_stack([rings[:, 0] + share * (up + down) - up, rings[:, 1] * wide, rings[:, 2]]), 4).tolist()


HEAD = [[-2.16, 0.0, 0.0], [-2.12, 0.44, 0.56], [-1.95, 0.92, 1.14], [-1.60, 1.25, 1.46], [-1.12, 1.40, 1.60], [-0.60, 1.41, 1.62], [-0.08, 1.35, 1.53]]  # fmt: skip


def beanie() -> list[Piece]:
    """A knitted cap with a turned-up cuff."""
    shell = Shell(352, roomy(HEAD, 0.10, 0.10, 1.03))
    edge = edge_at(shell, -0.64, -0.18, -0.05) - shell.y
    cuff = 0.42 - edge  # positive on the cuff
    body, turned = ribs(shell, 0.085, 1), ribs(shell, 0.105, 5, 0.30)
    on_cuff = step(cuff, 0, 0.03)
    value = 0.74 + body * (1 - on_cuff) + turned * on_cuff
    value -= 0.34 * np.exp(-np.maximum(-cuff, 0) / 0.06) * (cuff < 0.01)
    value += 0.10 * line(cuff - 0.05, 0.04) - 0.22 * np.exp(-np.maximum(edge, 0) / 0.035)
    value += 0.05 * around(noise(9, (30, 40), shell.shape))
    ragged = edge + 0.006 * np.cos(2 * np.pi * shell.along / 0.105)
    picture = cloth(value, step(ragged, 0.01, 0.03), below(shell, edge, 0.55, 0.22))
    return [shell.piece(picture)]


CROWN = [[-2.14, 0.0, 0.0], [-2.11, 0.30, 0.40], [-2.02, 0.62, 0.84], [-1.84, 0.95, 1.18], [-1.54, 1.20, 1.44], [-1.14, 1.35, 1.57], [-0.66, 1.38, 1.59], [-0.20, 1.33, 1.50]]  # fmt: skip


def cap_crown(front: float = -0.74) -> Piece:
    """Six sewn panels, eyelets and a button."""
    shell = Shell(330, roomy(CROWN, 0.16, 0.12, 1.05))
    edge = edge_at(shell, front, -0.30, -0.18, 1.4) - shell.y
    seam = (
        np.abs(np.mod(shell.angle + 30, 60) - 30)
        / 60
        * 2
        * np.pi
        * np.sin(np.clip(shell.down / 1.6, 0, np.pi / 2))
        * 1.35
    )
    value = 0.80 + 0.012 * around(noise(12, 1.3, shell.shape)) + 0.035 * around(noise(13, (46, 22), shell.shape))
    value += -0.24 * line(seam, 0.012) + 0.07 * line(seam - 0.035, 0.016)
    value -= 0.12 * line(seam - 0.052, 0.007) * (np.sin(shell.down * 120) > -0.3)
    eyelet = np.hypot(np.mod(shell.angle, 60) - 30, (shell.down - 0.62) / 1.2 * 60) / 60
    value += -0.35 * step(0.040 - eyelet, 0, 0.02) + 0.10 * line(eyelet - 0.055, 0.015)
    value -= 0.20 * np.exp(-np.maximum(edge, 0) / 0.03) + 0.10 * line(edge - 0.16, 0.006) * (
        np.sin(shell.along * 130) > -0.3
    )
    value += 0.12 * step(0.10 - shell.down, 0, 0.01) - 0.2 * line(shell.down - 0.11, 0.012)
    behind = step(np.abs(shell.angle), 120, 20)
    shadow = below(shell, edge, 0.45, 0.16) * (1 - behind)
    return shell.piece(cloth(value, step(edge, 0.005, 0.015), shadow))


def brow_shadow(top: float, strength: float, depth: float, half: float = 1.14, arch: float = 0.20) -> Piece:
    """What a peak or brim keeps from the light: the forehead below ``top``, down to ``depth`` below it."""
    rows, columns = 96, 256
    v, u = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    across = (u - 0.5) * 2
    fall = (1 - step(v, 0.58 - 0.12 * across**2, 0.72)) * (1 - step(np.abs(across), 0.86, 0.26)) * step(v, 0.03, 0.05)
    picture = over(blank((rows, columns)), (0, 0, 0), strength * fall)
    x = np.linspace(-half, half, 7)
    panel = {"top": points(x, top + arch * (x / half) ** 2), "bottom": points(x, top + depth + 0 * x), "gap": 0.01, "tinted": False}  # fmt: skip
    return Piece(picture, (panel,))


def points(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """An edge for asset.json."""
    return np.round(np.column_stack([x, y]), 4).tolist()


RIDGE = 0.45  # where along a sheet its "shelf" stands out most


def visor(root: float, arch: float, reach: float, jut: float, half: float = 1.24, curl: float = 1.25) -> Piece:
    """A stiff peak: a sheet whose shelf juts out; below the shelf's crest it is transparent.

    ``root``: height of its seam on the midline; root and tip drop by ``arch`` and ``curl`` * ``arch`` at the sides; the tip
    is ``reach`` lower than the root and ``jut`` in front of it.
    """
    rows, columns = 300, 512
    x = np.linspace(-half, half, 9)
    seam, tip = root + arch * (x / half) ** 2, root + reach + curl * arch * (x / half) ** 2
    v, u = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    along, across = v / RIDGE, (u - 0.5) * 2
    rim = 0.97 - 0.80 * np.abs(across) ** 3.2
    distance = np.minimum(rim - along, 2.2 * (0.985 - np.abs(across)))
    value = 0.80 + 0.03 * noise(22, (30, 12), along.shape) + 0.015 * noise(23, 0.9, along.shape)
    value += 0.14 * np.exp(-(((along - 0.62) / 0.22) ** 2) - ((across / 0.62) ** 2))
    for row in range(1, 6):
        value -= 0.07 * line(rim - along - 0.12 * row, 0.013) * (np.sin(u * 420) > -0.5) * step(along, 0.15, 0.1)
    value += (
        0.10 * line(distance - 0.06, 0.03)
        - 0.26 * line(distance, 0.03)
        - 0.48 * np.exp(-np.maximum(along - 0.06, 0) / 0.13)
    )
    picture = cloth(value, step(distance, 0.012, 0.024) * step(along, 0.07, 0.07))
    picture = picture[: int(rows * (RIDGE + 0.03))]
    picture = np.concatenate([picture, np.zeros((rows - len(picture), columns, 4))])
    panel = {"top": points(x, seam), "bottom": points(x, seam + (tip - seam) / RIDGE), "gap": 0.0, "flat": [-0.46, 0.50],
             "shelf": jut, "tinted": True, "two_sided": True}  # fmt: skip
    return Piece(picture, (panel,))


def cap() -> list[Piece]:
    """A baseball cap."""
    return [brow_shadow(-0.71, 0.42, 0.65), cap_crown(-0.73), visor(-0.83, 0.27, 0.40, 1.0, 1.20)]


BUCKET = [[-2.06, 0.0, 0.0], [-2.03, 0.60, 0.76], [-1.92, 1.04, 1.28], [-1.62, 1.22, 1.46], [-1.18, 1.34, 1.57], [-0.72, 1.40, 1.63]]  # fmt: skip


FRONT, UNDER = (
    (-98.0, 98.0),
    (-62.0, 62.0),
)  # degrees: of a brim, what lies before the crown, and what is seen from below


def bucket_brim(angles: tuple[float, float], columns: int, **more: Any) -> Piece:
    """Sloping cloth with rows of stitches."""
    brim = Shell(150, [[-0.78, 1.45, 1.62], [-0.52, 1.60, 1.83], [-0.18, 1.76, 2.06]], angles, columns)
    wave = 0.015 * np.sin(np.deg2rad(brim.angle * 3 + 40)) + 0.01 * np.sin(np.deg2rad(brim.angle * 7))
    edge = edge_at(brim, -0.28, -0.40, -0.26, 1.1) + wave - brim.y
    value = 0.80 + 0.012 * noise(33, 1.3, brim.shape) + 0.06 * noise(34, (50, 30), brim.shape)
    value += 0.08 * np.sin(np.deg2rad(brim.angle * 4 + 60)) * brim.down / brim.down.max()
    for row in range(1, 7):
        value -= 0.10 * line(edge - 0.07 * row, 0.008) * (np.sin(brim.along * 120) > -0.4)
    value += -0.26 * np.exp(-brim.down / 0.05) - 0.14 * line(edge, 0.014)
    ends = 1 - step(np.abs(brim.angle), 50, 20) if more else 1.0  # of the underside
    return brim.piece(cloth(value, step(edge, 0.005, 0.02) * ends), **more)


def bucket_hat() -> list[Piece]:
    """A soft crown and a sloping stitched brim."""
    crown = Shell(200, roomy(BUCKET, 0.20, 0.08, 1.045))
    value = 0.80 + 0.012 * around(noise(31, 1.3, crown.shape)) + 0.045 * around(noise(32, (34, 26), crown.shape))
    seam = np.minimum(
        np.abs(crown.down - 1.02), np.deg2rad(90 - np.abs(np.abs(crown.angle) - 90)) + 9 * (crown.down < 1.02)
    )
    value += (-0.22 * line(seam, 0.014) + 0.06 * line(seam - 0.035, 0.02) - 0.10 * line(seam - 0.06, 0.008)) * step(
        crown.down, 0.35, 0.3
    )
    top = crown.piece(cloth(value, np.ones(crown.shape)))
    brims = [bucket_brim(UNDER, 300, two_sided=True), bucket_brim(FRONT, 512)]
    return [brow_shadow(-0.58, 0.42, 0.58), bucket_brim((-180.0, 180.0), 640), top, *brims]


FEDORA = [[-2.19, 0.0, 0.0], [-2.188, 0.42, 0.60], [-2.17, 0.80, 1.06], [-1.96, 1.08, 1.35], [-1.46, 1.28, 1.53], [-1.00, 1.38, 1.60], [-0.70, 1.40, 1.62]]  # fmt: skip


def fedora() -> list[Piece]:
    """A felt hat: creased crown, ribbon, and a brim that dips in front."""
    crown = Shell(240, roomy(FEDORA, 0.18, 0.10, 1.045))
    value = 0.80 + 0.025 * around(noise(41, 1.1, crown.shape)) + 0.03 * around(noise(42, (18, 18), crown.shape))
    for side in (-42, 42):
        lean = crown.angle - side * (1 + 0.35 * (crown.y + 1.62))
        value += 0.09 * np.exp(-(((lean - 15) / 10) ** 2) - (((crown.y + 1.86) / 0.36) ** 2))
        value -= 0.13 * np.exp(-((lean / 12) ** 2) - (((crown.y + 1.86) / 0.38) ** 2))
    top = cloth(value, np.ones(crown.shape))
    ribbon = step(crown.y, -1.06, 0.02)
    silk = (
        0.30
        + 0.05 * np.sin(crown.down * 300)
        + 0.06 * around(noise(43, (40, 3), crown.shape))
        + 0.10 * line(crown.y + 0.88, 0.08)
    )
    top = over(top, np.clip(silk, 0.05, 1)[..., None] * np.ones(3), ribbon)
    top = over(top, (0, 0, 0), 0.45 * np.exp(-np.abs(crown.y + 1.06) / 0.02) * 0.6 + 0.5 * step(crown.y, -0.70, 0.1))
    brims = [felt_brim(UNDER, 300, two_sided=True), felt_brim(FRONT, 512)]
    return [brow_shadow(-0.63, 0.45, 0.60), felt_brim((-180.0, 180.0), 640), crown.piece(top), *brims]


def felt_brim(angles: tuple[float, float], columns: int, **more: Any) -> Piece:
    """A stiff brim with a bound edge, lowest in front."""
    brim = Shell(120, [[-0.76, 1.44, 1.60], [-0.66, 1.72, 1.97], [-0.36, 2.12, 2.37]], angles, columns)
    edge = 1.2 * (edge_at(brim, -0.41, -0.58, -0.52, 0.9) - brim.y)
    ends = 1 - step(np.abs(brim.angle), 50, 20) if more else 1.0  # of the underside
    value = 0.80 + 0.02 * noise(44, 1.2, brim.shape) + 0.05 * noise(45, (70, 20), brim.shape)
    value += -0.34 * np.exp(-brim.down / 0.07) - 0.10 * line(edge - 0.08, 0.012) + 0.06 * line(edge - 0.04, 0.03)
    return brim.piece(cloth(value, step(edge, 0.006, 0.02) * ends), **more)


def headband() -> list[Piece]:
    """A towelling sweatband."""
    shell = Shell(150, [[-1.16, 1.35, 1.57], [-0.80, 1.36, 1.58], [-0.38, 1.34, 1.53]], deeper=0.15)
    upper, lower = edge_at(shell, -1.04, -0.86, -0.70, 1.2), edge_at(shell, -0.64, -0.46, -0.30, 1.2)
    distance = np.minimum(shell.y - upper, lower - shell.y)
    fluff = distance + 0.006 * around(noise(51, 1.6, shell.shape))
    value = 0.86 + 0.10 * around(noise(52, 1.2, shell.shape)) + 0.03 * around(noise(53, 8, shell.shape))
    value -= 0.30 * np.exp(-np.maximum(distance, 0) / 0.05)
    shadow = below(shell, np.minimum(distance, lower - shell.y), 0.45, 0.07)
    return [shell.piece(cloth(value, step(fluff, 0.01, 0.03), shadow))]


HARD = [[-2.14, 0.0, 0.0], [-2.10, 0.46, 0.60], [-1.95, 0.90, 1.14], [-1.64, 1.20, 1.46], [-1.20, 1.38, 1.66], [-0.70, 1.45, 1.75]]  # fmt: skip


def hard_hat() -> list[Piece]:
    """A safety helmet: a glossy shell with ribs, a short peak and a chin strap."""
    dome, rim = Shell(260, roomy(HARD, 0.16, 0.12, 1.04)), Shell(48, [[-0.64, 1.508, 1.75], [-0.58, 1.54, 1.79], [-0.48, 1.545, 1.80]])
    value = 0.80 - 0.10 * np.clip(dome.down / dome.down.max(), 0, 1) + 0.008 * around(noise(61, 3, dome.shape))
    for at, wide in ((0, 14), (-32, 7), (32, 7), (180, 14), (-180, 14)):
        offset = (
            np.deg2rad(np.mod(dome.angle - at + 180, 360) - 180) * np.sin(np.clip(dome.down / 1.5, 0, np.pi / 2)) * 1.3
        )
        half = np.deg2rad(wide) * 0.8
        inside = step(half - np.abs(offset), 0, 0.05) * step(1.75 - dome.down, 0, 0.15)
        value += 0.05 * inside + 0.10 * line(offset + half, 0.025) * (inside > 0.01) - 0.14 * line(offset - half, 0.03)
    for angle, y, wide in ((-38, -1.55, 0.22), (24, -1.70, 0.13)):
        spot = (np.deg2rad(dome.angle - angle) * 1.2 / wide) ** 2 + ((dome.y - y) / (0.55 * wide)) ** 2
        value += 0.20 * np.exp(-spot)
    value -= 0.10 * step(dome.y, -0.68, 0.2)
    shell = cloth(value, np.ones(dome.shape))
    edge = rim.down[-1:] - 0.02 - rim.down
    value = 0.76 - 0.30 * np.exp(-rim.down / 0.04) + 0.16 * line(edge - 0.05, 0.03)
    lower = cloth(value, step(edge, 0.004, 0.012))
    return [brow_shadow(-0.55, 0.42, 0.5), rim.piece(lower), dome.piece(shell), visor(-0.64, 0.10, 0.20, 0.5, 1.34)]


SHINY = {"yellow": [246, 206, 52], "white": [244, 244, 242], "orange": [240, 134, 46], "blue": [58, 108, 178]}
FELTS = {"black": [58, 57, 60], "brown": [134, 98, 70], "grey": [146, 146, 148], "camel": [206, 168, 120], "navy": [58, 66, 98]}  # fmt: skip
TERRY = {"white": [244, 244, 242], "black": [60, 60, 64], "red": [182, 52, 54], "blue": [70, 104, 170]}


TABLE: dict[str, tuple[str, str, str, dict[str, Any], Callable[[], list[Piece]]]] = {
    "beanie": ("Knitted beanie", "hat", "top", KNITS, beanie),
    "cap": ("Baseball cap", "hat", "top", COTTONS, cap),
    "hat-bucket": ("Bucket hat", "hat", "top", COTTONS, bucket_hat),
    "hat-fedora": ("Felt hat with a brim", "hat", "top", FELTS, fedora),
    "headband": ("Towelling headband", "headband", "top", TERRY, headband),
    "hard-hat": ("Safety helmet", "helmet", "top", SHINY, hard_hat),
    "turban": ("Turban", "headscarf", "top", hoods.CLOTHS, hoods.turban),
    "headscarf": ("Headscarf", "headscarf", "top", hoods.CLOTHS, hoods.headscarf),
    "hood": ("Hood of a sweatshirt", "hood", "top", COTTONS, hoods.hood),
}


FIRST = {"headband", "headscarf", "hood"}  # still as they were drawn first


def make(asset_id: str) -> Built:
    """One asset of this module."""
    name, kind, regions, colours, draw = TABLE[asset_id]
    return build(asset_id, name, "simple", kind, regions, colours, draw(), SOURCE, coarse=5, version=1 if asset_id in FIRST else 2)


MASKS: Masks = {asset_id: (lambda asset_id=asset_id: make(asset_id)) for asset_id in TABLE}
