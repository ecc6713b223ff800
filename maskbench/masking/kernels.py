"""The inner loops of drawing, compiled by numba: triangles to pixels, and the blend into the picture.

Every loop is plain arithmetic in a fixed order (no fast-math, no threads), so the same inputs give the same bytes.
The slow oracles in tests/reference say the same in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from maskbench.pixels import LUMA


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
def totals(points):  # noqa: ANN001
    """The sums of x and of y of (n, 2 or more) points, in float64."""
    x = y = 0.0
    for n in range(points.shape[0]):
        x, y = x + points[n, 0], y + points[n, 1]
    return x, y


LANES = 8  # samples written at once; so many further columns follow the last one


@intrinsic
def _fill(context, owner, at, reach, triangle):  # noqa: ANN001
    """``owner[at : at + min(reach + 1, LANES)] = triangle`` on a flat int32 plane, without a loop: a triangle has three
    samples in a row, on average."""
    return types.void(owner, types.uint64, types.int32, types.int32), _generate_fill


def _generate_fill(context, builder, signature, args):  # noqa: ANN001, ANN202
    """The instructions of ``_fill``: what lies beyond the reach is written as it was."""
    owner, at, reach, triangle = args
    integer, lanes = ir.IntType(32), ir.VectorType(ir.IntType(32), LANES)

    def every(number):  # noqa: ANN001, ANN202
        one = builder.insert_element(ir.Constant(lanes, ir.Undefined), number, integer(0))
        return builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), ir.Constant(lanes, [0] * LANES))

    start = context.make_array(signature.args[0])(context, builder, owner).data
    where = builder.bitcast(builder.gep(start, [at]), lanes.as_pointer())
    within = builder.icmp_signed("<=", ir.Constant(lanes, list(range(LANES))), every(reach))
    builder.store(builder.select(within, every(triangle), builder.load(where, align=4)), where, align=4)
    return context.get_dummy_value()


@compiled
def _own(owner, spans, x, y, triangles, order, first_row):  # noqa: ANN001 - numba infers the types
    """Write into each sample of a band the last triangle of ``order`` that holds it.

    An edge bounds x along a row: x >= p + q y on a triangle's left, x <= p + q y on its right; at most two edges bound
    it on either side. A hair's breadth is added, so that neighbours leave no gap.

    Args:
        owner: (h * SAMPLES, w * SAMPLES + LANES) int32 of -1; the last columns are left as they are.
        spans: (h * SAMPLES, 2) int64, widened to the first and last sample written in each row.
    """
    rows, columns = owner.shape[0], owner.shape[1] - LANES
    plane, stride = owner.reshape(owner.size), np.uint64(owner.shape[1])
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
            at = np.uint64(row) * stride + np.uint64(left)
            _fill(plane, at, np.int32(right - left), np.int32(t))
            for further in range(LANES, right - left + 1):
                plane[at + np.uint64(further)] = t


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
        wide, high = levels[0, 1], levels[0, 2]
        across = (planes[t, 0, 1] * wide) ** 2 + (planes[t, 1, 1] * high) ** 2
        down = (planes[t, 0, 2] * wide) ** 2 + (planes[t, 1, 2] * high) ** 2
        octaves = np.log2(max(SAMPLES * SAMPLES * max(across, down), 1.0))  # of the square: each level is sqrt(2)
        level = min(int(np.floor(octaves + 0.5)), levels.shape[0] - 1)
        level_of[t] = level
        for m in range(3):
            planes[t, 0, m] *= levels[level, 1]
            planes[t, 1, m] *= levels[level, 2]
        planes[t, 0, 0] -= 0.5
        planes[t, 1, 0] -= 0.5


@intrinsic
def _over(context, texels, first, below, k00, k01, k10, k11, shade, cover, tint, layer, pixel):  # noqa: ANN001
    """Blend a bilinear sample over a pixel, the four channels at once, which numba does not do of itself: a third of
    the time of drawing. In Python, with ``texels``, ``tint`` and ``layer`` flat:

        value = k00 * texels[first :][:4] + k01 * texels[first + 4 :][:4] + k10 * texels[below :][:4] + ...
        gained = value * (shade * cover * tint[:3], cover)
        layer[4 * pixel :][:4] = layer[4 * pixel :][:4] * (1 - gained[3]) + min(gained, gained[3])

    Args:
        first, below: where the upper and the lower left texel begin; tint: (4,) float32, the last one 1.
    """
    single, place = types.float32, types.uint64
    signature = types.void(
        texels, place, place, single, single, single, single, single, single, tint, layer, place
    )  # fmt: skip
    return signature, _generate_over


def _generate_over(context, builder, signature, args):  # noqa: ANN001, ANN202
    """The instructions of ``_over``: plain multiplications and additions, in the order written there."""
    texels, first, below, k00, k01, k10, k11, shade, cover, tint, layer, pixel = args
    real, integer, long = ir.FloatType(), ir.IntType(32), ir.IntType(64)
    lanes, unknown = ir.VectorType(real, 4), ir.Constant(ir.VectorType(real, 4), ir.Undefined)

    def at(argument, array, offset, kind):  # noqa: ANN001, ANN202
        start = context.make_array(signature.args[argument])(context, builder, array).data
        return builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())

    def every(number):  # noqa: ANN001, ANN202
        one = builder.insert_element(unknown, number, integer(0))
        return builder.shuffle_vector(one, unknown, ir.Constant(ir.VectorType(integer, 4), [0] * 4))

    def texel(start, further):  # noqa: ANN001, ANN202
        where = at(0, texels, builder.add(start, long(further)), ir.VectorType(ir.IntType(8), 4))
        levels = builder.zext(builder.load(where, align=1), ir.VectorType(integer, 4))
        return builder.sitofp(levels, lanes)

    value = builder.fmul(every(k00), texel(first, 0))
    for share, start, further in ((k01, first, 4), (k10, below, 0), (k11, below, 4)):
        value = builder.fadd(value, builder.fmul(every(share), texel(start, further)))
    lit = builder.insert_element(every(builder.fmul(shade, cover)), cover, integer(3))
    gained = builder.fmul(value, builder.fmul(lit, builder.load(at(9, tint, long(0), lanes), align=4)))
    alpha = builder.extract_element(gained, integer(3))
    most, keep = every(alpha), every(builder.fsub(real(1.0), alpha))
    gained = builder.select(builder.fcmp_ordered("<", most, gained), most, gained)
    where = at(10, layer, builder.shl(pixel, long(2)), lanes)
    builder.store(builder.fadd(builder.fmul(builder.load(where, align=4), keep), gained), where, align=4)
    return context.get_dummy_value()


@compiled
def _shade(layer, owner, spans, planes, level_of, texels, levels, tint, first):  # noqa: ANN001
    """Blend the pixels of a band, which begins at row ``first``, over ``layer``.

    A pixel takes its colour once: at its centre when all of its samples are covered, else at the first covered one;
    the share of covered samples is its coverage. The samples' owners and their spans come from ``_own``. Indices are
    unsigned, which spares the compiled code a test for negative ones.
    """
    whole, middle, centre, one = SAMPLES * SAMPLES, SAMPLES // 2, (SAMPLES - 1) / 2, np.float32(1.0)
    width, stride = layer.shape[1], owner.shape[1]
    owners, flat, codes = owner.reshape(owner.size), layer.reshape(layer.size), texels.reshape(texels.size)
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
            wide, high = levels[level, 1], levels[level, 2]
            u = min(max(planes[t, 0, 0] + planes[t, 0, 1] * px + planes[t, 0, 2] * py, 0.0), wide - 1.0)
            v = min(max(planes[t, 1, 0] + planes[t, 1, 1] * px + planes[t, 1, 2] * py, 0.0), high - 1.0)
            # The place may lie outside of the triangle, where the values of a narrow one run off.
            shade = np.float32(max(planes[t, 2, 0] + planes[t, 2, 1] * px + planes[t, 2, 2] * py, 0.0))
            cover = min(max(planes[t, 3, 0] + planes[t, 3, 1] * px + planes[t, 3, 2] * py, 0.0), 1.0)
            cover = np.float32(cover) * (np.float32(count) * share)
            u0, v0 = min(int(u), wide - 2), min(int(v), high - 2)
            fu, fv = np.float32(u - u0), np.float32(v - v0)
            k11 = fu * fv
            k01, k10 = fu - k11, fv - k11
            k00 = one - fu - k10
            texel = np.uint64(levels[level, 0] + v0 * wide + u0) * CHANNELS
            below, pixel = texel + np.uint64(wide) * CHANNELS, np.uint64((first + row) * width + column)
            _over(codes, texel, below, k00, k01, k10, k11, shade, cover, tint, flat, pixel)


LEAST_AREA = 1e-6  # square pixels, doubled; a thinner triangle is not drawn
BAND_SAMPLES = 4_000_000  # samples held at a time; bounds the memory on large faces
DEPTHS = 4096  # steps of depth by which triangles are ordered; within one they keep their order


@compiled
def paint_order(points, triangles):  # noqa: ANN001, ANN201
    """The triangles (T, 3) int32 that face the camera, the farthest first: indices (n,) int32. Their depth is that of
    their middle; points and winding are as ``draw_surface`` has them."""
    depth, order = np.empty(triangles.shape[0]), np.empty(triangles.shape[0], np.int32)
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
def _rows(y, triangles, order, height):  # noqa: ANN001
    """The rows of pixels that the triangles of ``order`` can touch, of so many: the first, and the one after the last.

    Args:
        y: (V,) in samples.
    """
    least, most = np.inf, -np.inf
    for k in range(order.shape[0]):
        for n in range(3):
            least, most = min(least, y[triangles[order[k], n]]), max(most, y[triangles[order[k], n]])
    first, last = np.floor(least / SAMPLES), np.floor(most / SAMPLES)
    return int(min(max(first, 0.0), height)), int(min(max(last + 1.0, 0.0), height))


@compiled
def draw_layer(layer, x, y, triangles, order, attributes, texels, levels, tint, band):  # noqa: ANN001
    """One part of ``draw_surface``, its triangles in this order, the nearest last; all have positive projected area.

    Args:
        x, y: (V,) float64 in pixels of the layer.
        tint: (4,) float32.
        band: rows that are drawn at a time, which changes nothing.
    """
    height, width = layer.shape[:2]
    sx, sy = (x + 0.5) * SAMPLES - 0.5, (y + 0.5) * SAMPLES - 0.5
    planes, level_of = np.empty((len(triangles), 4, 3)), np.empty(len(triangles), np.int32)
    _planes(planes, level_of, sx, sy, triangles, order, attributes, levels)
    owner = np.empty((band * SAMPLES, width * SAMPLES + LANES), np.int32)
    spans = np.empty((band * SAMPLES, 2), np.int64)
    top, bottom = _rows(sy, triangles, order, height)
    for first in range(0, height, band):
        here = min(band, height - first)
        spans[:, 0], spans[:, 1] = width * SAMPLES, -1
        # Rows above and below all triangles are not looked at.
        owner[max(top - first, 0) * SAMPLES : max(min(bottom - first, here), 0) * SAMPLES] = -1
        here *= SAMPLES
        _own(owner[:here], spans, sx, sy, triangles, order, first * SAMPLES)
        _shade(layer, owner[:here], spans, planes, level_of, texels, levels, tint, first)


@compiled
def draw_surface(layer, points, left, top, triangles, parts, attributes, texels, levels, tints):  # noqa: ANN001
    """Blend the textured triangles that face the camera over ``layer``, in place, part by part.

    Args:
        layer: (h, w, 4) float32, colour premultiplied by alpha, 0..1; left, top: where in the picture its first pixel
            lies.
        points: (V, 3) float64 vertices in pixels of the picture, z growing away from the camera; pixel centres lie at
            whole numbers.
        triangles: (T, 3) int32, of positive projected area when facing the camera; parts: (P, 2) int64, the first of
            each part and the one after its last, in drawing order.
        attributes: (4, V) float64: u and v in 0..1, brightness, opacity.
        texels: (N, 4) uint8, premultiplied, the rows of all levels of detail one after the other, each level sqrt(2)
            smaller than the one before; levels: (L, 3) int64, first texel, width, height of each. A level is clamped
            at its border.
        tints: (P, 4) float32, multiplies a part's colour; the last number is 1. The result never exceeds white.
    """
    x, y = points[:, 0] - left, points[:, 1] - top
    band = max(1, min(layer.shape[0], BAND_SAMPLES // (layer.shape[1] * SAMPLES**2)))
    for k in range(parts.shape[0]):
        own = triangles[parts[k, 0] : parts[k, 1]]
        order = paint_order(points, own)
        draw_layer(layer, x, y, own, order, attributes, texels, levels, tints[k], band)


WEIGHTS = np.arange(256) / 255.0


@compiled
def blend(picture, alpha, layer, left, top, grain, amount, shift_x, shift_y):  # noqa: ANN001
    """Composite a layer into a picture, in place, with film grain on the layer.

    Args:
        picture: (H, W, 3) uint8; pixels whose rounded alpha is 0 are not touched.
        alpha: (H, W) uint8, receives the rounded alpha.
        layer: (h, w, 4) float32, premultiplied, 0..1, or (h, w, 2), luma and alpha; left, top: where in the picture
            its first pixel lies.
        grain: (G, G) float32 tile of unit deviation; amount: its strength in units of 1/255.
        shift_x, shift_y: where in the tile the layer's first pixel lies.
    """
    size, last = grain.shape[0], layer.shape[2] - 1
    for row in range(layer.shape[0]):
        line, at = grain[(row + shift_y) % size], (shift_x - 1) % size
        for column in range(layer.shape[1]):
            at = at + 1 if at + 1 < size else 0
            a = layer[row, column, last]
            level = int(255.0 * a + 0.5)
            alpha[top + row, left + column] = level
            if level == 0:
                continue
            weight, plain, noise = WEIGHTS[level], 255.0 / a, amount * line[at]
            pixel = picture[top + row, left + column]
            if last == 1:
                over = min(max(plain * layer[row, column, 0] + noise, 0.0), 255.0) * weight
                if pixel[0] == pixel[1] and pixel[0] == pixel[2]:  # as a rule
                    pixel[0] = pixel[1] = pixel[2] = np.uint8(pixel[0] * (1.0 - weight) + over + 0.5)
                    continue
                for ch in range(3):
                    pixel[ch] = np.uint8(pixel[ch] * (1.0 - weight) + over + 0.5)
            else:
                for ch in range(3):
                    over = min(max(plain * layer[row, column, ch] + noise, 0.0), 255.0) * weight
                    pixel[ch] = np.uint8(pixel[ch] * (1.0 - weight) + over + 0.5)


@compiled
def without_colour(layer):  # noqa: ANN001
    """Luma and alpha (h, w, 2) of a layer (h, w, 4) float32: all that a grey picture takes of it."""
    out = np.empty((layer.shape[0], layer.shape[1], 2), np.float32)
    red, green, blue = np.float32(LUMA[0]), np.float32(LUMA[1]), np.float32(LUMA[2])
    for row in range(layer.shape[0]):
        for column in range(layer.shape[1]):
            pixel = layer[row, column]
            out[row, column, 0] = red * pixel[0] + green * pixel[1] + blue * pixel[2]
            out[row, column, 1] = pixel[3]
    return out


@compiled
def sum_within(alpha, region, left, top):  # noqa: ANN001
    """How many pixels a region (h, w) uint8 of 0 and 1 has, and the sum of alpha (H, W) over them; its first pixel lies
    at ``left`` and ``top``."""
    count, total = 0, 0
    for row in range(region.shape[0]):
        line, inside = alpha[top + row, left : left + region.shape[1]], region[row]
        number = covered = np.int32(0)  # of a row, so that many are added at a time
        for column in range(inside.shape[0]):
            number += np.int32(inside[column])
            covered += np.int32(inside[column]) * np.int32(line[column])
        count, total = count + number, total + covered
    return count, total


@compiled
def channels_equal(picture, left, top, right, bottom):  # noqa: ANN001
    """Whether the channels of a part of a picture (H, W, 3) uint8 are equal everywhere."""
    for row in range(top, bottom):
        line, different = picture[row, left:right].reshape(3 * (right - left)), np.uint8(0)
        for k in range(right - left):  # without a way out, so that many pixels are compared at a time
            different |= (line[3 * k] ^ line[3 * k + 1]) | (line[3 * k] ^ line[3 * k + 2])
        if different:
            return False
    return True


@compiled
def copy_covered(picture, alpha, other, left, top):  # noqa: ANN001
    """Copy the pixels of ``other`` (h, w, 3) uint8, whose first one lies at ``left`` and ``top``, into a picture
    (H, W, 3) uint8 where alpha (H, W) is not 0."""
    for row in range(other.shape[0]):
        for column in range(other.shape[1]):
            if alpha[top + row, left + column]:
                for ch in range(3):
                    picture[top + row, left + column, ch] = other[row, column, ch]
