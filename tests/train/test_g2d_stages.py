"""The stages of G2D one by one: what counts in their losses, what a gradient reaches and what it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from g2d_pictures import INNER, SIDE, TOKENS, WIDE, Faces, a_batch, encoder, moved_by, some_holes
from small_tensors import rng
from torch import nn
from torch.nn import functional as F

from maskbench.errors import MaskbenchError
from maskbench.models.dlib_resnet import DlibResNet
from maskbench.models.ict import ICT
from maskbench.models.inpainter import compose
from maskbench.train import g2d_encoder
from maskbench.train.g2d_encoder import (
    Features,
    PatchCritic,
    PriorTraining,
    UpsamplerTraining,
    feature_losses,
    palette_of,
    pixel_losses,
    token_losses,
)
from maskbench.train.g2d_recipe import PriorStage, UpsamplerLosses, UpsamplerStage
from maskbench.train.occluded import OccludedFaces, PutIn, planes

pytestmark = pytest.mark.usefixtures("one_thread")


class TestPalette:
    def data(self, faces=None):
        return OccludedFaces(faces or Faces(), WIDE, INNER, None, None, 3)

    def test_the_same_every_time_whatever_was_drawn_before(self):
        found = []
        for seed in (5, 6):
            torch.manual_seed(seed)
            np.random.seed(seed)
            found.append(palette_of(encoder(), self.data(), 4, 0))
        assert torch.equal(*found) and found[0].shape == (6, 3) and found[0].dtype == torch.float32
        assert found[0].abs().max() <= 1 and found[0].tolist() == sorted(found[0].tolist())

    def test_it_is_made_of_the_faces_means(self, monkeypatch):
        """Of the first and the last face, where there are to be two: quarters in the order of tokens."""
        tall, data, given = ICT(SIDE, 2, 8, 8, 1, 2, 0.125, 1), self.data(), []
        monkeypatch.setattr(g2d_encoder, "fit_palette", lambda pixels, *how: given.append((pixels, *how)))
        palette_of(tall, data, 2, 9)
        means = [data[0, index].student.reshape(2, 16, 2, 16, 3).mean(axis=(1, 3)).reshape(4, 3) for index in (0, 5)]
        ((pixels, colours, seed),) = given
        np.testing.assert_allclose(pixels.numpy(), np.concatenate(means) / 127.5 - 1, atol=1e-5)
        assert (colours, seed, pixels.dtype) == (8, 9, torch.float32)

    def test_faces_that_are_gone_do_not_count(self):
        found = palette_of(encoder(), self.data(Faces(lost=(0, 5))), 6, 0)
        kept = palette_of(encoder(), self.data(Faces(lost=(0, 5))), 99, 0)
        assert torch.equal(found, kept)

    def test_none_is_left(self):
        with pytest.raises(MaskbenchError, match="^0 different pixels for a palette of 6"):
            palette_of(encoder(), self.data(Faces(lost=tuple(range(6)))), 6, 0)


class TestPrior:
    def training(self, share=0.0) -> PriorTraining:
        return PriorTraining(encoder(), PriorStage(random_share=share))

    def test_only_hidden_tokens_count(self):
        """Against a naive sum over those, and whatever the others' answers are."""
        logits, tokens = torch.randn(2, 9, 5, generator=rng()), torch.randint(5, (2, 9), generator=rng(1))
        hidden = torch.rand(2, 9, generator=rng(2)) < 0.4
        found = token_losses(logits, tokens, hidden)
        naive = [
            -float(logits[n, k].double().softmax(0)[tokens[n, k]].log()) for n in range(2) for k in range(9)
            if hidden[n, k]
        ]  # fmt: skip
        assert found["loss"].item() == pytest.approx(np.mean(naive), rel=1e-5)
        right = [int(logits[n, k].argmax()) == int(tokens[n, k]) for n, k in hidden.nonzero().tolist()]
        assert found["accuracy"].item() == pytest.approx(np.mean(right))
        assert found["hidden"].item() == pytest.approx(len(naive) / 18)
        other = torch.where(hidden[..., None], logits, 100 * torch.randn(2, 9, 5))
        assert torch.equal(token_losses(other, tokens, hidden)["loss"], found["loss"])

    def test_no_gradient_for_answers_about_what_is_seen(self):
        logits = torch.randn(2, 9, 5, generator=rng(), requires_grad=True)
        hidden = torch.rand(2, 9, generator=rng(2)) < 0.4
        token_losses(logits, torch.zeros(2, 9, dtype=torch.long), hidden)["loss"].backward()
        assert torch.equal(logits.grad.any(dim=2), hidden)

    def test_nothing_hidden_costs_nothing_and_has_a_gradient(self):
        method = self.training()
        found = method.losses("prior", a_batch(torch.zeros(2, 1, SIDE, SIDE)), rng())
        found["loss"].backward()
        assert found["loss"].item() == 0 and not any(p.grad.any() for p in method.modules["prior"].parameters())

    def test_tokens_under_masks_are_hidden_and_the_whole_picture_is_wanted(self):
        method, given, seen = self.training(), a_batch(), []
        real = method.modules["prior"]

        class Watched(nn.Module):
            def forward(self, tokens, hidden):
                seen.append((tokens, hidden))
                return real(tokens, hidden)

        method.modules["prior"] = Watched()
        found = method.losses("prior", given, rng())
        (tokens, hidden), made = seen[0], method._encoder
        target = planes(given.faces)
        assert torch.equal(tokens, made.tokenise(target))
        windows = some_holes().reshape(3, 4, 8, 4, 8).amax((2, 4)).flatten(1) > 0
        assert torch.equal(hidden, windows) and not hidden[2].any()
        expected = F.cross_entropy(real(tokens, hidden)[hidden], tokens[hidden])
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-6)

    def test_tokens_hidden_one_by_one(self):
        """In a share of the steps, which the step's generator draws; shares differ from face to face."""
        big = a_batch(torch.zeros(64, 1, SIDE, SIDE))
        tokens = torch.zeros(64, TOKENS**2, dtype=torch.long)
        hidden = self.training(1.0)._hidden(big, tokens, rng())
        shares = hidden.float().mean(1)
        assert torch.equal(hidden, self.training(1.0)._hidden(big, tokens, rng()))
        assert 0.4 < shares.mean() < 0.6 and shares.min() < 0.1 and shares.max() > 0.9
        half = self.training(0.5)
        drawn = [bool(half._hidden(big, tokens, rng(seed)).any()) for seed in range(200)]
        assert 70 < sum(drawn) < 130
        assert not self.training(0.0)._hidden(big, tokens, rng()).any()

    def test_the_transformer_moves_and_nothing_else(self):
        method = self.training()
        moved = moved_by(method, "prior", a_batch())
        assert set(method.modules) == {"prior"} and "prior/positions" in moved and "prior/head.weight" in moved
        assert not any(weight.grad is not None for weight in method._encoder.upsampler.parameters())

    def test_it_learns_a_picture_by_heart(self):
        method = self.training()
        moves = torch.optim.Adam(method.modules["prior"].parameters(), 0.02)
        losses = []
        for _ in range(40):
            moves.zero_grad()
            loss = method.losses("prior", a_batch(), rng())["loss"]
            loss.backward()
            moves.step()
            losses.append(loss.item())
        assert losses[-1] < 0.3 * losses[0]


class TestUpsampler:
    def training(self, features=None, guide="expected", **losses) -> UpsamplerTraining:
        losses = {"adversarial": 0.0, **losses}
        stage = UpsamplerStage(guide=guide, critic_width=0.0625, losses=UpsamplerLosses(**losses))
        return UpsamplerTraining(encoder(), stage, features)

    def test_pixels_against_a_naive_sum(self):
        output, target = torch.rand(3, 3, SIDE, SIDE, generator=rng()), torch.rand(3, 3, SIDE, SIDE, generator=rng(1))
        holes = some_holes()
        apart = (output - target).abs().double().numpy()
        inside = np.broadcast_to(holes.numpy() > 0, apart.shape)
        found = pixel_losses(output, target, holes)
        assert found["whole"].item() == pytest.approx(apart.mean(), rel=1e-5)
        # mean(|d| m) / mean(m) is the mean over what is hole.
        assert found["hole"].item() == pytest.approx(apart[inside].mean(), rel=1e-5)
        assert pixel_losses(output, target, torch.zeros_like(holes))["hole"].item() == 0

    def test_the_guides(self):
        given = a_batch()
        target, holes = planes(given.faces), some_holes()
        for guide in ("expected", "argmax"):
            method = self.training(guide=guide)
            assert torch.equal(method.guide(target, holes), encoder(fill=guide).appearance(target, holes))
            assert method._encoder.fill == "expected"  # which is how faces are completed later
        method, made = self.training(guide="quantised-truth"), encoder()
        found = method.guide(target, holes)
        for token, colour in enumerate(made.tokenise(target)[0].tolist()):
            assert torch.equal(found[0, :, token // TOKENS, token % TOKENS], made.palette[colour])

    def test_what_it_paints_behind_the_guide(self):
        method, given = self.training(), a_batch()
        target, holes = planes(given.faces), some_holes()
        found = method.losses("upsampler", given, rng())
        expected = pixel_losses(encoder()(target, holes)[-1], target, holes)
        assert found["whole"].item() == pytest.approx(expected["whole"].item(), rel=1e-5)
        assert found["loss"].item() == pytest.approx((expected["whole"] + expected["hole"]).item(), rel=1e-5)

    def test_weights_multiply_the_terms(self):
        found = self.training(whole=3.0, hole=5.0, adversarial=0.25).losses("upsampler", a_batch(), rng())
        expected = 3 * found["whole"] + 5 * found["hole"] + 0.25 * found["adversarial"]
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-6)

    def test_what_is_hidden_is_not_read(self):
        method, given = self.training(), a_batch()
        other = replace(given, faces=torch.where(given.holes[..., None] > 0, 255 - given.faces, given.faces))
        paint = [method._output("upsampler", planes(one.faces), some_holes(), one) for one in (given, other)]
        assert torch.equal(*paint)

    def test_each_turn_moves_its_own_network(self):
        method = self.training(adversarial=0.1)
        assert method.turns == ("critic", "upsampler") and set(method.modules) == {"upsampler", "critic"}
        given = a_batch()
        painted = moved_by(method, "upsampler", given)
        assert painted and all(name.startswith("upsampler/") for name in painted)
        assert {f"upsampler/{name}" for name, _ in method.modules["upsampler"].named_parameters()} == painted
        judged = moved_by(method, "critic", given)
        assert {f"critic/{name}" for name, _ in method.modules["critic"].named_parameters()} == judged
        assert not any(weight.grad is not None for weight in method._encoder.prior.parameters())
        assert [group["rate"] for group in method.parameters_of("critic")] == [0.1]

    def test_the_critic_sees_composed_pictures_and_does_not_saturate(self):
        method, given, seen = self.training(adversarial=0.1), a_batch(), []

        class Watched(nn.Module):
            def forward(self, pictures):
                seen.append(pictures)
                return 10 * pictures.mean((1, 2, 3))

        method.modules["critic"] = Watched()
        found = method.losses("critic", given, rng())
        target, holes = planes(given.faces), some_holes()
        assert torch.equal(seen[0], target) and not seen[1].requires_grad
        painted = encoder()(target, holes)[-1]
        torch.testing.assert_close(seen[1], compose(painted, target, holes))
        true, false = (10 * x.double().mean((1, 2, 3)) for x in seen)
        expected = (-true.sigmoid().log()).mean() + (-(1 - false.sigmoid()).log()).mean()
        assert found["loss"].item() == pytest.approx(expected.item() / 2, rel=1e-4)
        made = method.losses("upsampler", given, rng())
        assert made["adversarial"].item() == pytest.approx((-false.sigmoid().log()).mean().item(), rel=1e-4)
        assert seen[2].requires_grad

    def test_both_turns_share_one_painting(self):
        method, given = self.training(adversarial=0.1), a_batch()
        calls = []
        method.modules["upsampler"].register_forward_hook(lambda *a: calls.append(1))
        for _ in range(2):
            for turn in method.turns:
                method.losses(turn, given, rng())
        assert len(calls) == 2

    def test_the_critics_shape_and_its_bound(self):
        critic = PatchCritic(0.0625).eval()
        assert critic(torch.zeros(2, 3, 32, 32)).shape == (2, 1, 2, 2)
        assert critic(torch.zeros(1, 3, 24, 24)).shape == (1, 1, 1, 1)
        assert not any(name.endswith("bias") for name, _ in critic.named_parameters())
        assert len(list(critic.parameters())) == 5

    def test_the_teachers_features(self):
        """Perceptual and style terms against numpy, with a gradient to the picture and none to the teacher."""
        torch.manual_seed(0)
        teacher = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
        put_in = PutIn(INNER, INNER)
        features = Features(teacher, ("0", "2"), lambda x: x / 127.5 - 1, put_in, "mine")
        pictures = torch.rand(2, 3, SIDE, SIDE, generator=rng()) * 2 - 1
        ours, theirs = features(pictures), features(pictures.flip(3))
        with torch.no_grad():
            expected = teacher[0](pictures)
        torch.testing.assert_close(ours[0], expected, atol=1e-4, rtol=1e-4)
        found = feature_losses(ours, theirs)
        near = [(a - b).abs().mean().item() for a, b in zip(ours, theirs, strict=True)]
        assert found["perceptual"].item() == pytest.approx(np.mean(near), rel=1e-5)

        def gram(x):
            x = x.detach().numpy()
            flat = x.reshape(2, x.shape[1], -1)
            return np.einsum("nik,njk->nij", flat, flat) / flat[0].size

        style = [np.abs(gram(a) - gram(b)).mean() for a, b in zip(ours, theirs, strict=True)]
        assert found["style"].item() == pytest.approx(np.mean(style), rel=1e-4)
        method = self.training(features, perceptual=0.5, style=2.0)
        found = method.losses("upsampler", a_batch(), rng())
        weighted = found["whole"] + found["hole"] + 0.5 * found["perceptual"] + 2 * found["style"]
        assert found["loss"].item() == pytest.approx(weighted.item(), rel=1e-5)
        found["loss"].backward()
        assert all(weight.grad is None for weight in teacher.parameters())

    def test_features_that_there_are_not(self):
        with pytest.raises(MaskbenchError, match='recipe mine: .*no module "blocks.99" in the teacher') as error:
            Features(DlibResNet(), ("blocks.99",), lambda x: x, PutIn(INNER, INNER), "mine")
        assert "\n" not in str(error.value)
