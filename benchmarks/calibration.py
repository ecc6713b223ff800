"""How often 95 % intervals hold the truth: python benchmarks/calibration.py [--simulations 500] [--replicates 100]

With --fast without the bootstraps, with --lfw-pairs pairs.txt on the LFW list itself, with --others at other error
rates and sizes, with --speed only the time of the bootstrap. Single core; minutes.

Draws data sets from a population whose EER and FNMR@FMR100 are known in closed form, in three designs, and prints for
each estimator the share of intervals that hold the truth (coverage; 95 % wanted, 92 to 98 % required of the estimators
marked *), and their mean width relative to the width that the estimates' own spread calls for.

The population: subjects have an effect on all their non-mated scores ("looks like many") and another on their mated
ones, correlated with the first; pictures have effects on both kinds; the rest is noise of the comparison. All normal,
hence both classes of scores are normal, and the truth is a value of the normal distribution.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from maskbench.metrics import bootstrap, influence, uncertainty
from maskbench.metrics.intervals import wilson

TARGET = 0.01
FIGURES = ("EER", "FNMR@FMR100")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Design:
    """Who is compared with whom.

    Attributes:
        first, second: (M,) pictures as numbers.
        subject: (P,) the subject of each picture.
        fold: (M,) from 1.
        distance: mean of the mated scores, which sets the error rates.
        chosen: the estimator that maskbench uses for this design.
    """

    name: str
    first: np.ndarray
    second: np.ndarray
    subject: np.ndarray
    fold: np.ndarray
    distance: float
    chosen: str


# ---------------------------------------------------------------- designs


def lfw_like(seed: int = 7, distance: float = 4.0) -> Design:
    """A list drawn as the LFW list was: ten folds of some 575 subjects, 300 mated and 300 non-mated pairs in each.

    Mated pairs: a subject with two or more pictures at random, then two of its pictures; no pair twice. Non-mated: two
    subjects at random, then a picture of each. 29 % of the subjects have two pictures or more, as in LFW.
    """
    rng = np.random.default_rng(seed)
    counts = np.where(rng.random(5749) < 0.29, 2 + rng.geometric(0.28, 5749), 1)
    start = np.concatenate([[0], np.cumsum(counts)])
    pairs, folds = [], []
    for fold in range(10):
        members = np.arange(fold, 5749, 10)
        several = members[counts[members] > 1]
        seen: set[tuple[int, int]] = set()
        while len(seen) < 300:
            one = rng.choice(several)
            seen.add(tuple(sorted(start[one] + rng.choice(counts[one], 2, replace=False))))
        while len(seen) < 600:
            two = rng.choice(members, 2, replace=False)
            seen.add(tuple(start[one] + rng.integers(counts[one]) for one in two))
        pairs += sorted(seen)
        folds += [fold + 1] * 600
    first, second = np.array(pairs).T
    subject = np.repeat(np.arange(5749), counts)
    return Design("LFW-like list", first, second, subject, np.array(folds), distance, "dyadic")


def lfw_list(path: Path, distance: float = 4.0) -> Design:
    """The LFW list itself: pairs.txt of View 2, ten folds of 300 mated and 300 non-mated pairs."""
    numbers: dict[tuple[str, str], int] = {}
    people: dict[str, int] = {}
    pairs, folds = [], []
    for line, text in enumerate(Path(path).read_text(encoding="utf-8").splitlines()[1:]):
        words = text.split("\t")
        sides = (words[0], words[1]), (words[0] if len(words) == 3 else words[2], words[-1])
        pairs.append([numbers.setdefault(side, len(numbers)) for side in sides])
        folds.append(line // 600 + 1)
    subject = np.array([people.setdefault(name, len(people)) for name, _ in numbers])
    first, second = np.array(pairs).T
    return Design("LFW list", first, second, subject, np.array(folds), distance, "dyadic")


def dense(subjects: int = 60, pictures: int = 4, distance: float = 2.6) -> Design:
    """Every picture with every other."""
    first, second = np.triu_indices(subjects * pictures, 1)
    subject = np.repeat(np.arange(subjects), pictures)
    return Design("all against all", first, second, subject, np.ones(len(first), int), distance, "dyadic")


def folds_of(folds: int = 10, subjects: int = 12, pictures: int = 4, distance: float = 2.6) -> Design:
    """Ten folds without common subjects, every picture of a fold with every other of it."""
    part = dense(subjects, pictures)
    size = subjects * pictures
    first, second = (np.concatenate([side + k * size for k in range(folds)]) for side in (part.first, part.second))
    subject = np.repeat(np.arange(folds * subjects), pictures)
    fold = np.repeat(np.arange(folds) + 1, len(part.first))
    return Design("ten disjoint folds", first, second, subject, fold, distance, "folds")


DESIGNS: tuple[Callable[[], Design], ...] = (lfw_like, dense, folds_of)


def others() -> list[Design]:
    """Fewer errors, and fewer subjects."""
    return [lfw_like(distance=4.7), dense(distance=3.4), folds_of(subjects=6, distance=2.2), folds_of(distance=3.4),
            dense(30, 6, 2.4)]  # fmt: skip

# ---------------------------------------------------------------- population

NON_MATED = {"subject": 0.12, "picture": 0.08}  # shares of the variance, per side
MATED = {"own": 0.35, "looks": 0.10, "picture": 0.12}  # variances: of the subject, of its look, per picture
MATED_NOISE = 0.45
SPREAD = math.sqrt(MATED["own"] + MATED["looks"] + 2 * MATED["picture"] + MATED_NOISE)


def simulate(design: Design, rng: np.random.Generator) -> np.ndarray:
    """(M,) scores: standard normal where non-mated, normal with mean ``distance`` and SD ``SPREAD`` where mated."""
    looks, own = rng.normal(size=(2, int(design.subject.max()) + 1))
    picture = rng.normal(size=len(design.subject))
    one, two = design.subject[design.first], design.subject[design.second]
    noise, pictures = rng.normal(size=len(one)), picture[design.first] + picture[design.second]
    rest = 1 - 2 * (NON_MATED["subject"] + NON_MATED["picture"])
    scores = math.sqrt(NON_MATED["subject"]) * (looks[one] + looks[two])
    scores += math.sqrt(NON_MATED["picture"]) * pictures + math.sqrt(rest) * noise
    mates = design.distance + math.sqrt(MATED["own"]) * own[one] + math.sqrt(MATED["looks"]) * looks[one]
    mates += math.sqrt(MATED["picture"]) * pictures + math.sqrt(MATED_NOISE) * noise
    return np.where(one == two, mates, scores)


def truth(distance: float) -> tuple[float, float]:
    """EER and FNMR@FMR100 of the population."""
    from scipy.special import ndtri

    crossing = distance / (1 + SPREAD)
    return float(ndtr(-crossing)), float(ndtr((-ndtri(TARGET) - distance) / SPREAD))


# ---------------------------------------------------------------- estimators


@dataclass(frozen=True)
class Drawn:
    """One simulated data set, prepared."""

    condition: influence.Comparisons
    shared: uncertainty.Sharing
    alone: uncertainty.Sharing
    fold: np.ndarray
    estimates: tuple[influence.Estimate, influence.Estimate]
    replicates: int
    seed: int


def _wilson(data: Drawn) -> list[Interval]:
    sizes = len(data.condition.mated) + len(data.condition.non_mated), len(data.condition.mated)
    return [wilson(round(e.value * n), n) for e, n in zip(data.estimates, sizes, strict=True)]


def _bootstrap(shared: str, scheme: str) -> Callable[[Drawn], list[Interval]]:
    def run(data: Drawn) -> list[Interval]:
        order = bootstrap.ranked(data.condition, getattr(data, shared))
        found = bootstrap.replicate(order, (TARGET,), scheme, data.replicates, data.seed)
        return [bootstrap.percentile_interval(values) for values in (found.eer, found.fnmr[:, 0])]

    return run


def _dyadic(data: Drawn) -> list[Interval]:
    return [_logit(e, math.sqrt(uncertainty.dyadic_variance(e.influence, data.shared)),
                   uncertainty.degrees_of_freedom(e.influence, data.shared)) for e in data.estimates]  # fmt: skip


def _dyadic_normal(data: Drawn) -> list[Interval]:
    return [_logit(e, math.sqrt(uncertainty.dyadic_variance(e.influence, data.shared)), 1e9) for e in data.estimates]


def _folds(data: Drawn) -> list[Interval]:
    found = [uncertainty.fold_variance(e.influence, data.fold) for e in data.estimates]
    return [_logit(e, math.sqrt(v), k - 1) for e, (v, k) in zip(data.estimates, found, strict=True)]


def _independent(data: Drawn) -> list[Interval]:
    return [_logit(e, math.sqrt(float(e.influence @ e.influence)), 1e9) for e in data.estimates]


def _logit(estimate: influence.Estimate, error: float, freedom: float) -> Interval:
    return uncertainty.logit_interval(estimate.value, error, freedom)


ESTIMATORS: dict[str, Callable[[Drawn], list[Interval]]] = {
    "Wilson": _wilson,
    "influence, independent": _independent,
    "bootstrap of pairs": _bootstrap("alone", "pairs"),
    "bootstrap, product": _bootstrap("shared", "dense"),
    "bootstrap, sparse": _bootstrap("shared", "sparse"),
    "dyadic, normal": _dyadic_normal,
    "dyadic": _dyadic,
    "folds": _folds,
}
FAST = ("Wilson", "influence, independent", "dyadic, normal", "dyadic", "folds")


def calibrate(
    design: Design, simulations: int, replicates: int = 100, names: tuple[str, ...] = tuple(ESTIMATORS), seed: int = 1
) -> dict[str, dict[str, tuple[float, float]]]:
    """Coverage and relative width of each estimator for each figure; folds need more than one fold."""
    names = tuple(name for name in names if name != "folds" or design.fold.max() > 1)
    shared = uncertainty.sharing(np.stack([design.subject[design.first], design.subject[design.second]], axis=1))
    rows = np.arange(len(design.first))
    alone = uncertainty.Sharing(rows, rows, rows[:0], rows[:0], len(rows))
    mated, ok = shared.first == shared.second, np.zeros(len(rows), np.int8)
    limits, values = np.empty((simulations, len(names), 2, 2)), np.empty((simulations, 2))
    for k in range(simulations):
        rng = np.random.default_rng([seed, k])
        condition = influence.comparisons(simulate(design, rng), mated, ok)
        estimates = influence.eer_of(condition), influence.fnmr_at_fmr(condition, TARGET)
        values[k] = [estimate.value for estimate in estimates]
        data = Drawn(condition, shared, alone, design.fold, estimates, replicates, k)
        limits[k] = [ESTIMATORS[name](data) for name in names]
    actual = np.array(truth(design.distance))
    inside = ((limits[..., 0] <= actual) & (actual <= limits[..., 1])).mean(axis=0)
    width = (limits[..., 1] - limits[..., 0]).mean(axis=0) / (2 * 1.96 * values.std(axis=0))
    report = {name: {figure: (float(inside[i, j]), float(width[i, j])) for j, figure in enumerate(FIGURES)}
              for i, name in enumerate(names)}  # fmt: skip
    return report | {"mean": {f: (float(values[:, j].mean()), float(actual[j])) for j, f in enumerate(FIGURES)}}


def show(design: Design, found: dict[str, dict[str, tuple[float, float]]]) -> None:
    """Print one design's table."""
    means = found.pop("mean")
    described = ", ".join(f"{name} {100 * real:.2f} % (mean estimate {100 * mean:.2f} %)"
                          for name, (mean, real) in means.items())  # fmt: skip
    one, two = design.subject[design.first], design.subject[design.second]
    subjects, mated = len(np.union1d(one, two)), int((one == two).sum())
    print(f"\n{design.name}: {subjects} subjects, {mated} mated, {len(one) - mated} non-mated; truth {described}")
    print(f"{'estimator':<26}" + "".join(f"{name + ' coverage':>22}{'width':>8}" for name in means))
    for name, figures in found.items():
        mark = "*" if name == design.chosen else " "
        cells = "".join(f"{100 * share:>20.1f} %{width:>8.2f}" for share, width in figures.values())
        print(f"{mark} {name:<24}{cells}", flush=True)


def speed() -> None:
    """Print the seconds that 1,000 replicates take: required are 2 on 6,000 pairs and 60 on a million scores."""
    rng = np.random.default_rng(1)
    for size, subjects, limit in ((6000, 4281, 2), (1_000_000, 5000, 60)):
        mated, first = np.arange(size) % 2 == 0, rng.integers(subjects, size=size)
        second = np.where(mated, first, (first + 1 + rng.integers(subjects - 1, size=size)) % subjects)
        scores, shared = rng.normal(size=size) + 3 * mated, uncertainty.sharing(np.stack([first, second], axis=1))
        order = bootstrap.ranked(influence.comparisons(scores, mated, np.zeros(size, int)), shared)
        for scheme in ("dense", "sparse"):
            bootstrap.replicate(order, (TARGET,), scheme, 2)  # compiled before the clock starts
            start = time.perf_counter()
            bootstrap.replicate(order, (TARGET,), scheme, 1000)
            print(f"{size} scores, {scheme} weights: {time.perf_counter() - start:.2f} s (at most {limit})", flush=True)


def main() -> None:
    """Print the tables of all designs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--fast", action="store_true", help="without the bootstraps")
    parser.add_argument("--lfw-pairs", type=Path, help="pairs.txt of LFW: that list in place of one like it")
    parser.add_argument("--others", action="store_true", help="other error rates and sizes")
    parser.add_argument("--speed", action="store_true", help="only the time of the bootstrap")
    options = parser.parse_args()
    if options.speed:
        return speed()
    designs = others() if options.others else [make() for make in DESIGNS]
    if options.lfw_pairs:
        designs[0] = lfw_list(options.lfw_pairs, designs[0].distance)
    for design in designs:
        start = time.perf_counter()
        names = FAST if options.fast else tuple(ESTIMATORS)
        show(design, calibrate(design, options.simulations, options.replicates, names))
        print(f"({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
