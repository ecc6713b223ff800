from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mask_photos import QUADRANTS, mask_photo, write_photo

from maskbench.errors import ImageError
from maskbench.masking.anchors import Warp, auto_anchors
from maskbench.masking.phototexture import PANEL_SHARE, STRAP_SHARE, find_outline, read_photo, texture_of

STRAP = (30, 60, 90)


def made(photo: np.ndarray) -> np.ndarray:
    outline = find_outline(photo, Path("photo.png"))
    return texture_of(photo, Warp(outline, auto_anchors(outline)), STRAP)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    return made(mask_photo(angle=-14))


def test_the_turned_photo_is_upright_in_the_texture(texture: np.ndarray):
    assert texture.shape == (512, 512, 4) and texture.dtype == np.uint8
    rows = 512 * PANEL_SHARE
    for (x, y), colour in QUADRANTS.items():
        for reach in (0.3, 0.8):
            seen = texture[round(rows * (0.5 + 0.43 * y * reach)), round(512 * (0.5 + 0.46 * x * reach))]
            assert seen[:3] == pytest.approx(colour, abs=4) and seen[3] == 255


def test_the_edge_is_soft_within_its_margins_and_has_a_shadow(texture: np.ndarray):
    alpha = texture[: round(512 * PANEL_SHARE), :, 3].astype(int)
    for border in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
        assert border.max() == 0
    row = alpha[len(alpha) // 2]
    assert np.diff(row[:40]).max() < 128 and row[40] == 255  # several texels from nothing to all
    beside = texture[len(alpha) // 2, np.flatnonzero((row > 20) & (row < 90))]
    assert len(beside) > 4 and beside[:, :3].mean() < 60  # black with a small alpha
    assert alpha[:22, :22].max() < 128 < alpha[200, 21]  # the corner is round


def test_the_photos_background_does_not_bleed_in(texture: np.ndarray):
    panel = texture[: round(512 * PANEL_SHARE)].astype(int)
    opaque = panel[panel[..., 3] > 128][:, :3]
    # The greenest quadrant exceeds its red and blue by 110; the background would by 255.
    assert (opaque[:, 1] - opaque[:, [0, 2]].max(1)).max() < 135
    assert (np.abs(opaque - [250, 250, 250]).max(1) > 20).all()  # nor are the loops in it


def test_the_strap_has_its_colour_and_its_place(texture: np.ndarray):
    low, high = (round(512 * share) for share in STRAP_SHARE)
    middle = texture[(low + high) // 2]
    assert middle[:440, :3] == pytest.approx(np.tile(STRAP, (440, 1)), abs=3) and middle[:440, 3].min() > 250
    assert middle[-1, 3] == 0 and texture[low, :, 3].max() < 25 and texture[high - 1, :, 3].max() < 25
    assert texture[round(512 * PANEL_SHARE) : low, :, 3].max() == 0


def test_holes_stay_open_and_a_large_photo_gets_a_large_texture():
    photo = mask_photo(half=(460, 280), size=(1300, 900))
    cv2.circle(photo, (650, 450), 40, (0, 0, 0, 0), -1)
    texture = made(photo)
    assert texture.shape == (1024, 1024, 4)
    assert texture[round(512 * PANEL_SHARE), 512, 3] < 80 and texture[200, 512, 3] == 255
    # A shadow lies in the hole's rim, too; its middle is free.


def test_png_and_webp_with_8_or_16_bits_and_grey_with_alpha(tmp_path: Path):
    photo = mask_photo(half=(60, 50), size=(180, 160))
    for name in ("a.png", "b.webp"):
        write_photo(tmp_path / name, photo)
        assert np.abs(read_photo(tmp_path / name)[..., 3].astype(int) - photo[..., 3]).max() <= 8
    write_photo(tmp_path / "c.png", photo.astype(np.uint16) * 257)
    assert np.array_equal(read_photo(tmp_path / "c.png"), photo)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((200, 200, 3), np.uint8), "nothing is transparent"),
        (np.zeros((200, 200), np.uint8), "nothing is transparent"),
        (np.full((200, 200, 4), 255, np.uint8), "nothing is transparent"),
        (np.zeros((10, 8200, 4), np.uint8), "8200x10 pixels, more than 8192 a side; reduce"),
    ],
)
def test_a_photo_without_alpha_or_too_large_is_refused(tmp_path: Path, photo: np.ndarray, message: str):
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    with pytest.raises(ImageError, match=message) as caught:
        read_photo(tmp_path / "photo.png")
    assert str(caught.value).startswith(str(tmp_path / "photo.png"))


def test_what_is_no_picture_and_a_small_mask_are_refused(tmp_path: Path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match="not a readable PNG or WebP"):
        read_photo(path)
    path.write_bytes(cv2.imencode(".png", mask_photo())[1].tobytes()[:3000])
    with pytest.raises(ImageError, match="photo.png"):
        read_photo(path)
    with pytest.raises(ImageError, match=r"photo.png: the mask is \d+x\d+ pixels large, less than 96"):
        find_outline(mask_photo(half=(60, 40), size=(200, 200)), path)
    with pytest.raises(ImageError, match="photo.png: no pixel is opaque"):
        find_outline(np.zeros((200, 200, 4), np.uint8), path)
