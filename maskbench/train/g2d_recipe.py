"""Settings of G2D: a generative encoder, a reformer that takes over a recognizer's relations, a classifier.

Source: Ge et al., "Masked Face Recognition with Generative-to-Discriminative Representations", ICML 2024; see
docs/methods/g2d.md for what it states and what it leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from maskbench.align import TEMPLATES, template_at
from maskbench.errors import MaskbenchError
from maskbench.models.g2d_config import FILLS, READS, REFORMERS, G2DConfig, config_values, parse_config
from maskbench.train.augment import Augmentation
from maskbench.train.deocclusion_recipe import (
    CompletionOptimiser,
    Occluders,
    RelationLosses,
    nothing_learnt,
    relation_rules,
    wrong_grow,
)
from maskbench.train.recipe import COMMON_RULES, Optimiser, stage_rules, wrong_betas
from maskbench.train.recipe_file import Rules, merged

PRIOR, UPSAMPLER, REFORMER, CLASSIFIER = STAGES = ("prior", "upsampler", "reformer", "classifier")
GUIDES = ("expected", "argmax", "quantised-truth")
ENCODERS = ("stage", "shipped", "random")
STARTS = ("teacher", "random")
SMALLEST_CRITICISED = 24  # pixels: a critic halves three times and then shrinks by two


# A table of settings in a file is made of its own class: so defaults that are different here need classes here.
@dataclass(frozen=True)
class EncoderOptimiser(CompletionOptimiser):
    """As ``deocclusion_recipe.CompletionOptimiser``, with the rate of the paper's encoder by default."""

    rate: float = 1e-5


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

    @property
    def teaches(self) -> bool:
        """Whether any term counts."""
        return any((self.whole, self.hole, self.adversarial, self.perceptual, self.style))


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
        encoder: "stage": the trained one; "shipped": the completion "ict" of the package; "random": as it is before any
            training. The last two need no earlier stage.
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


RULES = merged(
    COMMON_RULES,
    *(stage_rules(stage) for stage in STAGES),
    relation_rules("reformer.losses"),
    Rules(
        choices={
            "method": ("g2d",), "template": tuple(TEMPLATES), "upsampler.guide": GUIDES, "reformer.encoder": ENCODERS,
            "network.fill": FILLS, "network.reads": READS, "network.reformer": REFORMERS, "reformer.start": STARTS,
        },
        positive=["prior.palette_faces", "upsampler.critic_width", "upsampler.losses.critic_rate"],
        not_negative=[
            "holdout", "reformer.encoder_rate",
            *(f"upsampler.losses.{name}" for name in ("whole", "hole", "adversarial", "perceptual", "style")),
        ],
        shares=["prior.random_share", "reformer.p", "classifier.p"],
    ),
)  # fmt: skip


def complaints(recipe: G2DRecipe) -> Iterator[str]:
    """What no rule of a single setting says: settings that do not go together, or by which nothing is learnt."""
    try:
        parse_config(config_values(recipe.network))
    except MaskbenchError as error:
        yield f"network: {error}"
    try:
        template_at(recipe.template, (recipe.network.size,) * 2)
    except MaskbenchError as error:
        yield f"{error}; choose another template"
    if recipe.holdout == 1:
        yield "holdout 1 keeps every picture out; give 0, or 2 and more"
    yield from wrong_grow("grow", recipe.grow)
    for stage in STAGES:
        yield from wrong_betas(f"{stage}.optimiser", getattr(recipe, stage).optimiser)
    kind, losses = recipe.network.reformer, recipe.upsampler.losses
    if recipe.reformer.start == "teacher" and kind != "teacher":
        yield f"a {kind} reformer has none of its teacher's weights; set reformer.start=random"
    if losses.adversarial and recipe.network.size < SMALLEST_CRITICISED:
        yield f"faces below {SMALLEST_CRITICISED} pixels have no critic; set upsampler.losses.adversarial=0"
    if not losses.teaches:
        yield nothing_learnt("upsampler.losses")
    if losses.perceptual + losses.style and not losses.features:
        yield "upsampler.losses.features names none of the teacher's modules"
    if not recipe.reformer.losses.teaches:
        yield nothing_learnt("reformer.losses")
