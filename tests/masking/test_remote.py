from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
import tarfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_dispatch import FakeCrew
from test_parallel import setup_double, setup_kill_once

from maskbench import __version__
from maskbench.datasets.inputs import FolderInputs
from maskbench.digest import file_sha256
from maskbench.dispatch import dispatch
from maskbench.errors import MaskbenchError
from maskbench.masking import remote
from maskbench.masking.assets import shipped_root
from maskbench.masking.engine import synthesize
from maskbench.masking.outputs import FileOutputs
from maskbench.masking.synthesis import PIXEL_LIBRARIES, SynthesisConfig

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


class ElsewhereCrew(FakeCrew):
    """Workers in another working directory, which get nothing but what can be sent."""

    folder: Path

    def __init__(self, setup, arguments) -> None:
        setup, arguments = pickle.loads(pickle.dumps((setup, arguments)))
        super().__init__(setup, arguments)

    def step(self, worker: int) -> None:
        with contextlib.chdir(self.folder):
            super().step(worker)


@pytest.mark.parametrize("shards", [None, "train.tar", "in", "{train,more}.tar"])
def test_workers_elsewhere_find_every_folder(tmp_path: Path, crop_folder, monkeypatch: pytest.MonkeyPatch, shards):
    """All paths are relative: pictures or shards, output, cache, masks."""
    monkeypatch.chdir(tmp_path)
    faces = crop_folder(6)
    shutil.copytree(shipped_root() / "surgical", tmp_path / "masks" / "mine")
    description = tmp_path / "masks" / "mine" / "asset.json"
    description.write_text(description.read_text().replace('"surgical"', '"mine"', 1))
    source = "faces"
    if shards is not None:
        source = f"in/{shards}" if shards.endswith(".tar") else shards
        (tmp_path / "in").mkdir()
        for name in ("train", "more"):
            with tarfile.open(tmp_path / "in" / f"{name}.tar", "w") as tar:
                for number, path in enumerate(sorted(faces.rglob("*.png"))):
                    tar.add(path, f"{number}.png")
    ElsewhereCrew.folder = tmp_path / "elsewhere"
    ElsewhereCrew.folder.mkdir()
    monkeypatch.setattr(remote, "check_installed", lambda: None)
    monkeypatch.setattr(
        remote, "map_items", lambda setup, given, items, *_: dispatch(ElsewhereCrew(setup, given), items, 2)
    )
    config = SynthesisConfig(mask="mine,n95", landmarks="aligned", seed=5, save_alpha=True, masks_dirs=("masks",))
    packed = shards == "train.tar"
    local = synthesize(source, "local", config, out_shards=packed)
    spread = synthesize(source, "spread", config, engine="ray", cache=Path("cache"), out_shards=packed)
    assert tree(tmp_path / "local") == tree(tmp_path / "spread") and not list(ElsewhereCrew.folder.iterdir())
    assert local.counts["masked"] == spread.counts["masked"] >= 6 and (tmp_path / "cache").is_dir()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("maskbench", "0.0.1", "has 0.0.1 maskbench, this one 0.1.0; install the same"),
        ("version numpy", "1.0", "has 1.0 version numpy, this one "),
        ("mask surgical", "f" * 64, "has f{64} mask surgical, this one [0-9a-f]{64}; install the same"),
        ("mask n95", None, "has no mask n95, this one "),
    ],
)
def test_a_machine_that_would_make_other_pixels_is_refused(
    tmp_path: Path, crop_folder, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, message: str
):
    surroundings, calls = remote.surroundings, []

    def differ(config):
        calls.append(config)
        found = surroundings(config)
        other = {key: text for key, text in found.items() if key != name} | ({name: value} if value else {})
        return other if len(calls) > 1 else found

    monkeypatch.setattr(remote, "surroundings", differ)
    monkeypatch.setattr(remote, "check_installed", lambda: None)
    monkeypatch.setattr(remote, "map_items", lambda setup, given, items, *_: dispatch(FakeCrew(setup, given), items, 2))
    with pytest.raises(MaskbenchError, match=f"^machine {socket.gethostname()}: {message}") as caught:
        synthesize(crop_folder(4), tmp_path / "out", ALIGNED, engine="ray")
    assert "\n" not in str(caught.value) and not list((tmp_path / "out").rglob("*.png"))


def test_a_machine_that_lacks_a_library_or_a_folder_of_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = SynthesisConfig(mask="all", landmarks="aligned", masks_dirs=(str(tmp_path / "absent"),))
    given = (FolderInputs("in"), FileOutputs("out"), config, None)
    with pytest.raises(MaskbenchError, match="^machine .*absent: no such mask folder.*must see the same folders"):
        remote.make_like_worker({}, *given)

    def absent(config):
        raise PackageNotFoundError("numba")

    monkeypatch.setattr(remote, "surroundings", absent)
    with pytest.raises(MaskbenchError, match="^machine .*numba; install the same maskbench on every machine"):
        remote.make_like_worker({}, *given)


def test_what_machines_are_compared_by():
    found = remote.surroundings(ALIGNED)
    assert found["maskbench"] == __version__ and found["version numpy"] == np.__version__
    assert set(found) == {"maskbench", "mask surgical", "mask n95", *(f"version {name}" for name in PIXEL_LIBRARIES)}


def joined(address: str, own: str = "10.1.2.3") -> SimpleNamespace:
    """A stand-in for ray that has joined a cluster."""
    return SimpleNamespace(
        is_initialized=lambda: True, get_runtime_context=lambda: SimpleNamespace(gcs_address=address),
        util=SimpleNamespace(get_node_ip_address=lambda: own),
    )  # fmt: skip


@pytest.mark.parametrize("address", ["10.9.9.9:6379", "10.1.2.3:6380", "ray://10.1.2.3:10001", "127.0.0.1:1"])
def test_an_address_of_another_cluster_than_the_one_that_was_joined(monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setattr(remote, "check_installed", lambda: joined("10.1.2.3:6379"))
    with pytest.raises(MaskbenchError, match="has already joined the one at 10.1.2.3:6379; leave the addr") as caught:
        next(remote.map_items(setup_double, (1,), [1], 1, address))
    assert address in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["10.1.2.3:6379", "127.0.0.1:6379", "localhost:6379"])
def test_the_address_of_the_cluster_that_was_joined(address: str):
    remote._check_same(joined("10.1.2.3:6379"), address)


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def cluster(installed_ray):
    """A small Ray of our own on this machine, whose workers can import these tests."""
    ray = installed_ray
    with pytest.MonkeyPatch.context() as patch:
        for folder in Path(__file__).resolve().parents[1:3]:  # of test_parallel, and of maskbench
            patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
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
def test_ray_knows_which_cluster_was_joined(cluster):
    address = cluster.get_runtime_context().gcs_address
    for same in (address, "auto", None):
        assert dict(remote.map_items(setup_double, (1,), [20, 21], 1, same)) == {20: 41, 21: 43}
    with pytest.raises(MaskbenchError, match="has already joined the one at"):
        next(remote.map_items(setup_double, (1,), [20], 1, "192.0.2.1:6379"))


@pytest.mark.slow
def test_ray_with_relative_paths_gives_the_same_bytes(cluster, tmp_path: Path, crop_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crop_folder(8)
    synthesize("faces", "local", ALIGNED)
    synthesize("faces", "ray", ALIGNED, 2, engine="ray", cache=Path("cache"))
    assert tree(tmp_path / "local") == tree(tmp_path / "ray") and (tmp_path / "cache").is_dir()


@pytest.mark.slow
@pytest.mark.usefixtures("installed_ray")
def test_an_address_where_no_cluster_is(tmp_path: Path, crop_folder):
    code = (
        "import sys; from maskbench.masking.engine import synthesize; from maskbench.masking.synthesis import *\n"
        "synthesize(*sys.argv[1:3], SynthesisConfig(landmarks='aligned'), engine='ray', address=sys.argv[3])"
    )
    run = [sys.executable, "-c", code, str(crop_folder(2)), str(tmp_path / "out"), "127.0.0.1:1"]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert "MaskbenchError: ray cluster 127.0.0.1:1" in ended.stderr and "check the address" in ended.stderr
