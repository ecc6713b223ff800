"""De-occlusion distillation row by row on small means: trains every row with the same budget, and measures all.

    python tools/deocclusion/ablation.py completions RUNS --data FACES ... --subjects LIST
    python tools/deocclusion/ablation.py students RUNS --data FACES ... --subjects LIST --seeds 0 1
    python tools/deocclusion/ablation.py curves RUNS curves.png
    python tools/deocclusion/ablation.py measure RUNS --people FOLDER --work FOLDER

``completions`` trains the completion networks of the paper's Table 2, ``students`` its rows behind them; rows that are
done are skipped, and calls of different seeds may run side by side (a file NAME.begun says what is taken). All students
of one seed and completion read the same completed faces, which are made once, in the cache folder (1.7 GB for 25,000).
``curves`` draws the losses of the five settings of the paper's Fig. 5, each divided by its first value. ``measure``
builds the protocol "folders" on held-out people, masks them by recipe "worn", and prints a row for each student with
the paired difference to the row that it is compared with.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from maskbench.cli.train import open_sources
from maskbench.train.loop import Machine
from maskbench.train.recipe import load_recipe
from maskbench.train.run_deocclusion import train_deocclusion

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "maskinv"))
import ablation as shared  # noqa: E402 - beside this folder: the same table of the same protocol

OF_COMPLETIONS = ("completion.epochs=0.25",)
OF_STUDENTS = (
    "recognition.variants=1", "recognition.epochs=0.6", "recognition.optimiser.warm_up=0.1",
    "recognition.optimiser.rate=0.0002",
)  # fmt: skip
# name -> settings of the first stage
COMPLETIONS: dict[str, tuple[str, ...]] = {
    "ga": (),
    "ga-noattention": ("completion.network=ga-noattention", "completion.name=ga-noattention"),
    "gfc": (
        "completion.network=gfc", "completion.name=gfc", "completion.width=0.25", "completion.losses.adversary=log",
    ),
    "idgan": (
        "completion.network=ga-noattention", "completion.name=idgan", "completion.losses.identity=0.5",
    ),
}  # fmt: skip
_NO_INSTANCE = "recognition.losses.instance=none"
_NO_PAIRS, _NO_TRIPLETS = "recognition.losses.pair_weight=0", "recognition.losses.triplet_weight=0"
# name -> (what it is, completion, settings of the second stage, the row that it is compared with)
ROWS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "soft": ("Soft", "ga", (), "dlib-resnet--ga"),
    "hard": ("Hard", "ga", ("recognition.losses.instance=hard",), "soft"),
    "ce": ("CE alone", "ga", (_NO_INSTANCE, _NO_PAIRS, _NO_TRIPLETS), "soft"),
    "ce-pair": ("CE + pairs", "ga", (_NO_INSTANCE, _NO_TRIPLETS), "soft"),
    "ce-pair-triplet": ("CE + pairs + triplets", "ga", (_NO_INSTANCE,), "soft"),
    "centroid": ("Soft, reading (a)", "ga", ("recognition.losses.instance=centroid",), "soft"),
    "direction": ("Soft, reading (c)", "ga", ("recognition.losses.instance=direction",), "soft"),
    "fine-tuned": (
        "fine-tuning on completed faces", "ga",
        (
            _NO_INSTANCE, _NO_PAIRS, _NO_TRIPLETS, "recognition.losses.soft_targets=0",
            "recognition.losses.margin_weight=0.15",
        ),
        "soft",
    ),
    "noattention": ("Soft, without attention", "ga-noattention", (), "soft"),
    "gfc": ("Soft, GFC", "gfc", (), "soft"),
    "idgan": ("Soft, IDGAN", "idgan", (), "soft"),
}  # fmt: skip
FIGURE_5 = ("ce", "ce-pair", "ce-pair-triplet", "hard", "soft")


def _begin(path: Path) -> bool:
    try:
        path.with_name(f"{path.name}.begun").open("x").close()
    except FileExistsError:
        return False
    return True


def _train(given: argparse.Namespace, out: Path, changes: tuple[str, ...], **more: Any) -> None:
    sources = open_sources(tuple(given.data), given.subjects, None)
    recipe = load_recipe("deocclusion-small", [*changes, f"name={out.name}"])
    torch.set_num_threads(given.threads)
    print(out.name, flush=True)
    train_deocclusion(recipe, sources, out, machine=Machine("cpu", workers=1), **more)


def completions(given: argparse.Namespace) -> None:
    """The first stages."""
    for name in given.rows or COMPLETIONS:
        out = given.runs / f"completion-{name}"
        if _begin(out):
            _train(given, out, (*OF_COMPLETIONS, *COMPLETIONS[name]), stages=("completion",))


def students(given: argparse.Namespace) -> None:
    """The second stages, with every seed."""
    for seed in given.seeds:
        for name in given.rows or ROWS:
            out, (_, completion, changes, _) = given.runs / f"{name}-{seed}", ROWS[name]
            weights = given.completion or given.runs / f"completion-{completion}" / "completion" / "weights.safetensors"
            if _begin(out):
                _train(given, out, (*OF_STUDENTS, *changes, f"seed={seed}"), stages=("student",), completion=weights)


def curves(given: argparse.Namespace) -> None:
    """Loss over steps, for the settings of Fig. 5."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from maskbench.train.loop import read_log

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for name in FIGURE_5:
        lines = [line for line in read_log(given.runs / f"{name}-0" / "student") if "loss" in line]
        first = lines[0]["loss"]
        axes.plot([line["step"] for line in lines], [line["loss"] / first for line in lines], label=ROWS[name][0])
    axes.set(xlabel="step", ylabel="training loss / its first value")
    axes.legend()
    figure.savefig(given.picture, dpi=150)


def measure(given: argparse.Namespace) -> None:
    """All students on one protocol, as a table, after their teacher on faces that the same networks completed."""
    shared.ROWS |= {name: (told, (), against) for name, (told, _, _, against) in ROWS.items()}
    completed = tuple(f"dlib-resnet--{name}" for name in COMPLETIONS)
    shared.measure(given, "*/student/weights.safetensors", ("dlib-resnet",), completed)


def main() -> None:
    """Parse the options and run."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parse.add_subparsers(required=True)
    for name, run, rows in (("completions", completions, COMPLETIONS), ("students", students, ROWS)):
        training = parts.add_parser(name)
        training.add_argument("runs", type=Path)
        training.add_argument("--data", type=Path, action="append", required=True)
        training.add_argument("--subjects", type=Path)
        training.add_argument("--rows", nargs="+", choices=list(rows))
        training.add_argument("--threads", type=int, default=1)
        if name == "students":
            training.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
            training.add_argument("--completion", type=Path, help="weights to take for all rows")
        training.set_defaults(run=run)
    drawing = parts.add_parser("curves")
    drawing.add_argument("runs", type=Path)
    drawing.add_argument("picture", type=Path)
    drawing.set_defaults(run=curves)
    measuring = parts.add_parser("measure")
    measuring.add_argument("runs", type=Path)
    measuring.add_argument("--people", type=Path, required=True, help="a folder for each of the held-out people")
    measuring.add_argument("--work", type=Path, required=True)
    measuring.add_argument("--mask", type=Path, help="another recipe of masks than worn")
    measuring.set_defaults(run=measure)
    given = parse.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    given.run(given)


if __name__ == "__main__":
    main()
