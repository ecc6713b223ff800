"""How much of the bare network's speed the embedding stage keeps: python benchmarks/embedding.py FACES [--model NAME]

Measured in turns, in one process, on the same pictures:
  bare   the network alone on preloaded, normalised float32 batches, one after the other: a plain onnxruntime session
         with as many threads as maskbench uses, or the torch module
  stage  what maskbench evaluate does: read, decode, align, normalise, embed, file the templates; cache switched off
Both use the network's own threads and the same batches; landmarks are known beforehand, as they are with a warm cache.
Read the ratio stage / bare of the medians, for times of one run share whatever else the machine was doing. On CUDA also
half precision: its rate, and by how much its scores differ from those of float32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maskbench.align import align_face, template_at
from maskbench.embed import BATCH, EmbeddingCache, alignment_points, embed_inventory
from maskbench.errors import MaskbenchError
from maskbench.images import read_image
from maskbench.inventory import take_inventory
from maskbench.protocols import make_folders
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.dlib_resnet import _cached_onnx
from maskbench.recognizers.engines import thread_count
from maskbench.recognizers.onnx import OnnxRecognizer, open_session, read_network
from maskbench.recognizers.preprocess import preprocess
from maskbench.types import Recognizer

ROUNDS = 5


def bare_loop(recognizer: Recognizer, model: str, batches: list[np.ndarray]) -> Callable[[], None]:
    """A call that runs the network on every preloaded batch and does nothing else."""
    if not isinstance(recognizer, OnnxRecognizer):
        return _torch_loop(recognizer, batches)
    device = "cuda" if "CUDA" in recognizer.spec.engine else "cpu"
    data = read_network(Path(model.removeprefix("onnx:"))) if model.startswith("onnx:") else cached_network(model)
    session = open_session(data, model, device, thread_count())
    wanted = session.get_inputs()[0]
    if isinstance(wanted.shape[0], int):  # exported for batches of this size
        size = wanted.shape[0]
        batches = [batch[start : start + size] for batch in batches for start in range(0, len(batch), size)]
    return lambda: [session.run(None, {wanted.name: batch}) for batch in batches] and None


def cached_network(model: str) -> bytes:
    """The exported network of ``dlib-resnet``; for another one give its ONNX file."""
    if model != "dlib-resnet":
        raise MaskbenchError(f"{model}: export it first (maskbench models export), and measure onnx:PATH")
    return _cached_onnx()[0]


def _torch_loop(recognizer: Recognizer, batches: list[np.ndarray], half: bool = False) -> Callable[[], None]:
    import torch

    module, device = recognizer.module, recognizer._device
    loaded = [torch.from_numpy(batch).to(device) for batch in batches]

    def run() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=half):
            for batch in loaded:
                module(batch)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def clock(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(faces: Path, model: str, engine: str, device: str, count: int, batch: int) -> None:
    """Print both rates and their ratio."""
    recognizer = load_recognizer(model, device, engine)
    inventory = take_inventory(make_folders(faces, 4 * count), faces)
    del inventory.items[count:]
    _, points = alignment_points(inventory, "source", 1, None)
    spec, none = recognizer.spec, EmbeddingCache(None, recognizer)
    template = template_at(spec.template, spec.input_size)
    aligned = np.stack(
        [align_face(read_image(i.path), points[i.sample_id, i.condition], template) for i in inventory.items]
    )
    batches = [preprocess(aligned[start : start + batch], spec) for start in range(0, len(aligned), batch)]
    bare = bare_loop(recognizer, model, batches)
    works = {"bare": bare, "stage": lambda: embed_inventory(recognizer, inventory, points, none, batch)}
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()  # a first time that does not count
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(clock(work))
    rates = {name: len(aligned) / statistics.median(taken) for name, taken in times.items()}
    print(f"{spec.name}, {spec.engine}, {len(aligned)} pictures, batches of {batch}, {ROUNDS} rounds in turns")
    for name, rate in rates.items():
        print(f"  {name:6s} {rate:8.0f} faces/s")
    print(f"  stage / bare = {rates['stage'] / rates['bare']:.2f}")
    if spec.engine == "torch:cuda":
        _half(recognizer, aligned, batches)


def _half(recognizer: Recognizer, aligned: np.ndarray, batches: list[np.ndarray]) -> None:
    """Rate and largest change of a cosine in half precision."""
    import torch

    loop = _torch_loop(recognizer, batches, half=True)
    loop()  # a first time that does not count
    taken = statistics.median(clock(loop) for _ in range(ROUNDS))
    vectors, _ = recognizer.embed(aligned)
    with torch.inference_mode(), torch.autocast("cuda", torch.float16):
        rough = np.concatenate([recognizer.module(torch.from_numpy(b).cuda()).float().cpu().numpy() for b in batches])
    cosines = [(v / np.linalg.norm(v, axis=1, keepdims=True)) for v in (vectors, rough)]
    change = np.abs(cosines[0] @ cosines[0].T - cosines[1] @ cosines[1].T).max()
    print(f"  fp16: {len(aligned) / taken:.0f} faces/s bare, largest change of a cosine {change:.2e}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of aligned 112x112 crops, one folder per subject")
    parser.add_argument("--model", default="dlib-resnet")
    parser.add_argument("--engine", default="onnxruntime", choices=["onnxruntime", "torch"])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=BATCH)
    given = parser.parse_args()
    measure(given.faces, given.model, given.engine, given.device, given.count, given.batch)


if __name__ == "__main__":
    main()
