"""One picture in memory: the shortest way to a masked face."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from maskbench.digest import array_sha256
from maskbench.errors import ImageError
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.faces import choose_faces, mask_faces, no_face
from maskbench.masking.recipes import Recipe, resolve_recipe
from maskbench.masking.render import MaskedImage
from maskbench.masking.wardrobe import Wardrobe


def apply_mask(
    image: np.ndarray, mask: str | None = None, seed: int = 0, landmarks: str = "auto",
    masks_dirs: Sequence[Path | str] = (), recipe: str | Path | Recipe | None = None, colour: Sequence[str] | str = (),
    style: Sequence[str] | str = (), coverage: Sequence[str] | str = (), shape: Sequence[str] | str = (),
    fraction: float | None = None,
) -> MaskedImage:  # fmt: skip
    """Paste a mask on the largest face of a picture.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        mask: asset ids separated by commas, or "all"; one is drawn. Without it the recipe decides.
        seed: with the pixels it decides mask, colour and position.
        landmarks: "auto", "mediapipe" or "aligned".
        masks_dirs: further folders of mask assets.
        recipe, colour, style, coverage, shape, fraction: see ``recipes.resolve_recipe``; the recipe is "worn" unless
            something else is asked for.

    Returns:
        The masked picture, its alpha (H, W) uint8 (0 = untouched) and the placement with its coverage. Where the recipe
        puts several masks on a face that is the first one's; ``placements`` has all.

    Raises:
        ImageError: the array is no picture, or shows no face.
        MaskbenchError: no such mask, recipe, colour, style or landmarker.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an array is needed, not {type(image).__name__}; read the picture first")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"an image of shape (H, W, 3) and type uint8 is needed, not {image.shape} {image.dtype}")
    wardrobe = Wardrobe.open(resolve_recipe(mask, recipe, coverage, shape, colour, style, fraction), masks_dirs)
    digest = array_sha256(image)
    found = _landmarker(landmarks).detect(image, digest)
    faces = choose_faces(found, image.shape, "largest")
    if not faces:
        raise ImageError(f"{no_face(found, landmarks)}; give a picture that shows a face")
    masked = mask_faces(image.copy(), faces, wardrobe, digest, seed)
    return MaskedImage(masked.image, masked.alpha, masked.placements[0], tuple(masked.placements))


@lru_cache(maxsize=4)
def _landmarker(name: str) -> CachedLandmarker:
    return CachedLandmarker(name)
