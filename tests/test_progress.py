from __future__ import annotations

import io
import re
import sys

import pytest

from maskbench import progress
from maskbench.progress import track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_nobody_looks_nothing_is_drawn(capsys: pytest.CaptureFixture):
    assert list(track(iter("abc"), 3, "working")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("interval", [0.0, 1e9])
def test_the_bar_starts_and_ends_where_the_work_does(monkeypatch: pytest.MonkeyPatch, interval: float):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "INTERVAL", interval)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    assert list(track(range(40), 100, "working", 60)) == list(range(40))
    shown = re.findall(r"(\d+)/100", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()))
    assert shown[-1] == "100" and "working" in terminal.getvalue()
    assert min(map(int, shown)) >= 60


def test_an_exception_passes_and_the_items_are_taken_one_by_one(monkeypatch: pytest.MonkeyPatch):
    taken = []

    def items():
        for number in range(5):
            taken.append(number)
            yield number

    bar = track(items(), 5, "working")
    assert next(bar) == 0 and taken == [0]
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ZeroDivisionError):
        for number in track(items(), 5, "working"):
            1 / (3 - number)
