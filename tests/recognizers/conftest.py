"""Small networks in ONNX files with their cards."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskbench.digest import bytes_sha256

SIZE = (16, 16)


@pytest.fixture(scope="session")
def tiny_module() -> Any:
    """(N, 3, 16, 16) to (N, 8): a convolution and a linear layer with fixed random weights."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    layers = torch.nn.Conv2d(3, 4, 3, stride=3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(100, 8)
    return torch.nn.Sequential(*layers).eval()


@pytest.fixture(scope="session")
def export() -> Callable[..., bytes]:
    """A function from any module, and the shape of its input, to ONNX bytes, with an open batch or not."""
    torch = pytest.importorskip("torch")
    from maskbench.models.export import _without_onnx

    def to_bytes(module: Any, shape: tuple[int, ...] = (1, 3, *SIZE), dynamic: bool = True) -> bytes:
        stream = io.BytesIO()
        names = {"input_names": ["x"], "output_names": ["y"]}
        if dynamic:
            names["dynamic_axes"] = {"x": {0: "batch"}, "y": {0: "batch"}}
        with _without_onnx(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(module, (torch.zeros(shape),), stream, dynamo=False, **names)
        return stream.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def tiny(tiny_module: Any, export: Callable[..., bytes]) -> bytes:
    """The tiny network as ONNX bytes."""
    return export(tiny_module)


@pytest.fixture
def card() -> dict[str, Any]:
    """A complete card of the tiny network, without its digest."""
    return {
        "name": "tiny",
        "sha256": "0" * 64,
        "input_size": list(SIZE),
        "template": "arcface112",
        "colour_order": "RGB",
        "mean": 127.5,
        "std": [127.5, 128, 64.0],
        "embedding_size": 8,
        "comparator": "cosine",
        "parameters": 920,
        "training_data": ["noise"],
        "licence": "CC0-1.0",
        "source": "made in this test",
    }


@pytest.fixture
def place(tmp_path: Path, card: dict[str, Any]) -> Callable[..., Path]:
    """Writes a network and its card to a folder; keyword arguments change the card."""

    def write(data: bytes, name: str = "tiny.onnx", **changes: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        values = {**card, "sha256": bytes_sha256(data), **changes}
        path.with_suffix(".json").write_text(json.dumps(values))
        return path

    return write


@pytest.fixture
def faces() -> np.ndarray:
    """Seven small faces of noise."""
    return np.random.default_rng(11).integers(0, 256, (7, *SIZE, 3), np.uint8)
