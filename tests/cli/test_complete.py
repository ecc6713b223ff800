"""maskbench complete: completed faces to look at, a row for every input, resuming, mask sources, sheets."""

from __future__ import annotations

import os
import shutil
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from completion_weights import write_completion

from maskbench.align import align_face, estimate_similarity, template_at
from maskbench.cli.main import main
from maskbench.completing_folder import COLUMNS, CompletedRow
from maskbench.completions.base import load_completion
from maskbench.digest import file_sha256
from maskbench.files import cache_root
from maskbench.images import read_image, write_image
from maskbench.landmarks.batch import find_five_points
from maskbench.mask_sources import grown, warp_mask
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.segmenting import read_rows
from maskbench.tables import read_columns

WIDE = template_at("wide128", (128, 128))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["complete", *map(str, arguments), "--workers", "1"])
    return int(ended.value.code or 0)


def rows_of(out: Path) -> dict[str, CompletedRow]:
    return {row.source: row for row in read_rows(out / "completed.csv", CompletedRow, "")}


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> tuple[Path, Path]:
    """Four pictures of two people who do not exist, and their masked copies with alpha."""
    root = tmp_path_factory.mktemp("people")
    shipped = Path(str(files("maskbench.data"))) / "demo-people"
    for person in sorted(path for path in shipped.iterdir() if path.is_dir())[:2]:
        (root / "faces" / person.name).mkdir(parents=True)
        for picture in sorted(person.glob("*.jpg"))[:2]:
            shutil.copy(picture, root / "faces" / person.name)
    config = SynthesisConfig(mask="surgical", save_alpha=True)
    synthesize(root / "faces", root / "masked", config, 1, cache=cache_root())
    return root / "faces", root / "masked"


@pytest.fixture
def photographs(people, tmp_path) -> Path:
    """Two masked faces, a bare one, and what is none of these."""
    root = tmp_path / "photographs"
    first, second = sorted(people[1].glob("P*/*.jpg"))[:2]
    (root / "one").mkdir(parents=True)
    shutil.copy(first, root / "one" / "masked.jpg")
    shutil.copy(second, root / "other.jpg")
    shutil.copy(next(people[0].glob("P*/*.jpg")), root / "bare.jpg")
    write_image(root / "nobody.png", np.full((200, 200, 3), 128, np.uint8))
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("a note")
    os.symlink(root / "gone.jpg", root / "link.jpg")
    return root


def crop_of(path: Path) -> np.ndarray:
    points = find_five_points([path], "auto", 1, cache_root())[path]
    return align_face(read_image(path), points, WIDE)


def test_every_input_has_a_row_and_known_pixels_stay(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photographs, out, "--method", "telea") == 0
    rows = rows_of(out)
    names, _ = read_columns(out / "completed.csv")
    assert tuple(names) == COLUMNS
    assert list(rows) == [
        "bare.jpg", "broken.jpg", "empty.png", "link.jpg", "nobody.png", "notes.txt", "one/masked.jpg", "other.jpg",
    ]  # fmt: skip
    status = {name: row.status for name, row in rows.items()}
    assert {name for name, what in status.items() if what == "completed"} == {"bare.jpg", "one/masked.jpg", "other.jpg"}
    assert status["notes.txt"] == "skipped" and rows["nobody.png"].reason == "no face found"
    assert {status[name] for name in ("broken.jpg", "empty.png", "link.jpg")} == {"failed"}
    assert all(row.reason and "/" not in row.reason for row in rows.values() if row.status == "failed")
    assert "8 inputs = 3 completed + 4 failed + 1 skipped" in capsys.readouterr().out
    row = rows["one/masked.jpg"]
    face, before = read_image(out / "one" / "masked.png"), crop_of(photographs / "one" / "masked.jpg")
    assert face.shape == (128, 128, 3) and row.output == "one/masked.png"
    assert file_sha256(out / row.output) == row.output_sha256 and len(row.digest) == 64
    assert file_sha256(photographs / row.source) == row.source_sha256
    changed = (face != before).any(axis=2)
    assert 0.1 < changed.mean() <= float(row.covered_fraction) + 1e-4 < 0.5
    assert float(rows["bare.jpg"].covered_fraction) < 0.02
    assert (read_image(out / "bare.png") == crop_of(photographs / "bare.jpg")).mean() > 0.97


def test_a_network_of_ones_own_with_mask_files(people, tmp_path):
    """The very pixels that the completion gives for the aligned face and its mask."""
    faces, masked = people
    weights = write_completion(tmp_path / "nets", "ga", size=64, name="mine")
    given = ["--method", f"torch:{weights}", "--mask-source", "file", "--mask-files", masked / "_alpha"]
    out = tmp_path / "out"
    assert run(masked, out, *given, "--device", "cpu") == 0
    rows = {name: row for name, row in rows_of(out).items() if row.status == "completed"}
    assert len(rows) == 4 and {len(row.mask) for row in rows.values()} == {64}
    completion, template = load_completion(f"torch:{weights}", "cpu"), template_at("wide128", (64, 64))
    for name, row in rows.items():
        points = find_five_points([masked / name], "auto", 1, cache_root())[masked / name]
        face = align_face(read_image(masked / name), points, template)
        alpha = (read_image(masked / "_alpha" / f"{name}.png")[..., 0] >= 128).astype(np.uint8)
        matrix = estimate_similarity(points, template.points)
        mask = grown(warp_mask(alpha, matrix, template.size, cv2.BORDER_REPLICATE), 1)
        assert np.array_equal(read_image(out / row.output), completion.complete(face[None], mask[None])[0])
        assert float(row.covered_fraction) == pytest.approx(mask.mean(), abs=1e-4)
    assert run(masked, tmp_path / "two", *given, "--engine", "torch") == 0
    two = rows_of(tmp_path / "two")
    assert {row.digest for row in rows.values()} != {two[name].digest for name in rows}


def test_the_number_of_workers_changes_no_byte(people, tmp_path):
    weights = write_completion(tmp_path / "nets", "ga", size=64)
    tables = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        with pytest.raises(SystemExit) as ended:
            given = ["--method", f"torch:{weights}", "--workers", workers, "--no-cache"]
            main(["complete", str(people[1]), str(out), *given])
        assert not ended.value.code
        tables.append((out / "completed.csv").read_bytes())
    assert tables[0] == tables[1]


def test_a_mask_file_for_every_picture_or_a_row_that_says_so(people, tmp_path):
    _, masked = people
    drawn = tmp_path / "drawn"
    shutil.copytree(masked / "_alpha", drawn)
    gone = next(drawn.rglob("*.png"))
    gone.unlink()
    name = str(gone.relative_to(drawn)).removesuffix(".png")
    out, given = tmp_path / "out", ["--method", "telea", "--mask-source", "file", "--mask-files", drawn]
    assert run(masked, out, *given) == 0
    rows = rows_of(out)
    assert (rows[name].status, rows[name].reason) == ("failed", "no mask: no mask file")
    # A mask that was drawn since, and one that was changed, are seen when the run goes on.
    other = next(path for path in sorted(rows) if rows[path].status == "completed")
    before = {path: (out / row.output).stat().st_mtime_ns for path, row in rows.items() if row.output}
    shutil.copy(masked / "_alpha" / f"{name}.png", gone)
    write_image(drawn / f"{other}.png", np.zeros_like(read_image(drawn / f"{other}.png")))
    assert run(masked, out, *given, "--resume") == 0
    after = rows_of(out)
    assert after[name].status == "completed" and after[other].covered_fraction == "0.0000"
    same = [path for path in before if path != other]
    assert [(out / after[path].output).stat().st_mtime_ns for path in same] == [before[path] for path in same]


def test_the_oracle_draws_masks_again_on_the_originals(people, tmp_path, capsys):
    faces, masked = people
    given = ["--method", "telea", "--mask-source", "oracle"]
    assert run(masked, tmp_path / "out", *given) == 2
    assert "give them (--originals)" in capsys.readouterr().err
    copy = tmp_path / "originals"
    shutil.copytree(faces, copy)
    changed = next(copy.rglob("*.jpg"))
    write_image(changed, read_image(changed)[::-1])
    assert run(masked, tmp_path / "out", *given, "--originals", copy) == 0
    rows = rows_of(tmp_path / "out")
    name = str(changed.relative_to(copy))
    assert "to draw its mask again from" in rows[name].reason
    done = [row for row in rows.values() if row.status == "completed"]
    assert len(done) == 3 and all(0.1 < float(row.covered_fraction) < 0.5 and row.mask for row in done)
    assert run(faces, tmp_path / "bare", *given, "--originals", faces) == 2
    assert "not written by maskbench synthesize" in capsys.readouterr().err


# ---------------------------------------------------------------- again


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.rglob("*.png")}


def test_resuming_keeps_what_is_whole_and_true(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photographs, out, "--method", "telea") == 0
    before, table = times(out), (out / "completed.csv").read_bytes()
    assert run(photographs, out, "--method", "telea", "--resume") == 0
    assert times(out) == before and (out / "completed.csv").read_bytes() == table
    capsys.readouterr()
    (out / "bare.png").write_bytes(b"cut short")
    (out / "one" / "masked.png").unlink()
    shutil.copy(photographs / "one" / "masked.jpg", photographs / "other.jpg")
    shutil.copy(photographs / "bare.jpg", photographs / "new.jpg")
    assert run(photographs, out, "--method", "telea", "--resume") == 0
    rows = rows_of(out)
    assert sum(row.status == "completed" for row in rows.values()) == 4
    assert rows["other.jpg"].output_sha256 == rows["one/masked.jpg"].output_sha256
    assert all(file_sha256(out / row.output) == row.output_sha256 for row in rows.values() if row.output)
    assert run(photographs, out, "--method", "telea", "--refresh") == 0
    assert all(times(out)[name] > when for name, when in before.items())


def test_a_run_with_other_settings_is_refused(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photographs, out, "--method", "telea") == 0
    for extra, words in (
        (["--method", "telea"], "is not empty; use --resume"),
        (["--method", "navier-stokes", "--resume"], "the run to resume has another completion"),
        (["--method", "telea", "--mask-dilate", "5", "--refresh"], "has another mask_dilate"),
        (["--method", "telea", "--faces", "central", "--resume"], "has another faces"),
    ):
        capsys.readouterr()
        assert run(photographs, out, *extra) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1


def test_completions_that_are_fitted(people, tmp_path, capsys):
    faces, masked = people
    out = tmp_path / "out"
    assert run(masked, out, "--method", "mean-face") == 2
    assert "--fit-on" in capsys.readouterr().err
    assert run(masked, out, "--method", "mean-face", "--fit-on", masked) == 2
    assert "nothing may be fitted on what it is tested on" in capsys.readouterr().err
    assert run(masked, out, "--method", "mean-face", "--fit-on", faces) == 0
    first = {row.digest for row in rows_of(out).values() if row.digest}
    capsys.readouterr()
    assert run(masked, out, "--method", "mean-face", "--fit-on", faces, "--fit-limit", 2, "--resume") == 2
    assert "has another fit_limit" in capsys.readouterr().err
    next(faces.rglob("*.jpg")).touch()  # the same bytes
    assert run(masked, out, "--method", "mean-face", "--fit-on", faces, "--resume") == 0
    assert {row.digest for row in rows_of(out).values() if row.digest} == first and len(first) == 1


def test_bad_input_is_one_line(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "nothing").mkdir()
    for given, words in (
        ((photographs, out, "--method", "teela"), 'did you mean "telea"'),
        ((photographs, out, "--method", "idgan"), "has no weights"),
        ((photographs, out, "--method", "torch:gone.safetensors"), "gone.safetensors: cannot be read"),
        ((tmp_path / "gone", out, "--method", "telea"), "gone"),
        ((tmp_path / "nothing", out, "--method", "telea"), "no images found"),
        ((photographs, photographs / "out", "--method", "telea"), "choose a folder apart"),
        ((photographs, out, "--method", "telea", "--mask-source", "file"), "--mask-files FOLDER belong together"),
        ((photographs, out, "--method", "telea", "--mask-source", "magic"), "no mask source"),
        ((photographs, out, "--method", "telea", "--originals", tmp_path / "gone"), "no such folder"),
        ((photographs, out, "--method", "telea", "--sheet", out / "sheet.png"), "no place for a sheet"),
        ((photographs, out, "--method", "telea", "--sheet", tmp_path / "sheet.txt"), "no place for a sheet"),
    ):
        assert run(*given) == 2, given
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1 and said.startswith("error: ")
        assert not (out / "completed.csv").exists()
    (tmp_path / "blank").mkdir()
    write_image(tmp_path / "blank" / "a.png", np.full((200, 200, 3), 128, np.uint8))
    assert run(tmp_path / "blank", out, "--method", "telea") == 2
    assert "no face could be completed" in capsys.readouterr().err
    assert rows_of(out)["a.png"].reason == "no face found"


# ---------------------------------------------------------------- sheets


def test_a_sheet_shows_before_mask_after_and_original(people, tmp_path, capsys):
    faces, masked = people
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    given = ["--method", "telea", "--mask-source", "file", "--mask-files", masked / "_alpha", "--sheet", sheet]
    assert run(masked, out, *given, "--originals", faces) == 0
    assert f"sheet: {sheet}" in capsys.readouterr().out
    page = read_image(sheet)
    side, gap = 144, 12
    assert page.shape[1] == 2 * (4 * side + 2 * gap)
    name = sorted(path for path in rows_of(out) if path.endswith(".jpg"))[0]
    top = next(y for y in range(page.shape[0]) if (page[y, gap : gap + side] != 255).all(axis=1).all())
    tiles = [page[top : top + side, gap + k * side : gap + (k + 1) * side] for k in range(4)]

    def near(shown: np.ndarray, picture: np.ndarray) -> bool:
        return bool((shown == cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)).all())

    points = find_five_points([masked / name], "auto", 1, cache_root())[masked / name]
    assert near(tiles[0], crop_of(masked / name)) and near(tiles[2], read_image(out / rows_of(out)[name].output))
    assert near(tiles[3], align_face(read_image(faces / name), points, WIDE))
    red = (tiles[1].astype(int) - tiles[0]).reshape(-1, 3)
    assert (red[:, 0] > 40).mean() > 0.1 and (tiles[1] == tiles[0]).all(axis=2).mean() > 0.5
    # Words on top and under each face, and nothing else in the margins.
    assert (page[:top] < 100).any() and (page[top + side : top + side + 20, : 4 * side] < 100).any()
    assert (page[:, :gap] == 255).all()


def test_a_sheet_holds_so_many_and_goes_on_on_another(people, tmp_path, monkeypatch):
    from maskbench import completing_sheets

    _, masked = people
    monkeypatch.setattr(completing_sheets, "SHEET", 2)
    given = [masked, tmp_path / "out", "--method", "telea", "--sheet", tmp_path / "s.jpg"]
    assert run(*given, "--sheet-faces", 3) == 0
    assert sorted(path.name for path in tmp_path.glob("s*.jpg")) == ["s-2.jpg", "s.jpg"]
    two, one = (read_image(tmp_path / name) for name in ("s.jpg", "s-2.jpg"))
    assert two.shape[1] == 2 * one.shape[1] == 2 * (3 * 144 + 24)
    (tmp_path / "s-2.jpg").unlink()
    assert run(*given, "--sheet-faces", 1, "--resume") == 0
    assert not (tmp_path / "s-2.jpg").exists() and read_image(tmp_path / "s.jpg").shape == one.shape


def test_originals_that_are_not_there_leave_their_place_white(people, tmp_path):
    _, masked = people
    (tmp_path / "none").mkdir()
    given = ["--method", "telea", "--sheet", tmp_path / "s.png", "--sheet-faces", 1, "--originals", tmp_path / "none"]
    assert run(masked, tmp_path / "out", *given) == 0
    page = read_image(tmp_path / "s.png")
    assert page.shape[1] == 4 * 144 + 24 and (page[30:150, -150:] == 255).all()
