"""Error rates with the influence of each comparison on them, to first order.

A rate of a sample is the true rate plus the sum of its comparisons' influences, nearly: what a variance that respects
who shares whom needs (Hampel, JASA 69, 1974; for ROC figures the delta method gives the same).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from maskbench.metrics.arrays import matches
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import labels, split, threshold_at_fmr
from maskbench.types import Status


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of one condition, and its completed scores by class in ascending order.

    Attributes:
        rows_mated, rows_non_mated: rows of the completed comparisons of each class, in the order of their scores.
        mated, non_mated: (n,) their scores, ascending.
        failed_mated: rows of the mated comparisons without a score.
        total: M, rows of the condition.
    """

    rows_mated: np.ndarray
    rows_non_mated: np.ndarray
    mated: np.ndarray
    non_mated: np.ndarray
    failed_mated: np.ndarray
    total: int


@dataclass(frozen=True)
class Estimate:
    """A rate with the influence of each comparison on it.

    Attributes:
        value: the rate, 0 to 1.
        influence: (M,) float64, sums to about zero; first-order, value - truth ~ influence.sum() over a new sample.
        errors: the smallest number of errors that the rate rests on.
    """

    value: float
    influence: np.ndarray
    errors: int


def comparisons(scores: np.ndarray, mated: np.ndarray, status: np.ndarray) -> Comparisons:
    """Sort one condition once for all its rates.

    Args:
        scores: (M,), not looked at where status is not OK; mated: (M,) bool; status: (M,) ``Status``.

    Raises:
        MaskbenchError: as ``errors.split``: shapes differ, NaN in a completed comparison, a class is missing.
    """
    scores, mated, done = np.asarray(scores), labels(mated), np.asarray(status) == Status.OK
    parts = split(scores, mated, status)
    rows = [np.flatnonzero(done & mated), np.flatnonzero(done & ~mated)]
    orders = [np.argsort(part, kind="stable") for part in parts]
    rows = [row[order] for row, order in zip(rows, orders, strict=True)]
    parts = [part[order] for part, order in zip(parts, orders, strict=True)]
    return Comparisons(*rows, *parts, np.flatnonzero(mated & ~done), len(mated))


def fnmr_at(condition: Comparisons, threshold: float, failures: bool = False) -> Estimate:
    """FNMR at a threshold fixed beforehand; influence (error - FNMR) / n on each mated comparison.

    Args:
        failures: count failed mated comparisons as errors, and in n.
    """
    misses = ~matches(condition.mated, threshold)
    rows = condition.rows_mated
    if failures:
        rows = np.concatenate([rows, condition.failed_mated])
        misses = np.concatenate([misses, np.ones(len(condition.failed_mated), bool)])
    return _share(misses, rows, condition.total)


def fmr_at(condition: Comparisons, threshold: float) -> Estimate:
    """FMR at a threshold fixed beforehand; influence (error - FMR) / n on each non-mated comparison."""
    return _share(matches(condition.non_mated, threshold), condition.rows_non_mated, condition.total)


def _share(errors: np.ndarray, rows: np.ndarray, total: int) -> Estimate:
    influence, count = np.zeros(total), int(np.count_nonzero(errors))
    influence[rows] = (errors - count / len(errors)) / len(errors)
    return Estimate(count / len(errors), influence, count)


def fnmr_at_fmr(
    condition: Comparisons, target: float, failures: bool = False, source: Comparisons | None = None
) -> Estimate | None:
    """FNMR at the strict threshold for a target FMR, the threshold's own uncertainty included.

    With t the true threshold and f the density of scores, FNMR moves by f_mated(t) / f_non-mated(t) for each unit by
    which the measured FMR at t exceeds the target, since the threshold then lies too high (the delta method for a
    quantile, Bahadur 1966). The sign is plus: a non-mated comparison above t raises the estimate.

    Args:
        source: the condition that fixes the threshold, when it is another one: rows of ``influence`` are then those of
            ``condition`` followed by those of ``source``.

    Returns:
        None where the target is not resolvable or no finite threshold reaches it.
    """
    return _transferred(condition, condition if source is None else source, target, failures, source is not None)


def fmr_at_fmr(condition: Comparisons, target: float, source: Comparisons) -> Estimate | None:
    """FMR of a condition at the strict threshold that another one fixes; as ``fnmr_at_fmr`` with ``source``.

    FMR falls by f_condition(t) / f_source(t) for each unit by which the measured FMR of the source exceeds the target.
    """
    point = threshold_at_fmr(source.non_mated, target)
    if point.threshold is None or not math.isfinite(point.threshold):
        return None
    here, there = fmr_at(condition, point.threshold), fmr_at(source, point.threshold)
    ratio = density_ratio(condition.non_mated, source.non_mated, point.threshold)
    influence = np.concatenate([here.influence, -ratio * there.influence])
    return Estimate(here.value, influence, min(here.errors, there.errors))


def _transferred(
    condition: Comparisons, source: Comparisons, target: float, failures: bool, apart: bool
) -> Estimate | None:
    point = threshold_at_fmr(source.non_mated, target)
    if point.threshold is None or not math.isfinite(point.threshold):
        return None
    here, there = fnmr_at(condition, point.threshold, failures), fmr_at(source, point.threshold)
    ratio = density_ratio(condition.mated, source.non_mated, point.threshold)
    if failures:  # a failed comparison does not move with the threshold
        ratio *= len(condition.mated) / (len(condition.mated) + len(condition.failed_mated))
    moved = ratio * there.influence
    influence = np.concatenate([here.influence, moved]) if apart else here.influence + moved
    return Estimate(here.value, influence, min(here.errors, there.errors))


def eer_of(condition: Comparisons, failures: bool = False) -> Estimate | None:
    """EER and its influences.

    At the true crossing t, with r = f_mated(t) / f_non-mated(t): EER ~ (FNMR(t) + r FMR(t)) / (1 + r), as the crossing
    moves against the difference of both. With ``failures``, failed mated comparisons count as scores below all others.
    None where no finite threshold brackets it.
    """
    mated = with_failures(condition) if failures else condition.mated
    found = eer(mated, condition.non_mated)
    if found.threshold is None or not math.isfinite(found.threshold):
        return None
    misses, false_matches = fnmr_at(condition, found.threshold, failures), fmr_at(condition, found.threshold)
    ratio = density_ratio(mated, condition.non_mated, found.threshold)
    influence = (misses.influence + ratio * false_matches.influence) / (1 + ratio)
    return Estimate(found.value, influence, min(misses.errors, false_matches.errors))


def with_failures(condition: Comparisons) -> np.ndarray:
    """The mated scores, ascending, with a score below all others for each failed mated comparison (first)."""
    scores = condition.mated
    floor = -np.inf if scores.dtype.kind == "f" else min(scores[0], condition.non_mated[0]) - 1
    return np.concatenate([np.full(len(condition.failed_mated), floor, scores.dtype), scores])


def density_ratio(scores: np.ndarray, non_mated: np.ndarray, threshold: float) -> float:
    """f_scores(t) / f_non-mated(t), from the slope of the detection error trade-off around the threshold.

    Measured between the thresholds with about half and about twice the false matches (and at least ten to either
    side), in normal deviates: there a DET curve is nearly straight (Martin et al., Eurospeech 1997), so that a window
    this wide biases the slope little. Only ranks are used: any rising transform of all scores gives the same.

    Args:
        scores: (n,) ascending, the class whose share below the threshold moves.
        non_mated: (n,) ascending, the class that fixes the threshold.

    Returns:
        A finite value >= 0.
    """
    from scipy.special import ndtri

    count = len(non_mated)
    errors = count - int(np.searchsorted(non_mated, threshold))
    low = non_mated[max(count - 2 * errors - 10, 0)]
    high = non_mated[min(count - 1, count - max(errors // 2 - 5, 1))]
    rates = [_normal(side, np.array([low, high, threshold])) for side in (non_mated, scores)]
    deviates = [ndtri(rate) for rate in rates]
    width = deviates[0][1] - deviates[0][0]
    if not width > 0:  # one block of ties: no slope to measure
        return 1.0
    slope = (deviates[1][1] - deviates[1][0]) / width
    return float(slope * np.exp((deviates[0][2] ** 2 - deviates[1][2] ** 2) / 2))


def _normal(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Shares below the thresholds, kept away from 0 and 1 by half a comparison."""
    return (np.searchsorted(scores, thresholds) + 0.5) / (len(scores) + 1)
