"""The flip trick: a template is the sum of those of a face and of its mirror image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskbench.types import Recognizer, Status

FLIP_SUM = "flip-sum"


class FlipSum:
    """A recognizer whose templates are embed(face) + embed(mirrored face), before any normalisation.

    Source: the evaluation code released with MaskInv (Huber et al., FG 2021), which several published figures on LFW,
    CALFW, CPLFW, AgeDB-30 and CFP-FP rest on. Challenges such as InsightFace's forbid it, so its results carry another
    name and another digest than the plain recognizer's.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        spec = recognizer.spec
        self.spec = replace(spec, name=f"{spec.name}-{FLIP_SUM}", test_time=FLIP_SUM)
        self.network_id = getattr(recognizer, "network_id", "")
        self.training_subjects = getattr(recognizer, "training_subjects", None)
        self.own_completion = getattr(recognizer, "own_completion", "")

    def embed(self, faces: np.ndarray, masks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As the recognizer's own; a face fails if it or its mirror image does."""
        mirrored = np.ascontiguousarray(faces[:, :, ::-1])
        turned = None if masks is None else np.ascontiguousarray(masks[:, :, ::-1])
        (plain, first), (other, second) = (
            self._recognizer.embed(*pair) for pair in ((faces, masks), (mirrored, turned))
        )
        status = np.where((first == Status.OK) & (second == Status.OK), Status.OK, Status.FAILED)
        return np.asarray(plain, np.float32) + np.asarray(other, np.float32), status.astype(np.int8)
