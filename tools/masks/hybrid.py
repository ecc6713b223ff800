# ruff: noqa: E501 - outlines and profiles read better on one line
"""Several things at once: mask and glasses, hand and mask, hat and scarf. One tint serves all that is not baked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import body
import cotton
import glasses
import hair
import headwear
import hoods
import medical
import respirators
import shapes
import wraps
from canvas import block, grey, panel_and_strap, shade, strap
from catalogue import COTTONS, MEDICAL, WHITES, WOOLS
from pen import Built, Masks, Piece, baked, build, scaled, taken

SOURCE = "hybrid.py"
BLACK, GOLD, TORTOISE = glasses.FRAMES["black"], glasses.METALS["gold"], glasses.FRAMES["tortoise"]
BLUE, WHITE, CHARCOAL, NAVY = (121, 172, 211), (242, 242, 240), (60, 60, 64), (56, 66, 100)


def surgical() -> list[Piece]:
    """A plain pleated mask with ear loops."""
    relief, distance = medical.pleated_relief(171)
    value = 0.92 * shade(relief) + medical.nonwoven(173)
    texture = panel_and_strap(block(grey(value), distance), strap("cord", medical.WHITE))
    return scaled(taken(({"geometry": shapes.surgical()}, texture)), 0.8)


def part(masks: Masks, asset_id: str, factor: float = 0.8) -> list[Piece]:
    """The pieces of another asset, somewhat reduced."""
    return scaled(taken(masks[asset_id]()), factor)


def shades(draw: Callable[[], list[Piece]], colour: Sequence[int]) -> list[Piece]:
    """Glasses in a fixed colour."""
    return baked(scaled(draw(), 0.85), colour)


def surgical_sunglasses() -> list[Piece]:
    """A surgical mask under teardrop sunglasses."""
    return [*surgical(), *shades(glasses.aviator, GOLD)]


def cloth_sunglasses() -> list[Piece]:
    """A cotton mask under acetate sunglasses."""
    return [*part(cotton.MASKS, "cloth-pleated"), *shades(glasses.wayfarer, BLACK)]


def respirator_glasses() -> list[Piece]:
    """A boat-shaped respirator and spectacles."""
    return [*part(respirators.MASKS, "kf94"), *shades(glasses.thick_frame, TORTOISE)]


def surgical_glasses() -> list[Piece]:
    """A surgical mask and thin spectacles."""
    return [*surgical(), *shades(glasses.clear, GOLD)]


def surgical_hand() -> list[Piece]:
    """A hand at the mask, as to push it up."""
    return [*baked(surgical(), BLUE), *scaled(body.hand_mouth_low(), 0.85)]


def scarf_beanie() -> list[Piece]:
    """Scarf and knitted cap of one wool."""
    return [*scaled(headwear.beanie(), 0.7), *part(wraps.MASKS, "scarf", 0.8)]


def scarf_hat_sunglasses() -> list[Piece]:
    """Felt hat, dark glasses, and a scarf up to the nose."""
    hat = baked(scaled(headwear.fedora(), 0.7), CHARCOAL)
    return [*part(wraps.MASKS, "scarf", 0.7), *shades(glasses.round_shades, BLACK), *hat]


def beard_sunglasses() -> list[Piece]:
    """A full beard and dark glasses."""
    return [*scaled(hair.beard_full(), 0.8), *shades(glasses.wayfarer, BLACK)]


def gaiter_goggles() -> list[Piece]:
    """A skier: cap, goggles and neck gaiter."""
    cap = baked(scaled(headwear.beanie(), 0.65), NAVY)
    return [*part(wraps.MASKS, "gaiter", 0.75), *cap, *baked(scaled(glasses.goggles(), 0.9), CHARCOAL)]


def cap_surgical() -> list[Piece]:
    """A baseball cap and a surgical mask."""
    return [*baked(surgical(), BLUE), *scaled(headwear.cap(), 0.8)]


def hood_cloth() -> list[Piece]:
    """Hood up, cotton mask on."""
    return [*baked(part(cotton.MASKS, "cloth-pleated"), CHARCOAL), *scaled(hoods.hood(), 0.8)]


def headscarf_surgical() -> list[Piece]:
    """A headscarf and a surgical mask."""
    return [*baked(surgical(), WHITE), *scaled(hoods.headscarf(), 0.8)]


def cap_sunglasses() -> list[Piece]:
    """A baseball cap and wrap-around sunglasses."""
    return [*shades(glasses.sport, BLACK), *scaled(headwear.cap(), 0.8)]


TABLE: dict[str, tuple[str, str, str, Mapping[str, Any], Callable[[], list[Piece]]]] = {
    "surgical-sunglasses": ("Surgical mask and sunglasses", "mask-glasses", "lower eye", MEDICAL, surgical_sunglasses),
    "cloth-sunglasses": ("Cotton mask and sunglasses", "mask-glasses", "lower eye", COTTONS, cloth_sunglasses),
    "respirator-glasses": ("Respirator and glasses", "mask-glasses", "lower eye", WHITES, respirator_glasses),
    "surgical-glasses": ("Surgical mask and glasses", "mask-glasses", "lower eye", MEDICAL, surgical_glasses),
    "surgical-hand": ("Hand at a surgical mask", "mask-hand", "lower", body.SKIN, surgical_hand),
    "scarf-beanie": ("Scarf and beanie", "scarf-hat", "lower top", WOOLS, scarf_beanie),
    "scarf-hat-sunglasses": ("Scarf, hat and sunglasses", "scarf-hat", "lower eye top", WOOLS, scarf_hat_sunglasses),
    "beard-sunglasses": ("Beard and sunglasses", "beard-glasses", "lower eye", hair.OWN, beard_sunglasses),
    "gaiter-goggles": ("Gaiter, goggles and beanie", "gaiter-goggles", "lower eye upper top", wraps.JERSEYS, gaiter_goggles),  # fmt: skip
    "cap-surgical": ("Cap and surgical mask", "mask-hat", "lower top", headwear.COTTONS, cap_surgical),
    "hood-cloth": ("Hood and cotton mask", "mask-hood", "lower top", headwear.COTTONS, hood_cloth),
    "headscarf-surgical": ("Headscarf and surgical mask", "mask-headscarf", "lower top", hoods.CLOTHS, headscarf_surgical),  # fmt: skip
    "cap-sunglasses": ("Cap and sunglasses", "hat-glasses", "eye top", headwear.COTTONS, cap_sunglasses),
}  # fmt: skip


SECOND = {"surgical-hand", "scarf-beanie", "scarf-hat-sunglasses", "beard-sunglasses", "gaiter-goggles", "cap-surgical", "cap-sunglasses"}  # fmt: skip


def make(asset_id: str) -> Built:
    """One asset of this module."""
    name, kind, regions, colours, draw = TABLE[asset_id]
    colours = {key: value if isinstance(value, str) else list(value) for key, value in colours.items()}
    return build(asset_id, name, "hybrid", kind, regions, colours, draw(), SOURCE, coarse=6, version=2 if asset_id in SECOND else 1)


MASKS: Masks = {asset_id: (lambda asset_id=asset_id: make(asset_id)) for asset_id in TABLE}
