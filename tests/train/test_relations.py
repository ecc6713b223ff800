"""Distillation losses against loops over samples in float64, written from the paper's equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from maskbench.errors import MaskbenchError
from maskbench.train import relations as rel

Rows = np.ndarray  # float64, a sample in each row
SIZES = [(5, 3, 3), (7, 8, 4), (6, 4, 7)]  # samples, dimensions of the student and of the teacher


def random_rows(rows: int, columns: int, seed: int, size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def unit_rows(rows: int, columns: int, seed: int) -> torch.Tensor:
    return F.normalize(random_rows(rows, columns, seed))


def exact(tensor: torch.Tensor) -> Rows:
    return tensor.detach().double().numpy()


def length(vector: np.ndarray) -> float:
    return math.sqrt(vector @ vector)


def norm(vector: np.ndarray) -> np.ndarray:
    return vector / length(vector) if vector.any() else vector


def slope_along(function: Callable[[Rows], float], at: Rows, way: Rows, step: float = 1e-6) -> float:
    """The slope of a function of a table along a direction, by central differences."""
    step = step / math.sqrt((way * way).sum())
    return (function(at + step * way) - function(at - step * way)) / (2 * step)


def slope(function: Callable[[Rows], float], at: Rows) -> Rows:
    """The gradient, a number at a time."""
    ways = np.eye(at.size).reshape(-1, *at.shape)
    return np.reshape([slope_along(function, at, way, 1e-5) for way in ways], at.shape)


def slow_huber(a: float, b: float, delta: float) -> float:
    apart = abs(a - b)
    return apart * apart / 2 if apart <= delta else delta * (apart - delta / 2)


def slow_l1(a: Rows, b: Rows, reduction: str, dims: str) -> float:
    total = sum(sum(abs(one - other)) / (len(one) if dims == "mean" else 1) for one, other in zip(a, b, strict=True))
    return total / len(a) if reduction == "mean" else total


def slow_mu(rows: Rows, whole: bool) -> float:
    found = [length(a - b) for a, b in product(rows, repeat=2)]
    return sum(found) / (len(found) if whole else sum(value > 0 for value in found))


def slow_pair(student: Rows, teacher: Rows, delta: float, reduction: str, normalisation: str) -> float:
    whole = normalisation in ("own-all", "teacher-all")
    mu_t = slow_mu(teacher, whole)
    mu_s = slow_mu(student, whole) if normalisation in ("own", "own-all") else mu_t
    n, total = len(student), 0.0
    for i, j in product(range(n), repeat=2):
        ours, theirs = length(student[i] - student[j]) / mu_s, length(teacher[i] - teacher[j]) / mu_t
        total += slow_huber(ours, theirs, delta)
    return total / n**2 if reduction == "mean" else total


def slow_angle(rows: Rows, i: int, j: int, k: int) -> float:
    return norm(rows[i] - rows[j]) @ norm(rows[k] - rows[j])


def slow_triplet(student: Rows, teacher: Rows, delta: float, reduction: str) -> float:
    n, total = len(student), 0.0
    for i, j, k in product(range(n), repeat=3):
        total += slow_huber(slow_angle(student, i, j, k), slow_angle(teacher, i, j, k), delta)
    return total / n**3 if reduction == "mean" else total


def slow_soft(student: Rows, teacher: Rows, middles: Rows, reading: str, mix: float) -> tuple[Rows, Rows]:
    """The two sides of the L1 distance of eq. 17 under a reading."""
    if reading == "direction":
        ours, theirs = ([norm(x - f) for x, f in zip(rows, middles, strict=True)] for rows in (student, teacher))
        return np.array(ours), np.array(theirs)
    share = {"centroid": 1.0, "mixed": mix}[reading]
    return student, (1 - share) * teacher + share * middles


RELATIONS = {  # each loss, and its loop
    "pair": (rel.pair_loss, lambda s, t: slow_pair(s, t, 1.0, "mean", "own")),
    "triplet": (rel.triplet_loss, lambda s, t: slow_triplet(s, t, 1.0, "mean")),
}
OF_TWO = {"instance": rel.instance_loss, "pair": rel.pair_loss, "triplet": rel.triplet_loss}
LOSSES = {  # of (B, 8) each, for what all have in common
    **OF_TWO,
    "entropy": rel.soft_cross_entropy,
    **{k: lambda s, t, k=k: rel.soft_instance_loss(s, t, random_rows(len(s), 8, 90), k) for k in rel.SOFT_READINGS},
    **{k: lambda s, t, k=k: rel.soft_cross_entropy(head(s, k), head(t, k)) for k in rel.HEADS},
}


def head(rows: torch.Tensor, kind: str) -> torch.Tensor:
    return rel.centroid_logits(rows, random_rows(5, 8, 91), 2.0, kind)


def agree(loss: torch.Tensor, student: torch.Tensor, slow: Callable[[Rows], float], rtol: float = 1e-4) -> None:
    """A float32 scalar and its gradient are those of a loop."""
    (found,) = torch.autograd.grad(loss, student)
    assert loss.shape == () and loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slow(exact(student)), rel=1e-5)
    expected = slope(slow, exact(student))
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol, atol=rtol * abs(expected).max())


@pytest.mark.parametrize("dims", rel.REDUCTIONS)
@pytest.mark.parametrize("reduction", rel.REDUCTIONS)
def test_instance_loss_against_loops(reduction, dims):
    student, teacher = random_rows(5, 7, 1).requires_grad_(), random_rows(5, 7, 2)
    loss = rel.instance_loss(student, teacher, reduction, dims)
    agree(loss, student, lambda rows: slow_l1(rows, exact(teacher), reduction, dims))
    assert rel.instance_loss(student, teacher).item() == pytest.approx(F.l1_loss(student, teacher).item(), rel=1e-6)


@pytest.mark.parametrize("normalisation", rel.NORMALISATIONS)
@pytest.mark.parametrize("reduction", rel.REDUCTIONS)
@pytest.mark.parametrize(("n", "ours", "theirs"), SIZES)
def test_pair_loss_against_loops(n, ours, theirs, reduction, normalisation):
    student, teacher = random_rows(n, ours, 3, 2.0).requires_grad_(), random_rows(n, theirs, 4)
    for delta in (1.0, 0.1):
        loss = rel.pair_loss(student, teacher, delta, reduction, normalisation)
        agree(loss, student, lambda rows, d=delta: slow_pair(rows, exact(teacher), d, reduction, normalisation))


class TestTriplets:
    @pytest.mark.parametrize("reduction", rel.REDUCTIONS)
    @pytest.mark.parametrize(("n", "ours", "theirs"), SIZES)
    def test_value_and_gradient_against_loops(self, n, ours, theirs, reduction):
        student, teacher = random_rows(n, ours, 13, 2.0).requires_grad_(), random_rows(n, theirs, 14)
        delta = {5: 1.0, 6: 0.3, 7: 0.1}[n]
        loss = rel.triplet_loss(student, teacher, delta, reduction)
        agree(loss, student, lambda rows: slow_triplet(rows, exact(teacher), delta, reduction))

    def test_cosines_of_every_triplet_degenerate_ones_too(self):
        templates = random_rows(6, 4, 15)
        templates[4] = templates[2]
        found, rows = rel._angles(templates), exact(templates)
        for i, j, k in product(range(6), repeat=3):
            assert found[j, i, k].item() == pytest.approx(slow_angle(rows, i, j, k), abs=1e-6)
            if i == j or k == j or {i, j} == {2, 4} or {k, j} == {2, 4}:
                assert found[j, i, k] == 0

    def test_nothing_larger_than_the_triplets_is_made(self):
        """Neither forward nor backward: B x B x D differences would be four times as large here."""
        sizes = []

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                made = function(*args, **(kwargs or {}))
                sizes.extend((t.numel(), t.element_size()) for t in tree_leaves(made) if isinstance(t, torch.Tensor))
                return made

        student, teacher = unit_rows(128, 512, 18).requires_grad_(), unit_rows(128, 512, 19)
        with Watch():
            loss = rel.triplet_loss(student, teacher)
            forward = len(sizes)
            loss.backward()
        assert max(numbers for numbers, _ in sizes) == 128**3
        assert max(numbers * each for numbers, each in sizes) == 16 * 2**20
        assert any(numbers == 128**3 for numbers, _ in sizes[forward:])  # the backward pass was seen too


@pytest.mark.parametrize("name", RELATIONS)
class TestRelations:
    def test_the_default_is_the_released_codes(self, name):
        """SmoothL1 with beta 1, averaged over all: of distances by the mean of those that are not 0, or of cosines."""
        student, teacher, sides = random_rows(6, 5, 5), random_rows(6, 5, 6), []
        for rows in (student, teacher):
            apart = (rows[None] - rows[:, None]).double()
            distances, ways = apart.norm(dim=2), F.normalize(apart, dim=2)
            mean = distances[distances > 0].mean()
            sides.append(distances / mean if name == "pair" else ways @ ways.transpose(1, 2))
        expected = torch.nn.SmoothL1Loss()(*sides).item()
        assert RELATIONS[name][0](student, teacher).item() == pytest.approx(expected, rel=1e-5)

    def test_only_relations_matter(self, name):
        loss, _ = RELATIONS[name]
        student, teacher = random_rows(7, 6, 20), random_rows(7, 5, 21)
        turn, _ = torch.linalg.qr(random_rows(6, 6, 22))
        once = loss(student, teacher).item()
        assert once > 1e-3
        assert loss(student @ turn + 3, teacher).item() == pytest.approx(once, rel=1e-4)
        assert loss(student, 0.1 * teacher - 7).item() == pytest.approx(once, rel=1e-4)
        assert loss(5 * student, teacher).item() == pytest.approx(once, rel=1e-5)

    def test_the_order_of_samples_does_not_matter(self, name):
        loss, order = RELATIONS[name][0], [3, 0, 6, 1, 5, 2, 4]
        student, teacher = random_rows(7, 6, 23), random_rows(7, 6, 24)
        once = loss(student, teacher).item()
        assert loss(student[order], teacher[order]).item() == pytest.approx(once, rel=1e-5)
        assert loss(student[order], teacher).item() != pytest.approx(once, rel=1e-3)

    @pytest.mark.parametrize("whose", ["student", "teacher", "both", "all"])
    def test_equal_templates_have_finite_gradients(self, name, whose):
        loss, slow = RELATIONS[name]
        student, teacher = unit_rows(6, 64, 27), unit_rows(6, 64, 28)
        for rows, names in ((student, ("student", "both")), (teacher, ("teacher", "both"))):
            if whose in (*names, "all"):
                rows[3 if whose in names else slice(None)] = rows[0]
        student.requires_grad_()
        found = loss(student, teacher)
        found.backward()
        assert torch.isfinite(student.grad).all() and student.grad.abs().max() < 10
        if whose == "all":
            assert found.item() == 0 and not student.grad.any()
            return
        assert found.item() == pytest.approx(slow(exact(student), exact(teacher)), rel=1e-4)
        if whose == "teacher":
            way = exact(student.grad)
            expected = slope_along(lambda rows: slow(rows, exact(teacher)), exact(student), way)
            assert (way * way).sum() == pytest.approx(expected, rel=1e-4)

    def test_equal_up_to_rounding_is_equal(self, name):
        """The same picture at two places of a batch: its templates may differ in the last bits, in any direction."""
        loss, student, teacher = RELATIONS[name][0], unit_rows(6, 64, 29), unit_rows(6, 64, 30)
        teacher[3] = teacher[0]
        once = loss(student, teacher).item()
        teacher[3] = torch.nextafter(teacher[0], torch.tensor(9.0))
        assert loss(student, teacher).item() == pytest.approx(once, rel=1e-4)

    @pytest.mark.parametrize("kind", ["unit", "offset", "clusters"])
    def test_accurate_where_float32_would_cancel(self, name, kind):
        """Templates far from the origin, or pairs a thousandth of their length apart, at 512 dimensions."""
        loss, slow = RELATIONS[name]
        student, teacher = (unit_rows(6, 512, seed) for seed in (31, 32))
        if kind == "offset":
            student, teacher = student + 50, teacher - 1e5
        if kind == "clusters":  # two identities, each of three templates near each other
            student, teacher = (rows[[0, 0, 0, 1, 1, 1]] + 1e-3 * rows.roll(2, 0) for rows in (student, teacher))
        student.requires_grad_()
        found = loss(student, teacher)
        assert found.item() == pytest.approx(slow(exact(student), exact(teacher)), rel=2e-5)
        way = exact(torch.autograd.grad(found, student)[0])
        expected = slope_along(lambda rows: slow(rows, exact(teacher)), exact(student), way)
        assert (way * way).sum() == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_the_smallest_batches(self, name, count):
        loss, _ = RELATIONS[name]
        for reduction in rel.REDUCTIONS:
            student = random_rows(count, 4, 33).requires_grad_()
            found = loss(student, random_rows(count, 3, 34), reduction=reduction)
            found.backward()  # two templates have one distance, which mu makes 1, and no angle
            assert found.item() == pytest.approx(0, abs=1e-12) and student.grad.shape == (count, 4)
            assert not torch.isnan(student.grad).any() and not (student.grad.abs() > 1e-6).any()

    def test_what_is_not_a_number_is_not_hidden(self, name):
        student = random_rows(5, 4, 35).index_fill(0, torch.tensor([2]), math.nan)
        assert torch.isnan(RELATIONS[name][0](student, random_rows(5, 4, 36)))


class TestEveryLoss:
    @pytest.mark.parametrize("name", LOSSES)
    def test_half_precision_is_computed_in_float32_and_the_teacher_gets_no_gradient(self, name):
        student, teacher = (random_rows(6, 8, seed).bfloat16().requires_grad_() for seed in (40, 41))
        with torch.autocast("cpu", torch.bfloat16):
            found = LOSSES[name](student, teacher)
        found.backward()
        wide = student.detach().float().requires_grad_()
        expected = LOSSES[name](wide, teacher.float())
        expected.backward()
        assert found.dtype == torch.float32 and found == expected
        assert torch.equal(student.grad, wide.grad.bfloat16())
        assert teacher.grad is None and student.grad.abs().sum() > 0

    @pytest.mark.parametrize("name", LOSSES)
    def test_a_batch_of_none(self, name):
        student = torch.zeros(0, 8, requires_grad=True)
        loss = LOSSES[name](student, torch.zeros(0, 8))
        loss.backward()
        assert loss.item() == 0 and student.grad.shape == (0, 8)

    @pytest.mark.parametrize("name", OF_TWO)
    def test_zero_when_they_agree(self, name):
        student = random_rows(6, 8, 39).requires_grad_()
        loss = OF_TWO[name](student, student.detach())
        loss.backward()
        assert loss.item() == 0 and not student.grad.any()


@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_it_is_hubers_loss_and_not_the_smooth_l1_of_another_delta(delta):
    found, wanted = random_rows(40, 1, 44, 2.0)[:, 0], random_rows(40, 1, 45)[:, 0]
    values = rel.huber(found, wanted, delta)
    expected = [slow_huber(a, b, delta) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-5, atol=1e-7)
    smooth = F.smooth_l1_loss(found, wanted, reduction="none", beta=delta)
    np.testing.assert_allclose(values.numpy(), delta * smooth.numpy(), rtol=1e-5, atol=1e-7)
    assert torch.allclose(values, smooth) == (delta == 1.0)


class TestSoft:
    def parts(self):
        return random_rows(5, 6, 50).requires_grad_(), random_rows(5, 6, 51), random_rows(5, 6, 52)

    @pytest.mark.parametrize("dims", rel.REDUCTIONS)
    @pytest.mark.parametrize("reduction", rel.REDUCTIONS)
    @pytest.mark.parametrize("reading", rel.SOFT_READINGS)
    def test_value_and_gradient_against_loops(self, reading, reduction, dims):
        student, teacher, middles = self.parts()
        loss = rel.soft_instance_loss(student, teacher, middles, reading, 0.3, reduction, dims)

        def slow(rows: Rows) -> float:
            return slow_l1(*slow_soft(rows, exact(teacher), exact(middles), reading, 0.3), reduction, dims)

        agree(loss, student, slow)

    def test_eq_17_as_printed_is_eq_12(self):
        """The centroid cancels: value and gradient of l1(t - f, s - f) are those of l1(t, s), whatever f is."""
        for size in (0.0, 1.0, 30.0):
            student, teacher, middles = (rows.detach().double() for rows in self.parts())
            student.requires_grad_()
            printed = ((teacher - size * middles) - (student - size * middles)).abs().sum()
            hard = (teacher - student).abs().sum()
            assert printed.item() == pytest.approx(hard.item(), rel=1e-12)
            assert torch.equal(*(torch.autograd.grad(loss, student)[0] for loss in (printed, hard)))
            assert rel.instance_loss(student, teacher, "sum", "sum").item() == pytest.approx(printed.item(), rel=1e-6)

    def test_the_mixtures_ends_and_default(self):
        student, teacher, middles = self.parts()
        of = [rel.soft_instance_loss(student, teacher, middles, "mixed", mix).item() for mix in (0.0, 0.5, 1.0)]
        assert of[0] == pytest.approx(rel.instance_loss(student, teacher).item(), rel=1e-6)
        assert of[1] == rel.soft_instance_loss(student, teacher, middles).item()
        assert of[2] == pytest.approx(rel.soft_instance_loss(student, teacher, middles, "centroid").item(), rel=1e-6)

    def test_no_direction_costs_nothing(self):
        student, teacher, middles = self.parts()
        middles[1] = torch.nextafter(teacher[1], torch.tensor(9.0))  # equal up to rounding
        loss = rel.soft_instance_loss(student, teacher, middles, "direction", reduction="sum")
        loss.backward()
        others = [0, 2, 3, 4]
        expected = rel.soft_instance_loss(
            student[others], teacher[others], middles[others], "direction", reduction="sum"
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert not student.grad[1].any() and student.grad[others].abs().min() > 0

    @pytest.mark.parametrize("reading", rel.SOFT_READINGS)
    def test_a_student_at_its_centroid_has_a_finite_gradient(self, reading):
        _, teacher, middles = self.parts()
        student = middles.clone().requires_grad_()
        loss = rel.soft_instance_loss(student, teacher, middles, reading)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(student.grad).all() and student.grad.abs().max() < 10


class TestCentroids:
    LABELS = (2, 0, -1, 2, 1, 0, 2)

    def test_means_against_loops(self):
        templates = random_rows(7, 4, 60).requires_grad_()
        found = rel.class_centroids(templates, torch.tensor(self.LABELS))
        for label in range(3):
            own = [row for row, its in zip(exact(templates), self.LABELS, strict=True) if its == label]
            np.testing.assert_allclose(found[label].numpy(), np.mean(own, axis=0), rtol=1e-6, atol=1e-7)
        assert found.shape == (3, 4) and found.dtype == torch.float32 and not found.requires_grad
        each = rel.centroids_for(templates, torch.tensor(self.LABELS), found)
        for row, own, label in zip(each, templates, self.LABELS, strict=True):
            assert torch.equal(row, own.detach() if label < 0 else found[label])
        assert each.dtype == torch.float32 and not each.requires_grad

    def test_one_template_is_its_own_centroid_and_sums_do_not_drift(self):
        templates = random_rows(1, 4, 61).repeat(30_000, 1) + 100
        assert torch.equal(rel.class_centroids(templates, torch.zeros(30_000, dtype=torch.int64)), templates[:1])
        assert torch.equal(rel.class_centroids(templates[:1], torch.tensor([0], dtype=torch.int32)), templates[:1])

    def test_without_an_identity_the_soft_loss_is_the_hard_one(self):
        student, teacher, unknown = random_rows(3, 4, 64), random_rows(3, 4, 65), torch.full((3,), -1)
        none = rel.class_centroids(teacher, unknown)
        middles = rel.centroids_for(teacher, unknown, random_rows(5, 4, 66))
        assert none.shape == (0, 4) and torch.equal(rel.centroids_for(teacher, unknown, none), middles)
        hard = rel.instance_loss(student, teacher).item()
        for reading, expected in (("centroid", hard), ("mixed", hard), ("direction", 0.0)):
            found = rel.soft_instance_loss(student, teacher, middles, reading).item()
            assert found == pytest.approx(expected, rel=1e-6), reading


class TestHead:
    def slow(self, templates: Rows, centroids: Rows, scale: float, kind: str) -> Rows:
        if kind == "cosine":
            return np.array([[scale * norm(a) @ norm(b) for b in centroids] for a in templates])
        return np.array([[-scale * length(a - b) ** 2 for b in centroids] for a in templates])

    @pytest.mark.parametrize("kind", rel.HEADS)
    def test_value_and_gradient_against_loops(self, kind):
        templates, centroids = random_rows(5, 4, 70).requires_grad_(), random_rows(3, 4, 71).requires_grad_()
        found = rel.centroid_logits(templates, centroids, 7.0, kind)
        expected = self.slow(exact(templates), exact(centroids), 7.0, kind)
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
        weights = random_rows(5, 3, 72)
        assert torch.autograd.grad(found.sum(), centroids, allow_unused=True, retain_graph=True) == (None,)
        fixed, by = exact(centroids), exact(weights)
        agree((found * weights).sum(), templates, lambda rows: (self.slow(rows, fixed, 7.0, kind) * by).sum())

    def test_both_kinds_are_one_softmax_for_unit_vectors(self):
        templates, centroids = unit_rows(5, 8, 73), unit_rows(4, 8, 74)
        cosine = rel.centroid_logits(templates, centroids, 20.0).softmax(dim=1)
        euclidean = rel.centroid_logits(templates, centroids, 10.0, "euclidean").softmax(dim=1)
        np.testing.assert_allclose(cosine.numpy(), euclidean.numpy(), rtol=1e-4)

    def test_an_offset_of_all_does_not_drown_the_distances(self):
        templates, centroids = unit_rows(5, 64, 75) + 100, unit_rows(4, 64, 76) + 100
        found = rel.centroid_logits(templates, centroids, 1.0, "euclidean")
        expected = self.slow(exact(templates), exact(centroids), 1.0, "euclidean")
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)

    def test_a_template_of_zero_length_has_a_finite_gradient(self):
        templates = torch.zeros(2, 4, requires_grad=True)
        logits = rel.centroid_logits(templates, random_rows(3, 4, 77), 30.0)
        logits.sum().backward()
        assert not logits.any() and not templates.grad.any()


def slow_entropy(student: Rows, teacher: Rows, temperature: float) -> float:
    total = 0.0
    for ours, theirs in zip(student / temperature, teacher / temperature, strict=True):
        total -= np.exp(theirs) / sum(np.exp(theirs)) @ (ours - math.log(sum(np.exp(ours))))
    return total / len(student)


class TestSoftTargets:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
    def test_value_and_gradient_against_loops(self, temperature):
        student, teacher = random_rows(5, 6, 80, 3.0).requires_grad_(), random_rows(5, 6, 81, 3.0)
        loss = rel.soft_cross_entropy(student, teacher, temperature)
        agree(loss, student, lambda rows: slow_entropy(rows, exact(teacher), temperature))

    def test_least_where_they_agree_and_not_zero_there(self):
        teacher = random_rows(4, 6, 82)
        entropy = torch.distributions.Categorical(logits=teacher).entropy().mean().item()
        assert rel.soft_cross_entropy(teacher + 5, teacher).item() == pytest.approx(entropy, rel=1e-5) and entropy > 0.5


ROWS, NAN = torch.zeros(3, 4), math.nan
POSITIVE = [0.0, -1.0, NAN]
PAIRED = ("pair_loss", "triplet_loss")
WRONG = [
    *(
        (loss, {"reduction": "men"}, 'no reduction "men"; did you mean "mean"[?] known')
        for loss in ("instance_loss", *PAIRED)
    ),
    *((loss, {"teacher": ROWS[:1]}, r"shapes \(3, 4\) and \(1, 4\): give") for loss in ("instance_loss", *PAIRED)),
    *(
        (loss, {"student": ROWS[0], "teacher": ROWS[0]}, r"shapes \(4,\) and \(4,\)")
        for loss in ("instance_loss", *PAIRED)
    ),
    ("instance_loss", {"teacher": torch.zeros(3, 5)}, r"shapes \(3, 4\) and \(3, 5\): give"),
    ("instance_loss", {"dims": "summ"}, 'no dims "summ"; did you mean "sum"'),
    ("pair_loss", {"normalisation": "teachers"}, 'no normalisation "teachers"; did you mean "teacher"'),
    *((loss, {"delta": n}, "delta is .*: give one above 0") for loss in PAIRED for n in POSITIVE),
    ("soft_instance_loss", {"reading": "centroids"}, 'no reading "centroids"; did you mean "centroid"'),
    ("soft_instance_loss", {"centroids": ROWS[:1]}, r"shapes \(3, 4\) and \(1, 4\)"),
    *(("soft_instance_loss", {"mix": n}, "share is .*: give mix from 0 to 1") for n in (-0.1, 1.1, NAN)),
    ("class_centroids", {"labels": [0, 2, 2]}, "class 1 of 3 has no template: number the classes without gaps"),
    ("class_centroids", {"labels": [0, 1, 1], "classes": 3}, "class 2 of 3 has no template"),
    *(("class_centroids", {"labels": [0, n, 1], "classes": 3}, "labels .* for 3 classes: give 0") for n in (3, -2)),
    *(("centroids_for", {"labels": [0, n, 1]}, "labels .* for 3 classes: give 0 to 2, or -1") for n in (3, -2)),
    *(("class_centroids", {"labels": few}, r"give \(N, D\) and \(N,\) integers") for few in ([0, 1], [0.0, 1.0, 2.0])),
    ("centroids_for", {"centroids": torch.zeros(3, 5)}, r"give \(B, D\) and \(C, D\)"),
    ("centroid_logits", {"centroids": torch.zeros(3, 5)}, r"give \(B, D\) and \(C, D\)"),
    ("centroid_logits", {"kind": "cosin"}, 'no head "cosin"; did you mean "cosine"'),
    *(("centroid_logits", {"scale": n}, "scale is .*: give one above 0") for n in POSITIVE),
    ("soft_cross_entropy", {"teacher_logits": ROWS[:, :2]}, r"logits of shapes \(3, 4\) and \(3, 2\): give \(B, C\)"),
    *(("soft_cross_entropy", {"temperature": n}, "temperature is .*: give one above 0") for n in POSITIVE),
]


@pytest.mark.parametrize(("name", "wrong", "message"), WRONG)
def test_errors(name, wrong, message):
    function = getattr(rel, name)
    right = {"labels": [0, 1, 2], "scale": 1.0}
    wanted = function.__code__.co_varnames[: function.__code__.co_argcount - len(function.__defaults__ or ())]
    given = {argument: right.get(argument, ROWS) for argument in wanted} | wrong
    with pytest.raises(MaskbenchError, match=message) as caught:
        function(**{name: torch.tensor(value) if name == "labels" else value for name, value in given.items()})
    assert "\n" not in str(caught.value)
