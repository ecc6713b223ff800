from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from maskbench.datasets import celeba_align
from maskbench.datasets.celeba import CELEBA256
from maskbench.datasets.celeba_align import Job, align_all, rough_crop
from maskbench.datasets.celeba_table import JOURNAL, NAME, AlignedRow, append, earlier_rows, read_aligned, write_aligned
from maskbench.digest import file_sha256
from maskbench.errors import ImageError, ManifestError
from maskbench.images import read_image, write_image

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))


def dotted(height, width, angle, scale, x, y):
    """A grey picture with a coloured dot at each of five points, laid out like a face that is turned and scaled, and
    the points: what they are is decided here, not measured."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (CELEBA256.points - CELEBA256.points.mean(0)) @ turn.T + (x, y)
    picture = np.full((height, width, 3), 120, np.uint8)
    for point, colour in zip(points, COLOURS, strict=True):
        centre = np.rint(point * 16).astype(int).tolist()
        cv2.circle(picture, centre, round(5 * scale * 16), colour, -1, cv2.LINE_AA, 4)
    return picture, points


def centre_of(crop, colour, around):
    """The centre of gravity of what has a colour in a crop, by how near it is to the colour; a dot's mirror image
    beyond the border is left out."""
    near = np.clip(1 - np.abs(crop.astype(float) - colour).sum(-1) / 200, 0, 1)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    near *= np.hypot(x - around[0], y - around[1]) < 12
    return np.array([(near * x).sum(), (near * y).sum()]) / near.sum()


@pytest.mark.parametrize(("height", "width", "angle", "scale", "x", "y"), [
    (218, 178, 0.0, 0.79, 89, 120),  # the proportions of the aligned crops
    (900, 1400, 0.5, 3.7, 700, 450),  # a large photograph, reduced by area averages
    (300, 300, -0.8, 1.0, 150, 150),
    (240, 400, 0.2, 1.5, 60, 100),  # a face at the border
    (90, 80, 3.0, 0.25, 40, 45),  # upside down and small
])  # fmt: skip
def test_the_five_points_land_on_the_template(height, width, angle, scale, x, y):
    picture, points = dotted(height, width, angle, scale, x, y)
    before = picture.copy()
    crop = rough_crop(picture, points)
    assert crop.shape == (256, 256, 3) and crop.dtype == np.uint8 and np.array_equal(picture, before)
    for colour, wanted in zip(COLOURS, CELEBA256.points, strict=True):
        assert np.abs(centre_of(crop, colour, wanted) - wanted).max() < 0.6


def test_beyond_the_border_lies_its_mirror_image():
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (12, 10, 3), np.uint8), (160, 192))
    shift = np.array((40, 60))
    crop = rough_crop(picture, CELEBA256.points - shift)  # scale 1: the crop begins 40 and 60 pixels outside
    assert np.array_equal(crop[60:252, 40:200], picture)
    assert np.array_equal(crop[60:252, 10:40], picture[:, 30:0:-1])
    assert np.array_equal(crop[60:252, 200:256], picture[:, -2:-58:-1])
    assert np.array_equal(crop[0:60, 40:200], picture[60:0:-1])


@pytest.mark.parametrize(("points", "words"), [
    (CELEBA256.points + 500, "lie outside the picture"),
    (np.zeros((5, 2)) + 50, "coincide"),
    ((CELEBA256.points - CELEBA256.points.mean(0)) * 9 + 100, "too far apart"),
])  # fmt: skip
def test_points_of_another_picture_are_refused(points, words):
    with pytest.raises(ImageError, match=words):
        rough_crop(np.zeros((200, 200, 3), np.uint8), points)


# ---------------------------------------------------------------- all of them


@pytest.fixture
def pictures(tmp_path):
    """Twelve dotted pictures and their jobs."""
    jobs = []
    for number in range(12):
        picture, points = dotted(200, 220, number / 7, 0.8, 110, 100)
        write_image(tmp_path / "in" / f"{number:06d}.png", picture)
        values = tuple(np.round(points, 2).ravel().tolist())
        jobs.append(Job(f"{number:06d}.png", f"{number // 3}/{number:06d}.jpg", str(number // 3), values))
    return tmp_path / "in", jobs


def run(pictures, out, jobs, others=None, workers=1):
    return align_all(pictures, out, "faces", jobs, others or {}, "mediapipe", workers, None)


def tree(root):
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


def test_one_row_for_every_input_whatever_is_wrong_with_it(pictures, tmp_path):
    folder, jobs = pictures
    (folder / "000001.png").write_bytes(b"")
    (folder / "000002.png").write_bytes(b"not a picture")
    (folder / "000003.png").write_bytes((folder / "000000.png").read_bytes()[:900])
    (folder / "000004.png").unlink()
    jobs[5] = Job(jobs[5].source, jobs[5].output, "1", (5000.0,) * 10)
    others = {"x\r.jpg": ("skipped", "not in the list"), "b\udcff.jpg": ("failed", "odd, \"quoted\" name")}
    rows = run(folder, tmp_path / "out", jobs, others)
    assert read_aligned(tmp_path / "out" / NAME) == rows and len(rows) == 14
    reasons = {row.source: row.reason for row in rows if row.status == "failed"}
    assert set(reasons) == {*(f"{number:06d}.png" for number in range(1, 6)), "b\udcff.jpg"}
    for number, words in ((1, "empty"), (2, "not a readable"), (3, "truncated"), (4, "No such file"), (5, "outside")):
        assert words in reasons[f"{number:06d}.png"] and str(folder) not in reasons[f"{number:06d}.png"]
    good = [row for row in rows if row.status == "aligned"]
    assert len(good) == 7 and not (tmp_path / "out" / "faces" / "0" / "000001.jpg").exists()
    for row in good:
        assert row.source_sha256 == file_sha256(folder / row.source) and row.landmarks == "list"
        assert row.output_sha256 == file_sha256(tmp_path / "out" / "faces" / row.output)
        job = jobs[int(row.source[:6])]
        assert row.identity == job.identity and tuple(map(float, row.points.split())) == job.points
        assert read_image(tmp_path / "out" / "faces" / row.output).shape == (256, 256, 3)


def test_workers_and_interruptions_change_no_byte(pictures, tmp_path, monkeypatch):
    folder, jobs = pictures
    run(folder, tmp_path / "one", jobs)
    run(folder, tmp_path / "two", jobs[::-1], workers=2)
    whole = tree(tmp_path / "one")
    assert tree(tmp_path / "two") == whole

    def dying(path, row):
        append(path, row)
        if row.source == jobs[6].source:
            raise KeyboardInterrupt

    monkeypatch.setattr(celeba_align, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "three", jobs)
    with open(tmp_path / "three" / JOURNAL, "a") as stream:
        stream.write('{"source": "000007.p')  # cut short by a power failure
    assert not (tmp_path / "three" / NAME).exists()
    monkeypatch.undo()
    aligned = []
    monkeypatch.setattr(celeba_align, "align_file", counting(celeba_align.align_file, aligned))
    run(folder, tmp_path / "three", jobs)
    assert len(aligned) == 5 and tree(tmp_path / "three") == whole
    run(folder, tmp_path / "three", jobs)
    assert len(aligned) == 5 and tree(tmp_path / "three") == whole


def counting(function, calls):
    def wrapped(pictures, crops, job, finder):
        calls.append(job.source)
        return function(pictures, crops, job, finder)

    return wrapped


def test_what_changed_is_done_again_and_what_is_gone_is_removed(pictures, tmp_path):
    folder, jobs = pictures
    out = tmp_path / "out"
    run(folder, out, jobs)
    (out / "faces" / jobs[0].output).write_bytes(b"spoiled")
    (out / "faces" / jobs[1].output).unlink()
    write_image(folder / jobs[2].source, dotted(200, 220, 1.0, 0.8, 110, 100)[0])
    jobs[3] = Job(jobs[3].source, jobs[3].output, jobs[3].identity, tuple(value + 3 for value in jobs[3].points))
    jobs[4] = Job(jobs[4].source, "9/000004.jpg", "9", jobs[4].points)  # the list was corrected
    (folder / jobs[5].source).unlink()
    rows = run(folder, out, jobs[:11])
    run(folder, tmp_path / "fresh", jobs[:11])
    assert tree(out) == tree(tmp_path / "fresh")
    assert not (out / "faces" / "1" / "000004.jpg").exists() and not (out / "faces" / jobs[11].output).exists()
    assert [row.status for row in rows] == ["aligned"] * 5 + ["failed"] + ["aligned"] * 5


def test_a_crop_without_a_row_is_removed_and_other_files_are_not(pictures, tmp_path):
    """Left by a run that was killed between the two, and whose picture is gone since."""
    folder, jobs = pictures
    run(folder, tmp_path / "out", jobs)
    whole = tree(tmp_path / "out")
    for name in ("7/000099.png", "7/sub/000099.jpg"):
        (tmp_path / "out" / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "faces" / name).write_bytes(b"crop")
    (tmp_path / "out" / "faces" / "notes.txt").write_bytes(b"mine")
    run(folder, tmp_path / "out", jobs)
    left = tree(tmp_path / "out")
    assert left.pop("faces/notes.txt") and left == whole


def test_pictures_without_points_are_aligned_by_the_mesh(tmp_path, mannequin):
    from maskbench.align import five_points
    from maskbench.landmarks.mediapipe import MediapipeLandmarker

    write_image(tmp_path / "in" / "a.png", cv2.resize(mannequin, (178, 218)))
    write_image(tmp_path / "in" / "b.png", np.full((218, 178, 3), 90, np.uint8))
    good, bad = run(tmp_path / "in", tmp_path / "out", [Job("a.png", "1/a.png", "1"), Job("b.png", "1/b.png", "1")])
    assert good.status == "aligned" and good.landmarks.startswith("mediapipe") and len(good.points.split()) == 10
    assert (bad.status, bad.reason) == ("failed", "no face found")
    (face,) = MediapipeLandmarker().detect(read_image(tmp_path / "out" / "faces" / "1" / "a.png"))
    assert np.abs(five_points(face)[:2] - CELEBA256.points[:2]).max() < 8


def test_an_output_that_cannot_be_written_ends_the_run(pictures, tmp_path):
    folder, jobs = pictures
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "faces").write_text("a file where the folder should be")
    with pytest.raises(Exception, match="cannot be written"):
        run(folder, tmp_path / "out", jobs)


# ---------------------------------------------------------------- the table


def test_a_table_survives_its_file(tmp_path):
    rows = [
        AlignedRow("a.jpg", "0" * 64, "1/a.jpg", "1" * 64, "1", "aligned", "", "list", "1 2 3 4 5 6 7 8 9 10.25"),
        AlignedRow("b,\"c\"\n\r\udcff.jpg", status="skipped", reason="not in identity_CelebA.txt"),
    ]
    write_aligned(tmp_path / NAME, rows)
    assert read_aligned(tmp_path / NAME) == rows
    write_aligned(tmp_path / "half.csv", [AlignedRow("a.jpg", reason="half \ud800")])
    assert read_aligned(tmp_path / "half.csv")[0].reason == "half \\ud800"
    assert os.fsencode("\udcff") in (tmp_path / NAME).read_bytes()


@pytest.mark.parametrize(("text", "line"), [("a,b\n", 1), ("{header}\nx\n", 2), ("{header}\na,,,,,odd,,,\n", 2)])
def test_a_damaged_table_names_the_line(tmp_path, text, line):
    header = "source,source_sha256,output,output_sha256,identity,status,reason,landmarks,points"
    (tmp_path / NAME).write_text(text.replace("{header}", header))
    with pytest.raises(ManifestError, match=rf"{NAME}:{line}: "):
        read_aligned(tmp_path / NAME)


def test_a_damaged_journal_names_the_line(tmp_path):
    append(tmp_path / JOURNAL, AlignedRow("a.jpg"))
    with open(tmp_path / JOURNAL, "a") as stream:
        stream.write('{"source": 3, "odd": 1}\n')
    append(tmp_path / JOURNAL, AlignedRow("b.jpg"))
    with pytest.raises(ManifestError, match=rf"{JOURNAL}:2: damaged line; delete it"):
        earlier_rows(tmp_path)
