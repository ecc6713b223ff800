"""All figures of one condition, or of a whole protocol, as dictionaries ready for ``result.json``.

Every key is explained in docs/metrics.md. Nothing here is NaN: a figure that does not exist is None, and its block
says why under "reason".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.blocks import (
    Rate,
    accuracies,
    closed_set_block,
    incomplete,
    operating_points,
    publish,
    sorted_condition,
)
from maskbench.metrics.clustered import Subjects, add_clustered, drop_transferred, subjects_of_condition
from maskbench.metrics.conditions import LABELS, condition_labels, pair_subjects
from maskbench.metrics.errors import labels
from maskbench.metrics.failures import Ftx, failure_counts, ftx
from maskbench.metrics.identification import closed_set, score_matrix
from maskbench.metrics.intervals import METHOD
from maskbench.scoring import pair_rows
from maskbench.types import EmbeddingSet, PairTable, Protocol, ScoreSet, Status


def summarise(
    scores: np.ndarray,
    mated: np.ndarray,
    status: np.ndarray,
    fold: np.ndarray | None = None,
    threshold_from_scores: np.ndarray | None = None,
    threshold_from: str = "",
    threshold: float | None = None,
    ftx_by_role: Mapping[str, Ftx] | None = None,
    subjects: Subjects | None = None,
) -> dict[str, dict[str, Any]]:
    """The figures of one condition.

    Args:
        scores: (M,) floats or integers, NaN only where status is not OK.
        mated: (M,) bool.
        status: (M,) ``Status``, OK or FAILED.
        fold: (M,) integers, 0 for none; None for no folds at all.
        threshold_from_scores: completed non-mated scores of the condition that transferred thresholds are fixed on.
        threshold_from: the label of that condition.
        threshold: a threshold chosen elsewhere, reported under "at_threshold".
        ftx_by_role: FTX of "reference" and "probe".
        subjects: who is compared; with it, rates get intervals over subjects ("clustered") beside Wilson's.

    Returns:
        {"metrics": ..., "counts": ..., "thresholds": ..., "intervals": ...}; the last two are keyed by dotted path.

    Raises:
        MaskbenchError: malformed input, or comparisons that were not run.
    """
    counts = failure_counts(mated, status)
    if counts.not_run:
        raise MaskbenchError(f"{counts.not_run} comparisons of the condition were not run; a part cannot be summarised")
    if counts.mated_completed and counts.non_mated_completed:
        condition = sorted_condition(scores, mated, status, counts)
        tree = operating_points(condition, threshold_from_scores, threshold_from, threshold)
        tree |= accuracies(condition, np.asarray(scores), labels(mated), np.asarray(status) != Status.OK, fold)
    else:
        tree = incomplete(counts)
    numbers = {name: value for name, value in counts.as_dict().items() if name != "not_run"}
    for role, value in (ftx_by_role or {}).items():
        numbers |= {f"{role}_samples": value.samples, f"{role}_samples_failed": value.failed}
        tree.setdefault("ftx", {})[role] = Rate(value.failed, value.samples)
    intervals: dict[str, Any] = {"method": METHOD}
    thresholds: dict[str, Any] = {}
    metrics = publish(tree, intervals, thresholds)
    if subjects is not None and counts.mated_completed and counts.non_mated_completed:
        add_clustered(intervals, metrics, scores, mated, status, fold, subjects, threshold_from_scores)
    return {"metrics": metrics, "counts": numbers, "thresholds": thresholds, "intervals": intervals}


def summarise_protocol(
    protocol: Protocol, scores: ScoreSet, embeddings: EmbeddingSet, threshold: float | None = None,
    elsewhere: tuple[str, np.ndarray] | None = None,
) -> tuple[dict, dict, dict, dict]:  # fmt: skip
    """Metrics, counts, thresholds and intervals of every condition that was run, each keyed by condition label.

    Args:
        elsewhere: where transferred thresholds are fixed, if not on the protocol's ``threshold_from``: a name, and
            completed non-mated scores of the same recognizer.

    Raises:
        MaskbenchError: the parts belong to different protocols or recognizers, or a condition was run in part.
    """
    _same_run(protocol, scores, embeddings)
    pairs, names = protocol.pairs, condition_labels(protocol.pairs)
    status, values = np.asarray(scores.status), np.asarray(scores.scores)
    mated, fold = np.asarray(pairs.mated, dtype=bool), np.asarray(pairs.fold)
    source = (names == protocol.threshold_from) & ~mated & (status == Status.OK)
    people = pair_subjects(protocol)
    sides = dict(zip(("reference", "probe"), pair_rows(pairs, embeddings), strict=True))
    collected: dict[str, dict[str, Any]] = {"metrics": {}, "counts": {}, "thresholds": {}, "intervals": {}}
    for name in LABELS:
        rows = names == name
        if not _was_run(name, status[rows]):
            continue
        found = summarise(
            values[rows],
            mated[rows],
            status[rows],
            fold[rows],
            threshold_from_scores=values[source] if elsewhere is None else elsewhere[1],
            threshold_from=protocol.threshold_from if elsewhere is None else elsewhere[0],
            threshold=threshold,
            ftx_by_role={role: _ftx(name, side[rows], embeddings) for role, side in sides.items()},
            subjects=_subjects(people, rows, source, name == protocol.threshold_from, fold, elsewhere is not None),
        )
        if elsewhere is not None:
            drop_transferred(found["intervals"])
        if people is not None:
            _add_identification(found, pairs, rows, values, people)
        for part, value in found.items():
            collected[part][name] = value
    return collected["metrics"], collected["counts"], collected["thresholds"], collected["intervals"]


def _subjects(
    people: np.ndarray | None, rows: np.ndarray, source: np.ndarray, own: bool, fold: np.ndarray, elsewhere: bool
) -> Subjects | None:
    """Who is compared in a condition; of those who fix a threshold elsewhere nothing is known."""
    if people is None:
        return None
    return Subjects(people[rows]) if elsewhere else subjects_of_condition(people, rows, source, own, fold)


def _add_identification(
    found: dict[str, dict[str, Any]], pairs: PairTable, rows: np.ndarray, scores: np.ndarray, people: np.ndarray
) -> None:
    """Add rank-N rates where every probe of the condition meets every reference once and everybody is enrolled."""
    references, probes = pairs.reference_id[rows], pairs.probe_id[rows]
    if len(set(references.tolist())) * len(set(probes.tolist())) != len(references):
        return
    try:
        matrix, probe_ids, reference_ids = score_matrix(references, probes, scores[rows])
        subject = dict(zip(references.tolist(), people[rows, 0].tolist(), strict=True))
        own = dict(zip(probes.tolist(), people[rows, 1].tolist(), strict=True))
        result = closed_set(matrix, [own[key] for key in probe_ids], [subject[key] for key in reference_ids])
    except MaskbenchError:  # pairs that repeat, or a probe of somebody who is not enrolled: no closed set
        return
    block = publish({"identification": closed_set_block(result)}, found["intervals"], found["thresholds"])
    found["metrics"] |= block


def _was_run(name: str, status: np.ndarray) -> bool:
    """False for a condition without pairs, or of which no pair was run."""
    missing = int(np.count_nonzero(status == Status.NOT_RUN))
    if 0 < missing < len(status):
        raise MaskbenchError(f"{name}: {missing} of {len(status)} pairs were not run; embed the missing samples")
    return missing < len(status)


def _ftx(name: str, rows: np.ndarray, embeddings: EmbeddingSet) -> Ftx:
    """FTX over the distinct embedding rows that a role of the condition uses."""
    if (rows < 0).any():
        raise MaskbenchError(f"{name}: scored, but not among these embeddings; give the embeddings that were compared")
    return ftx(rows, np.asarray(embeddings.status)[rows] != Status.OK)


def _same_run(protocol: Protocol, scores: ScoreSet, embeddings: EmbeddingSet) -> None:
    if scores.protocol_digest != protocol.digest or len(scores.scores) != len(protocol.pairs):
        raise MaskbenchError(f'the scores do not belong to protocol "{protocol.name}"; run the comparison again')
    if not np.array_equal(np.asarray(scores.mated, bool), np.asarray(protocol.pairs.mated, bool)):
        raise MaskbenchError(f'the labels of the scores differ from protocol "{protocol.name}"; compare again')
    if scores.recognizer_digest != embeddings.recognizer_digest:
        raise MaskbenchError("scores and embeddings come from different recognizers; run the comparison again")
