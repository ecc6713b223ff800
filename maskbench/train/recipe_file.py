"""Files of settings: YAML tables into typed dataclasses, with single changes, and checks of every value."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.tables import read_text, yaml_complaint

LARGEST_SEED = 2**32 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Rules:
    """What values settings may have, by their keys with dots.

    Attributes:
        choices: key -> the texts it may be.
        positive, not_negative: numbers, or None where that is a value; shares: 0 to 1.
        weights: tables of positive numbers.
    """

    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    positive: Sequence[str] = ()
    not_negative: Sequence[str] = ()
    shares: Sequence[str] = ()
    weights: Sequence[str] = ()


def merged(*rules: Rules) -> Rules:
    """All that they ask for, together."""
    lists = ("positive", "not_negative", "shares", "weights")
    return Rules(
        {key: choices for part in rules for key, choices in part.choices.items()},
        **{name: tuple(key for part in rules for key in getattr(part, name)) for name in lists},
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The tables of a YAML file. Raises MaskbenchError, naming the file, if it holds none."""
    import yaml

    try:
        values = yaml.safe_load(read_text(path, MaskbenchError))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MaskbenchError(yaml_complaint(path, error)) from error
    if not isinstance(values, dict):
        raise MaskbenchError(f"{path}:1: not a training recipe; expected keys and values, see docs/training.md")
    return values


def change_setting(values: dict[str, Any], change: str) -> None:
    """Put one "key=value", with dots into tables, into them. Raises MaskbenchError if it is not of that form."""
    import yaml

    key, equals, text = change.partition("=")
    if not equals or not key:
        raise MaskbenchError(f'"{change}" changes no setting; write key=value, such as losses.weight=10')
    *tables, last = key.split(".")
    for table in tables:
        inner = values.setdefault(table, {})
        if not isinstance(inner, dict):
            raise MaskbenchError(f'"{change}": {table} is no table of settings')
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that does not exist is a ValueError
        raise MaskbenchError(f'"{change}": the value is not YAML') from error


def build_settings(kind: type[T], values: Any, where: str, prefix: str = "") -> T:
    """An instance of a dataclass of settings from tables.

    Args:
        where: the file, for messages; prefix: of the keys, with dots.

    Raises:
        MaskbenchError: an unknown setting, a value of another kind, or one without default that is missing.
    """
    if not isinstance(values, dict):
        raise MaskbenchError(f"{where}: {prefix.rstrip('.') or 'recipe'} must be a table of settings")
    known = {entry.name: entry for entry in fields(kind)}
    for key in values:
        if key not in known:
            raise MaskbenchError(f'{where}: no setting "{prefix}{key}"; {nearest(str(key), list(known))}')
    hints = typing.get_type_hints(kind)
    for name, entry in known.items():
        if name not in values and entry.default is MISSING and entry.default_factory is MISSING:
            raise MaskbenchError(f'{where}: "{prefix}{name}" is missing')
    return kind(**{key: _value(hints[key], value, where, prefix + key) for key, value in values.items()})


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    if is_dataclass(kind):
        return build_settings(kind, value, where, f"{key}.")
    origin = typing.get_origin(kind)
    if origin is types.UnionType:  # "or None"
        return None if value is None else _value(typing.get_args(kind)[0], value, where, key)
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        if not isinstance(value, list):
            raise MaskbenchError(f"{where}: {key} must be a list")
        return tuple(_value(inner, item, where, key) for item in value)
    if origin is not None:  # the mapping of recipes to weights
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise MaskbenchError(f"{where}: {key} must be a table of names and weights")
        return {name: _value(float, weight, where, f"{key}.{name}") for name, weight in value.items()}
    if kind is float and type(value) in (int, str):
        value = _number(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise MaskbenchError(f"{where}: {key} must be {_WORDS[kind]}, not {value!r}")
    return value


def _number(value: int | str) -> Any:
    """A number also where YAML sees a text, as in 1e-4."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def check_settings(recipe: Any, where: str, rules: Rules) -> None:
    """Raise MaskbenchError, naming the setting, where one is out of what the rules allow."""

    def look(key: str) -> Any:
        value: Any = recipe
        for name in key.split("."):
            value = getattr(value, name)
        return value

    for key, choices in rules.choices.items():
        if look(key) not in choices:
            raise MaskbenchError(f'{where}: {key} "{look(key)}" is unknown; {nearest(str(look(key)), choices)}')
    for key in rules.positive:
        if look(key) is not None and not look(key) > 0:
            raise MaskbenchError(f"{where}: {key} must be positive, not {look(key)}")
    for key in rules.not_negative:
        if look(key) is not None and look(key) < 0:
            raise MaskbenchError(f"{where}: {key} must not be negative, but is {look(key)}")
    for key in rules.shares:
        if not 0 <= look(key) <= 1:
            raise MaskbenchError(f"{where}: {key} must lie between 0 and 1, not {look(key)}")
    for key in rules.weights:
        for name, weight in look(key).items():
            if not weight > 0:
                raise MaskbenchError(f"{where}: {key}.{name} must be positive, not {weight}")
    if not 0 <= recipe.seed <= LARGEST_SEED:
        raise MaskbenchError(f"{where}: seed must lie between 0 and {LARGEST_SEED}, not {recipe.seed}")
