"""What a recipe draws: frequencies, independence of order, and how little an added mask changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from maskbench.errors import MaskbenchError
from maskbench.masking.assets import select_assets
from maskbench.masking.recipes import Entry, Recipe, Slot, list_recipes, load_recipe, resolve_recipe
from maskbench.masking.wardrobe import Wardrobe, pick, unit

SAMPLES = 10_000
# Of true weights a p-value this small turns up once in 100,000 tests; there are a few hundred here.
LEAST_P = 1e-5


def fits(counts: Counter, weights: dict) -> None:
    """A chi-square test of counts against weights, cells without weight included: they must be empty."""
    assert set(counts) <= set(weights), f"drawn without a weight: {set(counts) - set(weights)}"
    total = sum(counts.values())
    expected = np.array([weights[name] for name in weights], float)
    expected *= total / expected.sum()
    if len(expected) > 1 and expected.min() >= 5:
        observed = np.array([counts[name] for name in weights])
        assert chisquare(observed, expected).pvalue > LEAST_P, (counts, weights)


def bound(name: str) -> Wardrobe:
    """A shipped recipe without its fraction: sizes are measured, not drawn."""
    return Wardrobe.open(replace(load_recipe(name), fraction=None))


@pytest.mark.parametrize("name", sorted(list_recipes()))
def test_ten_thousand_samples_match_the_weights(name):
    wardrobe = bound(name)
    recipe = wardrobe.recipe
    drawn = [wardrobe.choose(7, f"{number}.png") for number in range(SAMPLES)]
    entries = {entry.name: entry for entry in recipe.mix}
    fits(Counter(choices[0].entry for choices in drawn), {entry.name: entry.weight for entry in recipe.mix})
    for entry in entries.values():
        mine = [choices for choices in drawn if choices[0].entry == entry.name]
        for number, slot in enumerate(entry.wear):
            choices = [row[number] for row in mine]
            garments = wardrobe.entries[entry.name][number]
            fits(Counter(c.asset.asset_id for c in choices), dict.fromkeys(garments, 1.0))
            for asset_id, garment in garments.items():
                worn = [c for c in choices if c.asset.asset_id == asset_id]
                fits(Counter(c.style for c in worn), dict(garment.styles))
                if slot.rgb is None:
                    fits(Counter(c.colour for c in worn), dict(garment.colours))
                assert set(garment.styles) <= set(garment.asset.styles)


def test_the_shares_of_styles_are_those_of_the_recipe():
    wardrobe = bound("styles")
    drawn = [wardrobe.choose(1, str(number))[0].style for number in range(SAMPLES)]
    fits(Counter(drawn), {"correct": 0.6, "under-nose": 0.2, "mouth-only": 0.1, "under-chin": 0.1})


def test_categories_of_the_deocclusion_recipe_come_equally_often():
    wardrobe = bound("deocclusion")
    drawn = [wardrobe.choose(2, str(number))[0].asset.category for number in range(SAMPLES)]
    fits(Counter(drawn), dict.fromkeys(("simple", "complex", "human-body", "hybrid"), 1.0))


@pytest.mark.parametrize("number", range(1, 8))
def test_occlusion_codes_wear_masks_that_hide_their_regions(number):
    wardrobe = bound(f"ocfr-o{number}")
    for sample in range(400):
        choices = wardrobe.choose(3, str(sample))
        hidden = set().union(*(choice.asset.regions for choice in choices))
        entry = next(entry for entry in wardrobe.recipe.mix if entry.name == choices[0].entry)
        wanted = {slot.regions[0] for slot in entry.wear}
        assert wanted <= hidden <= wanted | {"eye"}
        assert len(choices) == len(wanted) and {choice.entry for choice in choices} == {entry.name}


def test_random_colours_fill_their_range_evenly():
    wardrobe = bound("maskinv")
    colours = [wardrobe.choose(4, str(number))[0].colour for number in range(SAMPLES)]
    channels = np.array([[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in colours])
    assert channels.min() == 23 and channels.max() == 172
    for channel in channels.T:
        counts, _ = np.histogram(channel, bins=15, range=(23, 173))
        assert chisquare(counts).pvalue > LEAST_P
    assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.05, "channels are drawn apart"


def test_a_draw_depends_on_seed_and_path_alone():
    wardrobe, again = bound("worn"), bound("worn")
    paths = [f"{number}.jpg" for number in range(200)]

    def key(choice):
        return choice.asset.asset_id, choice.colour, choice.style, choice.size, choice.entry

    forward = {path: [key(c) for c in wardrobe.choose(5, path)] for path in paths}
    backward = {path: [key(c) for c in again.choose(5, path)] for path in reversed(paths)}
    assert forward == backward
    other = {path: [key(c) for c in wardrobe.choose(6, path)] for path in paths}
    assert 50 < sum(forward[path] != other[path] for path in paths)
    assert wardrobe.choose(5, "a", "1") != wardrobe.choose(5, "a"), "a bystander wears something of its own"


def test_an_added_entry_or_mask_changes_only_the_faces_that_it_wins():
    slot = Slot(masks=("n95",))
    base = replace(load_recipe("lfw-masked"))
    more = replace(base, mix=(Entry("added", 2.0, (slot,)), *base.mix))
    before, after = Wardrobe.open(base), Wardrobe.open(more)
    same = won = 0
    for number in range(2000):
        (old,), (new,) = before.choose(0, str(number)), after.choose(0, str(number))
        won += new.entry == "added"
        same += (old.asset.asset_id, old.colour, old.style) == (new.asset.asset_id, new.colour, new.style)
        assert new.entry == "added" or new.entry == old.entry
    assert won == pytest.approx(2000 * 2 / 10, rel=0.15) and same >= 2000 - won
    few, many = (Wardrobe.open(resolve_recipe(mask=names)) for names in ("cloth,surgical", "cloth,n95,surgical"))
    for number in range(500):
        (old,), (new,) = few.choose(0, str(number)), many.choose(0, str(number))
        assert new.asset.asset_id == "n95" or (new.asset.asset_id, new.colour) == (old.asset.asset_id, old.colour)


def test_options_limit_what_is_drawn():
    drawn = [Wardrobe.open(resolve_recipe(colour="black")).choose(0, str(k))[0] for k in range(300)]
    assert {choice.colour for choice in drawn} == {"black"} and len({c.asset.asset_id for c in drawn}) > 3
    # Entries that have nothing to offer are left out.
    navy = Wardrobe.open(resolve_recipe(colour="navy"))
    assert set(navy.entries) == {"cloth"}
    free = Wardrobe.open(resolve_recipe(mask="n95", colour="#102030")).choose(0, "a")[0]
    assert free.colour == "#102030"
    shapes = Wardrobe.open(resolve_recipe(coverage="high", shape="wide"))
    assert [asset.asset_id for asset in shapes.assets] == ["nist-wide-high"]
    assert len(Wardrobe.open(resolve_recipe(coverage="high")).assets) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "surgical,n95", "colour": "black"}, "mask n95 has no colour black; it has teal, white"),
        ({"mask": "nist-wide-low", "style": "under-nose"}, "mask nist-wide-low has no style under-nose; it has"),
        ({"colour": "octarine"}, "recipe worn: none of its masks has the colour octarine and the style correct; there"),
        ({"colour": "octarine"}, "there are the colours .*black.* and the styles correct, .*under-nose"),
        ({"mask": "surgical", "shape": "wide"}, "no mask is masks surgical, shape wide; there are the kinds surgical"),
        ({"mask": "n59"}, 'no mask named "n59"; did you mean "n95"'),
    ],
)
def test_options_that_no_mask_fits(options, message):
    with pytest.raises(MaskbenchError, match=message):
        Wardrobe.open(resolve_recipe(**options))


def test_a_recipe_whose_slot_selects_nothing_is_refused():
    recipe = Recipe("mine", 1, "d", "s", (0, 1, 2, 3, 4), (Entry("hats", 1.0, (Slot(kind=("hat",)),)),))
    message = 'recipe mine, entry "hats": no mask is kind hat; there are the kinds surgical; add masks'
    with pytest.raises(MaskbenchError, match=message):
        Wardrobe.bind(recipe, select_assets("surgical"))


def test_selections_by_region_mean_all_that_a_mask_hides():
    plain = select_assets("surgical")[0]
    goggles = replace(plain, asset_id="goggles", regions=("upper", "eye"), kind="goggles")
    both = replace(plain, asset_id="hybrid", regions=("eye", "lower"), kind="hybrid")
    for regions, expected in ((("eye+upper",), ["goggles"]), (("lower",), ["surgical"]), (("eye",), []),
                              (("lower", "lower+eye"), ["hybrid", "surgical"])):  # fmt: skip
        recipe = Recipe("r", 1, "d", "s", (0, 1, 2, 3, 4), (Entry("e", 1.0, (Slot(regions=regions),)),))
        if not expected:
            with pytest.raises(MaskbenchError, match="no mask is regions eye"):
                Wardrobe.bind(recipe, [plain, goggles, both])
            continue
        assert [a.asset_id for a in Wardrobe.bind(recipe, [plain, goggles, both]).assets] == expected
    without = Recipe("r", 1, "d", "s", (0, 1, 2, 3, 4), (Entry("e", 1.0, (Slot(not_kind=("goggles",)),)),))
    assert [a.asset_id for a in Wardrobe.bind(without, [plain, goggles, both]).assets] == ["hybrid", "surgical"]


def test_the_race_draws_by_weight_and_its_numbers_are_uniform():
    counts = Counter(pick({"a": 1.0, "b": 2.0, "c": 5.0}, 0, str(number)) for number in range(20_000))
    fits(counts, {"a": 1, "b": 2, "c": 5})
    numbers = np.array([unit(0, str(k)) for k in range(20_000)])
    assert 0 < numbers.min() and numbers.max() < 1
    assert chisquare(np.histogram(numbers, bins=20, range=(0, 1))[0]).pvalue > LEAST_P
    assert unit(0, "a", "b") != unit(0, "ab") and unit(0, "\udcff") == unit(0, "\udcff"), "any file name will do"
