from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from mask_photos import QUADRANTS, mask_photo, write_photo

from maskbench.errors import MaskbenchError
from maskbench.images import read_image
from maskbench.masking import newmask
from maskbench.masking.assets import list_assets, load_asset, select_assets, shipped_root
from maskbench.masking.faults import asset_faults
from maskbench.masking.geometry import build_surface
from maskbench.masking.inspect import draw_canonical
from maskbench.masking.newmask import make_mask

HALF, SIZE = (100, 62), (300, 260)


@pytest.fixture
def whole_photo(tmp_path: Path) -> Path:
    write_photo(tmp_path / "photo.png", mask_photo(-12, HALF, SIZE))
    return tmp_path / "photo.png"


@pytest.fixture
def photo(whole_photo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The photo, and no mannequins drawn for its preview: they take most of the time."""
    monkeypatch.setattr(newmask, "photo_sheet", lambda *_: np.zeros((8, 8, 3), np.uint8))
    return whole_photo


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_photo_becomes_a_mask_that_loads_and_passes_the_check(whole_photo: Path, tmp_path: Path):
    folder = tmp_path / "mine" / "four-colours"
    made = make_mask(whole_photo, folder, licence="CC0-1.0", strap_colour="#102030")
    assert sorted(contents(folder)) == ["LICENSE", "anchors.json", "asset.json", "preview.jpg", "texture.png"]
    assert list(folder.parent.iterdir()) == [folder]  # nothing left of the work
    preview = read_image(folder / "preview.jpg")
    assert preview.shape[1] == 3 * 448 and preview[100:400].std() > 20
    assert made.faults == [] and asset_faults(folder) == []
    (asset,) = select_assets("four-colours", folder.parent)
    assert asset.sha256 == made.asset.sha256
    surgical = load_asset(shipped_root() / "surgical")
    assert (asset.kind, asset.category, asset.licence) == ("surgical", "complex", "CC0-1.0")
    assert (asset.regions, asset.styles) == (surgical.regions, surgical.styles)
    assert asset.source == "made from the photo photo.png" and "CC0-1.0" in (folder / "LICENSE").read_text()
    assert json.loads((folder / "asset.json").read_text())["name"] == "Four colours"
    assert asset.texture[470, 100, :3] == pytest.approx([16, 32, 48], abs=3)


def test_on_a_face_each_part_of_the_photo_is_where_it_belongs(photo: Path, tmp_path: Path):
    asset = make_mask(photo, tmp_path / "m" / "mask").asset
    image = draw_canonical(asset, "photo").image
    for (x, y), colour in QUADRANTS.items():
        seen = image[round(288 + 128 * (1.06 + 0.4 * y)), round(256 + 128 * 0.4 * x)].astype(float)
        assert np.argmax(seen) == np.argmax(colour), (x, y)
        assert np.corrcoef(seen, colour)[0, 1] > 0.97, (x, y)


def test_corrected_anchors_are_kept_and_change_the_texture(photo: Path, tmp_path: Path):
    folder = tmp_path / "m" / "mask"
    first = make_mask(photo, folder).asset
    anchors = json.loads((folder / "anchors.json").read_text())
    same = make_mask(photo, folder, anchors=folder / "anchors.json", force=True).asset
    assert np.array_equal(first.texture, same.texture)
    anchors["top"][0] += 25
    del anchors["bottom"]  # placed again
    (tmp_path / "anchors.json").write_text(json.dumps(anchors))
    moved = make_mask(photo, folder, anchors=tmp_path / "anchors.json", force=True).asset
    again = json.loads((folder / "anchors.json").read_text())
    assert again["top"] == anchors["top"] and len(again) == 6
    # The top's middle now shows what lies to the right of it: its right neighbour's colour.
    assert first.texture[40, 240, 0] > 150 > moved.texture[40, 240, 0]


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ([], "not a JSON object"),
        ({"nose": [1, 2]}, 'unknown anchor "nose"; known: bottom'),
        ({"top": [1]}, r"top must be \[x, y\] in pixels within the photo's 300x260"),
        ({"top": [1, 260]}, r"top must be \[x, y\]"),
        ({"top": ["a", "b"]}, r"top must be \[x, y\]"),
        ({"left-top": [250, 100], "right-top": [50, 120]}, "do not follow the outline"),
    ],
)
def test_malformed_anchors_are_refused_and_nothing_is_changed(photo: Path, tmp_path: Path, anchors, message: str):
    folder = tmp_path / "m" / "mask"
    make_mask(photo, folder)
    before = contents(tmp_path / "m")
    (tmp_path / "anchors.json").write_text(json.dumps(anchors))
    with pytest.raises(MaskbenchError, match=message) as caught:
        make_mask(photo, folder, anchors=tmp_path / "anchors.json", force=True)
    assert str(tmp_path / "anchors.json") in str(caught.value) and contents(tmp_path / "m") == before


def test_a_folder_is_replaced_by_force_only_and_only_if_it_is_a_mask(photo: Path, tmp_path: Path):
    folder = tmp_path / "m" / "mask"
    make_mask(photo, folder, name="First")
    with pytest.raises(MaskbenchError, match="exists; choose another --id, or replace it with --force"):
        make_mask(photo, folder)
    make_mask(photo, folder, name="Second", force=True)
    assert json.loads((folder / "asset.json").read_text())["name"] == "Second"
    assert list(folder.parent.iterdir()) == [folder]
    (tmp_path / "m" / "letters").mkdir()
    with pytest.raises(MaskbenchError, match="is not a mask, so it is not replaced"):
        make_mask(photo, tmp_path / "m" / "letters", force=True)


@pytest.mark.parametrize("where", ["photo_sheet", "_swap"])
def test_a_failure_on_the_way_leaves_the_old_mask_and_no_rubbish(
    photo: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "m" / "mask"
    make_mask(photo, folder)
    before = contents(tmp_path / "m")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(newmask, where, fail)
    with pytest.raises(MaskbenchError, match="cannot be written .No space left on device"):
        make_mask(photo, folder, name="Other", force=True)
    assert contents(tmp_path / "m") == before and [p.name for p in (tmp_path / "m").iterdir()] == ["mask"]


def test_the_old_mask_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path):
    (tmp_path / "mask").mkdir()
    (tmp_path / "mask" / "old").touch()
    with pytest.raises(OSError, match="no-such"):
        newmask._swap(tmp_path / "no-such", tmp_path / "mask")
    assert contents(tmp_path) == {"mask/old": b""} and os.listdir(tmp_path) == ["mask"]


@pytest.mark.parametrize("ends", ["interrupted", "killed"])
@pytest.mark.parametrize("renames", [0, 1, 2])
def test_ending_the_program_at_any_rename_loses_no_mask(
    photo: Path, tmp_path: Path, renames: int, ends: str, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "m" / "mask"
    make_mask(photo, folder, name="First")
    before, left, rename = contents(tmp_path / "m"), [renames], Path.rename

    def ending(self: Path, target: Path):
        if not left[0]:
            left[0] = 99 if ends == "interrupted" else 0  # a dead process renames nothing more
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", ending)
        if ends == "killed":
            patch.setattr(newmask.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt) if renames < 2 else nullcontext():
            make_mask(photo, folder, name="Second", force=True)
    with pytest.raises(MaskbenchError, match="exists; choose another --id"):
        make_mask(photo, folder)
    name = json.loads((folder / "asset.json").read_text())["name"]
    assert name == ("First" if renames < 2 else "Second") and folder in list_assets(tmp_path / "m").values()
    if renames < 2:
        assert {path: data for path, data in contents(tmp_path / "m").items() if path.startswith("mask/")} == before
    assert not [entry for entry in os.listdir(folder.parent) if entry.endswith(".replaced")]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("My Mask", {}, '"My Mask" cannot be an id'),
        ("mask", {"strap_colour": "red"}, '"red" is not a colour; give #rrggbb'),
        ("mask", {"category": "nice"}, 'no category "nice"; known: complex'),
        ("mask", {"template": "surgcal"}, 'no mask named "surgcal"; did you mean "surgical"'),
        ("mask", {"template": "all"}, 'no mask named "all"; known: '),
        ("mask", {"template": "n95,kn95"}, 'no mask named "n95,kn95"'),
        ("mask", {"anchors": Path("none.json")}, "none.json: no such file"),
    ],
)
def test_options_of_no_use_are_refused_before_anything_is_written(photo: Path, tmp_path: Path, name, options, message):
    with pytest.raises(MaskbenchError, match=message):
        make_mask(photo, tmp_path / "m" / name, **options)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("panels", ["two", "lathe"])
def test_a_template_must_be_one_sheet(photo: Path, tmp_path: Path, panels: str):
    make_mask(photo, tmp_path / "m" / "lender")
    path = tmp_path / "m" / "lender" / "asset.json"
    data = json.loads(path.read_text())
    if panels == "two":
        data["geometry"]["panels"] *= 2
    else:
        lathe = {"profile": [[0.5, 1.2, 1.5], [1.9, 1.0, 1.2]], "angles": [-90, 90], "uv": [0, 0, 1, 0.8]}
        data["geometry"]["panels"] = [lathe]
    path.write_text(json.dumps(data))
    with pytest.raises(MaskbenchError, match="lender: not one sheet on the face"):
        make_mask(photo, tmp_path / "m" / "mask", template="lender", masks_dirs=[tmp_path / "m"])


def test_the_straps_begin_at_the_depth_of_the_panel(photo: Path, tmp_path: Path):
    for template in ("surgical", "n95"):
        asset = make_mask(photo, tmp_path / "m" / template, template=template).asset
        nodes = build_surface(asset.geometry).nodes
        assert asset.geometry["ribbons"]
        for ribbon in asset.geometry["ribbons"]:
            # Nodes lie up to 0.08 from one another.
            assert np.linalg.norm(nodes - ribbon["points"][0], axis=1).min() < 0.08
