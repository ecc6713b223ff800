"""The cosine transform's rounding against files of OpenCV's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskbench.masking.compression import compress_grey, quantisation


def through_a_file(plane: np.ndarray, quality: int) -> np.ndarray:
    stored = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)


def planes(seed: int) -> list[np.ndarray]:
    """Noise, a soft picture and a drawing in black and white; their sides are no multiples of 8."""
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(rng.normal(size=(61, 90)), (0, 0), 3)
    sharp = np.where(cv2.GaussianBlur(rng.normal(size=(40, 33)), (0, 0), 2) > 0, 255, 0)
    return [
        rng.integers(0, 256, (45, 67)).astype(np.uint8),
        np.clip(128 + 60 * soft / soft.std(), 0, 255).astype(np.uint8),
        sharp.astype(np.uint8),
    ]


@pytest.mark.parametrize("quality", range(1, 101))
def test_pixels_come_out_as_a_jpeg_file_gives_them(quality: int):
    for plane in planes(quality):
        picture = np.zeros((*plane.shape, 3), np.uint8)
        compress_grey(picture, np.full(plane.shape, 255, np.uint8), plane, 0, 0, quality)
        assert np.array_equal(picture, np.repeat(through_a_file(plane, quality)[..., None], 3, -1))


def test_a_part_of_a_picture_changes_where_alpha_is_not_zero_and_nowhere_else():
    whole, rng = planes(3)[1], np.random.default_rng(0)
    picture = np.repeat(whole[..., None], 3, -1)
    alpha = np.where(rng.random(whole.shape) < 0.4, 1, 0).astype(np.uint8)
    alpha[24:40, 40:64] = 0  # whole blocks
    before, expected = picture.copy(), through_a_file(whole, 30)
    compress_grey(picture, alpha, whole[16:48, 24:72], 24, 16, 30)
    inside = np.zeros(whole.shape, bool)
    inside[16:48, 24:72] = True
    changed = inside & (alpha > 0)
    assert np.array_equal(picture[changed][:, 0], expected[changed]) and (picture[changed] != before[changed]).any()
    assert np.array_equal(picture[~changed], before[~changed])


def test_the_quantisation_tables_are_those_in_the_files():
    for quality in (1, 10, 49, 50, 75, 92, 100):
        data = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        table = data[data.index(b"\xff\xdb") + 5 :][:64]  # in zigzag order
        assert sorted(table) == sorted(quantisation(quality).astype(int).tolist())
