"""A run of g2d-small to what the package ships: half-precision weights with their cards.

    python tools/g2d/ship.py RUN maskbench/data
    maskbench evaluate --model dlib-resnet --model g2d --protocol ... --out RESULTS
    python tools/g2d/ship.py RUN maskbench/data --results RESULTS/PROTOCOL ...

DATA/completions gets the encoder as the completion ``ict``, DATA/g2d the recognizer, each if RUN has its stage; what
DATA/g2d/training.json tells of other stages stays.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from shipping import TERMS, figures, halved, refuse_other_sets, summary, told

from maskbench.digest import bytes_sha256
from maskbench.files import read_json, write_bytes, write_json, write_text
from maskbench.train.g2d_recipe import REFORMER, STAGES, UPSAMPLER

LICENCE = "LicenseRef-maskbench-g2d-noncommercial"
SYSTEMS = ("g2d", "dlib-resnet", "maskinv", "deocclusion--ga")  # what is quoted of results, where it is there


def put(stage: Path, folder: Path, name: str) -> None:
    """Weights and card of a stage, and the people it was trained on."""
    weights, card = halved(stage / "weights.safetensors"), read_json(stage / "weights.json")
    folder.mkdir(exist_ok=True)
    write_bytes(folder / f"{name}.safetensors", weights)
    rights = {"name": name, "licence": LICENCE, "terms": TERMS, "sha256": bytes_sha256(weights)}
    values = {**card, **rights, "training_data": told(card["training_data"])}
    write_json(folder / f"{name}.json", dict(sorted(values.items())))
    if (stage / "weights.subjects.txt").is_file():
        known = (stage / "weights.subjects.txt").read_text(encoding="utf-8")
        write_text(folder / f"{name}.subjects.txt", known)


def told_of(run: Path, before: dict[str, Any]) -> list[dict[str, Any]]:
    """What is told of each stage, in their order: by this run, or else before."""
    found = {made["stage"]: made for made in before.get("training", {}).get("runs", [])}
    for stage in STAGES:
        if (run / stage / "training.json").is_file():
            report = read_json(run / stage / "training.json")
            refuse_other_sets(run / stage, report)
            found[stage] = {"stage": stage, "trained_faces": report["made_with"]["faces"], **summary(report)}
    return [found[stage] for stage in STAGES if stage in found]


def main() -> None:
    """Parse the options and write the files."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("run", type=Path)
    parse.add_argument("data", type=Path)
    parse.add_argument("--results", type=Path, nargs="*", default=[], help="what maskbench evaluate wrote, by protocol")
    parse.add_argument("--command", default="")
    given = parse.parse_args()
    out = given.data / "g2d" / "training.json"
    before = read_json(out) if out.is_file() else {}
    runs = told_of(given.run, before)
    if (given.run / UPSAMPLER / "training.json").is_file():
        put(given.run / UPSAMPLER, given.data / "completions", "ict")
    if (given.run / REFORMER / "training.json").is_file():
        put(given.run / REFORMER, given.data / "g2d", "g2d")
    command = given.command or before.get("training", {}).get("command", "")
    metrics = {folder.name: figures(folder, SYSTEMS) for folder in given.results}
    out.parent.mkdir(exist_ok=True)
    write_json(out, {"training": {"command": command, "runs": runs}, "metrics": metrics})


if __name__ == "__main__":
    main()
