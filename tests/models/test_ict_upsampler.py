"""ICT's convolutional network: what it counts, against its layers written out, and the blocks that can be asked for."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from maskbench.errors import MaskbenchError
from maskbench.models.ict_upsampler import GuidedUpsampler

BLOCKS = 3


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def network() -> GuidedUpsampler:
    """A narrow one, whose biases are not 0 as they are at the start."""
    torch.manual_seed(3)
    upsampler = GuidedUpsampler(0.125, BLOCKS).eval()
    for name, parameter in upsampler.named_parameters():
        nn.init.normal_(parameter, std=0.1 if name.endswith("bias") else 0.06)
    return upsampler


def planes(seed: int, number: int = 2, height: int = 32, width: int = 32):
    return torch.rand(number, 6, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def of(network, x, block: int | None = None):
    with torch.no_grad():
        return network(x) if block is None else network.encode(x, block)


def test_parameters_are_the_published_layers():
    with torch.device("meta"):
        upsampler = GuidedUpsampler()
    first, last = 6 * 64 * 49 + 64, 64 * 3 * 49 + 3
    down = 64 * 128 * 16 + 128 + 128 * 256 * 16 + 256
    up = 256 * 128 * 16 + 128 + 128 * 64 * 16 + 64
    block = 2 * (256 * 256 * 9 + 256)
    assert [count(one) for one in upsampler.blocks] == [block] * 8 and block == 1_180_160
    assert count(upsampler.encoder) == first + down and count(upsampler.decoder) == up + last
    assert count(upsampler) == first + down + 8 * block + up + last == 10_780_867


def written_out(network: GuidedUpsampler, x, blocks: int):
    """Features after some blocks, and the picture of them, by plain functions."""
    weights = dict(network.named_parameters())

    def layer(name: str):
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    def mirrored(given, by: int):
        return functional.pad(given, (by,) * 4, mode="reflect")

    x = functional.conv2d(mirrored(x, 3), *layer("encoder.1")).relu()
    for name in ("encoder.3", "encoder.5"):
        x = functional.conv2d(functional.pad(x, (1,) * 4), *layer(name), stride=2).relu()
    for number in range(blocks):
        inner = functional.conv2d(mirrored(x, 2), *layer(f"blocks.{number}.layers.1"), dilation=2).relu()
        x = x + functional.conv2d(mirrored(inner, 1), *layer(f"blocks.{number}.layers.4"))
    features = x
    for name in ("decoder.0", "decoder.2"):
        x = functional.conv_transpose2d(x, *layer(name), stride=2, padding=1).relu()
    return features, functional.conv2d(mirrored(x, 3), *layer("decoder.5")).tanh()


@pytest.mark.parametrize("height, width", [(32, 32), (36, 36), (12, 40)])
def test_it_is_its_layers_written_out(network, height, width):
    x = planes(1, 2, height, width)
    with torch.no_grad():
        features, picture = written_out(network, x, BLOCKS)
    got = of(network, x)
    assert got.shape == (2, 3, height, width) and got.std() > 0.01 and got.abs().max() <= 1
    torch.testing.assert_close(got, picture, rtol=0, atol=1e-6)
    assert of(network, x, -1).shape == (2, network.channels, height // 4, width // 4)
    torch.testing.assert_close(of(network, x, -1), features, rtol=0, atol=1e-6)


def test_blocks_count_from_either_end(network):
    x = planes(2)
    for block in range(BLOCKS):
        with torch.no_grad():
            want, _ = written_out(network, x, block + 1)
        torch.testing.assert_close(of(network, x, block), want, rtol=0, atol=1e-6)
        assert torch.equal(of(network, x, block), of(network, x, block - BLOCKS))
    with torch.no_grad():
        assert torch.equal(network.decode(network.encode(x)), network(x))


@pytest.mark.parametrize("block", [BLOCKS, -BLOCKS - 1, 99])
def test_other_blocks_are_refused(network, block):
    with pytest.raises(MaskbenchError, match=f"no residual block {block} of 3; they count from 0"):
        network.encode(planes(3), block)


def test_blocks_after_the_one_that_is_asked_for_do_not_run(network):
    ran = []
    hooks = [
        one.register_forward_hook(lambda *given, number=number: ran.append(number))
        for number, one in enumerate(network.blocks)
    ]
    of(network, planes(4), 1)
    assert ran == [0, 1]
    for hook in hooks:
        hook.remove()


def test_samples_do_not_meet(network):
    x = planes(5, 3)
    together = of(network, x)
    for number in range(3):
        torch.testing.assert_close(together[number], of(network, x[number][None])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", [1.0, 0.25])
def test_weights_start_as_published_and_larger_in_narrow_networks(width):
    torch.manual_seed(0)
    upsampler = GuidedUpsampler(width, 1)
    for layer in upsampler.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 5000:
            assert float(layer.weight.detach().std()) == pytest.approx(0.02 / width**0.5, rel=0.05)
            assert not layer.bias.any()
    assert upsampler.channels == round(256 * width)
