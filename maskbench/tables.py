"""Strict text files: UTF-8, one record a line, so that every complaint can name its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from maskbench.errors import MaskbenchError

LONGEST_FIELD = 131_072  # characters


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A header and rows as CSV with ``\\n`` line ends; fields are quoted only where they must be."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def read_text(path: Path, kind: type[MaskbenchError] = MaskbenchError) -> str:
    """Read a UTF-8 file, with or without a byte-order mark.

    Raises:
        MaskbenchError: (or ``kind``) it cannot be read, is not UTF-8 or holds a NUL; the message names the line.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kind(f"{path}:{1 + data.count(10, 0, error.start)}: not UTF-8; save the file as UTF-8") from error
    if "\0" in text:
        raise kind(f"{path}:{1 + text.count(chr(10), 0, text.index(chr(0)))}: a NUL character; save it as plain text")
    return text


def yaml_complaint(path: Path, error: Exception) -> str:
    """What PyYAML says of a file, in one line: "FILE:LINE: not valid YAML (reason)"."""
    mark = getattr(error, "problem_mark", None)
    reason = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"{path}:{mark.line + 1 if mark else 1}: not valid YAML ({reason})"


def read_columns(path: Path, kind: type[MaskbenchError] = MaskbenchError) -> tuple[list[str], list[list[str]]]:
    """Read a CSV file whose row ``i`` (from 0) is line ``i + 2``. Every field stays a string; "NA" is a string too.

    Returns:
        The column names, and for each the values of its column.

    Raises:
        MaskbenchError: (or ``kind``) a row is longer or shorter than the header, a quote is not closed, or a field
            holds a line break; "FILE:LINE: ...".
    """
    csv.field_size_limit(LONGEST_FIELD)  # the limit is the process's, and manifests raise it
    reader = csv.reader(io.StringIO(read_text(path, kind).rstrip("\r\n"), newline=""), strict=True)
    # One flat list: a million small lists would keep Python's garbage collector busier than the parser.
    names, values, line = [], [], 0
    try:
        for line, row in enumerate(reader, start=1):
            names = names or row
            if reader.line_num != line:
                raise kind(f"{path}:{line}: a field holds a line break; remove it")
            if len(row) != len(names):
                raise kind(f"{path}:{line}: expected {len(names)} columns, as in the first line, found {len(row)}")
            values += row
    except csv.Error as error:
        raise kind(f"{path}:{line + 1}: not valid CSV ({error})") from error
    return names, [values[index :: len(names)][1:] for index in range(len(names))]
