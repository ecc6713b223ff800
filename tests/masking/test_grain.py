"""Blur and noise are found again in pictures that were given them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskbench.masking.grain import (
    LUMA_BITS,
    LUMA_WEIGHTS,
    MOST_BLUR,
    MOST_NOISE,
    TILE,
    Grain,
    estimate_grain,
    looks_grey,
    noise_tile,
)

OVER = 8


def photo(seed: int, blur: float, noise: float, side: int = 150) -> np.ndarray:
    """Random polygons taken by a camera of known blur (a Gaussian's deviation, pixels) and noise (the same in all
    channels), (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    fine = np.full((side * OVER, side * OVER, 3), rng.integers(60, 200), np.uint8)
    for _ in range(14):
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))[:, None]
        corners = rng.uniform(0, 1, 2) + rng.uniform(0.1, 0.3) * np.hstack([np.cos(angle), np.sin(angle)])
        colour = tuple(int(value) for value in rng.integers(30, 225, 3))
        cv2.fillPoly(fine, [np.rint(corners * side * OVER).astype(np.int32)], colour)
    rest = np.sqrt(max((blur * OVER) ** 2 - (OVER**2 - 1) / 12, 0.01))  # averaging over pixels is a part of the blur
    picture = cv2.resize(
        cv2.GaussianBlur(fine.astype(np.float32), (0, 0), rest), (side, side), interpolation=cv2.INTER_AREA
    )
    picture += np.random.default_rng(seed + 99).normal(size=picture.shape[:2])[..., None] * noise
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("noise", [0.0, 2.0, 4.0, 6.0])
@pytest.mark.parametrize("blur", [0.3, 0.5, 0.7, 1.0, 1.5, 2.0])
def test_known_blur_and_noise_are_estimated(blur: float, noise: float):
    found = [estimate_grain(photo(seed, blur, noise)) for seed in range(4)]
    for grain in found:
        assert grain.noise == pytest.approx(noise, abs=0.35)
        assert grain.blur == pytest.approx(blur, rel=0.33, abs=0.06)
    assert np.median([grain.blur for grain in found]) == pytest.approx(blur, rel=0.28, abs=0.04)


def test_blur_is_judged_alike_in_large_and_small_pictures():
    for side in (60, 400):
        assert estimate_grain(photo(1, 0.8, 2.0, side)).blur == pytest.approx(0.8, rel=0.3)
        assert estimate_grain(photo(1, 0.8, 2.0, side)).noise == pytest.approx(2.0, abs=0.6)


@pytest.mark.parametrize("noise", [4.0, 8.0])
def test_noise_alone_is_not_taken_for_edges(noise: float):
    flat = 128 + np.random.default_rng(0).normal(size=(100, 100, 1)) * np.full(3, noise)
    grain = estimate_grain(np.rint(flat).astype(np.uint8))
    assert grain.noise == pytest.approx(noise, rel=0.1)
    assert grain.blur < 0.3, "sharp noise must not soften the mask"


@pytest.mark.parametrize("shape", [(0, 9, 3), (7, 50, 3), (50, 7, 3), (1, 1, 3)])
def test_too_little_to_judge_by_gives_no_grain(shape):
    assert estimate_grain(np.full(shape, 90, np.uint8)) == Grain(0.0, 0.0)


def test_flat_pictures_have_neither():
    assert estimate_grain(np.full((50, 60, 3), 90, np.uint8)) == Grain(0.0, 0.0)


def test_the_estimates_are_bounded():
    rng = np.random.default_rng(0)
    grain = estimate_grain(rng.integers(0, 256, (80, 80, 3)).astype(np.uint8))
    assert grain.noise == MOST_NOISE and 0 <= grain.blur <= MOST_BLUR
    soft = cv2.GaussianBlur(photo(2, 1.0, 0.0, 300), (0, 0), 8)
    assert estimate_grain(soft).blur <= MOST_BLUR


def test_the_noise_tile_is_white_and_always_the_same():
    tile = noise_tile()
    assert tile.shape == (TILE, TILE) and tile.dtype == np.float32
    assert abs(tile.mean()) < 0.02 and tile.std() == pytest.approx(1, abs=1e-5)
    for step in (1, 2):
        for axis in (0, 1):
            assert abs((tile * np.roll(tile, step, axis)).mean()) < 0.02, "neighbours are independent"
    expected = np.random.Generator(np.random.PCG64(468)).normal(size=(TILE, TILE))
    assert np.allclose(tile, expected / expected.std(), atol=1e-6)


def test_grey_photographs_are_known_through_compression_noise(make_crop):
    grey = np.repeat(make_crop(2)[..., :1], 3, -1)
    noisy = grey.astype(int) + np.random.default_rng(0).integers(-4, 5, grey.shape)
    assert looks_grey(grey) and looks_grey(np.clip(noisy, 0, 255).astype(np.uint8))
    assert not looks_grey(make_crop(2))


def test_luma_is_that_of_opencv():
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    total = picture.astype(int) @ LUMA_WEIGHTS + (1 << LUMA_BITS - 1)
    assert np.array_equal(total >> LUMA_BITS, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
