"""A manifest's row drawn again: the alpha of the masks that ``synthesize`` put on a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maskbench.errors import ManifestError, MaskbenchError
from maskbench.files import read_json
from maskbench.masking.assets import list_assets, load_asset
from maskbench.masking.engine import CONFIG
from maskbench.masking.placement import from_json
from maskbench.masking.render import draw_on
from maskbench.types import MaskAsset


def replay(image: np.ndarray, placement: str, assets: Mapping[str, MaskAsset]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the masks of a manifest's row on its source.

    Args:
        image: (H, W, 3) uint8 RGB, the source.
        placement: the column of that name.
        assets: by id.

    Returns:
        The masked picture (before it was encoded) and the alpha (H, W) uint8 of all masks together.

    Raises:
        ManifestError: the column is malformed, or names a mask that is not there.
    """
    placements = from_json(placement)
    image, alpha = image.copy(), np.zeros(image.shape[:2], np.uint8)
    # As they were drawn: the far (small) faces first, and each face's masks in their order.
    for worn in sorted(placements, key=lambda worn: -float(worn.parameters.get("face", 0))):
        if worn.asset_id not in assets:
            raise ManifestError(f"mask {worn.asset_id} is not installed, and its alpha cannot be drawn again")
        alpha = np.maximum(alpha, draw_on(image, assets[worn.asset_id], worn))
    return image, alpha


def masks_of_run(masked_dir: Path) -> dict[str, MaskAsset]:
    """The masks that a synthesis run used, loaded, by id.

    Raises:
        MaskbenchError: the folder was not written by ``synthesize``, or one of its masks is missing or has changed.
    """
    path = Path(masked_dir) / CONFIG
    if not path.is_file():
        raise MaskbenchError(
            f"{masked_dir}: not written by maskbench synthesize, so nobody knows where its masks are; "
            "take --mask-source segmenter, or file"
        )
    found = read_json(path)
    recorded = found.get("masks") if isinstance(found, dict) else None
    if not isinstance(recorded, dict) or not recorded:
        raise MaskbenchError(f"{path}: does not say which masks were drawn; synthesize again")
    known, loaded = list_assets(), {}
    for name, digest in recorded.items():
        asset = load_asset(known[name]) if name in known else None
        if asset is None or asset.sha256 != digest:
            what = "is not installed" if asset is None else "has changed"
            raise MaskbenchError(
                f"{path}: mask {name} {what} since; synthesize again with --save-alpha and take --mask-source file"
            )
        loaded[name] = asset
    return loaded
