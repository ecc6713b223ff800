"""maskbench segment: masks in the pictures' own coordinates, a row for every input, bad files, resuming."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from maskbench import segmenting
from maskbench.cli.main import main
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.images import read_image, write_image
from maskbench.masking.apply import apply_mask
from maskbench.segmenting import COLUMNS, SegmentRow, output_names, read_table, segment_folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["segment", *map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def dressed(mannequin):
    """A mannequin with a mask, and the mask's alpha."""
    return apply_mask(mannequin, "surgical", seed=1)


@pytest.fixture
def photographs(tmp_path: Path, dressed, mannequin) -> Path:
    """A masked face, the same turned on its side in a wide picture, a bare one, and what is none of these."""
    root = tmp_path / "photographs"
    write_image(root / "one" / "masked.png", dressed.image)
    wide = np.full((600, 900, 3), 90, np.uint8)
    wide[40:552, 300:812] = dressed.image
    write_image(root / "wide.png", wide)
    write_image(root / "bare.jpg", mannequin)
    write_image(root / "nobody.png", np.full((200, 200, 3), 128, np.uint8))
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("a note")
    os.symlink(root / "gone.jpg", root / "link.jpg")
    return root


def mask_of(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_every_input_has_a_row_and_masks_have_their_pictures_size(photographs, tmp_path, dressed, capsys):
    out = tmp_path / "out"
    assert run(photographs, out, "--workers", 1, "--no-cache") == 0
    rows = {row.source: row for row in read_table(out / "segments.csv")}
    assert sorted(rows) == [
        "bare.jpg", "broken.jpg", "empty.png", "link.jpg", "nobody.png", "notes.txt", "one/masked.png", "wide.png",
    ]  # fmt: skip
    status = {name: row.status for name, row in rows.items()}
    assert [status[name] for name in ("one/masked.png", "wide.png", "bare.jpg")] == ["segmented"] * 3
    assert {status[name] for name in ("broken.jpg", "empty.png", "link.jpg", "nobody.png")} == {"failed"}
    assert status["notes.txt"] == "skipped" and rows["nobody.png"].reason == "no face found"
    assert "8 inputs = 3 segmented + 4 failed + 1 skipped" in capsys.readouterr().out
    mask = mask_of(out / "one" / "masked.png")
    assert mask.shape == (512, 512) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    truth = dressed.alpha >= 128
    assert ((mask > 0) & truth).sum() / ((mask > 0) | truth).sum() > 0.75
    assert file_sha256(out / "one" / "masked.png") == rows["one/masked.png"].output_sha256
    assert float(rows["one/masked.png"].picture_fraction) == pytest.approx((mask > 0).mean(), abs=1e-4)


def test_the_mask_moves_with_the_face(photographs, tmp_path):
    out = tmp_path / "out"
    assert run(photographs, out, "--workers", 1) == 0
    near, far = mask_of(out / "one" / "masked.png"), mask_of(out / "wide.png")
    assert far.shape == (600, 900)
    part = far[40:552, 300:812]
    assert ((near > 0) & (part > 0)).sum() / ((near > 0) | (part > 0)).sum() > 0.9
    assert (far > 0).sum() == (part > 0).sum()


def test_workers_change_no_byte(photographs, tmp_path):
    for count in (1, 2):
        assert run(photographs, tmp_path / f"out{count}", "--workers", count) == 0
    first, second = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "out1", tmp_path / "out2")
    )
    assert first == second and len(first) == 5


def test_a_run_is_resumed_and_only_what_is_missing_or_changed_is_done(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photographs, out, "--workers", 1) == 0
    before = (out / "segments.csv").read_bytes()
    assert run(photographs, out) == 2 and "--resume" in capsys.readouterr().err
    (out / "wide.png").unlink()
    (out / "bare.png").write_bytes(b"changed")
    done = segment_folder(photographs, out, resume=True)
    assert done.new == 2 + 4  # failed ones are tried again
    assert (out / "segments.csv").read_bytes() == before
    assert run(photographs, out, "--resume", "--faces", "all") == 2
    assert "another faces" in capsys.readouterr().err


def test_an_interrupted_run_keeps_what_it_has(photographs, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []

    def stop_after_three(setup, arguments, items, workers):
        work = setup(*arguments)
        for item in items:
            if len(seen) == 3:
                raise KeyboardInterrupt
            seen.append(item[0])
            yield item, work(item)

    monkeypatch.setattr(segmenting, "map_items", stop_after_three)
    assert run(photographs, out) == 130
    monkeypatch.undo()
    assert not (out / "segments.csv").exists()
    done = segment_folder(photographs, out, resume=True)
    assert done.new == 7 - 1  # of the three, one was segmented and the others had failed
    left = sorted(path.name for path in out.iterdir())
    assert left == ["bare.png", "one", "segment.json", "segments.csv", "wide.png"]


def test_a_crashed_worker_costs_one_row(photographs, tmp_path, monkeypatch):
    def crash(setup, arguments, items, workers):
        work = setup(*arguments)
        yield from ((item, None if item[0] == "wide.png" else work(item)) for item in items)

    monkeypatch.setattr(segmenting, "map_items", crash)
    done = segment_folder(photographs, tmp_path / "out")
    assert done.counts["segmented"] == 2
    row = next(row for row in read_table(done.table) if row.source == "wide.png")
    assert (row.status, row.reason) == ("failed", segmenting.CRASHED)


def test_names_are_replaced_unless_that_would_be_unclear():
    assert output_names(["a/x.jpg", "b.c.webp"]) == {"a/x.jpg": "a/x.png", "b.c.webp": "b.c.png"}
    assert output_names(["x.jpg", "x.png"]) == {"x.jpg": "x.jpg.png", "x.png": "x.png.png"}
    assert output_names(["x.jpg", "x.jpg.png"]) == {"x.jpg": "x.jpg.png", "x.jpg.png": "x.jpg.png.png"}
    many = [f"{stem}{suffix}" for stem in ("x", "x.jpg", "y") for suffix in (".jpg", ".png", ".bmp")]
    names = output_names(many)
    assert len(set(names.values())) == len(many)
    for path in many:  # a reader who tries PATH.png first, then the replaced name, finds the picture's own
        tried = (f"{path}.png", str(Path(path).with_suffix(".png")))
        assert next(name for name in tried if name in names.values()) == names[path]


def test_a_sheet_shows_pictures_beside_their_masks(photographs, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert run(photographs, tmp_path / "out", "--sheet", sheet) == 0
    shown = read_image(sheet)
    assert shown.shape == (160, 6 * 320, 3)
    left, right = shown[:, 320:480].astype(int), shown[:, 480:640].astype(int)  # bare.jpg, then one/masked.png
    assert (right - left)[..., 0].max() > 60 and (np.abs(right - left).sum(2) > 0).mean() < 0.5


def test_wrong_requests_are_one_line(photographs, tmp_path, capsys):
    empty, file = tmp_path / "nothing", tmp_path / "file"
    empty.mkdir()
    file.write_text("x")
    for arguments, told in (
        ((empty, tmp_path / "out"), "no images found"),
        ((tmp_path / "absent", tmp_path / "out"), "not a folder"),
        ((photographs, file), "file: cannot be used (File exists); choose a folder"),
        ((file, tmp_path / "out"), "file: not a folder"),
        ((photographs, photographs / "masks"), "choose a folder apart"),
        ((photographs, tmp_path), "choose a folder apart"),
        ((photographs, tmp_path / "out", "--sheet", photographs / "sheet.png"), "no place for a sheet"),
        ((photographs, tmp_path / "out", "--sheet", tmp_path / "sheet.txt"), "no place for a sheet"),
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert told in error and len(error.strip().splitlines()) == 1
    assert file.read_text() == "x" and not (tmp_path / "out").exists()


def test_nothing_segmented_is_an_error_that_names_the_table(tmp_path, capsys):
    write_image(tmp_path / "in" / "flat.png", np.full((150, 150, 3), 90, np.uint8))
    assert run(tmp_path / "in", tmp_path / "out") == 2
    assert "segments.csv says why" in capsys.readouterr().err
    assert [row.status for row in read_table(tmp_path / "out" / "segments.csv")] == ["failed"]


def test_all_faces_or_the_largest(tmp_path, dressed, mannequin):
    both = np.full((512, 1024, 3), 120, np.uint8)
    both[:, :512] = dressed.image
    both[100:484, 620:1004] = cv2.resize(dressed.image, (384, 384), interpolation=cv2.INTER_AREA)
    write_image(tmp_path / "in" / "two.png", both)
    found = {}
    for policy in ("largest", "all"):
        assert run(tmp_path / "in", tmp_path / policy, "--faces", policy) == 0
        found[policy] = mask_of(tmp_path / policy / "two.png") > 0
        row = read_table(tmp_path / policy / "segments.csv")[0]
        assert row.faces == ("1" if policy == "largest" else "2")
    assert not found["largest"][:, 620:].any() and found["all"][:, 620:].any()
    np.testing.assert_array_equal(found["all"][:, :512], found["largest"][:, :512])


def test_aligned_crops_need_no_detector(crop_folder, tmp_path):
    out = tmp_path / "out"
    faces = crop_folder(4)
    assert run(faces, out, "--landmarks", "aligned", "--workers", 1) == 0
    rows = read_table(out / "segments.csv")
    assert [row.status for row in rows] == ["segmented"] * 4
    assert all(mask_of(out / row.output).shape == (112, 112) for row in rows)


def test_a_damaged_table_is_named(tmp_path):
    path = tmp_path / "segments.csv"
    path.write_text("source,status\na,b\n")
    with pytest.raises(MaskbenchError, match="segments.csv:1: not the columns"):
        read_table(path)
    path.write_text(",".join(COLUMNS) + "\n")
    assert read_table(path) == []


def test_rows_have_plain_text_only():
    assert json.loads(segmenting._line(SegmentRow("a.jpg", reason="no face found")))["status"] == "failed"


def test_the_masks_are_what_evaluate_reads_as_files(photographs, tmp_path):
    """``--mask-source file`` looks for PATH.png and for PATH with .png in place of its extension."""
    out = tmp_path / "out"
    assert run(photographs, out) == 0
    for row in read_table(out / "segments.csv"):
        if row.status == "segmented":
            assert row.output in (f"{row.source}.png", str(Path(row.source).with_suffix(".png")))
            drawn, picture = read_image(out / row.output), read_image(photographs / row.source)
            assert drawn.shape == picture.shape
