"""A weighted Laplace equation on the pixels of a hole, with the known pixels around it as boundary values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Neighbours of a pixel, each pair once: (rows down, columns right).
FOUR = ((0, 1), (1, 0))
EIGHT = ((0, 1), (1, 0), (1, 1), (1, -1))


def neighbour_slices(
    offset: tuple[int, int], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Two views of an (H, W) array in which each pixel of the first meets its neighbour at ``offset`` in the second."""
    (down, right), (height, width) = offset, shape
    rows = slice(0, height - down), slice(down, height)
    columns = (slice(0, width - right), slice(right, width))
    if right < 0:
        columns = (slice(-right, width), slice(0, width + right))
    return (rows[0], columns[0]), (rows[1], columns[1])


def correction(
    difference: np.ndarray,
    hole: np.ndarray,
    weights: Sequence[np.ndarray] | None = None,
    offsets: Sequence[tuple[int, int]] = FOUR,
) -> np.ndarray:
    """The smoothest continuation h of ``difference`` into the hole: sum_j w_ij (h_i - h_j) = 0 at each i inside.

    Added to a guide g, with ``difference`` = f - g on the known pixels of a picture f, it gives the solution of
    L f = L g with f fixed outside (L the graph's Laplacian); with weights of 1 that is Poisson image editing (Perez,
    Gangnet and Blake, SIGGRAPH 2003). At the picture's border there is no neighbour, hence no condition.

    Args:
        difference: (H, W, C) float; read only at known pixels.
        hole: (H, W) bool, not all of it True.
        weights: for each offset an array of the shape that ``neighbour_slices`` gives, positive; None for 1.
        offsets: the graph's edges.

    Returns:
        (H, W, C) float64, 0 outside the hole.
    """
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    number = np.cumsum(hole.ravel()).reshape(hole.shape) - 1  # of each unknown
    count = int(hole.sum())
    diagonal, right = np.zeros(count), np.zeros((count, difference.shape[2]))
    rows, columns, values = [], [], []
    for place, offset in enumerate(offsets):
        first, second = neighbour_slices(offset, hole.shape)
        weight = np.ones(hole[first].shape) if weights is None else weights[place]
        for here, there in ((first, second), (second, first)):
            inside = hole[here]
            diagonal += np.bincount(number[here][inside], weight[inside], count)
            both, rim = inside & hole[there], inside & ~hole[there]
            rows.append(number[here][both])
            columns.append(number[there][both])
            values.append(-weight[both])
            np.add.at(right, number[here][rim], weight[rim][:, None] * difference[there][rim])
    every = np.arange(count)
    entries = np.concatenate([*values, diagonal])
    matrix = csc_matrix(
        (entries, (np.concatenate([*rows, every]), np.concatenate([*columns, every]))), shape=(count, count)
    )
    result = np.zeros(difference.shape, np.float64)
    # The matrix is symmetric and diagonally dominant: it needs no pivoting, and so keeps its sparse order.
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    result[hole] = factors.solve(right)
    return result
