"""How a student does on people that it was not trained on, bare and masked: every pair of their pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maskbench.align import Template
from maskbench.errors import MaskbenchError
from maskbench.metrics.eer import eer
from maskbench.metrics.errors import fnmr_at_fmr
from maskbench.train.data import MaskMix, TrainingFaces, View
from maskbench.train.prepare import PreparedFaces

SEED = 20_000  # of the masks, which are the same for every student
BATCH = 64
Embed = Callable[[np.ndarray], np.ndarray]


class Validation:
    """Labelled faces, bare and with one mask each.

    Args:
        faces: prepared for the student's template; every one has a subject.
        template: the student's.
        recipes: of the masks, with weights.

    Raises:
        MaskbenchError: a face has no subject, or there are too few for mated and non-mated pairs.
    """

    def __init__(self, faces: PreparedFaces, template: Template, recipes: dict[str, float]) -> None:
        self._label = labels_of(faces)
        self._data = TrainingFaces(faces, template, MaskMix(recipes, 1.0, SEED), None, SEED, clean=True)

    def __call__(self, embed: Embed, comparator: str) -> dict[str, float]:
        """EER and FNMR at FMR 1 % in three conditions, by name.

        Args:
            embed: faces (N, H, W, 3) uint8 to templates (N, D) float32.
            comparator: "cosine" or "negative-l2".

        Raises:
            MaskbenchError: a picture can no longer be read.
        """
        sides: dict[str, list[np.ndarray]] = {"unmasked": [], "masked": []}
        for start in range(0, len(self._data), BATCH):
            views = [self._view(index) for index in range(start, min(start + BATCH, len(self._data)))]
            sides["unmasked"].append(embed(np.stack([view.clean for view in views])))
            sides["masked"].append(embed(np.stack([view.student for view in views])))
        bare, masked = (np.concatenate(vectors) for vectors in sides.values())
        return verification_rates(bare, masked, self._label, comparator)

    def _view(self, index: int) -> View:
        view = self._data[0, index]
        if not isinstance(view, View):
            raise MaskbenchError(f"validation: {self._data.faces.keys[index]}: {view[1]}")
        return view


def labels_of(faces: PreparedFaces) -> np.ndarray:
    """(N,) a number for the subject of each face.

    Raises:
        MaskbenchError: a face has no subject, or there are too few for mated and non-mated pairs.
    """
    refuse_unlabelled(faces.sets[0].name, faces.subjects)
    return np.unique(faces.subjects, return_inverse=True)[1]


def refuse_unlabelled(name: str, subjects: Sequence[str | None]) -> None:
    """Raise MaskbenchError, with the set's name, unless all faces have a subject and make both kinds of pairs."""
    names = {subject for subject in subjects if subject is not None}
    if None in subjects or len(names) < 2 or len(names) == len(subjects):
        raise MaskbenchError(
            f"{name}: validation needs a folder for each of at least two people, with several pictures of some"
        )


def verification_rates(bare: np.ndarray, masked: np.ndarray, labels: np.ndarray, comparator: str) -> dict[str, float]:
    """EER and FNMR at FMR 1 % in three conditions, by name.

    Args:
        bare, masked: (N, D) templates of the same faces; labels: (N,).
        comparator: "cosine" or "negative-l2".
    """
    bare, masked = bare.astype(np.float64), masked.astype(np.float64)
    pairs = {"umr_ump": (bare, bare), "umr_mp": (bare, masked), "mr_mp": (masked, masked)}
    return {
        f"{condition}_{name}": value
        for condition, (references, probes) in pairs.items()
        for name, value in _rates(score_all(references, probes, comparator), labels, references is probes).items()
    }


def _rates(scores: np.ndarray, labels: np.ndarray, symmetric: bool) -> dict[str, float]:
    same = labels[:, None] == labels[None, :]
    # No picture is compared with itself, nor with itself under a mask; a symmetric matrix counts each pair once.
    use = np.triu(np.ones_like(same), 1) if symmetric else ~np.eye(len(same), dtype=bool)
    mated, non_mated = np.sort(scores[same & use]), np.sort(scores[~same & use])
    point = fnmr_at_fmr(mated, non_mated, 0.01)
    rates = {"eer": eer(mated, non_mated).value}
    return rates if point.fnmr is None else {**rates, "fmr100": point.fnmr}


def score_all(references: np.ndarray, probes: np.ndarray, comparator: str) -> np.ndarray:
    """(R, P) scores of all with all; larger is more alike."""
    from scipy.spatial.distance import cdist

    return 1 - cdist(references, probes, "cosine") if comparator == "cosine" else -cdist(references, probes)
