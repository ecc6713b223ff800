"""The table, the landmarks and the journal of synthetic people."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from maskbench.errors import ManifestError, MaskbenchError
from maskbench.people.records import (
    ATTRIBUTES,
    JOURNAL,
    POINTS,
    TABLE,
    PeopleJournal,
    PictureRow,
    attribute_cells,
    read_people,
    read_points,
    row_from_json,
    row_to_json,
    write_people,
)


def row(number: int) -> PictureRow:
    points = np.random.default_rng(number).normal(80, 30, (468, 3)).astype(np.float32)
    cells = (str(number), *(f"{name}, {number}" for name in ATTRIBUTES[1:]))  # commas, as a colour's name may have
    return PictureRow(f"P{number:05d}/P{number:05d}_0001.jpg", f"{number:064x}", cells, points)


def same(one: PictureRow, other: PictureRow) -> bool:
    return (one.path, one.sha256, one.cells) == (other.path, other.sha256, other.cells) and np.array_equal(
        one.points, other.points
    )


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    rows = {one.path: one for one in map(row, range(3))}
    write_people(tmp_path, list(rows), rows.get)
    return tmp_path


def test_attributes_as_text():
    values = dict.fromkeys(ATTRIBUTES, "x") | {"age": 31, "yaw": -0.5, "light": [1.0, -2.5e-7, 3]}
    cells = dict(zip(ATTRIBUTES, attribute_cells(values), strict=True))
    assert cells["age"] == "31" and float(cells["yaw"]) == -0.5 and cells["light"] == "1.0 -2.5e-07 3"
    with pytest.raises(MaskbenchError, match=r"\(beard\)"):
        attribute_cells({**values, "beard": "full"})
    with pytest.raises(MaskbenchError, match="their order"):
        attribute_cells(dict(reversed(values.items())))


def test_a_row_survives_the_journal(tmp_path: Path):
    line = row_to_json(row(5))
    assert "\n" not in line and same(row_from_json(line), row(5)) and same(row_from_json(line.encode()), row(5))
    for cut in (line[:-3], "[]", "{}", line.replace('"], "', '", "more"], "', 1), line[:-9] + '====="]'):
        with pytest.raises((ValueError, TypeError)):
            row_from_json(cut)
    journal = PeopleJournal(tmp_path)
    for number in (4, 2):
        journal.append(row(number).path, row_to_json(row(number)))
    journal.close()
    again = PeopleJournal(tmp_path)
    assert len(again) == 2 and same(again.get(row(2).path), row(2)) and again.get("other") is None
    again.close()


def test_a_finished_run_is_read_as_it_was_written(finished: Path):
    assert all(same(one, row(number)) for number, one in enumerate(read_people(finished)))
    journal = PeopleJournal(finished)
    assert [one.path for one in journal.rows()] == [row(number).path for number in range(3)]
    journal.close()
    assert (finished / JOURNAL).is_file()


def test_the_same_rows_give_the_same_bytes(finished: Path, tmp_path: Path):
    rows = {one.path: one for one in map(row, range(3))}
    write_people(tmp_path / "again", list(rows), rows.get)
    for name in (TABLE, POINTS):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes()


def test_damaged_files_are_named(finished: Path):
    text = (finished / TABLE).read_text()
    for spoiled, words in (
        (text.replace("sha256", "digest", 1), f"{TABLE}:1: not the columns"),
        ("\n".join(text.splitlines()[:-1]), f"{POINTS}: not of the pictures"),
        (text.replace("P00001/P00001_0001", "../elsewhere", 1), f"{POINTS}: not of the pictures"),
        (text.replace(",", ",,", 30), "expected"),
    ):
        (finished / TABLE).write_text(spoiled)
        with pytest.raises(MaskbenchError, match=words):
            list(read_people(finished))
    (finished / TABLE).unlink()
    with pytest.raises(MaskbenchError, match="cannot be read"):
        list(read_people(finished))
    (finished / JOURNAL).write_bytes(b"junk\n" + row_to_json(row(1)).encode() + b"\n")
    with pytest.raises(ManifestError, match=f"{JOURNAL}:1: damaged"):
        PeopleJournal(finished)


def plain_array() -> bytes:
    """A .npy file, which numpy reads as an array and not as an archive."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def cut_deflated(length: int) -> bytes:
    """An archive whose points are only the first bytes of their deflated stream, with zeros after them."""
    stream = io.BytesIO()
    points = np.random.default_rng(0).normal(size=(1, 468, 3)).astype(np.float32)
    np.savez_compressed(stream, paths=np.array(["a"]), points=points)
    with zipfile.ZipFile(stream) as archive:
        entry = archive.getinfo("points.npy")
    data = bytearray(stream.getvalue())
    extra = int.from_bytes(data[entry.header_offset + 28 : entry.header_offset + 30], "little")
    start = entry.header_offset + 30 + len("points.npy") + extra
    data[start + length : start + entry.compress_size] = bytes(entry.compress_size - length)
    return bytes(data)


@pytest.mark.parametrize("spoil", [
    lambda folder: (folder / POINTS).unlink(),
    lambda folder: (folder / POINTS).write_bytes(b""),
    lambda folder: (folder / POINTS).write_bytes(plain_array()),
    lambda folder: (folder / POINTS).write_bytes(flipped((folder / POINTS).read_bytes())),
    lambda folder: saved_anew(folder / POINTS, *read_points(folder / POINTS)),
    lambda folder: (folder / TABLE).write_bytes(b""),
    lambda folder: (folder / TABLE).write_bytes(b"\xff\xfe"),
    lambda folder: (folder / TABLE).write_text((folder / TABLE).read_text().replace('"sex, 1"', '"sex, 2"')),
    lambda folder: (folder / TABLE).write_text((folder / TABLE).read_text() + "\n"),
])  # fmt: skip
def test_a_finished_run_whose_files_were_changed_has_no_rows(finished: Path, spoil):
    before = contents(finished)
    spoil(finished)
    assert contents(finished) != before
    journal = PeopleJournal(finished)
    assert len(journal) == 0 and list(journal.rows()) == []
    journal.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def saved_anew(path: Path, paths: list[str], points: np.ndarray) -> None:
    """The same arrays as another program would store them."""
    np.savez(path, paths=np.array(paths), points=points)


def flipped(data: bytes) -> bytes:
    """The archive with one bit of a point changed."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_the_landmarks_name_the_table(finished: Path):
    with zipfile.ZipFile(finished / POINTS) as archive:
        assert archive.comment.decode() == hashlib.sha256((finished / TABLE).read_bytes()).hexdigest()
        assert archive.testzip() is None


def test_landmarks_that_are_none(tmp_path: Path):
    path = tmp_path / POINTS
    for write in (
        lambda: path.write_bytes(b"PK junk"),
        lambda: np.savez(path, paths=np.array(["a"])),
        lambda: np.savez(path, paths=np.array(["a"]), points=np.zeros((2, 468, 3), np.float32)),
        lambda: np.savez(path, paths=np.array(["a"]), points=np.zeros((1, 468, 3))),
        lambda: np.savez(path, paths=np.array(["a", None]), points=np.zeros((2, 468, 3), np.float32)),
        lambda: np.savez(path, paths=np.array(1), points=np.zeros((1, 468, 3), np.float32)),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(plain_array()),
        lambda: path.write_bytes(cut_deflated(600)),
        lambda: path.write_bytes(cut_deflated(5)),
    ):
        write()
        with pytest.raises(MaskbenchError, match=f"{POINTS}: .*make it with maskbench people") as refused:
            read_points(path)
        assert "\n" not in str(refused.value)
    path.unlink()
    with pytest.raises(MaskbenchError, match="cannot be read"):
        read_points(path)


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path):
    climbing = PictureRow("../P00000_0001.jpg", "0" * 64, row(0).cells, row(0).points)
    write_people(tmp_path, [climbing.path], {climbing.path: climbing}.get)
    with pytest.raises(MaskbenchError, match="not a relative path inside"):
        read_people(tmp_path)
    journal = PeopleJournal(tmp_path)
    assert len(journal) == 0
    journal.close()
