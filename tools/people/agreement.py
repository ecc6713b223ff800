"""Do mediapipe's landmarks lie where the generator put the face? Errors in percent of the inter-ocular distance.

A picture's error is the mean over points of the distance, in the plane of the picture, between the point found and the
true one, divided by the true distance between the eye centres in space, which does not shrink as a face turns away.
Nothing is aligned first: a shift of the whole face counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskbench.landmarks.base import FACE_OVAL, MESH_POINTS, inter_ocular_distance
from maskbench.types import Landmarks

YAW_BINS = (0.0, 15.0, 30.0, 90.0)  # degrees, either side


def regions() -> dict[str, list[int]]:
    """Rows of the mesh by region, from mediapipe's own lists; "rest" are cheeks, forehead and chin."""
    from mediapipe.python.solutions import face_mesh_connections as edges

    def points(*names: str) -> set[int]:
        return {i for name in names for edge in getattr(edges, f"FACEMESH_{name}") for i in edge if i < MESH_POINTS}

    found = {
        "eyes": points("LEFT_EYE", "RIGHT_EYE"),
        "brows": points("LEFT_EYEBROW", "RIGHT_EYEBROW"),
        "nose": points("NOSE"),
        "lips": points("LIPS"),
        "outline": set(FACE_OVAL),
    }
    found["rest"] = set(range(MESH_POINTS)).difference(*found.values())
    return {name: sorted(rows) for name, rows in found.items()}


def nearest_face(faces: Sequence[Landmarks], truth: np.ndarray) -> Landmarks | None:
    """Of the faces found the one whose middle is nearest to the true one's; None when nothing was found there.

    A face whose middle lies farther away than the inter-ocular distance is something else.
    """
    middle, unit = truth[:, :2].mean(0), inter_ocular_distance(truth)
    off = [float(np.linalg.norm(face.points[:, :2].mean(0) - middle)) for face in faces]
    best = int(np.argmin(off)) if off else -1
    return faces[best] if off and off[best] <= unit else None


def point_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(468,) float64: distance in the picture's plane of every point, in percent of the true inter-ocular distance."""
    offset = np.asarray(found, np.float64)[:MESH_POINTS, :2] - np.asarray(truth, np.float64)[:, :2]
    return 100 * np.linalg.norm(offset, axis=1) / inter_ocular_distance(np.asarray(truth, np.float64))


def _middle_and_tail(values: np.ndarray) -> dict[str, float | int | None]:
    if not len(values):
        return {"pictures": 0, "median": None, "p95": None}
    median, tail = np.quantile(values, (0.5, 0.95))
    return {"pictures": len(values), "median": round(float(median), 3), "p95": round(float(tail), 3)}


def summarise(errors: Sequence[np.ndarray | None], faces: Sequence[int], yaw: Sequence[float]) -> dict[str, Any]:
    """Figures of all pictures, by region and by yaw.

    Args:
        errors: ``point_errors`` of each picture, or None where the face was not found.
        faces: how many faces were found in each; yaw: in degrees.
    """
    hit = np.array([one is not None for one in errors])
    table = np.array([one for one in errors if one is not None]).reshape(-1, MESH_POINTS)
    turned = np.abs(np.asarray(yaw, float))
    per_picture = table.mean(1)
    bins = {}
    for low, high in zip(YAW_BINS[:-1], YAW_BINS[1:], strict=True):
        here = (turned >= low) & (turned < high)
        name = f"{low:g} to {high:g}" if high < YAW_BINS[-1] else f"{low:g} and more"
        bins[name] = {**_middle_and_tail(per_picture[here[hit]]), **found_share(hit[here])}
    return {
        **found_share(hit), **several(faces), "error": _middle_and_tail(per_picture),
        "by_region": {name: _middle_and_tail(table[:, rows].mean(1)) for name, rows in regions().items()},
        "by_yaw": bins,
    }  # fmt: skip


def found_share(hit: np.ndarray) -> dict[str, float | int | None]:
    """Of how many pictures in how many the face was found."""
    return {"of": len(hit), "found": round(float(hit.mean()), 5) if len(hit) else None}


def several(faces: Sequence[int]) -> dict[str, int]:
    """In how many pictures more than one face was found."""
    return {"several_faces": sum(count > 1 for count in faces)}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The figures as rows of a markdown table."""
    rows = ["| landmarks | pictures | found | median error | 95th percentile |", "|---|---|---|---|---|"]

    def row(name: str, part: Mapping[str, Any], share: float | None) -> str:
        cells = ["-" if part.get(key) is None else f"{part[key]:.2f} %" for key in ("median", "p95")]
        count = part.get("of", part.get("pictures", 0))
        return f"| {name} | {count} | " + ("" if share is None else f"{share:.2%}") + f" | {' | '.join(cells)} |"

    rows.append(row("all", {**found.get("error", {}), "of": found["of"]}, found["found"]))
    rows += [row(f"yaw {name}", part, part["found"]) for name, part in found.get("by_yaw", {}).items()]
    rows += [row(name, part, None) for name, part in found.get("by_region", {}).items()]
    return rows
