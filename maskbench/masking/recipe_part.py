"""One entry of a recipe, in one colour: "nist6b:wide-high:black" is nist6b's wide-high, always black."""

from __future__ import annotations

from dataclasses import replace

from maskbench.errors import MaskbenchError
from maskbench.masking.recipes import Recipe
from maskbench.registry import nearest


def select_part(recipe: Recipe, part: str) -> Recipe:
    """The recipe with a single entry, and a single colour if one is named.

    Args:
        part: the name of an entry, or "ENTRY:COLOUR".

    Returns:
        A recipe called "RECIPE:PART"; jitter, seeds and fraction are those of the whole.

    Raises:
        MaskbenchError: the recipe has no such entry, or the entry no such colour.
    """
    name, _, colour = part.partition(":")
    entries = {entry.name: entry for entry in recipe.mix}
    if name not in entries:
        raise MaskbenchError(f'recipe {recipe.name} has no entry "{name}"; {nearest(name, entries)}')
    entry = entries[name]
    if colour:
        for slot in entry.wear:
            if colour not in slot.colours:
                raise MaskbenchError(
                    f'recipe {recipe.name}, entry {name}: no colour "{colour}"; {nearest(colour, slot.colours)}'
                )
        entry = replace(entry, wear=tuple(replace(slot, colours={colour: 1.0}) for slot in entry.wear))
    return replace(recipe, name=f"{recipe.name}:{part}", mix=(entry,))
