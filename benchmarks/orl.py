"""How well the classical recognizers name the people of ORL: python benchmarks/orl.py [ORL] [--splits 10] [--seed 0]

ORL (AT&T, Cambridge) holds 40 people with 10 grey pictures of 92 x 112 pixels each, as s1/1.pgm to s40/10.pgm. Of each
person five pictures are for training (and are the gallery), the other five are probes: once the first five and the last
five, then random halves. The pictures are used as they are, without alignment, only reduced. PCA, Gabor-PCA and LPP
answer with the person of the nearest training picture, sparse representation with that of the smallest residual.
Printed is the share of probes (200 a split) that were answered right: of the first split, then mean +- standard
deviation (n - 1) over the random ones. docs/classical.md sets the figures beside published ones.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from maskbench.classical.model import features_of, fit_features
from maskbench.classical.options import options_for
from maskbench.classical.sparse import SparseClassifier

PEOPLE, PICTURES, TRAINING = 40, 10, 5
HALF = (56, 46)
PLAIN = {"size": HALF, "light": "none"}
# As the literature does it on ORL: grey levels as they are; the people in the training half are those to be named, so
# that LPP may use their names.
SETTINGS = {
    "PCA, Euclidean": ("pca", {**PLAIN, "whiten": False, "comparator": "negative-l2"}),
    "PCA, cosine": ("pca", {**PLAIN, "whiten": False}),
    "PCA, whitened, 50 axes": ("pca", {**PLAIN, "components": 50}),
    "Gabor-PCA, cosine": ("gpca", {"size": HALF, "whiten": False}),
    "Gabor-PCA, whitened": ("gpca", {"size": HALF}),
    "LPP, neighbours": ("lpp", {**PLAIN}),
    "LPP, subjects": ("lpp", {**PLAIN, "graph": "subjects", "components": PEOPLE - 1}),
    "SR, pixels": ("sr", {"light": "none"}),
    "SR, 120 eigenfaces": ("sr", {**PLAIN, "components": 120}),
}


def read_orl(root: Path) -> np.ndarray:
    """The pictures (40, 10, 112, 92) uint8."""
    rows = []
    for person in range(1, PEOPLE + 1):
        files = [root / f"s{person}" / f"{number}.pgm" for number in range(1, PICTURES + 1)]
        rows.append([cv2.imread(os.fspath(file), cv2.IMREAD_GRAYSCALE) for file in files])
        if any(picture is None for picture in rows[-1]):
            raise SystemExit(f"{root}: s{person} lacks pictures; give the folder that holds s1 to s40")
    return np.array(rows)


def halves(splits: int, seed: int) -> Iterator[np.ndarray]:
    """Which pictures train, (40, 10) bool: the first five of each person, then random ones."""
    yield np.tile(np.arange(PICTURES) < TRAINING, (PEOPLE, 1))
    rng = np.random.default_rng(seed)
    for _ in range(splits):
        yield np.argsort(rng.random((PEOPLE, PICTURES)), axis=1) < TRAINING


def answers(gallery: np.ndarray, people: np.ndarray, probes: np.ndarray, comparator: str) -> np.ndarray:
    """The person that each probe is taken for."""
    if comparator == "sparse-residual":
        return SparseClassifier().fit(gallery, people).predict(probes)
    gallery, probes = gallery.astype(np.float64), probes.astype(np.float64)
    if comparator == "cosine":
        gallery, probes = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (gallery, probes))
    distances = np.square(gallery).sum(1) - 2 * probes @ gallery.T
    return people[distances.argmin(axis=1)]


def rates(pictures: np.ndarray, method: str, values: dict, splits: int, seed: int) -> np.ndarray:
    """Rank-1 rates in percent: of the first split, then of the random ones, (1 + splits,)."""
    options, size = options_for(method, values), pictures.shape[2:]
    features = features_of(pictures.reshape(-1, *size), options).reshape(PEOPLE, PICTURES, -1)
    people = np.repeat(np.arange(PEOPLE), TRAINING)
    found = []
    for training in halves(splits, seed):
        model = fit_features(features[training], people.astype(str), options, size)
        gallery, probes = model.templates(features[training]), model.templates(features[~training])
        found.append(100 * np.mean(answers(gallery, people, probes, model.comparator) == people))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("MASKBENCH_DATA")
    parser.add_argument("orl", type=Path, nargs="?", default=Path(data) / "faces" / "orl" if data else None)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.orl is None:
        parser.error("give the folder of ORL, or set MASKBENCH_DATA")
    pictures = read_orl(arguments.orl)
    print(f"{'':26}first 5   random, n = {arguments.splits}   seconds")
    for name, (method, values) in SETTINGS.items():
        begin = time.perf_counter()
        first, *others = rates(pictures, method, values, arguments.splits, arguments.seed)
        spread = np.std(others, ddof=1) if len(others) > 1 else 0.0
        seconds = time.perf_counter() - begin
        mean = np.mean(others or [first])
        print(f"{name:26}{first:6.1f}   {mean:6.2f} +- {spread:4.2f}    {seconds:6.1f}", flush=True)


if __name__ == "__main__":
    main()
