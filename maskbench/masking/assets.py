"""Load and validate mask assets: a folder with asset.json, texture.png and a licence file (docs/masks.md)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskbench.digest import config_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import inside, read_json
from maskbench.images import declared_size, read_bytes
from maskbench.masking.geometry import build_surface
from maskbench.masking.nist import COVERAGES, SHAPES
from maskbench.masking.wearing import STYLES
from maskbench.registry import nearest
from maskbench.types import MaskAsset

FORMAT_VERSION = 2
CATEGORIES = ("simple", "complex", "human-body", "hybrid")
REGIONS = ("lower", "eye", "upper", "top")
FROM_THE_FACE = ("skin", "hair")  # colourways that are measured on the face itself
REQUIRED = (
    "format_version", "id", "version", "name", "category", "kind", "regions", "texture", "colourways", "geometry",
    "licence", "source",
)  # fmt: skip
OPTIONAL = ("styles", "coverage", "shape")
PANEL_KEYS = {
    "sheet": {"top", "bottom", "uv", "gap", "cup", "ridge", "shelf", "tuck", "flat", "fitted", "tinted", "two_sided"},
    "lathe": {"profile", "angles", "axis", "uv", "tinted", "two_sided"},
}
RIBBON_KEYS = {"points", "width", "uv", "mirror", "tinted"}
MAX_TEXTURE_SIDE = 2048
LEAST_TEXTURE_SIDE = 2  # texels are drawn two by two


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
        if (root / "asset.json").is_file():
            raise MaskbenchError(f"{root}: is one mask; give the folder that holds it, {root.resolve().parent}")
        names = [name for name in sorted(os.listdir(root)) if os.path.isfile(f"{root}/{name}/asset.json")]
        if not names:
            raise MaskbenchError(f"{root}: holds no mask (no NAME/asset.json); give a folder of mask assets")
        for name in names:
            if name in found:
                raise MaskbenchError(f"{root / name}: a mask named {name} exists at {found[name]}; rename one")
            found[name] = root / name
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


class FolderAsset(MaskAsset):
    """A mask in a folder; its texture is decoded when it is first used, since most runs use few of many masks."""

    folder: Path
    texture_name: str

    @cached_property
    def texture(self) -> np.ndarray:  # type: ignore[override]
        """(H, W, 4) uint8 RGBA, straight alpha. Raises MaskbenchError as ``load_asset`` does."""
        return _read_texture(inside(self.folder, self.texture_name))

    @cached_property
    def sha256(self) -> str:  # type: ignore[override]
        """Over the bytes of both files."""
        files = [self.folder / "asset.json", inside(self.folder, self.texture_name)]
        return config_sha256([file_sha256(path) for path in files])


@lru_cache(maxsize=512)
def load_asset(folder: Path) -> MaskAsset:
    """Load one asset folder. Masks that come with maskbench are trusted to be as its tests leave them.

    Raises:
        MaskbenchError: a file is missing, a key is missing, unknown or malformed.
    """
    path = folder / "asset.json"
    data = read_json(path)
    check_description(data, path)
    asset = object.__new__(FolderAsset)  # the fields of MaskAsset but for the two that are made when they are used
    asset.__dict__.update(
        folder=folder,
        texture_name=data["texture"],
        asset_id=data["id"],
        version=data["version"],
        category=data["category"],
        kind=data["kind"],
        geometry=data["geometry"],
        colourways={name: rgb if isinstance(rgb, str) else tuple(rgb) for name, rgb in data["colourways"].items()},
        licence=data["licence"],
        source=data["source"],
        regions=tuple(data["regions"]),
        styles=tuple(data.get("styles", STYLES[:1])),
        coverage=data.get("coverage", ""),
        shape=data.get("shape", ""),
    )
    if folder.parent != shipped_root():
        check_geometry(data["geometry"], path)
        _ = asset.texture, asset.sha256  # what a user may move or delete is read at once
    return asset


def _read_texture(path: Path) -> np.ndarray:
    data = read_bytes(path)
    declared = declared_size(data)
    if declared is not None and max(declared) > MAX_TEXTURE_SIDE:  # known before it takes the memory
        raise MaskbenchError(f"{path}: larger than {MAX_TEXTURE_SIDE} pixels; reduce it")
    texture = None if declared is None else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if texture is None or texture.ndim != 3 or texture.shape[2] != 4 or texture.dtype != np.uint8:
        raise MaskbenchError(f"{path}: not an 8-bit RGBA PNG; draw the mask with an alpha channel")
    if min(texture.shape[:2]) < LEAST_TEXTURE_SIDE:
        raise MaskbenchError(f"{path}: smaller than {LEAST_TEXTURE_SIDE} pixels a side; draw the mask larger")
    return cv2.cvtColor(texture, cv2.COLOR_BGRA2RGBA)


def check_description(data: Any, path: Path) -> None:
    """Raise MaskbenchError, naming the file and the key, unless ``data`` is a valid asset description."""

    def need(condition: bool, message: str) -> None:
        if not condition:
            raise MaskbenchError(f"{path}: {message}")

    need(isinstance(data, dict), "not a JSON object; see docs/masks.md")
    for key in data:
        if key not in REQUIRED + OPTIONAL:
            need(False, f'unknown key "{key}"; {nearest(key, REQUIRED + OPTIONAL)}')
    for key in REQUIRED:
        need(key in data, f'key "{key}" is missing; add it')
    need(data["format_version"] == FORMAT_VERSION, f"format_version must be {FORMAT_VERSION}")
    need(data["id"] == path.parent.name, f'id "{data["id"]}" differs from the folder\'s name; make them equal')
    need(
        bool(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(data["id"]))),
        "id must be lower-case letters, digits and hyphens",
    )
    need(data["category"] in CATEGORIES, f"category must be one of {', '.join(CATEGORIES)}")
    for key in ("name", "kind", "texture", "licence", "source"):
        need(isinstance(data[key], str) and bool(data[key]), f"{key} must be a text")
    need(type(data["version"]) is int and data["version"] > 0, "version must be a whole number from 1")
    need(isinstance(data["colourways"], dict), "colourways must map names to [R, G, B]")
    need(bool(data["colourways"]), "colourways is empty; give at least one name with its RGB")
    for name, rgb in data["colourways"].items():
        valid = isinstance(rgb, list) and len(rgb) == 3 and all(type(v) is int and 0 <= v <= 255 for v in rgb)
        need(valid or rgb in FROM_THE_FACE, f'colourway "{name}" must be three integers 0 to 255, "skin" or "hair"')
    for key, known in (("regions", REGIONS), ("styles", STYLES)):
        values = data.get(key, known[:1])
        need(isinstance(values, list | tuple) and bool(values), f"{key} must be a list out of {', '.join(known)}")
        for value in values:
            need(value in known, f'{key}: "{value}" is none of {", ".join(known)}')
    need(data.get("coverage", "") in ("", *COVERAGES), f"coverage must be one of {', '.join(COVERAGES)}")
    need(data.get("shape", "") in ("", *SHAPES), f"shape must be one of {', '.join(SHAPES)}")


def check_geometry(geometry: Any, path: Path) -> None:
    """Raise MaskbenchError unless a surface can be built from the geometry; the first thing wrong is named."""
    panels = geometry.get("panels") if isinstance(geometry, dict) else None
    if not isinstance(panels, list) or not panels:
        raise MaskbenchError(f"{path}: geometry.panels is missing or empty; see docs/masks.md")
    for number, panel in enumerate(panels):
        _check_panel(panel, f"{path}: geometry.panels[{number}]")
    _only(geometry, {"panels", "ribbons"}, f"{path}: geometry")
    if not isinstance(geometry.get("ribbons", []), list):
        raise MaskbenchError(f"{path}: geometry.ribbons must be a list; see docs/masks.md")
    for number, ribbon in enumerate(geometry.get("ribbons", ())):
        _only(ribbon, RIBBON_KEYS, f"{path}: geometry.ribbons[{number}]")
    try:
        surface = build_surface(geometry)
        whole = all(np.isfinite(array).all() for array in (surface.nodes, surface.uv, surface.binding))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise MaskbenchError(f"{path}: geometry: {type(error).__name__}: {error}; see docs/masks.md") from error
    if not whole or surface.uv.min() < 0 or surface.uv.max() > 1:
        raise MaskbenchError(f"{path}: geometry: numbers that are not finite, or uv outside 0 to 1; see docs/masks.md")


def _only(given: Any, known: Iterable[str], where: str) -> None:
    """Raise MaskbenchError unless ``given`` is an object with known keys only."""
    if not isinstance(given, dict):
        raise MaskbenchError(f"{where}: not a JSON object; see docs/masks.md")
    for key in given:
        if key not in known:
            raise MaskbenchError(f'{where}: unknown key "{key}"; {nearest(key, sorted(known))}')


def _check_panel(panel: Any, where: str) -> None:
    kind = "lathe" if isinstance(panel, dict) and "profile" in panel else "sheet"
    _only(panel, PANEL_KEYS[kind], where)
    for key in ("profile", "angles", "uv") if kind == "lathe" else ("top", "bottom", "uv"):
        if key not in panel:
            raise MaskbenchError(f"{where}.{key} is missing; see docs/masks.md")
    for key in ("top", "bottom") if kind == "sheet" else ():
        try:
            across = [float(x) for x, _ in panel[key]]
        except (TypeError, ValueError) as error:
            raise MaskbenchError(f"{where}.{key} must be a list of [x, y]; see docs/masks.md") from error
        if len(across) < 2 or across[0] > 0 or any(a >= b for a, b in zip(across, across[1:], strict=False)):
            raise MaskbenchError(f"{where}.{key} must run from x = 0 (mirrored) or from the left edge, rightwards")
