from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from maskbench import manifest
from maskbench.digest import bytes_sha256
from maskbench.errors import ManifestError
from maskbench.masking.synthesis import failed_row
from maskbench.types import ManifestRow


def rows() -> list[ManifestRow]:
    masked = ManifestRow(
        "b, c/ü.x.jpg",
        "a" * 64,
        "b, c/ü.x.jpg",
        "b" * 64,
        "masked",
        "",
        "n95",
        "mesh",
        1,
        0.43219,
        0.12,
        7,
        '[{"a":"\\"q\\""}]',
    )
    return [masked, failed_row("a\udcff.png", 7, "no face found"), failed_row("z.txt", 7, "not an image", "skipped")]


def test_round_trip_sorted_and_independent_of_order(tmp_path: Path):
    path = tmp_path / "manifest.csv"
    digest = manifest.write_manifest(path, rows())
    assert manifest.write_manifest(tmp_path / "again.csv", reversed(rows())) == digest
    back = manifest.read_manifest(path)
    assert [row.source for row in back] == ["a\udcff.png", "b, c/ü.x.jpg", "z.txt"]
    assert back[1].covered_fraction == 0.4322 and math.isnan(back[0].covered_fraction)
    assert back[1].placement == rows()[0].placement and b"a\xff.png" in path.read_bytes()
    assert manifest.counts(back) == {"masked": 1, "failed": 1, "skipped": 1}


def test_journal_lines_round_trip_and_cut_ones_do_not():
    for row in rows():
        back = manifest.row_from_json(manifest.row_to_json(row))
        assert repr(back) == repr(row)  # NaN and all
    for wrong in (manifest.row_to_json(rows()[0])[:-9], "{}", "[]", "7", ""):
        with pytest.raises(ValueError):
            manifest.row_from_json(wrong)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source,", "sauce,", r"manifest\.csv:1: not the columns"),
        (",masked,", ",unmasked,", r"manifest\.csv:3: status 'unmasked'"),
        (",0.4322,", ",much,", r"manifest\.csv:3: could not convert"),
        ("z.txt", "a\udcff.png", "appears twice"),
        ("z.txt", "../z.txt", "not a relative path inside"),
        ("z.txt,", "z.txt,,", r"manifest\.csv:4: 14 columns, expected 13"),
    ],
)
def test_a_malformed_manifest_names_file_and_line(tmp_path: Path, old: str, new: str, message: str):
    path = tmp_path / "manifest.csv"
    manifest.write_manifest(path, rows())
    encoded = path.read_bytes().replace(
        old.encode("utf-8", "surrogateescape"), new.encode("utf-8", "surrogateescape"), 1
    )
    path.write_bytes(encoded)
    with pytest.raises(Exception, match=message):
        manifest.read_manifest(path)


def test_names_with_line_ends_and_quotes_come_back(tmp_path: Path):
    names = ["a\rb.png", "c\nd.png", 'e"f.png', "g,h.png"]
    manifest.write_manifest(tmp_path / "manifest.csv", [failed_row(name, 0, "why\r\n") for name in names])
    back = manifest.read_manifest(tmp_path / "manifest.csv")
    assert [row.source for row in back] == sorted(names) and {row.reason for row in back} == {"why\r\n"}


def test_an_endless_field_is_an_error_with_its_line(tmp_path: Path):
    path = tmp_path / "manifest.csv"
    manifest.write_manifest(path, rows())
    path.write_bytes(path.read_bytes() + b'"' + b"x" * 2**23)
    with pytest.raises(ManifestError, match=r"manifest\.csv:\d+: field larger"):
        manifest.read_manifest(path)


def test_a_missing_manifest(tmp_path: Path):
    with pytest.raises(ManifestError, match="run maskbench synthesize"):
        manifest.read_manifest(tmp_path / "manifest.csv")


def test_sorted_rows_are_written_one_by_one_with_the_same_bytes(tmp_path: Path):
    pulled = []

    def lazily():
        for row in sorted(rows(), key=lambda row: row.source):
            pulled.append(row.source)
            yield row

    manifest.write_manifest(tmp_path / "whole.csv", rows())
    whole = (tmp_path / "whole.csv").read_bytes()
    assert manifest.write_sorted(tmp_path / "a.csv", lazily()) == bytes_sha256(whole)
    assert (tmp_path / "a.csv").read_bytes() == whole and len(pulled) == 3
    back = manifest.iterate(tmp_path / "a.csv")
    assert next(back).source == pulled[0] and [row.source for row in back] == pulled[1:]


def test_a_failure_while_writing_leaves_the_old_manifest(tmp_path: Path):
    path = tmp_path / "manifest.csv"
    digest = manifest.write_manifest(path, rows())

    def failing():
        yield rows()[0]
        raise ManifestError("one is missing")

    with pytest.raises(ManifestError, match="one is missing"):
        manifest.write_sorted(path, failing())
    assert bytes_sha256(path.read_bytes()) == digest and list(tmp_path.iterdir()) == [path]


def test_both_fractions_have_four_decimals_or_nothing(tmp_path: Path):
    manifest.write_manifest(tmp_path / "m.csv", rows())
    header, first, second, _ = (tmp_path / "m.csv").read_bytes().decode("utf-8", "surrogateescape").splitlines()
    assert header.split(",")[9:12] == ["covered_fraction", "crop_fraction", "seed"]
    assert first.split(",")[9:12] == ["", "", "7"] and ",1,0.4322,0.1200,7," in second


def test_lone_surrogates_that_stand_for_no_byte_are_spelled_out(tmp_path: Path):
    reason = "half \ud83d, \udc7f, \udd00, \udfff of a pair"
    manifest.write_manifest(tmp_path / "m.csv", [replace(rows()[0], source="\udcff\udc80 é", reason=reason)])
    (back,) = manifest.read_manifest(tmp_path / "m.csv")
    assert back.source == "\udcff\udc80 é"
    assert back.reason == "half \\ud83d, \\udc7f, \\udd00, \\udfff of a pair"


def test_placements_of_hundreds_of_faces_can_be_read_again(tmp_path: Path):
    row = replace(rows()[0], placement="[" + "1.25," * 200_000 + "1]")
    manifest.write_manifest(tmp_path / "manifest.csv", [row])
    assert manifest.read_manifest(tmp_path / "manifest.csv")[0].placement == row.placement
