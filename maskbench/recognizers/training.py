"""Whom a recognizer was trained on, and how many of them a protocol shows it again."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from maskbench.errors import RecognizerError
from maskbench.tables import read_text
from maskbench.types import Protocol, Recognizer

UNKNOWN = "unknown"
SUFFIX = ".subjects.txt"


def read_training_subjects(network: Path) -> frozenset[str] | None:
    """The subjects listed in ``<stem>.subjects.txt`` beside a network, one a line; None where there is no such file.

    Blank lines and lines that begin with "#" say nothing.

    Raises:
        RecognizerError: the file cannot be read as text, or lists nobody.
    """
    path = Path(network).with_suffix(SUFFIX)
    if not path.exists():
        return None
    lines = (line.strip() for line in read_text(path, RecognizerError).splitlines())
    subjects = frozenset(line for line in lines if line and not line.startswith("#"))
    if not subjects:
        raise RecognizerError(f"{path}: lists no subject; write one a line, or remove the file")
    return subjects


def subject_overlap(recognizer: Recognizer, protocol: Protocol) -> str:
    """How many of a protocol's subjects the recognizer was trained on: "3 of 4281", or "unknown".

    Subjects are the same if their ids are equal to the letter; lists of data sets that name people otherwise say
    nothing about each other, so a list must use the protocol's names.
    """
    return overlap_with(getattr(recognizer, "training_subjects", None), protocol)


def overlap_with(known: Collection[str] | None, protocol: Protocol) -> str:
    """How many of a protocol's subjects are among the known ones: "3 of 4281"; "unknown" for None."""
    if known is None:
        return UNKNOWN
    people = {sample.subject_id for sample in protocol.samples.values()}
    seen = [person for person in people if person in known or person.rpartition("/")[2] in known]
    return f"{len(seen)} of {len(people)}"
