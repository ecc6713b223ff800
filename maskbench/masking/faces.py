"""The faces of one picture: which are masked, with what, and how much of each the masks cover."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from maskbench.digest import generator
from maskbench.landmarks.base import FACE_OVAL, inter_ocular_distance
from maskbench.masking.placement import sample
from maskbench.masking.render import render
from maskbench.types import Landmarks, MaskAsset, Placement

if TYPE_CHECKING:
    from maskbench.masking.synthesis import SynthesisConfig

LEAST_INTER_OCULAR = 5.0  # pixels; below it there is no face to speak of
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


def mask_faces(
    image: np.ndarray, faces: list[Landmarks], assets: list[MaskAsset], path: str, config: SynthesisConfig
) -> tuple[np.ndarray, np.ndarray, list[Placement]]:
    """Paste one sampled mask on each face, the far (small) ones first.

    Returns:
        The masked picture (H, W, 3) uint8, the joint alpha (H, W) uint8, and the placements in the faces' order.
    """
    masked, alpha = image, np.zeros(image.shape[:2], np.uint8)
    placements: list[Placement] = []
    for number in reversed(range(len(faces))):
        # The number enters the seed for bystanders only: one face gets the same mask under every face policy.
        parts = (path,) if number == 0 else (path, str(number))
        asset = assets[generator(config.seed, *parts).integers(len(assets))]
        placement = sample(
            generator(config.seed, *parts, asset.asset_id), asset, faces[number], config.seed, config.jitter
        )
        drawn = render(masked, asset, placement)
        coverage = covered_fraction(drawn.alpha, faces[number].points)
        placements.insert(0, replace(placement, coverage=coverage))
        masked, alpha = drawn.image, np.maximum(alpha, drawn.alpha)
    return masked, alpha, placements


def covered_fraction(alpha: np.ndarray, points: np.ndarray) -> float:
    """Sum of alpha (0..1) inside the mesh's face oval over the oval's area within the picture; NaN outside of it."""
    oval = np.zeros(alpha.shape, np.uint8)
    cv2.fillPoly(oval, [np.rint(points[list(FACE_OVAL), :2]).astype(np.int32)], 1)
    area = int(oval.sum())
    return round(float(alpha[oval > 0].sum() / 255.0 / area), 4) if area else math.nan
