"""The tool that compares two installations; what it does between installing and reporting."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path

import pytest

COLUMNS = "source,status,landmarks\n"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "tools"))
    return importlib.import_module("two_environments")


def test_pictures_are_evenly_chosen_under_their_paths(tool, tmp_path: Path):
    for number in range(10):
        path = tmp_path / "faces" / f"s{number // 2}" / f"{number}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]))
    (tmp_path / "faces" / "notes.txt").write_text("no picture")
    assert tool.choose(tmp_path / "faces", 3, tmp_path / "chosen") == 3
    chosen = {str(path.relative_to(tmp_path / "chosen")) for path in (tmp_path / "chosen").rglob("*.*")}
    assert chosen == {"s0/0.JPG", "s1/3.JPG", "s3/6.JPG"}
    assert tool.choose(tmp_path / "faces", 40, tmp_path / "all") == 10
    assert tool.choose(tmp_path / "chosen" / "s9", 40, tmp_path / "none") == 0


def test_what_differs_is_named(tool, tmp_path: Path):
    for name, picture in (("one", b"a"), ("two", b"b")):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x.jpg").write_bytes(picture)
        (tmp_path / name / "same.csv").write_bytes(b"rows")
        (tmp_path / name / f"only-{name}").write_bytes(b"")
    one, two = tool.digests(tmp_path / "one"), tool.digests(tmp_path / "two")
    assert one["sub/x.jpg"] == hashlib.sha256(b"a").hexdigest() and list(one) == ["only-one", "same.csv", "sub/x.jpg"]
    assert tool.differences(one, two) == ["only-one", "only-two", "sub/x.jpg"]
    assert tool.differences(one, one) == []


def fake(tool, monkeypatch: pytest.MonkeyPatch, spoil: str, rows: str = "1.jpg,masked,mesh\n") -> list[list[str]]:
    """No installing: 'environments' whose maskbench writes two files, other bytes in the one named ``spoil``."""
    commands = []

    def run(command: list[str]) -> str:
        commands.append(command)
        if command[1] == "synthesize":
            out = Path(command[3])
            out.mkdir()
            (out / "manifest.csv").write_text(COLUMNS + rows)
            (out / "1.jpg").write_bytes(b"other" if out.name == spoil else b"picture")
        return "numpy==1\n" if spoil != "versions" or "first" in command[0] else "numpy==2\n"

    monkeypatch.setattr(tool, "run", run)
    monkeypatch.setattr(tool, "build_wheel", lambda root: root / "maskbench.whl")
    monkeypatch.setattr(tool, "make_environment", lambda folder, *_: str(folder / "bin" / "python"))
    return commands


def test_the_same_bytes_are_no_failure(tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    commands = fake(tool, monkeypatch, "nothing")
    assert tool.compare(tmp_path / "faces", tmp_path) == 0
    masked = [command for command in commands if command[1] == "synthesize"]
    assert [(Path(c[0]).parts[-3], c[c.index("--workers") + 1]) for c in masked] == [
        ("first", "1"), ("first", "2"), ("second", "1"), ("second", "2"),
    ]  # fmt: skip
    assert all(Path(c[0]).name == "maskbench" and "--no-cache" in c and "deocclusion" in c for c in masked)
    printed = capsys.readouterr().out
    assert "first-1: {'masked by mesh': 1}, 2 files" in printed and printed.endswith("0 of 2 files differ\n")


@pytest.mark.parametrize(("spoil", "told"), [("second-2", "1 of 2 files differ 1.jpg"), ("versions", "numpy==2")])
def test_what_is_not_the_same_is_a_failure(tool, tmp_path: Path, monkeypatch, capsys, spoil: str, told: str):
    fake(tool, monkeypatch, spoil)
    assert tool.compare(tmp_path / "faces", tmp_path) == 1
    assert told in capsys.readouterr().out


def test_nothing_masked_is_a_failure(tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake(tool, monkeypatch, "nothing", "1.jpg,failed,\n")
    with pytest.raises(SystemExit, match="nothing was masked"):
        tool.compare(tmp_path / "faces", tmp_path)


def test_environments_do_not_see_our_code(tool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere")
    code = "import os; print([name for name in ('PYTHONPATH', 'NUMBA_CACHE_DIR') if name in os.environ])"
    assert tool.run([sys.executable, "-c", code]) == "[]\n"


def test_no_pictures(tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["two_environments.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="no pictures"):
        tool.main()
