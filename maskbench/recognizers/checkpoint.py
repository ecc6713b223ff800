"""Recognizers in checkpoints of networks that maskbench knows: "torch:PATH", with a card that names the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskbench.digest import bytes_sha256, config_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.recognizers.card import check_file, own_completion, read_card
from maskbench.recognizers.engines import import_engine
from maskbench.recognizers.exported import cached_onnx
from maskbench.recognizers.onnx import OnnxRecognizer, open_session
from maskbench.recognizers.torch import TorchRecognizer
from maskbench.recognizers.training import read_training_subjects
from maskbench.registry import nearest
from maskbench.types import RecognizerSpec

if TYPE_CHECKING:
    from torch import nn

    from maskbench.models.zoo import Network

# Raise when a network or its export changes: older files and embeddings in the cache are then left alone.
EXPORT_VERSION = 1


def load_checkpoint(
    rest: str, card: Path | str | None = None, device: str = "auto", engine: str = "onnxruntime",
    allow_pickle: bool = False,
) -> OnnxRecognizer | TorchRecognizer:  # fmt: skip
    """The recognizer in a checkpoint, with the card beside it or the given one; the loader of "torch:PATH".

    The file is compared with the card's SHA-256 before anything in it is parsed. On engine "onnxruntime" the network is
    exported once, into the cache folder.

    Args:
        rest: path of a ``.safetensors`` file, or with ``allow_pickle`` of any checkpoint that torch can read safely.
        card: instead of the one beside it.

    Raises:
        RecognizerError: a file is missing, is a pickle, or is not the one that the card describes; the card names no
            known network, or disagrees with it; the weights do not fit it; an engine or device is missing.
    """
    import_engine("torch")
    from maskbench.models.checkpoints import read_file, refuse_pickle

    path = Path(rest)
    if path.exists():  # else what is wrong with it is that it is not there
        refuse_pickle(path, allow_pickle)
    data = read_file(path)
    spec, card_path = read_card(path, card)
    check_file(path, bytes_sha256(data), spec, card_path, "get the right file, or check the card anew")
    network = _network(spec, card_path)
    # What the network counts is known better than what a card says.
    spec = replace(spec, parameters=network.parameters, flops=network.flops)
    recognizer = _recognizer(path, data, spec, network, device, engine, allow_pickle)
    recognizer.training_subjects = read_training_subjects(path)
    recognizer.own_completion = own_completion(spec, card_path)
    return recognizer


def _network(spec: RecognizerSpec, card: Path) -> Network:
    """The network that the card names, if the card agrees with it."""
    from maskbench.models.zoo import NETWORKS

    if not spec.network:
        raise RecognizerError(f'{card}: missing "network", whose weights these are; {nearest("", NETWORKS)}')
    if spec.network not in NETWORKS:
        raise RecognizerError(f'{card}: no network named "{spec.network}"; {nearest(spec.network, NETWORKS)}')
    try:
        network = NETWORKS[spec.network].configured(spec.config)
    except MaskbenchError as error:
        raise RecognizerError(f'{card}: "config": {error}') from error
    if spec.needs_mask != network.needs_mask:
        reads, told = ("masks", "write") if network.needs_mask else ("no masks", "take out")
        raise RecognizerError(f'{card}: network {network.name} reads {reads}; {told} "needs_mask": true')
    if spec.embedding_size != network.embedding_size:
        raise RecognizerError(
            f"{card}: network {network.name} gives vectors of {network.embedding_size} numbers, "
            f"the card says {spec.embedding_size}; correct embedding_size or network"
        )
    if spec.input_size != network.input_size:
        raise RecognizerError(
            f"{card}: network {network.name} takes {list(network.input_size)}, "
            f"the card says {list(spec.input_size)}; correct input_size or network"
        )
    return network


def _recognizer(
    path: Path, data: bytes, spec: RecognizerSpec, network: Network, device: str, engine: str, allow_pickle: bool
) -> OnnxRecognizer | TorchRecognizer:
    if engine == "torch":
        module = build(path, data, network, allow_pickle)
        return TorchRecognizer(module, spec, device, f"{network.name} export {EXPORT_VERSION}")
    import_engine("onnxruntime")
    from maskbench.models.export import onnx_bytes

    sizes = f"-{config_sha256(dict(network.config))[:16]}" if network.config else ""
    stem = f"{network.name}-{spec.weights_sha256[:16]}{sizes}-v{EXPORT_VERSION}"

    def export() -> bytes:
        return onnx_bytes(build(path, data, network, allow_pickle), network.input_size, masks=network.needs_mask)

    exported, file = cached_onnx(stem, export)
    return OnnxRecognizer(open_session(exported, file, device), spec, path, bytes_sha256(exported))


def build(path: Path, data: bytes, network: Network, allow_pickle: bool = False) -> nn.Module:
    """The network with the weights of a checkpoint, in evaluation mode.

    Args:
        path: the checkpoint's name; it is not read again.
        data: its bytes.

    Raises:
        RecognizerError: the weights do not fit the network.
    """
    from maskbench.models.checkpoints import load_state, load_strict

    module = network.build(meta=True)
    load_strict(module, load_state(path, allow_pickle, data), path, network.optional)
    return module.eval()
