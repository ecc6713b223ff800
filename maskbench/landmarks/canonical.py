"""The canonical face: 468 mesh points of a mannequin head that we rendered, no real person's.

Frame: origin midway between the eye centres, unit = distance between the eye centres, x to the right of the picture,
y down, z away from the camera. ``tools/mannequin`` makes the file again.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import numpy as np


@lru_cache(maxsize=1)
def canonical_face() -> np.ndarray:
    """The canonical face as a read-only (468, 3) float64 array in units of the inter-ocular distance."""
    text = (files("maskbench") / "data" / "canonical468.json").read_text(encoding="utf-8")
    points = np.array(json.loads(text)["points"], np.float64)
    points.flags.writeable = False
    return points
