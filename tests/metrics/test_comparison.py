"""Differences of two recognizers: what cancels, what counts as an error, and how sure the verdict is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from maskbench.errors import MaskbenchError
from maskbench.metrics import comparison as c
from maskbench.metrics import influence as i
from maskbench.metrics import uncertainty as u
from maskbench.types import Status

OK, FAILED, NOT_RUN = int(Status.OK), int(Status.FAILED), int(Status.NOT_RUN)


def population(seed: int, size: int = 6000, subjects: int = 4000, quality: tuple[float, ...] = (2.6, 2.6)):
    """Scores of several recognizers that share most of their noise, mated, subjects."""
    rng = np.random.default_rng(seed)
    first = rng.integers(subjects, size=size)
    mated = np.arange(size) % 2 == 0
    second = np.where(mated, first, (first + 1 + rng.integers(subjects - 1, size=size)) % subjects)
    effect, common = rng.normal(size=subjects), rng.normal(size=size)
    base = 0.3 * (effect[first] + effect[second]) + 0.7 * common
    scores = [base + 0.5 * rng.normal(size=size) + shift * mated for shift in quality]
    return scores, mated, np.stack([first, second], axis=1)


def none_failed(scores: list[np.ndarray]) -> list[np.ndarray]:
    return [np.zeros(len(row), int) for row in scores]


@pytest.mark.parametrize("metric", ["fnmr@fmr10", "fnmr@fmr100", "eer"])
def test_the_interval_is_that_of_the_difference_of_influences(metric):
    scores, mated, subjects = population(31, quality=(2.6, 2.2))
    found = c.compare_pair(scores, mated, none_failed(scores), subjects, metric=metric)
    conditions = [i.comparisons(row, mated, np.zeros(len(row), int)) for row in scores]
    rates = [i.eer_of(x) if metric == "eer" else i.fnmr_at_fmr(x, 1 / int(metric[8:])) for x in conditions]
    assert (found.a, found.b) == (rates[0].value, rates[1].value)
    assert found.difference == rates[0].value - rates[1].value < 0
    influence, shared = rates[0].influence - rates[1].influence, u.sharing(subjects)
    ends = u.plain_interval(
        found.difference, np.sqrt(u.dyadic_variance(influence, shared)), u.degrees_of_freedom(influence, shared)
    )
    assert (found.low, found.high) == ends and found.high < 0
    assert found.verdict == "A better"


def test_what_both_share_cancels():
    scores, mated, subjects = population(32)
    found = c.compare_pair(scores, mated, none_failed(scores), subjects, metric="fnmr@fmr10")
    shared = u.sharing(subjects)
    apart = sum(
        u.dyadic_variance(i.fnmr_at_fmr(i.comparisons(row, mated, np.zeros(len(row), int)), 0.1).influence, shared)
        for row in scores
    )
    assert found.high - found.low < 0.8 * 2 * 1.96 * np.sqrt(apart)


def test_swapping_swaps():
    scores, mated, subjects = population(33, quality=(2.6, 2.2))
    status = none_failed(scores)
    one = c.compare_pair(scores, mated, status, subjects)
    two = c.compare_pair(scores[::-1], mated, status, subjects)
    assert (one.difference, one.low, one.high) == pytest.approx((-two.difference, -two.high, -two.low))
    assert (one.verdict, two.verdict) == ("A better", "B better")
    assert (one.mcnemar.only_a, one.mcnemar.only_b) == (two.mcnemar.only_b, two.mcnemar.only_a)


def test_a_recognizer_against_itself_is_not_distinguishable():
    scores, mated, subjects = population(34)
    scores[1] = 5 * scores[0] - 3  # another scale, the same order
    found = c.compare_pair(scores, mated, none_failed(scores), subjects, replicates=50)
    assert found.difference == 0 and found.low == found.high == 0 and found.bootstrap == (0, 0)
    assert found.verdict == c.NOT_DISTINGUISHABLE and found.mcnemar.p == 1


def test_failures_are_errors_of_the_one_that_failed():
    scores, mated, subjects = population(35)
    scores[1] = scores[0].copy()
    status = none_failed(scores)
    lost = np.flatnonzero(mated)[:200]
    status[1][lost], scores[1][lost] = FAILED, np.nan
    found = c.compare_pair(scores, mated, status, subjects)
    threshold = np.sort(scores[0][~mated])[-31]
    right_before = int((scores[0][lost] > threshold).sum())
    assert found.b - found.a == pytest.approx(right_before / mated.sum()) and found.verdict == "A better"
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == (0, right_before)
    assert c.compare_pair(scores, mated, status, subjects, metric="eer").verdict == "A better"
    both = c.compare_pair(scores, mated, [status[1], status[1]], subjects)
    assert both.difference == 0 and both.a == found.b


def test_mcnemar_against_scipy_and_by_hand():
    for only_a, only_b in ((0, 0), (1, 0), (5, 0), (6, 0), (10, 3), (7, 7), (40, 90)):
        a = np.array([True] * only_a + [False] * only_b + [True, False])
        b = np.array([False] * only_a + [True] * only_b + [True, False])
        found = c.exact_mcnemar(a, b)
        expected = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
        assert (found.only_a, found.only_b) == (only_a, only_b) and found.p == pytest.approx(expected)
        assert found.note == "assumes independent pairs"
    assert c.exact_mcnemar(np.ones(6, bool), np.zeros(6, bool)).p == pytest.approx(2 / 64)


def test_decisions_are_made_at_each_ones_own_threshold():
    scores, mated, subjects = population(36, quality=(2.6, 2.2))
    scores[1] = 100 * scores[1]
    for metric, fmr in (("fnmr@fmr10", 0.1), ("eer", None)):
        found = c.compare_pair(scores, mated, none_failed(scores), subjects, metric=metric)
        wrong = []
        for row in scores:
            if fmr:
                threshold = np.nextafter(np.sort(row[~mated])[-1 - int(fmr * (~mated).sum())], np.inf)
                wrong.append(mated & (row < threshold))
            else:
                candidates = np.sort(row)
                gaps = [abs((row[mated] < t).mean() - (row[~mated] >= t).mean()) for t in candidates[::1]]
                t = candidates[int(np.argmin(gaps))]
                wrong.append(np.where(mated, row < t, row >= t))
        only = (wrong[0] & ~wrong[1]).sum(), (wrong[1] & ~wrong[0]).sum()
        assert (found.mcnemar.only_a, found.mcnemar.only_b) == pytest.approx(only, abs=0 if fmr else 2)


def test_few_differing_decisions_need_mcnemar_too():
    """Five errors against none: the normal interval excludes 0, the exact test does not, so neither do we."""
    size = 4000
    subjects = np.repeat(np.arange(size)[:, None], 2, axis=1)
    mated = np.arange(size) % 2 == 0
    subjects[~mated, 1] = (subjects[~mated, 0] + 2) % size
    scores = np.where(mated, 1.0, 0.0) + np.random.default_rng(37).uniform(0, 0.1, size)
    worse = scores.copy()
    for errors, expected in ((5, c.NOT_DISTINGUISHABLE), (8, "A better")):
        worse[np.flatnonzero(mated)[:errors]] = -1
        found = c.compare_pair([scores, worse], mated, none_failed([scores] * 2), subjects)
        assert found.high < 0 and found.flag == "fewer than 30 errors"
        assert found.verdict == expected


def test_the_paired_bootstrap_agrees():
    scores, mated, subjects = population(38, quality=(2.6, 2.3))
    found = c.compare_pair(scores, mated, none_failed(scores), subjects, metric="fnmr@fmr10", replicates=400)
    assert found.bootstrap_scheme == "sparse"
    width = found.high - found.low
    assert found.bootstrap == pytest.approx((found.low, found.high), abs=0.25 * width)
    other = c.compare_pair(scores, mated, none_failed(scores), subjects, metric="eer", replicates=400)
    assert other.bootstrap == pytest.approx((other.low, other.high), abs=0.25 * (other.high - other.low))


def test_coverage_of_no_difference():
    """Two equally good recognizers: told apart in about one of twenty data sets, as 95 % say."""
    called = 0
    for seed in range(300):
        scores, mated, subjects = population(1000 + seed, size=3000, subjects=1500, quality=(2.0, 2.0))
        called += c.compare_pair(scores, mated, none_failed(scores), subjects, metric="fnmr@fmr10").verdict[1] == " "
    assert 3 <= called <= 30  # binomial (300, 0.05): 15 +- 3.8, four standard deviations to each side


@pytest.mark.parametrize(
    ("metric", "message"),
    [*((name, "no metric") for name in ("fmr100", "fnmr@fmr0", "fnmr@fmr1")), ("fnmr@fmr10000", "not resolvable")],
)
def test_refuses(metric, message):
    scores, mated, subjects = population(39, size=1000)
    with pytest.raises(MaskbenchError, match=message):
        c.compare_pair(scores, mated, none_failed(scores), subjects, metric=metric)


def test_refuses_what_was_not_run():
    scores, mated, subjects = population(40, size=1000)
    status = none_failed(scores)
    status[0][4] = NOT_RUN
    with pytest.raises(MaskbenchError, match="not run"):
        c.compare_pair(scores, mated, status, subjects)


# ---------------------------------------------------------------- ranks


def test_ranks_of_clearly_and_barely_different_recognizers():
    scores, mated, subjects = population(41, quality=(3.4, 2.41, 2.4, 1.2))
    found = c.rank_ranges(np.stack(scores), mated, np.zeros(len(mated), int), subjects)
    assert found[0] == (1, 1) and found[3] == (4, 4)
    assert found[1] == found[2] == (2, 3)


def test_ranks_agree_with_resampling_subjects():
    """Against the subject bootstrap of the same scores, whose weights are drawn and sorted anew."""
    from maskbench.metrics import bootstrap

    scores, mated, subjects = population(42, quality=(2.5, 2.42, 2.35, 2.1))
    ok, shared = np.zeros(len(mated), int), u.sharing(subjects)
    drawn = np.stack([
        bootstrap.replicate(bootstrap.ranked(i.comparisons(row, mated, ok), shared), (0.1,), "sparse", 600).fnmr[:, 0]
        for row in scores
    ])  # fmt: skip
    ranks = 1 + (drawn[None] < drawn[:, None]).sum(axis=1)
    expected = np.quantile(ranks, (0.025, 0.975), axis=1, method="inverted_cdf").T
    found = np.array(c.rank_ranges(np.stack(scores), mated, ok, subjects, metric="fnmr@fmr10"))
    assert np.abs(found - expected).max() <= 1 and (found == expected).mean() >= 0.75


def test_equal_recognizers_share_all_ranks_and_no_errors_are_no_certainty():
    scores, mated, subjects = population(43, size=2000, quality=(9.0, 9.0, 9.0))
    assert all(i.fnmr_at_fmr(i.comparisons(row, mated, np.zeros(2000, int)), 0.01).errors == 0 for row in scores)
    assert c.rank_ranges(np.stack(scores), mated, np.zeros(2000, int), subjects) == [(1, 3)] * 3


def test_ranks_by_folds_and_of_one_recognizer():
    scores, mated, subjects = population(44, size=3000, subjects=12, quality=(3.0, 1.0))
    blocks = np.arange(3000) // 300
    subjects = subjects + 12 * blocks[:, None]
    assert u.design(u.sharing(subjects), blocks) == u.DISJOINT
    found = c.rank_ranges(np.stack(scores), mated, np.zeros((2, 3000), int), subjects, blocks)
    assert found == [(1, 1), (2, 2)]
    assert c.rank_ranges(scores[0][None], mated, np.zeros(3000, int), subjects) == [(1, 1)]
