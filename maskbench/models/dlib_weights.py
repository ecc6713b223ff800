"""Reads the weights of dlib's face recognition network from dlib's own file format, with NumPy alone.

The format is a stream without an index, so the reader walks it from the first byte to the last and compares every
tag, size and flag with the one network it knows. Nothing in the file is executed and no size is trusted before it
has been compared with the bytes that are left.

Integers are a control byte (low four bits: how many bytes follow; 0x80: negative) and little-endian bytes; floats
are two such integers, mantissa and binary exponent; strings are a length and bytes; flags are the characters 0 and
1; tensors are version 2, four sizes and little-endian float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskbench.errors import RecognizerError

# Residual blocks from input to output: (channels in, channels out, whether the block halves the picture).
BLOCKS: tuple[tuple[int, int, bool], ...] = (
    *[(32, 32, False)] * 3,
    *[(32, 64, True), *[(64, 64, False)] * 3],
    *[(64, 128, True), *[(128, 128, False)] * 2],
    *[(128, 256, True), *[(256, 256, False)] * 2],
    (256, 256, True),
)
EMBEDDING_SIZE = 128
INPUT_SIZE = 150
# dlib writes these three as float32.
MEAN = (122.782, 117.001, 104.298)


class _Layer(NamedTuple):
    """One layer of the stream: what it is, the name of its weights, and the sizes that it must have."""

    kind: str
    name: str = ""
    sizes: tuple[int, ...] = ()


def _plan() -> Iterator[_Layer]:
    """The layers from input to output. "mark" stands for dlib's tag and skip layers, which have no body."""
    yield _Layer("con", "stem.conv", (32, 3, 7, 2, 0))  # filters, channels, window, stride, padding
    yield _Layer("affine", "stem.affine", (32,))
    yield _Layer("relu")
    yield _Layer("max_pool", sizes=(3, 3, 2, 2, 0, 0))
    for index, (before, after, halves) in enumerate(BLOCKS):
        stride, padding = (2, 0) if halves else (1, 1)
        yield _Layer("mark")
        yield _Layer("con", f"blocks.{index}.conv1", (after, before, 3, stride, padding))
        yield _Layer("affine", f"blocks.{index}.affine1", (after,))
        yield _Layer("relu")
        yield _Layer("con", f"blocks.{index}.conv2", (after, after, 3, 1, 1))
        yield _Layer("affine", f"blocks.{index}.affine2", (after,))
        if halves:
            yield from (_Layer("mark"), _Layer("mark"), _Layer("avg_pool", sizes=(2, 2, 2, 2, 0, 0)))
        yield _Layer("add_prev")
        yield _Layer("relu")
    yield _Layer("avg_pool", sizes=(0, 0, 1, 1, 0, 0))
    yield _Layer("fc", "fc", (EMBEDDING_SIZE, BLOCKS[-1][1]))


_TAGS = {
    "con": "con_4",
    "affine": "affine_",
    "relu": "relu_",
    "max_pool": "max_pool_2",
    "avg_pool": "avg_pool_2",
    "add_prev": "add_prev_",
    "fc": "fc_2",
}


class _Stream:
    """Bytes with a position; every read is checked against the end of the file."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def error(self, problem: str) -> RecognizerError:
        """The one-line error for a problem at the current position."""
        return RecognizerError(
            f"{self.path}: not dlib's face recognition network ({problem} at byte {self.at}); reinstall it with "
            "pip install --force-reinstall face-recognition-models"
        )

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        if count > len(self.data) - self.at:
            raise self.error(f"the file ends where {count} more bytes are due")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        """A signed integer of at most eight bytes."""
        control = self.take(1)[0]
        if control & 0x70 or not 1 <= control & 0x0F <= 8:
            raise self.error(f"integer control byte 0x{control:02x}")
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def number(self) -> float:
        """A floating-point number."""
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) > 1100:
            raise self.error(f"number with exponent {exponent}")
        return float(mantissa) * 2.0**exponent

    def text(self) -> str:
        """A short string."""
        length = self.integer()
        if not 0 <= length <= 64:
            raise self.error(f"string of length {length}")
        return self.take(length).decode("ascii", "replace")

    def expect(self, what: str, *wanted: int) -> None:
        """Integers that must be ``wanted``."""
        found = tuple(self.integer() for _ in wanted)
        if found != wanted:
            raise self.error(f"{what} {found} instead of {wanted}")

    def numbers(self, what: str, *wanted: float) -> None:
        """Floats that must be ``wanted`` to single precision."""
        found = tuple(self.number() for _ in wanted)
        if not np.allclose(found, wanted, rtol=1e-6, atol=0):
            raise self.error(f"{what} {found} instead of {wanted}")

    def tensor(self, what: str, *sizes: int) -> np.ndarray:
        """A tensor of the given four sizes, as a flat float32 array of finite values."""
        self.expect(f"version and sizes of {what}", 2, *sizes)
        values = np.frombuffer(self.take(4 * prod(sizes)), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise self.error(f"{what} with values that are not finite")
        return values


def _con(stream: _Stream, layer: _Layer) -> dict[str, np.ndarray]:
    """A convolution: filters and biases in one tensor, then its geometry and how the tensor is cut."""
    filters, channels, window, stride, padding = layer.sizes
    count = filters * channels * window * window
    values = stream.tensor(layer.name, count + filters, 1, 1, 1)
    stream.expect(f"geometry of {layer.name}", filters, window, window, stride, stride, padding, padding)
    stream.expect(f"filters of {layer.name}", 1, filters, channels, window, window)
    stream.expect(f"biases of {layer.name}", 1, 1, filters, 1, 1)
    _training(stream, 4)
    shape = (filters, channels, window, window)
    return {f"{layer.name}.weight": values[:count].reshape(shape), f"{layer.name}.bias": values[count:]}


def _affine(stream: _Stream, layer: _Layer) -> dict[str, np.ndarray]:
    """A channel-wise scale and shift (mode 0), what batch normalisation is after training."""
    (channels,) = layer.sizes
    values = stream.tensor(layer.name, 2 * channels, 1, 1, 1)
    for part in ("scale", "shift"):
        stream.expect(f"{part} of {layer.name}", 1, 1, channels, 1, 1)
    stream.expect(f"mode of {layer.name}", 0)
    return {f"{layer.name}.weight": values[:channels], f"{layer.name}.bias": values[channels:]}


def _fc(stream: _Stream, layer: _Layer) -> dict[str, np.ndarray]:
    """A linear layer without bias (mode 1); dlib stores (inputs, outputs), torch wants the transpose."""
    outputs, inputs = layer.sizes
    stream.expect(f"sizes of {layer.name}", outputs, inputs)
    values = stream.tensor(layer.name, inputs, outputs, 1, 1)
    stream.expect(f"weights of {layer.name}", 1, inputs, outputs, 1, 1)
    stream.expect(f"biases of {layer.name}", 1, 0, 0, 0, 0)
    stream.expect(f"mode of {layer.name}", 1)
    _training(stream, 4)
    return {f"{layer.name}.weight": np.ascontiguousarray(values.reshape(inputs, outputs).T)}


def _training(stream: _Stream, count: int) -> None:
    """The multipliers of learning rate and weight decay, which inference has no use for."""
    for _ in range(count):
        stream.number()


_BODIES = {"con": _con, "affine": _affine, "fc": _fc}


def _body(stream: _Stream, layer: _Layer) -> dict[str, np.ndarray]:
    """One layer: its tag, its own fields, then three flags and three (empty) training tensors."""
    tag = stream.text()
    if tag != _TAGS[layer.kind]:
        raise stream.error(f"layer {tag!r} instead of {_TAGS[layer.kind]!r}")
    weights: dict[str, np.ndarray] = {}
    if layer.kind in _BODIES:
        weights = _BODIES[layer.kind](stream, layer)
    elif layer.sizes:
        stream.expect(f"geometry of {tag}", *layer.sizes)
    if (flags := stream.take(3)).strip(b"01"):
        raise stream.error(f"flags {flags!r}")
    for what in ("gradient", "output", "parameter gradient"):
        stream.tensor(f"{what} of {tag}", 0, 0, 0, 0)
    return weights


def _head(stream: _Stream, plan: list[_Layer]) -> None:
    """What precedes the layers: the loss, the version of every nested layer from output to input, the input."""
    stream.expect("version", 1)
    if (tag := stream.text()) != "loss_metric_2":
        raise stream.error(f"loss {tag!r}")
    _training(stream, 2)  # margin and distance threshold
    *outer, _first = (1 if layer.kind == "mark" else 2 for layer in reversed(plan))
    stream.expect("layer versions", *outer, 3)
    if (tag := stream.text()) != "input_rgb_image_sized":
        raise stream.error(f"input {tag!r}")
    stream.numbers("input means", *MEAN)
    stream.expect("input size", INPUT_SIZE, INPUT_SIZE)


def read_dlib_weights(path: Path | str) -> dict[str, np.ndarray]:
    """Read ``dlib_face_recognition_resnet_model_v1.dat`` (King, github.com/davisking/dlib-models).

    Returns:
        float32 arrays under the names of ``maskbench.models.dlib_resnet.DlibResNet``'s state dictionary:
        convolutions (out, in, k, k) with biases (out,), affine weights and biases (C,), ``fc.weight`` (128, 256).

    Raises:
        RecognizerError: the file is missing, cut short or holds anything but this network.
    """
    path = Path(path)
    try:
        stream = _Stream(path, path.read_bytes())
    except OSError as error:
        raise RecognizerError(
            f"{path}: cannot be read ({error.strerror}); pip install face-recognition-models"
        ) from error
    plan = list(_plan())
    _head(stream, plan)
    weights: dict[str, np.ndarray] = {}
    for index, layer in enumerate(layer for layer in plan if layer.kind != "mark"):
        weights |= _body(stream, layer)
        if index == 0:
            stream.expect("copies of each input", 1)
    if stream.at != len(stream.data):
        raise stream.error(f"{len(stream.data) - stream.at} bytes too many")
    return weights
