"""Exact comparisons: scores against thresholds of another type, dtypes that meet, input that must be refused."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import as_scores, ascending, both_classes, ceiling, just_above, matches

from .oracles import cases


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (">f4", np.float32),
        (np.int8, np.int64),
        (np.uint16, np.int64),
        (np.uint64, np.int64),
    ],
)
def test_dtypes_are_kept_or_widened_exactly(given, kept):
    scores = as_scores(np.array([1, 2, 3], dtype=given), "mated")
    assert scores.dtype == kept
    assert scores.dtype.isnative
    assert scores.tolist() == [1, 2, 3]


def test_float_input_is_not_copied():
    scores = np.array([0.5, 0.25], dtype=np.float32)
    assert as_scores(scores, "mated") is scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((2, 2)), "one dimension"),
        (np.array(1.0), "one dimension"),
        (np.array([]), "no completed mated comparison"),
        (np.array([True, False]), "dtype bool"),
        (np.array(["0.5"]), "not supported"),
        (np.array([0.5, None]), "not supported"),
        (np.array([1j]), "not supported"),
        (np.zeros(2, dtype=np.longdouble), "not supported"),
        (np.array([0.5, np.nan]), "NaN"),
        (np.array([np.nan], dtype=np.float32), "NaN"),
        (np.array([2**62 + 1]), "rescale"),
        (np.array([2**63], dtype=np.uint64), "rescale"),
        (np.array([-(2**63)]), "rescale"),
    ],
)
def test_what_is_refused(scores, message):
    with pytest.raises(MaskbenchError, match=message) as caught:
        as_scores(scores, "mated")
    assert "\n" not in str(caught.value)


def test_classes_meet_in_the_wider_float():
    mated, non_mated = both_classes(np.array([0.1], np.float32), np.array([0.1], np.float64))
    assert mated.dtype == non_mated.dtype == np.float64
    assert mated[0] == float(np.float32(0.1)) > non_mated[0]


def test_integers_meet_floats_only_where_float64_holds_them():
    mated, _ = both_classes(np.array([2**53]), np.array([0.5]))
    assert mated[0] == 2**53
    with pytest.raises(MaskbenchError, match="one dtype"):
        both_classes(np.array([2**53 + 1]), np.array([0.5]))


def test_sorted_input_is_returned_as_it_is():
    scores = np.array([0.0, 0.0, 1.0, np.inf])
    assert ascending(scores) is scores
    assert ascending(scores[::-1]).tolist() == scores.tolist()
    assert ascending(np.array([3])).tolist() == [3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("score", [-1.0, -0.0, 0.0, 0.7, 1e30, -np.inf])
def test_just_above_leaves_no_room(dtype, score):
    score = dtype(score)
    above = just_above(score)
    assert dtype(above) > score
    with np.errstate(over="ignore"):
        assert np.nextafter(dtype(above), dtype(-np.inf)) == score


def test_just_above_at_the_ends():
    assert just_above(np.float64(np.inf)) is None
    assert just_above(np.float32(np.finfo(np.float32).max)) == np.inf
    assert just_above(np.int64(2**62)) == 2**62 + 1


def test_a_float64_threshold_is_not_rounded_onto_a_float32_score():
    score = np.array([0.1], dtype=np.float32)
    exact = float(score[0])
    for threshold in (exact - 1e-12, exact):
        assert matches(score, threshold).tolist() == [True]
    for threshold in (exact + 1e-12, np.nextafter(exact, 1)):
        assert matches(score, threshold).tolist() == [False]


def test_matches_agrees_with_exact_comparison():
    rng = np.random.default_rng(1)
    checked = 0
    for _, scores, others in cases(seed=2, count=120):
        scores = as_scores(scores, "mated")
        for other in others:
            for threshold in (other.item(), other.item() + rng.choice([-1e-9, 0, 1e-9, 0.5, 1e40, -1e40])):
                expected = [score.item() >= threshold for score in scores]
                assert matches(scores, threshold).tolist() == expected, (scores, threshold)
                checked += 1
    assert checked > 10_000


@pytest.mark.parametrize("scores", [np.array([1, 2**61]), np.array([0.5], np.float32), np.array([0.5])])
def test_infinite_and_huge_thresholds(scores):
    for threshold in (np.inf, 10**400 if scores.dtype.kind == "i" else 1e300):
        assert not matches(scores, threshold).any()
    for threshold in (-np.inf, -(10**400) if scores.dtype.kind == "i" else -1e300):
        assert matches(scores, threshold).all()


def test_infinite_scores_match_an_infinite_threshold():
    assert matches(np.array([np.inf, 3e38], np.float32), np.inf).tolist() == [True, False]
    assert matches(np.array([-np.inf]), -np.inf).tolist() == [True]


def test_nan_threshold_is_refused():
    for dtype in (np.int64, np.float32):
        with pytest.raises(MaskbenchError, match="NaN"):
            ceiling(float("nan"), np.dtype(dtype))
