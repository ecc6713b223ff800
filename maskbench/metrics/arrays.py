"""Exact handling of score arrays: what is accepted, how two arrays meet, and how a score meets a threshold.

The decision rule of the whole package lives in ``matches``: a comparison matches if score >= threshold. Nothing here
rounds. numpy would compare a float32 array with a float64 threshold after rounding the threshold to float32, which can
move it across a score; ``ceiling`` rules that out.
"""

from __future__ import annotations

import math

import numpy as np

from maskbench.errors import MaskbenchError

LARGEST_INTEGER = 2**62  # larger integer scores are refused, so that "score + 1" always exists in int64
EXACT_IN_FLOAT64 = 2**53
LARGE = 1 << 17  # scores from which a compiled loop pays for loading numba


def as_scores(scores: np.ndarray, name: str) -> np.ndarray:
    """Check the scores of one class and return them as int64, float32 or float64 without changing a value.

    Args:
        scores: (N,) any integer or float dtype up to 64 bits, N >= 1; infinities are allowed, larger is more alike.
        name: what the scores are ("mated"), for messages.

    Raises:
        MaskbenchError: not one-dimensional, empty, not numeric, NaN among them, or integers beyond 2**62.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1:
        raise MaskbenchError(f"{name} scores: expected one dimension, found shape {scores.shape}")
    if scores.dtype.kind not in "iuf" or scores.dtype.itemsize > 8:
        raise MaskbenchError(f"{name} scores: dtype {scores.dtype} is not supported; use integers, float32 or float64")
    if len(scores) == 0:
        raise MaskbenchError(f"no completed {name} comparison; error rates need at least one of each class")
    if scores.dtype.kind in "iu":
        return _as_int64(scores, name)
    if np.isnan(scores.min()):  # min passes NaN on: one pass and no temporary array
        raise MaskbenchError(f"{name} scores: NaN in a completed comparison; set its status to FAILED")
    # float16 lies inside float32 exactly; byte order is normalised with it
    return scores.astype(np.float64 if scores.dtype.itemsize == 8 else np.float32, copy=False)


def _as_int64(scores: np.ndarray, name: str) -> np.ndarray:
    if int(scores.max()) > LARGEST_INTEGER or int(scores.min()) < -LARGEST_INTEGER:
        raise MaskbenchError(f"{name} scores: integers beyond 2**62 are not supported; rescale the scores")
    return scores.astype(np.int64, copy=False)


def both_classes(mated: np.ndarray, non_mated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``as_scores`` of both classes, brought to one dtype exactly.

    Raises:
        MaskbenchError: a class is empty or malformed, or integers beyond 2**53 meet floats.
    """
    mated, non_mated = as_scores(mated, "mated"), as_scores(non_mated, "non-mated")
    common = np.result_type(mated.dtype, non_mated.dtype)
    return _exactly(mated, common), _exactly(non_mated, common)


def _exactly(scores: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if scores.dtype.kind == "i" and dtype.kind == "f" and np.abs(scores).max() > EXACT_IN_FLOAT64:
        raise MaskbenchError("integer scores beyond 2**53 cannot be compared with floats exactly; use one dtype")
    return scores.astype(dtype, copy=False)


def ascending(scores: np.ndarray) -> np.ndarray:
    """The scores in ascending order; the same array when it is sorted already, so that callers may sort once."""
    return scores if (scores[:-1] <= scores[1:]).all() else np.sort(scores)


def below(ordered: np.ndarray, threshold: float) -> int:
    """How many of the ascending scores a threshold rejects (score < threshold), exactly, in O(log N)."""
    return int(np.searchsorted(ordered, ceiling(threshold, ordered.dtype)))


def just_above(score: np.generic) -> float | int | None:
    """The lowest threshold that ``score`` (int64, float32, float64) does not reach; None above +inf."""
    if score.dtype.kind == "i":
        return int(score) + 1
    return None if score == np.inf else _next(score).item()


def _next(score: np.generic) -> np.generic:
    with np.errstate(over="ignore"):  # the value after the largest finite one is +inf, and rightly so
        return np.nextafter(score, score.dtype.type(np.inf))


def ceiling(threshold: float, dtype: np.dtype) -> int | np.generic:
    """The lowest value of ``dtype`` that is >= threshold: scores compare with it as they do with the real number.

    For integers it is held within one step of the accepted range, where no score is.

    Raises:
        MaskbenchError: the threshold is NaN.
    """
    if not isinstance(threshold, int) and math.isnan(threshold):
        raise MaskbenchError("the threshold is NaN; give a number")
    if dtype.kind == "i":
        return math.ceil(max(-LARGEST_INTEGER - 1, min(LARGEST_INTEGER + 1, threshold)))
    with np.errstate(over="ignore"):
        rounded = dtype.type(threshold)
    return _next(rounded) if rounded.item() < threshold else rounded


def matches(scores: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) bool, score >= threshold, exactly. ``scores`` come from ``as_scores``."""
    return scores >= ceiling(threshold, scores.dtype)
