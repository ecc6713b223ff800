"""Normalisation against the formula in float64."""

from dataclasses import replace

import numpy as np
import pytest

from maskbench.recognizers.dummy import dummy
from maskbench.recognizers.preprocess import preprocess

SPEC = replace(dummy().spec, mean=(122.782, 117.001, 104.298), std=(256.0, 128.0, 57.375))
FACES = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_formula(order):
    batch = preprocess(FACES, replace(SPEC, colour_order=order))
    pixels = FACES if order == "RGB" else FACES[..., ::-1]
    wanted = ((pixels.astype(np.float64) - SPEC.mean) / SPEC.std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(batch, wanted, atol=1e-6)
    assert batch.dtype == np.float32 and batch.flags.c_contiguous and batch.shape == (4, 3, 5, 6)


def test_faces_stay_as_they_were():
    before = FACES.copy()
    FACES.setflags(write=False)
    preprocess(FACES, SPEC)
    np.testing.assert_array_equal(FACES, before)


def test_any_memory_layout_gives_the_same():
    turned = np.asfortranarray(FACES[::-1])
    np.testing.assert_array_equal(preprocess(turned, SPEC), preprocess(FACES, SPEC)[::-1])
    assert preprocess(FACES[:0], SPEC).shape == (0, 3, 5, 6)
