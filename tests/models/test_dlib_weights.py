"""The reader of dlib's format, against a writer that knows the format on its own (see ``DlibWriter``)."""

import struct

import numpy as np
import pytest

from maskbench.errors import RecognizerError
from maskbench.models.dlib_weights import BLOCKS, read_dlib_weights


class DlibWriter:
    """Writes the network as dlib's C++ does: nested versions first, then each layer from input to output."""

    def __init__(self, seed: int) -> None:
        self.rng, self.out, self.weights = np.random.default_rng(seed), bytearray(), {}

    def integer(self, value: int) -> None:
        raw = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
        self.out += bytes([len(raw) | (0x80 if value < 0 else 0)]) + raw

    def integers(self, *values: int) -> None:
        for value in values:
            self.integer(value)

    def number(self, value: float) -> None:
        mantissa, exponent = np.frexp(np.float64(value))
        self.integers(int(mantissa * 2**53), int(exponent) - 53)

    def text(self, value: str) -> None:
        self.integer(len(value))
        self.out += value.encode()

    def tensor(self, values: np.ndarray, *sizes: int) -> None:
        self.integers(2, *sizes)
        self.out += struct.pack(f"<{values.size}f", *values.ravel())

    def tail(self, flags: bytes = b"110") -> None:
        self.out += flags
        for _ in range(3):
            self.tensor(np.empty(0), 0, 0, 0, 0)

    def random(self, name: str, *shape: int) -> np.ndarray:
        self.weights[name] = self.rng.normal(0, 0.1, shape).astype(np.float32)
        return self.weights[name]

    def con(self, name: str, after: int, before: int, window: int, stride: int, padding: int) -> None:
        weight, bias = self.random(f"{name}.weight", after, before, window, window), self.random(f"{name}.bias", after)
        self.text("con_4")
        self.tensor(np.concatenate([weight.ravel(), bias]), weight.size + after, 1, 1, 1)
        self.integers(after, window, window, stride, stride, padding, padding)
        self.integers(1, after, before, window, window, 1, 1, after, 1, 1)
        for value in (1.0, 1.0, 1.0, 0.0):
            self.number(value)
        self.tail()

    def affine(self, name: str, channels: int) -> None:
        parts = [self.random(f"{name}.{part}", channels) for part in ("weight", "bias")]
        self.text("affine_")
        self.tensor(np.concatenate(parts), 2 * channels, 1, 1, 1)
        self.integers(*(1, 1, channels, 1, 1) * 2, 0)
        self.tail(b"111")

    def plain(self, tag: str, *values: int) -> None:
        self.text(tag)
        self.integers(*values)
        self.tail()

    def network(self) -> bytes:
        versions = [3, 2, 2, 2]
        for _, _, halves in BLOCKS:
            versions += [1, 2, 2, 2, 2, 2] + ([1, 1, 2] if halves else []) + [2, 2]
        self.integer(1)
        self.text("loss_metric_2")
        self.number(0.04)
        self.number(0.6)
        self.integers(*reversed([*versions, 2, 2]))
        self.text("input_rgb_image_sized")
        for mean in (122.782, 117.001, 104.298):
            self.number(np.float32(mean))
        self.integers(150, 150)
        self.con("stem.conv", 32, 3, 7, 2, 0)
        self.integer(1)
        self.affine("stem.affine", 32)
        self.plain("relu_")
        self.plain("max_pool_2", 3, 3, 2, 2, 0, 0)
        for index, (before, after, halves) in enumerate(BLOCKS):
            self.con(f"blocks.{index}.conv1", after, before, 3, 2 if halves else 1, 0 if halves else 1)
            self.affine(f"blocks.{index}.affine1", after)
            self.plain("relu_")
            self.con(f"blocks.{index}.conv2", after, after, 3, 1, 1)
            self.affine(f"blocks.{index}.affine2", after)
            if halves:
                self.plain("avg_pool_2", 2, 2, 2, 2, 0, 0)
            self.plain("add_prev_")
            self.plain("relu_")
        self.plain("avg_pool_2", 0, 0, 1, 1, 0, 0)
        self.text("fc_2")
        self.integers(128, 256)
        self.tensor(np.ascontiguousarray(self.random("fc.weight", 128, 256).T), 256, 128, 1, 1)
        self.integers(1, 256, 128, 1, 1, 1, 0, 0, 0, 0, 1)
        for value in (1.0, 1.0, 1.0, 0.0):
            self.number(value)
        self.tail()
        return bytes(self.out)


@pytest.fixture(scope="module")
def written() -> tuple[bytes, dict[str, np.ndarray]]:
    writer = DlibWriter(3)
    return writer.network(), writer.weights


def parse(tmp_path, data: bytes) -> dict[str, np.ndarray]:
    path = tmp_path / "weights.dat"
    path.write_bytes(data)
    return read_dlib_weights(path)


def test_every_weight_comes_back(tmp_path, written):
    data, weights = written
    found = parse(tmp_path, data)
    assert list(found) == list(weights)
    for name, value in weights.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("share", [0, 1e-5, 0.001, 0.1, 0.5, 0.999, 1 - 1e-7])
def test_a_file_cut_short_is_named(tmp_path, written, share):
    data, _ = written
    with pytest.raises(RecognizerError, match=r"weights\.dat: .*the file ends .* at byte \d+\); reinstall"):
        parse(tmp_path, data[: int(share * len(data))])


def test_a_longer_file_is_refused(tmp_path, written):
    with pytest.raises(RecognizerError, match="2 bytes too many"):
        parse(tmp_path, written[0] + b"ab")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"con_4", b"con_5", "layer 'con_5' instead of 'con_4'"),
        (b"loss_metric_2", b"loss_metric_9", "loss 'loss_metric_9'"),
        (b"input_rgb_image_sized", b"input_rgb_image_sizes", "input 'input_rgb_image_sizes'"),
        (b"affine_\x01\x02\x01\x40", b"affine_\x01\x02\x01\x41", "stem.affine"),
        (b"max_pool_2\x01\x03", b"max_pool_2\x01\x02", "geometry of max_pool_2"),
        (b"relu_110", b"relu_1x0", "flags b'1x0'"),
        (b"relu_110\x01\x02", b"relu_110\x01\x03", "version and sizes of gradient of relu_"),
        (b"\x05con_4", b"\x7fcon_4", "string of length 127"),
        (b"\x05con_4\x01\x02", b"\x05con_4\x0f\x02", "control byte 0x0f"),
        (b"fc_2\x01\x80", b"fc_2\x01\x7f", "sizes of fc"),
    ],
)
def test_anything_unexpected_is_refused(tmp_path, written, old, new, message):
    data, _ = written
    assert old in data
    with pytest.raises(RecognizerError, match=message):
        parse(tmp_path, data.replace(old, new, 1))


def test_weights_that_are_not_finite_are_refused(tmp_path, written):
    data, weights = written
    value = struct.pack("<f", weights["blocks.5.conv2.weight"].ravel()[100])
    broken = data.replace(value, struct.pack("<f", np.nan), 1)
    with pytest.raises(RecognizerError, match="not finite"):
        parse(tmp_path, broken)


def test_a_huge_size_is_not_believed(tmp_path, written):
    """A tensor that claims 2**56 values must fail on the plan, not by asking for the memory."""
    data, _ = written
    with pytest.raises(RecognizerError, match="version and sizes of stem.conv"):
        parse(tmp_path, data.replace(b"con_4\x01\x02\x02\x80\x12", b"con_4\x01\x02\x08" + b"\xff" * 7 + b"\x00", 1))


def test_a_changed_byte_never_raises_anything_else(tmp_path, written):
    """Every byte of the head and of the first layers' fields, changed one at a time."""
    data, _ = written
    start = data.index(b"affine_")
    positions = [*range(0, 360, 3), *range(start - 60, start + 10), *range(start + 270, start + 380)]
    shortened = data[: start + 60_000]  # the rest is missing, so every file is wrong in one way or another
    for position in positions:
        changed = bytearray(shortened)
        changed[position] ^= 0x55
        with pytest.raises(RecognizerError):
            parse(tmp_path, bytes(changed))


def test_other_files_are_refused(tmp_path):
    for data in (b"", b"\x80\x04pickle", b"\x00" * 100, b"\xff" * 100, b"PK\x03\x04"):
        with pytest.raises(RecognizerError, match="not dlib's face recognition network"):
            parse(tmp_path, data)
    with pytest.raises(RecognizerError, match="nothing.dat: cannot be read"):
        read_dlib_weights(tmp_path / "nothing.dat")
