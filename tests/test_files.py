from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write, cache_root, data_root, inside, read_json, write_json


def test_atomic_write_leaves_the_old_file_when_the_writer_fails(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write(b"half")
        raise RuntimeError("power cut")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_atomic_write_makes_folders_and_replaces(tmp_path: Path):
    path = tmp_path / "x" / "y" / "a.bin"
    for data in (b"1", b"22"):
        with atomic_write(path) as stream:
            stream.write(data)
    assert path.read_bytes() == b"22" and os.listdir(path.parent) == ["a.bin"]


def test_a_folder_that_cannot_be_made_is_one_line_that_names_it(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MaskbenchError, match=r"file/a\.bin: cannot be written .*choose a folder") as caught:
        with atomic_write(tmp_path / "file" / "a.bin"):
            pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\b", "a\0b"])
def test_inside_refuses_to_leave_the_root(tmp_path: Path, bad: str):
    with pytest.raises(MaskbenchError):
        inside(tmp_path, bad)


def test_inside_joins_what_stays(tmp_path: Path):
    assert inside(tmp_path, "a b/ü.c.jpg") == tmp_path / "a b" / "ü.c.jpg"


def test_json_errors_name_file_and_line(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(MaskbenchError, match=r"a\.json:2: not valid JSON"):
        read_json(path)
    with pytest.raises(MaskbenchError, match="no such file"):
        read_json(tmp_path / "none.json")


def test_json_has_no_nan_and_sorted_keys(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8").index('"a"') < 6
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"b": 1, "a": "ü"}
    with pytest.raises(ValueError):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_roots_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MASKBENCH_CACHE", str(tmp_path / "c"))
    assert cache_root() == tmp_path / "c"
    monkeypatch.delenv("MASKBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "maskbench"
    monkeypatch.setenv("MASKBENCH_DATA", str(tmp_path / "absent"))
    assert data_root() is None
    monkeypatch.setenv("MASKBENCH_DATA", str(tmp_path))
    assert data_root() == tmp_path
