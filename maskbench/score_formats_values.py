"""Columns of text to arrays: scores, labels, status, conditions, folds and names, each complaint with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.conditions import LABELS
from maskbench.registry import nearest
from maskbench.types import Status

Place = Callable[[int], str]  # a row of the block to "FILE:LINE"

MISSING = ("", "nan", "na", "n/a", "null", "none")  # in lower case: a score that is one of these was not computed
# Pairs of words for a label; one file keeps to one pair, because a mixture hints at files that were glued together.
LABEL_WORDS = (
    {"1": True, "0": False},
    {"true": True, "false": False},
    {"genuine": True, "impostor": False},
    {"mated": True, "non-mated": False, "nonmated": False, "non_mated": False},
)
STATUS_WORDS = {
    "ok": Status.OK, "0": Status.OK, "failed": Status.FAILED, "1": Status.FAILED,
    "not-run": Status.NOT_RUN, "not_run": Status.NOT_RUN, "2": Status.NOT_RUN,
}  # fmt: skip
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*|\s*[-+]?(inf|infinity)\s*", re.IGNORECASE)


def numbers(values: Sequence[str], place: Place, column: str = "score") -> np.ndarray:
    """(M,) float64, correctly rounded; NaN where the text says that there is none (``MISSING``).

    Raises:
        MaskbenchError: "FILE:LINE: ..." for anything but a number.
    """
    text = values
    for _ in range(2):
        try:
            if "_" not in "".join(text):  # Python reads 1_000 as a number, nobody else does
                return np.array(text, dtype=np.float64) if len(text) else np.empty(0)
        except ValueError:
            pass
        text = ["nan" if value.strip().lower() in MISSING else value for value in values]
    for row, value in enumerate(values):
        if value.strip().lower() not in MISSING and not _NUMBER.fullmatch(value):
            raise MaskbenchError(f"{place(row)}: {column} is {value!r}, not a number; leave it empty if there is none")
    raise MaskbenchError(f"{place(0)}: {column} cannot be read as numbers")


def completed(scores: np.ndarray, status: np.ndarray | None, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Scores and status that agree: a score is NaN exactly where its status is not OK.

    Without a status, a missing score is a failed comparison. With one, the score of a row that is not OK is dropped.

    Returns:
        (M,) scores in their dtype, (M,) int8 ``Status``.

    Raises:
        MaskbenchError: "FILE:LINE: ..." for an infinite score, or a missing one whose status says OK.
    """
    lost = np.isnan(scores)
    if status is None:
        status = np.where(lost, Status.FAILED, Status.OK).astype(np.int8)
    fine = status == Status.OK
    if (lost & fine).any():
        raise MaskbenchError(f"{place(int((lost & fine).argmax()))}: no score, but status says ok; write failed")
    endless = np.isinf(scores) & fine
    if endless.any():
        row = int(endless.argmax())
        raise MaskbenchError(f"{place(row)}: score is {scores[row]}; write failed as its status, or leave it empty")
    return np.where(fine, scores, np.array(np.nan, scores.dtype)), status.astype(np.int8)


class Labels:
    """Reads a column that tells mated from non-mated, in one pair of words per file."""

    def __init__(self) -> None:
        self.words: Mapping[str, bool] = {}
        self.first = ""

    def __call__(self, values: Sequence[str], place: Place) -> np.ndarray:
        """(M,) bool. Raises MaskbenchError, "FILE:LINE: ...", for an unknown word or one of another pair."""
        if not self.words and len(values):
            known = [words for words in LABEL_WORDS if _word(values[0]) in words]
            self.words, self.first = (known or [{}])[0], place(0)
        table = {value: self.words.get(_word(value)) for value in set(values)}
        if None in table.values() or not self.words:
            row = next(row for row, value in enumerate(values) if table[value] is None)
            raise MaskbenchError(f"{place(row)}: mated is {values[row]!r}; {self._wanted()}")
        return np.array([table[value] for value in values], dtype=bool)

    def _wanted(self) -> str:
        if self.words:
            return f"{self.first} says {' or '.join(list(self.words)[:2])}, so keep to these"
        return "write " + ", ".join("/".join(list(words)[:2]) for words in LABEL_WORDS)


def statuses(values: Sequence[str], place: Place) -> np.ndarray:
    """(M,) int8, -1 where it is empty (the score decides). Raises MaskbenchError, "FILE:LINE: ...", for other words."""
    return choices(values, {**STATUS_WORDS, "": -1}, place, "status", "ok or failed").astype(np.int8)


def conditions(values: Sequence[str], place: Place) -> np.ndarray:
    """(M,) int8 positions in ``LABELS``. Raises MaskbenchError, "FILE:LINE: ...", for an unknown condition."""
    table = {label.lower(): position for position, label in enumerate(LABELS)}
    return choices(values, table, place, "condition", " or ".join(LABELS)).astype(np.int8)


def folds(values: Sequence[str], place: Place) -> np.ndarray:
    """(M,) int64, 0 for none. Raises MaskbenchError, "FILE:LINE: ...", for anything but a whole number."""
    table = {_word(value): int(value) for value in set(values) if re.fullmatch(r" *[0-9]{1,9} *", value)}
    return choices(values, table, place, "fold", "a whole number, 0 for none").astype(np.int64)


def choices(
    values: Sequence[str], table: Mapping[str, int], place: Place, column: str, wanted: str
) -> np.ndarray:
    """(M,) int64 by a table of words. Raises MaskbenchError, "FILE:LINE: ...", for a word that is not in it."""
    known = {value: table.get(_word(value)) for value in set(values)}
    if None in known.values():
        row = next(row for row, value in enumerate(values) if known[value] is None)
        raise MaskbenchError(f"{place(row)}: {column} is {values[row]!r}; write {wanted}")
    return np.array([known[value] for value in values], dtype=np.int64)


def _word(value: str) -> str:
    return value.strip().lower()


class Names:
    """Numbers names in the order in which they come, so that a column of ten million names is one of integers."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, values: Sequence[str], place: Place, column: str) -> np.ndarray:
        """(M,) int32. Raises MaskbenchError, "FILE:LINE: ...", for an empty name: a side is missing."""
        known, size = self.numbers, self.numbers.__len__
        codes = np.array([known.setdefault(value, size()) for value in values], dtype=np.int32)
        if "" in known:
            row = next(row for row, value in enumerate(values) if value == "")
            raise MaskbenchError(f"{place(row)}: {column} is empty; every comparison needs both sides")
        return codes

    def names(self) -> np.ndarray:
        """The names by number, (K,) str."""
        return np.array(list(self.numbers), dtype=str)


def check_columns(names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raise MaskbenchError for a column that is unknown, or for one side of a comparison without the other."""
    for name in names:
        if name not in known:
            raise MaskbenchError(f"{where}: unknown column {name!r}; {nearest(name, known)}")
    for kind in ("subject", "id"):
        sides = {f"reference_{kind}", f"probe_{kind}"}
        if len(sides & set(names)) == 1:
            raise MaskbenchError(f"{where}: {min(sides - set(names))} is missing; give both sides or neither")
