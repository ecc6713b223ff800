"""Portraits: what is drawn by chance, what is rendered, what the camera sees; and that all of it is told truly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import inter_ocular_distance
from maskbench.people import sampling
from maskbench.people.camera import noise_window, photographed
from maskbench.people.eyes import paint_eyes
from maskbench.people.kernels import below_neckline
from maskbench.people.model import MESH, load_model
from maskbench.people.portraits import Portraits, expression
from maskbench.people.records import ATTRIBUTES
from maskbench.people.rendering import harmonics, rotation
from maskbench.people.surroundings import background


@pytest.fixture(scope="module")
def people():
    return Portraits(0, 160)


@pytest.fixture(scope="module")
def model():
    return load_model()


def test_a_portrait_is_a_pure_function_of_its_numbers(people):
    one, again = people.portrait(3, 2), Portraits(0, 160).portrait(3, 2)
    assert np.array_equal(one.image, again.image) and np.array_equal(one.landmarks, again.landmarks)
    assert one.attributes == again.attributes and one.quality == again.quality
    for other in (people.portrait(3, 1), people.portrait(4, 2), Portraits(1, 160).portrait(3, 2)):
        assert not np.array_equal(one.image, other.image)


def test_it_does_not_depend_on_what_was_made_before(people):
    wanted = people.portrait(7, 1)
    fresh = Portraits(0, 160)
    for number in range(3):
        fresh.portrait(number, 5)
    assert np.array_equal(fresh.portrait(7, 1).image, wanted.image)


def test_numbers_that_cannot_be_are_refused(people):
    for arguments in ((-1,), (0, 32), (0, 1024)):
        with pytest.raises(MaskbenchError, match="give a seed from 0"):
            Portraits(*arguments)
    for numbers in ((-1, 1), (1, -1)):
        with pytest.raises(MaskbenchError, match="numbers start at 0"):
            people.portrait(*numbers)
    with pytest.raises(MaskbenchError, match="person -2"):
        people.identity(-2)


def test_shape_type_and_attributes(people):
    portrait = people.portrait(0, 1)
    assert portrait.image.shape == (160, 160, 3) and portrait.image.dtype == np.uint8
    assert portrait.landmarks.shape == (MESH, 3) and portrait.landmarks.dtype == np.float32
    assert tuple(portrait.attributes) == tuple(ATTRIBUTES)
    assert 70 <= portrait.quality <= 96
    assert portrait.image.std() > 15


def test_the_size_scales_picture_and_landmarks():
    small, large = Portraits(0, 160).portrait(5, 3), Portraits(0, 320).portrait(5, 3)
    assert np.allclose(large.landmarks, 2 * small.landmarks, atol=1e-3)
    reduced = cv2.resize(large.image, (160, 160), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - small.image).mean() < 9
    assert large.attributes["yaw"] == small.attributes["yaw"]


def test_the_face_lies_where_the_landmarks_say(people):
    # Skin is redder than blue; the landmarks' hull must hold it, and pupils must be darker than the eyes' corners.
    for number in range(6):
        portrait = people.portrait(number, 1)
        hull = np.zeros(portrait.image.shape[:2], np.uint8)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.rint(portrait.landmarks[:, :2]).astype(np.int32)), 1)
        inside = portrait.image[cv2.erode(hull, np.ones((9, 9))) > 0].astype(int)
        assert np.mean(inside[:, 0] > inside[:, 2]) > 0.9
        assert 28 < inter_ocular_distance(portrait.landmarks) < 46


@pytest.mark.parametrize(("angles", "moved"), [((30, 0, 0), (1, 0)), ((0, 15, 0), (0, -1)), ((-30, 0, 0), (-1, 0))])
def test_yaw_turns_right_and_pitch_turns_up(angles, moved):
    nose = rotation(*angles) @ np.array([0.0, 0.0, -1.0])
    assert np.sign(np.round(nose[:2], 6)).tolist() == list(moved)


def test_roll_turns_clockwise_and_rotations_are_proper():
    right = rotation(0, 0, 20) @ np.array([1.0, 0.0, 0.0])
    assert right[1] > 0.3
    turn = rotation(25, -10, 7)
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)


def test_landmarks_turn_with_the_yaw(people):
    portraits = [people.portrait(number, shot) for number in range(4) for shot in range(1, 9)]
    yaw = np.array([p.attributes["yaw"] for p in portraits])
    nose = np.array([(p.landmarks[1, 0] - p.landmarks[[234, 454], 0].mean()) for p in portraits])
    assert np.ptp(yaw) > 30 and np.corrcoef(yaw, nose)[0, 1] > 0.97


def test_people_and_shots_spread_over_what_is_promised(model):
    persons = [sampling.sample_person(model, 0, number) for number in range(300)]
    assert 0.4 < np.mean([p.sex == "female" for p in persons]) < 0.6
    ages = np.array([p.age for p in persons])
    assert ages.min() >= 18 and ages.max() <= 75 and ages.std() > 10
    assert {p.group for p in persons} == set(sampling.GROUPS)
    assert len({p.style for p in persons}) > 10
    shots = [sampling.sample_shot(model, 0, number, shot) for number in range(100) for shot in range(1, 7)]
    yaw, pitch = (np.array([getattr(s, name) for s in shots]) for name in ("yaw", "pitch"))
    assert np.abs(yaw).max() <= 45 and np.abs(yaw).max() > 40 and np.abs(pitch).max() <= 20
    assert {s.background for s in shots} == set(sampling.BACKGROUNDS)


def test_pictures_of_a_person_differ_less_than_persons(model):
    persons = [sampling.sample_person(model, 0, number) for number in range(40)]
    skins = np.array([model.skin(p.coefficients[model.shape_count :]) for p in persons])
    changes = np.array([sampling.sample_shot(model, 0, n, 1).chance @ model.within_textures for n in range(40)])
    assert changes.std(0).mean() < 0.6 * skins.std(0).mean()


def test_chance_leaves_the_sexes_apart(model):
    directions = sampling.trait_directions(model)
    assert np.allclose(directions @ directions.T, np.eye(4), atol=1e-6)
    towards = np.linalg.lstsq(model.between.T, model.traits[1], rcond=None)[0]
    towards /= np.linalg.norm(towards)
    persons = [sampling.sample_person(model, 0, number) for number in range(200)]
    male = np.array([p.sex == "male" for p in persons])
    along = np.linalg.lstsq(model.between.T, np.array([p.coefficients for p in persons]).T, rcond=None)[0].T @ towards
    assert along[male].mean() > along[~male].mean()
    assert abs(along[male].mean() - along[~male].mean()) > 2 * max(along[male].std(), along[~male].std())


def test_eyes_are_painted_inside_the_lids_only(model):
    atlas = np.full((192, 176, 3), 128, np.float32)
    points = model.head(np.zeros(model.shape_count))
    paint_eyes(atlas, model, points, (0.0, 0.0), np.array([60.0, 40, 30]), 1.0)
    rows, columns = np.nonzero((atlas != 128).any(-1))
    assert 60 < len(rows) < 500
    assert rows.min() > 60 and rows.max() < 85
    assert atlas.min() < 60 and atlas.max() > 190  # pupils, and whites or the light that they mirror
    moved = np.full((192, 176, 3), 128, np.float32)
    paint_eyes(moved, model, points, (0.05, 0.0), np.array([60.0, 40, 30]), 1.0)
    dark = [np.nonzero(a[..., 1] < 90)[1].mean() for a in (atlas, moved)]
    assert dark[1] > dark[0] + 0.5


def test_the_camera_blurs_adds_noise_and_keeps_the_mean():
    flat = np.full((80, 80, 3), 120, np.float32)
    still = photographed(flat, 0.5, 0.0, np.random.default_rng(0))
    assert (still == 120).all() and still.dtype == np.uint8
    noisy = photographed(flat.copy(), 0.5, 3.0, np.random.default_rng(0)).astype(float)
    assert 1 < noisy.std() < 6 and noisy.mean() == pytest.approx(120, abs=0.5)
    step = flat.copy()
    step[:, 40:] = 20
    assert np.abs(np.diff(photographed(step, 0.8, 0.0, np.random.default_rng(0))[40, :, 0].astype(int))).max() < 60


def test_noise_windows_are_white_and_differ():
    one, other = (noise_window(np.random.default_rng(seed), 100, 90) for seed in (1, 2))
    assert one.shape == (100, 90, 3) and abs(one.mean()) < 0.05 and one.std() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05
    assert noise_window(np.random.default_rng(1), 300, 300).shape == (300, 300, 3)


@pytest.mark.parametrize("kind", sampling.BACKGROUNDS)
def test_backgrounds_are_soft_and_seeded(kind):
    one = background(kind, np.random.default_rng(3), 160)
    assert one.shape == (160, 160, 3) and one.dtype == np.float32 and one.min() >= 0 and one.max() <= 255
    assert np.array_equal(one, background(kind, np.random.default_rng(3), 160))
    assert np.abs(np.diff(one, axis=1)).max() < 40


def test_the_neckline_clothes_shoulders_not_faces(model):
    high, low = (np.array([below_neckline(*place, cut) for place in model.base.tolist()]) for cut in (-0.2, 0.5))
    head = model.points[MESH:]
    shoulders = (np.abs(head[:, 0]) > 2.5) & (head[:, 1] > 3.5)
    assert (high[shoulders] > 0).all() and (low > 0).sum() < (high > 0).sum()
    assert (high[head[:, 1] < 1.2] < 0).all()


def test_expressions(model):
    points = model.head(np.zeros(model.shape_count))
    shut = points.copy()
    shut[14] = shut[13]
    shut[[61, 291], 1] = shut[13, 1] + 0.05
    assert expression(shut) == "neutral"
    shut[[61, 291], 1] = shut[13, 1] - 0.1
    assert expression(shut) == "smile"
    shut[14, 1] += 0.3
    assert expression(shut) == "open"


def test_light_from_the_right_brightens_the_right():
    light = np.array([1.0, 0.5, 0, 0, 0, 0, 0, 0, 0])
    right, left = harmonics(np.array([[1.0, 0, 0], [-1.0, 0, 0]])) @ light
    assert right > left


def test_the_landmarker_agrees_with_the_ground_truth(people):
    from maskbench.landmarks.mediapipe import MediapipeLandmarker

    finder, errors = MediapipeLandmarker(), []
    for number in range(20, 32):
        portrait = people.portrait(number, 1)
        faces = finder.detect(portrait.image)
        assert faces, f"no face found in portrait {number}"
        off = np.linalg.norm(faces[0].points[:, :2] - portrait.landmarks[:, :2], axis=1)
        errors.append(np.median(off) / inter_ocular_distance(portrait.landmarks))
    assert np.median(errors) < 0.04
