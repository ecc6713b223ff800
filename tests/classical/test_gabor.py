"""Gabor responses against the formula and a convolution by loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskbench.classical.gabor import gabor_features, kernels, magnitudes
from maskbench.classical.options import GaborOptions

SMALL = GaborOptions(size=(13, 11), scales=3, orientations=4, grid=(4, 3))


def slow_magnitudes(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """|convolution| with zeros outside the picture, one product at a time."""
    height, width = picture.shape
    reach = [side // 2 for side in kernel.shape]
    found = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            total = 0j
            for dy in range(-reach[0], reach[0] + 1):
                for dx in range(-reach[1], reach[1] + 1):
                    if 0 <= y - dy < height and 0 <= x - dx < width:
                        total += picture[y - dy, x - dx] * kernel[dy + reach[0], dx + reach[1]]
            found[y, x] = abs(total)
    return found


@pytest.mark.parametrize("size", [(13, 11), (6, 21)])
def test_magnitudes_against_a_convolution_by_loops(size):
    options = GaborOptions(size=size, scales=3, orientations=2, grid=(2, 2))
    picture = np.random.default_rng(1).normal(size=size)
    found, bank = magnitudes(picture, options), kernels(options)
    assert found.shape == (6, *size) and len(bank) == 6
    for map_, kernel in zip(found, bank, strict=True):
        assert np.allclose(map_, slow_magnitudes(picture, kernel), rtol=1e-9, atol=1e-12)


def test_kernels_follow_the_formula():
    bank = kernels(GaborOptions())
    assert len(bank) == 40 and all(side % 2 for kernel in bank for side in kernel.shape)
    for place, kernel in enumerate(bank):
        frequency = 0.25 / math.sqrt(2) ** (place // 8)
        angle, sigma = math.pi * (place % 8) / 8, 1 / frequency  # one wavelength: their sigma of 2 pi
        for dy, dx in ((0, 0), (1, 0), (0, 2), (-2, 3)):
            envelope = math.exp(-(dx * dx + dy * dy) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
            phase = 2 * math.pi * frequency * (dx * math.cos(angle) + dy * math.sin(angle))
            value = kernel[kernel.shape[0] // 2 + dy, kernel.shape[1] // 2 + dx]
            assert abs(value - envelope * complex(math.cos(phase), math.sin(phase))) < 1e-12


def test_a_grating_answers_to_its_own_kernel():
    options = GaborOptions(size=(64, 64))
    y, x = np.mgrid[:64, :64]
    for scale, turn in ((0, 0), (1, 3), (2, 6)):
        frequency, angle = 0.25 / math.sqrt(2) ** scale, math.pi * turn / 8
        grating = np.cos(2 * np.pi * frequency * (x * math.cos(angle) + y * math.sin(angle)))
        middle = magnitudes(grating, options)[:, 24:40, 24:40].mean(axis=(1, 2))
        assert middle.argmax() == scale * 8 + turn


def test_features_are_reduced_maps_of_zero_mean_and_unit_variance():
    picture = np.random.default_rng(2).normal(size=SMALL.size)
    found = gabor_features(picture, SMALL).reshape(12, 4, 3)
    assert np.allclose(found.mean(axis=(1, 2)), 0) and np.allclose(found.std(axis=(1, 2)), 1)
    even = GaborOptions(size=(12, 12), scales=1, orientations=2, grid=(4, 3))
    picture = np.random.default_rng(3).normal(size=(12, 12))
    means = magnitudes(picture, even).reshape(2, 4, 3, 3, 4).mean(axis=(2, 4))
    wanted = [(map_ - map_.mean()) / map_.std() for map_ in means]
    assert np.allclose(gabor_features(picture, even).reshape(2, 4, 3), wanted)


def test_light_changes_nothing():
    picture = np.random.default_rng(4).normal(size=SMALL.size)
    assert np.allclose(gabor_features(picture, SMALL), gabor_features(picture * 7.5, SMALL))
