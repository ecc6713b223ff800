"""A folder of pictures to a folder of occlusion masks and a table: resumable, the same bytes for any workers.

A picture's mask is a PNG of the picture's own size, 255 where its face is occluded, under the picture's path with the
extension replaced by .png; where that would not be unique, .png is added instead (see ``output_names``).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import cv2
import numpy as np

from maskbench.align import estimate_similarity, five_points, template_at, warp
from maskbench.datasets.folder import InputFile, walk
from maskbench.datasets.inputs import FolderInputs
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import ImageError, MaskbenchError, NameRefusedError
from maskbench.files import inside, write_bytes
from maskbench.images import decode, encode, read_image, write_image
from maskbench.landmarks.base import LANDMARKERS
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.manifest import text_bytes
from maskbench.masking.engine import CONFIG as SYNTHESIS
from maskbench.masking.engine import locked, prepare
from maskbench.masking.faces import choose_faces, no_face
from maskbench.masking.journal import RowJournal
from maskbench.masking.outputs import ALPHA_FOLDER
from maskbench.parallel import default_workers, map_items
from maskbench.pixels import tile
from maskbench.progress import track
from maskbench.segmenter import Segmenter, load_segmenter
from maskbench.tables import csv_text, read_columns
from maskbench.types import Landmarks

TABLE, CONFIG = "segments.csv", "segment.json"
CRASHED = "the worker process crashed on this file"
SHEET, TILE, ACROSS = 48, 160, 6  # pictures on a sheet, pixels of a tile, pairs in a row


@dataclass(frozen=True)
class SegmentRow:
    """What happened to one input; a row of ``segments.csv``.

    Attributes:
        status: "segmented", "failed" or "skipped" (no image file), the last two with a reason.
        covered_fraction: of the first face's aligned crop that is occluded; picture_fraction: of the picture.
    """

    source: str
    source_sha256: str = ""
    output: str = ""
    output_sha256: str = ""
    status: str = "failed"
    reason: str = ""
    faces: str = "0"
    covered_fraction: str = ""
    picture_fraction: str = ""


Row = TypeVar("Row")
COLUMNS = tuple(field.name for field in fields(SegmentRow))


@dataclass(frozen=True)
class FolderRun:
    """What a run over a folder did: rows by status, reasons of the others, how many are new, and the table."""

    counts: dict[str, int]
    reasons: dict[str, int]
    new: int
    seconds: float
    table: Path


class _Journal(RowJournal[SegmentRow]):
    name = "segments.journal.jsonl"

    def finished(self, folder: Path) -> Iterable[str] | None:
        path = folder / TABLE
        return map(_line, read_table(path)) if path.is_file() else None

    def parse(self, line: bytes) -> SegmentRow:
        return SegmentRow(**json.loads(line))

    def key(self, row: SegmentRow) -> str:
        return row.source


def _line(row: SegmentRow) -> str:
    return json.dumps(asdict(row))


def read_table(path: Path) -> list[SegmentRow]:
    """The rows of a ``segments.csv``; raises as ``read_rows`` does."""
    return read_rows(path, SegmentRow, "make the masks again")


def read_rows(path: Path, kind: type[Row], remedy: str) -> list[Row]:
    """A table whose columns are the fields of a dataclass, all text.

    Raises:
        MaskbenchError: its columns are others; "FILE:LINE: what; remedy".
    """
    names, columns = read_columns(path)
    wanted = tuple(field.name for field in fields(kind))
    if tuple(names) != wanted:
        raise MaskbenchError(f"{path}:1: not the columns {', '.join(wanted)}; {remedy}")
    return [kind(*values) for values in zip(*columns, strict=True)]


def output_names(paths: Sequence[str]) -> dict[str, str]:
    """The mask's relative path for each picture's: the extension replaced by .png.

    Where that is another picture's too, or a reader who tries "PATH.png" first would find another picture's mask, .png
    is added to the whole name instead.
    """
    replaced = {path: str(PurePosixPath(path).with_suffix(".png")) for path in paths}
    often, known = Counter(replaced.values()), set(paths)

    def unclear(path: str) -> bool:
        return often[replaced[path]] > 1 or f"{path}.png" in known or path.removesuffix(".png") in known - {path}

    return {path: f"{path}.png" if unclear(path) else replaced[path] for path in paths}


def picture_mask(image: np.ndarray, faces: Sequence[Landmarks], segmenter: Segmenter) -> tuple[np.ndarray, float]:
    """Where the faces of a picture are occluded, in the picture's own pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: at least one; each is segmented in its own aligned crop.

    Returns:
        Mask (H, W) uint8, 0 or 1, and the share of the first face's crop that is occluded.
    """
    height, width = image.shape[:2]
    template = template_at(segmenter.template, segmenter.input_size)
    mask, shares = np.zeros((height, width), np.uint8), []
    for face in faces:
        matrix = estimate_similarity(five_points(face), template.points)
        found = segmenter.segment(warp(image, matrix, template.size)[None])[0]
        shares.append(float(found.mean()))
        # Linear interpolation and half way: edges of a large face are not drawn in blocks.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        mask |= (cv2.warpAffine(found * np.uint8(255), matrix, (width, height), flags=flags) >= 128).astype(np.uint8)
    return mask, shares[0]


def _worker(
    root: str, out: str, landmarks: str, policy: str, cache: Path | None, device: str
) -> Callable[[tuple[str, str]], str]:
    """The function that segments one picture, (path, path of its mask), and answers with its row as a line."""
    cv2.setNumThreads(1)
    inputs, landmarker, segmenter = FolderInputs(root), CachedLandmarker(landmarks, root=cache), load_segmenter(device)

    def segment(item: tuple[str, str]) -> str:
        path, output = item
        digest = ""
        try:
            data = inputs.read(InputFile(path, True))
            digest = bytes_sha256(data)
            image = decode(data, path)
            found = landmarker.detect(image, digest)
            faces = choose_faces(found, image.shape, policy)
            if not faces:
                raise ImageError(f"{path}: {no_face(found, landmarks)}")
            mask, covered = picture_mask(image, faces, segmenter)
            written = encode(mask * np.uint8(255), ".png")
            write_bytes(inside(Path(out), output), written)
        except (ImageError, NameRefusedError) as error:
            reason = " ".join(str(error).removeprefix(f"{path}: ").split())
            return _line(SegmentRow(path, digest, reason=reason))
        return _line(
            SegmentRow(
                path, digest, output, bytes_sha256(written), "segmented", "", str(len(faces)), f"{covered:.4f}",
                f"{float(mask.mean()):.4f}",
            )  # fmt: skip
        )

    return segment


def segment_folder(
    images: Path | str, out: Path | str, landmarks: str = "auto", policy: str = "largest", workers: int = 1,
    resume: bool = False, cache: Path | None = None, device: str = "auto",
) -> FolderRun:  # fmt: skip
    """Segment every picture below ``images`` into ``out``, and write ``out/segments.csv``, a row for each input.

    Args:
        landmarks: "auto", "mediapipe" or "aligned": what finds the faces.
        policy: the "largest" face of a picture, the most "central" one, or "all".
        workers: processes, 0 for one on every processor; their number changes no byte.
        resume: go on with an interrupted run, or add new pictures to a finished one.
        cache: root of the landmark cache; None detects every time.

    Raises:
        MaskbenchError: no pictures, folders that contain each other, or an output folder that holds something else.
    """
    started, images, out = time.monotonic(), Path(images), Path(out)
    LANDMARKERS.get(landmarks)
    files = listed(images, out)
    names = output_names([file.path for file in files if file.is_image])
    wanted = {"segmenter": load_segmenter(device).digest, "landmarks": landmarks, "faces": policy}
    with locked(out):
        prepare(out, wanted, resume, CONFIG)
        with closing(_Journal(out)) as journal:
            kept = {row.source for row in journal.rows() if _holds(row, images, out, names)}
            todo = [item for item in names.items() if item[0] not in kept]
            given = (str(images), str(out), landmarks, policy, cache, device)
            answers = map_items(_worker, given, todo, workers or default_workers())
            for (path, _), line in track(answers, len(names), "segmenting", len(kept)):
                journal.append(path, line or _line(SegmentRow(path, reason=CRASHED)))
            rows = [_row(file, journal) for file in files]
            text = csv_text(COLUMNS, map(astuple, rows))
            write_bytes(out / TABLE, text_bytes(text))
            journal.remove()
    return told(rows, "segmented", len(todo), time.monotonic() - started, out / TABLE)


def listed(images: Path, out: Path) -> list[InputFile]:
    """What lies below ``images``, sorted; of a masked set not the alpha that lies beside its pictures.

    Raises:
        MaskbenchError: there is no picture, or one of the folders contains the other.
    """
    files = walk(images)
    if not any(file.is_image for file in files):
        raise MaskbenchError(f"{images}: no images found (jpg, jpeg, png, bmp, webp, pgm); check the folder")
    source, target = Path(os.path.realpath(images)), Path(os.path.realpath(out))
    if source == target or source in target.parents or target in source.parents:
        raise MaskbenchError(f"{out}: lies inside {images} or contains it; choose a folder apart")
    if (images / SYNTHESIS).is_file():  # a masked set: what --save-alpha wrote beside the pictures are no photographs
        files = [file for file in files if not file.path.startswith(f"{ALPHA_FOLDER}/")]
    return files


def _holds(row: SegmentRow, images: Path, out: Path, names: dict[str, str]) -> bool:
    """Whether a row from before is still true of its picture and of its mask."""
    if row.source not in names or not row.source_sha256 or row.status != "segmented":
        return False
    try:
        same = file_sha256(images / row.source) == row.source_sha256
        return same and names[row.source] == row.output and file_sha256(out / row.output) == row.output_sha256
    except OSError:
        return False


def _row(file: InputFile, journal: _Journal) -> SegmentRow:
    if not file.is_image:
        return SegmentRow(file.path, status=file.status, reason=file.note or "not an image file name")
    row = journal.get(file.path)
    assert row is not None
    return row


def told(rows: Sequence[Any], done: str, new: int, seconds: float, table: Path) -> FolderRun:
    """Count rows with ``status`` and ``reason``; ``done`` is the status of what went well."""
    counts, reasons = Counter(row.status for row in rows), Counter(f"{r.status}: {r.reason}" for r in rows if r.reason)
    whole = {status: counts[status] for status in (done, "failed", "skipped")}
    return FolderRun(whole, dict(reasons.most_common()), new, seconds, table)


def write_sheet(images: Path, out: Path, path: Path) -> int:
    """A sheet of up to 48 pictures, evenly spread over those segmented, each beside itself with its mask in red.

    Returns:
        How many are on it.
    """
    rows = [row for row in read_table(out / TABLE) if row.status == "segmented"]
    if not rows:
        return 0
    pairs = [_pair(images, out, row) for row in spread(rows, SHEET)]
    blank = np.full_like(pairs[0], 255)
    pairs += [blank] * (-len(pairs) % ACROSS)
    write_image(path, np.vstack([np.hstack(pairs[i : i + ACROSS]) for i in range(0, len(pairs), ACROSS)]))
    return min(SHEET, len(rows))


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """At most ``most`` of the rows, evenly spread over them."""
    count = min(most, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _pair(images: Path, out: Path, row: SegmentRow) -> np.ndarray:
    picture, mask = read_image(images / row.source), read_image(inside(out, row.output))[..., :1] > 127
    return np.hstack([tile(one, TILE, cv2.INTER_LINEAR) for one in (picture, in_red(picture, mask))])


def in_red(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 with red over ``mask`` (H, W, 1) bool."""
    return np.where(mask, (picture * 0.45 + np.array([255, 0, 0]) * 0.55).astype(np.uint8), picture)
