"""Helpers of the tests of ``maskbench score``."""

from __future__ import annotations

import csv
from pathlib import Path

from maskbench.results import Run, load_run
from maskbench.score_files import Scored


def write_csv(path: Path, columns: dict) -> Path:
    """Write columns by name; returns the path."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def run_of(done: Scored) -> Run:
    """The result that a call wrote, with its scores."""
    return load_run(done.folder / "result.json")
