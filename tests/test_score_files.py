"""Scores of another program become results like those of an evaluation: same figures, same folder, same refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results_fixture import make_embeddings, make_protocol, make_run
from score_files_fixture import run_of, write_csv

from maskbench.errors import MaskbenchError, ResultError
from maskbench.leaderboard import make_leaderboard
from maskbench.metrics.conditions import LABELS, condition_labels, pair_subjects
from maskbench.metrics.summary import summarise, summarise_protocol
from maskbench.report.plots import render
from maskbench.results import comparison_key, load_run, load_runs, read_result, result_dir, save_run
from maskbench.score_files import ENGINE, ScoreOptions, score
from maskbench.scoring import score_pairs
from maskbench.types import Protocol, Status


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return make_protocol()


@pytest.fixture
def evaluated(tmp_path: Path, protocol: Protocol) -> Path:
    """The folder of an evaluation's result, some of its masked samples without a template."""
    result, scores, _ = make_run("plain", 0.6, 1.1, 5, protocol)
    folder = result_dir(tmp_path / "evaluated", protocol.name, "plain")
    save_run(folder, result, scores, protocol.pairs, pair_subjects(protocol))
    return folder


def as_csv(folder: Path, path: Path, *names: str, order: np.ndarray | None = None, sign: float = 1.0) -> Path:
    """The scores of a result as CSV: failed ones are empty."""
    with np.load(folder / "scores.npz") as stored:
        columns = {name: stored[name] for name in ("pair_id", "mated", "condition")}
        columns["score"] = [repr(float(sign * v)) if np.isfinite(v) else "" for v in stored["scores"]]
        columns["reference_subject"], columns["probe_subject"] = stored["subjects"].T
    order = np.arange(len(columns["pair_id"])) if order is None else order
    return write_csv(path, {name: np.asarray(columns[name])[order].tolist() for name in names})


def without(tree: dict, *names: str) -> dict:
    return {key: value for key, value in tree.items() if key not in names}


def figures(tree: dict, keys: set[str] = frozenset({"threshold", "thresholds"})) -> dict:
    """A tree without thresholds, which lie one step of the scores' type above a score."""
    return {key: figures(value) if isinstance(value, dict) else value for key, value in tree.items() if key not in keys}


# ---------------------------------------------------------------- round trips


def test_the_scores_of_an_evaluation_give_its_result_again(tmp_path, protocol, evaluated):
    before = load_run(evaluated / "result.json")
    done = score([evaluated / "scores.npz"], tmp_path / "out", protocol, ScoreOptions(same_pictures=evaluated))
    after = run_of(done)
    for part in ("metrics", "counts", "thresholds", "intervals"):
        assert getattr(after.result, part) == getattr(before.result, part), part
    assert comparison_key(after.result) == comparison_key(before.result)
    np.testing.assert_array_equal(after.scores.scores, before.scores.scores)
    assert after.scores.scores.dtype == np.float32
    np.testing.assert_array_equal(after.condition, before.condition)
    np.testing.assert_array_equal(after.subjects, before.subjects)
    assert after.scores.recognizer_digest == before.scores.recognizer_digest


def test_csv_in_any_order_gives_the_same_figures(tmp_path, protocol, evaluated):
    before = load_run(evaluated / "result.json").result
    order = np.random.default_rng(3).permutation(len(protocol.pairs))
    path = as_csv(evaluated, tmp_path / "sdk.csv", "score", "pair_id", order=order)
    after = run_of(score([path], tmp_path / "out", protocol))
    assert {name: figures(tree) for name, tree in after.result.metrics.items()} == {
        name: figures(tree) for name, tree in before.metrics.items()
    }
    assert after.result.counts == before.counts
    assert after.result.recognizer["name"] == "sdk" and after.result.recognizer["weights_sha256"] is None
    assert after.result.recognizer["engine"] == ENGINE and after.result.align == "unknown"
    assert after.result.digests["manifest"] == "" and len(after.result.digests["input"]) == 64


def test_without_a_protocol_the_labels_come_from_the_file(tmp_path, protocol, evaluated):
    before = load_run(evaluated / "result.json")
    after = run_of(score([evaluated / "scores.npz"], tmp_path / "out", None, ScoreOptions(name="again")))
    for name, tree in before.result.metrics.items():
        assert without(after.result.metrics[name], "ftx") == without(tree, "ftx"), "the file does not name samples"
        assert after.result.intervals[name]["eer.value"] == before.result.intervals[name]["eer.value"]
    assert after.result.protocol["name"] == "scores" and after.result.protocol["counts"]["subjects"] == 50


def test_rows_that_name_samples_and_conditions_need_no_pair_ids(tmp_path, protocol, evaluated):
    before = load_run(evaluated / "result.json")
    with np.load(evaluated / "scores.npz") as stored:
        columns = {
            "probe_id": protocol.pairs.probe_id, "reference_id": protocol.pairs.reference_id,
            "condition": stored["condition"], "score": np.array([repr(float(v)) for v in stored["scores"]]),
        }  # fmt: skip
    order = np.random.default_rng(5).permutation(len(protocol.pairs))
    path = write_csv(tmp_path / "ids.csv", {name: values[order].tolist() for name, values in columns.items()})
    after = run_of(score([path], tmp_path / "out", protocol))
    assert set(after.result.metrics) == {"UMR-UMP", "UMR-MP", "MR-MP"}
    assert np.allclose(after.scores.scores, before.scores.scores, equal_nan=True)


def test_a_result_of_more_conditions_is_not_replaced(tmp_path, protocol, evaluated):
    path = as_csv(evaluated, tmp_path / "sdk.csv", "pair_id", "score")
    score([path], tmp_path / "out", protocol, ScoreOptions(name="sdk"))
    rows = np.flatnonzero(condition_labels(protocol.pairs) == "UMR-MP")
    part = as_csv(evaluated, tmp_path / "part.csv", "pair_id", "score", order=rows)
    options = ScoreOptions(name="sdk", conditions=("UMR-MP",))
    with pytest.raises(ResultError, match="has MR-MP, UMR-UMP too; score all conditions from one file"):
        score([part], tmp_path / "out", protocol, options)
    assert set(read_result(tmp_path / "out" / "toy" / "sdk" / "result.json").metrics) == {"UMR-UMP", "UMR-MP", "MR-MP"}
    score([path], tmp_path / "out", protocol, ScoreOptions(name="sdk"))  # the same again replaces it


def test_a_threshold_fixed_at_an_fmr_says_where_and_has_no_interval_over_subjects(tmp_path, protocol, evaluated):
    path = as_csv(evaluated, tmp_path / "sdk.csv", "pair_id", "score")
    result = run_of(score([path], tmp_path / "out", protocol, ScoreOptions(at_fmr=0.05))).result
    own, other = (result.metrics[name]["at_threshold"] for name in ("UMR-UMP", "UMR-MP"))
    assert own["from"] == other["from"] == "UMR-UMP" and own["target"] == 0.05
    assert "optimistic" in own["note"] and "note" not in other
    for intervals in result.intervals.values():
        assert not any("clustered" in e for path, e in intervals.items() if path.startswith("at_threshold."))


def test_distances_are_negated_and_thresholds_with_them(tmp_path, protocol, evaluated):
    before = load_run(evaluated / "result.json").result
    path = as_csv(evaluated, tmp_path / "d.csv", "score", "mated", "condition", sign=-1.0)
    options = ScoreOptions(lower_is_better=True, threshold=-0.3)
    after = run_of(score([path], tmp_path / "out", None, options))
    for name in before.metrics:
        assert after.result.metrics[name]["eer"]["value"] == before.metrics[name]["eer"]["value"]
        rows = (after.condition == name) & (after.scores.status == Status.OK)
        distance, mated = 0 - after.scores.scores[rows], after.scores.mated[rows]
        block = after.result.metrics[name]["at_threshold"]
        assert block["fmr"] == np.mean(distance[~mated] <= -0.3) and block["fnmr"] == np.mean(distance[mated] > -0.3)
    assert not np.signbit(after.scores.scores[after.scores.scores == 0]).any()
    assert "negated" in after.result.environment["scores_direction"]


def test_forgotten_distances_are_noticed(tmp_path, protocol, evaluated):
    path = as_csv(evaluated, tmp_path / "d.csv", "score", "mated", "condition", sign=-1.0)
    assert any("--lower-is-better" in note for note in score([path], tmp_path / "out").notes)
    path = as_csv(evaluated, tmp_path / "s.csv", "score", "mated", "condition")
    assert not any("--lower-is-better" in note for note in score([path], tmp_path / "out").notes)


def test_each_format_gives_the_figures_of_its_scores(tmp_path):
    rng = np.random.default_rng(9)
    mated = np.arange(2000) % 5 == 0
    values = np.round(rng.normal(size=2000) + 2.5 * mated, 3)
    people = [(f"s{i}", f"s{i}" if same else f"t{i}") for i, same in enumerate(mated)]
    rows = list(zip(people, values.tolist(), strict=True))
    files = {
        "csv": [("s.csv", "score,label\n" + "".join(f"{v},{int(a == b)}\n" for (a, b), v in rows))],
        "bob4": [("b4", "".join(f"{a} {b} x{b} {v}\n" for (a, b), v in rows))],
        "bob5": [("b5", "".join(f"{a} m{a} {b} x{b} {v}\n" for (a, b), v in rows))],
        "pyeer": [
            (name, "".join(f"{v}\n" for (a, b), v in rows if (a == b) is same))
            for name, same in (("genuine", True), ("impostor", False))
        ],
    }
    expected = figures(summarise(values, mated, np.zeros(2000, np.int8), None, values[~mated], "UMR-MP")["metrics"])
    for kind, texts in files.items():
        for name, text in texts:
            (tmp_path / name).write_text(text)
        paths, options = [tmp_path / name for name, _ in texts], ScoreOptions(conditions=("UMR-MP",))
        done = score(paths, tmp_path / kind, None, options)
        found = run_of(done).result
        assert without(figures(found.metrics["UMR-MP"]), "ftx") == expected
        assert list(found.metrics) == ["UMR-MP"] and found.environment["scores_format"] == kind
        assert found.metrics["UMR-MP"]["ftx"] == (
            {"reference": 0.0, "probe": 0.0} if kind == "bob5" else {"reason": "the scores do not name their samples"}
        )


def test_leaderboard_and_plot_take_them(tmp_path, protocol, evaluated):
    path = as_csv(evaluated, tmp_path / "sdk.csv", "pair_id", "score")
    score([path], evaluated.parents[1], protocol, ScoreOptions(name="SDK 4.2", same_pictures=evaluated))
    runs = load_runs(evaluated.parents[1])
    tables = make_leaderboard([run.result for run in runs])
    assert len(tables) == 1
    columns = tables[0].columns.index("recognizer"), tables[0].columns.index("rank")
    assert {tuple(row[column] for column in columns) for row in tables[0].rows} == {("SDK 4.2", 1), ("plain", 1)}
    assert render(runs)[:4] == b"\x89PNG"
    score([path], tmp_path / "alone", protocol)  # without the statement, a table of its own
    assert len(make_leaderboard([run.result for run in [*runs, *load_runs(tmp_path / "alone")]])) == 2


# ---------------------------------------------------------------- a protocol's pairs


def test_one_condition_alone(tmp_path, protocol, evaluated):
    before = load_run(evaluated / "result.json").result
    rows = np.flatnonzero(condition_labels(protocol.pairs) == "UMR-MP")
    path = as_csv(evaluated, tmp_path / "s.csv", "pair_id", "score", order=rows)
    with pytest.raises(MaskbenchError, match=r"s\.csv: 400 pairs of 'toy' have no score, first 'UMR-UMP/000\+0'"):
        score([path], tmp_path / "out", protocol)
    after = run_of(score([path], tmp_path / "out", protocol, ScoreOptions(conditions=("UMR-MP",))))
    assert list(after.result.metrics) == ["UMR-MP"] and (after.scores.status == Status.NOT_RUN).sum() == 400
    assert after.result.metrics["UMR-MP"]["eer"]["value"] == before.metrics["UMR-MP"]["eer"]["value"]
    assert "transferred" in after.result.metrics["UMR-MP"]  # of a condition that was not run: with a reason
    assert after.result.metrics["UMR-MP"]["transferred"]["reason"]
    for options in (ScoreOptions(), ScoreOptions(conditions=("UMR-MP",))):  # its own file says what was not run
        again = score([tmp_path / "out" / "toy" / "s" / "scores.npz"], tmp_path / "again", protocol, options)
        assert run_of(again).result.metrics == after.result.metrics
    everything = as_csv(evaluated, tmp_path / "all.csv", "pair_id", "score")
    with pytest.raises(MaskbenchError, match=r"all\.csv:2: pair of UMR-UMP, which --condition leaves out"):
        score([everything], tmp_path / "out", protocol, ScoreOptions(conditions=("UMR-MP",)))


def test_missing_pairs_count_as_failed_when_asked(tmp_path, protocol, evaluated):
    keep = np.setdiff1d(np.arange(len(protocol.pairs)), [3, 200, 204])
    path = as_csv(evaluated, tmp_path / "s.csv", "pair_id", "score", order=keep)
    with pytest.raises(MaskbenchError, match=r"3 pairs of 'toy' have no score, first 'UMR-UMP/000\+3' \(UMR-UMP\)"):
        score([path], tmp_path / "out", protocol)
    before = load_run(evaluated / "result.json").result.counts
    after = run_of(score([path], tmp_path / "out", protocol, ScoreOptions(missing_as_failed=True))).result.counts
    assert after["UMR-UMP"]["non_mated_failed"] == before["UMR-UMP"]["non_mated_failed"] + 1
    lost = {200, 204} - set(np.flatnonzero(np.load(evaluated / "scores.npz")["status"]).tolist())
    assert after["UMR-MP"]["mated_failed"] == before["UMR-MP"]["mated_failed"] + len(lost)


def test_nist_log_on_a_protocol(tmp_path, protocol, evaluated):
    with np.load(evaluated / "scores.npz") as stored:
        values, status = stored["scores"], stored["status"]
    rows = np.flatnonzero(condition_labels(protocol.pairs) == "UMR-MP")
    pairs = protocol.pairs
    lines = [
        f"{pairs.reference_id[i]}.template {pairs.probe_id[i]}.template "
        f"{repr(float(values[i])) if status[i] == 0 else -1} {status[i] * 4}\n"
        for i in rows[::-1]
    ]
    path = tmp_path / "match.log"
    path.write_text("enrollTempl verifTempl simScore returnCode\n" + "".join(lines))
    after = run_of(score([path], tmp_path / "out", protocol, ScoreOptions(conditions=("UMR-MP",))))
    before = load_run(evaluated / "result.json").result
    assert after.result.metrics["UMR-MP"]["fmr100"]["fnmr_including_failures"] == (
        before.metrics["UMR-MP"]["fmr100"]["fnmr_including_failures"]
    )
    np.testing.assert_array_equal(after.scores.scores[rows], values[rows].astype(float))
    with pytest.raises(MaskbenchError, match=r"are compared under several conditions; add a column condition, or give"):
        score([path], tmp_path / "out", protocol)
    with pytest.raises(MaskbenchError, match=r"match\.log: does not say what is mated; .* or --protocol"):
        score([path], tmp_path / "out")


PROTOCOL_FAULTS = {
    "an unknown pair": ({"pair_id": ["UMR-UMP/000+0", "nobody"]}, r"s\.csv:3: 'nobody' is no pair of protocol 'toy'"),
    "another label": ({"mated": ["1", "1"]}, r"s\.csv:3: mated is True, the protocol says False"),
    "another fold": ({"fold": ["1", "2"]}, r"s\.csv:3: fold is 2, the protocol says 1"),
    "another condition": ({"condition": ["UMR-UMP", "MR-MP"]}, r"s\.csv:3: condition is MR-MP, the protocol says UMR"),
    "another subject": (
        {"reference_subject": ["s000", "s000"], "probe_subject": ["s000", "s009"]},
        r"s\.csv:3: subject 's009', the protocol says 's001'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOL_FAULTS)
def test_contradictions_to_the_protocol(tmp_path, protocol, name):
    extra, message = PROTOCOL_FAULTS[name]
    columns = {"pair_id": ["UMR-UMP/000+0", "UMR-UMP/000+1"], "score": ["1", "2"]} | extra
    path = write_csv(tmp_path / "s.csv", columns)
    with pytest.raises(MaskbenchError, match=message):
        score([path], tmp_path / "out", protocol, ScoreOptions(missing_as_failed=True))


def test_a_pair_with_two_scores_names_both_lines(tmp_path, protocol):
    ids = ["UMR-UMP/000+0", "UMR-UMP/000+1", "UMR-UMP/000+2", "UMR-UMP/000+1"]
    path = write_csv(tmp_path / "s.csv", {"pair_id": ids, "score": [1, 2, 3, 2]})
    with pytest.raises(MaskbenchError, match=r"s\.csv:5: this pair already has a score on .*s\.csv:3$"):
        score([path], tmp_path / "out", protocol)


def test_scores_of_another_protocol_are_refused(tmp_path, protocol, evaluated):
    other = make_protocol(version=2)
    with pytest.raises(MaskbenchError, match=r"scores\.npz: scores of another protocol \(digest"):
        score([evaluated / "scores.npz"], tmp_path / "out", other)
    path = as_csv(evaluated, tmp_path / "s.csv", "pair_id", "score")
    with pytest.raises(MaskbenchError, match="a result of another protocol"):
        score([path], tmp_path / "out", other, ScoreOptions(same_pictures=evaluated))
    with pytest.raises(MaskbenchError, match=r"has neither pair_id nor the ids of both samples"):
        score([as_csv(evaluated, path, "score", "mated")], tmp_path / "out", protocol)


def test_a_result_of_other_pictures_is_not_replaced(tmp_path, protocol, evaluated):
    path = as_csv(evaluated, tmp_path / "s.csv", "pair_id", "score")
    with pytest.raises(ResultError, match="holds a result of another masked set"):
        score([path], evaluated.parents[1], protocol, ScoreOptions(name="plain"))
    score([path], evaluated.parents[1], protocol, ScoreOptions(name="plain", same_pictures=evaluated))


# ---------------------------------------------------------------- without a protocol

OWN_FAULTS = {
    "no labels": ("score,pair_id\n1,a\n2,b\n", r"s\.csv: does not say what is mated"),
    "mated alone": ("score,mated\n1,1\n2,1\n", r"s\.csv: holds no non-mated comparison"),
    "non-mated alone": ("score,mated\n1,0\n2,0\n", r"s\.csv: holds no mated comparison"),
    "twice": ("pair_id,score,mated\na,1,1\nb,2,0\na,3,0\n", r"s\.csv:4: pair 'a' is already on .*s\.csv:2"),
    "samples twice": ("reference_id,probe_id,score,mated\na,b,1,1\nb,a,2,0\na,b,3,0\n", r"s\.csv:4: pair .* is alrea"),
    "against itself": ("score,mated,reference_subject,probe_subject\n1,1,a,a\n2,0,b,b\n",
                       r"s\.csv:3: subject 'b' against itself is marked non-mated"),
    "others": ("score,mated,reference_subject,probe_subject\n1,1,a,b\n", r"s\.csv:2: 'a' against 'b' is marked mated"),
    "one sample": ("score,mated,reference_id,probe_id\n1,1,a,b\n2,0,c,c\n", r"s\.csv:3: sample 'c' is compared with"),
    "not run": ("score,mated,status\n1,1,ok\n2,0,ok\n,0,not-run\n", r"UMR-UMP: 1 of 3 comparisons were not run"),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN_FAULTS)
def test_faults_of_a_file_on_its_own(tmp_path, name):
    text, message = OWN_FAULTS[name]
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(MaskbenchError, match=message) as caught:
        score([tmp_path / "s.csv"], tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_sample_masked_against_itself_unmasked_is_a_comparison(tmp_path):
    rows = "score,mated,reference_id,probe_id\n1,1,a,a\n2,0,a,b\n"
    (tmp_path / "s.csv").write_text(rows)
    assert score([tmp_path / "s.csv"], tmp_path / "out", None, ScoreOptions(conditions=("UMR-MP",))).folder.is_dir()
    with pytest.raises(MaskbenchError, match="compared with itself under one condition"):
        score([tmp_path / "s.csv"], tmp_path / "out", None, ScoreOptions(conditions=("MR-MP",)))


def test_what_makes_two_files_the_same_comparisons(tmp_path):
    """Named pairs in any order; unnamed ones only if the user says so."""

    def digest(text: str, **options) -> str:
        (tmp_path / "s.csv").write_text(text)
        done = score([tmp_path / "s.csv"], tmp_path / str(len(list(tmp_path.iterdir()))), None, ScoreOptions(**options))
        return run_of(done).result.protocol["digest"]

    head = "pair_id,score,mated\n"
    named = digest(head + "a,1,1\nb,2,0\n")
    assert digest(head + "b,7,0\na,9,1\n") == named
    assert digest(head + "a,1,0\nb,2,1\n") != named
    assert digest(head + "a,1,1\nc,2,0\n") != named
    assert digest(head + "a,1,1\nb,2,0\n", conditions=("MR-MP",)) != named
    assert digest(head + "a,1,1\nb,2,0\n", set_name="other") != named
    rows = digest("score,mated\n1,1\n2,0\n")
    assert digest("score,mated\n1.5,1\n2,0\n") != rows
    stated = digest("score,mated\n1,1\n2,0\n", set_name="mine")
    assert digest("score,mated\n1.5,1\n2,0\n", set_name="mine") == stated
    assert digest("score,mated\n1.5,0\n2,1\n", set_name="mine") != stated
    people = "score,reference_subject,probe_subject\n"
    assert digest(people + "1,a,a\n2,a,b\n") == digest(people + "7,a,a\n3,a,b\n") != digest(people + "1,a,a\n2,a,c\n")


def test_named_pairs_come_in_one_order_and_others_in_that_of_the_file(tmp_path):
    head = "pair_id,score,mated,reference_subject,probe_subject,fold\n"
    rows = ["b,2,0,zoe,ann,2\n", "c,3,1,bo,bo,3\n", "a,1,1,zoe,zoe,1\n"]
    runs = []
    for name, order in (("one", (0, 1, 2)), ("two", (2, 0, 1))):
        (tmp_path / f"{name}.csv").write_text(head + "".join(rows[row] for row in order))
        runs.append(run_of(score([tmp_path / f"{name}.csv"], tmp_path / "out")))
    for run in runs:
        assert run.scores.scores.tolist() == [1, 2, 3] and run.scores.mated.tolist() == [True, False, True]
        assert run.subjects.tolist() == [[2, 2], [2, 0], [1, 1]]
    assert comparison_key(runs[0].result) == comparison_key(runs[1].result)
    (tmp_path / "three.csv").write_text("score,mated\n3,1\n1,0\n2,0\n")
    assert run_of(score([tmp_path / "three.csv"], tmp_path / "out")).scores.scores.tolist() == [3, 1, 2]


# ---------------------------------------------------------------- thresholds


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[Path, Path, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Scores of a recognizer unmasked and masked, and their values by name."""
    rng, found = np.random.default_rng(12), {}
    for name, gap, drift in (("clear", 4.0, 0.0), ("masked", 2.5, 0.4)):
        mated = np.arange(6000) % 3 == 0
        values = rng.normal(size=6000) + gap * mated + drift
        found[name] = values, mated
        write_csv(tmp_path / f"{name}.csv", {"score": values.tolist(), "mated": mated.astype(int).tolist()})
    return tmp_path / "clear.csv", tmp_path / "masked.csv", found


def strict(non_mated: np.ndarray, target: float) -> float:
    """By definition: the lowest candidate whose FMR is at most the target."""
    candidates = np.nextafter(np.unique(non_mated), np.inf)
    return float(min(t for t in candidates if np.mean(non_mated >= t) <= target))


@pytest.mark.parametrize("given", ["file", "folder", "scores.npz"])
def test_thresholds_of_another_file_are_fixed_there_and_used_here(tmp_path, two_files, given):
    clear, masked, values = two_files
    folder = score([clear], tmp_path / "out").folder
    source = {"file": clear, "folder": folder, "scores.npz": folder / "scores.npz"}[given]
    options = ScoreOptions(conditions=("UMR-MP",), threshold_from=str(source))
    result = run_of(score([masked], tmp_path / "out", None, options)).result
    block = result.metrics["UMR-MP"]["transferred"]
    other, (here, mated) = values["clear"][0][~values["clear"][1]], values["masked"]
    for name, target in (("fmr100", 0.01), ("fmr1000", 0.001)):
        threshold = strict(other, target)
        assert block[name]["threshold"] == threshold
        assert block[name]["fmr"] == np.mean(here[~mated] >= threshold) > 1.5 * target  # the drift is seen
        assert block[name]["fnmr"] == np.mean(here[mated] < threshold)
    assert block["from"].endswith("UMR-UMP") and "clear" in block["from"]
    assert result.protocol["threshold_from"] == "UMR-MP" != block["from"], "its own; the block says where"
    own = strict(here[~mated], 0.01)
    assert result.metrics["UMR-MP"]["fmr100"]["threshold"] == own


def test_a_threshold_fixed_at_a_named_fmr(tmp_path, two_files):
    clear, masked, values = two_files
    options = ScoreOptions(threshold_from=str(clear), at_fmr=0.05)
    result = run_of(score([masked], tmp_path / "out", None, options)).result
    threshold = strict(values["clear"][0][~values["clear"][1]], 0.05)
    here, mated = values["masked"]
    block = result.metrics["UMR-UMP"]["at_threshold"]
    assert block["threshold"] == threshold and block["fmr"] == np.mean(here[~mated] >= threshold)
    assert result.environment["threshold_at_fmr"] == "0.05"


def test_threshold_from_a_condition(tmp_path, protocol, evaluated):
    options = ScoreOptions(threshold_from="MR-MP")
    result = run_of(score([evaluated / "scores.npz"], tmp_path / "out", protocol, options)).result
    embeddings = make_embeddings(protocol, 0.6, 1.1, 5)
    moved = replace(protocol, threshold_from="MR-MP")
    metrics, _, _, intervals = summarise_protocol(moved, score_pairs(protocol, embeddings, "cosine"), embeddings)
    assert result.metrics == metrics and result.intervals == intervals


def test_intervals_of_foreign_thresholds_leave_people_out(tmp_path, protocol, evaluated):
    options = ScoreOptions(threshold_from=str(evaluated), name="again")
    result = run_of(score([evaluated / "scores.npz"], tmp_path / "out", protocol, options)).result
    for name, intervals in result.intervals.items():
        assert "low" in intervals["transferred.fmr100.fmr"], name
        assert not any("clustered" in intervals[path] for path in intervals if path.startswith("transferred"))
    assert result.metrics["UMR-MP"]["transferred"]["from"] == "toy/plain UMR-UMP"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at_fmr": -0.1}, r"--at-fmr -0\.1: choose a value above 0 and up to 1"),
        ({"at_fmr": 0.0}, "choose a value above 0"),
        ({"at_fmr": 1.5}, r"--at-fmr 1\.5: choose a value above 0 and up to 1"),
        ({"at_fmr": float("nan")}, "--at-fmr nan: choose"),
        ({"at_fmr": 1e-9}, r"--at-fmr 1e-09: not resolvable with the 4000 non-mated comparisons of UMR-UMP"),
        ({"at_fmr": 0.1, "threshold": 1.0}, "both fix the threshold"),
        ({"threshold": float("inf")}, "--threshold inf: give a finite number"),
        ({"threshold_from": "UMR-MP"}, "--threshold-from UMR-MP: no comparison of it was run; known: UMR-UMP"),
        ({"threshold_from": "UMR-PM"}, 'neither a condition nor a file or folder; did you mean "UMR-'),
        ({"threshold_from": "."}, r"holds no result\.json"),
        ({"conditions": ("UMR",)}, "--condition UMR: no such condition"),
        ({"conditions": ("UMR-MP", "MR-MP")}, "add a column condition"),
        ({"missing_as_failed": True}, "give --protocol"),
        ({"failures": Path("no.csv")}, "the scores do not name their samples"),
        ({"same_pictures": Path("nowhere")}, "no such file"),
        ({"format": "excel"}, 'no score format "excel"'),
    ],
)
def test_impossible_options(tmp_path, two_files, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MaskbenchError, match=message) as caught:
        score([two_files[0]], tmp_path / "out", None, ScoreOptions(**options))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_maskbench_scores_are_no_distances(tmp_path, evaluated):
    with pytest.raises(MaskbenchError, match="maskbench's own scores"):
        score([evaluated / "scores.npz"], tmp_path / "out", None, ScoreOptions(lower_is_better=True))


def test_conditions_keep_the_order_of_every_table(tmp_path):
    text = "score,mated,condition\n" + "".join(f"{i},{i % 2},{name}\n" for i in range(8) for name in LABELS[::-1])
    (tmp_path / "s.csv").write_text(text)
    result = run_of(score([tmp_path / "s.csv"], tmp_path / "out")).result
    assert set(result.metrics) == set(LABELS) and result.protocol["threshold_from"] == "UMR-UMP"
