"""AR-style sets: sunglasses (AR1) and a scarf (AR2) on probes, one clean reference for each subject.

The real AR database has them already: its pictures are only sorted into lists. Other labelled faces get them pasted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from maskbench.datasets import ar
from maskbench.datasets.ar_lists import (
    OTHERS,
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
from maskbench.datasets.ar_real import sort_real
from maskbench.datasets.ar_reference import check_rule, choose_references
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
)
from maskbench.datasets.folder import InputFile, walk
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import inside, write_bytes
from maskbench.images import read_bytes
from maskbench.masking.engine import Summary
from maskbench.types import Protocol, Sample

CLEAN_COPIES = "references"


def build_ar(source: Path, out: Path, options: Options, reference: str = "first", others: int = OTHERS) -> Built:
    """Build an AR-style set from any labelled faces, or sort the real AR database, which its file names give away.

    Args:
        source: folder of ``SUBJECT/ANYTHING.jpg``, at any depth; or of the AR database (m-001-01.bmp).
        out: gets ``references.csv``, ``probes.csv`` and ``protocols/``; for pasted sets also ``ar1/``, ``ar2/`` (masked
            probes with a manifest) and copies of the references in ``references/``.
        options: ``recipe`` must be "", since the two sets have recipes of their own.
        reference: "first" or "frontal", see ``choose_references``; the AR database has a reference by its own codes.
        others: how many other subjects' references a probe meets in the protocols, at most.

    Raises:
        MaskbenchError: no subject has two pictures, AR pictures lie among others, or as ``building`` and ``mask_all``.
    """
    if options.recipe:
        raise MaskbenchError("the sets AR1 and AR2 have recipes of their own (ar1, ar2); leave the recipe out")
    check_rule(reference)
    files = walk(source)
    pictures = ar.recognise(source, files)
    if pictures:
        return sort_real(source, out, pictures, options.seed, others)
    return _paste(source, out, _by_subject(source, files), options, reference, others)


def _by_subject(source: Path, files: Sequence[InputFile]) -> dict[str, list[str]]:
    subjects: dict[str, list[str]] = {}
    for file in files:
        if file.is_image:
            subjects.setdefault(str(PurePosixPath(file.path).parent), []).append(file.path)
    if not any(len(paths) > 1 for subject, paths in subjects.items() if subject != "."):
        raise MaskbenchError(
            f"{source}: no subject has two pictures, one for reference and one to mask; give one folder per subject"
        )
    return subjects


@dataclass(frozen=True)
class _Roles:
    """Who is what: each subject's reference with the rule that chose it, and the subject of each probe."""

    references: dict[str, tuple[str, str]]
    probes: dict[str, str]
    samples: dict[str, Sample]

    @property
    def gallery(self) -> dict[str, Sample]:
        return {subject: self.samples[path] for subject, (path, _) in self.references.items()}


def _paste(
    source: Path, out: Path, subjects: dict[str, list[str]], options: Options, rule: str, others: int
) -> Built:  # fmt: skip
    stray = len(subjects.pop(".", []))
    maskings = {name: masking_of(name.lower(), options.seed) for name in SETS}
    settings = {"pictures": "pasted", "reference": rule, "others": others, "landmarks": options.landmarks} | maskings
    with building(source, out, "ar", settings) as record:
        roles = _cast(source, subjects, choose_references(source, subjects, rule, options.workers, options.cache))
        probes = sorted(roles.probes)
        runs = {name: mask_all(source, out / name.lower(), options, name.lower(), "largest", probes) for name in SETS}
        _copy_references(source, out / CLEAN_COPIES, [path for path, _ in roles.references.values()])
        write_lists(out, *_identification(roles, runs))
        made = {name: _verification(name, roles, maskings[name], others) for name in SETS}
        written = [REFERENCES, PROBES, *write_protocols(out, made), *(f"{n.lower()}/manifest.csv" for n in SETS)]
        counts = {
            "subjects": len(subjects), "references": len(roles.references), "probes": len(probes),
            "pictures_without_subject": stray,
        }  # fmt: skip
        counts |= {f"{name.lower()}_{status}": number for name in SETS for status, number in runs[name].counts.items()}
        complete(out, record, counts, written)
    return Built(counts, _report(source, out, roles, runs, counts), fault_of(source, *runs.values()))


def _cast(source: Path, subjects: Mapping[str, Sequence[str]], chosen: dict[str, tuple[str, str]]) -> _Roles:
    kept = {path for path, _ in chosen.values()}
    probes = {path: subject for subject in chosen for path in subjects[subject] if path not in kept}
    samples = {}
    for subject in chosen:
        for path in subjects[subject]:
            try:
                samples[path] = sample_of(path, subject, file_sha256(inside(source, path)))
            except OSError:
                pass  # no bytes, no sample; the manifest says why
    return _Roles(chosen, probes, samples)


def _copy_references(source: Path, folder: Path, paths: Sequence[str]) -> None:
    """The references byte for byte, under their own paths; a copy that is there already is left alone."""
    for path in sorted(paths):
        data, target = read_bytes(inside(source, path)), inside(folder, path)
        if not target.is_file() or target.read_bytes() != data:
            write_bytes(target, data)


def _identification(roles: _Roles, runs: Mapping[str, Summary]) -> tuple[list[Reference], list[Probe]]:
    return (
        [Reference(roles.samples[path], how) for path, how in roles.references.values()],
        [
            Probe(name, sample_of(row.source, roles.probes[row.source], row.output_sha256), row.reason)
            for name in SETS
            for row in manifest_rows(runs[name])
        ],
    )


def _verification(name: str, roles: _Roles, masking: Mapping[str, Any], others: int) -> Protocol:
    bare = [roles.samples[path] for path in sorted(roles.probes) if path in roles.samples]
    seed = masking["seed"]
    return make_protocol(
        f"{name.lower()}-style", roles.gallery, bare, bare, seed, others, f"maskbench, seed {seed}",
        f"AR-style: clean references; probes with a pasted mask of the recipe {name.lower()} (UMR-MP), and the same "
        "without (UMR-UMP).", masking,
    )  # fmt: skip


def _report(
    source: Path, out: Path, roles: _Roles, runs: Mapping[str, Summary], counts: Mapping[str, int]
) -> list[str]:
    rules = Counter(how for _, how in roles.references.values())
    unread, stray = counts["subjects"] - counts["references"], counts["pictures_without_subject"]
    return [
        f"{counts['subjects']} subjects: {counts['references']} references "
        f"({', '.join(f'{number} {how}' for how, number in sorted(rules.items()))}), {counts['probes']} probes a set",
        *(line for name in SETS for line in describe(f"{name} ({WORN[name]})", runs[name])),
        *[f"{unread} subjects have no picture that can be read and were left out"] * (unread > 0),
        *[f"{stray} pictures lie in no subject's folder and were left out"] * (stray > 0),
        f"written: {out / REFERENCES}, {out / PROBES}",
        *(
            f"next: maskbench evaluate --protocol {out / 'protocols' / name.lower()} --faces {source} "
            f"--masked {out / name.lower()} --model MODEL --out RESULTS"
            for name in SETS
        ),
    ]
