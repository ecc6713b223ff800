"""DET and ROC at every distinct score, the exact area under the ROC, and thinning for plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import ascending, both_classes, just_above


@dataclass(frozen=True)
class Det:
    """Error rates by ascending threshold: FMR falls from 1 to 0 while FNMR climbs from 0 to 1.

    Attributes:
        thresholds: (K,) every distinct score in the scores' dtype, then the lowest value above all of them (NaN
            above +inf, where only "never match" is left).
        fmr: (K,) float64.
        fnmr: (K,) float64.
    """

    thresholds: np.ndarray
    fmr: np.ndarray
    fnmr: np.ndarray

    def __len__(self) -> int:
        return len(self.thresholds)


@dataclass(frozen=True)
class Roc:
    """The same by descending threshold, as scikit-learn orders it: (0, 0) first, (1, 1) last.

    Attributes:
        fmr: (K,) float64.
        tmr: (K,) float64, true match rate, 1 - FNMR.
        thresholds: (K,); the first is +inf (as float64 for integer scores).
    """

    fmr: np.ndarray
    tmr: np.ndarray
    thresholds: np.ndarray


def det(mated: np.ndarray, non_mated: np.ndarray) -> Det:
    """Every (FMR, FNMR) that these scores allow, exactly; O(N log N).

    Args:
        mated, non_mated: (N,) completed scores, in any order (sorted input is not sorted again).

    Raises:
        MaskbenchError: a class has no scores, or NaN.
    """
    mated, non_mated = (ascending(scores) for scores in both_classes(mated, non_mated))
    distinct, misses, rejected = counts_below(mated, non_mated)
    end = just_above(distinct[-1])
    thresholds = np.append(distinct, distinct.dtype.type(np.nan if end is None else end))
    return Det(thresholds, (len(non_mated) - rejected) / len(non_mated), misses / len(mated))


def roc(mated: np.ndarray, non_mated: np.ndarray) -> Roc:
    """The ROC of ``sklearn.metrics.roc_curve(drop_intermediate=False)``, digit for digit.

    Arguments and errors as for ``det``.
    """
    mated, non_mated = (ascending(scores) for scores in both_classes(mated, non_mated))
    distinct, misses, rejected = counts_below(mated, non_mated)
    thresholds = np.append(distinct, np.inf if distinct.dtype.kind == "i" else distinct.dtype.type(np.inf))
    hits, matched = len(mated) - misses[::-1], len(non_mated) - rejected[::-1]
    return Roc(matched / len(non_mated), hits / len(mated), thresholds[::-1])


def counts_below(mated: np.ndarray, non_mated: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many scores of each class every possible threshold rejects.

    Args:
        mated, non_mated: (N,) ascending, one dtype, without NaN.

    Returns:
        The distinct scores (K,), then (K + 1,) int64 mated and non-mated scores below each of them and, last, below a
        threshold above them all.
    """
    merged = np.concatenate([mated, non_mated])
    merged.sort(kind="stable")  # a merge of two ascending runs
    # Only the smaller class is searched for; the count of the other is what remains.
    starts = np.flatnonzero(np.concatenate([[True], merged[1:] != merged[:-1], [True]]))
    distinct = merged[starts[:-1]]
    smaller = min(mated, non_mated, key=len)
    places = np.searchsorted(distinct, smaller)
    below = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=len(distinct)))])
    rest = starts - below
    return (distinct, below, rest) if smaller is mated else (distinct, rest, below)


def auc(mated: np.ndarray, non_mated: np.ndarray) -> float:
    """Area under the ROC, 0 to 1: the chance that a mated score exceeds a non-mated one, a tie counting one half.

    This is the Mann-Whitney statistic / (mated x non-mated), summed in integers (Hanley and McNeil, Radiology 143,
    1982). Arguments and errors as for ``det``.
    """
    mated, non_mated = (ascending(scores) for scores in both_classes(mated, non_mated))
    smaller, larger = (mated, non_mated) if len(mated) <= len(non_mated) else (non_mated, mated)
    # Twice the number of pairs that the smaller class wins, ties as half: below + (below or equal).
    wins = sum(int(np.searchsorted(larger, smaller, side).sum()) for side in ("left", "right"))
    pairs = len(mated) * len(non_mated)
    return (wins if smaller is mated else 2 * pairs - wins) / (2 * pairs)


def thin(curve: Det, points: int) -> Det:
    """At most ``points`` points of a DET for plotting, spread evenly over log FMR, end points kept.

    Each kept point is the lowest FNMR at its FMR. Never report a value read from a thinned curve.

    Raises:
        MaskbenchError: fewer than three points are asked for.
    """
    if points < 3:
        raise MaskbenchError(f"cannot thin a curve to {points} points; ask for at least 3")
    if len(curve) <= points:
        return curve
    smallest = curve.fmr[curve.fmr > 0].min()
    # FMR falls along the curve: the first point with FMR <= grid value has the lowest FNMR there.
    kept = np.searchsorted(-curve.fmr, -np.geomspace(smallest, 1, points - 2), "left")
    kept = np.unique(np.concatenate([[0], kept, [len(curve) - 1]]))
    return Det(curve.thresholds[kept], curve.fmr[kept], curve.fnmr[kept])
