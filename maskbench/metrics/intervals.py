"""Confidence intervals of error rates, for independent comparisons.

Comparisons that share subjects or samples are not independent; the true interval is then wider, see ``uncertainty``.
"""

from __future__ import annotations

import math

from maskbench.errors import MaskbenchError

METHOD = "wilson-95, assumes independent comparisons"


def wilson(errors: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of the rate errors / n (Wilson, JASA 22, 1927), without continuity correction.

    Args:
        errors: 0 to n.
        n: comparisons, at least 1.
        confidence: between 0 and 1.

    Returns:
        low and high, 0 to 1.

    Raises:
        MaskbenchError: the arguments are out of range.
    """
    from scipy.special import ndtri

    _check(errors, n, confidence)
    rate, deviate = errors / n, float(ndtri(0.5 + 0.5 * confidence))
    scale = 2 * (n + deviate**2)
    centre = (2 * n * rate + deviate**2) / scale
    reach = deviate / scale * math.sqrt(4 * n * rate * (1 - rate) + deviate**2)
    return (0.0 if errors == 0 else centre - reach), (1.0 if errors == n else centre + reach)


def clopper_pearson(errors: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of the rate errors / n (Clopper and Pearson, Biometrika 26, 1934), from beta quantiles.

    It holds the true rate at least as often as ``confidence`` says, for any rate and n; it is wider than Wilson's,
    which does so on average over rates. Arguments, range and errors as ``wilson``.
    """
    from scipy.special import betaincinv

    _check(errors, n, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if errors == 0 else float(betaincinv(errors, n - errors + 1, tail))
    return low, 1.0 if errors == n else float(betaincinv(errors + 1, n - errors, 1 - tail))


def _check(errors: int, n: int, confidence: float) -> None:
    if n < 1 or not 0 <= errors <= n or not 0 < confidence < 1:
        raise MaskbenchError(f"no interval for {errors} errors of {n} at confidence {confidence}")


def rule_of_three(n: int) -> float:
    """The upper 95 % bound, 3 / n (at most 1), of a rate of which no error was seen in n independent comparisons.

    Hanley and Lippman-Hand, JAMA 249(13), 1983; ISO/IEC 19795-1 names it too. Raises MaskbenchError for n < 1.
    """
    if n < 1:
        raise MaskbenchError(f"no bound for {n} comparisons")
    return min(1.0, 3 / n)
