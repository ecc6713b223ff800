"""The blocks of a condition's summary: shares as ``Rate`` leaves, turned into numbers and intervals in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.accuracy import best_threshold_accuracy, fold_accuracy
from maskbench.metrics.arrays import ascending
from maskbench.metrics.curves import auc
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import NOT_RESOLVABLE, FmrPoint, false_matches, false_non_matches, threshold_at_fmr
from maskbench.metrics.failures import FailureCounts
from maskbench.metrics.intervals import rule_of_three, wilson

TARGETS = {"fmr100": 0.01, "fmr1000": 0.001}
RULE = "strict"
OPTIMISTIC = "optimistic: the threshold is chosen on the scores it is judged by"


@dataclass(frozen=True)
class Rate:
    """A share that is published as count / n, with an interval."""

    count: int
    n: int


@dataclass(frozen=True)
class Condition:
    """Completed scores by class, ascending, and what failed."""

    mated: np.ndarray
    non_mated: np.ndarray
    counts: FailureCounts


def operating_points(
    condition: Condition, source: np.ndarray | None, source_name: str, threshold: float | None
) -> dict[str, Any]:
    """FMR100, FMR1000, EER, AUC, transferred thresholds and, if asked for, a threshold chosen elsewhere."""
    tree: dict[str, Any] = {}
    for name, target in TARGETS.items():
        point = threshold_at_fmr(condition.non_mated, target, RULE)
        tree[name] = {"target": target, "rule": RULE} | _at_point(condition, point, "fmr_measured")
    rate = eer(condition.mated, condition.non_mated)
    tree["eer"] = {"value": rate.value, "low": rate.low, "high": rate.high, "threshold": _number(rate.threshold)}
    tree["auc"] = auc(condition.mated, condition.non_mated)
    tree["transferred"] = _transferred(condition, source, source_name)
    if threshold is not None:
        tree["at_threshold"] = _at(condition, threshold, "fmr")
    return tree


def _at(condition: Condition, threshold: float, fmr_name: str) -> dict[str, Any]:
    misses, counts = false_non_matches(condition.mated, threshold), condition.counts
    return {
        fmr_name: Rate(false_matches(condition.non_mated, threshold), counts.non_mated_completed),
        "fnmr": Rate(misses, counts.mated_completed),
        "fnmr_including_failures": Rate(misses + counts.mated_failed, counts.mated),
        "threshold": _number(threshold),
    }


def _at_point(condition: Condition, point: FmrPoint, fmr_name: str) -> dict[str, Any]:
    if point.threshold is None:
        missing = dict.fromkeys((fmr_name, "fnmr", "fnmr_including_failures", "threshold"))
        return missing | {"flag": point.flag, "reason": _why(point)}
    return _at(condition, point.threshold, fmr_name) | {"flag": point.flag}


def _why(point: FmrPoint) -> str:
    if point.flag == NOT_RESOLVABLE:
        return f"the target FMR is below 1/{point.comparisons}, one error in all completed non-mated comparisons"
    return "too many non-mated scores are infinite for any threshold to reach the target FMR"


def _transferred(condition: Condition, source: np.ndarray | None, source_name: str) -> dict[str, Any]:
    if source is None or len(source) == 0:
        return {"from": source_name, "reason": "no completed non-mated comparison to fix a threshold on"}
    source = ascending(np.asarray(source))
    blocks = {
        name: {"target": target, "rule": RULE} | _at_point(condition, threshold_at_fmr(source, target, RULE), "fmr")
        for name, target in TARGETS.items()
    }
    return {"from": source_name} | blocks


def accuracies(
    condition: Condition, scores: np.ndarray, mated: np.ndarray, failed: np.ndarray, fold: np.ndarray | None
) -> dict[str, Any]:
    """Accuracy at the best threshold and over folds; ``scores``, ``mated`` and ``failed`` are (M,), in one order."""
    _, threshold = best_threshold_accuracy(scores[~failed], mated[~failed])
    point = _at(condition, threshold, "fmr")
    total = condition.counts.mated_completed + condition.counts.non_mated_completed
    correct = total - point["fmr"].count - point["fnmr"].count
    best = {"accuracy": Rate(correct, total), "accuracy_including_failures": Rate(correct, len(scores))}
    return {
        "accuracy_best_threshold": best | point | {"note": OPTIMISTIC},
        "accuracy_10fold": _or_reason(lambda: _folds(scores, mated, fold, failed)),
    }


def _folds(scores: np.ndarray, mated: np.ndarray, fold: np.ndarray | None, failed: np.ndarray) -> dict[str, Any]:
    found = fold_accuracy(scores, mated, np.zeros(len(scores), int) if fold is None else fold, failed)
    return {
        "mean": found.mean,
        "std": found.std,
        "folds": len(found.per_fold),
        "per_fold": found.per_fold.tolist(),
        "thresholds": [_number(value) for value in found.thresholds],
        "mean_including_failures": found.mean_including_failures,
        "pooled": Rate(found.correct, found.completed),
        "pooled_including_failures": Rate(found.correct, found.completed + found.failed),
    }


def _or_reason(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The block, or the reason why these comparisons do not allow it."""
    try:
        return compute()
    except MaskbenchError as error:
        return {"reason": str(error)}


def incomplete(counts: FailureCounts) -> dict[str, Any]:
    """What can be said when a class has no completed comparison."""
    names = [name for name in ("mated", "non_mated") if not getattr(counts, f"{name}_completed")]
    tree: dict[str, Any] = {"reason": f"no completed {' and no completed '.join(names).replace('_', '-')} comparison"}
    if counts.mated and not counts.mated_completed:  # refusing every mated comparison must not escape the ranking
        block: dict[str, Any] = dict.fromkeys(("fmr_measured", "fnmr", "threshold"))
        block |= {"flag": "", "reason": "no completed mated comparison"}
        block["fnmr_including_failures"] = Rate(counts.mated_failed, counts.mated)
        tree |= {name: {"target": target, "rule": RULE} | block for name, target in TARGETS.items()}
    return tree


def _number(value: float | None) -> float | int | None:
    """JSON has no infinity: a threshold that is not finite, such as "accept all", becomes None."""
    return value if value is None or math.isfinite(value) else None


def publish(
    tree: Mapping[str, Any], intervals: dict[str, Any], thresholds: dict[str, Any], path: str = ""
) -> dict[str, Any]:
    """Turn rates into numbers, adding their intervals and every threshold to the other two under dotted paths."""
    published: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            value = publish(value, intervals, thresholds, f"{path}{key}.")
        elif isinstance(value, Rate):
            intervals[path + key] = _interval(value)
            value = value.count / value.n
        elif key in ("threshold", "thresholds"):
            thresholds[path[:-1]] = value
            if value is None and "reason" not in tree:
                published["reason"] = "the threshold is infinite"
        published[key] = value
    return published


def _interval(rate: Rate) -> dict[str, Any]:
    low, high = wilson(rate.count, rate.n)
    zero = {} if rate.count else {"rule_of_three": rule_of_three(rate.n)}
    return {"low": low, "high": high, "count": rate.count, "n": rate.n} | zero
