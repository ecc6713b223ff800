"""Confidence intervals of error rates, for independent comparisons.

Comparisons that share subjects or samples are not independent; the true interval is then wider.
"""

from __future__ import annotations

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
    if n < 1 or not 0 <= errors <= n or not 0 < confidence < 1:
        raise MaskbenchError(f"no interval for {errors} errors of {n} at confidence {confidence}")
    from scipy.stats import binomtest

    interval = binomtest(int(errors), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def rule_of_three(n: int) -> float:
    """The upper 95 % bound, 3 / n (at most 1), of a rate of which no error was seen in n independent comparisons.

    Hanley and Lippman-Hand, JAMA 249(13), 1983; ISO/IEC 19795-1 names it too. Raises MaskbenchError for n < 1.
    """
    if n < 1:
        raise MaskbenchError(f"no bound for {n} comparisons")
    return min(1.0, 3 / n)
