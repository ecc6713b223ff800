from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from types import SimpleNamespace

import pytest

from maskbench.datasets.build import UNFINISHED, Options, building, complete, manifest_rows, masking_of, write_table
from maskbench.datasets.build_celeba import RECIPE as CELEBA_RECIPE
from maskbench.datasets.build_lfw import RECIPE as LFW_RECIPE
from maskbench.datasets.build_lfw import build_lfw
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.images import read_image
from maskbench.manifest import read_manifest, write_manifest
from maskbench.masking.synthesis import failed_row
from maskbench.metrics.conditions import condition_labels
from maskbench.protocols import load_protocol, make_lfw

ALIGNED = Options(landmarks="aligned")


def rows(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def tree(root):
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------- the output folder


def test_a_folder_belongs_to_one_build(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    with building(source, out, "lfw", {"seed": 0}) as record:
        assert json.loads((out / "dataset.json").read_text())["state"] == UNFINISHED
        with pytest.raises(MaskbenchError, match="another run is writing there"), building(source, out, "lfw", {}):
            pass
        write_table(out / "t.csv", ("a",), [("1",)])
        complete(out, record, {"n": 1}, ["t.csv"])
    found = json.loads((out / "dataset.json").read_text())
    assert found["state"] == "complete" and found["sha256"] == {"t.csv": file_sha256(out / "t.csv")}
    assert found["counts"] == {"n": 1} and str(tmp_path) not in (out / "dataset.json").read_text()
    for kind, options, words in (
        ("ar", {"seed": 0}, r"another kind \('lfw', now 'ar'\)"),
        ("lfw", {"seed": 1}, r"another options\.seed \(0, now 1\)"),
        ("lfw", {"seed": 0, "subset": "all"}, r"another options\.subset \(None, now 'all'\)"),
    ):
        with pytest.raises(MaskbenchError, match=words), building(source, out, kind, options):
            pass
    assert json.loads((out / "dataset.json").read_text()) == found
    with building(source, out, "lfw", {"seed": 0}):  # again: unfinished until it is done
        assert json.loads((out / "dataset.json").read_text())["state"] == UNFINISHED


def test_a_folder_in_which_a_build_was_killed_at_once_counts_as_empty(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{'0a' * 8}.tmp").write_text("{")
    with building(tmp_path / "in", tmp_path / "out", "lfw", {}):
        assert os.listdir(tmp_path / "out") == ["dataset.json"]


@pytest.mark.parametrize(("content", "words"), [
    (None, "no dataset.json"), ("[]", "not the record of a data set"), ("{", "not valid JSON"),
    ("{}", "another format_version"),
])  # fmt: skip
def test_a_folder_of_something_else_is_left_alone(tmp_path, content, words):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    if content is not None:
        (tmp_path / "out" / "dataset.json").write_text(content)
    before = tree(tmp_path / "out")
    with pytest.raises(MaskbenchError, match=words), building(tmp_path / "in", tmp_path / "out", "lfw", {}):
        pass
    assert tree(tmp_path / "out") == before


def test_source_and_output_lie_apart(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in (tmp_path / "in", tmp_path / "in" / "out", tmp_path, tmp_path / "link" / "out"):
        with pytest.raises(MaskbenchError, match="choose a folder apart"), building(tmp_path / "in", out, "lfw", {}):
            pass
    with pytest.raises(MaskbenchError, match="no such folder"), building(tmp_path / "no", tmp_path / "o", "lfw", {}):
        pass


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    (tmp_path / "in").mkdir()
    with building(tmp_path / "in", tmp_path / "out", "lfw", {}):
        pass
    left = [tmp_path / "out" / f".{'0a' * 8}.tmp", tmp_path / "out" / "faces" / f".{'1b' * 8}.tmp"]
    folders = [tmp_path / "out" / f".{'2c' * 8}.tmp", tmp_path / "out" / "protocols" / f".{'3d' * 8}.old"]
    kept = [tmp_path / "out" / ".notes", tmp_path / "out" / "faces" / "a.tmp"]
    for path in (*left, *kept, *(folder / "pairs.csv" for folder in folders)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    with building(tmp_path / "in", tmp_path / "out", "lfw", {}):
        assert not [path for path in (*left, *folders) if path.exists()] and all(path.exists() for path in kept)


def test_a_table_refuses_names_that_no_reader_could_read(tmp_path):
    with pytest.raises(MaskbenchError, match=r"b\\udcff.* not UTF-8; rename it"):
        write_table(tmp_path / "t.csv", ("name",), [("a",), ("b\udcff",)])


def test_rows_of_a_masking_stage_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "manifest.csv"
    write_manifest(path, [failed_row(name, 0, "why") for name in "ab"])
    path.write_bytes(path.read_bytes() + b"damaged\n")
    found = manifest_rows(SimpleNamespace(manifest=path))
    assert [next(found).source, next(found).source] == ["a", "b"]
    with pytest.raises(MaskbenchError, match="manifest.csv:4: "):
        next(found)


# ---------------------------------------------------------------- LFW


@pytest.fixture
def lfw(crop_folder, tmp_path, monkeypatch):
    """Six people with two pictures each, and a list of four pairs that names seven of the twelve."""
    monkeypatch.delenv("MASKBENCH_DATA", raising=False)
    faces = crop_folder(12, "lfw")
    pairs = tmp_path / "list.txt"
    pairs.write_text(
        "2\t1\nSubject_000\t1\t2\nSubject_000\t1\tSubject_001\t2\nSubject_002\t1\t2\nSubject_003\t1\tSubject_004\t2\n"
    )
    return faces, pairs


def test_lfw_all_pictures_masked_and_its_pairs_in_three_conditions(lfw, tmp_path):
    faces, pairs = lfw
    (faces / "Subject_005" / "Subject_005_0002.png").write_bytes(b"broken")
    (faces / "readme.txt").write_text("")
    out = tmp_path / "out"
    built = build_lfw(faces, out, ALIGNED, pairs)
    assert built.counts == {
        "images": 12, "subjects": 6, "in_pairs": 7, "in_pairs_present": 7, "in_pairs_missing": 0, "not_in_pairs": 5,
        "masked": 11, "failed": 1, "skipped": 1,
    }  # fmt: skip
    manifest = {row.source: row for row in read_manifest(out / "masked" / "manifest.csv")}
    assert len(manifest) == 13 and manifest["readme.txt"].status == "skipped"
    for path in faces.rglob("Subject_00[0-4]*.png"):
        masked = read_image(out / "masked" / path.relative_to(faces))
        assert (masked != read_image(path)).any() and manifest[path.relative_to(faces).as_posix()].status == "masked"
    listed = {row["image"]: row for row in rows(out / "images.csv")}
    assert Counter(row["in_pairs"] for row in listed.values()) == {"yes": 7, "no": 5}
    assert listed["Subject_004_0002"] == {
        "image": "Subject_004_0002", "subject": "Subject_004", "path": "Subject_004/Subject_004_0002.png",
        "in_pairs": "yes", "present": "yes",
    }  # fmt: skip
    protocol = load_protocol(out / "protocol")
    assert set(condition_labels(protocol.pairs)) == {"UMR-UMP", "UMR-MP", "MR-MP"} and len(protocol.pairs) == 12
    record = json.loads((out / "dataset.json").read_text())
    assert record["options"]["masking"] == {"recipe": "lfw-masked", "version": 1, "seed": 0} == dict(protocol.masking)
    assert record["counts"] == built.counts
    assert record["sha256"]["protocol/pairs.csv"] == file_sha256(out / "protocol" / "pairs.csv")
    before = tree(out)
    again = build_lfw(faces, out, ALIGNED, pairs)
    assert tree(out) == before and again.counts == built.counts and "(0 done now" in "".join(again.lines)


def test_lfw_pictures_of_the_pair_list_alone(lfw, tmp_path):
    faces, pairs = lfw
    built = build_lfw(faces, tmp_path / "out", ALIGNED, pairs, "pairs")
    assert built.counts["masked"] == 7 and built.counts["images"] == 12
    assert len(list((tmp_path / "out" / "masked").rglob("*.png"))) == 7
    other = tmp_path / "other.txt"
    other.write_text("1\t1\nSubject_000\t1\t2\nSubject_000\t1\tSubject_001\t2\n")
    with pytest.raises(MaskbenchError, match="another options.pairs_sha256"):
        build_lfw(faces, tmp_path / "out", ALIGNED, other, "pairs")


def test_lfw_under_another_masking_has_a_protocol_of_its_own(lfw, tmp_path):
    faces, pairs = lfw
    digests = {}
    for recipe, seed in (("", 0), ("", 1), ("worn", 0)):
        out = tmp_path / f"{recipe}{seed}"
        build_lfw(faces, out, Options(recipe, seed, "aligned"), pairs)
        protocol = load_protocol(out / "protocol")
        assert (protocol.masking["recipe"], protocol.masking["seed"]) == (recipe or LFW_RECIPE, seed)
        digests[protocol.digest] = file_sha256(out / "masked" / "manifest.csv")
    assert len(digests) == len(set(digests.values())) == 3
    assert make_lfw(faces, pairs).digest in digests  # the default build is the protocol that everybody has


def test_lfw_without_a_list_and_with_one_later(lfw, tmp_path):
    faces, pairs = lfw
    built = build_lfw(faces, tmp_path / "out", ALIGNED)
    assert built.counts["masked"] == 12 and built.counts["in_pairs"] == 0 and not (tmp_path / "out/protocol").exists()
    assert any(line.startswith("no protocol: no pairs.txt was found") for line in built.lines)
    with pytest.raises(MaskbenchError, match="to choose pictures by; give LFW's pair list"):
        build_lfw(faces, tmp_path / "pairs only", ALIGNED, subset="pairs")
    with pytest.raises(MaskbenchError, match='no subset "half"'):
        build_lfw(faces, tmp_path / "half", ALIGNED, subset="half")
    shutil.copy(pairs, faces / "pairs.txt")
    assert build_lfw(faces, tmp_path / "out", ALIGNED).counts["in_pairs_present"] == 7
    assert len(load_protocol(tmp_path / "out" / "protocol").pairs) == 12


def test_lfw_pictures_that_the_list_names_and_nobody_has(lfw, tmp_path):
    faces, pairs = lfw
    shutil.copy(pairs, faces / "pairs.txt")
    build_lfw(faces, tmp_path / "out", ALIGNED)
    assert (tmp_path / "out" / "protocol").is_dir()
    shutil.rmtree(faces / "Subject_004")
    (faces / "Subject_000" / "Subject_000_0002.png").unlink()
    with pytest.raises(MaskbenchError, match=r"names 7 pictures, 2 of which are not in .*, first Subject_000_0002"):
        build_lfw(faces, tmp_path / "given", ALIGNED, pairs)
    assert not (tmp_path / "given").exists()
    built = build_lfw(faces, tmp_path / "out", ALIGNED)  # found, not given: what is there is masked, what lacks is told
    assert built.counts["masked"] == 9 and built.counts["in_pairs_missing"] == 2
    assert "no protocol: 2 pictures of the pair list are missing, first Subject_000_0002" in built.lines[-1]
    assert not (tmp_path / "out" / "protocol").exists()
    missing = [row for row in rows(tmp_path / "out" / "images.csv") if row["present"] == "no"]
    assert [row["image"] for row in missing] == ["Subject_000_0002", "Subject_004_0002"]
    assert {row["path"] for row in missing} == {""}


def test_lfw_folders_that_are_none(lfw, tmp_path):
    faces, pairs = lfw
    with pytest.raises(MaskbenchError, match=f"did you mean {faces}"):
        build_lfw(faces.parent, tmp_path.parent / "out", ALIGNED)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaskbenchError, match="one folder for each person"):
        build_lfw(tmp_path / "empty", tmp_path / "out", ALIGNED)
    pairs.write_text("1\t1\nSubject_000\t1\n")
    with pytest.raises(ProtocolError, match=r"list\.txt:2"):
        build_lfw(faces, tmp_path / "out", ALIGNED, pairs)
    with pytest.raises(MaskbenchError, match='no recipe|recipe "nothing"|nothing'):
        build_lfw(faces, tmp_path / "out", Options("nothing", landmarks="aligned"))
    assert not (tmp_path / "out").exists()


def test_the_real_pair_list_and_a_part_of_lfw(data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKBENCH_DATA", str(data_root))
    source = data_root / "faces" / "lfw112"
    for name in sorted(os.listdir(source))[:12]:
        shutil.copytree(source / name, tmp_path / "lfw" / name)
    built = build_lfw(tmp_path / "lfw", tmp_path / "out", Options(landmarks="aligned"))
    assert built.counts["in_pairs"] == 7701 == built.counts["in_pairs_missing"] + built.counts["images"]
    assert built.counts["subjects"] == 12 and built.counts["masked"] == built.counts["images"]


def test_the_default_recipes_exist_and_select_masks():
    for recipe in (LFW_RECIPE, CELEBA_RECIPE, "ar1", "ar2"):
        assert masking_of(recipe, 3) == {"recipe": recipe, "version": 1, "seed": 3}
