"""How sure a rank is: the range that each recognizer's takes when the subjects are drawn again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError, ResultError
from maskbench.leaderboard import Ranking
from maskbench.results import Key, Run, comparison_key, find_results, load_run
from maskbench.types import Result, Status

# Columns that can be ranked by, and the metric of ``compare`` that each is: failed mated comparisons as errors.
METRICS = {"fmr100_including_failures": "fnmr@fmr100"}


def load_comparable(root: Path) -> list[Run]:
    """Every result below ``root`` whose scores lie beside it and say who is compared. Where these are missing, damaged
    or another's, the result is left out: a leaderboard needs no scores, only ranges of ranks do."""
    runs = []
    for path in find_results(root):
        try:
            run = load_run(path)
        except ResultError:
            continue
        runs += [run] if run.subjects is not None else []
    return runs


def rank_ranges(runs: Iterable[Run], by: Ranking, results: Iterable[Result]) -> dict[str, tuple[int, int]]:
    """The best and the worst rank of every run among those that it shares a table with, by the digest of its scores.

    Nothing for a table of one run, for one with a ranked result whose scores are not among the runs, and for figures
    that there is no estimator for. A run that completed no mated comparison is last beyond doubt and has no range.

    Args:
        results: all of the leaderboard's.
    """
    condition, _, figure = by.name.partition(".")
    if figure not in METRICS:
        return {}
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        if by.is_ranked(run.result):
            groups.setdefault(comparison_key(run.result), []).append(run)
    found: dict[str, tuple[int, int]] = {}
    ranked = Counter(comparison_key(result) for result in results if by.is_ranked(result))
    for key, group in groups.items():
        if len(group) == ranked[key]:
            found |= _of_table(group, condition, METRICS[figure])
    return found


def _of_table(runs: Sequence[Run], condition: str, metric: str) -> dict[str, tuple[int, int]]:
    from maskbench.metrics.comparison import rank_ranges as ranges_of

    rows = runs[0].condition == condition
    mated = rows & np.asarray(runs[0].scores.mated, bool)
    runs = [run for run in runs if (run.scores.status[mated] == Status.OK).any()]
    same = all(np.array_equal(run.condition, runs[0].condition) for run in runs)
    if len(runs) < 2 or not same or any((run.scores.status[rows] == Status.NOT_RUN).any() for run in runs):
        return {}
    scores, status = (np.stack([getattr(run.scores, name)[rows] for run in runs]) for name in ("scores", "status"))
    first = runs[0]
    assert first.subjects is not None
    fold = None if first.fold is None else first.fold[rows]
    try:
        ranges = ranges_of(scores, first.scores.mated[rows], status, first.subjects[rows], fold, metric)
    except MaskbenchError:  # one of them cannot be estimated; the ranks stand without ranges
        return {}
    return {run.result.digests.get("scores", ""): pair for run, pair in zip(runs, ranges, strict=True)}
