"""Tar shards in and out, through the whole engine; tarfile itself is the oracle of what was written."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskbench import manifest
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.images import encode
from maskbench.masking import faces as faces_module
from maskbench.masking import packing
from maskbench.masking.engine import Summary, synthesize
from maskbench.masking.packing import STAGING
from maskbench.masking.render import draw_on
from maskbench.masking.synthesis import SynthesisConfig

ALIGNED = SynthesisConfig(mask="surgical,n95", landmarks="aligned", seed=5)
WITH_ALPHA = replace(ALIGNED, save_alpha=True)


def write_shard(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_700_000_000
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path, make_crop) -> Callable[..., Path]:
    """A function that writes ``count`` shards of ``size`` samples (picture, label, description)."""

    def write(count: int = 2, size: int = 3, name: str = "in") -> Path:
        for shard in range(count):
            members = []
            for number in range(size):
                key = f"./{shard}{number:03d}"
                members += [(f"{key}.json", b'{"n": %d}' % number), (f"{key}.png", encode(make_crop(number), ".png"))]
                members.append((f"{key}.cls", b"%d" % number))
            write_shard(tmp_path / name / f"train-{shard:03d}.tar", members)
        return tmp_path / name

    return write


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


def pack(source: Path | str, out: Path, config: SynthesisConfig = ALIGNED, workers: int = 1, **more) -> Summary:
    return synthesize(source, out, config, workers, out_shards=True, **more)


def test_shards_come_out_as_they_went_in_with_masked_pictures(tmp_path: Path, shards):
    source = shards()
    summary = pack(source, tmp_path / "out", WITH_ALPHA)
    assert summary.counts == {"masked": 6, "failed": 0, "skipped": 12}
    rows = {row.source: row for row in manifest.read_manifest(summary.manifest)}
    for name in ("train-000.tar", "train-001.tar"):
        before, after = contents(source / name), contents(tmp_path / "out" / name)
        alphas = contents(tmp_path / "out" / "_alpha" / name)
        assert list(after) == list(before) and list(alphas) == [f"{key}.png" for key in before if key.endswith("png")]
        for key in before:
            row = rows[f"{name}/{key.removeprefix('./')}"]
            if key.endswith(".png"):
                assert after[key] != before[key] and bytes_sha256(after[key]) == row.output_sha256
                assert bytes_sha256(before[key]) == row.source_sha256 and row.output == row.source
            else:
                assert after[key] == before[key] and row.status == "skipped"
    assert sorted(os.listdir(tmp_path / "out")) == [
        "_alpha", "manifest.csv", "synthesis.json", "train-000.tar", "train-001.tar"
    ]  # fmt: skip


def test_pictures_are_those_of_the_same_names_in_a_folder(tmp_path: Path, shards):
    source = shards(1)
    folder = tmp_path / "folder" / "train-000.tar"
    with tarfile.open(source / "train-000.tar") as tar:
        tar.extractall(folder, filter="data")
    loose = synthesize(tmp_path / "folder", tmp_path / "loose", WITH_ALPHA)
    from_tar = synthesize(source, tmp_path / "from-tar", WITH_ALPHA)
    packed = pack(source, tmp_path / "packed", WITH_ALPHA)
    assert loose.manifest_sha256 == from_tar.manifest_sha256 == packed.manifest_sha256
    assert tree(tmp_path / "loose" / "train-000.tar") == tree(tmp_path / "from-tar" / "train-000.tar")
    for key, content in contents(tmp_path / "packed" / "train-000.tar").items():
        if key.endswith(".png"):
            assert content == (tmp_path / "loose" / "train-000.tar" / key).read_bytes()


def test_one_shard_and_patterns(tmp_path: Path, shards):
    source = shards(3)
    assert pack(source / "train-001.tar", tmp_path / "one").counts["masked"] == 3
    assert pack(f"{source}/train-{{000..002}}.tar", tmp_path / "all").counts["masked"] == 9
    assert contents(tmp_path / "one" / "train-001.tar") == contents(tmp_path / "all" / "train-001.tar")


def test_a_sample_without_its_picture_is_left_out_whole(tmp_path: Path, make_crop):
    picture, wide = encode(make_crop(1), ".png"), encode(np.zeros((60, 90, 3), np.uint8), ".png")
    members = [("a.png", wide), ("a.cls", b"1"), ("b.png", picture), ("b.cls", b"2"), ("c.txt", b"no picture at all")]
    members += [("d.jpg", wide), ("d.png", picture), ("d.cls", b"4"), ("dataset.json", b"{}")]
    write_shard(tmp_path / "in" / "s.tar", members)
    summary = pack(tmp_path / "in", tmp_path / "out")
    assert summary.counts == {"masked": 2, "failed": 2, "skipped": 5}
    kept = ["b.png", "b.cls", "c.txt", "d.png", "d.cls", "dataset.json"]
    assert list(contents(tmp_path / "out" / "s.tar")) == kept


def test_labels_that_are_images_are_carried_over_and_strange_names_are_not(tmp_path: Path, make_crop):
    picture, wide = encode(make_crop(1), ".png"), encode(np.zeros((60, 90, 3), np.uint8), ".png")
    members = [("a.png", picture), ("a.seg.png", wide), ("b.png", wide), ("b.seg.png", picture)]
    members += [("c.depth.png", picture), ("._a.png", picture), ("x/../e.png", picture), ("x/../../f.png", picture)]
    write_shard(tmp_path / "in" / "s.tar", members)
    summary = pack(tmp_path / "in", tmp_path / "out")
    assert summary.counts == {"masked": 1, "failed": 3, "skipped": 4}
    after = contents(tmp_path / "out" / "s.tar")
    assert list(after) == ["a.png", "a.seg.png", "c.depth.png"]
    assert after["a.png"] != picture and after["a.seg.png"] == wide and after["c.depth.png"] == picture


def test_the_journal_can_be_read_until_the_last_packing_has_ended(
    tmp_path: Path, shards, monkeypatch: pytest.MonkeyPatch
):
    close, seen, calls = packing.ShardOutputs.close, [], []

    def closing(self):
        seen.extend(row.source for row in self._journal.rows())
        close(self)

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return draw_on(*arguments)

    monkeypatch.setattr(packing.ShardOutputs, "close", closing)
    monkeypatch.setattr(faces_module, "draw_on", stopping)
    with pytest.raises(KeyboardInterrupt):
        pack(shards(2), tmp_path / "out")
    assert len(seen) == 4


def test_damaged_shards_are_rows_and_the_rest_goes_on(tmp_path: Path, shards):
    source = shards(3)
    whole = (source / "train-001.tar").read_bytes()
    (source / "train-001.tar").write_bytes(whole[: len(whole) // 2])
    (source / "train-002.tar").write_bytes(b"no tar")
    summary = pack(source, tmp_path / "out")
    rows = {row.source: row for row in manifest.read_manifest(summary.manifest)}
    assert rows["train-001.tar"].status == rows["train-002.tar"].status == "failed"
    assert summary.counts["masked"] >= 4 and not (tmp_path / "out" / "train-002.tar").exists()
    assert set(contents(tmp_path / "out" / "train-001.tar")) < set(contents(tmp_path / "out" / "train-000.tar")) | {
        name.replace("./0", "./1") for name in contents(tmp_path / "out" / "train-000.tar")
    }


def test_workers_change_no_byte(tmp_path: Path, shards):
    source = shards(3, 7)
    for workers in (1, 2):
        pack(source, tmp_path / str(workers), WITH_ALPHA, workers)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_resuming_a_finished_run_does_nothing_and_repairs_what_is_spoiled(tmp_path: Path, shards):
    source, out = shards(4), tmp_path / "out"
    pack(source, out, WITH_ALPHA)
    before = tree(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    assert pack(source, out, WITH_ALPHA, resume=True).new == 0 and tree(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} == times
    data = bytearray((out / "train-000.tar").read_bytes())
    data[512 + data[512:].index(b"IDAT")] ^= 1  # a picture
    (out / "train-000.tar").write_bytes(data)
    (out / "train-001.tar").write_bytes((out / "train-001.tar").read_bytes().replace(b'"n": 1', b'"n": 9'))
    (out / "train-002.tar").unlink()
    (out / "_alpha" / "train-003.tar").unlink()
    assert pack(source, out, WITH_ALPHA, resume=True).new == 1 + 0 + 3 + 3 and tree(out) == before


def test_resuming_follows_changed_and_lost_inputs(tmp_path: Path, shards, make_crop):
    source, out = shards(3), tmp_path / "out"
    pack(source, out, WITH_ALPHA)
    (source / "train-002.tar").unlink()
    members = list(contents(source / "train-001.tar").items())
    members[1] = (members[1][0], encode(make_crop(77), ".png"))  # another picture
    members[2] = (members[2][0], b"another label")
    write_shard(source / "train-001.tar", members[:-3])  # and one sample less
    assert pack(source, out, WITH_ALPHA, resume=True).new == 1
    pack(source, tmp_path / "fresh", WITH_ALPHA)
    assert tree(out) == tree(tmp_path / "fresh")


def test_nothing_that_waits_is_done_again_when_packing_was_cut_off(
    tmp_path: Path, shards, monkeypatch: pytest.MonkeyPatch
):
    source, out = shards(2), tmp_path / "out"
    build = packing.ShardOutputs._build

    def cut(self, shard, kept, stream, alpha):
        stream.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(packing.ShardOutputs, "_build", cut)
    with pytest.raises(KeyboardInterrupt):
        pack(source, out)
    assert len([path for path in (out / STAGING).rglob("*") if path.is_file()]) >= 3
    monkeypatch.setattr(packing.ShardOutputs, "_build", build)
    assert pack(source, out, resume=True).new <= 3
    pack(source, tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")


def test_a_run_that_writes_files_is_not_continued_with_shards(tmp_path: Path, shards):
    source, out = shards(1), tmp_path / "out"
    synthesize(source, out, ALIGNED)
    with pytest.raises(MaskbenchError, match="another out_shards"):
        pack(source, out, resume=True)


def test_shards_out_need_shards_in_and_another_folder(tmp_path: Path, shards, crop_folder):
    with pytest.raises(MaskbenchError, match="no tar shards"):
        pack(crop_folder(2), tmp_path / "out")
    source = shards(1)
    with pytest.raises(MaskbenchError, match="choose a folder apart"):
        pack(source / "train-000.tar", source)
    for out in (source / "masked", source / ".masked", tmp_path):  # in the first, shards would be no folder of shards
        with pytest.raises(MaskbenchError, match="choose a folder apart"):
            pack(source, out)
    assert os.listdir(source) == ["train-000.tar"]
    out = source / "masked"  # of one shard by name, nothing else there is an input
    assert pack(source / "train-000.tar", out).counts["masked"] == 3
    assert pack(source / "train-000.tar", out, resume=True).new == 0


def test_alphas_never_take_the_place_of_the_shards_that_are_read(tmp_path: Path, shards):
    source = shards(1, name="out/_alpha")
    before = tree(source)
    with pytest.raises(MaskbenchError, match="choose a folder apart"):
        pack(source / "train-000.tar", source.parent, WITH_ALPHA)
    assert tree(source) == before


def test_only_the_wanted_pictures_and_their_samples(tmp_path: Path, shards):
    pack(shards(1), tmp_path / "out", only=["train-000.tar/0001.png"])
    assert list(contents(tmp_path / "out" / "train-000.tar")) == ["./0001.json", "./0001.png", "./0001.cls"]


def test_names_that_no_file_system_holds_stay_in_the_shard(tmp_path: Path, make_crop):
    name = "x" * 300 + ".png"
    write_shard(tmp_path / "in" / "s.tar", [(name, encode(make_crop(1), ".png"))])
    assert pack(tmp_path / "in", tmp_path / "out", WITH_ALPHA).counts["masked"] == 1
    assert list(contents(tmp_path / "out" / "s.tar")) == [name]
    summary = synthesize(tmp_path / "in", tmp_path / "loose", ALIGNED)
    assert list(summary.reasons) == ["failed: its output cannot have this name (File name too long)"]


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_gives_the_same_shards(tmp_path: Path, shards):
    source, out = shards(4, 40), tmp_path / "out"
    command = [
        sys.executable, "-c",
        "import sys; from maskbench.masking.engine import *\n"
        "if __name__ == '__main__':\n"
        "    config = SynthesisConfig(mask='surgical,n95', landmarks='aligned', seed=5, save_alpha=True)\n"
        "    synthesize(*sys.argv[1:], config, 2, resume=True, out_shards=True)",
        str(source), str(out),
    ]  # fmt: skip
    rng, ended = random.Random(3), None
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        before = file_count(out)
        limit = time.monotonic() + 120
        while process.poll() is None and file_count(out) < before + 8 and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        ended = process.wait()
        assert ended in (0, -signal.SIGKILL), process.stderr.read()
    if ended != 0:
        subprocess.run(command, check=True, capture_output=True)
    pack(source, tmp_path / "whole", WITH_ALPHA)
    assert tree(out) == tree(tmp_path / "whole")


def file_count(root: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(root))


def test_staging_is_gone_and_a_stale_one_is_no_harm(tmp_path: Path, shards):
    source, out = shards(1), tmp_path / "out"
    pack(source, out)
    before = tree(out)
    staging = packing.Staging(str(out))
    staging.write("train-000.tar/0000.png", b"stale", None)
    assert pack(source, out, resume=True).new == 0 and tree(out) == before and not (out / STAGING).exists()
    shutil.rmtree(out)
