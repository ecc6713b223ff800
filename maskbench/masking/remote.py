"""Workers on a Ray cluster, by the same rules as those on one machine (dispatch.py).

A worker there may run in another folder and on another machine: paths are sent whole, and each machine says first
whether it would make the same pixels.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskbench.datasets.folder import InputFile
from maskbench.datasets.inputs import FolderInputs, ShardInputs
from maskbench.dispatch import WorkerLostError, dispatch
from maskbench.errors import MaskbenchError
from maskbench.masking.outputs import Writer
from maskbench.masking.synthesis import Answer, SynthesisConfig, config_dict, make_worker

COMPARED = ("versions", "masks")  # the tables of a run's configuration in which all machines must agree


def sent(
    inputs: FolderInputs | ShardInputs, writer: Writer, config: SynthesisConfig, cache: Path | None
) -> tuple[Callable[..., Callable[[InputFile], Answer]], tuple[Any, ...]]:
    """``synthesis.make_worker`` and its arguments for other machines: the setup and arguments for ``map_items``."""
    config = replace(config, masks_dirs=tuple(os.path.abspath(folder) for folder in config.masks_dirs))
    writer = replace(writer, root=os.path.abspath(writer.root))
    cache = None if cache is None else Path(os.path.abspath(cache))
    return make_like_worker, (surroundings(config), inputs.absolute(), writer, config, cache)


def make_like_worker(
    expected: Mapping[str, str], inputs: FolderInputs | ShardInputs, writer: Writer, config: SynthesisConfig,
    cache: Path | None,
) -> Callable[[InputFile], Answer]:  # fmt: skip
    """``synthesis.make_worker``, on a machine whose ``surroundings`` are the expected ones.

    Raises:
        MaskbenchError: they are not, or a library or a mask is missing; the message names the machine and the remedy.
    """
    host = socket.gethostname()
    try:
        found = surroundings(config)
    except ImportError as error:  # of which importlib.metadata's own is one
        raise MaskbenchError(f"machine {host}: lacks {error}; install the same maskbench on every machine") from error
    except MaskbenchError as error:
        raise MaskbenchError(f"machine {host}: {error}; every machine must see the same folders") from error
    for name in sorted({*expected, *found}):
        if found.get(name) != expected.get(name):
            raise MaskbenchError(
                f"machine {host}: has {found.get(name, 'no')} {name}, this one {expected.get(name, 'no')}; install the "
                "same maskbench, libraries and masks on every machine of the cluster"
            )
    return make_worker(inputs, writer, config, cache, share_processors=True)


def surroundings(config: SynthesisConfig) -> dict[str, str]:
    """What of a machine decides the pixels: the versions of maskbench and the libraries, the digests of the masks."""
    resolved = config_dict(config)
    return {"maskbench": resolved["maskbench"]} | {
        f"{kind.removesuffix('s')} {name}": value for kind in COMPARED for name, value in resolved[kind].items()
    }


def map_items(
    setup: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...], items: Sequence[Any], workers: int,
    address: str | None = None,
) -> Iterator[tuple[Any, Any]]:  # fmt: skip
    """``parallel.map_items`` on a Ray cluster.

    Args:
        workers: 0 for one on every processor of the cluster.
        address: of a running cluster; None takes the one that this process has joined, or else starts one on this
            machine, for the length of the iteration.

    Raises:
        MaskbenchError: ray is not installed, the cluster cannot be reached or is another one than this process has
            joined, or workers cannot start.
    """
    ray = check_installed()
    own = not ray.is_initialized()
    if own:
        _connect(ray, address, workers)
    elif address not in (None, "auto"):
        _check_same(ray, address)
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


def _check_same(ray: Any, address: str) -> None:
    """Raise MaskbenchError unless the cluster that this process has joined is the one at the address."""
    joined = ray.get_runtime_context().gcs_address
    if _place(address, ray) != _place(joined, ray):
        raise MaskbenchError(
            f"ray cluster {address}: this process has already joined the one at {joined}; leave the address away, or "
            "call ray.shutdown() first"
        )


def _place(address: str, ray: Any) -> tuple[str, str]:
    """Host and port, the host as a number; this machine by the number that its cluster has for it."""
    host, _, port = address.rpartition(":")
    try:
        host = socket.gethostbyname(host)
    except OSError:  # ray://HOST too, whose port is not the cluster's own
        pass
    return ray.util.get_node_ip_address() if host.startswith("127.") else host, port


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
