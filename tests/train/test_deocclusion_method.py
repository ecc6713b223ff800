"""The student's side of de-occlusion distillation: what it reads, the terms of equation 16, and what is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_tensors import rng
from torch import nn

from maskbench.align import template_at
from maskbench.errors import MaskbenchError
from maskbench.models.inpainter import Inpainter, compose
from maskbench.recognizers.dlib_resnet import SPEC
from maskbench.recognizers.preprocess import preprocess
from maskbench.train import relations
from maskbench.train.data import Batch
from maskbench.train.deocclusion import Deocclusion, known_centroids
from maskbench.train.deocclusion_recipe import RelationLosses, StudentStage
from maskbench.train.losses import Margin, MarginHead, sample_classes
from maskbench.train.occluded import PutIn, planes
from maskbench.train.recipe import Student

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE, DIMS = 32, 5
TEMPLATE = template_at("arcface112", (16, 16))
SPEC16 = replace(SPEC, input_size=(16, 16), template="arcface112", embedding_size=DIMS)
COSINE = replace(SPEC16, comparator="cosine")
SUBJECTS = ["a", "b", None, "a", None, "b"]
CLASSES = [0, 1, 2, 0, 3, 1]


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 2, 3, stride=2)
        self.norm = nn.BatchNorm2d(2)
        self.last = nn.Linear(2 * 7 * 7, DIMS)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).flatten(1))


@pytest.fixture
def templates() -> np.ndarray:
    return np.random.default_rng(5).normal(1, 0.3, (6, 2, DIMS)).astype(np.float32)


def method(templates, spec=SPEC16, student=None, completion=None, subjects=SUBJECTS, stage=None, **losses):
    torch.manual_seed(0)
    stage = replace(stage or StudentStage(student=Student("tiny", "random")), losses=RelationLosses(**losses))
    completion = completion or Inpainter(False, 0.125)
    return Deocclusion(student or Tiny(), spec, completion, PutIn(SIDE, TEMPLATE), stage, "mine", subjects, templates)


def batch(index, flipped=None, holes=None, seed=0) -> Batch:
    draw, count = np.random.default_rng(seed), len(index)
    faces, inner = (torch.from_numpy(draw.integers(0, 256, (count, s, s, 3), np.uint8)) for s in (16, SIDE))
    flips = torch.tensor(flipped if flipped is not None else [False] * count)
    if holes is None:
        holes = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
        holes[::2, 12:25, 8:24] = 1
    return Batch(torch.tensor(index), faces, holes.flatten(1).any(1), flips, None, [], inner, holes)


def scaled(templates: np.ndarray, of: np.ndarray, spec) -> torch.Tensor:
    """What the losses compare, in numpy; ``templates``: the teacher's of all faces."""
    if spec.comparator == "cosine":
        return torch.from_numpy(of / np.linalg.norm(of, axis=-1, keepdims=True))
    centre = templates.reshape(-1, DIMS).mean(axis=0)
    spread = templates.reshape(-1, DIMS).std(axis=0)  # averaged over dimensions as variances
    return torch.from_numpy((of - centre) / np.sqrt(np.square(spread).mean()))


class TestScaling:
    def test_of_euclidean_templates(self, templates):
        found = method(templates).scaled(torch.from_numpy(templates))
        torch.testing.assert_close(found, scaled(templates, templates, SPEC16))
        assert found.mean((0, 1)).abs().max() < 1e-5 and found.square().mean().item() == pytest.approx(1, abs=1e-5)

    def test_of_cosine_templates(self, templates):
        found = method(templates, COSINE).scaled(torch.from_numpy(7 * templates))
        torch.testing.assert_close(found, scaled(templates, templates, COSINE))

    def test_templates_that_are_not_there_do_not_count(self, templates):
        holey = templates.copy()
        holey[4] = np.nan
        found, expected = method(holey), np.delete(templates, 4, axis=0)
        given = torch.from_numpy(templates[:2, 0])
        torch.testing.assert_close(found.scaled(given), scaled(expected, templates[:2, 0], SPEC16))

    @pytest.mark.parametrize("spec", [SPEC16, COSINE])
    def test_of_the_student_as_of_the_teacher(self, templates, spec):
        """A student that gives its teacher's templates costs nothing, but for the entropy of soft targets."""

        class Teacher(nn.Module):
            weight = nn.Parameter(torch.ones(1))

            def forward(self, x):
                return torch.from_numpy(templates[[0, 1, 3], 0]) * (1.0 if spec is SPEC16 else 3.0)

        made = method(templates, spec, Teacher(), instance="hard", soft_targets=0.0)
        found = made.losses("student", batch([0, 1, 3]), rng())
        assert all(value.item() == pytest.approx(0, abs=1e-5) for value in found.values())


class TestTerms:
    @pytest.fixture(params=[SPEC16, COSINE], ids=["euclidean", "cosine"])
    def spec(self, request):
        return request.param

    def pieces(self, made, templates, spec, rows, sides):
        """The student's templates, the teacher's, and the centroids of the own identities, all scaled, without it."""
        given = batch(rows, [bool(side) for side in sides])
        ours = made.modules["student"](made._normalise(made.completed(given))).detach()
        ours = scaled(templates, ours.numpy(), spec)
        every = scaled(templates, templates, spec).numpy()
        centroids = np.stack([
            [every[[i for i in range(6) if CLASSES[i] == c], side].mean(axis=0) for c in range(4)] for side in (0, 1)
        ])  # fmt: skip
        theirs = torch.from_numpy(np.stack([every[row, side] for row, side in zip(rows, sides, strict=True)]))
        middle = np.stack([centroids[side, CLASSES[row]] for row, side in zip(rows, sides, strict=True)])
        return given, ours, theirs, torch.from_numpy(middle), torch.from_numpy(centroids)

    @pytest.mark.parametrize("kind", ["hard", "centroid", "mixed", "direction", "none"])
    def test_each_against_the_formulae(self, templates, spec, kind):
        made = method(templates, spec, instance=kind, mix=0.3, delta=0.7, normalisation="teacher", scale=9.0)
        given, ours, theirs, middle, centroids = self.pieces(made, templates, spec, [3, 1, 4, 0], [0, 1, 1, 0])
        found = made.losses("student", given, rng())
        expected = {
            "pair": relations.pair_loss(ours, theirs, 0.7, normalisation="teacher"),
            "triplet": relations.triplet_loss(ours, theirs, 0.7),
            "soft_targets": relations.soft_cross_entropy(
                *(relations.centroid_logits(side, centroids[0], 9.0) for side in (ours, theirs))
            ),
        }
        if kind == "hard":
            expected["instance"] = (ours - theirs).abs().mean()
        elif kind == "centroid":
            expected["instance"] = (ours - middle).abs().mean()
        elif kind == "mixed":
            expected["instance"] = (ours - 0.7 * theirs - 0.3 * middle).abs().mean()
        elif kind == "direction":  # face 4 is alone in its class, and so has no direction from its centre
            one, other = (nn.functional.normalize(side - middle) for side in (ours, theirs))
            own = torch.tensor([True, True, False, True])[:, None]
            expected["instance"] = ((one - other).abs() * own).mean()
        assert set(found) == {"loss", *expected}
        for name, value in expected.items():
            torch.testing.assert_close(found[name].detach(), value.float(), rtol=1e-3, atol=1e-4)

    def test_equation_16(self, templates, spec):
        weights = {"instance_weight": 3.0, "pair_weight": 5.0, "triplet_weight": 7.0, "soft_targets": 11.0}
        made = method(templates, spec, instance="hard", margin_weight=13.0, **weights)
        found = made.losses("student", batch([0, 1, 2, 5]), rng())
        named = {"instance": 3.0, "pair": 5.0, "triplet": 7.0, "soft_targets": 11.0, "margin": 13.0}
        assert set(found) == {"loss", *named}
        torch.testing.assert_close(found["loss"], sum(weight * found[name] for name, weight in named.items()))

    def test_the_papers_weights(self):
        how = RelationLosses()
        assert (how.pair_weight, how.triplet_weight, how.soft_targets, how.margin_weight) == (1.0, 2.0, 1.0, 0.0)

    def test_weights_of_0_leave_a_term_out(self, templates):
        made = method(templates, instance="none", pair_weight=0.0, triplet_weight=0.0, soft_targets=0.0)
        found = made.losses("student", batch([0, 1]), rng())
        assert set(found) == {"loss"} and found["loss"].item() == 0
        found["loss"].backward()

    def test_nobody_learns_from_templates_that_are_not_there(self, templates):
        templates = templates.copy()
        templates[1], templates[4, 1] = np.nan, np.nan
        made, whole = method(templates), method(templates)
        found = made.losses("student", batch([0, 1, 3], holes=torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)), rng())
        assert all(torch.isfinite(value) for value in found.values())
        # What the student makes of the others does depend on the batch, by its batch normalisation: compare past it.
        ours = torch.randn(3, DIMS)
        theirs, labels = made._targets[[0, 3], 0], torch.tensor([0, 0])
        one = made.distilled(ours[[0, 2]], theirs, labels, torch.zeros(2, dtype=torch.long), rng())
        other = whole.distilled(ours[[0, 2]], theirs, labels, torch.zeros(2, dtype=torch.long), rng())
        torch.testing.assert_close(one, other)
        nothing = made.losses("student", batch([1, 4], [True, True]), rng())
        assert all(value.item() == 0 for value in nothing.values())
        nothing["loss"].backward()
        assert all(torch.isfinite(weight.grad).all() for weight in made.modules["student"].parameters())

    def test_one_face_alone_and_all_terms(self, templates):
        found = method(templates, margin_weight=1.0).losses("student", batch([2]), rng())
        found["loss"].backward()
        assert all(torch.isfinite(value) for value in found.values()) and found["pair"].item() == 0


class TestCentroids:
    def test_they_are_means_of_what_is_known(self, templates):
        templates = torch.from_numpy(templates[:, 0]).clone()
        templates[3], templates[4] = torch.nan, torch.nan
        templates[5, 2] = torch.inf
        found = known_centroids(templates, torch.tensor(CLASSES), 4)
        expected = torch.stack([templates[0], templates[1], templates[2], torch.zeros(DIMS)])
        torch.testing.assert_close(found, expected)

    def test_with_all_known_they_are_the_plain_ones(self, templates):
        for side in (0, 1):
            given = torch.from_numpy(templates[:, side])
            expected = relations.class_centroids(given, torch.tensor(CLASSES), 4)
            assert torch.equal(known_centroids(given, torch.tensor(CLASSES), 4), expected)

    def test_a_face_without_template_does_not_draw_its_persons_centre_away(self, templates):
        holey = templates.copy()
        holey[3] = np.nan
        for spec in (SPEC16, COSINE):
            made = method(holey, spec)
            expected = made.scaled(torch.from_numpy(templates[0]))
            torch.testing.assert_close(made._centroids[:, 0], expected)

    def test_a_sample_of_the_classes(self, templates):
        """The batch's own and random others; the same for teacher and student."""
        templates = np.random.default_rng(1).normal(0, 1, (40, 2, DIMS)).astype(np.float32)
        made = method(templates, subjects=[None] * 40, sampled=9)
        ours, labels = torch.randn(3, DIMS), torch.tensor([4, 31, 17])
        theirs = made._targets[labels, 0]
        found = made.distilled(ours, theirs, labels, torch.zeros(3, dtype=torch.long), rng(3))["soft_targets"]
        chosen = sample_classes(labels, 40, 9, rng(3))[0]
        assert len(chosen) == 9 and set(labels.tolist()) <= set(chosen.tolist())
        centres = made._centroids[0][chosen]
        logits = (relations.centroid_logits(side, centres, 16.0) for side in (ours, theirs))
        torch.testing.assert_close(found, relations.soft_cross_entropy(*logits))
        other = made.distilled(ours, theirs, labels, torch.zeros(3, dtype=torch.long), rng(4))["soft_targets"]
        assert found != other

    @pytest.mark.parametrize("sampled", [0, 4, 100])
    def test_no_sample_where_all_fit(self, templates, sampled):
        made, plain = (method(templates, sampled=count) for count in (sampled, 0))
        rows = torch.tensor([0, 1])
        ours, sides = torch.randn(2, DIMS), torch.zeros(2, dtype=torch.long)
        one, other = (m.distilled(ours, m._targets[rows, 0], rows, sides, rng()) for m in (made, plain))
        torch.testing.assert_close(one, other)


class TestMargin:
    def test_the_head_is_that_of_elasticface_from_the_teachers_centres(self, templates):
        made = method(templates, margin_weight=1.0, margin_scale=20.0, margin_mean=0.4)
        head = MarginHead(DIMS, 4, Margin(True, 0.4, 0.0175, False, 20.0), None, made._centroids[0])
        ours, labels = torch.randn(4, DIMS), torch.tensor([0, 1, 2, 0])
        rows, sides = torch.tensor([0, 1, 2, 3]), torch.zeros(4, dtype=torch.long)
        found = made.distilled(ours, made._targets[rows, 0], labels, sides, rng(1))["margin"]
        generator = rng(1)
        torch.testing.assert_close(found, head(ours, labels, generator))
        student, classes = made.parameters_of("student")
        assert student["clipped"] and student["rate"] == 1.0 and not classes["clipped"]
        assert [weight.shape for weight in classes["params"]] == [(4, DIMS)]

    def test_a_class_without_template_has_a_gradient_of_ordinary_size(self, templates):
        templates = templates.copy()
        templates[4] = np.nan
        made = method(templates, margin_weight=1.0)
        made.losses("student", batch([0, 1, 2]), rng())["margin"].backward()
        grad = made.modules["head"].weight.grad
        assert torch.isfinite(grad).all() and grad.abs().max() < 1e4

    def test_without_it_there_is_no_head(self, templates):
        assert set(method(templates).modules) == {"student"}


class Fixed(nn.Module):
    """Completes with one colour, and counts what it was shown."""

    def __init__(self, value=0.5):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.shown = []

    def forward(self, picture, holes):
        self.shown.append((picture.detach().clone(), holes.clone()))
        return torch.zeros_like(picture), self.value.expand_as(picture)


class TestCompleted:
    def test_unmasked_faces_pass_unchanged(self, templates):
        completion = Fixed()
        made = method(templates, completion=completion)
        none = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
        given = batch([0, 1, 2], [False, True, False], none)
        found = made.completed(given)
        plain = given.faces.permute(0, 3, 1, 2).float()
        plain[1] = plain[1].flip(2)
        assert torch.equal(found, plain) and not completion.shown

    def test_only_faces_with_holes_are_completed_and_only_there(self, templates):
        completion = Fixed(0.5)
        made = method(templates, completion=completion)
        given = batch([0, 1, 2])
        found = made.completed(given)
        ((picture, holes),) = completion.shown
        assert torch.equal(picture, planes(given.inner[::2])) and torch.equal(holes[:, 0], given.holes[::2].float())
        plain = given.faces.permute(0, 3, 1, 2).float()
        assert torch.equal(found[1], plain[1])
        output = compose(torch.full_like(picture, 0.5), picture, holes)
        expected = PutIn(SIDE, TEMPLATE)(plain[::2], (output + 1) * 127.5, holes)
        torch.testing.assert_close(found[::2], expected)
        changed = (found[0] != plain[0]).any(0)
        assert 0.1 < changed.float().mean() < 0.5
        inside = (found[0] - 1.5 * 127.5).abs().amax(0) < 1e-2
        assert inside.sum() > 20

    def test_the_mirror_image_comes_after_the_completion(self, templates):
        completion = Inpainter(False, 0.125)
        made = method(templates, completion=completion)
        upright, turned = (made.completed(batch([0, 1, 2, 3], [flip] * 4)) for flip in (False, True))
        assert torch.equal(turned, upright.flip(3))
        mixed = made.completed(batch([0, 1, 2, 3], [True, False, False, True]))
        assert torch.equal(mixed[1:3], upright[1:3]) and torch.equal(mixed[[0, 3]], turned[[0, 3]])

    @pytest.mark.parametrize("order", ["RGB", "BGR"])
    def test_the_student_reads_it_as_an_evaluation_does(self, templates, order):
        spec = replace(SPEC16, colour_order=order, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
        made, seen = method(templates, spec), []
        made.modules["student"].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        given = batch([0, 1], holes=torch.zeros(2, SIDE, SIDE, dtype=torch.uint8))
        made.losses("student", given, rng())
        np.testing.assert_allclose(seen[0].numpy(), preprocess(given.faces.numpy(), spec), atol=1e-5)

    def test_the_target_is_of_the_side_that_is_shown(self, templates):
        """A student that gives the upright template is right about upright faces only."""

        class Upright(nn.Module):
            weight = nn.Parameter(torch.ones(1))

            def forward(self, x):
                return torch.from_numpy(templates[[0, 1], 0])

        made = method(templates, student=Upright(), instance="hard")
        upright, turned = (made.losses("student", batch([0, 1], [flip] * 2), rng()) for flip in (False, True))
        assert upright["instance"].item() == pytest.approx(0, abs=1e-5) and turned["instance"] > 0.1


class TestWhatIsTrained:
    def test_the_completion_stays_as_it_is(self, templates):
        completion = Inpainter(False, 0.125).train()
        made = method(templates, completion=completion)
        assert not completion.training and set(made.modules) == {"student"} and len(made.parameters_of("student")) == 1
        made.losses("student", batch([0, 1, 2, 3]), rng())["loss"].backward()
        assert all(weight.grad is None and not weight.requires_grad for weight in completion.parameters())
        assert all(weight.grad is not None for weight in made.modules["student"].parameters())

    def test_end_to_end_it_learns_along(self, templates):
        completion = Inpainter(False, 0.125)
        stage = StudentStage(student=Student("tiny", "random"), end_to_end=True, completion_rate=0.3)
        made = method(templates, completion=completion, stage=stage)
        assert made.modules["completion"] is completion is made.completer
        student, other = made.parameters_of("student")
        assert other["rate"] == 0.3 and other["clipped"]
        assert {id(weight) for weight in other["params"]} == {id(weight) for weight in completion.parameters()}
        made.losses("student", batch([0, 1, 2, 3]), rng())["loss"].backward()
        for name, weight in completion.named_parameters():
            assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        assert sum(float(weight.grad.abs().sum()) for weight in completion.parameters()) > 0

    def test_as_wrapped_by_the_loop(self, templates):
        stage = StudentStage(student=Student("tiny", "random"), end_to_end=True)
        made = method(templates, stage=stage)
        made.modules["completion"] = wrapped = Fixed()
        made.completed(batch([0]))
        assert len(wrapped.shown) == 1

    def test_frozen_parameters_and_statistics(self, templates):
        student = Tiny()
        stage = StudentStage(student=Student("tiny", "random", ("first.", "norm.")))
        made = method(templates, student=student, stage=stage)
        trained = [name for name, weight in student.named_parameters() if weight.requires_grad]
        assert trained == ["last.weight", "last.bias"]
        student.train()
        before = student.norm.running_mean.clone()
        made.losses("student", batch([0, 1, 2]), rng())["loss"].backward()
        assert torch.equal(student.norm.running_mean, before) and student.first.weight.grad is None
        with pytest.raises(MaskbenchError, match="recipe mine: student.frozen: no parameter begins with 'nothing'"):
            method(templates, stage=StudentStage(student=Student("tiny", "random", ("nothing",))))

    def test_a_teacher_of_another_size_is_refused(self):
        with pytest.raises(MaskbenchError, match="mine: the teacher's templates have 7 numbers, the student's 5"):
            method(np.ones((6, 2, 7), np.float32))

    def test_it_learns(self, templates):
        made = method(templates, instance="hard")
        optimizer = torch.optim.AdamW(made.modules["student"].parameters(), 0.01)
        given, history = batch([0, 1, 2, 3]), []
        for step in range(80):
            found = made.losses("student", given, rng(step))
            optimizer.zero_grad()
            found["loss"].backward()
            optimizer.step()
            history.append({name: value.item() for name, value in found.items()})
        for name in ("instance", "pair", "triplet"):
            assert history[-1][name] < 0.2 * history[0][name], name
