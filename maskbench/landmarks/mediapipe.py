"""The face mesh of MediaPipe 0.10.21: 468 points, from the models inside its wheel. One landmarker per process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import cv2
import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import MESH_POINTS, box_area, mesh_landmarks
from maskbench.types import Landmarks

SMALL_SIDE = 160  # below this the mesh does better on a padded and enlarged copy
SMALL_PAD = 0.5  # of each side, on each side
SMALL_SCALE = 2
LARGE_SIDE = 4096  # above this the picture is reduced first: its own detector works at 128 pixels anyway
CROP_MARGIN = 0.75  # of the detected box, on each side: the mesh's own detector wants some surroundings
CROP_SIDE = 256
MAX_FACES = 16


class MediapipeLandmarker:
    """Face mesh on the whole picture; where it finds nothing, on crops around the full-range detector's boxes.

    The mesh is tuned for one large face. ``thorough`` runs the full-range detector always, so that small bystanders
    are found too.

    Raises:
        MaskbenchError: mediapipe is not installed, or is a version whose wheel has no models.
    """

    def __init__(self, thorough: bool = False) -> None:
        with _quiet_native_stderr():
            mediapipe = _import()
            self.name = f"mediapipe-{mediapipe.__version__}-mesh468" + ("-thorough" if thorough else "")
            self._mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=MAX_FACES)
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))  # the first call prints too
        self._seen_face = False
        self._thorough = thorough
        self._boxes: Any = None

    def detect(self, image: np.ndarray) -> list[Landmarks]:
        """Faces in an (H, W, 3) uint8 RGB image, largest box first; points may lie outside the picture."""
        small = min(image.shape[:2]) < SMALL_SIDE and max(image.shape[:2]) < LARGE_SIDE / (4 * SMALL_SCALE)
        found = self._mesh_small(image) if small else self._mesh_points(image)
        if self._thorough or not found:
            found = _merge(found, self._mesh_on_crops(image))
        faces = [mesh_landmarks(points, self.name) for points in found]
        return sorted(faces, key=lambda face: (-box_area(face), tuple(face.box)))

    def _mesh_points(self, image: np.ndarray) -> list[np.ndarray]:
        if max(image.shape[:2]) > LARGE_SIDE:
            scale = LARGE_SIDE / max(image.shape[:2])
            size = [max(1, round(side * scale)) for side in (image.shape[1], image.shape[0])]
            reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            return [_back(points, scale, 0, 0) for points in self._mesh_points(reduced)]
        height, width = image.shape[:2]
        with nullcontext() if self._seen_face else _quiet_native_stderr():  # the first face prints a note as well
            answer = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks or []
        self._seen_face |= bool(answer)
        scale = np.array([width, height, width], np.float64)
        # MediaPipe puts 0 at the outer edge of the first pixel; our coordinates put it at the pixel's centre.
        shift = np.array([0.5, 0.5, 0.0])
        return [np.array([[p.x, p.y, p.z] for p in face.landmark[:MESH_POINTS]]) * scale - shift for face in answer]

    def _mesh_small(self, image: np.ndarray) -> list[np.ndarray]:
        height, width = image.shape[:2]
        pad_y, pad_x = round(height * SMALL_PAD), round(width * SMALL_PAD)
        padded = cv2.copyMakeBorder(image, pad_y, pad_y, pad_x, pad_x, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        large = cv2.resize(padded, None, fx=SMALL_SCALE, fy=SMALL_SCALE, interpolation=cv2.INTER_LINEAR)
        return [_back(points, SMALL_SCALE, pad_x, pad_y) for points in self._mesh_points(large)]

    def _mesh_on_crops(self, image: np.ndarray) -> list[np.ndarray]:
        found = []
        for x0, y0, x1, y1 in self._full_range_boxes(image):
            crop = image[y0:y1, x0:x1]
            scale = max(1.0, CROP_SIDE / max(crop.shape[:2]))
            large = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            found += [_back(points, scale, -x0, -y0) for points in self._mesh_points(large)]
        return found

    def _full_range_boxes(self, image: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
        """Enlarged boxes x0, y0, x1, y1 in pixels, clipped to the picture."""
        if self._boxes is None:
            with _quiet_native_stderr():
                detection = _import().solutions.face_detection
                self._boxes = detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)
                self._boxes.process(np.zeros((64, 64, 3), np.uint8))
        height, width = image.shape[:2]
        scale = min(1.0, LARGE_SIDE / max(height, width))
        size = [max(1, round(side * scale)) for side in (width, height)]
        reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        for hit in self._boxes.process(np.ascontiguousarray(reduced)).detections or []:
            box = hit.location_data.relative_bounding_box
            side = max(box.width * width, box.height * height) * (0.5 + CROP_MARGIN)
            x, y = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
            x0, y0 = max(0, round(x - side)), max(0, round(y - side))
            x1, y1 = min(width, round(x + side)), min(height, round(y + side))
            if x1 - x0 >= 8 and y1 - y0 >= 8:
                yield x0, y0, x1, y1


def _back(points: np.ndarray, scale: float, pad_x: int, pad_y: int) -> np.ndarray:
    """From an enlarged, padded copy back to the picture; cv2.resize aligns pixel corners, hence the half pixels."""
    xy = (points[:, :2] + 0.5) / scale - 0.5 - [pad_x, pad_y]
    return np.column_stack([xy, points[:, 2] / scale])


def _merge(first: list[np.ndarray], second: list[np.ndarray]) -> list[np.ndarray]:
    """Add the faces of ``second`` whose centre is not inside the box of one already there."""
    kept = list(first)
    for points in second:
        centre = points[:, :2].mean(0)
        boxes = ((other[:, :2].min(0), other[:, :2].max(0)) for other in kept)
        if not any(np.all(low <= centre) and np.all(centre <= high) for low, high in boxes):
            kept.append(points)
    return kept


def _import() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import mediapipe
    except ImportError as error:
        raise MaskbenchError(f"mediapipe cannot be imported ({error}); pip install mediapipe==0.10.21") from error
    if not hasattr(mediapipe, "solutions"):
        raise MaskbenchError(
            f"mediapipe {mediapipe.__version__} ships no face models; pip install mediapipe==0.10.21"
        )
    return mediapipe


@contextmanager
def _quiet_native_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: the native libraries print start-up notes that no setting silences."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
