"""Holes in small pictures, critics whose gradients are known, and a generator for whatever draws."""

from __future__ import annotations

import torch
from torch import nn

SIDE = 32


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_holes(count: int = 3, side: int = SIDE) -> torch.Tensor:
    """(N, 1, side, side) of 0 and 1: rectangles, one of them at the border, and none in the last."""
    holes = torch.zeros(count, 1, side, side)
    holes[0, 0, 5:17, 8:27] = 1
    if count > 2:
        holes[1, 0, 20:, :9] = 1
    return holes


class Linear(nn.Module):
    """Two critics whose gradients are known."""

    def __init__(self, size: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.whole = nn.Parameter(torch.randn(3, size, size, generator=draw) * 0.1)
        self.local = nn.Parameter(torch.randn(3, size // 2, size // 2, generator=draw) * 0.1)

    def forward(self, pictures: torch.Tensor, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (pictures * self.whole).sum((1, 2, 3)), (crops * self.local).sum((1, 2, 3))
