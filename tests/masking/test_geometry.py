from __future__ import annotations

import numpy as np
import pytest

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.geometry import (
    COLUMNS,
    LATHE_AXIS_DEPTH,
    ROWS,
    STRAP_STEPS,
    build_surface,
    grid_triangles,
    taut_depth,
)
from maskbench.masking.kernels import paint_order
from maskbench.masking.pose import LEAST_STRAP_PIXELS, pose
from maskbench.masking.space import control_canonical, scale_of

ASSETS = select_assets("all")
FIRST_SIX = select_assets("surgical,n95,kn95,ffp2,cloth,cloth-check")
COVERED = (1, 2, 164, 0, 17, 50, 280, 205, 425, 199)  # nose tip, lips, cheeks, chin
SHEET = {"top": [[0, 0.2], [0.9, 0.6]], "bottom": [[0, 1.9], [0.9, 1.2]], "uv": [0, 0, 1, 1], "gap": 0.05}
LATHE = {"profile": [[-1.2, 1.3, 1.6], [-0.8, 1.2, 1.5]], "angles": [-180, 180], "uv": [0.1, 0.2, 0.9, 0.6]}
RIBBON = {"points": [[0.8, 0.7, 0.3], [1.1, 0.4, 0.9]], "width": 0.06, "uv": [0, 0.9, 1, 1]}


def turned(yaw: float, scale: float = 60.0) -> np.ndarray:
    """The canonical control points seen under a yaw, in pixels around (100, 80)."""
    angle = np.deg2rad(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return scale * control_canonical() @ turn.T + [100, 80, 0]


def grid_of(surface, number: int = 0) -> np.ndarray:
    """The nodes of a panel as (ROWS, COLUMNS, 3)."""
    size = ROWS * COLUMNS
    return surface.nodes[number * size : (number + 1) * size].reshape(ROWS, COLUMNS, 3)


def test_the_taut_surface_lies_before_the_face_and_touches_the_nose():
    face = canonical_face()
    gap = face[:, 2] - taut_depth(face[:, 0], face[:, 1])  # positive: the cloth is nearer to the camera
    inside = (np.abs(face[:, 0]) < 0.9) & (face[:, 1] > 0.2)
    least = min(panel["gap"] for asset in FIRST_SIX for panel in asset.geometry["panels"])  # what every mask adds
    assert gap[inside].min() > -least
    assert gap[1] < 0.08


def test_the_taut_surface_is_convex_as_cloth_under_tension_is():
    rng = np.random.default_rng(0)
    a, b = rng.uniform([-1, -0.8], [1, 1.7], (2, 400, 2))
    middle = taut_depth(*((a + b) / 2).T)
    assert (middle <= (taut_depth(*a.T) + taut_depth(*b.T)) / 2 + 1e-9).all()


@pytest.mark.parametrize("asset", FIRST_SIX, ids=lambda asset: asset.asset_id)
def test_a_face_mask_is_symmetric_faces_outward_and_covers_nose_and_mouth(asset):
    surface = build_surface({**asset.geometry, "panels": asset.geometry["panels"][:1]})
    mirrored = surface.nodes * [-1, 1, 1]
    distance = np.abs(mirrored[:, None] - surface.nodes[None]).max(-1).min(1)
    assert distance.max() < 1e-6
    middle = np.flatnonzero(np.abs(surface.nodes[:, 0]) < 0.3)
    assert (surface.normals[middle, 2] < 0.35).all()  # towards the camera, except where it turns in under the chin
    face = canonical_face()
    low, high = surface.nodes.min(0), surface.nodes.max(0)
    assert ((face[list(COVERED), :2] > low[:2]) & (face[list(COVERED), :2] < high[:2])).all()
    assert high[1] > face[152, 1], "the mask must reach under the chin"
    assert low[1] < face[5, 1], "the mask must reach up the nose"


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.asset_id)
def test_every_surface_is_sound(asset):
    surface = build_surface(asset.geometry)
    panels = len(asset.geometry["panels"])
    assert len(surface.nodes) == panels * ROWS * COLUMNS and len(surface.uv) == len(surface.normals)
    assert surface.triangles.min() == 0 and surface.triangles.max() == len(surface.uv) - 1
    assert surface.uv.min() >= 0 and surface.uv.max() <= 1
    assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1)
    assert [layer.start for layer in surface.layers] == [0, *(layer.stop for layer in surface.layers[:-1])]
    assert surface.layers[-1].stop == len(surface.triangles)
    assert [layer.tinted for layer in surface.layers[-panels:]] == [
        panel.get("tinted", True) for panel in asset.geometry["panels"]
    ]
    points, opacity = pose(surface, turned(0))
    assert len(points) == len(opacity) == len(surface.uv) and len(paint_order(points, surface.triangles)) > 100


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.asset_id)
def test_every_mask_follows_yaw_continuously(asset):
    surface = build_surface(asset.geometry)
    before, _ = pose(surface, turned(-60))
    nodes = len(surface.nodes)
    # Two degrees move a point by 0.035 times its distance from the axis: at most about three units, times sixty.
    for yaw in range(-58, 62, 2):
        now, _ = pose(surface, turned(yaw))
        assert np.abs(now - before)[:nodes].max() < 7
        before = now


def test_straps_hide_on_the_far_side():
    surface = build_surface(select_assets("surgical")[0].geometry)
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
    surface = build_surface({"panels": [SHEET], "ribbons": [RIBBON]})
    points = pose(surface, turned(0, scale))[0][len(surface.nodes) :].reshape(-1, 2, STRAP_STEPS, 3)
    width = np.linalg.norm(points[:, 1] - points[:, 0], axis=-1)
    wanted = np.maximum(RIBBON["width"] * scale_of(turned(0, scale)), LEAST_STRAP_PIXELS)
    assert np.allclose(width, wanted)


def test_a_mask_without_straps_is_a_panel_alone():
    surface = build_surface({"panels": [SHEET]})
    points, opacity = pose(surface, turned(10))
    assert len(points) == len(surface.nodes) == len(surface.uv) == len(surface.normals) and (opacity == 1).all()
    assert surface.triangles.max() == len(points) - 1 and len(surface.layers) == 1


def test_a_sheet_runs_between_its_edges_at_its_gap_from_the_taut_face():
    grid = grid_of(build_surface({"panels": [SHEET]}))
    middle = COLUMNS // 2
    assert np.allclose(grid[[0, -1], middle, :2], [[0, 0.2], [0, 1.9]])
    assert np.allclose(grid[0, [0, -1], :2], [[-0.9, 0.6], [0.9, 0.6]])
    assert np.allclose(grid[..., 2], taut_depth(grid[..., 0], grid[..., 1]) - 0.05)
    for key in ("cup", "ridge", "shelf"):
        lifted = grid_of(build_surface({"panels": [SHEET | {key: 0.3}]}))
        rise = grid[..., 2] - lifted[..., 2]
        assert np.allclose(lifted[..., :2], grid[..., :2]) and rise.min() > -1e-9, key
        assert 0.2 < rise.max() <= 0.3 + 1e-9 and rise[:, [0, -1]].max() < 1e-9, key
        assert abs(rise[:, middle].argmax() - ROWS / 2) < 2, key
    tucked = grid_of(build_surface({"panels": [SHEET | {"tuck": 0.4}]})) - grid
    assert np.allclose(tucked[-1, :, 2], 0.4) and np.allclose(tucked[: ROWS * 8 // 10], 0)


def test_an_edge_given_from_the_left_is_the_whole_edge():
    edges = {"top": [[-0.7, 0.9], [0.1, 0.3], [0.5, 0.2]], "bottom": [[-0.6, 1.7], [0.4, 1.4]]}
    grid = grid_of(build_surface({"panels": [SHEET | edges]}))
    assert np.allclose(grid[0, [0, -1], :2], [[-0.7, 0.9], [0.5, 0.2]])
    assert np.allclose(grid[-1, [0, -1], :2], [[-0.6, 1.7], [0.4, 1.4]])
    nearest = np.hypot(*(grid[0, :, :2] - [0.1, 0.3]).T).min()
    assert nearest < 0.03, "the edge passes through its middle point"
    assert (np.diff(grid[0, :, 0]) > 0).all()


def test_a_flat_sheet_ignores_the_face():
    grid = grid_of(build_surface({"panels": [SHEET | {"flat": [-0.4, 0.3], "gap": 0.0}]}))
    assert np.allclose(grid[..., 2], -0.4 + 0.3 * grid[..., 0] ** 2)


def test_a_lathe_lies_on_its_rings_and_faces_outward_all_round():
    surface = build_surface({"panels": [LATHE]})
    grid = grid_of(surface)
    heights = grid[:, 0, 1]
    assert np.allclose(heights[[0, -1]], [-1.2, -0.8]) and (np.diff(heights) > 0).all()
    share = (heights + 1.2) / 0.4
    across, deep = (1.3 - 0.1 * share)[:, None], (1.6 - 0.1 * share)[:, None]
    angle = np.linspace(-np.pi, np.pi, COLUMNS)
    assert np.allclose(grid[..., 0], across * np.sin(angle), atol=1e-6)
    assert np.allclose(grid[..., 2], LATHE_AXIS_DEPTH - deep * np.cos(angle), atol=1e-6)
    outward = (surface.nodes - [0, 0, LATHE_AXIS_DEPTH]) * [1, 0, 1]
    cosine = (surface.normals * outward).sum(1) / np.linalg.norm(outward, axis=1)
    assert cosine.min() > 0.8
    assert np.allclose(surface.uv.min(0), [0.1, 0.2]) and np.allclose(surface.uv.max(0), [0.9, 0.6])
    # By symmetry the middle of the texture is at the front.
    front = surface.uv.reshape(ROWS, COLUMNS, 2)[:, COLUMNS // 2, 0]
    assert np.allclose(front, 0.5, atol=1e-3)


def test_only_the_near_half_of_a_lathe_is_drawn_unless_it_is_two_sided():
    near = build_surface({"panels": [LATHE]})
    both = build_surface({"panels": [LATHE | {"two_sided": True}]})
    assert len(both.triangles) == 2 * len(near.triangles)
    for yaw in (0, 40):
        points, _ = pose(near, turned(yaw))
        seen = near.triangles[paint_order(points, near.triangles)]
        assert 0.4 < len(seen) / len(near.triangles) < 0.6
        angle = np.deg2rad(yaw)
        towards = near.normals[seen].mean(1) @ [-np.sin(angle), 0, np.cos(angle)]
        assert towards.max() < 0.15, "what faces away is not drawn"
        order = paint_order(points, both.triangles)
        assert len(order) > 0.97 * len(near.triangles)  # edge-on ones have no area
        depth = points[both.triangles[order]][..., 2].mean(1)
        assert (np.diff(depth) <= 1e-9).all(), "the far side is painted first"


def test_a_lathe_turns_with_the_head():
    surface = build_surface({"panels": [LATHE | {"angles": [-30, 30]}]})
    for yaw in (-45, 45):
        points = pose(surface, turned(yaw))[0].reshape(ROWS, COLUMNS, 3)
        angle = np.deg2rad(yaw)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        assert np.allclose(points, 60 * grid_of(surface) @ turn.T + [100, 80, 0], atol=1e-6)


@pytest.mark.parametrize("angles", [[30, -30], [0, 181], [-200, 0], [10, 10]])
def test_a_lathe_with_impossible_angles_is_refused(angles):
    with pytest.raises(ValueError, match="angles must rise within -180 to 180"):
        build_surface({"panels": [LATHE | {"angles": angles}]})


def test_ribbons_are_mirrored_unless_they_say_no_and_lie_under_the_panels():
    both = build_surface({"panels": [SHEET, SHEET], "ribbons": [RIBBON]})
    once = build_surface({"panels": [SHEET, SHEET], "ribbons": [RIBBON | {"mirror": False}]})
    assert len(both.strap_width) == 2 and len(once.strap_width) == 1
    sides = pose(both, turned(0))[0][len(both.nodes) :].reshape(2, 2, STRAP_STEPS, 3).mean(1)
    assert np.allclose(sides[0] - [100, 80, 0], (sides[1] - [100, 80, 0]) * [-1, 1, 1])
    alone = pose(once, turned(0))[0][len(once.nodes) :].reshape(2, STRAP_STEPS, 3).mean(0)
    assert np.allclose(alone, sides[0]) and (alone[:, 0] > 100).all()
    for surface in (both, once):
        under, *panels = surface.layers
        assert under.start == 0 and surface.triangles[: under.stop].min() >= len(surface.nodes)
        assert len(panels) == 2 and all(surface.triangles[p.start : p.stop].max() < len(surface.nodes) for p in panels)
    assert np.allclose(once.uv[len(once.nodes) :].min(0), [0, 0.9])


def test_tinted_and_plain_straps_are_layers_of_their_own():
    ribbons = [RIBBON | {"tinted": True}, RIBBON | {"mirror": False}, RIBBON | {"tinted": True, "mirror": False}]
    surface = build_surface({"panels": [SHEET | {"tinted": False}], "ribbons": ribbons})
    assert [layer.tinted for layer in surface.layers] == [False, True, False]
    per_strap = 2 * (STRAP_STEPS - 1)
    assert [layer.stop - layer.start for layer in surface.layers[:2]] == [per_strap, 3 * per_strap]


def test_a_ribbon_of_one_point_is_refused():
    with pytest.raises(ValueError, match="a ribbon needs two points"):
        build_surface({"panels": [SHEET], "ribbons": [RIBBON | {"points": [[0, 0, 0]]}]})


def test_the_texture_is_not_stretched_along_a_panel():
    surface = build_surface({"panels": [SHEET]})
    grid, u = grid_of(surface), surface.uv.reshape(ROWS, COLUMNS, 2)[..., 0]
    row = ROWS // 2
    steps = np.linalg.norm(np.diff(grid[row], axis=0), axis=1)
    assert np.allclose(np.diff(u[row]), steps / steps.sum())
    assert np.allclose(u, u[row])


def test_grid_triangles_cover_the_grid_once():
    triangles = grid_triangles(3, 4)
    points = np.array([[x, y] for y in range(3) for x in range(4)], float)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert len(triangles) == 12 and np.allclose(area, 0.5)
