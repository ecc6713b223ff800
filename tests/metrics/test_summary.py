"""The summary of a condition and of a protocol, recomputed pair by pair from the definitions."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskbench.errors import MaskbenchError
from maskbench.metrics.blocks import Rate, operating_points, sorted_condition
from maskbench.metrics.failures import failure_counts
from maskbench.metrics.intervals import METHOD, wilson
from maskbench.metrics.summary import summarise, summarise_protocol
from maskbench.scoring import score_pairs
from maskbench.types import EmbeddingSet, PairTable, Protocol, Status

from .oracles import matched, slow_auc, slow_closest, slow_dcf, slow_eer, slow_strict, slow_zero_fmr

OK, FAILED, NOT_RUN = int(Status.OK), int(Status.FAILED), int(Status.NOT_RUN)


def condition(seed: int = 71, size: int = 4000, failing: float = 0.05, shift: float = 2.0) -> tuple:
    """Scores, labels, status and ten folds, as of one condition; failed scores are NaN."""
    rng = np.random.default_rng(seed)
    mated = np.arange(size) % 2 == 0
    scores = (rng.normal(size=size) + shift * mated).round(2).astype(np.float32)
    status = np.where(rng.random(size) < failing, FAILED, OK).astype(np.int8)
    return np.where(status == OK, scores, np.float32(np.nan)), mated, status, np.arange(size) // (size // 10) + 1


def completed(scores: np.ndarray, mated: np.ndarray, status: np.ndarray) -> tuple[list, list]:
    done = status == OK
    return scores[done & mated].tolist(), scores[done & ~mated].tolist()


def test_figures_against_definitions():
    scores, mated, status, fold = condition(size=600)
    found = summarise(scores, mated, status, fold)
    metrics, counts = found["metrics"], found["counts"]
    mates, others = completed(scores, mated, status)
    lost = int((mated & (status == FAILED)).sum())
    assert lost > 0
    false_matches, misses = slow_strict(mates, others, 0.01)
    assert metrics["fmr100"]["fmr_measured"] == false_matches / len(others)
    assert metrics["fmr100"]["fnmr"] == misses / len(mates)
    assert metrics["fmr100"]["fnmr_including_failures"] == (misses + lost) / 300
    assert metrics["fmr100"]["flag"] == "fewer than 30 errors"
    assert metrics["fmr100"]["rule"] == "strict" and metrics["fmr100"]["target"] == 0.01
    value, low, high = slow_eer(mates, others)
    assert [metrics["eer"][key] for key in ("value", "low", "high")] == [float(value), float(low), float(high)]
    assert metrics["auc"] == float(slow_auc(mates, others))
    assert counts == {
        "mated": 300,
        "mated_completed": len(mates),
        "mated_failed": lost,
        "non_mated": 300,
        "non_mated_completed": len(others),
        "non_mated_failed": 300 - len(others),
    }


def test_operating_points_and_separation():
    scores, mated, status, fold = condition(shift=3.0)
    found = summarise(scores, mated, status, fold)
    metrics, intervals = found["metrics"], found["intervals"]
    mates, others = completed(scores, mated, status)
    lost = int((mated & (status == FAILED)).sum())
    for name, target in (("fmr10", 0.1), ("fmr100", 0.01), ("fmr1000", 0.001)):
        false_matches, misses = slow_strict(mates, others, target)
        assert metrics[name]["fmr_measured"] == false_matches / len(others)
        assert metrics[name]["fnmr"] == misses / len(mates)
    assert metrics["fmr10000"]["flag"] == metrics["tar_at_far"]["1e-06"]["flag"] == "not resolvable"
    for name, target in (("0.01", 0.01), ("0.001", 0.001)):
        block, hits = metrics["tar_at_far"][name], len(mates) - slow_strict(mates, others, target)[1]
        assert (block["target"], block["rule"], block["tar"]) == (target, "strict", hits / len(mates))
        assert block["tar_including_failures"] == hits / (len(mates) + lost)
        assert intervals[f"tar_at_far.{name}.tar"]["count"] == hits
        assert found["thresholds"][f"tar_at_far.{name}"] == block["threshold"]
    assert set(metrics["tar_at_far"]) == {"0.01", "0.001", "0.0001", "1e-05", "1e-06"}
    zero = metrics["zero_fmr"]
    misses = slow_zero_fmr(mates, others)
    assert (zero["fmr_measured"], zero["fnmr"]) == (0, misses / len(mates))
    assert zero["fnmr_including_failures"] == (misses + lost) / (len(mates) + lost)
    assert intervals["zero_fmr.fmr_measured"]["rule_of_three"] == 3 / len(others)
    separation = metrics["separation"]
    assert separation["g_mean"] == pytest.approx(np.mean(mates)) and separation["i_std"] == pytest.approx(
        np.std(others)
    )
    assert separation["d_prime"] ** 2 == pytest.approx(2 * separation["fdr"])
    cost = metrics["min_dcf"]
    assert (cost["prior"], cost["cost_miss"], cost["cost_false_match"]) == (0.01, 1, 1)
    assert cost["value"] == float(slow_dcf(mates, others, "0.01", "1", "1"))


def test_the_closest_rule_is_an_option():
    scores, mated, status, _ = condition(size=600)
    parts = sorted_condition(scores, mated, status, failure_counts(mated, status))
    mates, others = completed(scores, mated, status)
    tree = operating_points(parts, parts.non_mated, "UMR-UMP", None, rule="closest")
    errors, _ = slow_closest(mates, others, 0.01)
    assert tree["fmr100"]["rule"] == tree["transferred"]["fmr100"]["rule"] == "closest"
    assert tree["fmr100"]["fmr_measured"] == tree["transferred"]["fmr100"]["fmr"] == Rate(errors, len(others))
    assert tree["tar_at_far"]["0.01"]["rule"] == "strict"


def test_memory_and_imports_stay_small():
    code = """
import sys, tracemalloc
import numpy as np
import maskbench.metrics, maskbench.metrics.summary
assert not {"numba", "scipy", "sklearn", "torch", "pandas"} & set(sys.modules), "loaded by the import alone"
rng = np.random.default_rng(76)
size = 1_000_000
mated = rng.random(size) < 0.5
scores = rng.normal(size=size).astype(np.float32) + 2 * mated.astype(np.float32)
status = (rng.random(size) < 0.1).astype(np.int8)
summarise = maskbench.metrics.summary.summarise
summarise(scores, mated, status)  # loads and compiles
tracemalloc.start()
summarise(scores, mated, status)
print(tracemalloc.get_traced_memory()[1] / size)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 12, "bytes a score: 120 MiB for ten million, the sorted copy of 4 included"


def test_compiled_and_plain_ways_agree(monkeypatch):
    scores, mated, status, _ = condition(shift=1.0)
    backwards = scores[::-1], mated[::-1], status[::-1]
    integers = (np.nan_to_num(scores) * 100).astype(np.int64)
    for case in (backwards, *((values, mated, status) for values in (scores, scores.astype(np.float64), integers))):
        plain = summarise(*case)
        monkeypatch.setattr("maskbench.metrics.errors.LARGE", 0)
        monkeypatch.setattr("maskbench.metrics.curves.LARGE", 0)
        assert summarise(*case) == plain
        monkeypatch.undo()


def test_accuracy_blocks():
    scores, mated, status, fold = condition()
    metrics = summarise(scores, mated, status, fold)["metrics"]
    folds, best = metrics["accuracy_10fold"], metrics["accuracy_best_threshold"]
    assert folds["folds"] == len(folds["per_fold"]) == len(folds["thresholds"]) == 10
    per_fold, with_failures = [], []
    for number, threshold in enumerate(folds["thresholds"], start=1):
        held = (fold == number) & (status == OK)
        right = int(((scores[held] >= np.float32(threshold)) == mated[held]).sum())
        per_fold.append(right / held.sum())
        with_failures.append(right / (fold == number).sum())
    assert folds["per_fold"] == per_fold
    assert folds["mean"] == pytest.approx(np.mean(per_fold)) and folds["std"] == pytest.approx(np.std(per_fold))
    assert folds["mean_including_failures"] == pytest.approx(np.mean(with_failures))
    assert folds["pooled"] >= folds["pooled_including_failures"]
    mates, others = completed(scores, mated, status)
    t = best["threshold"]
    right = matched(mates, t) + len(others) - matched(others, t)
    assert best["accuracy"] == right / (len(mates) + len(others)) >= folds["pooled"]
    assert best["accuracy_including_failures"] == right / len(scores)
    assert best["fmr"] == matched(others, t) / len(others)
    assert best["fnmr"] == (len(mates) - matched(mates, t)) / len(mates)
    assert best["note"].startswith("optimistic")


def test_transferred_thresholds_are_fixed_elsewhere():
    scores, mated, status, fold = condition(shift=1.0)
    source = np.random.default_rng(72).normal(-0.5, 1, 5000).astype(np.float32)
    found = summarise(scores, mated, status, fold, source, "UMR-UMP")
    block = found["metrics"]["transferred"]
    assert block["from"] == "UMR-UMP"
    mates, others = completed(scores, mated, status)
    for name, target in (("fmr100", 0.01), ("fmr1000", 0.001)):
        t = block[name]["threshold"]
        assert matched(source.tolist(), t) / len(source) <= target
        assert t == np.nextafter(np.sort(source)[-1 - int(target * 5000)], np.float32(np.inf))
        assert block[name]["fmr"] == matched(others, t) / len(others) > target, "these scores drifted upwards"
        assert block[name]["fnmr"] == (len(mates) - matched(mates, t)) / len(mates)
        assert block[name]["fnmr_including_failures"] > block[name]["fnmr"]
        assert found["thresholds"][f"transferred.{name}"] == t
    assert block["fmr1000"]["flag"] == "fewer than 30 errors"


def test_without_a_source_nothing_is_transferred():
    for source in (None, np.array([], np.float32)):
        block = summarise(*condition(), source, "UMR-UMP")["metrics"]["transferred"]
        assert set(block) == {"from", "reason"}


def test_a_source_too_small_for_the_target():
    block = summarise(*condition(), np.arange(500.0), "UMR-UMP")["metrics"]["transferred"]
    assert block["fmr100"]["threshold"] is not None
    assert block["fmr1000"]["flag"] == "not resolvable"
    assert [block["fmr1000"][key] for key in ("fmr", "fnmr", "fnmr_including_failures", "threshold")] == [None] * 4


def test_a_threshold_from_elsewhere():
    scores, mated, status, fold = condition()
    found = summarise(scores, mated, status, fold, threshold=0.75)
    mates, others = completed(scores, mated, status)
    assert found["metrics"]["at_threshold"]["fmr"] == matched(others, 0.75) / len(others)
    assert found["metrics"]["at_threshold"]["fnmr"] == (len(mates) - matched(mates, 0.75)) / len(mates)
    assert found["thresholds"]["at_threshold"] == 0.75
    assert "at_threshold" not in summarise(scores, mated, status, fold)["metrics"]
    assert summarise(scores, mated, status, fold, threshold=0)["metrics"]["at_threshold"]["threshold"] == 0


def test_an_unresolvable_target_is_never_zero():
    metrics = summarise(*condition(size=400))["metrics"]
    block = metrics["fmr1000"]
    assert block["flag"] == "not resolvable" and "below 1/" in block["reason"]
    assert [block[key] for key in ("fmr_measured", "fnmr", "fnmr_including_failures", "threshold")] == [None] * 4


def leaves(tree: dict, path: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def test_every_rate_has_its_interval():
    found = summarise(*condition(), np.random.default_rng(73).normal(size=4000), "UMR-UMP", threshold=1.0)
    intervals = dict(found["intervals"])
    assert intervals.pop("method") == METHOD
    values = dict(leaves(found["metrics"]))
    ends = ("fmr", "fnmr", "fmr_measured", "fnmr_including_failures", "accuracy", "pooled", "pooled_including_failures")
    assert {path for path, value in values.items() if value is not None and path.split(".")[-1] in ends} <= set(
        intervals
    )
    for path, interval in intervals.items():
        assert values[path] == interval["count"] / interval["n"]
        assert (interval["low"], interval["high"]) == wilson(interval["count"], interval["n"])
        assert ("rule_of_three" in interval) == (interval["count"] == 0)


def test_zero_observed_errors_come_with_their_bound():
    scores = np.array([1.0] * 100 + [0.0] * 100)
    found = summarise(scores, scores > 0.5, np.zeros(200, int))
    assert found["metrics"]["fmr100"]["fnmr"] == 0
    assert found["intervals"]["fmr100.fnmr"]["rule_of_three"] == 0.03
    assert found["intervals"]["fmr100.fnmr"]["high"] > 0.03


def test_folds_are_optional():
    scores, mated, status, _ = condition()
    for fold in (None, np.zeros(len(scores), int)):
        assert "at least two folds" in summarise(scores, mated, status, fold)["metrics"]["accuracy_10fold"]["reason"]


@pytest.mark.parametrize(
    ("mated", "status", "reason"),
    [
        ([1, 1, 1], [OK, OK, OK], "no completed non-mated comparison"),
        ([0, 0, 0], [OK, OK, OK], "no completed mated comparison"),
        ([1, 0, 0], [FAILED, OK, OK], "no completed mated comparison"),
        ([1, 0, 0], [OK, FAILED, FAILED], "no completed non-mated comparison"),
        ([1, 1, 0], [FAILED] * 3, "no completed mated and no completed non-mated comparison"),
        ([], [], "no completed mated and no completed non-mated comparison"),
    ],
)
def test_conditions_that_cannot_be_measured(mated, status, reason):
    status = np.array(status, int)
    scores = np.where(status == OK, 0.5, np.nan)
    found = summarise(scores, np.array(mated, bool), status)
    assert found["metrics"]["reason"] == reason
    assert found["counts"]["mated"] == sum(mated)
    assert "eer" not in found["metrics"]
    json.dumps(found, allow_nan=False)


def test_refusing_every_mated_comparison_ranks_last():
    scores, mated, status = np.array([np.nan, np.nan, 0.1]), np.array([1, 1, 0]), np.array([FAILED, FAILED, OK])
    block = summarise(scores, mated, status)["metrics"]["fmr100"]
    assert block["fnmr_including_failures"] == 1
    assert block["fnmr"] is None and block["threshold"] is None
    assert block["reason"] == "no completed mated comparison"


def test_no_nan_and_no_infinity_reaches_json():
    cases = [
        (np.array([np.inf, np.inf, -np.inf, -np.inf]), [1, 1, 0, 0]),
        (np.array([np.inf, -np.inf, np.inf, np.inf]), [1, 1, 0, 0]),
        (np.array([np.finfo(np.float32).max] * 4, np.float32), [1, 0, 1, 0]),
        (np.array([3, 1, 2, 0]), [1, 1, 0, 0]),
        (np.array([0.5, 0.5], np.float32), [1, 0]),
    ]
    for scores, mated in cases:
        for fold in (None, np.arange(len(scores)) // 2 % 2 + 1):
            found = summarise(scores, np.array(mated), np.zeros(len(scores), int), fold, scores, "UMR-UMP", 0.5)
            assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_an_infinite_threshold_is_null_with_a_reason():
    top = np.finfo(np.float32).max
    scores = np.array([top] * 100 + [0.0] * 3, np.float32)
    found = summarise(scores, np.arange(103) >= 100, np.zeros(103, int))
    assert found["metrics"]["fmr100"]["threshold"] is None
    assert found["metrics"]["fmr100"]["fmr_measured"] == 0
    assert found["metrics"]["fmr100"]["reason"] == "the threshold is infinite"


def test_malformed_input_is_an_error_and_no_reason():
    scores, mated, status, fold = condition()
    with pytest.raises(MaskbenchError, match="NaN in a completed comparison"):
        summarise(scores, mated, np.zeros(len(scores), int), fold)
    with pytest.raises(MaskbenchError, match="shapes must agree"):
        summarise(scores[1:], mated, status, fold)
    status[3] = NOT_RUN
    with pytest.raises(MaskbenchError, match="1 comparisons of the condition were not run"):
        summarise(scores, mated, status, fold)


SUBJECTS, EACH = 30, 4


def run(masked: bool = True, failing: float = 0.1, seed: int = 74) -> tuple[Protocol, EmbeddingSet]:
    """A protocol of three conditions over 120 samples, and noisy templates of which some failed."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"{subject}/{i}" for subject in range(SUBJECTS) for i in range(EACH)])
    subject = np.repeat(np.arange(SUBJECTS), EACH)
    i, j = np.triu_indices(len(ids), 1)
    keep = (subject[i] == subject[j]) | (rng.random(len(i)) < 0.3)
    i, j = i[keep], j[keep]
    conditions = [("unmasked", "unmasked"), ("unmasked", "masked"), ("masked", "masked")]
    columns = [np.tile(ids[i], 3), np.tile(ids[j], 3)]
    columns += [np.repeat([sides[k] for sides in conditions], len(i)) for k in (0, 1)]
    mated = np.tile(subject[i] == subject[j], 3)
    order = rng.permutation(len(mated))
    columns = [column[order] for column in columns]
    names = np.array([f"p{n}" for n in range(len(order))])
    pairs = PairTable(names, *columns, mated[order], rng.integers(1, 6, len(order)))
    centres = rng.normal(size=(SUBJECTS, 16))
    vectors = [centres[subject] + noise * rng.normal(size=(len(ids), 16)) for noise in (0.6, 1.2)][: 1 + masked]
    vectors = np.concatenate(vectors).astype(np.float32)
    status = np.where(rng.random(len(vectors)) < failing, FAILED, OK).astype(np.int8)
    vectors[status == FAILED] = np.nan
    sides = np.repeat(["unmasked", "masked"], len(ids))[: len(vectors)]
    embeddings = EmbeddingSet(np.tile(ids, 1 + masked), sides, vectors, status, np.full(len(status), ""), "r", "s")
    return Protocol("small", 1, {}, pairs, "UMR-UMP", "p"), embeddings


def test_a_protocol_condition_by_condition():
    protocol, embeddings = run()
    scores = score_pairs(protocol, embeddings, "cosine")
    metrics, counts, thresholds, intervals = summarise_protocol(protocol, scores, embeddings)
    labels = ["UMR-UMP", "UMR-MP", "MR-MP"]
    assert list(metrics) == list(counts) == list(thresholds) == list(intervals) == labels
    table = protocol.pairs
    conditions = ("unmasked", "unmasked"), ("unmasked", "masked"), ("masked", "masked")
    for label, sides in zip(labels, conditions, strict=True):
        rows = (table.reference_condition == sides[0]) & (table.probe_condition == sides[1])
        mates, others = completed(scores.scores[rows], table.mated[rows], scores.status[rows])
        false_matches, misses = slow_strict(mates, others, 0.01)
        block = metrics[label]["fmr100"]
        t = block["threshold"]
        assert block["fmr_measured"] == false_matches / len(others) == matched(others, t) / len(others)
        assert block["fnmr"] == misses / len(mates) == (len(mates) - matched(mates, t)) / len(mates)
        assert counts[label]["mated_completed"] == len(mates)
        assert counts[label]["mated"] == int(table.mated[rows].sum())
        for role, ids, side in zip(("reference", "probe"), (table.reference_id, table.probe_id), sides, strict=True):
            used = set(ids[rows].tolist())
            lost = embeddings.sample_ids[(embeddings.conditions == side) & (embeddings.status == FAILED)]
            assert counts[label][f"{role}_samples"] == len(used)
            assert counts[label][f"{role}_samples_failed"] == len(used & set(lost.tolist()))
            assert metrics[label]["ftx"][role] == len(used & set(lost.tolist())) / len(used)
            assert f"ftx.{role}" in intervals[label]
        assert metrics[label]["transferred"]["from"] == "UMR-UMP"
        transferred = metrics[label]["transferred"]["fmr100"]["threshold"]
        assert transferred == metrics["UMR-UMP"]["fmr100"]["threshold"] == thresholds[label]["transferred.fmr100"]
    assert metrics["MR-MP"]["transferred"]["fmr100"]["fmr"] != metrics["MR-MP"]["fmr100"]["fmr_measured"]
    json.dumps([metrics, counts, thresholds, intervals], allow_nan=False)


def test_conditions_that_were_not_run_are_left_out():
    protocol, embeddings = run(masked=False)
    scores = score_pairs(protocol, embeddings, "cosine")
    metrics, counts, thresholds, intervals = summarise_protocol(protocol, scores, embeddings)
    assert list(metrics) == list(counts) == list(thresholds) == list(intervals) == ["UMR-UMP"]


def test_the_source_condition_may_be_missing():
    protocol, embeddings = run()
    protocol = dataclasses.replace(protocol, threshold_from="MR-UMP")
    metrics, *_ = summarise_protocol(protocol, score_pairs(protocol, embeddings, "cosine"), embeddings)
    assert metrics["UMR-MP"]["transferred"] == {
        "from": "MR-UMP",
        "reason": "no completed non-mated comparison to fix a threshold on",
    }


def test_a_recognizer_that_always_fails_is_still_reported():
    protocol, embeddings = run(failing=1.0)
    metrics, counts, *_ = summarise_protocol(protocol, score_pairs(protocol, embeddings, "cosine"), embeddings)
    for label, block in metrics.items():
        assert block["fmr100"]["fnmr_including_failures"] == 1
        assert block["ftx"] == {"reference": 1, "probe": 1}
        assert counts[label]["mated_completed"] == 0


def test_parts_of_different_runs_are_not_mixed():
    protocol, embeddings = run()
    scores = score_pairs(protocol, embeddings, "cosine")
    for changed in (
        (dataclasses.replace(protocol, digest="other"), scores, embeddings),
        (protocol, dataclasses.replace(scores, mated=~scores.mated), embeddings),
        (protocol, dataclasses.replace(scores, recognizer_digest="other"), embeddings),
        (protocol, dataclasses.replace(scores, scores=scores.scores[1:]), embeddings),
        (protocol, scores, run(masked=False)[1]),
    ):
        with pytest.raises(MaskbenchError):
            summarise_protocol(*changed)


def test_a_condition_that_was_run_in_part_is_named():
    protocol, embeddings = run()
    scores = score_pairs(protocol, embeddings, "cosine")
    status = scores.status.copy()
    row = int(np.flatnonzero(protocol.pairs.reference_condition == "masked")[0])
    status[row] = NOT_RUN
    with pytest.raises(MaskbenchError, match="MR-MP: 1 of .* pairs were not run"):
        summarise_protocol(protocol, dataclasses.replace(scores, status=status), embeddings)


def test_pair_order_changes_no_figure():
    protocol, embeddings = run()
    order = np.random.default_rng(75).permutation(len(protocol.pairs))
    pairs = PairTable(*(getattr(protocol.pairs, field.name)[order] for field in dataclasses.fields(PairTable)))
    shuffled = dataclasses.replace(protocol, pairs=pairs)
    first = summarise_protocol(protocol, score_pairs(protocol, embeddings, "cosine"), embeddings)
    second = summarise_protocol(shuffled, score_pairs(shuffled, embeddings, "cosine"), embeddings)
    assert first == second
    assert math.isfinite(first[0]["UMR-UMP"]["auc"])
