"""Every file of a folder of images, in one fixed order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from maskbench.errors import MaskbenchError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".webp"})


@dataclass(frozen=True)
class InputFile:
    """A file below the root of a walk.

    Attributes:
        path: relative to the root, with forward slashes; bytes that are not UTF-8 as lone surrogates.
        is_image: the extension is that of an image format, in any case of letters. Whether the content is one
            is known only after decoding.
        note: why the entry is no input though its name may be an image's: a link to a folder, or no regular file.
    """

    path: str
    is_image: bool
    note: str = ""


def is_image_name(name: str) -> bool:
    """Whether a file name ends as an image's does (``IMAGE_SUFFIXES``, any case of letters)."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def walk(root: Path) -> list[InputFile]:
    """List everything under ``root`` that is no folder, sorted by relative path, the ones that are no images included.

    Files and folders whose names start with a dot are left out. Links to files count as files, those that lead nowhere
    too; links to folders are listed but not followed, so that loops end.

    Raises:
        MaskbenchError: ``root`` or a folder below it is missing, is no folder or cannot be read.
    """
    found: list[InputFile] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in _entries(Path(root) / folder):
            path = f"{folder}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{path}/")
            elif entry.is_dir():
                found.append(InputFile(path, False, "a link to a folder, not followed"))
            elif entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
                found.append(InputFile(path, is_image_name(entry.name)))
            else:
                found.append(InputFile(path, False, "not a regular file"))
    return sorted(found, key=lambda file: file.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise MaskbenchError(f"{folder}: not a folder that can be read ({error.strerror}); check the path") from error
