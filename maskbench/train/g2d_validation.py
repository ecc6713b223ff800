"""What the stages of G2D come to: tokens guessed, strangers verified, pictures kept out identified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from maskbench.align import Template
from maskbench.models.g2d import G2D
from maskbench.models.ict import ICT
from maskbench.train.data import MaskMix
from maskbench.train.g2d_encoder import token_losses
from maskbench.train.g2d_reformer import embedded
from maskbench.train.occluded import OccludedFaces, planes
from maskbench.train.occluded_validation import GROW, MOST, batches_of, templates_of
from maskbench.train.prepare import PreparedFaces
from maskbench.train.validation import SEED, labels_of, verification_rates


class TokenQuality:
    """How well the transformer guesses what masks hide of held-out faces; arguments as ``MaskedQuality`` has them."""

    def __init__(
        self, faces: PreparedFaces, wide: Template, inner: Template, recipes: Mapping[str, float]
    ) -> None:
        masks = MaskMix(recipes, 1.0, SEED)
        self._data = OccludedFaces(faces, wide, inner, masks, None, SEED, (GROW, GROW))
        self._indices = range(0, len(faces), max(1, len(faces) // MOST))

    def __call__(self, encoder: ICT) -> dict[str, float]:
        """"token_loss": cross-entropy of hidden tokens in nats; "token_accuracy": the share that is guessed."""
        device, sums, count = next(encoder.parameters()).device, np.zeros(2), 0
        with torch.inference_mode():
            for batch in batches_of(self._data, self._indices):
                assert batch.holes is not None
                tokens = encoder.tokenise(planes(batch.faces.to(device)))
                hidden = encoder.hidden(batch.holes[:, None].float().to(device))
                found = token_losses(encoder.prior(tokens, hidden), tokens, hidden)
                sums += int(hidden.sum()) * np.array([float(found[name]) for name in ("loss", "accuracy")])
                count += int(hidden.sum())
        loss, accuracy = sums / max(count, 1)
        return {"token_loss": float(loss), "token_accuracy": float(accuracy)}


class MaskedQuality:
    """Verification of held-out faces by a network that reads masks: every pair of their pictures, bare and masked.

    Args:
        faces: prepared for ``wide``, each with a subject; inner: the network's template; recipes: of the masks, with
            weights.

    Raises:
        MaskbenchError: see ``validation.labels_of``.
    """

    def __init__(
        self, faces: PreparedFaces, wide: Template, inner: Template, recipes: Mapping[str, float]
    ) -> None:
        self._labels, self._sides = labels_of(faces), bare_and_masked(faces, wide, inner, recipes)

    def __call__(self, network: G2D, comparator: str) -> dict[str, float]:
        """As ``verification_rates`` names them."""
        sides = (_templates(network, data) for data in self._sides)
        return verification_rates(*sides, self._labels, comparator)


class Identification:
    """Closed-set identification: whether the likeliest of the people trained on is the one in a picture kept out.

    Args:
        faces: those kept out, prepared for ``wide``; inner, recipes: as in ``MaskedQuality``.
        classes: the subjects, in the classifier's order.
    """

    def __init__(
        self, faces: PreparedFaces, wide: Template, inner: Template, recipes: Mapping[str, float],
        classes: Sequence[str],
    ) -> None:  # fmt: skip
        numbers = {subject: number for number, subject in enumerate(classes)}
        self._labels = np.array([numbers[subject] for subject in faces.subjects], np.int64)
        self._sides = bare_and_masked(faces, wide, inner, recipes)

    def __call__(self, network: G2D, classifier: nn.Module) -> dict[str, float]:
        """"rank1_bare" and "rank1_masked", how many were "correct_bare" and "correct_masked", and "pictures"."""
        device, found = next(classifier.parameters()).device, {}
        for name, data in zip(("bare", "masked"), self._sides, strict=True):
            with torch.inference_mode():
                answers = classifier(torch.from_numpy(_templates(network, data)).to(device)).argmax(1).cpu().numpy()
            found[f"correct_{name}"] = int((answers == self._labels).sum())
        count = len(self._labels)
        return {f"rank1_{name}": found[f"correct_{name}"] / count for name in ("bare", "masked")} | found | {
            "pictures": count
        }


def bare_and_masked(
    faces: PreparedFaces, wide: Template, inner: Template, recipes: Mapping[str, float]
) -> tuple[OccludedFaces, OccludedFaces]:
    """The same faces twice, as a network reads them that was never trained on them."""
    bare, masked = (
        OccludedFaces(faces, wide, inner, masks, None, SEED, (GROW, GROW), worn=True)
        for masks in (None, MaskMix(recipes, 1.0, SEED))
    )
    return bare, masked


def _templates(network: G2D, data: OccludedFaces) -> np.ndarray:
    device = next(network.parameters()).device
    return templates_of(network, data, lambda batch: embedded(network, batch.to(device)))
