"""A completion's training: what critics see, which network each turn moves, and the identity behind the face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_tensors import SIDE, Linear, rng, some_holes
from torch import nn
from torch.nn import functional as F

from maskbench.align import template_at
from maskbench.completions.learned import NETWORKS
from maskbench.models.inpainter import compose, hole_box
from maskbench.recognizers.dlib_resnet import SPEC
from maskbench.train.completion import (
    CompletionTraining,
    Critics,
    Reader,
    reconstruction,
)
from maskbench.train.data import Batch
from maskbench.train.deocclusion_recipe import COMPLETIONS, CompletionStage
from maskbench.train.losses import template_kd
from maskbench.train.network_input import NetworkInput
from maskbench.train.occluded import PutIn, planes

pytestmark = pytest.mark.usefixtures("one_thread")
STAGE = CompletionStage(size=SIDE, width=0.125, critic_width=0.125)


def a_batch(holes=None, seed=0, flipped=False) -> Batch:
    holes = some_holes() if holes is None else holes
    count, side = len(holes), holes.shape[-1]
    faces = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8))
    flips, masked = torch.full((count,), flipped), holes.flatten(1).any(1)
    return Batch(torch.arange(count), faces, masked, flips, None, [], None, holes[:, 0].to(torch.uint8))


def training(network=None, reader=None, centroids=None, stage=STAGE, **losses) -> CompletionTraining:
    torch.manual_seed(1)
    stage = replace(stage, losses=replace(stage.losses, **losses))
    network = NETWORKS[stage.network](stage.size, stage.width) if network is None else network
    return CompletionTraining(network, stage, reader, centroids)


class Picture(nn.Module):
    """A completion that knows one picture only, which it learns."""

    def __init__(self, value=0.2, size=SIDE):
        super().__init__()
        self.value = nn.Parameter(torch.full((1, 3, size, size), value))
        self.calls = 0

    def forward(self, picture, holes):
        self.calls += 1
        whole = self.value.expand(len(picture), -1, -1, -1)
        return whole * 0.5, whole


class Watched(nn.Module):
    """Linear critics that remember what they were shown."""

    def __init__(self):
        super().__init__()
        self.inner, self.shown = Linear(SIDE), []

    def forward(self, pictures, crops):
        self.shown.append((pictures, crops))
        return self.inner(pictures, crops)


class TestCritics:
    def test_whole_pictures_and_the_hole_alone(self):
        method = training(Picture())
        method.modules["critics"] = watched = Watched()
        given = a_batch()
        method.losses("critics", given, rng())
        (whole, local), (made, hole_made) = watched.shown[:2]
        target, holes = planes(given.faces), given.holes[:, None].float()
        assert torch.equal(whole, target)
        assert torch.equal(made, torch.where(holes > 0, torch.full_like(target, 0.2), target))
        size = SIDE // 2
        for row, (top, left, side) in enumerate(hole_box(holes, size).tolist()):
            if side > size:  # made smaller: the crop's border has no hole
                continue
            window = (row, slice(None), slice(top, top + size), slice(left, left + size))
            assert torch.equal(local[row], (target * holes)[window])
            assert torch.equal(hole_made[row], (made * holes)[window])
        assert not local[2].any() and not hole_made[2].any()  # where there is no hole

    def test_what_is_known_does_not_reach_the_local_one(self):
        method, given = training(Picture()), a_batch()
        holes = given.holes[:, None].float()
        other = given.faces.clone()
        other[given.holes == 0] = 255 - other[given.holes == 0]
        shown = []
        for faces in (given.faces, other):
            target = planes(faces)
            shown.append(method._pairs(target, compose(torch.zeros_like(target), target, holes), holes))
        for first, second in zip(*(pairs[:2] for pairs in shown), strict=True):
            # Bilinear sampling of a box larger than the crop mixes the rim in; all others are exact.
            rows = [row for row, box in enumerate(hole_box(holes, SIDE // 2)) if int(box[2]) == SIDE // 2]
            assert rows and torch.equal(first[1][rows], second[1][rows]) and not torch.equal(first[0], second[0])

    @pytest.mark.parametrize("network", ["ga", "ga-noattention", "gfc"])
    def test_shapes_and_full_precision(self, network):
        size = 64 if network == "gfc" else SIDE
        critics = Critics(replace(STAGE, network=network, size=size))
        pictures, crops = torch.randn(2, 3, size, size), torch.randn(2, 3, size // 2, size // 2)
        with torch.autocast("cpu", torch.bfloat16):
            answers = critics(pictures, crops)
        assert [answer.shape for answer in answers] == [(2,), (2,)]
        assert all(answer.dtype == torch.float32 for answer in answers)
        torch.testing.assert_close(answers, critics(pictures, crops), rtol=0, atol=0)


def moved(method) -> dict[str, bool]:
    """Of each network: whether any of its parameters has a gradient that is not 0."""
    return {
        name: any(weight.grad is not None and bool(weight.grad.any()) for weight in module.parameters())
        for name, module in method.modules.items()
    }


class TestTurns:
    @pytest.mark.parametrize("adversary", ["wgan-gp", "log"])
    @pytest.mark.parametrize("steps", [1, 5])
    def test_each_turn_reaches_its_own_network(self, adversary, steps):
        method = training(adversary=adversary, critic_steps=steps)
        assert method.turns == ("critics", "completion") and method.every == {"completion": steps}
        given = a_batch()
        method.losses("critics", given, rng())["loss"].backward()
        assert moved(method) == {"completion": False, "critics": True}
        for module in method.modules.values():
            module.zero_grad()
        found = method.losses("completion", given, rng())
        found["loss"].backward()
        assert moved(method)["completion"]
        for name, weight in method.modules["completion"].named_parameters():
            assert weight.grad is not None and torch.isfinite(weight.grad).all(), name

    @pytest.mark.parametrize("steps", [1, 2])
    def test_every_part_of_the_completions_loss_reaches_it(self, steps):
        for alone in ({"hole": 1.0}, {"outside": 1.0}, {"adversarial": 1.0}):
            weights = {"hole": 0.0, "outside": 0.0, "adversarial": 1e-30, **alone}
            method = training(**weights, critic_steps=steps)
            given = a_batch()
            if steps == 1:
                method.losses("critics", given, rng())
            method.losses("completion", given, rng())["loss"].backward()
            largest = max(float(weight.grad.abs().max()) for weight in method.modules["completion"].parameters())
            assert largest > 1e-6, alone

    def test_the_loss_is_the_weighted_sum_of_its_parts(self):
        method = training(hole=3.0, outside=5.0, adversarial=0.25)
        found = method.losses("completion", a_batch(), rng())
        assert set(found) == {"loss", "hole", "outside", "adversarial"}
        expected = 3 * found["hole"] + 5 * found["outside"] + 0.25 * found["adversarial"]
        torch.testing.assert_close(found["loss"], expected)
        target, holes = planes(a_batch().faces), some_holes()
        outputs = method.modules["completion"](target, holes)
        again = reconstruction(outputs, target, holes, method.losses_of)
        torch.testing.assert_close(found["hole"], again["hole"])

    @pytest.mark.parametrize("none", [{"adversary": "none"}, {"adversarial": 0.0}])
    def test_without_an_adversary(self, none):
        method = training(**none)
        assert method.turns == ("completion",) and not method.every and set(method.modules) == {"completion"}
        found = method.losses("completion", a_batch(), rng())
        assert set(found) == {"loss", "hole", "outside"}
        found["loss"].backward()
        assert moved(method) == {"completion": True}

    def test_parameters(self):
        method = training()
        for turn in method.turns:
            (group,) = method.parameters_of(turn)
            assert group["clipped"] and group["rate"] == 1.0
            assert [id(w) for w in group["params"]] == [id(w) for w in method.modules[turn].parameters()]

    def test_wasserstein_terms(self):
        method = training(Picture(), penalty=0.0)
        method.modules["critics"] = watched = Watched()
        given = a_batch()
        found = method.losses("critics", given, rng())
        real, fake = (watched.inner(*pair) for pair in watched.shown)
        expected = sum(b.mean() - a.mean() for a, b in zip(real, fake, strict=True))
        torch.testing.assert_close(found["loss"], expected)
        torch.testing.assert_close(found["distance"], -expected)
        made = method.losses("completion", given, rng())["adversarial"]
        torch.testing.assert_close(made, -sum(answer.mean() for answer in fake))

    def test_equation_8(self):
        """log D(real) + log(1 - D(fake)), of both critics; the completion's side does not saturate."""
        method = training(Picture(), adversary="log")
        method.modules["critics"] = watched = Watched()
        given = a_batch()
        found = method.losses("critics", given, rng())
        assert set(found) == {"loss"}  # and no penalty
        real, fake = (watched.inner(*pair) for pair in watched.shown)
        of = F.binary_cross_entropy_with_logits
        expected = sum(of(x, torch.ones_like(x)) for x in real) + sum(of(x, torch.zeros_like(x)) for x in fake)
        torch.testing.assert_close(found["loss"], expected)
        made = method.losses("completion", given, rng())["adversarial"]
        torch.testing.assert_close(made, sum(of(x, torch.ones_like(x)) for x in fake))

    def test_the_penalty_is_taken_now_and_then_and_counts_for_all(self):
        given, each = a_batch(), training(Picture(), penalty=2.0)
        lazy = training(Picture(), penalty=2.0, penalty_every=4)
        lazy.modules["critics"].load_state_dict(each.modules["critics"].state_dict())
        plain = training(Picture(), penalty=0.0)
        plain.modules["critics"].load_state_dict(each.modules["critics"].state_dict())
        bare = plain.losses("critics", given, rng())["loss"].item()
        taken = 0
        for seed in range(40):
            always = each.losses("critics", given, rng(seed))
            assert always["loss"].item() == pytest.approx(bare + 2 * always["penalty"].item(), rel=1e-5)
            found = lazy.losses("critics", given, rng(seed))
            if "penalty" in found:
                taken += 1
                assert found["loss"].item() == pytest.approx(bare + 8 * always["penalty"].item(), rel=1e-5)
            else:
                assert found["loss"].item() == pytest.approx(bare, rel=1e-5)
        assert 3 <= taken <= 18  # 10 in the mean, nearly three standard deviations

    def test_one_pass_for_both_turns_where_they_alternate(self):
        for steps, passes in ((1, 1), (3, 2)):
            network = Picture()
            method, given = training(network, critic_steps=steps), a_batch()
            method.losses("critics", given, rng())
            method.losses("completion", given, rng())
            assert network.calls == passes
            method.losses("critics", a_batch(seed=1), rng())  # and never what another batch has left
            assert network.calls == passes + 1

    def test_what_was_kept_for_both_turns_is_what_a_pass_gives(self):
        given, values = a_batch(), []
        for steps in (1, 2):
            method = training(critic_steps=steps)
            method.losses("critics", given, rng())
            found = method.losses("completion", given, rng())
            found["loss"].backward()
            grads = [weight.grad for weight in method.modules["completion"].parameters()]
            values.append((found["loss"].detach(), grads))
        torch.testing.assert_close(values[0], values[1])

    def test_a_batch_without_holes(self):
        for adversary in ("wgan-gp", "log"):
            method, given = training(adversary=adversary), a_batch(torch.zeros(2, 1, SIDE, SIDE))
            for turn in method.turns:
                found = method.losses(turn, given, rng())
                found["loss"].backward()
                assert torch.isfinite(found["loss"]) and found.get("hole", torch.tensor(0.0)).item() == 0
            for module in method.modules.values():
                assert all(w.grad is None or torch.isfinite(w.grad).all() for w in module.parameters())


def bright(value: float) -> torch.Tensor:
    """Centroids of three faces: templates of pictures that are as bright as that."""
    return torch.full((3, 3), value) + torch.linspace(-0.1, 0.1, 3)[:, None]


class Colour(nn.Module):
    """A recognizer whose template is the mean of each channel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.norm = nn.BatchNorm1d(3, affine=False)

    def forward(self, x):
        assert not self.training
        return x.mean((2, 3)) * self.scale


def colour_reader() -> Reader:
    spec = replace(SPEC, mean=(127.5,) * 3, std=(127.5,) * 3, colour_order="RGB")
    return Reader(Colour(), NetworkInput(spec), PutIn(SIDE, template_at("arcface112")))


class TestIdentity:
    def test_the_reader_sees_its_own_crop_of_the_completed_face(self):
        reader = colour_reader()
        pictures = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
        expected = PutIn(SIDE, template_at("arcface112")).cut(pictures).mean((2, 3))
        torch.testing.assert_close(reader(pictures), expected)
        assert not any(weight.requires_grad for weight in reader.module.parameters())

    @pytest.mark.parametrize(("wanted", "sign"), [(1.5, -1), (-1.5, 1)])
    def test_it_draws_faces_to_the_centre_of_their_identity(self, wanted, sign):
        """Towards brighter pictures the gradient falls, towards darker ones it rises; outside of holes it is 0."""
        network, given = Picture(), a_batch()
        weights = {"hole": 0.0, "outside": 0.0, "adversary": "none", "identity": 3.0}
        method = training(network, colour_reader(), bright(wanted), **weights)
        found = method.losses("completion", given, rng())
        torch.testing.assert_close(found["loss"], 3.0 * found["identity"])
        found["loss"].backward()
        covered = (given.holes > 0).any(0).expand(3, -1, -1)
        middle = torch.zeros_like(covered)
        middle[:, 6:26, 6:26] = covered[:, 6:26, 6:26]  # what the reader's crop shows
        assert (sign * network.value.grad[0][middle] > 0).all() and not network.value.grad[0][~covered].any()
        for _ in range(60):
            with torch.no_grad():
                network.value -= 20 * network.value.grad
            network.value.grad = None
            method.losses("completion", given, rng())["loss"].backward()
        assert method.losses("completion", given, rng())["identity"] < found["identity"]

    def test_the_distance_is_in_the_centroids_variance(self):
        centroids = torch.randn(3, 3, generator=rng(9))
        method = training(Picture(), colour_reader(), centroids, identity=1.0)
        variance = float(np.asarray(centroids).var(axis=0).mean())
        given = a_batch()
        target, holes = planes(given.faces), given.holes[:, None].float()
        ours = colour_reader()(compose(torch.full_like(target, 0.2), target, holes))
        found = method.losses("completion", given, rng())["identity"]
        torch.testing.assert_close(found, (ours - centroids).square().mean() / variance)
        torch.testing.assert_close(found, template_kd(ours, centroids, "raw-mse", variance))

    def test_mirrored_faces_are_read_the_way_round_they_were(self):
        """By a recognizer whose crop is not in the middle, and which tells left from right."""
        off = template_at("arcface112")
        off = replace(off, points=off.points + [9.0, 0.0])
        spec = replace(SPEC, mean=(127.5,) * 3, std=(127.5,) * 3, colour_order="RGB")

        class Left(Colour):
            def forward(self, x):
                return x[..., : x.shape[-1] // 2].mean((2, 3)) * self.scale

        method = training(Picture(), Reader(Left(), NetworkInput(spec), PutIn(SIDE, off)), bright(0.4), identity=1.0)
        plain = a_batch()
        turned = replace(
            plain, faces=plain.faces.flip(2), holes=plain.holes.flip(2), flipped=torch.ones_like(plain.flipped)
        )
        first, second = (method.losses("completion", given, rng())["identity"] for given in (plain, turned))
        torch.testing.assert_close(first, second)
        wrong = replace(turned, flipped=plain.flipped)
        assert not torch.isclose(method.losses("completion", wrong, rng())["identity"], first)

    def test_faces_without_centroid_do_not_count(self):
        centroids = bright(0.4)
        centroids[0] = torch.nan
        method = training(Picture(), colour_reader(), centroids, identity=1.0, adversary="none")
        found = method.losses("completion", a_batch(), rng())
        assert torch.isfinite(found["identity"]) and torch.isfinite(found["loss"])
        one = a_batch(some_holes()[:1])
        nothing = method.losses("completion", one, rng())
        assert nothing["identity"].item() == 0 and torch.isfinite(nothing["loss"])
        nothing["loss"].backward()
        assert torch.isfinite(method.modules["completion"].value.grad).all()

    def test_without_weight_there_is_no_reader(self):
        assert "identity" not in training(Picture()).losses("completion", a_batch(), rng())


class TestNothingIsSeenInTheHole:
    @pytest.mark.parametrize("network", sorted(COMPLETIONS))
    @pytest.mark.parametrize("mode", ["train", "eval"])
    def test_the_answer_does_not_depend_on_it(self, network, mode):
        size = 64 if network == "gfc" else SIDE
        torch.manual_seed(0)
        module = NETWORKS[network](size, 0.125)
        getattr(module, mode)()
        holes = some_holes(side=size)
        first = a_batch(holes).faces
        second = first.clone()
        second[holes[:, 0] > 0] = torch.randint(0, 256, (int(holes.sum()), 3), dtype=torch.uint8)
        answers = []
        for faces in (first, second):
            torch.manual_seed(3)
            answers.append(module(planes(faces), holes))
        assert not torch.equal(first, second)
        for one, other in zip(*answers, strict=True):
            assert torch.equal(one, other)

    def test_what_random_noise_a_network_draws_is_the_steps_own(self):
        """A run that goes on after an interruption draws what it would have drawn."""
        stage = replace(STAGE, network="gfc", size=64)
        method = training(stage=stage, adversary="none")
        given = a_batch(some_holes(side=64))
        values = []
        for before, step in ((1, 5), (2, 5), (2, 6)):
            torch.manual_seed(before)
            values.append(method.losses("completion", given, rng(step))["hole"].item())
        assert values[0] == values[1] != values[2]


def test_it_learns():
    """Some steps on one batch halve the error in the hole."""
    method = training(discount=1.0, critic_steps=1)
    optimizers = {turn: torch.optim.Adam(method.parameters_of(turn), 2e-3) for turn in method.turns}
    smooth = F.interpolate(torch.randn(3, 3, 4, 4, generator=rng(1)), SIDE, mode="bicubic").clamp(-1, 1)
    given = replace(a_batch(), faces=((smooth + 1) * 127.5).permute(0, 2, 3, 1).to(torch.uint8))
    history = []
    for step in range(25):
        for turn, optimizer in optimizers.items():
            found = method.losses(turn, given, rng(step))
            optimizer.zero_grad()
            found["loss"].backward()
            optimizer.step()
        history.append(found["hole"].item())
    assert history[-1] < 0.6 * history[0]
