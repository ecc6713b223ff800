"""Sheets of completed faces for people to look at: before, where the mask is, after, and the original."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from maskbench.align import Template, align_face, template_at
from maskbench.completing_folder import CONDITION, CompletedFolder, CompletedRow
from maskbench.errors import ImageError
from maskbench.files import inside
from maskbench.images import read_image, write_image
from maskbench.inventory import Item
from maskbench.mask_sources import grown, look_at
from maskbench.masking.preview import caption_strip
from maskbench.pixels import PAPER, tile
from maskbench.segmenting import in_red, spread

SHEET, TILE, ACROSS, GAP = 24, 144, 2, 12  # faces on a sheet, pixels of a tile, faces in a row, pixels between them


def write_sheets(done: CompletedFolder, path: Path, most: int = SHEET) -> list[Path]:
    """Sheets of at most ``most`` completed faces, evenly spread over them: before, mask, after, and the original.

    Returns:
        The files: ``path``, and where it cannot hold all, ``STEM-2.png`` and so on.
    """
    shown = _shown(done, spread([row for row in done.rows if row.status == "completed"], most))
    written = []
    for number, start in enumerate(range(0, len(shown), SHEET), 1):
        page = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        write_image(page, _page(shown[start : start + SHEET]))
        written.append(page)
    return written


Shown = tuple[str, list[tuple[str, np.ndarray]]]  # a file's name, and its pictures with what they are


def _shown(done: CompletedFolder, rows: Sequence[CompletedRow]) -> list[Shown]:
    spec, source = done.occlusion.completion.spec, done.occlusion.source
    template = template_at(spec.template, spec.input_size)
    files = [inside(done.images, row.source) for row in rows]
    points, shown = done.faces.points(files), []
    for row, file in zip(rows, files, strict=True):
        where = points[file]
        if isinstance(where, str):
            continue
        image = read_image(file)
        face = align_face(image, where, template)
        item = Item(row.source, CONDITION, file, row.source_sha256)
        mask = source.masks([look_at(item, image, where, template)])[0]
        if isinstance(mask, str):
            continue
        hidden = grown(mask, done.occlusion.dilate)[..., None] == 1
        after = read_image(inside(done.out, row.output))
        pictures = [("before", face), ("mask", in_red(face, hidden)), ("after", after)]
        if done.faces.originals is not None:
            pictures.append(("original", _aligned(inside(done.faces.originals, row.source), where, template)))
        shown.append((row.source, pictures))
    return shown


def _aligned(path: Path, points: np.ndarray, template: Template) -> np.ndarray:
    """The original in the same crop; white where there is none."""
    try:
        return align_face(read_image(path), points, template)
    except ImageError:
        return np.full((*template.size, 3), PAPER, np.uint8)


def _page(shown: Sequence[Shown]) -> np.ndarray:
    """A picture of rows of faces, each face a block of tiles over its name; what the tiles are stands on top."""
    blocks = [_block(name, pictures) for name, pictures in shown]
    high, wide = max(block.shape[0] for block in blocks), blocks[0].shape[1]
    columns = min(ACROSS, len(blocks))
    heads = np.hstack([caption_strip(label, TILE) for label, _ in shown[0][1]])
    blank = np.full((high, wide, 3), PAPER, np.uint8)
    blocks = [np.vstack([block, blank[: high - len(block)]]) for block in blocks] + [blank] * (-len(blocks) % columns)
    rows = [[heads] * columns] + [blocks[i : i + columns] for i in range(0, len(blocks), columns)]
    return np.vstack([_apart(row) for row in rows])


def _apart(row: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height beside one another, white around them."""
    return np.hstack([np.pad(one, ((0, GAP), (GAP, GAP), (0, 0)), constant_values=PAPER) for one in row])


def _block(name: str, pictures: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    tiles = np.hstack([tile(picture, TILE, cv2.INTER_LINEAR) for _, picture in pictures])
    return np.vstack([tiles, caption_strip(name, tiles.shape[1])[: 2 * TILE]])
