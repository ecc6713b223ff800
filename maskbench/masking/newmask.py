"""A user's own mask from one flat photo with an alpha channel: the photo is straightened into a texture, an existing
mask lends the shape and the straps (docs/masks.md has the steps)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import read_json, temporary_in, write_bytes, write_json, write_text
from maskbench.images import write_image
from maskbench.masking.anchors import ANCHORS, Warp, auto_anchors
from maskbench.masking.assets import CATEGORIES, FORMAT_VERSION, load_asset
from maskbench.masking.faults import asset_faults
from maskbench.masking.geometry import build_surface
from maskbench.masking.inspect import one_asset
from maskbench.masking.looks import Fault
from maskbench.masking.phototexture import PANEL_UV, STRAP_UV, find_outline, read_photo, texture_of
from maskbench.masking.preview import photo_sheet
from maskbench.registry import nearest
from maskbench.types import MaskAsset

Points = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Labels:
    """What is written about a new mask. ``asset_id`` becomes the folder's name."""

    asset_id: str
    name: str
    category: str
    kind: str
    licence: str
    source: str


@dataclass(frozen=True)
class NewMask:
    """What ``make_mask`` made: the mask, and the warnings about it."""

    asset: MaskAsset
    faults: list[Fault]


def read_anchors(path: Path, photo: np.ndarray) -> dict[str, tuple[float, float]]:
    """The named points of an anchors file: {"top": [x, y], ...} in pixels; all or some of ``ANCHORS``.

    Raises:
        MaskbenchError: not such a file, an unknown name, or a point outside the photo.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise MaskbenchError(f'{path}: not a JSON object of names and points, {{"top": [x, y], ...}}')
    height, width = photo.shape[:2]
    anchors = {}
    for name, point in data.items():
        if name not in ANCHORS:
            raise MaskbenchError(f'{path}: unknown anchor "{name}"; {nearest(name, ANCHORS)}')
        number = isinstance(point, list) and len(point) == 2 and all(isinstance(v, int | float) for v in point)
        if not number or not (0 <= point[0] <= width - 1 and 0 <= point[1] <= height - 1):
            raise MaskbenchError(f"{path}: {name} must be [x, y] in pixels within the photo's {width}x{height}")
        anchors[name] = (float(point[0]), float(point[1]))
    return anchors


def description_of(template: MaskAsset, labels: Labels) -> dict[str, Any]:
    """The ``asset.json`` of a new mask.

    Args:
        template: lends shape, straps, regions and wearing styles.

    Raises:
        MaskbenchError: the template has several panels, or one that goes round the head.
    """
    panels = template.geometry["panels"]
    if len(panels) != 1 or "profile" in panels[0]:
        raise MaskbenchError(
            f"{template.asset_id}: not one sheet on the face, so it cannot lend its shape; take another template, "
            "such as surgical"
        )
    panel = {**panels[0], "uv": PANEL_UV, "tinted": True}
    nodes = build_surface({"panels": [panel]}).nodes
    ribbons = [
        {**ribbon, "points": _from_panel(ribbon["points"], nodes), "uv": STRAP_UV, "tinted": False}
        for ribbon in template.geometry.get("ribbons", ())
    ]
    return {
        "format_version": FORMAT_VERSION,
        "id": labels.asset_id,
        "version": 1,
        "name": labels.name,
        "category": labels.category,
        "kind": labels.kind,
        "regions": list(template.regions),
        "styles": list(template.styles),
        "texture": "texture.png",
        "colourways": {"photo": [255, 255, 255]},
        "geometry": {"panels": [panel], "ribbons": ribbons},
        "licence": labels.licence,
        "source": labels.source,
    }


def _from_panel(points: Sequence[Sequence[float]], nodes: np.ndarray) -> list[list[float]]:
    """A ribbon's points, the first at the depth of the panel, so that no gap shows when the head turns."""
    start = np.array(points[0], np.float64)
    start[2] = nodes[np.argmin(((nodes - start)[:, :2] ** 2).sum(1)), 2]
    return [np.round(start, 4).tolist(), *(list(point) for point in points[1:])]


def make_mask(
    photo: Path, folder: Path, *, name: str | None = None, kind: str | None = None, category: str = "complex",
    licence: str = "not stated", source: str | None = None, template: str = "surgical", anchors: Path | None = None,
    strap_colour: str = "#eeeeec", force: bool = False, masks_dirs: Sequence[Path] = (),
) -> NewMask:  # fmt: skip
    """Make a mask from one flat photo of it with an alpha channel, and a picture of how it looks on the mannequins.

    Args:
        photo: PNG or WebP.
        folder: the new mask's; its name becomes the id. Its parent is made.
        name, kind, category, licence, source: written in ``asset.json``; None: from the id, the template, the photo.
        template: the mask that lends its shape, straps, regions and wearing styles.
        anchors: a file of named points on the photo; those it lacks, or all, are placed on the outline.
        strap_colour: "#rrggbb".
        force: replace a mask that is there.
        masks_dirs: further folders in which the template may lie.

    Raises:
        MaskbenchError: the photo, an option or the anchors are of no use, or the folder exists; nothing is written.
    """
    check_target(folder, force)
    strap = _colour(strap_colour)
    if category not in CATEGORIES:
        raise MaskbenchError(f'no category "{category}"; {nearest(category, CATEGORIES)}')
    lender = one_asset(template, *masks_dirs)
    labels = Labels(
        folder.name, name or folder.name.replace("-", " ").capitalize(), category, kind or lender.kind, licence,
        source or f"made from the photo {photo.name}",
    )  # fmt: skip
    description = description_of(lender, labels)
    picture = read_photo(photo)
    outline = find_outline(picture, photo)
    placed = auto_anchors(outline) | (read_anchors(anchors, picture) if anchors else {})
    try:
        texture = texture_of(picture, Warp(outline, placed), strap)
    except MaskbenchError as error:
        raise MaskbenchError(f"{anchors or photo}: {error}") from None
    return write_mask(folder, description, texture, placed, picture)


def _colour(text: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise MaskbenchError(f'"{text}" is not a colour; give #rrggbb')
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def check_target(folder: Path, force: bool) -> None:
    """Raise MaskbenchError if the name is no mask's, or the folder is there and may not be replaced. A mask that was
    being replaced when the program was killed is brought back first."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", folder.name):
        raise MaskbenchError(f'"{folder.name}" cannot be an id; use lower-case letters, digits and hyphens')
    try:
        recover(folder)
    except OSError as error:
        raise MaskbenchError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    if not folder.exists():
        return
    if not force:
        raise MaskbenchError(f"{folder}: exists; choose another --id, or replace it with --force")
    if not (folder / "asset.json").is_file():
        raise MaskbenchError(f"{folder}: is not a mask, so it is not replaced; choose another --id or --out")


def write_mask(
    folder: Path, description: Mapping[str, Any], texture: np.ndarray, anchors: Points, photo: np.ndarray
) -> NewMask:
    """Write a mask's folder as a whole: asset.json, texture.png, LICENSE, anchors.json and preview.jpg.

    Raises:
        MaskbenchError: the folder cannot be written, or what was made has a fault; then nothing is changed.
    """
    work = Path(temporary_in(folder.parent))
    fresh = work / folder.name
    try:
        write_text(fresh / "asset.json", json.dumps(description, indent=1, ensure_ascii=False) + "\n")
        write_bytes(fresh / "texture.png", _png(texture))
        write_text(fresh / "LICENSE", _licence_text(description))
        write_json(fresh / "anchors.json", {name: list(anchors[name]) for name in ANCHORS})
        faults = asset_faults(fresh)
        for fault in faults:
            if fault.error:
                raise MaskbenchError(f"not made: {fault.path.name}: {fault.message}")
        asset = load_asset(fresh)
        write_image(fresh / "preview.jpg", photo_sheet(photo, anchors, asset))
        _swap(fresh, folder)
    except OSError as error:
        reason = error.strerror or error
        raise MaskbenchError(f"{folder}: cannot be written ({reason}); choose another --out") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        load_asset.cache_clear()  # the folder may have held another mask
    return NewMask(asset, [replace(fault, path=folder / fault.path.name) for fault in faults])


def _swap(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` where ``folder`` is. The old one comes back if that fails or is interrupted; if the process is
    killed between the two renames, ``recover`` brings it back."""
    aside = _aside(folder)
    try:
        if folder.exists():
            aside.parent.mkdir(exist_ok=True)
            folder.rename(aside)
        fresh.rename(folder)
    finally:
        recover(folder)


def _aside(folder: Path) -> Path:
    """Where a mask waits while another takes its place: found again by its name, and by nobody who lists masks."""
    return folder.parent / f".{folder.name}.replaced" / folder.name


def recover(folder: Path) -> None:
    """Bring back a mask whose replacement was cut off; what has been replaced is deleted. Raises OSError."""
    aside = _aside(folder)
    if aside.is_dir() and not folder.exists():
        aside.rename(folder)
    shutil.rmtree(aside.parent, ignore_errors=True)


def _png(texture: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", cv2.cvtColor(texture, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ImageError(f"cannot encode a texture of {texture.shape}")
    return data.tobytes()


def _licence_text(description: Mapping[str, Any]) -> str:
    return (
        f"{description['name']}\n\nSource: {description['source']}\nLicence: {description['licence']}\n\n"
        "The shape and the straps were drawn for maskbench (Apache License, Version 2.0).\n"
    )
