"""A mask's surface on one face: where its vertices lie in the picture, and straps given their width there."""

from __future__ import annotations

import numpy as np

from maskbench.masking.geometry import PROBE, STRAP_STEPS, Surface
from maskbench.masking.space import scale_of

LEAST_STRAP_PIXELS = 2.8  # a strap drawn thinner would break into dashes; its opacity shrinks instead
OUT_OF_SIGHT, IN_SIGHT = 0.1, 0.32  # cosines to the viewer between which a strap passes out of sight


def pose(surface: Surface, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Carry a surface to the face whose (K, 3) control points are given, in pixels.

    Returns:
        The vertices (V, 3) in pixels, and their opacity (V,): 1 on the panel, on straps what their facing and the
        width that they are drawn with leave of it.
    """
    panel = surface.binding @ control
    if not len(surface.strap_width):
        return panel, np.ones(len(panel))
    scale = scale_of(control)
    centre = (surface.strap_binding @ control).reshape(-1, STRAP_STEPS, 3)
    probe = (surface.strap_probe @ control).reshape(-1, STRAP_STEPS, 3)
    facing = (centre[..., 2] - probe[..., 2]) / (PROBE * scale)  # cosine to the viewer
    # Central differences: the two nearest steps, one at the ends.
    x, y = centre[..., 0], centre[..., 1]
    before, after = np.maximum(np.arange(STRAP_STEPS) - 1, 0), np.minimum(np.arange(STRAP_STEPS) + 1, STRAP_STEPS - 1)
    dx, dy = x[:, after] - x[:, before], y[:, after] - y[:, before]
    wanted = surface.strap_width * scale
    drawn = np.maximum(wanted, LEAST_STRAP_PIXELS)
    half = (drawn / 2)[:, None] / np.maximum(np.hypot(dx, dy), 1e-9)
    shift = np.stack([-dy * half, dx * half, np.zeros_like(dx)], -1)
    sides = np.stack([centre - shift, centre + shift], 1)
    opacity = np.clip((facing - OUT_OF_SIGHT) / (IN_SIGHT - OUT_OF_SIGHT), 0, 1) * (wanted / drawn)[:, None]
    both = np.repeat(opacity[:, None], 2, 1)
    return np.concatenate([panel, sides.reshape(-1, 3)]), np.concatenate([np.ones(len(panel)), both.ravel()])
