"""The network that finds masks: a small U-Net over aligned faces of 128 x 128, in torch; for training and export.

Sources: Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015; Chaurasia and Culurciello, "LinkNet", VCIP 2017 (what the
way down knew is added, not appended); He et al., "Deep Residual Learning", CVPR 2016; Shi et al., "Real-Time Single
Image and Video Super-Resolution", CVPR 2016 (the last step up, out of channels). All convolutions are ordinary ones:
with depthwise ones the backward pass took most of the time of training on a processor.
"""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskbench.models.export import OPSET, _without_onnx

SIDE = 128
WIDTHS = (16, 32, 48, 96, 128)  # channels at 64, 32, 16, 8 and 4 pixels


def _conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, rectifier."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut; the shape stays."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        return functional.relu(x + self.second(self.first(x)))


class Up(nn.Module):
    """Twice as large, joined with what the way down knew at that size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.narrow = _conv(before, after, 1)
        self.block = Residual(after)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, before, H, W) and (N, after, 2H, 2W) to (N, after, 2H, 2W)."""
        return self.block(functional.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest") + skip)


class MaskSegmenter(nn.Module):
    """Faces (N, 3, 128, 128), values (pixel - 127.5) / 127.5, to logits (N, 1, 128, 128): above 0 is occluded."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.size = (SIDE, SIDE)
        self.stem = nn.Sequential(_conv(3, a, 3, 2), _conv(a, a))
        self.down1 = nn.Sequential(_conv(a, b, 3, 2), _conv(b, b))
        self.down2 = nn.Sequential(_conv(b, c, 3, 2), Residual(c))
        self.down3 = nn.Sequential(_conv(c, d, 3, 2), Residual(d))
        self.down4 = nn.Sequential(_conv(d, e, 3, 2), Residual(e))
        self.up3, self.up2, self.up1, self.up0 = Up(e, d), Up(d, c), Up(c, b), Up(b, a)
        self.head = nn.Sequential(nn.Conv2d(a, 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, faces: Tensor) -> Tensor:
        """See the class."""
        x0 = self.stem(faces)
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        return self.head(self.up0(self.up1(self.up2(self.up3(self.down4(x3), x3), x2), x1), x0))


class WithProbability(nn.Module):
    """A segmenter that answers with probabilities, for export."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        """(N, 3, 128, 128) to (N, 1, 128, 128), 0 to 1."""
        return torch.sigmoid(self.network(faces))


def segmenter_onnx(network: nn.Module, side: int = SIDE) -> bytes:
    """The network as an ONNX file: input "faces" (N, 3, side, side), output "probability" (N, 1, side, side), any N.

    The same weights and the same torch give the same bytes. The network's mode stays as it was.
    """
    training, stream = network.training, io.BytesIO()
    try:
        network.eval()
        with _without_onnx(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", DeprecationWarning)  # the other exporter needs two more packages
            torch.onnx.export(
                WithProbability(network), (torch.zeros(1, 3, side, side),), stream, opset_version=OPSET, dynamo=False,
                input_names=["faces"], output_names=["probability"],
                dynamic_axes={"faces": {0: "batch"}, "probability": {0: "batch"}},
            )  # fmt: skip
    finally:
        network.train(training)
    return stream.getvalue()
