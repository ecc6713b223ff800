"""Strict CSV: UTF-8, one record a line, so that every complaint can name its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from maskbench.errors import MaskbenchError


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


def read_rows(path: Path, kind: type[MaskbenchError] = MaskbenchError) -> tuple[list[str], list[list[str]]]:
    """Read a CSV file whose row ``i`` (from 0) is line ``i + 2``. Every field stays a string; "NA" is a string too.

    Returns:
        The column names, and the rows, each as long as the names.

    Raises:
        MaskbenchError: (or ``kind``) a row is longer or shorter than the header, a quote is not closed, or a field
            holds a line break; "FILE:LINE: ...".
    """
    reader = csv.reader(io.StringIO(read_text(path, kind).rstrip("\r\n"), newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            rows.append(row)
            if reader.line_num != len(rows):
                raise kind(f"{path}:{len(rows)}: a field holds a line break; remove it")
    except csv.Error as error:
        raise kind(f"{path}:{reader.line_num}: not valid CSV ({error})") from error
    columns = rows[0] if rows else []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise kind(f"{path}:{number}: expected {len(columns)} columns, as in the first line, found {len(row)}")
    return columns, rows[1:]
