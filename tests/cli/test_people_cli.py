"""maskbench people: what is refused before any picture is drawn, and what a run writes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from maskbench.cli.main import main
from maskbench.cli.people import people
from maskbench.images import read_image
from maskbench.people.config import FORMATS, LARGEST_IDENTITY, MOST_PEOPLE, MOST_SHOTS, SIZES

FEW = ("--identities", "2", "--pictures", "1", "--size", "64", "--workers", "1")


@pytest.fixture
def call(capsys: pytest.CaptureFixture):
    """Run ``maskbench people`` in this process: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["people", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_a_run_and_its_sheet(call, tmp_path: Path):
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    code, said, _ = call(out, *FEW, "--first-identity", LARGEST_IDENTITY - 1, "--preview", sheet)
    assert code == 0 and "2 pictures of 2 people (2 made now" in said and f"sheet: {sheet}" in said
    assert (out / "P999999999" / "P999999999_0001.jpg").is_file()
    assert json.loads((out / "people.json").read_text())["first_identity"] == LARGEST_IDENTITY - 1
    assert read_image(sheet).shape == (64, 128, 3)
    code, said, _ = call(out, *FEW, "--overwrite", "--preview", sheet)  # which the sheet does not keep it from
    assert code == 0 and (out / "P00001" / "P00001_0001.jpg").is_file() and not (out / "P999999999").exists()


@pytest.mark.parametrize(("options", "words"), [
    (("--first-identity", LARGEST_IDENTITY), "2 people from 999999999 on"),
    (("--format", "png", "--quality", "90"), "quality 90: a png is without loss"),
    (("--preview", "sheet.gif"), "sheet.gif: no name of a picture"),
    (("--preview", "sheet"), "sheet: no name of a picture"),
    (("--preview", "out/sheet.png"), "a sheet inside out would keep it from being overwritten"),
    (("--resume", "--overwrite"), "--resume keeps what --overwrite removes"),
    (("--only", "numbers.txt"), "--only names the people: leave --identities away"),
])  # fmt: skip
def test_refused_in_one_line_before_anything_is_drawn(
    options: tuple, words: str, call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    code, said, complaint = call("out", *FEW, *options)
    assert code == 2 and words in complaint and complaint.count("\n") == 1 and not said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [
    ("--identities", 10**9), ("--identities", MOST_PEOPLE + 1), ("--first-identity", LARGEST_IDENTITY + 1),
])  # fmt: skip
def test_numbers_out_of_range_are_refused_at_once(options: tuple, call, tmp_path: Path):
    code, _, complaint = call(tmp_path / "out", *options)
    assert code == 2 and "is not in the range" in complaint and not (tmp_path / "out").exists()


def test_the_options_have_the_library_s_ranges():
    kinds = {parameter.name: parameter.type for parameter in people.params}
    ranges = {name: (kind.min, kind.max) for name, kind in kinds.items() if isinstance(kind, click.IntRange)}
    assert ranges["identities"] == (1, MOST_PEOPLE) and ranges["first_identity"] == (0, LARGEST_IDENTITY)
    assert ranges["pictures"] == (1, MOST_SHOTS) and ranges["size"] == SIZES
    assert tuple(kinds["form"].choices) == FORMATS


def test_a_link_to_a_person_is_refused_in_one_line(call, tmp_path: Path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    assert call(out, *FEW)[0] == 0
    (out / "P00001").rename(elsewhere)
    (elsewhere / "P00001_0001.jpg").unlink()
    (out / "P00001").symlink_to(elsewhere)
    code, _, complaint = call(out, *FEW, "--resume")
    assert code == 2 and complaint.startswith(f"error: {out / 'P00001'}: a link") and complaint.count("\n") == 1
    assert not list(elsewhere.iterdir())


def test_help_says_on_what_the_bytes_depend(call):
    code, said, _ = call("--help")
    assert code == 0 and "pinned versions alone, on the same type of processor" in " ".join(said.split())
