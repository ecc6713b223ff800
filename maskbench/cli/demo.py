"""maskbench demo"""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  maskbench demo
  maskbench demo --faces my-people/ --model dlib-resnet --model onnx:mine.onnx --out mine/
"""


@click.command(epilog=EPILOG)
@click.option(
    "--faces", type=click.Path(path_type=Path),
    help="One folder per subject, or LFW.  [default: synthetic people that ship with maskbench]",
)  # fmt: skip
@click.option("--lfw", is_flag=True, help="LFW, from MASKBENCH_DATA or scikit-learn's downloader.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("maskbench-demo"), show_default=True)
@click.option(
    "--model", "models", multiple=True, help="Repeat for several.  [default: every recognizer that ships]"
)  # fmt: skip
@click.option("--pairs", type=click.IntRange(20), help="With --faces or --lfw, in each condition.  [default: 600]")
@click.option("--seed", default=0, show_default=True, help="Of the masks.")
@click.option("--workers", default=0, type=click.IntRange(0, 256), help="Processes; 0 takes every processor.")
def demo(
    faces: Path | None, lfw: bool, out: Path, models: tuple[str, ...], pairs: int | None, seed: int, workers: int
) -> None:
    """The whole chain: mask faces, evaluate recognizers on them, print the leaderboard, draw ROC and DET curves.

    Without --faces the pictures are of synthetic people that ship with maskbench: nothing is downloaded.
    """
    import time

    from maskbench.demo import demo_faces, run_demo
    from maskbench.recognizers.builtin import shipped_recognizers

    started = time.monotonic()
    chosen = models or tuple(shipped_recognizers())
    paths = run_demo(demo_faces(faces, lfw, pairs, click.echo), out, chosen, seed, workers, click.echo)
    for label, path in (
        ("leaderboard", ", ".join(str(p) for p in paths.leaderboard)), ("curves", paths.curves),
        ("masked faces", paths.sheet), ("results", paths.results),
    ):  # fmt: skip
        click.echo(f"{label + ':':14}{path}")
    click.echo(f"done in {time.monotonic() - started:.0f} s")
