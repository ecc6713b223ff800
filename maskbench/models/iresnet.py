"""The improved ResNets of ArcFace: 112 x 112 to 512 numbers, compared by cosine.

Names and shapes of the state dictionary are those of ``backbones/iresnet.py`` in deepinsight/insightface's
``recognition/arcface_torch`` and of its copy in fdbtrs/ElasticFace, whose iresnet100 fdbtrs/Masked-Face-Recognition-KD
(MaskInv) loads too. Structure: Deng et al., "ArcFace", CVPR 2019 (LResNetE-IR).
"""

from __future__ import annotations

import torch
from torch import nn

EMBEDDING_SIZE = 512
INPUT_SIZE = (112, 112)
WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Normalise, convolve, normalise, PReLU, convolve (with the stride), normalise; and a shortcut.

    Args:
        before: channels in.
        after: channels out.
        stride: of the second convolution; above 1 the shortcut is a strided 1 x 1 convolution.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.prelu = nn.PReLU(after)
        self.conv2 = nn.Conv2d(after, after, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, after, H / stride, W / stride)."""
        branch = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        branch = self.bn3(self.conv2(branch))
        return branch + (x if self.downsample is None else self.downsample(x))


def _stage(before: int, after: int, blocks: int) -> nn.Sequential:
    """Blocks of one width, the first of which halves height and width."""
    return nn.Sequential(*(Block(before if i == 0 else after, after, 2 if i == 0 else 1) for i in range(blocks)))


class IResNet(nn.Module):
    """Four halving stages, all positions of the last into one linear layer, and a normalisation.

    Args:
        blocks: how many in each of the four stages.
        embedding_size: numbers in a vector.
    """

    def __init__(self, blocks: tuple[int, int, int, int], embedding_size: int = EMBEDDING_SIZE) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        before = (WIDTHS[0], *WIDTHS)
        for index in range(4):
            self.add_module(f"layer{index + 1}", _stage(before[index], WIDTHS[index], blocks[index]))
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1])
        self.dropout = nn.Dropout(0.0)
        self.fc = nn.Linear(WIDTHS[-1] * (INPUT_SIZE[0] // 16) * (INPUT_SIZE[1] // 16), embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        self.features.weight.requires_grad = False  # fixed at 1 while it was trained

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 112, 112) float32, (pixel - 127.5) / 127.5, RGB, to (N, embedding_size), not normalised."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.features(self.fc(self.dropout(torch.flatten(self.bn2(x), 1))))


def iresnet18() -> IResNet:
    """IResNet-18, "r18" in arcface_torch."""
    return IResNet((2, 2, 2, 2))


def iresnet34() -> IResNet:
    """IResNet-34, "r34"."""
    return IResNet((3, 4, 6, 3))


def iresnet50() -> IResNet:
    """IResNet-50, "r50"."""
    return IResNet((3, 4, 14, 3))


def iresnet100() -> IResNet:
    """IResNet-100, "r100"."""
    return IResNet((3, 13, 30, 3))
