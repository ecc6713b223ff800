"""maskbench evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maskbench.cli.systems import system_options

if TYPE_CHECKING:
    from maskbench.types import Protocol, Result

EPILOG = """\b
Examples:
  maskbench evaluate                                        every recognizer that ships, on people who do not exist
  maskbench evaluate --model onnx:mine.onnx --out mine/
  maskbench evaluate --model dlib-resnet --protocol lfw-masked/ --faces lfw/ --masked lfw-masked-faces/ --out results/
  maskbench evaluate --model dlib-resnet --model onnx:w600k_r50.onnx --protocol P --faces F --masked M --out results/
  maskbench evaluate --model dlib-resnet --completion rpca --fit-on people/ --protocol P --faces F --masked M
"""


@click.command(epilog=EPILOG)
@click.option(
    "--model", "models", multiple=True,
    help="Recognizer: a name, or onnx:PATH, torch:PATH, fitted:PATH, hf:..., insightface:PACK. Repeat for several.  "
    "[default: every one that ships]",
)  # fmt: skip
@click.option(
    "--protocol", "protocol_name",
    help="A protocol folder, or the name of a shipped one.  [default, with --faces: the synthetic people that ship]",
)  # fmt: skip
@click.option("--faces", type=click.Path(path_type=Path), help="Folder of the unmasked pictures.")
@click.option("--masked", type=click.Path(path_type=Path), help="Folder that synthesize wrote from the same pictures.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True,
    help="Results go to OUT/PROTOCOL/MODEL/.",
)  # fmt: skip
@click.option(
    "--align", type=click.Choice(["auto", "detect", "source"]), default="auto", show_default=True,
    help="detect: landmarks of each picture itself; source: of the unmasked original; auto: source for aligned crops.",
)  # fmt: skip
@click.option(
    "--cache", type=click.Choice(["missing", "always", "never"]), default="missing", show_default=True,
    help="Landmarks and embeddings on disk: compute what is missing, everything anew, or do without.",
)  # fmt: skip
@click.option("--workers", default=0, type=click.IntRange(0, 256), help="Processes for landmarks; 0: every processor.")
@click.option("--threshold", type=float, help="A threshold of your own; its FMR and FNMR are reported too.")
@click.option(
    "--threshold-from", help="Fix transferred thresholds on this condition, or on RESULTS of another protocol.",
)  # fmt: skip
@click.option("--allow-missing", is_flag=True, help="Count missing pictures as failures to extract a template.")
@system_options
def evaluate(
    models: tuple[str, ...], protocol_name: str | None, faces: Path | None, masked: Path | None, out: Path, align: str,
    cache: str, workers: int, threshold: float | None, allow_missing: bool, threshold_from: str | None, **system: Any,
) -> None:  # fmt: skip
    """Run recognizers on a protocol: align, embed, compare, measure. Writes scores.npz and result.json.

    Without --masked only the unmasked condition is run; without --protocol, --faces and --masked, the protocol of the
    synthetic people that ship with maskbench, which are masked first. An interrupted run continues from its cache.
    """
    from maskbench.evaluation import FAILURES_FILE, EvaluationOptions
    from maskbench.evaluation import evaluate as run
    from maskbench.files import cache_root
    from maskbench.leaderboard import make_leaderboard, render_text
    from maskbench.recognizers.builtin import shipped_recognizers
    from maskbench.results import RESULT_FILE, read_result
    from maskbench.systems import open_models

    options = EvaluationOptions(
        align=align, cache=cache, workers=workers, threshold=threshold, allow_missing=allow_missing,
        threshold_from=threshold_from, **system,
    )  # fmt: skip
    ours = protocol_name is None and faces is None and masked is None
    wanted = models or shipped_recognizers()
    if ours:
        wanted = list(open_models(wanted, options).values())  # a wrong one is told before the pictures are masked
    protocol, faces, masked = shipped_set(workers) if ours else given_set(protocol_name, faces, masked)
    folders = run(protocol, wanted, faces, masked, out, options, cache_root())
    click.echo(render_text(make_leaderboard([read_result(folder / RESULT_FILE) for folder in folders])))
    if ours:
        _illustrate(folders)
    for folder in folders:
        if warning := describe_overlap(read_result(folder / RESULT_FILE)):
            click.echo(warning)
        click.echo(describe_failures(folder / FAILURES_FILE))
        click.echo(f"written: {folder / RESULT_FILE}")


def given_set(name: str | None, faces: Path | None, masked: Path | None) -> tuple[Protocol, Path, Path | None]:
    """The protocol and the folders of the command line."""
    from maskbench.errors import MaskbenchError
    from maskbench.protocols import load_protocol

    if name is None or faces is None:
        lacking = " and ".join(["--protocol"] * (name is None) + ["--faces"] * (faces is None))
        raise MaskbenchError(
            f"no {lacking}: a protocol and its pictures belong together; for the synthetic people that ship, leave "
            "--protocol, --faces and --masked away"
        )
    return load_protocol(name), faces, masked


def shipped_set(workers: int) -> tuple[Protocol, Path, Path]:
    """The protocol, the pictures and the masked copies of the people that ship."""
    from maskbench.people.demo_set import cached_masks, demo_set

    found = demo_set()
    click.echo(f"no protocol and no faces given: the synthetic people that ship, {found.faces}")
    masked = cached_masks(found, workers)
    masking = found.protocol.masking
    click.echo(f"masked by recipe {masking['recipe']}, seed {masking['seed']}: {masked}")
    return found.protocol, found.faces, masked


def _illustrate(folders: list[Path]) -> None:
    """What the figures of the people that ship are good for, and their curves."""
    from maskbench.people.demo_set import CAVEAT
    from maskbench.report.plots import plot_results
    from maskbench.results import RESULT_FILE, load_run

    click.echo(CAVEAT)
    curves = folders[0].parent / "roc.png"
    plot_results([load_run(folder / RESULT_FILE) for folder in folders], curves)
    click.echo(f"curves: {curves}")


def describe_overlap(result: Result) -> str:
    """A warning where the recognizer or the completion has seen people of the protocol; "" where not, or not known."""
    said = []
    for who, key in (("recognizer", "subject_overlap"), ("completion", "completion_subject_overlap")):
        overlap = result.environment.get(key, "unknown")
        if overlap[0] not in "0u":
            said.append(f"the {who} has seen {overlap} people of the protocol")
    name = result.recognizer.get("name")
    return f"warning: {name}: {' and '.join(said)}; its figures flatter it" if said else ""


def describe_failures(path: Path) -> str:
    """How many pictures gave no template, and why; the list is in the file."""
    from collections import Counter

    from maskbench.tables import read_columns

    _, (_, conditions, reasons_given) = read_columns(path)
    if not conditions:
        return f"{path.parent.name}: every picture gave a template"
    reasons = Counter(f"{condition}: {reason}" for condition, reason in zip(conditions, reasons_given, strict=True))
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    listed = "; ".join(f"{count} {reason}" for reason, count in ordered[:4])
    rest = sum(count for _, count in ordered[4:])
    listed += f"; and {rest} more" if rest else ""
    return f"{path.parent.name}: {len(conditions)} pictures without a template ({listed}), listed in {path}"
