"""A grid as a table in the layout of the de-occlusion paper's Table 1: CSV, Markdown and LaTeX.

Where that paper has a number, it stands beside ours. It was measured on other pictures, which the table says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from maskbench.errors import MaskbenchError
from maskbench.files import write_text
from maskbench.grid import Cell, GridSet
from maskbench.registry import nearest
from maskbench.results import value_at
from maskbench.tables import csv_text

CONDITION = "UMR-MP"
# Name of a metric to its place among a condition's metrics, and what to call it.
METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "rank1": (("identification", "rank1"), "rank-1, percent of the probes (failures are misses)"),
    "fmr100": (("fmr100", "fnmr_including_failures"), "FNMR at own strict FMR <= 1 %, percent, with failures"),
}
PAPER = "Li, Ge, Zhang and Li, Look Through Masks, ACM MM 2020, Table 1"
PAPER_DATA = (
    f"In parentheses: {PAPER}, on the AR database (real sunglasses and scarves, 1,200 pictures; which of them are "
    "references is not stated), with recognizers and completions trained on its own data: other pictures than ours, "
    "so orders may be compared, levels may not."
)
SHORT = {"none": "Occ.", "rpca": "RPCA", "graph-laplace": "GL", "gfc": "GFC", "ga": "GA", "mean-face": "mean"}
# A recognizer's network to the paper's row.
_PAPER_ROWS = {
    "classical-pca": "PCA", "classical-gpca": "GPCA", "classical-lpp": "LPP", "classical-sr": "SR",
    "vggface16": "VGGFace", "senet50": "VGGFace2", "sphereface20": "SphereFace",
}  # fmt: skip
CSV_COLUMNS = (
    "set", "protocol", "recognizer", "completion", "mask_source", "metric", "value", "low", "high", "searches",
    "failed", "subjects", "paper_recognizer", "paper_value", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A cell as the table shows it; figures are fractions, None where there are none."""

    cell: Cell
    name: str
    value: float | None
    low: float | None
    high: float | None
    paper_row: str
    paper: float | None

    @property
    def text(self) -> str:
        """"88.3 [84.1, 91.4] (61.4)": value, 95 % interval, the paper's number."""
        if self.value is None:
            return "-"
        spread = "" if self.low is None or self.high is None else f" [{100 * self.low:.1f}, {100 * self.high:.1f}]"
        return f"{100 * self.value:.1f}{spread}" + ("" if self.paper is None else f" ({self.paper:.1f})")


@lru_cache(maxsize=1)
def paper_values() -> dict[tuple[str, str, str], float]:
    """The paper's rank-1 in percent by (set, recognizer, completion)."""
    text = resources.files("maskbench.data").joinpath("papers", "deocclusion_table1.csv").read_text("utf-8")
    rows = (line.split(",") for line in text.split()[1:])
    return {(where, who, completion): float(value) for where, who, completion, value in rows}


def entries(cells: Sequence[Cell], metric: str = "rank1") -> list[Entry]:
    """Every cell with its figure.

    Raises:
        MaskbenchError: no such metric.
    """
    if metric not in METRICS:
        raise MaskbenchError(f'no metric "{metric}" for a grid; {nearest(metric, METRICS)}')
    return [_entry(cell, metric) for cell in cells]


def _entry(cell: Cell, metric: str) -> Entry:
    place = METRICS[metric][0]
    if cell.result is None:
        return Entry(cell, cell.model, None, None, None, "", None)
    recognizer = cell.result.recognizer
    name = str(recognizer.get("name"))
    value = value_at(cell.result, CONDITION, *place)
    spread = cell.result.intervals.get(CONDITION, {}).get(".".join(place), {})
    row = _PAPER_ROWS.get(str(recognizer.get("network", "")), "")
    paper = paper_values().get((cell.set, row, cell.completion)) if metric == "rank1" else None
    return Entry(cell, name, value, spread.get("low"), spread.get("high"), row, paper)


def to_csv(found: Sequence[Entry], metric: str) -> str:
    """One row per cell."""
    rows = []
    for entry in found:
        result = entry.cell.result
        sizes = [
            "" if result is None else _plain(value_at(result, CONDITION, "identification", key))
            for key in ("searches", "searches_failed", "subjects")
        ]
        rows.append(
            [
                entry.cell.set, "" if result is None else str(result.protocol.get("name")), entry.name,
                entry.cell.completion, "" if result is None else result.mask_source, metric, _plain(entry.value),
                _plain(entry.low), _plain(entry.high), *sizes, entry.paper_row,
                "" if entry.paper is None else f"{entry.paper / 100:.3f}", entry.cell.reason,
            ]
        )  # fmt: skip
    return csv_text(CSV_COLUMNS, rows)


def _plain(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _layout(found: Sequence[Entry]) -> tuple[list[str], list[tuple[str, str]], dict[tuple[str, str, str], Entry]]:
    """Rows (models as named), columns (set, completion) in the order of the grid, and the entries by all three."""
    models = list(dict.fromkeys(entry.cell.model for entry in found))
    sets = dict.fromkeys(entry.cell.set for entry in found)
    completions = dict.fromkeys(entry.cell.completion for entry in found)
    columns = [(where, completion) for where in sets for completion in completions]
    return models, columns, {(e.cell.model, e.cell.set, e.cell.completion): e for e in found}


def notes(found: Sequence[Entry], sets: Sequence[GridSet], metric: str) -> list[str]:
    """What a reader must know: the figure, the sets, the mask source, the paper's other data, and what failed."""
    sources = sorted({e.cell.result.mask_source for e in found if e.cell.result} - {"none"})
    lines = [f"{METRICS[metric][1]}, with 95 % intervals (Wilson)."]
    for where in sets:
        one = next((e.cell.result for e in found if e.cell.result and e.cell.set == where.name), None)
        if one is not None:
            sizes = [value_at(one, CONDITION, "identification", key) for key in ("subjects", "searches")]
            said = f", {sizes[0]} subjects, {sizes[1]} probes" if None not in sizes else ""
            lines.append(f"{where.name}: protocol {where.protocol.name} ({where.protocol.digest[:8]}){said}.")
    if sources:
        privileged = ", privileged" if sources != ["segmenter"] else ""
        lines.append(f"Masks for the completions: {', '.join(sources)}{privileged}.")
    if any(e.paper is not None for e in found):
        lines.append(PAPER_DATA)
    return [*lines, *_failures(found)]


def _failures(found: Sequence[Entry]) -> list[str]:
    """How many probes have no template, and which cells were not run; each reason once."""
    failed = [value_at(e.cell.result, CONDITION, "identification", "searches_failed") for e in found if e.cell.result]
    lines = []
    if most := max((count for count in failed if count is not None), default=0):
        lines.append(f"Probes without a template: up to {most} in a cell; grid.csv has the numbers.")
    reasons: dict[str, list[Cell]] = {}
    for entry in found:
        if entry.cell.reason:
            reasons.setdefault(entry.cell.reason, []).append(entry.cell)
    for reason, cells in reasons.items():
        where = "; ".join(f"{cell.set}, {cell.completion}, {cell.model}" for cell in cells[:3])
        more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
        lines.append(f"Not run: {where}{more}: {reason}")
    return lines


def to_markdown(found: Sequence[Entry], sets: Sequence[GridSet], metric: str) -> str:
    """A pipe table, and the notes below it."""
    models, columns, by_place = _layout(found)
    head = ["recognizer", *(f"{where} {SHORT.get(completion, completion)}" for where, completion in columns)]
    lines = [_pipes(head), "|" + "---|" * len(head)]
    for model in models:
        row = [by_place.get((model, *column)) for column in columns]
        name = next((entry.name for entry in row if entry and entry.cell.result), model)
        cells = [name, *("-" if entry is None else entry.text for entry in row)]
        lines.append(_pipes(cells))
    return "\n".join([*lines, "", *(f"{line}  " for line in notes(found, sets, metric))]) + "\n"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_TEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"})


def _tex(text: str) -> str:
    return text.replace("\\", "/").translate(_TEX).replace("<=", r"$\le$")


def to_latex(found: Sequence[Entry], sets: Sequence[GridSet], metric: str) -> str:
    """A tabular for the booktabs package, a group of columns for each set, as in the paper; intervals in small type."""
    models, columns, by_place = _layout(found)
    groups = {where: sum(1 for name, _ in columns if name == where) for where, _ in columns}
    lines = [rf"\begin{{tabular}}{{l{'c' * len(columns)}}}", r"\toprule"]
    lines.append(" & ".join(["", *(rf"\multicolumn{{{n}}}{{c}}{{{_tex(w)}}}" for w, n in groups.items())]) + r" \\")
    lines.append(" & ".join(["", *(_tex(SHORT.get(completion, completion)) for _, completion in columns)]) + r" \\")
    lines.append(r"\midrule")
    for model in models:
        row = [by_place.get((model, *column)) for column in columns]
        name = next((entry.name for entry in row if entry and entry.cell.result), model)
        lines.append(" & ".join([_tex(name), *(_tex_cell(entry) for entry in row)]) + r" \\")
    said = " ".join(_tex(line) for line in notes(found, sets, metric))
    note = rf"\multicolumn{{{len(columns) + 1}}}{{p{{\linewidth}}}}{{\footnotesize {said}}}"
    return "\n".join([*lines, r"\bottomrule", note, r"\end{tabular}"]) + "\n"


def _tex_cell(entry: Entry | None) -> str:
    if entry is None or entry.value is None:
        return "--"
    value, _, rest = entry.text.partition(" ")
    return f"{value} {{\\scriptsize {_tex(rest)}}}" if rest else value


def write_tables(found: Sequence[Entry], sets: Sequence[GridSet], metric: str, out: Path) -> list[Path]:
    """Write ``grid.csv``, ``grid.md`` and ``grid.tex``; return their paths."""
    made = {
        "grid.csv": to_csv(found, metric),
        "grid.md": to_markdown(found, sets, metric),
        "grid.tex": to_latex(found, sets, metric),
    }
    for name, text in made.items():
        write_text(out / name, text)
    return [out / name for name in made]
