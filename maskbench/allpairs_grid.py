"""The bins of a pass over all scores, what a pass brings home, and exact order statistics from both.

A bin never falls as the score grows, so that "above a bin" and "above its scores" agree exactly.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from maskbench.allpairs_kernels import KEEP, SPLIT
from maskbench.errors import MaskbenchError


@dataclass(frozen=True)
class Grid:
    """Bins of equal width over the scores of a sample; scores beyond them fall into the first and the last.

    Attributes:
        low, scale: float32; bin = (score - low) x scale in float32, cut to 0 .. B - 1 and truncated.
        code: (B,) uint8: KEEP where a pass keeps the scores, SPLIT where points lie. A pass may clear KEEP bits.
        points: (Q,) float32, ascending and distinct: at each of them errors are counted exactly.
        start: (B + 1,) uint32: points in bins below.
        pivot: float64, a score near the mean: moments are taken about it, and equal scores have no spread at all.
    """

    low: np.float32
    scale: np.float32
    code: np.ndarray
    points: np.ndarray
    start: np.ndarray
    pivot: float

    @property
    def keeps(self) -> np.ndarray:
        """(B,) bool: which bins' scores are kept."""
        return (self.code & KEEP) > 0

    def bins(self, scores: np.ndarray) -> np.ndarray:
        """(N,) int32 bins, by the very arithmetic of the pass."""
        with np.errstate(over="ignore"):
            return np.clip((scores - self.low) * self.scale, 0, np.float32(len(self.code) - 1)).astype(np.int32)

    def keeping(self, bins: np.ndarray) -> Grid:
        """For a later pass: keep the scores of these bins; nothing is split any more."""
        code = np.zeros(len(self.code), np.uint8)
        code[bins] = KEEP
        return replace(self, code=code)


def make_grid(sample: np.ndarray, points: np.ndarray, bins: int) -> Grid:
    """A grid without kept bins, from any float32 sample of the scores (it only has to be typical, not random)."""
    low, high = (sample.min(), sample.max()) if len(sample) else (np.float32(-1), np.float32(1))
    width = max(float(high) - float(low), abs(float(low)) * 1e-5, 1e-30)
    blank = Grid(
        np.float32(low), np.float32(min(bins / width, 1e37)), np.zeros(bins, np.uint8), points,
        np.zeros(bins + 1, np.uint32), float(sample[len(sample) // 2]) if len(sample) else 0.0,
    )  # fmt: skip
    places = blank.bins(points)
    blank.code[places] = SPLIT
    return replace(blank, start=np.searchsorted(places, np.arange(bins + 1, dtype=np.int32)).astype(np.uint32))


class Kept:
    """Scores that a pass keeps, within a bound; several threads may add.

    When there are too many, equal ones are counted together; when they are still too many, the lowest bins are given
    up (their KEEP bits are cleared), for another pass to take.
    """

    def __init__(self, grid: Grid, capacity: int) -> None:
        self._grid, self._capacity, self._lock = grid, capacity, threading.Lock()
        self._chunks: list[np.ndarray] = []
        self._pending = 0
        self._values, self._counts = np.empty(0, np.float32), np.empty(0, np.int64)

    def add(self, scores: np.ndarray) -> None:
        """Take over a copy of (N,) scores."""
        if len(scores) == 0:
            return
        with self._lock:
            self._chunks.append(scores.copy())
            self._pending += len(scores)
            if self._pending + 2 * len(self._values) > self._capacity:
                self._condense()

    def _condense(self) -> None:
        fresh = np.concatenate(self._chunks) if self._chunks else np.empty(0, np.float32)
        self._chunks, self._pending = [], 0
        fresh.sort()
        values, counts = _distinct(fresh)
        self._values, self._counts = _merged(self._values, self._counts, values, counts)
        if 2 * len(self._values) > self._capacity:
            self._give_up()

    def _give_up(self) -> None:
        """Clear the lowest kept bins, so that at most a quarter of the capacity stays."""
        places = self._grid.bins(self._values)
        first = places[-(self._capacity // 4) - 1] + 1  # the bin that would be kept in part goes too
        self._grid.code[:first] &= ~KEEP
        start = np.searchsorted(places, first)
        self._values, self._counts = self._values[start:], self._counts[start:]

    def result(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Ascending scores and how often each occurred (None: each is listed as often as it occurred)."""
        if len(self._values) == 0:
            scores = np.concatenate(self._chunks) if self._chunks else np.empty(0, np.float32)
            self._chunks = []
            scores.sort()
            return scores, None
        self._condense()
        return self._values, self._counts


def _distinct(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.empty(0, int)
    return ordered[edges], np.diff(np.append(edges, len(ordered)))


def _merged(a: np.ndarray, a_counts: np.ndarray, b: np.ndarray, b_counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, counts = np.concatenate([a, b]), np.concatenate([a_counts, b_counts])
    order = np.argsort(values, kind="stable")
    values, places = _distinct(values[order])[0], np.cumsum(_distinct(values[order])[1])
    totals = np.cumsum(counts[order])[places - 1]
    return values, np.diff(totals, prepend=0)


@dataclass
class Scan:
    """What one pass over the non-mated scores brings home.

    Attributes:
        histogram: (B,) int64.
        below, equal: (Q,) int64: scores of the point's bin between it and the point before it, and equal to it.
        sums: list of (4,) float64: sums of deviations from the pivot and of their squares, each with what was lost.
        kept, counts: as of ``Kept.result``.
    """

    grid: Grid
    histogram: np.ndarray
    below: np.ndarray
    equal: np.ndarray
    sums: list[np.ndarray]
    kept: np.ndarray
    counts: np.ndarray | None

    @cached_property
    def edges(self) -> np.ndarray:
        """(B + 1,) int64: where the scores of each bin begin among ``kept``."""
        sizes = np.where(self.grid.keeps, self.histogram, 0)
        if self.counts is None and sizes.sum() == len(self.kept):
            return np.concatenate([[0], np.cumsum(sizes)])
        return np.searchsorted(self.grid.bins(self.kept), np.arange(len(self.histogram) + 1, dtype=np.int32))


class Missing(Exception):
    """An order statistic lies in bins that no pass has kept yet."""

    def __init__(self, bins: list[int]) -> None:
        super().__init__(f"bins {bins}")
        self.bins = bins


@dataclass
class Ranks:
    """Exact counts and order statistics of all non-mated scores."""

    scan: Scan
    later: list[Scan] = field(default_factory=list)

    def __post_init__(self) -> None:
        histogram = self.scan.histogram
        self.total = int(histogram.sum())
        self._up_to = np.cumsum(histogram)  # scores in this bin and the bins below

    def add(self, scan: Scan) -> None:
        """Scores of further bins from another pass over the same scores.

        Raises:
            MaskbenchError: the pass met other scores than the first.
        """
        if not np.array_equal(scan.histogram, self.scan.histogram):
            raise MaskbenchError("the matrix product gave other scores when repeated; compare with device cpu")
        self.later.append(scan)

    def at(self, rank: int) -> tuple[np.float32, int]:
        """The score of a rank (0 is the largest) and how many are larger.

        Raises:
            Missing: another pass must keep its bin first.
        """
        place = int(np.searchsorted(self._up_to, self.total - rank))
        above = self.total - int(self._up_to[place])
        values, counts = self._bin(place)
        found = int(np.searchsorted(np.cumsum(counts[::-1]), rank - above, "right"))
        score = values[len(values) - 1 - found]
        return score, above + int(counts[np.searchsorted(values, score, "right") :].sum())

    def times(self, rank: int) -> int:
        """How often the score of a rank occurs. Raises as ``at``."""
        score, _ = self.at(rank)
        values, counts = self._bin(int(self.scan.grid.bins(np.array([score]))[0]))
        return int(counts[values == score].sum())

    def _bin(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Ascending scores of a bin and how often each occurred."""
        for scan in (self.scan, *self.later):
            if scan.grid.code[place] & KEEP:
                low, high = scan.edges[place : place + 2]
                values = scan.kept[low:high]
                counts = np.ones(high - low, np.int64) if scan.counts is None else scan.counts[low:high]
                if int(counts.sum()) != self.scan.histogram[place]:
                    raise MaskbenchError("a bin of scores is incomplete: a fault of maskbench; please report it")
                return values, counts
        upper = int(np.searchsorted(self._up_to, self._up_to[place], "right"))  # the next one that is not empty
        raise Missing([place] + [upper] * (upper < len(self._up_to)))

    def below_points(self) -> np.ndarray:
        """(Q,) int64: non-mated scores smaller than each point."""
        grid, before = self.scan.grid, np.concatenate([[0], self._up_to])
        places, inside = grid.bins(grid.points), self.scan.below + self.scan.equal
        passed = np.concatenate([[0], np.cumsum(inside)])
        return before[places] + passed[:-1] - passed[grid.start[places]] + self.scan.below

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation (divisor n) of all scores, summed without loss by ``math.fsum``."""
        first, second = (math.fsum(x for sums in self.scan.sums for x in sums[k : k + 2]) for k in (0, 2))
        offset = first / self.total
        return self.scan.grid.pivot + offset, math.sqrt(max(0.0, second / self.total - offset * offset))
