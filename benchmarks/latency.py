"""How long a masked face takes: python benchmarks/latency.py FACES [--model g2d --model dlib-resnet+ga ...]

The first 100 pictures of FACES (in the order of their paths) that show a face are masked by recipe "worn", seed 0, and
warped to 256 x 256 pixels with the face in the middle; each is then recognized alone, one after the other:
  mask     the segmenter's look at the face, for a recognizer that reads masks or stands behind a completion
  fill     the completion (MODEL+COMPLETION; a recognizer whose card names one needs no +)
  embed    the recognizer itself
  whole    the mean of all of it, alignment too
Milliseconds are medians over faces, on as many threads as an evaluation takes; finding the face is not counted, it is
the same for all. "batch" is the recognizer alone on all faces at once, per face. Memory is what the process holds at
most (MiB, not a GPU's) beyond what it holds before the networks are loaded; each model has a process of its own.
"engines" is the largest difference between templates from onnxruntime and torch, in units of the mean distance between
two templates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maskbench.align import Template, align_face, estimate_similarity, five_points, template_at, warp
from maskbench.completions.base import checked_complete, load_completion
from maskbench.digest import array_sha256
from maskbench.files import cache_root
from maskbench.images import read_image
from maskbench.inventory import Item
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.mask_sources import DILATE, Segmented, grown, look_at, warp_mask
from maskbench.masking.transform import RandomMask
from maskbench.recognizers.base import checked_embed, load_recognizer

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
FRAME = template_at("wide128", (256, 256))  # the pictures: 256 x 256, the points of every face known
ENGINES = ("onnxruntime", "torch")
PARTS = ("mask", "fill", "embed")


def masked_faces(root: Path, count: int) -> np.ndarray:
    """(count, 256, 256, 3) uint8: masked pictures, each face at the points of ``FRAME``."""
    landmarker, masks, found = CachedLandmarker("mediapipe", root=cache_root()), RandomMask("worn", p=1.0), []
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES):
        picture = read_image(path)
        if seen := landmarker.detect(picture, array_sha256(picture)):
            masked = masks(picture, path.relative_to(root).as_posix(), seen[0])
            found.append(align_face(masked, five_points(seen[0]), FRAME))
        if len(found) == count:
            return np.stack(found)
    raise SystemExit(f"{root}: {len(found)} pictures with a face; {count} are wanted")


class System:
    """A recognizer with what stands before it. ``spent`` is the seconds of each part, of each face."""

    def __init__(self, name: str, device: str, engine: str) -> None:
        model, _, completion = name.partition("+")
        self.recognizer = load_recognizer(model, device, engine)
        self.spec = self.recognizer.spec
        wanted = completion or self.spec.completion
        self.completion = load_completion(wanted, device, engine) if wanted else None
        self.source = Segmented(device)
        self.template = template_at(self.spec.template, self.spec.input_size)
        self.spent: dict[str, list[float]] = {part: [] for part in PARTS}

    def _timed(self, part: str, call: Callable[..., Any], *given: Any) -> Any:  # noqa: ANN401 - whatever it answers
        start = time.perf_counter()
        answer = call(*given)
        self.spent[part].append(time.perf_counter() - start)
        return answer

    def _hidden(self, picture: np.ndarray, template: Template) -> np.ndarray:
        """The mask (H, W) in a crop, as evaluations have it."""
        look = look_at(Item("face", "masked", None), picture, FRAME.points, template)
        return grown(self.source.masks([look])[0], DILATE["segmenter"])

    def _filled(self, crop: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        return checked_complete(self.completion, crop[None], hidden[None])[0]

    def prepared(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The recognizer's crop of a picture, and its mask."""
        face, hidden = align_face(picture, FRAME.points, self.template), None
        if self.completion is not None:
            spec = self.completion.spec
            wide = template_at(spec.template, spec.input_size)
            inner = self._timed("mask", self._hidden, picture, wide)
            filled = self._timed("fill", self._filled, align_face(picture, FRAME.points, wide), inner)
            matrix = estimate_similarity(wide.points, self.template.points)
            hidden = warp_mask(inner, matrix, self.template.size)
            face = np.where(hidden[..., None] > 0, warp(filled, matrix, self.template.size), face)
        elif self.spec.needs_mask:
            hidden = self._timed("mask", self._hidden, picture, self.template)
        return face, hidden if self.spec.needs_mask else None

    def embed(self, faces: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
        """Templates (N, D)."""
        return checked_embed(self.recognizer, faces, masks)[0]

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Recognize one picture; its crop and mask."""
        face, hidden = self.prepared(picture)
        self._timed("embed", self.embed, face[None], None if hidden is None else hidden[None])
        return face, hidden


def measure(name: str, pictures: np.ndarray, device: str) -> dict[str, float]:
    """Milliseconds of each part and of the whole, of a face in a batch; MiB; the difference between the engines."""
    before = _memory("VmRSS")
    system = System(name, device, ENGINES[0])
    system(pictures[0])  # loads what it needs
    system.spent = {part: [] for part in PARTS}
    start = time.perf_counter()
    found = [system(picture) for picture in pictures]
    whole = time.perf_counter() - start
    faces = np.stack([face for face, _ in found])
    masks = np.stack([hidden for _, hidden in found]) if system.spec.needs_mask else None
    system.embed(faces, masks)
    start = time.perf_counter()
    templates = system.embed(faces, masks)
    batch, memory = time.perf_counter() - start, _memory("VmHWM") - before
    off = np.abs(templates - System(name, device, ENGINES[1]).embed(faces, masks)).max()
    apart = np.linalg.norm(templates[:, None] - templates, axis=2)[~np.eye(len(templates), dtype=bool)].mean()
    parts = {part: 1000 * statistics.median(values) if values else 0.0 for part, values in system.spent.items()}
    each = {"whole": 1000 * whole / len(pictures), "batch": 1000 * batch / len(pictures)}
    return {**parts, **each, "memory": memory, "engines": off / apart, "parameters": system.spec.parameters or 0}


def _memory(key: str) -> float:
    """MiB of this process: "VmRSS" now, "VmHWM" at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def main() -> None:
    """Parse the options and print a line per model."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("faces", type=Path)
    parse.add_argument("--model", action="append", help="default: dlib-resnet, g2d, dlib-resnet+ict, deocclusion")
    parse.add_argument("--count", type=int, default=100)
    parse.add_argument("--device", default="cpu")
    parse.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    given = parse.parse_args()
    models = given.model or ["dlib-resnet", "g2d", "dlib-resnet+ict", "deocclusion"]
    if given.in_process:
        print(json.dumps(measure(models[0], np.load(given.faces, allow_pickle=False), given.device), default=float))
        return
    print("model                 mask    fill   embed   whole   batch ms   memory MiB   engines   parameters")
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "faces.npy"
        np.save(packed, masked_faces(given.faces, given.count))
        for model in models:
            command = [sys.executable, __file__, packed, "--in-process", "--model", model, "--device", given.device]
            for _ in range(2):  # the first one also exports networks to the cache
                answer = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(answer.splitlines()[-1])
            times = " ".join(f"{found[part]:7.1f}" for part in (*PARTS, "whole", "batch"))
            others = f"{found['memory']:12.0f} {found['engines']:11.1e} {found['parameters']:12,}"
            print(f"{model:18} {times} {others}", flush=True)


if __name__ == "__main__":
    main()
