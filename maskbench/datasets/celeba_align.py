"""Pictures to rough crops of one size, one row of ``aligned.csv`` for every input: resumable, the same bytes again."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from maskbench.align import Template, estimate_similarity, five_points, warp
from maskbench.datasets.celeba import CELEBA256
from maskbench.datasets.celeba_table import JOURNAL, NAME, AlignedRow, append, earlier_rows, write_aligned
from maskbench.datasets.folder import walk
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import inside, write_bytes
from maskbench.images import decode, encode, read_bytes
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.faces import choose_faces
from maskbench.parallel import map_items
from maskbench.progress import track

WIDEST = 3.0  # sides of a picture that the crop may span: more than that is no face in a picture but a wrong list
FROM_LIST = "list"
FORMATS = ("jpg", "png", "webp")  # of crops
CROP = re.compile(rf"[0-9]+/.+\.({'|'.join(FORMATS)})", re.DOTALL)  # the paths that ``build_celeba`` gives them


@dataclass(frozen=True)
class Job:
    """One picture to align: paths below the two folders, the person, and the points where a list has them."""

    source: str
    output: str
    identity: str
    points: tuple[float, ...] = ()


# ---------------------------------------------------------------- one picture


def rough_crop(image: np.ndarray, points: np.ndarray, template: Template = CELEBA256) -> np.ndarray:
    """Rotate, scale and shift a picture so that its five points lie nearest the template's; its border is reflected.

    Args:
        image: (H, W, 3) uint8.
        points: (5, 2) pixels.

    Returns:
        ``template.size`` x 3, uint8.

    Raises:
        ImageError: the points coincide, lie outside the picture, or are so far apart that the crop would span far more
            than the picture.
    """
    points = np.asarray(points, np.float64)
    height, width = image.shape[:2]
    middle = points.mean(0)
    if not (0 <= middle[0] < width and 0 <= middle[1] < height):
        raise ImageError("the landmarks lie outside the picture; is the list the one of these pictures?")
    try:
        matrix = estimate_similarity(points, template.points)
    except MaskbenchError as error:
        raise ImageError(str(error)) from error
    if max(template.size) / np.hypot(matrix[0, 0], matrix[1, 0]) > WIDEST * max(height, width):
        raise ImageError("the landmarks are too far apart for the picture; is the list the one of these pictures?")
    return warp(*_reflected(image, matrix, template.size), template.size)


def _reflected(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that a crop shows, its border reflected where the crop reaches beyond it, and the matrix
    that starts from there. ``warp`` alone would draw the border pixels out into streaks."""
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    corners = np.array([(-1, -1, 1), (size[1], -1, 1), (-1, size[0], 1), (size[1], size[0], 1)]) @ back.T
    margin = 2  # for the interpolation
    x0, y0 = (np.floor(corners.min(0)) - margin).astype(int)
    x1, y1 = (np.ceil(corners.max(0)) + margin + 1).astype(int)
    height, width = image.shape[:2]
    left, top, right, bottom = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    part = image[top:bottom, left:right]
    part = cv2.copyMakeBorder(part, top - y0, y1 - bottom, left - x0, x1 - right, cv2.BORDER_REFLECT_101)
    return part, np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ (x0, y0)])


def make_worker(pictures: Path, crops: Path, landmarker: str, cache: Path | None) -> Callable[[Job], AlignedRow]:
    """Set up one process and return its function from job to row."""
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(1)  # the processes are the parallelism
    finder = CachedLandmarker(landmarker, root=cache)
    return lambda job: align_file(pictures, crops, job, finder)


def align_file(pictures: Path, crops: Path, job: Job, finder: CachedLandmarker) -> AlignedRow:
    """Align one file. Whatever is wrong with the file becomes a row with a reason.

    Raises:
        MaskbenchError: the crop cannot be written, which would fail for every file.
    """
    row = AlignedRow(job.source, identity=job.identity)
    try:
        data = read_bytes(inside(pictures, job.source))
        row = replace(row, source_sha256=bytes_sha256(data))
        image = decode(data, job.source)
        points, by = _five(image, row.source_sha256, job, finder)
        encoded = encode(rough_crop(image, points), Path(job.output).suffix)
    except ImageError as error:
        reason = str(error).removeprefix(f"{pictures / job.source}: ").removeprefix(f"{job.source}: ")
        return replace(row, reason=reason)
    except MaskbenchError:
        raise
    except Exception as error:  # a fault of ours on one picture must not end the run
        return replace(row, reason=f"internal error: {type(error).__name__}: {' '.join(str(error).split())}")
    write_bytes(inside(crops, job.output), encoded)
    return replace(
        row, output=job.output, output_sha256=bytes_sha256(encoded), status="aligned", landmarks=by,
        points=_text(points.ravel().tolist()),
    )  # fmt: skip


def _text(values: Iterable[float]) -> str:
    return " ".join(f"{value:.2f}".rstrip("0").rstrip(".") for value in values)


def _five(image: np.ndarray, sha256: str, job: Job, finder: CachedLandmarker) -> tuple[np.ndarray, str]:
    if job.points:
        return np.array(job.points).reshape(5, 2), FROM_LIST
    faces = choose_faces(finder.detect(image, sha256), image.shape, "central")
    if not faces:
        raise ImageError("no face found")
    return five_points(faces[0]), faces[0].detector


# ---------------------------------------------------------------- all of them


def align_all(
    pictures: Path, out: Path, folder: str, jobs: Sequence[Job], others: dict[str, tuple[str, str]],
    landmarker: str, workers: int,
    cache: Path | None,
) -> list[AlignedRow]:  # fmt: skip
    """Align every job into ``out/folder`` and write ``out/aligned.csv``; what an earlier run did and still holds stays.

    Args:
        others: files that are no input, with status and reason: they get their row too.

    Returns:
        All rows, sorted by source.
    """
    crops, done = out / folder, earlier_rows(out)
    rows = {path: AlignedRow(path, status=status, reason=reason) for path, (status, reason) in others.items()}
    for job in jobs:
        if job.source in done and _still_true(pictures, crops, done[job.source], job):
            rows[job.source] = done[job.source]
    todo = [job for job in jobs if job.source not in rows]
    work = map_items(make_worker, (pictures, crops, landmarker, cache), todo, workers)
    for job, answer in track(work, len(jobs), "aligning", len(jobs) - len(todo)):
        row = answer or AlignedRow(job.source, identity=job.identity, reason="the worker process crashed on this file")
        rows[row.source] = row
        append(out / JOURNAL, row)
    _remove_orphans(crops, {row.output for row in rows.values()})
    result = [rows[path] for path in sorted(rows)]
    write_aligned(out / NAME, result)
    (out / JOURNAL).unlink(missing_ok=True)
    return result


def _still_true(pictures: Path, crops: Path, row: AlignedRow, job: Job) -> bool:
    """Whether a finished row's picture and crop are still what it says. What failed is tried again."""
    if row.status != "aligned" or (row.output, row.identity) != (job.output, job.identity):
        return False
    if (row.landmarks == FROM_LIST) != bool(job.points) or (job.points and row.points != _text(job.points)):
        return False
    try:
        return (
            file_sha256(inside(pictures, row.source)) == row.source_sha256
            and file_sha256(inside(crops, row.output)) == row.output_sha256
        )
    except OSError:
        return False


def _remove_orphans(crops: Path, kept: Container[str]) -> None:
    """Delete crops of an earlier run whose picture is gone or no longer gives one, also those that have no row yet
    since the run was killed between the two: what lies there is masked. Files of other names are left alone."""
    for file in walk(crops) if crops.is_dir() else ():
        if CROP.fullmatch(file.path) and file.path not in kept:
            inside(crops, file.path).unlink(missing_ok=True)
