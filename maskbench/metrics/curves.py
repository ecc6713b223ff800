"""DET and ROC at every distinct score, the exact area under the ROC, and thinning for plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import LARGE, ascending, both_classes, just_above
from maskbench.metrics.eer import first_high, last_low
from maskbench.metrics.errors import FAR_TARGETS, FMR_TARGETS

REPORTED = tuple(sorted({*FMR_TARGETS.values(), *FAR_TARGETS}))  # the FMRs at which figures are given
WHOLE = 32  # points from which a thinned curve holds all reported ones


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
    return auc_sorted(*(ascending(scores) for scores in both_classes(mated, non_mated)))


def auc_sorted(mated: np.ndarray, non_mated: np.ndarray) -> float:
    """``auc`` of what ``both_classes`` returned, each class ascending, in O(N) without further memory."""
    pairs = len(mated) * len(non_mated)
    if len(mated) + len(non_mated) >= LARGE:
        from maskbench.metrics.kernels import wins as count

        return int(count(mated, non_mated)) / (2 * pairs)
    smaller, larger = (mated, non_mated) if len(mated) <= len(non_mated) else (non_mated, mated)
    # Twice the number of pairs that the smaller class wins, ties as half: below + (below or equal).
    wins = sum(int(np.searchsorted(larger, smaller, side).sum()) for side in ("left", "right"))
    return (wins if smaller is mated else 2 * pairs - wins) / (2 * pairs)


def thin(curve: Det, points: int) -> Det:
    """At most ``points`` points of a DET for plotting, spread evenly over log FMR, end points kept.

    Each kept point is the lowest FNMR at its FMR. From ``WHOLE`` points on, those at every reported FMR (by the strict
    rule) are among them, and the two that bracket the EER besides, so that a picture shows the figures of the report.
    Never report a value read from a thinned curve all the same.

    Raises:
        MaskbenchError: fewer than three points are asked for.
    """
    _check_points(points)
    if len(curve) <= points:
        return curve
    levels = _levels(curve.fmr[curve.fmr > 0].min(), points)
    # FMR falls along the curve: the first point with FMR <= level has the lowest FNMR there.
    kept = [np.searchsorted(-curve.fmr, -levels, "left"), [0, len(curve) - 1]]
    if points >= WHOLE:
        gap = curve.fnmr - curve.fmr  # never falls
        kept.append([np.searchsorted(gap, 0, "right") - 1, np.searchsorted(gap, 0, "left")])
    chosen = np.unique(np.concatenate(kept))
    return Det(curve.thresholds[chosen], curve.fmr[chosen], curve.fnmr[chosen])


def thin_det(mated: np.ndarray, non_mated: np.ndarray, points: int) -> Det:
    """``thin(det(mated, non_mated), points)`` without the exact curve: O(points log N) once the scores are sorted.

    Arguments and errors as for ``det`` and ``thin``.
    """
    return thin_det_sorted(*(ascending(scores) for scores in both_classes(mated, non_mated)), points)


def thin_det_sorted(mated: np.ndarray, non_mated: np.ndarray, points: int) -> Det:
    """``thin_det`` of what ``both_classes`` returned, each class ascending."""
    _check_points(points)
    step = max(1, (len(mated) + len(non_mated)) // (8 * points))
    if len(np.unique(np.concatenate([mated[::step], non_mated[::step]]))) < points:
        return thin(det(mated, non_mated), points)  # perhaps so few distinct scores that all are kept
    count = len(non_mated)
    smallest = (count - np.searchsorted(non_mated, non_mated[-1])) / count
    found = [_first_within(mated, non_mated, _levels(smallest, points)), [min(mated[0], non_mated[0])]]
    if points >= WHOLE:
        found.append(_brackets(mated, non_mated))
    scores = np.unique(np.concatenate(found).astype(mated.dtype))
    misses, rejected = np.searchsorted(mated, scores), np.searchsorted(non_mated, scores)
    end = just_above(max(mated[-1], non_mated[-1]))
    thresholds = np.append(scores, scores.dtype.type(np.nan if end is None else end))
    return Det(thresholds, np.append((count - rejected) / count, 0.0), np.append(misses / len(mated), 1.0))


def _check_points(points: int) -> None:
    if points < 3:
        raise MaskbenchError(f"cannot thin a curve to {points} points; ask for at least 3")


def _levels(smallest: float, points: int) -> np.ndarray:
    """The FMRs at which a thinned curve has its points, besides its ends and the brackets of the EER."""
    if points < WHOLE:
        return np.geomspace(smallest, 1, points - 2)
    return np.concatenate([np.geomspace(smallest, 1, points - 4 - len(REPORTED)), REPORTED])


def _first_within(mated: np.ndarray, non_mated: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The lowest score, of either class, at which FMR is at most each level; a level that none reaches is left out."""
    count = len(non_mated)
    allowed = np.minimum((levels * count).astype(np.int64), count)
    allowed += (allowed < count) & ((allowed + 1) / count <= levels)  # as the measured FMR rounds
    allowed -= allowed / count > levels
    blocked = non_mated[count - 1 - allowed[allowed < count]]  # the largest score that would be one error too many
    places = [np.searchsorted(part, blocked, "right") for part in (mated, non_mated)]
    there = [place < len(part) for place, part in zip(places, (mated, non_mated), strict=True)]
    nexts = [part[np.minimum(place, len(part) - 1)] for place, part in zip(places, (mated, non_mated), strict=True)]
    lowest = np.where(there[0] & there[1], np.minimum(*nexts), np.where(there[0], *nexts))
    return lowest[there[0] | there[1]]


def _brackets(mated: np.ndarray, non_mated: np.ndarray) -> np.ndarray:
    """The scores t1 and t2 of the EER's rule; t2 is left out where it lies above all scores."""
    low, high = last_low(mated, non_mated)[0], first_high(mated, non_mated)[0]
    above = high is None or high > max(mated[-1], non_mated[-1])
    return np.array([low] if above else [low, high])
