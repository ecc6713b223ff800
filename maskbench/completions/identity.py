"""No completion: the recognizer sees the mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.completions.base import CompletionSpec, completion_digest
from maskbench.completions.settings import make_settings


@dataclass(frozen=True)
class IdentitySettings:
    """There are none."""


class Identity:
    """Returns faces as they are, also where they are masked wholly."""

    spec = CompletionSpec("none", needs_fit=False)
    digest = completion_digest(spec)

    def fit(self, faces: np.ndarray) -> Identity:
        """Nothing is fitted."""
        return self

    def complete(self, faces: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """A copy of ``faces``."""
        return faces.copy()


def identity(device: str = "auto", **settings: object) -> Identity:
    """The completion "none"; it runs on no device."""
    make_settings(IdentitySettings, "none", settings)
    return Identity()
