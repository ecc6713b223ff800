"""Grey levels, light and sizes by hand; options that are refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskbench.classical.options import OPTIONS, GaborOptions, PcaOptions, SparseOptions, options_for
from maskbench.classical.pixels import check_faces, grey, prepared, reduced, standardised
from maskbench.errors import MaskbenchError


def face(seed: int = 0, shape: tuple[int, ...] = (12, 10, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_luminance_is_rec_601_and_grey_is_left_alone():
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    assert np.allclose(grey(colours), [[76.245, 149.685], [29.07, 255.0]])
    plain = face(1, (5, 4))
    assert np.array_equal(grey(plain), plain) and grey(plain).dtype == np.float64


def test_reduction_is_the_mean_over_areas():
    picture = np.arange(48, dtype=float).reshape(6, 8)
    wanted = [[picture[i : i + 3, j : j + 2].mean() for j in range(0, 8, 2)] for i in (0, 3)]
    assert np.allclose(reduced(picture, (2, 4)), wanted)
    assert reduced(picture, (6, 8)) is picture
    # 5 columns to 2: the middle one counts half on either side
    assert np.allclose(reduced(np.array([[1.0, 2, 3, 4, 5]]), (1, 2)), [[(1 + 2 + 1.5) / 2.5, (1.5 + 4 + 5) / 2.5]])
    with pytest.raises(MaskbenchError, match="choose a smaller size"):
        reduced(picture, (7, 8))


def test_standard_light_undoes_brightness_and_contrast():
    dark = face(2) // 4
    bright = (dark * 3 + 40).astype(np.uint8)
    a, b = (prepared(one, (6, 5), "standard") for one in (dark, bright))
    assert np.allclose(a, b) and abs(a.mean()) < 1e-12 and abs(a.std() - 1) < 1e-12
    assert not np.allclose(prepared(dark, (6, 5), "none"), prepared(bright, (6, 5), "none"))


def test_equalised_light_spreads_the_histogram():
    dark = face(3, (40, 40)) // 8
    wanted = standardised(cv2.resize(cv2.equalizeHist(dark).astype(float), (8, 8), interpolation=cv2.INTER_AREA))
    assert np.allclose(prepared(dark, (8, 8), "equalise"), wanted)


def test_a_flat_picture_shows_nothing():
    flat = np.full((8, 8, 3), 77, np.uint8)
    assert np.isnan(prepared(flat, (4, 4), "standard")).all()
    assert np.allclose(prepared(flat, (4, 4), "none"), 77)


@pytest.mark.parametrize(
    "faces", [face(0, (8, 8)), face(0, (2, 8, 8, 4)), np.zeros((2, 8, 8)), np.zeros((1, 0, 8), np.uint8)]
)
def test_what_is_no_stack_of_pictures(faces):
    with pytest.raises(MaskbenchError, match="RGB or") as caught:
        check_faces(faces)
    assert "\n" not in str(caught.value)


def test_size_is_checked_where_it_is_known():
    check_faces(face(0, (2, 8, 9)), (8, 9))
    with pytest.raises(MaskbenchError, match="8, 9"):
        check_faces(face(0, (2, 9, 8)), (8, 9))


def test_defaults_and_replacements():
    assert options_for("pca") == PcaOptions() and options_for("pca", {}) == PcaOptions()
    assert options_for("gpca", {"size": [32, 30], "scales": 2}) == GaborOptions(size=(32, 30), scales=2)
    assert options_for("sr", SparseOptions(components=9)).components == 9
    assert options_for("sr", {"components": 0}).components == 0
    assert set(OPTIONS) == {"pca", "gpca", "lpp", "sr"}


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("pcaa", {}, 'no classical method named "pcaa"; did you mean "pca"'),
        ("pca", {"whitten": True}, 'pca has no option "whitten"; did you mean "whiten"'),
        ("pca", {"graph": "subjects"}, 'pca has no option "graph"'),
        ("pca", {"components": 0}, "positive whole number"),
        ("pca", {"components": 2.0}, "positive whole number"),
        ("pca", {"components": True}, "positive whole number"),
        ("pca", {"size": 56}, r"must be \[height, width\]"),
        ("pca", {"size": [56, 0]}, r"must be \[height, width\]"),
        ("pca", {"light": "dim"}, "none, standard, equalise"),
        ("pca", {"light": ["none"]}, "none, standard, equalise"),
        ("pca", {"whiten": 1}, "true or false"),
        ("pca", {"comparator": "sparse-residual"}, "cosine, negative-l2"),
        ("gpca", {"highest": 0.6}, "at most 0.5"),
        ("gpca", {"spacing": 1.0}, "above 1"),
        ("lpp", {"energy": 0.0}, "above 0"),
        ("lpp", {"energy": float("nan")}, "above 0"),
        ("lpp", {"heat": -1}, "0 or more"),
        ("lpp", {"graph": None}, "neighbours, subjects"),
        ("lpp", PcaOptions(), "PcaOptions are no options of lpp; give LppOptions"),
        ("pca", PcaOptions(components=-1), "positive whole number"),
    ],
)
def test_options_that_are_refused(method, values, message):
    with pytest.raises(MaskbenchError, match=message) as caught:
        options_for(method, values)
    assert "\n" not in str(caught.value)
