"""maskbench complete"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from maskbench.cli.systems import completing_options

EPILOG = """\b
Examples:
  maskbench complete photographs/ faces/ --method telea --sheet faces.png
  maskbench complete photographs/ faces/ --method torch:mine.safetensors
  maskbench complete photographs/ faces/ --method graph-laplace --fit-on people/
  maskbench complete masked/ faces/ --method ga --mask-source oracle --originals people/ --sheet faces.png
"""


@click.command(epilog=EPILOG)
@click.argument("images", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--method", required=True, help="A completion of `maskbench models list`, or torch:PATH.")
@click.option("--originals", type=click.Path(path_type=Path), help="The unmasked pictures, at the same paths.")
@click.option(
    "--workers", default=0, type=click.IntRange(0, 256),
    help="Processes; 0 (default) takes every processor. Changes no byte of the output.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue an interrupted run, or add new files to a finished one.")
@click.option("--refresh", is_flag=True, help="Make everything in OUT anew.")
@click.option(
    "--landmarks", type=click.Choice(["auto", "mediapipe", "aligned"]), default="auto", show_default=True,
    help="mediapipe: the face mesh; aligned: a fixed template for 112x112 crops; auto: the mesh, then the template.",
)  # fmt: skip
@click.option(
    "--faces", "policy", type=click.Choice(["largest", "central"]), default="largest", show_default=True,
    help="Which face of a picture to complete.",
)  # fmt: skip
@click.option("--sheet", type=click.Path(path_type=Path), help="Also write sheets of faces here, outside OUT.")
@click.option("--sheet-faces", default=24, type=click.IntRange(1), show_default=True, help="How many, at most.")
@click.option("--no-cache", is_flag=True, help="Neither read nor write the cache of landmarks and completed faces.")
@completing_options
def complete(
    images: Path, out: Path, method: str, originals: Path | None, workers: int, resume: bool, refresh: bool,
    landmarks: str, policy: str, sheet: Path | None, sheet_faces: int, no_cache: bool, **system: Any,
) -> None:  # fmt: skip
    """Replace what hides the faces below IMAGES by what a completion thinks is under it; to be looked at.

    A picture's completed face is a PNG of its aligned crop, under the picture's path with the extension replaced by
    .png. Every input has one row in OUT/completed.csv: completed, failed or skipped, with the reason. A sheet shows
    faces before, with the mask in red, after, and with --originals as they were.
    """
    from maskbench.cli.segment import check_sheet, describe
    from maskbench.completing_folder import FaceOptions, complete_folder
    from maskbench.completing_sheets import write_sheets
    from maskbench.errors import MaskbenchError
    from maskbench.files import cache_root
    from maskbench.systems import SystemOptions

    if sheet is not None:
        check_sheet(sheet, images, out)
    if originals is not None and not originals.is_dir():
        raise MaskbenchError(f"{originals}: no such folder; give the folder of the unmasked pictures (--originals)")
    faces = FaceOptions(landmarks, policy, originals, workers, None if no_cache else cache_root())
    try:
        done = complete_folder(images, out, method, SystemOptions(**system), faces, resume, refresh)
    except KeyboardInterrupt:
        click.echo("interrupted; what is finished is kept: run the same command with --resume to continue", err=True)
        raise SystemExit(130) from None
    click.echo(describe(done.run))
    if not done.run.counts["completed"]:
        raise MaskbenchError(f"{images}: no face could be completed; {done.run.table} says why")
    for path in write_sheets(done, sheet, sheet_faces) if sheet is not None else ():
        click.echo(f"sheet: {path}")
