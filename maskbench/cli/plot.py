"""maskbench plot"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example:\n\n  maskbench plot results/ -o roc.png")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("roc.png"), show_default=True, help="png, svg or pdf."
)
def plot(results: Path, out: Path) -> None:
    """Draw ROC and DET curves, one line per model and condition, from every result below RESULTS.

    Results that share no table of the leaderboard go to pictures of their own. The files written are named; those of
    an earlier call that are not among them stay as they are.
    """
    from maskbench.errors import ResultError
    from maskbench.report.plots import plot_groups
    from maskbench.results import load_runs

    runs = load_runs(results)
    if not runs:
        raise ResultError(f"{results}: holds no result.json; run maskbench evaluate first")
    for path in plot_groups(runs, out):
        click.echo(f"written: {path}")
