"""A teacher's templates of the plain crops and of their mirror images, computed once and kept in the cache folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from maskbench.align import estimate_similarity, template_at, warp
from maskbench.digest import config_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import atomic_write, cache_root
from maskbench.progress import track
from maskbench.recognizers.base import checked_embed, spec_digest
from maskbench.train.data import plain_crop
from maskbench.train.prepare import PreparedFaces
from maskbench.types import Recognizer, Status

BLOCK = 2048  # faces in a file: what an interruption can cost
BATCH = 64


def teacher_templates(teacher: Recognizer, faces: PreparedFaces, root: Path | None = None) -> np.ndarray:
    """(N, 2, D) float32: of each face's plain crop, and of its mirror image. NaN where the teacher gives none.

    Args:
        root: of the cache; by default ``files.cache_root()``.

    Raises:
        MaskbenchError: the cache cannot be written to, or the teacher gives templates of no face.
    """
    key = config_sha256([faces.digest(), spec_digest(teacher.spec), getattr(teacher, "network_id", "")])
    folder = Path(root or cache_root()) / "training" / f"templates-{key[:32]}"
    starts = range(0, len(faces), BLOCK)
    blocks = [
        _block(folder / f"{start // BLOCK:06d}.npy", teacher, faces, range(start, min(start + BLOCK, len(faces))))
        for start in track(starts, len(starts), f"{teacher.spec.name}: templates, {BLOCK} faces at a time")
    ]
    templates = np.concatenate(blocks)
    if not np.isfinite(templates).all(axis=(1, 2)).any():
        raise MaskbenchError(f"{teacher.spec.name}: gives no template for any training face; choose another teacher")
    return templates


def _block(path: Path, teacher: Recognizer, faces: PreparedFaces, rows: range) -> np.ndarray:
    size = teacher.spec.embedding_size
    try:
        kept = np.load(path, allow_pickle=False)
        if kept.shape == (len(rows), 2, size) and kept.dtype == np.float32:
            return kept
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or cut short
    whole = True
    made = np.full((len(rows), 2, size), np.nan, np.float32)
    cut = _cutter(teacher, faces)
    for start in range(0, len(rows), BATCH):
        found, crops = [], []
        for place, row in enumerate(rows[start : start + BATCH], start):
            try:
                crops.append(cut(faces.crop(row)[0]))
                found.append(place)
            except ImageError:
                whole = False  # the loop will say so; another time it may be there
        if not found:
            continue
        plain = np.stack(crops)
        for side, pictures in enumerate((plain, np.ascontiguousarray(plain[:, :, ::-1]))):
            vectors, status = checked_embed(teacher, pictures, None)
            made[np.array(found)[status == Status.OK], side] = vectors[status == Status.OK]
    if whole:
        with atomic_write(path) as stream:
            np.save(stream, made, allow_pickle=False)
    return made


def _cutter(teacher: Recognizer, faces: PreparedFaces) -> Callable[[np.ndarray], np.ndarray]:
    """From crops with a margin to what the teacher reads, which may be another alignment than the student's."""
    template = template_at(teacher.spec.template, teacher.spec.input_size)
    margin = (faces.template.size[0] - template.size[0]) // 2
    if np.array_equal(template.points + margin, faces.template.points):
        return lambda crop: plain_crop(crop, margin)
    matrix = estimate_similarity(faces.template.points, template.points)
    return lambda crop: warp(crop, matrix, template.size)
