"""Five alignment points for many pictures, by several processes, through the landmark cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from maskbench.align import five_points
from maskbench.digest import bytes_sha256
from maskbench.errors import ImageError
from maskbench.images import decode, read_bytes
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.parallel import map_items
from maskbench.progress import track


def find_five_points(
    paths: Sequence[Path], landmarker: str, workers: int, cache: Path | None
) -> dict[Path, np.ndarray | str]:
    """The five points (5, 2) float64 of the largest face of each picture, or the reason why there are none."""
    distinct = sorted(set(paths))
    work = map_items(_make_worker, (landmarker, cache), distinct, workers)
    crashed = "the landmarker crashed on this file"
    return {path: crashed if answer is None else answer for path, answer in track(work, len(distinct), "landmarks")}


def _make_worker(landmarker: str, cache: Path | None) -> Callable[[Path], np.ndarray | str]:
    cached = CachedLandmarker(landmarker, root=cache)

    def find(path: Path) -> np.ndarray | str:
        try:
            data = read_bytes(path)
            faces = cached.detect(decode(data, str(path)), bytes_sha256(data))
        except ImageError as error:
            return str(error)
        return five_points(faces[0]) if faces else "no face found"

    return find
