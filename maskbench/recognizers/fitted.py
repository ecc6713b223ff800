"""Recognizers that were fitted, not trained: "fitted:PATH" of a file that ``maskbench.classical.save_fitted`` wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from maskbench.classical.model import FittedModel
from maskbench.classical.store import parse_model
from maskbench.digest import bytes_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers.card import read_card
from maskbench.recognizers.training import read_training_subjects
from maskbench.types import RecognizerSpec, Status

_FROM_FILE = ("input_size", "embedding_size", "comparator")


class FittedRecognizer:
    """A fitted model behind the toolkit's two members, ``spec`` and ``embed``."""

    def __init__(self, model: FittedModel, spec: RecognizerSpec) -> None:
        self.model, self.spec = model, spec
        self.training_subjects: frozenset[str] | None = None

    def embed(self, faces: np.ndarray, masks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Faces (N, H, W, 3) uint8 RGB to vectors (N, D) float32 and status (N,) int8: FAILED for a flat picture."""
        vectors = self.model.embed(faces)
        failed = ~np.isfinite(vectors).all(axis=1)
        return vectors, np.where(failed, Status.FAILED, Status.OK).astype(np.int8)


def load_fitted(
    rest: str, card: Path | str | None = None, device: str = "auto", engine: str = "onnxruntime",
    allow_pickle: bool = False,
) -> FittedRecognizer:  # fmt: skip
    """The fitted recognizer in a file, with the card beside it or the given one.

    It runs on NumPy: ``device`` and ``engine`` make no difference to it, and nothing in it is pickled.

    Raises:
        RecognizerError: a file is missing, the card is malformed, its SHA-256 is another file's, or the file disagrees
            with it.
    """
    path = Path(rest)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RecognizerError(f"{path}: no such file; fit a recognizer first (docs/classical.md)") from None
    except OSError as error:
        raise RecognizerError(f"{path}: cannot be read ({error.strerror})") from error
    spec, card_path = read_card(path, card)
    if (found := bytes_sha256(data)) != spec.weights_sha256:
        raise RecognizerError(
            f"{path} has SHA-256 {found}, but {card_path} describes {spec.weights_sha256}; fit it again"
        )
    model = parse_model(data, path)
    stated = {"input_size": model.picture, "embedding_size": model.embedding_size, "comparator": model.comparator}
    for key in _FROM_FILE:
        if getattr(spec, key) != stated[key]:
            raise RecognizerError(f'{card_path}: "{key}" is {getattr(spec, key)}, but {path} has {stated[key]}')
    if spec.network not in ("", model.network):
        raise RecognizerError(f'{card_path}: "network" is {spec.network}, but {path} is {model.network}')
    recognizer = FittedRecognizer(model, replace(spec, engine="numpy"))
    recognizer.training_subjects = read_training_subjects(path)
    return recognizer
