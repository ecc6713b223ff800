"""Where an aligned face is hidden: the mask segmenter that ships with maskbench, run by onnxruntime alone.

It says what a camera can know. Masks are (H, W) uint8, 1 = occluded; docs/segmenter.md says how well it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskbench.digest import bytes_sha256, config_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.files import read_json
from maskbench.recognizers.engines import thread_count
from maskbench.recognizers.onnx import open_session, read_network

NETWORK, CARD = "segmenter.onnx", "segmenter.json"
VERSION = 1  # of what is done around the network; another one gives other masks from the same weights
_NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "name": str, "sha256": str, "input_size": list, "template": str, "colour_order": str, "mean": list, "std": list,
    "threshold": (int, float), "smallest_part": int, "licence": str, "training_data": list,
}  # fmt: skip


@dataclass(frozen=True)
class SegmenterSpec:
    """What a segmenter needs and is: the keys of its card that decide the masks, and its licence.

    Attributes:
        input_size: (height, width) in pixels; template: what faces are aligned to, in ``maskbench.align.TEMPLATES``.
        mean, std: x = (pixel - mean) / std for each of red, green and blue.
        threshold: probability from which a pixel is occluded.
        smallest_part: of what is found, connected parts of fewer pixels are dropped.
    """

    name: str
    sha256: str
    input_size: tuple[int, int]
    template: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    threshold: float
    smallest_part: int
    licence: str
    training_data: tuple[str, ...]


class Segmenter:
    """A segmenter around an onnxruntime session. Faces pass one by one: what one gives depends on no other."""

    def __init__(self, session: Any, spec: SegmenterSpec, label: Path | str = "") -> None:
        self.spec, self._session, self._label = spec, session, label or spec.name
        self.engine = f"onnxruntime:{session.get_providers()[0]}"
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or list(inputs[0].shape[1:]) != [3, *spec.input_size]:
            told = ", ".join(f"{value.name} {value.shape}" for value in inputs)
            raise RecognizerError(f"{self._label}: takes {told}, its card says [N, 3, {spec.input_size}]")
        self._names = inputs[0].name, outputs[0].name

    @property
    def name(self) -> str:
        """Of the card."""
        return self.spec.name

    @property
    def sha256(self) -> str:
        """Of the network's file."""
        return self.spec.sha256

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the faces it takes."""
        return self.spec.input_size

    @property
    def template(self) -> str:
        """What they must be aligned to."""
        return self.spec.template

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides a mask: weights, preprocessing, threshold."""
        spec = self.spec
        return config_sha256(
            [VERSION, spec.sha256, list(spec.mean), list(spec.std), spec.threshold, spec.smallest_part, spec.template]
        )

    def probability(self, faces: np.ndarray) -> np.ndarray:
        """How surely each pixel is occluded.

        Args:
            faces: (N, H, W, 3) uint8 RGB at ``input_size``, aligned to ``template``; N may be 0.

        Returns:
            (N, H, W) float32, 0 to 1.

        Raises:
            MaskbenchError: the array is none of such faces.
        """
        faces = self._checked(faces)
        found = np.empty(faces.shape[:3], np.float32)
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.spec.mean, self.spec.std))
        for number, face in enumerate(faces):
            batch = (face.transpose(2, 0, 1).astype(np.float32) - mean) / std
            found[number] = self._run(batch[None])
        return found

    def segment(self, faces: np.ndarray) -> np.ndarray:
        """Masks (N, H, W) uint8, 1 = occluded, of faces as ``probability`` takes them; raises as it does."""
        found = self.probability(faces) >= np.float32(self.spec.threshold)
        masks = [without_specks(mask, self.spec.smallest_part) for mask in found.astype(np.uint8)]
        return np.stack(masks) if masks else np.zeros(found.shape, np.uint8)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        try:
            answer = np.asarray(self._session.run([self._names[1]], {self._names[0]: batch})[0])
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            told = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise RecognizerError(f"{self._label}: fails on a face ({told}); try device cpu") from error
        if answer.shape != (1, 1, *self.input_size):
            raise RecognizerError(f"{self._label}: gives {answer.shape} for one face; get the right network")
        return answer[0, 0]

    def _checked(self, faces: np.ndarray) -> np.ndarray:
        height, width = self.input_size
        if isinstance(faces, np.ndarray) and faces.dtype == np.uint8 and faces.shape[1:] == (height, width, 3):
            return faces
        got = f"{faces.shape} {faces.dtype}" if isinstance(faces, np.ndarray) else type(faces).__name__
        raise MaskbenchError(
            f'segmenter "{self.name}": takes faces (N, {height}, {width}, 3) uint8, not {got}; '
            f'align pictures to the template "{self.template}" first'
        )


def without_specks(mask: np.ndarray, least: int) -> np.ndarray:
    """A mask (H, W) of 0 and 1 without its connected parts (8 neighbours) of fewer than ``least`` pixels."""
    if least <= 1 or not mask.any():
        return mask
    count, labels, numbers, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    keep = numbers[:, cv2.CC_STAT_AREA] >= least
    keep[0] = False  # what is not occluded
    return keep[labels].astype(np.uint8) if count > 1 else mask


def read_segmenter_card(path: Path) -> SegmenterSpec:
    """Read the card beside a segmenter's weights.

    Raises:
        RecognizerError: it is missing, is no JSON object, or lacks a key; "FILE: what; remedy".
    """
    try:
        card = read_json(path)
    except MaskbenchError as error:
        raise RecognizerError(f"{error}; put the segmenter's card there, or install maskbench again") from error
    if not isinstance(card, dict):
        raise RecognizerError(f"{path}: not a JSON object; put the segmenter's card there")
    for key, kind in _NEEDED.items():
        if not isinstance(card.get(key), kind) or isinstance(card.get(key), bool):
            raise RecognizerError(f'{path}: "{key}" is missing or malformed; restore the card')
    _check_numbers(path, card)
    return SegmenterSpec(
        card["name"], card["sha256"], tuple(card["input_size"]), card["template"], tuple(map(float, card["mean"])),
        tuple(map(float, card["std"])), float(card["threshold"]), card["smallest_part"], card["licence"],
        tuple(map(str, card["training_data"])),
    )  # fmt: skip


def _check_numbers(path: Path, card: Mapping[str, Any]) -> None:
    """Raise RecognizerError unless sizes, colours and threshold can be used."""
    from maskbench.align import TEMPLATES

    size = card["input_size"]
    faults = {
        "input_size": len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size),
        "template": card["template"] not in TEMPLATES,
        "colour_order": card["colour_order"] != "RGB",
        "mean": not _three_numbers(card["mean"]),
        "std": not _three_numbers(card["std"]) or min(card["std"]) <= 0,
        "threshold": not 0 < card["threshold"] < 1,
        "smallest_part": card["smallest_part"] < 0,
    }
    for key, wrong in faults.items():
        if wrong:
            raise RecognizerError(f'{path}: "{key}" is {card[key]!r}, which no segmenter can have; restore the card')


def _three_numbers(values: list[Any]) -> bool:
    return len(values) == 3 and all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)


def segmenter_folder() -> Path:
    """The folder of the segmenter that ships with maskbench."""
    return Path(str(package_files("maskbench.data"))) / "segmenter"


def load_segmenter(device: str = "auto", folder: Path | str | None = None) -> Segmenter:
    """The segmenter that ships with maskbench, opened once per process and device, or the one in ``folder``.

    Args:
        device: "auto", "cpu" or "cuda".
        folder: holds ``segmenter.onnx`` and its card ``segmenter.json``.

    Raises:
        RecognizerError: a file is missing, the card is malformed or describes other weights, or the engine is missing.
    """
    return _opened(device, Path(folder) if folder is not None else segmenter_folder())


@lru_cache(maxsize=4)
def _opened(device: str, folder: Path) -> Segmenter:
    path, card_path = folder / NETWORK, folder / CARD
    data, spec = read_network(path), read_segmenter_card(card_path)
    if (found := bytes_sha256(data)) != spec.sha256:
        raise RecognizerError(
            f"{path} has SHA-256 {found}, but {card_path} describes {spec.sha256}; get the right file, or install "
            "maskbench again"
        )
    return Segmenter(open_session(data, path, device, thread_count()), spec, path)
