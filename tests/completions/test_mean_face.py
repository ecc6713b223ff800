"""The mean face and the methods of OpenCV against direct calls."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskbench.completions.base import load_completion
from maskbench.completions.mean_face import match_line, mean_of


def test_the_mean_is_exact(training):
    mean, rounded = mean_of(training)
    assert np.allclose(mean, training.astype(np.float64).mean(axis=0)) and rounded.dtype == np.uint8
    assert (mean_of(training[::-1])[0] == mean).all()


def test_without_a_match_it_is_the_mean_face(training, probes):
    faces, masks, _ = probes
    completion = load_completion("mean-face", match="none").fit(training)
    result = completion.complete(faces, masks)
    assert (result[masks == 1] == np.broadcast_to(mean_of(training)[1], faces.shape)[masks == 1]).all()


def test_brightness_and_contrast_are_found(training, probes):
    """A probe that is the mean face under another light per channel is completed exactly."""
    mean = training.astype(np.float64).mean(axis=0)
    light = np.rint(mean * (0.7, 0.9, 1.1) + (20, 5, -10)).clip(0, 255).astype(np.uint8)[None]
    masks = probes[1][:1]
    faces = np.where(masks[..., None] == 1, np.uint8(0), light)
    result = load_completion("mean-face").fit(training).complete(faces, masks)
    assert np.abs(result.astype(int) - light).max() <= 1


def test_lines_are_weighted_least_squares_and_outliers_leave():
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 200, 500)
    target = 0.8 * source + 12 + rng.normal(size=500)
    weights = rng.uniform(0.1, 1, 500)
    gain, offset = match_line(source, target, weights, 2.0)
    slope, intercept = np.polyfit(source, target, 1, w=np.sqrt(weights))
    assert (gain, offset) == pytest.approx((slope, intercept), abs=0.02 * 12)
    target[:80] = 255  # background
    spoilt = np.polyfit(source, target, 1, w=np.sqrt(weights))
    gain, offset = match_line(source, target, weights, 2.0)
    assert abs(gain - 0.8) < abs(spoilt[0] - 0.8) / 3 and abs(offset - 12) < abs(spoilt[1] - 12) / 3


@pytest.mark.parametrize("factor, want", [(5.0, 2.0), (0.1, 0.5), (-1.0, 0.5)])
def test_gains_are_limited(factor, want):
    source = np.linspace(100, 120, 50)
    gain, offset = match_line(source, factor * (source - 110) + 90, np.ones(50), 2.0)
    assert gain == want and gain * 110 + offset == pytest.approx(90)


def test_few_or_flat_pixels_do_no_harm():
    assert match_line(np.array([40.0]), np.array([60.0]), np.ones(1), 2.0) == (1.0, 20.0)
    gain, offset = match_line(np.full(30, 7.0), np.full(30, 99.0), np.ones(30), 2.0)
    assert gain * 7 + offset == pytest.approx(99)


@pytest.mark.parametrize("name, flag", [("telea", cv2.INPAINT_TELEA), ("navier-stokes", cv2.INPAINT_NS)])
@pytest.mark.parametrize("radius", [1.0, 5.0])
def test_inpainting_is_opencv_s(name, flag, radius, probes):
    faces, masks, _ = probes
    result = load_completion(name, radius=radius).complete(faces, masks)
    for number in range(3):
        shown = np.where(masks[number][..., None] == 1, np.uint8(0), faces[number])
        want = cv2.inpaint(shown, masks[number], radius, flag)
        hole = masks[number] == 1
        assert (result[number][hole] == want[hole]).all()
