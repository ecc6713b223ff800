"""Locality preserving projections.

X. He, P. Niyogi, "Locality preserving projections", NIPS 16, 2003; X. He, S. Yan, Y. Hu, P. Niyogi, H.-J. Zhang, "Face
recognition using Laplacianfaces", IEEE TPAMI 27(3), 2005: project by PCA, join near samples by a graph with heat-kernel
weights W, and keep the directions a of least  a' X L X' a  with  a' X D X' a = 1, where D = diag(W 1) and L = D - W.
"""

from __future__ import annotations

import numpy as np

from maskbench.classical.options import LppOptions
from maskbench.classical.pca import oriented, principal
from maskbench.errors import MaskbenchError


def neighbour_edges(samples: np.ndarray, neighbours: int) -> np.ndarray:
    """Pairs (E, 2), i < j, of samples of which one is among the other's nearest, sorted."""
    from sklearn.neighbors import NearestNeighbors

    count = min(neighbours, len(samples) - 1)
    search = NearestNeighbors(n_neighbors=count, algorithm="brute", n_jobs=1).fit(samples)
    near = search.kneighbors(return_distance=False)  # without the sample itself
    edges = np.column_stack([np.repeat(np.arange(len(samples)), count), near.reshape(-1)])
    return np.unique(np.sort(edges, axis=1), axis=0)


def subject_edges(subjects: np.ndarray) -> np.ndarray:
    """Pairs (E, 2), i < j, of samples of the same subject, sorted."""
    _, codes = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    groups = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    edges = [np.column_stack([group[i] for i in np.triu_indices(len(group), 1)]) for group in groups]
    found = np.sort(np.concatenate(edges), axis=1)
    return found[np.lexsort(found.T[::-1])]


def weights(samples: np.ndarray, edges: np.ndarray, heat: float):  # -> scipy.sparse.csr_array
    """The symmetric matrix W (N, N): exp(-|x_i - x_j|^2 / t) on the edges, or 1 where ``heat`` is 0."""
    from scipy.sparse import csr_array

    left, right = edges.T
    values = np.ones(len(edges))
    if heat:
        lengths = np.square(samples[left] - samples[right]).sum(axis=1)
        values = np.exp(-lengths / (heat * max(lengths.mean(), np.finfo(np.float64).tiny)))
    places = np.concatenate([left, right]), np.concatenate([right, left])
    return csr_array((np.concatenate([values, values]), places), shape=(len(samples), len(samples)))


def locality(samples: np.ndarray, graph: np.ndarray, components: int) -> np.ndarray:
    """The directions (F, K) of least ``a' X L X' a / a' X D X' a``, least first, each with a' X D X' a = 1.

    Args:
        samples: (N, F) float64 whose ``X D X'`` has full rank, as after PCA.
        graph: W (N, N), dense or sparse.

    Raises:
        MaskbenchError: the samples that the graph joins do not span the space.
    """
    from scipy.linalg import LinAlgError, eigh

    degree = np.asarray(graph.sum(axis=1)).reshape(-1)
    right = samples.T @ (samples * degree[:, None])
    left = right - samples.T @ (graph @ samples)
    try:
        _, found = eigh((left + left.T) / 2, (right + right.T) / 2, subset_by_index=(0, min(components, len(left)) - 1))
    except LinAlgError:
        raise MaskbenchError(
            "the graph of the training faces leaves directions without an edge; choose a smaller energy or more faces"
        ) from None
    return oriented(found)


def fit_lpp(samples: np.ndarray, subjects: np.ndarray | None, options: LppOptions) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) and projection (F, K): a template is ``(x - mean) @ projection``.

    Args:
        samples: (N, F) float64.
        subjects: (N,) str, for the graph "subjects".

    Raises:
        MaskbenchError: too few samples, or no subject with two of them.
    """
    mean, axes, variances = principal(samples, min(samples.shape))
    share = np.cumsum(variances) / variances.sum()
    kept = min(int(np.searchsorted(share, options.energy - 1e-12)) + 1, len(variances))
    points = (samples - mean) @ axes[:, :kept]
    if options.graph == "neighbours":
        edges = neighbour_edges(points, options.neighbours)
    elif subjects is None or not len(edges := subject_edges(subjects)):
        raise MaskbenchError('no subject has two training faces; choose the graph "neighbours"')
    directions = locality(points, weights(points, edges, options.heat), options.components)
    return mean, axes[:, :kept] @ directions
