"""Weights that make a network say something, for tests."""

from __future__ import annotations

from typing import Any


def randomised(module: Any, seed: int = 0) -> Any:
    """``module`` in evaluation mode with random weights, running statistics and slopes.

    They keep the signal's size from layer to layer, so that no layer is a formality and two pictures differ in the end.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Any, low: float, high: float) -> None:
        tensor.copy_(torch.empty(tensor.shape).uniform_(low, high, generator=generator))

    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("tracked"):
                continue
            if value.dim() > 1:
                bound = (6 / value[0].numel()) ** 0.5
                uniform(value, -bound, bound)
            elif name.endswith("running_var"):
                uniform(value, 0.5, 1.5)
            elif name.endswith("weight"):
                uniform(value, 0.2, 0.9)
            else:
                uniform(value, -0.2, 0.2)
    return module.eval()
