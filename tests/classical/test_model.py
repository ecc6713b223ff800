"""Fitting whole recognizers: the same for any threads, the same in any batch, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from maskbench.classical import METHODS, fit_classical
from maskbench.classical.model import feature_size, features_of, fit_features
from maskbench.classical.options import options_for
from maskbench.errors import MaskbenchError

SMALL = {
    "pca": {"size": [14, 12], "components": 9},
    "gpca": {"size": [16, 16], "scales": 2, "orientations": 3, "grid": [4, 4], "components": 7},
    "lpp": {"size": [14, 12], "components": 6, "neighbours": 3},
    "sr": {"size": [7, 6]},
}
SUBJECTS = np.array([f"p{i // 3}" for i in range(24)])


def faces(count: int = 24, shape: tuple[int, ...] = (28, 24, 3), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 180, (count // 3 + 1, *shape))
    return (people[np.arange(count) // 3] + rng.integers(0, 70, (count, *shape))).astype(np.uint8)


@pytest.mark.parametrize("method", METHODS)
def test_a_template_is_the_same_to_the_bit_in_any_batch(method):
    model, probes = fit_classical(method, faces(), SUBJECTS, SMALL[method]), faces(9, seed=1)
    found = model.embed(probes)
    assert found.dtype == np.float32 and found.shape == (9, model.embedding_size) and np.isfinite(found).all()
    assert all(np.array_equal(model.embed(probes[i : i + 1])[0], found[i]) for i in range(9))
    assert np.array_equal(model.embed(probes[::-1])[::-1], found)
    assert np.array_equal(model.embed(np.asfortranarray(probes)), found)
    assert model.embed(probes[:0]).shape == (0, model.embedding_size)


@pytest.mark.parametrize("method", METHODS)
def test_fitting_knows_no_threads(method):
    from threadpoolctl import threadpool_limits

    models = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            models.append(fit_classical(method, faces(), SUBJECTS, SMALL[method]))
    for name in ("mean", "projection"):
        assert np.array_equal(getattr(models[0], name), getattr(models[1], name))


def test_pca_is_scikit_learns():
    model = fit_classical("pca", faces(), SUBJECTS, {**SMALL["pca"], "light": "none", "whiten": True})
    features = features_of(faces(), model.options)
    wanted = PCA(9, whiten=True, svd_solver="full").fit(features).transform(features)
    found = model.embed(faces())
    signs = np.sign((found * wanted).sum(axis=0))
    assert np.allclose(found * signs, wanted, atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_fitting_from_features_is_the_same(method):
    options = options_for(method, SMALL[method])
    model = fit_classical(method, faces(), SUBJECTS, options)
    features = features_of(faces(), options)
    assert features.shape == (24, feature_size(options))
    again = fit_features(features, SUBJECTS, options, (28, 24))
    assert (again.method, again.picture, again.subjects) == (method, (28, 24), model.subjects)
    assert np.array_equal(again.templates(features), model.embed(faces()))


def test_sparse_templates_have_length_one():
    for components in (0, 5):
        model = fit_classical("sr", faces(), None, {"size": [7, 6], "components": components})
        found = model.embed(faces(5, seed=2))
        assert found.shape == (5, components or 42) and np.allclose(np.linalg.norm(found, axis=1), 1)
        assert model.comparator == "sparse-residual"
        assert model.parameters == (42 + 42 * components if components else 0)


def test_grey_pictures_and_colour_pictures_of_grey_are_the_same():
    grey = faces(12, (28, 24))
    colour = np.repeat(grey[..., None], 3, axis=3)
    a, b = (fit_classical("pca", one, None, SMALL["pca"]).embed(one) for one in (grey, colour))
    assert np.allclose(a, b, atol=1e-4)


def test_what_a_model_says_of_itself():
    model = fit_classical("lpp", faces(), SUBJECTS, {**SMALL["lpp"], "comparator": "negative-l2"})
    assert (model.network, model.comparator, model.picture) == ("classical-lpp", "negative-l2", (28, 24))
    assert model.embedding_size == 6 and model.parameters == 14 * 12 * 7
    assert model.subjects == tuple(f"p{i}" for i in range(8))


def test_components_are_what_the_faces_leave():
    assert fit_classical("pca", faces(6), None, {"size": [14, 12]}).embedding_size == 5


def test_a_flat_face_has_no_template():
    model = fit_classical("pca", faces(), None, SMALL["pca"])
    probes = faces(3, seed=3)
    probes[1] = 90
    assert np.isnan(model.embed(probes)).any(axis=1).tolist() == [False, True, False]


def test_faces_are_not_written_to():
    given = faces()
    given.setflags(write=False)
    fit_classical("gpca", given, SUBJECTS, SMALL["gpca"]).embed(given)


@pytest.mark.parametrize(
    ("method", "given", "subjects", "message"),
    [
        ("pca", faces()[:1], None, "1 training faces; give two or more"),
        ("sr", faces()[:0], None, "no training faces"),
        ("pca", faces(), SUBJECTS[:5], "24 training faces and 5 subjects"),
        ("pca", faces().astype(float), None, "uint8"),
        ("pca", np.repeat(faces()[:1], 4, axis=0), None, "all training faces are equal"),
        ("lbp", faces(), None, "no classical method"),
        ("gpca", np.zeros((3, 28, 24, 3), np.uint8), None, "training face 0 .* flat colour"),
    ],
)
def test_what_cannot_be_fitted(method, given, subjects, message):
    with pytest.raises(MaskbenchError, match=message) as caught:
        fit_classical(method, given, subjects, SMALL.get(method))
    assert "\n" not in str(caught.value)


def test_pictures_smaller_than_the_options_and_of_another_size():
    with pytest.raises(MaskbenchError, match="choose a smaller size"):
        fit_classical("pca", faces(), None, {"size": [56, 56]})
    with pytest.raises(MaskbenchError, match="28, 24"):
        fit_classical("pca", faces(), None, SMALL["pca"]).embed(faces(2, (24, 28, 3)))
