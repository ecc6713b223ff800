"""Pair lists of others and the user's own CSV: what they become, and what is wrong with them, by file and line."""

import numpy as np
import pytest
from pictures_fixture import put

from maskbench.errors import ProtocolError
from maskbench.metrics.conditions import condition_labels
from maskbench.protocol_draft import THREE
from maskbench.protocol_lists import listed_draft, mfr2_draft, read_custom, read_labelled
from maskbench.protocol_subjects import chains, contradiction


@pytest.fixture
def faces(tmp_path):
    return put(tmp_path / "faces", ["a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg"])


def write(tmp_path, text, name="pairs.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


PLAIN = "reference_path,probe_path,mated\na/1.jpg,a/2.jpg,true\na/1.jpg,b/1.jpg,false\nb/1.jpg,c/1.jpg,false\n"


def custom(faces, path, conditions=THREE):
    return listed_draft(faces, path, read_custom(path), conditions)


def test_a_plain_list_under_three_conditions(faces, tmp_path):
    draft = custom(faces, write(tmp_path, PLAIN))
    assert draft.pairs.pair_id[:4].tolist() == ["UMR-UMP/000001", "UMR-UMP/000002", "UMR-UMP/000003", "UMR-MP/000001"]
    assert draft.pairs.mated.tolist() == [True, False, False] * 3
    assert condition_labels(draft.pairs).tolist() == [label for label in THREE for _ in range(3)]
    assert [(s.sample_id, s.subject_id) for s in draft.samples] == [
        ("a/1.jpg", "a/1.jpg"), ("a/2.jpg", "a/1.jpg"), ("b/1.jpg", "b/1.jpg"), ("c/1.jpg", "c/1.jpg"),
    ]  # fmt: skip
    assert draft.notes == ("subjects follow from the mated pairs: 3, an upper bound on the people",)


def test_every_column_of_the_user(faces, tmp_path):
    text = (
        "pair_id,mated,fold,reference_subject,probe_subject,reference_condition,probe_condition,probe_path,"
        "reference_path\nx,1,2,ann,ann,unmasked,masked,a/2.jpg,a/1.jpg\ny,0,1,ann,bob,masked,masked,b/1.jpg,a/1.jpg\n"
        "z,1,0,ann,ann,unmasked,masked,a/1.jpg,a/1.jpg\n"
    )
    draft = custom(faces, write(tmp_path, text))
    assert draft.pairs.pair_id.tolist() == ["x", "z", "y"]  # conditions one after the other
    assert draft.pairs.fold.tolist() == [2, 0, 1]
    assert condition_labels(draft.pairs).tolist() == ["UMR-MP", "UMR-MP", "MR-MP"]
    assert {s.sample_id: s.subject_id for s in draft.samples} == {"a/1.jpg": "ann", "a/2.jpg": "ann", "b/1.jpg": "bob"}


HEAD = "reference_path,probe_path,mated"
FULL = HEAD + ",reference_subject,probe_subject"


@pytest.mark.parametrize(("text", "line", "words"), [
    (HEAD, 1, "no pairs"),
    (HEAD + ",weight\n", 1, "unknown column 'weight'"),
    (HEAD + ",folds\n", 1, "did you mean \"fold\"?"),
    (HEAD + ",mated\n", 1, "column 'mated' is there twice"),
    ("reference_path,mated\n", 1, "column 'probe_path' is missing"),
    (HEAD + ",probe_subject\n", 1, "must both be there"),
    (f"{HEAD}\na/1.jpg,,true\n", 2, "a side is missing"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\n,b/1.jpg,false\n", 3, "a side is missing"),
    (f"{HEAD}\na/1.jpg,a/2.jpg\n", 2, "expected 3 columns"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\na/1.jpg,b/1.jpg,0\n", 3, "in one spelling throughout; found '0'"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,yes\n", 2, "mated must be true or false"),
    (f"{HEAD},fold\na/1.jpg,a/2.jpg,true,1\na/1.jpg,b/1.jpg,false,\n", 3, "fold must be a whole number in every line"),
    (f"{HEAD},fold\na/1.jpg,a/2.jpg,true,-1\n", 2, "fold must be"),
    (f"{HEAD},fold\na/1.jpg,a/2.jpg,true,1.0\n", 2, "fold must be"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\na/2.jpg,a/2.jpg,true\n", 3, "a/2.jpg is compared with itself under UMR-UMP"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\nb/1.jpg,c/1.jpg,false\na/1.jpg,a/2.jpg,true\n", 4, "already on line 2"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\na/2.jpg,a/1.jpg,true\n", 3, "already on line 2"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\na/1.jpg,b/1.jpg,false\na/1.jpg,b/1.jpg,true\n", 4, "already on line 3"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\na/2.jpg,b/1.jpg,true\nb/1.jpg,a/1.jpg,false\n", 4, "non-mated, but the subjects"),
    (f"{FULL}\na/1.jpg,a/2.jpg,true,a,a\na/2.jpg,b/1.jpg,false,b,a\n", 3, "a/2.jpg is of 'b', above it is of 'a'"),
    (f"{FULL}\na/1.jpg,b/1.jpg,true,a,b\n", 2, "the pair is mated, but the subjects are 'a' and 'b'"),
    (f"{FULL}\na/1.jpg,b/1.jpg,false,a,\n", 2, "is empty"),
    (f"{HEAD}\na/1.jpg,a/2.jpg,true\na/1.jpg,d/1.jpg,false\n", 3, "1 of 3 pictures are not in"),
    (f"{HEAD},pair_id\na/1.jpg,a/2.jpg,true,x\na/1.jpg,b/1.jpg,false,x\n", 3, "pair_id 'x' is already on line 2"),
    (f"{HEAD},pair_id\na/1.jpg,a/2.jpg,true,\n", 2, "pair_id is empty"),
    (f"{HEAD},reference_condition,probe_condition\na/1.jpg,a/2.jpg,true,clear,masked\n", 2, "reference_condition must"),
    (f"{HEAD},reference_condition,probe_condition\na/1.jpg,a/2.jpg,true,masked,on\n", 2, "probe_condition must be"),
])  # fmt: skip
def test_faults_of_a_custom_list(faces, tmp_path, text, line, words):
    path = write(tmp_path, text)
    with pytest.raises(ProtocolError) as caught:
        custom(faces, path)
    assert str(caught.value).startswith(f"{path}:{line}: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_leaves_its_folder(faces, tmp_path):
    put(tmp_path, ["other.jpg"])
    path = write(tmp_path, f"{HEAD}\na/1.jpg,a/2.jpg,true\na/1.jpg,../other.jpg,false\n")
    with pytest.raises(Exception, match="not a relative path inside"):
        custom(faces, path)


# ---------------------------------------------------------------- subjects from mated pairs


def components(links):
    """Connected components by repeated relabelling: slow, obvious."""
    label = {picture: picture for link in links for picture in link[:2]}
    for _ in range(len(label)):
        for first, second, mated in links:
            if mated:
                low = min(label[first], label[second])
                label = {k: low if v in (label[first], label[second]) else v for k, v in label.items()}
    return label


@pytest.mark.parametrize("seed", range(60))
def test_chains_are_connected_components(seed):
    rng = np.random.default_rng(seed)
    nodes = [f"p{index:02d}" for index in range(rng.integers(2, 14))]
    links = [(*map(str, rng.choice(nodes, 2)), bool(rng.random() < 0.4)) for _ in range(rng.integers(1, 16))]
    found, slow = chains(links), components(links)
    pictures = sorted(slow)
    assert sorted(found) == pictures
    for first in pictures:
        for second in pictures:
            assert (found[first] == found[second]) == (slow[first] == slow[second])
    bad = [i for i, (a, b, mated) in enumerate(links) if (slow[a] == slow[b]) != mated]
    assert contradiction(links, found) == (bad[0] if bad else None)


# ---------------------------------------------------------------- lists of others


def test_a_labelled_list_in_equal_folds(tmp_path):
    lines = [f"x{k}.jpg\ty{k}.jpg\t{k % 2}" for k in range(40)]
    found = read_labelled(write(tmp_path, "\n".join(lines) + "\n\n", "pairs.txt"))
    assert [pair.fold for pair in found] == [k // 4 + 1 for k in range(40)]
    assert [pair.mated for pair in found] == [False, True] * 20
    faces = put(tmp_path / "mlfw", [f"{side}{k}.jpg" for side in "xy" for k in range(40)])
    draft = listed_draft(faces, tmp_path / "pairs.txt", found, ["MR-MP"], keep_repeats=True)
    assert len(draft.samples) == 80 and set(draft.pairs.probe_condition) == {"masked"}


@pytest.mark.parametrize(("text", "line"), [
    ("a b 1\n" * 9, 9), ("", 1), ("a b 1\n" * 9 + "a b\n", 10), ("a b 1\n" * 4 + "a b yes\n" + "a b 0\n" * 5, 5),
    ("10\t300\n" + "a b 1\n" * 9, 1),
])  # fmt: skip
def test_faults_of_a_labelled_list(tmp_path, text, line):
    path = write(tmp_path, text, "pairs.txt")
    with pytest.raises(ProtocolError, match=f"pairs.txt:{line}: "):
        read_labelled(path)


def test_a_published_list_keeps_its_repeats(tmp_path):
    text = "a.jpg b.jpg 1\n" * 2 + "".join(f"a.jpg c{k}.jpg 0\n" for k in range(8))
    faces = put(tmp_path / "f", ["a.jpg", "b.jpg", *(f"c{k}.jpg" for k in range(8))])
    path = write(tmp_path, text, "pairs.txt")
    draft = listed_draft(faces, path, read_labelled(path), ["MR-MP"], keep_repeats=True)
    assert len(draft.pairs) == 10
    assert draft.notes[-1] == "1 comparisons are in the list again, the first on line 2; kept"
    with pytest.raises(ProtocolError, match="pairs.txt:2: the comparison is already on line 1"):
        listed_draft(faces, path, read_labelled(path), ["MR-MP"])


@pytest.fixture
def mfr2(tmp_path):
    root = put(tmp_path / "mfr2", ["Ann/Ann_0001.png", "Ann/Ann_0002.png", "Bob/Bob_0001.png", "Bob/Bob_0002.jpg"])
    write(root, "Ann, 1, no-mask\nAnn, 2, surgical_green\nBob, 1, no-mask\nBob, 2, cloth\n", "mfr2_labels.txt")
    write(root, "Ann 1 2\nBob 2 1\nAnn 1 Bob 1\nAnn 2 Bob 2\nAnn 1 Bob 2\n", "pairs.txt")
    return root


def test_mfr2_conditions_follow_from_the_labels(mfr2):
    draft = mfr2_draft(mfr2)
    rows = dict(zip(draft.pairs.pair_id.tolist(), draft.pairs.mated.tolist(), strict=True))
    assert rows == {
        "UMR-MP/0001": True, "UMR-MP/0005": False, "MR-UMP/0002": True, "UMR-UMP/0003": False, "MR-MP/0004": False,
    }  # fmt: skip
    assert condition_labels(draft.pairs).tolist() == [name.partition("/")[0] for name in draft.pairs.pair_id.tolist()]
    assert {s.sample_id: (s.subject_id, s.attributes["mask"]) for s in draft.samples} == {
        "Ann/Ann_0001.png": ("Ann", "no-mask"), "Ann/Ann_0002.png": ("Ann", "surgical_green"),
        "Bob/Bob_0001.png": ("Bob", "no-mask"), "Bob/Bob_0002.jpg": ("Bob", "cloth"),
    }  # fmt: skip


@pytest.mark.parametrize(("file", "text", "where", "words"), [
    ("pairs.txt", "Ann 1 2\nAnn one 2\n", "pairs.txt:2", "expected 'name 1 2'"),
    ("pairs.txt", "Ann 1\n", "pairs.txt:1", "expected 'name 1 2'"),
    ("pairs.txt", "Ann 1 7\n", "pairs.txt:1", "picture 7 of 'Ann' is not in mfr2_labels.txt"),
    ("pairs.txt", "Ann 1 1\n", "pairs.txt:1", "compared with itself"),
    ("pairs.txt", "Ann 1 Ann 2\n", "pairs.txt:1", "non-mated, but the subjects"),
    ("mfr2_labels.txt", "Ann, 1, no-mask\nAnn 2 cloth\n", "mfr2_labels.txt:2", "expected 'name, number, mask'"),
])  # fmt: skip
def test_faults_of_mfr2(mfr2, file, text, where, words):
    write(mfr2, text, file)
    with pytest.raises(ProtocolError) as caught:
        mfr2_draft(mfr2)
    assert f"{where}: " in str(caught.value) and words in str(caught.value)


def test_mfr2_without_a_picture(mfr2):
    (mfr2 / "Bob/Bob_0002.jpg").unlink()
    with pytest.raises(ProtocolError, match=r"pairs.txt:2: 1 of 4 pictures are not in .*first Bob/Bob_0002.png"):
        mfr2_draft(mfr2)
