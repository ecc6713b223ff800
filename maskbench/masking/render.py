"""Draw a placed mask on a picture: pure, deterministic, NumPy and OpenCV only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from maskbench.images import looks_grey
from maskbench.masking.geometry import Surface, build_surface
from maskbench.masking.lighting import LUMA, estimate_light
from maskbench.masking.pose import pose
from maskbench.masking.raster import SurfaceMap, rasterise
from maskbench.masking.space import scale_of
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
    points, opacity = pose(surface, control)
    attributes = (surface.uv[:, 0], surface.uv[:, 1], light.shade(surface.normals), opacity)
    seen = rasterise(points, surface.triangles, attributes, width, height)
    if seen is None:
        return MaskedImage(out, alpha, placement)

    rgb, cover = _sample_texture(asset, placement.colour, seen, _texels_per_pixel(asset, surface, control))
    shade, opacity_seen = seen.values[2:]
    on_strap = seen.triangle >= surface.panel_triangles
    cover *= np.where(on_strap, 1, _soft_outline(seen.triangle >= 0)) * opacity_seen
    rgb *= (light.gain * light.colour).astype(np.float32) * shade[..., None]
    if looks_grey(image):
        rgb = np.repeat((rgb @ LUMA.astype(np.float32))[..., None], 3, axis=-1)
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


def _texels_per_pixel(asset: MaskAsset, surface: Surface, control: np.ndarray) -> float:
    """Along one axis, over the panel of a face that looks at the camera."""
    height, width = asset.texture.shape[:2]
    return surface.uv_per_unit * float(np.sqrt(width * height)) / max(scale_of(control), 1e-6)


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


def _sample_texture(asset: MaskAsset, colour: str, seen: SurfaceMap, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Straight RGB (h, w, 3) and alpha (h, w) of each pixel, float32, from the level of detail that fits."""
    deepest = int(np.log(min(asset.texture.shape[:2]) / SMALLEST_TEXTURE) / np.log(LEVEL_RATIO))
    level = int(np.clip(round(np.log(max(density, 1.0)) / np.log(LEVEL_RATIO)), 0, deepest))
    texture = _level(asset, colour, level)
    # Where nothing is seen the values are -1, which lies outside the texture.
    x = seen.values[0] * texture.shape[1] - np.float32(0.5)
    y = seen.values[1] * texture.shape[0] - np.float32(0.5)
    sampled = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    cover = sampled[..., 3]
    return sampled[..., :3] / np.maximum(cover, 1e-6)[..., None], cover.copy()


def _soft_outline(covered: np.ndarray) -> np.ndarray:
    """Antialias the silhouette, where the surface turns away and the texture's own soft edge is out of sight."""
    smooth = cv2.GaussianBlur(covered.astype(np.float32), (3, 3), 0, borderType=cv2.BORDER_REPLICATE)
    return np.clip(2 * smooth - 1, 0, 1) * covered
