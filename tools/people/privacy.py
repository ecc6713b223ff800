"""Does a synthetic person resemble somebody in the training pictures? ``python tools/people/privacy.py OUT [...]``.

Identities are drawn one after the other, and one is rejected when its nearness to the training pictures
(``nearness.py`` defines it) exceeds the 99th percentile of the same figure of real people outside the training set,
under any of the recognizers, or when one of its pictures gives no template, for then it cannot be judged. Writes
``privacy.json`` and ``privacy.md`` to OUT and, with --demo, the first COUNT accepted identities as the recipe of the
shipped set.

Real and synthetic people go through one procedure: mediapipe's landmarks on the stored picture, five-point alignment,
the recognizer. The landmarks that the generator knows serve only where mediapipe finds no face, so that no picture
escapes the check. With --people, the people are those of a folder of pictures, whoever made them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nearness
import numpy as np
from gather import (
    Templates,
    embed_pictures,
    joined,
    person_of,
    pictures_below,
    read_ids,
    read_landmarks,
    recognizers,
)
from privacy_report import markdown, report, write_sheet

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import cache_root, write_json, write_text
from maskbench.types import Recognizer

BLOCK = 25  # identities generated and judged at a time
MOST = 10  # candidates for each one wanted, before the search is given up


@dataclass(frozen=True)
class Options:
    """What decides the outcome."""

    pictures: int = 6
    statistic: str = "max"
    share: float = 0.99
    seed: int = 0
    size: int = 160
    first: int = 0
    format: str = "jpg"
    quality: int | None = None
    without: tuple[int, ...] = ()  # identities that somebody who looked leaves out


@dataclass
class Judge:
    """One recognizer with its training templates and what real people reach.

    Attributes:
        limit: (limit, low, high): the limit and its 95 % interval.
        yardsticks: of real people, the threshold of FMR 0.1 %, and the median score of one person's two pictures.
        values, people: of the candidates judged so far; ``closest``: (score, picture, training picture).
    """

    recognizer: Recognizer
    training: Templates
    real: Templates
    real_values: np.ndarray
    limit: tuple[float, float, float]
    yardsticks: tuple[float | None, float | None]
    values: list[float] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    closest: list[tuple[float, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """A set of training pictures: name, folder, pictures, and five points where they are known."""

    name: str
    root: Path
    names: list[str]
    landmarks: dict[str, np.ndarray] | None


def make_judges(
    arguments: argparse.Namespace, training: Sequence[Training], outside: tuple[Path, list[str]], options: Options,
    cache: Path,
) -> tuple[list[Judge], list[str]]:  # fmt: skip
    """A judge for each recognizer, and the people "outside" who are left out: the training set holds them after all.

    Raises:
        MaskbenchError: nobody remains.
    """
    found = []
    for one in recognizers(arguments.recognizer, arguments.data, arguments.card):
        everything = joined([embed_training(one, part, cache) for part in training])
        found.append((one, everything, embed_pictures(one, *outside, cache=cache)))
    # Whom the training set holds every recognizer sees; to one alone, strangers may look alike.
    present = [set(nearness.also_trained(real, everything)) for _, everything, real in found]
    inside = sorted(set.intersection(*present))
    return [_judge(one, everything, real, inside, options) for one, everything, real in found], inside


def embed_training(recognizer: Recognizer, one: Training, cache: Path) -> Templates:
    """Templates of a set of training pictures, named ``SET/PICTURE``."""
    found = embed_pictures(recognizer, one.root, one.names, one.landmarks, cache=cache)
    return replace(found, names=np.array([f"{one.name}/{name}" for name in found.names]))


def _judge(
    recognizer: Recognizer, training: Templates, real: Templates, inside: Sequence[str], options: Options
) -> Judge:
    real = real.of(np.flatnonzero(~np.isin(real.people, inside)))
    scores, _ = nearness.nearest(real, training)
    values, people = nearness.statistics(scores, real.people, options.pictures, options.statistic)
    bound = nearness.limit(values, people, options.share)
    yardsticks = nearness.recognised_at(real), nearness.same_person(real)
    return Judge(recognizer, training, real, values, bound, yardsticks)


def judge_people(
    judges: Sequence[Judge], root: Path, names: list[str], fallback: dict[str, np.ndarray], options: Options,
    cache: Path,
) -> tuple[list[str], list[str]]:  # fmt: skip
    """The people of a folder that pass, and those that could not be judged (a picture without template)."""
    values, who = [], []
    for judge in judges:
        found = embed_pictures(judge.recognizer, root, names, fallback=fallback, cache=cache)
        scores, rows = nearness.nearest(found, judge.training)
        complete = [p for p in np.unique(found.people) if np.count_nonzero(found.people == p) >= options.pictures]
        first = np.concatenate([np.flatnonzero(found.people == p)[: options.pictures] for p in complete] or [[]])
        first = first.astype(int)
        new, people = (
            nearness.statistics(scores[first], found.people[first], options.pictures, options.statistic)
            if complete else (np.empty(0), np.empty(0, str))
        )  # fmt: skip
        judge.values += new.tolist()
        judge.people += people.tolist()
        judge.closest += [(float(scores[i]), str(found.names[i]), str(judge.training.names[rows[i]])) for i in first]
        judge.closest = sorted(judge.closest, reverse=True)[:200]
        values.append(new)
        who.append(people)
    excess = nearness.verdicts(values, who, [judge.limit[0] for judge in judges])
    everyone = sorted({person_of(name) for name in names})
    return [p for p in everyone if p in excess and max(excess[p]) <= 0], [p for p in everyone if p not in excess]


def candidates(options: Options, folder: Path) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
    """Blocks of synthetic people, made below ``folder`` as ``maskbench people`` makes them: names, true five points."""
    from maskbench.people.folder import PeopleConfig, make_people
    from maskbench.people.records import POINTS

    number = options.first
    while True:
        block, numbers = f"from{number:05d}", tuple(range(number, number + BLOCK))
        wanted = PeopleConfig(numbers, options.pictures, options.size, options.seed, options.format, options.quality)
        make_people(folder / block, wanted, overwrite=True)
        points = read_landmarks([folder / block / POINTS])
        yield [f"{block}/{name}" for name in sorted(points)], {f"{block}/{name}": five for name, five in points.items()}
        number += BLOCK


def search(
    judges: Sequence[Judge], count: int, options: Options, folder: Path, cache: Path
) -> tuple[list[str], list[str]]:
    """The first ``count`` people that pass, and those not judged.

    Raises:
        MaskbenchError: most candidates fail, so that the search would not end.
    """
    accepted: list[str] = []
    unjudged: list[str] = []
    for tried, (names, points) in enumerate(candidates(options, folder), start=1):
        passed, skipped = judge_people(judges, folder, names, points, options, cache)
        accepted += [name for name in passed if int(name.removeprefix("P")) not in options.without]
        unjudged += skipped
        print(f"{tried * BLOCK} identities: {len(accepted)} accepted", file=sys.stderr)
        if len(accepted) >= count:
            return accepted[:count], unjudged
        if tried * BLOCK >= MOST * count:
            raise MaskbenchError(f"only {len(accepted)} of {tried * BLOCK} identities pass; look at --sheet")
    raise AssertionError("candidates never end")


def training_sets(arguments: argparse.Namespace) -> tuple[list[Training], tuple[Path, list[str]]]:
    """The training pictures and the real people outside, as options name them, else those of the real data."""
    if arguments.train and arguments.outside:
        folders = [Training(path.name, path, pictures_below(path), None) for path in arguments.train]
        return folders, (arguments.outside, pictures_below(arguments.outside))
    if arguments.data is None:
        raise MaskbenchError("no real data; set MASKBENCH_DATA, or give --train and --outside")
    faces, splits = arguments.data / "faces", arguments.data / "splits"
    found = []
    for name, people in (("celeba256", read_ids(splits / "celeba256_train_ids.txt")), ("utk144", None)):
        points = read_landmarks(arguments.landmarks, f"{name}/") if arguments.landmarks else None
        found.append(Training(name, faces / name, pictures_below(faces / name, people), points))
    outside = read_ids(splits / "celeba256_val_ids.txt")
    return found, (faces / "celeba256", pictures_below(faces / "celeba256", outside))


def recipe(accepted: Sequence[str], options: Options, folder: Path) -> dict[str, Any]:
    """What ``build_demo.py`` needs to make the shipped set: the options, the numbers of the identities, and the digest
    of their pictures below ``folder``, so that no others are taken for the ones that were judged."""
    kept = ("seed", "size", "pictures", "format", "quality")
    numbers = sorted(int(name.removeprefix("P")) for name in accepted)
    names = {f"P{number:05d}" for number in numbers}
    files = [file for file in folder.glob("*/P*/*") if file.parent.name in names]
    return {
        **{name: getattr(options, name) for name in kept},
        "identities": numbers,
        "judged_sha256": nearness.pictures_digest((f"{f.parent.name}/{f.name}", file_sha256(f)) for f in files),
    }


def model_digest(options: Options) -> str:
    """The SHA-256 of the generator's model."""
    from maskbench.people.portraits import Portraits

    return Portraits(options.seed, options.size).model_digest


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = Options()
    data = os.environ.get("MASKBENCH_DATA")
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("out", type=Path, help="folder of the report, and of the candidates' pictures")
    found.add_argument("--people", type=Path, help="judge the people of this folder; nothing is generated")
    found.add_argument("--count", type=int, default=100, help="identities wanted")
    found.add_argument("--pictures", type=int, default=options.pictures, help="pictures of an identity")
    found.add_argument("--statistic", choices=sorted(nearness.STATISTICS), default=options.statistic)
    found.add_argument("--seed", type=int, default=options.seed)
    found.add_argument("--size", type=int, default=options.size)
    found.add_argument(
        "--without", type=int, nargs="*", default=[], help="identities left out of the recipe by someone who looked"
    )
    found.add_argument("--first", type=int, default=options.first, help="number of the first identity")
    found.add_argument("--format", choices=("jpg", "webp", "png"), default=options.format)
    found.add_argument("--quality", type=int, help="1 to 100 instead of the sampled camera's")
    found.add_argument("--recognizer", action="append", default=[], help="name or onnx:PATH; repeatable")
    found.add_argument("--card", type=Path, help="card of an ONNX file that has none beside it")
    found.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: MASKBENCH_DATA")
    found.add_argument("--landmarks", type=Path, nargs="*", default=[], help=".npz files: names, points (N, 468+, 3)")
    found.add_argument("--train", type=Path, action="append", default=[], help="folder of training pictures")
    found.add_argument("--outside", type=Path, help="folder of real people outside the training set")
    found.add_argument("--cache", type=Path, help="default: maskbench's cache folder")
    found.add_argument("--demo", type=Path, help="write the recipe of the shipped set here")
    found.add_argument("--sheet", type=Path, help="picture of the nearest pairs; real people: keep it private")
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything; returns the report."""
    options = Options(
        arguments.pictures, arguments.statistic, 0.99, arguments.seed, arguments.size, arguments.first,
        arguments.format, arguments.quality, tuple(arguments.without),
    )  # fmt: skip
    cache = arguments.cache or cache_root()
    training, outside = training_sets(arguments)
    judges, inside = make_judges(arguments, training, outside, options, cache)
    folder = arguments.people or arguments.out / "candidates"
    if arguments.people:
        accepted, unjudged = judge_people(judges, folder, pictures_below(folder), {}, options, cache)
    else:
        accepted, unjudged = search(judges, arguments.count, options, folder, cache)
    found = report(judges, accepted, unjudged, inside, options)
    if not arguments.people:
        found["model_sha256"] = model_digest(options)
    write_json(arguments.out / "privacy.json", found)
    write_text(arguments.out / "privacy.md", markdown(found))
    if arguments.demo:
        write_json(arguments.demo, recipe(accepted, options, folder))
    if arguments.sheet:
        roots = {one.name: one.root for one in training}
        write_sheet(arguments.sheet, judges, folder, roots)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    try:
        print(markdown(run(parser().parse_args(argv))))
    except MaskbenchError as error:
        print(f"privacy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
