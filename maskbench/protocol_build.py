"""A protocol in memory: its parts checked against each other and sealed under a digest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from maskbench.errors import ProtocolError
from maskbench.metrics.conditions import condition_labels
from maskbench.protocol_tables import Templates, check_pairs, check_samples, check_templates, tables_sha256
from maskbench.registry import nearest
from maskbench.types import PairTable, Protocol, Sample

FORMAT_VERSION = 1
HEADER, SAMPLES, PAIRS = FILES = ("protocol.yaml", "samples.csv", "pairs.csv")
TEMPLATES = "templates.csv"  # only where sides of pairs are several samples
TEXT_KEYS = ("description", "licence", "source")

MASKING_KEYS = {"recipe", "version", "seed"}
Locator = Callable[[str], str]  # a header key to the "FILE:LINE" that a message about it starts with


def build_protocol(
    name: str,
    version: int,
    samples: Iterable[Sample],
    pairs: PairTable,
    threshold_from: str,
    *,
    description: str = "",
    licence: str = "",
    source: str = "",
    masking: Mapping[str, Any] | None = None,
    templates: Templates | None = None,
) -> Protocol:
    """Check samples and pairs against each other and seal them under a digest.

    Pair order is kept, because scores come in it; samples are sorted by id.

    Raises:
        ProtocolError: as ``load_protocol``; lines are those of the tables that ``write_protocol`` would write.
    """
    header = {"name": name, "version": version, "threshold_from": threshold_from}
    header |= {"description": description, "licence": licence, "source": source, "masking": dict(masking or {})}
    ordered = sorted(samples, key=lambda sample: sample.sample_id)
    return seal(header, ordered, pairs, "", lambda key: HEADER, templates)


def seal(
    header: Mapping[str, Any], samples: Sequence[Sample], pairs: PairTable, prefix: str, where: Locator,
    templates: Templates | None = None,
) -> Protocol:  # fmt: skip
    """Check a header and tables that are in the order of their files, and make the protocol.

    Args:
        header: the keys of ``protocol.yaml``.
        prefix: what the file names in messages start with.
        where: a header key to the "FILE:LINE" that a message about it starts with.

    Raises:
        ProtocolError: as :func:`maskbench.protocols.load_protocol`.
    """
    check_header(header, where)
    check_samples(samples, prefix + SAMPLES)
    subjects = check_templates(samples, templates or {}, prefix + TEMPLATES)
    check_pairs(samples, pairs, prefix + PAIRS, subjects)
    conditions = condition_names(pairs)
    threshold_from = header["threshold_from"]
    if threshold_from not in conditions:
        hint = nearest(str(threshold_from), conditions)
        raise ProtocolError(f"{where('threshold_from')}: threshold_from {threshold_from!r} has no pairs; {hint}")
    ordered, masking = sorted(samples, key=lambda sample: sample.sample_id), dict(header.get("masking") or {})
    sealed = [FORMAT_VERSION, header["name"], header["version"], threshold_from, *([masking] if masking else [])]
    return Protocol(
        name=header["name"],
        version=header["version"],
        samples={sample.sample_id: sample for sample in ordered},
        pairs=pairs,
        threshold_from=threshold_from,
        digest=tables_sha256(sealed, ordered, pairs, templates),
        masking=masking,
        templates={key: tuple(templates[key]) for key in sorted(templates or {})},
        **{key: header.get(key, "") for key in TEXT_KEYS},
    )


def condition_names(pairs: PairTable) -> list[str]:
    """The conditions that occur, such as "UMR-MP", in the order in which the pairs first name them."""
    names, first = np.unique(np.asarray(condition_labels(pairs), dtype=str), return_index=True)
    return [str(name) for name in names[np.argsort(first)]]


def protocol_counts(protocol: Protocol) -> dict[str, int]:
    """What the header's ``counts`` says: samples, subjects, pairs, mated, non_mated and folds (0 for none); and
    templates, where there are any."""
    mated = int(np.count_nonzero(protocol.pairs.mated))
    return {
        "samples": len(protocol.samples),
        "subjects": len({sample.subject_id for sample in protocol.samples.values()}),
        "pairs": len(protocol.pairs),
        "mated": mated,
        "non_mated": len(protocol.pairs) - mated,
        "folds": len(np.setdiff1d(protocol.pairs.fold, [0])),
    } | ({"templates": len(protocol.templates)} if protocol.templates else {})


def used_keys(protocol: Protocol) -> set[tuple[str, str]]:
    """Every (sample id, condition) that a comparison needs, those of its templates' samples among them."""
    pairs, templates = protocol.pairs, protocol.templates
    sides = ((pairs.reference_id, pairs.reference_condition), (pairs.probe_id, pairs.probe_condition))
    keys = {key for ids, conditions in sides for key in zip(ids.tolist(), conditions.tolist(), strict=True)}
    return {(sample, condition) for name, condition in keys for sample in templates.get(name, (name,))}


def masked_paths(protocol: Protocol) -> list[str]:
    """The paths of the samples that a comparison wants masked, sorted: what a synthesis run has to make."""
    wanted = (sample_id for sample_id, condition in used_keys(protocol) if condition == "masked")
    return sorted(protocol.samples[sample_id].path for sample_id in wanted)


def stranger_pairs(protocol: Protocol) -> int:
    """How many different pairs of subjects the non-mated comparisons are made of."""
    pairs, other = protocol.pairs, ~protocol.pairs.mated
    sides = zip(pairs.reference_id[other].tolist(), pairs.probe_id[other].tolist(), strict=True)
    owner = {name: sample.subject_id for name, sample in protocol.samples.items()}
    owner |= {name: owner[members[0]] for name, members in protocol.templates.items()}
    return len({frozenset(owner[side] for side in pair) for pair in sides})


def check_header(header: Mapping[str, Any], where: Locator) -> None:
    """Raise ProtocolError for a name, a version, a format version or a text that the format does not allow."""
    name, version, form = header["name"], header["version"], header.get("format_version", FORMAT_VERSION)
    if type(form) is not int or form != FORMAT_VERSION:
        raise ProtocolError(f"{where('format_version')}: format_version {form!r}, expected {FORMAT_VERSION}")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ProtocolError(f"{where('name')}: name {name!r} must be letters, digits, '.', '_' and '-'")
    if type(version) is not int or version < 1:
        raise ProtocolError(f"{where('version')}: version {version!r} must be a whole number from 1")
    for key in TEXT_KEYS:
        if not isinstance(header.get(key, ""), str):
            raise ProtocolError(f"{where(key)}: {key} must be text; put it in quotes")
    _check_masking(header.get("masking") or {}, where)


def _check_masking(masking: Any, where: Locator) -> None:
    """Raise ProtocolError unless it is empty or names a recipe, its version and a seed."""
    whole = isinstance(masking, Mapping) and all(type(masking.get(key)) is int for key in ("version", "seed"))
    if masking and not (whole and set(masking) == MASKING_KEYS and isinstance(masking["recipe"], str)):
        raise ProtocolError(f"{where('masking')}: masking must have a recipe's name, its version and a seed")
