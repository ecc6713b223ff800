"""Draw a placed mask on a picture: pure, deterministic, NumPy and OpenCV only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from maskbench.images import looks_grey
from maskbench.masking.geometry import Surface, build_surface
from maskbench.masking.lighting import LUMA, estimate_light
from maskbench.masking.pose import pose, texels_per_pixel
from maskbench.masking.raster import UvMap, rasterise
from maskbench.types import MaskAsset, Placement

LEVEL_RATIO = 2**0.5
SMALLEST_TEXTURE = 24


@dataclass(frozen=True)
class MaskedImage:
    """A picture with a mask: ``image`` (H, W, 3) uint8 RGB, ``alpha`` (H, W) uint8 (0 = untouched), its placement."""

    image: np.ndarray
    alpha: np.ndarray
    placement: Placement


def render(image: np.ndarray, asset: MaskAsset, placement: Placement) -> MaskedImage:
    """Draw ``asset`` as ``placement`` says.

    Args:
        image: (H, W, 3) uint8 RGB; never written to.

    Returns:
        The new picture. Where its alpha is 0 every pixel equals the input's.
    """
    height, width = image.shape[:2]
    out, alpha = image.copy(), np.zeros((height, width), np.uint8)
    control = placement.control_points.astype(np.float64)
    light = estimate_light(image, control)
    surface = surface_of(asset)
    mesh = pose(surface, control)
    on_panel = np.arange(len(mesh.points)) < len(surface.nodes)
    attributes = np.column_stack([mesh.uv, light.shade(mesh.normals), mesh.opacity, on_panel])
    seen = rasterise(mesh.points, mesh.triangles, attributes, width, height)
    if seen is None:
        return MaskedImage(out, alpha, placement)

    rgb, cover = _sample_texture(asset, placement.colour, seen, texels_per_pixel(mesh, asset.texture.shape))
    cover *= np.where(seen.values[..., 4] > 0.5, _soft_outline(seen.covered), 1) * seen.values[..., 3]
    rgb *= (light.gain * light.colour).astype(np.float32) * seen.values[..., 2:3]
    if looks_grey(image):
        rgb = np.repeat((rgb @ LUMA)[..., None], 3, axis=-1)
    window = np.s_[seen.y0 : seen.y0 + cover.shape[0], seen.x0 : seen.x0 + cover.shape[1]]
    alpha[window] = np.rint(cover * 255)
    weight = alpha[window].astype(np.float32)[..., None] / 255.0
    blend = image[window] * (1 - weight) + np.clip(rgb, 0, 1) * (255 * weight)
    out[window] = np.where(weight > 0, np.rint(blend), image[window]).astype(np.uint8)
    return MaskedImage(out, alpha, placement)


@lru_cache(maxsize=256)
def surface_of(asset: MaskAsset) -> Surface:
    """The asset's surface, built once per process."""
    return build_surface(asset.geometry)


@lru_cache(maxsize=512)
def _level(asset: MaskAsset, colour: str, level: int) -> np.ndarray:
    """The tinted texture, premultiplied by alpha and reduced by ``LEVEL_RATIO ** level``: (h, w, 4) float32, 0..1."""
    texture = asset.texture.astype(np.float32) / 255.0
    tint = np.array(asset.colourways[colour], np.float32) / 255.0
    tinted = round(texture.shape[0] * asset.geometry.get("tinted", 1.0))
    texture[:tinted, :, :3] *= tint
    texture[..., :3] *= texture[..., 3:]
    scale = LEVEL_RATIO**-level
    size = [max(SMALLEST_TEXTURE, round(side * scale)) for side in (texture.shape[1], texture.shape[0])]
    return cv2.resize(texture, size, interpolation=cv2.INTER_AREA) if level else texture


def _sample_texture(asset: MaskAsset, colour: str, seen: UvMap, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Straight RGB (h, w, 3) and alpha (h, w) of each pixel, float32, from the level of detail that fits."""
    deepest = int(np.log(min(asset.texture.shape[:2]) / SMALLEST_TEXTURE) / np.log(LEVEL_RATIO))
    level = int(np.clip(round(np.log(max(density, 1.0)) / np.log(LEVEL_RATIO)), 0, deepest))
    texture = _level(asset, colour, level)
    x = np.where(seen.covered, seen.values[..., 0] * texture.shape[1] - 0.5, -9).astype(np.float32)
    y = np.where(seen.covered, seen.values[..., 1] * texture.shape[0] - 0.5, -9).astype(np.float32)
    sampled = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    cover = sampled[..., 3]
    return sampled[..., :3] / np.maximum(cover, 1e-6)[..., None], cover.copy()


def _soft_outline(covered: np.ndarray) -> np.ndarray:
    """Antialias the silhouette, where the surface turns away and the texture's own soft edge is out of sight."""
    smooth = cv2.GaussianBlur(covered.astype(np.float32), (3, 3), 0, borderType=cv2.BORDER_REPLICATE)
    return np.clip(2 * smooth - 1, 0, 1) * covered
