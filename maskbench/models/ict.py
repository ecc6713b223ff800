"""ICT: a transformer guesses a face's colours on a coarse grid, a convolutional network paints the face after them.

Source: Wan, Zhang, Chen, Liao, "High-Fidelity Pluralistic Image Completion with Transformers", ICCV 2021. Its model of
faces is the default: 256 x 256 pixels, 48 x 48 tokens of 512 colours, 107,057,347 parameters. It is also the encoder
of G2D (Ge et al., "Masked Face Recognition with Generative-to-Discriminative Representations", ICML 2024), whose
descriptor is the output of one of the convolutional network's residual blocks.

What is ours:

- a token's colour is the mean of all pixels that its window touches, and the token is hidden where one of them is: so
  every pixel of the hole lies in a hidden token, and none is read;
- tokens are chosen in 64 bits, or the last bits of a 32-bit sum would decide between two colours, and engines differ;
- hidden colours are by default the mean of the palette by the transformer's probabilities: certain, fast, and with a
  gradient. The paper draws them instead (``fill`` "sample"), which takes a pass for every hidden token.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskbench.errors import MaskbenchError
from maskbench.models.ict_prior import AppearancePrior, draw
from maskbench.models.ict_upsampler import MULTIPLE, GuidedUpsampler
from maskbench.models.inpainter import holed

__all__ = ["FILLS", "ICT", "AppearancePrior", "GuidedUpsampler", "fit_palette"]

FILLS = ("expected", "argmax", "sample")
SMALLEST = 12  # reflection at a quarter of the side needs three pixels


def _windows(size: int, tokens: int) -> Tensor:
    """(tokens, size) float64: the mean over all pixels that a token's share of the side touches."""
    table = torch.zeros(tokens, size, dtype=torch.float64, device="cpu")  # also where weights are on "meta"
    for token in range(tokens):
        first, last = token * size // tokens, -(-(token + 1) * size // tokens)
        table[token, first:last] = 1 / (last - first)
    return table


def _known_fill(fill: str) -> str:
    """The same, or a MaskbenchError."""
    if fill not in FILLS:
        raise MaskbenchError(f'no fill named "{fill}"; choose one of {", ".join(FILLS)}')
    return fill


class ICT(nn.Module):
    """Faces with holes to completed faces; see the module.

    ``palette`` (colours, 3) float32 in [-1, 1] is a buffer, random until somebody fits it (``fit_palette``).

    Args:
        size: side of the faces, a multiple of 4; tokens: side of the coarse grid, which need not divide it.
        colours: of the palette; prior_width, layers, heads: of the transformer.
        width: factor on the convolutional network's channels; blocks: its residual blocks.
        fill: what hidden tokens become: "expected", the palette's mean by the transformer's probabilities; "argmax",
            its likeliest colour; "sample", drawn one after the other (slow, and not for export).

    Raises:
        MaskbenchError: a size that 4 does not divide or below 12; ``heads`` does not divide ``prior_width``; no such
            ``fill``.
    """

    palette: Tensor
    windows: Tensor

    def __init__(
        self, size: int = 256, tokens: int = 48, colours: int = 512, prior_width: int = 512, layers: int = 30,
        heads: int = 8, width: float = 1.0, blocks: int = 8, fill: str = "expected",
    ) -> None:  # fmt: skip
        super().__init__()
        if size % MULTIPLE or size < SMALLEST:
            raise MaskbenchError(
                f"a picture of {size} x {size} for completion; give sides that {MULTIPLE} divides, from {SMALLEST}"
            )
        self.size, self.tokens, self.fill = size, tokens, _known_fill(fill)
        self.prior = AppearancePrior(tokens, colours, prior_width, layers, heads)
        self.upsampler = GuidedUpsampler(width, blocks)
        self.register_buffer("palette", torch.rand(colours, 3) * 2 - 1)
        self.register_buffer("windows", _windows(size, tokens), persistent=False)

    def tokenise(self, faces: Tensor) -> Tensor:
        """The palette's nearest colour to the mean of each window.

        Args:
            faces: (N, 3, size, size) in [-1, 1].

        Returns:
            (N, tokens^2) int64, row by row.
        """
        means, palette = self.window_means(faces), self.palette.double()
        return (palette.square().sum(1) - 2 * means @ palette.T).argmin(2)

    def window_means(self, faces: Tensor) -> Tensor:
        """The mean colour of each token's window: (N, 3, size, size) to (N, tokens^2, 3) float64, row by row."""
        return self._pooled(faces.double()).flatten(2).transpose(1, 2)

    def quantised(self, faces: Tensor) -> Tensor:
        """The coarse picture of whole faces: the palette's nearest colours, none of them guessed.

        Args:
            faces: (N, 3, size, size) in [-1, 1].

        Returns:
            (N, 3, tokens, tokens) in [-1, 1].
        """
        return self._picture(self.palette[self.tokenise(faces)])

    def hidden(self, holes: Tensor) -> Tensor:
        """Which windows touch a hole: (N, 1, size, size), above 0.5 is a hole, to (N, tokens^2) bool."""
        return (self._pooled((holes > 0.5).double()) > 0).flatten(1)

    def _pooled(self, x: Tensor) -> Tensor:
        """(N, C, size, size) float64 to (N, C, tokens, tokens)."""
        return self.windows @ x @ self.windows.T

    def _picture(self, colours: Tensor) -> Tensor:
        """(N, tokens^2, 3), row by row, to (N, 3, tokens, tokens)."""
        return colours.transpose(1, 2).unflatten(2, (self.tokens, self.tokens))

    def appearance(
        self, faces: Tensor, holes: Tensor, generator: torch.Generator | None = None, fill: str | None = None
    ) -> Tensor:
        """The coarse picture: colours of the palette where known, the transformer's guess (``fill``) where hidden.

        Args:
            faces: (N, 3, size, size) in [-1, 1]; what they hold inside the hole is not read.
            holes: (N, 1, size, size), 1 = hole (above 0.5).
            generator: of "sample"; the others need none.
            fill: another than the network's own, which None is.

        Returns:
            (N, 3, tokens, tokens) in [-1, 1], with gradients to the transformer for "expected".

        Raises:
            MaskbenchError: another size, no such ``fill``, or "sample" without a generator.
        """
        fill = self.fill if fill is None else _known_fill(fill)
        height, width = (int(n) for n in faces.shape[2:])
        if (height, width) != (self.size, self.size):
            raise MaskbenchError(f"a picture of {height} x {width} for completion; give {self.size} x {self.size}")
        tokens, hidden = self.tokenise(holed(faces, holes)), self.hidden(holes)
        colours = torch.where(hidden[..., None], self._guess(tokens, hidden, generator, fill), self.palette[tokens])
        return self._picture(colours)

    def _guess(self, tokens: Tensor, hidden: Tensor, generator: torch.Generator | None, fill: str) -> Tensor:
        """Colours (N, tokens^2, 3), of which those of hidden tokens count."""
        if fill == "sample":
            if generator is None:
                raise MaskbenchError('fill "sample" draws at random; give a torch.Generator, or choose another fill')
            return self.palette[draw(self.prior, tokens, hidden, generator)]
        logits = self.prior(tokens, hidden)
        return self.palette[logits.argmax(2)] if fill == "argmax" else logits.float().softmax(2) @ self.palette

    def planes(self, faces: Tensor, holes: Tensor, appearance: Tensor) -> Tensor:
        """What the convolutional network reads: the picture with its hole white, and the appearance enlarged.

        Args:
            appearance: (N, 3, tokens, tokens).

        Returns:
            (N, 6, size, size).
        """
        enlarged = F.interpolate(appearance, (self.size, self.size), mode="bilinear", align_corners=False)
        return torch.cat([torch.where(holes > 0.5, 1.0, faces), enlarged.to(faces.dtype)], 1)

    def descriptor(
        self, faces: Tensor, holes: Tensor, block: int = -1, generator: torch.Generator | None = None
    ) -> Tensor:
        """The output of a residual block (``GuidedUpsampler.encode``); arguments as ``appearance`` has them.

        Returns:
            (N, 256 width, size / 4, size / 4).
        """
        return self.upsampler.encode(self.planes(faces, holes, self.appearance(faces, holes, generator)), block)

    def forward(
        self, faces: Tensor, holes: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Complete; arguments as ``appearance`` has them.

        Returns:
            The enlarged appearance and the completion, each (N, 3, size, size) in [-1, 1] and of the faces' dtype:
            whole pictures, see ``inpainter.compose``.
        """
        planes = self.planes(faces, holes, self.appearance(faces, holes, generator))
        return planes[:, 3:], self.upsampler(planes).to(faces.dtype)


def fit_palette(pixels: np.ndarray | Tensor, colours: int = 512, seed: int = 0) -> Tensor:
    """The centres of k-means over pixels: what ``ICT.palette`` should hold.

    The same pixels in the same order and the same seed give the same palette. It runs on one thread and always to the
    last step: sums on several threads differ in their last bits, and would decide when to stop.

    Args:
        pixels: (M, 3) float in [-1, 1], best of window means and not of single pixels; M at least ``colours``.

    Returns:
        (colours, 3) float32 in [-1, 1], sorted by red, green and blue.

    Raises:
        MaskbenchError: there are fewer different pixels than colours.
    """
    from sklearn.cluster import MiniBatchKMeans

    from maskbench.parallel import one_blas_thread

    given = np.ascontiguousarray(pixels, np.float32)
    if (different := len(np.unique(given, axis=0))) < colours:
        raise MaskbenchError(f"{different} different pixels for a palette of {colours}; give more, or fewer colours")
    means = MiniBatchKMeans(
        colours, batch_size=4096, max_iter=20, tol=0, max_no_improvement=None, n_init=1, random_state=seed
    )
    with one_blas_thread(openmp=True):
        found = means.fit(given).cluster_centers_
    return torch.from_numpy(found[np.lexsort(found.T[::-1])].astype(np.float32))
