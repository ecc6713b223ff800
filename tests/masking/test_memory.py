"""Memory must not grow with the inputs; by the functions of benchmarks/memory.py, which does the same at full size."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tarfile
from pathlib import Path
from subprocess import PIPE

import pytest

FEW, MANY = 600, 6000
FULL_FEW, FULL_MANY = 1000, 20000  # the benchmark's


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("memory")


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True], ids=["folder", "shards"])
def test_ten_times_the_files_take_no_more_memory(memory, tmp_path: Path, shards: bool):
    pictures = memory.crops(tmp_path / "pictures")
    few, many = (memory.masked(tmp_path, pictures, count, 2, shards) for count in (FEW, MANY))
    assert (few["masked"], many["masked"]) == (FEW, MANY)
    ratios = memory.ratios(few, many)
    assert set(ratios) == {"leader", "worker"}
    # As strict as the benchmark: at full size there are more further files than here, which would need as much each.
    further = (FULL_MANY - FULL_FEW) / (MANY - FEW)
    assert max(1 + (ratio - 1) * further for ratio in ratios.values()) <= memory.LIMIT, ratios


def test_the_inputs_are_what_they_say(memory, tmp_path: Path):
    pictures = memory.crops(tmp_path / "pictures")
    assert len({path.read_bytes() for path in pictures}) == len(pictures) == memory.DISTINCT
    folder = memory.as_folder(tmp_path / "folder", pictures, 130)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [path.name for path in found] == [f"{number:06d}.jpg" for number in range(130)]
    assert found[57].samefile(pictures[7])
    shards = memory.as_shards(tmp_path / "shards", pictures, memory.PER_SHARD + 3)
    sizes = []
    for path in sorted(shards.iterdir()):
        with tarfile.open(path) as tar:
            sizes.append(len(tar.getnames()))
    assert sizes == [memory.PER_SHARD, 3]


def test_a_peak_is_seen_after_it_has_passed(memory):
    code = "block = b'x' * (100 << 20); del block; print('passed', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, start_new_session=True) as run:
        assert run.stdout.readline() == b"passed\n"
        peak, of_another_group = memory.peak_of(run.pid, run.pid), memory.peak_of(run.pid, run.pid + 1)
        run.stdin.write(b"\n")
    assert 100 * 1024 <= peak <= 150 * 1024 and of_another_group == 0
    assert memory.peak_of(run.pid, run.pid) == 0  # it has ended


def test_ratios_that_grow_are_told(memory):
    few, many = {"leader": 100.0, "worker": 200.0}, {"leader": 150.0, "worker": 200.0}
    assert memory.ratios(few, many) == {"leader": 1.5, "worker": 1.0}
    assert memory.ratios({"leader": 100.0, "worker": 0.0}, many) == {"leader": 1.5}  # one worker: it is the leader
