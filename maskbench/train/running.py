"""What the training runs of all methods share: their faces, students and records."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskbench._version import __version__
from maskbench.align import Template
from maskbench.digest import array_sha256, config_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import write_json, write_text
from maskbench.masking.recipes import resolve_recipe
from maskbench.models.checkpoints import save_state
from maskbench.models.dlib_resnet import DlibResNet, fold, unfold
from maskbench.models.zoo import NETWORKS
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.card import card_of
from maskbench.recognizers.preprocess import preprocess
from maskbench.recognizers.torch import TorchRecognizer
from maskbench.recognizers.training import SUFFIX
from maskbench.registry import nearest
from maskbench.train.face_sets import FaceSet, open_face_set
from maskbench.train.loop import Machine, Progress, read_log
from maskbench.train.prepare import PreparedFaces, prepare_faces
from maskbench.train.recipe import Student
from maskbench.train.sampling import BatchPlan
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


def held_out_faces(
    source: Source, faces: PreparedFaces, template: Template, keep_crops: bool, cache: Path | None
) -> PreparedFaces:
    """Faces to measure on.

    Raises:
        MaskbenchError: somebody of them, or a picture, is also trained on.
    """
    held_out = prepare_faces([source.open()], template, keep_crops, root=cache)
    both = sorted({subject for subject in held_out.subjects if subject} & {s for s in faces.subjects if s})
    if both:
        whom = f"{len(both)} people are also trained on, such as {both[0]}"
        raise MaskbenchError(f"{source.path}: {whom}; leave them out")
    if shared := len(np.intersect1d(held_out.pictures, faces.pictures)):
        raise MaskbenchError(f"{source.path}: {shared} of its pictures are also trained on; leave them out")
    return held_out


def mask_digests(names: Iterable[str]) -> dict[str, str]:
    """What is in the mask recipes that are named: an edited file is another recipe."""
    return {name: array_sha256(np.array(repr(resolve_recipe(recipe=name)))) for name in dict.fromkeys(names)}


def share_of(batch: int, world: int, setting: str = "batch") -> int:
    """A process's part of a batch, which ``setting`` names. Raises MaskbenchError if it is no whole number of faces."""
    if batch % world:
        raise MaskbenchError(
            f"a batch of {batch} cannot be shared among {world} processes; set {setting}, or give other --devices"
        )
    return batch // world


def check_shares(batches: Mapping[str, int], machine: Machine) -> None:
    """See that all batches, by setting, can be shared, before the first stage. Raises MaskbenchError as ``share_of``.

    How many processes "auto" and torchrun mean is not known yet; each stage looks again when it begins.
    """
    if isinstance(machine.devices, int):
        for setting, batch in batches.items():
            share_of(batch, machine.devices * machine.nodes, setting)


def shards_of(faces: PreparedFaces) -> np.ndarray | None:
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


def plan_of(faces: PreparedFaces, batch: int, seed: int, fabric: Any, sampling: str = "uniform") -> BatchPlan:
    """Which faces each step takes, shared among the processes of a Fabric. Raises MaskbenchError as ``share_of`` does.

    Args:
        sampling: "uniform", every face once an epoch, or "balanced", see ``BatchPlan``.
    """
    share = share_of(batch, fabric.world_size)
    return BatchPlan(faces.subjects, share, seed, sampling, fabric.global_rank, fabric.world_size, shards_of(faces))


def build_network(wanted: Student, teacher: str, name: str, seed: int) -> tuple[torch.nn.Module, RecognizerSpec]:
    """The network as it starts, and what it reads and gives.

    Args:
        teacher: whose weights it may start with; name: of the recipe; seed: of random weights.

    Raises:
        MaskbenchError: no such network or checkpoint, or the teacher is another network than the student.
    """
    if wanted.network not in NETWORKS:
        raise MaskbenchError(f'recipe {name}: no network "{wanted.network}"; {nearest(wanted.network, NETWORKS)}')
    facts = NETWORKS[wanted.network]
    if facts.needs_mask:
        raise MaskbenchError(f"recipe {name}: network {facts.name} reads masks and is trained by stages of its own")
    if wanted.start == "random":
        torch.manual_seed(seed)
        spec = RecognizerSpec(
            name, "", facts.input_size, facts.template, facts.colour_order, facts.mean, facts.std,
            facts.embedding_size, facts.comparator,
        )  # fmt: skip
        module = facts.build()
    else:
        module, spec = _loaded(teacher if wanted.start == "teacher" else wanted.start, wanted.network, name)
    module = fold(module) if isinstance(module, DlibResNet) else module
    spec = replace(
        spec, name=name, weights_sha256="", network=facts.name, parameters=facts.parameters, flops=facts.flops
    )
    return module.to(memory_format=torch.channels_last).train(), spec


def _loaded(reference: str, network: str, name: str) -> tuple[torch.nn.Module, RecognizerSpec]:
    found = load_recognizer(reference, "cpu", "torch")
    if not isinstance(found, TorchRecognizer) or (found.spec.network or found.spec.name) != network:
        raise MaskbenchError(
            f"recipe {name}: {reference} is no {network}, so the student cannot start from it; "
            "change student.start or student.network"
        )
    return found.module, found.spec


def blended(trained: dict[str, torch.Tensor], start: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """``share`` of the trained weights, the rest of those at the start; counters and the like as trained."""
    if share == 1.0:
        return trained
    return {
        name: torch.lerp(start[name].to(value), value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }


def embed_with(student: torch.nn.Module, spec: RecognizerSpec, pictures: np.ndarray) -> np.ndarray:
    """Templates (N, D) float32 of crops (N, H, W, 3) uint8 by a student as it is, in full precision."""
    device, training = next(student.parameters()).device, student.training
    student.eval()
    with torch.inference_mode():
        batch = torch.from_numpy(preprocess(pictures, spec)).to(device, memory_format=torch.channels_last)
        vectors = student(batch).float().cpu().numpy()
    student.train(training)
    return vectors


@dataclass(frozen=True)
class Run:
    """What a run's files say of it.

    Attributes:
        name, version: of the recipe; settings: all of it; identity: settings and digests, see ``loop.fit``.
        rights: licence and terms of the weights.
    """

    name: str
    version: int
    settings: Mapping[str, Any]
    identity: Mapping[str, Any]
    rights: tuple[str, str]

    @property
    def digest(self) -> str:
        """Of the identity."""
        return config_sha256(dict(self.identity))

    @property
    def source(self) -> str:
        """Where its weights come from."""
        return f"trained by maskbench {__version__}, recipe {self.name} version {self.version}, run {self.digest[:16]}"


def write_student(
    student: torch.nn.Module, spec: RecognizerSpec, teacher: Recognizer, faces: PreparedFaces, out: Path, run: Run,
    more_data: Sequence[str] = (), more_people: Sequence[str] = (),
) -> None:  # fmt: skip
    """Weights, card and list of subjects.

    Args:
        more_data: what else the student owes something to, such as the training set of a completion; more_people: the
            subjects of it.
    """
    module = student.eval().to(memory_format=torch.contiguous_format)
    save_state(unfold(module) if isinstance(module, DlibResNet) else module, out / WEIGHTS)
    owed = teacher.spec.training_data or ("unknown (the teacher's)",)
    names = dict.fromkeys((*owed, *more_data, *(face_set.name for face_set in faces.sets)))
    spec = replace(spec, training_data=tuple(names), licence=run.rights[0], terms=run.rights[1])
    write_json((out / WEIGHTS).with_suffix(".json"), card_of(spec, file_sha256(out / WEIGHTS), run.source))
    write_subjects(out, faces, more_people)


def write_subjects(out: Path, faces: PreparedFaces, more: Sequence[str] = ()) -> None:
    """The list of the people that a run's weights know, beside them; none where nobody is labelled."""
    if known := sorted({*_known(faces), *more}):
        write_text((out / WEIGHTS).with_suffix(SUFFIX), "".join(f"{subject}\n" for subject in known))


def _known(faces: PreparedFaces) -> set[str]:
    return {subject.partition("/")[2] for subject in faces.subjects if subject}


def write_report(
    out: Path, run: Run, faces: PreparedFaces, progress: Progress, final: Mapping[str, float] | None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """``training.json`` and ``left_out.csv``; returns what the first says.

    Args:
        final: what was measured on the weights as they are delivered; more: entries of some methods' own.
    """
    failures = faces.failures | progress.failures
    _write_left_out(out / LEFT_OUT, failures)
    names = [face_set.name for face_set in faces.sets]
    report = {
        "recipe": dict(run.settings), "identity": run.digest, "steps": progress.step,
        "seconds": round(progress.seconds, 1), "faces": len(faces), "subjects": len(_known(faces)),
        "left_out": len(failures),
        "sets": {name: int((faces.places[:, 0] == number).sum()) for number, name in enumerate(names)},
        "validation": {str(line["step"]): line["validation"] for line in read_log(out) if "validation" in line},
        "final": None if final is None else dict(final),
        "versions": {name: version(name) for name in ("torch", "numpy", "lightning")} | {
            "maskbench": __version__, "python": platform.python_version()},
        **(more or {}),
    }  # fmt: skip
    write_json(out / REPORT, report)
    return report


def _write_left_out(path: Path, failures: dict[str, str]) -> None:
    """A row for each picture that was not used, with the reason."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("picture", "reason"))
    writer.writerows(sorted(failures.items()))
    write_text(path, stream.getvalue())
