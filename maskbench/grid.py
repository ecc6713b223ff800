"""Every recognizer behind every completion on every set, one result each; what is there already is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskbench.datasets.ar_lists import PROTOCOLS, SETS
from maskbench.datasets.build import Options
from maskbench.datasets.build_ar import build_ar
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.protocols import load_protocol
from maskbench.results import RESULT_FILE, read_result
from maskbench.types import Protocol, Result

RESULTS, AR_SET = "results", "ar-set"


@dataclass(frozen=True)
class GridSet:
    """Pictures to test on.

    Attributes:
        name: what the table calls it, such as "AR1".
    """

    name: str
    protocol: Protocol
    faces: Path
    masked: Path | None


@dataclass(frozen=True)
class Cell:
    """One system on one set.

    Attributes:
        model: as it was named in the call; ``result`` has the recognizer's own name.
        reason: why there is no result; "" where there is one.
    """

    set: str
    model: str
    completion: str
    result: Result | None
    reason: str = ""


def ar_sets(
    source: Path, out: Path, workers: int = 1, cache: Path | None = None, say: Callable[[str], None] = print
) -> list[GridSet]:
    """Sunglasses (AR1) and scarves (AR2) on any labelled faces, or the real AR database; built in ``OUT/ar-set``.

    Every probe meets the reference of every subject, so that rank-1 can be told.

    Raises:
        MaskbenchError: as ``datasets.build_ar.build_ar``, or nothing could be masked.
    """
    home = out / AR_SET
    built = build_ar(source, home, Options(workers=workers, cache=cache), others=10**6)
    for line in built.lines:
        if not line.startswith("next:"):
            say(line)
    if built.fault:
        raise MaskbenchError(built.fault)
    sets = []
    for name in SETS:
        folder, pasted = home / PROTOCOLS / name.lower(), home / name.lower()
        if folder.is_dir():
            sets.append(GridSet(name, load_protocol(folder), source, pasted if pasted.is_dir() else source))
    if not sets:
        raise MaskbenchError(f"{source}: neither sunglasses nor scarves could be made or found")
    return sets


def run_grid(
    sets: Sequence[GridSet], models: Sequence[str], completions: Sequence[str], out: Path, options: EvaluationOptions,
    cache_root: Path | None = None, say: Callable[[str], None] = print,
) -> list[Cell]:  # fmt: skip
    """Run what is missing of models x completions x sets.

    A cell that cannot be run has a reason and the others are run all the same. Results lie below ``OUT/results``, each
    where ``evaluate`` puts it, so an interrupted grid continues with the first cell that is not there.

    Raises:
        MaskbenchError: a name is given twice.
    """
    for kind, names in (("model", models), ("completion", completions)):
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise MaskbenchError(f"{kind} {twice[0]} is named twice; once is enough")
    work = [(where, completion, model) for where in sets for completion in completions for model in models]
    cells = []
    for number, (where, completion, model) in enumerate(work, 1):
        cell = _cell(where, completion, model, out / RESULTS, options, cache_root)
        said = f": {cell.reason}" if cell.reason else ""
        say(f"{number}/{len(work)} {where.name}, {completion}, {model}{said}")
        cells.append(cell)
    return cells


def _cell(
    where: GridSet, completion: str, model: str, out: Path, options: EvaluationOptions, cache_root: Path | None
) -> Cell:
    asked = replace(options, completion=completion, keep=True)
    try:
        (folder,) = evaluate(where.protocol, [model], where.faces, where.masked, out, asked, cache_root)
        return Cell(where.name, model, completion, read_result(folder / RESULT_FILE))
    except MaskbenchError as error:
        return Cell(where.name, model, completion, None, " ".join(str(error).split()))
