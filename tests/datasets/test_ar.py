from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from maskbench.datasets import build
from maskbench.datasets.ar import parse_name, recognise, refuse_ar
from maskbench.datasets.ar_lists import make_protocol, sample_of
from maskbench.datasets.ar_reference import choose_references, turned_away
from maskbench.datasets.build import Options
from maskbench.datasets.build_ar import build_ar
from maskbench.datasets.folder import walk
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.images import read_image, write_image
from maskbench.landmarks.canonical import canonical_face
from maskbench.manifest import read_manifest
from maskbench.metrics.conditions import condition_labels
from maskbench.protocols import load_protocol

ALIGNED = Options(landmarks="aligned")


def rows(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def tree(root):
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------- names

# The codes as the database's own page lists them, written out one by one.
WORN = {
    1: "reference", 2: "clean", 3: "clean", 4: "clean", 5: "clean", 6: "clean", 7: "clean",
    8: "AR1", 9: "AR1", 10: "AR1", 11: "AR2", 12: "AR2", 13: "AR2",
    14: "reference", 15: "clean", 16: "clean", 17: "clean", 18: "clean", 19: "clean", 20: "clean",
    21: "AR1", 22: "AR1", 23: "AR1", 24: "AR2", 25: "AR2", 26: "AR2",
}  # fmt: skip


def test_every_code_stands_for_what_the_database_says():
    for code, kind in WORN.items():
        picture = parse_name(f"m-001-{code:02d}.bmp")
        assert (picture.kind, picture.session, picture.name) == (kind, 1 + (code > 13), f"m-001-{code:02d}")


@pytest.mark.parametrize(("path", "name"), [
    ("m-001-01.bmp", "m-001-01"), ("deep/er/W-060-26.PNG", "w-060-26"), ("M-12-8.raw", "m-012-08"),
    ("F-05-11.bmp", "w-005-11"), ("m-001-27.bmp", None), ("m-001-00.bmp", None), ("m-001.bmp", None),
    ("x-001-01.bmp", None), ("m-001-01-copy.bmp", None), ("m_001_01.bmp", None), ("m-0001-01.bmp", None),
])  # fmt: skip
def test_names(path, name):
    picture = parse_name(path)
    assert (picture and picture.name) == name


def put(root, names, suffix=".bmp"):
    """Small pictures, each of its own."""
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        write_image(root / f"{name}{suffix}", rng.integers(0, 255, (24, 18, 3), np.uint8))
    return root


@pytest.fixture
def database(tmp_path):
    """A database of three people; w-002 came to the second session only, and m-003 has no neutral picture."""
    names = [f"{who}-{code:02d}" for who in ("m-001", "w-001") for code in range(1, 27)]
    names += [f"w-002-{code:02d}" for code in range(14, 27)] + ["m-003-02", "m-003-08"]
    return put(tmp_path / "AR", names)


def test_a_mixture_is_refused_and_so_are_raw_files_and_doubles(database):
    put(database, ["holiday"])
    with pytest.raises(MaskbenchError, match=r"67 pictures are named .* 1 are not \(first holiday\.bmp\); keep"):
        recognise(database, walk(database))
    (database / "holiday.bmp").unlink()
    put(database / "again", ["M-1-1"], ".png")
    with pytest.raises(MaskbenchError, match=r"both .*M-1-1\.png and .*m-001-01\.bmp are AR's m-001-01; keep one"):
        recognise(database, walk(database))
    shutil.rmtree(database / "again")
    (database / "m-001-01.raw").write_bytes(b"pixels")  # beside its converted copy a raw file does no harm
    (database / "readme.txt").write_text("")
    assert len(recognise(database, walk(database))) == 67
    shutil.rmtree(database)
    (database / "x").mkdir(parents=True)
    (database / "x" / "m-001-01.raw").write_bytes(b"pixels")
    with pytest.raises(MaskbenchError, match=r"m-001-01\.raw: \.raw files are not read; convert .* to PNG or BMP"):
        recognise(database, walk(database))


def test_other_data_sets_are_not_mistaken_for_it(crop_folder):
    folder = crop_folder(4)
    assert recognise(folder, walk(folder)) == []
    refuse_ar(folder, [file.path for file in walk(folder)])


# ---------------------------------------------------------------- the real database


def test_the_real_database_is_sorted_and_nothing_is_pasted(database, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the real AR database must not be pasted over")

    monkeypatch.setattr(build, "synthesize", never)
    before, out = tree(database), tmp_path / "out"
    built = build_ar(database, out, ALIGNED)
    assert tree(database) == before
    assert not [path for path in out.rglob("*") if path.suffix in (".bmp", ".png", ".jpg")]
    assert built.counts == {
        "pictures": 67, "subjects": 4, "references": 3, "clean_probes": 2 * 13 + 6, "ar1_probes": 15, "ar2_probes": 15,
    }  # fmt: skip
    assert any("1 subjects have no neutral picture" in line for line in built.lines)
    images = {row["path"]: row for row in rows(out / "images.csv")}
    assert len(images) == 67 and all(row["kind"] == WORN[int(row["code"])] for row in images.values())
    assert {row["path"] for row in rows(out / "references.csv")} == {"m-001-01.bmp", "w-001-01.bmp", "w-002-14.bmp"}
    probes = rows(out / "probes.csv")
    assert {row["path"][6:8] for row in probes if row["set"] == "AR1"} == {"08", "09", "10", "21", "22", "23"}
    assert {row["path"][6:8] for row in probes if row["set"] == "AR2"} == {"11", "12", "13", "24", "25", "26"}
    assert all(row["sha256"] == before[row["path"]] and row["status"] == "ok" for row in probes)
    protocol = load_protocol(out / "protocols" / "ar1")
    label = condition_labels(protocol.pairs)
    worn = {name: {WORN[int(i[6:8])] for i in protocol.pairs.probe_id[label == name]} for name in ("UMR-UMP", "UMR-MP")}
    assert worn == {"UMR-UMP": {"clean", "reference"}, "UMR-MP": {"AR1"}}
    assert Counter(label.tolist()) == {"UMR-UMP": 32 * 3, "UMR-MP": 15 * 3}
    assert set(protocol.pairs.reference_id) == {"m-001-01.bmp", "w-001-01.bmp", "w-002-14.bmp"}
    assert not protocol.masking
    assert protocol.samples["w-001-21.bmp"].attributes == {"code": "21", "session": "2"}
    again = tree(out)
    assert build_ar(database, out, ALIGNED).counts == built.counts and tree(out) == again


@pytest.mark.parametrize("only", [None, ["m-001-08.bmp"]])
def test_no_builder_pastes_on_it(database, tmp_path, only):
    with pytest.raises(MaskbenchError, match="named as a picture of the AR database.*never pasted over"):
        build.mask_all(database, tmp_path / "out", ALIGNED, "lfw-masked", "largest", only)
    assert not (tmp_path / "out").exists()


def test_a_database_without_neutral_pictures_and_one_that_cannot_be_read(tmp_path):
    with pytest.raises(MaskbenchError, match="no neutral picture"):
        build_ar(put(tmp_path / "a", ["m-001-02", "m-001-08"]), tmp_path / "out", ALIGNED)
    assert not (tmp_path / "out").exists()
    put(tmp_path / "b", ["m-001-01"])
    (tmp_path / "b" / "m-001-08.bmp").symlink_to(tmp_path / "nowhere")
    with pytest.raises(MaskbenchError, match=r"m-001-08\.bmp: cannot be read"):
        build_ar(tmp_path / "b", tmp_path / "out", ALIGNED)


# ---------------------------------------------------------------- any labelled faces


def test_sunglasses_and_scarves_on_labelled_faces(crop_folder, tmp_path):
    faces, out = crop_folder(12), tmp_path / "out"
    write_image(faces / "stray.png", read_image(next(faces.rglob("*.png"))))
    (faces / "Subject_001" / "Subject_001_0003.jpg").write_bytes(b"broken")
    built = build_ar(faces, out, ALIGNED)
    assert built.counts == {
        "subjects": 6, "references": 6, "probes": 7, "pictures_without_subject": 1, "ar1_masked": 6, "ar1_failed": 1,
        "ar1_skipped": 0, "ar2_masked": 6, "ar2_failed": 1, "ar2_skipped": 0,
    }  # fmt: skip
    references = rows(out / "references.csv")
    assert [row["path"] for row in references] == [f"Subject_{k:03d}/Subject_{k:03d}_0001.png" for k in range(6)]
    for row in references:
        copy = out / "references" / row["path"]
        assert copy.read_bytes() == (faces / row["path"]).read_bytes() and row["rule"] == "first"
    for name, kind in (("AR1", "sunglasses"), ("AR2", "scarf")):
        manifest = {row.source: row for row in read_manifest(out / name.lower() / "manifest.csv")}
        listed = [row for row in rows(out / "probes.csv") if row["set"] == name]
        assert {row["path"] for row in listed} == set(manifest) and len(listed) == 7
        assert not {row["path"] for row in listed} & {row["path"] for row in references}
        for row in listed:
            assert row["status"] == ("failed" if row["path"].endswith(".jpg") else "ok")
            assert row["path"].startswith(f"{row['subject']}/")
            assert row["sha256"] == manifest[row["path"]].output_sha256
            if row["status"] == "ok":
                assert kind in worn_kinds(manifest[row["path"]].asset)
                masked, bare = read_image(out / name.lower() / row["path"]), read_image(faces / row["path"])
                half = np.abs(masked.astype(int) - bare).sum(-1) > 0
                upper, lower = half[:60].mean(), half[60:].mean()
                assert upper > lower if name == "AR1" else lower > upper
        protocol = load_protocol(out / "protocols" / name.lower())
        assert protocol.name == f"{name.lower()}-style" and protocol.threshold_from == "UMR-UMP"
        assert protocol.masking["recipe"] == name.lower() and protocol.masking["seed"] == 0
        assert Counter(condition_labels(protocol.pairs).tolist()) == {"UMR-UMP": 7 * 6, "UMR-MP": 7 * 6}
        assert protocol.pairs.mated.sum() == 14
    before = tree(out)
    assert build_ar(faces, out, ALIGNED).counts == built.counts and tree(out) == before


def worn_kinds(assets):
    from maskbench.masking.assets import list_assets, load_asset

    return {load_asset(list_assets()[asset_id]).kind for asset_id in assets.split("+")}


def test_the_set_can_be_evaluated(crop_folder, tmp_path):
    from maskbench.evaluation import evaluate
    from maskbench.results import read_result

    faces, out = crop_folder(12), tmp_path / "out"
    build_ar(faces, out, ALIGNED)
    protocol = load_protocol(out / "protocols" / "ar2")
    (path,) = evaluate(protocol, ["dummy"], faces, out / "ar2", tmp_path / "results")
    result = read_result(path / "result.json")
    assert set(result.counts) >= {"UMR-UMP", "UMR-MP"}
    assert all(result.counts[name]["mated"] == 6 and result.counts[name]["non_mated"] == 30 for name in result.counts)


def test_what_cannot_become_a_set_is_refused(crop_folder, tmp_path):
    write_image(tmp_path / "flat" / "a.png", np.zeros((112, 112, 3), np.uint8))
    write_image(tmp_path / "flat" / "b" / "b.png", np.zeros((112, 112, 3), np.uint8))
    with pytest.raises(MaskbenchError, match="no subject has two pictures.*one folder per subject"):
        build_ar(tmp_path / "flat", tmp_path / "out", ALIGNED)
    with pytest.raises(MaskbenchError, match="recipes of their own"):
        build_ar(crop_folder(4), tmp_path / "out", Options(recipe="worn"))
    with pytest.raises(MaskbenchError, match='no rule "best"'):
        build_ar(crop_folder(4), tmp_path / "out", ALIGNED, reference="best")
    assert not (tmp_path / "out").exists()


def test_subjects_deep_in_folders_and_in_any_script(crop_folder, tmp_path):
    plain, faces = crop_folder(8, "plain"), tmp_path / "deep"
    names = ["Zoë, \"Z\"", "group 1/李", "group 1/no_1", "group 2/no_1"]
    for name, folder in zip(names, sorted(plain.iterdir()), strict=True):
        shutil.copytree(folder, faces / name)
    built = build_ar(faces, tmp_path / "one", ALIGNED)
    assert built.counts["subjects"] == 4 and built.counts["ar1_masked"] == built.counts["ar2_masked"] == 4
    assert sorted(row["subject"] for row in rows(tmp_path / "one" / "references.csv")) == sorted(names)
    protocol = load_protocol(tmp_path / "one" / "protocols" / "ar1")
    assert {sample.subject_id for sample in protocol.samples.values()} == set(names)
    build_ar(faces, tmp_path / "two", Options(landmarks="aligned", workers=2))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_set_is_fixed_when_it_is_begun(crop_folder, tmp_path):
    faces, out = crop_folder(6), tmp_path / "out"
    build_ar(faces, out, ALIGNED)
    before = tree(out)
    for change, words in (
        ({"others": 3}, r"another options\.others \(100, now 3\)"), ({"reference": "frontal"}, "options.reference"),
    ):  # fmt: skip
        with pytest.raises(MaskbenchError, match=words):
            build_ar(faces, out, ALIGNED, **change)
    with pytest.raises(MaskbenchError, match=r"another options\.AR1\.seed \(0, now 1\)"):
        build_ar(faces, out, Options(seed=1, landmarks="aligned"))
    assert tree(out) == before
    shutil.copy(next(faces.rglob("*.png")), faces / "Subject_000" / "Subject_000_0009.png")
    with pytest.raises(MaskbenchError, match="another inputs .*or an empty folder"):
        build_ar(faces, out, ALIGNED)


def test_subjects_without_a_picture_that_can_be_read_are_left_out(crop_folder, tmp_path):
    faces = crop_folder(6)
    for path in (faces / "Subject_001").iterdir():
        path.write_bytes(b"")
    (faces / "Subject_002" / "Subject_002_0001.png").write_bytes(b"")
    built = build_ar(faces, tmp_path / "out", ALIGNED)
    chosen = {row["subject"]: row["path"] for row in rows(tmp_path / "out" / "references.csv")}
    assert chosen == {
        "Subject_000": "Subject_000/Subject_000_0001.png", "Subject_002": "Subject_002/Subject_002_0002.png",
    }  # fmt: skip
    assert any("1 subjects have no picture that can be read" in line for line in built.lines)


KILLED = """
import sys
from pathlib import Path
from maskbench.datasets.build import Options
from maskbench.datasets.build_ar import build_ar
if __name__ == "__main__":
    build_ar(Path(sys.argv[1]), Path(sys.argv[2]), Options(landmarks="aligned"))
"""


@pytest.mark.slow
def test_killed_at_any_stage_and_continued_gives_the_same_bytes(crop_folder, tmp_path):
    faces, out, script = crop_folder(60), tmp_path / "out", tmp_path / "killed.py"
    build_ar(faces, tmp_path / "whole", ALIGNED)
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(faces), str(out)]
    for mark in ("ar1/manifest.journal.jsonl", "ar2/manifest.journal.jsonl", "references"):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not (out / mark).exists():
            time.sleep(0.002)
        assert process.poll() is None, f"the build ended before it could be killed: {process.stderr.read()}"
        process.kill()
        process.wait()
        assert json.loads((out / "dataset.json").read_text())["state"] == "unfinished"
    subprocess.run(command, check=True)
    assert tree(out) == tree(tmp_path / "whole")


def test_real_faces_of_forty_subjects(data_root, tmp_path):
    subjects = [f"s{number}" for number in range(1, 6)]
    for subject in subjects:
        shutil.copytree(data_root / "faces" / "orl" / subject, tmp_path / "orl" / subject)
    built = build_ar(tmp_path / "orl", tmp_path / "out", Options(), reference="frontal")
    assert built.counts["probes"] == 45 and built.counts["references"] == 5
    assert built.counts["ar1_masked"] >= 43 and built.counts["ar2_masked"] >= 43
    for row in rows(tmp_path / "out" / "references.csv"):
        faces = {path.name: turn_of(path) for path in (tmp_path / "orl" / row["subject"]).iterdir()}
        assert faces[row["path"].split("/")[1]] == min(faces.values()) and row["rule"] == "frontal"
    for path in (tmp_path / "out" / "ar1").rglob("*.pgm"):
        picture = read_image(path)
        assert np.array_equal(picture[..., 0], picture[..., 1])  # grey stays grey


def turn_of(path):
    from maskbench.landmarks.mediapipe import MediapipeLandmarker

    faces = MediapipeLandmarker().detect(read_image(path))
    return turned_away(faces[0].points) if faces else 90.0


# ---------------------------------------------------------------- references


def rotated(yaw, pitch, roll):
    """The canonical face turned by degrees, in pixels, (468, 3)."""
    a, b, c = np.radians([yaw, pitch, roll])
    around_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    around_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return canonical_face() @ (around_z @ around_x @ around_y).T * 90 + (200, 150, 30)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (0, 0, 35), (20, 0, 0), (-40, 0, 10), (0, 25, 0)])
def test_how_far_a_face_is_turned_away(yaw, pitch, roll):
    assert turned_away(rotated(yaw, pitch, roll)) == pytest.approx(max(abs(yaw), abs(pitch)), abs=0.01)


def test_yaw_and_pitch_count_together():
    both = np.degrees(np.arccos(np.cos(np.radians(30)) * np.cos(np.radians(20))))
    assert turned_away(rotated(30, 20, 5)) == pytest.approx(both, abs=0.01)


def test_the_most_frontal_picture_is_the_reference(tmp_path, mannequin):
    import cv2

    squeezed = cv2.resize(mannequin, (512, 300))  # a face looked at from above, to the mesh
    for name, picture in (("1", squeezed), ("2", mannequin), ("3", np.zeros((200, 200, 3), np.uint8))):
        write_image(tmp_path / "a" / f"{name}.png", picture)
    write_image(tmp_path / "b" / "2.png", np.zeros((200, 200, 3), np.uint8))
    (tmp_path / "b" / "1.png").write_bytes(b"broken")
    subjects = {"a": ["a/1.png", "a/2.png", "a/3.png"], "b": ["b/1.png", "b/2.png"]}
    assert choose_references(tmp_path, subjects, "first") == {"a": ("a/1.png", "first"), "b": ("b/2.png", "first")}
    assert choose_references(tmp_path, subjects, "frontal") == {
        "a": ("a/2.png", "frontal"), "b": ("b/2.png", "first: no face found"),
    }  # fmt: skip


# ---------------------------------------------------------------- protocols


def sample(path):
    return sample_of(path, path.split("/")[0], "0" * 64)


def test_a_probe_meets_its_own_reference_and_some_others_the_same_in_both_conditions():
    references = {f"s{k:03d}": sample(f"s{k:03d}/0.png") for k in range(60)}
    probes = [sample(f"s{k:03d}/{n}.png") for k in range(60) for n in (1, 2)]
    protocol = make_protocol("few", references, probes, probes, 0, others=5)
    met = {}
    for label, probe, reference, mated in zip(
        condition_labels(protocol.pairs), protocol.pairs.probe_id, protocol.pairs.reference_id, protocol.pairs.mated,
        strict=True,
    ):  # fmt: skip
        met.setdefault((label, probe), []).append((reference, bool(mated)))
    assert len(met) == 240
    for (label, probe), seen in met.items():
        assert len(seen) == 6 == len({reference for reference, _ in seen})
        assert [reference for reference, mated in seen if mated] == [f"{probe[:4]}/0.png"]
        assert seen == met["UMR-UMP" if label == "UMR-MP" else "UMR-MP", probe]
    reached = {reference for seen in met.values() for reference, mated in seen if not mated}
    assert len(reached) == 60  # the draw favours nobody so much that another is never met
    assert make_protocol("few", references, probes, probes, 0, others=5).digest == protocol.digest
    assert make_protocol("few", references, probes, probes, 1, others=5).digest != protocol.digest
    whole = make_protocol("all", references, probes, probes, 0)
    assert len(whole.pairs) == 2 * 120 * 60

