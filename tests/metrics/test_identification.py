"""Ranks, CMC and open-set rates against loops over the definitions; ties and failures never help."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics import identification
from maskbench.metrics.blocks import Rate, closed_set_block, open_set_block, publish
from maskbench.metrics.identification import closed_set, open_set, score_matrix

from .oracles import draw, slow_open_set, slow_rank

NAN = float("nan")
KINDS = ("float64", "float32", "ties", "gaps", "infinite", "equal", "integers")


def searches(seed: int, count: int, strangers: int = 0):
    """Random searches: several references for some subjects, ties, NaN in the float kinds."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        for kind in KINDS:
            subjects = int(rng.integers(1, 6))
            references = rng.permutation(
                np.concatenate([np.arange(subjects), rng.integers(0, subjects, rng.integers(4))])
            )
            probes = rng.integers(0, subjects + strangers, rng.integers(1, 8))
            scores = draw(rng, kind, len(probes) * len(references)).reshape(len(probes), -1)
            if scores.dtype.kind == "f" and rng.random() < 0.5:
                scores = np.where(rng.random(scores.shape) < 0.3, scores.dtype.type(np.nan), scores)
            names = np.array([f"subject {n}" for n in range(subjects + strangers)])
            yield kind, scores, names[probes], names[references]


def test_ranks_by_hand():
    scores = np.array([[0.9, 0.5, 0.1], [0.5, 0.5, 0.2], [0.1, 0.2, NAN], [NAN, NAN, NAN]])
    found = closed_set(scores, np.array(["a", "b", "c", "a"]), np.array(["a", "b", "c"]))
    assert found.ranks.tolist() == [1, 2, 4, 4]
    assert (found.subjects, found.failed) == (3, 1)
    assert [found.rate(n) for n in (1, 2, 3, 99)] == [0.25, 0.5, 0.5, 0.5]
    assert found.cmc().tolist() == [0.25, 0.5, 0.5]


def test_the_best_reference_of_a_subject_counts_and_takes_one_place():
    scores = np.array([[0.2, 0.8, 0.9, 0.7, 0.6]])
    references = np.array([1, 2, 2, 2, 1])
    assert closed_set(scores, np.array([1]), references).ranks.tolist() == [2]
    assert closed_set(scores, np.array([2]), references).ranks.tolist() == [1]


@pytest.mark.parametrize("block", [1 << 22, 7])
def test_ranks_against_loops(monkeypatch, block):
    monkeypatch.setattr(identification, "BLOCK", block)
    checked = 0
    for kind, scores, probes, references in searches(seed=91, count=60):
        found = closed_set(scores, probes, references)
        ranks = [slow_rank(row, p, references.tolist()) for row, p in zip(scores.tolist(), probes, strict=True)]
        subjects = len(set(references.tolist()))
        assert found.ranks.tolist() == [subjects + 1 if r is None else r for r in ranks], kind
        assert found.failed == sum(np.isnan(row).all() for row in scores.astype(float))
        for n in range(1, subjects + 1):
            share = sum(r is not None and r <= n for r in ranks) / len(ranks)
            assert found.rate(n) == share == found.cmc()[n - 1]
        checked += len(ranks)
    assert checked > 1000


def test_equal_scores_for_all_earn_nothing():
    ids = np.arange(10)
    found = closed_set(np.full((10, 10), 0.5, np.float32), ids, ids)
    assert found.rate(1) == found.rate(9) == 0 and found.rate(10) == 1


@pytest.mark.parametrize("block", [1 << 22, 5])
def test_open_set_against_loops(monkeypatch, block):
    monkeypatch.setattr(identification, "BLOCK", block)
    rng, checked = np.random.default_rng(92), 0
    for kind, scores, probes, references in searches(seed=93, count=60, strangers=3):
        enrolled = np.isin(probes, references)
        done = ~np.isnan(scores.astype(float)).all(axis=1)
        if not enrolled.any() or not (done & ~enrolled).any():
            continue
        target, rank = float(rng.choice([0.05, 0.34, 0.5, 1.0])), int(rng.integers(1, 4))
        found = open_set(scores, probes, references, target, rank)
        assert (found.searches, found.rank) == (int(enrolled.sum()), rank)
        assert found.point.comparisons == int((done & ~enrolled).sum())
        if target < 1 / found.point.comparisons:
            assert found.fnir is None and found.point.flag == "not resolvable"
            continue
        expected = slow_open_set(scores.tolist(), probes.tolist(), references.tolist(), target, rank)
        if expected is None:
            assert found.point.flag == "not reachable" and found.misses is None
            continue
        assert found.misses == expected[0], (kind, scores, probes, references, target, rank)
        assert found.fnir == expected[0] / found.searches
        assert found.point.errors / found.point.comparisons <= target
        checked += 1
    assert checked > 100


def test_a_failed_stranger_does_not_lower_fpir():
    scores = np.array([[0.9, 0.1], [0.8, 0.3], [NAN, NAN], [NAN, NAN]])
    found = open_set(scores, np.array(["a", "x", "y", "b"]), np.array(["a", "b"]), 0.5)
    assert found.point.comparisons == 1, "only one stranger was compared"
    assert (found.misses, found.searches, found.fnir) == (None, 2, None)
    found = open_set(scores, np.array(["a", "x", "y", "b"]), np.array(["a", "b"]), 1.0)
    assert (found.misses, found.searches) == (1, 2), "the failed mated search is a miss"


def test_open_set_rank_one_at_fpir_one_is_the_closed_set():
    rng = np.random.default_rng(94)
    scores, references = rng.normal(size=(60, 20)), np.arange(20)
    probes = np.concatenate([rng.integers(0, 20, 50), np.full(10, 99)])
    scores[np.arange(50), probes[:50]] += 1.5
    closed = closed_set(scores[:50], probes[:50], references)
    assert 0 < closed.rate(1) < 1
    assert open_set(scores, probes, references, 1.0).fnir == pytest.approx(1 - closed.rate(1))


def test_one_reference_for_each_subject():
    with pytest.raises(MaskbenchError, match="subject b has 2 references"):
        closed_set(np.zeros((1, 3)), np.array(["a"]), np.array(["b", "a", "b"]), one_each=True)
    assert closed_set(np.array([[1.0, 0.0]]), np.array(["a"]), np.array(["a", "b"]), one_each=True).rate() == 1


def test_pairs_as_a_matrix():
    references, probes = np.array(["r2", "r1", "r1", "r2"]), np.array(["p", "p", "q", "q"])
    matrix, rows, columns = score_matrix(references, probes, np.array([0.2, 0.1, 0.3, NAN], np.float32))
    assert rows.tolist() == ["p", "q"] and columns.tolist() == ["r1", "r2"]
    assert np.array_equal(matrix, np.array([[0.1, 0.2], [0.3, NAN]], np.float32), equal_nan=True)
    with pytest.raises(MaskbenchError, match="probe q and reference r2 are compared never"):
        score_matrix(references[:3], probes[:3], np.zeros(3))
    with pytest.raises(MaskbenchError, match="probe p and reference r1 are compared 2 times"):
        score_matrix(references[[0, 1, 1, 2, 3]], probes[[0, 1, 1, 2, 3]], np.zeros(5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), ["a"], ["a"]), "a row per probe"),
        ((np.zeros((1, 2)), ["a"], ["a"]), "a row per probe"),
        ((np.zeros((0, 1)), [], ["a"]), "a row per probe"),
        ((np.array([["0.5"]]), ["a"], ["a"]), "dtype"),
        ((np.zeros((1, 1)), ["x"], ["a"]), "subject x has a probe and no reference"),
        ((np.full((1, 1), 2**63, np.uint64), ["a"], ["a"]), "rescale"),
    ],
)
def test_closed_set_refuses(arguments, message):
    with pytest.raises(MaskbenchError, match=message):
        closed_set(*(np.array(part) for part in arguments))


def test_open_set_refuses():
    scores, references = np.array([[0.5, 0.1], [0.2, 0.3]]), np.array(["a", "b"])
    with pytest.raises(MaskbenchError, match="no completed non-mated search"):
        open_set(scores, np.array(["a", "b"]), references, 0.5)
    with pytest.raises(MaskbenchError, match="no mated search"):
        open_set(scores, np.array(["x", "y"]), references, 0.5)
    for fpir in (0, -0.1, 1.5, NAN):
        with pytest.raises(MaskbenchError, match="target FMR"):
            open_set(scores, np.array(["a", "x"]), references, fpir)
    for call in (
        lambda: open_set(scores, references, references, 0.5, 0),
        lambda: closed_set(scores, references, references).rate(0),
    ):
        with pytest.raises(MaskbenchError, match="rank 0"):
            call()


def test_blocks_hold_rates_with_intervals():
    rng = np.random.default_rng(95)
    scores, references = rng.normal(size=(80, 8)), np.arange(8)
    probes = np.concatenate([rng.integers(0, 8, 40), np.full(40, 99)])
    found = closed_set(scores[:40], probes[:40], references)
    tree = closed_set_block(found)
    assert tree["rank1"] == Rate(found.hits(1), 40) and "rank10" not in tree
    tree |= {"fpir1": open_set_block(open_set(scores, probes, references, 0.1), 0.1)}
    tree |= {"fpir2": open_set_block(open_set(scores, probes, references, 0.01), 0.01)}
    intervals, thresholds = {}, {}
    numbers = publish(tree, intervals, thresholds)
    assert numbers["rank5"] == found.rate(5) and len(numbers["cmc"]) == 8
    assert intervals["fpir1.fnir"]["n"] == 40 and thresholds["fpir1"] is not None
    assert numbers["fpir2"]["fnir"] is None and "target FPIR is below 1/40" in numbers["fpir2"]["reason"]


def test_a_complete_table_of_pairs_gives_rank_one_in_the_summary():
    """Every probe against every reference: published beside the verification figures; a sparse table has none."""
    import dataclasses
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from results_fixture import make_embeddings, make_protocol

    from maskbench.metrics.summary import summarise_protocol
    from maskbench.scoring import score_pairs
    from maskbench.types import PairTable

    sparse = make_protocol(subjects=12, folds=3)
    references, probes = ([f"s{k:03d}_{image}" for k in range(12)] for image in (0, 1))
    rows = [(r, p) for p in probes for r in references]
    ids = np.array([f"{r}/{p}" for r, p in rows])
    sides = [np.array(column) for column in zip(*rows, strict=True)]
    plain = np.array(["unmasked"] * len(rows))
    mated = np.array([r[:4] == p[:4] for r, p in rows])
    table = PairTable(ids, *sides, plain, plain, mated, np.zeros(len(rows), int))
    crossed = dataclasses.replace(sparse, pairs=table)
    embeddings = make_embeddings(crossed, 1.5, 1.0)
    scores = score_pairs(crossed, embeddings, "cosine")
    metrics, _, _, intervals = summarise_protocol(crossed, scores, embeddings)
    found = metrics["UMR-UMP"]["identification"]
    matrix = scores.scores.reshape(12, 12)
    ranks = [1 + int((row >= row[k]).sum() - 1) for k, row in enumerate(matrix)]
    assert found["rank1"] == np.mean(np.array(ranks) == 1) and 0 < found["rank1"] < 1
    assert found["cmc"][-1] == 1.0 and found["subjects"] == 12 and found["searches"] == 12
    assert intervals["UMR-UMP"]["identification.rank1"]["n"] == 12
    other = make_embeddings(sparse, 0.5, 1.0)
    assert "identification" not in summarise_protocol(sparse, score_pairs(sparse, other, "cosine"), other)[0]["UMR-UMP"]
