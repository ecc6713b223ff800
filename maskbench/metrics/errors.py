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
from maskbench.metrics.arrays import LARGE, as_scores, ascending, below, both_classes, just_above, matches
from maskbench.registry import nearest
from maskbench.types import Status

RULES = ("strict", "closest")
FMR_TARGETS = {"fmr10": 0.1, "fmr100": 0.01, "fmr1000": 0.001, "fmr10000": 0.0001}
FAR_TARGETS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # where TAR is reported
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


@dataclass(frozen=True)
class TarPoint:
    """TAR at the threshold of ``point``; ``tar`` and ``hits`` (mated matches) are None where it is not resolvable."""

    tar: float | None
    hits: int | None
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
    parts = _compiled_parts(scores, mated, done) or (scores[done & mated], scores[done & ~mated])
    return as_scores(parts[0], "mated"), as_scores(parts[1], "non-mated")


def _compiled_parts(scores: np.ndarray, mated: np.ndarray, done: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Fresh arrays of the completed scores of both classes; None where numpy does it as well."""
    if len(scores) < LARGE or scores.dtype not in (np.float32, np.float64, np.int64):
        return None
    from maskbench.metrics.kernels import part

    completed, accepted = int(np.count_nonzero(done)), int(np.count_nonzero(done & mated))
    parts = [np.empty(count + 1, scores.dtype) for count in (accepted, completed - accepted)]
    part(*(np.ascontiguousarray(array) for array in (scores, mated, done)), *parts)
    return parts[0][:-1], parts[1][:-1]


def sorted_classes(
    scores: np.ndarray, mated: np.ndarray, status: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """``split``, each class in ascending order; the sorting needs no memory beside the two arrays returned.

    Arguments and errors as for ``split``.
    """
    parts = split(scores, mated, status)  # copies already, whatever was given
    for array in parts:
        array.sort()
    return parts


def labels(mated: np.ndarray) -> np.ndarray:
    """``mated`` as an (M,) bool array. Raises MaskbenchError for anything but a bool array or integers 0 and 1."""
    mated = np.asarray(mated)
    whole = mated.dtype.kind == "b" or (mated.dtype.kind in "iu" and bool(np.isin(mated, (0, 1)).all()))
    if mated.ndim != 1 or not whole:
        raise MaskbenchError(f"mated: expected one dimension of bool, found {mated.dtype} of shape {mated.shape}")
    return mated.astype(bool, copy=False)


def errors_sorted(mated: np.ndarray, non_mated: np.ndarray, threshold: float) -> tuple[int, int]:
    """(false non-matches, false matches) of checked, ascending scores at a threshold, in O(log N)."""
    return below(mated, threshold), len(non_mated) - below(non_mated, threshold)


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
    scores = as_scores(non_mated, "non-mated")
    _checked(target, rule)
    if target < 1 / len(scores):  # known before anything is sorted
        return FmrPoint(None, None, None, len(scores), False, NOT_RESOLVABLE)
    return threshold_sorted(ascending(scores), target, rule)


def threshold_sorted(scores: np.ndarray, target: float, rule: str = "strict") -> FmrPoint:
    """``threshold_at_fmr`` of scores that ``as_scores`` accepted and that are ascending: O(log N), nothing checked."""
    target, count = _checked(target, rule), len(scores)
    if target < 1 / count:
        return FmrPoint(None, None, None, count, False, NOT_RESOLVABLE)
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
    allowed = allowed_errors(target, count)
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


def allowed_errors(target: float, count: int) -> int:
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
    return _fnmr_at(mated, threshold_at_fmr(non_mated, target, rule))


def _fnmr_at(mated: np.ndarray, point: FmrPoint) -> FnmrPoint:
    if point.threshold is None:
        return FnmrPoint(None, None, len(mated), point)
    errors = false_non_matches(mated, point.threshold)
    return FnmrPoint(errors / len(mated), errors, len(mated), point)


def zero_fmr(mated: np.ndarray, non_mated: np.ndarray) -> FnmrPoint:
    """ZeroFMR: the lowest FNMR at which no false match occurs (Maio et al., FVC2000, IEEE TPAMI 24(3), 2002).

        t0 = the lowest threshold above every non-mated score,  ZeroFMR = FNMR(t0)

    No FMR of 0 is claimed: n comparisons without an error bound it by 3/n at 95 %, if they are independent. The value
    hangs on a single score, the largest non-mated one, and grows with the number of comparisons.

    Args:
        mated, non_mated: (N,) completed scores, in any order.

    Raises:
        MaskbenchError: a class has no scores, or NaN.
    """
    mated, non_mated = both_classes(mated, non_mated)
    return _fnmr_at(mated, zero_fmr_threshold(non_mated))


def zero_fmr_threshold(non_mated: np.ndarray) -> FmrPoint:
    """The lowest threshold above every score of a checked array; not resolvable where the largest is +inf."""
    threshold, count = just_above(non_mated.max()), len(non_mated)
    if threshold is None:
        return FmrPoint(None, None, None, count, False, NOT_REACHABLE)
    return FmrPoint(threshold, 0.0, 0, count, True, FEW_ERRORS)


def tar_at_far(mated: np.ndarray, non_mated: np.ndarray, target: float, rule: str = "strict") -> TarPoint:
    """True accept rate (true match rate) at a fixed false accept rate, by the rule of ``threshold_at_fmr``.

        TAR(FAR) = mated scores >= t / mated scores = 1 - FNMR(t),  t = the threshold that FAR fixes

    This is how InsightFace's MFR (FAR 1e-4) and the IJB protocols report. The words "accept" describe a whole system
    in ISO/IEC 2382-37; as those protocols use them they mean match and FMR of completed comparisons.

    Args:
        mated, non_mated: (N,) completed scores, in any order.
        target: FAR in (0, 1].
        rule: "strict" or "closest".

    Raises:
        MaskbenchError: as ``threshold_at_fmr``, or no mated scores.
    """
    found = fnmr_at_fmr(mated, non_mated, target, rule)
    if found.errors is None:
        return TarPoint(None, None, found.comparisons, found.point)
    hits = found.comparisons - found.errors
    return TarPoint(hits / found.comparisons, hits, found.comparisons, found.point)
