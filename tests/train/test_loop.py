"""The loop alone: turns, rates, steps that are left out, several processes; with toy methods on a few faces."""

import json
import logging
import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from maskbench.align import template_at
from maskbench.errors import MaskbenchError
from maskbench.train.data import TrainingFaces
from maskbench.train.face_sets import open_face_set
from maskbench.train.loop import (
    LOG,
    Machine,
    _optimizer,
    fit,
    launch,
    rank_zero_first,
    rate_at,
    read_log,
    refuse_other_run,
)
from maskbench.train.prepare import prepare_faces
from maskbench.train.recipe import Optimiser
from maskbench.train.sampling import BatchPlan

PLAIN = Optimiser("sgd", 0.5, momentum=0.0, weight_decay=0.0, schedule="constant", clip=1e9)


@pytest.fixture(scope="module")
def faces(people, cache):
    return prepare_faces([open_face_set(people)], template_at("dlib150"), workers=1, root=cache)


class Duel:
    """Two numbers in two turns: a is drawn to b, b away from a. Each turn's loss has gradients for both."""

    turns = ("first", "second")

    def __init__(self, bad_steps=(), every=None):
        self.every = every or {}
        self.modules = {name: torch.nn.Linear(1, 1, bias=False) for name in self.turns}
        for module, value in zip(self.modules.values(), (1.0, 3.0), strict=True):
            torch.nn.init.constant_(module.weight, value)
        self.bad_steps, self.step = bad_steps, 0

    def parameters_of(self, turn):
        return [{"params": list(self.modules[turn].parameters()), "rate": 1.0, "clipped": True}]

    def values(self):
        one = torch.ones(1, 1)
        return [self.modules[turn](one).squeeze() for turn in self.turns]

    def losses(self, turn, batch, generator):
        a, b = self.values()
        factor = float("nan") if turn == "first" and self.step in self.bad_steps else 1.0
        self.step += turn == "second"
        return {"loss": factor * (0.1 * (a - b) ** 2 if turn == "first" else 0.05 * a * b)}

    def move(self, device):
        pass


def trained(method, faces, out, steps=4, **settings):
    fabric = launch(Machine("cpu", 1), "32-true")
    data = TrainingFaces(faces, template_at("dlib150"), None, None, 0)
    plan = BatchPlan(faces.subjects, 4, 0)
    machine = Machine("cpu", 1, workers=0)
    fit(fabric, method, data, plan, PLAIN, steps / plan.steps, out, False, {}, machine, log_every=1, **settings)
    return [value.item() for value in method.values()]


def test_each_turn_moves_its_own_weights_by_its_own_loss_alone(faces, tmp_path):
    a, b = 1.0, 3.0
    for _ in range(4):
        a -= 0.5 * 0.2 * (a - b)
        b -= 0.5 * 0.05 * a
    assert trained(Duel(), faces, tmp_path) == pytest.approx([a, b], abs=1e-5)
    assert {"first/loss", "second/loss"} <= set(read_log(tmp_path)[0])


def test_a_turn_that_comes_every_third_step(faces, tmp_path):
    a, b = 1.0, 3.0
    for step in range(1, 8):
        a -= 0.5 * 0.2 * (a - b)
        if step % 3 == 0:
            b -= 0.5 * 0.05 * a
    assert trained(Duel(every={"second": 3}), faces, tmp_path, 7) == pytest.approx([a, b], abs=1e-5)
    lines = [line for line in read_log(tmp_path) if "validation" not in line]
    assert ["second/loss" in line for line in lines] == [False, False, True] * 2 + [False]


@pytest.mark.parametrize(
    ("name", "kind", "decay"),
    [("adam", torch.optim.Adam, 0), ("adamw", torch.optim.AdamW, 5e-4), ("sgd", torch.optim.SGD, 5e-4)],
)
def test_optimizers_as_the_settings_say(name, kind, decay):
    made = _optimizer(Duel(), "first", Optimiser(name, betas=(0.5, 0.9)), True)
    assert type(made) is kind
    assert [group["weight_decay"] for group in made.param_groups] == [decay]
    assert made.param_groups[0].get("betas", (0.5, 0.9)) == (0.5, 0.9)


def test_a_start_says_nothing(caplog):
    """Lightning's remarks on precision are no news to anybody who gave the recipe."""
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(caplog.handler)
    try:
        launch(Machine("cpu", 1), "bf16-mixed")
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)
    assert not caplog.records


def test_a_step_without_finite_gradient_is_left_out_told_and_counted(faces, tmp_path, capsys):
    a, b = 1.0, 3.0
    for step in range(4):
        a -= 0.5 * 0.2 * (a - b) if step != 2 else 0
        b -= 0.5 * 0.05 * a
    assert trained(Duel(bad_steps=(2,)), faces, tmp_path) == pytest.approx([a, b], abs=1e-5)
    assert capsys.readouterr().err.count("step 2: a gradient is not finite") == 1
    assert [line.get("skipped_steps", 0) for line in read_log(tmp_path)] == [0, 0, 1, 0]


def test_validation_runs_after_each_epoch_and_at_the_end(faces, tmp_path):
    seen = []
    trained(Duel(), faces, tmp_path, steps=7, validate=lambda step: seen.append(step) or {"x": step / 2})
    assert seen == [3, 6, 7]
    assert [line["validation"] for line in read_log(tmp_path) if "validation" in line] == [{"x": s / 2} for s in seen]


class TestRates:
    def test_warm_up_and_cosine(self):
        how = Optimiser(rate=2.0, schedule="cosine", warm_up=0.2)
        rates = [rate_at(how, step, 5, 10) for step in range(10)]
        assert rates[:3] == [1.0, 2.0, 2.0]
        assert rates[6] == pytest.approx(1.0) and all(a > b for a, b in zip(rates[2:], rates[3:], strict=False))

    def test_drops_at_the_beginning_of_epochs(self):
        how = Optimiser(rate=1.0, schedule="steps", drops=(1, 3))
        assert [round(rate_at(how, step, 2, 8), 6) for step in range(8)] == [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]

    def test_constant(self):
        assert rate_at(Optimiser(rate=0.3, schedule="constant"), 5, 2, 8) == 0.3


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / LOG).write_text("no json\n")
    with pytest.raises(MaskbenchError, match=r"log\.jsonl: not JSON lines"):
        read_log(tmp_path)


def test_runs_are_compared_by_what_is_known_of_this_one(tmp_path):
    then = {"recipe": {"a": 1, "b": {"c": 2}}, "faces": "x"}
    refuse_other_run(tmp_path, then, {"recipe": {"a": 1, "b": {"c": 2}}})
    with pytest.raises(MaskbenchError, match=r"its run had recipe\.b\.c = 2, this one has 3"):
        refuse_other_run(tmp_path, then, {"recipe": {"a": 1, "b": {"c": 3}}})


class TestMachines:
    def test_half_precision_of_gpus_is_refused_on_a_processor(self):
        with pytest.raises(MaskbenchError, match="16-mixed needs a GPU"):
            launch(Machine("cpu", 1), "16-mixed")

    def test_a_device_that_is_not_there(self):
        if torch.cuda.is_available():
            pytest.skip("there is one")
        with pytest.raises(MaskbenchError, match="training cannot start on cuda"):
            launch(Machine("cuda", 1), "32-true")

    def test_torchrun_with_other_devices_is_refused(self, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(MaskbenchError, match="2 processes were started, but training would run on 1"):
            launch(Machine("cpu", 1), "32-true")


def test_a_fault_of_the_user_is_not_hidden_by_the_wait_for_a_process_that_left():
    class Left:
        @contextmanager
        def rank_zero_first(self):
            try:
                yield
            finally:
                raise RuntimeError("connection closed by peer")

    with pytest.raises(MaskbenchError, match="no faces") as caught, rank_zero_first(Left()):
        raise MaskbenchError("no faces")
    assert caught.value.__suppress_context__
    with pytest.raises(RuntimeError, match="closed by peer"), rank_zero_first(Left()):
        pass
    with pytest.raises(RuntimeError, match="closed by peer"), rank_zero_first(Left()):
        raise ValueError("a fault of ours")


@pytest.mark.slow
def test_two_processes_that_are_refused_say_so_in_one_line(people, cache, tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29547", "-m",
        "maskbench", "train", "maskinv", "--data", str(people), "--validation", str(people), "--out", str(tmp_path),
        "--accelerator", "cpu", "--devices", "2", "--workers", "0",
    ]  # fmt: skip
    environment = {**os.environ, "MASKBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode and "RuntimeError" not in done.stderr, done.stderr
    assert done.stderr.count("people are also trained on") == 2, done.stderr


@pytest.mark.slow
def test_two_processes_by_torchrun_train_together(people, strangers, cache, tmp_path):
    """Both see their own half of every batch; the student is one, and everybody's unreadable pictures are reported."""
    changes = ["batch=8", "epochs=2", "precision=32-true", "losses.unlabelled=none"]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29541", "-m",
        "maskbench", "train", "maskinv", "--data", str(people), "--data", str(strangers), "--out", str(tmp_path),
        "--accelerator", "cpu", "--devices", "2", "--workers", "0",
        *(part for change in changes for part in ("--set", change)),
    ]  # fmt: skip
    environment = {**os.environ, "MASKBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "training.json").read_text())
    assert report["steps"] == 2 * (20 // 8) and (tmp_path / "weights.safetensors").exists()
    assert [line["step"] for line in read_log(tmp_path)] == [4]


@pytest.mark.slow
def test_the_training_process_never_loads_mediapipe(people, tmp_path):
    code = f"""
        import sys
        from pathlib import Path
        from maskbench.train.loop import Machine
        from maskbench.train.recipe import load_recipe
        from maskbench.train.run import Source, train_maskinv
        recipe = load_recipe("maskinv-small", ["batch=4", "epochs=0.3", "precision=32-true"])
        machine = Machine("cpu", 1, "auto", 0)
        train_maskinv(recipe, [Source(Path({str(people)!r}))], Path({str(tmp_path)!r}) / "out", machine=machine)
        assert not any(name.startswith("mediapipe") for name in sys.modules), "mediapipe was loaded"
    """
    environment = {**os.environ, "MASKBENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
