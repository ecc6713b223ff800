"""A folder of faces to a folder of masked faces and a manifest: resumable at any moment, the same bytes every time.

Tar shards come in and go out as well. What grows with the inputs is their paths and one number each; the rows are on
disk (journal.py) until the manifest is written from them, one by one.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maskbench import manifest
from maskbench.datasets.ar import refuse_ar
from maskbench.datasets.folder import InputFile
from maskbench.datasets.inputs import FolderInputs, ShardInputs, open_inputs
from maskbench.errors import ManifestError, MaskbenchError
from maskbench.files import is_temporary, read_json, write_json
from maskbench.landmarks.base import LANDMARKERS
from maskbench.masking import journal as journal_file
from maskbench.masking.faces import FACE_POLICIES
from maskbench.masking.journal import Journal
from maskbench.masking.outputs import ALPHA_FOLDER, FileOutputs, Outputs
from maskbench.masking.packing import ShardOutputs
from maskbench.masking.synthesis import Answer, SynthesisConfig, config_dict, failed_row, make_worker
from maskbench.parallel import default_workers, map_items, one_blas_thread
from maskbench.progress import track
from maskbench.registry import nearest
from maskbench.types import ManifestRow

CONFIG = "synthesis.json"
JOURNAL = journal_file.NAME
FAULTS = "faults.log"
ENGINES = ("local", "ray")
MOST_REASONS = 1000  # that a summary tells apart
CRASHED = "the worker process crashed on this file"


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
    cache: Path | None = None, only: Collection[str] | None = None, engine: str = "local",
    address: str | None = None, out_shards: bool = False,
) -> Summary:  # fmt: skip
    """Mask every image below ``faces_dir`` into the same relative path below ``out_dir``.

    Args:
        faces_dir: a folder of pictures; or WebDataset shards: a tar file, a brace pattern such as
            "train-{000..012}.tar", or a folder of tar files.
        workers: processes, 0 for one on every processor; their number changes no byte.
        resume: continue an interrupted run, or add new inputs to a finished one. Finished files are checked by digest.
        cache: root of the landmark cache; None detects every time.
        only: relative paths; the other files below ``faces_dir`` are no inputs of this run.
        engine: "local" (processes of this machine) or "ray"; changes no byte either.
        address: of a running Ray cluster, whose machines see the same folders; None starts one on this machine.
        out_shards: write shards like the input's, instead of files of their own.

    Raises:
        MaskbenchError: no inputs, a folder that cannot be written, an output folder that holds something else, or a
            run to resume whose configuration differs.
    """
    started, out_dir = time.monotonic(), Path(out_dir)
    spread = _spreader(engine, address, workers)
    _check(config)
    inputs = open_inputs(faces_dir)
    outputs_of = _outputs(inputs, faces_dir, out_shards)
    _separate(inputs, faces_dir, out_dir)
    files = _listed(inputs, faces_dir, only, config.save_alpha)
    with locked(out_dir), one_blas_thread():
        config = config.fixed()  # so that nobody reads the recipe again
        prepare(out_dir, {**config_dict(config, only), "out_shards": out_shards}, resume)
        outputs, tally = outputs_of(str(out_dir), config.save_alpha), _Tally()
        with closing(Journal(out_dir)) as journal, closing(outputs):  # which reads the journal until it is closed
            kept = _kept(journal, inputs, files, outputs)
            todo = [file for file in files if file.is_image and file.path not in kept]
            outputs.begin(todo, journal)
            with closing(spread((inputs, outputs.writer, config, cache), todo)) as answers:
                for file, answer in track(answers, len(kept) + len(todo), "masking", len(kept)):
                    _note(answer or _crashed(file, config.seed), file, journal, out_dir, tally)
                    outputs.done(file)
            outputs.finish()
            digest = manifest.write_sorted(out_dir / manifest.NAME, tally.through(_rows(files, journal, config.seed)))
            journal.remove()
    return tally.summary(time.monotonic() - started, out_dir / manifest.NAME, digest)


def _spreader(engine: str, address: str | None, workers: int) -> Callable[..., Iterator[Any]]:
    """The function that spreads inputs over workers, given what ``make_worker`` takes."""
    if engine not in ENGINES:
        raise MaskbenchError(f'no engine "{engine}"; {nearest(engine, ENGINES)}')
    if engine == "ray":
        from maskbench.masking import remote

        remote.check_installed()
        return lambda given, todo: remote.map_items(*remote.sent(*given), todo, workers, address)
    if address is not None:
        raise MaskbenchError(f"an address ({address}) belongs to the ray engine; use --engine ray with it")
    count = workers or default_workers()
    return lambda given, todo: map_items(make_worker, (*given, count > 1), todo, count)


def _check(config: SynthesisConfig) -> None:
    """Wrong names fail here, not in every worker."""
    if config.faces not in FACE_POLICIES:
        raise MaskbenchError(f'no face policy "{config.faces}"; {nearest(config.faces, FACE_POLICIES)}')
    LANDMARKERS.get(config.landmarks)


def _outputs(
    inputs: FolderInputs | ShardInputs, faces_dir: Path | str, out_shards: bool
) -> Callable[[str, bool], Outputs]:
    if not out_shards:
        return FileOutputs
    if isinstance(inputs, ShardInputs):
        return lambda root, alpha: ShardOutputs(root, inputs, alpha)
    raise MaskbenchError(f"{faces_dir}: no tar shards to write shards from; leave out_shards (--out-shards) away")


def _separate(inputs: FolderInputs | ShardInputs, faces_dir: Path | str, out_dir: Path) -> None:
    """Refuse to write into a folder that is read, or above it, and, if all of it is read, also below it."""
    # Not Path.resolve, which raises at links that lead in a circle.
    target, whole = Path(os.path.realpath(out_dir)), os.path.isdir(faces_dir)
    for folder in inputs.folders:
        source = Path(os.path.realpath(folder))
        if source == target or target in source.parents or (whole and source in target.parents):
            raise MaskbenchError(f"{out_dir}: lies inside {faces_dir} or contains it; choose a folder apart")


def _listed(
    inputs: FolderInputs | ShardInputs, faces_dir: Path | str, only: Collection[str] | None, alpha: bool
) -> list[InputFile]:
    """The inputs of this run, sorted by path."""
    files = inputs.files()
    if only is not None:
        if absent := sorted(set(only) - {file.path for file in files}):
            raise MaskbenchError(f"{faces_dir}: {len(absent)} of the wanted pictures are missing, first {absent[0]}")
        wanted = set(only)
        files = [file for file in files if file.path in wanted]
    if not any(file.is_image for file in files):
        raise MaskbenchError(f"{faces_dir}: no images found (jpg, jpeg, png, bmp, webp, pgm); check the folder")
    refuse_ar(Path(faces_dir), [file.path for file in files])
    if alpha:
        files = [_clear_of_alphas(file) for file in files]
    return files


def _clear_of_alphas(file: InputFile) -> InputFile:
    if not file.path.startswith(f"{ALPHA_FOLDER}/"):
        return file
    note = f"lies in {ALPHA_FOLDER}, where alphas are written; rename that folder"
    return replace(file, is_image=False, note=note, status="failed")


@contextmanager
def locked(out_dir: Path) -> Iterator[None]:
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


def prepare(out_dir: Path, wanted: dict[str, Any], resume: bool, name: str = CONFIG) -> None:
    """See that the output folder is a new one, or holds the run to resume: the configuration in its file ``name``."""
    if all(is_temporary(name) for name in os.listdir(out_dir)):  # such a file is what a run killed at once leaves
        _sweep(out_dir)
        write_json(out_dir / name, wanted)
        return
    if not resume:
        raise MaskbenchError(f"{out_dir}: is not empty; use --resume to continue a run, or an empty folder")
    if not (out_dir / name).is_file():
        raise MaskbenchError(f"{out_dir}: holds no run to resume (no {name}); choose an empty folder")
    found = read_json(out_dir / name)
    if not isinstance(found, dict):
        raise MaskbenchError(f"{out_dir / name}: not the configuration of a run; choose an empty folder")
    for key in sorted({*wanted, *found}):
        if wanted.get(key) != found.get(key):
            raise MaskbenchError(
                f"{out_dir / name}: the run to resume has another {key} ({found.get(key)!r}, "
                f"now {wanted.get(key)!r}); use the same options and versions, or an empty folder"
            )
    _sweep(out_dir)


def _sweep(out_dir: Path) -> None:
    """Remove the temporary files of a killed run."""
    for folder, _, names in os.walk(out_dir):
        for name in filter(is_temporary, names):
            Path(folder, name).unlink(missing_ok=True)


def _kept(
    journal: Journal, inputs: FolderInputs | ShardInputs, files: list[InputFile], outputs: Outputs
) -> set[str]:
    """The inputs whose rows from before still hold. Outputs of the other rows are deleted."""
    known = {file.path: file for file in files if file.is_image} if len(journal) else {}
    kept = set()
    for row in track(journal.rows(), len(journal), "checking"):
        file = known.get(row.source)
        if file is not None and _still_true(row, file, inputs, outputs):
            kept.add(file.path)
        elif row.status == "masked":
            outputs.remove(row)
    return kept


def _still_true(row: ManifestRow, file: InputFile, inputs: FolderInputs | ShardInputs, outputs: Outputs) -> bool:
    """Whether a finished row's input and output are still what it says."""
    try:
        if not row.source_sha256 or inputs.sha256(file) != row.source_sha256:
            return False
    except OSError:
        return False
    return row.status != "masked" or outputs.holds(row)


def _crashed(file: InputFile, seed: int) -> Answer:
    return Answer(manifest.row_to_json(failed_row(file.path, seed, CRASHED)), False, "")


def _note(answer: Answer, file: InputFile, journal: Journal, out_dir: Path, tally: _Tally) -> None:
    """Keep the row of one input, and the traceback of a fault of ours."""
    journal.append(file.path, answer.line)
    tally.new += 1
    tally.cached += answer.cached
    if not answer.fault:
        return
    try:
        with open(out_dir / FAULTS, "a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"{file.path!r}\n{answer.fault}\n")
    except OSError as error:
        raise MaskbenchError(
            f"{out_dir / FAULTS}: cannot be written ({error.strerror}); make room and use --resume"
        ) from error


def _rows(files: list[InputFile], journal: Journal, seed: int) -> Iterator[ManifestRow]:
    """Exactly one row for each input, in the inputs' order: inputs = masked + failed + skipped."""
    for file in files:
        if not file.is_image:
            yield failed_row(file.path, seed, file.note or "not an image file name", file.status)
            continue
        row = journal.get(file.path)
        if row is None:
            raise ManifestError(f"{file.path}: has no row; run again with --resume")
        yield row


class _Tally:
    """Counts rows as they pass."""

    def __init__(self) -> None:
        self.new = self.cached = 0
        self._statuses: Counter[str] = Counter()
        self._landmarks: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def through(self, rows: Iterator[ManifestRow]) -> Iterator[ManifestRow]:
        """The same rows, counted."""
        for row in rows:
            self._statuses[row.status] += 1
            if row.status == "masked":
                self._landmarks[row.landmarks] += 1
            else:
                reason = f"{row.status}: {row.reason}"
                full = len(self._reasons) >= MOST_REASONS and reason not in self._reasons
                self._reasons["other reasons" if full else reason] += 1
            yield row

    def summary(self, seconds: float, path: Path, digest: str) -> Summary:
        """What has been counted."""
        return Summary(
            {status: self._statuses[status] for status in manifest.STATUSES}, dict(self._landmarks.most_common()),
            dict(sorted(self._reasons.items(), key=lambda item: (-item[1], item[0]))),
            self.new, self.cached, seconds, path, digest,
        )  # fmt: skip
