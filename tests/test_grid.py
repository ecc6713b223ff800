"""The grid: cells, resuming, and the table in three formats."""

from __future__ import annotations

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskbench import grid as grid_module
from maskbench import grid_table, systems
from maskbench.cli.main import main
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions
from maskbench.grid import Cell, GridSet, ar_sets, run_grid
from maskbench.grid_table import entries, paper_values, to_csv, to_latex, to_markdown
from maskbench.images import read_image, write_image
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.models.zoo import NETWORKS
from maskbench.protocols import make_folders
from maskbench.recognizers.base import RECOGNIZERS, load_recognizer
from maskbench.recognizers.builtin import CLASSICAL
from maskbench.recognizers.dummy import DummyRecognizer
from maskbench.results import load_results


@pytest.fixture
def ar(crop_folder, tmp_path: Path):
    """AR1 and AR2 on six subjects."""
    said: list[str] = []
    return ar_sets(crop_folder(12), tmp_path / "grid", 1, None, said.append)


def run(ar, out: Path, models=("dummy",), completions=("none", "telea"), **options) -> list[Cell]:
    wanted = EvaluationOptions(workers=1, mask_source="oracle", **options)
    return run_grid(ar, models, completions, out, wanted, out / "cache", lambda line: None)


def test_every_cell_has_rank_one_over_all_subjects(ar, tmp_path: Path):
    cells = run(ar, tmp_path / "grid", ["dummy", "dummy-failing"])
    assert [(c.set, c.completion, c.model) for c in cells] == [
        (s, k, m) for s in ("AR1", "AR2") for k in ("none", "telea") for m in ("dummy", "dummy-failing")
    ]
    for cell in cells:
        block = cell.result.metrics["UMR-MP"]["identification"]
        assert block["subjects"] == 6 and block["searches"] == 6 and 0 <= block["rank1"] <= 1
    assert len(load_results(tmp_path / "grid" / "results")) == 8


def test_a_grid_continues_where_it_stopped(ar, tmp_path: Path, monkeypatch):
    out = tmp_path / "grid"
    real, calls = grid_module.evaluate, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(grid_module, "evaluate", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(ar, out)
    monkeypatch.undo()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert len(stamps) == 2
    assert all(cell.result for cell in run(ar, out))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps and len(list(out.rglob("result.json"))) == 4
    shutil.rmtree(out / "results" / ar[0].protocol.name / "dummy")
    assert all(cell.result for cell in run(ar, out))


def test_a_cell_that_fails_has_a_reason_and_the_others_are_run(ar, tmp_path: Path):
    cells = run(ar[:1], tmp_path / "grid", ["dummy", "nobody"])
    assert [cell.result is None for cell in cells] == [False, True, False, True]
    assert 'no recognizer named "nobody"' in cells[1].reason
    text = to_markdown(entries(cells), ar[:1], "rank1")
    assert "Not run: AR1, none, nobody; AR1, telea, nobody: no recognizer" in text and "| nobody | - | - |" in text
    with pytest.raises(MaskbenchError, match="model dummy is named twice"):
        run(ar, tmp_path / "grid", ["dummy", "dummy"])


def test_the_table_shows_value_interval_and_the_papers_number(ar, tmp_path: Path):
    cells = run(ar, tmp_path / "grid", completions=("none", "telea"))
    pca = {**cells[0].result.recognizer, "network": "classical-pca"}
    as_pca = [replace(cell, result=replace(cell.result, recognizer=pca)) for cell in cells]
    found = entries(as_pca)
    assert [entry.paper for entry in found] == [61.4, None, 37.5, None]
    rate = cells[0].result.metrics["UMR-MP"]["identification"]["rank1"]
    spread = cells[0].result.intervals["UMR-MP"]["identification.rank1"]
    wanted = f"{100 * rate:.1f} [{100 * spread['low']:.1f}, {100 * spread['high']:.1f}] (61.4)"
    assert found[0].text == wanted
    markdown = to_markdown(found, ar, "rank1")
    assert markdown.startswith("| recognizer | AR1 Occ. | AR1 telea | AR2 Occ. | AR2 telea |") and wanted in markdown
    assert "other pictures than ours" in markdown and "Masks for the completions: oracle, privileged." in markdown
    latex = to_latex(found, ar, "rank1")
    assert latex.count(r"\\") == 3 and r"\multicolumn{2}{c}{AR1}" in latex and r"95 \% intervals" in latex
    assert "other pictures than ours" in latex and not re.search(r"(?<!\\)[%#_]", latex)
    rows = list(csv.DictReader(io.StringIO(to_csv(found, "rank1"))))
    assert float(rows[0]["value"]) == pytest.approx(rate) and rows[0]["paper_value"] == "0.614"
    assert {row["mask_source"] for row in rows} == {"none", "oracle"} and rows[0]["subjects"] == "6"


def test_the_papers_numbers_are_those_of_its_table():
    values = paper_values()
    assert len(values) == 88 and values["AR1", "PCA", "none"] == 61.4 and values["AR2", "OUR", "ga"] == 94.1
    assert ("AR1", "OUR", "none") not in values
    best = {where: max(value for (s, _, _), value in values.items() if s == where) for where in ("AR1", "AR2")}
    assert best == {"AR1": 98.0, "AR2": 94.1}


def test_the_papers_rows_belong_to_networks_that_exist():
    known = {*NETWORKS, *(f"classical-{name}" for name in CLASSICAL)}
    assert set(grid_table._PAPER_ROWS) <= known
    assert set(grid_table._PAPER_ROWS.values()) <= {who for _, who, _ in paper_values()}


def test_two_models_of_one_name_are_refused_before_anything_runs(ar, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(RECOGNIZERS._entries, "twin", lambda device, engine: DummyRecognizer())
    with pytest.raises(MaskbenchError, match='dummy and twin both call themselves "dummy"'):
        run(ar, tmp_path / "grid", ["dummy", "twin"])
    assert not (tmp_path / "grid" / "results").exists()


def test_mask_files_are_taken_from_the_folder_of_each_set(crop_folder, tmp_path: Path):
    sets = ar_sets(crop_folder(12), tmp_path / "grid", 1, None, lambda line: None, tmp_path / "files")
    assert [where.mask_files for where in sets] == [tmp_path / "files" / name for name in ("ar1", "ar2")]
    for where in sets:
        for picture in where.masked.rglob("*.png"):
            mask = np.full(read_image(picture).shape[:2], 255 * (where.name == "AR1"), np.uint8)
            write_image(where.mask_files / f"{picture.relative_to(where.masked)}.png", mask)
    options = EvaluationOptions(workers=1, mask_source="file", mask_files=tmp_path / "files")
    cells = run_grid(sets, ["dummy"], ["telea"], tmp_path / "grid", options, None, lambda line: None)
    failed = [cell.result.metrics["UMR-MP"]["ftx"]["probe"] for cell in cells]
    assert failed == [1.0, 0.0]  # a wholly inpainted face is flat and has no template; an empty mask changes nothing


def test_without_identification_the_figure_is_fnmr(crop_folder, tmp_path: Path, capsys):
    faces = crop_folder(24)
    synthesize(faces, tmp_path / "m", SynthesisConfig(landmarks="aligned"), 1)
    protocol = make_folders(faces, 24)
    where = [GridSet("P|Q", protocol, faces, tmp_path / "m")]
    cells = run(where, tmp_path / "grid", completions=("none",))
    text = to_markdown(entries(cells, "fmr100"), where, "fmr100")
    assert "FNMR at own strict FMR" in text and "(61.4)" not in text and r"| P\|Q Occ. |" in text
    with pytest.raises(MaskbenchError, match='did you mean "rank1"'):
        entries(cells, "rank")


def test_the_command_builds_runs_and_writes_the_tables(crop_folder, tmp_path: Path, capsys, monkeypatch):
    faces, out, loads = crop_folder(12), tmp_path / "out", []
    monkeypatch.setattr(systems, "load_recognizer", lambda *a, **k: loads.append(a[0]) or load_recognizer(*a, **k))
    call = ["grid", "--models", "dummy", "--completions", "none,telea", "--protocol", "ar", "--faces", str(faces),
            "--mask-source", "oracle", "--workers", "1", "--out", str(out)]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main(call)
    said = capsys.readouterr().out
    assert end.value.code == 0 and "4/4 AR2, telea, dummy" in said and "| recognizer | AR1 Occ." in said
    assert loads == ["dummy"]  # once for all cells
    for name in ("grid.csv", "grid.md", "grid.tex"):
        assert (out / name).stat().st_size > 100
    first = (out / "grid.csv").read_bytes()
    with pytest.raises(SystemExit):
        main(call)
    assert (out / "grid.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", ","], "at least one model"),
        (["--models", "dumy"], 'did you mean "dummy"'),
        (["--models", "dummy", "--completions", "rpca"], "--fit-on"),
        (["--models", "pca"], "--fit-on"),
        (["--models", "pca", "--fit-on", __file__], "test_grid.py: not a folder; give a folder of faces"),
        (["--models", "dummy", "--completions", "none,none"], "completion none is named twice"),
        (["--models", "dummy,dummy"], "model dummy is named twice"),
        (["--models", "dummy", "--mask-source", "file", "--mask-files", __file__], "test_grid.py: not a folder"),
        (["--models", "dummy", "--protocol", "ar"], "give --faces"),
        (["--models", "dummy", "--protocol", "lfw"], "no --faces"),
    ],
)  # fmt: skip
def test_wrong_calls_end_with_one_line(arguments: list[str], said: str, tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["grid", *arguments, "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
