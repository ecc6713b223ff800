"""Scores that break naive scorers, as hypothesis strategies: ties, infinities, denormals, tiny gaps, every dtype."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

GAPS = [0.5 + step * 1e-12 for step in range(-3, 4)]  # all one value in float32
DENORMALS = [0.0, -0.0, 5e-324, 1e-323, -5e-324, 2.2250738585072014e-308]
DENORMALS_32 = [float(np.float32(value)) for value in (0.0, -0.0, 1.4e-45, 2.8e-45, -1.4e-45, 1.1754944e-38)]
NEIGHBOURS = [float(np.nextafter(np.float32(0.7), np.float32(side))) for side in (0, 0.7, 1)]
EXTREMES = [np.inf, -np.inf, 1.7976931348623157e308, -1.7976931348623157e308, 0.0]
EXTREMES_32 = [np.inf, -np.inf, 3.4028234663852886e38, -3.4028234663852886e38, 0.0]

VALUES: dict[str, tuple[type, st.SearchStrategy]] = {
    "float64": (np.float64, st.floats(allow_nan=False)),
    "float32": (np.float32, st.floats(allow_nan=False, width=32)),
    "unit": (np.float32, st.floats(-1, 1, width=32)),
    "ties": (np.float64, st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0])),
    "gaps": (np.float64, st.sampled_from(GAPS)),
    "denormals": (np.float64, st.sampled_from(DENORMALS)),
    "denormals of float32": (np.float32, st.sampled_from(DENORMALS_32)),
    "neighbours": (np.float32, st.sampled_from(NEIGHBOURS)),
    "extremes": (np.float64, st.sampled_from(EXTREMES)),
    "extremes of float32": (np.float32, st.sampled_from(EXTREMES_32)),
    "integers": (np.int64, st.integers(-4, 4)),
    "huge integers": (np.int64, st.integers(2**62 - 5, 2**62) | st.integers(-(2**62), 5 - 2**62)),
    "bytes": (np.uint8, st.integers(0, 255)),
}


@st.composite
def classes(draw: st.DrawFn, largest: int = 10, kinds: tuple[str, ...] = tuple(VALUES)) -> tuple:
    """(mated, non-mated) of one kind and of 1 to ``largest`` scores each, at times sorted already."""
    dtype, values = VALUES[draw(st.sampled_from(kinds))]
    parts = [draw(st.lists(values, min_size=1, max_size=largest)) for _ in range(2)]
    if draw(st.booleans()):
        parts = [sorted(part) for part in parts]
    return tuple(np.array(part, dtype=dtype) for part in parts)


def many(examples: int) -> settings:
    """The same cases every time, however long each takes."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)
