"""A folder of faces to a folder of masked faces and a manifest: resumable at any moment, the same bytes every time."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench import manifest
from maskbench.datasets.folder import InputFile, walk
from maskbench.digest import file_sha256
from maskbench.errors import ManifestError, MaskbenchError
from maskbench.files import inside, read_json, write_json, write_text
from maskbench.landmarks.base import LANDMARKERS
from maskbench.masking.faces import FACE_POLICIES
from maskbench.masking.synthesis import (
    SynthesisConfig,
    Synthesised,
    alpha_path,
    config_dict,
    failed_row,
    make_worker,
)
from maskbench.parallel import map_items
from maskbench.progress import track
from maskbench.registry import nearest
from maskbench.types import ManifestRow

CONFIG = "synthesis.json"
JOURNAL = "manifest.journal.jsonl"
FAULTS = "faults.log"
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


@dataclass(frozen=True)
class Summary:
    """What a run did. ``seconds`` and ``new`` count this call only; the other numbers the whole folder."""

    counts: dict[str, int]
    by_landmarks: dict[str, int]
    reasons: dict[str, int]
    new: int
    cached: int
    seconds: float
    manifest: Path
    manifest_sha256: str


def synthesize(
    faces_dir: Path | str, out_dir: Path | str, config: SynthesisConfig, workers: int = 1, resume: bool = False,
    cache: Path | None = None, only: Collection[str] | None = None,
) -> Summary:  # fmt: skip
    """Mask every image below ``faces_dir`` into the same relative path below ``out_dir``.

    Args:
        workers: processes; their number changes no byte.
        resume: continue an interrupted run, or add new inputs to a finished one. Finished files are checked by digest.
        cache: root of the landmark cache; None detects every time.
        only: relative paths; the other files below ``faces_dir`` are no inputs of this run.

    Raises:
        MaskbenchError: no inputs, a folder that cannot be written, an output folder that holds something else, or a
            run to resume whose configuration differs.
    """
    started, faces_dir, out_dir = time.monotonic(), Path(faces_dir), Path(out_dir)
    if config.faces not in FACE_POLICIES:
        raise MaskbenchError(f'no face policy "{config.faces}"; {nearest(config.faces, FACE_POLICIES)}')
    LANDMARKERS.get(config.landmarks)  # an unknown name fails here, not in every worker
    _separate(faces_dir, out_dir)
    inputs = _inputs(faces_dir, only)
    if not any(file.is_image for file in inputs):
        raise MaskbenchError(f"{faces_dir}: no images found (jpg, jpeg, png, bmp, webp, pgm); check the folder")
    with _locked(out_dir):
        done = _open(out_dir, config_dict(config, only), resume)
        rows = {
            file.path: failed_row(file.path, config.seed, file.note or "not an image file name", "skipped")
            for file in inputs
            if not file.is_image
        }
        images = [file.path for file in inputs if file.is_image]
        rows |= {
            path: done[path] for path in images if path in done and _still_true(faces_dir, out_dir, done[path], config)
        }
        todo = [path for path in images if path not in rows]
        cached = 0
        for answer in _answers(faces_dir, out_dir, config, cache, todo, workers, len(images)):
            rows[answer.row.source] = answer.row
            cached += answer.cached
            _append(out_dir / JOURNAL, manifest.row_to_json(answer.row))
            if answer.fault:
                _append(out_dir / FAULTS, f"{answer.row.source!r}\n{answer.fault}")
        everything = list(rows.values())
        manifest.check_complete(everything, [file.path for file in inputs])
        _remove_orphans(out_dir, done, rows)
        digest = manifest.write_manifest(out_dir / manifest.NAME, everything)
        (out_dir / JOURNAL).unlink(missing_ok=True)
    return _summary(everything, len(todo), cached, time.monotonic() - started, out_dir / manifest.NAME, digest)


@contextmanager
def _locked(out_dir: Path) -> Iterator[None]:
    """Make the output folder, and keep a second run out of it while this one works."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(out_dir, os.O_RDONLY)
    except OSError as error:
        raise MaskbenchError(
            f"{out_dir}: cannot be used ({error.strerror}); choose a folder you may write to"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise MaskbenchError(
            f"{out_dir}: another run is writing there; wait for it, or choose another folder"
        ) from error
    finally:
        os.close(handle)


def _append(path: Path, line: str) -> None:
    """Add a line that survives the death of this process."""
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be written ({error.strerror}); make room and use --resume") from error


def _remove_orphans(out_dir: Path, before: dict[str, ManifestRow], now: dict[str, ManifestRow]) -> None:
    """Delete masked pictures of an earlier run whose input is gone or can no longer be masked."""
    for path, row in before.items():
        if row.status == "masked" and (path not in now or now[path].status != "masked"):
            inside(out_dir, row.output).unlink(missing_ok=True)
            alpha_path(out_dir, path).unlink(missing_ok=True)


def _inputs(faces_dir: Path, only: Collection[str] | None) -> list[InputFile]:
    inputs = walk(faces_dir)
    if only is None:
        return inputs
    if absent := sorted(set(only) - {file.path for file in inputs}):
        raise MaskbenchError(f"{faces_dir}: {len(absent)} of the wanted pictures are missing, first {absent[0]}")
    wanted = set(only)
    return [file for file in inputs if file.path in wanted]


def _answers(
    faces_dir: Path, out_dir: Path, config: SynthesisConfig, cache: Path | None, todo: list[str], workers: int,
    total: int,
) -> Iterator[Synthesised]:  # fmt: skip
    work = map_items(make_worker, (faces_dir, out_dir, config, cache), todo, workers)
    for path, answer in track(work, total, "masking", total - len(todo)):
        yield answer or Synthesised(failed_row(path, config.seed, "the worker process crashed on this file"))


def _separate(faces_dir: Path, out_dir: Path) -> None:
    """Refuse to write into the folder that is read, in either direction."""
    # Not Path.resolve, which raises at links that lead in a circle.
    source, target = (Path(os.path.realpath(folder)) for folder in (faces_dir, out_dir))
    if source == target or source in target.parents or target in source.parents:
        raise MaskbenchError(f"{out_dir}: lies inside {faces_dir} or contains it; choose a folder apart")


def _open(out_dir: Path, wanted: dict[str, Any], resume: bool) -> dict[str, ManifestRow]:
    """Prepare the output folder; return the rows of an earlier run when resuming."""
    if not any(out_dir.iterdir()):
        write_json(out_dir / CONFIG, wanted)
        return {}
    if not resume:
        raise MaskbenchError(f"{out_dir}: is not empty; use --resume to continue a run, or an empty folder")
    if not (out_dir / CONFIG).is_file():
        raise MaskbenchError(f"{out_dir}: holds no synthesis run (no {CONFIG}); choose an empty folder")
    found = read_json(out_dir / CONFIG)
    if not isinstance(found, dict):
        raise MaskbenchError(f"{out_dir / CONFIG}: not the configuration of a run; choose an empty folder")
    for key in sorted({*wanted, *found}):
        if wanted.get(key) != found.get(key):
            raise MaskbenchError(
                f"{out_dir / CONFIG}: the run to resume has another {key} ({found.get(key)!r}, "
                f"now {wanted.get(key)!r}); use the same options and versions, or an empty folder"
            )
    _sweep(out_dir)
    return _earlier_rows(out_dir)


def _earlier_rows(out_dir: Path) -> dict[str, ManifestRow]:
    rows: dict[str, ManifestRow] = {}
    if (out_dir / manifest.NAME).is_file():
        rows = {row.source: row for row in manifest.read_manifest(out_dir / manifest.NAME)}
    journal = out_dir / JOURNAL
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            row = manifest.row_from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break  # cut short by the interruption; that file is simply done again
            raise ManifestError(f"{journal}:{number}: damaged line; delete it and resume") from error
        rows[row.source] = row
    if lines:  # drop a cut-off last line, so that the next row does not continue it
        write_text(journal, "".join(manifest.row_to_json(row) + "\n" for row in rows.values()))
    return rows


def _still_true(faces_dir: Path, out_dir: Path, row: ManifestRow, config: SynthesisConfig) -> bool:
    """Whether a finished row's input and output are still what it says, and its alpha is there if it should be."""
    try:
        if not row.source_sha256 or file_sha256(inside(faces_dir, row.source)) != row.source_sha256:
            return False
        if row.status != "masked":
            return True
        has_alpha = not config.save_alpha or alpha_path(out_dir, row.source).is_file()
        return has_alpha and file_sha256(inside(out_dir, row.output)) == row.output_sha256
    except OSError:
        return False


def _sweep(out_dir: Path) -> None:
    """Remove the temporary files of a killed run."""
    for path in out_dir.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _summary(rows: list[ManifestRow], new: int, cached: int, seconds: float, path: Path, digest: str) -> Summary:
    masked = [row for row in rows if row.status == "masked"]
    reasons = Counter(f"{row.status}: {row.reason}" for row in rows if row.status != "masked")
    return Summary(
        manifest.counts(rows), dict(Counter(row.landmarks for row in masked).most_common()),
        dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        new, cached, seconds, path, digest,
    )  # fmt: skip
