"""Pair lists of others, and the user's own CSV, as the tables of a protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskbench.datasets.lfw import image_name
from maskbench.errors import ProtocolError
from maskbench.protocol_draft import SIDES, THREE, Draft, Row, label_of, row_table, sample_at
from maskbench.protocol_subjects import chains, contradiction
from maskbench.registry import nearest
from maskbench.tables import read_columns, read_text

REQUIRED = ("reference_path", "probe_path", "mated")
OPTIONAL = ("pair_id", "fold", "reference_subject", "probe_subject", "reference_condition", "probe_condition")
SPELLINGS = (("true", "false"), ("1", "0"))
MFR2_PAIRS, MFR2_LABELS, BARE = "pairs.txt", "mfr2_labels.txt", "no-mask"
SUFFIXES = ("png", "jpg", "jpeg")


@dataclass(frozen=True)
class Listed:
    """One line of a pair list. ``subjects`` and ``condition`` are empty where the list does not give them; ``whole``
    says that ``name`` is the pair's id as it stands."""

    line: int
    reference: str
    probe: str
    mated: bool
    name: str
    fold: int = 0
    subjects: tuple[str, str] = ("", "")
    condition: str = ""
    whole: bool = False


def listed_draft(
    faces: Path, file: Path, pairs: Sequence[Listed], conditions: Sequence[str],
    attributes: Mapping[str, Mapping[str, str]] | None = None, keep_repeats: bool = False,
) -> Draft:  # fmt: skip
    """The tables of a pair list: each pair under its own condition, or under each of ``conditions``.

    Args:
        keep_repeats: keep a comparison that is there twice, since a published list is what it is; say so in a note.

    Raises:
        ProtocolError: "FILE:LINE: ..." for a picture that meets itself, a comparison that is there twice, a picture of
            two subjects, a label that the subjects contradict, and pictures that are missing.
    """
    if not pairs:
        raise ProtocolError(f"{file}:1: no pairs; add at least one")
    repeats = _repeats(file, pairs, conditions)
    if repeats and not keep_repeats:
        line, before = repeats[0]
        raise ProtocolError(f"{file}:{line}: the comparison is already on line {before}; remove one")
    subjects, notes = _subjects(file, pairs)
    if repeats:
        notes += (f"{len(repeats)} comparisons are in the list again, the first on line {repeats[0][0]}; kept",)
    _refuse_missing(faces, file, pairs)
    rows: list[Row] = []
    for label in dict.fromkeys(pair.condition for pair in pairs) if pairs[0].condition else conditions:
        of_it = [pair for pair in pairs if pair.condition in ("", label)]
        rows += [(_id(p, label), label, p.reference, p.probe, p.mated, p.fold) for p in of_it]
    samples = [sample_at(faces, path, subjects[path], (attributes or {}).get(path)) for path in sorted(subjects)]
    return Draft(samples, row_table(rows), notes=notes)


def _id(pair: Listed, label: str) -> str:
    return pair.name if pair.whole else f"{label}/{pair.name}"


def _repeats(file: Path, pairs: Sequence[Listed], conditions: Sequence[str]) -> list[tuple[int, int]]:
    """(line, line of the first) of every comparison that is there again; between like sides the order is no matter."""
    first: dict[tuple, int] = {}
    again = []
    for pair in pairs:
        for label in (pair.condition,) if pair.condition else conditions:
            alike = SIDES[label][0] == SIDES[label][1]
            if alike and pair.reference == pair.probe:
                raise ProtocolError(f"{file}:{pair.line}: {pair.probe} is compared with itself under {label}")
            sides = tuple(sorted((pair.reference, pair.probe))) if alike else (pair.reference, pair.probe)
            line = first.setdefault((label, *sides), pair.line)
            again += [(pair.line, line)] * (line != pair.line)
    return list(dict.fromkeys(again))


def _subjects(file: Path, pairs: Sequence[Listed]) -> tuple[dict[str, str], tuple[str, ...]]:
    links = [(pair.reference, pair.probe, pair.mated) for pair in pairs]
    notes: tuple[str, ...] = ()
    if any(pair.subjects[0] for pair in pairs):
        subjects: dict[str, str] = {}
        for pair in pairs:
            for path, subject in zip((pair.reference, pair.probe), pair.subjects, strict=True):
                if subjects.setdefault(path, subject) != subject:
                    raise ProtocolError(
                        f"{file}:{pair.line}: {path} is of {subject!r}, above it is of {subjects[path]!r}"
                    )
    else:
        subjects = chains(links)
        notes = (f"subjects follow from the mated pairs: {len(set(subjects.values()))}, an upper bound on the people",)
    if (bad := contradiction(links, subjects)) is not None:
        pair = pairs[bad]
        says = "mated" if pair.mated else "non-mated"
        why = f"the subjects are {subjects[pair.reference]!r} and {subjects[pair.probe]!r}"
        raise ProtocolError(f"{file}:{pair.line}: the pair is {says}, but {why}")
    return subjects, notes


def _refuse_missing(faces: Path, file: Path, pairs: Sequence[Listed]) -> None:
    wanted = {path: pair.line for pair in reversed(pairs) for path in (pair.probe, pair.reference)}
    missing = {path: line for path, line in wanted.items() if not (Path(faces) / path).is_file()}
    if missing:
        first = min(missing, key=missing.__getitem__)
        raise ProtocolError(
            f"{file}:{missing[first]}: {len(missing)} of {len(wanted)} pictures are not in {faces}, first {first}; "
            "give the folder that the paths of the list are below"
        )


# ---------------------------------------------------------------- the user's own CSV


def read_custom(path: Path) -> list[Listed]:
    """Read a CSV of pairs: ``reference_path,probe_path,mated`` and any of ``pair_id``, ``fold``, ``reference_subject``
    and ``probe_subject``, ``reference_condition`` and ``probe_condition``, in any order.

    Raises:
        ProtocolError: "FILE:LINE: ..." for unknown, repeated or missing columns, an empty side, values that do not
            parse, and columns that mix kinds of values.
    """
    names, columns = read_columns(Path(path), ProtocolError)
    _check_columns(path, names)
    table = dict(zip(names, columns, strict=True))
    length = len(columns[0])
    for key in ("reference_path", "probe_path"):
        _refuse_where(path, [not value for value in table[key]], f"{key} is empty: a side is missing")
    mated, folds = _mated(path, table["mated"]), _folds(path, table.get("fold", []))
    ids = table.get("pair_id", [f"{index:06d}" for index in range(1, length + 1)])
    _refuse_where(path, [not value for value in ids], "pair_id is empty")
    _refuse_twice(path, ids)
    subjects = _sides(path, table, "subject", length)
    states = _sides(path, table, "condition", length)
    for side in (0, 1):
        unknown = [bool(state[side]) and state[side] not in ("unmasked", "masked") for state in states]
        _refuse_where(path, unknown, f"{('reference', 'probe')[side]}_condition must be unmasked or masked")
    return [
        Listed(index + 2, table["reference_path"][index], table["probe_path"][index], mated[index], ids[index],
               folds[index] if folds else 0, subjects[index], label_of(*states[index]) if states[index][0] else "",
               "pair_id" in table and bool(states[index][0]))
        for index in range(length)
    ]  # fmt: skip


def _check_columns(path: Path, names: Sequence[str]) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for name in names:
        if name not in known:
            raise ProtocolError(f"{path}:1: unknown column {name!r}; {nearest(name, known)}")
        if names.count(name) > 1:
            raise ProtocolError(f"{path}:1: column {name!r} is there twice")
    for name in REQUIRED:
        if name not in names:
            raise ProtocolError(f"{path}:1: column {name!r} is missing; needed: {', '.join(REQUIRED)}")
    for kind in ("subject", "condition"):
        if (f"reference_{kind}" in names) != (f"probe_{kind}" in names):
            raise ProtocolError(f"{path}:1: reference_{kind} and probe_{kind} must both be there, or neither")


def _mated(path: Path, values: Sequence[str]) -> list[bool]:
    lowered = [value.lower() for value in values]
    spelling = next((pair for pair in SPELLINGS if lowered and lowered[0] in pair), SPELLINGS[0])
    bad = [value not in spelling for value in lowered]
    _refuse_where(path, bad, f"mated must be {' or '.join(spelling)}, in one spelling throughout", values)
    return [value == spelling[0] for value in lowered]


def _folds(path: Path, values: Sequence[str]) -> list[int]:
    bad = [not re.fullmatch(r"[0-9]{1,9}", value) for value in values]
    _refuse_where(path, bad, "fold must be a whole number in every line, 0 for none", values)
    return [int(value) for value in values]


def _sides(path: Path, table: Mapping[str, Sequence[str]], kind: str, length: int) -> list[tuple[str, str]]:
    if f"reference_{kind}" not in table:
        return [("", "")] * length
    sides = list(zip(table[f"reference_{kind}"], table[f"probe_{kind}"], strict=True))
    _refuse_where(path, [not all(pair) for pair in sides], f"reference_{kind} or probe_{kind} is empty")
    return sides


def _refuse_where(path: Path, bad: Sequence[bool], message: str, values: Sequence[str] = ()) -> None:
    if any(bad):
        index = list(bad).index(True)
        raise ProtocolError(f"{path}:{index + 2}: {message}" + (f"; found {values[index]!r}" if values else ""))


def _refuse_twice(path: Path, ids: Sequence[str]) -> None:
    lines: dict[str, int] = {}
    for line, value in enumerate(ids, start=2):
        if lines.setdefault(value, line) != line:
            raise ProtocolError(f"{path}:{line}: pair_id {value!r} is already on line {lines[value]}")


# ---------------------------------------------------------------- MLFW: "a.jpg b.jpg 1"


def read_labelled(path: Path, folds: int = 10) -> list[Listed]:
    """Read lines of two picture names and 1 (mated) or 0, separated by tabs or spaces; ``folds`` equal parts in order.

    Raises:
        ProtocolError: "FILE:LINE: ..." for any other line, or a number of lines that the folds do not divide.
    """
    lines = read_text(Path(path), ProtocolError).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or len(lines) % folds:
        raise ProtocolError(f"{path}:{max(1, len(lines))}: {len(lines)} pairs are no {folds} equal folds")
    found = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in ("0", "1"):
            raise ProtocolError(f"{path}:{number}: expected two picture names and 0 or 1, found {line.strip()[:60]!r}")
        fold = (number - 1) * folds // len(lines) + 1
        found.append(Listed(number, fields[0], fields[1], fields[2] == "1", f"{number:05d}", fold))
    return found


# ---------------------------------------------------------------- MFR2: real masks, told by a list of labels


def mfr2_draft(faces: Path) -> Draft:
    """MFR2 as it is unpacked: ``Name/Name_0001.png``, ``pairs.txt`` (name, number, number; or name, number, name,
    number; one blank between) and ``mfr2_labels.txt`` (name, number, mask; "no-mask" for none).

    A comparison's condition follows from the labels of its two pictures; the kind of mask is the attribute ``mask``.

    Raises:
        ProtocolError: "FILE:LINE: ..." for malformed lines, pictures without label, and as ``listed_draft``.
    """
    faces = Path(faces)
    worn = _mfr2_labels(faces / MFR2_LABELS)
    file = faces / MFR2_PAIRS
    pairs, attributes = [], {}
    for number, line in enumerate(read_text(file, ProtocolError).rstrip().split("\n"), start=1):
        fields = line.split()
        if len(fields) not in (3, 4) or not fields[1].isdigit() or not fields[-1].isdigit():
            raise ProtocolError(f"{file}:{number}: expected 'name 1 2' or 'name 1 other 2', found {line[:60]!r}")
        sides = [(fields[0], int(fields[1])), (fields[-2] if len(fields) == 4 else fields[0], int(fields[-1]))]
        for side in sides:
            if side not in worn:
                raise ProtocolError(f"{file}:{number}: picture {side[1]} of {side[0]!r} is not in {MFR2_LABELS}")
        paths = [_mfr2_path(faces, *side) for side in sides]
        attributes |= {path: {"mask": worn[side]} for path, side in zip(paths, sides, strict=True)}
        states = ["unmasked" if worn[side] == BARE else "masked" for side in sides]
        pairs.append(Listed(number, *paths, len(fields) == 3, f"{number:04d}", 0, (sides[0][0], sides[1][0]),
                            label_of(*states)))  # fmt: skip
    return listed_draft(faces, file, pairs, THREE, attributes, keep_repeats=True)


def _mfr2_labels(path: Path) -> dict[tuple[str, int], str]:
    labels: dict[tuple[str, int], str] = {}
    for number, line in enumerate(read_text(path, ProtocolError).rstrip().split("\n"), start=1):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3 or not fields[1].isdigit() or not all(fields):
            raise ProtocolError(f"{path}:{number}: expected 'name, number, mask', found {line.strip()[:60]!r}")
        labels[fields[0], int(fields[1])] = fields[2]
    return labels


def _mfr2_path(faces: Path, name: str, number: int) -> str:
    paths = [f"{name}/{image_name(name, number)}.{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if (faces / path).is_file()), paths[0])
