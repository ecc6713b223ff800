"""maskbench synthesize"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from maskbench.masking.engine import Summary

EPILOG = """\b
Examples:
  maskbench synthesize faces/ masked/
  maskbench synthesize faces/ masked/ --mask surgical,n95 --seed 7 --workers 4
  maskbench synthesize faces/ masked/ --resume          after an interruption
"""


@click.command(epilog=EPILOG)
@click.argument("faces", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--mask", default="all", show_default=True, help="Masks to draw from: ids separated by commas, or all.")
@click.option("--masks-dir", multiple=True, type=click.Path(path_type=Path), help="A further folder of masks.")
@click.option("--seed", default=0, show_default=True, help="Another seed gives other masks, colours and positions.")
@click.option(
    "--workers",
    default=0,
    type=click.IntRange(0, 256),
    help="Processes; 0 (default) takes every processor. Changes no byte of the output.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run, or add new files to a finished one.")
@click.option("--save-alpha", is_flag=True, help="Also write each mask's alpha below OUT/_alpha.")
@click.option(
    "--landmarks", type=click.Choice(["auto", "mediapipe", "aligned"]), default="auto", show_default=True,
    help="mediapipe: the face mesh; aligned: a fixed template for 112x112 crops; auto: the mesh, then the template.",
)  # fmt: skip
@click.option(
    "--faces", "policy", type=click.Choice(["largest", "central", "all"]), default="largest", show_default=True,
    help="Which faces of a picture to mask.",
)  # fmt: skip
@click.option("--protocol", "protocol_name", help="Only the pictures that this protocol wants masked.")
@click.option("--no-cache", is_flag=True, help="Neither read nor write the landmark cache.")
def synthesize(
    faces: Path, out: Path, mask: str, masks_dir: tuple[Path, ...], seed: int, workers: int, resume: bool,
    save_alpha: bool, landmarks: str, policy: str, protocol_name: str | None, no_cache: bool,
) -> None:  # fmt: skip
    """Paste masks on every face picture below FACES; write the same paths below OUT, and OUT/manifest.csv.

    Every input has one row in the manifest: masked, failed or skipped, with the reason.
    """
    from maskbench.errors import MaskbenchError
    from maskbench.files import cache_root
    from maskbench.masking.engine import synthesize as run
    from maskbench.masking.synthesis import SynthesisConfig
    from maskbench.parallel import default_workers
    from maskbench.protocols import load_protocol, masked_paths

    config = SynthesisConfig(
        mask=mask, seed=seed, landmarks=landmarks, faces=policy, save_alpha=save_alpha,
        masks_dirs=tuple(str(folder) for folder in masks_dir),
    )  # fmt: skip
    cache = None if no_cache else cache_root()
    only = masked_paths(load_protocol(protocol_name)) if protocol_name else None
    try:
        summary = run(faces, out, config, workers or default_workers(), resume, cache, only)
    except KeyboardInterrupt:
        click.echo(
            f"interrupted; finished files are kept: run the same command with --resume to continue in {out}", err=True
        )
        raise SystemExit(130) from None
    click.echo(describe(summary))
    if not summary.counts["masked"]:
        raise MaskbenchError(f"{faces}: no picture could be masked; {summary.manifest} says why")


def describe(summary: Summary) -> str:
    """The summary of a run, for people."""
    counts = summary.counts
    total = sum(counts.values())
    rate = f", {summary.new / summary.seconds:.1f} images/s" if summary.new and summary.seconds > 0 else ""
    lines = [
        f"{total} inputs = {counts['masked']} masked + {counts['failed']} failed + {counts['skipped']} skipped"
        f"  ({summary.new} done now in {summary.seconds:.1f} s{rate}; landmarks cached for {summary.cached})"
    ]
    found = max(1, counts["masked"])
    lines += [f"  landmarks by {name}: {n} ({n / found:.1%})" for name, n in summary.by_landmarks.items()]
    lines += [f"  {reason}: {n}" for reason, n in list(summary.reasons.items())[:10]]
    lines.append(f"manifest: {summary.manifest}  sha256 {summary.manifest_sha256[:16]}")
    return "\n".join(lines)
