"""One search against many references: rank-N, CMC, and open-set error rates (ISO/IEC 19795-1:2021).

A search compares one probe with every reference. Scores form a matrix, a row for each probe and a column for each
reference; a comparison without a score (a failed template on either side) is NaN. Larger scores are more alike.

What is returned to a searcher is a list of *subjects*: a subject with several references counts with the best of them.
Ties are resolved against the recognizer: a subject stands behind every other one whose score is as high, so that equal
scores for all earn nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import LARGEST_INTEGER, matches
from maskbench.metrics.errors import FmrPoint, threshold_at_fmr

BLOCK = 1 << 22  # matrix elements that are looked at in one go


@dataclass(frozen=True)
class ClosedSet:
    """Searches whose subjects are all enrolled.

    Attributes:
        ranks: (P,) int64, place of each probe's subject in its list from 1; ``subjects`` + 1 where it is not found.
        subjects: enrolled subjects S, the length of the longest list.
        failed: searches without any score.
    """

    ranks: np.ndarray
    subjects: int
    failed: int

    def hits(self, rank: int = 1) -> int:
        """Searches whose subject is among the ``rank`` best. Raises MaskbenchError for a rank below 1."""
        if rank < 1:
            raise MaskbenchError(f"rank {rank}: choose 1 or more")
        return int(np.count_nonzero(self.ranks <= min(rank, self.subjects)))

    def rate(self, rank: int = 1) -> float:
        """The rank-N identification rate, 0 to 1: hits / all searches, failed ones among them."""
        return self.hits(rank) / len(self.ranks)

    def cmc(self) -> np.ndarray:
        """(S,) float64, the cumulative match characteristic: the rank-N identification rate for N = 1 to S."""
        counts = np.bincount(self.ranks, minlength=self.subjects + 2)[1 : self.subjects + 1]
        return np.cumsum(counts) / len(self.ranks)


@dataclass(frozen=True)
class OpenSet:
    """FNIR at the threshold that a target FPIR fixes; ``fnir`` and ``misses`` are None where it is not resolvable.

    Attributes:
        fnir: misses / mated searches, failed ones among both.
        misses: mated searches whose subject is below the threshold, or not among the ``rank`` best.
        searches: mated searches.
        rank: length R of the list.
        subjects: enrolled subjects N.
        point: threshold, measured FPIR (``fmr``), false positives (``errors``), completed non-mated searches
            (``comparisons``) and flag.
    """

    fnir: float | None
    misses: int | None
    searches: int
    rank: int
    subjects: int
    point: FmrPoint


def closed_set(
    scores: np.ndarray, probe_subjects: np.ndarray, reference_subjects: np.ndarray, one_each: bool = False
) -> ClosedSet:
    """The rank of every probe's own subject.

        rank = 1 + number of other subjects whose score >= the own subject's score
        rank-N identification rate = searches with rank <= N / searches

    The score of a subject is the highest of its references; NaN is no score. A probe without a score for its own
    subject is not found. ISO/IEC 19795-1:2021 calls the rate the true-positive identification rate at rank N. The AR
    protocols (one neutral reference for each subject) are this with ``one_each``.

    Args:
        scores: (P, R) float or integer, NaN where a comparison failed.
        probe_subjects: (P,) subject ids, of any dtype that can be sorted.
        reference_subjects: (R,) subject ids.
        one_each: refuse a gallery with several references for a subject.

    Raises:
        MaskbenchError: shapes differ, there is no probe or reference, a probe's subject is not enrolled, or a subject
            has several references although ``one_each``.
    """
    scores, probes, references = _checked(scores, probe_subjects, reference_subjects)
    if one_each:
        _refuse_several(references)
    own, subjects, columns, starts = _enrolled(probes, references)
    if (own < 0).any():
        probe = probes[int((own < 0).argmax())]
        raise MaskbenchError(f"subject {probe} has a probe and no reference; closed-set identification needs one")
    ranks = np.empty(len(probes), np.int64)
    failed = 0
    for rows, best in _subject_scores(scores, columns, starts):
        ranks[rows] = _ranks(best, own[rows])
        failed += int(np.count_nonzero(_missing(best).all(axis=1)))
    return ClosedSet(ranks, subjects, failed)


def open_set(
    scores: np.ndarray, probe_subjects: np.ndarray, reference_subjects: np.ndarray, fpir: float, rank: int = 1
) -> OpenSet:
    """FNIR(N, R, T) at the threshold T that a target FPIR fixes.

        FPIR(N, T)    = non-mated searches with any subject's score >= T / completed non-mated searches
        FNIR(N, R, T) = mated searches whose subject has no score, a score < T, or a rank above R / mated searches

    A search is mated if its subject is enrolled. T is the lowest threshold with FPIR <= target, hence the one with the
    lowest FNIR allowed, from the highest score of each completed non-mated search (``errors.threshold_at_fmr``,
    "strict"). A failed mated search is a miss; a failed non-mated one leaves FPIR alone, since it would lower it.

    Source: ISO/IEC 19795-1:2021, false-positive and false-negative identification rate; the notation is that of NIST's
    FRVT part 2 (Grother, Ngan, Hanaoka, NISTIR 8271).

    Args:
        scores, probe_subjects, reference_subjects: as for ``closed_set``; probes may be of subjects not enrolled.
        fpir: target in (0, 1].
        rank: R, how many subjects a searcher looks at.

    Raises:
        MaskbenchError: as ``closed_set`` for shapes, no mated or no completed non-mated search, a target outside
            (0, 1] or a rank below 1.
    """
    scores, probes, references = _checked(scores, probe_subjects, reference_subjects)
    if rank < 1:
        raise MaskbenchError(f"rank {rank}: choose 1 or more")
    own, subjects, columns, starts = _enrolled(probes, references)
    mated = own >= 0
    if not mated.any():
        raise MaskbenchError("no mated search: no probe's subject is enrolled; FNIR needs at least one")
    highest, found, ranks = [], [], []
    for rows, best in _subject_scores(scores, columns, starts):
        strangers = best[~mated[rows]]
        highest.append(_highest(strangers[~_missing(strangers).all(axis=1)]))
        places = own[rows][mated[rows]]
        found.append(best[mated[rows]][np.arange(len(places)), places])
        ranks.append(_ranks(best[mated[rows]], places))
    top, own_scores, places = (np.concatenate(parts) for parts in (highest, found, ranks))
    if len(top) == 0:
        raise MaskbenchError("no completed non-mated search: FPIR needs probes of subjects that are not enrolled")
    point = threshold_at_fmr(top, fpir)
    if point.threshold is None:
        return OpenSet(None, None, len(places), rank, subjects, point)
    seen = (places <= min(rank, subjects)) & matches(own_scores, point.threshold)  # NaN matches nothing
    misses = len(places) - int(np.count_nonzero(seen))
    return OpenSet(misses / len(places), misses, len(places), rank, subjects, point)


def score_matrix(
    reference_ids: np.ndarray, probe_ids: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of a protocol as a matrix, if every probe was compared with every reference exactly once.

    Args:
        reference_ids, probe_ids: (M,) sample ids.
        scores: (M,) floats, NaN where a comparison failed.

    Returns:
        (P, R) scores, (P,) probe ids and (R,) reference ids, both sorted.

    Raises:
        MaskbenchError: lengths differ, there are no pairs, or a pair is missing or repeated.
    """
    reference_ids, probe_ids, scores = np.asarray(reference_ids), np.asarray(probe_ids), np.asarray(scores)
    if not reference_ids.shape == probe_ids.shape == scores.shape or scores.ndim != 1 or len(scores) == 0:
        raise MaskbenchError("identification: give one reference id, one probe id and one score per pair")
    references, columns = np.unique(reference_ids, return_inverse=True)
    probes, rows = np.unique(probe_ids, return_inverse=True)
    places = rows * len(references) + columns
    seen = np.bincount(places, minlength=len(probes) * len(references))
    if (seen != 1).any():
        place = int((seen != 1).argmax())
        pair = f"probe {probes[place // len(references)]} and reference {references[place % len(references)]}"
        times = "never" if seen[place] == 0 else f"{seen[place]} times"
        raise MaskbenchError(f"identification: {pair} are compared {times}; each search needs every reference once")
    matrix = np.empty(len(seen), scores.dtype)
    matrix[places] = scores
    return matrix.reshape(len(probes), len(references)), probes, references


def _checked(
    scores: np.ndarray, probe_subjects: np.ndarray, reference_subjects: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, probes, references = (np.asarray(part) for part in (scores, probe_subjects, reference_subjects))
    if scores.ndim != 2 or (len(probes), len(references)) != scores.shape or 0 in scores.shape:
        shapes = f"scores {scores.shape}, probes {probes.shape}, references {references.shape}"
        raise MaskbenchError(f"identification: {shapes}; give a row per probe and a column per reference")
    if scores.dtype.kind not in "iuf" or scores.dtype.itemsize > 8:
        raise MaskbenchError(f"identification: dtype {scores.dtype} is not supported; use integers or floats")
    if scores.dtype.kind == "u":
        if int(scores.max()) > LARGEST_INTEGER:
            raise MaskbenchError("identification: integers beyond 2**62 are not supported; rescale the scores")
        scores = scores.astype(np.int64)
    return scores, probes, references


def _refuse_several(references: np.ndarray) -> None:
    subjects, counts = np.unique(references, return_counts=True)
    if (counts > 1).any():
        place = int(counts.argmax())
        raise MaskbenchError(f"subject {subjects[place]} has {counts[place]} references; this protocol allows one")


def _enrolled(probes: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
    """Each probe's subject number (-1: not enrolled), the number of subjects, the columns ordered by subject, and
    where in that order each subject starts."""
    subjects, numbers = np.unique(references, return_inverse=True)
    places = np.minimum(np.searchsorted(subjects, probes), len(subjects) - 1)
    columns = np.argsort(numbers, kind="stable")
    return np.where(subjects[places] == probes, places, -1), len(subjects), columns, _starts(numbers[columns])


def _starts(ordered: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))


def _subject_scores(scores: np.ndarray, columns: np.ndarray, starts: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of probes: their rows, and the highest score for each subject; NaN where all of a subject's are NaN."""
    step = max(1, BLOCK // len(columns))
    for first in range(0, len(scores), step):
        rows = slice(first, min(first + step, len(scores)))
        yield rows, np.fmax.reduceat(scores[rows][:, columns], starts, axis=1)


def _missing(best: np.ndarray) -> np.ndarray:
    return np.isnan(best) if best.dtype.kind == "f" else np.zeros(best.shape, bool)


def _ranks(best: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The rank of subject ``own`` in each row; NaN is behind everything and ties count against it."""
    score = best[np.arange(len(own)), own][:, None]
    ranks = np.count_nonzero(best >= score, axis=1)  # the subject itself is the 1 of "1 + others"
    return np.where(_missing(score)[:, 0], best.shape[1] + 1, ranks)


def _highest(rows: np.ndarray) -> np.ndarray:
    return np.fmax.reduce(rows, axis=1) if len(rows) else rows[:, 0]
