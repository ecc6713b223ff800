"""maskbench breakdown"""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  maskbench breakdown results/ --protocol protocol/ --masked masked/ -o breakdown.csv
  maskbench breakdown results/ --protocol protocol/ --masked masked/ --by kind --by covered_fraction --plot coverage.png
"""


@click.command(epilog=EPILOG)
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--protocol", "protocol_name", required=True, help="The protocol that the results were run on.")
@click.option("--masked", type=click.Path(path_type=Path), help="Their masked set, for masks, coverage and pose.")
@click.option("--faces", type=click.Path(path_type=Path), help="The unmasked pictures, for blur.")
@click.option("--masks-dir", "masks_dirs", multiple=True, type=click.Path(path_type=Path), help="More masks.")
@click.option("--by", multiple=True, help="What to group by; repeat. Default: all that the folders allow.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("breakdown.csv"), show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw FNMR against covered fraction: png, svg or pdf.")
def breakdown(
    results: Path, protocol_name: str, masked: Path | None, faces: Path | None, masks_dirs: tuple[Path, ...],
    by: tuple[str, ...], out: Path, plot: Path | None,
) -> None:  # fmt: skip
    """Error rates by mask, category, coverage, colour, pose, blur and any attribute column of the protocol.

    Every group is judged at one threshold, the condition's, so that differences between groups show.
    """
    from maskbench.breakdowns import breakdown_rows, write_breakdowns
    from maskbench.errors import MaskbenchError, ResultError
    from maskbench.protocols import load_protocol
    from maskbench.results import load_runs

    runs = load_runs(results)
    if not runs:
        raise ResultError(f"{results}: holds no result.json; run maskbench evaluate first")
    if plot is not None and masked is None:
        raise MaskbenchError("--plot draws FNMR against covered fraction, which the masked set knows; give --masked")
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise MaskbenchError(f"{plot}: cannot draw this kind of file; use png, svg or pdf")
    names = (*by, *(["covered_fraction"] if plot is not None and by and "covered_fraction" not in by else []))
    rows = breakdown_rows(runs, load_protocol(protocol_name), masked, faces, names, masks_dirs)
    if not rows:
        raise MaskbenchError(f"{results}: nothing to break down; give --masked, or a protocol with attribute columns")
    write_breakdowns(rows, out)
    click.echo(f"written: {out}")
    if plot is not None:
        from maskbench.report.coverage import plot_coverage

        plot_coverage(rows, plot)
        click.echo(f"written: {plot}")
