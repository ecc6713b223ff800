"""Read and check a recipe's YAML file: every key and every word is known, and every message names file and line."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from maskbench.errors import MaskbenchError
from maskbench.masking.assets import CATEGORIES, REGIONS
from maskbench.masking.nist import COVERAGES, SHAPES
from maskbench.masking.placement import Jitter
from maskbench.masking.recipes import SEEDS, Entry, Recipe, Slot, checked_fraction
from maskbench.masking.wearing import STYLES
from maskbench.registry import nearest
from maskbench.tables import read_text, yaml_complaint

TEXTS = ("name", "description", "source")
REQUIRED = (*TEXTS, "version", "seeds", "mix")
KNOWN = (*REQUIRED, "fraction", "jitter")
ENTRY = ("name", "weight", "wear")
SELECTIONS = ("masks", "category", "kind", "regions", "coverage", "shape", "not_kind")
SLOT = (*SELECTIONS, "colours", "styles")
WORDS: dict[str, Sequence[str]] = {"category": CATEGORIES, "coverage": COVERAGES, "shape": SHAPES, "style": STYLES}
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FREE_COLOUR = re.compile(r"#[0-9a-f]{6}")
LARGEST_SEED = 2**31 - 1


class _Table(dict):
    """A mapping of a YAML file that knows its file and line, and where each of its keys stands."""

    path: Path
    line: int
    lines: dict[str, int]

    def fail(self, message: str, key: str | None = None) -> NoReturn:
        raise MaskbenchError(f"{self.path}:{self.lines.get(key, self.line) if key else self.line}: {message}")


def read_recipe(path: Path) -> Recipe:
    """Read one recipe. Raises MaskbenchError, "FILE:LINE: ...", for whatever is wrong with the file."""
    table = _load(path)
    _check_keys(table, KNOWN, REQUIRED, "a recipe")
    for key in TEXTS:
        if not isinstance(table[key], str) or not table[key].strip():
            table.fail(f"{key} must be a text", key)
    if not NAME.fullmatch(table["name"]):
        table.fail(f"name {table['name']!r} must be lower-case letters, digits and hyphens", "name")
    if type(table["version"]) is not int or table["version"] < 1:
        table.fail(f"version {table['version']!r} must be a whole number from 1", "version")
    mix = tuple(_entry(item, table) for item in _list(table, "mix"))
    names = [entry.name for entry in mix]
    for name in names:
        if names.count(name) > 1:
            table.fail(f'two entries are named "{name}"; rename one', "mix")
    where = f"{path}:{table.lines.get('fraction', 1)}: fraction"
    fraction = checked_fraction(table["fraction"], where) if "fraction" in table else None
    return Recipe(
        table["name"], table["version"], table["description"].strip(), table["source"].strip(), _seeds(table), mix,
        fraction, _jitter(table),
    )  # fmt: skip


def check_words(key: str, values: Collection[str], where: str) -> None:
    """Raise MaskbenchError unless every value is known where the values of ``key`` are a closed list."""
    for value in values:
        if key == "colour" and value.startswith("#") and not FREE_COLOUR.fullmatch(value):
            raise MaskbenchError(f'{where}: "{value}" is no colour; give "#rrggbb" in lower-case hexadecimal digits')
        if key == "regions" and not (set(value.split("+")) <= set(REGIONS)):
            raise MaskbenchError(f'{where}: no region "{value}"; known: {", ".join(REGIONS)}, joined by "+"')
        if key in WORDS and value not in WORDS[key]:
            raise MaskbenchError(f'{where}: no {key} "{value}"; {nearest(value, WORDS[key])}')


def _load(path: Path) -> _Table:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # compiled, where PyYAML came with it
        """Mappings become ``_Table``; a key that is repeated is an error, not silently the last one's value."""

    def mapping(loader: Any, node: Any) -> _Table:
        table = _Table()
        table.path, table.line, table.lines = path, node.start_mark.line + 1, {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                table.fail(f"key {key!r} must be a text")
            if key in table:
                raise MaskbenchError(f"{path}:{key_node.start_mark.line + 1}: {key!r} is already on line "
                                     f"{table.lines[key]}; leave one out")  # fmt: skip
            table[key], table.lines[key] = loader.construct_object(value_node, deep=True), key_node.start_mark.line + 1
        return table

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        table = yaml.load(read_text(path, MaskbenchError), Loader=Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        raise MaskbenchError(yaml_complaint(path, error)) from error
    if not isinstance(table, _Table):
        raise MaskbenchError(f"{path}:1: not a recipe; expected keys and values, see docs/recipes.md")
    return table


def _check_keys(table: _Table, known: Collection[str], required: Collection[str], what: str) -> None:
    for key in table:
        if key not in known:
            table.fail(f"unknown key {key!r} of {what}; {nearest(key, known)}", key)
    for key in required:
        if key not in table:
            table.fail(f"{key!r} of {what} is missing; needed: {', '.join(required)}")


def _list(table: _Table, key: str) -> list:
    if not isinstance(table[key], list) or not table[key]:
        table.fail(f"{key} must be a list that is not empty", key)
    return table[key]


def _seeds(table: _Table) -> tuple[int, ...]:
    seeds = _list(table, "seeds")
    valid = all(type(seed) is int and 0 <= seed <= LARGEST_SEED for seed in seeds)
    if not valid or len(seeds) != SEEDS or len(set(seeds)) != SEEDS:
        table.fail(f"seeds must be {SEEDS} different whole numbers from 0 to {LARGEST_SEED}", "seeds")
    return tuple(seeds)


def _number(value: Any, table: _Table, key: str, what: str, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
        table.fail(f"{what} must be a number, {least:g} or more, not {value!r}", key)
    return float(value)


def _jitter(table: _Table) -> Jitter:
    if "jitter" not in table:
        return Jitter()
    given, known = table["jitter"], [field.name for field in fields(Jitter)]
    if not isinstance(given, _Table):
        table.fail(f"jitter must map some of {', '.join(known)} to numbers", "jitter")
    _check_keys(given, known, (), "jitter")
    return Jitter(**{key: _number(value, given, key, key) for key, value in given.items()})


def _entry(item: Any, parent: _Table) -> Entry:
    if not isinstance(item, _Table):
        parent.fail(f"an entry of mix must have {', '.join(ENTRY)}, not be {item!r}", "mix")
    _check_keys(item, ENTRY, ENTRY, "an entry of mix")
    if not isinstance(item["name"], str) or not item["name"]:
        item.fail("an entry's name must be a text", "name")
    weight = _number(item["weight"], item, "weight", "weight")
    if not weight:
        item.fail("weight must be more than 0; leave the entry out", "weight")
    return Entry(item["name"], weight, tuple(_slot(slot, item) for slot in _list(item, "wear")))


def _slot(item: Any, parent: _Table) -> Slot:
    if not isinstance(item, _Table):
        parent.fail(f"a slot must say which masks, by some of {', '.join(SELECTIONS)}, not be {item!r}", "wear")
    _check_keys(item, SLOT, (), "a slot")
    values: dict[str, Any] = {key: _selection(item, key) for key in SELECTIONS if key in item}
    if "styles" in item:
        values["styles"] = _weights(item, "styles", "style")
    if "colours" in item:
        colours = item["colours"]
        if isinstance(colours, _Table) and "rgb" in colours:
            _check_keys(colours, ("rgb",), (), "random colours")
            values["rgb"] = _rgb(colours)
        else:
            values["colours"] = _weights(item, "colours", "colour")
    return Slot(**values)


def _selection(item: _Table, key: str) -> tuple[str, ...]:
    values = [item[key]] if isinstance(item[key], str) else item[key]
    if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
        item.fail(f"{key} must be a text or a list of texts", key)
    check_words(key, values, f"{item.path}:{item.lines[key]}")
    return tuple(values)


def _weights(item: _Table, key: str, word: str) -> dict[str, float]:
    table = item[key]
    if not isinstance(table, _Table) or not table:
        item.fail(f"{key} must map names to weights, such as {{white: 1}}", key)
    check_words(word, table, f"{table.path}:{table.line}")
    found = {name: _number(weight, table, name, f"the weight of {name}") for name, weight in table.items()}
    if not all(found.values()):
        table.fail("a weight must be more than 0; leave the name out")
    return found


def _rgb(colours: _Table) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    ends = colours["rgb"]
    if not isinstance(ends, _Table):
        colours.fail("rgb must be {low: [R, G, B], high: [R, G, B]}", "rgb")
    _check_keys(ends, ("low", "high"), ("low", "high"), "rgb")
    for key in ("low", "high"):
        valid = isinstance(ends[key], list) and len(ends[key]) == 3
        if not valid or not all(type(value) is int and 0 <= value <= 255 for value in ends[key]):
            ends.fail(f"{key} must be three whole numbers from 0 to 255", key)
    if any(low > high for low, high in zip(ends["low"], ends["high"], strict=True)):
        ends.fail("low is above high; swap them", "low")
    return tuple(ends["low"]), tuple(ends["high"])
