"""Verification accuracy: at the best threshold, and over folds as LFW prescribes.

Accuracy = (mated scores >= t + non-mated scores < t) / completed comparisons. It depends on the share of mated
comparisons; FMR and FNMR do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import both_classes, matches
from maskbench.metrics.costs import lowest_cost
from maskbench.metrics.errors import labels, sorted_classes, split
from maskbench.types import Status

NO_FOLDS = "accuracy over folds needs at least two folds; give the pairs fold numbers 1, 2, ..."


@dataclass(frozen=True)
class FoldAccuracy:
    """Accuracy of held-out folds, each at the threshold that the other folds chose.

    Attributes:
        mean: mean of ``per_fold``.
        std: standard deviation of ``per_fold``, divisor K (numpy's default, as the LFW tools report it).
        per_fold: (K,) accuracy over completed comparisons, by ascending fold number.
        thresholds: (K,) the threshold applied to each fold.
        mean_including_failures, per_fold_including_failures: the same with a failed comparison as an error.
        correct, completed, failed: comparisons over all folds.
    """

    mean: float
    std: float
    per_fold: np.ndarray
    thresholds: tuple[float | int, ...]
    mean_including_failures: float
    per_fold_including_failures: np.ndarray
    correct: int
    completed: int
    failed: int


def best_threshold_accuracy(scores: np.ndarray, mated: np.ndarray) -> tuple[float, float | int]:
    """The highest accuracy that one threshold reaches on these very scores, and that threshold.

    Optimistic: the threshold is chosen on the scores that it is judged by. De-Occlusion Distillation (ACM MM 2020)
    reports LFW this way; compare it with nothing else.

    Where several thresholds reach the highest accuracy, they form intervals between neighbouring scores. The middle
    interval is taken (the lower of two), and its midpoint, as far as the dtype allows: a choice that favours neither
    class and keeps its distance from the scores. Below all scores it is the lowest score, above all of them the lowest
    value above.

    Args:
        scores: (N,) completed scores.
        mated: (N,) bool.

    Raises:
        MaskbenchError: malformed input, or one class is missing.
    """
    mated_scores, non_mated_scores = both_classes(*sorted_classes(scores, mated))
    threshold, correct = _best(mated_scores, non_mated_scores)
    return correct / (len(mated_scores) + len(non_mated_scores)), threshold


def fold_accuracy(
    scores: np.ndarray, mated: np.ndarray, fold: np.ndarray, failed: np.ndarray | None = None
) -> FoldAccuracy:
    """Accuracy with ``K`` folds: the best threshold of the other folds, applied to the fold that is left out.

    The threshold maximises accuracy over every value, not over a grid; ties as in ``best_threshold_accuracy``. Mean
    and standard deviation over folds follow Huang et al., "Labeled Faces in the Wild", UMass TR 07-49, 2007.

    Args:
        scores: (M,) scores; not looked at where ``failed``.
        mated: (M,) bool.
        fold: (M,) integers from 1; 0 means no fold.
        failed: (M,) bool, comparisons without a score; None means none.

    Raises:
        MaskbenchError: fewer than two folds, pairs with and without a fold, a fold without completed comparisons, or
            folds that leave only one class to choose a threshold on.
    """
    scores, mated, fold = np.asarray(scores), labels(mated), np.asarray(fold)
    failed = np.zeros(len(mated), bool) if failed is None else labels(failed)
    if not scores.shape == mated.shape == fold.shape == failed.shape:
        raise MaskbenchError("scores, mated, fold and failed: shapes must agree")
    numbers = _fold_numbers(fold)
    parts = split(scores, mated, np.where(failed, Status.FAILED, Status.OK))
    classes = [_by_score(part, fold[rows & ~failed]) for part, rows in zip(parts, (mated, ~mated), strict=True)]
    correct, completed, failures, thresholds = [], [], [], []
    for number in numbers:
        right, done, threshold = _held_out(classes, number)
        correct.append(right)
        completed.append(done)
        failures.append(int(np.count_nonzero(failed & (fold == number))))
        thresholds.append(threshold)
    return _fold_result(np.array(correct), np.array(completed), np.array(failures), tuple(thresholds))


def _by_score(scores: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(scores, kind="stable")  # sorted once; dropping a fold keeps the order
    return scores[order], fold[order]


def _held_out(classes: list[tuple[np.ndarray, np.ndarray]], number: int) -> tuple[int, int, float | int]:
    """Correct decisions and completed comparisons of one fold, at the threshold that the others choose."""
    mated, non_mated = (scores[fold == number] for scores, fold in classes)
    if len(mated) + len(non_mated) == 0:
        raise MaskbenchError(f"fold {number} has no completed comparison; accuracy over folds needs one in each")
    try:
        threshold, _ = _best(*both_classes(*(scores[fold != number] for scores, fold in classes)))
    except MaskbenchError as error:
        raise MaskbenchError(f"without fold {number}: {error}") from error
    accepted = [int(np.count_nonzero(matches(part, threshold))) for part in (mated, non_mated)]
    return accepted[0] + len(non_mated) - accepted[1], len(mated) + len(non_mated), threshold


def _fold_result(correct: np.ndarray, completed: np.ndarray, failures: np.ndarray, thresholds: tuple) -> FoldAccuracy:
    per_fold, with_failures = correct / completed, correct / (completed + failures)
    return FoldAccuracy(
        mean=float(per_fold.mean()),
        std=float(per_fold.std()),
        per_fold=per_fold,
        thresholds=thresholds,
        mean_including_failures=float(with_failures.mean()),
        per_fold_including_failures=with_failures,
        correct=int(correct.sum()),
        completed=int(completed.sum()),
        failed=int(failures.sum()),
    )


def _fold_numbers(fold: np.ndarray) -> np.ndarray:
    if fold.dtype.kind not in "iu":
        raise MaskbenchError(f"fold: expected integers, found {fold.dtype}")
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise MaskbenchError(NO_FOLDS)
    if numbers[0] < 1:
        raise MaskbenchError(f"fold {numbers[0]} beside others: number the folds of all pairs from 1, or give none")
    return numbers


def _best(mated: np.ndarray, non_mated: np.ndarray) -> tuple[float | int, int]:
    """The best threshold of two ascending classes, and the number of correct decisions there."""
    found = lowest_cost(mated, non_mated)
    return found.threshold, len(mated) + len(non_mated) - found.cost
