"""docs/metrics.md explains every key that a result can hold, and names no other block."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from maskbench.metrics import LABELS
from maskbench.metrics.blocks import closed_set_block, open_set_block
from maskbench.metrics.errors import FEW_ERRORS, NOT_REACHABLE, NOT_RESOLVABLE, RULES
from maskbench.metrics.failures import Ftx
from maskbench.metrics.identification import closed_set, open_set
from maskbench.metrics.intervals import METHOD
from maskbench.metrics.summary import summarise
from maskbench.scoring import COMPARATORS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def summary() -> dict:
    """A summary with every block there is."""
    rng = np.random.default_rng(81)
    mated = np.arange(2000) % 2 == 0
    scores = rng.normal(size=2000) + 9 * mated
    status = (rng.random(2000) < 0.1).astype(int)
    roles = {"reference": Ftx(10, 0), "probe": Ftx(10, 1)}
    return summarise(scores, mated, status, np.arange(2000) % 10 + 1, scores[~mated], "UMR-UMP", 4.5, roles)


def keys(tree: dict) -> set[str]:
    return set(tree).union(*(keys(value) for value in tree.values() if isinstance(value, dict)))


def sections(text: str) -> set[str]:
    return {name for line in re.findall(r"^## (.+)$", text, flags=re.MULTILINE) for name in line.split(" and ")}


def test_every_key_is_explained(text):
    found = summary()
    named = set(re.findall(r"`([^`\s]+)`", text)) | {"ftx", "reference", "probe"}
    named |= {part for name in named for part in name.split(".")} | sections(text)
    wanted = keys(found["metrics"]) | set(found["counts"])
    wanted |= {key for path, value in found["intervals"].items() if path != "method" for key in value}
    assert wanted - named == set()
    assert set(found) <= named


def test_identification_is_explained(text):
    ids = np.arange(30)
    scores, probes = np.random.default_rng(82).normal(size=(60, 30)), np.concatenate([ids, ids + 30])
    blocks = [closed_set_block(closed_set(scores[:30], ids, ids))]
    blocks += [open_set_block(open_set(scores, probes, ids, target), target) for target in (0.1, 0.001)]
    section = text.split("\n## Identification")[1].split("\n## ")[0]
    named = set(re.findall(r"`([^`\s]+)`", section)) | {"rule", "threshold", "flag", "reason"}
    assert set().union(*blocks) - named == set()


def test_every_block_has_its_section(text):
    assert set(summary()["metrics"]) - {"ftx"} <= sections(text)


def test_rules_flags_conditions_and_comparators_are_named(text):
    for name in (*RULES, *LABELS, *COMPARATORS, FEW_ERRORS, NOT_RESOLVABLE, NOT_REACHABLE, METHOD):
        assert f"`{name}`" in text, name


def test_a_section_fits_one_screen(text):
    for section in text.split("\n## ")[1:]:
        assert len(section.splitlines()) <= 50, section.splitlines()[0]
