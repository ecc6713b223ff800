"""Light that a test has put on a face is found again."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.lighting import (
    BRIGHTEST,
    BROWS,
    DARKEST,
    LUMA,
    SKIN,
    Light,
    _canonical_normals,
    _patches,
    estimate_light,
    face_colour,
    strap_sight,
)
from maskbench.masking.space import control_points

CONTROL = control_points(canonical_face() * 60 + [128, 100, 0])
SKIN_COLOUR = np.array([200.0, 150, 125])


def lambertian(direction, ambient: float = 0.5, colour=SKIN_COLOUR, background: float = 128.0) -> np.ndarray:
    """A face of one skin colour lit from a direction, drawn as a dot of skin at every mesh point: (256, 256, 3)."""
    from scipy.spatial import cKDTree

    towards = np.asarray(direction, float) / np.linalg.norm(direction)
    shade = ambient + (1 - ambient) * np.clip(_canonical_normals() @ towards, 0, None)
    spots = (canonical_face() * 60 + [128, 100, 0])[:, :2]
    rows, columns = np.indices((256, 256))
    distance, near = cKDTree(spots).query(np.stack([columns, rows], -1).reshape(-1, 2))
    picture = np.where(distance[:, None] < 12, shade[near][:, None] * np.asarray(colour), background)
    return np.clip(picture, 0, 255).reshape(256, 256, 3).astype(np.uint8)


def test_normals_of_the_canonical_face_point_outward():
    normals, face = _canonical_normals(), canonical_face()
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert normals[5, 2] < -0.6 and normals[151, 2] < -0.8  # bridge of the nose, forehead: to the camera
    left, right = normals[list(SKIN)][face[list(SKIN), 0] < -0.5], normals[list(SKIN)][face[list(SKIN), 0] > 0.5]
    assert (left[:, 0] < 0.1).all() and (right[:, 0] > -0.1).all() and normals[199, 1] > -0.3


@pytest.mark.parametrize(
    ("direction", "axis", "sign"),
    [((-1, 0, -1), 0, -1), ((1, 0, -1), 0, 1), ((0, -1, -1), 1, -1), ((0, 1, -1), 1, 1)],
)
def test_the_side_that_the_light_comes_from_is_found(direction, axis: int, sign: int):
    light = estimate_light(lambertian(direction, 0.3), CONTROL)
    towards = light.coefficients[1:]
    assert sign * towards[axis] > 0.15, "that side is the brighter one"
    other = 1 - axis
    assert abs(towards[other]) < 0.6 * abs(towards[axis])
    lit, dark = np.zeros((2, 3))
    lit[axis], dark[axis] = sign, -sign
    bright, dim = light.shade(np.array([lit, dark]) * 0.7 + [0, 0, -0.7])
    assert bright > 1.15 * dim


def test_even_light_shades_nothing():
    flat = np.full((256, 256, 3), SKIN_COLOUR, np.uint8)
    light = estimate_light(flat, CONTROL)
    assert np.allclose(light.shade(_canonical_normals()), 1, atol=0.02)


def test_shading_is_the_fit_within_bounds():
    light = Light(1.0, np.ones(3), np.array([1.0, 0.2, -0.1, 0.3]))
    normals = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]])
    assert np.allclose(light.shade(normals), [1.2, 0.9, 0.7])
    strong = Light(1.0, np.ones(3), np.array([1.0, 3.0, 0, 0]))
    assert strong.shade(np.array([[1.0, 0, 0], [-1, 0, 0]])).tolist() == [BRIGHTEST, DARKEST]


def test_a_darker_scene_gives_a_darker_mask_and_none_glows():
    gains = [estimate_light(np.full((256, 256, 3), level, np.uint8), CONTROL).gain for level in (20, 60, 120, 200)]
    assert gains == sorted(gains) and gains[0] < 0.5 * gains[-1] and gains[-1] <= 1.12


def test_a_white_mask_does_not_glow_on_dark_skin_nor_turn_grey():
    """In one room, whose brightest things are alike, cloth is darker on dark skin, but by less than the skin is."""
    gains = []
    for factor in (1.0, 0.35):
        picture = lambertian((0, 0, -1), 0.6, SKIN_COLOUR * factor, 210)
        gains.append(estimate_light(picture, CONTROL).gain)
    assert 0.5 * gains[0] < gains[1] < 0.8 * gains[0] and gains[0] <= 1.12
    dark_room = lambertian((0, 0, -1), 0.6, SKIN_COLOUR * 0.35, 60)
    assert estimate_light(dark_room, CONTROL).gain < 0.85 * gains[1], "a dark face in a dark room: dark cloth"


def test_warm_and_cold_light_tint_the_mask_mildly_and_grey_pictures_not_at_all():
    usual = lambertian((0, 0, -1))
    warm, cold = (np.clip(usual * np.array(tint), 0, 255).astype(np.uint8) for tint in ((1.1, 1, 0.6), (0.7, 1, 1.3)))
    red_over_blue = [np.divide(*estimate_light(picture, CONTROL).colour[[0, 2]]) for picture in (cold, usual, warm)]
    assert red_over_blue == sorted(red_over_blue) and red_over_blue[0] < 0.97 and red_over_blue[2] > 1.03
    for picture in (usual, warm, cold):
        colour = estimate_light(picture, CONTROL).colour
        assert colour @ LUMA == pytest.approx(1) and 0.8 < colour.min() <= colour.max() < 1.25
    grey = np.repeat((usual @ LUMA).astype(np.uint8)[..., None], 3, -1)
    assert np.array_equal(estimate_light(grey, CONTROL).colour, np.ones(3))


def test_a_face_outside_the_picture_gets_plain_light():
    light = estimate_light(np.zeros((20, 20, 3), np.uint8), CONTROL + 900)
    assert np.allclose(light.shade(np.eye(3)), 1) and light.gain == 0.9
    cut = estimate_light(lambertian((-1, 0, -1))[:, :130].copy(), CONTROL)
    assert np.isfinite(cut.coefficients).all() and 0.2 < cut.gain < 1.12


def test_patches_are_the_mean_of_five_bilinear_samples():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (12, 15, 3)).astype(np.uint8)
    x, y = 4 * rng.uniform(-3, 18, 20), rng.uniform(-3, 15, 20)
    radius = np.ptp(x) / 40
    colours, inside = np.zeros((20, 3)), np.empty(20, np.bool_)
    _patches(colours, inside, picture, np.column_stack([x, y, np.zeros(20)]))
    assert radius > 1 and np.array_equal(inside, (x > 0) & (y > 0) & (x < 14) & (y < 11))
    for k in range(20):
        expected = np.zeros(3)
        for dx, dy in ((0, 0), (radius, 0), (-radius, 0), (0, radius), (0, -radius)):
            u, v = np.clip(x[k] + dx, 0, 14), np.clip(y[k] + dy, 0, 11)
            rows = [np.array([np.interp(u, np.arange(15), row[:, c]) for c in range(3)]) for row in picture]
            low = min(int(v), 10)
            expected += rows[low] * (1 - (v - low)) + rows[low + 1] * (v - low)
        assert np.allclose(colours[k], expected / 5 / 255)


def test_skin_and_hair_colours_are_measured_on_the_face():
    for factor in (1.0, 0.4):
        picture = lambertian((0, 0, -1), 1.0, SKIN_COLOUR * factor)
        spots = (canonical_face() * 60 + [128, 100, 0])[list(BROWS), :2]
        rows, columns = np.indices((256, 256))
        near = np.min(np.hypot(columns[..., None] - spots[:, 0], rows[..., None] - spots[:, 1]), -1) < 4
        picture[near] = [50, 35, 25]
        skin, hair = face_colour(picture, CONTROL, "skin"), face_colour(picture, CONTROL, "hair")
        assert np.allclose(255 * skin, SKIN_COLOUR * factor, rtol=0.1, atol=4)
        assert np.allclose(255 * hair, [50, 35, 25], atol=8)
    shift = CONTROL + np.array([4000.0, 0, 0])
    for of in ("skin", "hair"):
        assert np.isfinite(face_colour(picture, shift, of)).all(), "outside the picture the border counts"


def test_a_strap_ends_where_the_cheek_does():
    picture = np.full((60, 200, 3), SKIN_COLOUR, np.uint8)
    picture[:, 120:] = [45, 32, 25]  # hair
    along = np.linspace(10, 190, 19)
    centres = np.stack([np.stack([along, np.full(19, y), np.zeros(19)], -1) for y in (20.0, 40.0)])
    sight = strap_sight(picture, centres)
    assert sight.shape == (2, 19) and (sight[:, along < 110] == 1).all() and (sight[:, along > 130] == 0).all()
    assert (np.diff(sight, axis=1) <= 0).all()
    picture[:, 150:] = SKIN_COLOUR.astype(np.uint8)  # what comes behind the hair stays hidden
    assert (strap_sight(picture, centres)[:, along > 130] == 0).all()
    plain = np.full((60, 200, 3), SKIN_COLOUR * 0.3, np.uint8)
    assert (strap_sight(plain, centres) == 1).all(), "dark skin is no hair"
    shaded = (plain * np.linspace(1.0, 0.75, 200)[:, None]).astype(np.uint8)
    assert (strap_sight(shaded, centres) == 1).all(), "nor is a cheek in the shade"
    assert (strap_sight(np.repeat(picture[..., :1], 3, -1), centres)[:, along > 130] == 0).all(), "in greyscale too"
