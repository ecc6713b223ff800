"""Small pictures by name, for tests of protocols."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def put(root: Path, names: Iterable[str]) -> Path:
    """Write a file for each name, its bytes the name itself; return the folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root
