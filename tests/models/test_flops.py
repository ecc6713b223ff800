"""Counting operations, against arithmetic."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from maskbench.models.flops import count_flops, count_parameters
from maskbench.models.iresnet import iresnet18
from maskbench.models.sphereface import STAGES, SphereFace20


def test_one_convolution_and_one_linear_layer():
    # 5 filters of 3 x 3 x 3 at 6 x 4 positions, then 120 inputs to 7 outputs; two operations for each multiply-add.
    module = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(120, 7))
    assert count_flops(module, (6, 4)) == 2 * (5 * 27 * 24 + 120 * 7)
    assert count_parameters(module) == 5 * 27 + 5 + 120 * 7 + 7


def test_groups_and_strides():
    module = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4, bias=False)
    assert count_flops(module, (8, 8), channels=4) == 2 * 8 * 9 * 16


def test_mode_and_gradients_stay_as_they_were():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).train()
    before = module[1].running_mean.clone()
    assert count_flops(module, (4, 4)) == 2 * 6 * 16
    assert module.training and torch.equal(module[1].running_mean, before) and module[0].weight.grad is None


def test_iresnet18_by_hand():
    """Convolutions of every stage at its resolution, and the linear layer."""
    adds = 112 * 112 * 27 * 64
    before, side = 64, 112
    for planes in (64, 128, 256, 512):
        half = side // 2
        adds += side**2 * 9 * before * planes + half**2 * 9 * planes**2 + half**2 * before * planes  # first block
        adds += 2 * half**2 * 9 * planes**2  # second block
        before, side = planes, half
    adds += 512 * 49 * 512
    with torch.device("meta"):
        assert count_flops(iresnet18(), (112, 112)) == 2 * adds


def test_sphereface_by_hand():
    adds, before, height, width = 0, 3, 112, 96
    for channels, units in STAGES:
        height, width = height // 2, width // 2
        adds += height * width * 9 * (before * channels + 2 * units * channels**2)
        before = channels
    adds += 512 * 42 * 512
    with torch.device("meta"):
        assert count_flops(SphereFace20(), (112, 96)) == 2 * adds


def test_attention_and_masks():
    """Two products of 6 x 6 positions and width 4, on every device; and the convolution over the mask."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.looks = nn.Conv2d(1, 4, 1, bias=False)

        def forward(self, faces, masks):
            query = self.looks(masks).flatten(2).transpose(1, 2)[:, :6]
            return nn.functional.scaled_dot_product_attention(query, query, query)

    counts = {device: count_flops(Masked().to(device), (3, 4), masks=True) for device in ("cpu", "meta")}
    assert counts == dict.fromkeys(counts, 2 * (4 * 12 + 2 * 6 * 6 * 4))
