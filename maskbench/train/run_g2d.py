"""All stages of G2D, greedily one after the other: each into a folder of its own, built on the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from maskbench.align import template_at
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import make_folder
from maskbench.models.g2d import build_g2d
from maskbench.recognizers.base import load_recognizer
from maskbench.train.checkpoint import NAME
from maskbench.train.deocclusion import check_sizes
from maskbench.train.g2d_chain import check_faces, checked_stage, identity_of, stage_before
from maskbench.train.g2d_recipe import CLASSIFIER, REFORMER, STAGES, UPSAMPLER, G2DRecipe
from maskbench.train.g2d_reformer import blocks_of
from maskbench.train.g2d_split import divided
from maskbench.train.g2d_stages import (
    MAKERS,
    Begun,
    Job,
    encoder_card,
    features_of,
    refuse_too_few,
    shipped_encoder,
    wide_side,
)
from maskbench.train.loop import Machine, check_start, fit, launch, rank_zero_first
from maskbench.train.occluded import shows
from maskbench.train.run_deocclusion import Faces
from maskbench.train.running import REPORT, WEIGHTS, Run, Source, Trained, check_shares, plan_of, write_report
from maskbench.train.validation import refuse_unlabelled


def _train(job: Job, stage: str, again: bool) -> Trained:
    """One stage; ``again``: goes on after an interruption."""
    recipe, settings, out = job.recipe, getattr(job.recipe, stage), job.out / stage
    first = stage_before(recipe, stage)
    before = job.before[first] if first else None
    made_before = checked_stage(before, first, recipe) if before and first else None
    identity = identity_of(recipe, stage, before)
    make_folder(out)
    check_start(out, again, identity)
    fabric = launch(job.machine, settings.precision)
    with rank_zero_first(fabric):
        prepared, validation = job.faces.ready()
        kept, held = divided(prepared, recipe.holdout)
        identity["faces"] = kept.digest()
        if before and made_before:
            check_faces(before, made_before, identity["faces"])
        made = MAKERS[stage](job, Begun(kept, held, validation, before, out, again))
    measured = made.measured
    progress = fit(
        fabric, made.method, made.data, plan_of(made.faces, settings.batch, recipe.seed, fabric), settings.optimiser,
        settings.epochs, out, again, identity, job.machine,
        validate=(lambda step: measured() if fabric.is_global_zero else {}) if measured and made.each_epoch else None,
    )  # fmt: skip
    report: dict[str, Any] = {}
    if fabric.is_global_zero:
        run = Run(recipe.name, recipe.version, identity["recipe"], identity, job.rights)
        final = measured() if measured else None
        made.write(out, run)
        about = {"made_with": identity, "weights": file_sha256(out / WEIGHTS), "kept_out": len(held)}
        report = write_report(out, run, made.faces, progress, final, about)
    fabric.barrier()  # the next stage begins with what is written here
    return Trained(out / WEIGHTS, report)


def train_g2d(
    recipe: G2DRecipe, sources: Sequence[Source], out: Path, stages: Sequence[str] = STAGES,
    earlier: Path | None = None, resume: bool = False, machine: Machine | None = None,
    validation: Source | None = None, keep_crops: bool = True, rights: tuple[str, str] = ("unknown", "unknown"),
    cache: Path | None = None,
) -> dict[str, Trained]:  # fmt: skip
    """The stages that are asked for, one after the other; a stage that is done is not done again.

    Args:
        out: the stages get folders of their own in it, each with checkpoint, log, weights, card and ``training.json``.
            "torch:OUT/upsampler/weights.safetensors" is a completion, "torch:OUT/reformer/weights.safetensors" a
            recognizer.
        earlier: the folder of another run, whose stages are taken for those that are not asked for.
        resume: go on with the stage that was interrupted; also one that is done must have had the same settings.

    Raises:
        MaskbenchError: something is wrong with recipe, faces, teacher or folder, or a stage that another one is built
            on is missing or is not what its record says; see the message.
    """
    wide = wide_side(template_at(recipe.template, (recipe.network.size,) * 2))
    faces = Faces(sources, validation, keep_crops, cache, wide)
    before = {stage: (out if stage in stages else earlier or out) / stage for stage in STAGES}
    job = Job(recipe, faces, out, before, machine or Machine(), rights)
    _check(job, stages)
    found: dict[str, Trained] = {}
    for stage in (stage for stage in STAGES if stage in stages):
        folder = out / stage
        again = resume and (folder / NAME).is_file()
        if again:
            first = stage_before(recipe, stage)
            check_start(folder, True, identity_of(recipe, stage, before[first] if first else None))
        # The report is what a stage writes last. Without a checkpoint nobody could go on, nor has begun here.
        if (folder / REPORT).is_file():
            _check_done(job, stage, resume)
            continue
        found[stage] = _train(job, stage, again)
    return found


def _check_done(job: Job, stage: str, resume: bool) -> None:
    """Raise MaskbenchError unless a finished stage is what this run would have made of the same."""
    folder = job.out / stage
    if not resume:
        raise MaskbenchError(
            f"{folder / REPORT}: a run is there already; go on with --resume, or train into another folder"
        )
    made, first = checked_stage(folder, stage, job.recipe), stage_before(job.recipe, stage)
    weights = job.before[first] / WEIGHTS if first else None
    if weights and weights.is_file() and made.get("before") != file_sha256(weights):
        raise MaskbenchError(f"{folder / REPORT}: built on another file than {weights}; train {stage} anew")
    check_faces(folder, made, divided(job.faces.ready()[0], job.recipe.holdout)[0].digest())


def _check(job: Job, stages: Sequence[str]) -> None:
    """Raise MaskbenchError for what would else be found when a stage begins, or is done."""
    recipe = job.recipe
    with torch.device("meta"):
        build_g2d(recipe.network)
    encoder_card(recipe, "0" * 64, 1, (), ("unknown", "unknown"), "unknown")
    if not shows(job.faces.wide, job.inner):
        shown = f"template {recipe.template} shows more than the crops that faces are kept in"
        raise MaskbenchError(f"recipe {recipe.name}: {shown}; choose another template")
    for stage in stages:
        built_on = stage_before(recipe, stage)
        if built_on and built_on not in stages and not (job.out / stage / REPORT).is_file():
            checked_stage(job.before[built_on], built_on, recipe)
    losses = recipe.upsampler.losses
    if UPSAMPLER in stages and (losses.perceptual or losses.style):
        features_of(job)
    if REFORMER in stages:
        _check_teacher(recipe)
        if job.faces.validation:
            held_out = job.faces.validation.open()
            refuse_unlabelled(held_out.name, [face.subject for face in held_out.faces])
    if CLASSIFIER in stages:
        refuse_too_few(recipe, sum(len({face.subject for face in found.faces} - {None}) for found in job.faces.sets))
    for stage in stages:
        _check_batch(job, stage)
    check_shares({f"{stage}.batch": getattr(recipe, stage).batch for stage in stages}, job.machine)


def _check_batch(job: Job, stage: str) -> None:
    batch, labelled = getattr(job.recipe, stage).batch, stage == CLASSIFIER
    count = sum(not labelled or face.subject is not None for found in job.faces.sets for face in found.faces)
    if count < batch:
        raise MaskbenchError(
            f"recipe {job.recipe.name}: {count} {'labelled ' if labelled else ''}faces are too few for a step of the "
            f"stage {stage}; give more, or set {stage}.batch"
        )


def _check_teacher(recipe: G2DRecipe) -> None:
    teacher = load_recognizer(recipe.teacher, "cpu")
    ours = replace(teacher.spec, embedding_size=recipe.network.embedding_size)
    check_sizes(recipe.name, teacher.spec.embedding_size, ours)
    if recipe.reformer.encoder == "shipped":
        shipped_encoder(recipe)
    if recipe.reformer.start == "teacher":
        blocks_of(load_recognizer(recipe.teacher, "cpu", "torch"), recipe.name)
