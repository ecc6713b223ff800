from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench import align, manifest
from maskbench import embed as embed_module
from maskbench import evaluation as evaluation_module
from maskbench.embed import EmbeddingCache, alignment_points, embed_inventory
from maskbench.errors import MaskbenchError, ProtocolError, RecognizerError, ResultError
from maskbench.evaluation import FAILURE_COLUMNS, FAILURES_FILE, EvaluationOptions, evaluate
from maskbench.images import encode, read_image, write_image
from maskbench.inventory import take_inventory
from maskbench.landmarks import cache as cache_module
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.leaderboard import make_leaderboard, render_text
from maskbench.masking.engine import CONFIG, JOURNAL, synthesize
from maskbench.masking.placement import from_json
from maskbench.masking.preview import mannequins
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import build_protocol, make_folders
from maskbench.recognizers.base import load_recognizer
from maskbench.results import load_results, load_run, read_result
from maskbench.tables import read_columns
from maskbench.types import PairTable, Status


@pytest.fixture
def scene(crop_folder, tmp_path: Path):
    """Faces of 12 subjects, their masked copies, and a protocol of 80 pairs over them."""
    faces = crop_folder(24)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(landmarks="aligned"), 1)
    return make_folders(faces, 24), faces, tmp_path / "masked"


def run(scene, out: Path, models=("dummy",), store: Path | None = None, **options) -> list[Path]:
    protocol, faces, masked = scene
    return evaluate(protocol, models, faces, masked, out, EvaluationOptions(workers=1, **options), store)


def test_a_result_holds_every_pair_metric_and_digest(scene, tmp_path: Path):
    (folder,) = run(scene, tmp_path / "results")
    found = load_run(folder / "result.json")
    protocol = scene[0]
    assert folder == tmp_path / "results" / protocol.name / "dummy"
    assert len(found.scores.scores) == len(protocol.pairs) and (found.scores.status == Status.OK).all()
    result = found.result
    assert set(result.metrics) == {"UMR-UMP", "UMR-MP", "MR-MP"} and result.align == "source"
    for condition, metrics in result.metrics.items():
        assert {"eer", "auc", "fmr100", "fmr1000", "accuracy_10fold", "accuracy_best_threshold", "ftx"} <= set(metrics)
        assert metrics["ftx"]["probe"] == 0, condition
    assert result.digests["protocol"] == protocol.digest and len(result.digests["manifest"]) == 64
    assert result.recognizer["name"] == "dummy" and result.environment["engine"]
    assert result.metrics["UMR-UMP"]["eer"]["value"] < 0.1 < result.metrics["UMR-MP"]["auc"]


def test_scores_are_those_of_the_pictures_that_the_pairs_name(scene, tmp_path: Path):
    """Recomputed pair by pair from the files: only the probe is masked under UMR-MP."""
    protocol, faces, masked = scene
    (folder,) = run(scene, tmp_path / "results")
    scores, dummy = load_run(folder / "result.json").scores, load_recognizer("dummy")
    roots = {"unmasked": faces, "masked": masked}
    pairs = protocol.pairs
    for row in range(0, len(pairs), 5):
        sides = []
        for ids, conditions in (
            (pairs.reference_id, pairs.reference_condition),
            (pairs.probe_id, pairs.probe_condition),
        ):
            picture = read_image(roots[conditions[row]] / protocol.samples[ids[row]].path)
            vector = dummy.embed(picture[None])[0][0].astype(np.float64)
            sides.append(vector / np.linalg.norm(vector))
        assert scores.scores[row] == pytest.approx(sides[0] @ sides[1], abs=1e-5)


def test_cached_and_fresh_runs_agree_and_the_cache_spares_the_network(scene, tmp_path: Path, monkeypatch):
    first = run(scene, tmp_path / "a", store=tmp_path / "cache")[0]

    def never(*_):
        raise AssertionError("the network ran")

    with monkeypatch.context() as patch:
        patch.setattr(embed_module, "checked_embed", never)
        second = run(scene, tmp_path / "b", store=tmp_path / "cache")[0]
    third = run(scene, tmp_path / "c", store=tmp_path / "cache", cache="always")[0]
    files = [(folder / "scores.npz").read_bytes() for folder in (first, second, third)]
    assert files[0] == files[1] == files[2]
    shard = next((tmp_path / "cache").rglob("embeddings/**/*.npz"))
    shard.write_bytes(shard.read_bytes()[:50])
    assert (run(scene, tmp_path / "d", store=tmp_path / "cache")[0] / "scores.npz").read_bytes() == files[0]


def test_batches_and_threads_change_nothing(scene):
    protocol, faces, masked = scene
    inventory = take_inventory(protocol, faces, masked)
    _, points = alignment_points(inventory, "auto", 1, None)
    dummy = load_recognizer("dummy")
    sets = [
        embed_inventory(dummy, inventory, points, EmbeddingCache(None, dummy), batch, threads)
        for batch, threads in ((64, 2), (1, 1), (7, 3))
    ]
    for other in sets[1:]:
        assert np.allclose(sets[0].vectors, other.vectors, atol=1e-6)
        assert np.array_equal(sets[0].sample_ids, other.sample_ids) and sets[0].samples_digest == other.samples_digest


def test_without_masked_faces_only_the_unmasked_condition_is_run(scene, tmp_path: Path):
    protocol, faces, _ = scene
    (folder,) = evaluate(protocol, ["dummy"], faces, None, tmp_path / "r", EvaluationOptions(workers=1))
    found = load_run(folder / "result.json")
    assert set(found.result.metrics) == {"UMR-UMP"} and found.result.digests["manifest"] == ""
    masked = found.condition != "UMR-UMP"
    assert (found.scores.status[masked] == Status.NOT_RUN).all() and np.isnan(found.scores.scores[masked]).all()


def test_failed_samples_keep_their_pairs_and_count_as_failures(scene, tmp_path: Path):
    run(scene, tmp_path / "r", models=["dummy", "dummy-failing"])
    whole, failing = (
        read_result(tmp_path / "r" / scene[0].name / name / "result.json") for name in ("dummy", "dummy-failing")
    )
    rates = [metrics["ftx"]["probe"] for metrics in failing.metrics.values()]
    assert max(rates) > 0
    for condition, counts in failing.counts.items():
        assert counts["mated"] == whole.counts[condition]["mated"]
        assert counts["mated_completed"] + counts["mated_failed"] == counts["mated"]
        metrics = failing.metrics[condition]["fmr100"]
        if counts["mated_failed"] and metrics.get("fnmr") is not None:
            assert metrics["fnmr_including_failures"] > metrics["fnmr"]


def test_a_picture_that_could_not_be_masked_is_a_failure_not_an_error(scene, tmp_path: Path):
    protocol, faces, _ = scene
    path = next(iter(protocol.samples.values())).path
    picture = read_image(faces / path)
    write_image(faces / path, np.zeros((100, 100, 3), np.uint8))
    protocol = make_folders(faces, 24)
    synthesize(faces, tmp_path / "again", SynthesisConfig(landmarks="aligned"), 1)
    inventory = take_inventory(protocol, faces, tmp_path / "again")
    (item,) = [i for i in inventory.items if i.condition == "masked" and i.path is None]
    assert item.reason == "masking failed: not an aligned 112x112 crop" and picture.any()


def test_missing_pictures_stop_the_run_or_count_as_failures(scene, tmp_path: Path):
    protocol, faces, masked = scene
    lost = next(iter(protocol.samples.values())).path
    (faces / lost).unlink()
    with pytest.raises(
        ProtocolError, match=rf"1 of \d+ pictures .* are missing, first .*{Path(lost).name}; .*--allow-missing"
    ):
        run(scene, tmp_path / "r")
    (folder,) = run(scene, tmp_path / "r", allow_missing=True)
    assert (load_run(folder / "result.json").scores.status == Status.FAILED).any()
    with pytest.raises(ProtocolError, match="no such folder"):
        evaluate(protocol, ["dummy"], tmp_path / "none", masked, tmp_path / "r")


def test_other_pictures_than_the_protocols_are_refused(scene, tmp_path: Path):
    protocol, faces, masked = scene
    sample = next(iter(protocol.samples.values()))
    backup = tmp_path / "backup.png"
    shutil.copy(masked / sample.path, backup)
    write_image(masked / sample.path, read_image(faces / sample.path))
    with pytest.raises(ProtocolError, match="changed since .*manifest.csv was written"):
        run(scene, tmp_path / "r")
    shutil.copy(backup, masked / sample.path)
    altered = dict(protocol.samples) | {sample.sample_id: replace(sample, sha256="0" * 64)}
    other = replace(protocol, samples=altered)
    with pytest.raises(ProtocolError, match="was masked from another picture"):
        run((other, faces, masked), tmp_path / "r")
    with pytest.raises(ProtocolError, match="is not the picture that protocol"):
        run((other, faces, None), tmp_path / "r")


def test_a_masked_set_without_manifest_has_a_digest_of_its_files(scene, tmp_path: Path):
    protocol, faces, masked = scene
    with_manifest = take_inventory(protocol, faces, masked).masked_digest
    (masked / manifest.NAME).unlink()
    (masked / CONFIG).unlink()
    without = take_inventory(protocol, faces, masked).masked_digest
    assert len(without) == 64 and without != with_manifest
    sample = next(iter(protocol.samples.values()))
    write_image(masked / sample.path, read_image(faces / sample.path))
    assert take_inventory(protocol, faces, masked).masked_digest != without


def test_a_damaged_picture_costs_its_own_comparisons_only(scene, tmp_path: Path):
    protocol, faces, masked = scene
    sample = next(iter(protocol.samples.values()))
    data = encode(read_image(faces / sample.path), ".png")
    (faces / sample.path).write_bytes(data[: len(data) // 2])
    samples = dict(protocol.samples) | {sample.sample_id: replace(sample, sha256="")}
    folder = run((replace(protocol, samples=samples), faces, masked), tmp_path / "r")[0]
    status = load_run(folder / "result.json").scores.status
    pairs = protocol.pairs
    touched = ((pairs.reference_id == sample.sample_id) & (pairs.reference_condition == "unmasked")) | (
        (pairs.probe_id == sample.sample_id) & (pairs.probe_condition == "unmasked")
    )
    assert touched.any() and np.array_equal(status == Status.FAILED, touched)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"align": "detekt"}, 'did you mean "detect"'),
        ({"cache": "alway"}, 'did you mean "always"'),
        ({"device": "cuda"}, "no CUDA device|cuda"),
    ],
)
def test_wrong_options_are_answered_before_any_work(scene, tmp_path: Path, options: dict, message: str):
    with pytest.raises(MaskbenchError, match=message):
        run(scene, tmp_path / "r", models=["dlib-resnet"] if "device" in options else ["dummy"], **options)
    assert not (tmp_path / "r").exists()


def test_an_unknown_model_or_one_named_twice(scene, tmp_path: Path):
    with pytest.raises(RecognizerError, match='did you mean "dlib-resnet"'):
        run(scene, tmp_path / "r", models=["dlib-resnt"])
    with pytest.raises(MaskbenchError, match="two of the models have this name"):
        run(scene, tmp_path / "r", models=["dummy", "dummy"])


def test_photographs_are_aligned_from_their_own_landmarks_or_the_originals(tmp_path: Path, mannequin):
    faces = tmp_path / "faces"
    for number in range(4):
        shifted = np.roll(mannequin, 8 * number, axis=1)
        write_image(faces / f"s{number // 2}" / f"{number}.png", shifted)
    protocol = make_folders(faces, 4)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(), 1, cache=tmp_path / "cache")
    inventory = take_inventory(protocol, faces, tmp_path / "masked")
    mode, detected = alignment_points(inventory, "auto", 1, tmp_path / "cache")
    source_mode, source = alignment_points(inventory, "source", 1, tmp_path / "cache")
    assert (mode, source_mode) == ("detect", "source")
    for sample in protocol.samples:
        original, masked = detected[sample, "unmasked"], detected[sample, "masked"]
        assert np.array_equal(source[sample, "masked"], source[sample, "unmasked"])
        assert np.array_equal(source[sample, "masked"], original) and not np.array_equal(masked, original)
        # The mesh still finds the face under the mask; the eyes stay, while nose and mouth can only be guessed.
        assert np.abs(masked - original)[:2].max() < 4 and np.abs(masked - original).max() < 40


def test_the_result_is_json_without_nan(scene, tmp_path: Path):
    (folder,) = run(scene, tmp_path / "r", models=["dummy-failing"], threshold=0.5)
    text = (folder / "result.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


# ---------------------------------------------------------------- what an inventory refuses


def test_a_picture_that_the_manifest_does_not_list_is_refused(scene):
    """Its file would be in no digest: anything could lie there."""
    protocol, faces, masked = scene
    lost = next(iter(protocol.samples.values())).path
    rows = [row for row in manifest.read_manifest(masked / manifest.NAME) if row.source != lost]
    manifest.write_manifest(masked / manifest.NAME, rows)
    for allow_missing in (False, True):
        with pytest.raises(ProtocolError, match=rf"manifest.csv: has no row for {lost}; .*synthesize --resume"):
            take_inventory(protocol, faces, masked, allow_missing)
    (masked / lost).unlink()  # neither row nor file: simply missing
    with pytest.raises(ProtocolError, match="1 of .* are missing"):
        take_inventory(protocol, faces, masked)
    assert take_inventory(protocol, faces, masked, True).missing == 1


@pytest.mark.parametrize(("journal", "finished"), [(True, True), (True, False), (False, False)])
def test_an_unfinished_masked_set_is_refused(scene, journal: bool, finished: bool):
    protocol, faces, masked = scene
    if journal:
        (masked / JOURNAL).write_text("")
    if not finished:
        (masked / manifest.NAME).unlink()
    with pytest.raises(ProtocolError, match="unfinished run; finish it with maskbench synthesize --resume"):
        take_inventory(protocol, faces, masked)


def test_a_malformed_face_policy_is_named(scene):
    protocol, faces, masked = scene
    for text in ('{"faces": "midle"}', "[]", '{"faces": {}}'):
        (masked / CONFIG).write_text(text)
        with pytest.raises(ProtocolError, match="synthesis.json: has no known face policy"):
            take_inventory(protocol, faces, masked)


# ---------------------------------------------------------------- alignment


def test_unreadable_pictures_have_no_say_in_the_alignment(scene):
    protocol, faces, masked = scene
    samples = {name: replace(sample, sha256="") for name, sample in protocol.samples.items()}
    protocol = replace(protocol, samples=samples)
    first = next(iter(samples.values()))
    (faces / first.path).write_bytes(b"garbage")
    mode, points = alignment_points(take_inventory(protocol, faces, masked), "auto", 1, None)
    assert mode == "source" and all(isinstance(value, np.ndarray) for value in points.values())
    for sample in samples.values():
        (faces / sample.path).write_bytes(b"garbage")
    mode, points = alignment_points(take_inventory(protocol, faces), "auto", 1, None)
    assert mode == "detect" and all(isinstance(value, str) for value in points.values())


def masked_only(protocol):
    """The protocol's comparisons of two masked pictures."""
    pairs = protocol.pairs
    rows = np.flatnonzero((pairs.reference_condition == "masked") & (pairs.probe_condition == "masked"))
    table = PairTable(*(getattr(pairs, name)[rows] for name in PairTable.__dataclass_fields__))
    return build_protocol("masked-only", 1, protocol.samples.values(), table, "MR-MP")


def test_source_alignment_of_masked_only_comparisons_takes_the_originals(scene, tmp_path: Path, monkeypatch):
    protocol, faces, _ = scene
    for path in faces.rglob("*.png"):
        write_image(path, np.pad(read_image(path), ((4, 4), (4, 4), (0, 0)), "edge"))  # no aligned crops any more
    protocol, masked = masked_only(make_folders(faces, 24)), tmp_path / "bigger"
    shutil.copytree(faces, masked)
    for path in masked.rglob("*.png"):
        write_image(path, 255 - read_image(path))  # as good as masked
    points, asked = align.TEMPLATES["arcface112"].points, []

    def find(paths, *_):
        asked.extend(paths)
        return dict.fromkeys(paths, points)

    monkeypatch.setattr(embed_module, "find_five_points", find)
    mode, found = alignment_points(take_inventory(protocol, faces, masked), "source", 1, None)
    assert mode == "source" and set(asked) == {faces / sample.path for sample in protocol.samples.values()}
    assert {condition for _, condition in found} == {"masked"} and all(value is points for value in found.values())

    used = min(name for name, _ in found)
    lost = faces / protocol.samples[used].path
    kept = lost.read_bytes()
    lost.write_bytes(kept + b"x")
    with pytest.raises(ProtocolError, match="is not the picture that protocol"):
        alignment_points(take_inventory(protocol, faces, masked), "source", 1, None)
    lost.unlink()
    with pytest.raises(ProtocolError, match=rf"1 of \d+ unmasked originals are missing, first .*{lost.name}; .*detect"):
        alignment_points(take_inventory(protocol, faces, masked), "source", 1, None)
    _, found = alignment_points(take_inventory(protocol, faces, masked, True), "source", 1, None)
    assert found[used, "masked"] == "no unmasked original to take landmarks from"
    assert sum(isinstance(value, str) for value in found.values()) == 1


def test_the_face_that_wears_the_mask_is_the_one_that_is_evaluated(tmp_path: Path):
    """Two faces: the larger one at the left edge, the smaller one nearer to the middle."""
    large, small = (read_image(path) for path in mannequins()[:2])
    for number in range(4):
        canvas = np.full((500, 900, 3), 200, np.uint8)
        canvas[50:450, 0:400] = cv2.resize(large, (400, 400))
        canvas[100:400, 400 + number : 700 + number] = cv2.resize(small, (300, 300))
        write_image(tmp_path / "faces" / f"s{number // 2}" / f"{number}.png", canvas)
    protocol = make_folders(tmp_path / "faces", 4)
    for policy, chosen in (("largest", "largest"), ("central", "central"), ("all", "largest")):
        masked = tmp_path / policy
        synthesize(tmp_path / "faces", masked, SynthesisConfig(faces=policy, mask="surgical"), 1)
        options = EvaluationOptions(workers=1)
        (folder,) = evaluate(protocol, ["dummy"], tmp_path / "faces", masked, tmp_path / "r" / policy, options)
        assert read_result(folder / "result.json").environment["face_policy"] == chosen
        _, points = alignment_points(take_inventory(protocol, tmp_path / "faces", masked), "detect", 1, None)
        rows = {row.source: row for row in manifest.read_manifest(masked / manifest.NAME)}
        for (sample, _), five in points.items():
            mask = from_json(rows[protocol.samples[sample].path].placement)[0].control_points[:, :2].mean(0)
            assert np.linalg.norm(mask - five.mean(0)) < 60


# ---------------------------------------------------------------- one folder, one comparison


def test_another_comparison_does_not_replace_a_result(scene, tmp_path: Path, monkeypatch):
    protocol, faces, masked = scene
    (folder,) = run(scene, tmp_path / "r")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    synthesize(faces, tmp_path / "other", SynthesisConfig(landmarks="aligned", seed=1), 1)
    lost = tmp_path / "lost"
    shutil.copytree(faces, lost)
    (lost / next(iter(protocol.samples.values())).path).unlink()

    def never(*_):
        raise AssertionError("work was done")

    monkeypatch.setattr(evaluation_module, "alignment_points", never)
    for wanted, options, words in (
        ((protocol, faces, tmp_path / "other"), {}, "masked set"),
        ((protocol, faces, None), {}, "masked set"),
        (scene, {"align": "detect"}, "alignment"),
        ((protocol, lost, masked), {"allow_missing": True}, "set of pictures"),
        ((replace(protocol, digest="0" * 64), faces, masked), {}, "protocol"),
    ):
        with pytest.raises(ResultError, match=rf"holds a result of another {words} \(.*\); choose another --out"):
            run(wanted, tmp_path / "r", models=["dummy-failing", "dummy"], **options)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "r" / protocol.name).iterdir()] == ["dummy"]


def test_the_same_comparison_replaces_its_result(scene, tmp_path: Path):
    (folder,) = run(scene, tmp_path / "r")
    assert run(scene, tmp_path / "r", threshold=0.5) == [folder]
    assert "at_threshold" in read_result(folder / "result.json").metrics["UMR-MP"]
    (folder / "result.json").write_text("damaged")
    assert run(scene, tmp_path / "r") == [folder]
    assert "at_threshold" not in load_run(folder / "result.json").result.metrics["UMR-MP"]


def test_results_with_missing_pictures_have_a_table_of_their_own(scene, tmp_path: Path):
    protocol, faces, masked = scene
    run(scene, tmp_path / "r" / "whole")
    for sample in list(protocol.samples.values())[:3]:
        (faces / sample.path).unlink()
    run(scene, tmp_path / "r" / "lost", allow_missing=True)
    tables = make_leaderboard(load_results(tmp_path / "r"))
    assert [len(table.rows) for table in tables] == [1, 1]
    assert sorted(table.rows[0][table.columns.index("missing_pictures")] for table in tables) == ["0", "3"]
    assert render_text(tables).count("3 pictures missing") == 1


# ---------------------------------------------------------------- the cache


def test_another_template_or_network_is_not_answered_from_the_cache(scene, tmp_path: Path, monkeypatch):
    protocol, faces, masked = scene
    inventory, dummy = take_inventory(protocol, faces, masked), load_recognizer("dummy")
    _, points = alignment_points(inventory, "auto", 1, None)
    points = {key: np.array(value) for key, value in points.items()}  # not the template itself, which changes below

    def vectors(recognizer, root: Path | None = tmp_path) -> np.ndarray:
        return embed_inventory(recognizer, inventory, points, EmbeddingCache(root, recognizer)).vectors

    first, old = vectors(dummy), align.TEMPLATES["arcface112"]
    smaller = align.Template("arcface112", old.points * 0.9, old.size)
    with monkeypatch.context() as patch:
        patch.setitem(align.TEMPLATES, "arcface112", smaller)
        assert not np.allclose(vectors(dummy), first) and np.array_equal(vectors(dummy), vectors(dummy, None))

    class Corrected:
        spec, network_id = dummy.spec, "second export"

        def embed(self, faces, masks=None):
            return dummy.embed(faces[:, ::-1])

    assert np.array_equal(vectors(Corrected()), vectors(Corrected(), None)) and np.array_equal(vectors(dummy), first)
    assert not np.allclose(vectors(Corrected()), first)


def test_what_was_computed_anew_replaces_the_cache(tmp_path: Path):
    """Whatever the names of the shards: one old value in a shard with other keys must not come back."""
    dummy = load_recognizer("dummy")
    for more in range(12):
        root = tmp_path / str(more)
        for policy, value, count in (("missing", 1, more + 2), ("always", 2, more + 1), ("always", 3, 1)):
            cache = EmbeddingCache(root, dummy, policy)
            assert policy == "missing" or cache.get("k0") is None
            for number in range(count):
                cache.put(f"k{number}", np.full(256, value, np.float32))
            cache.flush()
        found = EmbeddingCache(root, dummy)
        assert found.get("k0")[0] == 3 and found.get(f"k{more + 1}")[0] == 1
        assert more == 0 or found.get(f"k{more}")[0] == 2


def test_cache_always_detects_anew(tmp_path: Path, mannequin):
    for number in range(4):
        picture = np.roll(mannequin, 4 * number, axis=1)
        write_image(tmp_path / "faces" / f"s{number // 2}" / f"{number}.png", picture)
    protocol = make_folders(tmp_path / "faces", 4)
    scene, store = (protocol, tmp_path / "faces", None), tmp_path / "cache"
    (folder,) = run(scene, tmp_path / "r", store=store)
    right = (folder / "scores.npz").read_bytes()
    sample = next(iter(protocol.samples.values()))
    cached = CachedLandmarker("auto", root=store)
    (face,) = cached.detect(read_image(tmp_path / "faces" / sample.path), sample.sha256)
    assert cached.hits == 1
    (entry,) = store.rglob(f"{sample.sha256}.npy")
    cache_module._write(entry, [replace(face, points=face.points[::-1] * 0.5)])
    assert (run(scene, tmp_path / "r", store=store)[0] / "scores.npz").read_bytes() != right
    for policy in ("always", "missing"):
        assert (run(scene, tmp_path / "r", store=store, cache=policy)[0] / "scores.npz").read_bytes() == right


def test_damaged_shards_are_never_believed(tmp_path: Path):
    dummy, rng = load_recognizer("dummy"), random.Random(0)
    vector = np.arange(256, dtype=np.float32)
    cache = EmbeddingCache(tmp_path, dummy)
    for key in ("k", "l"):
        cache.put(key, vector)
    cache.flush()
    (shard,) = tmp_path.rglob("*.npz")
    data = shard.read_bytes()
    damaged = [data[: rng.randrange(len(data))] for _ in range(150)] + [b"PK\x03\x04" + data, b"", data[::-1]]
    for _ in range(450):
        flipped = bytearray(data)
        flipped[rng.choice([rng.randrange(300), rng.randrange(len(data) - 300, len(data))])] = rng.randrange(256)
        damaged.append(bytes(flipped))
    short = data.replace(b"'<U1'", b"'<U0'")
    for content in [*damaged, short]:
        shard.write_bytes(content)
        again = EmbeddingCache(tmp_path, dummy)
        assert set(again._known) <= {"k", "l"}
        assert all(np.array_equal(value, vector) for value in again._known.values())


def test_a_shard_that_contradicts_its_checksum_is_left_alone(tmp_path: Path):
    dummy = load_recognizer("dummy")
    cache = EmbeddingCache(tmp_path, dummy)
    cache.put("k", np.ones(256, np.float32))
    cache.flush()
    (shard,) = tmp_path.rglob("*.npz")
    with np.load(shard) as stored:
        arrays = dict(stored)
    for change in ({"vectors": arrays["vectors"] * 2}, {"keys": np.array(["z"])}, {"sha256": np.array(3)}):
        np.savez(shard, **arrays | change)
        assert not EmbeddingCache(tmp_path, dummy)._known
    np.savez(shard, **arrays)
    assert list(EmbeddingCache(tmp_path, dummy)._known) == ["k"]


def test_a_masked_set_that_is_not_masked_is_refused(scene, tmp_path: Path):
    protocol, faces, _ = scene
    with pytest.raises(ProtocolError, match="holds the unmasked pictures themselves"):
        run((protocol, faces, faces), tmp_path / "r")


def test_pictures_without_a_template_are_listed_with_their_reasons(scene, tmp_path: Path):
    folder = run(scene, tmp_path / "r", models=["dummy-failing"])[0]
    columns, values = read_columns(folder / FAILURES_FILE)
    rows = list(zip(*values, strict=True))
    counts = read_result(folder / "result.json").counts
    assert tuple(columns) == FAILURE_COLUMNS and rows == sorted(rows)
    assert {row[2] for row in rows} == {"the recognizer gave no template"}
    assert len([row for row in rows if row[1] == "unmasked"]) >= counts["UMR-UMP"]["probe_samples_failed"] > 0


def test_a_recognizer_without_a_digest_of_its_weights_is_not_cached(scene, tmp_path: Path):
    protocol, faces, masked = scene
    inventory = take_inventory(protocol, faces, masked)
    _, points = alignment_points(inventory, "auto", 1, None)
    dummy = load_recognizer("dummy")
    nameless = type("Nameless", (), {"spec": replace(dummy.spec, weights_sha256=""), "embed": dummy.embed})()
    embed_inventory(nameless, inventory, points, EmbeddingCache(tmp_path / "cache", nameless))
    assert not list((tmp_path / "cache").rglob("*.npz"))
