"""Pictures as a network reads them, on the device and with gradients; the numbers of ``recognizers.preprocess``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from maskbench.types import RecognizerSpec


class NetworkInput:
    """Colours in the network's order and scale: (x - mean) / std.

    Args:
        spec: mean and std follow the network's order of channels.
    """

    def __init__(self, spec: RecognizerSpec) -> None:
        self._swap = spec.colour_order != "RGB"
        scale = 1 / np.array(spec.std)
        self._scale = torch.from_numpy(scale).float().view(1, 3, 1, 1)
        self._shift = torch.from_numpy(-np.array(spec.mean) * scale).float().view(1, 3, 1, 1)

    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) RGB of 0 to 255, uint8 or float32, to the same as float32, channels last in memory."""
        given = pictures.flip(1) if self._swap else pictures
        scale, shift = self._scale.to(given.device), self._shift.to(given.device)
        return torch.addcmul(shift, given.float(), scale).contiguous(memory_format=torch.channels_last)
