"""The recognizers without weights."""

import numpy as np
import pytest

from maskbench.recognizers.base import checked_embed, load_recognizer, spec_digest
from maskbench.types import Status


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Forty pictures: twenty smooth patterns, each twice with a little noise and another brightness."""
    rng = np.random.default_rng(4)
    coarse = rng.uniform(40, 200, (20, 8, 8, 3))
    smooth = np.repeat(np.repeat(np.repeat(coarse, 2, axis=0), 14, axis=1), 14, axis=2)
    brightness = rng.uniform(-20, 20, (40, 1, 1, 1))
    return np.clip(smooth + brightness + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def test_formula(faces):
    vectors, status = checked_embed(load_recognizer("dummy"), faces[:3])
    grey = faces[:3].astype(np.float64) @ (0.299, 0.587, 0.114)
    cells = grey.reshape(3, 16, 7, 16, 7).mean(axis=(2, 4)).reshape(3, 256)
    cells -= cells.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, cells / np.linalg.norm(cells, axis=1, keepdims=True), atol=1e-5)
    assert not status.any()


def test_it_recognises_a_little(faces):
    vectors, _ = checked_embed(load_recognizer("dummy"), faces)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    np.testing.assert_array_equal(likeness.argmax(axis=1), np.arange(40) ^ 1)


def test_flat_faces_fail():
    vectors, status = load_recognizer("dummy").embed(np.full((2, 112, 112, 3), 90, np.uint8))
    assert (status == Status.FAILED).all() and np.isnan(vectors).all()


def test_failures_depend_on_content_alone(faces):
    recognizer = load_recognizer("dummy-failing")
    vectors, status = checked_embed(recognizer, faces)
    assert 2 <= (status == Status.FAILED).sum() <= 20
    order = np.random.default_rng(0).permutation(40)
    again = np.concatenate([recognizer.embed(faces[order[i : i + 1]])[1] for i in range(40)])
    np.testing.assert_array_equal(again, status[order])
    good = status == Status.OK
    np.testing.assert_array_equal(vectors[good], load_recognizer("dummy").embed(faces[good])[0])


def test_the_two_are_not_taken_for_each_other():
    specs = [load_recognizer(name).spec for name in ("dummy", "dummy-failing")]
    assert spec_digest(specs[0]) != spec_digest(specs[1])
    assert specs[0].engine == "numpy" and specs[0].parameters == 0


def test_no_faces():
    vectors, status = load_recognizer("dummy-failing").embed(np.zeros((0, 112, 112, 3), np.uint8))
    assert vectors.shape == (0, 256) and status.shape == (0,)
