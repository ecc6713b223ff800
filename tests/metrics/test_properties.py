"""Every metric against its slow definition on thousands of generated cases."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskbench.errors import MaskbenchError
from maskbench.metrics.accuracy import best_threshold_accuracy
from maskbench.metrics.arrays import both_classes
from maskbench.metrics.costs import lowest_cost
from maskbench.metrics.curves import auc, det
from maskbench.metrics.dcf import min_dcf
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import fmr, fnmr, fnmr_at_fmr, sorted_classes, split, tar_at_far, zero_fmr
from maskbench.metrics.kernels import part, wins
from maskbench.metrics.separation import BEYOND, INFINITE, NO_SPREAD, separation
from maskbench.metrics.summary import summarise
from maskbench.types import Status

from .oracles import (
    matched,
    numbers,
    slow_auc,
    slow_best,
    slow_closest,
    slow_costs,
    slow_dcf,
    slow_det,
    slow_eer,
    slow_moments,
    slow_strict,
    slow_zero_fmr,
)
from .strategies import classes, many

TARGETS = st.sampled_from([0.01, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7, 1.0]) | st.floats(1e-6, 1.0)


@many(300)
@given(classes(), TARGETS)
def test_strict_rule(scores, target):
    mated, non_mated = scores
    found = fnmr_at_fmr(mated, non_mated, target)
    if target < 1 / len(non_mated):
        assert (found.fnmr, found.point.threshold, found.point.flag) == (None, None, "not resolvable")
        return
    expected = slow_strict(numbers(mated), numbers(non_mated), target)
    if found.errors is None:
        assert found.point.flag == "not reachable" and max(numbers(non_mated)) == math.inf
        return
    assert (found.point.errors, found.errors) == expected
    assert fmr(non_mated, found.point.threshold) == found.point.fmr <= target
    tar = tar_at_far(mated, non_mated, target)
    assert (tar.hits, tar.tar) == (len(mated) - expected[1], (len(mated) - expected[1]) / len(mated))
    assert tar.point == found.point


@many(200)
@given(classes(), TARGETS)
def test_closest_rule(scores, target):
    mated, non_mated = scores
    found = fnmr_at_fmr(mated, non_mated, target, "closest")
    if target >= 1 / len(non_mated) and found.errors is not None:
        mates, others = numbers(mated), numbers(non_mated)
        errors, _ = slow_closest(mates, others, target)
        assert found.point.errors == errors
        lowest = min(
            len(mates) - matched(mates, t)
            for t in others + mates + [found.point.threshold]
            if matched(others, t) == errors
        )
        assert found.errors == lowest, "the lowest threshold with that FMR"


@many(200)
@given(classes())
def test_zero_fmr(scores):
    mated, non_mated = scores
    found = zero_fmr(mated, non_mated)
    if max(numbers(non_mated)) == math.inf:
        assert (found.fnmr, found.point.threshold, found.point.flag) == (None, None, "not reachable")
        return
    assert found.errors == slow_zero_fmr(numbers(mated), numbers(non_mated))
    assert matched(numbers(non_mated), found.point.threshold) == found.point.errors == 0
    assert found.fnmr == fnmr(mated, found.point.threshold)


@many(250)
@given(classes())
def test_eer_auc_and_det(scores):
    mated, non_mated = scores
    mates, others = numbers(mated), numbers(non_mated)
    found = eer(mated, non_mated)
    assert (found.value, found.low, found.high) == tuple(map(float, slow_eer(mates, others)))
    assert auc(mated, non_mated) == float(slow_auc(mates, others))
    curve = det(mated, non_mated)
    points = [(float(a), float(b)) for a, b in slow_det(mates, others)]
    assert list(zip(curve.fmr.tolist(), curve.fnmr.tolist(), strict=True)) == points


@many(250)
@given(classes(), st.lists(st.integers(0, 4), min_size=0, max_size=20))
def test_compiled_loops(scores, order):
    mated, non_mated = (np.sort(scores) for scores in both_classes(*scores))
    pairs = 2 * len(mated) * len(non_mated)
    assert Fraction(int(wins(mated, non_mated)), pairs) == slow_auc(numbers(mated), numbers(non_mated))
    values = np.resize(mated, len(order))
    labels, done = np.array(order, int) % 2 == 0, np.array(order, int) < 4
    outputs = [np.empty(int(rows.sum()) + 1, values.dtype) for rows in (labels & done, ~labels & done)]
    part(values, labels, done, *outputs)
    assert np.array_equal(outputs[0][:-1], values[labels & done])
    assert np.array_equal(outputs[1][:-1], values[~labels & done])


@many(250)
@given(classes(), st.sampled_from([(), (1,), (2, 1), (3, 1), (5, 2, 1)]), st.integers(0, 3), st.integers(1, 3))
def test_lowest_cost(scores, strides, miss, match):
    mated, non_mated = (np.sort(scores) for scores in both_classes(*scores))
    mates, others = numbers(mated), numbers(non_mated)
    found = lowest_cost(mated, non_mated, miss, match, strides)
    assert found.cost == min(slow_costs(mates, others, miss, match))
    assert found.misses == len(mates) - matched(mates, found.threshold)
    assert found.matches == matched(others, found.threshold)
    assert found.cost == miss * found.misses + match * found.matches
    assert found == lowest_cost(mated, non_mated, miss, match, (1,)), "strides change nothing"


@many(300)
@given(classes())
def test_best_accuracy(scores):
    mated, non_mated = both_classes(*scores)
    joined, labels = np.concatenate([mated, non_mated]), np.repeat([True, False], [len(mated), len(non_mated)])
    accuracy, threshold = best_threshold_accuracy(joined, labels)
    best, _ = slow_best(numbers(mated), numbers(non_mated))
    right = matched(numbers(mated), threshold) + len(non_mated) - matched(numbers(non_mated), threshold)
    assert accuracy == best / len(joined) == right / len(joined)


DECIMALS = st.integers(1, 99).map(lambda n: f"0.{n:02d}")


@many(250)
@given(classes(), DECIMALS, st.sampled_from(["1.0", "10.0", "0.1", "2.5"]), st.sampled_from(["1.0", "3.0", "100.0"]))
def test_min_dcf(scores, prior, cost_miss, cost_false_match):
    mated, non_mated = scores
    found = min_dcf(mated, non_mated, float(prior), float(cost_miss), float(cost_false_match))
    assert found.value == float(slow_dcf(numbers(mated), numbers(non_mated), prior, cost_miss, cost_false_match))
    realised = float(cost_miss) * float(prior) * fnmr(mated, found.threshold)
    realised += float(cost_false_match) * (1 - float(prior)) * fmr(non_mated, found.threshold)
    assert realised == pytest.approx(found.value, rel=1e-12, abs=1e-15), "the threshold reaches the cost"
    assert (found.fmr, found.fnmr) == (fmr(non_mated, found.threshold), fnmr(mated, found.threshold))
    if np.inf not in (mated.max(), non_mated.max()):
        assert 0 <= found.normalised <= 1


@many(300)
@given(classes())
def test_separation(scores):
    mated, non_mated = scores
    found = separation(mated, non_mated)
    mates, others = numbers(mated), numbers(non_mated)
    if any(math.isinf(score) for score in mates + others):
        assert vars(found) == dict.fromkeys(("g_mean", "g_std", "i_mean", "i_std", "fdr", "d_prime")) | {
            "reason": INFINITE
        }
        return
    moments = [slow_moments(own) for own in (mates, others)]
    smallest = Fraction(5e-324)
    for own, (mean, variance), ours in zip((mates, others), moments, ("g", "i"), strict=True):
        spread, largest = Fraction(max(own)) - Fraction(min(own)), max(abs(Fraction(score)) for score in own)
        assert abs(Fraction(getattr(found, f"{ours}_mean")) - mean) <= max(largest / 10**15, smallest)
        std = Fraction(getattr(found, f"{ours}_std"))
        assert abs(std**2 - variance) <= max(spread**2 / 10**13, 4 * smallest * (std + smallest))
    difference, total = moments[0][0] - moments[1][0], moments[0][1] + moments[1][1]
    if total == 0:
        assert (found.fdr, found.d_prime, found.reason) == (None, None, NO_SPREAD)
        return
    exact = difference**2 / total
    if exact > Fraction(1.7e308):
        assert found.reason == BEYOND or found.fdr > 1.6e308
        return
    assert found.reason == ""
    ratio = Fraction(math.sqrt(exact))  # the difference of the means is known to the last digits of the spread
    assert abs(Fraction(found.fdr) - exact) <= exact / 10**10 + ratio / 10**14 + Fraction(1, 10**28)
    assert found.d_prime == pytest.approx(math.sqrt(2 * found.fdr), rel=1e-12)


@many(150)
@given(
    classes(kinds=("float64", "float32", "ties", "gaps")),
    st.lists(st.sampled_from([0, 0, 0, 1]), min_size=20, max_size=20),
)
def test_failed_comparisons_are_never_looked_at(scores, states):
    joined, labels = np.concatenate(scores), np.repeat([True, False], [len(part) for part in scores])
    status = np.array(states[: len(joined)], np.int8)
    gone = np.where(status == Status.FAILED, joined.dtype.type(np.nan), joined)
    complete = [bool((status[labels == side] == Status.OK).any()) for side in (True, False)]
    if not all(complete):
        with pytest.raises(MaskbenchError, match="no completed"):
            split(gone, labels, status)
        return
    mated, non_mated = sorted_classes(gone, labels, status)
    assert mated.tolist() == sorted(numbers(joined[labels & (status == Status.OK)]))
    assert non_mated.tolist() == sorted(numbers(joined[~labels & (status == Status.OK)]))
    first, second = (summarise(values, labels, status)["metrics"] for values in (gone, joined))
    assert first == second
    assert first["eer"]["value"] == float(slow_eer(numbers(mated), numbers(non_mated))[0])
    if status.any():
        with pytest.raises(MaskbenchError, match="NaN in a completed comparison"):
            split(gone, labels)


@many(60)
@given(classes(largest=2), st.sampled_from([float("nan"), -0.1, 0.0, 1.0000001, math.inf]))
def test_targets_out_of_range_are_refused(scores, target):
    for function in (fnmr_at_fmr, tar_at_far):
        with pytest.raises(MaskbenchError, match="target FMR"):
            function(*scores, target)
    for function in (eer, auc, det, zero_fmr, min_dcf, separation):
        with pytest.raises(MaskbenchError, match="no completed non-mated"):
            function(scores[0], scores[1][:0])
        with pytest.raises(MaskbenchError, match="NaN"):
            function(scores[0], np.array([np.nan]))
