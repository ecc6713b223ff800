import dataclasses
from collections import Counter

import numpy as np
import pytest

from maskbench.digest import bytes_sha256
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.metrics.conditions import condition_labels
from maskbench.protocols import load_protocol, make_folders, make_lfw, masked_paths, protocol_counts, write_protocol

PAIRS = """2\t2
Ana\t1\t2
Bo\t2\t1
Ana\t1\tBo\t1
Bo\t2\tAna\t2
Cem\t1\t2
Cem\t1\t3
Cem\t1\tBo\t1
Ana\t2\tCem\t3
"""
IMAGES = ["Ana/Ana_0001.jpg", "Ana/Ana_0002.PNG", "Bo/Bo_0001.jpg", "Bo/Bo_0002.jpg", "Cem/Cem_0001.jpg",
          "Cem/Cem_0002.jpg", "Cem/Cem_0003.jpg", "Dora/Dora_0001.jpg"]  # fmt: skip


def put(root, names):
    """Files whose content is their own name; a protocol decodes no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def faces(tmp_path, monkeypatch):
    monkeypatch.delenv("MASKBENCH_DATA", raising=False)
    root = put(tmp_path / "lfw", IMAGES)
    (root / "pairs.txt").write_text(PAIRS)
    return root


def rows(protocol, label):
    chosen = condition_labels(protocol.pairs) == label
    columns = (getattr(protocol.pairs, field.name)[chosen].tolist() for field in dataclasses.fields(protocol.pairs))
    return list(zip(*columns, strict=True))


# ---------------------------------------------------------------- LFW


def test_every_pair_under_three_conditions(faces):
    protocol = make_lfw(faces)
    assert (protocol.name, protocol.version, protocol.threshold_from) == ("lfw-masked", 1, "UMR-UMP")
    assert rows(protocol, "UMR-MP") == [
        ("UMR-MP/f01/m001", "Ana_0001", "Ana_0002", "unmasked", "masked", True, 1),
        ("UMR-MP/f01/m002", "Bo_0002", "Bo_0001", "unmasked", "masked", True, 1),
        ("UMR-MP/f01/n001", "Ana_0001", "Bo_0001", "unmasked", "masked", False, 1),
        ("UMR-MP/f01/n002", "Bo_0002", "Ana_0002", "unmasked", "masked", False, 1),
        ("UMR-MP/f02/m001", "Cem_0001", "Cem_0002", "unmasked", "masked", True, 2),
        ("UMR-MP/f02/m002", "Cem_0001", "Cem_0003", "unmasked", "masked", True, 2),
        ("UMR-MP/f02/n001", "Cem_0001", "Bo_0001", "unmasked", "masked", False, 2),
        ("UMR-MP/f02/n002", "Ana_0002", "Cem_0003", "unmasked", "masked", False, 2),
    ]
    strip = [(pair[0].partition("/")[2], *pair[1:3], *pair[5:]) for pair in rows(protocol, "UMR-MP")]
    for label, condition in (("UMR-UMP", "unmasked"), ("MR-MP", "masked")):
        assert [(pair[0].partition("/")[2], *pair[1:3], *pair[5:]) for pair in rows(protocol, label)] == strip
        assert all(pair[3:5] == (condition, condition) for pair in rows(protocol, label))


def one_side_masked_in_every_pair(pairs):
    return (pairs.reference_condition == "unmasked").all() and (pairs.probe_condition == "masked").all()


def test_masking_is_per_pair_and_not_per_half_of_the_list(faces):
    """A published evaluation masks the second half of the flat list ref, probe, ref, probe, ... instead of every
    second entry: half of its "masked against unmasked" pairs then have no mask at all and the rest have two."""
    protocol = make_lfw(faces)
    chosen = condition_labels(protocol.pairs) == "UMR-MP"
    fields = {field.name: getattr(protocol.pairs, field.name)[chosen] for field in dataclasses.fields(protocol.pairs)}
    pairs = dataclasses.replace(protocol.pairs, **fields)
    assert one_side_masked_in_every_pair(pairs)

    flat = np.full(2 * len(pairs), "unmasked")
    flat[len(pairs) :] = "masked"
    defective = dataclasses.replace(pairs, reference_condition=flat[0::2], probe_condition=flat[1::2])
    assert (flat == "masked").sum() == len(pairs)  # as many masks as there should be, on the wrong sides
    assert not one_side_masked_in_every_pair(defective)


def test_samples_are_those_that_pairs_name(faces):
    samples = make_lfw(faces).samples
    assert list(samples) == ["Ana_0001", "Ana_0002", "Bo_0001", "Bo_0002", "Cem_0001", "Cem_0002", "Cem_0003"]
    sample = samples["Ana_0002"]
    assert (sample.subject_id, sample.path) == ("Ana", "Ana/Ana_0002.PNG")
    assert sample.sha256 == bytes_sha256(b"Ana/Ana_0002.PNG")


def test_a_protocol_made_twice_is_the_same_and_survives_its_folder(faces, tmp_path):
    protocol = make_lfw(faces)
    write_protocol(protocol, tmp_path / "out")
    assert load_protocol(tmp_path / "out").digest == make_lfw(faces).digest == protocol.digest
    put(faces, ["Dora/Dora_0002.jpg"])
    assert make_lfw(faces).digest == protocol.digest
    (faces / "Ana/Ana_0001.jpg").write_bytes(b"another crop")
    assert make_lfw(faces).digest != protocol.digest


@pytest.mark.parametrize(
    ("limit", "name", "pairs"), [(1, "lfw-masked-4", 12), (2, "lfw-masked", 24), (9, "lfw-masked", 24)]
)
def test_the_first_pairs_of_every_fold(faces, limit, name, pairs):
    protocol = make_lfw(faces, pairs_per_fold=limit)
    assert (protocol.name, len(protocol.pairs)) == (name, pairs)
    kept = Counter(zip(protocol.pairs.fold.tolist(), protocol.pairs.mated.tolist(), strict=True))
    assert set(kept.values()) == {3 * min(limit, 2)}
    if limit == 1:
        assert [pair[0] for pair in rows(protocol, "MR-MP")] == [
            "MR-MP/f01/m001", "MR-MP/f01/n001", "MR-MP/f02/m001", "MR-MP/f02/n001",
        ]  # fmt: skip


def test_no_limit_below_one(faces):
    with pytest.raises(ProtocolError, match="pairs_per_fold is 0"):
        make_lfw(faces, pairs_per_fold=0)


def test_missing_images_are_counted(faces):
    (faces / "Cem/Cem_0001.jpg").unlink()
    (faces / "Cem/Cem_0003.jpg").unlink()
    with pytest.raises(ProtocolError) as caught:
        make_lfw(faces)
    message = str(caught.value)
    assert message.startswith(f"{faces / 'pairs.txt'}:6: 2 of 7 images are not in {faces}, first Cem_0001;")


def test_where_the_pair_list_is_looked_for(faces, tmp_path, monkeypatch):
    digest = make_lfw(faces).digest
    (faces / "pairs.txt").rename(tmp_path / "list.txt")
    with pytest.raises(MaskbenchError, match=r"no pairs\.txt in it or beside it.*give LFW's pair list"):
        make_lfw(faces)
    assert make_lfw(faces, tmp_path / "list.txt").digest == digest
    put(tmp_path / "data", ["protocols/lfw_pairs.txt"])
    (tmp_path / "data/protocols/lfw_pairs.txt").write_text(PAIRS)
    monkeypatch.setenv("MASKBENCH_DATA", str(tmp_path / "data"))
    assert make_lfw(faces).digest == digest
    (tmp_path / "pairs.txt").write_text("broken")  # the one beside the faces comes first
    with pytest.raises(ProtocolError, match=r"pairs\.txt:1"):
        make_lfw(faces)


def test_the_real_list(data_root):
    protocol = make_lfw(data_root / "faces" / "lfw112")
    assert protocol_counts(protocol) == {
        "samples": 7701, "subjects": 4281, "pairs": 18000, "mated": 9000, "non_mated": 9000, "folds": 10,
    }  # fmt: skip
    assert set(Counter(condition_labels(protocol.pairs).tolist()).values()) == {6000}


# ---------------------------------------------------------------- one folder per subject


@pytest.fixture
def people(tmp_path):
    return put(tmp_path / "people", [f"p{who:02d}/{image}.png" for who in range(40) for image in range(who % 4 + 1)])


def test_folders_give_balanced_disjoint_folds(people):
    protocol = make_folders(people, 100)
    assert protocol.name == "folders-96"  # 12 of each class in each of 4 folds
    counts = protocol_counts(protocol)
    assert (counts["pairs"], counts["mated"], counts["folds"]) == (288, 144, 4)
    assert set(Counter(zip(protocol.pairs.fold.tolist(), protocol.pairs.mated.tolist(), strict=True)).values()) == {36}
    pairs = rows(protocol, "UMR-MP")
    assert len({frozenset(pair[1:3]) for pair in pairs}) == len(pairs)
    folds = {}
    for _, reference, probe, _, _, mated, fold in pairs:
        subjects = {protocol.samples[side].subject_id for side in (reference, probe)}
        assert mated == (len(subjects) == 1)
        folds.setdefault(fold, set()).update(subjects)
    assert sum(map(len, folds.values())) == len(set().union(*folds.values()))


def test_few_subjects_give_few_large_folds(tmp_path):
    few = put(tmp_path / "few", [f"p{who:02d}/{image}.png" for who in range(20) for image in range(1 + who)])
    protocol = make_folders(few, 2000)
    assert protocol_counts(protocol)["folds"] == 2
    sizes = Counter(zip(protocol.pairs.fold.tolist(), protocol.pairs.mated.tolist(), strict=True))
    assert sizes[1, True] == sizes[2, True] > 300 and sizes[1, False] == sizes[2, False]
    strangers = {
        frozenset((pair[1].split("/")[0], pair[2].split("/")[0])) for pair in rows(protocol, "UMR-UMP") if not pair[5]
    }
    assert len(strangers) > 80  # of 90 within two folds of ten


def test_folders_are_drawn_alike_every_time(people):
    assert make_folders(people, 40).digest == make_folders(people, 40).digest
    assert make_folders(people, 40, seed=1).digest != make_folders(people, 40).digest
    put(people, ["readme.txt", "stray.png", ".thumbs/p00/x.png"])  # no subjects
    assert make_folders(people, 40).digest == make_folders(people, 40).digest


def test_small_folders_give_what_they_have(tmp_path):
    root = put(tmp_path, ["a/1.png", "a/2.png", "deep/b/1.png"])
    protocol = make_folders(root, 6000, "mine")
    assert protocol.name == "mine-3"
    assert sorted((sorted(pair[1:3]), pair[5]) for pair in rows(protocol, "UMR-UMP")) == [
        (["a/1.png", "a/2.png"], True), (["a/1.png", "deep/b/1.png"], False), (["a/2.png", "deep/b/1.png"], False),
    ]  # fmt: skip
    assert protocol.samples["deep/b/1.png"].subject_id == "deep/b"
    assert set(masked_paths(protocol)) == set(protocol.samples)


@pytest.mark.parametrize("names", [[], ["1.png", "2.png"], ["a/1.png", "a/2.png"], ["a/1.png", "b/1.png"], ["a/x.txt"]])
def test_folders_without_both_kinds_of_pairs(tmp_path, names):
    with pytest.raises(ProtocolError, match="one folder per subject"):
        make_folders(put(tmp_path, names), 10)
