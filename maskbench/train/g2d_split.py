"""Which pictures of the training people no stage of G2D sees: the paper splits each person's 6:1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskbench.digest import bytes_sha256
from maskbench.train.prepare import PreparedFaces


def held_out(faces: PreparedFaces, one_of: int) -> np.ndarray:
    """(N,) bool: for each labelled person one of ``one_of`` pictures, those whose names have the smallest digests.

    A person with fewer pictures has none among them, and one with n has n // ``one_of``. What is chosen depends on the
    names of the person's pictures alone.

    Args:
        one_of: 0 chooses none.
    """
    chosen = np.zeros(len(faces), bool)
    by_person: dict[str, list[int]] = {}
    for index, subject in enumerate(faces.subjects):
        if subject is not None:
            by_person.setdefault(subject, []).append(index)
    for mine in by_person.values() if one_of else ():
        ordered = sorted(mine, key=lambda index: bytes_sha256(faces.keys[index].encode("utf-8", "surrogateescape")))
        chosen[ordered[: len(mine) // one_of]] = True
    return chosen


def divided(faces: PreparedFaces, one_of: int) -> tuple[PreparedFaces, PreparedFaces]:
    """The faces that are trained on, and those that are kept out of every stage; see ``held_out``.

    A picture that is there twice, once among those kept out, is in neither part but for that one.
    """
    chosen = held_out(faces, one_of)
    same = np.isin(faces.pictures, faces.pictures[chosen])
    return subset(faces, ~same), subset(faces, chosen)


def subset(faces: PreparedFaces, which: np.ndarray) -> PreparedFaces:
    """The faces where ``which`` (N,) bool is true, in their order."""
    rows = np.flatnonzero(which).tolist()
    return replace(
        faces, keys=tuple(faces.keys[row] for row in rows), subjects=tuple(faces.subjects[row] for row in rows),
        places=faces.places[rows], pictures=faces.pictures[rows],
    )  # fmt: skip
