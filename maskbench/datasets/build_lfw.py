"""Masked LFW: every picture with a mask, and the protocol of its pair list in three conditions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.datasets import lfw
from maskbench.datasets.build import (
    Built,
    Options,
    building,
    complete,
    describe,
    fault_of,
    mask_all,
    masking_of,
    write_table,
)
from maskbench.datasets.folder import walk
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.masking.engine import Summary
from maskbench.protocol_build import FILES, build_protocol
from maskbench.protocols import make_lfw, write_protocol
from maskbench.registry import nearest
from maskbench.types import Protocol

RECIPE = "lfw-masked"
SUBSETS = ("all", "pairs")
IMAGES, MASKED, PROTOCOL = "images.csv", "masked", "protocol"


@dataclass(frozen=True)
class _Census:
    """What is there and what the pair list names: stems to paths, and the stems of the list."""

    found: dict[str, str]
    listed: dict[str, str]  # stem to subject
    pairs: Path | None

    @property
    def missing(self) -> list[str]:
        return sorted(stem for stem in self.listed if stem not in self.found)

    @property
    def extra(self) -> list[str]:
        return sorted(stem for stem in self.found if stem not in self.listed)


def build_lfw(source: Path, out: Path, options: Options, pairs: Path | None = None, subset: str = "all") -> Built:
    """Mask LFW and write the protocol of its pair list.

    Args:
        source: folder of ``Name/Name_0001.jpg``: the original, the funneled or an aligned version.
        out: gets ``masked/``, ``images.csv`` (every picture there or in the list) and, with a pair list all of whose
            pictures are there, ``protocol/``.
        options: ``recipe`` "" for "lfw-masked".
        pairs: the pair list; looked for near ``source`` and below MASKBENCH_DATA when None. One that is given must be
            complete; one that was found is used if it is, and otherwise the report says what is missing.
        subset: "all" masks every picture of ``source``, "pairs" only those that the pair list names.

    Raises:
        MaskbenchError: there are no LFW pictures, the list is malformed, given and incomplete, or wanted and not there;
            or as ``building`` and ``mask_all``.
    """
    if subset not in SUBSETS:
        raise MaskbenchError(f'no subset "{subset}"; {nearest(subset, SUBSETS)}')
    recipe, census = options.recipe or RECIPE, _take_census(source, pairs)
    _check(source, census, pairs, subset)
    masking = masking_of(recipe, options.seed)
    settings = {"masking": masking, "landmarks": options.landmarks, "subset": subset}
    if subset == "pairs":  # otherwise the list decides on the protocol alone, which may be added later
        settings["pairs_sha256"] = file_sha256(census.pairs)
    with building(source, out, "lfw", settings) as record:
        only = None if subset == "all" else sorted(p for stem, p in census.found.items() if stem in census.listed)
        run = mask_all(source, out / MASKED, options, recipe, "central", only)
        _write_images(out / IMAGES, census)
        written = [IMAGES, f"{MASKED}/manifest.csv", *_write_protocol(source, out / PROTOCOL, census, masking)]
        counts = _counts(census, run)
        complete(out, record, counts, written)
    return Built(counts, _report(source, out, census, run, counts), fault_of(source, run))


def _take_census(source: Path, pairs: Path | None) -> _Census:
    found = lfw.find_faces(source)
    if not found:
        raise MaskbenchError(f"{source}: no pictures named Name/Name_0001.jpg in it; {_hint(source)}")
    path = Path(pairs) if pairs is not None else lfw.find_pairs(source)
    listed = {
        lfw.image_name(*image): image[0]
        for pair in (lfw.read_pairs(path) if path else [])
        for image in (pair.reference, pair.probe)
    }
    return _Census(found, listed, path)


def _hint(source: Path) -> str:
    """The folder below ``source`` that was probably meant: archives unpack to lfw, lfw_funneled, lfw-deepfunneled."""
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if any(re.fullmatch(r"([^/]+)/\1_0001\.[a-z]+", file.path) for file in walk(folder)):
            return f"did you mean {folder}?"
    return "give the folder that holds one folder for each person"


def _check(source: Path, census: _Census, pairs: Path | None, subset: str) -> None:
    """Refuse before hours of work what would be refused after them."""
    if subset == "pairs" and census.pairs is None:
        raise MaskbenchError(f"{source}: no pairs.txt in it or beside it to choose pictures by; give LFW's pair list")
    if pairs is not None and census.missing:
        raise MaskbenchError(
            f"{pairs}: names {len(census.listed)} pictures, {len(census.missing)} of which are not in {source}, first "
            f"{census.missing[0]}; complete the folder, or leave the pair list out to mask what is there"
        )


def _write_images(path: Path, census: _Census) -> None:
    """Every picture that is there or that the pair list names, once."""
    stems = sorted({*census.found, *census.listed})
    rows = [
        (
            stem, stem.rpartition("_")[0], census.found.get(stem, ""), "yes" if stem in census.listed else "no",
            "yes" if stem in census.found else "no",
        )
        for stem in stems
    ]  # fmt: skip
    write_table(path, ("image", "subject", "path", "in_pairs", "present"), rows)


def _write_protocol(source: Path, folder: Path, census: _Census, masking: dict[str, Any]) -> list[str]:
    """Write the protocol if the pair list allows it, else remove an earlier build's; return its files below OUT."""
    if census.pairs is None or census.missing:
        shutil.rmtree(folder, ignore_errors=True)
        return []
    write_protocol(_with_masking(make_lfw(source, census.pairs), masking), folder)
    return [f"{PROTOCOL}/{name}" for name in FILES]


def _with_masking(protocol: Protocol, masking: dict[str, Any]) -> Protocol:
    """The protocol as one of pictures masked so: the same under the recipe and seed that it names itself, and under
    others one of its own digest, whose results share no table with the former's."""
    if dict(protocol.masking) == masking:
        return protocol
    return build_protocol(
        protocol.name, protocol.version, protocol.samples.values(), protocol.pairs, protocol.threshold_from,
        description=protocol.description, licence=protocol.licence, source=protocol.source, masking=masking,
    )  # fmt: skip


def _counts(census: _Census, run: Summary) -> dict[str, int]:
    named = len(census.listed) - len(census.missing)
    return {
        "images": len(census.found), "subjects": len({stem.rpartition("_")[0] for stem in census.found}),
        "in_pairs": len(census.listed), "in_pairs_present": named, "in_pairs_missing": len(census.missing),
        "not_in_pairs": len(census.extra), **run.counts,
    }  # fmt: skip


def _report(source: Path, out: Path, census: _Census, run: Summary, counts: Mapping[str, int]) -> list[str]:
    lines = [
        f"{counts['images']:,} pictures of {counts['subjects']:,} people (LFW has {lfw.IMAGES:,} of {lfw.PEOPLE:,})",
        *describe("masked", run),
    ]
    if census.pairs is None:
        return [*lines, "no protocol: no pairs.txt was found; run the command again with LFW's pair list to add it"]
    lines.append(
        f"{census.pairs}: names {counts['in_pairs']:,} pictures, {counts['in_pairs_missing']:,} of them missing; "
        f"{counts['not_in_pairs']:,} pictures are in no pair"
    )
    return lines + _outcome(source, out, census.missing)


def _outcome(source: Path, out: Path, missing: Sequence[str]) -> list[str]:
    if missing:
        first = f"first {missing[0]}; {out / IMAGES} names them"
        return [f"no protocol: {len(missing):,} pictures of the pair list are missing, {first}"]
    return [
        f"next: maskbench evaluate --protocol {out / PROTOCOL} --faces {source} --masked {out / MASKED} --model MODEL "
        "--out RESULTS"
    ]
