"""Everything that is wrong with a mask's folder: the lines of ``masks check``.

That is what the loader refuses, all of it and not the first thing only, and what it cannot see: texture without
margins, hard edges that show on a face, regions that are named and not hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.files import inside, read_json
from maskbench.masking.assets import (
    FORMAT_VERSION,
    MAX_TEXTURE_SIDE,
    REQUIRED,
    check_description,
    check_geometry,
    list_assets,
    load_asset,
    shipped_root,
)
from maskbench.masking.looks import Fault, drawing_faults, texture_faults
from maskbench.registry import nearest

LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
SOUND_PANEL = {"top": [[0, 0.2], [0.9, 0.6]], "bottom": [[0, 1.9], [0.9, 1.2]], "uv": [0, 0, 1, 1], "gap": 0.05}


def asset_faults(folder: Path) -> list[Fault]:
    """Everything wrong with a mask's folder, errors first; an empty list for a sound one."""
    path = folder / "asset.json"
    try:
        asset = load_asset.__wrapped__(folder)  # as it is now, whatever was loaded before
    except (MaskbenchError, LookupError, TypeError, ValueError, AttributeError) as error:
        faults = _refusals(folder) or [Fault(path, _without(str(error), path))]
    else:
        faults = [*texture_faults(asset, folder / read_json(path)["texture"])]
        if asset.texture[..., 3].any():
            faults += drawing_faults(asset, path)
    return sorted([*faults, *_licence_faults(folder)], key=lambda fault: not fault.error)


def _refusals(folder: Path) -> list[Fault]:
    """All that keeps a mask from being loaded."""
    path = folder / "asset.json"
    try:
        data = read_json(path)
    except MaskbenchError as error:
        return [Fault(path, _without(str(error), path))]
    name = data.get("texture") if isinstance(data, dict) else None
    texture = _texture_file_faults(folder, name) if isinstance(name, str) and name else []
    return [*_description_faults(data, path), *texture]


def _without(message: str, path: Path) -> str:
    """An error's text without the file's name, which the fault names anyway."""
    return message.removeprefix(str(path)).lstrip(": ")


def _description_faults(data: Any, path: Path) -> list[Fault]:
    """What the loader's checks refuse, found by putting one value at a time into a sound description."""
    if not isinstance(data, dict):
        return [Fault(path, "not a JSON object; see docs/masks.md")]
    fake = path.parent.with_name("sound") / path.name
    sound = _sound(fake.parent.name)

    def refusal(check: Callable[[Any, Path], None], value: Any, where: Path = fake) -> Iterator[str]:
        try:
            check(value, where)
        except MaskbenchError as error:
            yield _without(str(error), where)

    found: list[str] = []
    for key in [key for key in REQUIRED if key not in data]:
        found += refusal(check_description, {k: v for k, v in sound.items() if k != key})
    for key, value in data.items():
        if key == "id":
            found += refusal(check_description, {**sound, "id": value}, path)
        elif key == "colourways" and isinstance(value, dict) and value:
            for name, colour in value.items():
                found += refusal(check_description, {**sound, key: {name: colour}})
        elif key != "geometry":
            found += refusal(check_description, {**sound, key: value})
    if isinstance(data.get("geometry"), dict) and not isinstance(data["geometry"].get("ribbons", []), list):
        found.append("geometry.ribbons must be a list; see docs/masks.md")
    for check, geometry, rename in _geometry_trials(data.get("geometry", sound["geometry"])):
        found += (rename(text) for text in refusal(check, geometry))
    return [Fault(path, message) for message in dict.fromkeys(found)]


def _sound(asset_id: str) -> dict[str, Any]:
    """A description without any fault."""
    return {
        "format_version": FORMAT_VERSION, "id": asset_id, "version": 1, "name": "x", "category": "simple", "kind": "x",
        "regions": ["lower"], "texture": "texture.png", "colourways": {"x": [0, 0, 0]},
        "geometry": {"panels": [SOUND_PANEL]}, "licence": "x", "source": "x",
    }  # fmt: skip


def _geometry_trials(geometry: Any) -> Iterator[tuple[Callable, Any, Callable[[str], str]]]:
    """Checks to make on a geometry so that every faulty panel and ribbon is found, with the way to name it."""
    parts = {key: geometry.get(key) for key in ("panels", "ribbons")} if isinstance(geometry, dict) else {}
    if not isinstance(parts.get("panels"), list) or not parts["panels"]:
        yield check_geometry, geometry, str
        return
    others = {key: value for key, value in geometry.items() if key not in parts}
    yield check_geometry, {**others, "panels": [SOUND_PANEL]}, str
    for number, panel in enumerate(parts["panels"]):
        yield check_geometry, {"panels": [panel]}, _renamed("panels", number)
    for number, ribbon in enumerate(parts["ribbons"] if isinstance(parts["ribbons"], list) else ()):
        yield check_geometry, {"panels": [SOUND_PANEL], "ribbons": [ribbon]}, _renamed("ribbons", number)


def _renamed(part: str, number: int) -> Callable[[str], str]:
    """Puts a part's own number into a message about the only one of a trial."""

    def rename(message: str) -> str:
        name = f"geometry.{part}[{number}]"
        if f"geometry.{part}[0]" in message:
            return message.replace(f"geometry.{part}[0]", name)
        return message.replace("geometry:", f"{name}:", 1)

    return rename


def _licence_faults(folder: Path) -> list[Fault]:
    for name in LICENCES:
        if (folder / name).is_file() and (folder / name).stat().st_size:
            return []
    return [Fault(folder / LICENCES[0], "no licence file; write down under which terms the mask may be used")]


def _texture_file_faults(folder: Path, name: str) -> list[Fault]:
    try:
        path = inside(folder, name)
    except MaskbenchError as error:
        return [Fault(folder / "asset.json", f"texture: {error}")]
    if not path.is_file():
        return [Fault(path, "no such file; put the texture there, or correct its name in asset.json")]
    texture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if texture is None or texture.ndim != 3 or texture.shape[2] != 4 or texture.dtype != np.uint8:
        return [Fault(path, "not an 8-bit RGBA PNG; draw the mask with an alpha channel")]
    if max(texture.shape[:2]) > MAX_TEXTURE_SIDE:
        return [Fault(path, f"larger than {MAX_TEXTURE_SIDE} pixels; reduce it")]
    return []


def folders_of(targets: Sequence[str], masks_dirs: Sequence[Path] = ()) -> list[Path]:
    """The mask folders that ids and paths name; without any, those of every shipped mask and of ``masks_dirs``.

    A path is the folder of one mask, or a folder of such folders.

    Raises:
        MaskbenchError: nothing has this name, or a folder holds no mask.
    """
    if not targets:
        return [folder for root in (shipped_root(), *masks_dirs) for folder in _masks_below(root)]
    folders: list[Path] = []
    for name in targets:
        path = Path(name)
        if path.is_dir():
            folders += [path if path.name else path.resolve()] if _is_mask(path) else _masks_below(path)
            continue
        known = list_assets(*masks_dirs)
        if name not in known:
            raise MaskbenchError(f'no mask and no folder named "{name}"; {nearest(name, known)}')
        folders.append(known[name])
    return folders


def _is_mask(folder: Path) -> bool:
    """Whether a folder is meant as a mask: it has a description, or a texture whose description is missing."""
    return (folder / "asset.json").exists() or (folder / "texture.png").exists()


def _masks_below(root: Path) -> list[Path]:
    found = sorted(folder for folder in root.iterdir() if _is_mask(folder)) if root.is_dir() else []
    if not found:
        raise MaskbenchError(f"{root}: holds no mask (no NAME/asset.json); give a mask's folder, or a folder of them")
    return found


def name_faults(folders: Sequence[Path]) -> list[Fault]:
    """Masks that have the name of one before them, of which a run could not use both."""
    first: dict[str, Path] = {}
    return [
        Fault(folder, f"a mask named {folder.name} exists at {first[folder.name]}; rename one")
        for folder in folders
        if first.setdefault(folder.name, folder).resolve() != folder.resolve()
    ]
