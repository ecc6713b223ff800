"""Learned completions: a network's weights in safetensors, and a JSON card beside them that says which network.

Neither torch nor onnxruntime is imported until a completion is loaded. docs/completions.md documents the card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.align import TEMPLATES, template_at
from maskbench.completions.base import CompletionSpec, completion_digest
from maskbench.completions.builtin import BUILTIN
from maskbench.completions.facewise import Facewise, to_bytes
from maskbench.completions.settings import make_settings, whole
from maskbench.digest import bytes_sha256, config_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import read_json
from maskbench.models.g2d_config import ENCODER_OPTIONS
from maskbench.recognizers.card import is_name, is_sha256, is_text
from maskbench.recognizers.engines import ENGINES, import_engine, resolve_device
from maskbench.recognizers.exported import cached_onnx
from maskbench.recognizers.training import read_training_subjects
from maskbench.registry import nearest

if TYPE_CHECKING:
    from torch import nn

FORMAT = "maskbench-completion-1"
# Raise when a network, its export or what is done around it changes: the same weights then give other pixels.
VERSION = 1
LARGEST = 1 << 30  # bytes of a weights file; the largest network of width 1 has 0.55 GB
SUFFIX = ".safetensors"
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _ga(size: int, width: float, attention: bool = True) -> nn.Module:
    from maskbench.models.inpainter import MULTIPLE, Inpainter

    if size % MULTIPLE:
        raise MaskbenchError(f"a picture of {size} x {size} for completion; give sides that {MULTIPLE} divides")
    return Inpainter(attention, width)


def _ga_noattention(size: int, width: float) -> nn.Module:
    return _ga(size, width, False)


def _gfc(size: int, width: float) -> nn.Module:
    from maskbench.models.gfc import FaceCompletion

    return FaceCompletion(size, width)


def _ict(size: int, width: float, **options: Any) -> nn.Module:
    from maskbench.models.ict import ICT

    return ICT(size, width=width, **options)


# name -> builder(size, width, **options), options as ``_OPTIONS`` lists them. Modules take faces (N, 3, size, size) in
# [-1, 1] and holes (N, 1, size, size), 1 = hole, and answer with a tuple whose last entry is the completed faces.
# Raises MaskbenchError for a size it does not take.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "ga": _ga, "ga-noattention": _ga_noattention, "gfc": _gfc, "ict": _ict,
}  # fmt: skip


@dataclass(frozen=True)
class CompletionCard:
    """What a file of weights cannot say about itself: the keys of its card, beside "format".

    Attributes:
        name: how results call the completion.
        network: key of ``NETWORKS``; size: pixels of its square faces; width: factor on its channels.
        template: that faces are aligned to, scaled to ``size``.
        sha256: of the weights' file; parameters: learned numbers in it.
        training_data: names of the training sets, None when unknown.
        licence, terms, source: text, "unknown" where nobody can tell.
        options: of the network, beside size and width; those that are not there have its defaults.
    """

    name: str
    network: str
    size: int
    width: float
    template: str
    sha256: str
    parameters: int
    training_data: tuple[str, ...] | None
    licence: str
    terms: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


def _between(kind: type | tuple[type, ...], least: float, most: float) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, kind) and not isinstance(v, bool) and least <= v <= most


def _one_of(names: Sequence[str]) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, str) and v in names


_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "format": (f'"{FORMAT}"', lambda v: v == FORMAT),
    "name": ("letters, digits and . _ - (it names folders)", is_name),
    "network": (f"one of {', '.join(NETWORKS)}", _one_of(tuple(NETWORKS))),
    "size": ("a whole number from 16 to 1024", _between(int, 16, 1024)),
    "width": ("a number from 0.01 to 4", _between((int, float), 0.01, 4)),
    "template": (f"one of {', '.join(TEMPLATES)}", _one_of(tuple(TEMPLATES))),
    "sha256": ("64 lower-case hexadecimal digits", is_sha256),
    "parameters": ("a positive whole number", _between(int, 1, 1e12)),
    "training_data": (
        "a list of names or null",
        lambda v: v is None or (isinstance(v, list) and all(map(is_text, v))),
    ),
    "licence": ('text, or "unknown" where nobody can tell', is_text),
    "terms": ('text, or "unknown" where nobody can tell', is_text),
    "source": ('text, or "unknown" where nobody can tell', is_text),
}
_MAY = (*_KEYS, "options")
# network -> what its "options" may hold. A fill that draws at random is none: a face is always completed the same way.
_OPTIONS: dict[str, dict[str, tuple[str, Callable[[Any], bool]]]] = {"ict": ENCODER_OPTIONS}


def completion_card(
    name: str, network: str, size: int, width: float, sha256: str, parameters: int,
    training_data: Sequence[str] | None = None, licence: str = "unknown", terms: str = "unknown",
    source: str = "unknown", template: str = "wide128", options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The card of a file of weights, its keys sorted; write it as ``<stem>.json`` beside the file.

    Args: see ``CompletionCard``.

    Raises:
        MaskbenchError: a value that no card can have.
    """
    values = {
        "format": FORMAT, "name": name, "network": network, "size": size, "width": width, "template": template,
        "sha256": sha256, "parameters": parameters, "licence": licence, "terms": terms, "source": source,
        "training_data": None if training_data is None else list(training_data),
        **({"options": dict(options)} if options else {}),
    }  # fmt: skip
    parse_completion_card(values, f"the card of {name}")
    return dict(sorted(values.items()))


def parse_completion_card(values: Any, label: Path | str) -> CompletionCard:
    """Validate a card's content.

    Args:
        values: the decoded JSON.
        label: the card's file, for messages.

    Raises:
        MaskbenchError: unknown, missing or malformed keys; the message names file and key.
    """
    if not isinstance(values, Mapping):
        raise MaskbenchError(f"{label}: a card is a JSON object, see docs/completions.md")
    for key in values:
        if key not in _MAY:
            raise MaskbenchError(f'{label}: unknown key "{key}"; {nearest(key, _MAY)}')
    if missing := [key for key in _KEYS if key not in values]:
        raise MaskbenchError(f"{label}: missing {', '.join(missing)}; see docs/completions.md")
    for key, (wanted, is_valid) in _KEYS.items():
        if not is_valid(values[key]):
            raise MaskbenchError(f'{label}: "{key}" must be {wanted}, not {values[key]!r}')
    _check_options(values["network"], values.get("options", {}), label)
    if values["name"] in BUILTIN:
        raise MaskbenchError(f'{label}: "name": {values["name"]} is another completion; choose another name')
    try:
        template_at(values["template"], (values["size"],) * 2)
    except MaskbenchError as error:
        raise MaskbenchError(f"{label}: {error}; correct size or template") from error
    training = values["training_data"]
    rest = {key: value for key, value in values.items() if key not in ("format", "width", "training_data")}
    return CompletionCard(
        **rest, width=float(values["width"]), training_data=None if training is None else tuple(training)
    )


def _check_options(network: str, options: Any, label: Path | str) -> None:
    """Raise MaskbenchError unless ``options`` is a table of what the network knows."""
    known = _OPTIONS.get(network, {})
    if not isinstance(options, Mapping):
        raise MaskbenchError(f'{label}: "options" must be a table of settings of the network, not {options!r}')
    for key, value in options.items():
        if key not in known:
            raise MaskbenchError(f'{label}: "options": network "{network}" has no "{key}"; {nearest(key, known)}')
        wanted, is_valid = known[key]
        if not is_valid(value):
            raise MaskbenchError(f'{label}: "options": "{key}" must be {wanted}, not {value!r}')


def read_completion_card(weights: Path | str) -> CompletionCard:
    """The card beside a file of weights, ``<stem>.json``. Does not open the weights.

    Raises:
        MaskbenchError: there is none, or it is malformed.
    """
    path = Path(weights).with_suffix(".json")
    if not path.is_file():
        raise MaskbenchError(f"{weights}: no card at {path}; write one (docs/completions.md)")
    return parse_completion_card(read_json(path), path)


@dataclass(frozen=True)
class LearnedSettings:
    """guard: see docs/completions.md."""

    guard: int = whole(0, 0, 16)


@dataclass(frozen=True, eq=False)
class Learned(Facewise):
    """A completion by a network; see ``load_learned``.

    Faces pass one by one, on one thread of the processor: what one gives depends on no other, to the bit, which larger
    batches do not promise.

    Attributes:
        card: of the weights. training_subjects: whom it was trained on, where ``<stem>.subjects.txt`` says so.
    """

    card: CompletionCard | None = None
    training_subjects: frozenset[str] | None = None


class LearnedFill:
    """A ``Fill`` by a network. It is sent to worker processes without it, and opens it there again."""

    def __init__(self, weights: Path, card: CompletionCard, device: str, engine: str) -> None:
        self._from = weights, card, device, engine
        self._run, self.engine = _open(*self._from)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None}

    @property
    def unseen(self) -> np.ndarray:
        """The network's own idea of a face, (size, size, 3) uint8."""
        size = self._from[1].size
        return to_bytes(self(np.zeros((size, size, 3), np.uint8), np.ones((size, size), bool), False))

    def __call__(self, face: np.ndarray, hole: np.ndarray, grey: bool) -> np.ndarray:
        """See ``Fill``."""
        if self._run is None:
            self._run, engine = _open(*self._from)
            if engine != self.engine:
                raise MaskbenchError(f"{self._from[0]}: runs on {engine} here, on {self.engine} before; use device cpu")
        picture = face.astype(np.float32).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)
        answer = self._run(picture[None], hole[None, None].astype(np.float32))[0]
        return (np.asarray(answer, np.float32).transpose(1, 2, 0) + np.float32(1)) * np.float32(127.5)


def load_learned(
    weights: Path | str, device: str = "auto", engine: str = "onnxruntime", **settings: Any
) -> Learned:
    """The completion in a file of weights with its card beside it; the loader of "torch:PATH".

    The file is compared with the card's SHA-256 before anything in it is parsed. On engine "onnxruntime" the network is
    exported once, into the cache folder.

    Args:
        weights: a ``.safetensors`` file of 16 or 32 bits; never a pickle.
        device: "auto", "cpu" or "cuda"; engine: "onnxruntime" or "torch".
        settings: see ``LearnedSettings``.

    Raises:
        MaskbenchError: a file is missing, too large, or not the one that the card describes; the card is malformed; the
            weights do not fit the network; an engine or device is missing.
    """
    path = Path(weights)
    options = make_settings(LearnedSettings, path.stem, settings)
    if engine not in ENGINES:
        raise MaskbenchError(f'no engine named "{engine}"; {nearest(engine, ENGINES)}')
    _check_path(path)
    card = read_completion_card(path)
    fill = LearnedFill(path, card, device, engine)
    told = {"network": card.network, "size": card.size, "width": card.width, "engine": fill.engine, **asdict(options)}
    told |= {"options": dict(card.options)} if card.options else {}  # digests from before there were any stay
    size = card.size, card.size
    spec = CompletionSpec(
        card.name, False, VERSION, size, card.template, card.sha256, card.parameters, card.licence, told
    )
    subjects = read_training_subjects(path)
    return Learned(spec, completion_digest(spec), fill, None, options.guard, card, subjects)


def _check_path(path: Path) -> None:
    """Refuse what is no file of weights by its name and size alone."""
    if path.suffix != SUFFIX:
        raise MaskbenchError(f"{path}: not {SUFFIX}; save the network's weights as that, with a card beside them")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be read ({error.strerror}); give the path of a completion") from error
    if size > LARGEST:
        raise MaskbenchError(f"{path}: has {size:,} bytes, more than the {LARGEST:,} that a completion may have")


def checked_file(path: Path, card: CompletionCard) -> bytes:
    """The bytes of a file of weights. Raises MaskbenchError unless they are those that its card describes."""
    from maskbench.models.checkpoints import read_file

    data = read_file(path)
    if (found := bytes_sha256(data)) != card.sha256:
        raise MaskbenchError(
            f"{path} has SHA-256 {found}, but {path.with_suffix('.json')} describes {card.sha256}; get the right file, "
            "or check the card anew"
        )
    return data


def _open(path: Path, card: CompletionCard, device: str, engine: str) -> tuple[Run, str]:
    """A function from one picture (1, 3, S, S) and its hole (1, 1, S, S) to the completed one; and what runs it."""
    data = checked_file(path, card)
    return (_open_torch if engine == "torch" else _open_onnx)(path, data, card, device)


def _open_onnx(path: Path, data: bytes, card: CompletionCard, device: str) -> tuple[Run, str]:
    from maskbench.recognizers.onnx import open_session

    import_engine("onnxruntime")
    options = [dict(card.options)] if card.options else []  # names from before there were any stay
    decides = config_sha256([card.sha256, card.network, card.size, card.width, card.parameters, *options])
    stem = f"completion-{card.network}-{decides[:16]}-v{VERSION}"
    session = open_session(*cached_onnx(stem, lambda: _exported(path, data, card)), device)

    def run(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        return session.run(["completed"], {"faces": picture, "holes": hole})[0]

    return run, f"onnxruntime:{session.get_providers()[0]}"


def _exported(path: Path, data: bytes, card: CompletionCard) -> bytes:
    from maskbench.models.completion_export import completion_onnx

    return completion_onnx(build(path, data, card), card.size)


def _open_torch(path: Path, data: bytes, card: CompletionCard, device: str) -> tuple[Run, str]:
    torch = import_engine("torch")
    from maskbench.models.completion_export import Completed

    where = resolve_device(device, "torch")
    network = Completed(build(path, data, card)).to(where).eval()

    def run(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        # TF32 would part the GPU's pixels from the processor's, and a search could take other kernels every time.
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False, benchmark=False):
            return network(*(torch.from_numpy(x).to(where) for x in (picture, hole))).float().cpu().numpy()

    return run, f"torch:{where}"


def build(path: Path, data: bytes, card: CompletionCard) -> nn.Module:
    """The network of a card with the weights in ``data``, as 32-bit numbers, in evaluation mode.

    Args:
        path: the weights' file, for messages; it is not read again.

    Raises:
        MaskbenchError: the weights do not fit the network, or the card counts them otherwise.
    """
    torch = import_engine("torch")
    from maskbench.models.checkpoints import load_state, load_strict

    beside = path.with_suffix(".json")
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            network = NETWORKS[card.network](card.size, card.width, **card.options)
    except MaskbenchError as error:
        also = f', "options" {dict(card.options)}' if card.options else ""
        raise MaskbenchError(f'{beside}: "size" {card.size}{also}: {error}') from error
    load_strict(network, load_state(path, data=data), path)
    count = sum(weight.numel() for weight in network.parameters())
    if count != card.parameters:
        raise MaskbenchError(f'{beside}: "parameters" is {card.parameters:,}, the network has {count:,}; correct it')
    return network.eval()
