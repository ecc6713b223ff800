"""Subject-level bootstrap of FNMR at fixed FMR and of the EER: scores are sorted once, replicates only weigh them.

A replicate draws a weight for every subject; a comparison weighs the product of its two sides. Two schemes:

"dense": w, how often the subject is drawn when S subjects are drawn from S with replacement (multinomial). A non-mated
comparison weighs w_i w_j, a mated one w_i. Right where a subject meets many others: its comparisons then vary together.
**Not for sparse lists of pairs**: the product of two such weights has variance (1 + 1)(1 + 1) - 1 = 3 where a pair
on its own needs 1, so that the standard error of a non-mated rate comes out sqrt(3) = 1.7 times too large.

"sparse": v, gamma distributed with mean 1 and variance sqrt(2) - 1, so that the product v_i v_j of two subjects has
variance 1, as one independent comparison needs; a mated comparison weighs v_i v'_i with v' a second draw of its
subject. Two non-mated comparisons with one common subject get the covariance 0.41 in place of 1: fit for lists of
pairs, where sharing adds little; too small for dense ones.

"pairs": every comparison is drawn on its own, as if none shared a subject. For showing what that misses.

docs/uncertainty.md has the coverage of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.masking.kernels import compiled
from maskbench.metrics.curves import counts_below
from maskbench.metrics.influence import Comparisons, with_failures
from maskbench.metrics.uncertainty import DENSE, DISJOINT, SPARSE, Sharing
from maskbench.registry import nearest

SCHEMES = ("dense", "sparse", "pairs")
SHAPE = 1 / (np.sqrt(2) - 1)  # of the gamma weights: variance 1 / SHAPE
_SCHEME_OF = {SPARSE: "sparse", DENSE: "dense", DISJOINT: "dense"}


@dataclass(frozen=True)
class Ranked:
    """What replicates need of the scores: order and subjects, not values.

    Attributes:
        mated: (n,) int32, the subject of each mated comparison by ascending score.
        first, second: (m,) int32, the subjects of each non-mated comparison by ascending score.
        mated_below, non_mated_below: (K,) int32, comparisons below each distinct score, then below a threshold above.
        subjects: S.
    """

    mated: np.ndarray
    first: np.ndarray
    second: np.ndarray
    mated_below: np.ndarray
    non_mated_below: np.ndarray
    subjects: int


@dataclass(frozen=True)
class Replicates:
    """One value per replicate: ``fnmr`` (R, T) by target, ``eer`` (R,)."""

    fnmr: np.ndarray
    eer: np.ndarray


def ranked(condition: Comparisons, shared: Sharing, failures: bool = False) -> Ranked:
    """Order a condition for the bootstrap; with ``failures``, failed mated comparisons lie below every score."""
    scores, rows = condition.mated, condition.rows_mated
    if failures:
        scores, rows = with_failures(condition), np.concatenate([condition.failed_mated, rows])
    _, misses, rejected = counts_below(scores, condition.non_mated)
    columns = shared.first[rows], *(side[condition.rows_non_mated] for side in (shared.first, shared.second))
    return Ranked(*(part.astype(np.int32) for part in (*columns, misses, rejected)), shared.subjects)


def scheme_for(design: str) -> str:
    """The scheme for a design of ``uncertainty.design``."""
    return _SCHEME_OF[design]


def subject_weights(
    scheme: str, subjects: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of one replicate, (S,) float64 each: v of the first side, and the factor of the second side of a mated
    and of a non-mated comparison.

    Raises:
        MaskbenchError: unknown scheme.
    """
    if scheme == "dense":
        drawn = np.bincount(rng.integers(subjects, size=subjects), minlength=subjects)
        weights = drawn.astype(np.float64)
        return weights, np.ones(subjects), weights
    if scheme == "sparse":
        drawn = rng.standard_gamma(SHAPE, (2, subjects)) / SHAPE
        return drawn[0], drawn[1], drawn[0]
    if scheme == "pairs":
        ones = np.ones(subjects)
        return rng.poisson(1.0, subjects).astype(np.float64), ones, ones
    raise MaskbenchError(f'no bootstrap scheme named "{scheme}"; {nearest(str(scheme), SCHEMES)}')


def replicate(
    order: Ranked, targets: Sequence[float], scheme: str, count: int = 1000, seed: int = 0
) -> Replicates:
    """FNMR at the strict threshold of each target, and EER, of ``count`` replicates.

    Each replicate is the figure of the weighted comparisons by the rules of ``errors`` and ``eer``, thresholds chosen
    anew. Equal seeds give equal weights: two recognizers on one list of comparisons are resampled together by giving
    both the same seed.

    Raises:
        MaskbenchError: unknown scheme, a target outside (0, 1], or fewer than one replicate.
    """
    levels = np.asarray(targets, dtype=np.float64)
    if count < 1 or not ((levels > 0) & (levels <= 1)).all():
        raise MaskbenchError(f"bootstrap: {count} replicates at FMR {list(targets)}; give 1 or more, FMRs in (0, 1]")
    rng = np.random.default_rng(seed)
    found = np.empty((count, len(levels) + 1))
    mated, non_mated = np.zeros(len(order.mated) + 1), np.zeros(len(order.first) + 1)
    for row in found:
        weights, mates, others = subject_weights(scheme, order.subjects, rng)
        _accumulate(order.mated, order.mated, weights, mates, mated)
        _accumulate(order.first, order.second, weights, others, non_mated)
        _figures(mated, non_mated, order.mated_below, order.non_mated_below, levels, row)
    return Replicates(found[:, :-1], found[:, -1])


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The middle share of the replicates; replicates without weight on a class (NaN) are left out."""
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@compiled
def _accumulate(first, second, left, right, cumulative):  # noqa: ANN001 - numba infers the types
    """Running sums of left[first] * right[second]; ``cumulative`` is one longer and starts with 0."""
    total = 0.0
    for k in range(first.shape[0]):
        total += left[first[k]] * right[second[k]]
        cumulative[k + 1] = total


@compiled
def _figures(mated, non_mated, mated_below, non_mated_below, targets, out):  # noqa: ANN001
    """FNMR at each target, then EER, from running weights: bisection, since both rates are monotone."""
    all_mated, all_non_mated = mated[-1], non_mated[-1]
    last = mated_below.shape[0] - 1
    if all_mated <= 0.0 or all_non_mated <= 0.0:
        out[:] = np.nan
        return
    for k in range(targets.shape[0]):
        low, high = 0, last  # above all scores FMR is 0
        while low < high:
            middle = (low + high) // 2
            if (all_non_mated - non_mated[non_mated_below[middle]]) / all_non_mated <= targets[k]:
                high = middle
            else:
                low = middle + 1
        out[k] = mated[mated_below[low]] / all_mated
    low, high = 0, last  # the first threshold with FNMR >= FMR
    while low < high:
        middle = (low + high) // 2
        miss, match = mated[mated_below[middle]], all_non_mated - non_mated[non_mated_below[middle]]
        if miss * all_non_mated >= match * all_mated:
            high = middle
        else:
            low = middle + 1
    miss, match = mated[mated_below[low]], all_non_mated - non_mated[non_mated_below[low]]
    best = miss / all_mated + match / all_non_mated
    if low > 0 and miss * all_non_mated > match * all_mated:  # the one before has FNMR < FMR; equality is the EER
        before = low - 1
        other = mated[mated_below[before]] / all_mated
        other += (all_non_mated - non_mated[non_mated_below[before]]) / all_non_mated
        best = min(best, other)
    out[-1] = best / 2
