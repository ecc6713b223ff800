import dataclasses
import hashlib
import json
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from results_fixture import make_run, write_runs

from maskbench import results
from maskbench.errors import MaskbenchError, ResultError
from maskbench.metrics.conditions import condition_labels
from maskbench.results import (
    load_results,
    load_run,
    load_runs,
    read_result,
    result_dir,
    save_run,
    to_json,
    write_result,
)


@pytest.fixture(scope="module")
def run():
    return make_run("plain", failed=3)


@pytest.fixture
def stored(run, tmp_path):
    result, scores, protocol = run
    save_run(tmp_path / "toy" / "plain", result, scores, protocol.pairs)
    return tmp_path / "toy" / "plain" / "result.json"


def change(path: Path, **fields):
    value = json.loads(path.read_text()) | fields
    path.write_text(json.dumps(value))


# ---------------------------------------------------------------- JSON


def test_round_trip(run, tmp_path):
    write_result(run[0], tmp_path / "result.json")
    loaded = read_result(tmp_path / "result.json")
    assert to_json(loaded) == to_json(run[0])
    assert loaded.metrics["UMR-MP"]["eer"]["value"] == run[0].metrics["UMR-MP"]["eer"]["value"]  # to the last bit
    write_result(loaded, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "result.json").read_bytes()


def test_what_json_lacks_becomes_null(run, tmp_path):
    odd = {
        "nan": float("nan"), "inf": np.float32("-inf"), "half": np.float32(0.5), "count": np.int64(3),
        "yes": np.bool_(True), "list": (1, np.nan), "array": np.array([0.25, np.inf]), "none": None, "text": "é",
    }  # fmt: skip
    write_result(dataclasses.replace(run[0], thresholds=odd), tmp_path / "result.json")
    text = (tmp_path / "result.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert read_result(tmp_path / "result.json").thresholds == {
        "nan": None, "inf": None, "half": 0.5, "count": 3, "yes": True, "list": [1, None], "array": [0.25, None],
        "none": None, "text": "é",
    }  # fmt: skip


def test_other_kinds_are_refused(run, tmp_path):
    with pytest.raises(ResultError, match=r"digests\.where: a result cannot hold a PosixPath"):
        write_result(dataclasses.replace(run[0], digests={"where": tmp_path}), tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fields", "words"), [
    ({"schema_version": 2}, "schema_version 2, expected 1"),
    ({"schema_version": True}, "schema_version True"),
    ({"schema_version": "1"}, "schema_version '1'"),
    ({"metric": {}}, "unknown field 'metric'; did you mean \"metrics\"?"),
    ({"metrics": []}, "metrics is not a table"),
    ({"metrics": {"UMR-MP": 0.5}}, "metrics holds something other than tables"),
    ({"counts": {"UMR-MP": None}}, "counts holds something other"),
    ({"completion": None}, "completion is not text"),
    ({"thresholds": {"x": float("nan")}}, "NaN or Infinity"),
    ({"metrics": {"UMR-MP": {"fmr100": {"fnmr": "0.1"}}}}, "UMR-MP.fmr100.fnmr is not a number"),
    ({"metrics": {"UMR-MP": {"auc": True}}}, "UMR-MP.auc is not a number"),
    ({"metrics": {"UMR-MP": {"auc": 10**400}}}, "UMR-MP.auc is not a number"),
    ({"metrics": {"UMR-MP": {"accuracy_10fold": {"per_fold": [0.5, "x"]}}}}, "per_fold is not a number"),
    ({"metrics": {"UMR-MP": {"fmr100": {"flag": 3}}}}, "fmr100.flag is not text"),
    ({"counts": {"UMR-MP": {"mated": "3"}}}, "counts.UMR-MP.mated is not a number"),
    ({"digests": {"manifest": None}}, "digests holds something other than text"),
    ({"environment": {"missing_pictures": 3}}, "environment holds something other than text"),
    ({"recognizer": {"training_data": "LFW"}}, "training_data is not a list of names"),
    ({"recognizer": {"training_data": [1]}}, "training_data is not a list of names"),
])  # fmt: skip
def test_malformed_results_name_the_file(stored, fields, words):
    change(stored, **fields)
    with pytest.raises(ResultError) as caught:
        load_results(stored.parent.parent)
    assert str(caught.value).startswith(f"{stored}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"metrics": {}}', "[" * 100_000, "9" * 5000, "\xff"])
def test_files_that_are_no_results(stored, text):
    stored.write_text(text, encoding="latin-1")
    with pytest.raises(ResultError, match=r"result\.json") as caught:
        read_result(stored)
    assert "\n" not in str(caught.value)


def test_metrics_that_are_nested_too_deeply(stored):
    """How deep is too deep depends on Python's version; no depth gives anything but a result or one line."""
    text, refused = stored.read_text(), []
    for depth in (300, 700, 950, 5000):
        deep = '"metrics": {"deep": ' + '{"a": ' * depth + "1" + "}" * depth + ", "
        stored.write_text(text.replace('"metrics": {', deep, 1))
        try:
            read_result(stored)
        except ResultError as error:
            assert "nested too deeply" in str(error)
            refused.append(depth)
    assert 5000 in refused and 300 not in refused


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(results.Result)])
def test_every_field_is_needed(stored, field):
    value = json.loads(stored.read_text())
    del value[field]
    stored.write_text(json.dumps(value))
    words = "no schema_version" if field == "schema_version" else f"'{field}' is missing"
    with pytest.raises(ResultError, match=words):
        read_result(stored)


# ---------------------------------------------------------------- folders


def test_results_are_found_in_the_order_of_their_paths(tmp_path):
    write_runs(tmp_path)
    (tmp_path / ".old").mkdir()
    (tmp_path / ".old" / "result.json").write_text("not read")
    (tmp_path / "notes.json").write_text("not read")
    assert [result.recognizer["name"] for result in load_results(tmp_path)] == ["blunt", "plain", "sharp"]
    assert len(load_results(tmp_path / "toy" / "plain" / "result.json")) == 1


def test_no_results(tmp_path):
    assert load_results(tmp_path) == []
    with pytest.raises(ResultError, match="missing"):
        load_results(tmp_path / "missing")


@pytest.mark.parametrize(("model", "completion", "name"), [
    ("dlib", "none", "dlib"),
    ("onnx:/x/y/model.v2.onnx", "none", "model.v2"),
    ("onnx:C:\\x\\model.onnx", "none", "model"),
    ("a b/ç:d", "none", "a-b---d"),
    ("..", "none", "-."),
    (".hidden", "none", "-hidden"),
    ("dlib", "rpca", "dlib--rpca"),
])  # fmt: skip
def test_result_folders_have_safe_names(tmp_path, model, completion, name):
    folder = result_dir(tmp_path, "lfw-masked", model, completion)
    assert folder == tmp_path / "lfw-masked" / name
    assert folder.resolve().is_relative_to((tmp_path / "lfw-masked").resolve())


def test_result_folders_need_names(tmp_path):
    with pytest.raises(ResultError, match="one is empty"):
        result_dir(tmp_path, "lfw-masked", "")


# ---------------------------------------------------------------- with scores


def test_runs_keep_scores_and_conditions(run, stored):
    result, scores, protocol = run
    loaded = load_run(stored)
    digest = hashlib.sha256((stored.parent / "scores.npz").read_bytes()).hexdigest()
    assert to_json(loaded.result) == to_json(dataclasses.replace(result, digests={**result.digests, "scores": digest}))
    np.testing.assert_array_equal(loaded.scores.scores, scores.scores)
    np.testing.assert_array_equal(loaded.scores.status, scores.status)
    assert loaded.scores.protocol_digest == protocol.digest
    np.testing.assert_array_equal(loaded.condition, condition_labels(protocol.pairs))
    assert np.isnan(loaded.scores.scores).any()


def test_the_same_run_gives_the_same_bytes(run, stored, tmp_path):
    result, scores, protocol = run
    save_run(tmp_path / "again", result, scores, protocol.pairs)
    for name in ("result.json", "scores.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (stored.parent / name).read_bytes()
    assert sorted(path.name for path in stored.parent.iterdir()) == ["result.json", "scores.npz"]


def test_all_runs_below_a_folder(tmp_path):
    write_runs(tmp_path)
    assert [run.result.recognizer["name"] for run in load_runs(tmp_path)] == ["blunt", "plain", "sharp"]


def rewrite(path: Path, **arrays):
    with np.load(path) as stored:
        kept = dict(stored) | arrays
    np.savez(path, **{name: array for name, array in kept.items() if array is not None})


@pytest.mark.parametrize(("arrays", "words"), [
    ({"condition": None}, "no condition for each score"),
    ({"condition": np.array(["UMR-MP"])}, "do not match"),
    ({"condition": np.full(600, "masked")}, "do not match"),
    ({"protocol_digest": np.array("other")}, "another protocol"),
    ({"scores": None}, "not a score file"),
])  # fmt: skip
def test_scores_that_do_not_belong(stored, arrays, words):
    rewrite(stored.parent / "scores.npz", **arrays)
    with pytest.raises(ResultError, match=words) as caught:
        load_run(stored)
    assert str(caught.value).startswith(str(stored.parent / "scores.npz"))


def test_conditions_are_read_without_pickle(stored):
    rewrite(stored.parent / "scores.npz", condition=np.full(600, "UMR-MP", dtype=object))
    with pytest.raises(ResultError, match="condition"):
        load_run(stored)


def test_scores_of_another_model_are_refused(run, stored, tmp_path):
    """Same protocol, same pairs, same conditions: only the digest tells."""
    other, scores, protocol = make_run("other", 0.9, 1.8)
    save_run(tmp_path / "toy" / "other", other, scores, protocol.pairs)
    shutil.copy(tmp_path / "toy" / "other" / "scores.npz", stored.parent / "scores.npz")
    with pytest.raises(ResultError, match=r"scores\.npz: is not the file that .* was computed from"):
        load_run(stored)
    save_run(stored.parent, run[0], run[1], run[2].pairs)
    assert len(load_run(stored).scores.scores) == len(protocol.pairs)
    change(stored, digests=run[0].digests)
    with pytest.raises(ResultError, match="is not the file"):
        load_run(stored)


def test_an_interrupted_save_leaves_no_result_of_other_scores(run, stored, monkeypatch):
    other, scores, protocol = make_run("other", 0.9, 1.8)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_result", stop)
        with pytest.raises(KeyboardInterrupt):
            save_run(stored.parent, other, scores, protocol.pairs)
    with pytest.raises(ResultError, match="is not the file"):
        load_run(stored)


def test_damaged_scores_are_refused(stored):
    rng, file = random.Random(0), stored.parent / "scores.npz"
    data = file.read_bytes()
    for number in range(200):
        damaged = bytearray(data)
        damaged[rng.choice([rng.randrange(300), rng.randrange(len(data) - 500, len(data))])] ^= rng.randrange(1, 256)
        file.write_bytes(damaged if number % 3 else data[: rng.randrange(len(data))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ResultError) as caught:
                load_run(stored)
        assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_missing_scores(stored):
    (stored.parent / "scores.npz").unlink()
    with pytest.raises(ResultError, match=r"scores\.npz: no such file"):
        load_run(stored)


def test_scores_of_other_pairs_are_not_written(run, tmp_path):
    result, scores, protocol = run
    shorter = dataclasses.replace(scores, scores=scores.scores[:-1])
    with pytest.raises(MaskbenchError):
        save_run(tmp_path / "x", result, shorter, protocol.pairs)
    assert not (tmp_path / "x").exists()
