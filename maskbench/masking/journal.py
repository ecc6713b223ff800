"""The rows of a run that is under way: on disk, a line each, found again by their place in the file.

What is appended has reached the operating system when ``append`` returns, so that killing the process loses nothing of
it. In memory there is one offset per input; the rows, a kilobyte each, stay on disk until the manifest is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from maskbench import manifest
from maskbench.errors import ManifestError, MaskbenchError
from maskbench.files import atomic_write
from maskbench.types import ManifestRow

NAME = "manifest.journal.jsonl"
Row = TypeVar("Row")


class RowJournal(Generic[Row]):
    """One file of rows, open for the length of a run; the last line about an input counts.

    A subclass says what a row is: the file's name, how a line is read, which input a row is about, and the lines of a
    finished run. Opening a journal finds the rows of an interrupted run, or else of a finished one. A last line that
    was cut short by an interruption is dropped.

    Raises:
        ManifestError: a line before the last, or the finished run's table, is damaged.
        MaskbenchError: the folder cannot be written to.
    """

    name: str

    def __init__(self, folder: Path) -> None:
        self._path = folder / self.name
        self._offsets: dict[str, int] = {}
        if not self._path.exists() and (lines := self.finished(folder)) is not None:
            with atomic_write(self._path) as stream:
                stream.writelines(f"{line}\n".encode() for line in lines)
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error
        self._end = self._index()
        os.ftruncate(self._handle, self._end)

    def finished(self, folder: Path) -> Iterable[str] | None:
        """The lines of a finished run in ``folder``, None when there is none."""
        raise NotImplementedError

    def parse(self, line: bytes) -> Row:
        """The row that a line holds. Raises ValueError or TypeError for a damaged one."""
        raise NotImplementedError

    def key(self, row: Row) -> str:
        """The input that a row is about."""
        raise NotImplementedError

    def _index(self) -> int:
        """Note where each row is; return where the last whole line ends."""
        end = 0
        with open(self._path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    source = self.key(self.parse(line))
                except (ValueError, TypeError) as error:
                    if stream.read(1):
                        raise ManifestError(f"{self._path}:{number}: damaged line; delete it and resume") from error
                    break
                if not line.endswith(b"\n"):
                    break
                self._offsets[source] = end
                end += len(line)
        return end

    def append(self, source: str, line: str) -> None:
        """Add the row of an input, as ``parse`` reads it."""
        data = f"{line}\n".encode()
        try:
            written = os.write(self._handle, data)
            if written < len(data):  # a full disk: half a line must not be continued by the next
                os.ftruncate(self._handle, self._end)
                raise OSError(28, os.strerror(28))
        except OSError as error:
            raise self._unwritable(error) from error
        self._offsets[source] = self._end
        self._end += len(data)

    def get(self, source: str) -> Row | None:
        """The row of an input, None when there is none. May be called while another thread appends.

        Raises:
            ManifestError: the file has been changed or cut since.
        """
        offset = self._offsets.get(source)
        if offset is None:
            return None
        try:
            return self.parse(self._line(offset))
        except (ValueError, TypeError, EOFError) as error:  # it was whole when it was written or found
            raise ManifestError(
                f"{self._path}: was changed by another program during the run; run again with --resume"
            ) from error

    def _line(self, offset: int) -> bytes:
        """The line that begins there. Raises EOFError when the file ends before it does."""
        data, size = b"", 4096
        while b"\n" not in data:
            known, data = len(data), os.pread(self._handle, size, offset)
            if len(data) <= known:
                raise EOFError
            size *= 4
        return data[: data.index(b"\n")]

    def __len__(self) -> int:
        """How many inputs have a row."""
        return len(self._offsets)

    def rows(self) -> Iterator[Row]:
        """Every row that counts, in the order in which the inputs were first written."""
        for source in list(self._offsets):
            row = self.get(source)
            assert row is not None
            yield row

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self._handle)

    def remove(self) -> None:
        """Delete the file, once a finished run's table holds its rows."""
        self._path.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> MaskbenchError:
        return MaskbenchError(f"{self._path}: cannot be written ({error.strerror}); make room and use --resume")


class Journal(RowJournal[ManifestRow]):
    """The rows of a synthesis run; a finished one's are in its manifest."""

    name = NAME

    def finished(self, folder: Path) -> Iterable[str] | None:
        """The manifest's rows."""
        path = folder / manifest.NAME
        return map(manifest.row_to_json, manifest.iterate(path)) if path.is_file() else None

    def parse(self, line: bytes) -> ManifestRow:
        """As ``manifest.row_to_json`` wrote it."""
        return manifest.row_from_json(line)

    def key(self, row: ManifestRow) -> str:
        """The input's path."""
        return row.source
