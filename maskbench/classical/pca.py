"""Principal components of pictures: eigenfaces.

M. Turk, A. Pentland, "Eigenfaces for recognition", Journal of Cognitive Neuroscience 3(1), 1991.
"""

from __future__ import annotations

import numpy as np

from maskbench.errors import MaskbenchError

_RANK = 1e-10  # eigenvalues below this share of the largest are rounding, not variance


def oriented(columns: np.ndarray) -> np.ndarray:
    """Each column with the sign that makes its entry of largest size positive (the first of several): eigenvectors
    are defined up to their sign only."""
    largest = np.abs(columns).argmax(axis=0)
    return columns * np.where(columns[largest, np.arange(columns.shape[1])] < 0, -1.0, 1.0)


def principal(samples: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, principal axes and variances of some vectors.

    Args:
        samples: (N, F) float64, N >= 2.
        components: axes wanted, at most; as many are given as there is variance along.

    Returns:
        Mean (F,), axes (F, K) as orthonormal columns of falling variance, ``oriented``, and the variances (K,) with
        N - 1 in the denominator; float64.

    Raises:
        MaskbenchError: fewer than two samples, or all of them equal.
    """
    from sklearn.decomposition import PCA

    if len(samples) < 2:
        raise MaskbenchError(f"{len(samples)} training faces; give two or more")
    # The decomposition of the smaller of the two Gram matrices costs least; both are exact and without chance.
    solver = "covariance_eigh" if samples.shape[1] <= len(samples) else "full"
    with np.errstate(invalid="ignore", divide="ignore"):  # shares of a total variance of zero: refused below
        found = PCA(min(components, *samples.shape), svd_solver=solver).fit(samples)
    variances = found.explained_variance_
    kept = int(np.count_nonzero(variances > _RANK * max(variances[0], np.finfo(np.float64).tiny)))
    if not kept or not variances[0] > np.finfo(np.float64).eps * np.square(samples).max():
        raise MaskbenchError("all training faces are equal; give different ones")
    return found.mean_, oriented(found.components_[:kept].T), variances[:kept]


def fit_pca(samples: np.ndarray, components: int, whiten: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) and projection (F, K): a template is ``(x - mean) @ projection``.

    Args:
        whiten: whether each coefficient is divided by its standard deviation over the samples.

    Raises:
        MaskbenchError: as ``principal``.
    """
    mean, axes, variances = principal(samples, components)
    return mean, axes / np.sqrt(variances) if whiten else axes
