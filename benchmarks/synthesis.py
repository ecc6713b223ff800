"""How fast masks are pasted, as ratios within one run: python benchmarks/synthesis.py FACES [--count 300]

Measured one after the other, in one process, on the same files:
  a  bare cv2.imread + cv2.imwrite
  b  bare mediapipe FaceMesh on the decoded pictures
  c  the whole job, nothing cached
  d  the whole job, landmarks cached
and then c and d again with two worker processes, their start-up included. Read the ratios, not the images/s: the
times of one run share whatever else the machine was doing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from maskbench.datasets.folder import walk
from maskbench.landmarks.mediapipe import MediapipeLandmarker
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    names = [file.path for file in walk(options.faces) if file.is_image]
    names = names[:: max(1, len(names) // options.count)][: options.count]
    paths = [options.faces / name for name in names]
    config, count = SynthesisConfig(), len(paths)
    cv2.setNumThreads(1)
    landmarker = MediapipeLandmarker()
    detect(paths[:5], landmarker)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "copies").mkdir()

        def run(name: str, workers: int, cache: Path | None) -> float:
            return clock(lambda: synthesize(options.faces, root / name, config, workers, cache=cache, only=names))

        rows = {
            "a  imread + imwrite": clock(lambda: copy_files(paths, root / "copies")),
            "b  FaceMesh": clock(lambda: detect(paths, landmarker)),
            "c  whole job, uncached": run("cold", 1, root / "cache"),
            "d  whole job, cached": run("warm", 1, root / "cache"),
            "c2 uncached, 2 workers": run("cold2", 2, None),
            "d2 cached, 2 workers": run("warm2", 2, root / "cache"),
        }
    print(f"{count} pictures")
    a, b, c, d, c2, d2 = rows.values()
    for name, seconds in rows.items():
        print(f"{name:24} {1000 * seconds / count:8.2f} ms an image  {count / seconds:8.1f} images/s")
    print(f"d / a = {d / a:.2f}   c / (b + d) = {c / (b + d):.2f}   c / c2 = {c / c2:.2f}   d / d2 = {d / d2:.2f}")


if __name__ == "__main__":
    main()
