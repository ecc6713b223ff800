"""The intervals over subjects of a condition's figures, added to its block of ``intervals`` beside Wilson's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maskbench.metrics import influence, uncertainty
from maskbench.metrics.influence import Comparisons, Estimate
from maskbench.metrics.uncertainty import Sharing

Estimates = dict[str, Estimate | None]


@dataclass(frozen=True)
class Subjects:
    """Who is compared, as far as the figures of one condition need it.

    Attributes:
        pairs: (M, 2) integers, the subjects of reference and probe.
        source: (K, 2), those of the completed non-mated comparisons that fix the transferred thresholds, in the order
            of their scores; None when the condition itself fixes them.
        source_fold: (K,) their folds.
    """

    pairs: np.ndarray
    source: np.ndarray | None = None
    source_fold: np.ndarray | None = None


def add_clustered(
    intervals: dict[str, Any], metrics: Mapping[str, Any], scores: np.ndarray, mated: np.ndarray, status: np.ndarray,
    fold: np.ndarray | None, subjects: Subjects, source_scores: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Add "clustered" (low, high, method; or a flag) to the intervals of the rates that ``metrics`` holds.

    Covered: eer.value; fnmr and fnmr_including_failures of every block with a target FMR; fmr, fnmr and
    fnmr_including_failures at transferred thresholds, whose own uncertainty is included, and at a given threshold,
    which has none.

    Args:
        metrics: the condition's published figures, which name blocks, targets and thresholds.
        scores, mated, status, fold: (M,), as ``summarise`` takes them.
        source_scores: (K,) scores that belong to ``subjects.source``.
    """
    condition, shared = influence.comparisons(scores, mated, status), uncertainty.sharing(subjects.pairs)
    found = _own(condition, metrics)
    transferred = _blocks(metrics.get("transferred", {}))
    if transferred and subjects.source is None:
        found |= _transferred(condition, None, transferred)
    _write(intervals, found, shared, fold)
    if transferred and subjects.source is not None and source_scores is not None:
        source = _source(source_scores)
        both = uncertainty.sharing(np.concatenate([subjects.pairs, subjects.source]))
        folds = None if fold is None or subjects.source_fold is None else np.append(fold, subjects.source_fold)
        _write(intervals, _transferred(condition, source, transferred), both, folds)


def drop_transferred(intervals: Mapping[str, Any]) -> None:
    """Take the intervals of figures at thresholds that other scores fixed: how the people there and here overlap is
    not known."""
    for path, interval in intervals.items():
        if path.startswith("transferred.") and isinstance(interval, dict):
            interval.pop("clustered", None)


def _blocks(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Blocks with figures at a target FMR, name to target."""
    blocks = {name: block for name, block in metrics.items() if isinstance(block, Mapping) and "target" in block}
    return {name: block["target"] for name, block in blocks.items() if block.get("fnmr") is not None}


def _own(condition: Comparisons, metrics: Mapping[str, Any]) -> Estimates:
    found: Estimates = {"eer.value": influence.eer_of(condition)} if "eer" in metrics else {}
    for name, target in _blocks(metrics).items():
        for key, failures in (("fnmr", False), ("fnmr_including_failures", True)):
            found[f"{name}.{key}"] = influence.fnmr_at_fmr(condition, target, failures)
    given = metrics.get("at_threshold", {}).get("threshold")
    if given is not None:
        found["at_threshold.fmr"] = influence.fmr_at(condition, given)
        found["at_threshold.fnmr"] = influence.fnmr_at(condition, given)
        found["at_threshold.fnmr_including_failures"] = influence.fnmr_at(condition, given, failures=True)
    return found


def _transferred(condition: Comparisons, source: Comparisons | None, blocks: Mapping[str, float]) -> Estimates:
    found: Estimates = {}
    for name, target in blocks.items():
        for key, failures in (("fnmr", False), ("fnmr_including_failures", True)):
            found[f"transferred.{name}.{key}"] = influence.fnmr_at_fmr(condition, target, failures, source)
        if source is not None:  # a condition's FMR at its own threshold is the target, not an estimate
            found[f"transferred.{name}.fmr"] = influence.fmr_at_fmr(condition, target, source)
    return found


def _source(scores: np.ndarray) -> Comparisons:
    """Non-mated comparisons alone."""
    order = np.argsort(scores, kind="stable")
    empty, nobody = np.asarray(scores)[:0], order[:0]
    return Comparisons(nobody, order, empty, np.asarray(scores)[order], nobody, len(order))


def _write(intervals: dict[str, Any], found: Estimates, shared: Sharing, fold: np.ndarray | None) -> None:
    clusters = uncertainty.folds_as_clusters(shared, fold)
    for path, estimate in found.items():
        intervals.setdefault(path, {})["clustered"] = uncertainty.clustered(estimate, shared, clusters)


def subjects_of_condition(
    numbers: np.ndarray, rows: np.ndarray, source: np.ndarray, own: bool, fold: np.ndarray
) -> Subjects:
    """The ``Subjects`` of a condition of a protocol.

    Args:
        numbers: (N, 2) of all pairs; rows: (N,) bool, the condition's; source: (N,) bool, the comparisons that fix
            transferred thresholds; own: whether the condition fixes them itself; fold: (N,).
    """
    found = Subjects(numbers[rows])
    return found if own else replace(found, source=numbers[source], source_fold=fold[source])

