"""Pairs drawn from two trees of subjects (real masks) and from a split by identity."""

from collections import Counter

import pytest
from pictures_fixture import put

from maskbench.errors import ProtocolError
from maskbench.metrics.conditions import condition_labels
from maskbench.protocol_drawn import celeba_draft, two_folders_draft

THREE = ("UMR-UMP", "UMR-MP", "MR-MP")


@pytest.fixture
def rmfd(tmp_path):
    names = [f"bare/p{who:02d}/{k}.jpg" for who in range(24) for k in range(5)]
    names += [f"worn/p{who:02d}/{k}.jpg" for who in range(2, 26) for k in range(3)]
    return put(tmp_path / "rmfd", names)


def test_two_trees(rmfd):
    draft = two_folders_draft(rmfd, THREE, "bare", "worn", 40)
    pairs, owner = draft.pairs, {sample.sample_id: sample.subject_id for sample in draft.samples}
    tree = {"unmasked": "bare/", "masked": "worn/"}
    folds = {}
    for index in range(len(pairs)):
        reference, probe = str(pairs.reference_id[index]), str(pairs.probe_id[index])
        assert reference != probe and (owner[reference] == owner[probe]) == pairs.mated[index]
        assert reference.startswith(tree[pairs.reference_condition[index]])
        assert probe.startswith(tree[pairs.probe_condition[index]])
        folds.setdefault(int(pairs.fold[index]), set()).update((owner[reference], owner[probe]))
    assert sum(map(len, folds.values())) == len(set().union(*folds.values()))  # over all conditions
    assert len(folds) == 2
    assert Counter(condition_labels(pairs).tolist()) == dict.fromkeys(THREE, 40)
    assert set(owner.values()) <= {f"p{who:02d}" for who in range(2, 24)}
    assert draft.notes == ("4 subjects have pictures in one of bare and worn only and were left out",)
    again = two_folders_draft(rmfd, THREE, "bare", "worn", 40).pairs.probe_id.tolist()
    assert again == pairs.probe_id.tolist()
    assert two_folders_draft(rmfd, THREE, "bare", "worn", 40, seed=1).pairs.probe_id.tolist() != again


def test_one_masked_picture_each_gives_no_masked_mates(tmp_path):
    root = put(tmp_path, [f"{tree}/p{who}/1.jpg" for tree in ("bare", "worn") for who in range(4)])
    assert len(two_folders_draft(root, ["UMR-MP"], "bare", "worn", 8).pairs) > 2
    with pytest.raises(ProtocolError, match="no mated"):
        two_folders_draft(root, ["MR-MP"], "bare", "worn", 8)


def test_a_missing_tree(tmp_path):
    with pytest.raises(Exception, match="worn: not a folder"):
        two_folders_draft(put(tmp_path, ["bare/a/1.jpg"]), THREE, "bare", "worn")


@pytest.fixture
def celeba(tmp_path):
    rows = [(f"{who}/{who}{k:03d}.jpg", str(who), "validation" if who < 20 else "train")
            for who in range(10, 40) for k in range(4)]  # fmt: skip
    root = put(tmp_path / "celeba", [f"faces/{path}" for path, _, _ in rows])
    text = "\n".join(["path,identity,subset", *map(",".join, rows)])
    (root / "split_identity.csv").write_text(text + "\n")
    return root


@pytest.mark.parametrize(("subset", "people"), [("validation", range(10, 20)), ("train", range(20, 40))])
def test_only_people_of_the_subset(celeba, subset, people):
    draft = celeba_draft(celeba, THREE, 60, 0, subset)
    assert {sample.subject_id for sample in draft.samples} <= set(map(str, people)) and draft.below == "faces"
    assert len(draft.pairs) == 3 * int(draft.suffix) and int(draft.suffix) > 40
    assert all((celeba / "faces" / sample.path).is_file() for sample in draft.samples)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("path,identity,subset", "path,person,subset", "split_identity.csv:1: the columns must be"),
    ("10/10001.jpg,10,validation", "10/10001.jpg,10,train", "split_identity.csv:3: person 10 is in validation and in"),
])  # fmt: skip
def test_a_split_that_is_none(celeba, old, new, words):
    path = celeba / "split_identity.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ProtocolError, match=words):
        celeba_draft(celeba)


def test_no_split_and_no_such_subset(celeba, tmp_path):
    with pytest.raises(ProtocolError, match="nobody is in 'test'; there are train, validation"):
        celeba_draft(celeba, subset="test")
    with pytest.raises(ProtocolError, match="dataset build celeba"):
        celeba_draft(tmp_path)
