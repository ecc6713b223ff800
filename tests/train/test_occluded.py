"""What the two stages of de-occlusion see: holes that cover what is worn, two crops that fit, and pixels put back."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field
from functools import cache as remembered
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import ndimage
from scipy.spatial import cKDTree

from maskbench import completing
from maskbench.align import Template, estimate_similarity, template_at, warp
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import write_bytes
from maskbench.train import occluded_validation
from maskbench.train.augment import Augmentation
from maskbench.train.data import MaskMix, View, collate
from maskbench.train.face_sets import open_face_set
from maskbench.train.occluded import OccludedFaces, PutIn, planes, wide_at
from maskbench.train.occluded_validation import CompletionQuality, StudentQuality
from maskbench.train.prepare import prepare_faces, wide_template

WIDE = wide_at(192)
MARGIN = (wide_template(WIDE).size[0] - 192) // 2
STILL = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
SIDES = (32, 64, 128, 192)
READERS = ("dlib150", "arcface112")


@remembered
def smooth(seed: int, side: int) -> np.ndarray:
    """A smooth random picture that cannot be written to."""
    small = np.random.default_rng(seed).uniform(40, 220, (7, 7, 3)).astype(np.float32)
    picture = np.clip(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    picture.setflags(write=False)
    return picture


@dataclass
class Faces:
    """Stands for ``PreparedFaces``: smooth pictures that cannot be written to."""

    keys: tuple[str, ...] = tuple(f"set/{number}" for number in range(6))
    subjects: tuple[str, ...] = ("a", "a", "b", "b", "c", "c")
    lost: set[int] = field(default_factory=set)
    template: Template = wide_template(WIDE)
    sets = (SimpleNamespace(name="held_out"),)

    def __len__(self) -> int:
        return len(self.keys)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self.lost:
            raise ImageError(f"{index}.jpg: is gone")
        number = int(self.keys[index].rpartition("/")[2])
        return smooth(number, self.template.size[0]), np.full((468, 3), number, np.float32)


class Blots:
    """Stands for ``MaskMix``: an ellipse of magenta, opaque or nearly not there, and none for some faces."""

    def __init__(self, recipes=None, p=1.0, seed=0, none=()):
        self.none = set(none)

    def __call__(self, image, mesh, key, epoch):
        if key in self.none:
            return None
        rng = np.random.default_rng([int(key.rpartition("/")[2]), epoch])
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        middle, reach = rng.uniform(40, 150, 2), rng.uniform(4, 40, 2)
        inside = ((y - middle[0]) / reach[0]) ** 2 + ((x - middle[1]) / reach[1]) ** 2 < 1
        alpha = np.where(inside, np.where(x % 2 == 0, 255, 1), 0).astype(np.uint8)
        worn = image.copy()
        worn[alpha > 0] = (255, 0, 255)
        return SimpleNamespace(image=worn, alpha=alpha)


def views(faces=None, masks=None, augmentation=None, side=64, grow=(1, 3), reader=None, epoch=0, seed=7, indices=None):
    faces = faces or Faces()
    data = OccludedFaces(
        faces, WIDE, side, masks, augmentation, seed, grow, None if reader is None else template_at(reader)
    )
    return [data[epoch, index] for index in (range(len(faces)) if indices is None else indices)]


def same(one: View, other: View) -> bool:
    def equal(a, b):
        return (a is None and b is None) or np.array_equal(a, b)

    return (one.masked, one.flipped) == (other.masked, other.flipped) and all(
        equal(getattr(one, name), getattr(other, name)) for name in ("student", "inner", "holes", "clean")
    )


def oracle(alpha: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float: how far the middle of each of the completion's pixels is from what is worn, in its pixels,
    by Chebyshev's distance; what is worn are the middles of the pixels of alpha."""
    factor = side / alpha.shape[0]
    worn = (np.argwhere(alpha > 0) + 0.5) * factor - 0.5
    return cKDTree(worn).query(np.argwhere(np.ones((side, side))), p=np.inf)[0].reshape(side, side)


class TestHoles:
    @pytest.mark.parametrize("side", SIDES)
    @pytest.mark.parametrize("grow", [0, 2])
    @pytest.mark.parametrize("reader", [None, "arcface112"])
    def test_they_cover_all_that_is_worn_and_little_more(self, side, grow, reader):
        faces, masks = Faces(), Blots()
        for index, view in enumerate(views(faces, masks, None, side, (grow, grow), reader, indices=range(3))):
            image = faces.crop(index)[0][MARGIN:-MARGIN, MARGIN:-MARGIN]
            far = oracle(masks(image, None, faces.keys[index], 0).alpha, side)
            assert view.holes.shape == (side, side) and view.holes.dtype == np.uint8 and view.masked
            assert set(np.unique(view.holes)) == {0, 1}
            assert view.holes[far <= 0.5 + grow].all()
            assert not view.holes[far > 2 + grow].any()

    @pytest.mark.parametrize("side", SIDES)
    def test_nothing_worn_is_left_outside_of_them(self, side):
        """The completion's picture with and without mask is one and the same where there is no hole."""
        worn, bare = (views(None, masks, None, side, (1, 1), "dlib150") for masks in (Blots(), None))
        for one, other in zip(worn, bare, strict=True):
            assert np.array_equal(one.inner[one.holes == 0], other.inner[one.holes == 0])
            assert not np.array_equal(one.inner, other.inner)

    def test_they_grow_by_a_square_of_as_many_pixels_as_drawn(self):
        bare = views(masks=Blots(), grow=(0, 0))
        grown = {
            g: [ndimage.binary_dilation(view.holes, np.ones((2 * g + 1,) * 2)) for view in bare] for g in (1, 2, 3)
        }
        for g in (1, 2, 3):
            exact = views(masks=Blots(), grow=(g, g))
            assert all(np.array_equal(view.holes, wanted) for view, wanted in zip(exact, grown[g], strict=True))
        drawn = []
        for seed in range(4):
            for index, view in enumerate(views(masks=Blots(), grow=(1, 3), seed=seed)):
                drawn += [g for g in grown if np.array_equal(view.holes, grown[g][index])]
        assert len(drawn) == 24 and min(drawn.count(g) for g in (1, 2, 3)) >= 3

    @pytest.mark.parametrize("reader", [None, "dlib150"])
    def test_without_a_mask_there_is_none(self, reader):
        found = views(masks=Blots(none={"set/1", "set/4"}), reader=reader)
        assert [view.masked for view in found] == [True, False, True, True, False, True]
        assert [bool(view.holes.any()) for view in found] == [view.masked for view in found]
        assert not any(view.holes.any() or view.masked for view in views(masks=None, reader=reader))


class TestFirstStage:
    def test_the_target_never_shows_what_is_worn(self):
        for how in (None, Augmentation(recolour=1.0, patch=1.0)):
            worn, bare = views(masks=Blots(), augmentation=how), views(masks=None, augmentation=how)
            for one, other in zip(worn, bare, strict=True):
                assert np.array_equal(one.student, other.student) and one.inner is None and one.clean is None
                assert one.masked and not other.masked and one.flipped == other.flipped

    @pytest.mark.parametrize("side", SIDES)
    def test_it_is_the_completions_crop_of_the_face(self, side):
        faces = Faces()
        for index, view in enumerate(views(faces, Blots(), side=side)):
            face = faces.crop(index)[0][MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)
            # Middles of pixels: the crop is the middle 192 pixels, seen on side x side.
            at = (np.arange(side) + 0.5) * 192 / side - 0.5
            expected = np.stack(
                [ndimage.map_coordinates(face[..., c], np.meshgrid(at, at, indexing="ij"), order=1) for c in range(3)],
                axis=-1,
            )
            assert np.abs(view.student - expected).max() < 4

    def test_picture_and_hole_are_turned_together(self):
        upright = views(masks=Blots(), augmentation=STILL)
        turned = views(masks=Blots(), augmentation=Augmentation(**{**vars(STILL), "flip": 1.0}))
        for one, other in zip(upright, turned, strict=True):
            assert (one.flipped, other.flipped) == (False, True)
            assert np.array_equal(one.student, other.student[:, ::-1])
            assert np.array_equal(one.holes, other.holes[:, ::-1]) and not np.array_equal(one.holes, other.holes)


class TestSecondStage:
    def test_both_crops_are_cut_from_one_picture(self):
        """With the mask on: magenta in the hole of the one, and where that lies in the other."""
        for view in views(masks=Blots(), augmentation=STILL, side=128, grow=(0, 0), reader="dlib150"):
            assert view.student.shape == (150, 150, 3) and view.inner.shape == (128, 128, 3)
            deep = ndimage.binary_erosion(view.holes, np.ones((5, 5)))
            assert (view.inner[deep] == (255, 0, 255)).all()
            matrix = estimate_similarity(wide_at(128).points, template_at("dlib150").points)
            there = warp(deep.astype(np.uint8), matrix, (150, 150)) > 0
            assert (view.student[ndimage.binary_erosion(there)] == (255, 0, 255)).all()

    def test_neither_is_turned_before_the_completion(self):
        upright = views(masks=Blots(), augmentation=STILL, reader="dlib150")
        turned = views(masks=Blots(), augmentation=Augmentation(**{**vars(STILL), "flip": 1.0}), reader="dlib150")
        for one, other in zip(upright, turned, strict=True):
            assert (one.flipped, other.flipped) == (False, True)
            assert all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("student", "inner", "holes"))

    def test_the_camera_sees_one_picture(self):
        """Colours, noise and the like are drawn once: both crops stay views of the same."""
        put, how = PutIn(192, template_at("dlib150")), Augmentation(flip=0.0, crop112=0.0, noise=0.0, patch=1.0)
        for view in views(masks=Blots(), augmentation=how, side=192, reader="dlib150"):
            again = put.cut(planes(torch.from_numpy(view.inner[None])))[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
            assert np.abs(again - view.student).mean() < 2


class TestSameness:
    @pytest.mark.parametrize("reader", [None, "dlib150"])
    def test_a_view_is_a_function_of_seed_epoch_and_key(self, reader):
        how = {"masks": Blots(), "augmentation": Augmentation(patch=0.5), "reader": reader}
        first = views(**how)
        backwards = views(**how, indices=[5, 3, 1, 0, 2, 4])
        assert all(same(first[i], view) for i, view in zip([5, 3, 1, 0, 2, 4], backwards, strict=True))
        alone = views(Faces(keys=("set/3",)), **how)[0]  # another number, and no other faces
        assert same(alone, first[3])
        for other in (views(**how, epoch=1), views(**how, seed=8)):
            assert not any(np.array_equal(a.student, b.student) for a, b in zip(first, other, strict=True))

    def test_it_can_be_sent_to_workers(self):
        data = OccludedFaces(Faces(), WIDE, 64, Blots(), Augmentation(), 3, (1, 3), template_at("dlib150"))
        copy = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own
        assert all(same(copy[1, index], data[1, index]) for index in range(6))

    def test_a_batch_of_them(self):
        found = views(Faces(lost={2}), Blots(), reader="arcface112")
        assert found[2] == (2, "2.jpg: is gone")
        batch = collate(found)
        assert batch.index.tolist() == [0, 1, 3, 4, 5] and batch.failures == [(2, "2.jpg: is gone")]
        assert batch.faces.shape == (5, 112, 112, 3) and batch.inner.shape == (5, 64, 64, 3)
        assert batch.holes.shape == (5, 64, 64) and batch.holes.dtype == torch.uint8


def test_real_faces_and_masks_are_not_written_to(people, cache):
    faces = prepare_faces([open_face_set(people)], WIDE, workers=1, root=cache)
    before = [faces.crop(index)[0].copy() for index in range(len(faces))]
    assert not faces.crop(0)[0].flags.writeable
    masks, how = MaskMix({"worn": 1.0, "deocclusion": 1.0}, 1.0, 0), Augmentation(patch=1.0, recolour=1.0)
    for reader in (None, "dlib150"):
        found = views(faces, masks, how, 64, (1, 3), reader)
        assert sum(view.masked for view in found) > 8
        share = np.mean([view.holes.mean() for view in found if view.masked])
        assert 0.05 < share < 0.7
        bare = views(faces, None, how, 64, (1, 3), None)
        if reader is None:
            assert all(np.array_equal(a.student, b.student) for a, b in zip(found, bare, strict=True))
    for index, picture in enumerate(before):
        np.testing.assert_array_equal(faces.crop(index)[0], picture)


def places(side: int, reader: Template) -> np.ndarray:
    """(H, W, 2) where each of the reader's pixels lies in the completion's crop: column, row; by least squares."""
    ours, theirs = reader.points @ (1, 1j), wide_at(side).points @ (1, 1j)
    factor, shift = np.linalg.lstsq(np.column_stack([ours, np.ones(5)]), theirs, rcond=None)[0]
    y, x = np.mgrid[: reader.size[0], : reader.size[1]]
    there = factor * (x + 1j * y) + shift
    return np.stack([there.real, there.imag], axis=-1)


def touched(hole: np.ndarray, at: np.ndarray, slack: float) -> np.ndarray:
    """(H, W) bool: a pixel of the hole lies less than a pixel away, in both directions, from the place."""
    far = cKDTree(np.argwhere(hole)[:, ::-1]).query(at.reshape(-1, 2), p=np.inf)[0]
    return far.reshape(at.shape[:2]) < 1 + slack


def scene(side: int, reader: Template, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reader's crop, a completed picture, a hole of a few pixels."""
    hole = np.zeros((side, side), np.uint8)
    hole[side // 2 : side // 2 + side // 6, side // 3 : side // 3 + side // 5] = 1
    hole[side // 4, side // 2] = 1
    return smooth(seed, reader.size[0]), smooth(seed + 1, side), hole


def put(side, reader, face, completed, hole) -> np.ndarray:
    given = torch.from_numpy(face.copy())[None].permute(0, 3, 1, 2).float()
    filling = torch.from_numpy(completed.copy())[None].permute(0, 3, 1, 2).float()
    done = PutIn(side, reader)(given, filling, torch.from_numpy(hole)[None, None].float())
    assert done.dtype == torch.float32 and done.shape == given.shape
    return done[0].permute(1, 2, 0).numpy()


class TestPutIn:
    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("side", SIDES)
    def test_only_the_hole_changes(self, side, reader):
        template = template_at(reader)
        face, completed, hole = scene(side, template)
        done, at = put(side, template, face, completed, hole), places(side, template)
        may, must = touched(hole, at, 1e-4), touched(hole, at, -1e-4)
        assert np.array_equal(done[~may], face[~may].astype(np.float32)), "outside of the hole"
        expected = np.stack(
            [ndimage.map_coordinates(completed[..., c].astype(float), [at[..., 1], at[..., 0]], order=1, mode="nearest")
             for c in range(3)], axis=-1,
        )  # fmt: skip
        np.testing.assert_allclose(done[must], expected[must], atol=0.02)

    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("side", SIDES)
    def test_an_evaluation_does_the_same(self, tmp_path, side, reader):
        template = template_at(reader)
        face, completed, hole = scene(side, template, 5)
        write_bytes(tmp_path / "face.png", completing._encode(completed, hole))
        wanted, here = completing.put_in(face, tmp_path / "face.png", wide_at(side), template)
        done = put(side, template, face, completed, hole)
        ours = put(side, template, np.zeros_like(face), np.ones_like(completed), hole)[..., 0] > 0
        both = ours & (here > 0)
        assert np.abs(done[both] - wanted[both]).max() < 4
        rim = ndimage.binary_dilation(both, np.ones((3, 3))) & ~ndimage.binary_erosion(both, np.ones((3, 3)))
        assert not ((ours != (here > 0)) & ~rim).any() and (ours != (here > 0)).sum() <= 0.1 * rim.sum()
        assert np.array_equal(done[~ours & (here == 0)], face[~ours & (here == 0)])

    @pytest.mark.parametrize("reader", READERS)
    def test_a_clean_face_put_into_itself_hardly_changes(self, people, cache, reader):
        faces = prepare_faces([open_face_set(people)], WIDE, workers=1, root=cache)
        template = template_at(reader)
        for side, most in ((192, 1.5), (128, 3.0)):
            for view in views(faces, None, None, side, (1, 1), reader, indices=[0, 5]):
                done = put(side, template, view.student, view.inner, np.ones((side, side), np.uint8))
                assert np.abs(done - view.student).mean() < most

    def test_without_a_hole_nothing_changes(self):
        template = template_at("dlib150")
        face, completed, hole = scene(64, template)
        assert np.array_equal(put(64, template, face, completed, 0 * hole), face.astype(np.float32))

    def test_each_face_has_its_own_hole_and_gradients_go_to_it_alone(self):
        template = template_at("arcface112")
        _, _, hole = scene(64, template)
        holes = torch.from_numpy(np.stack([hole, 0 * hole, hole[::-1].copy()]))[:, None].float()
        completed = torch.rand(3, 3, 64, 64, requires_grad=True)
        faces = torch.rand(3, 3, 112, 112, requires_grad=True)
        done = PutIn(64, template)(faces, completed, holes)
        assert torch.equal(done[1], faces[1])
        done.sum().backward()
        where = completed.grad.abs().sum(1, keepdim=True) > 0
        assert where[holes > 0].all() and not where[1].any()
        near = torch.nn.functional.max_pool2d(holes, 5, 1, 2) > 0
        assert not (where & ~near).any()
        assert torch.equal(faces.grad > 0, (done == faces).detach())

    def test_halves_of_numbers_do_not_reach_it(self):
        """Under autocast the places would be off by pixels."""
        template = template_at("dlib150")
        face, completed, hole = scene(64, template)
        with torch.autocast("cpu", torch.bfloat16):
            found = put(64, template, face, completed, hole)
        assert np.array_equal(found, put(64, template, face, completed, hole))


def test_planes():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    found = planes(torch.from_numpy(pictures))
    assert found.shape == (2, 3, 4, 6) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy().transpose(0, 2, 3, 1), pictures / 127.5 - 1, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)


class Grey(torch.nn.Module):
    """Completes everything with one value, and says what it was shown."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))
        self.modes = []

    def forward(self, picture, holes):
        self.modes.append(self.training)
        return torch.full_like(picture, 9.0), self.value.expand_as(picture)


class TestValidation:
    @pytest.fixture(autouse=True)
    def _no_masks(self, monkeypatch):
        monkeypatch.setattr(occluded_validation, "MaskMix", Blots)

    @pytest.mark.parametrize("value", [0.0, 5.0])
    def test_errors_in_holes_against_numpy(self, value):
        found, network = CompletionQuality(Faces(), WIDE, 32, {"worn": 1.0}), Grey(value)
        filled = 127.5 * (min(value, 1.0) + 1)
        apart = np.concatenate([
            np.abs(view.student[view.holes == 1].astype(float) - filled).ravel()
            for view in views(masks=Blots(), side=32, grow=(2, 2), seed=occluded_validation.SEED)
        ])  # fmt: skip
        wanted = {"hole_l1": apart.mean(), "hole_psnr": 10 * math.log10(255**2 / np.square(apart).mean())}
        assert found(network) == pytest.approx(wanted, rel=1e-5)
        assert network.modes == [False] and network.training

    def test_pictures_that_are_gone_and_people_without_pairs(self):
        with pytest.raises(MaskbenchError, match="validation: set/1: 1.jpg: is gone"):
            CompletionQuality(Faces(lost={1}), WIDE, 32, {"worn": 1.0})(Grey())
        with pytest.raises(MaskbenchError, match="held_out: validation needs a folder for each"):
            StudentQuality(Faces(subjects=tuple("abcdef")), WIDE, 32, {"worn": 1.0}, template_at("dlib150"))

    def test_a_student_reads_bare_faces_as_they_are_and_masked_ones_completed(self):
        seen = []

        def completed(batch):
            seen.append(batch.holes.flatten(1).any(1).tolist())
            # Whoever is seen through a mask is taken for somebody else.
            number = batch.index.float() // 2 + 3.0 * batch.holes.flatten(1).any(1)
            return number[:, None, None, None].expand(-1, 3, 4, 4)

        class Student(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(1))

            def forward(self, x):
                assert not self.training
                return torch.eye(6)[(x[:, 0, 0, 0] * self.weight).long()]

        student = Student()
        check = StudentQuality(Faces(), WIDE, 32, {"worn": 1.0}, template_at("dlib150"))
        rates = check(student, completed, lambda pictures: pictures, "cosine")
        assert seen == [[False] * 6, [True] * 6] and student.training
        assert rates["umr_ump_eer"] == rates["mr_mp_eer"] == 0 and rates["umr_mp_eer"] == 0.5
