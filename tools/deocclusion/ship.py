"""A run of deocclusion-small to what the package ships: half-precision weights of both stages with their cards.

    python tools/deocclusion/ship.py RUN maskbench/data
    maskbench evaluate --model dlib-resnet --model deocclusion --protocol ... --out RESULTS
    python tools/deocclusion/ship.py RUN maskbench/data --results RESULTS/PROTOCOL ...

DATA/completions gets the completion ``ga``, DATA/deocclusion the student, whose card names it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from maskbench.digest import bytes_sha256
from maskbench.files import read_json, write_bytes, write_json, write_text
from maskbench.results import read_result

LICENCE = "LicenseRef-maskbench-deocclusion-noncommercial"
TERMS = "Non-commercial research only; see LICENSE.txt beside the weights."
SETS = {"celeba256": "CelebA (188 people)", "utk144": "UTKFace (without labels)"}
SYSTEMS = ("deocclusion--ga", "dlib-resnet", "dlib-resnet--ga")  # what is quoted of results, where it is there


def halved(path: Path) -> bytes:
    """A file of weights in half precision."""
    state = load_file(path)
    return save({name: value.to(torch.float16).contiguous() for name, value in sorted(state.items())})


def told(sets: list[str]) -> list[str]:
    """Training sets as the licence speaks of them."""
    return [SETS.get(name, name) for name in sets]


def figures(folder: Path) -> dict:
    """FNMR at FMR 1 %, EER and accuracy of each system, by condition."""
    found: dict = {}
    for name in SYSTEMS:
        if not (folder / name / "result.json").is_file():
            continue
        result = read_result(folder / name / "result.json")
        found[name] = {
            condition: {
                "fnmr_at_fmr100": block["fmr100"]["fnmr_including_failures"], "eer": block["eer"]["value"],
                "accuracy": block.get("accuracy_10fold", {}).get("mean"),
            }
            for condition, block in result.metrics.items()
        }  # fmt: skip
    return found


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
        if list(report["sets"]) != list(SETS):
            raise SystemExit(f"{given.run}/{stage}: trained on other sets than the cards and the licence speak of")
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
    keys = ("recipe", "steps", "seconds", "faces", "subjects", "left_out", "final", "versions")
    runs = [{key: report[key] for key in keys} for report in reports.values()]  # completion, student
    metrics = {folder.name: figures(folder) for folder in given.results}
    write_json(out / "training.json", {"training": {"command": given.command, "runs": runs}, "metrics": metrics})


if __name__ == "__main__":
    main()
