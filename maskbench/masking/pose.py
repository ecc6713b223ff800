"""A mask's surface on one face: where its vertices lie in the picture, and straps given their width there."""

from __future__ import annotations

import numpy as np

from maskbench.masking.geometry import PROBE, STRAP_STEPS, Surface
from maskbench.masking.kernels import compiled
from maskbench.masking.space import scale_of

LEAST_STRAP_PIXELS = 2.8  # a strap drawn thinner would break into dashes; its opacity shrinks instead
OUT_OF_SIGHT, IN_SIGHT = 0.1, 0.32  # cosines to the viewer between which a strap passes out of sight


def pose(surface: Surface, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Carry a surface to the face whose (K, 3) control points are given, in pixels.

    Returns:
        The vertices (V, 3) in pixels, and their opacity (V,): 1 on the panel, on straps what their facing and the
        width that they are drawn with leave of it.
    """
    return _pose(surface.carrier @ control, len(surface.nodes), surface.strap_width, scale_of(control))


@compiled
def _pose(carried, panels, width, scale):  # noqa: ANN001 - numba infers the types
    """Vertices and opacity, from the panels' nodes (G, 3), the straps' centre lines (R * n, 3) and the points outside
    of them (R * n, 3), one after the other, in pixels."""
    steps, straps = STRAP_STEPS, width.shape[0]
    points, opacity = np.empty((panels + 2 * steps * straps, 3)), np.ones(panels + 2 * steps * straps)
    points[:panels] = carried[:panels]
    centre, probe = carried[panels : panels + steps * straps], carried[panels + steps * straps :]
    _sew(points[panels:], opacity[panels:], centre, probe, width, scale)
    return points, opacity


@compiled
def _sew(sides, opacity, centre, probe, width, scale):  # noqa: ANN001
    """Write both sides of each strap (R * 2 * n, 3), and their opacity, from its centre line and the points outside of
    it, each (R * n, 3), in pixels."""
    steps = STRAP_STEPS
    for strap in range(width.shape[0]):
        wanted = width[strap] * scale
        drawn = max(wanted, LEAST_STRAP_PIXELS)
        first, last = strap * steps, strap * steps + steps - 1
        for k in range(first, last + 1):
            facing = (centre[k, 2] - probe[k, 2]) / (PROBE * scale)  # cosine to the viewer
            seen = min(max((facing - OUT_OF_SIGHT) / (IN_SIGHT - OUT_OF_SIGHT), 0.0), 1.0) * (wanted / drawn)
            # Central differences: the two nearest steps, one at the ends.
            before, after = max(k - 1, first), min(k + 1, last)
            dx, dy = centre[after, 0] - centre[before, 0], centre[after, 1] - centre[before, 1]
            half = (drawn / 2) / max(np.hypot(dx, dy), 1e-9)
            left, right = k + first, k + first + steps  # the sides of strap r begin at 2 r n and (2 r + 1) n
            sides[left, 0], sides[right, 0] = centre[k, 0] + dy * half, centre[k, 0] - dy * half
            sides[left, 1], sides[right, 1] = centre[k, 1] - dx * half, centre[k, 1] + dx * half
            sides[left, 2] = sides[right, 2] = centre[k, 2]
            opacity[left] = opacity[right] = seen if k < last else 0.0  # wherever a strap ends, it fades away
