"""The sparse classifier: known supports, conditions of optimality, residuals by hand, the same answers in any order."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from maskbench.classical.sparse import SPARSITY, SparseClassifier, reference_residuals, unit
from maskbench.errors import MaskbenchError


def toy(seed: int = 0, atoms: int = 40, size: int = 120) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(atoms, size)).astype(np.float32), rng


@pytest.mark.parametrize("support", [[3], [5, 17], [0, 8, 39]])
def test_a_known_support_is_found(support):
    gallery, rng = toy()
    directions = unit(gallery)
    probe = (rng.uniform(0.6, 1.0, len(support)) @ directions[support])[None]
    code = SparseClassifier(0.02).fit(gallery, np.arange(40)).codes(probe)[0]
    assert np.flatnonzero(code).tolist() == support
    exact = np.linalg.lstsq(directions[support].T, unit(probe)[0], rcond=None)[0]
    assert np.allclose(code[support], exact, atol=0.05)  # shrunk by the penalty


@pytest.mark.parametrize("sparsity", [0.001, 0.05, 0.3])
@pytest.mark.parametrize(("atoms", "size"), [(40, 120), (90, 30)])
def test_codes_are_optimal(atoms, size, sparsity):
    """The conditions of the lasso: A'(y - Ax) is lambda sign(x) where x is not 0, and at most lambda in size."""
    gallery, rng = toy(1, atoms, size)
    probes = rng.normal(size=(6, size)) + gallery[:6]
    codes = SparseClassifier(sparsity).fit(gallery, np.arange(atoms)).codes(probes)
    directions = unit(gallery)
    slope = (unit(probes) - codes @ directions) @ directions.T
    assert np.abs(slope).max() <= sparsity + 1e-9
    assert np.allclose(slope[codes != 0], sparsity * np.sign(codes[codes != 0]), atol=1e-9)


@pytest.mark.parametrize("noise", [1e-6, 1e-3])
def test_codes_are_optimal_among_near_twins(noise):
    """Vectors as alike as faces are, and each twice but for a little noise: paths on which coefficients come and go."""
    rng = np.random.default_rng(10)
    gallery = rng.normal(size=168) * 2 + rng.normal(size=(60, 168))
    gallery = np.concatenate([gallery, gallery + noise * rng.normal(size=gallery.shape)])
    probes = gallery[:20] + 0.5 * rng.normal(size=(20, 168))
    codes = SparseClassifier().fit(gallery, np.arange(120)).codes(probes)
    slope = (unit(probes) - codes @ unit(gallery)) @ unit(gallery).T
    assert np.abs(slope).max() <= SPARSITY + 1e-9
    assert np.allclose(slope[codes != 0], SPARSITY * np.sign(codes[codes != 0]), atol=1e-9)


def test_residuals_are_of_each_class_alone():
    gallery, rng = toy(2, 12, 20)
    labels = np.array(list("abcabcabcabc"))
    probes = rng.normal(size=(5, 20)) + gallery[:5]
    classifier = SparseClassifier(0.05).fit(gallery, labels)
    found, codes = classifier.residuals(probes), classifier.codes(probes)
    assert classifier.classes.tolist() == ["a", "b", "c"] and found.shape == (5, 3)
    for row, target in enumerate(unit(probes)):
        for column, name in enumerate("abc"):
            part = sum(codes[row, j] * unit(gallery)[j] for j in range(12) if labels[j] == name)
            assert found[row, column] == pytest.approx(math.dist(target, part), abs=1e-12)
    assert classifier.predict(probes).tolist() == [classifier.classes[row.argmin()] for row in found]


def test_several_pictures_of_a_subject_help_each_other():
    rng = np.random.default_rng(3)
    people = rng.normal(size=(8, 3, 60))  # each spans a space of three directions
    gallery = np.einsum("pkd,pnk->pnd", people, rng.normal(size=(8, 5, 3))).reshape(40, 60)
    probes = np.einsum("pkd,pnk->pnd", people, rng.normal(size=(8, 4, 3))).reshape(32, 60)
    found = SparseClassifier().fit(gallery, np.repeat(np.arange(8), 5)).predict(probes)
    assert np.array_equal(found, np.repeat(np.arange(8), 4))


def test_neither_order_nor_company_changes_a_residual():
    gallery, rng = toy(4)
    probes = rng.normal(size=(9, 120)).astype(np.float32)
    labels = np.arange(40) % 13
    found = SparseClassifier().fit(gallery, labels).residuals(probes)
    order = rng.permutation(40)
    shuffled = SparseClassifier().fit(gallery[order], labels[order])
    assert np.array_equal(shuffled.residuals(probes[::-1])[::-1], found)
    assert all(np.array_equal(shuffled.residuals(probes[i : i + 1])[0], found[i]) for i in range(9))
    rows = reference_residuals(gallery, probes)
    assert np.array_equal(reference_residuals(gallery[order], probes[:3]), rows[:3, order])


def test_lengths_do_not_matter():
    gallery, rng = toy(5)
    probes = rng.normal(size=(3, 120))
    wanted = reference_residuals(gallery, probes)
    assert np.allclose(reference_residuals(gallery * 1e-30, probes * 1e25), wanted, atol=1e-6)


def test_one_reference_gives_the_soft_cosine():
    """x = max(c - lambda, 0) for the cosine c, so |y - x r|^2 = 1 - 2 x c + x^2: the same with the roles exchanged."""
    a, b = np.array([[3.0, 4.0]]), np.array([[1.0, 0.2]])
    cosine = (3 * 1 + 4 * 0.2) / 5 / math.hypot(1, 0.2)
    used = cosine - SPARSITY
    wanted = math.sqrt(1 - 2 * used * cosine + used**2)
    assert reference_residuals(a, b)[0, 0] == pytest.approx(wanted, abs=1e-12)
    assert reference_residuals(b, a)[0, 0] == pytest.approx(wanted, abs=1e-12)
    assert reference_residuals(a, np.array([[-4.0, 3.0]]))[0, 0] == pytest.approx(1)
    assert reference_residuals(a, -a)[0, 0] == pytest.approx(SPARSITY)  # coefficients may be negative, as in the paper


def test_equal_references_share_a_residual_and_none_without_direction_counts():
    gallery, rng = toy(6, 5, 10)
    probes = np.concatenate([rng.normal(size=(2, 10)), np.zeros((1, 10))])
    plain = reference_residuals(gallery, probes)
    more = np.concatenate([gallery, gallery[1:2], np.zeros((1, 10)), np.full((1, 10), np.nan)]).astype(np.float32)
    found = reference_residuals(more, probes)
    assert np.array_equal(found[:2, :5], plain[:2]) and np.array_equal(found[:, 5], found[:, 1], equal_nan=True)
    assert np.isnan(found[:, 6:]).all() and np.isnan(found[2]).all()
    assert reference_residuals(more[6:7], probes).shape == (3, 1)
    assert reference_residuals(gallery, probes[:0]).shape == (0, 5)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads):
    from threadpoolctl import threadpool_limits

    gallery, rng = toy(7, 200, 168)
    probes = rng.normal(size=(4, 168)) + gallery[:4]
    with threadpool_limits(threads):
        found = reference_residuals(gallery, probes)
    with threadpool_limits(1):
        assert np.array_equal(found, reference_residuals(gallery, probes))


def test_bad_input():
    gallery, _ = toy(8, 4, 6)
    for sparsity in (0, 1, -0.1, float("nan")):
        with pytest.raises(MaskbenchError, match="sparsity"):
            SparseClassifier(sparsity)
    for rows, labels in ((gallery, np.arange(3)), (gallery[0], np.arange(6)), (gallery[:0], np.arange(0))):
        with pytest.raises(MaskbenchError, match="R at least 1"):
            SparseClassifier().fit(rows, labels)
    with pytest.raises(MaskbenchError, match="a reference is all zeros"):
        SparseClassifier().fit(np.zeros((1, 6)), np.arange(1))
    fitted = SparseClassifier().fit(gallery, np.arange(4))
    with pytest.raises(MaskbenchError, match="references of 6 numbers"):
        fitted.residuals(np.ones((1, 5)))
    with pytest.raises(MaskbenchError, match="a probe is all zeros"):
        fitted.predict(np.zeros((1, 6)))


@pytest.mark.slow
def test_a_probe_takes_milliseconds():
    """On vectors as alike as faces are; processor time and the best of several rounds, for what else runs meanwhile."""
    rng = np.random.default_rng(9)
    common = rng.normal(size=168)
    rows = [common * 0.7 + rng.normal(size=(count, 168)) for count in (200, 20)]
    fitted, best = SparseClassifier().fit(rows[0], np.arange(200)), math.inf
    for _ in range(8):
        begin = time.process_time()
        fitted.residuals(rows[1])
        best = min(best, (time.process_time() - begin) / 20)
    assert best < 0.01
