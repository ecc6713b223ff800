"""The template head as the model ships it: its throat smoothed, its rim tucked under the face, the light it gets.

Frame: inter-ocular distances, origin midway between the eyes, x right in the picture, y down, z away from the viewer.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.sparse as sparse

from maskbench.landmarks.base import FACE_OVAL
from maskbench.people.model import MESH
from maskbench.people.rendering import vertex_normals

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mannequin"))

from raster import directions, visible  # noqa: E402

THROAT = (1.75, 0.3, 4.0, 0.5)  # heights: from there, within; up to there, within. The warp of the face creases it
SMOOTHINGS, STEP = 8, 0.6
WIDEST = 60  # columns of the atlas: a triangle that spans more goes round the back, which has no texture
FRONT, BESIDE = 0.85, 1.6  # depth before which the head may fight with the face for pixels; of its neighbours
RIM = (1.5, 4.0)  # texels inside the face's rim: from there the head sinks, within
SUNK = 0.06  # inter-ocular distances
NEIGHBOURS = 3  # vertices of the head whose normals the rim takes
RAYS = 160  # directions of the sky
DECIMETRE = 0.63  # decimetres in an inter-ocular distance: `visible` works in decimetres
SKY = (0.25, 0.75, 1.0)  # light of the ground; of the horizon; more of it above and less below
NEAR_FACE = 0.35  # from the face mesh, whose texture shows its own shade; there shade sets in
REFERENCE, BASE, GAIN, MOST = 60, 0.25, 0.85, 1.02  # openness against this percentile of the face's
EAR = ((0.72, None), (7.13, 0.4), (0.43, 0.35))  # |x| above; y and z about: base mesh, decimetres
EAR_RANGE, EAR_SPREAD = (0.42, 0.75), (0.4, 1.0)  # shading of the shells, lowest and highest
CHIN = 0.42  # how much darker it is under the jaw


@dataclass(frozen=True)
class Head:
    """``points`` (V, 3); ``operator`` (V, 468) carries face shapes to it; ``triangles`` (T, 3) clockwise as seen from
    outside; ``corners`` (T, 3, 2) places in the atlas; ``weld`` (36, 3) the head's vertices nearest to the face's rim;
    ``openness`` (V,) 0..1, the share of light that reaches it."""

    points: np.ndarray
    operator: np.ndarray
    triangles: np.ndarray
    corners: np.ndarray
    weld: np.ndarray
    openness: np.ndarray


def finished_head(template: dict[str, np.ndarray], mean: np.ndarray, shape: np.ndarray) -> Head:
    """The head to ship.

    Args:
        template: arrays of ``template.Template``. mean: (468, 3), for which it was made. shape: (468, 3) to ship.
    """
    triangles, atlas = template["triangles"], template["atlas"]
    operator = smooth_throat(template["operator"], template["operator"] @ mean, triangles)
    points = operator @ shape
    depth = rim_depth(atlas)
    weld = neighbours_of_rim(points, depth)
    points = tucked(points, triangles, depth)
    openness = shaded(points, template["base"], sky_seen(points, triangles))
    return Head(points, operator, triangles, corners_of(triangles, atlas), weld, openness)


def smooth_throat(operator: np.ndarray, points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The operator (V, 468), its rows at the throat averaged with their neighbours'; the face's stay."""
    from_, within, to, before = THROAT
    weight = np.clip((points[:, 1] - from_) / within, 0, 1) * np.clip((to - points[:, 1]) / before, 0, 1)
    weight[:MESH] = 0
    average = averaging(triangles, len(points))
    for _ in range(SMOOTHINGS):
        operator = operator + weight[:, None] * STEP * (average @ operator - operator)
    return operator


def averaging(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """(V, V) matrix that gives every vertex the mean of its neighbours."""
    edges = np.vstack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.vstack([edges, edges[:, ::-1]])
    joined = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    joined.data[:] = 1
    return sparse.diags(1 / np.maximum(np.asarray(joined.sum(1)).ravel(), 1)) @ joined


def corners_of(triangles: np.ndarray, atlas: np.ndarray) -> np.ndarray:
    """Places (T, 3, 2) float32 of the triangles in the atlas; those round the back lie on its left border."""
    corners = atlas[triangles].astype(np.float32)
    corners[np.ptp(corners[:, :, 0], axis=1) > WIDEST, :, 0] = 0
    return corners


def rim_depth(atlas: np.ndarray) -> np.ndarray:
    """How many texels inside the face's rim the head's vertices lie, negative outside: (V - 468,)."""
    rim = atlas[list(FACE_OVAL)].astype(np.float32)
    return np.array([cv2.pointPolygonTest(rim, (float(x), float(y)), True) for x, y in atlas[MESH:]])


def neighbours_of_rim(points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The head's vertices outside the rim nearest to each of its points: (36, NEIGHBOURS) rows of ``points``."""
    outside = np.flatnonzero((depth <= RIM[0]) & (points[MESH:, 2] < BESIDE))
    apart = np.linalg.norm(points[list(FACE_OVAL)][:, None] - points[MESH:][outside][None], axis=-1)
    return MESH + outside[np.argsort(apart, axis=1)[:, :NEIGHBOURS]]


def tucked(points: np.ndarray, triangles: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The points (V, 3), the head's sunk where the face lies before it."""
    front = points[MESH:, 2] < FRONT
    sunk = np.where(front & (depth > RIM[0]), np.clip((depth - RIM[0]) / RIM[1], 0, 1) * SUNK, 0)
    out = points.copy()
    out[MESH:] -= sunk[:, None] * vertex_normals(points, triangles)[MESH:]
    return out


def sky_seen(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The share of the light of a sky, brighter above, that reaches each vertex: (V,) 0..1."""
    normals = vertex_normals(points, triangles)
    seen, total = np.zeros(len(points)), np.full(len(points), 1e-6)
    for ray in directions(RAYS):
        weight = np.maximum(normals @ ray, 0) * max(SKY[0], SKY[1] - SKY[2] * ray[1])
        seen += weight * visible(points * DECIMETRE, normals, ray)
        total += weight
    share = seen / total
    for _ in range(2):  # rays are few
        share = _smoothed(share, triangles)
    return share


def _smoothed(values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    total = np.bincount(triangles.ravel(), np.repeat(values[triangles].mean(1), 3), len(values))
    return total / np.bincount(triangles.ravel(), minlength=len(values)).clip(1)


def shaded(points: np.ndarray, base: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Openness (V,): 1 on the face, whose texture was fitted with its shade in it, and by the sky beyond.

    Args:
        points: (V, 3). base: (V - 468, 3) base-mesh coordinates, decimetres. seen: (V,) of ``sky_seen``.
    """
    apart = np.linalg.norm(points[:, None] - points[None, :MESH], axis=-1).min(1)
    beyond = np.clip(apart / NEAR_FACE, 0, 1)
    open_ = 1 - beyond * (1 - np.clip(BASE + GAIN * seen / np.percentile(seen[:MESH], REFERENCE), 0, MOST))
    open_[:MESH] = 1
    open_[MESH:] *= 1 - CHIN * under_jaw(points[MESH:], apart[MESH:])
    ear = (np.abs(base[:, 0]) > EAR[0][0]) & np.logical_and.reduce(
        [np.abs(base[:, axis] - EAR[axis][0]) < EAR[axis][1] for axis in (1, 2)]
    )
    inside = seen[MESH:][ear]  # the folds of an ear are small: their own range is stretched
    low, high = np.percentile(inside, [5, 90])
    stretched = EAR_RANGE[0] + EAR_RANGE[1] * (inside - low) / (high - low)
    open_[MESH + np.flatnonzero(ear)] = np.clip(stretched, *EAR_SPREAD)
    return open_


def under_jaw(points: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """How deep in the shadow of the jaw vertices (N, 3) lie, 0..1, ``apart`` (N,) from the face: (N,)."""
    _, y, z = points.T
    sets_in = np.clip((apart - 0.01) / 0.2, 0, 1) * np.clip((y - 1.35) / 0.35, 0, 1)
    fades = 1 - 0.75 * np.clip((y - 1.9) / 1.1, 0, 1)
    return sets_in * fades * np.clip((1.9 - z) / 1.2, 0, 1)
