import csv
import dataclasses
import itertools
import json
import random

import pytest
from results_fixture import make_protocol, make_run, write_runs

from maskbench.cli.main import main
from maskbench.leaderboard import LEADING, RANKED, TRAILING, make_leaderboard, render_text, write_csv
from maskbench.results import load_results


def figures(result, fnmr=0.1, condition="UMR-MP"):
    """The result with another ranking figure and nothing else measured in the condition."""
    block = {} if fnmr is None else {"fmr100": {"fnmr_including_failures": fnmr}}
    return dataclasses.replace(result, metrics={**result.metrics, condition: block})


def named(result, name, **fields):
    return dataclasses.replace(result, recognizer={**result.recognizer, "name": name}, **fields)


@pytest.fixture(scope="module")
def base():
    return make_run("base")[0]


def column(table, name):
    return [row[table.columns.index(name)] for row in table.rows]


def read(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# ---------------------------------------------------------------- values


def test_columns_in_their_order(base):
    (table,) = make_leaderboard([base])
    per_condition = [
        "accuracy_10fold_mean", "accuracy_10fold_std", "accuracy_best_threshold", "eer", "auc", "fmr100", "fmr100_flag",
        "fmr1000", "fmr1000_flag", "fmr100_including_failures", "ftx_reference", "ftx_probe", "transferred_from",
        "transferred_fmr", "transferred_fnmr", "given_threshold", "given_threshold_fmr",
        "given_threshold_fnmr",
    ]  # fmt: skip
    conditions = ["UMR-UMP", "UMR-MP", "MR-MP"]
    assert list(table.columns) == [
        *LEADING, *RANKED,
        *(f"{name}.{figure}" for name, figure in itertools.product(conditions, per_condition)), *TRAILING,
    ]  # fmt: skip


def test_every_figure_is_the_one_in_the_metrics():
    result = make_run("plain", failed=3)[0]
    (table,) = make_leaderboard([result])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    for condition, metrics in result.metrics.items():
        expected = {
            "accuracy_10fold_mean": metrics["accuracy_10fold"]["mean"],
            "accuracy_10fold_std": metrics["accuracy_10fold"]["std"],
            "accuracy_best_threshold": metrics["accuracy_best_threshold"]["accuracy"],
            "eer": metrics["eer"]["value"],
            "auc": metrics["auc"],
            "fmr100": metrics["fmr100"]["fnmr"],
            "fmr100_flag": metrics["fmr100"]["flag"],
            "fmr1000": metrics["fmr1000"]["fnmr"],
            "fmr1000_flag": metrics["fmr1000"]["flag"],
            "fmr100_including_failures": metrics["fmr100"]["fnmr_including_failures"],
            "ftx_reference": metrics["ftx"]["reference"],
            "ftx_probe": metrics["ftx"]["probe"],
            "transferred_fmr": metrics["transferred"]["fmr100"]["fmr"],
            "transferred_fnmr": metrics["transferred"]["fmr100"]["fnmr"],
        }
        assert {name: row[f"{condition}.{name}"] for name in expected} == expected
    assert row["MR-MP.ftx_reference"] > 0
    assert row["UMR-MP.fmr1000"] is None
    assert row["UMR-MP.fmr1000_flag"] == "not resolvable"
    assert row["UMR-MP.fmr100_including_failures"] > row["UMR-MP.fmr100"]
    assert (row["recognizer"], row["protocol"], row["align"]) == ("plain", "toy", "masked")
    assert (row["parameters"], row["embedding_size"], row["engine"]) == (1000, 16, "numpy")
    assert (row["training_data"], row["licence"], row["maskbench_version"]) == ("made up", "CC0-1.0", "0.1.0")
    assert (row["protocol_digest"], row["manifest_digest"]) == (result.protocol["digest"], result.digests["manifest"])


@pytest.mark.parametrize(("names", "text"), [(None, "unknown"), ([], "none"), (["a", "b"], "a;b")])
def test_training_data(base, names, text):
    (table,) = make_leaderboard([dataclasses.replace(base, recognizer={**base.recognizer, "training_data": names})])
    assert column(table, "training_data") == [text]


def test_what_is_missing_is_empty(base, tmp_path):
    bare = dataclasses.replace(base, metrics={"UMR-UMP": {"reason": "no completed mated comparison"}}, recognizer={})
    tables = make_leaderboard([bare])
    write_csv(tables, tmp_path / "x.csv")
    (row,) = read(tmp_path / "x.csv")
    assert {name for name, value in row.items() if value} == {
        "completion", "mask_source", "align", "protocol", "ranked_by", "training_data", "subject_overlap",
        "protocol_digest", "manifest_digest", "maskbench_version",
    }  # fmt: skip
    assert "-" in render_text(tables)


def test_a_fourth_condition_has_columns_where_it_was_run(base):
    more = dataclasses.replace(base, metrics={**base.metrics, "MR-UMP": {"auc": 0.75}})
    (table,) = make_leaderboard([base, more])
    assert sorted(column(table, "MR-UMP.auc"), key=str) == [0.75, None]
    assert table.columns.index("UMR-MP.auc") < table.columns.index("MR-UMP.auc") < table.columns.index("MR-MP.auc")


# ---------------------------------------------------------------- ranks


def test_ranking_with_ties_and_gaps(base):
    entries = [("e", None), ("d", 0.3), ("c", 0.1), ("b", 0.3), ("a", 0.5), ("f", 0.0)]
    (table,) = make_leaderboard([named(figures(base, fnmr), name) for name, fnmr in entries])
    ranks = list(zip(column(table, "rank"), column(table, "recognizer"), strict=True))
    assert ranks == [(1, "f"), (2, "c"), (3, "b"), (3, "d"), (5, "a"), (None, "e")]


def test_other_conditions_do_not_rank(base):
    better = figures(named(base, "b"), 0.0, "UMR-UMP")
    (table,) = make_leaderboard([figures(better, 0.2), figures(named(base, "a"), 0.1)])
    assert column(table, "recognizer") == ["a", "b"]


@pytest.mark.parametrize(
    ("by", "order"),
    [("UMR-MP.eer", "ba"), ("UMR-MP.auc", "ab"), ("UMR-UMP.accuracy_10fold_mean", "ba"), ("MR-MP.fmr1000", "ab")],
)
def test_another_column_to_rank_by(base, by: str, order: str):
    """Of rates the lowest leads, of accuracies and areas the highest."""
    both = []
    for name, value in (("a", 0.9), ("b", 0.1)):
        blocks = {"UMR-MP": {"eer": {"value": value}, "auc": value}, "MR-MP": {"fmr1000": {"fnmr": 1 - value}}}
        both.append(named(base, name, metrics={**blocks, "UMR-UMP": {"accuracy_10fold": {"mean": 1 - value}}}))
    (table,) = make_leaderboard(both, by)
    assert "".join(column(table, "recognizer")) == order and column(table, "rank") == [1, 2]
    assert by in render_text([table])


@pytest.mark.parametrize("by", ["UMR-MP.transferred_fnmr", "UMR-MP.fmr100_flag", "UMR-MP.err", "eer", "XX.eer"])
def test_what_cannot_be_ranked_by(base, by: str, tmp_path, capsys):
    write_runs(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["leaderboard", str(tmp_path), "-o", str(tmp_path / "l.csv"), "--rank-by", by])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and by in error and not (tmp_path / "l.csv").exists()


def test_the_ranked_figure_stands_with_its_interval(base):
    (table,) = make_leaderboard([base])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    wilson = base.intervals["UMR-MP"]["fmr100.fnmr_including_failures"]
    assert row["ranked_value"] == base.metrics["UMR-MP"]["fmr100"]["fnmr_including_failures"]
    clustered = wilson.get("clustered", {})
    expected = clustered if clustered.get("low") is not None else wilson
    assert (row["interval_low"], row["interval_high"]) == (expected["low"], expected["high"]) and row["interval_method"]
    better = {**base.intervals["UMR-MP"], "fmr100.fnmr_including_failures": {**wilson, "clustered": {
        "low": 0.01, "high": 0.9, "method": "of a test"}}}  # fmt: skip
    (table,) = make_leaderboard([dataclasses.replace(base, intervals={**base.intervals, "UMR-MP": better})])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["interval_low"], row["interval_high"], row["interval_method"]) == (0.01, 0.9, "of a test")


def test_the_spread_over_mask_seeds(base):
    """Masked sets that differ in their seed alone have tables of their own, and know of each other."""
    runs = []
    for seed, fnmr, recipe in (("0", 0.10, "r"), ("1", 0.14, "r"), ("2", 0.12, "r"), ("0", 0.5, "other")):
        digests = {**base.digests, "manifest": f"{recipe}{seed}".ljust(64, "0"), "recognizer": "x"}
        environment = {**base.environment, "mask_recipe": recipe, "mask_seed": seed}
        runs.append(dataclasses.replace(figures(base, fnmr), digests=digests, environment=environment))
    tables = make_leaderboard(runs)
    assert len(tables) == 4
    found = {(column(t, "ranked_value")[0], column(t, "mask_seeds")[0], column(t, "mask_seed_sd")[0]) for t in tables}
    assert {(value, seeds) for value, seeds, _ in found} == {(0.10, 3), (0.14, 3), (0.12, 3), (0.5, None)}
    assert all(deviation == pytest.approx(0.02) for _, seeds, deviation in found if seeds)


def test_ranges_of_ranks_stand_beside_the_rank(base):
    runs = [
        named(figures(base, fnmr), name, mask_source=source, digests={**base.digests, "scores": name})
        for name, fnmr, source in (("a", 0.1, "none"), ("b", 0.2, "none"), ("c", 0.0, "oracle"))
    ]
    (table,) = make_leaderboard(runs, ranges={"a": (1, 2), "b": (1, 2), "c": (1, 1)})
    ranks = zip(column(table, "rank"), column(table, "rank_best"), column(table, "rank_worst"), strict=True)
    assert list(ranks) == [(1, 1, 2), (2, 1, 2), (None, None, None)]


def test_privileged_masks_are_listed_but_not_ranked(base):
    entries = [("cheat", 0.0, "oracle"), ("given", 0.1, "file"), ("fair", 0.2, "segmenter"), ("plain", 0.3, "none")]
    results = [named(figures(base, fnmr), name, mask_source=source) for name, fnmr, source in entries]
    (table,) = make_leaderboard(results)
    ranks = list(zip(column(table, "rank"), column(table, "recognizer"), strict=True))
    assert ranks == [(1, "fair"), (2, "plain"), (None, "cheat"), (None, "given")]


# ---------------------------------------------------------------- what shares a table


def test_unlike_results_never_share_a_table(base):
    manifest = {**base.digests, "manifest": "0" * 64}
    other_protocol = make_run("base", protocol=make_protocol(version=2))[0]
    tables = make_leaderboard([
        base, named(base, "second"), other_protocol, dataclasses.replace(base, digests=manifest),
        dataclasses.replace(base, align="source"),
    ])  # fmt: skip
    assert sorted(len(table.rows) for table in tables) == [1, 1, 1, 2]
    for table in tables:
        for name, value in (("protocol_digest", table.protocol_digest), ("manifest_digest", table.manifest_digest)):
            assert set(column(table, name)) == {value}
        assert column(table, "rank")[0] == 1


def test_other_pictures_never_share_a_table(base, tmp_path):
    """Only the pictures differ: two tables, two files, and titles that tell them apart."""
    whole, lost = (dataclasses.replace(base, digests={**base.digests, "samples": digit * 64}) for digit in "ab")
    lost = dataclasses.replace(lost, environment={**lost.environment, "missing_pictures": "4"})
    tables = make_leaderboard([lost, whole, named(whole, "second")])
    assert [(table.samples_digest, len(table.rows)) for table in tables] == [("a" * 64, 2), ("b" * 64, 1)]
    assert [column(table, "missing_pictures") for table in tables] == [[None, None], ["4"]]
    files = write_csv(tables, tmp_path / "board.csv")
    manifest, protocol = base.digests["manifest"][:8], base.protocol["digest"][:8]
    stem = f"board.toy.{manifest}.masked.{protocol}"
    assert [path.name for path in files] == [f"{stem}.aaaaaaaa.csv", f"{stem}.bbbbbbbb.csv"]
    assert [len(read(path)) for path in files] == [2, 1]
    titles = [line for line in render_text(tables).splitlines() if line.startswith("toy (")]
    assert [line.partition("align ")[2] for line in titles] == ["masked", "masked, 4 pictures missing"]
    other = dataclasses.replace(base, digests={**base.digests, "samples": "c" * 64})
    titles = [line for line in render_text(make_leaderboard([whole, other])).splitlines() if line.startswith("toy (")]
    assert [line.partition(", pictures ")[2] for line in titles] == ["a" * 8, "c" * 8]


def test_files_of_protocols_whose_names_look_alike(base, tmp_path):
    protocols = [{**base.protocol, "name": name, "digest": digit * 64} for name, digit in (("a/b", "1"), ("a:b", "2"))]
    alike = [dataclasses.replace(base, protocol=protocol) for protocol in protocols]
    files = write_csv(make_leaderboard(alike), tmp_path / "x.csv")
    assert len(set(files)) == 2 and [read(path)[0]["protocol"] for path in files] == ["a/b", "a:b"]


def test_text_in_the_place_of_a_number_is_one_line_and_exit_code_2(tmp_path, capsys):
    write_runs(tmp_path / "results")
    path = tmp_path / "results" / "toy" / "plain" / "result.json"
    value = json.loads(path.read_text())
    value["metrics"]["UMR-MP"]["fmr100"]["fnmr_including_failures"] = "0.1"
    path.write_text(json.dumps(value))
    with pytest.raises(SystemExit) as stop:
        main(["leaderboard", str(tmp_path / "results"), "-o", str(tmp_path / "x.csv")])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "is not a number" in error and str(path) in error
    assert not (tmp_path / "x.csv").exists()


def test_results_without_a_masked_set(base):
    unmasked = dataclasses.replace(base, digests={}, metrics={"UMR-UMP": base.metrics["UMR-UMP"]})
    (table,) = make_leaderboard([unmasked])
    assert (table.manifest_digest, column(table, "rank")) == ("", [None])
    assert "masked set none" in render_text([table])


# ---------------------------------------------------------------- files


def test_any_order_gives_the_same_bytes(tmp_path):
    write_runs(tmp_path / "results")
    found = load_results(tmp_path / "results")
    found += [dataclasses.replace(result, completion="rpca", mask_source="oracle") for result in found]
    found += [dataclasses.replace(found[0], date="2027-01-01")]  # a second run of the same
    contents = set()
    for seed in range(6):
        random.Random(seed).shuffle(found)
        tables = make_leaderboard(found)
        assert write_csv(tables, tmp_path / "x.csv") == [tmp_path / "x.csv"]
        contents.add(((tmp_path / "x.csv").read_bytes(), render_text(tables)))
    assert len(contents) == 1
    rows = read(tmp_path / "x.csv")
    assert [row["recognizer"] for row in rows if row["rank"]] == ["sharp", "plain", "blunt", "blunt"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "3", "", "", ""]


def test_numbers_are_short_and_plain(base, tmp_path):
    result = figures(base, 1 / 3)
    result = dataclasses.replace(result, metrics={**result.metrics, "MR-MP": {"auc": 1e-7, "eer": {"value": 0.0}}})
    write_csv(make_leaderboard([result]), tmp_path / "x.csv")
    (row,) = read(tmp_path / "x.csv")
    found = [row[name] for name in ("UMR-MP.fmr100_including_failures", "MR-MP.auc", "MR-MP.eer")]
    assert found == ["0.333333", "1e-07", "0"]


def test_several_tables_go_to_several_files(base, tmp_path):
    first, second = (dataclasses.replace(base, digests={"manifest": digit * 64}) for digit in "ab")
    both = write_csv(make_leaderboard([second, first]), tmp_path / "board.csv")
    assert [path.name for path in both] == ["board.toy.aaaaaaaa.csv", "board.toy.bbbbbbbb.csv"]
    assert [row["manifest_digest"] for path in both for row in read(path)] == ["a" * 64, "b" * 64]
    aligned = dataclasses.replace(first, align="source/x")
    names = [path.name for path in write_csv(make_leaderboard([first, second, aligned]), tmp_path / "board.csv")]
    short = base.protocol["digest"][:8]
    assert names == [f"board.toy.aaaaaaaa.masked.{short}.csv", f"board.toy.aaaaaaaa.source-x.{short}.csv",
                     "board.toy.bbbbbbbb.csv"]  # fmt: skip


def test_no_results_give_a_table_without_rows(tmp_path):
    assert write_csv(make_leaderboard([]), tmp_path / "x.csv") == [tmp_path / "x.csv"]
    assert read(tmp_path / "x.csv") == []
    assert render_text([]) == "no results\n"


def test_names_with_commas_and_line_breaks(base, tmp_path):
    write_csv(make_leaderboard([named(base, 'a, "b"\nc')]), tmp_path / "x.csv")
    assert [row["recognizer"] for row in read(tmp_path / "x.csv")] == ['a, "b" c']


def test_the_terminal_shows_percent_and_markup_as_it_is(base, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = named(figures(base, 0.12345), "[red]x[/red]", completion="rpca", mask_source="oracle")
    text = render_text(make_leaderboard([result, named(base, "other")]), width=140)
    (line,) = [line for line in text.splitlines() if "[red]" in line]
    assert "[red]x[/red] + rpca (oracle)" in line
    assert "12.35" in line or "12.34" in line
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 140


def test_every_column_is_documented():
    from pathlib import Path

    from maskbench.leaderboard import FIGURES

    text = (Path(__file__).parents[1] / "docs/leaderboard.md").read_text(encoding="utf-8")
    assert [name for name in (*LEADING, *RANKED, *FIGURES, *TRAILING) if f"`{name}`" not in text] == []
