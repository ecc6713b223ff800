"""Weights in files, in and out of torch modules: safetensors, and pickled checkpoints where the user insists.

A pickle can run any code when it is read. Nothing here does that: pickles are refused unless the caller allows them,
and are then read by torch's restricted unpickler, which builds tensors and plain containers only.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskbench.errors import RecognizerError
from maskbench.files import write_bytes

SAFE_SUFFIX = ".safetensors"
# Where trainers put the weights beside their own state; "state_dict_backbone" is arcface_torch's.
CONTAINERS = ("state_dict", "state_dict_backbone", "model_state_dict", "model", "backbone", "net")
# What wrappers put before every name: DataParallel, and modules that hold the network as an attribute.
PREFIXES = ("module.", "backbone.", "model.")
# Batches seen in training: no part of inference, and absent from checkpoints older than torch 0.4.1.
COUNTERS = "*num_batches_tracked"
_REMEDY = "name the network that it belongs to"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def refuse_pickle(path: Path, allow_pickle: bool) -> None:
    """Let only safetensors through, unless pickles are allowed. Looks at the name alone.

    Raises:
        RecognizerError: the file is a pickle, as everything without the suffix ``.safetensors`` is taken to be.
    """
    if path.suffix.lower() == ".onnx":
        raise RecognizerError(f'{path}: an ONNX file is no checkpoint; name it "onnx:{path}"')
    if path.suffix.lower() != SAFE_SUFFIX and not allow_pickle:
        raise RecognizerError(
            f"{path}: not {SAFE_SUFFIX}, so a pickle, which can run any code; convert it (docs/networks.md), "
            "or allow pickles (--allow-pickle) where you trust its source"
        )


def read_file(path: Path) -> bytes:
    """The bytes of a checkpoint.

    Raises:
        RecognizerError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecognizerError(f"{path}: cannot be read ({error.strerror}); give the path of a checkpoint") from error


def load_state(path: Path | str, allow_pickle: bool = False, data: bytes | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, on the processor, as the file has them.

    A state dictionary may lie within one of ``CONTAINERS``; a prefix of ``PREFIXES`` that every name has is taken off.

    Args:
        path: a ``.safetensors`` file; any other name is read as a pickle, and only with ``allow_pickle``.
        data: the file's bytes, where they have been read (and hashed) already.

    Raises:
        RecognizerError: it is a pickle and those are not allowed, cannot be read, is damaged, or holds anything but
            tensors by name.
    """
    path = Path(path)
    refuse_pickle(path, allow_pickle)
    data = read_file(path) if data is None else data
    content = _parse_safetensors(path, data) if path.suffix.lower() == SAFE_SUFFIX else _parse_pickle(path, data)
    return _without_prefixes(_tensors(path, _unwrapped(content)))


def _parse_safetensors(path: Path, data: bytes) -> Any:
    from safetensors.torch import load

    try:
        return load(data)
    except Exception as error:  # SafetensorError, or KeyError for a type that torch lacks
        raise RecognizerError(f"{path}: not safetensors, or damaged ({_brief(error)}); get the file again") from error


def _parse_pickle(path: Path, data: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old protocols; what matters is raised
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's errors have no common base but this
        raise RecognizerError(
            f"{path}: damaged, or holds more than tensors ({type(error).__name__}); where it was made, save its "
            f"state_dict() as {SAFE_SUFFIX}"
        ) from error


def _brief(error: Exception) -> str:
    """The first sentence of an error that torch may spread over a page."""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:120]}" if line else type(error).__name__


DEEPEST = 8  # containers in containers; a pickle may even contain itself


def _unwrapped(content: Any) -> Any:
    """The innermost container of ``CONTAINERS``."""
    for _ in range(DEEPEST):
        if not isinstance(content, Mapping):
            break
        inner = next((content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    return content


def _tensors(path: Path, content: Any) -> dict[str, torch.Tensor]:
    """``content`` as tensors by name, and nothing else."""
    if not isinstance(content, Mapping) or not content:
        raise RecognizerError(f"{path}: holds no tensors by name; save the network's state_dict() as {SAFE_SUFFIX}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise RecognizerError(
                f"{path}: {name!r} is {type(value).__name__}, where a tensor by its name belongs; "
                f"save the network's state_dict() as {SAFE_SUFFIX}"
            )
    return dict(content)


def _without_prefixes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` without the prefixes that all of its names have."""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name[len(prefix) :]: value for name, value in state.items()}
    return state


def load_strict(
    module: nn.Module, state: Mapping[str, torch.Tensor], label: Path | str, optional: Iterable[str] = ()
) -> None:
    """Put weights into ``module``: every one that it has, and no other.

    Floats of 16 and 64 bits become float32. Counters of batches (``COUNTERS``) may be there or not. The module may be
    on ``torch.device("meta")`` before; afterwards it is on the processor, and its weights are its own.

    Args:
        state: from ``load_state``. Not changed.
        label: the file's name, for messages.
        optional: patterns of names that may be there beyond the module's, such as a classifier's; they are ignored.

    Raises:
        RecognizerError: names that are missing or unexpected, a wrong shape or type, or a value that is not finite;
            the message names the first and how many there are.
    """
    wanted = module.state_dict()
    _check_names(wanted, state, label, [*optional, COUNTERS])
    _report(label, "shape", _differing_shapes(wanted, state))
    _report(label, "type", _differing_types(wanted, state))
    loaded = {name: _converted(value, state.get(name)) for name, value in wanted.items()}
    _report(label, "value", [(n, "not finite", "finite") for n, v in loaded.items() if not torch.isfinite(v).all()])
    module.load_state_dict(loaded, strict=True, assign=True)


def _check_names(
    wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], label: Path | str, optional: Iterable[str]
) -> None:
    missing = [name for name in wanted if name not in state and not fnmatchcase(name, COUNTERS)]
    unexpected = [n for n in state if n not in wanted and not any(fnmatchcase(n, pattern) for pattern in optional)]
    found = [
        f'{len(names)} of its weights {what}, the first "{names[0]}"'
        for names, what in ((missing, "are missing"), (unexpected, "are unexpected"))
        if names
    ]
    if found:
        raise RecognizerError(f"{label}: does not fit the network: {'; '.join(found)}; {_REMEDY}")


def _differing_shapes(
    wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> list[tuple[str, object, object]]:
    pairs = ((name, state[name], value) for name, value in wanted.items() if name in state)
    return [(n, tuple(found.shape), tuple(value.shape)) for n, found, value in pairs if found.shape != value.shape]


def _differing_types(
    wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> list[tuple[str, object, object]]:
    wrong: list[tuple[str, object, object]] = []
    for name, value in wanted.items():
        if name not in state or fnmatchcase(name, COUNTERS):
            continue
        found = state[name]
        if found.dtype not in _FLOATS or found.layout is not torch.strided:
            kind = found.dtype if found.layout is torch.strided else found.layout
            wrong.append((name, str(kind).removeprefix("torch."), str(value.dtype).removeprefix("torch.")))
    return wrong


def _report(label: Path | str, what: str, wrong: list[tuple[str, object, object]]) -> None:
    """Raise if anything is ``wrong``: a list of (name, what it is, what it should be)."""
    if wrong:
        name, found, expected = wrong[0]
        raise RecognizerError(
            f'{label}: does not fit the network: {what} of "{name}" is {found} instead of {expected} '
            f"({len(wrong)} such weights); {_REMEDY}"
        )


def _converted(value: torch.Tensor, found: torch.Tensor | None) -> torch.Tensor:
    """``found`` as a new tensor of ``value``'s type; zero for a counter that is not in the file."""
    if found is None or not value.is_floating_point():
        return torch.zeros(value.shape, dtype=value.dtype)
    return found.detach().to("cpu", value.dtype, copy=True).contiguous()


def save_state(module: nn.Module, path: Path | str) -> None:
    """Write the state dictionary of ``module`` as safetensors, atomically; the same weights give the same bytes.

    Raises:
        MaskbenchError: the file cannot be written.
    """
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous().clone() for name, value in sorted(module.state_dict().items())}
    write_bytes(Path(path), save(state))
