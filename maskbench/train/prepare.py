"""Faces made ready once for all epochs: landmarks, and crops with a margin, in the cache folder.

MediaPipe runs here, in worker processes of its own, and never in the process that trains.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from maskbench.align import Template, estimate_similarity, five_points, warp
from maskbench.digest import array_sha256, config_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import atomic_write, cache_root, make_folder
from maskbench.landmarks.base import MESH_POINTS
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.faces import choose_faces, no_face
from maskbench.parallel import default_workers, map_items
from maskbench.progress import track
from maskbench.train.face_sets import Face, FaceSet

FORMAT = 2  # of the parts; raise it when crops or landmarks change
PART = 512  # faces in a file: what an interruption can cost
OPEN_PARTS = 128  # whose files a process keeps open
MARGIN = 0.08  # of the crop's size, on every side: room to turn, scale and shift


def wide_template(template: Template) -> Template:
    """The template with a margin on all four sides, at its own scale."""
    height, width = template.size
    margin = round(MARGIN * max(height, width))
    return Template(template.name, template.points + margin, (height + 2 * margin, width + 2 * margin))


@dataclass(frozen=True)
class PreparedFaces:
    """Crops and landmarks of some sets, one after the other.

    Attributes:
        template: of the crops, margin included.
        sets: of the pictures, for those whose crops are not kept.
        keys: (N,) "set/key", which seed the masks.
        subjects: (N,) "set/subject", or None for a picture without a label.
        parts: the files, each with up to ``PART`` faces of one set, and where in its set it begins.
        places: (N, 3) int64: number of the set, of the part, and of the face in it.
        failures: key -> reason, of pictures that cannot be used.
        pictures: (N,) the first half of the SHA-256 of each picture's pixels.
    """

    template: Template
    sets: tuple[FaceSet, ...]
    keys: tuple[str, ...]
    subjects: tuple[str | None, ...]
    parts: tuple[tuple[Path, int], ...]
    places: np.ndarray
    failures: dict[str, str]
    pictures: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A face's crop (H, W, 3) uint8, not to be written to, and its mesh (468, 3) float32 in that crop's pixels.

        Raises:
            ImageError: crops are not kept, and the picture can no longer be read.
        """
        number, part, row = self.places[index]
        arrays = _open_part(self.parts[part][0])
        mesh = np.array(arrays["mesh"][row])
        if "crops" in arrays:
            return arrays["crops"][row], mesh
        image = self.sets[number].read(self.face_number(part, row))
        return warp(image, arrays["matrix"][row], self.template.size), mesh

    def face_number(self, part: int, row: int) -> int:
        """The number in its set of the ``row``-th usable face of a part."""
        path, first = self.parts[part]
        return first + int(_open_part(path)["rows"][row])

    def digest(self) -> str:
        """Of which faces these are: names, subjects, pixels and crop."""
        names = [FORMAT, list(self.keys), list(self.subjects), self.template.name, list(self.template.size)]
        return config_sha256([*names, array_sha256(self.pictures, self.template.points)])


def prepare_faces(
    sets: Sequence[FaceSet], template: Template, keep_crops: bool = True, workers: int = 0, root: Path | None = None
) -> PreparedFaces:
    """Find the faces of all pictures and cut them out, or take what an earlier call has done.

    An interrupted call goes on where it stopped.

    Args:
        template: of the recognizer; crops get a margin around it.
        keep_crops: keep the crops on disk, three bytes a pixel; without, pictures are read in every epoch.
        workers: processes; 0 takes every processor.
        root: of the cache; by default ``files.cache_root()``.

    Raises:
        MaskbenchError: the cache cannot be written to, no face is left, or two sets have one name.
    """
    names = [face_set.name for face_set in sets]
    for name in names:
        if names.count(name) > 1:
            raise MaskbenchError(f'two training sets are named "{name}"; rename one of the folders')
    wide, root = wide_template(template), Path(root or cache_root())
    keys: list[str] = []
    subjects: list[str | None] = []
    parts: list[tuple[Path, int]] = []
    places: list[tuple[int, int, int]] = []
    failures: dict[str, str] = {}
    pictures: list[np.ndarray] = []
    for number, face_set in enumerate(sets):
        for path, first in _parts(face_set, wide, keep_crops, workers or default_workers(), root):
            stored = _open_part(path)
            failed = dict(zip(stored["failed"].tolist(), stored["reasons"].tolist(), strict=True))
            for row, index in enumerate(stored["rows"].tolist()):
                face: Face = face_set.faces[first + index]
                keys.append(f"{face_set.name}/{face.key}")
                subjects.append(None if face.subject is None else f"{face_set.name}/{face.subject}")
                places.append((number, len(parts), row))
            failures |= {f"{face_set.name}/{face_set.faces[first + i].key}": why for i, why in failed.items()}
            parts.append((path, first))
            pictures.append(stored["pictures"])
    if not keys:
        why = f" ({next(iter(failures.values()))})" if failures else ""
        raise MaskbenchError(f"{', '.join(names)}: no picture shows a usable face{why}; give a folder of face pictures")
    return PreparedFaces(
        wide, tuple(sets), tuple(keys), tuple(subjects), tuple(parts), np.array(places, np.int64), failures,
        np.concatenate(pictures),
    )  # fmt: skip


def _parts(
    face_set: FaceSet, wide: Template, keep_crops: bool, workers: int, root: Path
) -> list[tuple[Path, int]]:
    """The files of a set, made where they are missing."""
    about = [FORMAT, PART, face_set.digest(), array_sha256(wide.points), list(wide.size), keep_crops]
    folder = root / "training" / config_sha256(about)[:32]
    make_folder(folder)
    starts = range(0, len(face_set.faces), PART)
    found = [(folder / f"{start // PART:06d}.npz", start) for start in starts]
    todo = [item for item in found if not _is_whole(item[0])]
    # At least two workers, for one alone would work in this process, which MediaPipe must not enter.
    work = map_items(_make_worker, (face_set, wide, keep_crops, root), todo, max(2, workers)) if todo else ()
    for (_, start), answer in track(work, len(todo), f"{face_set.name}: faces, {PART} at a time"):
        if answer is None:
            stop = min(start + PART, len(face_set.faces))
            raise MaskbenchError(
                f"{face_set.name}: a picture among {face_set.faces[start].key} to {face_set.faces[stop - 1].key} "
                "crashed the landmarker; find it and take it away, then run again"
            )
    return found


def _make_worker(face_set: FaceSet, wide: Template, keep_crops: bool, root: Path) -> Callable[[tuple[Path, int]], bool]:
    landmarker = CachedLandmarker("aligned" if face_set.aligned else "auto", root=None if face_set.aligned else root)

    def make(item: tuple[Path, int]) -> bool:
        path, start = item
        rows, crops, meshes, matrices, pictures, failed, reasons = [], [], [], [], [], [], []
        for index in range(min(PART, len(face_set.faces) - start)):
            try:
                matrix, crop, mesh, digest = _cut(face_set, start + index, landmarker, wide)
            except ImageError as error:
                failed.append(index)
                reasons.append(str(error))
                continue
            rows.append(index)
            crops.append(crop)
            meshes.append(mesh)
            matrices.append(matrix)
            pictures.append(digest[:32])
        arrays = {
            "rows": np.array(rows, np.int64),
            "mesh": np.array(meshes, np.float32).reshape(-1, MESH_POINTS, 3),
            "matrix": np.array(matrices, np.float64).reshape(-1, 2, 3),
            "pictures": np.array(pictures, "U32"),
            "failed": np.array(failed, np.int64),
            "reasons": np.array(reasons, str),
        }
        if keep_crops:
            arrays["crops"] = np.array(crops, np.uint8).reshape(-1, *wide.size, 3)
        _write_part(path, arrays)
        return True

    return make


def _cut(
    face_set: FaceSet, index: int, landmarker: CachedLandmarker, wide: Template
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """The similarity (2, 3) from picture to crop, the crop, the mesh in it, and the picture's digest.

    Raises:
        ImageError: the picture cannot be read, or shows no usable face.
    """
    image = face_set.read(index)
    digest = array_sha256(image)
    found = landmarker.detect(image, digest)
    faces = choose_faces(found, image.shape, "central")
    if not faces:
        raise ImageError(no_face(found))
    try:
        matrix = estimate_similarity(five_points(faces[0]), wide.points)
    except MaskbenchError as error:
        raise ImageError(str(error)) from error
    return matrix, warp(image, matrix, wide.size), moved(faces[0].points, matrix), digest


def moved(mesh: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A mesh (K, 3) under a similarity (2, 3); depth grows with the rest."""
    points = np.empty_like(mesh, np.float32)
    points[:, :2] = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    points[:, 2] = mesh[:, 2] * np.hypot(matrix[0, 0], matrix[1, 0])
    return points


_SMALL = ("rows", "matrix", "pictures", "failed", "reasons")
_LARGE = ("mesh", "crops")  # mapped, not read


def _write_part(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The large arrays as ``.npy``, then the small ones as ``.npz``, whose presence says that the part is whole."""
    for name in _LARGE:
        if name in arrays:
            with atomic_write(_beside(path, name)) as stream:
                np.save(stream, arrays[name], allow_pickle=False)
    with atomic_write(path) as stream:
        np.savez(stream, **{name: arrays[name] for name in _SMALL}, kept=np.array("crops" in arrays))


def _beside(path: Path, name: str) -> Path:
    return path.with_suffix(f".{name}.npy")


def _is_whole(path: Path) -> bool:
    try:
        _open_part(path)
    except (FileNotFoundError, ValueError, KeyError, EOFError):
        return False
    return True


@lru_cache(maxsize=OPEN_PARTS)
def _open_part(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a part. Raises FileNotFoundError, ValueError, KeyError or EOFError for a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _SMALL}
            kept = bool(stored["kept"])
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    for name in _LARGE[: 2 if kept else 1]:
        arrays[name] = np.load(_beside(path, name), mmap_mode="r", allow_pickle=False)
        if len(arrays[name]) != len(arrays["rows"]):
            raise ValueError(f"{name} and rows differ in number")
    return arrays
