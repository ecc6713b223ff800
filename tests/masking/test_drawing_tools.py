"""What glasses, hats, hands and hair are drawn with: fields, outlines, pieces, shells, bones, strands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from maskbench.masking.geometry import build_surface

TOOLS = str(Path(__file__).parents[2] / "tools" / "masks")
if TOOLS not in sys.path:
    sys.path.insert(0, TOOLS)

import glasses  # noqa: E402
import hair  # noqa: E402
import hands  # noqa: E402
import pen  # noqa: E402
import shell  # noqa: E402

RNG = np.random.default_rng(3)


def colours(shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    return RNG.uniform(0, 1, (*shape, 4))


def nodes_at(panel: dict, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Where the renderer puts texture positions (n,) u, v of a panel, by interpolation between its nodes: (n, 2)."""
    from scipy.interpolate import LinearNDInterpolator

    surface = build_surface({"panels": [{**panel, "uv": [0, 0, 1, 1]}]})
    return LinearNDInterpolator(surface.uv, surface.nodes[:, :2])(np.column_stack([u, v]))


@pytest.mark.parametrize(
    ("x", "y", "depth", "narrow", "flat"),
    [
        ((-1.2, 1.2), (-0.5, 0.6), 0.3, 1.0, [-0.4, 0.3]),
        ((-2.3, 1.3), (0.0, 3.2), 0.12, 1.0, [-0.6, 0.12]),
        ((-1.1, 1.1), (0.0, 2.0), None, 0.74, None),
    ],
)
def test_a_field_lies_where_the_renderer_puts_its_texels(x, y, depth, narrow, flat):
    field = pen.Field((120, 160), x, y, hair.hull(sum(y) / 2) if depth is None else depth, narrow)
    panel = hair.on_face(x, y, narrow) if flat is None else hands.flat_sheet(x, y, flat, 0.0, True)
    rows, columns = RNG.integers(5, 115, 60), RNG.integers(5, 155, 60)
    found = nodes_at(panel, (columns + 0.5) / 160, (rows + 0.5) / 120)
    drawn = np.column_stack([field.x[rows, columns], field.y[rows, columns]])
    assert np.abs(found - drawn).max() < 0.02


def test_texel_coordinates_invert_a_fields_positions():
    field = pen.Field((40, 50), (-1.0, 1.4), (0.2, 1.8), 0.5, 0.8)
    rows, columns = np.mgrid[:40, :50]
    texels = field.texels(np.stack([field.x, field.y], -1))
    assert np.allclose(texels[..., 0], columns + 0.5, atol=1e-3) and np.allclose(texels[..., 1], rows + 0.5)


def test_the_distance_to_a_circle_is_its_radius_less_the_distance_from_the_centre():
    field = pen.Field((200, 200), (-1.0, 1.0), (-1.0, 1.0))
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    distance = field.inside(0.6 * np.column_stack([np.cos(angle), np.sin(angle)]))
    assert np.abs(distance - (0.6 - np.hypot(field.x, field.y))).max() < 0.02


def test_the_union_of_two_outlines_is_the_greater_distance_outside():
    field = pen.Field((100, 200), (-2.0, 2.0), (-1.0, 1.0))
    box = np.array([[0.5, -0.4], [1.5, -0.4], [1.5, 0.4], [0.5, 0.4]])
    both = field.inside(box, pen.mirrored(box))
    assert np.allclose(both, both[:, ::-1], atol=0.02)
    assert both[50, 150] > 0.3 and both[50, 100] < -0.4


def test_a_closed_curve_passes_through_its_points():
    points = np.array([(0, 0), (1, 0.2), (1.2, 1), (0.3, 1.1)])
    curve = pen.closed(points, 4000)
    for point in points:
        assert np.hypot(*(curve - point).T).min() < 2e-3


def test_growing_an_outline_moves_it_outwards_by_that_much():
    circle = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16, endpoint=False)]
    assert np.allclose(np.hypot(*glasses.grown(circle, 0.1).T), 1.1, atol=2e-3)
    assert np.allclose(np.hypot(*glasses.grown(circle[::-1], 0.1).T), 1.1, atol=2e-3)


def test_over_composites_straight_colours():
    below, colour, alpha = colours(), RNG.uniform(0, 1, (20, 30, 3)), RNG.uniform(0, 1, (20, 30))
    result = pen.over(below, colour, alpha)
    premultiplied = colour * alpha[..., None] + below[..., :3] * below[..., 3:] * (1 - alpha[..., None])
    assert np.allclose(result[..., :3] * result[..., 3:], premultiplied)
    assert np.allclose(1 - result[..., 3], (1 - alpha) * (1 - below[..., 3]))
    assert np.allclose(pen.over(pen.blank((20, 30)), colour, 1.0)[..., :3], colour)


def test_an_atlas_holds_every_piece_at_its_place():
    panel, ribbon = {"tinted": True}, {"points": [[0, 0, 0], [1, 0, 1]], "width": 0.1, "tinted": False}
    pieces = [
        pen.Piece(colours((30, 64)), (panel, {"tinted": False})),
        pen.Piece(colours((20, 40)), ribbons=(ribbon,)),
        pen.Piece(colours((25, 64)), (panel,)),
    ]
    texture, geometry = pen.atlas(pieces, coarse=1)
    assert texture.shape == (30 + 20 + 25 + 2 * pen.GUTTER, 64, 4) and texture.dtype == np.uint8
    assert [p["tinted"] for p in geometry["panels"]] == [True, False, True]
    again = pen.taken(({"geometry": geometry}, texture))
    by_size = {piece.picture.shape[:2]: piece for piece in again}
    for piece in pieces:
        found = by_size[piece.picture.shape[:2]]
        seen = found.picture[..., 3] > 0
        assert np.abs(found.picture - piece.picture)[seen].max() <= 1.01 / 255
        assert [{**p} for p in found.panels] == [{**p} for p in piece.panels]
        assert len(found.ribbons) == len(piece.ribbons)


def test_an_opaque_border_goes_on_into_the_gutter():
    pieces = [pen.Piece(np.ones((10, 16, 4)) * value, ({},)) for value in (1.0, 1.0)]
    texture, _ = pen.atlas(pieces)
    half = pen.GUTTER // 2
    assert (texture[10 : 10 + pen.GUTTER] == 255).all()
    shorter = [pieces[0], pen.Piece(np.zeros((10, 8, 4)), ({},))]
    texture, _ = pen.atlas(shorter)
    assert (texture[10 : 10 + half] == 255).all() and not texture[10 + half :].any()


def test_levels_keep_full_opacity_and_black_out_the_invisible():
    texture = np.dstack([np.full((1, 4, 3), 0.5), np.array([[0.0, 0.004, 0.5, 1.0]])])
    found = pen.levels(texture, coarse=8)
    assert found[0, :, 3].tolist() == [0, 0, 128, 255]
    assert found[0, 0].tolist() == [0, 0, 0, 0] and found[0, 3].tolist() == [128, 128, 128, 255]


def test_baking_a_colour_tints_only_what_was_to_be_tinted():
    tinted, fixed = pen.Piece(np.ones((4, 4, 4)), ({"gap": 0.1},)), pen.Piece(np.ones((4, 4, 4)), ({"tinted": False},))
    made = pen.baked([tinted, fixed], (255, 51, 0))
    assert np.allclose(made[0].picture[0, 0], [1, 0.2, 0, 1]) and made[0].panels[0] == {"gap": 0.1, "tinted": False}
    assert (made[1].picture == 1).all() and tinted.panels[0] == {"gap": 0.1}


def test_scaling_keeps_the_mean_colour_and_opacity():
    piece = pen.Piece(np.dstack([np.full((40, 60, 3), 0.7), RNG.uniform(0, 1, (40, 60))]), ({},))
    small = pen.scaled([piece], 0.5)[0].picture
    assert small.shape == (20, 30, 4)
    assert np.allclose(small[..., :3], 0.7) and np.isclose(small[..., 3].mean(), piece.picture[..., 3].mean())


def test_a_built_asset_is_plain_json_and_written_whole(tmp_path):
    piece = pen.Piece(colours((12, 16)), ({"top": [[0, 0], [1, 0]], "bottom": [[0, 1], [1, 1]]},))
    built = pen.build("thing", "A thing", "simple", "thing", "eye upper", {"red": [255, 0, 0]}, [piece], "x.py")
    folder = pen.write(tmp_path, built)
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE", "asset.json", "texture.png"]
    data = json.loads((folder / "asset.json").read_text())
    assert data["regions"] == ["eye", "upper"] and data["source"] == "drawn by tools/masks/x.py"
    assert data["geometry"]["panels"][0]["uv"] == [0.0, 0.0, 1.0, 1.0]


def test_a_shells_texels_lie_where_the_renderer_puts_them():
    profile = [[-1.5, 1.0, 1.2], [-0.2, 1.3, 1.5]]
    made = shell.Shell(80, profile, (-70.0, 70.0), columns=120, deeper=0.2)
    rows, columns = RNG.integers(4, 76, 50), RNG.integers(4, 116, 50)
    found = nodes_at(made.panel, (columns + 0.5) / 120, (rows + 0.5) / 80)
    assert np.abs(found[:, 1] - made.y[rows, columns]).max() < 0.02
    rings = np.array(made.panel["profile"])
    wide = np.interp(made.y[rows, columns], rings[:, 0], rings[:, 1])
    assert np.abs(found[:, 0] - wide * np.sin(np.deg2rad(made.angle[rows, columns]))).max() < 0.02
    front = build_surface({"panels": [{**made.panel, "uv": [0, 0, 1, 1]}]}).nodes[:, 2].min()
    assert front == pytest.approx(1.1 - 1.5, abs=0.01), "setting it back leaves the front where it is"


def test_around_makes_a_field_meet_itself():
    field = shell.around(RNG.normal(size=(8, 160)).cumsum(1))
    jump = np.abs(field[:, 0] - field[:, -1])
    assert jump.max() < 0.1 * np.ptp(field)


def test_the_brim_line_runs_from_the_brow_over_the_ears_to_the_nape():
    made = shell.Shell(10, [[-1, 1, 1], [0, 1, 1]], columns=361)
    line = shell.edge_at(made, -0.7, -0.3, -0.1)[0]
    at = np.interp([0, 90, 180], made.angle[0], line)
    assert np.allclose(at, [-0.7, -0.3, -0.1], atol=0.01) and np.allclose(line, line[::-1])


def test_fingers_have_the_lengths_and_directions_of_their_pose():
    pose = hands.Pose((0.2, 1.0), 90.0, scale=1.0, spread=0.0)
    parts = hands.bones(pose)
    for name, (across, along) in hands.ROOTS.items():
        chain = parts[name]
        assert np.allclose(chain[0][0], [0.2 - across, 1.0 - along]), "the thumb's side lies to the left of the heading"
        assert np.hypot(*(chain[-1][1] - chain[0][0])) == pytest.approx(hands.LENGTHS[name])
        assert np.allclose(chain[-1][1][0], chain[0][0][0]), "upright"
    curled = hands.bones(hands.Pose((0.2, 1.0), 90.0, scale=1.0, curl=1.0))
    assert len(curled["index"]) == 2 and curled["index"][-1][5] < parts["index"][-1][5]
    assert "thumb" not in hands.bones(hands.Pose((0, 0), 0.0, thumb=0))


def test_a_mirrored_pose_is_the_mirrored_hand():
    left = hands.Pose((-0.4, 1.6), 70.0, 1, arm=250.0)
    right = hands.Pose((0.4, 1.6), 110.0, -1, arm=290.0)
    grid = pen.Field((120, 120), (-2.0, 2.0), (-1.0, 3.0))
    first, second = (hands.paint(grid, pose)[..., 3] for pose in (left, right))
    assert np.abs(first - second[:, ::-1]).mean() < 0.002
    assert 0.05 < (first > 0.9).mean() < 0.5


def test_a_relief_is_a_rounded_bone():
    grid = pen.Field((100, 100), (-1.0, 1.0), (-1.0, 1.0))
    bone = (np.array([-0.4, 0.0]), np.array([0.4, 0.0]), 0.2, 0.2, 0.0, 0.0)
    height, inside, along = hands.relief(grid, bone, flat=1.0)
    expected = 0.2 - np.hypot(np.maximum(np.abs(grid.x) - 0.4, 0), grid.y)
    assert np.allclose(inside, expected)
    assert np.allclose(height[inside > 0], np.sqrt(0.2**2 - (0.2 - inside[inside > 0]) ** 2))
    assert along.min() == 0 and along.max() == 1


def test_melting_is_a_maximum_with_soft_joints():
    a, b = RNG.normal(size=(2, 50))
    soft = hands.melt([a, b], 0.05)
    assert (soft >= np.maximum(a, b)).all() and (soft <= np.maximum(a, b) + 0.05 * np.log(2) + 1e-12).all()


def test_a_strand_covers_its_line_and_nothing_far_from_it():
    path = np.array([[[5.0, 20.0], [25.0, 20.0]]])
    drawn = hair.draw_strands(path, np.array([0.8]), np.array([2.0]), (40, 30), 0.5)
    assert drawn.shape == (40, 30, 2)
    assert drawn[20, 15, 1] > 0.9 and drawn[20, 15, 0] == pytest.approx(0.8, abs=0.05)
    assert not drawn[:16, :, 1].any() and not drawn[25:, :, 1].any()


def test_curves_start_at_their_roots_and_have_their_lengths():
    roots, angle = RNG.normal(size=(20, 2)), RNG.uniform(0, 6, 20)
    straight = hair.curves(roots, hair.unit(angle), np.full(20, 0.3), np.zeros(20))
    assert np.allclose(straight[:, 0], roots)
    assert np.allclose(straight[:, -1] - roots, 0.3 * np.column_stack([np.cos(angle), np.sin(angle)]))


def test_hairs_grow_where_the_density_is():
    grid = pen.Field((60, 60), (-1.0, 1.0), (-1.0, 1.0))
    density = ((grid.x > 0.2) & (grid.y < 0)).astype(float)
    roots = hair.scattered(np.random.default_rng(1), grid, density, 4000)
    assert roots[:, 0].min() > 0.15 and roots[:, 1].max() < 0.05
    assert abs(roots[:, 0].mean() - 0.6) < 0.02 and abs(roots[:, 1].mean() + 0.5) < 0.02


def test_beards_leave_lips_and_cheeks_free():
    grid = pen.Field((200, 200), (-1.2, 1.2), (-0.2, 2.4))
    density = hair.beard_density(grid, 0.1)

    def at(x: float, y: float) -> float:
        return float(density[np.abs(grid.y[:, 0] - y).argmin(), np.abs(grid.x[0] - x).argmin()])

    assert at(0.0, 1.08) == 0 and at(0.55, 0.6) == 0 and at(0.0, 0.5) == 0 and at(0.0, 2.3) == 0
    assert min(at(0.0, 1.6), at(0.25, 0.88), at(-0.25, 0.88), at(0.95, 1.05), at(-0.95, 1.05)) > 0.5
