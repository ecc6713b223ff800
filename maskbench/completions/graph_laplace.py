"""Graph Laplace: similar faces guide the fill, and say along which edges colour may flow into it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from maskbench.completions.base import CompletionSpec, completion_digest
from maskbench.completions.facewise import Facewise
from maskbench.completions.membrane import EIGHT, correction, neighbour_slices
from maskbench.completions.settings import as_mapping, choice, make_settings, number, whole
from maskbench.completions.stack import LUMA_SIDE, Stack, block_means, make_stack, seen_means
from maskbench.pixels import LUMA

LEAST_WEIGHT = 1e-3  # of an edge, so that nothing is cut off from the known pixels


@dataclass(frozen=True)
class GraphLaplaceSettings:
    """The options of graph-laplace; docs/completions.md explains them."""

    exemplars: int = whole(40, 1, 1000)
    contrast: float = number(4.0, 0.5, 255.0)
    gain_limit: float = number(1.5, 1.0, 8.0)
    keep: int = whole(4000, 1, 100_000)
    mirror: bool = choice(True, False)
    guard: int = whole(0, 0, 16)


@dataclass(frozen=True, eq=False)
class GraphLaplaceFill:
    """A ``Fill`` by the weighted Laplace equation of the nearest exemplars."""

    stack: Stack
    settings: GraphLaplaceSettings
    unseen: np.ndarray

    def __call__(self, face: np.ndarray, hole: np.ndarray, grey: bool) -> np.ndarray:
        """See ``Fill``."""
        options = self.settings
        chosen = self.stack.take(self.stack.nearest(face, hole, options.exemplars, grey))
        small, target, seen = block_means(chosen, LUMA_SIDE), *seen_means(face, hole, LUMA_SIDE)
        gain, offset = lines_to(small[:, seen], target[seen], options.gain_limit)
        shares = sparse_shares(gain[:, None] * small[:, seen] + offset[:, None], target[seen])
        used = shares > 0
        matched = gain[used, None, None] * chosen[used] + offset[used, None, None]
        guide = np.tensordot(shares[used], matched, 1)
        weights = edge_weights(matched, shares[used], options.contrast)
        return guide + correction(face - guide, hole, weights, EIGHT)


def lines_to(exemplars: np.ndarray, target: np.ndarray, gain_limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset (K, 3) that bring exemplars (K, P, 3) nearest to the target (P, 3): brightness and contrast.

    By least squares, the gain within 1 / gain_limit ... gain_limit; the means then agree.
    """
    if not len(target):
        return np.ones((len(exemplars), 3)), np.zeros((len(exemplars), 3))
    mean, target_mean = exemplars.mean(axis=1), target.mean(axis=0)
    centred = exemplars - mean[:, None]
    spread = (centred**2).sum(axis=1)
    gain = (centred * (target - target_mean)).sum(axis=1) / np.where(spread > 0, spread, 1)
    gain = np.clip(np.where(spread > 0, gain, 1), 1 / gain_limit, gain_limit)
    return gain, target_mean - gain * mean


def sparse_shares(exemplars: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Shares (K,) >= 0 with sum 1 of the exemplars (K, P, 3) in the target (P, 3): least squares, no share negative.

    Non-negative least squares (Lawson and Hanson, 1974) is sparse by itself: a few faces explain another best.
    """
    from scipy.optimize import nnls

    even = np.full(len(exemplars), 1 / len(exemplars))
    if not len(target):
        return even
    shares, _ = nnls(exemplars.reshape(len(exemplars), -1).T, target.ravel())
    total = shares.sum()
    return shares / total if total > 0 else even


def edge_weights(exemplars: np.ndarray, shares: np.ndarray, contrast: float) -> list[np.ndarray]:
    """For each neighbour the similarity exp(-d / (2 contrast^2)) of two pixels, d their mean squared difference.

    The mean is over the exemplars (K, H, W, 3), by their shares, in luminance 0 to 255; diagonal neighbours, farther
    by the root of 2, get 1/2 of the weight.
    """
    luma = exemplars @ LUMA
    weights = []
    for offset in EIGHT:
        first, second = neighbour_slices(offset, luma.shape[1:])
        squared = (luma[(slice(None), *first)] - luma[(slice(None), *second)]) ** 2
        similarity = np.exp(-np.tensordot(shares, squared, 1) / (2 * contrast**2))
        weights.append(np.maximum(similarity, LEAST_WEIGHT) / (1 if 0 in offset else 2))
    return weights


def learn_graph_laplace(settings: GraphLaplaceSettings, faces: np.ndarray) -> GraphLaplaceFill:
    """The fill of training faces (N, H, W, 3) uint8."""
    stack = make_stack(faces, settings.keep, settings.mirror)
    return GraphLaplaceFill(stack, settings, stack.unseen)


def graph_laplace(device: str = "auto", **settings: object) -> Facewise:
    """The completion "graph-laplace", after Deng, Dai and Zhang, IEEE TIP 20(8), 2011."""
    options = make_settings(GraphLaplaceSettings, "graph-laplace", settings)
    spec = CompletionSpec("graph-laplace", needs_fit=True, settings=as_mapping(options))
    return Facewise(spec, completion_digest(spec), None, partial(learn_graph_laplace, options), options.guard)
