"""The protocols that maskbench makes from faces at hand: every pair under three conditions, only the probe masked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskbench.datasets import lfw
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.protocol_build import build_protocol
from maskbench.protocol_draft import THREE, Comparison, Draft, pair_table
from maskbench.protocol_drawn import folders_draft
from maskbench.types import Protocol, Sample

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
    draft = lfw_draft(faces, THREE, pairs_path, pairs_per_fold)
    return build_protocol(
        f"{name}-{draft.suffix}" if draft.suffix else name,
        1,
        draft.samples,
        draft.pairs,
        "UMR-UMP",
        description="Labeled Faces in the Wild: every pair of the list under three conditions, in its folds.",
        licence="Tables only. The photographs are news pictures gathered for research and are not included.",
        masking={"recipe": "lfw-masked", "version": 1, "seed": 0},
        source="Huang et al., Labeled Faces in the Wild, University of Massachusetts, Technical Report 07-49, 2007",
    )


def lfw_draft(
    faces: Path, conditions: Sequence[str] = THREE, pairs_path: Path | None = None, pairs_per_fold: int | None = None
) -> Draft:
    """The tables of :func:`make_lfw` under any conditions; raises as it does."""
    path = Path(pairs_path) if pairs_path is not None else _find_lfw_pairs(Path(faces))
    available = lfw.read_pairs(path)
    if pairs_per_fold is not None and pairs_per_fold < 1:
        raise ProtocolError(f"pairs_per_fold is {pairs_per_fold}; give a whole number from 1")
    chosen = [pair for pair in available if pairs_per_fold is None or pair.index <= pairs_per_fold]
    suffix = "" if len(chosen) == len(available) else str(len(chosen))
    pairs = pair_table([_lfw_comparison(pair) for pair in chosen], conditions)
    return Draft(_lfw_samples(chosen, Path(faces), path), pairs, suffix)


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
    draft = folders_draft(faces, THREE, total_pairs, seed)
    return build_protocol(
        f"{name}-{draft.suffix}",
        1,
        draft.samples,
        draft.pairs,
        "UMR-UMP",
        description="Pairs drawn at random from pictures in one folder per subject, each under three conditions.",
        licence="Tables only; the pictures are not included.",
        masking={"recipe": "worn", "version": 1, "seed": 0},
        source=f"maskbench, seed {seed}",
    )
