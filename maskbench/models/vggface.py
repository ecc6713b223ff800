"""VGGFace: VGG-16, 224 x 224 to the 4096 numbers of its layer fc7, compared by cosine.

Names and shapes of the state dictionary are those of ``vgg_face_dag.py`` (the PyTorch import of the authors' weights by
Albanie, as in ProgramComputer/VGGFace-pytorch), without its classifier ``fc8``. Structure: Parkhi et al., "Deep Face
Recognition", BMVC 2015, table 3. The vector is that after fc7's ReLU: the input of the classifier that is taken away.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

EMBEDDING_SIZE = 4096
INPUT_SIZE = (224, 224)
# Channels and number of convolutions of the five stages, each followed by a 2 x 2 maximum.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGGFace(nn.Module):
    """Thirteen convolutions and two linear layers, each with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for stage, (channels, count) in enumerate(STAGES, 1):
            for index in range(1, count + 1):
                self.add_module(f"conv{stage}_{index}", nn.Conv2d(before, channels, 3, padding=1))
                before = channels
        self.fc6 = nn.Linear(before * (INPUT_SIZE[0] // 32) * (INPUT_SIZE[1] // 32), EMBEDDING_SIZE)
        self.fc7 = nn.Linear(EMBEDDING_SIZE, EMBEDDING_SIZE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 224, 224) float32, RGB minus the mean colour, to (N, 4096), not negative, not normalised."""
        for stage, (_, count) in enumerate(STAGES, 1):
            for index in range(1, count + 1):
                x = F.relu(getattr(self, f"conv{stage}_{index}")(x))
            x = F.max_pool2d(x, 2)
        return F.relu(self.fc7(F.relu(self.fc6(torch.flatten(x, 1)))))


def vggface16() -> VGGFace:
    """VGGFace's VGG-16."""
    return VGGFace()
