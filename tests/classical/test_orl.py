"""On ORL the methods name as many people as is published for them: benchmarks/orl.py, in short."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "orl.py"


@pytest.fixture(scope="module")
def orl() -> ModuleType:
    loaded = importlib.util.spec_from_file_location("orl_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures(orl: ModuleType, data_root: Path) -> np.ndarray:
    return orl.read_orl(data_root / "faces" / "orl")


def test_halves_are_five_and_five(orl):
    found = list(orl.halves(3, 0))
    assert len(found) == 4 and all((half.sum(axis=1) == 5).all() for half in found)
    assert found[0][:, :5].all() and not np.array_equal(found[1], found[2])
    assert all(np.array_equal(a, b) for a, b in zip(found, orl.halves(3, 0), strict=True))


def test_answers_by_hand(orl):
    gallery, people = np.array([[1.0, 0], [0, 3]]), np.array([7, 9])
    probes = np.array([[0.9, 0.8], [0.1, 0.2]])
    assert orl.answers(gallery, people, probes, "negative-l2").tolist() == [7, 7]
    assert orl.answers(gallery, people, probes, "cosine").tolist() == [7, 9]
    assert orl.answers(gallery, people, probes, "sparse-residual").tolist() == [7, 9]


def test_pictures_that_are_not_there(orl, tmp_path):
    with pytest.raises(SystemExit, match="s1 lacks pictures"):
        orl.read_orl(tmp_path)


# First-five rate and mean over random halves that must be reached, in percent: below what was measured by about one
# standard deviation, for three random halves are fewer than ten.
FLOORS = {
    "PCA, Euclidean": (90, 92.5),
    "PCA, cosine": (91, 93.5),
    "LPP, subjects": (88, 92.5),
    "SR, pixels": (93, 94),
}


@pytest.mark.parametrize("name", FLOORS)
def test_rates_on_orl(orl, pictures, name):
    method, values = orl.SETTINGS[name]
    first, *others = orl.rates(pictures, method, values, 3, 0)
    assert first >= FLOORS[name][0] and np.mean(others) >= FLOORS[name][1]


@pytest.mark.slow
def test_gabor_rates_on_orl(orl, pictures):
    first, *others = orl.rates(pictures, *orl.SETTINGS["Gabor-PCA, cosine"], 10, 0)
    assert first >= 94 and np.mean(others) >= 96
