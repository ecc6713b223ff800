"""What the drawings of masks, gaiters and scarves share: colours of the trade, the content of asset.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Built = tuple[dict[str, Any], np.ndarray]  # asset.json and the texture, as in pen.py
Masks = dict[str, Callable[[], Built]]
Colours = Mapping[str, Sequence[int]]

FACE_STYLES = ("correct", "under-nose", "under-chin", "mouth-only")
WRAP_STYLES = ("correct", "under-nose")
AS_DRAWN: Colours = {"as-drawn": [255, 255, 255]}

MEDICAL: Colours = {"blue": [121, 172, 211], "light-blue": [168, 205, 226], "green": [150, 200, 186],
                    "white": [240, 242, 243], "lilac": [196, 184, 220]}  # fmt: skip
WHITES: Colours = {"white": [242, 242, 239], "grey": [172, 174, 177], "black": [66, 66, 70]}
COTTONS: Colours = {"black": [66, 66, 70], "navy": [48, 62, 98], "grey": [142, 144, 148], "red": [165, 52, 56],
                    "beige": [214, 194, 166], "olive": [108, 114, 84], "white": [238, 236, 230]}  # fmt: skip
WOOLS: Colours = {"charcoal": [74, 75, 79], "oatmeal": [212, 200, 180], "burgundy": [122, 40, 50],
                  "navy": [52, 62, 92], "mustard": [190, 148, 66], "forest": [66, 92, 76]}  # fmt: skip
WASHES: Colours = {"as-drawn": [255, 255, 255], "faded": [232, 224, 212], "cool": [206, 218, 244]}


def described(
    asset_id: str, name: str, kind: str, colourways: Colours, geometry: dict[str, Any], texture: np.ndarray,
    source: str, category: str = "simple", regions: Sequence[str] = ("lower",), styles: Sequence[str] = FACE_STYLES,
    version: int = 1,
) -> Built:  # fmt: skip
    """The content of an asset's folder: asset.json as a dict, and the texture."""
    return {
        "format_version": 2, "id": asset_id, "version": version, "name": name, "category": category, "kind": kind,
        "regions": list(regions), "styles": list(styles), "texture": "texture.png",
        "colourways": {key: list(rgb) for key, rgb in colourways.items()}, "geometry": geometry,
        "licence": "Apache-2.0", "source": f"drawn by tools/masks/{source}",
    }, texture  # fmt: skip
