"""Training recipes: those that ship, files of one's own, single changes, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskbench.errors import MaskbenchError
from maskbench.train import recipe as recipe_module
from maskbench.train.recipe import Recipe, load_recipe, shipped_recipes

LEAST = {"name": "mine", "version": 1, "method": "maskinv", "description": "none", "source": "none"}


def write(folder: Path, text: str | None = None, **more: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(LEAST | more) if text is None else text, encoding="utf-8")
    return path


def refused(*arguments: Any) -> str:
    """The message of a recipe that cannot be loaded: one line."""
    with pytest.raises(MaskbenchError) as error:
        load_recipe(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestShipped:
    def test_all_of_them_load(self):
        assert shipped_recipes() == ["maskinv-hg", "maskinv-lg", "maskinv-small"]
        for name in shipped_recipes():
            found = load_recipe(name)
            assert found.name == name and found.method == "maskinv" and found.description and found.source

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

        assert all(load_recipe(name).student.network in NETWORKS for name in shipped_recipes())

    def test_the_names_of_losses_are_those_that_exist(self):
        losses = pytest.importorskip("maskbench.train.losses")
        assert recipe_module.DISTILLATIONS == losses.KD_KINDS
        assert recipe_module.MARGINS == tuple(losses.MARGINS)


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
        message = refused("maskinv-smal")
        assert message.startswith('no training recipe "maskinv-smal"; did you mean "maskinv-small"? known: ')
        assert refused(Path("nothing")).startswith('no training recipe "nothing"; known: ')


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ({"batches": 3}, 'no setting "batches"; did you mean "batch"?'),
            ({"losses": {"wieght": 3}}, 'no setting "losses.wieght"; did you mean "weight"?'),
            ({"optimiser": {"learning": 3}}, 'no setting "optimiser.learning"; known: clip, drops'),
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
            ({"optimiser": {"name": "adam"}}, 'optimiser.name "adam" is unknown; did you mean "adamw"?'),
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


def other_values(value: Any, prefix: str = "") -> Iterator[str]:
    """For every single setting of a recipe, a change to another value that is allowed."""
    choices = {**recipe_module.RULES.choices, "method": None}
    for entry in fields(value):
        key, now = f"{prefix}{entry.name}", getattr(value, entry.name)
        if is_dataclass(now):
            yield from other_values(now, f"{key}.")
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
            yield f"{key}={'[9]' if 'drops' in key else '[head.]' if 'frozen' in key else '0.125'}"


def test_the_digest_changes_with_any_setting(tmp_path):
    path = write(tmp_path)
    plain = load_recipe(path)
    changes = list(other_values(plain))
    assert {change.partition("=")[0].split(".")[0] for change in changes} == {
        entry.name for entry in fields(Recipe)
    } - {"method"}  # there is one method only
    digests = {change: load_recipe(path, [change]).digest() for change in changes}
    assert len({plain.digest(), *digests.values()}) == 1 + len(changes)


def test_the_digest_is_of_the_values_and_not_of_how_they_are_written(tmp_path):
    first = load_recipe(write(tmp_path, epochs=2, optimiser={"rate": "1e-2"})).digest()
    again = load_recipe(write(tmp_path, optimiser={"rate": 0.01}, epochs=2.0, seed=0)).digest()
    assert first == again and len(first) == 64
