"""G2D behind its encoder: the losses of reformer and classifier, what their gradients reach, and where they start."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from g2d_pictures import CONFIG, SIDE, a_batch, moved_by, network, some_holes
from small_tensors import rng

from maskbench.errors import MaskbenchError
from maskbench.models.dlib_resnet import MEAN, DlibResNet, fold
from maskbench.models.g2d import FeatureClassifier, build_g2d, config_values
from maskbench.models.zoo import NETWORKS
from maskbench.recognizers.dlib_resnet import SPEC
from maskbench.train import relations
from maskbench.train.data import Batch
from maskbench.train.g2d_encoder import (
    PriorTraining,
    UpsamplerTraining,
)
from maskbench.train.g2d_recipe import ApproximationLosses, ReformerStage
from maskbench.train.g2d_reformer import (
    ClassifierTraining,
    ReformerTraining,
    blocks_of,
    embedded,
    fit_adapter,
    start_from,
)
from maskbench.train.occluded import planes

pytestmark = pytest.mark.usefixtures("one_thread")
SUBJECTS = ["a", "b", None, "a", None, "b"]


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
    """256 x 256 pixels, 48 x 48 tokens, all widths and layers: 179 million parameters, 6 GB."""
    from maskbench.train.g2d_recipe import STAGES
    from maskbench.train.loop import _optimizer
    from maskbench.train.recipe import load_recipe

    recipe = load_recipe("g2d")
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
