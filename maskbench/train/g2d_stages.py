"""What each stage of G2D trains, on which faces, and what it leaves: see ``run_g2d``, which runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskbench.align import Template, template_at
from maskbench.completions.learned import CompletionCard, build, checked_file, completion_card, read_completion_card
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write, write_json
from maskbench.models.checkpoints import load_state, load_strict, save_state
from maskbench.models.g2d import G2D, FeatureClassifier, build_encoder, build_g2d, config_values
from maskbench.models.g2d_config import ENCODER_OPTIONS
from maskbench.models.ict import ICT
from maskbench.models.zoo import NETWORKS
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.training import read_training_subjects
from maskbench.train.data import MaskMix
from maskbench.train.g2d_chain import settings_of, shipped_encoder_file
from maskbench.train.g2d_encoder import Appearance, Features, PriorTraining, UpsamplerTraining, palette_of, some_faces
from maskbench.train.g2d_recipe import CLASSIFIER, PRIOR, REFORMER, UPSAMPLER, G2DRecipe
from maskbench.train.g2d_reformer import ClassifierTraining, ReformerTraining, fit_adapter, start_from
from maskbench.train.g2d_split import subset
from maskbench.train.g2d_validation import Identification, MaskedQuality, TokenQuality
from maskbench.train.loop import Machine, Method
from maskbench.train.network_input import NetworkInput
from maskbench.train.occluded import OccludedFaces, PutIn, wide_at
from maskbench.train.occluded_validation import CompletionQuality
from maskbench.train.prepare import PreparedFaces
from maskbench.train.run_deocclusion import WIDE, Faces
from maskbench.train.running import WEIGHTS, Run, write_student, write_subjects
from maskbench.train.templates import teacher_templates
from maskbench.types import Recognizer, RecognizerSpec

ADAPTER_FACES = 512  # that a reformer's first convolution is fitted on
PALETTE = "palette.npy"  # beside the first stage's checkpoint, which holds the transformer alone


def wide_side(template: Template) -> int:
    """Pixels of the wide crops that a network's are cut from: ``WIDE``, or as many as it needs at its own scale."""
    eyes, theirs = (np.linalg.norm(found.points[1] - found.points[0]) for found in (template, wide_at(WIDE)))
    return max(WIDE, int(np.ceil(WIDE * eyes / theirs / 8)) * 8)


@dataclass(frozen=True)
class Job:
    """What all stages of a run share.

    Attributes:
        faces: all of them, also those that are kept out.
        before: stage -> the folder that it is taken from by the stages behind it.
    """

    recipe: G2DRecipe
    faces: Faces
    out: Path
    before: Mapping[str, Path]
    machine: Machine
    rights: tuple[str, str]

    @property
    def inner(self) -> Template:
        """Of the crops that the network reads."""
        return template_at(self.recipe.template, (self.recipe.network.size,) * 2)

    def data(self, faces: PreparedFaces, p: float = 1.0, worn: bool = False) -> OccludedFaces:
        """What a stage is trained on; ``p``: share of the faces with a mask, ``worn``: which is also drawn."""
        recipe = self.recipe
        masks = MaskMix(recipe.masks.recipes, p, recipe.seed) if p else None
        return OccludedFaces(
            faces, self.faces.wide, self.inner, masks, recipe.augmentation, recipe.seed, recipe.grow, worn=worn
        )

    def encoder(self) -> ICT:
        """The encoder with the weights that its training starts from."""
        torch.manual_seed(self.recipe.seed)
        return build_encoder(self.recipe.network)


@dataclass(frozen=True)
class Begun:
    """A stage as it begins.

    Attributes:
        kept, held: the faces that are trained on, and those that are kept out.
        validation: other people's, or None.
        before: the folder of the stage that it is built on, or None.
        folder: its own; again: whether it goes on after an interruption.
    """

    kept: PreparedFaces
    held: PreparedFaces
    validation: PreparedFaces | None
    before: Path | None
    folder: Path
    again: bool


@dataclass(frozen=True)
class Made:
    """What a stage trains.

    Attributes:
        faces: those of ``data``.
        measured: what it comes to, on the device; ``each_epoch``: not only at the end.
        write: puts weights and card into a folder.
    """

    method: Method
    data: OccludedFaces
    faces: PreparedFaces
    measured: Callable[[], Mapping[str, float]] | None
    write: Callable[[Path, Run], None]
    each_epoch: bool = True


def _prior(job: Job, begun: Begun) -> Made:
    recipe, encoder = job.recipe, job.encoder()
    encoder.palette = _palette(job, begun, encoder)
    checked = begun.validation and TokenQuality(
        begun.validation, job.faces.wide, job.inner, recipe.validation_masks
    )

    def write(out: Path, run: Run) -> None:
        save_state(Appearance(encoder.cpu()), out / WEIGHTS)
        network = settings_of(recipe, PRIOR)["network"]
        _write_card(out, run, "maskbench-ict-prior-1", encoder.prior, begun.kept, {"network": network})

    measured = (lambda: checked(encoder)) if checked else None
    return Made(PriorTraining(encoder, recipe.prior), job.data(begun.kept), begun.kept, measured, write)


def _palette(job: Job, begun: Begun, encoder: ICT) -> torch.Tensor:
    """Fitted once; a stage that goes on takes what it began with."""
    path = begun.folder / PALETTE
    if not (begun.again and path.is_file()):
        data = job.data(begun.kept, 0.0)
        found = palette_of(encoder, data, job.recipe.prior.palette_faces, job.recipe.seed)
        with atomic_write(path) as stream:
            np.save(stream, found.numpy(), allow_pickle=False)
    try:
        palette = torch.from_numpy(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise MaskbenchError(f"{path}: damaged; train the stage prior anew") from error
    if palette.shape != encoder.palette.shape or palette.dtype != encoder.palette.dtype:
        raise MaskbenchError(f"{path}: not the palette of this run; train the stage prior anew")
    return palette


def _write_card(
    out: Path, run: Run, kind: str, module: torch.nn.Module, faces: PreparedFaces, more: Mapping[str, Any]
) -> None:
    """The card of weights that are no recognizer and no completion by themselves."""
    values = {
        "format": kind, "name": run.name, "sha256": file_sha256(out / WEIGHTS),
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "training_data": [face_set.name for face_set in faces.sets], "licence": run.rights[0], "terms": run.rights[1],
        "source": run.source, **more,
    }  # fmt: skip
    write_json((out / WEIGHTS).with_suffix(".json"), values)


def _upsampler(job: Job, begun: Begun) -> Made:
    recipe, encoder, stage = job.recipe, job.encoder(), job.recipe.upsampler
    assert begun.before
    _load(learnt := Appearance(encoder), begun.before)
    encoder.palette = learnt.palette
    checked = begun.validation and CompletionQuality(
        begun.validation, job.faces.wide, job.inner, recipe.validation_masks
    )
    features = features_of(job) if stage.losses.perceptual or stage.losses.style else None

    def write(out: Path, run: Run) -> None:
        save_state(encoder.cpu().to(memory_format=torch.contiguous_format), out / WEIGHTS)
        count = sum(weight.numel() for weight in encoder.parameters())
        names = [face_set.name for face_set in begun.kept.sets]
        card = encoder_card(recipe, file_sha256(out / WEIGHTS), count, names, run.rights, run.source)
        write_json((out / WEIGHTS).with_suffix(".json"), card)
        write_subjects(out, begun.kept)

    measured = (lambda: checked(encoder)) if checked else None
    method = UpsamplerTraining(encoder, stage, features)
    return Made(method, job.data(begun.kept), begun.kept, measured, write)


def _load(module: torch.nn.Module, folder: Path) -> None:
    """The weights of a finished stage."""
    path = folder / WEIGHTS
    load_strict(module, load_state(path), path)


def features_of(job: Job) -> Features:
    """What the perceptual and style terms read. Raises MaskbenchError if the teacher has nothing of the kind."""
    recipe, teacher = job.recipe, load_recognizer(job.recipe.teacher, "cpu", "torch")
    module, spec = getattr(teacher, "module", None), teacher.spec
    if module is None:
        raise MaskbenchError(
            f"recipe {recipe.name}: upsampler.losses.perceptual and style need a teacher that is a torch network, "
            f"which {recipe.teacher} is not; choose another teacher, or set them to 0"
        )
    put_in = PutIn(job.inner, template_at(spec.template, spec.input_size))
    return Features(module, recipe.upsampler.losses.features, NetworkInput(spec), put_in, recipe.name)


def encoder_card(
    recipe: G2DRecipe, sha256: str, parameters: int, data: Sequence[str], rights: tuple[str, str], source: str
) -> dict[str, Any]:
    """The card of the encoder as a completion. Raises MaskbenchError for settings that no card can have."""
    network = recipe.network
    try:
        return completion_card(
            name=recipe.upsampler.name, network="ict", size=network.size, width=network.width, sha256=sha256,
            parameters=parameters, training_data=data, licence=rights[0], terms=rights[1], source=source,
            template=recipe.template, options={key: getattr(network, key) for key in ENCODER_OPTIONS},
        )  # fmt: skip
    except MaskbenchError as error:
        raise MaskbenchError(f"recipe {recipe.name}: {error}") from error


def _reformer(job: Job, begun: Begun) -> Made:
    recipe, stage = job.recipe, job.recipe.reformer
    torch.manual_seed(recipe.seed)
    network, shipped = build_g2d(recipe.network), None
    if begun.before:
        _load(network.encoder, begun.before)
    elif stage.encoder == "shipped":
        network.encoder.load_state_dict(shipped_encoder(recipe).state_dict())
        shipped = read_completion_card(shipped_encoder_file(recipe.name))
    elif not begun.again:  # colours are no weights: an encoder that has learnt nothing gets those of the faces, too
        data = job.data(begun.kept, 0.0)
        network.encoder.palette = palette_of(network.encoder, data, recipe.prior.palette_faces, recipe.seed)
    if stage.start == "teacher":
        start_from(network, load_recognizer(recipe.teacher, "cpu", "torch"), recipe.name)
        if not begun.again:  # else the checkpoint has it
            _fit_adapter(job, begun, network)
    teacher = load_recognizer(recipe.teacher, "cpu")
    spec = _spec(recipe, teacher)
    templates = teacher_templates(teacher, begun.kept, job.faces.cache)
    method = ReformerTraining(network, spec, stage, recipe.name, begun.kept.subjects, templates)
    checked = begun.validation and MaskedQuality(
        begun.validation, job.faces.wide, job.inner, recipe.validation_masks
    )

    def write(out: Path, run: Run) -> None:
        owed: tuple[Run, Sequence[str], Sequence[str]] = (run, (), ())
        if shipped:  # brings the data, people and terms that it was made from
            people = read_training_subjects(shipped_encoder_file(recipe.name)) or ()
            owed = bound_by(run, shipped), shipped.training_data or (), sorted(people)
        write_student(network.cpu(), spec, teacher, begun.kept, out, *owed)

    measured = (lambda: checked(network, spec.comparator)) if checked else None
    return Made(method, job.data(begun.kept, stage.p, worn=True), begun.kept, measured, write)


def bound_by(run: Run, card: CompletionCard) -> Run:
    """A run whose weights hold those of a completion: both licences and terms."""
    theirs = card.licence, card.terms
    rights = [b if a in ("unknown", b) else f"{a} AND {b}" for a, b in zip(run.rights, theirs, strict=True)]
    return replace(run, rights=(rights[0], rights[1]))


def _fit_adapter(job: Job, begun: Begun, network: G2D) -> None:
    teacher = load_recognizer(job.recipe.teacher, "cpu", "torch")
    fit_adapter(network, teacher, job.recipe.name, some_faces(job.data(begun.kept, 0.0), ADAPTER_FACES))


def shipped_encoder(recipe: G2DRecipe) -> ICT:
    """The completion "ict" that the package ships, as the encoder of a recipe.

    Raises:
        MaskbenchError: the package has none, or it has other sizes than the recipe's encoder.
    """
    path = shipped_encoder_file(recipe.name)
    card = read_completion_card(path)
    network = recipe.network
    wanted = {"size": network.size, "width": network.width, "template": recipe.template}
    wanted |= {key: getattr(network, key) for key in ENCODER_OPTIONS}
    given = {"size": card.size, "width": card.width, "template": card.template, **card.options}
    if others := sorted(key for key in wanted if wanted[key] != given.get(key)):
        told = ", ".join(f"{key} {given.get(key)}" for key in others)
        raise MaskbenchError(f"recipe {recipe.name}: the encoder that ships has {told}; set the same, or train one")
    found = build(path, checked_file(path, card), card)
    assert isinstance(found, ICT)
    return found


def _spec(recipe: G2DRecipe, teacher: Recognizer) -> RecognizerSpec:
    """What the whole network reads and gives; its templates are compared as its teacher's."""
    facts = NETWORKS["g2d"].configured(config_values(recipe.network))
    return RecognizerSpec(
        recipe.name, "", facts.input_size, recipe.template, facts.colour_order, facts.mean, facts.std,
        facts.embedding_size, teacher.spec.comparator, facts.parameters, needs_mask=True, network=facts.name,
        flops=facts.flops, config=dict(facts.config),
    )  # fmt: skip


def _classifier(job: Job, begun: Begun) -> Made:
    recipe, stage = job.recipe, job.recipe.classifier
    assert begun.before
    labelled = subset(begun.kept, np.array([subject is not None for subject in begun.kept.subjects], bool))
    classes = sorted({subject for subject in labelled.subjects if subject})
    refuse_too_few(recipe, len(classes))
    numbers = {subject: number for number, subject in enumerate(classes)}
    network: G2D = build_g2d(recipe.network)
    _load(network, begun.before)
    torch.manual_seed(recipe.seed)
    classifier = FeatureClassifier(network.embedding_size, len(classes))
    labels = np.array([numbers[subject] for subject in labelled.subjects if subject], np.int64)
    known = subset(begun.held, np.array([subject in numbers for subject in begun.held.subjects], bool))
    checked = Identification(known, job.faces.wide, job.inner, recipe.validation_masks, classes) if len(known) else None

    def write(out: Path, run: Run) -> None:
        save_state(classifier.cpu(), out / WEIGHTS)
        more = {"backbone": file_sha256(begun.before / WEIGHTS), "classes": classes}
        _write_card(out, run, "maskbench-g2d-classifier-1", classifier, labelled, more)

    measured = (lambda: checked(network, classifier)) if checked else None
    method = ClassifierTraining(classifier, network, labels)
    return Made(method, job.data(labelled, stage.p, worn=True), labelled, measured, write, each_epoch=False)


def refuse_too_few(recipe: G2DRecipe, people: int) -> None:
    """Raise MaskbenchError unless there are labelled people to tell apart."""
    if people < 2:
        raise MaskbenchError(
            f"recipe {recipe.name}: the stage classifier needs two labelled people, but these faces have {people}; "
            "give labelled faces, or the other stages alone"
        )


MAKERS: dict[str, Callable[[Job, Begun], Made]] = {
    PRIOR: _prior, UPSAMPLER: _upsampler, REFORMER: _reformer, CLASSIFIER: _classifier,
}  # fmt: skip
