"""The state of a training run in one safetensors file: weights, optimizers and where it stands. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write

FORMAT = "maskbench-training-1"
NAME = "checkpoint.safetensors"


def save_checkpoint(
    path: Path, modules: Mapping[str, torch.nn.Module], optimizers: Mapping[str, torch.optim.Optimizer],
    about: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write everything that a run needs to go on as if it had not stopped; atomically.

    Args:
        about: JSON-like; given back by ``load_checkpoint``.

    Raises:
        MaskbenchError: it cannot be written (a full disk, say); the checkpoint that was there is still there.
    """
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    plain: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        plain[name] = {"param_groups": state["param_groups"], "state": {}}
        for index, values in state["state"].items():
            numbers = {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
            plain[name]["state"][str(index)] = numbers
            tensors |= {
                f"optimizer/{name}/{index}/{key}": value
                for key, value in values.items()
                if isinstance(value, torch.Tensor)
            }
    metadata = {"format": FORMAT, "about": json.dumps(about), "optimizers": json.dumps(plain)}
    data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata)
    with atomic_write(path) as stream:
        stream.write(data)


def read_about(path: Path) -> dict[str, Any]:
    """What was said of the run. Raises MaskbenchError if the file is missing, damaged, or no checkpoint."""
    return json.loads(_open(path, tensors=False)[1]["about"])


def load_checkpoint(
    path: Path, modules: Mapping[str, torch.nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Put the state of ``save_checkpoint`` back into the same modules and optimizers; returns ``about``.

    Raises:
        MaskbenchError: the file is missing, damaged, or of other modules.
    """
    tensors, metadata = _open(path)
    for name, module in modules.items():
        prefix = f"module/{name}/"
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:200]
            raise MaskbenchError(f"{path}: holds another {name} ({detail}); train into another folder") from error
    plain = json.loads(metadata["optimizers"])
    for name, optimizer in optimizers.items():
        try:
            optimizer.load_state_dict(_optimizer_state(plain[name], tensors, f"optimizer/{name}/"))
        except (KeyError, ValueError) as error:
            raise MaskbenchError(f"{path}: holds another optimizer than {name}; train into another folder") from error
        _lay_out(optimizer)
    return json.loads(metadata["about"])


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Each weight's state in the order in memory of the weight itself, as fused optimizers take for granted."""
    for weight, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[key] = torch.empty_like(weight).copy_(value)


def _optimizer_state(plain: dict[str, Any], tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, Any]:
    """As ``state_dict`` gave it: numbers from the metadata, and the tensors whose names begin so."""
    state = {int(index): dict(values) for index, values in plain["state"].items()}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, _, field = key.removeprefix(prefix).partition("/")
            state[int(index)][field] = value
    return {"state": state, "param_groups": plain["param_groups"]}


def _open(path: Path, tensors: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, if they are wanted, and the metadata."""
    from safetensors import safe_open

    if not path.is_file():
        raise MaskbenchError(f"{path}: there is no checkpoint to go on from; leave out --resume")
    try:
        with safe_open(path, "pt") as stored:
            metadata = stored.metadata() or {}
            found = {key: stored.get_tensor(key) for key in stored.keys()} if tensors else {}  # noqa: SIM118 - no mapping
    except Exception as error:  # SafetensorError has no public base
        raise MaskbenchError(f"{path}: damaged ({str(error)[:100]}); remove it to begin anew") from error
    if metadata.get("format") != FORMAT:
        raise MaskbenchError(f"{path}: not a checkpoint of this version of maskbench; train into another folder")
    return found, metadata
