from __future__ import annotations

import numpy as np
import pytest

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.geometry import STRAP_STEPS, build_surface, grid_triangles, taut_depth
from maskbench.masking.pose import LEAST_STRAP_PIXELS, pose
from maskbench.masking.render import _texels_per_pixel
from maskbench.masking.space import control_canonical, scale_of

ASSETS = select_assets("all")
COVERED = (1, 2, 164, 0, 17, 50, 280, 205, 425, 199)  # nose tip, lips, cheeks, chin


def turned(yaw: float, scale: float = 60.0) -> np.ndarray:
    """The canonical control points seen under a yaw, in pixels around (100, 80)."""
    angle = np.deg2rad(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return scale * control_canonical() @ turn.T + [100, 80, 0]


def test_the_taut_surface_lies_before_the_face_and_touches_the_nose():
    face = canonical_face()
    gap = face[:, 2] - taut_depth(face[:, 0], face[:, 1])  # positive: the cloth is nearer to the camera
    inside = (np.abs(face[:, 0]) < 0.9) & (face[:, 1] > 0.2)
    least = min(asset.geometry["panel"]["gap"] for asset in ASSETS)  # what every mask adds to the rounded surface
    assert gap[inside].min() > -least
    assert gap[1] < 0.08


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.asset_id)
def test_every_mask_is_symmetric_faces_outward_and_covers_nose_and_mouth(asset):
    surface = build_surface(asset.geometry)
    mirrored = surface.nodes * [-1, 1, 1]
    distance = np.abs(mirrored[:, None] - surface.nodes[None]).max(-1).min(1)
    assert distance.max() < 1e-6
    assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1)
    middle = np.flatnonzero(np.abs(surface.nodes[:, 0]) < 0.3)
    assert (surface.normals[middle, 2] < 0.35).all()  # towards the camera, except where it turns in under the chin
    assert surface.uv.min() >= 0 and surface.uv.max() <= 1
    face = canonical_face()
    low, high = surface.nodes.min(0), surface.nodes.max(0)
    assert ((face[list(COVERED), :2] > low[:2]) & (face[list(COVERED), :2] < high[:2])).all()
    assert high[1] > face[152, 1], "the mask must reach under the chin"
    assert low[1] < face[5, 1], "the mask must reach up the nose"


def test_a_mask_follows_yaw_continuously_and_its_straps_hide_on_the_far_side():
    surface = build_surface(select_assets("surgical")[0].geometry)
    before, _ = pose(surface, turned(0))
    for yaw in range(2, 62, 2):
        now, _ = pose(surface, turned(yaw))
        assert np.abs(now - before).max() < 6
        before = now
    straps = pose(surface, turned(50))[1][len(surface.nodes) :].reshape(len(surface.strap_width), -1)
    sides = np.sign(surface.normals[len(surface.nodes) :, 0]).reshape(straps.shape)[:, 0]
    assert (straps[sides > 0] > 0).all() != (straps[sides < 0] > 0).all()
    assert min(straps[sides > 0].max(), straps[sides < 0].max()) == 0


def test_thin_straps_keep_their_width_on_small_faces_and_lose_opacity_instead():
    surface = build_surface(select_assets("surgical")[0].geometry)
    small, large = (pose(surface, turned(0, scale))[1][len(surface.nodes) :].max() for scale in (12.0, 90.0))
    assert large == 1 and 0.2 < small < 0.6


@pytest.mark.parametrize("scale", [12.0, 90.0])
def test_straps_have_the_width_that_they_are_given(scale: float):
    asset = select_assets("surgical")[0]
    surface = build_surface(asset.geometry)
    points = pose(surface, turned(0, scale))[0][len(surface.nodes) :].reshape(-1, 2, STRAP_STEPS, 3)
    width = np.linalg.norm((points[:, 1] - points[:, 0])[..., :2], axis=-1)
    wanted = np.maximum(asset.geometry["ribbons"][0]["width"] * scale_of(turned(0, scale)), LEAST_STRAP_PIXELS)
    assert np.allclose(width[:2], wanted)


def test_a_mask_without_straps_is_a_panel_alone():
    geometry = {**select_assets("surgical")[0].geometry, "ribbons": []}
    surface = build_surface(geometry)
    points, opacity = pose(surface, turned(10))
    assert len(points) == len(surface.nodes) == len(surface.uv) == len(surface.normals) and (opacity == 1).all()
    assert surface.triangles.max() == len(points) - 1


def test_texel_density_falls_with_the_size_of_the_face():
    asset = select_assets("surgical")[0]
    surface = build_surface(asset.geometry)
    once, twice = (_texels_per_pixel(asset, surface, turned(0, scale)) for scale in (40.0, 80.0))
    assert np.isclose(once / twice, 2, rtol=1e-6)
    points, _ = pose(surface, turned(0, 40.0))
    wide = np.ptp(points[: len(surface.nodes), 0])
    assert 0.7 < once / (512 / wide) < 1.3  # the atlas is as wide as the panel


def test_grid_triangles_cover_the_grid_once():
    triangles = grid_triangles(3, 4)
    points = np.array([[x, y] for y in range(3) for x in range(4)], float)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert len(triangles) == 12 and np.allclose(area, 0.5)
