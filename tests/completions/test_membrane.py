"""The weighted Laplace equation against dense linear algebra and known solutions."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.completions.membrane import EIGHT, FOUR, correction, neighbour_slices


def dense(difference, hole, weights, offsets):
    """The same equation, pixel by pixel, as one dense system."""
    height, width = hole.shape
    size = height * width
    matrix, right = np.eye(size), np.where(hole[..., None], 0, difference).reshape(size, -1).astype(float)
    matrix[hole.ravel()] = 0
    for place, (down, across) in enumerate(offsets):
        for y in range(height - down):
            for x in range(width):
                if not 0 <= x + across < width:
                    continue
                column = x - max(0, -across)
                weight = 1.0 if weights is None else weights[place][y, column]
                for here, there in (((y, x), (y + down, x + across)), ((y + down, x + across), (y, x))):
                    if hole[here]:
                        i, j = here[0] * width + here[1], there[0] * width + there[1]
                        matrix[i, i] += weight
                        matrix[i, j] -= weight
    result = np.linalg.solve(matrix, right).reshape(difference.shape)
    result[~hole] = 0
    return result


@pytest.mark.parametrize("offsets", [FOUR, EIGHT])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_a_dense_system(offsets, weighted):
    rng = np.random.default_rng(3)
    difference = rng.normal(size=(9, 11, 2))
    hole = rng.random((9, 11)) < 0.6
    hole[:4, :5] = True  # at the picture's border too
    hole[8, 10] = False
    weights = None
    if weighted:
        weights = [rng.uniform(0.01, 2, hole[neighbour_slices(offset, hole.shape)[0]].shape) for offset in offsets]
    got = correction(difference, hole, weights, offsets)
    assert np.allclose(got, dense(difference, hole, weights, offsets), atol=1e-10)
    assert (got[~hole] == 0).all()


@pytest.mark.parametrize("offset", EIGHT)
def test_neighbours_meet(offset):
    rows, columns = np.mgrid[:5, :7]
    first, second = neighbour_slices(offset, (5, 7))
    assert (rows[second] - rows[first] == offset[0]).all() and (columns[second] - columns[first] == offset[1]).all()
    assert rows[first].size == (5 - offset[0]) * (7 - abs(offset[1]))


def test_constants_and_planes_continue():
    rows, columns = np.mgrid[:20, :30].astype(float)
    picture = np.stack([np.full((20, 30), 7.0), 2 * rows - columns, rows * columns], axis=-1)  # all are harmonic
    hole = np.zeros((20, 30), bool)
    hole[4:15, 6:25] = True
    got = correction(picture, hole)
    assert np.allclose(got[hole], picture[hole], atol=1e-9)


def test_the_maximum_principle_and_what_a_hole_shows_is_not_read():
    rng = np.random.default_rng(0)
    difference = rng.uniform(-5, 3, (16, 16, 1))
    hole = np.zeros((16, 16), bool)
    hole[3:13, 3:13] = True
    weights = [rng.uniform(1e-3, 1, hole[neighbour_slices(offset, hole.shape)[0]].shape) for offset in EIGHT]
    got = correction(difference, hole, weights, EIGHT)
    assert got[hole].min() >= difference[~hole].min() and got[hole].max() <= difference[~hole].max()
    changed = np.where(hole[..., None], np.nan, difference)
    assert (correction(changed, hole, weights, EIGHT) == got).all()


def test_an_edge_of_little_weight_stops_the_flow():
    """A hole between 0 on the left and 1 on the right, with a barrier in its middle: a step instead of a ramp."""
    difference = np.zeros((5, 22, 1))
    difference[:, 21] = 1
    hole = np.zeros((5, 22), bool)
    hole[:, 1:21] = True
    across = np.ones((5, 21))
    ramp = correction(difference, hole, [across, np.ones((4, 22))], FOUR)
    assert np.allclose(ramp[0, 1:21, 0], np.arange(1, 21) / 21)
    across[:, 10] = 1e-4
    step = correction(difference, hole, [across, np.ones((4, 22))], FOUR)
    assert step[0, 10, 0] < 0.01 and step[0, 11, 0] > 0.99
