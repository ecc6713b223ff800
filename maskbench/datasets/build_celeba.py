"""Masked CelebA for training: rough crops of 256x256, the same with masks, and how they are split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskbench.datasets import celeba
from maskbench.datasets.build import (
    Built,
    Options,
    building,
    complete,
    describe,
    fault_of,
    manifest_rows,
    mask_all,
    masking_of,
    write_table,
)
from maskbench.datasets.celeba import CELEBA256, CelebaSource
from maskbench.datasets.celeba_align import FORMATS, Job, align_all
from maskbench.datasets.celeba_table import NAME as ALIGNED_TABLE
from maskbench.datasets.celeba_table import AlignedRow
from maskbench.errors import MaskbenchError
from maskbench.masking.engine import Summary
from maskbench.registry import nearest

RECIPE = "deocclusion"
FACES, MASKED = "faces", "masked"

Listed = tuple[str, str, str]  # path, identity, subset


def build_celeba(source: Path, out: Path, options: Options, pictures: str = "auto", suffix: str = "jpg") -> Built:
    """Align CelebA, mask it and split it.

    Args:
        source: CelebA in its original layout, see ``open_celeba``.
        out: gets ``faces/IDENTITY/000001.jpg`` (crops), ``masked/`` (the same paths with masks, and a manifest),
            ``aligned.csv`` (a row for every input), ``split_random.csv``, ``split_identity.csv`` and, if CelebA's own
            partition is there, ``split_official.csv``; the splits list the pictures that have both.
        options: ``recipe`` "" for "deocclusion".
        pictures: "wild", "aligned" or "auto".
        suffix: format of the crops: "jpg" and "webp" at quality 95, or "png".

    Raises:
        MaskbenchError: as ``open_celeba``, ``identity_split``, ``building`` and ``mask_all``; or no picture is usable.
    """
    if suffix not in FORMATS:
        raise MaskbenchError(f'no picture format "{suffix}"; {nearest(suffix, FORMATS)}')
    recipe, found = options.recipe or RECIPE, celeba.open_celeba(source, pictures)
    splits = _split(found, options.seed)
    settings = {
        "masking": masking_of(recipe, options.seed), "landmarks": options.landmarks, "pictures": found.kind,
        "points": "list" if found.points is not None else "detector", "format": suffix, "template": CELEBA256.name,
    }  # fmt: skip
    with building(source, out, "celeba", settings) as record:
        rows = _align(found, out, options, suffix)
        if not any(row.status == "aligned" for row in rows):
            raise MaskbenchError(f"{found.pictures}: no picture could be aligned; {out / ALIGNED_TABLE} says why")
        run = mask_all(out / FACES, out / MASKED, options, recipe, "central")
        usable = _usable(rows, run)
        tables = {f"split_{name}.csv": _rows(usable, split) for name, split in splits.items()}
        _write_splits(out, tables)
        counts = _counts(found, rows, run, tables)
        complete(out, record, counts, [ALIGNED_TABLE, f"{MASKED}/manifest.csv", *tables])
    return Built(counts, _report(found, out, rows, run, tables), fault_of(source, run))


def _split(found: CelebaSource, seed: int) -> dict[str, dict[str, str]]:
    """Subset by stem for each split. Which pictures turn out to be unusable changes nobody else's subset."""
    splits = {
        "random": celeba.random_split(list(found.files), seed),
        "identity": celeba.identity_split({stem: found.identities[stem] for stem in found.files}, seed),
    }
    return splits | ({"official": found.partition} if found.partition is not None else {})


def _align(found: CelebaSource, out: Path, options: Options, suffix: str) -> list[AlignedRow]:
    jobs, others = [], dict(found.others)
    for stem, path in found.files.items():
        identity = found.identities[stem]
        points = None if found.points is None else found.points.get(stem)
        if found.points is not None and points is None:
            others[path] = "failed", f"not in {celeba.LANDMARKS[found.kind]}"
            continue
        values = tuple(points.ravel().tolist()) if points is not None else ()
        jobs.append(Job(path, f"{identity}/{stem}.{suffix}", identity, values))
    # The mesh, whatever finds the face to mask: a fixed template knows no place for points in these pictures.
    return align_all(found.pictures, out, FACES, jobs, others, "mediapipe", options.workers, options.cache)


def _usable(rows: Sequence[AlignedRow], run: Summary) -> dict[str, AlignedRow]:
    """The crops that have a masked copy, by their path."""
    masked = {row.source for row in manifest_rows(run) if row.status == "masked"}
    return {row.output: row for row in rows if row.output in masked}


def _rows(usable: Mapping[str, AlignedRow], split: Mapping[str, str]) -> list[Listed]:
    stems = {path: path.rpartition("/")[2].rpartition(".")[0] for path in usable}
    return [(path, usable[path].identity, split[stems[path]]) for path in sorted(usable) if stems[path] in split]


def _write_splits(out: Path, tables: Mapping[str, Sequence[Listed]]) -> None:
    """Write the splits; one of an earlier build that this one has no list for is removed."""
    for stale in set(out.glob("split_*.csv")) - {out / name for name in tables}:
        stale.unlink()
    for name, table in tables.items():
        write_table(out / name, ("path", "identity", "subset"), table)


def shared_identities(table: Sequence[Listed]) -> int:
    """How many people are in more than one subset of a split."""
    subsets: dict[str, set[str]] = {}
    for _, identity, subset in table:
        subsets.setdefault(identity, set()).add(subset)
    return sum(len(each) > 1 for each in subsets.values())


def _counts(
    found: CelebaSource, rows: Sequence[AlignedRow], run: Summary, tables: Mapping[str, Sequence[Listed]]
) -> dict[str, int]:
    status = Counter(row.status for row in rows)
    counts = {"listed": len(found.identities), "missing": len(found.missing), "inputs": len(rows)}
    counts |= {name: status[name] for name in ("aligned", "failed", "skipped")}
    counts |= {f"masked_{name}": number for name, number in run.counts.items()}
    for name, table in tables.items():
        short = name.removesuffix(".csv")
        subsets = Counter(subset for _, _, subset in table)
        counts |= {f"{short}_{subset}": subsets[subset] for subset in celeba.SUBSETS if subsets[subset]}
        counts[f"{short}_shared_identities"] = shared_identities(table)
    return counts


def _report(
    found: CelebaSource, out: Path, rows: Sequence[AlignedRow], run: Summary, tables: Mapping[str, Sequence[Listed]]
) -> list[str]:
    status = Counter(row.status for row in rows)
    by = Counter(row.landmarks for row in rows if row.status == "aligned")
    reasons = Counter(f"{row.status}: {row.reason}" for row in rows if row.status != "aligned")
    lines = [
        f"{found.pictures} ({found.kind}): {len(rows):,} files = {status['aligned']:,} aligned + {status['failed']:,} "
        f"failed + {status['skipped']:,} skipped",
        f"{celeba.IDENTITIES}: {len(found.identities):,} pictures, {len(found.missing):,} of them missing",
        f"  landmarks: {', '.join(f'{number:,} by {name}' for name, number in sorted(by.items()))}",
        *(f"  {reason}: {number}" for reason, number in reasons.most_common(5)),
        *describe("masked", run),
    ]
    for name, table in tables.items():
        subsets = Counter(subset for _, _, subset in table)
        parts = ", ".join(f"{subsets[subset]:,} {subset}" for subset in celeba.SUBSETS if subsets[subset])
        lines.append(f"{out / name}: {parts}; {shared_identities(table):,} people in more than one")
    return lines
