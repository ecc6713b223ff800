"""Intervals of error rates whose comparisons share subjects: cluster-robust variances of sums of influences.

A comparison is not one independent trial: all comparisons of a subject share that subject. ``influence``
gives rate - truth ~ sum of influences, and the variance of that sum counts the products of all influences whose
comparisons share a subject, and no others. Which estimator is used for which design,
and how often its intervals hold the truth, is in docs/uncertainty.md and benchmarks/calibration.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.errors import FEW, FEW_ERRORS
from maskbench.metrics.influence import Estimate

CONFIDENCE = 0.95
DYADIC = "dyadic cluster-robust by subject, 95 %, logit scale, t"
FOLDS = "clusters are the disjoint folds, 95 %, logit scale, t with folds - 1"
ALL_ERRORS = "every decision is an error"
NO_THRESHOLD = "no finite threshold"
SPARSE, DENSE, DISJOINT = "sparse pairs", "dense", "disjoint folds"
SPARSE_BELOW = 10  # non-mated comparisons of a subject on average; the LFW list has 1.4
MOST_FOLDS = 50  # disjoint folds are the clusters of choice only while they are few

# ---------------------------------------------------------------- who shares comparisons


@dataclass(frozen=True)
class Sharing:
    """Which comparisons share a subject.

    Attributes:
        first, second: (M,) int64, subjects as numbers from 0; equal for a mated comparison.
        crossing: rows of two different subjects.
        dyad: (len(crossing),) int64, the unordered pair of subjects as a number from 0.
        subjects: how many there are.
    """

    first: np.ndarray
    second: np.ndarray
    crossing: np.ndarray
    dyad: np.ndarray
    subjects: int


def sharing(subjects: np.ndarray) -> Sharing:
    """Number the subjects and pairs of subjects.

    Args:
        subjects: (M, 2), the subject of the reference and of the probe; any sortable dtype.

    Raises:
        MaskbenchError: another shape, or no comparison.
    """
    subjects = np.asarray(subjects)
    if subjects.ndim != 2 or subjects.shape[1] != 2 or len(subjects) == 0:
        raise MaskbenchError(f"subjects: expected (M, 2), one row per comparison, found {subjects.shape}")
    names, codes = np.unique(subjects, return_inverse=True)
    codes = codes.reshape(subjects.shape).astype(np.int64)
    first, second = codes[:, 0], codes[:, 1]
    crossing = np.flatnonzero(first != second)
    low, high = np.minimum(first, second)[crossing], np.maximum(first, second)[crossing]
    _, dyad = np.unique(low * len(names) + high, return_inverse=True)
    return Sharing(first, second, crossing, dyad.ravel().astype(np.int64), len(names))


def totals(influence: np.ndarray, shared: Sharing) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the influences by subject, (S,), and by pair of different subjects, (D,)."""
    by_subject = np.bincount(shared.first, influence, shared.subjects)
    across = influence[shared.crossing]
    by_subject += np.bincount(shared.second[shared.crossing], across, shared.subjects)
    return by_subject, np.bincount(shared.dyad, across)


def dyadic_variance(influence: np.ndarray, shared: Sharing) -> float:
    """Sum over all pairs of comparisons that share a subject of the product of their influences, S / (S - 1) times.

    = sum_i U_i^2 - sum_ij D_ij^2 with U_i the sum over the comparisons of subject i and D_ij over those between i and
    j, which the first sum counts twice (Fafchamps and Gubert, J. Development Economics 83, 2007; Aronow, Samii and
    Assenova, Political Analysis 23, 2015). Never below the variance for independent comparisons, sum of squares.
    """
    by_subject, by_dyad = totals(influence, shared)
    found = float(by_subject @ by_subject - by_dyad @ by_dyad) * shared.subjects / max(shared.subjects - 1, 1)
    return max(found, float(influence @ influence))


def fold_variance(influence: np.ndarray, fold: np.ndarray) -> tuple[float, int]:
    """K / (K - 1) times the sum of the squared sums by fold, and K: folds that share no subject are independent.

    Raises:
        MaskbenchError: fewer than two folds.
    """
    _, number = np.unique(fold, return_inverse=True)
    sums = np.bincount(number.ravel(), influence)
    if len(sums) < 2:
        raise MaskbenchError("a variance over folds needs at least two of them")
    return float(sums @ sums) * len(sums) / (len(sums) - 1), len(sums)


def degrees_of_freedom(influence: np.ndarray, shared: Sharing) -> float:
    """Satterthwaite's degrees of freedom of the variance by subject: 2 (sum U^2)^2 / var(sum U^2), at most S - 1.

    Few subjects that carry most of the errors give few degrees, whatever their number. At least 2.
    """
    squares = totals(influence, shared)[0] ** 2
    spread = len(squares) * float(squares.var())
    found = 2 * float(squares.sum()) ** 2 / spread if spread > 0 else np.inf
    return float(min(max(found, 2.0), max(shared.subjects - 1, 2)))


# ---------------------------------------------------------------- intervals


def design(shared: Sharing, fold: np.ndarray | None = None) -> str:
    """How the comparisons of a condition share subjects: "sparse pairs", "disjoint folds" or "dense".

    Sparse: a subject takes part in fewer than 10 non-mated comparisons on average (the LFW list: 1.4). Otherwise, 3 to
    50 folds without a common subject are "disjoint folds", and everything else is "dense".
    """
    if 2 * len(shared.crossing) / shared.subjects < SPARSE_BELOW:
        return SPARSE
    return DISJOINT if fold is not None and _disjoint(shared, np.asarray(fold)) else DENSE


def _disjoint(shared: Sharing, fold: np.ndarray) -> bool:
    names, number = np.unique(fold, return_inverse=True)
    if not 3 <= len(names) <= MOST_FOLDS:
        return False
    home = np.full(shared.subjects, -1)
    home[shared.first] = number.ravel()  # the last one wins; a subject of two folds then disagrees somewhere
    return bool((home[shared.first] == number.ravel()).all() and (home[shared.second] == number.ravel()).all())


def folds_as_clusters(shared: Sharing, fold: np.ndarray | None) -> np.ndarray | None:
    """``fold`` where the design calls for folds as the clusters, else None: what ``standard_error`` takes."""
    return fold if fold is not None and design(shared, fold) == DISJOINT else None


def standard_error(
    influence: np.ndarray, shared: Sharing, clusters: np.ndarray | None = None
) -> tuple[float, float, str]:
    """Standard error, degrees of freedom and the estimator's name: by fold with ``clusters``, else dyadic."""
    if clusters is not None:
        variance, folds = fold_variance(influence, clusters)
        return math.sqrt(max(variance, float(influence @ influence))), folds - 1.0, FOLDS
    return math.sqrt(dyadic_variance(influence, shared)), degrees_of_freedom(influence, shared), DYADIC


def logit_interval(rate: float, error: float, freedom: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """rate +- t x error on the logit scale, which keeps it within 0 and 1; (rate, rate) for a rate of 0 or 1."""
    from scipy.special import expit, logit

    if not 0 < rate < 1:
        return rate, rate
    reach = _quantile(freedom, confidence) * error / (rate * (1 - rate))
    low, high = expit(logit(rate) - reach), expit(logit(rate) + reach)
    return float(low), float(high)


def plain_interval(value: float, error: float, freedom: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """value +- t x error, for differences."""
    reach = _quantile(freedom, confidence) * error
    return value - reach, value + reach


def _quantile(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    if not 0 < confidence < 1:
        raise MaskbenchError(f"confidence {confidence}: choose a value between 0 and 1")
    return float(stdtrit(freedom, (1 + confidence) / 2))


def clustered(
    estimate: Estimate | None, shared: Sharing, clusters: np.ndarray | None = None
) -> dict[str, float | str | None]:
    """The "clustered" interval of a rate as ``result.json`` holds it: low, high, method; a flag where there is none.

    A rate that rests on fewer than 30 errors gets no interval: too few errors to estimate a variance from. Nor does a
    rate of 1, which has no variance at all.

    Args:
        clusters: what ``folds_as_clusters`` says.
    """
    if estimate is None or estimate.errors < FEW or estimate.value >= 1:
        flag = NO_THRESHOLD if estimate is None else FEW_ERRORS if estimate.errors < FEW else ALL_ERRORS
        return {"low": None, "high": None, "method": "none", "flag": flag}
    error, freedom, method = standard_error(estimate.influence, shared, clusters)
    low, high = logit_interval(estimate.value, error, freedom)
    return {"low": low, "high": high, "method": method}


def mask_seed_spread(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Mean, standard deviation (divisor n - 1), least and greatest of one figure over masked sets of several seeds.

    The spread says what the draw of the masks alone adds; it stands beside the interval over subjects, not in it.

    Raises:
        MaskbenchError: fewer than two values, or one that is not finite.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all():
        raise MaskbenchError("the spread over mask seeds needs at least two finite values, one for each seed")
    return float(found.mean()), float(found.std(ddof=1)), float(found.min()), float(found.max())
