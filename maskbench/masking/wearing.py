"""How a mask is worn: below the nose, on the mouth alone, under the chin; and how large it is.

Both change the drawing before it is stretched over a face (docs/masks.md has the format of a geometry). Panels that lie
on one another, such as a respirator and its valve, move together, as the largest of them does: its edges are moved, and
whatever lies between them moves in proportion. Ribbons keep their far end, which hangs on the ear, and their near end
follows the panel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Panel = Mapping[str, Any]
Geometry = Mapping[str, Any]
Field = Callable[[np.ndarray], np.ndarray]  # positions (n, 2) to moved positions (n, 2)

STYLES = ("correct", "under-nose", "under-chin", "mouth-only")
LOWER_FACE = 0.5  # a panel whose middle lies below this y hangs on nose, mouth or chin; glasses and hats do not
CONTAINED = 0.6  # share of a panel's box within a larger one's that makes it a part of it
DEEPEST = 1.0  # z of the front of the ears, up to which a large mask reaches
GROWTH_STEPS = 65
LEAST_STEP = 0.002  # between two knots of an edge
KNOTS = 9  # of an edge that a style has bent


@dataclass(frozen=True)
class Style:
    """Where a style takes a panel's edges, in inter-ocular distances.

    Attributes:
        top, bottom: y of the two edges at the midline. A bottom edge that hangs lower stays, unless ``folded``.
        top_side, bottom_side: how far the outer ends of the edges move down; they hang on the ears.
        narrow: factor on x at the outer ends.
        power: how an edge runs from the midline to the outer end: 1 is a straight line, 2 a sagging curve.
    """

    top: float
    bottom: float
    top_side: float
    bottom_side: float
    narrow: float = 1.0
    power: float = 2.0
    folded: bool = False


WORN: dict[str, Style] = {
    "under-nose": Style(top=0.80, bottom=2.00, top_side=0.12, bottom_side=0.02, narrow=0.96),
    "mouth-only": Style(top=0.80, bottom=1.50, top_side=0.16, bottom_side=-0.02, narrow=0.96, folded=True),
    "under-chin": Style(top=1.62, bottom=2.25, top_side=0.48, bottom_side=0.40, narrow=0.87),
}


def worn_geometry(geometry: Geometry, style: str = "correct", size: float = 1.0) -> Geometry:
    """The geometry of a mask as it is worn; ``geometry`` itself, unchanged, for "correct" and size 1.

    Args:
        geometry: panels and ribbons of an ``asset.json`` of format 2.
        style: one of ``STYLES``; it moves the panels of the lower face only.
        size: factor about the panels' middle; under the nose and under the chin about the top edge's, so that a large
            mask covers no more of what its style leaves free.

    Raises:
        KeyError: no such style.
    """
    if style == "correct" and size == 1.0:
        return geometry
    worn = WORN[style] if style != "correct" else None
    panels = geometry["panels"]
    heads = _heads(panels)
    fields = {head: _field(panels[head], worn, size) for head in sorted(set(heads))}
    return {
        **geometry,
        "panels": [_moved_panel(panel, fields[head], worn) for panel, head in zip(panels, heads, strict=True)],
        "ribbons": [_moved_ribbon(ribbon, panels, heads, fields) for ribbon in geometry.get("ribbons", ())],
    }


def _whole(edge: Sequence[Sequence[float]]) -> np.ndarray:
    """An edge from left to right, (n, 2); one that starts at x = 0 is mirrored."""
    points = np.asarray(edge, np.float64)
    return np.concatenate([points[:0:-1] * [-1, 1], points]) if points[0, 0] == 0 else points


def is_lathe(panel: Panel) -> bool:
    """Whether a panel goes round the head, rather than lying on the face."""
    return "profile" in panel


def _symmetric(panel: Panel) -> bool:
    return is_lathe(panel) or panel["top"][0][0] == 0


def _ground(panel: Panel) -> str:
    """What a panel is stretched over: the head ("round"), its own surface ("flat") or the face ("taut")."""
    return "round" if is_lathe(panel) else "flat" if "flat" in panel else "taut"


def _box(panel: Panel) -> np.ndarray:
    """x0, y0, x1, y1 of a panel as seen from the front."""
    if is_lathe(panel):
        profile = np.asarray(panel["profile"], np.float64)
        half = profile[:, 1].max()
        return np.array([-half, profile[0, 0], half, profile[-1, 0]])
    points = np.concatenate([_whole(panel["top"]), _whole(panel["bottom"])])
    return np.concatenate([points.min(0), points.max(0)])


def _heads(panels: Sequence[Panel]) -> list[int]:
    """For each panel the index of the one that it moves with: the largest that contains most of it, or itself."""
    boxes = [_box(panel) for panel in panels]
    areas = [float(np.prod(box[2:] - box[:2])) for box in boxes]
    heads = []
    for own, box in enumerate(boxes):
        best = own
        for other, frame in enumerate(boxes):
            shared = np.prod(np.maximum(np.minimum(box[2:], frame[2:]) - np.maximum(box[:2], frame[:2]), 0))
            # A mirrored panel cannot follow one that is not: its two halves would part. Nor does what lies on the face
            # follow glasses or hats.
            alike = _ground(panels[other]) == _ground(panels[own])
            alike = alike and _symmetric(panels[other]) >= _symmetric(panels[own])
            carries = alike and shared >= CONTAINED * areas[own]
            if carries and areas[other] > areas[best]:
                best = other
        heads.append(best)
    # One that moves with another cannot lead a third: follow the chain, which ends since areas grow along it.
    while any(heads[head] != head for head in heads):
        heads = [heads[head] for head in heads]
    return heads


def _field(panel: Panel, worn: Style | None, size: float) -> Field:
    """The movement that ``worn`` and ``size`` mean for everything on a panel."""
    box = _box(panel)
    hangs = worn is not None and _ground(panel) != "flat" and (box[1] + box[3]) / 2 > LOWER_FACE
    bend, anchor = (_bend(panel, worn) if hangs else None), (box[:2] + box[2:]) / 2
    if hangs:
        # Folded on the mouth a mask grows both ways; hanging under nose or chin it grows downwards.
        anchor = np.array([0.0, (worn.top + worn.bottom) / 2 if worn.folded else worn.top])
    across = 1.0 if is_lathe(panel) else size  # what goes round the head keeps the head's width
    behind = _ground(panel) == "taut" and size > 1

    def field(points: np.ndarray) -> np.ndarray:
        moved = bend(points) if bend else points
        return _grown(moved, anchor, size) if behind else anchor + (moved - anchor) * [across, size]

    return field


def _grown(points: np.ndarray, anchor: np.ndarray, size: float) -> np.ndarray:
    """Points scaled up about ``anchor``, each only as far as it stays in front of the ears: cloth ends there."""
    from maskbench.masking.geometry import taut_depth

    factors = np.linspace(1.0, size, GROWTH_STEPS)
    grown = anchor + (points - anchor) * factors[:, None, None]  # (steps, n, 2)
    depth = taut_depth(grown[..., 0], grown[..., 1])
    # The hull is convex, so that depth rises along each ray once it has left the middle.
    last = np.maximum((depth <= np.maximum(DEEPEST, depth[0])).sum(0) - 1, 0)
    return grown[last, np.arange(len(points))]


def _edges(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower edge of a panel from left to right; level ones for what goes round the head."""
    if is_lathe(panel):
        x0, y0, x1, y1 = _box(panel)
        return np.array([[x0, y0], [x1, y0]]), np.array([[x0, y1], [x1, y1]])
    return _whole(panel["top"]), _whole(panel["bottom"])


def _bend(panel: Panel, worn: Style) -> Field:
    """A style's movement: each edge goes to its new curve, what lies between goes in proportion."""
    top, bottom = _edges(panel)
    low = float(np.interp(0, *bottom.T))
    targets = (worn.top, worn.bottom if worn.folded else max(low, worn.bottom))
    shifts = (None, None) if is_lathe(panel) else (worn.top_side, worn.bottom_side)
    narrow = 1.0 if is_lathe(panel) else worn.narrow

    def field(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        reach = _reach(top, x)
        before = [np.interp(x, *edge.T) for edge in (top, bottom)]
        after = [_hanging(*three, worn.power, x) for three in zip((top, bottom), targets, shifts, strict=True)]
        height = before[1] - before[0]
        along = np.clip((y - before[0]) / np.maximum(height, 1e-6), 0, 1)
        beyond = y - (before[0] + along * height)
        return np.stack([x * (1 + (narrow - 1) * reach), after[0] + along * (after[1] - after[0]) + beyond], -1)

    return field


def _reach(edge: np.ndarray, x: np.ndarray) -> np.ndarray:
    """How far x is on the way from the midline (0) to the end of its half of the edge (1)."""
    return np.clip(np.abs(x) / np.where(x < 0, max(-edge[0, 0], 1e-6), max(edge[-1, 0], 1e-6)), 0, 1)


def _hanging(edge: np.ndarray, middle: float, shift: float | None, power: float, x: np.ndarray) -> np.ndarray:
    """y at x of an edge that hangs from its outer ends, each ``shift`` lower than it was, to ``middle``; level
    without a shift."""
    ends = middle if shift is None else np.where(x < 0, edge[0, 1], edge[-1, 1]) + shift
    return middle + (ends - middle) * _reach(edge, x) ** power


def _moved_panel(panel: Panel, field: Field, worn: Style | None) -> Panel:
    if is_lathe(panel):
        profile = np.asarray(panel["profile"], np.float64)
        rows = field(np.column_stack([np.zeros(len(profile)), profile[:, 0]]))[:, 1]
        # Pulled down or made smaller, it passes the head at another height, where the head has another girth.
        radii = [np.interp(rows, profile[:, 0], profile[:, k]) for k in (1, 2)]
        return {**panel, "profile": _listed(np.column_stack([rows, *radii]))}
    return {**panel, **{name: _moved_edge(panel[name], field, worn) for name in ("top", "bottom")}}


def _moved_edge(edge: Sequence[Sequence[float]], field: Field, worn: Style | None) -> list[list[float]]:
    points = np.asarray(edge, np.float64)
    if worn is not None:  # a bent edge needs more knots than a straight one may have
        x = np.union1d(points[:, 0], np.linspace(points[0, 0], points[-1, 0], KNOTS))
        points = np.column_stack([x, np.interp(x, *points.T)])
    moved = field(points)
    if points[0, 0] == 0:
        moved[0, 0] = 0.0  # the midline stays, so that the other half still mirrors this one
    for before, after in zip(moved, moved[1:], strict=False):
        after[0] = max(after[0], before[0] + LEAST_STEP)  # drawn in at the side, knots still go outwards
    return _listed(moved)


def _moved_ribbon(ribbon: Panel, panels: Sequence[Panel], heads: Sequence[int], fields: Mapping[int, Field]) -> Panel:
    """A ribbon whose start moves with the nearest panel; the movement fades to nothing at its end."""
    from maskbench.masking.geometry import taut_depth

    points = np.asarray(ribbon["points"], np.float64)
    head = min(sorted(fields), key=lambda index: _distance(points[0, :2], _box(panels[index])))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    fade = 1 - length / max(length[-1], 1e-9)
    start = points[:1, :2]
    there = fields[head](start)
    depth = 0.0
    if _ground(panels[head]) == "taut":
        depth = float((taut_depth(*there.T) - taut_depth(*start.T))[0])
    return {**ribbon, "points": _listed(points + fade[:, None] * np.append(there - start, depth))}


def _distance(point: np.ndarray, box: np.ndarray) -> tuple[float, float]:
    """Of a point to a box; among boxes that hold it, to the nearest end of the box across."""
    outside = np.maximum(np.maximum(box[:2] - point, point - box[2:]), 0)
    return float(np.hypot(*outside)), float(min(abs(point[0] - box[0]), abs(point[0] - box[2])))


def _listed(points: np.ndarray) -> list[list[float]]:
    return np.round(points, 6).tolist()
