"""Templates of several pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.conditions import pair_subjects
from maskbench.metrics.summary import summarise_protocol
from maskbench.pooling import NO_PICTURE, pool_templates
from maskbench.scoring import score_pairs
from maskbench.types import EmbeddingSet, PairTable, Protocol, Sample, Status

SAMPLES = {name: Sample(name, name[0], f"{name}.png", "") for name in ("a1", "a2", "a3", "b1", "b2", "c1")}
TEMPLATES = {"A": ("a1", "a2"), "B": ("b1", "b2"), "C": ("c1",)}


def protocol(*sides: tuple[str, str, str]) -> Protocol:
    """Pairs of (reference, probe, probe condition)."""
    reference, probe, condition = (np.array(column) for column in zip(*sides, strict=True))
    ids, plain = np.array([f"p{k}" for k in range(len(sides))]), np.array(["unmasked"] * len(sides))
    mated = np.array([r[0].lower() == p[0].lower() for r, p in zip(reference, probe, strict=True)])
    pairs = PairTable(ids, reference, probe, plain, condition, mated, np.zeros(len(sides), int))
    return Protocol("t", 1, SAMPLES, pairs, "UMR-UMP", "d" * 64, templates=TEMPLATES)


def embeddings(conditions=("unmasked", "masked"), failed=()) -> EmbeddingSet:
    """Random vectors of very different lengths; ``failed`` are (sample, condition)."""
    rng = np.random.default_rng(0)
    keys = [(name, condition) for condition in conditions for name in SAMPLES]
    vectors = rng.normal(size=(len(keys), 8)) * rng.uniform(0.1, 50, (len(keys), 1))
    status = np.array([Status.FAILED if key in failed else Status.OK for key in keys], np.int8)
    vectors[status != Status.OK] = np.nan
    ids, names = (np.array(column) for column in zip(*keys, strict=True))
    return EmbeddingSet(ids, names, vectors.astype(np.float32), status, np.full(len(keys), "", object), "r", "s")


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_template_is_the_mean_direction_of_its_pictures():
    known = embeddings()
    pooled = pool_templates(known, protocol(("A", "B", "masked"), ("A", "a3", "unmasked")))
    added = list(zip(pooled.sample_ids[12:], pooled.conditions[12:], strict=True))
    assert added == [("A", "unmasked"), ("B", "masked")], "only what is compared"
    for row, members in ((12, [0, 1]), (13, [9, 10])):
        expected = unit(known.vectors[members].astype(float)).mean(0)
        assert np.allclose(pooled.vectors[row], expected, atol=1e-6) and pooled.status[row] == Status.OK
    assert np.array_equal(pooled.vectors[:12], known.vectors)


def test_pictures_without_a_vector_are_left_out_and_a_template_without_any_fails():
    known = embeddings(failed={("a1", "unmasked"), ("b1", "unmasked"), ("b2", "unmasked")})
    pooled = pool_templates(known, protocol(("A", "B", "unmasked")))
    assert np.allclose(pooled.vectors[12], unit(known.vectors[1]), atol=1e-6)
    assert pooled.status[13] == Status.FAILED and pooled.reasons[13] == NO_PICTURE
    assert np.isnan(pooled.vectors[13]).all()


def test_opposite_pictures_have_no_mean():
    known = embeddings()
    known.vectors[1] = -known.vectors[0]
    assert pool_templates(known, protocol(("A", "B", "unmasked"))).status[12] == Status.FAILED


def test_templates_are_scored_and_counted_as_samples_are():
    made = protocol(
        ("A", "a3", "unmasked"), ("B", "b1", "unmasked"), ("C", "c1", "masked"), ("A", "B", "unmasked"),
        ("B", "C", "unmasked"), ("C", "a3", "unmasked"),
    )  # fmt: skip
    pooled = pool_templates(embeddings(failed={("c1", "unmasked")}), made)
    scores = score_pairs(made, pooled, "cosine")
    assert scores.status.tolist() == [0, 0, 1, 0, 1, 1]
    row = {key: k for k, key in enumerate(zip(pooled.sample_ids, pooled.conditions, strict=True))}
    expected = unit(pooled.vectors[row["A", "unmasked"]].astype(float)) @ unit(
        pooled.vectors[row["a3", "unmasked"]].astype(float)
    )
    assert scores.scores[0] == pytest.approx(expected, abs=1e-6)
    _, counts, _, _ = summarise_protocol(made, scores, pooled)
    assert counts["UMR-UMP"]["reference_samples"] == 3 and counts["UMR-UMP"]["reference_samples_failed"] == 1
    assert pair_subjects(made).tolist() == [[0, 0], [1, 1], [2, 2], [0, 1], [1, 2], [2, 0]]


def test_without_templates_nothing_changes_and_missing_pictures_are_named():
    known, plain = embeddings(), dataclasses.replace(protocol(("a1", "b1", "unmasked")), templates={})
    assert pool_templates(known, plain) is known
    masked = protocol(("A", "B", "masked"))
    only = embeddings(conditions=("unmasked",))
    assert len(pool_templates(only, masked).sample_ids) == 7, "a condition that was not run has no templates"
    broken = dataclasses.replace(only, sample_ids=np.char.replace(only.sample_ids, "a2", "z"))
    with pytest.raises(MaskbenchError, match="template A: no embedding of unmasked sample a2"):
        pool_templates(broken, masked)
