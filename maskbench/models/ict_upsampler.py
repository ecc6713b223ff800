"""The second half of ICT: a convolutional network that paints the full picture over a small one of its colours.

Source: Wan, Zhang, Chen, Liao, "High-Fidelity Pluralistic Image Completion with Transformers", ICCV 2021, and the
layers that its authors published: an encoder that halves twice, residual blocks that are dilated once, a mirrored
decoder; rectifiers and no normalisation. Between the halvings and the doublings lie the features that G2D (Ge et al.,
ICML 2024) reads as its descriptor.

Ours: weights start with the published deviation of 0.02 at width 1, and with more in narrower networks, where sums
have fewer terms and would fade from layer to layer. Pixels are in [-1, 1], so that the last layer is tanh and not half
of it.
"""

from __future__ import annotations

from torch import Tensor, nn

from maskbench.errors import MaskbenchError
from maskbench.models.inpainter import scaled

MULTIPLE = 4
CHANNELS = (64, 128, 256)
PLANES = 6  # the picture, and the appearance
_START = 0.02


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the first of dilation 2, and the sum with what came in; nothing after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(2), nn.Conv2d(channels, channels, 3, dilation=2), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x + self.layers(x)


class GuidedUpsampler(nn.Module):
    """Six planes, the picture with its hole and the enlarged appearance, to a whole picture.

    10,780,867 parameters at width 1 with 8 blocks, of which a block has 1,180,160.

    Args:
        width: factor on all channels; 1 is the paper's 64 to 256.
        blocks: residual blocks, at least one.
    """

    def __init__(self, width: float = 1.0, blocks: int = 8) -> None:
        super().__init__()
        few, some, many = (scaled(count, width) for count in CHANNELS)
        self.channels = many
        self.encoder = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(PLANES, few, 7), nn.ReLU(),
            nn.Conv2d(few, some, 4, 2, 1), nn.ReLU(), nn.Conv2d(some, many, 4, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(ResidualBlock(many) for _ in range(blocks))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(many, some, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(some, few, 4, 2, 1), nn.ReLU(),
            nn.ReflectionPad2d(3), nn.Conv2d(few, 3, 7), nn.Tanh(),
        )  # fmt: skip
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=_START / width**0.5)
                nn.init.zeros_(layer.bias)

    def encode(self, planes: Tensor, block: int = -1) -> Tensor:
        """The output of a residual block; those after it do not run.

        Args:
            planes: (N, 6, H, W) in [-1, 1]; sides that 4 divides, of at least 12.
            block: from 0; negative counts from the end.

        Returns:
            (N, channels, H / 4, W / 4).

        Raises:
            MaskbenchError: there is no such block.
        """
        if not -len(self.blocks) <= block < len(self.blocks):
            raise MaskbenchError(f"no residual block {block} of {len(self.blocks)}; they count from 0, or back from -1")
        x = self.encoder(planes)
        for layer in self.blocks[: block % len(self.blocks) + 1]:
            x = layer(x)
        return x

    def decode(self, features: Tensor) -> Tensor:
        """What the last block gives, (N, channels, H / 4, W / 4), to a picture (N, 3, H, W) in [-1, 1]."""
        return self.decoder(features)

    def forward(self, planes: Tensor) -> Tensor:
        """(N, 6, H, W) to (N, 3, H, W), both in [-1, 1]."""
        return self.decode(self.encode(planes))
