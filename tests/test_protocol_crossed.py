"""Every probe against every reference: who meets whom, and what is refused."""

from collections import Counter

import numpy as np
import pytest
from pictures_fixture import put

from maskbench.errors import ProtocolError
from maskbench.metrics.conditions import condition_labels
from maskbench.protocol_crossed import Cast, ar_draft, crossed_draft, first_against_rest, role_folders, role_manifest

ROLES = {role: role for role in ("reference", "probe", "reference-masked", "probe-masked")}
THREE = ("UMR-UMP", "UMR-MP", "MR-MP")


def rows(draft):
    pairs = draft.pairs
    return set(zip(condition_labels(pairs).tolist(), pairs.reference_id.tolist(), pairs.probe_id.tolist(),
                   pairs.mated.tolist(), strict=True))  # fmt: skip


def brute(cast, conditions):
    """The definition, written as plainly as can be."""
    found = set()
    for label in conditions:
        stored = cast.roles.get("reference" if label.startswith("UMR") else "reference-masked", {})
        shown = cast.roles.get("probe" if label.endswith("UMP") else "probe-masked", {})
        for owner, references in stored.items():
            for subject, probes in shown.items():
                for reference in references:
                    for probe in probes:
                        if reference != probe or label == "UMR-MP":
                            found.add((label, reference, probe, owner == subject))
    return found


@pytest.fixture
def people(tmp_path):
    return put(tmp_path / "people", [f"p{who}/{image}.png" for who in range(6) for image in range(who % 3 + 1)])


@pytest.mark.parametrize("references", [1, 2])
def test_first_pictures_against_the_rest(people, references):
    cast = first_against_rest(people, references)
    draft = crossed_draft(people, cast, THREE)
    assert rows(draft) == brute(cast, THREE) and len(draft.pairs) == len(brute(cast, THREE))
    stored = {path for paths in cast.roles["reference"].values() for path in paths}
    assert stored == {f"p{who}/{k}.png" for who in range(6) for k in range(min(references, who % 3 + 1))}
    assert not stored & {path for paths in cast.roles["probe"].values() for path in paths}


def test_a_number_of_others(tmp_path):
    people = put(tmp_path / "many", [f"p{who:02d}/{image}.png" for who in range(30) for image in range(3)])
    cast = first_against_rest(people)
    draft = crossed_draft(people, cast, THREE, others=5, seed=1)
    assert rows(draft) < brute(cast, THREE)
    met = Counter((label, probe) for label, _, probe, _ in rows(draft))
    assert set(met.values()) == {6} and len(met) == 3 * 60  # its own and five others, under every condition
    by_condition = [{row[1:] for row in rows(draft) if row[0] == label} for label in THREE]
    assert by_condition[0] == by_condition[1] == by_condition[2]  # one list of pairs for all conditions
    assert rows(crossed_draft(people, cast, THREE, others=5, seed=1)) == rows(draft)
    assert rows(crossed_draft(people, cast, THREE, others=5, seed=2)) != rows(draft)
    assert rows(crossed_draft(people, cast, THREE, others=29)) == brute(cast, THREE)


def test_a_table_too_large_is_refused_before_it_is_made(people):
    cast = first_against_rest(people)
    count = len(brute(cast, THREE))
    assert len(crossed_draft(people, cast, THREE, limit=count).pairs) == count
    with pytest.raises(ProtocolError, match=rf"{count:,} comparisons, more than .*--others N .*maskbench allpairs"):
        crossed_draft(people, cast, THREE, limit=count - 1)
    huge = Cast({"reference": {"a": ["a"] * 1000}, "probe": {"b": ["b"] * 100_000}})
    with pytest.raises(ProtocolError, match="100,000,000 comparisons"):
        crossed_draft(people, huge, ["UMR-UMP"])


@pytest.mark.parametrize("names", [[], ["1.png"], ["a/1.png", "b/1.png"], ["a/1.png", "a/2.png"]])
def test_too_few_pictures(tmp_path, names):
    with pytest.raises(ProtocolError, match="one folder per subject"):
        first_against_rest(put(tmp_path, names))


# ---------------------------------------------------------------- roles


@pytest.fixture
def roles(tmp_path):
    return put(tmp_path / "mfr", [
        "reference/ann/1.jpg", "reference/bob/1.jpg", "probe/ann/2.jpg", "probe/bob/2.jpg", "probe/cem/1.jpg",
        "reference-masked/ann/3.jpg", "reference-masked/bob/3.jpg", "probe-masked/ann/4.jpg", "probe-masked/bob/4.jpg",
    ])  # fmt: skip


def test_folders_of_roles(roles):
    cast = role_folders(roles, ROLES)
    draft = crossed_draft(roles, cast, THREE)
    assert rows(draft) == brute(cast, THREE)
    assert {sample.subject_id for sample in draft.samples} == {"ann", "bob", "cem"}
    assert ("UMR-MP", "reference/ann/1.jpg", "probe-masked/ann/4.jpg", True) in rows(draft)


def test_a_condition_without_pictures_is_left_out_and_said(roles):
    for name in ("ann", "bob"):
        (roles / f"reference-masked/{name}/3.jpg").unlink()
    draft = crossed_draft(roles, role_folders(roles, ROLES), THREE)
    assert set(condition_labels(draft.pairs).tolist()) == {"UMR-UMP", "UMR-MP"}
    assert draft.notes == ("MR-MP is left out: there are no pictures, or no mated or no non-mated comparison for it",)


def test_without_a_side(tmp_path):
    put(tmp_path, ["reference/a/1.jpg"])
    with pytest.raises(ProtocolError, match="there are no probes"):
        role_folders(tmp_path, ROLES)
    put(tmp_path, ["probe/b/1.jpg"])
    with pytest.raises(ProtocolError, match="no condition of UMR-UMP has mated and non-mated"):
        crossed_draft(tmp_path, role_folders(tmp_path, ROLES), ["UMR-UMP"])


HEAD = "role,subject_id,path"


def test_a_manifest_of_roles(roles):
    lines = [HEAD + ",sex"]
    lines += [f"{path.parts[-3]},{path.parts[-2]},{path.relative_to(roles).as_posix()},f"
              for path in sorted(roles.glob("*/*/*.jpg"))]  # fmt: skip
    (roles / "list.csv").write_text("\n".join(lines))
    draft = crossed_draft(roles, role_manifest(roles / "list.csv"), THREE)
    assert rows(draft) == rows(crossed_draft(roles, role_folders(roles, ROLES), THREE))
    assert {sample.attributes["sex"] for sample in draft.samples} == {"f"}


@pytest.mark.parametrize(("text", "line", "words"), [
    ("role,path,subject_id", 1, "the columns must be role,subject_id,path"),
    (HEAD + ",sex,sex", 1, "the columns must be"),
    (HEAD + "\nprobes,a,1.jpg", 2, "did you mean \"probe\"?"),
    (HEAD + "\nprobe,,1.jpg", 2, "subject_id or path is empty"),
    (HEAD + "\nprobe,a,1.jpg\nreference,b,1.jpg", 3, "1.jpg is of 'b', above it is of 'a'"),
    (HEAD + "\nprobe,a,1.jpg\nprobe,a,1.jpg", 3, "listed as probe twice"),
    (HEAD + "\nprobe,a,1.jpg", 1, "there are no references"),
])  # fmt: skip
def test_faults_of_a_manifest(tmp_path, text, line, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ProtocolError) as caught:
        role_manifest(tmp_path / "list.csv")
    assert str(caught.value).startswith(f"{tmp_path / 'list.csv'}:{line}: ") and words in str(caught.value)


# ---------------------------------------------------------------- AR


def test_ar_probes_meet_every_subject(tmp_path):
    put(tmp_path, [f"{who}-{code:02d}.bmp" for who in ("m-001", "w-001", "m-002") for code in (1, 2, 5, 8, 11, 14, 21)])
    for part, codes in (("AR1", {8, 21}), ("AR2", {11})):
        draft = ar_draft(tmp_path, part)
        masked = {row for row in rows(draft) if row[0] == "UMR-MP"}
        assert {int(probe[-6:-4]) for _, _, probe, _ in masked} == codes
        assert len(masked) == 3 * 3 * len(codes) and sum(row[3] for row in masked) == 3 * len(codes)
        assert {reference[-6:-4] for _, reference, _, _ in rows(draft)} == {"01"}
        clean = {row[2][-6:-4] for row in rows(draft) if row[0] == "UMR-UMP"}
        assert clean == {"02", "05", "14"}  # the second neutral picture is a probe


def test_ar_is_known_by_its_names(tmp_path):
    with pytest.raises(ProtocolError, match="not the AR database"):
        ar_draft(put(tmp_path, ["a/1.jpg", "b/1.jpg"]))
    with pytest.raises(ProtocolError, match="0 of AR2"):
        ar_draft(put(tmp_path / "ar", ["m-001-01.bmp", "m-001-02.bmp", "m-002-01.bmp", "m-001-08.bmp"]), "AR2")


def test_the_order_of_pairs_is_fixed(people):
    first, second = (crossed_draft(people, first_against_rest(people), THREE).pairs for _ in range(2))
    assert np.array_equal(first.pair_id, second.pair_id) and len(set(first.pair_id.tolist())) == len(first)
