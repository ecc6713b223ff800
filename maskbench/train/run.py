"""A whole training run: faces, teacher, loop, and a network with its card at the end."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskbench._version import __version__
from maskbench.align import template_at
from maskbench.digest import array_sha256, config_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import make_folder, write_json, write_text
from maskbench.masking.recipes import resolve_recipe
from maskbench.models.checkpoints import save_state
from maskbench.models.dlib_resnet import DlibResNet, fold, unfold
from maskbench.models.zoo import NETWORKS
from maskbench.recognizers.base import load_recognizer, spec_digest
from maskbench.recognizers.card import card_of
from maskbench.recognizers.torch import TorchRecognizer
from maskbench.recognizers.training import SUFFIX
from maskbench.registry import nearest
from maskbench.train.data import MaskMix, TrainingFaces
from maskbench.train.face_sets import FaceSet, open_face_set
from maskbench.train.loop import Machine, check_start, fit, launch, read_log
from maskbench.train.maskinv import MaskInv
from maskbench.train.prepare import PreparedFaces, prepare_faces
from maskbench.train.recipe import Recipe
from maskbench.train.sampling import BatchPlan
from maskbench.train.templates import teacher_templates
from maskbench.train.validation import Validation
from maskbench.types import Recognizer, RecognizerSpec

WEIGHTS, REPORT, LEFT_OUT = "weights.safetensors", "training.json", "left_out.csv"


@dataclass(frozen=True)
class Source:
    """A training set.

    Attributes:
        path: a folder, a packed set, or shards; see ``face_sets.open_face_set``.
        subjects: a list of the subjects to take, one a line; None takes all.
        labels: a table of path and subject; None takes folders' names.
    """

    path: Path
    subjects: Path | None = None
    labels: Path | None = None

    def open(self) -> FaceSet:
        """Raises MaskbenchError as ``open_face_set`` does."""
        return open_face_set(self.path, self.labels, self.subjects)


@dataclass(frozen=True)
class Trained:
    """What a run leaves: ``weights`` load as "torch:PATH"; ``report`` has settings, digests, times and figures."""

    weights: Path
    report: dict[str, Any]


def train_maskinv(
    recipe: Recipe, sources: Sequence[Source], out: Path, resume: bool = False, machine: Machine | None = None,
    validation: Source | None = None, keep_crops: bool = True, licence: str = "unknown", terms: str = "unknown",
    cache: Path | None = None,
) -> Trained:  # fmt: skip
    """Train a student by a recipe of MaskInv and write it with its card to ``out``.

    Args:
        out: gets the checkpoint, the log, and at the end ``weights.safetensors``, its card and ``training.json``.
        resume: go on after an interruption; everything but ``machine`` must be the same.
        validation: labelled faces of other people, measured after each epoch.
        keep_crops: see ``prepare_faces``.
        licence, terms: of the weights, for the card.
        cache: the cache folder; by default ``files.cache_root()``.

    Raises:
        MaskbenchError: something is wrong with recipe, faces, teacher or folder; see the message.
    """
    machine = machine or Machine()
    make_folder(out)
    check_start(out, resume, {"recipe": recipe.plain()})
    sets = [source.open() for source in sources]
    student, spec = build_student(recipe)
    template = template_at(spec.template, spec.input_size)
    along = recipe.teacher_view == "same"
    fabric = launch(machine, recipe.precision)
    teacher = load_recognizer(recipe.teacher, fabric.device.type)
    if along and (teacher.spec.template, teacher.spec.input_size) != (spec.template, spec.input_size):
        raise MaskbenchError(f"recipe {recipe.name}: teacher and student read other crops; set teacher_view=kept")
    identity = {"recipe": recipe.plain(), "teacher": spec_digest(teacher.spec), "masks": _mask_digests(recipe)}
    check_start(out, resume, identity)  # before anything that takes long
    with fabric.rank_zero_first():
        faces = prepare_faces(sets, template, keep_crops, root=cache)
        checked = _validation(validation, faces, template, recipe, keep_crops, cache)
        templates = teacher_templates(teacher, faces, cache) if _needs_templates(recipe) else None
    identity["faces"] = faces.digest()
    start = {name: value.detach().clone() for name, value in student.state_dict().items()}
    method = MaskInv(student, spec, recipe, faces.subjects, templates, teacher if along else None)
    masks = MaskMix(recipe.masks.recipes, recipe.masks.p, recipe.seed) if recipe.masks.p else None
    data = TrainingFaces(faces, template, masks, recipe.augmentation, recipe.seed, clean=along)
    plan = BatchPlan(
        faces.subjects, _share(recipe.batch, fabric.world_size), recipe.seed, recipe.sampling, fabric.global_rank,
        fabric.world_size, _groups(faces),
    )  # fmt: skip

    def validate(step: int) -> dict[str, float]:
        if checked is None or not fabric.is_global_zero:
            return {}
        return checked(lambda pictures: _embed(student, spec, pictures), spec.comparator)

    found = validate if checked else None
    progress = fit(
        fabric, method, data, plan, recipe.optimiser, recipe.epochs, out, resume, identity, machine, validate=found
    )
    student.load_state_dict(blended(student.state_dict(), start, recipe.blend))
    if fabric.is_global_zero:
        return _deliver(
            recipe, student.cpu(), spec, teacher, faces, out, progress, identity, checked, (licence, terms)
        )
    return Trained(out / WEIGHTS, {})


def _validation(
    source: Source | None, faces: PreparedFaces, template: Any, recipe: Recipe, keep_crops: bool, cache: Path | None
) -> Validation | None:
    """Faces to measure on; nobody of them may be trained on."""
    if source is None:
        return None
    held_out = prepare_faces([source.open()], template, keep_crops, root=cache)
    both = sorted({subject for subject in held_out.subjects if subject} & {s for s in faces.subjects if s})
    if both:
        whom = f"{len(both)} people are also trained on, such as {both[0]}"
        raise MaskbenchError(f"{source.path}: {whom}; leave them out")
    if shared := len(np.intersect1d(held_out.pictures, faces.pictures)):
        raise MaskbenchError(f"{source.path}: {shared} of its pictures are also trained on; leave them out")
    return Validation(held_out, template, dict(recipe.validation_masks))


def _needs_templates(recipe: Recipe) -> bool:
    """Whether anything is made of the teacher's templates before the first step."""
    losses = recipe.losses
    head = losses.margin_weight > 0 and (losses.centred or losses.classes == "teacher")
    return recipe.teacher_view == "kept" or head or losses.distillation.startswith("raw")


def _mask_digests(recipe: Recipe) -> dict[str, str]:
    """What is in the mask recipes that are named: an edited file is another recipe."""
    named = [*recipe.masks.recipes, *recipe.validation_masks]
    return {name: array_sha256(np.array(repr(resolve_recipe(recipe=name)))) for name in dict.fromkeys(named)}


def _share(batch: int, world: int) -> int:
    if batch % world:
        raise MaskbenchError(f"a batch of {batch} cannot be shared among {world} processes; change one of the two")
    return batch // world


def _groups(faces: PreparedFaces) -> np.ndarray | None:
    """The shards of the faces, if they come from shards alone and are read in every epoch."""
    if any(face_set.groups is None for face_set in faces.sets):
        return None
    numbers, offset = [], 0
    for number, face_set in enumerate(faces.sets):
        groups = np.asarray(face_set.groups)
        mine = faces.places[faces.places[:, 0] == number]
        rows = [faces.face_number(part, row) for _, part, row in mine]
        numbers.append(groups[rows] + offset)
        offset += int(groups.max()) + 1
    return np.concatenate(numbers)


def build_student(recipe: Recipe) -> tuple[torch.nn.Module, RecognizerSpec]:
    """The network as it starts, and what it reads and gives.

    Raises:
        MaskbenchError: no such network or checkpoint, or the teacher is another network than the student.
    """
    wanted = recipe.student
    if wanted.network not in NETWORKS:
        remedy = nearest(wanted.network, NETWORKS)
        raise MaskbenchError(f'recipe {recipe.name}: no network "{wanted.network}"; {remedy}')
    facts = NETWORKS[wanted.network]
    if wanted.start == "random":
        torch.manual_seed(recipe.seed)
        spec = RecognizerSpec(
            recipe.name, "", facts.input_size, facts.template, facts.colour_order, facts.mean, facts.std,
            facts.embedding_size, facts.comparator,
        )  # fmt: skip
        module = facts.build()
    else:
        reference = recipe.teacher if wanted.start == "teacher" else wanted.start
        found = load_recognizer(reference, "cpu", "torch")
        if not isinstance(found, TorchRecognizer) or (found.spec.network or found.spec.name) != wanted.network:
            raise MaskbenchError(
                f"recipe {recipe.name}: {reference} is no {wanted.network}, so the student cannot start from it; "
                "change student.start or student.network"
            )
        module, spec = found.module, found.spec
    module = fold(module) if isinstance(module, DlibResNet) else module
    spec = replace(
        spec, name=recipe.name, weights_sha256="", network=facts.name, parameters=facts.parameters, flops=facts.flops
    )
    return module.to(memory_format=torch.channels_last).train(), spec


def blended(trained: dict[str, torch.Tensor], start: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """``share`` of the trained weights, the rest of those at the start; counters and the like as trained."""
    if share == 1.0:
        return trained
    return {
        name: torch.lerp(start[name].to(value), value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }


def _embed(student: torch.nn.Module, spec: RecognizerSpec, pictures: np.ndarray) -> np.ndarray:
    """Templates by the student as it is, in full precision."""
    from maskbench.recognizers.preprocess import preprocess

    device, training = next(student.parameters()).device, student.training
    student.eval()
    with torch.inference_mode():
        batch = torch.from_numpy(preprocess(pictures, spec)).to(device, memory_format=torch.channels_last)
        vectors = student(batch).float().cpu().numpy()
    student.train(training)
    return vectors


def _deliver(
    recipe: Recipe, student: torch.nn.Module, spec: RecognizerSpec, teacher: Recognizer, faces: PreparedFaces,
    out: Path, progress: Any, identity: dict[str, Any], checked: Validation | None, rights: tuple[str, str],
) -> Trained:
    """Weights, card, list of subjects, what was left out, and the report."""
    final = checked(lambda pictures: _embed(student, spec, pictures), spec.comparator) if checked else None
    module = student.eval().to(memory_format=torch.contiguous_format)
    save_state(unfold(module) if isinstance(module, DlibResNet) else module, out / WEIGHTS)
    names = [face_set.name for face_set in faces.sets]
    spec = replace(
        spec, training_data=(*(teacher.spec.training_data or ("unknown (the teacher's)",)), *names), licence=rights[0],
        terms=rights[1],
    )  # fmt: skip
    digest = config_sha256(identity)
    source = f"trained by maskbench {__version__}, recipe {recipe.name} version {recipe.version}, run {digest[:16]}"
    write_json((out / WEIGHTS).with_suffix(".json"), card_of(spec, file_sha256(out / WEIGHTS), source))
    known = sorted({subject.partition("/")[2] for subject in faces.subjects if subject})
    if known:
        write_text((out / WEIGHTS).with_suffix(SUFFIX), "".join(f"{subject}\n" for subject in known))
    _write_left_out(out / LEFT_OUT, faces.failures | progress.failures)
    report = {
        "recipe": recipe.plain(), "identity": digest, "steps": progress.step, "seconds": round(progress.seconds, 1),
        "faces": len(faces), "subjects": len(known), "left_out": len(faces.failures | progress.failures),
        "sets": {name: int((faces.places[:, 0] == number).sum()) for number, name in enumerate(names)}, "validation": {
            str(line["step"]): line["validation"] for line in read_log(out) if "validation" in line},
        "final": final, "versions": {name: version(name) for name in ("torch", "numpy", "lightning")} | {
            "maskbench": __version__, "python": platform.python_version()},
    }  # fmt: skip
    write_json(out / REPORT, report)
    return Trained(out / WEIGHTS, report)


def _write_left_out(path: Path, failures: dict[str, str]) -> None:
    import csv
    import io

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("picture", "reason"))
    writer.writerows(sorted(failures.items()))
    write_text(path, stream.getvalue())
