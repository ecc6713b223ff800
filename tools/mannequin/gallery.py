"""Draw the mannequins, with what is known about each picture, and say whether FaceMesh finds the face.

    python gallery.py --out heads/

Writes the portraits, one head turned from yaw -45 to 45 degrees, a sheet of the portraits, and `truth.json`: the angles
of every picture and where some points of the mesh lie in it (pixels, see render.project).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from canonical import face_points, open_finder
from head import Mesh
from heads import mannequin
from render import Camera, project, render

PORTRAITS = (("ash", -35), ("fir", 0), ("hazel", 0), ("birch", 35))
TURNED, YAWS = "maple", (-45, -30, -15, 0, 15, 30, 45)
# Points on the undeformed base mesh (left and right as seen in the picture) and the FaceMesh point nearest in meaning.
ANCHORS = {"left_eye_outer": ((-0.434, 7.282, 1.308), 33), "left_eye_inner": ((-0.205, 7.272, 1.346), 133),
           "right_eye_inner": ((0.205, 7.272, 1.346), 362), "right_eye_outer": ((0.434, 7.282, 1.308), 263),
           "nose_tip": ((0.0, 6.93, 1.70), 1), "mouth_left": ((-0.235, 6.607, 1.38), 61),
           "mouth_right": ((0.235, 6.607, 1.38), 291), "chin": ((0.0, 6.17, 1.42), 152)}


def anchors(mesh: Mesh, camera: Camera) -> dict[str, list[float]]:
    """Where the anchors lie in the picture: name -> x, y, z in pixels (z away from the viewer, from the pivot)."""
    nearest = {name: np.argmin(((mesh.rest - at) ** 2).sum(1)) for name, (at, _) in ANCHORS.items()}
    return {name: project(mesh.vertices[[index]], camera)[0].round(2).tolist() for name, index in nearest.items()}


def compare(points: np.ndarray, truth: dict[str, list[float]]) -> float:
    """RMS distance in the plane between FaceMesh's points and the anchors; unit: 3-D distance of the eye centres."""
    known = np.array([truth[name] for name in ANCHORS])
    found = points[[number for _, number in ANCHORS.values()]]
    unit = np.linalg.norm(known[0:2].mean(0) - known[2:4].mean(0))
    return float(np.sqrt(((known - found)[:, :2] ** 2).sum(1).mean()) / unit)


def main() -> None:
    """Draw everything and print a table."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    views = [(f"portrait_{i}_{name}.png", name, yaw) for i, (name, yaw) in enumerate(PORTRAITS, 1)]
    views += [(f"turn_{TURNED}_{yaw:+03d}.png", TURNED, yaw) for yaw in YAWS]
    finder, record, sheet = open_finder(), {}, []
    print(f"{'picture':<26}{'yaw':>5}  face  distance to the mesh (eye distances)")
    for file, name, yaw in views:
        (mesh, look), camera = mannequin(name), Camera(yaw=yaw)
        picture, truth = render(mesh, look, camera, over=3), anchors(mesh, camera)
        Image.fromarray(picture).save(out / file, optimize=True)
        sheet += [picture] if file.startswith("portrait") else []
        record[file] = {"head": name, "yaw": yaw, "pitch": 0, "roll": 0, "points": truth}
        points = face_points(picture, finder)
        print(f"{file:<26}{yaw:>5}  {'no' if points is None else f'yes   {compare(points, truth):.3f}'}")
    Image.fromarray(np.hstack(sheet)[::2, ::2]).save(out / "sheet.png")
    (out / "truth.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
