"""The generative inpainter: a coarse and a refining network, the latter with contextual attention; its discriminators.

Source: Yu, Lin, Yang, Shen, Lu, Huang, "Generative Image Inpainting with Contextual Attention", CVPR 2018, and the
layers of its authors' release v1.0.0: plain convolutions, ELU, no normalisation, weights drawn after Glorot and Bengio,
biases 0, pixels in [-1, 1], both outputs clipped and not squashed. Padding is TensorFlow's "SAME" everywhere, with
zeros: at stride 2 and an even size one row and column more after than before (``same_padding``), so that weights
trained with either library see the same pixels.

Without attention ("GA without attention" of Li et al., "De-Occlusion Distillation", ACM MM 2020, who do not say what
they left out), the refining network loses the whole attention branch, and its first merging layer reads 128 channels
and not 256: the branch exists only to feed the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskbench.errors import MaskbenchError
from maskbench.models.contextual_attention import ContextualAttention, pad_same

MULTIPLE = 8  # two halvings, and one more inside the attention
# Kernel, channels, stride, dilation; "up" doubles the size first. The last layer, 3 channels and linear, is apart.
_DOWN = [(3, 64, 2, 1), (3, 64, 1, 1), (3, 128, 2, 1), (3, 128, 1, 1), (3, 128, 1, 1)]
_DILATED = [(3, 128, 1, rate) for rate in (2, 4, 8, 16)]
_PLAIN = [(3, 128, 1, 1), (3, 128, 1, 1)]
_UP = ["up", (3, 64, 1, 1), (3, 64, 1, 1), "up", (3, 32, 1, 1), (3, 16, 1, 1)]
COARSE = [(5, 32, 1, 1), *_DOWN, *_DILATED, *_PLAIN, *_UP]
CONV_BRANCH = [(5, 32, 1, 1), (3, 32, 2, 1), (3, 64, 1, 1), (3, 64, 2, 1), *_PLAIN, *_DILATED]
ATTENTION_BRANCH = [(5, 32, 1, 1), (3, 32, 2, 1), (3, 64, 1, 1), (3, 128, 2, 1), (3, 128, 1, 1)]
MERGE = [*_PLAIN, *_UP]
LOCAL_CHANNELS, GLOBAL_CHANNELS = (64, 128, 256, 512), (64, 128, 256, 256)


def scaled(channels: int, width: float) -> int:
    """Channels of a network ``width`` times as wide, at least one."""
    return max(1, round(channels * width))


def glorot(layer: nn.Module) -> None:
    """Weights of a convolution or linear layer: uniform after Glorot and Bengio (AISTATS 2010); biases 0."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" zero padding; (N, C, H, W) to (N, C', ceil(H / stride), ...)."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        # At stride 1 an odd kernel needs the same on both sides, which the convolution itself can add.
        super().__init__(before, after, kernel, stride, dilation * (kernel // 2) if stride == 1 else 0, dilation)
        self.apart = stride != 1

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]) if self.apart else x)


def _stack(before: int, layers: list, width: float) -> tuple[nn.Sequential, int]:
    """Layers of the tables above, each with ELU; and how many channels come out."""
    modules: list[nn.Module] = []
    for layer in layers:
        if layer == "up":
            modules.append(nn.Upsample(scale_factor=2, mode="nearest"))
            continue
        kernel, channels, stride, dilation = layer
        after = scaled(channels, width)
        modules += [SameConv(before, after, kernel, stride, dilation), nn.ELU(inplace=True)]  # half the memory
        before = after
    return nn.Sequential(*modules), before


def holed(picture: Tensor, holes: Tensor) -> Tensor:
    """(N, C, H, W) with 0 wherever holes (N, 1, H, W) exceed 0.5; what the hole held is lost, NaN too."""
    return torch.where(holes > 0.5, torch.zeros_like(picture), picture)


def compose(output: Tensor, picture: Tensor, holes: Tensor) -> Tensor:
    """The output, clipped to [-1, 1], inside the hole; outside it the picture, exactly as given.

    Args:
        output, picture: (N, C, H, W) floats.
        holes: (N, 1, H, W); above 0.5 is a hole.
    """
    return torch.where(holes > 0.5, output.clamp(-1, 1).to(picture.dtype), picture)


def _planes(picture: Tensor, holes: Tensor) -> Tensor:
    """Five channels: the picture, ones (so that a convolution sees the zeros around it), the holes."""
    return torch.cat([picture, torch.ones_like(holes), holes], 1)


class Refinement(nn.Module):
    """The second network; with attention two branches, without it one."""

    def __init__(self, attention: bool, width: float) -> None:
        super().__init__()
        self.convolutional, before = _stack(5, CONV_BRANCH, width)
        if attention:
            branch, channels = _stack(5, ATTENTION_BRANCH, width)
            # The features that are compared come out of a rectifier, unlike all others.
            self.before = nn.Sequential(*branch, SameConv(channels, channels, 3), nn.ReLU(inplace=True))
            self.attention = ContextualAttention()
            self.after, more = _stack(channels, _PLAIN, width)
            before += more
        else:
            self.attention = None
        merge, before = _stack(before, MERGE, width)
        self.merge = nn.Sequential(*merge, SameConv(before, 3, 3))

    def forward(self, planes: Tensor, holes: Tensor) -> Tensor:
        """(N, 5, H, W) and (N, 1, H, W) to (N, 3, H, W), not clipped."""
        features = self.convolutional(planes)
        if self.attention is not None:
            own = self.before(planes)
            features = torch.cat([features, self.after(self.attention(own, own, holes))], 1)
        return self.merge(features)


class Inpainter(nn.Module):
    """Pictures with holes to completed pictures; see the module. Any size whose sides are multiples of 8.

    3,601,542 parameters at width 1 with attention (coarse 1,448,227, refining 2,153,315).

    Args:
        attention: whether the refining network has its attention branch.
        width: factor on all channels; 1 is the paper's 32 to 128.
    """

    def __init__(self, attention: bool = True, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        coarse, before = _stack(5, COARSE, width)
        self.coarse = nn.Sequential(*coarse, SameConv(before, 3, 3))
        self.refine = Refinement(attention, width)
        self.apply(glorot)

    def forward(self, picture: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
        """Complete.

        Args:
            picture: (N, 3, H, W) in [-1, 1]; what it holds inside the hole is not read.
            holes: (N, 1, H, W), 1 = hole (above 0.5); every sample its own.

        Returns:
            (coarse, refined), each (N, 3, H, W) in [-1, 1] and of the picture's dtype: whole pictures, see ``compose``.
            The refining network reads the coarse output inside the hole, and gradients flow through it.

        Raises:
            MaskbenchError: H or W is no multiple of 8.
        """
        _check_sides(picture)
        where = (holes > 0.5).to(picture.dtype)
        known = holed(picture, where)
        coarse = self.coarse(_planes(known, where)).clamp(-1, 1).to(picture.dtype)
        refined = self.refine(_planes(compose(coarse, known, where), where), where)
        return coarse, refined.clamp(-1, 1).to(picture.dtype)


def _check_sides(picture: Tensor) -> None:
    height, width = (int(n) for n in picture.shape[2:])
    if height % MULTIPLE or width % MULTIPLE:
        raise MaskbenchError(f"a picture of {height} x {width} for completion; give sides that {MULTIPLE} divides")


class _Discriminator(nn.Module):
    """5 x 5 convolutions of stride 2 with leaky rectifiers (0.2), then one linear number."""

    def __init__(self, channels: tuple[int, ...], size: int, width: float) -> None:
        super().__init__()
        if size % 16:
            raise MaskbenchError(f"a discriminator for {size} x {size}; give a side that 16 divides")
        self.size = size
        layers: list[nn.Module] = []
        before = 3
        for count in channels:
            after = scaled(count, width)
            layers += [SameConv(before, after, 5, 2), nn.LeakyReLU(0.2)]
            before = after
        self.features = nn.Sequential(*layers)
        self.critic = nn.Linear(before * (size // 16) ** 2, 1)
        self.apply(glorot)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, size, size) in [-1, 1] to (N,): larger is more real; no sigmoid, as WGAN wants it."""
        return self.critic(torch.flatten(self.features(pictures), 1))[:, 0]


class GlobalDiscriminator(_Discriminator):
    """Judges whole pictures: 2,733,441 parameters at size 256 and width 1."""

    def __init__(self, size: int = 256, width: float = 1.0) -> None:
        super().__init__(GLOBAL_CHANNELS, size, width)


class LocalDiscriminator(_Discriminator):
    """Judges what ``crop`` cuts out around the hole: 4,339,329 parameters at size 128 and width 1."""

    def __init__(self, size: int = 128, width: float = 1.0) -> None:
        super().__init__(LOCAL_CHANNELS, size, width)


def hole_box(holes: Tensor, size: int) -> Tensor:
    """A square around every sample's own hole.

    Its side is ``size``, or the hole's longer side where that is larger: it always covers the hole. It is centred on
    the hole's bounding box and then moved inside the picture; where it is larger than the picture, it is centred on
    that, and ``crop`` fills up with zeros. Without any hole it lies in the middle.

    Args:
        holes: (N, 1, H, W); above 0.5 is a hole.

    Returns:
        (N, 3) int64: top, left and side, in pixels.
    """
    found = holes[:, 0] > 0.5
    spans = [_span(found.any(2)), _span(found.any(1))]
    longest = torch.stack([last - first for first, last in spans]).amax(0)
    side = torch.where(found.flatten(1).any(1), longest.clamp(min=size), size)
    starts = []
    for (first, last), length in zip(spans, holes.shape[2:], strict=True):
        start = torch.div(first + last - side, 2, rounding_mode="floor")
        room = int(length) - side
        inside = torch.minimum(start.clamp(min=0), room)
        starts.append(torch.where(room < 0, torch.div(room, 2, rounding_mode="floor"), inside))
    return torch.stack([*starts, side], 1)


def _span(found: Tensor) -> tuple[Tensor, Tensor]:
    """(N, length) bools to the first true position and one past the last; the whole length where none is."""
    length = found.shape[1]
    first = found.int().argmax(1)
    last = length - found.flip(1).int().argmax(1)
    return first, last


def crop(pictures: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The boxes of ``hole_box`` cut out, each resized to ``size``; differentiable in the pictures.

    Boxes of that very side are copied exactly; larger ones are sampled bilinearly, which turns 0/1 holes into
    fractions at their rim.

    Args:
        pictures: (N, C, H, W) floats.
        boxes: (N, 3).

    Returns:
        (N, C, size, size).
    """
    steps = torch.arange(size, device=pictures.device, dtype=torch.float32) + 0.5
    top, left, side = (boxes[:, k, None].float() for k in range(3))
    offsets = steps * side / size - 0.5  # in this order, whole numbers stay whole
    rows, columns = _between(pictures, top + offsets, 2), _between(pictures, left + offsets, 3)
    with torch.autocast(pictures.device.type, enabled=False):
        return rows @ pictures @ columns.transpose(2, 3)


def _between(pictures: Tensor, at: Tensor, axis: int) -> Tensor:
    """Linear interpolation along one axis as a matrix (N, 1, size, length) for positions (N, size) in pixels.

    A matrix and not ``grid_sample``: whole positions give weights of exactly 0 and 1, and its gradient has a gradient,
    which a gradient penalty needs.
    """
    every = torch.arange(pictures.shape[axis], device=at.device, dtype=at.dtype)
    return (1 - (at[:, :, None] - every).abs()).clamp(min=0).to(pictures.dtype)[:, None]
