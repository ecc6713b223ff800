"""Colour, blur and blend for ``render_torch``: the rules of kernels.py on lists of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from maskbench.masking.grain import TILE, noise_tile
from maskbench.masking.render import texture_levels
from maskbench.masking.torch_raster import Mesh, Pixels, pick
from maskbench.pixels import LUMA
from maskbench.types import MaskAsset


@dataclass(frozen=True)
class Textures:
    """The textures of a batch.

    Attributes:
        assets: those that occur, each once; kind: (B,) which of them each picture wears.
        levels: (4, L) float64 left, top, width and height of the levels of detail of all assets.
        first: (B,) where in ``levels`` those of a picture's asset begin; last: (B,) where they end, included.
    """

    assets: tuple[MaskAsset, ...]
    kind: Tensor
    levels: Tensor
    first: Tensor
    last: Tensor


def textures_of(assets: tuple[MaskAsset, ...], kind: Tensor) -> Textures:
    """Collect the levels of detail of ``assets``; ``kind`` (B,) says which of them each picture wears."""
    levels, first, last = _levels(assets, kind.device)
    return Textures(assets, kind, levels, first[kind], last[kind])


@lru_cache(maxsize=64)
def _levels(assets: tuple[MaskAsset, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    tables = [packed_levels(asset)[1] for asset in assets]
    end = np.cumsum([len(table) for table in tables])
    arrays = (np.concatenate(tables).T.astype(np.float64), np.append(0, end[:-1]), end - 1)
    return tuple(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)


@lru_cache(maxsize=256)
def packed_levels(asset: MaskAsset) -> tuple[np.ndarray, np.ndarray]:
    """``texture_levels`` side by side in one picture (H, W, 4) uint8, and where each lies: (L, 4) int64, left, top,
    width, height."""
    texels, levels = texture_levels(asset)
    places, column, row, widest, height = [], 0, 0, 0, int(levels[0, 2])
    for _, wide, high in levels.tolist():
        if row + high > height:
            column, row, widest = column + widest, 0, 0
        places.append((column, row, wide, high))
        row, widest = row + high, max(widest, wide)
    packed = np.zeros((height, column + widest, 4), np.uint8)
    for (left, top, wide, high), first in zip(places, levels[:, 0], strict=True):
        packed[top : top + high, left : left + wide] = texels[first : first + wide * high].reshape(high, wide, 4)
    return packed, np.array(places, np.int64)


@lru_cache(maxsize=8)
def _atlas(assets: tuple[MaskAsset, ...], finest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The assets' packed textures below one another, from the level ``finest`` on: (1, 4, h, w) float32, 0..255; and
    what is to be added to a position in an asset's packed texture to find it there, (2, assets) float64."""
    parts, shifts, row = [], [], 0
    for asset in assets:
        packed, levels = packed_levels(asset)
        kept = levels[min(finest, len(levels) - 1) :]
        left, top = kept[:, :2].min(0)
        right, bottom = (kept[:, :2] + kept[:, 2:]).max(0)
        parts.append(packed[top:bottom, left:right].transpose(2, 0, 1))
        shifts.append((-left, row - top))
        row += bottom - top
    widest = max(part.shape[2] for part in parts)
    whole = np.concatenate([np.pad(part, ((0, 0), (0, 0), (0, widest - part.shape[2]))) for part in parts], 1)
    shift = np.array(shifts, np.float64).T.copy()
    return torch.from_numpy(whole[None]).to(device).float(), torch.from_numpy(shift).to(device)


def planes(mesh: Mesh, samples: int, attributes: Tensor, textures: Textures) -> tuple[Tensor, Tensor]:
    """As ``kernels._planes``: what each triangle adds to its pixels.

    Args:
        attributes: (4, V) float64: u and v in 0..1, brightness, opacity.

    Returns:
        (16, T) float64: the attributes as a + b x + c y, all a first, u and v in texels of the triangle's level; then
        that level's left, top, width and height. And the level (T,), counted from the asset's first.
    """
    x, y = pick(mesh.x, mesh.corners), pick(mesh.y, mesh.corners)
    ex, ey, fx, fy = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = ex * fy - ey * fx
    value = pick(attributes, mesh.corners)  # (4, 3, T)
    e, f = value[:, 1] - value[:, 0], value[:, 2] - value[:, 0]
    across, down = (e * fy - f * ey) / area, (f * ex - e * fx) / area  # (4, T)
    offset = value[:, 0] - across * x[0] - down * y[0]
    first, last = pick(textures.first, mesh.picture), pick(textures.last, mesh.picture)
    finest = pick(textures.levels[2:], first)
    steep = torch.maximum(*(((slope[:2] * finest) ** 2).sum(0) for slope in (across, down)))
    octaves = torch.log2((samples**2 * steep).clamp(min=1.0))
    number = torch.floor(octaves + 0.5).nan_to_num(0.0, 0.0).clamp(0, 1e6).long().minimum(last - first)
    level = pick(textures.levels, first + number)
    for slope in (offset, across, down):
        slope[:2] *= level[2:]
    offset[:2] -= 0.5
    return torch.cat([offset, across, down, level]), number


def shade(pixels: Pixels, mesh: Mesh, samples: int, attributes: Tensor, textures: Textures, tint: Tensor) -> Tensor:
    """The colour of each pixel: (4, N) float32, premultiplied by alpha, 0..1.

    Args:
        tint: (3, D) float64, multiplies the colour of each draw.
    """
    table, level = planes(mesh, samples, attributes, textures)
    row = pick(table, pixels.triangle)
    u, v, bright, opacity = row[:4] + row[4:8] * pixels.x + row[8:12] * pixels.y
    left, top, width, height = row[12:]
    spot = torch.stack([left + u.clamp(min=0).minimum(width - 1), top + v.clamp(min=0).minimum(height - 1)])
    kind = pick(textures.kind, pick(mesh.picture_of, pixels.draw))
    texel = _texels(spot, kind, int(level[pixels.triangle].min()) if len(kind) else 0, textures)
    bright, opacity = bright.clamp(min=0.0), opacity.clamp(0.0, 1.0)  # as in kernels._shade
    cover = (opacity * pixels.cover / 255.0).float()
    alpha = cover * texel[3]
    lit = texel[:3] * (bright.float() * cover) * pick(tint.float(), pixels.draw)
    return torch.cat([lit.minimum(alpha), alpha[None]])


def _texels(spot: Tensor, kind: Tensor, finest: int, textures: Textures) -> Tensor:
    """Bilinear texels (4, N) at positions (2, N) in the packed textures.

    With ``align_corners`` -1 and 1 are the centres of the first and the last texel. A position never leaves its level,
    so that neighbours do not bleed in.
    """
    # Even levels only, so that few atlases are kept.
    atlas, shift = _atlas(textures.assets, finest // 2 * 2, spot.device)
    size = spot.new_tensor([[atlas.shape[3] - 1], [atlas.shape[2] - 1]])
    grid = ((spot + pick(shift, kind)) * (2 / size) - 1).T.float()
    return grid_sample(atlas, grid[None, None], "bilinear", "border", align_corners=True)[0, :, 0]


def blur(canvas: Tensor, sigma: Tensor) -> Tensor:
    """As ``cv2.GaussianBlur`` with replicated borders, each picture by its own deviation: (B, 4, h, w) float32.

    Args:
        sigma: (B,) float64; 0 leaves a picture as it is.
    """
    half = torch.where(sigma > 0, (torch.round(sigma * 8 + 1).long() | 1) // 2, 0)
    half, order = half.sort(descending=True)
    reach = half.tolist()
    count, most = sum(value > 0 for value in reach), max(reach, default=0)
    if not count:
        return canvas
    order = order[:count]
    taps = torch.arange(most + 1, device=sigma.device)
    weight = torch.exp(-(taps**2) / (2 * sigma[order, None] ** 2)) * (taps <= half[:count, None])
    weight = (weight / (2 * weight.sum(1, keepdim=True) - weight[:, :1])).float()[..., None, None, None]
    part = canvas[order]
    for axis in (3, 2):
        part = _blur_along(part, weight, reach[:count], axis)
    canvas[order] = part
    return canvas


def _blur_along(part: Tensor, weight: Tensor, reach: list[int], axis: int) -> Tensor:
    """One axis; the pictures come with the widest kernel first."""
    most, size = reach[0], part.shape[axis]
    wide = pad(part, (most, most, 0, 0) if axis == 3 else (0, 0, most, most), mode="replicate")
    out = part * weight[:, 0]
    for tap in range(1, most + 1):
        count = sum(value >= tap for value in reach)
        for shift in (most - tap, most + tap):
            out[:count].addcmul_(wide[:count].narrow(axis, shift, size), weight[:count, tap])
    return out


@lru_cache(maxsize=8)
def _tile(device: torch.device) -> Tensor:
    return torch.from_numpy(noise_tile()).to(device).reshape(-1)


def blend(
    images: Tensor, alpha: Tensor, canvas: Tensor, corner: Tensor, window: Tensor, noise: Tensor, shift: Tensor,
    grey: Tensor,
) -> None:  # fmt: skip
    """As ``kernels.blend``, in place.

    Args:
        images: (B, 3, H, W) uint8; alpha: (B, H, W) uint8, receives the rounded alpha.
        canvas: (B, 4, h, w) float32, premultiplied, 0..1; corner: (B, 2) x and y of its first pixel.
        window: (B, 4) x0, y0, x1, y1 outside of which nothing is drawn.
        noise: (B,) strength in units of 1/255; shift: (B, 2) where in the tile a picture begins; grey: (B,) bool.
    """
    height, width = images.shape[2:]
    x = corner[:, 0, None, None] + torch.arange(canvas.shape[3], device=corner.device)
    y = corner[:, 1, None, None] + torch.arange(canvas.shape[2], device=corner.device)[:, None]
    x0, y0, x1, y1 = (value[:, None, None] for value in window.T)
    within = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    level = torch.where(within, torch.floor(255.0 * canvas[:, 3] + 0.5), 0.0)
    place = (y * width + x).flatten(1)
    across, down = (shift[:, axis, None, None] for axis in (0, 1))
    grain = pick(_tile(images.device), (y + down) % TILE * TILE + (x + across) % TILE)
    red, green, blue = (float(value) for value in LUMA)
    luma = red * canvas[:, 0] + green * canvas[:, 1] + blue * canvas[:, 2]
    colour = torch.where(grey[:, None, None, None], luma[:, None], canvas[:, :3])
    over = 255.0 * colour / canvas[:, 3:].clamp(min=1e-12) + (noise.float()[:, None, None] * grain)[:, None]
    under = images.flatten(2).gather(2, place[:, None].expand(-1, 3, -1)).view_as(over)
    weight = (level / 255.0)[:, None]
    mixed = torch.floor(under * (1.0 - weight) + over.clamp(0.0, 255.0) * weight + 0.5)
    mixed = torch.where(weight > 0, mixed, under).to(torch.uint8)
    images.flatten(2).scatter_(2, place[:, None].expand(-1, 3, -1), mixed.flatten(2))
    alpha.flatten(1).scatter_(1, place, level.to(torch.uint8).flatten(1))
