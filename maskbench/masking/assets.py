"""Load and validate mask assets: a folder with asset.json, texture.png and a licence file (docs/masks.md)."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskbench.digest import array_sha256, config_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import inside, read_json
from maskbench.registry import nearest
from maskbench.types import MaskAsset

FORMAT_VERSION = 1
CATEGORIES = ("simple", "complex", "human-body", "hybrid")
REQUIRED = (
    "format_version", "id", "version", "name", "category", "kind", "texture", "colourways", "geometry", "licence",
    "source",
)  # fmt: skip
MAX_TEXTURE_SIDE = 2048


def shipped_root() -> Path:
    """The folder of the masks that come with maskbench."""
    return Path(str(package_files("maskbench.mask_assets")))


def list_assets(*roots: Path) -> dict[str, Path]:
    """Asset ids to folders over the shipped masks and extra roots.

    Raises:
        MaskbenchError: two folders have one id, or a root does not exist.
    """
    found: dict[str, Path] = {}
    for root in (shipped_root(), *roots):
        if not root.is_dir():
            raise MaskbenchError(f"{root}: no such mask folder; give a folder of mask assets")
        for folder in sorted(root.iterdir()):
            if not (folder / "asset.json").is_file():
                continue
            if folder.name in found:
                raise MaskbenchError(f"{folder}: a mask named {folder.name} exists at {found[folder.name]}; rename one")
            found[folder.name] = folder
    return found


def select_assets(names: str, *roots: Path) -> list[MaskAsset]:
    """Load the masks that a comma-separated list names, or every one for "all"; sorted by id.

    Raises:
        MaskbenchError: a name is unknown; the message has the nearest one.
    """
    known = list_assets(*roots)
    chosen = sorted(known) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in known:
            raise MaskbenchError(f'no mask named "{name}"; {nearest(name, known)}')
    if not chosen:
        raise MaskbenchError("no mask given; name one, or use --mask all")
    return [load_asset(known[name]) for name in sorted(set(chosen))]


@lru_cache(maxsize=256)
def load_asset(folder: Path) -> MaskAsset:
    """Load one asset folder.

    Raises:
        MaskbenchError: a file is missing, a key is missing, unknown or malformed.
    """
    path = folder / "asset.json"
    data = read_json(path)
    _check(data, path)
    texture_path = inside(folder, data["texture"])
    texture = cv2.imread(str(texture_path), cv2.IMREAD_UNCHANGED) if texture_path.is_file() else None
    if texture is None or texture.ndim != 3 or texture.shape[2] != 4 or texture.dtype != np.uint8:
        raise MaskbenchError(f"{texture_path}: not an 8-bit RGBA PNG; draw the mask with an alpha channel")
    if max(texture.shape[:2]) > MAX_TEXTURE_SIDE:
        raise MaskbenchError(f"{texture_path}: larger than {MAX_TEXTURE_SIDE} pixels; reduce it")
    texture = cv2.cvtColor(texture, cv2.COLOR_BGRA2RGBA)
    return MaskAsset(
        asset_id=data["id"],
        version=data["version"],
        category=data["category"],
        kind=data["kind"],
        texture=texture,
        geometry=data["geometry"],
        colourways={name: tuple(rgb) for name, rgb in data["colourways"].items()},
        licence=data["licence"],
        source=data["source"],
        # Of the decoded texture, so that recompressing the file does not change the mask.
        sha256=config_sha256({**data, "texture": array_sha256(texture)}),
    )


def _check(data: Any, path: Path) -> None:
    """Raise MaskbenchError, naming the file and the key, unless ``data`` is a valid asset description."""

    def need(condition: bool, message: str) -> None:
        if not condition:
            raise MaskbenchError(f"{path}: {message}")

    need(isinstance(data, dict), "not a JSON object; see docs/masks.md")
    for key in data:
        need(key in REQUIRED, f'unknown key "{key}"; {nearest(key, REQUIRED)}')
    for key in REQUIRED:
        need(key in data, f'key "{key}" is missing; add it')
    need(data["format_version"] == FORMAT_VERSION, f"format_version must be {FORMAT_VERSION}")
    need(data["id"] == path.parent.name, f'id "{data["id"]}" differs from the folder\'s name; make them equal')
    need(bool(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", data["id"])), "id must be lower-case letters, digits and hyphens")
    need(data["category"] in CATEGORIES, f"category must be one of {', '.join(CATEGORIES)}")
    need(bool(data["colourways"]), "colourways is empty; give at least one name with its RGB")
    for name, rgb in data["colourways"].items():
        valid = isinstance(rgb, list) and len(rgb) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in rgb)
        need(valid, f'colourway "{name}" must be three integers 0 to 255')
    panel = data["geometry"].get("panel")
    need(isinstance(panel, dict), "geometry.panel is missing; see docs/masks.md")
    for key in ("top", "bottom", "uv", "gap"):
        need(key in panel, f"geometry.panel.{key} is missing; see docs/masks.md")
    for key in ("top", "bottom"):
        points = panel[key]
        ordered = len(points) >= 2 and all(a[0] < b[0] for a, b in zip(points, points[1:], strict=False))
        need(ordered and points[0][0] == 0, f"geometry.panel.{key} must run from x = 0 outwards")
    for ribbon in data["geometry"].get("ribbons", []):
        need({"points", "width", "uv"} <= set(ribbon), "a ribbon needs points, width and uv; see docs/masks.md")
