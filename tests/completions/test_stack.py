"""Exemplars against a plain search, block means against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.completions.stack import (
    CHROMA_SIDE,
    LUMA_SIDE,
    block_means,
    enlarged,
    make_stack,
    reduced,
    reduced_all,
    seen_means,
)


def test_block_means():
    faces = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    got = block_means(faces, 4).reshape(3, 4, 4, 3)
    for n, y, x in np.ndindex(3, 4, 4):
        block = faces[n, 4 * y : 4 * y + 4, 6 * x : 6 * x + 6].astype(float)
        assert np.allclose(got[n, y, x], block.mean(axis=(0, 1)))
    assert np.allclose(block_means(faces / 7.0, 4), got.reshape(3, 16, 3) / 7)


def test_reduced_without_a_hole_is_reduced_all(training):
    values, seen = reduced(training[0], np.zeros((128, 128), bool), 32)
    assert seen.all() and values.shape == (32 * 32 + 2 * 16 * 16,)
    assert np.allclose(values, reduced_all(training[:1], 32)[0])


def test_holes_are_left_out_of_means():
    rng = np.random.default_rng(1)
    face, hole = rng.integers(0, 256, (16, 16, 3), np.uint8), rng.random((16, 16)) < 0.5
    values, seen = seen_means(face, hole, 4)
    for y, x in np.ndindex(4, 4):
        here = (slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4))
        known = ~hole[here]
        assert seen[4 * y + x] == (known.sum() >= 8)
        want = face[here][known].astype(float).mean(axis=0) if known.sum() >= 8 else 0
        assert np.allclose(values[4 * y + x], want)


def test_reducing_and_enlarging_keep_smooth_pictures(training):
    for side, most in ((64, 1.0), (32, 2.0), (16, 5.0)):
        again = enlarged(reduced_all(training[:1], side)[0], side, (128, 128))
        assert np.abs(again - training[0])[8:-8, 8:-8].mean() < most
    flat = np.broadcast_to(np.array([200, 40, 90], np.uint8), (1, 128, 128, 3))
    assert np.abs(enlarged(reduced_all(flat, 32)[0], 32, (128, 128)) - flat[0]).max() < 0.01


@pytest.mark.parametrize("grey", [False, True])
def test_the_nearest_are_those_of_a_plain_search(training, probes, grey):
    stack = make_stack(training, keep=1000, mirror=True)
    assert len(stack.features) == 2 * len(training)
    face, hole = probes[0][0], probes[1][0] == 1
    got = stack.nearest(face, hole, 120, grey)
    assert sorted(got) == list(range(120))
    # The same quantised values, compared as Python's own integers.
    values, seen = reduced(face, hole, LUMA_SIDE)
    split = LUMA_SIDE**2
    levels = np.clip(np.floor(np.r_[values[:split] / 4, values[split:] / 2 + 32] + 1e-6), 0, 63).astype(int)
    used = seen & (np.arange(len(seen)) < split) if grey else seen
    distances = ((stack.features.astype(int) - levels)[:, used] ** 2).sum(axis=1)
    assert (got == np.argsort(distances, kind="stable")).all()
    assert (stack.nearest(face, hole, 7, grey) == got[:7]).all()


def test_sums_of_features_are_exact_in_float32():
    assert 63**2 * (LUMA_SIDE**2 + 2 * CHROMA_SIDE**2) < 2**24
    assert 2 * 63 * 63 * (LUMA_SIDE**2 + 2 * CHROMA_SIDE**2) < 2**24


def test_a_face_finds_itself_and_its_mirror_image(training):
    stack = make_stack(training, keep=1000, mirror=True)
    hole = np.zeros((128, 128), bool)
    hole[60:] = True
    assert stack.nearest(training[17], hole, 1, False)[0] == 17
    found = stack.nearest(np.ascontiguousarray(training[17][:, ::-1]), hole, 1, False)
    assert (stack.take(found)[0] == training[17][:, ::-1]).all() and found[0] == 60 + 17
    assert (stack.take(np.array([17, 77]))[0] == training[17]).all()


def test_what_is_kept_is_evenly_spaced_and_the_mean_is_of_all(training):
    stack = make_stack(training, keep=7, mirror=False)
    assert (stack.faces == training[[0, 8, 17, 25, 34, 42, 51]]).all() and len(stack.features) == 7
    assert np.abs(stack.unseen - training.astype(float).mean(axis=0)).max() <= 0.5 + 1e-9
    assert len(make_stack(training, keep=60, mirror=False).faces) == 60
    stack.take(np.arange(7))[:] = 0  # a copy
    assert (stack.faces == training[[0, 8, 17, 25, 34, 42, 51]]).all() and not np.shares_memory(stack.faces, training)
