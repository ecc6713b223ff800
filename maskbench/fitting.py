"""Training pictures for what is fitted here: aligned faces of a folder, none of which a protocol shows again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from maskbench.align import align_face, template_at
from maskbench.datasets.folder import walk
from maskbench.digest import array_sha256, bytes_sha256, config_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import inside
from maskbench.images import decode, read_bytes
from maskbench.landmarks.batch import find_five_points
from maskbench.progress import track
from maskbench.types import Protocol

LIMIT = 2000  # pictures: more of them cost memory and change what is fitted by little


@dataclass(frozen=True)
class TrainingFaces:
    """Aligned faces to fit a completion or a classical recognizer on.

    Attributes:
        faces: (N, H, W, 3) uint8 RGB.
        subjects: (N,) str, the folder of each picture.
        sha256: of each picture's file.
        digest: over pictures, points and alignment: the same faces have the same digest.
        failures: how many pictures were taken and gave no face.
    """

    faces: np.ndarray
    subjects: np.ndarray
    sha256: tuple[str, ...]
    digest: str
    failures: int = 0


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
    folder, target = Path(folder), template_at(template, size)
    paths = training_files(folder, limit)
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
        subjects.append(str(PurePosixPath(path).parent))
        digests.append(bytes_sha256(data))
        places.append(np.round(found, 3))
    if not faces:
        raise MaskbenchError(f"{folder}: none of {len(paths)} pictures shows a face to fit on")
    alignment = array_sha256(np.stack(places), target.points, np.array(target.size))
    digest = config_sha256([digests, subjects, alignment])
    return TrainingFaces(np.stack(faces), np.array(subjects), tuple(digests), digest, len(paths) - len(faces))


def refuse_shared_pictures(training: TrainingFaces, protocol: Protocol, folder: Path | str) -> None:
    """Raise if a picture of the protocol is among the training pictures: what is fitted would know the answer.

    Raises:
        MaskbenchError: the message names the first such picture.
    """
    known = set(training.sha256)
    shared = [sample.path for sample in protocol.samples.values() if sample.sha256 in known]
    if shared:
        raise MaskbenchError(
            f"{folder}: {len(shared)} of its pictures belong to protocol {protocol.name} (first {min(shared)}), whose "
            "clean originals nothing may be fitted on; give a folder of other pictures (--fit-on)"
        )
