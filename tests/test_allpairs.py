"""Every figure of ``compare_all`` is the one that all scores, in one array, give."""

from __future__ import annotations

import numpy as np
import pytest
from reference.allpairs import differences, expected, reduced

import maskbench.allpairs as allpairs
from maskbench.allpairs import MIB, Options, Templates, compare_all
from maskbench.allpairs_passes import CpuEngine
from maskbench.errors import MaskbenchError
from maskbench.metrics.summary import summarise

COMPARATORS = ("cosine", "negative-l2")


def quantised(rng: np.random.Generator, count: int, subjects: int, spread: float, failures: float = 0.1) -> Templates:
    """Templates of 16 numbers +1 or -1: every product is exact in any order, and scores are tied by the dozen."""
    base = rng.choice([-1.0, 1.0], (subjects, 16))
    ids = rng.integers(0, subjects, count)
    vectors = np.where(rng.random((count, 16)) < spread, -base[ids], base[ids]).astype(np.float32)
    return Templates(vectors, ids, None, (rng.random(count) < failures).astype(np.int8))


def continuous(seed: int, count: int, subjects: int, noise: float) -> Templates:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, subjects, count)
    vectors = rng.standard_normal((subjects, 40))[ids] + noise * rng.standard_normal((count, 40))
    return Templates(vectors.astype(np.float32), ids)


def random_options(rng: np.random.Generator) -> Options:
    return Options(
        threads=int(rng.integers(1, 4)), bins=int(rng.choice([2, 7, 64, 1 << 16])),
        kept=int(rng.choice([80, 120, 10**6])), tile=(int(rng.integers(1, 20)), int(rng.integers(1, 30))),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("comparator", COMPARATORS)
def test_one_set_with_heavy_ties(seed: int, comparator: str) -> None:
    rng = np.random.default_rng(seed)
    templates = quantised(rng, int(rng.integers(2, 40)), int(rng.integers(1, 9)), rng.choice([0.05, 0.2, 0.5]))
    threshold = (None, 0.25, 0.3, -9.0, np.inf, -np.inf)[seed % 6]
    got = compare_all(templates, None, comparator, threshold, random_options(rng))
    assert not differences(reduced(got), expected(templates, None, comparator, threshold))
    failed = int(templates.status.sum())
    assert got["counts"]["reference_samples_failed"] == got["counts"]["probe_samples_failed"] == failed
    assert got["metrics"]["ftx"]["probe"] == failed / len(templates.vectors)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("comparator", COMPARATORS)
def test_two_sets_with_heavy_ties(seed: int, comparator: str) -> None:
    rng = np.random.default_rng(1000 + seed)
    subjects = int(rng.integers(1, 9))
    both = [quantised(rng, int(rng.integers(1, 30)), subjects, 0.2) for _ in range(2)]
    if seed % 2:  # some samples are in both sets, as originals and masked copies are
        shared = min(len(part.vectors) for part in both) // 2
        ids = [np.arange(len(part.vectors)) + 100 * (1 + k) for k, part in enumerate(both)]
        for k in range(shared):
            ids[0][k] = ids[1][k] = k
        both[1].subject_ids[:shared] = both[0].subject_ids[:shared]
        both = [Templates(p.vectors, p.subject_ids, i, p.status) for p, i in zip(both, ids, strict=True)]
        if shared == len(both[0].vectors) * len(both[1].vectors):
            return
    got = compare_all(*both, comparator, 0.5, random_options(rng))
    assert not differences(reduced(got), expected(*both, comparator, 0.5))
    assert got["counts"]["same_sample"] == (shared if seed % 2 else 0)
    assert got["counts"]["reference_samples"] == len(both[0].vectors)
    assert got["counts"]["probe_samples_failed"] == int(both[1].status.sum())


def _all_scores(pairing: allpairs.Pairing) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of one set's scores as one block of the engine, and which entries are comparisons."""
    size = len(pairing.left)
    engine = CpuEngine(pairing, 1, (size, size), 0)
    matrix = engine._product((0, size, 0, size), engine._buffer())[:size, :size]
    return matrix, np.triu(np.ones(matrix.shape, bool), 1)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("comparator", COMPARATORS)
@pytest.mark.parametrize("tile", [(128, 128), (200, 333), (512, 1024)])
def test_scores_that_round(noise: float, comparator: str, tile: tuple[int, int], monkeypatch) -> None:
    """Few bins and a small tail: figures in the middle need further passes, and the block size changes nothing."""
    templates = continuous(3, 400, 60, noise)
    passes = _counted_passes(monkeypatch)
    monkeypatch.setattr(allpairs, "TAIL", 1e-4)
    monkeypatch.setattr(allpairs, "wanted_shares", lambda eer: [])
    got = compare_all(templates, None, comparator, 0.1, Options(bins=1 << 10, kept=6000, tile=tile, threads=2))
    pairing = allpairs.pair_up(templates, None, comparator)
    matrix, take = _all_scores(pairing)
    subjects = np.asarray(templates.subject_ids)[pairing.left.rows]
    mated = subjects[:, None] == subjects[None]
    want = summarise(matrix[take], mated[take], np.zeros(take.sum(), np.int8), threshold=0.1)
    assert not differences(reduced(got), reduced(want))
    assert passes[0] >= 2


def _counted_passes(monkeypatch) -> list[int]:
    count, scan = [0], CpuEngine.scan

    def counted(self, grid, label):
        count[0] += 1
        return scan(self, grid, label)

    monkeypatch.setattr(CpuEngine, "scan", counted)
    return count


def test_one_pass_is_enough_when_memory_allows(monkeypatch) -> None:
    passes = _counted_passes(monkeypatch)
    compare_all(continuous(4, 1500, 200, 1.5), options=Options(kept=400_000))
    assert passes == [1]


def test_scores_of_comparison_in_float64_are_near() -> None:
    """The difference from ``scoring.compare``: float32 rounding, no more."""
    from maskbench.scoring import compare

    templates = continuous(5, 150, 20, 1.0)
    for comparator, bound in (("cosine", 3e-7), ("negative-l2", 2e-5)):
        pairing = allpairs.pair_up(templates, None, comparator)
        matrix, take = _all_scores(pairing)
        rows = pairing.left.rows
        first, second = np.nonzero(take)
        want = compare(templates.vectors[rows[first]], templates.vectors[rows[second]], comparator)
        assert np.abs(matrix[take] - want).max() <= bound


def test_one_subject_has_mated_comparisons_only() -> None:
    got = compare_all(Templates(np.eye(5, dtype=np.float32), np.zeros(5, int)))
    assert got["metrics"]["reason"] == "no completed non-mated comparison"
    assert got["counts"]["mated_completed"] == 10 and got["counts"]["non_mated"] == 0


def test_every_template_failed() -> None:
    got = compare_all(Templates(np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), status=np.ones(4, int)))
    assert got["metrics"]["fmr100"]["fnmr_including_failures"] == 1.0
    assert got["metrics"]["ftx"] == {"reference": 1.0, "probe": 1.0}
    assert got["counts"]["mated_failed"] == 2 and got["counts"]["non_mated_failed"] == 4


def test_vectors_without_direction_fail_but_are_templates() -> None:
    """As in ``score_pairs``: a score that is not finite is a failed comparison, and no failure to extract."""
    vectors = np.array([[1, 0], [1, 1], [0, 0], [np.nan, 1], [0, 1], [np.inf, 0]], np.float32)
    templates = Templates(vectors, np.array(list("aababb")))
    for comparator in COMPARATORS:
        got = compare_all(templates, None, comparator)
        assert not differences(reduced(got), expected(templates, None, comparator))
        assert got["metrics"]["ftx"]["reference"] == 0


def test_subjects_may_be_text_or_numbers() -> None:
    rng = np.random.default_rng(8)
    numbers, text = (quantised(rng, 20, 4, 0.2) for _ in range(2))
    text = Templates(text.vectors, text.subject_ids.astype(str), None, text.status)
    assert not differences(reduced(compare_all(numbers, text)), expected(numbers, text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.zeros((3, 2), int)}, "give .N, D. floats"),
        ({"vectors": np.zeros((0, 2), np.float32)}, "at least one row"),
        ({"subject_ids": np.arange(2)}, "3 vectors and subject_ids of shape"),
        ({"sample_ids": np.array(["a", "b", "a"])}, "sample a occurs twice"),
        ({"status": np.array([0, 2, 0])}, "status must be 0"),
    ],
)
def test_malformed_templates(change: dict, message: str) -> None:
    good = {"vectors": np.eye(3, 2, dtype=np.float32), "subject_ids": np.arange(3)}
    with pytest.raises(MaskbenchError, match=message) as error:
        compare_all(Templates(**(good | change), name="faces.npz"))
    assert str(error.value).startswith("faces.npz: ") and "\n" not in str(error.value)


def test_one_sample_of_two_subjects_is_refused() -> None:
    a = Templates(np.eye(2, dtype=np.float32), np.array(["x", "y"]), np.array(["1", "2"]))
    b = Templates(np.eye(2, dtype=np.float32), np.array(["y", "y"]), np.array(["1", "3"]), name="probes")
    with pytest.raises(MaskbenchError, match="sample 1: of one subject in references, of another in probes"):
        compare_all(a, b)


def test_other_refusals() -> None:
    two = Templates(np.eye(2, dtype=np.float32), np.arange(2))
    for arguments, message in [
        ((two, Templates(np.eye(3, dtype=np.float32), np.arange(3))), "templates of 2 and 3 numbers"),
        ((two, None, "euclid"), 'no comparator named "euclid"'),
        ((two, None, "cosine", float("nan")), "the threshold is NaN"),
        ((Templates(np.eye(1, dtype=np.float32), np.arange(1)),), "nothing to compare"),
        ((Templates(np.eye(2, dtype=np.float32) * 1e19, np.arange(2)), None, "negative-l2"), "overflow float32"),
    ]:
        with pytest.raises(MaskbenchError, match=message):
            compare_all(*arguments)


def test_too_little_memory_is_said_with_what_is_needed() -> None:
    templates = continuous(1, 300, 50, 1.0)
    with pytest.raises(MaskbenchError, match=r"300 x 300 templates .* need \d+ MiB; raise --memory .now 1 MiB."):
        compare_all(templates, options=Options(memory=MIB))
    with pytest.raises(MaskbenchError, match="too many different scores share a bin"):
        compare_all(templates, options=Options(bins=2, kept=100))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads: int) -> None:
    templates = continuous(6, 700, 90, 2.0)
    one = compare_all(templates, options=Options(threads=1, kept=20000))
    assert compare_all(templates, options=Options(threads=threads, kept=20000))["thresholds"] == one["thresholds"]
