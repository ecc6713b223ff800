"""The guard around ``embed``: nothing malformed comes out, and one bad face never ends a run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from maskbench.errors import RecognizerError
from maskbench.recognizers.engines import first_line
from maskbench.types import Recognizer, RecognizerSpec, Status


class Answer(NamedTuple):
    """What a recognizer said: vectors (N, D) float32 and status (N,), or the reason why that is unusable."""

    vectors: np.ndarray | None
    status: np.ndarray | None
    fault: str = ""
    cause: Exception | None = None


def checked_embed(
    recognizer: Recognizer, faces: np.ndarray, masks: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Embed faces, and let nothing malformed out.

    A vector that is not finite or has length zero becomes status FAILED; every row that is not OK becomes NaN. Where
    the recognizer raises on a batch, or answers with vectors or statuses of a wrong shape, its faces are given to it
    one by one, and those that it still cannot answer for are FAILED. It is at fault as a whole, and an error, if it
    answers for none of them and not for a picture of noise either.

    Args:
        faces: (N, H, W, 3) uint8 RGB at ``recognizer.spec.input_size``; N may be 0.
        masks: (N, H, W) uint8 of 0 and 1, 1 = occluded; required when ``spec.needs_mask``, else not passed on.

    Returns:
        Vectors (N, D) float32 and status (N,) int8.

    Raises:
        RecognizerError: wrong shapes or types on the way in; the recognizer raises or answers malformed throughout.
    """
    spec = recognizer.spec
    _check_faces(spec, faces)
    _check_masks(spec, faces, masks)
    if len(faces) == 0:
        return np.empty((0, spec.embedding_size), np.float32), np.empty(0, np.int8)
    given = masks if spec.needs_mask else None
    answer = ask(recognizer, faces, given)
    vectors, status = (answer.vectors, answer.status) if not answer.fault else _one_by_one(recognizer, faces, given)
    if vectors is None or status is None:
        raise RecognizerError(f'recognizer "{spec.name}" {answer.fault}') from answer.cause
    usable = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
    status = np.where(usable, status, Status.FAILED).astype(np.int8)
    vectors[status != Status.OK] = np.nan
    return vectors, status


def ask(recognizer: Recognizer, faces: np.ndarray, masks: np.ndarray | None = None) -> Answer:
    """Call ``embed`` and look at the form of its answer; never raises for what the recognizer does wrong."""
    spec = recognizer.spec
    try:
        vectors, status = recognizer.embed(faces, masks)
        vectors, status = np.array(vectors, np.float32), np.array(status)
    except Exception as error:  # whatever a network or a plug-in raises
        named = str(error) if isinstance(error, RecognizerError) else first_line(error)
        return Answer(None, None, f"fails on {len(faces)} faces ({named})", error)
    if vectors.shape != (len(faces), spec.embedding_size) or status.shape != (len(faces),):
        return Answer(
            None, None,
            f"returned vectors {vectors.shape} and status {status.shape} "
            f"for {len(faces)} faces and embedding size {spec.embedding_size}",
        )  # fmt: skip
    if not np.isin(status, (Status.OK, Status.FAILED)).all():
        return Answer(None, None, "returned a status other than 0 (OK) and 1 (FAILED)")
    return Answer(vectors, status)


def _one_by_one(
    recognizer: Recognizer, faces: np.ndarray, masks: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Vectors and statuses of faces asked for singly, FAILED where an answer is malformed; None if all are."""
    singly = [slice(row, row + 1) for row in range(len(faces))]
    answers = [ask(recognizer, faces[one], None if masks is None else masks[one]) for one in singly]
    if all(answer.fault for answer in answers) and not _answers_at_all(recognizer, faces.shape[1:3]):
        return None, None
    vectors = np.full((len(faces), recognizer.spec.embedding_size), np.nan, np.float32)
    status = np.full(len(faces), Status.FAILED, np.int8)
    for row, answer in enumerate(answers):
        if answer.vectors is not None and answer.status is not None:
            vectors[row], status[row] = answer.vectors[0], answer.status[0]
    return vectors, status


def _answers_at_all(recognizer: Recognizer, size: tuple[int, ...]) -> bool:
    """Whether it answers in the right form for one picture of noise: a batch may hold nothing but bad pictures."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    return not ask(recognizer, noise, np.zeros((1, *size), np.uint8) if recognizer.spec.needs_mask else None).fault


def _check_faces(spec: RecognizerSpec, faces: np.ndarray) -> None:
    wanted = (*spec.input_size, 3)
    if faces.ndim != 4 or faces.shape[1:] != wanted or faces.dtype != np.uint8:
        raise RecognizerError(
            f'recognizer "{spec.name}" takes faces (N, {wanted[0]}, {wanted[1]}, 3) uint8, '
            f"not {faces.shape} {faces.dtype}"
        )


def _check_masks(spec: RecognizerSpec, faces: np.ndarray, masks: np.ndarray | None) -> None:
    if masks is None:
        if spec.needs_mask:
            raise RecognizerError(f'recognizer "{spec.name}" needs a mask for every face; choose a mask source')
        return
    if masks.shape != faces.shape[:3] or masks.dtype != np.uint8 or (masks.size and masks.max() > 1):
        raise RecognizerError(
            f"masks must be {faces.shape[:3]} uint8 with 1 = occluded and 0 elsewhere, not {masks.shape} {masks.dtype}"
        )
