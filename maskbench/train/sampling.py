"""Which faces make up which step: a function of (seed, epoch, step, rank), so that training can go on anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maskbench.digest import generator
from maskbench.errors import MaskbenchError

MODES = ("uniform", "balanced")


@dataclass(frozen=True)
class BatchPlan:
    """The batches of all epochs.

    Attributes:
        subjects: (N,) a label for each face, or None where it has none: such a face is a subject of its own.
        batch: faces in a step of one process.
        seed: of the order.
        mode: "uniform": every face once an epoch; "balanced": every subject equally often, whatever it has of faces.
        rank, world: this process and how many there are; each gets its own part of every step.
        groups: (N,) int, which shard a face lies in: an epoch then goes shard by shard, in an order of its own, mixed
            within windows of ``WINDOW`` shards, so that a set on a slow disk is read through.
    """

    subjects: Sequence[str | None]
    batch: int
    seed: int
    mode: str = "uniform"
    rank: int = 0
    world: int = 1
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise MaskbenchError(f'sampling "{self.mode}" is unknown; use one of {", ".join(MODES)}')
        if self.mode == "balanced" and self.groups is not None:
            raise MaskbenchError("balanced sampling goes through shards in no order; use sampling: uniform for shards")
        if len(self.subjects) < self.batch * self.world:
            raise MaskbenchError(
                f"{len(self.subjects)} faces are too few for one step of {self.batch * self.world}; "
                "give more faces, or a smaller batch"
            )

    @property
    def steps(self) -> int:
        """Steps of an epoch; faces that do not fill the last one are left out of it."""
        return len(self.subjects) // (self.batch * self.world)

    def order(self, epoch: int) -> np.ndarray:
        """All faces of an epoch in order: (N,) int64."""
        rng = generator(self.seed, str(epoch), "order")
        if self.mode == "balanced":
            return self._balanced(rng)
        return rng.permutation(len(self.subjects)) if self.groups is None else self._by_shard(rng, self.groups)

    def _balanced(self, rng: np.random.Generator) -> np.ndarray:
        names = [f"\0{i}" if subject is None else subject for i, subject in enumerate(self.subjects)]
        _, label = np.unique(names, return_inverse=True)
        sizes, by_subject = np.bincount(label), np.argsort(label, kind="stable")
        starts = np.cumsum(sizes) - sizes
        rounds = -(-len(label) // len(sizes))  # over all subjects, a face of each at a time
        turns = np.concatenate([rng.permutation(len(sizes)) for _ in range(rounds)])[: len(label)]
        return by_subject[starts[turns] + (rng.random(len(turns)) * sizes[turns]).astype(np.int64)]

    def _by_shard(self, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
        shards = rng.permutation(np.unique(groups))
        windows = [shards[start : start + WINDOW] for start in range(0, len(shards), WINDOW)]
        return np.concatenate([rng.permutation(np.flatnonzero(np.isin(groups, window))) for window in windows])

    def batches(self, first: int, last: int) -> Iterator[list[tuple[int, int]]]:
        """(epoch, index) of steps ``first`` to ``last`` - 1 of this process, counted over all epochs."""
        step, whole = first, self.batch * self.world
        while step < last:
            epoch, begin = divmod(step, self.steps)
            order = self.order(epoch)
            for within in range(begin, min(self.steps, begin + last - step)):
                mine = order[within * whole :][self.rank * self.batch : (self.rank + 1) * self.batch]
                yield [(epoch, int(index)) for index in mine]
                step += 1


WINDOW = 8
