"""Who does what when work is spread over workers, and what happens when one of them dies.

Nothing here knows what a worker is (parallel.py has processes, masking/remote.py actors of Ray). One that dies is
replaced, and what it had not answered is done again; an item that was alone on a worker when it died is tried on
another one, and in the end given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from maskbench.errors import MaskbenchError

CHUNK = 8  # items per message at most: few messages, and little is lost by a crash
QUEUED_PER_WORKER = 2  # messages, so that a worker need not wait for the next
FAILED_STARTS = 3  # in a row, after which no further worker is tried


class WorkerLostError(Exception):
    """The worker of a task is gone, and the task's answer with it."""


class Crew(Protocol):
    """What starts workers and carries messages. Tasks of one worker are done in the order of ``submit``.

    ``attempts``: workers that may die of an item alone; ``advice``: what to say when none can start.
    """

    attempts: int
    advice: str

    def start(self) -> Hashable:
        """Start a worker; return at once."""
        ...

    def submit(self, worker: Hashable, items: Sequence[Any]) -> Hashable:
        """Send items to a worker; return the task."""
        ...

    def wait(self, tasks: Sequence[Hashable]) -> Hashable:
        """Wait until one of the tasks has ended, well or not, and return it."""
        ...

    def result(self, task: Hashable) -> list[Any]:
        """The answers of a task that has ended, once. Raises WorkerLostError, or what setup or function raised."""
        ...

    def stop(self, worker: Hashable) -> None:
        """Let a worker go, dead or alive; return at once."""
        ...

    def close(self) -> None:
        """See that no worker is left."""
        ...


def dispatch(crew: Crew, items: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """Give every item to a worker; yield (item, answer) in any order.

    Args:
        workers: how many to keep; no more are started than there are messages.

    Yields:
        The answer is None when the item was alone on ``crew.attempts`` workers that died.

    Raises:
        MaskbenchError: workers cannot start. What the setup or the function raises is raised too.
    """
    size = max(1, min(CHUNK, len(items) // (2 * QUEUED_PER_WORKER * workers)))
    board = _Board(crew, deque(items[start : start + size] for start in range(0, len(items), size)))
    workers = min(workers, len(board.chunks))
    try:
        while board.unfinished():
            board.fill(workers)
            yield from board.collect()
    finally:
        board.dismiss()


class _Task(NamedTuple):
    worker: Hashable
    items: Sequence[Any]  # none: asks only whether the worker lives
    deaths: int = -1  # of workers that had the task's only item alone; -1: not suspected


class _Board:
    """Who does what, and what is left to do."""

    def __init__(self, crew: Crew, chunks: deque[Sequence[Any]]) -> None:
        self.chunks = chunks
        self._crew = crew
        self._suspects: deque[tuple[Any, int]] = deque()  # items to be done alone, and how many workers died of them
        self._tasks: dict[Hashable, _Task] = {}
        self._workers: dict[Hashable, list[Hashable]] = {}  # their tasks, in order
        self._ready: set[Hashable] = set()  # workers that have answered
        self._failed_starts = 0

    def unfinished(self) -> bool:
        """Whether an item has no answer yet."""
        return bool(self.chunks or self._suspects or any(task.items for task in self._tasks.values()))

    def fill(self, workers: int) -> None:
        """Start workers where some are missing, and see that each has something to do."""
        while len(self._workers) < workers:
            worker = self._crew.start()
            self._workers[worker] = []
            self._send(_Task(worker, ()))
        for worker in self._ready:
            self._feed(worker)

    def _feed(self, worker: Hashable) -> None:
        queued = self._workers[worker]
        if self._suspects:  # alone, once the worker has done the rest: whoever kills it then is the culprit
            if not queued:
                item, deaths = self._suspects.popleft()
                self._send(_Task(worker, [item], deaths))
            return
        if any(self._tasks[task].deaths >= 0 for task in queued):
            return
        while self.chunks and len(queued) < QUEUED_PER_WORKER:
            self._send(_Task(worker, self.chunks.popleft()))

    def _send(self, task: _Task) -> None:
        name = self._crew.submit(task.worker, task.items)
        self._tasks[name] = task
        self._workers[task.worker].append(name)

    def collect(self) -> Iterator[tuple[Any, Any]]:
        """Wait for one task; yield what it brings."""
        name = self._crew.wait(list(self._tasks))
        worker = self._tasks[name].worker
        try:
            answers = self._crew.result(name)
        except WorkerLostError:
            yield from self._bury(worker)
            return
        self._ready.add(worker)
        self._failed_starts = 0
        self._workers[worker].remove(name)
        yield from zip(self._tasks.pop(name).items, answers, strict=True)

    def _bury(self, worker: Hashable) -> Iterator[tuple[Any, Any]]:
        """A worker is lost: its first task without answer may be to blame, the later ones had not begun."""
        blamed = False
        self._ready.discard(worker)
        self._crew.stop(worker)
        for name in self._workers.pop(worker):
            task = self._tasks.pop(name)
            try:
                yield from zip(task.items, self._crew.result(name), strict=True)
            except WorkerLostError as error:
                if blamed:
                    self.chunks.appendleft(task.items)
                else:
                    yield from self._blame(task, error)
                blamed = True

    def _blame(self, task: _Task, error: WorkerLostError) -> Iterator[tuple[Any, Any]]:
        if not task.items:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                last = str(error).strip().split("\n")[-1]
                raise MaskbenchError(f"worker processes cannot start ({last}); {self._crew.advice}")
        if task.deaths + 1 >= self._crew.attempts:
            yield task.items[0], None
        else:
            self._suspects.extend((item, task.deaths + 1) for item in task.items)

    def dismiss(self) -> None:
        """Let every worker go."""
        for worker in self._workers:
            self._crew.stop(worker)
        self._crew.close()
