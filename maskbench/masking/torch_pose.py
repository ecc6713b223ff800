"""The masks of a batch on their faces, for ``render_torch``: the rules of pose.py on flat lists of vertices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from maskbench.masking.geometry import PROBE, STRAP_STEPS
from maskbench.masking.pose import IN_SIGHT, LEAST_STRAP_PIXELS, OUT_OF_SIGHT
from maskbench.masking.render import surface_of
from maskbench.masking.torch_photo import strap_sight
from maskbench.masking.torch_raster import owners, pick
from maskbench.types import MaskAsset

STRAP = 2 * STRAP_STEPS  # vertices of one


@dataclass(frozen=True, eq=False)
class Worn:
    """A surface on a device.

    Attributes:
        matrix: (K, G + 2 R n) float64, bindings of the panels' nodes, the straps' centre lines, and their probes.
        vertices: (5, V) float64, normal and uv; triangles: (4, T) int64, corners and layer; straps: (1, R), widths.
        nodes: G; tinted: of each layer.
    """

    matrix: Tensor
    vertices: Tensor
    triangles: Tensor
    straps: Tensor
    nodes: int
    tinted: tuple[bool, ...]


@lru_cache(maxsize=1024)
def worn(asset: MaskAsset, style: str, size: float, device: torch.device, tolerance: float = 0.0) -> Worn:
    """The asset's surface as worn, built and carried to the device once per process."""
    surface = surface_of(asset, style, size, tolerance)
    layer = np.concatenate([np.full(part.stop - part.start, k) for k, part in enumerate(surface.layers)])
    arrays = (
        np.concatenate([surface.binding, surface.strap_binding, surface.strap_probe]).T.astype(np.float64),
        np.concatenate([surface.normals, surface.uv], 1).T.astype(np.float64),
        np.column_stack([surface.triangles, layer]).T.astype(np.int64),
        surface.strap_width[None].astype(np.float64),
    )
    tensors = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)
    return Worn(*tensors, len(surface.nodes), tuple(part.tinted for part in surface.layers))


@dataclass(frozen=True)
class Crowd:
    """B faces and what each wears; those with the same surface stand side by side.

    Attributes:
        kinds: the different surfaces; spans: from which face to which they are worn; which: (B,) of each face.
        control: (B, 3, K) float64 pixels; scale: (B,) pixels between the eyes.
    """

    kinds: Sequence[Worn]
    spans: Sequence[tuple[int, int]]
    which: np.ndarray
    control: Tensor
    scale: Tensor

    def counts(self, of: str) -> np.ndarray:
        """How many "vertices", "triangles" or "straps" each face has: (B,) int64."""
        return np.array([getattr(kind, of).shape[1] for kind in self.kinds])[self.which]

    def gather(self, of: str) -> tuple[Tensor, Tensor]:
        """What the surfaces say of their "vertices", "triangles" or "straps", for all faces one after the other, and
        each entry's face."""
        device, parts = self.scale.device, [getattr(kind, of) for kind in self.kinds]
        begin = np.cumsum([0, *(part.shape[1] for part in parts)])[self.which]
        face, first = owners(torch.from_numpy(self.counts(of)).to(device))
        shift = torch.from_numpy(begin).to(device) - first
        return pick(torch.cat(parts, 1), torch.arange(len(face), device=device) + pick(shift, face)), face


@dataclass(frozen=True)
class Posed:
    """Vertices of all faces: ``points`` (3, V) float64 pixels, ``opacity`` (V,), ``surface`` (5, V) their normals and
    uv in the canonical frame, ``face`` (V,)."""

    points: Tensor
    opacity: Tensor
    surface: Tensor
    face: Tensor


def pose(crowd: Crowd, images: Tensor) -> Posed:
    """As ``pose.pose`` and ``render.straps_in_sight``, for each face of (B, 3, H, W) uint8 pictures."""
    device = images.device
    raw, begin, each = _carry(crowd)
    surface, face = crowd.gather("vertices")
    # A face's straps come after its panels, as their centre lines come after its nodes.
    entry = torch.arange(len(face), device=device) - pick(_starts(crowd.counts("vertices"), device), face)
    points = _points(raw, begin, each, face, entry.minimum(pick(each, face) - 1))
    opacity = torch.ones_like(points[0])
    widths, owner = crowd.gather("straps")
    if len(owner):
        nodes = torch.from_numpy(np.array([kind.nodes for kind in crowd.kinds])[crowd.which]).to(device)
        counts = crowd.counts("straps")
        number = torch.arange(len(owner), device=device) - pick(_starts(counts, device), owner)
        step = torch.arange(STRAP, device=device)
        line = (pick(nodes, owner) + STRAP_STEPS * number)[:, None] + step[:STRAP_STEPS]
        probe = line + STRAP_STEPS * pick(torch.from_numpy(counts).to(device), owner)[:, None]
        centre, probe = (_points(raw, begin, each, owner[:, None].expand_as(line), spot) for spot in (line, probe))
        sides, visible = _straps(centre, probe, widths[0], pick(crowd.scale, owner))
        visible = visible * strap_sight(images, centre.permute(1, 2, 0), owner)
        first = pick(_starts(crowd.counts("vertices"), device) + nodes, owner) + STRAP * number
        points[:, first[:, None] + step], opacity[first[:, None] + step] = sides, visible.repeat(1, 2)
    return Posed(points, opacity, surface, face)


def _starts(counts: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.cumsum(counts) - counts).to(device)


def _carry(crowd: Crowd) -> tuple[Tensor, Tensor, Tensor]:
    """Carry every surface to its faces, by one product for each surface.

    Returns:
        The positions of all faces in a row, of one face all x, then all y, then all z; where each face begins (B,); and
        how many points it has (B,).
    """
    device = crowd.control.device
    counts = np.array([kind.matrix.shape[1] for kind in crowd.kinds])[crowd.which]
    ends = 3 * np.cumsum([0, *counts])
    raw = torch.empty(int(ends[-1]), dtype=torch.float64, device=device)
    for kind, (start, stop) in zip(crowd.kinds, crowd.spans, strict=True):
        out = raw[ends[start] : ends[stop]].view(3 * (stop - start), -1)
        torch.mm(crowd.control[start:stop].flatten(0, 1), kind.matrix, out=out)
    return raw, torch.from_numpy(ends[:-1]).to(device), torch.from_numpy(counts).to(device)


def _points(raw: Tensor, begin: Tensor, each: Tensor, face: Tensor, entry: Tensor) -> Tensor:
    """The positions (3, ...) of points ``entry`` of faces ``face``, from what ``_carry`` returns."""
    axis = torch.arange(3, device=raw.device).view(3, *[1] * face.ndim)
    return pick(raw, pick(begin, face) + axis * pick(each, face) + entry)


def _straps(centre: Tensor, probe: Tensor, widths: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides (3, R, 2 n) of straps in the picture, and the opacity (R, n) that facing and width leave.

    Args:
        centre, probe: (3, R, n) pixels.
    """
    facing = (centre[2] - probe[2]) / (PROBE * scale[:, None])
    step = torch.arange(STRAP_STEPS, device=centre.device)
    before, after = (step - 1).clamp(min=0), (step + 1).clamp(max=STRAP_STEPS - 1)
    dx, dy = (centre[axis][:, after] - centre[axis][:, before] for axis in (0, 1))
    wanted = widths * scale
    drawn = wanted.clamp(min=LEAST_STRAP_PIXELS)
    half = (drawn / 2)[:, None] / torch.hypot(dx, dy).clamp(min=1e-9)
    shift = torch.stack([-dy * half, dx * half, torch.zeros_like(dx)])
    opacity = ((facing - OUT_OF_SIGHT) / (IN_SIGHT - OUT_OF_SIGHT)).clamp(0, 1) * (wanted / drawn)[:, None]
    opacity[:, -1] = 0
    return torch.cat([centre - shift, centre + shift], -1), opacity
