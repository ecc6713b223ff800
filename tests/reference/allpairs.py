"""All pairs by two loops and ``metrics.summary``: what ``maskbench.allpairs`` must say, the slow way."""

from __future__ import annotations

from typing import Any

import numpy as np

from maskbench.allpairs import Templates
from maskbench.metrics.summary import summarise

NOT_HERE = ("transferred", "accuracy_10fold")  # blocks that need other comparisons, or folds


def score(a: np.ndarray, b: np.ndarray, comparator: str) -> np.float32:
    """One score from the definition, in float64, rounded to float32 at the end."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if comparator == "negative-l2":
        return np.float32(0) - np.float32(np.sqrt(((a - b) ** 2).sum()))
    with np.errstate(invalid="ignore"):
        return np.float32((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def comparisons(references: Templates, probes: Templates | None, comparator: str) -> tuple[np.ndarray, ...]:
    """Scores, labels and status of every comparison, (M,) each."""
    rows: list[tuple[np.float32, bool, int]] = []
    second = probes or references
    for i in range(len(references.vectors)):
        for j in range(len(second.vectors)):
            if probes is None and j <= i:
                continue
            if probes and references.sample_ids is not None and probes.sample_ids is not None:
                if str(references.sample_ids[i]) == str(probes.sample_ids[j]):
                    continue
            value = score(references.vectors[i], second.vectors[j], comparator)
            failed = not np.isfinite(value)
            failed |= any(s.status is not None and s.status[k] for s, k in ((references, i), (second, j)))
            rows.append((np.float32(np.nan) if failed else value,
                         str(references.subject_ids[i]) == str(second.subject_ids[j]), int(failed)))  # fmt: skip
    scores, mated, status = zip(*rows, strict=True)
    return np.array(scores, np.float32), np.array(mated), np.array(status, np.int8)


def expected(
    references: Templates, probes: Templates | None = None, comparator: str = "cosine", threshold: float | None = None
) -> dict[str, Any]:
    """The parts of ``summarise`` that all-pairs comparison gives too, FTX apart."""
    return reduced(summarise(*comparisons(references, probes, comparator), threshold=threshold))


def reduced(found: dict[str, Any]) -> dict[str, Any]:
    """A summary without blocks, samples and intervals that only one of the two sides has."""

    def wanted(key: str) -> bool:
        first = key.split(".")[0]
        return first not in (*NOT_HERE, "ftx", "same_sample") and "_samples" not in first

    return {
        part: {key: value for key, value in found[part].items() if wanted(key)}
        for part in ("metrics", "counts", "thresholds", "intervals")
    }


def differences(got: Any, want: Any, path: str = "") -> list[str]:
    """Where two trees differ: exactly, but for moments, which are sums of rounded terms."""
    if isinstance(got, dict) and isinstance(want, dict):
        names = sorted(got.keys() | want.keys())
        missing = object()
        return [line for name in names
                for line in differences(got.get(name, missing), want.get(name, missing), f"{path}.{name}")]  # fmt: skip
    close = ".separation." in path and isinstance(got, float) and isinstance(want, float)
    same = abs(got - want) <= 1e-12 * max(1.0, abs(want)) if close else got == want and type(got) is type(want)
    return [] if same else [f"{path}: {got!r}, expected {want!r}"]
