"""The manifest of a synthesis run: one row per input, sorted by source, the same bytes for the same run."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson

from maskbench.errors import ManifestError
from maskbench.files import atomic_write, inside
from maskbench.types import ManifestRow

NAME = "manifest.csv"
COLUMNS = tuple(field.name for field in fields(ManifestRow))
STATUSES = ("masked", "failed", "skipped")
FRACTIONS = ("covered_fraction", "crop_fraction")  # four decimals; empty where there is no mask
LONGEST_FIELD = 2**22  # a placement of thousands of faces; the csv module's own limit is a hundred
_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that are not the escape of a byte
_values = attrgetter(*COLUMNS)


def _csv_lines(rows: Iterable[ManifestRow]) -> Iterator[bytes]:
    """The header and each row, in the order given: the whole is never in memory."""
    written: list[str] = []
    sink = SimpleNamespace(write=written.append)
    plain = csv.writer(sink, lineterminator="\n")
    quoted = csv.writer(sink, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the plain one leaves "\r" bare
    plain.writerow(COLUMNS)
    yield written.pop().encode()
    for row in rows:
        values = dict(zip(COLUMNS, _values(row), strict=True))
        values |= {name: "" if math.isnan(values[name]) else f"{values[name]:.4f}" for name in FRACTIONS}
        if "\r" in row.source or "\r" in row.reason:
            quoted.writerow(values.values())
            yield text_bytes(written.pop())
        else:  # the placement, by far the longest and always JSON, is quoted in a tenth of the csv module's time
            placement = values.pop("placement")
            plain.writerow(values.values())
            yield text_bytes(f"{written.pop()[:-1]},{_quoted(placement)}\n")


def _quoted(text: str) -> str:
    """A cell of text without line ends, quoted where it must be."""
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text


def text_bytes(text: str) -> bytes:
    """UTF-8. File names that are not UTF-8 keep their bytes; other lone surrogates, which a message of a library may
    hold, are spelled out, for there is nothing that they stand for."""
    if not text.isascii():
        text = _NO_BYTES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode("utf-8", "surrogateescape")


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> str:
    """Write a manifest atomically: UTF-8, ``\\n`` line ends, rows sorted by source; return the SHA-256 of its bytes."""
    return write_sorted(path, sorted(rows, key=lambda row: row.source))


def write_sorted(path: Path, rows: Iterable[ManifestRow]) -> str:
    """``write_manifest`` for rows that come sorted by source; one of them is in memory at a time."""
    digest = hashlib.sha256()
    with atomic_write(path) as stream:
        for line in _csv_lines(rows):
            digest.update(line)
            stream.write(line)
    return digest.hexdigest()


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read and check a manifest; raises as ``iterate`` does."""
    return list(iterate(path))


def iterate(path: Path) -> Iterator[ManifestRow]:
    """The rows of a manifest, each checked; one of them is in memory at a time.

    Raises:
        ManifestError: the file is missing, a column is wrong, a row is malformed or a path leaves the folder; the
            message names file and line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    try:
        stream = open(path, encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); run maskbench synthesize first") from error
    with stream:
        reader, seen = csv.reader(stream), set()
        if tuple(next(_lines(reader, path), ())) != COLUMNS:
            raise ManifestError(f"{path}:1: not the columns of a manifest; make it again with maskbench synthesize")
        for cells in _lines(reader, path):
            row = _row(cells, f"{path}:{reader.line_num}")
            if row.source in seen:
                raise ManifestError(f"{path}:{reader.line_num}: {row.source} appears twice; make the manifest again")
            seen.add(row.source)
            inside(path.parent, row.source)
            yield row


def _lines(reader, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: {error}; make the manifest again") from error


def _row(cells: list[str], where: str) -> ManifestRow:
    if len(cells) != len(COLUMNS):
        raise ManifestError(f"{where}: {len(cells)} columns, expected {len(COLUMNS)}; make the manifest again")
    values: dict[str, Any] = dict(zip(COLUMNS, cells, strict=True))
    if values["status"] not in STATUSES:
        raise ManifestError(f"{where}: status {values['status']!r} is not one of {', '.join(STATUSES)}")
    try:
        values |= {name: float(values[name] or "nan") for name in FRACTIONS}
        return ManifestRow(**{**values, "faces": int(values["faces"]), "seed": int(values["seed"])})
    except ValueError as error:
        raise ManifestError(f"{where}: {error}; make the manifest again") from error


def counts(rows: Iterable[ManifestRow]) -> dict[str, int]:
    """How many rows have each status."""
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in STATUSES}


def row_to_json(row: ManifestRow) -> str:
    """One journal line: the values in the order of the columns, NaN as null."""
    values = _values(row)
    try:
        return orjson.dumps(values).decode()
    except TypeError:  # a file name that is not UTF-8
        return json.dumps([None if value != value else value for value in values])


def row_from_json(text: str | bytes) -> ManifestRow:
    """The inverse of ``row_to_json``. Raises ValueError or TypeError if the line was cut short or is another's."""
    try:
        values = orjson.loads(text)
    except ValueError:
        values = json.loads(text)
    if not isinstance(values, list) or len(values) != len(COLUMNS):
        raise ValueError(f"not a list of {len(COLUMNS)} values")
    return ManifestRow(*(math.nan if value is None else value for value in values))
