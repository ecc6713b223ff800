"""The lists and protocols of AR-style sets: one clean reference for each subject, the other pictures as probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskbench.datasets.ar import AR1, AR2
from maskbench.datasets.build import write_table
from maskbench.digest import generator
from maskbench.protocol_build import FILES, build_protocol
from maskbench.protocols import write_protocol
from maskbench.types import PairTable, Protocol, Sample

SETS = (AR1, AR2)
REFERENCES, PROBES, PROTOCOLS = "references.csv", "probes.csv", "protocols"
WORN = {AR1: "sunglasses", AR2: "scarf"}
OTHERS = 100  # references of other subjects that a probe meets in a protocol, at most


@dataclass(frozen=True)
class Reference:
    """A subject's reference picture and the rule that chose it."""

    sample: Sample
    rule: str


@dataclass(frozen=True)
class Probe:
    """An occluded picture in the identification list; ``sample.path`` is below the folder of its set.

    Attributes:
        reason: why there is no occluded picture; "" where there is one.
    """

    set: str
    sample: Sample
    reason: str = ""


def write_lists(out: Path, chosen: Sequence[Reference], probes: Sequence[Probe]) -> None:
    """Write the closed-set identification: every probe is to be found among all references.

    ``references.csv``: subject, path, sha256, rule. ``probes.csv``: set, subject, path, sha256, status ("ok" or
    "failed"), reason. A failed probe stays in the list, as a failure to be counted.
    """
    rows = [(item.sample.subject_id, item.sample.path, item.sample.sha256, item.rule) for item in chosen]
    write_table(out / REFERENCES, ("subject", "path", "sha256", "rule"), sorted(rows))
    table = [
        (probe.set, probe.sample.subject_id, probe.sample.path, probe.sample.sha256,
         "failed" if probe.reason else "ok", probe.reason)
        for probe in probes
    ]  # fmt: skip
    write_table(out / PROBES, ("set", "subject", "path", "sha256", "status", "reason"), sorted(table))


def make_protocol(
    name: str, references: Mapping[str, Sample], clean: Sequence[Sample], occluded: Sequence[Sample], seed: int,
    others: int = OTHERS, source: str = "", description: str = "", masking: Mapping[str, Any] | None = None,
) -> Protocol:  # fmt: skip
    """Verification between references and probes: unoccluded probes are UMR-UMP, occluded ones UMR-MP.

    Every probe meets its own subject's reference, and the references of ``others`` other subjects, all of them where
    there are no more. Which ones depends on ``seed`` and the probe alone, so that both conditions have the same.

    Args:
        references: by subject.
        clean: probes without anything worn.
        occluded: probes with sunglasses or a scarf; samples may be in both lists.
        masking: recipe, version and seed of pasted masks; none where people wear real ones.

    Raises:
        ProtocolError: there are no probes of a kind, or the samples contradict each other.
    """
    rows = [
        ("UMR-UMP" if condition == "unmasked" else "UMR-MP", condition, subject, probe)
        for condition, probes in (("unmasked", clean), ("masked", occluded))
        for probe in probes
        for subject in _met(list(references), probe, seed, others)
    ]
    samples = {sample.sample_id: sample for sample in (*references.values(), *clean, *occluded)}
    pairs = PairTable(
        pair_id=np.array([f"{label}/{probe.sample_id}/{subject}" for label, _, subject, probe in rows], dtype=str),
        reference_id=np.array([references[subject].sample_id for _, _, subject, _ in rows], dtype=str),
        probe_id=np.array([probe.sample_id for *_, probe in rows], dtype=str),
        reference_condition=np.full(len(rows), "unmasked"),
        probe_condition=np.array([condition for _, condition, _, _ in rows], dtype=str),
        mated=np.array([subject == probe.subject_id for _, _, subject, probe in rows], dtype=bool),
        fold=np.zeros(len(rows), np.int64),
    )
    return build_protocol(
        name, 1, samples.values(), pairs, "UMR-UMP", description=description, source=source,
        licence="Tables only; the pictures are not included.", masking=masking,
    )  # fmt: skip


def _met(subjects: Sequence[str], probe: Sample, seed: int, others: int) -> list[str]:
    """The subjects whose references a probe meets, in order: its own and some others."""
    strangers = sorted(subject for subject in subjects if subject != probe.subject_id)
    if len(strangers) > others:
        rng = generator(seed, "met", probe.sample_id)
        strangers = [strangers[index] for index in rng.choice(len(strangers), others, replace=False).tolist()]
    own = [probe.subject_id] if probe.subject_id in subjects else []
    return sorted(own + strangers)


def write_protocols(out: Path, made: Mapping[str, Protocol]) -> list[str]:
    """Write each set's protocol to ``protocols/ar1`` and so on; return the files' paths below ``out``."""
    for name, protocol in made.items():
        write_protocol(protocol, out / PROTOCOLS / name.lower())
    return [f"{PROTOCOLS}/{name.lower()}/{file}" for name in made for file in FILES]


def sample_of(path: str, subject: str, sha256: str, **attributes: str) -> Sample:
    """A sample whose id is its path."""
    return replace(Sample(path, subject, path, sha256), attributes=attributes)
