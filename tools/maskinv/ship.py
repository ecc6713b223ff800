"""Runs of maskinv-small to what the package ships: half-precision weights, the card and the list of people.

    python tools/maskinv/ship.py RUN [RUN ...] --out maskbench/data/maskinv [--blend 0.7]
    maskbench evaluate --model dlib-resnet --model maskinv --protocol ... --out RESULTS
    python tools/maskinv/ship.py RUN [RUN ...] --out maskbench/data/maskinv [--blend 0.7] --results RESULTS/PROTOCOL ...

Weights of several runs, which all begin with dlib-resnet's and differ in seed or settings, are averaged (Wortsman et
al., "Model soups", ICML 2022). ``--blend`` is the share of that average; the rest are dlib-resnet's. It is chosen on
validation people, with ``--try``: prints what the loop's validation says of several blends, and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from safetensors import safe_open
from safetensors.torch import save
from shipping import SETS, TERMS, refuse_other_sets, summary

from maskbench.align import template_at
from maskbench.digest import bytes_sha256
from maskbench.files import read_json, write_bytes, write_json, write_text
from maskbench.models.dlib_resnet import DlibResNet, fold, load_dlib_resnet, unfold
from maskbench.recognizers.dlib_resnet import checked_weights
from maskbench.results import read_result
from maskbench.train.prepare import prepare_faces
from maskbench.train.recipe import load_recipe
from maskbench.train.run import build_student
from maskbench.train.running import Source, blended, embed_with
from maskbench.train.validation import Validation

LICENCE = "LicenseRef-maskbench-maskinv-noncommercial"


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


def trained(run: Path) -> dict[str, torch.Tensor]:
    """The weights that a run came to, before its own blend, as the package stores them."""
    with safe_open(run / "checkpoint.safetensors", "pt") as stored:
        prefix = "module/student/"
        names = [name for name in stored.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
        state = {name.removeprefix(prefix): stored.get_tensor(name) for name in names}
    network = fold(load_dlib_resnet(checked_weights()))
    network.load_state_dict(state)
    return unfold(network).state_dict()


def averaged(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several weights."""
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def try_blends(state: dict, start: dict, shares: list[float], people: Source) -> None:
    """What the loop's validation says of each blend: bare, masked, both masked."""
    recipe = load_recipe("maskinv-small")
    _, spec = build_student(recipe)
    template = template_at(spec.template, spec.input_size)
    check = Validation(prepare_faces([people.open()], template), template, dict(recipe.validation_masks))
    for share in shares:
        network = DlibResNet()
        network.load_state_dict(blended(state, start, share))
        network = fold(network).eval().to(memory_format=torch.channels_last)
        found = check(lambda pictures, network=network: embed_with(network, spec, pictures), spec.comparator)
        print(f"{share:g}", " ".join(f"{name} {value:.4f}" for name, value in found.items()), flush=True)


def write(given: argparse.Namespace, state: dict[str, torch.Tensor]) -> None:
    """Weights, list of people, card, and what was measured."""
    data = save({name: value.to(torch.float16).contiguous() for name, value in sorted(state.items())})
    write_bytes(given.out / "maskinv.safetensors", data)
    reports, cards = ([read_json(run / name) for run in given.runs] for name in ("training.json", "weights.json"))
    for run, report in zip(given.runs, reports, strict=True):
        refuse_other_sets(run, report)
    known = (given.runs[0] / "weights.subjects.txt").read_text(encoding="utf-8")
    write_text(given.out / "maskinv.subjects.txt", known)
    made = "; ".join(card["source"] for card in cards)
    mean = f"; the mean of {len(cards)} runs" if len(cards) > 1 else ""
    write_json(
        given.out / "maskinv.json",
        {
            **cards[0], "name": "maskinv", "sha256": bytes_sha256(data), "licence": LICENCE, "terms": TERMS,
            "training_data": [*cards[0]["training_data"][: -len(SETS)], *SETS.values()],
            "source": f"{made}{mean}; weights {given.blend:g} of the student, {1 - given.blend:g} of dlib-resnet",
        },
    )  # fmt: skip
    measured = {folder.name: figures(folder) for folder in given.results}
    about = {"command": given.command, "blend": given.blend, "runs": [summary(report) for report in reports]}
    write_json(given.out / "training.json", {"training": about, "metrics": measured})


def main() -> None:
    """Parse the options and write the files."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("runs", type=Path, nargs="+")
    parse.add_argument("--out", type=Path)
    parse.add_argument("--blend", type=float, default=1.0)
    parse.add_argument("--results", type=Path, nargs="*", default=[], help="what maskbench evaluate wrote, by protocol")
    parse.add_argument("--command", default="")
    parse.add_argument("--try", dest="shares", type=float, nargs="+", help="blends to measure on --people")
    parse.add_argument("--people", type=Path, help="faces of people that nobody was trained on")
    parse.add_argument("--subjects", type=Path, help="take only these of them")
    given = parse.parse_args()
    start = unfold(fold(load_dlib_resnet(checked_weights()))).state_dict()
    state = averaged([trained(run) for run in given.runs])
    if given.shares:
        try_blends(state, start, given.shares, Source(given.people, given.subjects))
    else:
        write(given, blended(state, start, given.blend))


if __name__ == "__main__":
    main()
