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
    pose = Pose((-1.16, 1.98), 33, 1, arm=255, spread=1.5, thumb_turn=8, turns={"little": -3})
    return hands([pose], (-2.2, 1.42), (0.0, 3.4), (-0.30, 0.06), [(NAVY, "knit")])


def hand_mouth_low() -> list[Piece]:
    """The left hand over mouth and nose, from below."""
    pose = Pose((0.80, 2.60), 121, -1, arm=280, scale=0.96, spread=2.5, thumb_turn=-4)
    return hands([pose], (-1.15, 1.9), (-0.2, 3.8), (-0.30, 0.06), [(WHITE, "shirt")])


def hand_fist() -> list[Piece]:
    """A loose fist before the mouth, as one coughs."""
    pose = Pose((-0.90, 2.22), 50, 1, arm=254, spread=1.0, curl=0.86, scale=1.08, thumb_turn=-16)
    return hands([pose], (-2.0, 1.2), (0.25, 3.6), (-0.34, 0.05), [(GREY, "knit")])


def hands_both() -> list[Piece]:
    """Both hands over nose and mouth, the fingers crossing."""
    left = Pose((-0.76, 2.62), 69, 1, arm=264, spread=1.5, scale=0.96, thumb_turn=4)
    right = Pose((0.80, 2.58), 113, -1, arm=277, spread=1.8, scale=0.96, thumb_turn=6)
    return hands([left, right], (-1.9, 1.9), (-0.2, 3.7), (-0.30, 0.06), [(WINE, "knit"), (WINE, "knit")], columns=512)


def hand_eyes() -> list[Piece]:
    """The right hand laid over the eyes."""
    pose = Pose((-1.22, 0.82), 31, 1, arm=256, spread=2.0, thumb_turn=6)
    return hands([pose], (-2.3, 1.42), (-1.35, 2.3), (-0.20, 0.06), [(DENIM, "shirt")])


def hands_eyes() -> list[Piece]:
    """Both hands before the eyes, as children hide."""
    left = Pose((-0.94, 1.82), 67, 1, arm=262, spread=3.0, scale=0.98, thumb_turn=0)
    right = Pose((0.96, 1.78), 114, -1, arm=278, spread=2.6, scale=0.98, thumb_turn=2)
    return hands(
        [left, right], (-2.1, 2.1), (-1.15, 2.9), (-0.20, 0.06), [(BLACK, "knit"), (BLACK, "knit")], columns=512
    )


def hand_fingers() -> list[Piece]:
    """Three fingers upright over lips and nose, the little one curled, the palm under the chin."""
    pose = Pose(
        (0.16, 3.10),
        94,
        -1,
        arm=277,
        spread=1.6,
        scale=1.0,
        curls={"little": 0.80},
        turns={"little": -3},
        thumb_turn=-14,
    )
    return hands([pose], (-1.1, 1.5), (0.15, 4.3), (-0.28, 0.05), [(GREY, "shirt")])


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
    return build(asset_id, name, "human-body", "hand", regions, SKIN, draw(), SOURCE, version=2)


MASKS: Masks = {**{asset_id: (lambda asset_id=asset_id: make(asset_id)) for asset_id in TABLE}, **hair.MASKS}
