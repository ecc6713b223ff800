"""MaskInv: a student gives the masked face the template that a frozen teacher gives the bare one.

Source: Huber, Boutros, Kirchbuchner and Damer, "Mask-invariant face recognition through template-level knowledge
distillation", FG 2021. L = w_margin L_margin + lambda L_KD; see ``losses`` and docs/methods/maskinv.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from maskbench.errors import MaskbenchError
from maskbench.recognizers.base import checked_embed
from maskbench.train.data import Batch
from maskbench.train.losses import Margin, MarginHead, margin_named, template_kd
from maskbench.train.network_input import NetworkInput
from maskbench.train.recipe import Losses, Recipe
from maskbench.types import Recognizer, RecognizerSpec


def class_labels(subjects: Sequence[str | None], unlabelled: str) -> tuple[np.ndarray, int]:
    """A class for each face and how many classes there are; -1 for a face that has none.

    Args:
        unlabelled: "own": a picture without a subject is a class of its own; "none": it has no class.
    """
    numbers: dict[str, int] = {}
    labels = np.empty(len(subjects), np.int64)
    for index, subject in enumerate(subjects):
        if subject is None and unlabelled == "none":
            labels[index] = -1
            continue
        labels[index] = numbers.setdefault(f"\0{index}" if subject is None else subject, len(numbers))
    return labels, len(numbers)


def margin_of(losses: Losses) -> Margin:
    """The recipe's margin: the kind's own values, or those given in their place."""
    given = {"scale": losses.scale, "mean": losses.margin_mean, "std": losses.margin_std}
    return replace(margin_named(losses.margin), **{name: value for name, value in given.items() if value is not None})


class MaskInv:
    """The method's side of the loop (``loop.Method``).

    Args:
        student: the network, with the weights that it starts from.
        spec: what the student reads and gives.
        recipe: its losses and frozen parameters.
        subjects: (N,) of the training faces.
        templates: (N, 2, D) of ``templates.teacher_templates``; None where the teacher runs along and neither classes
            nor centre nor variance are taken from it.
        teacher: runs along on the clean views; None takes ``templates`` for targets.

    Raises:
        MaskbenchError: the teacher's templates have another size, or a loss is unknown.
    """

    turns = ("student",)
    every: Mapping[str, int] = {}

    def __init__(
        self, student: nn.Module, spec: RecognizerSpec, recipe: Recipe, subjects: Sequence[str | None],
        templates: np.ndarray | None, teacher: Recognizer | None = None,
    ) -> None:  # fmt: skip
        theirs = spec.embedding_size if templates is None else templates.shape[2]
        theirs = teacher.spec.embedding_size if teacher else theirs
        if theirs != spec.embedding_size:
            raise MaskbenchError(
                f"recipe {recipe.name}: the teacher's templates have {theirs} numbers, the student's "
                f"{spec.embedding_size}; choose a teacher and a student of one size"
            )
        self.losses_of, self.spec, self.teacher = recipe.losses, spec, teacher
        self._still = freeze(student, recipe.student.frozen, recipe.name)
        self.modules: dict[str, nn.Module] = {"student": student}
        labels, classes = class_labels(subjects, recipe.losses.unlabelled)
        if templates is None:
            templates = np.zeros((1, 2, spec.embedding_size), np.float32)
        usable = np.isfinite(templates).all(axis=(1, 2))
        known = templates[usable]
        centre = torch.from_numpy(known.mean(axis=(0, 1), dtype=np.float64).astype(np.float32))
        self._variance = float(known.var(axis=(0, 1), dtype=np.float64).mean())
        self._labels, self._targets = torch.from_numpy(labels), torch.from_numpy(templates)
        self._head_rate = (recipe.optimiser.head_rate or recipe.optimiser.rate) / recipe.optimiser.rate
        if recipe.losses.margin_weight > 0:
            if classes < 2:
                raise MaskbenchError(
                    f"recipe {recipe.name}: a margin loss needs two classes, but these faces make {classes}; give "
                    "labelled people, or set losses.margin_weight=0"
                )
            weights = None
            if recipe.losses.classes == "teacher":
                weights = torch.from_numpy(_class_means(templates, labels, classes, usable, centre.numpy()))
            self.modules["head"] = MarginHead(
                spec.embedding_size, classes, margin_of(recipe.losses), centre if recipe.losses.centred else None,
                weights, recipe.seed, recipe.losses.sampled,
            )  # fmt: skip
        self._input = NetworkInput(spec)

    def move(self, device: torch.device) -> None:
        """Labels to the device; templates stay where they are, for there may be many."""
        self._labels = self._labels.to(device)

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """The student's weights, clipped, and the classifier's, not clipped, with a learning rate of its own."""
        groups = [{"params": list(self.modules["student"].parameters()), "rate": 1.0, "clipped": True}]
        if "head" in self.modules:
            head = list(self.modules["head"].parameters())
            groups.append({"params": head, "rate": self._head_rate, "clipped": False})
        return groups

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """"loss", and its parts "distillation" and "margin" before they are weighted."""
        for module in self._still:
            module.eval()
        ours = self.modules["student"](self.normalised(batch.faces)).float()
        theirs = self._taught(batch)
        known = torch.isfinite(theirs).all(dim=1)
        how = self.losses_of
        pulled = template_kd(ours[known], theirs[known], how.distillation, self._variance)
        found = {"loss": how.weight * pulled, "distillation": pulled}
        labels = self._labels[batch.index]
        if "head" in self.modules:
            pushed = self.modules["head"](ours[labels >= 0], labels[labels >= 0], generator)
            found |= {"loss": found["loss"] + how.margin_weight * pushed, "margin": pushed}
        return found

    def normalised(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 RGB to (B, 3, H, W) float32 as the student reads it, channels last in memory."""
        return self._input(faces.permute(0, 3, 1, 2))

    def _taught(self, batch: Batch) -> torch.Tensor:
        if self.teacher is None:
            return self._targets[batch.index.cpu(), batch.flipped.cpu().long()].to(batch.faces.device)
        assert batch.clean is not None
        vectors, _ = checked_embed(self.teacher, np.ascontiguousarray(batch.clean.cpu().numpy()))
        return torch.from_numpy(vectors).to(batch.faces.device)


def freeze(student: nn.Module, beginnings: Sequence[str], name: str) -> list[nn.Module]:
    """Parameters whose names begin so stay as they are; returns those of their modules that keep statistics."""
    names = [parameter for parameter, _ in student.named_parameters()]
    for beginning in beginnings:
        if not any(parameter.startswith(beginning) for parameter in names):
            raise MaskbenchError(
                f"recipe {name}: student.frozen: no parameter begins with {beginning!r}; the first is {names[0]}"
            )
    for parameter, value in student.named_parameters():
        if parameter.startswith(tuple(beginnings)):
            value.requires_grad_(False)
    return [
        module
        for path, module in student.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and f"{path}.".startswith(tuple(beginnings))
    ]


def _class_means(
    templates: np.ndarray, labels: np.ndarray, classes: int, usable: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """(classes, D) float32: the mean of each class's templates less the centre; unknown ones are tiny and random."""
    sums = np.random.default_rng(0).normal(0, 1e-3, (classes, templates.shape[2])).astype(np.float32)
    chosen = usable & (labels >= 0)
    np.add.at(sums, labels[chosen], templates[chosen].mean(axis=1) - centre)
    return sums / np.maximum(np.bincount(labels[chosen], minlength=classes), 1)[:, None].astype(np.float32)
