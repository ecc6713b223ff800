"""The training loop of all methods, on Lightning Fabric: one processor, one GPU or several.

A method says what is trained and what its losses are (``Method``); which faces a step sees, what they wear and which
margins are drawn are functions of the seed and the step. So a run that was killed goes on from its last checkpoint
as if nothing had happened, to the last bit on a processor.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from maskbench.errors import MaskbenchError
from maskbench.files import write_bytes
from maskbench.parallel import default_workers
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
        every: turn -> in every how many steps it comes, where that is not each one.
    """

    modules: dict[str, torch.nn.Module]
    turns: tuple[str, ...]
    every: Mapping[str, int]

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
    """Where training runs. Only the number of processes changes what is learnt, since each draws its own margins.

    Attributes:
        accelerator, devices, strategy, nodes: as Fabric takes them.
        workers: processes that make batches in each process; 0: none, -1: as many as fit.
        checkpoint_seconds: how often the state is kept.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    workers: int = -1
    checkpoint_seconds: float = 120.0
    nodes: int = 1


@dataclass
class Progress:
    """What a run has come to."""

    step: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)  # of losses that are not logged yet
    bad: tuple[int, int] = (0, 0)  # steps without a finite gradient: in a row, and since the last line of the log


def launch(machine: Machine, precision: str) -> Any:
    """A started Fabric. Raises MaskbenchError if the extra "train" is missing or the device is not there."""
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise MaskbenchError("training needs lightning; pip install 'maskbench[train,cpu]'") from error
    import logging
    import warnings

    for name in ("lightning.fabric", "lightning.pytorch"):  # Fabric's remarks go to the logger of either
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.fabric")
    try:
        fabric = Fabric(
            accelerator=machine.accelerator, devices=machine.devices, strategy=machine.strategy, precision=precision,
            num_nodes=machine.nodes,
        )  # fmt: skip
    except Exception as error:  # MisconfigurationException, ValueError, RuntimeError
        why = " ".join(str(error).split())[:200]
        raise MaskbenchError(f"training cannot start on {machine.accelerator}: {why}") from error
    if precision == "16-mixed" and fabric.device.type == "cpu":
        raise MaskbenchError("precision 16-mixed needs a GPU; take bf16-mixed or 32-true (--set precision=32-true)")
    fabric.launch()
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != fabric.world_size:
        raise MaskbenchError(
            f"{started} processes were started, but training would run on {fabric.world_size} in each; give as many "
            "--devices (and --nodes) as torchrun was told"
        )
    return fabric


@contextmanager
def rank_zero_first(fabric: Any) -> Iterator[None]:
    """As Fabric's: what is inside runs in the first process, then in the others. A MaskbenchError stays one in all.

    The first one's makes it leave, so that Fabric's last wait for it fails in the others and would hide their own.
    """
    try:
        with fabric.rank_zero_first():
            yield
    except RuntimeError as error:
        if isinstance(error.__context__, MaskbenchError):
            raise error.__context__ from None
        raise


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
    fused = _scaler(fabric) is None  # a fused optimizer unscales by itself, after the norm should have been known
    optimizers = {turn: _optimizer(method, turn, settings, fused) for turn in method.turns}
    wrapped = dict(zip(optimizers, _setup(fabric, list(optimizers.values())), strict=True))
    progress = _begin(fabric, method, optimizers, out, resume, identity)
    log = _Log(out, progress.step) if fabric.is_global_zero else None
    state = _Steps(fabric, method, wrapped, settings, plan, last)
    state.sums, (state.bad, state.skipped) = dict(progress.sums), progress.bad
    workers, on_gpu = worker_count(machine), fabric.device.type == "cuda"
    batches = _timed(load_batches(data, plan.batches(progress.step, last), workers, on_gpu), state)
    shown = track(batches, last, f"training, {last} steps", progress.step) if fabric.is_global_zero else batches
    started = kept = time.monotonic()
    for batch in shown:
        progress.failures |= {data.faces.keys[index]: reason for index, reason in batch.failures}
        if not len(batch):
            raise MaskbenchError(
                f"step {progress.step}: no picture of a whole batch could be read ({batch.failures[0][1]}); "
                "see whether they are still there, then --resume"
            )
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
            so_far = progress.seconds + time.monotonic() - started
            about = _about(progress, so_far, state, identity, _scaler(fabric))
            save_checkpoint(out / NAME, method.modules, optimizers, about)
            kept = time.monotonic()
    progress.seconds += time.monotonic() - started
    progress.failures = _of_all(fabric, progress.failures)
    if log:
        log.close()
    return progress


def _about(
    progress: Progress, seconds: float, state: _Steps, identity: Mapping[str, Any], scaler: dict[str, Any] | None
) -> dict[str, Any]:
    """What a checkpoint says beside the tensors; ``_begin`` reads it."""
    return {
        "step": progress.step, "identity": dict(identity), "failures": progress.failures, "seconds": seconds,
        "scaler": scaler, "sums": state.plain_sums(), "bad": [state.bad, state.skipped],
    }  # fmt: skip


def _of_all(fabric: Any, failures: dict[str, str]) -> dict[str, str]:
    """The failures of all processes."""
    if fabric.world_size == 1:
        return failures
    found: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(found, failures)
    return {key: reason for one in found for key, reason in one.items()}


def _setup(fabric: Any, optimizers: list[torch.optim.Optimizer]) -> Sequence[Any]:
    found = fabric.setup_optimizers(*optimizers)
    return found if isinstance(found, tuple) else (found,)


def _optimizer(method: Method, turn: str, settings: Optimiser, fused: bool) -> torch.optim.Optimizer:
    groups = [
        {**group, "params": [p for p in group["params"] if p.requires_grad]} for group in method.parameters_of(turn)
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups, lr=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused
        )
    decay = {"weight_decay": settings.weight_decay} if settings.name == "adamw" else {}
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.rate, betas=settings.betas, fused=fused, **decay)


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
        self, fabric: Any, method: Method, optimizers: dict[str, Any], settings: Optimiser, plan: BatchPlan, last: int
    ) -> None:
        self._fabric, self._method, self._optimizers, self._settings = fabric, method, optimizers, settings
        self._plan, self._last = plan, last
        self.bad = 0
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, tuple[Any, int]] = {}  # of the losses since the last summary, and of how many steps
        self._faces = 0
        self._since, self.waited, self.skipped = time.monotonic(), 0.0, 0

    def step(self, step: int, batch: Batch) -> None:
        """Every turn of the method on one batch; a turn without a finite gradient is left out and counted."""
        batch = batch.to(self._fabric.device)
        rate = rate_at(self._settings, step, self._plan.steps, self._last)
        random = step_generator(self._plan.seed, step, self._plan.rank)
        for turn, optimizer in self._optimizers.items():
            if (step + 1) % self._method.every.get(turn, 1):
                continue
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("rate", 1.0)
            with self._fabric.autocast():
                losses = self._method.losses(turn, batch, random)
            for other in self._optimizers.values():  # what an earlier turn left behind is no part of this one
                other.zero_grad()
            self._fabric.backward(losses["loss"])
            self._apply(step, optimizer)
            for name, value in losses.items():
                key = name if len(self._optimizers) == 1 else f"{turn}/{name}"
                self._add(key, value.detach())
        self._faces += len(batch) * self._plan.world

    def _add(self, key: str, value: torch.Tensor) -> None:
        total, count = self.sums.get(key, (0.0, 0))
        self.sums[key] = (total + value, count + 1)  # stays on the device: nobody waits for it

    def plain_sums(self) -> dict[str, tuple[float, int]]:
        """Of each loss since the last summary: the sum, and of how many steps."""
        return {key: (float(total), count) for key, (total, count) in self.sums.items()}

    def _apply(self, step: int, optimizer: Any) -> None:
        groups = optimizer.param_groups
        clipped = [weight for group in groups if group.get("clipped", True) for weight in group["params"]]
        others = [weight for group in groups if not group.get("clipped", True) for weight in group["params"]]
        scaled = _scaler(self._fabric) is not None
        if scaled:
            self._fabric.strategy.precision.unscale_gradients(optimizer.optimizer)
        finite = bool(torch.isfinite(torch.nn.utils.get_total_norm([w.grad for w in others if w.grad is not None])))
        # A norm that is not finite would make every gradient NaN; such a step is left out.
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in clipped if weight.grad is not None])
        finite = finite and bool(torch.isfinite(norm))
        if finite:
            torch.nn.utils.clip_grads_with_norm_(clipped, self._settings.clip, norm)
        if finite or scaled:  # the scaler looks for itself, leaves the step out, and lowers its scale
            optimizer.step()
        self._count(step, finite)

    def _count(self, step: int, finite: bool) -> None:
        self.bad = 0 if finite else self.bad + 1
        self.skipped += not finite
        if self.bad == 1 and self._fabric.is_global_zero:
            print(f"step {step}: a gradient is not finite; the step is left out", file=sys.stderr)
        if self.bad >= MOST_BAD_STEPS:
            raise MaskbenchError(
                f"step {step}: no finite gradient in {MOST_BAD_STEPS} steps in a row; lower optimiser.rate, "
                "or train in precision 32-true"
            )

    def summary(self, step: int) -> dict[str, Any]:
        """Means since the last summary."""
        spent = max(time.monotonic() - self._since, 1e-9)
        means = {name: total / count for name, (total, count) in self.plain_sums().items()}
        finite = {name: value if math.isfinite(value) else None for name, value in means.items()}
        found = {
            "step": step, "epoch": round(step / self._plan.steps, 4), **finite,
            "rate": rate_at(self._settings, step - 1, self._plan.steps, self._last),
            "images_per_second": round(self._faces / spent, 1), "waiting": round(self.waited / spent, 4),
        }  # fmt: skip
        if self.skipped:
            found["skipped_steps"] = self.skipped
        self._reset()
        return found


def _timed(batches: Iterator[Batch], state: _Steps) -> Iterator[Batch]:
    """The batches, while ``state.waited`` counts how long they let us wait."""
    while True:
        asked = time.monotonic()
        try:
            batch = next(batches, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise MaskbenchError(
                "a process that makes pictures ended (too little memory, or shared memory, is the usual reason); "
                "give fewer --workers, or --workers 0, and --resume"
            ) from error
        state.waited += time.monotonic() - asked
        if batch is None:
            return
        yield batch


def check_start(out: Path, resume: bool, identity: Mapping[str, Any]) -> None:
    """Raise MaskbenchError unless a run may begin in a folder, or go on there.

    Args:
        identity: of this run, or the part of it that is known by now.
    """
    path = out / NAME
    if resume:
        refuse_other_run(path, read_about(path)["identity"], identity)
    elif path.exists():
        raise MaskbenchError(f"{path}: a run is there already; go on with --resume, or train into another folder")


def _begin(
    fabric: Any, method: Method, optimizers: Mapping[str, torch.optim.Optimizer], out: Path, resume: bool,
    identity: Mapping[str, Any],
) -> Progress:  # fmt: skip
    check_start(out, resume, identity)
    if not resume:
        return Progress()
    about = load_checkpoint(out / NAME, method.modules, optimizers)
    if (scaler := getattr(fabric.strategy.precision, "scaler", None)) and about.get("scaler"):
        scaler.load_state_dict(about["scaler"])
    sums, bad = _pairs(about["sums"]), tuple(about["bad"])
    return Progress(about["step"], dict(about["failures"]), about["seconds"], sums, bad)


def _pairs(sums: Mapping[str, Sequence[Any]]) -> dict[str, tuple[float, int]]:
    return {key: (total, count) for key, (total, count) in sums.items()}


def refuse_other_run(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise MaskbenchError, naming what differs, unless a checkpoint belongs to a run of the same identity.

    Args:
        then: of the checkpoint's run; now: of this one, or the part of it that is known.
    """
    before, after = _flat({name: then.get(name) for name in now}), _flat(json.loads(json.dumps(dict(now))))
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
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    return scaler.state_dict() if scaler else None


def worker_count(machine: Machine) -> int:
    """Processes that make batches for one process: the processors less one for the loop, at least one."""
    if machine.workers >= 0:
        return machine.workers
    return max(1, min(16, default_workers() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))


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

    def close(self) -> None:
        """Let TensorBoard write what it has."""
        if self._board:
            self._board.close()


def _tensorboard(out: Path, step: int) -> Any:
    """A writer where TensorBoard is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except Exception:  # an installation that is broken is as good as none
        return None
    return SummaryWriter(out / "tensorboard", purge_step=step + 1)
