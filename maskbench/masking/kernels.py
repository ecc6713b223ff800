"""The inner loops of drawing, compiled by numba: triangles to pixels, and the blend into the picture.

Every loop is plain arithmetic in a fixed order (no fast-math, no threads), so the same inputs give the same bytes.
The slow oracles in tests/reference say the same in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit


def compiled(function: Callable) -> Callable:
    """``njit`` with its disk cache: beside this file or in the user's cache folder; else without."""
    try:
        return njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:  # "cannot cache function": no writable place
        return njit(function, nogil=True, error_model="numpy")


CHANNELS = np.uint64(4)
SAMPLES = 2  # per pixel and axis, for the antialiasing of edges; loops over a constant are unrolled


@compiled
def bounds(points):  # noqa: ANN001 - numba infers the types
    """Least and greatest x, then y, of (n, 2 or more) points."""
    x0, x1, y0, y1 = np.inf, -np.inf, np.inf, -np.inf
    for n in range(points.shape[0]):
        x0, x1 = min(x0, points[n, 0]), max(x1, points[n, 0])
        y0, y1 = min(y0, points[n, 1]), max(y1, points[n, 1])
    return x0, x1, y0, y1


@compiled
def _own(owner, spans, x, y, triangles, order, first_row):  # noqa: ANN001 - numba infers the types
    """Write into each sample of a band the last triangle of ``order`` that holds it.

    An edge bounds x along a row: x >= p + q y on a triangle's left, x <= p + q y on its right; at most two edges bound
    it on either side. A hair's breadth is added, so that neighbours leave no gap.

    Args:
        owner: (h * SAMPLES, w * SAMPLES) int32 of -1.
        spans: (h * SAMPLES, 2) int64, widened to the first and last sample written in each row.
    """
    rows, columns = owner.shape
    for k in range(order.shape[0]):
        t = order[k]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2, y0, y1, y2 = x[a], x[b], x[c], y[a], y[b], y[c]
        top = max(int(np.ceil(min(y0, y1, y2))) - first_row, 0)
        bottom = min(int(np.floor(max(y0, y1, y2))) - first_row, rows - 1)
        least, most = max(min(x0, x1, x2), 0.0), min(max(x0, x1, x2), columns - 1.0)
        if bottom < top or most < least:
            continue
        p_left, p_left2, p_right, p_right2 = least, least, most, most
        q_left, q_left2, q_right, q_right2 = 0.0, 0.0, 0.0, 0.0
        for n in range(3):
            if n == 0:
                ax, ay, bx, by = x0, y0, x1, y1
            elif n == 1:
                ax, ay, bx, by = x1, y1, x2, y2
            else:
                ax, ay, bx, by = x2, y2, x0, y0
            slope = ay - by
            if abs(slope) < 1e-9:  # a level edge: the rows from top to bottom say it already
                continue
            q = (ax - bx) / slope
            p = (bx * ay - ax * by) / slope + q * first_row
            if slope > 0:
                p_left2, q_left2, p_left, q_left = p_left, q_left, p - 1e-7, q
            else:
                p_right2, q_right2, p_right, q_right = p_right, q_right, p + 1e-7, q
        for row in range(top, bottom + 1):
            left = int(np.ceil(max(least, p_left + q_left * row, p_left2 + q_left2 * row)))
            right = int(np.floor(min(most, p_right + q_right * row, p_right2 + q_right2 * row)))
            if right < left:
                continue
            spans[row, 0], spans[row, 1] = min(spans[row, 0], left), max(spans[row, 1], right)
            for column in range(left, right + 1):
                owner[row, column] = t


@compiled
def _planes(planes, level_of, x, y, triangles, order, attributes, levels):  # noqa: ANN001
    """Write what each triangle of ``order`` adds to its pixels.

    Args:
        planes: (T, 4, 3) float64: u and v in texels of its level, brightness, opacity, as a + b x + c y.
        level_of: (T,) int32, its level of detail, at which a texel is no smaller than a pixel in either direction.
    """
    for k in range(order.shape[0]):
        t = order[k]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ex, ey, fx, fy = x[b] - x[a], y[b] - y[a], x[c] - x[a], y[c] - y[a]
        per_area = 1.0 / (ex * fy - ey * fx)
        for n in range(4):
            e, f = attributes[n, b] - attributes[n, a], attributes[n, c] - attributes[n, a]
            right, down = (e * fy - f * ey) * per_area, (f * ex - e * fx) * per_area
            planes[t, n, 0] = attributes[n, a] - right * x[a] - down * y[a]
            planes[t, n, 1], planes[t, n, 2] = right, down
        wide, high = levels[0, 2], levels[0, 3]
        across = (planes[t, 0, 1] * wide) ** 2 + (planes[t, 1, 1] * high) ** 2
        down = (planes[t, 0, 2] * wide) ** 2 + (planes[t, 1, 2] * high) ** 2
        octaves = np.log2(max(SAMPLES * SAMPLES * max(across, down), 1.0))  # of the square: each level is sqrt(2)
        level = min(int(np.floor(octaves + 0.5)), levels.shape[0] - 1)
        level_of[t] = level
        for m in range(3):
            planes[t, 0, m] *= levels[level, 2]
            planes[t, 1, m] *= levels[level, 3]
        planes[t, 0, 0] -= 0.5
        planes[t, 1, 0] -= 0.5


@compiled
def _texel(texture, first, below, k00, k01, k10, k11):  # noqa: ANN001
    """One channel of a bilinear sample of a flattened picture: ``first`` upper left, ``below`` it the lower one."""
    near, beside = np.float32(texture[first]), np.float32(texture[first + CHANNELS])
    under, across = np.float32(texture[below]), np.float32(texture[below + CHANNELS])
    return k00 * near + k01 * beside + k10 * under + k11 * across


@compiled
def _shade(layer, owner, spans, planes, level_of, texture, levels, tint, first):  # noqa: ANN001
    """Blend the pixels of a band, which begins at row ``first``, over ``layer``.

    A pixel takes its colour once: at its centre when all of its samples are covered, else at the first covered one;
    the share of covered samples is its coverage. The samples' owners and their spans come from ``_own``. Indices are
    unsigned, which spares the compiled code a test for negative ones.
    """
    whole, middle, centre, one = SAMPLES * SAMPLES, SAMPLES // 2, (SAMPLES - 1) / 2, np.float32(1.0)
    width, stride = layer.shape[1], owner.shape[1]
    owners, texels, line = owner.reshape(owner.size), texture.reshape(texture.size), CHANNELS * texture.shape[1]
    share = np.float32(1.0 / (255.0 * whole))
    for row in range(owner.shape[0] // SAMPLES):
        left, right = width * SAMPLES, -1
        for i in range(SAMPLES):
            left, right = min(left, spans[row * SAMPLES + i, 0]), max(right, spans[row * SAMPLES + i, 1])
        for column in range(left // SAMPLES, right // SAMPLES + 1):
            corner = np.uint64(row * SAMPLES * stride + column * SAMPLES)
            count = 0
            for m in range(SAMPLES):
                for n in range(SAMPLES):
                    count += owners[corner + np.uint64(m * stride + n)] >= 0
            if count == 0:
                continue
            if count == whole:
                i = j = middle
                px, py = column * SAMPLES + centre, (first + row) * SAMPLES + centre
            else:
                i = j = 0
                while owners[corner + np.uint64(i * stride + j)] < 0:
                    i, j = (i, j + 1) if j + 1 < SAMPLES else (i + 1, 0)
                px, py = float(column * SAMPLES + j), float((first + row) * SAMPLES + i)
            t = np.uint64(owners[corner + np.uint64(i * stride + j)])
            level = np.uint64(level_of[t])
            wide, high = levels[level, 2], levels[level, 3]
            u = min(max(planes[t, 0, 0] + planes[t, 0, 1] * px + planes[t, 0, 2] * py, 0.0), wide - 1.0)
            v = min(max(planes[t, 1, 0] + planes[t, 1, 1] * px + planes[t, 1, 2] * py, 0.0), high - 1.0)
            shade = np.float32(planes[t, 2, 0] + planes[t, 2, 1] * px + planes[t, 2, 2] * py)
            cover = np.float32(planes[t, 3, 0] + planes[t, 3, 1] * px + planes[t, 3, 2] * py)
            cover *= np.float32(count) * share
            u0, v0 = min(int(u), wide - 2), min(int(v), high - 2)
            fu, fv = np.float32(u - u0), np.float32(v - v0)
            k11 = fu * fv
            k01, k10 = fu - k11, fv - k11
            k00 = one - fu - k10
            at = np.uint64((levels[level, 1] + v0) * line + (levels[level, 0] + u0) * CHANNELS)
            below = at + np.uint64(line)
            alpha = cover * _texel(texels, at + np.uint64(3), below + np.uint64(3), k00, k01, k10, k11)
            keep, lit, out = one - alpha, shade * cover, layer[first + row, column]
            for n in range(3):
                value = _texel(texels, at + np.uint64(n), below + np.uint64(n), k00, k01, k10, k11)
                out[n] = out[n] * keep + min(value * (lit * tint[n]), alpha)
            out[3] = out[3] * keep + alpha


@compiled
def _draw(layer, x, y, triangles, order, attributes, texture, levels, tint, band):  # noqa: ANN001
    """``draw_layer`` in bands of so many rows."""
    height, width = layer.shape[:2]
    sx, sy = (x + 0.5) * SAMPLES - 0.5, (y + 0.5) * SAMPLES - 0.5
    planes, level_of = np.empty((len(triangles), 4, 3)), np.empty(len(triangles), np.int32)
    _planes(planes, level_of, sx, sy, triangles, order, attributes, levels)
    owner, spans = np.empty((band * SAMPLES, width * SAMPLES), np.int32), np.empty((band * SAMPLES, 2), np.int64)
    for first in range(0, height, band):
        here = min(band, height - first) * SAMPLES
        owner[:here], spans[:here, 0], spans[:here, 1] = -1, width * SAMPLES, -1
        _own(owner[:here], spans, sx, sy, triangles, order, first * SAMPLES)
        _shade(layer, owner[:here], spans, planes, level_of, texture, levels, tint, first)


LEAST_AREA = 1e-6  # square pixels, doubled; a thinner triangle is not drawn
BAND_SAMPLES = 4_000_000  # samples held at a time; bounds the memory on large faces
DEPTHS = 4096  # steps of depth by which triangles are ordered; within one they keep their order


def draw_layer(
    layer: np.ndarray, x: np.ndarray, y: np.ndarray, triangles: np.ndarray, order: np.ndarray, attributes: np.ndarray,
    texture: np.ndarray, levels: np.ndarray, tint: np.ndarray,
) -> None:  # fmt: skip
    """Blend textured triangles over ``layer``, in place.

    Args:
        layer: (h, w, 4) float32, colour premultiplied by alpha, 0..1.
        x, y: (V,) float64 vertex positions in pixels of the layer; pixel centres lie at whole numbers.
        triangles: (T, 3) int32; order: those to draw, the nearest last; all have positive projected area.
        attributes: (4, V) float64: u and v in 0..1, brightness, opacity.
        texture: (H, W, 4) uint8, premultiplied, all levels of detail side by side, each sqrt(2) smaller than the
            one before; levels: (L, 4) int64, left, top, width, height of each. A level is clamped at its border.
        tint: (3,) float64, multiplies the colour. The result never exceeds white.
    """
    height, width = layer.shape[:2]
    band = max(1, min(height, BAND_SAMPLES // (width * SAMPLES**2)))
    _draw(layer, x, y, triangles, order, attributes, texture, levels, tint.astype(np.float32), band)


def paint_order(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles that face the camera, the farthest first: indices (n,).

    Args:
        points: (V, 3) pixels, z growing away from the camera.
        triangles: (T, 3) int32, positive projected area when facing the camera.
    """
    return _order(points, triangles, np.empty(len(triangles)), np.empty(len(triangles), np.int32))


@compiled
def _order(points, triangles, depth, order):  # noqa: ANN001
    """Write three times the mean depth of the triangles that face the camera, and these by falling depth."""
    count, least, most = 0, np.inf, -np.inf
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        bx, by = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        cx, cy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
        depth[t] = np.nan
        if bx * cy - cx * by > LEAST_AREA:
            depth[t] = points[a, 2] + points[b, 2] + points[c, 2]
            least, most, count = min(least, depth[t]), max(most, depth[t]), count + 1
    starts, scale = np.zeros(DEPTHS + 1, np.int32), (DEPTHS - 1) / max(most - least, 1e-9)
    for t in range(triangles.shape[0]):
        if depth[t] == depth[t]:
            depth[t] = np.floor((most - depth[t]) * scale)
            starts[int(depth[t]) + 1] += 1
    for k in range(DEPTHS):
        starts[k + 1] += starts[k]
    for t in range(triangles.shape[0]):
        if depth[t] == depth[t]:
            order[starts[int(depth[t])]] = t
            starts[int(depth[t])] += 1
    return order[:count]


@compiled
def blend(picture, layer, alpha, grain, amount, shift_x, shift_y, grey):  # noqa: ANN001
    """Composite a layer into a picture, in place, with film grain on the layer.

    Args:
        picture: (h, w, 3) uint8; pixels whose rounded alpha is 0 are not touched.
        layer: (h, w, 4) float32, premultiplied, 0..1.
        alpha: (h, w) uint8, receives the rounded alpha.
        grain: (G, G) float32 tile of unit deviation; amount: its strength in units of 1/255.
        shift_x, shift_y: where in the tile the window's first pixel lies.
        grey: the layer's colour is reduced to its luma.
    """
    size = grain.shape[0]
    for row in range(layer.shape[0]):
        for column in range(layer.shape[1]):
            a = layer[row, column, 3]
            level = int(255.0 * a + 0.5)
            alpha[row, column] = level
            if level == 0:
                continue
            weight, plain = level / 255.0, 255.0 / a
            noise = amount * grain[(row + shift_y) % size, (column + shift_x) % size]
            red, green, blue = layer[row, column, 0], layer[row, column, 1], layer[row, column, 2]
            if grey:
                red = 0.299 * red + 0.587 * green + 0.114 * blue
                green = blue = red
            for ch in range(3):
                value = red if ch == 0 else green if ch == 1 else blue
                over = min(max(plain * value + noise, 0.0), 255.0)
                mixed = picture[row, column, ch] * (1.0 - weight) + over * weight
                picture[row, column, ch] = int(mixed + 0.5)


@compiled
def copy_covered(picture, other, alpha):  # noqa: ANN001
    """Copy the pixels of ``other`` into a picture, both (h, w, 3) uint8, where alpha (h, w) is not 0."""
    for row in range(alpha.shape[0]):
        for column in range(alpha.shape[1]):
            if alpha[row, column]:
                for ch in range(3):
                    picture[row, column, ch] = other[row, column, ch]
