"""What the training faces wear: which masks are targets, which are held out, and how one face is dressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from maskbench.digest import bytes_sha256
from maskbench.masking.assets import select_assets
from maskbench.masking.placement import Jitter, sample
from maskbench.masking.render import render
from maskbench.types import Landmarks, MaskAsset

# Groups in which masks are held out and figures are given; kinds of the assets, or "hybrid" for the whole category.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "surgical": ("surgical",),
    "cloth": ("cloth",),
    "respirator": ("ffp2", "ffp3", "kn95", "kf94", "n95", "cup", "half-mask"),
    "wrap": ("scarf", "gaiter", "bandana"),
    "eyewear": ("sunglasses", "goggles", "sleep-mask", "headset"),
    "face-shield": ("face-shield",),
    "hand": ("hand",),
    "headwear": ("hat", "helmet", "headband", "headscarf", "hood"),
    "nist": ("nist",),
    "hybrid": (),
}
SHARES = {
    "surgical": 15, "cloth": 18, "respirator": 16, "wrap": 10, "eyewear": 10, "face-shield": 3, "hand": 9,
    "headwear": 6, "nist": 5, "hybrid": 8,
}  # fmt: skip
# Photographs show these without any label, so they belong to the person here: they are drawn now and then, and the
# target does not have them. A hybrid with one of them would be half a target and is left out.
OWN = ("beard", "hair", "glasses")
MIXED = ("beard-sunglasses", "surgical-glasses", "respirator-glasses")
HELD_OUT = 0.15
STYLES = {"correct": 0.7, "under-nose": 0.14, "mouth-only": 0.08, "under-chin": 0.08}
WIDE = Jitter(across=0.05, down=0.08, scale=0.08, roll=4.0)  # looser than masks are worn
SECOND = 0.12  # share of dressed faces that wear another garment on another region
OWN_SHARE = 0.12  # share of faces that get a drawn beard, hair or spectacles first
FREE_COLOUR = 0.4


@dataclass(frozen=True)
class Rack:
    """The masks to draw from: by group, and those that are no targets."""

    groups: Mapping[str, tuple[MaskAsset, ...]]
    own: tuple[MaskAsset, ...]


def group_of(asset: MaskAsset) -> str | None:
    """The group of a mask, or None for one that is no target."""
    if asset.kind in OWN or asset.asset_id in MIXED:
        return None
    if asset.category == "hybrid":
        return "hybrid"
    return next((name for name, kinds in GROUPS.items() if asset.kind in kinds), None)


def held_out(names: Sequence[str]) -> set[str]:
    """Of a group's masks those that training never sees: 15 %, at least one of two or more, by their ids' SHA-256."""
    if len(names) < 2:
        return set()
    count = max(1, round(HELD_OUT * len(names)))
    return set(sorted(names, key=lambda name: bytes_sha256(name.encode()))[:count])


@lru_cache(maxsize=2)
def rack(unseen: bool) -> Rack:
    """The masks of training, or the held-out ones."""
    by_group: dict[str, list[MaskAsset]] = {name: [] for name in GROUPS}
    assets = select_assets("all")
    for asset in assets:
        if group := group_of(asset):
            by_group[group].append(asset)
    kept = {}
    for name, masks in by_group.items():
        away = held_out([mask.asset_id for mask in masks])
        if chosen := tuple(mask for mask in masks if (mask.asset_id in away) == unseen):
            kept[name] = chosen
    return Rack(kept, tuple(asset for asset in assets if asset.kind in OWN))


def _draw(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    names, shares = list(weights), np.array(list(weights.values()), float)
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def _colour(rng: np.random.Generator, asset: MaskAsset) -> str:
    """One of the mask's colourways, or any colour; never another colour for skin and hair."""
    own = sorted(asset.colourways)
    if any(isinstance(value, str) for value in asset.colourways.values()) or rng.random() >= FREE_COLOUR:
        return own[int(rng.integers(len(own)))]
    return "#" + "".join(f"{int(value):02x}" for value in rng.integers(0, 256, 3))


def _put_on(
    rng: np.random.Generator, image: np.ndarray, asset: MaskAsset, face: Landmarks, wide: bool
) -> tuple[np.ndarray, np.ndarray]:
    style = _draw(rng, {name: STYLES[name] for name in asset.styles})
    placement = sample(rng, asset, face, 0, WIDE if wide else None, _colour(rng, asset), style)
    drawn = render(image, asset, placement)
    return drawn.image, drawn.alpha


def dress(
    rng: np.random.Generator, image: np.ndarray, face: Landmarks, unseen: bool, bare: float, wide: bool
) -> tuple[np.ndarray, np.ndarray, str, list[str]]:
    """Dress one face.

    Args:
        image: (H, W, 3) uint8 RGB.
        unseen: draw from the held-out masks.
        bare: share of faces that wear nothing.
        wide: place masks more loosely than they are worn.

    Returns:
        picture, alpha (H, W) uint8 of the targets, group ("" for a bare face), ids of what is worn, targets only.
    """
    masks = rack(unseen)
    worn: list[str] = []
    alpha = np.zeros(image.shape[:2], np.uint8)
    if wide and rng.random() < OWN_SHARE:
        image = _put_on(rng, image, masks.own[int(rng.integers(len(masks.own)))], face, wide)[0]
    if rng.random() < bare:
        return image, alpha, "", worn
    group = _draw(rng, {name: SHARES[name] for name in masks.groups})
    chosen = [masks.groups[group][int(rng.integers(len(masks.groups[group])))]]
    if wide and rng.random() < SECOND:
        others = [
            mask for name in ("eyewear", "headwear") for mask in masks.groups[name]
            if not set(mask.regions) & set(chosen[0].regions)
        ]  # fmt: skip
        chosen += [others[int(rng.integers(len(others)))]] if others else []
    for asset in chosen:
        image, own = _put_on(rng, image, asset, face, wide)
        alpha = np.maximum(alpha, own)
        worn.append(asset.asset_id)
    return image, alpha, group, worn
