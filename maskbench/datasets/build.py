"""What the dataset builders share: an output folder that one build owns, its record, and the masking stage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maskbench import manifest
from maskbench.datasets.ar import refuse_ar
from maskbench.datasets.folder import walk
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import is_temporary, read_json, write_json, write_text
from maskbench.masking.engine import Summary, locked, synthesize
from maskbench.masking.synthesis import PIXEL_LIBRARIES, SynthesisConfig
from maskbench.tables import csv_text
from maskbench.types import ManifestRow

RECORD = "dataset.json"
FORMAT_VERSION = 1
UNFINISHED, COMPLETE = "unfinished", "complete"


@dataclass(frozen=True)
class Options:
    """What every builder takes.

    Attributes:
        recipe: the distribution of masks: a name or a YAML file; "" for the builder's own.
        seed: of masks, splits and drawn comparisons.
        landmarks: "auto", "mediapipe" or "aligned", for the masking stage.
        workers: processes; their number changes no byte.
        cache: root of the landmark cache; None detects every time.
    """

    recipe: str = ""
    seed: int = 0
    landmarks: str = "auto"
    workers: int = 1
    cache: Path | None = None


@dataclass(frozen=True)
class Built:
    """A finished data set.

    Attributes:
        counts: those of its record.
        lines: what to tell the user.
        fault: why it is of no use after all: nothing could be masked; "" for a good one.
    """

    counts: dict[str, int]
    lines: list[str]
    fault: str = ""


# ---------------------------------------------------------------- the output folder


@contextmanager
def building(source: Path, out: Path, kind: str, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Own the output folder while a data set is built in it; the same call continues a build that was interrupted.

    Yields the record, which ``complete`` writes when all is done; until then the one on disk says "unfinished".

    Args:
        options: what decides the content; a folder that was begun with other options is refused.

    Raises:
        MaskbenchError: ``source`` is no folder, ``out`` lies in it or around it, is in use or holds something else.
    """
    if not source.is_dir():
        raise MaskbenchError(f"{source}: no such folder; give the folder of the data set")
    below, above = (Path(os.path.realpath(folder)) for folder in (out, source))
    if below == above or above in below.parents or below in above.parents:
        raise MaskbenchError(f"{out}: lies inside {source} or contains it; choose a folder apart")
    record = {"format_version": FORMAT_VERSION, "kind": kind, "options": dict(options), "versions": _versions()}
    with locked(out):
        _claim(out, record)
        yield record


def _versions() -> dict[str, str]:
    from maskbench import __version__

    return {"maskbench": __version__} | {name: version(name) for name in PIXEL_LIBRARIES}


def _claim(out: Path, record: dict[str, Any]) -> None:
    path = out / RECORD
    if all(is_temporary(name) for name in os.listdir(out)):  # empty, but for a build killed at once
        _sweep(out)
        write_json(path, record | {"state": UNFINISHED})
        return
    if not path.is_file():
        raise MaskbenchError(f"{out}: is not empty and no data set of ours (no {RECORD}); choose an empty folder")
    found = read_json(path)
    if not isinstance(found, dict):
        raise MaskbenchError(f"{path}: not the record of a data set; choose an empty folder")
    _refuse_other(path, _flat(record), _flat({key: found.get(key) for key in record}))
    write_json(path, record | {"state": UNFINISHED})
    _sweep(out)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The record with the members of its tables as keys of their own, for messages that name one."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _refuse_other(path: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    for key in sorted({*wanted, *found}):
        if wanted.get(key) != found.get(key):
            raise MaskbenchError(
                f"{path}: was begun with another {key} ({found.get(key)!r}, now {wanted.get(key)!r}); use the same "
                "options and versions, or an empty folder"
            )


def _sweep(out: Path) -> None:
    """Remove what a killed build left half written."""
    for folder, below, names in os.walk(out):
        for name in filter(is_temporary, names):
            Path(folder, name).unlink(missing_ok=True)
        for name in filter(is_temporary, list(below)):
            shutil.rmtree(Path(folder, name))
            below.remove(name)


def complete(out: Path, record: Mapping[str, Any], counts: Mapping[str, Any], written: Sequence[str]) -> None:
    """Write the finished record: counts, and the digests of the tables that were written. It holds no time and no
    path outside ``out``, so that the same build gives the same bytes anywhere."""
    digests = {name: file_sha256(out / name) for name in written}
    write_json(out / RECORD, {**record, "state": COMPLETE, "counts": dict(counts), "sha256": digests})


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a CSV file atomically, in the order of the rows.

    Raises:
        MaskbenchError: a file name is not UTF-8.
    """
    text = csv_text(columns, rows)
    try:
        write_text(path, text)
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n") + 1
        raise MaskbenchError(f"{text.splitlines()[line - 1]!r}: a file name that is not UTF-8; rename it") from error


# ---------------------------------------------------------------- masking


def masking_of(recipe: str, seed: int) -> dict[str, Any]:
    """What a protocol says of its masked pictures: the recipe's own name, its version and the seed.

    Raises:
        MaskbenchError: the recipe is unknown, malformed or selects no mask: known before hours of alignment.
    """
    bound = SynthesisConfig(recipe=recipe).wardrobe().recipe
    return {"recipe": bound.name, "version": bound.version, "seed": seed}


def mask_all(
    faces: Path, out: Path, options: Options, recipe: str, policy: str, only: Collection[str] | None = None
) -> Summary:
    """The masking stage: ``faces`` to ``out``, or to what an earlier run has left to do there.

    Args:
        recipe: what to draw from.
        policy: which face of a picture is masked: "largest" or "central".
        only: relative paths; None for every file.

    Raises:
        MaskbenchError: the pictures are those of the real AR database, or as ``masking.engine.synthesize``.
    """
    refuse_ar(faces, only if only is not None else [file.path for file in walk(faces)])
    config = SynthesisConfig(recipe=recipe, seed=options.seed, landmarks=options.landmarks, faces=policy)
    return synthesize(faces, out, config, workers=options.workers, resume=True, cache=options.cache, only=only)


def describe(label: str, summary: Summary) -> list[str]:
    """A masking stage for people: counts, and the commonest reasons for failure."""
    parts = " + ".join(f"{number:,} {status}" for status, number in summary.counts.items())
    total = sum(summary.counts.values())
    lines = [f"{label}: {total:,} files = {parts} ({summary.new:,} done now in {summary.seconds:.1f} s)"]
    return lines + [f"  {reason}: {number}" for reason, number in list(summary.reasons.items())[:5]]


def fault_of(source: Path, *runs: Summary) -> str:
    """What to say if one of the masking stages masked nothing, else ""."""
    empty = next((run for run in runs if not run.counts["masked"]), None)
    return f"{source}: no picture could be masked; {empty.manifest} says why" if empty else ""


def manifest_rows(summary: Summary) -> Iterator[ManifestRow]:
    """The manifest's rows, one at a time."""
    return manifest.iterate(summary.manifest)
