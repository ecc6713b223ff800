"""What each stage of G2D was made with and built on: a stage begins only behind one that is what its record says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskbench.completions.builtin import shipped_learned
from maskbench.digest import config_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import read_json
from maskbench.recognizers.base import load_recognizer, spec_digest
from maskbench.train.g2d_recipe import CLASSIFIER, PRIOR, REFORMER, STAGES, UPSAMPLER, G2DRecipe
from maskbench.train.loop import refuse_other_run
from maskbench.train.running import REPORT, WEIGHTS, mask_digests

# What each half of the encoder is made of; the reformer's stage reads the whole network.
_OF_PRIOR = ("size", "tokens", "colours", "prior_width", "layers", "heads")
_OF_UPSAMPLER = (*_OF_PRIOR, "width", "blocks", "fill")
_DESCRIPTIVE = ("name", "version", "description", "source", "validation_masks")  # decide no weight


def stage_before(recipe: G2DRecipe, stage: str) -> str | None:
    """The stage that another one is built on, if there is one."""
    if stage == PRIOR or (stage == REFORMER and recipe.reformer.encoder != "stage"):
        return None
    return STAGES[STAGES.index(stage) - 1]


def settings_of(recipe: G2DRecipe, stage: str) -> dict[str, Any]:
    """The settings that a stage depends on: its own, those of the stages that it is built on, and what all share."""
    found, needed, last = recipe.plain(), set(), stage
    while last:
        needed.add(last)
        last = stage_before(recipe, last) or ""
    for other in set(STAGES) - needed:
        del found[other]
    if stage in (PRIOR, UPSAMPLER):
        keys = _OF_PRIOR if stage == PRIOR else _OF_UPSAMPLER
        found["network"] = {key: found["network"][key] for key in keys}
    if not reads_teacher(recipe, stage):
        del found["teacher"]
    return found


def reads_teacher(recipe: G2DRecipe, stage: str) -> bool:
    """Whether a stage, or one that it is built on, learns from the teacher."""
    losses = recipe.upsampler.losses
    return stage in (REFORMER, CLASSIFIER) or (stage == UPSAMPLER and bool(losses.perceptual or losses.style))


def identity_of(recipe: G2DRecipe, stage: str, before: Path | None) -> dict[str, Any]:
    """What must be the same in a stage that goes on, but for its faces.

    Args:
        before: the folder of the stage that it is built on.
    """
    identity: dict[str, Any] = {
        "recipe": settings_of(recipe, stage), "masks": mask_digests(recipe.masks.recipes),
        "validation_masks": mask_digests(recipe.validation_masks),
    }  # fmt: skip
    if reads_teacher(recipe, stage) and stage != CLASSIFIER:  # what that one is built on has it
        identity["teacher"] = spec_digest(load_recognizer(recipe.teacher, "cpu").spec)
    if stage == REFORMER and recipe.reformer.encoder == "shipped":
        identity["before"] = file_sha256(shipped_encoder_file(recipe.name))
    elif before and (before / WEIGHTS).is_file():
        identity["before"] = file_sha256(before / WEIGHTS)
    return identity


def shipped_encoder_file(recipe: str) -> Path:
    """The weights of the completion "ict" in the package. Raises MaskbenchError, with the recipe, if there are none."""
    if (found := shipped_learned().get("ict")) is None:
        raise MaskbenchError(
            f"recipe {recipe}: no encoder ships with this installation; set reformer.encoder=stage and train one"
        )
    return found


def checked_stage(folder: Path, stage: str, recipe: G2DRecipe) -> dict[str, Any]:
    """What a finished stage was made with: the identity of its run, with its faces.

    Args:
        folder: of the stage.

    Raises:
        MaskbenchError: it is missing or not finished; its weights are not those of its record, its record is not what
            its run wrote, or its settings are not this recipe's.
    """
    weights, path = folder / WEIGHTS, folder / REPORT
    for file in (weights, path):
        if not file.is_file():
            raise MaskbenchError(f"{file}: no such file; train the stage {stage} first")
    made = _made_with(path, stage)
    if file_sha256(weights) != read_json(path)["weights"]:
        raise MaskbenchError(f"{weights}: not the file that {path} names; get the right one, or train {stage} anew")
    now = {"recipe": settings_of(recipe, stage), "masks": mask_digests(recipe.masks.recipes)}
    refuse_other_run(path, _deciding(made), _deciding(now))
    return made


def _made_with(path: Path, stage: str) -> dict[str, Any]:
    """The identity in a record, if it is the one whose digest stands beside it."""
    record = read_json(path)
    made = record.get("made_with") if isinstance(record, dict) else None
    if not isinstance(made, dict) or not isinstance(made.get("recipe"), dict) or "weights" not in record:
        raise MaskbenchError(f"{path}: no record of the stage {stage}; train {stage} anew")
    if config_sha256(made) != record.get("identity"):
        raise MaskbenchError(f"{path}: its settings are not those of the run that it names; train {stage} anew")
    return made


def _deciding(identity: Mapping[str, Any]) -> dict[str, Any]:
    recipe = {key: value for key, value in identity["recipe"].items() if key not in _DESCRIPTIVE}
    return {"recipe": recipe, "masks": identity.get("masks")}


def check_faces(folder: Path, made: Mapping[str, Any], faces: str) -> None:
    """Raise MaskbenchError unless a stage was trained on the same faces: what is kept out must be so of every stage.

    Args:
        made: from ``checked_stage``; faces: the digest of this run's.
    """
    if made.get("faces") != faces:
        raise MaskbenchError(
            f"{folder / REPORT}: trained on other faces than these, which may be what is kept out here; "
            "give the same --data, or train all stages anew"
        )
