"""torch to ONNX, with nothing but torch, read back by onnxruntime."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from maskbench.errors import MaskbenchError
from maskbench.models.dlib_resnet import DlibResNet
from maskbench.models.export import export_onnx, onnx_bytes


@pytest.fixture(scope="module")
def network() -> DlibResNet:
    torch.manual_seed(0)
    return DlibResNet().eval()


@pytest.fixture(scope="module")
def exported(network) -> bytes:
    return onnx_bytes(network, (150, 150))


def test_onnxruntime_agrees_with_torch(network, exported):
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 150, 150]
    assert session.get_outputs()[0].shape == ["batch", 128]
    for count in (1, 3):
        x = np.random.default_rng(count).normal(0, 0.3, (count, 3, 150, 150)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(x)).numpy()
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(session.run(None, {"faces": x})[0], expected, atol=1e-5)


def test_same_weights_same_bytes(network, exported):
    assert onnx_bytes(network, (150, 150)) == exported


def test_file_is_those_bytes_and_size_comes_from_the_module(tmp_path, network, exported):
    export_onnx(network, tmp_path / "deep" / "network.onnx")
    assert (tmp_path / "deep" / "network.onnx").read_bytes() == exported
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["network.onnx"]


def test_export_leaves_no_trace(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten())
    module.train()
    mean = module[1].running_mean.clone()
    export_onnx(module, tmp_path / "network.onnx", size=(8, 6))
    assert module.training and module[1].training
    torch.testing.assert_close(module[1].running_mean, mean)
    if find_spec("onnx") is None:
        assert "onnx" not in sys.modules
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 8, 6]


def test_a_folder_that_cannot_be_made_is_named(tmp_path, network):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MaskbenchError, match="cannot be written"):
        export_onnx(torch.nn.Flatten(), tmp_path / "file" / "network.onnx", size=(8, 8))
