"""Whole training runs on a few faces: how they are begun, and what can be compared of what they log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from maskbench.train.loop import Machine, read_log
from maskbench.train.running import Source, Trained

HERE = Machine("cpu", 1, "auto", 0, 1e9)


def runner(
    train: Callable[..., dict[str, Trained]], quick: Callable[..., Any], sources: Sequence[Source], cache: Path
) -> Callable[..., dict[str, Trained]]:
    """``run(out, *changes, **how)``, which trains by the quick recipe with these changes, on this processor.

    Args:
        train: takes recipe, sources, folder and how; quick: makes the recipe of changes.
    """

    def run(out: Path, *changes: str, **how: Any) -> dict[str, Trained]:
        how = {"sources": sources, "machine": HERE, "cache": cache, "rights": ("none", "any"), **how}
        return train(quick(*changes), how.pop("sources"), out, **how)

    return run


def logged(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The lines of the runs' logs, without the times."""
    lines = [line for folder in folders for line in read_log(folder)]
    return [{k: v for k, v in line.items() if k not in ("images_per_second", "waiting")} for line in lines]
