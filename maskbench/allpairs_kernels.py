"""The inner loops of all-against-all comparison, compiled by numba: one pass over each block of scores.

For every non-mated score: its bin, and, where the bin asks for it, the score itself (to be kept) or its place among
the points (distinct mated scores and thresholds) that fall into the same bin. Mated entries are never looked at here:
rows are sorted by subject, so they are one range of columns, which is skipped.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from maskbench.masking.kernels import compiled

KEEP, SPLIT = np.uint8(1), np.uint8(2)  # bits of the code of a bin: keep its scores; points lie in it

# Sums may be reordered so that they run in vector registers; nothing else in this file depends on an order.
_in_any_order = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract"})


@_in_any_order
def _moments(row, pivot):  # noqa: ANN001 - numba infers the types
    """Sum of (score - pivot) and of its square, float64."""
    first, second = 0.0, 0.0
    for j in range(row.shape[0]):
        deviation = np.float64(row[j]) - pivot
        first += deviation
        second += deviation * deviation
    return first, second


@compiled
def _add(sums, k, value):  # noqa: ANN001 - numba infers the types
    """Add to ``sums[k]``, what rounding loses to ``sums[k + 1]`` (Neumaier 1974)."""
    total = sums[k] + value
    if abs(sums[k]) >= abs(value):
        sums[k + 1] += (sums[k] - total) + value
    else:
        sums[k + 1] += (value - total) + sums[k]
    sums[k] = total


@compiled
def _find_bins(row, low, scale, last, places):  # noqa: ANN001 - numba infers the types
    """The bin of each score: float32 arithmetic that never falls as the score grows, held within 0 .. last."""
    zero = np.float32(0)
    for j in range(row.shape[0]):
        places[j] = np.uint32(np.int32(min(max((row[j] - low) * scale, zero), last)))


@compiled
def _place(score, low, high, points, cells):  # noqa: ANN001 - numba infers the types
    """Count a score at the first of ``points[low:high]`` that is not smaller, or in the last cell above them all.

    The last steps of the search need no branch: points of later bins, and the padding, exceed the score anyway.
    """
    first, end = low, high
    while high - first > 4:
        middle = (first + high) >> 1
        if points[middle] < score:
            first = middle + 1
        else:
            high = middle
    steps = np.int64(0)
    for k in range(4):
        steps += np.int64(points[first + k] < score)
    first += steps
    place = first if first < end else np.int64(cells.shape[0] >> 1) - 1
    cells[2 * place + np.int64(points[first] == score)] += 1


@compiled
def _scan_row(row, grid, tables, n):  # noqa: ANN001 - numba infers the types
    low, scale, last, pivot = grid
    code, start, points, histogram, cells, sums, kept, places, marked = tables
    if row.shape[0] == 0:
        return n
    _find_bins(row, low, scale, last, places)
    m = np.int64(0)
    for j in range(row.shape[0]):
        b = places[j]
        histogram[b] += 1
        bits = np.int64(code[b])
        # Both are always written, and overwritten by the next unless wanted: no branch to guess wrong.
        kept[n] = row[j]
        n += bits & 1
        marked[m] = j
        m += bits >> 1
    for k in range(m):
        j = marked[k]
        b = places[j]
        _place(row[j], np.int64(start[b]), np.int64(start[b + np.uint32(1)]), points, cells)
    first, second = _moments(row, pivot)
    _add(sums, 0, first)
    _add(sums, 2, second)
    return n


@compiled
def scan_block(scores, columns, skip, grid, tables):  # noqa: ANN001 - numba infers the types
    """One block of scores into histogram, cells, sums and kept scores.

    Args:
        scores: (r, c or more) float32; only the first ``columns`` columns count.
        skip: (r, 2) int64: columns ``skip[i, 0] <= j < skip[i, 1]`` of row i are left out; both within 0 .. columns.
        grid: (low, scale, last bin) float32 and the pivot of the sums, float64.
        tables: code (B,) uint8, start (B + 1,) uint32, points (Q + 4,) float32, the last four +inf; added to:
            histogram (B,) int64, cells (2 Q + 2,) int64 (below and equal to each point in turn, then what lies above
            the points of its bin), sums (4,) float64; written: kept float32, longer than the block by one at least,
            places and marked uint32, longer than ``columns``.

    Returns:
        The number of scores that ``kept`` holds now.
    """
    n = np.int64(0)
    for i in range(skip.shape[0]):
        n = _scan_row(scores[i, : skip[i, 0]], grid, tables, n)
        n = _scan_row(scores[i, skip[i, 1] : columns], grid, tables, n)
    return n


@compiled
def to_distances(scores, left, right):  # noqa: ANN001 - numba infers the types
    """Dot products (r, c) to minus the Euclidean distance, in place; ``left`` (r,), ``right`` (c,) squared lengths."""
    zero, two = np.float32(0), np.float32(2)
    for i in range(left.shape[0]):
        for j in range(right.shape[0]):
            scores[i, j] = zero - np.sqrt(max(left[i] + right[j] - two * scores[i, j], zero))


@compiled
def take_mated(scores, ranges, out, n):  # noqa: ANN001 - numba infers the types
    """Copy the mated scores of a block to ``out`` from place ``n`` on; returns the next free place.

    Args:
        scores: (r, c) float32.
        ranges: (r, 3) int64: columns ``ranges[i, 0] <= j < ranges[i, 1]`` of row i, without ``ranges[i, 2]``.
    """
    for i in range(ranges.shape[0]):
        for j in range(ranges[i, 0], ranges[i, 1]):
            if j != ranges[i, 2]:
                out[n] = scores[i, j]
                n += 1
    return n
