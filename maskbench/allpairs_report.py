"""The figures of a condition, as in a result, from all mated scores and exact ranks of the non-mated ones.

The trees, rules and flags are those of ``metrics``: here each is derived from counts, since the non-mated scores are
never in one array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskbench.allpairs_grid import Missing, Ranks
from maskbench.allpairs_sides import Pairing
from maskbench.metrics.arrays import ceiling, just_above
from maskbench.metrics.blocks import OPTIMISTIC, RULE, Rate
from maskbench.metrics.costs import Lowest
from maskbench.metrics.dcf import COST_FALSE_MATCH, COST_MISS, PRIOR, error_costs
from maskbench.metrics.errors import FAR_TARGETS, FEW, FEW_ERRORS, FMR_TARGETS, NOT_RESOLVABLE, allowed_errors
from maskbench.metrics.separation import NO_SPREAD


@dataclass(frozen=True)
class Evidence:
    """What is known of the scores.

    Attributes:
        mated: (M,) float32, ascending: all of them.
        ranks: exact counts of the non-mated scores.
        points: (Q,) float32, ascending, distinct: every mated score, and ``threshold`` rounded up to float32.
        threshold: a threshold chosen elsewhere, or None.
    """

    pairing: Pairing
    mated: np.ndarray
    ranks: Ranks
    points: np.ndarray
    threshold: float | None


def points_of(mated: np.ndarray, threshold: float | None) -> np.ndarray:
    """The points at which errors are counted: distinct mated scores and the threshold, ascending float32."""
    distinct = mated[np.flatnonzero(np.concatenate([[True], mated[1:] != mated[:-1]]))] if len(mated) else mated
    if threshold is None or not np.isfinite(at := ceiling(threshold, np.dtype(np.float32))):
        return distinct
    return np.union1d(distinct, np.array([at], np.float32))


def figures(evidence: Evidence) -> dict[str, Any]:
    """The tree of a condition, with ``Rate`` leaves for ``metrics.blocks.publish``.

    Raises:
        Missing: further bins of scores must be kept first; all that are known to be needed are named at once.
    """
    blocks: dict[str, Callable[[], Any]] = {
        name: lambda target=target: _fnmr_at(evidence, target) for name, target in FMR_TARGETS.items()
    }
    blocks |= {
        "zero_fmr": lambda: _zero_fmr(evidence),
        "tar_at_far": lambda: _all_of(
            {f"{target:g}": lambda target=target: _tar_at(evidence, target) for target in FAR_TARGETS}
        ),
        "eer": lambda: _eer(evidence),
        "auc": lambda: _auc(evidence),
        "separation": lambda: _separation(evidence),
        "min_dcf": lambda: _min_dcf(evidence),
        "accuracy_best_threshold": lambda: _best_accuracy(evidence),
    }
    if evidence.threshold is not None:
        blocks["at_threshold"] = lambda: _at_threshold(evidence, evidence.threshold)
    return _all_of(blocks)


def _all_of(blocks: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Each block computed; where bins are missing, all of them are named in one exception."""
    tree, bins = {}, []
    for name, compute in blocks.items():
        try:
            tree[name] = compute()
        except Missing as missing:
            bins += missing.bins
    if bins:
        raise Missing(sorted(set(bins)))
    return tree


def wanted_shares(eer: float | None) -> list[float]:
    """Shares of the non-mated scores, counted from the top, at which the figures will need exact scores."""
    return sorted({*FMR_TARGETS.values(), *FAR_TARGETS, *([eer] if eer else [])})


# ---------------------------------------------------------------- points at a target


def _strict(evidence: Evidence, target: float) -> tuple[float, int] | None:
    """The lowest threshold with measured FMR <= target, and its false matches; None below one error in all."""
    total = evidence.ranks.total
    if target < 1 / total:
        return None
    allowed = allowed_errors(target, total)
    if allowed == total:
        return -math.inf, total
    blocked, matches = evidence.ranks.at(allowed)  # the largest score that would be one error too many
    return just_above(blocked), matches


def _flag(target: float, matches: int, total: int) -> str:
    return FEW_ERRORS if target < FEW / total or matches < FEW else ""


def _misses(evidence: Evidence, threshold: float) -> int:
    return int(np.searchsorted(evidence.mated, np.float32(threshold)))


def _fnmr_block(evidence: Evidence, misses: int) -> dict[str, Rate]:
    counts = evidence.pairing.counts
    return {
        "fnmr": Rate(misses, counts.mated_completed),
        "fnmr_including_failures": Rate(misses + counts.mated_failed, counts.mated),
    }


def _unresolvable(evidence: Evidence, names: tuple[str, ...]) -> dict[str, Any]:
    reason = f"the target FMR is below 1/{evidence.ranks.total}, one error in all completed non-mated comparisons"
    return dict.fromkeys((*names, "threshold")) | {"flag": NOT_RESOLVABLE, "reason": reason}


def _fnmr_at(evidence: Evidence, target: float) -> dict[str, Any]:
    head, point = {"target": target, "rule": RULE}, _strict(evidence, target)
    if point is None:
        return head | _unresolvable(evidence, ("fmr_measured", "fnmr", "fnmr_including_failures"))
    threshold, matches = point
    found = {"fmr_measured": Rate(matches, evidence.ranks.total)} | _fnmr_block(evidence, _misses(evidence, threshold))
    return head | found | {"threshold": _number(threshold), "flag": _flag(target, matches, evidence.ranks.total)}


def _tar_at(evidence: Evidence, target: float) -> dict[str, Any]:
    head, point = {"target": target, "rule": RULE}, _strict(evidence, target)
    names = ("tar", "tar_including_failures", "fmr_measured")
    if point is None:
        return head | _unresolvable(evidence, names)
    threshold, matches = point
    counts = evidence.pairing.counts
    hits = len(evidence.mated) - _misses(evidence, threshold)
    rates = Rate(hits, counts.mated_completed), Rate(hits, counts.mated), Rate(matches, evidence.ranks.total)
    flag = _flag(target, matches, evidence.ranks.total)
    return head | dict(zip(names, rates, strict=True)) | {"threshold": _number(threshold), "flag": flag}


def _zero_fmr(evidence: Evidence) -> dict[str, Any]:
    threshold = just_above(evidence.ranks.at(0)[0])
    found = {"fmr_measured": Rate(0, evidence.ranks.total)} | _fnmr_block(evidence, _misses(evidence, threshold))
    return found | {"threshold": threshold, "flag": FEW_ERRORS}


def _at_threshold(evidence: Evidence, threshold: float) -> dict[str, Any]:
    at = ceiling(threshold, np.dtype(np.float32))
    total = evidence.ranks.total
    if np.isfinite(at):
        place = int(np.searchsorted(evidence.points, at))
        matches = total - int(evidence.ranks.below_points()[place])
    else:
        matches = total if at < 0 else 0
    found = {"fmr": Rate(matches, total)} | _fnmr_block(evidence, int(np.searchsorted(evidence.mated, at)))
    return found | {"threshold": _number(threshold)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------- figures over all thresholds


def _auc(evidence: Evidence) -> float:
    """Mann-Whitney as in ``metrics.auc``, in integers: for each mated score the non-mated ones below, ties half."""
    pairs = len(evidence.mated) * evidence.ranks.total
    doubled = 2 * evidence.ranks.below_points() + evidence.ranks.scan.equal
    times = _times(evidence)
    if pairs > 2**61:  # beyond int64: Python's integers
        doubled, times = doubled.astype(object), times.astype(object)
    return int(doubled @ times) / (2 * pairs)


def _times(evidence: Evidence) -> np.ndarray:
    """(Q,) int64: how often each point is a mated score (never, for a threshold that was given)."""
    return np.diff(np.searchsorted(evidence.mated, evidence.points, "right"), prepend=0)


@dataclass(frozen=True)
class _Steps:
    """Errors at the distinct mated scores m_0 < m_1 < ...: ``misses`` (mated below), ``matches`` (non-mated at or
    above) and ``equal`` (non-mated ties), int64 each."""

    scores: np.ndarray
    misses: np.ndarray
    matches: np.ndarray
    equal: np.ndarray


def _steps(evidence: Evidence) -> _Steps:
    own, points = _times(evidence) > 0, evidence.points
    matches = evidence.ranks.total - evidence.ranks.below_points()
    parts = points, np.searchsorted(evidence.mated, points), matches, evidence.ranks.scan.equal
    return _Steps(*(part[own] for part in parts))


def _eer(evidence: Evidence) -> dict[str, Any]:
    """``metrics.eer`` from counts: the same two thresholds, the same choice between them.

    Candidates are all scores. At mated ones both errors are known. Between two neighbouring mated scores the misses
    are fixed, so that the non-mated candidate there is an order statistic.
    """
    steps = _steps(evidence)
    weights = evidence.ranks.total, len(evidence.mated)
    ends = _all_of(
        {find.__name__: lambda find=find: find(evidence, steps, weights) for find in (_last_low, _first_high)}
    )
    low, high = ends.values()
    sums = [misses * weights[0] + errors * weights[1] for _, misses, errors in (low, high)]
    threshold, misses, errors = low if sums[0] <= sums[1] else high
    rates = sorted((misses / weights[1], errors / weights[0]))
    value = min(sums) / (2 * weights[0] * weights[1])
    return {"value": value, "low": rates[0], "high": rates[1], "threshold": threshold}


def _gap_at(steps: _Steps, place: int, weights: tuple[int, int]) -> int:
    return int(steps.misses[place]) * weights[0] - int(steps.matches[place]) * weights[1]


def _first_place(steps: _Steps, weights: tuple[int, int], holds: Callable[[int], bool]) -> int:
    """The first step whose gap (it never falls) satisfies ``holds``; their number where there is none."""
    low, high = 0, len(steps.scores)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(_gap_at(steps, middle, weights)) else (middle + 1, high)
    return low


def _between(evidence: Evidence, steps: _Steps, place: int) -> tuple[int, int, int]:
    """Misses between step ``place - 1`` and step ``place``, and the non-mated scores: at or above the upper one, and
    above the lower one. The scores strictly between have the ranks from the first number up to the second."""
    total, count = evidence.ranks.total, len(steps.scores)
    misses = int(steps.misses[place]) if place < count else len(evidence.mated)
    above = int(steps.matches[place]) if place < count else 0
    upto = int(steps.matches[place - 1] - steps.equal[place - 1]) if place else total
    return misses, above, upto


def _last_low(evidence: Evidence, steps: _Steps, weights: tuple[int, int]) -> tuple[float, int, int]:
    """The largest candidate with FNMR <= FMR, its misses and matches."""
    place = _first_place(steps, weights, lambda gap: gap > 0)  # at least 1: nothing is missed at the lowest mated score
    misses, above, upto = _between(evidence, steps, place)
    needed = max(-(-misses * weights[0] // weights[1]), above + 1)  # matches that make up for the misses
    if needed <= upto:
        score, larger = evidence.ranks.at(needed - 1)
        return score.item(), misses, larger + evidence.ranks.times(needed - 1)
    return steps.scores[place - 1].item(), int(steps.misses[place - 1]), int(steps.matches[place - 1])


def _first_high(evidence: Evidence, steps: _Steps, weights: tuple[int, int]) -> tuple[float | None, int, int]:
    """The smallest candidate with FNMR >= FMR, its misses and matches."""
    place = _first_place(steps, weights, lambda gap: gap >= 0)
    misses, above, upto = _between(evidence, steps, place)
    allowed = misses * weights[0] // weights[1]  # matches that do not exceed the misses
    if allowed > above:
        matches = upto if allowed >= upto else evidence.ranks.at(allowed)[1]
        if matches > above:  # the smallest score in between with so many at or above it
            return evidence.ranks.at(matches - 1)[0].item(), misses, matches
    if place < len(steps.scores):
        return steps.scores[place].item(), int(steps.misses[place]), int(steps.matches[place])
    top = max(evidence.mated[-1], evidence.ranks.at(0)[0])
    return just_above(top), len(evidence.mated), 0


def _lowest_cost(evidence: Evidence, miss: int, match: int) -> Lowest:
    """``metrics.costs.lowest_cost`` from counts: the same cost, the same threshold.

    Between two neighbouring mated scores misses are fixed and matches fewest at the upper one, so that no other score
    can reach the lowest cost.
    """
    steps, size = _steps(evidence), len(evidence.mated)
    kind = np.int64 if miss * size + match * evidence.ranks.total < 2**62 else object
    costs = miss * steps.misses.astype(kind) + match * steps.matches.astype(kind)
    least = min(int(costs.min()), miss * size)
    best, nothing = np.flatnonzero(costs == least), miss * size == least
    place = (len(best) + nothing - 1) // 2  # the lower of two middle ones
    if place == len(best):
        above = just_above(max(evidence.mated[-1], evidence.ranks.at(0)[0]))
        return Lowest(least, above, size, 0)
    step = int(best[place])
    misses, matches = int(steps.misses[step]), int(steps.matches[step])
    return Lowest(least, _midway(evidence, steps, step), misses, matches)


def _midway(evidence: Evidence, steps: _Steps, step: int) -> float:
    """A threshold midway between a mated score and the score before it, where there is one."""
    high, matches = steps.scores[step], int(steps.matches[step])
    before = [steps.scores[step - 1]] if step else []
    before += [evidence.ranks.at(matches)[0]] if matches < evidence.ranks.total else []
    if not before:
        return high.item()
    half, low = np.float32(0.5), max(before)
    middle = low * half + high * half
    return middle.item() if low < middle < high else high.item()


def _min_dcf(evidence: Evidence) -> dict[str, Any]:
    """``metrics.dcf.min_dcf`` with its defaults."""
    sizes = len(evidence.mated), evidence.ranks.total
    each = error_costs(*sizes)
    found = _lowest_cost(evidence, each.miss, each.match)
    value = found.cost * each.unit
    return {
        "value": float(value), "normalised": float(value / each.least), "threshold": _number(found.threshold),
        "fmr": Rate(found.matches, sizes[1]), **_fnmr_block(evidence, found.misses), "prior": PRIOR,
        "cost_miss": COST_MISS, "cost_false_match": COST_FALSE_MATCH, "note": OPTIMISTIC,
    }  # fmt: skip


def _best_accuracy(evidence: Evidence) -> dict[str, Any]:
    counts, found = evidence.pairing.counts, _lowest_cost(evidence, 1, 1)
    total = counts.mated_completed + counts.non_mated_completed
    correct = total - found.cost
    block = {"accuracy": Rate(correct, total)}
    block |= {"accuracy_including_failures": Rate(correct, counts.mated + counts.non_mated)}
    block |= {"fmr": Rate(found.matches, counts.non_mated_completed)} | _fnmr_block(evidence, found.misses)
    return block | {"threshold": _number(found.threshold), "note": OPTIMISTIC}


def _separation(evidence: Evidence) -> dict[str, float | None]:
    """Means and standard deviations (divisor n) of both classes, Fisher's ratio and d'.

    FDR = (g_mean - i_mean)^2 / (g_std^2 + i_std^2); d' = |g_mean - i_mean| / sqrt((g_std^2 + i_std^2) / 2).
    """
    pivot = np.float64(evidence.mated[0])  # a score: equal scores then have no spread at all
    deviations = np.subtract(evidence.mated, pivot, dtype=np.float64)
    g_mean, g_std = float(pivot + deviations.mean()), float(deviations.std())
    i_mean, i_std = evidence.ranks.moments()
    spread = g_std**2 + i_std**2
    distance = g_mean - i_mean
    found = {
        "g_mean": g_mean, "g_std": g_std, "i_mean": i_mean, "i_std": i_std,
        "fdr": distance**2 / spread if spread else None,
        "d_prime": abs(distance) / math.sqrt(spread / 2) if spread else None,
    }  # fmt: skip
    return found if spread else found | {"reason": NO_SPREAD}
