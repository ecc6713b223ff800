"""How far the two distributions of scores lie apart: means, standard deviations, Fisher's ratio and d'."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from maskbench.metrics.arrays import LARGEST_INTEGER, ascending, both_classes

BLOCK = 1 << 14  # scores that are widened to float64 at a time
INFINITE = "a score is infinite"
NO_SPREAD = "neither class varies"
BEYOND = "beyond the range of float64"
ORDINARY = 400  # spreads beyond 2**400, or below 2**-400, are scaled so that their squares stay in float64
LARGEST = Fraction(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Separation:
    """Moments of both classes; all None where a score is infinite.

    Attributes:
        g_mean, g_std: mean and standard deviation of the mated ("genuine") scores.
        i_mean, i_std: of the non-mated ("impostor") scores.
        fdr: Fisher's discriminant ratio, not the false discovery rate; None where neither class varies, or where it
            is too large for float64.
        d_prime: the sensitivity index; None likewise.
        reason: "" or why something is None.
    """

    g_mean: float | None
    g_std: float | None
    i_mean: float | None
    i_std: float | None
    fdr: float | None
    d_prime: float | None
    reason: str


def separation(mated: np.ndarray, non_mated: np.ndarray) -> Separation:
    """G-mean, I-mean, their standard deviations, FDR and d'.

        FDR = (G-mean - I-mean)^2 / (G-std^2 + I-std^2)
        d'  = |G-mean - I-mean| / sqrt((G-std^2 + I-std^2) / 2),  hence d'^2 = 2 FDR

    Standard deviations have the divisor N (of the scores at hand, not an estimate of a population's). FDR is that of
    Poh and Bengio ("A study of the effects of score normalisation prior to fusion in biometric authentication tasks",
    IDIAP-RR 04-69, 2004) and of the masked-face evaluations that followed; d' as in Daugman, "Biometric decision
    landscapes", Cambridge UCAM-CL-TR-482, 2000. Both are blind to the sign of the difference, and tell of tails only
    where the scores are normal.

    Sums run in float64 over deviations from a score of the class, which are exact for neighbouring scores: gaps of
    1e-12 on scores of 0.5, denormals and values near the largest float64 keep their digits.

    Args:
        mated, non_mated: (N,) completed scores, in any order.

    Raises:
        MaskbenchError: a class has no scores, or NaN.
    """
    return separation_sorted(*(ascending(scores) for scores in both_classes(mated, non_mated)))


def separation_sorted(mated: np.ndarray, non_mated: np.ndarray) -> Separation:
    """``separation`` of what ``both_classes`` returned, each class ascending: one pass without long arrays."""
    if any(np.isinf(float(end)) for part in (mated, non_mated) for end in (part[0], part[-1])):
        return Separation(None, None, None, None, None, None, INFINITE)
    (g_mean, g_variance), (i_mean, i_variance) = _moments(mated), _moments(non_mated)
    moments = float(g_mean), _root(g_variance), float(i_mean), _root(i_variance)
    total = g_variance + i_variance
    if not total:
        return Separation(*moments, None, None, NO_SPREAD)
    fdr = (g_mean - i_mean) ** 2 / total
    if fdr > LARGEST:
        return Separation(*moments, None, None, BEYOND)
    return Separation(*moments, float(fdr), _root(2 * fdr), "")


def _root(value: Fraction) -> float:
    """The square root, without overflow or underflow on the way."""
    exponent = (value.numerator.bit_length() - value.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(value / Fraction(4) ** exponent), exponent)


def _moments(scores: np.ndarray) -> tuple[Fraction, Fraction]:
    """Mean and variance of one ascending class: exact sums and products of float64 values that are not."""
    pivot, exponent = scores[len(scores) // 2], _exponent(scores)
    if scores.dtype.kind == "i":  # score - pivot must stay in int64
        pivot = max(pivot, np.int64(1 - LARGEST_INTEGER))
    sums, squares = [], []
    for part in _deviations(scores, pivot, exponent):
        sums.append(float(part.sum()))
        squares.append(float(np.square(part, out=part).sum()))
    shift = math.fsum(sums) / len(scores)
    # The pivot is the median, and the mean lies within one standard deviation of it: this difference costs one bit.
    variance = max(0.0, math.fsum(squares) / len(scores) - shift * shift)
    unit = Fraction(2) ** exponent
    return Fraction(pivot.item()) + Fraction(shift) * unit, Fraction(variance) * unit**2


def _exponent(scores: np.ndarray) -> int:
    """The power of two that deviations are divided by: 0 but where their squares would leave float64."""
    spread = float(scores[-1]) - float(scores[0])
    exponent = math.frexp(spread)[1] if spread < math.inf else sys.float_info.max_exp + 1
    return exponent if abs(exponent) > ORDINARY else 0


def _deviations(scores: np.ndarray, pivot: np.generic, exponent: int) -> Iterator[np.ndarray]:
    """(scores - pivot) / 2**exponent as float64, block by block, so that no long array is made."""
    for start in range(0, len(scores), BLOCK):
        block = scores[start : start + BLOCK]
        if scores.dtype.kind == "i":
            yield (block - pivot).astype(np.float64)
        elif exponent > 0:  # the difference itself might overflow
            yield np.ldexp(block.astype(np.float64), -exponent) - np.ldexp(np.float64(pivot), -exponent)
        else:
            wide = block.astype(np.float64)
            np.subtract(wide, pivot, out=wide)
            yield np.ldexp(wide, -exponent, out=wide) if exponent else wide
