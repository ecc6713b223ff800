"""All stages of G2D on a few faces: what they leave, that an interruption changes nothing, whom they see, refusals."""

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

from g2d_pictures import QUICK, SIZES, quick
from refusals import message
from safetensors.torch import load_file, save_file
from small_runs import HERE, logged, runner

from maskbench.cli.main import main
from maskbench.completions import builtin
from maskbench.completions.base import load_completion
from maskbench.digest import config_sha256, file_sha256
from maskbench.models.g2d import build_g2d
from maskbench.models.ict import ICT
from maskbench.recognizers.base import load_recognizer
from maskbench.train import run_g2d
from maskbench.train.face_sets import open_face_set
from maskbench.train.g2d_encoder import PriorTraining, UpsamplerTraining
from maskbench.train.g2d_recipe import STAGES
from maskbench.train.g2d_reformer import ClassifierTraining, ReformerTraining
from maskbench.train.g2d_split import held_out
from maskbench.train.loop import Machine, read_log
from maskbench.train.occluded import OccludedFaces, wide_at
from maskbench.train.prepare import PreparedFaces, prepare_faces
from maskbench.train.run_g2d import train_g2d
from maskbench.train.running import Source

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = dict(zip(STAGES, (PriorTraining, UpsamplerTraining, ReformerTraining, ClassifierTraining), strict=True))
RUN = {"checkpoint.safetensors", "left_out.csv", "log.jsonl", "training.json", "weights.json", "weights.safetensors"}
OF_STAGE = {
    "prior": {"palette.npy"}, "upsampler": {"weights.subjects.txt"}, "reformer": {"weights.subjects.txt"},
}  # fmt: skip


@pytest.fixture(scope="module")
def train(people, strangers, cache):
    return runner(train_g2d, quick, [Source(people), Source(strangers)], cache)


@pytest.fixture(scope="module")
def done(tmp_path_factory, train):
    """A whole run; what it trained; and which pictures were read by which stage, for training or else."""
    out, seen, stage = tmp_path_factory.mktemp("runs") / "whole", [], [""]
    train_stage, item, crop = run_g2d._train, OccludedFaces.__getitem__, PreparedFaces.crop

    def named(job, name, again):
        stage[0] = name
        return train_stage(job, name, again)

    def asked(self, where):
        seen.append((stage[0], "trained" if self.augmentation else "measured", self.faces.keys[where[1]]))
        return item(self, where)

    def cut(self, index):
        seen.append((stage[0], "read", self.keys[index]))
        return crop(self, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_g2d, "_train", named)
        patch.setattr(OccludedFaces, "__getitem__", asked)
        patch.setattr(PreparedFaces, "crop", cut)
        return out, train(out), seen


def weights(out: Path) -> list[bytes]:
    return [(out / stage / f"weights.{kind}").read_bytes() for stage in STAGES for kind in ("safetensors", "json")]


def losses(out: Path) -> list[dict]:
    return logged(out / stage for stage in STAGES)


class TestWhatIsLeft:
    def test_files(self, done):
        out, trained, _ = done
        assert tuple(trained) == STAGES
        for stage in STAGES:
            found = {path.name for path in (out / stage).iterdir()} - {"tensorboard"}
            assert found == RUN | OF_STAGE.get(stage, set())
            assert trained[stage].weights == out / stage / "weights.safetensors"
            card = json.loads((out / stage / "weights.json").read_text())
            assert card["sha256"] == file_sha256(trained[stage].weights)

    def test_the_records(self, done):
        """Each names its own weights, its settings, and the weights that it was built on."""
        out, trained, _ = done
        before = None
        for stage in STAGES:
            record = json.loads((out / stage / "training.json").read_text())
            assert record == json.loads(json.dumps(trained[stage].report))
            assert record["weights"] == file_sha256(out / stage / "weights.safetensors")
            assert record["identity"] == config_sha256(record["made_with"])
            assert record["made_with"].get("before") == before
            assert record["recipe"] == record["made_with"]["recipe"] and record["kept_out"] == 6
            assert (record["steps"], record["faces"]) == (4, 6 if stage == "classifier" else 14)
            before = record["weights"]

    def test_the_encoder_is_a_completion(self, done):
        found = load_completion(f"torch:{done[1]['upsampler'].weights}", "cpu", "torch")
        spec = found.spec
        assert (spec.name, spec.input_size, spec.template, spec.licence) == ("ict", (32, 32), "dlib150", "none")
        faces = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
        masks = np.zeros((2, 32, 32), np.uint8)
        masks[0, 10:20, 8:22] = 1
        filled = found.complete(faces, masks)
        assert (filled[masks == 0] == faces[masks == 0]).all() and (filled[masks == 1] != faces[masks == 1]).any()

    @pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
    def test_the_whole_is_a_recognizer_that_reads_masks(self, done, engine):
        out, trained, _ = done
        found = load_recognizer(f"torch:{trained['reformer'].weights}", "cpu", engine)
        spec = found.spec
        assert (spec.name, spec.network, spec.needs_mask) == ("g2d-small", "g2d", True)
        assert (spec.embedding_size, spec.comparator, spec.template) == (128, "negative-l2", "dlib150")
        assert spec.training_data[-2:] == ("people", "strangers") and len(found.training_subjects) == 6
        network = build_g2d(quick().network)
        network.load_state_dict(load_file(trained["reformer"].weights))
        faces = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
        masks = np.zeros((2, 32, 32), np.uint8)
        masks[0, 10:20, 8:22] = 1
        pictures = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            expected = network.eval()(pictures, torch.from_numpy(masks)[:, None].float()).numpy()
        np.testing.assert_allclose(found.embed(faces, masks)[0], expected, atol=1e-4)

    def test_the_encoder_is_kept_by_the_stages_behind_it(self, done):
        prior, upsampler, whole = (load_file(done[0] / stage / "weights.safetensors") for stage in STAGES[:3])
        assert {name for name in upsampler if not name.startswith("upsampler.")} == set(prior)
        assert all(torch.equal(upsampler[name], value) for name, value in prior.items())
        assert all(torch.equal(whole[f"encoder.{name}"], value) for name, value in upsampler.items())
        palette = np.load(done[0] / "prior" / "palette.npy")
        assert torch.equal(prior["palette"], torch.from_numpy(palette)) and palette.shape == (8, 3)

    def test_every_stage_has_learnt(self, done):
        """Its network is not what it started from; running averages apart, all of it."""
        torch.manual_seed(0)
        started = {f"encoder.{k}": v for k, v in ICT(32, 4, 8, 8, 1, 2, 0.125, 2).state_dict().items()}
        torch.manual_seed(0)
        started |= {k: v for k, v in build_g2d(quick().network).state_dict().items() if k.startswith("reformer.")}
        learnt = load_file(done[0] / "reformer" / "weights.safetensors")
        assert set(started) == set(learnt)
        assert {name for name in learnt if torch.equal(started[name], learnt[name])} == set()
        lines = {stage: read_log(done[0] / stage)[0] for stage in STAGES}
        assert {"loss", "accuracy", "hidden"} <= set(lines["prior"])
        assert {"critic/loss", "upsampler/whole", "upsampler/hole", "upsampler/adversarial"} <= set(lines["upsampler"])
        assert {"loss", "instance", "pair", "triplet"} <= set(lines["reformer"])
        assert {"loss", "accuracy"} <= set(lines["classifier"])

    def test_the_classifier_says_who(self, done):
        card = json.loads((done[0] / "classifier" / "weights.json").read_text())
        assert len(card["classes"]) == 6 == len(set(card["classes"]))
        assert all(name.startswith("people/") for name in card["classes"])
        assert card["backbone"] == file_sha256(done[0] / "reformer" / "weights.safetensors")
        shapes = {k: tuple(v.shape) for k, v in load_file(done[0] / "classifier" / "weights.safetensors").items()}
        assert shapes == {"fc.weight": (6, 128), "fc.bias": (6,)}
        final = done[1]["classifier"].report["final"]
        assert final["pictures"] == 6 and final["rank1_bare"] == final["correct_bare"] / 6
        assert final["rank1_masked"] == final["correct_masked"] / 6


class TestKeptOut:
    def test_no_stage_sees_what_is_kept_out(self, done, people, cache):
        """Neither for palette nor teacher's templates, nor in any step; only to be identified at the end."""
        faces = prepare_faces([open_face_set(people)], wide_at(192), workers=1, root=cache)
        out = {faces.keys[row] for row in np.flatnonzero(held_out(faces, 2))}
        assert len(out) == 6
        for stage in STAGES:
            trained, measured, read = (
                {key for name, what, key in done[2] if (name, what) == (stage, kind)}
                for kind in ("trained", "measured", "read")
            )
            assert len(trained) >= (6 if stage == "classifier" else 12) and not trained & out
            assert measured == (out if stage == "classifier" else set())
            assert read & out == measured, "also by whatever reads faces past the data"

    def test_it_can_be_nobody(self, train, tmp_path):
        train(tmp_path, "holdout=0", "prior.epochs=0.5", stages=("prior",))
        record = json.loads((tmp_path / "prior" / "training.json").read_text())
        assert (record["kept_out"], record["faces"]) == (0, 20)


class TestAgain:
    def test_another_run_is_the_same_to_the_byte(self, done, train, tmp_path):
        """Also stage by stage, and with processes that make the pictures."""
        for stage in STAGES:
            torch.manual_seed(77)  # nothing may depend on what was drawn before
            np.random.seed(7)
            assert tuple(train(tmp_path, stages=(stage,), machine=replace(HERE, workers=1))) == (stage,)
        assert weights(tmp_path) == weights(done[0]) and losses(tmp_path) == losses(done[0])

    def test_interrupted_in_every_stage_and_resumed_is_the_same_to_the_byte(self, done, train, tmp_path):
        """Each time in the second epoch, a step after the last checkpoint."""

        class Enough(Exception): ...

        def stopped(step, error):
            left = iter(range(99))

            def losses(self, turn, batch, generator):
                if turn != "critic" and next(left) == 3:
                    raise error
                return step(self, turn, batch, generator)

            return losses

        for number, (stage, kind) in enumerate(METHODS.items()):
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Enough):
                patch.setattr(kind, "losses", stopped(kind.losses, Enough))
                train(tmp_path, resume=bool(number))
            assert (tmp_path / stage / "checkpoint.safetensors").exists()
            assert not (tmp_path / stage / "weights.safetensors").exists()
            torch.manual_seed(number)
        assert tuple(train(tmp_path, resume=True)) == ("classifier",), "the others were done"
        assert weights(tmp_path) == weights(done[0]) and losses(tmp_path) == losses(done[0])

    @pytest.mark.parametrize("stage", ["prior", "classifier"])
    def test_killed_while_a_stage_was_being_written(self, begun, done, train, stage):
        """Its weights are there, but neither their card nor the record."""
        for name in ("weights.json", "training.json"):
            (begun / stage / name).unlink()
        assert set(train(begun, stages=(stage,), resume=True)) == {stage}
        assert weights(begun) == weights(done[0])
        assert train(begun, resume=True) == {}  # and nothing is done again

    @pytest.mark.slow
    def test_kill_9_in_every_stage(self, done, train, tmp_path):
        def until(kind):
            left, step = iter(range(99)), kind.losses

            def losses(self, turn, batch, generator):
                if turn != "critic" and next(left) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(self, turn, batch, generator)

            kind.losses = losses
            train(tmp_path, resume=kind is not PriorTraining)

        for kind in METHODS.values():
            child = multiprocessing.get_context("fork").Process(target=until, args=(kind,))
            child.start()
            child.join(300)
            assert child.exitcode == -signal.SIGKILL
        train(tmp_path, resume=True)
        assert weights(tmp_path) == weights(done[0]) and losses(tmp_path) == losses(done[0])


class TestChain:
    """A stage begins only behind one that is what its own record says."""

    @pytest.mark.parametrize("number", [1, 2, 3])
    @pytest.mark.parametrize("name", ["weights.safetensors", "training.json"])
    def test_the_stage_before_is_missing(self, begun, train, number, name):
        before, stage = STAGES[number - 1 : number + 1]
        shutil.rmtree(begun / stage)
        path = begun / before / name
        path.unlink()
        assert message(train, begun, stages=(stage,)) == f"{path}: no such file; train the stage {before} first"
        assert not (begun / stage).exists()

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_its_weights_are_others(self, begun, train, number):
        before, stage = STAGES[number - 1 : number + 1]
        shutil.rmtree(begun / stage)
        path = begun / before / "weights.safetensors"
        save_file({name: value + 1 for name, value in load_file(path).items()}, path)
        said = message(train, begun, stages=(stage,))
        record = path.with_name("training.json")
        assert said == f"{path}: not the file that {record} names; get the right one, or train {before} anew"
        assert not (begun / stage).exists()

    @pytest.mark.parametrize(
        ("stage", "change", "why"),
        [
            ("upsampler", "prior.epochs=3", "recipe.prior.epochs = 2.0, this one has 3.0"),
            ("upsampler", "network.colours=9", "recipe.network.colours = 8, this one has 9"),
            ("upsampler", "masks.recipes.ar1=3", "recipe.masks.recipes.ar1 = 0.5, this one has 3.0"),
            ("upsampler", "template=wide128", 'recipe.template = "dlib150", this one has "wide128"'),
            ("reformer", "prior.random_share=0.1", "recipe.prior.random_share = 0.5, this one has 0.1"),
            ("reformer", "upsampler.guide=argmax", 'recipe.upsampler.guide = "expected", this one has "argmax"'),
            ("reformer", "holdout=3", "recipe.holdout = 2, this one has 3"),
            ("classifier", "reformer.p=0.1", "recipe.reformer.p = 0.7, this one has 0.1"),
            ("classifier", "network.depth=22", "recipe.network.depth = 10, this one has 22"),
        ],
    )
    def test_its_settings_are_others(self, begun, train, stage, change, why):
        shutil.rmtree(begun / stage)
        said = message(train, begun, change, stages=(stage,))
        path = begun / STAGES[STAGES.index(stage) - 1] / "training.json"
        assert said.startswith(f"{path}: its run had {why}; ")

    @pytest.mark.parametrize(
        ("stage", "change"),
        [("upsampler", "reformer.p=0.1"), ("upsampler", "network.depth=22"), ("upsampler", "version=2"),
         ("upsampler", "teacher=other"), ("reformer", "classifier.epochs=9"), ("reformer", "description=mine")],
    )  # fmt: skip
    def test_settings_that_it_does_not_depend_on(self, begun, stage, change):
        before = STAGES[STAGES.index(stage) - 1]
        run_g2d.checked_stage(begun / before, before, quick(change))

    def test_its_record_was_changed(self, begun, train):
        path = begun / "prior" / "training.json"
        record = json.loads(path.read_text())
        shutil.rmtree(begun / "upsampler")
        record["made_with"]["recipe"]["prior"]["epochs"] = 3.0
        path.write_text(json.dumps(record))
        said = message(train, begun, "prior.epochs=3", stages=("upsampler",))
        assert said == f"{path}: its settings are not those of the run that it names; train prior anew"
        for broken in ({}, [], {"made_with": {}}, {**record, "made_with": None}):
            path.write_text(json.dumps(broken))
            said = message(train, begun, stages=("upsampler",))
            assert said == f"{path}: no record of the stage prior; train prior anew"

    def test_trained_on_other_faces(self, begun, train, people):
        shutil.rmtree(begun / "upsampler")
        said = message(train, begun, stages=("upsampler",), sources=[Source(people)])
        path = begun / "prior" / "training.json"
        assert said.startswith(f"{path}: trained on other faces than these, which may be what is kept out here; ")

    def test_the_stages_of_another_run(self, done, train, tmp_path):
        """They stand for those that are not asked for."""
        out = tmp_path / "other"
        train(out, "classifier.epochs=1", stages=("reformer", "classifier"), earlier=done[0])
        assert {path.name for path in out.iterdir()} == {"reformer", "classifier"}
        one, other = (folder / "reformer" / "weights.safetensors" for folder in (done[0], out))
        assert one.read_bytes() == other.read_bytes()

    def test_the_encoder_that_ships_is_one_too(self, done, train, tmp_path, monkeypatch):
        own = tmp_path / "own"
        own.mkdir()
        monkeypatch.setattr(builtin, "learned_folder", lambda: own)
        shipped = "reformer.encoder=shipped"
        told = message(train, tmp_path / "none", shipped, stages=("reformer",))
        assert "no encoder ships with this installation; set reformer.encoder=stage and train one" in told
        for kind in ("safetensors", "json"):
            shutil.copy(done[0] / "upsampler" / f"weights.{kind}", own / f"ict.{kind}")
        bound = {"training_data": ["theirs"], "licence": "of the encoder", "terms": "research"}
        card = json.loads((own / "ict.json").read_text())
        (own / "ict.json").write_text(json.dumps({**card, **bound}))
        (own / "ict.subjects.txt").write_text("somebody else\n")
        told = message(train, tmp_path / "none", shipped, "network.blocks=3", stages=("reformer",))
        assert "the encoder that ships has blocks 2; set the same, or train one" in told
        assert not (tmp_path / "none").exists()
        train(tmp_path / "out", shipped, stages=("reformer", "classifier"))
        for stage in ("reformer", "classifier"):
            theirs, ours = (folder / stage / "weights.safetensors" for folder in (done[0], tmp_path / "out"))
            assert theirs.read_bytes() == ours.read_bytes()
        card = json.loads((tmp_path / "out" / "reformer" / "weights.json").read_text())
        assert {"theirs", "people"} <= set(card["training_data"]) and card["licence"] == "none AND of the encoder"
        known = (tmp_path / "out" / "reformer" / "weights.subjects.txt").read_text().splitlines()
        assert "somebody else" in known and len(known) > 1 and known == sorted(known)
        made = json.loads((tmp_path / "out" / "reformer" / "training.json").read_text())["made_with"]
        assert made["before"] == file_sha256(own / "ict.safetensors")
        (own / "ict.safetensors").write_bytes(b"another")
        assert "describes" in message(train, tmp_path / "none", shipped, stages=("reformer",))

    def test_a_random_encoder_needs_none(self, done, train, tmp_path):
        train(tmp_path, "reformer.encoder=random", "reformer.epochs=0.5", stages=("reformer",))
        torch.manual_seed(0)
        started = build_g2d(quick().network).encoder.state_dict()
        started["palette"] = load_file(done[0] / "upsampler" / "weights.safetensors")["palette"]  # is that of the faces
        found = load_file(tmp_path / "reformer" / "weights.safetensors")
        assert all(torch.equal(found[f"encoder.{name}"], value) for name, value in started.items())


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ("prior.random_share=0.1", "recipe.prior.random_share = 0.5, this one has 0.1"),
            ("upsampler.losses.hole=2", "recipe.upsampler.losses.hole = 1.0, this one has 2.0"),
            ("reformer.losses.delta=2", "recipe.reformer.losses.delta = 1.0, this one has 2.0"),
            ("classifier.p=0.1", "recipe.classifier.p = 0.7, this one has 0.1"),
            ("seed=3", "recipe.seed = 0, this one has 3"),
        ],
    )
    def test_resuming_with_a_changed_recipe_names_the_setting(self, begun, train, change, why):
        before = weights(begun)
        said = message(train, begun, change, resume=True)
        assert said.startswith(str(begun)) and f"its run had {why}" in said and weights(begun) == before

    def test_resuming_behind_another_encoder(self, begun, train):
        """Trained anew since, by the same recipe but for its name: the weights differ."""
        (begun / "reformer" / "training.json").unlink()
        folder = begun / "upsampler"
        path, record = folder / "weights.safetensors", json.loads((folder / "training.json").read_text())
        save_file({name: value + 1 for name, value in load_file(path).items()}, path)
        (folder / "training.json").write_text(json.dumps({**record, "weights": file_sha256(path)}))
        assert "its run had before = " in message(train, begun, stages=("reformer",), resume=True)

    def test_a_stage_that_is_done_on_other_faces_or_another_encoder(self, begun, people, strangers, cache):
        """Nothing is left to train, but the question is not the one that was answered."""
        others = runner(train_g2d, quick, [Source(people)], cache)
        assert "trained on other faces than these" in message(others, begun, stages=("prior",), resume=True)
        folder = begun / "upsampler"
        path, record = folder / "weights.safetensors", json.loads((folder / "training.json").read_text())
        save_file({name: value + 1 for name, value in load_file(path).items()}, path)
        (folder / "training.json").write_text(json.dumps({**record, "weights": file_sha256(path)}))
        (begun / "reformer" / "checkpoint.safetensors").unlink()  # which would tell as well
        ours = runner(train_g2d, quick, [Source(people), Source(strangers)], cache)
        assert f"built on another file than {path}; train reformer anew" in message(ours, begun, resume=True)

    def test_a_finished_stage_without_its_checkpoint_is_not_overwritten(self, begun, train):
        (begun / "prior" / "checkpoint.safetensors").unlink()
        before = weights(begun)
        assert "a run is there already; go on with --resume" in message(train, begun, stages=("prior",))
        assert weights(begun) == before

    def test_what_a_later_stage_lacks_is_told_before_the_first_begins(self, train, strangers, tmp_path):
        told = message(train, tmp_path / "new", stages=("prior", "reformer"))
        assert "upsampler/weights.safetensors: no such file" in told
        held_out = {"validation": Source(strangers)}
        assert "validation needs a folder for each" in message(train, tmp_path / "new", **held_out)
        told = message(train, tmp_path / "new", "upsampler.losses.perceptual=1", "upsampler.losses.features=[no]")
        assert "no" in told
        told = message(train, tmp_path / "new", "classifier.batch=99")
        assert "labelled faces are too few for a step of the stage classifier; give more, or set classifier" in told
        assert not (tmp_path / "new").exists()

    def test_a_run_in_the_way(self, begun, train):
        for stage in STAGES:
            assert "a run is there already; go on with --resume" in message(train, begun, stages=(stage,))

    def test_a_palette_that_is_damaged(self, begun, train):
        path = begun / "prior" / "palette.npy"
        for content, why in ((b"x", "damaged"), (None, "not the palette of this run")):
            (begun / "prior" / "training.json").unlink(missing_ok=True)
            path.write_bytes(content) if content else np.save(path, np.zeros((3, 3), np.float32))
            said = message(train, begun, stages=("prior",), resume=True)
            assert said == f"{path}: {why}; train the stage prior anew"

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ("upsampler.name=../x", 'the card of ../x: "name" must be letters'),
            ("network.tokens=3", '"tokens" must be a whole number from 4 to 128, not 3'),
            ("network.embedding=64", "the teacher's templates have 128 numbers, the student's 64"),
            ("teacher=dlib", 'no recognizer named "dlib"'),
        ],
    )
    def test_before_the_first_stage_and_not_after_days(self, train, tmp_path, change, why):
        assert why in message(train, tmp_path / "out", change)
        assert not (tmp_path / "out").exists()

    def test_a_batch_that_processes_cannot_share(self, train, tmp_path):
        machine = Machine("cpu", devices=3, nodes=2)
        said = message(train, tmp_path / "out", "classifier.batch=4", machine=machine)
        assert said == "a batch of 4 cannot be shared among 6 processes; set classifier.batch, or give other --devices"
        assert not (tmp_path / "out").exists()

    def test_nobody_to_tell_apart(self, train, tmp_path, strangers):
        said = message(train, tmp_path / "out", sources=[Source(strangers)])
        assert "the stage classifier needs two labelled people, but these faces have 0" in said
        assert not (tmp_path / "out").exists()

    def test_people_on_both_sides(self, train, tmp_path, people):
        said = message(train, tmp_path, stages=("prior",), validation=Source(people))
        assert "6 people are also trained on, such as people/" in said

    def test_features_of_the_teacher_that_there_are_not(self, begun, train):
        shutil.rmtree(begun / "upsampler")
        changes = ("upsampler.losses.perceptual=1", "upsampler.losses.features=[blocks.99]")
        assert 'no module "blocks.99" in the teacher' in message(train, begun, *changes, stages=("upsampler",))


class TestVariants:
    def test_validation_is_logged_by_the_stages(self, train, tmp_path, people, strangers):
        changes = ("prior.epochs=1", "upsampler.epochs=1", "reformer.epochs=1")
        how = {"sources": [Source(strangers)], "validation": Source(people), "stages": STAGES[:3]}
        trained = train(tmp_path, *changes, **how)
        names = {"prior": {"token_loss", "token_accuracy"}, "upsampler": {"hole_l1", "hole_psnr"},
                 "reformer": {"umr_ump_eer", "umr_mp_eer", "mr_mp_eer"}}  # fmt: skip
        for stage, expected in names.items():
            logged = [line["validation"] for line in read_log(tmp_path / stage) if "validation" in line]
            assert len(logged) == 1 and logged[0].keys() >= expected
            assert logged[0] == pytest.approx(trained[stage].report["final"], rel=1e-4)

    def test_end_to_end_with_the_teachers_blocks(self, done, train, tmp_path):
        """The reformer of the teacher's last blocks, from its weights, and the encoder along."""
        from maskbench.models.dlib_resnet import fold, load_dlib_resnet
        from maskbench.recognizers.dlib_resnet import checked_weights

        sizes = {key: value for key, value in SIZES.items() if key not in ("widths", "depth", "embedding")}
        sizes |= {"reformer": "teacher", "start": 10}
        changes = (f"network={json.dumps(sizes)}", "reformer.start=teacher", "reformer.train_encoder=true",
                   "reformer.epochs=0.5", "reformer.optimiser.rate=0.00001",
                   "reformer.losses.instance_weight=1")  # fmt: skip
        trained = train(tmp_path, *changes, stages=("reformer",), earlier=done[0])
        found = load_file(trained["reformer"].weights)
        folded = fold(load_dlib_resnet(checked_weights())).state_dict()
        apart = (found["reformer.fc.weight"] - folded["fc.weight"]).abs().max()
        assert 0 < apart < 1e-3
        before = load_file(done[0] / "upsampler" / "weights.safetensors")
        same = {name for name, value in before.items() if torch.equal(value, found[f"encoder.{name}"])}
        assert "palette" in same and any(name.startswith("upsampler.decoder.") for name in same)
        assert not any(name.startswith(("upsampler.encoder.", "upsampler.blocks.", "prior.layers.")) for name in same)

    def test_the_teachers_features_in_a_run(self, done, train, tmp_path):
        terms = "upsampler.losses={perceptual: 0.5, style: 1, adversarial: 0, features: [blocks.2]}"
        train(tmp_path, terms, "upsampler.epochs=0.5", stages=("upsampler",), earlier=done[0])
        (line,) = read_log(tmp_path / "upsampler")
        expected = line["whole"] + line["hole"] + 0.5 * line["perceptual"] + line["style"]
        assert line["perceptual"] > 0 and line["loss"] == pytest.approx(expected, rel=1e-4)


class TestCommand:
    def test_stages(self, done, people, strangers, cache, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("MASKBENCH_CACHE", str(cache))
        changes = [part for change in QUICK for part in ("--set", change)]
        with pytest.raises(SystemExit) as end:
            main([
                "train", "g2d", "--data", str(people), "--data", str(strangers), "--out", str(tmp_path),
                "--accelerator", "cpu", "--workers", "0", "--licence", "none", "--terms", "any", *changes,
                "--stage", "upsampler", "--stage", "prior",
            ])  # fmt: skip
        assert end.value.code == 0
        said = capsys.readouterr().out
        first, second = (line for line in said.splitlines() if " steps on " in line)
        assert "torch:" not in said.partition("upsampler:")[0] and f"torch:{tmp_path / 'upsampler'}" in said
        assert first.startswith("prior: 4 steps on 14 faces of 6 labelled people in ")
        assert second.startswith("upsampler: 4 steps on 14 faces")
        for stage in STAGES[:2]:
            one, other = (folder / stage / "weights.safetensors" for folder in (tmp_path, done[0]))
            assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_two_processes_by_torchrun_train_all_stages(people, strangers, cache, tmp_path):
    """With a critic and an encoder that learns along, for then not every weight gets a gradient on its own."""
    changes = (*QUICK, "classifier.batch=4", "reformer.train_encoder=true")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29547", "-m",
        "maskbench", "train", "g2d", "--data", str(people), "--data", str(strangers), "--out", str(tmp_path),
        "--accelerator", "cpu", "--devices", "2", "--workers", "0",
        *(part for change in changes for part in ("--set", change)),
    ]  # fmt: skip
    environment = {**os.environ, "MASKBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    for stage in STAGES:
        found = {path.name for path in (tmp_path / stage).iterdir()}
        assert found >= RUN | OF_STAGE.get(stage, set()), stage
        assert json.loads((tmp_path / stage / "training.json").read_text())["steps"] > 0
