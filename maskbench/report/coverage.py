"""FNMR against the share of the face that the mask covers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from maskbench.breakdowns import OWN, Row
from maskbench.errors import MaskbenchError
from maskbench.files import write_bytes
from maskbench.report.plots import _RC, COLOURS, FORMATS

LEAST_MATED = 30  # comparisons of a band that is drawn
WIDTH = 0.05  # of a band, see breakdowns.BANDS
CONDITIONS = ("UMR-MP", "MR-MP")


def plot_coverage(rows: Sequence[Row], path: Path) -> None:
    """Draw, for each recognizer and masked condition, the FNMR of every band of covered fraction with its 95 % interval
    (Wilson's), at the condition's own threshold. Bands of fewer than ``LEAST_MATED`` mated comparisons are left out.

    Raises:
        MaskbenchError: no band is left, another extension, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise MaskbenchError(f"{path}: cannot draw {suffix or 'a file without extension'}; use png, svg or pdf")
    shown = [
        row for row in rows
        if row.by == "covered_fraction" and row.rule == OWN and row.rates.mated_completed >= LEAST_MATED
    ]  # fmt: skip
    if not shown:
        raise MaskbenchError(f"{path}: no band of covered fraction has {LEAST_MATED} mated comparisons to draw")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        conditions = [name for name in CONDITIONS if any(row.condition == name for row in shown)]
        figure = Figure(figsize=(0.6 + 4.2 * len(conditions), 3.6), dpi=150, layout="constrained")
        axes = figure.subplots(1, len(conditions), sharey=True, squeeze=False)[0]
        models = sorted({row.recognizer for row in shown})
        for ax, condition in zip(axes, conditions, strict=True):
            for number, model in enumerate(models):
                _line(ax, [r for r in shown if r.condition == condition and r.recognizer == model], model, number)
            ax.set(title=condition, xlabel="covered fraction of the face", ylim=(0, None))
            ax.grid(alpha=0.25, linewidth=0.5)
        axes[0].set_ylabel("FNMR, %  (FMR ≤ 1 % over all masks)")
        axes[-1].legend()
        stream = io.BytesIO()
        figure.savefig(stream, format=suffix[1:], metadata=FORMATS[suffix])
    write_bytes(path, stream.getvalue())


def _line(ax, rows: Sequence[Row], model: str, number: int) -> None:  # noqa: ANN001
    points = [(float(row.rates.group.split("-")[0].rstrip("+")) + WIDTH / 2, row.rates) for row in rows]
    x, rates = zip(*sorted(points, key=lambda point: point[0]), strict=True) if points else ((), ())
    colour = COLOURS[number % len(COLOURS)]
    ax.fill_between(
        x, [100 * r.fnmr_interval[0] for r in rates], [100 * r.fnmr_interval[1] for r in rates], color=colour,
        alpha=0.15, linewidth=0,
    )  # fmt: skip
    ax.plot(x, [100 * r.fnmr for r in rates], color=colour, marker="o", markersize=3, linewidth=1.4, label=model)
