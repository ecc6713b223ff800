"""The table of the alignment stage, ``aligned.csv``, one row for every input, and its journal until the stage ends."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from maskbench.errors import ManifestError, MaskbenchError
from maskbench.files import write_bytes
from maskbench.manifest import text_bytes

NAME = "aligned.csv"
JOURNAL = "aligned.journal.jsonl"
STATUSES = ("aligned", "failed", "skipped")


@dataclass(frozen=True)
class AlignedRow:
    """What became of one picture.

    Attributes:
        source, source_sha256: the picture, below the folder of pictures.
        output, output_sha256: the crop, below the folder of crops.
        identity: number of the person.
        status: "aligned", "failed" or "skipped".
        reason: why there is no crop.
        landmarks: "list" for points from the data set's own list, else the detector's name.
        points: the five points, ten numbers with spaces between, x before y.
    """

    source: str
    source_sha256: str = ""
    output: str = ""
    output_sha256: str = ""
    identity: str = ""
    status: str = "failed"
    reason: str = ""
    landmarks: str = ""
    points: str = ""


COLUMNS = tuple(field.name for field in fields(AlignedRow))


def write_aligned(path: Path, rows: Sequence[AlignedRow]) -> None:
    """Write the table atomically: UTF-8, ``\\n`` line ends; file names that are not UTF-8 keep their bytes."""
    stream = io.StringIO()
    plain = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the plain one leaves "\r" bare
    plain.writerow(COLUMNS)
    for row in rows:
        (quoted if "\r" in row.source + row.reason else plain).writerow(asdict(row).values())
    write_bytes(path, text_bytes(stream.getvalue()))


def read_aligned(path: Path) -> list[AlignedRow]:
    """Read ``aligned.csv``.

    Raises:
        ManifestError: it cannot be read, or a line is not of its form; "FILE:LINE: ...".
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); build the data set again") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    if tuple(next(reader, ())) != COLUMNS:
        raise ManifestError(f"{path}:1: not the columns of {NAME}; delete it and build again")
    return list(_rows(reader, path))


def _rows(reader, path: Path) -> Iterator[AlignedRow]:
    try:
        for values in reader:
            row = AlignedRow(*values) if len(values) == len(COLUMNS) else AlignedRow("", status="?")
            if row.status not in STATUSES:
                raise ManifestError(f"{path}:{reader.line_num}: not a row of {NAME}; delete the file and build again")
            yield row
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: {error}; delete the file and build again") from error


def append(path: Path, row: AlignedRow) -> None:
    """Add a line that survives the death of this process."""
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(row), sort_keys=True) + "\n")
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be written ({error.strerror}); make room and run again") from error


def earlier_rows(out: Path) -> dict[str, AlignedRow]:
    """The rows of an earlier run: its table if it ended, and its journal if it did not."""
    rows = {row.source: row for row in read_aligned(out / NAME)} if (out / NAME).is_file() else {}
    journal = out / JOURNAL
    lines = journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.is_file() else []
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            row = AlignedRow(**json.loads(line))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break  # cut short by the interruption; that picture is simply done again
            raise ManifestError(f"{journal}:{number}: damaged line; delete it and run again") from error
        found[row.source] = row
    if lines:  # drop a cut-off last line, so that the next row does not continue it
        write_bytes(journal, "".join(json.dumps(asdict(r), sort_keys=True) + "\n" for r in found.values()).encode())
    return rows | found
