"""The people that ship: pictures, table and protocol agree, and are what the generator makes."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.images import declared_size, decode, encode, read_image
from maskbench.metrics.conditions import condition_labels
from maskbench.people import demo_set as module
from maskbench.people.demo_set import DemoSet, demo_set
from maskbench.people.portraits import Portraits
from maskbench.people.records import COLUMNS, read_points
from maskbench.protocol_build import stranger_pairs
from maskbench.protocols import load_protocol

PEOPLE, PICTURES, PAIRS = 100, 6, 1500


@pytest.fixture(scope="module")
def found() -> DemoSet:
    return demo_set()


@pytest.fixture(scope="module")
def rows(found: DemoSet) -> list[dict[str, str]]:
    with open(found.faces / "people.csv", encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


def test_files_table_and_protocol_agree(found: DemoSet, rows: list[dict[str, str]]):
    table = {row["path"]: row["sha256"] for row in rows}
    assert len(table) == len(rows) == PEOPLE * PICTURES
    files = {path.relative_to(found.faces).as_posix(): path for path in found.faces.rglob("*") if path.is_file()}
    assert set(files) == set(table) | {"people.csv", "landmarks.npz", "LICENSE.txt", "recipe.json"}
    assert {path: file_sha256(files[path]) for path in table} == table
    samples = found.protocol.samples.values()
    assert {sample.path: sample.sha256 for sample in samples} == table
    assert {sample.subject_id for sample in samples} == {f"P{int(row['identity']):05d}" for row in rows}
    assert sum(path.stat().st_size for path in files.values()) <= 8_000_000
    assert {declared_size(files[path].read_bytes()) for path in table} == {(160, 160)}


def test_the_protocol_is_balanced(found: DemoSet):
    pairs, samples = found.protocol.pairs, found.protocol.samples
    labels = condition_labels(pairs)
    kinds = Counter(zip(labels.tolist(), pairs.mated.tolist(), strict=True))
    assert kinds == {(label, mated): PAIRS for label in ("UMR-UMP", "UMR-MP", "MR-MP") for mated in (True, False)}
    folds: dict[str, set[int]] = {}
    for side in (pairs.reference_id, pairs.probe_id):
        for name, fold in zip(side.tolist(), pairs.fold.tolist(), strict=True):
            folds.setdefault(samples[name].subject_id, set()).add(fold)
    assert len(folds) == PEOPLE and all(len(of) == 1 for of in folds.values())
    assert Counter(fold for of in folds.values() for fold in of) == dict.fromkeys(range(1, 11), 10)
    assert stranger_pairs(found.protocol) == 10 * 45
    one = labels == "UMR-MP"
    unordered = {frozenset(pair) for pair in zip(pairs.reference_id[one], pairs.probe_id[one], strict=True)}
    assert len(unordered) == 2 * PAIRS
    probes = Counter(pairs.probe_id[one & pairs.mated].tolist())
    assert len(probes) > 0.9 * PEOPLE * PICTURES  # nearly every picture is masked in some mated pair


def test_the_licence_and_the_recipe(found: DemoSet, rows: list[dict[str, str]]):
    text = (found.faces / "LICENSE.txt").read_text(encoding="utf-8")
    for words in ("CelebA", "UTKFace", "non-commercial research", "show nobody", f"{PEOPLE} people"):
        assert words in text
    recipe = json.loads((found.faces / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["identities"] == sorted({int(row["identity"]) for row in rows})
    assert recipe["model_sha256"] == Portraits().model_digest and recipe["pictures"] == PICTURES
    assert found.protocol.masking == {"recipe": "lfw-masked", "version": 1, "seed": 0}


def test_some_pictures_are_made_again(found: DemoSet, rows: list[dict[str, str]]):
    """To the byte on the processor type that made them; elsewhere nearly so, which is what this checks."""
    recipe = json.loads((found.faces / "recipe.json").read_text(encoding="utf-8"))
    portraits = Portraits(recipe["seed"], recipe["size"])
    points = dict(zip(*read_points(found.faces / "landmarks.npz"), strict=True))
    for row in rows[:: len(rows) // 5]:
        drawn = portraits.portrait(int(row["identity"]), int(row["shot"]))
        again = decode(encode(drawn.image, Path(row["path"]).suffix, int(row["quality"])), row["path"])
        off = np.abs(again.astype(int) - read_image(found.faces / row["path"]))
        assert off.mean() < 0.5 and np.percentile(off, 99) <= 4, row["path"]
        assert drawn.attributes["sex"] == row["sex"] and np.isclose(drawn.attributes["yaw"], float(row["yaw"]))
        assert np.allclose(drawn.landmarks, points[row["path"]], atol=0.02)


def test_a_folder_of_the_same_name_is_not_taken(found: DemoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / module.NAME).mkdir()
    monkeypatch.chdir(tmp_path)
    assert demo_set().protocol.digest == found.protocol.digest
    with pytest.raises(ProtocolError, match="protocol.yaml"):
        load_protocol(module.NAME)
    (tmp_path / module.NAME).rmdir()
    assert load_protocol(module.NAME).digest == found.protocol.digest


def test_an_installation_without_them_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_home", lambda: tmp_path)
    with pytest.raises(MaskbenchError, match="this installation lacks demo-people; install"):
        demo_set()
