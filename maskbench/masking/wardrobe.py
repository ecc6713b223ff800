"""A recipe bound to the masks at hand: which ones a face wears, in which colour, style and size.

Every draw is a race: each candidate gets an exponential waiting time with its weight as rate, from a hash of seed,
path and its own name, and the shortest wins. So neither the order of the work nor the number of workers matters, and a
candidate that is added changes only those faces that it wins; all others keep what they wore.

Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97, 2006.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from maskbench.digest import generator
from maskbench.errors import MaskbenchError
from maskbench.masking.assets import select_assets
from maskbench.masking.recipes import Recipe, Slot
from maskbench.types import MaskAsset

Weights = Mapping[str, float]
Sizes = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Choice:
    """What one slot of a face wears."""

    asset: MaskAsset
    colour: str
    style: str
    size: float
    entry: str


@dataclass(frozen=True)
class Garment:
    """A mask of a slot, with the weights of the colours and styles that it has."""

    asset: MaskAsset
    colours: Weights
    styles: Weights


@dataclass(frozen=True, eq=False)
class Wardrobe:
    """A recipe and, for each of its entries that can be worn, the masks of each slot by id.

    ``measured`` has sizes that are known already, as ``sizes`` gives them.
    """

    recipe: Recipe
    entries: Mapping[str, tuple[Mapping[str, Garment], ...]]
    measured: Sizes = field(default_factory=dict)

    @classmethod
    def open(cls, recipe: Recipe, masks_dirs: Sequence[Path | str] = (), measured: Sizes | None = None) -> Wardrobe:
        """Bind a recipe to the shipped masks and those of further folders.

        Raises:
            MaskbenchError: a mask that it names does not exist, or a slot selects none.
        """
        slots = [slot for entry in recipe.mix for slot in entry.wear]
        # Only what is named is loaded, where everything is named.
        names = ",".join(sorted({name for slot in slots for name in slot.masks})) if all(s.masks for s in slots) else ""
        return cls.bind(recipe, select_assets(names or "all", *map(Path, masks_dirs)), measured)

    @classmethod
    def bind(cls, recipe: Recipe, assets: Sequence[MaskAsset], measured: Sizes | None = None) -> Wardrobe:
        """Bind a recipe to masks. Raises MaskbenchError if a slot selects none of them."""
        entries: dict[str, tuple[Mapping[str, Garment], ...]] = {}
        for entry in recipe.mix:
            slots = tuple(_garments(slot, assets, recipe) for slot in entry.wear)
            if all(slots):
                entries[entry.name] = slots
                continue
            if not recipe.options:
                slot = entry.wear[[bool(garments) for garments in slots].index(False)]
                raise MaskbenchError(f'recipe {recipe.name}, entry "{entry.name}": {_nothing((slot,), assets)}')
        if not entries:  # a caller's options may leave some entries without a mask, not all
            slots = tuple(slot for entry in recipe.mix for slot in entry.wear)
            raise MaskbenchError(f"recipe {recipe.name}: {_nothing(slots, assets)}")
        return cls(recipe, entries, measured or {})

    @cached_property
    def weights(self) -> Weights:
        """The weight of each entry that can be worn."""
        return {entry.name: entry.weight for entry in self.recipe.mix if entry.name in self.entries}

    @cached_property
    def assets(self) -> list[MaskAsset]:
        """Every mask that may be drawn, sorted by id."""
        found = {name: g.asset for slots in self.entries.values() for slot in slots for name, g in slot.items()}
        return [found[name] for name in sorted(found)]

    def choose(self, seed: int, *parts: str) -> list[Choice]:
        """What the face that ``parts`` name wears, in drawing order."""
        entry = pick(self.weights, seed, *parts, "entry")
        return [self._wear(entry, k, seed, *parts, str(k)) for k in range(len(self.entries[entry]))]

    def _wear(self, entry: str, number: int, seed: int, *parts: str) -> Choice:
        slot = self.entries[entry][number]
        name = pick(dict.fromkeys(slot, 1.0), seed, *parts, "mask")
        garment = slot[name]
        style = pick(garment.styles, seed, *parts, name, "style")
        if garment.colours:
            colour = pick(garment.colours, seed, *parts, name, "colour")
        else:
            wear = next(item for item in self.recipe.mix if item.name == entry).wear
            colour = random_colour(*wear[number].rgb, seed, *parts, name)
        return Choice(garment.asset, colour, style, self.size(garment.asset, style, len(self.entries[entry])), entry)

    def size(self, asset: MaskAsset, style: str = "correct", together: int = 1) -> float:
        """The size at which a mask reaches its part of the recipe's fraction; 1 without one.

        Args:
            together: how many masks a face wears; each covers its equal part.

        Raises:
            MaskbenchError: no size reaches it.
        """
        if self.recipe.fraction is None:
            return 1.0
        known = self.measured.get(asset.asset_id, {}).get(_worn(style, together))
        if known is not None:
            return known
        from maskbench.masking.sizing import size_for_fraction

        return size_for_fraction(asset, self.recipe.fraction / together, style)

    def sizes(self) -> dict[str, dict[str, float]]:
        """The size of every mask that may be drawn, by id and way of wearing; nothing without a fraction.

        Raises:
            MaskbenchError: no size reaches a mask's part of the fraction.
        """
        found: dict[str, dict[str, float]] = {}
        for slots in self.entries.values() if self.recipe.fraction is not None else ():
            for garment in (garment for slot in slots for garment in slot.values()):
                ways = found.setdefault(garment.asset.asset_id, {})
                ways |= {
                    _worn(style, len(slots)): self.size(garment.asset, style, len(slots)) for style in garment.styles
                }
        return found


def _worn(style: str, together: int) -> str:
    return style if together == 1 else f"{style}, one of {together}"


def unit(seed: int, *parts: str) -> float:
    """A number in the open interval 0 to 1 that depends on ``seed`` and ``parts`` alone, of 53 bits."""
    return _fraction(hashlib.sha256(_key(seed, parts)))


def pick(weights: Weights, seed: int, *parts: str) -> str:
    """Draw a name with a probability proportional to its weight: a race by ``unit(seed, *parts, name)``."""
    if len(weights) == 1:
        return next(iter(weights))
    shared = hashlib.sha256(_key(seed, parts) + b"\0")
    times = []
    for name, weight in weights.items():
        own = shared.copy()
        own.update(name.encode("utf-8", "surrogateescape"))
        times.append((-math.log(_fraction(own)) / weight, name))
    return min(times)[1]


def _key(seed: int, parts: Sequence[str]) -> bytes:
    return "\0".join([str(seed), *parts]).encode("utf-8", "surrogateescape")


def _fraction(digest: hashlib._Hash) -> float:
    return ((int.from_bytes(digest.digest()[:8], "little") >> 11) + 0.5) / 2**53


def random_colour(low: Sequence[int], high: Sequence[int], seed: int, *parts: str) -> str:
    """A colour "#rrggbb" whose channels are drawn uniformly from ``low`` to ``high``, both included."""
    rng = generator(seed, *parts, "colour")
    red, green, blue = (int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _garments(slot: Slot, assets: Sequence[MaskAsset], recipe: Recipe) -> dict[str, Garment]:
    """The masks that a slot may draw, by id."""
    found = {}
    for asset in assets:
        if not _selected(slot, asset):
            continue
        garment = Garment(asset, _colours(slot, asset), _among(slot.styles, asset.styles))
        if garment.styles and (garment.colours or slot.rgb):
            found[asset.asset_id] = garment
        elif slot.masks and ("mask" in recipe.options or not recipe.options):
            # One that was asked for by name is not left out in silence.
            raise MaskbenchError(f"recipe {recipe.name}: {_unfit(slot, garment)}")
    return found


def _selected(slot: Slot, asset: MaskAsset) -> bool:
    single = (
        (slot.masks, asset.asset_id), (slot.category, asset.category), (slot.kind, asset.kind),
        (slot.coverage, asset.coverage), (slot.shape, asset.shape),
    )  # fmt: skip
    if any(wanted and value not in wanted for wanted, value in single):
        return False
    hidden = set(asset.regions)
    return asset.kind not in slot.not_kind and (
        not slot.regions or any(set(combination.split("+")) == hidden for combination in slot.regions)
    )


def _colours(slot: Slot, asset: MaskAsset) -> dict[str, float]:
    if slot.rgb:
        return {}
    if not slot.colours:
        return dict.fromkeys(sorted(asset.colourways), 1.0)
    free = [name for name in slot.colours if name.startswith("#")]
    return _among(slot.colours, [*asset.colourways, *free])


def _among(weights: Weights, known: Sequence[str]) -> dict[str, float]:
    return {name: weight for name, weight in weights.items() if name in known}


def _unfit(slot: Slot, garment: Garment) -> str:
    asset, what, wanted, known = garment.asset, "style", slot.styles, garment.asset.styles
    if garment.styles:
        what, wanted, known = "colour", slot.colours, tuple(garment.asset.colourways)
    return f"mask {asset.asset_id} has no {what} {' or '.join(wanted)}; it has {', '.join(sorted(known))}"


def _nothing(slots: Sequence[Slot], assets: Sequence[MaskAsset]) -> str:
    """Why slots select no mask, and what there is."""
    chosen = [asset for asset in assets if any(_selected(slot, asset) for slot in slots)]
    if not chosen:
        wanted = " / ".join(dict.fromkeys(slot.described() for slot in slots))
        kinds = ", ".join(sorted({asset.kind for asset in assets}))
        return f"no mask is {wanted}; there are the kinds {kinds}; add masks with --masks-dir"
    wanted = " or ".join(dict.fromkeys(name for slot in slots for name in slot.colours)) or "any"
    worn = " or ".join(dict.fromkeys(name for slot in slots for name in slot.styles))
    colours = sorted({name for asset in chosen for name in asset.colourways})
    styles = sorted({name for asset in chosen for name in asset.styles})
    return (
        f"none of its masks has the colour {wanted} and the style {worn}; "
        f"there are the colours {', '.join(colours)} and the styles {', '.join(styles)}"
    )
