"""Score files of other tools as one kind of table. Which format a file has is told from its content.

Sources of the formats: bob.bio.base's four- and five-column score files; the input files of pyeer's ``geteerinf`` (any
number of columns, the score in the last); the log that NIST's FRVT 1:1 validation driver writes; the output of NIST's
``bozorth3 -A outfmt=spg``. docs/scores.md shows an example of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.score_formats_arrays import npz_arrays, parquet_arrays
from maskbench.score_formats_text import Lines, csv_blocks, csv_header, head, word_blocks
from maskbench.score_formats_values import (
    Labels,
    Names,
    Place,
    check_columns,
    completed,
    conditions,
    folds,
    numbers,
    statuses,
)
from maskbench.types import Status

FORMATS = ("csv", "npz", "parquet", "bob4", "bob5", "pyeer", "nist")
COLUMNS = (
    "pair_id", "score", "mated", "label", "status", "reference_subject", "probe_subject", "reference_id", "probe_id",
    "condition", "fold",
)  # fmt: skip
NIST_HEADER = ("enrollTempl", "verifTempl", "simScore", "returnCode")
_SLICE = 1 << 20  # rows of an array that are handled as text at a time


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What score files say. Columns have one length M; those that a file does not have are None.

    Attributes:
        format: one of ``FORMATS``.
        said: what was read, in words.
        place: a row (from 0) to "FILE:LINE".
        scores: (M,) floats, NaN exactly where the status is not OK; larger is whatever the file means by it.
        status: (M,) int8 ``Status``.
        mated: (M,) bool.
        pair_id: (M,) str.
        subjects: (M,) int32 each for reference and probe, equal numbers for equal subjects; names in ``subject_names``.
        samples: the same for the samples, named in ``sample_names``.
        condition: (M,) int8 positions in ``metrics.conditions.LABELS``.
        fold: (M,) int64, 0 for none.
        protocol_digest, recognizer_digest: of a file that maskbench wrote, else "".
    """

    format: str
    said: str
    place: Place
    scores: np.ndarray
    status: np.ndarray
    mated: np.ndarray | None = None
    pair_id: np.ndarray | None = None
    subjects: tuple[np.ndarray, np.ndarray] | None = None
    subject_names: np.ndarray | None = None
    samples: tuple[np.ndarray, np.ndarray] | None = None
    sample_names: np.ndarray | None = None
    condition: np.ndarray | None = None
    fold: np.ndarray | None = None
    protocol_digest: str = ""
    recognizer_digest: str = ""

    def __len__(self) -> int:
        return len(self.scores)


def read_table(paths: Sequence[Path], kind: str = "auto") -> ScoreTable:
    """Read score files.

    Args:
        paths: one file, or two for pyeer: the genuine scores, then the impostor scores.
        kind: "auto" or one of ``FORMATS``.

    Raises:
        MaskbenchError: "FILE:LINE: ..." for anything that is malformed, and for a format that cannot be told.
    """
    if kind != "auto" and kind not in FORMATS:
        raise MaskbenchError(f'no score format "{kind}"; {nearest(kind, ("auto", *FORMATS))}')
    paths = [Path(path) for path in paths]
    for path in paths:
        if path.is_dir():
            raise MaskbenchError(f"{path}: is a folder; give a score file, such as {path / 'scores.npz'}")
    kind = sniff(paths) if kind == "auto" else kind
    if len(paths) != (2 if kind == "pyeer" else 1):
        wanted = "two files, the genuine scores and then the impostor scores" if kind == "pyeer" else "one file"
        raise MaskbenchError(f"{paths[-1] if paths else 'no file'}: format {kind} takes {wanted}; found {len(paths)}")
    table = _READERS[kind](paths)
    if not len(table):
        raise MaskbenchError(f"{paths[0]}: holds no scores")
    return table


def sniff(paths: Sequence[Path]) -> str:
    """The format of score files, from their content. Raises MaskbenchError where it is ambiguous or unknown."""
    if len(paths) == 2:
        return "pyeer"
    path = paths[0]
    try:
        with open(path, "rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start == b"PAR1" or start[:2] == b"PK":
        return "parquet" if start == b"PAR1" else "npz"
    rows = head(path)
    if not rows:
        raise MaskbenchError(f"{path}:1: holds no scores")
    if "," in rows[0][1]:
        return "csv"
    if tuple(rows[0][1].split()) == NIST_HEADER:
        return "nist"
    return _by_width(path, rows)


def _by_width(path: Path, rows: Sequence[tuple[int, str]]) -> str:
    words = [row.split() for _, row in rows]
    width = len(words[0])
    if width == 5:
        return "bob5"
    if width == 3:
        return "nist"
    if width == 4:
        third, fourth = (all(_is_number(row[column]) for row in words if len(row) == 4) for column in (2, 3))
        codes = all(row[3].isdigit() for row in words if len(row) == 4)
        if not third:
            return "bob4"
        if fourth and not codes:
            return "bob4"
        raise MaskbenchError(f"{path}:{rows[0][0]}: bob's four columns or NIST's? give --format bob4 or --format nist")
    if ";" in " ".join(words[0]):
        raise MaskbenchError(f"{path}:{rows[0][0]}: columns parted by semicolons; save it with commas")
    if width == 1 or all(_is_number(row[-1]) for row in words):
        raise MaskbenchError(f"{path}:{rows[0][0]}: one file of bare scores; for pyeer give two, genuine then impostor")
    raise MaskbenchError(f"{path}:{rows[0][0]}: no known score format; give --format, one of {', '.join(FORMATS)}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- CSV and arrays: columns with names


class _Columns:
    """Gathers named columns block by block."""

    def __init__(self, names: Sequence[str], where: str) -> None:
        check_columns(names, COLUMNS, where)
        if "score" not in names:
            raise MaskbenchError(f"{where}: no column named score; {nearest('score', names)}")
        if {"mated", "label"} <= set(names):
            raise MaskbenchError(f"{where}: both mated and label; keep one")
        self.parts: dict[str, list[np.ndarray]] = {}
        self.labels, self.subjects, self.ids = Labels(), Names(), Names()
        self.parsers: dict[str, Callable[[Sequence[str], Place], np.ndarray]] = {
            "score": numbers, "pair_id": _pair_ids, "mated": self.labels, "label": self.labels, "status": statuses,
            "condition": conditions, "fold": folds,
        }  # fmt: skip
        for side in ("reference", "probe"):
            self.parsers[f"{side}_subject"] = _namer(self.subjects, f"{side}_subject")
            self.parsers[f"{side}_id"] = _namer(self.ids, f"{side}_id")

    def add(self, name: str, values: Sequence[str], place: Place) -> None:
        self.parts.setdefault(name, []).append(self.parsers[name](values, place))

    def put(self, name: str, array: np.ndarray) -> None:
        self.parts[name] = [array]

    def take(self, name: str) -> np.ndarray | None:
        parts = self.parts.pop(name, None)  # popped, so that a column is not held twice
        return None if parts is None else parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _sides(self, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
        found = self.take(f"reference_{kind}"), self.take(f"probe_{kind}")
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    def table(self, kind: str, said: str, place: Place, digests: Mapping[str, str]) -> ScoreTable:
        scores, given = self.take("score"), self.take("status")
        scores = np.empty(0) if scores is None else scores
        if given is not None:
            given = np.where(given >= 0, given, np.where(np.isnan(scores), Status.FAILED, Status.OK))
        scores, status = completed(scores, given, place)
        mated = self.take("mated")
        return ScoreTable(
            format=kind, said=f"{len(scores):,} comparisons from {said}", place=place, scores=scores, status=status,
            mated=self.take("label") if mated is None else mated, pair_id=self.take("pair_id"),
            subjects=self._sides("subject"), subject_names=self.subjects.names(),
            samples=self._sides("id"), sample_names=self.ids.names(),
            condition=self.take("condition"), fold=self.take("fold"), **digests,
        )  # fmt: skip


def _namer(names: Names, column: str) -> Callable[[Sequence[str], Place], np.ndarray]:
    return lambda values, place: names(values, place, column)


def _pair_ids(values: Sequence[str], place: Place) -> np.ndarray:
    if "" in values:
        raise MaskbenchError(f"{place(list(values).index(''))}: pair_id is empty")
    return np.array(values, dtype=str)


def _read_csv(paths: Sequence[Path]) -> ScoreTable:
    path, lines = paths[0], Lines()
    names = csv_header(path)
    columns = _Columns(names, f"{path}:1")
    for block in csv_blocks(path, len(names)):
        before = lines.rows
        lines.add(path, block.lines)
        for name, values in zip(names, block.columns, strict=True):
            columns.add(name, values, _shifted(lines, before))
    return columns.table("csv", f"{path} (CSV)", lines, {})


def _shifted(place: Place, by: int) -> Place:
    return lambda row: place(row + by)


def _read_npz(paths: Sequence[Path]) -> ScoreTable:
    arrays, digests = npz_arrays(paths[0])
    return _from_arrays("npz", paths[0], arrays, digests)


def _read_parquet(paths: Sequence[Path]) -> ScoreTable:
    return _from_arrays("parquet", paths[0], parquet_arrays(paths[0]), {})


def _from_arrays(kind: str, path: Path, arrays: Mapping[str, np.ndarray], digests: Mapping[str, str]) -> ScoreTable:
    def place(row: int) -> str:
        return f"{path}:row {row + 1}"

    columns = _Columns(list(arrays), str(path))
    for name, array in arrays.items():
        if name == "score" and array.dtype.kind in "iuf":
            columns.put(name, array if array.dtype in (np.float32, np.float64) else array.astype(np.float64))
        elif name in ("mated", "label") and array.dtype.kind == "b":
            columns.put(name, array)
        elif name == "pair_id" and array.dtype.kind == "U" and (array != "").all():
            columns.put(name, array)
        else:
            for start in range(0, len(array), _SLICE):
                values = [str(value) for value in array[start : start + _SLICE].tolist()]
                columns.add(name, values, _shifted(place, start))
    return columns.table(kind, f"{path} ({kind})", place, digests)


# ---------------------------------------------------------------- columns parted by spaces


def _read_bob(paths: Sequence[Path], width: int) -> ScoreTable:
    """Claimed identity, [model label,] real identity, test label, score. Mated: the two identities are equal."""
    path, lines, columns = paths[0], Lines(), _Columns(COLUMNS[1:2], "bob")
    names = ["reference_subject", "probe_subject", "", "score"] if width == 4 else [
        "reference_subject", "reference_id", "probe_subject", "probe_id", "score"
    ]  # fmt: skip
    for block in word_blocks(path, (width,)):
        before = lines.rows
        lines.add(path, block.lines)
        for name, values in zip(names, block.columns, strict=True):
            if name:
                columns.add(name, values, _shifted(lines, before))
    table = columns.table(f"bob{width}", f"{path} (bob, {width} columns)", lines, {})
    return _with_mated(table)


def _with_mated(table: ScoreTable) -> ScoreTable:
    from dataclasses import replace

    return table if table.subjects is None else replace(table, mated=table.subjects[0] == table.subjects[1])


def _read_pyeer(paths: Sequence[Path]) -> ScoreTable:
    """Two files, genuine scores and impostor scores: one score a line, in the last column."""
    lines, columns, counts = Lines(), _Columns(COLUMNS[1:3], "pyeer"), [0, 0]
    for number, path in enumerate(paths):
        for block in word_blocks(path):
            before = lines.rows
            lines.add(path, block.lines)
            columns.add("score", block.columns[-1], _shifted(lines, before))
            columns.parts.setdefault("mated", []).append(np.full(len(block.lines), number == 0))
            counts[number] += len(block.lines)
        if not counts[number]:
            raise MaskbenchError(f"{path}:1: holds no scores; give the genuine scores and the impostor scores")
    said = f"{counts[0]:,} genuine in {paths[0]}, {counts[1]:,} impostor in {paths[1]} (pyeer)"
    return columns.table("pyeer", said, lines, {})


def _read_nist(paths: Sequence[Path]) -> ScoreTable:
    """FRVT's log (enrolled, verified, score, return code), or a list without codes; bozorth3's puts the score first."""
    path, lines, columns = paths[0], Lines(), _Columns(COLUMNS[1:2], "nist")
    names: list[str] = []
    for block in word_blocks(path, (3, 4)):
        rows = [list(column) for column in block.columns]
        numbered = block.lines
        if not names:
            if tuple(column[0] for column in rows) in (NIST_HEADER, NIST_HEADER[:3]):
                rows, numbered = [column[1:] for column in rows], numbered[1:]
            names = _nist_columns(rows)
        before = lines.rows
        lines.add(path, numbered)
        place = _shifted(lines, before)
        for name, values in zip(names, rows, strict=True):
            if name == "code":
                columns.parts.setdefault("status", []).append(_codes(values, place))
            else:
                ids = [value.removesuffix(".template") for value in values] if name.endswith("_id") else values
                columns.add(name, ids, place)
    return columns.table("nist", f"{path} (NIST)", lines, {})


def _nist_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    first = [column[0] for column in rows if column]
    if len(first) == 3 and _is_number(first[0]) and not _is_number(first[2]):
        return ["score", "probe_id", "reference_id"]  # bozorth3 -A outfmt=spg: score, probe, gallery
    return ["reference_id", "probe_id", "score", "code"][: len(rows)]


def _codes(values: Sequence[str], place: Place) -> np.ndarray:
    """Return codes to status: 0 is success, all others are failures of the software."""
    known = {value: value.isascii() and value.removeprefix("-").isdigit() for value in set(values)}
    if not all(known.values()):
        row = next(row for row, value in enumerate(values) if not known[value])
        raise MaskbenchError(f"{place(row)}: return code is {values[row]!r}; expected a whole number, 0 for success")
    return np.array([Status.FAILED if int(value) else Status.OK for value in values], dtype=np.int8)


_READERS: dict[str, Callable[[Sequence[Path]], ScoreTable]] = {
    "csv": _read_csv,
    "npz": _read_npz,
    "parquet": _read_parquet,
    "bob4": lambda paths: _read_bob(paths, 4),
    "bob5": lambda paths: _read_bob(paths, 5),
    "pyeer": _read_pyeer,
    "nist": _read_nist,
}
