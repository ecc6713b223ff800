"""Protocols whose pairs are drawn, with a seed, from pictures in one folder per subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from maskbench.datasets.folder import walk
from maskbench.digest import generator
from maskbench.errors import ProtocolError
from maskbench.protocol_draft import SIDES, THREE, Comparison, Draft, Row, pair_table, row_table, sample_at
from maskbench.tables import read_columns

FOLDS = 10
SUBJECTS_PER_FOLD = 10  # 45 different pairs of subjects
PATIENCE = 500
SPLIT, FACES = "split_identity.csv", "faces"  # of what "dataset build celeba" writes
SPLIT_COLUMNS = ("path", "identity", "subset")

Pools = tuple[list[str], list[str]]  # of one subject: pictures for the reference side, and for the probe side
Propose = Callable[[np.random.Generator], tuple[str, str]]


def subject_folders(faces: Path) -> dict[str, list[str]]:
    """The pictures of every subject: those below one folder, at any depth, by the folder's path.

    Pictures right in ``faces`` have no subject and are left out. Raises MaskbenchError if ``faces`` cannot be read.
    """
    subjects: dict[str, list[str]] = {}
    for file in walk(Path(faces)):
        subject = str(PurePosixPath(file.path).parent)
        if file.is_image and subject != ".":
            subjects.setdefault(subject, []).append(file.path)
    return subjects


def folders_draft(
    faces: Path, conditions: Sequence[str] = THREE, pairs: int = 6000, seed: int = 0,
    subjects: Mapping[str, list[str]] | None = None,
) -> Draft:  # fmt: skip
    """About ``pairs`` comparisons, half of them mated, in subject-disjoint folds, each under every condition.

    Raises:
        ProtocolError: no mated or no non-mated pair can be drawn.
        MaskbenchError: ``faces`` cannot be read.
    """
    subjects = subject_folders(faces) if subjects is None else subjects
    pools = {name: (paths, paths) for name, paths in subjects.items()}
    comparisons = draw_folds(pools, max(1, pairs // 2), seed)
    _refuse_one_kind(faces, comparisons, subjects)
    used = sorted({path for *_, reference, probe in comparisons for path in (reference, probe)})
    owner = {path: name for name, paths in subjects.items() for path in paths}
    samples = [sample_at(faces, path, owner[path]) for path in used]
    return Draft(samples, pair_table(comparisons, conditions), str(len(comparisons)))


def two_folders_draft(
    faces: Path, conditions: Sequence[str], bare: str, masked: str, pairs: int = 6000, seed: int = 0
) -> Draft:  # fmt: skip
    """As ``folders_draft``, for people with real masks: bare pictures in one tree of subject folders, masked ones in
    another. Every condition draws its own pairs, in the same folds of subjects.

    Args:
        bare, masked: the two folders below ``faces``.

    Raises:
        ProtocolError: a folder is missing or a condition has no mated or no non-mated pair.
    """
    trees = {"unmasked": _tree(faces, bare), "masked": _tree(faces, masked)}
    names = sorted(set(trees["unmasked"]) & set(trees["masked"]))
    rows: list[Row] = []
    for label in conditions:
        reference, probe = (trees[side] for side in SIDES[label])
        pools = {name: (reference[name], probe[name]) for name in names}
        comparisons = draw_folds(pools, max(1, pairs // 2), seed, f"{label} ")
        _refuse_one_kind(faces, comparisons, {name: trees["masked"][name] for name in names})
        rows += [
            (f"{label}/f{c[0]:02d}/{'m' if c[2] else 'n'}{c[1]:03d}", label, c[3], c[4], c[2], c[0])
            for c in comparisons
        ]  # fmt: skip
    owner = {path: name for tree in trees.values() for name in names for path in tree[name]}
    used = sorted({path for row in rows for path in row[2:4]})
    left = len(set(trees["unmasked"]) ^ set(trees["masked"]))
    note = (f"{left} subjects have pictures in one of {bare} and {masked} only and were left out",) * (left > 0)
    return Draft([sample_at(faces, path, owner[path]) for path in used], row_table(rows), f"{len(rows)}", note)


def _tree(faces: Path, folder: str) -> dict[str, list[str]]:
    found = subject_folders(Path(faces) / folder)
    return {name: [f"{folder}/{path}" for path in paths] for name, paths in found.items()}


def celeba_draft(
    faces: Path, conditions: Sequence[str] = THREE, pairs: int = 6000, seed: int = 0, subset: str = "validation"
) -> Draft:
    """Pairs of the people whom a split by identity holds back, from a folder that ``maskbench dataset build celeba``
    made; paths are below its ``faces``.

    Raises:
        ProtocolError: there is no such split, it is malformed, or a person is in two subsets.
    """
    path = Path(faces) / SPLIT
    if not path.is_file():
        raise ProtocolError(f"{path}: no such file; give the folder that 'maskbench dataset build celeba' made")
    names, columns = read_columns(path, ProtocolError)
    if tuple(names) != SPLIT_COLUMNS:
        raise ProtocolError(f"{path}:1: the columns must be {','.join(SPLIT_COLUMNS)}, found {','.join(names)}")
    subjects: dict[str, list[str]] = {}
    subsets: dict[str, str] = {}
    for line, (picture, identity, part) in enumerate(zip(*columns, strict=True), start=2):
        if subsets.setdefault(identity, part) != part:
            raise ProtocolError(f"{path}:{line}: person {identity} is in {subsets[identity]} and in {part}")
        if part == subset:
            subjects.setdefault(identity, []).append(picture)
    if not subjects:
        raise ProtocolError(f"{path}: nobody is in {subset!r}; there are {', '.join(sorted(set(subsets.values())))}")
    return replace(folders_draft(Path(faces) / FACES, conditions, pairs, seed, subjects), below=FACES)


def _refuse_one_kind(faces: Path, comparisons: Sequence[Comparison], subjects: Mapping[str, Sequence[str]]) -> None:
    if len({mated for _, _, mated, _, _ in comparisons}) < 2:
        raise ProtocolError(
            f"{faces}: {len(subjects)} subject folders with {sum(map(len, subjects.values()))} pictures give no mated "
            "or no non-mated pair; give a folder with one folder per subject, and two pictures or more in some"
        )


# ---------------------------------------------------------------- the draw


def draw_folds(subjects: Mapping[str, Pools], per_class: int, seed: int, prefix: str = "") -> list[Comparison]:
    """Draw comparisons in folds that share no subject.

    Ten folds where there are subjects enough, fewer otherwise, since a non-mated pair comes from within a fold and few
    subjects make few different ones. A subject at random, then two of its pictures; or two subjects, then a picture of
    each. No comparison is drawn twice and every fold keeps as many as the poorest, so a small set yields fewer.

    Args:
        subjects: the pictures of each for either side; where both are one list, a pair has two different pictures.
        per_class: how many mated and how many non-mated comparisons there shall be.
        prefix: another prefix draws other pairs in the same folds.
    """
    names = sorted(subjects)
    generator(seed, "folds").shuffle(names)
    folds = max(1, min(FOLDS, max(2, len(names) // SUBJECTS_PER_FOLD), len(names) // 2, per_class))
    drawn: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]] = []
    for fold in range(1, folds + 1):
        members = [subjects[name] for name in sorted(names[fold - 1 :: folds])]
        several = [pools for pools in members if pools[0] is not pools[1] or len(pools[0]) > 1]
        wanted = per_class // folds
        mated = _draw(
            wanted if several else 0, lambda rng, of=several: _of_one(rng, of), seed, f"{prefix}{fold} mated"
        )
        other = _draw(
            wanted if len(members) > 1 else 0, lambda rng, of=members: _of_two(rng, of), seed,
            f"{prefix}{fold} non-mated",
        )  # fmt: skip
        drawn.append((mated, other))
    # Every fold counts alike in the mean over folds, so every fold has as many pairs of a class as the poorest.
    shares = [min(len(fold[kind]) for fold in drawn) for kind in (0, 1)]
    return [
        (fold, index, kind == 0, *pair)
        for fold, classes in enumerate(drawn, start=1)
        for kind in (0, 1)
        for index, pair in enumerate(classes[kind][: shares[kind]], start=1)
    ]


def _draw(wanted: int, propose: Propose, seed: int, part: str) -> list[tuple[str, str]]:
    """Up to ``wanted`` pairs, each in one direction only; gives up after PATIENCE repeats in a row."""
    rng, pairs, repeats = generator(seed, part), dict[frozenset[str], tuple[str, str]](), 0
    while len(pairs) < wanted and repeats < PATIENCE:
        pair = propose(rng)
        repeats = repeats + 1 if frozenset(pair) in pairs else 0
        pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())


def _of_one(rng: np.random.Generator, subjects: Sequence[Pools]) -> tuple[str, str]:
    references, probes = subjects[rng.integers(len(subjects))]
    if references is probes:
        first, second = rng.choice(len(probes), 2, replace=False)
        return probes[first], probes[second]
    return references[rng.integers(len(references))], probes[rng.integers(len(probes))]


def _of_two(rng: np.random.Generator, subjects: Sequence[Pools]) -> tuple[str, str]:
    first, second = (subjects[index] for index in rng.choice(len(subjects), 2, replace=False))
    return first[0][rng.integers(len(first[0]))], second[1][rng.integers(len(second[1]))]
