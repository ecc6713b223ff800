from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.masking.assets import list_assets, load_asset, shipped_root
from maskbench.masking.faults import (
    SOUND_PANEL,
    asset_faults,
    check_description,
    check_geometry,
    folders_of,
    name_faults,
)
from maskbench.masking.faults import _sound as sound_description
from maskbench.masking.geometry import build_surface
from maskbench.masking.looks import visible_cuts

SIDE = 256
PANEL = {
    "top": [[0, 0.2], [0.42, 0.44], [0.98, 0.62]], "bottom": [[0, 1.9], [0.62, 1.68], [0.97, 1.16]],
    "gap": 0.045, "tuck": 0.3, "uv": [0, 0, 1, 0.84],
}  # fmt: skip
START = min(
    build_surface({"panels": [PANEL]}).nodes.tolist(), key=lambda node: np.hypot(node[0] - 0.84, node[1] - 0.72)
)
STRAP = {"points": [START, [1.07, 0.35, 0.8], [1.16, -0.05, 1.34]], "width": 0.085, "uv": [0, 0.88, 1, 0.97]}


def atlas(margin: int = 8) -> np.ndarray:
    """A white sheet with margins and a soft edge, and a strap below that ends softly; RGBA."""
    texture = np.full((SIDE, SIDE, 4), 230, np.uint8)
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[margin : int(0.84 * SIDE) - margin, margin : SIDE - margin] = 255
    alpha[231:242, :230] = 255
    texture[..., 3] = cv2.blur(alpha, (5, 5)) if margin else alpha
    texture[231:242, :20, 3] = 255
    return texture


class Mask:
    """A folder with a mask that a test spoils."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "LICENSE").write_text("free")
        self.data = sound_description(folder.name) | {"geometry": {"panels": [PANEL], "ribbons": [STRAP]}}
        self.write()
        self.paint(atlas())

    def write(self, **values) -> None:
        self.data |= values
        data = {key: value for key, value in self.data.items() if value is not ...}
        (self.folder / "asset.json").write_text(json.dumps(data))

    def paint(self, texture: np.ndarray) -> None:
        cv2.imwrite(str(self.folder / "texture.png"), texture)

    def errors(self) -> list[str]:
        return [str(fault) for fault in asset_faults(self.folder) if fault.error]

    def warnings(self) -> list[str]:
        return [str(fault) for fault in asset_faults(self.folder) if not fault.error]


@pytest.fixture
def mask(tmp_path: Path) -> Mask:
    return Mask(tmp_path / "masks" / "mine")


def test_a_sound_mask_has_no_fault_and_neither_has_the_measure_of_soundness(mask: Mask):
    assert asset_faults(mask.folder) == []
    path = mask.folder / "asset.json"
    check_description(sound_description("mine"), path)
    check_geometry({"panels": [SOUND_PANEL]}, path)


@pytest.mark.slow
def test_the_shipped_masks_have_no_error():
    faults = [str(fault) for folder in list_assets().values() for fault in asset_faults(folder) if fault.error]
    assert faults == []


@pytest.mark.parametrize("name", ["surgical", "n95"])
def test_two_of_the_shipped_masks_have_no_fault(name: str):
    assert asset_faults(shipped_root() / name) == []


def test_every_fault_is_found_in_one_go_with_its_file(mask: Mask):
    bad_panel, bad_ribbon = PANEL | {"uv": [0, 0, 1, 7]}, {"points": [[0, 0, 0]], "width": 0.1, "uv": [0, 0, 1, 1]}
    mask.write(
        kind=..., colour="red", category="nice", colourways={"red": [300, 0, 0], "blue": 5, "ok": "skin"},
        regions=["lower", "nose"], texture="none.png",
        geometry={"panels": [PANEL, bad_panel, PANEL | {"gab": 1}], "ribbons": [STRAP, bad_ribbon, 5], "straps": []},
    )  # fmt: skip
    (mask.folder / "LICENSE").unlink()
    errors = mask.errors()
    for expected in (
        'asset.json: key "kind" is missing; add it',
        'asset.json: unknown key "colour"; did you mean "colourways"',
        "asset.json: category must be one of",
        'asset.json: colourway "red" must be',
        'asset.json: colourway "blue" must be',
        'asset.json: regions: "nose" is none of',
        "asset.json: geometry.panels[1]: ",
        'asset.json: geometry.panels[2]: unknown key "gab"; did you mean "gap"',
        "asset.json: geometry.ribbons[1]: ",
        "asset.json: geometry.ribbons[2]: not a JSON object",
        'asset.json: geometry: unknown key "straps"',
        "none.png: no such file; put the texture there",
        "LICENSE: no licence file; write down",
    ):
        assert sum(expected in error for error in errors) == 1, (expected, errors)
    assert len(errors) == 13
    assert all(error.startswith("error: ") and str(mask.folder) in error for error in errors)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": "other"}, 'id "other" differs from the folder'),
        ({"format_version": 1}, "format_version must be 2"),
        ({"geometry": {}}, "geometry.panels is missing or empty"),
        ({"geometry": []}, "geometry.panels is missing or empty"),
        ({"geometry": {"panels": [PANEL], "ribbons": 5}}, "geometry.ribbons must be a list"),
        ({"colourways": {}}, "colourways is empty"),
        ({"texture": "../texture.png"}, "texture: '../texture.png': not a relative path inside"),
        ({"texture": 5}, "texture must be a text"),
    ],
)
def test_a_single_fault_makes_a_single_line(mask: Mask, values: dict, message: str):
    mask.write(**values)
    errors = mask.errors()
    assert len(errors) == 1 and message in errors[0], errors


def test_a_folder_of_another_name_than_an_id_can_have(tmp_path: Path):
    mask = Mask(tmp_path / "My Mask")
    mask.write(category="nice")
    errors = mask.errors()
    assert len(errors) == 2 and any("id must be lower-case" in error for error in errors)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "not valid JSON"), ("[]", "not a JSON object; see docs/masks.md")],
)
def test_a_description_that_is_none(mask: Mask, content: str | None, message: str):
    (mask.folder / "asset.json").unlink()
    if content:
        (mask.folder / "asset.json").write_text(content)
    (error,) = mask.errors()
    assert "asset.json" in error and message in error


@pytest.mark.parametrize(
    ("texture", "message"),
    [
        (np.zeros((9, 9, 3), np.uint8), "not an 8-bit RGBA PNG"),
        (np.full((9, 9, 4), 900, np.uint16), "not an 8-bit RGBA PNG"),
        (np.full((9, 2049, 4), 255, np.uint8), "larger than 2048 pixels"),
        (np.zeros((SIDE, SIDE, 4), np.uint8), "wholly transparent"),
    ],
)
def test_a_texture_of_no_use(mask: Mask, texture: np.ndarray, message: str):
    mask.paint(texture)
    (error,) = mask.errors()
    assert "texture.png" in error and message in error


def test_a_part_of_the_texture_where_nothing_is_drawn(mask: Mask):
    texture = atlas()
    texture[225:, :, 3] = 0
    mask.paint(texture)
    (error,) = mask.errors()
    assert "geometry.ribbons[0] shows a wholly transparent part" in error


def test_texture_without_margins_is_a_warning_and_an_error_where_it_shows(mask: Mask):
    mask.paint(atlas(margin=0))
    (warning,) = mask.warnings()
    assert "geometry.panels[0]'s uv rectangle at the top (255), bottom (255), left (255), right (255)" in warning
    (error,) = mask.errors()
    assert "hard edge of the panels show" in error and "transparent margin" in error
    mask.write(coverage="high", shape="wide")  # such shapes are defined by their outline
    assert mask.errors() == [] and len(mask.warnings()) == 2


def test_a_lathes_ends_may_be_cut_behind_the_head_and_nowhere_else(mask: Mask):
    texture = atlas()
    texture[12:200, :, 3] = 255  # right to the left and the right border
    mask.paint(texture)
    lathe = {"profile": [[0.45, 1.25, 1.5], [1.9, 1.05, 1.3]], "uv": [0, 0, 1, 0.84], "axis": 1.1}
    mask.write(geometry={"panels": [lathe | {"angles": [-180, 180]}]})
    assert mask.errors() == [] and len(mask.warnings()) == 1
    mask.write(geometry={"panels": [lathe | {"angles": [-45, 45]}]})
    assert "hard edge of the panels" in mask.errors()[0]


@pytest.mark.parametrize(("aside", "deeper", "faults"), [(0.0, 0.0, 0), (0.0, 0.3, 0), (0.0, -0.45, 0), (0.25, 0.1, 1)])
def test_a_strap_is_sewn_to_a_panel_near_it_and_else_shows_an_open_end(
    mask: Mask, aside: float, deeper: float, faults: int
):
    start = [START[0] + aside, START[1], START[2] + deeper]
    strap = STRAP | {"points": [start, *STRAP["points"][1:]], "width": 0.2}
    mask.write(geometry={"panels": [PANEL], "ribbons": [strap]})
    load_asset.cache_clear()
    errors = mask.errors()
    assert len(errors) == faults
    assert all("hard edge of the ribbons" in error and "begin on a panel" in error for error in errors)


def test_visible_cuts_counts_no_border_that_lies_under_another_part(mask: Mask):
    small = {"top": [[0, 0.9], [0.3, 0.9]], "bottom": [[0, 1.3], [0.3, 1.3]], "gap": 0.03, "uv": [0, 0.905, 0.2, 0.93]}
    mask.write(geometry={"panels": [small, PANEL]})  # opaque to its border, but below the sheet
    assert visible_cuts(load_asset(mask.folder)) == {"panels": (0, 0.0), "ribbons": (0, 0.0)}
    load_asset.cache_clear()
    mask.write(geometry={"panels": [PANEL, small]})
    assert visible_cuts(load_asset(mask.folder))["panels"][0] > 100


def test_a_mask_behind_the_head_is_not_seen(mask: Mask):
    back = {"profile": [[0.3, 1.2, 1.5], [1.5, 1.2, 1.5]], "angles": [130, 180], "uv": [0, 0, 1, 0.84]}
    mask.write(geometry={"panels": [back]})
    assert any("nothing of it is seen" in error for error in mask.errors())


def test_regions_that_are_not_hidden_and_hidden_ones_that_are_not_named(mask: Mask):
    mask.write(regions=["eye", "lower"])
    assert ['regions says "eye"' in warning for warning in mask.warnings()] == [True]
    mask.write(regions=["top"])
    assert len(mask.warnings()) == 2 and any('hides the region "lower"' in warning for warning in mask.warnings())
    assert mask.errors() == []


def test_targets_are_ids_masks_and_folders_of_masks(mask: Mask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = Mask(tmp_path / "masks" / "other")
    (other.folder / "asset.json").unlink()  # still meant as a mask
    (tmp_path / "masks" / "notes").mkdir()
    both = [mask.folder, other.folder]
    assert folders_of([str(tmp_path / "masks")]) == both
    assert folders_of([str(mask.folder), "n95"]) == [mask.folder, shipped_root() / "n95"]
    assert folders_of(["mine"], [tmp_path / "masks"]) == [mask.folder]
    assert folders_of([], [tmp_path / "masks"]) == [*list_assets().values(), *both]
    monkeypatch.chdir(mask.folder)
    assert [folder.name for folder in folders_of(["."])] == ["mine"]
    with pytest.raises(MaskbenchError, match='no mask and no folder named "n59"; did you mean "n95"'):
        folders_of(["n59"])
    with pytest.raises(MaskbenchError, match="holds no mask"):
        folders_of([str(tmp_path / "masks" / "notes")])


def test_two_masks_of_one_name(mask: Mask, tmp_path: Path):
    shutil.copytree(mask.folder, tmp_path / "again" / "mine")
    folders = [mask.folder, tmp_path / "again" / "mine", mask.folder]
    (fault,) = name_faults(folders)  # one folder named twice is no fault
    assert fault.path == tmp_path / "again" / "mine" and f"exists at {mask.folder}; rename one" in fault.message
