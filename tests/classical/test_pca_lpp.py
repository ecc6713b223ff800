"""PCA and LPP against dense eigen-solutions written out with numpy.linalg, and graphs against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskbench.classical.lpp import fit_lpp, locality, neighbour_edges, subject_edges, weights
from maskbench.classical.options import LppOptions
from maskbench.classical.pca import fit_pca, oriented, principal
from maskbench.errors import MaskbenchError


def samples(count: int = 12, size: int = 20, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, size)) * np.linspace(3, 0.5, size) + rng.normal(size=size)


def dense_pca(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances, falling, and axes, from the eigenvectors of the covariance matrix."""
    centred = rows - rows.sum(axis=0) / len(rows)
    values, vectors = np.linalg.eigh(centred.T @ centred / (len(rows) - 1))
    return values[::-1], vectors[:, ::-1]


def same_up_to_sign(found: np.ndarray, wanted: np.ndarray) -> bool:
    return all(min(abs(a - b).max(), abs(a + b).max()) < 1e-8 for a, b in zip(found.T, wanted.T, strict=True))


@pytest.mark.parametrize(("count", "size"), [(12, 20), (40, 6)], ids=["few samples", "many samples"])
def test_principal_against_the_covariance_matrix(count, size):
    rows = samples(count, size)
    mean, axes, variances = principal(rows, 100)
    values, vectors = dense_pca(rows)
    rank = min(count - 1, size)
    assert np.allclose(mean, rows.mean(axis=0)) and axes.shape == (size, rank)
    assert np.allclose(variances, values[:rank]) and same_up_to_sign(axes, vectors[:, :rank])
    assert np.allclose(axes.T @ axes, np.eye(rank))
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(rank)] > 0).all()


def test_whitening_gives_unit_variances():
    rows = samples(30, 8)
    mean, projection = fit_pca(rows, 5, whiten=True)
    assert np.allclose(np.cov(((rows - mean) @ projection).T), np.eye(5))
    plain = fit_pca(rows, 5, whiten=False)[1]
    assert np.allclose(plain / np.linalg.norm(plain, axis=0), projection / np.linalg.norm(projection, axis=0))


def test_both_solvers_agree():
    rows = samples(25, 24)
    wide = np.concatenate([rows, np.zeros((25, 10))], axis=1)  # more columns than rows: the other solver
    assert np.allclose(principal(rows, 9)[1], principal(wide, 9)[1][:24], atol=1e-9)


def test_oriented_by_the_largest_entry():
    columns = np.array([[1.0, -2, 3], [-4, 2, -3]])
    assert oriented(columns).tolist() == [[-1, 2, 3], [4, -2, -3]]


@pytest.mark.parametrize(("rows", "message"), [(np.ones((1, 4)), "two or more"), (np.ones((5, 4)), "all .* equal")])
def test_nothing_to_learn_from(rows, message):
    with pytest.raises(MaskbenchError, match=message):
        principal(rows, 2)


def slow_graph(rows: np.ndarray, neighbours: int, heat: float) -> np.ndarray:
    """W by loops: i and j are joined when either is among the other's nearest."""
    count = len(rows)
    near = [sorted((math.dist(rows[i], rows[j]), j) for j in range(count) if j != i)[:neighbours] for i in range(count)]
    joined = {(i, j) for i in range(count) for _, j in near[i]}
    joined |= {(j, i) for i, j in joined}
    mean = sum(math.dist(rows[i], rows[j]) ** 2 for i, j in joined) / len(joined)
    graph = np.zeros((count, count))
    for i, j in joined:
        graph[i, j] = math.exp(-(math.dist(rows[i], rows[j]) ** 2) / (heat * mean)) if heat else 1.0
    return graph


@pytest.mark.parametrize("heat", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_the_graph_of_neighbours(neighbours, heat):
    rows = samples(15, 4)
    found = weights(rows, neighbour_edges(rows, neighbours), heat).toarray()
    assert np.allclose(found, slow_graph(rows, neighbours, heat)) and np.array_equal(found, found.T)


def test_the_graph_of_subjects():
    names = ["b", "a", "b", "c", "a", "b"]
    wanted = [[i, j] for i in range(6) for j in range(i + 1, 6) if names[i] == names[j]]
    assert subject_edges(np.array(names)).tolist() == wanted
    assert subject_edges(np.array(["a", "b"])).shape == (0, 2)


def dense_lpp(points: np.ndarray, graph: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X L X' a = lambda X D X' a through the inverse square root of the right-hand side; numpy.linalg alone."""
    degree = np.diag(graph.sum(axis=1))
    left, right = points.T @ (degree - graph) @ points, points.T @ degree @ points
    values, vectors = np.linalg.eigh(right)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    values, vectors = np.linalg.eigh(root @ left @ root)
    return values, root @ vectors


@pytest.mark.parametrize("heat", [0.0, 1.0])
def test_locality_against_a_dense_solution(heat):
    points = samples(12, 5)
    graph = slow_graph(points, 3, heat)
    values, wanted = dense_lpp(points, graph)
    found = locality(points, graph, 4)
    assert found.shape == (5, 4) and same_up_to_sign(found, wanted[:, :4])
    degree = np.diag(graph.sum(axis=1))
    assert np.allclose(found.T @ points.T @ degree @ points @ found, np.eye(4))
    assert np.allclose(found.T @ points.T @ (degree - graph) @ points @ found, np.diag(values[:4]))


@pytest.mark.parametrize("energy", [0.8, 1.0])
def test_the_whole_fit_is_pca_then_locality(energy):
    rows = samples(12, 20)
    mean, projection = fit_lpp(rows, None, LppOptions(energy=energy, neighbours=3, components=3))
    variances, axes = dense_pca(rows)
    share = np.cumsum(variances[:11]) / variances[:11].sum()
    kept = 1 + int(np.argmax(share >= energy - 1e-12))
    assert share[kept - 1] >= energy - 1e-9 and (kept == 1 or share[kept - 2] < energy)
    points = (rows - rows.mean(axis=0)) @ axes[:, :kept]
    wanted = axes[:, :kept] @ dense_lpp(points, slow_graph(points, 3, 1.0))[1][:, :3]
    assert same_up_to_sign(projection, wanted) and np.allclose(mean, rows.mean(axis=0))


def test_the_graph_of_subjects_pulls_subjects_together():
    rng = np.random.default_rng(5)
    names = np.repeat([f"p{i}" for i in range(6)], 8)
    rows = np.repeat(rng.normal(size=(6, 10)), 8, axis=0) + rng.normal(size=(48, 10)) * np.r_[[0.1] * 5, [9.0] * 5]
    mean, projection = fit_lpp(rows, names, LppOptions(energy=1.0, graph="subjects", components=4))
    points = (rows - mean) @ projection
    centres = np.array([points[names == name].mean(axis=0) for name in names])
    assert np.square(points - centres).sum() < 0.1 * np.square(points - points.mean(axis=0)).sum()


@pytest.mark.parametrize("names", [None, np.array([str(i) for i in range(12)])])
def test_a_graph_of_subjects_needs_pairs(names):
    with pytest.raises(MaskbenchError, match='choose the graph "neighbours"'):
        fit_lpp(samples(), names, LppOptions(graph="subjects"))


def test_directions_without_an_edge_are_an_error():
    names = np.array(["a", "a", *map(str, range(10))])
    with pytest.raises(MaskbenchError, match="without an edge"):
        fit_lpp(samples(), names, LppOptions(graph="subjects", energy=1.0))
