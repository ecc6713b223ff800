"""Batch work spread over processes, in which one item may crash its worker and the others still finish."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NoReturn, TypeVar

from maskbench.dispatch import WorkerLostError, dispatch

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Setup = TypeVar("Setup", bound=Callable[..., Any])
# The processes are the parallelism: threads of each for its matrices would fight for the processors.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE = 10.0  # seconds for a worker to finish what it has begun, before it is killed


def default_workers() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread(openmp: bool = False) -> AbstractContextManager:
    """Compute matrices on one thread, for good or for the length of a ``with``.

    How a product is divided among threads decides the last bits of it: their number must not decide results. And for
    matrices as small as ours more threads take longer.

    Args:
        openmp: loops that OpenMP divides too, as scikit-learn has them.
    """
    import scipy.linalg  # noqa: F401  (it brings a BLAS of its own, and only what is loaded is limited)
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api=None if openmp else "blas")


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
        WorkerFaultError: an exception of a worker cannot be sent. One that can is raised itself; both have the
            worker's traceback as a note.
    """
    if workers <= 1:
        function = setup(*arguments)
        yield from ((item, function(item)) for item in items)
        return
    yield from dispatch(Processes(setup, arguments), items, workers)


class WorkerFaultError(RuntimeError):
    """What a worker raised and could not send: the message names it, a note has its traceback."""


class Processes:
    """Workers on this machine, each with a pipe.

    They are copies (forks) of one process that has imported what ``setup`` needs and, where ``setup`` is marked as
    ``forkable``, has called it: so a worker more costs next to nothing, and what they share is in memory once. That
    process is started anew for each iteration and does nothing else. The caller's own process is not copied: its
    copies would inherit the locks of threads that they do not have.
    """

    attempts = 2
    advice = "in a script, call under if __name__ == '__main__':, or use workers=1"

    def __init__(self, setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
        self._work = (setup, arguments)
        self._template: tuple[Any, Connection] | None = None
        self._sent: dict[Connection, deque[int]] = {}  # tasks that a living worker has not answered
        self._pids: dict[Connection, int] = {}  # of workers that have said it
        self._results: dict[int, list[Any] | Exception] = {}
        self._leaving: list[Connection] = []
        self._count = 0

    def start(self) -> Hashable:
        """A copy of the template, which is started if need be; the worker's name is our end of its pipe."""
        ours, theirs = multiprocessing.Pipe()
        self._sent[ours] = deque()
        for _ in range(2):
            process, control = self._template = self._template or _start_template(*self._work)
            try:
                send_handle(control, theirs.fileno(), process.pid)
                break
            except OSError:  # it died; a second one that dies at once is a start that failed
                self._end_template()
        theirs.close()  # so that the pipe ends with the worker
        return ours

    def submit(self, worker: Any, items: Sequence[Any]) -> Hashable:
        """A message through the pipe."""
        self._count += 1
        if worker not in self._sent:
            self._results[self._count] = WorkerLostError("it has ended")
            return self._count
        self._sent[worker].append(self._count)
        try:
            worker.send(items)
        except OSError:
            pass  # it is dead: reading its pipe to the end will tell
        return self._count

    def wait(self, tasks: Sequence[Hashable]) -> Hashable:
        """Reads whatever pipes have something to say until one of the tasks has a result."""
        while True:
            for task in tasks:
                if task in self._results:
                    return task
            for pipe in wait(list(self._sent)):
                self._read(pipe)

    def _read(self, worker: Any) -> None:
        try:
            message = worker.recv()
        except (OSError, EOFError, pickle.UnpicklingError):  # it died, perhaps in the middle of a message
            error = WorkerLostError("it ended without a word")
            self._results |= dict.fromkeys(self._sent.pop(worker), error)
            return
        if worker not in self._pids:
            self._pids[worker] = message
        else:
            self._results[self._sent[worker].popleft()] = message

    def result(self, task: Any) -> list[Any]:
        """What the worker has sent."""
        result = self._results[task]
        if isinstance(result, Exception):
            raise result
        del self._results[task]
        return result

    def stop(self, worker: Any) -> None:
        """The worker may finish what it has."""
        if self._sent.pop(worker, None) is None:
            worker.close()  # it is dead
            return
        try:
            worker.send(None)
        except OSError:
            pass
        self._leaving.append(worker)

    def close(self) -> None:
        """Waits for the workers that were stopped; one that takes too long is killed."""
        limit = time.monotonic() + PATIENCE
        for worker in self._leaving:
            self._await(worker, limit)
            worker.close()
        self._leaving.clear()
        self._end_template()

    def _await(self, worker: Any, limit: float) -> None:
        """Read a pipe to its end."""
        try:
            while worker.poll(max(0.0, limit - time.monotonic())):
                message = worker.recv()
                self._pids.setdefault(worker, message)
        except (OSError, EOFError, pickle.UnpicklingError):
            return
        if worker in self._pids:
            os.kill(self._pids[worker], signal.SIGKILL)  # its end of the pipe is open: the number is still its own

    def _end_template(self) -> None:
        if self._template is not None:
            process, control = self._template
            control.close()
            process.join(PATIENCE)
            process.kill()
            process.join()
            process.close()
            self._template = None


def forkable(setup: Setup) -> Setup:
    """Mark a setup that starts no threads: it is called once, and workers are copies of the process that called it."""
    setup.forkable = True  # type: ignore[attr-defined]
    return setup


def _start_template(setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_be_template, args=(theirs, setup, arguments), daemon=True
    )
    with _environment(dict.fromkeys(ONE_THREAD, "1")):
        process.start()
    theirs.close()
    return process, ours


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that are not set, for a process that is started meanwhile: some are read when it starts only."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _be_template(control: Connection, setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """The life of the template: a fork for every handle of a pipe that comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers: their pipes tell when they end
    make: Callable[[], Callable[[Any], Any]] = partial(setup, *arguments)
    if getattr(setup, "forkable", False):
        make = _once(make)
    while True:
        try:
            handle = recv_handle(control)
        except (OSError, EOFError, RuntimeError):  # the parent is done, or dead
            _leave()
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _serve(Connection(handle), make)
        os.close(handle)


def _once(make: Callable[[], Callable[[Any], Any]]) -> Callable[[], Callable[[Any], Any]]:
    """Call at once; what it returned or raised is then returned or raised at every call."""
    try:
        function = make()
    except Exception as error:
        failure = error

        def fail() -> Callable[[Any], Any]:
            raise failure

        return fail
    return lambda: function


def _serve(pipe: Connection, make: Callable[[], Callable[[Any], Any]]) -> NoReturn:
    """The life of a worker."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function: Callable[[Any], Any] | None = None
    try:
        pipe.send(os.getpid())
        while (items := pipe.recv()) is not None:
            try:
                function = function or make()
                answer = pickle.dumps([function(item) for item in items])
            except Exception as error:  # the parent raises it
                answer = _packed(error)
            pipe.send_bytes(answer)
    except (EOFError, OSError):  # the parent is dead
        pass
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave()


def _packed(error: Exception) -> bytes:
    """An exception for the parent, with its traceback, which cannot be sent, as a note. One that cannot be sent, or
    not be made again from what was sent, is told by another."""
    said = "".join(traceback.format_exception_only(error))
    origin = f"In a worker process:\n{''.join(traceback.format_exception(error))}"
    try:
        error.add_note(origin)
        data = pickle.dumps(error)
        if type(pickle.loads(data)) is type(error):
            return data
    except Exception:  # whatever its own methods make of it
        pass
    stand_in = WorkerFaultError(" ".join(said.split()))
    stand_in.add_note(origin)
    return pickle.dumps(stand_in)


def _leave(code: int = 0) -> NoReturn:
    """End without taking the libraries down in order, which takes longer than a short run."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with_parent() -> None:
    """A worker whose leading process is killed writes no more: another run may begin at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
