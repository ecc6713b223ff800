"""The card beside an ONNX file."""

import json
import re
from importlib import resources
from pathlib import Path

import pytest

from maskbench.align import TEMPLATES
from maskbench.digest import bytes_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers import card as card_module
from maskbench.recognizers.card import card_of, draft_card, find_card, parse_card, read_card
from maskbench.recognizers.preprocess import COLOUR_ORDERS
from maskbench.scoring import COMPARATOR_NAMES


def test_card_becomes_a_spec(card, tmp_path):
    spec = parse_card(card, tmp_path / "tiny.json")
    assert spec.name == "tiny" and spec.weights_sha256 == "0" * 64
    assert spec.input_size == (16, 16) and spec.embedding_size == 8
    assert spec.mean == (127.5, 127.5, 127.5) and spec.std == (127.5, 128.0, 64.0)
    assert (spec.template, spec.colour_order, spec.comparator) == ("arcface112", "RGB", "cosine")
    assert spec.training_data == ("noise",) and spec.parameters == 920 and spec.licence == "CC0-1.0"
    assert not spec.needs_mask


def test_unknown_is_written_down_as_null(card, tmp_path):
    spec = parse_card({**card, "parameters": None, "training_data": None}, tmp_path / "tiny.json")
    assert spec.parameters is None and spec.training_data is None


@pytest.mark.parametrize("key", ["name", "sha256", "mean", "training_data", "licence", "source"])
def test_missing_keys_are_named(card, tmp_path, key):
    card.pop(key)
    with pytest.raises(RecognizerError, match=rf"tiny\.json: missing {key};"):
        parse_card(card, tmp_path / "tiny.json")


def test_unknown_keys_get_a_suggestion(card, tmp_path):
    with pytest.raises(RecognizerError, match='tiny.json: unknown key "license"; did you mean "licence"'):
        parse_card({**card, "license": "MIT"}, tmp_path / "tiny.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", " "),
        ("name", "../elsewhere"),
        ("name", "a b"),
        ("sha256", "A" * 64),
        ("sha256", "abc"),
        ("input_size", [112]),
        ("input_size", [112, 0]),
        ("input_size", [112.0, 112]),
        ("input_size", [112, 96]),  # the template does not scale to it
        ("template", "arcface"),
        ("template", ["arcface112"]),
        ("colour_order", "rgb"),
        ("mean", [1, 2]),
        ("mean", "127.5"),
        ("mean", True),
        ("std", 0),
        ("std", [1, 1, -1]),
        ("std", float("inf")),
        ("embedding_size", 0),
        ("embedding_size", True),
        ("comparator", "euclidean"),
        ("comparator", ["cosine"]),
        ("parameters", 0.5),
        ("training_data", "LFW"),
        ("training_data", [1]),
        ("licence", None),
    ],
)
def test_malformed_values_are_named(card, tmp_path, key, value):
    with pytest.raises(RecognizerError, match=rf"tiny\.json: .*{key}"):
        parse_card({**card, key: value}, tmp_path / "tiny.json")


def test_a_card_is_an_object(tmp_path):
    with pytest.raises(RecognizerError, match="a card is a JSON object"):
        parse_card(["name"], tmp_path / "tiny.json")


def test_places_of_a_card(tmp_path, card):
    network = tmp_path / "net.v2.onnx"
    with pytest.raises(
        RecognizerError, match=r"net\.v2\.onnx: no card at .*net\.v2\.json or .*net\.v2\.onnx\.json; draft"
    ):
        find_card(network)
    (tmp_path / "net.v2.onnx.json").write_text("{}")
    assert find_card(network).name == "net.v2.onnx.json"
    (tmp_path / "net.v2.json").write_text(json.dumps(card))
    assert find_card(network).name == "net.v2.json"
    assert read_card(network)[0].name == "tiny"
    with pytest.raises(RecognizerError, match=r"no card at .*other\.json;"):
        find_card(network, tmp_path / "other.json")
    (tmp_path / "other.json").write_text('{"name": \n oops}')
    with pytest.raises(RecognizerError, match=r"other\.json:2: not valid JSON"):
        read_card(network, tmp_path / "other.json")


def test_draft_reads_the_file(tmp_path, tiny):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny)
    draft = draft_card(path)
    assert draft["sha256"] == bytes_sha256(tiny)
    assert draft["input_size"] == [16, 16] and draft["embedding_size"] == 8
    assert draft["licence"] == draft["source"] == "unknown" and draft["training_data"] is None
    assert parse_card(draft, path).std == (127.5, 127.5, 127.5)


def test_draft_of_something_else(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(RecognizerError, match="text.onnx: onnxruntime cannot load it"):
        draft_card(tmp_path / "text.onnx")
    with pytest.raises(RecognizerError, match="none.onnx: cannot be read"):
        draft_card(tmp_path / "none.onnx")


def test_the_documented_card_is_valid(card, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    documented = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL).group(1))
    parse_card({**documented, "sha256": "0" * 64}, tmp_path / "card.json")
    assert list(documented) == list(card)
    for key in card_module._KEYS:
        assert re.search(rf"^\|.*`{key}`.*\|", text, re.MULTILINE), f"{key} is not in the table"


# --- optional keys


def test_optional_keys_reach_the_spec(card, tmp_path):
    spec = parse_card({**card, "network": "iresnet50", "flops": 12, "terms": "research"}, tmp_path / "tiny.json")
    assert (spec.network, spec.flops, spec.terms, spec.source) == ("iresnet50", 12, "research", card["source"])
    plain = parse_card(card, tmp_path / "tiny.json")
    assert (plain.network, plain.flops, plain.terms) == ("", None, "unknown")
    assert parse_card({**card, "flops": None}, tmp_path / "tiny.json") == plain


@pytest.mark.parametrize(
    ("key", "value"),
    [("network", ""), ("network", "a b"), ("network", 3), ("flops", 1.5), ("flops", 0), ("terms", " ")],
)
def test_malformed_optional_keys_are_named(card, tmp_path, key, value):
    with pytest.raises(RecognizerError, match=rf'tiny\.json: "{key}" must be'):
        parse_card({**card, key: value}, tmp_path / "tiny.json")


@pytest.mark.parametrize("also", [(), ("source",)])
def test_a_card_without_licence_says_what_to_do(card, tmp_path, also):
    for key in ("licence", *also):
        del card[key]
    with pytest.raises(RecognizerError, match='missing licence.*; state the licence of the weights, or "unknown"'):
        parse_card(card, tmp_path / "tiny.json")


SIZES = {"network": "g2d", "needs_mask": True, "config": {"size": 32, "widths": [1, 2], "reads": "picture"}}


def test_a_spec_becomes_its_card_again(card, tmp_path):
    some = {"network": "iresnet50", "flops": 12, "terms": "research"}
    for added in ({}, some, {"training_data": None, "mean": 0.5}, SIZES):
        spec = parse_card({**card, **added}, tmp_path / "tiny.json")
        again = card_of(spec, spec.weights_sha256, spec.source)
        assert parse_card(json.loads(json.dumps(again)), tmp_path / "again.json") == spec
        assert set(again) == {*card, *added}


# --- the schema


@pytest.fixture(scope="module")
def schema():
    """The published JSON schema, and a function that says whether it accepts a card."""
    jsonschema = pytest.importorskip("jsonschema")
    content = json.loads((resources.files("maskbench.data") / "card.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(content)
    return content, jsonschema.Draft202012Validator(content).is_valid


def test_the_schema_knows_the_same_words(schema):
    content, _ = schema
    assert set(content["properties"]) == set(card_module._KEYS)
    assert content["required"] == list(card_module._REQUIRED)
    assert all(len(values["description"]) > 15 for values in content["properties"].values())
    enums = {key: values["enum"] for key, values in content["properties"].items() if "enum" in values}
    assert enums == {
        "template": list(TEMPLATES), "colour_order": list(COLOUR_ORDERS), "comparator": list(COMPARATOR_NAMES),
    }  # fmt: skip


VALUES = {
    "name": ["tiny", "A-1.b_c", "x" * 100, "x" * 101, "", " ", "../x", "a b", "-a", "é", 3, None],
    "sha256": ["0" * 64, "a" * 64, "A" * 64, "0" * 63, "0" * 65, "g" * 64, None, 0],
    "input_size": [
        [112, 112],
        [8, 8],
        [112],
        [112, 0],
        [-1, -1],
        [112, 112, 3],
        [1.5, 1.5],
        "112",
        112,
        [True, True],
        None,
    ],
    "template": [*TEMPLATES, "arcface", "", None, ["arcface112"], 3],
    "colour_order": ["RGB", "BGR", "rgb", "", None, ["RGB"]],
    "mean": [
        0,
        127.5,
        -3,
        [1, 2, 3],
        [1.5, 0, -2],
        [1, 2],
        [1, 2, 3, 4],
        [1, 2, "3"],
        "1",
        None,
        True,
        [True, 1, 2],
        1e400,
    ],
    "std": [1, 0.5, [1, 2, 3], 0, -1, [1, 0, 2], [1, 2], "1", None, True, [1, True, 2], 1e400, []],
    "embedding_size": [1, 512, 0, -1, 1.5, "512", None, True, [512]],
    "comparator": [*COMPARATOR_NAMES, "euclidean", "", None, ["cosine"]],
    "parameters": [1, 10**9, None, 0, -1, 0.5, "1", True],
    "training_data": [None, [], ["a"], ["a", "b c"], "a", [1], [""], [" "], [None], {}],
    "licence": ["MIT", "unknown", "", " ", "\n", None, 1, ["MIT"]],
    "source": ["https://example.org", "", "\t", None, {}],
    "network": ["iresnet50", "a.b-c_d", "", "a b", None, 3],
    "flops": [1, 10**12, None, 0, -5, 2.5, "1", False],
    "terms": ["research only", "", " ", None, 3],
    "completion": [
        "ga", "none", "torch:completion.safetensors", "torch:a/b-1/c.safetensors", "", "a b", "torch:", "torch:c.pth",
        "torch:/c.safetensors", "torch:../c.safetensors", "torch:a/../c.safetensors", "torch:.c.safetensors",
        "onnx:c.safetensors", "torch:a//c.safetensors", None, 3, ["ga"],
    ],
    "needs_mask": [True, False, None, 0, 1, "true", [True]],
    "config": [
        {"size": 32}, {"a": 0.5, "b": "text", "c": [1, 2.5], "d": []}, {"a-1.B_c": -3}, {}, {"": 1}, {"a b": 1},
        {"a": None}, {"a": True}, {"a": {}}, {"a": " "}, {"a": ["b"]}, {"a": [True]}, {"a": 1e400}, [1], "a", None, 3,
    ],
    "license": ["MIT"],
    "Name": ["tiny"],
}


@pytest.mark.parametrize("key", VALUES)
def test_schema_and_parser_accept_and_refuse_the_same(schema, card, tmp_path, key):
    _, accepts = schema
    seen = set()
    for value in VALUES[key]:
        values = {**card, key: value}
        if key == "template" and isinstance(value, str) and value in TEMPLATES:  # in whose proportions the size must be
            values["input_size"] = list(TEMPLATES[value].size)
        assert accepts(values) == parses(values, tmp_path), (key, value)
        seen.add(accepts(values))
    assert seen == ({False} if key not in card_module._KEYS else {True, False})


def test_schema_and_parser_agree_on_what_may_be_missing(schema, card, tmp_path):
    _, accepts = schema
    full = {**card, "network": "a", "flops": 1, "terms": "b", "completion": "ga"}
    full |= {"needs_mask": True, "config": {"a": 1}}
    for key in full:
        values = {name: value for name, value in full.items() if name != key}
        assert accepts(values) == parses(values, tmp_path) == (key in card_module._OPTIONAL)
    for odd in ([], None, "card", 3, {}):
        assert not accepts(odd) and not parses(odd, tmp_path)


def test_what_only_the_parser_refuses_is_said_in_the_schema(schema, card, tmp_path):
    content, accepts = schema
    for size, words in (([112, 96], "proportions"), ([112.0, 112], "without a decimal point")):
        values = {**card, "input_size": size}
        assert accepts(values) and not parses(values, tmp_path) and words in content["description"]


def parses(values, tmp_path) -> bool:
    """Whether ``parse_card`` takes it."""
    try:
        parse_card(values, tmp_path / "card.json")
    except RecognizerError:
        return False
    return True
