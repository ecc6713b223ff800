"""Where a point of the head lies in the texture atlas: round the head by azimuth, dense in front; down by height."""

from __future__ import annotations

import numpy as np

COLUMNS, ROWS = 176, 192
AXIS = (0.0, 1.15)  # x and z of the head's vertical axis, in inter-ocular distances from the point between the eyes
TOP, BOTTOM = -1.55, 2.65  # heights of the first and last row
REACH = np.radians(105.0)  # azimuth at the atlas's left and right borders
SQUEEZE = 0.8


def atlas_position(points: np.ndarray) -> np.ndarray:
    """Columns and rows (N, 2), in texels of which the first has its centre at 0, of points (N, 3) in the face frame."""
    azimuth = np.clip(np.arctan2(points[:, 0] - AXIS[0], AXIS[1] - points[:, 2]), -REACH, REACH)
    across = np.sin(SQUEEZE * azimuth) / np.sin(SQUEEZE * REACH)
    down = (points[:, 1] - TOP) / (BOTTOM - TOP)
    return np.column_stack([(across + 1) / 2 * (COLUMNS - 1), np.clip(down, 0, 1) * (ROWS - 1)])
