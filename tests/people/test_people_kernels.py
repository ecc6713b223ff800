"""The compiled loops of the portrait renderer, against slow and plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.people import kernels
from maskbench.people.rendering import harmonics


def drawn(points, triangles, first_hair=None, across=None, cut=None, alpha=None, side=24):
    count = len(points)
    owner, weights, depth, _, _ = kernels.empty(side)
    kernels.draw(
        np.float32(points), np.int32(triangles), len(triangles) if first_hair is None else first_hair,
        np.zeros((count, 2), np.float32) if across is None else np.float32(across),
        np.zeros(count, np.float32) if cut is None else np.float32(cut),
        np.full((4, 4), 255, np.uint8) if alpha is None else alpha, owner, weights, depth,
    )  # fmt: skip
    return owner, weights, depth


def slow_owner(points, triangles, side=24):
    """Nearest triangle, clockwise as seen, at each sample, by solving for barycentric weights."""
    owner, depth = np.full((side, side), -1), np.full((side, side), np.inf)
    for number, corners in enumerate(triangles):
        a, b, c = np.float64(points)[corners]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area >= 0:
            continue
        for y in range(side):
            for x in range(side):
                p, q = np.linalg.solve(np.array([b[:2] - a[:2], c[:2] - a[:2]]).T, np.array([x, y]) - a[:2])
                z = a[2] + p * (b[2] - a[2]) + q * (c[2] - a[2])
                if min(p, q, 1 - p - q) >= 0 and z < depth[y, x]:
                    owner[y, x], depth[y, x] = number, z
    return owner, depth


def test_the_nearest_triangle_owns_each_sample():
    rng = np.random.default_rng(4)
    points = rng.uniform(-4.03, 28.07, (30, 3))
    triangles = rng.permutation(30).reshape(10, 3)
    owner, _, depth = drawn(points, triangles)
    expected, far = slow_owner(points, triangles)
    assert (owner >= 0).sum() > 40
    assert np.array_equal(owner, expected)
    assert np.allclose(depth[owner >= 0], far[owner >= 0], atol=1e-4)


def test_weights_give_back_the_place():
    points = np.array([[2.2, 3.1, 0], [5.3, 20.4, 0], [21.7, 9.6, 0]])
    owner, weights, _ = drawn(points, [[0, 1, 2]])
    y, x = np.nonzero(owner == 0)
    p, q = weights[y, x].T
    place = (1 - p - q)[:, None] * points[0] + p[:, None] * points[1] + q[:, None] * points[2]
    assert len(y) > 80 and np.allclose(place[:, :2], np.stack([x, y], 1), atol=1e-4)


def test_skin_from_behind_is_not_drawn_but_hair_is():
    points = [[2, 2, 0], [20, 4, 0], [5, 20, 0]]
    assert (drawn(points, [[0, 1, 2]])[0] == -1).all()
    assert (drawn(points, [[0, 1, 2]], first_hair=0)[0] == 0).any()


def test_hair_is_drawn_where_its_alpha_exceeds_the_cut_and_hides_nothing_elsewhere():
    points = [[1, 1, 0], [1, 22, 0], [22, 1, 0], [1, 1, 5], [1, 22, 5], [22, 1, 5]]
    across = [[0, 0], [0, 1], [1, 0]] * 2
    alpha = np.zeros((4, 4), np.uint8)
    alpha[:, :2] = 200  # the left half of the strands
    owner = drawn(points, [[0, 1, 2], [3, 4, 5]][::-1], 1, across, [100] * 6, alpha)[0]
    inside = owner >= 0
    y, x = np.nonzero(inside)
    hair = owner[y, x] == 1
    u = (x - 1) / 21
    assert hair[u < 0.45].all() and not hair[u > 0.55].any()  # behind the gaps the skin is seen
    assert (drawn(points, [[0, 1, 2], [3, 4, 5]][::-1], 1, across, [250] * 6, alpha)[0] != 1).all()


def test_colours_are_texture_times_light_and_cloth_below_the_neckline():
    points = [[0, 0, 0], [0, 23, 0], [23, 0, 0]]
    owner, weights, _ = drawn(points, [[0, 1, 2]])
    _, _, _, out, label = kernels.empty(24)
    atlas = np.zeros((8, 8, 3), np.float32)
    atlas[:] = np.arange(8)[:, None, None] * 10  # brighter down
    corners = np.float32([[[0, 0], [0, 7], [7, 0]]])
    light = np.float32([[1, 0.5, 2]] * 3)
    base = np.float32([[0, 6, 1.4], [0, 5, 1.4], [0, 6, 1.4]])  # the second corner lies below the neckline
    moved = np.int32([[0, 1, 2]]) + kernels.MESH
    light, shine = (
        np.concatenate([np.zeros((kernels.MESH, *a.shape[1:]), np.float32), a]) for a in (light, light[:, 0])
    )
    across, cloth = np.zeros((kernels.MESH + 3, 2), np.float32), np.full(3, 100, np.float32)
    strands = np.ones((4, 4, 2), np.float32)
    kernels.colour(
        owner, weights, moved, 1, corners, across, light, shine, base, 0.0, atlas, cloth, strands, out, label
    )
    assert label[2, 2] == kernels.SKIN and label[20, 1] == kernels.CLOTH and label[23, 23] == kernels.NOTHING
    assert out[6, 3] == pytest.approx(np.array([1, 0.5, 2]) * 70 * 6 / 23, abs=1e-3)
    assert out[20, 1] == pytest.approx([100, 50, 200], rel=1e-4)


def test_pixels_are_means_of_their_samples_over_the_background():
    out = np.full((4, 4, 3), 80, np.float32)
    label = np.full((4, 4), kernels.SKIN, np.uint8)
    label[:2, 0] = kernels.NOTHING
    label[2:, 2:] = kernels.HAIR
    picture = np.empty((2, 2, 3), np.float32)
    kernels.compose(out, label, np.ones((2, 2), np.float32), 0.25, np.full((2, 2, 3), 200, np.float32), picture)
    assert picture[0, 0] == pytest.approx([(200 * 2 + 60 * 2) / 4] * 3)
    assert picture[0, 1] == pytest.approx([60] * 3) and picture[1, 1] == pytest.approx([80] * 3)  # hair is not shaded


def test_irradiance_is_the_sum_of_harmonics():
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = rng.normal(size=9)
    plain = np.clip(harmonics(normals) @ light, -1, 1)
    assert np.allclose(kernels.irradiance(np.float32(normals), light, -1.0, 1.0), plain, atol=1e-5)


def test_strands_are_lit_as_their_normals_and_shine_across_their_tangents():
    rng = np.random.default_rng(6)
    normals, tangents = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 40, 3)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    light, towards, half = rng.normal(size=9) * 0.2 + np.eye(9)[0], np.array([0, 0.6, -0.8]), np.array([0, 0, -1.0])
    shade, tone, colour = rng.uniform(0, 1, 40), np.array([1.1, 1, 0.9]), np.array([60.0, 40, 30])
    lit, shine = kernels.light_hair(
        np.float32(normals),
        np.float32(tangents),
        np.float32(shade),
        turn,
        light,
        towards,
        half,
        24.0,
        tone,
        colour,
        10.0,
    )
    bright = np.clip(harmonics(normals @ turn.T) @ light, 0.25, 1.7) * (1 - 0.65 * shade)
    assert np.allclose(lit, bright[:, None] * tone * colour, rtol=1e-4)
    along = tangents @ turn.T @ half
    expected = np.maximum(1 - along**2, 0) ** 12 * np.clip(normals @ turn.T @ towards, 0, 1) * bright * 10
    assert np.allclose(shine, expected, atol=1e-4) and shine.max() > 0.5


def test_normals_of_a_sphere_point_outwards():
    rng = np.random.default_rng(2)
    from scipy.spatial import ConvexHull

    points = rng.normal(size=(400, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    hull = ConvexHull(points)
    triangles = hull.simplices.copy()
    a, b, c = (points[triangles[:, i]] for i in range(3))
    inwards = (np.cross(b - a, c - a) * a).sum(1) < 0
    triangles[inwards] = triangles[inwards][:, [0, 2, 1]]
    normals = kernels.sum_normals(np.float32(points), np.int32(triangles))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert ((normals * points).sum(1) > 0.97).all()


def test_the_atlas_takes_skin_from_afar_where_nothing_is_trusted():
    luma, chroma = np.full((4, 4), 100, np.float32), np.full((4, 4), 30, np.float32)
    far = np.dstack([np.full((4, 4), 60), np.full((4, 4), 10), np.full((4, 4), -10)]).astype(np.float32)
    trust = np.zeros((4, 4), np.float32)
    trust[:2] = 1
    out = kernels.blend_atlas(luma, chroma, -chroma, far, trust, np.zeros((4, 4), np.float32))
    assert out[0, 0, 0] == 130 and out[0, 0, 2] == 70
    assert out[3, 3, 0] == 70 and out[3, 3, 2] == 50
    weights = np.array([0.299, 0.587, 0.114])  # luma is kept
    assert out[0, 0] @ weights == pytest.approx(100, abs=1e-3) and out[3, 3] @ weights == pytest.approx(60, abs=1e-3)


def test_skin_is_gathered_by_cells():
    luma = np.arange(64, dtype=np.float32).reshape(8, 8)
    half = np.full((4, 4), 8, np.float32)
    source = np.zeros((8, 8), np.float32)
    source[:4, :4] = 0.5
    cells = kernels.gather_skin(luma, half, -half, source, 4)
    assert cells.shape == (2, 2, 3)
    assert cells[0, 0] == pytest.approx([luma[:4, :4].mean() / 2, 4, -4])
    assert not cells[1].any()
