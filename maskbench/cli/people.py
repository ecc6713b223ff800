"""maskbench people"""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  maskbench people people/ --identities 1000 --pictures 5
  maskbench people people/ --identities 1000 --pictures 5 --resume          after an interruption
  maskbench people more/ --identities 1000 --pictures 5 --first-identity 1000
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--identities", default=100, show_default=True, type=click.IntRange(1, 10**7), help="How many people.")
@click.option("--pictures", default=6, show_default=True, type=click.IntRange(1, 9999), help="Of each of them.")
@click.option("--size", default=160, show_default=True, type=click.IntRange(64, 512), help="Of a side, in pixels.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Another seed, others.")
@click.option(
    "--format", "form", type=click.Choice(["jpg", "webp", "png"]), default="jpg", show_default=True,
    help="jpg and webp at the quality of the sampled camera; png without loss.",
)  # fmt: skip
@click.option("--quality", type=click.IntRange(1, 100), help="Of every jpg or webp, instead of the sampled camera's.")
@click.option(
    "--first-identity", default=0, show_default=True, type=click.IntRange(0, 10**9 - 1), help="Number of the first one."
)
@click.option("--only", type=click.Path(path_type=Path), help="Instead: a file of identity numbers, one a line.")
@click.option("--workers", default=0, type=click.IntRange(0, 256), help="Processes; 0 (default): every processor.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run, or mend a finished one.")
@click.option("--overwrite", is_flag=True, help="Remove the people of an earlier run from OUT first.")
@click.option("--preview", type=click.Path(path_type=Path), help="Also write a sheet of 48 pictures here, outside OUT.")
@click.pass_context
def people(
    ctx: click.Context, out: Path, identities: int, pictures: int, size: int, seed: int, form: str,
    quality: int | None, first_identity: int, only: Path | None, workers: int, resume: bool, overwrite: bool,
    preview: Path | None,
) -> None:  # fmt: skip
    """Make pictures of people who do not exist, one folder per person, with everything that is known about them.

    OUT/people.csv has a row for each picture (digest, sex, age, pose, light, ...), OUT/landmarks.npz the true
    landmarks, OUT/people.json the options. The bytes depend on the options and the pinned versions alone,
    on the same type of processor.
    """
    from maskbench.errors import MaskbenchError
    from maskbench.people.config import PeopleConfig, consecutive, picture_path, read_numbers
    from maskbench.people.folder import check_sheet, make_people, write_sheet

    given = [name for name in ("identities", "first_identity") if _given(ctx, name)]
    if only is not None and given:
        raise MaskbenchError(f"--only names the people: leave --{given[0].replace('_', '-')} away")
    if resume and overwrite:
        raise MaskbenchError("--resume keeps what --overwrite removes; give one of them")
    if preview:
        check_sheet(preview, out)
    numbers = read_numbers(only) if only else consecutive(first_identity, identities)
    config = PeopleConfig(numbers, pictures, size, seed, form, quality)
    try:
        done = make_people(out, config, workers, resume, overwrite)
    except KeyboardInterrupt:
        click.echo("interrupted; what is finished is kept: run the same command with --resume to continue", err=True)
        raise SystemExit(130) from None
    rate = f", {done.new / done.seconds:.0f} a second" if done.new else ""
    made = f"{done.new} made now in {done.seconds:.1f} s{rate}"
    click.echo(f"{done.pictures} pictures of {done.identities} people ({made})")
    click.echo(f"table: {done.table}")
    if preview:
        write_sheet(out, [picture_path(*shot, form) for shot in config.shots()], preview)
        click.echo(f"sheet: {preview}")


def _given(ctx: click.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
