"""How fast masks are pasted, as ratios within one run: python benchmarks/synthesis.py FACES [--count 300]

Measured one after the other, in one process, on the same files, each after a first time that does not count (it loads
the compiled code and prepares the masks' textures):
  a  bare cv2.imread + cv2.imwrite
  b  bare mediapipe FaceMesh on the decoded pictures
  c  the whole job, nothing cached
  d  the whole job, landmarks cached
then, each in a fresh process, start-up included, the whole job with one worker and with two; the steady rate is what
further files cost, the difference between two such runs of different length. Then masking arrays of 112x112 pixels, as
a training loop does, by the NumPy renderer on one processor and by the torch renderer on what there is. Read the
ratios: the times of one run share whatever else the machine was doing. The files are written below TMPDIR; in a folder
in memory (/dev/shm) the disk has no part in them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from maskbench.align import TEMPLATES, estimate_similarity, five_points, warp
from maskbench.datasets.folder import walk
from maskbench.digest import bytes_sha256, generator
from maskbench.images import decode
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.landmarks.mediapipe import MediapipeLandmarker
from maskbench.masking.engine import synthesize
from maskbench.masking.placement import sample
from maskbench.masking.render import render
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.types import Landmarks

ROUNDS = 7  # of a and d, which are short and take turns: the medians count
CROP = 112
BATCH = 256
# Pictures (repeated where there are fewer) of two runs, whose difference tells the steady rate from the start.
RUNS = {"cached": (1500, 6000), "uncached": (300, 1200)}
WHOLE_RUN = """
import sys
from pathlib import Path
if __name__ == "__main__":
    from maskbench.masking.engine import synthesize
    from maskbench.masking.synthesis import SynthesisConfig
    cache = Path(sys.argv[4]) if sys.argv[4] else None
    synthesize(sys.argv[1], sys.argv[2], SynthesisConfig(), int(sys.argv[3]), cache=cache)
"""


def clock(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def copy_files(paths: list[Path], out: Path) -> None:
    """Decode and encode every picture."""
    for number, path in enumerate(paths):
        cv2.imwrite(str(out / f"{number}{path.suffix}"), cv2.imread(str(path)))


def detect(paths: list[Path], landmarker: MediapipeLandmarker) -> None:
    """Face mesh on every picture."""
    for path in paths:
        landmarker.detect(np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]))


def linked(faces: Path, names: list[str], root: Path, count: int) -> Path:
    """A folder with so many of the files, each time round in another folder."""
    for number in range(count):
        link = root / str(number // len(names)) / names[number % len(names)]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((faces / names[number % len(names)]).resolve())
    return root


def in_one_process(faces: Path, names: list[str], root: Path) -> dict[str, float]:
    """Seconds of a, b, c and d. Leaves the landmarks below ``root/cache``."""
    paths, landmarker = [faces / name for name in names], MediapipeLandmarker()
    (root / "copies").mkdir()
    runs = iter(range(99))

    def run(cache: str) -> float:
        out = root / f"run{next(runs)}"
        return clock(lambda: synthesize(faces, out, SynthesisConfig(), cache=root / cache))

    run("warm-up")
    copy_files(paths, root / "copies")
    detect(paths[:5], landmarker)
    c = run("cache")
    b = clock(lambda: detect(paths, landmarker))
    short = [(clock(lambda: copy_files(paths, root / "copies")), run("cache")) for _ in range(ROUNDS)]
    return {
        "a  imread + imwrite": statistics.median(a for a, _ in short),
        "b  FaceMesh": b,
        "c  whole job, uncached": c,
        "d  whole job, cached": statistics.median(d for _, d in short),
    }


def fresh_process(faces: Path, root: Path, workers: int, cache: Path | None) -> float:
    """Seconds of the whole job as a command, from the start of Python to its end."""
    out = root / f"fresh{time.monotonic_ns()}"
    script = root / "whole_run.py"
    script.write_text(WHOLE_RUN)
    command = [sys.executable, str(script), str(faces), str(out), str(workers), str(cache or "")]
    return clock(lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL))


def workers_table(faces: Path, names: list[str], root: Path) -> None:
    """Print one worker against two, with cached landmarks and without."""
    for label, sizes in RUNS.items():
        few, many = (linked(faces, names, root / f"{label}{count}", count) for count in sizes)
        cache = root / "cache" if label == "cached" else None
        if cache:
            fresh_process(many, root, 2, cache)  # fills it
        one, two = ([fresh_process(folder, root, workers, cache) for folder in (few, many)] for workers in (1, 2))
        print(f"{label}: {sizes[1]} pictures with start-up: {one[1]:.1f} s and {two[1]:.1f} s: {one[1] / two[1]:.2f}x")
        steady = [(seconds[1] - seconds[0]) / (sizes[1] - sizes[0]) for seconds in (one, two)]
        rates = f"{1 / steady[0]:.0f} and {1 / steady[1]:.0f} images/s"
        print(f"{label}: steady {rates}: {steady[0] / steady[1]:.2f}x (required: 1.8)")


def crops(faces: Path, names: list[str], cache: Path) -> list[tuple[np.ndarray, Landmarks]]:
    """Aligned crops (112, 112, 3) of the largest faces, with their landmarks in the crop."""
    found, landmarker = [], CachedLandmarker("auto", root=cache)
    for name in names:
        data = (faces / name).read_bytes()
        image = decode(data)
        for face in landmarker.detect(image, bytes_sha256(data))[:1]:
            matrix = estimate_similarity(five_points(face), TEMPLATES["arcface112"].points)
            xy = face.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            z = face.points[:, 2:] * np.hypot(matrix[0, 0], matrix[1, 0])
            found.append((warp(image, matrix, (CROP, CROP)), mesh_landmarks(np.hstack([xy, z]), face.detector)))
    return found


def in_loop(found: list[tuple[np.ndarray, Landmarks]]) -> None:
    """Print the rate of choosing, placing and rendering a mask on arrays."""
    wardrobe = SynthesisConfig().wardrobe()

    def place(number: int, face: Landmarks):
        choice = wardrobe.choose(0, str(number))[0]
        rng = generator(0, str(number))
        jitter = wardrobe.recipe.jitter
        return choice.asset, sample(rng, choice.asset, face, 0, jitter, choice.colour, choice.style, choice.size)

    def work() -> None:
        for number, (image, face) in enumerate(found):
            render(image, *place(number, face))

    work()  # loads the masks' textures
    seconds = statistics.median(clock(work) for _ in range(ROUNDS)) / len(found)
    print(f"arrays of {CROP}x{CROP}: {1000 * seconds:.2f} ms each, {1 / seconds:.0f} images/s on one processor")
    placed = [place(number, face) for number, (_, face) in enumerate(found)]
    in_torch(np.stack([image for image, _ in found]), placed)


def in_torch(images: np.ndarray, placed: list) -> None:
    """Print the rate of the torch renderer, without sampling, on the CPU and on a GPU if there is one."""
    try:
        import torch

        from maskbench.masking.render_torch import render_torch
    except ImportError:
        print("torch is not installed: its renderer is not measured")
        return
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        count = BATCH if device == "cpu" else 16 * BATCH
        index = np.arange(count) % len(images)
        batch = torch.from_numpy(images[index].transpose(0, 3, 1, 2).copy()).to(device)
        assets, placements = zip(*(placed[i] for i in index), strict=True)

        def work(batch=batch, assets=assets, placements=placements, device=device) -> None:
            render_torch(batch, assets, placements)
            if device == "cuda":
                torch.cuda.synchronize()

        work()
        seconds = statistics.median(clock(work) for _ in range(ROUNDS))
        print(f"torch renderer, {device}: {count / seconds:.0f} images/s of {CROP}x{CROP} in batches of {count}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--skip-workers", action="store_true", help="Leave the runs in fresh processes out.")
    options = parser.parse_args()
    names = [file.path for file in walk(options.faces) if file.is_image]
    few = names[:: max(1, len(names) // options.count)][: options.count]
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = in_one_process(linked(options.faces, few, root / "few", len(few)) / "0", few, root)
        print(f"{len(few)} pictures, one process")
        for name, seconds in rows.items():
            print(f"{name:24} {1000 * seconds / len(few):8.2f} ms an image  {len(few) / seconds:8.1f} images/s")
        a, b, c, d = rows.values()
        print(f"d / a = {d / a:.2f} (required: 4)   c / (b + d) = {c / (b + d):.2f} (required: 1.25)")
        if not options.skip_workers:
            workers_table(options.faces, names, root)
        in_loop(crops(options.faces, few, root / "cache"))


if __name__ == "__main__":
    main()
