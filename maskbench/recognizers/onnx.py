"""Recognizers in ONNX files, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskbench.digest import bytes_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers.card import check_file, own_completion, read_card
from maskbench.recognizers.engines import import_engine, no_cuda, resolve_device, thread_count
from maskbench.recognizers.preprocess import mask_planes, preprocess
from maskbench.recognizers.training import read_training_subjects
from maskbench.types import RecognizerSpec, Status

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# Without TF32 the GPU agrees with the CPU to float32 rounding; without a search the same kernels run every time.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def read_network(path: Path) -> bytes:
    """The bytes of a network file.

    Raises:
        RecognizerError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecognizerError(f"{path}: cannot be read ({error.strerror}); give the path of an ONNX file") from error


def open_session(data: bytes, label: Path | str, device: str = "auto", threads: int = 1) -> Any:
    """An onnxruntime session over the bytes of an ONNX file, which are then exactly the bytes that were hashed.

    Args:
        data: the file's content, weights included.
        label: the file's name, for messages.
        device: "auto", "cpu" or "cuda".
        threads: of the processor for one run. Runs side by side on one thread each are faster than one run on several,
            whose threads wait for each other at every layer.

    Raises:
        RecognizerError: onnxruntime is missing or cannot load the network, or "cuda" fell back to the processor.
    """
    runtime = import_engine("onnxruntime")
    on_gpu = resolve_device(device, "onnxruntime") == "cuda"
    if on_gpu and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; a fallback to the processor is reported by spec.engine
    options.intra_op_num_threads = threads
    # Threads that spin while they wait slow everything down on a machine whose cores are shared.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = [(CUDA, _CUDA_OPTIONS), CPU] if on_gpu else [CPU]
    try:
        session = runtime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise RecognizerError(
            f"{label}: onnxruntime cannot load it ({_first_line(error)}); it must be one ONNX file, weights included"
        ) from error
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise no_cuda("onnxruntime")
    return session


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _takes_masks(inputs: Sequence[Any]) -> bool:
    """Whether the second of two inputs can be masks: float32 of one channel."""
    return len(inputs) == 2 and inputs[1].type == "tensor(float)" and inputs[1].shape[1:2] == [1]


def _image_input(session: Any, label: Path | str, masks: bool = False) -> tuple[Any, Any, Any]:
    """Batch, height and width of the session's images; each an int, or a name or None where it is open.

    Images are its one input, or with ``masks`` the first of two.
    """
    inputs = session.get_inputs()
    shapes = ", ".join(f"{value.name} {value.type} {value.shape}" for value in inputs)
    count = _takes_masks(inputs) if masks else len(inputs) == 1
    if not count or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
        wanted = "one float32 image batch [N, 3, H, W]" + " and its masks [N, 1, H, W]" * masks
        remedy = "" if masks or not _takes_masks(inputs) else '; for one with masks, set "needs_mask" in its card'
        raise RecognizerError(f"{label}: has inputs {shapes} instead of {wanted}{remedy}")
    batch, channels, height, width = inputs[0].shape
    if isinstance(channels, int) and channels != 3:
        raise RecognizerError(f"{label}: has input {shapes} instead of channels first, [N, 3, H, W]")
    return batch, height, width


def _run(session: Any, label: Path | str, batch: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
    """The session's first output for one batch, and the masks where it takes them, flattened to (N, D) float32."""
    given = {value.name: part for value, part in zip(session.get_inputs(), (batch, masks), strict=False)}
    try:
        output = session.run([session.get_outputs()[0].name], given)[0]
    except Exception as error:
        raise RecognizerError(f"{label}: fails on input {batch.shape} ({_first_line(error)})") from error
    output = np.asarray(output)
    if output.ndim < 2 or len(output) != len(batch):
        raise RecognizerError(f"{label}: gives {output.shape} for {len(batch)} faces instead of ({len(batch)}, D)")
    return output.reshape(len(batch), -1).astype(np.float32, copy=False)


class Described(NamedTuple):
    """What an ONNX file says of itself.

    Attributes:
        input_size: (height, width); 112 where the file leaves it open.
        takes_masks: whether it takes masks beside its images.
    """

    input_size: tuple[int, int]
    embedding_size: int
    takes_masks: bool


def describe(path: Path) -> Described:
    """What an ONNX file says of itself.

    Raises:
        RecognizerError: it is not a network from one image batch, with or without masks, to vectors.
    """
    session = open_session(read_network(path), path, "cpu")
    masks = _takes_masks(session.get_inputs())
    batch, *size = _image_input(session, path, masks)
    height, width = (length if isinstance(length, int) else 112 for length in size)
    blank = np.zeros((batch if isinstance(batch, int) else 1, 3, height, width), np.float32)
    return Described((height, width), _run(session, path, blank, blank[:, :1]).shape[1], masks)


class OnnxRecognizer:
    """A recognizer around an onnxruntime session.

    On the processor a batch is divided among threads, each with a run of its own. Networks exported with a fixed batch
    size are fed in blocks of that size, the last one filled up with zeros. With ``spec.needs_mask`` the network takes
    masks (N, 1, H, W) float32 as its second input, 1 = occluded.

    Args:
        session: from ``open_session``.
        spec: what the card says; its ``engine`` is replaced by the provider that the session really uses.
        label: the file's name, for messages.
        network_id: what tells this network from others with the same ``spec``, for the cache of embeddings. Not needed
            where ``spec.weights_sha256`` is that of the very file that runs.

    Raises:
        RecognizerError: the network's input or output disagrees with ``spec``.
    """

    def __init__(self, session: Any, spec: RecognizerSpec, label: Path | str = "", network_id: str = "") -> None:
        self._session, self._label, self.network_id = session, label or spec.name, network_id
        self.training_subjects: frozenset[str] | None = None  # where they are known
        self.own_completion = ""  # what its card asks for, see ``card.own_completion``
        batch, *size = _image_input(session, self._label, spec.needs_mask)
        if any(isinstance(found, int) and found != wanted for found, wanted in zip(size, spec.input_size, strict=True)):
            raise RecognizerError(
                f"{self._label}: takes images {session.get_inputs()[0].shape}, its card says {list(spec.input_size)}"
            )
        self._block = batch if isinstance(batch, int) and batch > 0 else None
        provider = session.get_providers()[0]
        self._lanes = ThreadPoolExecutor(thread_count()) if provider == CPU else None
        self.spec = replace(spec, engine=f"onnxruntime:{provider}")
        found = self._vectors(np.zeros((1, *spec.input_size, 3), np.uint8)).shape[1]
        if found != spec.embedding_size:
            raise RecognizerError(
                f"{self._label}: gives vectors of {found} numbers, its card says {spec.embedding_size}"
            )

    def embed(self, faces: np.ndarray, masks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Faces (N, H, W, 3) uint8 RGB to vectors (N, D) float32 and status (N,) int8, all OK.

        ``masks`` (N, H, W) uint8, 1 = occluded, are read where ``spec.needs_mask``; without any, nothing is occluded.
        """
        return self._vectors(faces, masks), np.full(len(faces), Status.OK, np.int8)

    def _vectors(self, faces: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """(N, H, W, 3) uint8, and (N, H, W) uint8 where there are masks, to (N, D) float32."""
        if not len(faces):
            return np.empty((0, self.spec.embedding_size), np.float32)
        lanes = thread_count() if self._lanes else 1
        block = self._block or max(1, -(-len(faces) // lanes))
        rows = [slice(start, start + block) for start in range(0, len(faces), block)]
        pieces = [faces[part] for part in rows], [None if masks is None else masks[part] for part in rows]
        spread = map if self._lanes is None or len(rows) == 1 else self._lanes.map
        return np.concatenate(list(spread(self._piece, *pieces)))

    def _piece(self, faces: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
        """One run of the network."""
        given = [preprocess(faces, self.spec)] + ([mask_planes(faces, masks)] if self.spec.needs_mask else [])
        if self._block:
            given = [np.pad(part, [(0, self._block - len(part)), (0, 0), (0, 0), (0, 0)]) for part in given]
        return _run(self._session, self._label, *given)[: len(faces)]


def load_onnx(path: Path, card: Path | str | None = None, device: str = "auto") -> OnnxRecognizer:
    """The recognizer in an ONNX file, with the card beside it or the given one.

    Raises:
        RecognizerError: a file is missing, the card is malformed, its SHA-256 is another file's, or the network
            disagrees with it.
    """
    data = read_network(path)
    spec, card_path = read_card(path, card)
    check_file(path, bytes_sha256(data), spec, card_path, "get the right file, or check the card anew")
    recognizer = onnx_recognizer(data, path, spec, device)
    recognizer.own_completion = own_completion(spec, card_path)
    return recognizer


def onnx_recognizer(data: bytes, path: Path, spec: RecognizerSpec, device: str) -> OnnxRecognizer:
    """The recognizer in the bytes of an ONNX file, with the list of training subjects that may lie beside ``path``."""
    recognizer = OnnxRecognizer(open_session(data, path, device), spec, path)
    recognizer.training_subjects = read_training_subjects(path)
    return recognizer


def load_reference(rest: str, card: Path | str | None, device: str, engine: str, allow_pickle: bool) -> OnnxRecognizer:
    """The loader of "onnx:PATH" (see ``recognizers.builtin.PREFIXES``).

    Raises:
        RecognizerError: as ``load_onnx``, or another engine than onnxruntime was asked for.
    """
    if engine != "onnxruntime":
        raise RecognizerError(f"{rest}: an ONNX file runs on engine onnxruntime, not {engine}")
    return load_onnx(Path(rest), card, device)
