"""Made-up recognizers on a made-up protocol, taken through the real scoring and metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from maskbench.digest import bytes_sha256
from maskbench.metrics.summary import summarise_protocol
from maskbench.protocols import build_protocol
from maskbench.results import SCHEMA_VERSION, result_dir, save_run
from maskbench.scoring import score_pairs
from maskbench.types import EmbeddingSet, PairTable, Protocol, RecognizerSpec, Result, Sample, ScoreSet, Status

CONDITIONS = (("UMR-UMP", "unmasked", "unmasked"), ("UMR-MP", "unmasked", "masked"), ("MR-MP", "masked", "masked"))
DATE = "2026-01-02T03:04:05+00:00"


def make_protocol(subjects: int = 50, folds: int = 5, name: str = "toy", version: int = 1) -> Protocol:
    """Two samples a subject; per condition one mated pair and three non-mated pairs for each subject."""
    samples = [
        Sample(f"{subject}_{image}", subject, f"{subject}/{image}.png", bytes_sha256(subject.encode()))
        for subject in [f"s{number:03d}" for number in range(subjects)]
        for image in (0, 1)
    ]
    rows = [
        (f"{label}/{subject:03d}+{step}", f"s{subject:03d}_0", f"s{(subject + step) % subjects:03d}_1", first, second)
        for label, first, second in CONDITIONS
        for subject in range(subjects)
        for step in range(4)
    ]
    steps = np.array([int(row[0][-1]) for row in rows])
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    fold = np.array([int(row[0].split("/")[1][:3]) % folds + 1 for row in rows])
    return build_protocol(name, version, samples, PairTable(*columns, steps == 0, fold), "UMR-UMP", licence="CC0-1.0")


def make_embeddings(protocol: Protocol, noise: float, masked_noise: float, failed: int = 0) -> EmbeddingSet:
    """Each subject is a random direction; a template adds noise. The first ``failed`` masked samples have none."""
    rng = np.random.default_rng(1)
    names = list(protocol.samples)
    centre = {s.subject_id: rng.standard_normal(16) for s in protocol.samples.values()}
    clean = np.array([centre[protocol.samples[name].subject_id] for name in names])
    vectors = np.concatenate([clean + level * rng.standard_normal(clean.shape) for level in (noise, masked_noise)])
    status = np.zeros(len(vectors), dtype=np.int8)
    status[len(names) : len(names) + failed] = Status.FAILED
    vectors[status != Status.OK] = np.nan
    return EmbeddingSet(
        sample_ids=np.array(names * 2),
        conditions=np.repeat(["unmasked", "masked"], len(names)),
        vectors=vectors.astype(np.float32),
        status=status,
        reasons=np.where(status == Status.OK, "", "no face found"),
        recognizer_digest=bytes_sha256(f"{noise} {masked_noise}".encode()),
        samples_digest=protocol.digest,
    )


def make_run(
    name: str, noise: float = 0.5, masked_noise: float = 1.0, failed: int = 0, protocol: Protocol | None = None,
    **fields,
) -> tuple[Result, ScoreSet, Protocol]:
    """A result with its scores; ``fields`` override those of the result."""
    protocol = protocol or make_protocol()
    embeddings = make_embeddings(protocol, noise, masked_noise, failed)
    scores = score_pairs(protocol, embeddings, "cosine")
    metrics, counts, thresholds, intervals = summarise_protocol(protocol, scores, embeddings)
    spec = RecognizerSpec(
        name, embeddings.recognizer_digest, (112, 112), "arcface112", "rgb", (127.5,) * 3, (128.0,) * 3, 16, "cosine",
        parameters=1000, training_data=("made up",), licence="CC0-1.0", engine="numpy",
    )
    result = Result(
        schema_version=SCHEMA_VERSION,
        protocol={"name": protocol.name, "version": protocol.version, "digest": protocol.digest},
        recognizer=dataclasses.asdict(spec),
        completion="none",
        mask_source="none",
        align="masked",
        metrics=metrics,
        counts=counts,
        thresholds=thresholds,
        intervals=intervals,
        environment={"maskbench": "0.1.0", "numpy": np.__version__},
        digests={"manifest": bytes_sha256(b"masked set"), "protocol": protocol.digest},
        date=DATE,
    )
    return dataclasses.replace(result, **fields), scores, protocol


def write_runs(root: Path, protocol: Protocol | None = None) -> None:
    """Three recognizers of falling quality under ``root``, one of them with failures."""
    for name, noise, masked_noise, failed in (("sharp", 0.4, 0.6, 0), ("plain", 0.6, 1.1, 3), ("blunt", 0.9, 1.8, 0)):
        result, scores, used = make_run(name, noise, masked_noise, failed, protocol)
        save_run(result_dir(root, used.name, name), result, scores, used.pairs)
