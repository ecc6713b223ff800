"""Robust principal component analysis: the face as one more column of a low-rank matrix of faces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from maskbench.completions.base import CompletionSpec, completion_digest
from maskbench.completions.facewise import Facewise
from maskbench.completions.membrane import correction
from maskbench.completions.settings import as_mapping, choice, make_settings, number, whole
from maskbench.completions.stack import Stack, enlarged, make_stack, reduced, reduced_all


@dataclass(frozen=True)
class RpcaSettings:
    """The options of rpca; docs/completions.md explains them."""

    exemplars: int = whole(48, 2, 1000)
    side: int = choice(32, 16, 64)
    sparse_weight: float = number(1.0, 0.01, 100.0)
    iterations: int = whole(40, 1, 1000)
    tolerance: float = number(1e-3, 1e-9, 0.1)
    growth: float = number(1.2, 1.01, 2.0)
    centred: bool = choice(True, False)
    seam: str = choice("membrane", "none")
    keep: int = whole(4000, 2, 100_000)
    mirror: bool = choice(True, False)
    guard: int = whole(0, 0, 16)


def low_rank(
    matrix: np.ndarray, observed: np.ndarray, sparse_weight: float = 1.0, iterations: int = 40,
    tolerance: float = 1e-3, growth: float = 1.1,
) -> np.ndarray:  # fmt: skip
    """The low-rank part of a matrix some of whose entries are not observed, by tensorly's robust_pca.

    Principal component pursuit (Candes, Li, Ma and Wright, J. ACM 58(3), 2011, section 1.6 for missing entries):
    min |L|_* + w |S|_1 subject to L + S = matrix on the observed entries, w = sparse_weight / sqrt(max(m, n)).

    tensorly (0.10.0) takes the nuclear norms of all unfoldings of a tensor. Those of a matrix are the matrix and its
    transpose, with the same norm, so it minimises 2 reg_J |L|_* + reg_E |S|_1: reg_J = 1/2 and reg_E = w is the
    problem above. Its mask is 1 where observed. Its tolerance is absolute; ours is relative to the matrix.

    Args:
        matrix: (m, n) float; entries that are not observed are only where the iteration starts.
        observed: (m, n) bool.
        iterations, tolerance: it stops after so many, or when |matrix - L - S| and tensorly's own splitting of L are
            both within tolerance * |matrix|.
        growth: of the penalty from one iteration to the next. The nearer to 1, the nearer the answer to the minimum,
            and the more iterations that takes.

    Returns:
        (m, n) float64.
    """
    import tensorly
    from tensorly.decomposition import robust_pca

    matrix = np.asarray(matrix, np.float64)
    largest = np.linalg.norm(matrix, 2)
    if largest == 0:
        return np.zeros_like(matrix)
    with tensorly.backend_context("numpy", local_threadsafe=True):
        result, _ = robust_pca(
            matrix, mask=observed.astype(np.float64), tol=tolerance * np.linalg.norm(matrix), reg_J=0.5,
            reg_E=sparse_weight / np.sqrt(max(matrix.shape)), mu_init=1.25 / largest, mu_max=1e7 / largest,
            learning_rate=growth, n_iter_max=iterations, verbose=0,
        )  # fmt: skip
    return np.asarray(result)


@dataclass(frozen=True, eq=False)
class RpcaFill:
    """A ``Fill`` by the low-rank part's column."""

    stack: Stack
    settings: RpcaSettings
    unseen: np.ndarray

    def __call__(self, face: np.ndarray, hole: np.ndarray, grey: bool) -> np.ndarray:
        """See ``Fill``."""
        options = self.settings
        chosen = self.stack.take(self.stack.nearest(face, hole, options.exemplars, grey))
        columns = reduced_all(chosen, options.side) / 255
        probe, observed = reduced(face, hole, options.side)
        mean = columns.mean(axis=0) if options.centred else np.zeros(columns.shape[1])
        matrix = np.column_stack([(columns - mean).T, np.where(observed, probe / 255 - mean, 0)])
        known = np.ones(matrix.shape, bool)
        known[:, -1] = observed
        found = low_rank(
            matrix, known, options.sparse_weight, options.iterations, options.tolerance, options.growth
        )
        values = enlarged((found[:, -1] + mean) * 255, options.side, hole.shape)
        return values + correction(face - values, hole) if options.seam == "membrane" else values


def learn_rpca(settings: RpcaSettings, faces: np.ndarray) -> RpcaFill:
    """The fill of training faces (N, H, W, 3) uint8."""
    stack = make_stack(faces, settings.keep, settings.mirror)
    return RpcaFill(stack, settings, stack.unseen)


def rpca(device: str = "auto", **settings: object) -> Facewise:
    """The completion "rpca"."""
    options = make_settings(RpcaSettings, "rpca", settings)
    spec = CompletionSpec("rpca", needs_fit=True, settings=as_mapping(options))
    return Facewise(spec, completion_digest(spec), None, partial(learn_rpca, options), options.guard)
