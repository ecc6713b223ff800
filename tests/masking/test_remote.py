from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from test_dispatch import FakeCrew
from test_parallel import setup_double, setup_kill_once

from maskbench.digest import file_sha256
from maskbench.dispatch import dispatch
from maskbench.errors import MaskbenchError
from maskbench.masking import remote
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig

ALIGNED = SynthesisConfig(mask="surgical,n95", landmarks="aligned", seed=5)


def test_without_ray_the_engine_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop_folder):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MaskbenchError, match=r"install maskbench\[ray\]") as caught:
        synthesize(crop_folder(2), tmp_path / "out", ALIGNED, engine="ray")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_engines_and_addresses_that_do_not_fit(tmp_path: Path, crop_folder):
    faces = crop_folder(2)
    with pytest.raises(MaskbenchError, match='no engine "rey"; did you mean "ray"'):
        synthesize(faces, tmp_path / "out", ALIGNED, engine="rey")
    with pytest.raises(MaskbenchError, match="belongs to the ray engine"):
        synthesize(faces, tmp_path / "out", ALIGNED, address="10.0.0.1:6379")


def test_the_engine_loads_no_ray_of_itself():
    code = "import sys, maskbench.masking.engine, maskbench.masking.remote; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("seed", range(3))
def test_the_same_bytes_from_a_crew_that_loses_workers(tmp_path: Path, crop_folder, monkeypatch, seed: int):
    """The whole engine over the fake crew, which does the files in random order and some of them twice."""
    faces = crop_folder(30)
    crews = []

    def mapped(setup, arguments, items, workers, address=None):
        unlucky = random.Random(seed).sample(items, 3)
        crews.append(FakeCrew(setup, arguments, unlucky=unlucky, seed=seed))
        return dispatch(crews[0], items, workers or 3)

    monkeypatch.setattr(remote, "map_items", mapped)
    monkeypatch.setattr(remote, "check_installed", lambda: None)
    local = synthesize(faces, tmp_path / "local", ALIGNED)
    spread = synthesize(faces, tmp_path / "spread", ALIGNED, workers=0, engine="ray")
    assert tree(tmp_path / "local") == tree(tmp_path / "spread") and local.new == spread.new == 30
    assert crews[0].started > 3


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def cluster():
    """A small Ray of our own on this machine, whose workers can import these tests."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]), prepend=os.pathsep)
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_ray_answers_every_item_and_gives_up_the_deadly_one(cluster):
    items = [*range(20, 60), 13]  # 13 kills its process
    answers = dict(remote.map_items(setup_double, (1,), items, 2))
    assert answers.pop(13) is None and answers == {value: 2 * value + 1 for value in range(20, 60)}
    with pytest.raises(ValueError, match="^seventy-seven$"):
        list(remote.map_items(setup_double, (1,), [1, 77, 2], 2))


@pytest.mark.slow
def test_ray_does_the_work_of_lost_workers_again(cluster, tmp_path: Path):
    items = list(range(1, 41))
    assert sorted(remote.map_items(setup_kill_once, (str(tmp_path),), items, 2)) == [(v, v) for v in items]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.slow
def test_ray_gives_the_same_bytes(cluster, tmp_path: Path, crop_folder):
    faces = crop_folder(60)
    synthesize(faces, tmp_path / "local", ALIGNED, 1)
    assert synthesize(faces, tmp_path / "ray", ALIGNED, 2, engine="ray").counts["masked"] == 60
    assert tree(tmp_path / "local") == tree(tmp_path / "ray")


@pytest.mark.slow
def test_an_address_where_no_cluster_is(tmp_path: Path, crop_folder):
    pytest.importorskip("ray")
    code = (
        "import sys; from maskbench.masking.engine import synthesize; from maskbench.masking.synthesis import *\n"
        "synthesize(*sys.argv[1:3], SynthesisConfig(landmarks='aligned'), engine='ray', address=sys.argv[3])"
    )
    run = [sys.executable, "-c", code, str(crop_folder(2)), str(tmp_path / "out"), "127.0.0.1:1"]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert "MaskbenchError: ray cluster 127.0.0.1:1" in ended.stderr and "check the address" in ended.stderr
