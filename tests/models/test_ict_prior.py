"""ICT's transformer: what it counts, against torch's own layers, what it reads, and how colours are drawn from it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from maskbench.errors import MaskbenchError
from maskbench.models.ict_prior import AppearancePrior, draw

SIDE, COLOURS, WIDTH, LAYERS, HEADS = 5, 7, 12, 2, 3


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def prior() -> AppearancePrior:
    """A small one whose weights are so large that every token seen changes what is said of the others."""
    torch.manual_seed(3)
    network = AppearancePrior(SIDE, COLOURS, WIDTH, LAYERS, HEADS).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.9) if parameter.ndim == 2 else parameter.data.add_(0.1)
    return network


def pictures(seed: int, number: int = 3):
    """Tokens, and about a third of them hidden."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, COLOURS, (number, SIDE**2), generator=generator)
    return tokens, torch.rand(number, SIDE**2, generator=generator) > 0.66


def answers(prior, tokens, hidden):
    with torch.no_grad():
        return prior(tokens, hidden)


def test_parameters_are_the_paper_s():
    with torch.device("meta"):
        network = AppearancePrior()
    width, side, colours = 512, 48, 512
    attention = 4 * (width * width + width)
    linear = width * 4 * width + 4 * width + 4 * width * width + width
    layer = attention + linear + 2 * 2 * width
    assert {count(one) for one in network.layers} == {layer} and len(network.layers) == 30
    assert count(network) == 30 * layer + 2 * colours * width + side**2 * width + 2 * width == 96_276_480
    assert network.head.bias is None


def by_torch(prior: AppearancePrior, tokens, hidden):
    """The same of torch's own layers with normalisation first."""
    x = torch.stack([prior.embedding.weight[row] for row in tokens])
    x[hidden] = 0
    x = x + prior.positions
    for layer in prior.layers:
        own = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
        ).eval()  # fmt: skip
        pairs = (
            (own.self_attn.in_proj_weight, layer.attention.looks.weight),
            (own.self_attn.in_proj_bias, layer.attention.looks.bias),
            (own.self_attn.out_proj.weight, layer.attention.mixes.weight),
            (own.self_attn.out_proj.bias, layer.attention.mixes.bias),
            (own.norm1.weight, layer.before_attention.weight), (own.norm1.bias, layer.before_attention.bias),
            (own.norm2.weight, layer.before_linear.weight), (own.norm2.bias, layer.before_linear.bias),
            (own.linear1.weight, layer.linear[0].weight), (own.linear1.bias, layer.linear[0].bias),
            (own.linear2.weight, layer.linear[2].weight), (own.linear2.bias, layer.linear[2].bias),
        )  # fmt: skip
        for theirs, ours in pairs:
            theirs.data.copy_(ours)
        x = own(x)
    x = (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    return (x * prior.norm.weight + prior.norm.bias) @ prior.head.weight.T


def test_it_is_torch_s_own_transformer(prior):
    tokens, hidden = pictures(1)
    with torch.no_grad():
        want = by_torch(prior, tokens, hidden)
    got = answers(prior, tokens, hidden)
    assert got.shape == (3, SIDE**2, COLOURS) and got.std() > 0.1
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


def test_a_hidden_token_is_not_read_and_a_seen_one_is_by_all(prior):
    tokens, hidden = pictures(2, 1)
    first = answers(prior, tokens, hidden)
    other = torch.where(hidden, (tokens + 1) % COLOURS, tokens)
    assert torch.equal(first, answers(prior, other, hidden))
    # In both directions: the last token reaches the first, and the first the last.
    for place, seen_at in ((SIDE**2 - 1, 0), (0, SIDE**2 - 1)):
        seen = hidden.clone()
        seen[0, place] = False
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % COLOURS
        before, after = answers(prior, tokens, seen)[0, seen_at], answers(prior, changed, seen)[0, seen_at]
        assert (before - after).abs().max() > 1e-4


def test_only_colours_that_are_seen_get_a_gradient(prior):
    tokens, hidden = torch.zeros(1, SIDE**2, dtype=torch.long), torch.zeros(1, SIDE**2, dtype=torch.bool)
    tokens[0, 3:], hidden[0, 3:] = 4, True
    prior.zero_grad()
    prior(tokens, hidden).square().sum().backward()
    slopes = prior.embedding.weight.grad.abs().sum(1)
    assert slopes[0] > 0 and not slopes[1:].any()
    assert (prior.positions.grad.abs().sum(1) > 0).all()


def test_hidden_tokens_are_told_apart_by_their_places_from_the_start():
    torch.manual_seed(1)
    fresh = AppearancePrior(SIDE, COLOURS, WIDTH, LAYERS, HEADS)
    tokens, hidden = torch.zeros(1, SIDE**2, dtype=torch.long), torch.ones(1, SIDE**2, dtype=torch.bool)
    found = answers(fresh, tokens, hidden)[0]
    assert len(torch.unique(found, dim=0)) == SIDE**2


def test_samples_do_not_meet(prior):
    tokens, hidden = pictures(4)
    together = answers(prior, tokens, hidden)
    for number in range(3):
        alone = answers(prior, tokens[number][None], hidden[number][None])[0]
        torch.testing.assert_close(together[number], alone, rtol=0, atol=1e-5)


def test_heads_divide_the_width():
    with pytest.raises(MaskbenchError, match="5 heads of a transformer 12 wide; give a width that 5 divides"):
        AppearancePrior(SIDE, COLOURS, 12, 1, 5)


# ---------------------------------------------------------------- drawing


def test_the_likeliest_alone_is_chosen_one_after_the_other(prior):
    tokens, hidden = pictures(5, 2)
    want, left = tokens.clone(), hidden.clone()
    for row in range(2):
        for place in range(SIDE**2):
            if left[row, place]:
                want[row, place] = answers(prior, want, left)[row, place].argmax()
                left[row, place] = False
    at_once = torch.where(hidden, answers(prior, tokens, hidden).argmax(2), tokens)
    assert not torch.equal(want, at_once)  # those that are drawn are seen by those that follow
    given = tokens.clone(), hidden.clone()
    assert torch.equal(draw(prior, tokens, hidden, torch.Generator(), top=1), want)
    assert torch.equal(tokens, given[0]) and torch.equal(hidden, given[1])


def test_chance_is_the_generator_s(prior):
    tokens, hidden = pictures(6)

    def drawn(seed: int):
        return draw(prior, tokens, hidden, torch.Generator().manual_seed(seed), top=4)

    first = drawn(1)
    assert torch.equal(first, drawn(1)) and not torch.equal(first, drawn(2))
    assert torch.equal(first[~hidden], tokens[~hidden])
    assert first.min() >= 0 and first.max() < COLOURS


def test_a_drawn_token_has_the_transformer_s_probabilities(prior):
    """One hidden token, drawn many times, among its three likeliest colours."""
    tokens, hidden = pictures(7, 1)[0], torch.zeros(1, SIDE**2, dtype=torch.bool)
    hidden[0, 6] = True
    logits = answers(prior, tokens, hidden)[0, 6]
    best, colours = logits.topk(3)
    generator, times = torch.Generator().manual_seed(8), 600
    found = torch.stack([draw(prior, tokens, hidden, generator, top=3)[0, 6] for _ in range(times)])
    shares = torch.stack([(found == colour).float().mean() for colour in colours])
    assert float(shares.sum()) == pytest.approx(1)
    torch.testing.assert_close(shares, best.softmax(0), rtol=0, atol=0.08)  # four standard deviations
