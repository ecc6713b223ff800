"""Training pictures for what is fitted here: aligned faces of a folder, none of which a protocol shows again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from maskbench.align import Template, align_face, template_at
from maskbench.datasets.folder import walk
from maskbench.digest import array_sha256, bytes_sha256, config_sha256, file_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import inside
from maskbench.images import decode, read_bytes
from maskbench.inventory import Inventory
from maskbench.landmarks.batch import find_five_points
from maskbench.progress import track

LIMIT = 2000  # pictures: more of them cost memory and change what is fitted by little


@dataclass(frozen=True)
class TrainingFaces:
    """Aligned faces to fit a completion or a classical recognizer on.

    Attributes:
        faces: (N, H, W, 3) uint8 RGB.
        subjects: (N,) str, the name of the folder that each picture lies in.
        digest: over pictures, points and alignment: the same faces have the same digest.
        name: of the folder; failures: how many pictures were taken and gave no face.
    """

    faces: np.ndarray
    subjects: np.ndarray
    digest: str
    name: str = ""
    failures: int = 0

    @property
    def about(self) -> str:
        """One line for results: "people: 1998 faces (2 failed), digest 0123456789abcdef"."""
        lost = f" ({self.failures} without a face)" if self.failures else ""
        return f"{self.name}: {len(self.faces)} faces{lost}, digest {self.digest[:16]}"


_KEPT: OrderedDict[tuple, TrainingFaces] = OrderedDict()  # the last ones of this process: a grid asks again and again
_KEEP = 2


def training_files(folder: Path, limit: int | None = LIMIT) -> list[str]:
    """The pictures of a folder, by relative path; at most ``limit`` of them, evenly spaced in sorted order.

    Raises:
        MaskbenchError: the folder cannot be read or holds no picture.
    """
    paths = [file.path for file in walk(folder) if file.is_image]
    if not paths:
        raise MaskbenchError(f"{folder}: no pictures to fit on; give a folder of faces, one folder per subject")
    if limit is None or len(paths) <= limit:
        return paths
    if limit < 1:
        raise MaskbenchError(f"{limit} pictures to fit on: give at least 1")
    return [paths[row * len(paths) // limit] for row in range(limit)]


def training_faces(
    folder: Path | str, template: str, size: tuple[int, int], workers: int = 1, cache: Path | None = None,
    limit: int | None = LIMIT,
) -> TrainingFaces:  # fmt: skip
    """Read, find and align the faces of a folder; a picture without a face is left out and counted.

    Args:
        folder: pictures, one folder per subject.
        template, size: of the alignment, as ``align.template_at`` takes them.
        limit: see ``training_files``; None takes all.

    Raises:
        MaskbenchError: the folder holds no picture with a face.
    """
    folder = Path(folder)
    paths = training_files(folder, limit)
    stats = [inside(folder, path).stat() for path in paths]
    key = (template, tuple(size), folder.resolve(), *((s.st_size, s.st_mtime_ns) for s in stats), *paths)
    if key not in _KEPT:
        _KEPT[key] = _read(folder, paths, template_at(template, size), workers, cache)
        while len(_KEPT) > _KEEP:
            _KEPT.popitem(last=False)
    _KEPT.move_to_end(key)
    return _KEPT[key]


def _read(folder: Path, paths: list[str], target: Template, workers: int, cache: Path | None) -> TrainingFaces:
    points = find_five_points([inside(folder, path) for path in paths], "auto", workers, cache)
    faces, subjects, digests, places = [], [], [], []
    for path in track(paths, len(paths), "training faces"):
        found = points[inside(folder, path)]
        if isinstance(found, str):
            continue
        try:
            data = read_bytes(inside(folder, path))
            faces.append(align_face(decode(data, path), found, target))
        except ImageError:
            continue
        subjects.append(PurePosixPath(path).parent.name or folder.resolve().name)
        digests.append(bytes_sha256(data))
        places.append(np.round(found, 3))
    if not faces:
        raise MaskbenchError(f"{folder}: none of {len(paths)} pictures shows a face to fit on")
    alignment = array_sha256(np.stack(places), target.points, np.array(target.size))
    digest = config_sha256([digests, subjects, alignment])
    stack, name = np.stack(faces), folder.resolve().name
    stack.setflags(write=False)
    return TrainingFaces(stack, np.array(subjects), digest, name, len(paths) - len(faces))


def refuse_shared_pictures(folder: Path | str, inventory: Inventory) -> None:
    """Raise if any picture of a folder is one of the protocol's, masked or not: what is fitted would know the answer.

    All files of the folder are compared by their bytes, also those that a limit leaves out. A copy that was encoded
    anew is another file: nobody but its owner can know that it shows the same.

    Raises:
        MaskbenchError: the message names the first such picture.
    """
    known = {sample.sha256 for sample in inventory.protocol.samples.values()}
    known |= {item.sha256 for item in inventory.items if item.sha256}
    lengths = {item.path.stat().st_size for item in inventory.items if item.path is not None and item.size}
    shared = []
    for path in training_files(Path(folder), None):
        file = inside(Path(folder), path)
        if file.stat().st_size in lengths and file_sha256(file) in known:
            shared.append(path)
    if shared:
        raise MaskbenchError(
            f"{folder}: {len(shared)} of its pictures belong to protocol {inventory.protocol.name}, as {shared[0]}; "
            "nothing may be fitted on what it is tested on: give a folder of other people (--fit-on)"
        )
