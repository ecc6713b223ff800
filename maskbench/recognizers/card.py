"""The JSON card beside a network's file: what the file itself cannot say.

docs/models.md documents the keys; ``maskbench/data/card.schema.json`` states them for other programs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maskbench.align import TEMPLATES, template_at
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.files import inside, read_json
from maskbench.recognizers.preprocess import COLOUR_ORDERS
from maskbench.registry import nearest
from maskbench.scoring import COMPARATOR_NAMES
from maskbench.types import RecognizerSpec


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def is_text(value: Any) -> bool:
    """Whether a value is text that says something."""
    return isinstance(value, str) and bool(value.strip())


def is_name(value: Any) -> bool:
    """Whether a value can be a name: letters, digits and . _ -, 100 at most, a letter or digit first."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value) is not None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_channels(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, list) and len(value) == 3 and all(map(_is_number, value)))


def _is_scale(value: Any) -> bool:
    return _is_channels(value) and all(number > 0 for number in (value if isinstance(value, list) else [value]))


def is_sha256(value: Any) -> bool:
    """Whether a value is a SHA-256 in lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")


# A registered name, or a file in the card's own folder or below it; in one pattern, which the JSON schema has too.
_PART = "[A-Za-z0-9][A-Za-z0-9._-]*"
COMPLETION_PATTERN = rf"^([A-Za-z0-9][A-Za-z0-9._-]{{0,99}}|torch:({_PART}/)*{_PART}\.safetensors)$"


def is_completion(value: Any) -> bool:
    """Whether a value can stand for a completion in a card."""
    return isinstance(value, str) and re.fullmatch(COMPLETION_PATTERN, value) is not None


def _is_setting(value: Any) -> bool:
    return _is_number(value) or is_text(value) or (isinstance(value, list) and all(map(_is_number, value)))


def _is_config(value: Any) -> bool:
    """Whether a value can be a network's configuration: names with numbers, text, or lists of numbers."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(map(is_name, value)) and all(map(_is_setting, value.values()))


# These keys are required: what is not known is written down as null or "unknown", not left out.
_REQUIRED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("letters, digits and . _ - (it names folders)", is_name),
    "sha256": ("64 lower-case hexadecimal digits", is_sha256),
    "input_size": ("[height, width]", lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_size, v))),
    "template": (f"one of {', '.join(TEMPLATES)}", lambda v: isinstance(v, str) and v in TEMPLATES),
    "colour_order": (f"one of {', '.join(COLOUR_ORDERS)}", lambda v: isinstance(v, str) and v in COLOUR_ORDERS),
    "mean": ("a number or three", _is_channels),
    "std": ("a positive number or three", _is_scale),
    "embedding_size": ("a positive whole number", _is_size),
    "comparator": (f"one of {', '.join(COMPARATOR_NAMES)}", lambda v: isinstance(v, str) and v in COMPARATOR_NAMES),
    "parameters": ("a whole number or null", lambda v: v is None or _is_size(v)),
    "training_data": (
        "a list of names or null",
        lambda v: v is None or (isinstance(v, list) and all(map(is_text, v))),
    ),
    "licence": ('text, or "unknown" where nobody can tell', is_text),
    "source": ("text", is_text),
}
_OPTIONAL: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "network": ("the name of a network: letters, digits and . _ -", is_name),
    "flops": ("a whole number or null", lambda v: v is None or _is_size(v)),
    "terms": ("text", is_text),
    "completion": ("the name of a completion, or torch:FILE.safetensors beside or below the card", is_completion),
    "needs_mask": ("true or false", lambda v: isinstance(v, bool)),
    "config": ("a table of names with numbers, text or lists of numbers", _is_config),
}
_KEYS = {**_REQUIRED, **_OPTIONAL}


def find_card(network: Path, card: Path | str | None = None) -> Path:
    """The card of ``network``: the given one, ``<stem>.json`` or ``<file>.json`` beside it.

    Raises:
        RecognizerError: there is none, and the message names the places; or the network's own file is empty.
    """
    places = [Path(card)] if card else [network.with_suffix(".json"), network.with_name(network.name + ".json")]
    for place in places:
        if place.is_file():
            return place
    if network.is_file() and not network.stat().st_size:
        raise RecognizerError(f"{network}: empty file; get it again")
    remedy = "write one (docs/models.md)"
    if network.suffix.lower() == ".onnx":
        target = network.with_suffix(".json")
        remedy = f"draft one with maskbench models card {network} > {target} and check it (docs/models.md)"
    raise RecognizerError(f"{network}: no card at {' or '.join(map(str, places))}; {remedy}")


def _three(value: Any) -> tuple[float, float, float]:
    numbers = value if isinstance(value, list) else [value] * 3
    return (float(numbers[0]), float(numbers[1]), float(numbers[2]))


def _remedy(missing: list[str]) -> str:
    """What to do about missing keys. A licence is never guessed: figures must not be published without it."""
    if "licence" in missing:
        return 'state the licence of the weights, or "unknown" where nobody can tell (docs/models.md)'
    return "see docs/models.md"


def parse_card(values: Any, path: Path) -> RecognizerSpec:
    """Validate a card's content.

    Args:
        values: the decoded JSON.
        path: the card's file, for messages.

    Raises:
        RecognizerError: unknown, missing or malformed keys; the message names file and key.
    """
    if not isinstance(values, Mapping):
        raise RecognizerError(f"{path}: a card is a JSON object, see docs/models.md")
    for key in values:
        if key not in _KEYS:
            raise RecognizerError(f'{path}: unknown key "{key}"; {nearest(key, _KEYS)}')
    if missing := [key for key in _REQUIRED if key not in values]:
        raise RecognizerError(f"{path}: missing {', '.join(missing)}; {_remedy(missing)}")
    for key, (wanted, is_valid) in _KEYS.items():
        if key in values and not is_valid(values[key]):
            raise RecognizerError(f'{path}: "{key}" must be {wanted}, not {values[key]!r}')
    size = (values["input_size"][0], values["input_size"][1])
    try:
        template_at(values["template"], size)
    except MaskbenchError as error:
        raise RecognizerError(f"{path}: {error}; correct input_size or template") from error
    training = values["training_data"]
    return RecognizerSpec(
        name=values["name"],
        weights_sha256=values["sha256"],
        input_size=size,
        template=values["template"],
        colour_order=values["colour_order"],
        mean=_three(values["mean"]),
        std=_three(values["std"]),
        embedding_size=values["embedding_size"],
        comparator=values["comparator"],
        parameters=values["parameters"],
        training_data=None if training is None else tuple(training),
        licence=values["licence"],
        network=values.get("network", ""),
        flops=values.get("flops"),
        terms=values.get("terms", "unknown"),
        source=values["source"],
        completion=values.get("completion", ""),
        needs_mask=values.get("needs_mask", False),
        config=values.get("config", {}),
    )


def _short(values: tuple[float, float, float]) -> float | list[float]:
    return values[0] if len(set(values)) == 1 else list(values)


def card_of(spec: RecognizerSpec, weights_sha256: str, source: str) -> dict[str, Any]:
    """The card of a file that holds the network of ``spec``; ``parse_card`` of it gives ``spec`` back.

    Args:
        weights_sha256: of that file.
        source: where it came from.
    """
    values = {
        "name": spec.name,
        "sha256": weights_sha256,
        "input_size": list(spec.input_size),
        "template": spec.template,
        "colour_order": spec.colour_order,
        "mean": _short(spec.mean),
        "std": _short(spec.std),
        "embedding_size": spec.embedding_size,
        "comparator": spec.comparator,
        "parameters": spec.parameters or None,
        "training_data": None if spec.training_data is None else list(spec.training_data),
        "licence": spec.licence,
        "source": source,
    }
    added = {"network": spec.network, "flops": spec.flops, "terms": spec.terms if spec.terms != "unknown" else ""}
    added |= {"completion": spec.completion, "needs_mask": spec.needs_mask, "config": dict(spec.config)}
    return {**values, **{key: value for key, value in added.items() if value}}


def own_completion(spec: RecognizerSpec, card: Path) -> str:
    """The completion that a card names, for ``completions.base.load_completion``: its path from the card's folder on.

    Returns:
        "" where it names none.
    """
    prefix, colon, path = spec.completion.partition(":")
    return f"{prefix}:{inside(card.parent, path)}" if colon else spec.completion


def check_file(path: Path, data_sha256: str, spec: RecognizerSpec, card: Path, remedy: str) -> None:
    """Refuse a file whose bytes are not those that its card describes.

    Raises:
        RecognizerError: with both digests, and ``remedy``.
    """
    if data_sha256 != spec.weights_sha256:
        raise RecognizerError(f"{path} has SHA-256 {data_sha256}, but {card} describes {spec.weights_sha256}; {remedy}")


def read_card(network: Path, card: Path | str | None = None) -> tuple[RecognizerSpec, Path]:
    """The specification in the card of ``network`` and the card's path. Does not open the network.

    Raises:
        RecognizerError: no card, or a malformed one.
    """
    path = find_card(network, card)
    try:
        values = read_json(path)
    except MaskbenchError as error:
        raise RecognizerError(str(error)) from error
    return parse_card(values, path), path


def draft_card(onnx_path: Path | str) -> dict[str, Any]:
    """A card to start from: what the ONNX file says about itself, and ArcFace conventions for the rest.

    ``sha256``, ``input_size``, ``embedding_size`` and ``needs_mask`` are read from the file. Template, colour order,
    mean and std are the common ArcFace ones and must be checked by whoever knows the network: a wrong crop or order of
    colours runs without any error and ruins the accuracy.

    Raises:
        RecognizerError: the file is missing or is not a network of one NCHW image input, with or without masks.
    """
    from maskbench.recognizers.onnx import describe

    path = Path(onnx_path)
    found = describe(path)
    return {
        "name": path.stem,
        "sha256": file_sha256(path),
        "input_size": list(found.input_size),
        "template": "arcface112",
        "colour_order": "RGB",
        "mean": 127.5,
        "std": 127.5,
        "embedding_size": found.embedding_size,
        "comparator": "cosine",
        "parameters": None,
        "training_data": None,
        "licence": "unknown",
        "source": "unknown",
        **({"needs_mask": True} if found.takes_masks else {}),
    }


def draft_checkpoint_card(path: Path | str, network: str) -> dict[str, Any]:
    """A card to start from for a checkpoint of a known network: its facts, and "unknown" for what only its owner knows.

    Raises:
        RecognizerError: no such network, or no such file.
    """
    from maskbench.models.zoo import NETWORKS, card_values

    path = Path(path)
    if network not in NETWORKS:
        raise RecognizerError(f'no network named "{network}"; {nearest(network, NETWORKS)}')
    if not path.is_file():
        raise RecognizerError(f"{path}: no such file; give the checkpoint")
    own = {"training_data": None, "licence": "unknown", "terms": "unknown", "source": "unknown"}
    return {"name": path.stem, "sha256": file_sha256(path), **card_values(network), **own}
