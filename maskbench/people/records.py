"""What a run of ``maskbench people`` knows of its pictures: a table, landmarks, and the journal of a run under way."""

from __future__ import annotations

import json
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write, inside, write_bytes
from maskbench.landmarks.base import MESH_POINTS
from maskbench.masking.journal import RowJournal
from maskbench.scoring import UNREADABLE
from maskbench.tables import csv_text, read_columns

TABLE, POINTS, JOURNAL = "people.csv", "landmarks.npz", "people.journal.jsonl"
ATTRIBUTES = (
    "identity", "shot", "sex", "age", "skin_ita", "hair", "hair_colour", "yaw", "pitch", "roll", "expression", "light",
    "background", "blur", "noise", "quality",
)  # fmt: skip
COLUMNS = ("path", "sha256", *ATTRIBUTES)
SHAPE = (MESH_POINTS, 3)


@dataclass(frozen=True, eq=False)
class PictureRow:
    """One picture of a run.

    Attributes:
        path: relative to the folder, with forward slashes; sha256: of the file.
        cells: the text of each of ``ATTRIBUTES``, as it stands in the table.
        points: (468, 3) float32, the true landmarks in pixels of the picture.
    """

    path: str
    sha256: str
    cells: tuple[str, ...]
    points: np.ndarray


def attribute_cells(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The attributes of a portrait as text, in the table's order; the numbers of a list are separated by spaces.

    Raises:
        MaskbenchError: they are not exactly ``ATTRIBUTES``.
    """
    if tuple(attributes) != ATTRIBUTES:
        differing = sorted(set(attributes) ^ set(ATTRIBUTES)) or ["their order"]
        raise MaskbenchError(f"the generator's attributes are not the table's ({', '.join(differing)}); mend either")
    return tuple(_cell(value) for value in attributes.values())


def _cell(value: Any) -> str:
    return " ".join(map(_cell, value)) if isinstance(value, list | tuple) else str(value)


# ---------------------------------------------------------------- a run under way


def row_to_json(row: PictureRow) -> str:
    """One line without line breaks; ``row_from_json`` reads it."""
    points = b64encode(np.ascontiguousarray(row.points, "<f4").tobytes()).decode()
    return json.dumps([row.path, row.sha256, row.cells, points])


def row_from_json(line: str | bytes) -> PictureRow:
    """The inverse of ``row_to_json``. Raises ValueError or TypeError if the line was cut short or is another's."""
    path, sha256, cells, points = json.loads(line)
    if len(cells) != len(ATTRIBUTES):
        raise ValueError(f"not {len(ATTRIBUTES)} attributes")
    found = np.frombuffer(b64decode(points, validate=True), "<f4").reshape(SHAPE)
    return PictureRow(path, sha256, tuple(cells), found.astype(np.float32))


class PeopleJournal(RowJournal[PictureRow]):
    """The pictures that a run has made; those of a finished one are in its table and its landmarks."""

    name = JOURNAL

    def finished(self, folder: Path) -> Iterable[str] | None:
        """The rows of the two files; None if the run was never finished, or either is not as it was written."""
        if not (folder / TABLE).is_file():
            return None
        try:
            return map(row_to_json, read_people(folder)) if _untouched(folder) else None
        except MaskbenchError:  # the pictures are drawn again, and both files with them
            return None

    def parse(self, line: bytes) -> PictureRow:
        """As ``row_to_json`` wrote it."""
        return row_from_json(line)

    def key(self, row: PictureRow) -> str:
        """The picture's path."""
        return row.path


# ---------------------------------------------------------------- a finished run


def write_people(folder: Path, paths: Sequence[str], get: Callable[[str], Any]) -> None:
    """Write ``landmarks.npz`` and then ``people.csv``, whose presence says that a run is finished.

    The comment of the landmarks' archive is the table's SHA-256: so a table that was changed later is noticed.

    Args:
        paths: of the pictures, in the order of both files.
        get: a path to its ``PictureRow``; one row is in memory at a time.
    """
    rows = ((row.path, row.sha256, *row.cells) for row in map(get, paths))
    table = csv_text(COLUMNS, rows).encode()
    with atomic_write(folder / POINTS) as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.comment = bytes_sha256(table).encode()
        with archive.open("paths.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array(paths), allow_pickle=False)
        with archive.open("points.npy", "w", force_zip64=True) as entry:
            description = {"descr": "<f4", "fortran_order": False, "shape": (len(paths), *SHAPE)}
            np.lib.format.write_array_header_1_0(entry, description)
            for path in paths:
                entry.write(np.ascontiguousarray(get(path).points, "<f4").tobytes())
    write_bytes(folder / TABLE, table)


def _untouched(folder: Path) -> bool:
    """Whether the table is the one that the landmarks were written with."""
    try:
        with zipfile.ZipFile(folder / POINTS) as archive:
            return archive.comment == file_sha256(folder / TABLE).encode()
    except UNREADABLE:
        return False


def read_people(folder: Path) -> Iterator[PictureRow]:
    """The pictures of a finished run, in the order of its table; all is checked before the first of them.

    Cells that somebody has changed since are read as they are; ``PeopleJournal`` takes none of them.

    Raises:
        MaskbenchError: the table or the landmarks are missing, malformed, or not of the same pictures.
    """
    names, columns = read_columns(folder / TABLE)
    if tuple(names) != COLUMNS:
        raise MaskbenchError(f"{folder / TABLE}:1: not the columns of a table of people; make it with maskbench people")
    paths, points = read_points(folder / POINTS)
    if paths != columns[0]:
        raise MaskbenchError(f"{folder / POINTS}: not of the pictures of {TABLE}; make both with maskbench people")
    for path in paths:
        inside(folder, path)
    lines = zip(zip(*columns, strict=True), points, strict=True)
    return (PictureRow(path, sha256, tuple(cells), face) for (path, sha256, *cells), face in lines)


def read_points(path: Path) -> tuple[list[str], np.ndarray]:
    """Paths, and landmarks (N, 468, 3) float32, of a ``landmarks.npz``. Raises MaskbenchError for another file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            paths, points = stored["paths"], stored["points"]
    except UNREADABLE as error:
        raise _not_landmarks(path, error) from error
    if points.dtype != np.float32 or paths.ndim != 1 or points.shape != (len(paths), *SHAPE):
        raise MaskbenchError(f"{path}: holds no (N, {MESH_POINTS}, 3) float32 points; make it with maskbench people")
    return paths.tolist(), points


def _not_landmarks(path: Path, error: Exception) -> MaskbenchError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return MaskbenchError(f"{path}: cannot be read ({reason}); make it with maskbench people")
