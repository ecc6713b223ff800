"""The fit of the model of faces, on data made up here whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import fit
import fit_files
import fit_landmarks
import fit_light
import fit_textures
import numpy as np
import pytest
from face_shapes import aligned, angles, generalised
from template import face_triangles, in_face_frame, warp_operator

from maskbench.errors import MaskbenchError
from maskbench.landmarks.canonical import canonical_face
from maskbench.people.atlas import COLUMNS, ROWS, atlas_position
from maskbench.people.rendering import harmonics, rotation

ROOT = Path(__file__).resolve().parents[2]
FACE = in_face_frame(canonical_face())[0]
PLACES = atlas_position(FACE)


def seen_as(points: np.ndarray, turn: tuple[float, float, float], scale: float = 70.0) -> np.ndarray:
    """A face as it lies in a picture."""
    return scale * points @ rotation(*turn).T + [90.0, 110.0, 5.0]


@pytest.fixture(scope="module")
def on() -> fit_textures.AtlasMap:
    # the layout is seen from the front with y down, so that the triangles come clockwise only after a turn
    return fit_textures.atlas_map(FACE, face_triangles(PLACES)[:, [0, 2, 1]], PLACES)


# ---------------------------------------------------------------- shapes and poses


@pytest.mark.parametrize("turn", [(0, 0, 0), (25, 0, 0), (-30, 10, 5), (12, -15, -40)])
def test_a_pose_is_recovered(turn: tuple[float, float, float]) -> None:
    shapes, turned, scale = aligned(seen_as(FACE, turn)[None], FACE)
    np.testing.assert_allclose(angles(turned)[0], turn, atol=1e-6)
    np.testing.assert_allclose(turned[0], rotation(*turn), atol=1e-9)
    np.testing.assert_allclose(shapes[0], FACE, atol=1e-9)
    assert scale[0] == pytest.approx(70.0)


def test_a_mean_shape_does_not_depend_on_poses() -> None:
    rng = np.random.default_rng(0)
    faces = [FACE + 0.01 * rng.standard_normal(FACE.shape) for _ in range(200)]
    seen = np.array([seen_as(f, tuple(rng.uniform(-20, 20, 3)), rng.uniform(30, 90)) for f in faces])
    mean = generalised(seen, FACE)[0]
    assert np.abs(mean - FACE).max() < 0.006  # a median of 200


def test_poses_mean_and_open_mouths_of_many_faces() -> None:
    rng, seen, turns = np.random.default_rng(1), [], []
    for i in range(60):
        face = FACE.copy()
        face[fit_landmarks.LIPS[1], 1] = face[fit_landmarks.LIPS[0], 1] + (0.3 if i % 3 == 0 else 0.02)
        turns.append(rng.uniform(-20, 20, 3) if i else np.array([45.0, 0, 0]))
        seen.append(seen_as(face + 0.003 * rng.standard_normal(face.shape), tuple(turns[-1])))
    found = fit_landmarks.posed(np.array(seen))
    mirrored = found["mean"][fit_landmarks.mirrored_rows(found["mean"])] * [-1, 1, 1]
    np.testing.assert_allclose(found["mean"], mirrored, atol=1e-9)
    assert np.abs(found["angles"] - found["angles"].mean(0) - (turns - np.mean(turns, 0))).max() < 1.0
    assert not found["frontal"][0] and found["frontal"][1:].sum() > 40
    gap = np.linalg.norm(found["layout"][13] - found["layout"][14])
    assert 0.2 < gap < 0.4
    assert (found["gap"][::3] > 0.2).all()
    assert found["shapes"].shape == (60, 468, 3)


def test_mirror_images_of_the_face_pair_up() -> None:
    pair = fit_landmarks.mirrored_rows(FACE)
    np.testing.assert_array_equal(pair[pair], np.arange(468))
    assert pair[33] == 263 and pair[1] == 1


def test_the_operator_reproduces_affine_maps() -> None:
    rng = np.random.default_rng(2)
    controls, nodes = rng.standard_normal((40, 3)), 2 * rng.standard_normal((25, 3))
    matrix, shift = rng.standard_normal((3, 3)), rng.standard_normal(3)
    for smooth in (0.0, 0.02):
        operator = warp_operator(nodes, controls, smooth)
        np.testing.assert_allclose(operator @ (controls @ matrix + shift), nodes @ matrix + shift, atol=1e-8)
        np.testing.assert_allclose(operator.sum(1), 1, atol=1e-9)


def test_the_operator_interpolates() -> None:
    rng = np.random.default_rng(3)
    controls = rng.standard_normal((30, 3))
    np.testing.assert_allclose(warp_operator(controls, controls), np.eye(30), atol=1e-8)
    moved = controls + 0.1 * rng.standard_normal(controls.shape)
    between = warp_operator((controls[:1] + controls[1:2]) / 2, controls) @ moved
    assert np.linalg.norm(between - (moved[0] + moved[1]) / 2) < 0.3


# ---------------------------------------------------------------- pictures and who is on them


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for person, part in (("11", "train"), ("22", "train"), ("33", "val"), ("44", None)):
        folder = tmp_path / "faces" / "celeba256" / person
        folder.mkdir(parents=True)
        (folder / "1.webp").touch()
        if part:
            path = tmp_path / "splits" / f"celeba256_{part}_ids.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text((path.read_text() if path.exists() else "") + person + "\n")
    (tmp_path / "faces" / "utk144").mkdir()
    (tmp_path / "faces" / "utk144" / "30_0_1_2017.webp").touch()
    return tmp_path


def test_only_people_of_the_train_split_are_listed(data: Path) -> None:
    expected = ["celeba256/11/1.webp", "celeba256/22/1.webp", "utk144/30_0_1_2017.webp"]
    assert fit_landmarks.pictures(data) == expected
    fit_landmarks.without_validation(expected, data)


def test_nobody_of_the_validation_split_gets_in(data: Path) -> None:
    with pytest.raises(MaskbenchError, match="33/1.webp: shows a person of the validation split"):
        fit_landmarks.without_validation(["celeba256/11/1.webp", "celeba256/33/1.webp"], data)
    np.savez(data / "landmarks.npz", points=np.zeros((1, 478, 3)), names=["celeba256/33/1.webp"])
    with pytest.raises(MaskbenchError, match="validation"):
        fit.poses(fit.Job(data, data, data / "out", 1))


def test_a_missing_set_or_split_is_named(data: Path) -> None:
    (data / "faces" / "utk144" / "30_0_1_2017.webp").unlink()
    with pytest.raises(MaskbenchError, match="utk144"):
        fit_landmarks.pictures(data)
    with pytest.raises(MaskbenchError, match="--data"):
        fit_files.split_ids(data / "nowhere", "train")


def test_labels_in_names() -> None:
    assert fit_files.labels_of("utk144/61_1_20170109142408075.webp") is None
    assert fit_files.labels_of("utk144/34_1_3_2017.webp") == (34, 1, 3)
    assert fit_files.labels_of("utk144/34_x_3_2017.webp") is None
    names = np.array(["celeba256/7/1.webp", "utk144/1_0_0_2.webp"])
    assert fit_files.people_of(names).tolist() == ["7", ""]
    assert fit_files.is_celeba(names).tolist() == [True, False]


def test_points_are_found_where_they_are() -> None:
    truth = json.loads((ROOT / "tests/data/heads/truth.json").read_text())["heads"]
    assert "ash" in truth
    points = fit_landmarks.points_of(str(ROOT / "tests/data/heads/ash+00.jpg"))
    assert points.shape == (478, 3)
    eyes = points[[33, 133]].mean(0), points[[362, 263]].mean(0)
    assert 0 < eyes[1][0] - eyes[0][0] and abs(eyes[1][1] - eyes[0][1]) < 8


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaskbenchError, match="gone.webp"):
        fit_landmarks.points_of(str(tmp_path / "gone.webp"))


def test_children_turned_heads_and_grimaces_are_not_unwrapped() -> None:
    names = np.array(["utk144/30_0_0_1", "utk144/9_0_0_1", "celeba256/1/2", "utk144/40_0_0_1", "utk144/50_1_1_1"])
    turned = np.zeros((5, 3))
    turned[3, 0] = 40
    shapes = np.repeat(FACE[None], 5, 0)
    shapes[4] += np.random.default_rng(0).normal(0, 0.1, FACE.shape)
    assert fit_textures.chosen(names, turned, shapes, FACE).tolist() == [0, 2]


# ---------------------------------------------------------------- atlas


def test_every_texel_lies_where_its_triangle_says(on: fit_textures.AtlasMap) -> None:
    rows, columns = np.divmod(on.texels, COLUMNS)
    found = np.einsum("mk,mkc->mc", on.weights, PLACES[on.corners])
    np.testing.assert_allclose(found, np.column_stack([columns, rows]), atol=1e-3)
    np.testing.assert_allclose(on.weights.sum(1), 1, atol=1e-9)
    assert on.have.sum() == len(on.texels) > 5000
    np.testing.assert_allclose(np.linalg.norm(on.normals, axis=1), 1, atol=1e-5)
    assert np.mean(on.normals[:, 2] < 0) > 0.95  # towards the viewer


def test_of_two_surfaces_the_outer_one_shows() -> None:
    corner = np.array([[60.0, 60], [100, 60], [60, 100]])
    inner = np.array([[-0.2, 0, 0.4], [0.2, 0, 0.4], [-0.2, 0.4, 0.4]])
    filler = np.zeros((468, 3)), np.zeros((468, 2))
    points = np.vstack([filler[0], inner, inner - [0, 0, 0.3]])
    triangles = np.array([[471, 472, 473], [468, 469, 470]])
    shown = fit_textures.atlas_map(points, triangles, np.vstack([filler[1], corner, corner]))
    assert len(shown.texels) == 41 * 42 // 2
    assert (shown.corners >= 471).all()


def test_a_picture_is_unwrapped(on: fit_textures.AtlasMap) -> None:
    x, y = np.meshgrid(np.arange(256), np.arange(256))
    image = np.dstack([x, y, np.full_like(x, 7)]).astype(np.uint8)
    places = 60 * FACE[:, :2] + [128, 100]
    found = fit_textures.unwrapped(image, places, np.eye(3), on, on.normal_atlas(), 6)
    expected = on.spread(places)
    assert np.abs(found[..., :2].astype(float) - expected)[on.have].max() < 1.1
    assert (found[..., 2][on.have] == 7).all() and (found[..., 3][~on.have] == 0).all()
    nose = tuple(np.rint(PLACES[4][::-1]).astype(int))
    assert found[..., 3][nose] > 200
    turned = fit_textures.unwrapped(image, places, rotation(180, 0, 0), on, on.normal_atlas(), 6)
    assert (turned[..., 3][on.have] == 0).mean() > 0.9  # seen from behind
    beside = fit_textures.unwrapped(image, places - [128, 0], np.eye(3), on, on.normal_atlas(), 6)
    assert (beside[..., 3][expected[..., 0] < 134] == 0).all()  # outside the picture


# ---------------------------------------------------------------- light


def ball(count: int = 3000) -> np.ndarray:
    """Normals of the half of a sphere that faces the viewer."""
    normals = np.random.default_rng(4).standard_normal((count, 3))
    normals[:, 2] = -np.abs(normals[:, 2])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def test_light_on_a_sphere_is_recovered() -> None:
    light = np.array([0.9, 0.2, 0.15, 0.1, 0.05, 0.02, 0.03, -0.04, 0.01])
    shading, albedo = harmonics(ball()), np.full(3000, 130.0)
    luma = shading @ light * albedo
    found = fit_light.light_of(shading, albedo, luma)
    np.testing.assert_allclose(found, light, atol=0.04)  # the ridge takes terms of second order for the first's
    assert np.abs(shading @ (found - light)).mean() < 0.03


def test_beards_and_highlights_do_not_count_as_light() -> None:
    rng, light = np.random.default_rng(5), np.array([0.9, 0.25, 0, 0.1, 0, 0, 0, 0, 0])
    shading, albedo = harmonics(ball()), np.full(3000, 130.0)
    luma = shading @ light * albedo + rng.normal(0, 2, 3000)
    odd = rng.random(3000) < 0.15
    luma[odd] = rng.choice([15.0, 250.0], odd.sum())
    assert np.abs(fit_light.light_of(shading, albedo, luma) - light).max() < 0.05


def test_shade_is_relative_to_the_skin_and_bounded() -> None:
    shading, skin = harmonics(ball()), np.ones(3000, bool)
    even = fit_light.shade(shading, np.array([2.0, 0, 0, 0, 0, 0, 0, 0, 0]), skin)
    np.testing.assert_allclose(even, 1)
    harsh = fit_light.shade(shading, np.array([1.0, 3, 0, 0, 0, 0, 0, 0, 0]), skin)
    assert (harsh.min(), harsh.max()) == fit_light.SHADE


def test_skin_is_told_from_cloth_and_hair() -> None:
    colours = np.array([[180, 130, 110], [184, 134, 114], [40, 60, 160], [20, 16, 14]], np.float32)
    found = fit_light.likeness(colours, np.array([True, True, False, False]))
    assert found[:2].min() > 0.99 and found[2] < 0.01 and found[3] < 0.01


def test_parts_of_the_atlas_lie_where_they_should() -> None:
    parts = fit_light.regions(PLACES)
    places = np.rint(PLACES).astype(int)

    def at(plane: np.ndarray, point: int) -> float:
        return plane[places[point, 1], places[point, 0]]

    assert at(parts.skin, 50) and at(parts.cheek, 205) and at(parts.oval, 4)
    assert not any(at(parts.skin, point) for point in (13, 159, 105, 10))  # lips, lid, brow, rim
    assert at(parts.doubt, 50) < 0.1 and at(parts.doubt, 10) > 0.9


def test_textures_lose_their_light(on: fit_textures.AtlasMap, tmp_path: Path) -> None:
    rng, normals = np.random.default_rng(6), on.normal_atlas()
    turns = [rotation(*rng.uniform(-15, 15, 3)) for _ in range(24)]
    lights = np.zeros((24, 9))
    lights[:, 0], lights[:, 1:4] = 0.9, rng.uniform(-0.3, 0.3, (24, 3))
    colour = np.float32([170, 125, 105])
    both = zip(turns, lights, strict=True)
    lit = np.stack([(harmonics(normals @ turn.T) @ light)[:, None] * colour for turn, light in both])
    alpha = np.broadcast_to(on.have.ravel()[:, None] * 255, (24, ROWS * COLUMNS, 1))
    pixels = np.concatenate([np.clip(lit, 0, 255), alpha], -1).astype(np.uint8).reshape(24, ROWS, COLUMNS, 4)
    found = fit_light.unlit(tmp_path / "unlit.npy", pixels, np.arange(24), np.array(turns), normals, PLACES)
    even = np.load(tmp_path / "unlit.npy").astype(np.float32).mean(-1)[:, found["skin"]]
    before = pixels[..., :3].astype(np.float32).mean(-1)[:, found["skin"]]
    assert np.median(before.std(1) / before.mean(1)) > 0.08
    assert (even.std(1) / even.mean(1)).max() < 0.05
    assert found["light"].shape == (24, 9) and found["trust"].dtype == np.uint8
    assert (found["trust"][:, ~on.have] == 0).all()
    assert not list(tmp_path.glob("*.part"))


def test_grey_and_blurred_pictures_are_left_out() -> None:
    rng = np.random.default_rng(7)
    pixels = np.full((20, ROWS, COLUMNS, 4), 120, np.uint8)
    pixels[..., 0] += 40  # colour
    texture = rng.integers(0, 8, (20, ROWS, COLUMNS, 1), np.uint8)
    pixels[..., :3] += texture * (np.arange(20) % 10).astype(np.uint8)[:, None, None, None] // 4  # sharper and sharper
    pixels[3, ..., :3] = pixels[3, ..., 1:2]  # grey
    names = np.array([f"celeba256/1/{i}" if i < 10 else f"utk144/30_0_0_{i}" for i in range(20)])
    found = fit_light.sampled(pixels, names)
    assert 3 not in found and set(range(10)) - {3} <= set(found)
    assert 10 not in found and 19 in found  # utk144: the sharpest two thirds
    np.testing.assert_array_equal(found, fit_light.sampled(pixels, names))


# ---------------------------------------------------------------- running


def test_stages_that_are_done_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def stage(name: str):
        def run(job: fit.Job) -> None:
            ran.append(name)
            fit_files.save(job.work / f"{name}.npz", a=np.arange(3))

        run.__name__ = name
        return run, f"{name}.npz"

    def model(job: fit.Job) -> None:
        job.out.write_bytes(b"model")

    monkeypatch.setattr(fit, "STAGES", (stage("one"), stage("two")))
    monkeypatch.setattr(fit, "model", model)
    arguments = [str(tmp_path / "work"), "--data", str(tmp_path), "--out", str(tmp_path / "m")]
    fit.main(arguments)
    (tmp_path / "work" / "two.npz").unlink()
    fit.main(arguments)
    assert ran == ["one", "two", "two"]
    assert fit_files.load(tmp_path / "work" / "one.npz")["a"].tolist() == [0, 1, 2]


def test_an_unfinished_table_is_not_taken_for_a_result(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), fit_files.table(tmp_path / "t.npy", (4, 2), np.uint8):
        raise RuntimeError
    assert not (tmp_path / "t.npy").exists()
