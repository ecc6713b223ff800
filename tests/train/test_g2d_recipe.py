"""Recipes of G2D: those that ship, what is refused, which stage depends on what; and its command's mistakes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from refusals import message

from maskbench.cli.main import main
from maskbench.models.g2d_config import G2DConfig
from maskbench.train.g2d_recipe import STAGES, G2DRecipe
from maskbench.train.recipe import load_recipe

LEAST = {"name": "mine", "version": 1, "method": "g2d", "description": "none", "source": "none"}


def refused(*changes: str, name: str = "g2d-small") -> str:
    return message(load_recipe, name, changes)


class TestShipped:
    def test_the_papers(self):
        """What is known of it: ICT's network of faces, 22 layers, Adam and its settings, the split."""
        found = load_recipe("g2d")
        assert isinstance(found, G2DRecipe) and found.holdout == 7
        assert replace(found.network, embedding=512) == G2DConfig()
        for stage in (found.prior, found.upsampler):
            moves = stage.optimiser
            assert (moves.name, moves.rate, moves.betas, stage.batch) == ("adam", 1e-5, (0.5, 0.9), 16)
        losses = found.upsampler.losses
        assert (losses.adversarial, losses.critic_rate, losses.perceptual, losses.style) == (0.1, 0.1, 0.0, 0.0)
        assert found.upsampler.guide == "quantised-truth"

    def test_the_small_one(self):
        found = load_recipe("g2d-small")
        sizes = found.network
        assert (sizes.size, sizes.tokens, sizes.colours, sizes.prior_width) == (144, 18, 128, 192)
        assert (sizes.layers, sizes.heads, sizes.width, sizes.blocks) == (6, 6, 0.5, 4)
        assert (sizes.reformer, sizes.start, sizes.adapter, sizes.block) == ("teacher", 0, 3, 0)
        assert found.reformer.start == "teacher"
        assert (found.teacher, found.template, found.upsampler.guide) == ("dlib-resnet", "dlib150", "expected")
        assert found.upsampler.losses.adversarial == 0 and 0 < found.reformer.p < 1
        assert {getattr(found, stage).precision for stage in STAGES} == {"bf16-mixed"}

    def test_parameters(self):
        torch = pytest.importorskip("torch")
        from maskbench.models.g2d import build_g2d

        def count(name):
            with torch.device("meta"):
                return sum(weight.numel() for weight in build_g2d(load_recipe(name).network).parameters())

        prior = 6 * (12 * 192**2 + 13 * 192) + 2 * 128 * 192 + 18**2 * 192 + 2 * 192
        convolutions = [(6, 32, 49), (32, 64, 16), (64, 128, 16), *[(128, 128, 9)] * 8,
                        (128, 64, 16), (64, 32, 16), (32, 3, 49)]  # fmt: skip
        upsampler = sum(before * after * taps + after for before, after, taps in convolutions)
        blocks = [(32, 32)] * 3 + [(32, 64)] + [(64, 64)] * 3 + [(64, 128)] + [(128, 128)] * 2 + [(128, 256)]
        blocks += [(256, 256)] * 3
        rest = sum(9 * after * (before + after) + 2 * after for before, after in blocks) + 256 * 128
        reformer = 9 * 128 * 32 + 32 + rest
        assert count("g2d-small") == prior + upsampler + reformer == 9_943_363
        assert count("g2d") == pytest.approx(178.5e6, rel=0.01)

    @pytest.mark.parametrize("name", ["g2d", "g2d-small"])
    def test_its_settings_make_the_same_recipe_again(self, name, tmp_path):
        found = load_recipe(name)
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(found.plain()))
        assert load_recipe(path) == found

    def test_defaults_alone(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(LEAST))
        found = load_recipe(path)
        assert found.network == G2DConfig() and found.template == "dlib150" and found.holdout == 7

    def test_only_settings_of_the_reformer_that_there_is(self):
        assert "depth" not in load_recipe("g2d-small").plain()["network"]
        assert "start" not in load_recipe("g2d").plain()["network"]


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ("network.token=9", 'no setting "network.token"; did you mean "tokens"?'),
            ("network.size=145", 'network: "size" must be a multiple of 4 from 16 to 1024, not 145'),
            ("network.tokens=200", 'network: "tokens" must be a whole number from 4 to 128, not 200'),
            ("network.size=16", 'network: "tokens" must be at most "size", 16, not 18'),
            ("network.heads=5", 'network: "prior_width" must be a multiple of "heads", 5, not 192'),
            ("network.block=4", 'network: "block" must name one of 4 residual blocks, not 4'),
            ("network.fill=sample", 'network.fill "sample" is unknown'),
            ("network.reformer=mlp", 'network.reformer "mlp" is unknown'),
            ("network.reads=pixels", 'network.reads "pixels" is unknown'),
            ("network.reformer=residual", "a residual reformer has none of its teacher's weights; set "
             "reformer.start=random"),
            ("template=wide", 'template "wide" is unknown'),
            ("template=sphereface96", "which does not scale to (144, 144); choose another template"),
            ("holdout=1", "holdout 1 keeps every picture out; give 0, or 2 and more"),
            ("holdout=-1", "holdout must not be negative"),
            ("grow=[3, 1]", "grow must be the least and the most, 0 or more, not [3, 1]"),
            ("prior.random_share=2", "prior.random_share must lie between 0 and 1, not 2"),
            ("prior.palette_faces=0", "prior.palette_faces must be positive, not 0"),
            ("prior.optimiser.betas=[0.5]", "prior.optimiser.betas must be two numbers from 0 to below 1, not [0.5]"),
            ("classifier.optimiser.betas=[0.5, 1]", "classifier.optimiser.betas must be two numbers"),
            ("upsampler.guide=sample", 'upsampler.guide "sample" is unknown'),
            ("upsampler.losses={whole: 0, hole: 0, adversarial: 0}", "all weights of upsampler.losses are 0"),
            ("upsampler.losses={style: 1, features: []}", "losses.features names none of the teacher's modules"),
            ("upsampler.epochs=0", "upsampler.epochs must be positive, not 0"),
            ("reformer.encoder=none", 'reformer.encoder "none" is unknown'),
            ("reformer.start=dlib", 'reformer.start "dlib" is unknown'),
            ("reformer.losses={instance_weight: 0, pair_weight: 0, triplet_weight: 0}",
             "all weights of reformer.losses are 0"),
            ("reformer.losses.instance=soft", 'reformer.losses.instance "soft" is unknown'),
            ("classifier.p=1.5", "classifier.p must lie between 0 and 1, not 1.5"),
            ("classifier.precision=8", "classifier.precision must be a text, not 8"),
            ("masks.recipes.worn=0", "masks.recipes.worn must be positive, not 0"),
            ("seed=-1", "seed must lie between 0 and"),
        ],
    )  # fmt: skip
    def test_one_line_that_names_the_setting(self, change, why):
        said = refused(change)
        assert said.startswith("recipe g2d-small: ") and why in said

    def test_a_picture_too_small_for_a_critic(self):
        sizes = "network={size: 20, tokens: 5, reformer: residual}"
        how = (sizes, "reformer.start=random", "upsampler.losses.adversarial=0.1")
        assert "faces below 24 pixels have no critic; set upsampler.losses.adversarial=0" in refused(*how)
        assert load_recipe("g2d-small", how[:2]).network.size == 20

    def test_a_whole_network_behind_a_start(self):
        assert '"start" must be 0 where the reformer reads the picture' in refused(
            "network.reads=picture", "network.start=3"
        )


@pytest.fixture(scope="module")
def settings():
    pytest.importorskip("lightning")
    from maskbench.train.g2d_chain import settings_of

    return settings_of


class TestWhatStagesDependOn:
    def test_each_on_those_before_it(self, settings):
        recipe = load_recipe("g2d-small")
        for number, stage in enumerate(STAGES):
            assert set(STAGES) & set(settings(recipe, stage)) == set(STAGES[: number + 1])

    def test_the_encoder_on_its_own_sizes_alone(self, settings):
        recipe = load_recipe("g2d-small")
        sizes = [set(settings(recipe, stage)["network"]) for stage in STAGES]
        assert sizes[0] == {"size", "tokens", "colours", "prior_width", "layers", "heads"}
        assert sizes[1] - sizes[0] == {"width", "blocks", "fill"}
        assert sizes[2] == sizes[3] == sizes[1] | {"block", "reads", "reformer", "start", "adapter"}

    def test_the_teacher_where_it_is_read(self, settings):
        def told(*changes):
            recipe = load_recipe("g2d-small", changes)
            return ["teacher" in settings(recipe, stage) for stage in STAGES]

        assert told() == [False, False, True, True]
        assert told("upsampler.losses.style=1") == told("upsampler.losses.perceptual=1") == [False, True, True, True]

    def test_a_random_encoder_needs_no_stage_before(self, settings):
        from maskbench.train.g2d_chain import stage_before

        recipe = load_recipe("g2d-small", ["reformer.encoder=random"])
        assert [stage_before(recipe, stage) for stage in STAGES] == [None, "prior", None, "reformer"]
        assert set(STAGES) & set(settings(recipe, "classifier")) == {"reformer", "classifier"}


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("--recipe", "maskinv-small"), "recipe maskinv-small: of method maskinv; maskbench train maskinv"),
            (("--recipe", "smal"), 'no training recipe "smal"'),
            (("--set", "prior.share=1"), 'no setting "prior.share"'),
            (("--stage", "upsampler"), "prior/weights.safetensors: no such file; train the stage prior first"),
            (("--stage", "classifier"), "reformer/weights.safetensors: no such file; train the stage reformer first"),
        ],
    )
    def test_mistakes_are_one_line(self, command, arguments, why):
        said = command("g2d", *arguments)
        assert said.startswith("error: ") and why in said and len(said.splitlines()) == 1

    def test_stages_that_there_are_not(self, command):
        assert "'prior', 'upsampler', 'reformer', 'classifier'" in command("g2d", "--stage", "encoder").splitlines()[-1]

    def test_another_run_that_is_not_there(self, command, tmp_path):
        assert "does not exist" in command("g2d", "--earlier", tmp_path / "none").splitlines()[-1]

    def test_recipes_are_listed(self, capsys):
        with pytest.raises(SystemExit):
            main(["train", "recipes"])
        assert {"g2d", "g2d-small"} <= {line.partition(":")[0] for line in capsys.readouterr().out.splitlines()}
