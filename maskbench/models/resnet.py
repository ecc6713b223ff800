"""ResNet-18 with one embedding layer: 150 x 150 to 128 numbers, student of de-occlusion distillation.

Structure: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; names and shapes of the state
dictionary are those of ``resnet18`` in torchvision's ``models/resnet.py``, whose classifier ``fc`` is the embedding
layer here. Li et al., ACM Multimedia 2020, name network and layer, but no size of picture or template: both are those
of ``dlib-resnet``, the default teacher.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

EMBEDDING_SIZE = 128


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, after, H / stride, W / stride)."""
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """A 7 x 7 stem, four stages of two blocks, the mean over all positions, and a linear layer."""

    def __init__(self, embedding_size: int = EMBEDDING_SIZE) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for stage in range(4):
            after = 64 * 2**stage
            first = BasicBlock(before, after, 2 if stage else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, BasicBlock(after, after, 1)))
            before = after
        self.fc = nn.Linear(before, embedding_size)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) float32 to (N, embedding_size)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def resnet18() -> ResNet18:
    """The network with random weights."""
    return ResNet18()
