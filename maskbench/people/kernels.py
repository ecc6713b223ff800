"""Compiled loops of the portrait renderer: a z-buffer, and the colour of what it left visible."""

from __future__ import annotations

import math

import numpy as np

from maskbench.masking.kernels import compiled
from maskbench.pixels import LUMA

SKIN, CLOTH, HAIR = 0, 1, 2  # labels of pixels; 255 is background
NOTHING = 255
MESH = 468  # vertices of the face mesh, which come first
PUPIL = 13.0  # its brightness, of 255
ONE, NONE = np.float32(1), np.float32(0)  # with them arithmetic stays in single precision
GREEN_RED, GREEN_BLUE = np.float32(LUMA[0] / LUMA[1]), np.float32(LUMA[2] / LUMA[1])  # G - Y from R - Y, B - Y


@compiled
def below_neckline(x, y, z, neckline):  # noqa: ANN001 - numba infers the types
    """Depth under the edge of a garment at a place on the base mesh, all in its decimetres; cloth where positive.

    ``neckline`` > 0 cuts a round neck lower in front, < 0 raises it all round.
    """
    x = abs(x)
    if y > 6.4:  # as high no garment goes
        return -1.0
    ahead = (z - 0.15) / math.sqrt(x * x + (z - 0.15) ** 2 + 1e-9)  # the cosine of the angle round the neck
    edge = 5.70 - 0.14 * ahead + 0.35 * min(max((x - 0.35) / 1.25, 0.0), 1.0) * x
    front = min(max((z - 0.2) / 0.6, 0.0), 1.0) * min(max(1 - x / 0.8, 0.0), 1.0)
    return edge - y - max(neckline, 0.0) * front - 0.4 * min(neckline, 0.0)


@compiled
def _span(first, last, at, slope, root):  # noqa: ANN001 - numba infers the types
    """The part of first..last where ``at + x * slope`` >= 0; ``root`` is -1 / slope."""
    if slope > 0:
        return max(first, at * root), last
    if slope < 0:
        return first, min(last, at * root)
    return (first, last) if at >= 0 else (1.0, 0.0)


@compiled
def draw(points, triangles, first_hair, across, cut, alpha, owner, weights, depth):  # noqa: ANN001 - numba infers
    """Who is nearest at each sample: ``owner`` (S, S) int32 and barycentric ``weights`` (S, S, 2) of corners 1 and 2.

    points (V, 3) float32 in samples, z away; triangles (T, 3), those from ``first_hair`` on are tested against the
    strands' ``alpha`` (N, N) uint8 at ``across`` (V, 2), N a power of two; ``cut`` (V,) 0..255. Triangles seen from
    behind are left out, hair is not.
    """
    side = owner.shape[0]
    tile = alpha.shape[0]
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = points[i, 0], points[i, 1]
        bx, by = points[j, 0] - ax, points[j, 1] - ay
        cx, cy = points[k, 0] - ax, points[k, 1] - ay
        area = bx * cy - by * cx
        if area == 0 or (area > 0 and t < first_hair):
            continue
        low_x = max(math.ceil(ax + min(0.0, bx, cx)), 0)
        high_x = min(math.floor(ax + max(0.0, bx, cx)), side - 1)
        low_y = max(math.ceil(ay + min(0.0, by, cy)), 0)
        high_y = min(math.floor(ay + max(0.0, by, cy)), side - 1)
        if high_x < low_x or high_y < low_y:
            continue
        share = 1 / area
        px, py = cy * share, -cx * share  # p = dx px + dy py is the second corner's weight
        qx, qy = -by * share, bx * share
        rx, ry = -px - qx, -py - qy
        p_root = -1 / px if px != 0 else 0.0  # where a row's weight is nought
        q_root = -1 / qx if qx != 0 else 0.0
        r_root = -1 / rx if rx != 0 else 0.0
        az, bz, cz = points[i, 2], points[j, 2] - points[i, 2], points[k, 2] - points[i, 2]
        u0, u1, u2 = across[i, 0], across[j, 0] - across[i, 0], across[k, 0] - across[i, 0]
        v0, v1, v2 = across[i, 1], across[j, 1] - across[i, 1], across[k, 1] - across[i, 1]
        e0, e1, e2 = cut[i], cut[j] - cut[i], cut[k] - cut[i]
        for y in range(low_y, high_y + 1):
            dy = y - ay
            first, last = low_x - ax, high_x - ax
            p0, q0, r0 = dy * py, dy * qy, 1 + dy * ry
            first, last = _span(first, last, p0, px, p_root)
            first, last = _span(first, last, q0, qx, q_root)
            first, last = _span(first, last, r0, rx, r_root)
            for x in range(math.ceil(ax + first), math.floor(ax + last) + 1):
                dx = x - ax
                p = dx * px + p0
                q = dx * qx + q0
                z = az + p * bz + q * cz
                if z >= depth[y, x]:
                    continue
                if t >= first_hair:
                    u = u0 + p * u1 + q * u2
                    column = int(math.floor(u * tile)) & (tile - 1)
                    row = min(max(int((v0 + p * v1 + q * v2) * tile), 0), tile - 1)
                    if alpha[row, column] <= e0 + p * e1 + q * e2:
                        continue
                depth[y, x] = z
                owner[y, x] = t
                weights[y, x, 0] = p
                weights[y, x, 1] = q


@compiled
def _clothed(base, neckline, i, j, k, o, p, q):  # noqa: ANN001 - numba infers the types
    """``below_neckline`` inside a triangle; the face itself is never clothed."""
    if min(i, j, k) < MESH:
        return -1.0
    i, j, k = i - MESH, j - MESH, k - MESH
    x = o * base[i, 0] + p * base[j, 0] + q * base[k, 0]
    y = o * base[i, 1] + p * base[j, 1] + q * base[k, 1]
    z = o * base[i, 2] + p * base[j, 2] + q * base[k, 2]
    return below_neckline(x, y, z, neckline)


@compiled
def _strand(strands, u, v):  # noqa: ANN001 - numba infers the types
    """The brightness of strands (N, N, 2), which repeat across, N a power of two."""
    tile = strands.shape[0]
    return strands[min(max(int(v * tile), 0), tile - 1), int(math.floor(u * tile)) & (tile - 1), 0]


@compiled
def _mixed(atlas, row, column, c, near, right, down, far):  # noqa: ANN001 - numba infers the types
    """One channel of four neighbouring texels, weighted."""
    upper = near * atlas[row, column, c] + right * atlas[row, column + 1, c]
    return upper + down * atlas[row + 1, column, c] + far * atlas[row + 1, column + 1, c]


@compiled
def colour(  # noqa: ANN001 - numba infers the types
    owner, weights, triangles, first_hair, corners, across, light, shine, base, neckline, atlas, cloth, strands,
    out, label
):  # fmt: skip
    """Colour (S, S, 3) float32 0..255 and label (S, S) of every sample that something owns.

    corners (F, 3, 2): atlas columns and rows of the corners of the triangles before ``first_hair``; light (V, 3):
    factors, for hair the lit colour itself; shine (V,): what strands add; base (V - 468, 3): the head's vertices on the
    base mesh, for ``below_neckline``; atlas (R, C, 3) float32; cloth (3,) colour.
    """
    last_column, last_row = np.float32(atlas.shape[1] - 1.001), np.float32(atlas.shape[0] - 1.001)
    for y in range(owner.shape[0]):
        for x in range(owner.shape[1]):
            t = owner[y, x]
            if t < 0:
                continue
            p, q = weights[y, x, 0], weights[y, x, 1]
            o = ONE - p - q
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            red = o * light[i, 0] + p * light[j, 0] + q * light[k, 0]
            green = o * light[i, 1] + p * light[j, 1] + q * light[k, 1]
            blue = o * light[i, 2] + p * light[j, 2] + q * light[k, 2]
            if t >= first_hair:
                u = o * across[i, 0] + p * across[j, 0] + q * across[k, 0]
                v = o * across[i, 1] + p * across[j, 1] + q * across[k, 1]
                bright = _strand(strands, u, v)
                glint = (o * shine[i] + p * shine[j] + q * shine[k]) * bright * bright
                out[y, x, 0] = red * bright + glint
                out[y, x, 1] = green * bright + glint
                out[y, x, 2] = blue * bright + glint
                label[y, x] = HAIR
                continue
            deep = _clothed(base, neckline, i, j, k, o, p, q)
            if deep > 0:
                rim = np.float32(1 - 0.35 * math.exp(-((deep / 0.02) ** 2)))
                out[y, x, 0] = red * cloth[0] * rim
                out[y, x, 1] = green * cloth[1] * rim
                out[y, x, 2] = blue * cloth[2] * rim
                label[y, x] = CLOTH
                continue
            u = o * corners[t, 0, 0] + p * corners[t, 1, 0] + q * corners[t, 2, 0]
            v = o * corners[t, 0, 1] + p * corners[t, 1, 1] + q * corners[t, 2, 1]
            u, v = min(max(u, NONE), last_column), min(max(v, NONE), last_row)
            column, row = int(u), int(v)
            s, r = u - np.float32(column), v - np.float32(row)
            near, right, down, far = (ONE - s) * (ONE - r), s * (ONE - r), (ONE - s) * r, s * r
            out[y, x, 0] = red * _mixed(atlas, row, column, 0, near, right, down, far)
            out[y, x, 1] = green * _mixed(atlas, row, column, 1, near, right, down, far)
            out[y, x, 2] = blue * _mixed(atlas, row, column, 2, near, right, down, far)
            label[y, x] = SKIN


@compiled
def gather_skin(luma, red, blue, source, step):  # noqa: ANN001 - numba infers the types
    """Mean luma, R - Y and B - Y of plain skin over cells of ``step`` texels, times its share: (R / step, C / step, 3).

    luma and source (R, C); red and blue (R / 2, C / 2).
    """
    rows, columns = luma.shape[0] // step, luma.shape[1] // step
    out = np.zeros((rows, columns, 3), np.float32)
    for y in range(rows * step):
        for x in range(columns * step):
            weight = source[y, x]
            if weight > 0:
                out[y // step, x // step, 0] += luma[y, x] * weight
                out[y // step, x // step, 1] += red[y // 2, x // 2] * weight
                out[y // step, x // step, 2] += blue[y // 2, x // 2] * weight
    return out / np.float32(step * step)


@compiled
def blend_atlas(luma, red, blue, far, trust, grain):  # noqa: ANN001 - numba infers the types
    """The atlas (R, C, 3) float32 RGB, 0..255: luma, R - Y and B - Y (R, C) where ``trust`` (R, C) is 1, ``far``
    (R, C, 3), the same three, where it is 0; plus ``grain`` (R, C)."""
    rows, columns = luma.shape
    out = np.empty((rows, columns, 3), np.float32)
    for y in range(rows):
        for x in range(columns):
            share = trust[y, x]
            bright = far[y, x, 0] + share * (luma[y, x] - far[y, x, 0]) + grain[y, x]
            warm = far[y, x, 1] + share * (red[y, x] - far[y, x, 1])
            cold = far[y, x, 2] + share * (blue[y, x] - far[y, x, 2])
            out[y, x, 0] = min(max(bright + warm, 0), 255)
            out[y, x, 1] = min(max(bright - (GREEN_RED * warm + GREEN_BLUE * cold), 0), 255)
            out[y, x, 2] = min(max(bright + cold, 0), 255)
    return out


@compiled
def paint_eye(atlas, cells, offset, depth, iris, sclera, glint, bright, radius):  # noqa: ANN001 - numba infers
    """Sclera, iris, pupil and the light that they mirror, over the atlas (R, C, 3) in place.

    cells (E, 2) rows and columns; offset (E, 2) from the iris's centre, right and down, and its ``radius``, in
    inter-ocular distances; depth (E,) texels inside the lids; colours (3,) 0..255, dimmed by ``bright``.
    """
    for cell in range(len(cells)):
        x, y = offset[cell, 0], offset[cell, 1]
        away, spot = math.sqrt(x * x + y * y), math.sqrt((x + 0.028) ** 2 + (y + 0.034) ** 2)
        lid = smooth(-y, 0.0, 0.09)  # the upper lid's shadow
        ball = 1 - 0.3 * lid - 0.25 * smooth(abs(x), 0.1, 0.22)
        ring = 1.15 - 0.55 * smooth(away, 0.55 * radius, radius) - 0.3 * smooth(-y, 0.0, 0.08)
        pupil = 1 - smooth(away, 0.32 * radius, 0.5 * radius)
        disc = 1 - smooth(away, 0.86 * radius, 1.1 * radius)
        shine = 0.8 * (1 - smooth(spot, 0.008, 0.03))
        share = 0.9 * smooth(depth[cell], 0.3, 1.7)
        for c in range(3):
            coloured = iris[c] * bright * ring
            coloured += (PUPIL - coloured) * pupil
            value = sclera[c] * bright * ball
            value += (coloured - value) * disc
            value += (glint[c] * bright - value) * shine
            atlas[cells[cell, 0], cells[cell, 1], c] += (value - atlas[cells[cell, 0], cells[cell, 1], c]) * share


@compiled
def smooth(value, low, high):  # noqa: ANN001 - numba infers the types
    """A smooth step from 0 at ``low`` to 1 at ``high``."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@compiled
def irradiance(normals, light, darkest, brightest):  # noqa: ANN001 - numba infers the types
    """What falls on each normal (V, 3): the sum of ``rendering.harmonics`` times ``light`` (9,), clipped; (V,)."""
    out = np.empty(normals.shape[0], np.float32)
    for v in range(normals.shape[0]):
        total = _falls(light, normals[v, 0], -normals[v, 1], -normals[v, 2])
        out[v] = min(max(total, darkest), brightest)
    return out


@compiled
def light_hair(normals, tangents, shade, turn, light, towards, half, gloss, tone, colour, strength):  # noqa: ANN001
    """Lit colour (H, 3) and highlight (H,) of strands, by Kajiya and Kay's model (1989).

    normals, tangents (H, 3), not turned yet; ``turn`` (3, 3) to the camera; shade (H,); ``towards`` (3,) the main
    light and ``half`` (3,) half way from it to the camera; tone and colour (3,).
    """
    lit, shine = np.empty((len(normals), 3), np.float32), np.empty(len(normals), np.float32)
    for h in range(len(normals)):
        nx, ny, nz = _turned(turn, normals[h])
        total = _falls(light, nx, -ny, -nz)
        bright = min(max(total, 0.25), 1.7) * (1 - 0.65 * shade[h])
        tx, ty, tz = _turned(turn, tangents[h])
        along = tx * half[0] + ty * half[1] + tz * half[2]
        facing = min(max(nx * towards[0] + ny * towards[1] + nz * towards[2], 0.0), 1.0)
        shine[h] = max(1 - along * along, 0.0) ** (gloss / 2) * facing * bright * strength
        for c in range(3):
            lit[h, c] = bright * tone[c] * colour[c]
    return lit, shine


@compiled
def _turned(turn, vector):  # noqa: ANN001 - numba infers the types
    x, y, z = vector[0], vector[1], vector[2]
    return (
        turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z,
        turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z,
        turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z,
    )


@compiled
def _falls(light, x, y, z):  # noqa: ANN001 - numba infers the types
    """The sum of ``rendering.harmonics`` of a direction, x right, y up, z towards the viewer, times ``light`` (9,)."""
    total = light[0] + light[1] * x + light[2] * y + light[3] * z + light[4] * x * y + light[5] * y * z
    return total + light[6] * (3 * z * z - 1) + light[7] * x * z + light[8] * (x * x - y * y)


@compiled
def sum_normals(points, triangles):  # noqa: ANN001 - numba infers the types
    """Unit normals (V, 3) float32 at vertices: the area-weighted mean of those of the triangles (T, 3) around."""
    out = np.zeros((points.shape[0], 3), np.float32)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        bx, by, bz = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
        cx, cy, cz = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2]
        nx, ny, nz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = math.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 0:
            out[v, 0] /= length
            out[v, 1] /= length
            out[v, 2] /= length
    return out


@compiled
def compose(out, label, shadow, strength, background, picture):  # noqa: ANN001 - numba infers the types
    """Samples to pixels: the mean of the samples' colours, skin and cloth under ``shadow`` (N, N) darker by
    ``strength``; samples of nothing show ``background`` (N, N, 3). Writes ``picture`` (N, N, 3) float32."""
    side = picture.shape[0]
    samples = out.shape[0] // side
    share = np.float32(1.0 / (samples * samples))
    for y in range(side):
        for x in range(side):
            dark = ONE - np.float32(strength) * shadow[y, x]
            red = green = blue = open_ = NONE
            for sy in range(y * samples, (y + 1) * samples):
                for sx in range(x * samples, (x + 1) * samples):
                    kind = label[sy, sx]
                    if kind == NOTHING:
                        open_ += ONE
                        continue
                    factor = ONE if kind == HAIR else dark
                    red += out[sy, sx, 0] * factor
                    green += out[sy, sx, 1] * factor
                    blue += out[sy, sx, 2] * factor
            picture[y, x, 0] = (red + open_ * background[y, x, 0]) * share
            picture[y, x, 1] = (green + open_ * background[y, x, 1]) * share
            picture[y, x, 2] = (blue + open_ * background[y, x, 2]) * share


def empty(side: int) -> tuple[np.ndarray, ...]:
    """Fresh owner, weights, depth, colour and label arrays of ``side`` samples."""
    return (
        np.full((side, side), -1, np.int32),
        np.empty((side, side, 2), np.float32),
        np.full((side, side), np.inf, np.float32),
        np.zeros((side, side, 3), np.float32),
        np.full((side, side), NOTHING, np.uint8),
    )
