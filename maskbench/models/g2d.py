"""G2D: masked faces to templates by a generative encoder and a discriminative reformer.

Source: Ge et al., "Masked Face Recognition with Generative-to-Discriminative Representations", ICML 2024. The encoder
is the completion network of Wan et al., ICCV 2021 (``ict``); the output of a residual block of its second network is
the "category-aware descriptor", which the reformer (``reformer``) turns into the "identity-aware vector".
docs/methods/g2d.md says what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from maskbench.errors import MaskbenchError
from maskbench.models.g2d_config import ENCODER_OPTIONS, READS, G2DConfig, config_values, parse_config
from maskbench.models.ict import ICT
from maskbench.models.ict_upsampler import CHANNELS, MULTIPLE
from maskbench.models.inpainter import compose, scaled
from maskbench.models.reformer import PictureTeacher, Reformer, TeacherReformer

__all__ = [
    "G2D", "FeatureClassifier", "G2DConfig", "build_encoder", "build_g2d", "config_values", "from_values",
    "parse_config",
]  # fmt: skip


class G2D(nn.Module):
    """The encoder and the reformer behind it. Nothing that a face holds inside its mask is read.

    Args:
        encoder: see ``ict.ICT``.
        reformer: takes (N, channels of the descriptor, size / 4, size / 4), or completed faces.
        block: whose output is the descriptor, negative from the end.
        reads: "descriptor", or "picture": the completed face, its known pixels as given.
        embedding_size: numbers in a template.
    """

    def __init__(
        self, encoder: ICT, reformer: nn.Module, block: int = -1, reads: str = "descriptor", embedding_size: int = 512
    ) -> None:
        super().__init__()
        if reads not in READS:
            raise MaskbenchError(f'a reformer that reads "{reads}"; give one of {", ".join(READS)}')
        self.encoder, self.reformer = encoder, reformer
        self.block, self.reads, self.embedding_size = block, reads, embedding_size
        self.size = encoder.size

    def encode(self, faces: Tensor, masks: Tensor) -> Tensor:
        """What the reformer reads: (N, C, size / 4, size / 4), or (N, 3, size, size) in [-1, 1]."""
        if self.reads == "descriptor":
            return self.encoder.descriptor(faces, masks, self.block)
        return compose(self.encoder(faces, masks)[-1], faces, masks)

    def forward(self, faces: Tensor, masks: Tensor) -> Tensor:
        """Templates.

        Args:
            faces: (N, 3, size, size) float32 in [-1, 1], RGB.
            masks: (N, 1, size, size) float32, 1 = occluded.

        Returns:
            (N, embedding_size) float32, not normalised.
        """
        return self.reformer(self.encode(faces, masks))


class FeatureClassifier(nn.Module):
    """One linear layer over templates, whose softmax says which person of the training set; no part of a recognizer."""

    def __init__(self, embedding: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(embedding, classes)

    def forward(self, templates: Tensor) -> Tensor:
        """(N, embedding) to (N, classes), before the softmax."""
        return self.fc(templates)


def build_g2d(config: G2DConfig) -> G2D:
    """The network of a configuration, with random weights.

    Raises:
        MaskbenchError: the sizes do not fit each other.
    """
    return G2D(build_encoder(config), build_reformer(config), config.block, config.reads, config.embedding_size)


def build_encoder(config: G2DConfig) -> ICT:
    """The encoder of a configuration alone, with random weights: the same for the same seed as inside the network.

    Raises:
        MaskbenchError: the sizes do not fit each other.
    """
    return ICT(config.size, width=config.width, **{key: getattr(config, key) for key in ENCODER_OPTIONS})


def build_reformer(config: G2DConfig) -> Reformer | TeacherReformer | PictureTeacher:
    """The reformer of a configuration alone, with random weights.

    Raises:
        MaskbenchError: what it reads is too small for it.
    """
    channels = 3 if config.reads == "picture" else scaled(CHANNELS[-1], config.width)
    if config.reformer == "residual":
        return Reformer(channels, config.widths, config.depth, config.embedding)
    if config.reads == "picture":
        return PictureTeacher(config.size)
    return TeacherReformer(channels, config.size // MULTIPLE, config.start, config.adapter)


def from_values(values: Mapping[str, Any]) -> G2D:
    """The network of what a card's "config" states: the factory of network "g2d" in ``zoo``.

    Raises:
        MaskbenchError: malformed values, or sizes that do not fit each other.
    """
    return build_g2d(parse_config(values))
