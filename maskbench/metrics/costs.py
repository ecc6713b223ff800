"""The threshold at which a weighted sum of errors is lowest: exact, without visiting every threshold.

Accuracy is highest where misses + false matches are fewest, the detection cost where a x misses + b x false matches is
lowest. Misses never fall and false matches never rise with the threshold, so that for all thresholds between two others
the cost is at least a x misses(lower one) + b x false matches(upper one). Stretches whose bound exceeds a cost that is
known to be reached are left out; what remains is evaluated score by score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from maskbench.metrics.arrays import just_above

GROUP = 64  # neighbouring stretches that are evaluated at once

_Part = tuple[int, int, int, int]  # first and end index of a stretch in the mated and in the non-mated scores


@dataclass(frozen=True)
class Lowest:
    """A threshold of least cost.

    Attributes:
        cost: miss x misses + match x matches, an exact integer.
        threshold: in the middle of the interval that was chosen, as ``lowest_cost`` says.
        misses: mated scores below it.
        matches: non-mated scores at or above it.
    """

    cost: int
    threshold: float | int
    misses: int
    matches: int


@dataclass(frozen=True)
class _Costs:
    """The classes, ascending, and what an error of either kind costs."""

    mated: np.ndarray
    non_mated: np.ndarray
    miss: int
    match: int

    def of(self, misses: np.ndarray, rejected: np.ndarray) -> np.ndarray:
        """The cost of so many misses and of so many non-mated scores rejected, element by element."""
        largest = self.miss * len(self.mated) + self.match * len(self.non_mated)
        kind = np.int64 if largest < 2**62 else object  # Python's integers: slow, for very odd weights only
        return self.miss * misses.astype(kind) + self.match * (len(self.non_mated) - rejected).astype(kind)


def lowest_cost(
    mated: np.ndarray, non_mated: np.ndarray, miss: int = 1, match: int = 1, strides: tuple[int, ...] = ()
) -> Lowest:
    """The threshold with the lowest miss x (mated scores < t) + match x (non-mated scores >= t).

    Where several thresholds reach it, they form intervals between neighbouring scores. The middle interval is taken
    (the lower of two), and its midpoint, as far as the dtype allows: a choice that favours neither class and keeps its
    distance from the scores. Below all scores it is the lowest score, above all of them the lowest value above.

    Args:
        mated, non_mated: (N,) ascending, of one dtype, as ``both_classes`` returns them.
        miss, match: what one error of each kind costs, at least 0, not both 0.
        strides: descending steps by which the scores are looked at, the last one 1; () chooses. They change the time
            and the memory, not the outcome.
    """
    costs = _Costs(mated, non_mated, miss, match)
    strides = strides or _strides(len(mated) + len(non_mated))
    top = max(mated[-1], non_mated[-1])
    above = just_above(top)
    least = None if above is None else miss * len(mated)  # matching nothing is no decision where a score is +inf
    kept: list[np.ndarray] = []
    for scores, values in _worth_a_look(costs, strides, least):
        lowest = int(values.min())
        if least is None or lowest < least:
            least, kept = lowest, []
        if lowest == least:
            kept.append(scores[values == least])
    best = np.unique(np.concatenate(kept)) if kept else mated[:0]
    nothing = above is not None and miss * len(mated) == least
    place = (len(best) + nothing - 1) // 2
    threshold = above if place == len(best) else _midway(costs, best[place])
    misses = int(np.searchsorted(mated, best[place])) if place < len(best) else len(mated)
    matches = len(non_mated) - int(np.searchsorted(non_mated, best[place])) if place < len(best) else 0
    return Lowest(least, threshold, misses, matches)


def _worth_a_look(
    costs: _Costs, strides: tuple[int, ...], least: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and their costs, among them every score of least cost; ``least`` is a cost that is known to be reached.

    Each stride samples what the one before could not rule out; the last one, 1, takes every score.
    """
    stretches = [(0, len(costs.mated), 0, len(costs.non_mated))]
    for stride in strides:
        parts, stretches = stretches, []
        for part in parts:
            scores, values, places = _sample(costs, part, stride)
            yield scores, values
            least = min(int(values.min()), int(values.min()) if least is None else least)
            if stride > 1:
                stretches += _left_over(costs, places, part, least)


def _sample(costs: _Costs, part: _Part, stride: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Every ``stride``-th score of a stretch, what each costs, and where either class reaches and passes it."""
    mated, non_mated = costs.mated[part[0] : part[1]], costs.non_mated[part[2] : part[3]]
    scores = np.unique(np.concatenate([mated[::stride], non_mated[::stride]]))
    starts = part[0] + np.searchsorted(mated, scores), part[2] + np.searchsorted(non_mated, scores)
    passed = (part[0] + np.searchsorted(mated, scores, "right"), part[2] + np.searchsorted(non_mated, scores, "right"))
    return scores, costs.of(*starts), [passed[0], starts[0], passed[1], starts[1]]


def _left_over(costs: _Costs, places: list[np.ndarray], part: _Part, least: int) -> list[_Part]:
    """The stretches between sampled scores that may hold a cost of ``least`` or lower, up to GROUP of them as one."""
    ends = np.append(places[1][1:], part[1]), np.append(places[3][1:], part[3])
    filled = (places[0] < ends[0]) | (places[2] < ends[1])
    wanted = np.flatnonzero(filled & (costs.of(places[0], ends[1]) <= least))
    breaks = np.flatnonzero(np.diff(wanted) > 1) + 1
    runs = [run[i : i + GROUP] for run in np.split(wanted, breaks) for i in range(0, len(run), GROUP)]
    return [(int(places[0][r[0]]), int(ends[0][r[-1]]), int(places[2][r[0]]), int(ends[1][r[-1]])) for r in runs]


def _strides(count: int) -> tuple[int, ...]:
    """Steps by which ``count`` scores are looked at, the last one 1."""
    stride, found = count // 512, []
    while stride >= 32:
        found.append(stride)
        stride //= 16
    return (*found, 1)


def _midway(costs: _Costs, high: np.generic) -> float | int:
    """A threshold that decides as ``high``, a score, does: midway to the score before it, where there is one."""
    places = [(part, int(np.searchsorted(part, high))) for part in (costs.mated, costs.non_mated)]
    before = [part[place - 1] for part, place in places if place]
    if not before:
        return high.item()
    low = max(before)
    if high.dtype.kind == "i":
        return -((-int(low) - int(high)) // 2)
    half = high.dtype.type(0.5)
    with np.errstate(invalid="ignore"):
        middle = low * half + high * half  # halved first: the sum of two large scores overflows
    return middle.item() if low < middle < high else high.item()
