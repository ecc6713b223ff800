"""Groups of comparisons from manifests and attributes, on made-up results with a real manifest's rows."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from results_fixture import make_protocol, make_run

from maskbench.breakdowns import COLUMNS, OWN, available, band, breakdown_rows, sample_labels, yaw_of
from maskbench.cli.main import cli
from maskbench.digest import bytes_sha256, file_sha256, generator
from maskbench.errors import MaskbenchError, ResultError
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.manifest import iterate, write_manifest
from maskbench.masking.assets import select_assets
from maskbench.masking.placement import sample, to_json
from maskbench.masking.space import control_points
from maskbench.protocols import build_protocol, write_protocol
from maskbench.results import load_run, result_dir, save_run
from maskbench.types import ManifestRow, Protocol

MASKS = select_assets("surgical,kn95,surgical-sunglasses")


def turned(yaw: float, scale: float = 40.0) -> np.ndarray:
    angle = np.deg2rad(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return canonical_face() @ turn.T * scale + [100, 80, 0]


def people() -> Protocol:
    """The made-up protocol with an attribute: the sex of every person."""
    plain = make_protocol()
    samples = [
        dataclasses.replace(s, attributes={"sex": "fm"[int(s.subject_id[1:]) % 2]}) for s in plain.samples.values()
    ]
    return build_protocol("people", 1, samples, plain.pairs, "UMR-UMP")


def masked_set(protocol: Protocol, folder: Path) -> Path:
    """A folder with a manifest, as synthesize writes it; the last sample has no mask."""
    rows = []
    for number, item in enumerate(protocol.samples.values()):
        face = mesh_landmarks(turned(-50 + number, 30 + number % 3 * 20), "test")
        asset = MASKS[number % len(MASKS)]
        worn = sample(generator(0, item.path), asset, face, 0)
        rows.append(
            ManifestRow(
                item.path, item.sha256, item.path, "0" * 64, "masked", "", asset.asset_id, "test", 1,
                0.2 + 0.005 * number, 0.1, 0, to_json([worn]),
            )
        )  # fmt: skip
    rows[-1] = dataclasses.replace(rows[-1], status="failed", reason="no face found", output="", output_sha256="")
    folder.mkdir()
    write_manifest(folder / "manifest.csv", rows)
    return folder


@pytest.fixture
def scene(tmp_path: Path):
    """Protocol, masked set, and a folder with two results on it."""
    protocol = people()
    masked = masked_set(protocol, tmp_path / "masked")
    digests = {"manifest": file_sha256(masked / "manifest.csv"), "protocol": protocol.digest}
    for name, noise in (("sharp", 0.6), ("blunt", 1.6)):
        result, scores, _ = make_run(name, 0.5, noise, failed=3, protocol=protocol, digests=digests)
        save_run(result_dir(tmp_path / "results", protocol.name, name), result, scores, protocol.pairs)
    return protocol, masked, tmp_path / "results"


def run_of(results: Path, name: str = "sharp"):
    return load_run(results / "people" / name / "result.json")


def test_groups_add_up_to_the_condition(scene):
    protocol, masked, results = scene
    rows = breakdown_rows([run_of(results)], protocol, masked)
    assert {row.by for row in rows} == set(available(protocol)) - {"blur"}
    counts = run_of(results).result.counts["UMR-MP"]
    for name in ("kind", "mask", "covered_fraction", "yaw", "inter_ocular", "style"):
        own = [row.rates for row in rows if row.by == name and row.condition == "UMR-MP" and row.rule == OWN]
        # The one sample that was not masked is the probe of one mated and three non-mated comparisons.
        assert sum(r.mated for r in own) == counts["mated"] - 1, name
        assert sum(r.non_mated for r in own) == counts["non_mated"] - 3, name
    metrics = run_of(results).result.metrics["UMR-MP"]["fmr100"]
    by_sex = [row for row in rows if row.by == "sex" and row.condition == "UMR-MP" and row.rule == OWN]
    assert {row.rates.group for row in by_sex} == {"f", "m", "between groups"}
    misses = sum(row.rates.false_non_matches for row in by_sex)
    assert misses / counts["mated_completed"] == pytest.approx(metrics["fnmr"]) and by_sex[0].threshold
    apart = next(row.rates for row in by_sex if row.rates.group == "between groups")
    assert apart.mated == 0 and apart.non_mated > 0


def test_masks_do_not_group_unmasked_probes_and_poses_do(scene):
    protocol, masked, results = scene
    rows = breakdown_rows([run_of(results)], protocol, masked)
    assert not [row for row in rows if row.condition == "UMR-UMP" and row.by == "mask"]
    assert [row for row in rows if row.condition == "UMR-UMP" and row.by == "yaw"]
    rules = {row.rule for row in rows if row.condition == "UMR-MP"}
    assert rules == {OWN, "FMR <= 1 % of UMR-UMP"} and {r.rule for r in rows if r.condition == "UMR-UMP"} == {OWN}


def test_labels_are_those_of_the_manifest(scene):
    protocol, masked, _ = scene
    labels = sample_labels(protocol, ["mask", "kind", "category", "covered_fraction", "yaw", "sex"], masked, None)
    names = list(protocol.samples)
    assert names[-1] not in labels["mask"] and names[-1] in labels["sex"]
    for number, name in enumerate(names[:-1]):
        asset = MASKS[number % len(MASKS)]
        assert (labels["mask"][name], labels["kind"][name]) == (asset.asset_id, asset.kind)
        assert labels["category"][name] == asset.category
        assert labels["covered_fraction"][name] == band(round(0.2 + 0.005 * number, 4), [k / 20 for k in range(20)])
    found = {labels["yaw"][names[number]] for number in (0, 15, 30, 48)}
    assert found == {"45+ degrees", "30-45 degrees", "15-30 degrees", "00-15 degrees"}


def test_the_yaw_is_found_again():
    for yaw in (-60, -20, 0, 10, 45):
        assert yaw_of(control_points(turned(yaw))) == pytest.approx(abs(yaw), abs=1.0)


def test_bands():
    assert [band(v, (0, 15, 30)) for v in (0, 14.99, 15, 29, 30, 80)] == ["00-15"] * 2 + ["15-30"] * 2 + ["30+"] * 2
    assert band(0.35, [k / 20 for k in range(20)]) == "0.35-0.40" and band(0.3499, (0, 0.35)) == "0.00-0.35"
    assert band(float("nan"), (0, 1)) == "" and band(-1, (0, 1)) == "0-1"


def test_wrong_folders_and_names_are_refused(scene, tmp_path: Path):
    protocol, masked, results = scene
    run = run_of(results)
    with pytest.raises(MaskbenchError, match='nothing named "kimd" to break down by; did you mean "kind"'):
        breakdown_rows([run], protocol, masked, by=["kimd"])
    with pytest.raises(MaskbenchError, match=r"--masked"):
        breakdown_rows([run], protocol, by=["yaw"])
    with pytest.raises(MaskbenchError, match=r"--faces"):
        breakdown_rows([run], protocol, masked, by=["blur"])
    with pytest.raises(ResultError, match="another protocol"):
        breakdown_rows([run], make_protocol(), masked)
    other = masked_set(people(), tmp_path / "other")
    (other / "manifest.csv").write_bytes((other / "manifest.csv").read_bytes().replace(b"0.2000", b"0.2100"))
    with pytest.raises(ResultError, match="is not the masked set"):
        breakdown_rows([run], protocol, other)


def test_the_command_writes_a_table_and_a_picture(scene, tmp_path: Path):
    protocol, masked, results = scene
    write_protocol(protocol, tmp_path / "protocol")
    out, picture = tmp_path / "b.csv", tmp_path / "c.png"
    arguments = ["breakdown", str(results), "--protocol", str(tmp_path / "protocol"), "--masked", str(masked)]
    ran = CliRunner().invoke(cli, [*arguments, "-o", str(out), "--by", "kind"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    with open(out, encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS and {row["by"] for row in rows} == {"kind"}
    assert {row["recognizer"] for row in rows} == {"sharp", "blunt"}
    assert float(rows[0]["fnmr_low"]) <= float(rows[0]["fnmr"]) <= float(rows[0]["fnmr_high"])
    with pytest.raises(MaskbenchError, match="no band of covered fraction has 30"):
        CliRunner().invoke(cli, [*arguments, "-o", str(out), "--plot", str(picture)], catch_exceptions=False)


def test_coverage_is_drawn_where_there_is_enough(scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from maskbench.report import coverage

    protocol, masked, results = scene
    rows = breakdown_rows([run_of(results), run_of(results, "blunt")], protocol, masked, by=["covered_fraction"])
    monkeypatch.setattr(coverage, "LEAST_MATED", 5)
    for name in ("c.png", "c.svg"):
        coverage.plot_coverage(rows, tmp_path / name)
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    text = (tmp_path / "c.svg").read_text()
    assert "blunt" in text and "covered fraction" in text and "UMR-MP" in text
    with pytest.raises(MaskbenchError, match="use png, svg or pdf"):
        coverage.plot_coverage(rows, tmp_path / "c.gif")


def test_blur_is_measured_on_the_pictures(scene, tmp_path: Path, make_crop):
    from maskbench.images import write_image

    protocol, masked, results = scene
    rows = {row.source: row for row in iterate(masked / "manifest.csv")}
    for item in list(protocol.samples.values())[:20]:
        data = write_image(tmp_path / "faces" / item.path, np.tile(make_crop(1), (2, 2, 1)))
        rows[item.path] = dataclasses.replace(rows[item.path], source_sha256=bytes_sha256(data))
    write_manifest(masked / "manifest.csv", rows.values())
    labels = sample_labels(protocol, ["blur"], masked, tmp_path / "faces")["blur"]
    names = list(protocol.samples)
    assert all(labels[name].endswith(" pixels") for name in names[:20]) and labels[names[30]] == ""
    first = protocol.samples[names[0]].path
    write_image(tmp_path / "faces" / first, np.tile(make_crop(2), (2, 2, 1)))
    with pytest.raises(MaskbenchError, match=f"{first} is not the picture that was masked"):
        sample_labels(protocol, ["blur"], masked, tmp_path / "faces")
    with pytest.raises(MaskbenchError, match="nowhere: no such folder"):
        sample_labels(protocol, ["blur"], masked, tmp_path / "nowhere")


def test_attributes_of_templates_are_those_that_their_samples_agree_on(scene):
    protocol, masked, _ = scene
    names = list(protocol.samples)
    pooled = dataclasses.replace(protocol, templates={"T": (names[0], names[1]), "U": (names[0], names[2])})
    labels = sample_labels(pooled, ["sex"], None, None)["sex"]
    assert labels["T"] == protocol.samples[names[0]].attributes["sex"] and labels["U"] == ""
    with pytest.raises(MaskbenchError, match="compares templates of several"):
        sample_labels(pooled, ["yaw"], masked, None)
