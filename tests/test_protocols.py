import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from results_fixture import make_protocol

from maskbench import protocols
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.protocols import build_protocol, load_protocol, protocol_counts, shipped_protocols, write_protocol
from maskbench.types import PairTable, Sample

HASH = "0" * 64


@pytest.fixture
def folder(tmp_path):
    write_protocol(make_protocol(6, 2), tmp_path / "toy")
    return tmp_path / "toy"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def table(*rows):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return PairTable(*columns[:5], columns[5].astype(bool), columns[6].astype(int))


# ---------------------------------------------------------------- round trip and digest


def same(first, second):
    assert [getattr(first, f.name) for f in dataclasses.fields(first) if f.name != "pairs"] == [
        getattr(second, f.name) for f in dataclasses.fields(second) if f.name != "pairs"
    ]
    for field in dataclasses.fields(PairTable):
        left, right = getattr(first.pairs, field.name), getattr(second.pairs, field.name)
        assert np.array_equal(left, right)
        assert left.dtype.kind == right.dtype.kind


def test_round_trip(folder):
    same(load_protocol(folder), make_protocol(6, 2))


def test_odd_values_survive(tmp_path):
    samples = [
        Sample("NA", "null", 'a "b", c.png', HASH, {"glasses": "NA", "age": "07"}),
        Sample("1e5", "true", "Łódź/名 前.jpg", HASH, {"glasses": "", "age": " "}),
    ]
    pairs = table(
        ("x,y", "NA", "1e5", "unmasked", "masked", False, 0), ("None", "NA", "NA", "unmasked", "masked", True, 3)
    )
    made = build_protocol("odd", 3, samples, pairs, "UMR-MP", description="é: 'x' # y", licence="no", source="1")
    write_protocol(made, tmp_path / "odd")
    same(load_protocol(tmp_path / "odd"), made)


def test_files_are_canonical(folder):
    header = yaml.safe_load((folder / "protocol.yaml").read_text())
    assert header["conditions"] == ["UMR-UMP", "UMR-MP", "MR-MP"]
    assert header["counts"] == {"samples": 12, "subjects": 6, "pairs": 72, "mated": 18, "non_mated": 54, "folds": 2}
    assert (folder / "samples.csv").read_text().splitlines()[0] == "sample_id,subject_id,path,sha256"
    pairs = (folder / "pairs.csv").read_text().splitlines()
    assert pairs[0] == "pair_id,reference_id,probe_id,reference_condition,probe_condition,mated,fold"
    assert pairs[1] == "UMR-UMP/000+0,s000_0,s000_1,unmasked,unmasked,true,1"
    assert len(pairs) == 73


def test_the_digest_is_pinned():
    """A change here is a change of every published protocol digest: raise the format version with it."""
    samples = [Sample("a", "A", "a.png", HASH), Sample("b", "B", "b.png", HASH)]
    made = build_protocol("p", 1, samples, table(("1", "a", "b", "unmasked", "masked", False, 1)), "UMR-MP")
    columns = {
        "sample_id": "a b", "subject_id": "A B", "path": "a.png b.png", "sha256": f"{HASH} {HASH}",
        "pair_id": "1", "reference_id": "a", "probe_id": "b", "reference_condition": "unmasked",
        "probe_condition": "masked", "mated": "false", "fold": "1",
    }  # fmt: skip
    text = '[1, "p", 1, "UMR-MP"]'
    for name, values in columns.items():
        text += "\n".join(["", name, str(len(values.split())), *values.split(), ""])
    assert made.digest == hashlib.sha256(text.encode()).hexdigest()
    assert made.digest == "ff9768b3081b134b17a19ff87630084b297b33bfb272332a6e54194845db6733"


def change_sample(protocol, **fields):
    first, *others = protocol.samples.values()
    return {"samples": [dataclasses.replace(first, **fields), *others]}


@pytest.mark.parametrize("change", [
    lambda p: {"name": "other"},
    lambda p: {"version": 2},
    lambda p: {"threshold_from": "MR-MP"},
    lambda p: change_sample(p, path="elsewhere.png"),
    lambda p: change_sample(p, sha256="1" * 64),
    lambda p: change_sample(p, attributes={"age": "40"}),
    lambda p: {"pairs": dataclasses.replace(p.pairs, fold=p.pairs.fold + 1)},
    lambda p: {"pairs": PairTable(*(getattr(p.pairs, f.name)[::-1] for f in dataclasses.fields(PairTable)))},
])  # fmt: skip
def test_the_digest_sees_what_changes_a_result(change):
    protocol = make_protocol(6, 2)
    parts = {key: getattr(protocol, key) for key in ("name", "version", "pairs", "threshold_from")}
    parts |= {"samples": list(protocol.samples.values())}
    assert build_protocol(**parts).digest == protocol.digest
    assert build_protocol(**(parts | change(protocol))).digest != protocol.digest


def test_the_digest_does_not_see_order_of_samples_nor_texts(folder):
    before = load_protocol(folder).digest
    lines = (folder / "samples.csv").read_text().splitlines()
    (folder / "samples.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    edit(folder / "protocol.yaml", "description: ''", "description: other words")
    edit(folder / "pairs.csv", "true", "TRUE")
    assert load_protocol(folder).digest == before


def test_the_digest_does_not_depend_on_the_process():
    code = "from results_fixture import make_protocol; print(make_protocol(6, 2).digest)"
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]), "PYTHONHASHSEED": seed,
        }).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {make_protocol(6, 2).digest}


# ---------------------------------------------------------------- malformed folders


@pytest.mark.parametrize(("file", "old", "new", "line", "words"), [
    ("samples.csv", "sample_id,", "sampleid,", 1, "first columns must be sample_id,subject_id,path,sha256"),
    ("samples.csv", ",sha256", "", 2, "expected 3 columns, as in the first line, found 4"),
    ("samples.csv", "subject_id,path", "path,subject_id", 1, "first columns must be"),
    ("samples.csv", "s000_1,", "s000_0,", 3, "sample_id 's000_0' is already on line 2"),
    ("samples.csv", "s000_1,s000,", "s000_1,,", 3, "empty"),
    ("samples.csv", "s000/1.png", "../../etc/passwd", 3, "not a relative path"),
    ("samples.csv", "s000/1.png", "/etc/passwd", 3, "not a relative path"),
    ("samples.csv", "s000/1.png", "", 3, "not a relative path"),
    ("samples.csv", "0.png,", "0.png,x", 2, "64 hexadecimal digits"),
    ("samples.csv", "s000_1,s000,s000/1.png", "s000_1,s000", 3, "expected 4 columns"),
    ("pairs.csv", "probe_id", "probe_ID", 1, "unknown column 'probe_ID'; did you mean \"probe_id\"?"),
    ("pairs.csv", ",fold", ",fold,note", 2, "expected 8 columns"),
    ("pairs.csv", ",fold", ",note", 1, "unknown column 'note'; known: fold"),
    ("pairs.csv", "pair_id,reference_id", "reference_id,pair_id", 1, "columns must be"),
    ("pairs.csv", "UMR-UMP/000+1", "UMR-UMP/000+0", 3, "pair_id 'UMR-UMP/000+0' is already on line 2"),
    ("pairs.csv", "UMR-UMP/000+1", "", 3, "pair_id is empty"),
    ("pairs.csv", "s000_0,s001_1", "s000_0,s001_9", 3, "probe_id 's001_9' is not in samples.csv"),
    ("pairs.csv", "s000_0,s001_1", "nobody,s001_1", 3, "reference_id 'nobody' is not in samples.csv"),
    ("pairs.csv", "s000_0,s001_1", "s000_0,s000_0", 3, "compared with itself"),
    ("pairs.csv", "s000_1,unmasked,unmasked,true", "s000_1,unmasked,unmasked,false", 2, "'s000' and 's000'"),
    ("pairs.csv", "s001_1,unmasked,unmasked,false", "s001_1,unmasked,unmasked,true", 3, "mated is true"),
    ("pairs.csv", "unmasked,unmasked,true", "unmasked,unmasked,yes", 2, "mated is 'yes'; write true or false"),
    ("pairs.csv", "unmasked,unmasked,true", "clear,unmasked,true", 2, "reference_condition is 'clear'; write unmask"),
    ("pairs.csv", "unmasked,unmasked,true", "unmasked,,true", 2, "probe_condition is ''"),
    ("pairs.csv", "true,1", "true,one", 2, "fold is 'one'; write a whole number"),
    ("pairs.csv", "true,1", "true,-1", 2, "fold is '-1'"),
    ("protocol.yaml", "version: 1\nname", "version: 2\nname", 1, "format_version 2"),
    ("protocol.yaml", "version: 1\nname", "version: true\nname", 1, "format_version True"),
    ("protocol.yaml", "threshold_from", "treshold_from", 7, "'treshold_from'; did you mean \"threshold_from\"?"),
    ("protocol.yaml", "threshold_from: UMR-UMP", "threshold_from: MR-UMP", 7, "has no pairs; did you mean"),
    ("protocol.yaml", "threshold_from: UMR-UMP", "threshold_from: [UMR-UMP]", 7, "has no pairs"),
    ("protocol.yaml", "threshold_from: UMR-UMP\n", "", 1, "'threshold_from' is missing"),
    ("protocol.yaml", "name: toy", "name: a/b", 2, "name 'a/b'"),
    ("protocol.yaml", "name: toy", "name: 12", 2, "name 12"),
    ("protocol.yaml", "name: toy", "name: toy\nname: toy", 3, "already on line 2"),
    ("protocol.yaml", "\nversion: 1", "\nversion: 1.5", 3, "version 1.5"),
    ("protocol.yaml", "licence: CC0-1.0", "licence: 2020-01-01", 5, "licence must be text"),
    ("protocol.yaml", "licence: CC0-1.0", "licence: 2020-13-45", 1, "not valid YAML"),
    ("protocol.yaml", "licence: CC0-1.0", "licence: [CC0", 6, "not valid YAML"),
    ("protocol.yaml", "licence: CC0-1.0", "licence: !!python/object:os.system x", 5, "not valid YAML"),
    ("protocol.yaml", "- MR-MP", "- MR-UMP", 8, "conditions are"),
    ("protocol.yaml", "mated: 18", "mated: 19", 12, "counts says 19 mated, the tables have 18"),
    ("protocol.yaml", "mated: 18", "matd: 18", 12, "unknown count 'matd'; did you mean \"mated\"?"),
])  # fmt: skip
def test_malformed_folders_name_file_and_line(folder, file, old, new, line, words):
    edit(folder / file, old, new)
    with pytest.raises(ProtocolError) as caught:
        load_protocol(folder)
    assert str(caught.value).startswith(f"{folder / file}:{line}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", ["age,age", "age,", "path,age"])
def test_attribute_columns_have_names_of_their_own(folder, columns):
    lines = (folder / "samples.csv").read_text().splitlines()
    (folder / "samples.csv").write_text("\n".join([f"{lines[0]},{columns}", *(f"{line},1,2" for line in lines[1:])]))
    with pytest.raises(ProtocolError, match="samples.csv:1: a column name is empty or there twice"):
        load_protocol(folder)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "\x07"])
def test_a_header_that_is_no_table(folder, text):
    (folder / "protocol.yaml").write_text(text)
    with pytest.raises(ProtocolError, match=r"protocol\.yaml:1: ") as caught:
        load_protocol(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", protocols.FILES)
def test_a_missing_file(folder, file):
    (folder / file).unlink()
    with pytest.raises(ProtocolError, match=f"{file}: cannot be read"):
        load_protocol(folder)


def test_no_pairs(folder):
    lines = (folder / "pairs.csv").read_text().splitlines()
    (folder / "pairs.csv").write_text(lines[0])
    with pytest.raises(ProtocolError, match=r"pairs\.csv:1: no pairs"):
        load_protocol(folder)


def test_summaries_are_optional_in_a_folder_by_hand(folder):
    (folder / "protocol.yaml").write_text("format_version: 1\nname: toy\nversion: 1\nthreshold_from: UMR-UMP\n")
    assert load_protocol(folder).digest == make_protocol(6, 2).digest


@pytest.mark.parametrize(("fields", "words"), [
    ({"sample_id": "a\nb"}, "line break"),
    ({"path": "a\rb.png"}, "line break"),
    ({"attributes": {"age": "x\0"}}, "NUL"),
    ({"path": "not-\udcff-utf8.png"}, "not UTF-8; rename the file"),
])  # fmt: skip
def test_values_that_no_line_can_hold(fields, words):
    samples = [Sample("a", "A", "a.png", HASH), dataclasses.replace(Sample("b", "B", "b.png", HASH), **fields)]
    pairs = table(("1", "a", samples[1].sample_id, "unmasked", "masked", False, 1))
    with pytest.raises(ProtocolError, match=words):
        build_protocol("p", 1, samples, pairs, "UMR-MP")


@pytest.mark.parametrize(("row", "words"), [
    (("1", "a", "b", "unmasked", "covered", False, 1), "probe_condition is 'covered'"),
    (("1", "a", "b", "unmasked", "masked", False, -1), "fold is -1"),
    (("", "a", "b", "unmasked", "masked", False, 1), "pair_id is empty"),
])  # fmt: skip
def test_tables_in_memory_are_checked_too(row, words):
    samples = [Sample("a", "A", "a.png", HASH), Sample("b", "B", "b.png", HASH)]
    with pytest.raises(ProtocolError, match=words):
        build_protocol("p", 1, samples, table(row), "UMR-MP")


def test_a_sample_may_meet_itself_under_another_condition():
    samples = [Sample("a", "A", "a.png", HASH)]
    pairs = table(("1", "a", "a", "unmasked", "masked", True, 0))
    assert len(build_protocol("p", 1, samples, pairs, "UMR-MP").pairs) == 1


# ---------------------------------------------------------------- writing


def test_writing_replaces_a_protocol_and_leaves_nothing_else(folder):
    write_protocol(make_protocol(8, 2), folder)
    assert len(load_protocol(folder).samples) == 16
    assert sorted(path.name for path in folder.parent.iterdir()) == ["toy"]
    assert sorted(path.name for path in folder.iterdir()) == ["pairs.csv", "protocol.yaml", "samples.csv"]


def test_writing_into_an_empty_folder(tmp_path):
    write_protocol(make_protocol(6, 2), tmp_path)
    assert load_protocol(tmp_path).name == "toy"


@pytest.mark.parametrize("present", [["photo.jpg"], ["protocol.yaml", "LICENSE"], ["pairs.csv"]])
def test_other_folders_are_not_replaced(tmp_path, present):
    for name in present:
        (tmp_path / name).write_text("precious")
    with pytest.raises(ProtocolError, match="not replaced"):
        write_protocol(make_protocol(6, 2), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(present)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("precious")
    with pytest.raises(ProtocolError, match="is a file"):
        write_protocol(make_protocol(6, 2), tmp_path / "x")
    with pytest.raises(MaskbenchError, match="x"):
        write_protocol(make_protocol(6, 2), tmp_path / "x" / "y")


def test_a_write_that_fails_keeps_the_old_folder(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    real, calls = os.rename, []

    def rename(source, target):
        calls.append(target)
        if len(calls) == 2:  # the old folder is aside, the new one not yet in place
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(MaskbenchError, match="No space left"):
        write_protocol(make_protocol(8, 2), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]


# ---------------------------------------------------------------- names and size


def test_shipped_protocols_are_found_by_name(folder, monkeypatch):
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent.parent))
    monkeypatch.setattr(protocols, "_SHIPPED", folder.parent.name)
    (folder.parent / "notes").mkdir()
    assert list(shipped_protocols()) == ["toy"]
    assert load_protocol("toy").name == "toy"
    with pytest.raises(ProtocolError, match='toi: neither a protocol folder nor .*; did you mean "toy"'):
        load_protocol("toi")


def test_an_installation_without_shipped_protocols(monkeypatch):
    monkeypatch.setattr(protocols, "_SHIPPED", "maskbench.no_such_package")
    assert shipped_protocols() == {}
    with pytest.raises(ProtocolError, match="known: none"):
        load_protocol("toy")


def test_counts_follow_from_the_tables():
    protocol = make_protocol(7, 3)
    assert protocol_counts(protocol) == {
        "samples": 14, "subjects": 7, "pairs": 84, "mated": 21, "non_mated": 63, "folds": 3,
    }  # fmt: skip
    assert json.dumps(protocol_counts(protocol))


def test_masked_paths():
    pairs = table(
        ("1", "a", "b", "unmasked", "masked", False, 0),
        ("2", "c", "a", "masked", "unmasked", False, 0),
        ("3", "d", "a", "unmasked", "unmasked", False, 0),
    )
    samples = [Sample(name, name.upper(), f"{name}.png", HASH) for name in "abcd"]
    assert protocols.masked_paths(build_protocol("p", 1, samples, pairs, "UMR-MP")) == ["b.png", "c.png"]


@pytest.mark.slow
def test_a_million_pairs_load_in_seconds(tmp_path):
    samples = [Sample(f"s{i:04d}", f"p{i // 2}", f"s{i:04d}.png", HASH) for i in range(1500)]
    first, second = (index[:1_000_000] for index in np.triu_indices(len(samples), 1))
    names = np.array([sample.sample_id for sample in samples])
    mated = first // 2 == second // 2
    pairs = PairTable(
        np.arange(len(first)).astype(str), names[first], names[second],
        np.full(len(first), "unmasked"), np.full(len(first), "masked"), mated, np.zeros(len(first), int),
    )  # fmt: skip
    made = build_protocol("big", 1, samples, pairs, "UMR-MP")
    write_protocol(made, tmp_path / "big")
    start = time.perf_counter()
    assert load_protocol(tmp_path / "big").digest == made.digest
    assert time.perf_counter() - start < 30


# ---------------------------------------------------------------- how its masked pictures are made


MASKING = {"recipe": "lfw-masked", "version": 1, "seed": 3}


def with_masking(masking):
    toy = make_protocol(6, 2)
    return build_protocol(
        toy.name, toy.version, list(toy.samples.values()), toy.pairs, toy.threshold_from, masking=masking
    )


def test_the_recipe_of_the_masked_pictures_is_kept_and_changes_the_digest(tmp_path):
    made = with_masking(MASKING)
    write_protocol(made, tmp_path / "toy")
    back = load_protocol(tmp_path / "toy")
    same(back, made)
    assert back.masking == MASKING
    digests = {with_masking(masking).digest for masking in (None, MASKING, MASKING | {"seed": 4})}
    assert len(digests) == 3 and with_masking(None).masking == {}


@pytest.mark.parametrize(
    "masking", [{"recipe": "worn"}, MASKING | {"seed": "1"}, MASKING | {"recipe": 5}, MASKING | {"more": 1}, "worn"]
)
def test_a_malformed_recipe_names_the_key(folder, masking):
    with open(folder / "protocol.yaml", "a", encoding="utf-8") as stream:
        stream.write(yaml.safe_dump({"masking": masking}))
    with pytest.raises(ProtocolError, match=r"protocol.yaml:\d+: masking must have a recipe's name"):
        load_protocol(folder)
