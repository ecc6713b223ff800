"""The statistics, the head and the packing of the model of faces, on data made up here whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import fit_components
import fit_head
import fit_model
import numpy as np
import pytest
from safetensors.numpy import load_file
from template import face_triangles, in_face_frame

from maskbench.digest import file_sha256
from maskbench.landmarks.canonical import canonical_face
from maskbench.people.atlas import COLUMNS, ROWS, atlas_position
from maskbench.people.model import load_model

SHIPPED = Path(__file__).resolve().parents[2] / "maskbench" / "data" / "people" / "faces.safetensors"
FACE = in_face_frame(canonical_face())[0]
PLACES = atlas_position(FACE)


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """Greatest principal angle, degrees, between the spans of rows (k, D)."""
    left, right = np.linalg.qr(a.T)[0], np.linalg.qr(b.T)[0]
    return float(np.degrees(np.arccos(np.clip(np.linalg.svd(left.T @ right)[1].min(), -1, 1))))


# ---------------------------------------------------------------- components


def small_packing() -> fit_components.Packing:
    fine = np.zeros((ROWS, COLUMNS), bool)
    fine[80:100, 60:84] = True
    return fit_components.Packing(fine)


def test_components_are_recovered_from_textures_seen_in_part() -> None:
    rng, packing = np.random.default_rng(8), small_packing()
    basis = np.linalg.qr(rng.standard_normal((packing.size, 5)))[0].T
    coefficients = rng.standard_normal((400, 5)) * [90, 60, 40, 30, 25]
    truth = (coefficients @ basis + rng.normal(0, 0.05, (400, packing.size))).astype(np.float32)
    weights = np.ones((400, packing.size), np.float16)
    for row in weights:  # a run of a quarter is hidden
        start = rng.integers(packing.size)
        row[np.arange(start, start + packing.size // 4) % packing.size] = 0
    hidden = np.where(weights > 0, truth, rng.normal(0, 300, truth.shape)).astype(np.float32)
    skin, eyes = np.ones(packing.size, bool), np.zeros(packing.size, bool)
    eyes[:50] = True
    (found, axes), kept = fit_components.completed(hidden, weights, packing, skin, eyes, 5, 5)
    assert 0.7 < kept.mean() < 0.95
    assert angle_between(axes, basis) < 8
    unseen = weights == 0
    error = np.abs(found @ axes - truth)[kept[:, None] & unseen].mean()
    assert error < 0.35 * np.abs(truth)[kept[:, None] & unseen].mean()


def test_what_is_fully_seen_is_not_changed() -> None:
    rng, packing = np.random.default_rng(9), small_packing()
    values = rng.standard_normal((60, packing.size)).astype(np.float32)
    before = values.copy()
    weights, all_ = np.ones(values.shape, np.float16), np.ones(packing.size, bool)
    fit_components.completed(values, weights, packing, all_, all_, 6, 4)
    np.testing.assert_array_equal(values, before)


def test_pictures_that_components_explain_badly_are_left_out() -> None:
    rng = np.random.default_rng(10)
    values = rng.normal(0, 1, (100, 40)).astype(np.float32)
    values[:5, :10] += 30  # spectacles
    found = np.zeros((100, 1), np.float32), np.zeros((1, 40), np.float32)
    kept = fit_components.plain(values, np.ones((100, 40)), found, np.arange(40) < 10, slice(0, 40))
    assert not kept[:5].any() and kept.mean() > 0.75


def test_hidden_texels_do_not_move_the_mean() -> None:
    values = np.array([[10.0, 20], [30, 999]], np.float32)
    mean = fit_components.weighted_mean(values, np.array([[1, 1], [1, 0]], np.float16))
    np.testing.assert_allclose(mean, [20, 20])


def test_a_packed_texture_is_unpacked_by_the_model() -> None:
    model = load_model()
    packing = fit_components.Packing(model.fine)
    np.testing.assert_array_equal(packing.coarse, model.coarse)
    colour = np.broadcast_to(np.float32([180, 130, 100]), (ROWS, COLUMNS, 3))
    values, weights = packing.packed(np.ascontiguousarray(colour), np.ones((ROWS, COLUMNS), np.float32))
    assert values.shape == model.texture.shape and (weights == 1).all()
    np.testing.assert_allclose(model.unpacked(values), colour, atol=0.6)
    assert packing.parts[2].stop == packing.size


def test_what_the_components_leave_over_is_measured_in_two_bands() -> None:
    packing, rng = fit_components.Packing(np.ones((ROWS, COLUMNS), bool)), np.random.default_rng(11)
    values = np.zeros((12, packing.size), np.float32)
    values[:, : packing.count] = rng.normal(0, 2, (12, packing.count))
    none = np.zeros((12, 1), np.float32), np.zeros((1, packing.size), np.float32)
    found = fit_components.grain(values, np.ones(values.shape, np.float16), none, np.arange(12), packing)
    assert found.shape == (2, ROWS, COLUMNS)
    assert found[0].mean() == pytest.approx(4 * (1 - 2 * 0.159 + 0.0796), rel=0.05)  # a Gaussian's centre and energy
    assert found[1].mean() == pytest.approx(4 * 0.0796, rel=0.05)


# ---------------------------------------------------------------- statistics


def test_spreads_within_and_between_persons_are_told_apart() -> None:
    rng = np.random.default_rng(12)
    between, within = np.diag([4.0, 1.0, 0.25]), np.diag([1.0, 2.0, 0.5])
    people = np.repeat(np.arange(600), 8)
    values = rng.multivariate_normal(np.zeros(3), between, 600)[people]
    values = values + rng.multivariate_normal(np.zeros(3), within, len(people))
    found, tell = fit_model.spread_within(values, people.astype(str))
    np.testing.assert_allclose(found, within, atol=0.12)
    assert tell.all()
    factor = fit_model.between_factor(np.cov(values.T), found)
    np.testing.assert_allclose(factor.T @ factor, between, atol=0.4)
    own = fit_model.within_factor(within)
    np.testing.assert_allclose(own.T @ own, within, atol=1e-9)


def test_people_with_few_pictures_tell_nothing_of_their_spread() -> None:
    values = np.random.default_rng(13).standard_normal((13, 2))
    people = np.array(["a"] * 10 + ["b"] * 3)
    found, tell = fit_model.spread_within(values, people)
    np.testing.assert_allclose(found, np.cov(values[:10].T))
    assert tell.tolist() == [True] * 10 + [False] * 3


def test_traits_are_regressed() -> None:
    rng = np.random.default_rng(14)
    known, truth = rng.standard_normal((500, 4)), rng.standard_normal((4, 6))
    traits, rest = fit_model.by_traits(known @ truth + 0.1 * rng.standard_normal((500, 6)), known)
    np.testing.assert_allclose(traits, truth, atol=0.03)
    np.testing.assert_allclose(rest, 0.01 * np.eye(6), atol=0.003)


def test_only_labelled_adults_tell_of_traits() -> None:
    names = np.array(["utk144/30_0_1_9", "utk144/12_0_1_9", "utk144/30_1_9", "celeba256/1/2", "utk144/40_1_4_9"])
    rows, known = fit_model.labelled_rows(names, np.array([True, True, True, True, True]))
    assert rows.tolist() == [0, 4]
    assert known[0, 1] == 1 and known[1, 1] == -1  # male, female
    assert known[0, 5] == 1 and known[1, 8] == 1  # black, other


def test_shapes_are_made_again_from_their_components() -> None:
    rng = np.random.default_rng(15)
    basis = rng.standard_normal((3, 468, 3))
    apart = np.tensordot(rng.standard_normal((80, 3)), basis, 1) + 0.2
    mean, axes, coefficients = fit_model.principal_shapes(apart, np.ones(80, bool))
    np.testing.assert_allclose(mean + np.tensordot(coefficients, axes, 1), apart, atol=1e-9)


def test_quantised_rows_come_back() -> None:
    rows = np.random.default_rng(16).standard_normal((7, 300)) * np.arange(1, 8)[:, None]
    packed, scale = fit_model.quantised(rows)
    assert packed.dtype == np.int8 and np.abs(packed).max() == 127
    assert (np.abs(packed * scale[:, None] - rows) <= 0.51 * scale[:, None]).all()


def test_sharpening_leaves_flat_textures_and_colours_alone() -> None:
    packing = small_packing()
    flat = np.full((1, packing.size), 90.0)
    np.testing.assert_allclose(fit_model.sharpened(flat, packing.fine), flat, atol=1e-3)
    step = np.zeros((1, packing.size))
    step[0, packing.count // 2 : packing.count] = 10
    step[0, packing.count :] = np.arange(packing.size - packing.count)
    found = fit_model.sharpened(step, packing.fine)
    assert found.max() > 10 and found[0, : packing.count].min() < 0
    np.testing.assert_array_equal(found[0, packing.count :], step[0, packing.count :])


def test_light_is_measured_against_the_front() -> None:
    rng = np.random.default_rng(17)
    light = np.zeros((400, 9))
    light[:, 0], light[:, 1] = 0.8, rng.normal(0.1, 0.1, 400)
    found = fit_model.light_arrays(light * rng.uniform(0.5, 2, 400)[:, None])
    np.testing.assert_allclose(found["light"][:2], [1.0, 0.125], atol=0.02)
    covariance = found["lights"].T @ found["lights"]
    assert covariance[1, 1] == pytest.approx(0.125**2, rel=0.2) and covariance[0, 0] < 1e-9


def test_trust_fades_towards_the_rim_and_skin_is_carried_from_within() -> None:
    oval = np.zeros((ROWS, COLUMNS), np.uint8)
    cv2.ellipse(oval, (88, 96), (60, 70), 0, 0, 360, 1, -1)
    trust, source = fit_model.skin_maps(np.ones((ROWS, COLUMNS), np.float32), oval > 0, oval > 0)
    assert trust[96, 88] == pytest.approx(1) and trust[0, 0] == 0 and trust[96, 31] < 0.1
    assert source[96, 88] == 1 and source[96, 40] == 0
    assert trust[96, 40] > trust[96, 34]


# ---------------------------------------------------------------- head


def test_neighbours_are_averaged() -> None:
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    matrix = fit_head.averaging(triangles, 4).toarray()
    np.testing.assert_allclose(matrix[0], [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(matrix[1], [1 / 3, 0, 1 / 3, 1 / 3])


def test_triangles_round_the_back_lie_on_the_border() -> None:
    atlas = np.array([[2.0, 5], [170, 5], [90, 9], [80, 9], [85, 2]])
    corners = fit_head.corners_of(np.array([[0, 1, 2], [2, 3, 4]]), atlas)
    assert (corners[0, :, 0] == 0).all() and corners[1, 0, 0] == 90


def test_the_head_sinks_under_the_face_only() -> None:
    rng = np.random.default_rng(18)
    points = np.vstack([FACE, FACE[:50] - [0, 0, 0.01]])
    triangles = np.vstack([face_triangles(PLACES)[:, [0, 2, 1]], 468 + rng.permutation(50)[:48].reshape(-1, 3)])
    depth = np.where(np.arange(50) < 25, 8.0, -3.0)
    moved = np.linalg.norm(fit_head.tucked(points, triangles, depth) - points, axis=1)
    assert (moved[:468] == 0).all() and (moved[468 + 25 :] == 0).all()
    assert moved[468 : 468 + 25].max() == pytest.approx(fit_head.SUNK, rel=1e-6)


def test_depth_inside_the_rim_has_the_right_sign() -> None:
    extra = np.array([PLACES[4], [1.0, 1.0]])  # the nose's tip; a corner of the atlas
    depth = fit_head.rim_depth(np.vstack([PLACES, extra]))
    assert depth[0] > 20 and depth[1] < -20


def test_a_plane_sees_the_whole_sky_and_a_pit_less() -> None:
    points = np.array([[-1.0, 0, 0], [1, 0, 0], [0, 0, 2.0]]) * 3
    open_ = fit_head.sky_seen(points, np.array([[0, 1, 2]]))
    assert open_.shape == (3,) and open_.min() > 0.8


# ---------------------------------------------------------------- the file


def test_a_model_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    arrays = load_file(SHIPPED)
    fit_model.write_model(tmp_path / "m.safetensors", arrays)
    again, shipped = load_model(tmp_path / "m.safetensors"), load_model()
    for name in ("points", "textures", "within_textures", "between", "fine", "scalp_follow"):
        np.testing.assert_array_equal(getattr(again, name), getattr(shipped, name))
    assert (tmp_path / "m.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_shipped_card_is_that_of_the_shipped_model() -> None:
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    arrays = load_file(SHIPPED)
    assert card["sha256"] == file_sha256(SHIPPED)
    assert set(card["arrays"]) == set(arrays)
    assert all(card["arrays"][name]["shape"] == list(value.shape) for name, value in arrays.items())
    assert all(part["celeba256 people"] <= 188 for part in card["fitted_on"].values())  # the train split's
