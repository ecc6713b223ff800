"""Text files of any length as blocks of columns, with the line of every row.

A file is read in blocks, so that memory holds one block of text beside what its rows become. Within a block the number
of fields of every line is counted from the bytes at once, and only then is the text cut up: a line that is too long or
too short is found by its number, whatever follows it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.tables import LONGEST_FIELD

BLOCK = 1 << 22  # bytes of text in memory at a time
LONGEST_LINE = 1 << 26  # bytes
_COMMA, _NEWLINE = 44, 10


@dataclass(frozen=True)
class Block:
    """Rows that follow each other in a file.

    Attributes:
        lines: the line number of each row, from 1.
        columns: for each column, one text per row.
    """

    lines: Sequence[int]
    columns: list[list[str]]


@dataclass
class Lines:
    """Row number (from 0, over all blocks and files) to "FILE:LINE"."""

    _starts: list[int] = field(default_factory=list)
    _parts: list[tuple[Path | str, Sequence[int]]] = field(default_factory=list)
    rows: int = 0

    def add(self, path: Path | str, lines: Sequence[int]) -> None:
        """Append the rows of a block."""
        self._starts.append(self.rows)
        self._parts.append((path, lines))
        self.rows += len(lines)

    def __call__(self, row: int) -> str:
        """The place of a row, for a message."""
        part = int(np.searchsorted(self._starts, row, "right")) - 1
        path, lines = self._parts[part]
        return f"{path}:{lines[row - self._starts[part]]}"


def csv_header(path: Path) -> list[str]:
    """The column names of a CSV file.

    Raises:
        MaskbenchError: it cannot be read, is empty, or a name is empty or there twice.
    """
    first = next(_text_blocks(path), (0, ""))[1].partition("\n")[0]
    try:
        names = next(csv.reader([first], strict=True), [])
    except csv.Error as error:
        raise MaskbenchError(f"{path}:1: not valid CSV ({error})") from None
    names = [name.strip() for name in names]
    if not names:
        raise MaskbenchError(f"{path}:1: no columns; the first line must name them")
    for name in names:
        if not name or names.count(name) > 1:
            raise MaskbenchError(f"{path}:1: column name {name!r} is empty or there twice; rename it")
    return names


def csv_blocks(path: Path, width: int) -> Iterator[Block]:
    """The rows of a CSV file below its header, each of ``width`` fields and on one line.

    Raises:
        MaskbenchError: "FILE:LINE: ..." for another number of fields, line breaks in a field, an open quote, or bytes
            that are not UTF-8.
    """
    empty = 0
    for first, text in _text_blocks(path):
        if first == 1:
            first, text = 2, text.partition("\n")[2]
        whole = text.rstrip("\n") + "\n" if text.strip("\n") else ""
        if whole and empty:
            raise _wrong_width(path, empty, width, 0)
        if len(whole) < len(text):  # empty lines are nothing at the end of a file, and a mistake before it
            empty = empty or first + whole.count("\n")
        text = whole
        if text:
            count = text.count("\n")
            parse = _quoted_columns if '"' in text else _plain_columns
            yield Block(range(first, first + count), parse(path, first, text, width))


def _plain_columns(path: Path, first: int, text: str, width: int) -> list[list[str]]:
    raw = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    ends = raw[(raw == _COMMA) | (raw == _NEWLINE)] == _NEWLINE
    stops = np.flatnonzero(ends)
    fields = np.diff(stops, prepend=-1)
    if (fields != width).any():
        row = int((fields != width).argmax())
        raise _wrong_width(path, first + row, width, int(fields[row]))
    flat = text.replace("\n", ",").split(",")
    return [flat[column : len(stops) * width : width] for column in range(width)]


def _quoted_columns(path: Path, first: int, text: str, width: int) -> list[list[str]]:
    csv.field_size_limit(LONGEST_FIELD)
    flat, line = [], first - 1
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for line, row in enumerate(reader, start=first):
            if reader.line_num != line - first + 1:
                raise MaskbenchError(f"{path}:{line}: a field holds a line break; remove it")
            if len(row) != width:
                raise _wrong_width(path, line, width, max(len(row), 1))
            flat += row
    except csv.Error as error:
        raise MaskbenchError(f"{path}:{line + 1}: not valid CSV ({error})") from None
    return [flat[column::width] for column in range(width)]


def _wrong_width(path: Path, line: int, width: int, found: int) -> MaskbenchError:
    return MaskbenchError(f"{path}:{line}: expected {width} columns, as in the first line, found {found}")


def word_blocks(path: Path, widths: Sequence[int] | None = None) -> Iterator[Block]:
    """The rows of a file whose columns are parted by spaces or tabs. Empty lines and lines that begin with "#" are left
    out, as bob and pyeer leave them out.

    Args:
        widths: the numbers of columns that are allowed; None allows any. All rows must have that of the first.

    Raises:
        MaskbenchError: "FILE:LINE: ..." for another number of columns, or bytes that are not UTF-8.
    """
    width = None
    for first, text in _text_blocks(path):
        rows = [row.split() for row in text.split("\n")[:-1]]
        lines: Sequence[int] = range(first, first + len(rows))
        kept = [index for index, row in enumerate(rows) if row and row[0][0] != "#"]
        if len(kept) < len(rows):
            rows, lines = [rows[index] for index in kept], [lines[index] for index in kept]
        if not rows:
            continue
        width = width or len(rows[0])
        allowed = (width,) if widths is None or width in widths else widths
        for line, row in zip(lines, rows, strict=True):
            if len(row) not in allowed or len(row) != width:
                wanted = " or ".join(map(str, allowed))
                raise MaskbenchError(f"{path}:{line}: expected {wanted} columns, found {len(row)}")
        yield Block(lines, list(map(list, zip(*rows, strict=True))))


def head(path: Path, count: int = 64) -> list[tuple[int, str]]:
    """The first lines that are neither empty nor begin with "#", with their numbers, to recognise a format by."""
    first, text = next(_text_blocks(path), (1, ""))
    numbered = enumerate(text.split("\n"), start=first)
    return [(line, row.strip()) for line, row in numbered if row.strip() and row.strip()[0] != "#"][:count]


def _text_blocks(path: Path) -> Iterator[tuple[int, str]]:
    """(number of the first line, whole lines that each end with a line feed) until the file ends."""
    line, rest = 1, b""
    try:
        with open(path, "rb") as stream:
            while data := stream.read(BLOCK):
                whole, found, tail = data.rpartition(b"\n")
                if not found:
                    rest += data
                    if len(rest) > LONGEST_LINE:
                        raise MaskbenchError(f"{path}:{line}: a line of more than {LONGEST_LINE} bytes; is it text?")
                    continue
                text = _decoded(path, line, rest + whole + b"\n")
                yield line, text
                line, rest = line + text.count("\n"), tail
    except FileNotFoundError:
        raise MaskbenchError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if rest:
        yield line, _decoded(path, line, rest + b"\n")


def _decoded(path: Path, line: int, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise MaskbenchError(f"{path}:{line + data.count(10, 0, error.start)}: not UTF-8; save it as UTF-8") from None
    if "\0" in text:
        raise MaskbenchError(f"{path}:{line + text.count(chr(10), 0, text.index(chr(0)))}: a NUL character; save it as "
                             "plain text")
    return text.replace("\r\n", "\n") if "\r" in text else text
