"""Training recipes: those that ship, files of one's own, single changes, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import message

from maskbench.train import deocclusion_recipe
from maskbench.train import recipe as recipe_module
from maskbench.train.deocclusion_recipe import DeocclusionRecipe
from maskbench.train.g2d_recipe import G2DRecipe
from maskbench.train.recipe import Recipe, load_recipe, shipped_recipes
from maskbench.train.recipe_file import Rules

MASKINV = ("maskinv-hg", "maskinv-lg", "maskinv-small")
DEOCCLUSION = ("deocclusion-hard", "deocclusion-small", "deocclusion-soft")
G2D = ("g2d", "g2d-small")
LEAST = {"name": "mine", "version": 1, "method": "maskinv", "description": "none", "source": "none"}


def write(folder: Path, text: str | None = None, **more: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(LEAST | more) if text is None else text, encoding="utf-8")
    return path


def refused(*arguments: Any) -> str:
    return message(load_recipe, *arguments)


class TestShipped:
    def test_all_of_them_load(self):
        assert shipped_recipes() == [*DEOCCLUSION, *G2D, *MASKINV]
        for name in shipped_recipes():
            found = load_recipe(name)
            assert found.name == name and found.description and found.source and found.seed == 0
            assert found.method == name.partition("-")[0]
            kinds = {"deocclusion": DeocclusionRecipe, "g2d": G2DRecipe, "maskinv": Recipe}
            assert type(found) is kinds[found.method]

    @pytest.mark.parametrize(
        ("name", "weight", "rate", "start"),
        [("maskinv-lg", 100.0, 0.1, "random"), ("maskinv-hg", 3000.0, 1.0, "torch:resume_0.01.safetensors")],
    )
    def test_published_settings(self, name, weight, rate, start):
        """MaskInv's released code: configKD and configHG."""
        found = load_recipe(name)
        assert found.student.network == "iresnet100" and found.student.start == start and found.student.frozen == ()
        assert found.teacher == "torch:elasticface-arc.safetensors"
        assert found.teacher_view == "same"  # the student's own picture, without the mask
        assert found.masks.p == 0.5
        losses = found.losses
        assert (losses.distillation, losses.weight) == ("unit-mse", weight)
        assert (losses.margin, losses.margin_weight) == ("elasticface-arc", 1.0)
        assert (losses.scale, losses.margin_mean, losses.margin_std) == (None, None, None)  # 64, 0.5, 0.05
        assert (losses.centred, losses.classes) == (False, "random")
        moves = found.optimiser
        assert (moves.name, moves.rate, moves.momentum, moves.weight_decay) == ("sgd", rate, 0.9, 5e-4)
        assert (moves.schedule, moves.drops, moves.warm_up, moves.clip) == ("steps", (7, 13, 19, 24), 0.0, 5.0)
        assert moves.head_rate is None
        assert (found.batch, found.epochs, found.precision, found.blend) == (4 * 128, 26, "32-true", 1.0)
        flips = found.augmentation
        assert flips.flip == 0.5
        assert not any(getattr(flips, entry.name) for entry in fields(flips) if entry.name != "flip")

    def test_lg_and_hg_differ_in_three_settings_only(self):
        low, high = load_recipe("maskinv-lg"), load_recipe("maskinv-hg")
        as_low = replace(
            high, name=low.name, description=low.description, source=low.source, student=low.student,
            losses=replace(high.losses, weight=100.0), optimiser=replace(high.optimiser, rate=0.1),
        )  # fmt: skip
        assert as_low == low and high.student.network == low.student.network

    def test_masks_of_shipped_recipes_exist(self):
        from maskbench.masking.recipes import resolve_recipe

        for name in shipped_recipes():
            found = load_recipe(name)
            for masks in [*found.masks.recipes, *found.validation_masks]:
                assert resolve_recipe(recipe=masks).name

    def test_networks_of_shipped_recipes_exist(self):
        from maskbench.models.zoo import NETWORKS

        assert all(load_recipe(name).student.network in NETWORKS for name in MASKINV)
        assert all(load_recipe(name).recognition.student.network in NETWORKS for name in DEOCCLUSION)

    def test_the_names_of_losses_are_those_that_exist(self):
        losses = pytest.importorskip("maskbench.train.losses")
        assert recipe_module.DISTILLATIONS == losses.KD_KINDS
        assert recipe_module.MARGINS == tuple(losses.MARGINS)

    @pytest.mark.parametrize(("name", "instance"), [("deocclusion-hard", "hard"), ("deocclusion-soft", "mixed")])
    def test_published_settings_of_deocclusion(self, name, instance):
        """Li et al., ACM Multimedia 2020, section 4.1; and the completion's of Yu et al., release v1.0.0."""
        found = load_recipe(name)
        assert found.masks.recipes == {"deocclusion": 1.0}
        student, losses = found.recognition, found.recognition.losses
        assert (student.student.network, student.student.start, student.student.frozen) == ("resnet18", "random", ())
        assert (losses.pair_weight, losses.triplet_weight, losses.soft_targets) == (1.0, 2.0, 1.0)
        assert (losses.instance, losses.delta, losses.normalisation) == (instance, 1.0, "own")
        assert losses.margin_weight == 0 and not student.end_to_end and (student.p, student.blend) == (1.0, 1.0)
        moves = student.optimiser
        assert (moves.name, moves.rate, moves.schedule, moves.drops) == ("sgd", 0.1, "steps", (24, 48, 72))
        assert (student.batch, student.epochs, student.precision) == (128, 96, "32-true")
        stage = found.completion
        assert (stage.network, stage.size, stage.width, stage.critic_width) == ("ga", 256, 1.0, 1.0)
        how = stage.losses
        assert (how.hole, how.outside, how.coarse, how.discount) == (1.2, 1.2, 1.2, 0.9)
        assert (how.adversary, how.adversarial, how.penalty, how.critic_steps) == ("wgan-gp", 0.001, 10.0, 5)
        assert (how.identity, how.penalty_every) == (0.0, 1)
        moves = stage.optimiser
        assert (moves.name, moves.rate, moves.betas, moves.schedule) == ("adam", 1e-4, (0.5, 0.9), "constant")
        assert (moves.warm_up, stage.batch, stage.precision) == (0.0, 16, "32-true") and moves.clip >= 1e6
        changed = found.augmentation  # "flip, shift"
        assert changed.flip == 0.5 and changed.shift > 0
        assert not any(getattr(changed, entry.name) for entry in fields(changed) if entry.name not in ("flip", "shift"))

    def test_hard_and_soft_differ_in_the_instance_loss_only(self):
        hard, soft = load_recipe("deocclusion-hard"), load_recipe("deocclusion-soft")
        losses = replace(soft.recognition.losses, instance="hard")
        as_hard = replace(soft, name=hard.name, description=hard.description,
                          recognition=replace(soft.recognition, losses=losses))  # fmt: skip
        assert as_hard == hard

    def test_the_names_of_deocclusion_are_those_that_exist(self):
        relations = pytest.importorskip("maskbench.train.relations")
        from maskbench.completions.learned import NETWORKS

        assert deocclusion_recipe.COMPLETIONS == tuple(name for name in NETWORKS if name != "ict")
        assert 'completion.network "ict" is unknown' in refused("deocclusion-small", ["completion.network=ict"])
        assert deocclusion_recipe.NORMALISATIONS == relations.NORMALISATIONS
        assert deocclusion_recipe.INSTANCE_KINDS == ("hard", *relations.SOFT_READINGS, "none")

    @pytest.mark.parametrize("name", ["deocclusion-hard", "deocclusion-soft", "deocclusion-small"])
    def test_both_stages_of_deocclusion_can_be_built(self, name):
        """Sizes that completions and critics take; drops in the epochs; holes that grow."""
        found = load_recipe(name)
        assert found.completion.size % 32 == 0
        assert max(found.recognition.optimiser.drops, default=0) < found.recognition.epochs
        least, most = found.completion.grow
        assert 0 <= least <= most


class TestFiles:
    def test_defaults(self, tmp_path):
        found = load_recipe(write(tmp_path))
        assert found == Recipe(**LEAST)
        assert load_recipe(str(write(tmp_path))) == found

    def test_tables_keep_the_defaults_of_what_they_leave_out(self, tmp_path):
        found = load_recipe(write(tmp_path, losses={"weight": 3}, student={"frozen": ["stem.", "blocks.0."]}))
        assert found.losses.weight == 3.0 and type(found.losses.weight) is float
        assert found.losses.margin == "elasticface-arc"
        assert found.student.frozen == ("stem.", "blocks.0.")

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1e-4", 1e-4), ("1E-4", 1e-4), ("1.0e-4", 1e-4), ("1", 1.0), (".5", 0.5), ("1e+2", 100.0), ("'0.25'", 0.25)],
    )
    def test_numbers_as_people_write_them(self, tmp_path, text, value):
        lines = "".join(f"{key}: {item}\n" for key, item in LEAST.items())
        found = load_recipe(write(tmp_path, f"{lines}optimiser:\n  rate: {text}\n"))
        assert found.optimiser.rate == value and type(found.optimiser.rate) is float
        assert load_recipe("maskinv-small", [f"optimiser.rate={text}"]).optimiser.rate == value

    @pytest.mark.parametrize("key", LEAST)
    def test_what_must_be_there(self, tmp_path, key):
        values = {name: value for name, value in LEAST.items() if name != key}
        path = write(tmp_path, yaml.safe_dump(values))
        assert refused(path) == f'{path}: "{key}" is missing'

    @pytest.mark.parametrize("text", ["", "- 1\n", "a text\n", "[1, 2]\n"])
    def test_no_table(self, tmp_path, text):
        path = write(tmp_path, text)
        assert refused(path) == f"{path}:1: not a training recipe; expected keys and values, see docs/training.md"

    def test_not_yaml(self, tmp_path):
        path = write(tmp_path, "name: mine\nversion: [1\nmethod: x\n")
        assert refused(path).startswith(f"{path}:3: not valid YAML (")
        path.write_bytes(b"name: \xff\n")
        assert refused(path) == f"{path}:1: not UTF-8; save the file as UTF-8"
        path.write_text("name: " + "[" * 5000)
        assert "not valid YAML" in refused(path)
        assert "missing.yaml: cannot be read" in refused(tmp_path / "missing.yaml")

    def test_keys_that_are_no_texts(self, tmp_path):
        assert "no setting \"7\"; known: " in refused(write(tmp_path, yaml.safe_dump(LEAST) + "7: 3\n"))

    def test_python_objects_are_not_made(self, tmp_path):
        path = write(tmp_path, "name: !!python/object/apply:os.getcwd []\n")
        assert f"{path}:1: not valid YAML" in refused(path)

    def test_an_unknown_recipe(self):
        said = refused("maskinv-smal")
        assert said.startswith('no training recipe "maskinv-smal"; did you mean "maskinv-small"? known: ')
        assert refused(Path("nothing")).startswith('no training recipe "nothing"; known: ')


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ({"batches": 3}, 'no setting "batches"; did you mean "batch"?'),
            ({"losses": {"wieght": 3}}, 'no setting "losses.wieght"; did you mean "weight"?'),
            ({"optimiser": {"learning": 3}}, 'no setting "optimiser.learning"; known: betas, clip, drops'),
            ({"optimiser": {"betas": 0.9}}, "optimiser.betas must be a list"),
            ({"optimiser": {"betas": ["much"]}}, "optimiser.betas must be a number, not 'much'"),
            ({"optimiser": {"betas": [0.5]}}, "optimiser.betas must be two numbers from 0 to below 1, not [0.5]"),
            ({"optimiser": {"betas": [0.5, 1]}}, "optimiser.betas must be two numbers from 0 to below 1"),
            ({"7": 3}, 'no setting "7"; known: '),
            ({"losses": 3}, "losses must be a table of settings"),
            ({"losses": None}, "losses must be a table of settings"),
            ({"masks": {"recipes": ["worn"]}}, "masks.recipes must be a table of names and weights"),
            ({"masks": {"recipes": {3: 1}}}, "masks.recipes must be a table of names and weights"),
            ({"masks": {"recipes": {"worn": "much"}}}, "masks.recipes.worn must be a number, not 'much'"),
            ({"masks": {"recipes": {"worn": 0}}}, "masks.recipes.worn must be positive, not 0.0"),
            ({"validation_masks": {"worn": -1}}, "validation_masks.worn must be positive, not -1.0"),
            ({"student": {"frozen": "stem."}}, "student.frozen must be a list"),
            ({"student": {"frozen": [1]}}, "student.frozen must be a text, not 1"),
            ({"optimiser": {"drops": [1.5]}}, "optimiser.drops must be a whole number, not 1.5"),
            ({"batch": 1.5}, "batch must be a whole number, not 1.5"),
            ({"batch": True}, "batch must be a whole number, not True"),
            ({"batch": "128"}, "batch must be a whole number, not '128'"),
            ({"epochs": True}, "epochs must be a number, not True"),
            ({"epochs": None}, "epochs must be a number, not None"),
            ({"epochs": float("nan")}, "epochs must be a number, not nan"),
            ({"epochs": float("inf")}, "epochs must be a number, not inf"),
            ({"epochs": "inf"}, "epochs must be a number, not inf"),
            ({"epochs": 10**400}, "epochs must be a number, not 1000"),
            ({"description": 3}, "description must be a text, not 3"),
            ({"losses": {"centred": "yes, please"}}, "losses.centred must be true or false, not 'yes, please'"),
            ({"losses": {"centred": 1}}, "losses.centred must be true or false, not 1"),
            ({"losses": {"scale": "big"}}, "losses.scale must be a number, not 'big'"),
            ({"method": "maskin"}, 'method "maskin" is unknown; did you mean "maskinv"?'),
            ({"teacher_view": "keep"}, 'teacher_view "keep" is unknown; did you mean "kept"?'),
            ({"precision": "bf16"}, 'precision "bf16" is unknown; '),
            ({"sampling": "balance"}, 'sampling "balance" is unknown; did you mean "balanced"?'),
            ({"losses": {"distillation": "unit-mean"}}, 'losses.distillation "unit-mean" is unknown; did you mean'),
            ({"losses": {"margin": "arcfase"}}, 'losses.margin "arcfase" is unknown; did you mean "arcface"?'),
            ({"losses": {"classes": "teachers"}}, 'losses.classes "teachers" is unknown; did you mean "teacher"?'),
            ({"losses": {"unlabelled": "nobody"}}, 'losses.unlabelled "nobody" is unknown; known: none, own'),
            ({"optimiser": {"name": "adamv"}}, 'optimiser.name "adamv" is unknown; did you mean "adam'),
            ({"optimiser": {"schedule": "step"}}, 'optimiser.schedule "step" is unknown; did you mean "steps"?'),
            ({"batch": 0}, "batch must be positive, not 0"),
            ({"version": -1}, "version must be positive, not -1"),
            ({"epochs": 0}, "epochs must be positive, not 0.0"),
            ({"optimiser": {"rate": -0.1}}, "optimiser.rate must be positive, not -0.1"),
            ({"optimiser": {"head_rate": 0}}, "optimiser.head_rate must be positive, not 0.0"),
            ({"optimiser": {"clip": 0}}, "optimiser.clip must be positive, not 0.0"),
            ({"losses": {"scale": -1}}, "losses.scale must be positive, not -1.0"),
            ({"losses": {"weight": -1}}, "losses.weight must not be negative, but is -1.0"),
            ({"losses": {"margin_weight": -1}}, "losses.margin_weight must not be negative, but is -1.0"),
            ({"losses": {"margin_std": -1}}, "losses.margin_std must not be negative, but is -1.0"),
            ({"optimiser": {"weight_decay": -1}}, "optimiser.weight_decay must not be negative, but is -1.0"),
            ({"augmentation": {"turn": -3}}, "augmentation.turn must not be negative, but is -3.0"),
            ({"optimiser": {"momentum": 1.5}}, "optimiser.momentum must lie between 0 and 1, not 1.5"),
            ({"optimiser": {"warm_up": 2}}, "optimiser.warm_up must lie between 0 and 1, not 2.0"),
            ({"masks": {"p": 1.5}}, "masks.p must lie between 0 and 1, not 1.5"),
            ({"masks": {"p": -0.5}}, "masks.p must lie between 0 and 1, not -0.5"),
            ({"blend": 1.01}, "blend must lie between 0 and 1, not 1.01"),
            ({"augmentation": {"jpeg": 2}}, "augmentation.jpeg must lie between 0 and 1, not 2.0"),
            ({"seed": -1}, "seed must lie between 0 and 4294967295, not -1"),
            ({"seed": 2**32}, "seed must lie between 0 and 4294967295, not 4294967296"),
        ],
    )
    def test_the_message_names_file_and_key(self, tmp_path, more, why):
        path = write(tmp_path, yaml.safe_dump(LEAST | more))
        assert refused(path).startswith(f"{path}: {why}")

    def test_every_probability_of_augmentation_is_one(self, tmp_path):
        """Those that are no probabilities are named here, so that a new one is thought of."""
        probabilities = {entry.name for entry in fields(recipe_module.Augmentation)} - {"shift", "turn", "scale"}
        for name in probabilities:
            assert f"augmentation.{name} must lie" in refused(write(tmp_path, augmentation={name: 1.5}))


class TestChanges:
    def test_single_settings(self):
        found = load_recipe(
            "maskinv-small",
            ["losses.margin_weight=0", "epochs=0.5", "student.frozen=[stem.]", "teacher=dummy",
             "losses.scale=", "masks.recipes.worn=2", "optimiser.rate=3e-4", "losses.centred=false"],
        )  # fmt: skip
        plain = load_recipe("maskinv-small")
        assert found.losses.margin_weight == 0.0 and found.epochs == 0.5 and found.teacher == "dummy"
        assert found.student.frozen == ("stem.",) and found.losses.scale is None and found.losses.centred is False
        assert found.masks.recipes == {**plain.masks.recipes, "worn": 2.0}
        assert found.optimiser.rate == 3e-4 and found.optimiser.name == plain.optimiser.name

    def test_the_last_one_counts(self):
        assert load_recipe("maskinv-small", ["seed=1", "seed=2"]).seed == 2

    def test_tables_that_the_file_leaves_out(self, tmp_path):
        assert load_recipe(write(tmp_path), ["optimiser.clip=1"]).optimiser.clip == 1.0

    def test_a_text_with_an_equals_sign(self):
        assert load_recipe("maskinv-small", ["description=a=b"]).description == "a=b"

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ("epochs", '"epochs" changes no setting; write key=value, such as losses.weight=10'),
            ("=3", '"=3" changes no setting; write key=value'),
            ("epochs.more=3", '"epochs.more=3": epochs is no table of settings'),
            ("epochs=[1", '"epochs=[1": the value is not YAML'),
            ("epochs=2024-13-45", '"epochs=2024-13-45": the value is not YAML'),
            ("epochs=" + "[" * 5000, '"epochs=[['),
            ("epoch=3", 'recipe maskinv-small: no setting "epoch"; did you mean "epochs"?'),
            ("losses.weight=much", "recipe maskinv-small: losses.weight must be a number, not 'much'"),
            ("losses..weight=1", 'recipe maskinv-small: no setting "losses."; '),
            ("losses=3", "recipe maskinv-small: losses must be a table of settings"),
            ("teacher=", "recipe maskinv-small: teacher must be a text, not None"),
        ],
    )
    def test_refused(self, change, why):
        assert refused("maskinv-small", [change]).startswith(why)


def other_values(value: Any, prefix: str = "", rules: Rules = recipe_module.RULES) -> Iterator[str]:
    """For every single setting of a recipe, a change to another value that is allowed."""
    choices = {**rules.choices, "method": None}
    for entry in fields(value):
        key, now = f"{prefix}{entry.name}", getattr(value, entry.name)
        if is_dataclass(now):
            yield from other_values(now, f"{key}.", rules)
        elif key in choices:
            yield from (f"{key}={choice}" for choice in choices[key] or () if choice != now)
        elif isinstance(now, bool):
            yield f"{key}={str(not now).lower()}"
        elif isinstance(now, (int, float)):
            yield f"{key}={now / 2 if isinstance(now, float) and now else now + 1}"
        elif isinstance(now, str):
            yield f"{key}={now}x"
        elif isinstance(now, dict):
            yield f"{key}.another=1"
        else:
            lists = {"drops": "[9]", "frozen": "[head.]", "betas": "[0.5, 0.75]", "grow": "[2, 2]"}
            yield f"{key}={lists.get(entry.name, '0.125')}"


def test_the_digest_changes_with_any_setting(tmp_path):
    path = write(tmp_path)
    plain = load_recipe(path)
    changes = list(other_values(plain))
    assert {change.partition("=")[0].split(".")[0] for change in changes} == {
        entry.name for entry in fields(Recipe)
    } - {"method"}  # another method has other settings
    digests = {change: load_recipe(path, [change]).digest() for change in changes}
    assert len({plain.digest(), *digests.values()}) == 1 + len(changes)


def test_the_digest_is_of_the_values_and_not_of_how_they_are_written(tmp_path):
    first = load_recipe(write(tmp_path, epochs=2, optimiser={"rate": "1e-2"})).digest()
    again = load_recipe(write(tmp_path, optimiser={"rate": 0.01}, epochs=2.0, seed=0)).digest()
    assert first == again and len(first) == 64


class TestDeocclusion:
    """What is different in recipes of the other method: two stages, and rules of their own."""

    LEAST = {**LEAST, "method": "deocclusion"}
    RULES = deocclusion_recipe.RULES

    def write(self, folder: Path, **more: Any) -> Path:
        return write(folder, yaml.safe_dump(self.LEAST | more))

    def with_value(self, folder: Path, key: str, value: Any) -> str:
        """The message of a recipe with one bad value."""
        for name in reversed(key.split(".")):
            value = {name: value}
        path = self.write(folder, **value)
        said = refused(path)
        assert said.startswith(f"{path}: {key}")
        return said

    def test_defaults(self, tmp_path):
        found = load_recipe(self.write(tmp_path))
        assert found == DeocclusionRecipe(**self.LEAST)
        plain = found.plain()
        assert plain["completion"]["grow"] == [1, 3] and plain["recognition"]["losses"]["instance"] == "mixed"
        assert plain["method"] == "deocclusion" and plain["completion"]["optimiser"]["betas"] == [0.5, 0.9]

    def test_tables_in_tables_keep_the_defaults_of_what_they_leave_out(self, tmp_path):
        found = load_recipe(self.write(tmp_path, completion={"losses": {"hole": "6e0"}, "grow": [0, 4]}))
        assert found.completion.losses.hole == 6.0 and found.completion.losses.discount == 0.9
        assert found.completion.grow == (0, 4) and found.completion.network == "ga"
        changed = load_recipe("deocclusion-small", ["recognition.student.frozen=[]", "completion.losses.identity=1"])
        assert changed.recognition.student.frozen == () and changed.completion.losses.identity == 1.0

    @pytest.mark.parametrize("key", sorted(RULES.choices))
    def test_choices(self, tmp_path, key):
        path = self.write(tmp_path)
        assert f'{key} "nothing" is unknown; ' in refused(path, [f"{key}=nothing"])
        for choice in self.RULES.choices[key]:
            found: Any = load_recipe(path, [f"{key}={choice}"])
            for name in key.split("."):
                found = getattr(found, name)
            assert found == choice

    @pytest.mark.parametrize("key", sorted(RULES.positive))
    def test_positive(self, tmp_path, key):
        for value in (0, -1):
            assert f"{key} must be positive, not {value}" in self.with_value(tmp_path, key, value)

    @pytest.mark.parametrize("key", sorted(RULES.not_negative))
    def test_not_negative(self, tmp_path, key):
        assert f"{key} must not be negative, but is -1" in self.with_value(tmp_path, key, -1)

    @pytest.mark.parametrize("key", sorted(RULES.shares))
    def test_shares(self, tmp_path, key):
        assert "must lie between 0 and 1, not 1.5" in self.with_value(tmp_path, key, 1.5)
        said = self.with_value(tmp_path, key, -0.5)
        assert "must lie between 0 and 1" in said or "must be positive" in said

    @pytest.mark.parametrize("key", sorted(RULES.weights))
    def test_weights(self, tmp_path, key):
        assert f"{key}.worn must be positive, not 0.0" in self.with_value(tmp_path, key, {"worn": 0})

    def test_every_number_has_a_rule(self):
        """Those without are named here, so that a new one is thought of."""
        ruled = {*self.RULES.positive, *self.RULES.not_negative, *self.RULES.shares}
        numbers = {
            change.partition("=")[0]
            for change in other_values(load_recipe("deocclusion-small"), "", self.RULES)
            if change.partition("=")[2].replace(".", "").replace("e-", "").isdigit() and ".recipes." not in change
        }
        free = {"seed", "validation_masks.another", "masks.recipes.another"}
        assert numbers - ruled - free == {"recognition.losses.margin_mean"}

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ({"losses": {"weight": 1}}, 'no setting "losses"; '),
            ({"completion": {"losses": {"whole": 1}}}, 'no setting "completion.losses.whole"; did you mean "hole"?'),
            ({"recognition": {"losses": {"weight": 1}}}, 'no setting "recognition.losses.weight"; '),
            ({"completion": 3}, "completion must be a table of settings"),
            ({"completion": {"size": 64.5}}, "completion.size must be a whole number, not 64.5"),
            ({"completion": {"grow": 2}}, "completion.grow must be a list"),
            ({"completion": {"grow": [1, 2.5]}}, "completion.grow must be a whole number, not 2.5"),
            ({"completion": {"grow": [3, 1]}}, "completion.grow must be the least and the most, 0 or more, not [3, 1]"),
            ({"completion": {"optimiser": {"betas": [0.5]}}}, "completion.optimiser.betas must be two numbers"),
            ({"recognition": {"optimiser": {"betas": [-1, 0]}}}, "recognition.optimiser.betas must be two numbers"),
            ({"recognition": {"variants": 2, "end_to_end": True}}, "recognition.variants are completed before"),
            ({"recognition": {"end_to_end": 1}}, "recognition.end_to_end must be true or false, not 1"),
            ({"recognition": {"losses": {"instance": "soft"}}}, 'recognition.losses.instance "soft" is unknown; known'),
            ({"seed": -1}, "seed must lie between 0 and 4294967295, not -1"),
        ],
    )
    def test_refused(self, tmp_path, more, why):
        path = self.write(tmp_path, **more)
        assert refused(path).startswith(f"{path}: {why}")

    def test_settings_of_the_other_method_are_unknown(self, tmp_path):
        assert 'no setting "completion"; ' in refused(write(tmp_path, completion={"size": 64}))
        assert 'no setting "teacher_view"; ' in refused(self.write(tmp_path, teacher_view="kept"))

    @pytest.mark.parametrize("key", ["completion.optimiser.rate", "recognition.student.frozen", "masks.p"])
    def test_what_a_table_leaves_out_is_as_without_the_table(self, tmp_path, key):
        """Also where the method's defaults are others than those of the table's kind."""
        plain = load_recipe(self.write(tmp_path)).plain()
        changed = load_recipe(self.write(tmp_path), [f"{key}={'[x]' if 'frozen' in key else 0.25}"]).plain()
        *tables, last = key.split(".")
        for name in tables[:-1]:
            plain, changed = plain[name], changed[name]
        before, after = plain.pop(tables[-1]), changed.pop(tables[-1])
        assert plain == changed and before.pop(last) != after.pop(last) and before == after

    def test_plain_settings_differ_for_any_change(self, tmp_path):
        path = self.write(tmp_path)
        plain = load_recipe(path)
        changes = list(other_values(plain, "", self.RULES))
        assert {change.partition("=")[0].split(".")[0] for change in changes} == {
            entry.name for entry in fields(DeocclusionRecipe)
        } - {"method"}
        found = [repr(load_recipe(path, [change]).plain()) for change in changes]
        assert len({repr(plain.plain()), *found}) == 1 + len(changes)

    @pytest.mark.parametrize(
        ("stage", "changes"),
        [
            ("completion", ["hole=0", "outside=0", "adversary=none"]),
            ("completion", ["hole=0", "outside=0", "adversarial=0"]),
            ("recognition", ["soft_targets=0", "instance=none", "pair_weight=0", "triplet_weight=0"]),
            ("recognition", ["soft_targets=0", "instance_weight=0", "pair_weight=0", "triplet_weight=0"]),
        ],
    )
    def test_a_stage_that_would_learn_nothing(self, stage, changes):
        changes = [f"{stage}.losses.{change}" for change in changes]
        said = f"recipe deocclusion-small: all weights of {stage}.losses are 0, so nothing would be learnt"
        assert refused("deocclusion-small", changes) == said
        assert load_recipe("deocclusion-small", changes[1:])
