"""How the back of G2D is trained: a reformer by its teacher's relations, then a classifier over the frozen network.

Source: Ge et al., ICML 2024: relation-based feature approximation, whose formulas could not be found. The terms here
are those of Li et al., ACM Multimedia 2020, by overlapping authors (``relations``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskbench.errors import MaskbenchError
from maskbench.models.dlib_resnet import DlibResNet, fold
from maskbench.models.g2d import G2D, FeatureClassifier
from maskbench.models.reformer import PictureTeacher, TeacherReformer, to_teacher
from maskbench.train.data import Batch
from maskbench.train.deocclusion import Approximation
from maskbench.train.g2d_recipe import ReformerStage
from maskbench.train.occluded import planes
from maskbench.types import Recognizer, RecognizerSpec


def start_from(network: G2D, teacher: Recognizer, recipe: str) -> None:
    """Give a reformer with its teacher's blocks their weights. Raises MaskbenchError as ``blocks_of`` does."""
    assert isinstance(network.reformer, PictureTeacher | TeacherReformer)  # a recipe of another is refused
    network.reformer.load_teacher(fold(blocks_of(teacher, recipe)))


def fit_adapter(network: G2D, teacher: Recognizer, recipe: str, faces: Iterable[Tensor]) -> None:
    """Let a reformer's first convolution give what its teacher's blocks read: least squares over bare faces.

    What it gives and what the teacher's blocks read lie at the same pixels (``TeacherReformer``). A reformer that
    begins behind its teacher's first halving is at another scale than the descriptor: it stays as it is.

    Args:
        faces: (N, 3, size, size) in [-1, 1], one batch after the other.

    Raises:
        MaskbenchError: as ``blocks_of``.
    """
    reformer = network.reformer
    if not isinstance(reformer, TeacherReformer) or not reformer.at_scale:
        return
    given, (scale, shift) = blocks_of(teacher, recipe), to_teacher()
    kernel = reformer.conv.kernel_size[0]
    size = reformer.conv.in_channels * kernel**2 + 1
    squares = torch.zeros(size, size, dtype=torch.float64)
    products = torch.zeros(size, reformer.conv.out_channels, dtype=torch.float64)
    with torch.inference_mode():
        for batch in faces:
            wanted = given.blocks[: reformer.start](given.stemmed(batch * scale + shift))
            read = F.unfold(reformer.seen(network.encode(batch, torch.zeros_like(batch[:, :1]))), kernel)
            known, wanted = (x.double().transpose(1, 2).flatten(0, 1) for x in (read, wanted.flatten(2)))
            known = torch.cat([known, known.new_ones(len(known), 1)], 1)
            squares += known.T @ known
            products += known.T @ wanted
    # A little of the mean square keeps channels that say nothing from deciding anything.
    squares += torch.eye(size, dtype=torch.float64) * (1e-6 * squares.diagonal().mean())
    found = torch.linalg.solve(squares, products).float()
    with torch.no_grad():
        reformer.conv.weight.copy_(found[:-1].T.reshape(reformer.conv.weight.shape))
        reformer.conv.bias.copy_(found[-1])


def blocks_of(teacher: Recognizer, recipe: str) -> DlibResNet:
    """The teacher's network. Raises MaskbenchError for a teacher that is not dlib's."""
    module = getattr(teacher, "module", None)
    if not isinstance(module, DlibResNet):
        raise MaskbenchError(
            f"recipe {recipe}: the reformer cannot start from {teacher.spec.name}, only from dlib-resnet; "
            "set reformer.start=random, or choose that teacher"
        )
    return module


class ReformerTraining(Approximation):
    """The third stage's side of the loop (``loop.Method``).

    Args:
        network: encoder and reformer. The encoder stays as it is, unless the stage says that it learns along.
        spec, name, subjects, templates: as in ``Approximation``.
        stage: the settings.
    """

    def __init__(
        self, network: G2D, spec: RecognizerSpec, stage: ReformerStage, name: str, subjects: Sequence[str | None],
        templates: np.ndarray,
    ) -> None:  # fmt: skip
        super().__init__(network, spec, stage.losses, name, subjects, templates)
        self._network, self._stage = network.train(), stage
        _learns(network, stage.train_encoder)

    def move(self, device: torch.device) -> None:
        """Nothing: templates stay where they are, for there may be many."""

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """The reformer's weights, the encoder's where it learns along, a classifier's where there is one."""
        groups = [{"params": list(self._network.reformer.parameters()), "rate": 1.0, "clipped": True}]
        if self._stage.train_encoder:
            more = {"params": list(self._network.encoder.parameters()), "rate": self._stage.encoder_rate}
            groups.append({**more, "clipped": True})
        return groups + self.head_group()

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """"loss", and its terms before they are weighted."""
        return self.taught(embedded(self.modules["student"], batch), batch, generator)


def _learns(network: G2D, encoder: bool) -> None:
    """Only what a template depends on, and a gradient reaches, may learn: several processes wait for all that does."""
    network.encoder.requires_grad_(encoder)
    if not encoder:
        return
    if network.encoder.fill != "expected":  # a colour that is chosen has no gradient
        network.encoder.prior.requires_grad_(False)
    upsampler = network.encoder.upsampler
    if network.reads == "descriptor":
        upsampler.decoder.requires_grad_(False)
        upsampler.blocks[network.block % len(upsampler.blocks) + 1 :].requires_grad_(False)


def embedded(network: nn.Module, batch: Batch) -> Tensor:
    """Templates (B, D) of a batch with holes, on its device."""
    assert batch.holes is not None
    return network(planes(batch.faces), batch.holes[:, None].float())


class ClassifierTraining:
    """The fourth stage's side of the loop (``loop.Method``): the softmax over the people trained on.

    Args:
        classifier: is trained; network: is not.
        labels: (N,) int64, the class of each training face.
    """

    turns = ("classifier",)
    every: Mapping[str, int] = {}

    def __init__(self, classifier: FeatureClassifier, network: G2D, labels: np.ndarray) -> None:
        self.modules: dict[str, nn.Module] = {"classifier": classifier}
        self._network, self._labels = network.eval().requires_grad_(False), torch.from_numpy(labels)

    def move(self, device: torch.device) -> None:
        """The network and the labels to the device."""
        self._network.to(device)
        self._labels = self._labels.to(device)

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """All of the classifier."""
        return [{"params": list(self.modules["classifier"].parameters()), "rate": 1.0, "clipped": True}]

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """"loss": cross-entropy in nats; "accuracy": of the batch."""
        with torch.no_grad():
            templates = embedded(self._network, batch)
        logits = self.modules["classifier"](templates.float()).float()
        wanted = self._labels[batch.index]
        return {"loss": F.cross_entropy(logits, wanted), "accuracy": (logits.argmax(1) == wanted).float().mean()}
