"""maskbench segment"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from maskbench.segmenting import FolderRun

EPILOG = """\b
Examples:
  maskbench segment photographs/ masks/
  maskbench segment photographs/ masks/ --sheet masks.png         to look at
  maskbench segment photographs/ masks/ --resume                  after an interruption
  maskbench evaluate ... --mask-source file --mask-files masks/   masks drawn or corrected elsewhere
"""


@click.command(epilog=EPILOG)
@click.argument("images", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--workers", default=0, type=click.IntRange(0, 256),
    help="Processes; 0 (default) takes every processor. Changes no byte of the output.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue an interrupted run, or add new files to a finished one.")
@click.option(
    "--landmarks", type=click.Choice(["auto", "mediapipe", "aligned"]), default="auto", show_default=True,
    help="mediapipe: the face mesh; aligned: a fixed template for 112x112 crops; auto: the mesh, then the template.",
)  # fmt: skip
@click.option(
    "--faces", "policy", type=click.Choice(["largest", "central", "all"]), default="largest", show_default=True,
    help="Which faces of a picture to segment.",
)  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--sheet", type=click.Path(path_type=Path), help="Also write a sheet of 48 pictures here, outside OUT.")
@click.option("--no-cache", is_flag=True, help="Neither read nor write the landmark cache.")
def segment(
    images: Path, out: Path, workers: int, resume: bool, landmarks: str, policy: str, device: str, sheet: Path | None,
    no_cache: bool,
) -> None:  # fmt: skip
    """Find what hides the faces of every picture below IMAGES; write masks below OUT, and OUT/segments.csv.

    A mask is a PNG of the picture's own size, white where the face is occluded, under the picture's path with the
    extension replaced by .png. Every input has one row in the table: segmented, failed or skipped, with the reason.
    """
    from maskbench.errors import MaskbenchError
    from maskbench.files import cache_root
    from maskbench.segmenting import segment_folder, write_sheet

    if sheet is not None:
        check_sheet(sheet, images, out)
    try:
        cache = None if no_cache else cache_root()
        done = segment_folder(images, out, landmarks, policy, workers, resume, cache, device)
    except KeyboardInterrupt:
        click.echo("interrupted; what is finished is kept: run the same command with --resume to continue", err=True)
        raise SystemExit(130) from None
    click.echo(describe(done))
    if not done.counts["segmented"]:
        raise MaskbenchError(f"{images}: no picture could be segmented; {done.table} says why")
    if sheet is not None:
        write_sheet(images, out, sheet)
        click.echo(f"sheet: {sheet}")


def check_sheet(sheet: Path, images: Path, out: Path) -> None:
    """Raise MaskbenchError unless a sheet can be written there, outside of both folders."""
    from maskbench.errors import MaskbenchError

    folders = {Path(images).resolve(), Path(out).resolve()}
    if sheet.suffix.lower() not in (".png", ".jpg") or folders & set(sheet.resolve().parents):
        raise MaskbenchError(f"{sheet}: no place for a sheet; give a .png or .jpg outside {images} and {out}")


def describe(done: FolderRun) -> str:
    """What a run did, for people."""
    counts = done.counts
    rate = f", {done.new / done.seconds:.1f} images/s" if done.new and done.seconds > 0 else ""
    lines = [
        f"{sum(counts.values())} inputs = {' + '.join(f'{count} {status}' for status, count in counts.items())}  "
        f"({done.new} done now in {done.seconds:.1f} s{rate})"
    ]
    lines += [f"  {reason}: {count}" for reason, count in list(done.reasons.items())[:10]]
    return "\n".join([*lines, f"table: {done.table}"])
