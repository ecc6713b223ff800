"""Training sets of every kind, written by the test, against the pictures and subjects that went in."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import struct
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.errors import ImageError, MaskbenchError
from maskbench.train import archives
from maskbench.train.archives import Archive
from maskbench.train.face_sets import Face, Faces, FaceSet, open_face_set

MAGIC = 0xCED7230A


def png(value: int, side: int = 12) -> bytes:
    """A picture whose red, green and blue are a value, 20 and 30."""
    return cv2.imencode(".png", np.full((side, side, 3), (30, 20, value), np.uint8))[1].tobytes()


def folder(root: Path, names: dict[str, int]) -> Path:
    """A folder of pictures of given values."""
    for name, value in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(value))
    return root


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def rec(root: Path, labels: list[int], side: int = 112, name: str = "train") -> Path:
    """A packed set without header record: record i + 1 has label i of the list and value i + 1."""
    root.mkdir(parents=True, exist_ok=True)
    data, index = b"", ""
    for number, label in enumerate(labels, start=1):
        content = struct.pack("<IfQQ", 0, label, number, 0) + png(number, side)
        index += f"{number}\t{len(data)}\n"
        data += struct.pack("<II", MAGIC, len(content)) + content + b"\0" * (-len(content) % 4)
    (root / f"{name}.idx").write_text(index)
    (root / f"{name}.rec").write_bytes(data)
    return root / f"{name}.rec"


def packed_bin(path: Path, count: int, side: int = 112) -> Path:
    path.write_bytes(pickle.dumps(([png(value, side) for value in range(count)], [True] * (count // 2)), 4))
    return path


def values(found: FaceSet, rows=None) -> list[int]:
    """The values of pictures, all of whose pixels must have the colour that was written."""
    read = [found.read(row) for row in (range(len(found.faces)) if rows is None else rows)]
    for image in read:
        assert image.dtype == np.uint8 and (image == image[0, 0]).all() and image[0, 0, 1:].tolist() == [20, 30]
    return [int(image[0, 0, 0]) for image in read]


def subjects(found: FaceSet) -> list[str | None]:
    return [face.subject for face in found.faces]


def keys(found: FaceSet) -> list[str]:
    return [face.key for face in found.faces]


def refusal(*arguments, **named) -> str:
    with pytest.raises(MaskbenchError) as error:
        open_face_set(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------- folders


@pytest.fixture
def people(tmp_path: Path) -> Path:
    names = {"zoe/1.png": 1, "ann/x/2.png": 2, "ann/1.JPG": 3, "b.png": 4, ".hidden/5.png": 5, "ann/.6.png": 6}
    (tmp_path / "people" / "ann").mkdir(parents=True)
    (tmp_path / "people" / "ann" / "notes.txt").write_text("no picture")
    return folder(tmp_path / "people", names)


def test_a_folder_of_subjects(people: Path) -> None:
    found = open_face_set(people)
    assert found.name == "people" and not found.aligned and found.groups is None
    assert list(found.faces) == [
        Face("ann/1.JPG", "ann"), Face("ann/x/2.png", "ann"), Face("b.png", None), Face("zoe/1.png", "zoe"),
    ]  # fmt: skip
    assert values(found) == [3, 2, 4, 1]
    assert found.read(0).shape == (12, 12, 3)


def test_opening_decodes_nothing_and_a_damaged_picture_says_so_when_read(people: Path) -> None:
    (people / "zoe/1.png").write_bytes(b"no picture at all")
    (people / "ann/1.JPG").write_bytes(png(3)[:-20])
    found = open_face_set(str(people))
    assert values(found, [1, 2]) == [2, 4]
    for row, key in ((0, "ann/1.JPG"), (3, "zoe/1.png")):
        with pytest.raises(ImageError) as error:
            found.read(row)
        assert f"people/{key}: " in str(error.value) and "\n" not in str(error.value)


def test_a_picture_that_is_gone(people: Path) -> None:
    found = open_face_set(people)
    (people / "b.png").unlink()
    with pytest.raises(ImageError, match="people/b.png: cannot be read"):
        found.read(2)
    with pytest.raises(MaskbenchError, match="people/b.png: cannot be read"):
        found.digest()


def test_a_relative_path_survives_a_change_of_folder(people, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(people)
    found = open_face_set(".")
    assert found.name == "people"
    monkeypatch.chdir(tmp_path)
    assert values(found) == [3, 2, 4, 1]


def test_sets_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no face picture" in refusal(tmp_path / "empty")
    assert "no training set there; give a folder" in refusal(tmp_path / "gone")
    (tmp_path / "text.txt").write_text("text")
    assert "no training set there" in refusal(tmp_path / "text.txt")
    assert "no training set there" in refusal(tmp_path / "gone.rec")


def test_a_folder_that_cannot_be_read(people, monkeypatch) -> None:
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("ann/x"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "people/ann/x: a folder that cannot be read (Permission denied); change its rights" in refusal(people)


def test_the_digest_follows_keys_subjects_sizes_and_times(people: Path, tmp_path: Path) -> None:
    first = open_face_set(people).digest()
    assert len(first) == 64 and open_face_set(people).digest() == first
    labels = tmp_path / "labels.csv"
    labels.write_text("path,subject\nann/1.JPG,ann\nann/x/2.png,ann\nb.png,bob\nzoe/1.png,zoe\n")
    seen = {first, open_face_set(people, labels).digest()}
    os.utime(people / "b.png", ns=(1, 1))
    seen.add(open_face_set(people).digest())
    (people / "b.png").write_bytes(png(4) + b"\0")
    os.utime(people / "b.png", ns=(1, 1))
    seen.add(open_face_set(people).digest())
    (people / "b.png").rename(people / "c.png")
    seen.add(open_face_set(people).digest())
    assert len(seen) == 5


# ---------------------------------------------------------------- labels and subjects


def write_labels(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["path,subject", *rows]) + "\n")
    return path


def test_labels_replace_the_folders(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a.png": 1, "x/b.png": 2, "c.png": 3})
    labels = tmp_path / "labels.csv"
    labels.write_text('note,path,subject\n,c.png, eve \n"a, b",x/b.png,7\n,a.png,eve\n')
    found = open_face_set(root, labels)
    assert list(found.faces) == [Face("a.png", "eve"), Face("c.png", "eve"), Face("x/b.png", "7")]
    assert values(found) == [1, 3, 2]


@pytest.mark.parametrize(
    "rows, parts",
    [
        (["a.png,x"], ["no row for 2 of the 3 pictures", "'b.png', 'c.png'", "add their rows"]),
        (["a.png,x", "b.png,x", "c.png,x", "d.png,x"], ["1 of 4 rows name no picture", "'d.png'", "correct the paths"]),
        (["a.png,x", "b.png,x", "a.png,y", "c.png,x"], [".csv:4: a second row for 'a.png'", "remove"]),
        (["a.png,x", "b.png, ", "c.png,x"], [".csv:3: no subject for 'b.png'", "fill it in"]),
        (["a.png"], [".csv:2: expected 2 columns"]),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, rows: list[str], parts: list[str]) -> None:
    root = folder(tmp_path / "set", {"a.png": 1, "b.png": 2, "c.png": 3})
    said = refusal(root, labels=write_labels(tmp_path / "labels.csv", rows))
    assert str(tmp_path / "labels.csv") in said
    assert all(part in said for part in parts), said


def test_only_the_first_few_are_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {f"{number:02}.png": number for number in range(9)})
    said = refusal(root, labels=write_labels(tmp_path / "labels.csv", ["00.png,x"]))
    assert "8 of the 9" in said and "('01.png', '02.png', '03.png', ...)" in said


@pytest.mark.parametrize("head", ["path", "file,subject", "path,subject,subject", ""])
def test_labels_without_the_columns(tmp_path: Path, head: str) -> None:
    root = folder(tmp_path / "set", {"a.png": 1})
    (tmp_path / "labels.csv").write_text(head + "\n")
    assert "labels.csv:1: no column" in refusal(root, labels=tmp_path / "labels.csv")


def test_only_some_subjects(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "c/1.png": 4, "d/1.png": 5})
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("# whom to train on\n\nd\n a \nd\n")
    found = open_face_set(root, subjects=chosen)
    assert list(found.faces) == [Face("a/1.png", "a"), Face("a/2.png", "a"), Face("d/1.png", "d")]
    assert values(found) == [1, 2, 5]
    assert found.faces.names == ("a", "d") and found.faces.codes.tolist() == [0, 0, 1]
    assert found.digest() != open_face_set(root).digest()
    before = found.digest()
    os.utime(root / "b/1.png", ns=(1, 1))  # not chosen
    assert open_face_set(root, subjects=chosen).digest() == before


def test_subject_lists_that_do_not_fit(people: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("ann\n")
    said = refusal(people, subjects=chosen)
    assert "chosen.txt: 1 pictures of people have no subject ('b.png')" in said
    (people / "b.png").unlink()
    chosen.write_text("ann\nbea\ncid\n")
    assert "2 of 3 subjects are not in people ('bea', 'cid')" in refusal(people, subjects=chosen)
    chosen.write_text("# nobody\n")
    assert "lists no subject" in refusal(people, subjects=chosen)
    assert "cannot be read" in refusal(people, subjects=tmp_path / "gone.txt")


def test_labels_and_subjects_together_for_a_packed_set(tmp_path: Path) -> None:
    path = rec(tmp_path / "set", [5, 5, 6])
    labels = write_labels(tmp_path / "labels.csv", ["1,ann", "2,bea", "3,ann"])
    (tmp_path / "chosen.txt").write_text("ann")
    found = open_face_set(path, labels, tmp_path / "chosen.txt")
    assert list(found.faces) == [Face("1", "ann"), Face("3", "ann")]
    assert values(found) == [1, 3]


# ---------------------------------------------------------------- packed sets


def test_a_packed_set_by_file_and_by_folder(tmp_path: Path) -> None:
    path = rec(tmp_path / "emore", [5, 10, 5])
    for given in (path, tmp_path / "emore"):
        found = open_face_set(given)
        assert found.name == "emore" and found.aligned and found.groups is None
        assert list(found.faces) == [Face("1", "5"), Face("2", "10"), Face("3", "5")]
        assert values(found, [2, 0, 1]) == [3, 1, 2] and found.read(0).shape == (112, 112, 3)
    assert open_face_set(rec(tmp_path / "emore", [1], name="other")).name == "other.rec"


def test_a_packed_set_of_other_pictures_is_not_aligned(tmp_path: Path) -> None:
    assert not open_face_set(rec(tmp_path / "set", [1, 2], side=64)).aligned


def test_a_damaged_picture_of_a_packed_set(tmp_path: Path) -> None:
    path = rec(tmp_path / "set", [5, 6, 7])
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)  # within the first picture
    path.write_bytes(data)
    found = open_face_set(path)
    assert found.aligned and values(found, [1, 2]) == [2, 3]
    with pytest.raises(ImageError, match="train.rec: record 1: "):
        found.read(0)


def test_subjects_of_a_packed_set(tmp_path: Path) -> None:
    path = rec(tmp_path / "set", [5, 6, 7, 5])
    (tmp_path / "chosen.txt").write_text("5\n7\n")
    found = open_face_set(path, subjects=tmp_path / "chosen.txt")
    assert keys(found) == ["1", "3", "4"] and subjects(found) == ["5", "7", "5"] and values(found) == [1, 3, 4]
    assert len({found.digest(), open_face_set(path).digest()}) == 2


def test_a_verification_pack(tmp_path: Path) -> None:
    found = open_face_set(packed_bin(tmp_path / "lfw.bin", 12))
    assert found.name == "lfw.bin" and found.aligned
    assert keys(found) == [str(number) for number in range(12)] and set(subjects(found)) == {None}
    assert values(found) == list(range(12))
    assert not open_face_set(packed_bin(tmp_path / "small.bin", 2, side=64)).aligned
    (tmp_path / "bad.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "bad.bin" in refusal(tmp_path / "bad.bin")


def test_a_verification_pack_in_another_process_is_read_again(tmp_path: Path) -> None:
    path = packed_bin(tmp_path / "lfw.bin", 40)
    data = pickle.dumps(open_face_set(path))
    assert len(data) < path.stat().st_size / 4
    assert values(pickle.loads(data), [7]) == [7]
    packed_bin(path, 38)
    with pytest.raises(MaskbenchError, match="lfw.bin: has changed since it was indexed"):
        pickle.loads(data).read(7)


# ---------------------------------------------------------------- shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    root = tmp_path / "shards"
    tar(root / "t-00.tar", {
        "b/1.cls": b"ann\n", "b/1.png": png(1), "b/1.seg.png": png(99), "a.png": png(2), "a.json": b'{"label": 17}',
        ".c.png": png(98),
    })  # fmt: skip
    tar(root / "t-01.tar", {
        "a.PNG": png(3), "a.json": b'{"subject": " bea ", "label": 4}', "b.png": png(4), "b.json": b'{"age": 3}',
        "c.png": png(5), "c.cls": b"ann", "c.json": b'{"label": "other"}', "d.png": png(6), "e.cls": b"nobody",
    })  # fmt: skip
    return root


def test_shards(shards: Path) -> None:
    found = open_face_set(shards)
    assert found.name == "shards" and not found.aligned
    assert list(found.faces) == [
        Face("t-00.tar/b/1.png", "ann"), Face("t-00.tar/a.png", "17"), Face("t-01.tar/a.PNG", "bea"),
        Face("t-01.tar/b.png", None), Face("t-01.tar/c.png", "ann"), Face("t-01.tar/d.png", None),
    ]  # fmt: skip
    assert found.groups.tolist() == [0, 0, 1, 1, 1, 1] and found.groups.dtype == np.int32
    assert values(found, [5, 0, 3, 1, 4, 2]) == [6, 1, 4, 2, 5, 3]


def test_one_shard_and_a_pattern_of_shards(shards: Path) -> None:
    one = open_face_set(shards / "t-01.tar")
    assert one.name == "t-01.tar" and values(one) == [3, 4, 5, 6] and one.groups.tolist() == [0] * 4
    pattern = open_face_set(f"{shards}/t-{{00..01}}.tar")
    assert pattern.name == "t-{00..01}.tar" and values(pattern) == [1, 2, 3, 4, 5, 6]
    assert list(open_face_set(f"{shards}/t-{{01,00}}.tar").faces) == list(pattern.faces)
    assert pattern.digest() == open_face_set(shards).digest() != one.digest()
    assert "t-02.tar: no such shard" in refusal(f"{shards}/t-{{00..02}}.tar")


def test_groups_follow_the_chosen_pictures(shards: Path, tmp_path: Path) -> None:
    pairs = zip(keys(open_face_set(shards)), "xyxyzy", strict=True)
    labels = write_labels(tmp_path / "labels.csv", [f"{key},{who}" for key, who in pairs])
    (tmp_path / "chosen.txt").write_text("x\nz\n")
    found = open_face_set(shards, labels, tmp_path / "chosen.txt")
    assert values(found) == [1, 3, 5] and found.groups.tolist() == [0, 1, 1] and subjects(found) == ["x", "x", "z"]


def test_shards_that_are_damaged(shards: Path) -> None:
    path = shards / "t-01.tar"
    data = path.read_bytes()
    path.write_bytes(data[:1000])
    assert "t-01.tar/a.PNG: " in refusal(shards) or "t-01.tar: " in refusal(shards)
    path.write_bytes(b"no tar file" * 100)
    assert "t-01.tar: not a tar file that can be read" in refusal(shards)
    path.write_bytes(data[:512] + b"x" * 60 + data[572:])  # the first picture
    found = open_face_set(shards)
    with pytest.raises(ImageError, match="shards/t-01.tar/a.PNG: "):
        found.read(2)
    assert values(found, [3]) == [4]


@pytest.mark.parametrize(
    "name, data, why",
    [
        ("a.cls", b"", "is not one line with a subject"),
        ("a.cls", b"x\ny", "is not one line with a subject"),
        ("a.cls", b"\xff\xfe", "is not UTF-8"),
        ("a.cls", b"x" * (2**20 + 1), "has 1,048,577 bytes, more than"),
        ("a.json", b"{", "is not valid JSON"),
        ("a.json", b"[" * 100_000, "is not valid JSON"),
        ("a.json", b'{"subject": true}', "has a subject that is neither"),
        ("a.json", b'{"subject": ["x"]}', "has a subject that is neither"),
        ("a.json", b'{"subject": "\\ud800"}', "has a subject that is neither"),
        ("a.json", b'{"label": 1.5}', "has a subject that is neither"),
    ],
)
def test_subjects_of_shards_that_cannot_be_understood(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    path = tar(tmp_path / "s.tar", {"a.png": png(1), name: data})
    said = refusal(path)
    assert f"s.tar/{name}: {why}" in said and "correct it and repack" in said


def test_unsafe_names_are_refused_and_nothing_is_unpacked(tmp_path: Path) -> None:
    path = tar(tmp_path / "in" / "s.tar", {"../evil.png": png(1), "b.png": png(2)})
    assert "unsafe name '../evil.png'; repack the shard" in refusal(path)
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["in", "s.tar"]


def test_a_member_that_is_too_large(tmp_path, monkeypatch) -> None:
    found = open_face_set(tar(tmp_path / "s.tar", {"a.png": png(1)}))
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 20)
    with pytest.raises(ImageError, match="s.tar/a.png: has .* bytes, more than 20"):
        found.read(0)


def test_more_shards_than_files_may_be_open(tmp_path, monkeypatch) -> None:
    count = archives.MOST_OPEN + 10
    for number in range(count):
        tar(tmp_path / "s" / f"{number:03}.tar", {"a.png": png(number)})
    found = open_face_set(tmp_path / "s")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert values(found) == list(range(count)) and values(found) == list(range(count))
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + archives.MOST_OPEN


# ---------------------------------------------------------------- processes


def every_kind(root: Path) -> list[FaceSet]:
    """A set of each kind, three pictures at least."""
    return [
        open_face_set(folder(root / "folder", {f"p{value % 3}/{value}.png": value for value in range(9)})),
        open_face_set(rec(root / "rec", [1, 2, 2, 3])),
        open_face_set(packed_bin(root / "x.bin", 6)),
        open_face_set(tar(root / "tar" / "x.tar", {f"{value}.png": png(value) for value in range(7)}).parent),
    ]


def read_all(job: tuple[FaceSet, int]) -> list[int]:
    found, start = job
    return values(found, range(start, len(found.faces), 2))


def test_pickling_keeps_everything(tmp_path: Path) -> None:
    for found in every_kind(tmp_path):
        copy = pickle.loads(pickle.dumps(found))
        assert (copy.name, copy.aligned, list(copy.faces)) == (found.name, found.aligned, list(found.faces))
        assert copy.digest() == found.digest() and values(copy) == values(found)
        assert (copy.groups is None) == (found.groups is None)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_processes_read_the_same_sets(tmp_path: Path, method: str) -> None:
    sets = every_kind(tmp_path)
    expected = [values(found) for found in sets]  # opens the files before the processes begin
    with multiprocessing.get_context(method).Pool(2) as pool:
        halves = pool.map(read_all, [(found, start) for _ in range(4) for found in sets for start in (0, 1)], 1)
    for number, found in enumerate(halves):
        assert found == expected[number // 2 % len(sets)][number % 2 :: 2]


def test_an_archive_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    archive = Archive.of(tmp_path / "x")
    assert archive.read(3, 4) == b"3456" and archive.read(8, 9) == b"89"
    with pytest.raises(MaskbenchError, match="gone: cannot be read"):
        Archive.of(tmp_path / "gone")
    other = Archive(str(tmp_path / "gone"), 3, 4)
    with pytest.raises(MaskbenchError, match="gone: cannot be read"):
        other.read(0, 1)


# ---------------------------------------------------------------- columns of faces


@pytest.mark.parametrize("names", [["a", "b", "c", "d"], np.array([3, 10, 12, 40])])
def test_columns_are_a_sequence_of_faces(names) -> None:
    faces = Faces.of(names, ["y", None, "x", "y"])
    plain = [Face(str(name), who) for name, who in zip(names, ["y", None, "x", "y"], strict=True)]
    assert list(faces) == plain and [faces[row] for row in range(4)] == plain and len(faces) == 4
    assert faces[-1] == plain[-1] and list(faces[1:3]) == plain[1:3] and list(faces[::-1]) == plain[::-1]
    assert faces.names == ("x", "y") and faces.codes.tolist() == [1, -1, 0, 1]
    assert plain[2] in faces and faces[1:2].names == ()
    assert list(faces.take(np.array([3, 1]))) == [plain[3], plain[1]]
    assert faces.take(np.array([3, 1])).codes.tolist() == [0, -1]
    with pytest.raises(IndexError):
        faces[4]
