"""Comparators against loops, pair look-up with failures and missing conditions, and the score file."""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile

import numpy as np
import pytest

from maskbench import scoring
from maskbench.errors import MaskbenchError
from maskbench.scoring import (
    COMPARATOR_NAMES,
    COMPARATORS,
    SEARCH_COMPARATORS,
    compare,
    load_scores,
    pair_rows,
    save_scores,
    score_pairs,
)
from maskbench.types import EmbeddingSet, PairTable, Protocol, ScoreSet, Status

OK, FAILED, NOT_RUN = int(Status.OK), int(Status.FAILED), int(Status.NOT_RUN)


def slow_cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else math.nan


def slow_negative_l2(a: list[float], b: list[float]) -> float:
    return -math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


SLOW = {"cosine": slow_cosine, "negative-l2": slow_negative_l2}


@pytest.mark.parametrize("comparator", SLOW)
@pytest.mark.parametrize("size", [(1, 1), (7, 2), (50, 128), (3, 513)])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e18])
def test_compare_against_loop(comparator, size, scale):
    rng = np.random.default_rng(61)
    references, probes = (rng.normal(size=size).astype(np.float32) * np.float32(scale) for _ in range(2))
    found = compare(references, probes, comparator)
    assert found.shape == size[:1] and found.dtype == np.float32
    for score, a, b in zip(found, references.tolist(), probes.tolist(), strict=True):
        assert score == pytest.approx(np.float32(SLOW[comparator](a, b)), rel=2e-7)


def test_every_comparator_is_tested():
    assert set(SLOW) == set(COMPARATORS)
    assert set(COMPARATOR_NAMES) == {*SLOW, "sparse-residual"}


@pytest.mark.parametrize("name", SEARCH_COMPARATORS)
def test_a_search_is_no_comparison_of_two_templates(name):
    from maskbench.allpairs import compare_all
    from maskbench.allpairs_sides import Templates

    with pytest.raises(MaskbenchError, match="not pair by pair; evaluate it on a protocol"):
        compare(np.ones((1, 2)), np.ones((1, 2)), name)
    with pytest.raises(MaskbenchError, match="not pair by pair; evaluate it on a protocol"):
        compare_all(Templates(np.eye(3, dtype=np.float32), np.array(["a", "b", "c"])), None, name)


def test_known_scores():
    a, b = np.array([[3, 4], [1, 0], [1, 1]], np.float32), np.array([[3, 4], [0, 1], [-2, -2]], np.float32)
    assert compare(a, b, "cosine").tolist() == [1, 0, -1]
    assert compare(a, b, "negative-l2").tolist() == [0, -np.float32(math.sqrt(2)), -np.float32(math.sqrt(18))]


def test_equal_vectors_score_highest():
    rng = np.random.default_rng(62)
    vectors = rng.normal(size=(500, 64)).astype(np.float32)
    assert (compare(vectors, vectors, "cosine") == 1).all()
    scores = compare(vectors, vectors, "negative-l2")
    assert (scores == 0).all() and not np.signbit(scores).any()
    assert (compare(vectors, -vectors, "cosine") == -1).all()


def test_comparison_is_symmetric_and_leaves_input_alone():
    rng = np.random.default_rng(63)
    a, b = (rng.normal(size=(40, 33)).astype(np.float32) for _ in range(2))
    copies = a.copy(), b.copy()
    for comparator in COMPARATORS:
        assert np.array_equal(compare(a, b, comparator), compare(b, a, comparator))
    assert np.array_equal(a, copies[0]) and np.array_equal(b, copies[1])


def test_zero_and_nan_vectors():
    a, b = np.array([[0, 0], [1, np.nan], [1, 0]], np.float32), np.array([[1, 0], [1, 0], [0, 0]], np.float32)
    assert np.isnan(compare(a, b, "cosine")).all()
    assert compare(a, b, "negative-l2")[[0, 2]].tolist() == [-1, -1]
    assert np.isnan(compare(a, b, "negative-l2")[1])


def test_no_rows():
    empty = np.zeros((0, 4), np.float32)
    for comparator in COMPARATORS:
        assert compare(empty, empty, comparator).shape == (0,)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((2, 3), (3, 3)), ((3,), (3,))])
def test_shapes_must_agree(shapes):
    with pytest.raises(MaskbenchError, match="two \\(M, D\\) arrays"):
        compare(np.ones(shapes[0]), np.ones(shapes[1]), "cosine")


def test_unknown_comparator_suggests():
    with pytest.raises(MaskbenchError, match='did you mean "cosine"'):
        compare(np.ones((1, 2)), np.ones((1, 2)), "cosin")


def protocol_of(rows: list[tuple]) -> Protocol:
    """(reference, probe, reference condition, probe condition, mated) rows as a protocol."""
    columns = [np.array([row[i] for row in rows]) for i in range(5)] if rows else [np.array([], str)] * 5
    ids = np.array([f"pair{i}" for i in range(len(rows))], dtype=str)
    pairs = PairTable(ids, *columns[:4], columns[4].astype(bool), np.zeros(len(rows), int))
    return Protocol("tiny", 1, {}, pairs, "UMR-UMP", "p" * 64)


def embeddings_of(rows: list[tuple], size: int = 3) -> EmbeddingSet:
    """(sample, condition, status, vector) rows as an embedding set."""
    vectors = np.array([row[3] for row in rows], np.float32).reshape(len(rows), size)
    ids, conditions = (np.array([row[i] for row in rows], dtype=str) for i in (0, 1))
    status = np.array([row[2] for row in rows], np.int8)
    return EmbeddingSet(ids, conditions, vectors, status, np.full(len(rows), ""), "r" * 64, "s" * 64)


X, Y, NOTHING = (1, 0, 0), (0, 1, 0), (np.nan, np.nan, np.nan)
EMBEDDINGS = [
    ("b", "unmasked", OK, Y),
    ("a", "unmasked", OK, X),
    ("lost", "unmasked", FAILED, NOTHING),
    ("zero", "unmasked", OK, (0, 0, 0)),
]


def test_scores_follow_pair_order_and_status():
    protocol = protocol_of(
        [
            ("a", "b", "unmasked", "unmasked", False),
            ("a", "lost", "unmasked", "unmasked", True),
            ("a", "a", "unmasked", "unmasked", True),
            ("zero", "a", "unmasked", "unmasked", False),
            ("a", "b", "unmasked", "masked", True),
            ("lost", "b", "unmasked", "masked", True),
            ("b", "a", "masked", "masked", True),
        ]
    )
    found = score_pairs(protocol, embeddings_of(EMBEDDINGS), "cosine")
    assert found.status.tolist() == [OK, FAILED, OK, FAILED, NOT_RUN, NOT_RUN, NOT_RUN]
    assert found.scores[[0, 2]].tolist() == [0, 1]
    assert np.isnan(found.scores[[1, 3, 4, 5, 6]]).all()
    assert found.scores.dtype == np.float32 and found.status.dtype == np.int8
    assert found.mated.tolist() == [False, True, True, False, True, True, True]
    assert (found.protocol_digest, found.recognizer_digest) == ("p" * 64, "r" * 64)


def test_a_condition_changes_the_template():
    rows = [*EMBEDDINGS, ("a", "masked", OK, Y), ("b", "masked", FAILED, NOTHING)]
    pairs = [(*ids, *sides, True) for ids in ("aa", "ab") for sides in (("unmasked", "masked"), ("masked", "unmasked"))]
    found = score_pairs(protocol_of(pairs), embeddings_of(rows), "negative-l2")
    assert found.status.tolist() == [OK, OK, FAILED, OK]
    assert found.scores[[0, 1, 3]].tolist() == [-np.float32(math.sqrt(2))] * 2 + [0]


def test_a_sample_missing_from_a_condition_that_was_run_is_an_error():
    protocol = protocol_of([("a", "b", "unmasked", "unmasked", True), ("a", "c", "unmasked", "unmasked", True)])
    with pytest.raises(MaskbenchError, match="pair pair1: no embedding of unmasked sample c"):
        score_pairs(protocol, embeddings_of(EMBEDDINGS), "cosine")


def test_a_key_that_occurs_twice_is_an_error():
    with pytest.raises(MaskbenchError, match="unmasked sample a occurs twice"):
        score_pairs(protocol_of([]), embeddings_of([*EMBEDDINGS, ("a", "unmasked", OK, X)]), "cosine")


def test_lengths_are_checked():
    embeddings = dataclasses.replace(embeddings_of(EMBEDDINGS), status=np.zeros(3, np.int8))
    with pytest.raises(MaskbenchError, match="differ in length"):
        score_pairs(protocol_of([]), embeddings, "cosine")


def test_unknown_comparator_is_reported_without_any_pair():
    with pytest.raises(MaskbenchError, match="no comparator"):
        score_pairs(protocol_of([]), embeddings_of(EMBEDDINGS), "euclid")


def test_without_embeddings_nothing_was_run():
    protocol = protocol_of([("a", "b", "unmasked", "unmasked", True)])
    assert score_pairs(protocol, embeddings_of([]), "cosine").status.tolist() == [NOT_RUN]
    assert len(score_pairs(protocol_of([]), embeddings_of(EMBEDDINGS), "cosine").scores) == 0


def test_an_infinite_score_is_a_failure():
    rows = [
        ("a", "unmasked", OK, (3e38, 0, 0)),
        ("b", "unmasked", OK, (-3e38, 0, 0)),
        ("c", "unmasked", OK, (np.inf, 0, 0)),
    ]
    protocol = protocol_of([("a", "b", "unmasked", "unmasked", True), ("a", "c", "unmasked", "unmasked", True)])
    found = score_pairs(protocol, embeddings_of(rows), "negative-l2")
    assert found.status.tolist() == [FAILED, FAILED]
    assert np.isnan(found.scores).all()


def random_run(seed: int, samples: int = 60, pairs: int = 500) -> tuple[Protocol, EmbeddingSet]:
    rng = np.random.default_rng(seed)
    rows = []
    for condition in ("unmasked", "masked"):
        for i in rng.permutation(samples):
            lost = rng.random() < 0.1
            rows.append(
                (f"s{i}", condition, FAILED if lost else OK, np.full(24, np.nan) if lost else rng.normal(size=24))
            )
    sides = np.array(["unmasked", "masked"])
    drawn = rng.integers(0, samples, (pairs, 2)), sides[rng.integers(0, 2, (pairs, 2))], rng.random(pairs) < 0.5
    table = [(f"s{i}", f"s{j}", a, b, m) for (i, j), (a, b), m in zip(*drawn, strict=True)]
    return protocol_of(table), embeddings_of(rows, 24)


@pytest.mark.parametrize("block", [24, 24 * 7, 1 << 22])
@pytest.mark.parametrize("comparator", SLOW)
def test_random_runs_against_a_dictionary(block, comparator, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK", block)
    protocol, embeddings = random_run(64)
    found = score_pairs(protocol, embeddings, comparator)
    keys = list(zip(embeddings.sample_ids.tolist(), embeddings.conditions.tolist(), strict=True))
    row_of = {key: i for i, key in enumerate(keys)}
    table = protocol.pairs
    for i in range(len(table)):
        a = row_of[table.reference_id[i], table.reference_condition[i]]
        b = row_of[table.probe_id[i], table.probe_condition[i]]
        if FAILED in (embeddings.status[a], embeddings.status[b]):
            assert found.status[i] == FAILED and np.isnan(found.scores[i])
        else:
            single = compare(embeddings.vectors[a : a + 1], embeddings.vectors[b : b + 1], comparator)
            assert found.status[i] == OK and found.scores[i] == single[0], "a score must not depend on its block"


def slow_search(protocol: Protocol, embeddings: EmbeddingSet) -> np.ndarray:
    """Scores of "sparse-residual", one pair and one search at a time."""
    from maskbench.classical import SparseClassifier

    keys = zip(embeddings.sample_ids.tolist(), embeddings.conditions.tolist(), strict=True)
    vector = {key: embeddings.vectors[i] for i, key in enumerate(keys) if embeddings.status[i] == OK}
    table, scores = protocol.pairs, []
    sides = (table.reference_id, table.reference_condition, table.probe_id, table.probe_condition)
    rows = [((a, b), (c, d)) for a, b, c, d in zip(*(side.tolist() for side in sides), strict=True)]
    for reference, probe in rows:
        if reference not in vector or probe not in vector:
            scores.append(np.nan)
            continue
        others = sorted({a for a, b in rows if b == probe and a[1] == reference[1] and a in vector})
        labels = np.arange(len(others))
        found = SparseClassifier().fit(np.array([vector[key] for key in others]), labels)
        scores.append(-found.residuals(vector[probe][None])[0, others.index(reference)])
    return np.array(scores, np.float32)


@pytest.mark.parametrize("block", [1, 64, 1 << 22])
def test_a_search_against_one_at_a_time(block, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK", block)
    protocol, embeddings = random_run(66, samples=30, pairs=300)
    found = score_pairs(protocol, embeddings, "sparse-residual")
    wanted = slow_search(protocol, embeddings)
    assert np.array_equal(found.scores, wanted, equal_nan=True)
    assert found.status.tolist() == np.where(np.isnan(wanted), FAILED, OK).tolist()
    assert found.scores.dtype == np.float32 and len(set(wanted[wanted > -1].tolist())) > 50


def test_a_search_knows_no_order():
    protocol, embeddings = random_run(67, samples=20, pairs=200)
    found = score_pairs(protocol, embeddings, "sparse-residual").scores
    rng = np.random.default_rng(68)
    mixed, rows = rng.permutation(200), rng.permutation(len(embeddings.vectors))
    pairs = PairTable(*(getattr(protocol.pairs, field.name)[mixed] for field in dataclasses.fields(PairTable)))
    columns = {name: getattr(embeddings, name)[rows] for name in ("sample_ids", "conditions", "vectors", "status")}
    again = score_pairs(
        dataclasses.replace(protocol, pairs=pairs), dataclasses.replace(embeddings, **columns), "sparse-residual"
    )
    assert np.array_equal(again.scores, found[mixed], equal_nan=True)


def test_a_search_by_hand():
    rows = [("r", "unmasked", OK, (1, 0, 0)), ("s", "unmasked", OK, (0, 1, 0)), ("r", "masked", OK, (0, 0, 1))]
    rows += [("p", "unmasked", OK, (0.8, 0.6, 0)), ("q", "unmasked", OK, (1, 0, 0)), ("s", "masked", OK, X)]
    rows += [("p", "masked", OK, X), ("q", "masked", OK, X), ("z", "unmasked", OK, (0, 0, 0)), ("z", "masked", OK, X)]
    both = [(a, "p", "unmasked", "unmasked", a == "r") for a in "rsz"]
    protocol = protocol_of([*both, ("r", "q", "unmasked", "unmasked", True), ("r", "p", "masked", "unmasked", True)])
    found = score_pairs(protocol, embeddings_of(rows), "sparse-residual")
    # Orthogonal references: each coefficient is its cosine less 0.05; a masked reference is another search.
    wanted = [-math.hypot(0.05, 0.6), -math.hypot(0.8, 0.05), np.nan, -0.05, -1.0]
    assert np.allclose(found.scores, wanted, equal_nan=True) and found.status.tolist() == [OK, OK, FAILED, OK, OK]


def test_a_search_through_nothing():
    assert len(score_pairs(protocol_of([]), embeddings_of(EMBEDDINGS), "sparse-residual").scores) == 0
    lost = protocol_of([("lost", "a", "unmasked", "unmasked", True)])
    assert score_pairs(lost, embeddings_of(EMBEDDINGS), "sparse-residual").status.tolist() == [FAILED]


def test_pair_rows_point_at_the_keys():
    protocol, embeddings = random_run(65)
    reference, probe = pair_rows(protocol.pairs, embeddings)
    assert (embeddings.sample_ids[reference] == protocol.pairs.reference_id).all()
    assert (embeddings.conditions[reference] == protocol.pairs.reference_condition).all()
    assert (embeddings.sample_ids[probe] == protocol.pairs.probe_id).all()
    assert (embeddings.conditions[probe] == protocol.pairs.probe_condition).all()


def test_names_that_look_like_missing_values_are_names():
    rows = [("nan", "unmasked", OK, X), ("NA", "unmasked", OK, Y), ("", "unmasked", OK, X), ("1", "unmasked", OK, Y)]
    protocol = protocol_of([("nan", "NA", "unmasked", "unmasked", True), ("", "1", "unmasked", "unmasked", True)])
    assert score_pairs(protocol, embeddings_of(rows), "cosine").scores.tolist() == [0, 0]


def scores_of(count: int = 4) -> tuple[ScoreSet, np.ndarray]:
    scores = np.linspace(-1, 1, count).astype(np.float32)
    status = np.zeros(count, np.int8)
    scores[1], status[1] = np.nan, FAILED
    ids = np.array([f"Zoë-{i}" for i in range(count)])
    return ScoreSet(scores, np.arange(count) % 2 == 0, status, "p" * 64, "r" * 64), ids


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_file_keeps_everything(tmp_path, dtype):
    scores, ids = scores_of()
    scores = dataclasses.replace(scores, scores=scores.scores.astype(dtype))
    path = tmp_path / "new" / "scores.npz"
    save_scores(path, scores, ids)
    loaded, loaded_ids = load_scores(path)
    for field in ("scores", "mated", "status"):
        stored, given = getattr(loaded, field), getattr(scores, field)
        assert stored.dtype == given.dtype
        assert np.array_equal(stored, given, equal_nan=field == "scores")
    assert (loaded.protocol_digest, loaded.recognizer_digest) == ("p" * 64, "r" * 64)
    assert loaded_ids.tolist() == ids.tolist()
    assert [file.name for file in path.parent.iterdir()] == ["scores.npz"]


def test_equal_scores_give_equal_bytes(tmp_path, monkeypatch):
    save_scores(tmp_path / "a.npz", *scores_of())
    monkeypatch.setattr("time.time", lambda: 2e9)
    scores, ids = scores_of()
    save_scores(tmp_path / "b", scores, ids.astype(object))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scores.npz"
    save_scores(path, *scores_of())
    before = path.read_bytes()

    def break_off(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", break_off)
    with pytest.raises(MaskbenchError, match="cannot be written"):
        save_scores(path, *scores_of(9))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def stored(**changes) -> bytes:
    """The bytes of a score file with some arrays replaced, or left out (None)."""
    buffer = io.BytesIO()
    arrays = {
        "format": np.array(1),
        "pair_id": np.array(["x", "y"]),
        "scores": np.array([0.5, np.nan]),
        "mated": np.array([True, False]),
        "status": np.array([0, 1], np.int8),
        "protocol_digest": np.array("p"),
        "recognizer_digest": np.array("r"),
    } | changes
    np.savez(buffer, **{name: value for name, value in arrays.items() if value is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a score file"),
        (b"hello", "not a score file"),
        (stored()[:-40], "not a score file"),
        (stored()[:60] + b"\xff" * 40 + stored()[100:], "not a score file"),
        (stored(scores=None), "not a score file"),
        (stored(pair_id=np.array(["x", "y"], dtype=object)), "not a score file"),
        (stored(format=np.array(2)), "format 2, expected 1"),
        (stored(scores=np.array([0.5])), "differ in length"),
        (stored(status=np.array([[0, 1]], np.int8)), "differ in length"),
        (stored(scores=np.array([1, 2])), "unexpected types"),
        (stored(mated=np.array([1, 0])), "unexpected types"),
        (stored(status=np.array([0, 0], np.int8)), "NaN exactly where"),
        (stored(status=np.array([1, 1], np.int8)), "NaN exactly where"),
        (stored(status=np.array([0, 7], np.int8)), "NaN exactly where"),
    ],
)
def test_files_that_are_no_score_files(tmp_path, content, message):
    path = tmp_path / "scores.npz"
    path.write_bytes(content)
    with pytest.raises(MaskbenchError, match=message) as caught:
        load_scores(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plain_array_and_a_missing_file(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(MaskbenchError, match="not a score file"):
        load_scores(tmp_path / "array.npy")
    with pytest.raises(MaskbenchError, match="no such file"):
        load_scores(tmp_path / "none.npz")


def test_no_pickle_is_written(tmp_path):
    scores, ids = scores_of()
    save_scores(tmp_path / "scores.npz", scores, ids.astype(object))
    with zipfile.ZipFile(tmp_path / "scores.npz") as archive:
        for name in archive.namelist():
            np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)


def test_saving_refuses_what_loading_would(tmp_path):
    scores, ids = scores_of()
    with pytest.raises(MaskbenchError, match="differ in length"):
        save_scores(tmp_path / "scores.npz", scores, ids[:2])
    with pytest.raises(MaskbenchError, match="NaN exactly where"):
        save_scores(tmp_path / "scores.npz", dataclasses.replace(scores, status=np.zeros(4, np.int8)), ids)
    assert list(tmp_path.iterdir()) == []
