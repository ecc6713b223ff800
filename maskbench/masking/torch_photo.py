"""What ``render_torch`` reads from a batch of photographs: light, straps in sight, grain, greyness.

The same numbers as in lighting.py and grain.py, for many faces at once. Points of all pictures lie one after the other
in one list, each with the index of its picture.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from maskbench.masking import grain, lighting
from maskbench.masking.torch_raster import pick

ROWS = grain.SAMPLED  # of a picture, at most: 1 + size // SAMPLED is the step between them
RESPONSES = 2041  # values of Immerkaer's response
# OpenCV's luma of 8-bit pixels: round(15 bit weights / 2**15).


@lru_cache(maxsize=32)
def constant(name: str, device: torch.device) -> Tensor:
    """One of the fixed tables of lighting.py as float64 on a device."""
    tables = {
        "skin": lambda: lighting._skin_model()[0],
        "solve": lambda: lighting._skin_model()[1],
        "hair": lighting._brow_binding,
        "luma": lambda: lighting.LUMA,
        "usual": lambda: lighting.USUAL_SKIN_COLOUR,
        "blur": lambda: np.array(grain.BLUR_OF_RATIO).T,
    }
    return torch.from_numpy(np.ascontiguousarray(tables[name](), np.float64)).to(device)


def patches(images: Tensor, picture: Tensor, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """As ``lighting._patches``: (N, 3) float64 mean colours around N positions of the pictures ``picture``."""
    _, _, height, width = images.shape
    step = x.new_tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    u = (x[:, None] + step[:, 0] * radius[:, None]).clamp(0, width - 1)
    v = (y[:, None] + step[:, 1] * radius[:, None]).clamp(0, height - 1)
    u0, v0 = u.long().clamp(max=max(width - 2, 0)), v.long().clamp(max=max(height - 2, 0))
    u1, v1 = (u0 + 1).clamp(max=width - 1), (v0 + 1).clamp(max=height - 1)
    fu, fv = u - u0, v - v0
    spots = torch.stack([v0 * width + u0, v0 * width + u1, v1 * width + u0, v1 * width + u1], -1)  # (N, 5, 4)
    shares = torch.stack([(1 - fv) * (1 - fu), (1 - fv) * fu, fv * (1 - fu), fv * fu], -1)
    found = _take(images, picture, spots.flatten(1)).to(torch.float64)  # (N, 3, 20)
    return (found * shares.flatten(1)[:, None]).sum(-1) / 1275.0


def _take(images: Tensor, picture: Tensor, spots: Tensor) -> Tensor:
    """The pixels of N pictures at their (N, M) spots, y * width + x: (N, 3, M) uint8."""
    channels, area = images.shape[1], images.shape[2] * images.shape[3]
    first = (picture[:, None] * channels + torch.arange(channels, device=spots.device)) * area
    return pick(images.reshape(-1), first[..., None] + spots[:, None])


def _samples(images: Tensor, spots: Tensor) -> tuple[Tensor, Tensor]:
    """As ``lighting._sample``, for (B, S, 3) positions: colours (B, S, 3), and which lie in the picture (B, S)."""
    count, each = spots.shape[:2]
    x, y = spots[..., 0], spots[..., 1]
    inside = (x > 0) & (y > 0) & (x < images.shape[3] - 1) & (y < images.shape[2] - 1)
    radius = ((x.amax(1) - x.amin(1)) / 40).clamp(min=1.0)[:, None].expand(-1, each)
    picture = torch.arange(count, device=x.device)[:, None].expand(-1, each)
    flat = (values.reshape(-1) for values in (picture, x, y, radius))
    return patches(images, *flat).view(count, each, 3), inside


def read_light(images: Tensor, control: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As ``lighting.estimate_light``: gain (B,), colour (B, 3) and coefficients (B, 4), all float64."""
    device = control.device
    spots = constant("skin", device) @ control
    colours, inside = _samples(images, spots)
    weights = constant("luma", device)
    luma, seen = colours @ weights, inside.sum(1)
    some = seen.clamp(min=1)
    ordered = torch.where(inside, luma, torch.inf).sort(1).values
    low, high = (ordered.gather(1, (share * some).long()[:, None]) for share in (0.12, 0.88))
    mean_inside = (luma * inside).sum(1, keepdim=True) / some[:, None]
    luma = torch.where(inside, luma.maximum(low).minimum(high), mean_inside)
    mean = luma.mean(1).clamp(min=1e-3)
    exposure = (_highlight(images, spots) / lighting.USUAL_HIGHLIGHT).clamp(0.3, 1.08)
    share = lighting.EXPOSURE_SHARE
    gain = exposure**share * (mean / lighting.USUAL_SKIN).clamp(0.25, 1.15) ** (1 - share)
    skin = (colours * inside[..., None]).sum(1) / some[:, None]
    tint = ((skin / mean[:, None] / constant("usual", device)) ** 0.35).clamp(0.88, 1.12)
    tint = tint / (tint @ weights)[:, None]
    tint = torch.where((skin.amax(1) - skin.amin(1) > 1e-3)[:, None], tint, 1.0)
    coefficients = (luma / mean[:, None]) @ constant("solve", device).T
    known = seen >= 8
    flat = coefficients.new_tensor([1.0, 0.0, 0.0, 0.0])
    known_row = known[:, None]
    return torch.where(known, gain, 0.9), torch.where(known_row, tint, 1.0), torch.where(known_row, coefficients, flat)


def _highlight(images: Tensor, spots: Tensor) -> Tensor:
    """As ``lighting._highlight``, for each picture: (B,)."""
    _, _, height, width = images.shape
    side, device = lighting.HIGHLIGHT_SAMPLES, spots.device
    low, high = spots[..., :2].amin(1), spots[..., :2].amax(1)
    low, high = low - (high - low) * 0.5, high + (high - low) * 0.5
    share = (torch.arange(side, device=device, dtype=torch.float64) + 0.5) / side
    grid = low[..., None] + (high - low)[..., None] * share  # (B, 2, side)
    columns, rows = grid[:, 0].clamp(0, width - 1).long(), grid[:, 1].clamp(0, height - 1).long()
    places = (rows[:, :, None] * width + columns[:, None]).flatten(1)
    pixels = _take(images, torch.arange(len(spots), device=device), places).to(torch.float64)
    luma = (pixels * constant("luma", device)[:, None]).sum(1)
    return luma.kthvalue(int(0.95 * (luma.shape[1] - 1)) + 1, dim=1).values / 255.0


def face_colours(images: Tensor, control: Tensor, of: str) -> Tensor:
    """As ``lighting.face_colour``, for each picture: (B, 3)."""
    colours, _ = _samples(images, constant(of, control.device) @ control)
    order = (colours @ constant("luma", control.device)).argsort(dim=1, stable=True)
    count = order.shape[1]
    part = order[:, count // 4 : -count // 8] if of == "skin" else order[:, : count // 4]
    return colours.gather(1, part[..., None].expand(-1, -1, 3)).mean(1)


def strap_sight(images: Tensor, centres: Tensor, picture: Tensor) -> Tensor:
    """As ``lighting.strap_sight``, for (R, n, 3) positions along straps of the pictures ``picture`` (R,): (R, n)."""
    straps, steps = centres.shape[:2]
    weights = constant("luma", centres.device)
    x, y = centres[..., 0], centres[..., 1]
    right, left = (x.new_full((len(images),), sign * torch.inf) for sign in (-1, 1))
    right.scatter_reduce_(0, picture, x.amax(1), "amax")
    left.scatter_reduce_(0, picture, x.amin(1), "amin")
    radius = ((right - left) / 40).clamp(min=1.0)[picture][:, None].expand(-1, steps)
    flat = (values.reshape(-1) for values in (picture[:, None].expand(-1, steps), x, y, radius))
    colours = patches(images, *flat).view(straps, steps, 3) + 0.02
    near = colours[:, : max(steps // 3, 1)].sort(1).values
    cheek = (near[:, (near.shape[1] - 1) // 2] + near[:, near.shape[1] // 2])[:, None] / 2  # the median
    luma, cheek_luma = colours @ weights, cheek @ weights
    unlike = (luma / cheek_luma).log().abs()
    unlike = unlike + (colours / luma[..., None] - cheek / cheek_luma[..., None]).abs().sum(-1) / 2
    sight = ((lighting.UNLIKE_SKIN - unlike) / (lighting.UNLIKE_SKIN - lighting.LIKE_SKIN)).clamp(0, 1)
    return sight.cummin(1).values


def looks_grey(images: Tensor) -> Tensor:
    """As ``grain.looks_grey``, for each picture: (B,) bool."""
    step = max(1, round((images.shape[2] * images.shape[3] / 4000) ** 0.5))
    thin = images[:, :, ::step, ::step].flatten(2)
    spread = thin.amax(1) - thin.amin(1)
    return (spread > grain.GREY_TOLERANCE).sum(1) <= spread.shape[1] // 50


def read_grain(images: Tensor, control: Tensor) -> tuple[Tensor, Tensor]:
    """As ``grain.face_grain``: blur (B,) and noise (B,), float64."""
    size = control.new_tensor([images.shape[3], images.shape[2]])
    low = control[..., :2].amin(1).clamp(min=0).floor().minimum(size).long()
    high = (control[..., :2].amax(1).clamp(min=0).ceil() + 1).minimum(size).long()
    luma = _luma(images)
    regions = (luma, low, high - low)
    noise = _median_response(*regions) / (6 * 0.6745)
    blur = _edge_blur(*regions, noise, 1)
    coarse = (blur >= grain.COARSE).nonzero()[:, 0]  # few
    if len(coarse):
        twice = 2 * _edge_blur(*(values[coarse] for values in (*regions, noise)), 2)
        blur[coarse] = twice.clamp(grain.COARSE, grain.MOST_BLUR)
    some = (high - low).amin(1) >= 8
    return torch.where(some, blur, 0.0), torch.where(some, noise.clamp(max=grain.MOST_NOISE), 0.0)


def _luma(images: Tensor) -> Tensor:
    """OpenCV's luma (B, H, W), int16 for differences, of (B, 3, H, W) uint8."""
    total = images[:, 0].to(torch.int32) * grain.LUMA_WEIGHTS[0] + (1 << grain.LUMA_BITS - 1)
    for channel in (1, 2):
        total += images[:, channel].to(torch.int32) * grain.LUMA_WEIGHTS[channel]
    return (total >> grain.LUMA_BITS).to(torch.int16)


def _lines(luma: Tensor, start: Tensor, within: Tensor) -> Tensor:
    """Rows ``start + within`` of each picture, clamped to it: (B, ROWS, W) from (B, H, W), (B,) and (B, ROWS)."""
    count, height, width = luma.shape
    rows = (start[:, None] + within).clamp(0, height - 1)
    rows = rows + height * torch.arange(count, device=luma.device)[:, None]
    return luma.reshape(-1, width).index_select(0, rows.reshape(-1)).view(count, -1, width)


def _between(width: int, first: Tensor, last: Tensor) -> Tensor:
    """Which columns (B, 1, width) lie from ``first`` to before ``last``, each (B,)."""
    column = torch.arange(width, device=first.device)
    return ((column >= first[:, None]) & (column < last[:, None]))[:, None]


def _median_response(luma: Tensor, low: Tensor, extent: Tensor) -> Tensor:
    """As ``grain._median_response`` with its step, in the region from ``low`` of ``extent`` of each picture: (B,)."""
    wide, high = extent.T
    within = 1 + torch.arange(ROWS, device=luma.device) * (1 + high // ROWS)[:, None]
    up, here, down = (_lines(luma, low[:, 1], within + shift) for shift in (-1, 0, 1))
    across = up + down - 2 * here
    response = across[..., :-2] + across[..., 2:] - 2 * across[..., 1:-1]
    valid = _between(luma.shape[2], low[:, 0] + 1, low[:, 0] + wide - 1)[..., 1:-1]
    valid = valid & (within < (high - 1)[:, None])[..., None]
    return _quantile(_histogram(response.abs(), valid, RESPONSES), 0.5)


def _histogram(values: Tensor, valid: Tensor, bins: int) -> Tensor:
    """How often each value occurs among the valid ones of a picture: (B, bins)."""
    count = len(values)
    first = torch.arange(count, device=values.device, dtype=torch.int32)[:, None, None] * (bins + 1)
    places = torch.where(valid, values, bins) + first
    return torch.bincount(places.reshape(-1), minlength=count * (bins + 1)).view(count, bins + 1)[:, :bins]


def _quantile(counts: Tensor, share: float) -> Tensor:
    """As ``grain._quantile``, for each row: (B,) float64."""
    below = counts.cumsum(1)
    low = below <= (share * below[:, -1:].to(torch.float64))
    return low.sum(1).clamp(max=counts.shape[1] - 1).to(torch.float64)


def _edge_blur(luma: Tensor, low: Tensor, extent: Tensor, noise: Tensor, reach: int) -> Tensor:
    """As ``grain._edge_blur``, for each picture: (B,)."""
    count, side = len(luma), max(luma.shape[1:])
    # Each picture twice, the second time turned, so that all differences run along rows.
    both = luma.new_zeros((2, count, side, side))
    both[0, :, : luma.shape[1], : luma.shape[2]] = luma
    both[1, :, : luma.shape[2], : luma.shape[1]] = luma.transpose(1, 2)
    step = (1 + extent.amax(1) // ROWS).repeat(2)
    regions = (torch.cat([values, values.flip(1)]) for values in (low, extent))
    lines, valid = _lines_of_region(both.flatten(0, 1), *regions, step, reach)
    difference = (lines[..., 2 * reach :] - lines[..., : -2 * reach]).abs()
    counts = _histogram(difference, valid, 256).view(2, count, 256).sum(0)
    limit = _quantile(counts, 1.0 - grain.STRONGEST).maximum(6 * noise).clamp(min=grain.LEAST_EDGE)
    steep = valid & (difference >= limit.ceil().to(torch.int16).repeat(2)[:, None, None])
    one, two, found = _energy(lines, steep, reach).view(3, 2, count).sum(1)
    some, variance = found.clamp(min=1), 2 * noise**2
    ratio = (one / some - variance) / (two / some - variance).clamp(min=1e-6)
    return torch.where(found < 12, 0.0, _interpolate(ratio, *constant("blur", luma.device)))


def _lines_of_region(luma: Tensor, low: Tensor, extent: Tensor, step: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Every ``step``-th row of each region (B, ROWS, W), and for which places (B, ROWS, W - 2 reach), from column
    ``reach`` on, both neighbours at that distance lie in the region too."""
    wide, high = extent.T
    within = torch.arange(ROWS, device=luma.device) * step[:, None]
    lines = _lines(luma, low[:, 1], within)
    valid = _between(luma.shape[2], low[:, 0] + reach, low[:, 0] + wide - reach)[..., reach : luma.shape[2] - reach]
    return lines, valid & (within < high[:, None])[..., None]


def _energy(lines: Tensor, steep: Tensor, reach: int) -> Tensor:
    """Sums over the steep places of each picture: (3, B) float64: the square differences over ``reach`` (the mean of
    both sides), those over twice that, and how many there are."""
    count, rows, width = steep.shape
    places = steep.reshape(-1).nonzero()[:, 0]
    row = places // width
    here = places + (2 * row + 1) * reach  # the lines have 2 reach columns more
    flat = lines.reshape(-1)
    before, middle, after = (pick(flat, here + shift).to(torch.float64) for shift in (-reach, 0, reach))
    near = 0.5 * ((middle - before).square() + (after - middle).square())
    sums = lines.new_zeros((3, count), dtype=torch.float64)
    values = torch.stack([near, (after - before).square(), torch.ones_like(near)])
    return sums.index_add_(1, row // rows, values)


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """``np.interp``: (B,)."""
    x = x.clamp(knots[0], knots[-1])
    right = torch.searchsorted(knots, x, right=True).clamp(1, len(knots) - 1)
    share = (x - knots[right - 1]) / (knots[right] - knots[right - 1])
    return values[right - 1] + share * (values[right] - values[right - 1])
