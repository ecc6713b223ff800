"""Contextual attention against loops over positions and patches, and what it must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from maskbench.errors import MaskbenchError
from maskbench.models.contextual_attention import (
    ContextualAttention,
    known_patches,
    paste,
    patches,
    raw_patches,
    same_padding,
)


def at(x: np.ndarray, row: int, column: int) -> np.ndarray:
    """Values of all channels, zeros outside."""
    inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
    return x[:, row, column] if inside else np.zeros(x.shape[0])


def window(x: np.ndarray, row: int, column: int, offsets: range) -> np.ndarray:
    return np.stack([at(x, row + i, column + j) for i in offsets for j in offsets])


def fused(table: np.ndarray) -> np.ndarray:
    """Every entry plus its two diagonal neighbours."""
    out = np.zeros_like(table)
    for i in range(table.shape[0]):
        for k in range(table.shape[1]):
            for d in (-1, 0, 1):
                if 0 <= i + d < table.shape[0] and 0 <= k + d < table.shape[1]:
                    out[i, k] += table[i + d, k + d]
    return out


def loops(foreground, background, holes, fuse=True, scale=10.0):
    """One sample, step 1 and rate 2, as the paper tells it: one position and one patch after the other."""
    channels, height, width = foreground.shape
    rows, columns = height // 2, width // 2
    step = holes.shape[0] // rows
    cells = np.array([[holes[r * step : r * step + step, c * step : c * step + step].max() for c in range(columns)]
                      for r in range(rows)])[None]  # fmt: skip
    small, behind = foreground[:, ::2, ::2], background[:, ::2, ::2]
    places = [(r, c) for r in range(rows) for c in range(columns)]
    scores = np.zeros((len(places), len(places)))
    for i, (r, c) in enumerate(places):
        for k, (p, q) in enumerate(places):
            patch = window(behind, p, q, range(-1, 2))
            scores[i, k] = (window(small, r, c, range(-1, 2)) * patch).sum() / max(math.sqrt((patch**2).sum()), 1e-4)
    if fuse:
        scores = fused(scores)
        by_column = [r * columns + c for c in range(columns) for r in range(rows)]  # numbered down the columns
        back = np.argsort(by_column)
        scores = fused(scores[np.ix_(by_column, by_column)])[np.ix_(back, back)]
    known = np.array([window(cells, p, q, range(-1, 2)).max() == 0 for p, q in places], float)
    scores = scores * known * scale
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights = weights / weights.sum(1, keepdims=True) * known
    out = np.zeros((channels, height + 2, width + 2))
    for i, (r, c) in enumerate(places):
        for k, (p, q) in enumerate(places):
            patch = window(background, 2 * p, 2 * q, range(-1, 3)).reshape(4, 4, channels)
            out[:, 2 * r : 2 * r + 4, 2 * c : 2 * c + 4] += weights[i, k] * patch.transpose(2, 0, 1)
    return out[:, 1:-1, 1:-1] / 4, weights


def sample(seed: int, count: int = 3, channels: int = 3, height: int = 10, width: int = 12, step: int = 4):
    """Features and, at ``step`` times their size, boxes of holes that differ among the samples."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, count, channels, height, width, generator=generator, dtype=torch.float64) * 0.4
    holes = torch.zeros(count, 1, height * step, width * step)
    for k in range(count):
        top, left = int((1.3 + 0.7 * k) * step), int((0.5 + 2 * k) * step)
        holes[k, :, top : top + 2 * step, left : left + step] = 1
    return features[0], features[1], holes


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("step", [1, 4])
def test_equals_loops(fuse, step):
    foreground, background, holes = sample(1, step=step)
    layer = ContextualAttention(fuse=fuse)
    got, weights = layer(foreground, background, holes), layer.attention(foreground, background, holes)
    for k in range(3):
        want, table = loops(foreground[k].numpy(), background[k].numpy(), holes[k, 0].numpy(), fuse)
        assert 0 < (table > 0).sum() < table.size  # some patches are out
        np.testing.assert_allclose(weights[k].numpy(), table, atol=1e-12)
        np.testing.assert_allclose(got[k].numpy(), want, atol=1e-12)


def test_scale_of_the_softmax():
    foreground, background, holes = sample(2, 1)
    want, _ = loops(foreground[0].numpy(), background[0].numpy(), holes[0, 0].numpy(), scale=3.0)
    got = ContextualAttention(softmax_scale=3.0)(foreground, background, holes)
    np.testing.assert_allclose(got[0].numpy(), want, atol=1e-12)


def test_permuting_samples_permutes_results():
    foreground, background, holes = sample(3)
    layer, order = ContextualAttention(), [2, 0, 1]
    got = layer(foreground[order], background[order], holes[order])
    torch.testing.assert_close(got, layer(foreground, background, holes)[order], rtol=0, atol=1e-13)


def test_a_sample_s_hole_is_its_own():
    foreground, background, holes = sample(4)
    layer = ContextualAttention()
    before = layer(foreground, background, holes)
    holes[1] = 0
    holes[1, :, :16, :20] = 1
    after = layer(foreground, background, holes)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert (before[1] - after[1]).abs().max() > 1e-3


def test_alone_as_in_a_batch():
    foreground, background, holes = sample(5)
    layer = ContextualAttention()
    alone = torch.cat([layer(foreground[k : k + 1], background[k : k + 1], holes[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(alone, layer(foreground, background, holes), rtol=0, atol=1e-13)


def test_patches_with_hole_pixels_are_not_used():
    """What the background holds in the hole's cells reaches nothing."""
    foreground, background, holes = sample(6)
    layer = ContextualAttention()
    touched = functional.max_pool2d(holes, 8, 8).bool().repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = torch.where(touched, torch.full_like(background, 7.0), background)
    # Scores of such patches enter the fusing sums of others, as in the release; nothing of them is pasted.
    weights = layer.attention(foreground, other, holes)
    known = known_patches(holes, (5, 6), 3, 1)
    assert weights[(known == 0)[:, None].expand_as(weights)].abs().max() == 0
    plain = ContextualAttention(fuse=False)
    torch.testing.assert_close(plain(foreground, background, holes), plain(foreground, other, holes))


def test_thin_holes_count():
    holes = torch.zeros(1, 1, 40, 48)
    holes[0, 0, 19, 31] = 1  # one pixel, in cell (2, 3) of 5 x 6
    known = known_patches(holes, (5, 6), 3, 1).reshape(5, 6)
    want = torch.ones(5, 6)
    want[1:4, 2:5] = 0
    assert torch.equal(known, want)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_finite_with_no_hole_and_nothing_else(value):
    foreground, background, holes = sample(7)
    foreground.requires_grad_()
    background.requires_grad_()
    got = ContextualAttention()(foreground, background, torch.full_like(holes, value))
    (got * torch.arange(got.numel()).reshape(got.shape)).sum().backward()
    assert torch.isfinite(got).all()
    assert torch.isfinite(foreground.grad).all() and torch.isfinite(background.grad).all()
    assert (got.abs().max() == 0) == bool(value)


def test_zeros_have_a_finite_gradient():
    x = torch.zeros(1, 2, 8, 8, requires_grad=True)
    ContextualAttention()(x, x, torch.zeros(1, 1, 8, 8)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_gradients_are_numerical_ones():
    foreground, background, _ = sample(8, 2, 2, 6, 8)
    holes = torch.zeros(2, 1, 6, 8)
    holes[0, :, 4:, 6:] = 1
    holes[1, :, :2, :2] = 1
    layer = ContextualAttention()
    inputs = (foreground.requires_grad_(), background.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, b: layer(f, b, holes), inputs, eps=1e-6, atol=1e-5)


def test_without_a_hole_a_picture_rebuilds_itself():
    """Distinct patches: every position chooses its own, and four equal layers over four are one."""
    x = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(9)) * 5
    layer = ContextualAttention(fuse=False)
    holes = torch.zeros(1, 1, 16, 16)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # at the rim fewer patches overlap
    torch.testing.assert_close(layer(x, x, holes)[inner], x[inner], rtol=0, atol=1e-3)
    offsets = layer.offsets(layer.attention(x, x, holes), (8, 8))
    assert offsets.shape == (1, 2, 8, 8) and offsets.abs().max() == 0


def test_offsets_point_to_the_best_patch():
    layer = ContextualAttention()
    table = torch.zeros(1, 6, 6)
    table[0, :, 5] = 1  # two rows of three: everything comes from (1, 2)
    down, right = layer.offsets(table, (2, 3))[0]
    assert down.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert right.tolist() == [[2, 1, 0], [2, 1, 0]]


def test_autocast_keeps_the_weights_exact():
    foreground, background, holes = (x.float() for x in sample(10))
    layer = ContextualAttention()
    want = layer.attention(foreground, background, holes)
    with torch.autocast("cpu", torch.bfloat16):
        got, output = layer.attention(foreground, background, holes), layer(foreground, background, holes)
    assert got.dtype == torch.float32 and torch.equal(got, want)
    torch.testing.assert_close(output.float(), layer(foreground, background, holes), rtol=0, atol=0.03)


def unfolded(x, kernel: int, stride: int):
    """torch's own, and what was put before and after."""
    before, after = same_padding(x.shape[2], kernel, stride)
    return functional.unfold(functional.pad(x, (before, after, before, after)), kernel, stride=stride), before, after


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (1, 1)])
def test_patches_are_unfold(kernel, stride):
    x = torch.randn(2, 3, 12, 18, dtype=torch.float64)
    assert torch.equal(patches(x, kernel, stride), unfolded(x, kernel, stride)[0])


@pytest.mark.parametrize(("rate", "stride"), [(1, 1), (2, 1), (3, 1), (2, 3)])
def test_raw_patches_are_unfold_in_quarters(rate, stride):
    x = torch.randn(2, 3, 12, 18, dtype=torch.float64)
    want = unfolded(x, 2 * rate, rate * stride)[0]
    want = want.reshape(2, 3, 2, rate, 2, rate, -1).permute(0, 2, 4, 1, 3, 5, 6).reshape(want.shape)
    assert torch.equal(raw_patches(x, rate, stride), want)


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_pasting_is_fold(rate):
    x = torch.randn(2, 3, 12, 18, dtype=torch.float64)
    columns, before, after = unfolded(x, 2 * rate, rate)
    size = (12 + before + after, 18 + before + after)
    want = functional.fold(columns, size, 2 * rate, stride=rate)[:, :, before : before + 12, before : before + 18]
    torch.testing.assert_close(paste(raw_patches(x, rate, 1), rate, 12 // rate), want)


def test_sharp_choices_leave_no_denormal_weights():
    """They would slow matrix products down twentyfold; what is cut off is below any float32's resolution."""
    foreground, background, holes = (x.float() for x in sample(12))
    layer = ContextualAttention()
    weights = layer.attention(foreground * 8, background, holes)
    exact = layer.attention(foreground.double() * 8, background.double(), holes)
    assert ((weights == 0) | (weights > 1e-25)).all() and weights.max() > 0.99
    torch.testing.assert_close(weights.double(), exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "want"),
    [(8, 3, 1, 1, (1, 1)), (8, 3, 2, 1, (0, 1)), (7, 3, 2, 1, (1, 1)), (8, 5, 2, 1, (1, 2)), (8, 3, 1, 16, (16, 16)),
     (8, 2, 2, 1, (0, 0)), (9, 1, 4, 1, (0, 0))],
)  # fmt: skip
def test_same_padding_is_tensorflow_s(size, kernel, stride, dilation, want):
    assert same_padding(size, kernel, stride, dilation) == want


def test_a_wider_step_between_patches():
    foreground, background, holes = sample(11, height=12)
    layer = ContextualAttention(stride=2)
    assert layer.attention(foreground, background, holes).shape == (3, 36, 9)
    assert layer(foreground, background, holes).shape == foreground.shape
    assert layer.offsets(layer.attention(foreground, background, holes), (6, 6)).abs().max() <= 5


@pytest.mark.parametrize(
    ("shapes", "message"),
    [([(3, 8, 8), (3, 8, 10), (8, 8)], "differ in shape"), ([(3, 7, 8), (3, 7, 8), (7, 8)], "multiples of 2"),
     ([(3, 8, 8), (3, 8, 8), (6, 8)], "do not fit"), ([(3, 8, 8), (3, 8, 8), (8, 16)], "do not fit")],
)  # fmt: skip
def test_sizes_that_do_not_fit(shapes, message):
    foreground, background, holes = shapes
    with pytest.raises(MaskbenchError, match=message):
        ContextualAttention()(torch.zeros(1, *foreground), torch.zeros(1, *background), torch.zeros(1, 1, *holes))
