from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskbench.pixels import LUMA, dilated, tile


def test_luma_is_that_of_jpeg():
    assert LUMA.sum() == pytest.approx(1)
    colours = np.random.default_rng(1).integers(0, 256, (1, 50, 3), np.uint8)
    assert np.abs(colours[0] @ LUMA - cv2.cvtColor(colours, cv2.COLOR_RGB2YCrCb)[0, :, 0]).max() <= 1


@pytest.mark.parametrize(("shape", "far"), [(cv2.MORPH_RECT, 2), (cv2.MORPH_ELLIPSE, 0)])
def test_a_mask_grows_by_its_reach(shape: int, far: int):
    mask = np.zeros((11, 11), np.uint8)
    mask[5, 5] = 1
    grown = dilated(mask, 2, shape)
    rows, columns = np.nonzero(grown)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 7, 3, 7)
    corner = grown[3, 5 - far : 5 + far + 1]  # a square is as wide at its end, a disc a single pixel
    assert corner.all() and grown[3].sum() == 2 * far + 1
    assert dilated(mask, 0, shape) is mask


@pytest.mark.parametrize("size", [(50, 100), (400, 300), (7, 7)])
def test_a_picture_keeps_its_proportions_on_a_tile(size: tuple[int, int]):
    shown = tile(np.zeros((*size, 3), np.uint8), 80)
    scale = 80 / max(size)
    assert shown.shape == (80, 80, 3)
    assert (shown == 0).all(2).sum() == round(size[0] * scale) * round(size[1] * scale)
    assert (shown[40, 40] == 0).all()


def test_how_a_small_picture_is_enlarged():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[1:3, 1:3] = 200
    assert tile(picture, 40).max() > 200 >= tile(picture, 40, cv2.INTER_LINEAR).max()  # a cubic overshoots
