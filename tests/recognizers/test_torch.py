"""torch modules as recognizers."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from maskbench.errors import RecognizerError
from maskbench.recognizers.base import checked_embed
from maskbench.recognizers.dummy import dummy
from maskbench.recognizers.torch import TorchRecognizer

SPEC = replace(dummy().spec, name="tiny", input_size=(16, 16), embedding_size=8, mean=(127.5,) * 3, std=(64.0,) * 3)


def test_vectors_and_engine(tiny_module, faces):
    recognizer = TorchRecognizer(tiny_module, SPEC, "auto")
    assert recognizer.spec == replace(SPEC, engine=recognizer.spec.engine)
    assert recognizer.spec.engine == f"torch:{'cuda' if torch.cuda.is_available() else 'cpu'}"
    vectors, status = checked_embed(recognizer, faces)
    x = torch.tensor((faces.astype(np.float64) - 127.5) / 64, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.inference_mode():
        np.testing.assert_allclose(vectors, tiny_module.cpu()(x).numpy(), atol=1e-4)
    assert not status.any()


def test_module_runs_in_evaluation_mode(faces):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9), torch.nn.Linear(768, 8)).train()
    recognizer = TorchRecognizer(module, SPEC, "cpu")
    np.testing.assert_array_equal(recognizer.embed(faces)[0], recognizer.embed(faces)[0])


def test_gpu_that_is_not_there(monkeypatch, tiny_module):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecognizerError, match=r"torch finds no CUDA device; pip install 'maskbench\[gpu\]'"):
        TorchRecognizer(tiny_module, SPEC, "cuda")
