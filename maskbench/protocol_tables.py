"""The two tables of a protocol: parsing, cross-checks and the digest. Row i (from 0) is line i + 2 of its file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskbench import files
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.registry import nearest
from maskbench.tables import read_columns
from maskbench.types import PairTable, Sample

SAMPLE_COLUMNS = ("sample_id", "subject_id", "path", "sha256")
TEMPLATE_COLUMNS = ("template_id", "sample_id")
PAIR_COLUMNS = ("pair_id", "reference_id", "probe_id", "reference_condition", "probe_condition", "mated", "fold")

Templates = Mapping[str, Sequence[str]]  # template id to the ids of its samples

_CONDITIONS = {"unmasked": "unmasked", "masked": "masked"}
_BOOLEANS = {"true": True, "false": False}


# ---------------------------------------------------------------- parsing


def read_samples(path: Path) -> list[Sample]:
    """Read ``samples.csv`` in file order; columns after the fixed ones become attributes.

    Raises:
        ProtocolError: a column is missing, empty or there twice, or the CSV is malformed.
    """
    names, columns = read_columns(path, ProtocolError)
    fixed = len(SAMPLE_COLUMNS)
    if tuple(names[:fixed]) != SAMPLE_COLUMNS:
        raise ProtocolError(f"{path}:1: the first columns must be {','.join(SAMPLE_COLUMNS)}, found {','.join(names)}")
    if len(set(names)) != len(names) or not all(names):
        raise ProtocolError(f"{path}:1: a column name is empty or there twice; rename it")
    rows = zip(*columns, strict=True)
    return [Sample(*row[:fixed], dict(zip(names[fixed:], row[fixed:], strict=True))) for row in rows]


def read_pairs(path: Path) -> PairTable:
    """Read ``pairs.csv``, in file order, which is the order of scores.

    Raises:
        ProtocolError: a column is unknown or missing, or a condition, ``mated`` or ``fold`` does not parse.
    """
    names, columns = read_columns(path, ProtocolError)
    for name in names:
        if name not in PAIR_COLUMNS:
            raise ProtocolError(f"{path}:1: unknown column {name!r}; {nearest(name, PAIR_COLUMNS)}")
    if tuple(names) != PAIR_COLUMNS:
        raise ProtocolError(f"{path}:1: the columns must be {','.join(PAIR_COLUMNS)}, found {','.join(names)}")
    text = dict(zip(names, columns, strict=True))
    folds = {value: int(value) for value in set(text["fold"]) if re.fullmatch(r"[0-9]{1,9}", value)}
    text["mated"] = [value.lower() for value in text["mated"]]
    return PairTable(
        pair_id=np.array(text["pair_id"], dtype=str),
        reference_id=np.array(text["reference_id"], dtype=str),
        probe_id=np.array(text["probe_id"], dtype=str),
        reference_condition=np.array(_decode(text, "reference_condition", _CONDITIONS, path), dtype=str),
        probe_condition=np.array(_decode(text, "probe_condition", _CONDITIONS, path), dtype=str),
        mated=np.array(_decode(text, "mated", _BOOLEANS, path), dtype=bool),
        fold=np.array(_decode(text, "fold", folds, path, "a whole number, 0 for none"), dtype=np.int64),
    )


def read_templates(path: Path) -> dict[str, tuple[str, ...]]:
    """Read ``templates.csv``: the samples of every template, in file order.

    Raises:
        ProtocolError: other columns, an empty field, or a template whose rows do not follow each other.
    """
    names, columns = read_columns(path, ProtocolError)
    if tuple(names) != TEMPLATE_COLUMNS:
        raise ProtocolError(f"{path}:1: the columns must be {','.join(TEMPLATE_COLUMNS)}, found {','.join(names)}")
    templates: dict[str, list[str]] = {}
    for line, (template, sample) in enumerate(zip(*columns, strict=True), start=2):
        if not template or not sample:
            raise ProtocolError(f"{path}:{line}: template_id or sample_id is empty")
        if template in templates and template != next(reversed(templates)):
            raise ProtocolError(f"{path}:{line}: the rows of template {template!r} do not follow each other; sort them")
        templates.setdefault(template, []).append(sample)
    return {template: tuple(members) for template, members in templates.items()}


def _decode(
    text: Mapping[str, Sequence[str]], column: str, table: Mapping[str, Any], path: Path, wanted: str = ""
) -> list[Any]:
    decoded = [table.get(value) for value in text[column]]
    if None in decoded:
        first = decoded.index(None)
        value = text[column][first]
        raise ProtocolError(f"{path}:{first + 2}: {column} is {value!r}; write {wanted or ' or '.join(table)}")
    return decoded


# ---------------------------------------------------------------- checking


def check_samples(samples: Sequence[Sample], file: str) -> None:
    """Raise ProtocolError, with the line in ``file``, for bad ids, hashes or paths."""
    _check_unique([sample.sample_id for sample in samples], file, "sample_id")
    sha256 = re.compile(r"[0-9a-f]{64}")
    for line, sample in enumerate(samples, start=2):
        if not sample.sample_id or not sample.subject_id:
            raise ProtocolError(f"{file}:{line}: sample_id or subject_id is empty")
        if not sha256.fullmatch(sample.sha256):
            raise ProtocolError(f"{file}:{line}: sha256 is not 64 hexadecimal digits in lower case")
        try:
            files.inside(Path("the image folder"), sample.path)
        except MaskbenchError as error:
            raise ProtocolError(f"{file}:{line}: path {error}") from error


def check_templates(samples: Sequence[Sample], templates: Templates, file: str) -> dict[str, str]:
    """The subject of every template.

    Raises:
        ProtocolError: a template is empty, has the id of a sample, or has a sample that is unknown, there twice or
            of another person.
    """
    subject_of = {sample.sample_id: sample.subject_id for sample in samples}
    subjects: dict[str, str] = {}
    line = 2
    for template, members in templates.items():
        if not template or template in subject_of:
            raise ProtocolError(f"{file}:{line}: template_id {template!r} is empty or the id of a sample; rename it")
        if not members:
            raise ProtocolError(f"{file}:{line}: template {template!r} has no sample")
        for place, member in enumerate(members):
            if member not in subject_of:
                raise ProtocolError(f"{file}:{line + place}: sample_id {member!r} is not in samples.csv")
            if member in members[:place]:
                raise ProtocolError(f"{file}:{line + place}: sample {member!r} is in template {template!r} twice")
            if subject_of[member] != subject_of[members[0]]:
                people = f"{subject_of[members[0]]!r} and {subject_of[member]!r}"
                raise ProtocolError(f"{file}:{line + place}: template {template!r} mixes subjects {people}")
        subjects[template] = subject_of[members[0]]
        line += len(members)
    return subjects


def check_pairs(
    samples: Sequence[Sample], pairs: PairTable, file: str, templates: Mapping[str, str] | None = None
) -> None:
    """Raise ProtocolError, with the line in ``file``, for pairs that are malformed or contradict the samples.

    Args:
        templates: the subject of every template that a side of a pair may name instead of a sample.
    """
    named = {sample.sample_id: sample.subject_id for sample in samples} | dict(templates or {})
    if not len(pairs):
        raise ProtocolError(f"{file}:1: no pairs; add at least one")
    _check_unique(pairs.pair_id.tolist(), file, "pair_id")
    _fail_where(pairs.pair_id == "", file, lambda i: "pair_id is empty")
    _fail_where(pairs.fold < 0, file, lambda i: f"fold is {pairs.fold[i]}; write 0 for none")
    _check_conditions(pairs.reference_condition, "reference_condition", file)
    _check_conditions(pairs.probe_condition, "probe_condition", file)
    reference, probe = (_positions(named, pairs, column, file) for column in ("reference_id", "probe_id"))
    _fail_where(
        (reference == probe) & (pairs.reference_condition == pairs.probe_condition),
        file,
        lambda i: f"sample {str(pairs.reference_id[i])!r} is compared with itself under one condition",
    )
    owners = list(named.values())
    subjects = np.unique(owners, return_inverse=True)[1]
    _fail_where(
        (subjects[reference] == subjects[probe]) != pairs.mated,
        file,
        lambda i: f"mated is {_boolean(pairs.mated[i])}, but the subjects are "
        f"{owners[reference[i]]!r} and {owners[probe[i]]!r}",
    )


def _check_conditions(values: np.ndarray, column: str, file: str) -> None:
    known = list(_CONDITIONS)
    _fail_where(~np.isin(values, known), file, lambda i: f"{column} is {str(values[i])!r}; write {' or '.join(known)}")


def _positions(named: Mapping[str, str], pairs: PairTable, column: str, file: str) -> np.ndarray:
    """(M,) places in ``named`` of the ids in a column of ``pairs``."""
    position = {key: index for index, key in enumerate(named)}
    ids = getattr(pairs, column)
    found = np.array([position.get(key, -1) for key in ids.tolist()])
    _fail_where(found < 0, file, lambda i: f"{column} {str(ids[i])!r} is not in samples.csv")
    return found


def _check_unique(values: list[str], file: str, column: str) -> None:
    if len(set(values)) == len(values):
        return
    seen: dict[str, int] = {}
    for line, value in enumerate(values, start=2):
        if value in seen:
            raise ProtocolError(f"{file}:{line}: {column} {value!r} is already on line {seen[value]}")
        seen[value] = line


def _fail_where(bad: np.ndarray, file: str, message: Callable[[int], str]) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise ProtocolError(f"{file}:{first + 2}: {message(first)}")


# ---------------------------------------------------------------- columns of text and their digest


def sample_columns(samples: Sequence[Sample]) -> dict[str, list[str]]:
    """The columns of ``samples.csv`` by name, attributes last in the order of their names."""
    columns = {name: [getattr(sample, name) for sample in samples] for name in SAMPLE_COLUMNS}
    for name in sorted({key for sample in samples for key in sample.attributes}):
        columns[name] = [sample.attributes.get(name, "") for sample in samples]
    return columns


def pair_columns(pairs: PairTable) -> dict[str, list[str]]:
    """The columns of ``pairs.csv`` by name."""
    columns = {name: getattr(pairs, name).tolist() for name in PAIR_COLUMNS}
    columns["mated"] = [_boolean(value) for value in columns["mated"]]
    columns["fold"] = [str(value) for value in columns["fold"]]
    return columns


def template_columns(templates: Templates) -> dict[str, list[str]]:
    """The columns of ``templates.csv`` by name; templates sorted, their samples in order."""
    rows = [(template, sample) for template in sorted(templates) for sample in templates[template]]
    return {name: [row[index] for row in rows] for index, name in enumerate(TEMPLATE_COLUMNS)}


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def tables_sha256(
    header: Sequence[Any], samples: Sequence[Sample], pairs: PairTable, templates: Templates | None = None
) -> str:
    """SHA-256 over the header fields that change a result and over every column of the tables, as lines of UTF-8.

    ``samples`` must be sorted by id; the order of the pairs counts. A protocol without templates has no third table.

    Raises:
        ProtocolError: a value holds a line break or a NUL, or is not UTF-8, so that no CSV line could hold it.
    """
    digest = hashlib.sha256(json.dumps(list(header)).encode())
    tables = [sample_columns(samples), pair_columns(pairs), *([template_columns(templates)] if templates else [])]
    for table in tables:
        for name, values in table.items():
            text = "\n".join(values)
            if text.count("\n") >= max(len(values), 1) or "\r" in text or "\0" in text:
                bad = next(value for value in values if set(value) & set("\n\r\0"))
                raise ProtocolError(f"{bad!r} (column {name}) holds a line break or a NUL; rename it")
            try:
                digest.update(f"\n{name}\n{len(values)}\n{text}\n".encode())
            except UnicodeEncodeError as error:
                value = text[: error.end].rpartition("\n")[2]
                raise ProtocolError(f"column {name}: {value!r} is not UTF-8; rename the file") from error
    return digest.hexdigest()
