"""Scores that another program computed, measured like those of ``maskbench evaluate``; see docs/scores.md."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskbench import __version__
from maskbench.digest import config_sha256, file_sha256
from maskbench.errors import MaskbenchError, ResultError
from maskbench.metrics.blocks import OPTIMISTIC
from maskbench.metrics.clustered import Subjects, drop_transferred, subjects_of_condition
from maskbench.metrics.conditions import LABELS
from maskbench.metrics.summary import summarise
from maskbench.protocols import protocol_counts
from maskbench.results import (
    RESULT_FILE,
    SCHEMA_VERSION,
    comparison_key,
    read_result,
    refuse_other_result,
    result_dir,
    save_run,
)
from maskbench.score_files_ftx import ftx_by_role
from maskbench.score_files_match import Comparisons, negated, on_its_own, on_protocol
from maskbench.score_files_threshold import Source, fixed_threshold, threshold_source
from maskbench.score_formats_read import ScoreTable, read_table
from maskbench.types import Protocol, Result, ScoreSet, Status

ENGINE = "scores of another program"
PARTS = ("metrics", "counts", "thresholds", "intervals")


@dataclass(frozen=True)
class ScoreOptions:
    """How to read scores and what to report.

    Attributes:
        format: "auto", or one of ``score_formats_read.FORMATS``.
        name: of the recognizer; the file's name without extension by default.
        set_name: of the comparisons, without a protocol. Given, it vouches that files of this set list the same
            comparisons in the same order, where they do not name them.
        conditions: with a protocol, the only ones that the scores cover; without one, that of all rows.
        threshold: a decision threshold in the file's own units, reported under "at_threshold".
        at_fmr: instead of ``threshold``, the target FMR that fixes it on ``threshold_from`` by the strict rule.
        threshold_from: a condition, a score file or a result folder that transferred thresholds are fixed on.
        lower_is_better: the file holds distances; they are negated, and thresholds with them.
        missing_as_failed: pairs of the protocol without a row are failed comparisons.
        failures: a list of the samples without a template, as ``evaluate`` writes it.
        same_pictures: the folder of a result whose pictures these are, by the word of the user.
    """

    format: str = "auto"
    name: str = ""
    set_name: str = ""
    conditions: tuple[str, ...] = ()
    threshold: float | None = None
    at_fmr: float | None = None
    threshold_from: str | None = None
    lower_is_better: bool = False
    missing_as_failed: bool = False
    failures: Path | None = None
    same_pictures: Path | None = None


@dataclass(frozen=True)
class Scored:
    """What a call of :func:`score` did: the folder written, what was read, and what looks wrong."""

    folder: Path
    said: str
    notes: tuple[str, ...]


def score(
    files: Sequence[Path | str], out: Path | str, protocol: Protocol | None = None,
    options: ScoreOptions | None = None,
) -> Scored:  # fmt: skip
    """Read score files and write ``OUT/PROTOCOL/MODEL/{result.json,scores.npz}``.

    Args:
        files: one file; two for pyeer, genuine scores first.
        protocol: without one, the file must say which comparisons are mated.

    Raises:
        MaskbenchError: malformed input or options that contradict each other; "FILE:LINE: ..." where there is a line.
        ResultError: the folder holds a result that must not be compared with the new one.
    """
    options, paths = options or ScoreOptions(), [Path(path) for path in files]
    _check(options, protocol)
    table = read_table(paths, options.format)
    if options.lower_is_better:
        if table.protocol_digest:
            raise MaskbenchError(f"{paths[0]}: maskbench's own scores, larger is more alike; drop --lower-is-better")
        table = negated(table)
    compared = _compared(table, paths, protocol, options)
    source = threshold_source(options.threshold_from, compared, options.lower_is_better)
    result = _result(compared, source, paths, protocol, table, options)
    folder = result_dir(Path(out), compared.name, str(result.recognizer["name"]))
    refuse_other_result(folder, comparison_key(result))
    _refuse_loss(folder, result)
    recognizer = result.digests["recognizer"]
    scores = ScoreSet(compared.scores, compared.pairs.mated, compared.status, compared.digest, recognizer)
    save_run(folder, result, scores, compared.pairs, compared.subjects)
    return Scored(folder, table.said, tuple(_notes(compared, result, options)))


def _refuse_loss(folder: Path, result: Result) -> None:
    """A file of one condition must not replace a result that has others too."""
    try:
        there = read_result(folder / RESULT_FILE)
    except MaskbenchError:
        return
    if lost := [name for name in there.metrics if name not in result.metrics]:
        raise ResultError(
            f"{folder / RESULT_FILE}: has {', '.join(lost)} too; score all conditions from one file, "
            "or choose another --name or --out"
        )


def _check(options: ScoreOptions, protocol: Protocol | None) -> None:
    if options.at_fmr is not None and not 0 < options.at_fmr <= 1:
        raise MaskbenchError(f"--at-fmr {options.at_fmr}: choose a value above 0 and up to 1")
    if options.at_fmr is not None and options.threshold is not None:
        raise MaskbenchError("--threshold and --at-fmr both fix the threshold; give one of them")
    if options.threshold is not None and not np.isfinite(options.threshold):
        raise MaskbenchError(f"--threshold {options.threshold}: give a finite number")
    for name in options.conditions:
        if name not in LABELS:
            raise MaskbenchError(f'--condition {name}: no such condition; known: {", ".join(LABELS)}')
    if protocol is None and len(options.conditions) > 1:
        raise MaskbenchError("--condition: without --protocol all rows have one; add a column condition for several")
    if protocol is None and options.missing_as_failed:
        raise MaskbenchError("--missing-as-failed: only a protocol says what is missing; give --protocol")
    if protocol is not None and options.set_name:
        raise MaskbenchError("--set names comparisons that have no protocol; drop it or --protocol")


def _compared(
    table: ScoreTable, paths: Sequence[Path], protocol: Protocol | None, options: ScoreOptions
) -> Comparisons:
    if protocol is not None:
        return on_protocol(table, protocol, options.conditions, options.missing_as_failed)
    fingerprint = "" if options.set_name else config_sha256([file_sha256(path) for path in paths])
    return on_its_own(table, next(iter(options.conditions), None), options.set_name or "scores", fingerprint)


# ---------------------------------------------------------------- the result


def summaries(
    compared: Comparisons, source: Source, threshold: float | None, failures: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Metrics, counts, thresholds and intervals of every condition that was run, each keyed by condition.

    Raises:
        MaskbenchError: as ``metrics.summary.summarise``, or a condition was run in part.
    """
    collected: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    known = ftx_by_role(compared, failures)
    for name in LABELS:
        rows = (compared.label == name) & (compared.status != Status.NOT_RUN)
        if not rows.any():
            continue
        if missing := int(np.count_nonzero(compared.label == name) - np.count_nonzero(rows)):
            total = missing + int(np.count_nonzero(rows))
            raise MaskbenchError(f"{name}: {missing} of {total} comparisons were not run; score all, or mark as failed")
        roles, why = known[name]
        found = summarise(
            compared.scores[rows],
            compared.pairs.mated[rows],
            compared.status[rows],
            compared.pairs.fold[rows],
            threshold_from_scores=source.non_mated,
            threshold_from=source.name,
            threshold=threshold,
            ftx_by_role=roles,
            subjects=_subjects(compared, source, name, rows),
        )
        if source.rows is None:
            drop_transferred(found["intervals"])
        if why:
            found["metrics"].setdefault("ftx", {})["reason"] = why
        for part in PARTS:
            collected[part][name] = found[part]
    return collected


def _subjects(compared: Comparisons, source: Source, name: str, rows: np.ndarray) -> Subjects | None:
    """Who is compared, for intervals over subjects."""
    if compared.subjects is None:
        return None
    if source.rows is None:
        return Subjects(compared.subjects[rows])
    own = source.name == name
    return subjects_of_condition(compared.subjects, rows, source.rows, own, compared.pairs.fold)


def _result(
    compared: Comparisons, source: Source, paths: Sequence[Path], protocol: Protocol | None, table: ScoreTable,
    options: ScoreOptions,
) -> Result:  # fmt: skip
    threshold = None if options.threshold is None else float(options.threshold)
    if threshold is not None and options.lower_is_better:
        threshold = 0.0 - threshold
    if options.at_fmr is not None:
        threshold = fixed_threshold(source, options.at_fmr)
    parts = summaries(compared, source, threshold, options.failures)
    if options.at_fmr is not None:
        _state_origin(parts, source, options.at_fmr)
    recognizer = _recognizer(options, paths)
    pictures, stated = _pictures(options.same_pictures, compared.digest)
    head = {"name": compared.name, "version": compared.version, "digest": compared.digest}
    return Result(
        schema_version=SCHEMA_VERSION,
        protocol={**head, "threshold_from": compared.threshold_from, "counts": _counts(compared, protocol)},
        recognizer=recognizer,
        completion="none",
        mask_source="none",
        align=pictures.pop("align"),
        **parts,
        environment=_environment(table, options) | stated,
        digests={
            "protocol": compared.digest,
            "recognizer": table.recognizer_digest or config_sha256(recognizer),
            "weights": "",
            "input": ",".join(file_sha256(path) for path in paths),
            **pictures,
        },
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _state_origin(parts: dict[str, dict[str, Any]], source: Source, target: float) -> None:
    """Say in the blocks of a threshold that a target FMR fixed where it was fixed; what it was fixed on, it flatters.
    Its own uncertainty is not in the intervals over subjects, so these are taken out."""
    for name, metrics in parts["metrics"].items():
        if block := metrics.get("at_threshold"):
            block |= {"from": source.name, "target": target, "rule": "strict"}
            block |= {"note": OPTIMISTIC} if source.name == name else {}
        for path, interval in parts["intervals"][name].items():
            if path.startswith("at_threshold.") and isinstance(interval, dict):
                interval.pop("clustered", None)


def _recognizer(options: ScoreOptions, paths: Sequence[Path]) -> dict[str, Any]:
    """What is known of a recognizer of which only scores are seen; None is "not known"."""
    unknown = dict.fromkeys(("weights_sha256", "parameters", "embedding_size", "training_data"))
    comparator = "distance, negated" if options.lower_is_better else "unknown"
    name = options.name or paths[0].stem
    return {"name": name, **unknown, "licence": "unknown", "engine": ENGINE, "comparator": comparator}


def _counts(compared: Comparisons, protocol: Protocol | None) -> Mapping[str, int]:
    if protocol is not None:
        return protocol_counts(protocol)
    mated, pairs = int(np.count_nonzero(compared.pairs.mated)), len(compared.scores)
    counts = {"pairs": pairs, "mated": mated, "non_mated": pairs - mated}
    counts["folds"] = len(np.setdiff1d(compared.pairs.fold, [0]))
    if compared.subjects is not None:
        counts["subjects"] = len(np.unique(compared.subjects))
    return counts


def _pictures(folder: Path | None, digest: str) -> tuple[dict[str, str], dict[str, str]]:
    """Digests and alignment of the pictures, and what the environment says of them."""
    if folder is None:
        return {"align": "unknown", "manifest": "", "samples": ""}, {}
    other = read_result(Path(folder) / RESULT_FILE)
    if other.protocol.get("digest") != digest:
        raise MaskbenchError(f"{folder}: a result of another protocol; give one of the same pictures and pairs")
    _, _, manifest, align, samples = comparison_key(other)
    stated = {"pictures": f"by statement those of {other.recognizer.get('name')}"}
    same = ("missing_pictures", "mask_recipe", "mask_seed")
    stated |= {key: other.environment[key] for key in same if key in other.environment}
    return {"align": align, "manifest": manifest, "samples": samples}, stated


def _environment(table: ScoreTable, options: ScoreOptions) -> dict[str, str]:
    found = {"maskbench": __version__, "python": platform.python_version(), "platform": platform.platform()}
    found |= {"numpy": np.__version__, "scores_format": table.format, "engine": ENGINE}
    found["subject_overlap"] = "unknown"
    found["scores_direction"] = "lower is more alike, negated" if options.lower_is_better else "larger is more alike"
    if options.at_fmr is not None:
        found["threshold_at_fmr"] = repr(options.at_fmr)
    return found


def _notes(compared: Comparisons, result: Result, options: ScoreOptions) -> list[str]:
    """What is worth a second look, one line each."""
    notes, done = [], compared.status == Status.OK
    if done.any():
        mated, other = (compared.scores[done & (compared.pairs.mated == kind)] for kind in (True, False))
        if len(mated) and len(other) and mated.mean() < other.mean():
            remedy = "drop --lower-is-better" if options.lower_is_better else "distances need --lower-is-better"
            notes.append(f"mated comparisons are less alike than non-mated ones on average: {remedy}?")
    for name, tree in result.metrics.items():
        lost = compared.status[compared.label == name] == Status.FAILED
        if lost.any() and (why := tree.get("ftx", {}).get("reason")):
            notes.append(f"{name}: FTX is not known: {why}")
    return notes
