"""Recognizers without weights, for tests and for trying out a pipeline: weak, but better than chance."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from maskbench.digest import bytes_sha256
from maskbench.pixels import LUMA
from maskbench.types import RecognizerSpec, Status

_GRID = 16
_SIZE = 112
_LUMA = LUMA.astype(np.float32)
# One face in this many fails in "dummy-failing".
_FAILS_ONE_IN = 4


def _spec(name: str) -> RecognizerSpec:
    return RecognizerSpec(
        name=name,
        weights_sha256=bytes_sha256(f"{name} 1".encode()),  # no weights: the digest of the method and its version
        input_size=(_SIZE, _SIZE),
        template="arcface112",
        colour_order="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        embedding_size=_GRID * _GRID,
        comparator="cosine",
        parameters=0,
        training_data=(),
        licence="no weights",
        engine="numpy",
    )


class DummyRecognizer:
    """The luminance of the aligned face on a 16 x 16 grid, without its mean, scaled to length 1.

    A face of one flat colour has no such vector and fails. With ``failing``, so does about one face in four, chosen
    by a checksum of its pixels: the same faces whatever their order or batch.
    """

    def __init__(self, name: str = "dummy", failing: bool = False) -> None:
        self.spec = _spec(name)
        self._failing = failing

    def embed(self, faces: np.ndarray, masks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Faces (N, 112, 112, 3) uint8 RGB to vectors (N, 256) float32 and status (N,) int8."""
        cell = _SIZE // _GRID
        sums = faces.reshape(len(faces), _GRID, cell, _GRID, cell, 3).sum(axis=(2, 4), dtype=np.float32)
        vectors = (sums @ _LUMA).reshape(len(faces), _GRID * _GRID)
        vectors -= vectors.mean(axis=1, keepdims=True)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        failed = length[:, 0] < 1.0
        if self._failing:
            failed |= np.array([crc32(np.ascontiguousarray(face)) % _FAILS_ONE_IN == 0 for face in faces], bool)
        vectors /= np.maximum(length, 1.0)
        vectors[failed] = np.nan
        return vectors, np.where(failed, Status.FAILED, Status.OK).astype(np.int8)


def dummy(device: str = "auto", engine: str = "onnxruntime") -> DummyRecognizer:
    """The dummy; device and engine make no difference to it."""
    return DummyRecognizer()


def dummy_failing(device: str = "auto", engine: str = "onnxruntime") -> DummyRecognizer:
    """The dummy that fails on about a quarter of all faces."""
    return DummyRecognizer("dummy-failing", failing=True)
