"""Training pictures: what the student sees, masked online, and what the teacher sees, always clean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from maskbench.align import Template
from maskbench.digest import generator
from maskbench.errors import ImageError, MaskbenchError
from maskbench.masking.render import MaskedImage
from maskbench.masking.transform import RandomMask
from maskbench.masking.wardrobe import unit
from maskbench.train.augment import Augmentation, degrade, jitter_matrix, patched, recoloured
from maskbench.train.prepare import PreparedFaces, moved


class MaskMix:
    """Masks of several recipes, each with a weight; which one a face gets depends on (seed, epoch, key) alone.

    Args:
        recipes: name or YAML file -> weight.
        p: share of the faces that get a mask.
        masks_dirs: further folders of mask assets.

    Raises:
        MaskbenchError: no such recipe, or a weight that is not positive.
    """

    def __init__(
        self, recipes: Mapping[str, float], p: float, seed: int, masks_dirs: Sequence[Path | str] = ()
    ) -> None:
        for name, weight in recipes.items():
            if not weight > 0:
                raise MaskbenchError(f"masks: recipe {name} has weight {weight}; give a positive number")
        if not recipes and p > 0:
            raise MaskbenchError("masks: no recipe is given; name one, or set the probability p to 0")
        self.seed, self.p = seed, p
        shares = np.array(list(recipes.values()), np.float64)
        self._edges = np.cumsum(shares) / shares.sum() if len(shares) else shares
        self._masks = [RandomMask(name, p, seed, output="record", masks_dirs=masks_dirs) for name in recipes]

    def __call__(self, image: np.ndarray, mesh: np.ndarray, key: str, epoch: int) -> MaskedImage | None:
        """The face with a mask, in new arrays, or None where it gets none."""
        if self.p == 0:
            return None
        drawn = unit(self.seed, str(epoch), key, "recipe")
        which = min(int(np.searchsorted(self._edges, drawn, "right")), len(self._masks) - 1)
        masked = self._masks[which](image, key, mesh, epoch)
        return None if masked.placement is None else masked


@dataclass(frozen=True)
class View:
    """One picture of a batch.

    Attributes:
        index: of the face; student: (H, W, 3) uint8, perhaps masked; masked: whether it is.
        clean: (H, W, 3) uint8, the same crop without mask and camera; None where nobody asked for it.
        flipped: whether the two show the mirror image.
        inner, holes: what a completion reads; see ``occluded``.
    """

    index: int
    student: np.ndarray
    masked: bool
    clean: np.ndarray | None
    flipped: bool
    inner: np.ndarray | None = None
    holes: np.ndarray | None = None


class TrainingFaces(Dataset):
    """What (epoch, index) shows: the same to the byte in every process and after every interruption.

    Args:
        faces: prepared for the recognizer's template with a margin.
        template: the recognizer's.
        masks: what the student's faces wear, or None.
        augmentation: of the student's picture; None gives the plain crop.
        seed: of all draws.
        clean: also give the student's crop without mask, for a teacher that runs along.
    """

    def __init__(
        self, faces: PreparedFaces, template: Template, masks: MaskMix | None, augmentation: Augmentation | None,
        seed: int, clean: bool = False,
    ) -> None:  # fmt: skip
        self.faces, self.template, self.masks = faces, template, masks
        self.augmentation, self.seed, self.clean = augmentation, seed, clean
        self._margin = (faces.template.size[0] - template.size[0]) // 2

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, where: tuple[int, int]) -> View | tuple[int, str]:
        """The view of face ``index`` in ``epoch``; its index and the reason where the picture can no longer be read."""
        epoch, index = where
        cv2.setNumThreads(0)  # the processes are the parallelism
        try:
            crop, mesh = self.faces.crop(index)
        except ImageError as error:
            return index, str(error)
        key = self.faces.keys[index]
        rng = generator(self.seed, str(epoch), key, "view")
        face, mesh = self._placed(rng, crop, mesh)
        return self._view(rng, index, face, self.masks(face, mesh, key, epoch) if self.masks else None)

    def _view(self, rng: np.random.Generator, index: int, face: np.ndarray, masked: MaskedImage | None) -> View:
        seen = self._seen(rng, face, masked)
        flipped = bool(self.augmentation and rng.random() < self.augmentation.flip)
        clean = face if self.clean else None
        if flipped:
            seen, clean = seen[:, ::-1], None if clean is None else clean[:, ::-1]
        return View(index, seen, masked is not None, clean, flipped)

    def _placed(self, rng: np.random.Generator, crop: np.ndarray, mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The crop without its margin, moved a little where that is asked for."""
        height, width = self.template.size
        if self.augmentation is None:
            return plain_crop(crop, self._margin), mesh - np.array([self._margin, self._margin, 0], np.float32)
        matrix = jitter_matrix(rng, self.augmentation, self.template.size, self._margin)
        face = cv2.warpAffine(crop, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return face, moved(mesh, matrix)

    def _seen(self, rng: np.random.Generator, face: np.ndarray, masked: MaskedImage | None) -> np.ndarray:
        how = self.augmentation
        seen = face if masked is None else masked.image
        if how is None:
            return seen
        if masked is not None and rng.random() < how.recolour:
            seen = recoloured(rng, seen, masked.alpha)
        if rng.random() < how.patch:
            seen = patched(rng, seen)
        return degrade(rng, seen, how, self.template)


def plain_crop(crop: np.ndarray, margin: int) -> np.ndarray:
    """The middle of a crop with a margin, as a new array."""
    return crop[margin : crop.shape[0] - margin, margin : crop.shape[1] - margin].copy()


@dataclass
class Batch:
    """Tensors of B faces; ``failures`` are the pictures that should have been among them.

    Attributes:
        index: (B,) int64; faces: (B, H, W, 3) uint8; masked, flipped: (B,) bool; clean: (B, H, W, 3) uint8 or None.
        failures: (index, reason).
        inner: (B, h, w, 3) uint8 and holes: (B, h, w) uint8 of 0 and 1, for completions, or None.
    """

    index: torch.Tensor
    faces: torch.Tensor
    masked: torch.Tensor
    flipped: torch.Tensor
    clean: torch.Tensor | None
    failures: list[tuple[int, str]]
    inner: torch.Tensor | None = None
    holes: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        moved_to = {
            name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in vars(self).items()
        }
        return Batch(**moved_to)

    def pin_memory(self) -> Batch:
        """For the loader of a GPU."""
        pinned = {
            name: value.pin_memory() if isinstance(value, torch.Tensor) else value for name, value in vars(self).items()
        }
        return Batch(**pinned)


def collate(items: Sequence[View | tuple[int, str]]) -> Batch:
    """Views as a batch. Pictures that could not be read are left out of it, and named."""
    views = [item for item in items if isinstance(item, View)]
    failures = [item for item in items if not isinstance(item, View)]
    clean, inner, holes = (_stacked([getattr(view, name) for view in views]) for name in ("clean", "inner", "holes"))
    faces = _stacked([view.student for view in views])
    return Batch(
        torch.tensor([view.index for view in views], dtype=torch.int64),
        torch.empty((0, 1, 1, 3), dtype=torch.uint8) if faces is None else faces,
        torch.tensor([view.masked for view in views], dtype=torch.bool),
        torch.tensor([view.flipped for view in views], dtype=torch.bool),
        clean, failures, inner, holes,
    )  # fmt: skip


def _stacked(pictures: Sequence[np.ndarray | None]) -> torch.Tensor | None:
    """All as one tensor, if there are any."""
    known = [picture for picture in pictures if picture is not None]
    return torch.from_numpy(np.stack(known)) if known else None


class _From:
    """The batches of epochs from some step on, for the loader: lists of (epoch, index)."""

    def __init__(self, batches: Iterator[list[tuple[int, int]]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self._batches


def load_batches(
    data: TrainingFaces, batches: Iterator[list[tuple[int, int]]], workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Batches in order, made ahead by worker processes.

    Args:
        batches: of (epoch, index), as ``sampling.BatchPlan`` gives them.
        workers: processes; 0 makes each batch in this process when it is asked for.
    """
    more = {"prefetch_factor": 4, "persistent_workers": False, "multiprocessing_context": "fork"} if workers else {}
    loader = DataLoader(
        data, batch_sampler=_From(batches), num_workers=workers, collate_fn=collate, pin_memory=pin, **more
    )
    return iter(loader)
