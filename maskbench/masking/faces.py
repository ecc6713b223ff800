"""The faces of one picture: which are masked, with what, and how much of each the masks cover."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import cv2
import numpy as np

from maskbench.digest import generator
from maskbench.landmarks.base import FACE_OVAL, inter_ocular_distance
from maskbench.masking.kernels import sum_within
from maskbench.masking.placement import sample
from maskbench.masking.render import draw_on
from maskbench.masking.wardrobe import Wardrobe
from maskbench.types import Landmarks, Placement

LEAST_INTER_OCULAR = 5.0  # pixels; below it there is no face to speak of
_OVAL = np.array(FACE_OVAL)
FACE_POLICIES = ("largest", "central", "all")


def no_face(found: list[Landmarks], landmarks: str = "auto") -> str:
    """Why there is no face to mask."""
    if not found:
        return "not an aligned 112x112 crop" if landmarks == "aligned" else "no face found"
    widest = max(inter_ocular_distance(face.points) for face in found)
    return f"face too small ({widest:.1f} pixels between the eyes, at least {LEAST_INTER_OCULAR:g} are needed)"


def choose_faces(faces: list[Landmarks], shape: tuple[int, ...], policy: str) -> list[Landmarks]:
    """The faces to mask, from faces sorted by size: the largest, the one nearest to the picture's centre, or all."""
    faces = [face for face in faces if inter_ocular_distance(face.points) >= LEAST_INTER_OCULAR]
    if policy == "all" or len(faces) < 2:
        return faces
    if policy == "largest":
        return faces[:1]
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
    return [min(faces, key=lambda face: float(np.hypot(*(face.points[:, :2].mean(0) - middle))))]


@dataclass(frozen=True)
class MaskedFaces:
    """A picture whose faces are masked.

    Attributes:
        image: (H, W, 3) uint8; alpha: (H, W) uint8, of all masks together.
        placements: face by face, the largest first, and for each face in drawing order.
        covered_fraction: share of the first face's oval that all of its masks cover; crop_fraction: the sum of their
            alpha (0 to 1) over the picture's area.
    """

    image: np.ndarray
    alpha: np.ndarray
    placements: list[Placement]
    covered_fraction: float
    crop_fraction: float


def mask_faces(
    image: np.ndarray, faces: list[Landmarks], wardrobe: Wardrobe, path: str, seed: int, jpeg: int = 0,
    grey: bool = False,
) -> MaskedFaces:  # fmt: skip
    """Put on each face what the wardrobe chooses for it, in place, the far (small) faces first.

    Args:
        image: (H, W, 3) uint8 RGB; becomes the masked picture.
        faces: at least one, in order.
        path: with ``seed`` and the face's number it decides every draw.
        jpeg: quality of the picture's own compression, 0 when there is none.
        grey: as ``render.draw_on`` has it.
    """
    alphas = []
    placements: list[Placement] = []
    for number in reversed(range(len(faces))):
        # The number enters the seed for bystanders only: one face gets the same mask under every face policy.
        parts = (path,) if number == 0 else (path, str(number))
        about: dict[str, float | str] = {"jpeg": jpeg, "face": number}
        worn, own = dress(image, faces[number], wardrobe, parts, seed, about, grey)
        placements[:0] = own
        alphas.append(worn)
    # The loop ends with the first face.
    crop = round(cv2.sumElems(worn)[0] / 255.0 / worn.size, 4)
    covered = own[0].coverage if len(own) == 1 else covered_fraction(worn, faces[0].points)
    return MaskedFaces(image, reduce(np.maximum, alphas), placements, covered, crop)


def dress(
    image: np.ndarray, face: Landmarks, wardrobe: Wardrobe, parts: Sequence[str], seed: int,
    about: Mapping[str, float | str], grey: bool = False,
) -> tuple[np.ndarray, list[Placement]]:  # fmt: skip
    """Draw what one face wears, in place, one mask after the other.

    Returns:
        The masks' alpha (H, W) uint8 (the maximum over them), and a placement for each with its coverage.
    """
    alphas, placements = [], []
    for number, choice in enumerate(wardrobe.choose(seed, *parts)):
        # The slot's number enters for the second and later masks only, as the face's does.
        rng = generator(seed, *parts, *([str(number)] if number else []), choice.asset.asset_id)
        placement = sample(
            rng, choice.asset, face, seed, wardrobe.recipe.jitter, choice.colour, choice.style, choice.size,
            {**about, "entry": choice.entry},
        )  # fmt: skip
        alphas.append(draw_on(image, choice.asset, placement, grey))
        placements.append(replace(placement, coverage=covered_fraction(alphas[-1], face.points)))
    return reduce(np.maximum, alphas), placements


def covered_fraction(alpha: np.ndarray, points: np.ndarray) -> float:
    """Sum of alpha (0..1) inside the mesh's face oval over the oval's area within the picture; NaN outside of it."""
    outline = np.rint(points.take(_OVAL, 0)[:, :2]).astype(np.int32)
    left, top, width, height = cv2.boundingRect(outline)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, alpha.shape[1]), min(top + height, alpha.shape[0])
    if x0 >= x1 or y0 >= y1:
        return math.nan
    oval = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(oval, [outline], 1, offset=(-x0, -y0))
    area, inside = sum_within(alpha, oval, x0, y0)
    return round(inside / 255.0 / area, 4) if area else math.nan
