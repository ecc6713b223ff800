from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskbench import evaluation as evaluation_module
from maskbench import manifest
from maskbench.embed import EmbeddingCache, alignment_points, embed_inventory
from maskbench.errors import MaskbenchError, ProtocolError, RecognizerError, ResultError
from maskbench.evaluation import FAILURE_COLUMNS, FAILURES_FILE, EvaluationOptions, evaluate
from maskbench.images import encode, read_image, write_image
from maskbench.inventory import take_inventory
from maskbench.leaderboard import make_leaderboard, render_text
from maskbench.masking.engine import CONFIG, JOURNAL, synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import make_folders
from maskbench.recognizers.base import load_recognizer
from maskbench.results import load_results, load_run, read_result
from maskbench.tables import read_columns
from maskbench.types import Status


@pytest.fixture
def scene(crop_folder, tmp_path: Path):
    """Faces of 12 subjects, their masked copies, and a protocol of 80 pairs over them."""
    faces = crop_folder(24)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(landmarks="aligned"), 1)
    return make_folders(faces, 24), faces, tmp_path / "masked"


def run(scene, out: Path, models=("dummy",), store: Path | None = None, **options) -> list[Path]:
    protocol, faces, masked = scene
    return evaluate(protocol, models, faces, masked, out, EvaluationOptions(workers=1, **options), store)


def test_a_result_holds_every_pair_metric_and_digest(scene, tmp_path: Path):
    (folder,) = run(scene, tmp_path / "results")
    found = load_run(folder / "result.json")
    protocol = scene[0]
    assert folder == tmp_path / "results" / protocol.name / "dummy"
    assert len(found.scores.scores) == len(protocol.pairs) and (found.scores.status == Status.OK).all()
    result = found.result
    assert set(result.metrics) == {"UMR-UMP", "UMR-MP", "MR-MP"} and result.align == "source"
    for condition, metrics in result.metrics.items():
        assert {"eer", "auc", "fmr100", "fmr1000", "accuracy_10fold", "accuracy_best_threshold", "ftx"} <= set(metrics)
        assert metrics["ftx"]["probe"] == 0, condition
    assert result.digests["protocol"] == protocol.digest and len(result.digests["manifest"]) == 64
    assert result.recognizer["name"] == "dummy" and result.environment["engine"]
    assert result.metrics["UMR-UMP"]["eer"]["value"] < 0.1 < result.metrics["UMR-MP"]["auc"]


def test_scores_are_those_of_the_pictures_that_the_pairs_name(scene, tmp_path: Path):
    """Recomputed pair by pair from the files: only the probe is masked under UMR-MP."""
    protocol, faces, masked = scene
    (folder,) = run(scene, tmp_path / "results")
    scores, dummy = load_run(folder / "result.json").scores, load_recognizer("dummy")
    roots = {"unmasked": faces, "masked": masked}
    pairs = protocol.pairs
    for row in range(0, len(pairs), 5):
        sides = []
        for ids, conditions in (
            (pairs.reference_id, pairs.reference_condition),
            (pairs.probe_id, pairs.probe_condition),
        ):
            picture = read_image(roots[conditions[row]] / protocol.samples[ids[row]].path)
            vector = dummy.embed(picture[None])[0][0].astype(np.float64)
            sides.append(vector / np.linalg.norm(vector))
        assert scores.scores[row] == pytest.approx(sides[0] @ sides[1], abs=1e-5)


def test_batches_and_threads_change_nothing(scene):
    protocol, faces, masked = scene
    inventory = take_inventory(protocol, faces, masked)
    _, points = alignment_points(inventory, "auto", 1, None)
    dummy = load_recognizer("dummy")
    sets = [
        embed_inventory(dummy, inventory, points, EmbeddingCache(None, dummy), batch, threads)
        for batch, threads in ((64, 2), (1, 1), (7, 3))
    ]
    for other in sets[1:]:
        assert np.allclose(sets[0].vectors, other.vectors, atol=1e-6)
        assert np.array_equal(sets[0].sample_ids, other.sample_ids) and sets[0].samples_digest == other.samples_digest


def test_without_masked_faces_only_the_unmasked_condition_is_run(scene, tmp_path: Path):
    protocol, faces, _ = scene
    (folder,) = evaluate(protocol, ["dummy"], faces, None, tmp_path / "r", EvaluationOptions(workers=1))
    found = load_run(folder / "result.json")
    assert set(found.result.metrics) == {"UMR-UMP"} and found.result.digests["manifest"] == ""
    masked = found.condition != "UMR-UMP"
    assert (found.scores.status[masked] == Status.NOT_RUN).all() and np.isnan(found.scores.scores[masked]).all()


def test_failed_samples_keep_their_pairs_and_count_as_failures(scene, tmp_path: Path):
    run(scene, tmp_path / "r", models=["dummy", "dummy-failing"])
    whole, failing = (
        read_result(tmp_path / "r" / scene[0].name / name / "result.json") for name in ("dummy", "dummy-failing")
    )
    rates = [metrics["ftx"]["probe"] for metrics in failing.metrics.values()]
    assert max(rates) > 0
    for condition, counts in failing.counts.items():
        assert counts["mated"] == whole.counts[condition]["mated"]
        assert counts["mated_completed"] + counts["mated_failed"] == counts["mated"]
        metrics = failing.metrics[condition]["fmr100"]
        if counts["mated_failed"] and metrics.get("fnmr") is not None:
            assert metrics["fnmr_including_failures"] > metrics["fnmr"]


def test_a_picture_that_could_not_be_masked_is_a_failure_not_an_error(scene, tmp_path: Path):
    protocol, faces, _ = scene
    path = next(iter(protocol.samples.values())).path
    picture = read_image(faces / path)
    write_image(faces / path, np.zeros((100, 100, 3), np.uint8))
    protocol = make_folders(faces, 24)
    synthesize(faces, tmp_path / "again", SynthesisConfig(landmarks="aligned"), 1)
    inventory = take_inventory(protocol, faces, tmp_path / "again")
    (item,) = [i for i in inventory.items if i.condition == "masked" and i.path is None]
    assert item.reason == "masking failed: not an aligned 112x112 crop" and picture.any()


def test_missing_pictures_stop_the_run_or_count_as_failures(scene, tmp_path: Path):
    protocol, faces, masked = scene
    lost = next(iter(protocol.samples.values())).path
    (faces / lost).unlink()
    with pytest.raises(
        ProtocolError, match=rf"1 of \d+ pictures .* are missing, first .*{Path(lost).name}; .*--allow-missing"
    ):
        run(scene, tmp_path / "r")
    (folder,) = run(scene, tmp_path / "r", allow_missing=True)
    assert (load_run(folder / "result.json").scores.status == Status.FAILED).any()
    with pytest.raises(ProtocolError, match="no such folder"):
        evaluate(protocol, ["dummy"], tmp_path / "none", masked, tmp_path / "r")


def test_other_pictures_than_the_protocols_are_refused(scene, tmp_path: Path):
    protocol, faces, masked = scene
    sample = next(iter(protocol.samples.values()))
    backup = tmp_path / "backup.png"
    shutil.copy(masked / sample.path, backup)
    write_image(masked / sample.path, read_image(faces / sample.path))
    with pytest.raises(ProtocolError, match="changed since .*manifest.csv was written"):
        run(scene, tmp_path / "r")
    shutil.copy(backup, masked / sample.path)
    altered = dict(protocol.samples) | {sample.sample_id: replace(sample, sha256="0" * 64)}
    other = replace(protocol, samples=altered)
    with pytest.raises(ProtocolError, match="was masked from another picture"):
        run((other, faces, masked), tmp_path / "r")
    with pytest.raises(ProtocolError, match="is not the picture that protocol"):
        run((other, faces, None), tmp_path / "r")


def test_a_masked_set_without_manifest_has_a_digest_of_its_files(scene, tmp_path: Path):
    protocol, faces, masked = scene
    with_manifest = take_inventory(protocol, faces, masked).masked_digest
    (masked / manifest.NAME).unlink()
    (masked / CONFIG).unlink()
    without = take_inventory(protocol, faces, masked).masked_digest
    assert len(without) == 64 and without != with_manifest
    sample = next(iter(protocol.samples.values()))
    write_image(masked / sample.path, read_image(faces / sample.path))
    assert take_inventory(protocol, faces, masked).masked_digest != without


def test_a_damaged_picture_costs_its_own_comparisons_only(scene, tmp_path: Path):
    protocol, faces, masked = scene
    sample = next(iter(protocol.samples.values()))
    data = encode(read_image(faces / sample.path), ".png")
    (faces / sample.path).write_bytes(data[: len(data) // 2])
    samples = dict(protocol.samples) | {sample.sample_id: replace(sample, sha256="")}
    folder = run((replace(protocol, samples=samples), faces, masked), tmp_path / "r")[0]
    status = load_run(folder / "result.json").scores.status
    pairs = protocol.pairs
    touched = ((pairs.reference_id == sample.sample_id) & (pairs.reference_condition == "unmasked")) | (
        (pairs.probe_id == sample.sample_id) & (pairs.probe_condition == "unmasked")
    )
    assert touched.any() and np.array_equal(status == Status.FAILED, touched)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"align": "detekt"}, 'did you mean "detect"'),
        ({"cache": "alway"}, 'did you mean "always"'),
        ({"device": "cuda"}, "no CUDA device|cuda"),
    ],
)
def test_wrong_options_are_answered_before_any_work(scene, tmp_path: Path, options: dict, message: str):
    with pytest.raises(MaskbenchError, match=message):
        run(scene, tmp_path / "r", models=["dlib-resnet"] if "device" in options else ["dummy"], **options)
    assert not (tmp_path / "r").exists()


def test_an_unknown_model_or_one_named_twice(scene, tmp_path: Path):
    with pytest.raises(RecognizerError, match='did you mean "dlib-resnet"'):
        run(scene, tmp_path / "r", models=["dlib-resnt"])
    with pytest.raises(MaskbenchError, match="two of the models have this name"):
        run(scene, tmp_path / "r", models=["dummy", "dummy"])


def test_the_result_is_json_without_nan(scene, tmp_path: Path):
    (folder,) = run(scene, tmp_path / "r", models=["dummy-failing"], threshold=0.5)
    text = (folder / "result.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


# ---------------------------------------------------------------- what an inventory refuses


def test_a_picture_that_the_manifest_does_not_list_is_refused(scene):
    """Its file would be in no digest: anything could lie there."""
    protocol, faces, masked = scene
    lost = next(iter(protocol.samples.values())).path
    rows = [row for row in manifest.read_manifest(masked / manifest.NAME) if row.source != lost]
    manifest.write_manifest(masked / manifest.NAME, rows)
    for allow_missing in (False, True):
        with pytest.raises(ProtocolError, match=rf"manifest.csv: has no row for {lost}; .*synthesize --resume"):
            take_inventory(protocol, faces, masked, allow_missing)
    (masked / lost).unlink()  # neither row nor file: simply missing
    with pytest.raises(ProtocolError, match="1 of .* are missing"):
        take_inventory(protocol, faces, masked)
    assert take_inventory(protocol, faces, masked, True).missing == 1


@pytest.mark.parametrize(("journal", "finished"), [(True, True), (True, False), (False, False)])
def test_an_unfinished_masked_set_is_refused(scene, journal: bool, finished: bool):
    protocol, faces, masked = scene
    if journal:
        (masked / JOURNAL).write_text("")
    if not finished:
        (masked / manifest.NAME).unlink()
    with pytest.raises(ProtocolError, match="unfinished run; finish it with maskbench synthesize --resume"):
        take_inventory(protocol, faces, masked)


def test_a_malformed_face_policy_is_named(scene):
    protocol, faces, masked = scene
    for text in ('{"faces": "midle"}', "[]", '{"faces": {}}'):
        (masked / CONFIG).write_text(text)
        with pytest.raises(ProtocolError, match="synthesis.json: has no known face policy"):
            take_inventory(protocol, faces, masked)


# ---------------------------------------------------------------- one folder, one comparison


def test_another_comparison_does_not_replace_a_result(scene, tmp_path: Path, monkeypatch):
    protocol, faces, masked = scene
    (folder,) = run(scene, tmp_path / "r")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    synthesize(faces, tmp_path / "other", SynthesisConfig(landmarks="aligned", seed=1), 1)
    lost = tmp_path / "lost"
    shutil.copytree(faces, lost)
    (lost / next(iter(protocol.samples.values())).path).unlink()

    def never(*_):
        raise AssertionError("work was done")

    monkeypatch.setattr(evaluation_module, "alignment_points", never)
    for wanted, options, words in (
        ((protocol, faces, tmp_path / "other"), {}, "masked set"),
        ((protocol, faces, None), {}, "masked set"),
        (scene, {"align": "detect"}, "alignment"),
        ((protocol, lost, masked), {"allow_missing": True}, "set of pictures"),
        ((replace(protocol, digest="0" * 64), faces, masked), {}, "protocol"),
    ):
        with pytest.raises(ResultError, match=rf"holds a result of another {words} \(.*\); choose another --out"):
            run(wanted, tmp_path / "r", models=["dummy-failing", "dummy"], **options)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "r" / protocol.name).iterdir()] == ["dummy"]


def test_the_same_comparison_replaces_its_result(scene, tmp_path: Path):
    (folder,) = run(scene, tmp_path / "r")
    assert run(scene, tmp_path / "r", threshold=0.5) == [folder]
    assert "at_threshold" in read_result(folder / "result.json").metrics["UMR-MP"]
    (folder / "result.json").write_text("damaged")
    assert run(scene, tmp_path / "r") == [folder]
    assert "at_threshold" not in load_run(folder / "result.json").result.metrics["UMR-MP"]


def test_results_with_missing_pictures_have_a_table_of_their_own(scene, tmp_path: Path):
    protocol, faces, masked = scene
    run(scene, tmp_path / "r" / "whole")
    for sample in list(protocol.samples.values())[:3]:
        (faces / sample.path).unlink()
    run(scene, tmp_path / "r" / "lost", allow_missing=True)
    tables = make_leaderboard(load_results(tmp_path / "r"))
    assert [len(table.rows) for table in tables] == [1, 1]
    assert sorted(table.rows[0][table.columns.index("missing_pictures")] for table in tables) == ["0", "3"]
    assert render_text(tables).count("3 pictures missing") == 1


def test_a_masked_set_that_is_not_masked_is_refused(scene, tmp_path: Path):
    protocol, faces, _ = scene
    with pytest.raises(ProtocolError, match="holds the unmasked pictures themselves"):
        run((protocol, faces, faces), tmp_path / "r")


def test_pictures_without_a_template_are_listed_with_their_reasons(scene, tmp_path: Path):
    folder = run(scene, tmp_path / "r", models=["dummy-failing"])[0]
    columns, values = read_columns(folder / FAILURES_FILE)
    rows = list(zip(*values, strict=True))
    counts = read_result(folder / "result.json").counts
    assert tuple(columns) == FAILURE_COLUMNS and rows == sorted(rows)
    assert {row[2] for row in rows} == {"the recognizer gave no template"}
    assert len([row for row in rows if row[1] == "unmasked"]) >= counts["UMR-UMP"]["probe_samples_failed"] > 0


def test_thresholds_from_another_condition_or_another_protocol(scene, tmp_path: Path):
    from maskbench.metrics.errors import false_matches, threshold_at_fmr

    (own,) = run(scene, tmp_path / "own")
    first = load_run(own / "result.json")

    def non_mated(label: str) -> np.ndarray:
        return first.scores.scores[(first.condition == label) & ~first.scores.mated]

    (other,) = run(scene, tmp_path / "condition", threshold_from="MR-MP")
    found = read_result(other / "result.json").metrics["UMR-MP"]["transferred"]
    expected = threshold_at_fmr(non_mated("MR-MP"), 0.1).threshold
    assert found["from"] == "MR-MP" and found["fmr10"]["threshold"] == expected
    assert found["fmr10"]["fmr"] == false_matches(non_mated("UMR-MP"), expected) / len(non_mated("UMR-MP"))

    protocol, faces, masked = scene
    elsewhere = replace(scene[0], name="elsewhere", digest="e" * 64)
    (third,) = run((elsewhere, faces, masked), tmp_path / "r", threshold_from=str(tmp_path / "own"))
    result = read_result(third / "result.json")
    found = result.metrics["MR-MP"]["transferred"]
    assert found["from"] == f"{protocol.name} UMR-UMP"
    assert found["fmr10"]["threshold"] == threshold_at_fmr(non_mated("UMR-UMP"), 0.1).threshold
    entries = {path: e for path, e in result.intervals["MR-MP"].items() if path.startswith("transferred.")}
    assert entries and not any("clustered" in entry for entry in entries.values())


def test_thresholds_of_a_smaller_protocol(crop_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The scores there are fewer than those here, and intervals over subjects are given for few errors too."""
    monkeypatch.setattr("maskbench.metrics.uncertainty.FEW", 1)
    faces = crop_folder(96)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(landmarks="aligned"), 1)
    small, large = (make_folders(faces, count, name=f"n{count}") for count in (60, 1200))
    run((small, faces, tmp_path / "masked"), tmp_path / "small", models=["dummy-failing"])
    scene = large, faces, tmp_path / "masked"
    (folder,) = run(scene, tmp_path / "r", models=["dummy-failing"], threshold_from=str(tmp_path / "small"))
    found = read_result(folder / "result.json")
    assert found.metrics["UMR-MP"]["transferred"]["from"].startswith("n60")
    own = found.intervals["UMR-MP"]["fmr100.fnmr_including_failures"]
    own = found.intervals["UMR-MP"]["fmr100.fnmr_including_failures"]
    assert own["count"] > 1 and own["clustered"]["low"] is not None


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_that_is_no_number_is_refused_before_any_work(scene, tmp_path: Path, threshold: float):
    with pytest.raises(MaskbenchError, match="give a finite number"):
        run(scene, tmp_path / "r", threshold=threshold)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("MR-UMP", "has no pairs of it"), ("UMR_MP", "neither a condition nor a folder"), ("own", "holds 0 results of")],
)
def test_thresholds_from_nowhere(scene, tmp_path: Path, wanted: str, message: str):
    run(scene, tmp_path / "own")
    wanted = str(tmp_path / "own") if wanted == "own" else wanted
    with pytest.raises(MaskbenchError, match=message):
        run(scene, tmp_path / "r", models=["dummy-failing"], threshold_from=wanted)
    assert not (tmp_path / "r").exists()
