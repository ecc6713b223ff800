"""What the methods of this package share: one face at a time, on one thread, blind to what is under the mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from maskbench.completions.base import CompletionSpec, check_faces, check_masks, completion_digest
from maskbench.digest import array_sha256
from maskbench.errors import MaskbenchError
from maskbench.parallel import one_blas_thread
from maskbench.pixels import LUMA, dilated


class Fill(Protocol):
    """How a method fills one face.

    Attributes:
        unseen: (H, W, 3) uint8, the answer for a face of which nothing is seen.
    """

    unseen: np.ndarray

    def __call__(self, face: np.ndarray, hole: np.ndarray, grey: bool) -> np.ndarray:
        """The face (H, W, 3) uint8, black inside ``hole`` (H, W) bool, to values (H, W, 3) from which the hole is
        filled. Some pixel is known. ``grey`` says that all known pixels are; the fill is made grey afterwards."""
        ...


@dataclass(frozen=True, eq=False)
class Facewise:
    """A ``Completion`` made of a ``Fill``.

    Attributes:
        fill: None before fitting.
        learn: training faces to ``fill``; None where nothing is fitted.
        guard: pixels by which the hole is grown for reading: that near the mask nothing is trusted.
    """

    spec: CompletionSpec
    digest: str
    fill: Fill | None
    learn: Callable[[np.ndarray], Fill] | None = None
    guard: int = 0

    def fit(self, faces: np.ndarray) -> Facewise:
        """See ``Completion.fit``. Raises MaskbenchError for faces of another size or type, or none."""
        if self.learn is None:
            return self
        check_faces(self.spec, faces)
        if not len(faces):
            raise MaskbenchError(f'completion "{self.spec.name}" needs training faces, and there are none')
        with one_blas_thread():
            fill = self.learn(faces)
        return replace(self, fill=fill, digest=completion_digest(self.spec, array_sha256(faces)))

    def complete(self, faces: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """See ``Completion.complete``. Raises MaskbenchError when it was not fitted or the input is malformed."""
        if self.fill is None:
            raise MaskbenchError(
                f'completion "{self.spec.name}" was not fitted; call fit with training faces, '
                "none of them a face to complete"
            )
        check_faces(self.spec, faces)
        check_masks(faces, masks)
        result = faces.copy()
        with one_blas_thread():
            for face, mask in zip(result, masks, strict=True):
                hole = mask == 1
                if hole.any():
                    face[hole] = filled(self.fill, face, hole, self.guard)[hole]
        return result


def filled(fill: Fill, face: np.ndarray, hole: np.ndarray, guard: int = 0) -> np.ndarray:
    """The filled face (H, W, 3) uint8; only its pixels in ``hole`` count."""
    distrusted = dilated(hole.view(np.uint8), guard).view(bool)
    if distrusted.all():
        return fill.unseen
    known = np.where(distrusted[..., None], np.uint8(0), face)  # a copy: what the mask hides is not shown to anyone
    grey = is_grey(face, distrusted)
    values = to_bytes(fill(known, distrusted, grey))
    return np.repeat(to_bytes(values @ LUMA)[..., None], 3, axis=2) if grey else values


def is_grey(face: np.ndarray, hole: np.ndarray) -> bool:
    """Whether all known pixels have three equal channels."""
    return not ((face != face[..., :1]).any(axis=2) & ~hole).any()


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Values 0 to 255 rounded to uint8; others are clipped."""
    return values if values.dtype == np.uint8 else np.clip(np.rint(values), 0, 255).astype(np.uint8)
