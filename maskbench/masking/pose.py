"""A mask's surface on one face: positions in the picture, and straps given their width there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.masking.geometry import PROBE, Ribbon, Surface, grid_triangles
from maskbench.masking.space import scale_of

LEAST_RIBBON_PIXELS = 2.8  # a strap drawn thinner would break into dashes; its opacity shrinks instead
FACING_EDGE = 0.12  # cosine below which a strap passes out of sight


@dataclass(frozen=True)
class PosedMesh:
    """Triangles in the picture: points (G, 3) pixels, uv (G, 2), normals (G, 3) in the head's frame, opacity (G,)."""

    points: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    normals: np.ndarray
    opacity: np.ndarray
    panel_triangles: int


def pose(surface: Surface, control: np.ndarray) -> PosedMesh:
    """Carry a surface to the face whose (K, 3) control points are given, in pixels."""
    parts = [(surface.binding @ control, surface.triangles, surface.uv, surface.normals, np.ones(len(surface.nodes)))]
    parts += [_pose_ribbon(ribbon, control) for ribbon in surface.ribbons]
    starts = np.cumsum([0] + [len(part[0]) for part in parts[:-1]])
    points, triangles, uv, normals, opacity = (
        np.concatenate([part[k] + (start if k == 1 else 0) for part, start in zip(parts, starts, strict=True)])
        for k in range(5)
    )
    return PosedMesh(points, triangles, uv, normals, opacity, len(surface.triangles))


def _pose_ribbon(ribbon: Ribbon, control: np.ndarray) -> tuple[np.ndarray, ...]:
    centre, scale = ribbon.binding @ control, scale_of(control)
    facing = -(ribbon.outward_binding @ control - centre)[:, 2] / (PROBE * scale)  # cosine to the viewer
    along = np.gradient(centre[:, :2], axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    wanted = ribbon.width * scale
    drawn = max(wanted, LEAST_RIBBON_PIXELS)
    sides = [np.column_stack([centre[:, :2] + sign * across * drawn / 2, centre[:, 2]]) for sign in (-1, 1)]
    u0, v0, u1, v1 = ribbon.uv
    u = np.linspace(u0, u1, len(centre))
    uv = np.concatenate([np.column_stack([u, np.full(len(u), v)]) for v in (v0, v1)])
    opacity = np.clip(facing / FACING_EDGE, 0, 1) * wanted / drawn
    triangles = grid_triangles(2, len(centre))
    return np.concatenate(sides), triangles, uv, np.tile(ribbon.normals, (2, 1)), np.tile(opacity, 2)


def texels_per_pixel(mesh: PosedMesh, texture_shape: tuple[int, ...]) -> float:
    """Texels per pixel along one axis over the panel, from its areas in the texture and in the picture."""
    panel = mesh.triangles[: mesh.panel_triangles]
    texels = _area(mesh.uv[panel] * [texture_shape[1], texture_shape[0]])
    return float(np.sqrt(texels / max(_area(mesh.points[panel][..., :2]), 1e-6)))


def _area(corners: np.ndarray) -> float:
    """Twice the summed absolute area of (T, 3, 2) triangles."""
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return float(np.abs(ax * by - ay * bx).sum())
