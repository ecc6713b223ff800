"""Finding and loading recognizers, and what identifies them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, fields
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.recognizers.builtin import BUILTIN, CLASSICAL, PREFIXES
from maskbench.recognizers.engines import DEVICES, ENGINES, first_line, remedy_for, resolve_device
from maskbench.recognizers.guard import checked_embed
from maskbench.registry import Registry, nearest
from maskbench.types import Recognizer, RecognizerSpec

__all__ = ["RECOGNIZERS", "checked_embed", "load_recognizer", "network_digest", "resolve_device", "spec_defaults",
           "spec_digest"]  # fmt: skip

GROUP = "maskbench.recognizers"
RECOGNIZERS: Registry = Registry("recognizer", GROUP, BUILTIN)
# The kinds of reference that a file name without a prefix was probably meant as.
_SUFFIXES = {
    ".onnx": ("onnx",),
    ".pth": ("torch",),
    ".pt": ("torch",),
    ".ckpt": ("torch",),
    ".safetensors": ("torch", "fitted"),
}
# What a result says about a recognizer without changing any of its vectors or scores.
_DESCRIPTIVE = ("name", "parameters", "flops", "training_data", "licence", "terms", "source", "completion")
_ADDED = ("test_time", "network", "config")  # the digests of recognizers that leave these empty are older than the keys


def load_recognizer(
    name: str,
    device: str = "auto",
    engine: str = "onnxruntime",
    card: Path | str | None = None,
    allow_pickle: bool = False,
) -> Recognizer:
    """Load a recognizer by registered name, or from a reference such as "onnx:PATH". Never downloads anything.

    Args:
        name: a key of ``RECOGNIZERS``, or a prefix of ``PREFIXES``, a colon, and what that kind of reference names.
        device: "auto", "cpu" or "cuda".
        engine: "onnxruntime" or "torch"; for "onnx:PATH" only the first.
        card: the card of a file, where it does not lie beside it.
        allow_pickle: also read a checkpoint that is a pickle, which can run any code that its author put there.

    Raises:
        RecognizerError: no such recognizer, engine or device, or its files are missing or malformed.
    """
    for value, choices, kind in ((device, DEVICES, "device"), (engine, ENGINES, "engine")):
        if value not in choices:
            raise RecognizerError(f'no {kind} named "{value}"; {nearest(value, choices)}')
    known = _names()
    if name not in known:
        prefix, colon, rest = name.partition(":")
        if not colon or prefix not in PREFIXES:
            raise RecognizerError(_unknown(name, known))
        if not rest:
            raise RecognizerError(f'"{name}" names nothing; write {PREFIXES[prefix].form}')
        return _loader(prefix)(rest, card, device, engine, allow_pickle)
    if card is not None:
        raise RecognizerError(f'a card goes with a file, such as "onnx:PATH"; recognizer "{name}" brings its own')
    return _from_registry(name, device, engine)


def _names() -> list[str]:
    try:
        return RECOGNIZERS.names()
    except MaskbenchError as error:  # two packages claim one name
        raise RecognizerError(str(error)) from error


def _loader(prefix: str) -> Callable[..., Recognizer]:
    """The function that loads one kind of reference, imported now."""
    module, _, function = PREFIXES[prefix].loader.partition(":")
    try:
        return getattr(import_module(module), function)
    except ImportError as error:
        raise RecognizerError(
            f'"{PREFIXES[prefix].form}" cannot be loaded here ({first_line(error)}); {remedy_for(error, "maskbench")}'
        ) from error


def _unknown(name: str, known: Sequence[str]) -> str:
    """Why ``name`` is no recognizer, and what was most likely meant."""
    from maskbench.recognizers.packs import KNOWN

    prefix, colon, rest = name.partition(":")
    near = difflib.get_close_matches(prefix, PREFIXES, n=1) if colon else []
    if near:
        return f'no recognizer "{name}"; did you mean "{near[0]}:{rest}"?'
    if name in KNOWN:
        return f'no recognizer named "{name}"; did you mean "insightface:{name}"?'
    if name in CLASSICAL:
        return (
            f'"{name}" is fitted on faces first: maskbench models fit {name} FACES OUT.safetensors, then '
            f'"fitted:OUT.safetensors"; evaluate and grid take "{name}" itself with --fit-on FACES'
        )
    kinds = _SUFFIXES.get(Path(name).suffix.lower(), ())
    if "@" in name and kinds:
        kinds = ("hf",)
    if kinds and not colon:
        meant = " or ".join(f'"{kind}:{name}"' for kind in kinds)
        return f'no recognizer named "{name}"; did you mean {meant}?'
    forms = ", ".join(prefix.form for prefix in PREFIXES.values())
    return f'no recognizer named "{name}"; {nearest(name, [*known, *CLASSICAL])}; or a file or pack: {forms}'


def _from_registry(name: str, device: str, engine: str) -> Recognizer:
    """Call the factory that ``name`` stands for and look at what it returns."""
    try:
        factory = RECOGNIZERS.get(name)
    except Exception as error:  # importing a package runs its code
        raise _broken(name, "cannot be imported", error) from error
    try:
        recognizer = factory(device, engine)
    except MaskbenchError:
        raise
    except Exception as error:
        raise _broken(name, "fails to load", error) from error
    if not isinstance(getattr(recognizer, "spec", None), RecognizerSpec) or not hasattr(recognizer, "embed"):
        raise RecognizerError(
            f'the factory of recognizer "{name}" returned no object with spec and embed{_origin(name)}; '
            "reinstall its package, or tell its authors"
        )
    return recognizer


def _broken(name: str, what: str, error: Exception) -> RecognizerError:
    """The error for a plug-in that fails: the fault in one line, where it comes from, and the remedy."""
    return RecognizerError(
        f'recognizer "{name}" {what} ({first_line(error)}){_origin(name)}; {remedy_for(error, _package(name))}'
    )


def _package(name: str) -> str:
    """The distribution whose entry point registered ``name``; "" where none did."""
    return next((point.dist.name for point in entry_points(group=GROUP) if point.name == name and point.dist), "")


def _origin(name: str) -> str:
    """Where a registered recognizer comes from, to end a message with; "" where that is not known."""
    target = next((point.value for point in entry_points(group=GROUP) if point.name == name), BUILTIN.get(name, ""))
    package = _package(name)
    return f", from {target}" + (f" of the package {package}" if package else "") if target else ""


def spec_digest(spec: RecognizerSpec) -> str:
    """SHA-256 over everything in ``spec`` that decides vectors and scores, the weights' digest included.

    What only describes it (name, licence, terms, source, training data, numbers of parameters and operations) is left
    out, and so is the completion that it asks for, which results tell apart themselves. The engine is in: two engines
    differ in the last bits, and a cache must not answer for one with the vectors of the other.
    """
    values = {key: value for key, value in asdict(spec).items() if key not in _DESCRIPTIVE}
    for key in _ADDED:
        if not values[key]:
            del values[key]
    return config_sha256(values)


def spec_defaults() -> dict[str, Any]:
    """What each optional field of a specification is by default: so a result from before a field came is read."""
    found = {}
    for field in fields(RecognizerSpec):
        if field.default is not MISSING:
            found[field.name] = field.default
        elif field.default_factory is not MISSING:
            found[field.name] = field.default_factory()
    return found


def network_digest(recognizer: Recognizer) -> str:
    """``spec_digest``, and the ``network_id`` of a recognizer that has one.

    dlib-resnet's specification names the published weights; what runs is an export of them. Vectors of an export that
    was corrected since must not be answered from the cache.
    """
    return config_sha256([spec_digest(recognizer.spec), getattr(recognizer, "network_id", "")])
