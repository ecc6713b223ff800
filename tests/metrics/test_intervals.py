"""Wilson and Clopper-Pearson intervals against scipy, the closed formula and their own coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from maskbench.errors import MaskbenchError
from maskbench.metrics.intervals import METHOD, clopper_pearson, rule_of_three, wilson


def formula(errors: int, n: int, confidence: float) -> tuple[float, float]:
    """Wilson 1927, as printed: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)."""
    z, p = norm.ppf((1 + confidence) / 2), errors / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (p + z * z / (2 * n) - half) / (1 + z * z / n), (p + z * z / (2 * n) + half) / (1 + z * z / n)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_against_formula_and_scipy(confidence):
    for n in (1, 2, 30, 3000, 10_000_000):
        for errors in {0, 1, n // 3, n - 1, n}:
            low, high = wilson(errors, n, confidence)
            expected = binomtest(errors, n).proportion_ci(confidence, method="wilson")
            assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-12, abs=1e-15)
            assert (low, high) == pytest.approx(formula(errors, n, confidence), abs=1e-12)
            assert 0 <= low <= errors / n <= high <= 1


def test_published_example():
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263 and 0 of 20
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_coverage():
    rng = np.random.default_rng(51)
    rate, n = 0.05, 400
    hits = [low <= rate <= high for low, high in (wilson(int(k), n) for k in rng.binomial(n, rate, 1500))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_numpy_integers_are_taken():
    assert wilson(np.int64(3), np.int64(30)) == wilson(3, 30)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_clopper_pearson_against_scipy_and_its_definition(confidence):
    for n in (1, 2, 30, 3000):
        for errors in {0, 1, n // 3, n - 1, n}:
            low, high = clopper_pearson(errors, n, confidence)
            expected = binomtest(errors, n).proportion_ci(confidence, method="exact")
            assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-7, abs=1e-12)
            tail = (1 - confidence) / 2  # as many errors, or more (fewer), at the ends happen with this chance
            assert low == 0 if errors == 0 else binom.sf(errors - 1, n, low) == pytest.approx(tail, rel=1e-6)
            assert high == 1 if errors == n else binom.cdf(errors, n, high) == pytest.approx(tail, rel=1e-6)


def test_clopper_pearson_never_covers_less():
    n, rate = 40, 0.06  # where Wilson's coverage is off: sum over all outcomes, no simulation
    share = {}
    for name, function in (("exact", clopper_pearson), ("wilson", wilson)):
        limits = [function(k, n) for k in range(n + 1)]
        share[name] = sum(binom.pmf(k, n, rate) for k, (low, high) in enumerate(limits) if low <= rate <= high)
    assert share["exact"] >= 0.95
    assert share["exact"] >= share["wilson"]


def test_clopper_pearson_published_example():
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263 and 0 of 20
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert clopper_pearson(0, 20) == pytest.approx((0, 0.1684), abs=5e-5)


@pytest.mark.parametrize(
    ("errors", "n", "confidence"), [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1), (1, 5, 0)]
)
def test_refuses(errors, n, confidence):
    with pytest.raises(MaskbenchError, match="no interval"):
        wilson(errors, n, confidence)
    with pytest.raises(MaskbenchError, match="no interval"):
        clopper_pearson(errors, n, confidence)


def test_rule_of_three():
    assert rule_of_three(3000) == 0.001
    assert rule_of_three(2) == 1
    for n in (50, 1000):  # the rule approximates the exact bound 1 - 0.05^(1/n) from above
        exact = 1 - 0.05 ** (1 / n)
        assert exact <= rule_of_three(n) <= exact * 1.05
    with pytest.raises(MaskbenchError, match="no bound"):
        rule_of_three(0)


def test_the_assumption_is_part_of_the_name():
    assert METHOD == "wilson-95, assumes independent comparisons"
