"""Atomic writes, safe relative paths and the cache root: every module writes through here."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from maskbench.errors import MaskbenchError, NameRefusedError

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.(tmp|old)")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of ``path`` for binary writing; rename it to ``path`` on success.

    A reader, or a run that resumes after ``kill -9``, sees the old file or the whole new one, never a part.

    Raises:
        NameRefusedError: the file system cannot hold a file of this name.
        MaskbenchError: the folder cannot be written to.
    """
    path = Path(path)
    temporary = temporary_in(os.path.dirname(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        _forget(temporary)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; raises as ``atomic_write`` does, in a third of its time."""
    target = os.fspath(path)
    temporary = temporary_in(os.path.dirname(target))
    try:
        _write_new(temporary, data)
        os.replace(temporary, target)
    except OSError as error:
        _forget(temporary)
        raise _unwritable(target, error) from error
    except BaseException:  # an interruption between the two calls
        _forget(temporary)
        raise


def temporary_in(folder: Path | str, kind: str = "tmp") -> str:
    """A new name for what is under way in a folder: "tmp" for what is not yet whole, "old" for what is replaced."""
    # The random part keeps two processes apart; the length of the name stays independent of the target's.
    return os.path.join(folder, f".{secrets.token_hex(8)}.{kind}")


def is_temporary(name: str) -> bool:
    """Whether the name of a file or folder is one that an interrupted atomic write leaves behind."""
    return _TEMPORARY.fullmatch(name) is not None


def _write_new(path: str, data: bytes) -> None:
    """Write a new file; its folder is made when the first attempt finds none, which saves a call for every other."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        handle = os.open(path, flags, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _unwritable(path: Path | str, error: OSError) -> MaskbenchError:
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return NameRefusedError(f"{path}: cannot be written ({error.strerror}); choose another name or folder")
    remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose a folder you may write to"
    return MaskbenchError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


def _forget(temporary: str) -> None:
    try:
        os.unlink(temporary)
    except OSError:
        pass


def make_folder(path: Path | str) -> None:
    """Make a folder and those above it. Raises MaskbenchError if it cannot be made or written to."""
    try:
        os.makedirs(path, exist_ok=True)
        trial = temporary_in(path)
        _write_new(trial, b"")
    except OSError as error:
        raise _unwritable(path, error) from error
    _forget(trial)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON with sorted keys, atomically. NaN is not JSON and raises."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MaskbenchError: the file is missing or is not JSON; the message names file and line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MaskbenchError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MaskbenchError(f"{path}: cannot be read ({error})") from error
    except json.JSONDecodeError as error:
        raise MaskbenchError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except RecursionError:
        raise MaskbenchError(f"{path}: not valid JSON (nested too deeply)") from None


def inside(root: Path, relative: str) -> Path:
    """Join a relative POSIX path from a manifest, a protocol or an archive to ``root``, refusing to leave it.

    Raises:
        MaskbenchError: the path is absolute, empty or climbs out of ``root``.
    """
    return Path(join(os.fspath(root), relative))


def join(root: str, relative: str) -> str:
    """``inside`` on plain strings, for the paths of every picture of a long run."""
    if not is_inside(relative):
        raise MaskbenchError(f"{relative!r}: not a relative path inside {root}")
    return f"{root}/{relative}"


def is_inside(relative: str) -> bool:
    """Whether a relative POSIX path names something below the folder that it is relative to."""
    if not relative or relative[0] == "/" or "\0" in relative:
        return False
    return ".." not in relative or ".." not in relative.split("/")


def cache_root() -> Path:
    """The cache folder: ``MASKBENCH_CACHE``, else ``$XDG_CACHE_HOME/maskbench``, else ``~/.cache/maskbench``."""
    if value := os.environ.get("MASKBENCH_CACHE"):
        return Path(value)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskbench"


def data_root() -> Path | None:
    """The folder that ``MASKBENCH_DATA`` names, or None when it is unset or is not a folder."""
    value = os.environ.get("MASKBENCH_DATA")
    return Path(value) if value and Path(value).is_dir() else None
