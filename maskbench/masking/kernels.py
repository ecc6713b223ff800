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


@compiled
def _edge(ax, ay, bx, by):  # noqa: ANN001 - numba infers the types
    """The half plane right of a -> b as bounds on x along a row: kind, p, q; the bound is p + q y.

    Kind 1: x from there on; -1: x up to there; 0: a level edge, rows with p + q y >= 0. A hair's breadth is added, so
    that neighbours leave no gap.
    """
    slope, offset, turn = ay - by, ax * by - bx * ay, bx - ax
    if abs(slope) < 1e-9:
        return 0, offset + 1e-7, turn
    return (1 if slope > 0 else -1), -offset / slope - (1e-7 if slope > 0 else -1e-7), -turn / slope


@compiled
def _own(owner, touched, x, y, triangles, order, samples, first_row):  # noqa: ANN001
    """Write into each sample of a band the last triangle of ``order`` that holds it, and mark the pixels touched.

    Args:
        owner: (h * samples, w * samples) int32 of -1; touched: (h, w) uint8 of 0.
    """
    rows, columns = owner.shape
    share = 1.0 / samples
    for k in range(order.shape[0]):
        t = order[k]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2, y0, y1, y2 = x[a], x[b], x[c], y[a], y[b], y[c]
        top = max(int(np.ceil(min(y0, y1, y2))) - first_row, 0)
        bottom = min(int(np.floor(max(y0, y1, y2))) - first_row, rows - 1)
        least, most = max(min(x0, x1, x2), 0.0), min(max(x0, x1, x2), columns - 1.0)
        if bottom < top or most < least:
            continue
        edges = (_edge(x0, y0, x1, y1), _edge(x1, y1, x2, y2), _edge(x2, y2, x0, y0))
        for row in range(top, bottom + 1):
            low, high = least, most
            for kind, p, q in edges:
                bound = p + q * (row + first_row)
                if kind > 0:
                    low = max(low, bound)
                elif kind < 0:
                    high = min(high, bound)
                elif bound < 0:
                    high = low - 1.0
            left, right = int(np.ceil(low)), int(np.floor(high))
            if right < left:
                continue
            for column in range(left, right + 1):
                owner[row, column] = t
            for column in range(int(left * share + 1e-9), int(right * share + 1e-9) + 1):
                touched[int(row * share + 1e-9), column] = 1


@compiled
def _planes(planes, level_of, x, y, triangles, order, attributes, levels, samples):  # noqa: ANN001
    """Write what each triangle of ``order`` adds to its pixels.

    Args:
        planes: (T, 4, 3) float64: u and v in texels of its level, brightness, opacity, as a + b x + c y.
        level_of: (T,) int32, its level of detail, at which a texel is no smaller than a pixel in either direction.
    """
    for k in range(order.shape[0]):
        t = order[k]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ex, ey, fx, fy = x[b] - x[a], y[b] - y[a], x[c] - x[a], y[c] - y[a]
        area = ex * fy - ey * fx
        for n in range(4):
            e, f = attributes[n, b] - attributes[n, a], attributes[n, c] - attributes[n, a]
            planes[t, n, 1], planes[t, n, 2] = (e * fy - f * ey) / area, (f * ex - e * fx) / area
            planes[t, n, 0] = attributes[n, a] - planes[t, n, 1] * x[a] - planes[t, n, 2] * y[a]
        wide, high = levels[0, 2], levels[0, 3]
        across = (planes[t, 0, 1] * wide) ** 2 + (planes[t, 1, 1] * high) ** 2
        down = (planes[t, 0, 2] * wide) ** 2 + (planes[t, 1, 2] * high) ** 2
        octaves = np.log2(max(samples * samples * max(across, down), 1.0))  # of the square: each level is sqrt(2)
        level = min(int(np.floor(octaves + 0.5)), levels.shape[0] - 1)
        level_of[t] = level
        for m in range(3):
            planes[t, 0, m] *= levels[level, 2]
            planes[t, 1, m] *= levels[level, 3]
        planes[t, 0, 0] -= 0.5
        planes[t, 1, 0] -= 0.5


@compiled
def _shade(layer, owner, touched, planes, level_of, texture, levels, tint, samples, first):  # noqa: ANN001
    """Blend the pixels of a band, which begins at row ``first``, over ``layer``.

    A pixel takes its colour once: at its centre when all of its samples are covered, else at the first covered one;
    the share of covered samples is its coverage. The samples' owners come from ``_own``.
    """
    whole, middle = samples * samples, samples // 2
    for row in range(touched.shape[0]):
        for column in range(touched.shape[1]):
            if not touched[row, column]:
                continue
            count, px, py, t = 0, 0.0, 0.0, -1
            for i in range(samples):
                for j in range(samples):
                    found = owner[row * samples + i, column * samples + j]
                    if found >= 0:
                        if count == 0:
                            t, px, py = found, float(column * samples + j), float((first + row) * samples + i)
                        count += 1
            if count == 0:
                continue
            if count == whole:
                t = owner[row * samples + middle, column * samples + middle]
                px, py = column * samples + (samples - 1) / 2, (first + row) * samples + (samples - 1) / 2
            plane, level = planes[t], level_of[t]
            width, height = levels[level, 2], levels[level, 3]
            u = min(max(plane[0, 0] + plane[0, 1] * px + plane[0, 2] * py, 0.0), width - 1.0)
            v = min(max(plane[1, 0] + plane[1, 1] * px + plane[1, 2] * py, 0.0), height - 1.0)
            shade = plane[2, 0] + plane[2, 1] * px + plane[2, 2] * py
            cover = (plane[3, 0] + plane[3, 1] * px + plane[3, 2] * py) * (count / (whole * 255.0))
            u0, v0 = min(int(u), width - 2), min(int(v), height - 2)
            fu, fv = u - u0, v - v0
            upper, lower = texture[levels[level, 1] + v0], texture[levels[level, 1] + v0 + 1]
            ua = levels[level, 0] + u0
            k00, k01, k10, k11 = (1 - fv) * (1 - fu), (1 - fv) * fu, fv * (1 - fu), fv * fu
            near, next_ = upper[ua], upper[ua + 1]
            below, beside = lower[ua], lower[ua + 1]
            alpha = cover * (k00 * near[3] + k01 * next_[3] + k10 * below[3] + k11 * beside[3])
            keep = 1.0 - alpha
            for ch in range(3):
                value = k00 * near[ch] + k01 * next_[ch] + k10 * below[ch] + k11 * beside[ch]
                lit = min(value * shade * tint[ch] * cover, alpha)
                layer[first + row, column, ch] = layer[first + row, column, ch] * keep + lit
            layer[first + row, column, 3] = layer[first + row, column, 3] * keep + alpha


LEAST_AREA = 1e-6  # square pixels, doubled; a thinner triangle is not drawn
BAND_SAMPLES = 4_000_000  # samples held at a time; bounds the memory on large faces


def draw_layer(
    layer: np.ndarray, x: np.ndarray, y: np.ndarray, triangles: np.ndarray, order: np.ndarray, attributes: np.ndarray,
    texture: np.ndarray, levels: np.ndarray, tint: np.ndarray, samples: int,
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
        samples: per pixel and axis, for the antialiasing of edges.
    """
    height, width = layer.shape[:2]
    sx, sy = (x + 0.5) * samples - 0.5, (y + 0.5) * samples - 0.5
    planes, level_of = np.empty((len(triangles), 4, 3)), np.empty(len(triangles), np.int32)
    _planes(planes, level_of, sx, sy, triangles, order, attributes, levels, samples)
    rows = max(1, min(height, BAND_SAMPLES // (width * samples * samples)))
    for first in range(0, height, rows):
        here = min(rows, height - first)
        owner, touched = np.full((here * samples, width * samples), -1, np.int32), np.zeros((here, width), np.uint8)
        _own(owner, touched, sx, sy, triangles, order, samples, first * samples)
        _shade(layer, owner, touched, planes, level_of, texture, levels, tint, samples, first)


def paint_order(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles that face the camera, the farthest first (ties in their order): indices (n,).

    Args:
        points: (V, 3) pixels, z growing away from the camera.
        triangles: (T, 3) int32, positive projected area when facing the camera.
    """
    nearness = np.empty(len(triangles))
    seen = _nearness(nearness, points, triangles)
    return np.argsort(nearness, kind="stable")[:seen]


@compiled
def _nearness(nearness, points, triangles):  # noqa: ANN001
    """Minus three times the mean depth of each triangle, infinity for what faces away; return how many do not."""
    seen = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        bx, by = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        cx, cy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
        if bx * cy - cx * by > LEAST_AREA:
            nearness[t] = -(points[a, 2] + points[b, 2] + points[c, 2])
            seen += 1
        else:
            nearness[t] = np.inf
    return seen


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
            level = int(np.floor(255.0 * a + 0.5))
            alpha[row, column] = level
            if level == 0:
                continue
            weight = level / 255.0
            noise = amount * grain[(row + shift_y) % size, (column + shift_x) % size]
            red, green, blue = layer[row, column, 0], layer[row, column, 1], layer[row, column, 2]
            if grey:
                red = 0.299 * red + 0.587 * green + 0.114 * blue
                green = blue = red
            for ch in range(3):
                value = red if ch == 0 else green if ch == 1 else blue
                over = min(max(255.0 * value / a + noise, 0.0), 255.0)
                mixed = picture[row, column, ch] * (1.0 - weight) + over * weight
                picture[row, column, ch] = int(np.floor(mixed + 0.5))
