from __future__ import annotations

import os
import signal

import pytest

from maskbench.parallel import CHUNK, default_workers, map_items


def setup_double(offset: int):
    """Doubles; 13 kills its process; 77 raises."""

    def double(value: int) -> int:
        if value == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if value == 77:
            raise ValueError("seventy-seven")
        return 2 * value + offset

    return double


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_answered_once(workers: int):
    items = list(range(100, 100 + 5 * CHUNK + 3))
    assert dict(map_items(setup_double, (1,), items, workers)) == {value: 2 * value + 1 for value in items}


def test_no_items_no_answers():
    assert list(map_items(setup_double, (0,), [], 2)) == []


def test_an_item_that_kills_its_worker_is_named_and_the_others_finish():
    items = list(range(60))
    answers = dict(map_items(setup_double, (0,), items, 2))
    assert answers.pop(13) is None
    assert answers == {value: 2 * value for value in items if value != 13}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_ends_the_iteration(workers: int):
    with pytest.raises(ValueError, match="seventy-seven"):
        list(map_items(setup_double, (0,), [1, 77, 2], workers))


def test_there_is_a_worker():
    assert default_workers() >= 1
