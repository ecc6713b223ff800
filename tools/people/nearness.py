"""How near people come to the training pictures: the statistic of the privacy check, its limit and its figures.

For each picture, the score of the training picture most alike to it; for a person, the largest of these ("max", the
default: one telling picture is enough) or their mean, over exactly ``size`` pictures. The largest of many grows with
their number and every mean narrows with it, so real and synthetic people are judged by equally many: the pictures of
a real person, in the order of their names, fall into disjoint groups of ``size``, a remainder is left out, and each
group counts as one person seen once. Groups of one person are not independent; the interval of the limit therefore
comes from redrawing people, not groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gather import Templates, similarity

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.metrics import threshold_at_fmr

STATISTICS = {"max": np.max, "mean": np.mean}
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
BINS = 24
REDRAWS = 1000
PRESENT = 0.25


def pictures_digest(pictures: Iterable[tuple[str, str]]) -> str:
    """The SHA-256 of (path, digest) of pictures, whatever their order."""
    return config_sha256(sorted(map(list, pictures)))


def nearest(pictures: Templates, training: Templates) -> tuple[np.ndarray, np.ndarray]:
    """For each picture the best score against the training pictures, (N,) float32, and its row there, (N,) int."""
    scores = similarity(pictures, training)
    rows = scores.argmax(axis=1)
    return scores[np.arange(len(scores)), rows], rows


def groups(people: np.ndarray, size: int) -> list[tuple[str, np.ndarray]]:
    """(person, rows (size,)) of disjoint groups of pictures, people and rows in ascending order.

    Raises:
        MaskbenchError: nobody has so many pictures.
    """
    found = []
    for person in np.unique(people):
        rows = np.flatnonzero(people == person)
        whole = len(rows) // size * size
        found += [(str(person), part) for part in rows[:whole].reshape(-1, size)]
    if not found:
        raise MaskbenchError(f"nobody has {size} pictures with a template; ask for fewer --pictures")
    return found


def statistics(scores: np.ndarray, people: np.ndarray, size: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of every group, (G,) float64, and whose it is, (G,) str."""
    found = groups(people, size)
    values = [float(STATISTICS[kind](scores[rows])) for _, rows in found]
    return np.array(values), np.array([person for person, _ in found])


def limit(values: np.ndarray, people: np.ndarray, share: float = 0.99) -> tuple[float, float, float]:
    """The quantile ``share`` of real people's statistic (linear between order statistics) and its 95 % interval.

    The interval is the percentile bootstrap over people, each with all groups; the seed is fixed.
    """
    of = [values[people == person] for person in np.unique(people)]
    rng = np.random.default_rng(0)
    draws = [
        np.quantile(np.concatenate([of[index] for index in rng.integers(0, len(of), len(of))]), share)
        for _ in range(REDRAWS)
    ]
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(np.quantile(values, share)), float(low), float(high)


def also_trained(real: Templates, training: Templates, share: float = PRESENT) -> list[str]:
    """Real people of whom the training set holds a picture after all; they say nothing about strangers.

    These are the people whose pictures score on average, against one and the same training picture, at least as high
    as the lower quartile of comparisons within one person. A mean over pictures, because a single comparison of
    strangers may well score as high, among the tens of thousands of each picture. A weaker recognizer finds lookalikes
    even so: ask several, and believe what they agree on.

    Args:
        share: the quantile of the scores between pictures of the same person; with nobody seen twice, nobody is found.
    """
    bound = same_person(real, share)
    if bound is None:
        return []
    scores = similarity(real, training)
    means = {str(person): scores[real.people == person].mean(0).max() for person in np.unique(real.people)}
    return [person for person, value in means.items() if value >= bound]


def same_person(real: Templates, share: float = 0.5) -> float | None:
    """A quantile of the scores between two pictures of one real person; None where nobody is seen twice."""
    same = np.triu(real.people[:, None] == real.people, 1)
    return float(np.quantile(similarity(real, real)[same], share)) if same.any() else None


def recognised_at(real: Templates, target: float = 0.001) -> float | None:
    """The threshold of FMR <= ``target`` over all pairs of pictures of different real people; None if too few."""
    scores = similarity(real, real)
    different = np.triu(real.people[:, None] != real.people, 1)
    return threshold_at_fmr(scores[different], target).threshold


def summary(values: np.ndarray) -> dict[str, Any]:
    """Quantiles of a statistic, as JSON: {"count": ..., "quantiles": {"0.5": ...}}."""
    quantiles = np.quantile(values, QUANTILES)
    return {
        "count": len(values),
        "quantiles": {f"{share:g}": round(float(v), 5) for share, v in zip(QUANTILES, quantiles, strict=True)},
    }


def histograms(parts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Counts of several samples over common bins: {"edges": [...], NAME: [...]}."""
    everything = np.concatenate(list(parts.values()))
    edges = np.linspace(everything.min(), everything.max() + 1e-9, BINS + 1)
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in parts.items()}
    return {"edges": [round(float(edge), 5) for edge in edges], **counts}


def verdicts(
    values: Sequence[np.ndarray], people: Sequence[np.ndarray], limits: Sequence[float]
) -> dict[str, list[float]]:
    """Of every person judged by all recognizers, by how much the statistic exceeds each limit (<= 0: passes).

    Args:
        values, people: per recognizer, as ``statistics`` gives them, with one group a person.
    """
    tables = [dict(zip(who.tolist(), found.tolist(), strict=True)) for found, who in zip(values, people, strict=True)]
    everyone = sorted(set(tables[0]).intersection(*tables[1:]))
    return {
        person: [table[person] - bound for table, bound in zip(tables, limits, strict=True)] for person in everyone
    }
