"""Triangles to pixels for ``render_torch``: the rules of kernels.py on flat lists of triangles, rows and samples.

A *draw* is one layer of one picture's mask, on a canvas of its own with S x S samples for each pixel. Triangles become
the rows of samples that they cross, rows become samples, and each sample keeps the nearest of its triangles by an
atomic maximum. So the work follows the covered area, whatever the triangles' sizes, and takes a few dozen operations
for a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskbench.masking.kernels import LEAST_AREA

HAIR, LEVEL_EDGE = 1e-7, 1e-9  # as in kernels._edge
DEPTH_RANGE = 32.0  # inter-ocular distances over which the sum of three depths is told apart
MOST_SAMPLES = 2**25  # covered at a time; bounds the memory on large faces


@dataclass(frozen=True)
class Mesh:
    """The triangles of all draws, those of one picture side by side, in the pictures' order.

    Attributes:
        corners: (3, T) vertices; picture, draw: (T,).
        first: (B,) each picture's first triangle; most: how many a picture has, at most.
        picture_of: (D,) of each draw.
        x, y: (V,) float64 in samples of the picture's canvas, sample centres at whole numbers.
        depth: (V,) float64, in inter-ocular distances from the middle of the face.
    """

    corners: Tensor
    picture: Tensor
    draw: Tensor
    first: Tensor
    most: int
    picture_of: Tensor
    x: Tensor
    y: Tensor
    depth: Tensor


@dataclass(frozen=True)
class Canvas:
    """The size in pixels of every draw's plane, and the samples that a pixel has along each axis."""

    height: int
    width: int
    samples: int


@dataclass(frozen=True)
class Pixels:
    """The pixels that a mesh touches, draw by draw.

    Attributes:
        draw, place: (N,) where; ``place`` is row * width + column of the canvas.
        triangle: (N,) the one that gives the colour; x, y: (N,) float64 where on it, in samples.
        cover: (N,) float64 share of the pixel's samples that are covered.
    """

    draw: Tensor
    place: Tensor
    triangle: Tensor
    x: Tensor
    y: Tensor
    cover: Tensor

    def __getitem__(self, where: slice) -> Pixels:
        return replace(self, **{name: getattr(self, name)[where] for name in self.__dataclass_fields__})


def rasterise(mesh: Mesh, canvas: Canvas) -> Pixels:
    """What each touched pixel of each draw sees of the mesh."""
    bits = max(1, (mesh.most - 1).bit_length())
    size = len(mesh.picture_of) * canvas.height * canvas.width * canvas.samples**2
    owner = torch.full((size,), -1, dtype=torch.int32, device=mesh.x.device)
    _own(owner, mesh, canvas, _spans(mesh, canvas), _keys(mesh, bits))
    return _resolve(owner, mesh, canvas, bits)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """``values[..., index]``, for (..., N) values and an index of any shape; several times faster on the CPU."""
    return values.index_select(-1, index.reshape(-1)).view(*values.shape[:-1], *index.shape)


def owners(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Of a list in which owner k has ``counts[k]`` entries, one after the other: each entry's owner, and each owner's
    first entry."""
    return torch.repeat_interleave(counts), counts.cumsum(0) - counts


def _facing(x: Tensor, y: Tensor, samples: int) -> Tensor:
    """Which triangles (T,) with (3, T) corners are wide enough and face the camera."""
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    return area > LEAST_AREA * samples**2


def _keys(mesh: Mesh, bits: int) -> Tensor:
    """(T,) int32, the larger the nearer a triangle is; the lowest bits hold its number in its picture."""
    number = torch.arange(len(mesh.picture), device=mesh.x.device) - pick(mesh.first, mesh.picture)
    nearness = (0.5 - pick(mesh.depth, mesh.corners).sum(0) / DEPTH_RANGE).clamp(0, 1)
    return (((nearness * (2 ** (31 - bits) - 1)).long() << bits) + number).to(torch.int32)


def _spans(mesh: Mesh, canvas: Canvas) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The runs of samples that triangles cover: triangle, row, first column and length (0 where none), each (R,)."""
    x, y = pick(mesh.x, mesh.corners), pick(mesh.y, mesh.corners)  # (3, T)
    top = y.amin(0).ceil().clamp(min=0)
    bottom = y.amax(0).floor().clamp(max=canvas.height * canvas.samples - 1)
    rows = torch.where(_facing(x, y, canvas.samples), bottom - top + 1, 0).clamp(min=0).long()
    triangle, start = owners(rows)
    row = torch.arange(len(triangle), device=x.device) + pick(top.long() - start, triangle)
    edges, line = pick(_half_planes(x, y), triangle), row.to(x.dtype)
    bounds = [torch.addcmul(edges[k], edges[6 + k % 3], line) for k in range(6)]
    low = bounds[0].maximum(bounds[1]).maximum(bounds[2]).clamp(min=0)
    high = bounds[3].minimum(bounds[4]).minimum(bounds[5]).clamp(max=canvas.width * canvas.samples - 1)
    left = low.ceil()
    return triangle, row, left.long(), (high.floor() - left + 1).clamp(min=0).long()


def _half_planes(x: Tensor, y: Tensor) -> Tensor:
    """The three edges of (3, T) corners as bounds on x along a row: (9, T).

    Rows 0 to 2: p of the bounds from below (minus infinity where an edge is none), 3 to 5: p of those from above,
    6 to 8: q; the bound is p + q y. A level edge bounds nothing: the first and the last row do.
    """
    next_x, next_y = x.roll(-1, 0), y.roll(-1, 0)
    slope, offset, turn = y - next_y, x * next_y - next_x * y, next_x - x
    at, level = -offset / slope, slope.abs() < LEVEL_EDGE
    low = torch.where(level | (slope < 0), -torch.inf, at - HAIR)
    high = torch.where(level | (slope > 0), torch.inf, at + HAIR)
    return torch.cat([low, high, torch.where(level, 0.0, -turn / slope)])


def _own(owner: Tensor, mesh: Mesh, canvas: Canvas, spans: tuple[Tensor, ...], keys: Tensor) -> None:
    """Write into each sample, (D, h * S, w * S) int32 in a row, the largest key of the triangles over it."""
    triangle, row, left, length = spans
    line = pick(mesh.draw * (canvas.height * canvas.samples), triangle) + row
    begin, key = line * (canvas.width * canvas.samples) + left, pick(keys, triangle)
    for part in _parts(length):
        span, start = owners(length[part])
        place = pick(begin[part] - start, span) + torch.arange(len(span), device=span.device)
        owner.scatter_reduce_(0, place, pick(key[part], span), "amax")


def _parts(length: Tensor) -> list[slice]:
    """Runs of spans that cover about ``MOST_SAMPLES`` samples each."""
    total = length.cumsum(0)
    parts = 1 + (int(total[-1]) if len(total) else 0) // MOST_SAMPLES
    if parts == 1:
        return [slice(None)]
    limits = torch.arange(1, parts, device=length.device) * MOST_SAMPLES
    cuts = [0, *torch.searchsorted(total, limits).tolist(), len(length)]
    return [slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]


def _resolve(owner: Tensor, mesh: Mesh, canvas: Canvas, bits: int) -> Pixels:
    """From samples to pixels: as ``kernels._shade``, a pixel takes its colour at its centre when all of its samples are
    covered, else at the first covered one."""
    samples, width = canvas.samples, canvas.width
    rows = owner.view(-1, samples, width * samples).amax(1)
    touched = (rows.view(-1, width, samples).amax(2).reshape(-1) >= 0).nonzero()[:, 0]
    line = touched // width  # of the pixels of all draws
    draw, column = line // canvas.height, touched - line * width
    row = line - draw * canvas.height
    inner = torch.arange(samples, device=owner.device)
    offset = (inner[:, None] * (width * samples) + inner).reshape(-1)
    mine = pick(owner, line * (width * samples**2) + column * samples + offset[:, None])  # (S * S, N)
    covered = mine >= 0
    order = torch.arange(samples**2, 0, -1, dtype=torch.uint8, device=owner.device)[:, None]
    first = samples**2 - (covered * order).amax(0).long()
    count = covered.sum(0)
    full, middle = count == samples**2, samples // 2
    number = mine.gather(0, torch.where(full, middle * samples + middle, first)[None])[0].long() & (2**bits - 1)
    i, centre = first // samples, (samples - 1) / 2
    x = column * samples + torch.where(full, centre, (first - i * samples).double())
    y = row * samples + torch.where(full, centre, i.double())
    triangle = pick(mesh.first, pick(mesh.picture_of, draw)) + number
    return Pixels(draw, row * width + column, triangle, x, y, count / float(samples**2))
