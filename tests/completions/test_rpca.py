"""tensorly's robust PCA against another algorithm for the same problem, and the completion around it."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.completions.base import load_completion
from maskbench.completions.rpca import low_rank


def shrink(values, by):
    return np.sign(values) * np.maximum(np.abs(values) - by, 0)


def pursuit(matrix, observed, weight, rate=1.03, rounds=500):
    """Principal component pursuit with missing entries by inexact augmented Lagrange multipliers.

    Lin, Chen and Ma, arXiv:1009.5055; entries that are not observed may be anything in the sparse part, at no cost.
    One block for the nuclear norm, none of tensorly's splitting.
    """
    low, sparse, multiplier = (np.zeros_like(matrix) for _ in range(3))
    mu = 1.25 / np.linalg.norm(matrix, 2)
    for _ in range(rounds):
        left, values, right = np.linalg.svd(matrix - sparse + multiplier / mu, full_matrices=False)
        low = (left * np.maximum(values - 1 / mu, 0)) @ right
        rest = matrix - low + multiplier / mu
        sparse = np.where(observed, shrink(rest, weight / mu), rest)
        multiplier = multiplier + mu * (matrix - low - sparse)
        mu = min(mu * rate, 1e6)
    return low


def cost(low, matrix, observed, weight):
    """What is minimised, with the sparse part that goes with ``low``."""
    return np.linalg.norm(low, "nuc") + weight * np.abs(matrix - low)[observed].sum()


def problem(rows=120, columns=40, rank=2, errors=0.05, missing=0.1, noise=0.0, seed=0):
    """A low-rank matrix, the same with large errors (and noise) on some entries, and which are observed."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    matrix = truth + noise * rng.normal(size=truth.shape)
    matrix += np.where(rng.random(truth.shape) < errors, rng.uniform(-10, 10, truth.shape), 0)
    return truth, matrix, rng.random(truth.shape) >= missing


def test_low_rank_sparse_and_missing_are_told_apart():
    truth, matrix, observed = problem()
    got = low_rank(np.where(observed, matrix, 0), observed, iterations=300, tolerance=1e-7)
    other = pursuit(np.where(observed, matrix, 0), observed, 1 / np.sqrt(120))
    scale = np.abs(truth).mean()
    assert np.abs(other - truth).mean() < 1e-3 * scale
    assert np.abs(got - truth).mean() < 1e-3 * scale
    assert np.abs(got - truth)[~observed].mean() < 2e-3 * scale


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0])
def test_the_weights_are_those_of_principal_component_pursuit(weight):
    """With noise nothing is recovered exactly, and another weight would give another answer."""
    _, matrix, observed = problem(rows=80, columns=30, rank=3, noise=0.4, seed=4)
    matrix, unit = np.where(observed, matrix, 0), 1 / np.sqrt(80)
    want = pursuit(matrix, observed, weight * unit)
    got = low_rank(matrix, observed, sparse_weight=weight, iterations=300, tolerance=1e-9)
    best = cost(want, matrix, observed, weight * unit)
    assert cost(got, matrix, observed, weight * unit) < 1.01 * best
    halved = pursuit(matrix, observed, weight * unit / 2)
    distance = np.linalg.norm(got - want)
    assert distance < 0.2 * np.linalg.norm(halved - want)


def test_tensorly_counts_the_nuclear_norm_of_a_matrix_twice():
    """reg_J = 1 and reg_E = 2 w are the problem of reg_J = 1/2 and reg_E = w."""
    from tensorly.decomposition import robust_pca

    _, matrix, observed = problem(rows=80, columns=30, rank=3, noise=0.4, seed=4)
    matrix, unit = np.where(observed, matrix, 0), 1 / np.sqrt(80)
    found, _ = robust_pca(
        matrix, mask=observed.astype(float), reg_E=2 * unit, reg_J=1.0, mu_init=0.01, n_iter_max=200, verbose=0
    )
    want = pursuit(matrix, observed, unit)
    naive, _ = robust_pca(
        matrix, mask=observed.astype(float), reg_E=unit, reg_J=1.0, mu_init=0.01, n_iter_max=200, verbose=0
    )
    assert np.linalg.norm(found - want) < 0.2 * np.linalg.norm(naive - want)


def test_where_nothing_is_observed_the_start_does_not_matter():
    _, matrix, observed = problem()
    one = low_rank(np.where(observed, matrix, 0), observed, iterations=300, tolerance=1e-7)
    other = low_rank(np.where(observed, matrix, 3), observed, iterations=300, tolerance=1e-7)
    assert np.abs(one - other).max() < 0.02 * np.abs(one).max()


def test_a_matrix_of_zeros_and_its_input_stay():
    zeros = np.zeros((6, 4))
    assert (low_rank(zeros, np.ones((6, 4), bool)) == 0).all()
    matrix = np.arange(24.0).reshape(6, 4)
    low_rank(matrix, np.ones((6, 4), bool), iterations=3)
    assert (matrix == np.arange(24.0).reshape(6, 4)).all()


@pytest.mark.parametrize("settings", [{}, {"centred": False}, {"seam": "none"}, {"growth": 1.5}, {"mirror": False}])
def test_a_face_of_few_degrees_of_freedom_comes_back(training, probes, settings):
    faces, masks, originals = probes
    completion = load_completion("rpca", exemplars=30, **settings).fit(training)
    result = completion.complete(faces[:1], masks[:1])[0].astype(int)
    assert np.abs(result - originals[0])[masks[0] == 1].mean() < 8


def test_the_answer_does_not_depend_on_tensorly_s_backend(training, probes):
    import tensorly

    completion = load_completion("rpca", exemplars=10, iterations=5).fit(training)
    want = completion.complete(*probes[:2])
    pytest.importorskip("torch")
    with tensorly.backend_context("pytorch"):
        assert (completion.complete(*probes[:2]) == want).all()
        assert tensorly.get_backend() == "pytorch"


def test_more_exemplars_than_faces(training, probes):
    completion = load_completion("rpca", exemplars=1000, mirror=False).fit(training[:5])
    assert completion.complete(*probes[:2]).shape == probes[0].shape
