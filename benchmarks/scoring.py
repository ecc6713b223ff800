"""How fast scores become figures, as ratios within one run: python benchmarks/scoring.py [--part abcde] [--rounds 5]

  a  the full report on 10^7 float32 scores, without folds and bootstrap, against numpy.sort of the same array
     (required: 4, aim: 2.5), and the memory that it takes beside the arrays it is given (required: 120 MiB)
  b  1,000 subject-bootstrap replicates on 6,000 pairs (required: 2 s) and on 10^6 scores (required: 60 s)
  c  all pairs of 13,233 x 512 embeddings, full report, against the bare product in blocks (required: 4, aim: 2), and
     the peak memory of a fresh process (required: 1 GiB); for a fair recognizer, for a poor one, and for a poor
     one with many mated comparisons
  d  how the times of a and c grow: over N log N and over N^2
  e  all pairs of 100,000 x 512 on a GPU, if there is one

What is compared takes turns, each after a first time that does not count (it loads the compiled code); the medians
count. Read the ratios: the times of one run share whatever else the machine was doing. The bare product computes the
same comparisons (i < j, whole blocks) by numpy's BLAS with as many threads, keeps nothing, and looks at nothing. The
ratio of processor times, beside that of the clock, says what the work costs where other jobs take processors away.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from maskbench.allpairs import Options, Templates, compare_all
from maskbench.metrics.summary import summarise

SCORES = 10_000_000
LFW, SUBJECTS, SIZE = 13_233, 5_749, 512  # as in LFW
BLOCK = 2048
# How far the samples of a subject lie about their centre, and how many subjects there are.
CASES = {"fair": (2.5, SUBJECTS), "poor": (4.0, SUBJECTS), "poor, few subjects": (4.0, 350)}
MIB = 1 << 20


def clock(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of all processors together."""
    wall, processors = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processors


def in_turns(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds (clock, processors) of each, after one round that does not count."""
    for work in works.values():
        work()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(clock(work))
    return {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in times.items()}


def show(times: dict[str, tuple[float, float]], base: str) -> None:
    """Seconds, and ratios to ``base``."""
    for name, found in times.items():
        ratios = (one / other for one, other in zip(found, times[base], strict=True))
        shown = "" if name == base else "  ratio {:.2f} by the clock, {:.2f} of processor time".format(*ratios)
        print(f"  {name:34} {found[0]:8.3f} s  {found[1]:8.3f} s of processors{shown}")


def scores(count: int, mated_share: float = 0.01) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float32 scores of two overlapping normal classes in random order, with labels and status."""
    rng = np.random.default_rng(0)
    mated = rng.random(count) < mated_share
    values = rng.standard_normal(count, dtype=np.float32) * np.float32(0.1) + np.float32(0.35) * mated
    return values.astype(np.float32), mated, np.zeros(count, np.int8)


def embeddings(count: int, spread: float, subjects: int = SUBJECTS) -> Templates:
    """Random centres, one for each subject, and samples about them."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, max(2, subjects * count // LFW), count)
    vectors = rng.standard_normal((int(ids.max()) + 1, SIZE), dtype=np.float32)[ids]
    vectors += np.float32(spread) * rng.standard_normal((count, SIZE), dtype=np.float32)
    return Templates(vectors, ids)


def bare_product(vectors: np.ndarray) -> None:
    """The blocks of the upper triangle of vectors x vectors, float32, by numpy."""
    buffer = np.empty(BLOCK * BLOCK, np.float32)
    for i in range(0, len(vectors), BLOCK):
        for j in range(i, len(vectors), BLOCK):
            left, right = vectors[i : i + BLOCK], vectors[j : j + BLOCK]
            np.matmul(left, right.T, out=buffer[: len(left) * len(right)].reshape(len(left), len(right)))


def report(rounds: int) -> None:
    """Part a."""
    given = scores(SCORES)
    print(f"a  {SCORES:,} float32 scores, {int(given[1].sum()):,} mated")
    times = in_turns({"numpy.sort": lambda: np.sort(given[0]), "full report": lambda: summarise(*given)}, rounds)
    show(times, "numpy.sort")
    tracemalloc.start()
    summarise(*given)
    print(f"  memory beside the arrays given: {tracemalloc.get_traced_memory()[1] / MIB:.0f} MiB (required: 120)")
    tracemalloc.stop()


def replicates(_: int) -> None:
    """Part b."""
    try:
        names = ("bootstrap", "influence", "uncertainty")
        bootstrap, influence, uncertainty = (importlib.import_module(f"maskbench.metrics.{name}") for name in names)
    except ImportError as error:
        print(f"b  not measured: {error}")
        return
    print("b  1,000 subject-bootstrap replicates")
    for size, required, design in ((6_000, 2, "sparse"), (1_000_000, 60, "dense")):
        values, mated, status = scores(size, 0.5)
        rng = np.random.default_rng(1)
        people = rng.integers(0, SUBJECTS if design == "sparse" else 1_000, (size, 2))
        people[mated, 1] = people[mated, 0]
        same = ~mated & (people[:, 0] == people[:, 1])
        people[same, 1] += 1
        order = bootstrap.ranked(influence.comparisons(values, mated, status), uncertainty.sharing(people))
        bootstrap.replicate(order, (0.01,), design, 2)
        seconds, _ = clock(lambda order=order, design=design: bootstrap.replicate(order, (0.01,), design, 1000))
        print(f"  {size:9,} scores, {design:6}: {seconds:.2f} s (required: {required})")


def all_pairs(rounds: int) -> None:
    """Part c."""
    print(f"c  all {LFW * (LFW - 1) // 2:,} pairs of {LFW:,} x {SIZE}")
    for name, (spread, subjects) in CASES.items():
        templates = embeddings(LFW, spread, subjects)
        vectors = templates.vectors / np.linalg.norm(templates.vectors, axis=1, keepdims=True)
        works = {"bare product": lambda v=vectors: bare_product(v), "full report": lambda t=templates: compare_all(t)}
        found = compare_all(templates)
        print(f"  {name}: EER {found['metrics']['eer']['value']:.3%}, {found['counts']['mated']:,} mated comparisons")
        show(in_turns(works, rounds), "bare product")
        command = [sys.executable, __file__, "--peak", str(spread), str(subjects)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"  peak memory of a process that does this alone: {int(done.stdout) / 1024:.0f} MiB (required: 1024)")


def peak(spread: float, subjects: int) -> None:
    """Print the peak memory, in KiB, of this process after all pairs."""

    compare_all(embeddings(LFW, spread, subjects))
    print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]))  # ru_maxrss would hold the parent's


def growth(rounds: int) -> None:
    """Part d."""
    print("d  growth")
    sizes = [SCORES // 9, SCORES // 3, SCORES]
    given = {size: scores(size) for size in sizes}
    times = in_turns({str(size): lambda size=size: summarise(*given[size]) for size in sizes}, rounds)
    for size in sizes:
        print(f"  report of {size:10,}: {times[str(size)][1] / (size * np.log2(size)) * 1e9:.3f} ns x N log2 N")
    sizes = [LFW // 4, LFW // 2, LFW]
    sets = {size: embeddings(size, CASES["fair"][0]) for size in sizes}
    times = in_turns({str(size): lambda size=size: compare_all(sets[size]) for size in sizes}, rounds)
    for size in sizes:
        print(f"  all pairs of {size:7,}: {times[str(size)][1] / size**2 * 1e9:.2f} ns x N^2 of processor time")


def on_gpu(rounds: int) -> None:
    """Part e."""
    try:
        import torch
    except ImportError:
        print("e  not measured: torch is not installed")
        return
    if not torch.cuda.is_available():
        print("e  not measured: no GPU")
        return
    count = 100_000
    templates, options = embeddings(count, *CASES["fair"]), Options(device="cuda", memory=2048 * MIB)
    times = in_turns({"full report": lambda: compare_all(templates, options=options)}, max(1, rounds // 2))
    seconds, operations = times["full report"][0], 2 * SIZE * count * (count - 1) / 2
    print(f"e  all pairs of {count:,} x {SIZE}: {seconds:.1f} s, {operations / seconds / 1e12:.2f} TFLOP/s")


PARTS = {"a": report, "b": replicates, "c": all_pairs, "d": growth, "e": on_gpu}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="abcde", help="which parts, such as ac")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", nargs=2, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak is not None:
        peak(options.peak[0], int(options.peak[1]))
        return
    for name in options.part:
        PARTS[name](options.rounds)


if __name__ == "__main__":
    main()
