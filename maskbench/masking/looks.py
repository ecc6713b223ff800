"""What is wrong with a mask that can be seen only: no margins, hard edges on a face, regions that are not hidden."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from maskbench.masking.inspect import MIDDLE, UNIT, draw_canonical
from maskbench.types import MaskAsset

YAWS = (0.0, 40.0, -40.0)  # degrees: what is seen from the front and from both sides
BORDER = 2  # texels of a uv rectangle that count as its border
CLOSED = 0.15  # radius below which a ring of a lathe is its pole
HARD = 0.2  # alpha on a border from which an edge looks cut
LEAST_CUT = {"panels": 12, "ribbons": 10}  # pixels of such an edge that make it visible; a strap's end is that short
# Spots (x, y) of the canonical frame that tell whether a region is hidden.
SPOTS = {
    "lower": ((0, 0.6), (0, 1.06), (-0.3, 1.06), (0.3, 1.06), (0, 1.5)),
    "eye": ((-0.5, 0), (0.5, 0)),
    "upper": ((-0.5, -0.38), (0.5, -0.38), (0, -0.6), (-0.4, -0.7), (0.4, -0.7)),
    "top": ((0, -1.6), (-0.5, -1.4), (0.5, -1.4)),
}


@dataclass(frozen=True)
class Fault:
    """One thing wrong: the file, what it is with its remedy, and whether the mask cannot or must not be used so."""

    path: Path
    message: str
    error: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.error else 'warning'}: {self.path}: {self.message}"


Rectangle = tuple[slice, slice]  # rows and columns of texels


def _parts(asset: MaskAsset) -> Iterator[tuple[str, Rectangle]]:
    """Each panel and ribbon: its name, and its uv rectangle."""
    height, width = asset.texture.shape[:2]
    for kind in ("panels", "ribbons"):
        for number, part in enumerate(asset.geometry.get(kind, ())):
            (u0, u1), (v0, v1) = (sorted(part["uv"][k::2]) for k in (0, 1))
            rows, columns = slice(round(v0 * height), round(v1 * height)), slice(round(u0 * width), round(u1 * width))
            yield f"geometry.{kind}[{number}]", (rows, columns)


def texture_faults(asset: MaskAsset, path: Path) -> Iterator[Fault]:
    """Parts without any texture, and texture that reaches the border of its rectangle."""
    if not asset.texture[..., 3].any():
        yield Fault(path, "wholly transparent; draw the mask with alpha above 0")
        return
    for name, where in _parts(asset):
        alpha = asset.texture[..., 3][where]
        if not alpha.size or not alpha.any():
            yield Fault(path, f"{name} shows a wholly transparent part; correct its uv, or draw something there")
            continue
        sides = {"top": alpha[0], "bottom": alpha[-1]}
        if "panels" in name:  # a ribbon begins under its panel and ends behind the head
            sides |= {"left": alpha[:, 0], "right": alpha[:, -1]}
        cut = [f"{side} ({values.max()})" for side, values in sides.items() if values.max() > HARD * 255]
        if cut:
            yield Fault(
                path,
                f"alpha touches the border of {name}'s uv rectangle at the {', '.join(cut)}; leave a transparent "
                "margin, or a hard edge may show",
                error=False,
            )


def drawing_faults(asset: MaskAsset, path: Path) -> Iterator[Fault]:
    """What shows on the canonical face only: nothing at all, hard edges, regions that are not as described."""
    front = draw_canonical(asset)
    if front.alpha.max() < HARD * 255:
        yield Fault(path, "nothing of it is seen on a face that looks at the camera; correct the geometry")
        return
    remedies = {
        "panels": "give the texture a transparent margin, or move that edge under another part or behind the head",
        "ribbons": "let ribbons begin on a panel, at its depth, and end behind the head",
    }
    for kind, (size, yaw) in visible_cuts(asset).items():
        if size >= LEAST_CUT[kind]:
            view = f"on the canonical face turned by {yaw:.0f} degrees"
            message = f"{size} pixels of hard edge of the {kind} show {view}; {remedies[kind]}"
            # A shape defined by its outline may be cut there, and the rim of a hat is an edge.
            yield Fault(path, message, error=not (asset.coverage or (kind == "panels" and "top" in asset.regions)))
    yield from _region_faults(asset, front.alpha, path)


def visible_cuts(asset: MaskAsset) -> dict[str, tuple[int, float]]:
    """How much of the borders of "panels" and "ribbons" looks cut off in the canonical picture.

    The panels' borders are painted red, the ribbons' green, everything else black: what that changes in the picture is
    what is seen of them.

    Returns:
        For each kind the pixels of the largest piece seen, and the yaw in degrees at which it is seen.
    """
    black, marked = asset.texture.copy(), asset.texture.copy()
    black[..., :3] = marked[..., :3] = 0
    kinds = {"panels": 0, "ribbons": 1}
    parts = list(_parts(asset))
    for name, where in parts:
        ring = _ring(where, asset.texture.shape, _joined(asset, name))
        for _, other in parts:  # what lies inside of another part's rectangle could not be told from that part
            if other != where:
                ring[other] &= _ring(other, asset.texture.shape)[other]
        marked[ring, next(kinds[kind] for kind in kinds if kind in name)] = 255
    painted = [replace(asset, texture=texture) for texture in (black, marked)]
    worst = dict.fromkeys(kinds, (0, 0.0))
    for yaw in YAWS:
        without, with_borders = (draw_canonical(one, "#ffffff", yaw).image.astype(np.int16) for one in painted)
        for kind, channel in kinds.items():
            seen = (with_borders - without)[..., channel] > HARD * 255
            worst[kind] = max(worst[kind], (_largest_piece(seen), yaw), key=lambda found: found[0])
    return worst


def _joined(asset: MaskAsset, name: str) -> set[str]:
    """The sides of a part that are no edges: a crown's closed top, and where a full turn meets itself."""
    kind, number = name.removeprefix("geometry.").rstrip("]").split("[")
    part = asset.geometry[kind][int(number)]
    if "profile" not in part:
        return set()
    joined = {side for side, ring in (("top", 0), ("bottom", -1)) if max(part["profile"][ring][1:]) < CLOSED}
    turn = part["angles"][1] - part["angles"][0]
    return joined | ({"left", "right"} if turn > 350 else set())


def _ring(where: Rectangle, shape: tuple[int, ...], without: Collection[str] = ()) -> np.ndarray:
    """The border of a rectangle of texels, ``BORDER`` wide, as a boolean picture of ``shape``; some sides left out."""
    rows, columns = where
    ring = np.zeros(shape[:2], bool)
    ring[rows, columns] = True
    top, bottom, left, right = (0 if side in without else BORDER for side in ("top", "bottom", "left", "right"))
    ring[rows.start + top : rows.stop - bottom, columns.start + left : columns.stop - right] = False
    return ring


def _largest_piece(seen: np.ndarray) -> int:
    """Pixels of the largest connected part of a boolean picture."""
    return int(max(cv2.connectedComponentsWithStats(seen.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA], default=0))


def _region_faults(asset: MaskAsset, alpha: np.ndarray, path: Path) -> Iterator[Fault]:
    for region, spots in SPOTS.items():
        pixels = np.rint(np.array(spots) * UNIT + MIDDLE).astype(int)
        hidden = float((alpha[pixels[:, 1], pixels[:, 0]] > 127).mean())
        if region in asset.regions and hidden == 0:
            yield Fault(path, f'regions says "{region}", which it leaves free; leave that out', error=False)
        if region not in asset.regions and hidden == 1:
            yield Fault(path, f'it hides the region "{region}", which regions does not say; add it', error=False)
