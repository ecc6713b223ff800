"""The document of the format says what the code does: its example runs, its keys and columns are those of the code."""

import re
from pathlib import Path

import pytest
import yaml

from maskbench import protocols
from maskbench.protocol_tables import PAIR_COLUMNS, SAMPLE_COLUMNS
from maskbench.protocols import load_protocol, protocol_counts

TEXT = (Path(__file__).parents[1] / "docs" / "protocols.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def faces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for person in ("ana", "bo", "cem"):
        (tmp_path / "faces" / person).mkdir(parents=True)
        for kind in ("badge", "door"):
            (tmp_path / "faces" / person / f"{person}_{kind}.png").write_bytes(f"{person} {kind}".encode())
    return tmp_path


def test_the_examples_run(faces):
    drawn, own = blocks("python")
    exec(drawn, {})
    assert load_protocol(faces / "office").name == "office-15"  # 3 mated, 12 non-mated: all that there are
    exec(own, {})
    protocol = load_protocol(faces / "badges")
    assert protocol_counts(protocol) == {
        "samples": 6, "subjects": 3, "pairs": 9, "mated": 3, "non_mated": 6, "folds": 0,
    }  # fmt: skip


def test_the_header_is_complete():
    (text,) = blocks("yaml")
    assert list(yaml.safe_load(text)) == [
        "format_version", "name", "version", "description", "licence", "source", "threshold_from", "conditions",
        "counts",
    ]  # fmt: skip
    table = re.findall(r"^\| (`.*?) \| (yes|no) \|", TEXT, re.MULTILINE)
    documented = {key: needed == "yes" for keys, needed in table for key in re.findall(r"`(\w+)`", keys)}
    assert set(documented) == set(protocols.HEADER_KEYS)
    assert {key for key, needed in documented.items() if needed} == set(protocols.REQUIRED_KEYS)


@pytest.mark.parametrize(("heading", "columns"), [("samples.csv", SAMPLE_COLUMNS), ("pairs.csv", PAIR_COLUMNS)])
def test_every_column_is_explained_in_its_order(heading, columns):
    section = TEXT.partition(f"### {heading}\n")[2].partition("\n#")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    assert tuple(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == columns
