"""The segmenter's network: shapes, size, what it can see, and its export against torch itself."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from maskbench.models.flops import count_flops
from maskbench.models.segmenter import MaskSegmenter, segmenter_onnx


@pytest.fixture(scope="module")
def network() -> MaskSegmenter:
    """Random weights, and normalisation that has seen something."""
    torch.manual_seed(3)
    network = MaskSegmenter()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 128, 128))
    return network.eval()


def answers(network: MaskSegmenter, faces: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.sigmoid(network(torch.from_numpy(faces))).numpy()


def session(data: bytes):
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def test_shape_and_size(network):
    assert network(torch.zeros(2, 3, 128, 128)).shape == (2, 1, 128, 128)
    assert 300_000 <= sum(p.numel() for p in network.parameters()) <= 1_200_000
    assert count_flops(network, (128, 128)) < 300e6  # what one core does in some milliseconds


def test_every_pixel_of_the_answer_sees_far_beyond_itself(network):
    faces = torch.randn(1, 3, 128, 128, requires_grad=True)
    network(faces)[0, 0, 64, 64].backward()
    seen = faces.grad.abs().sum((0, 1)) > 0
    rows = torch.nonzero(seen.any(1)).flatten()
    assert seen[62:67, 62:67].all() and int(rows[-1] - rows[0]) > 90


def test_it_learns_a_disc():
    torch.manual_seed(0)
    network = MaskSegmenter((8, 8, 8, 8, 8))
    y, x = np.mgrid[:128, :128]
    disc = torch.from_numpy(((x - 70) ** 2 + (y - 60) ** 2 < 900).astype(np.float32))[None, None]
    faces = torch.randn(2, 3, 128, 128) * 0.2 + disc
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(faces), disc.expand(2, 1, 128, 128))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_the_exported_network_answers_as_torch_does(network):
    faces = np.random.default_rng(0).normal(size=(3, 3, 128, 128)).astype(np.float32)
    runtime = session(segmenter_onnx(network))
    found = runtime.run(["probability"], {"faces": faces})[0]
    assert found.shape == (3, 1, 128, 128)
    np.testing.assert_allclose(found, answers(network, faces), atol=2e-5)
    single = runtime.run(None, {"faces": faces[1:2]})[0]  # any N
    np.testing.assert_allclose(single, found[1:2], atol=2e-5)


def test_the_export_is_the_same_bytes_and_leaves_the_mode(network):
    network.train()
    first = segmenter_onnx(network)
    assert network.training
    network.eval()
    assert segmenter_onnx(network) == first and not network.training
    assert len(first) < 5_000_000


def test_probabilities_lie_between_0_and_1_even_for_wild_input(network):
    faces = np.full((1, 3, 128, 128), 1e4, np.float32)
    found = session(segmenter_onnx(network)).run(None, {"faces": faces})[0]
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
