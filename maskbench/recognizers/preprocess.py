"""Faces to network input: the one normalisation that every engine shares."""

from __future__ import annotations

import numpy as np

from maskbench.types import RecognizerSpec

COLOUR_ORDERS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0)}


def preprocess(faces: np.ndarray, spec: RecognizerSpec) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32: channels in ``spec.colour_order``, (x - mean) / std.

    ``mean`` and ``std`` follow the network's order of channels. The faces are not written to.
    """
    from maskbench.recognizers.preprocess_kernel import look_up

    count, height, width, _ = faces.shape
    batch = np.empty((count, 3, height, width), np.float32)
    look_up(faces, np.array(COLOUR_ORDERS[spec.colour_order]), tables(spec), batch)
    return batch


def mask_planes(faces: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
    """Masks (N, H, W) uint8, 1 = occluded, as network input (N, 1, H, W) float32; None stands for nothing occluded."""
    planes = np.zeros((len(faces), 1, *faces.shape[1:3]), np.float32)
    if masks is not None:
        planes[:, 0] = masks
    return planes


def tables(spec: RecognizerSpec) -> np.ndarray:
    """What each of the 256 values becomes in each of the network's channels: (3, 256) float32."""
    values = np.arange(256, dtype=np.float32)
    mean, std = (np.array(part, np.float32)[:, None] for part in (spec.mean, spec.std))
    return (values - mean) / std
