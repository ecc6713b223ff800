"""Influences and cluster-robust variances against pair-by-pair definitions, exact cases and simulations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm, t

from maskbench.errors import MaskbenchError
from maskbench.metrics import influence as i
from maskbench.metrics import uncertainty as u
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import fnmr_at_fmr
from maskbench.types import Status

OK, FAILED = int(Status.OK), int(Status.FAILED)


def drawn(seed: int, size: int = 4000, subjects: int = 300, shift: float = 2.5, failing: float = 0.0):
    """Scores, mated, status, subjects (M, 2) of random pairs with an effect of each subject."""
    rng = np.random.default_rng(seed)
    first = rng.integers(subjects, size=size)
    mated = rng.random(size) < 0.4
    second = np.where(mated, first, (first + 1 + rng.integers(subjects - 1, size=size)) % subjects)
    effect = rng.normal(size=subjects)
    scores = 0.3 * (effect[first] + effect[second]) + 0.9 * rng.normal(size=size) + shift * mated
    status = np.where(rng.random(size) < failing, FAILED, OK)
    return np.where(status == OK, scores, np.nan), mated, status, np.stack([first, second], axis=1)


# ---------------------------------------------------------------- values and influences


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_the_metrics(seed):
    scores, mated, status, _ = drawn(seed, failing=0.03)
    done = status == OK
    mates, others = scores[done & mated], scores[done & ~mated]
    condition, lost = i.comparisons(scores, mated, status), int((mated & ~done).sum())
    assert lost > 0
    assert i.eer_of(condition).value == eer(mates, others).value
    expected = fnmr_at_fmr(mates, others, 0.01)
    assert i.fnmr_at_fmr(condition, 0.01).value == expected.fnmr
    including = (expected.errors + lost) / (len(mates) + lost)
    assert i.fnmr_at_fmr(condition, 0.01, failures=True).value == including
    assert i.fnmr_at(condition, 1.0).value == (mates < 1.0).mean()
    assert i.fmr_at(condition, 1.0).value == (others >= 1.0).mean()
    lowest = np.concatenate([np.full(lost, -1e9), mates])
    assert i.eer_of(condition, failures=True).value == eer(lowest, others).value


@pytest.mark.parametrize("failures", [False, True])
def test_influences_at_a_fixed_threshold_by_definition(failures):
    scores, mated, status, _ = drawn(6, size=200, failing=0.1)
    condition = i.comparisons(scores, mated, status)
    found = i.fnmr_at(condition, 1.5, failures)
    counted = [bool(m) and (s == OK or failures) for m, s in zip(mated, status, strict=True)]
    wrong = [c and (s != OK or score < 1.5) for c, s, score in zip(counted, status, scores, strict=True)]
    rate = sum(wrong) / sum(counted)
    assert found.value == rate and found.errors == sum(wrong)
    expected = [(w - rate) / sum(counted) if c else 0.0 for c, w in zip(counted, wrong, strict=True)]
    assert found.influence == pytest.approx(expected, abs=1e-15)


STATISTICS = {
    "eer": lambda condition: i.eer_of(condition),
    "eer with failures": lambda condition: i.eer_of(condition, failures=True),
    "fmr10": lambda condition: i.fnmr_at_fmr(condition, 0.1),
    "fmr100": lambda condition: i.fnmr_at_fmr(condition, 0.01),
    "fmr100 with failures": lambda condition: i.fnmr_at_fmr(condition, 0.01, failures=True),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_influences_foretell_what_leaving_comparisons_out_does(name):
    """The definition of an influence: the change of the rate when a group of comparisons gets another weight."""
    changes, foretold = [], []
    for seed in range(12):  # a slope is measured anew in each set: one set alone would test its own chance
        scores, mated, status, _ = drawn(100 + seed, size=20_000, subjects=2000, failing=0.02)
        whole = STATISTICS[name](i.comparisons(scores, mated, status))
        rng = np.random.default_rng(seed)
        for part in (mated & (scores < 1.2), ~mated & (scores > 1.8), ~mated, np.ones(len(scores), bool)):
            keep = ~(part & (rng.random(len(scores)) < 0.1))
            changed = STATISTICS[name](i.comparisons(scores[keep], mated[keep], status[keep]))
            changes.append(changed.value - whole.value)
            foretold.append(-whole.influence[~keep].sum())
    assert np.corrcoef(changes, foretold)[0, 1] > 0.9
    assert np.polyfit(foretold, changes, 1)[0] == pytest.approx(1, abs=0.15)


def test_a_comparison_above_the_threshold_raises_fnmr_at_fmr():
    condition = i.comparisons(*drawn(9)[:3])
    found = i.fnmr_at_fmr(condition, 0.01)
    assert found.influence[condition.rows_non_mated[-1]] > 0 > found.influence[condition.rows_non_mated[0]]


@pytest.mark.parametrize(("shift", "spread", "fmr"), [(3.0, 1.0, 0.01), (2.0, 1.4, 0.1), (4.0, 0.7, 0.001)])
def test_density_ratio_of_known_densities(shift, spread, fmr):
    rng = np.random.default_rng(10)
    others, mates = np.sort(rng.normal(size=200_000)), np.sort(rng.normal(shift, spread, 200_000))
    threshold = norm.isf(fmr)
    expected = norm.pdf(threshold, shift, spread) / norm.pdf(threshold)
    assert i.density_ratio(mates, others, threshold) == pytest.approx(expected, rel=0.12)
    # A rising transform of the scores changes neither ranks nor the ratio.
    assert i.density_ratio(np.exp(mates), np.exp(others), math.exp(threshold)) == pytest.approx(
        i.density_ratio(mates, others, threshold), rel=1e-9
    )


def test_density_ratio_is_finite_at_the_ends_and_in_ties():
    ties = np.array([0.0] * 50 + [1.0] * 50)
    for scores, others, threshold in ((ties, ties, 1.0), (np.full(9, 5.0), np.arange(100.0), 99.5), (ties, ties, 2.0)):
        assert 0 <= i.density_ratio(scores, others, threshold) < np.inf


def test_unresolvable_targets_have_no_estimate():
    condition = i.comparisons(np.arange(20.0), np.arange(20) >= 10, np.zeros(20, int))
    assert i.fnmr_at_fmr(condition, 0.01) is None
    assert u.clustered(None, u.sharing(np.zeros((1, 2), int)))["flag"] == "no finite threshold"


def test_integer_scores_and_their_failures():
    scores, mated, status, _ = drawn(11, failing=0.05)
    whole = np.where(status == OK, np.round(np.nan_to_num(scores) * 100), 0).astype(np.int16)
    expected = i.eer_of(i.comparisons(whole.astype(float), mated, status), failures=True).value
    assert i.eer_of(i.comparisons(whole, mated, status), failures=True).value == expected


# ---------------------------------------------------------------- variances


def slow_dyadic(influence: np.ndarray, subjects: np.ndarray) -> float:
    """Sum of the products over all pairs of comparisons with a common subject, S / (S - 1) times, with a floor."""
    total = sum(
        influence[p] * influence[q]
        for p in range(len(influence))
        for q in range(len(influence))
        if set(subjects[p]) & set(subjects[q])
    )
    count = len(set(subjects.ravel().tolist()))
    return max(total * count / (count - 1), sum(value**2 for value in influence))


@pytest.mark.parametrize("seed", range(6))
def test_dyadic_variance_by_definition(seed):
    rng = np.random.default_rng(seed)
    subjects, influence = rng.integers(3 + 2 * seed, size=(60, 2)), rng.normal(size=60) + 0.3 * (seed % 2)
    assert u.dyadic_variance(influence, u.sharing(subjects)) == pytest.approx(slow_dyadic(influence, subjects))
    names = np.array([f"s{number}" for number in range(20)])[subjects]
    assert u.dyadic_variance(influence, u.sharing(names)) == pytest.approx(slow_dyadic(influence, subjects))


def test_several_pictures_of_two_subjects_are_counted_once():
    """Four comparisons of subjects 0 and 1: all ordered pairs share a subject, so the sum of products is (4)^2."""
    shared = u.sharing(np.array([[0, 1], [1, 0], [0, 1], [0, 1]]))
    assert u.dyadic_variance(np.ones(4), shared) == 16 * 2 / 1


def test_never_below_the_variance_of_independent_comparisons():
    shared = u.sharing(np.array([[0, 0], [0, 0], [1, 1], [1, 1]]))
    assert u.dyadic_variance(np.array([1.0, -1.0, 1.0, -1.0]), shared) == 4


def test_subjects_that_share_nothing_give_the_binomial_variance():
    errors = np.arange(1000) < 60
    influence, shared = (errors - 0.06) / 1000, u.sharing(np.repeat(np.arange(1000)[:, None], 2, axis=1))
    assert u.dyadic_variance(influence, shared) == pytest.approx(0.06 * 0.94 / 1000 * 1000 / 999)


def test_fold_variance_is_that_of_a_mean_of_folds():
    rng = np.random.default_rng(12)
    errors, fold = rng.random(500) < 0.2, np.repeat(np.arange(10), 50)
    influence = (errors - errors.mean()) / 500
    rates = errors.reshape(10, 50).mean(axis=1)
    variance, folds = u.fold_variance(influence, fold)
    assert folds == 10 and variance == pytest.approx(rates.var(ddof=1) / 10)
    with pytest.raises(MaskbenchError, match="at least two"):
        u.fold_variance(influence, np.zeros(500))


def test_degrees_of_freedom():
    alone = u.sharing(np.repeat(np.arange(400)[:, None], 2, axis=1))
    normal = np.random.default_rng(13).normal(size=400)
    assert u.degrees_of_freedom(normal, alone) == pytest.approx(399, rel=0.35)
    one = np.where(np.arange(400) == 7, 1.0, 1e-3)
    assert u.degrees_of_freedom(one, alone) < 3, "one subject carries it all"
    assert u.degrees_of_freedom(np.ones(400), alone) == 399


@pytest.mark.parametrize("subjects", [np.zeros((3, 3), int), np.zeros(4, int), np.zeros((0, 2), int)])
def test_refuses_malformed_subjects(subjects):
    with pytest.raises(MaskbenchError, match=r"expected \(M, 2\)"):
        u.sharing(subjects)


# ---------------------------------------------------------------- design and intervals


def dense(subjects: int, pictures: int, folds: int = 1) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.triu_indices(subjects * pictures, 1)
    part = np.stack([i // pictures, j // pictures], axis=1)
    return np.concatenate([part + k * subjects for k in range(folds)]), np.repeat(np.arange(folds) + 1, len(part))


def test_designs():
    rng = np.random.default_rng(14)
    sparse = rng.integers(4000, size=(6000, 2))
    assert u.design(u.sharing(sparse)) == u.SPARSE
    assert u.design(u.sharing(sparse), np.arange(6000) % 10) == u.SPARSE
    assert u.design(u.sharing(dense(60, 4)[0])) == u.DENSE
    pairs, fold = dense(12, 4, 10)
    assert u.design(u.sharing(pairs), fold) == u.DISJOINT
    assert u.design(u.sharing(pairs)) == u.DENSE
    assert u.design(u.sharing(pairs), np.ones(len(pairs))) == u.DENSE, "one fold is none"
    moved = fold.copy()
    moved[0] = 5
    assert u.design(u.sharing(pairs), moved) == u.DENSE, "subjects of two folds"
    assert u.design(u.sharing(np.array([[0, 0], [1, 1]]))) == u.SPARSE


def test_the_estimator_follows_the_design():
    pairs, fold = dense(12, 4, 10)
    shared, influence = u.sharing(pairs), np.random.default_rng(15).normal(size=len(pairs))
    error, freedom, method = u.standard_error(influence, shared, u.folds_as_clusters(shared, fold))
    assert (freedom, method) == (9, u.FOLDS)
    assert error**2 == pytest.approx(max(u.fold_variance(influence, fold)[0], (influence**2).sum()))
    error, freedom, method = u.standard_error(influence, shared, u.folds_as_clusters(shared, None))
    assert method == u.DYADIC and error**2 == pytest.approx(u.dyadic_variance(influence, shared))


def test_intervals_by_formula():
    low, high = u.logit_interval(0.1, 0.02, 9)
    reach = t.ppf(0.975, 9) * 0.02 / (0.1 * 0.9)
    assert (low, high) == pytest.approx((expit(logit(0.1) - reach), expit(logit(0.1) + reach)))
    assert u.logit_interval(0.0, 0.0, 9) == (0, 0) and u.logit_interval(1.0, 0.1, 9) == (1, 1)
    assert 0 < u.logit_interval(0.001, 0.002, 5)[0] < 0.001 < u.logit_interval(0.001, 0.002, 5)[1] < 1
    assert u.plain_interval(0.1, 0.02, 1e9) == pytest.approx((0.1 - 1.95996 * 0.02, 0.1 + 1.95996 * 0.02), abs=1e-6)
    with pytest.raises(MaskbenchError, match="confidence"):
        u.plain_interval(0.1, 0.02, 9, confidence=1.0)


def test_clustered_says_what_it_is():
    scores, mated, status, subjects = drawn(16)
    condition, shared = i.comparisons(scores, mated, status), u.sharing(subjects)
    estimate = i.eer_of(condition)
    found = u.clustered(estimate, shared)
    assert found["low"] < estimate.value < found["high"] and found["method"] == u.DYADIC
    few = i.fnmr_at(condition, 0.0)
    assert 0 < few.errors < 30
    assert u.clustered(few, shared) == {"low": None, "high": None, "method": "none", "flag": "fewer than 30 errors"}


def test_the_page_names_what_the_code_names():
    page = (Path(__file__).parents[2] / "docs" / "uncertainty.md").read_text(encoding="utf-8")
    for name in (u.NO_THRESHOLD, u.SPARSE, u.DENSE, u.DISJOINT, "clopper_pearson", "mask_seed_spread", "rank_ranges"):
        assert name in page, name
    for method in (u.DYADIC, u.FOLDS):
        assert method.split(",")[0] in page, method
    assert f"under {u.SPARSE_BELOW} non-mated" in page and f"3 to {u.MOST_FOLDS} folds" in page and "@@" not in page


def test_mask_seed_spread():
    values = [0.031, 0.029, 0.035, 0.030, 0.030]
    mean = sum(values) / 5
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / 4)
    assert u.mask_seed_spread(values) == pytest.approx((mean, sd, 0.029, 0.035))
    for wrong in ([0.1], [], [0.1, float("nan")]):
        with pytest.raises(MaskbenchError, match="at least two finite values"):
            u.mask_seed_spread(wrong)
