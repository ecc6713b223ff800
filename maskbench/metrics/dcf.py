"""Detection cost: both errors in one number, weighted by how often and how dearly they occur."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import ascending, both_classes
from maskbench.metrics.costs import lowest_cost

PRIOR = 0.01
COST_MISS = COST_FALSE_MATCH = 1.0


@dataclass(frozen=True)
class MinDcf:
    """The lowest detection cost over all thresholds.

    Attributes:
        value: the cost, in the unit of the two costs.
        normalised: ``value`` / min(cost_miss x prior, cost_false_match x (1 - prior)), the cost of the better of
            "match nothing" and "match everything"; at most 1 unless +inf scores forbid matching nothing.
        threshold: where it is reached; the middle of several, as ``costs.lowest_cost`` says.
        fmr, fnmr: both rates there.
        prior, cost_miss, cost_false_match: as given.
    """

    value: float
    normalised: float
    threshold: float | int
    fmr: float
    fnmr: float
    prior: float
    cost_miss: float
    cost_false_match: float


def min_dcf(
    mated: np.ndarray,
    non_mated: np.ndarray,
    prior: float = PRIOR,
    cost_miss: float = COST_MISS,
    cost_false_match: float = COST_FALSE_MATCH,
) -> MinDcf:
    """The minimum of the detection cost function over every threshold.

        DCF(t) = cost_miss x prior x FNMR(t) + cost_false_match x (1 - prior) x FMR(t)

    Source: NIST Speaker Recognition Evaluation plans (Martin and Przybocki, "The NIST 1999 speaker recognition
    evaluation", Digital Signal Processing 10, 2000), where FNMR is P_miss, FMR is P_false_alarm, and the prior is that
    of a mated ("target") trial. The defaults, prior 0.01 and both costs 1, are a common choice for verification and no
    standard: name them beside the figure. The threshold is chosen on the scores it is judged by, hence optimistic.

    The costs are compared as exact fractions of the decimals given, so equal costs are recognised as such.

    Args:
        mated, non_mated: (N,) completed scores, in any order.
        prior: share of mated comparisons in operation, between 0 and 1, both excluded.
        cost_miss, cost_false_match: > 0 and finite.

    Raises:
        MaskbenchError: a class has no scores, or NaN; the prior or a cost is out of range.
    """
    return min_dcf_sorted(
        *(ascending(scores) for scores in both_classes(mated, non_mated)), prior, cost_miss, cost_false_match
    )


def min_dcf_sorted(
    mated: np.ndarray,
    non_mated: np.ndarray,
    prior: float = PRIOR,
    cost_miss: float = COST_MISS,
    cost_false_match: float = COST_FALSE_MATCH,
) -> MinDcf:
    """``min_dcf`` of what ``both_classes`` returned, each class ascending."""
    each = error_costs(len(mated), len(non_mated), prior, cost_miss, cost_false_match)
    found = lowest_cost(mated, non_mated, each.miss, each.match)
    return MinDcf(
        value=float(found.cost * each.unit),
        normalised=float(found.cost * each.unit / each.least),
        threshold=found.threshold,
        fmr=found.matches / len(non_mated),
        fnmr=found.misses / len(mated),
        prior=float(prior),
        cost_miss=float(cost_miss),
        cost_false_match=float(cost_false_match),
    )


class ErrorCosts(NamedTuple):
    """What one error of either kind costs, as whole multiples of ``unit``; ``least``: the cost of the better of "match
    nothing" and "match everything"."""

    miss: int
    match: int
    unit: Fraction
    least: Fraction


def error_costs(
    mated: int, non_mated: int, prior: float = PRIOR, cost_miss: float = COST_MISS,
    cost_false_match: float = COST_FALSE_MATCH,
) -> ErrorCosts:  # fmt: skip
    """The cost of one error among so many comparisons of each class, exactly. Raises as ``min_dcf``."""
    weights = _weights(prior, cost_miss, cost_false_match)
    each = weights[0] / mated, weights[1] / non_mated
    common = math.lcm(*(part.denominator for part in each))
    whole = [int(part * common) for part in each]
    shared = math.gcd(*whole)
    return ErrorCosts(whole[0] // shared, whole[1] // shared, Fraction(shared, common), min(weights))


def _weights(prior: float, cost_miss: float, cost_false_match: float) -> tuple[Fraction, Fraction]:
    """cost_miss x prior and cost_false_match x (1 - prior), from the decimals as written."""
    if not 0 < prior < 1:
        raise MaskbenchError(f"prior {prior}: choose a share of mated comparisons between 0 and 1, both excluded")
    for name, cost in (("miss", cost_miss), ("false match", cost_false_match)):
        if not 0 < cost < math.inf:
            raise MaskbenchError(f"cost of a {name} {cost}: choose a finite value above 0")
    exact = Fraction(repr(float(prior)))
    return Fraction(repr(float(cost_miss))) * exact, Fraction(repr(float(cost_false_match))) * (1 - exact)
