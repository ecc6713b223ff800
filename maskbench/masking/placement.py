"""Decide where a mask sits: all randomness of the synthesis happens here, none in rendering."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from maskbench.errors import ManifestError
from maskbench.masking.kernels import compiled
from maskbench.masking.space import CONTROL, control_points, face_axes, scale_of
from maskbench.masking.wearing import STYLES
from maskbench.types import Landmarks, MaskAsset, Placement


@dataclass(frozen=True)
class Jitter:
    """Spread of the wearing position: half-widths of uniform distributions, in inter-ocular distances and degrees."""

    across: float = 0.02
    down: float = 0.035
    scale: float = 0.03
    roll: float = 1.5


def sample(
    rng: np.random.Generator, asset: MaskAsset, landmarks: Landmarks, seed: int, jitter: Jitter | None = None,
    colour: str | None = None, style: str = "correct", size: float = 1.0,
    about: Mapping[str, float | str] | None = None,
) -> Placement:  # fmt: skip
    """Sample a wearing position, and a colourway where none is given.

    Args:
        rng: from ``digest.generator(seed, path, asset id)``.
        landmarks: scheme "mesh468".
        style, size: see ``wearing.worn_geometry``.
        about: what else is to be recorded with the parameters: "jpeg", "face", "entry".
    """
    jitter = jitter or Jitter()
    # Drawn in any case, so that a given colour leaves the position where it was.
    drawn = sorted(asset.colourways)[rng.integers(len(asset.colourways))]
    unit = rng.uniform(-1.0, 1.0, 4)
    parameters: dict[str, float | str] = {
        "across": round(float(unit[0]) * jitter.across, 4),
        "down": round(float(unit[1]) * jitter.down, 4),
        "scale": round(1 + float(unit[2]) * jitter.scale, 4),
        "roll": round(float(unit[3]) * jitter.roll, 4),
    }
    moved = np.empty((len(CONTROL), 3), np.float32)
    _move(moved, control_points(landmarks.points), *(parameters[key] for key in ("across", "down", "scale", "roll")))
    parameters |= about or {}
    return Placement(asset.asset_id, moved, colour or drawn, parameters, seed, style=style, size=size)


def still(points: np.ndarray, asset: MaskAsset, colour: str, style: str = "correct", size: float = 1.0) -> Placement:
    """A mask worn straight, without any jitter, on a (468, 3) mesh in pixels."""
    control = np.round(control_points(points), 2).astype(np.float32)
    parameters = {"across": 0.0, "down": 0.0, "scale": 1.0, "roll": 0.0}
    return Placement(asset.asset_id, control, colour, parameters, 0, style=style, size=size)


@compiled
def _move(moved, control, across, down, scale, roll):  # noqa: ANN001 - numba infers the types
    """Write (K, 3) control points shifted, scaled and rolled rigidly in the face's own frame, in 1/100 of a pixel."""
    axes, size, angle = face_axes(control), scale_of(control), np.deg2rad(roll)
    cosine, sine, centre = scale * np.cos(angle), scale * np.sin(angle), np.zeros(3)
    for n in range(control.shape[0]):
        centre += control[n] / control.shape[0]
    for n in range(control.shape[0]):
        x = y = z = 0.0
        for c in range(3):
            offset = control[n, c] - centre[c]
            x, y, z = x + offset * axes[0, c], y + offset * axes[1, c], z + offset * axes[2, c]
        x, y, z = cosine * x - sine * y + size * across, sine * x + cosine * y + size * down, scale * z
        for c in range(3):
            moved[n, c] = np.rint(100.0 * (x * axes[0, c] + y * axes[1, c] + z * axes[2, c] + centre[c])) / 100.0


@compiled
def _hundredths(points):  # noqa: ANN001
    """(K, 3) float64, rounded to two decimals: without the tail that float32 would leave behind them."""
    rounded = np.empty(points.shape)
    for n in range(points.shape[0]):
        for axis in range(points.shape[1]):
            rounded[n, axis] = np.rint(np.float64(points[n, axis]) * 100.0) / 100.0
    return rounded


def to_json(placements: list[Placement]) -> str:
    """A compact JSON array; together with the asset it is all that renders the same picture again."""
    rows = [
        {
            "asset": p.asset_id,
            "colour": p.colour,
            "control_points": _hundredths(p.control_points),
            "coverage": None if np.isnan(p.coverage) else round(p.coverage, 4),
            "parameters": dict(p.parameters),
            "seed": p.seed,
            "size": p.size,
            "style": p.style,
        }
        for p in placements
    ]
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS).decode()


def from_json(text: str) -> list[Placement]:
    """The inverse of ``to_json``. Raises ManifestError if the text is not a list of placements."""
    try:
        return [_from_dict(row) for row in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"not a placement: {text[:60]!r} ({error}); make the manifest again") from error


def _from_dict(row: Mapping[str, Any]) -> Placement:
    control = np.array(row["control_points"], np.float32)
    if control.shape != (len(CONTROL), 3):
        raise ValueError(f"{control.shape} control points, expected {(len(CONTROL), 3)}")
    if row["style"] not in STYLES:
        raise ValueError(f"no style {row['style']!r}")
    coverage = float("nan") if row["coverage"] is None else float(row["coverage"])
    return Placement(
        row["asset"], control, row["colour"], dict(row["parameters"]), int(row["seed"]), coverage, row["style"],
        float(row["size"]),
    )  # fmt: skip
