"""EER against the definition, by loops and exact fractions, and against scikit-learn's ROC."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from maskbench.errors import MaskbenchError
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import fmr, fnmr

from .oracles import cases, numbers, slow_eer


def test_a_crossing_at_one_threshold():
    found = eer(np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.1, 0.2, 0.3, 0.75]))
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_an_interval_and_its_midpoint():
    # t = 0.5: FNMR 0, FMR 1/2; t = 0.6: FNMR 1/3, FMR 0. The sums are 1/2 and 1/3, so the second is taken.
    found = eer(np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.5]))
    assert (found.low, found.high, found.value) == (0, 1 / 3, 1 / 6)
    assert found.threshold == 0.6


def test_a_draw_of_sums_takes_the_lower_threshold():
    found = eer(np.array([0.5, 0.6]), np.array([0.1, 0.5]))  # (FMR, FNMR) is (1/2, 0) at 0.5 and (0, 1/2) at 0.6
    assert found.threshold == 0.5
    assert found.value == 0.25


def test_separated_and_reversed_classes():
    assert eer(np.array([2, 3]), np.array([0, 1])).value == 0
    assert eer(np.array([0, 1]), np.array([2, 3])).value == 1
    for dtype in (np.int64, np.float32):
        assert eer(np.zeros(3, dtype), np.zeros(5, dtype)).value == 0.5


def test_two_scores():
    assert eer(np.array([1.0]), np.array([0.0])).value == 0
    assert eer(np.array([0.0]), np.array([1.0])).value == 1
    assert eer(np.array([1.0]), np.array([1.0])).value == 0.5


def test_against_definition_loop():
    checked = 0
    for kind, mated, non_mated in cases(seed=11, count=250):
        value, low, high = slow_eer(numbers(mated), numbers(non_mated))
        found = eer(mated, non_mated)
        context = (kind, mated, non_mated)
        assert (found.value, found.low, found.high) == (float(value), float(low), float(high)), context
        checked += 1
    assert checked > 2500


def test_the_threshold_realises_the_interval():
    for kind, mated, non_mated in cases(seed=12, count=150):
        found = eer(mated, non_mated)
        if found.threshold is None:
            assert kind == "infinite"
            continue
        assert {fmr(non_mated, found.threshold), fnmr(mated, found.threshold)} == {found.low, found.high}


def test_order_does_not_matter_and_input_stays():
    rng = np.random.default_rng(13)
    mated, non_mated = rng.normal(1, 1, 500), rng.normal(0, 1, 700)
    copies = mated.copy(), non_mated.copy()
    found = eer(mated, non_mated)
    assert found == eer(np.sort(mated), np.sort(non_mated)[::-1])
    assert (mated == copies[0]).all() and (non_mated == copies[1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [1, 3, None])
def test_against_the_full_roc_of_scikit_learn(dtype, decimals):
    rng = np.random.default_rng(14)
    for sizes in ((300, 900), (900, 40), (2000, 2000)):
        mated, non_mated = rng.normal(1.5, 1, sizes[0]).astype(dtype), rng.normal(0, 1, sizes[1]).astype(dtype)
        if decimals is not None:
            mated, non_mated = mated.round(decimals), non_mated.round(decimals)
        fpr, tpr, _ = roc_curve(np.repeat([1, 0], sizes), np.concatenate([mated, non_mated]), drop_intermediate=False)
        gap = 1 - tpr - fpr
        first, second = np.flatnonzero(gap <= 1e-12)[0], np.flatnonzero(gap >= -1e-12)[-1]
        pairs = [(fpr[i], 1 - tpr[i]) for i in (first, second)]
        chosen = pairs[0] if sum(pairs[0]) <= sum(pairs[1]) + 1e-12 else pairs[1]
        assert eer(mated, non_mated).value == pytest.approx(sum(chosen) / 2, abs=1e-12)


def test_symmetry_under_exchange_of_the_classes():
    # Negated scores with the classes exchanged turn FMR into FNMR. On continuous scores the value must stay.
    rng = np.random.default_rng(15)
    for _ in range(200):
        mated, non_mated = rng.normal(1, 1, rng.integers(1, 40)), rng.normal(0, 1, rng.integers(1, 40))
        assert eer(mated, non_mated).value == pytest.approx(eer(-non_mated, -mated).value, abs=1e-15)


def test_above_an_infinite_score_there_is_no_threshold():
    # At +inf FMR is 1 and FNMR 1/2; "match nothing" has the smaller sum, but no threshold says so.
    found = eer(np.array([0.0, np.inf]), np.array([np.inf]))
    assert (found.value, found.low, found.high, found.threshold) == (0.5, 0, 1, None)
    assert eer(np.array([0.0, 0.0]), np.array([np.inf])).value == 1


@pytest.mark.parametrize(("mated", "non_mated"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0]), ([1.0], [math.nan])])
def test_refuses(mated, non_mated):
    with pytest.raises(MaskbenchError):
        eer(np.array(mated), np.array(non_mated))
