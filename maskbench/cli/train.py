"""maskbench train maskinv|deocclusion|g2d|recipes"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from maskbench.train.loop import Machine
    from maskbench.train.running import Source, Trained

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


def _common(command: Callable) -> Callable:
    """The options of every method."""
    path = click.Path(path_type=Path)
    faces = "Faces: a folder (one in it for each person, or pictures without labels), .rec, .bin, .tar. Repeatable."
    options = [
        click.option("--data", "data", multiple=True, required=True, type=path, help=faces),
        click.option("--subjects", type=path, help="A list: only these people of labelled sets."),
        click.option("--labels", type=path, help="A CSV of path and subject, for one set."),
        click.option("--out", required=True, type=path, help="Folder for checkpoint, log and weights."),
        click.option("--validation", type=path, help="Faces of other people, measured after each epoch."),
        click.option("--validation-subjects", type=path, help="Take only these people of them."),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting. Repeatable."),
        click.option("--resume", is_flag=True, help="Go on after an interruption."),
        click.option("--accelerator", default="auto", show_default=True, help="auto, cpu, cuda."),
        click.option("--devices", default="1", show_default=True, help="How many, or auto."),
        click.option("--nodes", default=1, show_default=True, help="Machines, when torchrun has started several."),
        click.option("--workers", default=-1, show_default=True, help="Processes for pictures; -1: as many as fit."),
        click.option("--checkpoint-seconds", default=120.0, show_default=True, help="How often the state is kept."),
        click.option("--no-crops", is_flag=True, help="Keep no crops on disk: for sets of millions."),
        click.option("--licence", default="unknown", help="Of the weights, for their card."),
        click.option("--terms", default="unknown", help="What the weights may be used for, for their card."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@train.command(epilog=EPILOG)
@click.option("--recipe", default="small", show_default=True, help="small, lg, hg, or a YAML file.")
@_common
def maskinv(recipe: str, **given: Any) -> None:
    """Template-level knowledge distillation: a student gives the masked face its teacher's template of the bare one."""
    chosen, asked = _asked("maskinv", recipe, given)
    from maskbench.train.run import train_maskinv

    with _interruptible():
        done = train_maskinv(
            chosen, asked.sources, asked.out, asked.resume, asked.machine, asked.held_out, asked.keep_crops,
            *asked.rights,
        )  # fmt: skip
    if done.report:
        click.echo(describe(done))


DEOCCLUSION = """\b
Examples:
  maskbench train deocclusion --recipe small --data faces/ --out run/
  maskbench train deocclusion --recipe small --data faces/ --out run/ --stage completion     only the first stage
  maskbench train deocclusion --recipe small --data faces/ --out run/ --resume               after an interruption
  maskbench train deocclusion --recipe hard --data faces/ --out run/ --stage student --completion other.safetensors
Then:
  maskbench complete masked/ completed/ --method torch:run/completion/weights.safetensors
  maskbench evaluate --model torch:run/student/weights.safetensors --protocol ...
"""


@train.command(epilog=DEOCCLUSION)
@click.option("--recipe", default="small", show_default=True, help="small, hard, soft, or a YAML file.")
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(("completion", "student")),
    help="Only this one. Without it both, one after the other.",
)  # fmt: skip
@click.option(
    "--completion", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Weights of a trained completion, in place of the first stage.",
)  # fmt: skip
@_common
def deocclusion(recipe: str, stages: tuple[str, ...], completion: Path | None, **given: Any) -> None:
    """A network completes the face under the mask; a student reads completed faces as its teacher reads bare ones."""
    chosen, asked = _asked("deocclusion", recipe, given)
    from maskbench.train.run_deocclusion import COMPLETION, STUDENT, train_deocclusion

    with _interruptible():
        done = train_deocclusion(
            chosen, asked.sources, asked.out, stages or (COMPLETION, STUDENT), completion, asked.resume, asked.machine,
            asked.held_out, asked.keep_crops, asked.rights,
        )  # fmt: skip
    for name, trained in done.items():
        if trained.report:
            click.echo(f"{name}: {describe(trained)}")


G2D = """\b
Examples:
  maskbench train g2d --recipe small --data faces/ --out run/
  maskbench train g2d --recipe small --data faces/ --out run/ --stage prior --stage upsampler    only the encoder
  maskbench train g2d --recipe small --data faces/ --out run/ --resume                           after an interruption
  maskbench train g2d --recipe small --data faces/ --out other/ --stage reformer --earlier run/  behind run's encoder
Then:
  maskbench complete masked/ completed/ --method torch:run/upsampler/weights.safetensors
  maskbench evaluate --model torch:run/reformer/weights.safetensors --protocol ...
"""


@train.command(epilog=G2D)
@click.option("--recipe", default="small", show_default=True, help="small, g2d (as published), or a YAML file.")
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(("prior", "upsampler", "reformer", "classifier")),
    help="Only this one. Repeatable. Without it all, one after the other.",
)  # fmt: skip
@click.option(
    "--earlier", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another run's folder, whose stages stand for those that are not asked for.",
)  # fmt: skip
@_common
def g2d(recipe: str, stages: tuple[str, ...], earlier: Path | None, **given: Any) -> None:
    """An encoder learns to complete faces; a reformer turns what it knows of a masked face into a template."""
    chosen, asked = _asked("g2d", recipe, given)
    from maskbench.train.run_g2d import STAGES, train_g2d

    with _interruptible():
        done = train_g2d(
            chosen, asked.sources, asked.out, stages or STAGES, earlier, asked.resume, asked.machine, asked.held_out,
            asked.keep_crops, asked.rights,
        )  # fmt: skip
    for name, trained in done.items():
        if trained.report:
            click.echo(f"{name}: {describe(trained, name in ('upsampler', 'reformer'))}")


@dataclass(frozen=True)
class _Asked:
    """What the common options say."""

    sources: list
    held_out: Source | None
    out: Path
    resume: bool
    machine: Machine
    keep_crops: bool
    rights: tuple[str, str]


def _asked(method: str, recipe: str, given: dict[str, Any]) -> tuple[Any, _Asked]:
    """The recipe, and the common options; every mistake in them is told before anything is loaded or done."""
    from maskbench.errors import MaskbenchError
    from maskbench.recognizers.engines import import_engine
    from maskbench.train.recipe import load_recipe, shipped_recipes

    import_engine("torch")
    full = f"{method}-{recipe}"
    chosen = load_recipe(full if full in shipped_recipes() else recipe, given["changes"])
    if chosen.method != method:
        raise MaskbenchError(f"recipe {chosen.name}: of method {chosen.method}; maskbench train {chosen.method}")
    data, labels, devices = given["data"], given["labels"], given["devices"]
    if labels and len(data) > 1:
        raise MaskbenchError(f"{labels}: belongs to one set of faces, but {len(data)} are given; train with folders")
    if given["validation_subjects"] and not given["validation"]:
        listed = given["validation_subjects"]
        raise MaskbenchError(f"{listed}: a list of people, but no faces of theirs; give --validation")
    if devices != "auto" and not (devices.isdecimal() and int(devices)):
        raise MaskbenchError(f'--devices "{devices}" is no number; give how many, or auto')
    from maskbench.train.loop import Machine
    from maskbench.train.running import Source

    count = devices if devices == "auto" else int(devices)
    seconds = given["checkpoint_seconds"]
    machine = Machine(given["accelerator"], count, "auto", given["workers"], seconds, given["nodes"])
    held_out = Source(given["validation"], given["validation_subjects"]) if given["validation"] else None
    sources = open_sources(data, given["subjects"], labels)
    rights = given["licence"], given["terms"]
    return chosen, _Asked(sources, held_out, given["out"], given["resume"], machine, not given["no_crops"], rights)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; what is finished is kept: run the same command with --resume to continue", err=True)
        raise SystemExit(130) from None


def open_sources(data: tuple[Path, ...], subjects: Path | None, labels: Path | None) -> list:
    """The list of people goes with every set that has people."""
    from maskbench.train.face_sets import open_face_set
    from maskbench.train.running import Source

    found = []
    for path in data:
        labelled = subjects is not None and (labels is not None or _has_people(open_face_set(path)))
        found.append(Source(path, subjects if labelled else None, labels))
    return found


def _has_people(face_set: object) -> bool:
    return any(face.subject is not None for face in face_set.faces)  # type: ignore[attr-defined]


def describe(done: Trained, loads: bool = True) -> str:
    """What a run did, for people; ``loads``: whether its weights are a recognizer or a completion by themselves."""
    report = done.report
    lines = [
        f"{report['steps']} steps on {report['faces']} faces of {report['subjects']} labelled people in "
        f"{report['seconds'] / 60:.1f} min; {report['left_out']} pictures left out (left_out.csv says why)"
    ]
    if report["final"]:
        shown = {name: f"{value:.4f}" if type(value) is float else value for name, value in report["final"].items()}
        lines += [f"  {name}: {value}" for name, value in shown.items()]
    return "\n".join([*lines, f"weights: {done.weights}" + (f"  (torch:{done.weights})" if loads else "")])
