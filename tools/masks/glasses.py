# ruff: noqa: E501 - outlines read better with one curve on a line
"""Sunglasses, glasses, goggles, a sleep mask and a headset. Lenses keep their colour, frames take the colourway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from canvas import line, noise, step
from pen import Built, Field, Masks, Piece, baked, blank, blur, build, closed, fade_border, mirrored, moved, over, rgb
from shell import Shell

SOURCE = "glasses.py"
ROWS, COLUMNS = 208, 512
DEEP, BEND = -0.40, 0.20  # of the plane that glasses lie in
WINDOW = ((-1.24, 1.24), (-0.50, 0.55))
FRAMES = {"black": [66, 66, 70], "tortoise": [146, 92, 56], "grey": [128, 130, 134], "navy": [58, 72, 116], "burgundy": [128, 48, 54]}  # fmt: skip
METALS = {"gold": [214, 178, 112], "silver": [206, 208, 212], "black": [70, 70, 74]}

WAYFARER = [(0.10, -0.19), (0.30, -0.285), (0.62, -0.33), (0.93, -0.355), (1.115, -0.335), (1.115, -0.20), (1.05, 0.02), (0.97, 0.22), (0.80, 0.345), (0.53, 0.375), (0.30, 0.30), (0.175, 0.13), (0.11, -0.05)]  # fmt: skip
WAYFARER_LENS = [(0.195, -0.165), (0.42, -0.215), (0.72, -0.235), (0.965, -0.205), (0.975, -0.04), (0.90, 0.18), (0.75, 0.285), (0.53, 0.31), (0.34, 0.245), (0.235, 0.10), (0.185, -0.05)]  # fmt: skip
AVIATOR = [(0.165, -0.14), (0.32, -0.225), (0.60, -0.245), (0.90, -0.205), (1.005, -0.10), (0.985, 0.12), (0.87, 0.36), (0.68, 0.475), (0.47, 0.44), (0.30, 0.285), (0.195, 0.06)]  # fmt: skip
ROUND = [(0.535 + 0.375 * np.cos(a), 0.05 + 0.375 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)]
PANTO = [(0.165, -0.08), (0.26, -0.225), (0.53, -0.275), (0.83, -0.24), (0.945, -0.11), (0.925, 0.08), (0.80, 0.27), (0.56, 0.345), (0.33, 0.275), (0.20, 0.10)]  # fmt: skip
RECTANGLE = [(0.155, -0.17), (0.30, -0.225), (0.60, -0.235), (0.93, -0.225), (1.00, -0.15), (0.985, 0.06), (0.92, 0.22), (0.76, 0.275), (0.45, 0.28), (0.26, 0.24), (0.18, 0.09)]  # fmt: skip


def temple_piece(rows: int = 30, metal: bool = False) -> np.ndarray:
    """A side piece along the strip: firm, lit from above, gone behind the ear."""
    across = ((np.arange(rows) + 0.5) / rows * 2 - 1)[:, None]
    along = ((np.arange(COLUMNS) + 0.5) / COLUMNS)[None]
    half = (0.30 if metal else 0.52) * (1 - 0.18 * along)
    body = step(half - np.abs(across), 0, 0.18)
    under = 0.22 * np.exp(-((np.maximum(across - half + 0.08, 0) / 0.22) ** 2)) * step(1 - np.abs(across), 0.15, 0.3)
    light = 0.56 + 0.30 * line(across + 0.5 * half, 0.3 * half) - 0.16 * step(across, 0.5 * half, half)
    picture = over(blank((rows, COLUMNS)), (0, 0, 0), under * (1 - body))
    picture = over(picture, np.broadcast_to(light, (rows, COLUMNS))[..., None] * np.ones(3), body)
    picture[..., 3] *= (1 - step(along, 0.93, 0.14)) * step(along, 0.0, 0.02)
    return picture


def temples(y: float, hinge: float, width: float, metal: bool = False, depth: float | None = None) -> Piece:
    """Both side pieces, from the hinge at (hinge, y) over the ears."""
    start = DEEP + BEND * hinge**2 + 0.02 if depth is None else depth
    points = [[hinge, y, start], [1.17, y * 0.8 - 0.01, 0.45], [1.20, -0.03, 1.02], [1.17, 0.05, 1.22]]
    ribbon = {"points": np.round(points, 4).tolist(), "width": width, "tinted": True}
    return Piece(temple_piece(metal=metal), ribbons=(ribbon,))


def flat_panel(gap: float, tinted: bool, window: Any = WINDOW, flat: Sequence[float] = (DEEP, BEND)) -> dict[str, Any]:
    """The sheet that a pair of glasses is drawn on."""
    (x0, x1), (y0, y1) = window
    return {"top": [[x0, y0], [0.0, y0], [x1, y0]], "bottom": [[x0, y1], [0.0, y1], [x1, y1]], "gap": gap,
            "flat": list(flat), "tinted": tinted}  # fmt: skip


def cast_shadow(
    field: Field, distance: np.ndarray, strength: float, drop: float = 0.07, spread: float = 0.045
) -> np.ndarray:
    """What a thing in front of the face darkens below it, (rows, columns) of alpha; none beside the face."""
    solid = step(distance, 0, 2 * field.texel) * (1 - step(np.abs(field.x), 0.98, 0.24))
    per_unit = 1 / field.texel
    return strength * blur(moved(solid, 0, drop * per_unit), spread * per_unit)


def reflection(field: Field, centre: float, inner: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """A window's soft light in the upper part of each lens, alpha of white."""
    x = field.x - centre * np.sign(field.x)
    leaning = x * 0.9 - (field.y + 0.10) * 0.55
    glow = np.exp(-(((field.y + 0.24) / 0.20) ** 2)) * (0.55 + 0.45 * np.exp(-(((x + 0.12) / 0.28) ** 2)))
    streak = (
        step(leaning, -0.30, 0.05) * (1 - step(leaning, -0.14, 0.05)) * 0.5
        + step(leaning, -0.10, 0.03) * (1 - step(leaning, -0.05, 0.03)) * 0.3
    )
    body = glow + streak * np.exp(-(((field.y + 0.02) / 0.22) ** 2))
    return strength * body * step(inner, 0.015, 0.03) * (1 + 0.08 * noise(seed, 24, field.shape))


def lens_picture(field: Field, lens: np.ndarray, frame: np.ndarray, top: Sequence[float], bottom: Sequence[float],
                 opacity: tuple[float, float], shine: float, centre: float = 0.55) -> np.ndarray:  # fmt: skip
    """Both lenses and the shadow of the whole; colours and opacity run from the top of the lens to its bottom."""
    solid = np.maximum(lens, frame)
    fall = np.clip((field.y + 0.25) / 0.60, 0, 1)
    picture = over(blank(field.shape), (0, 0, 0), cast_shadow(field, solid, 0.34 * max(opacity[1], 0.5)))
    colour = rgb(*top) * (1 - fall)[..., None] + rgb(*bottom) * fall[..., None]
    cover = step(lens, 0, 2.5 * field.texel) * (opacity[0] * (1 - fall) + opacity[1] * fall)
    picture[..., 3] *= 1 - step(lens, 0, 2.5 * field.texel) * min(1.0, opacity[1] + 0.3)
    picture = over(picture, colour, cover)
    picture = over(picture, (0, 0, 0), 0.25 * line(lens - 0.012, 0.02) * (lens > 0) * opacity[1])
    picture = over(picture, rgb(226, 236, 246), reflection(field, centre, lens, shine, 5))
    return fade_border(picture)


def frame_picture(field: Field, frame: np.ndarray, thick: float, seed: int, mottled: float = 0.0) -> np.ndarray:
    """A frame of rounded section lit from above; base brightness about a half, so that highlights stay visible."""
    height = np.sqrt(np.clip(frame / thick, 0, 1) * (2 - np.clip(frame / thick, 0, 1)))
    slope = np.gradient(blur(height, 0.8), axis=0) / field.texel * thick
    value = 0.50 + 0.36 * np.clip(slope, -0.6, 1.0) + 0.05 * height
    value += 0.10 * np.exp(-(((field.y + 0.28) / 0.12) ** 2)) + mottled * np.clip(
        noise(seed, 5, field.shape), -1.5, 1.5
    )
    picture = over(blank(field.shape), np.clip(value, 0.2, 1)[..., None] * np.ones(3), step(frame, 0, 2 * field.texel))
    return fade_border(picture)


def both(field: Field, *outlines: np.ndarray) -> np.ndarray:
    """Signed distance to outlines of the right half and their mirror images."""
    return field.inside(*outlines, *(mirrored(o) for o in outlines))


def bar(half: float, top: float, bottom: float, arch: float = 0.0) -> np.ndarray:
    """A bridge over the nose: from -half to half, its upper and lower edges arched upwards."""
    x = np.linspace(-half, half, 24)
    rise = arch * (1 - (x / half) ** 2)
    return np.concatenate([np.column_stack([x, top - rise]), np.column_stack([x, bottom - rise])[::-1]])


def endpiece(y: float, x0: float, x1: float, half: float) -> np.ndarray:
    """The corner that reaches from the rim to the hinge."""
    return np.array([[x0, y - half * 1.3], [x1, y - half], [x1 + 0.015, y], [x1, y + half], [x0, y + half * 1.3]])


def spectacles(outer: Any, inner: Any, bridge: Sequence[np.ndarray], lens: dict[str, Any], thick: float, temple: Piece,
               mottled: float = 0.0, seed: int = 1) -> list[Piece]:  # fmt: skip
    """Lenses, then the frame over them. ``outer`` and ``inner``: outlines of the right rim."""
    field = Field((ROWS, COLUMNS), *WINDOW, BEND)
    hole = both(field, inner)
    frame = np.minimum(np.maximum(both(field, outer), field.inside(*bridge, *(mirrored(b) for b in bridge))), -hole)
    return [
        temple,
        Piece(lens_picture(field, hole, frame, **lens), (flat_panel(0.0, False),)),
        Piece(frame_picture(field, frame, thick, seed, mottled), (flat_panel(0.012, True),)),
    ]


def grown(points: Sequence[Sequence[float]], amount: float) -> np.ndarray:
    """A closed smooth outline moved outwards by ``amount``."""
    ring = closed(points)
    along = np.roll(ring, -1, 0) - np.roll(ring, 1, 0)
    normal = np.column_stack([along[:, 1], -along[:, 0]]) / np.linalg.norm(along, axis=1, keepdims=True)
    if np.sum(normal * (ring - ring.mean(0))) < 0:
        normal = -normal
    return ring + amount * normal


DARK = dict(top=(20, 20, 23), bottom=(48, 46, 46), opacity=(0.97, 0.93), shine=0.16)


def wayfarer() -> list[Piece]:
    """Thick acetate with a raised outer corner."""
    bridge = [bar(0.16, -0.205, -0.055, 0.02)]
    return spectacles(closed(WAYFARER), closed(WAYFARER_LENS), bridge, DARK, 0.05, temples(-0.245, 1.09, 0.20), 0.02)


def aviator() -> list[Piece]:
    """Teardrop lenses in wire, two bridges."""
    lens = dict(top=(24, 23, 22), bottom=(74, 62, 48), opacity=(0.97, 0.90), shine=0.20)
    bridges = [bar(0.20, -0.205, -0.178, 0.0), bar(0.19, -0.085, -0.058, 0.045), endpiece(-0.15, 0.97, 1.09, 0.022)]
    return spectacles(grown(AVIATOR, 0.024), closed(AVIATOR), bridges, lens, 0.014, temples(-0.15, 1.08, 0.10, True))


def round_shades() -> list[Piece]:
    """Small round lenses in wire."""
    lens = dict(top=(22, 26, 26), bottom=(40, 48, 46), opacity=(0.96, 0.90), shine=0.22)
    bridges = [bar(0.19, -0.075, -0.045, 0.05), endpiece(-0.02, 0.90, 1.08, 0.024)]
    return spectacles(grown(ROUND, 0.028), closed(ROUND), bridges, lens, 0.016, temples(-0.02, 1.07, 0.10, True))


CLEAR = dict(top=(214, 226, 238), bottom=(230, 236, 240), opacity=(0.07, 0.04), shine=0.15)


def clear() -> list[Piece]:
    """A thin frame and lenses that one sees by their reflections alone."""
    bridges = [bar(0.17, -0.12, -0.085, 0.035), endpiece(-0.16, 0.92, 1.09, 0.030)]
    return spectacles(grown(PANTO, 0.026), closed(PANTO), bridges, CLEAR, 0.016, temples(-0.16, 1.08, 0.11, True))


def thick_frame() -> list[Piece]:
    """Broad dark plastic around clear lenses."""
    bridge = [bar(0.16, -0.16, -0.03, 0.02), endpiece(-0.19, 1.0, 1.11, 0.055)]
    return spectacles(
        grown(RECTANGLE, 0.07), closed(RECTANGLE), bridge, CLEAR, 0.045, temples(-0.19, 1.10, 0.19), 0.03, 3
    )


def sport_outline() -> np.ndarray:
    """One curved shield over both eyes with a nose notch."""
    right = [(0.0, -0.235), (0.35, -0.275), (0.75, -0.265), (1.05, -0.20), (1.15, -0.09), (1.09, 0.07), (0.88, 0.235), (0.60, 0.305), (0.36, 0.265), (0.20, 0.12), (0.10, -0.01), (0.0, -0.045)]  # fmt: skip
    return closed([*right, *[(-x, y) for x, y in right[-2:0:-1]]])


def sport() -> list[Piece]:
    """A wrap-around shield whose mirror coating runs from blue to amber."""
    field = Field((ROWS, COLUMNS), *WINDOW, 0.42)
    shield = field.inside(sport_outline())
    brow = np.minimum(
        shield + 0.012, 0.075 - (field.y + 0.27 - 0.10 * np.clip(np.abs(field.x) - 0.55, 0, 1) ** 2 * 2.4)
    )
    lens = dict(top=(26, 30, 52), bottom=(72, 52, 40), opacity=(0.98, 0.95), shine=0.0)
    picture = lens_picture(field, shield, shield, **lens)
    sky = np.exp(-(((field.y + 0.02 + 0.25 * field.x**2) / 0.11) ** 2)) * step(shield, 0.02, 0.04)
    picture = over(picture, rgb(92, 128, 186), 0.42 * sky)
    picture = over(
        picture,
        rgb(240, 244, 250),
        0.30
        * line(field.y + 0.14 - 0.05 * field.x, 0.03)
        * step(shield, 0.03, 0.04)
        * np.exp(-(((np.abs(field.x) - 0.62) / 0.22) ** 2)),
    )
    flat = (-0.44, 0.42)
    frame = frame_picture(field, brow, 0.035, 4)
    return [
        temples(-0.12, 1.13, 0.19, depth=0.10),
        Piece(fade_border(picture), (flat_panel(0.0, False, flat=flat),)),
        Piece(frame, (flat_panel(0.012, True, flat=flat),)),
    ]


def band(y: float, half: float, start: float, tinted: bool, ribs: float = 14, slope: float = 0.0) -> Piece:
    """A woven elastic band around the head, over the hair, from ``start`` degrees at each side backwards."""
    wide = half + 0.07
    shell = Shell(64, [[y - wide, 1.31, 1.53], [y, 1.34, 1.56], [y + wide, 1.31, 1.52]], columns=640, deeper=0.15)
    off = shell.y - y - slope * np.clip((np.abs(shell.angle) - start) / 90, 0, 1)
    inside = half - np.abs(off)
    body = step(inside, 0, 0.02) * step(np.abs(shell.angle), start, 6)
    light = 0.84 - 0.26 * np.abs(off / half) ** 5 + 0.05 * np.sin(off / half * ribs) + 0.03 * np.sin(shell.along * 90)
    cast = 0.34 * np.exp(-((np.maximum(-inside, 0) / 0.035) ** 2)) * step(np.abs(shell.angle), start, 6)
    picture = over(blank(shell.shape), (0, 0, 0), cast)
    picture = over(picture, np.clip(light, 0, 1)[..., None] * np.ones(3), body)
    return shell.piece(fade_border(picture, 4, 0.01), tinted)


def lathe(profile: Sequence[Sequence[float]], reach: float, tinted: bool) -> dict[str, Any]:
    """A shell in front of the head, ``reach`` degrees to each side."""
    return {"profile": [list(p) for p in profile], "angles": [-reach, reach], "tinted": tinted}


def shell_field(shape: tuple[int, int], half: float, y: tuple[float, float]) -> Field:
    """Coordinates on a shell: x is length along it, from -half to half."""
    return Field(shape, (-half, half), y)


def goggles() -> list[Piece]:
    """Ski goggles: a mirrored visor in a padded frame, with a broad elastic band."""
    field = shell_field((220, COLUMNS), 1.72, (-0.66, 0.62))
    right = [(0.0, -0.50), (0.50, -0.53), (1.05, -0.47), (1.40, -0.30), (1.47, -0.02), (1.36, 0.26), (1.02, 0.42), (0.62, 0.45), (0.34, 0.36), (0.16, 0.20), (0.0, 0.15)]  # fmt: skip
    outer = field.inside(closed([*right, *[(-x, y) for x, y in right[-2:0:-1]]]))
    inner = outer - 0.115
    picture = over(blank(field.shape), (0, 0, 0), cast_shadow(field, outer, 0.5, 0.05, 0.05))
    height = np.sqrt(np.clip(outer / 0.06, 0, 1) * (2 - np.clip(outer / 0.06, 0, 1)))
    value = (
        0.62
        + 0.30 * np.clip(np.gradient(blur(height, 1), axis=0) / field.texel * 0.06, -0.7, 1)
        - 0.25 * line(inner, 0.02)
    )
    frame = over(picture, np.clip(value, 0.1, 1)[..., None] * np.ones(3), step(outer, 0, 2 * field.texel))
    hue = np.clip((field.y + 0.45) / 0.85 + 0.10 * field.x**2, 0, 1)[..., None]
    mirror = rgb(38, 52, 96) * (1 - hue) + rgb(196, 112, 52) * hue
    lens = over(blank(field.shape), mirror, step(inner, 0, 2 * field.texel))
    ridge = 0.06 * np.sin(field.x * 5) + 0.03 * np.sin(field.x * 13 + 1)
    hills = step(field.y, 0.02 + ridge, 0.05) * (1 - step(field.y, 0.02 + ridge, 0.55))
    lens = over(lens, rgb(30, 28, 44), 0.38 * hills * step(inner, 0.02, 0.04))
    glow = np.exp(-(((field.y + 0.27 - 0.05 * field.x**2) / 0.07) ** 2)) * np.exp(
        -(((np.abs(field.x) - 0.55) / 0.42) ** 2)
    )
    lens = over(lens, rgb(232, 240, 252), 0.45 * glow * step(inner, 0.02, 0.05))
    lens = over(lens, (0, 0, 0), 0.5 * line(inner, 0.03) * (inner > 0))
    profile = [[-0.66, 1.16, 1.60], [-0.50, 1.20, 1.70], [0.0, 1.22, 1.74], [0.40, 1.20, 1.68], [0.62, 1.15, 1.56]]
    return [
        band(-0.10, 0.17, 50, True, slope=-0.06),
        Piece(fade_border(frame), (lathe(profile, 84, True),)),
        Piece(fade_border(lens), (lathe(profile, 84, False),)),
    ]


def headset() -> list[Piece]:
    """A VR headset: a smooth visor with rounded corners, a soft facial pad and a strap."""
    field = shell_field((236, COLUMNS), 2.2, (-0.80, 0.80))
    qx, qy = np.abs(field.x) - 1.50, np.abs(field.y) - 0.36
    outer = 0.26 - np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) - np.minimum(np.maximum(qx, qy), 0)
    notch = 0.30 - np.hypot(field.x / 0.75, (field.y - 0.74) / 1.0)
    outer = np.minimum(outer, -notch)
    picture = over(blank(field.shape), (0, 0, 0), cast_shadow(field, outer, 0.55, 0.07, 0.06))
    height = np.sqrt(np.clip(outer / 0.12, 0, 1) * (2 - np.clip(outer / 0.12, 0, 1)))
    slope = np.gradient(blur(height, 2), axis=0) / field.texel * 0.12
    value = (
        0.70 + 0.24 * np.clip(slope, -1, 1) + 0.06 * np.exp(-(((field.y + 0.30) / 0.12) ** 2)) - 0.06 * (field.y + 0.1)
    )
    value += -0.30 * line(outer - 0.15, 0.012) + 0.012 * noise(9, 1, field.shape)
    front = over(picture, np.clip(value, 0.05, 1)[..., None] * np.ones(3), step(outer, 0, 2 * field.texel))
    for x, y in ((-0.95, -0.30), (0.95, -0.30), (-1.05, 0.30), (1.05, 0.30)):
        spot = np.hypot(field.x - x, field.y - y)
        front = over(front, (0.03, 0.03, 0.04), step(0.070 - spot, 0, 0.02))
        front = over(
            front, (0.5, 0.55, 0.65), 0.6 * np.exp(-((np.hypot(field.x - x + 0.02, field.y - y + 0.02) / 0.02) ** 2))
        )
    profile = [[-0.80, 1.02, 1.72], [-0.62, 1.08, 2.02], [-0.30, 1.12, 2.16], [0.25, 1.12, 2.16], [0.58, 1.08, 2.0], [0.80, 1.0, 1.68]]  # fmt: skip
    return [crown_band(), baked_band(), Piece(fade_border(front), (lathe(profile, 88, True),))]


PATE = [[-1.90, 0.0, 0.0], [-1.87, 0.42, 0.54], [-1.72, 0.86, 1.10], [-1.40, 1.14, 1.40], [-1.0, 1.25, 1.50], [-0.2, 1.26, 1.52]]  # fmt: skip


def crown_band() -> Piece:
    """The headset's strap over the top of the head."""
    shell = Shell(200, PATE, (-30.0, 30.0), columns=160)
    across = np.deg2rad(shell.angle) * np.interp(shell.y, *np.array(PATE)[:, :2].T)
    inside = 0.15 - np.abs(across)
    body = step(inside, 0, 0.02) * step(-0.30 - shell.y, 0, 0.06)
    picture = over(
        blank(shell.shape), (0, 0, 0), 0.34 * np.exp(-((np.maximum(-inside, 0) / 0.035) ** 2)) * (shell.y < -0.4)
    )
    value = 0.25 - 0.06 * np.abs(across / 0.15) ** 4 + 0.015 * np.sin(shell.down * 140)
    return shell.piece(fade_border(over(picture, value[..., None] * np.ones(3), body), 0.01, 5), False)


def baked_band() -> Piece:
    """The headset's dark strap around the head."""
    return baked([band(-0.04, 0.20, 48, True, 10)], (76, 78, 82))[0]


def sleep_mask() -> list[Piece]:
    """A padded satin mask with a stitched border and an elastic band."""
    field = Field((232, COLUMNS), (-1.22, 1.22), (-0.62, 0.66), 0.42)
    right = [(0.0, -0.40), (0.40, -0.455), (0.85, -0.40), (1.09, -0.22), (1.10, 0.0), (0.98, 0.25), (0.70, 0.40), (0.40, 0.395), (0.22, 0.27), (0.10, 0.17), (0.0, 0.145)]  # fmt: skip
    outer = field.inside(closed([*right, *[(-x, y) for x, y in right[-2:0:-1]]]))
    pads = np.exp(-(((np.abs(field.x) - 0.55) / 0.36) ** 2) - ((field.y / 0.26) ** 2))
    folds = noise(31, (30, 9), field.shape) * 0.02 + noise(32, (7, 16), field.shape) * 0.012
    height = (
        0.16 * pads + 0.05 * np.sqrt(np.clip(outer / 0.05, 0, 1)) - 0.035 * line(outer - 0.07, 0.014) + 0.35 * folds
    )
    down = np.gradient(blur(height, 1.2), axis=0) / field.texel
    across = np.gradient(blur(height, 1.2), axis=1) / field.texel
    value = (
        0.72 + 0.42 * np.clip(down, -0.9, 0.9) + 0.08 * across + 0.10 * np.exp(-(((field.y + 0.17) / 0.10) ** 2)) * pads
    )
    stitch = line(outer - 0.07, 0.009) * (np.sin((field.x + field.y) * 95) > -0.2)
    value -= 0.16 * stitch + 0.10 * line(outer, 0.02)
    picture = over(blank(field.shape), (0, 0, 0), cast_shadow(field, outer, 0.42, 0.035, 0.03))
    picture = over(picture, np.clip(value, 0.1, 1)[..., None] * np.ones(3), step(outer, 0, 2 * field.texel))
    panel = {"top": [[-1.22, -0.62], [0.0, -0.62], [1.22, -0.62]], "bottom": [[-1.22, 0.66], [0.0, 0.66], [1.22, 0.66]], "gap": 0.05, "tinted": True}  # fmt: skip
    return [band(-0.12, 0.075, 46, True, 8, slope=-0.10), Piece(fade_border(picture), (panel,))]


COVERS = {"black": [58, 58, 62], "navy": [58, 68, 108], "rose": [216, 158, 166], "grey": [164, 166, 170]}
SHELLS = {"white": [238, 239, 240], "grey": [120, 123, 128], "black": [64, 65, 68]}
GOGGLES = {"black": [70, 70, 74], "white": [236, 238, 240], "blue": [76, 120, 190], "red": [190, 58, 56]}


def _made(asset_id: str, name: str, kind: str, regions: str, colours: dict[str, Any], pieces: list[Piece]) -> Built:
    return build(asset_id, name, "simple", kind, regions, colours, pieces, SOURCE)


MASKS: Masks = {
    "sunglasses-wayfarer": lambda: _made("sunglasses-wayfarer", "Sunglasses, acetate", "sunglasses", "eye", FRAMES, wayfarer()),  # fmt: skip
    "sunglasses-aviator": lambda: _made("sunglasses-aviator", "Sunglasses, teardrop", "sunglasses", "eye", METALS, aviator()),  # fmt: skip
    "sunglasses-round": lambda: _made("sunglasses-round", "Sunglasses, round", "sunglasses", "eye", METALS, round_shades()),  # fmt: skip
    "sunglasses-sport": lambda: _made("sunglasses-sport", "Sunglasses, wrap-around", "sunglasses", "eye", GOGGLES, sport()),  # fmt: skip
    "glasses-clear": lambda: _made("glasses-clear", "Glasses, thin frame", "glasses", "eye", METALS, clear()),
    "glasses-thick": lambda: _made("glasses-thick", "Glasses, broad frame", "glasses", "eye", FRAMES, thick_frame()),
    "ski-goggles": lambda: _made("ski-goggles", "Ski goggles", "goggles", "eye upper", GOGGLES, goggles()),
    "sleep-mask": lambda: _made("sleep-mask", "Sleep mask", "sleep-mask", "eye upper", COVERS, sleep_mask()),
    "vr-headset": lambda: _made("vr-headset", "Virtual-reality headset", "headset", "eye upper", SHELLS, headset()),
}  # fmt: skip
