"""Rates of groups, against counting one comparison after the other."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.breakdowns import break_down
from maskbench.metrics.intervals import wilson
from maskbench.types import Status


def scene(seed: int, count: int = 400):
    """Scores on a grid (many ties with the threshold), a tenth of them failed."""
    rng = np.random.default_rng(seed)
    scores, mated = rng.integers(-4, 5, count) / 4, rng.random(count) < 0.4
    status = np.where(rng.random(count) < 0.1, Status.FAILED, Status.OK).astype(np.int8)
    scores[status == Status.FAILED] = np.nan
    return scores, mated, status, rng.choice(["", "a", "b", "c"], count)


@pytest.mark.parametrize("threshold", [-9.0, -0.25, 0.0, 0.25, 0.3, 9.0])
@pytest.mark.parametrize("seed", range(5))
def test_every_group_is_counted_as_the_definitions_say(seed: int, threshold: float):
    data = scene(seed)
    found = {row.group: row for row in break_down(*data, threshold)}
    assert sorted(found) == ["a", "b", "c"]
    for group, row in found.items():
        own = [item for item in zip(*data, strict=True) if item[3] == group]
        mated, other = ([item for item in own if item[1] == label] for label in (True, False))
        misses = [item for item in mated if item[2] == Status.OK and not item[0] >= threshold]
        false = [item for item in other if item[2] == Status.OK and item[0] >= threshold]
        done, failed = ([item for item in mated if item[2] == state] for state in (Status.OK, Status.FAILED))
        assert (row.mated, row.mated_completed, row.false_non_matches) == (len(mated), len(done), len(misses))
        assert row.fnmr == len(misses) / len(done)
        assert row.fnmr_including_failures == (len(misses) + len(failed)) / len(mated)
        completed = sum(item[2] == Status.OK for item in other)
        assert (row.non_mated, row.non_mated_completed, row.false_matches) == (len(other), completed, len(false))
        assert row.fmr == len(false) / completed and row.fmr_interval == wilson(len(false), completed)
        assert row.fnmr_interval == wilson(len(misses), len(done))
        assert bool(row.fnmr_flag) == (len(misses) < 30) and bool(row.fmr_flag) == (len(false) < 30)


def test_a_group_of_one_class_has_no_rate_of_the_other():
    row = break_down(np.array([0.5, 0.1]), np.array([True, True]), np.zeros(2, int), np.array(["a", "a"]), 0.3)[0]
    assert row.fnmr == 0.5 and row.fmr is None and row.fmr_interval is None and row.fmr_flag == ""
    failed = break_down(np.array([np.nan]), np.array([True]), np.array([1]), np.array(["a"]), 0.3)[0]
    assert failed.fnmr is None and failed.fnmr_including_failures == 1.0


def test_bad_input_is_refused():
    scores, mated, status, groups = scene(0)
    with pytest.raises(MaskbenchError, match="shapes must agree"):
        break_down(scores[1:], mated, status, groups, 0.0)
    with pytest.raises(MaskbenchError, match="not run"):
        break_down(scores, mated, np.full(len(scores), Status.NOT_RUN), groups, 0.0)
