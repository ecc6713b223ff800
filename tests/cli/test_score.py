"""maskbench score from the command line: what it prints, what it writes, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskbench.cli import main as command_line
from maskbench.cli.score import FORMATS
from maskbench.score_formats_read import FORMATS as READ


@pytest.fixture
def call(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Run the command line in this process: (exit code, standard output, standard error)."""
    entry = ("maskbench.cli.score:score", "Measure scores that another program computed.")
    monkeypatch.setitem(command_line.COMMANDS, "score", command_line.COMMANDS.get("score", entry))

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command_line.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def assert_refused(answer: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2, one line on standard error with every part in it, no traceback."""
    code, _, error = answer
    assert code == 2 and "Traceback" not in error, error
    assert error.startswith("error: ") and error.count("\n") == 1, error
    for part in parts:
        assert part in error, error


@pytest.fixture
def sdk(tmp_path: Path) -> Path:
    """A CSV of 3,000 scores."""
    rng = np.random.default_rng(4)
    mated = np.arange(3000) % 3 == 0
    values = rng.normal(size=3000) + 3 * mated
    rows = "".join(f"{value!r},{'genuine' if same else 'impostor'}\n" for value, same in zip(values.tolist(), mated,
                                                                                              strict=True))
    path = tmp_path / "my sdk.csv"
    path.write_text("score,label\n" + rows)
    return path


def test_formats_are_those_that_can_be_read():
    assert FORMATS == ("auto", *READ)


def test_help_names_the_files_and_both_spellings(call):
    code, text, _ = call("score", "--help")
    assert code == 0 and "genuine scores, then the" in text
    for option in ("--protocol", "--format", "--name", "--condition", "--threshold-from", "--distance", "--at-fmr"):
        assert option in text


def test_scores_then_leaderboard_then_plot(call, sdk, tmp_path):
    results = tmp_path / "results"
    code, out, _ = call("score", sdk, "--name", "SDK 4.2", "--condition", "UMR-MP", "--threshold", "2", "-o", results)
    assert code == 0 and "read: 3,000 comparisons from" in out and "(CSV)" in out and "SDK 4.2" in out
    folder = results / "scores" / "SDK-4.2"
    assert f"written: {folder / 'result.json'}" in out
    assert sorted(path.name for path in folder.iterdir()) == ["result.json", "scores.npz"]
    found = json.loads((folder / "result.json").read_text())
    assert found["metrics"]["UMR-MP"]["at_threshold"]["threshold"] == 2
    code, out, _ = call("leaderboard", results, "-o", tmp_path / "board.csv")
    assert code == 0 and "SDK 4.2" in (tmp_path / "board.csv").read_text()
    code, out, _ = call("plot", results, "-o", tmp_path / "roc.svg")
    assert code == 0 and (tmp_path / "roc.svg").stat().st_size > 1000


def test_the_second_file_of_pyeer_and_a_foreign_threshold(call, sdk, tmp_path):
    rng = np.random.default_rng(5)
    for name, gap in (("genuine.txt", 2.0), ("impostor.txt", 0.3)):
        (tmp_path / name).write_text("".join(f"{value!r}\n" for value in (rng.normal(size=2000) + gap).tolist()))
    files = tmp_path / "genuine.txt", tmp_path / "impostor.txt"
    code, out, _ = call("score", *files, "--condition", "UMR-MP", "--threshold-from", sdk, "-o", tmp_path / "results")
    assert code == 0 and "2,000 genuine in" in out and "(pyeer)" in out
    found = json.loads((tmp_path / "results" / "scores" / "genuine" / "result.json").read_text())
    block = found["metrics"]["UMR-MP"]["transferred"]
    assert block["from"] == "my sdk.csv UMR-UMP" and block["fmr100"]["fmr"] > 0.012


def test_distances_by_either_name(call, sdk, tmp_path):
    rows = [line.split(",") for line in sdk.read_text().splitlines()[1:]]
    path = tmp_path / "d.csv"
    path.write_text("score,label\n" + "".join(f"{-float(value)!r},{label}\n" for value, label in rows))
    values = []
    for number, option in enumerate(("--distance", "--lower-is-better")):
        assert call("score", path, option, "-o", tmp_path / str(number))[0] == 0
        found = json.loads((tmp_path / str(number) / "scores" / "d" / "result.json").read_text())
        values.append(found["metrics"]["UMR-UMP"]["eer"]["value"])
    code, out, _ = call("score", path, "-o", tmp_path / "wrong")
    assert values[0] == values[1] < 0.1 and code == 0 and "note: mated comparisons are less alike" in out


BAD = {
    "unknown column": ("score,mated,age\n1,1,5\n", (), ("s.csv:1: unknown column 'age'", "known: ")),
    "mixed types": ("score,mated\n1,1\nn.a.x,0\n", (), ("s.csv:3: score is 'n.a.x', not a number",)),
    "mixed labels": ("score,mated\n1,1\n2,false\n", (), ("s.csv:3: mated is 'false'", "s.csv:2 says 1 or 0")),
    "duplicate pair ids": ("pair_id,score,mated\np,1,1\nq,2,0\np,1,1\n", (), ("s.csv:4: pair 'p'", "s.csv:2")),
    "a subject against itself": (
        "score,mated,reference_subject,probe_subject\n1,1,a,a\n2,0,a,b\n2,0,b,b\n", (),
        ("s.csv:4: subject 'b' against itself is marked non-mated",),
    ),
    "a missing side": ("score,reference_subject,probe_subject\n1,a,a\n2,,b\n", (), ("s.csv:3: reference_subject is",)),
    "a missing column": ("score,reference_subject\n1,a\n", (), ("s.csv:1: probe_subject is missing",)),
    "infinite": ("score,mated\n1,1\ninf,0\n", (), ("s.csv:3: score is inf",)),
    "negative FMR": ("score,mated\n1,1\n2,0\n", ("--at-fmr", "-0.01"), ("--at-fmr -0.01: choose a value above 0",)),
    "FMR above one": ("score,mated\n1,1\n2,0\n", ("--at-fmr", "2"), ("--at-fmr 2.0: choose a value above 0",)),
    "a source that is not there": ("score,mated\n1,1\n2,0\n", ("--threshold-from", "gone.csv"), ("gone.csv: neither",)),
    "another format": ("score,mated\n1,1\n2,0\n", ("--format", "bob4"), ("s.csv:1: expected 4 columns, found 1",)),
    "no such protocol": ("pair_id,score\np,1\n", ("--protocol", "lfv"), ("lfv: neither a protocol folder",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_with_file_and_line(call, tmp_path, name):
    text, options, parts = BAD[name]
    (tmp_path / "s.csv").write_text(text)
    assert_refused(call("score", tmp_path / "s.csv", *options, "-o", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_there_or_too_many(call, sdk, tmp_path):
    assert_refused(call("score", tmp_path / "gone.csv", "-o", tmp_path / "out"), "gone.csv: cannot be read")
    assert_refused(call("score", tmp_path, "-o", tmp_path / "out"), "is a folder")
    assert_refused(call("score", sdk, sdk, sdk, "--format", "csv", "-o", tmp_path / "out"), "takes one file; found 3")
    code, _, error = call("score", sdk, "--threshold", "high", "-o", tmp_path / "out")
    assert code == 2 and "not a valid float" in error


def test_what_evaluate_wrote_is_measured_the_same(call, crop_folder, tmp_path):
    """protocol make, evaluate with failures, score its file with its list of failures: nothing differs."""
    faces, work = crop_folder(24), tmp_path / "work"
    lines = ["1\t8", *(f"Subject_{k:03d}\t1\t2" for k in range(8))]
    lines += [f"Subject_{k:03d}\t1\tSubject_{k + 2:03d}\t2" for k in range(8)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    protocol = work / "protocol"
    assert call("protocol", "make", "lfw", faces, protocol, "--pairs", tmp_path / "pairs.txt")[0] == 0
    common = ["--protocol", protocol, "--faces", faces, "--out", work / "results"]
    assert call("evaluate", "--model", "dummy-failing", *common)[0] == 0
    (folder,) = (work / "results").glob("*/dummy-failing")
    options = ["--protocol", protocol, "--same-pictures", folder, "--failures", folder / "failures.csv"]
    answer = call("score", folder / "scores.npz", *options, "--condition", "UMR-UMP", "-o", work / "again")
    assert answer[0] == 0, answer
    (again,) = (work / "again").glob("*/scores")
    before, after = (json.loads((path / "result.json").read_text()) for path in (folder, again))
    for part in ("metrics", "counts", "thresholds", "intervals"):
        assert before[part] == after[part], part
    assert before["counts"]["UMR-UMP"]["probe_samples_failed"] == 3
