"""What happens to a training picture: sizes, limits, repetition, and that nothing is written to."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from maskbench.align import TEMPLATES, template_at
from maskbench.train import augment
from maskbench.train.augment import Augmentation, degrade, jitter_matrix, patched, recoloured, through_crop

ALWAYS = Augmentation(colour=1.0, grey=1.0, crop112=1.0, small=1.0, blur=1.0, noise=1.0, jpeg=1.0)
NEVER = Augmentation(colour=0.0, grey=0.0, crop112=0.0, small=0.0, blur=0.0, noise=0.0, jpeg=0.0)
STILL = Augmentation(shift=0.0, turn=0.0, scale=0.0)
DLIB = template_at("dlib150")

Work = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def alpha_of(face: np.ndarray) -> np.ndarray:
    """Covers the lower half, softly at its upper edge."""
    rows = np.clip((np.arange(face.shape[0]) - face.shape[0] / 2) * 20, 0, 255)
    return np.repeat(rows[:, None], face.shape[1], axis=1).astype(np.uint8)


WORK: dict[str, Work] = {
    "all": lambda rng, face: degrade(rng, face, ALWAYS, DLIB),
    "usual": lambda rng, face: degrade(rng, face, Augmentation(), DLIB),
    **{
        name: lambda rng, face, name=name: degrade(rng, face, Augmentation(**{**vars(NEVER), name: 1.0}), DLIB)
        for name in ("colour", "grey", "crop112", "small", "blur", "noise", "jpeg")
    },
    "through_crop": lambda rng, face: through_crop(face, DLIB),
    "recoloured": lambda rng, face: recoloured(rng, face, alpha_of(face)),
    "patched": patched,
}


class TestAll:
    @pytest.mark.parametrize("name", WORK)
    def test_the_input_is_never_written_to(self, make_crop, name):
        face = make_crop(1, 150)
        before = face.copy()
        face.setflags(write=False)  # a write would raise
        for seed in range(5):
            found = WORK[name](np.random.default_rng(seed), face)
            assert found.shape == (150, 150, 3) and found.dtype == np.uint8
            if found is not face:
                assert not np.shares_memory(found, face)
        assert np.array_equal(face, before)

    @pytest.mark.parametrize("name", WORK)
    def test_deterministic_and_something_happens(self, make_crop, name):
        face = make_crop(2, 150)
        first, again = (WORK[name](np.random.default_rng(7), face) for _ in range(2))
        assert np.array_equal(first, again)
        assert any(not np.array_equal(WORK[name](np.random.default_rng(seed), face), face) for seed in range(5))

    @pytest.mark.parametrize("name", [name for name in WORK if name not in ("grey", "crop112", "through_crop")])
    def test_another_draw_looks_otherwise(self, make_crop, name):
        face = make_crop(2, 150)
        assert len({WORK[name](np.random.default_rng(seed), face).tobytes() for seed in range(6)}) > 1

    @pytest.mark.parametrize("name", WORK)
    def test_views_that_are_not_contiguous(self, make_crop, name):
        face = make_crop(3, 150)
        mirrored = np.ascontiguousarray(face[:, ::-1])
        found = WORK[name](np.random.default_rng(3), face[:, ::-1])
        assert np.array_equal(found, WORK[name](np.random.default_rng(3), mirrored))

    @pytest.mark.parametrize("name", ["usual", "recoloured", "patched", "all"])
    @pytest.mark.parametrize("value", [0, 255])
    def test_black_and_white_do_not_wrap_around(self, name, value):
        face = np.full((150, 150, 3), value, np.uint8)
        for seed in range(10):
            found = WORK[name](np.random.default_rng(seed), face).astype(int)
            if name == "all":  # within what colours and noise can do: no speck on the other end
                assert (abs(found - value) < 160).all()

    def test_other_sizes(self, make_crop):
        face = np.ascontiguousarray(make_crop(4, 112)[:, 8:104])
        found = degrade(np.random.default_rng(1), face, ALWAYS, template_at("sphereface96"))
        assert found.shape == (112, 96, 3) and found.dtype == np.uint8

    def test_nothing_is_asked_for(self, make_crop):
        face = make_crop(5, 150)
        assert np.array_equal(degrade(np.random.default_rng(1), face, NEVER, DLIB), face)


class TestJitter:
    def test_still_is_the_middle_of_the_crop(self):
        found = jitter_matrix(np.random.default_rng(1), STILL, (150, 150), 12)
        np.testing.assert_allclose(found, [[1, 0, -12], [0, 1, -12]], atol=1e-12)

    @pytest.mark.parametrize("size", [(150, 150), (112, 96)])
    def test_limits(self, size):
        how = Augmentation(shift=0.03, turn=4.0, scale=0.05)
        rng = np.random.default_rng(2)
        height, width = size
        turns, scales, shifts = [], [], []
        for _ in range(4000):
            matrix = jitter_matrix(rng, how, size, 9)
            linear = matrix[:, :2]
            scale = np.sqrt(np.linalg.det(linear))
            np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(2), atol=1e-12)  # a similarity, unmirrored
            middle = np.array([(width - 1) / 2, (height - 1) / 2])
            moved = linear @ (middle + 9) + matrix[:, 2] - middle
            turns.append(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
            scales.append(np.log(scale))
            shifts.append(moved / (width, height))
        for values, limit in ((turns, 4.0), (scales, 0.05), (shifts, 0.03)):
            values = np.array(values)
            assert abs(values).max() <= limit * (1 + 1e-9)
            assert values.min() < -0.98 * limit and values.max() > 0.98 * limit  # both ends are reached
            assert np.all(abs(values.mean(axis=0)) < 0.05 * limit)

    def test_the_default_stays_on_the_margin(self):
        """Corners of the crop lie on the wide one, but for a few pixels in extreme draws."""
        from maskbench.train.prepare import wide_template

        wide = wide_template(DLIB).size[0]
        margin = (wide - 150) // 2
        assert margin == 12
        corners = np.array([(0, 0), (149, 0), (0, 149), (149, 149)], np.float64)
        rng, outside = np.random.default_rng(3), 0.0
        for _ in range(2000):
            back = cv2.invertAffineTransform(jitter_matrix(rng, Augmentation(), (150, 150), margin))
            found = corners @ back[:, :2].T + back[:, 2]
            outside = max(outside, float(-found.min()), float(found.max() - (wide - 1)))
        assert outside < 2.5  # 3 pixels of shift, 3 of scale, 4 of turn, less a margin of 12

    def test_deterministic(self):
        first, again = (jitter_matrix(np.random.default_rng(5), Augmentation(), (150, 150), 12) for _ in range(2))
        assert np.array_equal(first, again)


class TestThroughCrop:
    def shown(self) -> np.ndarray:
        """Where a dlib crop's pixels lie in the 112 x 112 crop, by the two templates' eyes: (150, 150, 2) x, y."""
        ours, theirs = DLIB.points, TEMPLATES["arcface112"].points
        scale = np.linalg.norm(theirs[1] - theirs[0]) / np.linalg.norm(ours[1] - ours[0])
        grid = np.stack(np.meshgrid(np.arange(150.0), np.arange(150.0)), axis=2)
        return (grid - ours[0]) * scale + theirs[0]

    @pytest.mark.parametrize("seed", range(3))
    def test_what_both_show_stays_nearly_as_it_is(self, make_crop, seed):
        face = make_crop(seed, 150)
        found = through_crop(face, DLIB).astype(int)
        where = self.shown()
        inside = ((where > 1) & (where < 110)).all(axis=2)
        assert 0.5 < inside.mean() < 1
        error = abs(found - face.astype(int))[inside]
        assert error.mean() < 1.0 and error.max() <= 6

    def test_the_border_is_repeated_outside(self):
        face = np.zeros((150, 150, 3), np.uint8)
        face[...] = np.arange(150)[:, None, None]  # every row has its own value
        found = through_crop(face, DLIB)
        where = self.shown()[:, 75, 1]
        below, above = np.flatnonzero(where > 112), np.flatnonzero(where < -1)
        assert len(below) or len(above)
        for rows, edge in ((below, 111.0), (above, 0.0)):
            if not len(rows):
                continue
            expected = np.interp(edge, where, np.arange(150.0))  # the last row that the smaller crop shows
            assert abs(found[rows, 20:130].astype(int) - expected).max() <= 1
            assert np.ptp(face[rows, 75, 0].astype(int)) > 5  # it was not so before

    def test_a_plain_picture_stays(self):
        face = np.full((150, 150, 3), (10, 200, 90), np.uint8)
        assert np.array_equal(through_crop(face, DLIB), face)

    def test_over_itself_it_is_the_same(self, make_crop):
        face = make_crop(3)
        assert np.array_equal(through_crop(face, template_at("arcface112")), face)


class TestParts:
    def test_curves_are_tables_that_rise(self):
        for seed in range(200):
            table = augment._curves(np.random.default_rng(seed))
            assert table.shape == (1, 256, 3) and table.dtype == np.uint8
            assert (np.diff(table[0].astype(int), axis=0) >= 0).all()

    def test_grey_is_grey(self, make_crop):
        found = WORK["grey"](np.random.default_rng(1), make_crop(1, 150))
        assert np.array_equal(found[..., 0], found[..., 1]) and np.array_equal(found[..., 1], found[..., 2])
        weights = (make_crop(1, 150) @ (0.299, 0.587, 0.114))[..., None]  # ITU-R BT.601, R first
        assert abs(found - weights).max() <= 1

    def test_recoloured_changes_only_what_is_worn(self, make_crop):
        face = make_crop(1, 150)
        alpha = np.zeros((150, 150), np.uint8)
        alpha[80:, 30:120] = 255
        changed = 0
        for seed in range(10):
            found = recoloured(np.random.default_rng(seed), face, alpha)
            assert np.array_equal(found[alpha == 0], face[alpha == 0])
            changed += abs(found.astype(int) - face)[alpha == 255].mean() > 3
        assert changed >= 8
        assert np.array_equal(recoloured(np.random.default_rng(1), face, np.zeros_like(alpha)), face)

    def test_recoloured_blends_by_the_alpha(self, make_crop):
        face = make_crop(1, 150)
        whole = recoloured(np.random.default_rng(4), face, np.full((150, 150), 255, np.uint8)).astype(float)
        half = recoloured(np.random.default_rng(4), face, np.full((150, 150), 51, np.uint8))
        assert abs(half - (0.2 * whole + 0.8 * face)).max() <= 0.51

    def test_how_much_a_patch_covers(self):
        shares = []
        for seed in range(400):
            dark, light = (
                patched(np.random.default_rng(seed), np.full((120, 120, 3), value, np.uint8)) for value in (0, 255)
            )
            shares.append((dark == light).all(axis=2).mean())  # the same over black and over white
        assert 0.04 < np.mean(shares) < 0.1 and max(shares) < 0.35

    @pytest.mark.parametrize(("name", "most"), [("noise", 12.0), ("jpeg", 8.0), ("blur", 6.0), ("small", 6.0)])
    def test_the_camera_leaves_a_smooth_picture_recognizable(self, make_crop, name, most):
        face = make_crop(8, 150)
        for seed in range(10):
            found = WORK[name](np.random.default_rng(seed), face)
            assert abs(found.astype(int) - face).mean() < most
