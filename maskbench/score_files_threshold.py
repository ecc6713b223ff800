"""Where transferred thresholds come from: a condition of these scores, or other scores of the same recognizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError, ResultError
from maskbench.metrics.conditions import LABELS
from maskbench.metrics.errors import threshold_at_fmr
from maskbench.registry import nearest
from maskbench.results import RESULT_FILE, SCORES_FILE, load_run
from maskbench.score_files_match import Comparisons, negated, on_its_own
from maskbench.score_formats_read import read_table
from maskbench.types import Status


@dataclass(frozen=True, eq=False)
class Source:
    """Completed non-mated scores that thresholds are fixed on.

    Attributes:
        name: what the result calls it: a condition, or "PROTOCOL/MODEL CONDITION" of other scores.
        non_mated: (N,) scores, larger is more alike.
        rows: (M,) bool, where they are among the comparisons at hand; None for other scores.
    """

    name: str
    non_mated: np.ndarray
    rows: np.ndarray | None = None


def threshold_source(wanted: str | None, compared: Comparisons, lower_is_better: bool) -> Source:
    """The source that the user names, by default the one of the protocol.

    Args:
        wanted: a condition of ``compared``, a score file, or a result folder.

    Raises:
        MaskbenchError: neither a condition at hand nor a readable score file or result.
    """
    if wanted is None or wanted in LABELS:
        name = wanted or compared.threshold_from
        rows = (compared.label == name) & (compared.status != Status.NOT_RUN)
        if wanted and not rows.any():
            known = sorted(set(compared.label[compared.status != Status.NOT_RUN].tolist()))
            raise MaskbenchError(f"--threshold-from {wanted}: no comparison of it was run; known: {', '.join(known)}")
        done = rows & ~compared.pairs.mated & (compared.status == Status.OK)
        return Source(name, compared.scores[done], done)
    path = Path(wanted)
    if not path.exists():
        raise MaskbenchError(
            f"--threshold-from {wanted}: neither a condition nor a file or folder; {nearest(wanted, LABELS)}"
        )
    source = _from_folder(path) if path.is_dir() else _from_file(path, lower_is_better)
    if not len(source.non_mated):
        raise MaskbenchError(f"{path}: has no completed non-mated comparison to fix a threshold on")
    return source


def _from_folder(folder: Path) -> Source:
    if not (folder / RESULT_FILE).is_file():
        raise ResultError(f"{folder}: holds no {RESULT_FILE}; give the folder of one result, or a score file")
    run = load_run(folder / RESULT_FILE)
    present = [name for name in LABELS if (run.condition[run.scores.status == Status.OK] == name).any()]
    wanted = str(run.result.protocol.get("threshold_from", ""))
    condition = wanted if wanted in present else (present or [""])[0]
    done = (run.condition == condition) & (run.scores.status == Status.OK) & ~run.scores.mated
    name = f"{run.result.protocol.get('name')}/{run.result.recognizer.get('name')} {condition}"
    return Source(name, run.scores.scores[done])


def _from_file(path: Path, lower_is_better: bool) -> Source:
    if path.name == SCORES_FILE and (path.parent / RESULT_FILE).is_file():
        return _from_folder(path.parent)
    table = read_table([path])
    if lower_is_better and not table.protocol_digest:  # what maskbench wrote is no distance any more
        table = negated(table)
    other = on_its_own(table, None, path.stem, "")
    done = (other.label == other.threshold_from) & (other.status == Status.OK) & ~other.pairs.mated
    return Source(f"{path.name} {other.threshold_from}", other.scores[done])


def fixed_threshold(source: Source, target: float) -> float:
    """The lowest threshold at which the source's FMR is at most ``target`` (strict rule, ``threshold_at_fmr``).

    Raises:
        MaskbenchError: a target outside (0, 1], or one below 1/n for n comparisons.
    """
    if not 0 < target <= 1:
        raise MaskbenchError(f"--at-fmr {target}: choose a value above 0 and up to 1")
    if not len(source.non_mated):
        raise MaskbenchError(f"--at-fmr {target}: {source.name} has no completed non-mated comparison")
    point = threshold_at_fmr(source.non_mated, target)
    if point.threshold is None:
        raise MaskbenchError(
            f"--at-fmr {target}: {point.flag} with the {point.comparisons} non-mated comparisons of {source.name}; "
            f"the lowest is {1 / point.comparisons:.3g}"
        )
    return float(point.threshold)

