"""De-occlusion distillation: a student reads completed faces and keeps its teacher's templates and their relations.

Source: Li, Ge, Zhang, Li, "Look Through Masks: Towards Masked Face Recognition with De-Occlusion Distillation", ACM
Multimedia 2020, equations 10 to 18; see ``relations`` for the terms and docs/methods/deocclusion.md for the choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskbench.errors import MaskbenchError
from maskbench.models.inpainter import compose
from maskbench.train.data import Batch
from maskbench.train.deocclusion_recipe import RelationLosses, StudentStage
from maskbench.train.losses import Margin, MarginHead, sample_classes
from maskbench.train.maskinv import class_labels, freeze
from maskbench.train.network_input import NetworkInput
from maskbench.train.occluded import PutIn, planes
from maskbench.train.relations import (
    centroid_logits,
    class_centroids,
    instance_loss,
    pair_loss,
    soft_cross_entropy,
    soft_instance_loss,
    triplet_loss,
)  # fmt: skip
from maskbench.types import RecognizerSpec


class Approximation:
    """What the methods share whose student keeps its teacher's templates and their relations (``loop.Method``).

    Templates of a recognizer that is compared by Euclidean distance are divided by the teacher's standard deviation
    (over faces, averaged over dimensions) after their mean is taken off, those of one compared by cosine by their
    length: so all terms have sizes near 1 whatever the teacher.

    Args:
        student: the network, with the weights that it starts from; spec: what it reads and gives.
        losses: the terms' weights; name: of the recipe, for messages.
        subjects: (N,) of the training faces.
        templates: (N, 2, D) of the teacher: of each face and of its mirror image.
    """

    turns = ("student",)
    every: Mapping[str, int] = {}

    def __init__(
        self, student: nn.Module, spec: RecognizerSpec, losses: RelationLosses, name: str,
        subjects: Sequence[str | None], templates: np.ndarray,
    ) -> None:  # fmt: skip
        check_sizes(name, templates.shape[2], spec)
        self.spec, self._how = spec, losses
        self.modules: dict[str, nn.Module] = {"student": student}
        known = torch.from_numpy(templates[np.isfinite(templates).all(axis=(1, 2))])
        self._centre = known.mean(dim=(0, 1))
        self._spread = (known - self._centre).square().mean().sqrt()
        labels, classes = class_labels(subjects, "own")
        self._labels, self._targets = torch.from_numpy(labels), self.scaled(torch.from_numpy(templates))
        # The centre of an identity is that of the pictures as they are; their mirror images have one of their own.
        sides = (known_centroids(self._targets[:, side], self._labels, classes) for side in (0, 1))
        self._centroids = torch.stack(list(sides))
        if losses.margin_weight > 0:
            margin = Margin(True, losses.margin_mean, 0.0175, False, losses.margin_scale)
            weights = self._centroids[0]
            drawn = 0.01 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0))
            weights = torch.where(weights.any(dim=1, keepdim=True), weights, drawn)  # 0 has no direction
            self.modules["head"] = MarginHead(spec.embedding_size, classes, margin, None, weights, 0, losses.sampled)

    def scaled(self, templates: Tensor) -> Tensor:
        """Templates as the losses compare them: see the class."""
        if self.spec.comparator == "cosine":
            return nn.functional.normalize(templates.float(), dim=-1)
        return (templates.float() - self._centre.to(templates.device)) / self._spread.to(templates.device)

    def head_group(self) -> list[dict[str, Any]]:
        """The classifier's parameter group, where there is one."""
        if "head" not in self.modules:
            return []
        return [{"params": list(self.modules["head"].parameters()), "rate": 2.0, "clipped": False}]

    def taught(self, templates: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """"loss", and its terms before they are weighted, of what the student gives (B, D) for a batch."""
        ours = self.scaled(templates.float())
        sides = batch.flipped.cpu().long()
        rows = batch.index.cpu()
        theirs = self._targets[rows, sides]
        known = torch.isfinite(theirs).all(dim=1)
        rows, sides, theirs = rows[known], sides[known], theirs[known].to(ours.device)
        return self.distilled(ours[known.to(ours.device)], theirs, self._labels[rows], sides, generator)

    def distilled(
        self, ours: Tensor, theirs: Tensor, labels: Tensor, sides: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The terms of equation 16 for scaled templates (B, D), on whatever device they are; the rest is on the CPU."""
        how = self._how
        found: dict[str, Tensor] = {}
        if how.instance == "hard":
            found["instance"] = instance_loss(ours, theirs)
        elif how.instance != "none":
            middle = self._centroids[sides, labels].to(ours.device)
            found["instance"] = soft_instance_loss(ours, theirs, middle, how.instance, how.mix)
        if how.pair_weight:
            found["pair"] = pair_loss(ours, theirs, how.delta, normalisation=how.normalisation)
        if how.triplet_weight:
            found["triplet"] = triplet_loss(ours, theirs, how.delta)
        if how.soft_targets:
            found["soft_targets"] = self._soft_targets(ours, theirs, labels, generator)
        if "head" in self.modules:
            found["margin"] = self.modules["head"](ours, labels.to(ours.device), generator)
        weights = {"instance": how.instance_weight, "pair": how.pair_weight, "triplet": how.triplet_weight,
                   "soft_targets": how.soft_targets, "margin": how.margin_weight}  # fmt: skip
        loss = sum((weights[name] * value for name, value in found.items()), ours.sum() * 0)
        return {"loss": loss, **found}

    def _soft_targets(self, ours: Tensor, theirs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """L_CE: the same classifier on both sides, whose classes are the training identities' centroids."""
        how, centroids = self._how, self._centroids[0]
        if 0 < how.sampled < len(centroids):
            centroids = centroids[sample_classes(labels, len(centroids), how.sampled, generator)[0]]
        centroids = centroids.to(ours.device)
        return soft_cross_entropy(*(centroid_logits(side, centroids, how.scale, "cosine") for side in (ours, theirs)))


class Deocclusion(Approximation):
    """The second stage's side of the loop (``loop.Method``).

    Args:
        student, spec, name, subjects, templates: as in ``Approximation``.
        completion: the network of the first stage, trained.
        put_in: completed pixels into the student's crops.
        stage: the settings.
    """

    def __init__(
        self, student: nn.Module, spec: RecognizerSpec, completion: nn.Module, put_in: PutIn, stage: StudentStage,
        name: str, subjects: Sequence[str | None], templates: np.ndarray,
    ) -> None:  # fmt: skip
        super().__init__(student, spec, stage.losses, name, subjects, templates)
        self.stage, self._put_in = stage, put_in
        self._still = freeze(student, stage.student.frozen, name)
        self._completion = completion
        if stage.end_to_end:
            self.modules["completion"] = completion
        else:
            completion.eval().requires_grad_(False)
        self._normalise = NetworkInput(spec)

    def move(self, device: torch.device) -> None:
        """The completion to the device; templates stay where they are, for there may be many."""
        if not self.stage.end_to_end:
            self._completion.to(device)

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """The student's weights, the completion's where it learns along, a classifier's where there is one."""
        groups = [{"params": list(self.modules["student"].parameters()), "rate": 1.0, "clipped": True}]
        if self.stage.end_to_end:
            more = {"params": list(self.modules["completion"].parameters()), "rate": self.stage.completion_rate}
            groups.append({**more, "clipped": True})
        return groups + self.head_group()

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """"loss", and its terms before they are weighted."""
        for module in self._still:
            module.eval()
        return self.taught(self.modules["student"](self._normalise(self.completed(batch))), batch, generator)

    def completed(self, batch: Batch) -> Tensor:
        """The student's crops (B, 3, H, W), RGB 0 to 255, with completed pixels; mirrored where the view is."""
        assert batch.inner is not None and batch.holes is not None
        faces = batch.faces.permute(0, 3, 1, 2).float()
        holes, inner = batch.holes[:, None].float(), planes(batch.inner)
        covered = holes.flatten(1).any(dim=1)
        if bool(covered.any()):
            with torch.set_grad_enabled(self.stage.end_to_end):
                output = self.completer(inner[covered], holes[covered])[-1].float()
            pictures = (compose(output, inner[covered], holes[covered]) + 1) * 127.5
            done = self._put_in(faces[covered], pictures, holes[covered])
            faces = faces.index_put((covered.nonzero()[:, 0],), done)
        return torch.where(batch.flipped[:, None, None, None], faces.flip(3), faces)

    @property
    def completer(self) -> nn.Module:
        """The completion, as the loop has wrapped it where it learns."""
        return self.modules.get("completion", self._completion)


def check_sizes(name: str, theirs: int, spec: RecognizerSpec) -> None:
    """Raise MaskbenchError unless templates of the teacher are as long as the student's; ``name``: of the recipe."""
    if theirs != spec.embedding_size:
        raise MaskbenchError(
            f"recipe {name}: the teacher's templates have {theirs} numbers, the student's "
            f"{spec.embedding_size}; choose a teacher and a student of one size"
        )


def known_centroids(templates: Tensor, labels: Tensor, classes: int) -> Tensor:
    """``class_centroids`` of the templates that the teacher gives; 0 of a class of which it gives none.

    Args:
        templates: (N, D), rows of NaN where there is none; labels: (N,) integers 0 to ``classes`` - 1.

    Returns:
        (classes, D) float32.
    """
    known = torch.isfinite(templates).all(dim=1)
    counts, usable = (torch.bincount(which, minlength=classes) for which in (labels, labels[known]))
    means = class_centroids(torch.where(known[:, None], templates, 0.0), labels, classes)
    return means * (counts / usable.clamp(min=1))[:, None]
