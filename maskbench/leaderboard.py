"""Results to ranked tables. A table is always made anew from the results; nobody edits it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.files import write_text
from maskbench.metrics.conditions import LABELS
from maskbench.results import to_json
from maskbench.tables import csv_text
from maskbench.types import Result

RANKED_BY = ("UMR-MP", "fmr100", "fnmr_including_failures")
PRIVILEGED = ("file", "oracle")  # mask sources that know more than a camera sees: listed, but not ranked
LEADING = ("rank", "recognizer", "completion", "mask_source", "align", "protocol")
TRAILING = (
    "parameters",
    "embedding_size",
    "weights_sha256",
    "engine",
    "training_data",
    "licence",
    "protocol_digest",
    "manifest_digest",
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
    "transferred_fmr": ("transferred", "fmr100", "fmr"),
    "transferred_fnmr": ("transferred", "fmr100", "fnmr"),
}
_ALWAYS = ("UMR-UMP", "UMR-MP", "MR-MP")  # the fourth condition has columns only where a result has it


@dataclass(frozen=True)
class Table:
    """Results that may be compared: one protocol, one masked set, one way of alignment.

    Attributes:
        columns: names, in a fixed order.
        rows: one per result, best first, each as long as ``columns``; None where there is no figure.
    """

    protocol: str
    protocol_digest: str
    manifest_digest: str
    align: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def make_leaderboard(results: Iterable[Result]) -> list[Table]:
    """Group results into tables and rank each.

    Results share a table only if the digests of protocol and masked set, and the alignment, are equal. Rows are
    ranked by FNMR including failures in UMR-MP at that condition's own threshold of FMR <= 1 % (strict), lowest first;
    equal figures share a rank ("1, 1, 3"), and a row without the figure has no rank and comes last. Rows whose mask
    source is privileged (``PRIVILEGED``) have no rank either and follow the ranked ones. The order of ``results`` does
    not matter.
    """
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault(comparison_key(result), []).append(result)
    return [_table(key, groups[key]) for key in sorted(groups)]


def comparison_key(result: Result) -> tuple[str, str, str, str]:
    """What two results must have in common to be compared: protocol name and digest, masked set's digest, alignment."""
    return (
        str(result.protocol.get("name", "")),
        str(result.protocol.get("digest", "")),
        str(result.digests.get("manifest", "")),
        result.align,
    )


def _table(key: tuple[str, str, str, str], results: Sequence[Result]) -> Table:
    ordered = sorted(results, key=_order)
    ranked = [_figure(result, RANKED_BY) for result in ordered if _is_ranked(result)]
    conditions = [name for name in LABELS if name in _ALWAYS or any(name in result.metrics for result in ordered)]
    columns = (*LEADING, *(f"{name}.{figure}" for name in conditions for figure in FIGURES), *TRAILING)
    rows = tuple(_row(result, ranked, conditions) for result in ordered)
    return Table(*key, columns=columns, rows=rows)


def _is_ranked(result: Result) -> bool:
    return _figure(result, RANKED_BY) is not None and result.mask_source not in PRIVILEGED


def _order(result: Result) -> tuple[Any, ...]:
    figure = _figure(result, RANKED_BY)
    name = str(result.recognizer.get("name", ""))
    # The whole content comes last, so that two runs of one recognizer keep their order too.
    rest = (name, result.completion, result.mask_source, json.dumps(to_json(result), sort_keys=True))
    return (not _is_ranked(result), figure is None, 0.0 if figure is None else figure, *rest)


def _row(result: Result, ranked: Sequence[float], conditions: Sequence[str]) -> tuple[Any, ...]:
    rank = 1 + sum(figure < _figure(result, RANKED_BY) for figure in ranked) if _is_ranked(result) else None
    name, digest, manifest, align = comparison_key(result)
    leading = (rank, result.recognizer.get("name"), result.completion, result.mask_source, align, name)
    figures = (_figure(result, (condition, *place)) for condition in conditions for place in FIGURES.values())
    spec = [result.recognizer.get(key) for key in ("parameters", "embedding_size", "weights_sha256", "engine")]
    data, licence = _training_data(result.recognizer), result.recognizer.get("licence")
    return (*leading, *figures, *spec, data, licence, digest, manifest, result.environment.get("maskbench"))


def _figure(result: Result, place: Sequence[str]) -> Any:
    """The value at a place in the metrics, or None where any step is missing."""
    value: Any = result.metrics
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if isinstance(value, Mapping) else value


def _training_data(recognizer: Mapping[str, Any]) -> str:
    names = recognizer.get("training_data")
    return "unknown" if names is None else ";".join(map(str, names)) or "none"


# ---------------------------------------------------------------- output


def write_csv(tables: Sequence[Table], path: Path) -> list[Path]:
    """Write the tables as CSV and return the files: ``path`` itself for one table (or none: no rows at all), and
    ``STEM.PROTOCOL.MANIFEST.csv`` beside it for each of several, MANIFEST being the first 8 digits of the masked
    set's digest. Where that is not enough to tell two apart, the alignment and 8 digits of the protocol's follow.

    Raises:
        MaskbenchError: a file cannot be written.
    """
    keys = [(table.protocol, table.protocol_digest, table.manifest_digest, table.align) for table in tables]
    targets = file_for_each(keys, Path(path))
    contents = [(table.columns, table.rows) for table in tables] or [((*LEADING, *TRAILING), ())]
    for target, (columns, rows) in zip(targets, contents, strict=True):
        write_text(target, csv_text(columns, ([_cell(value) for value in row] for row in rows)))
    return targets


def file_for_each(keys: Sequence[tuple[str, str, str, str]], path: Path) -> list[Path]:
    """One file for each group of comparable results: ``path`` itself for one group or none, else
    ``STEM.PROTOCOL.MANIFEST.SUFFIX`` beside it, as ``write_csv`` says. ``keys`` are those of ``comparison_key``."""
    if len(keys) <= 1:
        return [path]
    short = [f"{protocol}.{manifest[:8] or 'unmasked'}" for protocol, _, manifest, _ in keys]
    long = [f"{name}.{key[3]}.{key[1][:8]}" for name, key in zip(short, keys, strict=True)]
    chosen = [name if short.count(name) == 1 else longer for name, longer in zip(short, long, strict=True)]
    return [path.with_name(f"{path.stem}.{re.sub(r'[^A-Za-z0-9._-]', '-', name)}{path.suffix}") for name in chosen]


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
    for table in tables:
        console.print(_rich_table(table))
    if not tables:
        stream.write("no results\n")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _rich_table(table: Table) -> Any:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    masked = table.manifest_digest[:8] or "none"
    title = f"{table.protocol} ({table.protocol_digest[:8]}), masked set {masked}, align {table.align}"
    caption = "Percent; FNMR at FMR <= 1 %, failures included (* fewer than 30 false matches), ranked by UMR-MP."
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
