"""Passes over the matrix of all comparisons by torch: the same counts from the same arithmetic, on a GPU."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from maskbench.allpairs_grid import Grid, Kept, Scan
from maskbench.allpairs_kernels import KEEP, SPLIT
from maskbench.allpairs_passes import CpuEngine, Tile, tile_skip, tiles
from maskbench.allpairs_sides import Pairing, Side
from maskbench.errors import MaskbenchError
from maskbench.progress import track

TILE = (4096, 8192)  # 128 MiB of scores, and about twenty times as much while they are counted


class TorchEngine(CpuEngine):
    """Scores by torch, in float32 throughout (TF32 is off while it runs).

    Raises:
        MaskbenchError: torch is not installed, or it has no such device.
    """

    def __init__(self, pairing: Pairing, device: str, tile: tuple[int, int] | None = None, capacity: int = 0) -> None:
        super().__init__(pairing, 1, tile or TILE, capacity)
        try:
            import torch
        except ImportError:
            raise MaskbenchError(f"device {device} needs torch; install maskbench[gpu], or use cpu") from None
        if device not in ("cpu", "cuda"):  # torch on a CPU serves tests
            raise MaskbenchError(f'no device "{device}"; use cpu or cuda')
        if device == "cuda" and not torch.cuda.is_available():
            raise MaskbenchError("device cuda: torch finds no GPU here; use cpu")
        self._torch, self._device = torch, device
        left = self._on_device(pairing.left)
        self._left, self._right = left, left if pairing.right is pairing.left else self._on_device(pairing.right)

    def _on_device(self, side: Side) -> tuple:
        place = self._torch.from_numpy
        return place(side.vectors[: len(side)]).to(self._device), place(side.squares).to(self._device)

    def _block(self, tile: Tile):  # -> torch.Tensor
        """Scores (r, c) of a block, on the device."""
        i, i_end, j, j_end = tile
        left, right = self._left, self._right
        scores = left[0][i:i_end] @ right[0][j:j_end].T
        if self.pairing.comparator == "negative-l2":
            scores = left[1][i:i_end, None] + right[1][None, j:j_end] - 2 * scores
            scores = 0 - scores.clamp_(min=0).sqrt_()
        return scores

    def _product(self, tile: Tile, buffer: np.ndarray) -> np.ndarray:
        return self._block(tile).cpu().numpy()

    def mated(self) -> np.ndarray:
        """All mated scores, ascending, float32."""
        with _full_precision(self._torch):
            return super().mated()

    def scan(self, grid: Grid, label: str) -> Scan:
        """One pass over all non-mated scores."""
        kept, tally = Kept(grid, self.capacity), _Tally(self._torch, self._device, grid)
        plan = list(tiles(self.pairing, self.tile))
        with _full_precision(self._torch):
            for tile in track(plan, len(plan), label):
                kept.add(tally.count(self._non_mated(tile)))
        counters = [part.cpu().numpy() for part in (tally.histogram, tally.below, tally.equal)]
        sums = [np.array([first, 0.0, second, 0.0]) for first, second in tally.sums]
        return Scan(grid, *counters, sums, *kept.result())

    def _non_mated(self, tile: Tile):  # -> torch.Tensor
        scores, skip = self._block(tile), tile_skip(self.pairing, tile)
        if (skip[:, 0] == skip[:, 1]).all():
            return scores.flatten()
        low, high = self._torch.from_numpy(skip).to(self._device).T[:, :, None]
        columns = self._torch.arange(scores.shape[1], device=self._device)
        return scores[(columns < low) | (columns >= high)]


class _Tally:
    """Counters on the device."""

    def __init__(self, torch, device: str, grid: Grid) -> None:  # noqa: ANN001 - the module
        self._torch, self._device, self._grid = torch, device, grid
        self._points = torch.from_numpy(grid.points).to(device)
        self._start = torch.from_numpy(grid.start.astype(np.int64)).to(device)
        self.histogram, self.below, self.equal = (
            torch.zeros(size, dtype=torch.int64, device=device)
            for size in (len(grid.code), len(grid.points), len(grid.points))
        )
        self.sums: list[tuple[float, float]] = []

    def count(self, scores) -> np.ndarray:  # noqa: ANN001 - torch.Tensor
        """Count (N,) scores; returns those to keep."""
        grid, torch = self._grid, self._torch
        code = torch.from_numpy(grid.code).to(self._device)  # anew each time: KEEP bits may have been cleared
        places = (scores - float(grid.low)).mul_(float(grid.scale)).clamp_(0, len(code) - 1).long()
        self.histogram += torch.bincount(places, minlength=len(code))
        bits = code[places]
        split = (bits & int(SPLIT)) > 0
        self._place(scores[split], places[split])
        del places
        deviations = scores.double() - grid.pivot
        self.sums.append((deviations.sum().item(), deviations.square_().sum().item()))
        return scores[(bits & int(KEEP)) > 0].cpu().numpy()

    def _place(self, scores, places) -> None:  # noqa: ANN001 - torch.Tensor
        """Count each score at the first point of its bin that is not smaller; above them all nothing is counted."""
        if len(scores) == 0:
            return
        found = self._torch.searchsorted(self._points, scores)
        inside = found < self._start[places + 1]
        found, scores = found[inside], scores[inside]
        same = self._points[found] == scores
        size = len(self._points)
        self.equal += self._torch.bincount(found[same], minlength=size)
        self.below += self._torch.bincount(found[~same], minlength=size)


@contextmanager
def _full_precision(torch):  # noqa: ANN001 - the module
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
