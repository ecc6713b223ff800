from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.align import five_points
from maskbench.datasets.build import UNFINISHED, Options
from maskbench.datasets.build_celeba import build_celeba, shared_identities
from maskbench.datasets.build_lfw import RECIPE as LFW_RECIPE
from maskbench.datasets.celeba import CELEBA256
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.images import read_image, write_image
from maskbench.manifest import read_manifest


def rows(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def tree(root):
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


NAMES = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


@pytest.fixture(scope="module")
def heads():
    """The mannequins with their five points."""
    from maskbench.landmarks.mediapipe import MediapipeLandmarker
    from maskbench.masking.preview import mannequins

    finder, pictures = MediapipeLandmarker(), [read_image(path) for path in mannequins()]
    return [(picture, five_points(finder.detect(picture)[0])) for picture in pictures]


def make_celeba(root: Path, heads, count: int, people: int) -> Path:
    """CelebA in its original layout, of mannequins turned and scaled at random; the landmarks follow by arithmetic."""
    rng, landmarks = np.random.default_rng(0), []
    for number in range(1, count + 1):
        picture, points = heads[number % len(heads)]
        scale, angle = rng.uniform(0.5, 1.2), rng.uniform(-20, 20)
        turn = cv2.getRotationMatrix2D((256, 256), angle, scale)
        turn[:, 2] += np.array([320, 240]) / 2 * scale * 1.6 - 256
        size = (round(320 * scale * 1.6), round(240 * scale * 1.6))
        photograph = cv2.warpAffine(picture, turn, size, borderValue=(70,) * 3)
        write_image(root / "img_celeba" / f"{number:06d}.jpg", photograph)
        landmarks.append((f"{number:06d}.jpg", np.rint(points @ turn[:, :2].T + turn[:, 2]).astype(int).ravel()))
    (root / "Anno").mkdir()
    (root / "Anno" / "identity_CelebA.txt").write_text(
        "".join(f"{name} {number % people + 100}\n" for number, (name, _) in enumerate(landmarks))
    )
    table = "".join(f"{name}  {'  '.join(map(str, values))}\n" for name, values in landmarks)
    (root / "Anno" / "list_landmarks_celeba.txt").write_text(f"{count}\n{NAMES}\n{table}")
    (root / "Eval").mkdir()
    partition = "".join(f"{name} {number % 3}\n" for number, (name, _) in enumerate(landmarks))
    (root / "Eval" / "list_eval_partition.txt").write_text(partition)
    return root


MASKS = Options(recipe=LFW_RECIPE)  # six masks only: quick to load


def test_celeba_crops_masks_and_splits(tmp_path, heads):
    source, out = make_celeba(tmp_path / "CelebA", heads, 28, 9), tmp_path / "out"
    (source / "img_celeba" / "000003.jpg").write_bytes(b"broken")
    (source / "img_celeba" / "000004.jpg").unlink()
    write_image(source / "img_celeba" / "000099.jpg", np.zeros((50, 50, 3), np.uint8))
    built = build_celeba(source, out, MASKS)
    counts = built.counts
    assert (counts["listed"], counts["missing"], counts["inputs"]) == (28, 1, 28)
    assert (counts["aligned"], counts["failed"], counts["skipped"]) == (26, 1, 1)
    aligned = {row["source"]: row for row in rows(out / "aligned.csv")}
    assert len(aligned) == 28 and aligned["000099.jpg"]["reason"] == "not in identity_CelebA.txt"
    assert counts["masked_masked"] >= 24  # the mesh may miss a mannequin or two
    masked = {row.source for row in read_manifest(out / "masked" / "manifest.csv") if row.status == "masked"}
    for path in masked:
        bare, worn = read_image(out / "faces" / path), read_image(out / "masked" / path)
        assert bare.shape == worn.shape == (256, 256, 3)
        changed = np.abs(bare.astype(int) - worn).sum(-1) > 30
        (mouth_x, mouth_y), eyes_y = CELEBA256.points[3:].mean(0).astype(int), CELEBA256.points[0, 1]
        around_mouth = changed[mouth_y - 15 : mouth_y + 15, mouth_x - 15 : mouth_x + 15]
        y, x = np.nonzero(changed)
        assert around_mouth.mean() > 0.5 and abs(x.mean() - mouth_x) < 25 and y.mean() > eyes_y + 20
    splits = {name: rows(out / f"split_{name}.csv") for name in ("random", "identity", "official")}
    for table in splits.values():
        assert {row["path"] for row in table} == masked and list(table[0]) == ["path", "identity", "subset"]
        assert [row["path"] for row in table] == sorted(row["path"] for row in table)
        for row in table:
            number = int(row["path"].split("/")[1][:6])
            assert row["identity"] == str((number - 1) % 9 + 100) == row["path"].split("/")[0]
    sides = {side: {row["identity"] for row in splits["identity"] if row["subset"] == side} for side in SIDES}
    assert sides["train"] and sides["validation"] and not sides["train"] & sides["validation"]
    assert counts["split_identity_shared_identities"] == 0 < counts["split_random_shared_identities"]
    assert {row["subset"] for row in splits["official"]} == {"train", "validation", "test"}
    for row in splits["official"]:
        assert row["subset"] == ("train", "validation", "test")[(int(row["path"][-10:-4]) - 1) % 3]
    before = tree(out)
    assert build_celeba(source, out, MASKS).counts == counts and tree(out) == before


SIDES = ("train", "validation")


def test_celeba_lossless_and_without_a_partition(tmp_path, heads):
    source, out = make_celeba(tmp_path / "CelebA", heads, 5, 3), tmp_path / "out"
    (source / "Eval" / "list_eval_partition.txt").unlink()
    build_celeba(source, out, MASKS, suffix="png")
    assert not (out / "split_official.csv").exists() and len(list((out / "faces").rglob("*.png"))) == 5
    for path in (out / "masked").rglob("*.png"):
        bare, worn = read_image(out / "faces" / path.relative_to(out / "masked")), read_image(path)
        assert np.array_equal(bare[:60], worn[:60])  # nothing above the brows changes by a single bit
    with pytest.raises(MaskbenchError, match="another options.format"):
        build_celeba(source, out, MASKS, suffix="jpg")
    with pytest.raises(MaskbenchError, match='no picture format "gif"'):
        build_celeba(source, tmp_path / "gif", MASKS, suffix="gif")


def test_celeba_masks_the_face_that_the_list_names(tmp_path, heads):
    """Two people on a photograph, the other one much larger: the crop and the mask belong to the one in the list."""
    (large, _), (small, points) = heads[0], heads[1]
    photograph = np.full((560, 900, 3), 70, np.uint8)
    photograph[24:536, 20:532] = large
    photograph[150:406, 600:856] = cv2.resize(small, (256, 256), interpolation=cv2.INTER_AREA)
    listed = np.rint((points + 0.5) / 2 - 0.5 + (600, 150)).astype(int).ravel()
    source = make_celeba(tmp_path / "CelebA", heads, 2, 2)
    write_image(source / "img_celeba" / "000001.jpg", photograph)
    table = (source / "Anno" / "list_landmarks_celeba.txt").read_text().splitlines()
    table[2] = f"000001.jpg {' '.join(map(str, listed))}"
    (source / "Anno" / "list_landmarks_celeba.txt").write_text("\n".join(table) + "\n")
    build_celeba(source, tmp_path / "out", MASKS, suffix="png")
    row = next(row for row in rows(tmp_path / "out" / "aligned.csv") if row["source"] == "000001.jpg")
    assert row["points"] == " ".join(map(str, listed))
    bare = read_image(tmp_path / "out" / "faces" / row["output"])
    worn = read_image(tmp_path / "out" / "masked" / row["output"])
    y, x = np.nonzero(np.abs(bare.astype(int) - worn).sum(-1) > 30)
    assert abs(x.mean() - CELEBA256.points[2, 0]) < 25 and abs(y.mean() - CELEBA256.points[3, 1]) < 40


def test_celeba_of_one_person_or_of_no_use(tmp_path, heads):
    source = make_celeba(tmp_path / "CelebA", heads, 3, 1)
    with pytest.raises(MaskbenchError, match="1 people cannot be split by identity"):
        build_celeba(source, tmp_path / "out", MASKS)
    assert not (tmp_path / "out").exists()
    source = make_celeba(tmp_path / "Celeb", heads, 3, 3)
    for path in (source / "img_celeba").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(MaskbenchError, match=r"no picture could be aligned; .*aligned\.csv says why"):
        build_celeba(source, tmp_path / "out", MASKS)
    assert len(rows(tmp_path / "out" / "aligned.csv")) == 3


def test_people_in_more_than_one_subset_are_counted():
    table = [("1/a", "1", "train"), ("1/b", "1", "train"), ("2/a", "2", "train"), ("2/b", "2", "test")]
    assert shared_identities(table) == 1 == shared_identities([*table, ("2/c", "2", "validation")])


def test_celeba_damaged_files_are_rows_and_change_nobody_elses_subset(tmp_path, heads):
    """Sixty files, half of them fuzzed, cut or replaced: no crash, sixty rows, and the rest as if nothing had been."""
    source = make_celeba(tmp_path / "CelebA", heads, 60, 11)
    build_celeba(source, tmp_path / "sound", MASKS)
    sound = {name: {row["path"]: row for row in rows(tmp_path / "sound" / name)} for name in SPLIT_TABLES}
    rng, damaged = np.random.default_rng(1), set()
    for path in sorted((source / "img_celeba").iterdir())[::2]:
        data = bytearray(path.read_bytes())
        kind = int(path.stem) % 5
        if kind == 0:
            data[2:40] = rng.integers(0, 256, 38, np.uint8).tobytes()
        elif kind == 1:
            data = data[: rng.integers(1, len(data) - 100)]
        elif kind == 2:
            data = bytearray()
        elif kind == 3:
            data[:] = rng.integers(0, 256, 500, np.uint8).tobytes()
        else:  # flipped bytes in the scan: still decoded, as another picture
            for place in rng.integers(700, len(data) - 2, 5):
                data[place] ^= 0x15
        path.write_bytes(data)
        damaged.add(path.stem)
    built = build_celeba(source, tmp_path / "out", MASKS)
    table = {row["source"]: row for row in rows(tmp_path / "out" / "aligned.csv")}
    assert len(table) == 60 == built.counts["inputs"] and built.counts["failed"] >= 18
    for name, row in table.items():
        assert (row["status"] == "aligned") == bool(row["output"]) == (not row["reason"]), name
        assert row["status"] == "aligned" or name[:6] in damaged
        assert not row["reason"].startswith("internal error"), row
    for name in SPLIT_TABLES:
        now = {row["path"]: row for row in rows(tmp_path / "out" / name)}
        untouched = {path for path in sound[name] if path[-10:-4] not in damaged}
        assert untouched and untouched <= set(now)
        assert all(now[path] == sound[name][path] for path in now if path in sound[name])


SPLIT_TABLES = ("split_random.csv", "split_identity.csv", "split_official.csv")


def test_celeba_workers_change_no_byte_and_seeds_do(tmp_path, heads):
    source = make_celeba(tmp_path / "CelebA", heads, 21, 8)
    for workers in (1, 2):
        build_celeba(source, tmp_path / str(workers), Options(LFW_RECIPE, workers=workers))
    one = tree(tmp_path / "1")
    assert tree(tmp_path / "2") == one
    build_celeba(source, tmp_path / "other", Options(LFW_RECIPE, seed=1))
    other = tree(tmp_path / "other")
    assert {name for name in one if one[name] == other[name]} == {
        "aligned.csv", "split_official.csv", *(name for name in one if name.startswith("faces/")),
    }  # fmt: skip


def test_celeba_pictures_come_and_go(tmp_path, heads):
    source, out = make_celeba(tmp_path / "CelebA", heads, 8, 4), tmp_path / "out"
    late, early = source / "img_celeba" / "000008.jpg", source / "img_celeba" / "000001.jpg"
    aside = tmp_path / "aside.jpg"
    late.rename(aside)
    build_celeba(source, out, MASKS)
    aside.rename(late)
    early.unlink()
    (source / "Eval" / "list_eval_partition.txt").unlink()
    built = build_celeba(source, out, MASKS)
    build_celeba(source, tmp_path / "fresh", MASKS)
    assert tree(out) == tree(tmp_path / "fresh") and built.counts["inputs"] == 7
    assert not (out / "split_official.csv").exists() and not list(out.rglob("000001.jpg"))


KILLED = """
import sys
from pathlib import Path
from maskbench.datasets.build import Options
from maskbench.datasets.build_celeba import build_celeba
if __name__ == "__main__":
    build_celeba(Path(sys.argv[1]), Path(sys.argv[2]), Options(recipe=sys.argv[3], cache=Path(sys.argv[4])))
"""


@pytest.mark.slow
def test_celeba_killed_at_random_moments_gives_the_same_bytes(tmp_path, heads):
    source, out = make_celeba(tmp_path / "CelebA", heads, 40, 9), tmp_path / "out"
    cache = tmp_path / "cache"
    build_celeba(source, tmp_path / "whole", Options(recipe=LFW_RECIPE, cache=cache))
    whole = tree(tmp_path / "whole")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command, rng = [sys.executable, str(script), str(source), str(out), LFW_RECIPE, str(cache)], random.Random(0)
    journals = {"aligned.journal.jsonl": "faces", "masked/manifest.journal.jsonl": "masked"}
    kills = dict.fromkeys(journals, 0)
    for _ in range(20):  # a machine that is busy elsewhere lets some moments go by
        journal = next((name for name in journals if kills[name] < 2), None)
        if journal is None:
            break
        for path in sorted((out / journals[journal]).rglob("*.jpg"))[::2]:
            path.unlink()  # some of the work is lost besides, so that there is something to do again
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / journal).exists():
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        if process.wait() == -signal.SIGKILL:
            assert json.loads((out / "dataset.json").read_text())["state"] == UNFINISHED
            kills[journal] += (out / journal).exists()
    assert min(kills.values()) == 2, kills
    subprocess.run(command, check=True)
    assert tree(out) == whole


def test_real_faces_in_the_layout_of_celeba(data_root, tmp_path):
    """Pictures that are roughly aligned already, laid out as CelebA's crops without their landmark list: the mesh finds
    the points, and nearly every face gets its mask."""
    folders = sorted((data_root / "faces" / "celeba256").iterdir())[:4]
    names = [(path, int(folder.name)) for folder in folders for path in sorted(folder.iterdir())[:5]]
    source = tmp_path / "CelebA"
    (source / "img_align_celeba").mkdir(parents=True)
    for path, _ in names:
        shutil.copy(path, source / "img_align_celeba")
    (source / "identity_CelebA.txt").write_text("".join(f"{path.stem}.jpg {who}\n" for path, who in names))
    built = build_celeba(source, tmp_path / "out", MASKS)
    assert built.counts["aligned"] == len(names) and built.counts["masked_masked"] >= len(names) - 1
    assert built.counts["split_identity_shared_identities"] == 0
    eyes = [list(map(float, row["points"].split()))[:4] for row in rows(tmp_path / "out" / "aligned.csv")]
    # The template is that of these pictures: what is aligned already hardly moves.
    assert np.abs(np.median(eyes, axis=0) - CELEBA256.points[:2].ravel()).max() < 4
