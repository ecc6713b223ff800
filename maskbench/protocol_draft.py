"""What a maker hands over: tables without a name, which a template then seals into a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskbench.digest import file_sha256
from maskbench.errors import ProtocolError
from maskbench.files import inside
from maskbench.metrics.conditions import LABELS
from maskbench.types import PairTable, Sample

SIDES = {
    "UMR-UMP": ("unmasked", "unmasked"), "UMR-MP": ("unmasked", "masked"), "MR-UMP": ("masked", "unmasked"),
    "MR-MP": ("masked", "masked"),
}  # fmt: skip
THREE = ("UMR-UMP", "UMR-MP", "MR-MP")  # what synthetic masks are compared under

Comparison = tuple[int, int, bool, str, str]  # fold, index within fold and class, mated, reference id, probe id
Row = tuple[str, str, str, str, bool, int]  # pair id, condition, reference id, probe id, mated, fold


@dataclass(frozen=True)
class Draft:
    """The tables of a protocol to be.

    Attributes:
        suffix: what its name gets behind the template's, such as "40" for a part; "" for the whole.
        notes: what the user should be told about how the tables came about.
        pictures: files that have to be written for the samples, path to bytes; none where they are on disk already.
        templates: the samples of every template, where sides of pairs are templates.
        below: the folder below the given one that the samples' paths are relative to; "" for the given one.
    """

    samples: Sequence[Sample]
    pairs: PairTable
    suffix: str = ""
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    below: str = ""
    templates: Mapping[str, Sequence[str]] = field(default_factory=dict)


def pair_table(comparisons: Sequence[Comparison], conditions: Sequence[str] = THREE) -> PairTable:
    """Each comparison under each condition, whole conditions one after the other."""
    named = [(f"f{c[0]:02d}/{'m' if c[2] else 'n'}{c[1]:03d}", c) for c in comparisons]
    return row_table(
        [(f"{label}/{name}", label, c[3], c[4], c[2], c[0]) for label in conditions for name, c in named]
    )  # fmt: skip


def row_table(rows: Sequence[Row]) -> PairTable:
    """Rows as columns."""
    names, labels, references, probes, mated, folds = zip(*rows, strict=True) if rows else ((),) * 6
    return PairTable(
        pair_id=np.array(names, dtype=str),
        reference_id=np.array(references, dtype=str),
        probe_id=np.array(probes, dtype=str),
        reference_condition=np.array([SIDES[label][0] for label in labels], dtype=str),
        probe_condition=np.array([SIDES[label][1] for label in labels], dtype=str),
        mated=np.array(mated, dtype=bool),
        fold=np.array(folds, dtype=np.int64),
    )


def label_of(reference: str, probe: str) -> str:
    """The label of two sides, each "unmasked" or "masked"."""
    return next(label for label in LABELS if SIDES[label] == (reference, probe))


def sample_at(faces: Path, path: str, subject: str, attributes: Mapping[str, str] | None = None) -> Sample:
    """The sample of a picture below ``faces``; its id is its path.

    Raises:
        ProtocolError: the picture cannot be read.
        MaskbenchError: the path leaves ``faces``.
    """
    try:
        return Sample(path, subject, path, file_sha256(inside(faces, path)), dict(attributes or {}))
    except OSError as error:
        raise ProtocolError(f"{faces}/{path}: cannot be read ({error.strerror}); check the path") from error
