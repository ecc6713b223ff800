"""Both stages of de-occlusion distillation: the completion into OUT/completion, then the student into OUT/student."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from maskbench.align import template_at
from maskbench.completions.learned import NETWORKS, CompletionCard, build, completion_card, read_completion_card
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import make_folder, read_json, write_json
from maskbench.models.checkpoints import read_file, save_state
from maskbench.recognizers.base import load_recognizer, spec_digest
from maskbench.recognizers.training import SUFFIX, read_training_subjects
from maskbench.train.checkpoint import NAME
from maskbench.train.completed import completed_faces
from maskbench.train.completion import CompletionTraining, Reader
from maskbench.train.data import MaskMix, TrainingFaces
from maskbench.train.deocclusion import Deocclusion, check_sizes, known_centroids
from maskbench.train.deocclusion_recipe import DeocclusionRecipe
from maskbench.train.loop import Machine, check_start, fit, launch, rank_zero_first, worker_count
from maskbench.train.maskinv import class_labels
from maskbench.train.network_input import NetworkInput
from maskbench.train.occluded import OccludedFaces, PutIn, shows, wide_at
from maskbench.train.occluded_validation import CompletionQuality, StudentQuality
from maskbench.train.prepare import PreparedFaces, prepare_faces
from maskbench.train.running import (
    REPORT,
    WEIGHTS,
    Run,
    Source,
    Trained,
    blended,
    build_network,
    check_shares,
    held_out_faces,
    mask_digests,
    plan_of,
    write_report,
    write_student,
    write_subjects,
)  # fmt: skip
from maskbench.train.templates import teacher_templates
from maskbench.types import RecognizerSpec

COMPLETION, STUDENT = "completion", "student"  # folders, and the file names beside the student's weights
WIDE = 192  # pixels of the crops that both stages are cut from: the scale of 150 x 150 crops for dlib's recognizer


class Faces:
    """The training faces of a run, prepared once for both stages.

    Args:
        sources: to train on; validation: other people, or None.
        cache: the cache folder; by default ``files.cache_root()``.
        side: pixels of the wide crops.
    """

    def __init__(
        self, sources: Sequence[Source], validation: Source | None, keep_crops: bool, cache: Path | None,
        side: int = WIDE,
    ) -> None:  # fmt: skip
        self.sets, self.validation = [source.open() for source in sources], validation
        self._keep, self.cache, self.wide = keep_crops, cache, wide_at(side)
        self._found: tuple[PreparedFaces, PreparedFaces | None] | None = None

    def ready(self) -> tuple[PreparedFaces, PreparedFaces | None]:
        """To train on, and to measure on. Raises MaskbenchError as ``prepare_faces`` and ``held_out_faces`` do."""
        if self._found is None:
            faces = prepare_faces(self.sets, self.wide, self._keep, root=self.cache)
            held = self.validation and held_out_faces(self.validation, faces, self.wide, self._keep, self.cache)
            self._found = faces, held
        return self._found


def train_completion(
    recipe: DeocclusionRecipe, faces: Faces, out: Path, resume: bool = False, machine: Machine | None = None,
    rights: tuple[str, str] = ("unknown", "unknown"),
) -> Trained:  # fmt: skip
    """The first stage: ``weights.safetensors`` and its card in ``out``, which completions load as "torch:PATH".

    Args:
        out: gets checkpoint, log, weights, card and ``training.json``.
        resume: go on after an interruption.
        rights: licence and terms of the weights.

    Raises:
        MaskbenchError: something is wrong with recipe, faces, teacher or folder; see the message.
    """
    machine, stage = machine or Machine(), recipe.completion
    settings, identity = _of_stage(recipe, COMPLETION), _identity_of_completion(recipe)
    make_folder(out)
    check_start(out, resume, identity)
    fabric = launch(machine, stage.precision)
    with rank_zero_first(fabric):
        prepared, held_out = faces.ready()
        reader, centroids = _identity_reader(recipe, prepared, faces.cache) if stage.losses.identity else (None, None)
    identity["faces"] = prepared.digest()
    torch.manual_seed(recipe.seed)
    network = NETWORKS[stage.network](stage.size, stage.width)
    method = CompletionTraining(network, stage, reader, centroids)
    masks = MaskMix(recipe.masks.recipes, 1.0, recipe.seed)
    data = OccludedFaces(prepared, wide_at(WIDE), stage.size, masks, recipe.augmentation, recipe.seed, stage.grow)
    checked = CompletionQuality(held_out, wide_at(WIDE), stage.size, recipe.validation_masks) if held_out else None
    plan = plan_of(prepared, stage.batch, recipe.seed, fabric)
    progress = fit(
        fabric, method, data, plan, stage.optimiser, stage.epochs, out, resume, identity, machine,
        validate=(lambda step: checked(network) if fabric.is_global_zero else {}) if checked else None,
    )  # fmt: skip
    report: dict[str, Any] = {}
    if fabric.is_global_zero:
        run = Run(recipe.name, recipe.version, settings, identity, rights)
        network = network.cpu().eval().to(memory_format=torch.contiguous_format)
        final = checked(network) if checked else None
        _write_completion(network, recipe, prepared, out, run)
        report = write_report(out, run, prepared, progress, final)
    fabric.barrier()  # the next stage begins with what is written here
    return Trained(out / WEIGHTS, report)


def _identity_of_completion(recipe: DeocclusionRecipe) -> dict[str, Any]:
    """What must be the same in a first stage that goes on, but for its faces."""
    identity: dict[str, Any] = {"recipe": _of_stage(recipe, COMPLETION), "masks": _masks(recipe)}
    if recipe.completion.losses.identity:
        identity["teacher"] = spec_digest(load_recognizer(recipe.teacher, "cpu", "torch").spec)
    return identity


def _identity_reader(
    recipe: DeocclusionRecipe, faces: PreparedFaces, cache: Path | None
) -> tuple[Reader, torch.Tensor]:
    """The teacher, to read completed faces, and the centre of each face's identity (N, D)."""
    teacher = load_recognizer(recipe.teacher, "cpu", "torch")
    module, spec = getattr(teacher, "module", None), teacher.spec
    if module is None:
        raise MaskbenchError(
            f"recipe {recipe.name}: completion.losses.identity needs a teacher that is a torch network, which "
            f"{recipe.teacher} is not; choose another teacher, or set it to 0"
        )
    templates = torch.from_numpy(teacher_templates(teacher, faces, cache)[:, 0])  # of the faces, not mirrored
    labels, classes = class_labels(faces.subjects, "own")
    numbers = torch.from_numpy(labels)
    centres = known_centroids(templates, numbers, classes)[numbers]
    centres[~torch.isfinite(templates).all(dim=1)] = torch.nan
    put_in = PutIn(recipe.completion.size, template_at(spec.template, spec.input_size))
    return Reader(module, NetworkInput(spec), put_in), centres


def _write_completion(
    network: torch.nn.Module, recipe: DeocclusionRecipe, faces: PreparedFaces, out: Path, run: Run
) -> None:
    path = out / WEIGHTS
    save_state(network, path)
    count = sum(weight.numel() for weight in network.parameters())
    names = [face_set.name for face_set in faces.sets]
    write_json(path.with_suffix(".json"), _card_of(recipe, file_sha256(path), count, names, run.rights, run.source))
    write_subjects(out, faces)


def _card_of(
    recipe: DeocclusionRecipe, sha256: str, parameters: int, data: Sequence[str], rights: tuple[str, str], source: str
) -> dict[str, Any]:
    """The card of the trained completion. Raises MaskbenchError for settings that no card can have."""
    stage = recipe.completion
    try:
        return completion_card(
            name=stage.name, network=stage.network, size=stage.size, width=stage.width, sha256=sha256,
            parameters=parameters, training_data=data, licence=rights[0], terms=rights[1], source=source,
        )  # fmt: skip
    except MaskbenchError as error:
        raise MaskbenchError(f"recipe {recipe.name}: completion: {error}") from error


def train_student(
    recipe: DeocclusionRecipe, completion: Path, faces: Faces, out: Path, resume: bool = False,
    machine: Machine | None = None, rights: tuple[str, str] = ("unknown", "unknown"),
) -> Trained:  # fmt: skip
    """The second stage: a student behind a trained completion, whose weights and card are put beside it.

    Args:
        completion: the weights of the first stage.
        out: gets checkpoint, log, ``weights.safetensors`` with its card, ``completion.safetensors`` with its own, and
            ``training.json``.
        resume, rights: as in ``train_completion``.

    Raises:
        MaskbenchError: something is wrong with recipe, completion, faces, teacher or folder; see the message.
    """
    machine, stage = machine or Machine(), recipe.recognition
    settings = _of_stage(recipe, "recognition")
    card, network = _open(completion)
    teacher = load_recognizer(recipe.teacher, "cpu")
    identity: dict[str, Any] = {
        "recipe": settings, "masks": _masks(recipe), "teacher": spec_digest(teacher.spec), "completion": card.sha256,
    }  # fmt: skip
    make_folder(out)
    check_start(out, resume, identity)
    student, spec = build_network(stage.student, recipe.teacher, recipe.name, recipe.seed)
    reader = template_at(spec.template, spec.input_size)
    _check_view(recipe.name, spec, card.size)
    fabric = launch(machine, stage.precision)
    with rank_zero_first(fabric):
        prepared, held_out = faces.ready()
        templates = teacher_templates(teacher, prepared, faces.cache)
    identity["faces"] = prepared.digest()
    start = {name: value.detach().clone() for name, value in student.state_dict().items()}
    put_in = PutIn(card.size, reader)
    method = Deocclusion(student, spec, network, put_in, stage, recipe.name, prepared.subjects, templates)
    data = _views(recipe, card, method, prepared, fabric, machine, faces.cache)
    checked = None
    if held_out:
        checked = StudentQuality(held_out, wide_at(WIDE), card.size, recipe.validation_masks, reader)

    def measured() -> dict[str, float]:
        assert checked
        return checked(student, method.completed, NetworkInput(spec), spec.comparator)

    plan = plan_of(prepared, stage.batch, recipe.seed, fabric)
    progress = fit(
        fabric, method, data, plan, stage.optimiser, stage.epochs, out, resume, identity, machine,
        validate=(lambda step: measured() if fabric.is_global_zero else {}) if checked else None,
    )  # fmt: skip
    student.load_state_dict(blended(student.state_dict(), start, stage.blend))
    if not fabric.is_global_zero:
        return Trained(out / WEIGHTS, {})
    final = measured() if checked else None
    beside = f"{COMPLETION}.safetensors"
    _put_beside(completion, network if stage.end_to_end else None, out / beside)
    run = Run(recipe.name, recipe.version, settings, identity, rights)
    more = card.training_data or ("unknown (the completion's)",)
    theirs = sorted(read_training_subjects(completion) or ())
    write_student(student.cpu(), replace(spec, completion=f"torch:{beside}"), teacher, prepared, out, run, more, theirs)
    return Trained(out / WEIGHTS, write_report(out, run, prepared, progress, final))


def _views(
    recipe: DeocclusionRecipe, card: CompletionCard, method: Deocclusion, faces: PreparedFaces, fabric: Any,
    machine: Machine, cache: Path | None,
) -> TrainingFaces:  # fmt: skip
    """What a student is trained on: faces with holes, or the variants of them that are completed before training."""
    stage, spec, settings = recipe.recognition, method.spec, _of_stage(recipe, "recognition")
    reader = template_at(spec.template, spec.input_size)
    masks = MaskMix(recipe.masks.recipes, stage.p, recipe.seed) if stage.p else None
    data = OccludedFaces(
        faces, wide_at(WIDE), card.size, masks, recipe.augmentation, recipe.seed, recipe.completion.grow, reader
    )
    if not stage.variants:
        return data
    made_with = {
        "completion": card.sha256, "masks": _masks(recipe), "p": stage.p, "precision": stage.precision,
        "settings": {name: settings[name] for name in ("seed", "grow", "augmentation", "masks")},
        "template": [spec.template, *spec.input_size],
    }  # fmt: skip
    with rank_zero_first(fabric):
        return completed_faces(data, method, stage.variants, made_with, fabric, worker_count(machine), cache)


def _open(completion: Path) -> tuple[CompletionCard, torch.nn.Module]:
    """A completion's card and network. Raises MaskbenchError if they do not belong together."""
    card = read_completion_card(completion)
    if file_sha256(completion) != card.sha256:
        raise MaskbenchError(f"{completion}: not the file that its card describes; get the right one, or train it anew")
    return card, build(completion, read_file(completion), card)


def _put_beside(completion: Path, changed: torch.nn.Module | None, path: Path) -> None:
    """The completion that the student reads: as it was, or as it has learnt along."""
    card = read_json(completion.with_suffix(".json"))
    if changed is None:
        shutil.copyfile(completion, path)
    else:
        save_state(changed.cpu().eval().to(memory_format=torch.contiguous_format), path)
        card = {**card, "sha256": file_sha256(path), "source": f"{card['source']}; then trained along with a student"}
    write_json(path.with_suffix(".json"), card)
    if (known := completion.with_suffix(SUFFIX)).is_file():
        shutil.copyfile(known, path.with_suffix(SUFFIX))


def _check_view(name: str, spec: RecognizerSpec, side: int) -> None:
    """A recognizer whose crop reaches beyond the completion's would see the edge of it."""
    if not shows(wide_at(side), template_at(spec.template, spec.input_size)):
        shown = f"template {spec.template} shows more than completions do"
        raise MaskbenchError(f"recipe {name}: {shown}; choose another network")


def _of_stage(recipe: DeocclusionRecipe, stage: str) -> dict[str, Any]:
    """All settings but the other stage's: what it was trained with is told by its digest."""
    other = {COMPLETION: "recognition", "recognition": COMPLETION}[stage]
    found = {key: value for key, value in recipe.plain().items() if key != other}
    if stage == "recognition":
        found["grow"] = list(recipe.completion.grow)
    return found


def _masks(recipe: DeocclusionRecipe) -> dict[str, str]:
    return mask_digests([*recipe.masks.recipes, *recipe.validation_masks])


def train_deocclusion(
    recipe: DeocclusionRecipe, sources: Sequence[Source], out: Path, stages: Sequence[str] = (COMPLETION, STUDENT),
    completion: Path | None = None, resume: bool = False, machine: Machine | None = None,
    validation: Source | None = None, keep_crops: bool = True, rights: tuple[str, str] = ("unknown", "unknown"),
    cache: Path | None = None,
) -> dict[str, Trained]:  # fmt: skip
    """The stages that are asked for, one after the other; a stage that is done is not done again.

    Args:
        out: the stages get folders of their own in it.
        completion: weights of a completion to take in place of the first stage's.
        resume: go on with the stage that was interrupted; also one that is done must have had the same settings.

    Raises:
        MaskbenchError: see ``train_completion`` and ``train_student``; or the first stage is missing, or there are two.
    """
    if completion and STUDENT not in stages:
        raise MaskbenchError(f"{completion}: a completion in place of the first stage; leave out --stage completion")
    _check_recipe(recipe)
    batches = {COMPLETION: ("completion.batch", recipe.completion.batch)}
    batches[STUDENT] = "recognition.batch", recipe.recognition.batch
    check_shares(dict(batches[stage] for stage in stages), machine or Machine())
    faces = Faces(sources, validation, keep_crops, cache)
    found: dict[str, Trained] = {}
    first, second, weights = out / COMPLETION, out / STUDENT, completion or out / COMPLETION / WEIGHTS
    if COMPLETION in stages and completion is None:
        if STUDENT in stages:
            _check_student(recipe)
        again = resume and (first / NAME).is_file()
        if again:
            check_start(first, True, _identity_of_completion(recipe))
        # The report is what a stage writes last. Without a checkpoint nobody could go on, nor has begun here.
        done = resume and weights.is_file() and ((first / REPORT).is_file() or not again)
        if not done:
            found[COMPLETION] = train_completion(recipe, faces, first, again, machine, rights)
    if STUDENT in stages:
        if not weights.is_file():
            raise MaskbenchError(f"{weights}: no such file; train the stage completion first, or give --completion")
        again = resume and (second / NAME).is_file()
        found[STUDENT] = train_student(recipe, weights, faces, second, again, machine, rights)
    return found


def _check_recipe(recipe: DeocclusionRecipe) -> None:
    """Raise MaskbenchError for what would else be found when the first stage is done."""
    _card_of(recipe, "0" * 64, 1, (), ("unknown", "unknown"), "unknown")


def _check_student(recipe: DeocclusionRecipe) -> None:
    """Raise MaskbenchError for a student that cannot be trained, before the first stage and not after it."""
    _, spec = build_network(recipe.recognition.student, recipe.teacher, recipe.name, recipe.seed)
    _check_view(recipe.name, spec, recipe.completion.size)
    check_sizes(recipe.name, load_recognizer(recipe.teacher, "cpu").spec.embedding_size, spec)
