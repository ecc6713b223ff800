"""The card beside an ONNX file."""

import json
import re
from pathlib import Path

import pytest

from maskbench.digest import bytes_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers.card import draft_card, find_card, parse_card, read_card


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
    for key in card:
        assert re.search(rf"^\|.*`{key}`.*\|", text, re.MULTILINE), f"{key} is not in the table"
