"""The generator of GFC: what it counts, its unpooling against torch's own, what it reads, its parsing loss."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from maskbench.errors import MaskbenchError
from maskbench.models.gfc import (
    FaceCompletion,
    global_discriminator,
    local_discriminator,
    parsing_loss,
    pool_with_places,
    unpool,
)


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def written_out(kernel: int, *channels: int) -> int:
    """Weights and biases of a chain of convolutions with one kernel."""
    return sum(a * b * kernel**2 + b for a, b in zip(channels, channels[1:], strict=False))


def network(side: int = 32, width: float = 0.125) -> FaceCompletion:
    """Random weights whose output differs from zero: the last layer starts almost there."""
    torch.manual_seed(4)
    completion = FaceCompletion(side, width)
    nn.init.normal_(completion.last.weight, std=1.0)
    return completion


def faces(seed: int, number: int = 2, side: int = 32):
    generator = torch.Generator().manual_seed(seed)
    holes = torch.zeros(number, 1, side, side)
    for k in range(number):
        holes[k, :, 3 + 2 * k : 14 + 3 * k, 5 + 4 * k : 17 + 4 * k] = 1
    return torch.rand(number, 3, side, side, generator=generator) * 2 - 1, holes


def test_parameters_are_those_of_the_published_lists():
    with torch.device("meta"):
        completion = FaceCompletion()
    encoder = written_out(3, 3, 32, 32, 64, 64, 128, 128, 256, 256, 256, 256)
    decoder = written_out(3, 256, 64, 64, 64, 128, 64, 64, 64, 32, 32, 32, 3)
    flat = 256 * 8 * 8
    code = flat * 4096 + 4096 + 4096 * flat + flat
    assert (count(completion.encoder), count(completion.code)) == (encoder, code)
    assert count(completion) == encoder + decoder + code == 137_071_331


def test_the_encoder_is_vgg_19_s_after_its_first_two():
    """VGG-19 from conv1_2 on; its conv1_1 reads 32 channels here and not 3."""
    with torch.device("meta"):
        layers = [m for m in FaceCompletion().encoder.modules() if isinstance(m, nn.Conv2d)]
    vgg = written_out(3, 3, 64, 64, 128, 128, 256, 256, 256, 256)
    assert sum(count(m) for m in layers[3:]) == vgg - written_out(3, 3, 64)


def test_parameters_of_the_discriminators():
    def stages(*channels):
        return sum(written_out(3, a, b) + written_out(4, b, b) for a, b in zip(channels, channels[1:], strict=False))

    last = 512 * 4 * 4 + 1
    assert count(global_discriminator()) == stages(3, 32, 64, 128, 256, 512) + last == 7_164_705
    assert count(local_discriminator()) == stages(3, 64, 128, 256, 512) + last == 7_130_689
    assert count(local_discriminator(32)) == stages(3, 64, 128, 256, 512) + 512 * 2 * 2 + 1


@pytest.mark.parametrize("ties", [False, True])
def test_unpooling_is_torch_s(ties):
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    x = x.round().relu() if ties else x
    pooled, places = pool_with_places(x)
    want, indices = functional.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(pooled, want) and torch.equal(places.sum(2), torch.ones_like(want))
    values = torch.randn(2, 3, 4, 6)
    assert torch.equal(unpool(values, places), functional.max_unpool2d(values, indices, 2))


def test_shape_and_convention():
    (output,) = network()(*faces(2))
    assert output.shape == (2, 3, 32, 32) and output.std() > 0.01


def test_starts_close_to_grey():
    torch.manual_seed(6)
    (output,) = FaceCompletion(32, 0.125)(*faces(2))
    assert 0 < output.abs().max() < 0.1


@pytest.mark.parametrize("training", [False, True])
def test_what_the_hole_held_has_no_influence(training):
    completion = network().train(training)
    picture, holes = faces(3)
    other = torch.where(holes > 0, torch.tensor(float("nan")), picture)
    torch.manual_seed(1)
    (first,) = completion(picture, holes)
    torch.manual_seed(1)
    (second,) = completion(other, holes)
    assert torch.equal(first, second)


def test_noise_is_new_while_training_and_fixed_otherwise():
    completion, (picture, holes) = network(), faces(4)
    assert not torch.equal(completion(picture, holes)[0], completion(picture, holes)[0])
    completion.eval()
    assert torch.equal(completion(picture, holes)[0], completion(picture, holes)[0])
    assert "noise" in completion.state_dict() and torch.equal(completion.noise, FaceCompletion(32, 0.25).noise)
    assert -1 <= completion.noise.min() < -0.9 and 0.9 < completion.noise.max() <= 1


def test_samples_do_not_meet():
    completion, (picture, holes) = network().eval(), faces(5, 3)
    together = completion(picture, holes)[0]
    alone = torch.cat([completion(picture[k : k + 1], holes[k : k + 1])[0] for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_and_reach_the_first_layer(value):
    completion, (picture, holes) = network(), faces(7)
    completion(picture, torch.full_like(holes, value))[0].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in completion.parameters())
    assert completion.encoder[0][0].weight.grad.abs().max() > 0


@pytest.mark.parametrize("build", [global_discriminator, local_discriminator])
def test_discriminators_judge_each_picture_by_itself(build):
    critic = build(64, 0.125)
    pictures = torch.randn(3, 3, 64, 64)
    got = critic(pictures)
    assert got.shape == (3,)
    torch.testing.assert_close(got[2:], critic(pictures[2:]))


def test_sizes_that_do_not_fit():
    with pytest.raises(MaskbenchError, match="16 divides"):
        FaceCompletion(100, 0.125)
    with pytest.raises(MaskbenchError, match="32 divides"):
        global_discriminator(48)
    for height, width in [(48, 48), (64, 32), (32, 64)]:
        with pytest.raises(MaskbenchError, match=f"{height} x {width} for completion; give 32 x 32"):
            network(32)(torch.zeros(1, 3, height, width), torch.zeros(1, 1, height, width))


def test_parsing_loss_is_the_mean_cross_entropy_of_the_original_s_labels():
    torch.manual_seed(8)
    parser = nn.Conv2d(3, 5, 1)
    original, completed = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4, requires_grad=True)
    labels, logits = parser(original).argmax(1), parser(completed).detach()
    total = 0.0
    for n in range(2):
        for i in range(4):
            for j in range(4):
                at = logits[n, :, i, j]
                total += float(at.exp().sum().log() - at[labels[n, i, j]])
    loss = parsing_loss(parser, completed, original)
    assert loss.item() == pytest.approx(total / 32, rel=1e-5)
    loss.backward()
    assert completed.grad.abs().max() > 0
