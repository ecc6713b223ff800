"""Measure a segmenter on held-out people: overlap with the drawn masks, false alarms on bare faces, time for a face.

The figures go to standard output and, with --write, into the card.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from rows import LEAST, NOTICED, Folder, blocks, described, figures  # noqa: E402

from maskbench.files import read_json, write_json
from maskbench.segmenter import CARD, Segmenter, load_segmenter

WITH_MASKS = ("seen", "unseen", "found_seen", "found_unseen")


def counts(segmenter: Segmenter, folder: Folder, rows: np.ndarray) -> np.ndarray:
    """Pixels in both, in the prediction and in the target: (3, N)."""
    parts = []
    for faces, target in blocks(folder, rows):
        found = segmenter.segment(faces) > 0
        parts.append(np.stack([x.sum((1, 2)) for x in (found & target, found, target)]))
    return np.concatenate(parts, axis=1)


def masked_figures(segmenter: Segmenter, path: Path) -> dict:
    """Overlaps of all rows and of each group, and how many pictures gave no face to align by."""
    folder = Folder.open(path)
    rows = folder.rows()
    pixels, groups = counts(segmenter, folder, rows), np.array([row["group"] for row in described(path, rows)])
    told: dict = figures(*pixels)
    large = pixels[2] >= LEAST
    shares = pixels[0][large] / (pixels[1] + pixels[2] - pixels[0])[large]
    told["share_below_half"] = round(float((shares < 0.5).mean()), 4)
    told["no_face"] = int((np.asarray(folder.done) == 2).sum())
    told["groups"] = {name: figures(*pixels[:, groups == name]) for name in sorted(set(groups))}
    return told


def bare_figures(segmenter: Segmenter, path: Path) -> dict:
    """How often and how much is found where nothing is worn."""
    folder = Folder.open(path)
    share = counts(segmenter, folder, folder.rows())[1] / 128**2
    return {
        "pictures": len(share), "noticed": round(float((share > NOTICED).mean()), 4),
        "mean_share": round(float(share.mean()), 5),
    }  # fmt: skip


def milliseconds(segmenter: Segmenter, faces: np.ndarray) -> float:
    """The median time for one face, preprocessing included, with as many threads as the process may use processors."""
    times = []
    for number in range(60):
        start = time.perf_counter()
        segmenter.segment(faces[number % len(faces)][None])
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times[10:])), 2)


def main() -> None:
    """Parse the options and run."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder", type=Path, help="holds segmenter.onnx and its card")
    for name in WITH_MASKS:
        parse.add_argument(f"--{name.replace('_', '-')}", type=Path, help="folder of make.py")
    parse.add_argument("--bare", type=Path, help="folder of make.py, --bare 1")
    parse.add_argument("--write", action="store_true", help="into the card")
    given = parse.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core: the time is then that of one
    segmenter, metrics = load_segmenter("cpu", given.folder), {}
    for name in WITH_MASKS:
        if path := getattr(given, name):
            metrics[name] = masked_figures(segmenter, path)
    if given.bare:
        metrics["bare"] = bare_figures(segmenter, given.bare)
        metrics["milliseconds_one_core"] = milliseconds(segmenter, np.asarray(Folder.open(given.bare).faces[:50]))
    print(json.dumps(metrics, indent=2))
    if given.write:
        card = read_json(given.folder / CARD)
        card["metrics"] = {**card.get("metrics", {}), **metrics}
        write_json(given.folder / CARD, card)


if __name__ == "__main__":
    main()
