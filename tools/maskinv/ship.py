"""A run of maskinv-small to what the package ships: half-precision weights, the card and the list of people.

    python tools/maskinv/ship.py RUN maskbench/data/maskinv [--blend 0.9]
    maskbench evaluate --model dlib-resnet --model maskinv --protocol ... --out RESULTS
    python tools/maskinv/ship.py RUN maskbench/data/maskinv [--blend 0.9] --results RESULTS/PROTOCOL ...

``--blend`` is the share of the trained weights; the rest are those that the run began with (dlib-resnet). It is chosen
on validation people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from maskbench.digest import bytes_sha256
from maskbench.files import read_json, write_bytes, write_json, write_text
from maskbench.models.dlib_resnet import fold, load_dlib_resnet, unfold
from maskbench.recognizers.dlib_resnet import checked_weights
from maskbench.results import read_result
from maskbench.train.run import blended

LICENCE = "LicenseRef-maskbench-maskinv-noncommercial"
TERMS = "Non-commercial research only; see LICENSE.txt beside the weights."


def figures(folder: Path) -> dict:
    """Of student and teacher on one protocol: FNMR at FMR 1 % with its interval, EER, and accuracy, by condition."""
    found: dict = {}
    for name in ("maskinv", "dlib-resnet"):
        result = read_result(folder / name / "result.json")
        found[name] = {
            condition: {
                "fnmr_at_fmr100": block["fmr100"]["fnmr_including_failures"],
                "interval": [
                    result.intervals[condition]["fmr100.fnmr_including_failures"][side] for side in ("low", "high")
                ],
                "eer": block["eer"]["value"],
                "accuracy": block.get("accuracy_10fold", {}).get("mean"),
            }
            for condition, block in result.metrics.items()
        }
    return found


def main() -> None:
    """Parse the options and write the files."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("run", type=Path)
    parse.add_argument("out", type=Path)
    parse.add_argument("--blend", type=float, default=1.0)
    parse.add_argument("--results", type=Path, nargs="*", default=[], help="what maskbench evaluate wrote, by protocol")
    parse.add_argument("--command", default="")
    given = parse.parse_args()
    start = unfold(fold(load_dlib_resnet(checked_weights()))).state_dict()
    state = blended(load_file(given.run / "weights.safetensors"), start, given.blend)
    data = save({name: value.to(torch.float16).contiguous() for name, value in sorted(state.items())})
    write_bytes(given.out / "maskinv.safetensors", data)
    if list(read_json(given.run / "training.json")["sets"]) != ["celeba256", "utk144"]:
        raise SystemExit(f"{given.run}: trained on other sets than the card and the licence speak of")
    card, report = read_json(given.run / "weights.json"), read_json(given.run / "training.json")
    known = (given.run / "weights.subjects.txt").read_text(encoding="utf-8")
    write_text(given.out / "maskinv.subjects.txt", known)
    write_json(
        given.out / "maskinv.json",
        {
            **card, "name": "maskinv", "sha256": bytes_sha256(data), "licence": LICENCE, "terms": TERMS,
            "training_data": [*card["training_data"][:-2], "CelebA (188 people)", "UTKFace (without labels)"],
            "source": f"{card['source']}; weights {given.blend:g} of the student, {1 - given.blend:g} of dlib-resnet",
        },
    )  # fmt: skip
    training = {key: report[key] for key in ("recipe", "steps", "seconds", "faces", "subjects", "left_out", "versions")}
    measured = {folder.name: figures(folder) for folder in given.results}
    of_the_run = report["final"] if given.blend == 1 else None
    about = {"command": given.command, "blend": given.blend, "validation": of_the_run, **training}
    write_json(given.out / "training.json", {"training": about, "metrics": measured})


if __name__ == "__main__":
    main()
