"""Floating-point operations of a network, counted by torch itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_flops(module: nn.Module, size: tuple[int, int], channels: int = 3, masks: bool = False) -> int:
    """Operations for one picture, a multiply-add counted as two.

    Convolutions and matrix products are counted, as torch's own counter does; normalisation, activations, pooling and
    biases, together below one per cent of the networks here, are not. Tools that report multiply-adds ("MACs", in many
    papers "FLOPs" too) give half of this. On ``torch.device("meta")`` nothing is computed and no memory is taken.

    Args:
        module: takes (N, channels, H, W); its mode is as it was afterwards.
        size: (height, width) of the input.
        masks: whether it takes masks (N, 1, H, W) too.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    training = module.training
    try:
        # Only as plain matrix products is attention counted on every device.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module.eval()(*(torch.zeros(1, count, *size, device=device) for count in (channels, 1)[: 1 + masks]))
    finally:
        module.train(training)
    return counter.get_total_flops()


def count_parameters(module: nn.Module) -> int:
    """Numbers that training learns or fixes: all parameters, frozen ones too, without running means and variances."""
    return sum(parameter.numel() for parameter in module.parameters())
