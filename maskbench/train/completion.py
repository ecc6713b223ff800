"""How a completion network is trained: reconstruction, critics, and the identity behind the face.

Sources: Yu et al., "Generative Image Inpainting with Contextual Attention", CVPR 2018 (terms and weights of its
release v1.0.0); equations 7 and 8 of Li et al., ACM Multimedia 2020; Ge et al., "Occluded face recognition in the wild
by identity-diversity inpainting", IEEE TCSVT 2020 (a recognizer draws completed faces to their identity's centre).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskbench.models import gfc
from maskbench.models.inpainter import (
    GlobalDiscriminator,
    LocalDiscriminator,
    compose,
    crop,
    hole_box,
)  # fmt: skip
from maskbench.train.data import Batch
from maskbench.train.deocclusion_recipe import CompletionLosses, CompletionStage
from maskbench.train.losses import template_kd
from maskbench.train.occluded import PutIn, planes


class Critics(nn.Module):
    """A discriminator of whole pictures and one of the surroundings of the hole, in full precision."""

    def __init__(self, stage: CompletionStage) -> None:
        super().__init__()
        self.local_size, width = stage.size // 2, stage.critic_width
        if stage.network == "gfc":
            self.whole: nn.Module = gfc.global_discriminator(stage.size, width)
            self.local: nn.Module = gfc.local_discriminator(self.local_size, width)
        else:
            self.whole = GlobalDiscriminator(stage.size, width)
            self.local = LocalDiscriminator(self.local_size, width)

    def forward(self, pictures: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) and (N, 3, S / 2, S / 2) to two (N,): larger is more real."""
        with torch.autocast(pictures.device.type, enabled=False):  # a gradient of gradients needs the digits
            return self.whole(pictures.float()), self.local(crops.float())


def discounts(holes: Tensor, gamma: float) -> Tensor:
    """gamma^distance of each hole's pixel to the hole's rim, by steps to any of eight neighbours; 0 outside.

    In a rectangular hole that is the released code's, but that this counts the steps to its last row and column as to
    its first, where that counts one more. A picture that is all hole has no rim, and counts everywhere alike.

    Args:
        holes: (N, 1, H, W) of 0 and 1.
    """
    if gamma == 1:
        return holes
    rimless = holes * (holes.amin(dim=(1, 2, 3), keepdim=True) > 0)
    left, weights, factor = holes - rimless, rimless, 1.0
    while bool(left.any()):
        inner = -F.max_pool2d(-F.pad(left, (1, 1, 1, 1), value=1.0), 3, 1)  # beyond the picture nothing is known
        rim = left - inner
        weights, left, factor = weights + factor * rim, inner, factor * gamma
    return weights


def reconstruction(
    outputs: tuple[Tensor, ...], target: Tensor, holes: Tensor, how: CompletionLosses
) -> dict[str, Tensor]:
    """L1 inside holes, discounted, and outside; of the last output, and of the coarse one before it.

    Returns:
        "hole" and "outside", weighted by ``coarse`` only.
    """
    inside, outside = discounts(holes, how.discount), 1 - holes
    share = outside.mean().clamp(min=1e-6)
    found = {"hole": target.new_zeros(()), "outside": target.new_zeros(())}
    for place, output in enumerate(outputs):
        factor = 1.0 if place == len(outputs) - 1 else how.coarse
        apart = (output.float() - target).abs()
        found["hole"] = found["hole"] + factor * (apart * inside).mean()
        found["outside"] = found["outside"] + factor * (apart * outside).mean() / share
    return found


def gradient_penalty(critics: nn.Module, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor],
                     holes: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:  # fmt: skip
    """WGAN-GP (Gulrajani et al., NeurIPS 2017) of both critics: (|gradient inside the hole| - 1)^2, averaged.

    Args:
        real, fake, holes: of the whole pictures and of the crops.
    """
    share = torch.rand(len(real[0]), 1, 1, 1, generator=generator).to(real[0].device)
    between = [torch.lerp(one, other, share).requires_grad_() for one, other in zip(real, fake, strict=True)]
    answers = critics(*between)
    total = real[0].new_zeros(())
    for answer, picture, hole in zip(answers, between, holes, strict=True):
        (slope,) = torch.autograd.grad(answer.sum(), picture, create_graph=True)
        length = ((slope * hole).square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()
        total = total + (length - 1).square().mean()
    return total


class Reader:
    """A recognizer's network, frozen, with gradients to the completed pictures that it reads.

    Args:
        module: normalised (B, 3, H, W) to (B, D).
        normalise: RGB (B, 3, H, W) of 0 to 255 to what the module reads.
        put_in: cuts its crops.
    """

    def __init__(self, module: nn.Module, normalise: Callable[[Tensor], Tensor], put_in: PutIn) -> None:
        self.module, self._normalise, self._put_in = module.eval().requires_grad_(False), normalise, put_in

    def __call__(self, completed: Tensor) -> Tensor:
        """(B, 3, s, s) in [-1, 1] to templates (B, D) float32."""
        return self.module(self._normalise((self._put_in.cut(completed) + 1) * 127.5)).float()


class CompletionTraining:
    """The first stage's side of the loop (``loop.Method``).

    Args:
        network: of ``completions.learned.NETWORKS``.
        stage: its settings.
        reader: a recognizer for the identity's term, or None.
        centroids: (N, D) float32: for each training face the centre of its identity; a row of NaN where there is none.
    """

    def __init__(
        self, network: nn.Module, stage: CompletionStage, reader: Reader | None = None, centroids: Tensor | None = None
    ) -> None:
        self.stage, self.losses_of = stage, stage.losses
        self.modules: dict[str, nn.Module] = {"completion": network.to(memory_format=torch.channels_last)}
        self._reader, self._centroids = reader, centroids
        self._kept: tuple[Batch, tuple[Tensor, ...]] | None = None
        adversary = stage.losses.adversary != "none" and stage.losses.adversarial > 0
        self.turns: tuple[str, ...] = ("critics", "completion") if adversary else ("completion",)
        self.every: Mapping[str, int] = {"completion": stage.losses.critic_steps} if adversary else {}
        if adversary:
            self.modules["critics"] = Critics(stage).to(memory_format=torch.channels_last)
        known = None if centroids is None else centroids[torch.isfinite(centroids).all(dim=1)]
        self._variance = 1.0 if known is None else float(known.var(dim=0, unbiased=False).mean())

    def move(self, device: torch.device) -> None:
        """The recognizer to the device; centroids stay where they are, for there may be many."""
        if self._reader:
            self._reader.module.to(device)

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """All of the turn's network."""
        return [{"params": list(self.modules[turn].parameters()), "rate": 1.0, "clipped": True}]

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of the critics "loss" and "penalty"; of the completion "loss" and its terms before they are weighted."""
        assert batch.holes is not None
        target, holes = planes(batch.faces), batch.holes[:, None].float()
        outputs = self._outputs(turn, target, holes, batch, generator.initial_seed())
        if turn == "critics":
            return self._criticised(target, holes, outputs[-1].detach(), generator)
        return self._completed(target, holes, outputs, batch)

    def _outputs(self, turn: str, target: Tensor, holes: Tensor, batch: Batch, seed: int) -> tuple[Tensor, ...]:
        """What the completion makes of a batch; where its own turn follows at once, once for both turns."""
        if self._kept is not None and self._kept[0] is batch:
            outputs, self._kept = self._kept[1], None
            return outputs
        for_both = turn == "critics" and self.every.get("completion") == 1
        torch.manual_seed(seed)  # of the noise that some networks put into holes
        with torch.set_grad_enabled(for_both or turn == "completion"):
            outputs = self.modules["completion"](target, holes)
        if for_both:
            self._kept = batch, outputs
        return outputs

    def _criticised(
        self, target: Tensor, holes: Tensor, output: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        fake = compose(output.float(), target, holes)
        real_pair, fake_pair, hole_pair = self._pairs(target, fake, holes)
        critics = self.modules["critics"]
        true, false = critics(*real_pair), critics(*fake_pair)
        if self.losses_of.adversary == "log":
            both = zip(true, false, strict=True)
            return {"loss": sum(F.softplus(-one).mean() + F.softplus(other).mean() for one, other in both)}
        apart = sum(other.mean() - one.mean() for one, other in zip(true, false, strict=True))
        how = self.losses_of
        if not how.penalty or torch.rand((), generator=generator) * how.penalty_every >= 1:
            return {"loss": apart, "distance": -apart}
        # Fabric lets nobody differentiate what came through its wrapper but itself, and it cannot twice.
        bare = getattr(critics, "module", critics)
        penalty = gradient_penalty(bare, real_pair, fake_pair, hole_pair, generator)
        return {"loss": apart + how.penalty_every * how.penalty * penalty, "distance": -apart, "penalty": penalty}

    def _pairs(self, target: Tensor, fake: Tensor, holes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Whole pictures, and what the local critic sees: the surroundings of the hole with nothing but the hole."""
        size = self.stage.size // 2
        boxes = hole_box(holes, size)
        there = crop(holes, boxes, size)
        return [(target, crop(target, boxes, size) * there), (fake, crop(fake, boxes, size) * there), (holes, there)]

    def _completed(self, target: Tensor, holes: Tensor, outputs: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        how = self.losses_of
        found = reconstruction(outputs, target, holes, how)
        loss = how.hole * found["hole"] + how.outside * found["outside"]
        fake = compose(outputs[-1].float(), target, holes)
        if "critics" in self.modules:
            answers = self.modules["critics"](*self._pairs(target, fake, holes)[1])
            kind = (lambda x: F.softplus(-x)) if how.adversary == "log" else torch.neg
            found["adversarial"] = sum(kind(answer).mean() for answer in answers)
            loss = loss + how.adversarial * found["adversarial"]
        if self._reader and self._centroids is not None:
            wanted = self._centroids[batch.index.cpu()].to(fake.device)
            known = torch.isfinite(wanted).all(dim=1)
            # Turned back where mirrored: the recognizer's crop does not lie in the middle of the completion's.
            templates = self._reader(torch.where(batch.flipped[:, None, None, None], fake.flip(3), fake))
            found["identity"] = template_kd(templates[known], wanted[known], "raw-mse", self._variance)
            loss = loss + how.identity * found["identity"]
        return {"loss": loss, **found}
