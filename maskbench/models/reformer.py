"""The discriminative reformer of G2D: from the encoder's descriptor to a template.

Source: Ge et al., "Masked Face Recognition with Generative-to-Discriminative Representations", ICML 2024: 22 layers
like a ResNet's, which are one convolution, four residual blocks, a pooling and one linear layer, and 178.5 million
parameters with the encoder. Neither the layers of each block nor widths nor the length of the template are stated where
we could read; docs/methods/g2d.md says what is known.

Ours: a "residual block" is a stage of basic ones. 22 is then the convolutions of the main path and the linear layer,
1 + 2 (2 + 3 + 3 + 2) + 1, and the widths are ResNet's in one proportion, 2.375 (19 / 8), which leads to the total:

    convolution   9 · 256 · 152 + 2 · 152                                             350,512
    stage 1       2 blocks of 152                                                     832,960
    stage 2       3 blocks of 304, the first from 152 and with a shortcut           4,625,056
    stage 3       3 blocks of 608, the first from 304 and with a shortcut          18,491,712
    stage 4       2 blocks of 1216, the first from 608 and with a shortcut         47,329,152
    linear layer  1216 · 512 + 512                                                    623,104
    reformer                                                                       72,252,496
    encoder       ICT for faces of 256 x 256                                      107,057,347
    together      0.45 % more than 178.5 million                                  179,309,843
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskbench.errors import MaskbenchError
from maskbench.models.dlib_resnet import MEAN, STD, Block, DlibResNet
from maskbench.models.dlib_weights import BLOCKS
from maskbench.models.dlib_weights import EMBEDDING_SIZE as TEACHER_EMBEDDING
from maskbench.models.g2d_config import DEPTHS, WIDTHS
from maskbench.models.resnet import BasicBlock


class Reformer(nn.Module):
    """A 3 x 3 convolution, four stages of basic residual blocks, the mean over all positions, a linear layer.

    Args:
        channels: of what it reads: the descriptor's, or 3 of a picture.
        widths: channels of the stages; the second to fourth halve height and width.
        depth: a key of ``DEPTHS``.
        embedding: numbers in a template.

    Raises:
        MaskbenchError: another depth, or not four widths.
    """

    def __init__(
        self, channels: int = 256, widths: tuple[int, ...] = WIDTHS, depth: int = 22, embedding: int = 512
    ) -> None:
        super().__init__()
        if depth not in DEPTHS or len(widths) != 4:
            raise MaskbenchError(
                f"a reformer of depth {depth} and widths {tuple(widths)}; "
                f"give depth {', '.join(map(str, DEPTHS))} and four widths"
            )
        self.conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        stages, before = [], widths[0]
        for stage, (after, count) in enumerate(zip(widths, DEPTHS[depth], strict=True)):
            first = BasicBlock(before, after, 2 if stage else 1)
            stages.append(nn.Sequential(first, *(BasicBlock(after, after, 1) for _ in range(count - 1))))
            before = after
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(before, embedding)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) float32 to (N, embedding)."""
        x = self.stages(F.relu(self.norm(self.conv(x))))
        return self.fc(x.mean(dim=(2, 3)))


class TeacherReformer(nn.Module):
    """The rest of dlib's network behind one convolution, so that a reformer can start where its teacher is.

    Its blocks read what theirs gave, which is never negative: a rectifier follows the convolution. Their affine layers
    are folded into the convolutions.

    Args:
        channels: of the descriptor.
        side: its height and width, which fix the padding inside the blocks.
        start: the first of the network's 14 blocks (``dlib_weights.BLOCKS``) that is taken.
        adapter: side of the convolution's kernel, 1 or 3.

    A descriptor has one row and column of cells on every side that the teacher's blocks do not read. They are left out,
    by a 3 x 3 convolution without padding anyway, for else the blocks that halve would meet other cells than the
    teacher's. Behind its first halving the teacher is at another scale, and nothing is left out.

    Raises:
        MaskbenchError: the descriptor is too small for the blocks that halve it.
    """

    def __init__(self, channels: int, side: int, start: int = 0, adapter: int = 1) -> None:
        super().__init__()
        self.start = start
        self.at_scale = not any(halves for _, _, halves in BLOCKS[:start])
        self.conv = nn.Conv2d(channels, BLOCKS[start][0], adapter)
        blocks, left = [], side - 2 * self._rim - adapter + 1
        for before, after, halves in BLOCKS[start:]:
            if left < 3:
                raise MaskbenchError(f"a descriptor of {side} x {side} is too small for the teacher's blocks")
            blocks.append(Block(before, after, halves, left, folded=True))
            left = blocks[-1].size_out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(BLOCKS[-1][1], TEACHER_EMBEDDING, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, side, side) float32 to (N, 128)."""
        return self.fc(self.blocks(F.relu(self.conv(self.seen(x)))).mean(dim=(2, 3)))

    @property
    def _rim(self) -> int:
        return int(self.at_scale and self.conv.kernel_size[0] == 1)

    def seen(self, x: Tensor) -> Tensor:
        """Those cells of a descriptor that the first convolution reads."""
        return x[..., 1:-1, 1:-1] if self._rim else x

    def load_teacher(self, teacher: DlibResNet) -> None:
        """Copy the weights of a folded network's blocks and linear layer; our first convolution stays as it is."""
        for block, given in zip(self.blocks, teacher.blocks[self.start :], strict=True):
            block.load_state_dict(given.state_dict())
        self.fc.load_state_dict(teacher.fc.state_dict())


def to_teacher() -> tuple[Tensor, Tensor]:
    """Scale and shift, (3, 1, 1) each, from (pixel - 127.5) / 127.5 to dlib's (pixel - MEAN) / STD."""
    mean, std = (torch.tensor(part, device="cpu").view(3, 1, 1) for part in (MEAN, STD))
    return 127.5 / std, (127.5 - mean) / std


class PictureTeacher(nn.Module):
    """dlib's whole network, folded, for completed faces in [-1, 1].

    Args:
        side: of the faces.

    Raises:
        MaskbenchError: they are too small for it.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        try:
            self.network = DlibResNet(side, folded=True)
        except ValueError as error:
            raise MaskbenchError(str(error)) from error
        scale, shift = to_teacher()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side) float32 in [-1, 1] to (N, 128)."""
        return self.network(x * self.scale + self.shift)

    def load_teacher(self, teacher: DlibResNet) -> None:
        """Copy the weights of a folded network."""
        self.network.load_state_dict(teacher.state_dict())
