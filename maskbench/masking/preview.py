"""Contact sheets: what the masks look like, and what a run made."""

from __future__ import annotations

from importlib.resources import files as package_files
from pathlib import Path

import cv2
import numpy as np

from maskbench import manifest
from maskbench.digest import bytes_sha256, generator
from maskbench.errors import ImageError
from maskbench.files import cache_root, inside
from maskbench.images import decode, read_bytes, read_image, write_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.placement import Jitter, sample
from maskbench.masking.render import render
from maskbench.types import MaskAsset

STRAIGHT = Jitter(0.0, 0.0, 0.0, 0.0)


def mannequins() -> list[Path]:
    """The rendered heads that come with maskbench; no real person."""
    return sorted(Path(str(package_files("maskbench.data"))).glob("mannequin-*.jpg"))


def contact_sheet(faces: list[Path], assets: list[MaskAsset], side: int = 224) -> np.ndarray:
    """One row per face, one column per mask (after the bare face): (rows * side, columns * side, 3) uint8 RGB.

    Raises:
        ImageError: a picture cannot be read or has no face.
    """
    landmarker = CachedLandmarker("auto", root=cache_root())
    rows = []
    for number, path in enumerate(faces):
        data = read_bytes(path)
        image = decode(data, str(path))
        found = landmarker.detect(image, bytes_sha256(data))
        if not found:
            raise ImageError(f"{path}: no face found; choose another picture")
        tiles = [image]
        for asset in assets:
            placement = sample(generator(number, asset.asset_id), asset, found[0], number, STRAIGHT)
            tiles.append(render(image, asset, placement).image)
        rows.append(np.hstack([_tile(tile, side) for tile in tiles]))
    return np.vstack(rows)


def before_after(faces_dir: Path, masked_dir: Path, out: Path, count: int = 8, side: int = 160) -> None:
    """Write a sheet of the first pictures of a run: originals above, masked below."""
    rows = [row for row in manifest.read_manifest(masked_dir / manifest.NAME) if row.status == "masked"]
    if not rows:
        raise ImageError(f"{masked_dir}: no picture could be masked; {manifest.NAME} there says why")
    chosen = rows[:: max(1, len(rows) // count)][:count]
    strips = [
        np.hstack([_tile(read_image(inside(folder, row.source)), side) for row in chosen])
        for folder in (faces_dir, masked_dir)
    ]
    write_image(out, np.vstack(strips))


def _tile(image: np.ndarray, side: int) -> np.ndarray:
    """The picture in a square of ``side`` pixels, its proportions kept."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, size, interpolation=method)
    tile = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile
