"""Faces whose masks are replaced by what a completion thinks is under them: a stage before every recognizer.

What a completion made of a picture is one PNG: the completed crop, and in its fourth channel the mask (255 =
occluded). It depends on the picture, its alignment, the mask source and the completion, not on the recognizer, so one
file serves all recognizers and all later runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from maskbench.align import Template, align_face, estimate_similarity, template_at, warp
from maskbench.completions.base import Completion, checked_complete
from maskbench.digest import array_sha256, bytes_sha256, config_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import write_bytes
from maskbench.images import read_image
from maskbench.inventory import Inventory, Item
from maskbench.mask_sources import Look, MaskSource, grown, look_at, warp_mask
from maskbench.parallel import map_items
from maskbench.progress import track

FORMAT = 2
DIGEST = 64  # bytes at the end of a file: the SHA-256 of what is before them, which readers of PNG pass over
FAILED = "the completion fails"
CHUNK = 16  # pictures that a worker takes at a time: learned completions and the segmenter work in batches

Key = tuple[str, str]  # (sample id, condition)


@dataclass(frozen=True)
class Occlusion:
    """Who says where faces are occluded, and what is put there.

    Attributes:
        dilate: pixels of the 128 pixels wide canvas by which masks grow.
        about: what results say of it beside its digest, such as what it was fitted on.
    """

    completion: Completion
    source: MaskSource
    dilate: int
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Over everything but the pictures."""
        spec = self.completion.spec
        return config_sha256(
            [FORMAT, self.completion.digest, spec.template, spec.input_size, self.source.digest, self.dilate]
        )


@dataclass(frozen=True)
class _Task:
    item: Item
    points: np.ndarray
    target: Path


def complete_inventory(
    inventory: Inventory, points: Mapping[Key, np.ndarray | str], occlusion: Occlusion, root: Path, workers: int = 1,
    refresh: bool = False,
) -> dict[Key, Path | str]:  # fmt: skip
    """Complete every picture that has a face.

    Args:
        points: as ``embed.alignment_points`` found them.
        root: the folder to keep the results in; what is there already is not made again unless ``refresh``. Files
            are written whole or not at all, so an interrupted run continues.

    Returns:
        A file for each picture, or the reason why there is none.

    Raises:
        MaskbenchError: the completion fails on every picture.
    """
    folder = Path(root) / "completed" / occlusion.digest[:32]
    answers: dict[Key, Path | str] = {}
    tasks = []
    for item in inventory.items:
        where = points.get((item.sample_id, item.condition), item.reason)
        if isinstance(where, str) or item.path is None:
            continue
        name = config_sha256([item.sha256, array_sha256(np.round(where, 3)), occlusion.source.key(item)])
        target = folder / name[:2] / f"{name[:32]}.png"
        if not refresh and _is_whole(target):
            answers[item.sample_id, item.condition] = target
        else:
            tasks.append(_Task(item, np.asarray(where), target))
    chunks = [tuple(range(start, min(start + CHUNK, len(tasks)))) for start in range(0, len(tasks), CHUNK)]
    work = map_items(_make_worker, (occlusion, tasks), chunks, workers)
    label = f"completing, {occlusion.completion.spec.name}, x {CHUNK}"
    for rows, reasons in track(work, len(chunks), label):
        crashed = ["the completion crashed on this picture or one beside it"] * len(rows)
        for row, reason in zip(rows, reasons or crashed, strict=True):
            task = tasks[row]
            answers[task.item.sample_id, task.item.condition] = reason or task.target
    failed = [answer for answer in answers.values() if isinstance(answer, str) and answer.startswith(FAILED)]
    if failed and len(failed) == len(answers):
        raise MaskbenchError(f'completion "{occlusion.completion.spec.name}" gives nothing: {failed[0]}')
    return answers


def _make_worker(occlusion: Occlusion, tasks: Sequence[_Task]) -> Callable[[tuple[int, ...]], list[str]]:
    def work(rows: tuple[int, ...]) -> list[str]:
        return _complete([tasks[row] for row in rows], occlusion)

    return work


def _complete(tasks: Sequence[_Task], occlusion: Occlusion) -> list[str]:
    """Write the files of some pictures; a reason for each, "" where all went well."""
    spec = occlusion.completion.spec
    template = template_at(spec.template, spec.input_size)
    reasons = [""] * len(tasks)
    looks: list[tuple[int, np.ndarray, Look]] = []
    for row, task in enumerate(tasks):
        try:
            assert task.item.path is not None
            image = read_image(task.item.path)
            face = align_face(image, task.points, template)
            looks.append((row, face, look_at(task.item, image, task.points, template)))
        except MaskbenchError as error:
            reasons[row] = str(error)
    ready: list[tuple[int, np.ndarray, np.ndarray]] = []
    for (row, face, _), mask in zip(looks, occlusion.source.masks([look for *_, look in looks]), strict=True):
        if isinstance(mask, str):
            reasons[row] = f"no mask: {mask}"
        else:
            ready.append((row, face, grown(mask, occlusion.dilate)))
    for (row, _, mask), done in zip(ready, _completed(occlusion.completion, ready), strict=True):
        if isinstance(done, str):
            reasons[row] = done
        else:
            write_bytes(tasks[row].target, _encode(done, mask))
    return reasons


def _completed(
    completion: Completion, ready: Sequence[tuple[int, np.ndarray, np.ndarray]]
) -> list[np.ndarray | str]:
    """Each face completed; where the completion raises, face by face, with the reason of those that it raises for."""
    if not ready:
        return []
    faces, masks = (np.stack([entry[place] for entry in ready]) for place in (1, 2))
    try:
        return list(checked_complete(completion, faces, masks))
    except MaskbenchError:
        raise
    except Exception as error:  # whatever a completion of somebody else's, or a solver, raises
        if len(ready) == 1:
            return [f"{FAILED} ({' '.join(f'{type(error).__name__}: {error}'.split())[:200]})"]
    return [done for entry in ready for done in _completed(completion, [entry])]


def _encode(face: np.ndarray, mask: np.ndarray) -> bytes:
    pixels = np.dstack([face[..., ::-1], mask * np.uint8(255)])
    data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return data + bytes_sha256(data).encode()


def _whole(path: Path) -> bytes | None:
    """The PNG in a file that is as it was written; None for another."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[:-DIGEST] if data[-DIGEST:] == bytes_sha256(data[:-DIGEST]).encode() else None


def _is_whole(path: Path) -> bool:
    return _whole(path) is not None


def read_completed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The completed crop (H, W, 3) uint8 RGB and its mask (H, W) of 0 and 1.

    Raises:
        ImageError: the file is damaged; the message says how to have it made again.
    """
    data = _whole(path)
    if data is None:
        raise ImageError(f"{path}: damaged or gone; run the same command again")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.ascontiguousarray(pixels[..., 2::-1]), (pixels[..., 3] > 0).astype(np.uint8)


def put_in(
    face: np.ndarray, completed: Path, spec_template: Template, template: Template
) -> tuple[np.ndarray, np.ndarray]:
    """A recognizer's aligned face with the completed pixels in place of the occluded ones.

    Args:
        face: (H, W, 3) uint8, aligned to ``template``; not written to.
        completed: the file that ``complete_inventory`` wrote, aligned to ``spec_template``.

    Returns:
        The face, whose pixels outside of the mask are the given ones to the byte, and the mask (H, W) of 0 and 1.

    Raises:
        ImageError: the file is damaged.
    """
    inner, mask = read_completed(completed)
    matrix = estimate_similarity(spec_template.points, template.points)
    here = warp_mask(mask, matrix, template.size)
    return np.where(here[..., None] > 0, warp(inner, matrix, template.size), face), here
