"""Masked pictures as files of their own, under the paths of their inputs. For tar shards see packing.py."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from maskbench.datasets.folder import InputFile
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.files import join, write_bytes
from maskbench.masking.journal import Journal
from maskbench.types import ManifestRow

ALPHA_FOLDER = "_alpha"
LONGEST_NAME = 255  # bytes, on the usual file systems


class Writer(Protocol):
    """What a worker keeps its pictures with; picklable."""

    def write(self, path: str, picture: bytes, alpha: bytes | None) -> None:
        """Keep the masked picture of an input, and its alpha as PNG. Raises NameRefusedError or MaskbenchError."""
        ...


class Outputs(Protocol):
    """The side of the process that leads a run."""

    @property
    def writer(self) -> Writer:
        """For the workers."""
        ...

    def holds(self, row: ManifestRow) -> bool:
        """Whether the output of a row is there, as the row says, and its alpha if there should be one."""
        ...

    def remove(self, row: ManifestRow) -> None:
        """Delete the output of a row that no longer holds: its input is gone or has changed."""
        ...

    def begin(self, todo: Iterable[InputFile], journal: Journal) -> None:
        """Learn which inputs are still to be done; the journal has, or will have, the rows of all."""
        ...

    def done(self, file: InputFile) -> None:
        """Learn that an input of ``todo`` has its row in the journal."""
        ...

    def finish(self) -> None:
        """Bring everything to its place; called when no input is left."""
        ...

    def close(self) -> None:
        """Let go of threads, after success or failure."""
        ...


def alpha_name(path: str) -> str:
    """The path of an input's alpha; ".png" is added, so that a.jpg and a.png stay apart.

    Where the last part becomes too long for a file system, its end gives way to a digest.
    """
    folder, slash, name = path.rpartition("/")
    encoded = os.fsencode(name)
    if len(encoded) + len(".png") > LONGEST_NAME:
        digest = bytes_sha256(encoded)[:16]
        name = encoded[: LONGEST_NAME - len(f"~{digest}.png")].decode("utf-8", "ignore") + f"~{digest}"
    return f"{ALPHA_FOLDER}/{folder}{slash}{name}.png"


@dataclass(frozen=True)
class FileOutputs:
    """Every masked picture under its input's path; its alpha below ``_alpha``. Nothing is left for the end."""

    root: str
    alpha: bool = False

    @property
    def writer(self) -> FileOutputs:
        """Itself."""
        return self

    def write(self, path: str, picture: bytes, alpha: bytes | None) -> None:
        """Alpha first: where the picture is, the alpha is too."""
        if alpha is not None:
            write_bytes(join(self.root, alpha_name(path)), alpha)
        write_bytes(join(self.root, path), picture)

    def holds(self, row: ManifestRow) -> bool:
        """By digest; of the alpha only the presence is checked."""
        try:
            if self.alpha and not os.path.isfile(join(self.root, alpha_name(row.source))):
                return False
            return file_sha256(Path(join(self.root, row.output))) == row.output_sha256
        except OSError:
            return False

    def remove(self, row: ManifestRow) -> None:
        """The picture and its alpha; what is not there is no error."""
        for path in (row.output, alpha_name(row.source)):
            try:
                os.unlink(join(self.root, path))
            except OSError:
                pass

    def begin(self, todo: Iterable[InputFile], journal: Journal) -> None: ...

    def done(self, file: InputFile) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...
