"""Which group each comparison of a stored result belongs to, and the table of their error rates.

What a mask is and where it sits, the manifest of the masked set knows; who is on a picture, the protocol's attribute
columns; how blurred it is, only the picture itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbench import manifest
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import ImageError, MaskbenchError, ResultError
from maskbench.files import inside
from maskbench.metrics.breakdowns import GroupRates, break_down
from maskbench.metrics.conditions import LABELS, condition_labels
from maskbench.progress import track
from maskbench.registry import nearest
from maskbench.results import Run, value_at
from maskbench.types import ManifestRow, Placement, Protocol, Status

COLUMNS = (
    "protocol", "recognizer", "condition", "by", "group", "rule", "threshold",
    "mated", "mated_completed", "false_non_matches", "fnmr", "fnmr_low", "fnmr_high", "fnmr_flag",
    "fnmr_including_failures",
    "non_mated", "non_mated_completed", "false_matches", "fmr", "fmr_low", "fmr_high", "fmr_flag",
)  # fmt: skip
OF_MASK = ("mask", "category", "kind", "colour", "style", "covered_fraction")  # known of masked probes only
OF_POSE = ("yaw", "inter_ocular")
OF_PICTURE = ("blur",)
# Bands by their lower ends; what lies below the first is in it too.
BANDS: dict[str, tuple[float, ...]] = {
    "covered_fraction": tuple(k / 20 for k in range(20)),
    "yaw": (0, 15, 30, 45),
    "inter_ocular": (0, 20, 40, 60, 90),
    "blur": (0, 0.5, 1.0, 1.5),
}
OWN, TRANSFERRED = "own FMR <= 1 %", "FMR <= 1 % of {source}"

Labels = Mapping[str, str]  # sample id -> group


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    protocol: str
    recognizer: str
    condition: str
    by: str
    rule: str
    threshold: float
    rates: GroupRates

    def values(self) -> tuple[str | int | float | None, ...]:
        """In the order of ``COLUMNS``."""
        rates = self.rates
        fnmr, fmr = (interval or (None, None) for interval in (rates.fnmr_interval, rates.fmr_interval))
        return (
            self.protocol, self.recognizer, self.condition, self.by, rates.group, self.rule, self.threshold,
            rates.mated, rates.mated_completed, rates.false_non_matches, rates.fnmr, *fnmr, rates.fnmr_flag,
            rates.fnmr_including_failures,
            rates.non_mated, rates.non_mated_completed, rates.false_matches, rates.fmr, *fmr, rates.fmr_flag,
        )  # fmt: skip


def band(value: float, ends: Sequence[float], unit: str = "") -> str:
    """The name of the band that a value lies in, such as "15-30" or "45+"; "" for NaN.

    Names sort as the values do: lower ends are padded with zeros to one width.
    """
    if math.isnan(value):
        return ""
    place = max(0, int(np.searchsorted(ends, value + 1e-9, "right")) - 1)
    whole = all(float(end).is_integer() for end in ends)
    width = len(f"{max(ends):.0f}") if whole else 4
    low, *high = (f"{end:0{width}.0f}" if whole else f"{end:.2f}" for end in ends[place : place + 2])
    return f"{low}-{high[0]}{unit}" if high else f"{low}+{unit}"


def yaw_of(control: np.ndarray) -> float:
    """The size of a face's yaw in degrees, from its (K, 3) control points in pixels."""
    from maskbench.masking.space import face_axes

    away = face_axes(np.asarray(control, np.float64))[2]
    return abs(math.degrees(math.atan2(away[0], away[2])))


def available(protocol: Protocol) -> list[str]:
    """What comparisons of a protocol can be grouped by: of mask, pose and picture, and its attributes."""
    attributes = sorted({name for sample in protocol.samples.values() for name in sample.attributes})
    return [*OF_MASK, *OF_POSE, *OF_PICTURE, *attributes]


def breakdown_rows(
    runs: Iterable[Run], protocol: Protocol, masked_dir: Path | None = None, faces_dir: Path | None = None,
    by: Sequence[str] = (), masks_dirs: Sequence[Path] = (),
) -> list[Row]:  # fmt: skip
    """The table of every run, each group at the condition's own threshold of FMR <= 1 % (strict) and at the one
    transferred from the protocol's ``threshold_from``.

    Masks, poses and attributes are the probe's. A non-mated comparison belongs to a group of people only if both of its
    sides do; the others stand under "between groups".

    Args:
        masked_dir: the masked set of the runs, for what its manifest knows.
        faces_dir: the unmasked pictures, for what only the pictures know ("blur").
        by: names among ``available``; all that the given folders allow when empty.

    Raises:
        MaskbenchError: an unknown name, or one that needs a folder which was not given.
        ResultError: a run belongs to another protocol or masked set, or its scores lack comparisons.
    """
    runs = list(runs)
    for run in runs:
        _check(run, protocol, masked_dir)
    names = list(by) or _possible(protocol, masked_dir, faces_dir)
    labels = sample_labels(protocol, names, masked_dir, faces_dir, masks_dirs)
    conditions = condition_labels(protocol.pairs)
    return [
        row for run in runs for condition in LABELS for name in names
        if not (name in OF_MASK and not condition.endswith("-MP"))
        for row in _rows(run, protocol, conditions == condition, condition, name, labels[name])
    ]  # fmt: skip


def _check(run: Run, protocol: Protocol, masked_dir: Path | None) -> None:
    name = run.result.recognizer.get("name")
    if run.scores.protocol_digest != protocol.digest or len(run.scores.scores) != len(protocol.pairs):
        raise ResultError(f'{name}: is a result of another protocol than "{protocol.name}"; give the one it was run on')
    expected = run.result.digests.get("manifest", "")
    if masked_dir is not None and expected != file_sha256(_manifest(masked_dir)):
        raise ResultError(f"{masked_dir}: is not the masked set that {name} was run on; give that one (--masked)")


def _manifest(masked_dir: Path) -> Path:
    path = Path(masked_dir) / manifest.NAME
    if not path.is_file():
        raise MaskbenchError(f"{path}: no such file; give a folder that maskbench synthesize wrote")
    return path


def _possible(protocol: Protocol, masked_dir: Path | None, faces_dir: Path | None) -> list[str]:
    """What the folders at hand allow."""
    without = set() if masked_dir and not protocol.templates else {*OF_MASK, *OF_POSE, *OF_PICTURE}
    without |= set() if faces_dir else set(OF_PICTURE)
    return [name for name in available(protocol) if name not in without]


def sample_labels(
    protocol: Protocol, names: Sequence[str], masked_dir: Path | None, faces_dir: Path | None,
    masks_dirs: Sequence[Path] = (),
) -> dict[str, Labels]:  # fmt: skip
    """For each name the group of every sample; samples that nothing is known of are left out.

    Raises:
        MaskbenchError: as ``breakdown_rows``.
    """
    known = available(protocol)
    for name in names:
        if name not in known:
            raise MaskbenchError(f'nothing named "{name}" to break down by; {nearest(name, known)}')
        if name in (*OF_MASK, *OF_POSE, *OF_PICTURE) and protocol.templates:
            raise MaskbenchError(f'"{name}" is of one picture; {protocol.name} compares templates of several')
        if name in (*OF_MASK, *OF_POSE, *OF_PICTURE) and masked_dir is None:
            raise MaskbenchError(f'"{name}" is read from the manifest of the masked set; give it (--masked)')
        if name in OF_PICTURE and faces_dir is not None and not Path(faces_dir).is_dir():
            raise MaskbenchError(f"{faces_dir}: no such folder; give the folder of the unmasked pictures")
        if name in OF_PICTURE and faces_dir is None:
            raise MaskbenchError(f'"{name}" is measured on the pictures; give their folder (--faces)')
    found: dict[str, Labels] = {}
    for name in names:
        if name not in (*OF_MASK, *OF_POSE, *OF_PICTURE):
            found[name] = _attribute(protocol, name)
    if set(names) - set(found):
        assert masked_dir is not None
        paths = {sample.path: key for key, sample in protocol.samples.items()}
        rows = {paths[row.source]: row for row in manifest.iterate(_manifest(masked_dir)) if row.source in paths}
        found |= _manifest_labels([name for name in names if name not in found], rows, faces_dir, masks_dirs)
    return found


def _attribute(protocol: Protocol, name: str) -> dict[str, str]:
    """An attribute of every sample, and of every template whose samples agree."""
    found = {key: sample.attributes.get(name, "") for key, sample in protocol.samples.items()}
    for template_id, samples in protocol.templates.items():
        values = {found[key] for key in samples}
        found[template_id] = values.pop() if len(values) == 1 else ""
    return found


def _manifest_labels(
    names: Sequence[str], rows: Mapping[str, ManifestRow], faces_dir: Path | None, masks_dirs: Sequence[Path]
) -> dict[str, Labels]:
    from maskbench.masking.assets import select_assets
    from maskbench.masking.placement import from_json

    assets = {asset.asset_id: asset for asset in select_assets("all", *masks_dirs)}
    read = _readers(assets, faces_dir)
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, row in track(rows.items(), len(rows), "reading the manifest"):
        if row.status != "masked":
            continue
        worn = [placement for placement in from_json(row.placement) if placement.parameters.get("face", 0) == 0]
        for name in names:
            found[name][key] = read[name](row, worn)
    return dict(found)


def _readers(assets: Mapping, faces_dir: Path | None) -> dict[str, Callable[[ManifestRow, list[Placement]], str]]:
    """For each name, from a manifest row and what its first face wears to the group."""
    from maskbench.masking.space import scale_of

    def of_assets(field: str) -> Callable[[ManifestRow, list[Placement]], str]:
        def read(row: ManifestRow, worn: list[Placement]) -> str:
            found = (getattr(assets.get(placement.asset_id), field, "unknown") for placement in worn)
            return "+".join(dict.fromkeys(found))

        return read

    return {
        "mask": lambda row, worn: "+".join(placement.asset_id for placement in worn),
        "category": of_assets("category"),
        "kind": of_assets("kind"),
        "colour": lambda row, worn: "+".join(placement.colour for placement in worn),
        "style": lambda row, worn: "+".join(dict.fromkeys(placement.style for placement in worn)),
        "covered_fraction": lambda row, worn: band(row.covered_fraction, BANDS["covered_fraction"]),
        "yaw": lambda row, worn: band(yaw_of(worn[0].control_points), BANDS["yaw"], " degrees"),
        "inter_ocular": lambda row, worn: band(
            scale_of(worn[0].control_points.astype(np.float64)), BANDS["inter_ocular"], " pixels"
        ),
        "blur": lambda row, worn: band(_blur(faces_dir, row, worn[0]), BANDS["blur"], " pixels"),
    }


def _blur(faces_dir: Path | None, row: ManifestRow, placement: Placement) -> float:
    """The blur of a face in its unmasked picture; NaN where that cannot be read.

    Raises:
        MaskbenchError: the picture is another one than was masked.
    """
    from maskbench.images import decode, read_bytes
    from maskbench.masking.grain import face_grain

    assert faces_dir is not None
    try:
        data = read_bytes(inside(faces_dir, row.source))
        picture = decode(data, row.source)
    except ImageError:
        return math.nan
    if bytes_sha256(data) != row.source_sha256:
        raise MaskbenchError(f"{faces_dir}: {row.source} is not the picture that was masked; give the unmasked ones")
    return face_grain(picture, placement.control_points.astype(np.float64)).blur


def _rows(
    run: Run, protocol: Protocol, chosen: np.ndarray, condition: str, name: str, labels: Labels
) -> Iterable[Row]:
    scores, status = (np.asarray(column)[chosen] for column in (run.scores.scores, run.scores.status))
    if not chosen.any() or (status == Status.NOT_RUN).all():
        return
    mated = np.asarray(run.scores.mated, bool)[chosen]
    groups = _pair_groups(protocol, chosen, mated, labels, people=name not in (*OF_MASK, *OF_POSE, *OF_PICTURE))
    source = str(value_at(run.result, condition, "transferred", "from") or protocol.threshold_from)
    thresholds = {
        OWN: value_at(run.result, condition, "fmr100", "threshold"),
        TRANSFERRED.format(source=source): value_at(run.result, condition, "transferred", "fmr100", "threshold"),
    }
    if condition == source:  # both are one
        thresholds.popitem()
    model = str(run.result.recognizer.get("name", ""))
    for rule, threshold in thresholds.items():
        if threshold is not None:
            for rates in break_down(scores, mated, status, groups, threshold):
                yield Row(protocol.name, model, condition, name, rule, threshold, rates)


def _pair_groups(
    protocol: Protocol, chosen: np.ndarray, mated: np.ndarray, labels: Labels, people: bool
) -> np.ndarray:
    """The group of each chosen comparison, (M,) str."""
    sides = [np.asarray(side)[chosen].tolist() for side in (protocol.pairs.reference_id, protocol.pairs.probe_id)]
    reference, probe = (np.array([labels.get(key, "") for key in side], dtype=object) for side in sides)
    if people:
        apart = ~mated & (reference != probe) & (reference != "") & (probe != "")
        probe = np.where(apart, "between groups", np.where(~mated & (reference == ""), "", probe))
    return probe.astype(str)


def write_breakdowns(rows: Sequence[Row], path: Path) -> None:
    """Write the table as CSV, floats with six significant digits, nothing where there is no figure."""
    from maskbench.files import write_text
    from maskbench.tables import csv_text

    def cell(value: str | int | float | None) -> str:
        return "" if value is None else format(value, ".6g") if isinstance(value, float) else str(value)

    write_text(path, csv_text(COLUMNS, ([cell(value) for value in row.values()] for row in rows)))
