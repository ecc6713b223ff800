"""FTX from failed comparisons: what is sure, what is not, and the list that settles it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from results_fixture import make_protocol
from score_files_fixture import run_of, write_csv

from maskbench.errors import MaskbenchError
from maskbench.score_files import ScoreOptions, score
from maskbench.score_files_ftx import failed_keys
from maskbench.types import Protocol


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return make_protocol()


def test_which_samples_surely_failed():
    """Keys 0 and 1 were compared; 2 failed against 0; 3 and 4 against each other; 5 against 2; 6 against itself."""
    reference, probe = np.array([0, 0, 3, 5, 6, 1, 7]), np.array([1, 2, 4, 2, 6, 0, 0])
    status = np.array([0, 1, 1, 1, 1, 1, 2], np.int8)
    failed, undecided = failed_keys(reference, probe, status)
    assert np.flatnonzero(failed).tolist() == [2, 6]
    assert np.flatnonzero(undecided).tolist() == [3, 4, 5]


def test_failed_keys_against_every_explanation():
    """Small random cases against the definition: failed in all explanations, undecided in some but not all."""
    rng = np.random.default_rng(8)
    for _ in range(200):
        reference, probe = rng.integers(0, 5, (2, 7))
        status = rng.integers(0, 2, 7).astype(np.int8)
        worlds = []
        for bits in range(32):
            lost = np.array([bits >> key & 1 for key in range(5)], bool)
            if ((lost[reference] | lost[probe]) <= (status == 1)).all():  # a lost side fails every comparison
                worlds.append(lost)
        explained = [w for w in worlds if ((w[reference] | w[probe]) >= (status == 1)).all()] or None
        failed, undecided = (np.pad(part, (0, 5 - len(part))) for part in failed_keys(reference, probe, status))
        touched = np.isin(np.arange(5), np.concatenate([reference, probe]))
        if explained is None:  # some failure has two good sides: then only what has a good partner is sure
            continue
        assert (failed <= np.all(explained, axis=0)).all()
        some = np.any(explained, axis=0) & touched & np.isin(
            np.arange(5), np.concatenate([reference[status == 1], probe[status == 1]])
        )
        assert ((failed | undecided) == some).all()


def test_ftx_is_not_claimed_where_it_is_not_known(tmp_path):
    text = "score,mated,reference_id,probe_id\n1,1,a,b\n2,0,a,c\n,1,d,e\n"
    (tmp_path / "s.csv").write_text(text)
    done = score([tmp_path / "s.csv"], tmp_path / "out")
    tree = run_of(done).result.metrics["UMR-UMP"]["ftx"]
    assert set(tree) == {"reason"} and any("--failures" in note for note in done.notes)
    listed = write_csv(tmp_path / "f.csv", {"sample_id": ["e"], "condition": ["unmasked"], "reason": ["no face"]})
    tree = run_of(score([tmp_path / "s.csv"], tmp_path / "out", None, ScoreOptions(failures=listed))).result.metrics
    assert tree["UMR-UMP"]["ftx"] == {"reference": 0.0, "probe": 1 / 3}


def test_templates_of_several_samples_fail_when_all_of_them_did(tmp_path, protocol):
    ids = protocol.pairs.reference_id.astype("<U20")
    ids[ids == "s000_0"] = "first"
    pairs = replace(protocol.pairs, reference_id=ids)
    other = replace(protocol, pairs=pairs, templates={"first": ("s000_0", "s001_0")})
    lost = (ids == "first") & (pairs.reference_condition == "unmasked")
    values = ["" if gone else str(row % 97) for row, gone in enumerate(lost)]
    path = write_csv(tmp_path / "s.csv", {"pair_id": pairs.pair_id.tolist(), "score": values})
    # s001_0 was compared on its own, so its template cannot have failed: the list that says so is refused.
    names = {"sample_id": ["s000_0", "s001_0"], "condition": ["unmasked"] * 2, "reason": ["x"] * 2}
    listed = write_csv(tmp_path / "f.csv", names)
    with pytest.raises(MaskbenchError, match=r"f\.csv:3: unmasked sample 's001_0' failed, yet"):
        score([path], tmp_path / "out", other, ScoreOptions(failures=listed))
    other = replace(other, templates={"first": ("s000_0",)})
    listed = write_csv(tmp_path / "f.csv", {name: column[:1] for name, column in names.items()})
    for failures in (listed, None):
        found = run_of(score([path], tmp_path / "out", other, ScoreOptions(failures=failures))).result
        assert found.metrics["UMR-UMP"]["ftx"] == {"reference": 1 / 50, "probe": 0.0}
        assert found.metrics["UMR-MP"]["ftx"] == found.metrics["UMR-UMP"]["ftx"]
    columns = {"pair_id": pairs.pair_id.tolist(), "score": np.arange(len(pairs)).tolist()}
    full = write_csv(tmp_path / "full.csv", columns)
    with pytest.raises(MaskbenchError, match=r"f\.csv: no sample of template 'first' is left"):
        score([full], tmp_path / "out", other, ScoreOptions(failures=listed))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,condition,reason\nb,unmasked,x\n", r"f\.csv:2: unmasked sample 'b' failed, yet a comparison has"),
        ("sample_id,condition,reason\ne,hidden,x\n", r"f\.csv:2: condition is 'hidden'"),
        ("sample,condition,reason\ne,unmasked,x\n", r"f\.csv:1: the columns must be sample_id,condition,reason"),
    ],
)
def test_faults_of_the_list_of_failures(tmp_path, text, message):
    (tmp_path / "s.csv").write_text("score,mated,reference_id,probe_id\n1,1,a,b\n2,0,a,c\n,1,d,e\n")
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(MaskbenchError, match=message):
        score([tmp_path / "s.csv"], tmp_path / "out", None, ScoreOptions(failures=tmp_path / "f.csv"))
