"""The manifest of a synthesis run: one row per input, sorted by source, the same bytes for the same run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

from maskbench.digest import bytes_sha256
from maskbench.errors import ManifestError
from maskbench.files import inside, write_bytes
from maskbench.types import ManifestRow

NAME = "manifest.csv"
COLUMNS = tuple(field.name for field in fields(ManifestRow))
STATUSES = ("masked", "failed", "skipped")


def to_csv(rows: Iterable[ManifestRow]) -> bytes:
    """The manifest's bytes: UTF-8, ``\\n`` line ends, rows sorted by source. File names that are not UTF-8 keep
    their bytes."""
    stream = io.StringIO()
    plain = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the plain one leaves "\r" bare
    plain.writerow(COLUMNS)
    for row in sorted(rows, key=lambda row: row.source):
        values = asdict(row)
        values["covered_fraction"] = "" if math.isnan(row.covered_fraction) else f"{row.covered_fraction:.4f}"
        (quoted if "\r" in row.source + row.reason else plain).writerow(values[name] for name in COLUMNS)
    return stream.getvalue().encode("utf-8", "surrogateescape")


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> str:
    """Write a manifest atomically; return the SHA-256 of its bytes."""
    data = to_csv(rows)
    write_bytes(path, data)
    return bytes_sha256(data)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read and check a manifest.

    Raises:
        ManifestError: the file is missing, a column is wrong, a row is malformed or a path leaves the folder; the
            message names file and line.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); run maskbench synthesize first") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    if tuple(next(reader, ())) != COLUMNS:
        raise ManifestError(f"{path}:1: not the columns of a manifest; make it again with maskbench synthesize")
    rows, seen = [], set()
    for values in _lines(reader, path):
        where = f"{path}:{reader.line_num}"
        if len(values) != len(COLUMNS):
            raise ManifestError(f"{where}: {len(values)} columns, expected {len(COLUMNS)}; make the manifest again")
        row = _row(dict(zip(COLUMNS, values, strict=True)), where)
        if row.source in seen:
            raise ManifestError(f"{where}: {row.source} appears twice; make the manifest again")
        seen.add(row.source)
        inside(path.parent, row.source)
        rows.append(row)
    return rows


def _lines(reader, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: {error}; make the manifest again") from error


def _row(values: dict[str, str], where: str) -> ManifestRow:
    if values["status"] not in STATUSES:
        raise ManifestError(f"{where}: status {values['status']!r} is not one of {', '.join(STATUSES)}")
    try:
        return ManifestRow(
            **{
                **values,
                "faces": int(values["faces"]),
                "covered_fraction": float(values["covered_fraction"] or "nan"),
                "seed": int(values["seed"]),
            }
        )
    except ValueError as error:
        raise ManifestError(f"{where}: {error}; make the manifest again") from error


def counts(rows: Iterable[ManifestRow]) -> dict[str, int]:
    """How many rows have each status."""
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in STATUSES}


def check_complete(rows: list[ManifestRow], sources: Iterable[str]) -> None:
    """Raise ManifestError unless every input has exactly one row: inputs = masked + failed + skipped."""
    have, want = Counter(row.source for row in rows), Counter(sources)
    if have != want:
        odd = sorted((have - want) + (want - have))
        raise ManifestError(f"{len(odd)} inputs without exactly one row, first {odd[0]}; run again with --resume")


def row_to_json(row: ManifestRow) -> str:
    """One journal line."""
    values = asdict(row)
    values["covered_fraction"] = None if math.isnan(row.covered_fraction) else row.covered_fraction
    return json.dumps(values, sort_keys=True)


def row_from_json(text: str) -> ManifestRow:
    """The inverse of ``row_to_json``. Raises ValueError, KeyError or TypeError if the line was cut short."""
    values = json.loads(text)
    if values["covered_fraction"] is None:
        values["covered_fraction"] = math.nan
    return ManifestRow(**values)
