from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench.cli.main import COMMANDS, main
from maskbench.images import read_image, write_image

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(capsys: pytest.CaptureFixture):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def png_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG that declares a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def assert_refused(answer: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2, one line on standard error with every part in it, no traceback."""
    code, _, error = answer
    assert code == 2 and "Traceback" not in error
    assert error.startswith("error: ") and error.count("\n") == 1
    for part in parts:
        assert part in error, error


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_and_help_load_nothing_heavy_and_are_fast():
    heavy = "torch", "onnxruntime", "mediapipe", "cv2", "matplotlib", "pandas", "scipy", "sklearn"
    for code in (
        "import maskbench",
        "from maskbench.cli.main import cli; cli.get_help(__import__('click').Context(cli))",
    ):
        loaded = python(f"import sys; {code}; print([m for m in {heavy} if m in sys.modules])")
        assert loaded.strip() == "[]", code
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "maskbench", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    bare = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True, capture_output=True)
        bare.append(time.perf_counter() - started)
    assert min(times) < 0.3 + 2 * min(bare)


@pytest.mark.parametrize(
    "name",
    [None, *COMMANDS, "protocol make", "protocol make lfw", "protocol make folders", "protocol check", "models card"],
)
def test_every_command_has_help_and_is_documented(name: str | None, call):
    code, text, _ = call(*(name or "").split(), "--help")
    assert code == 0 and text.startswith("Usage: maskbench")
    if name in COMMANDS:
        assert COMMANDS[name][1] in call("--help")[1].replace("\n" + " " * 15, " ")
        assert f"maskbench {name}" in (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")


def test_typos_get_the_nearest_command_and_option(call):
    assert_refused(call("synthesise", "a", "b"), 'no command "synthesise"', 'did you mean "synthesize"')
    code, _, error = call("synthesize", "a", "b", "--sed", "1")
    assert code == 2 and "--seed" in error


def test_version(call):
    from maskbench import __version__

    assert call("--version")[1].strip().endswith(__version__)


def test_the_whole_road_by_hand(crop_folder, tmp_path: Path, call):
    """protocol make, synthesize, evaluate, leaderboard, plot, one after the other, in a folder with spaces."""
    faces, work = crop_folder(24), tmp_path / "my work"
    lines = ["1\t8"]
    lines += [f"Subject_{k:03d}\t1\t2" for k in range(8)]
    lines += [f"Subject_{k:03d}\t1\tSubject_{k + 2:03d}\t2" for k in range(8)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    code, out, _ = call("protocol", "make", "lfw-masked", faces, work / "protocol", "--pairs", tmp_path / "pairs.txt")
    assert code == 0 and "48" in out
    assert call("protocol", "check", work / "protocol")[0] == 0
    options = ["--landmarks", "aligned", "--workers", "1", "--no-cache", "--protocol", work / "protocol"]
    code, out, _ = call("synthesize", faces, work / "masked", *options)
    assert code == 0 and "0 failed" in out and "aligned-arcface112" in out
    common = ["--protocol", work / "protocol", "--faces", faces, "--masked", work / "masked", "--out", work / "results"]
    code, out, _ = call("evaluate", "--model", "dummy", "--model", "dummy-failing", *common)
    assert code == 0 and "dummy-failing" in out
    code, out, _ = call("leaderboard", work / "results", "-o", work / "board.csv")
    assert code == 0
    rows = list(csv.DictReader((work / "board.csv").open(encoding="utf-8")))
    # Eight non-mated pairs cannot resolve FMR 1 %: the rows stand there without a rank.
    assert [row["rank"] for row in rows] == ["", ""] and rows[0]["recognizer"] == "dummy"
    assert rows[0]["UMR-MP.fmr100_flag"] == "not resolvable" and float(rows[0]["UMR-UMP.eer"]) < 0.2
    before = (work / "board.csv").read_bytes()
    call("leaderboard", work / "results", "-o", work / "board.csv")
    assert (work / "board.csv").read_bytes() == before
    assert call("plot", work / "results", "-o", work / "roc.png")[0] == 0
    assert read_image(work / "roc.png").std() > 10
    # A second masked set is another experiment: its rows and curves stand apart.
    call("synthesize", faces, work / "masked2", *options, "--seed", "1")
    call("evaluate", "--model", "dummy", *common[:4], "--masked", work / "masked2", "--out", work / "results2")
    (work / "results2").rename(work / "results" / "second")
    assert call("plot", work / "results", "-o", work / "roc.png")[1].count("written: ") == 2
    assert call("leaderboard", work / "results", "-o", work / "board.csv")[1].count("written: ") == 2
    assert len(list(work.glob("board.lfw-masked*.csv"))) == len(list(work.glob("roc.lfw-masked*.png"))) == 2


def test_a_run_that_masks_nothing_is_an_error_and_keeps_its_manifest(tmp_path: Path, call):
    write_image(tmp_path / "in" / "plain.png", np.full((200, 200, 3), 90, np.uint8))
    answer = call("synthesize", tmp_path / "in", tmp_path / "out", "--landmarks", "aligned", "--workers", "1")
    assert_refused(answer, "no picture could be masked", "manifest.csv")
    assert "failed: not an aligned 112x112 crop: 1" in answer[1] and (tmp_path / "out" / "manifest.csv").is_file()


def test_a_protocol_from_folders(crop_folder, tmp_path: Path, call):
    code, out, _ = call("protocol", "make", "folders", crop_folder(24), tmp_path / "p", "--pairs", "24", "--seed", "3")
    assert (
        code == 0
        and "24 pairs asked, 24 drawn; the non-mated ones are of" in out
        and call("protocol", "check", tmp_path / "p")[0] == 0
    )


def test_models_are_listed_and_a_card_is_drafted(tmp_path: Path, call):
    assert "dlib-resnet" in call("models", "list")[1]
    (tmp_path / "net.onnx").write_bytes(b"not a network")
    assert_refused(call("models", "card", tmp_path / "net.onnx"), "net.onnx")


@pytest.mark.parametrize("name", ["leaderboard", "plot"])
def test_no_results_is_an_error_that_names_the_folder(name: str, tmp_path: Path, call):
    (tmp_path / "empty").mkdir()
    assert_refused(call(name, tmp_path / "empty"), "empty", "maskbench evaluate")


def test_bad_folders_and_files(crop_folder, tmp_path: Path, call):
    faces = crop_folder(4)
    (tmp_path / "empty").mkdir()
    assert_refused(call("synthesize", tmp_path / "empty", tmp_path / "o"), "no images found")
    assert_refused(call("synthesize", faces, faces / "inside"), "choose a folder apart")
    assert_refused(call("synthesize", faces, tmp_path / "o", "--mask", "surgicl"), 'did you mean "surgical"')
    assert_refused(call("synthesize", faces, "/proc/no/way"), "cannot be used")
    (tmp_path / "pairs.txt").write_text("1\t1\nSubject_000\t1\t2\nSubject_000\tone\tSubject_001\t1\n")
    answer = call("protocol", "make", "lfw-masked", faces, tmp_path / "p", "--pairs", tmp_path / "pairs.txt")
    assert_refused(answer, "pairs.txt:3")
    (tmp_path / "pairs.txt").write_text("1\t1\nSubject_000\t1\t2\nNobody\t1\tSubject_001\t1\n")
    answer = call("protocol", "make", "lfw-masked", faces, tmp_path / "p", "--pairs", tmp_path / "pairs.txt")
    assert_refused(answer, "pairs.txt:3", "Nobody_0001")
    assert not (tmp_path / "p").exists()
    assert_refused(call("protocol", "check", tmp_path / "none"), "none")


def test_a_read_only_output_folder_and_an_unreadable_picture(crop_folder, tmp_path: Path):
    """Root may write anywhere, so as root the right to do so is dropped first."""
    faces = crop_folder(4)
    (tmp_path / "locked").mkdir(mode=0o500)
    (faces / "Subject_000" / "Subject_000_0001.png").chmod(0)
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-m", "maskbench", "synthesize", str(faces)]
    options = ["--landmarks", "aligned", "--workers", "1"]

    def run(out: Path) -> subprocess.CompletedProcess:
        return subprocess.run([*command, str(out), *options], capture_output=True, text=True)

    for out in (tmp_path / "locked", tmp_path / "locked" / "out"):
        refused = run(out)
        assert refused.returncode == 2 and refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
        assert "Permission denied" in refused.stderr
    assert run(tmp_path / "out").returncode == 0
    rows = list(csv.DictReader((tmp_path / "out" / "manifest.csv").open(encoding="utf-8")))
    assert [row["status"] for row in rows] == ["failed", "masked", "masked", "masked"]
    assert "Permission denied" in rows[0]["reason"]


def test_hostile_pictures_become_rows(crop_folder, tmp_path: Path, call, mannequin):
    """One folder with everything that goes wrong: no file ends the run, each has its row."""
    faces = tmp_path / "hostile folder"
    write_image(faces / "good.png", mannequin)
    write_image(faces / "grey.jpg", np.repeat(mannequin[..., :1], 3, -1))
    cv2.imwrite(str(faces / "rgba.png"), np.dstack([mannequin[..., ::-1], np.full(mannequin.shape[:2], 200, np.uint8)]))
    cv2.imwrite(str(faces / "deep.png"), mannequin[..., ::-1].astype(np.uint16) * 257)
    write_image(faces / "plain.webp", np.full((300, 200, 3), 128, np.uint8))
    (faces / "huge.png").write_bytes(png_header(30_000, 30_000))
    (faces / "text.jpg").write_text("hello")
    (faces / "empty.bmp").write_bytes(b"")
    (faces / "cut.jpg").write_bytes((faces / "grey.jpg").read_bytes()[:5000])
    os.mkfifo(faces / "pipe.png")
    (faces / "carriage\r.png").write_bytes(b"neither")
    (faces / "loop").symlink_to(faces)
    (faces / "dangling.jpg").symlink_to(faces / "nowhere")
    code, out, _ = call("synthesize", faces, tmp_path / "out", "--workers", "1")
    lines = [line.strip() for line in out.splitlines()]
    assert "failed: no face found: 1" in lines and "skipped: not a regular file: 1" in lines
    rows = {
        row["source"]: row
        for row in csv.DictReader((tmp_path / "out" / "manifest.csv").open(encoding="utf-8", newline=""))
    }
    assert code == 0 and {n for n, r in rows.items() if r["status"] == "masked"} == {
        "good.png",
        "grey.jpg",
        "rgba.png",
        "deep.png",
    }
    reasons = {name: row["reason"] for name, row in rows.items() if row["status"] == "failed"}
    assert set(reasons) == {
        "plain.webp",
        "huge.png",
        "text.jpg",
        "empty.bmp",
        "cut.jpg",
        "dangling.jpg",
        "carriage\r.png",
    }
    assert {name for name, row in rows.items() if row["status"] == "skipped"} == {"loop", "pipe.png"}
    assert call("synthesize", faces, tmp_path / "out", "--workers", "1", "--resume")[0] == 0
    assert "30000x30000" in reasons["huge.png"] and "truncated" in reasons["cut.jpg"]
    assert reasons["plain.webp"] == "no face found" and "empty" in reasons["empty.bmp"]
    grey = read_image(tmp_path / "out" / "grey.jpg")
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])
    assert json.loads(rows["good.png"]["placement"])[0]["asset"] == rows["good.png"]["asset"]
