from __future__ import annotations

import numpy as np
import pytest

from maskbench.masking import raster
from maskbench.masking.raster import rasterise


def naive(points, triangles, attributes, width, height):
    """Pixel by pixel: the nearest front-facing triangle by mean depth wins; its barycentric mix is the value."""
    values = np.full((height, width, attributes.shape[1]), -1.0)
    order = sorted(range(len(triangles)), key=lambda t: -points[triangles[t], 2].mean())
    for t in order:
        a, b, c = points[triangles[t], :2]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area <= 1e-6:
            continue
        for y in range(height):
            for x in range(width):
                p = np.array([x, y])
                weights = [
                    ((q - p)[0] * (r - p)[1] - (r - p)[0] * (q - p)[1]) / area for q, r in ((b, c), (c, a), (a, b))
                ]
                if min(weights) >= -1e-9:
                    values[y, x] = np.array(weights) @ attributes[triangles[t]]
    return values


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_the_naive_rasteriser(seed: int):
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(-6, 26, (12, 2)), rng.uniform(-5, 5, 12)])
    triangles = rng.integers(0, 12, (9, 3))
    attributes = rng.uniform(size=(12, 2))
    expected = naive(points, triangles, attributes, 20, 15)
    seen = rasterise(points, triangles, tuple(attributes.T), 20, 15)
    got = np.full_like(expected, -1.0)
    if seen is not None:
        height, width = seen.triangle.shape
        got[seen.y0 : seen.y0 + height, seen.x0 : seen.x0 + width] = seen.values.transpose(1, 2, 0)
        assert np.array_equal(seen.triangle >= 0, seen.values[0] > -0.5) and seen.triangle.max() < 9
    assert np.allclose(got, expected, atol=1e-5)


def test_working_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(7)
    points = np.column_stack([rng.uniform(0, 60, (40, 2)), rng.uniform(-5, 5, 40)])
    triangles, attributes = rng.integers(0, 40, (60, 3)), rng.uniform(size=(40, 3))
    whole = rasterise(points, triangles, tuple(attributes.T), 60, 60)
    monkeypatch.setattr(raster, "CANDIDATES", 500)
    parts = rasterise(points, triangles, tuple(attributes.T), 60, 60)
    assert np.array_equal(whole.values, parts.values) and np.array_equal(whole.triangle, parts.triangle)
    counts = np.array([3, 400, 200, 900, 1, 1])
    slices = list(raster._parts(counts))
    assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])] and slices[-1].stop == 6 and len(slices) > 1


def test_a_shared_edge_leaves_no_gap():
    points = np.array([[0, 0, 0], [9, 0, 0], [9, 9, 0], [0, 9, 0]], float)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    seen = rasterise(points, triangles, (points[:, 0],), 10, 10)
    assert seen is not None and seen.triangle.shape == (10, 10) and (seen.triangle >= 0).all()
    assert np.allclose(seen.values[0], np.arange(10)[None])


def test_back_faces_and_what_lies_outside_are_not_seen():
    points = np.array([[0, 0, 0], [9, 0, 0], [9, 9, 0]], float)
    assert rasterise(points, np.array([[0, 2, 1]]), (points[:, 0],), 10, 10) is None
    assert rasterise(points + [40, 0, 0], np.array([[0, 1, 2]]), (points[:, 0],), 10, 10) is None
    cut = rasterise(points - [5, 5, 0], np.array([[0, 1, 2]]), (points[:, 0],), 3, 3)
    assert cut is not None and (cut.x0, cut.y0) == (0, 0) and cut.triangle.shape <= (3, 3)
