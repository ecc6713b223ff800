"""A folder of pictures to completed faces for people to look at, and a table: maskbench complete.

The completed face of a picture is a PNG of its aligned crop, under the names that ``segmenting.output_names`` gives.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from maskbench import manifest
from maskbench.completing import Occlusion, complete_inventory, read_completed
from maskbench.completions.base import Completion, load_completion
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import ImageError, MaskbenchError, NameRefusedError
from maskbench.files import inside, write_bytes
from maskbench.images import declared_size, encode, read_bytes
from maskbench.inventory import Inventory, Item
from maskbench.landmarks.base import LANDMARKERS
from maskbench.landmarks.batch import find_five_points
from maskbench.manifest import text_bytes
from maskbench.mask_sources import DILATE, FromFiles, MaskSource, Oracle, Segmented, check_source
from maskbench.masking.engine import locked, prepare
from maskbench.masking.replay import masks_of_run
from maskbench.parallel import default_workers
from maskbench.segmenting import FolderRun, listed, output_names, read_rows, told
from maskbench.systems import Bench, SystemOptions, make_occlusion
from maskbench.tables import csv_text
from maskbench.types import PairTable, Protocol, Sample

TABLE, CONFIG = "completed.csv", "complete.json"
CONDITION = "masked"  # of every picture: mask files and alpha are asked for


@dataclass(frozen=True)
class CompletedRow:
    """What happened to one input; a row of ``completed.csv``.

    Attributes:
        status: "completed", "failed" or "skipped" (no image file), the last two with a reason.
        covered_fraction: of the aligned crop that was replaced; 0 where nothing hides the face.
        mask: what tells the mask apart from others of its source: the SHA-256 of a mask file, and so on.
        digest: over the completion, what it was fitted on, the mask source and how masks grow.
    """

    source: str
    source_sha256: str = ""
    output: str = ""
    output_sha256: str = ""
    status: str = "failed"
    reason: str = ""
    covered_fraction: str = ""
    mask: str = ""
    digest: str = ""


COLUMNS = tuple(field.name for field in fields(CompletedRow))


@dataclass(frozen=True)
class FaceOptions:
    """How faces are found, and where their originals are.

    Attributes:
        landmarks: "auto", "mediapipe" or "aligned"; policy: "largest" or "central".
        originals: folder of the unmasked pictures, at the same paths: for the mask source "oracle" and the sheets.
        workers: processes, 0 for one on every processor; cache: of landmarks and completed faces, None for nowhere.
    """

    landmarks: str = "auto"
    policy: str = "largest"
    originals: Path | None = None
    workers: int = 1
    cache: Path | None = None

    def points(self, paths: Sequence[Path], refresh: bool = False) -> dict[Path, np.ndarray | str]:
        """Five points of each picture's face, or the reason why there are none."""
        workers = self.workers or default_workers()
        return find_five_points(paths, self.landmarks, workers, self.cache, self.policy, refresh)


@dataclass(frozen=True)
class CompletedFolder:
    """A run, and what its sheets (``completing_sheets``) are made of."""

    run: FolderRun
    images: Path
    out: Path
    rows: list[CompletedRow]
    occlusion: Occlusion
    faces: FaceOptions


def complete_folder(
    images: Path | str, out: Path | str, method: str, options: SystemOptions | None = None,
    faces: FaceOptions | None = None, resume: bool = False, refresh: bool = False,
) -> CompletedFolder:  # fmt: skip
    """Complete one face of every picture below ``images``; write ``out/completed.csv``, a row for each input.

    Args:
        method: as ``completions.base.load_completion`` takes it.
        options: where masks are, what is fitted, engine and device.
        resume: keep what an earlier run with the same settings wrote whole, and do the rest.
        refresh: as ``resume``, but make everything anew, whatever the folder and the cache hold.

    Raises:
        MaskbenchError: no pictures, folders that contain each other, an output folder that holds something else or was
            written with other settings, or a wrong option.
    """
    started, images, out = time.monotonic(), Path(images), Path(out)
    options, faces = options or SystemOptions(), faces or FaceOptions()
    LANDMARKERS.get(faces.landmarks)
    check_source(options.mask_source, options.mask_files)
    completion = load_completion(method, options.device, options.engine)
    files = listed(images, out)
    names = output_names([file.path for file in files if file.is_image])
    items, rows = _items(images, list(names))
    source = _source(options, items, images, faces.originals)
    with locked(out):
        begun, settings = bool(os.listdir(out)), _settings(completion, source, options, faces)
        if begun:  # what is wrong with the folder is told before anything is fitted
            prepare(out, settings, resume or refresh, CONFIG)
        inventory = _inventory(images, items, faces.policy)
        bench = Bench(options, inventory, faces.cache, faces.workers or default_workers(), refresh)
        occlusion = make_occlusion(completion, source, bench)
        if not begun:  # and a new one stays empty if that fails
            prepare(out, settings, False, CONFIG)
        rows |= {} if refresh else _kept(out, items, names, occlusion)
        todo = [item for item in items if item.sample_id not in rows]
        rows |= _complete(replace(inventory, items=todo), names, out, occlusion, faces, refresh)
        for file in files:
            if not file.is_image:
                reason = file.note or "not an image file name"
                rows[file.path] = CompletedRow(file.path, status=file.status, reason=reason)
        ordered = [rows[file.path] for file in files]
        write_bytes(out / TABLE, text_bytes(csv_text(COLUMNS, map(astuple, ordered))))
    run = told(ordered, "completed", len(todo), time.monotonic() - started, out / TABLE)
    return CompletedFolder(run, images, out, ordered, occlusion, faces)


def _items(images: Path, paths: Sequence[str]) -> tuple[list[Item], dict[str, CompletedRow]]:
    """The pictures that can be read, and rows of the others."""
    items, rows = [], {}
    for path in paths:
        try:
            data = read_bytes(file := inside(images, path))
            items.append(Item(path, CONDITION, file, bytes_sha256(data), declared_size(data)))
        except ImageError as error:
            rows[path] = CompletedRow(path, reason=_reason(str(error), images / path))
    return items, rows


def _reason(said: str, file: Path) -> str:
    return " ".join(said.removeprefix(f"{file}: ").split())


def _inventory(images: Path, items: list[Item], policy: str) -> Inventory:
    """The pictures as the completing stage takes them: those of a protocol that compares nobody."""
    nothing = np.empty(0, str)
    pairs = PairTable(*[nothing] * 5, np.empty(0, bool), np.empty(0, int))
    samples = {item.sample_id: Sample(item.sample_id, "", item.sample_id, item.sha256) for item in items}
    return Inventory(items, "", policy, Protocol(images.name, 0, samples, pairs, "", ""), images, True)


def _source(options: SystemOptions, items: Sequence[Item], images: Path, originals: Path | None) -> MaskSource:
    if options.mask_source == "segmenter":
        return Segmented(options.device)
    if options.mask_files is not None:
        return FromFiles(options.mask_files, {item.sample_id: item.sample_id for item in items})
    if originals is None:
        raise MaskbenchError("--mask-source oracle draws masks again on the unmasked pictures; give them (--originals)")
    masks_of_run(images)
    rows = {row.output: row for row in manifest.read_manifest(images / manifest.NAME) if row.status == "masked"}
    known = {i.sample_id: rows[i.sample_id] for i in items if i.sample_id in rows}
    same = {i.sample_id for i in items if i.sample_id in known and known[i.sample_id].output_sha256 == i.sha256}
    where = {path: _original(originals, row) for path, row in known.items() if path in same}
    return Oracle(images, where, {path: row for path, row in known.items() if path in same})


def _original(originals: Path, row: manifest.ManifestRow) -> Path | None:
    """The very picture that a row's masks were drawn on."""
    path = inside(originals, row.source)
    try:
        return path if file_sha256(path) == row.source_sha256 else None
    except OSError:
        return None


def _settings(
    completion: Completion, source: MaskSource, options: SystemOptions, faces: FaceOptions
) -> dict[str, str | int]:
    """What decides the completed faces, for the folder's own record."""
    dilate = DILATE[source.name] if options.mask_dilate is None else options.mask_dilate
    found = {
        "method": completion.spec.name, "completion": completion.digest, "mask_source": source.name,
        "masks": source.digest, "mask_dilate": dilate, "landmarks": faces.landmarks, "faces": faces.policy,
    }  # fmt: skip
    if completion.spec.needs_fit:
        found |= {"fit_on": str(options.fit_on), "fit_limit": options.fit_limit}
    return found


def _kept(
    out: Path, items: Sequence[Item], names: Mapping[str, str], occlusion: Occlusion
) -> dict[str, CompletedRow]:
    """The rows of an earlier run that are still true of their pictures and of what was written."""
    if not (out / TABLE).is_file():
        return {}
    before = read_rows(out / TABLE, CompletedRow, "use --refresh")
    rows = {row.source: row for row in before if row.status == "completed"}
    kept = {}
    for item in items:
        row, path = rows.get(item.sample_id), item.sample_id
        if row is None or (row.source_sha256, row.output) != (item.sha256, names[path]):
            continue
        try:
            whole = file_sha256(inside(out, row.output)) == row.output_sha256
        except OSError:
            continue
        if whole and (row.mask, row.digest) == (occlusion.source.key(item), occlusion.digest):
            kept[path] = row
    return kept


def _complete(
    inventory: Inventory, names: Mapping[str, str], out: Path, occlusion: Occlusion, faces: FaceOptions, refresh: bool
) -> dict[str, CompletedRow]:
    """Complete the pictures of an inventory and write each face; a row for each."""
    items = inventory.items
    found = faces.points([item.path for item in items if item.path], refresh)
    points = {(item.sample_id, CONDITION): found[item.path] for item in items if item.path}
    rows = {}
    with tempfile.TemporaryDirectory() if faces.cache is None else nullcontext(faces.cache) as root:
        workers = faces.workers or default_workers()
        made = complete_inventory(inventory, points, occlusion, Path(root), workers, refresh)
        for item in items:
            where = points[item.sample_id, CONDITION]
            answer = where if isinstance(where, str) else made[item.sample_id, CONDITION]
            rows[item.sample_id] = _write(item, answer, names[item.sample_id], out, occlusion)
    return rows


def _write(item: Item, answer: Path | str, name: str, out: Path, occlusion: Occlusion) -> CompletedRow:
    failed = CompletedRow(item.sample_id, item.sha256)
    if isinstance(answer, str):
        return replace(failed, reason=_reason(answer, Path(str(item.path))))
    try:
        face, mask = read_completed(answer)
        data = encode(face, ".png")
        write_bytes(inside(out, name), data)
    except (ImageError, NameRefusedError) as error:
        return replace(failed, reason=_reason(str(error), answer))
    share, key = f"{float(mask.mean()):.4f}", occlusion.source.key(item)
    return CompletedRow(
        item.sample_id, item.sha256, name, bytes_sha256(data), "completed", "", share, key, occlusion.digest
    )
