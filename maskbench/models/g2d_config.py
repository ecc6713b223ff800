"""The sizes of a G2D network as a card or a recipe states them. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from maskbench.errors import MaskbenchError
from maskbench.models.dlib_weights import BLOCKS
from maskbench.models.dlib_weights import EMBEDDING_SIZE as TEACHER_EMBEDDING
from maskbench.registry import nearest

# Residual blocks of each stage, by the convolutions of the main path and the linear layer.
DEPTHS: dict[int, tuple[int, int, int, int]] = {10: (1, 1, 1, 1), 22: (2, 3, 3, 2), 34: (3, 4, 6, 3)}
WIDTHS = (152, 304, 608, 1216)
FILLS = ("expected", "argmax")
READS = ("descriptor", "picture")
REFORMERS = ("residual", "teacher")
Rule = tuple[str, Callable[[Any], bool]]  # what a value must be, in words, and whether it is


@dataclass(frozen=True)
class G2DConfig:
    """All sizes of a G2D network; by default those of the paper, as far as they are known (docs/methods/g2d.md).

    Attributes:
        size: side of the square faces, a multiple of 4.
        tokens, colours, prior_width, layers, heads, width, blocks, fill: of the encoder, see ``ict.ICT``; not "sample",
            whose templates would differ from one time to the next.
        block: the residual block of the encoder whose output is the descriptor, negative from the end.
        reads: what the reformer reads, "descriptor", or "picture": the completed face.
        reformer: "residual" is ``reformer.Reformer``, "teacher" dlib's network from block ``start`` on.
        widths, depth, embedding: of the residual one alone.
        start, adapter: of the teacher's alone: its first block, and the side of the convolution before that; 0 and 1
            where it reads the picture, and then it is the whole network.
    """

    size: int = 256
    tokens: int = 48
    colours: int = 512
    prior_width: int = 512
    layers: int = 30
    heads: int = 8
    width: float = 1.0
    blocks: int = 8
    fill: str = "expected"
    block: int = -1
    reads: str = "descriptor"
    reformer: str = "residual"
    widths: tuple[int, ...] = WIDTHS
    depth: int = 22
    embedding: int = 512
    start: int = 0
    adapter: int = 1

    @property
    def embedding_size(self) -> int:
        """Numbers in a template."""
        return TEACHER_EMBEDDING if self.reformer == "teacher" else self.embedding


def _whole(least: int, most: int) -> Rule:
    return f"a whole number from {least} to {most}", lambda v: type(v) is int and least <= v <= most


def _one_of(names: tuple[str, ...]) -> Rule:
    return f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names


def _is_width(value: Any) -> bool:
    return type(value) in (int, float) and 0.01 <= value <= 4


def _are_widths(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 4 and all(type(v) is int and 1 <= v <= 4096 for v in value)


_KEYS: dict[str, Rule] = {
    "size": ("a multiple of 4 from 16 to 1024", lambda v: type(v) is int and 16 <= v <= 1024 and v % 4 == 0),
    "tokens": _whole(4, 128),
    "colours": _whole(2, 4096),
    "prior_width": _whole(4, 4096),
    "layers": _whole(1, 96),
    "heads": _whole(1, 64),
    "width": ("a number from 0.01 to 4", _is_width),
    "blocks": _whole(1, 32),
    "fill": _one_of(FILLS),
    "block": _whole(-32, 31),
    "reads": _one_of(READS),
    "reformer": _one_of(REFORMERS),
    "widths": ("four whole numbers from 1 to 4096", _are_widths),
    "depth": (f"one of {', '.join(map(str, DEPTHS))}", lambda v: type(v) is int and v in DEPTHS),
    "embedding": _whole(1, 65536),
    "start": _whole(0, len(BLOCKS) - 1),
    "adapter": ("1 or 3", lambda v: type(v) is int and v in (1, 3)),
}
# Of the encoder, beside size and width: in the card of a recognizer, and in that of the encoder as a completion.
_ENCODER = ("tokens", "colours", "prior_width", "layers", "heads", "blocks", "fill")
ENCODER_OPTIONS: dict[str, Rule] = {key: _KEYS[key] for key in _ENCODER}
# What belongs to one reformer alone; the configuration of the other must not have it.
_OWN = {"residual": ("widths", "depth", "embedding"), "teacher": ("start", "adapter")}


def config_values(config: G2DConfig) -> dict[str, Any]:
    """The configuration as plain JSON values, without the keys of the other reformer."""
    keys = _keys_of(config.reformer)
    return {key: list(value) if key == "widths" else value for key, value in asdict(config).items() if key in keys}


def _keys_of(reformer: str) -> list[str]:
    others = [key for kind, keys in _OWN.items() if kind != reformer for key in keys]
    return [key for key in _KEYS if key not in others]


def parse_config(values: Mapping[str, Any]) -> G2DConfig:
    """Validate what a card or a recipe states; ``config_values`` of it gives the values back.

    Raises:
        MaskbenchError: a key that is missing, unknown or of the other reformer, or a malformed value; the message
            names the key and no file.
    """
    kind = values.get("reformer")
    keys = _keys_of(kind) if kind in REFORMERS else list(_KEYS)
    for key in values:
        if key not in keys:
            raise MaskbenchError(f'unknown key "{key}"; {nearest(key, keys)}')
    for key, (wanted, is_valid) in _KEYS.items():
        if key in values and not is_valid(values[key]):
            raise MaskbenchError(f'"{key}" must be {wanted}, not {values[key]!r}')
    if missing := [key for key in keys if key not in values]:
        raise MaskbenchError(f"missing {', '.join(missing)}; see docs/methods/g2d.md")
    config = G2DConfig(**{key: tuple(value) if key == "widths" else value for key, value in values.items()})
    _check(config)
    return config


def _check(config: G2DConfig) -> None:
    """What two keys say together."""
    if config.tokens > config.size:
        raise MaskbenchError(f'"tokens" must be at most "size", {config.size}, not {config.tokens}')
    if config.prior_width % config.heads:
        raise MaskbenchError(f'"prior_width" must be a multiple of "heads", {config.heads}, not {config.prior_width}')
    if not -config.blocks <= config.block < config.blocks:
        raise MaskbenchError(f'"block" must name one of {config.blocks} residual blocks, not {config.block}')
    if config.reads == "picture" and config.start:
        raise MaskbenchError(f'"start" must be 0 where the reformer reads the picture, not {config.start}')
    if config.reads == "picture" and config.adapter != 1:
        raise MaskbenchError(f'"adapter" must be 1 where the reformer reads the picture, not {config.adapter}')
