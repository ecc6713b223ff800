"""Counts of failures and the rates that include them."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.failures import FailureCounts, Ftx, failure_counts, fnmr_including_failures, ftx
from maskbench.types import Status

OK, FAILED, NOT_RUN = int(Status.OK), int(Status.FAILED), int(Status.NOT_RUN)


def test_counts_by_hand():
    mated = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    status = np.array([OK, FAILED, FAILED, OK, OK, FAILED, NOT_RUN, NOT_RUN])
    counts = failure_counts(mated, status)
    assert counts == FailureCounts(
        mated=3,
        mated_completed=1,
        mated_failed=2,
        non_mated=3,
        non_mated_completed=2,
        non_mated_failed=1,
        not_run=2,
    )
    assert counts.as_dict()["mated_failed"] == 2
    assert all(type(value) is int for value in counts.as_dict().values())


def test_counts_against_loop():
    rng = np.random.default_rng(41)
    for _ in range(300):
        size = int(rng.integers(1, 30))
        mated, status = rng.random(size) < 0.5, rng.integers(0, 3, size).astype(np.int8)
        counts = failure_counts(mated, status)
        pairs = list(zip(mated.tolist(), status.tolist(), strict=True))
        assert counts.mated_completed == pairs.count((True, OK))
        assert counts.mated_failed == pairs.count((True, FAILED))
        assert counts.non_mated_completed == pairs.count((False, OK))
        assert counts.non_mated_failed == pairs.count((False, FAILED))
        assert counts.mated + counts.non_mated + counts.not_run == size


def test_counts_refuse_unknown_states_and_shapes():
    with pytest.raises(MaskbenchError, match="known values are 0"):
        failure_counts(np.array([True]), np.array([3]))
    with pytest.raises(MaskbenchError, match="shapes must agree"):
        failure_counts(np.array([True]), np.array([0, 0]))


def test_refusing_hard_faces_wins_nothing():
    mated = np.ones(10, bool)
    honest = failure_counts(mated, np.zeros(10, int))
    refusing = failure_counts(mated, np.array([FAILED] * 4 + [OK] * 6))
    assert fnmr_including_failures(4, honest) == 0.4
    assert fnmr_including_failures(0, refusing) == 0.4
    assert fnmr_including_failures(1, refusing) == 0.5


def test_fnmr_including_failures_refuses():
    with pytest.raises(MaskbenchError, match="at least one"):
        fnmr_including_failures(0, failure_counts(np.array([False]), np.array([OK])))
    counts = failure_counts(np.array([True, True]), np.array([OK, FAILED]))
    for errors in (-1, 2):
        with pytest.raises(MaskbenchError, match="of 1 completed"):
            fnmr_including_failures(errors, counts)


def test_ftx_counts_each_sample_once():
    ids = np.array(["a", "b", "a", "c", "b", "b"])
    found = ftx(ids, np.array([0, 1, 0, 0, 1, 1]))
    assert found == Ftx(samples=3, failed=1)
    assert found.rate == 1 / 3


def test_ftx_against_sets():
    rng = np.random.default_rng(42)
    for _ in range(200):
        bad = set(rng.integers(0, 20, 5).tolist())
        ids = rng.integers(0, 20, int(rng.integers(1, 60)))
        found = ftx(ids, np.isin(ids, list(bad)))
        assert (found.samples, found.failed) == (len(set(ids.tolist())), len(bad & set(ids.tolist())))


def test_ftx_refuses():
    with pytest.raises(MaskbenchError, match="sample a is marked both"):
        ftx(np.array(["b", "a", "a"]), np.array([True, True, False]))
    with pytest.raises(MaskbenchError, match="one flag per id"):
        ftx(np.array(["a"]), np.array([True, False]))
    with pytest.raises(MaskbenchError, match="one flag per id"):
        ftx(np.array([], dtype=str), np.array([], dtype=bool))
