"""Faces to network input: the one normalisation that every engine shares."""

from __future__ import annotations

import numpy as np

from maskbench.types import RecognizerSpec

COLOUR_ORDERS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0)}


def preprocess(faces: np.ndarray, spec: RecognizerSpec) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32: channels in ``spec.colour_order``, (x - mean) / std.

    ``mean`` and ``std`` follow the network's order of channels. The faces are not written to.
    """
    count, height, width, _ = faces.shape
    batch = np.empty((count, 3, height, width), np.float32)
    for channel, source in enumerate(COLOUR_ORDERS[spec.colour_order]):
        plane = batch[:, channel]
        np.subtract(faces[..., source], np.float32(spec.mean[channel]), out=plane)
        plane /= np.float32(spec.std[channel])
    return batch
