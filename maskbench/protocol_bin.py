"""The packed verification sets of insightface as protocols: pairs in order, in equal folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskbench.datasets.insightface_bin import BinPairs, picture_suffix, read_bin
from maskbench.digest import bytes_sha256
from maskbench.protocol_draft import THREE, Comparison, Draft, pair_table
from maskbench.protocol_subjects import chains, contradiction
from maskbench.types import Sample

FOLDS = 10


def bin_draft(file: Path, conditions: Sequence[str] = THREE, folds: int = FOLDS) -> Draft:
    """The pairs of a packed set under every condition; its pictures as ``00001.jpg`` and so on, in the file's order.

    Equal pictures are one sample, called after the first. Nobody is named in such a file: the subjects are the chains
    of mated pairs. Where those contradict a label, or a picture is paired with itself, every occurrence is a sample of
    its own instead and subjects are those of the pair alone.

    Raises:
        MaskbenchError: as ``read_bin``.
    """
    found = read_bin(Path(file))
    names = _names(found)
    links = [(names[2 * k], names[2 * k + 1], mated) for k, mated in enumerate(found.mated)]
    subjects = chains(links)
    if contradiction(links, subjects) is None and all(first != second for first, second, _ in links):
        note = f"subjects follow from the mated pairs: {len(set(subjects.values()))}, an upper bound on the people"
    else:
        names = [f"{index + 1:05d}.{picture_suffix(data)}" for index, data in enumerate(found.pictures)]
        links = [(names[2 * k], names[2 * k + 1], mated) for k, mated in enumerate(found.mated)]
        subjects = chains(links)
        note = "equal pictures contradict the labels or meet themselves: every occurrence is a sample of its own"
    pictures = {name: data for name, data in zip(reversed(names), reversed(found.pictures), strict=True)}
    samples = [
        Sample(name, subjects[name].partition(".")[0], name, bytes_sha256(data))
        for name, data in sorted(pictures.items())
    ]
    return Draft(samples, pair_table(_comparisons(links, folds), conditions), notes=(note,), pictures=pictures)


def _names(found: BinPairs) -> list[str]:
    """A file name for every picture of the list, the same for equal ones."""
    first: dict[str, str] = {}
    names = []
    for index, data in enumerate(found.pictures, start=1):
        names.append(first.setdefault(bytes_sha256(data), f"{index:05d}.{picture_suffix(data)}"))
    return names


def _comparisons(links: Sequence[tuple[str, str, bool]], folds: int) -> list[Comparison]:
    """Folds of consecutive pairs that differ by one pair at most, the longer ones first."""
    counted: dict[tuple[int, bool], int] = {}
    comparisons: list[Comparison] = []
    for fold, part in enumerate(np.array_split(np.arange(len(links)), min(folds, len(links))), start=1):
        for index in part.tolist():
            first, second, mated = links[index]
            number = counted[fold, mated] = counted.get((fold, mated), 0) + 1
            comparisons.append((fold, number, mated, first, second))
    return comparisons
