"""Finding, loading and guarding recognizers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.recognizers.builtin import BUILTIN
from maskbench.recognizers.engines import DEVICES, ENGINES, resolve_device
from maskbench.registry import Registry, nearest
from maskbench.types import Recognizer, RecognizerSpec, Status

__all__ = ["RECOGNIZERS", "checked_embed", "load_recognizer", "network_digest", "resolve_device", "spec_digest"]

RECOGNIZERS: Registry = Registry("recognizer", "maskbench.recognizers", BUILTIN)
ONNX_PREFIX = "onnx:"
# What a result says about a recognizer without changing any of its vectors or scores.
_DESCRIPTIVE = ("name", "parameters", "training_data", "licence")


def load_recognizer(
    name: str, device: str = "auto", engine: str = "onnxruntime", card: Path | str | None = None
) -> Recognizer:
    """Load a recognizer by registered name, or from "onnx:PATH" with its card.

    Args:
        name: a key of ``RECOGNIZERS``, or "onnx:" and the path of a network.
        device: "auto", "cpu" or "cuda".
        engine: "onnxruntime" or "torch"; for "onnx:PATH" only the first.
        card: the card of "onnx:PATH", where it does not lie beside the file.

    Raises:
        RecognizerError: no such recognizer, engine or device, or its files are missing or malformed.
    """
    for value, choices, kind in ((device, DEVICES, "device"), (engine, ENGINES, "engine")):
        if value not in choices:
            raise RecognizerError(f'no {kind} named "{value}"; {nearest(value, choices)}')
    if name.startswith(ONNX_PREFIX):
        if engine != "onnxruntime":
            raise RecognizerError(f"{name}: an ONNX file runs on engine onnxruntime, not {engine}")
        from maskbench.recognizers.onnx import load_onnx

        return load_onnx(Path(name[len(ONNX_PREFIX) :]), card, device)
    if name.endswith(".onnx"):
        raise RecognizerError(f'no recognizer named "{name}"; did you mean "onnx:{name}"?')
    if card is not None:
        raise RecognizerError(f'a card goes with "onnx:PATH"; recognizer "{name}" brings its own')
    return _from_registry(name, device, engine)


def _from_registry(name: str, device: str, engine: str) -> Recognizer:
    """Call the factory that ``name`` stands for and look at what it returns."""
    try:
        factory = RECOGNIZERS.get(name)
    except RecognizerError:
        raise
    except MaskbenchError as error:
        raise RecognizerError(str(error)) from error
    except (ImportError, AttributeError) as error:
        raise RecognizerError(f'recognizer "{name}" cannot be imported ({error}); reinstall its package') from error
    recognizer = factory(device, engine)
    if not isinstance(getattr(recognizer, "spec", None), RecognizerSpec) or not hasattr(recognizer, "embed"):
        raise RecognizerError(f'the factory of recognizer "{name}" returned no object with spec and embed')
    return recognizer


def spec_digest(spec: RecognizerSpec) -> str:
    """SHA-256 over everything in ``spec`` that decides vectors and scores, the weights' digest included.

    Name, licence, training data and number of parameters are left out. The engine is in: two engines differ in the
    last bits, and a cache must not answer for one with the vectors of the other.
    """
    values = {key: value for key, value in asdict(spec).items() if key not in _DESCRIPTIVE}
    if not spec.test_time:  # the digest of a plain recognizer is older than this key
        del values["test_time"]
    return config_sha256(values)


def network_digest(recognizer: Recognizer) -> str:
    """``spec_digest``, and the ``network_id`` of a recognizer that has one.

    dlib-resnet's specification names the published weights; what runs is an export of them. Vectors of an export that
    was corrected since must not be answered from the cache.
    """
    return config_sha256([spec_digest(recognizer.spec), getattr(recognizer, "network_id", "")])


def checked_embed(
    recognizer: Recognizer, faces: np.ndarray, masks: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Embed faces, and let nothing malformed out.

    A vector that is not finite or has length zero becomes status FAILED; every row that is not OK becomes NaN.

    Args:
        faces: (N, H, W, 3) uint8 RGB at ``recognizer.spec.input_size``; N may be 0.
        masks: (N, H, W) uint8 of 0 and 1, 1 = occluded; required when ``spec.needs_mask``, else not passed on.

    Returns:
        Vectors (N, D) float32 and status (N,) int8.

    Raises:
        RecognizerError: wrong shapes or types on the way in or out.
    """
    spec = recognizer.spec
    _check_faces(spec, faces)
    _check_masks(spec, faces, masks)
    if len(faces) == 0:
        return np.empty((0, spec.embedding_size), np.float32), np.empty(0, np.int8)
    vectors, status = recognizer.embed(faces, masks if spec.needs_mask else None)
    vectors, status = np.array(vectors, np.float32), np.array(status)
    if vectors.shape != (len(faces), spec.embedding_size) or status.shape != (len(faces),):
        raise RecognizerError(
            f'recognizer "{spec.name}" returned vectors {vectors.shape} and status {status.shape} '
            f"for {len(faces)} faces and embedding size {spec.embedding_size}"
        )
    if not np.isin(status, (Status.OK, Status.FAILED)).all():
        raise RecognizerError(f'recognizer "{spec.name}" returned a status other than 0 (OK) and 1 (FAILED)')
    usable = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
    status = np.where(usable, status, Status.FAILED).astype(np.int8)
    vectors[status != Status.OK] = np.nan
    return vectors, status


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
