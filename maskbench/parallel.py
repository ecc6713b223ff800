"""Batch work spread over processes, in which one item may crash its worker and the others still finish.

Who does what, and what happens when a worker dies, is decided in ``dispatch``, which knows nothing of processes: one
that dies is replaced, and what it had not answered is done again; an item that was alone on a worker when it died is
tried on another one, and in the end given up. ``Processes`` are workers on this machine; masking/remote.py has others.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol, TypeVar

from maskbench.errors import MaskbenchError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
CHUNK = 8  # items per message at most: few messages, and little is lost by a crash
QUEUED_PER_WORKER = 2  # messages, so that a worker need not wait for the next
FAILED_STARTS = 3  # in a row, after which no further worker is tried
PATIENCE = 10.0  # seconds for a worker to finish what it has begun, before it is killed


def default_workers() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_items(
    setup: Callable[..., Callable[[Item], Answer]], arguments: tuple[Any, ...], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Answer | None]]:
    """Apply a function to items, in this process for one worker, else in ``workers`` processes; in any order.

    Args:
        setup: importable; called once in each process with ``arguments``, returns the function to apply. An exception
            of either ends the iteration.
        items: picklable and small, as are the answers.

    Yields:
        (item, answer); the answer is None when the item killed two worker processes that it had to itself.

    Raises:
        MaskbenchError: worker processes cannot start.
    """
    if workers <= 1:
        function = setup(*arguments)
        yield from ((item, function(item)) for item in items)
        return
    yield from dispatch(Processes(setup, arguments), items, workers)


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


class Processes:
    """Workers on this machine, each with a pipe."""

    attempts = 2
    advice = "in a script, call under if __name__ == '__main__':, or use workers=1"

    def __init__(self, setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
        # Not fork: a forked child would inherit the locks of threads that it does not have.
        self._context = multiprocessing.get_context("spawn")
        self._work = (setup, arguments)
        self._pipes: dict[Any, Connection] = {}
        self._processes: dict[Connection, Any] = {}
        self._sent: dict[Any, deque[int]] = {}  # tasks that a process has not answered
        self._results: dict[int, list[Any] | Exception] = {}
        self._leaving: list[Any] = []
        self._count = 0

    def start(self) -> Hashable:
        """A process, which sets itself up at once."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._work), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends with the process
        self._pipes[process], self._processes[ours], self._sent[process] = ours, process, deque()
        return process

    def submit(self, worker: Any, items: Sequence[Any]) -> Hashable:
        """A message through the pipe."""
        self._count += 1
        self._sent[worker].append(self._count)
        try:
            self._pipes[worker].send(items)
        except OSError:
            pass  # it is dead: reading its pipe to the end will tell
        return self._count

    def wait(self, tasks: Sequence[Hashable]) -> Hashable:
        """Reads whatever pipes have something to say until one of the tasks has a result."""
        while True:
            for task in tasks:
                if task in self._results:
                    return task
            for pipe in wait(list(self._processes)):
                self._read(pipe)

    def _read(self, pipe: Any) -> None:
        worker = self._processes[pipe]
        try:
            result = pipe.recv()
        except (OSError, EOFError, pickle.UnpicklingError):  # it died, perhaps in the middle of a message
            self._lose(worker)
        else:
            self._results[self._sent[worker].popleft()] = result

    def _lose(self, worker: Any) -> None:
        worker.join(PATIENCE)
        error = WorkerLostError(f"exit code {worker.exitcode}")
        self._results |= dict.fromkeys(self._sent[worker], error)
        self._sent[worker].clear()
        self._processes.pop(self._pipes[worker], None)

    def result(self, task: Any) -> list[Any]:
        """What the process has sent."""
        result = self._results[task]
        if isinstance(result, Exception):
            raise result
        del self._results[task]
        return result

    def stop(self, worker: Any) -> None:
        """The end of the pipe tells the process to end. It may finish what it has begun."""
        pipe = self._pipes.pop(worker)
        self._processes.pop(pipe, None)
        pipe.close()
        self._leaving.append(worker)

    def close(self) -> None:
        """Waits for the processes that were stopped; one that takes too long is killed."""
        for worker in self._leaving:
            worker.join(PATIENCE)
            worker.kill()
            worker.join()
            worker.close()
        self._leaving.clear()


def _serve(pipe: Connection, setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function: Callable[[Any], Any] | None = None
    try:
        while True:
            items = pipe.recv()
            try:
                function = function or setup(*arguments)
                answer: Any = [function(item) for item in items]
            except Exception as error:  # the parent raises it
                answer = error
            _send(pipe, answer)
    except (EOFError, OSError):  # the parent is done, or dead
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # taking the libraries down in order takes longer than a short run


def _send(pipe: Connection, answer: Any) -> None:
    try:
        data = pickle.dumps(answer)
    except Exception as error:  # an exception that holds what cannot be sent
        data = pickle.dumps(MaskbenchError(f"an answer of a worker cannot be sent: {answer!r} ({error})"))
    pipe.send_bytes(data)


def _end_with_parent() -> None:
    """A worker whose parent is killed writes no more: another run may begin at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
