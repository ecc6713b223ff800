"""A canonical 468-point face shape, measured on rendered mannequins only: no real person's data goes into it.

    python canonical.py --out canonical468.json

Several heads of varied shape are drawn from the front under several lights, MediaPipe's FaceMesh finds its 468 points
on each, and their mean is made left-right symmetric. Frame: origin midway between the eye centres, unit the distance
between them, x to the picture's right, y down, z away from the viewer.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from heads import SHAPES, mannequin
from render import Camera, Light, render

EYES = ((33, 133), (362, 263))  # outer and inner corner of the eye on the picture's left, inner and outer on its right
POINTS = 468
LIGHTS = (Light(), Light(key=(0.5, 0.55, 0.75), fill=(-0.8, 0.1, 0.6)), Light(key=(0.0, 0.5, 0.9), key_strength=1.5))


def face_points(picture: np.ndarray, finder) -> np.ndarray | None:
    """FaceMesh's points (468, 3) in pixels of a picture (H, W, 3) uint8 RGB, or None where it finds no face."""
    found = finder.process(picture).multi_face_landmarks
    if not found:
        return None
    height, width = picture.shape[:2]
    return np.array([[p.x * width, p.y * height, p.z * width] for p in found[0].landmark[:POINTS]])


def open_finder():
    """FaceMesh for single pictures, without iris refinement."""
    import mediapipe

    return mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=False, max_num_faces=1)


def in_face_frame(points: np.ndarray) -> np.ndarray:
    """Points (468, 3) moved, scaled and turned in the picture plane: the eye centres come to (-0.5, 0), (0.5, 0)."""
    left, right = (points[list(pair)].mean(0) for pair in EYES)
    across = right - left
    length = np.hypot(*across[:2])
    cos, sin = across[:2] / length
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return (points - (left + right) / 2) @ turn.T / length


def mirror_pairs(points: np.ndarray) -> np.ndarray:
    """For each point the index of its mirror image (468,): the one-to-one pairing that moves the points least."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    _, pair = linear_sum_assignment(cdist(points * [-1, 1, 1], points, "sqeuclidean"))
    if not np.array_equal(pair[pair], np.arange(len(points))):
        raise ValueError("mirror pairing is not symmetric: the mean shape is too lopsided to pair its points")
    return pair


def symmetric(points: np.ndarray) -> np.ndarray:
    """The mean of a shape (468, 3) and its mirror image, which removes roll and yaw, back in the face frame."""
    pair = mirror_pairs(points)
    return in_face_frame((points + points[pair] * [-1, 1, 1]) / 2)


def measure(levels: int = 2) -> np.ndarray:
    """Face-frame points of every mannequin under every light, (N, 468, 3); pictures without a face are an error."""
    rows, finder = [], open_finder()
    for name in SHAPES:
        mesh, look = mannequin(name, levels)
        for number, light in enumerate(LIGHTS):
            points = face_points(render(mesh, look, Camera(), light), finder)
            if points is None:
                raise ValueError(f"no face found on mannequin {name}, light {number}")
            rows.append(in_face_frame(points))
    return np.array(rows)


def main() -> None:
    """Write the canonical shape and print how much the mannequins differ from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    rows = measure()
    points = symmetric(rows.mean(0))
    spread = np.sqrt(((rows - points)[..., :2] ** 2).sum(-1).mean(1))
    out.write_text(json.dumps({"points": points.round(5).tolist()}) + "\n")
    print(f"{len(rows)} pictures; RMS distance in the plane to the mean: {spread.min():.3f} to {spread.max():.3f}")


if __name__ == "__main__":
    main()
