"""Every file of a folder of images, in one fixed order."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from maskbench.errors import MaskbenchError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".webp"})


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file below the root of a walk, or a member of a tar shard.

    Attributes:
        path: relative to the root, with forward slashes; bytes that are not UTF-8 as lone surrogates.
        is_image: the extension is that of an image format, in any case of letters. Whether the content is one
            is known only after decoding.
        note: why the entry is no input though its name may be an image's: a link to a folder, or no regular file.
            A member with a place has one too where it is carried over but no face.
        status: of the row of an entry that is no input: "failed" where pictures may be lost with it, else "skipped".
        offset, size: where the content of a member lies in its shard, in bytes; -1 for files of their own.
    """

    path: str
    is_image: bool
    note: str = ""
    status: str = "skipped"
    offset: int = -1
    size: int = -1


def is_image_name(name: str) -> bool:
    """Whether a file name ends as an image's does (``IMAGE_SUFFIXES``, any case of letters)."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def walk(root: Path) -> list[InputFile]:
    """List everything under ``root`` that is no folder, sorted by relative path, the ones that are no images included.

    Files and folders whose names start with a dot are left out: systems and programs put them there, and the same
    pictures must have the same manifest elsewhere. Links to files count as files, those that lead nowhere
    or in a circle too; links to folders are listed but not followed, so that loops end. A folder below ``root`` that
    cannot be read is listed, with the reason.

    Raises:
        MaskbenchError: ``root`` is missing, is no folder or cannot be read.
    """
    found: list[InputFile] = []
    try:
        pending = _list("", os.fspath(root), found)
    except OSError as error:
        raise MaskbenchError(f"{root}: not a folder that can be read ({error.strerror}); check the path") from error
    while pending:
        folder = pending.pop()
        try:
            pending += _list(f"{folder}/", f"{root}/{folder}", found)
        except OSError as error:
            found.append(InputFile(folder, False, f"a folder that cannot be read ({error.strerror})", "failed"))
    return sorted(found, key=lambda file: file.path)


def _list(prefix: str, folder: str, found: list[InputFile]) -> list[str]:
    """Add the files of one folder to ``found``; return the paths of the folders in it."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    folders = []
    for entry in visible:
        path = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            folders.append(path)
        elif entry.is_file(follow_symlinks=False):
            found.append(InputFile(path, is_image_name(entry.name)))
        else:
            found.append(_special(path, entry))
    return folders


def _special(path: str, entry: os.DirEntry[str]) -> InputFile:
    """A link, or one of the rarer things."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # leads nowhere or in a circle: reading it says which
        return InputFile(path, is_image_name(entry.name))
    if stat.S_ISDIR(mode):
        return InputFile(path, False, "a link to a folder, not followed")
    if stat.S_ISREG(mode):
        return InputFile(path, is_image_name(entry.name))
    return InputFile(path, False, "not a regular file")
