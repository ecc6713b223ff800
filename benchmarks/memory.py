"""Whether memory stays flat: python benchmarks/memory.py [--few 1000] [--many 20000] [--workers 2] [--shards]

Masks a few and many small files (hard links to the same fifty pictures, with a fixed template for landmarks) in
processes of their own, and prints the peak of the resident memory (MiB) of the leading process and of the largest
worker, and the ratios of many to few. Required: at most 1.2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

LIMIT = 1.2
DISTINCT = 50
PER_SHARD = 1000
SAMPLING = 0.1  # seconds; the system itself keeps the peak of each process, so that one late look is enough
RUN = """
import json, sys
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
if __name__ == "__main__":
    config = SynthesisConfig(mask="surgical", landmarks="aligned")
    done = synthesize(sys.argv[1], sys.argv[2], config, int(sys.argv[3]), out_shards=sys.argv[4] == "shards")
    print(json.dumps({"masked": done.counts["masked"], "seconds": done.seconds}))
"""


def crops(folder: Path) -> list[Path]:
    """Fifty smooth random pictures of 112x112, which the fixed template takes for aligned crops."""
    folder.mkdir()
    for number in range(DISTINCT):
        small = np.random.default_rng(number).uniform(40, 220, (7, 7, 3)).astype(np.float32)
        large = np.clip(cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC), 0, 255)
        cv2.imwrite(str(folder / f"{number}.jpg"), large.astype(np.uint8))
    return sorted(folder.iterdir())


def as_folder(root: Path, pictures: list[Path], count: int) -> Path:
    """A folder of ``count`` links."""
    for number in range(count):
        link = root / f"{number // 100:04d}" / f"{number:06d}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(pictures[number % DISTINCT], link)
    return root


def as_shards(root: Path, pictures: list[Path], count: int) -> Path:
    """``count`` pictures in shards of a thousand."""
    root.mkdir()
    for start in range(0, count, PER_SHARD):
        with tarfile.open(root / f"{start // PER_SHARD:04d}.tar", "w") as tar:
            for number in range(start, min(start + PER_SHARD, count)):
                tar.add(pictures[number % DISTINCT], f"{number:06d}.jpg")
    return root


def masked(root: Path, pictures: list[Path], count: int, workers: int, shards: bool) -> dict[str, float]:
    """Make the inputs below ``root`` and measure a run over them: peaks in MiB, files masked, seconds."""
    source = (as_shards if shards else as_folder)(root / f"in{count}", pictures, count)
    return measure(source, root / f"out{count}", workers, shards)


def measure(source: Path, out: Path, workers: int, shards: bool) -> dict[str, float]:
    """Peaks in MiB of the leading process and of its largest worker, in a run of its own."""
    script = out.with_suffix(".py")  # a file, since workers import it
    script.write_text(RUN)
    command = [sys.executable, str(script), str(source), str(out), str(workers), "shards" if shards else "files"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    peaks: dict[int, int] = {}
    while run.poll() is None:
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            peaks[pid] = max(peaks.get(pid, 0), peak_of(pid, run.pid))
        time.sleep(SAMPLING)
    assert run.returncode == 0 and run.stdout is not None
    others = [peak for pid, peak in peaks.items() if pid != run.pid]
    return {"leader": peaks[run.pid] / 1024, "worker": max(others, default=0) / 1024, **json.loads(run.stdout.read())}


def peak_of(pid: int, group: int) -> int:
    """The peak of the resident memory of a process in KiB; 0 if it is not of the process group, or gone."""
    try:
        if os.getpgid(pid) != group:
            return 0
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def ratios(few: dict[str, float], many: dict[str, float]) -> dict[str, float]:
    """The peaks of many files over those of few, of each process that there was."""
    return {who: many[who] / few[who] for who in ("leader", "worker") if few[who]}


def main() -> None:
    """Print the table; exit with 1 when memory is not flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=20000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", action="store_true", help="Tar shards in and out, instead of folders.")
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        pictures = crops(Path(folder) / "pictures")
        for count in (options.few, options.many):
            peak = masked(Path(folder), pictures, count, options.workers, options.shards)
            assert peak["masked"] == count
            peaks.append(peak)
            print(f"{count:7} files:", ", ".join(f"{what} {value:.1f}" for what, value in peak.items()))
    grown = ratios(*peaks)
    print(", ".join(f"{who}: {ratio:.3f}" for who, ratio in grown.items()), f"times the memory (required: {LIMIT})")
    sys.exit(max(grown.values()) > LIMIT)


if __name__ == "__main__":
    main()
