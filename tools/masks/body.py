# ruff: noqa: E501 - tables of poses read better on one line
"""Hands over the face. ``MASKS`` has hair and beards too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hair
from hands import Pose, flat_sheet, paint, sleeve
from pen import Built, Field, Masks, Piece, build, fade_border

SOURCE = "body.py"
SKIN = {"skin": "skin"}
NAVY, WHITE, GREY, BLACK, DENIM, WINE = (
    (58, 70, 112),
    (240, 242, 244),
    (154, 156, 160),
    (56, 56, 60),
    (98, 124, 168),
    (136, 52, 62),
)


def hands(poses: Sequence[Pose], x: tuple[float, float], y: tuple[float, float], flat: tuple[float, float],
          clothes: Sequence[tuple[Sequence[int], str]], columns: int = 512, seed: int = 7) -> list[Piece]:  # fmt: skip
    """Hands on one sheet, the later over the earlier, and the sleeves over their forearms."""
    grid = Field((round(columns * (y[1] - y[0]) / (x[1] - x[0])), columns), x, y, flat[1])
    picture = None
    for number, pose in enumerate(poses):
        picture = paint(grid, pose, picture, seed + 10 * number)
    skin = Piece(fade_border(picture), (flat_sheet(x, y, flat, 0.0, True),))
    arms = [sleeve(pose, colour, style, flat, seed=seed + 5) for pose, (colour, style) in zip(poses, clothes, strict=True)]  # fmt: skip
    return [skin, *arms]


def hand_mouth() -> list[Piece]:
    """The right hand laid over the mouth from the side, the thumb on the cheek."""
    pose = Pose((-1.36, 1.86), 28, 1, arm=246, spread=1.5, thumb_turn=8, turns={"little": -3})
    return hands([pose], (-2.3, 1.32), (0.05, 3.25), (-0.60, 0.11), [(NAVY, "knit")])


def hand_mouth_low() -> list[Piece]:
    """The left hand over mouth and nose, from below."""
    pose = Pose((0.92, 2.42), 124, -1, arm=284, spread=2.5, thumb_turn=-4)
    return hands([pose], (-0.95, 2.0), (-0.12, 3.7), (-0.68, 0.20), [(WHITE, "shirt")])


def hand_fist() -> list[Piece]:
    """A loose fist before the mouth, as one coughs."""
    pose = Pose((-0.98, 2.10), 44, 1, arm=246, spread=1.0, curl=0.86, scale=1.0, thumb_turn=-16)
    return hands([pose], (-2.1, 1.1), (0.30, 3.4), (-0.70, 0.11), [(GREY, "knit")])


def hands_both() -> list[Piece]:
    """Both hands over nose and mouth, the fingers crossing."""
    left = Pose((-0.80, 2.50), 67, 1, arm=262, spread=1.5, scale=0.88, thumb_turn=4)
    right = Pose((0.84, 2.46), 115, -1, arm=279, spread=1.8, scale=0.88, thumb_turn=6)
    return hands([left, right], (-1.9, 1.9), (-0.12, 3.6), (-0.66, 0.20), [(WINE, "knit"), (WINE, "knit")], columns=512)


def hand_eyes() -> list[Piece]:
    """The right hand laid over the eyes."""
    pose = Pose((-1.36, 0.86), 29, 1, arm=250, spread=2.0, thumb_turn=6)
    return hands([pose], (-2.4, 1.30), (-1.15, 2.3), (-0.48, 0.11), [(DENIM, "shirt")])


def hands_eyes() -> list[Piece]:
    """Both hands before the eyes, as children hide."""
    left = Pose((-1.02, 1.66), 64, 1, arm=258, spread=3.0, scale=0.90, thumb_turn=0)
    right = Pose((1.04, 1.62), 117, -1, arm=281, spread=2.6, scale=0.90, thumb_turn=2)
    return hands(
        [left, right], (-2.1, 2.1), (-1.05, 2.8), (-0.55, 0.20), [(BLACK, "knit"), (BLACK, "knit")], columns=512
    )


def hand_fingers() -> list[Piece]:
    """Three fingers upright over lips and nose, the little one curled, the palm under the chin."""
    pose = Pose(
        (0.16, 3.02),
        94,
        -1,
        arm=277,
        spread=1.6,
        scale=0.97,
        curls={"little": 0.80},
        turns={"little": -3},
        thumb_turn=-14,
    )
    return hands([pose], (-1.1, 1.5), (0.15, 4.2), (-0.66, 0.22), [(GREY, "shirt")])


TABLE: dict[str, tuple[str, str, Any]] = {
    "hand-mouth": ("Hand over the mouth, from the side", "lower", hand_mouth),
    "hand-mouth-below": ("Hand over mouth and nose, from below", "lower", hand_mouth_low),
    "hand-fist": ("Fist before the mouth", "lower", hand_fist),
    "hands-mouth": ("Both hands over nose and mouth", "lower", hands_both),
    "hand-eyes": ("Hand over the eyes", "eye upper", hand_eyes),
    "hands-eyes": ("Both hands over the eyes", "eye upper", hands_eyes),
    "hand-fingers": ("Fingers over lips and nose", "lower", hand_fingers),
}  # fmt: skip


def make(asset_id: str) -> Built:
    """One asset of this module."""
    name, regions, draw = TABLE[asset_id]
    return build(asset_id, name, "human-body", "hand", regions, SKIN, draw(), SOURCE)


MASKS: Masks = {**{asset_id: (lambda asset_id=asset_id: make(asset_id)) for asset_id in TABLE}, **hair.MASKS}
