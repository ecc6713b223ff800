"""MaskInv step by step on small means: trains every row with the same budget, and measures all on held-out people.

    python tools/maskinv/ablation.py train RUNS --data FACES --data OTHERS --subjects LIST --seeds 0 1
    python tools/maskinv/ablation.py measure RUNS --people FOLDER --work FOLDER

``train`` skips rows that are done; two of them may run side by side, each taking what the other has not begun (a file
NAME-SEED.begun says so; remove it to begin a row again). ``measure`` builds the protocol "folders" on the held-out
people, masks them by recipe "worn" or another, and prints a row for each student: error rates, and the paired
difference to the row it is compared with, with a subject bootstrap's interval.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from maskbench.results import read_result

HERE = Path(__file__).parent
BUDGET = (
    "epochs=0.6", "optimiser.warm_up=0.1", "optimiser.rate=0.0002", "optimiser.head_rate=0.0004",
)  # fmt: skip
# name -> (what it is, settings, the row that it differs from by one step)
ROWS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "both": ("KD + margin, p = 0.7, all masks", (), "dlib-resnet"),
    "kd": ("KD alone", ("losses.margin_weight=0",), "both"),
    "margin": ("margin alone", ("losses.weight=0",), "both"),
    "one-mask": (
        "one mask, as in the released code",
        ("masks.recipes={maskinv: 1}", "augmentation.recolour=0", "augmentation.patch=0"), "both",
    ),
    "p0": ("p = 0", ("masks.p=0",), "both"),
    "p50": ("p = 0.5", ("masks.p=0.5",), "both"),
    "p80": ("p = 0.8", ("masks.p=0.8",), "both"),
    "p100": ("p = 1", ("masks.p=1",), "both"),
    **{
        f"without-{kind}": (
            f"worn, without {kind} masks", (f"masks.recipes={{{HERE.resolve()}/without-{kind}.yaml: 1}}",), "both"
        )
        for kind in ("surgical", "cloth", "respirator")
    },
}  # fmt: skip


def train(given: argparse.Namespace, method: tuple[str, ...] = ("maskinv",)) -> None:
    """Every row with every seed, one after the other; ``method``: what follows "maskbench train"."""
    for seed in given.seeds:
        for name in given.rows or ROWS:
            out = given.runs / f"{name}-{seed}"
            try:
                (given.runs / f"{name}-{seed}.begun").open("x").close()
            except FileExistsError:
                continue
            changes = [*BUDGET, *ROWS[name][1], f"seed={seed}", f"name={name}-{seed}"]
            command = [sys.executable, "-m", "maskbench", "train", *method, "--out", str(out), "--workers", "1"]
            command += [part for path in given.data for part in ("--data", str(path))]
            command += [part for change in changes for part in ("--set", change)]
            command += ["--subjects", str(given.subjects)] if given.subjects else []
            environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
            with open(given.runs / f"{name}-{seed}.log", "wb") as log:
                code = subprocess.run(command, env=environment, stdout=log, stderr=log).returncode
            print(name, seed, "done" if code == 0 else f"failed, see {log.name}", flush=True)


OTHERS = ("dlib-resnet", "maskinv")


def measure(
    given: argparse.Namespace, pattern: str = "*/weights.safetensors", others: tuple[str, ...] = OTHERS,
    completed: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """All students on one protocol, as a table, after the recognizers ``others``.

    Recognizers ``completed`` come next, each "NAME--COMPLETION" as its result is called, on faces that this completion
    has completed; it lies beside the students that were trained behind it.
    """
    protocol, masked, results = (given.work / name for name in ("protocol", "masked", "results"))
    if not protocol.exists():
        _maskbench("protocol", "make", "folders", given.people, protocol)
    if given.mask:
        masked, results = given.work / f"masked-{given.mask.stem}", given.work / f"results-{given.mask.stem}"
    if not (masked / "manifest.csv").exists():
        _maskbench("synthesize", given.people, masked, *(("--recipe", given.mask) if given.mask else ()))
    weights = sorted(given.runs.glob(pattern))
    models = [part for name in (*others, *(f"torch:{path}" for path in weights)) for part in ("--model", name)]
    where = ("--protocol", protocol, "--faces", given.people, "--masked", masked, "--out", results)
    _maskbench("evaluate", *models, *where)
    beside = {_completion_of(path): f"torch:{path.with_name('completion.safetensors')}" for path in weights}
    completed = tuple(name for name in completed if name.partition("--")[2] in beside)
    for name in completed:
        recognizer, _, completion = name.partition("--")
        _maskbench("evaluate", "--model", recognizer, "--completion", beside[completion], *where)
    folder = next(path for path in results.iterdir() if path.is_dir())
    print("| row | seed | UMR-UMP | UMR-MP | MR-MP | EER UMR-MP | UMR-MP against | MR-MP against |")
    print("|---|---|---|---|---|---|---|---|")
    for name in (*others, *completed, *(path.relative_to(given.runs).parts[0] for path in weights)):
        print(_row(folder, name))


def _completion_of(weights: Path) -> str:
    """The name of the completion that a student reads the faces of; nothing where it reads none."""
    card = weights.with_name("completion.json")
    return json.loads(card.read_text())["name"] if card.is_file() else ""


def _row(folder: Path, name: str) -> str:
    """One student: FNMR at FMR 1 % in three conditions, EER, and the paired difference to its row of comparison."""
    place = _place(folder, name)
    result = read_result(place / "result.json")
    cells = [_cell(result, condition) for condition in ("UMR-UMP", "UMR-MP", "MR-MP")]
    kind, _, seed = name.rpartition("-")
    told, against = (ROWS[kind][0], ROWS[kind][2]) if kind in ROWS else (name, "dlib-resnet")
    other = against if against.startswith("dlib-resnet") else f"{against}-{seed}"
    equal_error = 100 * result.metrics["UMR-MP"]["eer"]["value"]
    differences = [
        "" if name == other else _difference(place, _place(folder, other), other, condition)
        for condition in ("UMR-MP", "MR-MP")
    ]
    return " | ".join(["| " + told, seed if kind in ROWS else "", *cells, f"{equal_error:.2f} %", *differences]) + " |"


def _place(folder: Path, name: str) -> Path:
    """Its results, also where its card puts a completion before it."""
    return folder / name if (folder / name).is_dir() else next(folder.glob(f"{name}--*"), folder / name)


def _cell(result, condition: str) -> str:  # noqa: ANN001 - a Result
    return f"{100 * result.metrics[condition]['fmr100']['fnmr_including_failures']:.1f} %"


def _difference(one: Path, other: Path, name: str, condition: str) -> str:
    if not other.is_dir():
        return "?"
    # Few people make few folds; the paired subject bootstrap uses all of their pairs.
    found = json.loads(_maskbench("compare", one, other, "--condition", condition, "--bootstrap", 500, "--json"))
    low, high = (100 * value for value in found["bootstrap"])
    resolved = "" if low > 0 or high < 0 else ", unresolved"
    return f"{name}: {100 * found['difference']:+.1f} ({low:+.1f} to {high:+.1f}){resolved}"


def _maskbench(*arguments: object) -> str:
    command = [sys.executable, "-m", "maskbench", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(
    told: str | None = __doc__, method: tuple[str, ...] = ("maskinv",), pattern: str = "*/weights.safetensors"
) -> None:  # fmt: skip
    """Parse the options and run; the arguments are those of ``train`` and ``measure``, and what --help says."""
    parse = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parse.add_subparsers(required=True)
    training = parts.add_parser("train")
    training.add_argument("runs", type=Path)
    training.add_argument("--data", type=Path, action="append", required=True)
    training.add_argument("--subjects", type=Path)
    training.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    training.add_argument("--rows", nargs="+", choices=list(ROWS))
    training.add_argument("--threads", type=int, default=1)
    training.set_defaults(run=lambda given: train(given, method))
    measuring = parts.add_parser("measure")
    measuring.add_argument("runs", type=Path)
    measuring.add_argument("--people", type=Path, required=True, help="a folder for each of the held-out people")
    measuring.add_argument("--work", type=Path, required=True)
    measuring.add_argument("--mask", type=Path, help="another recipe of masks than worn")
    measuring.set_defaults(run=lambda given: measure(given, pattern))
    given = parse.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    given.run(given)


if __name__ == "__main__":
    main()
