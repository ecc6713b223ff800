"""The network of a recognizer as a file of its own, with its card beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from maskbench._version import __version__
from maskbench.digest import file_sha256
from maskbench.errors import RecognizerError
from maskbench.files import write_json
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.card import card_of, parse_card
from maskbench.recognizers.engines import import_engine
from maskbench.recognizers.torch import TorchRecognizer
from maskbench.types import RecognizerSpec

KINDS = {".onnx": "onnx", ".safetensors": "torch"}


def export_recognizer(
    name: str, out: Path, card: Path | str | None = None, allow_pickle: bool = False
) -> tuple[Path, Path, str]:
    """Write the network of a recognizer as ONNX or safetensors, and its card as ``<stem>.json``.

    Args:
        name: a recognizer that torch can run: "dlib-resnet", "torch:PATH" or a plug-in's.
        out: ends in ``.onnx`` or ``.safetensors``; neither it nor its card may exist.
        card, allow_pickle: as in ``load_recognizer``.

    Returns:
        The two files, and the reference that loads them.

    Raises:
        RecognizerError: the recognizer has no network, or a file stands in the way.
        MaskbenchError: the folder cannot be written to.
    """
    beside = out.with_suffix(".json")
    if out.suffix not in KINDS:
        raise RecognizerError(f"{out}: name a file that ends in {' or '.join(KINDS)}")
    for path in (out, beside):
        if path.exists():
            raise RecognizerError(f"{path}: is there already; remove it, or choose another name")
    recognizer = _with_module(name, card, allow_pickle)
    spec = recognizer.spec
    # A file that is the whole network needs no name of one, nor its sizes.
    spec = replace(spec, network="", config={}) if out.suffix == ".onnx" else replace(spec, network=_network_of(spec))
    parse_card(card_of(spec, spec.weights_sha256, _source(spec)), beside)  # before anything is written
    _write(recognizer.module, out, spec)
    write_json(beside, card_of(spec, file_sha256(out), _source(spec)))
    return out, beside, f"{KINDS[out.suffix]}:{out}"


def _write(module: Any, out: Path, spec: RecognizerSpec) -> None:
    """A torch module as ONNX or safetensors."""
    from maskbench.models.checkpoints import save_state
    from maskbench.models.export import export_onnx

    if out.suffix == ".onnx":
        export_onnx(module, out, spec.input_size, spec.needs_mask)
    else:
        save_state(module, out)


def _with_module(name: str, card: Path | str | None, allow_pickle: bool) -> TorchRecognizer:
    """The recognizer as a torch module."""
    prefix, colon, _ = name.partition(":")
    if colon and (prefix in ("onnx", "insightface") or name.endswith(".onnx")):
        raise RecognizerError(f"{name}: is an ONNX file already; copy the file and its card")
    if colon and prefix == "fitted":
        raise RecognizerError(f"{name}: a fitted method has no network to export; copy the file and its card")
    import_engine("torch")
    recognizer = load_recognizer(name, "cpu", "torch", card, allow_pickle)
    if not isinstance(recognizer, TorchRecognizer):
        raise RecognizerError(f'recognizer "{name}" has no network that torch runs, so there is nothing to export')
    return recognizer


def _network_of(spec: RecognizerSpec) -> str:
    """The name under which ``torch:PATH`` builds the network again."""
    from maskbench.models.zoo import NETWORKS

    name = spec.network or spec.name
    if name not in NETWORKS:
        raise RecognizerError(
            f'recognizer "{spec.name}": torch:PATH knows no network of that name, so weights alone could not be loaded '
            "again; export to .onnx"
        )
    return name


def _source(spec: RecognizerSpec) -> str:
    """Where an exported file is from: what it was exported from, and where that was from."""
    origin = f"exported by maskbench {__version__} from {spec.name} (SHA-256 {spec.weights_sha256})"
    return origin if spec.source == "unknown" else f"{origin}; {spec.source}"
