"""The generative inpainter: what it counts, what it reads, its padding, its discriminators and what they are shown."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from maskbench.errors import MaskbenchError
from maskbench.models.inpainter import (
    GlobalDiscriminator,
    Inpainter,
    LocalDiscriminator,
    SameConv,
    compose,
    crop,
    hole_box,
    holed,
)


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def written_out(kernel: int, *channels: int) -> int:
    """Weights and biases of a chain of convolutions with one kernel."""
    return sum(a * b * kernel**2 + b for a, b in zip(channels, channels[1:], strict=False))


COARSE = written_out(5, 5, 32) + written_out(3, 32, *[64] * 2, *[128] * 9, 64, 64, 32, 16, 3)
BRANCH = written_out(5, 5, 32) + written_out(3, 32, 32, 64, 64, *[128] * 6)
ATTENTION = written_out(5, 5, 32) + written_out(3, 32, 32, 64, *[128] * 5)


def merge(before: int) -> int:
    return written_out(3, before, 128, 128, 64, 64, 32, 16, 3)


@pytest.fixture(scope="module")
def small() -> Inpainter:
    torch.manual_seed(5)
    return Inpainter(width=0.25)


def faces(seed: int, number: int = 2, side: int = 32):
    """Pictures in [-1, 1] and a box of a hole for each, elsewhere in every one."""
    generator = torch.Generator().manual_seed(seed)
    holes = torch.zeros(number, 1, side, side)
    for k in range(number):
        holes[k, :, 3 + 2 * k : 14 + 3 * k, 5 + 4 * k : 17 + 4 * k] = 1
    return torch.rand(number, 3, side, side, generator=generator) * 2 - 1, holes


def test_parameters_are_the_paper_s():
    network = Inpainter()
    assert count(network.coarse) == COARSE == 1_448_227
    assert count(network.refine) == BRANCH + ATTENTION + merge(256) == 2_153_315
    assert count(network) == 3_601_542


def test_parameters_without_attention():
    assert count(Inpainter(attention=False)) == COARSE + BRANCH + merge(128) == 2_758_118
    assert not any("before" in name or "after" in name for name, _ in Inpainter(False, 0.25).named_parameters())


@pytest.mark.parametrize(("width", "want"), [(0.5, 904_518), (0.375, 510_342)])
def test_narrower(width, want):
    network = Inpainter(width=width)
    assert count(network) == want
    layers = [m for m in network.modules() if isinstance(m, SameConv)]
    assert max(m.out_channels for m in layers) == round(128 * width)
    assert layers[0].in_channels == 5


def test_parameters_of_the_discriminators():
    local, whole = LocalDiscriminator(), GlobalDiscriminator()
    assert count(local) == written_out(5, 3, 64, 128, 256, 512) + 8 * 8 * 512 + 1 == 4_339_329
    assert count(whole) == written_out(5, 3, 64, 128, 256, 256) + 16 * 16 * 256 + 1 == 2_733_441
    assert count(local) + count(whole) == 7_072_770
    assert count(GlobalDiscriminator(128)) == written_out(5, 3, 64, 128, 256, 256) + 8 * 8 * 256 + 1


@pytest.mark.parametrize("attention", [True, False])
def test_shapes_range_and_convention(attention):
    picture, holes = faces(1, 2, 32)
    outputs = Inpainter(attention, 0.25)(picture[..., :24], holes[..., :24])
    assert len(outputs) == 2
    for output in outputs:
        assert output.shape == (2, 3, 32, 24) and output.dtype == torch.float32
        assert output.abs().max() <= 1 and output.std() > 0.003


def test_layers_against_a_table_of_sizes(small):
    """Every convolution's output at 32 x 32, in order of use, as height and dilation."""
    seen = []
    hooks = [
        m.register_forward_hook(lambda m, _, out: seen.append((m.kernel_size[0], m.dilation[0], out.shape[2])))
        for m in small.modules()
        if isinstance(m, SameConv)
    ]
    small(*faces(2))
    for hook in hooks:
        hook.remove()
    deep = [(3, 2, 8), (3, 4, 8), (3, 8, 8), (3, 16, 8)]
    up = [(3, 1, 16)] * 2 + [(3, 1, 32)] * 3
    coarse = [(5, 1, 32), (3, 1, 16), (3, 1, 16), *[(3, 1, 8)] * 3, *deep, *[(3, 1, 8)] * 2, *up]
    branch = [(5, 1, 32), (3, 1, 16), (3, 1, 16), *[(3, 1, 8)] * 3, *deep]
    attention = [(5, 1, 32), (3, 1, 16), (3, 1, 16), *[(3, 1, 8)] * 3, *[(3, 1, 8)] * 2]
    assert seen == [*coarse, *branch, *attention, *[(3, 1, 8)] * 2, *up]
    assert small.refine.attention.rate == 2 and isinstance(small.refine.before[-1], torch.nn.ReLU)


@pytest.mark.parametrize("attention", [True, False])
def test_what_the_hole_held_has_no_influence(attention):
    network = Inpainter(attention, 0.25)
    picture, holes = faces(3)
    other = torch.where(holes > 0, torch.tensor(float("nan")), picture)
    for a, b in zip(network(picture, holes), network(other, holes), strict=True):
        assert torch.equal(a, b)
    known = picture.clone()
    known[0, :, 0, 0] += 0.5
    assert not torch.equal(network(picture, holes)[1], network(known, holes)[1])


def test_samples_do_not_meet(small):
    picture, holes = faces(4, 3)
    together = small(picture, holes)[1]
    alone = torch.cat([small(picture[k : k + 1], holes[k : k + 1])[1] for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(small(picture.flip(0), holes.flip(0))[1].flip(0), together, rtol=0, atol=1e-5)
    changed = holes.clone()
    changed[1, :, 20:30] = 1
    after = small(picture, changed)[1]
    torch.testing.assert_close(after[[0, 2]], together[[0, 2]], rtol=0, atol=1e-5)
    assert (after[1] - together[1]).abs().max() > 1e-2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_finite_with_no_hole_and_nothing_else(small, value):
    picture, holes = faces(5)
    coarse, refined = small(picture, torch.full_like(holes, value))
    (coarse.sum() + refined.square().sum()).backward()
    assert torch.isfinite(refined).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in small.parameters())
    small.zero_grad(set_to_none=True)


def test_gradients_reach_the_coarse_network_through_the_refining_one(small):
    picture, holes = faces(6)
    small.zero_grad(set_to_none=True)
    small(picture, holes)[1].square().sum().backward()
    assert all(p.grad is not None for p in small.parameters())
    assert small.coarse[0].weight.grad.abs().max() > 0
    small.zero_grad(set_to_none=True)
    small(picture, torch.zeros_like(holes))[1].square().sum().backward()  # without a hole, nothing coarse is read
    assert small.coarse[0].weight.grad.abs().max() == 0
    small.zero_grad(set_to_none=True)


def test_both_outputs_are_clipped_not_squashed(small):
    network = Inpainter(width=0.25)
    network.load_state_dict(small.state_dict())
    with torch.no_grad():
        network.coarse[-1].bias.fill_(3.0)
        network.refine.merge[-1].bias.fill_(-3.0)
        coarse, refined = network(*faces(7))
    assert coarse.max() == 1 and refined.min() == -1
    assert (coarse == 1).float().mean() > 0.9


def test_bfloat16_answers_in_the_picture_s_dtype(small):
    picture, holes = faces(8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = small(picture, holes)
    assert [x.dtype for x in got] == [torch.float32] * 2
    with torch.no_grad():
        want = small(picture, holes)
    assert (got[0] - want[0]).abs().mean() < 0.02


@pytest.mark.parametrize("side", [60, 36])
def test_sides_must_be_multiples_of_eight(small, side):
    with pytest.raises(MaskbenchError, match="8 divides"):
        small(torch.zeros(1, 3, 64, side), torch.zeros(1, 1, 64, side))
    with pytest.raises(MaskbenchError, match="16 divides"):
        LocalDiscriminator(side)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 4), (5, 1, 1)])
def test_padding_is_the_same_as_tensorflow_s(kernel, stride, dilation):
    """One output value after the other: window k starts at k * stride less half the missing zeros, rounded down."""
    torch.manual_seed(9)
    layer, x = SameConv(1, 1, kernel, stride, dilation).double(), torch.randn(1, 1, 8, 8).double()
    got = layer(x)[0, 0].detach().numpy()
    size = -(-8 // stride)
    assert got.shape == (size, size)
    first = -(((size - 1) * stride + dilation * (kernel - 1) + 1 - 8) // 2)
    picture, weight = x[0, 0].numpy(), layer.weight[0, 0].detach().numpy()
    for r in range(size):
        for c in range(size):
            total = layer.bias.item()
            for i in range(kernel):
                for j in range(kernel):
                    p, q = first + r * stride + i * dilation, first + c * stride + j * dilation
                    if 0 <= p < 8 and 0 <= q < 8:
                        total += weight[i, j] * picture[p, q]
            assert got[r, c] == pytest.approx(total, abs=1e-12)


def test_compose_keeps_known_pixels_exactly():
    picture, holes = faces(10)
    output = torch.full_like(picture, 2.5, requires_grad=True)
    got = compose(output, picture, holes)
    inside = holes.bool().expand_as(picture)
    assert torch.equal(got[~inside], picture[~inside])
    assert (got[inside] == 1).all()  # clipped
    compose(output * 0.1, picture, holes).sum().backward()
    assert (output.grad[~inside] == 0).all() and (output.grad[inside] > 0).all()
    assert (holed(picture, holes)[inside] == 0).all()


@pytest.mark.parametrize(("build", "size"), [(GlobalDiscriminator, 64), (LocalDiscriminator, 32)])
def test_discriminators_judge_each_picture_by_itself(build, size):
    critic = build(size, 0.125)
    pictures = torch.randn(3, 3, size, size, requires_grad=True)
    got = critic(pictures)
    assert got.shape == (3,)
    torch.testing.assert_close(got[1:2], critic(pictures[1:2]))
    (gradient,) = torch.autograd.grad(got.sum(), pictures, create_graph=True)  # as a gradient penalty takes it
    gradient.square().sum().backward()
    assert critic.features[0].weight.grad.abs().max() > 0


def boxes_of(*slices, size=8, height=20, width=24):
    holes = torch.zeros(len(slices), 1, height, width)
    for k, (rows, columns) in enumerate(slices):
        holes[k, 0, rows, columns] = 1
    return hole_box(holes, size).tolist()


def test_boxes_around_holes():
    s = slice
    assert boxes_of((s(6, 10), s(10, 14))) == [[4, 8, 8]]  # centred
    assert boxes_of((s(0, 2), s(22, 24)), (s(18, 20), s(0, 1))) == [[0, 16, 8], [12, 0, 8]]  # moved inside
    assert boxes_of((s(3, 15), s(4, 6))) == [[3, 0, 12]]  # the longer side
    assert boxes_of((s(0, 20), s(0, 24))) == [[-2, 0, 24]]  # larger than the picture is high
    assert boxes_of((s(0, 0), s(0, 0))) == [[6, 8, 8]]  # no hole: in the middle


def test_boxes_cover_every_hole():
    rng = np.random.default_rng(11)
    holes = torch.zeros(60, 1, 32, 32)
    for k in range(60):
        (top, bottom), (left, right) = (np.sort(rng.integers(0, 33, 2)) for _ in range(2))
        holes[k, 0, top:bottom, left:right] = 1
    boxes = hole_box(holes, 12)
    for (top, left, side), hole in zip(boxes.tolist(), holes[:, 0], strict=True):
        assert top >= 0 and left >= 0 and top + side <= 32 and left + side <= 32 and side >= 12
        assert hole[top : top + side, left : left + side].sum() == hole.sum()


def test_crops_of_the_right_size_are_slices():
    picture, holes = faces(12, 3, 48)
    boxes = hole_box(holes, 24)
    for x in (picture, holes):
        got = crop(x, boxes, 24)
        for k, (top, left, side) in enumerate(boxes.tolist()):
            assert side == 24
            assert torch.equal(got[k], x[k, :, top : top + 24, left : left + 24])


def test_larger_crops_are_resized_bilinearly():
    picture, _ = faces(13, 2, 32)
    boxes = torch.tensor([[2, 4, 20], [0, 0, 32]])
    got = crop(picture, boxes, 8)
    for k, (top, left, side) in enumerate(boxes.tolist()):
        cut = picture[k : k + 1, :, top : top + side, left : left + side]
        want = functional.interpolate(cut, (8, 8), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(got[k], want, rtol=0, atol=1e-5)


def test_crops_outside_the_picture_are_zeros():
    picture = torch.ones(1, 3, 16, 16)
    got = crop(picture, torch.tensor([[-4, 0, 16]]), 16)
    assert (got[:, :, :4] == 0).all() and (got[:, :, 4:] == 1).all()


def test_crops_pass_gradients_twice():
    picture, holes = faces(14, 2, 32)
    picture.requires_grad_()
    critic = LocalDiscriminator(16, 0.125)
    boxes = hole_box(holes, 16)
    (gradient,) = torch.autograd.grad(critic(crop(picture, boxes, 16)).sum(), picture, create_graph=True)
    outside = crop(torch.ones_like(picture), boxes, 16)
    assert torch.isfinite(gradient).all() and outside.min() == 1
    assert (gradient[0].abs().sum(0) > 0).sum() <= 16 * 16
    gradient.square().sum().backward()
    assert critic.features[0].weight.grad.abs().max() > 0
