"""FMR, FNMR and the thresholds that fix them (ISO/IEC 19795-1:2021 terms).

Pure functions on score arrays. Match if score >= threshold:

    FMR(t)  = share of the completed non-mated comparisons with score >= t
    FNMR(t) = share of the completed mated comparisons with score < t
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import as_scores, ascending, both_classes, just_above, matches
from maskbench.registry import nearest
from maskbench.types import Status

RULES = ("strict", "closest")
FEW = 30  # "rule of 30" (Doddington): fewer errors than this carry a flag
NOT_RESOLVABLE = "not resolvable"
NOT_REACHABLE = "not reachable"
FEW_ERRORS = f"fewer than {FEW} errors"


@dataclass(frozen=True)
class FmrPoint:
    """A threshold fixed by a target FMR, and what it measured.

    Attributes:
        threshold: None when the point does not exist (``resolvable`` is False); an int for integer scores.
        fmr: the measured FMR, errors / comparisons, or None.
        errors: false matches at the threshold, or None.
        comparisons: completed non-mated comparisons.
        resolvable: False when the target lies below 1 / comparisons, or when no threshold reaches it.
        flag: "", "fewer than 30 errors", "not resolvable" or "not reachable".
    """

    threshold: float | int | None
    fmr: float | None
    errors: int | None
    comparisons: int
    resolvable: bool
    flag: str


@dataclass(frozen=True)
class FnmrPoint:
    """FNMR at the threshold of ``point``; ``fnmr`` and ``errors`` are None where the point is not resolvable."""

    fnmr: float | None
    errors: int | None
    comparisons: int
    point: FmrPoint


def split(scores: np.ndarray, mated: np.ndarray, status: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The mated and the non-mated scores of the completed comparisons.

    Args:
        scores: (M,) integers or floats; NaN only where status is not OK.
        mated: (M,) bool.
        status: (M,) ``Status`` values; None means that all were completed.

    Raises:
        MaskbenchError: lengths differ, labels are not bool, NaN with status OK, or a class has no completed comparison.
    """
    scores, mated = np.asarray(scores), labels(mated)
    done = np.ones(len(mated), bool) if status is None else np.asarray(status) == Status.OK
    if scores.shape != mated.shape or done.shape != mated.shape:
        raise MaskbenchError(f"scores {scores.shape}, mated {mated.shape}, status {done.shape}: shapes must agree")
    return as_scores(scores[done & mated], "mated"), as_scores(scores[done & ~mated], "non-mated")


def labels(mated: np.ndarray) -> np.ndarray:
    """``mated`` as an (M,) bool array. Raises MaskbenchError for anything but a bool array or integers 0 and 1."""
    mated = np.asarray(mated)
    whole = mated.dtype.kind == "b" or (mated.dtype.kind in "iu" and bool(np.isin(mated, (0, 1)).all()))
    if mated.ndim != 1 or not whole:
        raise MaskbenchError(f"mated: expected one dimension of bool, found {mated.dtype} of shape {mated.shape}")
    return mated.astype(bool, copy=False)


def false_matches(non_mated: np.ndarray, threshold: float) -> int:
    """Number of non-mated scores >= threshold."""
    return int(np.count_nonzero(matches(as_scores(non_mated, "non-mated"), threshold)))


def false_non_matches(mated: np.ndarray, threshold: float) -> int:
    """Number of mated scores < threshold."""
    return len(mated) - int(np.count_nonzero(matches(as_scores(mated, "mated"), threshold)))


def fmr(non_mated: np.ndarray, threshold: float) -> float:
    """False match rate at a threshold, 0 to 1. Raises MaskbenchError for no scores, or NaN."""
    return false_matches(non_mated, threshold) / len(non_mated)


def fnmr(mated: np.ndarray, threshold: float) -> float:
    """False non-match rate at a threshold, 0 to 1. Raises MaskbenchError for no scores, or NaN."""
    return false_non_matches(mated, threshold) / len(mated)


def threshold_at_fmr(non_mated: np.ndarray, target: float, rule: str = "strict") -> FmrPoint:
    """The threshold that a target FMR fixes; equal scores stand or fall together.

    "strict" is the lowest threshold whose measured FMR is <= target, hence the one with the lowest FNMR that is
    allowed. "closest" is the lowest threshold whose measured FMR is nearest to the target, the lower FMR on a draw;
    it may exceed the target. Either lies just above a non-mated score, by one step of the scores' dtype.

    Args:
        non_mated: (N,) completed non-mated scores, in any order (sorted input is not sorted again).
        target: FMR in (0, 1].
        rule: "strict" or "closest".

    Raises:
        MaskbenchError: no scores, NaN, unknown rule, or a target outside (0, 1].
    """
    scores, target = as_scores(non_mated, "non-mated"), _checked(target, rule)
    count = len(scores)
    if target < 1 / count:
        return FmrPoint(None, None, None, count, False, NOT_RESOLVABLE)
    scores = ascending(scores)
    errors = _errors_at(scores, target, rule)
    # The lowest threshold with that many errors is just above the largest score that must not match.
    threshold = -np.inf if errors == count else just_above(scores[count - errors - 1])
    if threshold is None:
        return FmrPoint(None, None, None, count, False, NOT_REACHABLE)
    flag = FEW_ERRORS if target < FEW / count or errors < FEW else ""
    return FmrPoint(threshold, errors / count, errors, count, True, flag)


def _checked(target: float, rule: str) -> float:
    if rule not in RULES:
        raise MaskbenchError(f'no threshold rule named "{rule}"; {nearest(str(rule), RULES)}')
    if not 0 < target <= 1:
        raise MaskbenchError(f"target FMR {target}: choose a value above 0 and up to 1")
    return float(target)


def _errors_at(ordered: np.ndarray, target: float, rule: str) -> int:
    """Number of false matches at the point that the rule selects; ``ordered`` is ascending."""
    count = len(ordered)
    allowed = _allowed(target, count)
    if allowed == count:
        return count
    blocked = ordered[count - 1 - allowed]  # the largest score that would be one error too many
    below = count - int(np.searchsorted(ordered, blocked, "right"))
    if rule == "strict":
        return below
    above = count - int(np.searchsorted(ordered, blocked, "left"))
    if blocked == np.inf:  # no threshold keeps +inf out, so only the point that lets it in exists
        return above
    wanted = Fraction(repr(target)) * count  # the decimal that was written: 0.01 is a draw between 1/200 and 3/200
    return below if wanted - below <= above - wanted else above


def _allowed(target: float, count: int) -> int:
    """The largest k with k / count <= target in float64, which is how the measured FMR is computed."""
    allowed = min(count, int(target * count))
    while allowed < count and (allowed + 1) / count <= target:
        allowed += 1
    while allowed > 0 and allowed / count > target:
        allowed -= 1
    return allowed


def fnmr_at_fmr(mated: np.ndarray, non_mated: np.ndarray, target: float, rule: str = "strict") -> FnmrPoint:
    """FNMR at the threshold that ``threshold_at_fmr`` fixes on ``non_mated``.

    FMR100 is this value at target 0.01 and FMR1000 at 0.001: both are FNMR values despite their names.

    Raises:
        MaskbenchError: as ``threshold_at_fmr``, or no mated scores.
    """
    mated, non_mated = both_classes(mated, non_mated)
    point = threshold_at_fmr(non_mated, target, rule)
    if point.threshold is None:
        return FnmrPoint(None, None, len(mated), point)
    errors = false_non_matches(mated, point.threshold)
    return FnmrPoint(errors / len(mated), errors, len(mated), point)
