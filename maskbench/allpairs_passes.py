"""Passes over the matrix of all comparisons on the CPU: blocks of scores by BLAS, one thread each, binned while warm.

A score is a float32 matrix product of its two vectors. Each block is one product by one thread, never narrower than
128 rows and columns: small products are computed by other kernels, which round differently. With that, neither the size
of the blocks nor the number of threads was seen to change a score; nothing in BLAS promises it.
"""

from __future__ import annotations

import itertools
import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maskbench.allpairs_grid import Grid, Kept, Scan
from maskbench.allpairs_kernels import scan_block, take_mated, to_distances
from maskbench.allpairs_sides import PADDING, Pairing, Side
from maskbench.parallel import one_blas_thread
from maskbench.progress import track

TILE = (512, 2048)  # rows and columns of a block: 4 MiB, which stays in the caches between product and counting
SAMPLE = 1024  # rows and columns of the block that is looked at first
Tile = tuple[int, int, int, int]  # first row, end row, first column, end column


def tiles(pairing: Pairing, shape: tuple[int, int]) -> Iterator[Tile]:
    """Blocks that cover every non-mated comparison, large ones (of few columns skipped) first."""
    rows, columns = len(pairing.left), len(pairing.right)
    for i in range(0, rows, shape[0]):
        low, high = pairing.skip[i], pairing.skip[min(i + shape[0], rows) - 1]
        start = low[1] if low[0] == high[0] == 0 else 0  # what all rows skip at the left
        for j in range(start, columns, shape[1]):
            yield i, min(i + shape[0], rows), j, min(j + shape[1], columns)


def mated_tiles(pairing: Pairing, shape: tuple[int, int]) -> Iterator[Tile]:
    """Blocks that cover every mated comparison: a band along the diagonal."""
    for i in range(0, len(pairing.left), PADDING):
        stop = min(i + PADDING, len(pairing.left))
        low, high = int(pairing.mated[i:stop, 0].min()), int(pairing.mated[i:stop, 1].max())
        for j in range(low, high, shape[1]):
            yield i, stop, j, min(j + shape[1], high)


def tile_skip(pairing: Pairing, tile: Tile) -> np.ndarray:
    """(r, 2) columns of a block that are no non-mated comparisons, counted from its first column."""
    return np.clip(pairing.skip[tile[0] : tile[1]] - tile[2], 0, tile[3] - tile[2])


def tile_mated(pairing: Pairing, tile: Tile) -> np.ndarray:
    """(r, 3) columns of a block that are mated comparisons, and the one among them that is not."""
    found = pairing.mated[tile[0] : tile[1]] - tile[2]
    return np.concatenate([np.clip(found[:, :2], 0, tile[3] - tile[2]), found[:, 2:]], 1)


def sample_rows(pairing: Pairing, size: int = SAMPLE) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, spread by chance (always the same), of a small matrix of typical scores."""
    rng = np.random.default_rng(0)
    counts = len(pairing.left), len(pairing.right)
    left, right = (np.sort(rng.permutation(count)[:size]) for count in counts)
    return left, right


class CpuEngine:
    """Scores by numpy's BLAS and numba.

    Args:
        threads: None: one for each processor that this process may use.
        tile: rows and columns of a block.
        capacity: scores that a pass may keep.
    """

    def __init__(self, pairing: Pairing, threads: int | None, tile: tuple[int, int], capacity: int) -> None:
        self.pairing, self.tile, self.capacity = pairing, tile, capacity
        self.threads = threads or len(os.sched_getaffinity(0))

    def _product(self, tile: Tile, buffer: np.ndarray) -> np.ndarray:
        """Scores of a block, in ``buffer``; further rows and columns may follow and hold no scores."""
        i, i_end, j, j_end = tile
        left, right = self.pairing.left, self.pairing.right
        rows, columns = max(i_end - i, PADDING), max(j_end - j, PADDING)
        scores = buffer[: rows * columns].reshape(rows, columns)
        np.matmul(left.vectors[i : i + rows], right.vectors[j : j + columns].T, out=scores)
        if self.pairing.comparator == "negative-l2":
            to_distances(scores, left.squares[i:i_end], right.squares[j:j_end])
        return scores

    def _buffer(self) -> np.ndarray:
        return np.empty(max(self.tile[0], PADDING) * max(self.tile[1], PADDING), np.float32)

    def mated(self) -> np.ndarray:
        """All mated scores, ascending, float32."""
        out = np.empty(self.pairing.counts.mated_completed, np.float32)
        buffer, n = self._buffer(), 0
        with one_blas_thread():
            for tile in mated_tiles(self.pairing, self.tile):
                n = take_mated(self._product(tile, buffer), tile_mated(self.pairing, tile), out, n)
        out.sort()
        return out

    def sample(self) -> np.ndarray:
        """Some non-mated scores, ascending."""
        rows, columns = sample_rows(self.pairing)
        left, right = (_part(side, some) for side, some in zip(_sides(self.pairing), (rows, columns), strict=True))
        scores = left.vectors[: len(rows)] @ right.vectors[: len(columns)].T
        if self.pairing.comparator == "negative-l2":
            to_distances(scores, left.squares, right.squares)
        return np.sort(scores[typical(self.pairing, rows, columns)])

    def scan(self, grid: Grid, label: str) -> Scan:
        """One pass over all non-mated scores."""
        kept = Kept(grid, self.capacity)
        workers = [_Worker(self, grid, kept) for _ in range(self.threads)]
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in workers:
            free.put(worker)

        def work(tile: Tile) -> None:
            worker = free.get()
            try:
                worker.take(tile)
            finally:
                free.put(worker)

        plan = list(tiles(self.pairing, self.tile))
        with one_blas_thread():
            for _ in track(_in_threads(work, plan, self.threads), len(plan), label):
                pass
        histogram, cells = (sum(worker.tables[k] for worker in workers) for k in (3, 4))
        sums = [worker.tables[5] for worker in workers]
        return Scan(grid, histogram, cells[:-2:2], cells[1:-2:2], sums, *kept.result())


def _in_threads(work: Callable[[Tile], None], plan: list[Tile], threads: int) -> Iterator[None]:
    if threads == 1:
        yield from map(work, plan)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead = iter(plan)
        waiting = [pool.submit(work, tile) for tile in itertools.islice(ahead, 4 * threads)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(work, tile) for tile in itertools.islice(ahead, 1)]
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker:
    """Buffers and counters of one thread."""

    def __init__(self, engine: CpuEngine, grid: Grid, kept: Kept) -> None:
        self._engine, self._kept = engine, kept
        self._buffer = engine._buffer()
        self._out = np.empty(len(self._buffer) + 1, np.float32)
        places = [np.empty(max(engine.tile[1], PADDING) + 1, np.uint32) for _ in range(2)]
        self._grid = grid.low, grid.scale, np.float32(len(grid.code) - 1), grid.pivot
        padded = np.concatenate([grid.points, np.full(4, np.inf, np.float32)])
        cells = np.zeros(2 * len(grid.points) + 2, np.int64)
        histogram = np.zeros(len(grid.code), np.int64)
        self.tables = (grid.code, grid.start, padded, histogram, cells, np.zeros(4), self._out, *places)

    def take(self, tile: Tile) -> None:
        """Count and keep the non-mated scores of a block."""
        scores, skip = self._engine._product(tile, self._buffer), tile_skip(self._engine.pairing, tile)
        n = scan_block(scores, tile[3] - tile[2], skip, self._grid, self.tables)
        self._kept.add(self._out[:n])


def _sides(pairing: Pairing) -> tuple[Side, Side]:
    return pairing.left, pairing.right


def _part(side: Side, rows: np.ndarray) -> Side:
    return Side(side.vectors[rows], side.squares[rows] if len(side.squares) else side.squares, side.rows[rows])


def typical(pairing: Pairing, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(r, c) bool: which entries of a matrix of these rows and columns are non-mated comparisons.

    Where a set meets itself they stand right of the skipped range; their mirror images would serve as well.
    """
    low, high = pairing.skip[rows, :1], pairing.skip[rows, 1:]
    return (columns < low) | (columns >= high)
