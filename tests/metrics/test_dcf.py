"""The lowest detection cost, and the search for the cheapest threshold that it shares with accuracy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics import costs
from maskbench.metrics.costs import lowest_cost
from maskbench.metrics.curves import det
from maskbench.metrics.dcf import COST_FALSE_MATCH, COST_MISS, PRIOR, min_dcf


def test_by_hand():
    # t in (0.2, 0.5]: one false match of 4; t in (0.6, 0.8]: one miss of 2, no false match.
    mated, non_mated = np.array([0.5, 0.8]), np.array([0.1, 0.2, 0.15, 0.6])
    even = min_dcf(mated, non_mated, prior=0.5)
    assert (even.value, even.fmr, even.fnmr) == (0.125, 0.25, 0)
    assert even.threshold == pytest.approx(0.35)
    assert even.normalised == 0.25
    strict = min_dcf(mated, non_mated, prior=0.1)
    assert (strict.value, strict.fmr, strict.fnmr) == (0.05, 0, 0.5)
    assert strict.threshold == pytest.approx(0.7)


def test_defaults_are_named_in_the_result():
    found = min_dcf(np.array([1.0]), np.array([0.0]))
    assert (PRIOR, COST_MISS, COST_FALSE_MATCH) == (0.01, 1, 1)
    assert (found.prior, found.cost_miss, found.cost_false_match) == (0.01, 1, 1)
    assert found.value == found.normalised == 0


def test_a_useless_recognizer_costs_one():
    found = min_dcf(np.full(5, 0.3), np.full(9, 0.3))
    assert (found.normalised, found.fnmr, found.fmr) == (1, 1, 0)
    assert found.value == PRIOR
    assert min_dcf(np.full(5, 0.3), np.full(9, 0.3), prior=0.99).fmr == 1, "here accepting all is cheaper"


def test_matching_nothing_is_not_to_be_had_above_infinity():
    found = min_dcf(np.array([0.0]), np.array([np.inf]))
    assert (found.value, found.normalised, found.fmr, found.fnmr) == (0.99, 99, 1, 0)


def test_equal_costs_are_recognised_exactly():
    # 0.1 x 3 / 3 and 0.3 / 3 differ in float64; as decimals both thresholds cost the same, so that the middle is taken.
    found = min_dcf(np.array([1.0, 3.0, 5.0]), np.array([0.0, 2.0, 4.0]), 0.5, 0.1, 0.1)
    assert found.threshold == 3 - 0.5
    assert found.value == pytest.approx(0.1 / 3)


def test_against_the_exact_curve():
    rng = np.random.default_rng(111)
    for decimals in (1, 3, 12):
        mated, non_mated = rng.normal(2, 1, 7000).round(decimals), rng.normal(0, 1, 20_000).round(decimals)
        curve = det(mated, non_mated)
        for prior, miss, match in ((0.01, 1, 1), (0.5, 10, 1), (0.9, 1, 3.3)):
            expected = (miss * prior * curve.fnmr + match * (1 - prior) * curve.fmr).min()
            assert min_dcf(mated, non_mated, prior, miss, match).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": 0}, "prior 0"),
        ({"prior": 1}, "prior 1"),
        ({"prior": -0.5}, "prior -0.5"),
        ({"prior": math.nan}, "prior nan"),
        ({"cost_miss": 0}, "cost of a miss 0"),
        ({"cost_false_match": -1}, "cost of a false match -1"),
        ({"cost_false_match": math.inf}, "cost of a false match inf"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(MaskbenchError, match=message) as caught:
        min_dcf(np.array([1.0]), np.array([0.0]), **options)
    assert "\n" not in str(caught.value)


def large(shift: float, decimals: int | None, seed: int = 112) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(mean, 1, size).astype(np.float32) for mean, size in ((shift, 30_000), (0, 50_000))]
    return tuple(np.sort(part if decimals is None else part.round(decimals)) for part in parts)


@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("decimals", [None, 3, 0])
@pytest.mark.parametrize("weights", [(1, 1), (5, 99), (2**40, 3), (10**19, 1)])
def test_leaving_stretches_out_changes_nothing(monkeypatch, shift, decimals, weights):
    mated, non_mated = large(shift, decimals)
    looked_at = []

    def count(*arguments):
        for scores, values in original(*arguments):
            looked_at.append(len(scores))
            yield scores, values

    original = costs._worth_a_look
    monkeypatch.setattr(costs, "_worth_a_look", count)
    found = lowest_cost(mated, non_mated, *weights)
    pruned = sum(looked_at)
    assert found == lowest_cost(mated, non_mated, *weights, strides=(1,))
    if decimals is None and shift and weights == (1, 1):
        assert pruned < 0.25 * 80_000, "most scores are never looked at"
