from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.masking import assets, nist, recipe_file, wearing
from maskbench.masking.assets import (
    CATEGORIES,
    MAX_TEXTURE_SIDE,
    REGIONS,
    STYLES,
    list_assets,
    load_asset,
    select_assets,
    shipped_root,
)

PANEL = {"top": [[0, 0.2], [0.9, 0.6]], "bottom": [[0, 1.9], [0.9, 1.2]], "uv": [0, 0, 1, 1], "gap": 0.05}
LATHE = {"profile": [[-1.2, 1.3, 1.6], [-0.8, 1.2, 1.5]], "angles": [-90, 90], "uv": [0, 0, 1, 1]}
RIBBON = {"points": [[0.8, 0.7, 0.3], [1.1, 0.4, 0.9]], "width": 0.06, "uv": [0, 0.9, 1, 1]}
FIRST_SIX = {"surgical", "n95", "kn95", "cloth", "cloth-check", "ffp2"}
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path):
    """A copy of a shipped mask that a test may spoil: (folder, change) where change edits asset.json."""
    folder = tmp_path / "masks" / "mine"
    shutil.copytree(shipped_root() / "cloth", folder)

    def change(**values):
        data = json.loads((folder / "asset.json").read_text())
        for key, value in values.items():
            data.pop(key, None) if value is None else data.__setitem__(key, value)
        (folder / "asset.json").write_text(json.dumps(data))

    change(id="mine")
    return folder, change


def panels(*given: dict, **more) -> dict:
    """The values to change for a geometry of these panels."""
    return {"geometry": {"panels": list(given), **more}}


def test_every_shipped_mask_is_complete_and_licensed():
    assert set(list_assets()) >= FIRST_SIX
    for asset in select_assets("all"):
        assert asset.category in CATEGORIES and asset.licence == "Apache-2.0" and len(asset.sha256) == 64
        assert set(asset.regions) <= set(REGIONS) and asset.regions and "correct" in asset.styles
        assert set(asset.styles) <= set(STYLES)
        assert asset.texture[..., 3].max() > 200 and asset.texture[..., 3].min() == 0, asset.asset_id
        assert max(asset.texture.shape) <= MAX_TEXTURE_SIDE
        folder = shipped_root() / asset.asset_id
        assert (folder / "LICENSE").read_text().strip()
        assert {file.name for file in folder.iterdir()} == {"asset.json", "texture.png", "LICENSE"}


def test_no_two_shipped_masks_are_one():
    digests = [asset.sha256 for asset in select_assets("all")]
    assert len(set(digests)) == len(digests)


def test_selection_by_name_and_the_nearest_one_for_a_typo():
    assert [a.asset_id for a in select_assets("n95, cloth,n95")] == ["cloth", "n95"]
    assert [a.asset_id for a in select_assets("all")] == sorted(list_assets())
    with pytest.raises(MaskbenchError, match='no mask named "surgcal"; did you mean "surgical"'):
        select_assets("surgcal")
    with pytest.raises(MaskbenchError, match="no mask given"):
        select_assets(" , ")


def test_a_user_adds_a_mask_by_adding_a_folder(copy):
    folder, change = copy
    assert "mine" in list_assets(folder.parent)
    mine, cloth = load_asset(folder), load_asset(shipped_root() / "cloth")
    assert np.array_equal(mine.texture, cloth.texture) and mine.sha256 != cloth.sha256
    assert select_assets("mine", folder.parent)[0].asset_id == "mine"


def test_what_an_asset_says_arrives(copy):
    folder, change = copy
    change(
        regions=["lower", "eye"], styles=["correct", "under-nose"], coverage="low", shape="wide", category="hybrid",
        colourways={"own": "skin", "locks": "hair", "red": [200, 0, 7]},
    )  # fmt: skip
    mine = load_asset(folder)
    assert mine.regions == ("lower", "eye") and mine.styles == ("correct", "under-nose")
    assert (mine.coverage, mine.shape, mine.category) == ("low", "wide", "hybrid")
    assert mine.colourways == {"own": "skin", "locks": "hair", "red": (200, 0, 7)}


def test_styles_coverage_and_shape_may_be_left_out(copy):
    folder, change = copy
    change(styles=None, coverage=None, shape=None)
    mine = load_asset(folder)
    assert mine.styles == ("correct",) and mine.coverage == mine.shape == ""


def test_the_digest_follows_both_files(copy):
    folder, change = copy
    first = load_asset(folder).sha256
    picture = cv2.imread(str(folder / "texture.png"), cv2.IMREAD_UNCHANGED)
    load_asset.cache_clear()
    assert load_asset(folder).sha256 == first
    picture[200, 200, 0] ^= 1
    cv2.imwrite(str(folder / "texture.png"), picture)
    load_asset.cache_clear()
    second = load_asset(folder).sha256
    assert second != first
    change(**panels(PANEL))
    load_asset.cache_clear()
    assert load_asset(folder).sha256 not in (first, second)


def test_two_masks_of_one_name_and_a_missing_root(copy, tmp_path: Path):
    folder, _ = copy
    shutil.copytree(folder, tmp_path / "again" / "mine")
    with pytest.raises(MaskbenchError, match="a mask named mine exists"):
        list_assets(folder.parent, tmp_path / "again")
    with pytest.raises(MaskbenchError, match="is one mask; give the folder that holds it"):
        list_assets(folder)
    with pytest.raises(MaskbenchError, match="holds no mask"):
        list_assets(tmp_path)
    with pytest.raises(MaskbenchError, match="no such mask folder"):
        list_assets(tmp_path / "none")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": None}, 'key "kind" is missing; add it'),
        ({"regions": None}, 'key "regions" is missing; add it'),
        ({"licence": None}, 'key "licence" is missing; add it'),
        ({"colour": "red"}, 'unknown key "colour"; did you mean "colourways"'),
        ({"format_version": 9}, "format_version must be 2"),
        ({"format_version": 1}, "format_version must be 2"),
        ({"id": "other"}, "differs from the folder"),
        ({"category": "nice"}, "category must be one of simple, complex, human-body, hybrid"),
        ({"kind": ""}, "kind must be a text"),
        ({"texture": 5}, "texture must be a text"),
        ({"name": ["a"]}, "name must be a text"),
        ({"regions": []}, "regions must be a list out of lower, eye, upper, top"),
        ({"regions": "lower"}, "regions must be a list out of"),
        ({"regions": ["lower", "chin"]}, 'regions: "chin" is none of lower, eye, upper, top'),
        ({"styles": []}, "styles must be a list out of correct, under-nose"),
        ({"styles": ["backwards"]}, 'styles: "backwards" is none of correct'),
        ({"coverage": "full"}, "coverage must be one of high, medium, low"),
        ({"shape": "square"}, "shape must be one of wide, round"),
        ({"colourways": {}}, "colourways is empty"),
        ({"colourways": ["white"]}, "colourways must map names"),
        ({"colourways": {"red": [300, 0, 0]}}, 'colourway "red" must be three integers'),
        ({"colourways": {"red": [30, 0]}}, 'colourway "red" must be three integers'),
        ({"colourways": {"red": "rouge"}}, 'colourway "red" must be three integers 0 to 255, "skin" or "hair"'),
        ({"texture": "../../secret.png"}, "not a relative path inside"),
        ({"texture": "none.png"}, "none.png: cannot be read"),
    ],
)
def test_a_malformed_mask_is_refused_by_file_and_key(copy, values, message: str):
    refused(copy, values, message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"geometry": {}}, "geometry.panels is missing or empty"),
        ({"geometry": []}, "geometry.panels is missing or empty"),
        (panels(), "geometry.panels is missing or empty"),
        ({"geometry": {"panels": PANEL}}, "geometry.panels is missing or empty"),
        (panels(5), r"geometry.panels\[0\]: not a JSON object"),
        (panels(PANEL, {"bottom": [[0, 0], [1, 1]], "uv": [0, 0, 1, 1]}), r"geometry.panels\[1\].top is missing"),
        (panels({"top": PANEL["top"], "bottom": PANEL["bottom"]}), r"geometry.panels\[0\].uv is missing"),
        (panels({"profile": LATHE["profile"], "uv": [0, 0, 1, 1]}), r"geometry.panels\[0\].angles is missing"),
        (panels(PANEL | {"gpa": 1}), r'geometry.panels\[0\]: unknown key "gpa"; did you mean "gap"'),
        (panels(LATHE | {"gap": 1}), r'geometry.panels\[0\]: unknown key "gap"'),
        (panels(PANEL | {"top": [[0.1, 0], [1, 1]]}), r"panels\[0\].top must run from x = 0"),
        (panels(PANEL | {"top": [[0, 0], [0, 1]]}), r"panels\[0\].top must run from x = 0"),
        (panels(PANEL | {"bottom": [[0, 0]]}), r"panels\[0\].bottom must run from x = 0"),
        (panels(PANEL | {"top": 5}), r"panels\[0\].top must be a list of \[x, y\]"),
        (panels(PANEL | {"top": [["a", "b"], [1, 2]]}), r"panels\[0\].top must be a list of \[x, y\]"),
        (panels(PANEL | {"top": [[0, "b"], [1, 2]]}), "geometry: ValueError"),
        (panels(PANEL | {"uv": [0, 1]}), "geometry: ValueError"),
        (panels(PANEL | {"uv": [0, 0, 1, 7]}), "uv outside 0 to 1"),
        (panels(PANEL | {"uv": [-0.1, 0, 1, 1]}), "uv outside 0 to 1"),
        (panels(PANEL | {"gap": "near"}), "geometry: "),
        (panels(PANEL | {"gap": float("nan")}), "not finite|NaN"),
        (panels(PANEL | {"flat": 1}), "geometry: TypeError"),
        (panels(LATHE | {"angles": [90, -90]}), "angles must rise within -180 to 180"),
        (panels(LATHE | {"angles": [-190, 0]}), "angles must rise within -180 to 180"),
        (panels(LATHE | {"profile": [[0, 1, 1]]}), "geometry: "),
        (panels(LATHE | {"profile": 7}), "geometry: "),
        (panels(PANEL, ribbons=[5]), r"geometry.ribbons\[0\]: not a JSON object"),
        (panels(PANEL, ribbons=[RIBBON, RIBBON | {"wide": 1}]), r'geometry.ribbons\[1\]: unknown key "wide"'),
        (panels(PANEL, ribbons=[RIBBON | {"points": [[0, 0, 0]]}]), "a ribbon needs two points or more"),
        (panels(PANEL, ribbons=[RIBBON | {"points": [[0, 0], [1, 1]]}]), "geometry: ValueError"),
        (panels(PANEL, ribbons=[{"points": RIBBON["points"], "uv": [0, 0, 1, 1]}]), "geometry: KeyError: 'width'"),
        (panels(PANEL, tinted=True), 'geometry: unknown key "tinted"'),
    ],
)
def test_a_malformed_geometry_is_refused_by_file_and_key(copy, values, message: str):
    refused(copy, values, message)


def refused(copy, values, message: str) -> None:
    """Loading the changed mask fails in one line that names it."""
    folder, change = copy
    change(**values)
    with pytest.raises(MaskbenchError, match=message) as caught:
        load_asset(folder)
    assert "\n" not in str(caught.value) and "mine" in str(caught.value)


@pytest.mark.parametrize("data", [[1], "text", None, 7])
def test_what_is_no_object_is_refused(copy, data):
    folder, _ = copy
    (folder / "asset.json").write_text(json.dumps(data))
    with pytest.raises(MaskbenchError, match="not a JSON object"):
        load_asset(folder)


@pytest.mark.parametrize(
    "extra",
    [
        panels(LATHE, PANEL, ribbons=[RIBBON, RIBBON | {"mirror": False, "tinted": True}]),
        panels(PANEL | {"top": [[-0.9, 0.2], [0.2, 0.1], [0.9, 0.6]], "flat": [-0.4, 0.2], "two_sided": True}),
        panels(PANEL | {"fitted": True}),
        panels(PANEL | {"cup": 0.1, "ridge": 0.1, "shelf": 0.1, "tuck": 0.1, "tinted": False}),
        panels(LATHE | {"axis": 1.0, "two_sided": True, "tinted": False}),
    ],
)
def test_every_documented_key_is_accepted(copy, extra):
    folder, change = copy
    change(**extra)
    assert load_asset(folder).geometry == extra["geometry"]


def test_textures_without_alpha_too_large_or_too_deep_are_refused(copy):
    folder, _ = copy
    for picture, message in (
        (np.zeros((9, 9, 3), np.uint8), "not an 8-bit RGBA PNG"),
        (np.zeros((9, 9, 4), np.uint16), "not an 8-bit RGBA PNG"),
        (np.zeros((9, 9), np.uint8), "not an 8-bit RGBA PNG"),
        (np.zeros((9, MAX_TEXTURE_SIDE + 1, 4), np.uint8), "larger than 2048 pixels; reduce it"),
        (np.zeros((9, 1, 4), np.uint8), "smaller than 2 pixels a side; draw the mask larger"),
    ):
        cv2.imwrite(str(folder / "texture.png"), picture)
        with pytest.raises(MaskbenchError, match=message):
            load_asset(folder)


def test_a_texture_that_declares_to_be_huge_is_refused_before_it_is_decoded(copy, monkeypatch: pytest.MonkeyPatch):
    folder, _ = copy
    data = bytearray((folder / "texture.png").read_bytes())
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (folder / "texture.png").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(cv2, "imread", lambda *_: pytest.fail("decoded"))
    with pytest.raises(MaskbenchError, match="larger than 2048 pixels; reduce it"):
        load_asset(folder)


def test_the_words_of_a_description_are_those_of_recipes_and_of_what_draws_them():
    assert STYLES is wearing.STYLES is recipe_file.STYLES
    assert (nist.COVERAGES, nist.SHAPES) == (assets.COVERAGES, assets.SHAPES)
    assert recipe_file.COVERAGES is nist.COVERAGES and recipe_file.SHAPES is nist.SHAPES


def redrawn(out: Path, *names: str) -> dict[str, Path]:
    """The folders that the drawing tool makes: of these masks, or of all."""
    tool = REPOSITORY / "tools/masks/draw.py"
    subprocess.run([sys.executable, str(tool), str(out), *names], check=True, capture_output=True)
    return {folder.name: folder for folder in out.iterdir()}


def assert_as_shipped(name: str, folder: Path) -> None:
    shipped = shipped_root() / name
    described = json.loads((shipped / "asset.json").read_text())
    assert re.search(r"tools/masks/\w+\.py", described["source"])
    assert json.loads((folder / "asset.json").read_text()) == described
    made, kept = (cv2.imread(str(f / "texture.png"), cv2.IMREAD_UNCHANGED) for f in (folder, shipped))
    assert np.abs(made.astype(int) - kept).max() <= 1


def test_the_drawing_tool_makes_a_shipped_mask_again_and_twice_the_same_bytes(tmp_path: Path):
    names = ("surgical", "nist-round-low")
    first, second = (redrawn(tmp_path / run, *names) for run in ("first", "second"))
    assert set(first) == set(second) == set(names)
    for name in names:
        assert_as_shipped(name, first[name])
        for file in sorted(first[name].iterdir()):
            assert file.read_bytes() == (second[name] / file.name).read_bytes()


@pytest.mark.slow
def test_the_drawing_tool_makes_every_shipped_mask_again(tmp_path: Path):
    made = redrawn(tmp_path)
    assert set(made) == set(list_assets())
    for name, folder in made.items():
        assert_as_shipped(name, folder)
