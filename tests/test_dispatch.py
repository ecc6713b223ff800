from __future__ import annotations

import random
from collections import Counter

import pytest
from test_parallel import setup_double

from maskbench.dispatch import CHUNK, FAILED_STARTS, WorkerLostError, dispatch
from maskbench.errors import MaskbenchError


class FakeCrew:
    """Workers in this process, as unreliable as wanted: the tasks of each are done in order, workers at random.

    ``deadly`` kills every worker that does the item; ``unlucky`` kills the worker that first does it; ``stillborn``
    is how many workers never live.
    """

    attempts = 3
    advice = "buy better ones"

    def __init__(self, setup, arguments, deadly=(), unlucky=(), stillborn=0, seed=0) -> None:
        self.make = lambda: setup(*arguments)
        self.deadly, self.unlucky, self.stillborn = set(deadly), set(unlucky), stillborn
        self.rng, self.count = random.Random(seed), 0
        self.queues: dict[int, list[int]] = {}  # of living workers
        self.tasks: dict[int, tuple[int, list]] = {}
        self.results: dict[int, object] = {}
        self.started = self.stopped = self.most = 0
        self.done: Counter = Counter()

    def start(self) -> int:
        self.started += 1
        self.queues[self.started] = []
        self.most = max(self.most, len(self.queues))
        return self.started

    def submit(self, worker: int, items) -> int:
        self.count += 1
        self.tasks[self.count] = (worker, list(items))
        if worker in self.queues:
            self.queues[worker].append(self.count)
        else:
            self.results[self.count] = WorkerLostError("dead already")
        return self.count

    def wait(self, tasks) -> int:
        while not (ended := [task for task in tasks if task in self.results]):
            self.step(self.rng.choice([worker for worker, queue in self.queues.items() if queue]))
        return self.rng.choice(ended)

    def step(self, worker: int) -> None:
        task = self.queues[worker].pop(0)
        try:
            if worker <= self.stillborn:
                raise WorkerLostError("never lived")
            function, answers = self.make(), []
            for item in self.tasks[task][1]:
                self.done[item] += 1
                if item in self.deadly or item in self.unlucky:
                    self.unlucky.discard(item)
                    raise WorkerLostError(f"killed by {item}")
                answers.append(function(item))
            self.results[task] = answers
        except WorkerLostError as error:
            for lost in [task, *self.queues.pop(worker)]:
                self.results[lost] = error
        except Exception as error:
            self.results[task] = error

    def result(self, task: int):
        result = self.results[task]
        if isinstance(result, Exception):
            raise result
        return result

    def stop(self, worker: int) -> None:
        self.stopped += 1
        self.queues.pop(worker, None)

    def close(self) -> None:
        assert not self.queues


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 5, 333])
def test_every_item_is_answered_once(workers: int, count: int):
    crew = FakeCrew(setup_double, (1,))
    answers = list(dispatch(crew, list(range(100, 100 + count)), workers))
    assert sorted(answers) == [(value, 2 * value + 1) for value in range(100, 100 + count)]
    assert crew.most <= workers and crew.stopped == crew.started and set(crew.done.values()) <= {1}


@pytest.mark.parametrize("seed", range(20))
def test_items_that_kill_their_worker_are_given_up_and_all_others_are_answered(seed: int):
    items, deadly = list(range(200, 400)), {207, 208, 300}
    crew = FakeCrew(setup_double, (0,), deadly, seed=seed)
    answers = list(dispatch(crew, items, 3))
    assert len(answers) == len(items)
    assert dict(answers) == {value: None if value in deadly else 2 * value for value in items}
    assert all(crew.done[value] <= crew.attempts + 1 + len(deadly) for value in items) and crew.stopped == crew.started
    assert all(crew.done[value] >= crew.attempts for value in deadly)


@pytest.mark.parametrize("seed", range(20))
def test_a_machine_that_is_lost_costs_no_item(seed: int):
    items = list(range(200, 400))
    crew = FakeCrew(setup_double, (0,), unlucky=random.Random(seed).sample(items, 9), seed=seed)
    assert dict(dispatch(crew, items, 4)) == {value: 2 * value for value in items}
    assert crew.started > 4 and not crew.unlucky


def test_workers_that_never_live_blame_no_item():
    crew = FakeCrew(setup_double, (0,), stillborn=10**9)
    with pytest.raises(MaskbenchError, match="cannot start .never lived.; buy better ones"):
        list(dispatch(crew, list(range(50)), 2))
    assert crew.started <= FAILED_STARTS + 2 and crew.stopped == crew.started
    crew = FakeCrew(setup_double, (0,), stillborn=FAILED_STARTS - 1)
    assert dict(dispatch(crew, list(range(50, 70)), 1)) == {value: 2 * value for value in range(50, 70)}


def test_an_exception_of_the_function_ends_the_iteration_and_lets_the_workers_go():
    crew = FakeCrew(setup_double, (0,))
    with pytest.raises(ValueError, match="seventy-seven"):
        list(dispatch(crew, list(range(60, 90)), 2))
    assert crew.stopped == crew.started


def test_an_error_of_the_setup_is_raised():
    def setup_fails():
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        list(dispatch(FakeCrew(setup_fails, ()), list(range(9)), 2))


def test_stopping_half_way_lets_the_workers_go():
    crew = FakeCrew(setup_double, (0,))
    answers = dispatch(crew, list(range(100, 200)), 2)
    next(answers)
    answers.close()
    assert crew.started == crew.stopped == 2


def test_messages_are_small_enough_for_all_to_have_some():
    crew = FakeCrew(setup_double, (0,))
    list(dispatch(crew, list(range(100, 140)), 4))
    assert crew.most == 4 and max(len(items) for _, items in crew.tasks.values()) <= 40 // 4
    crew = FakeCrew(setup_double, (0,))
    list(dispatch(crew, list(range(100, 5000)), 2))
    assert max(len(items) for _, items in crew.tasks.values()) == CHUNK
