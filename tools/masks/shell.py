"""Shells (lathes) around the head, drawn unrolled: coordinates, cloth, edges and the shadows below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from canvas import step
from pen import Piece, blank, over

WIDE = 896  # texels around the head
DEEPER = 0.30  # the landmarks' depth is too shallow for the back of a head with its hair
Profile = Sequence[Sequence[float]]


class Shell:
    """A lathe panel and coordinates on its unrolled picture.

    ``angle`` (degrees) and ``y`` of each texel; ``along``: length around the head at the panel's middle ring, in the
    face's units; ``down``: length along the profile from its top; ``texel``: height of a texel.
    """

    def __init__(self, rows: int, profile: Profile, angles: tuple[float, float] = (-180.0, 180.0), columns: int = WIDE,
                 deeper: float = DEEPER):  # fmt: skip
        from scipy.interpolate import PchipInterpolator

        # Set back by ``deeper`` and as much deeper: the front stays where it is, the back of the head is covered.
        rings = np.asarray(profile, np.float64) * [1, 1, 1] + np.outer(
            np.minimum(1, np.asarray(profile)[:, 2]), [0, 0, deeper]
        )
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(rings, axis=0), axis=1))])
        self.panel: dict[str, Any] = {
            "profile": np.round(rings, 4).tolist(),
            "angles": list(angles),
            "axis": 1.1 + deeper,
        }
        at = PchipInterpolator(length / length[-1], rings, axis=0)
        middle = at(0.5)
        dense = np.deg2rad(np.linspace(*angles, 1441))
        steps = np.hypot(np.diff(middle[1] * np.sin(dense)), np.diff(middle[2] * np.cos(dense)))
        around = np.concatenate([[0], np.cumsum(steps)])
        column = (np.arange(columns) + 0.5) / columns * around[-1]
        fraction = (np.arange(rows) + 0.5) / rows
        self.shape = (rows, columns)
        angle = np.rad2deg(np.interp(column, around, dense))
        self.angle, self.y = np.meshgrid(angle, at(fraction)[:, 0])
        self.along, self.down = np.meshgrid(column - np.interp(0.0, dense, around), fraction * length[-1])
        self.texel = length[-1] / rows
        self.wide_texel = around[-1] / columns

    def piece(self, picture: np.ndarray, tinted: bool = True, **more: Any) -> Piece:
        """The picture on this shell."""
        return Piece(picture, ({**self.panel, "tinted": tinted, **more},))


def around(field: np.ndarray) -> np.ndarray:
    """Make a field meet itself at the back of the head: its last sixteenth fades into its first columns mirrored."""
    width = field.shape[1] // 16
    weight = step(np.arange(width) + 0.5, width / 2, width)
    out = field.copy()
    out[:, -width:] = field[:, -width:] * (1 - weight) + field[:, :width][:, ::-1] * weight
    return out


def cloth(value: np.ndarray, alpha: np.ndarray, shadow: np.ndarray | float = 0.0) -> np.ndarray:
    """Grey cloth of brightness ``value`` over a shadow."""
    picture = over(blank(value.shape), (0, 0, 0), shadow)
    return over(picture, np.clip(value, 0.06, 1)[..., None] * np.ones(3), alpha)


def below(shell: Shell, edge: np.ndarray, strength: float, reach: float) -> np.ndarray:
    """The shadow on the skin below an edge at signed distance 0 (positive inside), ``reach`` units deep."""
    front = 1 - 0.9 * step(np.abs(shell.angle), 95, 50)  # behind the ears there may be nothing to cast it on
    return (
        front
        * strength
        * np.exp(-((np.maximum(-edge, 0) / (0.55 * reach)) ** 2))
        * step(edge, -0.85 * reach, 0.3 * reach)
    )


def edge_at(shell: Shell, front: float, side: float, back: float, power: float = 1.6) -> np.ndarray:
    """Height y of a brim line that runs from the brow over the ears to the nape."""
    turn = np.abs(shell.angle) / 180
    half = np.clip(turn / 0.5, 0, 1) ** power
    return front + (side - front) * half + (back - side) * np.clip(turn / 0.5 - 1, 0, 1)
