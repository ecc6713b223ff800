"""WebDataset shards: tar files whose members are samples, read member by member without unpacking.

A sample is the members that share a name up to the first dot of its last part, its key ("0001.jpg", "0001.json"); the
rest is the member's extension, which says what it is: "jpg" is a picture, "seg.png" a map of labels; see the format's
own description (Aizman et al., "High Performance I/O For Large Scale Deep Learning", 2019). Shards are plain tar, not
compressed, so that a member is found by its place.
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import BinaryIO

from maskbench.datasets.folder import IMAGE_SUFFIXES, InputFile, is_image_name
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import is_inside
from maskbench.images import MAX_FILE_BYTES

SUFFIX = ".tar"
BLOCK = 512
MOST_SHARDS = 100_000
LONGEST_SHOWN = 200  # characters of a pattern in a message
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of a shard: its name as the tar has it, and what it is as an input (offset -1: no regular file)."""

    name: str
    file: InputFile


def expand(pattern: str) -> list[str]:
    """The paths that a brace pattern means: ``{000..012}`` counts, keeping the zeros, and ``{a,b}`` lists.

    Raises:
        MaskbenchError: a brace holds neither, or there are more than ``MOST_SHARDS``.
    """
    plain_and_braces = _BRACES.split(pattern)  # in turn
    parts = [
        _choices(part, pattern) if number % 2 else [part] for number, part in enumerate(plain_and_braces)
    ]
    if prod(map(len, parts)) > MOST_SHARDS:
        raise MaskbenchError(f"{_short(pattern)}: more than {MOST_SHARDS:,} shards; give a smaller range")
    return ["".join(chosen) for chosen in product(*parts)]


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= LONGEST_SHOWN else f"{pattern[:LONGEST_SHOWN]}..."


def _choices(inner: str, pattern: str) -> Sequence[str]:
    pattern = _short(pattern)
    if bounds := re.fullmatch(r"(\d{1,12})\.\.(\d{1,12})", inner):
        first, last = int(bounds[1]), int(bounds[2])
        if not 0 <= last - first < MOST_SHARDS:
            raise MaskbenchError(f"{pattern}: {{{inner}}} is no rising range of at most {MOST_SHARDS:,} numbers")
        return [f"{number:0{len(bounds[1])}d}" for number in range(first, last + 1)]
    if "," not in inner:
        raise MaskbenchError(f"{pattern}: {{{inner}}} is neither a range such as {{000..012}} nor a list {{a,b}}")
    return inner.split(",")


def is_shard_folder(root: Path) -> bool:
    """Whether a folder holds tar shards, and neither pictures nor folders, at its top level."""
    try:
        with os.scandir(root) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return False
    if any(entry.is_dir(follow_symlinks=False) or is_image_name(entry.name) for entry in visible):
        return False
    return any(entry.name.endswith(SUFFIX) for entry in visible)


def find(source: str) -> dict[str, str] | None:
    """Shard names to paths for a tar file, a brace pattern or a folder of shards; None for anything else.

    Raises:
        MaskbenchError: a shard of a pattern is missing, or two have the same name.
    """
    if os.path.isdir(source):
        if not is_shard_folder(Path(source)):
            return None
        paths = sorted(os.path.join(source, name) for name in os.listdir(source) if name.endswith(SUFFIX))
        paths = [path for path in paths if not os.path.basename(path).startswith(".")]
    elif source.endswith(SUFFIX):
        paths = [source] if os.path.exists(source) else expand(source)
    else:
        return None
    if missing := [path for path in paths if not os.path.isfile(path)]:
        raise MaskbenchError(f"{missing[0]}: no such shard ({len(missing)} of {len(paths)} are missing)")
    shards = {os.path.basename(path): path for path in paths}
    if len(shards) < len(paths):
        raise MaskbenchError(f"{source}: two shards have the same file name; give them in two runs")
    return shards


def members(path: str) -> Iterator[Member]:
    """The members of a shard in its order. What cannot be read is a member too, with a note that says why.

    Folders are left out, but nothing else: also names that start with a dot, which are no inputs here either, have
    their row, for it is in the shard's bytes and not by the system at hand that they are there.
    """
    shard, size = os.path.basename(path), os.path.getsize(path)
    names, folders, number, end = set(), set(), 0, 0
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # a list of every header would grow with the shard
                if tar.offset <= end:
                    raise tarfile.ReadError("its headers lead in a circle")
                number, end = number + 1, tar.offset
                if not info.isdir():
                    yield Member(info.name, _input(shard, number, info, size, names, folders))
        note = _ending(path, end, size)
    except Exception as error:  # whatever a damaged header makes the reader do
        what = f"damaged after its first {number} entries" if number else "not a tar file that can be read"
        note = f"{what} ({type(error).__name__}: {error}); fetch the shard again"
    if note:
        yield Member("", InputFile(shard, False, note, "failed"))


def _input(
    shard: str, number: int, info: tarfile.TarInfo, size: int, names: set[str], folders: set[str]
) -> InputFile:
    """A member as an input: what it is worth, and under which path it has its row."""
    name, refused = posixpath.normpath(info.name or "."), ""
    parents = {name[:at] for at, letter in enumerate(name) if letter == "/"}
    if name == "." or not is_inside(info.name):  # the name as it is: a/../b would lead elsewhere where a is a link
        refused = f"unsafe name {info.name!r}"
    elif name in names or name in folders or not names.isdisjoint(parents):
        refused = f"another member has the name {name!r} or is a folder of it"
    if refused:
        return _refused(shard, f"member {number}", refused, is_face_name(name), names)
    names.add(name)
    folders |= parents
    path = f"{shard}/{name}"
    if any(part.startswith(".") for part in name.split("/")):
        return InputFile(path, False, "a hidden file: its name starts with a dot")
    if not info.isreg() or info.issparse():
        return InputFile(path, False, "not a regular file")
    if info.size < 0 or info.offset_data + info.size > size:
        return InputFile(path, False, "the shard ends within this member; fetch it again", "failed")
    is_face = is_face_name(name)
    other = is_image_name(name) and not is_face
    note = f"another part of its sample than the picture: its extension is {_extension(name)!r}" if other else ""
    return InputFile(path, is_face, note, offset=info.offset_data, size=info.size)


def _refused(shard: str, label: str, note: str, is_image: bool, names: set[str]) -> InputFile:
    while label in names:
        label += "'"
    names.add(label)
    return InputFile(f"{shard}/{label}", False, note, "failed" if is_image else "skipped")


def _ending(path: str, end: int, size: int) -> str:
    """What is wrong with a shard after its last header that could be read; "" where the mark of the end follows."""
    with open(path, "rb") as stream:
        stream.seek(min(end, size))
        block = stream.read(BLOCK)
    if block == bytes(BLOCK):
        return ""
    if len(block) == BLOCK:
        return f"damaged at byte {end}; what follows cannot be read, fetch the shard again"
    return "ends without the mark of its end; it may be cut short, fetch it again"


def is_face_name(name: str) -> bool:
    """Whether a member is its sample's picture: its whole extension is an image's, as in 0001.jpg; 0001.seg.png is
    an image of something else (labels, depths) and no face."""
    return f".{_extension(name).lower()}" in IMAGE_SUFFIXES


def _extension(name: str) -> str:
    """What follows the first dot of a name's last part; "" where there is none."""
    return name.rpartition("/")[2].partition(".")[2]


def sample_key(name: str) -> str:
    """The sample that a member belongs to: its name up to the first dot of the last part."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.split('.', 1)[0]}"


def read_member(path: str, file: InputFile) -> bytes:
    """The content of a member.

    Raises:
        ImageError: it is empty, larger than ``MAX_FILE_BYTES``, or the shard cannot be read there.
    """
    if file.size > MAX_FILE_BYTES:
        raise ImageError(
            f"{file.path}: file of {file.size:,} bytes exceeds the limit of {MAX_FILE_BYTES:,}; reduce it"
        )
    if not file.size:
        raise ImageError(f"{file.path}: empty file; replace it")
    try:
        data = read_part(path, file)
    except OSError as error:
        raise ImageError(f"{file.path}: cannot be read ({error.strerror or error}); check the shard") from error
    if len(data) < file.size:
        raise ImageError(f"{file.path}: the shard ends within this member; fetch it again")
    return data


def read_part(path: str, file: InputFile) -> bytes:
    """The bytes of a shard at a member's place, as many as there are. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, file.size, file.offset)
    finally:
        os.close(handle)


class ShardWriter:
    """Writes a tar whose bytes depend on names and contents alone: no times, no owners."""

    def __init__(self, stream: BinaryIO) -> None:
        self._tar = tarfile.open(
            fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        )

    def add(self, name: str, size: int, content: BinaryIO) -> None:
        """Append a member of ``size`` bytes, read from ``content``."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o644, 0
        self._tar.addfile(info, content)
        self._tar.members.clear()

    def close(self) -> None:
        """Write the mark of the end; the stream stays open."""
        self._tar.close()
