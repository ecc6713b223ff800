from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hostile import COUNT, hostile_folder

from maskbench import manifest
from maskbench.digest import file_sha256
from maskbench.files import cache_root
from maskbench.images import read_image, write_image
from maskbench.masking.engine import FAULTS, synthesize
from maskbench.masking.outputs import ALPHA_FOLDER, alpha_name
from maskbench.masking.synthesis import SynthesisConfig

ALIGNED = SynthesisConfig(mask="surgical,n95", landmarks="aligned", seed=5, save_alpha=True)


@pytest.fixture
def hostile(tmp_path: Path, make_crop):
    """The folder and what must become of its files; afterwards removed by a tool that copes with its depth."""
    yield tmp_path / "in", hostile_folder(tmp_path / "in", make_crop(1))
    subprocess.run(["rm", "-rf", str(tmp_path / "in")], check=True)


def test_500_hostile_files_have_500_rows_and_nothing_crashes(hostile, tmp_path: Path):
    root, expected = hostile
    summary = synthesize(root, tmp_path / "out", ALIGNED, 2)
    rows = {row.source: row for row in manifest.read_manifest(summary.manifest)}
    assert len(rows) == COUNT == sum(summary.counts.values()) and set(rows) == set(expected)
    wrong = {name: (row.status, row.reason) for name, row in rows.items() if row.status not in expected[name]}
    assert wrong == {}
    assert not (tmp_path / "out" / FAULTS).exists()
    for name, row in rows.items():
        assert (row.status == "masked") == (row.reason == "")
        assert "internal error" not in row.reason and "crashed" not in row.reason and str(tmp_path) not in row.reason
        if row.status == "masked":
            assert file_sha256(tmp_path / "out" / row.output) == row.output_sha256
            assert (tmp_path / "out" / alpha_name(name)).is_file()
    assert Counter(row.status for row in rows.values())["masked"] >= 150
    again = synthesize(root, tmp_path / "out", ALIGNED, 1, resume=True)
    # Tried again: only what could not even be read, which may be mended by now.
    assert again.manifest_sha256 == summary.manifest_sha256
    assert again.new == sum(row.status == "failed" and not row.source_sha256 for row in rows.values()) - 1


def test_the_command_tells_the_same_in_one_line_each(hostile, tmp_path: Path):
    root, expected = hostile
    run = subprocess.run(
        [sys.executable, "-m", "maskbench", "synthesize", str(root), str(tmp_path / "out"), "--landmarks", "aligned",
         "--mask", "surgical", "--workers", "1"],
        capture_output=True, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert f"{COUNT} inputs = ".encode() in run.stdout and b"Traceback" not in run.stderr


def test_the_same_files_in_a_shard(hostile, tmp_path: Path):
    root, expected = hostile
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "s.tar", "w") as tar:
        for name in expected:
            path = root / name
            if len(os.fsencode(path)) < 4000 and path.is_file() and not path.is_symlink():
                info = tarfile.TarInfo(name)
                info.size = path.stat().st_size
                tar.addfile(info, io.BytesIO(path.read_bytes()))
    inside = {f"s.tar/{name}" for name in expected if name in tarfile_names(tmp_path / "shards" / "s.tar")}
    summary = synthesize(tmp_path / "shards", tmp_path / "out", ALIGNED, 1, out_shards=True)
    rows = {row.source: row for row in manifest.read_manifest(summary.manifest)}
    assert set(rows) == inside and len(rows) > COUNT - 40
    for path, row in rows.items():
        # In a shard the first dot ends the key: a.b.c.png is no plain picture.
        wanted = expected[path.removeprefix("s.tar/")] if path.rpartition("/")[2].count(".") < 2 else ("skipped",)
        assert row.status in wanted, (path, row.reason)
    kept = tarfile_names(tmp_path / "out" / "s.tar")
    assert {f"s.tar/{name}" for name in kept} >= {path for path, row in rows.items() if row.status == "masked"}


def tarfile_names(path: Path) -> set[str]:
    with tarfile.open(path, errors="surrogateescape") as tar:
        return set(tar.getnames())


def test_a_folder_that_may_not_be_read_is_a_failed_row(tmp_path: Path, crop_folder, monkeypatch: pytest.MonkeyPatch):
    """Who runs the tests may be allowed to read everything: the refusal is played."""
    faces, scandir = crop_folder(4), os.scandir

    def refusing(path):
        if str(path).endswith("Subject_001"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    summary = synthesize(faces, tmp_path / "out", ALIGNED)
    assert summary.counts == {"masked": 2, "failed": 1, "skipped": 0}
    assert list(summary.reasons) == ["failed: a folder that cannot be read (Permission denied)"]


def test_a_file_that_may_not_be_read_is_a_failed_row(tmp_path: Path, crop_folder):
    faces = crop_folder(2)
    locked = next(faces.rglob("*.png"))
    locked.chmod(0)
    summary = synthesize(faces, tmp_path / "out", ALIGNED)
    (row,) = (r for r in manifest.read_manifest(summary.manifest) if r.source == locked.relative_to(faces).as_posix())
    allowed = os.access(locked, os.R_OK)
    assert (row.status, row.reason) == (
        ("masked", "") if allowed else ("failed", "cannot be read (Permission denied); check the path and its rights")
    )


def test_pictures_in_the_folder_of_alphas_do_not_meet_them(tmp_path: Path, crop_folder):
    faces = crop_folder(2)
    shutil.copytree(faces, faces / ALPHA_FOLDER)
    summary = synthesize(faces, tmp_path / "out", ALIGNED)
    assert summary.counts == {"masked": 2, "failed": 2, "skipped": 0}
    assert "where alphas are written" in next(iter(summary.reasons))


def test_alphas_of_names_at_the_limit_stay_apart(tmp_path: Path):
    names = ["a/" + letter * 251 + ".jpg" for letter in "xy"]
    names += ["a/" + "x" * 250 + "z.jpg", "ü" * 125 + ".png", "b.jpg"]
    found = [alpha_name(name) for name in names]
    assert len(set(found)) == len(names) and found[-1] == "_alpha/b.jpg.png"
    for name in found:
        assert len(os.fsencode(os.path.basename(name))) <= 255 and name.endswith(".png")


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (7, 4000), (161, 159)])
def test_faceless_pictures_of_any_shape_go_through_the_mesh(tmp_path: Path, shape: tuple[int, int], make_crop):
    picture = np.resize(make_crop(0), (*shape, 3))
    write_image(tmp_path / "in" / "x.png", picture)
    config = SynthesisConfig(mask="surgical", faces="all")
    summary = synthesize(tmp_path / "in", tmp_path / "out", config, cache=cache_root())
    assert sum(summary.counts.values()) == 1 and "internal" not in str(summary.reasons)
    if summary.counts["masked"]:
        assert read_image(tmp_path / "out" / "x.png").shape == picture.shape
