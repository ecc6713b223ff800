"""Parts of large files by their place, read from any number of processes; and where WebDataset shards have pictures.

Parts are read with ``pread``, which has no position that processes would share: a handle that was open when a process
forked serves both. A pickled ``Archive`` carries no handle; the process that unpickles it opens its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from maskbench.datasets import shards
from maskbench.datasets.folder import InputFile
from maskbench.errors import ImageError, MaskbenchError
from maskbench.images import MAX_FILE_BYTES

MOST_OPEN = 64  # files a process keeps open
LARGEST_LABEL = 2**20  # bytes of a member that names a subject
SUBJECT_FIELDS = ("subject", "label")


@dataclass(frozen=True, slots=True)
class Archive:
    """A file as it was when it was indexed.

    Attributes:
        path: absolute.
        size: bytes.
        changed: time of the last change, in nanoseconds.
    """

    path: str
    size: int
    changed: int

    @staticmethod
    def of(path: Path | str) -> Archive:
        """A file as it is now. Raises MaskbenchError if it cannot be read."""
        try:
            found = os.stat(path)
        except OSError as error:
            raise MaskbenchError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        return Archive(os.path.abspath(path), found.st_size, found.st_mtime_ns)

    def check(self) -> None:
        """Raises MaskbenchError unless the file is the one that was indexed."""
        if Archive.of(self.path) != self:
            raise _changed(self)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from ``offset`` on, at most ``size`` of them, fewer at the end of the file.

        Raises:
            MaskbenchError: the file is gone, cannot be read, or is not the one that was indexed.
        """
        try:
            handle = _opened(self)
            return os.pread(handle.number, size, offset)
        except OSError as error:
            raise MaskbenchError(f"{self.path}: cannot be read ({error.strerror}); check the file") from error


class _Handle:
    """An open file that closes with its last user: another thread may still read what the cache has dropped."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


@lru_cache(maxsize=MOST_OPEN)
def _opened(archive: Archive) -> _Handle:
    handle = _Handle(archive.path)
    found = os.fstat(handle.number)
    if (found.st_size, found.st_mtime_ns) != (archive.size, archive.changed):
        raise _changed(archive)
    return handle


def _changed(archive: Archive) -> MaskbenchError:
    return MaskbenchError(f"{archive.path}: has changed since it was indexed; start again with the new file")


# ---------------------------------------------------------------- WebDataset shards


@dataclass(frozen=True)
class ShardIndex:
    """Where the pictures of shards are: shard after shard by name, and in each as they lie there.

    Attributes:
        archives: the shards.
        keys: "shard.tar/name" of each picture.
        subjects: whom it shows, by its sample's ``.cls`` or ``.json``; None where there is none.
        groups: (N,) int32, the number of its shard.
        offsets, sizes: (N,) int64, bytes.
    """

    archives: tuple[Archive, ...]
    keys: list[str]
    subjects: list[str | None]
    groups: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def read(self, row: int) -> bytes:
        """The encoded picture of a row. Raises ImageError if it is too large, MaskbenchError as ``Archive.read``."""
        size = int(self.sizes[row])
        if size > MAX_FILE_BYTES:
            raise ImageError(f"{self.name(row)}: has {size:,} bytes, more than {MAX_FILE_BYTES:,}; reduce it")
        return self.archives[self.groups[row]].read(int(self.offsets[row]), size)

    def name(self, row: int) -> str:
        """What to call a picture in messages: the path of its shard, and its name there."""
        return f"{os.path.dirname(self.archives[self.groups[row]].path)}/{self.keys[row]}"


def index_shards(found: Mapping[str, str]) -> ShardIndex:
    """Look through shards, names to paths, once. Pictures are not read.

    Raises:
        MaskbenchError: one line naming shard and member: the shard is damaged or cut short, or the member that names
            a picture's subject cannot be understood.
    """
    archives, keys, subjects, places = [], [], [], []
    for number, (_, path) in enumerate(sorted(found.items())):
        archive = Archive.of(path)
        pictures, named = _samples(archive)
        archives.append(archive)
        keys += [file.path for file in pictures]
        subjects += [named.get(shards.sample_key(file.path)) for file in pictures]
        places += [(number, file.offset, file.size) for file in pictures]
    columns = np.array(places, np.int64).reshape(-1, 3).T
    return ShardIndex(tuple(archives), keys, subjects, columns[0].astype(np.int32), columns[1], columns[2])


def _samples(archive: Archive) -> tuple[list[InputFile], dict[str, str]]:
    """The pictures of a shard, and the subjects of its samples by key."""
    pictures, named, by_field = [], {}, {}
    for member in shards.members(archive.path):
        file = member.file
        if file.status == "failed":
            remedy = "" if "again" in file.note else "; repack the shard"
            raise MaskbenchError(f"{os.path.dirname(archive.path)}/{file.path}: {file.note}{remedy}")
        extension = file.path.rpartition("/")[2].partition(".")[2].lower()
        if file.is_image:
            pictures.append(file)
        elif extension == "cls" and file.offset >= 0:
            named[shards.sample_key(file.path)] = _subject(archive, file)
        elif extension == "json" and file.offset >= 0:
            by_field[shards.sample_key(file.path)] = _subject_field(archive, file)
    return pictures, {sample: who for sample, who in (by_field | named).items() if who is not None}


def _subject(archive: Archive, file: InputFile) -> str:
    """The subject that a ``.cls`` member holds: one line of text."""
    text = _text(archive, file).strip()
    if not text.isprintable() or not text:
        raise _refused(archive, file, "is not one line with a subject")
    return text


def _subject_field(archive: Archive, file: InputFile) -> str | None:
    """The subject in a ``.json`` member: a text or whole number in the first of ``SUBJECT_FIELDS`` that is there."""
    try:
        value: Any = json.loads(_text(archive, file))
    except (ValueError, RecursionError) as error:
        raise _refused(archive, file, f"is not valid JSON ({' '.join(str(error).split())})") from None
    if not isinstance(value, dict):
        return None
    who = next((value[field] for field in SUBJECT_FIELDS if value.get(field) is not None), None)
    if isinstance(who, int) and not isinstance(who, bool):
        return str(who)
    if who is not None and not (isinstance(who, str) and who.strip() and who.isprintable()):
        raise _refused(archive, file, "has a subject that is neither a line of text nor a whole number")
    return who.strip() if who else None


def _text(archive: Archive, file: InputFile) -> str:
    if file.size > LARGEST_LABEL:
        raise _refused(archive, file, f"has {file.size:,} bytes, more than {LARGEST_LABEL:,}")
    try:
        return archive.read(file.offset, file.size).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused(archive, file, "is not UTF-8") from None


def _refused(archive: Archive, file: InputFile, what: str) -> MaskbenchError:
    return MaskbenchError(f"{os.path.dirname(archive.path)}/{file.path}: {what}; correct it and repack the shard")
