"""The set that ships is built the same way every time, and the committed one is of the committed recipe."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import build_demo
import numpy as np
import pytest

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.metrics.conditions import condition_labels
from maskbench.people.config import picture_path
from maskbench.people.demo_set import demo_set
from maskbench.people.records import ATTRIBUTES, PictureRow, read_people
from maskbench.protocols import load_protocol

RECIPE = {"seed": 2, "size": 64, "pictures": 3, "identities": [9, 4, 30, 11]}


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


def rows(people: int, pictures: int) -> list[PictureRow]:
    values = dict.fromkeys(ATTRIBUTES, "x") | {"sex": "female", "age": "37", "skin_ita": "30.0"}
    points = np.zeros((468, 3), np.float32)
    return [
        PictureRow(picture_path(number, shot), f"{number * 100 + shot:064x}", tuple(values.values()), points)
        for number in range(people)
        for shot in range(1, pictures + 1)
    ]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "demo.json").write_text(json.dumps(RECIPE))
    return tmp_path / "demo.json"


def test_two_builds_are_the_same_and_replace_what_was_there(recipe: Path, tmp_path: Path):
    size = build_demo.build(recipe, tmp_path / "a")
    assert size == sum(path.stat().st_size for path in (tmp_path / "a" / "maskbench").rglob("*.*"))
    recipe.write_text(json.dumps({**RECIPE, "seed": 3}))
    build_demo.build(recipe, tmp_path / "b")
    assert tree(tmp_path / "b") != tree(tmp_path / "a")
    recipe.write_text(json.dumps({**RECIPE, "quality": None, "format": "jpg"}))
    build_demo.build(recipe, tmp_path / "b", workers=2)
    assert tree(tmp_path / "b") == tree(tmp_path / "a")
    assert [path.name for path in (tmp_path / "b" / "maskbench" / "data").iterdir()] == ["demo-people"]


def test_the_protocol_is_of_the_pictures(recipe: Path, tmp_path: Path):
    build_demo.build(recipe, tmp_path)
    protocol = load_protocol(tmp_path / "protocols" / "demo-people")
    faces = tmp_path / "maskbench" / "data" / "demo-people"
    assert {sample.subject_id for sample in protocol.samples.values()} == {"P00004", "P00009", "P00011", "P00030"}
    assert all(file_sha256(faces / sample.path) == sample.sha256 for sample in protocol.samples.values())
    assert {row.path for row in read_people(faces)} == {sample.path for sample in protocol.samples.values()}


def test_other_pictures_than_were_judged_are_refused(recipe: Path, tmp_path: Path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**json.loads(recipe.read_text()), "judged_sha256": "0" * 64}))
    with pytest.raises(MaskbenchError, match="not the pictures that were judged"):
        build_demo.build(other, tmp_path)
    assert not (tmp_path / "maskbench" / "data" / "demo-people").exists()


def test_comparisons_are_all_mated_pairs_and_as_many_strangers():
    protocol = build_demo.make_demo_protocol(rows(20, 4), 0)
    pairs = protocol.pairs
    first = condition_labels(pairs) == "UMR-UMP"
    assert first.sum() == len(pairs) / 3 and set(pairs.fold.tolist()) == {1, 2}
    mated = {
        frozenset(pair)
        for pair in zip(pairs.reference_id[first & pairs.mated], pairs.probe_id[first & pairs.mated], strict=True)
    }
    expected = {
        frozenset((f"P{n:05d}_{a:04d}", f"P{n:05d}_{b:04d}"))
        for n in range(20)
        for a, b in combinations(range(1, 5), 2)
    }
    assert mated == expected
    others = first & ~pairs.mated
    assert others.sum() == len(expected)
    couples = Counter(
        frozenset((one[:6], other[:6]))
        for one, other in zip(pairs.reference_id[others], pairs.probe_id[others], strict=True)
    )
    assert len(couples) == 2 * 45 and set(couples.values()) <= {1, 2}  # 60 of 45 couples in either fold
    assert {sample.attributes["age_group"] for sample in protocol.samples.values()} == {"30-39"}
    assert build_demo.make_demo_protocol(rows(20, 4), 0).digest == protocol.digest
    assert build_demo.make_demo_protocol(rows(20, 4), 1).digest != protocol.digest


def test_few_people_meet_as_often_as_they_can():
    protocol = build_demo.make_demo_protocol(rows(2, 4), 0)
    assert protocol.pairs.mated.sum() == 3 * 12 and (~protocol.pairs.mated).sum() == 3 * 12
    protocol = build_demo.make_demo_protocol(rows(2, 2), 0)
    assert (~protocol.pairs.mated).sum() == 3 * 2


@pytest.mark.parametrize(("ita", "name"), [
    (60, "very light"), (55, "light"), (30, "intermediate"), (28, "tan"), (0, "brown"), (-30, "dark"), (-70, "dark"),
])  # fmt: skip
def test_skin_tones_are_the_classes_of_chardon(ita: float, name: str):
    assert build_demo.skin_tone(ita) == name


@pytest.mark.parametrize("found", [[], {"seed": 0}, {**RECIPE, "qualty": 3}])
def test_a_malformed_recipe_is_named(found, tmp_path: Path):
    (tmp_path / "demo.json").write_text(json.dumps(found))
    with pytest.raises(MaskbenchError, match="demo.json: the keys must be identities, seed, size and"):
        build_demo.build(tmp_path / "demo.json", tmp_path)


def test_a_set_that_is_too_large_replaces_nothing(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    build_demo.build(recipe, tmp_path / "out")
    before = tree(tmp_path / "out")
    monkeypatch.setattr(build_demo, "MOST_BYTES", 10_000)
    recipe.write_text(json.dumps({**RECIPE, "seed": 3}))
    with pytest.raises(MaskbenchError, match="lower its quality"):
        build_demo.build(recipe, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_the_committed_set_is_of_the_committed_recipe():
    config = build_demo.read_recipe(build_demo.HERE / "demo.json")
    found = demo_set()
    paths = {picture_path(*shot, config.format) for shot in config.shots()}
    assert {sample.path for sample in found.protocol.samples.values()} == paths
    told = json.loads((found.faces / build_demo.RECIPE).read_text())
    assert told["identities"] == sorted(config.identities) and told["seed"] == config.seed
    assert [told[key] for key in ("size", "format", "quality")] == [config.size, config.format, config.quality]
    again = build_demo.make_demo_protocol(list(_rows_of(found.faces)), config.seed)
    assert again.digest == found.protocol.digest


def _rows_of(faces: Path):
    """The shipped table as rows; the landmarks do not ship."""
    from maskbench.tables import read_columns

    _, columns = read_columns(faces / "people.csv")
    for path, sha256, *cells in zip(*columns, strict=True):
        yield PictureRow(path, sha256, tuple(cells), np.zeros((468, 3), np.float32))
