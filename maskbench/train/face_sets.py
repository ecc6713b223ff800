"""Sets of face pictures to train on: folders, insightface's packed sets (.rec, .bin) and WebDataset shards.

Opening a set lists its pictures and decodes none. A set can be sent to worker processes, forked or spawned: what it
holds are names, places and numbers, and every process opens files for itself. Nothing is unpacked and no pickle is
read; names inside archives are data and never become paths.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from maskbench.datasets import shards
from maskbench.datasets.folder import walk
from maskbench.datasets.insightface_bin import read_bin
from maskbench.digest import array_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.images import declared_size, decode, read_bytes
from maskbench.tables import read_columns, read_text
from maskbench.train.archives import Archive, ShardIndex, index_shards
from maskbench.train.rec_file import RecFile, open_rec

CROP = (112, 112)  # pixels of insightface's crops
PACKED = "train.rec"
LOOKED_AT = 8  # pictures of a packed set whose sizes say whether it has such crops
SHOWN = 3  # names in a message


@dataclass(frozen=True, slots=True)
class Face:
    """A picture of a set.

    Attributes:
        key: unique and stable in its set: the relative POSIX path, or the number of the record. It seeds the masks.
        subject: who it shows; None where the set does not say.
    """

    key: str
    subject: str | None


class FaceSet(Protocol):
    """A set of pictures in a fixed order.

    Attributes:
        name: of the folder or file.
        faces: what there is, in a fixed order.
        aligned: the pictures are known to be 112 x 112 crops, aligned as ArcFace's training data is.
        groups: (N,) int32, the number of the shard that holds each picture; None where there are no shards.
    """

    name: str
    faces: Sequence[Face]
    aligned: bool
    groups: np.ndarray | None

    def read(self, index: int) -> np.ndarray:
        """Picture ``index``: (H, W, 3) uint8 RGB. Raises ImageError, naming set and key, if it cannot be decoded."""
        ...

    def digest(self) -> str:
        """64 hexadecimal digits that change with keys, subjects, and sizes and times of change of the files."""
        ...


class Faces(Sequence[Face]):
    """The faces of a set as columns: for millions of pictures, that is a tenth of the memory of as many objects.

    Attributes:
        keys: a list of strings, or (N,) int64 for numbers of records.
        names: the subjects, each once.
        codes: (N,) int32, each picture's place in ``names``; -1 for unlabelled ones.
    """

    def __init__(self, keys: list[str] | np.ndarray, names: Sequence[str], codes: np.ndarray) -> None:
        self.keys, self.names, self.codes = keys, tuple(names), np.asarray(codes, np.int32)

    @classmethod
    def of(cls, keys: list[str] | np.ndarray, subjects: Iterable[str | None]) -> Faces:
        """Faces by key and subject; ``names`` are sorted."""
        subjects = list(subjects)
        names = sorted({subject for subject in subjects if subject is not None})
        numbers: dict[str | None, int] = {name: number for number, name in enumerate(names)}
        numbers[None] = -1
        return cls(keys, names, np.fromiter((numbers[subject] for subject in subjects), np.int32, len(subjects)))

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Face]: ...

    def __getitem__(self, index: int | slice) -> Face | Sequence[Face]:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        code = self.codes[index]
        return Face(str(self.keys[index]), self.names[code] if code >= 0 else None)

    def __iter__(self) -> Iterator[Face]:
        names = (*self.names, None)  # code -1 is the last
        for key, code in zip(self.keys, self.codes.tolist(), strict=True):
            yield Face(str(key), names[code])

    def take(self, rows: np.ndarray) -> Faces:
        """Those of some rows; subjects that none of them shows are left out."""
        keys = self.keys[rows] if isinstance(self.keys, np.ndarray) else [self.keys[row] for row in rows]
        codes = self.codes[rows]
        kept = np.unique(codes[codes >= 0])
        codes = np.where(codes >= 0, np.searchsorted(kept, codes), -1)
        return Faces(keys, [self.names[code] for code in kept], codes)


class _Source(Protocol):
    """Where the pictures of a set lie: ``data`` gives the encoded bytes of one, ``label`` its name in messages, and
    ``stamp`` sizes and times of change."""

    def data(self, row: int, key: str) -> bytes: ...

    def label(self, row: int, key: str) -> str: ...

    def stamp(self, faces: Faces) -> Iterable[str]: ...


class OpenFaceSet:
    """A ``FaceSet`` that ``open_face_set`` has opened. ``rows`` are the places of its faces in the source."""

    def __init__(
        self, name: str, source: _Source, faces: Faces, *, aligned: bool = False, groups: np.ndarray | None = None
    ) -> None:
        self.name, self.faces, self.aligned, self.groups = name, faces, aligned, groups
        self._source, self._rows = source, np.arange(len(faces))

    def read(self, index: int) -> np.ndarray:
        """Picture ``index``: (H, W, 3) uint8 RGB. Raises ImageError, naming set and key, if it cannot be decoded."""
        key, row = self.faces[index].key, int(self._rows[index])
        return decode(self._source.data(row, key), self._source.label(row, key))

    def digest(self) -> str:
        """64 hexadecimal digits that change with keys, subjects, and sizes and times of change of the files."""
        content = hashlib.sha256(array_sha256(self.faces.codes).encode())
        for part in (self.faces.names, self.faces.keys, self._source.stamp(self.faces)):
            for text in part:
                content.update(f"{text}\0".encode("utf-8", "surrogateescape"))
            content.update(b"\0")
        return content.hexdigest()

    def take(self, rows: np.ndarray) -> OpenFaceSet:
        """The set of some of its pictures, in their order."""
        return self._with(self.faces.take(rows), rows)

    def relabelled(self, subjects: Iterable[str | None]) -> OpenFaceSet:
        """The same pictures with other subjects."""
        return self._with(Faces.of(self.faces.keys, subjects), slice(None))

    def _with(self, faces: Faces, rows: np.ndarray | slice) -> OpenFaceSet:
        groups = None if self.groups is None else self.groups[rows]
        other = OpenFaceSet(self.name, self._source, faces, aligned=self.aligned, groups=groups)
        other._rows = self._rows[rows]
        return other


def open_face_set(path: Path | str, labels: Path | str | None = None, subjects: Path | str | None = None) -> FaceSet:
    """Open a training set.

    Args:
        path: a folder of pictures, ``root/subject/.../picture``, where those directly in ``root`` are unlabelled; a
            ``.rec`` file with its ``.idx`` beside it, or a folder with ``train.rec``; a ``.bin`` file; a ``.tar``
            file, a folder of them, or a pattern such as ``train-{000..015}.tar``.
        labels: CSV file with the columns ``path`` (a picture's key) and ``subject``, a row for each picture. It
            replaces what the set itself says.
        subjects: text file with one subject id a line (blank lines and lines that begin with "#" say nothing); only
            pictures of these subjects are kept.

    Raises:
        MaskbenchError: one line naming the file: no set can be read there, it holds no picture, or labels or subjects
            do not fit it.
    """
    found = _opened(os.fspath(path))
    if not len(found.faces):
        raise MaskbenchError(f"{path}: holds no face picture; check the path")
    if labels is not None:
        found = _labelled(found, Path(labels))
    return found if subjects is None else _chosen(found, Path(subjects))


def _opened(path: str) -> OpenFaceSet:
    packed = os.path.join(path, PACKED) if os.path.isdir(path) else path
    if packed.endswith(".rec") and os.path.isfile(packed):
        return _open_rec(packed)
    if path.endswith(".bin") and os.path.isfile(path):
        return _open_bin(path)
    if (found := shards.find(path)) is not None:
        return _open_shards(path, found)
    if os.path.isdir(path):
        return _open_folder(path)
    wanted = "a folder of pictures, a .rec, .bin or .tar file, or a pattern of .tar files"
    raise MaskbenchError(f"{path}: no training set there; give {wanted}")


def _few(names: Sequence[str]) -> str:
    """The first few of some names, for a message."""
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


# ---------------------------------------------------------------- labels and subjects


def _labelled(found: OpenFaceSet, path: Path) -> OpenFaceSet:
    """The set with the subjects of a CSV file, which must have one row for each picture."""
    names, columns = read_columns(path)
    if missing := [name for name in ("path", "subject") if names.count(name) != 1]:
        raise MaskbenchError(f"{path}:1: no column {missing[0]!r}; the columns path and subject are needed once each")
    rows: dict[str, str] = {}
    pairs = zip(columns[names.index("path")], columns[names.index("subject")], strict=True)
    for line, (key, subject) in enumerate(pairs, start=2):
        if key in rows:
            raise MaskbenchError(f"{path}:{line}: a second row for {key!r}; remove one of them")
        if not subject.strip():
            raise MaskbenchError(f"{path}:{line}: no subject for {key!r}; fill it in, or remove picture and row")
        rows[key] = subject.strip()
    keys = [face.key for face in found.faces]
    if bare := [key for key in keys if key not in rows]:
        lost = f"no row for {len(bare)} of the {len(keys)} pictures of {found.name} ({_few(bare)})"
        raise MaskbenchError(f"{path}: {lost}; add their rows or remove the pictures")
    if stray := sorted(rows.keys() - set(keys)):
        lost = f"{len(stray)} of {len(rows)} rows name no picture of {found.name} ({_few(stray)})"
        raise MaskbenchError(f"{path}: {lost}; correct the paths, relative to the set, or remove the rows")
    return found.relabelled(rows[key] for key in keys)


def _chosen(found: OpenFaceSet, path: Path) -> OpenFaceSet:
    """The pictures of the subjects that a text file lists."""
    lines = (line.strip() for line in read_text(path).splitlines())
    wanted = dict.fromkeys(line for line in lines if line and not line.startswith("#"))
    if not wanted:
        raise MaskbenchError(f"{path}: lists no subject; write one a line, or do without the file")
    faces = found.faces
    if len(bare := np.flatnonzero(faces.codes < 0)):
        who = _few([faces[int(row)].key for row in bare[: SHOWN + 1]])
        raise MaskbenchError(
            f"{path}: {len(bare)} pictures of {found.name} have no subject ({who}); label them, or do without the list"
        )
    codes = {name: code for code, name in enumerate(faces.names)}
    if unknown := [name for name in wanted if name not in codes]:
        who = f"{len(unknown)} of {len(wanted)} subjects are not in {found.name} ({_few(unknown)})"
        raise MaskbenchError(f"{path}: {who}; write the names as the set has them, or remove the lines")
    return found.take(np.flatnonzero(np.isin(faces.codes, [codes[name] for name in wanted])))


# ---------------------------------------------------------------- folders


@dataclass(frozen=True)
class _Folder:
    path: str

    def data(self, row: int, key: str) -> bytes:
        return read_bytes(f"{self.path}/{key}")

    def label(self, row: int, key: str) -> str:
        return f"{self.path}/{key}"

    def stamp(self, faces: Faces) -> Iterator[str]:
        for key in faces.keys:
            try:
                found = os.stat(f"{self.path}/{key}")
            except OSError as error:
                raise MaskbenchError(f"{self.path}/{key}: cannot be read ({error.strerror}); replace it") from error
            yield f"{found.st_size} {found.st_mtime_ns}"


def _open_folder(path: str) -> OpenFaceSet:
    files = walk(Path(path))
    if lost := [file for file in files if file.status == "failed"]:
        raise MaskbenchError(f"{path}/{lost[0].path}: {lost[0].note}; change its rights or remove it")
    keys = [file.path for file in files if file.is_image]
    subjects = (key.partition("/")[0] if "/" in key else None for key in keys)
    root = os.path.abspath(path)
    return OpenFaceSet(os.path.basename(root), _Folder(root), Faces.of(keys, subjects))


# ---------------------------------------------------------------- packed sets


@dataclass(frozen=True)
class _Rec:
    file: RecFile

    def data(self, row: int, key: str) -> bytes:
        return self.file.read(row)

    def label(self, row: int, key: str) -> str:
        return f"{self.file.archive.path}: record {key}"

    def stamp(self, faces: Faces) -> list[str]:
        return [_stamp(self.file.archive), array_sha256(self.file.offsets)]


def _open_rec(path: str) -> OpenFaceSet:
    file = open_rec(path)
    names, codes = np.unique(file.labels, return_inverse=True)
    faces = Faces(file.numbers, list(map(str, names.tolist())), codes)
    folder, name = os.path.split(file.archive.path)
    if name == PACKED:  # all are called so
        name = os.path.basename(folder)
    return OpenFaceSet(name, _Rec(file), faces, aligned=_are_crops(file))


def _are_crops(file: RecFile) -> bool:
    """Whether the first pictures that can be read are of the size of insightface's crops."""
    sizes = set()
    for row in range(min(LOOKED_AT, len(file.numbers))):
        try:
            size = declared_size(file.read(row))
        except ImageError:
            continue  # reading it will say so
        if size is not None and min(size) > 0:
            sizes.add(size)
    return sizes == {CROP}


class _Bin:
    """A packed verification set. Its pictures are in memory, and read again where the set was sent to a process."""

    def __init__(self, path: str) -> None:
        self.archive = Archive.of(path)
        self.pictures: tuple[bytes, ...] | None = read_bin(Path(path)).pictures

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"pictures": None}

    def data(self, row: int, key: str) -> bytes:
        if self.pictures is None:
            self.archive.check()
            self.pictures = read_bin(Path(self.archive.path)).pictures
        return self.pictures[row]

    def label(self, row: int, key: str) -> str:
        return f"{self.archive.path}: picture {key}"

    def stamp(self, faces: Faces) -> list[str]:
        return [_stamp(self.archive)]


def _open_bin(path: str) -> OpenFaceSet:
    source = _Bin(path)
    pictures = source.pictures or ()
    faces = Faces(np.arange(len(pictures)), (), np.full(len(pictures), -1))
    aligned = all(declared_size(data) == CROP for data in pictures[:LOOKED_AT])
    return OpenFaceSet(os.path.basename(path), source, faces, aligned=aligned)


@dataclass(frozen=True)
class _Shards:
    index: ShardIndex

    def data(self, row: int, key: str) -> bytes:
        return self.index.read(row)

    def label(self, row: int, key: str) -> str:
        return self.index.name(row)

    def stamp(self, faces: Faces) -> list[str]:
        return [_stamp(archive) for archive in self.index.archives]


def _open_shards(path: str, found: dict[str, str]) -> OpenFaceSet:
    index = index_shards(found)
    name = os.path.basename(os.path.abspath(path))
    return OpenFaceSet(name, _Shards(index), Faces.of(index.keys, index.subjects), groups=index.groups)


def _stamp(archive: Archive) -> str:
    return f"{os.path.basename(archive.path)} {archive.size} {archive.changed}"
