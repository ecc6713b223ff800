"""Train the mask segmenter on the rows of make.py; stops after the given time and can be continued.

Loss: binary cross-entropy and soft Dice (Milletari et al., "V-Net", 3DV 2016). The weights that count are the moving
average. The learning rate falls along a cosine of the time spent, so a run always ends where it should. Under
``python -m torch.distributed.run --nproc-per-node 2 train.py ...`` the processes average their gradients.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import distributed
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from augment import augmented  # noqa: E402
from rows import Folder, figures, overlaps  # noqa: E402

from maskbench.digest import generator
from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write
from maskbench.models.segmenter import MaskSegmenter

BATCH, PEAK, DECAY, WARM_UP = 64, 3e-3, 0.02, 300
AVERAGE = 0.998
CLEANINGS = (0.4,)  # shares of the time after which bare pictures that seem to wear something are left out
SEEMS = 0.04  # share of the pixels


def tensor(faces: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32, the channels last in memory."""
    return (torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2).float() - 127.5) / 127.5


def batches(
    folders: list[Folder], left_out: set[tuple[int, int]], seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Augmented batches without end; each round sees every finished row once, in an order of its own."""
    for turn in range(10**6):
        rng = generator(seed, "turn", str(turn))
        every = [(k, int(row)) for k, folder in enumerate(folders) for row in folder.rows()]
        every = [pair for pair in every if pair not in left_out]
        if len(every) < BATCH:
            raise MaskbenchError(f"{len(every)} rows to train on, a batch has {BATCH}; make more with make.py")
        order = rng.permutation(len(every))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            drawn = [every[i] for i in order[start : start + BATCH]]
            pairs = [augmented(rng, folders[k].faces[row], folders[k].alpha[row]) for k, row in drawn]
            yield np.stack([face for face, _ in pairs]), np.stack([target for _, target in pairs])


def ahead(source: Iterator, depth: int = 6) -> Iterator:
    """The same, prepared by a thread while the network works."""
    ready: queue.Queue = queue.Queue(depth)

    def fill() -> None:
        try:
            for item in source:
                ready.put(item)
        except Exception as error:  # the thread that waits raises it
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while not isinstance(item := ready.get(), Exception):
        yield item
    raise item


def loss_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus one minus soft Dice, the mean over the batch; (N, 1, H, W) and (N, H, W)."""
    logits, target = logits[:, 0].float(), target.float()
    found = torch.sigmoid(logits)
    both, sums = (found * target).sum((1, 2)), (found + target).sum((1, 2))
    dice = 1 - (2 * both + 50) / (sums + 50)
    return functional.binary_cross_entropy_with_logits(logits, target) + 0.5 * dice.mean()


@torch.no_grad()
def probability(network: torch.nn.Module, faces: np.ndarray) -> np.ndarray:
    """(N, H, W) float32."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(tensor(faces).to(memory_format=torch.channels_last))
    return torch.sigmoid(logits[:, 0].float()).numpy()


class Run:
    """Network, moving average, optimiser and how far they are; all of it is in the checkpoint."""

    def __init__(self, out: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.out, self.seed = out, seed
        self.network = MaskSegmenter().to(memory_format=torch.channels_last)
        self.average = deepcopy(self.network).eval()
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": weights, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}], lr=PEAK
        )
        self.step, self.seconds, self.left_out, self.cleaned = 0, 0.0, [], 0
        self.rank, self.processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if (out / "checkpoint.pt").exists():
            self._load(torch.load(out / "checkpoint.pt", weights_only=True))

    def _load(self, state: dict) -> None:
        for name in ("network", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.seconds, self.cleaned = state["step"], state["seconds"], state["cleaned"]
        self.left_out = [tuple(pair) for pair in state["left_out"]]

    def save(self) -> None:
        """Write the checkpoint."""
        self.out.mkdir(parents=True, exist_ok=True)
        state = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser")}
        state |= {key: getattr(self, key) for key in ("step", "seconds", "cleaned", "left_out")}
        with atomic_write(self.out / "checkpoint.pt") as stream:
            torch.save(state, stream)

    def learn(self, faces: np.ndarray, target: np.ndarray, progress: float) -> float:
        """One step; returns the loss."""
        rate = PEAK * min(1.0, (self.step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        for group in self.optimiser.param_groups:
            group["lr"] = max(rate, 1e-5)
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(tensor(faces).to(memory_format=torch.channels_last))
        loss = loss_of(logits, torch.from_numpy(target))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        if self.rank == 0:
            self._follow()
        return float(loss.detach())

    @torch.no_grad()
    def _share_gradients(self) -> None:
        """Every process gets the mean gradient."""
        if self.processes == 1:
            return
        own = [p.grad for p in self.network.parameters()]
        flat = torch.cat([grad.flatten() for grad in own]) / self.processes
        distributed.all_reduce(flat)
        for grad, mean in zip(own, flat.split([grad.numel() for grad in own]), strict=True):
            grad.copy_(mean.view_as(grad))

    def agreed(self, seconds: float) -> float:
        """The first process's clock, so that all of them do the same at the same step."""
        shared = torch.tensor([seconds], dtype=torch.float64)
        if self.processes > 1:
            distributed.broadcast(shared, 0)
        return float(shared)

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(AVERAGE, self.step / (self.step + 10))
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def clean(self, folders: list[Folder]) -> int:
        """Leave out bare pictures on which something worn is found: photographs show hats and sunglasses unlabelled."""
        if self.rank == 0:
            self.left_out = sorted(self._doubtful(folders))
        if self.processes > 1:
            count = torch.tensor([len(self.left_out)])
            distributed.broadcast(count, 0)
            pairs = torch.tensor(self.left_out if self.rank == 0 else [(0, 0)] * int(count)).reshape(-1, 2)
            distributed.broadcast(pairs, 0)
            self.left_out = [tuple(pair) for pair in pairs.tolist()]
        self.cleaned += 1
        return len(self.left_out)

    def _doubtful(self, folders: list[Folder]) -> set[tuple[int, int]]:
        away = set(self.left_out)
        for k, folder in enumerate(folders):
            rows = np.array([row for row in folder.rows() if (k, int(row)) not in away and not folder.alpha[row].any()])
            for start in range(0, len(rows), 128):
                part = rows[start : start + 128]
                share = (probability(self.average, folder.faces[part]) >= 0.5).mean((1, 2))
                away |= {(k, int(row)) for row in part[share > SEEMS]}
        return away


def measured(run: Run, folder: Folder, bare: Folder | None) -> dict:
    """Overlap at threshold 0.5 on the validation rows, and the share of bare ones on which a mask is found."""
    half = np.array([0.5])
    told = figures(*overlaps(folder, folder.rows(), lambda x: probability(run.average, x), half)[:, 0])
    if bare is not None:
        found = overlaps(bare, bare.rows(), lambda x: probability(run.average, x), half)[1, 0]
        told["bare_noticed"] = round(float((found / 128**2 > 0.01).mean()), 4)
    return told


def train(run: Run, data: list[Path], val: Path, bare: Path | None, minutes: float, every: float) -> None:
    """Until the time is spent."""
    run.out.mkdir(parents=True, exist_ok=True)
    folders, total = [Folder.open(path) for path in data], minutes * 60
    feed, before, losses, noted = None, time.monotonic(), [], run.seconds
    while run.seconds < total:
        if run.cleaned < len(CLEANINGS) and run.seconds / total >= CLEANINGS[run.cleaned]:
            print(f"left out: {run.clean(folders)} bare pictures", flush=True)
            feed = None
        feed = feed or ahead(batches(folders, set(run.left_out), run.seed + run.step + 1000 * run.rank))
        losses.append(run.learn(*next(feed), run.seconds / total))
        now = time.monotonic()
        run.seconds, before = run.agreed(run.seconds + now - before), now
        if run.rank == 0 and (run.seconds - noted > every or run.seconds >= total):
            noted = run.seconds
            told = measured(run, Folder.open(val), Folder.open(bare) if bare else None)
            told |= {"step": run.step, "seconds": round(run.seconds), "loss": round(float(np.mean(losses)), 4)}
            losses = []
            with open(run.out / "log.jsonl", "a", encoding="utf-8") as stream:
                stream.write(json.dumps(told) + "\n")
            print(json.dumps(told), flush=True)
            run.save()


def main() -> None:
    """Parse the options and run."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("out", type=Path, help="folder of checkpoint and log; a run there is continued")
    parse.add_argument("--data", type=Path, nargs="+", required=True, help="folders of make.py")
    parse.add_argument("--val", type=Path, required=True, help="folder of validation people with masks")
    parse.add_argument("--bare", type=Path, help="folder of validation people without masks")
    parse.add_argument("--minutes", type=float, default=45.0)
    parse.add_argument("--every", type=float, default=180.0, help="seconds between checkpoints")
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--threads", type=int, default=1)
    given = parse.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(given.threads)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("gloo")
    run = Run(given.out, given.seed)
    train(run, given.data, given.val, given.bare, given.minutes, given.every)


if __name__ == "__main__":
    main()
