"""The terms of a completion's training by hand: discounts, reconstruction, the gradient penalty."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_tensors import SIDE, Linear, rng, some_holes
from torch import nn

from maskbench.train.completion import discounts, gradient_penalty, reconstruction
from maskbench.train.deocclusion_recipe import CompletionLosses


def slow_discounts(holes: np.ndarray, gamma: float) -> np.ndarray:
    found = np.zeros(holes.shape)
    for sample, hole in enumerate(holes[:, 0]):
        known = [(y, x) for y in range(hole.shape[0]) for x in range(hole.shape[1]) if not hole[y, x]]
        for y in range(hole.shape[0]):
            for x in range(hole.shape[1]):
                if hole[y, x]:
                    steps = [max(abs(y - b), abs(x - a)) for b, a in known]
                    found[sample, 0, y, x] = gamma ** (min(steps) - 1) if steps else 1.0
    return found


class TestDiscounts:
    @pytest.mark.parametrize("gamma", [0.9, 0.5])
    def test_against_a_loop_over_pixels(self, gamma):
        random = (np.random.default_rng(3).random((2, 1, 11, 9)) < 0.85).astype(np.float32)
        blocks = np.zeros((4, 1, 11, 9), np.float32)
        blocks[0, 0, 1:10, 2:8] = 1
        blocks[1, 0, 4:, :6] = 1  # beyond the picture nothing is known
        blocks[2, 0, 3, 3] = 1
        blocks[3] = 1
        blocks[3, 0, 0, 0] = 0
        for holes in (random, blocks):
            found = discounts(torch.from_numpy(holes), gamma)
            np.testing.assert_allclose(found.numpy(), slow_discounts(holes, gamma), rtol=1e-5)

    def test_a_rectangle_as_in_the_released_code(self):
        """gamma ** min(distance to the box's border), counted from both ends alike."""
        holes = torch.zeros(1, 1, 20, 20)
        holes[..., 3:13, 5:12] = 1
        expected = [[0.9 ** min(y, 9 - y, x, 6 - x) for x in range(7)] for y in range(10)]
        torch.testing.assert_close(discounts(holes, 0.9)[0, 0, 3:13, 5:12], torch.tensor(expected))

    def test_without_a_discount_it_is_the_hole(self):
        assert torch.equal(discounts(some_holes(), 1.0), some_holes())

    def test_all_hole_and_none(self):
        assert torch.equal(discounts(torch.ones(1, 1, 6, 7), 0.9), torch.ones(1, 1, 6, 7))
        assert torch.equal(discounts(torch.zeros(2, 1, 6, 7), 0.9), torch.zeros(2, 1, 6, 7))

    def test_no_picture_depends_on_the_others(self):
        holes = torch.cat([some_holes(), torch.ones(1, 1, SIDE, SIDE), some_holes(2)])
        together = discounts(holes, 0.8)
        for row in range(len(holes)):
            torch.testing.assert_close(together[row : row + 1], discounts(holes[row : row + 1], 0.8))


class TestReconstruction:
    @pytest.mark.parametrize("outputs", [1, 2])
    @pytest.mark.parametrize("discount", [1.0, 0.7])
    def test_by_hand(self, outputs, discount):
        draw = np.random.default_rng(outputs)
        given = [draw.uniform(-1, 1, (3, 3, SIDE, SIDE)).astype(np.float32) for _ in range(outputs)]
        target, holes = draw.uniform(-1, 1, (3, 3, SIDE, SIDE)).astype(np.float32), some_holes()
        how = CompletionLosses(coarse=1.3, discount=discount, hole=7.0, outside=9.0)
        found = reconstruction(tuple(map(torch.from_numpy, given)), torch.from_numpy(target), holes, how)
        hole = holes.numpy()
        weight = slow_discounts(hole, discount)
        inside = outside = 0.0
        for factor, output in zip([1.3, 1.0][-outputs:], given, strict=True):
            apart = np.abs(output - target)
            inside += factor * (apart * weight).sum() / apart.size
            outside += factor * (apart * (1 - hole)).sum() / apart.size / (1 - hole).mean()
        assert found["hole"].item() == pytest.approx(inside, rel=1e-5)
        assert found["outside"].item() == pytest.approx(outside, rel=1e-5)
        assert set(found) == {"hole", "outside"}

    def test_pictures_that_are_all_hole(self):
        holes = torch.ones(2, 1, 8, 8)
        found = reconstruction((torch.ones(2, 3, 8, 8),), torch.zeros(2, 3, 8, 8), holes, CompletionLosses())
        assert found["outside"].item() == 0 and found["hole"].item() == 1


class Square(nn.Module):
    """Two critics whose gradient at x is a x."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, *pictures):
        return tuple(self.factor * picture.square().sum((1, 2, 3)) / 2 for picture in pictures)


class TestGradientPenalty:
    def test_of_linear_critics(self):
        critics, holes = Linear(8), torch.zeros(2, 1, 8, 8)
        holes[0, 0, 1:4, 2:7] = 1
        holes[1, 0, :, 6:] = 1
        parts = holes[..., :4, :4]
        real, fake = ((torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4)) for _ in range(2))
        found = gradient_penalty(critics, real, fake, (holes, parts), rng())
        expected = 0.0
        for weight, where in ((critics.whole, holes), (critics.local, parts)):
            lengths = [(weight.detach() * one).pow(2).sum().sqrt() for one in where]
            expected += sum((length - 1) ** 2 for length in lengths) / 2
        torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-5)
        found.backward()
        assert critics.whole.grad.abs().sum() > 0 and not critics.whole.grad[:, 5, :2].any()

    def test_it_is_taken_between_real_and_fake_with_one_share_for_both(self):
        """The critics' gradient is the picture itself; so the penalty tells where it was taken."""
        critics, ones = Square(1.0), torch.ones(2, 1, 4, 4)
        real = torch.full((2, 3, 4, 4), 1.0), torch.full((2, 3, 4, 4), 1.0)
        fake = torch.full((2, 3, 4, 4), 3.0), torch.full((2, 3, 4, 4), 3.0)
        share = torch.rand(2, 1, 1, 1, generator=rng(5)).flatten()
        lengths = (1 + 2 * share) * 48**0.5
        expected = 2 * (lengths - 1).square().mean()
        torch.testing.assert_close(gradient_penalty(critics, real, fake, (ones, ones), rng(5)).detach(), expected)

    def test_the_penaltys_own_gradient_against_differences(self):
        real, fake = ((torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)) for _ in range(2))
        where = torch.ones(2, 1, 4, 4)

        def value(factor):
            critics = Square(factor)
            return critics, gradient_penalty(critics, real, fake, (where, where), rng(2))

        critics, penalty = value(0.4)
        penalty.backward()
        step = 0.05  # the penalty is a parabola in the factor
        slope = (value(0.4 + step)[1] - value(0.4 - step)[1]) / (2 * step)
        assert critics.factor.grad.item() == pytest.approx(slope.item(), rel=1e-3)

    def test_without_a_hole_it_is_finite(self):
        none = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)
        pictures = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 4, 4)
        critics = Linear(8)
        gradient_penalty(critics, pictures, pictures, none, rng()).backward()
        assert torch.isfinite(critics.whole.grad).all() and not critics.whole.grad.any()
