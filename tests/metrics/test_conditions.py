"""Labels of comparison conditions."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.conditions import LABELS, condition_label, condition_labels
from maskbench.types import PairTable

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
