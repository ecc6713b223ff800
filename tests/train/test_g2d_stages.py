"""The stages of G2D one by one: what counts in their losses, what a gradient reaches and what it does not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from g2d_pictures import CONFIG, INNER, SIDE, TOKENS, WIDE, Faces, encoder, network
from small_tensors import rng
from torch import nn
from torch.nn import functional as F

from maskbench.errors import MaskbenchError
from maskbench.models.dlib_resnet import MEAN, DlibResNet, fold
from maskbench.models.g2d import FeatureClassifier, build_g2d, config_values
from maskbench.models.ict import ICT
from maskbench.models.inpainter import compose
from maskbench.models.zoo import NETWORKS
from maskbench.recognizers.dlib_resnet import SPEC
from maskbench.train import g2d_encoder, relations
from maskbench.train.data import Batch
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
from maskbench.train.g2d_recipe import ApproximationLosses, PriorStage, ReformerStage, UpsamplerLosses, UpsamplerStage
from maskbench.train.g2d_reformer import (
    ClassifierTraining,
    ReformerTraining,
    blocks_of,
    embedded,
    fit_adapter,
    start_from,
)
from maskbench.train.occluded import OccludedFaces, PutIn, planes

pytestmark = pytest.mark.usefixtures("one_thread")
SUBJECTS = ["a", "b", None, "a", None, "b"]


def some_holes(count=3) -> torch.Tensor:
    """(N, 1, side, side) of 0 and 1: rectangles, and none in the last."""
    holes = torch.zeros(count, 1, SIDE, SIDE)
    holes[0, 0, 9:17, 8:27] = 1
    holes[1, 0, 20:, :9] = 1
    return holes


def a_batch(holes=None, seed=0, index=None, flipped=False) -> Batch:
    holes = some_holes() if holes is None else holes
    count = len(holes)
    faces = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8))
    rows = torch.arange(count) if index is None else torch.tensor(index)
    flips = torch.full((count,), flipped)
    return Batch(rows, faces, holes.flatten(1).any(1), flips, None, [], None, holes[:, 0].to(torch.uint8))


def moved_by(method, turn, given) -> set[str]:
    """The names "module/parameter" that a step of one turn moves, of all the method's and some others' modules."""
    loss = method.losses(turn, given, rng())["loss"]
    groups = [weight for group in method.parameters_of(turn) for weight in group["params"] if weight.requires_grad]
    for module in method.modules.values():
        module.zero_grad()
    loss.backward()
    taken = {id(weight) for weight in groups if weight.grad is not None and bool(weight.grad.any())}
    return {
        f"{name}/{key}" for name, module in method.modules.items() for key, weight in module.named_parameters()
        if id(weight) in taken
    }  # fmt: skip


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


def spec_for(config=CONFIG, comparator="negative-l2"):
    return replace(SPEC, embedding_size=config.embedding_size, comparator=comparator)


def reformer(templates=None, stage=None, subjects=SUBJECTS, made=None, **losses) -> ReformerTraining:
    made = made or network()
    templates = some_templates() if templates is None else templates
    stage = replace(stage or ReformerStage(), losses=ApproximationLosses(**losses))
    spec = replace(spec_for(), embedding_size=templates.shape[2])
    return ReformerTraining(made, spec, stage, "mine", subjects, templates)


def some_templates() -> np.ndarray:
    return np.random.default_rng(5).normal(1, 0.3, (6, 2, 5)).astype(np.float32)


class TestReformer:
    def test_the_relations_of_the_teachers_templates(self):
        """The terms of ``relations`` for scaled templates, of the view's side."""
        method, given = reformer(), a_batch(index=[0, 1, 3], flipped=True)
        found = method.losses("student", given, rng())
        theirs = method.scaled(torch.from_numpy(some_templates()[[0, 1, 3], 1]))
        other = reformer()
        ours = other.scaled(other.modules["student"](planes(given.faces), some_holes()))
        assert set(found) == {"loss", "instance", "pair", "triplet"}
        for name, value in (
            ("pair", relations.pair_loss(ours, theirs)), ("triplet", relations.triplet_loss(ours, theirs)),
            ("instance", relations.instance_loss(ours, theirs)),
        ):  # fmt: skip
            assert found[name].item() == pytest.approx(value.item(), rel=1e-4)
        assert found["loss"].item() == pytest.approx((found["pair"] + 2 * found["triplet"]).item(), rel=1e-5)

    def test_an_instance_term_with_weight(self):
        found = reformer(instance_weight=3.0).losses("student", a_batch(), rng())
        expected = found["pair"] + 2 * found["triplet"] + 3 * found["instance"]
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)

    def test_a_network_that_gives_its_teachers_templates_costs_nothing(self):
        templates, made = some_templates(), network()
        made.forward = lambda faces, masks: torch.from_numpy(templates[[0, 1, 2], 0]) + 0 * faces.mean()
        found = reformer(templates, made=made, instance_weight=1.0).losses("student", a_batch(), rng())
        assert found["loss"].item() == pytest.approx(0, abs=1e-5)

    def test_classification_alone(self):
        method = reformer(instance="none", pair_weight=0.0, triplet_weight=0.0, margin_weight=1.0)
        found = method.losses("student", a_batch(), rng())
        assert set(found) == {"loss", "margin"} and found["loss"].item() == pytest.approx(found["margin"].item())
        groups = method.parameters_of("student")
        assert [(group["rate"], group["clipped"]) for group in groups] == [(1.0, True), (2.0, False)]
        assert method.modules["head"].weight.shape[0] == 4  # two people, and two pictures without a label

    def test_the_reformer_moves_and_the_encoder_does_not(self):
        method = reformer()
        moved = moved_by(method, "student", a_batch())
        own = {f"student/reformer.{name}" for name, _ in method._network.reformer.named_parameters()}
        # With normalised distances and angles no template's common shift has a gradient: the last bias is left out.
        assert own - moved <= {"student/reformer.fc.bias"} and moved <= own
        assert not any(weight.requires_grad for weight in method._network.encoder.parameters())

    @pytest.mark.parametrize(("reads", "fill"), [("descriptor", "expected"), ("descriptor", "argmax"),
                                                 ("picture", "expected")])  # fmt: skip
    def test_end_to_end_what_a_template_depends_on_moves(self, reads, fill):
        """And nothing waits for a gradient that never comes: neither the decoder nor later blocks, nor a choice."""
        made = network(reads=reads, fill=fill)
        method = reformer(stage=ReformerStage(train_encoder=True, encoder_rate=0.25), made=made)
        moved = {name.removeprefix("student/") for name in moved_by(method, "student", a_batch())}
        learns = {name for name, weight in made.named_parameters() if weight.requires_grad}
        assert learns - moved <= {"reformer.fc.bias"} and moved <= learns
        assert any(name.startswith("encoder.upsampler.blocks.0.") for name in moved)
        assert any(name.startswith("encoder.prior.") for name in moved) == (fill == "expected")
        assert any(name.startswith("encoder.upsampler.decoder.") for name in moved) == (reads == "picture")
        assert any(name.startswith("encoder.upsampler.blocks.1.") for name in moved) == (reads == "picture")
        assert [group["rate"] for group in method.parameters_of("student")] == [1.0, 0.25]

    def test_what_is_under_the_mask_is_not_read(self):
        given, made = a_batch(), network().eval()
        other = replace(given, faces=torch.where(given.holes[..., None] > 0, 255 - given.faces, given.faces))
        with torch.no_grad():
            assert torch.equal(embedded(made, given), embedded(made, other))
            bare = replace(given, holes=torch.zeros_like(given.holes))
            assert not torch.equal(embedded(made, given), embedded(made, bare))

    def test_starting_from_the_teacher(self):
        torch.manual_seed(0)
        theirs = DlibResNet()
        teacher = SimpleNamespace(module=theirs, spec=SimpleNamespace(name="dlib-resnet"))
        made = network(reformer="teacher", start=10)
        before = made.reformer.conv.weight.clone()
        start_from(made, teacher, "mine")
        folded = fold(theirs)
        assert torch.equal(made.reformer.blocks[0].conv1.weight, folded.blocks[10].conv1.weight)
        assert torch.equal(made.reformer.fc.weight, folded.fc.weight)
        assert torch.equal(made.reformer.conv.weight, before)
        with pytest.raises(MaskbenchError, match="recipe mine: the reformer cannot start from other, only from"):
            blocks_of(SimpleNamespace(spec=SimpleNamespace(name="other")), "mine")

    @pytest.mark.parametrize("adapter", [1, 3])
    def test_the_first_convolution_is_fitted_to_what_the_teachers_blocks_read(self, adapter):
        torch.manual_seed(0)
        teacher = SimpleNamespace(module=DlibResNet(), spec=SimpleNamespace(name="dlib-resnet"))
        made = network(size=104, reformer="teacher", start=1, adapter=adapter)
        start_from(made, teacher, "mine")
        faces = [torch.rand(2, 3, 104, 104) * 2 - 1 for _ in range(3)]
        fit_adapter(made, teacher, "mine", iter(faces))
        with torch.no_grad():
            whole = torch.cat([made.encode(x, torch.zeros(2, 1, 104, 104)) for x in faces])
            rows = range(adapter)
            known = torch.cat([whole[..., 1 + y - adapter // 2 :, 1 + x - adapter // 2 :][..., :24, :24]
                               for y in rows for x in rows], 1)  # fmt: skip
            pixels = (torch.cat(faces) * 127.5 + 127.5 - torch.tensor(MEAN).view(3, 1, 1)) / 256
            wanted = teacher.module.blocks[0](teacher.module.stemmed(pixels))
            found = made.reformer.conv(whole[..., 1:-1, 1:-1] if adapter == 1 else whole)
        assert known.shape[2:] == wanted.shape[2:] == (24, 24)
        table = torch.cat([known, torch.ones(6, 1, 24, 24)], 1).permute(0, 2, 3, 1).flatten(0, 2).double()
        best = table @ torch.linalg.lstsq(table, wanted.permute(0, 2, 3, 1).flatten(0, 2).double()).solution
        assert torch.allclose(found.permute(0, 2, 3, 1).flatten(0, 2).double(), best, atol=2e-3 * best.abs().max())

    def test_cells_of_the_descriptor_and_of_the_teacher_show_the_same_pixels(self):
        """A single bright pixel moves both by one cell where it moves by four pixels, and to the same place."""
        stem = DlibResNet()
        for weight in stem.stem.parameters():
            torch.nn.init.constant_(weight, 0.01)
        for at in (40, 60):
            face = torch.zeros(1, 3, 96, 96)
            face[..., at : at + 4, at : at + 4] = 1  # the pixels of one cell
            rows = torch.arange(22.0)
            with torch.no_grad():
                seen = stem.stemmed(face)[0, 0] - stem.stemmed(torch.zeros_like(face))[0, 0]
            centre = float((seen.sum(1) * rows).sum() / seen.sum())
            assert abs(centre + 1 - at / 4) < 0.3  # the teacher's cell 0 is the descriptor's cell 1

    def test_behind_its_teachers_first_halving_it_stays(self):
        torch.manual_seed(0)
        teacher = SimpleNamespace(module=DlibResNet(), spec=SimpleNamespace(name="dlib-resnet"))
        made = network(reformer="teacher", start=10)
        before = made.reformer.conv.weight.clone()
        fit_adapter(made, teacher, "mine", iter([]))
        assert torch.equal(made.reformer.conv.weight, before)

    def test_a_teacher_of_other_templates(self):
        with pytest.raises(MaskbenchError, match="recipe mine: the teacher's templates have 7 numbers"):
            ReformerTraining(network(), spec_for(), ReformerStage(), "mine", SUBJECTS, np.ones((6, 2, 7), np.float32))

    def test_the_zoo_knows_the_network_of_a_recipe(self):
        facts = NETWORKS["g2d"].configured(config_values(CONFIG))
        assert facts.parameters == sum(weight.numel() for weight in network().parameters())
        assert (facts.embedding_size, facts.input_size, facts.needs_mask) == (5, (SIDE, SIDE), True)


class TestClassifier:
    def method(self):
        torch.manual_seed(3)
        return ClassifierTraining(FeatureClassifier(5, 4), network(), np.array([2, 0, 3], np.int64))

    def test_cross_entropy_of_the_frozen_networks_templates(self):
        method, given = self.method(), a_batch(index=[2, 0, 1])
        found = method.losses("classifier", given, rng())
        with torch.no_grad():
            vectors = network().eval()(planes(given.faces), some_holes())
            logits = method.modules["classifier"](vectors).double()
        expected = -logits.softmax(1)[torch.arange(3), torch.tensor([3, 2, 0])].log().mean()
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)

    def test_the_classifier_moves_and_nothing_else(self):
        method = self.method()
        before = {name: value.clone() for name, value in method._network.state_dict().items()}
        assert moved_by(method, "classifier", a_batch()) == {"classifier/fc.weight", "classifier/fc.bias"}
        assert not method._network.training and not any(p.requires_grad for p in method._network.parameters())
        after = method._network.state_dict()  # statistics too
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_a_step_of_each_stage_at_the_papers_size():
    """256 x 256 pixels, 48 x 48 tokens, all widths; of the transformer's 30 layers, which are all alike, two."""
    from maskbench.train.g2d_recipe import STAGES
    from maskbench.train.loop import _optimizer
    from maskbench.train.recipe import load_recipe

    recipe = load_recipe("g2d", ["network.layers=2"])
    torch.manual_seed(0)
    made = build_g2d(recipe.network)
    side, draw = recipe.network.size, np.random.default_rng(0)
    holes = torch.zeros(2, side, side, dtype=torch.uint8)
    holes[:, 140:230, 60:200] = 1
    faces = torch.from_numpy(draw.integers(0, 256, (2, side, side, 3), np.uint8))
    given = Batch(torch.arange(2), faces, torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool), None, [],
                  None, holes)  # fmt: skip
    templates = draw.normal(0, 1, (2, 2, 128)).astype(np.float32)
    spec = replace(SPEC, embedding_size=128)
    # Not at once: each changes what learns.
    methods = (
        lambda: PriorTraining(made.encoder, recipe.prior), lambda: UpsamplerTraining(made.encoder, recipe.upsampler),
        lambda: ReformerTraining(made, spec, recipe.reformer, "g2d", ["a", "b"], templates),
        lambda: ClassifierTraining(FeatureClassifier(128, 2), made, np.arange(2)),
    )  # fmt: skip
    for stage, make in zip(STAGES, methods, strict=True):
        method, settings = make(), getattr(recipe, stage).optimiser
        for turn in method.turns:
            optimiser = _optimizer(method, turn, settings, fused=False)
            method.losses(turn, given, rng())["loss"].backward()
            learns = [w for group in optimiser.param_groups for w in group["params"] if w.grad is not None]
            assert learns and all(bool(torch.isfinite(w.grad).all()) for w in learns)
            before = [w.detach().clone() for w in learns]
            optimiser.step()
            assert any(not torch.equal(w, old) for w, old in zip(learns, before, strict=True))
            optimiser.zero_grad()
