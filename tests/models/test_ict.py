"""ICT whole: tokens and holes against plain loops, what is read, its guesses, its export, its palette."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from maskbench.errors import MaskbenchError
from maskbench.models.completion_export import Completed, completion_onnx
from maskbench.models.ict import FILLS, ICT, fit_palette

SIZE, TOKENS, COLOURS = 32, 6, 9  # 6 does not divide 32: windows share pixels


def build(size: int = SIZE, tokens: int = TOKENS, fill: str = "expected") -> ICT:
    """A small one whose transformer is sure of different colours in different places."""
    torch.manual_seed(6)
    network = ICT(size, tokens, COLOURS, 16, 2, 4, 0.125, 2, fill).eval()
    for parameter in network.prior.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.7)
    return network


@pytest.fixture(scope="module")
def network() -> ICT:
    return build()


def faces(seed: int, size: int = SIZE):
    """Pictures of large patches, and holes of all kinds: a box, a box elsewhere, one pixel, none, everything."""
    generator = torch.Generator().manual_seed(seed)
    holes = torch.zeros(5, 1, size, size)
    holes[0, 0, 5:17, 8:20] = holes[1, 0, 20:31, 3:9] = holes[2, 0, 13, 22] = holes[4] = 1
    patches = torch.rand(5, 3, 4, 4, generator=generator).kron(torch.ones(1, 1, size // 4, size // 4))
    noise = torch.rand(5, 3, size, size, generator=generator)
    return (1.8 * patches + 0.2 * noise) - 1, holes


def windows(size: int, tokens: int) -> list[tuple[int, int]]:
    """First and one past the last pixel that a token's share of a side touches."""
    share = size / tokens
    return [(math.floor(k * share + 1e-9), math.ceil((k + 1) * share - 1e-9)) for k in range(tokens)]


def answers(network, *given, **named):
    with torch.no_grad():
        return network(*given, **named)


def test_parameters_are_the_two_papers():
    with torch.device("meta"):
        whole = ICT()
    assert sum(weight.numel() for weight in whole.parameters()) == 96_276_480 + 10_780_867 == 107_057_347
    assert whole.upsampler.channels == 256 and whole.palette.shape == (512, 3)
    assert "palette" in whole.state_dict() and "windows" not in whole.state_dict()
    assert whole.windows.device.type == "cpu"  # known even where weights are not yet


@pytest.mark.parametrize("size, tokens", [(32, 6), (24, 24), (16, 21), (48, 48), (144, 48), (20, 7)])
def test_tokens_and_what_is_hidden_by_plain_loops(size, tokens):
    network = build(size, tokens)
    pictures, holes = (given[:3] for given in faces(1, max(size, 32)))
    pictures, holes = pictures[..., :size, :size], holes[..., :size, :size]
    palette = network.palette.double().numpy()
    got, hidden, means = network.tokenise(pictures), network.hidden(holes), network.window_means(pictures)
    coarse = network.quantised(pictures)
    assert means.shape == (3, tokens**2, 3) and means.dtype == torch.float64
    assert coarse.shape == (3, 3, tokens, tokens) and coarse.dtype == torch.float32
    assert got.shape == hidden.shape == (3, tokens**2) and (got.dtype, hidden.dtype) == (torch.int64, torch.bool)
    for number in range(3):
        picture, hole = pictures[number].double().numpy(), holes[number, 0].numpy() > 0
        for row, (top, bottom) in enumerate(windows(size, tokens)):
            for column, (left, right) in enumerate(windows(size, tokens)):
                mean = picture[:, top:bottom, left:right].mean(axis=(1, 2))
                place = row * tokens + column
                np.testing.assert_allclose(means[number, place], mean, rtol=0, atol=1e-12)
                assert got[number, place] == ((palette - mean) ** 2).sum(1).argmin()
                np.testing.assert_array_equal(coarse[number, :, row, column], palette[got[number, place]])
                assert hidden[number, place] == hole[top:bottom, left:right].any()


def test_window_means_are_in_the_order_of_tokens():
    tall = ICT(SIZE, 2, 4, 8, 1, 2, 0.125, 1)
    picture = torch.zeros(1, 3, SIZE, SIZE)
    picture[0, 0, :16, 16:] = 1
    tall.palette = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert tall.window_means(picture)[0, :, 0].tolist() == [0, 1, 0, 0]
    assert tall.tokenise(picture).tolist() == [[3, 0, 3, 3]]
    assert tall.quantised(picture)[0, 0].tolist() == [[0, 1], [0, 0]]


def test_every_pixel_of_a_hole_lies_in_hidden_tokens_only(network):
    generator = torch.Generator().manual_seed(4)
    holes = (torch.rand(4, 1, SIZE, SIZE, generator=generator) > 0.98).float()
    hidden = network.hidden(holes).unflatten(1, (TOKENS, TOKENS))
    for number, _, y, x in holes.nonzero().tolist():
        for row, (top, bottom) in enumerate(windows(SIZE, TOKENS)):
            for column, (left, right) in enumerate(windows(SIZE, TOKENS)):
                if top <= y < bottom and left <= x < right:
                    assert hidden[number, row, column]


@pytest.mark.parametrize("fill", FILLS)
def test_what_the_hole_held_has_no_influence(fill):
    network, (pictures, holes) = build(fill=fill), faces(2)
    found = []
    for inside in (pictures, torch.full_like(pictures, float("nan")), -pictures):
        given = torch.where(holes > 0, inside, pictures)
        generator = torch.Generator().manual_seed(1)
        found.append((*answers(network, given, holes, generator), network.descriptor(given, holes, 0, generator)))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_a_hidden_token_s_known_pixels_reach_the_convolutions_alone(network):
    """The coarse picture does not depend on them; the completion does."""
    pictures, holes = (given[2:3] for given in faces(3))
    y, x = 12, 21  # beside the one pixel of the hole, in no window that lacks it
    hidden = network.hidden(holes).reshape(TOKENS, TOKENS).nonzero().tolist()
    assert all(windows(SIZE, TOKENS)[row][0] <= y and windows(SIZE, TOKENS)[column][0] <= x for row, column in hidden)
    other = pictures.clone()
    other[0, :, y, x] = -other[0, :, y, x]
    assert torch.equal(answers(network.appearance, pictures, holes), answers(network.appearance, other, holes))
    assert not torch.equal(answers(network, pictures, holes)[-1], answers(network, other, holes)[-1])


def test_colours_known_and_guessed_by_plain_loops(network):
    pictures, holes = faces(4)
    got = answers(network.appearance, pictures, holes)
    likeliest = answers(build(fill="argmax").appearance, pictures, holes)
    assert got.shape == likeliest.shape == (5, 3, TOKENS, TOKENS)
    seen = torch.where(holes > 0, torch.zeros(()), pictures)
    tokens, hidden = network.tokenise(seen), network.hidden(holes)
    assert hidden.any(1).tolist() == [True, True, True, False, True] and hidden[4].all()
    logits = answers(network.prior, tokens, hidden).double().numpy()
    palette = network.palette.double().numpy()
    for number in range(5):
        for place in range(TOKENS**2):
            known = palette[tokens[number, place]]
            shares = np.exp(logits[number, place] - logits[number, place].max())
            mean = sum(share * colour for share, colour in zip(shares, palette, strict=True)) / shares.sum()
            want, certain = (mean, palette[shares.argmax()]) if hidden[number, place] else (known, known)
            row, column = divmod(place, TOKENS)
            np.testing.assert_allclose(got[number, :, row, column].numpy(), want, rtol=0, atol=1e-5)
            np.testing.assert_allclose(likeliest[number, :, row, column].numpy(), certain, rtol=0, atol=1e-6)


def test_drawn_colours_are_the_palette_s(network):
    drawing, (pictures, holes) = build(fill="sample"), faces(5)

    def drawn(seed: int):
        return answers(drawing.appearance, pictures, holes, torch.Generator().manual_seed(seed))

    first = drawn(1)
    assert torch.equal(first, drawn(1)) and not torch.equal(first, drawn(2))
    hidden = network.hidden(holes).unflatten(1, (1, TOKENS, TOKENS)).expand_as(first)
    assert torch.equal(first[~hidden], answers(network.appearance, pictures, holes)[~hidden])
    colours = first.permute(0, 2, 3, 1).reshape(-1, 3)
    assert (colours[:, None] == drawing.palette).all(2).any(1).all()
    with pytest.raises(MaskbenchError, match=r'fill "sample" draws at random; give a torch\.Generator'):
        drawing(pictures, holes)


def test_the_convolutions_read_a_white_hole_and_the_enlarged_colours(network):
    pictures, holes = faces(6)
    small = answers(network.appearance, pictures, holes)
    planes = network.planes(pictures, holes, small)
    assert planes.shape == (5, 6, SIZE, SIZE)
    hole = holes.expand_as(pictures) > 0
    assert (planes[:, :3][hole] == 1).all() and torch.equal(planes[:, :3][~hole], pictures[~hole])
    for picture, enlarged in zip(small.numpy(), planes[:, 3:].numpy(), strict=True):
        want = cv2.resize(picture.transpose(1, 2, 0), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(enlarged.transpose(1, 2, 0), want, rtol=0, atol=1e-5)
    coarse, completed = answers(network, pictures, holes)
    assert torch.equal(coarse, planes[:, 3:])
    assert torch.equal(completed, answers(network.upsampler, planes))
    assert completed.dtype == torch.float32 and completed.std() > 0.001 and completed.abs().max() <= 1
    for block in (0, -1):
        found = answers(network.descriptor, pictures, holes, block)
        assert found.shape == (5, 32, SIZE // 4, SIZE // 4)
        assert torch.equal(found, answers(network.upsampler.encode, planes, block))


@pytest.mark.parametrize("fill", ["expected", "argmax"])
def test_samples_do_not_meet(fill):
    network, (pictures, holes) = build(fill=fill), faces(7)
    together = answers(network, pictures, holes)
    for number in range(5):
        alone = answers(network, pictures[number][None], holes[number][None])
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[number], other[0], rtol=0, atol=1e-5)


def test_gradients_reach_both_halves_through_expected_colours_only():
    pictures, holes = faces(8)
    for fill, wanted in (("expected", True), ("argmax", False)):
        network = build(fill=fill)
        network(pictures, holes)[-1].square().sum().backward()
        assert all(weight.grad is not None for weight in network.upsampler.parameters())
        reached = [weight.grad is not None and bool(weight.grad.any()) for weight in network.prior.parameters()]
        assert any(reached) == wanted and (not wanted or network.prior.head.weight.grad.abs().max() > 0)


def test_without_a_hole_nothing_is_guessed(network):
    pictures, holes = faces(9)
    found = answers(network.appearance, pictures, torch.zeros_like(holes))
    assert torch.equal(found.flatten(2).transpose(1, 2), network.palette[network.tokenise(pictures)])
    assert torch.equal(found, network.quantised(pictures))


def test_another_fill_for_once(network):
    """Of every network the same, and the network keeps its own."""
    pictures, holes = faces(12)
    for fill in FILLS:
        found, wanted = (
            answers(made.appearance, pictures[:1], holes[:1], torch.Generator().manual_seed(3), fill=named)
            for made, named in ((network, fill), (build(fill=fill), None))
        )
        assert torch.equal(found, wanted) and network.fill == "expected"
    with pytest.raises(MaskbenchError, match='no fill named "mean"; choose one of expected, argmax, sample'):
        network.appearance(pictures, holes, fill="mean")


def test_sizes_and_fills_that_do_not_fit():
    for call, words in (
        (lambda: ICT(34, 4, 4, 8, 1, 1, 0.1, 1), "a picture of 34 x 34 for completion; give sides that 4 divides"),
        (lambda: ICT(8, 4, 4, 8, 1, 1, 0.1, 1), "from 12"),
        (lambda: ICT(32, 4, 4, 9, 1, 2, 0.1, 1), "2 heads of a transformer 9 wide"),
        (lambda: ICT(32, 4, 4, 8, 1, 1, 0.1, 1, "mean"), 'no fill named "mean"; choose one of expected, argmax'),
        (lambda: build()(torch.zeros(1, 3, 36, 36), torch.zeros(1, 1, 36, 36)), "36 x 36 for completion; give 32 x 32"),
    ):
        with pytest.raises(MaskbenchError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size, tokens, fill", [(12, 5, "expected"), (32, 6, "argmax"), (144, 48, "expected")])
def test_its_export_answers_alike(size, tokens, fill):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = build(size, tokens, fill)
    session = onnxruntime.InferenceSession(completion_onnx(network, size), providers=["CPUExecutionProvider"])
    pictures, holes = (given[:3] for given in faces(10, max(size, 32)))
    pictures, holes = pictures[..., :size, :size].contiguous(), holes[..., :size, :size].contiguous()
    holes[2, 0, 7, 9] = 1
    want = answers(Completed(network), pictures, holes).numpy()
    got = session.run(["completed"], {"faces": pictures.numpy(), "holes": holes.numpy()})[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
    # What the transformer says is seen in the answer, so it is a part of the file.
    network.prior.head.weight.data.neg_()
    other = answers(Completed(network), pictures, holes).numpy()
    assert np.abs(other - want).max() > 1e-3


# ---------------------------------------------------------------- palettes


def clouds(seed: int = 0, each: int = 400):
    """Eight small clouds of pixels near the corners of a cube, and their centres, sorted."""
    rng = np.random.default_rng(seed)
    centres = np.array([(r, g, b) for r in (-0.7, 0.6) for g in (-0.5, 0.8) for b in (-0.6, 0.4)])
    return rng.permutation((centres[:, None] + rng.normal(0, 0.02, (8, each, 3))).reshape(-1, 3)), centres


def test_a_palette_finds_the_colours_that_there_are():
    pixels, centres = clouds()
    found = fit_palette(pixels, 8, 3)
    assert found.dtype == torch.float32 and found.shape == (8, 3)
    apart = np.abs(found.numpy()[:, None] - centres[None]).max(2)
    assert (apart.min(0) < 0.01).all() and (apart.min(1) < 0.01).all()
    rows = [tuple(row) for row in found.tolist()]
    assert rows == sorted(rows)


def test_a_palette_is_the_same_every_time():
    pixels = np.random.default_rng(5).uniform(-1, 1, (3000, 3)).astype(np.float32)
    first = fit_palette(pixels, 20, 1)
    assert torch.equal(first, fit_palette(torch.from_numpy(pixels), 20, 1))
    assert not torch.equal(first, fit_palette(pixels, 20, 2))
    assert first.abs().max() <= 1
    network = build()
    network.palette.copy_(fit_palette(pixels, COLOURS))
    assert len(torch.unique(network.tokenise(faces(11)[0]))) > COLOURS // 2


def test_a_palette_needs_pixels():
    with pytest.raises(MaskbenchError, match="2 different pixels for a palette of 4; give more, or fewer colours"):
        fit_palette(np.array([[0.0, 0, 0], [1, 1, 1]] * 10), 4)
