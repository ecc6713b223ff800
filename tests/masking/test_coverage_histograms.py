"""The tool that draws how much of the face each recipe covers."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from maskbench.images import read_image
from maskbench.masking.preview import mannequins


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    return importlib.import_module("coverage_histograms")


def test_shares_are_measured_and_drawn(tool, tmp_path, capsys):
    folder = tmp_path / "faces"
    folder.mkdir()
    for path in mannequins():
        shutil.copy(path, folder)
    (folder / "notes.json").write_text("{}")
    faces = tool.read_faces(folder, 10)
    assert len(faces) == len(mannequins()), "other files of the folder are no pictures"
    mine = tmp_path / "hats.yaml"
    mine.write_text(
        "name: hats\nversion: 1\ndescription: d\nsource: s\nseeds: [0, 1, 2, 3, 4]\n"
        "mix: [{name: a, weight: 1, wear: [{kind: [crown]}]}]\n"
    )
    shares = tool.measure(faces, ["maskinv", str(mine)])
    assert list(shares) == ["maskinv"] and "left out: recipe hats" in capsys.readouterr().out
    assert shares["maskinv"].shape == (4,) and 0.3 < shares["maskinv"].mean() < 0.6
    tool.draw(shares, tmp_path / "new" / "coverage.png")
    picture = read_image(tmp_path / "new" / "coverage.png")
    bars = (np.abs(picture.astype(int) - [0x5B, 0x8D, 0xB8]).max(-1) < 8).any(0)
    assert 1 <= bars.sum() < 0.3 * picture.shape[1], "bars where the shares are, and nowhere else"
