"""The outline of a mask on a photo, six named points on it, and the warp that straightens it into a rectangle.

Positions are pixels, x right, y down. The outline runs clockwise as seen. The warp is a bilinearly blended Coons patch
(Coons, "Surfaces for Computer-Aided Design of Space Forms", MIT 1967): each side of the rectangle follows its stretch
of the outline by arc length, as the edges of a panel do, and the inside is blended from all four.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from maskbench.errors import ImageError, MaskbenchError

# Clockwise from the upper left, as the outline runs.
ANCHORS = ("left-top", "top", "right-top", "right-bottom", "bottom", "left-bottom")
THIN = 0.06  # of the square root of the shape's area: narrower parts are straps or loops, not cloth
LEAST_SECOND = 0.2  # a second shape of this share of the first is no crumb
SMOOTHING = 1.5  # pixels, of the outline's steps
LEVEL_RATIO = 1.1  # principal axes closer than this say nothing about how a shape is turned
SIDEWAYS = 1.5  # corners lie at the sides rather than above and below


def outline_of(alpha: np.ndarray) -> np.ndarray:
    """The outline of the largest opaque shape without its loops and straps.

    Args:
        alpha: (H, W) uint8.

    Returns:
        (N, 2) float64, about one point a pixel, clockwise as seen, closed (the last point is not the first).

    Raises:
        ImageError: nothing is opaque, or two shapes are.
    """
    solid = (np.pad(alpha, 1) >= 128).astype(np.uint8)
    if not solid.any():
        raise ImageError("no pixel is opaque; keep the mask opaque and make the rest transparent")
    contours, _ = cv2.findContours(_without_loops(solid), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contours = sorted(contours, key=cv2.contourArea, reverse=True)
    if len(contours) > 1 and cv2.contourArea(contours[1]) > LEAST_SECOND * cv2.contourArea(contours[0]):
        raise ImageError("two separate shapes are opaque; make all but the mask transparent")
    points = contours[0][:, 0].astype(np.float64) - 1
    following = np.roll(points, -1, axis=0)
    twice_area = (points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum()
    return _smoothed(points if twice_area > 0 else points[::-1])  # positive is clockwise, since y points down


def _without_loops(solid: np.ndarray) -> np.ndarray:
    """The shape with its thin parts cut off, if it has any; corners stay as they are."""
    size = max(1, round(THIN * float(np.sqrt(solid.sum())) / 2))
    room = np.pad(solid, size)  # so that the picture's border is no wall that a loop could hide at
    opened = cv2.morphologyEx(room, cv2.MORPH_OPEN, _disc(size))
    if opened.sum() < 0.5 * solid.sum():
        return solid
    # Opening rounds corners off. Growing back a little within the shape mends most of that, and the stubs of loops that
    # come back with it are shorter than what ``phototexture.INSET`` leaves out.
    body = cv2.dilate(opened, _disc(max(1, size // 4))) & room
    return body[size:-size, size:-size]


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _smoothed(points: np.ndarray) -> np.ndarray:
    """A closed chain of pixels at equal steps, the stairs of the pixel grid taken out."""
    steps = np.hypot(*np.diff(points, axis=0, append=points[:1]).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    where = np.linspace(0, along[-1], max(16, int(along[-1])), endpoint=False)
    even = np.column_stack([np.interp(where, along, np.append(axis, axis[0])) for axis in points.T])
    reach = int(4 * SMOOTHING)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING) ** 2)
    wrapped = np.concatenate([even[-reach:], even, even[:reach]])
    return np.column_stack([np.convolve(axis, kernel / kernel.sum(), "valid") for axis in wrapped.T])


def auto_anchors(outline: np.ndarray) -> dict[str, tuple[float, float]]:
    """Six points on an outline: the corners of the shape, however it is turned (up to 45 degrees), and the middles of
    its upper and lower edge."""
    moments = cv2.moments(outline.astype(np.float32)[:, None])
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    angle = _tilt(moments)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    upright = (outline - centre) @ turn.T
    low, high = upright.min(0), upright.max(0)
    square = (upright - (low + high) / 2) / ((high - low) / 2)
    index = {
        f"{side}-{end}": int(np.argmax(square @ [SIDEWAYS * sx, sy]))
        for side, sx in (("left", -1), ("right", 1))
        for end, sy in (("top", -1), ("bottom", 1))
    }
    for end, first, last in (("top", "left-top", "right-top"), ("bottom", "right-bottom", "left-bottom")):
        middle = (square[index[first], 0] + square[index[last], 0]) / 2
        stretch = _between(index[first], index[last], len(outline))
        index[end] = int(stretch[np.argmin(np.abs(square[stretch, 0] - middle))])
    return {name: tuple(np.round(outline[index[name]], 1).tolist()) for name in ANCHORS}


def _tilt(moments: Mapping[str, float]) -> float:
    """Radians, within a quarter of pi, by which a shape's principal axis nearest to level is turned clockwise."""
    difference, mixed = moments["mu20"] - moments["mu02"], 2 * moments["mu11"]
    spread, total = np.hypot(difference, mixed), moments["mu20"] + moments["mu02"]
    if (total + spread) < LEVEL_RATIO**2 * (total - spread):  # as good as round
        return 0.0
    angle = 0.5 * np.arctan2(mixed, difference)
    return float((angle + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def _between(first: int, last: int, count: int) -> np.ndarray:
    """The indices of a closed outline from ``first`` to ``last``, both included, in its direction."""
    return (first + np.arange((last - first) % count + 1)) % count


class Warp:
    """From the unit square (u right, v down) to the photo: the outline's stretches between the anchors are its sides.

    Args:
        outline: (N, 2), from ``outline_of``.
        anchors: the six of ``ANCHORS``; one that lies off the outline pulls it there.

    Raises:
        MaskbenchError: the anchors are not in order, or the warp folds over.
    """

    STEPS = 257  # samples of each side

    def __init__(self, outline: np.ndarray, anchors: Mapping[str, tuple[float, float]]) -> None:
        points = np.array([anchors[name] for name in ANCHORS], np.float64)
        near = [int(np.argmin(((outline - point) ** 2).sum(1))) for point in points]
        if sorted(np.diff(near, append=near[0]) < 0) != [False] * 5 + [True]:
            raise MaskbenchError(
                f"the anchors do not follow the outline in the order {', '.join(ANCHORS)}; left is the photo's left"
            )
        stretches = [
            _pulled(outline[_between(near[k], near[(k + 1) % 6], len(outline))], points[k], points[(k + 1) % 6])
            for k in range(6)
        ]
        half = self.STEPS // 2 + 1
        top = np.concatenate([_even(stretches[0], half), _even(stretches[1], half)[1:]])
        bottom = np.concatenate([_even(stretches[3], half), _even(stretches[4], half)[1:]])[::-1]
        right, left = _even(stretches[2], self.STEPS), _even(stretches[5], self.STEPS)[::-1]
        self._sides = top, right, bottom, left
        self._refuse_folds()

    def __call__(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Positions (..., 2) in the photo of points of the square; u, v in 0..1, any shape."""
        top, right, bottom, left = (
            np.stack([np.interp(at, np.linspace(0, 1, self.STEPS), axis) for axis in side.T], -1)
            for side, at in zip(self._sides, (u, v, u, v), strict=True)
        )
        u, v = u[..., None], v[..., None]
        first, last = self._sides[0], self._sides[2]
        corners = (1 - v) * ((1 - u) * first[0] + u * first[-1]) + v * ((1 - u) * last[0] + u * last[-1])
        return (1 - v) * top + v * bottom + (1 - u) * left + u * right - corners

    def _refuse_folds(self) -> None:
        u, v = np.meshgrid(np.linspace(0, 1, 33), np.linspace(0, 1, 33))
        grid = self(u, v)
        across, down = np.diff(grid, axis=1)[:-1], np.diff(grid, axis=0)[:, :-1]
        area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        if (area <= 0).mean() > 0.01:  # single cells at a sharp corner do no harm
            raise MaskbenchError("the warp folds over between these anchors; move them nearer to the mask's corners")


def _pulled(stretch: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A stretch of the outline moved so that it runs from ``start`` to ``end``."""
    share = np.linspace(0, 1, len(stretch))[:, None]
    return stretch + (1 - share) * (start - stretch[0]) + share * (end - stretch[-1])


def _even(chain: np.ndarray, count: int) -> np.ndarray:
    """``count`` points at equal steps of arc length along an open (n, 2) chain."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(chain, axis=0).T))])
    where = np.linspace(0, along[-1], count)
    return np.column_stack([np.interp(where, along, axis) for axis in chain.T])
