"""Slow references for the metrics, written from the definitions: loops over thresholds, exact fractions.

They share no code with the package and no idea with its algorithms (no sorting tricks, no numpy arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

NEVER = object()  # the decision rule "match nothing", the end of every curve


def numbers(scores: np.ndarray) -> list[float | int]:
    """Scores as Python numbers, which compare exactly whatever their types."""
    return [score.item() for score in scores]


def matched(scores: list, threshold: object) -> int:
    """How many scores match: score >= threshold."""
    return 0 if threshold is NEVER else sum(1 for score in scores if score >= threshold)


def candidates(mated: list, non_mated: list) -> list:
    """Every decision that a threshold can make on these scores, by ascending threshold."""
    return [*sorted(set(mated) | set(non_mated)), NEVER]


def slow_det(mated: list, non_mated: list) -> list[tuple[Fraction, Fraction]]:
    """(FMR, FNMR) of every candidate."""
    return [
        (
            Fraction(matched(non_mated, t), len(non_mated)),
            Fraction(len(mated) - matched(mated, t), len(mated)),
        )
        for t in candidates(mated, non_mated)
    ]


def slow_eer(mated: list, non_mated: list) -> tuple[Fraction, Fraction, Fraction]:
    """(value, low, high): the largest threshold with FNMR <= FMR, the smallest with FNMR >= FMR, the smaller sum."""
    rates = slow_det(mated, non_mated)
    first = [(fmr, fnmr) for fmr, fnmr in rates if fnmr <= fmr][-1]
    second = next((fmr, fnmr) for fmr, fnmr in rates if fnmr >= fmr)
    chosen = first if sum(first) <= sum(second) else second
    return sum(chosen) / 2, min(chosen), max(chosen)


def slow_strict(mated: list, non_mated: list, target: float) -> tuple[int, int] | None:
    """(false matches, false non-matches) with the lowest FNMR among all thresholds with FMR <= target."""
    allowed = []
    for t in candidates(mated, non_mated):
        errors = matched(non_mated, t)
        reachable = t is not NEVER or max(mated + non_mated) < math.inf
        if reachable and errors / len(non_mated) <= target:
            allowed.append((len(mated) - matched(mated, t), errors))
    if not allowed:
        return None
    misses = min(allowed)[0]
    return max(errors for miss, errors in allowed if miss == misses), misses


def slow_closest(mated: list, non_mated: list, target: float) -> tuple[int, int]:
    """(false matches, false non-matches) at the FMR nearest to the target as written, the lower on a draw."""
    points = []
    for t in candidates(mated, non_mated):
        if t is NEVER and max(mated + non_mated) == math.inf:
            continue
        errors = matched(non_mated, t)
        distance = abs(Fraction(errors, len(non_mated)) - Fraction(str(target)))
        points.append((distance, errors, len(mated) - matched(mated, t)))
    _, errors, misses = min(points)
    return errors, misses


def slow_auc(mated: list, non_mated: list) -> Fraction:
    """The share of (mated, non-mated) pairs that are ordered rightly, ties as one half."""
    wins = sum(Fraction(1) if m > n else Fraction(1, 2) if m == n else 0 for m in mated for n in non_mated)
    return Fraction(wins) / (len(mated) * len(non_mated))


def slow_best(mated: list, non_mated: list) -> tuple[int, list[int]]:
    """The most correct decisions of any threshold, and the places of the candidates that reach it."""
    correct = []
    for t in candidates(mated, non_mated):
        if t is NEVER and max(mated + non_mated) == math.inf:
            continue
        correct.append(matched(mated, t) + len(non_mated) - matched(non_mated, t))
    best = max(correct)
    return best, [place for place, value in enumerate(correct) if value == best]


def draw(rng: np.random.Generator, kind: str, size: int) -> np.ndarray:
    """Scores of one kind; the kinds are what breaks naive scorers."""
    if kind == "ties":
        return rng.integers(-3, 4, size) / 4
    if kind == "integers":
        return rng.integers(-5, 6, size)
    if kind == "bytes":
        return rng.integers(0, 256, size).astype(np.uint8)
    if kind == "huge integers":
        return rng.integers(2**60, 2**60 + 4, size)  # all one value in float64
    if kind == "float32":
        return rng.normal(size=size).astype(np.float32)
    if kind == "float16":
        return rng.normal(size=size).astype(np.float16)
    if kind == "gaps":
        return 0.5 + rng.integers(-2, 3, size) * 1e-12  # all one value in float32
    if kind == "equal":
        return np.full(size, 0.25, dtype=np.float32)
    if kind == "infinite":
        return rng.choice([-np.inf, -1.0, 0.0, -0.0, 1.0, np.inf], size)
    if kind == "neighbours":
        start = np.float32(0.7).view(np.int32)  # float32 values with none between them
        return (start + rng.integers(0, 4, size, dtype=np.int32)).view(np.float32)
    return rng.normal(size=size)


KINDS = (
    "float64",
    "float32",
    "float16",
    "ties",
    "integers",
    "bytes",
    "huge integers",
    "gaps",
    "equal",
    "infinite",
    "neighbours",
)


def cases(seed: int, count: int, largest: int = 12) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(kind, mated, non-mated) of every kind and of 1 to ``largest`` scores a class, ``count`` of each kind."""
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        for _ in range(count):
            sizes = rng.integers(1, largest + 1, 2)
            yield kind, draw(rng, kind, sizes[0]), draw(rng, kind, sizes[1])


def slow_zero_fmr(mated: list, non_mated: list) -> int:
    """False non-matches at the lowest threshold that no non-mated score reaches."""
    return sum(1 for score in mated if score <= max(non_mated))


def slow_costs(mated: list, non_mated: list, miss: Fraction, match: Fraction) -> list[Fraction]:
    """miss x false non-matches + match x false matches of every candidate that a threshold can make."""
    found = []
    for t in candidates(mated, non_mated):
        if t is not NEVER or max(mated + non_mated) < math.inf:
            found.append(miss * (len(mated) - matched(mated, t)) + match * matched(non_mated, t))
    return found


def slow_dcf(mated: list, non_mated: list, prior: str, cost_miss: str, cost_false_match: str) -> Fraction:
    """The lowest cost_miss x prior x FNMR + cost_false_match x (1 - prior) x FMR, numbers given as decimal text."""
    miss = Fraction(cost_miss) * Fraction(prior) / len(mated)
    match = Fraction(cost_false_match) * (1 - Fraction(prior)) / len(non_mated)
    return min(slow_costs(mated, non_mated, miss, match))


def slow_moments(scores: list) -> tuple[Fraction, Fraction]:
    """Exact mean and variance, divisor N."""
    mean = sum(map(Fraction, scores)) / len(scores)
    return mean, sum((Fraction(score) - mean) ** 2 for score in scores) / len(scores)


def slow_rank(row: list, subject: object, references: list) -> int | None:
    """Place of a subject in the list of one search, the best score of each subject counting; None if not found."""
    best: dict = {}
    for score, owner in zip(row, references, strict=True):
        if not math.isnan(score) and (owner not in best or score > best[owner]):
            best[owner] = score
    if subject not in best:
        return None
    return 1 + sum(1 for owner, score in best.items() if owner != subject and score >= best[subject])


def slow_open_set(rows: list, probes: list, references: list, target: float, rank: int) -> tuple[int, int] | None:
    """(misses, false positives) with the fewest misses among all thresholds with FPIR <= target."""
    others = [row for row, probe in zip(rows, probes, strict=True) if probe not in references]
    strangers = [[score for score in row if not math.isnan(score)] for row in others]
    strangers = [row for row in strangers if row]
    tops = [max(row) for row in strangers]
    options = []
    for t in [*sorted({s for row in rows for s in row if not math.isnan(s)}), NEVER]:
        if t is NEVER and max(tops) == math.inf:
            continue
        false_positives = matched(tops, t)
        if false_positives / len(tops) > target:
            continue
        misses = 0
        for row, probe in zip(rows, probes, strict=True):
            if probe in references:
                own = [s for s, owner in zip(row, references, strict=True) if owner == probe and not math.isnan(s)]
                place = slow_rank(row, probe, references)
                misses += not own or t is NEVER or max(own) < t or place > rank
        options.append((misses, -false_positives))
    if not options:
        return None
    misses, positives = min(options)
    return misses, -positives
