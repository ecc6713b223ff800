"""ONNX files as recognizers, against the torch module that they were made from."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from maskbench.errors import RecognizerError
from maskbench.recognizers.base import checked_embed, load_recognizer
from maskbench.recognizers.onnx import open_session
from maskbench.recognizers.torch import TorchRecognizer


@pytest.fixture
def expected(tiny_module):
    """The tiny network's vectors, normalised by hand."""

    def vectors(faces: np.ndarray) -> np.ndarray:
        x = (faces.astype(np.float64) - 127.5) / (127.5, 128.0, 64.0)
        with torch.inference_mode():
            return tiny_module(torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2)).numpy()

    return vectors


def test_vectors_are_those_of_the_network(place, tiny, faces, expected):
    recognizer = load_recognizer(f"onnx:{place(tiny)}", device="cpu")
    assert recognizer.spec.engine == "onnxruntime:CPUExecutionProvider"
    vectors, status = checked_embed(recognizer, faces)
    np.testing.assert_allclose(vectors, expected(faces), atol=1e-5)
    assert vectors.dtype == np.float32 and status.dtype == np.int8 and not status.any()


def test_colour_order_turns_the_channels(place, tiny, faces, expected):
    recognizer = load_recognizer(f"onnx:{place(tiny, colour_order='BGR')}", device="cpu")
    np.testing.assert_allclose(checked_embed(recognizer, faces)[0], expected(faces[..., ::-1]), atol=1e-5)


def test_batch_makes_no_difference(place, tiny, faces):
    recognizer = load_recognizer(f"onnx:{place(tiny)}", device="cpu")
    one_by_one = np.concatenate([recognizer.embed(faces[i : i + 1])[0] for i in range(len(faces))])
    np.testing.assert_allclose(recognizer.embed(faces)[0], one_by_one, atol=1e-6)


@pytest.mark.parametrize("lanes", [1, 2, 3, 64])
def test_the_number_of_processors_changes_no_byte(place, tiny, faces, monkeypatch, lanes):
    alone = load_recognizer(f"onnx:{place(tiny)}", device="cpu").embed(faces)[0]
    monkeypatch.setattr("maskbench.recognizers.onnx.thread_count", lambda: lanes)
    spread = load_recognizer(f"onnx:{place(tiny)}", device="cpu")
    assert spread.embed(faces)[0].tobytes() == alone.tobytes()
    assert spread.embed(faces[:0])[0].shape == (0, alone.shape[1])


@pytest.mark.parametrize("batch", [1, 3, 7, 10])
def test_fixed_batch_sizes(place, export, tiny_module, faces, expected, batch):
    data = export(tiny_module, (batch, *faces.transpose(0, 3, 1, 2).shape[1:]), dynamic=False)
    recognizer = load_recognizer(f"onnx:{place(data)}", device="cpu")
    np.testing.assert_allclose(checked_embed(recognizer, faces)[0], expected(faces), atol=1e-5)


def test_vectors_with_trailing_axes_are_flattened(place, export, tiny_module, faces, expected):
    module = torch.nn.Sequential(tiny_module, torch.nn.Unflatten(1, (8, 1, 1)))
    recognizer = load_recognizer(f"onnx:{place(export(module))}", device="cpu")
    np.testing.assert_allclose(checked_embed(recognizer, faces)[0], expected(faces), atol=1e-5)


def test_the_engines_agree(place, tiny, tiny_module, faces):
    first = load_recognizer(f"onnx:{place(tiny)}", device="cpu")
    second = TorchRecognizer(tiny_module, first.spec, "cpu")
    assert second.spec.engine == "torch:cpu"
    vectors, status = second.embed(faces)
    np.testing.assert_allclose(vectors, first.embed(faces)[0], atol=1e-5)
    assert vectors.dtype == np.float32 and status.dtype == np.int8 and not status.any()


def test_card_given_by_path(place, tiny, tmp_path):
    path = place(tiny)
    path.with_suffix(".json").rename(tmp_path / "elsewhere.json")
    assert load_recognizer(f"onnx:{path}", "cpu", card=tmp_path / "elsewhere.json").spec.name == "tiny"


def test_another_files_card_is_refused(place, tiny):
    path = place(tiny, sha256="ab" * 32)
    message = rf"tiny\.onnx has SHA-256 \w{{64}}, but .*tiny\.json describes {'ab' * 32}"
    with pytest.raises(RecognizerError, match=message):
        load_recognizer(f"onnx:{path}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": [24, 24]}, r"tiny.onnx: takes images \['batch', 3, 16, 16\], its card says \[24, 24\]"),
        ({"embedding_size": 512}, "tiny.onnx: gives vectors of 8 numbers, its card says 512"),
    ],
)
def test_card_and_network_must_agree(place, tiny, changes, message):
    with pytest.raises(RecognizerError, match=message):
        load_recognizer(f"onnx:{place(tiny, **changes)}")


class ChannelsLast(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)


class Total(torch.nn.Module):
    def forward(self, x):
        return x.sum()


def test_networks_of_another_kind_are_refused(place, export):
    with pytest.raises(
        RecognizerError, match=r"tiny.onnx: has input .*\['batch', 16, 16, 3\] instead of channels first"
    ):
        load_recognizer(f"onnx:{place(export(ChannelsLast(), (1, 16, 16, 3)))}")
    with pytest.raises(RecognizerError, match="instead of one float32 image batch"):
        load_recognizer(f"onnx:{place(export(ChannelsLast(), (1, 48)))}")
    with pytest.raises(RecognizerError, match=r"gives \(\) for 1 faces"):
        load_recognizer(f"onnx:{place(export(Total(), dynamic=False))}")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\xff" * 64])
def test_damaged_files_are_named(place, tiny, damage):
    with pytest.raises(RecognizerError, match=r"tiny.onnx: (onnxruntime cannot load it|has inputs)") as caught:
        load_recognizer(f"onnx:{place(damage(tiny))}")
    assert "\n" not in str(caught.value)


def test_gpu_that_falls_back_is_an_error(monkeypatch, tiny):
    """onnxruntime-gpu lists its CUDA provider without a GPU, and then quietly uses the processor."""
    session = onnxruntime.InferenceSession(tiny, providers=["CPUExecutionProvider"])
    asked = []

    def fall_back(data, options, providers):
        asked.append(providers)
        return session

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)
    with pytest.raises(RecognizerError, match="no CUDA device"):
        open_session(tiny, "tiny.onnx", "cuda")
    assert open_session(tiny, "tiny.onnx", "auto") is session
    assert all(providers[0][0] == "CUDAExecutionProvider" for providers in asked)
    open_session(tiny, "tiny.onnx", "cpu")
    assert asked[-1] == ["CPUExecutionProvider"]


@pytest.mark.gpu
def test_gpu_agrees_with_the_processor(place, tiny, faces):
    name = f"onnx:{place(tiny)}"
    recognizer = load_recognizer(name, "cuda")
    assert recognizer.spec.engine == "onnxruntime:CUDAExecutionProvider"
    np.testing.assert_allclose(recognizer.embed(faces)[0], load_recognizer(name, "cpu").embed(faces)[0], atol=1e-4)


def test_a_published_network(data_root, tmp_path, card):
    """A real file with a fixed batch of one: same person nearer than others on a handful of aligned crops."""
    import cv2

    path = tmp_path / "mobilefacenet128.onnx"
    path.write_bytes((data_root / "weights" / path.name).read_bytes())
    from maskbench.recognizers.card import draft_card

    values = {**draft_card(path), "std": 128}
    path.with_suffix(".json").write_text(json.dumps(values))
    recognizer = load_recognizer(f"onnx:{path}", "cpu")
    assert recognizer.spec.input_size == (112, 112) and recognizer.spec.embedding_size == 128
    root = Path(data_root) / "faces" / "lfw112"
    people = [sorted(folder.glob("*.jpg"))[:2] for folder in sorted(root.iterdir()) if len(list(folder.iterdir())) > 2]
    crops = np.stack([cv2.imread(str(image))[..., ::-1] for pair in people[:8] for image in pair])
    vectors, status = checked_embed(recognizer, crops)
    assert not status.any()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = (vectors @ vectors.T).reshape(8, 2, 8, 2)[:, 0, :, 1]
    assert (likeness.argmax(axis=1) == np.arange(8)).all()
