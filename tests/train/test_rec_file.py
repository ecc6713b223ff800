"""Packed training sets, against files that a writer of the test's own makes byte by byte."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.errors import ImageError, MaskbenchError
from maskbench.train import rec_file
from maskbench.train.rec_file import joined, open_rec, split

MAGIC = b"\x0a\x23\xd7\xce"


def picture(value: int, side: int = 112) -> bytes:
    """A PNG file of one colour."""
    return cv2.imencode(".png", np.full((side, side, 3), (value, 20, 30), np.uint8))[1].tobytes()


def record(labels: float | tuple[float, ...], data: bytes, number: int = 0) -> bytes:
    """The content of a record: one label in the header, or several after it."""
    if isinstance(labels, tuple):
        return struct.pack("<IfQQ", len(labels), 0.0, number, 0) + struct.pack(f"<{len(labels)}f", *labels) + data
    return struct.pack("<IfQQ", 0, labels, number, 0) + data


def part(data: bytes, flag: int = 0) -> bytes:
    """A part of a record as it lies in the file."""
    return MAGIC + (flag * 2**29 + len(data)).to_bytes(4, "little") + data + b"\0" * (-len(data) % 4)


def stored(data: bytes) -> bytes:
    """A record, cut at every magic number that lies at a multiple of four bytes."""
    pieces, start = [], 0
    for at in range(0, len(data) - 3, 4):
        if data[at : at + 4] == MAGIC:
            pieces.append(data[start:at])
            start = at + 4
    pieces.append(data[start:])
    if len(pieces) == 1:
        return part(pieces[0])
    flags = [1] + [2] * (len(pieces) - 2) + [3]
    return b"".join(part(piece, flag) for piece, flag in zip(pieces, flags, strict=True))


def write(folder: Path, records: dict[int, bytes], name: str = "train") -> Path:
    """A .rec file with the records in the order given, and its .idx file."""
    folder.mkdir(parents=True, exist_ok=True)
    data, lines = b"", []
    for number, content in records.items():
        lines.append(f"{number}\t{len(data)}\n")
        data += stored(content)
    (folder / f"{name}.idx").write_text("".join(lines))
    (folder / f"{name}.rec").write_bytes(data)
    return folder / f"{name}.rec"


def insightface(subjects: list[tuple[int, int]], label_of=lambda subject: float(subject)) -> dict[int, bytes]:
    """Records as insightface's tools write them: pictures, then subjects, record 0 last.

    Args:
        subjects: (number, count of pictures) of each.
    """
    records, ranges, number = {}, [], 1
    for subject, count in subjects:
        ranges.append((number, number + count))
        for _ in range(count):
            records[number] = record(label_of(subject), picture(number), number)
            number += 1
    for at, (first, last) in enumerate(ranges):
        records[number + at] = record((float(first), float(last)), b"")
    records[0] = record((float(number), float(number + len(ranges))), b"")
    return records


def value(data: bytes) -> int:
    """The number that ``picture`` was given."""
    return int(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[0, 0, 0])


def message(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_pictures_and_subjects_of_an_insightface_set(tmp_path: Path) -> None:
    file = open_rec(write(tmp_path, insightface([(7, 2), (0, 1), (31, 3)])))
    assert file.numbers.tolist() == [1, 2, 3, 4, 5, 6]
    assert file.labels.tolist() == [7, 7, 0, 31, 31, 31]
    assert [value(file.read(row)) for row in (5, 0, 3, 1)] == [6, 1, 4, 2]


def test_subjects_come_from_their_records_without_a_look_at_each_picture(tmp_path, monkeypatch) -> None:
    looked_at = []
    heads = rec_file._Heads.labels
    monkeypatch.setattr(
        rec_file._Heads, "labels", lambda self, rows, count=1: looked_at.append(len(rows)) or heads(self, rows, count)
    )
    file = open_rec(write(tmp_path, insightface([(3, 40), (4, 50)])))
    assert file.labels.tolist() == [3] * 40 + [4] * 50
    assert sum(looked_at) <= 3 * 2  # two subjects' records, and the first and last picture of each


def test_a_wrong_range_falls_back_to_the_pictures(tmp_path: Path) -> None:
    records = insightface([(7, 2), (0, 1), (31, 3)])
    records[7] = record((1.0, 4.0), b"")  # overlaps with the next
    assert open_rec(write(tmp_path / "overlap", records)).labels.tolist() == [7, 7, 0, 31, 31, 31]
    records[7], records[8] = record((1.0, 4.0), b""), record((4.0, 4.0), b"")  # two subjects in one range
    assert open_rec(write(tmp_path / "mixed", records)).labels.tolist() == [7, 7, 0, 31, 31, 31]
    for nonsense in (float("nan"), 1e30, -1e30):
        records[7] = record((1.0, nonsense), b"")
        assert open_rec(write(tmp_path / f"{nonsense}", records)).labels.tolist() == [7, 7, 0, 31, 31, 31]
    del records[7]
    assert open_rec(write(tmp_path / "gone", records)).labels.tolist() == [7, 7, 0, 31, 31, 31]


def test_bounds_that_float32_has_rounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rec_file, "_EXACT", 8)  # as if a set of 10 records were one of 17 million
    records = insightface([(7, 2), (0, 1), (5, 3)])
    records[0] = record((6.0, 10.0), b"")  # one picture too few
    file = open_rec(write(tmp_path, records))
    assert file.numbers.tolist() == [1, 2, 3, 4, 5, 6]
    assert file.labels.tolist() == [7, 7, 0, 5, 5, 5]


def test_several_labels_in_a_picture_the_first_is_the_subject(tmp_path: Path) -> None:
    file = open_rec(write(tmp_path, insightface([(7, 2), (9, 1)], lambda subject: (float(subject), 0.5, 3.0))))
    assert file.labels.tolist() == [7, 7, 9]
    assert value(file.read(2)) == 3


def test_a_set_without_header_record(tmp_path: Path) -> None:
    records = {5: record(1.0, picture(5)), 0: record(4.0, picture(50)), 3: record((2.0, 9.0), picture(3))}
    file = open_rec(write(tmp_path, records))
    assert file.numbers.tolist() == [0, 3, 5]
    assert file.labels.tolist() == [4, 2, 1]
    assert [value(file.read(row)) for row in range(3)] == [50, 3, 5]


def test_a_header_record_with_two_labels_but_a_picture_is_a_picture(tmp_path: Path) -> None:
    file = open_rec(write(tmp_path, {0: record((2.0, 9.0), picture(3)), 1: record((3.0, 9.0), picture(4))}))
    assert file.labels.tolist() == [2, 3]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_record_in_parts(tmp_path: Path, count: int) -> None:
    # 24 bytes of header: magic numbers at multiples of four there are cut, others stay.
    data = picture(9) + b"\0" * (-len(picture(9)) % 4) + MAGIC * count + b"x" + MAGIC + b"tail"
    assert stored(record(1.0, data)).count(MAGIC) == count + 2  # beginnings of parts, and the unaligned one
    file = open_rec(write(tmp_path, {1: record(1.0, data), 2: record(1.0, picture(8))}))
    assert file.read(0) == data
    assert value(file.read(1)) == 8


def test_joined_against_the_writer_for_random_data() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        blocks = [MAGIC if rng.random() < 0.3 else rng.bytes(4) for _ in range(int(rng.integers(0, 9)))]
        data = b"".join(blocks) + rng.bytes(int(rng.integers(0, 4)))
        assert joined(stored(data) + part(b"the next one")) == data


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "cut short"),
        (part(b"abcdef")[:-4], "cut short"),
        (b"\0" * 16, "no record"),
        (part(b"abcd", 2), "no record"),
        (part(b"abcd", 3), "no record"),
        (part(b"abcd", 1), "cut short"),
        (part(b"abcd", 1) + part(b"abcd", 0), "no further part"),
        (part(b"abcd", 1) + part(b"abcd", 2), "cut short"),
        (part(b"abcd", 5), "no record"),
    ],
)
def test_damaged_parts(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        joined(data)


def test_split() -> None:
    labels, data = split(record((1.0, 2.5), b"xyz"))
    assert labels.tolist() == [1.0, 2.5] and data == b"xyz"
    labels, data = split(record(4.0, b""))
    assert labels.tolist() == [4.0] and data == b""
    for bad in (b"short", record((1.0, 2.0), b"")[:-1], struct.pack("<IfQQ", 2**31, 0, 0, 0)):
        with pytest.raises(ValueError, match="too short"):
            split(bad)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, insightface([(7, 2), (0, 3)]))
    whole = path.read_bytes()
    for lost in (1, 8, 40, len(whole) // 2, len(whole)):
        path.write_bytes(whole[:-lost])
        with pytest.raises(MaskbenchError) as error:
            open_rec(path)
        assert "train." in message(error) and "fetch" in message(error)


def test_the_last_record_is_cut_within_its_picture(tmp_path: Path) -> None:
    path = write(tmp_path, {1: record(1.0, picture(1)), 2: record(1.0, picture(2))})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MaskbenchError, match="train.rec: its last record, at byte .* is cut short"):
        open_rec(path)


def test_a_damaged_record_says_so_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, insightface([(7, 5)]))
    data = bytearray(path.read_bytes())
    at = open_rec(path).offsets[2]
    data[at : at + 4] = b"oops"
    path.write_bytes(data)
    file = open_rec(path)
    assert value(file.read(1)) == 2
    with pytest.raises(ImageError, match="train.rec: record 3: no record at its byte 0") as error:
        file.read(2)
    message(error)


def test_a_picture_with_another_label_than_its_range_says(tmp_path: Path) -> None:
    records = insightface([(7, 5)])
    records[3] = record(8.0, picture(3))
    file = open_rec(write(tmp_path, records))
    with pytest.raises(ImageError, match="record 3: has label 8, but its subject's record says 7"):
        file.read(2)


@pytest.mark.parametrize("label", [0.5, float("nan"), float("inf"), 2.0**25])
def test_labels_that_are_no_numbers_of_subjects(tmp_path: Path, label: float) -> None:
    path = write(tmp_path, {1: record(1.0, picture(1)), 2: record(label, picture(2))})
    with pytest.raises(MaskbenchError, match="record 2 has the label .* no subject's number") as error:
        open_rec(path)
    message(error)


@pytest.mark.parametrize("labels", [(float("nan"), 4.0), (5.0, 4.0), (-1.0, 4.0), (3.0,)])
def test_a_header_record_without_sense(tmp_path: Path, labels: tuple[float, ...]) -> None:
    records = insightface([(7, 5)]) | {0: record(labels, b"")}
    with pytest.raises(MaskbenchError, match="record 0: neither a picture nor the range"):
        open_rec(write(tmp_path, records))


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "no lines of record number and offset"),
        ("1\n2\n", "no lines of record number"),
        ("1\tx\n", "not lines of record number"),
        ("1\t0\n2\n", "not lines of record number"),
        ("1\t0\n1\t200\n", "number 1 stands there twice"),
        ("1\t0\n2\t0\n", "offset 0 stands there twice"),
        ("1\t-4\n", "no room for record 1"),
        ("1\t0\n2\t2\n", "no room for record 2"),
        ("1\t0\n2\t99999999\n", "no room for record 2 at byte 99999999"),
        ("1\t0\n2\t99999999999999999999999\n", "not lines of record number"),
    ],
)
def test_malformed_index(tmp_path: Path, text: str, why: str) -> None:
    path = write(tmp_path, {1: record(1.0, picture(1)), 2: record(1.0, picture(2))})
    path.with_suffix(".idx").write_text(text)
    with pytest.raises(MaskbenchError, match=why) as error:
        open_rec(path)
    assert str(path.with_suffix(".idx")) in message(error)


def test_an_index_of_another_set(tmp_path: Path) -> None:
    path = write(tmp_path, {number: record(1.0, picture(number)) for number in (1, 2, 3)})
    lines = path.with_suffix(".idx").read_text().splitlines()
    path.with_suffix(".idx").write_text("\n".join([lines[0], f"2\t{int(lines[1].split()[1]) + 4}", lines[2]]))
    with pytest.raises(MaskbenchError, match="train.rec: no whole record 2 at byte") as error:
        open_rec(path)
    message(error)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, {1: record(1.0, picture(1))})
    path.with_suffix(".idx").unlink()
    with pytest.raises(MaskbenchError, match="train.idx: cannot be read .* must lie beside"):
        open_rec(path)
    with pytest.raises(MaskbenchError, match="other.rec: cannot be read"):
        open_rec(tmp_path / "other.rec")


def test_only_a_header_record(tmp_path: Path) -> None:
    with pytest.raises(MaskbenchError, match="holds no picture"):
        open_rec(write(tmp_path, {0: record((1.0, 1.0), b"")}))


def test_a_record_larger_than_a_picture_may_be(tmp_path, monkeypatch) -> None:
    path = write(tmp_path, {1: record(1.0, picture(1) + b"\0" * 5000), 2: record(1.0, picture(2))})
    file = open_rec(path)
    monkeypatch.setattr(rec_file, "MAX_FILE_BYTES", 4000)
    with pytest.raises(ImageError, match="record 1: cut short, or larger than a picture may be"):
        file.read(0)


def test_a_file_that_is_replaced_is_noticed_by_who_has_not_opened_it(tmp_path: Path) -> None:
    path = write(tmp_path, {1: record(1.0, picture(1)), 2: record(1.0, picture(2))})
    copy = pickle.loads(pickle.dumps(open_rec(path)))
    assert value(copy.read(1)) == 2
    copy = pickle.loads(pickle.dumps(copy))
    path.write_bytes(path.read_bytes() + b"\0\0\0\0")
    rec_file.Archive.read.__globals__["_opened"].cache_clear()
    with pytest.raises(MaskbenchError, match="train.rec: has changed since it was indexed"):
        copy.read(1)
