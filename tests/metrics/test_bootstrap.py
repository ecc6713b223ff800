"""The weighted figures against expanding every comparison by its weight, and the spread of each scheme."""

from __future__ import annotations

import time

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics import bootstrap as b
from maskbench.metrics import influence as i
from maskbench.metrics import uncertainty as u
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import fnmr_at_fmr
from maskbench.types import Status


def pairs(seed: int, size: int, subjects: int, ties: bool = False):
    """Scores, mated, status and subjects (M, 2) of a random list, independent but for chance."""
    rng = np.random.default_rng(seed)
    first = rng.integers(subjects, size=size)
    mated = np.arange(size) % 2 == 0
    second = np.where(mated, first, (first + 1 + rng.integers(subjects - 1, size=size)) % subjects)
    scores = rng.normal(size=size) + 2 * mated
    return np.round(scores, 1) if ties else scores, mated, np.zeros(size, int), np.stack([first, second], axis=1)


def prepared(seed: int, size: int, subjects: int, ties: bool = False):
    scores, mated, status, people = pairs(seed, size, subjects, ties)
    condition, shared = i.comparisons(scores, mated, status), u.sharing(people)
    return condition, shared, (scores, mated, people)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("scheme", ["dense", "pairs"])
def test_replicates_against_repeated_comparisons(scheme, ties):
    condition, shared, (scores, mated, people) = prepared(21, 800, 40, ties)
    _, codes = np.unique(people, return_inverse=True)
    codes = codes.reshape(people.shape)
    found = b.replicate(b.ranked(condition, shared), (0.1, 0.01), scheme, 25, seed=3)
    rng = np.random.default_rng(3)
    for k in range(25):
        first, mates, others = b.subject_weights(scheme, shared.subjects, rng)
        weight = first[codes[:, 0]] * np.where(mated, mates[codes[:, 1]], others[codes[:, 1]])
        rows = np.repeat(np.arange(len(scores)), weight.astype(int))
        mated_scores, non_mated = scores[rows][mated[rows]], scores[rows][~mated[rows]]
        assert found.eer[k] == pytest.approx(eer(mated_scores, non_mated).value, abs=1e-12)
        for column, target in enumerate((0.1, 0.01)):
            assert found.fnmr[k, column] == pytest.approx(fnmr_at_fmr(mated_scores, non_mated, target).fnmr, abs=1e-12)


def test_equal_weights_give_the_figures_themselves(monkeypatch):
    condition, shared, _ = prepared(22, 3000, 300, ties=True)
    monkeypatch.setattr(b, "subject_weights", lambda scheme, count, rng: (np.ones(count),) * 3)
    found = b.replicate(b.ranked(condition, shared), (0.01, 0.1), "dense", 1)
    assert found.eer[0] == pytest.approx(eer(condition.mated, condition.non_mated).value, abs=1e-15)
    expected = [fnmr_at_fmr(condition.mated, condition.non_mated, target).fnmr for target in (0.01, 0.1)]
    assert found.fnmr[0].tolist() == pytest.approx(expected, abs=1e-15)


def test_failures_lie_below_every_score(monkeypatch):
    scores, mated, status, people = pairs(23, 1000, 100)
    status[::10] = Status.FAILED
    condition, shared = i.comparisons(np.where(status == 0, scores, np.nan), mated, status), u.sharing(people)
    monkeypatch.setattr(b, "subject_weights", lambda scheme, count, rng: (np.ones(count),) * 3)
    found = b.replicate(b.ranked(condition, shared, failures=True), (0.01,), "dense", 1)
    assert found.fnmr[0, 0] == pytest.approx(i.fnmr_at_fmr(condition, 0.01, failures=True).value, abs=1e-15)
    assert found.eer[0] == pytest.approx(i.eer_of(condition, failures=True).value, abs=1e-15)


@pytest.mark.parametrize("scheme", b.SCHEMES)
def test_weights_have_the_moments_that_they_claim(scheme):
    rng, size = np.random.default_rng(24), 200_000
    first, mates, others = b.subject_weights(scheme, size, rng)
    i, j = np.arange(0, size, 2), np.arange(1, size, 2)
    non_mated, mated = first[i] * others[j], first * mates
    assert non_mated.mean() == pytest.approx(1, abs=0.03) and mated.mean() == pytest.approx(1, abs=0.02)
    assert mated.var() == pytest.approx(1, rel=0.06)
    assert non_mated.var() == pytest.approx(3 if scheme == "dense" else 1, rel=0.08)


def test_product_weights_are_too_wide_on_sparse_pairs_and_the_sparse_scheme_is_not():
    """The known trap: sqrt(3) times the standard error where hardly a subject occurs twice."""
    condition, shared, _ = prepared(25, 6000, 4000)
    assert u.design(shared) == u.SPARSE
    threshold = np.quantile(condition.non_mated, 0.9)
    truth = np.sqrt(0.1 * 0.9 / len(condition.non_mated))
    rows = shared.first[condition.rows_non_mated], shared.second[condition.rows_non_mated]
    above, rng, spread = condition.non_mated >= threshold, np.random.default_rng(26), {}
    for scheme in ("dense", "sparse"):
        rates = []
        for _ in range(400):
            first, _, others = b.subject_weights(scheme, shared.subjects, rng)
            weight = first[rows[0]] * others[rows[1]]
            rates.append((weight * above).sum() / weight.sum())
        spread[scheme] = np.std(rates) / truth
    assert 1.5 < spread["dense"] < 1.9
    assert 0.9 < spread["sparse"] < 1.15


def test_spread_of_the_sparse_scheme_is_that_of_the_influences():
    condition, shared, _ = prepared(27, 6000, 4000)
    found = b.replicate(b.ranked(condition, shared), (0.1,), b.scheme_for(u.design(shared)), 400)
    for values, estimate in ((found.eer, i.eer_of(condition)), (found.fnmr[:, 0], i.fnmr_at_fmr(condition, 0.1))):
        assert values.std() == pytest.approx(np.sqrt(u.dyadic_variance(estimate.influence, shared)), rel=0.2)


def test_equal_seeds_give_equal_weights_to_two_recognizers():
    condition, shared, _ = prepared(28, 2000, 500)
    order = b.ranked(condition, shared)
    first, second = (b.replicate(order, (0.1,), "sparse", 20, seed=4) for _ in range(2))
    assert np.array_equal(first.eer, second.eer) and np.array_equal(first.fnmr, second.fnmr)
    assert not np.array_equal(first.eer, b.replicate(order, (0.1,), "sparse", 20, seed=5).eer)


def test_a_replicate_without_a_class_is_left_out():
    condition = i.comparisons(np.array([1.0, 0.0, 0.5]), np.array([True, False, False]), np.zeros(3, int))
    shared = u.sharing(np.array([[0, 0], [1, 2], [1, 3]]))
    found = b.replicate(b.ranked(condition, shared), (0.5,), "dense", 60, seed=1)
    assert np.isnan(found.eer).any() and np.isfinite(found.eer).any()
    assert np.isfinite(b.percentile_interval(found.eer)).all()


@pytest.mark.parametrize(("targets", "count", "scheme"), [((0.0,), 5, "dense"), ((1.5,), 5, "dense"),
                                                          ((0.1,), 0, "dense"), ((0.1,), 5, "dens")])  # fmt: skip
def test_refuses(targets, count, scheme):
    condition, shared, _ = prepared(29, 100, 20)
    with pytest.raises(MaskbenchError):
        b.replicate(b.ranked(condition, shared), targets, scheme, count)


def test_a_thousand_replicates_of_an_lfw_list_are_quick():
    condition, shared, _ = prepared(30, 6000, 4281)
    order = b.ranked(condition, shared)
    b.replicate(order, (0.01,), "sparse", 2)  # compiles
    start = time.process_time()
    b.replicate(order, (0.01,), "sparse", 1000)
    assert time.process_time() - start < 2.5
