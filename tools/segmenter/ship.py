"""A training run's checkpoint to ``segmenter.onnx`` and its card.

The threshold is the one with the best mean overlap on validation people who wear masks seen in training; nothing else
is chosen here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from garments import GROUPS, MIXED, OWN, SHARES, rack  # noqa: E402
from rows import LEAST, Folder, overlaps  # noqa: E402

from maskbench.digest import bytes_sha256
from maskbench.files import write_bytes, write_json
from maskbench.models.flops import count_flops
from maskbench.models.segmenter import MaskSegmenter, segmenter_onnx
from maskbench.recognizers.onnx import open_session
from maskbench.segmenter import CARD, NETWORK, Segmenter, SegmenterSpec

THRESHOLDS = np.round(np.arange(0.3, 0.71, 0.05), 2)
SMALLEST = 16  # pixels of a part; fixed beforehand, a thousandth of the crop
LICENCE = "LicenseRef-maskbench-segmenter-noncommercial"


def trained(checkpoint: Path) -> tuple[MaskSegmenter, dict]:
    """The averaged network of a checkpoint, and the whole checkpoint."""
    state = torch.load(checkpoint, weights_only=True)
    network = MaskSegmenter().eval()
    network.load_state_dict(state["average"])
    return network, state


def best_threshold(segmenter: Segmenter, folder: Folder) -> float:
    """The threshold with the highest mean overlap, of ``THRESHOLDS``."""
    both, found, target = overlaps(folder, folder.rows(), segmenter.probability, THRESHOLDS)
    large = target[0] >= LEAST
    means = (both / np.maximum(1, found + target - both))[:, large].mean(1)
    print(json.dumps({str(t): round(float(m), 4) for t, m in zip(THRESHOLDS, means, strict=True)}))
    return float(THRESHOLDS[int(means.argmax())])


def data_told(folders: list[Path]) -> dict:
    """What the training rows were: pictures, rows, groups."""
    groups: Counter[str] = Counter()
    pictures: set[str] = set()
    for path in folders:
        every = [json.loads(line) for line in (path / "rows.jsonl").read_text().splitlines()]
        groups.update(row["group"] or "bare" for row in every)
        pictures.update(row["picture"] for row in every)
    sets = Counter(name.split("/")[0] for name in pictures)
    return {"rows": sum(groups.values()), "pictures": dict(sets), "rows_by_group": dict(sorted(groups.items()))}


def card_of(data: bytes, network: MaskSegmenter, state: dict, given: argparse.Namespace) -> dict:
    """Everything about the weights but the threshold and the figures."""
    unseen = sorted(mask.asset_id for masks in rack(True).groups.values() for mask in masks)
    return {
        "name": "maskbench-segmenter", "sha256": bytes_sha256(data), "input_size": [128, 128], "template": "wide128",
        "colour_order": "RGB", "mean": [127.5] * 3, "std": [127.5] * 3, "smallest_part": SMALLEST,
        "output": "probability that a pixel is occluded, (N, 1, 128, 128)",
        "parameters": sum(p.numel() for p in network.parameters()),
        "flops": count_flops(network, (128, 128)),
        "training_data": ["CelebA (188 people)", "UTKFace"], "licence": LICENCE,
        "terms": "Non-commercial research only; see LICENSE.txt beside the weights.",
        "source": "trained from random weights by tools/segmenter of this repository on masks that maskbench draws",
        "target": "1 where the drawn masks' alpha is at least 128 of 255; drawn beards, hair and spectacles are none",
        "training": {
            "data": data_told(given.data),
            "commands": given.command, "seed": given.seed, "steps": state["step"], "batch": 64,
            "seconds": round(state["seconds"]), "bare_pictures_left_out": len(state["left_out"]),
            "shares": SHARES, "groups": {name: list(kinds) for name, kinds in GROUPS.items()},
            "not_a_target": [*OWN, *MIXED], "held_out_masks": unseen,
        },
    }  # fmt: skip


def main() -> None:
    """Parse the options and run."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("run", type=Path, help="folder of train.py")
    parse.add_argument("out", type=Path, help="folder for the network and its card")
    parse.add_argument("--data", type=Path, nargs="+", required=True, help="folders that were trained on")
    parse.add_argument("--val", type=Path, required=True, help="folder of validation people, with masks of training")
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--command", action="append", default=[], help="to be told in the card; may be repeated")
    given = parse.parse_args()
    network, state = trained(given.run / "checkpoint.pt")
    data = segmenter_onnx(network)
    card = card_of(data, network, state, given)
    spec = SegmenterSpec(
        card["name"], card["sha256"], (128, 128), "wide128", (127.5,) * 3, (127.5,) * 3, 0.5, SMALLEST, LICENCE, ()
    )
    card["threshold"] = best_threshold(Segmenter(open_session(data, NETWORK, "cpu"), spec), Folder.open(given.val))
    write_bytes(given.out / NETWORK, data)
    write_json(given.out / CARD, card)


if __name__ == "__main__":
    main()
