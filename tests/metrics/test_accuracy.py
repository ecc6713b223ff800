"""Accuracy against loops over every threshold and a naive K-fold run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.accuracy import best_threshold_accuracy, fold_accuracy

from .oracles import NEVER, candidates, cases, draw, matched, numbers, slow_best


def joined(mated: np.ndarray, non_mated: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.concatenate([mated, non_mated]), np.repeat([True, False], (len(mated), len(non_mated)))
    order = np.random.default_rng(seed).permutation(len(scores))
    return scores[order], labels[order]


def correct_at(mated: list, non_mated: list, threshold: float) -> int:
    return matched(mated, threshold) + len(non_mated) - matched(non_mated, threshold)


def naive_threshold(mated: list, non_mated: list) -> float | int:
    """The documented choice: the middle best interval (lower of two), its midpoint where a number lies there."""
    _, places = slow_best(mated, non_mated)
    place = places[(len(places) - 1) // 2]
    every = candidates(mated, non_mated)
    if place == 0:
        return every[0]
    low, high = every[place - 1], every[place]
    if isinstance(low, int):
        return low + 1 if high is NEVER else low + (high - low + 1) // 2
    if high is NEVER:
        return math.nextafter(low, math.inf)
    middle = low / 2 + high / 2
    return middle if low < middle < high else high


def test_by_hand():
    accuracy, threshold = best_threshold_accuracy(np.array([0.9, 0.8, 0.4, 0.2]), np.array([1, 1, 0, 0]))
    assert accuracy == 1
    assert threshold == pytest.approx(0.6)


def test_several_best_intervals_take_the_middle_one():
    scores = np.array([1, 2, 3, 4, 5, 6])
    mated = np.array([0, 1, 0, 1, 0, 1])  # thresholds 2, 4 and 6 are right four times of six
    accuracy, threshold = best_threshold_accuracy(scores, mated)
    assert (accuracy, threshold) == (4 / 6, 4)


def test_best_accuracy_against_loop():
    checked = 0
    for kind, mated, non_mated in cases(seed=31, count=150):
        scores, labels = joined(mated, non_mated)
        accuracy, threshold = best_threshold_accuracy(scores, labels)
        best, _ = slow_best(numbers(mated), numbers(non_mated))
        context = (kind, mated, non_mated)
        assert accuracy == best / len(scores), context
        assert correct_at(numbers(mated), numbers(non_mated), threshold) == best, context
        if kind in ("float64", "ties", "gaps", "integers", "bytes", "huge integers", "infinite"):
            assert threshold == naive_threshold(numbers(mated), numbers(non_mated)), context
        checked += 1
    assert checked > 1500


def test_threshold_stays_between_float32_neighbours():
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1))
    accuracy, threshold = best_threshold_accuracy(np.array([low, high]), np.array([False, True]))
    assert accuracy == 1
    assert threshold == float(high)


def test_midpoint_of_huge_scores_does_not_overflow():
    scores = np.array([1.6e308, 1.7e308])
    accuracy, threshold = best_threshold_accuracy(scores, np.array([False, True]))
    assert accuracy == 1
    assert scores[0] < threshold <= scores[1]


def test_reversed_scores_reject_or_accept_all():
    accuracy, threshold = best_threshold_accuracy(np.array([0.0, 1.0, 1.0]), np.array([1, 0, 0]))
    assert accuracy == 2 / 3
    assert threshold == np.nextafter(1.0, 2)
    accuracy, threshold = best_threshold_accuracy(np.array([0.0, 0.0, 1.0]), np.array([1, 1, 0]))
    assert (accuracy, threshold) == (2 / 3, 0.0)


@pytest.mark.parametrize(
    ("scores", "mated", "message"),
    [
        ([0.5, 0.6], [True, True], "no completed non-mated"),
        ([0.5, 0.6], [False, False], "no completed mated"),
        ([0.5, np.nan], [True, False], "NaN"),
        ([0.5], [True, False], "shapes"),
    ],
)
def test_best_refuses(scores, mated, message):
    with pytest.raises(MaskbenchError, match=message):
        best_threshold_accuracy(np.array(scores), np.array(mated))


def naive_folds(scores: np.ndarray, mated: np.ndarray, fold: np.ndarray, failed: np.ndarray) -> list[tuple]:
    """(accuracy, accuracy including failures, threshold) of each fold, pair by pair."""
    rows = list(zip(numbers(scores), mated.tolist(), fold.tolist(), failed.tolist(), strict=True))
    result = []
    for number in sorted(set(fold.tolist())):
        others = [(s, m) for s, m, f, lost in rows if f != number and not lost]
        threshold = naive_threshold([s for s, m in others if m], [s for s, m in others if not m])
        held = [(s, m) for s, m, f, lost in rows if f == number and not lost]
        lost_here = sum(1 for *_, f, lost in rows if f == number and lost)
        correct = sum(1 for s, m in held if (s >= threshold) == m)
        result.append((correct / len(held), correct / (len(held) + lost_here), threshold))
    return result


@pytest.mark.parametrize("kind", ["float64", "ties", "integers", "gaps"])
def test_folds_against_naive_run(kind):
    rng = np.random.default_rng(32)
    for _ in range(60):
        size = int(rng.integers(30, 80))
        scores, mated = draw(rng, kind, size), rng.random(size) < 0.5
        scores = scores + (mated * 1 if kind == "integers" else mated * (1e-12 if kind == "gaps" else 0.7))
        fold, failed = rng.permutation(np.arange(size) % 5 + 1), rng.random(size) < 0.1
        expected = naive_folds(scores, mated, fold, failed)
        found = fold_accuracy(scores, mated, fold, failed)
        assert found.per_fold.tolist() == [row[0] for row in expected]
        assert found.per_fold_including_failures.tolist() == [row[1] for row in expected]
        assert list(found.thresholds) == [row[2] for row in expected]
        assert found.mean == pytest.approx(sum(row[0] for row in expected) / 5, abs=1e-15)
        assert found.mean_including_failures == pytest.approx(sum(row[1] for row in expected) / 5, abs=1e-15)
        assert found.completed + found.failed == size
        assert found.failed == failed.sum()


def test_std_divides_by_the_number_of_folds():
    scores = np.array([0.9, 0.1, 0.9, 0.1, 0.2, 0.8])
    mated = np.array([1, 0, 1, 0, 1, 0])
    found = fold_accuracy(scores, mated, np.array([1, 1, 2, 2, 3, 3]))
    assert found.per_fold.tolist() == [1, 1, 0]
    assert found.mean == pytest.approx(2 / 3)
    assert found.std == pytest.approx(math.sqrt(2) / 3)
    assert (found.correct, found.completed, found.failed) == (4, 6, 0)


def test_a_fold_never_chooses_its_own_threshold():
    # Moving the held-out scores about, as long as no decision changes, must not move its threshold.
    rng = np.random.default_rng(33)
    scores, mated = rng.normal(size=200), rng.random(200) < 0.5
    scores, fold = scores + mated, np.arange(200) % 4 + 1
    first = fold_accuracy(scores, mated, fold)
    changed = scores.copy()
    changed[fold == 2] += 1000
    second = fold_accuracy(changed, mated, fold)
    assert second.thresholds[1] == first.thresholds[1]
    assert second.per_fold[1] == mated[fold == 2].mean()


def test_failed_comparisons_count_as_errors_only_where_said():
    scores = np.array([0.9, 0.1, np.nan, 0.9, 0.1, 0.8])
    mated = np.array([1, 0, 1, 1, 0, 1])
    failed = np.isnan(scores)
    found = fold_accuracy(scores, mated, np.array([1, 1, 1, 2, 2, 2]), failed)
    assert (found.mean, found.mean_including_failures) == (1, pytest.approx((2 / 3 + 1) / 2))
    with pytest.raises(MaskbenchError, match="NaN"):
        fold_accuracy(scores, mated, np.array([1, 1, 1, 2, 2, 2]))


def test_float32_decisions_are_exact():
    scores = np.array([0.1, 0.3, 0.1, 0.3], dtype=np.float32)
    found = fold_accuracy(scores, np.array([0, 1, 0, 1]), np.array([1, 1, 2, 2]))
    assert found.mean == 1
    assert all(np.float32(t) == t for t in found.thresholds)


@pytest.mark.parametrize(
    ("fold", "failed", "message"),
    [
        ([0, 0, 0, 0], None, "at least two folds"),
        ([1, 1, 1, 1], None, "at least two folds"),
        ([0, 1, 2, 2], None, "fold 0 beside others"),
        ([-1, 1, 2, 2], None, "fold -1 beside others"),
        ([1, 1, 2, 2], [0, 0, 1, 1], "without fold 1: no completed mated"),
        ([1.0, 1.0, 2.0, 2.0], None, "expected integers"),
        ([1, 2, 2], None, "shapes must agree"),
        ([1, 2, 1, 1], None, "without fold 1: no completed mated"),
    ],
)
def test_folds_refused(fold, failed, message):
    scores, mated = np.array([0.9, 0.1, 0.8, 0.2]), np.array([1, 0, 1, 0])
    with pytest.raises(MaskbenchError, match=message):
        fold_accuracy(scores, mated, np.array(fold), None if failed is None else np.array(failed))


def test_a_fold_without_completed_comparison_is_named():
    fold, failed = np.repeat([1, 2, 3], 2), np.array([0, 0, 0, 0, 1, 1])
    with pytest.raises(MaskbenchError, match="fold 3 has no completed comparison"):
        fold_accuracy(np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3]), np.array([1, 0, 1, 0, 1, 0]), fold, failed)


def test_unreachable_candidate_is_left_out():
    # Rejecting everything would be right twice, but nothing lies above +inf.
    accuracy, threshold = best_threshold_accuracy(np.array([np.inf, np.inf, 0.0]), np.array([0, 0, 1]))
    assert accuracy == 1 / 3
    assert threshold == 0.0
