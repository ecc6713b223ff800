"""How fast faces are completed and recognized, and what contextual attention costs: python benchmarks/deocclusion.py

Measured in turns, in one process, on faces of noise with a hole over their lower half:
  completion    the learned completion that ships, one face after the other on one thread, as an evaluation does it
  recognition   the recognizer behind it, on as many threads as an evaluation takes
  both          1 / (1 / completion + 1 / recognition)
  network       the completion's forward pass in torch at 128 and 256 pixels, and contextual attention's share of it
Where there is a GPU the forward passes run there. Read ratios of one run: its times share whatever else the machine was
doing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from maskbench.completions.base import checked_complete, load_completion
from maskbench.models.inpainter import Inpainter
from maskbench.recognizers.base import load_recognizer

ROUNDS = 5


def medians(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of each call, the median over rounds in which they take turns; a first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def lower_half(count: int, side: int) -> np.ndarray:
    """(count, side, side) uint8 with 1 over the middle of the lower half."""
    holes = np.zeros((count, side, side), np.uint8)
    holes[:, side // 2 : side * 9 // 10, side // 5 : side * 4 // 5] = 1
    return holes


def systems(completion: str, recognizer: str, count: int, rounds: int) -> None:
    """Print faces a second of a completion, of a recognizer, and of one after the other."""
    filling, reading = load_completion(completion, "cpu"), load_recognizer(recognizer, "cpu")
    draw = np.random.default_rng(0)
    faces = draw.integers(0, 256, (count, *filling.spec.input_size, 3), np.uint8)
    crops = draw.integers(0, 256, (count, *reading.spec.input_size, 3), np.uint8)
    holes = lower_half(count, faces.shape[1])
    calls = {
        "completion": lambda: checked_complete(filling, faces, holes),
        "recognition": lambda: reading.embed(crops),
    }
    found = medians(calls, rounds)
    for name, seconds in found.items():
        print(f"{name:12} {count / seconds:7.1f} faces/s")
    print(f"{'both':12} {count / sum(found.values()):7.1f} faces/s")


class Clock:
    """Seconds that a module took, summed over its calls."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.seconds, self._start = 0.0, 0.0
        module.register_forward_pre_hook(self._begin)
        module.register_forward_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._start = _now()

    def _end(self, *_: object) -> None:
        self.seconds += _now() - self._start


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def network(side: int, width: float, batch: int, rounds: int) -> None:
    """Print the forward pass of the network, and attention's share of it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = Inpainter(True, width).eval().to(device, memory_format=torch.channels_last)
    clock = Clock(module.refine.attention)
    faces = torch.rand(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last) * 2 - 1
    holes = torch.from_numpy(lower_half(batch, side))[:, None].float().to(device)
    for kind in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=kind is torch.bfloat16):
            module(faces, holes)
            start, clock.seconds = _now(), 0.0
            for _ in range(rounds):
                module(faces, holes)
            whole = _now() - start
        name, rate = str(kind).removeprefix("torch."), rounds * batch / whole
        share = 100 * clock.seconds / whole
        print(f"{side} pixels, width {width:g}, {name}, {device}: {rate:7.1f} faces/s, attention {share:.0f} %")


def main() -> None:
    """Parse the options and print."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--completion", default="ga")
    parse.add_argument("--recognizer", default="deocclusion")
    parse.add_argument("--faces", type=int, default=32)
    parse.add_argument("--rounds", type=int, default=ROUNDS)
    given = parse.parse_args()
    torch.set_num_threads(1)
    systems(given.completion, given.recognizer, given.faces, given.rounds)
    for side, width in ((128, 0.5), (128, 1.0), (256, 1.0)):
        network(side, width, 4, given.rounds)


if __name__ == "__main__":
    main()
