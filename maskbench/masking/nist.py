"""Masks drawn to a standard's definition: wide or round, covering the nose high, medium or low.

NIST's mask reports (NISTIR 8311 and 8331) draw such masks on photographs; the definition by rows of the 68-point scheme
is that of Boutros, Damer, Kirchbuchner and Kuijper, "Self-restrained triplet loss for accurate masked face recognition"
(2022). The face mesh has no such points. Which mesh point stands for which row is our reading:

- row 27, the root of the nose between the eyes: mesh point 168;
- row 29, two thirds down the bridge (rows 27 to 30 divide it evenly): mesh point 5, since 197 and 5 divide the way from
  168 to the tip, 1, almost exactly in thirds (0.33 and 0.65 of it on the canonical face);
- row 33, the middle of the nose's base: mesh point 2;
- rows 1 to 15, the jaw from ear to ear: the mesh's oval from 234 over the chin, 152, to 454;
- rows 31 and 35, the nostrils' outer ends: 98 and 327; row 39, the left eye's inner corner: 133.

All upper edges pass through their row at the midline. Wide masks follow the jaw and meet the ears at row 1. Round masks
are ellipses that reach down to the chin, 0.8 times as wide as the jaw between rows 3 and 13 (mesh 58 and 288).
"""

from __future__ import annotations

import numpy as np

from maskbench.landmarks.canonical import canonical_face

COVERAGES, SHAPES = ("high", "medium", "low"), ("wide", "round")
# The row of the 68-point scheme at which the upper edge crosses the midline, and the mesh point that stands for it.
NIST_ROWS = {"high": (27, 168), "medium": (29, 5), "low": (33, 2)}
JAW = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)  # from the chin to the ear, the right half
EYE_CORNER, NOSTRIL, JAW_ROW_13 = 362, 327, 288  # of the right half
ROUND_WIDTH = 0.8
ROUND_KNOTS = 19

Edge = list[list[float]]


def nist_edges(coverage: str, shape: str) -> tuple[Edge, Edge]:
    """The upper and the lower outline of a shape in the canonical frame, each its right half from the midline outward.

    Args:
        coverage: "high", "medium" or "low".
        shape: "wide" or "round".
    """
    top = float(canonical_face()[NIST_ROWS[coverage][1], 1])
    return _wide(coverage, top) if shape == "wide" else _round(top)


def _wide(coverage: str, top: float) -> tuple[Edge, Edge]:
    face = canonical_face()
    ear = face[JAW[-1], :2]
    between = {"high": [[face[EYE_CORNER, 0], ear[1]]], "medium": [], "low": [face[NOSTRIL, :2]]}[coverage]
    upper = np.array([[0.0, top], *between, ear])
    return _listed(upper), _listed(face[list(JAW), :2])


def _round(top: float) -> tuple[Edge, Edge]:
    face = canonical_face()
    chin, half = float(face[JAW[0], 1]), ROUND_WIDTH * float(face[JAW_ROW_13, 0])
    angle = np.linspace(0, np.pi / 2, ROUND_KNOTS)
    middle, height = (top + chin) / 2, (chin - top) / 2
    across, away = half * np.sin(angle), height * np.cos(angle)
    return _listed(np.column_stack([across, middle - away])), _listed(np.column_stack([across, middle + away]))


def _listed(points: np.ndarray) -> Edge:
    points = np.round(np.asarray(points, np.float64), 4)
    points[0, 0] = 0.0
    return points.tolist()
