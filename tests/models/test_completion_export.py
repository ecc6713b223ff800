"""Completion networks as ONNX files: the same answers as torch, for any batch and a hole of its own for every face."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from maskbench.errors import MaskbenchError
from maskbench.models.completion_export import Completed, completion_onnx
from maskbench.models.gfc import FaceCompletion
from maskbench.models.ict import ICT
from maskbench.models.inpainter import Inpainter

SIDE = 48


def build(name: str):
    torch.manual_seed(2)
    if name == "ict":
        return ICT(SIDE, 10, 12, 16, 2, 4, 0.25, 2)
    if name == "gfc":
        network = FaceCompletion(SIDE, 0.125)
        torch.nn.init.normal_(network.last.weight, std=0.2)
        return network
    return Inpainter(attention=name == "attention", width=0.25)


@pytest.fixture(scope="module", params=["attention", "plain", "gfc", "ict"])
def both(request):
    """A network in training mode, and a session of its export."""
    network = build(request.param)
    data = completion_onnx(network, SIDE)
    assert network.training
    return network, onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def faces(seed: int, number: int, side: int = SIDE):
    """Pictures, and holes of all kinds: a box, scattered cells, none, everything, one pixel."""
    rng = np.random.default_rng(seed)
    holes = np.zeros((number, 1, side, side), np.float32)
    for k in range(number):
        if k % 5 == 0:
            top, left = rng.integers(0, side // 2, 2)
            holes[k, 0, top : top + side // 3, left : left + side // 2] = 1
        elif k % 5 == 1:
            holes[k, 0] = np.kron(rng.random((side // 8, side // 8)) > 0.8, np.ones((8, 8)))
        elif k % 5 == 3:
            holes[k] = 1
        elif k % 5 == 4:
            holes[k, 0, 7, 30] = 1
    return rng.uniform(-1, 1, (number, 3, side, side)).astype(np.float32), holes


def of_torch(network, pictures, holes) -> np.ndarray:
    training = network.training
    with torch.no_grad():
        answer = Completed(network.eval())(torch.from_numpy(pictures), torch.from_numpy(holes)).numpy()
    network.train(training)
    return answer


def run(session, pictures, holes) -> np.ndarray:
    return session.run(["completed"], {"faces": pictures, "holes": holes})[0]


def test_names_and_shapes(both):
    _, session = both
    assert [(x.name, x.shape, x.type) for x in session.get_inputs()] == [
        ("faces", ["batch", 3, SIDE, SIDE], "tensor(float)"),
        ("holes", ["batch", 1, SIDE, SIDE], "tensor(float)"),
    ]
    assert [x.name for x in session.get_outputs()] == ["completed"]
    assert session.get_outputs()[0].shape[0] == "batch"


@pytest.mark.parametrize("number", [1, 2, 7])
def test_equals_torch(both, number):
    network, session = both
    pictures, holes = faces(number, number)
    got = run(session, pictures, holes)
    assert got.dtype == np.float32 and got.shape == pictures.shape
    np.testing.assert_allclose(got, of_torch(network, pictures, holes), rtol=0, atol=1e-4)
    assert got[np.broadcast_to(holes == 1, got.shape)].std() > 0.01


def test_known_pixels_are_exactly_as_given(both):
    _, session = both
    pictures, holes = faces(3, 5)
    got = run(session, pictures, holes)
    known = np.broadcast_to(holes == 0, got.shape)
    assert (got[known] == pictures[known]).all()
    assert np.abs(got).max() <= 1


def test_no_face_depends_on_the_others(both):
    _, session = both
    pictures, holes = faces(4, 5)
    together = run(session, pictures, holes)
    alone = np.concatenate([run(session, pictures[k : k + 1], holes[k : k + 1]) for k in range(5)])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_what_the_hole_held_has_no_influence(both):
    _, session = both
    pictures, holes = faces(5, 3)
    other = np.where(holes == 1, np.float32(9), pictures)
    np.testing.assert_array_equal(run(session, pictures, holes), run(session, other, holes))


def test_same_weights_same_bytes_and_mode_stays():
    network = build("attention").eval()
    data = completion_onnx(network, SIDE)
    assert data == completion_onnx(network, SIDE)
    assert not network.training


def test_another_side(both):
    network, _ = both
    if isinstance(network, FaceCompletion | ICT):
        with pytest.raises(MaskbenchError, match="give 48 x 48"):
            completion_onnx(network, 32)
        return
    session = onnxruntime.InferenceSession(completion_onnx(network, 32), providers=["CPUExecutionProvider"])
    pictures, holes = faces(6, 2, 32)
    np.testing.assert_allclose(run(session, pictures, holes), of_torch(network, pictures, holes), rtol=0, atol=1e-4)
    with pytest.raises(MaskbenchError, match="8 divides"):
        completion_onnx(network, 36)
    assert network.training
