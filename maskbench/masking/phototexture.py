"""From a photo of a mask with an alpha channel to a texture: read, straightened, with soft edge, shadow and straps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from maskbench.errors import ImageError
from maskbench.images import declared_size, read_bytes
from maskbench.masking.anchors import Warp, outline_of

SMALLEST, LARGEST = 96, 8192  # pixels: of the mask on the photo, and of the photo
SIDES = (512, 1024)  # of the texture; the larger one for photos that show more than the smaller could hold
PANEL_SHARE = 0.84375  # of the texture's height; the straps' row lies below
STRAP_SHARE = (0.875, 0.96875)
PANEL_UV = [0.0, 0.0, 1.0, PANEL_SHARE]
STRAP_UV = [0.0, STRAP_SHARE[0], 1.0, STRAP_SHARE[1]]
MARGIN = 0.035  # of the panel on each side: room for the soft edge and the contact shadow
INSET = 0.012  # of the mask on each side that is left out: the cut-out's rim shows the photo's background
ROUNDNESS = 0.05  # of the panel's corners


def read_photo(path: Path) -> np.ndarray:
    """Read a PNG or WebP with an alpha channel: (H, W, 4) uint8 RGBA.

    Raises:
        ImageError: unreadable, no alpha channel or nothing transparent in it, or too large.
    """
    data = read_bytes(path)
    size = declared_size(data)
    if size is None:
        raise ImageError(f"{path}: not a readable PNG or WebP picture; convert it to PNG with an alpha channel")
    if max(size) > LARGEST:
        raise ImageError(f"{path}: {size[0]}x{size[1]} pixels, more than {LARGEST} a side; reduce the photo")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ImageError(f"{path}: damaged image; fetch it again")
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim != 3 or image.shape[2] != 4 or image[..., 3].min() == 255:
        raise ImageError(f"{path}: nothing is transparent; cut the mask out and save it as PNG with an alpha channel")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def find_outline(photo: np.ndarray, path: Path) -> np.ndarray:
    """The mask's outline on the photo (see ``anchors.outline_of``).

    Raises:
        ImageError: no mask, two of them, or one too small; ``path`` is named.
    """
    try:
        outline = outline_of(photo[..., 3])
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    wide, high = np.ptp(outline, axis=0) + 1
    if min(wide, high) < SMALLEST:
        raise ImageError(
            f"{path}: the mask is {wide:.0f}x{high:.0f} pixels large, less than {SMALLEST}; take a larger photo"
        )
    return outline


def texture_of(photo: np.ndarray, warp: Warp, strap_colour: Sequence[int]) -> np.ndarray:
    """The texture atlas, (S, S, 4) uint8 RGBA: the straightened mask with its contact shadow above, a strap below.

    Args:
        photo: (H, W, 4) uint8 RGBA.
        strap_colour: RGB.
    """
    corners = np.array([warp(np.array(u), np.array(v)) for u, v in ((0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1))])
    wide, high = np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[3] - corners[2])
    side = SIDES[0] if max(wide, high) <= 1.5 * SIDES[0] else SIDES[1]
    rows = round(side * PANEL_SHARE)
    u, v = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(rows) + 0.5) / rows)
    colour, opacity = _straightened(photo, warp, u, v, np.sqrt(wide * high / (side * rows)))
    cover = _step(_rounded(u, v), 0.0, 4.4 / SIDES[0]) * opacity
    atlas = np.zeros((side, side, 4))
    atlas[:rows] = _shadowed(colour, cover, _rim(u, v))
    low, high = (round(side * share) for share in STRAP_SHARE)
    atlas[low:high] = _strap(high - low, side, np.asarray(strap_colour) / 255)
    return np.clip(np.rint(atlas * 255), 0, 255).astype(np.uint8)


def _straightened(
    photo: np.ndarray, warp: Warp, u: np.ndarray, v: np.ndarray, shrink: float
) -> tuple[np.ndarray, np.ndarray]:
    """Straight colour (..., 3) and alpha (...), 0..1, of the photo at panel coordinates u, v."""
    premultiplied = photo.astype(np.float32) / 255
    premultiplied[..., :3] *= premultiplied[..., 3:]
    height, width = photo.shape[:2]
    if shrink > 1:  # so that no detail between two texels is lost
        size = max(1, round(width / shrink)), max(1, round(height / shrink))
        premultiplied = cv2.resize(premultiplied, size, interpolation=cv2.INTER_AREA)
    inner = [np.clip((axis - MARGIN) / (1 - 2 * MARGIN), INSET, 1 - INSET) for axis in (u, v)]
    where = (warp(*inner) + 0.5) * [premultiplied.shape[1] / width, premultiplied.shape[0] / height] - 0.5
    where = where.astype(np.float32)
    sampled = cv2.remap(premultiplied, where[..., 0], where[..., 1], cv2.INTER_LINEAR)
    alpha = sampled[..., 3]
    return sampled[..., :3] / np.maximum(alpha, 1e-3)[..., None], alpha


def _step(value: np.ndarray, edge: float, width: float) -> np.ndarray:
    """A smooth step from 0 below ``edge`` to 1 above."""
    t = np.clip((value - edge) / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _rounded(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance, positive inside, to the rounded rectangle within the margins, in units of the panel."""
    qx, qy = (np.abs(axis - 0.5) - (0.5 - MARGIN - ROUNDNESS) for axis in (u, v))
    outer = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)
    return ROUNDNESS - outer


def _rim(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """0 on the border of the panel's rectangle, 1 from a third of the margin on: nothing may touch the border."""
    border = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    return _step(border, MARGIN / 4, MARGIN / 4)


def _shadowed(colour: np.ndarray, cover: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """RGBA of cloth with a soft contact shadow around it, 0..1."""
    outside = (cover < 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / cover.shape[1]
    shadow = 0.34 * np.exp(-((distance / (0.5 * MARGIN)) ** 2))
    alpha = (cover + (1 - cover) * shadow) * rim
    return np.dstack([colour * (cover * rim / np.maximum(alpha, 1e-6))[..., None], alpha])


def _strap(rows: int, columns: int, colour: np.ndarray) -> np.ndarray:
    """A plain round strap, RGBA 0..1, that ends softly on the right and shades the skin beside it."""
    across = ((np.arange(rows) + 0.5) / rows * 2 - 1)[:, None]
    along = ((np.arange(columns) + 0.5) / columns)[None]
    body = _step(0.42 - np.abs(across), 0.0, 0.16) * (1 - _step(along, 0.93, 0.12))
    beside = np.exp(-((np.maximum(np.abs(across) - 0.42, 0) / 0.22) ** 2)) * _step(1 - np.abs(across), 0.1, 0.2)
    shadow = 0.22 * beside * (1 - _step(along, 0.85, 0.2))
    alpha = body + (1 - body) * shadow
    shade = np.clip(1 - 0.30 * (across / 0.42) ** 2, 0.4, 1) * body / np.maximum(alpha, 1e-6)
    return np.dstack([shade[..., None] * colour, alpha])
