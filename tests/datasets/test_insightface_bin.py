"""The packed sets are made here with pickle, by hand for Python 2, and read back without it."""

import os
import pickle
import struct

import numpy as np
import pytest

from maskbench.datasets.insightface_bin import read_bin
from maskbench.errors import MaskbenchError
from maskbench.images import encode


def picture(seed, suffix=".jpg"):
    return encode(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8), suffix)


PICTURES = [picture(k) for k in range(6)]
LABELS = [True, False, True]


def save(tmp_path, value, protocol=2, name="set.bin"):
    (tmp_path / name).write_bytes(pickle.dumps(value, protocol=protocol))
    return tmp_path / name


def python2(pictures, labels):
    """What Python 2's cPickle writes at protocol 2: strings of bytes, every value remembered."""
    out, memo = [b"\x80\x02]", b"q\x00", b"("], 1
    for data in pictures:
        short = len(data) < 256
        out += [b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data)), data]
        out += [b"q" + bytes([memo])]
        memo += 1
    out += [b"e]", b"q" + bytes([memo]), b"(", *(b"\x88" if label else b"\x89" for label in labels), b"e\x86"]
    return b"".join([*out, b"q" + bytes([memo + 1]), b"."])


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("make", [bytes, lambda data: np.frombuffer(data, np.uint8).copy()], ids=["bytes", "array"])
def test_every_pickle_protocol_and_kind_of_bytes(tmp_path, protocol, make):
    found = read_bin(save(tmp_path, ([make(data) for data in PICTURES], LABELS), protocol))
    assert found.pictures == tuple(PICTURES) and found.mated == tuple(LABELS)


def test_python_2_strings(tmp_path):
    (tmp_path / "lfw.bin").write_bytes(python2(PICTURES, LABELS))
    assert pickle.loads((tmp_path / "lfw.bin").read_bytes(), encoding="bytes") == (PICTURES, LABELS)  # ours is right
    found = read_bin(tmp_path / "lfw.bin")
    assert found.pictures == tuple(PICTURES) and found.mated == tuple(LABELS)


@pytest.mark.parametrize("labels", [
    [np.bool_(True), np.bool_(False), np.bool_(True)], np.array(LABELS), [1, 0, 1], tuple(LABELS),
])  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_kinds_of_labels(tmp_path, labels, protocol):
    assert read_bin(save(tmp_path, (PICTURES, labels), protocol)).mated == tuple(LABELS)


def test_the_outer_pair_may_be_a_list_and_pictures_png(tmp_path):
    png = [picture(1, ".png"), picture(2, ".png")]
    assert read_bin(save(tmp_path, [png, [False]])).pictures == tuple(png)


# ---------------------------------------------------------------- hostile files


class Runs:
    """Unpickled, it would leave a file behind."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


class State:
    def __setstate__(self, state):
        raise AssertionError("was executed")

    def __getstate__(self):
        return {"x": 1}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("place", ["top", "picture", "label"])
def test_nothing_is_executed(tmp_path, protocol, place):
    bad = Runs(tmp_path / "executed")
    value = {
        "top": bad, "picture": ([bad, *PICTURES[1:]], LABELS), "label": (PICTURES, [bad, True, False]),
    }[place]  # fmt: skip
    path = save(tmp_path, value, protocol, "evil.bin")
    with pytest.raises(MaskbenchError, match="mkdir") as caught:
        read_bin(path)
    assert str(caught.value).startswith(f"{path}: wants to use") and "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()
    pickle.loads(path.read_bytes())  # the file does what it says it does, elsewhere
    assert (tmp_path / "executed").exists()


REFUSED = {
    "an object": pickle.dumps(State(), 2),
    "eval by name": b"cbuiltins\neval\n(S'1'\ntR.",
    "stack global": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
    "instance": b"(ios\nsystem\n.",
    "object": b"(cos\nsystem\no.",
    "new object": b"\x80\x02cos\nsystem\n)\x81.",
    "extension registry": b"\x80\x02\x82\x01.",
    "persistent id": b"Pabc\n.",
    "binary persistent id": b"K\x01Q.",
    "dictionary": pickle.dumps({"a": 1}, 2),
    "out-of-band buffer": b"\x80\x05\x97.",
    "calls a number": b"K\x01K\x02\x85R.",
    "sets a list's state": b"]}b.",
    "sets bytes' state": b"\x80\x03C\x01a(tb.",
    "a dtype of objects": pickle.dumps((np.array([b"x", None], dtype=object), [True]), 2),
    "floats": pickle.dumps((np.zeros(4), [True]), 2),
    "another encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.",
}
MALFORMED = {
    "empty": b"", "text": b"hello", "no end": pickle.dumps(([b"x"], [True]), 2)[:-1], "stops early": b"].\x00"[:1],
    "nothing on the stack": b".",
    "append without list": b"K\x01K\x02a.", "unknown memo": b"h\x07.",
    "mark as value": b"(.",
    "length beyond the end": b"T\xff\xff\xff\x7fabc.", "negative length": b"T\xff\xff\xff\xffa.",
    "list of itself": b"]q\x00h\x00a.", "a number": b"K\x05.",
    "one part": pickle.dumps(([b"x"],), 2),
    "random": np.random.default_rng(0).bytes(400),
}  # fmt: skip


@pytest.mark.parametrize("name", [*REFUSED, *MALFORMED])
def test_other_instructions_and_broken_files(tmp_path, name):
    (tmp_path / "x.bin").write_bytes({**REFUSED, **MALFORMED}[name])
    with pytest.raises(MaskbenchError) as caught:
        read_bin(tmp_path / "x.bin")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'x.bin'}: ") and "\n" not in message and len(message) < 400


@pytest.mark.parametrize(("value", "words"), [
    ((PICTURES, [True, True]), "6 pictures for 2 pairs"),
    (([], []), "0 pictures for 0 pairs"),
    ((PICTURES[:5], LABELS), "5 pictures for 3 pairs"),
    (([*PICTURES[:5], b"GIF89a"], LABELS), "entry 5 is no JPEG or PNG"),
    (([*PICTURES[:5], PICTURES[5][:8]], LABELS), "entry 5 is no JPEG or PNG"),
    (([*PICTURES[:5], "text"], LABELS), "entry 5 is no JPEG or PNG"),
    (([*PICTURES[:5], np.zeros(3, bool)], LABELS), "entry 5 is no JPEG or PNG"),
    (([*PICTURES[:5], [PICTURES[5]]], LABELS), "entry 5 is no JPEG or PNG"),
    ((PICTURES, [True, False, 2]), "label 2 is neither true nor false"),
    ((PICTURES, [True, False, None]), "label 2 is neither"),
    ((PICTURES, [True, False, "True"]), "label 2 is neither"),
    ((PICTURES, LABELS, 1), "is not a pair of pictures and labels"),
    (([PICTURES[0]] * 4000, [True] * 2000), "over and over"),
])  # fmt: skip
def test_sizes_and_types_are_checked(tmp_path, value, words):
    with pytest.raises(MaskbenchError, match=words):
        read_bin(save(tmp_path, value))


def test_a_missing_file(tmp_path):
    with pytest.raises(MaskbenchError, match="cannot be read"):
        read_bin(tmp_path / "none.bin")


def test_a_cut_file_never_passes(tmp_path):
    whole = pickle.dumps((PICTURES, LABELS), 2)
    for end in range(0, len(whole) - 1, 97):
        (tmp_path / "cut.bin").write_bytes(whole[:end])
        with pytest.raises(MaskbenchError):
            read_bin(tmp_path / "cut.bin")


def test_the_reader_imports_no_unpickler():
    from pathlib import Path

    from maskbench.datasets import insightface_bin

    text = Path(insightface_bin.__file__).read_text()
    assert "import pickle\n" not in text and "pickle.load" not in text and "allow_pickle" not in text
