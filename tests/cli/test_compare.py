"""maskbench compare on results that were written by the real scoring."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from maskbench.cli.compare import compare
from maskbench.errors import MaskbenchError, ResultError
from maskbench.protocols import write_protocol
from maskbench.results import result_dir, save_run

sys.path.insert(0, str(Path(__file__).parents[1]))
from results_fixture import make_protocol, make_run  # noqa: E402

LEVELS = {"sharp": (0.4, 0.6, 0), "plain": (0.6, 1.1, 12), "twin": (0.6, 1.1, 12)}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("results")
    protocol = make_protocol(subjects=300, folds=10)
    write_protocol(protocol, root / "protocol")
    for name, levels in LEVELS.items():
        result, scores, used = make_run(name, *levels, protocol)
        save_run(result_dir(root, used.name, name), result, scores, used.pairs)
    return root


def run(results: Path, *arguments: str, names: tuple[str, str] = ("sharp", "plain")) -> str:
    paths = [str(results / "toy" / name) for name in names]
    protocol = ["--protocol", str(results / "protocol")] if "--protocol" not in arguments else []
    done = CliRunner().invoke(compare, [*paths, *protocol, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_better_one_is_named_with_its_interval(results):
    text = run(results)
    assert "A better by" in text and text.rstrip().splitlines()[-1].startswith("A better by")
    assert "UMR-MP, fnmr@fmr100" in text and "A" in text and "sharp" in text and "plain" in text
    assert "assumes independent pairs" in text and "95 % interval" in text
    swapped = run(results, names=("plain", "sharp")).rstrip().splitlines()[-1]
    assert swapped == text.rstrip().splitlines()[-1].replace("A better", "B better")


def test_equal_ones_are_not_distinguishable(results):
    text = run(results, "--bootstrap", "30", names=("plain", "twin"))
    assert text.rstrip().splitlines()[-1] == "not distinguishable"
    assert "paired subject bootstrap [+0.000, +0.000] (weights: sparse)" in text


def test_json_says_the_same_and_failures_count(results):
    found = json.loads(run(results, "--json", "--metric", "fnmr@fmr10", "--bootstrap", "50"))
    assert (found["name_a"], found["name_b"], found["condition"]) == ("sharp", "plain", "UMR-MP")
    stored = [json.loads((results / "toy" / name / "result.json").read_text()) for name in ("sharp", "plain")]
    blocks = [value["metrics"]["UMR-MP"]["fmr100"]["fnmr_including_failures"] for value in stored]
    percent = json.loads(run(results, "--json"))
    assert (percent["a"], percent["b"]) == pytest.approx(tuple(blocks))
    assert found["difference"] == pytest.approx(found["a"] - found["b"]) and found["low"] < found["high"] < 0
    assert found["mcnemar"]["only_b"] > found["mcnemar"]["only_a"] and len(found["bootstrap"]) == 2


def test_other_conditions_and_metrics(results):
    assert run(results, "--condition", "UMR-UMP", "--metric", "eer").startswith("UMR-UMP, eer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--condition", "MR-UMP"), 'condition "MR-UMP" was not run in both results; the protocol has MR-MP, UMR-MP'),
        (("--metric", "auc"), 'no metric "auc"'),
        (("--metric", "fnmr@fmr10000"), "not resolvable"),
        (("--protocol", "nowhere"), "neither a protocol folder nor a shipped protocol"),
    ],
)
def test_refuses(results, arguments, message):
    with pytest.raises(MaskbenchError, match=message):
        run(results, *arguments)


def test_refuses_another_protocol_of_the_same_name(results, tmp_path):
    write_protocol(make_protocol(subjects=40), tmp_path / "toy")
    with pytest.raises(ResultError, match="not the protocol of the results"):
        run(results, "--protocol", str(tmp_path / "toy"))


def test_refuses_results_of_other_pictures_and_other_scores(results, tmp_path):
    other = make_protocol(subjects=300, folds=10, version=2)
    result, scores, used = make_run("new", 0.4, 0.6, 0, other)
    save_run(tmp_path / "toy" / "new", result, scores, used.pairs)
    shutil.copytree(results / "toy" / "sharp", tmp_path / "toy" / "sharp")
    write_protocol(other, tmp_path / "protocol")
    with pytest.raises(ResultError, match="not the same protocol"):
        run(tmp_path, names=("sharp", "new"))
    shutil.copy(results / "toy" / "plain" / "scores.npz", tmp_path / "toy" / "sharp" / "scores.npz")
    with pytest.raises(ResultError, match="not the file that"):
        run(tmp_path, names=("sharp", "new"))
