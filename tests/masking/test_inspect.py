from __future__ import annotations

import json

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import LEFT_EYE, NOSE_TIP, RIGHT_EYE
from maskbench.masking.assets import list_assets, load_asset, select_assets
from maskbench.masking.inspect import (
    CANVAS,
    MIDDLE,
    UNIT,
    canonical_view,
    choose_assets,
    draw_canonical,
    nominal_coverage,
    summary,
)


@pytest.fixture(scope="module")
def surgical():
    return select_assets("surgical")[0]


def test_the_canonical_view_has_its_eyes_where_it_says_and_turns_about_the_head():
    front = canonical_view().points
    eyes = [front[list(group)].mean(0) for group in (LEFT_EYE, RIGHT_EYE)]
    assert (eyes[0] + eyes[1])[:2] / 2 == pytest.approx(MIDDLE, abs=3)
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(UNIT, rel=0.03)
    turned = canonical_view(40.0).points
    assert turned[NOSE_TIP, 0] > front[NOSE_TIP, 0] + 0.5 * UNIT  # to the picture's right
    distances = [np.linalg.norm(p[:100, None] - p[None, 100:200], axis=-1) for p in (front, turned)]
    assert distances[0] == pytest.approx(distances[1], abs=0.01)  # rigid


def test_the_canonical_picture_shows_the_mask_below_the_eyes(surgical):
    drawn = draw_canonical(surgical, "#ff0000")
    assert drawn.image.shape == (*CANVAS, 3)
    rows = np.flatnonzero((drawn.alpha[:, MIDDLE[0] - 20 : MIDDLE[0] + 20] > 200).any(1))
    # The panel's top lies at y = 0.20, its bottom at 1.92, both a margin of 3.5 % in.
    assert rows[0] == pytest.approx(MIDDLE[1] + (0.20 + 0.06) * UNIT, abs=8) and rows[-1] < MIDDLE[1] + 1.95 * UNIT
    middle = drawn.image[MIDDLE[1] + UNIT, MIDDLE[0]]
    assert middle[0] > 2 * middle[1:].max()


def test_nominal_coverage_orders_the_shapes_by_their_definition(surgical):
    by_id = {asset.asset_id: nominal_coverage(asset) for asset in select_assets("all") if asset.coverage}
    for shape in ("wide", "round"):
        covers = [by_id[f"nist-{shape}-{level}"] for level in ("low", "medium", "high")]
        assert covers == sorted(covers) and covers[2] - covers[0] > 0.05
    assert 0.3 < nominal_coverage(surgical) < 0.6


def test_the_summary_agrees_with_the_file_and_is_json(surgical):
    folder = list_assets()["surgical"]
    facts, data = summary(surgical, folder), json.loads((folder / "asset.json").read_text())
    assert json.loads(json.dumps(facts)) == facts
    for key in ("id", "name", "version", "category", "kind", "regions", "styles", "colourways", "licence", "source"):
        assert facts[key] == data[key]
    assert facts["sha256"] == surgical.sha256 and facts["texture"] == [512, 512]
    assert (facts["geometry"]["sheets"], facts["geometry"]["lathes"], facts["geometry"]["ribbons"]) == (1, 0, 2)
    assert facts["covered_fraction"] == nominal_coverage(surgical)


def test_masks_are_chosen_by_category_kind_and_region():
    every = select_assets("all")
    simple = choose_assets(every, category=["simple"])
    assert {asset.category for asset in simple} == {"simple"} and len(simple) < len(every)
    both = choose_assets(every, category=["simple", "complex"], kind=["cloth"])
    assert {(asset.category, asset.kind) for asset in both} == {("simple", "cloth"), ("complex", "cloth")}
    assert choose_assets(every) == every
    assert all("lower" in asset.regions for asset in choose_assets(every, region=["lower"]))
    with pytest.raises(MaskbenchError, match='no category "simpel" among the masks; did you mean "simple"'):
        choose_assets(every, category=["simpel"])
    with pytest.raises(MaskbenchError, match='no kind "n59" among the masks; did you mean "n95"'):
        choose_assets(every, kind=["n59"])
    with pytest.raises(MaskbenchError, match='no region "nose" among the masks'):
        choose_assets(every, region=["nose"])
    with pytest.raises(MaskbenchError, match="no mask is all of that"):
        choose_assets([load_asset(list_assets()["n95"])], region=["top"])
