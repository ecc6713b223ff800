"""MaskInv's side of the loop: classes, targets, losses and what is trained; a step of the published size."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from maskbench.errors import MaskbenchError
from maskbench.recognizers.dlib_resnet import SPEC
from maskbench.recognizers.preprocess import preprocess
from maskbench.train.data import Batch
from maskbench.train.losses import MARGINS, Margin, template_kd
from maskbench.train.maskinv import MaskInv, class_labels, margin_of
from maskbench.train.recipe import Losses, Student, load_recipe

SPEC8 = replace(SPEC, input_size=(8, 8), embedding_size=5)


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 2, 3)
        self.last = torch.nn.Linear(2 * 6 * 6, 5)

    def forward(self, x):
        return self.last(self.first(x).flatten(1))


def recipe(student=None, **losses):
    kept = load_recipe("maskinv-small")
    return replace(kept, student=student or Student(), losses=replace(kept.losses, **losses))


def batch(index, flipped=False, seed=0):
    rng = np.random.default_rng(seed)
    faces = torch.from_numpy(rng.integers(0, 256, (len(index), 8, 8, 3), np.uint8))
    flips = torch.full((len(index),), flipped)
    return Batch(torch.tensor(index), faces, torch.zeros(len(index), dtype=torch.bool), flips, None, [])


@pytest.fixture
def templates():
    return np.random.default_rng(5).normal(1, 0.3, (6, 2, 5)).astype(np.float32)


SUBJECTS = ["a", "b", None, "a", None, "b"]


def test_classes():
    labels, count = class_labels(SUBJECTS, "own")
    assert labels.tolist() == [0, 1, 2, 0, 3, 1] and count == 4
    labels, count = class_labels(SUBJECTS, "none")
    assert labels.tolist() == [0, 1, -1, 0, -1, 1] and count == 2


def test_margin_values_in_place_of_the_kinds_own():
    assert margin_of(Losses()) == MARGINS["elasticface-arc"]
    given = margin_of(Losses(margin="cosface", scale=24.0, margin_mean=0.2, margin_std=0.1))
    assert given == Margin(False, 0.2, 0.1, False, 24.0)


def test_the_loss_is_the_weighted_sum_of_its_parts(templates):
    method = MaskInv(Tiny(), SPEC8, recipe(weight=3.0, margin_weight=0.5), SUBJECTS, templates)
    found = method.losses("student", batch([0, 1, 2]), torch.Generator().manual_seed(1))
    expected = 3.0 * found["distillation"] + 0.5 * found["margin"]
    torch.testing.assert_close(found["loss"], expected)


@pytest.mark.parametrize("flipped", [False, True])
def test_the_target_is_the_template_of_the_same_side(templates, flipped):
    student = Tiny()
    method = MaskInv(student, SPEC8, recipe(margin_weight=0.0), SUBJECTS, templates)
    given = batch([4, 1], flipped)
    found = method.losses("student", given, torch.Generator())
    ours = student(torch.from_numpy(preprocess(given.faces.numpy(), SPEC8)))
    theirs = torch.from_numpy(templates[[4, 1], int(flipped)])
    variance = float(templates.reshape(-1, 5).var(axis=0).mean())
    torch.testing.assert_close(found["distillation"], template_kd(ours, theirs, "raw-mse", variance))
    assert "margin" not in found and "head" not in method.modules


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_normalisation_is_that_of_evaluation(templates, order):
    spec = replace(SPEC8, colour_order=order, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    method = MaskInv(Tiny(), spec, recipe(), SUBJECTS, templates)
    faces = batch([0, 1]).faces
    np.testing.assert_allclose(method.normalised(faces).numpy(), preprocess(faces.numpy(), spec), atol=1e-5)


def test_classes_start_at_the_teachers_means(templates):
    method = MaskInv(Tiny(), SPEC8, recipe(), SUBJECTS, templates)
    centre = templates.mean(axis=(0, 1))
    means = templates.mean(axis=1) - centre
    weight = method.modules["head"].weight.detach().numpy()
    np.testing.assert_allclose(weight[0], (means[0] + means[3]) / 2, atol=2e-3)
    np.testing.assert_allclose(weight[2], means[2], atol=5e-3)
    np.testing.assert_allclose(method.modules["head"].centre.numpy(), centre, atol=1e-6)


def test_faces_without_class_or_template_have_the_other_loss_alone(templates):
    templates[0] = np.nan  # the teacher gave none
    method = MaskInv(Tiny(), SPEC8, recipe(unlabelled="none"), SUBJECTS, templates)
    found = method.losses("student", batch([0, 2]), torch.Generator())  # 2 has no class
    assert all(torch.isfinite(value) for value in found.values())
    alone = method.losses("student", batch([2, 4]), torch.Generator())
    assert alone["margin"].item() == 0.0 and torch.isfinite(alone["loss"])
    alone["loss"].backward()
    assert torch.equal(method.modules["head"].weight.grad, torch.zeros(2, 5))
    nothing = method.losses("student", batch([0]), torch.Generator())
    assert nothing["distillation"].item() == 0.0


def test_frozen_parameters(templates):
    student = Tiny()
    method = MaskInv(student, SPEC8, recipe(Student(frozen=("first.",))), SUBJECTS, templates)
    assert [name for name, value in student.named_parameters() if value.requires_grad] == ["last.weight", "last.bias"]
    groups = method.parameters_of("student")
    assert groups[0]["clipped"] and not groups[1]["clipped"] and groups[1]["rate"] == pytest.approx(2.0)
    with pytest.raises(MaskbenchError, match="no parameter begins with 'nothing'; the first is first.weight"):
        MaskInv(Tiny(), SPEC8, recipe(Student(frozen=("nothing",))), SUBJECTS, templates)


def test_a_teacher_of_another_size_is_refused():
    with pytest.raises(MaskbenchError, match="templates have 7 numbers, the student's 5"):
        MaskInv(Tiny(), SPEC8, recipe(), SUBJECTS, np.ones((6, 2, 7), np.float32))


def test_an_overfitted_student_reaches_its_targets(templates):
    torch.manual_seed(0)
    method = MaskInv(Tiny(), SPEC8, recipe(margin_weight=0.0), SUBJECTS, templates)
    optimizer = torch.optim.AdamW(method.modules["student"].parameters(), 0.01)
    given = batch([0, 1, 2, 3])
    for _ in range(300):
        loss = method.losses("student", given, torch.Generator())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskinv-lg", "maskinv-hg"])
def test_a_step_of_the_published_size(name):
    """IResNet-100 with its 65,156,160 parameters takes one step of each published recipe, on random pictures."""
    from maskbench.models.zoo import NETWORKS

    network, settings = NETWORKS["iresnet100"], load_recipe(name)
    student = network.build()
    assert sum(weight.numel() for weight in student.parameters()) == 65_156_160
    spec = replace(SPEC, input_size=(112, 112), embedding_size=512)
    templates = np.random.default_rng(0).normal(0, 1, (4, 2, 512)).astype(np.float32)
    method = MaskInv(student, spec, settings, ["a", "b", "c", "d"], templates)
    rng = np.random.default_rng(1)
    faces = torch.from_numpy(rng.integers(0, 256, (4, 112, 112, 3), np.uint8))
    no = torch.zeros(4, dtype=torch.bool)
    found = method.losses("student", Batch(torch.arange(4), faces, no, no, None, []), torch.Generator().manual_seed(0))
    found["loss"].backward()
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), settings.optimiser.clip)
    assert torch.isfinite(norm) and norm > 0
    before = {name: value.detach().clone() for name, value in student.named_parameters()}
    torch.optim.SGD(student.parameters(), settings.optimiser.rate).step()
    moved = {name for name, value in student.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name, value in student.named_parameters() if value.grad is not None and value.grad.any()}
    scale = student.features.weight  # fixed at 1, as published
    assert not scale.requires_grad and torch.equal(scale, torch.ones_like(scale))
    # Unit vectors that know nothing of each other.
    assert found["distillation"].item() == pytest.approx(2 / 512, rel=0.2)
