"""dlib's network in torch: its size, its shortcuts against plain NumPy, and its folding."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from network_weights import randomised

from maskbench.models.dlib_resnet import MEAN, STD, Affine, Block, DlibResNet, fold, unfold


@pytest.fixture(scope="module")
def network() -> DlibResNet:
    torch.manual_seed(0)
    return DlibResNet().eval()


def test_parameter_count(network):
    """29 convolutions with biases, an affine after each, 256 x 128 at the end: 5.6 million."""
    convolutions = [(3, 32, 7)] + [(32, 32, 3)] * 6
    for before, after, pairs in ((32, 64, 4), (64, 128, 3), (128, 256, 3)):
        convolutions += [(before, after, 3)] + [(after, after, 3)] * (2 * pairs - 1)
    convolutions += [(256, 256, 3)] * 2
    assert len(convolutions) == 29
    expected = sum(i * o * k * k + o for i, o, k in convolutions) + sum(2 * o for _, o, _ in convolutions) + 256 * 128
    assert sum(p.numel() for p in network.parameters()) == expected == 5_614_592


def test_shapes(network):
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 150, 150)).shape == (2, 128)
        assert DlibResNet(112)(torch.zeros(1, 3, 112, 112)).shape == (1, 128)
    with pytest.raises(ValueError, match="40 pixels is too small"):
        DlibResNet(40)


def test_published_normalisation():
    assert MEAN == (122.782, 117.001, 104.298) and STD == (256.0, 256.0, 256.0)


def test_affine_is_scale_and_shift():
    layer = Affine(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, -1.0]))
        layer.bias.copy_(torch.tensor([0.5, 3.0]))
        found = layer(torch.ones(1, 2, 1, 2))
    np.testing.assert_array_equal(found.numpy(), [[[[2.5, 2.5]], [[2.0, 2.0]]]])


def add_prev(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """dlib's sum of two tensors: both in the top-left-first corner of a tensor of zeros that holds either."""
    total = np.zeros(np.maximum(a.shape, b.shape), np.float32)
    for part in (a, b):
        total[tuple(slice(length) for length in part.shape)] += part
    return total


@pytest.mark.parametrize("size", [35, 17, 8, 4])
@pytest.mark.parametrize(("before", "after"), [(3, 5), (4, 4)])
def test_halving_block(before, after, size):
    torch.manual_seed(size)
    block = Block(before, after, True, size).eval()
    x = torch.randn(2, before, size, size)
    with torch.inference_mode():
        found = block(x).numpy()
        branch = block.affine2(block.conv2(torch.relu(block.affine1(block.conv1(x))))).numpy()
    half = size // 2
    shortcut = x.numpy()[:, :, : 2 * half, : 2 * half].reshape(2, before, half, 2, half, 2).mean((3, 5))
    np.testing.assert_allclose(found, np.maximum(add_prev(branch, shortcut), 0), atol=1e-6)
    assert found.shape == (2, after, half, half) and block.size_out == half


def test_plain_block():
    torch.manual_seed(1)
    block = Block(4, 4, False, 9).eval()
    x = torch.randn(1, 4, 9, 9)
    with torch.inference_mode():
        expected = torch.relu(x + block.affine2(block.conv2(torch.relu(block.affine1(block.conv1(x))))))
        torch.testing.assert_close(block(x), expected)


@pytest.fixture(scope="module")
def trained() -> DlibResNet:
    """Weights, scales and shifts that are none of them a formality."""
    return randomised(DlibResNet(), 3)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.randn(3, 3, 150, 150, generator=torch.Generator().manual_seed(4)) * 0.3


class TestFolding:
    def test_the_same_function(self, trained, faces):
        with torch.inference_mode():
            expected, found = trained(faces), fold(trained)(faces)
        assert expected.std() > 0.05 and (expected[0] - expected[1]).abs().max() > 0.01
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)

    def test_and_back_again(self, trained, faces):
        folded = fold(trained)
        whole = unfold(folded)
        with torch.inference_mode():
            assert torch.equal(whole(faces), folded(faces))  # times one and plus zero change no bit
        assert set(whole.state_dict()) == set(trained.state_dict())
        for name, module in whole.named_modules():
            if isinstance(module, Affine):
                assert (module.weight == 1).all() and (module.bias == 0).all(), name
        assert all(torch.equal(a, b) for a, b in zip(fold(whole).parameters(), folded.parameters(), strict=True))

    def test_parameters(self, trained):
        """Without scale and shift of every channel after each of 29 convolutions."""
        channels = 32 * 7 + 64 * 8 + 128 * 6 + 256 * 8
        folded = fold(trained)
        assert sum(p.numel() for p in folded.parameters()) == 5_614_592 - 2 * channels == 5_607_488
        assert sum(p.numel() for p in unfold(folded).parameters()) == 5_614_592
        assert not any(isinstance(module, Affine) for module in folded.modules())

    def test_one_layer_by_hand(self, trained):
        before, after = trained.state_dict(), fold(trained).state_dict()
        for conv, affine in (("stem.conv", "stem.affine"), ("blocks.9.conv2", "blocks.9.affine2")):
            scale, shift = before[f"{affine}.weight"].numpy(), before[f"{affine}.bias"].numpy()
            weight, bias = before[f"{conv}.weight"].numpy(), before[f"{conv}.bias"].numpy()
            np.testing.assert_allclose(after[f"{conv}.weight"], weight * scale[:, None, None, None], rtol=1e-6)
            np.testing.assert_allclose(after[f"{conv}.bias"], bias * scale + shift, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("turn", [fold, unfold])
    def test_the_given_network_stays_as_it_is(self, trained, turn):
        given = trained if turn is fold else fold(trained)
        before = {name: value.clone() for name, value in given.state_dict().items()}
        made = turn(given)
        with torch.no_grad():
            for value in made.parameters():
                value.zero_()
        assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
        assert set(before) == set(given.state_dict())

    @pytest.mark.parametrize("turn", [fold, unfold])
    def test_size_and_mode_stay(self, turn):
        for module in (DlibResNet(112, folded=turn is unfold).train(), DlibResNet(150, folded=turn is unfold).eval()):
            made = turn(module)
            assert made.size == module.size and made.training == module.training

    def test_what_is_folded_already(self, trained):
        once = fold(trained)
        assert all(torch.equal(a, b) for a, b in zip(fold(once).parameters(), once.parameters(), strict=True))
