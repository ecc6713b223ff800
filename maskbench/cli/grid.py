"""maskbench grid"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maskbench.cli.systems import shared_system_options

if TYPE_CHECKING:
    from maskbench.grid import GridSet

EPILOG = """\b
Examples:
  maskbench grid --models dlib-resnet --completions none,telea              on people who do not exist
  maskbench grid --models pca,gpca,lpp,sr,dlib-resnet --completions none,mean-face,rpca,graph-laplace
                 --protocol ar --faces people/ --fit-on others/ --out grid/
  maskbench grid --models onnx:a.onnx,onnx:b.onnx --completions none,rpca --protocol P --faces F --masked M
"""


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


@click.command(epilog=EPILOG)
@click.option("--models", required=True, help="Recognizers, separated by commas, as evaluate's --model takes them.")
@click.option("--completions", default="none", show_default=True, help="Completions, separated by commas.")
@click.option(
    "--protocol", "protocol_name",
    help='"ar": sunglasses (AR1) and scarves (AR2) on FACES, made first; else as for evaluate.  '
    "[default, with --faces: the synthetic people that ship]",
)  # fmt: skip
@click.option("--faces", type=click.Path(path_type=Path), help="Folder of the unmasked pictures.")
@click.option("--masked", type=click.Path(path_type=Path), help="Folder of the masked ones; not with --protocol ar.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("grid"), show_default=True)
@click.option(
    "--metric", type=click.Choice(["auto", "rank1", "fmr100"]), default="auto", show_default=True,
    help="rank1: identification; fmr100: FNMR at FMR <= 1 %; auto: rank1 where the protocol allows it.",
)  # fmt: skip
@click.option("--align", type=click.Choice(["auto", "detect", "source"]), default="auto", show_default=True)
@click.option(
    "--cache", type=click.Choice(["missing", "always", "never"]), default="missing", show_default=True,
    help="Landmarks, completed faces and embeddings on disk.",
)  # fmt: skip
@click.option("--workers", default=0, type=click.IntRange(0, 256), help="Processes; 0: every processor.")
@shared_system_options
def grid(
    models: str, completions: str, protocol_name: str | None, faces: Path | None, masked: Path | None, out: Path,
    metric: str, align: str, cache: str, workers: int, **system: Any,
) -> None:  # fmt: skip
    """Every recognizer behind every completion: one table, in the layout of the de-occlusion paper.

    Runs what is missing below OUT/results and leaves the rest alone, so it can be stopped at any time. Writes grid.csv,
    grid.md and grid.tex. A cell that cannot be run is named with the reason, and the command ends with code 2.
    """
    from maskbench.errors import MaskbenchError
    from maskbench.evaluation import EvaluationOptions
    from maskbench.files import cache_root
    from maskbench.grid import run_grid
    from maskbench.grid_table import entries, to_markdown, write_tables
    from maskbench.mask_sources import check_source
    from maskbench.systems import check_completions, open_models

    named, wanted = _names(models), _names(completions)
    if not named or not wanted:
        raise MaskbenchError("a grid needs at least one model and one completion (--models, --completions)")
    options = EvaluationOptions(align=align, cache=cache, workers=workers, **system)
    check_source(options.mask_source, options.mask_files)
    check_completions(wanted, options)
    opened = open_models(named, options)
    kept = cache_root() if cache != "never" else None
    sets = _sets(protocol_name, faces, masked, out, workers, kept, options.mask_files)
    cells = run_grid(sets, opened, wanted, out, options, cache_root(), click.echo)
    chosen = _metric(metric, cells)
    found = entries(cells, chosen)
    paths = write_tables(found, sets, chosen, out)
    click.echo(f"\n{to_markdown(found, sets, chosen)}")
    for path in paths:
        click.echo(f"written: {path}")
    if failed := sum(1 for cell in cells if cell.result is None):
        raise MaskbenchError(f"{failed} of {len(cells)} cells could not be run; the reasons are in {paths[0]}")


def _sets(
    name: str | None, faces: Path | None, masked: Path | None, out: Path, workers: int, cache: Path | None,
    mask_files: Path | None,
) -> list[GridSet]:  # fmt: skip
    from maskbench.cli.evaluate import given_set, shipped_set
    from maskbench.errors import MaskbenchError
    from maskbench.grid import GridSet, ar_sets
    from maskbench.parallel import default_workers

    if name == "ar":
        if faces is None or masked is not None:
            raise MaskbenchError("--protocol ar makes its own masked sets: give --faces, one folder per subject, alone")
        return ar_sets(faces, out, workers or default_workers(), cache, click.echo, mask_files)
    shipped = name is None and faces is None and masked is None
    protocol, folder, copies = shipped_set(workers) if shipped else given_set(name, faces, masked)
    return [GridSet(protocol.name, protocol, folder, copies)]


def _metric(metric: str, cells: list) -> str:
    """rank1 where every result has it."""
    from maskbench.grid_table import CONDITION
    from maskbench.results import value_at

    if metric != "auto":
        return metric
    results = [cell.result for cell in cells if cell.result is not None]
    has = [value_at(result, CONDITION, "identification", "rank1") is not None for result in results]
    return "rank1" if all(has) else "fmr100"
