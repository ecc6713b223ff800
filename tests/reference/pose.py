"""What masking.pose computes, said once more in NumPy."""

from __future__ import annotations

import numpy as np

from maskbench.masking.geometry import PROBE, STRAP_STEPS, Surface
from maskbench.masking.pose import IN_SIGHT, LEAST_STRAP_PIXELS, OUT_OF_SIGHT


def pose(surface: Surface, control: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """``masking.pose.pose`` for a face of ``scale`` pixels between the eyes."""
    panel = surface.binding @ control
    centre = (surface.strap_binding @ control).reshape(-1, STRAP_STEPS, 3)
    probe = (surface.strap_probe @ control).reshape(-1, STRAP_STEPS, 3)
    facing = (centre[..., 2] - probe[..., 2]) / (PROBE * scale)
    steps = np.arange(STRAP_STEPS)
    before, after = np.maximum(steps - 1, 0), np.minimum(steps + 1, STRAP_STEPS - 1)
    along = (centre[:, after] - centre[:, before])[..., :2]
    wanted = surface.strap_width * scale
    drawn = np.maximum(wanted, LEAST_STRAP_PIXELS)
    across = np.stack([-along[..., 1], along[..., 0]], -1) / np.linalg.norm(along, axis=-1, keepdims=True)
    shift = np.dstack([across * drawn[:, None, None] / 2, np.zeros(centre.shape[:2])])
    sides = np.stack([centre - shift, centre + shift], 1)
    opacity = np.clip((facing - OUT_OF_SIGHT) / (IN_SIGHT - OUT_OF_SIGHT), 0, 1) * (wanted / drawn)[:, None]
    opacity[:, -1] = 0  # a strap fades away where it ends
    both = np.repeat(opacity[:, None], 2, 1).ravel()
    return np.concatenate([panel, sides.reshape(-1, 3)]), np.concatenate([np.ones(len(panel)), both])
