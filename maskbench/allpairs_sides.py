"""What is compared with what in all-against-all comparison: templates, checked, sorted by subject, and their counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.failures import FailureCounts, Ftx
from maskbench.scoring import UNREADABLE, check_row_wise
from maskbench.types import Status

PADDING = 128  # rows of zeros after the vectors: no product is narrower, see allpairs_passes
LONGEST = 1e18  # of a template under negative-l2; squares beyond it leave float32
_ROWS = 4096  # vectors that are handled in float64 at a time
_REQUIRED, _OPTIONAL = ("vectors", "sample_ids"), ("subject_ids", "status")


@dataclass(frozen=True)
class Templates:
    """One side of the comparisons.

    Attributes:
        vectors: (N, D) float32; rows that failed may hold anything.
        subject_ids: (N,) text or integers.
        sample_ids: (N,) text or integers, each once; None: the row numbers (of this set alone).
        status: (N,) ``Status``, OK or FAILED; None: all are OK.
        name: what messages call this set.
    """

    vectors: np.ndarray
    subject_ids: np.ndarray
    sample_ids: np.ndarray | None = None
    status: np.ndarray | None = None
    name: str = "references"


@dataclass(frozen=True)
class Side:
    """Comparable templates in the order of their subjects, (n + PADDING, D) float32 with zeros at the end.

    ``squares`` (n,) float32 are squared lengths (negative-l2 only). ``rows`` (n,) are the rows of the input.
    """

    vectors: np.ndarray
    squares: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Pairing:
    """Which entries of the matrix left x right are comparisons, and of which class.

    Attributes:
        left, right: the same object when a set meets itself.
        skip: (n, 2) int64: columns skip[i, 0] <= j < skip[i, 1] of row i are no non-mated comparisons, the others are.
        mated: (n, 3) int64: columns mated[i, 0] <= j < mated[i, 1] without mated[i, 2] are the mated comparisons.
        counts, ftx: what was compared and what failed, failed templates included.
        same_sample: comparisons left out because both sides are the same sample (two sets only).
        comparator: "cosine" or "negative-l2".
    """

    left: Side
    right: Side
    skip: np.ndarray
    mated: np.ndarray
    counts: FailureCounts
    ftx: dict[str, Ftx]
    same_sample: int
    comparator: str


def pair_up(references: Templates, probes: Templates | None, comparator: str) -> Pairing:
    """Check the templates, leave out what cannot be compared, sort by subject and count.

    Without ``probes`` every two samples meet once (i < j). With them every reference meets every probe, but for equal
    sample ids, which are one sample (its masked copy, say) and no comparison of two.

    Raises:
        MaskbenchError: shapes differ, sample ids occur twice, one sample has two subjects, there is nothing to
            compare, an unknown comparator, or one that does not score two templates by themselves.
    """
    check_row_wise(comparator)
    sets = [_checked(templates) for templates in (references, *([probes] if probes else []))]
    if probes and sets[0].vectors.shape[1] != sets[1].vectors.shape[1]:
        sizes = " and ".join(str(part.vectors.shape[1]) for part in sets)
        raise MaskbenchError(f"{references.name} and {probes.name}: templates of {sizes} numbers; embed both alike")
    codes = _codes([part.subject_ids for part in sets])
    sides = [_side(part, code, comparator) for part, code in zip(sets, codes, strict=True)]
    known = len(sets) == 2 and sets[0].sample_ids is not None and sets[1].sample_ids is not None
    twins = _twins(sets, codes) if known else None
    ordered = [code[side.rows] for code, side in zip(codes, sides, strict=True)]
    skip, mated = _ranges(ordered, sides, twins)
    ftx = [Ftx(len(part.status), int(np.count_nonzero(part.status != Status.OK))) for part in sets]
    return Pairing(
        sides[0], sides[-1], skip, mated, _counts(codes, twins, skip, mated, len(sides[-1])),
        {"reference": ftx[0], "probe": ftx[-1]}, 0 if twins is None else int(np.count_nonzero(twins >= 0)), comparator,
    )  # fmt: skip


def _checked(given: Templates) -> Templates:
    """The same with arrays of known types: float32 vectors, text ids, int8 status."""
    vectors, name = np.asarray(given.vectors), given.name
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or 0 in vectors.shape:
        raise MaskbenchError(f"{name}: vectors {vectors.shape} {vectors.dtype}; give (N, D) floats, at least one row")
    subjects, samples = _ids(given.subject_ids), None if given.sample_ids is None else _ids(given.sample_ids)
    status = np.zeros(len(vectors), np.int8) if given.status is None else np.asarray(given.status)
    for kind, column in (("subject_ids", subjects), ("sample_ids", samples), ("status", status)):
        if column is not None and column.shape != (len(vectors),):
            raise MaskbenchError(f"{name}: {len(vectors)} vectors and {kind} of shape {column.shape}; give one each")
    if not np.isin(status, (Status.OK, Status.FAILED)).all():
        raise MaskbenchError(f"{name}: status must be {int(Status.OK)} (OK) or {int(Status.FAILED)} (FAILED)")
    if samples is not None and len(found := np.unique(samples, return_index=True)[1]) < len(samples):
        twice = np.setdiff1d(np.arange(len(samples)), found)[0]
        raise MaskbenchError(f"{name}: sample {samples[twice]} occurs twice; keep one of them")
    with np.errstate(over="ignore"):  # beyond float32: infinite, and a failed comparison like any that is not finite
        return Templates(vectors.astype(np.float32, copy=False), subjects, samples, status.astype(np.int8), name)


def _ids(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values if values.dtype.kind == "U" else values.astype(str)


def _codes(subject_ids: list[np.ndarray]) -> list[np.ndarray]:
    """Numbers for the subjects, the same in all sets."""
    _, codes = np.unique(np.concatenate(subject_ids), return_inverse=True)
    return np.split(codes.reshape(-1), np.cumsum([len(ids) for ids in subject_ids])[:-1])


def _side(part: Templates, codes: np.ndarray, comparator: str) -> Side:
    cosine, lengths = comparator == "cosine", _lengths(part.vectors)
    usable = (part.status == Status.OK) & np.isfinite(lengths) & ((lengths > 0) | (not cosine))
    rows = np.flatnonzero(usable)
    rows = rows[np.argsort(codes[rows], kind="stable")]
    if not cosine and len(rows) and lengths[rows].max() > LONGEST:
        raise MaskbenchError(f"{part.name}: templates longer than {LONGEST:g} overflow float32; scale them down")
    vectors = np.zeros((len(rows) + PADDING, part.vectors.shape[1]), np.float32)
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        divisor = lengths[some, None] if cosine else 1.0
        vectors[start : start + len(some)] = part.vectors[some] / divisor  # divided in float64, then rounded once
    return Side(vectors, (lengths[rows] ** 2 if not cosine else np.empty(0)).astype(np.float32), rows)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """(N,) float64 Euclidean lengths; not finite where a vector is not."""
    parts = (vectors[start : start + _ROWS].astype(np.float64) for start in range(0, len(vectors), _ROWS))
    with np.errstate(invalid="ignore"):
        return np.concatenate([np.sqrt(np.einsum("ij,ij->i", part, part)) for part in parts])


def _twins(sets: list[Templates], codes: list[np.ndarray]) -> np.ndarray:
    """For each reference the row of the probe with the same sample id, or -1."""
    order = np.argsort(sets[1].sample_ids)
    ordered = sets[1].sample_ids[order]
    places = np.minimum(np.searchsorted(ordered, sets[0].sample_ids), len(order) - 1)
    twins = np.where(ordered[places] == sets[0].sample_ids, order[places], -1)
    differ = (twins >= 0) & (codes[0] != codes[1][twins])
    if differ.any():
        raise MaskbenchError(
            f"sample {sets[0].sample_ids[differ.argmax()]}: of one subject in {sets[0].name}, of another in "
            f"{sets[1].name}; correct the subject ids"
        )
    return twins


def _ranges(ordered: list[np.ndarray], sides: list[Side], twins: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    left, right = ordered[0], ordered[-1]
    first, last = np.searchsorted(right, left, "left"), np.searchsorted(right, left, "right")
    nobody = np.full(len(left), -1)
    if len(sides) == 1:  # each pair once: what stands left of the diagonal was compared before
        return np.stack([0 * last, last], 1), np.stack([np.arange(len(left)) + 1, last, nobody], 1)
    if twins is not None:
        place = np.full(max(len(twins), int(sides[1].rows.max(initial=0)) + 1, int(twins.max()) + 1) + 1, -1)
        place[sides[1].rows] = np.arange(len(right))
        nobody = np.where(twins[sides[0].rows] >= 0, place[twins[sides[0].rows]], -1)
    return np.stack([first, last], 1), np.stack([first, last, nobody], 1)


def _counts(
    codes: list[np.ndarray], twins: np.ndarray | None, skip: np.ndarray, mated: np.ndarray, width: int
) -> FailureCounts:
    """Comparisons by class and outcome; all counts are exact integers, whatever their size."""
    subjects = max(int(code.max()) for code in codes) + 1
    sizes = [np.bincount(code, minlength=subjects).tolist() for code in codes]
    if len(codes) == 1:
        all_pairs, all_mated = math.comb(len(codes[0]), 2), sum(math.comb(size, 2) for size in sizes[0])
    else:
        same = 0 if twins is None else int(np.count_nonzero(twins >= 0))
        all_pairs = len(codes[0]) * len(codes[1]) - same
        all_mated = sum(a * b for a, b in zip(*sizes, strict=True)) - same
    done_mated = int((mated[:, 1] - mated[:, 0] - (mated[:, 2] >= 0)).sum())
    done_others = len(skip) * width - int((skip[:, 1] - skip[:, 0]).sum())
    if all_pairs == 0:
        raise MaskbenchError("nothing to compare: give at least two samples")
    others = all_pairs - all_mated
    return FailureCounts(all_mated, done_mated, all_mated - done_mated, others, done_others, others - done_others, 0)


def load_templates(path: Path, subjects: dict[str, str] | None = None) -> Templates:
    """Read templates from an .npz (no pickle): ``vectors`` (N, D) floats, ``sample_ids`` (N,), ``subject_ids`` (N,),
    and ``status`` (N,; optional).

    Args:
        subjects: sample id to subject id, in place of ``subject_ids``.

    Raises:
        MaskbenchError: the file is missing or damaged, lacks an array, or a sample has no subject.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _REQUIRED + _OPTIONAL if name in stored.files}
    except FileNotFoundError:
        raise MaskbenchError(f"{path}: no such file; save the embeddings with numpy.savez") from None
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MaskbenchError(f"{path}: not an .npz of arrays ({reason}); save it with numpy.savez") from error
    for name in _REQUIRED:
        if name not in arrays:
            raise MaskbenchError(f'{path}: holds no array "{name}"; save it with numpy.savez(..., {name}=...)')
    if subjects is not None:
        arrays["subject_ids"] = _subjects_of(path, arrays["sample_ids"], subjects)
    if "subject_ids" not in arrays:
        raise MaskbenchError(f'{path}: holds no array "subject_ids"; add it, or give --subjects samples.csv')
    return Templates(name=str(path), **arrays)


def _subjects_of(path: Path, sample_ids: np.ndarray, subjects: dict[str, str]) -> np.ndarray:
    ids = _ids(sample_ids).reshape(-1).tolist()
    for sample in ids:
        if sample not in subjects:
            raise MaskbenchError(f"{path}: sample {sample} is not in the table of subjects; add its row")
    return np.array([subjects[sample] for sample in ids])
