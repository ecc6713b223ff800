"""A folder of synthetic people: same bytes however it came about, and nothing else is ever touched."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import temporary_in
from maskbench.images import decode, encode, jpeg_quality, read_image
from maskbench.people import folder as folder_module
from maskbench.people.config import (
    CONFIG,
    LARGEST_IDENTITY,
    MOST_PEOPLE,
    PeopleConfig,
    check_config,
    consecutive,
    describe_config,
    picture_path,
    read_numbers,
)
from maskbench.people.folder import check_sheet, make_people, write_sheet
from maskbench.people.portraits import Portraits
from maskbench.people.records import JOURNAL, POINTS, TABLE, read_points

SMALL = PeopleConfig(identities=(0, 1, 2), pictures=2, size=64, seed=3)


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / TABLE, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``SMALL``; not to be changed."""
    out = tmp_path_factory.mktemp("people") / "small"
    make_people(out, SMALL)
    return out


def test_pictures_table_and_landmarks_are_those_of_the_generator(small: Path):
    rows = table(small)
    assert [row["path"] for row in rows] == sorted(picture_path(n, s) for n in (0, 1, 2) for s in (1, 2))
    files = {path for path in tree(small)}
    assert files == {row["path"] for row in rows} | {CONFIG, TABLE, POINTS}
    paths, points = read_points(small / POINTS)
    assert paths == [row["path"] for row in rows] and points.dtype == np.float32
    portraits = Portraits(3, 64)
    for row, face in zip(rows, points, strict=True):
        drawn = portraits.portrait(int(row["identity"]), int(row["shot"]))
        data = (small / row["path"]).read_bytes()
        done, expected = cv2.imencode(".jpg", drawn.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, drawn.quality])
        assert done and data == expected.tobytes() and row["sha256"] == file_sha256(small / row["path"])
        assert jpeg_quality(data) == drawn.quality == int(row["quality"])
        assert np.array_equal(face, drawn.landmarks)
        assert row["sex"] == drawn.attributes["sex"] and float(row["yaw"]) == drawn.attributes["yaw"]
        assert [float(value) for value in row["light"].split()] == list(drawn.attributes["light"])


def test_one_reader_of_numpy_reads_the_landmarks(small: Path):
    with np.load(small / POINTS, allow_pickle=False) as stored:
        assert set(stored.files) == {"paths", "points"} and stored["points"].shape == (6, 468, 3)
        assert np.isfinite(stored["points"]).all()


def test_workers_change_no_byte(small: Path, tmp_path: Path):
    done = make_people(tmp_path / "two", SMALL, workers=2)
    assert (done.pictures, done.identities, done.new) == (6, 3, 6) and done.table == tmp_path / "two" / TABLE
    assert tree(tmp_path / "two") == tree(small)


def test_who_else_is_made_changes_nobody(small: Path, tmp_path: Path):
    make_people(tmp_path / "one", replace(SMALL, identities=(2,), pictures=1))
    rows = {row["path"]: row for row in table(small)}
    (row,) = table(tmp_path / "one")
    assert row == rows["P00002/P00002_0001.jpg"]
    make_people(tmp_path / "other", replace(SMALL, identities=(2,), pictures=1, seed=4))
    assert table(tmp_path / "other")[0]["sha256"] != row["sha256"]


def test_the_other_formats(tmp_path: Path):
    drawn = Portraits(3, 64).portrait(1, 1)
    one = replace(SMALL, identities=(1,), pictures=1)
    make_people(tmp_path / "png", replace(one, format="png"))
    assert np.array_equal(read_image(tmp_path / "png" / "P00001" / "P00001_0001.png"), drawn.image)
    assert table(tmp_path / "png")[0]["quality"] == "100"
    make_people(tmp_path / "webp", replace(one, format="webp", quality=40))
    (row,) = table(tmp_path / "webp")
    data = (tmp_path / "webp" / row["path"]).read_bytes()
    assert row["quality"] == "40" and data[8:12] == b"WEBP" and decode(data).shape == (64, 64, 3)
    assert len(data) < len(encode(drawn.image, ".webp"))  # at 95


def test_resuming_mends_a_finished_run_and_makes_nothing_anew(small: Path, tmp_path: Path):
    out = tmp_path / "out"
    make_people(out, SMALL)
    assert make_people(out, SMALL, resume=True).new == 0 and tree(out) == tree(small)
    (out / picture_path(0, 1)).unlink()
    (out / picture_path(2, 2)).write_bytes(b"spoiled")
    assert make_people(out, SMALL, resume=True).new == 2 and tree(out) == tree(small)


@pytest.mark.parametrize(("name", "changed"), [
    (TABLE, lambda data: data[:-2] + (b"1\n" if data[-2:-1] != b"1" else b"2\n")),  # one digit of the last cell
    (TABLE, lambda data: data[: len(data) // 2]), (TABLE, lambda data: b"junk"),
    (POINTS, lambda data: b""), (POINTS, lambda data: data[:-100_000]),
    (POINTS, lambda data: data[:9000] + bytes([data[9000] ^ 1]) + data[9001:]),
])  # fmt: skip
def test_resuming_mends_the_table_and_the_landmarks(
    name: str, changed: Callable[[bytes], bytes], small: Path, tmp_path: Path
):
    out = tmp_path / "out"
    shutil.copytree(small, out)
    (out / name).write_bytes(changed((out / name).read_bytes()))
    assert tree(out) != tree(small)
    assert make_people(out, SMALL, resume=True).new == 6 and tree(out) == tree(small)


INTERRUPTED = """
import os, signal, sys
from maskbench.cli.main import main
from maskbench.people.records import PeopleJournal

append = PeopleJournal.append

def counted(self, path, line):
    append(self, path, line)
    if len(self) == 5:
        os.killpg(0, signal.SIGINT)  # as Ctrl-C does: the workers get it too

if __name__ == "__main__":  # which the workers' process is not
    signal.signal(signal.SIGINT, signal.default_int_handler)
    PeopleJournal.append = counted
    main(sys.argv[1:])
"""


def test_an_interruption_of_several_processes_is_continued(tmp_path: Path):
    twelve = PeopleConfig(tuple(range(12)), pictures=2, size=64)
    make_people(tmp_path / "whole", twelve)
    script, out = tmp_path / "interrupted.py", tmp_path / "out"
    script.write_text(INTERRUPTED)
    options = ["--identities", "12", "--pictures", "2", "--size", "64", "--workers", "2"]
    paths = os.pathsep.join(path for path in sys.path if path)
    run = subprocess.run(
        [sys.executable, str(script), "people", str(out), *options], capture_output=True, text=True, timeout=120,
        start_new_session=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert run.returncode == 130 and run.stderr.splitlines()[-1].endswith("with --resume to continue"), run.stderr
    assert "Traceback" not in run.stderr
    assert not (out / TABLE).exists() and len((out / JOURNAL).read_bytes().splitlines()) == 5
    assert make_people(out, twelve, workers=2, resume=True).new == 19
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_resuming_after_kill_nine_gives_the_same_bytes(tmp_path: Path):
    options = ["--identities", "60", "--pictures", "5", "--size", "96", "--workers", "2"]

    def command(out: Path) -> list[str]:
        return [sys.executable, "-m", "maskbench", "people", str(out), *options]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    out = tmp_path / "killed"

    def rows() -> int:
        return (out / JOURNAL).read_bytes().count(b"\n") if (out / JOURNAL).is_file() else 0

    # First with pictures that no row tells of, since workers answer for several people at once; then with rows.
    for far_enough in (lambda: len(list(out.rglob("*.jpg"))) >= 5, lambda: rows() >= 60):
        run = subprocess.Popen([*command(out), "--resume"], stdout=subprocess.DEVNULL, start_new_session=True)
        while run.poll() is None and not far_enough():
            time.sleep(0.005)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert (out / JOURNAL).is_file() and not (out / TABLE).exists()
    finished = subprocess.run([*command(out), "--resume"], check=True, capture_output=True, text=True).stdout
    assert "300 pictures of 60 people" in finished and "(300 made now" not in finished
    assert tree(out) == tree(tmp_path / "whole")


def test_what_a_killed_run_leaves_is_continued(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As the slow test, without the wait: the run ends after two people, in the middle of a third."""
    out, made = tmp_path / "out", []
    real = folder_module._make_worker

    def failing(*arguments):
        work = real(*arguments)

        def once(pictures):
            made.append(pictures)
            if len(made) == 3:
                (out / "P00002").mkdir()
                Path(temporary_in(out / "P00002")).write_bytes(b"half")
                raise KeyboardInterrupt
            return work(pictures)

        return once

    monkeypatch.setattr(folder_module, "_make_worker", failing)
    with pytest.raises(KeyboardInterrupt):
        make_people(out, replace(SMALL, identities=(2, 1, 0)))
    monkeypatch.undo()
    with open(out / JOURNAL, "ab") as stream:
        stream.write(b'["P00002/P0')  # a line cut short
    assert make_people(out, SMALL, resume=True).new == 2 and tree(out) == tree(small)


def test_a_folder_of_other_options_or_of_something_else_is_refused(small: Path, tmp_path: Path):
    before = tree(small)
    with pytest.raises(MaskbenchError, match="is not empty; use --resume"):
        make_people(small, SMALL)
    for other, words in (
        (replace(SMALL, seed=4), "another seed (3, now 4)"), (replace(SMALL, size=72), "another size"),
        (replace(SMALL, pictures=3), "another pictures"), (replace(SMALL, format="png"), "another format"),
        (replace(SMALL, identities=(0, 1, 3)), "another identities_sha256"),
    ):  # fmt: skip
        with pytest.raises(MaskbenchError) as refused:
            make_people(small, other, resume=True)
        assert words in str(refused.value) and "\n" not in str(refused.value)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(MaskbenchError, match="holds no run to resume"):
        make_people(tmp_path / "mine", SMALL, resume=True)
    assert tree(small) == before


@pytest.mark.parametrize("name", ["P00001", "P00009", POINTS, TABLE, JOURNAL, CONFIG])
def test_nothing_is_written_through_a_link(name: str, small: Path, tmp_path: Path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    shutil.copytree(small, out)
    if (out / name).exists():
        (out / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (out / name).symlink_to(elsewhere)
    (out / picture_path(0, 1)).unlink()  # so that there is something to do
    before = tree(tmp_path)
    with pytest.raises(MaskbenchError, match=f"{name}: a link, or no .*remove it$") as refused:
        make_people(out, SMALL, resume=True)
    assert "\n" not in str(refused.value) and tree(tmp_path) == before
    (out / name).unlink()
    (out / name).touch() if name.startswith("P0") else (out / name).mkdir()
    with pytest.raises(MaskbenchError, match=f"{name}: a link, or no .*remove it$"):
        make_people(out, SMALL, resume=True)


def test_folders_in_the_place_of_files_are_not_overwritten(small: Path, tmp_path: Path):
    shutil.copytree(small, tmp_path / "out")
    (tmp_path / "out" / JOURNAL).mkdir()
    with pytest.raises(MaskbenchError, match=rf"more than people \({JOURNAL}\)"):
        make_people(tmp_path / "out", SMALL, overwrite=True)


def test_another_model_is_refused(tmp_path: Path):
    out = tmp_path / "out"
    make_people(out, replace(SMALL, identities=(0,)))
    found = json.loads((out / CONFIG).read_text())
    assert found["model_sha256"] == Portraits().model_digest and found["versions"]["numpy"] == np.__version__
    (out / CONFIG).write_text(json.dumps({**found, "model_sha256": "f" * 64}))
    with pytest.raises(MaskbenchError, match="another model_sha256"):
        make_people(out, replace(SMALL, identities=(0,)), resume=True)


def test_every_version_that_decides_pixels_is_written_down():
    told = describe_config(SMALL)["versions"]
    assert set(told) == {"llvmlite", "numba", "numpy", "opencv", "scipy"}
    assert told["opencv"] == cv2.__version__ and told["scipy"] == version("scipy")
    assert told["numba"] == version("numba") and told["llvmlite"] == version("llvmlite")


def test_overwriting_removes_people_and_nothing_else(small: Path, tmp_path: Path):
    out = tmp_path / "out"
    make_people(out, replace(SMALL, seed=9, identities=(7, 100_000)))
    assert (out / "P100000" / "P100000_0002.jpg").is_file()
    make_people(out, SMALL, overwrite=True)
    assert tree(out) == tree(small)
    (out / "notes.txt").touch()
    before = tree(out)
    with pytest.raises(MaskbenchError, match=r"more than people \(notes.txt\)"):
        make_people(out, SMALL, overwrite=True)
    assert tree(out) == before
    (out / "notes.txt").rename(out / "P00001" / "notes.txt")
    with pytest.raises(MaskbenchError, match=r"more than people \(P00001/notes.txt\)"):
        make_people(out, SMALL, overwrite=True)
    (out / "P00001" / "notes.txt").unlink()
    (out / "P00009").symlink_to(tmp_path)
    with pytest.raises(MaskbenchError, match=r"\(P00009\)"):
        make_people(out, SMALL, overwrite=True)
    (tmp_path / "foreign" / "P00001").mkdir(parents=True)
    with pytest.raises(MaskbenchError, match=f"no {CONFIG}"):
        make_people(tmp_path / "foreign", SMALL, overwrite=True)


@pytest.mark.parametrize(("change", "words"), [
    ({"identities": ()}, "at least one number"), ({"identities": (1, 1)}, "each once"),
    ({"identities": (-1,)}, "identity -1"), ({"pictures": 0}, "pictures 0"), ({"size": 63}, "size 63"),
    ({"quality": 101}, "quality 101"), ({"seed": -1}, "seed -1"), ({"format": "jpeg"}, 'did you mean "jpg"'),
    ({"identities": (10**9,)}, "identity 1000000000: .* 0 to 999999999"),
    ({"format": "png", "quality": 90}, "quality 90: a png is without loss"),
])  # fmt: skip
def test_wrong_options_are_refused_before_anything_is_written(change: dict, words: str, tmp_path: Path):
    with pytest.raises(MaskbenchError, match=words):
        make_people(tmp_path / "out", replace(SMALL, **change))
    assert not (tmp_path / "out").exists()


def test_consecutive_numbers_are_bounded_before_they_are_made():
    assert consecutive(7, 3) == (7, 8, 9) and consecutive(LARGEST_IDENTITY, 1) == (999_999_999,)
    for first, count in ((0, 10**15), (0, MOST_PEOPLE + 1), (0, 0), (-1, 2), (LARGEST_IDENTITY, 2), (10**9, 1)):
        with pytest.raises(MaskbenchError, match=rf"^{count} people from {first} on: give 1 to 10000000"):
            consecutive(first, count)
    check_config(replace(SMALL, identities=(LARGEST_IDENTITY,)))


def test_the_largest_number_can_be_named_in_a_file(tmp_path: Path):
    (tmp_path / "numbers.txt").write_text(f"{LARGEST_IDENTITY}\n")
    assert read_numbers(tmp_path / "numbers.txt") == (LARGEST_IDENTITY,)
    (tmp_path / "numbers.txt").write_text(f"{LARGEST_IDENTITY + 1}\n")
    with pytest.raises(MaskbenchError, match="no identity number"):
        read_numbers(tmp_path / "numbers.txt")


def test_numbers_from_a_file(tmp_path: Path):
    path = tmp_path / "numbers.txt"
    path.write_text("# accepted\n12\n\n7  # the second\n100000\n")
    assert read_numbers(path) == (12, 7, 100_000)
    for text, words in (
        ("1\ntwo\n", ":2: 'two'"), ("1\n2\n01\n", ":3: 01 stands in line 1"), ("# none\n", "no identity"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(MaskbenchError, match=words):
            read_numbers(path)


def test_the_sheet_shows_the_pictures_in_order(small: Path, tmp_path: Path):
    paths = [row["path"] for row in table(small)]
    write_sheet(small, paths, tmp_path / "sheet.png")
    sheet = read_image(tmp_path / "sheet.png")
    assert sheet.shape == (64, 6 * 64, 3)
    assert np.array_equal(sheet[:, 64:128], read_image(small / paths[1]))
    write_sheet(small, paths * 10, tmp_path / "many.png", side=32)  # 48 of 60
    assert read_image(tmp_path / "many.png").shape == (6 * 32, 8 * 32, 3)
    write_sheet(small, [*paths, *paths][:11], tmp_path / "odd.png", side=32)
    odd = read_image(tmp_path / "odd.png")
    assert odd.shape == (2 * 32, 8 * 32, 3) and (odd[32:, 3 * 32 :] == 255).all()


def test_where_a_sheet_may_be_written(tmp_path: Path):
    out = tmp_path / "out"
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link").symlink_to(out)
    for name in ("sheet.png", "sheet.JPG", "out.webp", "out2/sheet.bmp"):
        check_sheet(tmp_path / name, out)
    for name in ("sheet", "sheet.gif", "sheet.pdf", "sheet.pgm", "folder.png", ""):
        with pytest.raises(MaskbenchError, match="no name of a picture; let it end in one of .bmp, .jpeg, .jpg, .png"):
            check_sheet(tmp_path / name, out)
    for name in ("out/sheet.png", "out/P00000/sheet.png", "link/sheet.png", "other/../out/sheet.png"):
        with pytest.raises(MaskbenchError, match="write it elsewhere"):
            check_sheet(tmp_path / name, out)
