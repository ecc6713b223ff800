"""maskbench train maskinv|recipes"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from maskbench.train.run import Trained

EPILOG = """\b
Examples:
  maskbench train maskinv --recipe small --data faces/ --out run/
  maskbench train maskinv --recipe small --data celebrities/ --data others/ --validation held_out/ --out run/
  maskbench train maskinv --recipe small --data faces/ --out run/ --resume        after an interruption
  maskbench train maskinv --recipe small --set losses.margin_weight=0 --data faces/ --out run/
  torchrun --nproc-per-node 4 -m maskbench train maskinv --recipe lg --data ms1mv2/train.rec --out run/ --devices 4
Then:
  maskbench evaluate --model torch:run/weights.safetensors --protocol ...
  maskbench models export torch:run/weights.safetensors student.onnx
"""


@click.group()
def train() -> None:
    """Train recognizers that read masked faces; see docs/training.md."""


@train.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes that come with maskbench, or show one with all its settings."""
    import yaml

    from maskbench.train.recipe import load_recipe, shipped_recipes

    if name:
        click.echo(yaml.safe_dump(load_recipe(name).plain(), sort_keys=False, allow_unicode=True).rstrip())
        return
    for known in shipped_recipes():
        click.echo(f"{known}: {load_recipe(known).description}")


@train.command(epilog=EPILOG)
@click.option("--recipe", default="small", show_default=True, help="small, lg, hg, or a YAML file.")
@click.option(
    "--data", "data", multiple=True, required=True, type=click.Path(path_type=Path),
    help="Faces: a folder (a folder in it for each person, or pictures without labels), .rec, .bin, .tar. Repeatable.",
)  # fmt: skip
@click.option("--subjects", type=click.Path(path_type=Path), help="A list: only these people of labelled sets.")
@click.option("--labels", type=click.Path(path_type=Path), help="A CSV of path and subject, for one set.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for checkpoint, log and weights.")
@click.option("--validation", type=click.Path(path_type=Path), help="Faces of other people, measured after each epoch.")
@click.option("--validation-subjects", type=click.Path(path_type=Path), help="Take only these people of them.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting. Repeatable.")
@click.option("--resume", is_flag=True, help="Go on after an interruption.")
@click.option("--accelerator", default="auto", show_default=True, help="auto, cpu, cuda.")
@click.option("--devices", default="1", show_default=True, help="How many, or auto.")
@click.option("--nodes", default=1, show_default=True, help="Machines, when torchrun has started several.")
@click.option("--workers", default=-1, show_default=True, help="Processes that make pictures; -1: as many as fit.")
@click.option("--checkpoint-seconds", default=120.0, show_default=True, help="How often the state is kept.")
@click.option("--no-crops", is_flag=True, help="Keep no crops on disk: for sets of millions.")
@click.option("--licence", default="unknown", help="Of the weights, for their card.")
@click.option("--terms", default="unknown", help="What the weights may be used for, for their card.")
def maskinv(
    recipe: str, data: tuple[Path, ...], subjects: Path | None, labels: Path | None, out: Path, validation: Path | None,
    validation_subjects: Path | None, changes: tuple[str, ...], resume: bool, accelerator: str, devices: str,
    nodes: int, workers: int, checkpoint_seconds: float, no_crops: bool, licence: str, terms: str,
) -> None:  # fmt: skip
    """Template-level knowledge distillation: a student gives the masked face its teacher's template of the bare one."""
    from maskbench.errors import MaskbenchError
    from maskbench.recognizers.engines import import_engine
    from maskbench.train.recipe import load_recipe, shipped_recipes

    import_engine("torch")
    full = f"maskinv-{recipe}"
    chosen = load_recipe(full if full in shipped_recipes() else recipe, changes)
    if labels and len(data) > 1:
        raise MaskbenchError(f"{labels}: belongs to one set of faces, but {len(data)} are given; train with folders")
    if validation_subjects and not validation:
        raise MaskbenchError(f"{validation_subjects}: a list of people, but no faces of theirs; give --validation")
    if devices != "auto" and not (devices.isdecimal() and int(devices)):
        raise MaskbenchError(f'--devices "{devices}" is no number; give how many, or auto')
    from maskbench.train.loop import Machine
    from maskbench.train.run import Source, train_maskinv

    count = devices if devices == "auto" else int(devices)
    machine = Machine(accelerator, count, "auto", workers, checkpoint_seconds, nodes)
    held_out = Source(validation, validation_subjects) if validation else None
    sources = _sources(data, subjects, labels)
    try:
        done = train_maskinv(
            chosen, sources, out, resume, machine, held_out, not no_crops, licence, terms
        )  # fmt: skip
    except KeyboardInterrupt:
        click.echo("interrupted; what is finished is kept: run the same command with --resume to continue", err=True)
        raise SystemExit(130) from None
    if done.report:
        click.echo(describe(done))


def _sources(data: tuple[Path, ...], subjects: Path | None, labels: Path | None) -> list:
    """The list of people goes with every set that has people."""
    from maskbench.train.face_sets import open_face_set
    from maskbench.train.run import Source

    found = []
    for path in data:
        labelled = subjects is not None and (labels is not None or _has_people(open_face_set(path)))
        found.append(Source(path, subjects if labelled else None, labels))
    return found


def _has_people(face_set: object) -> bool:
    return any(face.subject is not None for face in face_set.faces)  # type: ignore[attr-defined]


def describe(done: Trained) -> str:
    """What a run did, for people."""
    report = done.report
    lines = [
        f"{report['steps']} steps on {report['faces']} faces of {report['subjects']} labelled people in "
        f"{report['seconds'] / 60:.1f} min; {report['left_out']} pictures left out (left_out.csv says why)"
    ]
    if report["final"]:
        lines += [f"  {name}: {value:.4f}" for name, value in report["final"].items()]
    return "\n".join([*lines, f"weights: {done.weights}  (torch:{done.weights})"])
