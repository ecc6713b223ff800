from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from maskbench import manifest
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import cache_root
from maskbench.images import encode, read_image, write_image
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking import engine, synthesis
from maskbench.masking import faces as faces_module
from maskbench.masking.assets import list_assets, load_asset
from maskbench.masking.engine import CONFIG, FAULTS, JOURNAL, locked, synthesize
from maskbench.masking.faces import choose_faces, mask_faces, no_face
from maskbench.masking.outputs import ALPHA_FOLDER
from maskbench.masking.placement import from_json
from maskbench.masking.render import draw_on, render
from maskbench.masking.synthesis import SynthesisConfig

ALIGNED = SynthesisConfig(landmarks="aligned", seed=5)


def tree(root: Path) -> dict[str, str]:
    """Every file below a folder with its digest."""
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


def test_every_input_has_a_row_and_its_pixels_follow_from_it(crop_folder, tmp_path: Path):
    faces = crop_folder(6)
    (faces / "notes.txt").write_text("not a picture")
    (faces / ".hidden.png").write_text("not an input")
    (faces / "text.JPG").write_text("not a picture either")
    (faces / "cut.jpg").write_bytes(encode(read_image(next(faces.rglob("Subject*.png"))), ".jpg")[:900])
    write_image(faces / "no face" / "wide.v2.ünï.png", np.zeros((60, 90, 3), np.uint8))
    summary = synthesize(faces, tmp_path / "out", SynthesisConfig(landmarks="aligned", save_alpha=True), 1)
    assert summary.counts == {"masked": 6, "failed": 3, "skipped": 1} and summary.new == 9
    rows = {row.source: row for row in manifest.read_manifest(tmp_path / "out" / manifest.NAME)}
    assert rows["notes.txt"].status == "skipped" and ".hidden.png" not in rows
    assert "not a readable" in rows["text.JPG"].reason and "truncated" in rows["cut.jpg"].reason
    assert rows["no face/wide.v2.ünï.png"].reason == "not an aligned 112x112 crop"
    assert not (tmp_path / "out" / "text.JPG").exists()
    for path in faces.rglob("Subject*.png"):
        row = rows[path.relative_to(faces).as_posix()]
        assert row.source_sha256 == file_sha256(path)
        assert row.output_sha256 == file_sha256(tmp_path / "out" / row.output)
        assert 0.3 < row.covered_fraction < 0.7 and row.landmarks == "aligned-arcface112"
        (placement,) = from_json(row.placement)
        again = render(read_image(path), load_asset(list_assets()[row.asset]), placement)
        assert np.array_equal(again.image, read_image(tmp_path / "out" / row.output))
        alpha = read_image(tmp_path / "out" / ALPHA_FOLDER / f"{row.output}.png")[..., 0]
        assert np.array_equal(alpha, again.alpha)


def test_workers_and_order_change_no_byte(crop_folder, tmp_path: Path):
    faces = crop_folder(20)
    for workers in (1, 2):
        synthesize(faces, tmp_path / str(workers), ALIGNED, workers)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_seeds_masks_and_names_decide_what_is_drawn(crop_folder, tmp_path: Path):
    faces = crop_folder(12)
    runs = {
        name: synthesize(faces, tmp_path / name, config, 1)
        for name, config in {
            "a": ALIGNED,
            "b": SynthesisConfig(landmarks="aligned", seed=6),
            "c": SynthesisConfig(landmarks="aligned", seed=5, mask="n95"),
        }.items()
    }
    assert len({run.manifest_sha256 for run in runs.values()}) == 3
    assets = {name: {r.asset for r in manifest.read_manifest(run.manifest)} for name, run in runs.items()}
    assert assets["c"] == {"n95"} and len(assets["a"]) > 2


def test_only_restricts_the_inputs(crop_folder, tmp_path: Path):
    faces = crop_folder(6)
    wanted = ["Subject_001/Subject_001_0001.png"]
    summary = synthesize(faces, tmp_path / "out", ALIGNED, 1, only=wanted)
    assert [row.source for row in manifest.read_manifest(summary.manifest)] == wanted
    with pytest.raises(MaskbenchError, match="1 of the wanted pictures are missing, first x.png"):
        synthesize(faces, tmp_path / "other", ALIGNED, 1, only=["x.png"])


def test_a_finished_run_is_not_overwritten_and_resuming_it_adds_new_inputs(crop_folder, tmp_path: Path):
    faces, out = crop_folder(4), tmp_path / "out"
    synthesize(faces, out, ALIGNED, 1)
    with pytest.raises(MaskbenchError, match="is not empty; use --resume"):
        synthesize(faces, out, ALIGNED, 1)
    before = tree(out)
    assert synthesize(faces, out, ALIGNED, 1, resume=True).new == 0 and tree(out) == before
    write_image(faces / "late.png", read_image(next(faces.rglob("*.png"))))
    assert synthesize(faces, out, ALIGNED, 1, resume=True).new == 1
    fresh = synthesize(faces, tmp_path / "fresh", ALIGNED, 1)
    assert tree(out) == tree(tmp_path / "fresh") and fresh.counts["masked"] == 5


def test_resuming_repairs_changed_and_lost_outputs_and_changed_inputs(crop_folder, tmp_path: Path):
    faces, out = crop_folder(6), tmp_path / "out"
    synthesize(faces, out, ALIGNED, 1)
    outputs = sorted(out.rglob("*.png"))
    outputs[0].write_bytes(b"spoiled")
    outputs[1].unlink()
    inputs = sorted(faces.rglob("*.png"))
    shutil.copy(inputs[0], inputs[5])
    assert synthesize(faces, out, ALIGNED, 1, resume=True).new == 3
    synthesize(faces, tmp_path / "fresh", ALIGNED, 1)
    assert tree(out) == tree(tmp_path / "fresh")


def test_resuming_with_other_options_or_in_a_foreign_folder_is_refused(crop_folder, tmp_path: Path):
    faces, out = crop_folder(2), tmp_path / "out"
    synthesize(faces, out, ALIGNED, 1)
    with pytest.raises(MaskbenchError, match="another seed"):
        synthesize(faces, out, SynthesisConfig(landmarks="aligned", seed=9), 1, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(MaskbenchError, match="holds no run to resume"):
        synthesize(faces, tmp_path / "mine", ALIGNED, 1, resume=True)


def test_a_cut_journal_line_is_done_again_and_a_damaged_one_is_named(crop_folder, tmp_path: Path):
    faces, out = crop_folder(6), tmp_path / "out"
    synthesize(faces, out, ALIGNED, 1)
    whole = tree(out)
    lines = [manifest.row_to_json(row) for row in manifest.read_manifest(out / manifest.NAME)]
    (out / manifest.NAME).unlink()
    (out / JOURNAL).write_text("\n".join([*lines[:3], lines[3][:40]]))
    (out / f".{'0' * 16}.tmp").write_bytes(b"left by a kill")
    assert synthesize(faces, out, ALIGNED, 1, resume=True).new == 3
    assert tree(out) == whole
    (out / JOURNAL).write_text("\n".join([lines[0][:40], lines[1]]))
    with pytest.raises(MaskbenchError, match=rf"{JOURNAL}:1: damaged line"):
        synthesize(faces, out, ALIGNED, 1, resume=True)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(crop_folder, tmp_path: Path, kills: int):
    faces, out = crop_folder(60 * kills), tmp_path / "out"
    command = [
        sys.executable, "-m", "maskbench", "synthesize", str(faces), str(out), "--landmarks", "aligned", "--seed", "5",
        "--mask", "surgical,n95", "--resume", "--workers", "2", "--save-alpha", "--no-cache",
    ]  # fmt: skip
    rng, journal = random.Random(kills), out / JOURNAL
    for number in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        # Every third one anywhere in the start, the others somewhere among the rows.
        rows = 0 if number % 3 == 2 else rng.randrange(1, 20)
        have, limit = size_of(journal), time.monotonic() + 300
        while process.poll() is None and size_of(journal) < have + rows * 2000 and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05 if rows else 2.0))
        assert process.poll() is None, process.stderr.read()
        if number % 2:
            os.kill(process.pid, signal.SIGKILL)  # its workers are left to themselves while the next run begins
        else:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command, check=True, capture_output=True)
    whole = SynthesisConfig(mask="surgical,n95", landmarks="aligned", seed=5, save_alpha=True)
    synthesize(faces, tmp_path / "whole", whole, 1)
    assert tree(out) == tree(tmp_path / "whole")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_run_killed_before_its_first_file_can_be_resumed(crop_folder, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / f".{'0' * 16}.tmp").write_bytes(b"half of a configuration")
    assert synthesize(crop_folder(2), out, ALIGNED, resume=True).new == 2
    assert not list(out.glob(".*"))


def test_rows_that_were_reported_are_not_done_again(crop_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The journal has each row before the next file is begun, whatever ends the run."""
    faces, out, calls = crop_folder(9), tmp_path / "out", []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return draw_on(*arguments)

    monkeypatch.setattr(faces_module, "draw_on", stopping)
    with pytest.raises(KeyboardInterrupt):
        synthesize(faces, out, ALIGNED)
    assert (out / JOURNAL).read_bytes().count(b"\n") == 5
    assert synthesize(faces, out, ALIGNED, resume=True).new == 4
    synthesize(faces, tmp_path / "whole", ALIGNED)
    assert tree(out) == tree(tmp_path / "whole")


def test_resuming_repairs_alphas_and_removes_what_is_no_longer_masked(crop_folder, tmp_path: Path):
    faces, out = crop_folder(6), tmp_path / "out"
    config = SynthesisConfig(landmarks="aligned", save_alpha=True)
    synthesize(faces, out, config, 1)
    inputs = sorted(faces.rglob("*.png"))
    inputs[0].unlink()
    write_image(inputs[1], np.zeros((90, 90, 3), np.uint8))
    (out / ALPHA_FOLDER / f"{inputs[2].relative_to(faces).as_posix()}.png").unlink()
    assert synthesize(faces, out, config, 1, resume=True).new == 2
    synthesize(faces, tmp_path / "fresh", config, 1)
    assert tree(out) == tree(tmp_path / "fresh")


def test_two_runs_do_not_share_a_folder(crop_folder, tmp_path: Path):
    faces, out = crop_folder(4), tmp_path / "out"
    with locked(out), pytest.raises(MaskbenchError, match="another run is writing there"):
        synthesize(faces, out, ALIGNED, 1)
    assert synthesize(faces, out, ALIGNED, 1).new == 4


def test_wrong_names_in_the_configuration_fail_before_any_file_is_written(crop_folder, tmp_path: Path):
    faces = crop_folder(4)
    for config in (SynthesisConfig(landmarks="alligned"), SynthesisConfig(faces="bigest"), SynthesisConfig(mask="n59")):
        with pytest.raises(MaskbenchError, match="did you mean"):
            synthesize(faces, tmp_path / "out", config, 2)
    assert not (tmp_path / "out" / CONFIG).exists()


def test_a_face_too_small_says_so():
    found = [mesh_landmarks(canonical_face() * 3 + [50, 50, 0], "test")]
    assert choose_faces(found, (110, 110), "largest") == []
    assert no_face(found).startswith("face too small (3.") and no_face([]) == "no face found"


def test_output_inside_input_is_refused_both_ways(crop_folder, tmp_path: Path):
    faces = crop_folder(2)
    for out in (faces, faces / "masked", tmp_path):
        with pytest.raises(MaskbenchError, match="choose a folder apart"):
            synthesize(faces, out, ALIGNED, 1)


def test_an_output_folder_that_is_a_link_to_itself(tmp_path: Path, crop_folder):
    (tmp_path / "loop").symlink_to("loop")
    for out in (tmp_path / "loop", tmp_path / "loop" / "out"):
        with pytest.raises(MaskbenchError, match="cannot be used"):
            synthesize(crop_folder(2), out, ALIGNED, 1)


def test_nothing_to_do_and_nowhere_to_write(tmp_path: Path, crop_folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaskbenchError, match="no images found"):
        synthesize(tmp_path / "empty", tmp_path / "out", ALIGNED, 1)
    with pytest.raises(MaskbenchError, match="not a folder that can be read"):
        synthesize(tmp_path / "absent", tmp_path / "out", ALIGNED, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(MaskbenchError, match="cannot be used"):
        synthesize(crop_folder(2), tmp_path / "file" / "out", ALIGNED, 1)


def test_a_fault_of_ours_is_a_row_and_keeps_its_traceback(crop_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    faces, calls = crop_folder(4), []

    def faulty(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError("a bug\n of \udcff")
        return draw_on(*arguments)

    monkeypatch.setattr(faces_module, "draw_on", faulty)
    summary = synthesize(faces, tmp_path / "out", ALIGNED, 1)
    assert summary.counts == {"masked": 3, "failed": 1, "skipped": 0}
    assert list(summary.reasons) == ["failed: internal error: ZeroDivisionError: a bug of \\udcff"]
    assert "Traceback" in (tmp_path / "out" / FAULTS).read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_names_and_messages_of_any_characters_never_end_a_run(
    crop_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
):
    """In a name that is not UTF-8, in a reason and in a traceback; two are faults, one is an image's error."""
    faces = crop_folder(4)
    for number, path in enumerate(sorted(faces.rglob("*.png"))):
        path.rename(faces / f"{number}\udcff\n.png")
    kinds = [ImageError("no \ud800"), ZeroDivisionError("a \ud800 \udcff"), MemoryError("none left")]

    def faulty(image, faces, wardrobe, path, *more):
        if path[0] in "012":  # not where the compiled code is loaded
            raise kinds[int(path[0])]
        return mask_faces(image, faces, wardrobe, path, *more)

    monkeypatch.setattr(synthesis, "mask_faces", faulty)
    monkeypatch.setattr(engine, "map_items", in_threads_stead)
    summary = synthesize(faces, tmp_path / "out", ALIGNED, workers)
    assert [row.reason for row in manifest.read_manifest(summary.manifest)] == [
        "no \\ud800",
        "internal error: ZeroDivisionError: a \\ud800 \\udcff",
        "internal error: MemoryError: none left",
        "",
    ]
    faults = (tmp_path / "out" / FAULTS).read_text(encoding="utf-8")
    assert faults.count("Traceback") == 2 and "'1\\udcff\\n.png'" in faults and "a \\ud800 \\udcff" in faults
    assert synthesize(faces, tmp_path / "out", ALIGNED, workers, resume=True).manifest_sha256 == summary.manifest_sha256


def in_threads_stead(setup, arguments, items, workers):
    """``map_items``, whose answers pass through what workers send them by."""
    function = setup(*arguments)
    yield from ((item, pickle.loads(pickle.dumps(function(item))) if workers > 1 else function(item)) for item in items)


def test_landmarks_are_cached_by_picture(crop_folder, tmp_path: Path):
    faces = crop_folder(4)
    cold = synthesize(faces, tmp_path / "a", ALIGNED, 1, cache=tmp_path / "cache")
    warm = synthesize(
        faces, tmp_path / "b", SynthesisConfig(landmarks="aligned", mask="n95"), 1, cache=tmp_path / "cache"
    )
    assert (cold.cached, warm.cached) == (0, 4)


def test_the_configuration_lies_beside_the_output(crop_folder, tmp_path: Path):
    synthesize(crop_folder(2), tmp_path / "out", ALIGNED, 1)
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert config["seed"] == 5 and config["landmarks"] == "aligned" and config["out_shards"] is False
    assert config["masks"] and set(config["masks"]) <= set(list_assets())


def test_which_face_is_masked():
    base = canonical_face() * 20
    near, large, tiny = (
        mesh_landmarks(base * scale + [x, y, 0], "t") for scale, x, y in ((1, 100, 90), (2, 30, 40), (0.2, 5, 5))
    )
    faces = [large, near, tiny]
    assert choose_faces(faces, (200, 200), "largest") == [large]
    assert choose_faces(faces, (200, 200), "central") == [near]
    assert choose_faces(faces, (200, 200), "all") == [large, near]
    assert choose_faces([tiny], (200, 200), "largest") == []


def test_all_faces_are_masked_each_with_its_own_placement(tmp_path: Path, mannequin, monkeypatch: pytest.MonkeyPatch):
    picture = np.hstack([mannequin, mannequin])
    write_image(tmp_path / "in" / "two.png", picture)
    config = SynthesisConfig(faces="all", save_alpha=True)
    summary = synthesize(tmp_path / "in", tmp_path / "out", config, 1, cache=cache_root())
    (row,) = manifest.read_manifest(summary.manifest)
    assert row.faces == 2 and len(from_json(row.placement)) == 2 and row.asset.count("+") == 1
    alpha = read_image(tmp_path / "out" / ALPHA_FOLDER / "two.png.png")[..., 0]
    assert (alpha[:, :512] > 128).mean() > 0.05 and (alpha[:, 512:] > 128).mean() > 0.05
    assert bytes_sha256((tmp_path / "out" / "two.png").read_bytes()) == row.output_sha256
