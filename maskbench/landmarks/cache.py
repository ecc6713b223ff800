"""Landmarks on disk, keyed by image digest and detector: a second run with other masks detects nothing again."""

from __future__ import annotations

import hashlib
import io
import os
import re
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.files import write_bytes
from maskbench.landmarks.base import LANDMARKERS, MESH_POINTS, Landmarker, mesh_landmarks
from maskbench.types import Landmarks

FORMAT = 2  # an array of points, the detectors' names, and the SHA-256 of both
BLOCK = 2**16  # bytes read at once, of files that are smaller as a rule
_DIGEST = hashlib.sha256().digest_size
_SHAPE = re.compile(rb"'shape': \((\d{1,6}), %d, 3\)" % MESH_POINTS)


class CachedLandmarker:
    """A landmarker behind a folder of small ``.npy`` files; the landmarker itself is made at the first miss.

    Args:
        name: a registered landmarker.
        thorough: look for every face, small ones too (only the mesh knows the difference).
        root: the cache folder; None means no cache.
        refresh: detect anew, whatever the cache holds, and replace it.
    """

    def __init__(self, name: str, thorough: bool = False, root: Path | None = None, refresh: bool = False) -> None:
        self._factory = LANDMARKERS.get(name)
        self._thorough = thorough
        self._refresh = refresh
        self._landmarker: Landmarker | None = None
        kind = f"v{FORMAT}-{name}{'-thorough' if thorough else ''}-mediapipe{version('mediapipe')}"
        self._root = root and str(root / "landmarks" / kind)
        self.hits = self.misses = 0

    def detect(self, image: np.ndarray, image_sha256: str) -> list[Landmarks]:
        """Faces in an (H, W, 3) uint8 RGB image, largest first, from the cache when its digest is there."""
        path = self._root and f"{self._root}/{image_sha256[:2]}/{image_sha256}.npy"
        faces = _read(path) if path and not self._refresh else None
        if faces is None:
            self.misses += 1
            faces = self._detect(image)
            if path:
                _write(path, faces)
        else:
            self.hits += 1
        return faces

    def _detect(self, image: np.ndarray) -> list[Landmarks]:
        if self._landmarker is None:
            self._landmarker = self._factory(thorough=self._thorough)
        return self._landmarker.detect(image)


def _write(path: Path | str, faces: list[Landmarks]) -> None:
    points = np.stack([face.points for face in faces]) if faces else np.zeros((0, MESH_POINTS, 3), np.float32)
    stream = io.BytesIO()
    np.save(stream, points, allow_pickle=False)
    stream.write(";".join(face.detector for face in faces).encode())
    content = stream.getvalue()
    try:
        write_bytes(path, content + hashlib.sha256(content).digest())
    except MaskbenchError:
        pass  # a cache that cannot be written costs time, not the run


def _read(path: Path | str) -> list[Landmarks] | None:
    """The cached faces, or None when the file is missing or damaged (it is then written anew)."""
    try:
        data = _content(path)
    except OSError:
        return None
    content, digest = data[:-_DIGEST], data[-_DIGEST:]
    return _parse(content) if hashlib.sha256(content).digest() == digest else None


def _content(path: Path | str) -> bytes:
    """A file's bytes, in the three calls to the system that a small file takes: ``open`` would make twice as many."""
    handle, blocks = os.open(path, os.O_RDONLY | os.O_CLOEXEC), []
    try:
        while len(block := os.read(handle, BLOCK)) == BLOCK:
            blocks.append(block)
    finally:
        os.close(handle)
    return b"".join([*blocks, block])


def _parse(content: bytes) -> list[Landmarks] | None:
    """The faces of an undamaged file, or None when it holds something other than finite points."""
    # The header is compared as a whole with the one that np.save writes: reading its fields takes most of np.load.
    shape = _SHAPE.search(content, 0, 128)
    if shape is None or not content.startswith(header := _header(int(shape[1]))):
        return None
    count, size = int(shape[1]), int(shape[1]) * MESH_POINTS * 3
    if len(content) < len(header) + 4 * size:
        return None
    points = np.frombuffer(content, np.float32, size, len(header)).reshape(count, MESH_POINTS, 3).copy()
    names = content[len(header) + 4 * size :].decode(errors="replace").split(";")
    if not np.isfinite(points.sum()) or (count and len(names) != count):
        return None
    return [mesh_landmarks(face, name) for face, name in zip(points, names, strict=False)]


@lru_cache(maxsize=64)
def _header(count: int) -> bytes:
    """What ``np.save`` writes before the points of ``count`` faces."""
    stream = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (count, MESH_POINTS, 3)}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()
