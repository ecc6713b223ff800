"""What synthetic people are worth: ``python tools/people/measure.py FOLDER --out figures.json [...]``.

FOLDER is what ``maskbench people`` writes, or any folder of pictures with one folder for each person. Measured: whether
mediapipe finds the faces, and where they were put; how well recognizers tell people apart; how much people differ, with
--reference also relative to another folder's figures; who they are; with --results, what masks do to recognizers, with
--reference-results also whether they rank as there; with --speed, the generator's pictures a second. Prints tables and
writes the same figures as JSON.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import agreement
import numpy as np
import spread
from gather import embed_pictures, pictures_below, read_ids, read_meshes, recognizers
from measure_report import tables

from maskbench.digest import bytes_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import cache_root, read_json, write_json
from maskbench.images import decode, read_bytes
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.parallel import map_items
from maskbench.people.records import ATTRIBUTES, POINTS, TABLE
from maskbench.results import load_results, value_at
from maskbench.tables import read_columns

PARTS = ("landmarks", "recognition", "diversity", "people")
FIGURES = {"eer": ("eer", "value"), "fnmr_at_fmr_0.01": ("fmr100", "fnmr"), "auc": ("auc",)}
RANKED = ("UMR-MP", "eer", "value")


def people_columns(folder: Path) -> dict[str, list[str]]:
    """The columns of a folder's people.csv; nothing where there is none."""
    if not (folder / TABLE).is_file():
        return {}
    names, values = read_columns(folder / TABLE)
    if missing := [name for name in ("path", *ATTRIBUTES) if name not in names]:
        raise MaskbenchError(f"{folder / TABLE}:1: has no column {missing[0]}; make it with maskbench people")
    return dict(zip(names, values, strict=True))


def landmark_figures(
    folder: Path, names: Sequence[str], columns: dict[str, list[str]], cache: Path | None
) -> dict[str, Any]:
    """Whether and where mediapipe finds the faces; without true landmarks only whether."""
    truth = dict(zip(*read_meshes(folder / POINTS), strict=True)) if (folder / POINTS).is_file() else {}
    turned = dict(zip(columns.get("path", []), map(float, columns.get("yaw", [])), strict=True))
    landmarker = CachedLandmarker("auto", root=cache)  # the one that embedding uses, so each picture is seen once
    counts, errors, yaw = [], [], []
    for name in names:
        data = read_bytes(folder / name)
        found = landmarker.detect(decode(data, name), bytes_sha256(data))
        faces = [face for face in found if face.detector.startswith("mediapipe")]  # no template of an aligned crop
        counts.append(len(faces))
        if name in truth:
            face = agreement.nearest_face(faces, truth[name])
            errors.append(None if face is None else agreement.point_errors(face.points, truth[name]))
            yaw.append(turned.get(name, 0.0))
    if errors:
        return agreement.summarise(errors, counts, yaw)
    return {**agreement.found_share(np.array(counts) > 0), **agreement.several(counts)}


def _speed_worker(seed: int, size: int, form: str) -> Callable[[tuple[int, int]], int]:
    import cv2

    from maskbench.images import encode
    from maskbench.people.portraits import Portraits

    cv2.setNumThreads(1)
    portraits = Portraits(seed, size)

    def make(shot: tuple[int, int]) -> int:
        portrait = portraits.portrait(*shot)
        return len(encode(portrait.image, f".{form}", portrait.quality))

    return make


def speed(pictures: int, size: int, workers: int, seed: int = 0, form: str = "jpg") -> dict[str, float]:
    """Pictures a second of the generator, compression included: once warm, and from the start; and the machine's load
    before, for a busy machine says little.

    Args:
        pictures: how many to make, six of each identity.
    """
    shots = [(1 + number // 6, 1 + number % 6) for number in range(pictures)]
    load, started, moments = os.getloadavg()[0], time.perf_counter(), []
    for _ in map_items(_speed_worker, (seed, size, form), shots, workers):
        moments.append(time.perf_counter())
    skip = min(len(moments) // 5, 50)  # compilers and caches warm up
    steady = (len(moments) - 1 - skip) / max(1e-9, moments[-1] - moments[skip])
    whole = len(moments) / (moments[-1] - started)
    return {"steady": round(steady, 1), "with_start": round(whole, 1), "load_before": round(load, 2)}


def masked_figures(root: Path, condition: tuple[str, ...] = RANKED) -> dict[str, Any]:
    """EER, FNMR at FMR 1 % and AUC by recognizer and condition of maskbench's results below a folder, and the ranking.

    Raises:
        MaskbenchError: there are no results, or those of several protocols.
    """
    results = load_results(root)
    if not results:
        raise MaskbenchError(f"{root}: holds no results; run maskbench evaluate first")
    if len(protocols := sorted({str(result.protocol.get("name")) for result in results})) > 1:
        raise MaskbenchError(f"{root}: holds results of {' and '.join(protocols)}; give the folder of one protocol")
    table: dict[str, Any] = {}
    for result in results:
        name = str(result.recognizer.get("name"))
        table[name] = {
            label: {title: value_at(result, label, *place) for title, place in FIGURES.items()}
            for label in result.metrics
        }
    key = {str(result.recognizer.get("name")): value_at(result, *condition) for result in results}
    ranked = sorted((name for name, value in key.items() if value is not None), key=lambda name: (key[name], name))
    return {"recognizers": table, "ranking": ranked}


def same_ranking(one: Sequence[str], other: Sequence[str]) -> dict[str, Any]:
    """How many pairs of recognizers that both rank stand in the same order."""
    both = [name for name in one if name in other]
    pairs = [(a, b) for index, a in enumerate(both) for b in both[index + 1 :]]
    agreeing = sum(other.index(a) < other.index(b) for a, b in pairs)
    return {"recognizers": len(both), "pairs": len(pairs), "agreeing": agreeing}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All parts that are asked for, as JSON values."""
    folder, cache = arguments.folder, arguments.cache or cache_root()
    names = pictures_below(folder, read_ids(arguments.only) if arguments.only else None)
    columns = people_columns(folder)
    found: dict[str, Any] = {"pictures": len(names)}
    if "landmarks" in arguments.parts:
        found["landmarks"] = landmark_figures(folder, names, columns, cache)
    if {"recognition", "diversity"} & set(arguments.parts):
        for one in recognizers(arguments.recognizer, arguments.data, arguments.card):
            templates = embed_pictures(one, folder, names, cache=cache)
            if "recognition" in arguments.parts:
                found.setdefault("recognition", {})[one.spec.name] = spread.recognition(templates)
            if "diversity" in arguments.parts:
                here = spread.diversity(templates, arguments.per_person)
                found.setdefault("diversity", {})[one.spec.name] = here
    if "people" in arguments.parts and columns:
        found["people"] = spread.who(columns)
    if arguments.reference:
        other = read_json(arguments.reference).get("diversity", {})
        both = [name for name in found.get("diversity", {}) if name in other]
        found["relative"] = {name: spread.relative(found["diversity"][name], other[name]) for name in both}
    if arguments.results:
        found["masked"] = masked_figures(arguments.results)
        if arguments.reference_results:
            found["masked_reference"] = masked_figures(arguments.reference_results)
            rankings = [found[name]["ranking"] for name in ("masked", "masked_reference")]
            found["same_ranking"] = same_ranking(*rankings)
    if arguments.speed:
        found["speed"] = {str(n): speed(arguments.speed, arguments.size, n) for n in (1, 2)}
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    data = os.environ.get("MASKBENCH_DATA")
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("folder", type=Path, help="people, one folder each")
    found.add_argument("--out", type=Path, help="JSON file of the figures")
    found.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    found.add_argument("--only", type=Path, help="file of the people to take, one a line")
    found.add_argument("--per-person", type=int, default=6, help="pictures of a mean template")
    found.add_argument("--reference", type=Path, help="figures (--out) of the folder to compare the diversity with")
    found.add_argument("--results", type=Path, help="folder of maskbench results on these people")
    found.add_argument("--reference-results", type=Path, help="folder of maskbench results on others, such as LFW")
    found.add_argument("--speed", type=int, default=0, metavar="N", help="time the generator on N pictures")
    found.add_argument("--size", type=int, default=160, help="of the pictures that --speed makes")
    found.add_argument("--recognizer", action="append", default=[], help="name or onnx:PATH; repeatable")
    found.add_argument("--card", type=Path, help="card of an ONNX file that has none beside it")
    found.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: MASKBENCH_DATA")
    found.add_argument("--cache", type=Path, help="default: maskbench's cache folder")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = parser().parse_args(argv)
    try:
        found = measure(arguments)
        if arguments.out:
            write_json(arguments.out, found)
    except MaskbenchError as error:
        print(f"measure: {error}", file=sys.stderr)
        return 1
    print(tables(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
