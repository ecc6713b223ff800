"""Labels of comparison conditions."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.conditions import LABELS, condition_label, condition_labels, pair_subjects
from maskbench.types import PairTable, Protocol, Sample

SIDES = {
    "UMR-UMP": ("unmasked", "unmasked"),
    "UMR-MP": ("unmasked", "masked"),
    "MR-UMP": ("masked", "unmasked"),
    "MR-MP": ("masked", "masked"),
}


def pairs(sides: list[tuple[str, str]], dtype: type = str) -> PairTable:
    count = len(sides)
    text = np.array([f"p{i}" for i in range(count)])
    reference, probe = (np.array([side[i] for side in sides], dtype=dtype) for i in (0, 1))
    return PairTable(text, text, text, reference, probe, np.ones(count, bool), np.zeros(count, int))


@pytest.mark.parametrize(("label", "sides"), SIDES.items())
def test_labels(label, sides):
    assert condition_label(*sides) == label
    assert label in LABELS


def test_order_of_tables():
    assert LABELS == ("UMR-UMP", "UMR-MP", "MR-UMP", "MR-MP")


@pytest.mark.parametrize("dtype", [str, object])
def test_a_column_of_labels(dtype):
    wanted = [*SIDES, "UMR-MP", "UMR-UMP"]
    found = condition_labels(pairs([SIDES[label] for label in wanted], dtype))
    assert found.tolist() == wanted
    assert condition_labels(pairs([], dtype)).tolist() == []


def test_unknown_condition_suggests():
    with pytest.raises(MaskbenchError, match='did you mean "masked"'):
        condition_label("unmasked", "maskd")
    with pytest.raises(MaskbenchError, match='no condition named "sunglasses"'):
        condition_labels(pairs([("unmasked", "masked"), ("unmasked", "sunglasses")]))


def test_the_persons_on_both_sides_are_numbered():
    samples = {name: Sample(name, who, f"{name}.png", "") for name, who in (("x", "zoe"), ("y", "amy"), ("z", "zoe"))}
    sides = ("unmasked", "masked")
    table = pairs([sides] * 3)
    ids = np.array(["x", "y", "x"]), np.array(["z", "x", "y"])
    table = PairTable(table.pair_id, *ids, *(np.array([side] * 3) for side in sides), table.mated, table.fold)
    found = pair_subjects(Protocol("p", 1, samples, table, "UMR-MP", ""))
    assert found.dtype == np.int32 and found.tolist() == [[1, 1], [0, 1], [1, 0]]
    assert pair_subjects(Protocol("p", 1, samples, pairs([]), "UMR-MP", "")).shape == (0, 2)
