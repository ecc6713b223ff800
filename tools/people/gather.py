"""Pictures of people to templates: what the privacy check and the measurements of synthetic people share.

Pictures lie below a folder; the folder that a picture lies in is its person. Faces are found by mediapipe, or taken
from landmark files; templates and landmarks go through maskbench's caches, so that a second run takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from maskbench.align import five_points
from maskbench.datasets.folder import walk
from maskbench.digest import bytes_sha256
from maskbench.embed import EmbeddingCache, alignment_mode, alignment_points, embed_inventory
from maskbench.errors import MaskbenchError
from maskbench.images import declared_size, read_bytes
from maskbench.inventory import Inventory, Item
from maskbench.landmarks.base import MESH_POINTS, mesh_landmarks
from maskbench.recognizers.base import load_recognizer
from maskbench.scoring import UNREADABLE
from maskbench.types import Recognizer, Status

NOT_LISTED = "not in the landmark files"
UNMASKED = "unmasked"
BLOCK = 512  # rows of a similarity matrix computed at a time


@dataclass(frozen=True)
class Templates:
    """Templates of pictures that gave one; ``failed`` counts the others.

    Attributes:
        names: (N,) str, relative paths, sorted.
        people: (N,) str, the folder of each picture, or its own name where it lies in none.
        vectors: (N, D) float64; unit length where the comparator is "cosine".
        comparator: "cosine" or "negative-l2".
    """

    names: np.ndarray
    people: np.ndarray
    vectors: np.ndarray
    comparator: str
    failed: int = 0

    def of(self, rows: np.ndarray | Sequence[int]) -> Templates:
        """The templates of some rows, in that order."""
        rows = np.asarray(rows, int)
        return Templates(self.names[rows], self.people[rows], self.vectors[rows], self.comparator, self.failed)


def pictures_below(root: Path, only: Iterable[str] | None = None) -> list[str]:
    """Relative paths of the pictures below ``root``, sorted.

    Where there are people's folders, a picture beside them, such as a contact sheet, is nobody's and left out.

    Args:
        only: the people to take; None for all.

    Raises:
        MaskbenchError: the folder cannot be read or holds no such picture.
    """
    wanted = None if only is None else set(only)
    found = [file.path for file in walk(Path(root)) if file.is_image and not file.note]
    folders = any("/" in name for name in found)
    taken = [name for name in found if ("/" in name or not folders) and (wanted is None or person_of(name) in wanted)]
    if not taken:
        raise MaskbenchError(f"{root}: holds none of the pictures wanted; check the path")
    return taken


def person_of(name: str) -> str:
    """The folder that a picture lies in; a picture in none is a person of its own."""
    parts = PurePosixPath(name).parts
    return parts[-2] if len(parts) > 1 else name


def read_ids(path: Path) -> list[str]:
    """One identity a line. Raises MaskbenchError when the file cannot be read or is empty."""
    try:
        found = Path(path).read_text(encoding="utf-8").split()
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be read ({error.strerror}); give a list of identities") from error
    if not found:
        raise MaskbenchError(f"{path}: names nobody; give one identity a line")
    return found


def read_landmarks(paths: Iterable[Path], prefix: str = "") -> dict[str, np.ndarray]:
    """Five points (5, 2) by relative path, from .npz files with ``names`` (or ``paths``) and ``points`` (N, >=468, 3).

    Args:
        prefix: take the names that start with it, and cut it off.

    Raises:
        MaskbenchError: a file is missing or is something else.
    """
    found: dict[str, np.ndarray] = {}
    for path in paths:
        names, points = read_meshes(path)
        for name, mesh in zip(names, points, strict=True):
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = five_points(mesh_landmarks(mesh[:MESH_POINTS], "file"))
    return found


def read_meshes(path: Path) -> tuple[list[str], np.ndarray]:
    """Relative paths and (N, >=468, 3) float32 points of one landmark file. Raises as ``read_landmarks``."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = stored["names"] if "names" in stored else stored["paths"]
            points = stored["points"]
    except UNREADABLE as error:
        raise MaskbenchError(f"{path}: no landmark file ({' '.join(str(error).split())}); make it again") from error
    if points.ndim != 3 or points.shape[1] < MESH_POINTS or points.shape[2] < 2 or len(names) != len(points):
        raise MaskbenchError(f"{path}: points {points.shape} for {len(names)} names, expected (N, 468, 3)")
    return [str(name) for name in names], points


def take_pictures(root: Path, names: Sequence[str]) -> Inventory:
    """An inventory of single pictures. Raises ImageError when one cannot be read."""
    items = []
    for name in names:
        data = read_bytes(Path(root, name))
        items.append(Item(name, UNMASKED, Path(root, name), bytes_sha256(data), declared_size(data)))
    nothing: Any = None  # the pictures are embedded only: no protocol compares them
    return Inventory(items, "", "central", nothing, Path(root), True)


def embed_pictures(
    recognizer: Recognizer, root: Path, names: Sequence[str], landmarks: dict[str, np.ndarray] | None = None,
    fallback: dict[str, np.ndarray] | None = None, cache: Path | None = None,
) -> Templates:  # fmt: skip
    """Templates of pictures.

    Args:
        landmarks: five points by name; pictures that are not among them then have no template. None: the template's
            points where all pictures are aligned crops of 112 x 112, else mediapipe's.
        fallback: five points for pictures in which mediapipe finds no face.
        cache: root of the caches of templates and landmarks; None for none.
    """
    inventory = take_pictures(root, names)
    if landmarks is None:
        points = alignment_points(inventory, alignment_mode(inventory, "auto"), 1, cache)[1]
    else:
        points = {(name, UNMASKED): landmarks.get(name, NOT_LISTED) for name in names}
    for name in fallback or {}:
        if isinstance(points.get((name, UNMASKED)), str):
            points[name, UNMASKED] = (fallback or {})[name]
    found = embed_inventory(recognizer, inventory, points, EmbeddingCache(cache, recognizer), threads=1)
    good = np.flatnonzero(found.status == Status.OK)
    vectors = found.vectors[good].astype(np.float64)
    if recognizer.spec.comparator == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    people = np.array([person_of(name) for name in found.sample_ids[good]], str)
    return Templates(found.sample_ids[good], people, vectors, recognizer.spec.comparator, len(names) - len(good))


def joined(parts: Sequence[Templates]) -> Templates:
    """Templates of several sets of pictures, one after the other."""
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("names", "people", "vectors")]
    return Templates(*columns, parts[0].comparator, sum(part.failed for part in parts))


def similarity(left: Templates, right: Templates) -> np.ndarray:
    """Scores of all against all, (N, M) float32: cosine, or minus the Euclidean distance."""
    answer = np.empty((len(left.vectors), len(right.vectors)), np.float32)
    squares = np.einsum("ij,ij->i", right.vectors, right.vectors)
    for start in range(0, len(answer), BLOCK):
        part = left.vectors[start : start + BLOCK]
        product = part @ right.vectors.T
        if left.comparator == "negative-l2":
            product = 2 * product - squares - np.einsum("ij,ij->i", part, part)[:, None]
            product = -np.sqrt(np.maximum(0, -product))
        answer[start : start + BLOCK] = product
    return answer


def recognizers(names: Sequence[str], data: Path | None, card: Path | None = None) -> list[Recognizer]:
    """The recognizers named, by default dlib-resnet and, where real data are at hand, its ONNX file.

    Args:
        data: root of the real data, whose ``weights/mobilefacenet128.onnx`` is the second default.
        card: of ONNX files that have none beside them.
    """
    default = ["dlib-resnet"] + ([f"onnx:{data / 'weights' / 'mobilefacenet128.onnx'}"] if data else [])
    wanted = list(names) or default
    return [load_recognizer(name, "cpu", card=card if name.startswith("onnx:") else None) for name in wanted]
