# ruff: noqa: E501 - outlines and profiles read better on one line
"""Drawing things that are worn but are no cloth mask: pieces, outlines in the face's frame, atlases, asset folders.

A *piece* is a picture and the panels and ribbons that show it. Pieces are stacked into one atlas; hybrids concatenate
the pieces of several things. Pictures are (rows, columns, 4) RGBA in 0..1, straight alpha. All functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from canvas import step

GUTTER = (
    14  # rows between pieces, so that reduced textures do not bleed: each piece's own border goes on for half of it
)
STEP = 4  # levels are rounded to multiples of it: smaller files
FINE = 3  # outlines are filled on a grid this much finer
LICENCE = "Apache-2.0"
LICENCE_TEXT = (
    "The files of this folder were drawn for maskbench and are licensed under the Apache License, Version 2.0;\n"
    "see the file LICENSE at the root of the distribution.\n"
)
Built = tuple[dict[str, Any], np.ndarray]
Masks = Mapping[str, Callable[[], Built]]


@dataclass(frozen=True)
class Piece:
    """A picture, and the panels and ribbons (as in asset.json, without ``uv``) that show all of it."""

    picture: np.ndarray
    panels: tuple[dict[str, Any], ...] = ()
    ribbons: tuple[dict[str, Any], ...] = ()


class Field:
    """A sheet between y0 and y1 of the face's frame, on a picture of ``shape`` (rows, columns).

    ``x``: its left and right edge on top; ``narrow``: how much narrower it is at the bottom (1 = as wide as on top).
    ``depth``: the sheet's depth along its middle row: z = depth * x^2, or a function of (n,) x. Its columns are spaced
    by length along that row, as the renderer does.
    """

    def __init__(self, shape: tuple[int, int], x: tuple[float, float], y: tuple[float, float], depth: Any = 0.0,
                 narrow: float = 1.0):  # fmt: skip
        self.shape = shape
        middle = (1 + narrow) / 2
        dense = np.linspace(x[0], x[1], 2001)
        z = depth(dense * middle) if callable(depth) else depth * (dense * middle) ** 2
        length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(dense * middle), np.diff(z)))])
        self._dense, self._column, self._y = dense, length / length[-1] * shape[1], y
        self._narrow = narrow
        across = np.interp(np.arange(shape[1]) + 0.5, self._column, dense)
        fraction = (np.arange(shape[0]) + 0.5) / shape[0]
        self.y = np.repeat((y[0] + fraction * (y[1] - y[0]))[:, None], shape[1], 1)
        self.x = across[None] * (1 + (narrow - 1) * fraction)[:, None]
        self.texel = (y[1] - y[0]) / shape[0]  # the height of a texel in the face's frame

    def texels(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) positions in the face's frame as texel coordinates, pixel centres at .5."""
        points = np.asarray(points, np.float64)
        fraction = (points[..., 1] - self._y[0]) / (self._y[1] - self._y[0])
        across = points[..., 0] / (1 + (self._narrow - 1) * fraction)
        return np.stack([np.interp(across, self._dense, self._column), fraction * self.shape[0]], -1)

    def inside(self, *outlines: np.ndarray) -> np.ndarray:
        """Signed distance, positive inside, to the union of closed (n, 2) outlines, in the face's units."""
        size = [side * FINE for side in self.shape]
        filled = np.zeros(size, np.uint8)
        for outline in outlines:
            corners = np.rint((self.texels(outline) * FINE - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(filled, [corners], 255, lineType=cv2.LINE_8, shift=4)
        kept, lost = (cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for m in (filled, 255 - filled))
        distance = cv2.resize(kept - lost, self.shape[::-1], interpolation=cv2.INTER_AREA)
        return distance.astype(np.float64) / FINE * self.texel


def closed(points: Sequence[Sequence[float]], count: int = 400) -> np.ndarray:
    """A smooth closed curve through points, (count, 2)."""
    from scipy.interpolate import CubicSpline

    ring = np.asarray([*points, points[0]], np.float64)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T) ** 0.5)])
    return CubicSpline(length, ring, bc_type="periodic")(np.linspace(0, length[-1], count, endpoint=False))


def mirrored(points: np.ndarray) -> np.ndarray:
    """The same outline on the other side of the midline."""
    return np.asarray(points) * [-1, 1]


def over(below: np.ndarray, colour: np.ndarray | Sequence[float], alpha: np.ndarray | float) -> np.ndarray:
    """Paint ``colour`` with ``alpha`` over a straight RGBA picture."""
    alpha = np.clip(np.broadcast_to(alpha, below.shape[:2]), 0, 1)
    total = alpha + below[..., 3] * (1 - alpha)
    kept = (below[..., 3] * (1 - alpha))[..., None]
    mixed = (np.asarray(colour, np.float64) * alpha[..., None] + below[..., :3] * kept) / np.maximum(total, 1e-6)[..., None]  # fmt: skip
    return np.dstack([mixed, total])


def blank(shape: tuple[int, int]) -> np.ndarray:
    """Nothing: a transparent picture."""
    return np.zeros((*shape, 4))


def blur(field: np.ndarray, sigma: float | tuple[float, float]) -> np.ndarray:
    """Gaussian blur by ``sigma`` texels, or by (across, down)."""
    across, down = (sigma, sigma) if np.isscalar(sigma) else sigma
    return cv2.GaussianBlur(field, (0, 0), max(across, 0.01), sigmaY=max(down, 0.01), borderType=cv2.BORDER_REPLICATE)


def moved(field: np.ndarray, across: float, down: float) -> np.ndarray:
    """``field`` shifted by texels; what comes in is 0."""
    shift = np.array([[1, 0, across], [0, 1, down]], np.float64)
    return cv2.warpAffine(field, shift, field.shape[::-1], flags=cv2.INTER_LINEAR)


def rgb(*levels: float) -> np.ndarray:
    """A colour given as 0..255."""
    return np.array(levels, np.float64) / 255


def fade_border(picture: np.ndarray, rows: float = 5, columns: float = 5) -> np.ndarray:
    """The picture with its alpha gone at the border, so that no panel shows its own edge."""
    height, width = picture.shape[:2]
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    soft = [step(np.minimum(a, n - a), d / 2 + 1, d) for a, n, d in ((y, height, rows), (x, width, columns))]
    return np.dstack([picture[..., :3], picture[..., 3] * soft[0][:, None] * soft[1][None]])


def baked(pieces: Sequence[Piece], colour: Sequence[int]) -> list[Piece]:
    """The pieces with their tinted parts in a fixed colour, tinted no more."""
    result = []
    for piece in pieces:
        tinted = any(p.get("tinted", True) for p in piece.panels) or any(r.get("tinted") for r in piece.ribbons)
        tint = np.append(rgb(*colour), 1.0) if tinted else 1.0
        panels = tuple({**p, "tinted": False} for p in piece.panels)
        ribbons = tuple({**r, "tinted": False} for r in piece.ribbons)
        result.append(replace(piece, picture=piece.picture * tint, panels=panels, ribbons=ribbons))
    return result


def taken(built: Built) -> list[Piece]:
    """A drawn asset as pieces again: one for each rectangle of its texture."""
    description, texture = built
    size = np.array([texture.shape[1], texture.shape[0]] * 2)
    geometry, pieces = description["geometry"], {}
    for kind in ("ribbons", "panels"):
        for shown in geometry.get(kind, ()):
            box = tuple(np.rint(np.array(shown["uv"]) * size).astype(int).tolist())
            rest = {key: value for key, value in shown.items() if key != "uv"}
            pieces.setdefault(box, {"ribbons": [], "panels": []})[kind].append(rest)
    return [
        Piece(texture[y0:y1, x0:x1] / 255.0, tuple(shown["panels"]), tuple(shown["ribbons"]))
        for (x0, y0, x1, y1), shown in pieces.items()
    ]


def scaled(pieces: Sequence[Piece], factor: float) -> list[Piece]:
    """The pieces with smaller pictures."""
    return [replace(piece, picture=_resized(piece.picture, factor)) for piece in pieces]


def _resized(picture: np.ndarray, factor: float) -> np.ndarray:
    size = [max(8, round(side * factor)) for side in (picture.shape[1], picture.shape[0])]
    whole = np.dstack([picture[..., :3] * picture[..., 3:], picture[..., 3]])
    small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    return np.dstack([small[..., :3] / np.maximum(small[..., 3:], 1e-6), small[..., 3]])


def atlas(pieces: Sequence[Piece], coarse: int = STEP) -> tuple[np.ndarray, dict[str, Any]]:
    """Stack the pieces' pictures: the uint8 RGBA texture and the geometry that refers to it.

    Around each picture its border goes on, so that what is opaque up to there does not fade into the next.
    """
    width = max(piece.picture.shape[1] for piece in pieces)
    height = sum(piece.picture.shape[0] for piece in pieces) + GUTTER * (len(pieces) - 1)
    texture, row = np.zeros((height, width, 4)), 0
    geometry: dict[str, Any] = {"panels": [], "ribbons": []}
    for piece in pieces:
        rows, columns = piece.picture.shape[:2]
        above, below = min(row, GUTTER // 2), min(height - row - rows, GUTTER // 2)
        right = min(width - columns, GUTTER // 2)
        grown = np.pad(piece.picture, ((above, below), (0, right), (0, 0)), mode="edge")
        texture[row - above : row + rows + below, : columns + right] = grown
        uv = [0.0, round(row / height, 6), round(columns / width, 6), round((row + rows) / height, 6)]
        geometry["panels"] += [{**panel, "uv": uv} for panel in piece.panels]
        geometry["ribbons"] += [{**ribbon, "uv": uv} for ribbon in piece.ribbons]
        row += rows + GUTTER
    return levels(texture, coarse), geometry


def levels(texture: np.ndarray, coarse: int = STEP) -> np.ndarray:
    """0..1 to uint8, rounded to multiples of ``coarse`` (255 stays); black where nothing shows."""
    whole = np.clip(texture, 0, 1) * 255
    rounded = np.where(whole > 254, 255, np.minimum(np.rint(whole / coarse) * coarse, 255))
    return np.where(rounded[..., 3:] > 0, rounded, 0).astype(np.uint8)


def build(
    asset_id: str, name: str, category: str, kind: str, regions: str, colourways: Mapping[str, Any],
    pieces: Sequence[Piece], source: str, coarse: int = STEP, version: int = 1,
) -> Built:  # fmt: skip
    """The content of an asset's folder: asset.json as a dict, and the texture. ``regions`` is separated by blanks."""
    texture, geometry = atlas(pieces, coarse)
    description = {
        "format_version": 2, "id": asset_id, "version": version, "name": name, "category": category, "kind": kind,
        "regions": regions.split(), "texture": "texture.png", "colourways": dict(colourways), "geometry": geometry,
        "licence": LICENCE, "source": f"drawn by tools/masks/{source}",
    }  # fmt: skip
    return description, texture


def write(root: Path, built: Built) -> Path:
    """Write one asset folder: asset.json, texture.png, LICENSE."""
    description, texture = built
    folder = root / description["id"]
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(
        str(folder / "texture.png"), cv2.cvtColor(texture, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    (folder / "asset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    (folder / "LICENSE").write_text(LICENCE_TEXT, encoding="utf-8")
    return folder
