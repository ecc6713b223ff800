"""Every recognizer behind every completion on every set, one result each; what is there already is left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskbench.datasets.ar_lists import PROTOCOLS, SETS
from maskbench.datasets.build import Options
from maskbench.datasets.build_ar import build_ar
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.protocols import load_protocol
from maskbench.results import RESULT_FILE, read_result
from maskbench.systems import Model, open_models, refuse_twice
from maskbench.types import Protocol, Result

RESULTS, AR_SET = "results", "ar-set"


@dataclass(frozen=True)
class GridSet:
    """Pictures to test on.

    Attributes:
        name: what the table calls it, such as "AR1".
        mask_files: of this set, for the mask source "file"; None for those of the options.
    """

    name: str
    protocol: Protocol
    faces: Path
    masked: Path | None
    mask_files: Path | None = None


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
    source: Path, out: Path, workers: int = 1, cache: Path | None = None, say: Callable[[str], None] = print,
    mask_files: Path | None = None,
) -> list[GridSet]:  # fmt: skip
    """Sunglasses (AR1) and scarves (AR2) on any labelled faces, or the real AR database; built in ``OUT/ar-set``.

    Every probe meets the reference of every subject, so that rank-1 can be told.

    Args:
        mask_files: with the folders ``ar1`` and ``ar2``, since both sets mask the same pictures.

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
            files = None if mask_files is None else mask_files / name.lower()
            masked = pasted if pasted.is_dir() else source
            sets.append(GridSet(name, load_protocol(folder), source, masked, files))
    if not sets:
        raise MaskbenchError(f"{source}: neither sunglasses nor scarves could be made or found")
    return sets


def run_grid(
    sets: Sequence[GridSet], models: Sequence[str] | Mapping[str, Model], completions: Sequence[str], out: Path,
    options: EvaluationOptions, cache_root: Path | None = None, say: Callable[[str], None] = print,
) -> list[Cell]:  # fmt: skip
    """Run what is missing of models x completions x sets.

    A cell that cannot be run has a reason and the others are run all the same. Results lie below ``OUT/results``, each
    where ``evaluate`` puts it, so an interrupted grid continues with the first cell that is not there.

    Args:
        models: names, of which one that cannot be loaded is told in its cells; or what ``systems.open_models`` made of
            them.

    Raises:
        MaskbenchError: a model or a completion is named twice, or two models have one name.
    """
    refuse_twice("completion", completions)
    opened = models if isinstance(models, Mapping) else open_models(models, options, all_of_them=False)
    cells: list[Cell] = []
    for where in sets:
        for completion in completions:
            row = _row(where, completion, opened, out / RESULTS, options, cache_root)
            for cell in row:
                cells.append(cell)
                said = f": {cell.reason}" if cell.reason else ""
                total = len(sets) * len(completions) * len(opened)
                say(f"{len(cells)}/{total} {where.name}, {completion}, {cell.model}{said}")
    return cells


def _row(
    where: GridSet, completion: str, models: Mapping[str, Model], out: Path, options: EvaluationOptions,
    cache_root: Path | None,
) -> list[Cell]:  # fmt: skip
    """The cells of one set and completion: together, which shares the work, or one by one where something is wrong."""
    asked = replace(options, completion=completion, keep=options.cache != "always")
    if where.mask_files is not None:
        asked = replace(asked, mask_files=where.mask_files)
    try:
        folders = evaluate(where.protocol, list(models.values()), where.faces, where.masked, out, asked, cache_root)
    except MaskbenchError as error:
        if len(models) > 1:
            alone = ({name: model} for name, model in models.items())
            return [cell for one in alone for cell in _row(where, completion, one, out, options, cache_root)]
        return [Cell(where.name, next(iter(models)), completion, None, " ".join(str(error).split()))]
    return [
        Cell(where.name, model, completion, read_result(folder / RESULT_FILE))
        for model, folder in zip(models, folders, strict=True)
    ]
