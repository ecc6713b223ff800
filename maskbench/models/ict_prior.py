"""The first half of ICT: a transformer that guesses the colours of hidden tokens from those that are seen.

Source: Wan, Zhang, Chen, Liao, "High-Fidelity Pluralistic Image Completion with Transformers", ICCV 2021: attention in
both directions, normalisation before each part (pre-norm), learned positions, and the embedding of a hidden token
replaced by zeros. 30 layers of width 512 with 8 heads are its model of faces.

Ours: positions start at random as all weights do, not at 0, where all hidden tokens would be alike; and there is no
dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskbench.errors import MaskbenchError

TOP = 40  # of the colours, those that the paper draws from
_START = 0.02  # standard deviation of weights before training, as GPT's


class Attention(nn.Module):
    """Every token looks at every other, in ``heads`` ways."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.looks = nn.Linear(width, 3 * width)  # queries, keys and values
        self.mixes = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width) to the same."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.looks(x).chunk(3, dim=2)
        )
        return self.mixes(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention, then two linear layers with GELU, each normalised before and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.before_linear = nn.LayerNorm(width)
        self.linear = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width) to the same."""
        x = x + self.attention(self.before_attention(x))
        return x + self.linear(self.before_linear(x))


class AppearancePrior(nn.Module):
    """A small picture of colours by number, some of them hidden, to what each may be.

    96,276,480 parameters at the paper's size, which is the default: 30 layers of 3,152,384, 512 x 512 for the colours
    and as many for the answers, 2,304 x 512 for the positions, 1,024 in the last normalisation.

    Args:
        side: of the picture, in tokens; colours: how many there are; width, layers, heads: of the transformer.

    Raises:
        MaskbenchError: ``heads`` does not divide ``width``.
    """

    def __init__(
        self, side: int = 48, colours: int = 512, width: int = 512, layers: int = 30, heads: int = 8
    ) -> None:
        super().__init__()
        if width % heads:
            raise MaskbenchError(f"{heads} heads of a transformer {width} wide; give a width that {heads} divides")
        self.side, self.colours = side, colours
        self.embedding = nn.Embedding(colours, width)
        self.positions = nn.Parameter(torch.empty(side**2, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, colours, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.positions, std=_START)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.normal_(layer.weight, std=_START)
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Guess.

        Args:
            tokens: (N, side^2) int64, the picture row by row; those that are hidden are not read, but must be colours.
            hidden: (N, side^2) bool.

        Returns:
            (N, side^2, colours): logits for every token, also for those that are seen.
        """
        seen = self.embedding(tokens).masked_fill(hidden[..., None], 0)
        return self.head(self.norm(self.layers(seen + self.positions)))


@torch.no_grad()
def draw(prior: AppearancePrior, tokens: Tensor, hidden: Tensor, generator: torch.Generator, top: int = TOP) -> Tensor:
    """Hidden tokens drawn one after the other, row by row, each in sight of those before it: as ICT completes.

    Slow: the whole transformer runs once for every hidden token. Samples are drawn one after the other too.

    Args:
        tokens, hidden: as ``AppearancePrior.forward``.
        generator: where chance comes from; on any device.
        top: how many of the likeliest colours are drawn from.

    Returns:
        (N, side^2) int64; tokens that are seen stay.
    """
    tokens, hidden = tokens.clone(), hidden.clone()
    for row, place in hidden.nonzero().tolist():
        logits = prior(tokens[row : row + 1], hidden[row : row + 1])[0, place].float()
        best, colours = logits.topk(min(top, prior.colours))
        drawn = torch.multinomial(best.softmax(0).to(generator.device), 1, generator=generator)
        tokens[row, place] = colours[drawn.to(colours.device)[0]]
        hidden[row, place] = False
    return tokens
