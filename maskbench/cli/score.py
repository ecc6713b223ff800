"""maskbench score"""

from __future__ import annotations

from pathlib import Path

import click

FORMATS = ("auto", "csv", "npz", "parquet", "bob4", "bob5", "pyeer", "nist")
EPILOG = """\b
Examples:
  maskbench score sdk.csv --protocol lfw-masked/ --name "SDK 4.2" -o results/
  maskbench score genuine.txt impostor.txt --set lfw --condition UMR-MP -o results/
  maskbench score masked.csv --threshold-from results/scores/unmasked -o results/
"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--protocol", "protocol_name", help="A protocol folder, or the name of a shipped one.")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="auto", show_default=True)
@click.option("--name", default="", help="Name of the recognizer; by default the file's.")
@click.option("--set", "set_name", default="", help="Without --protocol: a name for these comparisons.")
@click.option(
    "--condition", "conditions", multiple=True,
    help="With --protocol: what the scores cover (repeat for several). Without: the condition of every row.",
)  # fmt: skip
@click.option("--threshold", type=float, help="A threshold of your own, in the file's units; FMR and FNMR at it.")
@click.option("--at-fmr", type=float, help="Instead: fix it at this FMR on --threshold-from (strict).")
@click.option("--threshold-from", help="Fix transferred thresholds on a condition, a score file or a result folder.")
@click.option("--lower-is-better", "--distance", is_flag=True, help="The file holds distances: smaller is more alike.")
@click.option("--missing-as-failed", is_flag=True, help="Count pairs without a row as failed comparisons.")
@click.option("--failures", type=click.Path(path_type=Path), help="List of samples without a template (failures.csv).")
@click.option(
    "--same-pictures", type=click.Path(path_type=Path),
    help="Folder of a result on the very same pictures: share its table of the leaderboard.",
)  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Results go to OUT/PROTOCOL/NAME/.")
def score(
    files: tuple[Path, ...], protocol_name: str | None, kind: str, name: str, set_name: str,
    conditions: tuple[str, ...], threshold: float | None, at_fmr: float | None, threshold_from: str | None,
    lower_is_better: bool, missing_as_failed: bool, failures: Path | None, same_pictures: Path | None, out: Path,
) -> None:  # fmt: skip
    """Measure scores that another program computed. Writes scores.npz and result.json, as evaluate does.

    FILES is one score file, or two for pyeer: the genuine scores, then the impostor scores. The format is told from the
    content: CSV, .npz, .parquet, bob's four and five columns, pyeer's, NIST's.
    """
    from maskbench.leaderboard import make_leaderboard, render_text
    from maskbench.protocols import load_protocol
    from maskbench.results import RESULT_FILE, read_result
    from maskbench.score_files import ScoreOptions
    from maskbench.score_files import score as run

    options = ScoreOptions(
        kind, name, set_name, conditions, threshold, at_fmr, threshold_from, lower_is_better, missing_as_failed,
        failures, same_pictures,
    )  # fmt: skip
    protocol = load_protocol(protocol_name) if protocol_name else None
    done = run(files, out, protocol, options)
    click.echo(f"read: {done.said}")
    for note in done.notes:
        click.echo(f"note: {note}")
    click.echo(render_text(make_leaderboard([read_result(done.folder / RESULT_FILE)])))
    click.echo(f"written: {done.folder / RESULT_FILE}")
