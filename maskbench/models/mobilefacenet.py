"""MobileFaceNets: 112 x 112 to 512 numbers, compared by cosine, under the names of two published implementations.

Structure: Chen et al., "MobileFaceNets", CCBR 2018. ``MobileFaceNet`` has the names and shapes of
``recognition/arcface_torch/backbones/mobilefacenet.py`` in deepinsight/insightface (``get_mbf``, ``get_mbf_large``),
``MobileFaceNetTreB1eN`` those of ``model.py`` in TreB1eN/InsightFace_Pytorch.
"""

from __future__ import annotations

import torch
from torch import nn

EMBEDDING_SIZE = 512
INPUT_SIZE = (112, 112)
DEEP = 512  # channels before the last, depthwise convolution over all positions


class ConvBlock(nn.Module):
    """Convolution without bias, normalisation and, unless ``linear``, PReLU."""

    def __init__(
        self, before: int, after: int, kernel: int = 1, stride: int = 1, padding: int = 0, groups: int = 1,
        linear: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        convolution = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
        layers = [convolution, nn.BatchNorm2d(after), *([] if linear else [nn.PReLU(after)])]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, after, H', W')."""
        return self.layers(x)


class DepthWise(nn.Module):
    """Widen to ``inner`` channels, convolve each by itself, narrow again; a shortcut where ``residual``."""

    def __init__(self, before: int, after: int, inner: int, stride: int = 2, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(before, inner),
            ConvBlock(inner, inner, 3, stride, 1, groups=inner),
            ConvBlock(inner, after, linear=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, after, H / stride, W / stride)."""
        return x + self.layers(x) if self.residual else self.layers(x)


class Residual(nn.Module):
    """``count`` depthwise blocks with shortcuts."""

    def __init__(self, channels: int, count: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(DepthWise(channels, channels, inner, 1, True) for _ in range(count)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to the same."""
        return self.layers(x)


class Head(nn.Module):
    """A depthwise convolution over all 7 x 7 positions, a linear layer and a normalisation."""

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(DEEP, DEEP, 7, groups=DEEP, linear=True),
            nn.Flatten(),
            nn.Linear(DEEP, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 512, 7, 7) to (N, embedding_size)."""
        return self.layers(x)


class MobileFaceNet(nn.Module):
    """insightface's MobileFaceNet.

    Args:
        embedding_size: numbers in a vector.
        blocks: how many at each resolution. A single first one is a grouped convolution instead.
        scale: factor of the widths between the blocks; the paper's is 1. The blocks' inner widths stay.
    """

    def __init__(
        self,
        embedding_size: int = EMBEDDING_SIZE,
        blocks: tuple[int, int, int, int] = (1, 4, 6, 2),
        scale: int = 2,
    ) -> None:
        super().__init__()
        narrow, wide = 64 * scale, 128 * scale
        single = blocks[0] == 1
        self.layers = nn.ModuleList(
            [
                ConvBlock(3, narrow, 3, 2, 1),
                ConvBlock(narrow, narrow, 3, 1, 1, groups=64) if single else Residual(narrow, blocks[0], 128),
                DepthWise(narrow, narrow, 128),
                Residual(narrow, blocks[1], 128),
                DepthWise(narrow, wide, 256),
                Residual(wide, blocks[2], 256),
                DepthWise(wide, wide, 512),
                Residual(wide, blocks[3], 256),
            ]
        )
        self.conv_sep = ConvBlock(wide, DEEP)
        self.features = Head(embedding_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 112, 112) float32, (pixel - 127.5) / 127.5, RGB, to (N, embedding_size), not normalised."""
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


def mobilefacenet() -> MobileFaceNet:
    """``get_mbf`` with its defaults, "mbf" in arcface_torch."""
    return MobileFaceNet()


def mobilefacenet_large() -> MobileFaceNet:
    """``get_mbf_large`` with its defaults, "mbf_large"."""
    return MobileFaceNet(blocks=(2, 8, 12, 4), scale=4)


class NamedConv(nn.Module):
    """``ConvBlock`` with named layers."""

    def __init__(
        self, before: int, after: int, kernel: int = 1, stride: int = 1, padding: int = 0, groups: int = 1,
        linear: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(after)
        self.prelu = nn.Identity() if linear else nn.PReLU(after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, after, H', W')."""
        return self.prelu(self.bn(self.conv(x)))


class NamedDepthWise(nn.Module):
    """``DepthWise`` with named layers."""

    def __init__(self, before: int, after: int, inner: int, stride: int = 2, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.conv = NamedConv(before, inner)
        self.conv_dw = NamedConv(inner, inner, 3, stride, 1, groups=inner)
        self.project = NamedConv(inner, after, linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, after, H / stride, W / stride)."""
        branch = self.project(self.conv_dw(self.conv(x)))
        return x + branch if self.residual else branch


class NamedResidual(nn.Module):
    """``Residual`` with named layers."""

    def __init__(self, channels: int, count: int, inner: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(NamedDepthWise(channels, channels, inner, 1, True) for _ in range(count)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to the same."""
        return self.model(x)


class MobileFaceNetTreB1eN(nn.Module):
    """TreB1eN's MobileFaceNet: the paper's widths, vectors of length 1.

    Args:
        embedding_size: numbers in a vector; 512 in the published checkpoint.
    """

    def __init__(self, embedding_size: int = EMBEDDING_SIZE) -> None:
        super().__init__()
        self.conv1 = NamedConv(3, 64, 3, 2, 1)
        self.conv2_dw = NamedConv(64, 64, 3, 1, 1, groups=64)
        self.conv_23 = NamedDepthWise(64, 64, 128)
        self.conv_3 = NamedResidual(64, 4, 128)
        self.conv_34 = NamedDepthWise(64, 128, 256)
        self.conv_4 = NamedResidual(128, 6, 256)
        self.conv_45 = NamedDepthWise(128, 128, 512)
        self.conv_5 = NamedResidual(128, 2, 256)
        self.conv_6_sep = NamedConv(128, DEEP)
        self.conv_6_dw = NamedConv(DEEP, DEEP, 7, groups=DEEP, linear=True)
        self.linear = nn.Linear(DEEP, embedding_size, bias=False)
        self.bn = nn.BatchNorm1d(embedding_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 112, 112) float32, (pixel - 127.5) / 127.5, BGR, to (N, embedding_size) of length 1."""
        x = self.conv_23(self.conv2_dw(self.conv1(x)))
        x = self.conv_5(self.conv_45(self.conv_4(self.conv_34(self.conv_3(x)))))
        x = self.bn(self.linear(torch.flatten(self.conv_6_dw(self.conv_6_sep(x)), 1)))
        return x / x.norm(dim=1, keepdim=True)


def mobilefacenet_treb1en() -> MobileFaceNetTreB1eN:
    """The network of the published mobilefacenet checkpoint."""
    return MobileFaceNetTreB1eN()
