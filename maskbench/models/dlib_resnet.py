"""dlib's face recognition network in torch: a ResNet of 29 convolutions, 150 x 150 RGB to 128 numbers.

Structure: King, "High quality face recognition with deep metric learning", blog.dlib.net, 2017, and the type
``anet_type`` in dlib's example of face recognition. Compare its vectors by Euclidean distance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from maskbench.errors import RecognizerError
from maskbench.models.dlib_weights import BLOCKS, EMBEDDING_SIZE, INPUT_SIZE, MEAN, read_dlib_weights
from maskbench.models.export import export_onnx

__all__ = ["MEAN", "STD", "DlibResNet", "export_onnx", "fold", "load_dlib_resnet", "read_dlib_weights", "unfold"]

STD = (256.0, 256.0, 256.0)


class Affine(nn.Module):
    """Channel-wise scale and shift, in the places where training had batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same."""
        return x * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut.

    A halving block convolves with stride 2 without padding, and its shortcut is a 2 x 2 mean. The two may differ in
    channels and by one row and column; dlib then fills the smaller with zeros behind its last channel, at the bottom
    and at the right.

    Args:
        before: channels in.
        after: channels out.
        halves: whether height and width are halved.
        size: height and width of the input, which fixes the padding, so that export sees constants.
        folded: without affine layers.
    """

    def __init__(self, before: int, after: int, halves: bool, size: int, folded: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.affine1 = nn.Identity() if folded else Affine(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.affine2 = nn.Identity() if folded else Affine(after)
        self.halves = halves
        self.size_out = size // 2 if halves else size
        self.gap = self.size_out - (size - 3) // 2 - 1 if halves else 0
        self.extra = after - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, S, S) to (N, after, S', S')."""
        branch = F.relu(self.affine1(self.conv1(x)))
        branch = self.affine2(self.conv2(branch))
        if self.halves:
            x = F.avg_pool2d(x, 2)
        if self.gap:
            branch = F.pad(branch, (0, self.gap, 0, self.gap))
        if self.extra:
            x = F.pad(x, (0, 0, 0, 0, 0, self.extra))
        return F.relu(branch + x)


class DlibResNet(nn.Module):
    """The network; its input is normalised already: (pixel - ``MEAN``) / 256, RGB.

    Args:
        size: height and width of the input. The published weights want 150.
        folded: with the affine layers multiplied into the convolutions before them: the same function, and what is
            left to train. ``fold`` turns weights of the one into weights of the other.
    """

    def __init__(self, size: int = INPUT_SIZE, folded: bool = False) -> None:
        super().__init__()
        self.size = size
        affine = nn.Identity() if folded else Affine(BLOCKS[0][0])
        self.stem = nn.ModuleDict({"conv": nn.Conv2d(3, BLOCKS[0][0], 7, stride=2), "affine": affine})
        side = ((size - 7) // 2 + 1 - 3) // 2 + 1
        blocks = []
        for before, after, halves in BLOCKS:
            if side < 3:
                # The last halving of a smaller input has nothing left for a 3 x 3 window.
                raise ValueError(f"an input of {size} pixels is too small for the network")
            blocks.append(Block(before, after, halves, side, folded))
            side = blocks[-1].size_out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(BLOCKS[-1][1], EMBEDDING_SIZE, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, size, size) float32 to (N, 128) float32, not normalised."""
        return self.fc(self.blocks(self.stemmed(x)).mean(dim=(2, 3)))

    def stemmed(self, x: torch.Tensor) -> torch.Tensor:
        """What the blocks read: (N, 3, size, size) to (N, 32, about size / 4 - 2, the same)."""
        return F.max_pool2d(F.relu(self.stem["affine"](self.stem["conv"](x))), 3, stride=2)


def fold(module: DlibResNet) -> DlibResNet:
    """The same function without affine layers, (w x + b) a + c = (w a) x + (b a + c); the given module stays."""
    folded = DlibResNet(module.size, folded=True)
    state = {name: value.detach().clone() for name, value in module.state_dict().items()}
    for name in [name for name in state if name.rpartition(".")[0].rpartition(".")[2].startswith("affine")]:
        if not name.endswith(".weight"):
            continue
        place = name.removesuffix(".weight")
        scale, shift = state.pop(name), state.pop(f"{place}.bias")
        before = place.replace("affine", "conv")
        state[f"{before}.weight"] = state[f"{before}.weight"] * scale.view(-1, 1, 1, 1)
        state[f"{before}.bias"] = state[f"{before}.bias"] * scale + shift
    folded.load_state_dict(state)
    return folded.train(module.training)


def unfold(module: DlibResNet) -> DlibResNet:
    """A folded network with affine layers again, which do nothing; the given module stays as it is."""
    whole = DlibResNet(module.size)
    missing, unexpected = whole.load_state_dict(module.state_dict(), strict=False)
    assert not unexpected and all(".affine" in name for name in missing)
    return whole.train(module.training)


def load_dlib_resnet(path: Path | str) -> DlibResNet:
    """The network with the weights of dlib's file, ready for inference.

    Raises:
        RecognizerError: the file is not that network.
    """
    weights: dict[str, np.ndarray] = read_dlib_weights(path)
    module = DlibResNet()
    try:
        module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    except RuntimeError as error:  # the reader and the network would have to disagree
        raise RecognizerError(f"{path}: weights do not fit the network ({error})") from error
    return module.eval()
