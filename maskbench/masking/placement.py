"""Decide where a mask sits: all randomness of the synthesis happens here, none in rendering."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskbench.errors import ManifestError
from maskbench.masking.space import CONTROL, control_points, face_axes, scale_of
from maskbench.types import Landmarks, MaskAsset, Placement


@dataclass(frozen=True)
class Jitter:
    """Spread of the wearing position: half-widths of uniform distributions, in inter-ocular distances and degrees."""

    across: float = 0.02
    down: float = 0.035
    scale: float = 0.03
    roll: float = 1.5


def sample(
    rng: np.random.Generator, asset: MaskAsset, landmarks: Landmarks, seed: int, jitter: Jitter | None = None
) -> Placement:
    """Sample a colourway and a wearing position.

    Args:
        rng: from ``digest.generator(seed, path, asset id)``.
        landmarks: scheme "mesh468".
    """
    jitter = jitter or Jitter()
    colour = sorted(asset.colourways)[rng.integers(len(asset.colourways))]
    unit = rng.uniform(-1.0, 1.0, 4)
    parameters = {
        "across": round(float(unit[0]) * jitter.across, 4),
        "down": round(float(unit[1]) * jitter.down, 4),
        "scale": round(1 + float(unit[2]) * jitter.scale, 4),
        "roll": round(float(unit[3]) * jitter.roll, 4),
    }
    moved = _move(control_points(landmarks.points), parameters)
    return Placement(asset.asset_id, np.round(moved, 2).astype(np.float32), colour, parameters, seed)


def _move(control: np.ndarray, parameters: Mapping[str, float]) -> np.ndarray:
    """Shift, scale and roll the control points rigidly in the face's own frame."""
    across, down, away = face_axes(control)
    centre, scale = control.mean(0), scale_of(control)
    angle = np.deg2rad(parameters["roll"])
    local = (control - centre) @ np.stack([across, down, away], 1)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    local = parameters["scale"] * local @ turn + scale * np.array([parameters["across"], parameters["down"], 0])
    return local @ np.stack([across, down, away]) + centre


def to_json(placements: list[Placement]) -> str:
    """A compact JSON array; together with the asset it is all that renders the same picture again."""
    rows = [
        {
            "asset": p.asset_id,
            "colour": p.colour,
            "control_points": np.round(p.control_points.astype(np.float64), 2).tolist(),
            "coverage": None if np.isnan(p.coverage) else round(p.coverage, 4),
            "parameters": dict(p.parameters),
            "seed": p.seed,
        }
        for p in placements
    ]
    return json.dumps(rows, separators=(",", ":"), sort_keys=True)


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
    coverage = float("nan") if row["coverage"] is None else float(row["coverage"])
    return Placement(row["asset"], control, row["colour"], dict(row["parameters"]), int(row["seed"]), coverage)
