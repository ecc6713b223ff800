"""Sparse-representation classification.

J. Wright, A. Y. Yang, A. Ganesh, S. S. Sastry, Y. Ma, "Robust face recognition via sparse representation", IEEE TPAMI
31(2), 2009: a probe y is written as a sparse combination x of all reference vectors A, and belongs to the class whose
own part of that combination leaves the smallest residual |y - A_j x_j|.
"""

from __future__ import annotations

import warnings

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.parallel import one_blas_thread

SPARSITY = 0.05  # lambda; a reference takes part in a code while its product with what is left unexplained exceeds it
_NOTHING = 1e-12
_STEPS = 100_000  # of the path, in each of which one coefficient enters or leaves: never reached
_CELLS = 1 << 22  # numbers that a block of residuals may hold


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows (N, D) scaled to length 1, float64; NaN where a row has no direction or is not finite."""
    vectors = np.asarray(vectors, np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        vectors = vectors / np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
        return vectors / np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]


class SparseClassifier:
    """The classifier over labelled reference vectors.

    A code is ``argmin 1/2 |y - A x|^2 + sparsity |x|_1`` found
    exactly by following the path of solutions from large penalties down (scikit-learn's ``lars_path``), with y and the
    columns of A of length 1. Every probe is coded on its own: its residuals do not depend on the others.

    Args:
        sparsity: lambda, above 0 and below 1. Where it exceeds every cosine the code is zero and all residuals are 1.
    """

    def __init__(self, sparsity: float = SPARSITY) -> None:
        if not 0 < sparsity < 1:
            raise MaskbenchError(f"sparsity must be above 0 and below 1, not {sparsity!r}")
        self.sparsity = float(sparsity)

    def fit(self, gallery: np.ndarray, labels: np.ndarray) -> SparseClassifier:
        """Keep the references.

        Args:
            gallery: (R, D) floats, several rows for a subject if there are several pictures of it.
            labels: (R,) of anything that sorts; ``classes`` holds the distinct ones, sorted.

        Raises:
            MaskbenchError: no reference, differing lengths, or a vector without a direction.
        """
        gallery, labels = np.asarray(gallery), np.asarray(labels)
        if gallery.ndim != 2 or 0 in gallery.shape or labels.shape != gallery.shape[:1]:
            raise MaskbenchError(f"references {gallery.shape}, labels {labels.shape}; give (R, D), (R,), R at least 1")
        atoms = unit(gallery)
        if not np.isfinite(atoms).all():
            raise MaskbenchError("a reference is all zeros or not finite; leave it out")
        self.classes, self._members = np.unique(labels, return_inverse=True)
        order = np.lexsort(atoms.T)  # by content: the order in which they were given changes nothing
        self._members = self._members[order]
        self._atoms = np.asfortranarray(atoms[order].T)
        self._order = order
        return self

    def codes(self, probes: np.ndarray) -> np.ndarray:
        """Sparse codes (P, R) float64 of probes (P, D), columns as the references were given; NaN for a probe without
        a direction."""
        codes = self._codes(self._checked(probes))
        given = np.empty_like(codes)
        given[:, self._order] = codes
        return given

    def residuals(self, probes: np.ndarray) -> np.ndarray:
        """|y - A_j x_j| of probes (P, D) for each class, (P, C) float64, C as ``classes``; NaN as for ``codes``."""
        targets = self._checked(probes)
        found = np.empty((len(targets), len(self.classes)))
        step = max(1, _CELLS // max(self._atoms.shape))
        for start in range(0, len(targets), step):
            block = slice(start, start + step)
            found[block] = self._residuals(targets[block], self._codes(targets[block]))
        return found

    def predict(self, probes: np.ndarray) -> np.ndarray:
        """The label (P,) of the smallest residual, the first of several.

        Raises:
            MaskbenchError: a probe has no direction.
        """
        residuals = self.residuals(probes)
        if np.isnan(residuals).any():
            raise MaskbenchError("a probe is all zeros or not finite; leave it out")
        return self.classes[residuals.argmin(axis=1)]

    def _checked(self, probes: np.ndarray) -> np.ndarray:
        probes = np.asarray(probes)
        if probes.ndim != 2 or probes.shape[1] != len(self._atoms):
            raise MaskbenchError(f"probes {probes.shape} against references of {len(self._atoms)} numbers; embed alike")
        return unit(probes)

    def _codes(self, targets: np.ndarray) -> np.ndarray:
        codes = np.full((len(targets), self._atoms.shape[1]), np.nan)
        usable = np.flatnonzero(np.isfinite(targets).all(axis=1))
        # One thread: many small products, which more only slow down, and sums in one order.
        with one_blas_thread(openmp=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nearly parallel atoms: one of them is used, the same every time
            for row in usable:
                codes[row] = self._code(targets[row])
        return codes

    def _code(self, target: np.ndarray) -> np.ndarray:
        from sklearn.linear_model import lars_path

        rows = len(self._atoms)  # scikit-learn divides the squared error by their number
        code = lars_path(
            self._atoms, target, method="lasso", alpha_min=self.sparsity / rows, max_iter=_STEPS, return_path=False
        )[2]
        return np.where(np.abs(code) < _NOTHING, 0.0, code)  # what is left of coefficients on their way through 0

    def _residuals(self, targets: np.ndarray, codes: np.ndarray) -> np.ndarray:
        found = np.full((len(targets), len(self.classes)), np.nan)
        for row in np.flatnonzero(np.isfinite(codes).all(axis=1)):
            found[row] = self._row(targets[row], codes[row])
        return found

    def _row(self, target: np.ndarray, code: np.ndarray) -> np.ndarray:
        """Only classes with a non-zero coefficient differ from |y|."""
        used = np.flatnonzero(code)
        touched, members = np.unique(self._members[used], return_inverse=True)
        parts = np.zeros((len(touched), len(target)))
        np.add.at(parts, members, (self._atoms[:, used] * code[used]).T)
        found = np.full(len(self.classes), np.sqrt(np.einsum("i,i->", target, target)))
        left = target - parts
        found[touched] = np.sqrt(np.einsum("ij,ij->i", left, left))
        return found


def reference_residuals(references: np.ndarray, probes: np.ndarray, sparsity: float = SPARSITY) -> np.ndarray:
    """|y - A_j x_j| of probes (P, D) with every distinct reference vector (R, D) as a class of its own: (P, R) float64.

    Equal references are one class and share its residual. NaN for a reference or a probe without a direction; such a
    reference takes no part in the code either.
    """
    found = np.full((len(probes), len(references)), np.nan)
    usable = np.flatnonzero(np.isfinite(unit(references)).all(axis=1))
    if len(usable) and len(probes):
        atoms, classes = np.unique(np.asarray(references)[usable], axis=0, return_inverse=True)
        classifier = SparseClassifier(sparsity).fit(atoms, np.arange(len(atoms)))
        found[:, usable] = classifier.residuals(probes)[:, classes.reshape(-1)]
    return found
