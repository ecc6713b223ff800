"""Intervals over subjects in the summary of a condition and of a protocol."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from maskbench.metrics import clustered as c
from maskbench.metrics import influence as i
from maskbench.metrics import uncertainty as u
from maskbench.metrics.conditions import pair_subjects
from maskbench.metrics.summary import summarise, summarise_protocol
from maskbench.scoring import score_pairs
from maskbench.types import Status

sys.path.insert(0, str(Path(__file__).parents[1]))
from results_fixture import make_embeddings, make_protocol  # noqa: E402

FEW = {"low": None, "high": None, "method": "none", "flag": "fewer than 30 errors"}


def condition(seed: int = 51, size: int = 8000, subjects: int = 500, drift: float = 0.0):
    """Scores, mated, status, subjects (M, 2)."""
    rng = np.random.default_rng(seed)
    first = rng.integers(subjects, size=size)
    mated = np.arange(size) % 2 == 0
    second = np.where(mated, first, (first + 1 + rng.integers(subjects - 1, size=size)) % subjects)
    effect = rng.normal(size=subjects)
    scores = drift + 0.3 * (effect[first] + effect[second]) + rng.normal(size=size) + 2.0 * mated
    status = np.where(rng.random(size) < 0.02, int(Status.FAILED), int(Status.OK))
    return np.where(status == Status.OK, scores, np.nan), mated, status, np.stack([first, second], axis=1)


def test_paths_and_limits_of_a_condition():
    scores, mated, status, people = condition()
    source = scores[~mated & (status == Status.OK)]
    found = summarise(scores, mated, status, None, source, "UMR-MP", 1.4, subjects=c.Subjects(people))
    with_limits = {path for path, entry in found["intervals"].items() if "clustered" in entry}
    assert {"eer.value", "fmr100.fnmr", "fmr100.fnmr_including_failures", "transferred.fmr100.fnmr"} <= with_limits
    assert {f"at_threshold.{key}" for key in ("fmr", "fnmr", "fnmr_including_failures")} <= with_limits
    assert "transferred.fmr100.fmr" not in with_limits, "its own FMR is the target"
    prepared, shared = i.comparisons(scores, mated, status), u.sharing(people)
    expected = {
        "eer.value": i.eer_of(prepared),
        "fmr100.fnmr": i.fnmr_at_fmr(prepared, 0.01),
        "fmr100.fnmr_including_failures": i.fnmr_at_fmr(prepared, 0.01, failures=True),
        "transferred.fmr100.fnmr": i.fnmr_at_fmr(prepared, 0.01),
        "at_threshold.fmr": i.fmr_at(prepared, 1.4),
        "at_threshold.fnmr": i.fnmr_at(prepared, 1.4),
    }
    for path, estimate in expected.items():
        assert found["intervals"][path]["clustered"] == u.clustered(estimate, shared), path
        low, high = (found["intervals"][path]["clustered"][end] for end in ("low", "high"))
        block, key = path.rsplit(".", 1)
        value = found["metrics"]
        for part in block.split("."):
            value = value[part]
        assert low < value[key] < high
    assert found["intervals"]["fmr1000.fnmr"]["clustered"] == FEW
    json.dumps(found, allow_nan=False)


def test_without_subjects_nothing_changes():
    scores, mated, status, people = condition()
    plain, more = summarise(scores, mated, status), summarise(scores, mated, status, subjects=c.Subjects(people))
    assert plain["metrics"] == more["metrics"] and plain["counts"] == more["counts"]
    more["intervals"].pop("eer.value")
    for entry in more["intervals"].values():
        if isinstance(entry, dict):
            entry.pop("clustered", None)
    assert plain["intervals"] == more["intervals"]


def test_thresholds_of_another_condition_add_their_uncertainty():
    scores, mated, status, people = condition()
    other = condition(seed=52, drift=-0.3)
    rows = ~other[1] & (other[2] == Status.OK)
    subjects = c.Subjects(people, other[3][rows], np.zeros(int(rows.sum()), int))
    found = summarise(scores, mated, status, None, other[0][rows], "UMR-UMP", subjects=subjects)
    entry = found["intervals"]["transferred.fmr100.fnmr"]["clustered"]
    threshold = found["metrics"]["transferred"]["fmr100"]["threshold"]
    fixed = u.clustered(i.fnmr_at(i.comparisons(scores, mated, status), threshold), u.sharing(people))
    assert entry["high"] - entry["low"] > 1.1 * (fixed["high"] - fixed["low"])
    drifted = found["intervals"]["transferred.fmr100.fmr"]["clustered"]
    assert drifted["low"] < found["metrics"]["transferred"]["fmr100"]["fmr"] < drifted["high"]


@pytest.mark.parametrize("figure", ["fmr", "fnmr"])
def test_coverage_at_transferred_thresholds(figure):
    """The rates of a procedure that fixes the threshold on one set and applies it to another of the same subjects."""
    truth, hits, runs = {"fmr": [], "fnmr": []}, 0, 120
    limits = []
    for seed in range(runs):
        here, there = condition(2 * seed + 100, 6000, 1500), condition(2 * seed + 101, 6000, 1500, drift=-0.3)
        rows = ~there[1] & (there[2] == Status.OK)
        source, target = c._source(there[0][rows]), i.comparisons(*here[:3])
        shared = u.sharing(np.concatenate([here[3], there[3][rows] + 10_000]))
        estimate = i.fmr_at_fmr(target, 0.1, source) if figure == "fmr" else i.fnmr_at_fmr(target, 0.1, source=source)
        truth[figure].append(estimate.value)
        limits.append(u.clustered(estimate, shared))
    centre = np.mean(truth[figure])  # the mean of 120 is as good as the truth here: its error is a tenth of one's
    hits = sum(entry["low"] <= centre <= entry["high"] for entry in limits)
    assert 0.88 * runs <= hits <= runs - 1


def test_a_protocol_condition_by_condition():
    protocol = make_protocol(subjects=600, folds=10)
    embeddings = make_embeddings(protocol, 0.6, 1.2, failed=9)
    scores = score_pairs(protocol, embeddings, "cosine")
    intervals = summarise_protocol(protocol, scores, embeddings)[3]
    numbers = pair_subjects(protocol)
    ids = [sample.subject_id for sample in protocol.samples.values()]
    of_sample = dict(zip(protocol.samples, ids, strict=True))
    names = np.array([[of_sample[i], of_sample[j]] for i, j in zip(protocol.pairs.reference_id, protocol.pairs.probe_id,
                                                                   strict=True)])  # fmt: skip
    assert ((numbers[:, 0] == numbers[:, 1]) == (names[:, 0] == names[:, 1])).all()
    for label in ("UMR-UMP", "UMR-MP", "MR-MP"):
        assert "clustered" in intervals[label]["eer.value"]
        assert ("clustered" in intervals[label]["transferred.fmr100.fmr"]) == (label != "UMR-UMP")
    rows = (protocol.pairs.reference_condition == "unmasked") & (protocol.pairs.probe_condition == "masked")
    prepared = i.comparisons(scores.scores[rows], scores.mated[rows], scores.status[rows])
    shared = u.sharing(names[rows])
    assert u.design(shared) == u.SPARSE
    assert intervals["UMR-MP"]["eer.value"]["clustered"] == u.clustered(i.eer_of(prepared), shared)


def test_a_protocol_whose_samples_are_not_listed_has_no_such_intervals():
    protocol = make_protocol(subjects=60)
    embeddings = make_embeddings(protocol, 0.6, 1.2)
    scores = score_pairs(protocol, embeddings, "cosine")
    bare = dataclasses.replace(protocol, samples={})
    assert pair_subjects(bare) is None
    entries = [e for part in summarise_protocol(bare, scores, embeddings)[3].values() for e in part.values()]
    assert entries and not any("clustered" in entry for entry in entries if isinstance(entry, dict))


def test_conditions_that_cannot_be_measured_have_none():
    found = summarise(np.ones(4), np.ones(4, bool), np.zeros(4, int), subjects=c.Subjects(np.zeros((4, 2), int)))
    assert not any("clustered" in entry for entry in found["intervals"].values() if isinstance(entry, dict))
