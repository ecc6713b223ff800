"""What is trained and how, as typed settings: defaults here, a YAML file over them, single values over that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.train.augment import Augmentation
from maskbench.train.recipe_file import Rules, build_settings, change_setting, check_settings, read_settings

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


RULES = Rules(
    choices={
        "method": METHODS, "teacher_view": ("kept", "same"), "precision": PRECISIONS,
        "sampling": ("uniform", "balanced"), "losses.distillation": DISTILLATIONS, "losses.margin": MARGINS,
        "losses.unlabelled": ("own", "none"), "losses.classes": ("teacher", "random"), "optimiser.name": OPTIMISERS,
        "optimiser.schedule": SCHEDULES,
    },
    positive=("batch", "epochs", "version", "optimiser.rate", "optimiser.clip", "losses.scale", "optimiser.head_rate"),
    not_negative=(
        "losses.weight", "losses.margin_weight", "losses.margin_std", "losses.sampled", "optimiser.weight_decay",
        *(f"augmentation.{name}" for name in ("shift", "turn", "scale")),
    ),
    shares=(
        "masks.p", "blend", "optimiser.warm_up", "optimiser.momentum",
        *(f"augmentation.{name}" for name in ("flip", "crop112", "colour", "grey", "small", "blur", "noise", "jpeg")),
        "augmentation.recolour", "augmentation.patch",
    ),
    weights=("masks.recipes", "validation_masks"),
)  # fmt: skip


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
    if values.get("method") == "deocclusion":
        from maskbench.train import deocclusion_recipe  # which has parts of this one

        found = build_settings(deocclusion_recipe.DeocclusionRecipe, values, where)
        check_settings(found, where, deocclusion_recipe.RULES)
        deocclusion_recipe.refuse_no_losses(found, where)
        return found
    if values.get("method") == "g2d":
        from maskbench.train import g2d_recipe  # likewise

        made = build_settings(g2d_recipe.G2DRecipe, values, where)
        check_settings(made, where, g2d_recipe.RULES)
        g2d_recipe.check_together(made, where)
        return made
    recipe = build_settings(Recipe, values, where)
    check_settings(recipe, where, RULES)
    if recipe.losses.weight == 0 and recipe.losses.margin_weight == 0:
        raise MaskbenchError(f"{where}: losses.weight and losses.margin_weight are both 0, so nothing would be learnt")
    return recipe
