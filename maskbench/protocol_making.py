"""From a template and a user's pictures to a protocol: which maker, with which options, and what to tell the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench import files
from maskbench.errors import ProtocolError
from maskbench.metrics.conditions import LABELS, condition_labels
from maskbench.protocol_build import build_protocol, condition_names, protocol_counts
from maskbench.protocol_draft import SIDES, Draft
from maskbench.protocol_template import Template, load_template
from maskbench.registry import nearest
from maskbench.types import Protocol

FACES, TABLES = "faces", "protocol"  # below OUT, where a maker brings the pictures itself


@dataclass(frozen=True)
class Option:
    """An option of a maker. ``kind`` is int, str or Path; ``least`` is the smallest number allowed."""

    name: str
    kind: type
    help: str
    default: Any = None
    least: int = 0


@dataclass(frozen=True)
class Maker:
    """A function from pictures, a template and options to tables; ``faces`` says what its first argument is."""

    make: Callable[[Path, Template, Mapping[str, Any]], Draft]
    options: tuple[Option, ...]
    faces: str


@dataclass(frozen=True)
class Made:
    """A protocol, the pictures that have to be written with it, lines for the user, and the folder below the given one
    that its paths are relative to ("" for the given one)."""

    protocol: Protocol
    pictures: Mapping[str, bytes]
    lines: tuple[str, ...]
    below: str = ""


def make_protocol(
    name: str | Path, faces: Path, variant: str | None = None, options: Mapping[str, Any] | None = None
) -> Made:
    """Make the protocol of a template from the pictures at hand. Nothing is written.

    Args:
        name: a shipped template, or the path of one.
        faces: what the template's maker reads: a folder of pictures, or a packed file.
        variant: one of the template's variants; needed if it has any.
        options: those of the maker, by name with underscores; None values mean the default.

    Raises:
        ProtocolError: an unknown template, variant or option, or whatever the maker finds wrong with the pictures.
    """
    template = load_template(name).variant(variant)
    maker = maker_of(template)
    known = {option.name: option for option in maker.options}
    chosen = {option.name: template.options.get(option.name, option.default) for option in maker.options}
    for key, value in (options or {}).items():
        if key not in known:
            raise ProtocolError(f"{template.name}: no option {key!r}; {nearest(key, known)}")
        if value is not None:
            chosen[key] = value
    draft = maker.make(Path(faces), template, chosen)
    return _sealed(template, draft)


def maker_of(template: Template) -> Maker:
    """The maker that a template names. Raises ProtocolError for an unknown one."""
    if template.maker not in MAKERS:
        raise ProtocolError(f"{template.name}: no maker {template.maker!r}; {nearest(template.maker, MAKERS)}")
    return MAKERS[template.maker]


def write_pictures(made: Made, out: Path) -> None:
    """Write the pictures that a maker brought to ``OUT/faces``. Raises MaskbenchError when they cannot be written."""
    for path, data in made.pictures.items():
        files.write_bytes(files.inside(out / FACES, path), data)


def _sealed(template: Template, draft: Draft) -> Made:
    made = condition_names(draft.pairs)
    threshold, notes = _threshold_from(template.threshold_from, draft), list(draft.notes)
    if threshold != template.threshold_from:
        notes.append(f"{template.threshold_from} lacks comparisons of a kind: thresholds come from {threshold}")
    masking = template.masking if any("masked" in SIDES[label] for label in made) else None
    protocol = build_protocol(
        f"{template.name}-{draft.suffix}" if draft.suffix else template.name, template.version, draft.samples,
        draft.pairs, threshold, description=template.description, licence=template.licence, source=template.source,
        masking=masking, templates=draft.templates,
    )  # fmt: skip
    if not draft.suffix:
        notes += _against(template, protocol_counts(protocol))
    return Made(protocol, draft.pictures, tuple(notes), draft.below)


def _threshold_from(wanted: str, draft: Draft) -> str:
    """The wanted condition, or the first with mated and non-mated comparisons, or the first of all."""
    labels = condition_labels(draft.pairs)
    kinds = {label: set(draft.pairs.mated[labels == label].tolist()) for label in LABELS}
    usable = [label for label in (wanted, *LABELS) if len(kinds[label]) == 2]
    return next(iter([*usable, *(label for label in (wanted, *LABELS) if kinds[label])]))


def _against(template: Template, counts: Mapping[str, int]) -> list[str]:
    """How the counts compare with those that the source states."""
    if not template.counts_expected:
        return []
    off = [f"{key} {counts[key]:,} instead of {value:,}" for key, value in template.counts_expected.items()
           if counts[key] != value]  # fmt: skip
    return [f"not the counts of the source: {', '.join(off)}" if off else "counts are those of the source"]


# ---------------------------------------------------------------- the makers


def _lfw(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_makers import lfw_draft

    return lfw_draft(faces, template.conditions, options["pairs"], options["pairs_per_fold"])


def _folders(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_drawn import folders_draft

    return folders_draft(faces, template.conditions, options["pairs"], options["seed"])


def _two_folders(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_drawn import two_folders_draft

    return two_folders_draft(faces, template.conditions, options["bare"], options["masked"], options["pairs"],
                             options["seed"])  # fmt: skip


def _celeba(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_drawn import celeba_draft

    return celeba_draft(faces, template.conditions, options["pairs"], options["seed"], options["subset"])


def _crossed(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_crossed import crossed_draft, first_against_rest

    cast = first_against_rest(faces, options["references"])
    return crossed_draft(faces, cast, template.conditions, options["others"], options["seed"], options["limit"])


def _roles(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_crossed import ROLES, crossed_draft, role_folders, role_manifest

    if options["manifest"] is not None:
        cast = role_manifest(options["manifest"])
    else:
        folders = {role: options[role.replace("-", "_")] for role in ROLES}
        cast = role_folders(faces, {role: folder for role, folder in folders.items() if folder})
    return crossed_draft(faces, cast, template.conditions, options["others"], options["seed"], options["limit"])


def _ar(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_crossed import ar_draft

    return ar_draft(faces, options["set"])


def _csv(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_lists import listed_draft, read_custom

    if options["pairs"] is None:
        raise ProtocolError(f"{template.name}: give the list of comparisons with --pairs FILE.csv")
    return listed_draft(faces, options["pairs"], read_custom(options["pairs"]), template.conditions)


def _labelled(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_lists import listed_draft, read_labelled

    path = options["pairs"] or next((p for p in (faces / "pairs.txt", faces.parent / "pairs.txt") if p.is_file()), None)
    if path is None:
        raise ProtocolError(f"{faces}: no pairs.txt in it or beside it; give it with --pairs FILE")
    return listed_draft(faces, path, read_labelled(path), template.conditions, keep_repeats=True)


def _mfr2(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_lists import mfr2_draft

    return mfr2_draft(faces)


def _ijb(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_ijb import ijb_draft

    return ijb_draft(faces, template.conditions, options["templates"], options["pairs"], options["non_mated"],
                     options["seed"], options["limit"])  # fmt: skip


def _bin(faces: Path, template: Template, options: Mapping[str, Any]) -> Draft:
    from maskbench.protocol_bin import bin_draft

    return bin_draft(faces, template.conditions)


_SEED = Option("seed", int, "Another seed draws other pairs.", 0)
_PAIRS = Option("pairs", int, "Pairs to draw for each condition, half of them mated.", 6000, 2)
_OTHERS = Option("others", int, "References of other subjects that a probe meets, at most; 0 for all.", 0)
_LIMIT = Option("limit", int, "The largest table of comparisons to write.", 1_000_000, 1)
_SUBJECTS = "a folder with one folder per subject"
MAKERS: dict[str, Maker] = {
    "lfw": Maker(_lfw, (
        Option("pairs", Path, "LFW's pairs.txt; looked for near FACES when not given."),
        Option("pairs_per_fold", int, "Only the first N mated, N non-mated pairs of each fold.", None, 1),
    ), "a folder of Name/Name_0001.jpg"),
    "folders": Maker(_folders, (_PAIRS, _SEED), _SUBJECTS),
    "two-folders": Maker(_two_folders, (
        Option("bare", str, "The folder of bare pictures below FACES."),
        Option("masked", str, "The folder of masked pictures below FACES."), _PAIRS, _SEED,
    ), "a folder with a tree of bare and one of masked pictures, each with one folder per subject"),
    "celeba": Maker(_celeba, (
        _PAIRS, _SEED, Option("subset", str, "Whose people: train or validation.", "validation"),
    ), "what 'maskbench dataset build celeba' made"),
    "crossed": Maker(_crossed, (
        Option("references", int, "Pictures of each subject, the first by name, that are references.", 1, 1),
        _OTHERS, _SEED, _LIMIT,
    ), _SUBJECTS),
    "roles": Maker(_roles, (
        Option("manifest", Path, "A CSV of role,subject_id,path and attributes, instead of the folders below."),
        Option("reference", str, "The folder of unmasked references below FACES.", "reference"),
        Option("probe", str, "The folder of unmasked probes.", "probe"),
        Option("reference_masked", str, "The folder of masked references.", "reference-masked"),
        Option("probe_masked", str, "The folder of masked probes.", "probe-masked"), _OTHERS, _SEED, _LIMIT,
    ), "a folder with a folder for each role, which have one folder per subject"),
    "ar": Maker(_ar, (Option("set", str, "AR1 (sunglasses) or AR2 (a scarf).", "AR1"),), "the AR database"),
    "csv": Maker(_csv, (Option("pairs", Path, "The CSV of comparisons."),), "the folder that the list's paths are in"),
    "labelled": Maker(_labelled, (
        Option("pairs", Path, "The list; looked for as pairs.txt in FACES and beside it when not given."),
    ), "the folder of the pictures that the list names"),
    "mfr2": Maker(_mfr2, (), "MFR2 as it is unpacked"),
    "ijb": Maker(_ijb, (
        Option("templates", Path, "The list of picture, template, medium; looked for as *face_tid_mid.txt."),
        Option("pairs", Path, "The list of template, template, 1 or 0; looked for as *template_pair_label.txt."),
        Option("non_mated", int, "Non-mated pairs to keep, drawn at random; 0 for all.", 0), _SEED, _LIMIT,
    ), "the folder of the pictures"),
    "bin": Maker(_bin, (), "a packed .bin file of insightface"),
}  # fmt: skip
