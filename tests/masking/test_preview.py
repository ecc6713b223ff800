from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskbench.errors import ImageError, MaskbenchError
from maskbench.images import write_image
from maskbench.masking.assets import select_assets
from maskbench.masking.preview import (
    _bands,
    band_sheet,
    caption_strip,
    checkered,
    colour_sheet,
    contact_sheet,
    in_colour,
    mannequins,
    photo_sheet,
    tile,
)

SIDE = 96


def flat(value: int) -> np.ndarray:
    return np.full((40, 40, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("masks", "faces", "most", "bands"),
    [
        (6, 4, 10, [6]),
        (9, 4, 10, [9]),
        (10, 4, 10, [5, 5]),  # evenly, rather than 9 and 1
        (47, 4, 10, [8, 8, 8, 8, 8, 7]),
        (6, 1, 10, [6]),  # with the bare face 7 beside one another
        (24, 1, 10, [8, 9, 7]),  # rows of 9, the first one's bare face among them
        (1, 1, 2, [1]),
    ],
)
def test_bands_are_filled_evenly_and_hold_every_mask(masks: int, faces: int, most: int, bands: list[int]):
    assert _bands(masks, faces, most) == bands
    assert sum(bands) == masks and max(bands) + (faces > 1) <= most


@pytest.mark.parametrize("count", range(1, 60))
@pytest.mark.parametrize("faces", [1, 3])
def test_bands_never_lose_a_mask(count: int, faces: int):
    bands = _bands(count, faces, 7)
    assert sum(bands) == count and max(bands) <= 7 and (faces == 1 or max(bands) - min(bands) <= 1)


def test_a_sheet_has_each_picture_under_its_caption_in_its_row():
    columns = [[(name, flat(value)), (name, flat(value + 5))] for name, value in (("a", 10), ("b", 50), ("c", 90))]
    sheet = band_sheet([("", flat(200)), ("", flat(205))], iter(columns), [2, 1], 40)
    strip = caption_strip("a", 40).shape[0]
    assert sheet.shape == (2 * (strip + 80), 120, 3)
    for band, values in enumerate(((200, 10, 50), (200, 90))):
        top = band * (strip + 80) + strip
        for column, value in enumerate(values):
            for row in (0, 1):
                shown = sheet[top + 40 * row : top + 40 * row + 40, 40 * column : 40 * column + 40]
                assert (shown == value + 5 * row).all()
    assert (sheet[strip + 80 + strip :, 80:] == 255).all()  # the last band is shorter
    assert (sheet[:strip, :40] == 255).all() and (sheet[:strip, 40:80] < 100).any()


@pytest.mark.parametrize("width", [48, 96, 160, 224, 448])
def test_captions_fit_are_centred_and_are_high_enough_to_read(width: int):
    strip = caption_strip("nist-round", width)
    ink = strip.min(-1) < 128
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert strip.shape[1] == width and columns[0] > 0 and columns[-1] < width - 1
    assert abs(columns[0] + columns[-1] - (width - 1)) <= 4 or width < 96  # a line that ends in a hyphen is not
    assert rows[-1] - rows[0] >= 7


def test_long_captions_are_broken_at_hyphens_and_differ():
    one = caption_strip("cloth", 96).shape[0]
    assert caption_strip("cloth-houndstooth-winter", 96).shape[0] in (2 * one, 3 * one)
    assert caption_strip("surgical-printed", 224).shape[0] == caption_strip("cloth", 224).shape[0]
    assert (caption_strip("n95", 96) != caption_strip("n96", 96)).any()
    assert caption_strip("", 96).min() == 255


def test_the_contact_sheet_has_the_bare_faces_and_every_mask_once():
    assets = select_assets("surgical,n95,kn95")
    sheet = contact_sheet(mannequins()[:2], assets, SIDE)
    strip = sheet.shape[0] - 2 * SIDE
    assert sheet.shape[1] == 4 * SIDE and 10 < strip < 40
    tiles = sheet[strip:].reshape(2, SIDE, 4, SIDE, 3).swapaxes(1, 2).reshape(8, -1)
    assert len(np.unique(tiles, axis=0)) == 8
    for row in (0, 4):
        bare, masked = tiles[row], tiles[row + 1 : row + 4]
        changed = (masked != bare).mean(1)
        assert (changed > 0.03).all() and (changed < 0.3).all()  # the mask, and nothing but the mask


def test_one_face_makes_a_grid_with_its_bare_picture_first():
    assets = select_assets("surgical,n95,kn95,cloth")
    sheet = contact_sheet(mannequins()[:1], assets, SIDE, columns=3)
    assert sheet.shape[1] == 3 * SIDE
    strip = (sheet.shape[0] - 2 * SIDE) // 2
    rows = [sheet[strip + k * (strip + SIDE) :][:SIDE] for k in (0, 1)]
    tiles = [row[:, SIDE * c : SIDE * c + SIDE] for row in rows for c in range(3)]
    assert (tiles[5] == 255).all() and len({tile.tobytes() for tile in tiles}) == 6


def test_a_colour_is_used_on_every_mask_and_those_without_it_are_left_out():
    assets = select_assets("surgical,n95,cloth-check")
    assert [asset.asset_id for asset in in_colour(assets, "white")] == ["n95", "surgical"]
    assert in_colour(assets, None) == in_colour(assets, "#10a0F0") == assets
    with pytest.raises(MaskbenchError, match='no mask has a colour "whit"; give #rrggbb, or: did you mean "white"'):
        in_colour(assets, "whit")
    sheet = contact_sheet(mannequins()[:1], select_assets("surgical"), 224, "#ff0000")
    mouth = sheet[-224:, 224:][120:140, 105:118].reshape(-1, 3).mean(0)
    assert mouth[0] > 2.5 * mouth[1:].max()


def test_a_picture_without_a_face_is_refused_by_name(tmp_path: Path):
    write_image(tmp_path / "plain.png", np.full((200, 200, 3), 90, np.uint8))
    with pytest.raises(ImageError, match="plain.png: no face found; choose another"):
        contact_sheet([tmp_path / "plain.png"], select_assets("surgical"))


def test_the_colour_sheet_shows_every_colourway_with_its_swatch():
    (asset,) = select_assets("n95")
    sheet = colour_sheet(asset, SIDE)
    assert sheet.shape[1] == 3 * SIDE  # the texture and two colours
    for number, rgb in enumerate(asset.colourways.values(), start=1):
        corner = sheet[-5:, number * SIDE : number * SIDE + 8].reshape(-1, 3)
        assert corner == pytest.approx(np.tile(rgb, (len(corner), 1)), abs=2)


def test_the_photo_sheet_marks_the_anchors():
    (asset,) = select_assets("surgical")
    photo = np.full((100, 200, 4), (0, 0, 255, 255), np.uint8)
    sheet = photo_sheet(photo, {"top": (100.0, 20.0)}, asset)
    board = sheet[caption_strip("photo", 448).shape[0] :][:448, :448]
    # 200 x 100 pixels lie in the middle of 448 x 448: (100, 20) is at (224, 112 + 45).
    ring = np.argwhere((board.astype(int) @ [1, 0, 0] > 150) & (board[..., 2] < 120))
    assert len(ring) > 20 and ring.mean(0) == pytest.approx([158, 225], abs=3)


def test_tiles_keep_proportions_and_checkers_show_through_transparency():
    shown = tile(np.zeros((50, 100, 3), np.uint8), 80)
    assert (shown[:20] == 255).all() and (shown[60:] == 255).all() and (shown[20:60] == 0).all()
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[:, 16:] = (10, 20, 30, 255)
    board = checkered(rgba)
    assert (board[:, 16:] == [10, 20, 30]).all() and (board[0, 0] == 235).all() and (board[16, 0] == 205).all()
