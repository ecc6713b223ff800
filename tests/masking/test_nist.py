"""The shapes of the standard: where their edges lie on the canonical face, and that their folders can be made again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets, shipped_root
from maskbench.masking.nist import COVERAGES, NIST_ROWS, SHAPES, nist_edges
from maskbench.masking.placement import still
from maskbench.masking.render import render

SCALE, CENTRE = 100.0, np.array([200.0, 150.0, 0.0])
GRID = [(shape, coverage) for shape in SHAPES for coverage in COVERAGES]


def drawn(shape: str, coverage: str, yaw: float = 0.0):
    """The alpha (0..1) of a shape on the canonical face turned by ``yaw``, and the face's points in its pixels."""
    asset = select_assets(f"nist-{shape}-{coverage}")[0]
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    points = canonical_face() @ turn.T * SCALE + CENTRE
    grey = np.full((400, 400, 3), 120, np.uint8)
    return render(grey, asset, still(points, asset, "red")).alpha / 255.0, points


def crossings(values: np.ndarray) -> list[float]:
    """Where a row of numbers crosses one half, rising and falling, by linear interpolation."""
    first, second = values[:-1], values[1:]
    found = np.flatnonzero((first < 0.5) != (second < 0.5))
    return [float(k + (0.5 - values[k]) / (values[k + 1] - values[k])) for k in found]


@pytest.mark.parametrize(("shape", "coverage"), GRID)
def test_the_visible_upper_edge_crosses_the_midline_at_its_landmark(shape, coverage):
    alpha, points = drawn(shape, coverage)
    top, bottom = crossings(alpha[:, 200])
    row, mesh = NIST_ROWS[coverage]
    assert row == {"high": 27, "medium": 29, "low": 33}[coverage]
    assert top == pytest.approx(points[mesh, 1], abs=0.01 * SCALE)
    assert bottom == pytest.approx(points[152, 1], abs=0.02 * SCALE), "the chin"


@pytest.mark.parametrize("coverage", COVERAGES)
def test_wide_shapes_reach_the_ears_and_round_ones_are_ellipses(coverage):
    wide, points = drawn("wide", coverage)
    for name, mesh in (("left", 93), ("right", 323), ("jaw", 58), ("jaw", 288)):
        row = int(round(float(points[mesh, 1])))
        left, *_, right = crossings(wide[row])  # between them the upper edge may dip below the row
        edge = left if points[mesh, 0] < 200 else right
        assert edge == pytest.approx(points[mesh, 0], abs=0.03 * SCALE), f"{name} {mesh}"
    round_, _ = drawn("round", coverage)
    top, bottom = crossings(round_[:, 200])
    centre, height = (top + bottom) / 2, (bottom - top) / 2
    half = 0.8 * canonical_face()[288, 0] * SCALE
    for across in (-0.9, -0.5, 0.3, 0.8):
        column = 200 + round(across * half)
        upper, lower = crossings(round_[:, column])
        rise = height * np.sqrt(1 - ((column - 200) / half) ** 2)
        assert upper == pytest.approx(centre - rise, abs=0.02 * SCALE)
        assert lower == pytest.approx(centre + rise, abs=0.03 * SCALE)


@pytest.mark.parametrize("shape", SHAPES)
def test_more_coverage_covers_more(shape):
    shares = [drawn(shape, coverage)[0].sum() for coverage in ("low", "medium", "high")]
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("yaw", [-45, -20, 20, 45])
@pytest.mark.parametrize(("shape", "coverage"), GRID)
def test_the_upper_edge_stays_at_its_landmark_when_the_head_turns(shape, coverage, yaw):
    alpha, points = drawn(shape, coverage, np.deg2rad(yaw))
    x, y = points[NIST_ROWS[coverage][1], :2]
    # The column is a whole one: beside the landmark a pointed edge is lower.
    allowed = 0.06 if (shape, coverage) == ("wide", "high") else 0.03
    assert crossings(alpha[:, int(round(float(x)))])[0] == pytest.approx(y, abs=allowed * SCALE)


def test_the_mesh_points_divide_the_nose_as_the_rows_do():
    """Rows 27 to 30 divide the bridge of the nose evenly; 168, 197, 5 and the tip, 1, do so too."""
    y = canonical_face()[[168, 197, 5, 1], 1]
    assert (y - y[0]) / (y[-1] - y[0]) == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=0.02)
    assert [NIST_ROWS[name] for name in COVERAGES] == [(27, 168), (29, 5), (33, 2)]


def test_outlines_run_outwards_from_the_midline():
    for shape, coverage in GRID:
        for edge in nist_edges(coverage, shape):
            x = np.array(edge)[:, 0]
            assert x[0] == 0 and (np.diff(x) > 0).all()


def test_the_folders_can_be_made_again_byte_for_byte(tmp_path, monkeypatch):
    tools = Path(__file__).parents[2] / "tools" / "masks"
    monkeypatch.syspath_prepend(str(tools))
    try:
        import nist
        import pen
    finally:
        sys.modules.pop("nist", None)
    for shape, coverage in GRID:
        folder = pen.write(tmp_path, nist.build(coverage, shape))
        for path in sorted(folder.iterdir()):
            assert path.read_bytes() == (shipped_root() / folder.name / path.name).read_bytes(), path.name
        asset = select_assets(folder.name)[0]
        assert (asset.shape, asset.coverage, asset.kind, asset.regions) == (shape, coverage, "nist", ("lower",))
        assert set(asset.colourways) == {"black", "light-blue", "red", "white"} and asset.styles == ("correct",)
