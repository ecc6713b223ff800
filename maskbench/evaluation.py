"""Recognizers on a protocol: align, embed, compare, measure, store. One result per recognizer."""

from __future__ import annotations

import datetime
import math
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from maskbench import __version__
from maskbench.align import template_at
from maskbench.completing import Occlusion, complete_inventory
from maskbench.completions.base import Completion
from maskbench.embed import (
    ALIGN_MODES,
    CACHE_POLICIES,
    Completed,
    EmbeddingCache,
    Key,
    alignment_mode,
    alignment_points,
    embed_inventory,
)
from maskbench.errors import MaskbenchError, ResultError
from maskbench.files import make_folder, write_text
from maskbench.inventory import Inventory, take_inventory
from maskbench.mask_sources import NONE
from maskbench.metrics.conditions import LABELS, condition_labels, pair_subjects
from maskbench.metrics.summary import summarise_protocol
from maskbench.parallel import default_workers
from maskbench.pooling import pool_templates
from maskbench.protocols import protocol_counts
from maskbench.recognizers.base import spec_defaults, spec_digest
from maskbench.recognizers.training import subject_overlap
from maskbench.registry import nearest
from maskbench.results import (
    RESULT_FILE,
    SCHEMA_VERSION,
    Run,
    comparison_key,
    find_results,
    load_run,
    plain,
    read_result,
    refuse_other_result,
    result_dir,
    save_run,
)
from maskbench.scoring import score_pairs
from maskbench.systems import (
    Bench,
    Model,
    SystemOptions,
    load_completions,
    load_models,
    open_occlusions,
    wants_masks,
)
from maskbench.tables import csv_text
from maskbench.types import EmbeddingSet, Protocol, Recognizer, Result, Status

FAILURES_FILE = "failures.csv"
FAILURE_COLUMNS = ("sample_id", "condition", "reason")


@dataclass(frozen=True)
class EvaluationOptions(SystemOptions):
    """How to run an evaluation; beside the system itself (``systems.SystemOptions``), none of it changes a score except
    ``align``.

    Attributes:
        align: "auto", "detect" or "source", see ``embed.alignment_mode``.
        workers: processes for finding landmarks; 0 takes every processor. More than one needs a script's call to stand
            under ``if __name__ == "__main__":``.
        cache: of landmarks and embeddings. "missing" computes what the cache lacks, "always" computes everything anew
            and replaces what the cache holds of it, "never" neither reads nor writes.
        threshold: a decision threshold of the user's own, reported beside the others.
        allow_missing: count missing pictures as failures to extract.
        threshold_from: where transferred thresholds are fixed instead of the protocol's ``threshold_from``: another
            condition, or a folder of results on another protocol that has one of each recognizer.
        keep: leave a result as it is that the same system gave on the same pictures.
    """

    align: str = "auto"
    cache: str = "missing"
    workers: int = 1
    threshold: float | None = None
    allow_missing: bool = False
    threshold_from: str | None = None
    keep: bool = False


def evaluate(
    protocol: Protocol, models: Sequence[Model], faces_dir: Path | str, masked_dir: Path | str | None,
    out: Path | str,
    options: EvaluationOptions | None = None, cache_root: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Evaluate each model and write ``OUT/PROTOCOL/MODEL/{result.json,scores.npz,failures.csv}``; with a completion,
    ``OUT/PROTOCOL/MODEL--COMPLETION/``. Unless the options name one, each model has its own, if any.

    A result of the same comparison (``results.comparison_key``) that lies there is replaced.

    Args:
        models: names, or recognizers that are loaded, as ``systems.load_models`` takes them.
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
    root = None if options.cache == "never" else cache_root
    workers, refresh = options.workers or default_workers(), options.cache == "always"
    inventory = take_inventory(protocol, faces_dir, masked_dir, options.allow_missing)
    bench = Bench(options, inventory, root, workers, refresh)
    recognizers = load_models(models, bench)
    completions = load_completions(recognizers, options)
    folders = _folders(out, protocol, recognizers, completions, options)
    mode = alignment_mode(inventory, options.align)
    key = protocol.name, protocol.digest, inventory.masked_digest, mode, inventory.samples_digest
    for folder in folders:
        refuse_other_result(folder, key)
    occlusions = open_occlusions(recognizers, completions, bench)
    systems = [System(*parts) for parts in zip(recognizers, occlusions, folders, strict=True)]
    protocol, elsewhere = threshold_sources(protocol, systems, options.threshold_from)
    for system in systems:
        _refuse_other_system(system)
        make_folder(system.folder)  # now, not after hours of work
    due = [system for system in systems if not (options.keep and _is_there(system, key, inventory, options))]
    if not due:
        return folders
    _, points = alignment_points(inventory, mode, workers, root, refresh)
    for together in _alike(due):
        with _completed(together[0].occlusion, inventory, points, root, workers, refresh) as completed:
            for system in together:
                cache = EmbeddingCache(cache_root, system.recognizer, options.cache)
                embeddings = embed_inventory(system.recognizer, inventory, points, cache, completed=completed)
                _score(system, protocol, inventory, embeddings, mode, options, elsewhere.get(system.name))
    return folders


@dataclass(frozen=True)
class System:
    """A recognizer, what is done to faces before it, and where its result goes."""

    recognizer: Recognizer
    occlusion: Occlusion | None
    folder: Path

    @property
    def name(self) -> str:
        """The recognizer's."""
        return self.recognizer.spec.name

    @property
    def digests(self) -> dict[str, str]:
        """What tells a result of this system from those of others."""
        own = {"recognizer": spec_digest(self.recognizer.spec)}
        return own | ({"completion": self.occlusion.digest} if self.occlusion else {})

    def made(self, result: Result) -> bool:
        """Whether a result is of this very system."""
        digests = result.digests
        return {name: digests[name] for name in ("recognizer", "completion") if name in digests} == self.digests


def _alike(systems: Sequence[System]) -> list[list[System]]:
    """The systems that have the same completion together, which is then run once."""
    groups: dict[int, list[System]] = {}
    for system in systems:
        groups.setdefault(id(system.occlusion), []).append(system)
    return list(groups.values())


def _score(
    system: System, protocol: Protocol, inventory: Inventory, embeddings: EmbeddingSet, align: str,
    options: EvaluationOptions, source: tuple[str, np.ndarray] | None,
) -> None:  # fmt: skip
    """Compare, measure and store."""
    pooled = pool_templates(embeddings, protocol)
    scores = score_pairs(protocol, pooled, system.recognizer.spec.comparator)
    parts = summarise_protocol(protocol, scores, pooled, options.threshold, source)
    result = _result(system, inventory, embeddings, align, parts, options)
    write_failures(system.folder / FAILURES_FILE, embeddings)
    save_run(system.folder, result, scores, protocol.pairs, pair_subjects(protocol))


def _refuse_other_system(system: System) -> None:
    """Raise ResultError if a folder holds a result of another completion, or of the same method fitted otherwise."""
    try:
        found = read_result(system.folder / RESULT_FILE)
    except ResultError:
        return
    fitted = system.recognizer.spec.network.startswith("classical-") and not system.made(found)
    if fitted or found.digests.get("completion") != system.digests.get("completion"):
        raise ResultError(
            f"{system.folder / RESULT_FILE}: holds a result of the same names, fitted on other faces or with other "
            "settings (--fit-on, --mask-dilate, ...); choose another --out"
        )


def _is_there(
    system: System, key: tuple[str, ...], inventory: Inventory, options: EvaluationOptions
) -> bool:
    """Whether a folder holds the result of this system on these pictures, with its scores and nothing asked beside."""
    try:
        found = load_run(system.folder / RESULT_FILE).result
    except MaskbenchError:
        return False
    same = system.made(found) and comparison_key(found) == key
    said = {**plain(spec_defaults()), **found.recognizer} == plain(asdict(system.recognizer.spec))
    told = environment(system, options, inventory).items() <= found.environment.items()
    return same and said and told and options.threshold is None and options.threshold_from is None


def _folders(
    out: Path, protocol: Protocol, recognizers: Sequence[Recognizer], completions: Sequence[Completion],
    options: EvaluationOptions,
) -> list[Path]:  # fmt: skip
    """Where each result goes. Raises MaskbenchError if two go to one folder."""
    folders: list[Path] = []
    for recognizer, completion in zip(recognizers, completions, strict=True):
        source = options.mask_source if wants_masks(recognizer, completion) else NONE
        added = completion_label(completion.spec.name, source)
        folder = result_dir(out, protocol.name, recognizer.spec.name, added)
        if folder in folders:
            raise MaskbenchError(f"{folder}: two of the models have this name; rename one in its card")
        folders.append(folder)
    return folders


def completion_label(completion: str, mask_source: str) -> str:
    """What a result's folder calls completion and mask source: "rpca", "rpca-oracle"; "none" without either."""
    if mask_source in (NONE, "segmenter"):
        return completion
    return mask_source if completion == NONE else f"{completion}-{mask_source}"


@contextmanager
def _completed(
    occlusion: Occlusion | None, inventory: Inventory, points: Mapping[Key, np.ndarray | str], root: Path | None,
    workers: int, refresh: bool,
) -> Iterator[Completed | None]:  # fmt: skip
    """The completed faces, in the cache, or without one in a folder that is gone afterwards."""
    if occlusion is None:
        yield None
        return
    spec = occlusion.completion.spec
    with tempfile.TemporaryDirectory() if root is None else nullcontext(root) as folder:
        files = complete_inventory(inventory, points, occlusion, Path(folder), workers, refresh)
        yield Completed(files, template_at(spec.template, spec.input_size))


def threshold_sources(
    protocol: Protocol, systems: Sequence[System], wanted: str | None
) -> tuple[Protocol, dict[str, tuple[str, np.ndarray]]]:
    """Where thresholds are transferred from: the protocol with another ``threshold_from``, or for each recognizer's
    name the other scores, and what to call them.

    Raises:
        MaskbenchError: neither a condition of the protocol nor a folder with one result of each system.
    """
    if wanted is None:
        return protocol, {}
    if wanted in LABELS:
        if wanted not in condition_labels(protocol.pairs):
            raise MaskbenchError(f"threshold_from {wanted}: protocol {protocol.name} has no pairs of it")
        return replace(protocol, threshold_from=wanted), {}
    if not Path(wanted).exists():
        raise MaskbenchError(f"threshold_from {wanted}: neither a condition nor a folder; {nearest(wanted, LABELS)}")
    results = {path: read_result(path) for path in find_results(Path(wanted))}
    found: dict[str, tuple[str, np.ndarray]] = {}
    for system in systems:
        paths = [path for path, result in results.items() if system.made(result)]
        if len(paths) != 1:
            with_it = f" with {system.occlusion.completion.spec.name}" if system.occlusion else ""
            raise MaskbenchError(
                f"{wanted}: holds {len(paths)} results of {system.name}{with_it}; give a folder with one of it"
            )
        found[system.name] = _non_mated(load_run(paths[0]), wanted)
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
    system: System, inventory: Inventory, embeddings: EmbeddingSet, align: str,
    parts: tuple[Mapping, Mapping, Mapping, Mapping], options: EvaluationOptions,
) -> Result:  # fmt: skip
    recognizer, occlusion = system.recognizer, system.occlusion
    protocol, (metrics, counts, thresholds, intervals) = inventory.protocol, parts
    head = {"name": protocol.name, "version": protocol.version, "digest": protocol.digest}
    return Result(
        schema_version=SCHEMA_VERSION,
        protocol={**head, "threshold_from": protocol.threshold_from, "counts": protocol_counts(protocol)},
        recognizer=asdict(recognizer.spec),
        completion=occlusion.completion.spec.name if occlusion else NONE,
        mask_source=occlusion.source.name if occlusion else NONE,
        align=align,
        metrics=metrics,
        counts=counts,
        thresholds=thresholds,
        intervals=intervals,
        environment=environment(system, options, inventory),
        digests={
            "protocol": protocol.digest,
            "manifest": inventory.masked_digest,
            "samples": embeddings.samples_digest,
            "weights": recognizer.spec.weights_sha256,
            **system.digests,
        },
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def environment(system: System, options: EvaluationOptions, inventory: Inventory) -> dict[str, str]:
    """Versions, platform, what really ran the network, which face counts, how many pictures are missing, how many of
    the protocol's subjects the recognizer was trained on, and what the completion was fitted on."""
    recognizer = system.recognizer
    found = {"maskbench": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in ("numpy", "opencv-contrib-python", "onnxruntime", "onnxruntime-gpu", "torch", "mediapipe"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    pictures = {"face_policy": inventory.face_policy, "missing_pictures": str(inventory.missing)}
    pictures["subject_overlap"] = subject_overlap(recognizer, inventory.protocol)
    pictures |= inventory.masking | dict(system.occlusion.about if system.occlusion else {})
    return {**found, "device_asked": options.device, "engine": recognizer.spec.engine, **pictures}

