"""Whole training runs on a few faces: what they leave, and that kill -9 changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from small_runs import HERE

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.recognizers.base import load_recognizer
from maskbench.train.loop import read_log
from maskbench.train.recipe import load_recipe
from maskbench.train.run import Source, blended, train_maskinv

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = ("batch=8", "epochs=4", "precision=32-true", "optimiser.warm_up=0")


def quick(*changes: str):
    return load_recipe("maskinv-small", [*QUICK, *changes])


@pytest.fixture(scope="module")
def done(tmp_path_factory, people, strangers, cache):
    out = tmp_path_factory.mktemp("runs") / "whole"
    sources = [Source(people), Source(strangers)]
    return out, train_maskinv(quick(), sources, out, machine=HERE, licence="none", cache=cache)


def losses(out: Path) -> list[tuple]:
    return [(line["step"], line.get("loss"), line.get("distillation"), line.get("margin")) for line in read_log(out)]


def test_a_run_leaves_weights_that_load_and_are_not_the_teachers(done):
    out, trained = done
    card = json.loads((out / "weights.json").read_text())
    assert card["sha256"] == file_sha256(trained.weights) and card["network"] == "dlib-resnet"
    assert card["training_data"][-2:] == ["people", "strangers"] and card["licence"] == "none"
    student, teacher = load_recognizer(f"torch:{trained.weights}", "cpu"), load_recognizer("dlib-resnet", "cpu")
    faces = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), np.uint8)
    apart = np.abs(student.embed(faces)[0] - teacher.embed(faces)[0]).max()
    assert 1e-4 < apart < 1
    assert len(student.training_subjects) == 6


def test_the_report_says_what_was_done(done):
    out, trained = done
    report = json.loads((out / "training.json").read_text())
    assert report == trained.report
    assert (report["steps"], report["faces"], report["subjects"]) == (4 * (20 // 8), 20, 6)
    assert report["recipe"]["batch"] == 8 and report["final"] is None
    assert (out / "left_out.csv").read_text() == "picture,reason\n"


def test_frozen_parameters_stay_and_others_move(done):
    from safetensors.torch import load_file

    from maskbench.models.dlib_resnet import fold, load_dlib_resnet, unfold
    from maskbench.recognizers.dlib_resnet import checked_weights

    before = unfold(fold(load_dlib_resnet(checked_weights()))).state_dict()
    after = load_file(done[1].weights)
    same = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2."))}
    affine = {name for name in before if ".affine" in name}
    assert same == frozen | affine


def test_another_run_is_the_same_to_the_byte(done, tmp_path, people, strangers, cache):
    out, trained = done
    again = train_maskinv(quick(), [Source(people), Source(strangers)], tmp_path, machine=replace(HERE, workers=2),
                          licence="none", cache=cache)  # fmt: skip
    assert again.weights.read_bytes() == trained.weights.read_bytes()
    assert losses(tmp_path) == losses(out)


def command(out: Path, people: Path, strangers: Path, *more: str) -> list[str]:
    changes = [part for change in QUICK for part in ("--set", change)]
    return [
        sys.executable, "-m", "maskbench", "train", "maskinv", "--data", str(people), "--data", str(strangers),
        "--out", str(out), "--accelerator", "cpu", "--workers", "0", "--checkpoint-seconds", "0", "--licence", "none",
        *changes, *more,
    ]  # fmt: skip


def test_killed_and_resumed_is_the_same_to_the_byte(done, tmp_path, people, strangers, cache):
    out, trained = done
    environment = {**os.environ, "MASKBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command(tmp_path, people, strangers), env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.safetensors").exists():
        assert running.poll() is None and time.monotonic() < deadline, running.stderr.read()
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "weights.safetensors").exists(), "it was too late to kill it"
    with open(tmp_path / "log.jsonl", "a") as log:  # a line that the kill cut short
        log.write('{"step": 99')
    finished = subprocess.run(
        command(tmp_path, people, strangers, "--resume"), env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "weights.safetensors").read_bytes() == trained.weights.read_bytes()
    assert losses(tmp_path) == losses(out)


def test_resuming_with_a_changed_recipe_names_the_setting(begun, people, strangers, cache):
    kept = (begun / "checkpoint.safetensors").read_bytes()
    with pytest.raises(MaskbenchError, match=r"recipe\.losses\.margin_weight = 0\.15, this one has 0\.5"):
        train_maskinv(quick("losses.margin_weight=0.5"), [Source(people), Source(strangers)], begun, True, HERE,
                      cache=cache)  # fmt: skip
    assert (begun / "checkpoint.safetensors").read_bytes() == kept


def test_resuming_with_other_faces_says_so(begun, people, cache):
    with pytest.raises(MaskbenchError, match="its run had faces = "):
        train_maskinv(quick(), [Source(people)], begun, True, HERE, cache=cache)


def test_a_run_in_the_way_is_not_replaced(begun, people, cache):
    with pytest.raises(MaskbenchError, match="a run is there already; go on with --resume"):
        train_maskinv(quick(), [Source(people)], begun, False, HERE, cache=cache)


def test_nothing_to_resume(tmp_path, people, cache):
    with pytest.raises(MaskbenchError, match="no checkpoint to go on from; leave out --resume"):
        train_maskinv(quick(), [Source(people)], tmp_path, True, HERE, cache=cache)


def test_a_damaged_checkpoint_is_named(begun, people, strangers, cache):
    path = begun / "checkpoint.safetensors"
    cut = path.read_bytes()[:5000]
    path.unlink()  # a link
    path.write_bytes(cut)
    with pytest.raises(MaskbenchError, match=r"checkpoint\.safetensors: damaged .*; remove it to begin anew"):
        train_maskinv(quick(), [Source(people), Source(strangers)], begun, True, HERE, cache=cache)


def test_a_full_disk_leaves_the_last_checkpoint(begun, people, strangers, cache, monkeypatch):
    import errno

    kept = (begun / "checkpoint.safetensors").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("maskbench.files.os.replace", full)
    with pytest.raises(MaskbenchError, match="No space left on device"):
        train_maskinv(quick(), [Source(people), Source(strangers)], begun, True, HERE, cache=cache)
    assert (begun / "checkpoint.safetensors").read_bytes() == kept


def test_a_corrupt_picture_is_left_out_with_a_reason(tmp_path, people, cache):
    root = Path(shutil.copytree(people, tmp_path / "people"))
    broken = sorted(root.rglob("*.jpg"))[3]
    broken.write_bytes(b"no picture")
    train_maskinv(quick("epochs=1"), [Source(root)], tmp_path / "out", machine=HERE, cache=cache)
    rows = (tmp_path / "out" / "left_out.csv").read_text().splitlines()
    assert len(rows) == 2 and rows[1].startswith(f"people/{broken.parent.name}/{broken.name},")


def test_a_picture_that_breaks_during_training_is_left_out(tmp_path, people, cache, monkeypatch):
    """Pictures are read in every epoch where no crops are kept; the second epoch finds one of them gone."""
    root = Path(shutil.copytree(people, tmp_path / "people"))
    gone = sorted(root.rglob("*.jpg"))[5]
    from maskbench.train import run

    fit = run.fit

    def first_break(*arguments, **named):
        gone.unlink()
        return fit(*arguments, **named)

    monkeypatch.setattr(run, "fit", first_break)
    trained = train_maskinv(quick("epochs=2"), [Source(root)], tmp_path / "out", machine=HERE, keep_crops=False,
                            cache=cache)  # fmt: skip
    assert trained.report["left_out"] == 1
    assert f"people/{gone.parent.name}/{gone.name}" in (tmp_path / "out" / "left_out.csv").read_text()


def test_crops_kept_or_not_train_the_same(done, tmp_path, people, strangers, cache):
    without = train_maskinv(quick(), [Source(people), Source(strangers)], tmp_path, machine=HERE, keep_crops=False,
                            licence="none", cache=cache)  # fmt: skip
    assert without.weights.read_bytes() == done[1].weights.read_bytes()


def test_losses_that_are_no_numbers_end_the_run_early(tmp_path, people, cache, monkeypatch):
    from maskbench.train import maskinv

    monkeypatch.setattr(maskinv, "template_kd", lambda ours, *_: ours.mean() * float("nan"))
    with pytest.raises(MaskbenchError, match="no finite gradient in 10 steps in a row; lower optimiser.rate"):
        train_maskinv(quick("epochs=30"), [Source(people)], tmp_path, machine=HERE, cache=cache)


def test_validation_is_logged_and_nobody_is_on_both_sides(tmp_path, people, strangers, cache):
    changes = quick("epochs=1", "batch=4", "blend=1")
    with pytest.raises(MaskbenchError, match="6 people are also trained on"):
        train_maskinv(changes, [Source(people)], tmp_path / "a", machine=HERE, validation=Source(people), cache=cache)
    trained = train_maskinv(changes, [Source(strangers)], tmp_path / "b", machine=HERE, validation=Source(people),
                            cache=cache)  # fmt: skip
    logged = [line["validation"] for line in read_log(tmp_path / "b") if "validation" in line]
    assert logged == [trained.report["final"]]
    assert set(logged[0]) >= {"umr_ump_eer", "umr_mp_eer", "mr_mp_eer"}


def test_a_teacher_that_runs_along_sees_clean_faces(tmp_path, people, cache, monkeypatch):
    """Every picture that the teacher is shown is the student's crop without mask, and differs from it where masked."""
    from maskbench.train.maskinv import MaskInv

    shown = []
    method = MaskInv.losses

    def watch(self, turn, batch, generator):
        shown.append((batch.faces.numpy().copy(), batch.clean.numpy().copy(), batch.masked.numpy()))
        return method(self, turn, batch, generator)

    monkeypatch.setattr(MaskInv, "losses", watch)
    plain = [f"augmentation.{name}=0" for name in ("colour", "grey", "crop112", "small", "blur", "noise", "jpeg",
                                                   "recolour", "patch")]  # fmt: skip
    changes = quick("teacher_view=same", "epochs=2", *plain)
    train_maskinv(changes, [Source(people)], tmp_path, machine=HERE, cache=cache)
    masked = np.concatenate([which for *_, which in shown])
    assert 0 < masked.sum() < len(masked)
    for faces, clean, which in shown:
        differ = (faces != clean).any(axis=(1, 2, 3))
        np.testing.assert_array_equal(differ, which)


def test_blending_is_a_share_of_each():
    start, trained = {"w": torch.zeros(3), "n": torch.tensor(1)}, {"w": torch.ones(3), "n": torch.tensor(5)}
    mixed = blended(trained, start, 0.8)
    torch.testing.assert_close(mixed["w"], torch.full((3,), 0.8))
    assert mixed["n"] == 5 and blended(trained, start, 1.0) is trained


def test_a_student_cannot_start_from_another_network(tmp_path, people, cache):
    with pytest.raises(MaskbenchError, match="dlib-resnet is no iresnet18, so the student cannot start from it"):
        train_maskinv(quick("student.network=iresnet18"), [Source(people)], tmp_path, machine=HERE, cache=cache)


def test_a_teacher_with_another_files_card_is_refused(done, tmp_path, people, cache):
    folder = Path(shutil.copytree(done[0], tmp_path / "teacher"))
    card = json.loads((folder / "weights.json").read_text())
    (folder / "weights.json").write_text(json.dumps({**card, "sha256": "ab" * 32}))
    with pytest.raises(MaskbenchError, match=r"weights\.safetensors has SHA-256 \w{64}, but .* describes abab"):
        train_maskinv(quick(f"teacher=torch:{folder}/weights.safetensors"), [Source(people)], tmp_path / "out",
                      machine=HERE, cache=cache)  # fmt: skip


def test_a_label_file_with_a_missing_row_names_the_picture(tmp_path, strangers, cache):
    labels = tmp_path / "labels.csv"
    labels.write_text("path,subject\n" + "".join(f"{n}.jpg,s{n % 3}\n" for n in range(7)))
    with pytest.raises(MaskbenchError, match=r"labels\.csv.*7\.jpg"):
        train_maskinv(quick(), [Source(strangers, labels=labels)], tmp_path / "out", machine=HERE, cache=cache)
