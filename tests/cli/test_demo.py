"""maskbench demo, maskbench people, and maskbench evaluate without faces of one's own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from maskbench import protocols
from maskbench.cli.main import main
from maskbench.files import cache_root
from maskbench.images import read_image
from maskbench.people import demo_set
from maskbench.protocols import make_folders, write_protocol
from maskbench.recognizers import builtin
from maskbench.results import find_results


@pytest.fixture
def call(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the command line in an empty folder: (exit code, standard output, standard error)."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def shipped(crop_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small set in the place of the one that ships, and two recognizers without weights in the place of all."""
    faces = crop_folder(24, "home/demo-people")
    write_protocol(make_folders(faces, 24), tmp_path / "home" / "protocol")
    monkeypatch.setattr(demo_set, "_home", lambda: tmp_path / "home")
    monkeypatch.setattr(demo_set, "shipped_protocols", lambda: {demo_set.NAME: tmp_path / "home" / "protocol"})
    monkeypatch.setattr(builtin, "WITHOUT_WEIGHTS", ())
    monkeypatch.setattr(builtin, "BUILTIN", {name: builtin.BUILTIN[name] for name in ("dummy", "dummy-failing")})
    monkeypatch.setenv("MASKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MASKBENCH_DATA", str(tmp_path / "home"))  # changes nothing
    return faces


def assert_refused(answer: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2, one line on standard error with every part in it, no traceback."""
    code, _, error = answer
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1
    for part in parts:
        assert part in error, error


def names(board: Path) -> set[str]:
    with open(board, encoding="utf-8", newline="") as stream:
        return {row["recognizer"] for row in csv.DictReader(stream)}


# ---------------------------------------------------------------- demo


def test_the_demo_takes_the_people_that_ship_and_every_recognizer(shipped: Path, call):
    code, out, _ = call("demo", "--workers", "1")
    assert code == 0 and f"faces: synthetic people, {shipped}" in out and demo_set.CAVEAT in out
    assert demo_set.CAVEAT.startswith("These numbers illustrate: ")
    home = Path("maskbench-demo")
    assert names(home / "leaderboard.csv") == {"dummy", "dummy-failing"}
    for name in ("roc.png", "masked.jpg", "masked/manifest.csv", "protocol/protocol.yaml"):
        assert (home / name).is_file(), name
    (shipped / "Subject_000" / "Subject_000_0001.png").unlink()
    assert_refused(call("demo", "--workers", "1"), "Subject_000_0001.png")


def test_the_demo_runs_on_a_folder_of_subjects(crop_folder, tmp_path: Path, call):
    faces = crop_folder(24)
    options = ["--out", tmp_path / "demo", "--model", "dummy", "--pairs", "24", "--workers", "1"]
    code, out, _ = call("demo", "--faces", faces, *options)
    assert code == 0 and "done in" in out and demo_set.CAVEAT not in out
    for name in ("leaderboard.csv", "roc.png", "masked.jpg", "masked/manifest.csv"):
        assert (tmp_path / "demo" / name).is_file(), name
    assert call("demo", "--faces", faces, *options)[0] == 0  # again: continues, overwrites nothing of value
    (faces / "Subject_000" / "Subject_000_0001.png").unlink()
    assert_refused(call("demo", "--faces", faces, *options), "holds a demo of other faces")


def test_a_demo_with_a_damaged_pair_list_says_so(crop_folder, tmp_path: Path, call):
    faces = crop_folder(24)
    (faces / "pairs.txt").write_text("1\t1\nSubject_000\tone\t2\nSubject_000\t1\tSubject_001\t2\n")
    answer = call("demo", "--faces", faces, "--out", tmp_path / "demo", "--model", "dummy", "--workers", "1")
    assert_refused(answer, "pairs.txt:2")


def test_the_demo_says_what_to_do_when_there_are_no_faces(tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch):
    assert_refused(call("demo", "--faces", tmp_path / "none"), "no such folder")
    assert_refused(call("demo", "--faces", tmp_path, "--lfw"), "give one of them")
    assert_refused(call("demo", "--pairs", "40"), "--pairs is for faces of your own")
    monkeypatch.setattr(demo_set, "shipped_protocols", dict)
    assert_refused(call("demo"), "lacks demo-people")
    monkeypatch.delenv("MASKBENCH_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sk"))
    import urllib.error

    import sklearn.datasets

    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_pairs", offline)
    assert_refused(call("demo", "--lfw", "--out", tmp_path / "demo"), "--faces", "MASKBENCH_DATA")
    assert not (tmp_path / "demo").exists()


# ---------------------------------------------------------------- evaluate


def test_evaluate_without_faces_masks_the_people_that_ship_once(shipped: Path, call):
    code, out, _ = call("evaluate", "--workers", "1")
    assert code == 0 and f"the synthetic people that ship, {shipped}" in out and demo_set.CAVEAT in out
    results = find_results(Path("results"))
    assert {path.parent.name for path in results} == {"dummy", "dummy-failing"}
    assert read_image(results[0].parents[1] / "roc.png").std() > 10
    (masked,) = (cache_root() / demo_set.NAME).iterdir()
    assert str(masked) in out
    before = {path: path.stat().st_mtime_ns for path in masked.rglob("*.png")}
    assert len(before) == 24
    code, out, _ = call("evaluate", "--workers", "1", "--model", "dummy", "--out", "one")
    assert code == 0 and "dummy-failing" not in out
    assert {path: path.stat().st_mtime_ns for path in masked.rglob("*.png")} == before
    assert [path.name for path in (cache_root() / demo_set.NAME).iterdir()] == [masked.name]


@pytest.mark.parametrize(("options", "lacking"), [
    (("--protocol", "p"), "no --faces:"), (("--faces", "f"), "no --protocol:"),
    (("--masked", "m"), "no --protocol and --faces:"), (("--protocol", "p", "--masked", "m"), "no --faces:"),
])  # fmt: skip
def test_evaluate_with_a_part_of_what_it_needs_says_what_is_missing(options: tuple[str, ...], lacking: str, call):
    assert_refused(call("evaluate", *options), lacking, "--protocol, --faces and --masked away")


@pytest.mark.parametrize("command", ["demo", "evaluate"])
def test_a_wrong_recognizer_is_told_before_anything_is_masked(command: str, shipped: Path, call):
    assert_refused(call(command, "--model", "dumy"), 'no recognizer named "dumy"', 'did you mean "dummy"')
    assert not cache_root().exists() and not list(Path().iterdir())


def test_every_recognizer_with_weights_is_a_shipped_one(monkeypatch: pytest.MonkeyPatch):
    assert builtin.shipped_recognizers() == ["dlib-resnet", "maskinv", "deocclusion", "g2d"]
    monkeypatch.setitem(builtin.BUILTIN, "later", "some.module:factory")
    assert builtin.shipped_recognizers() == ["dlib-resnet", "maskinv", "deocclusion", "g2d", "later"]
    assert set(builtin.WITHOUT_WEIGHTS) <= set(builtin.BUILTIN)


def test_a_protocol_that_ships_whole_is_listed_and_shown(shipped: Path, call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocols, "shipped_protocols", demo_set.shipped_protocols)
    assert "Pairs drawn at random" in call("protocol", "list")[1].splitlines()[-1]
    text = call("protocol", "show", demo_set.NAME)[1]
    assert "licence: Tables only" in text and "samples 24" in text


# ---------------------------------------------------------------- people


def test_people_by_number_and_by_file(tmp_path: Path, call):
    options = ["--pictures", "2", "--size", "64", "--workers", "1"]
    code, out, _ = call("people", "a", "--identities", "2", "--first-identity", "5", *options, "--preview", "s.png")
    assert code == 0 and "4 pictures of 2 people (4 made now" in out and "sheet: s.png" in out
    assert read_image(Path("s.png")).shape == (64, 4 * 64, 3)
    Path("numbers.txt").write_text("6\n5\n")
    assert call("people", "b", "--only", "numbers.txt", *options)[0] == 0
    assert (Path("a") / "people.csv").read_bytes() == (Path("b") / "people.csv").read_bytes()
    assert "(0 made now" in call("people", "b", "--only", "numbers.txt", *options, "--resume")[1]
    assert call("people", "b", "--identities", "1", *options, "--overwrite")[0] == 0
    assert sorted(path.name for path in Path("b").glob("P*")) == ["P00000"]


def test_people_refuses_what_it_cannot_make(call):
    few = ["--identities", "1", "--pictures", "1", "--size", "64", "--workers", "1"]
    assert call("people", "a", *few)[0] == 0
    assert_refused(call("people", "a", *few), "is not empty; use --resume")
    assert_refused(call("people", "a", *few, "--seed", "1", "--resume"), "another seed")
    assert_refused(call("people", "a", *few, "--resume", "--overwrite"), "give one of them")
    assert_refused(call("people", "b", "--only", "none.txt"), "none.txt")
    assert_refused(call("people", "b", "--only", "x", "--identities", "3"), "leave --identities away")
    assert call("people", "b", "--size", "10")[0] == 2 and not Path("b").exists()
