"""The shipped model of faces: what its file must hold, and what is made of coefficients."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import FACE_OVAL, five_point_rows, inter_ocular_distance
from maskbench.people import complexion
from maskbench.people.atlas import COLUMNS, ROWS, atlas_position
from maskbench.people.model import GROUPS, MESH, PAIRS, closed_lips, features, load_model

DATA = files("maskbench") / "data" / "people"


@pytest.fixture(scope="module")
def model():
    return load_model()


def test_card_and_licence_belong_to_the_file(model):
    card = json.loads((DATA / "faces.json").read_text(encoding="utf-8"))
    assert card["sha256"] == model.digest == file_sha256(DATA / "faces.safetensors")
    licence = (DATA / "LICENSE.txt").read_text(encoding="utf-8")
    assert "CelebA" in licence and "UTKFace" in licence and "non-commercial" in licence


def test_arrays_fit_together(model):
    vertices, count = len(model.points), model.shape_count + len(model.textures)
    assert model.shapes.shape[1:] == (vertices, 3) and len(model.base) == vertices - MESH
    assert model.triangles.min() >= 0 and model.triangles.max() == vertices - 1
    assert model.corners.shape == (len(model.triangles), 3, 2)
    assert model.corners[..., 0].max() <= COLUMNS - 1 and model.corners[..., 1].max() <= ROWS - 1
    packed = int(model.fine.sum()) + 2 * int(model.coarse.sum())
    assert model.texture.shape == (packed,) and model.textures.shape[1] == packed
    assert model.traits.shape == (len(features("male", 30, "white")), count) and model.between.shape[1] == count
    assert model.within_shapes.shape[1] == model.shape_count and model.within_textures.shape[1] == packed
    assert all(np.isfinite(value).all() for value in vars(model).values() if isinstance(value, np.ndarray))


def test_the_mean_head_is_in_the_face_frame(model):
    mesh = model.points[:MESH]
    eyes = five_point_rows(mesh)[:2]
    assert inter_ocular_distance(mesh) == pytest.approx(1, abs=0.05)
    assert np.abs(eyes.mean(0)[:2]).max() < 0.05
    assert mesh[152, 1] > mesh[13, 1] > mesh[1, 1] > 0 > mesh[10, 1]  # chin, mouth, nose tip, eyes, forehead
    assert mesh[1, 2] < mesh[:, 2].min() + 0.05  # the tip of the nose is nearest


def test_no_head_vertex_lies_in_front_of_the_face(model):
    inside = model.points[MESH:]
    middle = np.hypot(inside[:, 0], inside[:, 1] - 0.4) < 0.45
    assert not (middle & (inside[:, 2] < 0.4)).any()


def test_the_weld_joins_the_rim_to_vertices_beside_it(model):
    gap = np.linalg.norm(model.points[list(FACE_OVAL)][:, None] - model.points[model.weld], axis=-1)
    assert model.weld.min() >= MESH and gap.max() < 0.45


def test_components_change_the_shape_and_keep_the_rest(model):
    rng = np.random.default_rng(0)
    one, other = (model.head(rng.normal(size=model.shape_count) * 0.1) for _ in range(2))
    assert one.shape == model.points.shape and np.abs(one - other).max() > 0.01
    narrow = model.head(np.zeros(model.shape_count), 0.8)
    wide = model.head(np.zeros(model.shape_count), 1.0)
    assert np.array_equal(narrow[:MESH], wide[:MESH])
    throat = (model.points[:, 1] > 2.0) & (model.points[:, 1] < 2.6)
    assert np.allclose(narrow[throat, 0], 0.8 * wide[throat, 0], atol=1e-5)


def test_lips_never_pass_through_one_another(model):
    points = model.points.copy()
    points[[lower for _, lower in PAIRS], 1] -= 0.5
    closed = closed_lips(points)
    assert all(closed[lower, 1] >= closed[upper, 1] for upper, lower in PAIRS)
    assert np.array_equal(closed_lips(model.points), model.points)


def test_the_atlas_lies_round_the_head():
    front, right, left, back = atlas_position(np.array([[0, 0, 0], [1, 0, 1.15], [-1, 0, 1.15], [0.01, 0, 3]]))
    assert front[0] == (COLUMNS - 1) / 2
    assert left[0] == pytest.approx(COLUMNS - 1 - right[0]) and left[0] < front[0] < right[0] <= back[0] == COLUMNS - 1


def test_the_mean_atlas_is_skin_everywhere(model):
    atlas = model.unpacked(model.texture)
    assert atlas.shape == (ROWS, COLUMNS, 3) and atlas.dtype == np.float32
    red, green, blue = np.moveaxis(atlas[::4, ::4], -1, 0)
    assert np.mean((red > green) & (green > blue * 0.95)) > 0.97
    top, cheek = atlas[10, COLUMNS // 2], atlas[100, 59]
    assert np.abs(top - cheek).max() < 40  # the crown has the face's colour, not hair's


def test_cheeks_and_typology_angle(model):
    luma, red, blue = model.cheeks(model.texture)
    patch = model.unpacked(model.texture)[92:112, 52:66].reshape(-1, 3).mean(0)
    assert patch @ [0.299, 0.587, 0.114] == pytest.approx(luma, abs=6)
    assert red > 0 > blue
    assert complexion.typology_angle(np.array([215.0, 20, -18])) > 45
    assert complexion.typology_angle(np.array([70.0, 20, -15])) < -20


def test_a_green_cast_is_drawn_towards_skin(model):
    count, few = int(model.fine.sum()), int(model.coarse.sum())
    cast = model.texture + np.repeat(np.float32([-150, -40, 10]), [count, few, few])
    better = complexion.plausible(model, cast)
    assert model.cheeks(better)[0] == pytest.approx(complexion.DARK, abs=0.5)
    expected = model.tan[:, 0] + model.tan[:, 1] * complexion.DARK
    before, after = (np.abs(model.cheeks(value)[1:] - expected) for value in (cast, better))
    assert (after < 0.35 * before + 1).all()


def test_grain_is_seeded_and_as_strong_as_measured(model):
    one, other = complexion.grain_of(model, 1), complexion.grain_of(model, 2)
    assert np.array_equal(one, complexion.grain_of(model, 1)) and not np.array_equal(one, other)
    skin = model.source > 0.5
    expected = np.hypot(*(share * band[skin] for share, band in zip(complexion.GRAIN, model.grain, strict=True)))
    assert one[skin].std() == pytest.approx(np.sqrt((expected**2).mean()), rel=0.15)


@pytest.mark.parametrize("group", GROUPS)
def test_features_name_every_group(group):
    values = features("female", 45, group)
    assert values[0] == 1 and values[1] == -1 and values[2] == 0
    assert values[5:9].sum() == (group != GROUPS[0])


def test_a_file_that_is_no_model_is_named(tmp_path):
    broken = tmp_path / "faces.safetensors"
    broken.write_bytes(b"not a model")
    with pytest.raises(MaskbenchError, match="faces.safetensors"):
        load_model(broken)
    with pytest.raises(MaskbenchError, match="missing.safetensors"):
        load_model(tmp_path / "missing.safetensors")
