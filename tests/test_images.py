from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench import images
from maskbench.errors import ImageError
from maskbench.images import (
    declared_size,
    decode,
    encode,
    is_grey,
    jpeg_quality,
    read_image,
    write_image,
)


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".PNG"])
def test_round_trip_in_colour(suffix: str, make_crop, tmp_path: Path):
    picture = make_crop(1, 60)[:, :50]
    data = write_image(tmp_path / f"a b.ü{suffix}", picture)
    assert declared_size(data) == (50, 60)
    back = read_image(tmp_path / f"a b.ü{suffix}")
    limit = 0 if suffix.lower() in (".png", ".bmp") else 30
    assert back.shape == picture.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - picture).max() <= limit


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".pgm", ".bmp"])
def test_greyscale_is_stored_as_one_channel_and_comes_back_grey(suffix: str, make_crop):
    grey = np.repeat(make_crop(2)[..., :1], 3, -1)
    data = encode(grey, suffix)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.ndim == 2 and is_grey(decode(data)) and declared_size(data) == (112, 112)


def test_colour_does_not_go_into_pgm(make_crop):
    with pytest.raises(ImageError, match="use .png"):
        encode(make_crop(0), ".pgm")
    with pytest.raises(ImageError, match="cannot write .gif"):
        encode(make_crop(0), ".gif")


def test_sixteen_bits_alpha_and_exif(make_crop):
    picture = make_crop(3)
    deep = cv2.imencode(".png", picture[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(decode(deep), picture)
    rgba = np.dstack([picture[..., ::-1], np.full(picture.shape[:2], 77, np.uint8)])
    assert np.array_equal(decode(cv2.imencode(".png", rgba)[1].tobytes()), picture)
    wide = picture[:60]
    plain = encode(wide, ".jpg")
    # Orientation 6: the camera was turned, the stored rows are the picture's columns.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert decode(turned).shape == (112, 60, 3)
    assert np.array_equal(decode(turned), np.rot90(decode(plain), -1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"just some text", "not a readable"),
        (b"\xff\xd8\xff", "not a readable"),
        (b"\x89PNG\r\n\x1a\n", "not a readable"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "not a readable"),
        (b"BM", "not a readable"),
        (b"P5 x", "not a readable"),
        (png_header(30_000, 30_000), "30000x30000 pixels exceed the limit"),
        (png_header(33_000, 2), "33000x2 pixels exceed the limit"),
        (png_header(9, 9), "damaged image|cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(data: bytes, message: str):
    with pytest.raises(ImageError, match=message) as caught:
        decode(data, "a.jpg")
    assert str(caught.value).startswith("a.jpg: ") and "\n" not in str(caught.value)


def test_truncated_files_are_refused_whole_ones_with_junk_behind_are_not(make_crop):
    for suffix in (".jpg", ".png", ".webp"):
        data = encode(make_crop(4), suffix)
        with pytest.raises(ImageError, match="truncated|damaged"):
            decode(data[: len(data) * 2 // 3])
        assert decode(data + b"\0\0junk").shape == (112, 112, 3)


def test_a_thumbnail_does_not_hide_that_the_picture_is_cut(make_crop):
    thumbnail = encode(make_crop(5, 16), ".jpg")
    whole = encode(make_crop(4), ".jpg")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    assert declared_size(with_thumbnail) == (112, 112)
    assert decode(with_thumbnail).shape == (112, 112, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode(with_thumbnail[:-400])


def test_files_missing_empty_and_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / "none.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match="empty file"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "big.png").write_bytes(b"x" * 2000)
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ImageError, match="exceeds the limit"):
        read_image(tmp_path / "big.png")


# Figure K.1 of ITU-T T.81, the example table for luminance.
ANNEX_K = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def test_the_sum_of_the_example_table():
    assert sum(ANNEX_K) == images.LUMINANCE_TABLE_SUM


@pytest.mark.parametrize("grey", [False, True])
def test_the_quality_of_a_jpeg_file_is_known(grey: bool, make_crop):
    picture = np.repeat(make_crop(1)[..., :1], 3, -1) if grey else make_crop(1)
    found = [jpeg_quality(encode(picture, ".jpg", quality)) for quality in range(1, 101)]
    assert np.abs(np.array(found) - np.arange(1, 101))[18:].max() <= 1
    # Coarser tables are cut off at 255, so that their sum says too little.
    assert found == sorted(found) and max(found[:18]) < 22


def test_quality_survives_thumbnails_sixteen_bit_tables_and_strange_files(make_crop):
    plain = encode(make_crop(1), ".jpg", 40)
    thumbnail = encode(make_crop(2, 16), ".jpg", 90)
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert jpeg_quality(plain[:2] + segment + plain[2:]) == jpeg_quality(plain) == 40
    table = b"\xff\xdb" + struct.pack(">HB", 131, 16) + struct.pack(">64H", *([300] * 64))
    assert jpeg_quality(plain[:2] + table + plain[2:]) == 40, "tables of 16 bits are passed over"
    worst = b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([255] * 64) + b"\xff\xd9"
    assert jpeg_quality(worst) == 11
    best = b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64) + b"\xff\xd9"
    assert jpeg_quality(best) in (99, 100)


def test_files_without_a_table_have_no_quality(make_crop):
    jpeg = encode(make_crop(1), ".jpg", 60)
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff", jpeg[:20], jpeg[2:], b"\xff\xd8\xff\xd9", b"GIF89a" + b"\0" * 90):
        assert jpeg_quality(data) == 0
    for suffix in (".png", ".webp", ".bmp"):
        assert jpeg_quality(encode(make_crop(1), suffix)) == 0
    assert jpeg_quality(encode(make_crop(1), ".jpg")) == images.JPEG_QUALITY


def test_any_cut_of_a_jpeg_is_read_without_complaint(make_crop):
    jpeg = encode(make_crop(1), ".jpg", 60)
    assert {jpeg_quality(jpeg[:length]) for length in range(200)} == {0, 60}


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_jpeg_of_a_given_quality(quality: int, make_crop):
    picture = make_crop(3)
    data = encode(picture, ".jpg", quality)
    expected = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    assert data == expected
    grey = np.repeat(picture[..., :1], 3, -1)
    stored = cv2.imdecode(np.frombuffer(encode(grey, ".jpg", quality), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.ndim == 2 and is_grey(decode(encode(grey, ".jpg", quality)))


def test_lossy_formats_take_a_quality_and_the_others_do_not(make_crop):
    picture = make_crop(3, 96)
    expected = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    assert encode(picture, ".jpg", 60) == expected and jpeg_quality(expected) == 60
    expected = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 60])[1].tobytes()
    assert encode(picture, ".webp", 60) == expected
    assert encode(picture, ".png", 60) == encode(picture, ".png")


def test_files_are_read_whole_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_bytes(b"x" * 70_000)
    assert images.read_bytes(tmp_path / "a") == images.read_bytes(str(tmp_path / "a")) == b"x" * 70_000
    assert images.read_bytes("/proc/version")  # a file that does not tell its size
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    refusals = {"empty": "empty file", "folder": "not a regular file", "fifo": "not a regular file"}
    for name, reason in {**refusals, "absent": "cannot be read", "loop": "cannot be read .Too many"}.items():
        with pytest.raises(ImageError, match=f"{name}: {reason}"):
            images.read_bytes(tmp_path / name)
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 69_999)
    with pytest.raises(ImageError, match="a: file of 70,000 bytes exceeds the limit of 69,999; reduce it"):
        images.read_bytes(tmp_path / "a")
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 3)
    with pytest.raises(ImageError, match="exceeds the limit"):
        images.read_bytes("/proc/version")
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in os.path.realpath(link)]


def test_grey_is_told_from_colour_in_one_pixel():
    picture = np.full((40, 30, 3), 77, np.uint8)
    picture[::3] = 200
    assert is_grey(picture) and is_grey(picture[5:, 3:]) and is_grey(picture[::2, ::3])
    for channel in range(3):
        other = picture.copy()
        other[39, 29, channel] += 1
        assert not is_grey(other)
