"""SphereFace-20: 112 x 96 to 512 numbers, compared by cosine.

Names and shapes of the state dictionary are those of ``sphere20a`` in ``net_sphere.py`` of clcarwin/sphereface_pytorch,
without its classifier ``fc6``. Structure: Liu et al., "SphereFace", CVPR 2017, 20 layers.
"""

from __future__ import annotations

import torch
from torch import nn

EMBEDDING_SIZE = 512
INPUT_SIZE = (112, 96)
# Channels and number of residual units of the four stages.
STAGES = ((64, 1), (128, 2), (256, 4), (512, 1))


class SphereFace20(nn.Module):
    """Per stage one halving convolution and units of two convolutions, each with PReLU; one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for stage, (channels, units) in enumerate(STAGES, 1):
            for index in range(1, 2 * units + 2):
                stride = 2 if index == 1 else 1
                self.add_module(f"conv{stage}_{index}", nn.Conv2d(before, channels, 3, stride, 1))
                self.add_module(f"relu{stage}_{index}", nn.PReLU(channels))
                before = channels
        self.fc5 = nn.Linear(before * (INPUT_SIZE[0] // 16) * (INPUT_SIZE[1] // 16), EMBEDDING_SIZE)

    def _layer(self, x: torch.Tensor, stage: int, index: int) -> torch.Tensor:
        return getattr(self, f"relu{stage}_{index}")(getattr(self, f"conv{stage}_{index}")(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 112, 96) float32, (pixel - 127.5) / 128, BGR, to (N, 512), not normalised."""
        for stage, (_, units) in enumerate(STAGES, 1):
            x = self._layer(x, stage, 1)
            for unit in range(units):
                first = 2 * unit + 2
                x = x + self._layer(self._layer(x, stage, first), stage, first + 1)
        return self.fc5(torch.flatten(x, 1))


def sphereface20() -> SphereFace20:
    """SphereFace-20."""
    return SphereFace20()
