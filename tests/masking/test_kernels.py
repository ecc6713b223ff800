"""The compiled loops against slow oracles that say the same in NumPy (tests/reference)."""

from __future__ import annotations

import numpy as np
import pytest
from reference import kernels as oracle
from reference.raster import rasterise

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.kernels import (
    LANES,
    SAMPLES,
    _own,
    blend,
    draw_layer,
    draw_surface,
    paint_order,
    without_colour,
)
from maskbench.masking.pose import pose
from maskbench.masking.render import surface_of, texture_levels
from maskbench.masking.space import control_points

HEIGHT, WIDTH = 14, 18


def own_samples(x, y, triangles, order, rows: int, columns: int):
    """``_own`` on a plane of samples: the owners, and each row's first and last sample written."""
    owner, spans = np.full((rows, columns + LANES), -1, np.int32), np.empty((rows, 2), np.int64)
    spans[:] = columns, -1
    sx, sy = np.asarray(x, float), np.asarray(y, float)
    _own(owner, spans, sx, sy, np.asarray(triangles, np.int32), np.asarray(order, np.int32), 0)
    assert (owner[:, columns:] == -1).all()
    return owner[:, :columns], spans


def own(x, y, triangles, order):
    """The same for vertices in pixels."""
    sx, sy = (np.asarray(p, float) * SAMPLES + (SAMPLES - 1) / 2 for p in (x, y))
    return own_samples(sx, sy, triangles, order, HEIGHT * SAMPLES, WIDTH * SAMPLES)


def facing(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles wound so that all have positive projected area; slivers are left out."""
    a, b, c = (points[triangles[:, k], :2] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]
    turned = np.where((area < 0)[:, None], triangles[:, ::-1], triangles)
    return turned[np.abs(area) > 0.05].astype(np.int32)


def scene(seed: int, count: int = 9):
    """Random triangles, some of them partly or wholly outside the picture: points (12, 3), triangles."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(-7, 26, 12), rng.uniform(-7, 22, 12), rng.uniform(-5, 5, 12)])
    return points, facing(points, rng.integers(0, 12, (count, 3)))


def attributes_of(seed: int, count: int = 12) -> np.ndarray:
    """uv that reach a little beyond the texture, brightness up to past white, opacity up to 1: (4, count)."""
    rng = np.random.default_rng(seed)
    return np.stack([*rng.uniform(-0.05, 1.05, (2, count)), rng.uniform(0.4, 1.8, count), rng.uniform(0, 1, count)])


def draw(layer, x, y, triangles, order, attributes, texels, levels, tint, band: int = HEIGHT) -> None:
    """``draw_layer`` of vertices given in any layout, with a tint of three channels."""
    x, y, tint = np.ascontiguousarray(x), np.ascontiguousarray(y), np.array([*tint, 1.0], np.float32)
    draw_layer(layer, x, y, triangles, order, attributes, texels, levels, tint, band)


def pyramid(seed: int, sizes=((32, 24), (23, 17), (16, 12))):
    """Premultiplied noise at several levels: as pictures, and as ``draw_layer`` takes them."""
    rng, pictures = np.random.default_rng(seed), []
    for width, height in sizes:
        picture = rng.integers(0, 256, (height, width, 4))
        picture[..., :3] = picture[..., :3] * picture[..., 3:] // 255
        pictures.append(picture.astype(np.uint8))
    return pictures, flat(pictures)


def flat(pictures):
    """Texels one after the other, and each picture's first one, width and height."""
    first = np.cumsum([0] + [picture[..., 0].size for picture in pictures[:-1]])
    levels = [(at, picture.shape[1], picture.shape[0]) for at, picture in zip(first, pictures, strict=True)]
    return np.concatenate([picture.reshape(-1, 4) for picture in pictures]), np.array(levels, np.int64)


@pytest.mark.parametrize("seed", range(12))
def test_every_sample_belongs_to_the_last_triangle_that_holds_it(seed: int):
    points, triangles = scene(seed)
    order = np.random.default_rng(seed).permutation(len(triangles))
    owner, spans = own(points[:, 0], points[:, 1], triangles, order)
    expected = oracle.owners(points[:, 0], points[:, 1], triangles, order, SAMPLES, HEIGHT, WIDTH)
    assert np.array_equal(owner, expected)
    for (first, last), row in zip(spans, expected >= 0, strict=True):
        assert (first, last) == ((row.argmax(), np.flatnonzero(row)[-1]) if row.any() else (WIDTH * SAMPLES, -1))


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_leave_no_gap_along_shared_edges(seed: int):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.linspace(-3, 20, 9), np.linspace(-3, 17, 8)), -1).reshape(-1, 2)
    inner = (grid > grid.min(0)).all(1) & (grid < grid.max(0)).all(1)
    for step in (0.5, 0.25, 1e-6, 0.0):  # corners on samples, halfway between them, a hair beside, anywhere
        moved = grid + inner[:, None] * rng.uniform(-0.9, 0.9, grid.shape)
        moved = np.round(moved / step) * step if step else moved
        index = np.arange(72).reshape(8, 9)
        a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
        triangles = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
        owner, _ = own(moved[:, 0], moved[:, 1], triangles, np.arange(len(triangles)))
        assert (owner >= 0).all(), step


def test_level_and_upright_edges_through_sample_centres_are_inside():
    x, y = np.array([2.0, 9.0, 9.0, 2.0]), np.array([3.0, 3.0, 8.0, 8.0])
    owner, spans = own_samples(x, y, [[0, 1, 2], [0, 2, 3]], [0, 1], HEIGHT, WIDTH)
    expected = np.full((HEIGHT, WIDTH), False)
    expected[3:9, 2:10] = True
    assert np.array_equal(owner >= 0, expected) and (spans[3:9] == [2, 9]).all()
    only, _ = own_samples(x, y, [[0, 1, 2]], [0], HEIGHT, WIDTH)
    assert (only[3, 2:10] == 0).all() and only[8, 9] == 0 and only[8, 8] == -1
    hair = np.array([0.001, -0.001, -0.001, 0.001])
    beside, _ = own_samples(x + hair, y + np.abs(hair) * [1, 1, -1, -1], [[0, 1, 2]], [0], HEIGHT, WIDTH)
    assert (beside[3] == -1).all() and (beside[:, 9] == -1).all()


def test_what_lies_outside_the_picture_touches_nothing():
    x, y = np.array([0.0, 6.0, 3.0]), np.array([0.0, 0.0, 5.0])
    for shift in ((40, 0), (-40, 0), (0, 40), (0, -40), (-6.6, 0), (WIDTH - 0.4, 0)):
        owner, spans = own(x + shift[0], y + shift[1], [[0, 1, 2]], [0])
        assert (owner == -1).all() and (spans == [WIDTH * 2, -1]).all(), shift
    around, _ = own(np.array([-900.0, 900, 0]), np.array([-900.0, -900, 900]), [[0, 1, 2]], [0])
    assert (around == 0).all()


@pytest.mark.parametrize("yaw", [0, -35, 60])
def test_a_real_mask_is_owned_as_the_numpy_rasteriser_says(yaw: int):
    angle = np.deg2rad(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    control = 40 * control_points(canonical_face() @ turn.T) + [61.3, 40.7, 0]
    surface = surface_of(select_assets("surgical")[0])
    points, _ = pose(surface, control)
    order = paint_order(points, surface.triangles)
    owner, _ = own_samples(points[:, 0], points[:, 1], surface.triangles, order, 130, 120)
    seen = rasterise(points, surface.triangles, (), 120, 130)
    expected = np.full((130, 120), -1)
    expected[seen.y0 : seen.y0 + seen.triangle.shape[0], seen.x0 : seen.x0 + seen.triangle.shape[1]] = seen.triangle
    assert (expected >= 0).sum() > 3000 and (owner == expected).mean() > 0.9999


@pytest.mark.parametrize("seed", range(6))
def test_triangles_are_painted_from_the_farthest_to_the_nearest(seed: int):
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(0, 30, (20, 2)), rng.integers(-2, 3, 20)])  # few depths: many ties
    triangles = rng.integers(0, 20, (60, 3)).astype(np.int32)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]
    front = np.flatnonzero(area > 1e-6)
    expected = front[np.argsort(-(a + b + c)[front, 2], kind="stable")]
    assert np.array_equal(paint_order(points, triangles), expected) and 10 < len(front) < 50


def test_painting_nothing_gives_an_empty_order():
    points = np.array([[0.0, 0, 0], [9, 0, 0], [9, 9, 0]])
    assert len(paint_order(points, np.array([[0, 2, 1]], np.int32))) == 0
    assert len(paint_order(points, np.zeros((0, 3), np.int32))) == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_layer_is_drawn_as_the_definition_says(seed: int):
    points, triangles = scene(seed, 6)
    attributes, tint = attributes_of(seed), np.array([1.0, 0.8, 0.6])
    pictures, levels = pyramid(seed)
    layer = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    layer[2:8, 3:9] = [0.2, 0.3, 0.1, 0.5]  # something drawn before
    order = np.arange(len(triangles), dtype=np.int32)
    args = points[:, 0], points[:, 1], triangles, order, attributes
    expected = oracle.draw(layer, *args, pictures, tint, SAMPLES)
    draw(layer, *args, *levels, tint)
    assert np.abs(layer - expected).max() < 2e-5
    assert (layer[..., :3] <= layer[..., 3:] + 1e-6).all(), "no colour exceeds white"


@pytest.mark.parametrize(("texels", "level"), [(0.5, 0), (1.0, 0), (1.15, 0), (1.25, 1), (1.6, 1), (1.75, 2), (9, 2)])
def test_the_level_of_detail_has_texels_about_as_large_as_pixels(texels: float, level: int):
    pictures, _ = pyramid(0)
    x, y = np.array([-1.0, 40.0, -1.0]), np.array([-1.0, -1.0, 40.0])
    height, width = pictures[0].shape[:2]
    u, v = (x + 1) * texels / width, (y + 1) * texels / height / 3  # compressed across most
    attributes = np.stack([u, v, np.ones(3), np.ones(3)])
    layer = np.zeros((4, 4, 4), np.float32)
    triangles, order = np.array([[0, 1, 2]], np.int32), np.array([0], np.int32)
    for number, picture in enumerate(pictures):
        picture[:] = 50 + 80 * number
    draw(layer, x, y, triangles, order, attributes, *flat(pictures), np.ones(3))
    assert np.allclose(layer[..., 3], (50 + 80 * level) / 255, atol=1e-6)


@pytest.mark.parametrize("band", [1, 5, HEIGHT - 1])
def test_working_in_bands_changes_nothing(band: int):
    points, triangles = scene(3, 12)
    layers = [np.zeros((HEIGHT, WIDTH, 4), np.float32) for _ in range(2)]
    order = np.arange(len(triangles), dtype=np.int32)
    args = points[:, 0], points[:, 1], triangles, order, attributes_of(3), *pyramid(1)[1], np.ones(3)
    draw(layers[0], *args)
    draw(layers[1], *args, band)
    assert np.array_equal(*layers) and layers[0].any()


def test_a_surface_is_its_parts_one_over_the_other_those_turned_away_left_out():
    points, triangles = scene(5, 12)
    triangles[::3] = triangles[::3, ::-1]
    parts, tints = np.array([[0, 4], [4, len(triangles)]]), np.array([[1, 0.8, 0.6, 1], [0.5, 1, 1, 1]], np.float32)
    attributes, levels = attributes_of(5), pyramid(5)[1]
    layers = [np.zeros((HEIGHT - 3, WIDTH - 2, 4), np.float32) for _ in range(2)]
    draw_surface(layers[0], points, 2, 3, triangles, parts, attributes, *levels, tints)
    for (start, stop), tint in zip(parts, tints, strict=True):
        own = triangles[start:stop]
        order = paint_order(points, own)
        assert 0 < len(order) < len(own)
        draw(layers[1], points[:, 0] - 2, points[:, 1] - 3, own, order, attributes, *levels, tint[:3])
    assert np.array_equal(*layers) and layers[0].any()


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("amount", [0.0, 5.0])
def test_blending_as_the_definition_says(grey: bool, amount: float):
    rng = np.random.default_rng(int(amount) + grey)
    picture = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    alpha = np.where(rng.random((30, 40)) < 0.4, 0, rng.random((30, 40)))
    layer = np.dstack([rng.random((30, 40, 3)) * alpha[..., None], alpha]).astype(np.float32)
    tile = rng.normal(size=(16, 16)).astype(np.float32)
    out, marks = picture.copy(), np.full((30, 40), 7, np.uint8)
    blend(out, marks, without_colour(layer) if grey else layer, 0, 0, tile, amount, 5, 11)
    expected, expected_marks = oracle.blended(picture, layer, tile, amount, (5, 11), grey)
    assert np.array_equal(marks, expected_marks) and np.array_equal(out[marks == 0], picture[marks == 0])
    difference = np.abs(out.astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001  # float32 against float64 at a half
    if grey:
        solid = marks == 255
        assert (out[solid] == out[solid][:, :1]).all()


def test_the_blend_rounds_to_the_nearest_and_leaves_alone_what_rounds_to_nothing():
    picture = np.array([[[10, 20, 30], [10, 20, 30], [10, 20, 30]]], np.uint8)
    layer = np.zeros((1, 3, 4), np.float32)
    layer[0, 0] = [0.0019, 0.0019, 0.0019, 0.0019]  # 0.48 of 255
    layer[0, 1] = [0.002, 0.002, 0.002, 0.002]  # 0.51 of 255: alpha 1
    layer[0, 2] = [0.5, 0.25, 0.0, 1.0]
    alpha = np.zeros((1, 3), np.uint8)
    blend(picture, alpha, layer, 0, 0, np.ones((1, 1), np.float32), 40.0 * 0, 0, 0)
    assert alpha.tolist() == [[0, 1, 255]]
    assert picture[0].tolist() == [[10, 20, 30], [11, 21, 31], [128, 64, 0]]  # 10 + 245/255, ..., 127.5 up


def test_a_grey_picture_under_a_grey_layer_stays_grey():
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(0, 256, (20, 20, 1)), 3, -1).astype(np.uint8)
    alpha = rng.random((20, 20, 1)).astype(np.float32)
    layer = np.concatenate([rng.random((20, 20, 3)).astype(np.float32) * alpha, alpha], -1)
    grain = rng.normal(size=(8, 8)).astype(np.float32)
    blend(picture, np.zeros((20, 20), np.uint8), without_colour(layer), 0, 0, grain, 3.0, 0, 0)
    assert np.array_equal(picture[..., 0], picture[..., 1]) and np.array_equal(picture[..., 0], picture[..., 2])


def test_real_textures_are_drawn_as_the_definition_says():
    asset = select_assets("cloth-check")[0]
    texels, levels = texture_levels(asset)
    pictures = [texels[first : first + wide * high].reshape(high, wide, 4) for first, wide, high in levels]
    control = 14 * control_points(canonical_face()) + [10.2, 5.9, 0]
    surface = surface_of(asset)
    points, opacity = pose(surface, control)
    attributes = np.stack([*surface.uv.T, np.linspace(0.6, 1.2, len(points)), opacity])
    order = paint_order(points, surface.triangles)
    layer = np.zeros((20, 16, 4), np.float32)  # a part of it
    args = points[:, 0], points[:, 1], surface.triangles, order, attributes
    expected = oracle.draw(layer, *args, pictures, np.array([0.9, 1.0, 1.1]), 2)
    draw(layer, *args, texels, levels, np.array([0.9, 1.0, 1.1]))
    assert np.abs(layer - expected).max() < 2e-5 and (layer[..., 3] > 0.9).sum() > 50


def test_opacity_that_runs_off_a_narrow_triangle_stays_within_its_limits():
    """A pixel with samples of several triangles takes its colour at its centre, perhaps outside of the chosen one."""
    x, y = np.array([4.2, 4.3, 4.3, -9.0, 90.0, -9.0]), np.array([-9.0, -9.0, 30.0, -9.0, -9.0, 90.0])
    triangles, order = np.array([[3, 4, 5], [0, 1, 2]], np.int32), np.array([0, 1], np.int32)
    attributes = np.stack([np.full(6, 0.5), np.full(6, 0.5), np.ones(6), [0.0, 1.0, 1.0, 0.5, 0.5, 0.5]])
    pictures, levels = pyramid(2)
    for picture in pictures:
        picture[:] = 255
    for flipped in (attributes, np.vstack([attributes[:3], 1.0 - attributes[3:]])):
        layer = np.zeros((HEIGHT, WIDTH, 4), np.float32)
        draw(layer, x, y, triangles, order, flipped, *flat(pictures), np.ones(3))
        assert layer[..., 3].min() >= 0 and layer[..., 3].max() <= 1 + 1e-6
        assert set(np.unique(layer[:5, 4, 3])) <= {0.0, 1.0} and np.allclose(layer[:, 9, 3], 0.5)
