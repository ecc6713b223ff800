"""Surfaces of small faces have fewer triangles, and lie where they did."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.digest import generator
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.geometry import COLUMNS, EDGE_SHARE, ROWS, _needed, build_surface, grid_triangles
from maskbench.masking.placement import sample
from maskbench.masking.render import MOST_OFF, TOLERANCES, render, surface_of, tolerance_of

ASSETS = select_assets("surgical,kn95,cloth-tartan,scarf-knit,beanie,sunglasses-round,ffp3-valve,face-shield")


def distances(fine, thin) -> np.ndarray:
    """How far each node of a fine panel lies from where the thin one of the same grid has it: (ROWS, COLUMNS)."""
    rows, columns = (np.flatnonzero(np.isin(fine.uv[:, axis].round(9), thin.uv[:, axis].round(9))) for axis in (1, 0))
    kept_rows, kept_columns = np.unique(rows // COLUMNS), np.unique(columns % COLUMNS)
    grid = thin.nodes.reshape(len(kept_rows), len(kept_columns), 3)
    full = np.empty((ROWS, COLUMNS, 3))
    for axis in range(3):
        along = np.stack([np.interp(range(COLUMNS), kept_columns, line) for line in grid[..., axis]])
        full[..., axis] = np.stack([np.interp(range(ROWS), kept_rows, line) for line in along.T], -1)
    return np.linalg.norm(full - fine.nodes.reshape(ROWS, COLUMNS, 3), axis=-1)


@pytest.mark.parametrize("tolerance", TOLERANCES[1:])
@pytest.mark.parametrize("mask", ["surgical", "kn95", "cloth-tartan"])
def test_no_node_moves_by_more_than_rows_and_columns_may(mask: str, tolerance: float):
    geometry = select_assets(mask)[0].geometry
    fine, thin = (build_surface({"panels": geometry["panels"][:1]}, t) for t in (0.0, tolerance))
    off = distances(fine, thin)
    assert off.max() <= 2 * tolerance, "as much again for rows as for columns"
    assert max(off[0].max(), off[-1].max()) <= 2 * EDGE_SHARE * tolerance
    assert len(thin.triangles) < len(fine.triangles)


def test_straight_lines_need_their_ends_only_and_a_corner_is_kept():
    line = np.linspace([0, 0, 0], [9, 3, 1], 10)[:, None] + np.zeros((1, 4, 3))
    assert _needed(line, np.ones((10, 4)), 1e-9).tolist() == [0, 9]
    line[6, 2] += [0, 0.5, 0]
    assert _needed(line, np.ones((10, 4)), 0.1).tolist() == [0, 5, 6, 7, 9]
    assert _needed(line, np.ones((10, 4)), 0.5).tolist() == [0, 9]
    weight = np.ones((10, 4))
    weight[6, 2] = 10
    assert 6 in _needed(line, weight, 0.5), "a point of weight 10 may be off by a tenth"


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.asset_id)
def test_no_tolerance_keeps_all_and_the_straps_stay(asset):
    fine, thin = surface_of(asset), surface_of(asset, tolerance=TOLERANCES[-1])
    assert len(fine.nodes) % (ROWS * COLUMNS) == 0 and len(thin.nodes) < len(fine.nodes)
    assert np.array_equal(thin.strap_binding, fine.strap_binding), "sewn to the same places"
    assert len(thin.layers) == len(fine.layers) and thin.triangles.max() < len(thin.uv) == len(thin.normals)
    assert np.isin(thin.nodes.round(9), fine.nodes.round(9)).all()


def test_a_two_sided_panel_stays_two_sided():
    lathe = {"profile": [[-1.2, 1.3, 1.6], [-0.8, 1.2, 1.5]], "angles": [-180, 180], "uv": [0, 0, 1, 1]}
    one, both = (build_surface({"panels": [lathe | {"two_sided": flag}]}, 0.01) for flag in (False, True))
    assert len(both.triangles) == 2 * len(one.triangles) < 4 * len(grid_triangles(ROWS, COLUMNS))


def test_the_tolerance_falls_as_the_face_grows():
    scales = (4, 15, 30, 60, 100, 180, 1000)
    found = [tolerance_of(scale) for scale in scales]
    assert found == sorted(found, reverse=True) and found[0] == TOLERANCES[-1] and found[-1] == 0
    assert all(tolerance * scale <= MOST_OFF for tolerance, scale in zip(found, scales, strict=True))


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.asset_id)
def test_a_small_face_looks_as_with_all_triangles(asset, make_crop, monkeypatch: pytest.MonkeyPatch):
    turn = np.array([[0.9, 0, 0.436], [0, 1, 0], [-0.436, 0, 0.9]])
    face = mesh_landmarks(canonical_face() @ turn.T * 35 + [56, 40, 0], "test")
    placement, picture = sample(generator(0, "p"), asset, face, 0), make_crop(1)
    thin = render(picture, asset, placement)
    monkeypatch.setattr("maskbench.masking.render.tolerance_of", lambda scale: 0.0)
    fine = render(picture, asset, placement)
    assert not np.array_equal(thin.image, fine.image), "the surface is thinned"
    difference = np.abs(thin.image.astype(int) - fine.image).max(-1)[fine.alpha > 0]
    assert difference.mean() < 1.5 and (difference > 24).mean() < 0.01
