"""Templates, and the protocols made from them, through Python and the command line."""

import io
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from pictures_fixture import put

from maskbench.cli.main import main
from maskbench.datasets.insightface_bin import read_bin
from maskbench.digest import bytes_sha256
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.images import encode
from maskbench.masking.recipe_part import select_part
from maskbench.masking.recipes import list_recipes, load_recipe
from maskbench.metrics.conditions import condition_labels
from maskbench.protocol_bin import bin_draft
from maskbench.protocol_making import MAKERS, make_protocol
from maskbench.protocol_template import TEMPLATE, load_template, shipped_templates
from maskbench.protocols import load_protocol, make_lfw, protocol_counts

NAMES = ("ar", "celeba", "custom", "folders", "ijb", "insightface-mfr", "lfw", "lfw-masked", "maskinv", "mfr2",
         "mfrc21", "mlfw", "nist-6a", "nist-6b", "ocfr-2022", "rmfd")  # fmt: skip


@pytest.fixture
def call(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


# ---------------------------------------------------------------- the shipped templates


def test_all_are_shipped():
    assert tuple(shipped_templates()) == NAMES
    assert {load_template(name).maker for name in NAMES} == set(MAKERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_template_is_whole(name):
    whole = load_template(name)
    assert whole.name == name
    for template in [whole.variant(key) for key in whole.variants] or [whole]:
        known = {option.name for option in MAKERS[template.maker].options}
        assert set(template.options) <= known
        masked = any(label != "UMR-UMP" for label in template.conditions)
        assert masked == (template.masks != "none")
        if template.masks == "synthetic" and template.maker != "csv":
            recipe, _, part = template.masking["recipe"].partition(":")
            assert recipe in list_recipes() and load_recipe(recipe, template.masking["version"])
            if part:
                assert len(select_part(load_recipe(recipe), part).mix) == 1
        else:
            assert not template.masking
        counts = template.counts_expected
        if {"pairs", "mated", "non_mated"} <= set(counts):
            assert counts["pairs"] == counts["mated"] + counts["non_mated"]


def test_a_template_is_no_protocol_yet():
    with pytest.raises(ProtocolError, match="it is a template: 'maskbench protocol make lfw FACES OUT' makes"):
        load_protocol("lfw")


def test_variants():
    nist = load_template("nist-6b")
    assert len(nist.variants) == 24 and len(load_template("nist-6a").variants) == 12
    one = nist.variant("round-low-red")
    assert (one.name, one.masking["recipe"]) == ("nist-6b-round-low-red", "nist6b:round-low:red")
    assert {load_template("ocfr-2022").variant(f"o{k}").masking["recipe"] for k in range(1, 8)} == {
        f"ocfr-o{k}" for k in range(1, 8)
    }
    with pytest.raises(ProtocolError, match="choose a variant with --variant; .*o1, o2"):
        load_template("ocfr-2022").variant(None)
    with pytest.raises(ProtocolError, match="no variant 'o8'"):
        load_template("ocfr-2022").variant("o8")
    with pytest.raises(ProtocolError, match="lfw: no variant 'x'"):
        load_template("lfw").variant("x")


GOOD = {
    "format_version": 1, "name": "mine", "version": 1, "title": "t", "description": "d", "source": "s", "licence": "l",
    "data": "here", "maker": "folders", "conditions": ["UMR-UMP", "UMR-MP"], "threshold_from": "UMR-UMP",
    "metrics": ["eer"], "counts_expected": {"pairs": 4}, "variants": {"a": {"title": "A"}},
}  # fmt: skip


@pytest.mark.parametrize(("change", "key", "words"), [
    ({"makr": "x"}, "makr", "unknown key 'makr'; did you mean \"maker\"?"),
    ({"data": None}, None, "'data' is missing"),
    ({"title": 5}, "title", "title must be text"),
    ({"licence": " "}, "licence", "licence must be text"),
    ({"format_version": 2}, "format_version", "format_version 2"),
    ({"version": 0}, "version", "version 0"),
    ({"conditions": "UMR-UMP"}, "conditions", "conditions must be a list"),
    ({"conditions": ["UMR-PM"]}, "conditions", "no condition 'UMR-PM'"),
    ({"threshold_from": "MR-MP"}, "threshold_from", "threshold_from 'MR-MP' is none of"),
    ({"masks": "paper"}, "masks", "masks 'paper'"),
    ({"masking": {"recipe": "worn"}}, "masking", "masking must have a recipe's name"),
    ({"options": ["a"]}, "options", "options must be a table"),
    ({"counts_expected": {"pears": 4}}, "counts_expected", "unknown count 'pears'; did you mean \"pairs\"?"),
    ({"counts_expected": {"pairs": "4"}}, "counts_expected", "pairs is '4'; write a whole number"),
    ({"variants": {"a": {"makr": 1}}}, "variants", "variant 'a': unknown key 'makr'"),
    ({"variants": {"a": 1}}, "variants", "variant 'a' must be a table"),
    ({"variants": {"a": {"conditions": ["MR-MP"]}}}, "variants", "threshold_from 'UMR-UMP' is none of"),
    ({"variants": {"a b": {}}}, "variants", "name 'mine-a b'"),
])  # fmt: skip
def test_malformed_templates_name_file_and_line(tmp_path, change, key, words):
    content = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    path = tmp_path / TEMPLATE
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    line = 1 + next((i for i, text in enumerate(path.read_text().splitlines()) if text.startswith(f"{key}:")), 0)
    with pytest.raises(ProtocolError) as caught:
        load_template(path)
    assert str(caught.value).startswith(f"{path}:{line}: ") and words in str(caught.value)


def test_a_template_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(GOOD, sort_keys=False))
    people = put(tmp_path / "people", [f"p{who}/{k}.png" for who in range(6) for k in range(3)])
    made = make_protocol(tmp_path / "mine.yaml", people, "a", {"pairs": 12})
    assert made.protocol.name == f"mine-a-{len(made.protocol.pairs) // 2}"
    assert set(condition_labels(made.protocol.pairs).tolist()) == {"UMR-UMP", "UMR-MP"}
    with pytest.raises(ProtocolError, match="no option 'pears'; did you mean \"pairs\"?"):
        make_protocol(tmp_path / "mine.yaml", people, "a", {"pears": 12})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**GOOD, "maker": "folder"}, sort_keys=False))
    with pytest.raises(ProtocolError, match="no maker 'folder'; did you mean \"folders\"?"):
        make_protocol(tmp_path / "mine.yaml", people, "a")


# ---------------------------------------------------------------- parts of recipes


def test_a_part_of_a_recipe():
    whole = load_recipe("nist6b")
    part = select_part(whole, "wide-high:black")
    assert (part.name, [entry.name for entry in part.mix]) == ("nist6b:wide-high:black", ["wide-high"])
    assert part.mix[0].wear[0].colours == {"black": 1.0} and part.mix[0].wear[0].shape == ("wide",)
    assert part.jitter == whole.jitter and len({part.digest, whole.digest, select_part(whole, "wide-high").digest}) == 3
    with pytest.raises(MaskbenchError, match='no entry "wide-hihg"; did you mean "wide-high"?'):
        select_part(whole, "wide-hihg")
    with pytest.raises(MaskbenchError, match='entry wide-low: no colour "blak"; did you mean "black"?'):
        select_part(whole, "wide-low:blak")


# ---------------------------------------------------------------- LFW, plain and masked


def test_lfw_bare_and_masked_share_their_comparisons(data_root):
    faces = data_root / "faces" / "lfw112"
    bare, masked = (make_protocol(name, faces) for name in ("lfw", "lfw-masked"))
    assert bare.lines == masked.lines == ("counts are those of the source",)
    assert masked.protocol.digest == make_lfw(faces).digest
    assert (bare.protocol.name, bare.protocol.masking) == ("lfw", {})
    first = masked.protocol.pairs
    assert bare.protocol.pairs.pair_id.tolist() == first.pair_id[:6000].tolist()
    digests = {make_protocol("ocfr-2022", faces, f"o{k}", {"pairs_per_fold": 1}).protocol.digest for k in (1, 2)}
    assert len(digests) == 2


def test_counts_that_differ_from_the_source_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv("MASKBENCH_DATA", raising=False)
    faces = put(tmp_path / "f", ["Ana/Ana_0001.jpg", "Ana/Ana_0002.jpg", "Bo/Bo_0001.jpg"])
    (faces / "pairs.txt").write_text("1\t1\nAna\t1\t2\nAna\t1\tBo\t1\n")
    (line,) = make_protocol("lfw", faces).lines
    assert line.startswith("not the counts of the source: samples 3 instead of 7,701, subjects 2 instead of 4,281")


@pytest.mark.parametrize(("conditions", "threshold"), [
    (["unmasked unmasked 1", "unmasked unmasked 0", "unmasked masked 1", "unmasked masked 0"], "UMR-UMP"),
    (["unmasked unmasked 1", "unmasked masked 1", "unmasked masked 0"], "UMR-MP"),
    (["masked masked 1", "masked masked 0", "masked unmasked 0"], "MR-MP"),
    (["unmasked masked 1", "masked masked 0"], "UMR-MP"),
])  # fmt: skip
def test_thresholds_come_from_a_condition_that_has_both_kinds(tmp_path, conditions, threshold):
    faces = put(tmp_path / "f", ["a/1.jpg", "a/2.jpg", "b/1.jpg"])
    lines = ["reference_path,probe_path,mated,reference_condition,probe_condition"]
    for text in conditions:
        reference, probe, mated = text.split()
        lines.append(f"a/1.jpg,{'a/2' if mated == '1' else 'b/1'}.jpg,{mated},{reference},{probe}")
    (tmp_path / "l.csv").write_text("\n".join(lines))
    made = make_protocol("custom", faces, options={"pairs": tmp_path / "l.csv"})
    assert made.protocol.threshold_from == threshold
    assert any(f"thresholds come from {threshold}" in line for line in made.lines) == (threshold != "UMR-UMP")


# ---------------------------------------------------------------- packed files


def jpeg(seed):
    return encode(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8), ".jpg")


def packed(path, pictures, labels):
    path.write_bytes(pickle.dumps((pictures, labels), 2))
    return path


def test_a_packed_file_becomes_ten_folds(tmp_path):
    labels = [k % 2 == 0 for k in range(23)]
    pictures = [jpeg(k) for k in range(46)]
    pictures[2] = pictures[0]  # pair 1, not mated, repeats a picture of pair 0
    draft = bin_draft(packed(tmp_path / "x.bin", pictures, labels))
    chosen = condition_labels(draft.pairs) == "UMR-MP"
    assert draft.pairs.mated[chosen].tolist() == labels
    assert draft.pairs.fold[chosen].tolist() == [f for f, n in enumerate([3, 3, 3, *[2] * 7], 1) for _ in range(n)]
    assert draft.pairs.reference_id[chosen].tolist()[:3] == ["00001.jpg", "00001.jpg", "00005.jpg"]
    assert draft.pairs.probe_id[chosen].tolist()[:2] == ["00002.jpg", "00004.jpg"]
    assert set(draft.pairs.reference_condition[chosen]) == {"unmasked"}
    assert set(draft.pairs.probe_condition[chosen]) == {"masked"}
    assert len(draft.samples) == len(draft.pictures) == 45
    assert all(sample.sha256 == bytes_sha256(draft.pictures[sample.path]) for sample in draft.samples)


@pytest.mark.parametrize("fault", ["itself", "contradiction"])
def test_lists_that_contradict_themselves_keep_every_occurrence(tmp_path, fault):
    pictures, labels = [jpeg(k) for k in range(8)], [True, False, True, False]
    if fault == "itself":
        pictures[5] = pictures[4]
    else:
        pictures[2], pictures[3] = pictures[0], pictures[1]  # a mated pair again, as non-mated
    draft = bin_draft(packed(tmp_path / "x.bin", pictures, labels))
    assert len(draft.samples) == 8 and "every occurrence" in draft.notes[0]
    assert draft.pairs.mated.tolist() == labels * 3


def test_a_packed_file_through_the_command_line(tmp_path, call):
    path = packed(tmp_path / "lfw.bin", [jpeg(k) for k in range(40)], [True, False] * 10)
    code, out, _ = call("protocol", "make", "maskinv", path, tmp_path / "out", "--variant", "lfw")
    assert code == 0 and "40 pictures written" in out and "pairs 60 instead of 18,000" in out
    assert f"next: maskbench synthesize {tmp_path / 'out' / 'faces'} MASKED" in out
    protocol = load_protocol(tmp_path / "out" / "protocol")
    assert (protocol.name, protocol.masking["recipe"]) == ("maskinv-lfw", "maskinv")
    found = read_bin(path)
    for index, data in enumerate(found.pictures, start=1):
        assert (tmp_path / "out" / "faces" / f"{index:05d}.jpg").read_bytes() == data
    code, _, error = call("protocol", "make", "maskinv", tmp_path / "no.bin", tmp_path / "out2", "--variant", "lfw")
    assert code == 2 and "cannot be read" in error and not (tmp_path / "out2").exists()


# ---------------------------------------------------------------- the command line


def test_list_and_show(call):
    code, out, _ = call("protocol", "list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == [*NAMES, "demo-people"]
    for name in NAMES:
        code, out, _ = call("protocol", "show", name)
        template = load_template(name)
        assert code == 0 and all(" ".join(text.split()) in out for text in (*template.deviations, *template.not_stated))
        assert template.source in out and template.licence in out and template.data in out


@pytest.mark.parametrize("name", NAMES)
def test_every_template_has_a_command(name, call):
    code, out, _ = call("protocol", "make", name, "--help")
    assert code == 0 and f"maskbench protocol make {name}" in out
    for option in MAKERS[load_template(name).maker].options:
        assert f"--{option.name.replace('_', '-')}" in out


def test_a_template_by_its_path(tmp_path, call):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(GOOD, sort_keys=False))
    people = put(tmp_path / "people", [f"p{who}/{k}.png" for who in range(6) for k in range(3)])
    made = ("protocol", "make", tmp_path / "mine.yaml", people, tmp_path / "p", "--pairs", "10")
    assert call(*made)[0] == 2 and call(*made, "--variant", "a")[0] == 0
    assert load_protocol(tmp_path / "p").name.startswith("mine-a-")
    (tmp_path / "mine.yaml").write_text("name: [")
    code, _, error = call(*made)
    assert code == 2 and error.startswith(f"error: {tmp_path / 'mine.yaml'}:1: not valid YAML")


def test_an_unknown_template_names_the_nearest(call):
    for arguments in (("protocol", "make", "lfv", "a", "b"), ("protocol", "show", "lfv")):
        code, _, error = call(*arguments)
        assert code == 2 and error.startswith("error: ") and 'did you mean "lfw"?' in error and error.count("\n") == 1


def test_custom_through_the_command_line(tmp_path, call):
    faces = put(tmp_path / "faces", ["a/1.jpg", "a/2.jpg", "b/1.jpg"])
    (tmp_path / "list.csv").write_text("reference_path,probe_path,mated\na/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n")
    code, out, _ = call("protocol", "make", "custom", faces, tmp_path / "p", "--pairs", tmp_path / "list.csv")
    assert code == 0 and protocol_counts(load_protocol(tmp_path / "p"))["pairs"] == 6
    code, _, error = call("protocol", "make", "custom", faces, tmp_path / "q")
    assert code == 2 and "--pairs FILE.csv" in error
    code, _, error = call("protocol", "make", "custom", faces, tmp_path / "p", "--pairs", tmp_path / "list.csv")
    assert code == 2 and "exists and is not empty" in error


def test_real_masks_are_evaluated_from_one_folder(tmp_path, call):
    root = put(tmp_path / "mfr", [f"{role}/p{who}/{role}.jpg" for role in ("unmasked", "masked") for who in range(3)])
    code, out, _ = call("protocol", "make", "insightface-mfr", root, tmp_path / "p")
    assert code == 0 and f"--faces {root} --masked {root}" in out
    protocol = load_protocol(tmp_path / "p")
    assert (len(protocol.pairs), protocol.threshold_from, protocol.masking) == (9, "UMR-MP", {})


def test_renamed_folders(tmp_path, call):
    people = put(tmp_path / "people", [f"p{who}/{k}.png" for who in range(6) for k in range(3)])
    code, out, _ = call("protocol", "make", "folders", people, tmp_path / "o", "--name", "office", "--pairs", "12")
    assert code == 0 and re.search(r"office-\d+ version 1", out) and "12 pairs asked" in out
    assert load_protocol(tmp_path / "o").name.startswith("office-")


def test_real_faces_of_one_folder_per_subject(data_root, tmp_path):
    orl = data_root / "faces" / "orl"
    made = make_protocol("nist-6b", orl, "wide-high-black", {"others": 10})
    assert protocol_counts(made.protocol) == {
        "samples": 400, "subjects": 40, "pairs": 3 * 360 * 11, "mated": 3 * 360, "non_mated": 3 * 3600, "folds": 0,
    }  # fmt: skip
    source = data_root / "faces" / "celeba256"
    people = sorted(path.name for path in source.iterdir() if path.is_dir())[:12]
    rows = io.StringIO("")
    for name in people:
        shutil.copytree(source / name, tmp_path / "celeba" / "faces" / name)
        for picture in sorted(Path(source, name).iterdir()):
            rows.write(f"\n{name}/{picture.name},{name},validation")
    (tmp_path / "celeba" / "split_identity.csv").write_text("path,identity,subset" + rows.getvalue())
    made = make_protocol("celeba", tmp_path / "celeba", options={"pairs": 100})
    assert protocol_counts(made.protocol)["mated"] == 150 and made.protocol.masking["recipe"] == "deocclusion"
