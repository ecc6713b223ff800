import base64
import json
import os
import sys
from pathlib import Path

import pytest
from results_fixture import make_protocol, make_run, write_runs

from maskbench.report.plots import render
from maskbench.results import load_runs, result_dir, save_run

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "roc_curves.ipynb"


def execute(tmp_path, monkeypatch):
    """Run the notebook in a kernel of this interpreter that sees the results in ``tmp_path`` and nothing else."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("MASKBENCH_RESULTS", str(tmp_path / "results"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    return {cell["id"]: cell.get("outputs", []) for cell in notebook.cells}


def test_the_notebook_prints_the_leaderboard_and_draws_each_group(tmp_path, monkeypatch):
    write_runs(tmp_path / "results")
    result, scores, protocol = make_run("alone", protocol=make_protocol(name="other"))
    save_run(result_dir(tmp_path / "results", "other", "alone"), result, scores, protocol.pairs)
    outputs = execute(tmp_path, monkeypatch)
    assert outputs["load"][0]["text"].startswith("4 results")
    board = outputs["print"][0]["text"]
    assert board.index("alone") < board.index("sharp") < board.index("plain") < board.index("blunt")
    pictures = [base64.b64decode(output["data"]["image/png"]) for output in outputs["draw"]]
    assert len(pictures) == 2
    runs = load_runs(tmp_path / "results")
    assert pictures[1] == render([run for run in runs if run.result.protocol["name"] == "toy"])


def test_the_notebook_says_what_it_needs(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="run maskbench evaluate"):
        execute(tmp_path, monkeypatch)


def test_the_notebook_is_stored_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
