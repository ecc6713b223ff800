"""Recognizers on a protocol: align, embed, compare, measure, store. One result per recognizer."""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from maskbench import __version__
from maskbench.embed import (
    ALIGN_MODES,
    CACHE_POLICIES,
    EmbeddingCache,
    alignment_mode,
    alignment_points,
    embed_inventory,
)
from maskbench.errors import MaskbenchError
from maskbench.files import write_text
from maskbench.inventory import Inventory, take_inventory
from maskbench.metrics.conditions import LABELS, condition_labels, pair_subjects
from maskbench.metrics.summary import summarise_protocol
from maskbench.parallel import default_workers
from maskbench.pooling import pool_templates
from maskbench.protocols import protocol_counts
from maskbench.recognizers.base import load_recognizer, spec_digest
from maskbench.recognizers.flip import FlipSum
from maskbench.recognizers.training import subject_overlap
from maskbench.registry import nearest
from maskbench.results import (
    SCHEMA_VERSION,
    Run,
    find_results,
    load_run,
    read_result,
    refuse_other_result,
    result_dir,
    save_run,
)
from maskbench.scoring import score_pairs
from maskbench.tables import csv_text
from maskbench.types import EmbeddingSet, Protocol, Recognizer, Result, Status

FAILURES_FILE = "failures.csv"
FAILURE_COLUMNS = ("sample_id", "condition", "reason")


@dataclass(frozen=True)
class EvaluationOptions:
    """How to run an evaluation; none of it changes a score except ``align`` and, in the last bits, the engine.

    Attributes:
        device: "auto", "cpu" or "cuda"; engine: "onnxruntime" or "torch".
        align: "auto", "detect" or "source", see ``embed.alignment_mode``.
        workers: processes for finding landmarks; 0 takes every processor. More than one needs a script's call to stand
            under ``if __name__ == "__main__":``.
        cache: of landmarks and embeddings. "missing" computes what the cache lacks, "always" computes everything anew
            and replaces what the cache holds of it, "never" neither reads nor writes.
        threshold: a decision threshold of the user's own, reported beside the others.
        allow_missing: count missing pictures as failures to extract.
        threshold_from: where transferred thresholds are fixed instead of the protocol's ``threshold_from``: another
            condition, or a folder of results on another protocol that has one of each recognizer.
        flip_sum: templates are sums over a face and its mirror image (``recognizers.flip``).
    """

    device: str = "auto"
    engine: str = "onnxruntime"
    align: str = "auto"
    cache: str = "missing"
    workers: int = 1
    threshold: float | None = None
    allow_missing: bool = False
    flip_sum: bool = False
    threshold_from: str | None = None


def evaluate(
    protocol: Protocol, models: Sequence[str], faces_dir: Path | str, masked_dir: Path | str | None,
    out: Path | str,
    options: EvaluationOptions | None = None, cache_root: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Evaluate each model and write ``OUT/PROTOCOL/MODEL/{result.json,scores.npz,failures.csv}``.

    A result of the same comparison (``results.comparison_key``) that lies there is replaced.

    Args:
        models: registered names, or "onnx:PATH".
        masked_dir: without it only the conditions that need no mask are run.

    Returns:
        The folders written, in the order of the models.

    Raises:
        MaskbenchError: a model, an option or a folder is wrong. Models are all loaded before the first one runs.
        ResultError: ``out`` holds a result of one of the models on another masked set, alignment or pictures.
    """
    options = options or EvaluationOptions()
    faces_dir, masked_dir, out = Path(faces_dir), None if masked_dir is None else Path(masked_dir), Path(out)
    for value, choices, kind in ((options.align, ALIGN_MODES, "align"), (options.cache, CACHE_POLICIES, "cache")):
        if value not in choices:
            raise MaskbenchError(f'no {kind} mode "{value}"; {nearest(value, choices)}')
    if options.threshold is not None and not math.isfinite(options.threshold):
        raise MaskbenchError(f"threshold {options.threshold}: give a finite number")
    recognizers = [load_recognizer(name, options.device, options.engine) for name in models]
    recognizers = [FlipSum(recognizer) for recognizer in recognizers] if options.flip_sum else recognizers
    folders = [result_dir(out, protocol.name, recognizer.spec.name) for recognizer in recognizers]
    for folder in folders:
        if folders.count(folder) > 1:
            raise MaskbenchError(f"{folder}: two of the models have this name; rename one in its card")
    inventory = take_inventory(protocol, faces_dir, masked_dir, options.allow_missing)
    mode = alignment_mode(inventory, options.align)
    key = protocol.name, protocol.digest, inventory.masked_digest, mode, inventory.samples_digest
    for folder in folders:
        refuse_other_result(folder, key)
    protocol, elsewhere = threshold_sources(protocol, recognizers, options.threshold_from)
    workers = options.workers or default_workers()
    root = None if options.cache == "never" else cache_root
    _, points = alignment_points(inventory, mode, workers, root, options.cache == "always")
    for recognizer, folder in zip(recognizers, folders, strict=True):
        cache = EmbeddingCache(cache_root, recognizer, options.cache)
        embeddings = embed_inventory(recognizer, inventory, points, cache)
        pooled = pool_templates(embeddings, protocol)
        scores = score_pairs(protocol, pooled, recognizer.spec.comparator)
        source = elsewhere.get(recognizer.spec.name)
        parts = summarise_protocol(protocol, scores, pooled, options.threshold, source)
        result = _result(recognizer, inventory, embeddings, mode, parts, options)
        write_failures(folder / FAILURES_FILE, embeddings)
        save_run(folder, result, scores, protocol.pairs, pair_subjects(protocol))
    return folders


def threshold_sources(
    protocol: Protocol, recognizers: Sequence[Recognizer], wanted: str | None
) -> tuple[Protocol, dict[str, tuple[str, np.ndarray]]]:
    """Where thresholds are transferred from: the protocol with another ``threshold_from``, or for each recognizer's
    name the other scores, and what to call them.

    Raises:
        MaskbenchError: neither a condition of the protocol nor a folder with one result of each recognizer.
    """
    if wanted is None:
        return protocol, {}
    if wanted in LABELS:
        if wanted not in condition_labels(protocol.pairs):
            raise MaskbenchError(f"threshold_from {wanted}: protocol {protocol.name} has no pairs of it")
        return replace(protocol, threshold_from=wanted), {}
    if not Path(wanted).exists():
        raise MaskbenchError(f"threshold_from {wanted}: neither a condition nor a folder; {nearest(wanted, LABELS)}")
    digests = {path: read_result(path).digests.get("recognizer") for path in find_results(Path(wanted))}
    found: dict[str, tuple[str, np.ndarray]] = {}
    for recognizer in recognizers:
        name, digest = recognizer.spec.name, spec_digest(recognizer.spec)
        paths = [path for path, other in digests.items() if other == digest]
        if len(paths) != 1:
            raise MaskbenchError(f"{wanted}: holds {len(paths)} results of {name}; give a folder with one of it")
        found[name] = _non_mated(load_run(paths[0]), wanted)
    return protocol, found


def _non_mated(run: Run, where: str) -> tuple[str, np.ndarray]:
    """The completed non-mated scores of a run's own ``threshold_from``, and what to call them."""
    source, scores = str(run.result.protocol.get("threshold_from", "")), run.scores
    rows = (run.condition == source) & ~np.asarray(scores.mated, bool) & (scores.status == Status.OK)
    if not rows.any():
        name = run.result.recognizer.get("name")
        raise MaskbenchError(f"{where}: no completed non-mated comparison of {source} by {name}")
    return f"{run.result.protocol.get('name')} {source}", np.asarray(scores.scores)[rows]


def write_failures(path: Path, embeddings: EmbeddingSet) -> None:
    """List the pictures without a template: sample_id, condition, reason; a header alone when there are none."""
    columns = (embeddings.sample_ids, embeddings.conditions, embeddings.reasons)
    failed = embeddings.status != Status.OK
    rows = sorted(zip(*(column[failed].tolist() for column in columns), strict=True))
    write_text(path, csv_text(FAILURE_COLUMNS, [[" ".join(value.split()) for value in row] for row in rows]))


def _result(
    recognizer: Recognizer, inventory: Inventory, embeddings: EmbeddingSet, align: str,
    parts: tuple[Mapping, Mapping, Mapping, Mapping], options: EvaluationOptions,
) -> Result:  # fmt: skip
    protocol, (metrics, counts, thresholds, intervals) = inventory.protocol, parts
    head = {"name": protocol.name, "version": protocol.version, "digest": protocol.digest}
    return Result(
        schema_version=SCHEMA_VERSION,
        protocol={**head, "threshold_from": protocol.threshold_from, "counts": protocol_counts(protocol)},
        recognizer=asdict(recognizer.spec),
        completion="none",
        mask_source="none",
        align=align,
        metrics=metrics,
        counts=counts,
        thresholds=thresholds,
        intervals=intervals,
        environment=environment(recognizer, options, inventory),
        digests={
            "protocol": protocol.digest,
            "manifest": inventory.masked_digest,
            "recognizer": spec_digest(recognizer.spec),
            "samples": embeddings.samples_digest,
            "weights": recognizer.spec.weights_sha256,
        },
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def environment(recognizer: Recognizer, options: EvaluationOptions, inventory: Inventory) -> dict[str, str]:
    """Versions, platform, what really ran the network, which face counts, how many pictures are missing, and how many
    of the protocol's subjects the recognizer was trained on."""
    found = {"maskbench": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in ("numpy", "opencv-contrib-python", "onnxruntime", "onnxruntime-gpu", "torch", "mediapipe"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    pictures = {"face_policy": inventory.face_policy, "missing_pictures": str(inventory.missing)}
    pictures["subject_overlap"] = subject_overlap(recognizer, inventory.protocol)
    pictures |= inventory.masking
    return {**found, "device_asked": options.device, "engine": recognizer.spec.engine, **pictures}

