"""How a style and a size change a mask's drawing, and what of the face it then covers."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.geometry import build_surface, taut_depth
from maskbench.masking.placement import still
from maskbench.masking.render import render
from maskbench.masking.wearing import STYLES, WORN, worn_geometry

SCALE, SIDE = 60.0, 360
CENTRE = np.array([180.0, 130.0, 0.0])
SHEET = {
    "top": [[0, 0.2], [0.4, 0.42], [0.95, 0.62]], "bottom": [[0, 1.9], [0.6, 1.66], [0.94, 1.16]], "gap": 0.04,
    "uv": [0, 0, 1, 1],
}  # fmt: skip
LOOP = {"points": [[0.9, 0.68, 0.45], [1.07, 0.35, 0.8], [1.16, -0.05, 1.34]], "width": 0.09, "uv": [0, 0.9, 1, 1]}
VALVE = {"top": [[0, 0.9], [0.2, 0.9]], "bottom": [[0, 1.3], [0.2, 1.3]], "gap": 0.1, "uv": [0, 0, 1, 1]}
GLASSES = {
    "top": [[0, -0.3], [0.9, -0.3]], "bottom": [[0, 0.3], [0.9, 0.3]], "flat": [-0.5, 0.4], "uv": [0, 0, 1, 1],
}  # fmt: skip
GAITER = {"profile": [[0.4, 1.1, 1.5], [1.2, 1.0, 1.4], [2.2, 0.8, 1.0]], "angles": [-180, 180], "uv": [0, 0, 1, 1]}
NAMED = ("surgical", "n95", "kn95", "cloth", "ffp2")


def edges(panel):
    return np.array(panel["top"]), np.array(panel["bottom"])


def alpha_at(asset, style, size=1.0, yaw=0.0):
    """How opaque the mask is over each of the 468 points of the canonical face, 0..1, and the covered share."""
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    points = canonical_face() @ turn.T * SCALE + CENTRE
    grey = np.full((SIDE, SIDE, 3), 150, np.uint8)
    alpha = render(grey, asset, still(points, asset, min(asset.colourways), style, size)).alpha / 255.0
    x, y = np.rint(points[:, :2]).astype(int).T
    return alpha[y, x]


def test_worn_correctly_in_its_own_size_nothing_changes():
    geometry = {"panels": [SHEET], "ribbons": [LOOP]}
    assert worn_geometry(geometry) is geometry
    assert worn_geometry(geometry, "correct", 1.0) is geometry
    with pytest.raises(KeyError):
        worn_geometry(geometry, "backwards")


def test_a_size_scales_about_the_middle_and_leaves_the_ear_alone():
    geometry = {"panels": [SHEET], "ribbons": [LOOP]}
    small = worn_geometry(geometry, "correct", 0.5)
    for name, before, after in zip(("top", "bottom"), edges(SHEET), edges(small["panels"][0]), strict=True):
        middle = (0.2 + 1.9) / 2
        assert np.allclose(after, np.array([0, middle]) + 0.5 * (before - [0, middle])), name
    start, *_, end = small["ribbons"][0]["points"]
    assert end == LOOP["points"][-1]
    assert np.allclose(start[:2], [0.45, 1.05 + 0.5 * (0.68 - 1.05)])
    # The start keeps its distance to the cloth.
    off = [p[2] - float(taut_depth(np.array(p[0]), np.array(p[1]))) for p in (start, LOOP["points"][0])]
    assert off[0] == pytest.approx(off[1])
    assert geometry["panels"][0] is SHEET and SHEET["top"][0] == [0, 0.2], "the input is not written to"


@pytest.mark.parametrize("style", WORN)
def test_a_style_takes_the_edges_where_it_says(style):
    worn = worn_geometry({"panels": [SHEET], "ribbons": [LOOP]}, style)
    top, bottom = edges(worn["panels"][0])
    assert top[0].tolist() == [0, WORN[style].top] and bottom[0].tolist() == [0, WORN[style].bottom]
    moved_middle, moved_side = top[0, 1] - 0.2, top[-1, 1] - 0.62
    assert 0 < moved_side < 0.5 * moved_middle, "the sides hang on the ears"
    assert (np.diff(top[:, 0]) > 0).all() and (np.diff(bottom[:, 0]) > 0).all()
    assert worn["ribbons"][0]["points"][-1] == LOOP["points"][-1]
    start = worn["ribbons"][0]["points"][0]
    assert top[-1, 1] - 0.1 < start[1] < bottom[-1, 1] + 0.1, "the loop starts at the panel's side"


def test_a_valve_moves_with_its_mask_and_glasses_do_not():
    geometry = {"panels": [SHEET, VALVE, GLASSES], "ribbons": [LOOP]}
    worn = worn_geometry(geometry, "under-nose")
    mask, valve, glasses = worn["panels"]
    assert glasses["top"] == GLASSES["top"] or np.allclose(np.array(glasses["top"])[:, 1], -0.3)
    assert mask["top"][0][1] < valve["top"][0][1] < valve["bottom"][0][1] < mask["bottom"][0][1]
    # In proportion: 0.9 lies at 0.7 / 1.7 of the way from 0.2 to 1.9.
    expected = 0.8 + 0.7 / 1.7 * (2.0 - 0.8)
    assert valve["top"][0][1] == pytest.approx(expected, abs=1e-5)
    # Each scales about its own middle, the valve about its mask's.
    small = worn_geometry(geometry, "correct", 0.5)["panels"]
    assert small[2]["top"][-1] == pytest.approx([0.45, -0.15])
    assert small[1]["top"][0][1] == pytest.approx(1.05 + 0.5 * (0.9 - 1.05))


def test_what_goes_round_the_head_slides_along_it():
    geometry = {"panels": [GAITER], "ribbons": []}
    lowered = np.array(worn_geometry(geometry, "under-nose")["panels"][0]["profile"])
    assert lowered[0, 0] == pytest.approx(0.8) and lowered[-1, 0] == pytest.approx(2.2)
    assert lowered[0, 1] == pytest.approx(np.interp(0.8, [0.4, 1.2, 2.2], [1.1, 1.0, 0.8])), "the head's girth there"
    small = np.array(worn_geometry(geometry, "correct", 0.5)["panels"][0]["profile"])
    assert small[[0, -1], 0] == pytest.approx([0.85, 1.75])
    assert small[:, 1:].max() <= 1.5


def test_a_panel_given_whole_stays_whole():
    hand = {
        "top": [[-0.6, 0.5], [0.1, 0.4], [0.7, 0.6]], "bottom": [[-0.6, 1.5], [0.0, 1.7], [0.7, 1.4]], "gap": 0.1,
        "uv": [0, 0, 1, 1],
    }  # fmt: skip
    top, bottom = edges(worn_geometry({"panels": [hand]}, "correct", 0.8)["panels"][0])
    assert top[0, 0] == pytest.approx(0.05 + 0.8 * (-0.6 - 0.05)) and top[-1, 0] == pytest.approx(0.05 + 0.8 * 0.65)
    assert bottom[-1, 1] == pytest.approx(1.05 + 0.8 * (1.4 - 1.05))
    top, _ = edges(worn_geometry({"panels": [hand]}, "under-nose")["panels"][0])
    assert np.interp(0, *top.T) == pytest.approx(0.8, abs=0.02) and top[0, 1] > 0.5


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("size", [0.8, 1.0, 1.2])
def test_what_each_style_covers_and_leaves_free(name, size):
    """By landmarks: 1 the tip of the nose, 2 its base, 13 and 14 the lips, 152 the chin."""
    asset = select_assets(name)[0]
    nose, lips, chin = [1, 4, 5, 195], [13, 14], [152]
    covered = {style: alpha_at(asset, style, size) for style in STYLES}
    assert covered["correct"][lips].min() > 0.9
    if size >= 1:
        assert covered["correct"][nose].min() > 0.9 and covered["correct"][chin].min() > 0.9
    for style in ("under-nose", "mouth-only", "under-chin"):
        assert covered[style][nose].max() == 0, style
    assert covered["under-nose"][lips].min() > 0.9 and covered["under-nose"][199] > 0.9
    if size >= 1:
        assert covered["under-nose"][chin].min() > 0.9
    assert covered["mouth-only"][lips].min() > 0.9 and covered["mouth-only"][chin].max() == 0
    assert covered["under-chin"][lips].max() == 0
    assert covered["under-chin"][chin].min() > 0.9
    for style in STYLES:
        assert covered[style][[33, 133, 263, 362, 159, 386]].max() < 0.2, "no mask covers an eye"


def test_every_kind_of_mask_can_be_built_as_worn():
    one_of_each = {asset.kind: asset for asset in select_assets("all")}
    for asset in one_of_each.values():
        reach = np.abs(build_surface(asset.geometry).nodes).max()
        for style, size in [("correct", 0.4), ("correct", 1.5), *((style, 1.0) for style in asset.styles[1:])]:
            surface = build_surface(worn_geometry(asset.geometry, style, size))
            assert np.isfinite(surface.nodes).all() and np.isfinite(surface.binding).all(), asset.asset_id
            assert surface.uv.min() >= 0 and surface.uv.max() <= 1
            assert np.abs(surface.nodes).max() < max(3.0, 1.5 * reach), f"{asset.asset_id} {style} {size}"


def test_a_large_mask_ends_in_front_of_the_ears():
    panel = worn_geometry({"panels": [SHEET], "ribbons": [LOOP]}, "correct", 1.6)["panels"][0]
    for before, after in zip(edges(SHEET), edges(panel), strict=True):
        deep = taut_depth(*after.T)
        assert (deep <= np.maximum(1.0, taut_depth(*before.T)) + 1e-6).all()
        assert (np.diff(after[:, 0]) > 0).all()
    assert edges(panel)[0][1].tolist() == pytest.approx([1.6 * 0.4, 1.05 + 1.6 * (0.42 - 1.05)]), "well inside: evenly"
