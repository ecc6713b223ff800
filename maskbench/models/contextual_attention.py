"""Contextual attention: what is missing is put together from patches of what is known, chosen by likeness.

Source: Yu, Lin, Yang, Shen, Lu, Huang, "Generative Image Inpainting with Contextual Attention", CVPR 2018, section 4.1,
and the settings of its authors' release v1.0.0, whose layer gives every picture of a batch the first one's hole. Here
each has its own. Two more things differ, both where the paper says nothing:

- halving takes the upper left of every 2 x 2 values; the release aligns corners, which shifts by one half-way across;
- a cell is a hole where any pixel of it is one; the release looks at one pixel of each cell, and thin holes slip by.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskbench.errors import MaskbenchError

SMALLEST_NORM = 1e-4
# Below the best score of a position: weights of 4e-18, which no sum in float32 shows. Smaller ones would become
# denormal numbers, with which matrix products take some twenty times as long on a processor.
LEAST_SCORE = -40.0
OVERLAP = 4.0  # pasted patches, twice as wide as their step, cover every value four times


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after, so that ceil(size / stride) windows fit: "SAME" of TensorFlow.

    Of an odd number of zeros the greater part comes after. With stride 2 and an even size that is so for every odd
    kernel, and windows lie half a step further to the lower right than with torch's ``padding=kernel // 2``.
    """
    windows = -(-size // stride)
    total = max((windows - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: int, stride: int = 1, dilation: int = 1) -> Tensor:
    """(N, C, H, W) with the zeros of ``same_padding`` around it."""
    top, bottom = same_padding(int(x.shape[2]), kernel, stride, dilation)
    left, right = same_padding(int(x.shape[3]), kernel, stride, dilation)
    return functional.pad(x, (left, right, top, bottom)) if top + bottom + left + right else x


def patches(x: Tensor, kernel: int, stride: int) -> Tensor:
    """(N, C, H, W) to (N, C * kernel * kernel, L), L = ceil(H / stride) * ceil(W / stride), zeros outside.

    As ``functional.unfold``, but of slices only: what unfolding and folding become in ONNX needs a later opset.
    """
    channels, height, width = (int(n) for n in x.shape[1:])
    rows, columns = -(-height // stride), -(-width // stride)
    x = pad_same(x, kernel, stride)
    taken = [
        x[:, :, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]
    return torch.stack(taken, 2).reshape(-1, channels * kernel * kernel, rows * columns)


def raw_patches(x: Tensor, rate: int, stride: int) -> Tensor:
    """Patches of side 2 * rate, rate * stride apart: (N, C, H, W) to (N, 4 * C * rate * rate, L).

    Each as its four quarters (upper left, upper right, lower left, lower right), so that a picture has to be cut only
    four times: ``paste`` reads them in this order.
    """
    blocks = functional.pixel_unshuffle(pad_same(x, 2 * rate, rate * stride), rate)
    rows, columns = (int(n) // (rate * stride) for n in x.shape[2:])
    taken = [
        blocks[:, :, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in (0, 1)
        for j in (0, 1)
    ]
    return torch.cat(taken, 1).flatten(2)


def paste(columns: Tensor, rate: int, rows: int) -> Tensor:
    """Sum of overlapping patches: the transpose of ``raw_patches`` with stride 1.

    Args:
        columns: (N, 4 * C * rate * rate, rows * W / rate).
        rows: H / rate.

    Returns:
        (N, C, H, W).
    """
    across = int(columns.shape[2]) // rows
    quarters = columns.reshape(-1, int(columns.shape[1]), rows, across).chunk(4, 1)
    blocks = sum(
        functional.pad(quarter, (right, 1 - right, down, 1 - down))
        for quarter, (down, right) in zip(quarters, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
    )
    first = rate // 2
    tiled = functional.pixel_shuffle(blocks, rate)
    return tiled[:, :, first : first + rows * rate, first : first + across * rate]


def known_patches(holes: Tensor, grid: tuple[int, int], ksize: int, stride: int) -> Tensor:
    """(N, 1, H0, W0), above 0.5 a hole, to (N, L): 1 for patches of the grid without any hole pixel, else 0."""
    step = int(holes.shape[2]) // grid[0]
    cells = functional.max_pool2d((holes > 0.5).float(), step, step)
    return (patches(cells, ksize, stride).amax(1) < 0.5).float()


class ContextualAttention(nn.Module):
    """See the module. No parameters; every sample is answered by itself, whatever else is in the batch.

    With L foreground positions and K background patches, (H / rate) * (W / rate) each where the stride is 1, memory is
    N * L * K numbers for each of about eight steps (and as many again for the backward pass), and C * (2 rate)^2 *
    (L + K) for the patches: for 32 x 32 features of a 128 x 128 picture, L = K = 256, some 2 MB and, with 128 channels,
    4 MB per sample in float32; for 64 x 64 features 32 MB and 17 MB.

    Args:
        ksize: side of the patches that are compared, odd.
        stride: step between background patches.
        rate: features are reduced by this before they are compared; pasted patches are 2 * rate wide.
        fuse_k: side of the identity kernel that lets neighbours choose neighbouring patches, odd.
        softmax_scale: what scores are multiplied by before the softmax.
        fuse: whether to do that at all.
    """

    def __init__(
        self, ksize: int = 3, stride: int = 1, rate: int = 2, fuse_k: int = 3, softmax_scale: float = 10.0,
        fuse: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.ksize, self.stride, self.rate = ksize, stride, rate
        self.fuse_k, self.softmax_scale, self.fuse = fuse_k, softmax_scale, fuse

    def forward(self, foreground: Tensor, background: Tensor, holes: Tensor) -> Tensor:
        """Foreground rebuilt from background patches.

        Args:
            foreground, background: (N, C, H, W), H and W multiples of rate * stride.
            holes: (N, 1, H0, W0), 1 = hole; H0 and W0 the same multiple of H / rate and W / rate. Only background
                patches without any hole pixel are used.

        Returns:
            (N, C, H, W). Zeros for a sample all of whose background patches touch the hole: nothing is known of it.

        Raises:
            MaskbenchError: sizes do not fit.
        """
        weights = self.attention(foreground, background, holes)
        raw = raw_patches(background, self.rate, self.stride)
        pasted = torch.bmm(raw, weights.transpose(1, 2).to(raw.dtype))
        return paste(pasted, self.rate, int(foreground.shape[2]) // self.rate) / OVERLAP

    def attention(self, foreground: Tensor, background: Tensor, holes: Tensor) -> Tensor:
        """Weights (N, L, K) of every background patch at every foreground position; see ``forward``.

        Rows add up to 1 less what the softmax left to patches with hole pixels, whose scores were set to 0, not to
        minus infinity: that is the release's way. At least float32, also under autocast.
        """
        self._check(foreground, background, holes)
        wide = torch.promote_types(foreground.dtype, torch.float32)
        with torch.autocast(foreground.device.type, enabled=False):
            small, behind = (x.to(wide)[:, :, :: self.rate, :: self.rate] for x in (foreground, background))
            grid = (int(small.shape[2]), int(small.shape[3]))
            known = known_patches(holes, grid, self.ksize, self.stride).to(wide)[:, None]
            compared = patches(behind, self.ksize, self.stride)
            # Squares are clamped, not roots: the root of 0 has no finite derivative.
            norm = compared.square().sum(1, keepdim=True).clamp(min=SMALLEST_NORM**2).sqrt()
            scores = torch.bmm(patches(small, self.ksize, 1).transpose(1, 2), compared / norm)
            if self.fuse:
                scores = self._fused(scores, grid)
            scores = scores * known * self.softmax_scale
            scores = (scores - scores.detach().amax(2, keepdim=True)).clamp(min=LEAST_SCORE)
            return torch.softmax(scores, 2) * known

    def offsets(self, attention: Tensor, grid: tuple[int, int]) -> Tensor:
        """Where the best patch of every position lies from it: (N, 2, rows, columns), rows down and columns right.

        Args:
            attention: of ``attention``.
            grid: (rows, columns) of the foreground, H / rate and W / rate.
        """
        rows, across = grid
        best = attention.argmax(2).reshape(-1, rows, across)
        per_row = -(-across // self.stride)
        down = best.div(per_row, rounding_mode="floor") * self.stride
        right = best.remainder(per_row) * self.stride
        here = torch.arange(rows, device=best.device)[:, None], torch.arange(across, device=best.device)[None]
        return torch.stack([down - here[0], right - here[1]], 1)

    def _fused(self, scores: Tensor, grid: tuple[int, int]) -> Tensor:
        """Diagonal sums, with positions and patches numbered along rows and then along columns."""
        rows, across = grid
        behind = (-(-rows // self.stride), -(-across // self.stride))
        length, count = rows * across, behind[0] * behind[1]
        scores = self._diagonal(scores).reshape(-1, rows, across, *behind).permute(0, 2, 1, 4, 3)
        scores = self._diagonal(scores.reshape(-1, length, count)).reshape(-1, across, rows, behind[1], behind[0])
        return scores.permute(0, 2, 1, 4, 3).reshape(-1, length, count)

    def _diagonal(self, scores: Tensor) -> Tensor:
        """What a convolution of the (L, K) table by an identity matrix gives, zeros outside."""
        length, count, half = int(scores.shape[1]), int(scores.shape[2]), self.fuse_k // 2
        padded = functional.pad(scores, (half, half, half, half))
        return sum(padded[:, d : d + length, d : d + count] for d in range(self.fuse_k))

    def _check(self, foreground: Tensor, background: Tensor, holes: Tensor) -> None:
        height, width = (int(n) for n in foreground.shape[2:])
        step = self.rate * self.stride
        if tuple(background.shape[1:]) != tuple(foreground.shape[1:]):
            raise MaskbenchError("foreground and background of contextual attention differ in shape; give the same")
        if height % step or width % step:
            raise MaskbenchError(f"features of {height} x {width} for contextual attention; give multiples of {step}")
        rows, across = height // self.rate, width // self.rate
        tall, wide = (int(n) for n in holes.shape[2:])
        if tall % rows or tall // rows != wide / across:
            raise MaskbenchError(f"holes of {tall} x {wide} do not fit features; give a multiple of {rows} x {across}")
