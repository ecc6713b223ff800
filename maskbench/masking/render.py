"""Draw a placed mask on a picture: pure and deterministic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.images import recompress
from maskbench.masking.compression import compress_grey
from maskbench.masking.geometry import STRAP_STEPS, Surface, build_surface
from maskbench.masking.grain import TILE, Grain, face_grain, looks_grey, noise_tile
from maskbench.masking.kernels import (
    blend,
    bounds,
    channels_equal,
    copy_covered,
    draw_surface,
    totals,
    without_colour,
)
from maskbench.masking.lighting import Light, estimate_light, face_colour, hide_behind
from maskbench.masking.pose import pose
from maskbench.masking.space import scale_of
from maskbench.masking.wearing import worn_geometry
from maskbench.types import MaskAsset, Placement

SMALLEST_TEXTURE = 16  # pixels a side
MOST_OFF, TOLERANCES = 0.8, (0.0, 0.004, 0.007, 0.012, 0.02, 0.035)  # pixels; inter-ocular distances
OWN_BLUR = 0.5  # pixels: by how much the renderer itself blurs
FINE_JPEG = 93  # quality from which compression leaves no grain to match
JPEG_MARGIN = 16


@dataclass(frozen=True)
class MaskedImage:
    """A picture with a mask.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) uint8, 0 = untouched.
        placement: of the mask; the first one's where a recipe puts on several.
        placements: of all masks in drawing order, where there may be several; else empty.
    """

    image: np.ndarray
    alpha: np.ndarray
    placement: Placement
    placements: tuple[Placement, ...] = ()


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: columns x0 to x1 and rows y0 to y1, the ends excluded."""

    x0: int
    y0: int
    x1: int
    y1: int


def render(image: np.ndarray, asset: MaskAsset, placement: Placement) -> MaskedImage:
    """Draw ``asset`` as ``placement`` says.

    Args:
        image: (H, W, 3) uint8 RGB; never written to.

    Returns:
        The new picture. Where its alpha is 0 every pixel equals the input's.
    """
    out = image.copy()
    return MaskedImage(out, draw_on(out, asset, placement), placement)


def draw_on(image: np.ndarray, asset: MaskAsset, placement: Placement, grey: bool = False) -> np.ndarray:
    """Draw ``asset`` as ``placement`` says, in place on an (H, W, 3) uint8 RGB picture.

    Args:
        grey: the channels are known to be equal, which spares looking; they stay so, whether it is said or not.

    Returns:
        The mask's alpha (H, W) uint8; where it is 0 the picture is as it was.
    """
    alpha = np.zeros(image.shape[:2], np.uint8)
    control = placement.control_points.astype(np.float64)
    surface = surface_of(asset, placement.style, placement.size, tolerance_of(scale_of(control)))
    points, opacity = pose(surface, control)
    hide_straps(image, surface, points, opacity)
    light, grain = estimate_light(image, control), face_grain(image, control, grey)
    blur = extra_blur(grain)
    window = visible_window(points, image.shape, int(np.ceil(3 * blur)))
    if window is None:
        return alpha

    tint = tint_of(image, control, asset, placement.colour, light)
    layer = _draw(asset, surface, control, points, opacity, light, tint, window)
    if grey or looks_grey(image):
        layer = without_colour(layer)
    if blur > 0:
        layer = cv2.GaussianBlur(layer, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
    shift = grain_shift(placement)
    blend(
        image, alpha, layer, window.x0, window.y0, noise_tile(), grain.noise,
        (window.x0 + shift[0]) % TILE, (window.y0 + shift[1]) % TILE,
    )  # fmt: skip
    quality = int(placement.parameters.get("jpeg", 0))
    if 0 < quality < FINE_JPEG:
        _compress(image, alpha, window, quality, grey)
    return alpha


def _draw(
    asset: MaskAsset, surface: Surface, control: np.ndarray, points: np.ndarray, opacity: np.ndarray, light: Light,
    tint: np.ndarray, window: Window,
) -> np.ndarray:  # fmt: skip
    """The mask alone in a window: (h, w, 4) float32, colour premultiplied by alpha, 0..1."""
    layer = np.zeros((window.y1 - window.y0, window.x1 - window.x0, 4), np.float32)
    attributes = np.empty((4, len(points)))
    attributes[:2], attributes[2], attributes[3] = surface.uv.T, light.shade(surface.normals), opacity
    texels, levels = texture_levels(asset)
    tints = np.ones((len(surface.layers), 4), np.float32)
    tints[:, :3] = [tint if part.tinted else light.gain * light.colour for part in surface.layers]
    draw_surface(
        layer, points, window.x0, window.y0, surface.triangles, surface.parts, attributes, texels, levels, tints
    )
    return layer


def hide_straps(image: np.ndarray, surface: Surface, points: np.ndarray, opacity: np.ndarray) -> None:
    """Take from the ``opacity`` (V,) of straps where they pass under hair."""
    if len(surface.strap_width):
        hide_behind(image, points[len(surface.nodes) :], opacity[len(surface.nodes) :], STRAP_STEPS)


@lru_cache(maxsize=512)
def surface_of(asset: MaskAsset, style: str = "correct", size: float = 1.0, tolerance: float = 0.0) -> Surface:
    """The asset's surface as worn, built once per process; ``tolerance`` as ``tolerance_of`` gives it."""
    return build_surface(worn_geometry(asset.geometry, style, size), tolerance)


def tolerance_of(scale: float) -> float:
    """By how much the surface may deviate on a face of so many pixels between the eyes, in inter-ocular distances."""
    fitting = [tolerance for tolerance in TOLERANCES if tolerance * scale <= MOST_OFF]
    return max(fitting)


def visible_window(points: np.ndarray, shape: tuple[int, ...], margin: int) -> Window | None:
    """The part of the picture that a mesh (V, 3) can touch, with a margin, or None."""
    left, right, top, bottom = bounds(points)
    x0, y0 = max(0, math.floor(left) - margin), max(0, math.floor(top) - margin)
    x1, y1 = min(shape[1], math.ceil(right) + 1 + margin), min(shape[0], math.ceil(bottom) + 1 + margin)
    return Window(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def extra_blur(grain: Grain) -> float:
    """Standard deviation of the Gaussian that makes the mask as soft as the photograph; 0 where it is soft enough."""
    extra = float(np.sqrt(max(grain.blur**2 - OWN_BLUR**2, 0.0)))
    return extra if extra >= 0.25 else 0.0


def grain_shift(placement: Placement) -> tuple[int, int]:
    """Where in the noise tile this face begins: another place for another face, the same for the same."""
    x, y = totals(placement.control_points)
    return round(x * 100) % TILE, round(y * 100) % TILE


def tint_of(image: np.ndarray, control: np.ndarray, asset: MaskAsset, colour: str, light: Light) -> np.ndarray:
    """What multiplies the texture of tinted layers, the light included: (3,) float64.

    Raises:
        MaskbenchError: the asset has no such colourway and it is not of the form "#rrggbb".
    """
    given: tuple[int, int, int] | str | None = asset.colourways.get(colour)
    if given is None and len(colour) == 7 and colour.startswith("#"):
        try:
            given = tuple(bytes.fromhex(colour[1:]))
        except ValueError:
            given = None
    if given is None:
        known = ", ".join(sorted(asset.colourways))
        raise MaskbenchError(f'mask {asset.asset_id}: no colour "{colour}"; use one of {known}, or #rrggbb')
    if isinstance(given, str):  # as it appears in the picture, so the light is in it already
        return face_colour(image, control, given)
    return np.array(given, np.float64) / 255.0 * light.gain * light.colour


@lru_cache(maxsize=256)
def texture_levels(asset: MaskAsset) -> tuple[np.ndarray, np.ndarray]:
    """The texture, premultiplied by alpha, at all levels of detail, row after row: texels (N, 4) uint8, and each
    level's first texel, width and height (L, 3) int64. Each level is sqrt(2) smaller than the one before.
    """
    texture = asset.texture.astype(np.float32)
    texture[..., :3] *= texture[..., 3:] / 255.0
    height, width = texture.shape[:2]
    count = 1 + max(0, int(2 * np.log2(min(height, width) / SMALLEST_TEXTURE)))
    sizes = [(round(width / 2 ** (k / 2)), round(height / 2 ** (k / 2))) for k in range(count)]
    levels = [np.rint(cv2.resize(texture, size, interpolation=cv2.INTER_AREA)).astype(np.uint8) for size in sizes]
    first = np.cumsum([0] + [wide * high for wide, high in sizes])
    texels = np.concatenate([level.reshape(-1, 4) for level in levels])
    return texels, np.column_stack([first[:-1], np.array(sizes, np.int64)])


def _compress(image: np.ndarray, alpha: np.ndarray, window: Window, quality: int, grey: bool) -> None:
    """Give the masked pixels of ``image`` the grain of JPEG at this quality, on the photograph's own block grid."""
    grid = JPEG_MARGIN
    y0, x0 = (max(0, start // grid * grid) for start in (window.y0, window.x0))
    y1, x1 = (min(-(-end // grid) * grid, n) for end, n in ((window.y1, alpha.shape[0]), (window.x1, alpha.shape[1])))
    part = image[y0:y1, x0:x1]
    if grey or channels_equal(image, x0, y0, x1, y1):
        compress_grey(image, alpha, cv2.extractChannel(part, 0), x0, y0, quality)
    else:
        copy_covered(image, alpha, recompress(part, quality), x0, y0)
