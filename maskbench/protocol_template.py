"""Templates of protocols: what a published protocol is, and how its tables are made from pictures that a user has.

The pictures and pair lists of others are not ours to ship, so ``protocols/NAME/template.yaml`` says where they are to
be had and which maker turns them into tables; see docs/protocols.md for every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from maskbench.errors import ProtocolError
from maskbench.protocol_build import Locator, check_header
from maskbench.protocol_draft import SIDES
from maskbench.protocol_yaml import read_mapping
from maskbench.registry import nearest

TEMPLATE = "template.yaml"
_SHIPPED = "maskbench.protocol_data"
TEXTS = ("title", "description", "source", "licence", "data")
LISTS = ("conditions", "metrics", "deviations", "not_stated")
TABLES = ("options", "masking", "counts_expected", "data_counts", "variants")
REQUIRED = ("format_version", "name", "version", *TEXTS, "maker", "conditions", "threshold_from", "metrics")
KNOWN = (*REQUIRED, "options", "masking", "masks", "counts_expected", "data_counts", "variants", "deviations",
         "not_stated")  # fmt: skip
VARIANT_KEYS = ("title", "options", "masking", "conditions", "threshold_from", "counts_expected")
COUNTS = ("samples", "subjects", "pairs", "mated", "non_mated", "folds")
MASKS = ("none", "synthetic", "real", "included")


@dataclass(frozen=True)
class Template:
    """One ``template.yaml``.

    Attributes:
        title, description, source, licence: text for readers; data: where users get the pictures.
        maker: the name of what makes the tables, and ``options`` its defaults.
        conditions: those that the maker writes; threshold_from: one of them.
        masks: "none", "synthetic" (made by ``maskbench synthesize``), "real" (worn) or "included" (pasted by the
            source and part of its data).
        masking: recipe, version and seed of synthetic masks.
        metrics: the figures of ``result.json`` that the protocol is about.
        counts_expected: counts of the whole protocol as a source states them; they are compared with what is made.
        data_counts: what a source says of its data.
        variants: name to the keys that it replaces.
        deviations: where we differ from the source; not_stated: what the source does not say.
    """

    name: str
    version: int
    title: str
    description: str
    source: str
    licence: str
    data: str
    maker: str
    conditions: tuple[str, ...]
    threshold_from: str
    metrics: tuple[str, ...]
    masks: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    masking: Mapping[str, Any] = field(default_factory=dict)
    counts_expected: Mapping[str, int] = field(default_factory=dict)
    data_counts: Mapping[str, int] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    not_stated: tuple[str, ...] = ()

    def variant(self, name: str | None) -> Template:
        """The template with one variant's keys in place, called after it. None is right where there are no variants.

        Raises:
            ProtocolError: no such variant, or one has to be chosen.
        """
        if name is None and not self.variants:
            return self
        if name not in self.variants:
            asked = f"no variant {name!r}" if name is not None else "choose a variant with --variant"
            raise ProtocolError(f"{self.name}: {asked}; {nearest(str(name or ''), self.variants)}")
        keys = dict(self.variants[name])
        merged = {key: {**getattr(self, key), **keys.pop(key, {})} for key in ("options", "counts_expected")}
        if "conditions" in keys:
            keys["conditions"] = tuple(keys["conditions"])
        return replace(self, name=f"{self.name}-{name}", variants={}, **keys, **merged)


def shipped_templates() -> dict[str, Path]:
    """The templates that came with the package, name to file, sorted."""
    try:
        root = Path(str(resources.files(_SHIPPED)))
    except ModuleNotFoundError:
        return {}
    return {path.parent.name: path for path in sorted(root.glob(f"*/{TEMPLATE}"))}


def load_template(name_or_path: str | Path) -> Template:
    """Read and check a template, given by its name or by the path of a YAML file.

    Raises:
        ProtocolError: no such template, or "FILE:LINE: ..." for whatever is wrong with the file.
    """
    shipped, path = shipped_templates(), Path(name_or_path)
    if str(name_or_path) in shipped:
        path = shipped[str(name_or_path)]
    elif path.suffix not in (".yaml", ".yml"):
        raise ProtocolError(f"no protocol template named {str(name_or_path)!r}; {nearest(str(name_or_path), shipped)}")
    table, where = read_mapping(path, KNOWN, REQUIRED)
    _check(table, where)
    fields = {key: value for key, value in table.items() if key != "format_version"}
    return Template(**fields | {key: tuple(table.get(key) or ()) for key in LISTS})


def _check(table: Mapping[str, Any], where: Locator) -> None:
    check_header(table, where)  # format version, name, version, texts and masking are as in protocol.yaml
    for key in (*TEXTS, "maker", "threshold_from"):
        if not isinstance(table[key], str) or not table[key].strip():
            raise ProtocolError(f"{where(key)}: {key} must be text")
    for key in LISTS:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ProtocolError(f"{where(key)}: {key} must be a list of texts")
    for key in TABLES:
        if not isinstance(table.get(key, {}), dict):
            raise ProtocolError(f"{where(key)}: {key} must be a table")
    if table.get("masks", "none") not in MASKS:
        raise ProtocolError(f"{where('masks')}: masks {table['masks']!r}; {nearest(str(table['masks']), MASKS)}")
    _check_conditions(table, where("conditions"), where("threshold_from"))
    _check_counts(table.get("counts_expected", {}), where("counts_expected"))
    for name, variant in table.get("variants", {}).items():
        _check_variant(str(name), variant, table, where("variants"))


def _check_variant(name: str, variant: Any, table: Mapping[str, Any], where: str) -> None:
    if not isinstance(variant, dict):
        raise ProtocolError(f"{where}: variant {name!r} must be a table")
    for key in variant:
        if key not in VARIANT_KEYS:
            raise ProtocolError(f"{where}: variant {name!r}: unknown key {key!r}; {nearest(str(key), VARIANT_KEYS)}")
    whole = {**table, **variant, "name": f"{table['name']}-{name}"}
    check_header(whole, lambda key: f"{where}: variant {name!r}")
    _check_conditions(whole, where, where)
    _check_counts(whole.get("counts_expected", {}), where)


def _check_conditions(table: Mapping[str, Any], where: str, threshold: str) -> None:
    conditions = table["conditions"]
    for value in conditions:
        if value not in SIDES:
            raise ProtocolError(f"{where}: no condition {value!r}; {nearest(str(value), SIDES)}")
    if table["threshold_from"] not in conditions:
        raise ProtocolError(f"{threshold}: threshold_from {table['threshold_from']!r} is none of {conditions}")


def _check_counts(counts: Mapping[str, Any], where: str) -> None:
    for key, value in counts.items():
        if key not in COUNTS:
            raise ProtocolError(f"{where}: unknown count {key!r}; {nearest(str(key), COUNTS)}")
        if type(value) is not int or value < 0:
            raise ProtocolError(f"{where}: {key} is {value!r}; write a whole number")
