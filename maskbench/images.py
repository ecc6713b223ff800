"""The only place where images are decoded and encoded: EXIF applied, RGB uint8, size limits.

Headers are read before decoding, so that a huge picture is refused by its declared size and not by running out of
memory, and a JPEG cut short is refused although the decoder would fill the rest with grey.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from maskbench.datasets.folder import IMAGE_SUFFIXES
from maskbench.errors import ImageError
from maskbench.files import write_bytes

MAX_FILE_BYTES = 256 * 2**20
MAX_PIXELS = 64_000_000
MAX_SIDE = 30_000  # OpenCV and MediaPipe address pixels with 16 bits
JPEG_QUALITY = 95
WEBP_QUALITY = 95
LUMINANCE_TABLE_SUM = 3688  # of ITU-T T.81, table K.1


def read_bytes(path: Path | str) -> bytes:
    """The bytes of an image file.

    Raises:
        ImageError: the file is missing, unreadable, no regular file, empty or larger than ``MAX_FILE_BYTES``.
    """
    try:
        # Without O_NONBLOCK a named pipe that has taken the file's place would be waited for.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            data = _read_open(handle, path)
        finally:
            os.close(handle)
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its rights"
        ) from error
    if not data:
        raise ImageError(f"{path}: empty file; replace it")
    return data


def _read_open(handle: int, path: Path | str) -> bytes:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path}: not a regular file; replace it")
    blocks, size = [], found.st_size
    while size <= MAX_FILE_BYTES and (block := os.read(handle, max(found.st_size + 1, 2**16))):
        blocks.append(block)
        size = max(size, sum(map(len, blocks)))
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{path}: file of {size:,} bytes exceeds the limit of {MAX_FILE_BYTES:,}; reduce it")
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def decode(data: bytes, name: str = "image") -> np.ndarray:
    """Decode an image file's bytes.

    Greyscale becomes three equal channels, 16 bits become 8, an alpha channel is dropped, EXIF orientation is applied.

    Args:
        data: the file's bytes.
        name: what to call the image in messages.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        ImageError: not an image, truncated, or more than ``MAX_PIXELS`` pixels or ``MAX_SIDE`` on a side.
    """
    jpeg = _jpeg(data) if data[:2] == b"\xff\xd8" else None
    size = jpeg.size if jpeg else declared_size(data)
    if size is None:
        raise ImageError(f"{name}: not a readable JPEG, PNG, BMP, WebP or PGM image; convert or remove it")
    width, height = size
    if width * height > MAX_PIXELS or max(size) > MAX_SIDE:
        limit = f"{MAX_PIXELS:,} or {MAX_SIDE:,} a side"
        raise ImageError(f"{name}: {width}x{height} pixels exceed the limit of {limit}; reduce the picture")
    if _truncated(data, jpeg):
        raise ImageError(f"{name}: the file is truncated; fetch it again")
    # A quarter faster where the file has one channel.
    mode = cv2.IMREAD_GRAYSCALE if jpeg and jpeg.channels == 1 else cv2.IMREAD_COLOR_RGB
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded ({error.err}); convert or remove it") from error
    if image is None:
        raise ImageError(f"{name}: damaged image; fetch it again or remove it")
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image


def read_image(path: Path) -> np.ndarray:
    """Read an image file: (H, W, 3) uint8 RGB. Raises ImageError as ``read_bytes`` and ``decode`` do."""
    return decode(read_bytes(path), str(path))


def is_grey(image: np.ndarray) -> bool:
    """Whether the three channels of an (H, W, 3) image are equal everywhere."""
    first = cv2.extractChannel(image, 0)
    return all(cv2.norm(first, cv2.extractChannel(image, channel), cv2.NORM_INF) == 0 for channel in (1, 2))


def encode(image: np.ndarray, suffix: str, quality: int | None = None, grey: bool | None = None) -> bytes:
    """Encode an image in the format that a file suffix names.

    Args:
        image: (H, W, 3) uint8 RGB, or (H, W) uint8. Three equal channels are stored as one, so greyscale stays grey.
        suffix: ".jpg" and so on, any case.
        quality: 1 to 100, of JPEG and WebP, which are written at 95 by default; the others are lossless.
        grey: whether the channels are equal, where the caller knows.
    """
    suffix = suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ImageError(
            f"cannot write {suffix or 'a file without suffix'}; use one of {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if image.ndim == 3:
        grey = suffix != ".webp" and (is_grey(image) if grey is None else grey)
        image = cv2.extractChannel(image, 0) if grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if suffix == ".pgm" and image.ndim == 3:
        raise ImageError("cannot write colour to .pgm; use .png")
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality or JPEG_QUALITY],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality or JPEG_QUALITY],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality or WEBP_QUALITY],
    }
    done, buffer = cv2.imencode(suffix, image, options.get(suffix, []))
    if not done:
        raise ImageError(f"cannot encode an image of {image.shape} as {suffix}")
    return buffer.tobytes()


def recompress(image: np.ndarray, quality: int) -> np.ndarray:
    """What JPEG of an IJG quality of 1 to 100 makes of (H, W, 3) uint8 RGB, as colour."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(stored, cv2.IMREAD_COLOR_RGB)


def jpeg_quality(data: bytes) -> int:
    """The IJG quality, 1 to 100, of a JPEG file by its luminance table; 0 for other files.

    Source: the scaling of the example tables (ITU-T T.81, annex K) in the Independent JPEG Group's library, inverted
    for the table's sum. Below 20, where the tables clip at 255, it reads up to 8 too high.
    """
    if data[:2] != b"\xff\xd8":
        return 0
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF and data[offset + 1] != 0xDA:
        (length,) = struct.unpack(">H", data[offset + 2 : offset + 4])
        table = data[offset + 5 : offset + 69]
        if data[offset + 1] == 0xDB and length >= 67 and len(table) == 64 and data[offset + 4] == 0:
            percent = 100.0 * sum(table) / LUMINANCE_TABLE_SUM
            quality = (200.0 - percent) / 2 if percent <= 100 else 5000.0 / percent
            return int(min(max(round(quality), 1), 100))
        offset += 2 + length
    return 0


def write_image(path: Path, image: np.ndarray) -> bytes:
    """Write an image atomically in the format of the path's suffix; return the bytes written."""
    data = encode(image, path.suffix)
    write_bytes(path, data)
    return data


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) as the header of a JPEG, PNG, BMP, WebP or PGM file declares it; None for anything else."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack(">II", data[16:24])
        if data[:2] == b"\xff\xd8":
            return _jpeg(data).size
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width), abs(height)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:2] in (b"P2", b"P5"):
            return _pgm_size(data)
    except (struct.error, IndexError, ValueError):
        pass
    return None


class _Jpeg(NamedTuple):
    """What a JPEG's segments say: the frame's (width, height), its channels, and the offset of the first scan."""

    size: tuple[int, int] | None
    channels: int
    scan: int


def _jpeg(data: bytes) -> _Jpeg:
    """Read the segments up to the first scan. They are skipped by length, thumbnails too."""
    try:
        return _jpeg_walk(data)
    except struct.error:
        return _Jpeg(None, 0, len(data))


def _jpeg_walk(data: bytes) -> _Jpeg:
    size, channels, offset = None, 0, 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            break
        marker = data[offset + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill bytes and markers without length
            offset += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", data[offset + 2 : offset + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, channels = struct.unpack(">HHB", data[offset + 5 : offset + 10])
            size = (width, height)
        if marker == 0xDA:
            return _Jpeg(size, channels, offset)
        offset += 2 + length
    return _Jpeg(size, channels, len(data))


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _pgm_size(data: bytes) -> tuple[int, int]:
    lines = (line.split(b"#")[0] for line in data[2:1024].splitlines())
    tokens = b" ".join(lines).split()
    return int(tokens[0]), int(tokens[1])


def _truncated(data: bytes, jpeg: _Jpeg | None) -> bool:
    """Whether the end that the format promises is missing. Entropy-coded JPEG data cannot contain FF D9."""
    if jpeg:
        return data.rfind(b"\xff\xd9", jpeg.scan) < 0  # backwards: it is near the end
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data[-64:] and b"IEND" not in data
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False
