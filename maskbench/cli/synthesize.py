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
  maskbench synthesize faces/ masked/ --recipe deocclusion      a paper's mixture, or your own file
  maskbench synthesize faces/ masked/ --coverage high --shape wide --colour black
  maskbench synthesize faces/ masked/ --mask surgical --style under-nose,mouth-only
  maskbench synthesize "shards/train-{000..012}.tar" masked/ --out-shards
  maskbench synthesize faces/ masked/ --resume          after an interruption
"""


@click.command(epilog=EPILOG)
@click.argument("faces")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--recipe", help="What is drawn, and how often: a recipe's name or a YAML file.  [default: worn]")
@click.option("--mask", help="Instead of a recipe: ids separated by commas, or all; drawn evenly.")
@click.option("--coverage", multiple=True, help="Masks of NIST's shapes that cover the nose high, medium or low.")
@click.option("--shape", multiple=True, help="Masks of NIST's shapes that are wide or round.")
@click.option("--colour", multiple=True, help="Colourways, or #rrggbb, instead of all that a mask has.")
@click.option("--style", multiple=True, help="How masks are worn: correct, under-nose, under-chin, mouth-only.")
@click.option("--fraction", type=float, help="Resize masks to cover this share of the face on average, such as 0.2.")
@click.option("--masks-dir", multiple=True, type=click.Path(path_type=Path), help="A further folder of masks.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1),
    help="Another seed gives other masks, colours and positions.  [default: 0, or the protocol's]",
)  # fmt: skip
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
@click.option(
    "--protocol", "protocol_name",
    help="Only the pictures that this protocol wants masked, by its recipe and seed unless others are given.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="Processes of this machine, or a Ray cluster; the same bytes from both.",
)  # fmt: skip
@click.option("--address", help="Of a running Ray cluster that sees the same folders; without it one is started here.")
@click.option("--out-shards", is_flag=True, help="From tar shards (WebDataset): write shards again, not files.")
@click.option("--no-cache", is_flag=True, help="Neither read nor write the landmark cache.")
def synthesize(
    faces: str, out: Path, recipe: str | None, mask: str | None, coverage: tuple[str, ...], shape: tuple[str, ...],
    colour: tuple[str, ...], style: tuple[str, ...], fraction: float | None, masks_dir: tuple[Path, ...],
    seed: int | None, workers: int, resume: bool, save_alpha: bool, landmarks: str, policy: str,
    protocol_name: str | None, engine: str, address: str | None, out_shards: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Paste masks on every face picture below FACES; write the same paths below OUT, and OUT/manifest.csv.

    FACES may also be WebDataset shards: a tar file, a folder of them, or "train-{000..012}.tar".

    Every input has one row in the manifest: masked, failed or skipped, with the reason. Options that take several
    values take them separated by commas, or are given several times; docs/recipes.md describes recipes.
    """
    from maskbench.errors import MaskbenchError
    from maskbench.files import cache_root
    from maskbench.masking.engine import synthesize as run
    from maskbench.masking.recipes import load_recipe, resolve_recipe
    from maskbench.masking.synthesis import SynthesisConfig
    from maskbench.protocols import load_protocol, masked_paths

    protocol = load_protocol(protocol_name) if protocol_name else None
    only, wanted = (masked_paths(protocol), protocol.masking) if protocol else (None, {})
    of_protocol = wanted and not (mask or recipe or coverage or shape)
    base = load_recipe(wanted["recipe"], wanted["version"]) if of_protocol else recipe
    resolved = resolve_recipe(mask, base, coverage, shape, colour, style, fraction)
    config = SynthesisConfig(
        recipe=resolved, seed=wanted.get("seed", 0) if seed is None else seed, landmarks=landmarks, faces=policy,
        save_alpha=save_alpha, masks_dirs=tuple(str(folder) for folder in masks_dir),
    )  # fmt: skip
    cache = None if no_cache else cache_root()
    try:
        summary = run(faces, out, config, workers, resume, cache, only, engine, address, out_shards)
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
