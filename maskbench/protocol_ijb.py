"""Templates of several pictures against each other, from the two lists that IJB-B and IJB-C are usually packed with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from maskbench.digest import generator
from maskbench.errors import ProtocolError
from maskbench.protocol_draft import THREE, Draft, pair_table, sample_at
from maskbench.protocol_subjects import chains, contradiction
from maskbench.tables import read_text

TEMPLATES, PAIRS = "*face_tid_mid.txt", "*template_pair_label.txt"

Media = dict[str, dict[str, str]]  # template to its pictures, each with its medium
TemplatePair = tuple[str, str, bool]


def ijb_draft(
    faces: Path, conditions: Sequence[str] = THREE, templates: Path | None = None, pairs: Path | None = None,
    non_mated: int = 0, seed: int = 0, limit: int = 1_000_000,
) -> Draft:  # fmt: skip
    """Comparisons of templates: lines of "picture template medium", and of "template template label".

    Nobody is named in these lists: the subjects are the chains of mated templates, and of templates that share a
    picture. The medium is an attribute of a sample; what is compared is the mean over pictures, not over media.

    Args:
        templates, pairs: the lists; looked for in ``faces``, beside it and in a folder ``meta`` of either.
        non_mated: how many non-mated comparisons to keep; 0 for all.
        limit: the largest table, over all conditions.

    Raises:
        ProtocolError: "FILE:LINE: ..." for malformed lists, a template without pictures or a label that the others
            contradict; a list or a picture is missing; or there are too many comparisons.
    """
    listed, compared = (given or _find(Path(faces), pattern) for given, pattern in ((templates, TEMPLATES),
                                                                                    (pairs, PAIRS)))  # fmt: skip
    media, lines = _read_templates(listed), _read_pairs(compared)
    for number, (first, second, _) in enumerate(lines, start=1):
        for template in (first, second):
            if template not in media:
                raise ProtocolError(f"{compared}:{number}: template {template} has no picture in {listed}")
    kept = _kept(lines, non_mated, seed)
    if len(kept) * len(conditions) > limit:
        raise ProtocolError(
            f"{compared}: {len(kept) * len(conditions):,} comparisons, more than a table is made for (--limit "
            f"{limit:,}); keep a part with --non-mated N"
        )
    subjects = _subjects(compared, lines, media)
    used = sorted({template for pair in kept for template in pair[:2]})
    owner = {path: (subjects[t], medium) for t in used for path, medium in media[t].items()}
    samples = [sample_at(Path(faces), path, who, {"medium": medium}) for path, (who, medium) in sorted(owner.items())]
    counts = {True: 0, False: 0}
    comparisons = []
    for first, second, mated in kept:
        counts[mated] += 1
        comparisons.append((0, counts[mated], mated, f"t{first}", f"t{second}"))
    note = f"subjects follow from the mated templates: {len({subjects[t] for t in used})}, an upper bound on the people"
    return Draft(
        samples, pair_table(comparisons, conditions), str(len(kept)) if len(kept) < len(lines) else "", (note,),
        templates={f"t{t}": tuple(media[t]) for t in used},
    )  # fmt: skip


def _find(faces: Path, pattern: str) -> Path:
    folders = (faces, faces / "meta", faces.parent, faces.parent / "meta")
    found = [path for folder in folders for path in sorted(folder.glob(pattern))]
    if not found:
        raise ProtocolError(f"{faces}: no {pattern} in it, beside it or in meta; give the list by its option")
    return found[0]


def _rows(path: Path, wanted: str, pattern: str) -> list[list[str]]:
    lines = read_text(path, ProtocolError).rstrip().split("\n")
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch(pattern, line.strip()):
            raise ProtocolError(f"{path}:{number}: expected {wanted!r}, found {line.strip()[:60]!r}")
    return [line.split() for line in lines]


def _read_templates(path: Path) -> Media:
    media: Media = {}
    for number, (picture, template, medium) in enumerate(
        _rows(path, "picture template medium", r"\S+\s+\d+\s+-?\d+"), start=1
    ):
        if picture in media.setdefault(template, {}):
            raise ProtocolError(f"{path}:{number}: {picture} is in template {template} twice")
        media[template][picture] = medium
    return media


def _read_pairs(path: Path) -> list[TemplatePair]:
    rows = _rows(path, "template template 1 or 0", r"\d+\s+\d+\s+[01]")
    for number, (first, second, _) in enumerate(rows, start=1):
        if first == second:
            raise ProtocolError(f"{path}:{number}: template {first} is compared with itself")
    return [(first, second, label == "1") for first, second, label in rows]


def _kept(lines: Sequence[TemplatePair], non_mated: int, seed: int) -> list[TemplatePair]:
    other = [index for index, line in enumerate(lines) if not line[2]]
    if not non_mated or len(other) <= non_mated:
        return list(lines)
    drawn = generator(seed, "non-mated").choice(len(other), non_mated, replace=False)
    chosen = {other[index] for index in drawn.tolist()}
    return [line for index, line in enumerate(lines) if line[2] or index in chosen]


def _subjects(path: Path, lines: Sequence[TemplatePair], media: Media) -> dict[str, str]:
    first_with: dict[str, str] = {}
    shared = [(first_with.setdefault(picture, t), t, True) for t, pictures in media.items() for picture in pictures]
    subjects = chains([*lines, *shared])
    if (bad := contradiction(lines, subjects)) is not None:
        first, second, mated = lines[bad]
        says = "mated" if mated else "non-mated"
        raise ProtocolError(f"{path}:{bad + 1}: templates {first} and {second} are {says}, other lines say otherwise")
    return subjects
