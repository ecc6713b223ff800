"""What the stages of the fit share: names of pictures and people, results on disk, lines of progress."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write

CELEBA, UTK = "celeba256", "utk144"
EVERY = 2000  # pictures between two lines of progress
_STARTED = time.monotonic()


def is_celeba(names: np.ndarray) -> np.ndarray:
    """Which of the names (N,) are pictures of ``celeba256``, whose people are known: (N,) bool."""
    return np.array([str(name).startswith(f"{CELEBA}/") for name in names], bool)


def people_of(names: Sequence[str] | np.ndarray) -> np.ndarray:
    """The identity numbers (N,) str of the names; empty where the set has none."""
    return np.array([str(name).split("/")[1] if str(name).startswith(f"{CELEBA}/") else "" for name in names])


def labels_of(name: str) -> tuple[int, int, int] | None:
    """Age in years, sex (0 male, 1 female) and group (0..4) of a ``utk144`` name; None where a field is missing."""
    fields = name.split("/")[1].split("_")
    try:
        return (int(fields[0]), int(fields[1]), int(fields[2])) if len(fields) >= 4 else None
    except ValueError:
        return None


def split_ids(data: Path, part: str) -> set[str]:
    """Identity numbers of the "train" or the "val" people of ``celeba256``.

    Raises:
        MaskbenchError: there is no such list.
    """
    path = data / "splits" / f"{CELEBA}_{part}_ids.txt"
    try:
        return set(path.read_text().split())
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be read; pass the folder of the data with --data") from error


def say(stage: str, text: str) -> None:
    """A line of progress, with the seconds since the start."""
    print(f"{time.monotonic() - _STARTED:6.0f} s  {stage}: {text}", flush=True)


def progress(stage: str, done: int, total: int) -> None:
    """A line now and then."""
    if done and done % EVERY == 0:
        say(stage, f"{done} of {total}")


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a result."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def save(path: Path, **arrays: np.ndarray) -> None:
    """Write a result whole or not at all."""
    with atomic_write(path) as stream:
        np.savez(stream, **arrays)


@contextmanager
def table(path: Path, shape: tuple[int, ...], dtype: type) -> Iterator[np.ndarray]:
    """A large array on disk to fill; it gets its name when it is whole."""
    part = path.with_name(path.name + ".part")
    array = np.lib.format.open_memmap(part, "w+", dtype, shape)
    yield array
    array.flush()
    os.replace(part, path)
