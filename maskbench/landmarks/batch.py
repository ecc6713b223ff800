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
from maskbench.masking.faces import choose_faces
from maskbench.parallel import map_items
from maskbench.progress import track


def find_five_points(
    paths: Sequence[Path], landmarker: str, workers: int, cache: Path | None, policy: str = "largest",
    refresh: bool = False,
) -> dict[Path, np.ndarray | str]:  # fmt: skip
    """The five points (5, 2) float64 of one face of each picture, or the reason why there are none.

    Args:
        policy: the "largest" face or the most "central" one, by the very rule that chose the face to mask.
        refresh: detect anew, whatever the cache holds, and replace it.
    """
    distinct = sorted(set(paths))
    work = map_items(_make_worker, (landmarker, cache, policy, refresh), distinct, workers)
    crashed = "the landmarker crashed on this file"
    return {path: crashed if answer is None else answer for path, answer in track(work, len(distinct), "landmarks")}


def _make_worker(
    landmarker: str, cache: Path | None, policy: str, refresh: bool
) -> Callable[[Path], np.ndarray | str]:
    cached = CachedLandmarker(landmarker, root=cache, refresh=refresh)

    def find(path: Path) -> np.ndarray | str:
        try:
            data = read_bytes(path)
            image = decode(data, str(path))
            faces = choose_faces(cached.detect(image, bytes_sha256(data)), image.shape, policy)
        except ImageError as error:
            return str(error)
        return five_points(faces[0]) if faces else "no face found"

    return find
