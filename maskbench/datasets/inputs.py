"""Where the pictures of a run come from: a folder, or WebDataset shards. Small and picklable, for the workers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskbench.datasets import shards as tar
from maskbench.datasets.folder import InputFile, walk
from maskbench.errors import ImageError
from maskbench.files import join
from maskbench.images import read_bytes


@dataclass(frozen=True)
class FolderInputs:
    """Every file below a folder."""

    root: str

    @property
    def folders(self) -> list[str]:
        """The folders that are read."""
        return [self.root]

    def absolute(self) -> FolderInputs:
        """The same for a process with another working directory."""
        return FolderInputs(os.path.abspath(self.root))

    def files(self) -> list[InputFile]:
        """The inputs, sorted by path. Raises MaskbenchError as ``folder.walk`` does."""
        return walk(Path(self.root))

    def read(self, file: InputFile) -> bytes:
        """The content of an input. Raises ImageError, whose message leaves the root out."""
        path = join(self.root, file.path)
        try:
            return read_bytes(path)
        except ImageError as error:
            raise ImageError(str(error).replace(f"{path}: ", f"{file.path}: ", 1)) from error

    def sha256(self, file: InputFile) -> str:
        """The digest of an input's content. Raises OSError when it cannot be read."""
        with open(join(self.root, file.path), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class ShardInputs:
    """Every member of tar shards; ``beside`` are the names of the other files of their folder."""

    shards: Mapping[str, str]  # file name to path
    beside: tuple[str, ...] = field(default=())

    @property
    def folders(self) -> list[str]:
        """The folders that are read."""
        return sorted({os.path.dirname(path) or "." for path in self.shards.values()})

    def absolute(self) -> ShardInputs:
        """The same for a process with another working directory."""
        return replace(self, shards={name: os.path.abspath(path) for name, path in self.shards.items()})

    def files(self) -> list[InputFile]:
        """The inputs, sorted by path: the shards' headers are read, not their contents."""
        files = [member.file for shard in self.shards for member in self.members(shard)]
        files += [InputFile(name, False, "not a tar shard") for name in self.beside]
        return sorted(files, key=lambda file: file.path)

    def members(self, shard: str) -> Iterator[tar.Member]:
        """The members of one shard in its order."""
        return tar.members(self.shards[shard])

    def path(self, file: InputFile) -> str:
        """The shard that an input lies in."""
        return self.shards[file.path.split("/", 1)[0]]

    def read(self, file: InputFile) -> bytes:
        """The content of an input. Raises ImageError."""
        return tar.read_member(self.path(file), file)

    def sha256(self, file: InputFile) -> str:
        """The digest of an input's content. Raises OSError when it cannot be read."""
        return hashlib.sha256(tar.read_part(self.path(file), file)).hexdigest()


def open_inputs(source: Path | str) -> FolderInputs | ShardInputs:
    """The inputs that a path means: a tar file, a brace pattern of them, a folder of them, or a folder of pictures.

    Raises:
        MaskbenchError: shards of a pattern are missing.
    """
    shards = tar.find(os.fspath(source))
    if shards is None:
        return FolderInputs(os.fspath(source))
    beside = ()
    if os.path.isdir(source):
        beside = tuple(name for name in sorted(os.listdir(source)) if name not in shards and not name.startswith("."))
    return ShardInputs(shards, beside)
