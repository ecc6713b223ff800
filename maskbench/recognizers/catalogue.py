"""What ``maskbench models list`` says of each recognizer, without loading any network."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from maskbench.errors import RecognizerError
from maskbench.recognizers.base import GROUP, RECOGNIZERS
from maskbench.recognizers.builtin import BUILTIN, TRAINED
from maskbench.recognizers.card import read_card
from maskbench.recognizers.packs import KNOWN, LICENCE, PREFIX, packs_root
from maskbench.recognizers.shipped import trained_weights
from maskbench.types import RecognizerSpec


@dataclass(frozen=True)
class Entry:
    """One recognizer. What is None is not known without loading it.

    Attributes:
        input_size: (height, width).
        ready: whether it can be used as it is installed.
        remedy: what makes it ready, "" where it is; or where it is from, for what is not known.
    """

    name: str
    input_size: tuple[int, int] | None
    embedding_size: int | None
    comparator: str | None
    parameters: int | None
    licence: str | None
    ready: bool | None
    remedy: str = ""


def entries() -> list[Entry]:
    """Every registered recognizer by name, then InsightFace's known packs."""
    return [_registered(name) for name in RECOGNIZERS.names()] + [_pack(name) for name in KNOWN]


def _registered(name: str) -> Entry:
    if name == "dlib-resnet":
        module = import_module("maskbench.recognizers.dlib_resnet")
        return _from_spec(module.SPEC, _lacks(module.weights_path))
    if name in TRAINED:
        path = trained_weights(name)
        return _from_spec(read_card(path)[0], _lacks(lambda: path))
    if name in BUILTIN:
        return _from_spec(RECOGNIZERS.get(name)("cpu", "onnxruntime").spec, "")
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    package = points[0].dist.name if points and points[0].dist else ""
    return Entry(name, None, None, None, None, None, None, f"of the package {package}" if package else "a plug-in")


def _lacks(find) -> str:  # noqa: ANN001 - any function that raises RecognizerError where something is missing
    """What is missing for the network of ``find``'s weights, or ""."""
    for module in ("onnxruntime", "torch"):
        if find_spec(module) is None:
            return "pip install 'maskbench[cpu]'"
    try:
        find()
    except RecognizerError as error:
        return str(error)
    return ""


def _from_spec(spec: RecognizerSpec, remedy: str) -> Entry:
    size, vector = spec.input_size, spec.embedding_size
    return Entry(spec.name, size, vector, spec.comparator, spec.parameters, spec.licence, not remedy, remedy)


def _pack(name: str) -> Entry:
    there = (packs_root() / name).is_dir()
    remedy = "" if there else f"maskbench models pull {PREFIX}{name}"
    return Entry(PREFIX + name, (112, 112), 512, "cosine", None, LICENCE, there, remedy)
