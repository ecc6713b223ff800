"""What is trained and how, as typed settings: defaults here, a YAML file over them, single values over that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.train.augment import Augmentation
from maskbench.train.recipe_file import Rules, build_settings, change_setting, check_settings, merged, read_settings

if TYPE_CHECKING:
    from maskbench.train.deocclusion_recipe import DeocclusionRecipe
    from maskbench.train.g2d_recipe import G2DRecipe

METHODS = ("maskinv", "deocclusion", "g2d")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
SCHEDULES = ("cosine", "steps", "constant")
OPTIMISERS = ("adamw", "adam", "sgd")
DISTILLATIONS = ("unit-mse", "unit-sum", "cosine", "raw-mse", "raw-sum")  # as in losses, which loads torch
MARGINS = ("arcface", "cosface", *(f"elasticface-{kind}" for kind in ("arc", "arc+", "cos", "cos+")))


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
        sampled: how many classes, its own and random others, a step's margin loss compares with; 0: all.
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
    sampled: int = 0


@dataclass(frozen=True)
class Optimiser:
    """How weights move.

    Attributes:
        name: "adamw", "adam" (without decay) or "sgd"; rate: the highest learning rate, for the whole batch as given;
            head_rate: of the classifier, where it is another one.
        schedule: "cosine" to 0, "steps" (times 0.1 when an epoch of ``drops`` begins) or "constant".
        warm_up: share of all steps in which the rate rises from 0.
        clip: largest norm of the network's gradient.
        betas: of the two kinds of Adam.
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
    betas: tuple[float, ...] = (0.9, 0.999)


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


def augmentation_rules(table: str) -> Rules:
    """Of an ``Augmentation`` under that key."""
    shares = ("flip", "crop112", "colour", "grey", "small", "blur", "noise", "jpeg", "recolour", "patch")
    return Rules(
        not_negative=[f"{table}.{name}" for name in ("shift", "turn", "scale")],
        shares=[f"{table}.{name}" for name in shares],
    )


def optimiser_rules(table: str) -> Rules:
    """Of an ``Optimiser`` under that key; see ``wrong_betas`` for what is left."""
    return Rules(
        choices={f"{table}.name": OPTIMISERS, f"{table}.schedule": SCHEDULES},
        positive=[f"{table}.{name}" for name in ("rate", "head_rate", "clip")],
        not_negative=[f"{table}.weight_decay"],
        shares=[f"{table}.{name}" for name in ("warm_up", "momentum")],
    )


def stage_rules(stage: str = "") -> Rules:
    """Of what every training has, in the table of a stage or in the recipe itself."""
    table = f"{stage}." if stage else ""
    own = Rules(choices={f"{table}precision": PRECISIONS}, positive=[f"{table}batch", f"{table}epochs"])
    return merged(own, optimiser_rules(f"{table}optimiser"))


# Of what the recipes of all methods have.
COMMON_RULES = merged(
    Rules(positive=["version"], shares=["masks.p"], weights=["masks.recipes", "validation_masks"]),
    augmentation_rules("augmentation"),
)
RULES = merged(
    COMMON_RULES,
    stage_rules(),
    Rules(
        choices={
            "method": METHODS, "teacher_view": ("kept", "same"), "sampling": ("uniform", "balanced"),
            "losses.distillation": DISTILLATIONS, "losses.margin": MARGINS, "losses.unlabelled": ("own", "none"),
            "losses.classes": ("teacher", "random"),
        },
        positive=["losses.scale"],
        not_negative=[f"losses.{name}" for name in ("weight", "margin_weight", "margin_std", "sampled")],
        shares=["blend"],
    ),
)  # fmt: skip


def wrong_betas(table: str, optimiser: Optimiser) -> Iterator[str]:
    """A complaint where an optimiser, under that key, has betas that Adam does not take."""
    betas = optimiser.betas
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        yield f"{table}.betas must be two numbers from 0 to below 1, not {list(betas)}"


def complaints(recipe: Recipe) -> Iterator[str]:
    """What no rule of a single setting says: settings that do not go together, or by which nothing is learnt."""
    yield from wrong_betas("optimiser", recipe.optimiser)
    if recipe.losses.weight == 0 and recipe.losses.margin_weight == 0:
        yield "losses.weight and losses.margin_weight are both 0, so nothing would be learnt"


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with maskbench."""
    found = package_files("maskbench.data").joinpath("training").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in found if file.name.endswith(".yaml"))


def load_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe | DeocclusionRecipe | G2DRecipe:
    """A shipped recipe or a YAML file, with single settings changed.

    Its setting "method" says of which kind it is.

    Args:
        name: a name of ``shipped_recipes`` or the path of a ``.yaml`` file.
        changes: "key=value" with dots into tables, such as "losses.weight=10"; values as YAML has them.

    Raises:
        MaskbenchError: no such recipe or setting, or a value of the wrong kind; the message names file and key.
    """
    if str(name).endswith((".yaml", ".yml")):
        values, where = read_settings(Path(name)), str(name)
    else:
        if name not in shipped_recipes():
            raise MaskbenchError(f'no training recipe "{name}"; {nearest(str(name), shipped_recipes())}')
        with as_file(package_files("maskbench.data") / "training" / f"{name}.yaml") as path:
            values, where = read_settings(path), f"recipe {name}"
    for change in changes:
        change_setting(values, change)
    kind, rules, complaints_of = _of_method(values.get("method"))
    recipe = build_settings(kind, values, where)
    check_settings(recipe, where, rules)
    if complaint := next(complaints_of(recipe), None):
        raise MaskbenchError(f"{where}: {complaint}")
    return recipe


def _of_method(name: Any) -> tuple[type[Any], Rules, Callable[[Any], Iterator[str]]]:
    """Kind, rules and ``complaints`` of a method's recipes; for any other name MaskInv's, whose rules refuse it."""
    if name == "deocclusion":
        from maskbench.train import deocclusion_recipe  # which has parts of this one

        return deocclusion_recipe.DeocclusionRecipe, deocclusion_recipe.RULES, deocclusion_recipe.complaints
    if name == "g2d":
        from maskbench.train import g2d_recipe  # likewise

        return g2d_recipe.G2DRecipe, g2d_recipe.RULES, g2d_recipe.complaints
    return Recipe, RULES, complaints
