"""A progress bar on standard error for long work; silent where standard error is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
INTERVAL = 0.1  # seconds between two looks at the bar


def track(items: Iterable[Item], total: int, label: str, done: int = 0) -> Iterator[Item]:
    """Yield the items while a bar with rate and remaining time runs from ``done`` to ``total``."""
    if not sys.stderr.isatty():
        yield from items
        return
    with _bar() as progress:
        task = progress.add_task(label, total=total, completed=done, rate="")
        count, shown = done, time.monotonic()
        for item in items:
            yield item
            count += 1
            if (now := time.monotonic()) - shown >= INTERVAL:
                speed, shown = progress.tasks[task].speed, now
                progress.update(task, completed=count, rate=f"{speed:.0f}/s" if speed else "")
        progress.update(task, completed=count)


def _bar():
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    return Progress(*columns, console=Console(stderr=True))
