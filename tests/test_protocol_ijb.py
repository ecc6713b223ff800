"""Templates of several pictures: the format's fourth file, and the maker for the lists of IJB."""

import dataclasses

import numpy as np
import pytest

from maskbench.cli.main import main
from maskbench.errors import ProtocolError
from maskbench.pooling import pool_templates
from maskbench.protocol_build import stranger_pairs, used_keys
from maskbench.protocol_ijb import ijb_draft
from maskbench.protocol_making import make_protocol
from maskbench.protocols import build_protocol, load_protocol, masked_paths, protocol_counts, write_protocol
from maskbench.types import EmbeddingSet, PairTable, Sample

HASH = "0" * 64
SAMPLES = [Sample(f"{who}{k}", who, f"{who}/{k}.jpg", HASH) for who in "abc" for k in range(3)]
TEMPLATES = {"t1": ("a0", "a1"), "t2": ("a2",), "t3": ("b0", "b1", "b2")}


def table(*rows):
    ids, references, probes, sides, mated = zip(*rows, strict=True)
    return PairTable(
        np.array(ids), np.array(references), np.array(probes), np.array([s[0] for s in sides]),
        np.array([s[1] for s in sides]), np.array(mated), np.zeros(len(ids), int),
    )  # fmt: skip


BARE, WORN = ("unmasked", "unmasked"), ("unmasked", "masked")
PAIRS = table(("1", "t1", "t2", BARE, True), ("2", "t1", "t3", WORN, False), ("3", "t3", "c0", BARE, False))


def made(templates=None, pairs=PAIRS):
    return build_protocol("p", 1, SAMPLES, pairs, "UMR-UMP", templates=TEMPLATES if templates is None else templates)


def test_a_protocol_of_templates_survives_its_folder(tmp_path):
    protocol = made()
    write_protocol(protocol, tmp_path / "p")
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "pairs.csv", "protocol.yaml", "samples.csv", "templates.csv",
    ]  # fmt: skip
    back = load_protocol(tmp_path / "p")
    assert back.digest == protocol.digest and back.templates == protocol.templates == TEMPLATES
    assert protocol_counts(back)["templates"] == 3
    write_protocol(made(), tmp_path / "p")  # replaces a folder of four files


def test_templates_change_the_digest_and_their_absence_does_not():
    other = {**TEMPLATES, "t1": ("a1", "a0")}
    assert len({made().digest, made(other).digest, made({**TEMPLATES, "t3": ("b0", "b1")}).digest}) == 3
    plain = table(("1", "a0", "a1", BARE, True))
    assert made({}, plain).digest == build_protocol("p", 1, SAMPLES, plain, "UMR-UMP").digest


def test_what_a_comparison_of_templates_needs():
    assert used_keys(made()) == {
        *((key, "unmasked") for key in ("a0", "a1", "a2", "b0", "b1", "b2", "c0")),
        *((key, "masked") for key in ("b0", "b1", "b2")),
    }  # fmt: skip
    assert masked_paths(made()) == ["b/0.jpg", "b/1.jpg", "b/2.jpg"]
    assert stranger_pairs(made()) == 2


def test_the_core_pools_what_the_format_says():
    protocol = made()
    keys = sorted(used_keys(protocol))
    ids, conditions = (np.array(column) for column in zip(*keys, strict=True))
    vectors = np.random.default_rng(0).normal(size=(len(keys), 4)).astype(np.float32)
    embeddings = EmbeddingSet(ids, conditions, vectors, np.zeros(len(keys), np.int8), np.full(len(keys), ""), "", "")
    pooled = pool_templates(embeddings, protocol)
    row = np.flatnonzero((pooled.sample_ids == "t1") & (pooled.conditions == "unmasked"))
    unit = [vectors[keys.index((key, "unmasked"))] for key in TEMPLATES["t1"]]
    wanted = sum(vector / np.linalg.norm(vector) for vector in unit) / 2
    assert np.allclose(pooled.vectors[row], wanted, atol=1e-6)


@pytest.mark.parametrize(("text", "line", "words"), [
    ("template,sample_id\n", 1, "the columns must be template_id,sample_id"),
    ("template_id,sample_id\nt1,\n", 2, "is empty"),
    ("template_id,sample_id\nt1,a0\nt2,a2\nt1,a1\n", 4, "do not follow each other"),
    ("template_id,sample_id\nt1,a0\nt1,a0\n", 3, "'a0' is in template 't1' twice"),
    ("template_id,sample_id\nt1,a0\nt2,a2\nt2,b2\n", 4, "mixes subjects 'a' and 'b'"),
    ("template_id,sample_id\nt1,a0\nt1,z9\n", 3, "sample_id 'z9' is not in samples.csv"),
    ("template_id,sample_id\nt1,a0\nb1,b1\n", 3, "the id of a sample"),
])  # fmt: skip
def test_faults_of_templates(tmp_path, text, line, words):
    write_protocol(made(), tmp_path / "p")
    (tmp_path / "p" / "templates.csv").write_text(text)
    with pytest.raises(ProtocolError) as caught:
        load_protocol(tmp_path / "p")
    assert str(caught.value).startswith(f"{tmp_path / 'p' / 'templates.csv'}:{line}: ") and words in str(caught.value)


def test_pairs_and_templates_must_agree():
    wrong = dataclasses.replace(PAIRS, mated=~PAIRS.mated)
    with pytest.raises(ProtocolError, match="pairs.csv:2: mated is false, but the subjects are 'a' and 'a'"):
        made(pairs=wrong)
    with pytest.raises(ProtocolError, match="pairs.csv:4: reference_id 't3' is not in samples.csv"):
        made({key: TEMPLATES[key] for key in ("t1", "t2")})


# ---------------------------------------------------------------- the lists of IJB


@pytest.fixture
def ijb(tmp_path):
    faces = tmp_path / "ijb" / "loose_crop"
    faces.mkdir(parents=True)
    for k in range(1, 9):
        (faces / f"{k}.jpg").write_bytes(f"{k}".encode())
    meta = tmp_path / "ijb" / "meta"
    meta.mkdir()
    rows = "1.jpg 10 5,2.jpg 10 6,3.jpg 11 7,4.jpg 12 8,5.jpg 12 8,6.jpg 13 9,6.jpg 14 9,8.jpg 15 1"
    (meta / "x_face_tid_mid.txt").write_text(rows.replace(",", "\n") + "\n")
    (meta / "x_template_pair_label.txt").write_text("10 11 1\n10 12 0\n11 13 0\n12 14 0\n15 10 0\n")
    return faces


def test_templates_from_lists(ijb, tmp_path):
    protocol = make_protocol("ijb", ijb).protocol
    assert protocol.templates["t12"] == ("4.jpg", "5.jpg") and len(protocol.templates) == 6
    assert protocol_counts(protocol) == {
        "samples": 7, "subjects": 4, "pairs": 15, "mated": 3, "non_mated": 12, "folds": 0, "templates": 6,
    }  # fmt: skip
    assert {protocol.samples[name].subject_id for name in ("1.jpg", "2.jpg", "3.jpg")} == {"10"}
    assert protocol.samples["6.jpg"].attributes == {"medium": "9"}  # of two templates, so of one person
    fewer = make_protocol("ijb", ijb, options={"non_mated": 2}).protocol
    assert (fewer.name, protocol_counts(fewer)["mated"], protocol_counts(fewer)["non_mated"]) == ("ijb-3", 3, 6)
    with pytest.raises(SystemExit) as ended:
        main(["protocol", "make", "ijb", str(ijb), str(tmp_path / "out"), "--non-mated", "2"])
    assert not ended.value.code and load_protocol(tmp_path / "out").digest == fewer.digest


@pytest.mark.parametrize(("file", "text", "words"), [
    ("x_face_tid_mid.txt", "1.jpg 10\n", "tid_mid.txt:1: expected 'picture template medium'"),
    ("x_face_tid_mid.txt", "1.jpg 10 1\n1.jpg 10 2\n", "tid_mid.txt:2: 1.jpg is in template 10 twice"),
    ("x_template_pair_label.txt", "10 11 1\n10 12 2\n", "label.txt:2: expected 'template template 1 or 0'"),
    ("x_template_pair_label.txt", "10 10 1\n", "label.txt:1: template 10 is compared with itself"),
    ("x_template_pair_label.txt", "10 11 1\n10 99 0\n", "label.txt:2: template 99 has no picture"),
    ("x_template_pair_label.txt", "10 11 1\n11 10 0\n", "label.txt:2: templates 11 and 10 are non-mated, other lines"),
    ("x_template_pair_label.txt", "10 11 1\n13 14 0\n", "label.txt:2: templates 13 and 14 are non-mated, other"),
])  # fmt: skip
def test_faults_of_the_lists(ijb, file, text, words):
    (ijb.parent / "meta" / file).write_text(text)
    with pytest.raises(ProtocolError, match=words):
        ijb_draft(ijb)


def test_lists_and_limits(ijb, tmp_path):
    with pytest.raises(ProtocolError, match="15 comparisons, more than a table is made for .*--non-mated N"):
        ijb_draft(ijb, limit=14)
    with pytest.raises(ProtocolError, match=r"no \*face_tid_mid.txt in it"):
        ijb_draft(tmp_path / "ijb" / "loose_crop" / "none")
    (ijb / "8.jpg").unlink()
    with pytest.raises(ProtocolError, match="8.jpg: cannot be read"):
        ijb_draft(ijb)
