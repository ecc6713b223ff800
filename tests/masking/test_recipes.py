"""Recipe files: what is read, what is refused and how, and what a call's options make of them."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from maskbench.errors import MaskbenchError
from maskbench.masking.placement import Jitter
from maskbench.masking.recipes import list_recipes, load_recipe, resolve_recipe, words
from maskbench.masking.synthesis import SynthesisConfig

REQUIRED = {"worn", "lfw-masked", "deocclusion", "nist6b", "ar1", "ar2", "maskinv", "styles"} | {
    f"ocfr-o{number}" for number in range(1, 8)
}
# METHODS: the occlusion codes of the competition, and which of them each protocol draws.
CODES = {
    1: {"lower"}, 2: {"upper"}, 3: {"top"}, 4: {"eye"}, 5: {"upper", "lower"}, 6: {"lower", "top"}, 7: {"eye", "lower"},
    8: {"eye", "lower", "top"}, 9: {"upper", "lower", "top"}, 10: {"top", "upper"}, 11: {"top", "eye"},
}  # fmt: skip
PROTOCOLS = {
    1: {1, 2, 4}, 2: {5, 6, 7, 10, 11}, 3: {1, 2, 4, 5, 6, 7, 10, 11}, 4: {1, 2, 4, 6, 7, 10, 11}, 5: {8, 9},
    6: {5, 6, 7, 8, 9, 10, 11}, 7: {1, 2, 4, 5, 6, 7, 8, 9, 10, 11},
}  # fmt: skip
PLAIN = """\
name: mine
version: 2
description: words
source: none
seeds: [1, 2, 3, 4, 5]
mix:
  - name: one
    weight: 3
    wear:
      - masks: [surgical]
        colours: {blue: 1, white: 3}
        styles: {correct: 0.5, under-nose: 0.5}
      - {kind: hat, regions: [top, eye+upper]}
  - {name: two, weight: 0.5, wear: [{category: simple, colours: {rgb: {low: [0, 1, 2], high: [9, 8, 7]}}}]}
"""


@pytest.fixture
def recipe_file(tmp_path):
    def write(text: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_everything_in_a_file_is_read(recipe_file):
    recipe = load_recipe(recipe_file(PLAIN + "fraction: 0.25\njitter: {down: 0.1, roll: 0}\n"))
    assert (recipe.name, recipe.version, recipe.seeds, recipe.fraction) == ("mine", 2, (1, 2, 3, 4, 5), 0.25)
    assert recipe.jitter == Jitter(down=0.1, roll=0.0)
    one, two = recipe.mix
    assert (one.weight, two.weight, len(one.wear), len(two.wear)) == (3, 0.5, 2, 1)
    mask, hat = one.wear
    assert mask.masks == ("surgical",) and dict(mask.colours) == {"blue": 1, "white": 3} and mask.rgb is None
    assert dict(mask.styles) == {"correct": 0.5, "under-nose": 0.5}
    assert hat.kind == ("hat",) and hat.regions == ("top", "eye+upper") and dict(hat.styles) == {"correct": 1}
    assert two.wear[0].rgb == ((0, 1, 2), (9, 8, 7)) and not two.wear[0].colours
    assert json.loads(json.dumps(recipe.to_dict()))["mix"][0]["wear"][0]["colours"] == {"blue": 1, "white": 3}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("weight: 3", "wieght: 3", 8, "unknown key 'wieght' of an entry of mix; did you mean \"weight\"?"),
        ("masks: [surgical]", "mask: [surgical]", 10, "unknown key 'mask' of a slot; did you mean \"masks\"?"),
        ("source: none", "sauce: none", 4, "did you mean \"source\"?"),
        ("source: none\n", "", 1, "'source' of a recipe is missing"),
        ("name: mine", "name: My Recipe", 1, "must be lower-case letters, digits and hyphens"),
        ("version: 2", "version: 0", 2, "must be a whole number from 1"),
        ("version: 2", "version: true", 2, "must be a whole number from 1"),
        ("description: words", "description: 5", 3, "description must be a text"),
        ("seeds: [1, 2, 3, 4, 5]", "seeds: [1, 2, 3, 4]", 5, "5 different whole numbers"),
        ("seeds: [1, 2, 3, 4, 5]", "seeds: [1, 2, 3, 4, 4]", 5, "5 different whole numbers"),
        ("weight: 3", "weight: -3", 8, "weight must be a number, 0 or more, not -3"),
        ("weight: 3", "weight: 0", 8, "weight must be more than 0"),
        ("weight: 3", "weight: .nan", 8, "weight must be a number"),
        ("weight: 3", "weight: often", 8, "not 'often'"),
        ("name: two", "name: one", 6, 'two entries are named "one"'),
        ("under-nose: 0.5}", "undernose: 0.5}", 12, 'no style "undernose"; did you mean "under-nose"?'),
        ("{correct: 0.5, under-nose: 0.5}", "correct", 12, "styles must map names to weights"),
        ("{blue: 1, white: 3}", "{blue: 1, white: 0}", 11, "a weight must be more than 0"),
        ("{blue: 1, white: 3}", "{'#12345': 1}", 11, '"#12345" is no colour'),
        ("category: simple", "category: simpel", 14, 'no category "simpel"; did you mean "simple"?'),
        ("eye+upper", "eyes+upper", 13, 'no region "eyes+upper"; known: lower, eye, upper, top'),
        ("kind: hat", "kind: 7", 13, "kind must be a text or a list of texts"),
        ("kind: hat", "coverage: tall", 13, 'no coverage "tall"'),
        ("low: [0, 1, 2]", "low: [0, 1, 256]", 14, "three whole numbers from 0 to 255"),
        ("low: [0, 1, 2]", "low: [10, 1, 2]", 14, "low is above high"),
        ("low: [0, 1, 2], ", "", 14, "'low' of rgb is missing"),
        ("version: 2", "version: 2\nfraction: 1.5", 3, "1.5 is no share of the face"),
        ("version: 2", "version: 2\njitter: {downwards: 1}", 3, "unknown key 'downwards' of jitter"),
        ("version: 2", "version: 2\njitter: {down: -1}", 3, "down must be a number, 0 or more"),
        ("version: 2", "version: 2\nversion: 3", 3, "'version' is already on line 2"),
        ("version: 2", "version: [2", 3, "not valid YAML"),
        ("version: 2", "version: 2020-13-45", 1, "not valid YAML"),
        ("    wear:\n      - masks", "    ware:\n      - masks", 9, "unknown key 'ware'"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(recipe_file, old, new, line, message):
    assert PLAIN.count(old) >= 1
    path = recipe_file(PLAIN.replace(old, new, 1))
    with pytest.raises(MaskbenchError) as error:
        load_recipe(path)
    text = str(error.value)
    assert text.startswith(f"{path}:{line}: ") and message in text and "\n" not in text


@pytest.mark.parametrize("text", ["", "[]", "just words", "mix: {a: 1}\n", PLAIN[: PLAIN.index("mix:")] + "mix: []\n"])
def test_what_is_no_recipe_is_refused(recipe_file, text):
    with pytest.raises(MaskbenchError, match=r"mine\.yaml:\d+: "):
        load_recipe(recipe_file(text))


def test_unknown_recipes_and_versions():
    with pytest.raises(MaskbenchError, match='no recipe named "wron"; did you mean "worn"'):
        load_recipe("wron")
    with pytest.raises(MaskbenchError, match=r"absent\.yaml: cannot be read"):
        load_recipe("absent.yaml")
    assert load_recipe("worn", version=1).version == 1
    with pytest.raises(MaskbenchError, match="has version 1, version 7 is wanted"):
        load_recipe("worn", version=7)


def test_the_shipped_recipes_are_there_and_say_where_they_come_from():
    shipped = list_recipes()
    assert set(shipped) >= REQUIRED
    for name, path in shipped.items():
        recipe = load_recipe(name)
        assert recipe.name == name == path.stem
        assert len(recipe.source) > 20 and len(recipe.description) > 20
        assert len(set(recipe.seeds)) == 5


@pytest.mark.parametrize("number", PROTOCOLS)
def test_each_competition_protocol_draws_its_codes_evenly_and_each_code_hides_its_regions(number):
    recipe = load_recipe(f"ocfr-o{number}")
    assert {int(entry.name.removeprefix("code-")) for entry in recipe.mix} == PROTOCOLS[number]
    assert {entry.weight for entry in recipe.mix} == {1.0}
    for entry in recipe.mix:
        wanted = CODES[int(entry.name.removeprefix("code-"))]
        # Of a slot's combinations the first is the region itself; "eye+upper" may stand in for "upper".
        assert {slot.regions[0] for slot in entry.wear} == wanted and len(entry.wear) == len(wanted)
        for slot in entry.wear:
            assert set(slot.regions) <= {slot.regions[0], "eye+upper"}
            assert slot.regions[0] == "upper" or len(slot.regions) == 1


def test_the_standards_recipe_crosses_shapes_coverages_and_colours_without_jitter():
    recipe = load_recipe("nist6b")
    assert recipe.jitter == Jitter(0, 0, 0, 0)
    grid = {(slot.shape, slot.coverage) for entry in recipe.mix for slot in entry.wear}
    assert grid == {((s,), (c,)) for s in ("wide", "round") for c in ("high", "medium", "low")}
    for entry in recipe.mix:
        assert set(entry.wear[0].colours) == {"black", "light-blue", "red", "white"}


def test_the_shift_of_maskinv_is_its_pixels_over_the_distance_between_the_template_eyes():
    recipe = load_recipe("maskinv")
    eyes = Fraction(1009 - 557)
    assert recipe.jitter.down == pytest.approx(float(Fraction(39 + 40, 2) / eyes), abs=5e-5)
    assert recipe.jitter.across == pytest.approx(float(Fraction(9 + 10, 2) / eyes), abs=5e-5)
    low, high = recipe.mix[0].wear[0].rgb
    assert [h - w for w, h in zip(low, high, strict=True)] == [149] * 3


def test_the_protocols_recipe_names_every_mask_and_colour():
    recipe = load_recipe("lfw-masked")
    names = [name for entry in recipe.mix for slot in entry.wear for name in slot.masks]
    assert sorted(names) == ["cloth", "cloth-check", "ffp2", "kn95", "n95", "surgical"]
    assert all(len(slot.masks) == 1 and slot.colours for entry in recipe.mix for slot in entry.wear)
    # Changing what it draws takes a new version: protocols are made for this one.
    assert recipe.digest == "3a5f1fe73c24a40431a23dffb60ce2d7c3a6497a66b97906eee8b6573f2ef6ea"


def test_options_become_one_recipe():
    assert resolve_recipe().name == "worn" == SynthesisConfig().resolve().name
    one = resolve_recipe(mask="n95, cloth,n95")
    assert [slot.masks for entry in one.mix for slot in entry.wear] == [("cloth", "n95")]
    assert [slot.masks for entry in resolve_recipe(mask="all").mix for slot in entry.wear] == [()]
    shapes = resolve_recipe(coverage="high,low", shape=["wide"]).mix[0].wear[0]
    assert shapes.coverage == ("high", "low") and shapes.shape == ("wide",)
    changed = resolve_recipe(recipe="styles", colour="white", style="under-nose,mouth-only", fraction=0.3)
    assert changed.name == "styles" and changed.fraction == 0.3
    for entry in changed.mix:
        assert dict(entry.wear[0].colours) == {"white": 1}
        assert dict(entry.wear[0].styles) == {"under-nose": 1, "mouth-only": 1}
    assert changed.options == {"colour": ("white",), "style": ("under-nose", "mouth-only"), "fraction": 0.3}
    assert resolve_recipe(recipe="maskinv", colour="#102030").mix[0].wear[0].rgb is None
    assert words(" a, b,,a ") == ("a", "b") == words(["a,b", "b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "n95", "recipe": "worn"}, "--recipe and --mask exclude each other"),
        ({"shape": "wide", "recipe": "worn"}, "--recipe and --shape exclude each other"),
        ({"mask": " , "}, "no mask given"),
        ({"style": "undernose"}, 'no style "undernose"; did you mean "under-nose"'),
        ({"coverage": "hihg"}, 'no coverage "hihg"; did you mean "high"'),
        ({"shape": "square"}, 'no shape "square"; known: round, wide'),
        ({"colour": "#GG0000"}, "is no colour"),
        ({"fraction": 0}, "0 is no share of the face"),
        ({"fraction": float("nan")}, "nan is no share of the face"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(MaskbenchError, match=message.replace("(", r"\(")):
        resolve_recipe(**options)


def test_the_digest_is_of_what_decides_the_draws(recipe_file):
    first = load_recipe(recipe_file(PLAIN)).digest
    assert load_recipe(recipe_file(PLAIN.replace("words", "other words"))).digest == first
    assert load_recipe(recipe_file(PLAIN.replace("white: 3", "white: 4"))).digest != first
    assert load_recipe(recipe_file(PLAIN.replace("weight: 3", "weight: 3.5"))).digest != first
