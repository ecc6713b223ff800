"""Exported networks give the vectors of what they were exported from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from maskbench.digest import file_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers.base import RECOGNIZERS, checked_embed, load_recognizer
from maskbench.recognizers.dlib_resnet import SPEC
from maskbench.recognizers.exporting import export_recognizer


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 256, (3, 150, 150, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(chips) -> np.ndarray:
    return checked_embed(load_recognizer("dlib-resnet", "cpu", "torch"), chips)[0]


@pytest.mark.parametrize(
    ("name", "prefix", "engine"), [("d.onnx", "onnx", "onnxruntime"), ("d.safetensors", "torch", "torch")]
)
def test_dlibs_network_as_a_file(tmp_path: Path, chips, expected, name, prefix, engine):
    out, card, reference = export_recognizer("dlib-resnet", tmp_path / "sub" / name)
    assert reference == f"{prefix}:{out}" and card == out.with_suffix(".json")
    values = json.loads(card.read_text())
    assert values["sha256"] == file_sha256(out) and values["licence"] == "CC0-1.0"
    assert SPEC.weights_sha256 in values["source"] and "face-recognition-models" in values["source"]
    assert values.get("network") == (None if prefix == "onnx" else "dlib-resnet")
    recognizer = load_recognizer(reference, "cpu", engine)
    vectors, status = checked_embed(recognizer, chips)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert not status.any() and recognizer.spec.comparator == "negative-l2" and recognizer.spec.flops == SPEC.flops
    assert recognizer.spec.training_data == SPEC.training_data and recognizer.spec.terms == SPEC.terms


def test_a_checkpoint_goes_on_to_onnx(tmp_path: Path, chips, expected):
    _, _, reference = export_recognizer("dlib-resnet", tmp_path / "d.safetensors")
    _, card, onnx = export_recognizer(reference, tmp_path / "e.onnx")
    np.testing.assert_allclose(checked_embed(load_recognizer(onnx, "cpu"), chips)[0], expected, atol=1e-5)
    assert "network" not in json.loads(card.read_text())
    again, _, _ = export_recognizer(reference, tmp_path / "f.safetensors")
    assert again.read_bytes() == (tmp_path / "d.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("dlib-resnet", "d.pth", "d.pth: name a file that ends in .onnx or .safetensors"),
        ("dummy", "d.onnx", 'recognizer "dummy" has no network that torch runs'),
        ("onnx:a.onnx", "d.onnx", "onnx:a.onnx: is an ONNX file already; copy the file and its card"),
        ("insightface:buffalo_l", "d.onnx", "is an ONNX file already"),
        ("fitted:a.safetensors", "d.onnx", "a fitted method has no network to export"),
        ("dlib-resent", "d.onnx", 'did you mean "dlib-resnet"'),
    ],
)
def test_what_cannot_be_exported(tmp_path, name, out, message):
    with pytest.raises(RecognizerError, match=message):
        export_recognizer(name, tmp_path / out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["d.onnx", "d.json"])
def test_nothing_is_replaced(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(RecognizerError, match=f"{there}: is there already"):
        export_recognizer("dlib-resnet", tmp_path / "d.onnx")
    assert (tmp_path / there).read_text() == "mine"


def test_weights_without_a_known_network_are_not_written(tmp_path, monkeypatch):
    from dataclasses import replace

    from maskbench.recognizers.torch import TorchRecognizer

    def factory(device, engine):
        return TorchRecognizer(torch.nn.Flatten(), replace(SPEC, name="theirs", flops=None), "cpu")

    monkeypatch.setitem(RECOGNIZERS._entries, "theirs", factory)
    with pytest.raises(RecognizerError, match='"theirs": torch:PATH knows no network of that name.*export to .onnx'):
        export_recognizer("theirs", tmp_path / "t.safetensors")
    assert not list(tmp_path.iterdir())
