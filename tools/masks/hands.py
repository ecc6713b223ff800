# ruff: noqa: E501 - tables of joints read better on one line
"""Hands seen from the back, as a relief of tapered rounded bones lit from above; wrists and sleeves.

A hand is posed in the face's frame: the wrist's place, where the fingers point, and which side the thumb is on. The
drawing is neutral and multiplies the skin's colour; sleeves keep their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from canvas import line, noise, shade, slanted, step
from pen import Field, Piece, blank, blur, closed, fade_border, moved, over

# Own frame of a hand: (towards the thumb, towards the fingertips), wrist at the origin, unit = distance of the eyes.
ROOTS = {"index": (0.43, 1.36), "middle": (0.145, 1.45), "ring": (-0.135, 1.38), "little": (-0.40, 1.22)}
LENGTHS = {"index": 1.10, "middle": 1.22, "ring": 1.13, "little": 0.88}
RADII = {"index": 0.158, "middle": 0.162, "ring": 0.152, "little": 0.132}
JOINTS = (0.0, 0.45, 0.74, 1.0)
TAPER = (1.06, 1.0, 0.90, 0.76)
THUMB = ((0.30, 0.28), (0.64, 0.74), (0.83, 1.14), (0.93, 1.46))
THUMB_RADII = (0.22, 0.185, 0.165, 0.125)


@dataclass(frozen=True)
class Pose:
    """Where a hand lies and how.

    Attributes:
        wrist: position in the face's frame; heading: degrees, 0 = fingers to the picture's right, 90 = upwards.
        thumb: +1 if the thumb is to the left of the heading (as seen), -1 if to its right, 0 if out of sight.
        spread: degrees from one finger to the next; curl: 0 = straight, 1 = a fist (fingers foreshortened).
        turns: extra degrees for single fingers; thumb_turn: degrees away from the palm.
        arm: degrees of the direction from the wrist to the elbow.
    """

    wrist: tuple[float, float]
    heading: float
    thumb: int = 1
    scale: float = 1.0
    spread: float = 2.0
    curl: float = 0.0
    turns: dict[str, float] = field(default_factory=dict)
    curls: dict[str, float] = field(default_factory=dict)
    thumb_turn: float = 0.0
    arm: float = 250.0


Bone = tuple[np.ndarray, np.ndarray, float, float, float, float]  # ends, radii there, heights of the axis there


def direction(degrees: float) -> np.ndarray:
    """Unit vector in the face's frame (y down) of an angle counted anticlockwise from the picture's right."""
    return np.array([np.cos(np.deg2rad(degrees)), -np.sin(np.deg2rad(degrees))])


def place(pose: Pose, points: Any) -> np.ndarray:
    """(n, 2) or (2,) positions of the hand's own frame in the face's frame."""
    along = direction(pose.heading)
    side = direction(pose.heading + 90) * (pose.thumb or 1)
    points = np.asarray(points, np.float64)
    return np.asarray(pose.wrist) + pose.scale * (points[..., :1] * side + points[..., 1:] * along)


def bones(pose: Pose) -> dict[str, list[Bone]]:
    """Tapered bones of the fingers and the thumb, in the face's frame."""
    along = direction(pose.heading)
    side = direction(pose.heading + 90) * (pose.thumb or 1)
    parts = {name: finger(pose, name, place(pose, root), side, along) for name, root in ROOTS.items()}
    if pose.thumb:
        parts["thumb"] = thumb(pose)
    return parts


def finger(pose: Pose, name: str, root: np.ndarray, side: np.ndarray, along: np.ndarray) -> list[Bone]:
    """Three phalanges; a curled finger is foreshortened and its end falls away from the viewer."""
    rank = {"index": 1.5, "middle": 0.5, "ring": -0.5, "little": -1.5}[name]
    turn = np.deg2rad(rank * pose.spread + pose.turns.get(name, 0.0))
    way = np.cos(turn) * along + np.sin(turn) * side
    curl = pose.curls.get(name, pose.curl)
    length, radius = LENGTHS[name] * pose.scale, RADII[name] * pose.scale
    heights = (np.array([-0.02, 0.04, 0.02, -0.03]) - curl * np.array([0.0, 0.08, 0.22, 0.50])) * pose.scale
    reach = np.array(JOINTS) * (1 - 0.52 * curl)
    points = [root + way * length * r for r in reach]
    seen = 2 if curl > 0.5 else 3  # the last phalanx of a curled finger is out of sight
    return [
        (points[k], points[k + 1], radius * TAPER[k], radius * TAPER[k + 1], heights[k], heights[k + 1])
        for k in range(seen)
    ]


def thumb(pose: Pose) -> list[Bone]:
    """Three bones beside the palm, turned about the thumb's root."""
    root = np.array(THUMB[0])
    angle = np.deg2rad(-pose.thumb_turn)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = [place(pose, root + turn @ (np.array(p) - root)) for p in THUMB]
    radii = [r * pose.scale for r in THUMB_RADII]
    heights = np.array([-0.07, -0.03, -0.04, -0.08]) * pose.scale
    return [(points[k], points[k + 1], radii[k], radii[k + 1], heights[k], heights[k + 1]) for k in range(3)]


def relief(grid: Field, bone: Bone, flat: float = 0.85) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height (falling on beyond the outline), signed distance inside, and the position 0..1 along a bone."""
    a, b, ra, rb, za, zb = bone
    way = b - a
    t = np.clip(((grid.x - a[0]) * way[0] + (grid.y - a[1]) * way[1]) / max(way @ way, 1e-9), 0, 1)
    gone = np.hypot(grid.x - a[0] - t * way[0], grid.y - a[1] - t * way[1])
    radius = ra + t * (rb - ra)
    height = (
        za + t * (zb - za) + flat * np.sqrt(np.maximum(radius**2 - gone**2, 0)) - 2.5 * np.maximum(gone - radius, 0)
    )
    return height, radius - gone, t


BACK = [(0.22, -0.16), (0.33, 0.02), (0.45, 0.42), (0.57, 0.85), (0.585, 1.28), (0.46, 1.50), (0.15, 1.585), (-0.14, 1.52), (-0.40, 1.37), (-0.535, 1.18), (-0.55, 0.80), (-0.46, 0.38), (-0.34, 0.02), (-0.22, -0.16)]  # fmt: skip


def trunk(grid: Field, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Height and signed distance of the back of the hand together with the forearm."""
    s, wrist, way = pose.scale, np.asarray(pose.wrist), direction(pose.arm)
    back = grid.inside(place(pose, closed(BACK)))
    right = np.array([-way[1], way[0]])
    start, stop = wrist + 0.05 * way * s, wrist + 3.0 * way * s
    arm = grid.inside(
        np.array([start - 0.40 * s * right, start + 0.40 * s * right, stop + 0.66 * s * right, stop - 0.66 * s * right])
    )
    both = melt([back, arm], 0.08 * s)
    rim = 0.34 * s
    smooth = blur(both, 0.09 * s / grid.texel)
    dome = np.clip((smooth + np.minimum(both - smooth, 0)) / rim, 0, 1)
    return 0.23 * s * np.sqrt(1 - (1 - dome) ** 2) - 2.5 * np.maximum(-both, 0), both


def melt(fields: Sequence[np.ndarray], soft: float) -> np.ndarray:
    """Smooth maximum."""
    stack = np.stack(fields)
    top = stack.max(0)
    return top + soft * np.log(np.exp(np.clip((stack - top) / soft, -60, 0)).sum(0))


def hand_relief(grid: Field, pose: Pose, parts: dict[str, list[Bone]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height of the hand, signed distance to its outline, and how deep the creases between fingers are (0..1)."""
    s = pose.scale
    made = {name: [relief(grid, bone) for bone in chain] for name, chain in parts.items()}
    digits = np.stack([melt([m[0] for m in chain], 0.02) for chain in made.values()])
    ranked = np.sort(digits, axis=0)
    body, outline = trunk(grid, pose)
    crease = np.exp(-(((ranked[-1] - ranked[-2]) / 0.05) ** 2)) * step(ranked[-2] - body, 0.03, 0.10)
    inside = melt([outline, *(m[1] for chain in made.values() for m in chain)], 0.012 * s)
    return melt([ranked[-1], body], 0.035 * s), inside, crease * step(inside, 0.02, 0.03)


def knuckles(grid: Field, pose: Pose, parts: dict[str, list[Bone]]) -> tuple[np.ndarray, np.ndarray]:
    """Extra relief (bumps, tendons, wrinkles over the joints), and redness there."""
    bump, red = np.zeros(grid.shape), np.zeros(grid.shape)
    for name in ROOTS:
        chain = parts[name]
        root, way = chain[0][0], chain[0][1] - chain[0][0]
        s = pose.scale
        gone = np.hypot(grid.x - root[0], grid.y - root[1])
        bump += 0.040 * s * np.exp(-((gone / (0.14 * s)) ** 2))
        red += 0.7 * np.exp(-((gone / (0.16 * s)) ** 2))
        tendon = (root, np.asarray(pose.wrist) * 0.75 + root * 0.25, 0.2, 0.2, 0, 0)
        _, distance, t = relief(grid, tendon)
        bump += 0.016 * s * line(0.2 - distance, 0.06 * s) * (1 - t) ** 0.7 * (gone > 0)
        for joint, strength in ((1, 1.0), (2, 0.6)) if pose.curls.get(name, pose.curl) < 0.5 else ():
            centre = chain[joint][0]
            way = chain[joint][1] - chain[joint - 1][0]
            unit = way / max(np.hypot(*way), 1e-9)
            u = ((grid.x - centre[0]) * unit[0] + (grid.y - centre[1]) * unit[1]) / s
            v = (-(grid.x - centre[0]) * unit[1] + (grid.y - centre[1]) * unit[0]) / s
            near = np.exp(-((v / 0.10) ** 4) - (u / 0.11) ** 2)
            bent = u + 0.9 * v**2 * np.sign(u + 1e-9)
            bump += (
                strength
                * (0.016 * np.exp(-((u / 0.11) ** 2) - (v / 0.11) ** 2) - 0.0075 * near * np.cos(bent * 105))
                * s
            )
            red += 0.6 * strength * np.exp(-((u / 0.12) ** 2) - (v / 0.12) ** 2)
    return bump, red


def nail(grid: Field, bone: Bone, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance (about) to the nail on a last phalanx, and the position across it."""
    a, b, _, rb, _, _ = bone
    unit = (b - a) / max(np.hypot(*(b - a)), 1e-9)
    centre = b + unit * rb * 0.10
    u = ((grid.x - centre[0]) * unit[0] + (grid.y - centre[1]) * unit[1]) / scale
    v = (-(grid.x - centre[0]) * unit[1] + (grid.y - centre[1]) * unit[0]) / scale
    half_long, half_wide = 0.115, rb / scale * 0.62
    radius = (np.abs(u / half_long) ** 2.6 + np.abs(v / half_wide) ** 2.6) ** (1 / 2.6)
    return (1 - radius) * half_wide, u


def skin(value: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Neutral brightness to skin that is to be multiplied by a skin colour: shadows warmer, joints redder."""
    value = np.clip(value, 0.05, 1.0)
    warm = np.stack([value**0.82, value**1.06, value**1.14], -1)
    return warm * (1 - np.clip(red, 0, 1.2)[..., None] * [0.015, 0.075, 0.085])


def paint(grid: Field, pose: Pose, below: np.ndarray | None = None, seed: int = 7) -> np.ndarray:
    """The hand and its forearm with the shadow it casts, over ``below``."""
    parts = bones(pose)
    height, inside, crease = hand_relief(grid, pose, parts)
    bump, red = knuckles(grid, pose, parts)
    texels = blur((height + bump) / grid.texel, 0.9)
    value = 1.06 * shade(texels, 0.75, 0.014, 9.0)
    value -= 0.42 * blur(crease, 0.8) + 0.20 * np.exp(-np.maximum(inside, 0) / 0.022)
    value += 0.016 * noise(seed, 2.2, grid.shape) + 0.016 * noise(seed + 1, 9, grid.shape)
    red = red + 0.30 * noise(seed + 2, 14, grid.shape) * 0.5
    colour = skin(value, red)
    for name in [*ROOTS, "thumb"]:
        if name in parts and pose.curls.get(name, pose.curl) < 0.5 or name == "thumb" and name in parts:
            colour = with_nail(grid, colour, parts[name][-1], pose.scale)
    cover = step(inside, 0.004, 2.2 * grid.texel)
    picture = blank(grid.shape) if below is None else below
    drop = 0.06 / grid.texel
    cast = 0.50 * blur(moved(cover, 0, drop), 0.05 / grid.texel)
    return over(over(picture, (0.06, 0.02, 0.01), cast * (1 - cover)), colour, cover)


def with_nail(grid: Field, colour: np.ndarray, bone: Bone, scale: float) -> np.ndarray:
    """Draw one nail: a smooth rosy plate with a lighter free edge and a dark fold around it."""
    distance, u = nail(grid, bone, scale)
    plate = step(distance, 0, 0.02)
    tone = np.array([1.0, 0.90, 0.88]) * (0.94 + 0.05 * np.exp(-(((u + 0.02) / 0.05) ** 2)))[..., None]
    tone = tone + (np.array([1.0, 0.97, 0.93]) - tone) * step(u, 0.085, 0.02)[..., None]
    colour = colour * (1 - 0.26 * line(distance + 0.004, 0.012) * (u < 0.09))[..., None]
    return colour + (tone - colour) * (0.62 * plate)[..., None]


def flat_sheet(
    x: tuple[float, float], y: tuple[float, float], flat: Sequence[float], gap: float, tinted: bool
) -> dict[str, Any]:
    """An upright rectangle on the plane ``flat`` = (depth, bend)."""
    edges = [[[round(x[0], 4), round(at, 4)], [round(x[1], 4), round(at, 4)]] for at in y]
    return {"top": edges[0], "bottom": edges[1], "gap": gap, "flat": list(flat), "tinted": tinted}


def sleeve_box(pose: Pose, start: float, reach: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """x and y range that holds the sleeve; it begins left of the midline, as a sheet's edge must."""
    ends = np.array([np.asarray(pose.wrist) + direction(pose.arm) * d for d in (start, reach)])
    low, high = ends.min(0) - 0.95 * pose.scale, ends.max(0) + 1.05 * pose.scale
    return (min(low[0], -0.02), max(high[0], 0.3)), (ends[0, 1] - 0.55 * pose.scale, high[1])


def arm_frame(grid: Field, pose: Pose, start: float) -> tuple[np.ndarray, np.ndarray]:
    """Length from the sleeve's mouth towards the elbow, and across the arm (positive on its upper side)."""
    way = direction(pose.arm)
    dx, dy = grid.x - pose.wrist[0], grid.y - pose.wrist[1]
    up = np.array([-way[1], way[0]])
    up = up if up[1] < 0 else -up
    return dx * way[0] + dy * way[1] - start, dx * up[0] + dy * up[1]


def sleeve(pose: Pose, colour: Sequence[int], style: str, flat: Sequence[float], start: float = 0.62, reach: float = 4.6,
           seed: int = 3, rows: int = 300) -> Piece:  # fmt: skip
    """The clothed forearm from ``start`` beyond the wrist to the rounded elbow at ``reach``."""
    x, y = sleeve_box(pose, start, reach)
    grid = Field((rows, min(512, round(rows * (x[1] - x[0]) / (y[1] - y[0])))), x, y, flat[1])
    along, across = arm_frame(grid, pose, start)
    s, length = pose.scale, reach - start
    limb = (0.54 + 0.42 * np.clip(along / 2.8, 0, 1) ** 0.8) * s
    end = np.clip((along - (length - 0.95)) / 0.95, 0, 1)
    limb = limb * np.sqrt(np.maximum(1 - end**2.4, 0)) + 0.014 * noise(seed, 12, grid.shape)
    mouth = along + 0.10 * s * (1 - (across / (0.54 * s)) ** 2)
    distance = np.where(along < length - 0.01, np.minimum(limb - np.abs(across), mouth), -1.0)
    around = np.clip(across / np.maximum(limb, 0.05), -1, 1)
    value = 0.56 + 0.32 * np.sqrt(np.maximum(1 - around**2, 0)) + 0.14 * around
    wrinkle = slanted(seed + 1, pose.arm + 66, 22, 5, grid.shape) + slanted(seed + 2, pose.arm + 114, 22, 5, grid.shape)
    value = value * shade(blur(1.3 * wrinkle * (0.35 + 0.65 * np.clip(along / length, 0, 1)), 0.8), 0.6, 0.03, 7.0)
    value += cuff(style, mouth / s, around) - 0.22 * np.exp(-np.maximum(distance, 0) / 0.04)
    cover = step(distance, 0.01, 2.5 * grid.texel)
    cast = 0.42 * blur(moved(cover, 0, 0.10 / grid.texel), 0.07 / grid.texel) * step(mouth, -0.12, 0.12)
    picture = over(blank(grid.shape), (0, 0, 0), cast * (1 - cover))
    picture = over(picture, np.clip(value, 0.05, 1.2)[..., None] * np.asarray(colour) / 255, cover)
    return Piece(fade_border(picture), (flat_sheet(x, y, flat, 0.02, False),))


def cuff(style: str, mouth: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Added brightness of the sleeve's end: a ribbed band or a sewn shirt cuff."""
    if style == "knit":
        band = 1 - step(mouth, 0.45, 0.03)
        return 0.10 * np.sin(np.arcsin(around) * 24) * band - 0.22 * line(mouth - 0.47, 0.04)
    return -0.18 * line(mouth - 0.42, 0.018) - 0.09 * line(mouth - 0.07, 0.014) + 0.03 * (1 - step(mouth, 0.42, 0.02))
