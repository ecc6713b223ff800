"""Protocols in which every probe meets every reference, or its own and a drawn number of other people's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskbench.datasets import ar
from maskbench.datasets.ar_lists import make_protocol, sample_of
from maskbench.datasets.folder import walk
from maskbench.digest import file_sha256, generator
from maskbench.errors import ProtocolError
from maskbench.protocol_draft import SIDES, Draft, sample_at
from maskbench.protocol_drawn import subject_folders
from maskbench.registry import nearest
from maskbench.tables import read_columns
from maskbench.types import PairTable

LIMIT = 1_000_000  # comparisons in a table: some 80 MB of CSV
ROLES = ("reference", "probe", "reference-masked", "probe-masked")
MANIFEST_COLUMNS = ("role", "subject_id", "path")

Pictures = Mapping[str, Sequence[str]]  # of one role, by subject


@dataclass(frozen=True)
class Cast:
    """Who stands on which side: a role to the pictures of its subjects, and what is known of a picture."""

    roles: Mapping[str, Pictures]
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def side(self, side: str, condition: str) -> Pictures:
        """The pictures of "reference" or "probe" that are "unmasked" or "masked"; none where there is no such role."""
        return self.roles.get(f"{side}-masked" if condition == "masked" else side, {})


# ---------------------------------------------------------------- who stands where


def first_against_rest(faces: Path, references: int = 1) -> Cast:
    """Of one folder per subject the first ``references`` pictures by name are references and the others probes; the
    same pictures are masked for the masked conditions.

    Raises:
        ProtocolError: nobody has more than ``references`` pictures.
    """
    subjects = {name: sorted(paths) for name, paths in subject_folders(faces).items()}
    stored = {name: paths[:references] for name, paths in subjects.items()}
    shown = {name: paths[references:] for name, paths in subjects.items() if len(paths) > references}
    if not shown or len(stored) < 2:
        raise ProtocolError(
            f"{faces}: {len(stored)} subject folders, {len(shown)} of them with more than {references} pictures; give "
            "a folder with one folder per subject, and several pictures in some"
        )
    return Cast({"reference": stored, "probe": shown, "reference-masked": stored, "probe-masked": shown})


def role_folders(faces: Path, folders: Mapping[str, str]) -> Cast:
    """A tree of subject folders for every role, such as ``FACES/probe-masked/SUBJECT/1.jpg``. Roles whose folder is
    missing are left out.

    Args:
        folders: a role to the name of its folder below ``faces``.

    Raises:
        ProtocolError: there are no references or no probes.
    """
    roles = {}
    for role, folder in folders.items():
        if (Path(faces) / folder).is_dir():
            found = subject_folders(Path(faces) / folder)
            roles[role] = {name: [f"{folder}/{path}" for path in paths] for name, paths in found.items()}
    return _whole(Cast(roles), f"{faces}: needs the folders {', '.join(folders.values())}, each with one per subject")


def role_manifest(path: Path) -> Cast:
    """The roles as a CSV file lists them: ``role,subject_id,path`` and any attributes.

    Raises:
        ProtocolError: "FILE:LINE: ..." for unknown or missing columns, an unknown role, an empty field, or a picture
            that is listed twice in a role or belongs to two subjects.
    """
    names, columns = read_columns(Path(path), ProtocolError)
    if tuple(names[:3]) != MANIFEST_COLUMNS or len(set(names)) < len(names) or not all(names):
        wanted = ",".join(MANIFEST_COLUMNS)
        raise ProtocolError(f"{path}:1: the columns must be {wanted} and attributes, found {','.join(names)}")
    roles: dict[str, dict[str, list[str]]] = {}
    owners: dict[str, str] = {}
    attributes: dict[str, dict[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    for line, (role, subject, picture, *others) in enumerate(zip(*columns, strict=True), start=2):
        if role not in ROLES:
            raise ProtocolError(f"{path}:{line}: role is {role!r}; {nearest(role, ROLES)}")
        if not subject or not picture:
            raise ProtocolError(f"{path}:{line}: subject_id or path is empty")
        if owners.setdefault(picture, subject) != subject:
            raise ProtocolError(f"{path}:{line}: {picture} is of {subject!r}, above it is of {owners[picture]!r}")
        if (role, picture) in seen:
            raise ProtocolError(f"{path}:{line}: {picture} is listed as {role} twice; remove one line")
        seen.add((role, picture))
        roles.setdefault(role, {}).setdefault(subject, []).append(picture)
        attributes[picture] = dict(zip(names[3:], others, strict=True))
    return _whole(Cast(roles, attributes), f"{path}:1: needs references and probes")


def _whole(cast: Cast, message: str) -> Cast:
    for side in ("reference", "probe"):
        if not any(cast.side(side, condition) for condition in ("unmasked", "masked")):
            raise ProtocolError(f"{message}; there are no {side}s")
    return cast


# ---------------------------------------------------------------- who meets whom


def crossed_draft(
    faces: Path, cast: Cast, conditions: Sequence[str], others: int = 0, seed: int = 0, limit: int = LIMIT
) -> Draft:
    """Every probe against every reference under each of the conditions for which there are both.

    Args:
        others: how many other subjects' references a probe meets; 0 for all of them. Which ones depends on ``seed``
            and the probe alone, so that every condition has the same where its references are of the same people.
        limit: the largest table that is written.

    Raises:
        ProtocolError: there are more comparisons than ``limit``, or no mated or no non-mated ones under any condition.
    """
    total = sum(_count(cast, label, others) for label in conditions)
    if total > limit:
        raise ProtocolError(
            f"{faces}: {total:,} comparisons, more than a table is made for (--limit {limit:,}); give --others N for a "
            "part of them, or compare all templates with 'maskbench allpairs', which needs no table"
        )
    owner = {path: name for role in cast.roles.values() for name, paths in role.items() for path in paths}
    paths = sorted(owner)
    place = {path: index for index, path in enumerate(paths)}
    met, notes = {}, []
    for label in conditions:
        pairs = np.fromiter(_meet(cast, label, others, seed, place), dtype=np.dtype((np.int64, 3)))
        if len(np.unique(pairs[:, 2])) == 2:
            met[label] = pairs
        else:
            notes.append(f"{label} is left out: there are no pictures, or no mated or no non-mated comparison for it")
    if not met:
        raise ProtocolError(f"{faces}: no condition of {', '.join(conditions)} has mated and non-mated comparisons")
    used = np.unique(np.concatenate([pairs[:, :2].ravel() for pairs in met.values()])).tolist()
    samples = [sample_at(faces, paths[i], owner[paths[i]], cast.attributes.get(paths[i])) for i in used]
    return Draft(samples, _table(met, np.array(paths)), notes=tuple(notes))


def _table(met: Mapping[str, np.ndarray], paths: np.ndarray) -> PairTable:
    """The comparisons of each condition, (N, 3) places of reference and probe and whether they are mated, as columns.
    A pair's id is its condition and its number there: paths in it would double the table."""
    whole = np.concatenate(list(met.values()))
    sides = [np.concatenate([np.full(len(pairs), SIDES[label][k]) for label, pairs in met.items()]) for k in (0, 1)]
    return PairTable(
        pair_id=np.array([f"{label}/{n:07d}" for label, pairs in met.items() for n in range(1, len(pairs) + 1)]),
        reference_id=paths[whole[:, 0]],
        probe_id=paths[whole[:, 1]],
        reference_condition=sides[0],
        probe_condition=sides[1],
        mated=whole[:, 2].astype(bool),
        fold=np.zeros(len(whole), np.int64),
    )


def _count(cast: Cast, label: str, others: int) -> int:
    """How many comparisons there will be, at most."""
    references, probes = (cast.side(*side) for side in zip(("reference", "probe"), SIDES[label], strict=True))
    stored = [len(paths) for paths in references.values()]
    if others and len(stored) > others + 1:
        stored = sorted(stored)[-(others + 1) :]
    return sum(stored) * sum(len(paths) for paths in probes.values())


def _meet(
    cast: Cast, label: str, others: int, seed: int, place: Mapping[str, int]
) -> Iterator[tuple[int, int, bool]]:
    """The comparisons of a condition in their order: places of reference and probe, and whether they are mated."""
    references, probes = (cast.side(*side) for side in zip(("reference", "probe"), SIDES[label], strict=True))
    references = {name: sorted(paths) for name, paths in references.items()}
    one_state = SIDES[label][0] == SIDES[label][1]
    for subject, paths in sorted(probes.items()):
        strangers = sorted(set(references) - {subject})
        for probe in sorted(paths):
            met = strangers
            if others and len(strangers) > others:
                rng = generator(seed, "met", probe)
                met = [strangers[index] for index in rng.choice(len(strangers), others, replace=False).tolist()]
            for other in sorted([*met, *([subject] if subject in references else [])]):
                for reference in references[other]:
                    if reference != probe or not one_state:
                        yield place[reference], place[probe], other == subject


# ---------------------------------------------------------------- the AR database


def ar_draft(faces: Path, part: str = ar.AR1) -> Draft:
    """The AR database: every probe meets the neutral reference of every subject, so that rank-1 is over all of them.
    Probes with sunglasses (AR1) or a scarf (AR2) are UMR-MP, clean ones UMR-UMP.

    Raises:
        ProtocolError: the pictures are not the AR database's, or it lacks pictures of a kind.
    """
    pictures = ar.recognise(Path(faces), walk(Path(faces)))
    chosen = ar.references(pictures) if pictures else {}
    if not chosen:
        raise ProtocolError(
            f"{faces}: not the AR database (no neutral m-001-01.bmp); for other faces 'maskbench dataset build ar' "
            "pastes such occlusions and writes the protocols"
        )
    kept = {picture.path for picture in chosen.values()}
    known = [picture for picture in pictures if picture.subject in chosen]
    samples = {p.path: sample_of(p.path, p.subject, file_sha256(Path(faces, p.path)), session=str(p.session),
                                 code=f"{p.code:02d}") for p in known}  # fmt: skip
    clean = [samples[p.path] for p in known if p.kind in (ar.REFERENCE, ar.CLEAN) and p.path not in kept]
    occluded = [samples[p.path] for p in known if p.kind == part]
    if not clean or not occluded:
        raise ProtocolError(f"{faces}: {len(clean)} clean probes and {len(occluded)} of {part}; both are needed")
    references = {subject: samples[picture.path] for subject, picture in chosen.items()}
    made = make_protocol("ar", references, clean, occluded, 0, len(references))
    return Draft(list(made.samples.values()), made.pairs)
