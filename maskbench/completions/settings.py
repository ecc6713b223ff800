"""Options of a completion: keywords to a frozen dataclass, each value within its range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, field, fields
from typing import Any, TypeVar

from maskbench.errors import MaskbenchError
from maskbench.registry import nearest

S = TypeVar("S")


def whole(default: int, least: int, most: int) -> Any:
    """A dataclass field for whole numbers from ``least`` to ``most``."""
    return field(default=default, metadata={"kind": int, "range": (least, most)})


def number(default: float, least: float, most: float) -> Any:
    """A dataclass field for numbers from ``least`` to ``most``."""
    return field(default=default, metadata={"kind": float, "range": (least, most)})


def choice(default: Any, *others: Any) -> Any:
    """A dataclass field for one of several values."""
    return field(default=default, metadata={"choices": (default, *others)})


def make_settings(kind: type[S], method: str, values: Mapping[str, Any]) -> S:
    """An instance of the settings class ``kind``; what is not given keeps its default.

    Raises:
        MaskbenchError: an unknown key (with the nearest known one), or a value of another type or out of its range.
    """
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise MaskbenchError(f'completion "{method}" has no setting "{key}"; {nearest(key, known)}')
    return kind(**{key: _checked(method, known[key], value) for key, value in values.items()})


def _checked(method: str, item: Field, value: Any) -> Any:
    """The value in the type of its default, or a MaskbenchError that says what is wanted."""
    assert item.default is not MISSING
    choices = item.metadata.get("choices")
    if choices is not None:
        if any(value == known and type(value) is type(known) for known in choices):
            return value
        wanted = f"one of {', '.join(map(str, choices))}"
    else:
        least, most = item.metadata["range"]
        is_whole = item.metadata["kind"] is int
        if _is_number(value, is_whole) and least <= value <= most:
            return item.metadata["kind"](value)
        wanted = f"a {'whole ' * is_whole}number from {least} to {most}"
    raise MaskbenchError(f'completion "{method}": setting {item.name} must be {wanted}, not {value!r}')


def _is_number(value: Any, is_whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, int) if is_whole else math.isfinite(value)


def as_mapping(settings: Any) -> dict[str, Any]:
    """A settings object as plain values, for ``CompletionSpec.settings``."""
    return asdict(settings)
