"""Settings of G2D: a generative encoder, a reformer that takes over a recognizer's relations, a classifier.

Source: Ge et al., "Masked Face Recognition with Generative-to-Discriminative Representations", ICML 2024; see
docs/methods/g2d.md for what it states and what it leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from maskbench.align import TEMPLATES, template_at
from maskbench.errors import MaskbenchError
from maskbench.models.g2d_config import FILLS, READS, REFORMERS, G2DConfig, config_values, parse_config
from maskbench.train.augment import Augmentation
from maskbench.train.deocclusion_recipe import INSTANCE_KINDS, NORMALISATIONS, Occluders, RelationLosses
from maskbench.train.recipe import OPTIMISERS, PRECISIONS, SCHEDULES, Optimiser
from maskbench.train.recipe_file import Rules

PRIOR, UPSAMPLER, REFORMER, CLASSIFIER = STAGES = ("prior", "upsampler", "reformer", "classifier")
GUIDES = ("expected", "argmax", "quantised-truth")
ENCODERS = ("stage", "random")
STARTS = ("teacher", "random")
SMALLEST_CRITICISED = 24  # pixels: a critic halves three times and then shrinks by two


# A table of settings in a file is made of its own class: so defaults that are different here need classes here.
@dataclass(frozen=True)
class EncoderOptimiser(Optimiser):
    """As ``recipe.Optimiser``, with what is known of the paper's encoder by default."""

    name: str = "adam"
    rate: float = 1e-5
    schedule: str = "constant"
    betas: tuple[float, ...] = (0.5, 0.9)
    clip: float = 1e9


@dataclass(frozen=True)
class PriorStage:
    """The transformer of the encoder, on its own objective: which colours hidden tokens have.

    Attributes:
        palette_faces: how many faces, evenly spaced, the palette's colours are made of.
        random_share: of the steps in which tokens are hidden one by one, a share of them that is drawn for each face;
            in the others those under a mask are.
        batch, epochs, precision: as in ``recipe.Recipe``.
    """

    palette_faces: int = 1024
    random_share: float = 0.5
    optimiser: EncoderOptimiser = field(default_factory=EncoderOptimiser)
    batch: int = 16
    epochs: float = 1.0
    precision: str = "32-true"


@dataclass(frozen=True)
class UpsamplerLosses:
    """The terms of the encoder's convolutional network; weights of 0 leave one out.

    Attributes:
        whole: L1 over the picture; hole: L1 inside the hole, over the share of the picture that is hole.
        adversarial: of a critic (non-saturating); critic_rate: its learning rate as a factor on the network's.
        perceptual, style: L1 between the teacher's features, and between their Gram matrices, of the completed and of
            the true picture; features: the names of the teacher's modules that give them.
    """

    whole: float = 1.0
    hole: float = 1.0
    adversarial: float = 0.1
    critic_rate: float = 0.1
    perceptual: float = 0.0
    style: float = 0.0
    features: tuple[str, ...] = ("blocks.2", "blocks.6", "blocks.9")


@dataclass(frozen=True)
class UpsamplerStage:
    """The convolutional network of the encoder, behind the frozen transformer.

    Attributes:
        name: what the trained completion is called.
        guide: the appearance that it learns behind: "expected" and "argmax" are what the transformer guesses, as later;
            "quantised-truth" is the true picture's own, which the source of the encoder trains on.
        critic_width: factor on the critic's channels.
    """

    name: str = "ict"
    guide: str = "expected"
    critic_width: float = 1.0
    losses: UpsamplerLosses = field(default_factory=UpsamplerLosses)
    optimiser: EncoderOptimiser = field(default_factory=EncoderOptimiser)
    batch: int = 16
    epochs: float = 1.0
    precision: str = "32-true"


@dataclass(frozen=True)
class ApproximationLosses(RelationLosses):
    """As ``deocclusion_recipe.RelationLosses``, by default with the relations alone."""

    soft_targets: float = 0.0
    instance: str = "hard"
    instance_weight: float = 0.0


@dataclass(frozen=True)
class ReformerStage:
    """The network behind the encoder, which takes over the teacher's templates of bare faces.

    Attributes:
        start: "teacher": with its weights, where the network has its blocks; or "random".
        encoder: "stage": the trained one; "random": as it is before any training, which needs no earlier stage.
        train_encoder: the encoder learns along, at ``encoder_rate`` of the rate.
        p: share of the faces that are masked; the others are bare.
        losses: with ``margin_weight`` and no other weight it is classification alone.
    """

    start: str = "random"
    encoder: str = "stage"
    train_encoder: bool = False
    encoder_rate: float = 0.1
    p: float = 0.7
    losses: ApproximationLosses = field(default_factory=ApproximationLosses)
    optimiser: Optimiser = field(default_factory=Optimiser)
    batch: int = 128
    epochs: float = 1.0
    precision: str = "32-true"


@dataclass(frozen=True)
class ClassifierStage:
    """One linear layer over the frozen network's templates: which of the people trained on it is.

    Attributes:
        p: share of the faces that are masked.
    """

    p: float = 0.7
    optimiser: Optimiser = field(default_factory=Optimiser)
    batch: int = 128
    epochs: float = 1.0
    precision: str = "32-true"


@dataclass(frozen=True)
class G2DRecipe:
    """All stages, apart from their data.

    Attributes:
        teacher: any recognizer by name.
        template: that faces are aligned to, scaled to the network's size.
        network: all its sizes.
        holdout: one of so many pictures of each labelled person is kept out of every stage, to identify; 0: none.
        masks: what faces wear; ``p`` counts for no stage (the encoder's mask every face, the others have their own).
        grow: by how many pixels holes are larger than masks, at least and at most.
        validation_masks: recipe -> weight, of what validation faces wear, and those kept out.
    """

    name: str
    version: int
    method: str
    description: str
    source: str
    teacher: str = "dlib-resnet"
    template: str = "dlib150"
    network: G2DConfig = field(default_factory=G2DConfig)
    holdout: int = 7
    masks: Occluders = field(default_factory=Occluders)
    grow: tuple[int, ...] = (1, 3)
    validation_masks: Mapping[str, float] = field(default_factory=lambda: {"worn": 1.0})
    augmentation: Augmentation = field(default_factory=Augmentation)
    prior: PriorStage = field(default_factory=PriorStage)
    upsampler: UpsamplerStage = field(default_factory=UpsamplerStage)
    reformer: ReformerStage = field(default_factory=ReformerStage)
    classifier: ClassifierStage = field(default_factory=ClassifierStage)
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """Every setting, as JSON has it; of the network those of the reformer that it has."""
        return json.loads(json.dumps({**asdict(self), "network": config_values(self.network)}))


_OPTIMISED = tuple(f"{stage}.optimiser" for stage in STAGES)
RULES = Rules(
    choices={
        "method": ("g2d",), "template": tuple(TEMPLATES), "upsampler.guide": GUIDES, "reformer.encoder": ENCODERS,
        "network.fill": FILLS, "network.reads": READS, "network.reformer": REFORMERS,
        "reformer.start": STARTS, "reformer.losses.instance": INSTANCE_KINDS,
        "reformer.losses.normalisation": NORMALISATIONS,
        **{f"{stage}.precision": PRECISIONS for stage in STAGES},
        **{f"{table}.name": OPTIMISERS for table in _OPTIMISED},
        **{f"{table}.schedule": SCHEDULES for table in _OPTIMISED},
    },
    positive=(
        "version", "prior.palette_faces", "upsampler.critic_width", "upsampler.losses.critic_rate",
        *(f"reformer.losses.{name}" for name in ("delta", "scale", "margin_scale")),
        *(f"{stage}.{key}" for stage in STAGES for key in ("batch", "epochs")),
        *(f"{table}.{key}" for table in _OPTIMISED for key in ("rate", "head_rate", "clip")),
    ),
    not_negative=(
        "holdout", "reformer.encoder_rate",
        *(f"upsampler.losses.{name}" for name in ("whole", "hole", "adversarial", "perceptual", "style")),
        *(f"reformer.losses.{name}" for name in (
            "soft_targets", "sampled", "instance_weight", "pair_weight", "triplet_weight", "margin_weight",
        )),
        *(f"{table}.weight_decay" for table in _OPTIMISED),
        *(f"augmentation.{name}" for name in ("shift", "turn", "scale")),
    ),
    shares=(
        "masks.p", "prior.random_share", "reformer.p", "classifier.p", "reformer.losses.mix",
        *(f"{table}.{key}" for table in _OPTIMISED for key in ("warm_up", "momentum")),
        *(f"augmentation.{name}" for name in ("flip", "crop112", "colour", "grey", "small", "blur", "noise", "jpeg")),
        "augmentation.recolour", "augmentation.patch",
    ),
    weights=("masks.recipes", "validation_masks"),
)  # fmt: skip


def check_together(recipe: G2DRecipe, where: str) -> None:
    """Raise MaskbenchError for settings that do not go with each other, or by which a stage would learn nothing."""
    try:
        parse_config(config_values(recipe.network))
    except MaskbenchError as error:
        raise MaskbenchError(f"{where}: network: {error}") from error
    try:
        template_at(recipe.template, (recipe.network.size,) * 2)
    except MaskbenchError as error:
        raise MaskbenchError(f"{where}: {error}; choose another template") from error
    if complaints := _complaints(recipe):
        raise MaskbenchError(f"{where}: {complaints[0]}")


def _complaints(recipe: G2DRecipe) -> list[str]:
    grow, first, second = recipe.grow, recipe.upsampler, recipe.reformer
    how, kind = second.losses, recipe.network.reformer
    instance = how.instance_weight if how.instance != "none" else 0.0
    found = []
    if recipe.holdout == 1:
        found.append("holdout 1 keeps every picture out; give 0, or 2 and more")
    if len(grow) != 2 or not 0 <= grow[0] <= grow[1]:
        found.append(f"grow must be the least and the most, 0 or more, not {list(grow)}")
    for stage in STAGES:
        betas = getattr(recipe, stage).optimiser.betas
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            found.append(f"{stage}.optimiser.betas must be two numbers from 0 to below 1, not {list(betas)}")
    if second.start == "teacher" and kind != "teacher":
        found.append(f"a {kind} reformer has none of its teacher's weights; set reformer.start=random")
    if first.losses.adversarial and recipe.network.size < SMALLEST_CRITICISED:
        found.append(f"faces below {SMALLEST_CRITICISED} pixels have no critic; set upsampler.losses.adversarial=0")
    features = first.losses.perceptual + first.losses.style
    if not (first.losses.whole + first.losses.hole + first.losses.adversarial + features):
        found.append("all weights of upsampler.losses are 0, so nothing would be learnt")
    if features and not first.losses.features:
        found.append("upsampler.losses.features names none of the teacher's modules")
    if not any((how.soft_targets, instance, how.pair_weight, how.triplet_weight, how.margin_weight)):
        found.append("all weights of reformer.losses are 0, so nothing would be learnt")
    return found
