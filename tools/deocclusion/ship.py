"""A run of deocclusion-small to what the package ships: half-precision weights of both stages with their cards.

    python tools/deocclusion/ship.py RUN maskbench/data
    maskbench evaluate --model dlib-resnet --model deocclusion --protocol ... --out RESULTS
    python tools/deocclusion/ship.py RUN maskbench/data --results RESULTS/PROTOCOL ...

DATA/completions gets the completion ``ga``, DATA/deocclusion the student, whose card names it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from shipping import TERMS, figures, halved, refuse_other_sets, summary, told

from maskbench.digest import bytes_sha256
from maskbench.files import read_json, write_bytes, write_json, write_text

LICENCE = "LicenseRef-maskbench-deocclusion-noncommercial"
SYSTEMS = ("deocclusion--ga", "dlib-resnet", "dlib-resnet--ga")  # what is quoted of results, where it is there


def main() -> None:
    """Parse the options and write the files."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("run", type=Path)
    parse.add_argument("data", type=Path)
    parse.add_argument("--results", type=Path, nargs="*", default=[], help="what maskbench evaluate wrote, by protocol")
    parse.add_argument("--command", default="")
    given = parse.parse_args()
    first, second = given.run / "completion", given.run / "student"
    reports = {stage.name: read_json(stage / "training.json") for stage in (first, second)}
    for stage, report in reports.items():
        refuse_other_sets(given.run / stage, report)
    completion, student = halved(first / "weights.safetensors"), halved(second / "weights.safetensors")
    rights = {"licence": LICENCE, "terms": TERMS}
    card = read_json(first / "weights.json")
    write_bytes(given.data / "completions" / "ga.safetensors", completion)
    write_json(
        given.data / "completions" / "ga.json",
        {
            **card, **rights, "name": "ga", "sha256": bytes_sha256(completion),
            "training_data": told(card["training_data"]),
        },
    )  # fmt: skip
    card, out = read_json(second / "weights.json"), given.data / "deocclusion"
    write_bytes(out / "deocclusion.safetensors", student)
    write_json(
        out / "deocclusion.json",
        {
            **card, **rights, "name": "deocclusion", "sha256": bytes_sha256(student), "completion": "ga",
            "training_data": told(card["training_data"]),
        },
    )  # fmt: skip
    known = (second / "weights.subjects.txt").read_text(encoding="utf-8")
    write_text(out / "deocclusion.subjects.txt", known)
    runs = [summary(report) for report in reports.values()]  # completion, student
    metrics = {folder.name: figures(folder, SYSTEMS) for folder in given.results}
    write_json(out / "training.json", {"training": {"command": given.command, "runs": runs}, "metrics": metrics})


if __name__ == "__main__":
    main()
