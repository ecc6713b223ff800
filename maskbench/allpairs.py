"""All-against-all comparison: every figure from all N x N scores, none of which is stored but those that decide.

The matrix of scores is computed in blocks. Mated scores are few and are all kept. Of the non-mated ones a pass counts
how many fall into each of many bins and between which mated scores, and keeps those that lie where a figure is
expected: the tail of the largest, and windows around FMR10 and the EER, found on a sample. Where an expectation fails,
another pass keeps the bins that are needed. So every figure is the one that all scores, sorted, give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maskbench.allpairs_grid import Grid, Missing, Ranks, make_grid
from maskbench.allpairs_kernels import KEEP
from maskbench.allpairs_passes import TILE, CpuEngine
from maskbench.allpairs_report import Evidence, figures, points_of, wanted_shares
from maskbench.allpairs_sides import PADDING, Pairing, Templates, load_templates, pair_up
from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import ceiling
from maskbench.metrics.blocks import Rate, incomplete, publish
from maskbench.metrics.eer import eer
from maskbench.metrics.intervals import METHOD

__all__ = ["Options", "Templates", "compare_all", "load_templates"]

MIB = 1 << 20
TAIL = 0.0125  # share of the non-mated scores, from the top, that is kept if memory allows: FMR100 and what is rarer
MARGIN = 0.12  # half the width of a window, as a part of the share that it is about
PER_KEPT = 40  # bytes for each score that may be kept, sorting included
PER_MATED = 72  # bytes for each mated score: itself, errors there, and temporary arrays
LEAST_KEPT = 1 << 14
PASSES = 12
BINS = 1 << 16


@dataclass(frozen=True)
class Options:
    """How the work is done; the figures do not depend on it (but for what ``allpairs_passes`` says of rounding).

    Attributes:
        device: "cpu" or "cuda" (torch).
        threads: None: one for each processor that this process may use.
        memory: bytes that may be taken beside the given vectors (on the GPU, blocks take up to 3 GiB of its own).
        bins: of the histogram; None: 65,536, and four times as many where mated scores are many.
        tile: rows and columns of a block; None: what suits the device and the memory.
        kept: scores that a pass may keep; None: what the memory allows.
    """

    device: str = "cpu"
    threads: int | None = None
    memory: int = 512 * MIB
    bins: int | None = None
    tile: tuple[int, int] | None = None
    kept: int | None = None


def compare_all(
    references: Templates, probes: Templates | None = None, comparator: str = "cosine",
    threshold: float | None = None, options: Options | None = None,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Compare every reference with every probe, or, without probes, every two references once.

    A score is a float32 product: of vectors that were divided by their length in float64 and rounded once
    ("cosine"), or minus the root of |a|^2 + |b|^2 - 2ab in float32 ("negative-l2"), which loses digits where two
    templates nearly coincide. ``scoring.compare`` sums in float64: its scores differ in the last float32 digits.

    Args:
        comparator: "cosine" or "negative-l2".
        threshold: a threshold chosen elsewhere, reported under "at_threshold".

    Returns:
        {"metrics", "counts", "thresholds", "intervals"} as ``metrics.summary.summarise`` has them for one condition.

    Raises:
        MaskbenchError: malformed templates, too little memory, or no such device.
    """
    options = options or Options()
    if threshold is not None:
        ceiling(threshold, np.dtype(np.float32))  # NaN is refused before the work
    pairing = pair_up(references, probes, comparator)
    counts = {name: value for name, value in pairing.counts.as_dict().items() if name != "not_run"}
    for role, rate in pairing.ftx.items():
        counts |= {f"{role}_samples": rate.samples, f"{role}_samples_failed": rate.failed}
    counts |= {"same_sample": pairing.same_sample} if probes else {}
    tree = incomplete(pairing.counts)
    if pairing.counts.mated_completed and pairing.counts.non_mated_completed:
        tree = _measure(pairing, threshold, options)
    tree |= {"ftx": {role: Rate(rate.failed, rate.samples) for role, rate in pairing.ftx.items()}}
    intervals: dict[str, Any] = {"method": METHOD}
    thresholds: dict[str, Any] = {}
    metrics = publish(tree, intervals, thresholds)
    return {"metrics": metrics, "counts": counts, "thresholds": thresholds, "intervals": intervals}


def _measure(pairing: Pairing, threshold: float | None, options: Options) -> dict[str, Any]:
    """The tree of figures, by as many passes as it takes."""
    engine = _engine(pairing, options)
    mated, sample = engine.mated(), engine.sample()
    points = points_of(mated, threshold)
    grid = make_grid(sample, points, _bins(pairing, options))
    expected = eer(mated, sample).value if len(sample) else None
    expect(grid, sample, wanted_shares(expected), pairing.counts.non_mated_completed, engine.capacity)
    ranks = Ranks(engine.scan(grid, "all pairs, blocks"))
    asked: list[int] = []
    for number in range(2, PASSES):
        try:
            return figures(Evidence(pairing, mated, ranks, points, threshold))
        except Missing as missing:
            if missing.bins == asked:
                break
            asked = missing.bins
            ranks.add(engine.scan(grid.keeping(asked), f"all pairs, blocks, pass {number}"))
    raise MaskbenchError("too many different scores share a bin for this memory; raise --memory")


def expect(grid: Grid, sample: np.ndarray, shares: list[float], total: int, capacity: int) -> None:
    """Mark the bins whose scores a first pass keeps: all, or the tail and windows around other shares, as room allows.

    Args:
        sample: (S,) ascending.
        shares: where exact scores will be needed, counted from the top.
        total: number of non-mated scores.
        capacity: how many may be kept.
    """
    if 2 * total <= capacity or len(sample) == 0:
        grid.code[:] |= KEEP
        return
    tail = min(TAIL, capacity / 4 / total)
    others = [share for share in shares if share > tail]
    margin = min(MARGIN, capacity / 4 / total / (2 * sum(others))) if others else 0.0
    for low, high in [(0.0, tail)] + [(share * (1 - margin), share * (1 + margin)) for share in others]:
        first, last = (len(sample) - 1 - min(int(part * len(sample)), len(sample) - 1) for part in (high, low))
        ends = grid.bins(sample[[first, last]])
        grid.code[ends[0] : (ends[1] if low else len(grid.code)) + 1] |= KEEP


def _bins(pairing: Pairing, options: Options) -> int:
    return options.bins or (BINS if pairing.counts.mated_completed <= BINS // 2 else 4 * BINS)


def _engine(pairing: Pairing, options: Options) -> CpuEngine:
    tile, threads = options.tile or TILE, options.threads
    engine = CpuEngine(pairing, threads, tile, 0)
    if options.device != "cpu":
        from maskbench.allpairs_torch import TorchEngine

        engine = TorchEngine(pairing, options.device, options.tile)
    size = sum(side.vectors.nbytes for side in {id(side): side for side in (pairing.left, pairing.right)}.values())
    area = max(engine.tile[0], PADDING) * max(engine.tile[1], PADDING)
    mated = pairing.counts.mated_completed
    # Vectors in order; of each thread two blocks, its histogram and its errors at mated scores.
    fixed = size + engine.threads * (8 * area + 8 * _bins(pairing, options) + 16 * mated) + PER_MATED * mated
    room = (options.memory - fixed) // PER_KEPT
    if room < LEAST_KEPT:
        least = -(-(fixed + PER_KEPT * LEAST_KEPT) // MIB)
        raise MaskbenchError(
            f"{len(pairing.left)} x {len(pairing.right)} templates with {mated} mated comparisons need {least} MiB; "
            f"raise --memory (now {options.memory // MIB} MiB) or use fewer threads"
        )
    engine.capacity = min(options.kept, room) if options.kept else room
    return engine
