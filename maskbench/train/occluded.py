"""Training pictures of de-occlusion: what a completion reads, and the crop that a recognizer reads around it.

One wide crop of each face is prepared (template ``wide128``, which shows all that recognizers' crops show, at their
resolution); the completion's smaller crop and the recognizer's are cut from it, as an evaluation cuts both from the
photograph (``completing``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from maskbench.align import Template, estimate_similarity, template_at, warp
from maskbench.mask_sources import warp_mask
from maskbench.masking.render import MaskedImage
from maskbench.pixels import dilated
from maskbench.train.augment import Augmentation, degrade
from maskbench.train.data import MaskMix, TrainingFaces, View
from maskbench.train.prepare import PreparedFaces

WIDE_NAME = "wide128"


def wide_at(side: int) -> Template:
    """The completions' template for crops of ``side`` x ``side`` pixels."""
    return template_at(WIDE_NAME, (side, side))


def shows(wide: Template, reader: Template) -> bool:
    """Whether a crop holds all that another one shows, but for a pixel."""
    back = estimate_similarity(reader.points, wide.points)
    height, width = reader.size
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]) @ back[:, :2].T + back[:, 2]
    return not (corners.min() < -1 or corners.max() > wide.size[0])


class OccludedFaces(TrainingFaces):
    """Faces with holes where something covers them.

    Without ``reader`` a view is for training a completion: ``student`` is the picture that it should give back
    (side, side, 3), ``holes`` (side, side) what it does not see, and what is worn there is never drawn. With
    ``reader`` it is for training a recognizer behind the completion: ``student`` is its crop with the mask on,
    ``inner`` the completion's, ``holes`` in that; these are not turned to the mirror image, which follows after the
    completion (``flipped`` says whether it does).

    With ``worn`` it is for training a recognizer that reads masks itself: ``student`` is its crop with the mask on, and
    ``holes`` are in the same crop; mirrored both, where it is so.

    Args:
        faces: prepared for ``wide``, a template of ``wide_at``.
        side: of the completion's crop, or the template of crops that are not as ``wide_at`` has them.
        grow: by how many of its pixels holes are larger than masks, at least and at most.
        reader: the recognizer's template, or None.
    """

    def __init__(
        self, faces: PreparedFaces, wide: Template, side: int | Template, masks: MaskMix | None,
        augmentation: Augmentation | None, seed: int, grow: Sequence[int] = (1, 1), reader: Template | None = None,
        worn: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(faces, wide, masks, augmentation, seed)
        self._inner, self._reader, self._grow, self._worn = _crop(side), reader, tuple(grow), worn
        self._to_inner = estimate_similarity(wide.points, self._inner.points)
        self._to_reader = None if reader is None else estimate_similarity(wide.points, reader.points)

    def _view(self, rng: np.random.Generator, index: int, face: np.ndarray, masked: MaskedImage | None) -> View:
        more = int(rng.integers(self._grow[0], self._grow[1] + 1))
        holes = self._holes(masked, more)
        flip = 0.0 if self.augmentation is None else self.augmentation.flip
        if self._reader is None or self._to_reader is None:
            if self._worn:
                seen = self._seen(rng, face, masked)
            else:
                seen = degrade(rng, face, self.augmentation, self.template) if self.augmentation else face
            seen, flipped = warp(seen, self._to_inner, self._inner.size), bool(rng.random() < flip)
            turned = (seen[:, ::-1], holes[:, ::-1]) if flipped else (seen, holes)
            return View(index, turned[0], masked is not None, None, flipped, None, turned[1])
        seen = self._seen(rng, face, masked)
        inner, outer = warp(seen, self._to_inner, self._inner.size), warp(seen, self._to_reader, self._reader.size)
        return View(index, outer, masked is not None, None, bool(rng.random() < flip), inner, holes)

    def _holes(self, masked: MaskedImage | None, more: int) -> np.ndarray:
        """(side, side) uint8 of 0 and 1."""
        if masked is None:
            return np.zeros(self._inner.size, np.uint8)
        return dilated(warp_mask((masked.alpha > 0).astype(np.uint8), self._to_inner, self._inner.size), more)


def _crop(side: int | Template) -> Template:
    return side if isinstance(side, Template) else wide_at(side)


class PutIn:
    """Completed pixels into a recognizer's crops, on the device and with gradients; as ``completing.put_in`` does.

    Args:
        side: of the completion's crop, or its template, as in ``OccludedFaces``; reader: the recognizer's template.
    """

    def __init__(self, side: int | Template, reader: Template) -> None:
        inner, (height, width) = _crop(side), reader.size
        back = estimate_similarity(reader.points, inner.points)
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        there = np.stack([x, y], axis=-1) @ back[:, :2].T + back[:, 2]
        self._grid = torch.from_numpy((there * 2 / (inner.size[0] - 1) - 1).astype(np.float32))[None]

    def __call__(self, faces: torch.Tensor, completed: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) faces, (B, 3, s, s) completed pictures, (B, 1, s, s) holes to (B, 3, H, W); all float32."""
        moved = self.cut(torch.cat([completed.float(), holes.float()], 1))
        return torch.where(moved[:, 3:] > 0, moved[:, :3], faces)

    def cut(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, C, s, s) to (B, C, H, W) float32: the crop out of the completion's, with its border repeated."""
        grid = self._grid.to(pictures.device).expand(len(pictures), -1, -1, -1)
        with torch.autocast(pictures.device.type, enabled=False):
            return F.grid_sample(pictures.float(), grid, align_corners=True, padding_mode="border")


def planes(pictures: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [-1, 1], as completions read it, channels last in memory."""
    return pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
