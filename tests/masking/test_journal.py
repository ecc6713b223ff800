from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from maskbench import manifest
from maskbench.errors import ManifestError, MaskbenchError
from maskbench.masking.journal import NAME, Journal
from maskbench.masking.synthesis import failed_row
from maskbench.types import ManifestRow


def row(source: str, reason: str = "why", placement: str = "[]") -> ManifestRow:
    return replace(failed_row(source, 7, reason), placement=placement)


def add(journal: Journal, *rows: ManifestRow) -> None:
    for one in rows:
        journal.append(one.source, manifest.row_to_json(one))


def reasons(journal: Journal) -> dict[str, str]:
    return {one.source: one.reason for one in journal.rows()}


def test_rows_come_back_and_the_last_one_counts(tmp_path: Path):
    journal = Journal(tmp_path)
    long = row("c", placement="[" + "1," * 9000 + "1]")
    add(journal, row("a"), row("b\n\udcff", "first"), long, row("b\n\udcff", "last"))
    for opened in (journal, Journal(tmp_path)):
        assert len(opened) == 3 and list(reasons(opened)) == ["a", "b\n\udcff", "c"]
        assert opened.get("b\n\udcff").reason == "last" and opened.get("d") is None
        assert len(opened.get("c").placement) == 18003
        opened.close()


def test_what_is_appended_has_left_the_process(tmp_path: Path):
    journal = Journal(tmp_path)
    for number in range(5):
        add(journal, row(str(number)))
        assert (tmp_path / NAME).read_bytes().count(b"\n") == number + 1


@pytest.mark.parametrize("cut", [b"[", b'["c", "", ', manifest.row_to_json(row("c")).encode(), b"\0\0\0", b"junk\n"])
def test_a_last_line_that_was_cut_short_is_dropped_and_not_continued(tmp_path: Path, cut: bytes):
    add(Journal(tmp_path), row("a"), row("b"))
    with open(tmp_path / NAME, "ab") as stream:
        stream.write(cut)
    journal = Journal(tmp_path)
    assert list(reasons(journal)) == ["a", "b"]
    add(journal, row("c"))
    assert list(reasons(Journal(tmp_path))) == ["a", "b", "c"]


@pytest.mark.parametrize("left", [b"", b"[", b"x" * 4096, b"{}\n" * 9000])
def test_a_file_that_was_changed_meanwhile_is_an_error_and_no_endless_wait(tmp_path: Path, left: bytes):
    journal = Journal(tmp_path)
    add(journal, row("a"), row("b", placement="[" + "1," * 9000 + "1]"))
    (tmp_path / NAME).write_bytes(left)
    with pytest.raises(ManifestError, match=rf"{NAME}: was changed by another program.*--resume"):
        journal.get("b")
    with pytest.raises(ManifestError, match="was changed"):
        list(journal.rows())


def test_damage_before_the_last_line_is_named(tmp_path: Path):
    lines = [manifest.row_to_json(row(name)) for name in "abc"]
    (tmp_path / NAME).write_text("\n".join([lines[0], lines[1][:-5], lines[2], ""]))
    with pytest.raises(ManifestError, match=rf"{NAME}:2: damaged line; delete it"):
        Journal(tmp_path)


def test_a_finished_run_continues_from_its_manifest(tmp_path: Path):
    manifest.write_manifest(tmp_path / manifest.NAME, [row("b\udcff", "old"), row("a")])
    journal = Journal(tmp_path)
    assert reasons(journal) == {"a": "why", "b\udcff": "old"}
    add(journal, row("b\udcff", "new"))
    journal.close()
    assert reasons(Journal(tmp_path))["b\udcff"] == "new"  # the journal, while there is one, knows better
    Journal(tmp_path).remove()
    assert reasons(Journal(tmp_path))["b\udcff"] == "old"
    assert sorted(os.listdir(tmp_path)) == [manifest.NAME, NAME]


def test_a_damaged_manifest_is_named(tmp_path: Path):
    (tmp_path / manifest.NAME).write_text("no,manifest\n")
    with pytest.raises(ManifestError, match=r"manifest\.csv:1"):
        Journal(tmp_path)
    assert os.listdir(tmp_path) == [manifest.NAME]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path):
    """A file size limit stands for it, in a process of its own."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from tests.masking.test_journal import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for number in range(99): add(journal, row(str(number)))\n"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert f"MaskbenchError: {tmp_path / NAME}: cannot be written" in run.stderr and "--resume" in run.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    data = (tmp_path / NAME).read_bytes()
    assert data.endswith(b"\n") and 500 < len(data) <= 1000 and len(Journal(tmp_path)) == data.count(b"\n")


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(MaskbenchError, match="cannot be written"):
        Journal(tmp_path / "absent")
