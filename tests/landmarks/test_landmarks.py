from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.align import TEMPLATES, five_points
from maskbench.errors import MaskbenchError
from maskbench.images import read_image
from maskbench.landmarks import cache as cache_module
from maskbench.landmarks.aligned import AlignedLandmarker
from maskbench.landmarks.auto import AutoLandmarker
from maskbench.landmarks.base import LANDMARKERS, box_area, five_point_rows, inter_ocular_distance, mesh_landmarks
from maskbench.landmarks.cache import BLOCK, CachedLandmarker, _content
from maskbench.landmarks.canonical import canonical_face
from maskbench.landmarks.mediapipe import MediapipeLandmarker, _back, _merge
from maskbench.masking.preview import mannequins


@pytest.fixture(scope="module")
def mesh() -> MediapipeLandmarker:
    return MediapipeLandmarker()


def test_the_canonical_face_is_symmetric_and_in_its_own_units():
    face = canonical_face()
    assert face.shape == (468, 3) and not face.flags.writeable
    distance = np.abs((face * [-1, 1, 1])[:, None] - face[None]).max(-1).min(1)
    assert distance.max() < 1e-3
    assert inter_ocular_distance(face) == pytest.approx(1, abs=0.05)
    assert abs(five_point_rows(face)[:2].mean(0)[0]) < 1e-3
    assert face[1, 2] < face[152, 2] < face[234, 2]  # nose before chin before ear


def test_the_template_lies_on_the_arcface_points():
    face = AlignedLandmarker().detect(np.zeros((112, 112, 3), np.uint8))[0]
    error = np.linalg.norm(five_points(face) - TEMPLATES["arcface112"].points, axis=1)
    assert error.max() < 4  # a mannequin's proportions are not those of the template
    assert AlignedLandmarker().detect(np.zeros((112, 113, 3), np.uint8)) == []


@pytest.mark.parametrize("path", mannequins(), ids=lambda path: path.stem)
def test_the_mesh_finds_every_mannequin_at_every_size(path: Path, mesh: MediapipeLandmarker):
    picture = read_image(path)
    (full,) = mesh.detect(picture)
    assert full.scheme == "mesh468" and full.points.shape == (468, 3) and full.points.dtype == np.float32
    small = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
    (found,) = mesh.detect(small)
    error = np.linalg.norm((found.points[:, :2] + 0.5) * 4 - 0.5 - full.points[:, :2], axis=1)
    assert np.median(error) < 0.06 * inter_ocular_distance(full.points)


def test_detection_does_not_depend_on_what_was_seen_before(mesh: MediapipeLandmarker):
    pictures = [read_image(path) for path in mannequins()]
    first = [mesh.detect(picture)[0].points for picture in pictures]
    second = [mesh.detect(picture)[0].points for picture in reversed(pictures)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_no_face_in_noise(mesh: MediapipeLandmarker, make_crop):
    assert mesh.detect(np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)) == []
    assert mesh.detect(np.zeros((10, 8, 3), np.uint8)) == []


@pytest.mark.parametrize("shape", [(2, 30_000, 3), (30_000, 500, 3), (6000, 5000, 3)])
def test_long_and_large_pictures_do_not_end_the_process(shape: tuple, mesh: MediapipeLandmarker):
    assert mesh.detect(np.full(shape, 90, np.uint8)) == []


def test_a_face_in_a_large_picture_is_found_where_it_is(mesh: MediapipeLandmarker):
    picture = read_image(mannequins()[0])
    small = mesh.detect(picture)[0].points
    large = mesh.detect(cv2.resize(picture, (5120, 5120), interpolation=cv2.INTER_CUBIC))[0].points
    assert np.median(np.abs((large[:, :2] + 0.5) / 10 - 0.5 - small[:, :2])) < 0.02 * inter_ocular_distance(small)


def test_small_faces_of_a_group_are_found_when_all_are_wanted(mesh: MediapipeLandmarker):
    heads = [cv2.resize(read_image(path), (110, 110), interpolation=cv2.INTER_AREA) for path in mannequins()]
    group = np.vstack([np.hstack([heads[0], heads[1], heads[2]]), np.hstack([heads[3], heads[0], heads[1]])])
    group = cv2.copyMakeBorder(group, 90, 90, 60, 60, cv2.BORDER_REPLICATE)
    everyone = MediapipeLandmarker(thorough=True).detect(group)
    assert len(everyone) == 6 >= len(mesh.detect(group))
    centres = {tuple(np.rint((face.points[:, :2].mean(0) - [115, 145]) / 110).astype(int)) for face in everyone}
    assert len(centres) == 6
    assert [box_area(face) for face in everyone] == sorted((box_area(face) for face in everyone), reverse=True)


def test_auto_falls_back_to_the_template_for_crops_only():
    auto = AutoLandmarker()
    blank = np.full((112, 112, 3), 128, np.uint8)
    assert [face.detector for face in auto.detect(blank)] == ["aligned-arcface112"]
    assert auto.detect(np.full((130, 130, 3), 128, np.uint8)) == []
    (face,) = auto.detect(read_image(mannequins()[0]))
    assert face.detector.startswith("mediapipe-")


def test_coordinates_return_from_a_padded_enlarged_copy():
    points = np.array([[30.0, 41.5, 8.0]])
    enlarged = np.column_stack([(points[:, :2] + [5, 7] + 0.5) * 2 - 0.5, points[:, 2] * 2])
    assert np.allclose(_back(enlarged, 2, 5, 7), points)


def test_a_face_found_twice_is_one_face():
    face = canonical_face() * 30 + [100, 100, 0]
    assert len(_merge([face], [face + 2, face + [200, 0, 0]])) == 2


def test_the_cache_answers_without_detecting_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    class Counting(AlignedLandmarker):
        def detect(self, image):
            calls.append(1)
            return super().detect(image)

    monkeypatch.setattr(cache_module.LANDMARKERS, "get", lambda name: Counting)
    crop, other = np.zeros((112, 112, 3), np.uint8), np.zeros((50, 50, 3), np.uint8)
    first = CachedLandmarker("aligned", root=tmp_path)
    found, none = first.detect(crop, "ab" * 32), first.detect(other, "cd" * 32)
    again = CachedLandmarker("aligned", root=tmp_path)
    assert np.array_equal(again.detect(crop, "ab" * 32)[0].points, found[0].points)
    assert again.detect(crop, "ab" * 32)[0].detector == found[0].detector
    assert again.detect(other, "cd" * 32) == none == []
    assert len(calls) == 2 and (again.hits, again.misses) == (3, 0)
    (entry,) = (path for path in tmp_path.rglob("*.npy") if path.stem.startswith("ab"))
    for damage in (b"", b"nonsense", entry.read_bytes()[:100]):
        entry.write_bytes(damage)
        assert len(CachedLandmarker("aligned", root=tmp_path).detect(crop, "ab" * 32)) == 1
    assert len(calls) == 5


def test_without_a_root_nothing_is_written(tmp_path: Path):
    cached = CachedLandmarker("aligned")
    cached.detect(np.zeros((112, 112, 3), np.uint8), "ab" * 32)
    assert cached.misses == 1 and not list(tmp_path.iterdir())


def test_landmarkers_are_registered_and_typos_are_answered():
    assert {"auto", "mediapipe", "aligned"} <= set(LANDMARKERS.names())
    with pytest.raises(MaskbenchError, match='did you mean "mediapipe"'):
        CachedLandmarker("mediapip")


def test_boxes_enclose_their_points():
    face = mesh_landmarks(canonical_face() * 10 + [20, 30, 0], "test")
    assert np.allclose(face.box[:2], face.points[:, :2].min(0)) and np.allclose(face.box[2:], face.points[:, :2].max(0))


def test_real_crops_and_photographs_have_faces(data_root: Path, mesh: MediapipeLandmarker):
    crops = sorted((data_root / "faces" / "lfw112").rglob("*.jpg"))[::400]
    photos = sorted((data_root / "faces" / "lfw_gray250").rglob("*.jpg"))[::150]
    eyes = []
    for path in crops:
        faces = mesh.detect(read_image(path))
        eyes += [five_points(face)[:2] for face in faces[:1]]
    assert len(eyes) >= len(crops) - 1
    assert np.median(np.abs(np.stack(eyes) - TEMPLATES["arcface112"].points[:2])) < 3
    assert sum(bool(mesh.detect(read_image(path))) for path in photos) >= len(photos) - 1


def test_damaged_landmark_files_are_never_believed(tmp_path: Path):
    path, rng = tmp_path / "x.npy", random.Random(0)
    face = mesh_landmarks(canonical_face() * 30 + [50, 50, 0], "some-detector")
    cache_module._write(path, [face, face])
    data = path.read_bytes()
    (first, second) = cache_module._read(path)
    assert np.array_equal(first.points, face.points) and second.detector == "some-detector"
    damaged = [data[:size] for size in (*range(0, 200), *range(len(data) - 60, len(data)))]
    damaged += [b"PK\x03\x04" + data, data + b"x", data.replace(b"some", b"same")]
    for number in range(600):
        flipped = bytearray(data)
        flipped[rng.randrange(128 if number % 2 else len(data))] ^= rng.randrange(1, 256)
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        assert cache_module._read(path) is None
    path.write_bytes(data)
    assert len(cache_module._read(path)) == 2


def test_landmark_files_are_numpy_files_and_other_arrays_are_not_believed(tmp_path: Path):
    path, face = tmp_path / "x.npy", mesh_landmarks(canonical_face() * 30 + [50, 50, 0], "one")
    many = [mesh_landmarks(face.points + n, f"d{n}") for n in range(20)]
    for faces in ([], [mesh_landmarks(face.points, "a")], many):
        cache_module._write(path, faces)
        assert np.load(path, allow_pickle=False).shape == (len(faces), 468, 3)
        back = cache_module._read(path)
        assert [f.detector for f in back] == [f.detector for f in faces]
        assert all(np.array_equal(a.points, b.points) for a, b in zip(back, faces, strict=True))
    points = np.stack([face.points])
    for other in (points.astype(np.float64), np.asfortranarray(points), points[:, :467], points[..., :2], points[0]):
        stream = io.BytesIO()
        np.save(stream, other)
        content = stream.getvalue() + b"name"
        path.write_bytes(content + hashlib.sha256(content).digest())
        assert cache_module._read(path) is None


def test_landmarks_that_are_no_numbers_are_not_believed(tmp_path: Path):
    for value in (np.nan, np.inf):
        points = canonical_face().copy()
        points[7, 1] = value
        cache_module._write(tmp_path / "x.npy", [mesh_landmarks(points, "x")])
        assert cache_module._read(tmp_path / "x.npy") is None


def test_refreshing_detects_anew_and_replaces_the_entry(tmp_path: Path):
    crop, digest = np.zeros((112, 112, 3), np.uint8), "ab" * 32
    (right,) = CachedLandmarker("aligned", root=tmp_path).detect(crop, digest)
    (entry,) = tmp_path.rglob("*.npy")
    cache_module._write(entry, [mesh_landmarks(right.points + 9, "old")])
    assert CachedLandmarker("aligned", root=tmp_path).detect(crop, digest)[0].detector == "old"
    for refresh in (True, False):
        cached = CachedLandmarker("aligned", root=tmp_path, refresh=refresh)
        assert np.array_equal(cached.detect(crop, digest)[0].points, right.points)
        assert (cached.hits, cached.misses) == ((0, 1) if refresh else (1, 0))


def test_the_five_points_have_one_definition():
    face = mesh_landmarks(canonical_face() * 30 + [50, 50, 0], "x")
    points = face.points.astype(np.float64)
    np.testing.assert_array_equal(five_points(face), five_point_rows(points)[:, :2])
    eye = (points[33] + points[133] + points[159] + points[145]) / 4
    np.testing.assert_allclose(five_point_rows(points)[0], eye, atol=1e-12)
    np.testing.assert_array_equal(five_point_rows(points)[2:], points[[1, 61, 291]])


def test_alignment_loads_no_landmark_network():
    code = "import sys, maskbench.align; print([m for m in ('mediapipe', 'torch', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_cached_files_of_any_size_are_read_whole(tmp_path: Path, size: int):
    data = bytes(np.random.default_rng(size).integers(0, 256, size, np.uint8))
    (tmp_path / "a").write_bytes(data)
    assert _content(tmp_path / "a") == data
