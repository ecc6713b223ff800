"""Faces made ready once for all epochs: landmarks, and crops with a margin, in the cache folder.

MediaPipe runs here, in worker processes of its own, and never in the process that trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from maskbench.align import Template, estimate_similarity, five_points, warp
from maskbench.digest import array_sha256, config_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write, cache_root, make_folder
from maskbench.landmarks.base import MESH_POINTS
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.faces import choose_faces, no_face
from maskbench.parallel import default_workers, map_items
from maskbench.progress import track
from maskbench.train.face_sets import Face, FaceSet

FORMAT = 1  # of the parts; raise it when crops or landmarks change
PART = 512  # faces in a file: what an interruption can cost
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
        digests: of the sets, as they were when their pictures were read.
    """

    template: Template
    sets: tuple[FaceSet, ...]
    keys: tuple[str, ...]
    subjects: tuple[str | None, ...]
    parts: tuple[tuple[Path, int], ...]
    places: np.ndarray
    failures: dict[str, str]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A face's crop (H, W, 3) uint8, not to be written to, and its mesh (468, 3) float32 in that crop's pixels.

        Raises:
            ImageError: crops are not kept, and the picture can no longer be read.
        """
        number, part, row = self.places[index]
        arrays = _open_part(self.parts[part][0])
        mesh = arrays["mesh"][row]
        if "crops" in arrays:
            return arrays["crops"][row], mesh
        image = self.sets[number].read(self.face_number(part, row))
        return warp(image, arrays["matrix"][row], self.template.size), mesh

    def face_number(self, part: int, row: int) -> int:
        """The number in its set of the ``row``-th usable face of a part."""
        path, first = self.parts[part]
        return first + int(_open_part(path)["rows"][row])

    def digest(self) -> str:
        """Of which faces these are."""
        return config_sha256([list(self.keys), list(self.subjects), self.template.name, list(self.template.size)])


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
    digests = [face_set.digest() for face_set in sets]
    for number, face_set in enumerate(sets):
        for path, first in _parts(face_set, digests[number], wide, keep_crops, workers or default_workers(), root):
            stored = _open_part(path)
            failed = dict(zip(stored["failed"].tolist(), stored["reasons"].tolist(), strict=True))
            for row, index in enumerate(stored["rows"].tolist()):
                face: Face = face_set.faces[first + index]
                keys.append(f"{face_set.name}/{face.key}")
                subjects.append(None if face.subject is None else f"{face_set.name}/{face.subject}")
                places.append((number, len(parts), row))
            failures |= {f"{face_set.name}/{face_set.faces[first + i].key}": why for i, why in failed.items()}
            parts.append((path, first))
    if not keys:
        why = f" ({next(iter(failures.values()))})" if failures else ""
        raise MaskbenchError(f"{', '.join(names)}: no picture shows a usable face{why}; give a folder of face pictures")
    return PreparedFaces(
        wide, tuple(sets), tuple(keys), tuple(subjects), tuple(parts), np.array(places, np.int64), failures,
        tuple(digests),
    )  # fmt: skip


def _parts(
    face_set: FaceSet, digest: str, wide: Template, keep_crops: bool, workers: int, root: Path
) -> list[tuple[Path, int]]:
    """The files of a set, made where they are missing."""
    about = [FORMAT, PART, digest, array_sha256(wide.points), list(wide.size), keep_crops]
    folder = root / "training" / config_sha256(about)[:32]
    make_folder(folder)
    starts = range(0, len(face_set.faces), PART)
    found = [(folder / f"{start // PART:06d}.npz", start) for start in starts]
    todo = [item for item in found if not _is_whole(item[0])]
    work = map_items(_make_worker, (face_set, wide, keep_crops, root), todo, min(workers, len(todo)))
    for (path, start), answer in track(work, len(todo), f"{face_set.name}: faces, {PART} at a time"):
        if answer is not True:
            stop = min(start + PART, len(face_set.faces))
            raise MaskbenchError(
                f"{face_set.name}: a picture among {face_set.faces[start].key} to {face_set.faces[stop - 1].key} "
                f"{answer or 'crashed the landmarker'}; mend that, and run again"
            )
        assert path.exists()
    return found


def _make_worker(face_set: FaceSet, wide: Template, keep_crops: bool, root: Path) -> Callable[[tuple[Path, int]], bool]:
    landmarker = CachedLandmarker("aligned" if face_set.aligned else "auto", root=None if face_set.aligned else root)

    def make(item: tuple[Path, int]) -> bool:
        path, start = item
        rows, crops, meshes, matrices, failed, reasons = [], [], [], [], [], []
        for index in range(min(PART, len(face_set.faces) - start)):
            try:
                matrix, crop, mesh = _cut(face_set, start + index, landmarker, wide)
            except MaskbenchError as error:
                failed.append(index)
                reasons.append(str(error))
                continue
            rows.append(index)
            crops.append(crop)
            meshes.append(mesh)
            matrices.append(matrix)
        arrays = {
            "rows": np.array(rows, np.int64),
            "mesh": np.array(meshes, np.float32).reshape(-1, MESH_POINTS, 3),
            "matrix": np.array(matrices, np.float64).reshape(-1, 2, 3),
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The similarity (2, 3) from picture to crop, the crop, the mesh in it. Raises MaskbenchError without a face."""
    image = face_set.read(index)
    found = landmarker.detect(image, array_sha256(image))
    faces = choose_faces(found, image.shape, "central")
    if not faces:
        raise MaskbenchError(no_face(found))
    matrix = estimate_similarity(five_points(faces[0]), wide.points)
    return matrix, warp(image, matrix, wide.size), moved(faces[0].points, matrix)


def moved(mesh: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A mesh (K, 3) under a similarity (2, 3); depth grows with the rest."""
    points = np.empty_like(mesh, np.float32)
    points[:, :2] = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    points[:, 2] = mesh[:, 2] * np.hypot(matrix[0, 0], matrix[1, 0])
    return points


_SMALL = ("rows", "mesh", "matrix", "failed", "reasons")


def _write_part(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The small arrays as ``.npz``, whose presence says that the part is whole; the crops before it, as ``.npy``."""
    if "crops" in arrays:
        with atomic_write(_crops_of(path)) as stream:
            np.save(stream, arrays["crops"], allow_pickle=False)
    with atomic_write(path) as stream:
        np.savez(stream, **{name: arrays[name] for name in _SMALL}, kept=np.array("crops" in arrays))


def _crops_of(path: Path) -> Path:
    return path.with_suffix(".npy")


def _is_whole(path: Path) -> bool:
    try:
        _open_part(path)
    except (OSError, ValueError, KeyError, EOFError):
        return False
    return True


@cache
def _open_part(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a part; crops are mapped, not read. Raises OSError, ValueError or KeyError for a damaged one."""
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _SMALL}
            kept = bool(stored["kept"])
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    if kept:
        arrays["crops"] = np.load(_crops_of(path), mmap_mode="r", allow_pickle=False)
        if len(arrays["crops"]) != len(arrays["rows"]):
            raise ValueError("crops and landmarks differ in number")
    return arrays
