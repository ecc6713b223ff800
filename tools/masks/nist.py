"""The six masks of a standard's shapes.

The outlines come from ``maskbench.masking.nist``; the texture is one flat, matte tone with a soft edge. The panel
reaches beyond the outline by a transparent margin, so that the alpha is one half exactly on the outline.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from catalogue import Built, Masks

from maskbench.masking.nist import COVERAGES, NIST_ROWS, SHAPES, nist_edges

SIZE, MARGIN = 256, 3  # texels
TONE = 247  # of the white cloth that a colourway multiplies
KNOTS = 25
COLOURWAYS = {"black": [30, 30, 32], "light-blue": [164, 203, 228], "red": [178, 42, 44], "white": [243, 243, 243]}
SOURCE = "made by tools/masks/nist.py from the outlines in maskbench/masking/nist.py"


def texture() -> np.ndarray:
    """(SIZE, SIZE, 4) uint8 RGBA: one tone; transparent above and below, and half so on the outline."""
    rows = np.arange(SIZE) + 0.5
    inside = np.minimum(rows, SIZE - rows) - MARGIN  # texels from the outline
    picture = np.full((SIZE, SIZE, 4), TONE, np.uint8)
    picture[..., 3] = np.rint(255 * np.clip(0.5 + inside / 2, 0, 1))[:, None]
    return picture


def even(edge: list[list[float]]) -> np.ndarray:
    """An outline's right half at points evenly spaced along it, (KNOTS, 2); straight between its corners."""
    points = np.asarray(edge)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    along = np.linspace(0, length[-1], KNOTS)
    return np.column_stack([np.interp(along, length, points[:, axis]) for axis in (0, 1)])


def panel_edges(coverage: str, shape: str) -> tuple[list[list[float]], list[list[float]]]:
    """The panel's edges: the outline, and the margin beyond it that the texture leaves transparent."""
    upper, lower = (even(edge) for edge in nist_edges(coverage, shape))
    beyond = (lower - upper) * MARGIN / (SIZE - 2 * MARGIN)
    upper, lower = (np.round(edge, 5) for edge in (upper - beyond, lower + beyond))
    return upper.tolist(), lower.tolist()


def description(coverage: str, shape: str) -> dict:
    """The content of asset.json."""
    upper, lower = panel_edges(coverage, shape)
    row, _ = NIST_ROWS[coverage]
    return {
        "format_version": 2, "id": f"nist-{shape}-{coverage}", "version": 1,
        "name": f"{shape.capitalize()} shape, {coverage} coverage (upper edge at row {row} of 68)",
        "category": "simple", "kind": "nist", "regions": ["lower"], "coverage": coverage, "shape": shape,
        "texture": "texture.png", "colourways": COLOURWAYS,
        "geometry": {"panels": [{"top": upper, "bottom": lower, "gap": 0.015, "fitted": True, "uv": [0, 0, 1, 1]}]},
        "licence": "Apache-2.0", "source": SOURCE,
    }  # fmt: skip


def build(coverage: str, shape: str) -> Built:
    """asset.json and the texture, RGBA."""
    return description(coverage, shape), texture()


MASKS: Masks = {
    f"nist-{shape}-{coverage}": partial(build, coverage, shape) for shape in SHAPES for coverage in COVERAGES
}
