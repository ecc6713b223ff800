"""Atomic writes, safe relative paths and the cache root: every module writes through here."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from maskbench.errors import MaskbenchError


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of ``path`` for binary writing; rename it to ``path`` on success.

    A reader, or a run that resumes after ``kill -9``, sees the old file or the whole new one, never a part.

    Raises:
        MaskbenchError: the folder cannot be written to.
    """
    path = Path(path)
    # The random part keeps two processes apart; the length of the name stays independent of the target's.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as error:
        raise MaskbenchError(
            f"{path}: cannot be written ({error.strerror or error}); choose a folder you may write to"
        ) from error
    finally:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_write(path) as stream:
        stream.write(data)


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


def inside(root: Path, relative: str) -> Path:
    """Join a relative POSIX path from a manifest, a protocol or an archive to ``root``, refusing to leave it.

    Raises:
        MaskbenchError: the path is absolute, empty or climbs out of ``root``.
    """
    pure = PurePosixPath(relative)
    if not relative or pure.is_absolute() or ".." in pure.parts or "\\" in relative or "\0" in relative:
        raise MaskbenchError(f"{relative!r}: not a relative path inside {root}")
    return Path(root, *pure.parts)


def cache_root() -> Path:
    """The cache folder: ``MASKBENCH_CACHE``, else ``$XDG_CACHE_HOME/maskbench``, else ``~/.cache/maskbench``."""
    if value := os.environ.get("MASKBENCH_CACHE"):
        return Path(value)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskbench"


def data_root() -> Path | None:
    """The folder that ``MASKBENCH_DATA`` names, or None when it is unset or is not a folder."""
    value = os.environ.get("MASKBENCH_DATA")
    return Path(value) if value and Path(value).is_dir() else None
