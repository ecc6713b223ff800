"""Build the people that ship with maskbench: pictures, table, licence, recipe and protocol, the same bytes every time.

    python tools/people/build_demo.py

reads ``tools/people/demo.json`` (seed, size, quality and the numbers of the identities that passed the privacy check)
and replaces ``maskbench/data/demo-people`` and ``protocols/demo-people``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations, cycle
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from nearness import pictures_digest

from maskbench.digest import generator
from maskbench.errors import MaskbenchError
from maskbench.files import read_json, write_json, write_text
from maskbench.people.config import PeopleConfig, describe_config
from maskbench.people.demo_set import NAME
from maskbench.people.folder import make_people
from maskbench.people.records import ATTRIBUTES, POINTS, TABLE, PictureRow, read_people, read_points
from maskbench.protocol_build import build_protocol
from maskbench.protocol_draft import Comparison, pair_table
from maskbench.protocols import write_protocol
from maskbench.types import Protocol, Sample

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LICENCE, RECIPE = "LICENSE.txt", "recipe.json"
MOST_BYTES = 8_000_000
STEPS = 64  # landmarks are rounded to this part of a pixel, and so compress
FOLDS, SUBJECTS_PER_FOLD = 10, 10
KEYS = {"seed", "size", "identities"}
OPTIONAL = {"quality": None, "format": "jpg", "pictures": 6}
JUDGED = "judged_sha256"  # of a recipe: the digest of the pictures that the privacy check saw
# Individual typology angle in degrees, lightest first: Chardon, Cretois and Hourseau, International Journal of Cosmetic
# Science 13 (1991) 191-208.
SKIN = ((55, "very light"), (41, "light"), (28, "intermediate"), (10, "tan"), (-30, "brown"), (-np.inf, "dark"))

LICENCE_TEXT = """\
demo-people: pictures of {people} people who do not exist
{line}

The pictures in this folder show nobody. They were drawn by "maskbench people" from a
statistical model of faces: each identity is a random sample of the model's
coefficients, and an identity was left out if it came nearer to one of the model's
training pictures than people outside of the training set do.

The model was fitted on pictures of two collections, and their terms carry over:

  CelebA (Liu, Luo, Wang and Tang, Deep Learning Face Attributes in the Wild,
  ICCV 2015): available for non-commercial research purposes only; the collection may
  be neither reproduced nor exploited for commercial purposes, nor may parts of it be
  published or distributed further.

  UTKFace (Zhang, Song and Qi, Age Progression/Regression by Conditional Adversarial
  Autoencoder, CVPR 2017): available for non-commercial research purposes only; the
  copyright of the pictures belongs to their original owners.

You may use, copy and pass on the files of this folder for non-commercial research and
teaching, with this text. They come without any warranty. The Apache licence of
maskbench does not extend to them.
"""


def main() -> None:
    """Read the recipe, build, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=HERE / "demo.json")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository to write to")
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    size = build(given.recipe, given.root, given.workers)
    print(f"{given.root / 'maskbench' / 'data' / NAME}: {size / 1e6:.2f} MB")


def build(recipe: Path, root: Path, workers: int = 1) -> int:
    """Write the set and its protocol below a repository's root; return the bytes of all files of the set.

    Raises:
        MaskbenchError: the recipe is malformed, or the set is larger than ``MOST_BYTES``.
    """
    config = read_recipe(recipe)
    target = root / "maskbench" / "data" / NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".demo-people-") as scratch:
        made = Path(scratch, "people")
        make_people(made, config, workers)
        rows = list(read_people(made))
        judged = read_json(recipe).get(JUDGED)
        if judged not in (None, pictures_digest((row.path, row.sha256) for row in rows)):
            raise MaskbenchError(f"{recipe}: not the pictures that were judged; run privacy.py again on this machine")
        fresh = Path(scratch, NAME)
        _keep(made, fresh, rows, config)
        size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise MaskbenchError(f"{recipe}: the set has {size:,} bytes, at most {MOST_BYTES:,}; lower its quality")
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)
    write_protocol(make_demo_protocol(rows, config.seed), root / "protocols" / NAME)
    return size


def read_recipe(path: Path) -> PeopleConfig:
    """The options of the set. Raises MaskbenchError for unknown or missing keys."""
    found = read_json(path)
    if not isinstance(found, dict) or not KEYS <= set(found) <= {*KEYS, *OPTIONAL, JUDGED}:
        keys = f"{', '.join(sorted(KEYS))} and, if need be, {', '.join(OPTIONAL)}"
        raise MaskbenchError(f"{path}: the keys must be {keys}")
    values: dict[str, Any] = {**OPTIONAL, **found}
    values.pop(JUDGED, None)
    return PeopleConfig(**{**values, "identities": tuple(values["identities"])})


def _keep(made: Path, fresh: Path, rows: Sequence[PictureRow], config: PeopleConfig) -> None:
    """Pictures, table and landmarks, a licence, and the recipe."""
    for row in rows:
        target = fresh / row.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made / row.path, target)
    shutil.copyfile(made / TABLE, fresh / TABLE)
    paths, points = read_points(made / POINTS)
    np.savez_compressed(fresh / POINTS, paths=paths, points=np.round(points * STEPS) / np.float32(STEPS))
    people = len(config.identities)
    line = "=" * len(LICENCE_TEXT.splitlines()[0].format(people=people))
    write_text(fresh / LICENCE, LICENCE_TEXT.format(people=people, line=line))
    told = describe_config(config)
    kept = {key: told[key] for key in ("model_sha256", "seed", "size", "format", "quality", "pictures")}
    write_json(fresh / RECIPE, {**kept, "identities": sorted(config.identities)})


# ---------------------------------------------------------------- the protocol


def make_demo_protocol(rows: Sequence[PictureRow], seed: int) -> Protocol:
    """Every mated pair and as many non-mated ones, under UMR-UMP, UMR-MP and MR-MP, in subject-disjoint folds."""
    samples = [_sample(row) for row in rows]
    pictures: dict[str, list[str]] = {}
    for sample in samples:
        pictures.setdefault(sample.subject_id, []).append(sample.sample_id)
    return build_protocol(
        NAME, 1, samples, pair_table(list(_comparisons(pictures, seed))), "UMR-UMP",
        description="Synthetic people: every mated pair, and as many of strangers, under three conditions.",
        licence="Non-commercial research; see LICENSE.txt beside the pictures, which show nobody.",
        source=f"maskbench people, seed {seed}",
        masking={"recipe": "lfw-masked", "version": 1, "seed": 0},
    )  # fmt: skip


def _sample(row: PictureRow) -> Sample:
    known, path = dict(zip(ATTRIBUTES, row.cells, strict=True)), PurePosixPath(row.path)
    decade = int(known["age"]) // 10 * 10
    attributes = {
        "sex": known["sex"], "age_group": f"{decade}-{decade + 9}", "skin_tone": skin_tone(float(known["skin_ita"])),
        "expression": known["expression"],
    }  # fmt: skip
    return Sample(path.stem, path.parent.name, row.path, row.sha256, attributes)


def skin_tone(ita: float) -> str:
    """The class of an individual typology angle in degrees."""
    return next(name for least, name in SKIN if ita > least)


def _comparisons(pictures: dict[str, list[str]], seed: int) -> Iterator[Comparison]:
    """Folds in which each subject occurs once; in each all mated pairs, then the strangers."""
    names = sorted(pictures)
    generator(seed, NAME, "folds").shuffle(names)
    folds = max(1, min(FOLDS, len(names) // SUBJECTS_PER_FOLD))
    for fold in range(1, folds + 1):
        members = sorted(names[fold - 1 :: folds])
        rng = generator(seed, NAME, str(fold))
        mated = [_either_way(rng, pair) for name in members for pair in combinations(pictures[name], 2)]
        for index, pair in enumerate(mated, start=1):
            yield fold, index, True, *pair
        strangers = _strangers(rng, [pictures[name] for name in members], len(mated))
        for index, pair in enumerate(strangers, start=1):
            yield fold, index, False, *pair


def _strangers(rng: np.random.Generator, members: list[list[str]], wanted: int) -> list[tuple[str, str]]:
    """Different pairs of pictures, the pairs of people taken in turn so that each is met about equally often."""
    couples = list(combinations(members, 2))
    rng.shuffle(couples)
    possible = sum(len(one) * len(other) for one, other in couples)
    found: dict[frozenset[str], tuple[str, str]] = {}
    for one, other in cycle(couples):
        if len(found) >= min(wanted, possible):
            break
        pair = one[rng.integers(len(one))], other[rng.integers(len(other))]
        found.setdefault(frozenset(pair), _either_way(rng, pair))
    return list(found.values())


def _either_way(rng: np.random.Generator, pair: tuple[str, str]) -> tuple[str, str]:
    """Either picture may be the reference, for the probe is the one that is masked."""
    return pair if rng.integers(2) else pair[::-1]


if __name__ == "__main__":
    main()
