"""Faces made ready, what a step sees of them, and that the teacher's view stays clean."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from maskbench.align import estimate_similarity, template_at
from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import mesh_landmarks
from maskbench.recognizers.base import load_recognizer
from maskbench.train import prepare
from maskbench.train.augment import Augmentation
from maskbench.train.data import MaskMix, TrainingFaces, collate, load_batches, plain_crop
from maskbench.train.face_sets import open_face_set
from maskbench.train.prepare import moved, prepare_faces
from maskbench.train.sampling import BatchPlan
from maskbench.train.templates import teacher_templates

TEMPLATE = template_at("dlib150")
WORN = {"worn": 1.0}


@pytest.fixture(scope="module")
def faces(people, strangers, cache):
    return prepare_faces([open_face_set(people), open_face_set(strangers)], TEMPLATE, workers=1, root=cache)


class TestPreparing:
    def test_every_picture_is_there_with_its_subject(self, faces, people):
        assert len(faces) == 20 and not faces.failures
        assert faces.subjects[:2] == (f"people/{sorted(people.iterdir())[0].name}",) * 2
        assert faces.subjects[12:] == (None,) * 8 and faces.keys[12] == "strangers/0.jpg"

    def test_crops_are_aligned(self, faces):
        """The five points of each crop's mesh lie where the template has them, within what a face deviates from it."""
        from maskbench.align import five_points

        margin = (faces.template.size[0] - 150) // 2
        assert faces.template.size == (174, 174) and margin == 12
        for index in range(len(faces)):
            crop, mesh = faces.crop(index)
            assert crop.shape == (174, 174, 3) and crop.dtype == np.uint8 and mesh.shape == (468, 3)
            points = five_points(mesh_landmarks(mesh, "test"))
            still = estimate_similarity(points, faces.template.points)
            np.testing.assert_allclose(still[:, :2], np.eye(2), atol=0.03)
            np.testing.assert_allclose(points, TEMPLATE.points + margin, atol=18)

    def test_crops_that_are_not_kept_are_the_same(self, faces, people, strangers, cache):
        again = prepare_faces(
            [open_face_set(people), open_face_set(strangers)], TEMPLATE, keep_crops=False, workers=1, root=cache
        )
        assert again.digest() == faces.digest()
        for index in (0, 7, 13):
            for one, other in zip(again.crop(index), faces.crop(index), strict=True):
                np.testing.assert_array_equal(one, other)

    def test_a_second_call_detects_nothing_and_an_interrupted_one_goes_on(self, people, tmp_path, monkeypatch):
        monkeypatch.setattr(prepare, "PART", 4)
        first = prepare_faces([open_face_set(people)], TEMPLATE, workers=1, root=tmp_path)
        parts = [path for path, _ in first.parts]
        assert len(parts) == 3
        kept = parts[0].stat().st_mtime_ns
        parts[1].unlink()
        parts[2].write_bytes(b"cut short")
        prepare._open_part.cache_clear()
        again = prepare_faces([open_face_set(people)], TEMPLATE, workers=1, root=tmp_path)
        assert parts[0].stat().st_mtime_ns == kept
        np.testing.assert_array_equal(again.crop(11)[0], first.crop(11)[0])

        def never(*_):
            raise AssertionError("was found already")

        monkeypatch.setattr(prepare, "_cut", never)
        prepare_faces([open_face_set(people)], TEMPLATE, workers=1, root=tmp_path)

    def test_bad_pictures_have_a_reason(self, people, tmp_path):
        root = Path(shutil.copytree(people, tmp_path / "set"))
        folder = sorted(root.iterdir())[0]
        (folder / "a.jpg").write_bytes(b"")
        import cv2

        cv2.imwrite(str(folder / "b.png"), np.full((200, 200, 3), 90, np.uint8))
        found = prepare_faces([open_face_set(root)], TEMPLATE, workers=1, root=tmp_path / "cache")
        assert len(found) == 12
        assert set(found.failures) == {f"set/{folder.name}/a.jpg", f"set/{folder.name}/b.png"}
        assert found.failures[f"set/{folder.name}/b.png"] == "no face found"

    def test_nothing_usable(self, tmp_path):
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "a.jpg").write_bytes(b"x")
        with pytest.raises(MaskbenchError, match="no picture shows a usable face"):
            prepare_faces([open_face_set(tmp_path / "set")], TEMPLATE, workers=1, root=tmp_path)

    def test_two_sets_of_one_name(self, people, cache):
        with pytest.raises(MaskbenchError, match='two training sets are named "people"'):
            prepare_faces([open_face_set(people), open_face_set(people)], TEMPLATE, workers=1, root=cache)

    def test_a_mesh_moves_with_its_picture(self):
        mesh = np.random.default_rng(1).uniform(0, 100, (468, 3)).astype(np.float32)
        turned = moved(mesh, np.array([[0.0, -2.0, 5.0], [2.0, 0.0, -3.0]]))
        np.testing.assert_allclose(turned, np.column_stack([5 - 2 * mesh[:, 1], 2 * mesh[:, 0] - 3, 2 * mesh[:, 2]]))


class TestTemplates:
    def test_they_are_the_teachers_of_plain_crops_and_mirror_images(self, faces, cache):
        teacher = load_recognizer("dlib-resnet", "cpu")
        found = teacher_templates(teacher, faces, cache)
        crops = np.stack([faces.crop(index)[0][12:162, 12:162] for index in range(3)])
        np.testing.assert_allclose(found[:3, 0], teacher.embed(crops)[0], atol=1e-5)
        np.testing.assert_allclose(found[:3, 1], teacher.embed(np.ascontiguousarray(crops[:, :, ::-1]))[0], atol=1e-5)

    def test_they_are_kept_and_made_again_when_damaged(self, faces, tmp_path):
        class Counting:
            spec = load_recognizer("dlib-resnet", "cpu").spec
            seen = 0

            def embed(self, pictures, masks=None):
                Counting.seen += len(pictures)
                return pictures.reshape(len(pictures), -1)[:, :128].astype(np.float32), np.zeros(len(pictures), np.int8)

        first = teacher_templates(Counting(), faces, tmp_path)
        assert Counting.seen == 40
        teacher_templates(Counting(), faces, tmp_path)
        assert Counting.seen == 40
        next(tmp_path.rglob("*.npy")).write_bytes(b"x")
        np.testing.assert_array_equal(teacher_templates(Counting(), faces, tmp_path), first)
        assert Counting.seen == 80

    def test_a_teacher_of_another_crop(self, faces, cache):
        """A recognizer of 112 x 112 crops is shown just those, cut from the crop with the margin."""
        seen = []

        class Other:
            from dataclasses import replace as _replace

            spec = _replace(load_recognizer("dlib-resnet", "cpu").spec, name="other", template="arcface112",
                            input_size=(112, 112), embedding_size=4)  # fmt: skip

            def embed(self, pictures, masks=None):
                seen.append(pictures)
                return np.ones((len(pictures), 4), np.float32), np.zeros(len(pictures), np.int8)

        assert teacher_templates(Other(), faces, cache).shape == (20, 2, 4)
        assert seen[0].shape[1:] == (112, 112, 3) and seen[0].std() > 20


class TestViews:
    def views(self, faces, epoch=0, p=1.0, augmentation=None, seed=3, clean=True):
        masks = MaskMix(WORN, p, seed) if p else None
        data = TrainingFaces(faces, TEMPLATE, masks, augmentation, seed, clean)
        return [data[epoch, index] for index in range(len(faces))]

    def test_the_clean_view_never_shows_a_mask(self, faces):
        """What a masking that writes into its input would break: clean equals the crop, bit by bit."""
        for view in self.views(faces):
            crop, _ = faces.crop(view.index)
            np.testing.assert_array_equal(view.clean, plain_crop(crop, 12))
            assert view.masked and (view.student != view.clean).any()

    def test_nor_do_the_kept_crops(self, faces):
        before = [faces.crop(index)[0].copy() for index in range(len(faces))]
        self.views(faces, augmentation=Augmentation(patch=1.0, recolour=1.0))
        for index, crop in enumerate(before):
            np.testing.assert_array_equal(faces.crop(index)[0], crop)

    def test_student_and_teacher_see_one_crop_and_one_flip(self, faces):
        none = {name: 0.0 for name in ("crop112", "colour", "grey", "small", "blur", "noise", "jpeg", "recolour")}
        views = self.views(faces, p=0, augmentation=Augmentation(**none))
        assert {view.flipped for view in views} == {True, False}
        for view in views:
            np.testing.assert_array_equal(view.student, view.clean)
            crop, _ = faces.crop(view.index)
            upright = view.clean[:, ::-1] if view.flipped else view.clean
            near = np.abs(upright.astype(int) - plain_crop(crop, 12)).mean()
            assert 0 < near < 30

    def test_a_view_depends_on_epoch_seed_and_key_alone(self, faces):
        def pictures(**how):
            return [view.student for view in self.views(faces, augmentation=Augmentation(), **how)]

        first = pictures()
        assert all(np.array_equal(a, b) for a, b in zip(first, pictures(), strict=True))
        assert sum(np.array_equal(a, b) for a, b in zip(first, pictures(epoch=1), strict=True)) == 0
        assert sum(np.array_equal(a, b) for a, b in zip(first, pictures(seed=4), strict=True)) == 0

    def test_the_share_of_masks(self, faces):
        seen = [view.masked for epoch in range(20) for view in self.views(faces, epoch, p=0.3)]
        assert 0.2 < np.mean(seen) < 0.4

    def test_recipes_are_mixed_by_weight(self, faces):
        masks = MaskMix({"ar1": 3.0, "worn": 1.0}, 1.0, 0)
        crop, mesh = faces.crop(0)
        drawn = [masks(crop, mesh, str(key), 0).placement.asset_id for key in range(80)]
        glasses = np.mean(["glasses" in name or "sun" in name for name in drawn])
        assert 0.6 < glasses < 0.9

    def test_bad_mixtures(self):
        with pytest.raises(MaskbenchError, match="recipe worn has weight 0"):
            MaskMix({"worn": 0}, 0.5, 0)
        with pytest.raises(MaskbenchError, match="no recipe is given"):
            MaskMix({}, 0.5, 0)


class TestBatches:
    def test_workers_change_no_byte(self, faces):
        data = TrainingFaces(faces, TEMPLATE, MaskMix(WORN, 0.5, 1), Augmentation(), 1, clean=True)
        plan = BatchPlan(faces.subjects, 6, 1)
        alone, spread = (list(load_batches(data, plan.batches(1, 5), workers)) for workers in (0, 2))
        assert len(alone) == len(spread) == 4
        for one, other in zip(alone, spread, strict=True):
            assert torch.equal(one.faces, other.faces) and torch.equal(one.index, other.index)
            assert torch.equal(one.clean, other.clean) and torch.equal(one.masked, other.masked)

    def test_unreadable_pictures_are_named_and_left_out(self, faces):
        data = TrainingFaces(faces, TEMPLATE, None, None, 0)
        batch = collate([data[0, 4], (7, "gone"), data[0, 2]])
        assert batch.index.tolist() == [4, 2] and batch.failures == [(7, "gone")] and batch.clean is None
        assert len(collate([(1, "gone")])) == 0

    def test_data_can_be_sent_to_spawned_workers(self, faces):
        data = TrainingFaces(faces, TEMPLATE, MaskMix(WORN, 1.0, 1), Augmentation(), 1)
        copy = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own
        np.testing.assert_array_equal(copy[0, 3].student, data[0, 3].student)
