"""The blocks of a condition's summary: shares as ``Rate`` leaves, turned into numbers and intervals in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.accuracy import NO_FOLDS, fold_accuracy
from maskbench.metrics.arrays import as_scores, ascending, both_classes
from maskbench.metrics.costs import lowest_cost
from maskbench.metrics.curves import auc_sorted
from maskbench.metrics.dcf import min_dcf_sorted
from maskbench.metrics.eer import eer_sorted
from maskbench.metrics.errors import (
    FAR_TARGETS,
    FMR_TARGETS,
    NOT_RESOLVABLE,
    FmrPoint,
    errors_sorted,
    sorted_classes,
    threshold_sorted,
    zero_fmr_threshold,
)
from maskbench.metrics.failures import FailureCounts
from maskbench.metrics.identification import ClosedSet, OpenSet
from maskbench.metrics.intervals import rule_of_three, wilson
from maskbench.metrics.separation import separation_sorted

TARGETS = FMR_TARGETS
TRANSFERRED = FMR_TARGETS | {"fmr100000": 0.00001}  # NIST's FRVT 6A and 6B fix the threshold at FMR 1e-5
RULE = "strict"
RANKS = (1, 5, 10, 20)
OPTIMISTIC = "optimistic: the threshold is chosen on the scores it is judged by"


@dataclass(frozen=True)
class Rate:
    """A share that is published as count / n, with an interval."""

    count: int
    n: int


@dataclass(frozen=True)
class Condition:
    """Completed scores by class, ascending, of one dtype (``both_classes``), and what failed."""

    mated: np.ndarray
    non_mated: np.ndarray
    counts: FailureCounts


def sorted_condition(scores: np.ndarray, mated: np.ndarray, status: np.ndarray, counts: FailureCounts) -> Condition:
    """The completed comparisons, sorted once for everything that follows. Errors as for ``errors.split``."""
    return Condition(*both_classes(*sorted_classes(scores, mated, status)), counts)


def operating_points(
    condition: Condition,
    source: np.ndarray | None,
    source_name: str,
    threshold: float | None,
    rule: str = RULE,
) -> dict[str, Any]:
    """All figures that need nothing but the sorted scores: FNMR and TAR at fixed FMR, zero FMR, EER, AUC, separation,
    detection cost, transferred thresholds and, if asked for, a threshold chosen elsewhere.

    Args:
        condition: at least one score of each class.
        source: completed non-mated scores that transferred thresholds are fixed on, or None.
        source_name: the condition that they are of.
        threshold: one chosen elsewhere, or None.
        rule: "strict" or "closest", by which FMR10 to FMR10000 choose their threshold, here and transferred. TAR at
            FAR stays strict, as the protocols that use it say "FAR below".
    """
    mated, non_mated = condition.mated, condition.non_mated
    tree: dict[str, Any] = {}
    for name, target in TARGETS.items():
        point = threshold_sorted(non_mated, target, rule)
        tree[name] = {"target": target, "rule": rule} | _at_point(condition, point, "fmr_measured")
    tree["zero_fmr"] = _at_point(condition, zero_fmr_threshold(non_mated), "fmr_measured")
    tree["tar_at_far"] = {f"{target:g}": _tar(condition, target) for target in FAR_TARGETS}
    rate = eer_sorted(mated, non_mated)
    tree["eer"] = {"value": rate.value, "low": rate.low, "high": rate.high, "threshold": _number(rate.threshold)}
    tree["auc"] = auc_sorted(mated, non_mated)
    tree["separation"] = _separation(condition)
    tree["min_dcf"] = _min_dcf(condition)
    tree["transferred"] = _transferred(condition, source, source_name, rule)
    if threshold is not None:
        tree["at_threshold"] = _at(condition, threshold, "fmr")
    return tree


def _tar(condition: Condition, target: float) -> dict[str, Any]:
    """TAR at one FAR: the complement of the block that ``_at_point`` makes."""
    found = _at_point(condition, threshold_sorted(condition.non_mated, target, RULE), "fmr_measured")
    block: dict[str, Any] = {"target": target, "rule": RULE}
    for name, value in found.items():
        hits = Rate(value.n - value.count, value.n) if isinstance(value, Rate) else value
        block |= {name.replace("fnmr", "tar"): hits} if name.startswith("fnmr") else {name: value}
    return block


def _separation(condition: Condition) -> dict[str, Any]:
    found = dict(vars(separation_sorted(condition.mated, condition.non_mated)))
    reason = found.pop("reason")
    return found | ({"reason": reason} if reason else {})


def _min_dcf(condition: Condition) -> dict[str, Any]:
    found = dict(vars(min_dcf_sorted(condition.mated, condition.non_mated)))
    return found | _at(condition, found["threshold"], "fmr") | {"note": OPTIMISTIC}


def _at(condition: Condition, threshold: float, fmr_name: str) -> dict[str, Any]:
    misses, matches = errors_sorted(condition.mated, condition.non_mated, threshold)
    counts = condition.counts
    return {
        fmr_name: Rate(matches, counts.non_mated_completed),
        "fnmr": Rate(misses, counts.mated_completed),
        "fnmr_including_failures": Rate(misses + counts.mated_failed, counts.mated),
        "threshold": _number(threshold),
    }


def _at_point(condition: Condition, point: FmrPoint, fmr_name: str) -> dict[str, Any]:
    if point.threshold is None:
        missing = dict.fromkeys((fmr_name, "fnmr", "fnmr_including_failures", "threshold"))
        return missing | {"flag": point.flag, "reason": _why(point, "FMR", "non-mated comparisons")}
    return _at(condition, point.threshold, fmr_name) | {"flag": point.flag}


def _why(point: FmrPoint, rate: str, trials: str) -> str:
    if point.flag == NOT_RESOLVABLE:
        return f"the target {rate} is below 1/{point.comparisons}, one error in all completed {trials}"
    return f"too many scores of {trials} are infinite for any threshold to reach the target {rate}"


def _transferred(condition: Condition, source: np.ndarray | None, source_name: str, rule: str) -> dict[str, Any]:
    if source is None or len(source) == 0:
        return {"from": source_name, "reason": "no completed non-mated comparison to fix a threshold on"}
    source = ascending(as_scores(source, "non-mated"))
    blocks = {
        name: {"target": target, "rule": rule} | _at_point(condition, threshold_sorted(source, target, rule), "fmr")
        for name, target in TRANSFERRED.items()
    }
    return {"from": source_name} | blocks


def accuracies(
    condition: Condition, scores: np.ndarray, mated: np.ndarray, failed: np.ndarray, fold: np.ndarray | None
) -> dict[str, Any]:
    """Accuracy at the best threshold and over folds; ``scores``, ``mated`` and ``failed`` are (M,), in one order."""
    point = _at(condition, lowest_cost(condition.mated, condition.non_mated).threshold, "fmr")
    total = condition.counts.mated_completed + condition.counts.non_mated_completed
    correct = total - point["fmr"].count - point["fnmr"].count
    best = {"accuracy": Rate(correct, total), "accuracy_including_failures": Rate(correct, len(scores))}
    return {
        "accuracy_best_threshold": best | point | {"note": OPTIMISTIC},
        "accuracy_10fold": _or_reason(lambda: _folds(scores, mated, fold, failed)),
    }


def _folds(scores: np.ndarray, mated: np.ndarray, fold: np.ndarray | None, failed: np.ndarray) -> dict[str, Any]:
    if fold is None or not fold.any():
        raise MaskbenchError(NO_FOLDS)  # before anything is split
    found = fold_accuracy(scores, mated, fold, failed)
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


def closed_set_block(found: ClosedSet, ranks: Sequence[int] = RANKS) -> dict[str, Any]:
    """Rank-N rates as ``Rate`` leaves under "rank1" and so on (no further than there are subjects), and the CMC."""
    searches = len(found.ranks)
    rates = {f"rank{rank}": Rate(found.hits(rank), searches) for rank in ranks if rank <= found.subjects}
    sizes = {"searches": searches, "searches_failed": found.failed, "subjects": found.subjects}
    return rates | sizes | {"cmc": found.cmc().tolist()}


def open_set_block(found: OpenSet, target: float) -> dict[str, Any]:
    """FNIR at one target FPIR, with ``Rate`` leaves, as ``_at_point`` does for FNMR."""
    point = found.point
    block: dict[str, Any] = {"target": target, "rule": RULE, "rank": found.rank, "subjects": found.subjects}
    if found.misses is None:
        block |= dict.fromkeys(("fpir_measured", "fnir", "threshold"))
        return block | {"flag": point.flag, "reason": _why(point, "FPIR", "non-mated searches")}
    rates = {"fpir_measured": Rate(point.errors, point.comparisons), "fnir": Rate(found.misses, found.searches)}
    return block | rates | {"threshold": _number(point.threshold), "flag": point.flag}


def incomplete(counts: FailureCounts) -> dict[str, Any]:
    """What can be said when a class has no completed comparison."""
    names = [name for name in ("mated", "non_mated") if not getattr(counts, f"{name}_completed")]
    tree: dict[str, Any] = {"reason": f"no completed {' and no completed '.join(names).replace('_', '-')} comparison"}
    if counts.mated and not counts.mated_completed:  # refusing every mated comparison must not escape the ranking
        block: dict[str, Any] = dict.fromkeys(("fmr_measured", "fnmr", "threshold"))
        block |= {"flag": "", "reason": "no completed mated comparison"}
        block["fnmr_including_failures"] = Rate(counts.mated_failed, counts.mated)
        tree |= {name: {"target": target, "rule": RULE} | block for name, target in TARGETS.items()}
        del block["fnmr"], block["fnmr_including_failures"]
        block |= {"tar": None, "tar_including_failures": Rate(0, counts.mated)}
        far = {f"{target:g}": {"target": target, "rule": RULE} | block for target in FAR_TARGETS}
        tree["tar_at_far"] = far
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
