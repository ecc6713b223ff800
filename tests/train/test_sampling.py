"""Which faces make up which step: counted by hand over all processes, and from any place on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.train.sampling import WINDOW, BatchPlan


def labelled(*counts: int) -> list[str]:
    """Subject 0 with so many faces, subject 1 with so many, ..., in a mixed order."""
    names = [f"s{subject}" for subject, count in enumerate(counts) for _ in range(count)]
    return [names[index] for index in np.random.default_rng(1).permutation(len(names))]


def indices(plan: BatchPlan, epoch: int) -> list[int]:
    """What a process sees in an epoch."""
    steps = plan.steps
    return [i for batch in plan.batches(epoch * steps, (epoch + 1) * steps) for _, i in batch]


class TestUniform:
    def test_an_order_is_a_permutation_and_another_one_in_each_epoch(self):
        plan = BatchPlan([None] * 101, 10, 3)
        orders = [plan.order(epoch) for epoch in range(3)]
        for order in orders:
            assert sorted(order.tolist()) == list(range(101))
        assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[1], orders[2])
        assert not np.array_equal(orders[0], np.arange(101))

    def test_a_function_of_the_seed(self):
        first, again, other = (BatchPlan([None] * 50, 5, seed).order(2) for seed in (7, 7, 8))
        assert np.array_equal(first, again) and not np.array_equal(first, other)

    @pytest.mark.parametrize("world", [1, 2, 3])
    def test_every_face_once_an_epoch_over_all_processes(self, world):
        plans = [BatchPlan([None] * 60, 60 // (5 * world), 3, rank=rank, world=world) for rank in range(world)]
        assert {plan.steps for plan in plans} == {5}
        for epoch in range(3):
            parts = [indices(plan, epoch) for plan in plans]
            assert sorted(i for part in parts for i in part) == list(range(60))  # so parts are disjoint

    def test_a_step_is_the_same_however_many_share_it(self):
        alone = BatchPlan([None] * 64, 12, 5)
        shared = [BatchPlan([None] * 64, 4, 5, rank=rank, world=3) for rank in range(3)]
        assert alone.steps == shared[0].steps == 5
        for whole, *parts in zip(alone.batches(0, 13), *(plan.batches(0, 13) for plan in shared), strict=True):
            assert whole == [face for part in parts for face in part]

    @pytest.mark.parametrize(("faces", "batch", "world", "steps"), [(60, 7, 1, 8), (61, 10, 3, 2), (10, 10, 1, 1)])
    def test_faces_that_fill_no_step_are_left_out(self, faces, batch, world, steps):
        plans = [BatchPlan([None] * faces, batch, 1, rank=rank, world=world) for rank in range(world)]
        seen = Counter(i for plan in plans for i in indices(plan, 0))
        assert plans[0].steps == steps and len(seen) == steps * batch * world and set(seen.values()) == {1}

    def test_left_out_faces_change_from_epoch_to_epoch(self):
        plan = BatchPlan([None] * 11, 10, 1)
        assert len({face for epoch in range(60) for face in set(range(11)) - set(indices(plan, epoch))}) > 5


class TestResuming:
    @pytest.mark.parametrize(("mode", "grouped"), [("uniform", False), ("uniform", True), ("balanced", False)])
    def test_the_tail_from_anywhere(self, mode, grouped):
        groups = np.arange(31) // 3 if grouped else None
        plan = BatchPlan(labelled(9, 1, 8, 13), 4, 2, mode, rank=1, world=2, groups=groups)
        assert plan.steps == 3
        last = 11  # in the fourth epoch
        whole = list(plan.batches(0, last))
        assert len(whole) == last and all(len(batch) == 4 for batch in whole)
        assert [batch[0][0] for batch in whole] == [step // 3 for step in range(last)]
        for first in range(last + 1):
            assert list(plan.batches(first, last)) == whole[first:]

    def test_balanced_shards_are_refused(self):
        with pytest.raises(MaskbenchError, match="balanced sampling goes through shards in no order"):
            BatchPlan([None] * 10, 5, 2, "balanced", groups=np.zeros(10, int))

    def test_nothing_to_do(self):
        plan = BatchPlan([None] * 10, 5, 2)
        assert list(plan.batches(4, 4)) == [] and list(plan.batches(5, 4)) == []

    def test_plain_numbers(self):
        batch = next(BatchPlan([None] * 10, 5, 2).batches(3, 4))
        assert all(type(epoch) is int and type(index) is int for epoch, index in batch)
        assert {epoch for epoch, _ in batch} == {1}


class TestBalanced:
    def test_every_subject_equally_often_whatever_it_has_of_faces(self):
        subjects = labelled(1, 2, 30, 7, 20)
        plan = BatchPlan(subjects, 10, 4, "balanced")
        order = plan.order(0)
        assert len(order) == 60
        assert Counter(subjects[i] for i in order) == {f"s{subject}": 12 for subject in range(5)}
        for start in range(0, 60, 5):  # in rounds: each of them once before any of them again
            assert len({subjects[i] for i in order[start : start + 5]}) == 5

    def test_a_last_round_that_is_not_whole(self):
        subjects = labelled(3, 5, 15)
        counts = Counter(subjects[i] for i in BatchPlan(subjects, 4, 4, "balanced").order(0))
        assert sum(counts.values()) == 23 and max(counts.values()) - min(counts.values()) == 1

    def test_all_faces_of_a_subject_come_up_equally_often(self):
        subjects = labelled(2, 10)
        plan = BatchPlan(subjects, 4, 4, "balanced")
        counts = Counter(int(i) for epoch in range(400) for i in plan.order(epoch))
        for subject, share in (("s0", 6 * 400 / 2), ("s1", 6 * 400 / 10)):
            for index in (i for i, name in enumerate(subjects) if name == subject):
                assert abs(counts[index] - share) < 5 * share**0.5

    def test_rounds_are_in_an_order_of_their_own(self):
        subjects = labelled(4, 4, 4, 4)
        order = [subjects[i] for i in BatchPlan(subjects, 4, 4, "balanced").order(0)]
        rounds = {tuple(order[start : start + 4]) for start in range(0, 16, 4)}
        assert len(rounds) > 1

    def test_a_face_without_a_label_is_a_subject_of_its_own(self):
        subjects = [None, None, "a", "a", "a", "0", "1"]  # names that look like the numbers of faces are others
        plan = BatchPlan(subjects, 5, 4, "balanced")
        for epoch in range(20):
            first_round = plan.order(epoch)[:5].tolist()
            assert {0, 1, 5, 6} < set(first_round) and len({2, 3, 4} & set(first_round)) == 1


class TestShards:
    def test_an_epoch_goes_through_windows_of_shards(self):
        rng = np.random.default_rng(3)
        groups = rng.integers(0, 3 * WINDOW + 2, 700) * 10  # numbers with gaps, in no order
        plan = BatchPlan([None] * 700, 10, 4, groups=groups)
        first, second = plan.order(0), plan.order(1)
        assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(700))
        assert not np.array_equal(first, second)
        left = first
        windows = 0
        while len(left):
            shards = list(dict.fromkeys(groups[left].tolist()))[:WINDOW]  # the first ones to come up
            inside = np.isin(groups, shards)
            mine = left[: inside.sum()]
            assert inside[mine].all()  # all of these shards, and nothing else, before any other
            left = left[inside.sum() :]
            windows += 1
        assert windows == 4

    def test_shards_are_mixed_within_a_window(self):
        groups = np.repeat(np.arange(WINDOW), 50)
        order = BatchPlan([None] * len(groups), 10, 4, groups=groups).order(0)
        changes = (np.diff(groups[order]) != 0).mean()
        assert changes > 0.7  # 7 in 8 by chance, almost none if they came one after the other


class TestErrors:
    def test_an_unknown_mode(self):
        with pytest.raises(MaskbenchError, match='sampling "even" is unknown; use one of uniform, balanced'):
            BatchPlan([None] * 10, 5, 1, "even")

    @pytest.mark.parametrize(("faces", "batch", "world"), [(9, 10, 1), (0, 1, 1), (39, 10, 4)])
    def test_too_few_faces_for_a_step(self, faces, batch, world):
        wanted = f"{faces} faces are too few for one step of {batch * world}; give more faces, or a smaller batch"
        with pytest.raises(MaskbenchError, match=wanted):
            BatchPlan([None] * faces, batch, 1, world=world)
