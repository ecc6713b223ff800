from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from maskbench.errors import MaskbenchError, NameRefusedError
from maskbench.files import (
    atomic_write,
    cache_root,
    data_root,
    inside,
    is_temporary,
    read_json,
    temporary_in,
    write_bytes,
    write_json,
    write_text,
)


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


@pytest.mark.parametrize("bad", ["", "/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"])
def test_inside_refuses_to_leave_the_root(tmp_path: Path, bad: str):
    with pytest.raises(MaskbenchError):
        inside(tmp_path, bad)


def test_inside_joins_what_stays(tmp_path: Path):
    assert inside(tmp_path, "a b/ü.c.jpg") == tmp_path / "a b" / "ü.c.jpg"
    assert inside(tmp_path, "..a/b..c/..d") == tmp_path / "..a" / "b..c" / "..d"
    assert inside(tmp_path, "a\\..\\b") == tmp_path / "a\\..\\b"  # a backslash is a letter like any other


def test_write_bytes_makes_folders_replaces_and_leaves_nothing_behind(tmp_path: Path):
    path = tmp_path / "x" / "y" / "a.bin"
    for data in (b"1", b"", bytes(300_000)):
        write_bytes(path, data)
        assert path.read_bytes() == data and os.listdir(path.parent) == ["a.bin"]
    with pytest.raises(MaskbenchError, match="cannot be written"):
        write_bytes(path.parent, b"a folder is in the way")
    assert os.listdir(tmp_path) == ["x"] and os.listdir(tmp_path / "x") == ["y"]


def test_bare_names_are_written_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_bytes("a.bin", b"1")
    assert (tmp_path / "a.bin").read_bytes() == b"1"


@pytest.mark.parametrize("write", [write_bytes, lambda path, data: write_text(path, data.decode())])
def test_a_name_that_no_file_can_have_is_told_from_a_full_disk(tmp_path: Path, write):
    with pytest.raises(NameRefusedError, match="another name"):
        write(tmp_path / ("x" * 256), b"1")
    (tmp_path / "file").write_text("")
    with pytest.raises(MaskbenchError) as caught:
        write(tmp_path / "file" / "x", b"1")
    assert not isinstance(caught.value, NameRefusedError)


def test_temporary_names_are_known_again(tmp_path: Path):
    with atomic_write(tmp_path / "a.bin"):
        (name,) = os.listdir(tmp_path)
        assert is_temporary(name)
    assert not is_temporary("a.bin") and not is_temporary(".hidden.tmp")
    for kind in ("tmp", "old"):
        first, second = temporary_in(tmp_path, kind), temporary_in(tmp_path, kind)
        assert first != second and is_temporary(os.path.basename(first)) and first.endswith(f".{kind}")


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
