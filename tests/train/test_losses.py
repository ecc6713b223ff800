"""Losses against loops over single numbers, written from the papers' formulas, and their gradients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from maskbench.errors import MaskbenchError
from maskbench.train.losses import (
    KD_KINDS,
    MARGINS,
    Margin,
    MarginHead,
    draw_margins,
    margin_logits,
    margin_named,
    sample_classes,
    template_kd,
)

Rows = list[list[float]]


def random_rows(rows: int, columns: int, seed: int, size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def exact(tensor: torch.Tensor) -> Rows:
    """The numbers of a float32 tensor as Python's, which are float64."""
    return tensor.detach().double().tolist()


def unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def slope(function: Callable[[Rows], float], at: Rows, step: float = 1e-5) -> np.ndarray:
    """The gradient of a function of a table of numbers, by central differences in float64."""
    found = np.empty((len(at), len(at[0])))
    for i, row in enumerate(at):
        for j, value in enumerate(row):
            sides = []
            for moved in (value + step, value - step):
                row[j] = moved
                sides.append(function(at))
            row[j] = value
            found[i, j] = (sides[0] - sides[1]) / (2 * step)
    return found


def slow_kd(student: Rows, teacher: Rows, kind: str, variance: list[float]) -> float:
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        if kind == "cosine":
            total += 1 - dot(unit(ours), unit(theirs))
            continue
        raw = kind.startswith("raw")
        pair = (ours, theirs) if raw else (unit(ours), unit(theirs))
        summed = 0.0
        for a, b, var in zip(*pair, variance, strict=True):
            summed += (a - b) ** 2 / (var if raw else 1.0)
        total += summed / len(ours) if kind.endswith("mse") else summed
    return total / len(student)


class TestDistillation:
    @pytest.mark.parametrize("kind", KD_KINDS)
    def test_value_and_gradient_against_loops(self, kind):
        student, teacher = random_rows(5, 7, 1, 2.0).requires_grad_(), random_rows(5, 7, 2)
        loss = template_kd(student, teacher, kind, 0.3)
        loss.backward()
        variance = [0.3] * 7
        assert loss.shape == () and loss.dtype == torch.float32
        assert loss.item() == pytest.approx(slow_kd(exact(student), exact(teacher), kind, variance), rel=1e-5)
        expected = slope(lambda rows: slow_kd(rows, exact(teacher), kind, variance), exact(student))
        np.testing.assert_allclose(student.grad.numpy(), expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("kind", ["raw-mse", "raw-sum"])
    def test_a_variance_for_each_dimension(self, kind):
        student, teacher = random_rows(3, 4, 3), random_rows(3, 4, 4)
        variance = [0.1, 1.0, 2.0, 5.0]
        found = template_kd(student, teacher, kind, torch.tensor(variance))
        assert found.item() == pytest.approx(slow_kd(exact(student), exact(teacher), kind, variance), rel=1e-5)

    @pytest.mark.parametrize("dims", [2, 128, 512])
    def test_scale_identities(self, dims):
        """For unit vectors |s - t|^2 = 2 (1 - cos)."""
        student, teacher = random_rows(6, dims, 5, 3.0), random_rows(6, dims, 6, 0.2)
        apart = 1 - np.mean([dot(unit(a), unit(b)) for a, b in zip(exact(student), exact(teacher), strict=True)])
        assert template_kd(student, teacher, "cosine").item() == pytest.approx(apart, rel=1e-5)
        assert template_kd(student, teacher, "unit-sum").item() == pytest.approx(2 * apart, rel=1e-5)
        assert template_kd(student, teacher, "unit-mse").item() == pytest.approx(2 * apart / dims, rel=1e-5)

    @pytest.mark.parametrize(("weight", "of_cosine"), [(100, 0.39), (3000, 11.7)])
    def test_what_the_published_weights_mean_at_512_dimensions(self, weight, of_cosine):
        student, teacher = random_rows(4, 512, 7), random_rows(4, 512, 8)
        ratio = weight * template_kd(student, teacher) / template_kd(student, teacher, "cosine")
        assert ratio.item() == pytest.approx(of_cosine, abs=0.005 * of_cosine + 0.001)
        assert ratio.item() == pytest.approx(weight * 2 / 512, rel=1e-4)

    @pytest.mark.parametrize("kind", KD_KINDS)
    def test_the_teacher_gets_no_gradient(self, kind):
        student, teacher = random_rows(3, 4, 9).requires_grad_(), random_rows(3, 4, 10).requires_grad_()
        template_kd(student, teacher, kind).backward()
        assert teacher.grad is None and student.grad.abs().sum() > 0

    @pytest.mark.parametrize("kind", KD_KINDS)
    def test_nothing_is_left_when_they_agree(self, kind):
        teacher = random_rows(3, 8, 11)
        student = teacher.clone().requires_grad_()
        loss = template_kd(student, teacher, kind)
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert torch.isfinite(student.grad).all() and student.grad.abs().max() < 1e-5

    @pytest.mark.parametrize("kind", KD_KINDS)
    def test_length_matters_to_the_raw_kinds_only(self, kind):
        student, teacher = random_rows(3, 8, 12), random_rows(3, 8, 13)
        same = template_kd(5 * student, teacher, kind).item() == pytest.approx(
            template_kd(student, teacher, kind).item(), rel=1e-5
        )
        assert same == (not kind.startswith("raw"))

    @pytest.mark.parametrize("kind", KD_KINDS)
    def test_half_precision_is_computed_in_float32(self, kind):
        student, teacher = random_rows(4, 16, 14).bfloat16(), random_rows(4, 16, 15).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = template_kd(student, teacher, kind)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(slow_kd(exact(student), exact(teacher), kind, [1.0] * 16), rel=1e-5)

    @pytest.mark.parametrize("kind", KD_KINDS)
    def test_a_batch_of_none(self, kind):
        student = torch.zeros(0, 4, requires_grad=True)
        loss = template_kd(student, torch.zeros(0, 4), kind)
        loss.backward()
        assert loss.item() == 0 and student.grad.shape == (0, 4)

    def test_the_default_is_the_released_codes(self):
        student, teacher = random_rows(3, 8, 12), random_rows(3, 8, 13)
        assert template_kd(student, teacher) == template_kd(student, teacher, "unit-mse")

    def test_errors(self):
        with pytest.raises(MaskbenchError, match='no distillation loss "unit-mean"; did you mean "unit-mse"?'):
            template_kd(torch.zeros(2, 3), torch.zeros(2, 3), "unit-mean")
        for shapes in (((2, 3), (2, 4)), ((2, 3), (1, 3)), ((3,), (3,)), ((1, 2, 3), (1, 2, 3))):
            with pytest.raises(MaskbenchError, match="templates of shapes .* give two"):
                template_kd(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def slow_margin_loss(
    templates: Rows, weights: Rows, labels: list[int], margins: list[float], angular: bool, scale: float,
    centre: list[float],
) -> float:  # fmt: skip
    """The mean over the samples of -log(e^own / (e^own + sum of e^others))."""
    total = 0.0
    for template, label, margin in zip(templates, labels, margins, strict=True):
        direction = unit([value - middle for value, middle in zip(template, centre, strict=True)])
        cosines = [dot(direction, unit(weight)) for weight in weights]
        logits = [scale * cosine for cosine in cosines]
        own = cosines[label]
        logits[label] = scale * (math.cos(math.acos(own) + margin) if angular else own - margin)
        top = max(logits)
        total += top + math.log(math.fsum(math.exp(logit - top) for logit in logits)) - logits[label]
    return total / len(templates)


def slow_margins(cosines: list[float], kind: Margin, seed: int) -> list[float]:
    """The margins that a seeded generator draws, handed out sample by sample."""
    if kind.std == 0:
        return [kind.mean] * len(cosines)
    random = torch.Generator().manual_seed(seed)
    drawn = torch.empty(len(cosines)).normal_(kind.mean, kind.std, generator=random).tolist()
    if not kind.sorted:
        return drawn
    given = [0.0] * len(cosines)
    left = list(drawn)
    for sample in sorted(range(len(cosines)), key=lambda index: -cosines[index]):
        given[sample] = min(left)  # the nearest to its class gets the smallest
        left.remove(given[sample])
    return given


PUBLISHED = {  # angular, mean, std, by distance, scale
    "arcface": (True, 0.5, 0.0, False, 64),
    "cosface": (False, 0.35, 0.0, False, 64),
    "elasticface-arc": (True, 0.5, 0.05, False, 64),
    "elasticface-arc+": (True, 0.5, 0.0175, True, 64),
    "elasticface-cos": (False, 0.35, 0.05, False, 64),
    "elasticface-cos+": (False, 0.35, 0.02, True, 64),
}


def test_published_margins():
    assert {name: (m.angular, m.mean, m.std, m.sorted, m.scale) for name, m in MARGINS.items()} == PUBLISHED
    assert margin_named("arcface") is MARGINS["arcface"]
    with pytest.raises(MaskbenchError, match='no margin loss "arcfase"; did you mean "arcface"?'):
        margin_named("arcfase")


class TestSampledClasses:
    def test_own_classes_are_there_and_others_are_random(self):
        labels = torch.tensor([7, 3, 7, 90])
        seen = torch.zeros(100)
        for seed in range(300):
            chosen, places = sample_classes(labels, 100, 12, torch.Generator().manual_seed(seed))
            assert chosen.tolist() == sorted(set(chosen.tolist())) and len(chosen) == 12
            assert chosen[places].tolist() == labels.tolist()
            seen[chosen] += 1
        assert seen[[3, 7, 90]].tolist() == [300, 300, 300]
        others = np.delete(seen.numpy(), [3, 7, 90])  # each with probability 9/97: 27.8 times, sd 5
        assert others.mean() == pytest.approx(300 * 9 / 97) and 8 < others.min() and others.max() < 55

    def test_more_own_classes_than_asked_for(self):
        chosen, places = sample_classes(torch.tensor([5, 1, 4]), 6, 2, torch.Generator().manual_seed(0))
        assert chosen.tolist() == [1, 4, 5] and places.tolist() == [2, 0, 1]

    def test_head_of_some_classes_is_a_head_of_these_alone(self):
        head = MarginHead(5, 40, MARGINS["arcface"], random_rows(1, 5, 30)[0], random_rows(40, 5, 31), sampled=9)
        templates, labels = random_rows(6, 5, 32, 2.0), torch.tensor([2, 0, 31, 2, 8, 0])
        loss = head(templates, labels, torch.Generator().manual_seed(4))
        loss.backward()
        chosen, places = sample_classes(labels, 40, 9, torch.Generator().manual_seed(4))
        alone = MarginHead(5, 9, MARGINS["arcface"], head.centre, head.weight[chosen])
        expected = alone(templates, places)
        expected.backward()
        assert loss.item() == expected.item()
        assert torch.equal(head.weight.grad[chosen], alone.weight.grad)
        assert head.weight.grad.abs().sum(dim=1).count_nonzero() == 9  # the others have no gradient

    def test_all_classes_when_as_many_are_asked_for(self):
        heads = [MarginHead(5, 40, MARGINS["cosface"], None, random_rows(40, 5, 31), sampled=n) for n in (0, 40, 99)]
        templates, labels = random_rows(6, 5, 32), torch.arange(6)
        assert len({head(templates, labels).item() for head in heads}) == 1


class TestMarginHead:
    LABELS = (2, 0, 1, 2, 2, 0)

    def parts(self, name: str, centred: bool):
        centre = random_rows(1, 5, 30)[0] if centred else None
        head = MarginHead(5, 3, MARGINS[name], centre, random_rows(3, 5, 31))
        return head, random_rows(6, 5, 32, 2.0), torch.tensor(self.LABELS), centre

    @pytest.mark.parametrize("autocast", [False, True])
    @pytest.mark.parametrize("centred", [False, True])
    @pytest.mark.parametrize("name", MARGINS)
    def test_value_and_gradients_against_loops(self, name, centred, autocast):
        head, templates, labels, centre = self.parts(name, centred)
        templates = (templates.bfloat16() if autocast else templates).requires_grad_()
        kind, middle = MARGINS[name], [0.0] * 5 if centre is None else centre.double().tolist()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = head(templates, labels, torch.Generator().manual_seed(9))
        loss.backward()
        rows, weights = exact(templates), exact(head.weight)
        cosines = [
            dot(unit([a - b for a, b in zip(row, middle, strict=True)]), unit(weights[label]))
            for row, label in zip(rows, self.LABELS, strict=True)
        ]
        margins = slow_margins(cosines, kind, 9)

        def slow(rows: Rows, weights: Rows) -> float:
            return slow_margin_loss(rows, weights, list(self.LABELS), margins, kind.angular, kind.scale, middle)

        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(slow(rows, weights), rel=1e-5)
        found = templates.grad.float().numpy()  # of bfloat16 templates the gradient is rounded to bfloat16
        tolerance = {"rtol": 1e-2, "atol": 1e-3} if autocast else {"rtol": 1e-3, "atol": 1e-4}
        np.testing.assert_allclose(found, slope(lambda moved: slow(moved, weights), rows), **tolerance)
        expected = slope(lambda moved: slow(rows, moved), weights)
        np.testing.assert_allclose(head.weight.grad.numpy(), expected, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("name", ["arcface", "cosface"])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_gradients_are_finite_at_the_ends(self, name, sign):
        """Templates that lie exactly on their class, or exactly opposite, where the slope of acos is infinite."""
        weights = torch.eye(3)
        head = MarginHead(3, 3, MARGINS[name], weights=weights)
        templates = (sign * 4 * weights).requires_grad_()
        loss = head(templates, torch.arange(3))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(templates.grad).all() and torch.isfinite(head.weight.grad).all()
        own = 64 * (math.cos((0 if sign > 0 else math.pi) + 0.5) if name == "arcface" else sign - 0.35)
        # cosines are kept 1e-6 from the ends: an angle of at most 0.0015
        assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-own)), abs=0.1 if sign < 0 else 1e-9)

    def test_near_the_ends_the_gradient_stays_bounded(self):
        cosines = torch.tensor([[1 - 1e-7, 0.0], [-1 + 1e-7, 0.0], [1.0000001, 0.0]], requires_grad=True)
        logits = margin_logits(cosines, torch.zeros(3, dtype=torch.int64), torch.full((3,), 0.5), MARGINS["arcface"])
        logits.sum().backward()
        assert torch.isfinite(logits).all() and torch.isfinite(cosines.grad).all()

    def test_others_keep_their_cosines_and_the_input_stays(self):
        cosines = torch.tensor([[0.2, -0.4, 0.9], [0.5, 0.1, -0.3]])
        before = cosines.clone()
        logits = margin_logits(cosines, torch.tensor([2, 0]), torch.tensor([0.1, 0.2]), Margin(False, 0.1, scale=10.0))
        np.testing.assert_allclose(logits.numpy(), [[2.0, -4.0, 8.0], [3.0, 1.0, -3.0]], atol=1e-6)
        assert torch.equal(cosines, before)

    def test_the_length_of_templates_and_weights_does_not_matter(self):
        head, templates, labels, _ = self.parts("arcface", False)
        longer = MarginHead(5, 3, MARGINS["arcface"], weights=7 * head.weight)
        assert longer(3 * templates, labels).item() == pytest.approx(head(templates, labels).item(), rel=1e-5)

    def test_given_weights_and_centre_are_copied(self):
        weights, centre = torch.ones(2, 3), torch.zeros(3)
        head = MarginHead(3, 2, MARGINS["cosface"], centre, weights)
        weights.zero_()
        centre.fill_(9.0)
        assert torch.equal(head.weight, torch.ones(2, 3)) and torch.equal(head.centre, torch.zeros(3))
        assert head.weight.requires_grad and not head.centre.requires_grad
        assert [name for name, _ in head.named_parameters()] == ["weight"]
        assert set(head.state_dict()) == {"weight", "centre"}

    def test_weights_of_its_own_are_seeded(self):
        first, again, other = (MarginHead(64, 500, MARGINS["arcface"], seed=seed).weight for seed in (3, 3, 4))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert first.std().item() == pytest.approx(0.01, rel=0.02) and abs(first.mean().item()) < 3e-4

    def test_cosines_stay_exact_under_autocast(self):
        head, templates, _, _ = self.parts("arcface", True)
        with torch.autocast("cpu", torch.bfloat16):
            found = head.cosines(templates)
        assert found.dtype == torch.float32 and torch.equal(found, head.cosines(templates))


class TestDrawnMargins:
    @pytest.mark.parametrize("name", [name for name in MARGINS if "elastic" in name])
    def test_a_normal_distribution_that_nothing_clips(self, name):
        kind, count = MARGINS[name], 100_000
        cosines = torch.rand(count, generator=torch.Generator().manual_seed(1))
        drawn = draw_margins(cosines, kind, torch.Generator().manual_seed(2)).double().numpy()
        assert abs(drawn.mean() - kind.mean) < 4 * kind.std / math.sqrt(count)
        assert drawn.std() == pytest.approx(kind.std, rel=0.01)
        normal = statistics.NormalDist(kind.mean, kind.std)
        for share in (0.0005, 0.01, 0.16, 0.5, 0.84, 0.99, 0.9995):
            below = (drawn < normal.inv_cdf(share)).mean()
            assert abs(below - share) < 4 * math.sqrt(share * (1 - share) / count)
        assert abs(drawn - kind.mean).max() > 3.5 * kind.std

    @pytest.mark.parametrize("name", [name for name in MARGINS if "elastic" in name])
    def test_seeded(self, name):
        cosines = torch.linspace(-1, 1, 16)
        first, again, other = (
            draw_margins(cosines, MARGINS[name], torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
        )
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert first.dtype == torch.float32 and first.shape == (16,)

    def test_one_generator_draws_anew_at_every_call(self):
        random = torch.Generator().manual_seed(5)
        cosines = torch.zeros(8)
        first, second = (draw_margins(cosines, MARGINS["elasticface-arc"], random) for _ in range(2))
        assert not torch.equal(first, second)

    @pytest.mark.parametrize(("name", "value"), [("arcface", 0.5), ("cosface", 0.35)])
    def test_fixed_margins_draw_nothing(self, name, value):
        random = torch.Generator().manual_seed(5)
        before = random.get_state()
        assert torch.equal(draw_margins(torch.zeros(4), MARGINS[name], random), torch.full((4,), value))
        assert torch.equal(random.get_state(), before)

    @pytest.mark.parametrize("name", ["elasticface-arc+", "elasticface-cos+"])
    @pytest.mark.parametrize("seed", range(5))
    def test_plus_gives_larger_margins_to_samples_farther_from_their_class(self, name, seed):
        """ElasticFace, section 3: samples with a small cosine are pushed with a large value, and vice versa."""
        kind = MARGINS[name]
        cosines = torch.rand(33, generator=torch.Generator().manual_seed(100 + seed)) * 2 - 1
        given = draw_margins(cosines, kind, torch.Generator().manual_seed(seed)).tolist()
        plain = draw_margins(cosines, Margin(kind.angular, kind.mean, kind.std), torch.Generator().manual_seed(seed))
        assert sorted(given) == sorted(plain.tolist())
        by_distance = [margin for _, margin in sorted(zip(cosines.tolist(), given, strict=True))]
        assert by_distance == sorted(given, reverse=True)

    def test_plus_with_equal_cosines_is_deterministic(self):
        kind, cosines = MARGINS["elasticface-arc+"], torch.tensor([0.5, 0.1, 0.5, 0.5])
        first, again = (draw_margins(cosines, kind, torch.Generator().manual_seed(1)) for _ in range(2))
        assert torch.equal(first, again) and first[1] == first.max()

    def test_no_gradient_flows_into_the_margins(self):
        for name, kind in MARGINS.items():
            cosines = torch.rand(6, requires_grad=True)
            assert not draw_margins(cosines, kind).requires_grad, name
