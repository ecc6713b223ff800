"""Ranges of ranks from stored results."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from results_fixture import make_protocol, make_run

from maskbench.cli.main import cli
from maskbench.leaderboard import make_leaderboard, ranking
from maskbench.metrics.comparison import rank_ranges as ranges_of
from maskbench.metrics.conditions import pair_subjects
from maskbench.rank_ranges import load_comparable, rank_ranges
from maskbench.results import load_run, result_dir, save_run

PROTOCOL = make_protocol(subjects=120)
NOISE = {"sharp": 0.5, "twin": 0.55, "blunt": 2.5}


def write(root: Path, subjects: bool = True) -> Path:
    for name, noise in NOISE.items():
        result, scores, used = make_run(name, 0.5, noise, protocol=PROTOCOL)
        people = pair_subjects(used) if subjects else None
        save_run(result_dir(root, used.name, name), result, scores, used.pairs, people)
    return root


def test_the_ranges_are_those_of_the_estimator_in_the_order_of_the_runs(tmp_path: Path):
    runs = load_comparable(write(tmp_path))
    found = rank_ranges(runs, ranking("MR-MP.fmr100_including_failures"), [run.result for run in runs])
    rows = runs[0].condition == "MR-MP"
    scores, status = (np.stack([getattr(run.scores, name)[rows] for run in runs]) for name in ("scores", "status"))
    folds, people = PROTOCOL.pairs.fold[rows], pair_subjects(PROTOCOL)[rows]
    expected = ranges_of(scores, runs[0].scores.mated[rows], status, people, folds, "fnmr@fmr100")
    assert [found[run.result.digests["scores"]] for run in runs] == expected
    named = {run.result.recognizer["name"]: found[run.result.digests["scores"]] for run in runs}
    assert named["blunt"] == (3, 3) and named["sharp"][0] == 1, "the blunt one is last beyond doubt"


def of(runs):
    return [run.result for run in runs]


def test_what_cannot_be_ranged_has_none(tmp_path: Path):
    runs = load_comparable(write(tmp_path))
    assert rank_ranges(runs, ranking("UMR-MP.auc"), of(runs)) == {}
    assert rank_ranges(runs, ranking("UMR-MP.eer"), of(runs)) == {}, "the estimator counts failures"
    assert rank_ranges(runs[:1], ranking(), of(runs[:1])) == {}
    assert rank_ranges(runs[1:], ranking(), of(runs)) == {}, "a ranked row without scores"
    oracle = [dataclasses.replace(run, result=dataclasses.replace(run.result, mask_source="oracle")) for run in runs]
    assert rank_ranges(oracle, ranking(), of(oracle)) == {}
    unlike = dataclasses.replace(runs[0], result=dataclasses.replace(runs[0].result, align="other"))
    mixed = [unlike, *runs[1:]]
    assert set(rank_ranges(mixed, ranking(), of(mixed))) == {run.result.digests["scores"] for run in runs[1:]}


def test_the_rank_lies_in_its_range_with_failures_and_with_one_that_failed_altogether(tmp_path: Path):
    """Against the leaderboard's own ranks; the one that fails every masked sample is last and has no range."""
    for name, noise, failed in (("a", 0.8, 0), ("b", 0.9, 30), ("c", 1.0, 6), ("hopeless", 0.5, 240)):
        result, scores, used = make_run(name, 0.5, noise, failed, protocol=PROTOCOL)
        save_run(result_dir(tmp_path, used.name, name), result, scores, used.pairs, pair_subjects(used))
    runs = load_comparable(tmp_path)
    (table,) = make_leaderboard(of(runs), ranges=rank_ranges(runs, ranking(), of(runs)))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["recognizer"] for row in rows][-1] == "hopeless" and rows[-1]["rank"] == 4
    assert rows[-1]["rank_best"] is None
    for row in rows[:-1]:
        assert row["rank_best"] <= row["rank"] <= row["rank_worst"]


def test_results_without_subjects_or_scores_are_left_out(tmp_path: Path):
    write(tmp_path / "old", subjects=False)
    assert load_comparable(tmp_path / "old") == []
    write(tmp_path / "new")
    next((tmp_path / "new").rglob("scores.npz")).unlink()
    next((tmp_path / "new").rglob("scores.npz")).write_bytes(b"damaged")
    assert len(load_comparable(tmp_path / "new")) == 1
    ran = CliRunner().invoke(cli, ["leaderboard", str(tmp_path / "new"), "-o", str(tmp_path / "l.csv")])
    assert ran.exit_code == 0 and (tmp_path / "l.csv").read_text().count("\n") == 4, "three results, without ranges"


def test_scores_carry_subjects_and_folds(tmp_path: Path):
    run = load_run(next(write(tmp_path).rglob("result.json")))
    assert np.array_equal(run.subjects, pair_subjects(PROTOCOL)) and np.array_equal(run.fold, PROTOCOL.pairs.fold)


def test_the_command_shows_them(tmp_path: Path):
    out = tmp_path / "board.csv"
    arguments = ["leaderboard", str(write(tmp_path / "r")), "-o", str(out)]
    ran = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    with open(out, encoding="utf-8") as stream:
        rows = {row["recognizer"]: row for row in csv.DictReader(stream)}
    assert (rows["blunt"]["rank"], rows["blunt"]["rank_best"], rows["blunt"]["rank_worst"]) == ("3", "3", "3")
    for row in rows.values():
        assert int(row["rank_best"]) <= int(row["rank"]) <= int(row["rank_worst"])
        assert bool(row["interval_low"]) == bool(row["interval_method"]), "too few errors: no interval"
    blunt = rows["blunt"]
    assert float(blunt["interval_low"]) <= float(blunt["ranked_value"]) <= float(blunt["interval_high"])
