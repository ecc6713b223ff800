"""Workers on a Ray cluster, by the same rules as those on one machine (dispatch.py)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from maskbench.dispatch import WorkerLostError, dispatch
from maskbench.errors import MaskbenchError


def map_items(
    setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...], items: Sequence[Any], workers: int,
    address: str | None = None,
) -> Iterator[tuple[Any, Any]]:  # fmt: skip
    """``parallel.map_items`` on a Ray cluster.

    Args:
        workers: 0 for one on every processor of the cluster.
        address: of a running cluster; None starts one on this machine, for the length of the iteration.

    Raises:
        MaskbenchError: ray is not installed, the cluster cannot be reached, or workers cannot start.
    """
    ray = check_installed()
    own = not ray.is_initialized()
    if own:
        _connect(ray, address, workers)
    try:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from dispatch(RayCrew(ray, setup, arguments), items, count)
    finally:
        if own:
            ray.shutdown()


def check_installed() -> Any:
    """The module ray. Raises MaskbenchError, in one line, where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise MaskbenchError(f"ray cannot be imported ({error}); install maskbench[ray]") from error
    return ray


def _connect(ray: Any, address: str | None, workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            _knock(address)
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", num_cpus=workers or None, include_dashboard=False, **quiet)
    except Exception as error:  # of many kinds
        first = str(error).strip().split("\n")[0]
        raise MaskbenchError(f"ray cluster {address or 'on this machine'}: {first}; check the address") from error


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens: Ray itself goes on trying for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


class RayCrew:
    """Actors of Ray, one processor each."""

    attempts = 3  # one more than on one machine: here machines are lost, too
    advice = "install the same maskbench on every machine of the cluster"

    def __init__(self, ray: Any, setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
        self._ray = ray
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        self._arguments = ray.put((setup, arguments))

    def start(self) -> Hashable:
        """An actor, which sets itself up at its first task."""
        return self._actor.remote(self._arguments)

    def submit(self, worker: Any, items: Sequence[Any]) -> Hashable:
        """A call of the actor's only method."""
        return worker.apply.remote(list(items))

    def wait(self, tasks: Sequence[Hashable]) -> Hashable:
        """By ``ray.wait``."""
        return self._ray.wait(tasks, num_returns=1)[0][0]

    def result(self, task: Hashable) -> list[Any]:
        """By ``ray.get``; an exception of ours comes back as itself."""
        kinds = self._ray.exceptions
        lost = (kinds.RayActorError, kinds.WorkerCrashedError, kinds.NodeDiedError, kinds.ObjectLostError)
        try:
            return self._ray.get(task)
        except (*lost, kinds.OutOfMemoryError) as error:
            raise WorkerLostError(str(error)) from error
        except kinds.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None

    def stop(self, worker: Any) -> None:
        """By ``ray.kill``."""
        self._ray.kill(worker, no_restart=True)


    def close(self) -> None:
        """Nothing to wait for."""


class _Worker:
    """What an actor runs. The setup waits for the first task: an exception of an actor's start looks like a death."""

    def __init__(self, work: tuple[Callable[..., Callable[[Any], Any]], tuple[Any, ...]]) -> None:
        self._work = work
        self._function: Callable[[Any], Any] | None = None

    def apply(self, items: list[Any]) -> list[Any]:
        """The answers of some items."""
        if self._function is None:
            setup, arguments = self._work
            self._function = setup(*arguments)
        return [self._function(item) for item in items]
