"""Prints and weaves on cloth: functions of texel coordinates (x, y), arrays of one shape, to colours in 0..1.

A *print* returns RGB (rows, columns, 3). One that leaves ground free returns (RGB, weight). Motifs are 8 to 25 texels,
3 to 10 mm on cloth. All figures are formulas made for this project.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from canvas import line, mix, noise, step

Colour = Sequence[float]
Print = Callable[[np.ndarray, np.ndarray], np.ndarray]
SOFT = 1.6  # texels over which a printed edge fades


def flat(x: np.ndarray, colour: Colour) -> np.ndarray:
    """One colour everywhere."""
    return np.ones((*x.shape, 3)) * np.asarray(colour)


def turned(x: np.ndarray, y: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along directions turned by ``degrees``."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return c * x + s * y, c * y - s * x


def cells(x: np.ndarray, y: np.ndarray, pitch: float, row_ratio: float = 0.866) -> tuple[np.ndarray, ...]:
    """The staggered cell that holds each point: offsets from its centre (texels), its row and column numbers."""
    row = np.floor(y / (pitch * row_ratio))
    shift = np.where(np.mod(row, 2) == 1, 0.5, 0.0)
    column = np.floor(x / pitch - shift)
    return x - (column + shift + 0.5) * pitch, y - (row + 0.5) * pitch * row_ratio, row, column


def chance(row: np.ndarray, column: np.ndarray, seed: int) -> np.ndarray:
    """A number 0..1 of each cell, the same wherever the cell is seen."""
    r, c = row.astype(np.int64) + 512, column.astype(np.int64) + 512
    mixed = (r * 73856093 ^ c * 19349663 ^ (seed * 83492791)) & 0x7FFFFFFF
    mixed = (mixed * 1103515245 + 12345) & 0x7FFFFFFF
    return ((mixed >> 8) & 0xFFFF) / 65535.0


def yarns(position: np.ndarray, sett: Sequence[tuple[Colour, float]]) -> np.ndarray:
    """Stripes of (colour, width) that repeat, with soft borders: (rows, columns, 3)."""
    widths = np.array([width for _, width in sett], np.float64)
    ends = np.cumsum(widths)
    at = np.mod(position, ends[-1])
    out = flat(at, sett[0][0])
    for (colour, _), start in zip(sett[1:], ends[:-1], strict=True):
        out = mix(out, colour, step(at, start, SOFT))
    return mix(out, sett[0][0], step(at, ends[-1], SOFT))


def woven(x: np.ndarray, y: np.ndarray, warp: np.ndarray, weft: np.ndarray, twill: float = 4.0) -> np.ndarray:
    """Warp and weft colours crossed: half of each, in fine slanted ribs of ``twill`` texels."""
    over = 0.5 + 0.26 * np.sign(np.sin((x + y) * 2 * np.pi / twill))
    return warp * over[..., None] + weft * (1 - over[..., None])


def stripes(x: np.ndarray, y: np.ndarray, sett: Sequence[tuple[Colour, float]], degrees: float = 0.0) -> np.ndarray:
    """Upright stripes, turned by ``degrees``."""
    return yarns(turned(x, y, degrees)[0], sett)


def gingham(
    x: np.ndarray, y: np.ndarray, pitch: float, colour: Colour, ground: Colour = (0.96, 0.96, 0.95)
) -> np.ndarray:
    """White, half and full squares of one colour."""
    sett = [(ground, pitch), (colour, pitch)]
    return woven(x, y, yarns(x, sett), yarns(y, sett))


def tartan(x: np.ndarray, y: np.ndarray, sett: Sequence[tuple[Colour, float]], twill: float = 4.0) -> np.ndarray:
    """A symmetric sett mirrored at its ends, the same in warp and weft."""
    whole = [*sett, *list(sett)[-2:0:-1]]
    return woven(x, y, yarns(x, whole), yarns(y, whole), twill)


def dots(x: np.ndarray, y: np.ndarray, pitch: float, radius: float, colour: Colour, ground: Colour) -> np.ndarray:
    """Staggered dots."""
    dx, dy, _, _ = cells(x, y, pitch)
    return mix(flat(x, ground), colour, step(radius - np.hypot(dx, dy), 0, SOFT))


def houndstooth(x: np.ndarray, y: np.ndarray, pitch: float, dark: Colour, light: Colour) -> np.ndarray:
    """Four dark, four light yarns in a two-over-two twill, as it is woven."""
    unit = pitch / 8
    i, j = np.floor(x / unit), np.floor(y / unit)
    warp, weft = np.mod(i, 8) < 4, np.mod(j, 8) < 4
    over = np.mod(i - j, 4) < 2
    return mix(flat(x, light), dark, cv2.GaussianBlur(np.where(over, warp, weft).astype(np.float64), (0, 0), 0.8))


def camouflage(x: np.ndarray, y: np.ndarray, seed: int, colours: Sequence[Colour], size: float = 24.0) -> np.ndarray:
    """Four layers of blots, drawn out sideways, with crisp borders. Follows (x, y) by sampling its own field."""
    out = flat(x, colours[0])
    for k, (colour, level) in enumerate(zip(colours[1:], (0.15, 0.55, 0.95), strict=False)):
        field = noise(seed + k, (size * 1.25, size * 0.62), (640, 720)) + 0.35 * noise(
            seed + 50 + k, size * 0.25, (640, 720)
        )
        out = mix(out, colour, step(sampled(field, x, y), level, 0.10))
    return out


def sampled(field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A large picture of values read at (x, y), its middle at x = 0."""
    rows, columns = field.shape[:2]
    across, down = (x + columns / 2).astype(np.float32), (y + 60).astype(np.float32)
    return cv2.remap(field, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def flower(
    dx: np.ndarray, dy: np.ndarray, radius: np.ndarray | float, petals: int, turn: np.ndarray | float
) -> np.ndarray:
    """Signed distance (about) to a flower of rounded petals."""
    angle, away = np.arctan2(dy, dx) + turn, np.hypot(dx, dy)
    return radius * (0.62 + 0.38 * np.abs(np.cos(angle * petals / 2)) ** 0.7) - away


def leaf(dx: np.ndarray, dy: np.ndarray, length: float, width: float, turn: np.ndarray | float) -> np.ndarray:
    """Signed distance (about) to a pointed leaf that starts at the origin."""
    c, s = np.cos(turn), np.sin(turn)
    along, across = (c * dx + s * dy) / length, np.abs(c * dy - s * dx)
    return (
        width * np.sin(np.pi * np.clip(along, 0, 1)) ** 0.8
        - across
        - 40 * (np.maximum(-along, 0) + np.maximum(along - 1, 0))
    )


def sprigs(x: np.ndarray, y: np.ndarray, seed: int, pitch: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """Small separate flowers with two leaves: (RGB, weight)."""
    dx, dy, row, column = cells(x, y, pitch)
    pick = chance(row, column, seed)
    dx, dy = (
        dx + pitch * 0.16 * (chance(row, column, seed + 1) - 0.5),
        dy + pitch * 0.16 * (chance(row, column, seed + 2) - 0.5),
    )
    turn = 2 * np.pi * chance(row, column, seed + 3)
    tones = np.array([[0.80, 0.36, 0.44], [0.40, 0.50, 0.74], [0.90, 0.62, 0.36]])
    bloom = tones[np.minimum((pick * 3).astype(int), 2)]
    leaves = np.maximum(leaf(dx, dy, pitch * 0.36, 3.4, turn), leaf(dx, dy, pitch * 0.34, 3.2, turn + 2.3))
    petals, heart = flower(dx, dy, pitch * 0.21, 5, turn), pitch * 0.06 - np.hypot(dx, dy)
    green, red = step(leaves, 0, SOFT), step(petals, 0, SOFT)
    colour = mix(flat(x, (0.42, 0.58, 0.42)), bloom, red)
    return mix(colour, (0.97, 0.86, 0.50), step(heart, 0, SOFT)), np.maximum(green, red)


def floral(
    x: np.ndarray, y: np.ndarray, seed: int, ground: Colour, blooms: Sequence[Colour], leaves: Colour
) -> np.ndarray:
    """A dense pattern of roses of two sizes over leaves: later layers cover earlier ones."""
    out = flat(x, ground)
    for layer, (pitch, size, petals) in enumerate(((52.0, 0.30, 0), (64.0, 0.34, 6), (46.0, 0.24, 5))):
        shift = 0.37 * pitch * layer
        dx, dy, row, column = cells(x + shift, y + 1.3 * shift, pitch)
        draw = [chance(row, column, seed + 10 * layer + k) for k in range(4)]
        dx, dy = dx + pitch * 0.2 * (draw[0] - 0.5), dy + pitch * 0.2 * (draw[1] - 0.5)
        turn = 2 * np.pi * draw[2]
        if petals == 0:
            for k in range(3):
                blade = leaf(dx, dy, pitch * 0.46, 6.0, turn + 2.1 * k)
                rib = line(np.cos(turn + 2.1 * k) * dy - np.sin(turn + 2.1 * k) * dx, 1.0)
                out = mix(out, np.asarray(leaves) * (0.85 + 0.2 * k / 2), step(blade, 0, SOFT))
                out *= 1 - 0.25 * (rib * step(blade, 1, 2))[..., None]
            continue
        tone = np.asarray(blooms)[np.minimum((draw[3] * len(blooms)).astype(int), len(blooms) - 1)]
        for ring in (1.0, 0.68, 0.40):
            shape = flower(dx, dy, pitch * size * ring, petals, turn + 2.0 * ring)
            out = mix(out, np.clip(tone * (0.74 + 0.34 * (1 - ring) + 0.10 * layer), 0, 1), step(shape, 0, SOFT))
            out *= 1 - 0.22 * line(shape, 1.3)[..., None]
    return out


def paisley(
    x: np.ndarray, y: np.ndarray, pitch: float, ground: Colour, line_colour: Colour, fill: Colour
) -> np.ndarray:
    """Curled drops in outline, with a smaller drop inside, dots around them and small rosettes between."""
    dx, dy, row, _ = cells(x, y, pitch, 0.95)
    flip = np.where(np.mod(row, 2) == 1, 1.0, -1.0)
    out = flat(x, ground)
    drops = [_drop(dx * flip, dy - 0.04 * pitch, pitch * size) for size in (0.30, 0.21, 0.11)]
    out = mix(out, line_colour, step(drops[0], 0, SOFT))
    out = mix(out, fill, step(drops[0], 2.2, SOFT))
    out = mix(out, line_colour, step(drops[1], 0, SOFT))
    out = mix(out, ground, step(drops[1], 1.8, SOFT))
    out = mix(out, line_colour, step(drops[2], 0, SOFT))
    angle = np.arctan2(dy, dx * flip)
    pearls = line(drops[0] + 4.5, 1.5) * step(np.cos(angle * 17), 0.0, 0.8)
    out = mix(out, line_colour, pearls)
    ox, oy, _, _ = cells(x + pitch / 2, y, pitch, 0.95)
    rosette = flower(ox, oy, pitch * 0.105, 8, 0.0)
    out = mix(out, line_colour, step(rosette, 0, SOFT))
    return mix(out, ground, step(pitch * 0.035 - np.hypot(ox, oy), 0, SOFT))


def _drop(dx: np.ndarray, dy: np.ndarray, size: float) -> np.ndarray:
    """Signed distance (about) to a drop whose tip curls to the right."""
    up = np.clip((-dy + 0.4 * size) / (2.0 * size), -1, 1.2)
    bend = 0.75 * size * np.clip(up, 0, 1.2) ** 2
    half = size * np.sqrt(np.clip(1 - ((dy - 0.1 * size) / (1.05 * size)) ** 2, 0, 1))
    taper = np.where(up > 0.25, size * 0.92 * np.clip(1 - (up - 0.25) / 0.78, 0, 1) ** 0.8, half * 0.95)
    body = np.where(dy > 0.1 * size, half * 0.95, taper) - np.abs(dx - bend + 0.12 * size)
    return np.minimum(body, np.minimum(dy + 1.75 * size, 1.15 * size - dy))


def geometric(
    x: np.ndarray, y: np.ndarray, pitch: float, colours: Sequence[Colour], ground: Colour, seed: int
) -> np.ndarray:
    """Triangles in a regular net, some of them coloured, thin joints between."""
    height = pitch * 0.866
    v = y / height
    u = x / pitch - 0.5 * v
    i, j = np.floor(u), np.floor(v)
    fu, fv = u - i, v - j
    upper = fu + fv > 1
    pick = chance(j * 2 + upper, i, seed)
    tones = np.asarray([*colours, ground, ground])
    out = tones[np.minimum((pick * len(tones)).astype(int), len(tones) - 1)]
    joints = np.minimum.reduce([np.minimum(fu, 1 - fu), np.minimum(fv, 1 - fv), np.abs(fu + fv - 1)]) * height
    return mix(out, ground, 1 - step(joints, 1.4, SOFT))


def wax(x: np.ndarray, y: np.ndarray, pitch: float, colours: Sequence[Colour], seed: int) -> np.ndarray:
    """A bold print of ringed suns on bands of rays, with the fine cracks of wax resist."""
    ground, deep, bright, pale = colours
    dx, dy, _, _ = cells(x, y, pitch)
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    out = flat(x, ground)
    r = radius / pitch
    out = mix(out, deep, step(np.sin(angle * 18), 0.0, 0.5) * step(r, 0.30, 0.03))
    for limit, colour in ((0.38, pale), (0.345, deep), (0.30, bright), (0.20, pale), (0.165, deep), (0.075, bright)):
        out = mix(out, colour, step(limit - r, 0, SOFT / pitch))
    beads = line((r - 0.25) * pitch, 2.2) * step(np.cos(angle * 14), 0.1, 0.7)
    out = mix(out, pale, beads)
    cracks = line(sampled(noise(seed, 16, (640, 720)), x, y), 0.02) * step(
        sampled(noise(seed + 1, 30, (640, 720)), x, y), 0.2, 0.8
    )
    return mix(out, pale, 0.5 * cracks)


def denim(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Indigo twill with slubs; the warp is blue, the weft white."""
    rib = 0.5 + 0.5 * np.sin((x + y) * 2 * np.pi / 4)
    slub = 0.08 * noise(seed, (0.8, 12), x.shape) + 0.10 * noise(seed + 1, 26, x.shape)
    value = np.clip(0.16 + 0.17 * rib + slub, 0, 0.8)
    return mix(flat(x, (0.22, 0.33, 0.50)), (0.72, 0.78, 0.86), value)


def batik_dots(x: np.ndarray, y: np.ndarray, ground: Colour, pale: Colour) -> np.ndarray:
    """Rosettes of dots set in a net of dotted diagonals."""
    pitch = 56.0
    dx, dy, _, _ = cells(x, y, pitch, 1.0)
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    weight = step(3.0 - radius, 0, SOFT)
    for ring, count, size in ((8.5, 6, 2.2), (15.5, 12, 2.0)):
        near = np.round(angle * count / (2 * np.pi)) * 2 * np.pi / count
        weight = np.maximum(weight, step(size - np.hypot(dx - ring * np.cos(near), dy - ring * np.sin(near)), 0, SOFT))
    for tilt in (45, -45):
        along, across = turned(x, y, tilt)
        lane = across - np.round(across / 39.6) * 39.6 + 19.8
        lane = np.where(lane > 19.8, lane - 39.6, lane)
        bead = along - np.round(along / 6.6) * 6.6
        weight = np.maximum(weight, 0.9 * step(1.5 - np.hypot(lane, bead), 0, SOFT) * step(radius, 20, 4))
    return mix(flat(x, ground), pale, weight)


def painted(draw: Print, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A print with its grey level kept within what dyed cotton can have."""
    return np.clip(draw(x, y), 0.03, 0.98)
