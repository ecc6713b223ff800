"""Where faces are in the pictures that the model is fitted to, how they are turned, and the mean of their shapes.

The pictures: people of the train split of ``celeba256`` (256 pixels, folders are persons) and ``utk144`` (144 pixels,
tight crops without identities, age, sex and group in the name). People of the validation split never come in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from face_shapes import aligned, angles, generalised
from fit_files import CELEBA, UTK, people_of, progress, split_ids
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from template import in_face_frame

from maskbench.errors import MaskbenchError
from maskbench.landmarks.canonical import canonical_face

MESH = 468
UTK_BORDER = 0.25  # of the width, mirrored around the tight crops: the detector wants a whole head
UTK_SCALE = 1.5  # and more pixels than they have
FARTHEST = 0.25  # of the width: a face farther from the middle is somebody else's
FRONTAL, LEVEL = 25.0, 20.0  # degrees of yaw, and of pitch about its median, within which shapes are averaged
OPEN = (0.15, 0.4)  # gap of the inner lips, inter-ocular distances, of an open mouth that is not a scream
LIPS = (13, 14)  # the inner lips' middles
CHUNK = 64  # pictures a worker is handed at a time


def pictures(data: Path) -> list[str]:
    """Names of the pictures to fit to, relative to ``data/faces``, sorted set by set.

    Raises:
        MaskbenchError: a set or the split is missing.
    """
    train = split_ids(data, "train")
    celeba = sorted(f"{CELEBA}/{p.parent.name}/{p.name}" for p in (data / "faces" / CELEBA).glob("*/*"))
    utk = sorted(f"{UTK}/{p.name}" for p in (data / "faces" / UTK).glob("*"))
    if not celeba or not utk:
        raise MaskbenchError(f"{data}/faces: holds no {CELEBA} or no {UTK}; pass the folder of the data with --data")
    return [name for name in celeba if people_of([name])[0] in train] + utk


def without_validation(names: Iterable[str], data: Path) -> None:
    """Raise MaskbenchError if a picture shows somebody of the validation split."""
    names = list(names)
    held_out = split_ids(data, "val")
    for name, person in zip(names, people_of(names), strict=True):
        if person in held_out:
            raise MaskbenchError(f"{name}: shows a person of the validation split; remove it from the landmarks")


def detected(data: Path, names: list[str], workers: int) -> dict[str, np.ndarray]:
    """MediaPipe's 478 points of every picture with a face near its middle.

    Returns:
        ``points`` (N, 478, 3) float32: pixels of the picture, the first one's centre at 0, z away from the viewer in
        pixels; ``names`` (N,).
    """
    found, kept = [], []
    with get_context("spawn").Pool(workers) as pool:
        paths = [str(data / "faces" / name) for name in names]
        for i, points in enumerate(pool.imap(points_of, paths, CHUNK)):
            progress("landmarks", i, len(names))
            if points is not None:
                found.append(points)
                kept.append(names[i])
    return {"points": np.array(found, np.float32), "names": np.array(kept)}


def points_of(path: str) -> np.ndarray | None:
    """The 478 points (478, 3) of the face nearest to the middle of a picture; None where there is none."""
    image = cv2.imread(path)
    if image is None:
        raise MaskbenchError(f"{path}: not a picture that can be read; restore it")
    height, width = image.shape[:2]
    tight = Path(path).parent.name == UTK
    border, scale = (int(width * UTK_BORDER), UTK_SCALE) if tight else (0, 1.0)
    big = cv2.copyMakeBorder(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), *[border] * 4, cv2.BORDER_REFLECT_101)
    if scale != 1:
        big = cv2.resize(big, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    faces = _detector().process(big).multi_face_landmarks or []
    tall, wide = big.shape[:2]
    found = [np.array([[p.x * wide, p.y * tall, p.z * wide] for p in face.landmark]) / scale for face in faces]
    found = [points - [0.5 + border, 0.5 + border, 0] for points in found]
    off = [np.hypot(*(points[:MESH, :2].mean(0) - [width / 2, height / 2])) for points in found]
    if not found or min(off) > width * FARTHEST:
        return None
    return found[int(np.argmin(off))].astype(np.float32)


@lru_cache(maxsize=1)
def _detector() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "3")
    import mediapipe

    cv2.setNumThreads(1)
    return mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=2)


def posed(points: np.ndarray) -> dict[str, np.ndarray]:
    """Shapes without pose, poses, and the mean face.

    Args:
        points: (N, 468 or more, 3) pixels.

    Returns:
        ``mean`` (468, 3) and ``layout`` (468, 3), a mean with the mouth open, which lays out the texture; both are
        symmetric and in the face frame. ``shapes`` (N, 468, 3) float32 in it; ``rotation`` (N, 3, 3) from it to the
        picture; ``angles`` (N, 3) yaw, pitch, roll in degrees; ``gap`` (N,) between the lips; ``frontal`` (N,) bool.
    """
    faces, first = points[:, :MESH].astype(float), canonical_face()
    turned = angles(aligned(faces, first)[1])
    frontal = (np.abs(turned[:, 0]) < FRONTAL) & (np.abs(turned[:, 1] - np.median(turned[:, 1])) < LEVEL)
    mean = generalised(faces[frontal], first)[0]
    mirror = mirrored_rows(mean)
    mean = in_face_frame(symmetric(mean, mirror))[0]
    shapes, rotation, _ = aligned(faces, mean)
    gap = np.linalg.norm(shapes[:, LIPS[0]] - shapes[:, LIPS[1]], axis=1)
    spoken = frontal & (gap > OPEN[0]) & (gap < OPEN[1])
    layout = symmetric(np.median(shapes[spoken], 0), mirror)
    return {
        "mean": mean, "layout": layout, "shapes": shapes.astype(np.float32), "rotation": rotation,
        "angles": angles(rotation), "gap": gap, "frontal": frontal,
    }  # fmt: skip


def mirrored_rows(points: np.ndarray) -> np.ndarray:
    """For every point (K, 3) the row of its mirror image across x = 0: the best one-to-one match (K,)."""
    return linear_sum_assignment(cdist(points * [-1, 1, 1], points, "sqeuclidean"))[1]


def symmetric(points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Points (K, 3) averaged with their mirror images."""
    return (points + points[mirror] * [-1, 1, 1]) / 2
