"""How the encoder of G2D is trained: a transformer on hidden tokens, then a convolutional network on pixels.

Source: Ge et al., ICML 2024 (the encoder learns by reconstruction); Wan et al., "High-Fidelity Pluralistic Image
Completion with Transformers", ICCV 2021 (the network and its two objectives). The paper's encoder is fine-tuned by
pixels, but a token that is drawn has no gradient: so here the transformer has its own objective, and stays as it is
while the other network learns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from maskbench.errors import MaskbenchError
from maskbench.models.ict import ICT, fit_palette
from maskbench.models.inpainter import compose, scaled
from maskbench.registry import nearest
from maskbench.train.data import Batch, View
from maskbench.train.g2d_recipe import PriorStage, UpsamplerLosses, UpsamplerStage
from maskbench.train.occluded import OccludedFaces, PutIn, planes

CRITIC = (64, 128, 256, 512)


def some_faces(data: OccludedFaces, count: int) -> Iterator[Tensor]:
    """``count`` faces of epoch 0, evenly spaced, each (1, 3, H, W) in [-1, 1]; without those that cannot be read."""
    places = np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int))
    for place in places.tolist():
        if isinstance(view := data[0, place], View):
            yield planes(torch.from_numpy(np.ascontiguousarray(view.student))[None])


def palette_of(encoder: ICT, data: OccludedFaces, count: int, seed: int) -> Tensor:
    """The palette of training faces: k-means of their tokens' colours, as epoch 0 shows ``count`` of them.

    Args:
        data: without masks; faces are taken from it evenly spaced, and those that cannot be read are left out.

    Returns:
        (colours, 3) float32.

    Raises:
        MaskbenchError: there are fewer different colours than the palette should have.
    """
    colours = [encoder.window_means(face)[0] for face in some_faces(data, count)]
    found = torch.cat(colours).float() if colours else torch.empty(0, 3)
    return fit_palette(found, len(encoder.palette), seed)


class Appearance(nn.Module):
    """What the first stage leaves of an encoder: its palette and its transformer, which are shared with it."""

    palette: Tensor

    def __init__(self, encoder: ICT) -> None:
        super().__init__()
        self.prior = encoder.prior
        self.register_buffer("palette", encoder.palette)


class PriorTraining:
    """The first stage's side of the loop (``loop.Method``): the colours of hidden tokens from those that are seen.

    Args:
        encoder: its transformer is trained; its palette is fitted already.
        stage: the settings.
    """

    turns = ("prior",)
    every: Mapping[str, int] = {}

    def __init__(self, encoder: ICT, stage: PriorStage) -> None:
        self._encoder, self._stage = encoder, stage
        self.modules: dict[str, nn.Module] = {"prior": encoder.prior}

    def move(self, device: torch.device) -> None:
        """The palette to the device."""
        self._encoder.to(device)

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """All of the transformer."""
        return [{"params": list(self.modules["prior"].parameters()), "rate": 1.0, "clipped": True}]

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """"loss": the cross-entropy of hidden tokens alone, in nats; "accuracy": how many are guessed; "hidden": how
        many there are, of all."""
        tokens = self._encoder.tokenise(planes(batch.faces))
        hidden = self._hidden(batch, tokens, generator)
        return token_losses(self.modules["prior"](tokens, hidden), tokens, hidden)

    def _hidden(self, batch: Batch, tokens: Tensor, generator: torch.Generator) -> Tensor:
        assert batch.holes is not None
        if torch.rand((), generator=generator) < self._stage.random_share:
            shares = torch.rand(len(tokens), 1, generator=generator)
            return (torch.rand(tokens.shape, generator=generator) < shares).to(tokens.device)
        return self._encoder.hidden(batch.holes[:, None].float())


def token_losses(logits: Tensor, tokens: Tensor, hidden: Tensor) -> dict[str, Tensor]:
    """The cross-entropy of hidden tokens and how many are guessed: (N, L, C), (N, L) int64, (N, L) bool."""
    answers, wanted = logits[hidden].float(), tokens[hidden]
    if not len(wanted):
        nothing = logits.sum().float() * 0
        return {"loss": nothing, "accuracy": nothing.detach(), "hidden": nothing.detach()}
    right = (answers.argmax(1) == wanted).float().mean()
    return {"loss": F.cross_entropy(answers, wanted), "accuracy": right, "hidden": hidden.float().mean()}


class PatchCritic(nn.Module):
    """Four halving-or-less convolutions with spectral normalisation: how real each patch of a picture is.

    The layers of the critic that ICT trains its second network with; three of five halve.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        before, layers = 3, []
        for number, channels in enumerate(scaled(count, width) for count in CRITIC):
            conv = nn.Conv2d(before, channels, 4, 2 if number < 3 else 1, 1, bias=False)
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
            before = channels
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(before, 1, 4, 1, 1, bias=False)))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) in [-1, 1] to (N, 1, S / 8 - 2, S / 8 - 2): larger is more real."""
        return self.layers(pictures)


class Features:
    """What modules inside a recognizer give for completed pictures, with gradients to these.

    Args:
        module: normalised (B, 3, H, W) to (B, D); it is frozen.
        names: of the modules in it.
        normalise: RGB (B, 3, H, W) of 0 to 255 to what the module reads.
        put_in: cuts its crops.
        recipe: its name, for messages.

    Raises:
        MaskbenchError: there is no module of such a name.
    """

    def __init__(
        self, module: nn.Module, names: Sequence[str], normalise: Callable[[Tensor], Tensor], put_in: PutIn,
        recipe: str,
    ) -> None:  # fmt: skip
        self.module, self._normalise, self._put_in = module.eval().requires_grad_(False), normalise, put_in
        self._found: list[Tensor] = []
        known = dict(module.named_modules())
        for name in names:
            if not name or name not in known:
                raise MaskbenchError(
                    f'recipe {recipe}: upsampler.losses.features: no module "{name}" in the teacher; '
                    f"{nearest(name, [key for key in known if key])}"
                )
            known[name].register_forward_hook(lambda module, given, answer: self._found.append(answer))

    def __call__(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, s, s) in [-1, 1] to each module's (B, C, h, w) float32."""
        self._found.clear()
        self.module(self._normalise((self._put_in.cut(pictures) + 1) * 127.5))
        found = [answer.float() for answer in self._found]
        self._found.clear()
        return found


def feature_losses(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> dict[str, Tensor]:
    """"perceptual" and "style", averaged over the modules: L1 of features, and of their Gram matrices."""
    pairs = list(zip(ours, theirs, strict=True))
    near = sum((one - other).abs().mean() for one, other in pairs) / len(pairs)
    style = sum((_gram(one) - _gram(other)).abs().mean() for one, other in pairs) / len(pairs)
    return {"perceptual": near, "style": style}


def _gram(features: Tensor) -> Tensor:
    """(B, C, h, w) to (B, C, C): products of channels, averaged over channels and positions."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


class UpsamplerTraining:
    """The second stage's side of the loop (``loop.Method``): pixels behind the frozen transformer.

    Args:
        encoder: its convolutional network is trained.
        stage: the settings.
        features: the teacher's, where their terms have a weight.
    """

    def __init__(self, encoder: ICT, stage: UpsamplerStage, features: Features | None = None) -> None:
        self._encoder, self._stage, self._features = encoder, stage, features
        encoder.prior.eval().requires_grad_(False)
        self.modules: dict[str, nn.Module] = {"upsampler": encoder.upsampler.to(memory_format=torch.channels_last)}
        self.turns: tuple[str, ...] = ("upsampler",)
        self.every: Mapping[str, int] = {}
        self._kept: tuple[Batch, Tensor] | None = None
        if stage.losses.adversarial:
            self.turns = ("critic", "upsampler")
            self.modules["critic"] = PatchCritic(stage.critic_width).to(memory_format=torch.channels_last)

    def move(self, device: torch.device) -> None:
        """Palette, transformer and teacher to the device."""
        self._encoder.to(device)
        if self._features:
            self._features.module.to(device)

    def parameters_of(self, turn: str) -> list[dict[str, Any]]:
        """All of the turn's network."""
        rate = self._stage.losses.critic_rate if turn == "critic" else 1.0
        return [{"params": list(self.modules[turn].parameters()), "rate": rate, "clipped": True}]

    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of the critic "loss"; of the network "loss" and its terms before they are weighted."""
        assert batch.holes is not None
        target, holes = planes(batch.faces), batch.holes[:, None].float()
        output = self._output(turn, target, holes, batch)
        if turn == "critic":
            fake = compose(output.detach(), target, holes)
            true, false = self.modules["critic"](target), self.modules["critic"](fake)
            return {"loss": (F.softplus(-true.float()).mean() + F.softplus(false.float()).mean()) / 2}
        return self._painted(output, target, holes)

    def _output(self, turn: str, target: Tensor, holes: Tensor, batch: Batch) -> Tensor:
        """What the network paints, in float32; where both turns need it, made once."""
        if self._kept is not None and self._kept[0] is batch:
            output, self._kept = self._kept[1], None
            return output
        output = self.modules["upsampler"](self._encoder.planes(target, holes, self.guide(target, holes))).float()
        if turn == "critic":
            self._kept = batch, output
        return output

    @torch.no_grad()
    def guide(self, target: Tensor, holes: Tensor) -> Tensor:
        """The appearance that the network learns behind, (N, 3, tokens, tokens)."""
        if self._stage.guide == "quantised-truth":
            return self._encoder.quantised(target)
        return self._encoder.appearance(target, holes, fill=self._stage.guide)

    def _painted(self, output: Tensor, target: Tensor, holes: Tensor) -> dict[str, Tensor]:
        how = self._stage.losses
        found = pixel_losses(output, target, holes)
        fake = compose(output, target, holes)
        if how.adversarial:
            found["adversarial"] = F.softplus(-self.modules["critic"](fake).float()).mean()
        if self._features:
            with torch.no_grad():
                theirs = self._features(target)
            found |= feature_losses(self._features(fake), theirs)
        return {"loss": _weighted(found, how), **found}


def pixel_losses(output: Tensor, target: Tensor, holes: Tensor) -> dict[str, Tensor]:
    """"whole": L1 over the picture; "hole": L1 inside holes, over the share of all pixels that they are."""
    apart = (output.float() - target).abs()
    share = holes.mean().clamp(min=1e-6)
    return {"whole": apart.mean(), "hole": (apart * holes).mean() / share}


def _weighted(found: Mapping[str, Tensor], how: UpsamplerLosses) -> Tensor:
    return sum(getattr(how, name) * value for name, value in found.items())
