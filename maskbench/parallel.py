"""A process pool for batch work in which one item may crash its worker and the others still finish."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from maskbench.errors import MaskbenchError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
CHUNK = 8  # items per message: few messages, and little is lost by a crash
QUEUED_PER_WORKER = 3


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
        items: picklable, as are the answers.

    Yields:
        (item, answer); the answer is None when the item killed a worker process that it had to itself.

    Raises:
        MaskbenchError: worker processes cannot start.
    """
    if workers <= 1:
        function = setup(*arguments)
        yield from ((item, function(item)) for item in items)
        return
    queue = deque(items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
    while queue:
        suspects: list[Item] = []
        yield from _run(setup, arguments, queue, min(workers, len(queue)), suspects)
        yield from _run_one_by_one(setup, arguments, suspects)


def _run(setup, arguments, queue: deque, workers: int, suspects: list) -> Iterator[tuple[Any, Any]]:
    """Empty the queue through one pool. If a worker dies, what was in flight goes to ``suspects``."""
    pool, ready = _executor(setup, arguments, workers)
    flying: dict[Future, Sequence] = {}
    try:
        while queue or flying:
            while queue and len(flying) < workers * QUEUED_PER_WORKER:
                flying[pool.submit(_apply, queue[0])] = queue[0]
                queue.popleft()
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                answers = future.result()
                yield from zip(flying.pop(future), answers, strict=True)
    except BrokenProcessPool:
        _check_started(ready)
        suspects += [item for chunk in flying.values() for item in chunk]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_one_by_one(setup, arguments, suspects: list) -> Iterator[tuple[Any, Any]]:
    """One worker, one item in flight: whichever breaks the pool is the culprit."""
    pool = None
    for item in suspects:
        if pool is None:
            pool, ready = _executor(setup, arguments, 1)
        try:
            answer = pool.submit(_apply, [item]).result()[0]
        except BrokenProcessPool:
            _check_started(ready)
            pool.shutdown()
            pool, answer = None, None
        yield item, answer
    if pool:
        pool.shutdown()


def _executor(setup, arguments, workers: int) -> tuple[ProcessPoolExecutor, Future]:
    """A pool, and a future that is done well once a worker has started."""
    # Not fork: a forked child would inherit the locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_initialise, initargs=(setup, arguments))
    return pool, pool.submit(_apply, [])


def _check_started(ready: Future) -> None:
    """Tell an item that kills workers from workers that never lived, which would blame every item."""
    if not ready.done() or isinstance(ready.exception(), BrokenProcessPool):
        raise MaskbenchError(
            "worker processes cannot start; in a script, call under if __name__ == '__main__':, or use workers=1"
        )


_function: Callable[[Any], Any] | None = None  # set once in each worker process
_setup_error: Exception | None = None


def _initialise(setup, arguments) -> None:
    global _function, _setup_error
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _function = setup(*arguments)
    except Exception as error:  # an initializer that raises would look like a crash; the first task raises it instead
        _setup_error = error


def _end_with_parent() -> None:
    """A killed parent closes no queue: without this its workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _apply(chunk: Sequence) -> list:
    if _setup_error is not None:
        raise _setup_error
    assert _function is not None
    return [_function(item) for item in chunk]
