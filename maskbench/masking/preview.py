"""Contact sheets: what the masks look like, and what a run made."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

import cv2
import numpy as np

from maskbench import manifest
from maskbench.digest import bytes_sha256, generator
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import cache_root, inside
from maskbench.images import decode, read_bytes, read_image, write_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.placement import Jitter, sample
from maskbench.masking.render import render
from maskbench.pixels import PAPER, tile
from maskbench.registry import nearest
from maskbench.types import Landmarks, MaskAsset

STRAIGHT = Jitter(0.0, 0.0, 0.0, 0.0)
WIDEST = 2400  # pixels; sheets that would be wider are wrapped
INK = (32, 32, 34)
Column = list[tuple[str, np.ndarray]]  # captioned pictures, one for each row
SUPERSAMPLING = 4  # OpenCV's stroke font is drawn this much larger and reduced, which makes it even


def mannequins() -> list[Path]:
    """The rendered heads that come with maskbench; no real person."""
    return sorted(Path(str(package_files("maskbench.data"))).glob("mannequin-*.jpg"))


@dataclass(frozen=True)
class Face:
    """A picture with a face: where it came from, its pixels, and the landmarks of its largest face."""

    path: Path
    image: np.ndarray
    landmarks: Landmarks


def read_faces(paths: Sequence[Path]) -> list[Face]:
    """Read pictures and find the largest face of each.

    Raises:
        ImageError: a picture cannot be read or has no face.
    """
    landmarker = CachedLandmarker("auto", root=cache_root())
    faces = []
    for path in paths:
        data = read_bytes(path)
        image = decode(data, str(path))
        found = landmarker.detect(image, bytes_sha256(data))
        if not found:
            raise ImageError(f"{path}: no face found; choose another picture")
        faces.append(Face(path, image, found[0]))
    return faces


def draw(face: Face, asset: MaskAsset, colour: str | None = None, seed: int = 0) -> np.ndarray:
    """The picture with the mask worn straight, (H, W, 3) uint8; ``colour`` None is one that ``seed`` chooses."""
    placement = sample(generator(seed, asset.asset_id), asset, face.landmarks, seed, STRAIGHT, colour)
    return render(face.image, asset, placement).image


def contact_sheet(
    faces: list[Path], assets: list[MaskAsset], side: int = 224, colour: str | None = None, columns: int | None = None
) -> np.ndarray:
    """The masks on the faces, each under its name, and the bare faces beside them.

    One face makes a grid. Several make rows, one for each face; masks that do not fit beside one another go into
    further bands below, each with its own names and bare faces.

    Args:
        side: of a tile in pixels.
        colour: a colourway's name, which all masks must have (see ``in_colour``), or "#rrggbb"; None chooses one for
            each face and mask.
        columns: tiles beside one another; None: as many as keep the sheet within ``WIDEST`` pixels, evenly filled.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: a picture cannot be read or has no face.
    """
    shown = read_faces(faces)
    bands = _bands(len(assets), len(shown), columns or max(2, WIDEST // side))
    return band_sheet([("", face.image) for face in shown], _drawn(shown, assets, colour), bands, side)


def _drawn(faces: list[Face], assets: list[MaskAsset], colour: str | None) -> Iterator[Column]:
    """For each mask its captioned pictures, one for each face."""
    for asset in assets:
        yield [(asset.asset_id, draw(face, asset, colour, number)) for number, face in enumerate(faces)]


def colour_sheet(asset: MaskAsset, side: int = 320) -> np.ndarray:
    """Every colourway of a mask on a mannequin, over a swatch of it, and the texture: (height, width, 3) uint8 RGB."""
    (face,) = read_faces(mannequins()[:1])
    tiles = [(asset.asset_id, checkered(asset.texture))]
    tiles += [(name, _with_swatch(draw(face, asset, name), value)) for name, value in asset.colourways.items()]
    columns = iter([[shown] for shown in tiles[1:]])
    return band_sheet(tiles[:1], columns, _bands(len(tiles) - 1, 1, max(2, WIDEST // 2 // side)), side)


def _with_swatch(picture: np.ndarray, value: tuple[int, int, int] | str) -> np.ndarray:
    """The picture with a block of the colour in its lower left corner; none for colours taken from the face."""
    if isinstance(value, str):
        return picture
    size = picture.shape[0] // 6
    out = picture.copy()
    out[-size:, :size] = 255
    out[-size + 3 :, : size - 3] = value
    return out


def photo_sheet(photo: np.ndarray, anchors: Mapping[str, tuple[float, float]], asset: MaskAsset) -> np.ndarray:
    """What became of a photo: the photo with its anchors, the texture, and the mask on the mannequins.

    Args:
        photo: (H, W, 4) uint8 RGBA.
        anchors: names to positions in the photo.
    """
    tiles = [("texture", checkered(asset.texture))]
    tiles += [(face.path.stem, draw(face, asset)) for face in read_faces(mannequins())]
    columns = iter([[shown] for shown in tiles])
    return band_sheet([("photo and anchors", _marked(photo, anchors))], columns, _bands(len(tiles), 1, 3), 448)


def _marked(photo: np.ndarray, anchors: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """The photo over a checkerboard, (448, 448, 3), with a ring and a name at each anchor."""
    side = 448
    height, width = photo.shape[:2]
    board = tile(checkered(photo, max(4, max(photo.shape) // 40)), side)
    scale = side / max(height, width)
    offset = (np.array([side, side]) - np.round(np.array([width, height]) * scale)) / 2
    for name, point in anchors.items():
        x, y = np.rint((np.array(point) + 0.5) * scale - 0.5 + offset).astype(int).tolist()
        cv2.circle(board, (x, y), 5, (255, 255, 255), 4, cv2.LINE_AA)
        cv2.circle(board, (x, y), 5, (200, 0, 60), 2, cv2.LINE_AA)
        wide = round(_text_width(name) * 0.42)
        left = int(np.clip(x - wide // 2, 2, side - wide - 2))
        for colour, stroke in (((255, 255, 255), 4), (INK, 1)):
            line = y - 12 if "top" in name else y + 22
            cv2.putText(board, name, (left, line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, stroke, cv2.LINE_AA)
    return board


def in_colour(assets: Sequence[MaskAsset], colour: str | None) -> list[MaskAsset]:
    """The masks that can be drawn in ``colour``: those with a colourway of this name; all for "#rrggbb" and None.

    Raises:
        MaskbenchError: none can.
    """
    if colour is None or re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        return list(assets)
    kept = [asset for asset in assets if colour in asset.colourways]
    if not kept:
        known = {name for asset in assets for name in asset.colourways}
        raise MaskbenchError(f'no mask has a colour "{colour}"; give #rrggbb, or: {nearest(colour, known)}')
    return kept


def _bands(masks: int, faces: int, most: int) -> list[int]:
    """How many masks each band shows, so that the bands are filled evenly.

    For several faces a band begins with the bare ones; for one face only the first does, and the rest is a grid.
    """
    if faces > 1:
        count = math.ceil(masks / max(1, most - 1))
        return [len(part) for part in np.array_split(np.arange(masks), count)]
    wide = math.ceil((masks + 1) / math.ceil((masks + 1) / most))
    return [min(wide, masks + 1 - start) - (start == 0) for start in range(0, masks + 1, wide)]


def band_sheet(first: Column, columns: Iterator[Column], bands: list[int], side: int) -> np.ndarray:
    """Assemble captioned pictures into bands of columns.

    Args:
        first: the column that begins the sheet, and every band of it when it has several rows.
        columns: the others; the caption of a column's first picture is shown.
        bands: how many columns each band takes.
        side: of a tile in pixels.
    """
    strips = []
    for number, count in enumerate(bands):
        taken = [next(columns) for _ in range(count)]
        if number == 0 or len(first) > 1:
            taken.insert(0, first)
        strips.append(_band(taken, side))
    wide = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 0), (0, wide - s.shape[1]), (0, 0)), constant_values=PAPER) for s in strips]
    return np.vstack(padded)


def _band(columns: list[Column], side: int) -> np.ndarray:
    captions = [caption_strip(column[0][0], side) for column in columns]
    high = max(strip.shape[0] for strip in captions)
    captions = [np.pad(s, ((high - s.shape[0], 0), (0, 0), (0, 0)), constant_values=PAPER) for s in captions]
    rows = zip(*([tile(picture, side) for _, picture in column] for column in columns), strict=True)
    return np.vstack([np.hstack(captions), *(np.hstack(row) for row in rows)])


def caption_strip(text: str, width: int) -> np.ndarray:
    """A white strip of ``width`` pixels with ``text`` centred, broken at hyphens and spaces where it must be.

    Capital letters are 11 pixels high on tiles of 224, and 7 at least, so that they can be read.
    """
    height = int(np.clip(round(width * 0.048), 7, 14))
    scale = height / 21.0  # capitals of Hershey Simplex are 21 pixels high at scale 1
    lines = _wrapped(text, (width - 4) / scale)
    pitch = round(height * 1.9)
    strip = np.full((pitch * len(lines) * SUPERSAMPLING, width * SUPERSAMPLING, 3), PAPER, np.uint8)
    for number, line in enumerate(lines):
        wide = _text_width(line) * scale
        x = max(0.0, (width - wide) / 2) * SUPERSAMPLING
        y = (pitch * number + (pitch + height) / 2 - 0.5) * SUPERSAMPLING
        stroke = max(1, round(height * SUPERSAMPLING / 9))
        cv2.putText(
            strip, line, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, scale * SUPERSAMPLING, INK, stroke, cv2.LINE_AA
        )
    return cv2.resize(strip, (width, pitch * len(lines)), interpolation=cv2.INTER_AREA)


def _text_width(text: str) -> float:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][0]


def _wrapped(text: str, room: float) -> list[str]:
    """Lines of at most ``room`` (in units of the font at scale 1); a single word may be longer."""
    lines = [""]
    for part in re.findall(r"[^- ]+[- ]?|[- ]", text.encode("ascii", "replace").decode()):
        if lines[-1] and _text_width((lines[-1] + part).rstrip()) > room:
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def before_after(faces_dir: Path, masked_dir: Path, out: Path, count: int = 8, side: int = 160) -> None:
    """Write a sheet of the first pictures of a run: originals above, masked below."""
    rows = [row for row in manifest.read_manifest(masked_dir / manifest.NAME) if row.status == "masked"]
    if not rows:
        raise ImageError(f"{masked_dir}: no picture could be masked; {manifest.NAME} there says why")
    chosen = rows[:: max(1, len(rows) // count)][:count]
    strips = [
        np.hstack([tile(read_image(inside(folder, row.source)), side) for row in chosen])
        for folder in (faces_dir, masked_dir)
    ]
    write_image(out, np.vstack(strips))


def checkered(rgba: np.ndarray, pitch: int = 16) -> np.ndarray:
    """An (H, W, 4) uint8 picture with straight alpha over a grey checkerboard: (H, W, 3) uint8."""
    rows, columns = np.indices(rgba.shape[:2]) // pitch
    board = np.where((rows + columns) % 2, 205, 235)[..., None].astype(np.float32)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.rint(rgba[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)
