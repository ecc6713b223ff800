"""The real AR database sorted into lists and protocols. Nothing is pasted on it, copied or written beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskbench.datasets import ar
from maskbench.datasets.ar_lists import (
    PROBES,
    REFERENCES,
    SETS,
    WORN,
    Probe,
    Reference,
    make_protocol,
    sample_of,
    write_lists,
    write_protocols,
)
from maskbench.datasets.build import Built, building, complete, write_table
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import inside
from maskbench.types import Protocol, Sample

IMAGES = "images.csv"
SOURCE = "Martinez and Benavente, The AR Face Database, CVC Technical Report 24, 1998"


@dataclass(frozen=True)
class _Sorted:
    """The pictures of the subjects that have a reference, by what they are for."""

    references: dict[str, Sample]
    clean: list[Sample]
    occluded: dict[str, list[Sample]]


def sort_real(source: Path, out: Path, pictures: Sequence[ar.ArPicture], seed: int, others: int) -> Built:
    """Write ``images.csv`` (every picture with code, session and kind), the two identification lists and, for each set
    that has pictures, a protocol; all paths are below ``source``.

    Args:
        pictures: as ``ar.recognise`` gives them.
        seed, others: as for ``make_protocol``.

    Raises:
        MaskbenchError: no subject has a neutral picture, a picture cannot be read, or as ``building``.
    """
    chosen = ar.references(pictures)
    if not chosen:
        raise MaskbenchError(
            f"{source}: no neutral picture (code 01 or 14) among {len(pictures)}; give the whole database"
        )
    with building(source, out, "ar", {"pictures": "real", "seed": seed, "others": others}) as record:
        parts = _sort(source, pictures, chosen)
        rows = [(p.path, p.subject, f"{p.code:02d}", str(p.session), p.kind) for p in pictures]
        write_table(out / IMAGES, ("path", "subject", "code", "session", "kind"), sorted(rows))
        write_lists(
            out,
            [Reference(parts.references[subject], f"code {p.code:02d}") for subject, p in chosen.items()],
            [Probe(name, sample) for name in SETS for sample in parts.occluded[name]],
        )
        made = {name: _protocol(name, parts, seed, others) for name in SETS if parts.occluded[name] and parts.clean}
        written = [REFERENCES, PROBES, IMAGES, *write_protocols(out, made)]
        counts = {"pictures": len(pictures), "subjects": len({p.subject for p in pictures})}
        counts |= {"references": len(chosen), "clean_probes": len(parts.clean)}
        counts |= {f"{name.lower()}_probes": len(parts.occluded[name]) for name in SETS}
        complete(out, record, counts, written)
    return Built(counts, _report(source, out, counts, list(made)))


def _sort(source: Path, pictures: Sequence[ar.ArPicture], chosen: Mapping[str, ar.ArPicture]) -> _Sorted:
    used = [picture for picture in pictures if picture.subject in chosen]
    samples = {picture.path: _sample(source, picture) for picture in used}
    kept = {picture.path for picture in chosen.values()}
    return _Sorted(
        {subject: samples[picture.path] for subject, picture in chosen.items()},
        [samples[p.path] for p in used if p.kind in (ar.REFERENCE, ar.CLEAN) and p.path not in kept],
        {name: [samples[p.path] for p in used if p.kind == name] for name in SETS},
    )


def _sample(source: Path, picture: ar.ArPicture) -> Sample:
    path = inside(source, picture.path)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be read ({error.strerror}); check the path and its rights") from error
    return sample_of(picture.path, picture.subject, sha256, session=str(picture.session), code=f"{picture.code:02d}")


def _protocol(name: str, parts: _Sorted, seed: int, others: int) -> Protocol:
    return make_protocol(
        name.lower(), parts.references, parts.clean, parts.occluded[name], seed, others, SOURCE,
        f"The AR database: neutral references; probes with {WORN[name]} (UMR-MP) and without (UMR-UMP).",
    )  # fmt: skip


def _report(source: Path, out: Path, counts: Mapping[str, int], sets: Sequence[str]) -> list[str]:
    without = counts["subjects"] - counts["references"]
    return [
        f"the AR database, known by its file names: {counts['pictures']} pictures of {counts['subjects']} subjects; "
        "sorted into lists, nothing pasted",
        f"{counts['references']} references, {counts['clean_probes']} clean probes, {counts['ar1_probes']} with "
        f"sunglasses (AR1), {counts['ar2_probes']} with a scarf (AR2)",
        *[f"{without} subjects have no neutral picture (code 01 or 14) and are in {IMAGES} alone"] * (without > 0),
        f"written: {out / REFERENCES}, {out / PROBES}, {out / IMAGES}",
        *(
            f"next: maskbench evaluate --protocol {out / 'protocols' / name.lower()} --faces {source} "
            f"--masked {source} --model MODEL --out RESULTS"
            for name in sets
        ),
    ]
