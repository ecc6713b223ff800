"""Heads whose geometry is known, and pictures of them, to measure where masks and landmarks really end up.

    python truth.py --out ../../tests/data/heads

Writes `truth.json` and a JPEG for every head of PICTURED at every angle of YAWS. On each mannequin FaceMesh finds its
468 points once, from the front, in the picture and in its mirror image; the points are followed back onto the mesh, and
from then on they are points of the surface, whose place is known in any view without asking a detector.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from canonical import face_points, open_finder
from head import Mesh
from heads import SHAPES, mannequin
from raster import rasterise, triangles_of
from render import Camera, project, render

PICTURED, YAWS = ("ash", "elm", "fir", "maple"), (-45, -30, -15, 0, 15, 30, 45)
SIZE, QUALITY = 320, 90  # of the pictures: pixels a side, JPEG
FRONT, FINE = Camera(size=512), 4  # the view from which points are followed back; finer by this when looking for them
PROFILE_STEP = 0.01  # decimetres between the points of the midline


@lru_cache(maxsize=1)
def pairs() -> np.ndarray:
    """For each of the 468 points the index of its mirror image."""
    from canonical import mirror_pairs

    file = Path(__file__).resolve().parents[2] / "maskbench/data/canonical468.json"
    return mirror_pairs(np.array(json.loads(file.read_text())["points"]))


def seen_from_front(picture: np.ndarray, finder) -> np.ndarray:
    """FaceMesh's points (468, 2) in pixels of a frontal picture, the mean with those of its mirror image."""
    plain, mirrored = (face_points(np.ascontiguousarray(p), finder) for p in (picture, picture[:, ::-1]))
    if plain is None or mirrored is None:
        raise ValueError("no face found on a mannequin seen from the front")
    mirrored = mirrored[pairs()] * [-1, 1, 1] + [picture.shape[1], 0, 0]
    return (plain + mirrored)[:, :2] / 2


def on_surface(mesh: Mesh, spots: np.ndarray) -> np.ndarray:
    """The points of the mesh (N, 3), decimetres, that a frontal view shows at pixels (N, 2) of FRONT.

    A spot beside the head goes to the surface nearest to it in the picture.
    """
    camera = replace(FRONT, size=FRONT.size * FINE)
    corners, triangles = project(mesh.vertices, camera), triangles_of(mesh.quads)
    face, _ = rasterise(corners, triangles, camera.size)
    rows, columns = np.nonzero(face >= 0)
    found = []
    for at in spots * FINE:
        column, row = np.floor(at).astype(int)
        if face[row, column] < 0:
            near = np.argmin((columns + 0.5 - at[0]) ** 2 + (rows + 0.5 - at[1]) ** 2)
            column, row = columns[near], rows[near]
            at = np.array([column, row]) + 0.5
        triangle = triangles[face[row, column]]
        system = np.vstack([corners[triangle, :2].T, np.ones(3)])
        found.append(np.linalg.solve(system, [*at, 1.0]) @ mesh.vertices[triangle])
    return np.array(found)


def symmetric(points: np.ndarray) -> np.ndarray:
    """The mean of (468, 3) points on a symmetric head and of their mirror images: x, left to right, is mirrored."""
    return (points + points[pairs()] * [-1, 1, 1]) / 2


def midline(mesh: Mesh, top: float, bottom: float) -> np.ndarray:
    """The head's profile (M, 3), decimetres, as seen from the front, from height ``top`` down to ``bottom``."""
    heights = np.arange(top, bottom, -PROFILE_STEP)
    spots = project(np.column_stack([np.zeros_like(heights), heights, np.zeros_like(heights)]), FRONT)[:, :2]
    return on_surface(mesh, spots) * [0, 1, 1]


def in_view_frame(points: np.ndarray) -> np.ndarray:
    """From the base mesh's frame to x right, y down, z away from the viewer, from the pivot, in decimetres."""
    unit = Camera(size=1, width=1.0, shift=(0.0, 0.0))
    return project(points, unit) - [0.5, 0.5, 0]


def measure(name: str, finder) -> dict[str, list]:
    """What is known about one mannequin: its 468 points and its midline in the view frame, frontal."""
    mesh, look = mannequin(name)
    points = symmetric(on_surface(mesh, seen_from_front(render(mesh, look, FRONT), finder)))
    profile = midline(mesh, points[10, 1], points[152, 1])
    return {key: in_view_frame(p).round(4).tolist() for key, p in (("points", points), ("midline", profile))}


def draw(name: str, out: Path) -> dict[str, dict]:
    """Write the pictures of one mannequin and return what they are."""
    from PIL import Image

    (mesh, look), known = mannequin(name), {}
    for yaw in YAWS:
        file = f"{name}{yaw:+03d}.jpg"
        picture = render(mesh, look, Camera(yaw=yaw, size=SIZE), over=3)
        Image.fromarray(picture).save(out / file, quality=QUALITY, subsampling=0, optimize=True)
        known[file] = {"head": name, "yaw": yaw}
    return known


def main() -> None:
    """Write everything and print what it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictured", nargs="*", default=PICTURED, choices=sorted(SHAPES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    finder, camera = open_finder(), Camera(size=SIZE)
    heads = {name: measure(name, finder) for name in SHAPES}
    pictures = {file: about for name in args.pictured for file, about in draw(name, args.out).items()}
    about = {"size": SIZE, "pixels_per_unit": SIZE / camera.width, "shift": camera.shift}
    (args.out / "truth.json").write_text(json.dumps(about | {"heads": heads, "pictures": pictures}) + "\n")
    print(f"{len(heads)} heads, {len(pictures)} pictures in {args.out}")


if __name__ == "__main__":
    main()
