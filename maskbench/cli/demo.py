"""maskbench demo"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example:\n\n  maskbench demo --faces lfw-funneled/ --out demo/")
@click.option(
    "--faces", type=click.Path(path_type=Path), help="One folder per subject, or LFW; else MASKBENCH_DATA or LFW."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("maskbench-demo"), show_default=True)
@click.option(
    "--model", "models", multiple=True, default=["dlib-resnet"], show_default=True, help="Repeat for several."
)
@click.option(
    "--pairs", default=600, show_default=True, type=click.IntRange(20), help="Pairs of pictures, in each condition."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=0, type=click.IntRange(0, 256), help="Processes; 0 takes every processor.")
def demo(faces: Path | None, out: Path, models: tuple[str, ...], pairs: int, seed: int, workers: int) -> None:
    """The whole chain: mask faces, evaluate a recognizer on them, print the leaderboard, draw ROC and DET curves."""
    import time

    from maskbench.demo import run_demo

    started = time.monotonic()
    paths = run_demo(faces, out, models, pairs, seed, workers, click.echo)
    for label, path in (
        ("leaderboard", ", ".join(str(p) for p in paths.leaderboard)), ("curves", paths.curves),
        ("masked faces", paths.sheet), ("results", paths.results),
    ):  # fmt: skip
        click.echo(f"{label + ':':14}{path}")
    click.echo(f"done in {time.monotonic() - started:.0f} s")
