"""Two recognizers on the same comparisons: the difference, how sure it is, and ranges of ranks for many.

Both were given the same pairs, so their errors go together: the interval of the difference is not what two separate
intervals suggest. Failed mated comparisons count as errors of the recognizer that failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics import influence, uncertainty
from maskbench.metrics.arrays import matches
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import FEW, labels, threshold_at_fmr
from maskbench.metrics.influence import Comparisons, Estimate
from maskbench.metrics.uncertainty import Sharing
from maskbench.types import Status

METRICS = ("fnmr@fmr10", "fnmr@fmr100", "fnmr@fmr1000", "fnmr@fmr10000", "eer")
MCNEMAR_NOTE = "assumes independent pairs"
NOT_DISTINGUISHABLE = "not distinguishable"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class McNemar:
    """Decisions on which one recognizer errs and the other does not, each at its own threshold.

    Attributes:
        only_a, only_b: comparisons on which A alone, or B alone, errs.
        p: exact two-sided p-value, 2 P(X <= min(only_a, only_b)) for X binomial (only_a + only_b, 1/2), at most 1
            (McNemar, Psychometrika 12, 1947).
        note: what it assumes.
    """

    only_a: int
    only_b: int
    p: float
    note: str = MCNEMAR_NOTE


@dataclass(frozen=True)
class Difference:
    """A - B of one error rate on the same comparisons; negative means that A has fewer errors.

    Attributes:
        metric: one of ``METRICS``; failed mated comparisons count as errors.
        a, b: the rates; difference: a - b; low, high: its 95 % interval over subjects, by ``method``.
        bootstrap: percentile interval of the paired subject bootstrap by the scheme named in ``bootstrap_scheme``,
            or None.
        mcnemar: of the decisions.
        flag: "fewer than 30 errors", or empty.
        verdict: "A better", "B better" or "not distinguishable".
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    method: str
    mcnemar: McNemar
    flag: str
    verdict: str
    bootstrap: tuple[float, float] | None = None
    bootstrap_scheme: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The comparison ready for JSON."""
        return asdict(self)


def compare_pair(
    scores: Sequence[np.ndarray], mated: np.ndarray, status: Sequence[np.ndarray], subjects: np.ndarray,
    fold: np.ndarray | None = None, metric: str = "fnmr@fmr100", replicates: int = 0, seed: int = 0,
) -> Difference:  # fmt: skip
    """Compare two recognizers, A and B, on M comparisons.

    The interval is difference +- t x standard error of the difference of both influences (see ``uncertainty``), so that
    what both share cancels. The verdict names a better one if the interval excludes 0 and, where fewer than 30
    decisions differ, McNemar's exact p-value is below 0.05 too.

    Args:
        scores: two (M,) arrays, each on its own scale; status: two (M,) arrays, OK or FAILED.
        mated: (M,) bool; subjects: (M, 2); fold: (M,) or None.
        replicates: of the paired subject bootstrap; 0 leaves it out.

    Raises:
        MaskbenchError: malformed input, unknown metric, a target that is not resolvable, or a class that a recognizer
            completed no comparison of.
    """
    mated = labels(mated)
    conditions = [_condition(*part, mated) for part in zip(scores, status, strict=True)]
    shared = uncertainty.sharing(subjects)
    first, second = (_estimate(condition, metric) for condition in conditions)
    clusters = uncertainty.folds_as_clusters(shared, fold)
    error, freedom, method = uncertainty.standard_error(first.influence - second.influence, shared, clusters)
    difference = first.value - second.value
    low, high = uncertainty.plain_interval(difference, error, freedom)
    wrong = [_wrong(condition, metric) for condition in conditions]
    mcnemar = exact_mcnemar(*wrong)
    few = min(first.errors, second.errors) < FEW
    drawn, scheme = (None, "") if not replicates else _paired(conditions, shared, fold, metric, replicates, seed)
    return Difference(
        metric, first.value, second.value, difference, low, high, method.replace("logit scale, ", ""), mcnemar,
        f"fewer than {FEW} errors" if few else "", _verdict(low, high, mcnemar), drawn, scheme,
    )  # fmt: skip


def _condition(scores: np.ndarray, status: np.ndarray, mated: np.ndarray) -> Comparisons:
    if (np.asarray(status) == Status.NOT_RUN).any():
        raise MaskbenchError("some comparisons were not run; evaluate the whole condition first")
    return influence.comparisons(scores, mated, status)


def _target(metric: str) -> float | None:
    """The target FMR of "fnmr@fmrN"; None for "eer"."""
    if metric == "eer":
        return None
    found = re.fullmatch(r"fnmr@fmr([1-9]\d*)", metric)
    if not found or int(found[1]) < 2:
        raise MaskbenchError(f'no metric "{metric}" to compare by; choose one of {", ".join(METRICS)}')
    return 1 / int(found[1])


def _estimate(condition: Comparisons, metric: str) -> Estimate:
    target = _target(metric)
    if target is None:
        found = influence.eer_of(condition, failures=True)
    else:
        found = influence.fnmr_at_fmr(condition, target, failures=True)
    if found is None:
        raise MaskbenchError(
            f"{metric}: not resolvable with {len(condition.non_mated)} completed non-mated comparisons; "
            "choose a higher FMR"
        )
    return found


def _wrong(condition: Comparisons, metric: str) -> np.ndarray:
    """(M,) bool, the comparisons that are decided wrongly at the recognizer's own threshold, failed mated included.

    For "fnmr@fmrN" mated comparisons only, for "eer" both classes.
    """
    target, wrong = _target(metric), np.zeros(condition.total, bool)
    if target is None:
        threshold = eer(influence.with_failures(condition), condition.non_mated).threshold
        wrong[condition.rows_non_mated] = matches(condition.non_mated, threshold)
    else:
        threshold = threshold_at_fmr(condition.non_mated, target).threshold
    wrong[condition.rows_mated] = ~matches(condition.mated, threshold)
    wrong[condition.failed_mated] = True
    return wrong


def exact_mcnemar(wrong_a: np.ndarray, wrong_b: np.ndarray) -> McNemar:
    """McNemar's exact test of two (M,) bool arrays of errors on the same comparisons."""
    from scipy.special import bdtr

    only_a, only_b = int(np.count_nonzero(wrong_a & ~wrong_b)), int(np.count_nonzero(wrong_b & ~wrong_a))
    differing = only_a + only_b
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), differing, 0.5))) if differing else 1.0
    return McNemar(only_a, only_b, p)


def _verdict(low: float, high: float, mcnemar: McNemar) -> str:
    certain = mcnemar.only_a + mcnemar.only_b >= FEW or mcnemar.p < SIGNIFICANT
    if low <= 0 <= high or not certain:
        return NOT_DISTINGUISHABLE
    return "A better" if high < 0 else "B better"


def _paired(
    conditions: Sequence[Comparisons], shared: Sharing, fold: np.ndarray | None, metric: str, count: int, seed: int
) -> tuple[tuple[float, float], str]:
    """The percentile interval of the difference, both resampled with the same subjects, and the scheme."""
    from maskbench.metrics import bootstrap

    target = _target(metric)
    scheme = bootstrap.scheme_for(uncertainty.design(shared, fold))
    drawn = []
    for condition in conditions:
        order = bootstrap.ranked(condition, shared, failures=True)
        found = bootstrap.replicate(order, () if target is None else (target,), scheme, count, seed)
        drawn.append(found.eer if target is None else found.fnmr[:, 0])
    return bootstrap.percentile_interval(drawn[0] - drawn[1]), scheme


# ---------------------------------------------------------------- ranks


def rank_ranges(
    scores: np.ndarray, mated: np.ndarray, status: np.ndarray, subjects: np.ndarray,
    fold: np.ndarray | None = None, metric: str = "fnmr@fmr100", draws: int = 2000, seed: int = 0,
) -> list[tuple[int, int]]:  # fmt: skip
    """The ranks that each recognizer takes in the middle 95 % of paired redraws of the subjects.

    The estimates are redrawn together from the normal distribution whose covariance is the cluster-robust covariance of
    their influences: large-sample resampling of subjects, without sorting scores again. A recognizer's variance is at
    least that of (x + 1) / (n + 2) for its x errors of n, so that no error does not look like no doubt.

    Args:
        scores: (R, M), one row per recognizer, each on its own scale; mated: (M,); status: (M,) or (R, M).
        subjects: (M, 2); fold: (M,) or None; metric: as for ``compare_pair``.

    Returns:
        (best rank, worst rank) per recognizer, from 1, the measured rank (ties share the best) always within.

    Raises:
        MaskbenchError: as ``compare_pair``.
    """
    scores = np.asarray(scores)
    status = np.broadcast_to(np.asarray(status), scores.shape)
    mated, shared = labels(mated), uncertainty.sharing(subjects)
    conditions = [_condition(row, state, mated) for row, state in zip(scores, status, strict=True)]
    found = [_estimate(condition, metric) for condition in conditions]
    covariance = _covariance(np.stack([estimate.influence for estimate in found]), shared, fold)
    values = np.array([estimate.value for estimate in found])
    run = int(mated.sum())
    adjusted = (values * run + 1) / (run + 2)
    missing = adjusted * (1 - adjusted) / run - np.diag(covariance)
    covariance[np.diag_indices(len(values))] += np.maximum(missing, 0)
    drawn = values + np.random.default_rng(seed).standard_normal((draws, len(values))) @ _root(covariance)
    ranks = 1 + (drawn[:, None, :] < drawn[:, :, None]).sum(axis=2)
    low, high = np.quantile(ranks, (0.025, 0.975), axis=0, method="inverted_cdf")
    measured = 1 + (values[None, :] < values[:, None]).sum(axis=1)
    return [(int(min(a, m)), int(max(b, m))) for a, b, m in zip(low, high, measured, strict=True)]


def _covariance(influences: np.ndarray, shared: Sharing, fold: np.ndarray | None) -> np.ndarray:
    """(R, R), the estimator of ``uncertainty.standard_error`` for every pair of recognizers."""
    clusters = uncertainty.folds_as_clusters(shared, fold)
    if clusters is not None:
        _, number = np.unique(clusters, return_inverse=True)
        sums = np.stack([np.bincount(number.ravel(), row) for row in influences])
        return sums @ sums.T * (sums.shape[1] / (sums.shape[1] - 1))
    sums = [uncertainty.totals(row, shared) for row in influences]
    by_subject, by_dyad = (np.stack(part) for part in zip(*sums, strict=True))
    return (by_subject @ by_subject.T - by_dyad @ by_dyad.T) * (shared.subjects / max(shared.subjects - 1, 1))


def _root(covariance: np.ndarray) -> np.ndarray:
    """A matrix F with F'F = covariance, negative eigenvalues (which a dyadic estimate can have) taken as 0."""
    values, vectors = np.linalg.eigh(covariance)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
