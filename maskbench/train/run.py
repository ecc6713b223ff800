"""A whole training run of MaskInv: faces, teacher, loop, and a network with its card at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from maskbench.align import template_at
from maskbench.errors import MaskbenchError
from maskbench.files import make_folder
from maskbench.recognizers.base import load_recognizer, spec_digest
from maskbench.train.data import MaskMix, TrainingFaces
from maskbench.train.loop import Machine, check_start, fit, launch, rank_zero_first
from maskbench.train.maskinv import MaskInv
from maskbench.train.prepare import prepare_faces
from maskbench.train.recipe import Recipe
from maskbench.train.running import (
    WEIGHTS,
    Run,
    Source,
    Trained,
    blended,
    build_network,
    embed_with,
    held_out_faces,
    mask_digests,
    plan_of,
    share_of,
    write_report,
    write_student,
)  # fmt: skip
from maskbench.train.templates import teacher_templates
from maskbench.train.validation import Validation
from maskbench.types import RecognizerSpec


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
    share_of(recipe.batch, fabric.world_size)  # before faces are prepared, which may take long
    teacher = load_recognizer(recipe.teacher, fabric.device.type)
    if along and (teacher.spec.template, teacher.spec.input_size) != (spec.template, spec.input_size):
        raise MaskbenchError(f"recipe {recipe.name}: teacher and student read other crops; set teacher_view=kept")
    identity = {"recipe": recipe.plain(), "teacher": spec_digest(teacher.spec), "masks": masks_of(recipe)}
    check_start(out, resume, identity)  # before anything that takes long
    with rank_zero_first(fabric):
        faces = prepare_faces(sets, template, keep_crops, root=cache)
        checked = None
        if validation:
            held_out = held_out_faces(validation, faces, template, keep_crops, cache)
            checked = Validation(held_out, template, dict(recipe.validation_masks))
        templates = teacher_templates(teacher, faces, cache) if _needs_templates(recipe) else None
    identity["faces"] = faces.digest()
    start = {name: value.detach().clone() for name, value in student.state_dict().items()}
    method = MaskInv(student, spec, recipe, faces.subjects, templates, teacher if along else None)
    masks = MaskMix(recipe.masks.recipes, recipe.masks.p, recipe.seed) if recipe.masks.p else None
    data = TrainingFaces(faces, template, masks, recipe.augmentation, recipe.seed, clean=along)

    def validate(step: int) -> dict[str, float]:
        if checked is None or not fabric.is_global_zero:
            return {}
        return checked(lambda pictures: embed_with(student, spec, pictures), spec.comparator)

    progress = fit(
        fabric, method, data, plan_of(faces, recipe.batch, recipe.seed, fabric, recipe.sampling), recipe.optimiser,
        recipe.epochs, out, resume, identity, machine, validate=validate if checked else None,
    )  # fmt: skip
    student.load_state_dict(blended(student.state_dict(), start, recipe.blend))
    if not fabric.is_global_zero:
        return Trained(out / WEIGHTS, {})
    final = checked(lambda pictures: embed_with(student.cpu(), spec, pictures), spec.comparator) if checked else None
    run = Run(recipe.name, recipe.version, recipe.plain(), identity, (licence, terms))
    write_student(student.cpu(), spec, teacher, faces, out, run)
    return Trained(out / WEIGHTS, write_report(out, run, faces, progress, final))


def build_student(recipe: Recipe) -> tuple[torch.nn.Module, RecognizerSpec]:
    """The recipe's student as it starts; see ``running.build_network``."""
    return build_network(recipe.student, recipe.teacher, recipe.name, recipe.seed)


def masks_of(recipe: Recipe) -> dict[str, str]:
    """Digests of the recipes of masks that are named."""
    return mask_digests([*recipe.masks.recipes, *recipe.validation_masks])


def _needs_templates(recipe: Recipe) -> bool:
    """Whether anything is made of the teacher's templates before the first step."""
    losses = recipe.losses
    head = losses.margin_weight > 0 and (losses.centred or losses.classes == "teacher")
    return recipe.teacher_view == "kept" or head or losses.distillation.startswith("raw")
