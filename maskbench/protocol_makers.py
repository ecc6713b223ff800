"""The protocols that maskbench makes from faces at hand: every pair under three conditions, only the probe masked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from maskbench.datasets import lfw
from maskbench.datasets.folder import walk
from maskbench.digest import file_sha256, generator
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.protocol_build import build_protocol
from maskbench.types import PairTable, Protocol, Sample

CONDITIONS = (("UMR-UMP", "unmasked", "unmasked"), ("UMR-MP", "unmasked", "masked"), ("MR-MP", "masked", "masked"))
FOLDS = 10
SUBJECTS_PER_FOLD = 10  # 45 different pairs of subjects
PATIENCE = 500

Comparison = tuple[int, int, bool, str, str]  # fold, index within fold and class, mated, reference id, probe id


def _pair_table(comparisons: Sequence[Comparison]) -> PairTable:
    """Each comparison under each of CONDITIONS, whole conditions one after the other."""
    folds, indices, mated, references, probes = zip(*comparisons, strict=True)
    classes = ("m" if value else "n" for value in mated)
    names = [f"f{fold:02d}/{kind}{index:03d}" for fold, kind, index in zip(folds, classes, indices, strict=True)]
    repeats = len(CONDITIONS)
    return PairTable(
        pair_id=np.array([f"{label}/{name}" for label, _, _ in CONDITIONS for name in names]),
        reference_id=np.array(references * repeats),
        probe_id=np.array(probes * repeats),
        reference_condition=np.repeat([reference for _, reference, _ in CONDITIONS], len(names)),
        probe_condition=np.repeat([probe for _, _, probe in CONDITIONS], len(names)),
        mated=np.array(mated * repeats, dtype=bool),
        fold=np.array(folds * repeats, dtype=np.int64),
    )


# ---------------------------------------------------------------- LFW


def make_lfw(
    faces: Path, pairs_path: Path | None = None, pairs_per_fold: int | None = None, name: str = "lfw-masked"
) -> Protocol:
    """The masked LFW protocol: every pair of ``pairs.txt`` under UMR-UMP, UMR-MP and MR-MP, in LFW's folds.

    The condition belongs to the pair: under UMR-MP the second image of each pair is masked, and the first is not.

    Args:
        faces: folder of ``Name/Name_0001.jpg`` (any image format).
        pairs_path: LFW's pair list; by default ``FACES/pairs.txt``, the one beside ``FACES``, or
            ``$MASKBENCH_DATA/protocols/lfw_pairs.txt``.
        pairs_per_fold: keep the first so many mated and so many non-mated pairs of each fold; the name then ends in
            the number of LFW pairs kept: 2 of 10 folds give "lfw-masked-40", with 120 comparisons.
        name: what the protocol is called.

    Raises:
        ProtocolError: the pair list is malformed, or names images that are missing; the message says how many.
        MaskbenchError: ``faces`` cannot be read, or there is no pair list.
    """
    path = Path(pairs_path) if pairs_path is not None else _find_lfw_pairs(Path(faces))
    available = lfw.read_pairs(path)
    if pairs_per_fold is not None and pairs_per_fold < 1:
        raise ProtocolError(f"pairs_per_fold is {pairs_per_fold}; give a whole number from 1")
    chosen = [pair for pair in available if pairs_per_fold is None or pair.index <= pairs_per_fold]
    return build_protocol(
        name if len(chosen) == len(available) else f"{name}-{len(chosen)}",
        1,
        _lfw_samples(chosen, Path(faces), path),
        _pair_table([_lfw_comparison(pair) for pair in chosen]),
        "UMR-UMP",
        description="Labeled Faces in the Wild: every pair of the list under three conditions, in its folds.",
        licence="Tables only. The photographs are news pictures gathered for research and are not included.",
        masking={"recipe": "lfw-masked", "version": 1, "seed": 0},
        source="Huang et al., Labeled Faces in the Wild, University of Massachusetts, Technical Report 07-49, 2007",
    )


def _lfw_comparison(pair: lfw.LfwPair) -> Comparison:
    return pair.fold, pair.index, pair.mated, lfw.image_name(*pair.reference), lfw.image_name(*pair.probe)


def _find_lfw_pairs(faces: Path) -> Path:
    if path := lfw.find_pairs(faces):
        return path
    raise MaskbenchError(f"{faces}: no pairs.txt in it or beside it, and MASKBENCH_DATA holds no "
                         "protocols/lfw_pairs.txt; give LFW's pair list")


def _lfw_samples(pairs: Sequence[lfw.LfwPair], faces: Path, pairs_path: Path) -> list[Sample]:
    wanted: dict[str, tuple[str, int]] = {}  # stem to the subject and the first line that names it
    for pair in pairs:
        for subject, number in (pair.reference, pair.probe):
            wanted.setdefault(lfw.image_name(subject, number), (subject, pair.line))
    found = lfw.find_faces(faces)
    missing = [stem for stem in wanted if stem not in found]
    if missing:
        raise ProtocolError(
            f"{pairs_path}:{wanted[missing[0]][1]}: {len(missing)} of {len(wanted)} images are not in {faces}, first "
            f"{missing[0]}; give the folder that holds Name/Name_0001.jpg for every name of the list"
        )
    return [Sample(stem, wanted[stem][0], found[stem], file_sha256(faces / found[stem])) for stem in wanted]


# ---------------------------------------------------------------- one folder per subject


def make_folders(faces: Path, total_pairs: int = 6000, name: str = "folders", seed: int = 0) -> Protocol:
    """A protocol of pairs drawn from pictures in one folder per subject, under the three conditions of LFW's.

    The folds share no subject: ten of them where there are subjects enough, fewer otherwise, since a non-mated pair
    comes from within a fold and few subjects make few different ones. Each fold draws its part of ``total_pairs``, half
    of it mated: a subject at random, then two of its pictures; or two subjects, then a picture of each. No comparison
    is drawn twice and every fold keeps as many as the poorest, so a small set yields fewer. The draw depends on
    ``seed`` and the paths alone.

    Args:
        faces: folder of ``SUBJECT/ANYTHING.jpg``, at any depth; pictures right in ``faces`` have no subject and are
            left out.
        total_pairs: about how many comparisons there shall be in each condition.
        name: the protocol is called this and the number of comparisons drawn, "folders-600".

    Raises:
        ProtocolError: no mated or no non-mated pair can be drawn.
        MaskbenchError: ``faces`` cannot be read.
    """
    subjects: dict[str, list[str]] = {}
    for file in walk(Path(faces)):
        subject = str(PurePosixPath(file.path).parent)
        if file.is_image and subject != ".":
            subjects.setdefault(subject, []).append(file.path)
    comparisons = _draw_folds(subjects, max(1, total_pairs // 2), seed)
    if len({mated for _, _, mated, _, _ in comparisons}) < 2:
        raise ProtocolError(
            f"{faces}: {len(subjects)} subject folders with {sum(map(len, subjects.values()))} pictures give no mated "
            "or no non-mated pair; give a folder with one folder per subject, and two pictures or more in some"
        )
    used = sorted({path for *_, reference, probe in comparisons for path in (reference, probe)})
    return build_protocol(
        f"{name}-{len(comparisons)}",
        1,
        [Sample(path, str(PurePosixPath(path).parent), path, file_sha256(Path(faces, path))) for path in used],
        _pair_table(comparisons),
        "UMR-UMP",
        description="Pairs drawn at random from pictures in one folder per subject, each under three conditions.",
        licence="Tables only; the pictures are not included.",
        masking={"recipe": "worn", "version": 1, "seed": 0},
        source=f"maskbench, seed {seed}",
    )


def _draw_folds(subjects: dict[str, list[str]], per_class: int, seed: int) -> list[Comparison]:
    names = sorted(subjects)
    generator(seed, "folds").shuffle(names)
    folds = max(1, min(FOLDS, max(2, len(names) // SUBJECTS_PER_FOLD), len(names) // 2, per_class))
    drawn: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]] = []
    for fold in range(1, folds + 1):
        members = [subjects[name] for name in sorted(names[fold - 1 :: folds])]
        several = [pictures for pictures in members if len(pictures) > 1]
        wanted = per_class // folds
        mated = _draw(wanted if several else 0, lambda rng, of=several: _two_of_one(rng, of), seed, f"{fold} mated")
        other = _draw(
            wanted if len(members) > 1 else 0, lambda rng, of=members: _one_of_two(rng, of), seed, f"{fold} non-mated"
        )
        drawn.append((mated, other))
    # Every fold counts alike in the mean over folds, so every fold has as many pairs of a class as the poorest.
    shares = [min(len(fold[kind]) for fold in drawn) for kind in (0, 1)]
    return [
        (fold, index, kind == 0, *pair)
        for fold, classes in enumerate(drawn, start=1)
        for kind in (0, 1)
        for index, pair in enumerate(classes[kind][: shares[kind]], start=1)
    ]


def _draw(
    wanted: int, propose: Callable[[np.random.Generator], tuple[str, str]], seed: int, part: str
) -> list[tuple[str, str]]:
    """Up to ``wanted`` pairs, each in one direction only; gives up after PATIENCE repeats in a row."""
    rng, pairs, repeats = generator(seed, part), dict[frozenset[str], tuple[str, str]](), 0
    while len(pairs) < wanted and repeats < PATIENCE:
        pair = propose(rng)
        repeats = repeats + 1 if frozenset(pair) in pairs else 0
        pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())


def _two_of_one(rng: np.random.Generator, subjects: Sequence[list[str]]) -> tuple[str, str]:
    pictures = subjects[rng.integers(len(subjects))]
    first, second = rng.choice(len(pictures), 2, replace=False)
    return pictures[first], pictures[second]


def _one_of_two(rng: np.random.Generator, subjects: Sequence[list[str]]) -> tuple[str, str]:
    first, second = (subjects[index] for index in rng.choice(len(subjects), 2, replace=False))
    return first[rng.integers(len(first))], second[rng.integers(len(second))]
