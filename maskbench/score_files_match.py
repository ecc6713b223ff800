"""From a score table to comparisons: against the pairs of a protocol, or standing on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from maskbench.digest import array_sha256, config_sha256
from maskbench.errors import MaskbenchError
from maskbench.metrics.conditions import LABELS, condition_labels, pair_subjects
from maskbench.score_formats_read import ScoreTable
from maskbench.types import PairTable, Protocol, Status

_SIDES = {label: tuple("masked" if s[0] == "M" else "unmasked" for s in label.split("-")) for label in LABELS}
_SLICE = 1 << 20


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Scores with all that is known of what was compared.

    Attributes:
        name, digest: of the protocol, or of the comparisons where there is none.
        threshold_from: the condition that transferred thresholds are fixed on.
        pairs: labels and conditions; the ids of the samples are empty where they are not known.
        label: (M,) str, the condition of each comparison, such as "UMR-MP".
        scores, status: (M,), NaN exactly where the status is not OK.
        subjects: (M, 2) int32, a number for each person, of reference and probe, or None.
        keys: (M,) integers for reference and for probe, equal for one sample under one condition, or None; the sample
            id (or template id) of key k is ``key_names[k // 2]`` and it is masked if k is odd.
        templates: of the protocol: template id to the ids of its samples.
    """

    name: str
    version: int
    digest: str
    threshold_from: str
    pairs: PairTable
    label: np.ndarray
    scores: np.ndarray
    status: np.ndarray
    subjects: np.ndarray | None
    keys: tuple[np.ndarray, np.ndarray] | None
    key_names: np.ndarray | None
    templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# ---------------------------------------------------------------- with a protocol


def on_protocol(
    table: ScoreTable, protocol: Protocol, chosen: Sequence[str] = (), missing_as_failed: bool = False
) -> Comparisons:
    """Put scores in the order of a protocol's pairs.

    Rows are matched by ``pair_id``, or by the ids of their samples where a pair of samples occurs once. What the
    table says of a pair (mated, condition, fold) must be what the protocol says.

    Args:
        chosen: the only conditions that the table holds; none means all. Pairs of the others are NOT_RUN.
        missing_as_failed: a pair without a row is a failed comparison, not an error.

    Raises:
        MaskbenchError: a digest of another protocol, an unknown, duplicate or missing pair, or a contradiction.
    """
    if table.protocol_digest and table.protocol_digest != protocol.digest:
        raise MaskbenchError(
            f'{_file(table)}: scores of another protocol (digest {table.protocol_digest[:16]}, "{protocol.name}" has '
            f"{protocol.digest[:16]}); give the protocol that they were made with"
        )
    label = condition_labels(protocol.pairs)
    wanted = np.isin(label, list(_known(chosen, label))) if chosen else np.ones(len(label), bool)
    place = _places(table, protocol, label, wanted)
    row = np.full(len(label), -1, dtype=np.int64)
    row[place[::-1]] = np.arange(len(table))[::-1]
    _once(table, place, row)
    found = row >= 0
    missing = wanted & ~found
    if missing.any() and not missing_as_failed:
        first = int(missing.argmax())
        raise MaskbenchError(
            f"{_file(table)}: {int(missing.sum())} pairs of {protocol.name!r} have no score, first "
            f"{str(protocol.pairs.pair_id[first])!r} ({label[first]}); score them, or give --condition or "
            "--missing-as-failed"
        )
    _agree(table, protocol, place, label)
    scores = np.full(len(label), np.nan, dtype=table.scores.dtype)
    scores[found] = table.scores[row[found]]
    status = np.where(wanted, Status.FAILED, Status.NOT_RUN).astype(np.int8)
    status[found] = table.status[row[found]]
    return _of_protocol(protocol, label, scores, status)


def _of_protocol(protocol: Protocol, label: np.ndarray, scores: np.ndarray, status: np.ndarray) -> Comparisons:
    names, pairs = _compared_ids(protocol), protocol.pairs
    position = {name: index for index, name in enumerate(names)}
    sides = pairs.reference_id, pairs.probe_id
    reference, probe = (np.array([position[key] for key in ids.tolist()]) for ids in sides)
    return Comparisons(
        name=protocol.name, version=protocol.version, digest=protocol.digest, threshold_from=protocol.threshold_from,
        pairs=pairs, label=label, scores=scores, status=status, subjects=pair_subjects(protocol),
        keys=(_key(reference, pairs.reference_condition), _key(probe, pairs.probe_condition)),
        key_names=np.array(names, dtype=str), templates=protocol.templates,
    )  # fmt: skip


def _compared_ids(protocol: Protocol) -> list[str]:
    """What a side of a pair may name: samples, and templates of several samples."""
    return [*protocol.samples, *protocol.templates]


def _key(sample: np.ndarray, condition: np.ndarray) -> np.ndarray:
    return 2 * sample.astype(np.int64) + (condition == "masked")


def _known(chosen: Sequence[str], label: np.ndarray) -> set[str]:
    present = set(np.unique(label).tolist())
    for name in chosen:
        if name not in present:
            raise MaskbenchError(f'the protocol has no condition "{name}"; it has {", ".join(sorted(present))}')
    return set(chosen)


def _places(table: ScoreTable, protocol: Protocol, label: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) the pair of each row of the table."""
    import pandas as pd

    if table.pair_id is not None:
        index = pd.Index(protocol.pairs.pair_id.astype(object))
        parts = (table.pair_id[start : start + _SLICE] for start in range(0, len(table), _SLICE))
        place = np.concatenate([index.get_indexer(part.astype(object)) for part in parts])
        names = table.pair_id
    elif table.samples is not None and table.sample_names is not None:
        place, names = _by_samples(table, protocol, wanted, label)
    else:
        raise MaskbenchError(
            f"{_file(table)}: has neither pair_id nor the ids of both samples, so no row can be found in protocol "
            f'"{protocol.name}"; add pair_id, or score without --protocol'
        )
    unknown = place < 0
    if unknown.any():
        row = int(unknown.argmax())
        raise MaskbenchError(f"{table.place(row)}: {str(names[row])!r} is no pair of protocol {protocol.name!r}")
    outside = ~wanted[place] & (table.status != Status.NOT_RUN)
    if outside.any():
        row = int(outside.argmax())
        raise MaskbenchError(f"{table.place(row)}: pair of {label[place[row]]}, which --condition leaves out")
    return place


def _by_samples(
    table: ScoreTable, protocol: Protocol, wanted: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pair of each row by its samples and, where the table says it, by its condition; and the rows' names."""
    import pandas as pd

    pairs, chosen = protocol.pairs, np.flatnonzero(wanted)
    number = {name: index for index, name in enumerate(_compared_ids(protocol))}
    count = len(number) + 1
    first, second = (
        np.array([number[name] for name in ids[chosen].tolist()]) for ids in (pairs.reference_id, pairs.probe_id)
    )
    condition = 0 if table.condition is None else np.searchsorted(sorted(LABELS), label[chosen])
    index = pd.Index((first * count + second) * len(LABELS) + condition)
    if not index.is_unique:
        twice = chosen[int(index.duplicated().argmax())]
        raise MaskbenchError(
            f"{_file(table)}: names samples, but {pairs.reference_id[twice]} and {pairs.probe_id[twice]} are compared "
            "under several conditions; add a column condition, or give --condition"
        )
    known = np.array([number.get(name, -1) for name in table.sample_names.tolist()])
    reference, probe = (known[codes] for codes in table.samples)
    own = 0 if table.condition is None else np.argsort(np.argsort(LABELS))[table.condition]
    key = (reference * count + probe) * len(LABELS) + own
    found = index.get_indexer(np.where((reference < 0) | (probe < 0), -1, key))
    names = _Joined(table.sample_names, table.samples)
    return np.where(found < 0, -1, chosen[found]), names  # type: ignore[return-value]


class _Joined:
    """The two sample ids of a row, joined only when asked for."""

    def __init__(self, names: np.ndarray, codes: tuple[np.ndarray, np.ndarray]) -> None:
        self._names, self._codes = names, codes

    def __getitem__(self, row: int) -> str:
        return " ".join(str(self._names[codes[row]]) for codes in self._codes)


def _once(table: ScoreTable, place: np.ndarray, row: np.ndarray) -> None:
    again = row[place] != np.arange(len(place))
    if again.any():
        second = int(again.argmax())
        first = table.place(int(row[place[second]]))
        raise MaskbenchError(f"{table.place(second)}: this pair already has a score on {first}")


def _agree(table: ScoreTable, protocol: Protocol, place: np.ndarray, label: np.ndarray) -> None:
    """Raise where a row says something else of its pair than the protocol does."""
    said = {"mated": (table.mated, np.asarray(protocol.pairs.mated, bool)), "fold": (table.fold, protocol.pairs.fold)}
    condition = None if table.condition is None else np.array(LABELS)[table.condition]
    for name, (mine, theirs) in (said | {"condition": (condition, label)}).items():
        if mine is not None and (mine != theirs[place]).any():
            row = int((mine != theirs[place]).argmax())
            raise MaskbenchError(f"{table.place(row)}: {name} is {mine[row]}, the protocol says {theirs[place[row]]}")
    if table.format != "csv" or table.subjects is None or table.subject_names is None:
        return
    people = np.array(sorted({sample.subject_id for sample in protocol.samples.values()}), dtype=str)
    number = {name: index for index, name in enumerate(people.tolist())}
    known = np.array([number.get(name, -1) for name in table.subject_names.tolist()])
    for codes, theirs in zip(table.subjects, pair_subjects(protocol)[place].T, strict=True):
        if (known[codes] != theirs).any():
            row = int((known[codes] != theirs).argmax())
            mine, wanted = str(table.subject_names[codes[row]]), str(people[theirs[row]])
            raise MaskbenchError(f"{table.place(row)}: subject {mine!r}, the protocol says {wanted!r}")


# ---------------------------------------------------------------- without a protocol


def on_its_own(table: ScoreTable, condition: str | None, name: str, fingerprint: str) -> Comparisons:
    """Comparisons of a table that says itself what is mated.

    Where the table names its pairs they are put in the order of their names, so that two files of the same comparisons
    have them in the same order; else they keep the order of the file. Persons are numbered in the order of their names.

    Args:
        condition: of every row where the table has no such column; None means "UMR-UMP".
        name: of this set of comparisons.
        fingerprint: what tells the set apart where the table names neither pairs nor subjects: the digest of the
            file, or "" if the caller vouches that sets of this name with the same labels are the same comparisons.

    Raises:
        MaskbenchError: no labels, labels that contradict the subjects, one class only, a pair that occurs twice, or a
            sample compared with itself.
    """
    mated, code = _mated(table), _codes(table, condition)
    _not_itself(table, code)
    for wanted, word in ((True, "mated"), (False, "non-mated")):
        if not (mated == wanted).any():
            raise MaskbenchError(f"{_file(table)}: holds no {word} comparison; error rates need both kinds")
    ids, named = _pair_names(table, code)
    if named:
        _unique(table, ids)
        order = np.argsort(ids, kind="stable")
        table, mated, code, ids = _in_order(table, order), mated[order], code[order], ids[order]
    sides, subjects = [_texts([_SIDES[name][side] for name in LABELS], code) for side in (0, 1)], _persons(table)
    fold = np.zeros(len(table), np.int64) if table.fold is None else table.fold
    empty = np.zeros(len(table), dtype="<U1")
    samples = [empty, empty] if table.samples is None else [table.sample_names[codes] for codes in table.samples]
    pairs = PairTable(ids, samples[0], samples[1], sides[0], sides[1], mated, fold)
    keys = None if table.samples is None else tuple(map(_key, table.samples, sides))
    return Comparisons(
        name=name, version=1, digest=_digest(table, pairs, code, subjects, name, named, fingerprint),
        threshold_from=LABELS[int(code.min())], pairs=pairs, label=_texts(LABELS, code),
        scores=table.scores, status=table.status, subjects=subjects, keys=keys, key_names=table.sample_names,
    )  # fmt: skip


def _texts(names: Sequence[str], code: np.ndarray) -> np.ndarray:
    """(M,) str by code; one text that all rows share where they are all the same, for they may be ten million."""
    texts = np.array(names, dtype=str)
    return np.broadcast_to(texts[code[0]], code.shape) if (code == code[0]).all() else texts[code]


def _in_order(table: ScoreTable, order: np.ndarray) -> ScoreTable:
    """The rows of a table in another order; places are those of the file no longer and must not be asked for."""
    columns = {name: getattr(table, name) for name in ("scores", "status", "mated", "pair_id", "condition", "fold")}
    moved = {name: None if column is None else column[order] for name, column in columns.items()}
    for name in ("subjects", "samples"):
        sides = getattr(table, name)
        moved[name] = None if sides is None else tuple(side[order] for side in sides)
    return replace(table, **moved)


def _persons(table: ScoreTable) -> np.ndarray | None:
    """(M, 2) int32, persons numbered in the order of their names."""
    if table.subjects is None or table.subject_names is None:
        return None
    rank = np.empty(len(table.subject_names), np.int32)
    rank[np.argsort(table.subject_names)] = np.arange(len(rank))
    return np.stack([rank[side] for side in table.subjects], axis=1)


def _mated(table: ScoreTable) -> np.ndarray:
    if table.mated is None and table.subjects is None:
        raise MaskbenchError(
            f"{_file(table)}: does not say what is mated; add a column mated, the subjects of both sides, or --protocol"
        )
    if table.subjects is None:
        return table.mated  # type: ignore[return-value]
    same = table.subjects[0] == table.subjects[1]
    if table.mated is not None and (table.mated != same).any():
        row = int((table.mated != same).argmax())
        names = [str(table.subject_names[side[row]]) for side in table.subjects]
        what = f"subject {names[0]!r} against itself" if same[row] else f"{names[0]!r} against {names[1]!r}"
        word = "mated" if table.mated[row] else "non-mated"
        raise MaskbenchError(f"{table.place(row)}: {what} is marked {word}; correct the subjects or the label")
    return same


def _codes(table: ScoreTable, condition: str | None) -> np.ndarray:
    """(M,) int8, the condition of every row as its position in ``LABELS``."""
    if condition is not None and condition not in LABELS:
        raise MaskbenchError(f'no condition named "{condition}"; known: {", ".join(LABELS)}')
    if table.condition is None:
        return np.full(len(table), LABELS.index(condition or LABELS[0]), dtype=np.int8)
    other = np.zeros(len(table), bool) if condition is None else table.condition != LABELS.index(condition)
    if other.any():
        row = int(other.argmax())
        found = LABELS[table.condition[row]]
        raise MaskbenchError(f"{table.place(row)}: condition is {found}, not {condition}; leave --condition out")
    return table.condition


def _not_itself(table: ScoreTable, code: np.ndarray) -> None:
    if table.samples is None:
        return
    alike = np.array([_SIDES[name][0] == _SIDES[name][1] for name in LABELS])[code]
    same = (table.samples[0] == table.samples[1]) & alike
    if same.any():
        row = int(same.argmax())
        name = str(table.sample_names[table.samples[0][row]])
        raise MaskbenchError(f"{table.place(row)}: sample {name!r} is compared with itself under one condition")


def _pair_names(table: ScoreTable, code: np.ndarray) -> tuple[np.ndarray, bool]:
    """Pair ids, and whether they name the pairs rather than the rows."""
    if table.pair_id is not None:
        return table.pair_id, True
    if table.samples is not None:
        sides = (table.sample_names[side].tolist() for side in table.samples)
        joined = zip(code.tolist(), *sides, strict=True)
        return np.array([f"{LABELS[number]}/{first}+{second}" for number, first, second in joined]), True
    return np.arange(1, len(table) + 1).astype(f"<U{len(str(len(table)))}"), False


def _hashes(ids: np.ndarray) -> np.ndarray:
    """(M,) uint64 of each text, in slices: the texts as Python objects would take ten times their memory."""
    import pandas as pd

    parts = (ids[start : start + _SLICE].astype(object) for start in range(0, len(ids), _SLICE))
    return np.concatenate([pd.util.hash_array(part, categorize=False) for part in parts])


def _unique(table: ScoreTable, ids: np.ndarray) -> None:
    hashes = _hashes(ids)
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    for place in same:
        first, second = order[place], order[place + 1]
        if ids[first] == ids[second]:
            raise MaskbenchError(
                f"{table.place(int(second))}: pair {str(ids[second])!r} is already on {table.place(int(first))}"
            )


def _digest(
    table: ScoreTable, pairs: PairTable, code: np.ndarray, subjects: np.ndarray | None, name: str, named: bool,
    fingerprint: str,
) -> str:  # fmt: skip
    """What the comparisons are: by their names, else by labels and subjects in the order of the file."""
    columns = [(code * 2 + pairs.mated).astype(np.int8), pairs.fold.astype(np.int64)]
    if named:
        return config_sha256(["pairs", name, array_sha256(_hashes(pairs.pair_id), *columns)])
    if subjects is not None and table.subject_names is not None:
        return config_sha256(["subjects", name, array_sha256(np.sort(table.subject_names), subjects, *columns)])
    return config_sha256(["rows", name, fingerprint, array_sha256(*columns)])


def _file(table: ScoreTable) -> str:
    return table.place(0).rpartition(":")[0]


def negated(table: ScoreTable) -> ScoreTable:
    """The table of distances as scores: larger is more alike. 0 - x, so that no score is -0."""
    return replace(table, scores=0.0 - table.scores)
