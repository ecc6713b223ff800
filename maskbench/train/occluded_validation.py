"""What the two stages of de-occlusion distillation come to on people that they were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from maskbench.align import Template
from maskbench.errors import MaskbenchError
from maskbench.models.inpainter import compose
from maskbench.train.data import Batch, MaskMix, View, collate
from maskbench.train.occluded import OccludedFaces, planes
from maskbench.train.prepare import PreparedFaces
from maskbench.train.validation import BATCH, SEED, labels_of, verification_rates

GROW = 2  # pixels of the completion's crop by which holes are larger than masks, as an evaluation grows the segmenter's
MOST = 256  # faces that completions are measured on after every epoch, evenly spaced


def batches_of(data: OccludedFaces, indices: range) -> Iterator[Batch]:
    """The views of epoch 0 in order. Raises MaskbenchError where a picture can no longer be read."""
    for start in range(0, len(indices), BATCH):
        views = [data[0, index] for index in indices[start : start + BATCH]]
        for index, view in zip(indices[start : start + BATCH], views, strict=True):
            if not isinstance(view, View):
                raise MaskbenchError(f"validation: {data.faces.keys[index]}: {view[1]}")
        yield collate(views)


class CompletionQuality:
    """Errors inside the holes of held-out faces.

    Args:
        faces: prepared for ``wide``; side: of the completion's crops, as in ``OccludedFaces``; recipes: of the masks,
            with weights.
    """

    def __init__(
        self, faces: PreparedFaces, wide: Template, side: int | Template, recipes: Mapping[str, float]
    ) -> None:
        masks = MaskMix(recipes, 1.0, SEED)
        self._data = OccludedFaces(faces, wide, side, masks, None, SEED, (GROW, GROW))
        self._indices = range(0, len(faces), max(1, len(faces) // MOST))

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """"hole_l1": mean absolute error inside holes, of 255; "hole_psnr": in dB, of all holes' pixels together."""
        training, device = network.training, next(network.parameters()).device
        network.eval()
        absolute = squared = count = 0.0
        with torch.inference_mode():
            for batch in batches_of(self._data, self._indices):
                assert batch.holes is not None
                target, holes = planes(batch.faces).to(device), batch.holes[:, None].float().to(device)
                apart = 127.5 * (compose(network(target, holes)[-1].float(), target, holes) - target)
                absolute += float(apart.abs().double().sum())
                squared += float(apart.double().square().sum())
                count += 3 * float(holes.double().sum())
        network.train(training)
        count = max(count, 1.0)
        return {"hole_l1": absolute / count, "hole_psnr": float(10 * np.log10(255**2 / max(squared / count, 1e-9)))}


class StudentQuality:
    """Verification of held-out faces, bare and completed: every pair of their pictures.

    Args:
        faces: prepared for ``wide``, each with a subject; side: of the completion's crops; recipes: of the masks, with
            weights; reader: the student's template.

    Raises:
        MaskbenchError: see ``validation.labels_of``.
    """

    def __init__(
        self, faces: PreparedFaces, wide: Template, side: int, recipes: Mapping[str, float], reader: Template
    ) -> None:
        self._labels = labels_of(faces)
        self._bare, self._masked = (
            OccludedFaces(faces, wide, side, masks, None, SEED, (GROW, GROW), reader)
            for masks in (None, MaskMix(recipes, 1.0, SEED))
        )

    def __call__(
        self, student: nn.Module, completed: Callable[[Batch], Tensor], normalise: Callable[[Tensor], Tensor],
        comparator: str,
    ) -> dict[str, float]:  # fmt: skip
        """As ``verification_rates`` names them.

        Args:
            completed: a batch to the student's crops (B, 3, H, W) RGB of 0 to 255.
            normalise: these to what the student reads.
        """
        device = next(student.parameters()).device

        def embed(batch: Batch) -> Tensor:
            return student(normalise(completed(batch.to(device))))

        sides = (templates_of(student, data, embed) for data in (self._bare, self._masked))
        return verification_rates(*sides, self._labels, comparator)


def templates_of(network: nn.Module, data: OccludedFaces, embed: Callable[[Batch], Tensor]) -> np.ndarray:
    """(N, D) float32 of all faces, while the network is in evaluation mode; ``embed``: a batch to its templates."""
    training = network.training
    network.eval()
    with torch.inference_mode():
        found = [embed(batch).float().cpu() for batch in batches_of(data, range(len(data)))]
    network.train(training)
    return torch.cat(found).numpy()
