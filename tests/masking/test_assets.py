from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.masking.assets import CATEGORIES, list_assets, load_asset, select_assets, shipped_root

PANEL = {"top": [[0, 0.2], [0.9, 0.6]], "bottom": [[0, 1.9], [0.9, 1.2]], "uv": [0, 0, 1, 1], "gap": 0.05}
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path):
    """A copy of a shipped mask that a test may spoil: (folder, change) where change edits asset.json."""
    folder = tmp_path / "masks" / "mine"
    shutil.copytree(shipped_root() / "cloth", folder)

    def change(**values):
        data = json.loads((folder / "asset.json").read_text())
        for key, value in values.items():
            data.pop(key) if value is None else data.__setitem__(key, value)
        (folder / "asset.json").write_text(json.dumps(data))

    change(id="mine")
    return folder, change


def test_the_six_first_masks_are_there_complete_and_licensed():
    assert set(list_assets()) == {"surgical", "n95", "kn95", "cloth", "cloth-check", "ffp2"}
    for asset in select_assets("all"):
        assert asset.category in CATEGORIES and asset.licence == "Apache-2.0" and len(asset.sha256) == 64
        assert asset.texture.shape == (512, 512, 4) and asset.texture[..., 3].max() == 255
        assert (shipped_root() / asset.asset_id / "LICENSE").read_text().strip()


def test_selection_by_name_and_the_nearest_one_for_a_typo():
    assert [a.asset_id for a in select_assets("n95, cloth,n95")] == ["cloth", "n95"]
    with pytest.raises(MaskbenchError, match='no mask named "surgcal"; did you mean "surgical"'):
        select_assets("surgcal")
    with pytest.raises(MaskbenchError, match="no mask given"):
        select_assets(" , ")


def test_a_user_adds_a_mask_by_adding_a_folder(copy):
    folder, _ = copy
    assert "mine" in list_assets(folder.parent)
    mine, cloth = load_asset(folder), load_asset(shipped_root() / "cloth")
    assert np.array_equal(mine.texture, cloth.texture) and mine.sha256 != cloth.sha256


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
        ({"kind": None}, 'key "kind" is missing'),
        ({"colour": "red"}, 'unknown key "colour"; did you mean "colourways"'),
        ({"format_version": 9}, "format_version must be 1"),
        ({"id": "other"}, "differs from the folder"),
        ({"category": "nice"}, "category must be one of"),
        ({"colourways": {}}, "colourways is empty"),
        ({"colourways": {"red": [300, 0, 0]}}, "three integers"),
        ({"geometry": {}}, "geometry.panel is missing"),
        ({"geometry": {"panel": {"top": [], "bottom": [], "uv": []}}}, "geometry.panel.gap is missing"),
        (
            {"geometry": {"panel": {"top": [[0.1, 0], [1, 1]], "bottom": [[0, 1], [1, 1]], "uv": [], "gap": 0}}},
            "from x = 0",
        ),
        ({"texture": "../../secret.png"}, "not a relative path inside"),
        ({"texture": "none.png"}, "not an 8-bit RGBA PNG"),
        ({"texture": 5}, "texture must be a text"),
        ({"colourways": ["white"]}, "colourways must map names"),
        ({"geometry": []}, "geometry.panel is missing"),
        ({"geometry": {"panel": PANEL | {"top": 5}}}, "geometry: TypeError"),
        ({"geometry": {"panel": PANEL | {"top": [["a", "b"], [1, 2]]}}}, "geometry: ValueError"),
        ({"geometry": {"panel": PANEL | {"uv": [0, 1]}}}, "geometry: ValueError"),
        ({"geometry": {"panel": PANEL | {"uv": [0, 0, 1, 7]}}}, "uv outside 0 to 1"),
        ({"geometry": {"panel": PANEL, "ribbons": [5]}}, "geometry: TypeError"),
        ({"geometry": {"panel": PANEL, "ribbons": [{"points": [[0, 0, 0]], "uv": [0, 0, 1, 1]}]}}, "geometry: "),
        ({"geometry": {"panel": PANEL, "tinted": "half"}}, "geometry: ValueError"),
    ],
)
def test_a_malformed_mask_is_refused_by_file_and_key(copy, values, message: str):
    folder, change = copy
    change(**values)
    with pytest.raises(MaskbenchError, match=message) as caught:
        load_asset(folder)
    assert "\n" not in str(caught.value) and "mine" in str(caught.value)


def test_a_texture_without_alpha_is_refused(copy):
    folder, _ = copy
    cv2.imwrite(str(folder / "texture.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(MaskbenchError, match="not an 8-bit RGBA PNG"):
        load_asset(folder)


def test_the_drawing_tool_makes_the_shipped_masks_again(tmp_path: Path):
    subprocess.run(
        [sys.executable, str(REPOSITORY / "tools/masks/draw.py"), str(tmp_path)], check=True, capture_output=True
    )
    for name, folder in list_assets().items():
        assert json.loads((tmp_path / name / "asset.json").read_text()) == json.loads(
            (folder / "asset.json").read_text()
        )
        made, shipped = (cv2.imread(str(f / "texture.png"), cv2.IMREAD_UNCHANGED) for f in (tmp_path / name, folder))
        assert np.abs(made.astype(int) - shipped).max() <= 1, name
