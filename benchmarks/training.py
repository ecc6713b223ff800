"""How much of the bare network's speed a training run keeps: python benchmarks/training.py [FACES] [--recipe NAME]

Measured in turns, in one process, with the same threads, precision, batch and frozen layers:
  bare   forward and backward of the student alone, on one preloaded, normalised batch, again and again; with the
         optimizer's step as a second figure
  loop   what maskbench train does: pictures, masks, both losses with their classifier, clipping, optimizer, log
The first half of the loop's steps is not measured: until each kind of mask has been met once, a process for pictures
spends most of its time on preparing them (some 4 s). Read the ratio loop / bare of the medians, for times of one run
share whatever else the machine was doing; "waiting" is the share of the loop's time in which no batch was ready.
FACES defaults to the people that ship. Without a GPU the loop has --threads for the network, and as many processes for
pictures as the machine has processors besides one.

On a GPU: --recipe small --set student.network=iresnet50 --set student.start=random --set batch=512
--set precision=bf16-mixed --accelerator cuda, with a teacher of 512 numbers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import torch

from maskbench.align import template_at
from maskbench.recognizers.base import load_recognizer
from maskbench.train.data import MaskMix, TrainingFaces
from maskbench.train.face_sets import open_face_set
from maskbench.train.loop import Machine, fit, launch, read_log
from maskbench.train.maskinv import MaskInv
from maskbench.train.prepare import prepare_faces
from maskbench.train.recipe import load_recipe
from maskbench.train.run import build_student
from maskbench.train.sampling import BatchPlan
from maskbench.train.templates import teacher_templates


class Watched(MaskInv):
    """Notes when each step begins."""

    begun: list[float] = []

    def losses(self, turn, batch, generator):  # noqa: ANN001, ANN201 - as in MaskInv
        """As in MaskInv."""
        self.begun.append(time.perf_counter())
        return super().losses(turn, batch, generator)


def bare_seconds(
    student: torch.nn.Module, shape: tuple[int, ...], precision: str, device: str, steps: int, moves: bool
) -> float:
    """Seconds of a step of the student alone; ``moves``: with the optimizer's step."""
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    faces = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, 0.0, weight_decay=0.0)

    def step() -> None:
        with torch.autocast(device, half, enabled=half is not None):
            loss = student(faces).float().square().mean()
        loss.backward()
        if moves:
            optimizer.step()
        optimizer.zero_grad()

    step()
    _wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return (time.perf_counter() - started) / steps


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure, and print the ratio."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("faces", nargs="?", type=Path, default=Path(str(files("maskbench.data"))) / "demo-people")
    parse.add_argument("--recipe", default="maskinv-small")
    parse.add_argument("--set", dest="changes", action="append", default=[])
    parse.add_argument("--accelerator", default="cpu")
    parse.add_argument("--threads", type=int, default=torch.get_num_threads())
    parse.add_argument("--workers", type=int, default=-1)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--steps", type=int, default=24)
    given = parse.parse_args()
    torch.set_num_threads(given.threads)
    recipe = load_recipe(given.recipe, given.changes)
    fabric = launch(Machine(given.accelerator), recipe.precision)
    device = fabric.device.type
    teacher = load_recognizer(recipe.teacher, "cpu")
    _, spec = build_student(recipe)
    template = template_at(spec.template, spec.input_size)
    faces = prepare_faces([open_face_set(given.faces)], template)
    templates = teacher_templates(teacher, faces)
    plan = BatchPlan(faces.subjects, recipe.batch, recipe.seed)
    # So many that batches made before the first step do not matter: each worker makes four ahead.
    ahead = 4 * max(1, (given.workers if given.workers >= 0 else len(os.sched_getaffinity(0)) - 1))
    half = max(given.steps, 3 * ahead)
    bare, moving, loop, waiting = [], [], [], []
    for number in range(given.rounds):
        student, _ = build_student(recipe)
        method = Watched(student, spec, recipe, faces.subjects, templates)
        shape = (recipe.batch, 3, *spec.input_size)
        about = student.to(device), shape, recipe.precision, device, given.steps
        bare.append(recipe.batch / bare_seconds(*about, False))
        moving.append(recipe.batch / bare_seconds(*about, True))
        data = TrainingFaces(
            faces, template, MaskMix(recipe.masks.recipes, recipe.masks.p, number), recipe.augmentation, number
        )
        Watched.begun = []
        with tempfile.TemporaryDirectory() as out:
            epochs = 2 * half / plan.steps
            machine = Machine(given.accelerator, workers=given.workers, checkpoint_seconds=1e9)
            fit(fabric, method, data, plan, recipe.optimiser, epochs, Path(out), False, {}, machine, half)
            waiting.append(read_log(Path(out))[-1]["waiting"])
        _wait(device)
        begun = Watched.begun[half:]
        loop.append(recipe.batch * (len(begun) - 1) / (begun[-1] - begun[0]))
    print(f"{recipe.name}, {recipe.precision}, {device}, {given.threads} threads, {given.rounds} rounds in turns")
    print(f"  bare {statistics.median(bare):10.0f} images/s; {statistics.median(moving):.0f} with the optimizer's step")
    print(f"  loop {statistics.median(loop):10.0f} images/s, waiting {statistics.median(waiting):.1%} of the time")
    ratios = [statistics.median(loop) / statistics.median(other) for other in (bare, moving)]
    print(f"  loop / bare = {ratios[0]:.2f}; {ratios[1]:.2f} of the one with the optimizer's step")


if __name__ == "__main__":
    main()
