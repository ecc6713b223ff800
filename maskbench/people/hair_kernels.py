"""Compiled loops that grow hair: the skull's surface, curves that leave it, and the strips of triangles about them."""

from __future__ import annotations

import math

import numpy as np

from maskbench.masking.kernels import compiled
from maskbench.people.kernels import smooth


@compiled
def skull_at(skull, deepest, azimuth, polar):  # noqa: ANN001 - numba infers the types
    """Radius, and height above the hairline, (N, 2) of the skull (A + 1, P, 2) at azimuths (N,), wrapping, and angles
    (N,) from the crown, up to ``deepest``; bilinear."""
    columns, rows = skull.shape[0] - 1, skull.shape[1]
    out = np.empty((azimuth.shape[0], 2))
    for n in range(azimuth.shape[0]):
        across = azimuth[n] / (2 * math.pi) + 0.5
        across = (across - math.floor(across)) * columns
        down = min(max(polar[n] / deepest, 0.0), 0.9999) * (rows - 1)
        i, j = min(int(across), columns - 1), int(down)
        s, r = across - i, down - j
        for c in range(2):
            upper = skull[i, j, c] * (1 - s) + skull[i + 1, j, c] * s
            lower = skull[i, j + 1, c] * (1 - s) + skull[i + 1, j + 1, c] * s
            out[n, c] = upper * (1 - r) + lower * r
    return out


@compiled
def _near(field, low, cell, x, y, z):  # noqa: ANN001 - numba infers the types
    """Distance from the skin and the unit direction away from it at a place; trilinear."""
    size_x, size_y, size_z = field.shape[0], field.shape[1], field.shape[2]
    ax = min(max((x - low[0]) / cell, 0.0), size_x - 1.001)
    ay = min(max((y - low[1]) / cell, 0.0), size_y - 1.001)
    az = min(max((z - low[2]) / cell, 0.0), size_z - 1.001)
    i, j, k = int(ax), int(ay), int(az)
    u, v, w = ax - i, ay - j, az - k
    d = gx = gy = gz = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                d += share * field[i + a, j + b, k + c, 0]
                gx += share * field[i + a, j + b, k + c, 1]
                gy += share * field[i + a, j + b, k + c, 2]
                gz += share * field[i + a, j + b, k + c, 3]
    size = max(math.sqrt(gx * gx + gy * gy + gz * gz), 1e-6)
    return d, gx / size, gy / size, gz / size


@compiled
def _off_face(x, y, z, side, clear):  # noqa: ANN001 - numba infers the types
    """A place moved back, and outwards on its ``side``, from before the face and from under the chin."""
    before = -0.55 + (0.55 + clear) * smooth(y, -1.1, -0.2) - 0.35 * smooth(y, 1.2, 2.2)
    short = max(before - z, 0.0)
    wide = abs(x)
    out = min(short, max(1.2 - wide, 0.0))
    out += smooth(y, 0.9, 1.4) * max(0.9 - wide, 0.0) * smooth(-z, -1.6, -1.3)
    return x + (out if side > 0 else -out if side < 0 else 0.0), y, z + 0.7 * short


@compiled
def grow(field, low, cell, roots, start, length, t, layer, force, cling, clear, free):  # noqa: ANN001 - numba infers
    """Curves (N, K, 3) that leave roots (N, 3) along ``start`` (N, 3), turned by ``force`` (N, 3) an inter-ocular
    distance, ``layer`` (N,) above the skin; see ``hair_strands.grown``. The face is kept free where ``free`` (N,)."""
    count, steps = roots.shape[0], t.shape[0]
    curve = np.empty((count, steps, 3))
    for n in range(count):
        x, y, z = roots[n, 0], roots[n, 1], roots[n, 2]
        hx, hy, hz = start[n, 0], start[n, 1], start[n, 2]
        curve[n, 0, 0], curve[n, 0, 1], curve[n, 0, 2] = x, y, z
        for i in range(1, steps):
            size = (t[i] - t[i - 1]) * length[n]
            hx, hy, hz = hx + size * force[n, 0], hy + size * force[n, 1], hz + size * force[n, 2]
            scale = size / max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-9)
            ax, ay, az = x + hx * scale, y + hy * scale, z + hz * scale
            if free[n]:
                ax, ay, az = _off_face(ax, ay, az, x + 1.5 * hx * scale / max(size, 1e-9), clear[n])
            d, gx, gy, gz = _near(field, low, cell, ax, ay, az)
            missing = layer[n] * min(1.0, t[i] * 5) - d
            if missing < 0:
                missing *= cling[n]
            hx, hy, hz = ax + gx * missing - x, ay + gy * missing - y, az + gz * missing - z
            scale = 1 / max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-9)
            hx, hy, hz = hx * scale, hy * scale, hz * scale
            x, y, z = x + size * hx, y + size * hy, z + size * hz
            curve[n, i, 0], curve[n, i, 1], curve[n, i, 2] = x, y, z
    return curve


@compiled
def keep_out(field, low, cell, curve, least):  # noqa: ANN001 - numba infers the types
    """Moves the curves (N, K, 3), but for their roots, out to ``least`` above the skin."""
    for n in range(curve.shape[0]):
        for i in range(1, curve.shape[1]):
            x, y, z = curve[n, i, 0], curve[n, i, 1], curve[n, i, 2]
            d, gx, gy, gz = _near(field, low, cell, x, y, z)
            if d < least:
                curve[n, i, 0], curve[n, i, 1], curve[n, i, 2] = (
                    x + gx * (least - d), y + gy * (least - d), z + gz * (least - d),
                )  # fmt: skip


@compiled
def end_at(curve, y_end):  # noqa: ANN001 - numba infers the types
    """Shortens the curves (N, K, 3) to where they first fall below the height ``y_end`` (N,); knots move up with it."""
    steps = curve.shape[1]
    old = np.empty((steps, 3))
    for n in range(curve.shape[0]):
        for i in range(1, steps):
            if curve[n, i, 1] > y_end[n]:
                upper = curve[n, i - 1, 1]
                share = 0.0 if upper >= y_end[n] else (y_end[n] - upper) / (curve[n, i, 1] - upper)
                last = max(i - 1 + share, 0.05)
                old[:] = curve[n]
                for m in range(1, steps):
                    at = last * m / (steps - 1)
                    a = min(int(at), steps - 2)
                    for c in range(3):
                        curve[n, m, c] = old[a, c] + (at - a) * (old[a + 1, c] - old[a, c])
                break


@compiled
def ribbon(field, low, cell, curve, half, slant, bend, smooth):  # noqa: ANN001 - numba infers the types
    """Points, normals and tangents, each (N, K, 2, 3), of strips about curves (N, K, 3), ``half`` (N, K) to each side.

    The strips lie flat over the head but for their ``slant`` (N,), radians. Their normals turn by ``bend`` to the
    sides, and are by ``smooth`` 0..1 those of the head below.
    """
    count, steps = curve.shape[0], curve.shape[1]
    points, normals, tangents = np.empty((3, count, steps, 2, 3))
    along, out, side = np.empty(3), np.empty(3), np.empty(3)
    for n in range(count):
        cosine, sine = math.cos(slant[n]), math.sin(slant[n])
        for i in range(steps):
            above, below = max(i - 1, 0), min(i + 1, steps - 1)
            for c in range(3):
                along[c] = curve[n, below, c] - curve[n, above, c]
            _to_unit(along)
            _, out[0], out[1], out[2] = _near(field, low, cell, curve[n, i, 0], curve[n, i, 1], curve[n, i, 2])
            side[0] = along[1] * out[2] - along[2] * out[1]
            side[1] = along[2] * out[0] - along[0] * out[2]
            side[2] = along[0] * out[1] - along[1] * out[0]
            _to_unit(side)
            fx = side[1] * along[2] - side[2] * along[1]
            fy = side[2] * along[0] - side[0] * along[2]
            fz = side[0] * along[1] - side[1] * along[0]
            for c in range(3):
                flat = fx if c == 0 else fy if c == 1 else fz
                across = side[c] * cosine + flat * sine
                facing = (1 - smooth) * (flat * cosine - side[c] * sine) + smooth * out[c]
                for k in range(2):
                    way = 2.0 * k - 1
                    points[n, i, k, c] = curve[n, i, c] + way * half[n, i] * across
                    normals[n, i, k, c] = facing + way * bend * across
                    tangents[n, i, k, c] = along[c]
            _to_unit(normals[n, i, 0])
            _to_unit(normals[n, i, 1])
    return points, normals, tangents


@compiled
def _to_unit(vector):  # noqa: ANN001 - numba infers the types
    size = max(math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2), 1e-9)
    for c in range(3):
        vector[c] /= size
