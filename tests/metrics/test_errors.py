"""FMR, FNMR and thresholds against definition loops, on scores with ties, infinities and tiny gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import as_scores
from maskbench.metrics.errors import (
    FEW_ERRORS,
    NOT_REACHABLE,
    NOT_RESOLVABLE,
    fmr,
    fnmr,
    fnmr_at_fmr,
    labels,
    split,
    threshold_at_fmr,
)
from maskbench.types import Status

from .oracles import cases, matched, numbers, slow_closest, slow_strict

MATED = np.array([0.9, 0.8, 0.5, 0.3])
NON_MATED = np.array([0.1, 0.2, 0.5, 0.6])


def targets(rng: np.random.Generator, count: int) -> list[float]:
    """Targets on, beside and between the levels k / count."""
    level = rng.integers(1, count + 1) / count
    return [
        level,
        min(1.0, np.nextafter(level, 2)),
        np.nextafter(level, 0),
        rng.uniform(1 / count, 1) if count > 1 else 1,
    ]


def test_a_score_on_the_threshold_matches():
    assert fmr(NON_MATED, 0.5) == 0.5
    assert fnmr(MATED, 0.5) == 0.25
    assert fmr(NON_MATED, np.nextafter(0.5, 1)) == 0.25
    assert fnmr(MATED, np.nextafter(0.5, 1)) == 0.5


def test_rates_against_loops():
    for _, mated, non_mated in cases(seed=3, count=100):
        for t in (*numbers(mated[:3]), *numbers(non_mated[:3]), -math.inf, math.inf, 0.1):
            assert fmr(non_mated, t) == matched(numbers(non_mated), t) / len(non_mated)
            assert fnmr(mated, t) == (len(mated) - matched(numbers(mated), t)) / len(mated)


def test_rates_need_scores():
    with pytest.raises(MaskbenchError, match="no completed non-mated"):
        fmr(np.array([]), 0.5)
    with pytest.raises(MaskbenchError, match="no completed mated"):
        fnmr(np.array([]), 0.5)


def test_split_takes_completed_comparisons_only():
    scores = np.array([0.9, np.nan, 0.1, np.nan, 0.4], dtype=np.float32)
    mated = np.array([True, True, False, False, False])
    status = np.array([Status.OK, Status.FAILED, Status.OK, Status.NOT_RUN, Status.OK])
    mated_scores, non_mated_scores = split(scores, mated, status)
    assert mated_scores.dtype == np.float32
    assert mated_scores.tolist() == [np.float32(0.9)]
    assert non_mated_scores.tolist() == [np.float32(0.1), np.float32(0.4)]


def test_split_ignores_a_score_that_was_not_completed():
    mated_scores, _ = split(np.array([0.9, 0.2, 0.1]), np.array([1, 1, 0]), np.array([0, 1, 0]))
    assert mated_scores.tolist() == [0.9]


@pytest.mark.parametrize(
    ("scores", "mated", "status", "message"),
    [
        ([0.5, 0.6], [True, True], None, "no completed non-mated"),
        ([0.5, 0.6], [False, False], None, "no completed mated"),
        ([0.5, 0.6], [True, False], [0, 1], "no completed non-mated"),
        ([0.5, np.nan], [True, False], None, "non-mated scores: NaN"),
        ([np.nan, 0.5], [True, False], [0, 0], "mated scores: NaN"),
        ([0.5], [True, False], None, "shapes must agree"),
        ([0.5, 0.6], [True, False], [0], "shapes must agree"),
        ([0.5, 0.6], [1.0, 0.0], None, "expected one dimension of bool"),
        ([0.5, 0.6], [2, 0], None, "expected one dimension of bool"),
        ([0.5, 0.6], ["True", "False"], None, "expected one dimension of bool"),
    ],
)
def test_split_refuses(scores, mated, status, message):
    with pytest.raises(MaskbenchError, match=message):
        split(np.array(scores), np.array(mated), status if status is None else np.array(status))


def test_labels_as_integers():
    assert labels(np.array([0, 1, 1], np.uint8)).tolist() == [False, True, True]


def test_strict_by_hand():
    non_mated = np.arange(100) / 100  # FMR 1/100 is reached just above 0.98
    point = threshold_at_fmr(non_mated, 0.01)
    assert point.threshold == np.nextafter(0.98, 1)
    assert (point.errors, point.fmr, point.comparisons, point.resolvable) == (1, 0.01, 100, True)
    assert point.flag == FEW_ERRORS
    assert threshold_at_fmr(non_mated, 1).threshold == -math.inf
    assert threshold_at_fmr(non_mated, 0.999).errors == 99


def test_ties_stand_or_fall_together():
    non_mated = np.array([0.0] * 96 + [0.5] * 4)
    point = threshold_at_fmr(non_mated, 0.03)
    assert point.errors == 0
    assert point.threshold == np.nextafter(0.5, 1)
    closest = threshold_at_fmr(non_mated, 0.03, "closest")
    assert closest.errors == 4
    assert closest.threshold == np.nextafter(0.0, 1)
    assert threshold_at_fmr(non_mated, 0.02, "closest").errors == 0, "a draw goes to the lower FMR"
    assert threshold_at_fmr(non_mated, 0.04).errors == 4


def test_a_draw_is_decided_on_the_decimal_that_was_written():
    # 1/200 and 3/200 are equally far from 0.01; in binary floating point 0.015 - 0.01 is smaller than 0.01 - 0.005
    non_mated = np.array([0.0] * 197 + [0.5] * 2 + [0.9])
    assert abs(3 / 200 - 0.01) < abs(1 / 200 - 0.01)
    assert threshold_at_fmr(non_mated, 0.01, "closest").errors == 1


def test_strict_has_the_lowest_fnmr_that_is_allowed():
    rng = np.random.default_rng(4)
    checked = 0
    for kind, mated, non_mated in cases(seed=5, count=150):
        for target in targets(rng, len(non_mated)):
            expected = slow_strict(numbers(mated), numbers(non_mated), target)
            found = fnmr_at_fmr(mated, non_mated, target)
            if target < 1 / len(non_mated):
                assert found.point.flag == NOT_RESOLVABLE
                continue
            if expected is None:
                assert found.point.flag == NOT_REACHABLE and kind == "infinite"
                continue
            assert (found.point.errors, found.errors) == expected, (kind, mated, non_mated, target)
            assert found.point.fmr <= target
            checked += 1
    assert checked > 3000


def test_no_lower_threshold_keeps_the_target():
    rng = np.random.default_rng(6)
    for _, _, non_mated in cases(seed=7, count=80):
        for target in targets(rng, len(non_mated)):
            point = threshold_at_fmr(non_mated, target)
            if not point.resolvable or point.threshold == -math.inf:
                continue
            dtype = as_scores(non_mated, "").dtype
            t = point.threshold
            with np.errstate(over="ignore"):
                lower = t - 1 if dtype.kind == "i" else np.nextafter(dtype.type(t), dtype.type(-np.inf)).item()
            assert fmr(non_mated, t) == point.fmr <= target < fmr(non_mated, lower)


def test_closest_against_loop():
    rng = np.random.default_rng(8)
    checked = 0
    for kind, mated, non_mated in cases(seed=9, count=150):
        for target in targets(rng, len(non_mated)):
            found = fnmr_at_fmr(mated, non_mated, target, "closest")
            if not found.point.resolvable:
                assert target < 1 / len(non_mated) or kind == "infinite"
                continue
            expected = slow_closest(numbers(mated), numbers(non_mated), target)
            assert found.point.errors == expected[0], (kind, non_mated, target)
            assert found.errors == len(mated) - matched(numbers(mated), found.point.threshold)
            if kind != "infinite":
                assert found.errors == slow_lowest_fnmr(mated, non_mated, expected[0])
            checked += 1
    assert checked > 3000


def slow_lowest_fnmr(mated: np.ndarray, non_mated: np.ndarray, errors: int) -> int:
    """The fewest false non-matches of any threshold with that many false matches."""
    kept = sorted(numbers(non_mated))[: len(non_mated) - errors]
    return sum(1 for score in numbers(mated) if kept and score <= kept[-1])


@pytest.mark.parametrize("rule", ["strict", "closest"])
def test_resolvability(rule):
    non_mated = np.random.default_rng(10).permutation(3000) / 3000
    below = threshold_at_fmr(non_mated, np.nextafter(1 / 3000, 0), rule)
    assert not below.resolvable
    assert below.flag == NOT_RESOLVABLE
    assert (below.threshold, below.fmr, below.errors, below.comparisons) == (None, None, None, 3000)
    for target in (1 / 3000, 0.001, np.nextafter(0.01, 0)):
        point = threshold_at_fmr(non_mated, target, rule)
        assert point.resolvable and point.flag == FEW_ERRORS
    point = threshold_at_fmr(non_mated, 0.01, rule)
    assert (point.errors, point.flag) == (30, "")


def test_ties_that_leave_few_errors_are_flagged():
    point = threshold_at_fmr(np.array([0.0] * 900 + [1.0] * 100), 0.05)
    assert (point.errors, point.fmr, point.flag) == (0, 0.0, FEW_ERRORS)


def test_an_unresolvable_target_gives_no_fnmr():
    found = fnmr_at_fmr(MATED, NON_MATED, 0.01)
    assert (found.fnmr, found.errors, found.comparisons) == (None, None, 4)


def test_infinite_non_mated_scores_can_make_a_target_unreachable():
    non_mated = np.array([0.0] * 98 + [np.inf] * 2)
    point = threshold_at_fmr(non_mated, 0.01)
    assert (point.threshold, point.fmr, point.resolvable, point.flag) == (None, None, False, NOT_REACHABLE)
    assert threshold_at_fmr(non_mated, 0.02).threshold == np.nextafter(0, 1)
    assert threshold_at_fmr(non_mated, 0.01, "closest").errors == 2


def test_measured_fmr_is_compared_as_it_is_reported():
    # 0.29 * 100 is 28.999999999999996 in floating point, yet 29 errors of 100 are an FMR of 0.29
    assert threshold_at_fmr(np.arange(100.0), 0.29).errors == 29
    assert threshold_at_fmr(np.arange(3.0), 1 / 3).errors == 1


@pytest.mark.parametrize("target", [0, -0.1, 1.0001, math.nan, math.inf])
def test_targets_outside_the_range(target):
    with pytest.raises(MaskbenchError, match="target FMR"):
        threshold_at_fmr(NON_MATED, target)


def test_unknown_rule_suggests():
    with pytest.raises(MaskbenchError, match='did you mean "closest"'):
        threshold_at_fmr(NON_MATED, 0.5, "closets")


def test_input_is_neither_changed_nor_rounded():
    non_mated = np.array([0.5 + 2e-12, 0.5, 0.5 + 1e-12])
    before = non_mated.copy()
    assert threshold_at_fmr(non_mated, 0.34).errors == 1
    assert (non_mated == before).all()
    assert fnmr_at_fmr(np.array([0.5 + 1.5e-12]), non_mated, 0.34).fnmr == 0
