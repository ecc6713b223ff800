"""What the mask textures are drawn with: seeded noise, outlines, relief lit from above, straps, the atlas.

A picture of a part of a mask is a *block*: (rows, columns, 4) straight RGBA in 0..1. Lengths are in texels; a texel is
about 0.4 mm of cloth. Heights are in texels too, so that slopes are true slopes. All functions are pure and seeded.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SIZE = 512
PANEL_ROWS = 432  # the panel's part of the atlas
STRAP_ROWS = (448, 496)
PRINT_SIZE = 448
PANEL_UV = [0.0, 0.0, 1.0, PANEL_ROWS / SIZE]
STRAP_UV = [0.0, STRAP_ROWS[0] / SIZE, 1.0, STRAP_ROWS[1] / SIZE]
SHORT_ROWS = 352  # of a panel that leaves room for an inset: a valve, a filter
INSET = (356, 356, 152)  # row, column and side of the inset's square
SHORT_UV = [0.0, 0.0, 1.0, SHORT_ROWS / SIZE]
SHORT_STRAP_UV = [0.0, STRAP_ROWS[0] / SIZE, (INSET[1] - 4) / SIZE, STRAP_ROWS[1] / SIZE]
INSET_UV = [INSET[1] / SIZE, INSET[0] / SIZE, (INSET[1] + INSET[2]) / SIZE, (INSET[0] + INSET[2]) / SIZE]
WIDE_INSET = (355, 90)  # first row and rows of an inset as wide as the atlas
WIDE_INSET_UV = [0.0, WIDE_INSET[0] / SIZE, 1.0, (WIDE_INSET[0] + WIDE_INSET[1]) / SIZE]
MARGIN = 18.0  # texels around the cloth: room for the soft edge and the contact shadow
LIGHT = np.array([0.10, -0.52, 0.85])  # towards the light: from above, a little from the right
SHAPE = (PANEL_ROWS, SIZE)
FAST_FROM = 9.0  # texels of blur
# OpenCV's wide blurs differ in their last bits between one thread and several, enough to round a texel the other way.
THREADS = 2
COLOUR_STEP, PRINT_STEP, ALPHA_STEP = 3, 6, 3  # levels are rounded to these, for small files; prints to the second


def axes(shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Texel coordinates x (rows, columns) from the midline to the right, y from the top edge down."""
    rows, columns = shape
    x, y = np.meshgrid(np.arange(columns) + 0.5 - columns / 2, np.arange(rows) + 0.5)
    return x, y


def noise(seed: int, blur: float | tuple[float, float], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Seeded noise of unit deviation, smoothed by ``blur`` texels (or by (across, down))."""
    sigma = (blur, blur) if np.isscalar(blur) else blur
    field = blurred(np.random.default_rng(seed).normal(size=shape), *sigma)
    return field / field.std()


def blurred(field: np.ndarray, across: float, down: float) -> np.ndarray:
    """cv2.GaussianBlur, reflected at the border; wide kernels by Fourier transform, which is much faster."""
    for axis, sigma in ((1, across), (0, down)):
        if sigma >= FAST_FROM and field.shape[axis] > 1:
            field = _transformed_blur(field, sigma, axis)
        elif sigma:
            one_way = (max(sigma, 0.01), 0.01) if axis else (0.01, max(sigma, 0.01))
            field = cv2.GaussianBlur(field, (0, 0), one_way[0], sigmaY=one_way[1])
    return field


def _transformed_blur(field: np.ndarray, sigma: float, axis: int) -> np.ndarray:
    from scipy.fft import irfft, next_fast_len, rfft

    kernel = cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma).ravel()
    reach = [(0, 0), (0, 0)]
    reach[axis] = (len(kernel) // 2,) * 2
    padded = np.pad(field, reach, mode="reflect")
    size = next_fast_len(padded.shape[axis] + len(kernel) - 1, real=True)
    response = rfft(kernel, size).reshape((-1, 1) if axis == 0 else (1, -1))
    whole = irfft(rfft(padded, size, axis=axis) * response, size, axis=axis)
    return np.take(whole, np.arange(len(kernel) - 1, padded.shape[axis]), axis=axis)


def slanted(seed: int, angle: float, along: float, across: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Noise of unit deviation drawn out along a direction (degrees, 0 = level, positive down to the right)."""
    rows, columns = shape
    side = int(np.ceil(np.hypot(rows, columns))) + 8
    field = noise(seed, (along, across), (side, side))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), -angle, 1.0)
    turned = cv2.warpAffine(field, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    top, left = (side - rows) // 2, (side - columns) // 2
    return turned[top : top + rows, left : left + columns]


def line(distance: np.ndarray, width: float) -> np.ndarray:
    """A soft line: 1 at distance 0, falling within ``width``."""
    return np.exp(-((distance / width) ** 2))


def step(value: np.ndarray, edge: float, width: float) -> np.ndarray:
    """A smooth step from 0 below ``edge`` to 1 above."""
    t = np.clip((value - edge) / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def grey(value: np.ndarray) -> np.ndarray:
    """(rows, columns) to three equal channels."""
    return np.repeat(value[..., None], 3, -1)


def mix(below: np.ndarray, above: np.ndarray | Sequence[float], weight: np.ndarray) -> np.ndarray:
    """``above`` over ``below`` (rows, columns, 3) with ``weight`` (rows, columns)."""
    return below + (np.asarray(above) - below) * weight[..., None]


def rounded(shape: tuple[int, int] = SHAPE, radius: float = 16.0, margin: float = MARGIN) -> np.ndarray:
    """Signed distance in texels, positive inside, to a rounded rectangle ``margin`` inside the block."""
    x, y = axes(shape)
    qx = np.abs(x) - (shape[1] / 2 - margin - radius)
    qy = np.abs(y - shape[0] / 2) - (shape[0] / 2 - margin - radius)
    outer = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)
    return radius - outer


def oval(shape: tuple[int, int] = SHAPE, power: float = 2.0, margin: float = MARGIN) -> np.ndarray:
    """Signed distance (about) to a super-ellipse that fills the block but for the margin."""
    x, y = axes(shape)
    half = np.array([shape[1] / 2 - margin, shape[0] / 2 - margin])
    a, b = np.abs(x) / half[0], np.abs(y - shape[0] / 2) / half[1]
    radius = (a**power + b**power) ** (1 / power)
    slope = np.hypot(*np.gradient(radius))
    return (1 - radius) / np.maximum(slope, 1 / half.max())


def polygon(points: Sequence[Sequence[float]], shape: tuple[int, int] = SHAPE, round_off: float = 6.0) -> np.ndarray:
    """Signed distance to a closed outline through (x, y) texels, its corners rounded."""
    corners = np.asarray(points, np.float64) + [shape[1] / 2, 0]
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(corners * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(inside.astype(np.float64) / 255, (0, 0), round_off)
    hard = (soft > 0.5).astype(np.uint8)
    within, without = (cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for m in (hard, 1 - hard))
    return cv2.GaussianBlur(within.astype(np.float64) - without, (0, 0), 1.2)


def polyline(points: Sequence[Sequence[float]], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Distance in texels to an open curve through (x, y) points (smooth, parametric cubic)."""
    from scipy.interpolate import PchipInterpolator

    corners = np.asarray(points, np.float64)
    t = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    path = PchipInterpolator(t / t[-1], corners, axis=0)(np.linspace(0, 1, 80)) + [shape[1] / 2, 0]
    drawn = np.full(shape, 255, np.uint8)
    cv2.polylines(drawn, [np.rint(path * 16).astype(np.int32)], False, 0, 1, cv2.LINE_8, 4)
    return cv2.GaussianBlur(
        cv2.distanceTransform(drawn, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64), (0, 0), 0.8
    )


def shade(height: np.ndarray, contrast: float = 0.75, hollows: float = 0.05, reach: float = 7.0) -> np.ndarray:
    """Brightness (about 1) of a relief lit from above: slope towards the light, and hollows see less sky."""
    down, across = np.gradient(height)
    facing = (LIGHT[2] - across * LIGHT[0] - down * LIGHT[1]) / np.sqrt(1 + across**2 + down**2) / LIGHT[2]
    sunk = height - cv2.GaussianBlur(height, (0, 0), reach)
    lit = 1 + contrast * (facing - 1) + np.clip(hollows * sunk, -0.22, 0.06)
    # The darkest creases still get light from the sides: below 0.75 the brightness bends towards 0.45.
    return np.clip(np.where(lit < 0.75, 0.45 + 0.30 * np.exp((lit - 0.75) / 0.30), lit), 0.45, 1.25)


def edge_roll(distance: np.ndarray, width: float, height: float) -> np.ndarray:
    """The relief of a rounded edge: rises from the outline to ``height`` within ``width`` texels."""
    t = np.clip(distance / width, 0, 1)
    return height * np.sqrt(np.maximum(1 - (1 - t) ** 2, 0))


def block(colour: np.ndarray, distance: np.ndarray, shadow: float = 0.40, softness: float = 1.6) -> np.ndarray:
    """The cloth where ``distance`` > 0, and around it the shadow it casts: deeper below, faint above."""
    cover = step(distance, 0, 2 * softness)
    away = np.exp(-((np.maximum(-distance, 0) / (0.42 * MARGIN)) ** 2)) * step(distance, -0.8 * MARGIN, 0.4 * MARGIN)
    rows = np.linspace(0, 1, distance.shape[0])[:, None]
    cast = shadow * (0.45 + 0.55 * rows) * away
    alpha = cover + (1 - cover) * cast
    return np.dstack([colour * (cover / np.maximum(alpha, 1e-6))[..., None], alpha])


def strap(
    kind: str, colour: Sequence[float], rows: int = STRAP_ROWS[1] - STRAP_ROWS[0], end: float = 0.93
) -> np.ndarray:
    """A strap along the block: ``kind`` cord, flat, tie, rubber or foam (which tapers); it fades out at its far end."""
    across = (np.arange(rows) + 0.5) / rows * 2 - 1
    along = (np.arange(SIZE) + 0.5) / SIZE
    half = {"cord": 0.40, "flat": 0.56, "tie": 0.60, "rubber": 0.50, "foam": 0.66}[kind] * np.ones(SIZE)[None]
    if kind == "foam":
        half = half * (1 - 0.62 * step(along, 0.40, 0.8))[None]
    fade = 1 - step(along, end, 0.12)[None]
    body = step(half - np.abs(across)[:, None], 0, 0.16) * fade
    under = 0.24 * np.exp(-((np.maximum(np.abs(across + 0.1)[:, None] - half, 0) / 0.2) ** 2)) * fade**2
    alpha = body + (1 - body) * under * step(1 - np.abs(across), 0.12, 0.24)[:, None]
    round_off = (
        1 - 0.34 * np.abs(across[:, None] / half) ** {"cord": 2, "flat": 6, "tie": 6, "rubber": 4, "foam": 6}[kind]
    )
    light = np.clip(round_off - 0.10 * across[:, None], 0.4, 1.1)
    texel = along[None] * SIZE
    if kind == "cord":
        light = light * (1 + 0.07 * np.sin(texel * 0.9 + 9 * across[:, None]))
    elif kind == "flat":
        light = light * (1 + 0.07 * np.sin(across[:, None] * 26)) * (1 + 0.05 * np.sin(texel * 2 * np.pi / 4))
    elif kind == "tie":
        light = light * (1 + 0.05 * np.sin(texel / 23.0 + 3 * across[:, None])) - 0.16 * line(across, 0.07)[:, None]
    light = light * (body / np.maximum(alpha, 1e-6))
    return np.dstack([light[..., None] * np.asarray(colour, np.float64) / 255, alpha])


def atlas(blocks: Sequence[tuple[int, int, np.ndarray]], levels: int = COLOUR_STEP) -> np.ndarray:
    """Put blocks at (row, column) on an empty SIZE x SIZE picture: uint8 RGBA, colours rounded to ``levels``.

    Prints (``levels`` = ``PRINT_STEP``), which compress badly, are reduced to ``PRINT_SIZE``.
    """
    out = np.zeros((SIZE, SIZE, 4))
    for row, column, part in blocks:
        out[row : row + part.shape[0], column : column + part.shape[1]] = part
    out = fit(out, PRINT_SIZE, PRINT_SIZE) if levels == PRINT_STEP else out
    whole = np.clip(out, 0, 1) * 255
    colour = np.minimum(np.rint(whole[..., :3] / levels) * levels, 255)
    alpha = np.minimum(np.rint(whole[..., 3:] / ALPHA_STEP) * ALPHA_STEP, 255)
    return np.concatenate([np.where(alpha > 0, colour, 0), alpha], -1).astype(np.uint8)


def fit(part: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A block drawn at another size, reduced; colours are weighted by alpha."""
    weighted = np.dstack([part[..., :3] * part[..., 3:], part[..., 3]])
    small = cv2.resize(weighted, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.dstack([small[..., :3] / np.maximum(small[..., 3:], 1e-6), small[..., 3]])


def with_inset(panel: np.ndarray, inset: np.ndarray, band: np.ndarray) -> np.ndarray:
    """The atlas of a mask with a valve (a square inset, a shorter strap) or with filters (a wide inset)."""
    strap_rows, wide = STRAP_ROWS[1] - STRAP_ROWS[0], inset.shape[1] > inset.shape[0]
    top, left, rows, columns = (WIDE_INSET[0], 0, WIDE_INSET[1], SIZE) if wide else (*INSET, INSET[2])
    return atlas([
        (0, 0, fit(panel, SHORT_ROWS, SIZE)),
        (STRAP_ROWS[0], 0, band if wide else fit(band, strap_rows, INSET[1] - 4)),
        (top, left, fit(inset, rows, columns)),
    ])  # fmt: skip


def panel_and_strap(panel: np.ndarray, band: np.ndarray, levels: int = COLOUR_STEP) -> np.ndarray:
    """The usual atlas: a panel above, a strap below."""
    return atlas([(0, 0, panel), (STRAP_ROWS[0], 0, band)], levels)
