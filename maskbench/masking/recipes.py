"""Recipes: what masks a run draws from, how often, in which colours and styles; see docs/recipes.md for the format.

A recipe is data. It says nothing about the masks that happen to be installed; ``wardrobe.Wardrobe`` binds it to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.masking.placement import Jitter
from maskbench.registry import nearest

DEFAULT = "worn"
SEEDS = 5  # of every recipe: enough to measure the spread between maskings
Weights = Mapping[str, float]


@dataclass(frozen=True)
class Slot:
    """One mask of a face. Every selection that is not empty must hold; the mask is drawn uniformly from those left.

    Attributes:
        masks: asset ids, each of which must exist and be fit for the colours and styles.
        category, kind, coverage, shape: values of the asset's keys of that name, any of which will do.
        regions: combinations such as "lower" or "eye+lower", one of which must be all that the mask hides.
        not_kind: kinds that are left out.
        colours: weights by colourway; none for a uniform draw from the mask's own.
        rgb: the lowest and the highest value of a random colour's channels, instead of ``colours``.
        styles: weights by wearing style.
    """

    masks: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    shape: tuple[str, ...] = ()
    not_kind: tuple[str, ...] = ()
    colours: Weights = field(default_factory=dict)
    rgb: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
    styles: Weights = field(default_factory=lambda: {"correct": 1.0})

    def described(self) -> str:
        """The selections, for messages."""
        parts = [
            f"{name.replace('_', ' ')} {' or '.join(values)}"
            for name in ("masks", "category", "kind", "regions", "coverage", "shape", "not_kind")
            if (values := getattr(self, name))
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class Entry:
    """What one face may wear, the first slot's mask drawn first, and how often relative to the other entries."""

    name: str
    weight: float
    wear: tuple[Slot, ...]


@dataclass(frozen=True)
class Recipe:
    """A distribution over masks.

    Attributes:
        source: the paper, and what of it is our reading.
        seeds: five seeds; one for a protocol, all for the spread between maskings.
        fraction: the mean share of the face oval that the masks of a face are to cover, or None for their own size.
        options: what a caller asked for: "mask", "colour", "style", "fraction", ... to its values.
    """

    name: str
    version: int
    description: str
    source: str
    seeds: tuple[int, ...]
    mix: tuple[Entry, ...]
    fraction: float | None = None
    jitter: Jitter = field(default_factory=Jitter)
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe, JSON-like: what ``synthesis.json`` records."""
        return _json(self)

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides the draws; the describing texts are left out."""
        return config_sha256({k: v for k, v in self.to_dict().items() if k not in ("description", "source")})


def _json(value: Any) -> Any:
    """Dataclasses, mappings and tuples as dicts and lists."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, (tuple, list)) else value


def list_recipes() -> dict[str, Path]:
    """The recipes that come with maskbench, name to file."""
    root = Path(str(package_files("maskbench.data"))) / "recipes"
    return {path.stem: path for path in sorted(root.glob("*.yaml"))}


def load_recipe(name_or_path: str | Path, version: int | None = None) -> Recipe:
    """Load a shipped recipe by its name, or a file by its path.

    Args:
        name_or_path: a recipe's name or file; "NAME:ENTRY" or "NAME:ENTRY:COLOUR" for one entry of a shipped recipe.
        version: the version that a protocol is made for.

    Raises:
        MaskbenchError: no such recipe, another version than the wanted one, or a malformed file; the message is
            "FILE:LINE: ..." and has the nearest known word.
    """
    from maskbench.masking.recipe_file import read_recipe
    from maskbench.masking.recipe_part import select_part

    shipped, path = list_recipes(), Path(name_or_path)
    name, _, part = str(name_or_path).partition(":")
    if part and name in shipped:
        return select_part(load_recipe(name, version), part)
    if str(name_or_path) in shipped:
        path = shipped[str(name_or_path)]
    elif path.suffix not in (".yaml", ".yml"):
        hint = nearest(str(name_or_path), shipped)
        raise MaskbenchError(f'no recipe named "{name_or_path}"; {hint}; or give a file that ends in .yaml')
    recipe = read_recipe(path)
    if version is not None and recipe.version != version:
        raise MaskbenchError(
            f"{path}: recipe {recipe.name} has version {recipe.version}, version {version} is wanted; "
            "use the maskbench release that has it"
        )
    return recipe


def resolve_recipe(
    mask: str | None = None, recipe: str | Path | Recipe | None = None, coverage: Sequence[str] | str = (),
    shape: Sequence[str] | str = (), colour: Sequence[str] | str = (), style: Sequence[str] | str = (),
    fraction: float | None = None,
) -> Recipe:  # fmt: skip
    """The one recipe that a call's options mean.

    Args:
        mask: asset ids separated by commas, or "all": drawn uniformly, instead of a recipe.
        recipe: a shipped recipe's name, a file, or a recipe; without ``mask``, ``coverage`` and ``shape``: "worn".
        coverage, shape: "high", "medium", "low" and "wide", "round": only masks that are defined so.
        colour, style: colourways or "#rrggbb", and wearing styles, drawn uniformly instead of the recipe's own.
        fraction: the mean share of the face oval to cover, in place of the recipe's.

    Raises:
        MaskbenchError: options that contradict each other, or values that do not exist.
    """
    from maskbench.masking.recipe_file import check_words

    options: dict[str, Any] = {
        key: words(value)
        for key, value in (("coverage", coverage), ("shape", shape), ("colour", colour), ("style", style))
        if words(value)
    }
    for key, values in options.items():
        check_words(key, values, f"--{key}")
    if fraction is not None:
        options["fraction"] = checked_fraction(fraction, "--fraction")
    shapes = {key: options[key] for key in ("coverage", "shape") if key in options}
    if recipe is not None and (mask is not None or shapes):
        other = "--mask" if mask is not None else f"--{next(iter(shapes))}"
        raise MaskbenchError(f"--recipe and {other} exclude each other: a recipe says what masks it has; leave one out")
    if mask is not None:
        options["mask"] = words(mask)
    if mask is None and not shapes:
        base = recipe if isinstance(recipe, Recipe) else load_recipe(recipe or DEFAULT)
    else:
        base = _of_masks(mask, shapes)
    return _changed(base, options)


def words(value: Sequence[str] | str) -> tuple[str, ...]:
    """Words given as one text with commas, or as several; repeated ones once, in order."""
    parts = value.split(",") if isinstance(value, str) else [word for item in value for word in item.split(",")]
    return tuple(dict.fromkeys(word.strip() for word in parts if word.strip()))


def checked_fraction(value: Any, where: str) -> float:
    """``value`` as a share of the face. Raises MaskbenchError unless it lies between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1 or math.isnan(value):
        raise MaskbenchError(f"{where}: {value!r} is no share of the face; give a number between 0 and 1, such as 0.2")
    return float(value)


def _of_masks(mask: str | None, shapes: Mapping[str, tuple[str, ...]]) -> Recipe:
    """A recipe of one entry: the named masks, or those of a standard's shape, or every one."""
    names = () if mask is None or mask.strip() == "all" else tuple(sorted(words(mask)))
    if not names and mask is not None and mask.strip() != "all":
        raise MaskbenchError("no mask given; name one, or use --mask all")
    entry = Entry("masks", 1.0, (Slot(masks=names, **shapes),))
    return Recipe("masks", 1, "The masks that were asked for, drawn uniformly.", "none", tuple(range(SEEDS)), (entry,))


def _changed(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """A recipe with other colours, styles or another fraction."""
    if not options:
        return recipe
    change: dict[str, Any] = {}
    if "colour" in options:
        change |= {"colours": dict.fromkeys(options["colour"], 1.0), "rgb": None}
    if "style" in options:
        change["styles"] = dict.fromkeys(options["style"], 1.0)
    mix = tuple(replace(entry, wear=tuple(replace(slot, **change) for slot in entry.wear)) for entry in recipe.mix)
    return replace(recipe, mix=mix, fraction=options.get("fraction", recipe.fraction), options=dict(options))
