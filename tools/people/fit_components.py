"""Principal components of textures of which every picture shows only a part.

A texture is packed (D,): luma of every texel that is seen often enough, then R - Y and B - Y at half the size. What a
picture does not show is filled in: first with the picture's own offset from the mean, then twice with what the
components of the round before make of the rest. Pictures that these explain badly around the eyes, most of them of
people with spectacles, are left out.
"""

from __future__ import annotations

import cv2
import numpy as np
from fit_files import progress, say

from maskbench.people.atlas import COLUMNS, ROWS

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
COMPONENTS = 160  # kept; beyond them lie noise and single persons
FEW = 80  # while filling in
OVERSAMPLED, POWERS, SEED = 20, 2, 0  # of the randomised decomposition (Halko, Martinsson, Tropp 2011)
SEEN, OFTEN = 40, 0.05  # a texel belongs to the texture if trusted above 40 of 255 in a twentieth of the pictures
EYE_POINTS = (33, 263, 133, 362, 159, 386, 145, 374, 168)
EYE_MARGIN = ((8, 16), (8, 9))  # texels above and below, left and right: where rims of spectacles are
WORST_EYES, WORST = 85.0, 92.0  # percentiles of the residual beyond which pictures are left out
BLOCK = 512  # pictures at a time
GRAIN_EVERY = 3  # of the pictures tell of the residual
SMOOTH = 1.0  # texels that part the residual's two bands

Guess = tuple[np.ndarray, np.ndarray]  # (N, k) and (k, D): what a texture is thought to be, as their product


class Packing:
    """Which texels a packed texture holds: ``fine`` (ROWS, COLUMNS) and ``coarse`` (half the size) bool."""

    def __init__(self, fine: np.ndarray) -> None:
        self.fine = fine
        self.coarse = halved(fine.astype(np.float32)) > 0.5
        self.count, self.few = int(fine.sum()), int(self.coarse.sum())
        self.size = self.count + 2 * self.few

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Where luma, R - Y and B - Y lie."""
        middle = self.count + self.few
        return slice(0, self.count), slice(self.count, middle), slice(middle, self.size)

    def packed(self, colour: np.ndarray, trust: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A texture (ROWS, COLUMNS, 3) float32 with its trust (ROWS, COLUMNS) 0..1: values and weights, each (D,)."""
        luma, weight = colour @ LUMA, halved(trust)
        values, weights = [luma[self.fine]], [trust[self.fine]]
        for channel in (0, 2):
            mean = halved((colour[..., channel] - luma) * trust) / np.maximum(weight, 1e-3)
            values.append(mean[self.coarse])
            weights.append(weight[self.coarse])
        return np.concatenate(values), np.concatenate(weights)

    def skin(self, where: np.ndarray) -> np.ndarray:
        """Which of the packed values lie on skin (ROWS, COLUMNS) bool: (D,)."""
        half = cv2.resize(where.astype(np.float32), (COLUMNS // 2, ROWS // 2))[self.coarse] > 0.5
        return np.concatenate([where[self.fine], half, half])


def halved(plane: np.ndarray) -> np.ndarray:
    """A plane (ROWS, COLUMNS) float32 at half the size, by averaging."""
    return cv2.resize(plane, (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_AREA)


def fit_components(
    colours: np.ndarray, lit: dict[str, np.ndarray], have: np.ndarray, atlas: np.ndarray
) -> dict[str, np.ndarray]:
    """Mean and components of textures without light.

    Args:
        colours: (N, ROWS, COLUMNS, 3) float16. lit: with ``trust`` (N, ROWS, COLUMNS) uint8 and ``skin``.
        have: (ROWS, COLUMNS) bool, texels with a surface. atlas: (V, 2) places of the vertices.

    Returns:
        ``mean`` (D,), ``basis`` (K, D), ``coefficients`` (N, K), ``kept`` (N,) bool, ``grain`` (2, ROWS, COLUMNS)
        variances of what is left over, fine and less fine, ``fine`` and ``coarse`` masks.
    """
    packing = Packing(((lit["trust"] > SEEN).mean(0) > OFTEN) & have)
    say("components", f"{packing.size} values of {len(colours)} pictures")
    values, weights = packed_all(colours, lit["trust"], packing)
    mean = weighted_mean(values, weights)
    values -= mean
    eyes = np.zeros(packing.size, bool)
    eyes[: packing.count] = around_eyes(atlas)[packing.fine]
    (coefficients, basis), kept = completed(values, weights, packing, packing.skin(lit["skin"]), eyes)
    rest = grain(values, weights, (coefficients, basis), np.flatnonzero(kept)[::GRAIN_EVERY], packing)
    return {
        "mean": mean, "basis": basis, "coefficients": coefficients, "kept": kept, "grain": rest,
        "fine": packing.fine, "coarse": packing.coarse,
    }  # fmt: skip


def packed_all(colours: np.ndarray, trust: np.ndarray, packing: Packing) -> tuple[np.ndarray, np.ndarray]:
    """All textures packed: values (N, D) float32 and weights (N, D) float16."""
    values = np.empty((len(colours), packing.size), np.float32)
    weights = np.empty((len(colours), packing.size), np.float16)
    for i in range(len(colours)):
        values[i], weights[i] = packing.packed(colours[i].astype(np.float32), trust[i].astype(np.float32) / 255)
        progress("components, packing", i, len(colours))
    return values, weights


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean (D,) float32 of values (N, D) with weights (N, D)."""
    total, weight = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for row, part in zip(values, weights, strict=True):
        part = part.astype(np.float32)
        weight += part
        total += part * row
    return (total / np.maximum(weight, 1e-3)).astype(np.float32)


def around_eyes(atlas: np.ndarray) -> np.ndarray:
    """The box of the atlas in which spectacles show: (ROWS, COLUMNS) bool."""
    places, out = atlas[list(EYE_POINTS)], np.zeros((ROWS, COLUMNS), bool)
    (left, top), (right, bottom) = places.min(0).astype(int), places.max(0).astype(int)
    (above, below), (before, after) = EYE_MARGIN
    out[top - above : bottom + below, left - before : right + after] = True
    return out


def completed(
    values: np.ndarray, weights: np.ndarray, packing: Packing, skin: np.ndarray, eyes: np.ndarray,
    components: int = COMPONENTS, few: int = FEW,
) -> tuple[Guess, np.ndarray]:  # fmt: skip
    """Fill in what is not seen, in place, and find the components.

    Args:
        values: (N, D) float32 differences from the mean; on return filled in. weights: (N, D) 0..1.
        skin, eyes: (D,) bool.

    Returns:
        Coefficients (N, K) and basis (K, D); which pictures (N,) bool were used for it.
    """
    import torch

    torch.manual_seed(SEED)
    kept, before = np.ones(len(values), bool), offsets(values, weights, packing, skin)
    refill(values, weights, None, before)
    for turn in range(3):
        last = turn == 2
        found = decomposed(values, kept, components if last else few)
        say("components", f"round {turn + 1} of 3")
        if turn == 0:
            kept = plain(values, weights, found, eyes, slice(0, packing.count))
        if last:
            return found, kept
        refill(values, weights, before, found)
        before = found
    raise AssertionError("unreachable")


def offsets(values: np.ndarray, weights: np.ndarray, packing: Packing, skin: np.ndarray) -> Guess:
    """A first guess: each picture is the mean, moved in each of its three parts as its skin is."""
    moved, spread = np.empty((len(values), 3), np.float32), np.zeros((3, packing.size), np.float32)
    for j, part in enumerate(packing.parts):
        spread[j, part] = 1
        on = np.flatnonzero(skin[part]) + part.start
        for first in range(0, len(values), BLOCK):
            block = slice(first, first + BLOCK)
            weight = weights[block][:, on].astype(np.float32)
            moved[block, j] = (values[block][:, on] * weight).sum(1) / np.maximum(weight.sum(1), 1)
    return moved, spread


def refill(values: np.ndarray, weights: np.ndarray, before: Guess | None, now: Guess) -> None:
    """Change, in place, what is not seen from one guess to the next; at first from what the picture holds."""
    for first in range(0, len(values), BLOCK):
        block = slice(first, first + BLOCK)
        old = values[block] if before is None else before[0][block] @ before[1]
        values[block] += (1 - weights[block].astype(np.float32)) * (now[0][block] @ now[1] - old)


def decomposed(values: np.ndarray, kept: np.ndarray, count: int) -> Guess:
    """The first components of the kept pictures: coefficients of all (N, count), orthonormal basis (count, D)."""
    import torch

    chosen = torch.from_numpy(values if kept.all() else values[kept])
    right = torch.svd_lowrank(chosen, q=count + OVERSAMPLED, niter=POWERS)[2]
    basis = right[:, :count].T.numpy().copy()
    return values @ basis.T, basis


def plain(values: np.ndarray, weights: np.ndarray, found: Guess, eyes: np.ndarray, luma: slice) -> np.ndarray:
    """Which pictures (N,) bool the components explain well, around the eyes (D,) and in all luma."""
    near, whole = np.empty(len(values)), np.empty(len(values))
    for first in range(0, len(values), BLOCK):
        block = slice(first, first + BLOCK)
        rest = (values[block] - found[0][block] @ found[1]) * weights[block].astype(np.float32)
        near[block] = np.sqrt((rest[:, eyes] ** 2).mean(1))
        whole[block] = np.sqrt((rest[:, luma] ** 2).mean(1))
    return (near < np.percentile(near, WORST_EYES)) & (whole < np.percentile(whole, WORST))


def grain(values: np.ndarray, weights: np.ndarray, found: Guess, rows: np.ndarray, packing: Packing) -> np.ndarray:
    """Variance (2, ROWS, COLUMNS) of the luma that the components leave over, in a fine and a less fine band."""
    out = np.zeros((2, ROWS, COLUMNS))
    for i in rows:
        rest = np.zeros((ROWS, COLUMNS), np.float32)
        rest[packing.fine] = ((values[i] - found[0][i] @ found[1]) * weights[i].astype(np.float32))[: packing.count]
        smooth = cv2.GaussianBlur(rest, (0, 0), SMOOTH)
        out += [(rest - smooth) ** 2, smooth**2]
    return out / max(len(rows), 1)
