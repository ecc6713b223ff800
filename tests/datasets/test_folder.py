import os

import pytest

from maskbench.datasets.folder import InputFile, is_image_name, walk
from maskbench.errors import MaskbenchError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def paths(root):
    return [file.path for file in walk(root)]


def test_every_regular_file_in_the_order_of_its_path(tmp_path):
    touch(tmp_path, "b/2.jpg", "b/10.jpg", "a.PNG", "b.txt", "b/c/d.webp", "Z/1.bmp")
    assert walk(tmp_path) == [
        InputFile("Z/1.bmp", True),
        InputFile("a.PNG", True),
        InputFile("b.txt", False),
        InputFile("b/10.jpg", True),
        InputFile("b/2.jpg", True),
        InputFile("b/c/d.webp", True),
    ]


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.pNg", "a.bmp", "a.webp", "a.pgm", "two.dots.jpg", "a b.jpg"])
def test_image_names(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "jpg", "a.jpg.txt", "a.gif", "a", "a.jpg "])
def test_names_that_are_no_images(name):
    assert not is_image_name(name)


def test_hidden_files_and_folders_are_left_out(tmp_path):
    touch(tmp_path, ".DS_Store", ".git/a.jpg", "a/.b.jpg", "a/b.jpg")
    assert paths(tmp_path) == ["a/b.jpg"]


def test_a_hidden_root_is_read(tmp_path):
    touch(tmp_path, ".faces/a.jpg")
    assert paths(tmp_path / ".faces") == ["a.jpg"]


def test_odd_names_survive(tmp_path):
    names = ["Łucja Żak/ä.b.c.jpg", "名前/写真.png", "with space/x .jpg"]
    touch(tmp_path, *names)
    with open(os.fsencode(tmp_path) + b"/not-\xff-utf8.jpg", "wb"):
        pass
    found = paths(tmp_path)
    assert set(found) == {*names, "not-\udcff-utf8.jpg"}
    assert all((tmp_path / name).is_file() for name in found)


def test_links_to_folders_are_not_followed_and_links_to_files_are_files(tmp_path):
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "2.jpg").symlink_to(tmp_path / "a" / "1.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = {file.path: file for file in walk(tmp_path)}
    assert list(found) == ["2.jpg", "a/1.jpg", "a/loop", "broken.jpg", "pipe.jpg"]
    assert [name for name, file in found.items() if file.is_image] == ["2.jpg", "a/1.jpg", "broken.jpg"]
    assert "link to a folder" in found["a/loop"].note and "not a regular file" in found["pipe.jpg"].note



@pytest.mark.parametrize("name", ["missing", "file.jpg"])
def test_a_root_that_is_no_folder(tmp_path, name):
    touch(tmp_path, "file.jpg")
    with pytest.raises(MaskbenchError, match=f"{name}: not a folder"):
        walk(tmp_path / name)
