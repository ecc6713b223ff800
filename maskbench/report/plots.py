"""ROC and DET curves of stored results, for print: colour says which recognizer (or, where there is only one, which
condition), line style which condition."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.errors import MaskbenchError, ResultError
from maskbench.files import write_bytes
from maskbench.leaderboard import file_for_each
from maskbench.metrics.conditions import LABELS
from maskbench.metrics.curves import Det, det, thin
from maskbench.metrics.errors import FEW
from maskbench.results import Key, Run, comparison_key, value_at
from maskbench.types import Result, Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design", 2008: eight colours that colour-blind readers tell apart (yellow left out,
# which is too pale for lines on white; black first).
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
Colours = dict[tuple[str, str], Any]  # (model, condition) -> colour
STYLES = {"UMR-UMP": "-", "UMR-MP": (0, (5, 1.5)), "MR-UMP": (0, (5, 1.5, 1, 1.5)), "MR-MP": (0, (1.2, 1.2))}
FORMATS = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # no dates, no versions
POINTS = 2000  # of a drawn curve; figures are never read from it
FNMR_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)

_RC = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "maskbench",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Curve:
    """One line of the picture.

    Attributes:
        det: exact, one point for each distinct score.
        eer: the reported EER, or None.
        fmr100: the reported (measured FMR, FNMR) at FMR <= 1 %, or None.
        mated, non_mated: numbers of completed comparisons.
    """

    model: str
    condition: str
    det: Det
    eer: float | None
    fmr100: tuple[float, float] | None
    mated: int
    non_mated: int


def plot_results(runs: Sequence[Run], path: Path) -> None:
    """Draw ROC and DET side by side into a PNG, SVG or PDF file, by extension, atomically.

    The same runs give the same bytes with the same version of Matplotlib. No display is needed.

    Raises:
        ResultError: there is nothing to draw, or the runs differ in protocol, masked set, alignment or pictures.
        MaskbenchError: another extension, or the file cannot be written.
    """
    write_bytes(path, render(runs, Path(path).suffix))


def render(runs: Sequence[Run], suffix: str = ".png") -> bytes:
    """The picture of :func:`plot_results` as the bytes of a file with extension ``suffix``."""
    import matplotlib.style

    if suffix.lower() not in FORMATS:
        raise MaskbenchError(f"cannot draw a {suffix or 'file without extension'}; use {', '.join(FORMATS)}")
    stream = io.BytesIO()
    with matplotlib.style.context(["default", _RC]):
        draw(runs).savefig(stream, format=suffix[1:].lower(), dpi=150, metadata=FORMATS[suffix.lower()])
    return stream.getvalue()


def plot_groups(runs: Sequence[Run], path: Path) -> list[Path]:
    """Draw one picture for each group of comparable runs, as the leaderboard makes one table; return the files."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(comparison_key(run.result), []).append(run)
    keys = sorted(groups)
    targets = file_for_each(keys, Path(path))
    for key, target in zip(keys, targets, strict=False):
        plot_results(groups[key], target)
    return targets


def curves(runs: Sequence[Run]) -> list[Curve]:
    """The exact curve of every run and condition that has completed comparisons of both classes.

    Raises:
        ResultError: the runs differ in protocol, masked set, alignment or pictures, so that one picture would mislead.
    """
    if len({comparison_key(run.result) for run in runs}) > 1:
        raise ResultError(
            "the results differ in protocol, masked set or alignment, or in their pictures; draw each group on its own"
        )
    names = _names(runs)
    return [curve for run, name in zip(runs, names, strict=True) for curve in _curves_of(run, name)]


def _names(runs: Sequence[Run]) -> list[str]:
    """A short name for each run: recognizer, completion if any, and the mask source and a number where needed."""
    names = []
    for run in runs:
        result = run.result
        name = str(result.recognizer.get("name", "?"))
        names.append(name if result.completion in ("none", "") else f"{name} + {result.completion}")
    sourced = [f"{name} ({run.result.mask_source})" for name, run in zip(names, runs, strict=True)]
    names = [longer if names.count(name) > 1 else name for name, longer in zip(names, sourced, strict=True)]
    return [f"{name} #{1 + names[:i].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _curves_of(run: Run, name: str) -> Iterator[Curve]:
    done, scores = run.scores.status == Status.OK, run.scores.scores
    for condition in LABELS:
        rows = (run.condition == condition) & done
        mated, non_mated = scores[rows & run.scores.mated], scores[rows & ~run.scores.mated]
        if not len(mated) or not len(non_mated):
            continue
        point = tuple(value_at(run.result, condition, "fmr100", key) for key in ("fmr_measured", "fnmr"))
        yield Curve(
            name,
            condition,
            det(mated, non_mated),
            value_at(run.result, condition, "eer", "value"),
            None if None in point else point,
            len(mated),
            len(non_mated),
        )


# ---------------------------------------------------------------- drawing


def draw(runs: Sequence[Run]) -> Figure:
    """The picture as a Matplotlib figure. Raises as :func:`plot_results`."""
    from matplotlib.figure import Figure

    lines = curves(runs)
    if not lines:
        raise ResultError("no result has completed comparisons of both classes; there is nothing to draw")
    colours = _colours(lines)
    keys = 0.3 + 0.2 * max(len({line.model for line in lines}), 5)  # inches for the legends below
    width, height = 11.0, 5.55 + keys
    figure = Figure(figsize=(width, height))
    frames = ((left, keys + 0.6, 4.5, 4.2) for left in (0.85, 6.2))
    roc, right = (figure.add_axes((x / width, y / height, w / width, h / height)) for x, y, w, h in frames)
    _draw_roc(roc, lines, colours)
    _draw_det(right, lines, colours)
    title = _title(runs[0].result)
    figure.text(0.85 / width, 1 - 0.25 / height, title, fontsize=11, fontweight="bold", va="center", parse_math=False)
    _legends(figure, lines, colours, keys / height)
    return figure


def _title(result: Result) -> str:
    masked = str(result.digests.get("manifest", ""))[:8] or "none"
    lost = result.environment.get("missing_pictures", "0")
    missing = "" if lost == "0" else f", {lost} pictures missing"
    return f"{result.protocol.get('name', '')}   (masked set {masked}, alignment {result.align}{missing})"


def _colours(lines: Sequence[Curve]) -> Colours:
    """A colour for each line: of its recognizer, or of its condition where there is but one recognizer."""
    alone = len({line.model for line in lines}) == 1
    names = list(dict.fromkeys(line.condition if alone else line.model for line in lines))
    chosen: Sequence[Any] = COLOURS
    if len(names) > len(COLOURS):
        from matplotlib import colormaps

        chosen = colormaps["viridis"](np.linspace(0, 0.92, len(names)))
    palette = dict(zip(names, chosen, strict=False))
    return {(line.model, line.condition): palette[line.condition if alone else line.model] for line in lines}


def staircase(curve: Det) -> tuple[np.ndarray, np.ndarray]:
    """(K,) ascending positive FMR and, for each, the lowest FNMR that it allows; between two of them the left holds."""
    thinned = thin(curve, POINTS)
    fmr, first = np.unique(thinned.fmr, return_index=True)  # thresholds ascend: the first is the lowest FNMR
    return fmr[fmr > 0], thinned.fnmr[first][fmr > 0]


def _draw_roc(axes: Axes, lines: Sequence[Curve], colours: Colours) -> None:
    lowest = 1.0
    for line in lines:
        fmr, fnmr = staircase(line.det)
        lowest = min(lowest, 1 - fnmr[0])
        _line(axes, line, fmr, 1 - fnmr, colours)
        _marks(axes, line, colours, lambda value: 1 - value)
    span = next(nice for nice in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if nice >= min(1.0, 1.05 * (1 - lowest)))
    axes.set_ylim(1 - 1.02 * span, 1 + 0.02 * span)
    axes.set_title("ROC", loc="left")
    axes.set_ylabel("TMR = 1 − FNMR")
    axes.yaxis.set_major_formatter(_percent())
    _fmr_axis(axes, lines)


def _draw_det(axes: Axes, lines: Sequence[Curve], colours: Colours) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator
    from scipy.special import ndtr, ndtri

    floor = 0.5 / max(line.mated for line in lines)
    stairs = [staircase(line.det) for line in lines]
    low = max(floor, min(fnmr.clip(floor).min() for _, fnmr in stairs) * 0.7)
    high = min(0.9995, max(fnmr[0] for _, fnmr in stairs))
    high = float(ndtr(ndtri(max(high, 0.2)) + 0.1))
    axes.set_yscale("function", functions=(lambda p: ndtri(np.clip(p, 1e-12, 1 - 1e-12)), ndtr))
    for line, (fmr, fnmr) in zip(lines, stairs, strict=True):
        _line(axes, line, fmr, fnmr.clip(low / 2, 1 - 1e-9), colours)
        _marks(axes, line, colours, lambda value: value)
    diagonal = np.geomspace(low, min(high, 0.999), 200)
    axes.plot(diagonal, diagonal, color="0.6", linewidth=0.8, zorder=1)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in FNMR_TICKS if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(_percent())
    axes.set_title("DET", loc="left")
    axes.set_ylabel("FNMR (normal deviate)")
    _fmr_axis(axes, lines)


def _line(axes: Axes, line: Curve, x: np.ndarray, y: np.ndarray, colours: Colours) -> None:
    style, colour = STYLES[line.condition], colours[line.model, line.condition]
    axes.plot(x, y, drawstyle="steps-post", color=colour, linestyle=style, linewidth=1.4, zorder=3)


def _marks(axes: Axes, line: Curve, colours: Colours, y: Any) -> None:
    points = [("o", line.eer, line.eer), ("D", *(line.fmr100 or (None, None)))]
    for marker, fmr, fnmr in points:
        if fmr and fnmr is not None:  # a rate of 0 has no place on a logarithmic axis
            axes.plot(
                [fmr], [y(fnmr)], marker, color=colours[line.model, line.condition], markersize=5,
                markerfacecolor="white",
                markeredgewidth=1.2, zorder=4,
            )


def _fmr_axis(axes: Axes, lines: Sequence[Curve]) -> None:
    comparisons = min(line.non_mated for line in lines)
    axes.set_xscale("log")
    left = 0.5 / max(line.non_mated for line in lines)
    axes.set_xlim(left, 1)
    axes.axvspan(left, 1 / comparisons, color="0.82", linewidth=0, zorder=0)
    axes.axvspan(1 / comparisons, min(1.0, FEW / comparisons), color="0.93", linewidth=0, zorder=0)
    axes.axvline(0.01, color="0.6", linewidth=0.8, zorder=1)
    axes.xaxis.set_major_formatter(_percent())
    axes.set_xlabel("FMR")
    axes.grid(which="major", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)


def _percent() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{100 * value:.10g} %")


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"


def _legends(figure: Figure, lines: Sequence[Curve], colours: Colours, top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def put(handles: list[Any], x: float, title: str) -> None:
        legend = figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(x, top), title=title, alignment="left",
            borderaxespad=0, handlelength=2.6, title_fontproperties={"weight": "bold", "size": 9},
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a recognizer's name may hold a "$"

    of_model = {model: colour for (model, _), colour in colours.items()}
    alone = len(of_model) == 1
    models = [
        Line2D([], [], color="0.2" if alone else colour, linewidth=2.5, label=_short(name))
        for name, colour in of_model.items()
    ]
    conditions = []
    for name in [name for name in STYLES if any(line.condition == name for line in lines)]:
        most = max((line for line in lines if line.condition == name), key=lambda line: line.mated + line.non_mated)
        label = f"{name}  ({most.mated:,} mated, {most.non_mated:,} non-mated)"
        colour = colours[most.model, name] if alone else "0.2"
        conditions.append(Line2D([], [], color=colour, linestyle=STYLES[name], linewidth=1.6, label=label))
    mark = {"color": "0.2", "linestyle": "none", "markersize": 5, "markerfacecolor": "white"}
    marks = [
        Line2D([], [], marker="o", label="EER", **mark),
        Line2D([], [], marker="D", label="FNMR at FMR ≤ 1 %", **mark),
        Line2D([], [], color="0.6", linewidth=0.8, label="FMR = FNMR, and FMR = 1 %"),
        Patch(color="0.93", label=f"FMR < {FEW}/n: fewer than {FEW} false matches"),
        Patch(color="0.82", label="FMR < 1/n: not resolvable"),
    ]
    put(models, 0.077, "Recognizer")
    put(conditions, 0.345, "Condition")
    put(marks, 0.68, "Marks")
