from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from maskbench.cli.main import main
from maskbench.images import read_image, write_image

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = ["--workers", "1", "--landmarks", "aligned", "--no-cache"]


@pytest.fixture
def call(capsys: pytest.CaptureFixture):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def refused(answer: tuple[int, str, str], *parts: str) -> bool:
    """Exit code 2, one line on standard error with every part in it."""
    code, _, error = answer
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1, error
    return all(part in error for part in parts)


@pytest.mark.parametrize("name", ["lfw", "celeba", "ar"])
def test_every_builder_has_help_with_an_example_and_is_documented(name, call):
    code, text, _ = call("dataset", "build", name, "--help")
    assert code == 0 and "SRC OUT" in text and f"maskbench dataset build {name} " in text.split("Example")[1]
    for file in ("cli.md", "datasets.md"):
        assert f"maskbench dataset build {name}" in (REPOSITORY / "docs" / file).read_text(encoding="utf-8")
    assert name in call("dataset", "build", "--help")[1]


def test_lfw_from_the_command_line(crop_folder, tmp_path, call, monkeypatch):
    monkeypatch.delenv("MASKBENCH_DATA", raising=False)
    faces, out = crop_folder(8), tmp_path / "my out"
    (tmp_path / "list.txt").write_text("1\t1\nSubject_000\t1\t2\nSubject_000\t1\tSubject_001\t2\n")
    command = ["dataset", "build", "lfw", faces, out, "--pairs", tmp_path / "list.txt", *QUICK]
    code, text, _ = call(*command)
    assert code == 0 and "8 files = 8 masked + 0 failed + 0 skipped" in text and "LFW has 13,233 of 5,749" in text
    assert "names 3 pictures, 0 of them missing; 5 pictures are in no pair" in text
    assert call("protocol", "check", out / "protocol")[0] == 0
    # The command that is proposed next runs as it is printed, with a model.
    proposed = next(line for line in text.splitlines() if line.startswith("next: maskbench evaluate"))
    assert str(out / "masked") in proposed and str(out / "protocol") in proposed
    evaluate = ["evaluate", "--protocol", out / "protocol", "--faces", faces, "--masked", out / "masked"]
    assert call(*evaluate, "--model", "dummy", "--out", tmp_path / "results")[0] == 0
    assert "(0 done now" in call(*command)[1]
    assert refused(call(*command, "--seed", "1"), "another options.masking.seed (0, now 1)", "dataset.json")
    code, text, _ = call("dataset", "build", "lfw", faces, tmp_path / "few", *command[5:], "--subset", "pairs")
    assert code == 0 and "3 files = 3 masked" in text
    assert refused(call("dataset", "build", "lfw", faces, tmp_path / "o", "--subset", "pairs"), "no pairs.txt")


def test_a_build_that_masks_nothing_is_an_error(tmp_path, call):
    write_image(tmp_path / "lfw" / "Ana" / "Ana_0001.png", np.full((200, 200, 3), 90, np.uint8))
    answer = call("dataset", "build", "lfw", tmp_path / "lfw", tmp_path / "out", *QUICK)
    assert refused(answer, "no picture could be masked", "manifest.csv")
    assert "not an aligned 112x112 crop" in answer[1]
    write_image(tmp_path / "people" / "Ana" / "1.png", np.full((200, 200, 3), 90, np.uint8))
    write_image(tmp_path / "people" / "Ana" / "2.png", np.full((200, 200, 3), 80, np.uint8))
    answer = call("dataset", "build", "ar", tmp_path / "people", tmp_path / "ar", *QUICK)
    assert refused(answer, "no picture could be masked", "ar1/manifest.csv")


def test_celeba_from_the_command_line(tmp_path, call, mannequin):
    root, out = tmp_path / "CelebA", tmp_path / "out"
    crop = np.ascontiguousarray(mannequin[40:476, 80:436])
    for number in range(1, 5):
        write_image(root / "img_align_celeba" / f"{number:06d}.jpg", np.roll(crop, number, axis=1))
    (root / "identity_CelebA.txt").write_text("".join(f"{number:06d}.jpg {number % 2}\n" for number in range(1, 6)))
    command = ["dataset", "build", "celeba", root, out, "--workers", "1", "--recipe", "lfw-masked", "--no-cache"]
    code, text, _ = call(*command)
    assert code == 0 and "4 files = 4 aligned + 0 failed + 0 skipped" in text and "by mediapipe" in text
    assert "identity_CelebA.txt: 5 pictures, 1 of them missing" in text
    assert "split_identity.csv" in text and "0 people in more than one" in text
    with open(out / "split_identity.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            assert (read_image(out / "masked" / row["path"]) != read_image(out / "faces" / row["path"])).any()
    assert refused(call(*command, "--format", "png"), "another options.format")
    answer = call("dataset", "build", "celeba", root, tmp_path / "o", "--pictures", "wild")
    assert refused(answer, "no folder img_celeba")
    (root / "identity_CelebA.txt").write_text("000001.jpg one\n")
    assert refused(call("dataset", "build", "celeba", root, tmp_path / "o"), "identity_CelebA.txt:1: ")


def test_ar_from_the_command_line(crop_folder, tmp_path, call):
    faces, out = crop_folder(8), tmp_path / "out"
    code, text, _ = call("dataset", "build", "ar", faces, out, *QUICK, "--others", "2")
    assert code == 0 and "4 subjects: 4 references (4 first), 4 probes a set" in text
    assert text.count("4 files = 4 masked + 0 failed + 0 skipped") == 2
    assert "pairs 24, mated 8" in call("protocol", "check", out / "protocols" / "ar1")[1]
    code, _, error = call("dataset", "build", "ar", faces, out, "--recipe", "worn")
    assert code == 2 and "--recipe" in error  # the sets have recipes of their own


def test_the_real_ar_database_from_the_command_line(tmp_path, call):
    for code in (1, 2, 8, 11, 14, 21, 24):
        for who in ("m-001", "w-001"):
            write_image(tmp_path / "AR" / f"{who}-{code:02d}.bmp", np.full((20, 20, 3), code * 5, np.uint8))
    before = {path.name: path.read_bytes() for path in (tmp_path / "AR").iterdir()}
    code, text, _ = call("dataset", "build", "ar", tmp_path / "AR", tmp_path / "out")
    assert code == 0 and "known by its file names" in text and "nothing pasted" in text
    assert "2 references, 4 clean probes, 4 with sunglasses (AR1), 4 with a scarf (AR2)" in text
    assert {path.name: path.read_bytes() for path in (tmp_path / "AR").iterdir()} == before
    assert not list((tmp_path / "out").rglob("*.bmp"))
    answer = call("dataset", "build", "lfw", tmp_path / "AR", tmp_path / "o")
    assert refused(answer, "no pictures named Name/Name_0001.jpg")
    (tmp_path / "AR" / "m-001-01.bmp").rename(tmp_path / "AR" / "portrait.bmp")
    assert refused(call("dataset", "build", "ar", tmp_path / "AR", tmp_path / "o"), "never pasted over")


def test_an_interruption_says_how_to_go_on(crop_folder, tmp_path, call, monkeypatch):
    from maskbench.datasets import build

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "synthesize", interrupted)
    code, _, error = call("dataset", "build", "lfw", crop_folder(4), tmp_path / "out", *QUICK)
    assert code == 130 and "the same command continues from there" in error
    monkeypatch.undo()
    assert call("dataset", "build", "lfw", tmp_path / "faces", tmp_path / "out", *QUICK)[0] == 0
