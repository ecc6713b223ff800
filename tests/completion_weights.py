"""Small completion networks of random weights in files with their cards, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# What networks need beside size and width to be small.
SMALL: dict[str, dict[str, Any]] = {
    "ict": {"tokens": 10, "colours": 12, "prior_width": 16, "layers": 2, "heads": 4, "blocks": 2},
}


def write_completion(
    folder: Path, network: str, size: int = 32, seed: int = 1, half: bool = False, **card: Any
) -> Path:
    """``folder/NAME.safetensors`` of width 0.125, and its card; the network's own name unless ``card`` has another.

    The network has the card's "options", by default those of ``SMALL``.
    """
    import torch

    from maskbench.completions.learned import NETWORKS, completion_card
    from maskbench.digest import file_sha256
    from maskbench.files import write_json
    from maskbench.models.checkpoints import save_state

    torch.manual_seed(seed)
    values = {"name": network, "licence": "CC0-1.0", "options": SMALL.get(network), **card}
    module = NETWORKS[network](size, 0.125, **(values["options"] or {}))
    if network == "gfc":
        torch.nn.init.normal_(module.last.weight, std=0.3)  # which is near 0 before training
    path = Path(folder) / f"{card.get('name', network)}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_state(module.half() if half else module, path)
    count = sum(weight.numel() for weight in module.parameters())
    write_json(
        path.with_suffix(".json"),
        completion_card(network=network, size=size, width=0.125, sha256=file_sha256(path), parameters=count, **values),
    )
    return path
