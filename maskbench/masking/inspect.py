"""What a mask is: choosing among masks, the canonical picture of one, and everything that can be said in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.files import read_json
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import CATEGORIES, REGIONS, list_assets, load_asset
from maskbench.masking.faces import covered_fraction
from maskbench.masking.geometry import build_surface
from maskbench.masking.render import MaskedImage, render
from maskbench.masking.space import control_points
from maskbench.registry import nearest
from maskbench.types import Landmarks, MaskAsset, Placement

UNIT = 128  # pixels between the eyes of the canonical picture
MIDDLE, CANVAS = (256, 288), (640, 512)  # where its eyes are, and its (height, width)
SKIN = (198, 156, 132)


def choose_assets(
    assets: Sequence[MaskAsset], category: Sequence[str] = (), kind: Sequence[str] = (), region: Sequence[str] = ()
) -> list[MaskAsset]:
    """The masks of any of these categories, of any of these kinds, that hide any of these regions; empty: all.

    Raises:
        MaskbenchError: a name is unknown, or no mask is left.
    """
    known = {"category": CATEGORIES, "kind": {asset.kind for asset in assets}, "region": REGIONS}
    for what, given in (("category", category), ("kind", kind), ("region", region)):
        for name in given:
            if name not in known[what]:
                raise MaskbenchError(f'no {what} "{name}" among the masks; {nearest(name, known[what])}')
    kept = [
        asset
        for asset in assets
        if (not category or asset.category in category)
        and (not kind or asset.kind in kind)
        and (not region or set(region) & set(asset.regions))
    ]
    if not kept:
        raise MaskbenchError("no mask is all of that; leave out one of --category, --kind and --region")
    return kept


def one_asset(name: str, *roots: Path) -> MaskAsset:
    """The mask of this id, among the shipped ones and those of further folders.

    Raises:
        MaskbenchError: there is none, or the name is a list of several.
    """
    known = list_assets(*roots)
    if name not in known:
        raise MaskbenchError(f'no mask named "{name}"; {nearest(name, known)}')
    return load_asset(known[name])


def canonical_view(yaw: float = 0.0) -> Landmarks:
    """The canonical face's landmarks in the canonical picture, the head turned to the picture's right by ``yaw``."""
    x, y, z = canonical_face().T - np.array([[0.0], [0.0], [0.9]])  # about the head's axis
    turn = np.deg2rad(yaw)
    turned = np.stack([x * np.cos(turn) - z * np.sin(turn), y, x * np.sin(turn) + z * np.cos(turn)], 1)
    return mesh_landmarks(turned * UNIT + [*MIDDLE, 0.0], "canonical")


def draw_canonical(asset: MaskAsset, colour: str = "#ffffff", yaw: float = 0.0) -> MaskedImage:
    """The mask on the canonical face in front of nothing: a plain picture of ``CANVAS`` pixels in skin's colour."""
    control = np.round(control_points(canonical_view(yaw).points), 2).astype(np.float32)
    parameters = {"across": 0.0, "down": 0.0, "scale": 1.0, "roll": 0.0}
    plain = np.full((*CANVAS, 3), SKIN, np.uint8)
    return render(plain, asset, Placement(asset.asset_id, control, colour, parameters, 0))


def nominal_coverage(asset: MaskAsset) -> float:
    """Share of the canonical face's oval that the mask hides, seen from the front."""
    return covered_fraction(draw_canonical(asset).alpha, canonical_view().points)


def summary(asset: MaskAsset, folder: Path) -> dict[str, Any]:
    """Everything about a mask that can be said in words, as JSON-like values."""
    surface = build_surface(asset.geometry)
    panels = asset.geometry["panels"]
    round_head = sum("profile" in panel for panel in panels)
    return {
        "id": asset.asset_id,
        "name": read_json(folder / "asset.json")["name"],
        "version": asset.version,
        "category": asset.category,
        "kind": asset.kind,
        "regions": list(asset.regions),
        "styles": list(asset.styles),
        "coverage": asset.coverage,
        "shape": asset.shape,
        "colourways": {name: rgb if isinstance(rgb, str) else list(rgb) for name, rgb in asset.colourways.items()},
        "covered_fraction": nominal_coverage(asset),
        "texture": [asset.texture.shape[1], asset.texture.shape[0]],
        "geometry": {
            "sheets": len(panels) - round_head,
            "lathes": round_head,
            "ribbons": len(asset.geometry.get("ribbons", ())),
            "triangles": len(surface.triangles),
        },
        "licence": asset.licence,
        "source": asset.source,
        "sha256": asset.sha256,
        "folder": str(folder),
    }
