from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbench import align, manifest
from maskbench import embed as embed_module
from maskbench.embed import EmbeddingCache, alignment_points, embed_inventory
from maskbench.errors import ProtocolError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.images import read_image, write_image
from maskbench.inventory import take_inventory
from maskbench.landmarks import cache as cache_module
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.engine import synthesize
from maskbench.masking.placement import from_json
from maskbench.masking.preview import mannequins
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import build_protocol, make_folders
from maskbench.recognizers.base import load_recognizer
from maskbench.results import read_result
from maskbench.types import PairTable


@pytest.fixture
def scene(crop_folder, tmp_path: Path):
    """Faces of 12 subjects, their masked copies, and a protocol of 80 pairs over them."""
    faces = crop_folder(24)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(landmarks="aligned"), 1)
    return make_folders(faces, 24), faces, tmp_path / "masked"


def run(scene, out: Path, models=("dummy",), store: Path | None = None, **options) -> list[Path]:
    protocol, faces, masked = scene
    return evaluate(protocol, models, faces, masked, out, EvaluationOptions(workers=1, **options), store)


# ---------------------------------------------------------------- alignment


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


# ---------------------------------------------------------------- the cache


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


def test_a_recognizer_without_a_digest_of_its_weights_is_not_cached(scene, tmp_path: Path):
    protocol, faces, masked = scene
    inventory = take_inventory(protocol, faces, masked)
    _, points = alignment_points(inventory, "auto", 1, None)
    dummy = load_recognizer("dummy")
    nameless = type("Nameless", (), {"spec": replace(dummy.spec, weights_sha256=""), "embed": dummy.embed})()
    embed_inventory(nameless, inventory, points, EmbeddingCache(tmp_path / "cache", nameless))
    assert not list((tmp_path / "cache").rglob("*.npz"))
