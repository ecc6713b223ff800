import os

import cv2
import numpy as np
import pytest

from maskbench.datasets.lfw import LfwPair, fetch_lfw, find_faces, find_pairs, image_name, read_pairs
from maskbench.errors import MaskbenchError, ProtocolError

TWO_FOLDS = """2\t1
Ana\t1\t2
Ana\t1\tBo\t3
Çağ_Öz\t4\t7
Bo\t1\tÇağ_Öz\t2
"""


def write(tmp_path, text):
    path = tmp_path / "pairs.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_two_folds(tmp_path):
    assert read_pairs(write(tmp_path, TWO_FOLDS)) == [
        LfwPair(1, 1, True, ("Ana", 1), ("Ana", 2), 2),
        LfwPair(1, 1, False, ("Ana", 1), ("Bo", 3), 3),
        LfwPair(2, 1, True, ("Çağ_Öz", 4), ("Çağ_Öz", 7), 4),
        LfwPair(2, 1, False, ("Bo", 1), ("Çağ_Öz", 2), 5),
    ]


def test_a_single_count_is_one_fold(tmp_path):
    pairs = read_pairs(write(tmp_path, "2\nA\t1\t2\nA\t1\t3\nA\t1\tB\t1\nA\t2\tB\t1\n"))
    assert [(pair.fold, pair.index, pair.mated) for pair in pairs] == [
        (1, 1, True), (1, 2, True), (1, 1, False), (1, 2, False),
    ]  # fmt: skip


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"),
    lambda text: "\ufeff" + text,
    lambda text: text + "\n\n",
    str.rstrip,
])  # fmt: skip
def test_line_ends_and_marks_do_not_matter(tmp_path, change):
    assert read_pairs(write(tmp_path, change(TWO_FOLDS))) == read_pairs(write(tmp_path, TWO_FOLDS))


@pytest.mark.parametrize(("text", "line", "words"), [
    ("", 1, "whole number"),
    ("ten\t300\n", 1, "'ten'"),
    ("1\t2\t3\n", 1, "3 columns"),
    ("0\t5\n", 1, "'0'"),
    ("-1\n", 1, "'-1'"),
    ("99999999\t99999999\n", 1, "the file has 0 lines"),
    ("1 1\nA\t1\t2\nA\t1\tB\t1\n", 1, "separated by tabs"),
    (TWO_FOLDS.replace("Ana\t1\t2", "Ana\t1\tBo\t2"), 2, "mated (name, number, number)"),
    (TWO_FOLDS.replace("Ana\t1\tBo\t3", "Ana\t1\t2"), 3, "non-mated (name, number, name, number)"),
    (TWO_FOLDS.replace("Ana\t1\tBo\t3", "Ana\t1\tAna\t3"), 3, "'Ana' twice"),
    (TWO_FOLDS.replace("Ana\t1\t2", "Ana\t2\t2"), 2, "with itself"),
    (TWO_FOLDS.replace("4\t7", "4\t7.0"), 4, "'7.0'"),
    (TWO_FOLDS.replace("4\t7", "x\t7"), 4, "'x'"),
    (TWO_FOLDS.replace("4\t7", "4\t0"), 4, "'0'"),
    (TWO_FOLDS.replace("4\t7", "4\t٧"), 4, "'٧'"),
    (TWO_FOLDS.replace("Ana\t1\t2", "\t1\t2"), 2, "a name is empty"),
    (TWO_FOLDS.replace("Ana\t1\t2", "../Ana\t1\t2"), 2, "slash"),
    (TWO_FOLDS.replace("Ana\t1\t2\n", "\n"), 2, "1 columns"),
    (TWO_FOLDS.replace("Bo\t1\tÇağ_Öz\t2\n", ""), 4, "promises 4 pairs (2 x 2 x 1), the file has 3"),
    (TWO_FOLDS + "Ana\t1\t3\n", 6, "the file has 5"),
    (b"1\t1\nA\t1\t2\nA\t1\t\xff\t1\n", 3, "not UTF-8"),
])  # fmt: skip
def test_malformed_lists_name_the_line(tmp_path, text, line, words):
    path = write(tmp_path, text)
    with pytest.raises(ProtocolError) as caught:
        read_pairs(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_list(tmp_path):
    with pytest.raises(ProtocolError, match=r"no\.txt: cannot be read"):
        read_pairs(tmp_path / "no.txt")


def test_image_names():
    assert [image_name("A_B", number) for number in (1, 42, 12345)] == ["A_B_0001", "A_B_0042", "A_B_12345"]


def test_find_faces(tmp_path):
    for name in ("Ana/Ana_0001.jpg", "Ana/Ana_0002.JPG", "Bo_Xi/Bo_Xi_0001.webp", "Bo_Xi/Ana_0003.jpg",
                 "Ana/Ana_1.jpg", "Ana/readme.txt", "Ana_0009.jpg", "pairs.txt", "x/Ana/Ana_0004.jpg"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert find_faces(tmp_path) == {
        "Ana_0001": "Ana/Ana_0001.jpg", "Ana_0002": "Ana/Ana_0002.JPG", "Bo_Xi_0001": "Bo_Xi/Bo_Xi_0001.webp",
    }  # fmt: skip
    (tmp_path / "Ana" / "Ana_0001.png").write_bytes(b"x")
    with pytest.raises(ProtocolError, match=r"Ana_0001\.jpg and .*Ana_0001\.png"):
        find_faces(tmp_path)


def test_the_nearest_pair_list_is_found(tmp_path, monkeypatch):
    monkeypatch.delenv("MASKBENCH_DATA", raising=False)
    faces = tmp_path / "lfw"
    (faces / "pairs.txt").parent.mkdir()
    (tmp_path / "data" / "protocols").mkdir(parents=True)
    assert find_pairs(faces) is None
    monkeypatch.setenv("MASKBENCH_DATA", str(tmp_path / "data"))
    assert find_pairs(faces) is None
    for path in (tmp_path / "data" / "protocols" / "lfw_pairs.txt", tmp_path / "pairs.txt", faces / "pairs.txt"):
        path.write_text("")
        assert find_pairs(faces) == path


@pytest.fixture
def lfw_home(tmp_path, monkeypatch):
    """scikit-learn's data folder with an LFW of four small pictures, so that there is nothing to download."""
    home = tmp_path / "lfw_home"
    for name, count in (("Ana", 2), ("Bo", 2)):
        folder = home / "lfw_funneled" / name
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            cv2.imwrite(str(folder / f"{image_name(name, number)}.jpg"), np.full((8, 8, 3), 40 * number, np.uint8))
    for list_name in ("pairs.txt", "pairsDevTrain.txt", "pairsDevTest.txt"):
        (home / list_name).write_text("1\t1\nAna\t1\t2\nAna\t1\tBo\t2\n")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):  # no test reaches the network
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    return home


def test_fetch_uses_what_is_there(lfw_home):
    faces, pairs = fetch_lfw()
    assert (faces, pairs) == (lfw_home / "lfw_funneled", lfw_home / "pairs.txt")
    assert len(find_faces(faces)) == 4
    assert len(read_pairs(pairs)) == 2


def test_fetch_without_network_says_what_to_do(lfw_home):
    os.remove(lfw_home / "pairs.txt")
    with pytest.warns(UserWarning, match="Retry"), pytest.raises(MaskbenchError, match="--faces .*_DATA") as caught:
        fetch_lfw()
    assert "\n" not in str(caught.value)


def test_fetch_notices_an_incomplete_folder(lfw_home):
    os.remove(lfw_home / "lfw_funneled" / "Bo" / "Bo_0002.jpg")
    with pytest.raises(MaskbenchError, match="remove a partial lfw_home"):
        fetch_lfw()


def test_the_published_list(data_root):
    pairs = read_pairs(data_root / "protocols" / "lfw_pairs.txt")
    assert len(pairs) == 6000
    assert [sum(pair.fold == fold and pair.mated for pair in pairs) for fold in range(1, 11)] == [300] * 10
    assert (pairs[0].reference, pairs[0].probe) == (("Abel_Pacheco", 1), ("Abel_Pacheco", 4))
    assert (pairs[-1].reference, pairs[-1].probe) == (("Slobodan_Milosevic", 2), ("Sok_An", 1))
