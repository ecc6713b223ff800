"""Settings of de-occlusion distillation: a completion network, then a student that reads completed faces.

Source: Li, Ge, Zhang, Li, "Look Through Masks: Towards Masked Face Recognition with De-Occlusion Distillation", ACM
Multimedia 2020; see docs/methods/deocclusion.md for what it states and what it leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from maskbench.completions.learned import NETWORKS
from maskbench.train.augment import Augmentation
from maskbench.train.recipe import COMMON_RULES, Masks, Optimiser, Student, stage_rules, wrong_betas
from maskbench.train.recipe_file import Rules, merged

COMPLETIONS = tuple(name for name in NETWORKS if name != "ict")  # whose two halves are not trained like the others
ADVERSARIES = ("wgan-gp", "log", "none")
INSTANCE_KINDS = ("hard", "centroid", "mixed", "direction", "none")
NORMALISATIONS = ("own", "own-all", "teacher", "teacher-all")  # as in relations, which loads torch


@dataclass(frozen=True)
class CompletionLosses:
    """The terms of the completion network's training (METHODS of Yu et al., CVPR 2018); weights of 0 leave one out.

    Attributes:
        hole: L1 inside the hole; outside: L1 outside it, over the share that is outside.
        coarse: factor of both terms for the coarse output, beside the refined one.
        discount: gamma; a hole's pixel counts gamma^distance to what is known. 1: all alike.
        adversary: "wgan-gp" (the reused network's), "log" (the paper's equation 8) or "none".
        adversarial: its weight; penalty: of the critics' gradient, inside the hole; penalty_every: it is taken in one
            of so many of the critics' steps, drawn at random, and then counts so many times.
        critic_steps: steps of the critics for one of the generator.
        identity: weight of the distance between the teacher's template of the completed face and the centroid of its
            identity (IDGAN).
    """

    hole: float = 1.2
    outside: float = 1.2
    coarse: float = 1.2
    discount: float = 0.9
    adversary: str = "wgan-gp"
    adversarial: float = 0.001
    penalty: float = 10.0
    penalty_every: int = 1
    critic_steps: int = 5
    identity: float = 0.0

    @property
    def teaches(self) -> bool:
        """Whether any term counts."""
        critics = self.adversarial if self.adversary != "none" else 0.0
        return any((self.hole, self.outside, critics, self.identity))


# A table of settings in a file is made of its own class: so defaults that are different here need classes here.
@dataclass(frozen=True)
class CompletionOptimiser(Optimiser):
    """As ``recipe.Optimiser``, with the defaults of the reused network's release."""

    name: str = "adam"
    rate: float = 1e-4
    schedule: str = "constant"
    betas: tuple[float, ...] = (0.5, 0.9)
    clip: float = 1e9


@dataclass(frozen=True)
class NewStudent(Student):
    """As ``recipe.Student``, with the paper's network by default."""

    network: str = "resnet18"
    start: str = "random"


@dataclass(frozen=True)
class Occluders(Masks):
    """As ``recipe.Masks``, with the paper's by default."""

    p: float = 1.0
    recipes: Mapping[str, float] = field(default_factory=lambda: {"deocclusion": 1.0})


@dataclass(frozen=True)
class CompletionStage:
    """The first stage.

    Attributes:
        network: of ``COMPLETIONS``; size: pixels of its square pictures; width: factor on all its channels, and
            critic_width on the discriminators'.
        name: what the trained completion is called.
        grow: by how many of its pixels holes are larger than masks, at least and at most.
        batch, epochs, precision: as in ``recipe.Recipe``.
    """

    network: str = "ga"
    name: str = "ga"
    size: int = 256
    width: float = 1.0
    critic_width: float = 1.0
    grow: tuple[int, ...] = (1, 3)
    losses: CompletionLosses = field(default_factory=CompletionLosses)
    optimiser: CompletionOptimiser = field(default_factory=CompletionOptimiser)
    batch: int = 16
    epochs: float = 1.0
    precision: str = "32-true"


@dataclass(frozen=True)
class RelationLosses:
    """The terms of equation 16, averaged over instances, pairs and triplets; see ``relations``.

    Attributes:
        soft_targets: of L_CE, whose classes are the training identities' centroids (``relations.centroid_logits``);
            scale of its logits; sampled: how many classes a step compares with, 0: all.
        instance: "hard" is equation 12; the others are readings of equation 17; mix: of "mixed".
        instance_weight, pair_weight, triplet_weight: the paper states the last two (1 and 2).
        delta: of Huber's loss; normalisation: of the distances of pairs.
        margin_weight: of ElasticFace-Arc with the identities themselves: what fine-tuning on completed faces has in
            place of distillation; margin_scale, margin_mean: of it.
    """

    soft_targets: float = 1.0
    scale: float = 16.0
    sampled: int = 0
    instance: str = "mixed"
    mix: float = 0.5
    instance_weight: float = 1.0
    pair_weight: float = 1.0
    triplet_weight: float = 2.0
    delta: float = 1.0
    normalisation: str = "own"
    margin_weight: float = 0.0
    margin_scale: float = 24.0
    margin_mean: float = 0.3

    @property
    def teaches(self) -> bool:
        """Whether any term counts."""
        instance = self.instance_weight if self.instance != "none" else 0.0
        return any((self.soft_targets, instance, self.pair_weight, self.triplet_weight, self.margin_weight))


@dataclass(frozen=True)
class StudentStage:
    """The second stage.

    Attributes:
        student: the network, and what it starts from.
        p: share of the faces that are occluded; the others are read as they are.
        variants: how many pictures of each face are completed before training, for epochs to take in turn
            (``completed``); 0 completes anew, with other masks, in every epoch.
        end_to_end: the completion learns along, at ``completion_rate`` of the student's rate.
        blend: share of the trained weights in what is delivered, the rest is the student's start.
    """

    student: NewStudent = field(default_factory=NewStudent)
    p: float = 1.0
    variants: int = 0
    losses: RelationLosses = field(default_factory=RelationLosses)
    end_to_end: bool = False
    completion_rate: float = 0.1
    optimiser: Optimiser = field(default_factory=Optimiser)
    batch: int = 128
    epochs: float = 1.0
    precision: str = "32-true"
    blend: float = 1.0


@dataclass(frozen=True)
class DeocclusionRecipe:
    """Both stages, apart from their data.

    Attributes:
        teacher: any recognizer by name.
        masks: what faces wear; ``p`` counts for neither stage (the first masks every face, the second has its own).
        validation_masks: recipe -> weight, of what validation faces wear.
    """

    name: str
    version: int
    method: str
    description: str
    source: str
    teacher: str = "dlib-resnet"
    masks: Occluders = field(default_factory=Occluders)
    validation_masks: Mapping[str, float] = field(default_factory=lambda: {"worn": 1.0})
    augmentation: Augmentation = field(default_factory=Augmentation)
    completion: CompletionStage = field(default_factory=CompletionStage)
    recognition: StudentStage = field(default_factory=StudentStage)
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """Every setting, as JSON has it."""
        return json.loads(json.dumps(asdict(self)))


def relation_rules(table: str) -> Rules:
    """Of ``RelationLosses`` under that key."""
    weights = ("soft_targets", "sampled", "instance_weight", "pair_weight", "triplet_weight", "margin_weight")
    return Rules(
        choices={f"{table}.instance": INSTANCE_KINDS, f"{table}.normalisation": NORMALISATIONS},
        positive=[f"{table}.{name}" for name in ("delta", "scale", "margin_scale")],
        not_negative=[f"{table}.{name}" for name in weights],
        shares=[f"{table}.mix"],
    )


_COMPLETION_RULES = Rules(
    choices={"completion.network": COMPLETIONS, "completion.losses.adversary": ADVERSARIES},
    positive=[
        f"completion.{name}" for name in (
            "size", "width", "critic_width", "losses.discount", "losses.critic_steps", "losses.penalty_every",
        )
    ],
    not_negative=[
        f"completion.losses.{name}" for name in ("hole", "outside", "coarse", "adversarial", "penalty", "identity")
    ],
    shares=["completion.losses.discount"],
)  # fmt: skip
RULES = merged(
    COMMON_RULES,
    _COMPLETION_RULES,
    stage_rules("completion"),
    relation_rules("recognition.losses"),
    stage_rules("recognition"),
    Rules(
        choices={"method": ("deocclusion",)},
        not_negative=["recognition.completion_rate", "recognition.variants"],
        shares=["recognition.p", "recognition.blend"],
    ),
)


def wrong_grow(key: str, grow: Sequence[int]) -> Iterator[str]:
    """A complaint where by how much holes are larger than masks is no range."""
    if len(grow) != 2 or not 0 <= grow[0] <= grow[1]:
        yield f"{key} must be the least and the most, 0 or more, not {list(grow)}"


def nothing_learnt(table: str) -> str:
    """The complaint about losses, under that key, none of which counts."""
    return f"all weights of {table} are 0, so nothing would be learnt"


def complaints(recipe: DeocclusionRecipe) -> Iterator[str]:
    """What no rule of a single setting says: settings that do not go together, or by which nothing is learnt."""
    first, second = recipe.completion, recipe.recognition
    if not first.losses.teaches:
        yield nothing_learnt("completion.losses")
    if not second.losses.teaches:
        yield nothing_learnt("recognition.losses")
    yield from wrong_grow("completion.grow", first.grow)
    if second.variants and second.end_to_end:
        yield (
            "recognition.variants are completed before training, so the completion cannot learn along; set one of "
            "variants and end_to_end to 0 or false"
        )
    yield from wrong_betas("completion.optimiser", first.optimiser)
    yield from wrong_betas("recognition.optimiser", second.optimiser)
