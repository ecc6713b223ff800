"""GFC: an encoder and a decoder around one linear code, for faces of 128 x 128; its discriminators, its parsing loss.

Source: Li, Liu, Yang, Yang, "Generative Face Completion", CVPR 2017: the encoder is VGG-19 from conv1 to pool3 with two
more convolutions, one more pooling and a fully connected layer; the decoder mirrors it with unpooling; the
discriminators follow DCGAN, with inputs of 64 and 128. What the paper leaves open is settled by the layer lists that
its authors published (Yijunmaverick/GenerativeFaceCompletion):

- the two convolutions (32 channels) and the pooling stand before VGG's, not after;
- VGG's rectifiers, 3 x 3 kernels and zeros around; no normalisation anywhere, not even DCGAN's;
- the code has 4096 numbers and a rectifier; a second linear layer leads back, with a rectifier too;
- unpooling puts a value where the encoder's maximum was, the first in reading order among equals;
- the decoder is not as wide as the encoder: 64, 64, 64, 128 | 64, 64 | 64, 32 | 32, 32 and 3;
- the output is linear and not squashed (``compose`` clips it); the last layer starts near 0, the others after He;
- discriminators: before each halving by a 4 x 4 kernel a 3 x 3 one, leaky rectifiers (0.2), at last one 4 x 4 kernel;
- there is no mask plane, and uniform noise from -1 to 1 fills the hole.

Ours: while training, noise is new every time; otherwise it is one fixed picture, kept with the weights, so that a face
is always completed the same way. The lists' names of layers suggest that VGG-19's own weights were a start; here all
weights start at random. Discriminators answer before the sigmoid. Pictures of other sizes get a code of other
length in proportion to ``width`` alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskbench.errors import MaskbenchError
from maskbench.models.inpainter import scaled

MULTIPLE = 16
ENCODER = ((32, 32), (64, 64), (128, 128), (256, 256, 256, 256))
DECODER = ((64, 64, 64, 128), (64, 64), (64, 32), (32, 32))
CODE = 4096
NOISE_SEED = 2017


def pool_with_places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima of 2 x 2 windows and where they were.

    Returns:
        (N, C, H / 2, W / 2), and (N, C, 4, H / 2, W / 2) with one 1 per window:
        the first in reading order among equals.
    """
    pooled = functional.max_pool2d(x, 2)
    with torch.no_grad():
        left = torch.ones_like(pooled)
        places = []
        for i in (0, 1):
            for j in (0, 1):
                here = (x[:, :, i::2, j::2] >= pooled).to(x.dtype) * left
                left = left - here
                places.append(here)
        return pooled, torch.stack(places, 2)


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """(N, C, h, w) back to (N, C, 2h, 2w): each value at its place, zeros elsewhere.

    As ``functional.max_unpool2d``, of operations that ONNX has too.
    """
    channels, height, width = (int(n) for n in x.shape[1:])
    return functional.pixel_shuffle((x[:, :, None] * places).reshape(-1, 4 * channels, height, width), 2)


def _block(before: int, channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for after in channels:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        before = after
    return nn.Sequential(*layers)


def _stages(before: int, table: tuple[tuple[int, ...], ...], width: float) -> tuple[nn.ModuleList, int]:
    blocks = []
    for row in table:
        channels = tuple(scaled(count, width) for count in row)
        blocks.append(_block(before, channels))
        before = channels[-1]
    return nn.ModuleList(blocks), before


class FaceCompletion(nn.Module):
    """The generator: 137,071,331 parameters at size 128 and width 1, all but 2,833,123 of them around the code.

    Args:
        size: side of the faces, a multiple of 16; fixed, because of the linear layers.
        width: factor on all channels and on the code's length.
    """

    def __init__(self, size: int = 128, width: float = 1.0) -> None:
        super().__init__()
        if size % MULTIPLE:
            raise MaskbenchError(f"a face completion for {size} x {size}; give a side that {MULTIPLE} divides")
        self.size, self.width = size, width
        self.encoder, deepest = _stages(3, ENCODER, width)
        flat, code = deepest * (size // 16) ** 2, scaled(CODE, width)
        self.code = nn.Sequential(nn.Flatten(), nn.Linear(flat, code), nn.ReLU(), nn.Linear(code, flat), nn.ReLU())
        self.decoder, before = _stages(deepest, DECODER, width)
        self.last = nn.Conv2d(before, 3, 3, padding=1)
        noise = torch.rand(1, 3, size, size, generator=torch.Generator("cpu").manual_seed(NOISE_SEED), device="cpu")
        self.register_buffer("noise", noise * 2 - 1)
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # He's, by the mean of the numbers of inputs and outputs, as the published lists ask for.
                outputs, inputs, *kernel = layer.weight.shape
                nn.init.normal_(layer.weight, std=(4 / ((outputs + inputs) * math.prod(kernel))) ** 0.5)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.last.weight, std=0.001)

    def forward(self, picture: Tensor, holes: Tensor) -> tuple[Tensor]:
        """Complete.

        Args:
            picture: (N, 3, size, size) in [-1, 1]; what it holds inside the hole is not read.
            holes: (N, 1, size, size), 1 = hole (above 0.5).

        Returns:
            One whole picture (N, 3, size, size), linear, of the picture's dtype; in a tuple, as every generator's last.

        Raises:
            MaskbenchError: another size.
        """
        height, width = (int(n) for n in picture.shape[2:])
        if (height, width) != (self.size, self.size):
            raise MaskbenchError(f"a picture of {height} x {width} for completion; give {self.size} x {self.size}")
        x = torch.where(holes > 0.5, self._filling(picture), picture)
        places = []
        for block in self.encoder:
            x, here = pool_with_places(block(x))
            places.append(here)
        x = self.code(x).reshape(-1, *(int(n) for n in x.shape[1:]))
        for block in self.decoder:
            x = block(unpool(x, places.pop()))
        return (self.last(x).to(picture.dtype),)

    def _filling(self, picture: Tensor) -> Tensor:
        if self.training:
            return torch.rand_like(picture) * 2 - 1
        return self.noise.to(picture.dtype).expand_as(picture)


class FaceDiscriminator(nn.Module):
    """Judges pictures (N, 3, size, size) in [-1, 1]: (N,) numbers before the sigmoid, larger is more real.

    Args:
        channels: of the stages, each of which halves the size.
        size: 4 is what the last stage should leave; more is possible, and the last kernel grows with it.
        width: factor on the channels.
    """

    def __init__(self, channels: tuple[int, ...], size: int, width: float) -> None:
        super().__init__()
        rest, odd = divmod(size, 2 ** len(channels))
        if odd or not rest:
            raise MaskbenchError(f"a discriminator for {size} x {size}; give a side that {2 ** len(channels)} divides")
        self.size = size
        layers: list[nn.Module] = []
        before = 3
        for count in channels:
            after = scaled(count, width)
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(0.2)]
            layers += [nn.Conv2d(after, after, 4, 2, 1), nn.LeakyReLU(0.2)]
            before = after
        self.features = nn.Sequential(*layers)
        self.last = nn.Conv2d(before, 1, rest)
        for layer in [*self.features, self.last]:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)  # as DCGAN's
                nn.init.zeros_(layer.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        return self.last(self.features(pictures)).flatten()


def global_discriminator(size: int = 128, width: float = 1.0) -> FaceDiscriminator:
    """For whole faces, best composed ones (known pixels as they were)."""
    return FaceDiscriminator((32, 64, 128, 256, 512), size, width)


def local_discriminator(size: int = 64, width: float = 1.0) -> FaceDiscriminator:
    """For what is cut out around the hole: ``inpainter.hole_box`` and ``inpainter.crop``."""
    return FaceDiscriminator((64, 128, 256, 512), size, width)


def parsing_loss(network: nn.Module, completed: Tensor, original: Tensor) -> Tensor:
    """How differently a face-parsing network reads the completed face and the original: cross-entropy, mean per pixel.

    The paper's third loss. No such network comes with us, and nothing uses this unless a caller does. The original's
    most likely labels are the truth, as in the authors' release; no gradient reaches the original, and the network's
    parameters are the caller's to freeze.

    Args:
        network: (N, 3, H, W) to logits (N, labels, H', W').
        completed, original: (N, 3, H, W).
    """
    with torch.no_grad():
        labels = network(original).argmax(1)
    return functional.cross_entropy(network(completed), labels)
