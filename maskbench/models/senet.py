"""VGGFace2's SE-ResNet-50: 224 x 224 to 2048 numbers, compared by cosine.

Names and shapes of the state dictionary are those of ``senet50`` in ``models/senet.py`` of cydonia999/VGGFace2-pytorch
(the authors' Caffe weights, converted), without its classifier ``fc``. Structure: Cao et al., "VGGFace2", FG 2018; Hu
et al., "Squeeze-and-Excitation Networks", CVPR 2018. As in Caffe, the first convolution of a block has its stride.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

EMBEDDING_SIZE = 2048
INPUT_SIZE = (224, 224)
BLOCKS = (3, 4, 6, 3)
EXPANSION = 4
REDUCTION = 16


class Bottleneck(nn.Module):
    """1 x 1 (with the stride), 3 x 3 and 1 x 1 convolutions; a weight for each channel from its mean; a shortcut.

    Args:
        before: channels in.
        inner: channels of the 3 x 3 convolution; a quarter of those out.
        stride: of the block.
    """

    def __init__(self, before: int, inner: int, stride: int) -> None:
        super().__init__()
        after = inner * EXPANSION
        self.conv1 = nn.Conv2d(before, inner, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(after))
        self.conv4 = nn.Conv2d(after, after // REDUCTION, 1)
        self.conv5 = nn.Conv2d(after // REDUCTION, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, 4 * inner, H / stride, W / stride)."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        weight = torch.sigmoid(self.conv5(F.relu(self.conv4(branch.mean(dim=(2, 3), keepdim=True)))))
        return F.relu(weight * branch + (x if self.downsample is None else self.downsample(x)))


class SENet50(nn.Module):
    """A 7 x 7 stem, four stages of bottlenecks and the mean over all positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for stage, count in enumerate(BLOCKS):
            inner = 64 * 2**stage
            blocks = []
            for index in range(count):
                blocks.append(Bottleneck(before, inner, 2 if stage and not index else 1))
                before = inner * EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 224, 224) float32, BGR minus the mean colour, to (N, 2048), not negative, not normalised."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean(dim=(2, 3))


def senet50() -> SENet50:
    """SE-ResNet-50."""
    return SENet50()
