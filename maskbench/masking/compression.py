"""What JPEG does to a grey picture, without the file: the cosine transform, its rounding, and back.

The transforms are the Independent JPEG Group's accurate integer ones (jfdctint.c, jidctint.c, after Loeffler,
Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989), step by step, so
that pixels come out as OpenCV would decode them. Whole numbers in float64 are exact and compiled loops over eight of
them at a time are fast: the pixels of a mask take a fifth of the time of encoding and decoding.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from maskbench.masking.kernels import compiled

# The example table for luminance, ITU-T T.81, table K.1.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
ONE = 8192.0  # of the fixed-point constants
C0_298, C0_390, C0_541, C0_765, C0_899, C1_175 = 2446.0, 3196.0, 4433.0, 6270.0, 7373.0, 9633.0
C1_501, C1_847, C1_961, C2_053, C2_562, C3_072 = 12299.0, 15137.0, 16069.0, 16819.0, 20995.0, 25172.0


def compress_grey(picture: np.ndarray, alpha: np.ndarray, plane: np.ndarray, left: int, top: int, quality: int) -> None:
    """Give pixels the value that they have after JPEG compression, in place, where alpha is not 0.

    Args:
        picture: (H, W, 3) uint8, receives the values in all channels; alpha: (H, W) uint8.
        plane: (h, w) uint8, the part of the picture at ``left`` and ``top``, multiples of 8; it ends at a multiple of
            8 or with the picture.
        quality: the IJG's, 1 to 100.
    """
    _compress(picture, alpha, plane, left, top, quantisation(quality))


@lru_cache(maxsize=100)
def quantisation(quality: int) -> np.ndarray:
    """The luminance table of an IJG quality: (64,) float64, row by row."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = (np.array(LUMINANCE, np.int64) * percent + 50) // 100
    return np.clip(table, 1, 255).astype(np.float64)


@compiled
def _compress(picture, alpha, plane, left, top, table):  # noqa: ANN001 - numba infers the types
    block, turned = np.empty(64), np.empty(64)
    for row in range(0, plane.shape[0], 8):
        for column in range(0, plane.shape[1], 8):
            if not _covered(alpha, left + column, top + row):
                continue
            _read(turned, plane, column, row)
            _forward(turned, 4.0, 2.0**-11)  # along the rows, which are columns here
            _turn(block, turned)
            _forward(block, 0.25, 2.0**-15)
            _round(block, table)
            _inverse(block, 2.0**-11)
            _turn(turned, block)
            _inverse(turned, 2.0**-18)
            _write(picture, alpha, turned, left + column, top + row)


@compiled
def _covered(alpha, x, y):  # noqa: ANN001
    """Whether a block of 8 x 8 pixels, cut off at the border, has one whose alpha is not 0."""
    for row in range(y, min(y + 8, alpha.shape[0])):
        for column in range(x, min(x + 8, alpha.shape[1])):
            if alpha[row, column]:
                return True
    return False


@compiled
def _read(turned, plane, x, y):  # noqa: ANN001
    """A block's values about 0, columns first; beyond the border its last pixels are repeated."""
    height, width = plane.shape
    for r in range(8):
        line = plane[min(y + r, height - 1)]
        for c in range(8):
            turned[8 * c + r] = float(line[min(x + c, width - 1)]) - 128.0


@compiled
def _turn(out, block):  # noqa: ANN001
    for r in range(8):
        for c in range(8):
            out[8 * c + r] = block[8 * r + c]


@compiled
def _forward(block, even, odd):  # noqa: ANN001
    """Eight cosine transforms along the first axis, in place, rounded after scaling: jfdctint.c."""
    for k in range(8):
        t0, t7 = block[k] + block[56 + k], block[k] - block[56 + k]
        t1, t6 = block[8 + k] + block[48 + k], block[8 + k] - block[48 + k]
        t2, t5 = block[16 + k] + block[40 + k], block[16 + k] - block[40 + k]
        t3, t4 = block[24 + k] + block[32 + k], block[24 + k] - block[32 + k]
        t10, t13, t11, t12 = t0 + t3, t0 - t3, t1 + t2, t1 - t2
        z1 = (t12 + t13) * C0_541
        block[k] = np.floor((t10 + t11) * even + 0.5)
        block[32 + k] = np.floor((t10 - t11) * even + 0.5)
        block[16 + k] = np.floor((z1 + t13 * C0_765) * odd + 0.5)
        block[48 + k] = np.floor((z1 - t12 * C1_847) * odd + 0.5)
        z5 = (t4 + t6 + t5 + t7) * C1_175
        z1, z2 = (t4 + t7) * -C0_899, (t5 + t6) * -C2_562
        z3, z4 = (t4 + t6) * -C1_961 + z5, (t5 + t7) * -C0_390 + z5
        block[56 + k] = np.floor((t4 * C0_298 + z1 + z3) * odd + 0.5)
        block[40 + k] = np.floor((t5 * C2_053 + z2 + z4) * odd + 0.5)
        block[24 + k] = np.floor((t6 * C3_072 + z2 + z3) * odd + 0.5)
        block[8 + k] = np.floor((t7 * C1_501 + z1 + z4) * odd + 0.5)


@compiled
def _round(block, table):  # noqa: ANN001
    """Coefficients, eight times too large, to the nearest multiples of the table's values, halves away from 0."""
    for k in range(64):
        step = 8.0 * table[k]
        size = np.floor((abs(block[k]) + 0.5 * step) / step) * table[k]
        block[k] = size if block[k] >= 0.0 else -size


@compiled
def _inverse(block, scale):  # noqa: ANN001
    """Eight inverse transforms along the first axis, in place, rounded after scaling: jidctint.c."""
    for k in range(8):
        z1 = (block[16 + k] + block[48 + k]) * C0_541
        t2, t3 = z1 - block[48 + k] * C1_847, z1 + block[16 + k] * C0_765
        t0, t1 = (block[k] + block[32 + k]) * ONE, (block[k] - block[32 + k]) * ONE
        t10, t13, t11, t12 = t0 + t3, t0 - t3, t1 + t2, t1 - t2
        t0, t1, t2, t3 = block[56 + k], block[40 + k], block[24 + k], block[8 + k]
        z5 = (t0 + t2 + t1 + t3) * C1_175
        z1, z2 = (t0 + t3) * -C0_899, (t1 + t2) * -C2_562
        z3, z4 = (t0 + t2) * -C1_961 + z5, (t1 + t3) * -C0_390 + z5
        t0, t1 = t0 * C0_298 + z1 + z3, t1 * C2_053 + z2 + z4
        t2, t3 = t2 * C3_072 + z2 + z3, t3 * C1_501 + z1 + z4
        block[k], block[56 + k] = np.floor((t10 + t3) * scale + 0.5), np.floor((t10 - t3) * scale + 0.5)
        block[8 + k], block[48 + k] = np.floor((t11 + t2) * scale + 0.5), np.floor((t11 - t2) * scale + 0.5)
        block[16 + k], block[40 + k] = np.floor((t12 + t1) * scale + 0.5), np.floor((t12 - t1) * scale + 0.5)
        block[24 + k], block[32 + k] = np.floor((t13 + t0) * scale + 0.5), np.floor((t13 - t0) * scale + 0.5)


@compiled
def _write(picture, alpha, turned, x, y):  # noqa: ANN001
    """A block's values, columns first, into the covered pixels."""
    for row in range(y, min(y + 8, alpha.shape[0])):
        for column in range(x, min(x + 8, alpha.shape[1])):
            if alpha[row, column]:
                value = np.uint8(min(max(turned[8 * (column - x) + row - y] + 128.0, 0.0), 255.0))
                pixel = picture[row, column]
                pixel[0] = pixel[1] = pixel[2] = value
