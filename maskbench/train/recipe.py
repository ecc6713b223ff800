"""What is trained and how, as typed settings: defaults here, a YAML file over them, single values over that."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib.resources import as_file
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.tables import read_text, yaml_complaint
from maskbench.train.augment import Augmentation

METHODS = ("maskinv",)
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
SCHEDULES = ("cosine", "steps", "constant")
OPTIMISERS = ("adamw", "sgd")
DISTILLATIONS = ("unit-mse", "unit-sum", "cosine", "raw-mse", "raw-sum")  # as in losses, which loads torch
MARGINS = ("arcface", "cosface", *(f"elasticface-{kind}" for kind in ("arc", "arc+", "cos", "cos+")))
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Student:
    """The network that is trained.

    Attributes:
        network: a name of ``maskbench.models.zoo.NETWORKS``.
        start: "teacher": with its weights; "random"; or the path of a checkpoint with its card.
        frozen: the beginnings of the names of parameters that stay as they are.
    """

    network: str = "dlib-resnet"
    start: str = "teacher"
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Masks:
    """What the student's faces wear.

    Attributes:
        p: share of the faces that wear something.
        recipes: recipe's name or file -> weight.
    """

    p: float = 0.5
    recipes: Mapping[str, float] = field(default_factory=lambda: {"worn": 1.0})


@dataclass(frozen=True)
class Losses:
    """The terms and their weights; see ``losses`` and docs/methods/maskinv.md.

    Attributes:
        distillation: kind of the distance to the teacher's template; weight: lambda.
        margin: kind of the margin loss; margin_weight: 0 leaves the classifier out.
        scale, margin_mean, margin_std: in place of the kind's own values where they are given.
        centred: templates less the mean of the teacher's, before the angle is taken.
        classes: "teacher": class weights start as the mean of the teacher's templates; "random".
        unlabelled: "own": each picture without a label is a class of its own; "none": it has the distillation only.
    """

    distillation: str = "unit-mse"
    weight: float = 100.0
    margin: str = "elasticface-arc"
    margin_weight: float = 1.0
    scale: float | None = None
    margin_mean: float | None = None
    margin_std: float | None = None
    centred: bool = False
    classes: str = "random"
    unlabelled: str = "own"


@dataclass(frozen=True)
class Optimiser:
    """How weights move.

    Attributes:
        name: "adamw" or "sgd"; rate: the highest learning rate, for the whole batch as given; head_rate: of the
            classifier, where it is another one.
        schedule: "cosine" to 0, "steps" (times 0.1 when an epoch of ``drops`` begins) or "constant".
        warm_up: share of all steps in which the rate rises from 0.
        clip: largest norm of the network's gradient.
    """

    name: str = "sgd"
    rate: float = 0.1
    head_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "steps"
    drops: tuple[int, ...] = ()
    warm_up: float = 0.0
    clip: float = 5.0


@dataclass(frozen=True)
class Recipe:
    """A whole training run, apart from its data.

    Attributes:
        teacher: any recognizer by name.
        teacher_view: "kept": its templates of the plain crops and their mirror images are computed once; "same": it
            sees the student's own crop, without mask, in every step.
        validation_masks: recipe -> weight, of what validation faces wear, whatever is trained on.
        blend: share of the trained weights in what is delivered; the rest is the student's start.
        epochs: how often all faces are seen, which may be a fraction; batch: faces in a step over all processes.
        precision: of Lightning Fabric.
    """

    name: str
    version: int
    method: str
    description: str
    source: str
    teacher: str = "dlib-resnet"
    teacher_view: str = "kept"
    student: Student = field(default_factory=Student)
    masks: Masks = field(default_factory=Masks)
    validation_masks: Mapping[str, float] = field(default_factory=lambda: {"worn": 1.0})
    augmentation: Augmentation = field(default_factory=Augmentation)
    losses: Losses = field(default_factory=Losses)
    optimiser: Optimiser = field(default_factory=Optimiser)
    sampling: str = "uniform"
    batch: int = 128
    epochs: float = 1.0
    precision: str = "32-true"
    blend: float = 1.0
    seed: int = 0

    def digest(self) -> str:
        """Of every setting."""
        return config_sha256(asdict(self))

    def plain(self) -> dict[str, Any]:
        """Every setting, as JSON has it."""
        return json.loads(json.dumps(asdict(self)))


_CHOICES = {
    "method": METHODS, "teacher_view": ("kept", "same"), "precision": PRECISIONS, "sampling": ("uniform", "balanced"),
    "losses.distillation": DISTILLATIONS, "losses.margin": MARGINS, "losses.unlabelled": ("own", "none"),
    "losses.classes": ("teacher", "random"), "optimiser.name": OPTIMISERS, "optimiser.schedule": SCHEDULES,
}  # fmt: skip
_POSITIVE = ("batch", "epochs", "version", "optimiser.rate", "optimiser.clip", "losses.scale", "optimiser.head_rate")
_NOT_NEGATIVE = (
    "losses.weight", "losses.margin_weight", "losses.margin_std", "optimiser.weight_decay",
    *(f"augmentation.{name}" for name in ("shift", "turn", "scale")),
)  # fmt: skip
_SHARES = (
    "masks.p", "blend", "optimiser.warm_up", "optimiser.momentum",
    *(f"augmentation.{name}" for name in ("flip", "crop112", "colour", "grey", "small", "blur", "noise", "jpeg")),
    "augmentation.recolour", "augmentation.patch",
)  # fmt: skip


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with maskbench."""
    found = package_files("maskbench.data").joinpath("training").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in found if file.name.endswith(".yaml"))


def load_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A shipped recipe or a YAML file, with single settings changed.

    Args:
        name: a name of ``shipped_recipes`` or the path of a ``.yaml`` file.
        changes: "key=value" with dots into tables, such as "losses.weight=10"; values as YAML has them.

    Raises:
        MaskbenchError: no such recipe or setting, or a value of the wrong kind; the message names file and key.
    """
    if str(name).endswith((".yaml", ".yml")):
        values, where = _read_yaml(Path(name)), str(name)
    else:
        if name not in shipped_recipes():
            raise MaskbenchError(f'no training recipe "{name}"; {nearest(str(name), shipped_recipes())}')
        with as_file(package_files("maskbench.data") / "training" / f"{name}.yaml") as path:
            values, where = _read_yaml(path), f"recipe {name}"
    for change in changes:
        _change(values, change)
    recipe = _build(Recipe, values, where, "")
    _check(recipe, where)
    return recipe


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(read_text(path, MaskbenchError))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MaskbenchError(yaml_complaint(path, error)) from error
    if not isinstance(values, dict):
        raise MaskbenchError(f"{path}:1: not a training recipe; expected keys and values, see docs/training.md")
    return values


def _change(values: dict[str, Any], change: str) -> None:
    import yaml

    key, equals, text = change.partition("=")
    if not equals or not key:
        raise MaskbenchError(f'"{change}" changes no setting; write key=value, such as losses.weight=10')
    *tables, last = key.split(".")
    for table in tables:
        inner = values.setdefault(table, {})
        if not isinstance(inner, dict):
            raise MaskbenchError(f'"{change}": {table} is no table of settings')
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that does not exist is a ValueError
        raise MaskbenchError(f'"{change}": the value is not YAML') from error


def _build(kind: Any, values: Any, where: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise MaskbenchError(f"{where}: {prefix.rstrip('.') or 'recipe'} must be a table of settings")
    known = {entry.name: entry for entry in fields(kind)}
    for key in values:
        if key not in known:
            raise MaskbenchError(f'{where}: no setting "{prefix}{key}"; {nearest(str(key), list(known))}')
    hints = typing.get_type_hints(kind)
    for name in ("name", "version", "method", "description", "source"):
        if kind is Recipe and name not in values:
            raise MaskbenchError(f'{where}: "{name}" is missing')
    return kind(**{key: _value(hints[key], value, where, prefix + key) for key, value in values.items()})


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, where, f"{key}.")
    origin = typing.get_origin(kind)
    if origin is types.UnionType:  # "or None"
        return None if value is None else _value(typing.get_args(kind)[0], value, where, key)
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        if not isinstance(value, list):
            raise MaskbenchError(f"{where}: {key} must be a list")
        return tuple(_value(inner, item, where, key) for item in value)
    if origin is not None:  # the mapping of recipes to weights
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise MaskbenchError(f"{where}: {key} must be a table of names and weights")
        return {name: _value(float, weight, where, f"{key}.{name}") for name, weight in value.items()}
    if kind is float and type(value) in (int, str):
        value = _number(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise MaskbenchError(f"{where}: {key} must be {_WORDS[kind]}, not {value!r}")
    return value


def _number(value: int | str) -> Any:
    """A number also where YAML sees a text, as in 1e-4."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _check(recipe: Recipe, where: str) -> None:
    def look(key: str) -> Any:
        value: Any = recipe
        for name in key.split("."):
            value = getattr(value, name)
        return value

    for key, choices in _CHOICES.items():
        if look(key) not in choices:
            raise MaskbenchError(f'{where}: {key} "{look(key)}" is unknown; {nearest(str(look(key)), choices)}')
    if recipe.losses.weight == 0 and recipe.losses.margin_weight == 0:
        raise MaskbenchError(f"{where}: losses.weight and losses.margin_weight are both 0, so nothing would be learnt")
    for key in _POSITIVE:
        if look(key) is not None and not look(key) > 0:
            raise MaskbenchError(f"{where}: {key} must be positive, not {look(key)}")
    for key in _NOT_NEGATIVE:
        if look(key) is not None and look(key) < 0:
            raise MaskbenchError(f"{where}: {key} must not be negative, but is {look(key)}")
    for key in _SHARES:
        if not 0 <= look(key) <= 1:
            raise MaskbenchError(f"{where}: {key} must lie between 0 and 1, not {look(key)}")
    for key in ("masks.recipes", "validation_masks"):
        for name, weight in look(key).items():
            if not weight > 0:
                raise MaskbenchError(f"{where}: {key}.{name} must be positive, not {weight}")
    if not 0 <= recipe.seed <= LARGEST_SEED:
        raise MaskbenchError(f"{where}: seed must lie between 0 and {LARGEST_SEED}, not {recipe.seed}")
