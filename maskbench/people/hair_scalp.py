"""Where hair can grow on the template head: its surface by direction, and its distance all around it.

Everything here is a function of the template alone. It takes seconds to work out, so the model's file holds it.
Frame: inter-ocular distances, origin midway between the eyes, x right in the picture, y down, z away from the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.landmarks.base import MESH_POINTS

FACE = MESH_POINTS  # rows of the face mesh, which come first
CENTRE = np.array([0.0, -0.35, 1.2])  # the skull is star-shaped seen from here
AZIMUTHS, POLARS = 96, 40  # of the table of the skull's surface
DEEPEST = np.radians(150.0)  # greatest angle from the crown in the table
CELL = 0.11  # of the grid around the head
LOW, HIGH = np.array([-2.6, -2.9, -1.4]), np.array([2.6, 3.7, 3.6])
_HAIRLINE = (
    (0, 7.95),
    (20, 7.97),
    (35, 7.96),
    (48, 7.87),
    (57, 7.66),
    (65, 7.48),
    (69, 7.16),
    (76, 7.10),
    (90, 7.00),
    (104, 6.88),
    (130, 6.62),
    (180, 6.50),
)  # degrees round the head from the front, height (decimetres)
DECIMETRE = 1 / 0.6156  # inter-ocular distances in a decimetre of the base mesh


@dataclass(frozen=True)
class Scalp:
    """``skull`` (A + 1, P, 2): radius, and height above the hairline, by azimuth (0 in front, positive to the picture's
    right, wrapping) and angle from the crown. ``field`` (X, Y, Z, 4): distance from the skin, and the direction away
    from it; ``nearest`` (X, Y, Z): the template vertex to follow; both on a grid about the head. ``points`` (V, 3)."""

    skull: np.ndarray
    field: np.ndarray
    nearest: np.ndarray
    points: np.ndarray

    def surface(self, azimuth: np.ndarray, polar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the skull (..., 3) and their height above the hairline (...), in inter-ocular distances."""
        across = (np.asarray(azimuth) / (2 * np.pi) + 0.5) % 1 * AZIMUTHS
        down = np.clip(np.asarray(polar) / DEEPEST, 0, 0.9999) * (POLARS - 1)
        column, row = across.astype(np.int64), down.astype(np.int64)
        s, r = (across - column)[..., None], (down - row)[..., None]
        upper = self.skull[column, row] * (1 - s) + self.skull[column + 1, row] * s
        lower = self.skull[column, row + 1] * (1 - s) + self.skull[column + 1, row + 1] * s
        found = upper * (1 - r) + lower * r
        return CENTRE + direction(azimuth, polar) * found[..., :1], found[..., 1]

    def around(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the skin (N,), negative inside, and the direction away from it (N, 3), near (N, 3) points."""
        at = np.clip((points - LOW) / CELL, 0, np.array(self.nearest.shape) - 1.001)
        cell = at.astype(np.int64)
        t = (at - cell).astype(np.float32)[..., None]
        _, size_y, size_z = self.nearest.shape
        index = (cell[:, 0] * size_y + cell[:, 1]) * size_z + cell[:, 2]
        flat, found = self.field.reshape(-1, 4), np.zeros((len(points), 4), np.float32)
        for i, wx in ((0, 1 - t[:, 0]), (size_y * size_z, t[:, 0])):
            for j, wy in ((0, 1 - t[:, 1]), (size_z, t[:, 1])):
                near = flat[index + (i + j)]
                found += (near + t[:, 2] * (flat[index + (i + j + 1)] - near)) * (wx * wy)
        return found[:, 0], found[:, 1:] / np.maximum(np.linalg.norm(found[:, 1:], axis=1, keepdims=True), 1e-6)

    def follow(self, points: np.ndarray) -> np.ndarray:
        """The template vertex (N,) that each of (N, 3) points follows."""
        cell = np.rint(np.clip((points - LOW) / CELL, 0, np.array(self.nearest.shape) - 1)).astype(np.int64)
        return self.nearest[cell[:, 0], cell[:, 1], cell[:, 2]]


def direction(azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3) by azimuth and angle from the crown."""
    across = np.sin(polar)
    return np.stack(np.broadcast_arrays(across * np.sin(azimuth), -np.cos(polar), -across * np.cos(azimuth)), -1)


def scalp_of(points: np.ndarray, triangles: np.ndarray, base: np.ndarray) -> Scalp:
    """The scalp of a template: points (V, 3), triangles (T, 3), base-mesh coordinates (V - 468, 3); takes seconds."""
    points, triangles = np.asarray(points, np.float64), np.asarray(triangles, np.int64)
    base = np.asarray(base, np.float64)
    height = _heights(points, base)
    distance, follow = _grid(points, triangles, height)
    return Scalp(_cast(points, triangles, height), _field(distance), follow, points)


def stored(scalp: Scalp) -> dict[str, np.ndarray]:
    """What a model's file holds of a scalp: ``scalp_skull``, ``scalp_distance`` and ``scalp_follow``."""
    return {
        "scalp_skull": scalp.skull.astype(np.float32),
        "scalp_distance": scalp.field[..., 0].astype(np.float16),  # to 0.002, less than a hair's lift
        "scalp_follow": scalp.nearest.astype(np.int16),
    }


def restored(skull: np.ndarray, distance: np.ndarray, follow: np.ndarray, points: np.ndarray) -> Scalp:
    """A scalp from what ``stored`` gave, and the template's points (V, 3)."""
    field = _field(np.asarray(distance, np.float64))
    return Scalp(np.asarray(skull, np.float64), field, np.asarray(follow, np.int32), np.asarray(points, np.float64))


def hair_height(base: np.ndarray) -> np.ndarray:
    """Height above the hairline (N,), inter-ocular distances, of base-mesh coordinates; negative on skin and ears."""
    x, y, z = np.abs(base[:, 0]), base[:, 1], base[:, 2]
    above = y - np.interp(np.degrees(np.arctan2(x, z - 0.35)), *np.array(_HAIRLINE).T)
    ear = np.hypot((y - 7.13) / 0.29, (z - 0.43) / 0.21)
    return DECIMETRE * np.where(x > 0.68, np.minimum(above, 0.25 * (ear - 1)), above)


def _heights(points: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Height above the hairline of all vertices; the face mesh has no base coordinates, so an affine map gives them."""
    system = np.column_stack([points, np.ones(len(points))])
    head = points[FACE:, 1] < 1.0
    carry = np.linalg.lstsq(system[FACE:][head], base[head], rcond=None)[0]
    return np.concatenate([np.minimum(hair_height(system[:FACE] @ carry), -0.15), hair_height(base)])


def _cast(points: np.ndarray, triangles: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Outermost hit of rays from the centre: its radius and height above the hairline (AZIMUTHS + 1, POLARS, 2)."""
    middle = points[triangles].mean(1)
    triangles = triangles[(middle[:, 1] < 1.6) & (np.abs(middle[:, 0]) < 1.5)]
    corner = points[triangles] - CENTRE
    azimuth = (np.arange(AZIMUTHS) / AZIMUTHS - 0.5) * 2 * np.pi
    polar, rows = np.maximum(np.linspace(0, DEEPEST, POLARS), 1e-3), np.arange(POLARS)
    radius, above = np.ones((AZIMUTHS, POLARS)), np.zeros((AZIMUTHS, POLARS))
    for i, angle in enumerate(azimuth):
        off = corner @ [np.cos(angle), 0.0, np.sin(angle)]  # only triangles that the upright half plane cuts
        cut = np.flatnonzero((off.min(1) <= 0) & (off.max(1) >= 0))
        a, b, c = corner[cut, 0], corner[cut, 1], corner[cut, 2]
        normal, rays = np.cross(b - a, c - a), direction(angle, polar)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = (a * normal).sum(1) / (rays @ normal.T)  # (P, T)
            inside = _weights(reach[..., None] * rays[:, None], a, b, c, normal)
        reach = np.where((inside.min(-1) > -1e-6) & (reach > 0), reach, 0)
        best = reach.argmax(1)
        found = reach[rows, best] > 0
        radius[i][found] = reach[rows, best][found]
        above[i][found] = (inside[rows, best] * height[triangles[cut[best]]]).sum(-1)[found]
    table = np.stack([radius, above], -1)
    return np.concatenate([table, table[:1]])


def _weights(hit: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Barycentric weights (P, T, 3) of hits (P, T, 3) in triangles (T, 3) with their normals."""
    size = (normal * normal).sum(1)
    second = np.einsum("ptk,tk->pt", hit - a, np.cross(c - a, normal)) / size
    third = np.einsum("ptk,tk->pt", hit - a, np.cross(normal, b - a)) / size
    return np.stack([1 - second - third, second, third], -1)


def _grid(points: np.ndarray, triangles: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance from the skin (X, Y, Z) and vertex to follow (X, Y, Z), on the grid."""
    from scipy.spatial import cKDTree

    corner = points[triangles]
    face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    face *= np.sign((face * (corner.mean(1) - CENTRE)).sum())  # outwards, however the triangles are wound
    normals = np.zeros_like(points)
    for i in range(3):
        np.add.at(normals, triangles[:, i], face)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    outer = np.linalg.norm(points - CENTRE, axis=1) > 0.6
    axes = [np.arange(low, high, CELL) for low, high in zip(LOW, HIGH, strict=True)]
    where = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    flat = where.reshape(-1, 3)
    used = np.flatnonzero(outer)
    _, nearest = cKDTree(points[used]).query(flat, k=4)
    apart = flat[:, None] - points[used[nearest]]
    signed = np.median((apart * normals[used[nearest]]).sum(-1), axis=1)
    far = np.linalg.norm(apart[:, 0], axis=1)
    signed = np.where(far > 0.25, np.sign(signed) * far, signed).reshape(where.shape[:3])
    firm = (height > -0.12) | ((np.arange(len(points)) >= FACE) & (np.abs(points[:, 0]) > 0.95) & (points[:, 1] < 0.3))
    firm = np.flatnonzero(firm)
    _, bound = cKDTree(points[firm]).query(flat)
    return signed, firm[bound].reshape(signed.shape).astype(np.int32)


def _field(distance: np.ndarray) -> np.ndarray:
    """Distance (X, Y, Z) with the direction in which it grows: (X, Y, Z, 4) float32."""
    from scipy.ndimage import gaussian_filter

    away = np.stack(np.gradient(gaussian_filter(distance, 1.0), CELL), -1)
    away /= np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-6)
    return np.concatenate([distance[..., None], away], -1).astype(np.float32)
