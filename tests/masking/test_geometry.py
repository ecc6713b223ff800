from __future__ import annotations

import numpy as np
import pytest
from reference.pose import pose as posed

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.geometry import (
    COLUMNS,
    HEM,
    LATHE_AXIS_DEPTH,
    ROWS,
    SEWN,
    STRAP_STEPS,
    build_surface,
    grid_triangles,
    skin_depth,
    taut_depth,
)
from maskbench.masking.kernels import DEPTHS, paint_order
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
    # Two degrees move a point by 0.035 times its distance from the axis, here times sixty.
    most = 1.1 * 60 * np.deg2rad(2) * np.linalg.norm(surface.nodes[:, [0, 2]], axis=1).max()
    for yaw in range(-58, 62, 2):
        now, _ = pose(surface, turned(yaw))
        assert np.abs(now - before)[:nodes].max() < most
        before = now


@pytest.mark.parametrize("yaw", [-50, 50])
def test_straps_hide_on_the_far_side(yaw: int):
    surface = build_surface(select_assets("surgical")[0].geometry)
    opacity = pose(surface, turned(yaw))[1][len(surface.nodes) :].reshape(-1, 2, STRAP_STEPS)
    side = np.sign(surface.normals[len(surface.nodes) :, 0]).reshape(-1, 2, STRAP_STEPS)[:, 0, -1]
    near = side == np.sign(yaw)
    assert near.sum() == 2 and (~near).sum() == 2
    assert (opacity[near][..., :-1] > 0.9).all(), "as far as the ear; there they may end softly"
    assert (opacity[~near][..., 2:] == 0).all(), "what is left of it lies under the panel"


@pytest.mark.parametrize("scale", [9.0, 60.0])
@pytest.mark.parametrize("yaw", [-40, 0, 65])
def test_straps_are_sewn_and_fade_as_the_definition_says(yaw: float, scale: float):
    for asset in FIRST_SIX:
        surface, control = build_surface(asset.geometry), turned(yaw, scale)
        for got, expected in zip(pose(surface, control), posed(surface, control, scale_of(control)), strict=True):
            assert np.allclose(got, expected, atol=1e-9)


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


def test_a_fitted_sheet_begins_on_the_skin_and_bridges_only_what_it_covers():

    def both(sheet):
        return [grid_of(build_surface({"panels": [sheet | {"fitted": flag}]})) for flag in (False, True)]

    high = SHEET | {"top": [[0, -0.06], [0.24, 0.25], [1.0, 0.28]], "gap": 0.0}
    low = SHEET | {"top": [[0, 0.8], [0.9, 0.7]], "gap": 0.0}
    for sheet, landmark, floating in ((high, 168, 0.12), (low, 164, 0.12)):
        y = np.array([sheet["top"][0][1]])
        skin = float(skin_depth(np.zeros(1), y)[0])
        assert abs(skin - canonical_face()[landmark, 2]) < 0.03
        loose, fitted = (grids[0, COLUMNS // 2, 2] for grids in both(sheet))
        assert loose < skin - floating and abs(fitted - skin) < 0.03
    loose, fitted = both(high)
    # The whole face's hull contains the other; both are rounded, by some hundredths.
    assert (fitted[..., 2] > loose[..., 2] - 0.04).all(), "nowhere does it stand farther off than the whole face's hull"
    assert np.abs(fitted - loose)[ROWS // 2 :].max() < 0.02, "lower down there is no difference"
    ahead = fitted.reshape(-1, 3)[:, 2] - skin_depth(*fitted.reshape(-1, 3)[:, :2].T)
    assert ahead.max() < 0.08, "and nowhere does it lie deep within the face"


def test_skin_depth_passes_through_the_mesh_and_goes_on_beside_it():
    face = canonical_face()
    rng = np.random.default_rng(0)
    at = face[rng.choice(468, 50, replace=False)]
    assert np.abs(skin_depth(at[:, 0], at[:, 1]) - at[:, 2]).max() < 1e-9
    beside = np.array([[1.4, 0.3], [0.0, 2.2]])
    assert np.allclose(skin_depth(*beside.T), taut_depth(*beside.T))


def test_fitted_panels_share_one_hull_and_leave_the_others_alone():
    valve = {"top": [[0.2, 1.0], [0.5, 1.0]], "bottom": [[0.2, 1.3], [0.5, 1.3]], "uv": [0, 0, 1, 1], "gap": 0.0}
    valve = valve | {"top": [[-0.3, 1.0], [0.3, 1.0]], "bottom": [[-0.3, 1.3], [0.3, 1.3]]}
    sheet = SHEET | {"gap": 0.0}
    together = build_surface({"panels": [sheet | {"fitted": True}, valve | {"fitted": True}]})
    alone = build_surface({"panels": [valve | {"fitted": True}]})
    x, y = grid_of(together, 1)[..., 0], grid_of(together, 1)[..., 1]
    loose = taut_depth(x, y)
    assert np.abs(grid_of(together, 1)[..., 2] - loose).max() < 0.03, "a valve lies on its mask, which spans the nose"
    assert (grid_of(alone)[..., 2] - loose).max() > 0.05, "alone it would lie on the lips"
    mixed = build_surface({"panels": [sheet | {"fitted": True}, valve]})
    assert np.allclose(grid_of(mixed, 1)[..., 2], loose)


def test_normals_are_unit_where_the_edges_meet_in_a_point():
    pointed = SHEET | {"top": [[0, 0.2], [1.0, 0.9]], "bottom": [[0, 1.8], [1.0, 0.9]]}
    normals = build_surface({"panels": [pointed]}).normals.reshape(ROWS, COLUMNS, 3)
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1)
    assert np.allclose(normals[:, 0], normals[:, 1]) and np.allclose(normals[:, -1], normals[:, -2])
    crown = LATHE | {"profile": [[-1.7, 0.0, 0.0], [-1.5, 0.9, 1.1], [-0.8, 1.2, 1.5]]}
    normals = build_surface({"panels": [crown]}).normals.reshape(ROWS, COLUMNS, 3)
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1) and (normals[0, :, 1] < -0.5).all(), "the pole looks up"


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
        assert (np.diff(depth) <= np.ptp(depth) / (DEPTHS - 1)).all(), "the far side is painted first"


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


def test_a_strap_that_begins_near_a_panel_is_sewn_under_it():
    near = RIBBON | {"points": [[0.9, 0.8, 9.0], [1.1, 0.4, 0.9]]}
    surface = build_surface({"panels": [SHEET | {"cup": 0.2}], "ribbons": [near]})
    centre = (surface.strap_binding @ control_canonical()).reshape(-1, STRAP_STEPS, 3)
    inner = grid_of(surface)[HEM:-HEM, HEM:-HEM].reshape(-1, 3)
    for strap in centre:
        start = np.linalg.norm(inner - strap[0], axis=1).min()
        assert start < 0.02, "its end lies under the panel, whatever depth the asset gave"
        assert np.linalg.norm(np.diff(strap, axis=0), axis=1).max() < 0.35
    apart = RIBBON | {"points": [[0.9 + 2 * SEWN, 0.8, 0.3], [1.4, 0.4, 0.9]]}
    free = build_surface({"panels": [SHEET], "ribbons": [apart]})
    begin = (free.strap_binding @ control_canonical()).reshape(-1, STRAP_STEPS, 3)[0, 0]
    assert np.allclose(begin, [0.9 + 2 * SEWN, 0.8, 0.3], atol=0.02), "one that begins elsewhere stays there"


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
