"""The reformers of G2D: structure and counts by hand, and the teacher's own rest."""

import re

import pytest

torch = pytest.importorskip("torch")

from network_weights import randomised
from torch import nn

from maskbench.errors import MaskbenchError
from maskbench.models import reformer as module
from maskbench.models.dlib_resnet import MEAN, STD, DlibResNet, fold
from maskbench.models.dlib_weights import BLOCKS
from maskbench.models.flops import count_flops, count_parameters
from maskbench.models.g2d_config import DEPTHS, WIDTHS
from maskbench.models.reformer import PictureTeacher, Reformer, TeacherReformer


def by_hand(channels, widths, blocks, embedding) -> int:
    """Parameters in closed form: the convolution, two of each block with their normalisations, shortcuts, the FC."""
    total, before = 9 * channels * widths[0] + 2 * widths[0], widths[0]
    for stage, (after, count) in enumerate(zip(widths, blocks, strict=True)):
        total += 9 * before * after + 9 * after**2 + 4 * after + (count - 1) * (18 * after**2 + 4 * after)
        total += before * after + 2 * after if stage else 0
        before = after
    return total + before * embedding + embedding


@pytest.fixture(scope="module")
def teacher():
    """dlib's network with random weights, folded, for faces of 104 x 104."""
    return fold(randomised(DlibResNet(104))).eval()


# ---------------------------------------------------------------- residual


def test_the_paper_s_size_by_hand():
    with torch.device("meta"):
        found = Reformer()
    assert count_parameters(found) == by_hand(256, WIDTHS, (2, 3, 3, 2), 512) == 72_252_496
    assert "72,252,496" in module.__doc__ and "179,309,843" in module.__doc__
    # Each line of the arithmetic that the module states.
    parts = [found.conv, found.norm], *([stage] for stage in found.stages), [found.fc]
    stated = re.findall(r"^    (?:convolution|stage|linear).* ([0-9,]+)$", module.__doc__, re.MULTILINE)
    assert [int(text.replace(",", "")) for text in stated] == [sum(map(count_parameters, part)) for part in parts]


def test_the_total_is_nearest_among_widths_in_resnet_s_proportions():
    """152 of all multiples of 8: the encoder's 107,057,347 and ours come to 178.5 million within one per cent."""
    totals = {
        first: 107_057_347 + by_hand(256, [first * 2**stage for stage in range(4)], (2, 3, 3, 2), 512)
        for first in range(128, 192, 8)
    }
    assert min(totals, key=lambda first: abs(totals[first] - 178.5e6)) == WIDTHS[0]
    assert totals[WIDTHS[0]] == pytest.approx(178.5e6, rel=0.01)
    assert WIDTHS == tuple(64 * 2**stage * 19 // 8 for stage in range(4))


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_counts_convolutions_of_the_main_path_and_the_linear_layer(depth):
    found = Reformer(5, (4, 6, 8, 10), depth, 7)
    kernels = [layer.kernel_size for layer in found.modules() if isinstance(layer, nn.Conv2d)]
    assert kernels.count((3, 3)) + 1 == depth and kernels.count((1, 1)) == 3  # and three shortcuts
    assert count_parameters(found) == by_hand(5, (4, 6, 8, 10), DEPTHS[depth], 7)
    assert found.eval()(torch.randn(2, 5, 16, 16)).shape == (2, 7)


def test_the_first_stage_has_a_shortcut_of_its_own_for_no_width():
    """The convolution gives the first stage's channels already, and equal widths need none but where they halve."""
    found = Reformer(3, (4, 4, 8, 8), 10, 2)
    assert [stage[0].downsample is None for stage in found.stages] == [True, False, False, False]


def test_stages_halve_from_the_second_on():
    found = Reformer(3, (4, 4, 8, 8), 10, 2).eval()
    x, sides = torch.randn(1, 3, 20, 20), []
    x = torch.relu(found.norm(found.conv(x)))
    for stage in found.stages:
        x = stage(x)
        sides.append(x.shape[-1])
    assert sides == [20, 10, 5, 3]


def test_every_layer_matters():
    """A change anywhere changes the vector: nothing is built and left unused."""
    found = randomised(Reformer(3, (4, 4, 6, 8), 10, 5))
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found(x).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in found.parameters())


def test_a_face_s_vector_does_not_depend_on_its_batch():
    found = randomised(Reformer(3, (4, 4, 6, 8), 10, 5))
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(found(x)[1:2], found(x[1:2]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("widths", "depth"), [((4, 4, 4, 4), 18), ((4, 4, 4), 22)])
def test_other_depths_and_numbers_of_stages_are_refused(widths, depth):
    with pytest.raises(MaskbenchError, match=f"depth {depth} and widths .*; give depth 10, 22, 34 and four widths"):
        Reformer(3, widths, depth)


# ---------------------------------------------------------------- the teacher's rest


@pytest.mark.parametrize(("start", "adapter"), [(0, 1), (0, 3), (3, 1), (4, 3), (13, 1)])
def test_the_rest_is_the_teacher_s(teacher, start, adapter):
    """Behind a convolution that passes its channels on, it gives what the teacher gives from there."""
    with torch.inference_mode():
        x = torch.relu(teacher.stem["conv"](torch.randn(2, 3, 104, 104, generator=torch.Generator().manual_seed(2))))
        x = torch.nn.functional.max_pool2d(x, 3, stride=2)
        expected = teacher.fc(teacher.blocks(x).mean((2, 3)))
        for block in teacher.blocks[:start]:
            x = block(x)
        rim = int(adapter == 3 or start <= 3)  # cells that the teacher does not read
        found = TeacherReformer(x.shape[1], x.shape[-1] + 2 * rim, start, adapter).eval()
        found.load_teacher(teacher)
        found.conv.weight.zero_()[..., adapter // 2, adapter // 2] = torch.eye(x.shape[1])
        found.conv.bias.zero_()
        torch.testing.assert_close(found(torch.nn.functional.pad(x, [rim] * 4, value=7.0)), expected)


def test_odd_and_even_sides_halve_as_in_the_teacher():
    """A descriptor of 37, of which 35 are read, leads to the same sides as the teacher's 35: 17, 8, 4, 2."""
    for side in (36, 37):
        found = TeacherReformer(7, side).eval()
        assert [block.size_out for block in found.blocks if block.halves] == [(side - 2) // 2**k for k in (1, 2, 3, 4)]
        with torch.inference_mode():
            assert found(torch.randn(2, 7, side, side)).shape == (2, 128)


def test_the_first_convolution_is_the_only_one_of_its_own(teacher):
    found = TeacherReformer(9, 26, 3)
    before = {name: value.clone() for name, value in found.state_dict().items()}
    found.load_teacher(teacher)
    after = found.state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == {"conv.weight", "conv.bias"}
    assert count_parameters(found) == 9 * BLOCKS[3][0] + BLOCKS[3][0] + sum(
        count_parameters(part) for part in (teacher.blocks[3:], teacher.fc)
    )
    assert after["blocks.0.conv1.weight"].data_ptr() != teacher.blocks[3].conv1.weight.data_ptr()  # a copy


def test_what_is_too_small_is_refused():
    with pytest.raises(MaskbenchError, match="a descriptor of 8 x 8 is too small for the teacher's blocks"):
        TeacherReformer(3, 8)
    assert TeacherReformer(3, 8, 10)(torch.zeros(1, 3, 8, 8)).shape == (1, 128)
    with pytest.raises(MaskbenchError, match="an input of 64 pixels is too small"):
        PictureTeacher(64)


def test_the_whole_teacher_on_pictures_of_ours(teacher):
    found = PictureTeacher(104).eval()
    found.load_teacher(teacher)
    pixels = torch.randint(0, 256, (2, 3, 104, 104), generator=torch.Generator().manual_seed(3)).float()
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (MEAN, STD))
    with torch.inference_mode():
        torch.testing.assert_close(found(pixels / 127.5 - 1), teacher((pixels - mean) / std), rtol=1e-4, atol=1e-5)
    assert set(found.state_dict()) == {f"network.{name}" for name in teacher.state_dict()}  # and no constants


def test_operations_at_the_paper_s_size():
    """The reformer's own, by hand: convolutions at 64, 32, 16 and 8."""
    adds, before, side = 64**2 * 9 * 256 * WIDTHS[0], WIDTHS[0], 64
    for stage, (after, count) in enumerate(zip(WIDTHS, (2, 3, 3, 2), strict=True)):
        side = side // 2 if stage else side
        adds += side**2 * (9 * before * after + (2 * count - 1) * 9 * after**2 + (before * after if stage else 0))
        before = after
    with torch.device("meta"):
        assert count_flops(Reformer(), (64, 64), channels=256) == 2 * (adds + WIDTHS[3] * 512)
