"""One picture in memory: the shortest way to a masked face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from maskbench.digest import array_sha256, generator
from maskbench.errors import ImageError
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.assets import select_assets
from maskbench.masking.faces import choose_faces, covered_fraction, no_face
from maskbench.masking.placement import sample
from maskbench.masking.render import MaskedImage, render


def apply_mask(
    image: np.ndarray, mask: str = "all", seed: int = 0, landmarks: str = "auto", masks_dirs: Sequence[Path | str] = ()
) -> MaskedImage:
    """Paste a mask on the largest face of a picture.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        mask: asset ids separated by commas, or "all"; one is drawn.
        seed: with the pixels it decides mask, colour and position.
        landmarks: "auto", "mediapipe" or "aligned".
        masks_dirs: further folders of mask assets.

    Returns:
        The masked picture, its alpha (H, W) uint8 (0 = untouched) and the placement with its coverage.

    Raises:
        ImageError: the array is no picture, or shows no face.
        MaskbenchError: no such mask or landmarker.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an array is needed, not {type(image).__name__}; read the picture first")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"an image of shape (H, W, 3) and type uint8 is needed, not {image.shape} {image.dtype}")
    assets, digest = select_assets(mask, *map(Path, masks_dirs)), array_sha256(image)
    found = _landmarker(landmarks).detect(image, digest)
    faces = choose_faces(found, image.shape, "largest")
    if not faces:
        raise ImageError(f"{no_face(found, landmarks)}; give a picture that shows a face")
    asset = assets[generator(seed, digest).integers(len(assets))]
    drawn = render(image, asset, sample(generator(seed, digest, asset.asset_id), asset, faces[0], seed))
    coverage = covered_fraction(drawn.alpha, faces[0].points)
    return replace(drawn, placement=replace(drawn.placement, coverage=coverage))


@lru_cache(maxsize=4)
def _landmarker(name: str) -> CachedLandmarker:
    return CachedLandmarker(name)
