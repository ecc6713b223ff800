"""Fitted recognizers as files and as recognizers: what is read back, and every way a file can be wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from maskbench.classical import METHODS, FittedModel, fit_classical, save_fitted
from maskbench.classical.store import LICENCE, model_bytes, parse_model
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.recognizers.base import checked_embed, load_recognizer
from maskbench.recognizers.fitted import load_fitted

OPTIONS = {
    "pca": {"size": [14, 14], "components": 9},
    "gpca": {"size": [16, 16], "scales": 2, "orientations": 3, "grid": [4, 4], "components": 7},
    "lpp": {"size": [14, 14], "components": 6, "neighbours": 3},
    "sr": {"size": [8, 7]},
}


def faces(count: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def models() -> dict[str, FittedModel]:
    subjects = np.array([f"p{i // 3}" for i in range(24)])
    return {method: fit_classical(method, faces(), subjects, OPTIONS[method]) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_the_recognizer_back(method, models, tmp_path):
    model, path = models[method], tmp_path / "new" / f"my-{method}.safetensors"
    card = save_fitted(model, path, ["utk144"], "CC0-1.0")
    recognizer = load_fitted(str(path))
    vectors, status = checked_embed(recognizer, faces(5, 1))
    assert np.array_equal(vectors, model.embed(faces(5, 1))) and not status.any()
    spec = recognizer.spec
    assert (spec.name, spec.network, spec.engine) == (f"my-{method}", f"classical-{method}", "numpy")
    assert (spec.input_size, spec.template, spec.colour_order) == ((112, 112), "arcface112", "RGB")
    assert (spec.licence, spec.training_data, spec.comparator) == ("CC0-1.0", ("utk144",), model.comparator)
    assert spec.weights_sha256 == file_sha256(path) and spec.embedding_size == model.embedding_size
    assert spec.parameters == (model.parameters or None)
    assert recognizer.training_subjects == {f"p{i}" for i in range(8)}
    assert card == path.with_suffix(".json") and recognizer.model.options == model.options
    assert sorted(file.name for file in path.parent.iterdir()) == sorted(
        [path.name, card.name, f"my-{method}.subjects.txt"]
    )


def test_the_prefix_fitted_finds_it(models, tmp_path):
    path = tmp_path / "a.safetensors"
    save_fitted(models["sr"], path)
    recognizer = load_recognizer(f"fitted:{path}")
    assert recognizer.spec.comparator == "sparse-residual" and recognizer.spec.name == "a"
    assert np.array_equal(recognizer.embed(faces(2, 3))[0], models["sr"].embed(faces(2, 3)))


def test_equal_models_give_equal_bytes_whatever_the_time(models, tmp_path, monkeypatch):
    save_fitted(models["pca"], tmp_path / "a.safetensors")
    monkeypatch.setattr("time.time", lambda: 2e9)
    save_fitted(models["pca"], tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert model_bytes(parse_model(model_bytes(models["lpp"]), tmp_path)) == model_bytes(models["lpp"])


def test_the_file_is_plain_safetensors(models, tmp_path):
    save_fitted(models["pca"], tmp_path / "a.safetensors")
    stored = load_file(tmp_path / "a.safetensors")
    assert {name: (array.shape, array.dtype.name) for name, array in stored.items()} == {
        "mean": ((196,), "float32"), "projection": ((196, 9), "float32"),
    }  # fmt: skip


def test_the_card_defaults_to_an_unknown_licence(models, tmp_path):
    card = json.loads(save_fitted(models["pca"], tmp_path / "a.safetensors", name="faces-of-mine").read_text())
    assert (card["licence"], card["training_data"], card["name"]) == (LICENCE, None, "faces-of-mine")
    assert card["parameters"] == 196 * 10 and card["network"] == "classical-pca"


def test_a_flat_face_fails(models, tmp_path):
    save_fitted(models["pca"], tmp_path / "a.safetensors")
    given = faces(3, 2)
    given[1] = 128
    vectors, status = checked_embed(load_fitted(str(tmp_path / "a.safetensors")), given)
    assert status.tolist() == [0, 1, 0] and np.isnan(vectors[1]).all()


def test_a_failed_write_leaves_no_model_that_loads(models, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_fitted(models["pca"], path)

    def broken(*_: object) -> None:
        raise MaskbenchError("disk full")

    monkeypatch.setattr("maskbench.classical.store.write_json", broken)
    with pytest.raises(MaskbenchError, match="disk full"):
        save_fitted(models["lpp"], path)
    with pytest.raises(RecognizerError, match="no card"):
        load_fitted(str(path))


def test_subjects_that_a_list_cannot_hold_are_left_out(models, tmp_path):
    from dataclasses import replace

    path = tmp_path / "a.safetensors"
    save_fitted(replace(models["pca"], subjects=("#1", " ", "ann")), path)
    assert load_fitted(str(path)).training_subjects == {"ann"}
    save_fitted(replace(models["pca"], subjects=()), path)
    assert load_fitted(str(path)).training_subjects is None


def test_files_that_are_not_there_or_not_the_cards(models, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(RecognizerError, match="no such file"):
        load_fitted(str(path))
    with pytest.raises(RecognizerError, match="cannot be read"):
        load_fitted(str(tmp_path))
    with pytest.raises(MaskbenchError, match="choose such a name"):
        save_fitted(models["pca"], tmp_path / "a.npz")
    save_fitted(models["pca"], path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecognizerError, match="has SHA-256"):
        load_fitted(str(path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("embedding_size", 8, '"embedding_size" is 8'),
        ("comparator", "negative-l2", '"comparator" is negative-l2'),
        ("network", "classical-lpp", '"network" is classical-lpp'),
        ("licence", "", '"licence" must be text'),
    ],
)
def test_a_card_that_says_otherwise(models, tmp_path, key, value, message):
    card = save_fitted(models["pca"], tmp_path / "a.safetensors")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(card.read_text()) | {key: value}))
    with pytest.raises(RecognizerError, match=message):
        load_fitted(str(tmp_path / "a.safetensors"), other)


def stored(models: dict[str, FittedModel], about: dict | None = None, **arrays: np.ndarray | None) -> bytes:
    """The bytes of the PCA model with some of its parts replaced, or left out (None)."""
    model = models["pca"]
    known = {"format": 1, "method": "pca", "options": {"size": [14, 14]}, "picture": [112, 112]} | (about or {})
    tensors = {"mean": model.mean, "projection": model.projection} | arrays
    return save({k: v for k, v in tensors.items() if v is not None}, {"maskbench": json.dumps(known)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: b"", "not a fitted recognizer"),
        (lambda m: b"hello, this is text", "not a fitted recognizer"),
        (lambda m: stored(m)[:-7], "not a fitted recognizer"),
        (lambda m: save({"mean": m["pca"].mean}), "not a fitted recognizer"),
        (lambda m: save({"mean": m["pca"].mean}, {"maskbench": "[1]"}), "not a fitted recognizer"),
        (lambda m: stored(m, projection=None), "not a fitted recognizer"),
        (lambda m: stored(m, {"picture": 3}), "not a fitted recognizer"),
        (lambda m: stored(m, {"format": 2}), "of format 2, expected 1"),
        (lambda m: stored(m, {"method": "lda"}), "no classical method"),
        (lambda m: stored(m, {"options": {"sizes": [1, 1]}}), "no option"),
        (lambda m: stored(m, {"options": {"size": [14, 13]}}), "do not fit"),
        (lambda m: stored(m, {"picture": [112]}), "do not fit"),
        (lambda m: stored(m, {"picture": [112, "x"]}), "do not fit"),
        (lambda m: stored(m, projection=m["pca"].projection[:-1]), "do not fit"),
        (lambda m: stored(m, projection=m["pca"].projection[:, :0]), "do not fit"),
        (lambda m: stored(m, mean=m["pca"].mean.astype(np.float64)), "do not fit"),
        (lambda m: stored(m, mean=np.full(196, np.nan, np.float32)), "do not fit"),
        (lambda m: stored(m, mean=np.zeros(0, np.float32), projection=np.zeros((0, 0), np.float32)), "do not fit"),
    ],
)
def test_files_that_are_no_fitted_recognizers(models, tmp_path, make, message):
    path = tmp_path / "a.safetensors"
    card = json.loads(save_fitted(models["pca"], path).read_text())
    path.write_bytes(make(models))
    path.with_suffix(".json").write_text(json.dumps(card | {"sha256": bytes_sha256(path.read_bytes())}))
    with pytest.raises(RecognizerError, match=message) as caught:
        load_fitted(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
