"""Means, spreads, Fisher's ratio and d' by hand, against numpy, and where float64 nearly gives up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.separation import BLOCK, INFINITE, NO_SPREAD, separation


def test_by_hand():
    found = separation(np.array([3.0, 5.0]), np.array([0.0, 0.0, 3.0]))
    assert (found.g_mean, found.g_std, found.i_mean) == (4, 1, 1)
    assert found.i_std == pytest.approx(math.sqrt(2))
    assert found.fdr == pytest.approx(9 / 3)
    assert found.d_prime == pytest.approx(3 / math.sqrt(1.5)) == pytest.approx(math.sqrt(2 * found.fdr))
    assert found.reason == ""


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_against_numpy_over_block_borders(dtype, size):
    rng = np.random.default_rng(101)
    mated, non_mated = (rng.normal(300, 50, size).astype(dtype), rng.normal(100, 20, 1000).astype(dtype))
    found = separation(mated, non_mated)
    wide = mated.astype(np.longdouble), non_mated.astype(np.longdouble)
    expected = [wide[0].mean(), wide[0].std(), wide[1].mean(), wide[1].std()]
    assert [found.g_mean, found.g_std, found.i_mean, found.i_std] == pytest.approx(
        list(map(float, expected)), rel=1e-13
    )
    fdr = (expected[0] - expected[2]) ** 2 / (expected[1] ** 2 + expected[3] ** 2)
    assert found.fdr == pytest.approx(float(fdr), rel=1e-12)


def test_order_does_not_matter():
    rng = np.random.default_rng(102)
    mated, non_mated = rng.normal(1, 1, 500), rng.normal(size=700)
    assert separation(mated, non_mated) == separation(mated[::-1], rng.permutation(non_mated))


def test_a_constant_far_from_zero_costs_no_digits():
    small = separation(np.array([1.0, 2, 4]), np.array([0.0, 1, 1]))
    for offset in (1e9, -(2.0**40)):
        far = separation(np.array([1.0, 2, 4]) + offset, np.array([0.0, 1, 1]) + offset)
        assert (far.fdr, far.d_prime) == pytest.approx((small.fdr, small.d_prime), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-12, 1e150, 1e307])
def test_the_ratios_do_not_depend_on_the_unit(scale):
    base = separation(np.array([1.0, 2, 4]), np.array([0.0, 1, 1]))
    found = separation(np.array([1.0, 2, 4]) * scale, np.array([0.0, 1, 1]) * scale)
    assert (found.fdr, found.d_prime) == pytest.approx((base.fdr, base.d_prime), rel=1e-10)
    assert found.g_std == pytest.approx(base.g_std * scale, rel=1e-10)


def test_the_sign_is_lost():
    one, other = np.array([1.0, 2]), np.array([5.0, 7])
    assert separation(one, other).d_prime == separation(other, one).d_prime > 0


def test_what_does_not_exist_is_none_with_a_reason():
    found = separation(np.array([0.5, 0.5]), np.array([0.25]))
    assert (found.g_mean, found.g_std, found.i_mean, found.i_std) == (0.5, 0, 0.25, 0)
    assert (found.fdr, found.d_prime, found.reason) == (None, None, NO_SPREAD)
    found = separation(np.array([0.5, 0.75]), np.array([-np.inf, 0.0]))
    assert (found.g_mean, found.i_mean, found.fdr, found.d_prime, found.reason) == (None, None, None, None, INFINITE)


@pytest.mark.parametrize(("mated", "non_mated"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0]), ([1.0], [math.nan])])
def test_refuses(mated, non_mated):
    with pytest.raises(MaskbenchError):
        separation(np.array(mated), np.array(non_mated))
