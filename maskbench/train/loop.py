"""The training loop of all methods, on Lightning Fabric: one processor, one GPU or several.

A method says what is trained and what its losses are (``Method``); which faces a step sees, what they wear and which
margins are drawn are functions of the seed and the step. So a run that was killed goes on from its last checkpoint
as if nothing had happened, to the last bit on a processor.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from maskbench.errors import MaskbenchError
from maskbench.files import write_bytes
from maskbench.progress import track
from maskbench.train.checkpoint import NAME, load_checkpoint, read_about, save_checkpoint
from maskbench.train.data import Batch, TrainingFaces, load_batches
from maskbench.train.recipe import Optimiser
from maskbench.train.sampling import BatchPlan

LOG = "log.jsonl"
MOST_BAD_STEPS = 10  # steps in a row without a finite gradient, until training is given up


class Method(Protocol):
    """What the loop trains.

    Attributes:
        modules: the networks that are trained, by name. The loop puts wrapped ones here (devices, several processes).
        turns: the names of the parts of a step, each with a loss and an optimizer of its own, in order.
    """

    modules: dict[str, torch.nn.Module]
    turns: tuple[str, ...]

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """Parameter groups of a turn's optimizer; "rate" is a factor on the recipe's learning rate."""
        ...

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Scalars by name; "loss" is minimised, the others are logged. ``generator`` is the step's own."""
        ...

    def move(self, device: torch.device) -> None:
        """Bring whatever is not in ``modules`` to the device."""
        ...


@dataclass(frozen=True)
class Machine:
    """Where training runs; nothing here changes what is learnt, up to rounding.

    Attributes:
        accelerator, devices, strategy: as Fabric takes them; ``torchrun`` sets them for several machines.
        workers: processes that make batches in each process; 0: none, -1: as many as fit.
        checkpoint_seconds: how often the state is kept.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    workers: int = -1
    checkpoint_seconds: float = 120.0


@dataclass
class Progress:
    """What a run has come to."""

    step: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)  # of losses that are not logged yet


def launch(machine: Machine, precision: str) -> Any:
    """A started Fabric. Raises MaskbenchError if the extra "train" is missing or the device is not there."""
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise MaskbenchError("training needs lightning; pip install 'maskbench[train,cpu]'") from error
    import logging
    import warnings

    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.fabric")
    try:
        fabric = Fabric(
            accelerator=machine.accelerator, devices=machine.devices, strategy=machine.strategy, precision=precision
        )
    except Exception as error:  # MisconfigurationException, ValueError, RuntimeError
        why = " ".join(str(error).split())[:200]
        raise MaskbenchError(f"training cannot start on {machine.accelerator}: {why}") from error
    fabric.launch()
    return fabric


def fit(
    fabric: Any, method: Method, data: TrainingFaces, plan: BatchPlan, settings: Optimiser, epochs: float, out: Path,
    resume: bool, identity: Mapping[str, Any], machine: Machine, log_every: int = 10,
    validate: Callable[[int], Mapping[str, float]] | None = None,
) -> Progress:  # fmt: skip
    """Train for so many epochs, and leave the method's modules trained.

    Args:
        fabric: from ``launch``.
        out: gets the checkpoint and the log.
        resume: go on from the checkpoint in ``out``.
        identity: what must be the same in a run that goes on: settings and digests, by name.
        validate: called after each epoch and at the end with the step; what it returns is logged.

    Raises:
        MaskbenchError: there is no checkpoint to go on from, or one in the way; it belongs to another run; the disk is
            full; or the losses are no numbers any more.
    """
    last = max(1, round(epochs * plan.steps))
    method.move(fabric.device)
    method.modules = {name: fabric.setup_module(module) for name, module in method.modules.items()}
    optimizers = {turn: _optimizer(method, turn, settings) for turn in method.turns}
    wrapped = dict(zip(optimizers, _setup(fabric, list(optimizers.values())), strict=True))
    progress = _begin(fabric, method, optimizers, out, resume, identity)
    log = _Log(out, progress.step) if fabric.is_global_zero else None
    state = _Steps(fabric, method, wrapped, settings, plan, last, progress.sums)
    batches = load_batches(
        data, plan.batches(progress.step, last), _workers(machine, fabric.world_size), fabric.device.type == "cuda"
    )
    started = kept = time.monotonic()
    for batch in track(_timed(batches, state), last, f"training, {last} steps", progress.step):
        progress.failures |= {data.faces.keys[index]: reason for index, reason in batch.failures}
        state.step(progress.step, batch)
        progress.step += 1
        at_end, at_epoch = progress.step == last, progress.step % plan.steps == 0
        if log and (progress.step % log_every == 0 or at_end):
            log.write(state.summary(progress.step))
        if validate and (at_end or at_epoch):
            found = dict(validate(progress.step))
            if log:
                log.write({"step": progress.step, "validation": found})
        due = progress.step % log_every == 0 and time.monotonic() - kept > machine.checkpoint_seconds
        if fabric.is_global_zero and (due or at_epoch or at_end):
            about = {
                "step": progress.step, "identity": dict(identity), "failures": progress.failures,
                "seconds": progress.seconds + time.monotonic() - started, "scaler": _scaler(fabric),
                "sums": state.sums,
            }  # fmt: skip
            save_checkpoint(out / NAME, method.modules, optimizers, about)
            kept = time.monotonic()
    progress.seconds += time.monotonic() - started
    return progress


def _setup(fabric: Any, optimizers: list[torch.optim.Optimizer]) -> Sequence[Any]:
    found = fabric.setup_optimizers(*optimizers)
    return found if isinstance(found, tuple) else (found,)


def _optimizer(method: Method, turn: str, settings: Optimiser) -> torch.optim.Optimizer:
    groups = [
        {**group, "params": [p for p in group["params"] if p.requires_grad]} for group in method.parameters_of(turn)
    ]
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        groups, lr=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def rate_at(settings: Optimiser, step: int, steps_of_epoch: int, last: int) -> float:
    """The learning rate of a step, counted from 0, of ``last`` in all."""
    warm = round(settings.warm_up * last)
    if step < warm:
        return settings.rate * (step + 1) / warm
    if settings.schedule == "cosine":
        return settings.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, last - warm)))
    if settings.schedule == "steps":
        return settings.rate * 0.1 ** sum(step // steps_of_epoch >= drop for drop in settings.drops)
    return settings.rate


def step_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """The generator of one step of one process."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 1_009 + rank)


class _Steps:
    """One optimizer step at a time, and what the last ones were like."""

    def __init__(
        self, fabric: Any, method: Method, optimizers: dict[str, Any], settings: Optimiser, plan: BatchPlan, last: int,
        sums: Mapping[str, float],
    ) -> None:  # fmt: skip
        self._fabric, self._method, self._optimizers, self._settings = fabric, method, optimizers, settings
        self._plan, self._last = plan, last
        self._bad = 0
        self._reset()
        self.sums = dict(sums)

    def _reset(self) -> None:
        self.sums: dict[str, float] = {}  # of the losses since the last summary, and of the steps, under ""
        self._faces = 0
        self._since, self.waited, self._skipped = time.monotonic(), 0.0, 0

    def step(self, step: int, batch: Batch) -> None:
        """Every turn of the method on one batch; a turn without a finite gradient is left out and counted."""
        if not len(batch):
            return
        batch = batch.to(self._fabric.device)
        rate = rate_at(self._settings, step, self._plan.steps, self._last)
        random = step_generator(self._plan.seed, step, self._plan.rank)
        for turn, optimizer in self._optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("rate", 1.0)
            with self._fabric.autocast():
                losses = self._method.losses(turn, batch, random)
            self._fabric.backward(losses["loss"])
            self._apply(step, optimizer)
            for name, value in losses.items():
                key = name if len(self._optimizers) == 1 else f"{turn}/{name}"
                self.sums[key] = self.sums.get(key, 0.0) + float(value.detach())
        self.sums[""] = self.sums.get("", 0.0) + 1
        self._faces += len(batch) * self._plan.world

    def _apply(self, step: int, optimizer: Any) -> None:
        weights = [p for group in optimizer.param_groups if group.get("clipped", True) for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, math.inf) if _scaler(self._fabric) is None else None
        if norm is None:  # half precision: the scaler looks for itself, and lowers its scale
            self._unscale(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(weights, self._settings.clip)
            optimizer.step()
        elif torch.isfinite(norm):
            factor = min(1.0, self._settings.clip / (float(norm) + 1e-6))
            for weight in weights if factor < 1.0 else ():
                if weight.grad is not None:
                    weight.grad.mul_(factor)
            optimizer.step()
        optimizer.zero_grad()
        self._bad = 0 if torch.isfinite(norm) else self._bad + 1
        self._skipped += not torch.isfinite(norm)
        if self._bad >= MOST_BAD_STEPS:
            raise MaskbenchError(
                f"step {step}: no finite gradient in {MOST_BAD_STEPS} steps in a row; lower optimiser.rate, "
                "or train in precision 32-true"
            )

    def _unscale(self, optimizer: Any) -> None:
        self._fabric._strategy.precision.unscale_gradients(optimizer.optimizer)

    def summary(self, step: int) -> dict[str, Any]:
        """Means since the last summary."""
        spent = max(time.monotonic() - self._since, 1e-9)
        steps = self.sums.pop("", 1.0)
        means = {name: value / steps for name, value in self.sums.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in means.items()}
        found = {
            "step": step, "epoch": round(step / self._plan.steps, 4), **finite,
            "rate": rate_at(self._settings, step - 1, self._plan.steps, self._last),
            "images_per_second": round(self._faces / spent, 1), "waiting": round(self.waited / spent, 4),
        }  # fmt: skip
        if self._skipped:
            found["skipped_steps"] = self._skipped
        self._reset()
        return found


def _timed(batches: Iterator[Batch], state: _Steps) -> Iterator[Batch]:
    """The batches, while ``state.waited`` counts how long they let us wait."""
    while True:
        asked = time.monotonic()
        batch = next(batches, None)
        state.waited += time.monotonic() - asked
        if batch is None:
            return
        yield batch


def _begin(
    fabric: Any, method: Method, optimizers: Mapping[str, torch.optim.Optimizer], out: Path, resume: bool,
    identity: Mapping[str, Any],
) -> Progress:  # fmt: skip
    path = out / NAME
    if not resume:
        if path.exists():
            raise MaskbenchError(f"{path}: a run is there already; go on with --resume, or train into another folder")
        return Progress()
    refuse_other_run(path, read_about(path)["identity"], identity)
    about = load_checkpoint(path, method.modules, optimizers)
    if (scaler := getattr(fabric._strategy.precision, "scaler", None)) and about.get("scaler"):
        scaler.load_state_dict(about["scaler"])
    return Progress(about["step"], dict(about["failures"]), about["seconds"], dict(about["sums"]))


def refuse_other_run(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise MaskbenchError, naming what differs, unless a checkpoint belongs to a run of the same identity."""
    before, after = _flat(then), _flat(json.loads(json.dumps(dict(now))))
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            raise MaskbenchError(
                f"{path}: its run had {name} = {_short(before.get(name))}, this one has {_short(after.get(name))}; "
                "resume with the same, or train into another folder"
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables in tables as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _scaler(fabric: Any) -> dict[str, Any] | None:
    scaler = getattr(fabric._strategy.precision, "scaler", None)
    return scaler.state_dict() if scaler else None


def _workers(machine: Machine, world: int) -> int:
    """Processes that make batches for one process: the processors less one for the loop, at least one."""
    if machine.workers >= 0:
        return machine.workers
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, count // world - 1))


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of the log in a run's folder; none where there is no log."""
    try:
        text = (out / LOG).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = text.split("\n")[:-1]  # what follows the last line break was cut short
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise MaskbenchError(f"{out / LOG}: not JSON lines ({error.msg}); remove it, and go on") from error


class _Log:
    """One JSON object a line; lines of steps that are done again after an interruption are taken away first."""

    def __init__(self, out: Path, step: int) -> None:
        self._path = out / LOG
        kept = [json.dumps(line) for line in read_log(out) if line["step"] <= step] if step else []
        write_bytes(self._path, "".join(f"{line}\n" for line in kept).encode())
        self._board = _tensorboard(out, step)

    def write(self, values: dict[str, Any]) -> None:
        """Append a line. Raises MaskbenchError on a full disk."""
        try:
            with open(self._path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(values) + "\n")
        except OSError as error:
            why = f"{self._path}: cannot be written ({error.strerror})"
            raise MaskbenchError(f"{why}; make room, then --resume") from error
        if self._board:
            for name, value in {**values, **values.get("validation", {})}.items():
                if isinstance(value, (int, float)) and name != "step":
                    self._board.add_scalar(name, value, values["step"])


def _tensorboard(out: Path, step: int) -> Any:
    """A writer where TensorBoard is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(out / "tensorboard", purge_step=step + 1)
