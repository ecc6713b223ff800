"""The two passes over millions of scores that numpy has no fast form of, compiled by numba when they are first needed.

Imported inside functions only: numba takes most of a second to load, and small inputs do without it.
"""

from __future__ import annotations

import numpy as np

from maskbench.masking.kernels import compiled


@compiled
def part(scores, mated, done, accepted, rejected):  # noqa: ANN001 - numba infers the types
    """Copy the scores that are done to ``accepted`` (mated) or ``rejected`` (non-mated), in order.

    Both outputs have one place more than they need: every score is written to both, and only one of them moves on, so
    that no branch depends on a random label.
    """
    i, j = np.int64(0), np.int64(0)
    for k in range(scores.shape[0]):
        accepted[i] = scores[k]
        rejected[j] = scores[k]
        i += np.int64(mated[k] & done[k])
        j += np.int64((not mated[k]) & done[k])


@compiled
def wins(left, right):  # noqa: ANN001 - numba infers the types
    """Twice the number of pairs with left > right, plus the number of pairs with left == right; both ascending."""
    i, j, total = np.int64(0), np.int64(0), np.int64(0)
    while i < left.shape[0] and j < right.shape[0]:
        if left[i] == right[j]:
            score, first_i, first_j = left[i], i, j
            while i < left.shape[0] and left[i] == score:
                i += 1
            while j < right.shape[0] and right[j] == score:
                j += 1
            total += (i - first_i) * (first_j + j)
        else:
            ahead = np.int64(right[j] < left[i])  # no branch: it would be guessed wrong half of the time
            total += (1 - ahead) * 2 * j
            i += 1 - ahead
            j += ahead
    return total + (left.shape[0] - i) * 2 * right.shape[0]
