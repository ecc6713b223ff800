"""Equal error rate by the bracketing rule of the Fingerprint Verification Competitions."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from maskbench.metrics.arrays import ascending, both_classes, just_above


@dataclass(frozen=True)
class Eer:
    """Equal error rate.

    Attributes:
        value: midpoint of ``low`` and ``high``.
        low, high: FMR and FNMR, in order of size, at the bracketing threshold.
        threshold: that threshold; None where it would have to lie above a score of +inf.
    """

    value: float
    low: float
    high: float
    threshold: float | int | None


def eer(mated: np.ndarray, non_mated: np.ndarray) -> Eer:
    """The rate at which FMR and FNMR meet.

    On a finite set of scores they need not meet at any threshold. Over the distinct scores and one threshold above
    all of them, let t1 be the largest threshold with FNMR <= FMR and t2 the smallest with FNMR >= FMR; take the one
    with the smaller FMR + FNMR (t1 on a draw). The interval [low, high] is FMR and FNMR there, and the value is its
    midpoint (Maio, Maltoni, Cappelli, Wayman, Jain: FVC2000, IEEE TPAMI 24(3), 2002).

    Counts are compared as integers, so ties and near-ties are decided exactly.

    Args:
        mated, non_mated: (N,) completed scores, in any order (sorted input is not sorted again).

    Raises:
        MaskbenchError: a class has no scores, or NaN.
    """
    return eer_sorted(*(ascending(scores) for scores in both_classes(mated, non_mated)))


def eer_sorted(mated: np.ndarray, non_mated: np.ndarray) -> Eer:
    """``eer`` of what ``both_classes`` returned, each class ascending: O(log² N), nothing checked."""
    lower, upper = last_low(mated, non_mated), first_high(mated, non_mated)
    weights = len(non_mated), len(mated)  # errors x weight is the rate times the product of both sizes
    sums = [misses * weights[0] + matches * weights[1] for _, misses, matches in (lower, upper)]
    threshold, misses, matches = lower if sums[0] <= sums[1] else upper
    rates = sorted((misses / len(mated), matches / len(non_mated)))
    return Eer(min(sums) / (2 * weights[0] * weights[1]), rates[0], rates[1], threshold)


def _errors(mated: np.ndarray, non_mated: np.ndarray, score: np.generic) -> tuple[int, int]:
    """False non-matches and false matches when the threshold is one of the scores."""
    return int(np.searchsorted(mated, score)), len(non_mated) - int(np.searchsorted(non_mated, score))


def _gap(mated: np.ndarray, non_mated: np.ndarray, score: np.generic) -> int:
    """(FNMR - FMR) x both sizes at a score: an integer that never falls as the score grows."""
    misses, matches = _errors(mated, non_mated, score)
    return misses * len(non_mated) - matches * len(mated)


def last_low(mated: np.ndarray, non_mated: np.ndarray) -> tuple[float | int, int, int]:
    """t1 and its errors. It always exists: at the lowest score FNMR is 0 and FMR is at least 0."""
    found = []
    for scores in (mated, non_mated):
        index = bisect_left(scores, True, key=lambda score: _gap(mated, non_mated, score) > 0)
        found += [scores[index - 1]] if index else []
    score = max(found)
    return score.item(), *_errors(mated, non_mated, score)


def first_high(mated: np.ndarray, non_mated: np.ndarray) -> tuple[float | int | None, int, int]:
    """t2 and its errors; above every score FNMR is 1 and FMR 0, so it always exists too."""
    found = []
    for scores in (mated, non_mated):
        index = bisect_left(scores, True, key=lambda score: _gap(mated, non_mated, score) >= 0)
        found += [scores[index]] if index < len(scores) else []
    if not found:
        return just_above(max(mated[-1], non_mated[-1])), len(mated), 0
    score = min(found)
    return score.item(), *_errors(mated, non_mated, score)
