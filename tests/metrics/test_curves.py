"""DET, ROC and AUC against scikit-learn and against definition loops; thinning keeps what it must."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from maskbench.errors import MaskbenchError
from maskbench.metrics.curves import REPORTED, WHOLE, Det, _first_within, auc, counts_below, det, roc, thin, thin_det
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import fmr, fnmr, fnmr_at_fmr

from .oracles import cases, numbers, slow_auc, slow_det


def sklearn_input(mated: np.ndarray, non_mated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat([1, 0], (len(mated), len(non_mated))), np.concatenate([mated, non_mated])


def test_det_by_hand():
    curve = det(np.array([1, 2, 2]), np.array([0, 2]))
    assert curve.thresholds.tolist() == [0, 1, 2, 3]
    assert curve.fmr.tolist() == [1, 0.5, 0.5, 0]
    assert curve.fnmr.tolist() == [0, 0, 1 / 3, 1]


def test_det_against_definition_loop():
    for kind, mated, non_mated in cases(seed=21, count=120):
        curve = det(mated, non_mated)
        expected = slow_det(numbers(mated), numbers(non_mated))
        found = list(zip(curve.fmr.tolist(), curve.fnmr.tolist(), strict=True))
        assert found == [(float(a), float(b)) for a, b in expected], (kind, mated, non_mated)


def test_every_threshold_of_the_det_realises_its_point():
    for kind, mated, non_mated in cases(seed=22, count=60):
        curve = det(mated, non_mated)
        for t, a, b in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
            if math.isnan(t):
                assert kind == "infinite" and (a, b) == (0, 1)
                continue
            assert (fmr(non_mated, t.item()), fnmr(mated, t.item())) == (a, b)


def test_det_is_monotone_and_complete():
    rng = np.random.default_rng(23)
    curve = det(rng.normal(1, 1, 5000).astype(np.float32), rng.normal(0, 1, 9000).astype(np.float32))
    assert (np.diff(curve.thresholds) > 0).all()
    assert (np.diff(curve.fmr) <= 0).all() and (np.diff(curve.fnmr) >= 0).all()
    assert (curve.fmr[0], curve.fnmr[0], curve.fmr[-1], curve.fnmr[-1]) == (1, 0, 0, 1)
    assert curve.thresholds.dtype == np.float32


def test_roc_equals_scikit_learn_on_small_cases():
    checked = 0
    for kind, mated, non_mated in cases(seed=24, count=150):
        if kind in ("infinite", "huge integers"):  # scikit-learn takes neither
            continue
        expected = roc_curve(*sklearn_input(mated, non_mated), drop_intermediate=False)
        found = roc(mated, non_mated)
        for ours, theirs in zip((found.fmr, found.tmr, found.thresholds), expected, strict=True):
            assert np.array_equal(ours, theirs), (kind, mated, non_mated)
        checked += 1
    assert checked > 1000


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("sizes", [(20_000, 300), (300, 20_000), (10_000, 10_000)])
def test_roc_and_auc_equal_scikit_learn_on_large_cases(dtype, sizes):
    rng = np.random.default_rng(25)
    mated, non_mated = ((rng.normal(mean, 1, n) * 100).astype(dtype) for mean, n in zip((1, 0), sizes, strict=True))
    target, scores = sklearn_input(mated, non_mated)
    expected = roc_curve(target, scores, drop_intermediate=False)
    found = roc(mated, non_mated)
    assert np.array_equal(found.fmr, expected[0])
    assert np.array_equal(found.tmr, expected[1])
    assert np.array_equal(found.thresholds, expected[2])
    assert auc(mated, non_mated) == pytest.approx(roc_auc_score(target, scores), abs=1e-12)


def test_fnmr_at_fmr_agrees_with_the_full_roc():
    rng = np.random.default_rng(26)
    for decimals in (1, 2, 8):
        mated, non_mated = rng.normal(2, 1, 1500).round(decimals), rng.normal(0, 1, 4000).round(decimals)
        fpr, tpr, _ = roc_curve(*sklearn_input(mated, non_mated), drop_intermediate=False)
        for target in (0.001, 0.01, 0.1, 0.5):
            expected = 1 - tpr[fpr <= target].max()
            assert fnmr_at_fmr(mated, non_mated, target).fnmr == pytest.approx(expected, abs=1e-12)


def test_auc_is_exact():
    for kind, mated, non_mated in cases(seed=27, count=150):
        expected = float(slow_auc(numbers(mated), numbers(non_mated)))
        assert auc(mated, non_mated) == expected, (kind, mated, non_mated)


def test_auc_at_the_ends():
    assert auc(np.array([2, 3]), np.array([0, 1])) == 1
    assert auc(np.array([0]), np.array([1, 2, 3])) == 0
    assert auc(np.full(7, 0.3), np.full(3, 0.3)) == 0.5


def test_auc_is_the_area_under_our_roc():
    rng = np.random.default_rng(28)
    mated, non_mated = rng.integers(0, 50, 900), rng.integers(-10, 40, 700)
    curve = roc(mated, non_mated)
    area = (np.diff(curve.fmr) * (curve.tmr[1:] + curve.tmr[:-1]) / 2).sum()
    assert auc(mated, non_mated) == pytest.approx(area, abs=1e-12)


def test_classes_of_different_dtype():
    mated, non_mated = np.array([0.1, 0.2], np.float32), np.array([0.1, 0.2], np.float64)
    curve = det(mated, non_mated)
    assert len(curve) == 5, "float32 0.1 and float64 0.1 are two numbers"
    assert auc(mated, non_mated) == float(slow_auc(numbers(mated), numbers(non_mated)))


def test_counts_below_counts_each_class():
    distinct, mated, non_mated = counts_below(np.array([1, 3, 3]), np.array([0, 3]))
    assert distinct.tolist() == [0, 1, 3]
    assert mated.tolist() == [0, 0, 1, 3]
    assert non_mated.tolist() == [0, 1, 1, 2]


def large_det() -> Det:
    rng = np.random.default_rng(29)
    return det(rng.normal(2, 1, 20_000), rng.normal(0, 1, 30_000))


@pytest.mark.parametrize("points", [3, 4, 50, 1000])
def test_thin_keeps_ends_and_limits_points(points):
    curve = large_det()
    thinned = thin(curve, points)
    assert 3 <= len(thinned) <= points
    for name in ("thresholds", "fmr", "fnmr"):
        whole, part = getattr(curve, name), getattr(thinned, name)
        assert (whole[0], whole[-1]) == (part[0], part[-1])
    kept = np.isin(curve.thresholds, thinned.thresholds)
    assert np.array_equal(curve.fmr[kept], thinned.fmr)
    assert np.array_equal(curve.fnmr[kept], thinned.fnmr)


def test_thin_covers_the_low_end_of_fmr():
    curve = large_det()
    thinned = thin(curve, WHOLE - 1)
    assert curve.fmr[curve.fmr > 0].min() in thinned.fmr
    decades = np.floor(np.log10(thinned.fmr[thinned.fmr > 0]))
    assert set(decades) >= {-5, -4, -3, -2, -1}
    for rate in thinned.fmr[1:-1]:
        assert thinned.fnmr[thinned.fmr == rate].min() == curve.fnmr[curve.fmr == rate].min()


def test_thin_returns_a_short_curve_as_it_is():
    curve = det(np.array([1.0, 2.0]), np.array([0.0]))
    assert thin(curve, 100) is curve


def picture_cases(count: int):
    """Scores of many shapes: continuous, tied, apart, reversed, of three dtypes."""
    rng = np.random.default_rng(30)
    for _ in range(count):
        sizes, shift = rng.integers(1, 3000, 2), rng.choice([-1.0, 0.0, 1.0, 3.0, 20.0])
        mated, non_mated = rng.normal(shift, 1, sizes[0]), rng.normal(0, 1, sizes[1])
        decimals = rng.choice([0, 2, 15])
        if rng.random() < 0.2:
            mated[:2], non_mated[-3:] = np.inf, rng.choice([-np.inf, np.inf])
        yield mated.round(decimals), non_mated.round(decimals)
        yield mated.astype(np.float32), non_mated.astype(np.float32)
        yield tuple((np.nan_to_num(part, posinf=9, neginf=-9) * 100).astype(int) for part in (mated, non_mated))


@pytest.mark.parametrize("points", [3, 10, WHOLE, 300])
def test_thinning_without_the_exact_curve(points):
    for mated, non_mated in picture_cases(40):
        expected, found = thin(det(mated, non_mated), points), thin_det(mated, non_mated, points)
        for name in ("thresholds", "fmr", "fnmr"):
            assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True), (name, points)


def test_levels_beside_a_share_of_errors_are_met_as_the_measured_fmr_rounds():
    for count in (4, 49, 93, 197, 300):
        scores = np.arange(float(count))
        shares = np.arange(2, count) / count
        for levels in (shares, np.nextafter(shares, 0), np.nextafter(shares, 1)):
            first = [next(t for t in scores if (count - t) / count <= level) for level in levels]
            assert _first_within(scores[:1], scores, levels).tolist() == first


def test_thinning_moves_no_reported_value():
    checked = 0
    for mated, non_mated in picture_cases(60):
        thinned, rate = thin(det(mated, non_mated), WHOLE), eer(mated, non_mated)
        assert len(thinned) <= WHOLE
        for target in REPORTED:
            point = fnmr_at_fmr(mated, non_mated, target)
            if point.fnmr is not None:
                assert thinned.fnmr[thinned.fmr <= target].min() == point.fnmr
                checked += 1
        sums = (thinned.fmr + thinned.fnmr)[(thinned.fnmr - thinned.fmr >= 0).argmax() :]
        before = (thinned.fmr + thinned.fnmr)[thinned.fnmr - thinned.fmr <= 0]
        assert min(sums[0], before[-1]) / 2 == pytest.approx(rate.value, abs=1e-15)
    assert checked > 400


def test_thin_refuses_too_few_points():
    with pytest.raises(MaskbenchError, match="at least 3"):
        thin(large_det(), 2)


@pytest.mark.parametrize("function", [det, roc, auc])
def test_one_class_is_refused(function):
    with pytest.raises(MaskbenchError, match="no completed non-mated"):
        function(np.array([1.0]), np.array([]))
    with pytest.raises(MaskbenchError, match="no completed mated"):
        function(np.array([]), np.array([1.0]))
