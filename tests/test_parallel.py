from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

import pytest

from maskbench.dispatch import CHUNK
from maskbench.errors import MaskbenchError
from maskbench.parallel import WorkerFaultError, default_workers, forkable, map_items, one_blas_thread


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


def setup_kill_once(folder: str):
    """Kills its worker at the first sight of every tenth item: a machine that is lost, not an item's fault."""

    def work(value: int) -> int:
        mark = Path(folder) / str(value)
        if value % 10 == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    return work


def test_a_worker_that_is_killed_by_chance_costs_no_item(tmp_path: Path):
    items = list(range(1, 41))
    assert sorted(map_items(setup_kill_once, (str(tmp_path),), items, 2)) == [(value, value) for value in items]


def setup_fails(message: str):
    raise LookupError(message)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_setup_is_raised_and_blames_no_item(workers: int):
    with pytest.raises(LookupError, match="nothing there"):
        list(map_items(setup_fails, ("nothing there",), list(range(40)), workers))


def test_workers_that_cannot_start_blame_no_item_either(tmp_path: Path):
    """A script without the usual guard: its workers would run it again, and die."""
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.test_parallel import *\n"
        "print('answers', len(list(map_items(setup_double, (0,), list(range(40)), 2))))\n"
    )
    root = Path(__file__).resolve().parents[1]
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert ended.returncode != 0 and "answers" not in ended.stdout
    assert "worker processes cannot start" in ended.stderr and "__main__" in ended.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_ends_the_iteration(workers: int):
    with pytest.raises(ValueError, match="seventy-seven"):
        list(map_items(setup_double, (0,), [1, 77, 2], workers))


@forkable
def setup_counted(folder: str):
    """Notes each call; answers with the process that made the function and the one that runs it."""
    maker = os.getpid()
    (Path(folder) / f"{maker}.{time.monotonic_ns()}").touch()

    def work(value: int) -> tuple[int, int]:
        if value == 13 and len(list(Path(folder).iterdir())) == 1:
            (Path(folder) / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return maker, os.getpid()

    return work


def test_a_forkable_setup_is_called_once_for_all_workers_and_their_successors(tmp_path: Path):
    answers = dict(map_items(setup_counted, (str(tmp_path),), list(range(40)), 3))
    makers, runners = zip(*answers.values(), strict=True)
    assert len(set(makers)) == 1 and set(makers).isdisjoint(runners) and 3 <= len(set(runners)) <= 4
    assert len([path for path in tmp_path.iterdir() if path.name != "killed"]) == 1 and len(answers) == 40


@forkable
def setup_fails_forkable(message: str):
    raise LookupError(message)


def test_an_error_of_a_forkable_setup_is_raised_too():
    with pytest.raises(LookupError, match="nothing there"):
        list(map_items(setup_fails_forkable, ("nothing there",), list(range(40)), 2))


@forkable
def setup_dies():
    os._exit(3)


def test_a_setup_that_dies_blames_no_item():
    with pytest.raises(MaskbenchError, match="worker processes cannot start"):
        list(map_items(setup_dies, (), list(range(40)), 2))


def test_no_process_is_left(tmp_path: Path):
    before = multiprocessing.active_children()
    answers = dict(map_items(setup_counted, (str(tmp_path),), list(range(20)), 2))
    assert multiprocessing.active_children() == before
    numbers = {pid for pair in answers.values() for pid in pair}
    assert not still_there(numbers)


def still_there(pids: Iterable[int], seconds: float = 5.0) -> list[int]:
    """Processes that do not end within the time: a pipe closes a moment before its process is gone."""
    limit = time.monotonic() + seconds
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > limit:
            break
        time.sleep(0.01)
    return left


def setup_unsendable():
    """Returns and raises what cannot be pickled, or not be made again from what was."""

    def work(value: int):
        if value == 7:
            raise ValueError("seven", lambda: None)
        if value == 8:
            raise PickyError("eight", 8)
        if value == 9:
            raise MaskbenchError("nine")
        return (lambda: None) if value == 5 else value

    return work


class PickyError(Exception):
    """Pickled without complaint, and then cannot be unpickled."""

    def __init__(self, word: str, number: int) -> None:
        super().__init__(f"{word}\n({number})")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (5, Exception, "[Cc]an't .*pickle"),
        (7, WorkerFaultError, r"ValueError: \('seven', <function"),
        (8, WorkerFaultError, r"test_parallel.PickyError: eight \(8\)$"),
        (9, MaskbenchError, "^nine$"),
    ],
)
def test_what_a_worker_raises_arrives_with_its_traceback(value: int, kind: type[Exception], message: str):
    with pytest.raises(kind) as caught:
        list(map_items(setup_unsendable, (), [1, value, 2], 2))
    assert re.search(message, str(caught.value))
    told = "".join(traceback.format_exception(caught.value))
    assert "In a worker process:" in told and told.count("parallel.py") >= 2
    assert value == 5 or "in work\n" in told.split("In a worker process:")[1]


def setup_large():
    """Answers larger than a pipe holds."""
    return lambda value: bytes([value]) * 3_000_000


def test_large_answers_do_not_block():
    answers = dict(map_items(setup_large, (), list(range(20)), 2))
    assert answers == {value: bytes([value]) * 3_000_000 for value in range(20)}


def test_stopping_half_way_ends_the_workers(tmp_path: Path):
    answers = map_items(setup_report, (str(tmp_path),), list(range(100)), 2)
    next(answers)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    answers.close()
    assert pids and not still_there(pids)


def setup_report(folder: str):
    """Leaves a file with its process number, then takes its time."""

    def report(value: int) -> int:
        (Path(folder) / str(os.getpid())).touch()
        time.sleep(0.2)
        return value

    return report


def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    code = "from tests.test_parallel import *; list(map_items(setup_report, (sys.argv[1],), list(range(999)), 2))"
    root = Path(__file__).resolve().parents[1]
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2 and not still_there(workers, limit - time.monotonic())


def test_there_is_a_worker():
    assert default_workers() >= 1


@pytest.mark.parametrize("openmp", [False, True])
def test_matrices_on_one_thread(openmp: bool):
    """Every BLAS that is loaded, SciPy's own too, and only within the ``with``."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if openmp or pool["user_api"] == "blas"}

    one_blas_thread().restore_original_limits()  # what it loads is loaded
    assert "scipy.linalg" in sys.modules
    with threadpool_limits(2, user_api=None if openmp else "blas"):
        before = threads()
        with one_blas_thread(openmp):
            assert threads() == {1}
        assert threads() == before
