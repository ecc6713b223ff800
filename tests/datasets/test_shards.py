from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from maskbench.datasets.folder import InputFile
from maskbench.datasets.inputs import FolderInputs, ShardInputs, open_inputs
from maskbench.datasets.shards import ShardWriter, expand, members, read_member, sample_key
from maskbench.errors import ImageError, MaskbenchError


def write_tar(path: Path, entries: list[tuple[str, bytes]], **options) -> Path:
    """A shard of regular files; ``options`` go to tarfile."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = len(content), 1_700_000_000, 1000
            tar.addfile(info, io.BytesIO(content))
    return path


def listed(path: Path) -> dict[str, InputFile]:
    return {member.file.path: member.file for member in members(str(path))}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.tar", ["a.tar"]),
        ("s-{08..11}.tar", ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]),
        ("{7..7}", ["7"]),
        ("{train,val}/{0..1}.tar", ["train/0.tar", "train/1.tar", "val/0.tar", "val/1.tar"]),
        ("{,x}y", ["y", "xy"]),
    ],
)
def test_braces(pattern: str, paths: list[str]):
    assert expand(pattern) == paths


@pytest.mark.parametrize("pattern", ["{3..1}.tar", "{a}.tar", "{}.tar", "{0..9999999}", "{0..9999}{0..9999}", "{a..c}"])
def test_braces_that_mean_nothing(pattern: str):
    with pytest.raises(MaskbenchError, match="range|list|more than"):
        expand(pattern)


def test_members_are_inputs_and_are_read_by_place(tmp_path: Path):
    long = "deep/" * 30 + "x" * 150 + ".jpg"
    entries = [("b.json", b"{}"), ("b.jpg", b"pixels" * 1000), (long, b"long"), ("é/\udcff.PNG", b"odd")]
    entries.append(("e.png", b""))
    for number, kind in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = write_tar(tmp_path / f"{number}.tar", entries, format=kind)
        files = listed(path)
        assert list(files) == [f"{number}.tar/{name}" for name, _ in entries]
        assert [file.is_image for file in files.values()] == [False, True, True, True, True]
        for name, content in entries[:4]:
            assert read_member(str(path), files[f"{number}.tar/{name}"]) == content
        with pytest.raises(ImageError, match="empty file"):
            read_member(str(path), files[f"{number}.tar/e.png"])


def test_braces_by_the_thousand_are_expanded_or_refused_in_one_short_line():
    assert expand("{7..7}" * 3000) == ["7" * 3000]
    assert len(expand("{00..99}{0..9}{0..9}{0..9}")) == 100_000
    for pattern in ("{a,b}" * 5000, "{0..99999}{a,b}", "{0..999999}"):
        with pytest.raises(MaskbenchError, match="100,000") as caught:
            expand(pattern)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_names_are_normalised_and_hidden_members_have_their_row(tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        folder = tarfile.TarInfo("./sub")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in ("./sub//1.jpg", "._1.jpg", "sub/.DS_Store", ".git/x.png"):
            tar.addfile(tarfile.TarInfo(name))
    hidden = "a hidden file: its name starts with a dot"
    assert {name: (file.note, file.status, file.is_image, file.offset >= 0) for name, file in listed(path).items()} == {
        "a.tar/sub/1.jpg": ("", "skipped", True, True),
        "a.tar/._1.jpg": (hidden, "skipped", False, False),
        "a.tar/sub/.DS_Store": (hidden, "skipped", False, False),
        "a.tar/.git/x.png": (hidden, "skipped", False, False),
    }


@pytest.mark.parametrize("name", ["a/../b.jpg", "a/./../b.jpg", "./a/../b.jpg", "..", ".", "./", "a/.."])
def test_names_that_go_up_are_refused_even_where_they_stay_inside(tmp_path: Path, name: str):
    path = write_tar(tmp_path / "a.tar", [("b.jpg", b"1"), (name, b"2")])
    files = listed(path)
    assert list(files) == ["a.tar/b.jpg", "a.tar/member 2"] and files["a.tar/b.jpg"].size == 1
    assert files["a.tar/member 2"].note.startswith("unsafe name") and files["a.tar/member 2"].offset < 0


def test_the_picture_of_a_sample_is_what_has_an_images_whole_extension(tmp_path: Path):
    names = ["a/1.jpg", "a/1.seg.png", "a.b/2.JPEG", "2.depth.pgm", "Dr. No.jpg", "3.json", "4"]
    files = listed(write_tar(tmp_path / "a.tar", [(name, b"x") for name in names]))
    assert [name for name, file in files.items() if file.is_image] == ["a.tar/a/1.jpg", "a.tar/a.b/2.JPEG"]
    assert all(file.offset >= 0 and file.status == "skipped" for file in files.values())
    assert {name: file.note for name, file in files.items() if file.note} == {
        f"a.tar/{name}": f"another part of its sample than the picture: its extension is {extension!r}"
        for name, extension in (("a/1.seg.png", "seg.png"), ("2.depth.pgm", "depth.pgm"), ("Dr. No.jpg", " No.jpg"))
    }


def test_what_is_no_regular_file_of_a_safe_name_has_a_row_with_the_reason(tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../up.jpg", "/etc/x.jpg", "a/../../y.json", "ok.jpg", "ok.jpg", "ok.jpg/below.jpg", "member 7"):
            tar.addfile(tarfile.TarInfo(name))
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("fifo", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"{name}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    files = listed(path)
    reasons = {name.removeprefix("a.tar/"): (file.note, file.status) for name, file in files.items()}
    assert reasons["member 1"] == ("unsafe name '../up.jpg'", "failed")
    assert reasons["member 3"] == ("unsafe name 'a/../../y.json'", "skipped")
    assert reasons["member 5"][0].startswith("another member has the name 'ok.jpg'")
    assert reasons["member 6"][0].startswith("another member has the name 'ok.jpg/below.jpg'")
    assert {reasons[name] for name in ("soft.jpg", "hard.jpg", "fifo.jpg")} == {("not a regular file", "skipped")}
    assert [name for name, file in files.items() if file.is_image] == ["a.tar/ok.jpg"]
    assert len(files) == 10 and all(file.offset < 0 for file in files.values() if file.note)


def test_labels_of_refused_members_never_meet_a_name(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", [("member 2", b""), ("../x.jpg", b""), ("member 2'", b"")])
    assert len(listed(path)) == 3 == len({*listed(path)})


def test_a_cut_shard_keeps_its_whole_members_and_names_what_is_lost(tmp_path: Path):
    whole = write_tar(tmp_path / "a.tar", [(f"{n}.jpg", bytes([n]) * 700) for n in range(9)]).read_bytes()
    step = 512 + 1024  # header and content
    cuts = ((4 * step + 600, 4, True), (4 * step, 4, False), (4 * step + 100, 4, False), (700, 0, True))
    for cut, good, lost in cuts:
        (tmp_path / "a.tar").write_bytes(whole[:cut])
        files = listed(tmp_path / "a.tar")
        assert [name for name, file in files.items() if file.is_image] == [f"a.tar/{n}.jpg" for n in range(good)]
        assert (f"a.tar/{good}.jpg" in files) == lost
        if lost:
            assert "ends within this member" in files[f"a.tar/{good}.jpg"].note
        assert files["a.tar"].status == "failed" and files["a.tar"].note


def test_damage_in_the_middle_is_told_with_its_place(tmp_path: Path):
    data = bytearray(write_tar(tmp_path / "a.tar", [(f"{n}.jpg", bytes(700)) for n in range(9)]).read_bytes())
    data[3 * 1536 + 20] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(data)
    files = listed(tmp_path / "a.tar")
    assert list(files) == ["a.tar/0.jpg", "a.tar/1.jpg", "a.tar/2.jpg", "a.tar"]
    assert files["a.tar"].note.startswith("damaged at byte 4608")


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"\x1f\x8b\x08" + bytes(100), b"PK\x03\x04" + bytes(2000)])
def test_what_is_no_tar_is_one_failed_row(tmp_path: Path, content: bytes):
    (tmp_path / "a.tar").write_bytes(content)
    ((path, file),) = listed(tmp_path / "a.tar").items()
    assert path == "a.tar" and file.status == "failed" and "not a tar file" in file.note and "\n" not in file.note


def test_damaged_headers_end_and_never_raise(tmp_path: Path):
    entries = [(f"{n}.jpg", b"p" * 600) for n in range(4)] + [("l" * 200 + ".jpg", b"x"), ("ü.json", b"{}")]
    rng = random.Random(1)
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = write_tar(tmp_path / "a.tar", entries, format=kind).read_bytes()
        for _ in range(300):
            damaged = bytearray(data)
            for _ in range(rng.randrange(1, 9)):
                damaged[rng.randrange(len(data))] = rng.choice((0, 48, 55, 0x80, 0xFF, rng.randrange(256)))
            for at in range(0, len(data), 512):  # valid sums: the reader believes the headers
                if damaged[at + 257 : at + 262] == b"ustar":
                    damaged[at + 148 : at + 156] = b" " * 8
                    damaged[at + 148 : at + 156] = f"{sum(damaged[at : at + 512]):06o}\0 ".encode()
            (tmp_path / "a.tar").write_bytes(damaged)
            found = list(members(str(tmp_path / "a.tar")))
            assert len({member.file.path for member in found}) == len(found) <= 20
            for member in found:
                if member.file.is_image:
                    assert member.file.offset + member.file.size <= len(data)


def test_headers_that_lead_back_do_not_loop(tmp_path: Path):
    data = bytearray(write_tar(tmp_path / "a.tar", [("0.jpg", b"x" * 600), ("1.jpg", b"y")]).read_bytes())
    data[1536 + 124 : 1536 + 136] = b"\xff" * 8 + (-2048 & 0xFFFFFFFF).to_bytes(4, "big")  # size -2048
    data[1536 + 148 : 1536 + 156] = b" " * 8
    data[1536 + 148 : 1536 + 156] = f"{sum(data[1536:2048]):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(data)
    files = listed(tmp_path / "a.tar")
    assert "a.tar/0.jpg" in files and "circle" in files["a.tar"].note


def test_the_sample_of_a_member():
    assert sample_key("s.tar/a/b.left.jpg") == sample_key("s.tar/a/b.json") == "s.tar/a/b"
    assert sample_key("s.tar/a.x/b") == "s.tar/a.x/b" != sample_key("s.tar/a")


def test_what_is_written_depends_on_names_and_contents_alone():
    def written() -> bytes:
        stream = io.BytesIO()
        writer = ShardWriter(stream)
        for name, content in (("a.jpg", b"1" * 600), ("n" * 300 + ".json", b"{}"), ("\udcff.txt", b"")):
            writer.add(name, len(content), io.BytesIO(content))
        writer.close()
        return stream.getvalue()

    data = written()
    assert data == written() and data[-1024:] == bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(info.size, info.mtime, info.uid, info.uname, info.mode) for info in tar] == [
            (600, 0, 0, "", 0o644), (2, 0, 0, "", 0o644), (0, 0, 0, "", 0o644)
        ]  # fmt: skip
        assert tar.extractfile("a.jpg").read() == b"1" * 600


def test_what_a_path_means(tmp_path: Path):
    (tmp_path / "shards").mkdir()
    for name in ("a-1.tar", "a-0.tar"):
        write_tar(tmp_path / "shards" / name, [("x.jpg", b"1"), ("x.cls", b"7")])
    (tmp_path / "shards" / "README.txt").write_text("")
    (tmp_path / "shards" / ".hidden.tar").write_text("")
    folder = open_inputs(tmp_path / "shards")
    assert isinstance(folder, ShardInputs) and list(folder.shards) == ["a-0.tar", "a-1.tar"]
    assert [(file.path, file.is_image) for file in folder.files()] == [
        ("README.txt", False), ("a-0.tar/x.cls", False), ("a-0.tar/x.jpg", True), ("a-1.tar/x.cls", False),
        ("a-1.tar/x.jpg", True),
    ]  # fmt: skip
    one = open_inputs(tmp_path / "shards" / "a-1.tar")
    assert list(one.shards) == ["a-1.tar"] and one.folders == [str(tmp_path / "shards")]
    assert list(open_inputs(str(tmp_path / "shards" / "a-{0..1}.tar")).shards) == ["a-0.tar", "a-1.tar"]
    (tmp_path / "shards" / "photo.jpg").write_text("")  # a folder of pictures with tar files in it
    assert isinstance(open_inputs(tmp_path / "shards"), FolderInputs)


def test_shards_that_are_not_there(tmp_path: Path):
    write_tar(tmp_path / "a-0.tar", [])
    with pytest.raises(MaskbenchError, match=r"a-1.tar: no such shard \(2 of 3 are missing\)"):
        open_inputs(str(tmp_path / "a-{0..2}.tar"))
    (tmp_path / "b").mkdir()
    write_tar(tmp_path / "b" / "a-0.tar", [])
    with pytest.raises(MaskbenchError, match="two shards have the same file name"):
        open_inputs(os.path.join(tmp_path, "{.,b}", "a-0.tar"))


def test_digests_of_members_and_files_follow_the_content(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", [("x.jpg", b"one")])
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.jpg").write_bytes(b"one")
    (member,), (file,) = open_inputs(path).files(), open_inputs(tmp_path / "f").files()
    assert open_inputs(path).sha256(member) == open_inputs(tmp_path / "f").sha256(file)
    assert open_inputs(path).read(member) == open_inputs(tmp_path / "f").read(file) == b"one"
