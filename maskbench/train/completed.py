"""Training faces whose holes are filled before training begins, for completions that do not learn along.

Completing a face costs more than a small student's step on it. So a recipe may have a few pictures of each face
completed once (``recognition.variants``), with other masks and another camera each; training goes through them in turn,
mirrored anew in every epoch. They are kept in the cache folder: other runs with the same completion, masks and seed
read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskbench import __version__
from maskbench.digest import config_sha256, generator
from maskbench.files import atomic_write, cache_root
from maskbench.progress import track
from maskbench.train.data import Batch, TrainingFaces, View, load_batches
from maskbench.train.deocclusion import Deocclusion
from maskbench.train.occluded import OccludedFaces

VERSION = 1  # raise when the same settings would give other pictures, and no new version of maskbench tells so
BLOCK = 1024  # faces in a file: what an interruption can cost
BATCH = 64


class CompletedFaces(TrainingFaces):
    """``OccludedFaces`` with nothing left to complete: views have empty holes.

    Args:
        data: what was completed.
        blocks: for each variant the files of ``completed_faces``, in order.
    """

    def __init__(self, data: OccludedFaces, blocks: Sequence[Sequence[Path]]) -> None:
        super().__init__(data.faces, data.template, None, data.augmentation, data.seed)
        self._blocks = blocks
        self._opened: dict[Path, tuple[np.ndarray, np.ndarray]] = {}

    def __getitem__(self, where: tuple[int, int]) -> View | tuple[int, str]:
        epoch, index = where
        path = self._blocks[epoch % len(self._blocks)][index // BLOCK]
        if path not in self._opened:
            self._opened[path] = np.load(path, mmap_mode="r"), np.load(_beside(path))
        crops, about = self._opened[path]
        there, masked = about[index % BLOCK]
        if not there:
            return index, f"could not be read when faces were completed; remove {path.parent} to try again"
        draw = generator(self.seed, str(epoch), self.faces.keys[index], "mirror")
        flipped = bool(self.augmentation and draw.random() < self.augmentation.flip)
        nothing = np.zeros((1, 1, 3), np.uint8)
        return View(index, crops[index % BLOCK].copy(), bool(masked), None, flipped, nothing, nothing[:, :, 0])


def completed_faces(
    data: OccludedFaces, method: Deocclusion, variants: int, made_with: Mapping[str, Any], fabric: Any, workers: int,
    root: Path | None = None,
) -> CompletedFaces:  # fmt: skip
    """Complete the views of the first epochs, those that the cache folder has not, and file them.

    A face takes height x width x 3 bytes a variant: 67,500 for a recognizer of 150 x 150.

    Args:
        data: with a reader; method: whose ``completed`` fills the holes.
        variants: how many epochs' views, at least 1.
        made_with: settings and digests that decide the pixels, plain JSON values.
        fabric: from ``loop.launch``: device and precision; workers: processes that make the views.
        root: of the cache; by default ``files.cache_root()``.

    Raises:
        MaskbenchError: the cache cannot be written to.
    """
    key = config_sha256([VERSION, __version__, data.faces.digest(), dict(made_with)])
    folder = Path(root or cache_root()) / "training" / f"completed-{key[:32]}"
    starts = range(0, len(data), BLOCK)
    blocks = [[folder / f"{variant}-{start // BLOCK:06d}.npy" for start in starts] for variant in range(variants)]
    todo = [(variant, start) for variant in range(variants) for start in starts]
    method.move(fabric.device)
    for variant, start in track(todo, len(todo), f"completed faces, {BLOCK} at a time"):
        path, rows = blocks[variant][start // BLOCK], range(start, min(start + BLOCK, len(data)))
        if not _whole(path, len(rows), method.spec.input_size):
            _make(path, data, method, variant, rows, fabric, workers)
    return CompletedFaces(data, blocks)


def _beside(path: Path) -> Path:
    """(rows, 2) bool: whether a face could be read, and whether it was masked."""
    return path.with_suffix(".about.npy")


def _whole(path: Path, rows: int, size: tuple[int, int]) -> bool:
    try:
        crops, about = np.load(path, mmap_mode="r"), np.load(_beside(path))
    except (OSError, ValueError, EOFError):
        return False  # not there yet, or cut short
    return (crops.shape, crops.dtype) == ((rows, *size, 3), np.uint8) and about.shape == (rows, 2)


def _make(
    path: Path, data: OccludedFaces, method: Deocclusion, variant: int, rows: range, fabric: Any, workers: int
) -> None:
    crops = np.zeros((len(rows), *method.spec.input_size, 3), np.uint8)
    about = np.zeros((len(rows), 2), bool)
    wanted = [[(variant, row) for row in rows[start : start + BATCH]] for start in range(0, len(rows), BATCH)]
    for batch in load_batches(data, iter(wanted), workers):
        if not len(batch):
            continue
        places = batch.index.numpy() - rows.start
        crops[places] = _filled(batch.to(fabric.device), method, fabric)
        about[places] = np.stack([np.ones(len(batch), bool), batch.masked.cpu().numpy()], axis=1)
    for target, values in ((_beside(path), about), (path, crops)):
        with atomic_write(target) as stream:
            np.save(stream, values, allow_pickle=False)


def _filled(batch: Batch, method: Deocclusion, fabric: Any) -> np.ndarray:
    """(B, H, W, 3) uint8, none of them mirrored."""
    batch.flipped = torch.zeros_like(batch.flipped)
    with torch.inference_mode(), fabric.autocast():
        found = method.completed(batch)
    return found.float().round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
