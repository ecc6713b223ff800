"""Fitted recognizers as files: numbers in safetensors, a JSON card beside them, nothing that runs when it is read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from maskbench.classical.model import ARRAYS, FittedModel, feature_size
from maskbench.classical.options import options_for
from maskbench.digest import bytes_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.files import write_bytes, write_json, write_text
from maskbench.recognizers.training import SUFFIX

FORMAT = 1
LICENCE = "unknown: as the training faces"
TEMPLATE = "arcface112"
_KEY = "maskbench"  # one entry of the file's metadata, so that its order is no question


def model_bytes(model: FittedModel) -> bytes:
    """The file of a model; equal models give equal bytes."""
    from safetensors.numpy import save

    about = {"format": FORMAT, "method": model.method, "options": asdict(model.options), "picture": model.picture}
    # A file without tensors is not read back by every reader: an empty mean stands for none.
    tensors = {name: np.ascontiguousarray(getattr(model, name)) for name in ARRAYS}
    return save(tensors, {_KEY: json.dumps(about, sort_keys=True)})


def parse_model(data: bytes, path: Path) -> FittedModel:
    """The model in the bytes of a file; ``path`` is for messages.

    Raises:
        RecognizerError: not such a file, of another version, or its parts disagree.
    """
    remedy = "fit it again with maskbench"
    try:
        about, arrays = _read(data)
        found, method = about["format"], about["method"]
        picture, values = tuple(about["picture"]), dict(about["options"])
        arrays = [arrays[name] for name in ARRAYS]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RecognizerError(f"{path}: not a fitted recognizer ({type(error).__name__}); {remedy}") from error
    if found != FORMAT:
        raise RecognizerError(f"{path}: fitted recognizer of format {found!r}, expected {FORMAT}; {remedy}")
    try:
        model = FittedModel(str(method), options_for(str(method), values), picture, *arrays)
    except MaskbenchError as error:
        raise RecognizerError(f"{path}: {error}; {remedy}") from error
    _check(model, path, remedy)
    return model


def _read(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    length = int.from_bytes(data[:8], "little")  # the format's own: eight bytes of length, then a JSON header
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY]), arrays


def _check(model: FittedModel, path: Path, remedy: str) -> None:
    features, (mean, projection) = feature_size(model.options), (model.mean, model.projection)
    fits = mean.dtype == projection.dtype == np.float32 and projection.ndim == 2 and len(model.picture) == 2
    fits = fits and all(type(side) is int and side > 0 for side in model.picture)
    if mean.size == 0 and model.method == "sr" and not model.options.components:
        fits = fits and projection.size == 0
    else:
        fits = fits and mean.shape == projection.shape[:1] == (features,) and 0 < projection.shape[1]
        fits = fits and bool(np.isfinite(mean).all() and np.isfinite(projection).all())
    if not fits:
        raise RecognizerError(f"{path}: arrays {mean.shape} and {projection.shape} do not fit its options; {remedy}")


def card_of(
    model: FittedModel, sha256: str, name: str, training_data: list[str] | None, licence: str, source: str
) -> dict[str, Any]:
    """The card of a model; docs/models.md documents the keys. Its pictures are 112 x 112, aligned to "arcface112"."""
    return {
        "name": name,
        "sha256": sha256,
        "input_size": list(model.picture),
        "template": TEMPLATE,
        "colour_order": "RGB",
        "mean": 0.0,  # what a face goes through is in the file's options
        "std": 1.0,
        "embedding_size": model.embedding_size,
        "comparator": model.comparator,
        "parameters": model.parameters or None,
        "training_data": training_data,
        "licence": licence,
        "source": source,
        "network": model.network,
    }


def save_fitted(
    model: FittedModel, path: Path, training_data: list[str] | None = None, licence: str = LICENCE,
    source: str = "fitted with maskbench", name: str | None = None,
) -> Path:  # fmt: skip
    """Write a model, and its card ``<stem>.json`` and training subjects ``<stem>.subjects.txt`` beside it, atomically.

    The list of subjects is written when they are known, so that an evaluation can count the protocol's people that the
    recognizer has seen. It comes first and the card last: a model without a card is not loaded.

    Args:
        path: a name that ends in ".safetensors".
        training_data: names of the training sets, such as that of the folder; None when unknown.
        licence: of the weights, which follows the training faces.
        name: on the card; by default the file's stem.

    Returns:
        The card's path.

    Raises:
        MaskbenchError: another ending, or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise MaskbenchError(f"{path}: a fitted recognizer is a .safetensors file; choose such a name")
    data, card = model_bytes(model), path.with_suffix(".json")
    subjects = [subject for subject in model.subjects if subject.strip() and not subject.lstrip().startswith("#")]
    card.unlink(missing_ok=True)  # of an older model of that name: it would not fit from here on
    listed = path.with_suffix(SUFFIX)
    if subjects:
        write_text(listed, "".join(f"{subject}\n" for subject in subjects))
    else:
        listed.unlink(missing_ok=True)
    write_bytes(path, data)
    write_json(card, card_of(model, bytes_sha256(data), name or path.stem, training_data, licence, source))
    return card
