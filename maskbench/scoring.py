"""From templates to scores: comparators, the pairs of a protocol, and the score file.

A larger score means more alike, whatever the comparator.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write
from maskbench.registry import nearest
from maskbench.types import EmbeddingSet, PairTable, Protocol, ScoreSet, Status

FORMAT = 1  # version of the score file
BLOCK = 1 << 17  # vector elements that one block gathers for each side: 1 MiB in float64, which caches hold
_ARRAYS = ("format", "pair_id", "scores", "mated", "status", "protocol_digest", "recognizer_digest")
# What numpy and zipfile raise for files that are cut short, damaged, pickled, or something else altogether.
UNREADABLE = (OSError, ValueError, LookupError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError)
UNREADABLE += (ArithmeticError, SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error)


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", left, right)


def _cosine(references: np.ndarray, probes: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(_dot(references, references)) * np.sqrt(_dot(probes, probes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _dot(references, probes) / lengths


def _negative_l2(references: np.ndarray, probes: np.ndarray) -> np.ndarray:
    difference = references - probes
    return 0.0 - np.sqrt(_dot(difference, difference))  # 0 - x: equal vectors score 0, not -0


COMPARATORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": _cosine,
    "negative-l2": _negative_l2,
}


def _sparse_residual(references: np.ndarray, probes: np.ndarray) -> np.ndarray:
    from maskbench.classical.sparse import reference_residuals

    return 0.0 - reference_residuals(references, probes)


# These score a probe against one reference in view of all others: distinct references (R, D) and probes (P, D) give
# scores (P, R) float64. They have no score for two templates alone, so ``compare`` and all-pairs runs refuse them.
SEARCH_COMPARATORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"sparse-residual": _sparse_residual}
COMPARATOR_NAMES = (*COMPARATORS, *SEARCH_COMPARATORS)


def check_row_wise(comparator: str) -> None:
    """Refuse a comparator that does not score two templates by themselves.

    Raises:
        MaskbenchError: unknown, or a search comparator.
    """
    if isinstance(comparator, str) and comparator in SEARCH_COMPARATORS:
        raise MaskbenchError(
            f'comparator "{comparator}" scores a probe against all references that a protocol gives it, not pair by '
            "pair; evaluate it on a protocol"
        )
    if comparator not in COMPARATORS:
        raise MaskbenchError(f'no comparator named "{comparator}"; {nearest(str(comparator), COMPARATOR_NAMES)}')


def compare(references: np.ndarray, probes: np.ndarray, comparator: str) -> np.ndarray:
    """Score each reference against the probe of the same row.

    Sums run in float64, row by row: a score depends on its two vectors only, neither on the block nor on the machine's
    threads, and vectors of any float32 size neither overflow nor vanish.

    Args:
        references, probes: (M, D) float32.
        comparator: "cosine" (-1 to 1; NaN for a zero vector) or "negative-l2" (minus the Euclidean distance, <= 0).

    Returns:
        (M,) float32; NaN where a vector holds NaN.

    Raises:
        MaskbenchError: unknown comparator, one that does not work row by row, or shapes that differ.
    """
    check_row_wise(comparator)
    references, probes = np.asarray(references), np.asarray(probes)
    if references.ndim != 2 or references.shape != probes.shape:
        raise MaskbenchError(f"templates of shapes {references.shape} and {probes.shape}: give two (M, D) arrays")
    with np.errstate(over="ignore", invalid="ignore"):
        scores = COMPARATORS[comparator](references.astype(np.float64), probes.astype(np.float64))
        return scores.astype(np.float32)


def pair_rows(pairs: PairTable, embeddings: EmbeddingSet) -> tuple[np.ndarray, np.ndarray]:
    """The rows of ``embeddings`` that each pair compares.

    Returns:
        Reference rows and probe rows, (M,) int64; -1 where the side's condition is not in ``embeddings`` at all.

    Raises:
        MaskbenchError: a sample is missing although its condition was run, or a key occurs twice.
    """
    sides = (pairs.reference_id, pairs.reference_condition), (pairs.probe_id, pairs.probe_condition)
    rows = [np.full(len(pairs), -1, dtype=np.int64) for _ in sides]
    conditions = np.asarray(embeddings.conditions, dtype=object)
    for condition in sorted(set(conditions)):
        members = np.flatnonzero(conditions == condition)
        index = _unique_index(np.asarray(embeddings.sample_ids)[members], condition)
        for found, (ids, side_conditions) in zip(rows, sides, strict=True):
            wanted = np.flatnonzero(np.asarray(side_conditions, dtype=object) == condition)
            places = index.get_indexer(np.asarray(ids, dtype=object)[wanted])
            if (places < 0).any():
                missing = wanted[int((places < 0).argmax())]
                raise MaskbenchError(
                    f"pair {pairs.pair_id[missing]}: no embedding of {condition} sample {ids[missing]}; "
                    "embed every sample of the protocol again"
                )
            found[wanted] = members[places]
    return rows[0], rows[1]


def _unique_index(sample_ids: np.ndarray, condition: str):  # -> pandas.Index
    import pandas as pd

    index = pd.Index(sample_ids, dtype=object)
    if not index.is_unique:
        raise MaskbenchError(f"embeddings: {condition} sample {index[index.duplicated()][0]} occurs twice; keep one")
    return index


def score_pairs(protocol: Protocol, embeddings: EmbeddingSet, comparator: str) -> ScoreSet:
    """One score per pair of the protocol, in its order.

    A pair is NOT_RUN when a side's condition is not among the embeddings at all, else FAILED when a side has no
    template or the score is not finite, else OK. Scores are NaN unless OK.

    With a comparator of ``COMPARATORS`` a score depends on its two templates only. With one of ``SEARCH_COMPARATORS``
    it depends on all references (of one condition, that have a template) which the protocol compares with the probe,
    but on no other probe and on no order.

    Raises:
        MaskbenchError: unknown comparator, malformed embeddings, or a sample missing though its condition was run.
    """
    vectors, status = _checked(embeddings)
    if comparator not in SEARCH_COMPARATORS:
        check_row_wise(comparator)  # also when there is nothing to compare
    reference, probe = pair_rows(protocol.pairs, embeddings)
    outcome = np.maximum(_side(status, reference), _side(status, probe))
    scores = np.full(len(outcome), np.nan, dtype=np.float32)
    ready = np.flatnonzero(outcome == Status.OK)
    if comparator in SEARCH_COMPARATORS:
        _, sides = np.unique(np.asarray(embeddings.conditions, dtype=str), return_inverse=True)
        scores[ready] = _search(vectors, reference[ready], probe[ready], sides[reference[ready]], comparator)
    else:
        scores[ready] = _row_by_row(vectors, reference[ready], probe[ready], comparator)
    lost = ~np.isfinite(scores)
    scores[lost] = np.nan
    outcome[lost & (outcome == Status.OK)] = Status.FAILED
    mated = np.asarray(protocol.pairs.mated, dtype=bool)
    return ScoreSet(scores, mated, outcome, protocol.digest, embeddings.recognizer_digest)


def _row_by_row(vectors: np.ndarray, reference: np.ndarray, probe: np.ndarray, comparator: str) -> np.ndarray:
    scores = np.empty(len(reference), dtype=np.float32)
    step = max(1, BLOCK // max(1, vectors.shape[1]))
    for start in range(0, len(reference), step):
        block = slice(start, start + step)
        scores[block] = compare(vectors[reference[block]], vectors[probe[block]], comparator)
    return scores


def _search(
    vectors: np.ndarray, reference: np.ndarray, probe: np.ndarray, condition: np.ndarray, comparator: str
) -> np.ndarray:
    """Scores (M,) float32 by a search comparator: each probe against the references that it is paired with.

    Args:
        vectors: (N, D) float32.
        reference, probe: (M,) rows of ``vectors``.
        condition: (M,) small integers; a probe's references of another condition are another search.
    """
    scores = np.empty(len(reference), dtype=np.float32)
    order = np.lexsort([reference, condition, probe])
    changes = np.flatnonzero(np.diff(probe[order]) | np.diff(condition[order])) + 1
    alike: dict[bytes, list[np.ndarray]] = {}  # searches through the same references share their preparation
    for pairs in np.split(order, changes) if len(order) else []:
        alike.setdefault(np.unique(reference[pairs]).tobytes(), []).append(pairs)
    for key, searches in alike.items():
        rows = np.frombuffer(key, reference.dtype)
        step = max(1, BLOCK // len(rows))
        for start in range(0, len(searches), step):
            block = searches[start : start + step]
            found = SEARCH_COMPARATORS[comparator](vectors[rows], vectors[[probe[pairs[0]] for pairs in block]])
            for one, pairs in zip(found, block, strict=True):
                scores[pairs] = one[np.searchsorted(rows, reference[pairs])]
    return scores


def _checked(embeddings: EmbeddingSet) -> tuple[np.ndarray, np.ndarray]:
    vectors, status = np.asarray(embeddings.vectors), np.asarray(embeddings.status)
    lengths = {len(vectors), len(status), len(embeddings.sample_ids), len(embeddings.conditions)}
    if vectors.ndim != 2 or len(lengths) != 1:
        raise MaskbenchError("embeddings: sample ids, conditions, vectors and status differ in length; embed again")
    return vectors, status


def _side(status: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Status of one side of every pair, (M,) int8; row -1 is NOT_RUN, which outranks FAILED."""
    return np.append(status, Status.NOT_RUN).astype(np.int8)[rows]


def save_scores(
    path: Path, scores: ScoreSet, pair_ids: np.ndarray, condition: np.ndarray | None = None,
    subjects: np.ndarray | None = None, fold: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write a score file (.npz, no pickle), atomically; equal content gives equal bytes.

    Args:
        pair_ids: (M,) str, in the order of the scores.
        condition: (M,) str, such as "UMR-MP"; with it in the file, a plot needs no protocol.
        subjects: (M, 2) integers, one number for each person, of reference and probe; fold: (M,) integers. With them in
            the file, an interval needs no protocol.

    Raises:
        MaskbenchError: the lengths differ, or the file cannot be written.
    """
    arrays = {
        "format": np.array(FORMAT),
        "pair_id": np.asarray(pair_ids, dtype=str),
        "scores": np.asarray(scores.scores),
        "mated": np.asarray(scores.mated, dtype=bool),
        "status": np.asarray(scores.status, dtype=np.int8),
        "protocol_digest": np.array(scores.protocol_digest, dtype=str),
        "recognizer_digest": np.array(scores.recognizer_digest, dtype=str),
    }
    _validate(path, arrays)
    extra = {} if condition is None else {"condition": np.asarray(condition, dtype=str)}
    extra |= {} if subjects is None else {"subjects": np.asarray(subjects, dtype=np.int32)}
    extra |= {} if fold is None else {"fold": np.asarray(fold, dtype=np.int32)}
    with atomic_write(path) as stream:
        np.savez(stream, **arrays, **extra)


def load_scores(path: Path) -> tuple[ScoreSet, np.ndarray]:
    """Read a score file: the scores and their pair ids, (M,) str.

    Raises:
        MaskbenchError: the file is missing, is not a score file of this version, or contradicts itself.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _ARRAYS}
    except FileNotFoundError:
        raise MaskbenchError(f"{path}: no such file; run the comparison first") from None
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MaskbenchError(f"{path}: not a score file ({reason}); run the comparison again") from error
    _validate(path, arrays)
    loaded = ScoreSet(
        arrays["scores"],
        arrays["mated"],
        arrays["status"],
        str(arrays["protocol_digest"]),
        str(arrays["recognizer_digest"]),
    )
    return loaded, arrays["pair_id"]


def _validate(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if arrays["format"].shape != () or arrays["format"] != FORMAT:
        raise MaskbenchError(f"{path}: score format {arrays['format']}, expected {FORMAT}; run the comparison again")
    columns = [arrays[name] for name in ("pair_id", "scores", "mated", "status")]
    if any(column.shape != (len(columns[0].ravel()),) for column in columns):
        raise MaskbenchError(f"{path}: pair ids, scores, mated and status differ in length; run the comparison again")
    kinds = "".join(column.dtype.kind for column in columns)
    if kinds != "Ufbi":
        raise MaskbenchError(f"{path}: columns of unexpected types ({kinds}); run the comparison again")
    scores, status = arrays["scores"], arrays["status"]
    if not np.isin(status, list(Status)).all() or (np.isnan(scores) != (status != Status.OK)).any():
        raise MaskbenchError(f"{path}: a score is NaN exactly where its status is not OK; run the comparison again")
