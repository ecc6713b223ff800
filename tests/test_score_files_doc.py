"""docs/scores.md: its examples can be read, and it names every format, column and option."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from maskbench.cli.score import score as command
from maskbench.score_formats_read import COLUMNS, FORMATS, read_table
from maskbench.score_formats_values import LABEL_WORDS, MISSING

PAGE = Path(__file__).parents[1] / "docs" / "scores.md"


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def example(text: str, first: str) -> str:
    """The indented block whose first line begins with ``first``."""
    found = re.search(rf"^    {re.escape(first)}.*\n(?:    .*\n)*", text, flags=re.MULTILINE)
    assert found, first
    return re.sub(r"^    ", "", found.group(), flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("first", "kind", "mated"),
    [
        ("pair_id,score", "csv", None),
        ("score,label,", "csv", [True, False, True, False]),
        ("ann ann ann/2", "bob4", [True, False]),
        ("ann model_ann", "bob5", [True, False]),
        ("enrollTempl", "nist", None),
    ],
)
def test_every_example_is_read_as_its_format(text, tmp_path, first, kind, mated):
    (tmp_path / "example").write_text(example(text, first))
    table = read_table([tmp_path / "example"])
    assert table.format == kind and len(table) >= 2
    assert mated is None or table.mated.tolist() == mated
    assert (table.status != 0).sum() == (mated is None)  # the two that show a failed comparison


def test_the_example_of_two_files(text, tmp_path):
    columns = [re.split(r"  +", line) for line in example(text, "genuine.txt").splitlines()]
    for name, *lines in zip(*columns, strict=True):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    table = read_table([tmp_path / "genuine.txt", tmp_path / "impostor.txt"])
    assert table.format == "pyeer" and table.mated.tolist() == [True, True, False, False]


def test_every_format_column_word_and_option_is_named(text):
    for name in (*FORMATS, *COLUMNS):
        assert f"`{name}`" in text, name
    for word in MISSING[1:]:
        assert f"`{word}`" in text, word
    for words in LABEL_WORDS:
        assert f"`{list(words)[0]}`/`{list(words)[1]}`" in text
    options = [option for each in command.params if isinstance(each, click.Option) for option in each.opts]
    for option in options:
        assert option in text or option == "--out", option


def test_every_command_line_parses(text):
    lines = re.findall(r"^    maskbench score (.*)$", text.replace("\\\n", " "), flags=re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|[^\s]+', line)]
        context = command.make_context("score", words)
        assert context.params["files"] and context.params["out"] == Path("results/")
