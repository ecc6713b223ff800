"""The figures of ``measure.py`` as markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import agreement

COLUMNS = ("eer", "fnmr_at_fmr_0.01", "auc")
TITLES = "EER | FNMR at FMR 1 % | AUC"


def tables(found: Mapping[str, Any]) -> str:
    """One table for each part that was measured."""
    parts = [
        agreement.lines(found["landmarks"]) if "landmarks" in found else [],
        _recognition(found.get("recognition", {})),
        _diversity(found.get("diversity", {}), found.get("relative", {})),
        _masked("masks", found.get("masked")),
        _masked("masks, elsewhere", found.get("masked_reference")),
        _ranking(found.get("same_ranking")),
        [f"{name}: {_words(part)}" for name, part in found.get("people", {}).items()],
        [
            f"speed, {workers} worker(s): {part['steady']} pictures a second ({part['with_start']} with the start), "
            f"load before: {part['load_before']}"
            for workers, part in found.get("speed", {}).items()
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _head(titles: str) -> list[str]:
    return [f"| {titles} |", "|---" * (titles.count("|") + 1) + "|"]


def _recognition(found: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {_rates(part)} | {part['mated']:,} | {part['non_mated']:,} | {part['without_template']} |"
        for name, part in found.items()
    ]
    return _head(f"all pairs of pictures | {TITLES} | mated | non-mated | without template") + rows if rows else []


def _diversity(found: Mapping[str, Any], relative: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, part in found.items():
        for kind, one in part.items():
            ratio = relative.get(name, {}).get(f"{kind}.mean")
            cells = [_number(value) for value in (one["mean"], one["p5"], one["nearest"], ratio)]
            rows.append(f"| {name}, {kind.replace('_', ' ')} | {one['people']} | {' | '.join(cells)} |")
    titles = "distance between people | people | mean | 5th percentile | nearest of 100 | mean, relative"
    return _head(titles) + rows if rows else []


def _masked(title: str, found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    rows = [
        f"| {name} | {label} | {_rates(part)} |"
        for name, conditions in found["recognizers"].items() for label, part in conditions.items()
    ]  # fmt: skip
    return _head(f"{title} | condition | {TITLES}") + rows


def _ranking(found: Mapping[str, Any] | None) -> list[str]:
    text = "pairs of recognizers in the same order (UMR-MP, EER): {agreeing} of {pairs}"
    return [text.format(**found)] if found else []


def _rates(part: Mapping[str, float | None]) -> str:
    eer, fnmr, auc = (part[name] for name in COLUMNS)
    return f"{_percent(eer)} | {_percent(fnmr)} | {_number(auc, 4)}"


def _words(part: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in part.items()) if isinstance(part, Mapping) else str(part)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
