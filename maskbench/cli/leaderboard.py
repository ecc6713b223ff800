"""maskbench leaderboard"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example:\n\n  maskbench leaderboard results/ -o leaderboard.csv")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("leaderboard.csv"), show_default=True)
@click.option("--rank-by", default="UMR-MP.fmr100_including_failures", show_default=True, help="A column of the table.")
def leaderboard(results: Path, out: Path, rank_by: str) -> None:
    """Make the leaderboard from every result below RESULTS; print it and write CSV.

    Results of different protocols, masked sets, alignments or pictures go to tables, and files, of their own. The
    files written are named; those of an earlier call that are not among them stay as they are.
    """
    from maskbench.errors import ResultError
    from maskbench.leaderboard import make_leaderboard, ranking, render_text, write_csv
    from maskbench.rank_ranges import load_comparable, rank_ranges
    from maskbench.results import load_results

    found = load_results(results)
    if not found:
        raise ResultError(f"{results}: holds no result.json; run maskbench evaluate first")
    tables = make_leaderboard(found, rank_by, rank_ranges(load_comparable(results), ranking(rank_by), found))
    click.echo(render_text(tables))
    for path in write_csv(tables, out):
        click.echo(f"written: {path}")
