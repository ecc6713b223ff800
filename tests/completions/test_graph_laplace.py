"""The parts of graph-laplace against direct calculations."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.completions.base import load_completion
from maskbench.completions.graph_laplace import LEAST_WEIGHT, edge_weights, lines_to, sparse_shares
from maskbench.completions.membrane import EIGHT


def test_lines_are_least_squares():
    rng = np.random.default_rng(0)
    exemplars, target = rng.uniform(0, 255, (4, 50, 3)), rng.uniform(0, 255, (50, 3))
    target = 0.8 * exemplars[2] + 10 + rng.normal(size=(50, 3))
    gain, offset = lines_to(exemplars, target, gain_limit=1e9)
    for k, c in np.ndindex(4, 3):
        slope, intercept = np.polyfit(exemplars[k, :, c], target[:, c], 1)
        if slope > 1e-6:  # a gain is never negative
            assert (gain[k, c], offset[k, c]) == pytest.approx((slope, intercept))
    assert np.allclose(gain[2], 0.8, atol=0.02) and np.allclose(offset[2], 10, atol=2)


def test_gains_are_limited_and_means_agree():
    rng = np.random.default_rng(1)
    exemplars = rng.uniform(100, 110, (3, 40, 3))
    target = 50 + 9 * (exemplars[0] - 100)
    gain, offset = lines_to(exemplars, target, gain_limit=1.5)
    assert gain.max() == 1.5 and gain.min() >= 1 / 1.5
    assert np.allclose((gain[:, None] * exemplars + offset[:, None]).mean(axis=1), target.mean(axis=0))
    flat = np.full((1, 40, 3), 7.0)
    assert (lines_to(flat, target, 1.5)[0] == 1).all()
    assert (lines_to(exemplars[:, :0], target[:0], 1.5)[0] == 1).all()


def test_shares_find_the_mixture():
    rng = np.random.default_rng(2)
    exemplars = rng.uniform(0, 255, (20, 100, 3))
    target = 0.7 * exemplars[3] + 0.3 * exemplars[11]
    shares = sparse_shares(exemplars, target)
    assert shares.sum() == pytest.approx(1) and (shares >= 0).all()
    assert shares[[3, 11]] == pytest.approx([0.7, 0.3])
    assert np.allclose(sparse_shares(exemplars, np.zeros((100, 3))), 1 / 20)  # nothing fits: all count the same
    assert np.allclose(sparse_shares(exemplars[:, :0], target[:0]), 1 / 20)


def test_weights_are_those_of_the_formula():
    rng = np.random.default_rng(3)
    exemplars, shares = rng.uniform(0, 30, (3, 5, 6, 3)), np.array([0.5, 0.3, 0.2])
    weights = edge_weights(exemplars, shares, contrast=6.0)
    luma = exemplars @ (0.299, 0.587, 0.114)
    for (down, right), found in zip(EIGHT, weights, strict=True):
        for y, column in np.ndindex(found.shape):
            x = column + max(0, -right)
            squared = sum(s * (a[y, x] - a[y + down, x + right]) ** 2 for s, a in zip(shares, luma, strict=True))
            want = max(np.exp(-squared / 72), LEAST_WEIGHT) / (2 if down and right else 1)
            assert found[y, column] == pytest.approx(want)


def test_a_face_among_the_exemplars_comes_back(training, probes):
    """When the very face was a training face, its hidden half is known."""
    completion = load_completion("graph-laplace", exemplars=10).fit(training)
    masks = probes[1][:1]
    result = completion.complete(training[5:6], masks)
    assert np.abs(result.astype(int) - training[5:6])[masks == 1].mean() < 1


def test_another_light_is_taken_over(training, probes):
    """The same face, darker: the fill is as dark."""
    completion = load_completion("graph-laplace", exemplars=10).fit(training)
    masks, dark = probes[1][:1], np.rint(training[5:6] * 0.8).astype(np.uint8)
    result = completion.complete(dark, masks)
    assert np.abs(result.astype(int) - dark)[masks == 1].mean() < 4


def test_the_fill_meets_the_known_pixels(training, probes):
    """No seam: across the hole's rim the step is no larger than the faces' own steps."""
    faces, masks, originals = probes
    completion = load_completion("graph-laplace", exemplars=10).fit(training)
    result = completion.complete(faces, masks).astype(int)
    step = np.abs(result[0, 70, 20:110] - result[0, 69, 20:110]).mean()
    assert step < 2 * np.abs(np.diff(originals[0].astype(int), axis=0)).mean() + 1


def test_one_training_face_is_enough(training, probes):
    completion = load_completion("graph-laplace", mirror=False).fit(training[:1])
    assert completion.complete(*probes[:2]).shape == probes[0].shape
