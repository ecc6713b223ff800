"""Both stages of de-occlusion distillation on a few faces: what they leave, that kill -9 changes nothing, refusals."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from refusals import message
from small_runs import HERE, logged, runner

from maskbench.align import template_at
from maskbench.cli.main import main
from maskbench.completions.base import load_completion
from maskbench.digest import file_sha256
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.card import own_completion
from maskbench.train import run_deocclusion
from maskbench.train.completion import CompletionTraining
from maskbench.train.deocclusion import Deocclusion
from maskbench.train.face_sets import open_face_set
from maskbench.train.loop import Machine, read_log
from maskbench.train.occluded import wide_at
from maskbench.train.prepare import prepare_faces
from maskbench.train.recipe import load_recipe
from maskbench.train.run_deocclusion import WIDE, Faces, _identity_reader, train_deocclusion
from maskbench.train.running import Source
from maskbench.train.templates import teacher_templates

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = (
    "completion.size=32", "completion.width=0.125", "completion.critic_width=0.125", "completion.batch=8",
    "completion.epochs=2", "completion.precision=32-true", "completion.losses.penalty_every=2",
    "recognition.batch=8", "recognition.epochs=2", "recognition.precision=32-true", "recognition.losses.sampled=9",
    "recognition.variants=0",
)  # fmt: skip
STAGES = ("completion", "student")
LEFT = {
    "completion": {"checkpoint.safetensors", "left_out.csv", "log.jsonl", "training.json", "weights.json",
                   "weights.safetensors", "weights.subjects.txt"},
    "student": {"checkpoint.safetensors", "completion.json", "completion.safetensors", "completion.subjects.txt",
                "left_out.csv", "log.jsonl", "training.json", "weights.json", "weights.safetensors",
                "weights.subjects.txt"},
}  # fmt: skip


def quick(*changes: str):
    return load_recipe("deocclusion-small", [*QUICK, *changes])


@pytest.fixture(scope="module")
def train(people, strangers, cache):
    return runner(train_deocclusion, quick, [Source(people), Source(strangers)], cache)


@pytest.fixture(scope="module")
def done(tmp_path_factory, train):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(out)


def weights(out: Path) -> list[bytes]:
    names = ("completion/weights", "student/weights", "student/completion")
    return [(out / f"{name}.{kind}").read_bytes() for name in names for kind in ("safetensors", "json")]


def losses(out: Path) -> list[dict]:
    return logged(out / stage for stage in STAGES)


class TestWhatIsLeft:
    def test_files(self, done):
        out, trained = done
        assert set(trained) == set(STAGES)
        for stage, names in LEFT.items():
            found = {path.name for path in (out / stage).iterdir()} - {"tensorboard"}
            assert found == names
            assert trained[stage].weights == out / stage / "weights.safetensors"

    def test_the_completion_loads_and_fills_holes(self, done):
        out, trained = done
        found = load_completion(f"torch:{trained['completion'].weights}", "cpu", "torch")
        spec = found.spec
        assert (spec.name, spec.input_size, spec.template, spec.licence) == ("ga", (32, 32), "wide128", "none")
        assert spec.weights_sha256 == file_sha256(out / "completion" / "weights.safetensors")
        card = json.loads((out / "completion" / "weights.json").read_text())
        assert card["network"] == "ga" and card["width"] == 0.125 and card["training_data"] == ["people", "strangers"]
        assert card["terms"] == "any" and "recipe deocclusion-small version 1" in card["source"]
        faces = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
        masks = np.zeros((2, 32, 32), np.uint8)
        masks[0, 10:20, 8:22] = 1
        filled = found.complete(faces, masks)
        assert (filled[masks == 0] == faces[masks == 0]).all() and (filled[masks == 1] != faces[masks == 1]).any()

    def test_the_student_loads_with_its_completion(self, done):
        out, trained = done
        reference = f"torch:{trained['student'].weights}"
        student, teacher = (load_recognizer(name, "cpu", "torch") for name in (reference, "dlib-resnet"))
        assert student.spec.completion == "torch:completion.safetensors" and student.spec.network == "dlib-resnet"
        assert student.spec.training_data[-2:] == ("people", "strangers") and student.spec.licence == "none"
        faces = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), np.uint8)
        assert 1e-4 < np.abs(student.embed(faces)[0] - teacher.embed(faces)[0]).max() < 1
        assert len(student.training_subjects) == 6
        beside = load_completion(own_completion(student.spec, out / "student" / "weights.json"), "cpu", "torch")
        first = load_completion(f"torch:{trained['completion'].weights}", "cpu", "torch")
        assert beside.digest == first.digest

    def test_reports(self, done):
        out, trained = done
        for stage in STAGES:
            report = json.loads((out / stage / "training.json").read_text())
            assert report == trained[stage].report
            assert (report["steps"], report["faces"], report["subjects"], report["final"]) == (4, 20, 6, None)
        first, second = (trained[stage].report["recipe"] for stage in STAGES)
        assert "recognition" not in first and "completion" not in second
        assert first["completion"]["size"] == 32 and second["recognition"]["batch"] == 8 and second["grow"] == [1, 3]

    def test_both_have_learnt(self, done):
        """The completion is not what it started from; the student's frozen parts are."""
        from safetensors.torch import load_file

        from maskbench.completions.learned import NETWORKS
        from maskbench.models.dlib_resnet import fold, load_dlib_resnet, unfold
        from maskbench.recognizers.dlib_resnet import checked_weights

        torch.manual_seed(0)
        before, after = NETWORKS["ga"](32, 0.125).state_dict(), load_file(done[1]["completion"].weights)
        assert set(before) == set(after)
        assert all(not torch.equal(before[name], after[name]) for name in before)
        before = unfold(fold(load_dlib_resnet(checked_weights()))).state_dict()
        after = load_file(done[1]["student"].weights)
        same = {name for name in before if torch.equal(before[name], after[name])}
        frozen = {name for name in before if name.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2."))}
        assert same == frozen | {name for name in before if ".affine" in name}

    def test_logs(self, done):
        (first,), (second,) = (read_log(done[0] / stage) for stage in STAGES)
        assert {"critics/loss", "critics/distance", "completion/hole", "completion/adversarial"} <= set(first)
        assert {"loss", "instance", "pair", "triplet", "soft_targets"} <= set(second)


class TestAgain:
    def test_another_run_is_the_same_to_the_byte(self, done, train, tmp_path):
        """Also stage by stage, and with processes that make the pictures."""
        for stage in STAGES:
            torch.manual_seed(77)  # nothing may depend on what was drawn before
            assert set(train(tmp_path, stages=(stage,), machine=replace(HERE, workers=1))) == {stage}
        assert weights(tmp_path) == weights(done[0]) and losses(tmp_path) == losses(done[0])

    def test_another_seed_is_another_run(self, done, train, tmp_path):
        train(tmp_path, "seed=1", "completion.epochs=0.5", stages=("completion",))
        assert (tmp_path / "completion" / "weights.json").exists()
        assert read_log(tmp_path / "completion")[0]["completion/hole"] != losses(done[0])[0]["completion/hole"]

    @pytest.mark.slow
    def test_killed_in_either_stage_and_resumed_is_the_same_to_the_byte(self, done, train, tmp_path):
        """Each time in the second epoch, a step after the last checkpoint."""

        def until(kind, turn):
            steps, step = iter(range(99)), kind.losses

            def losses(self, which, batch, generator):
                if which == turn and next(steps) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(self, which, batch, generator)

            kind.losses = losses
            train(tmp_path, resume=kind is Deocclusion)

        def killed(kind, turn):
            child = multiprocessing.get_context("fork").Process(target=until, args=(kind, turn))
            child.start()
            child.join(120)
            assert child.exitcode == -signal.SIGKILL

        killed(CompletionTraining, "completion")
        assert (tmp_path / "completion" / "checkpoint.safetensors").exists()
        assert not (tmp_path / "completion" / "weights.safetensors").exists() and not (tmp_path / "student").exists()
        killed(Deocclusion, "student")
        kept = (tmp_path / "completion" / "weights.safetensors").stat().st_mtime_ns
        assert (tmp_path / "student" / "checkpoint.safetensors").exists()
        assert not (tmp_path / "student" / "weights.safetensors").exists()
        assert set(train(tmp_path, resume=True)) == {"student"}, "the first stage was done"
        assert (tmp_path / "completion" / "weights.safetensors").stat().st_mtime_ns == kept
        assert weights(tmp_path) == weights(done[0]) and losses(tmp_path) == losses(done[0])

    def test_killed_while_the_first_stage_was_being_written(self, begun, done, train):
        """Its weights are there, but neither their card nor the report."""
        for name in ("weights.json", "training.json"):
            (begun / "completion" / name).unlink()
        assert set(train(begun, stages=("completion",), resume=True)) == {"completion"}
        assert weights(begun) == weights(done[0])
        assert train(begun, stages=("completion",), resume=True) == {}  # and is not done again

    def test_a_network_that_draws_noise_goes_on_as_it_would_have(self, train, tmp_path):
        """The completion after Li et al. fills holes with noise while it is trained."""
        how = ("completion.network=gfc", "completion.size=64", "completion.width=0.03", "completion.name=gfc")
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        train(whole, *how, stages=("completion",))

        class Enough(Exception): ...

        step, left = CompletionTraining.losses, iter(range(99))

        def losses(self, turn, batch, generator):
            if turn == "completion" and next(left) == 2:
                raise Enough
            return step(self, turn, batch, generator)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Enough):
            patch.setattr(CompletionTraining, "losses", losses)
            train(parts, *how, stages=("completion",))
        torch.manual_seed(5)
        train(parts, *how, stages=("completion",), resume=True)
        one, other = (folder / "completion" / "weights.safetensors" for folder in (whole, parts))
        assert one.read_bytes() == other.read_bytes()


class TestRefused:
    def test_the_student_without_a_completion(self, train, tmp_path):
        said = message(train, tmp_path, stages=("student",))
        path = tmp_path / "completion" / "weights.safetensors"
        assert said == f"{path}: no such file; train the stage completion first, or give --completion"
        assert not (tmp_path / "student").exists()

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ("completion.losses.hole=2", "recipe.completion.losses.hole = 6.0, this one has 2.0"),
            ("recognition.losses.mix=0.5", "recipe.recognition.losses.mix = 0.2, this one has 0.5"),
            ("masks.recipes.ar1=3", "recipe.masks.recipes.ar1 = 0.5, this one has 3.0"),
            ("completion.grow=[0, 1]", "recipe.completion.grow = [1, 3], this one has [0, 1]"),
            ("augmentation.flip=0", "recipe.augmentation.flip = 0.5, this one has 0.0"),
            ("seed=3", "recipe.seed = 0, this one has 3"),
        ],
    )
    def test_resuming_with_a_changed_recipe_names_the_setting(self, begun, train, change, why):
        """Of whichever stage, and although the first one is done."""
        before = weights(begun)
        said = message(train, begun, change, resume=True)
        assert said.startswith(str(begun)) and f"its run had {why}" in said and weights(begun) == before

    def test_resuming_one_stage_with_a_changed_recipe(self, begun, train):
        said = message(train, begun, "recognition.p=0.5", stages=("student",), resume=True)
        assert "recipe.recognition.p = 0.7, this one has 0.5" in said
        said = message(train, begun, "completion.grow=[0, 1]", stages=("student",), resume=True)
        assert "recipe.grow = [1, 3], this one has [0, 1]" in said

    def test_another_teacher_where_it_reads_completed_faces(self):
        changes = ((), ("completion.losses.identity=1",))
        plain, identity = (run_deocclusion._identity_of_completion(quick(*how)) for how in changes)
        assert "teacher" not in plain and len(identity["teacher"]) == 64

    def test_resuming_with_other_faces(self, begun, train, people):
        assert "its run had faces = " in message(train, begun, sources=[Source(people)], resume=True)

    def test_a_run_in_the_way(self, begun, train):
        for stages in (STAGES, ("student",)):
            assert "a run is there already; go on with --resume" in message(train, begun, stages=stages)

    def test_another_completion_when_resuming(self, begun, train, tmp_path):
        folder = Path(shutil.copytree(begun / "completion", tmp_path / "other"))
        card = json.loads((folder / "weights.json").read_text())
        path = folder / "weights.safetensors"
        from safetensors.torch import load_file, save_file

        save_file({name: value + 1e-3 for name, value in load_file(path).items()}, path)
        assert f"{path}: not the file that its card describes" in message(train, begun, completion=path, resume=True)
        (folder / "weights.json").write_text(json.dumps({**card, "sha256": file_sha256(path)}))
        assert "its run had completion = " in message(train, begun, completion=path, resume=True)

    def test_a_completion_of_another_card_or_none(self, begun, train, tmp_path):
        path = begun / "completion" / "weights.safetensors"
        card = json.loads((begun / "completion" / "weights.json").read_text())
        (begun / "completion" / "weights.json").write_text(json.dumps({**card, "sha256": "ab" * 32}))
        said = message(train, tmp_path / "new", completion=path)
        assert said == f"{path}: not the file that its card describes; get the right one, or train it anew"
        assert not (tmp_path / "new").exists()
        (begun / "completion" / "weights.json").unlink()
        assert f"{path}: no card at " in message(train, tmp_path / "new", completion=path)

    def test_a_completion_in_place_of_the_stage_that_is_asked_for(self, done, train, tmp_path):
        path = done[0] / "completion" / "weights.safetensors"
        said = message(train, tmp_path, completion=path, stages=("completion",))
        assert said == f"{path}: a completion in place of the first stage; leave out --stage completion"

    @pytest.mark.parametrize("stage", STAGES)
    def test_people_on_both_sides(self, train, tmp_path, stage, people, begun):
        how = {"stages": (stage,), "validation": Source(people), "completion": None}
        if stage == "student":
            how["completion"] = begun / "completion" / "weights.safetensors"
        said = message(train, tmp_path / "out", **how)
        assert "6 people are also trained on, such as people/" in said and said.startswith(f"{people}: ")

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ("completion.grow=[1]", "completion.grow must be the least and the most, 0 or more, not [1]"),
            ("completion.grow=[3, 1]", "completion.grow must be the least and the most, 0 or more, not [3, 1]"),
            ("completion.grow=[-1, 1]", "completion.grow must be the least and the most, 0 or more, not [-1, 1]"),
            ("completion.optimiser.betas=[0.5]", "completion.optimiser.betas must be two numbers"),
            ("recognition.optimiser.betas=[0.5, 1]", "recognition.optimiser.betas must be two numbers"),
            ("completion.name=../x", 'completion: the card of ../x: "name" must be letters'),
            ("completion.name=telea", 'completion: the card of telea: "name": telea is another completion'),
            ("completion.width=5", 'completion: the card of ga: "width" must be a number from 0.01 to 4'),
            ("completion.size=2048", 'completion: the card of ga: "size" must be a whole number from 16'),
            ("recognition.student.network=nothing", 'no network "nothing"'),
            ("recognition.student.network=iresnet18", "dlib-resnet is no iresnet18, so the student cannot start"),
            ("recognition.student={network: mobilefacenet, start: random}",
             "the teacher's templates have 128 numbers, the student's 512"),
        ],
    )  # fmt: skip
    def test_before_the_first_stage_and_not_after_days(self, train, tmp_path, change, why):
        said = message(train, tmp_path / "out", change)
        assert said.startswith("recipe deocclusion-small: ") and why in said
        assert not (tmp_path / "out").exists()

    def test_a_batch_that_processes_cannot_share(self, train, tmp_path):
        machine = Machine("cpu", devices=3)
        said = message(train, tmp_path / "out", "completion.batch=6", "recognition.batch=8", machine=machine)
        assert said == "a batch of 8 cannot be shared among 3 processes; set recognition.batch, or give other --devices"
        assert not (tmp_path / "out").exists()

    def test_a_student_that_sees_more_than_completions_do(self, train, tmp_path, monkeypatch):
        """None of the templates does; those of somebody's own networks might."""
        small = template_at("dlib150")
        wider = replace(small, points=(small.points - 75) * 0.7 + 75)
        real = run_deocclusion.template_at
        monkeypatch.setattr(run_deocclusion, "template_at", lambda *a: wider if a[0] == "dlib150" else real(*a))
        said = message(train, tmp_path / "out")
        assert said.endswith(": template dlib150 shows more than completions do; choose another network")

    def test_a_batch_larger_than_all_faces(self, train, tmp_path):
        assert "20 faces are too few for one step of 64" in message(train, tmp_path, "completion.batch=64")


class TestVariants:
    def test_validation_is_logged_by_both_stages(self, train, tmp_path, people, strangers):
        changes = ("completion.epochs=1", "recognition.epochs=1", "recognition.blend=1")
        how = {"sources": [Source(strangers)], "validation": Source(people)}
        trained = train(tmp_path, *changes, **how)
        for stage, names in (("completion", {"hole_l1", "hole_psnr"}), ("student", {"umr_mp_eer", "mr_mp_eer"})):
            logged = [line["validation"] for line in read_log(tmp_path / stage) if "validation" in line]
            assert len(logged) == 1 and logged[0].keys() >= names
            assert logged[0] == pytest.approx(trained[stage].report["final"], rel=1e-4)
            assert trained[stage].report["validation"] == {"1": logged[0]}

    def test_end_to_end_the_completion_beside_the_student_has_learnt_along(self, done, train, tmp_path):
        given = done[0] / "completion" / "weights.safetensors"
        train(tmp_path, "recognition.end_to_end=true", "recognition.epochs=1", completion=given)
        assert not (tmp_path / "completion").exists()
        beside = tmp_path / "student" / "completion.safetensors"
        first, along = (load_completion(f"torch:{path}", "cpu", "torch") for path in (given, beside))
        assert first.spec.weights_sha256 != along.spec.weights_sha256 == file_sha256(beside)
        assert "then trained along with a student" in along.card.source
        student = load_recognizer(f"torch:{tmp_path / 'student' / 'weights.safetensors'}", "cpu", "torch")
        assert student.spec.completion == "torch:completion.safetensors"

    def test_the_identity_term_in_a_run(self, train, tmp_path):
        how = ("completion.losses.identity=0.5", "completion.losses.adversary=none", "completion.epochs=0.5")
        train(tmp_path, *how, stages=("completion",))
        (line,) = read_log(tmp_path / "completion")
        assert line["identity"] > 0 and line["loss"] > 6 * line["hole"] + 1.2 * line["outside"]

    def test_the_recognizer_behind_it_reads_plain_crops_as_the_teacher_does(self, people, cache):
        """Its templates of faces without a hole are those that centres were made of, up to interpolation."""
        recipe = load_recipe("deocclusion-small", ["completion.size=192"])
        faces = prepare_faces([open_face_set(people)], wide_at(WIDE), workers=1, root=cache)
        reader, centres = _identity_reader(recipe, faces, cache)
        teacher = load_recognizer("dlib-resnet", "cpu", "torch")
        templates = teacher_templates(teacher, faces, cache)
        margin = (faces.template.size[0] - WIDE) // 2
        crops = np.stack([faces.crop(i)[0][margin:-margin, margin:-margin] for i in range(4)])
        with torch.no_grad():
            found = reader(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()
        apart = np.linalg.norm(found - templates[:4, 0], axis=1)
        others = np.linalg.norm(templates[:4, 0] - templates[4:8, 0], axis=1)
        assert (apart < 0.25 * others).all()
        people_of = np.array([faces.subjects.index(subject) for subject in faces.subjects])
        for index in range(len(faces)):
            mean = templates[people_of == people_of[index], 0].mean(axis=0)
            np.testing.assert_allclose(centres[index], mean, atol=1e-5)

    def test_faces_are_prepared_once_for_both_stages(self, people, cache, monkeypatch):
        made = []
        prepare = run_deocclusion.prepare_faces
        monkeypatch.setattr(run_deocclusion, "prepare_faces", lambda *a, **k: made.append(a) or prepare(*a, **k))
        faces = Faces([Source(people)], None, True, cache)
        assert faces.ready() is faces.ready() and len(made) == 1
        assert faces.ready()[0].template.size[0] > WIDE == template_at("wide128", (WIDE, WIDE)).size[0]


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("deocclusion", "--recipe", "maskinv-small"),
             "recipe maskinv-small: of method maskinv; maskbench train maskinv"),
            (("maskinv", "--recipe", "deocclusion-soft"),
             "recipe deocclusion-soft: of method deocclusion; maskbench train deocclusion"),
            (("deocclusion", "--recipe", "smal"), 'no training recipe "smal"'),
            (("deocclusion", "--set", "completion.losses.whole=1"), 'no setting "completion.losses.whole"'),
            (("deocclusion", "--set", "recognition.losses.instance=soft"), 'losses.instance "soft" is unknown'),
            (("deocclusion", "--stage", "student"), "train the stage completion first, or give --completion"),
            (("deocclusion", "--devices", "many"), '--devices "many" is no number'),
        ],
    )  # fmt: skip
    def test_mistakes_are_one_line(self, command, arguments, why):
        said = command(*arguments)
        assert said.startswith("error: ") and why in said and len(said.splitlines()) == 1

    def test_stages_that_there_are_not(self, command):
        last = command("deocclusion", "--stage", "teacher").splitlines()[-1]
        assert "--stage" in last and "'completion', 'student'" in last

    def test_a_completion_that_is_not_there(self, command, tmp_path):
        last = command("deocclusion", "--completion", tmp_path / "none.safetensors").splitlines()[-1]
        assert "none.safetensors" in last and "does not exist" in last

    def test_a_stage(self, done, people, strangers, cache, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("MASKBENCH_CACHE", str(cache))
        changes = [part for change in QUICK for part in ("--set", change)]
        with pytest.raises(SystemExit) as end:
            main([
                "train", "deocclusion", "--data", str(people), "--data", str(strangers), "--out", str(tmp_path),
                "--accelerator", "cpu", "--workers", "0", "--licence", "none", "--terms", "any", *changes,
                "--stage", "completion",
            ])  # fmt: skip
        assert end.value.code == 0
        said = capsys.readouterr().out
        assert said.startswith("completion: 4 steps on 20 faces of 6 labelled people in ")
        assert f"torch:{tmp_path / 'completion' / 'weights.safetensors'}" in said
        assert not (tmp_path / "student").exists()
        written = [(folder / "completion" / "weights.safetensors").read_bytes() for folder in (tmp_path, done[0])]
        assert written[0] == written[1]


@pytest.mark.slow
def test_two_processes_by_torchrun_train_both_stages(people, strangers, cache, tmp_path):
    """The second stage of every process begins when the first one's weights are written."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29543", "-m",
        "maskbench", "train", "deocclusion", "--data", str(people), "--data", str(strangers), "--out", str(tmp_path),
        "--accelerator", "cpu", "--devices", "2", "--workers", "0",
        *(part for change in QUICK for part in ("--set", change)),
    ]  # fmt: skip
    environment = {**os.environ, "MASKBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    for stage in STAGES:
        assert json.loads((tmp_path / stage / "training.json").read_text())["steps"] == 4
        assert {path.name for path in (tmp_path / stage).iterdir()} >= LEFT[stage]
