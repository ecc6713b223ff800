"""The compiled inner loop of ``preprocess``: between two batches it is all that a network waits for."""

from __future__ import annotations

from maskbench.masking.kernels import compiled


@compiled
def look_up(faces, order, tables, batch):  # noqa: ANN001 - numba infers the types
    """Write batch[n, c, y, x] = tables[c, faces[n, y, x, order[c]]]."""
    for n in range(faces.shape[0]):
        for c in range(3):
            source = order[c]
            for y in range(faces.shape[1]):
                for x in range(faces.shape[2]):
                    batch[n, c, y, x] = tables[c, faces[n, y, x, source]]
