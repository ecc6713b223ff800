"""Results to ranked tables. A table is always made anew from the results; nobody edits it."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.errors import MaskbenchError
from maskbench.files import write_text
from maskbench.metrics.conditions import LABELS
from maskbench.metrics.uncertainty import mask_seed_spread
from maskbench.registry import nearest
from maskbench.results import Key, comparison_key, to_json, value_at
from maskbench.tables import csv_text
from maskbench.types import Result

RANK_BY = "UMR-MP.fmr100_including_failures"
PRIVILEGED = ("file", "oracle")  # mask sources that know more than a camera sees: listed, but not ranked
LEADING = ("rank", "rank_best", "rank_worst", "recognizer", "completion", "mask_source", "align", "protocol")
# Of the figure that is ranked by: its 95 % interval, and its spread over masked sets that differ in their seed alone.
RANKED = ("ranked_by", "ranked_value", "interval_low", "interval_high", "interval_method", "mask_seeds", "mask_seed_sd")
TRAILING = (
    "parameters",
    "embedding_size",
    "weights_sha256",
    "engine",
    "training_data",
    "subject_overlap",
    "licence",
    "protocol_digest",
    "manifest_digest",
    "samples_digest",
    "completion_digest",
    "missing_pictures",
    "maskbench_version",
)
# Column to the place of its value in the metrics of a condition. "transferred" thresholds are fixed on the protocol's
# threshold_from at FMR 1 %; the FMR that they realise here stands beside the FNMR.
FIGURES: dict[str, tuple[str, ...]] = {
    "accuracy_10fold_mean": ("accuracy_10fold", "mean"),
    "accuracy_10fold_std": ("accuracy_10fold", "std"),
    "accuracy_best_threshold": ("accuracy_best_threshold", "accuracy"),
    "eer": ("eer", "value"),
    "auc": ("auc",),
    "fmr100": ("fmr100", "fnmr"),
    "fmr100_flag": ("fmr100", "flag"),
    "fmr1000": ("fmr1000", "fnmr"),
    "fmr1000_flag": ("fmr1000", "flag"),
    "fmr100_including_failures": ("fmr100", "fnmr_including_failures"),
    "ftx_reference": ("ftx", "reference"),
    "ftx_probe": ("ftx", "probe"),
    "transferred_from": ("transferred", "from"),
    "transferred_fmr": ("transferred", "fmr100", "fmr"),
    "transferred_fnmr": ("transferred", "fmr100", "fnmr"),
    "given_threshold": ("at_threshold", "threshold"),
    "given_threshold_fmr": ("at_threshold", "fmr"),
    "given_threshold_fnmr": ("at_threshold", "fnmr"),
}
HIGHER_IS_BETTER = ("accuracy_10fold_mean", "accuracy_best_threshold", "auc")
NOT_RANKABLE = (
    "accuracy_10fold_std", "fmr100_flag", "fmr1000_flag", "transferred_from", "transferred_fmr", "transferred_fnmr",
    "given_threshold", "given_threshold_fmr", "given_threshold_fnmr",
)  # fmt: skip
_ALWAYS = ("UMR-UMP", "UMR-MP", "MR-MP")  # the fourth condition has columns only where a result has it


@dataclass(frozen=True)
class Table:
    """Results that may be compared: one protocol, one masked set, one way of alignment, the same pictures.

    Attributes:
        columns: names, in a fixed order.
        rows: one per result, best first, each as long as ``columns``; None where there is no figure.
    """

    protocol: str
    protocol_digest: str
    manifest_digest: str
    align: str
    samples_digest: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    rank_by: str = RANK_BY


@dataclass(frozen=True)
class Ranking:
    """What rows are ranked by.

    Attributes:
        name: the column, such as "UMR-MP.fmr100_including_failures".
        place: of its value in the metrics; sign: -1 where higher is better, so that the smallest product leads.
    """

    name: str
    place: tuple[str, ...]
    sign: float

    def error(self, result: Result) -> float | None:
        """The smaller, the better; None where there is no figure."""
        value = value_at(result, *self.place)
        return None if value is None else self.sign * value

    def is_ranked(self, result: Result) -> bool:
        """Whether a result has a rank."""
        return self.error(result) is not None and result.mask_source not in PRIVILEGED


def ranking(name: str = RANK_BY) -> Ranking:
    """The ranking by a column of the table.

    A figure at a transferred threshold cannot be ranked by: a low FNMR there is bought with a high FMR.

    Raises:
        MaskbenchError: no such column, or one that says nothing of who is better.
    """
    condition, _, figure = name.partition(".")
    known = [f"{label}.{key}" for label in LABELS for key in FIGURES if key not in NOT_RANKABLE]
    if name not in known:
        why = "is no ranking" if figure in NOT_RANKABLE and condition in LABELS else "is no column of the leaderboard"
        raise MaskbenchError(f'"{name}" {why}; {nearest(name, known)}')
    return Ranking(name, (condition, *FIGURES[figure]), -1.0 if figure in HIGHER_IS_BETTER else 1.0)


Ranges = Mapping[str, tuple[int, int]]  # digest of a result's scores -> best and worst rank


def make_leaderboard(results: Iterable[Result], rank_by: str = RANK_BY, ranges: Ranges | None = None) -> list[Table]:
    """Group results into tables and rank each.

    Results share a table only if the digests of protocol, masked set and pictures, and the alignment, are equal: a
    run with missing pictures does not stand beside one that had them all (``results.comparison_key``). Rows are
    ranked by a column, best first: FNMR including failures in UMR-MP at that condition's own threshold of FMR <= 1 %
    (strict), unless another is named. Equal figures share a rank ("1, 1, 3"), and a row without the figure has no rank
    and comes last. Rows whose mask source is privileged (``PRIVILEGED``) have no rank either and follow the ranked
    ones. The order of ``results`` does not matter.

    Args:
        ranges: of ranks, from ``rank_ranges.rank_ranges``; without them these two columns stay empty.

    Raises:
        MaskbenchError: as ``ranking``.
    """
    by, results = ranking(rank_by), list(results)
    spreads = seed_spreads(results, by)
    groups: dict[Key, list[Result]] = {}
    for result in results:
        groups.setdefault(comparison_key(result), []).append(result)
    return [_table(key, groups[key], by, spreads, ranges or {}) for key in sorted(groups)]


def seed_spreads(results: Sequence[Result], by: Ranking) -> dict[Key, tuple[int, float]]:
    """How many masked sets of one recipe under different seeds each recognizer was run on, and the standard deviation
    of the ranked figure over them, by what the runs have in common; only where there are two seeds or more."""
    found: dict[Key, dict[str, set[float]]] = {}
    for result in results:
        error, seed = by.error(result), result.environment.get("mask_seed")
        if error is not None and seed is not None:
            found.setdefault(_but_for_the_seed(result), {}).setdefault(seed, set()).add(error)
    clear = {key: [*map(list, seeds.values())] for key, seeds in found.items() if len(seeds) > 1}
    return {
        key: (len(values), mask_seed_spread([value for (value,) in values])[1])
        for key, values in clear.items() if all(len(value) == 1 for value in values)  # else one seed has two results
    }  # fmt: skip


def _but_for_the_seed(result: Result) -> Key:
    name, digest, _, align, _ = comparison_key(result)
    recipe, recognizer = result.environment.get("mask_recipe", ""), result.digests.get("recognizer", "")
    who = f"{recognizer} {result.recognizer.get('name')} {result.completion} {result.mask_source}"
    who += f" {result.digests.get('completion', '')}"
    return name, digest, align, str(recipe), f"{who} {result.environment.get('missing_pictures', '')}"


def _table(
    key: Key, results: Sequence[Result], by: Ranking, spreads: Mapping[Key, tuple[int, float]], ranges: Ranges
) -> Table:
    ordered = sorted(results, key=lambda result: _order(result, by))
    ranked = [by.error(result) for result in ordered if by.is_ranked(result)]
    conditions = [name for name in LABELS if name in _ALWAYS or any(name in result.metrics for result in ordered)]
    columns = (*LEADING, *RANKED, *(f"{name}.{figure}" for name in conditions for figure in FIGURES), *TRAILING)
    rows = tuple(
        (*_leading(result, ranked, by, ranges), *_ranked(result, by, spreads), *_figures(result, conditions))
        for result in ordered
    )
    return Table(*key, columns=columns, rows=rows, rank_by=by.name)


def _order(result: Result, by: Ranking) -> tuple[Any, ...]:
    error = by.error(result)
    name = str(result.recognizer.get("name", ""))
    # The whole content comes last, so that two runs of one recognizer keep their order too.
    rest = (name, result.completion, result.mask_source, json.dumps(to_json(result), sort_keys=True))
    return (not by.is_ranked(result), error is None, 0.0 if error is None else error, *rest)


def _leading(result: Result, ranked: Sequence[float], by: Ranking, ranges: Ranges) -> tuple[Any, ...]:
    is_ranked = by.is_ranked(result)
    rank = 1 + sum(other < by.error(result) for other in ranked) if is_ranked else None
    best, worst = ranges.get(result.digests.get("scores", ""), (None, None)) if is_ranked else (None, None)
    name, _, _, align, _ = comparison_key(result)
    return (rank, best, worst, result.recognizer.get("name"), result.completion, result.mask_source, align, name)


def _ranked(result: Result, by: Ranking, spreads: Mapping[Key, tuple[int, float]]) -> tuple[Any, ...]:
    condition, *place = by.place
    value = value_at(result, *by.place)
    found = {} if value is None else result.intervals.get(condition, {}).get(".".join(place), {})
    method = str(result.intervals.get(condition, {}).get("method", "")) if found else None
    if "clustered" in found and found["clustered"].get("low") is not None:
        found, method = found["clustered"], str(found["clustered"].get("method", ""))
    seeds, deviation = spreads.get(_but_for_the_seed(result), (None, None))
    interval = found.get("low"), found.get("high"), None if found.get("low") is None else method
    return (by.name, value, *interval, seeds, deviation)


def _figures(result: Result, conditions: Sequence[str]) -> tuple[Any, ...]:
    _, digest, manifest, _, samples = comparison_key(result)
    figures = (value_at(result, condition, *place) for condition in conditions for place in FIGURES.values())
    spec = [result.recognizer.get(key) for key in ("parameters", "embedding_size", "weights_sha256", "engine")]
    data, licence = _training_data(result.recognizer), result.recognizer.get("licence")
    overlap = result.environment.get("subject_overlap", "unknown")
    notes = (result.environment.get(key) for key in ("missing_pictures", "maskbench"))
    completion = result.digests.get("completion")
    return (*figures, *spec, data, overlap, licence, digest, manifest, samples, completion, *notes)


def _training_data(recognizer: Mapping[str, Any]) -> str:
    names = recognizer.get("training_data")
    return "unknown" if names is None else ";".join(map(str, names)) or "none"


# ---------------------------------------------------------------- output


def write_csv(tables: Sequence[Table], path: Path) -> list[Path]:
    """Write the tables as CSV and return the files: ``path`` itself for one table (or none: no rows at all), and
    ``STEM.PROTOCOL.MANIFEST.csv`` beside it for each of several, MANIFEST being the first 8 digits of the masked
    set's digest. Where that is not enough to tell two apart, the alignment and 8 digits of the protocol's follow, then
    8 digits of the pictures'. Other files, those of an earlier call among them, stay as they are.

    Raises:
        MaskbenchError: a file cannot be written.
    """
    targets = file_for_each([_key(table) for table in tables], Path(path))
    contents = [(table.columns, table.rows) for table in tables] or [((*LEADING, *RANKED, *TRAILING), ())]
    for target, (columns, rows) in zip(targets, contents, strict=True):
        write_text(target, csv_text(columns, ([_cell(value) for value in row] for row in rows)))
    return targets


def _key(table: Table) -> Key:
    return table.protocol, table.protocol_digest, table.manifest_digest, table.align, table.samples_digest


def file_for_each(keys: Sequence[Key], path: Path) -> list[Path]:
    """One file for each group of comparable results: ``path`` itself for one group or none, else
    ``STEM.PROTOCOL.MANIFEST.SUFFIX`` beside it, as ``write_csv`` says. ``keys`` are those of ``comparison_key``."""
    if len(keys) <= 1:
        return [path]
    names = [_file_names(key) for key in keys]
    uses = Counter(name for longer in names for name in longer)
    chosen = [next((name for name in longer if uses[name] == 1), longer[-1]) for longer in names]
    return [path.with_name(f"{path.stem}.{name}{path.suffix}") for name in chosen]


def _file_names(key: Key) -> list[str]:
    """Names for the file of a group, each longer than the one before and made of letters, digits, ".", "_" and "-"."""
    protocol, digest, manifest, align, samples = key
    parts = [f"{protocol}.{manifest[:8] or 'unmasked'}", f".{align}.{digest[:8]}", f".{samples[:8]}"]
    return [re.sub(r"[^A-Za-z0-9._-]", "-", "".join(parts[:count])) for count in (1, 2, 3)]


def _cell(value: Any) -> str:
    """Floats with six significant digits, so that a last bit that differs between machines does not show."""
    if value is None:
        return ""
    return format(value, ".6g") if isinstance(value, float) else " ".join(str(value).splitlines())


def render_text(tables: Sequence[Table], width: int = 120) -> str:
    """The tables for a terminal: rank, recognizer and, in percent, what matters most of each condition."""
    from rich.console import Console

    stream = io.StringIO()
    # Plain text wherever it is called from: a notebook, or a terminal that asks for colour, changes nothing.
    console = Console(file=stream, width=width, color_system=None, force_terminal=False, force_jupyter=False)
    titles = Counter(map(_title, tables))
    for table in tables:
        pictures = f", pictures {table.samples_digest[:8]}" if titles[_title(table)] > 1 else ""
        console.print(_rich_table(table, _title(table) + pictures))
    if not tables:
        stream.write("no results\n")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _title(table: Table) -> str:
    masked = table.manifest_digest[:8] or "none"
    lost = {row[table.columns.index("missing_pictures")] for row in table.rows} - {None, "", "0"}
    missing = f", {min(lost)} pictures missing" if lost else ""
    return f"{table.protocol} ({table.protocol_digest[:8]}), masked set {masked}, align {table.align}{missing}"


def _rich_table(table: Table, title: str) -> Any:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    by = "UMR-MP" if table.rank_by == RANK_BY else table.rank_by
    caption = f"Percent; FNMR at FMR <= 1 %, failures included (* fewer than 30 false matches), ranked by {by}."
    shown = RichTable(title=Text(title), caption=Text(caption), box=box.SIMPLE_HEAD, pad_edge=False)
    shown.collapse_padding = True
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("rank", justify="right")
    shown.add_column("recognizer", overflow="fold", min_width=16)
    conditions = [column.partition(".")[0] for column in table.columns if column.endswith(".eer")]
    for condition in conditions:
        for figure in ("FNMR", "EER", "acc."):
            shown.add_column(f"{condition}\n{figure}", justify="right", no_wrap=True)
    for row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        figures = [text for condition in conditions for text in _shown(cells, condition)]
        shown.add_row(*(Text(text) for text in (_cell(cells["rank"]), _label(cells), *figures)))
    return shown


def _label(cells: Mapping[str, Any]) -> str:
    """"name + completion (mask source)", without the parts that say "none"."""
    label = _cell(cells["recognizer"])
    label += f" + {cells['completion']}" if cells["completion"] not in ("none", "") else ""
    return label + (f" ({cells['mask_source']})" if cells["mask_source"] not in ("none", "") else "")


def _shown(cells: Mapping[str, Any], condition: str) -> list[str]:
    star = "*" if cells[f"{condition}.fmr100_flag"] else ""
    names = ("fmr100_including_failures", "eer", "accuracy_10fold_mean")
    texts = ["-" if (value := cells[f"{condition}.{name}"]) is None else f"{100 * value:.2f}" for name in names]
    return [texts[0] + (star if texts[0] != "-" else ""), *texts[1:]]
