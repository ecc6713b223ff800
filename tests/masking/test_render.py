from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from maskbench.digest import generator
from maskbench.landmarks.aligned import AlignedLandmarker
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.faces import covered_fraction
from maskbench.masking.lighting import estimate_light
from maskbench.masking.placement import Jitter, from_json, sample, to_json
from maskbench.masking.render import render
from maskbench.masking.space import control_points, scale_of

ASSETS = select_assets("all")


def placed(asset, face=None, seed=0, jitter=None):
    face = face or AlignedLandmarker().detect(np.zeros((112, 112, 3), np.uint8))[0]
    return sample(generator(seed, "a", asset.asset_id), asset, face, seed, jitter)


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.asset_id)
def test_pixels_without_alpha_are_untouched_and_the_input_is_never_written(asset, make_crop):
    picture = make_crop(1)
    picture.flags.writeable = False
    drawn = render(picture, asset, placed(asset))
    assert drawn.alpha.dtype == np.uint8 and drawn.image.dtype == np.uint8
    untouched = drawn.alpha == 0
    assert 0.2 < (drawn.alpha > 0).mean() < 0.8
    assert np.array_equal(drawn.image[untouched], picture[untouched])
    changed = (drawn.image != picture).any(-1)
    assert (changed & (drawn.alpha > 128)).sum() > 0.9 * (drawn.alpha > 128).sum()


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.asset_id)
def test_mouth_and_nose_are_covered_and_the_eyes_are_free(asset, make_crop):
    drawn = render(make_crop(1), asset, placed(asset, jitter=Jitter(0, 0, 0, 0)))
    face = AlignedLandmarker().detect(make_crop(1))[0].points
    for index in (1, 13, 61, 291):
        x, y = np.rint(face[index, :2]).astype(int)
        assert drawn.alpha[y, x] > 250, index
    for index in (33, 133, 159, 263, 362, 386):
        x, y = np.rint(face[index, :2]).astype(int)
        assert drawn.alpha[y, x] == 0, index
    assert 0.3 < covered_fraction(drawn.alpha, face) < 0.65


def test_the_outline_is_antialiased(make_crop):
    asset = select_assets("surgical")[0]
    face = mesh_landmarks(canonical_face() * [90, 90, 90] + [200, 130, 0], "test")
    drawn = render(make_crop(1, 400), asset, placed(asset, face))
    partial = (drawn.alpha > 10) & (drawn.alpha < 245)
    outline = cv2.morphologyEx((drawn.alpha > 128).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    assert partial.sum() > 0.5 * outline.sum()


def test_rendering_is_a_function_of_its_arguments_and_a_manifest_row_renders_again(make_crop):
    for asset in ASSETS:
        placement = placed(asset, seed=3)
        first = render(make_crop(2), asset, placement)
        again = render(make_crop(2), asset, from_json(to_json([placement]))[0])
        assert np.array_equal(first.image, again.image) and np.array_equal(first.alpha, again.alpha)


def test_greyscale_pictures_stay_grey(make_crop):
    grey = np.repeat(make_crop(4)[..., :1], 3, -1)
    for asset in ASSETS:
        drawn = render(grey, asset, placed(asset, seed=1)).image
        assert np.array_equal(drawn[..., 0], drawn[..., 1]) and np.array_equal(drawn[..., 0], drawn[..., 2])


@pytest.mark.parametrize("shift", [(-80, 0), (80, 0), (0, 75), (0, -90), (300, 300)])
def test_a_face_cut_by_the_border_is_drawn_as_far_as_it_is_seen(shift, make_crop):
    asset = select_assets("n95")[0]
    face = AlignedLandmarker().detect(make_crop(1))[0].points + np.array([*shift, 0], np.float32)
    drawn = render(make_crop(1), asset, placed(asset, mesh_landmarks(face, "test"), jitter=Jitter(0, 0, 0, 0)))
    whole = np.zeros((400, 500), np.uint8)
    wide = cv2.copyMakeBorder(make_crop(1), 100, 188, 150, 238, cv2.BORDER_REPLICATE)
    moved = mesh_landmarks(face + np.array([150, 100, 0], np.float32), "test")
    whole = render(wide, asset, placed(asset, moved, jitter=Jitter(0, 0, 0, 0))).alpha[100:212, 150:262]
    if shift == (300, 300):
        assert not drawn.alpha.any() and np.array_equal(drawn.image, make_crop(1))
        assert math.isnan(covered_fraction(drawn.alpha, face))
    else:
        inner = np.s_[2:-2, 2:-2]
        assert np.abs(drawn.alpha[inner].astype(int) - whole[inner]).mean() < 2


def test_the_mask_takes_the_side_light_of_the_face():
    face = mesh_landmarks(canonical_face() * 60 + [128, 100, 0], "test")
    ramp = np.linspace(40, 220, 256).astype(np.uint8)
    lit = np.repeat(np.broadcast_to(ramp, (256, 256))[..., None], 3, -1)
    asset = select_assets("surgical")[0]
    drawn = render(lit, asset, placed(asset, face)).image[..., 0].astype(float)
    left, right = drawn[150:190, 90:110].mean(), drawn[150:190, 146:166].mean()
    assert right > 1.2 * left
    mirrored = render(lit[:, ::-1].copy(), asset, placed(asset, face)).image[..., 0].astype(float)
    assert mirrored[150:190, 90:110].mean() > 1.2 * mirrored[150:190, 146:166].mean()


def test_a_darker_scene_gives_a_darker_mask_and_none_glows():
    control = control_points(canonical_face() * 60 + [128, 100, 0])
    gains = [estimate_light(np.full((256, 256, 3), level, np.uint8), control).gain for level in (20, 60, 120, 200)]
    assert gains == sorted(gains) and gains[0] < 0.5 * gains[-1] and gains[-1] <= 1.12
    outside = estimate_light(np.zeros((20, 20, 3), np.uint8), control + 900)
    assert np.allclose(outside.shade(np.eye(3)), 1)


def test_placements_are_drawn_within_their_limits():
    asset, face = ASSETS[0], AlignedLandmarker().detect(np.zeros((112, 112, 3), np.uint8))[0]
    jitter = Jitter()
    drawn = [sample(generator(k, "p"), asset, face, k) for k in range(200)]
    for name, spread, middle in (
        ("across", jitter.across, 0),
        ("down", jitter.down, 0),
        ("scale", jitter.scale, 1),
        ("roll", jitter.roll, 0),
    ):
        values = np.array([p.parameters[name] for p in drawn])
        assert np.abs(values - middle).max() <= spread + 1e-9 and np.ptp(values) > 1.7 * spread
    assert {p.colour for p in drawn} == set(asset.colourways)
    base = control_points(face.points)
    down = next(p for p in drawn if p.parameters["down"] > 0.02)
    shift = (down.control_points - base).mean(0)
    assert (
        shift[1] > 0.01 * scale_of(base)
        and abs(scale_of(down.control_points.astype(float)) / scale_of(base) - 1) < 0.04
    )


def test_still_jitter_leaves_the_control_points_where_they_are():
    asset, face = ASSETS[0], AlignedLandmarker().detect(np.zeros((112, 112, 3), np.uint8))[0]
    still = placed(asset, face, jitter=Jitter(0, 0, 0, 0))
    assert np.abs(still.control_points - control_points(face.points)).max() <= 0.0051
