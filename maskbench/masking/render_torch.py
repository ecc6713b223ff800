"""Draw placed masks on a whole batch of pictures, on the CPU or on a GPU: ``render`` for training loops.

Everything is plain torch. Geometry is float64, so that the same samples are covered as by render.py, whatever precision
a training loop has switched on. The number of tensor operations depends on how many different masks a batch has, not
on its size, and the only loop over its pictures collects the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskbench.errors import MaskbenchError
from maskbench.masking.grain import TILE
from maskbench.masking.kernels import SAMPLES
from maskbench.masking.lighting import BRIGHTEST, DARKEST, Light
from maskbench.masking.render import OWN_BLUR, tint_of, tolerance_of
from maskbench.masking.space import CONTROL
from maskbench.masking.torch_photo import face_colours, looks_grey, read_grain, read_light
from maskbench.masking.torch_pose import Crowd, Posed, pose, worn
from maskbench.masking.torch_raster import Canvas, Mesh, pick, rasterise
from maskbench.masking.torch_shade import blend, blur, shade, textures_of
from maskbench.types import MaskAsset, Placement

EYES = [CONTROL.index(index) for index in (33, 133, 362, 263)]
LEAST_BLUR = 0.25  # as in render.extra_blur
# Samples of all layers' canvases at a time, at most: a core's cache holds the smaller number's worth, and a GPU wants
# much to do at once. Both bound the memory.
SAMPLES_AT_ONCE = {"cpu": 8_000_000, "cuda": 250_000_000}


def render_torch(
    images: Tensor, assets: Sequence[MaskAsset | None], placements: Sequence[Placement | None],
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Draw one mask on each picture of a batch, as ``render`` does: the same within 2/255 on 99 % of the masked pixels.

    The grain of JPEG (``placement.parameters["jpeg"]``) is not drawn: a batch in memory has been resized or augmented
    since it was decoded. For a second mask on the same faces, call it again with the result.

    Args:
        images: (B, 3, H, W) uint8 RGB; not changed.
        assets, placements: one for each picture, of any masks in any order; None leaves a picture as it is.
        device: where to compute; where the images are, unless given.

    Returns:
        The new pictures (B, 3, H, W) uint8 and their alpha (B, H, W) uint8 on that device. Where alpha is 0 a pixel
        equals its input. The other pictures of the batch change a picture by rounding at most: by 1/255, seldom.

    Raises:
        MaskbenchError: the arguments do not fit together, or a placement names a colour that its asset has not.
    """
    jobs = _jobs(images, assets, placements)
    images = images.detach().to(device or images.device)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        out, alpha = images.clone(), images.new_zeros((len(images), *images.shape[2:]))
        room = SAMPLES_AT_ONCE["cpu" if images.device.type == "cpu" else "cuda"]
        for part in _parts(jobs, images.shape[2] * images.shape[3], room):
            where = torch.tensor([job.number for job in part], device=images.device)
            out[where], alpha[where] = _render(images[where], part)
    return out, alpha


class Job(NamedTuple):
    """A picture to be masked: its number in the batch, what it gets, and how fine its surface."""

    number: int
    asset: MaskAsset
    placement: Placement
    tolerance: float

    def key(self) -> tuple:
        """What pictures must share to stand side by side."""
        return self.asset.asset_id, id(self.asset), self.placement.style, self.placement.size, self.tolerance


def _jobs(images: Tensor, assets: Sequence, placements: Sequence) -> list[Job]:
    """The pictures to be masked, those with the same asset and the same surface side by side."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        got = f"{tuple(images.shape)} {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        raise MaskbenchError(f"a (B, 3, H, W) uint8 tensor is needed, not {got}; mask pictures before normalising them")
    if not len(images) == len(assets) == len(placements):
        raise MaskbenchError(
            f"{len(images)} pictures, {len(assets)} assets and {len(placements)} placements; give one for each picture"
        )
    given = [
        (number, asset, placement) for number, (asset, placement) in enumerate(zip(assets, placements, strict=True))
        if asset is not None and placement is not None
    ]  # fmt: skip
    for number, asset, placement in given:
        if placement.asset_id != asset.asset_id or placement.control_points.shape != (len(CONTROL), 3):
            shape = placement.control_points.shape
            raise MaskbenchError(
                f"picture {number}: a placement of {placement.asset_id} with control points {shape} was given for "
                f"{asset.asset_id}; sample one of that mask, with {(len(CONTROL), 3)}"
            )
    if not given:
        return []
    scales = _scales(np.stack([placement.control_points for _, _, placement in given]).astype(np.float64))
    jobs = [Job(*item, tolerance_of(scale)) for item, scale in zip(given, scales.tolist(), strict=True)]
    return sorted(jobs, key=Job.key)


def _scales(points: np.ndarray) -> np.ndarray:
    """As ``space.scale_of``, for (B, K, 3) control points."""
    left, right = points[:, EYES[:2]].mean(1), points[:, EYES[2:]].mean(1)
    return np.linalg.norm(right - left, axis=1)


def _parts(jobs: list[Job], area: int, room: int) -> list[list[Job]]:
    """Runs of jobs whose canvases have at most ``room`` samples together when they are as large as the pictures."""
    parts, used = [], room
    for job in jobs:
        need = area * SAMPLES**2 * (len(job.asset.geometry["panels"]) + bool(job.asset.geometry.get("ribbons")))
        if used + need > room:
            parts.append([])
            used = 0
        parts[-1].append(job)
        used += need
    return parts


def _render(images: Tensor, jobs: list[Job]) -> tuple[Tensor, Tensor]:
    """The masked pictures and their alpha."""
    out, alpha = images.clone(), images.new_zeros((len(images), *images.shape[2:]))
    points = np.stack([job.placement.control_points for job in jobs]).astype(np.float64)
    control = torch.from_numpy(points).to(images.device)
    crowd = _crowd(jobs, points, images.device)
    posed, light = pose(crowd, images), read_light(images, control)
    deviation, noise = read_grain(images, control)
    extra = (deviation**2 - OWN_BLUR**2).clamp(min=0).sqrt()
    extra = torch.where(extra >= LEAST_BLUR, extra, 0.0)
    window = _windows(posed, images, (3 * extra).ceil())
    extent = (window[:, 2:] - window[:, :2]).amax(0).tolist()
    if min(extent) > 0:
        size = window.new_tensor([images.shape[3], images.shape[2]]) - window.new_tensor(extent)
        corner = window[:, :2].minimum(size)  # a canvas lies in the picture and ends at its border where the mask does
        canvas = _draw(images, jobs, crowd, control, posed, light, corner, extent)
        shift = torch.from_numpy(np.rint(points.sum(1)[:, :2] * 100).astype(np.int64) % TILE).to(images.device)
        blend(out, alpha, blur(canvas, extra), corner, window, noise, shift, looks_grey(images))
    return out, alpha


def _crowd(jobs: list[Job], points: np.ndarray, device: torch.device) -> Crowd:
    kinds, spans, which = [], [], []
    for number, job in enumerate(jobs):
        kind = worn(job.asset, job.placement.style, job.placement.size, device, job.tolerance)
        if not kinds or kinds[-1] is not kind:
            kinds.append(kind)
            spans.append((number, number))
        spans[-1] = (spans[-1][0], number + 1)
        which.append(len(kinds) - 1)
    scale = torch.from_numpy(_scales(points)).to(device)
    control = torch.from_numpy(np.ascontiguousarray(points.transpose(0, 2, 1))).to(device)
    return Crowd(kinds, spans, np.array(which), control, scale)


def _windows(posed: Posed, images: Tensor, margin: Tensor) -> Tensor:
    """As ``render.visible_window``, for each picture: (B, 4) int64 x0, y0, x1, y1; empty where nothing is visible."""
    count, (height, width) = len(images), images.shape[2:]
    low, high = (posed.points.new_full((2, count), sign * torch.inf) for sign in (1, -1))
    for axis in (0, 1):
        low[axis].scatter_reduce_(0, posed.face, posed.points[axis], "amin")
        high[axis].scatter_reduce_(0, posed.face, posed.points[axis], "amax")
    size = low.new_tensor([[width], [height]])
    begin, end = (low.floor() - margin).clamp(min=0), (high.ceil() + 1 + margin).minimum(size)
    window = torch.cat([begin, end]).T
    return torch.where((begin < end).all(0)[:, None], window, 0.0).long()


def _draw(
    images: Tensor, jobs: list[Job], crowd: Crowd, control: Tensor, posed: Posed,
    light: tuple[Tensor, Tensor, Tensor], corner: Tensor, extent: list[int],
) -> Tensor:  # fmt: skip
    """The masks alone: (B, 4, h, w) float32, colour premultiplied by alpha, 0..1, on canvases that begin at ``corner``
    (B, 2) of each picture."""
    canvas, device = Canvas(extent[1], extent[0], SAMPLES), images.device
    number, tinted = (torch.from_numpy(array).to(device) for array in _draws(crowd))
    mesh = _mesh(crowd, posed, control, corner, canvas.samples, number)
    assets = {asset: number for number, asset in enumerate(dict.fromkeys(job.asset for job in jobs))}
    kind = torch.tensor([assets[job.asset] for job in jobs], device=device)
    gain, coefficients = light[0][:, None] * light[1], pick(light[2].T, posed.face)
    bright = coefficients[0] + (coefficients[1:] * posed.surface[:3]).sum(0)
    attributes = torch.cat([posed.surface[3:], bright.clamp(DARKEST, BRIGHTEST)[None], posed.opacity[None]])
    tints = torch.stack([gain.T, _tints(images, jobs, control, gain).T], -1).flatten(1)  # plain and tinted
    tint = pick(tints, 2 * mesh.picture_of + tinted)
    pixels = rasterise(mesh, canvas)
    colour = shade(pixels, mesh, canvas.samples, attributes, textures_of(tuple(assets), kind), tint)
    area = canvas.height * canvas.width
    place = pick(mesh.picture_of, pixels.draw) * area + pixels.place
    out = colour.new_zeros((4, len(jobs) * area))
    cuts = torch.searchsorted(pixels.draw, number.amax(1) + 1).tolist()  # where each layer's pixels end
    for start, stop in zip([0, *cuts], cuts, strict=False):
        over, where = colour[:, start:stop], place[start:stop]
        out[:, where] = pick(out, where) * (1 - over[3]) + over
    return out.view(4, len(jobs), canvas.height, canvas.width).transpose(0, 1)


def _draws(crowd: Crowd) -> tuple[np.ndarray, np.ndarray]:
    """The number of the draw of each layer of each picture, (layers, B), layer after layer, -1 where a picture has no
    such layer; and of each draw whether it is tinted (D,)."""
    deep = max(len(kind.tinted) for kind in crowd.kinds)
    tinted = np.array([[*kind.tinted, *[-1] * (deep - len(kind.tinted))] for kind in crowd.kinds], int)
    tinted = tinted[crowd.which].T
    drawn = tinted >= 0
    return np.where(drawn, np.cumsum(drawn).reshape(drawn.shape) - 1, -1), tinted[drawn]


def _mesh(crowd: Crowd, posed: Posed, control: Tensor, corner: Tensor, samples: int, number: Tensor) -> Mesh:
    """The triangles of all draws; ``number`` (layers, B) as ``_draws`` has it."""
    counts, device = crowd.counts("triangles"), control.device
    vertex, first = (
        torch.from_numpy(np.cumsum(each) - each).to(device) for each in (crowd.counts("vertices"), counts)
    )
    triangles, picture = crowd.gather("triangles")
    x, y = ((posed.points[axis] - pick(corner[:, axis], posed.face) + 0.5) * samples - 0.5 for axis in (0, 1))
    middle = control[..., 2].mean(1)
    return Mesh(
        corners=triangles[:3] + pick(vertex, picture),
        picture=picture,
        draw=pick(number.reshape(-1), triangles[3] * len(counts) + picture),
        first=first,
        most=int(counts.max()),
        picture_of=(number >= 0).nonzero()[:, 1],
        x=x,
        y=y,
        depth=(posed.points[2] - pick(middle, posed.face)) / pick(crowd.scale.clamp(min=1e-9), posed.face),
    )


def _tints(images: Tensor, jobs: list[Job], control: Tensor, gain: Tensor) -> Tensor:
    """As ``render.tint_of``, for each picture: (B, 3) float64, the light included."""
    given = [_given(job.asset, job.placement.colour) for job in jobs]
    fixed = [(1.0, 1.0, 1.0) if isinstance(colour, str) else colour for colour in given]
    tints = torch.tensor(fixed, dtype=torch.float64, device=images.device) * gain
    for name in ("skin", "hair"):
        where = [number for number, colour in enumerate(given) if colour == name]
        if where:
            chosen = torch.tensor(where, device=images.device)
            tints[chosen] = face_colours(images[chosen], control[chosen], name)
    return tints


@lru_cache(maxsize=4096)
def _given(asset: MaskAsset, colour: str) -> tuple[float, ...] | str:
    """What a placement's colour stands for: (3,) in 0..1, or "skin" or "hair". Raises as ``tint_of`` does."""
    named = asset.colourways.get(colour)
    if isinstance(named, str):
        return named
    white = Light(1.0, np.ones(3), np.zeros(4))
    return tuple(tint_of(np.zeros((1, 1, 3), np.uint8), np.zeros((len(CONTROL), 3)), asset, colour, white).tolist())
