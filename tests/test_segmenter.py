"""The segmenter that ships: its card, what it accepts, and how well it finds masks on people it has never seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("onnxruntime")

from maskbench.align import align_face, estimate_similarity, five_points, template_at, warp
from maskbench.digest import bytes_sha256, file_sha256, generator
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.images import read_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.apply import apply_mask
from maskbench.segmenter import CARD, NETWORK, load_segmenter, read_segmenter_card, segmenter_folder, without_specks

TOOLS = Path(__file__).parents[1] / "tools" / "segmenter"


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter("cpu")


@pytest.fixture
def copy(tmp_path: Path):
    """A function that writes the shipped segmenter to a folder of its own, its card changed."""

    def write(change: dict | None = None, drop: str = "") -> Path:
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / NETWORK).write_bytes((segmenter_folder() / NETWORK).read_bytes())
        card = json.loads((segmenter_folder() / CARD).read_text()) | (change or {})
        card.pop(drop, None)
        (folder / CARD).write_text(json.dumps(card))
        return folder

    return write


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 128, 128, 3), np.uint8)


def test_the_card_describes_the_file_and_its_terms(segmenter):
    folder = segmenter_folder()
    card = json.loads((folder / CARD).read_text())
    assert card["sha256"] == file_sha256(folder / NETWORK) == segmenter.sha256
    assert (folder / NETWORK).stat().st_size <= 5_000_000
    assert (segmenter.name, segmenter.input_size, segmenter.template) == ("maskbench-segmenter", (128, 128), "wide128")
    text = (folder / "LICENSE.txt").read_text()
    assert "Non-commercial research only" in text and all(name in text for name in ("CelebA", "UTKFace"))
    assert "Non-commercial" in card["terms"] and card["metrics"]["seen"]["pictures"] >= 300
    assert not set(card["training"]["held_out_masks"]) & set(card["training"]["not_a_target"])


def test_it_runs_without_torch():
    code = (
        "import sys, numpy as np\n"
        "from maskbench.segmenter import load_segmenter\n"
        "mask = load_segmenter('cpu').segment(np.zeros((1, 128, 128, 3), np.uint8))\n"
        "print(mask.shape, 'torch' in sys.modules, 'mediapipe' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 128, 128) False False"


def test_shapes_values_and_the_threshold_between_them(segmenter, mannequin):
    face = CachedLandmarker("auto", root=None).detect(mannequin, "")[0]
    faces = np.concatenate([align_face(mannequin, five_points(face), template_at("wide128"))[None], noise(2)])
    surely, masks = segmenter.probability(faces), segmenter.segment(faces)
    assert surely.shape == masks.shape == (3, 128, 128)
    assert surely.dtype == np.float32 and masks.dtype == np.uint8
    assert surely.min() >= 0 and surely.max() <= 1 and set(np.unique(masks)) <= {0, 1}
    raised = surely >= segmenter.spec.threshold
    expected = [drop_small(mask, segmenter.spec.smallest_part) for mask in raised]
    np.testing.assert_array_equal(masks, np.stack(expected))


def drop_small(mask: np.ndarray, least: int) -> np.ndarray:
    """By SciPy, one part after the other."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    out = np.zeros(mask.shape, np.uint8)
    for number in range(1, count + 1):
        part = labels == number
        if part.sum() >= least:
            out[part] = 1
    return out


def test_specks_are_dropped_and_parts_touching_at_corners_are_one():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:5, 2:5] = mask[5:8, 5:8] = 1  # 18 pixels that touch at a corner
    mask[15, 15:19] = 1
    for least in (0, 1, 4, 5, 18, 19):
        np.testing.assert_array_equal(without_specks(mask, least), drop_small(mask, least))
    assert not without_specks(np.zeros((4, 4), np.uint8), 9).any()


def test_a_face_gives_the_same_bytes_in_any_batch_and_is_not_changed(segmenter):
    faces = noise(7, seed=4)
    before = faces.copy()
    whole = segmenter.probability(faces)
    for part in (faces[:1], faces[3:5], faces[::-1], faces[2:]):
        where = [int(np.flatnonzero((faces == face).all((1, 2, 3)))[0]) for face in part]
        assert segmenter.probability(part).tobytes() == whole[where].tobytes()
    np.testing.assert_array_equal(faces, before)
    view = np.asfortranarray(faces)
    assert segmenter.probability(view).tobytes() == whole.tobytes()


def test_no_faces_give_no_masks(segmenter):
    empty = np.zeros((0, 128, 128, 3), np.uint8)
    assert segmenter.segment(empty).shape == segmenter.probability(empty).shape == (0, 128, 128)
    assert segmenter.segment(empty).dtype == np.uint8


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((128, 128, 3), np.uint8), np.zeros((1, 112, 112, 3), np.uint8), np.zeros((1, 3, 128, 128), np.uint8),
        np.zeros((1, 128, 128, 3), np.float32), np.zeros((1, 128, 128, 4), np.uint8), None, [[1]],
    ],
)  # fmt: skip
def test_what_is_no_batch_of_faces_is_refused_in_one_line(segmenter, faces):
    with pytest.raises(MaskbenchError) as raised:
        segmenter.segment(faces)
    assert "(N, 128, 128, 3) uint8" in str(raised.value) and "\n" not in str(raised.value)


def test_flat_and_extreme_pictures_give_finite_answers(segmenter):
    for value in (0, 128, 255):
        surely = segmenter.probability(np.full((1, 128, 128, 3), value, np.uint8))
        assert np.isfinite(surely).all()


def test_other_weights_than_the_cards_are_refused(copy):
    folder = copy()
    data = bytearray((folder / NETWORK).read_bytes())
    data[-20] ^= 1
    (folder / NETWORK).write_bytes(bytes(data))
    with pytest.raises(RecognizerError, match=f"has SHA-256 {bytes_sha256(bytes(data))}"):
        load_segmenter("cpu", folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"threshold": 1.5}, "threshold"), ({"threshold": "half"}, "threshold"), ({"threshold": True}, "threshold"),
        ({"mean": [1, 2]}, "mean"), ({"std": [1, 0, 1]}, "std"), ({"std": [1, "x", 1]}, "std"),
        ({"input_size": [128]}, "input_size"), ({"input_size": [0, 128]}, "input_size"),
        ({"template": "elsewhere"}, "template"), ({"colour_order": "BGR"}, "colour_order"),
        ({"smallest_part": -1}, "smallest_part"), ({"name": 3}, "name"),
    ],
)  # fmt: skip
def test_a_malformed_card_is_refused_and_the_key_named(copy, change, named):
    with pytest.raises(RecognizerError, match=f'"{named}"') as raised:
        load_segmenter("cpu", copy(change))
    assert CARD in str(raised.value)


def test_missing_files_and_keys(copy, tmp_path):
    for key in ("licence", "sha256", "threshold", "training_data"):
        with pytest.raises(RecognizerError, match=f'"{key}" is missing'):
            load_segmenter("cpu", copy(drop=key))
    with pytest.raises(RecognizerError, match="cannot be read"):
        load_segmenter("cpu", tmp_path / "nowhere")
    folder = copy()
    (folder / CARD).write_text("[1]")
    with pytest.raises(RecognizerError, match="not a JSON object"):
        read_segmenter_card(folder / CARD)
    (folder / CARD).write_text("{")
    with pytest.raises(RecognizerError, match="not valid JSON"):
        read_segmenter_card(folder / CARD)


def test_a_file_that_is_no_network_or_another_one_is_refused(copy):
    junk = b"no network"
    folder = copy({"sha256": bytes_sha256(junk)})
    (folder / NETWORK).write_bytes(junk)
    with pytest.raises(RecognizerError, match="cannot load it"):
        load_segmenter("cpu", folder)
    with pytest.raises(RecognizerError, match="its card says"):
        load_segmenter("cpu", copy({"input_size": [64, 64]}))


def test_the_digest_tells_apart_what_gives_other_masks(copy, segmenter):
    digests = {load_segmenter("cpu", copy(change)).digest for change in ({}, {"threshold": 0.11}, {"smallest_part": 3})}
    assert len(digests) == 3 and segmenter.digest in digests
    assert load_segmenter("cpu", copy({"licence": "another"})).digest == segmenter.digest


def overlap(found: np.ndarray, target: np.ndarray) -> float:
    return float((found & target).sum() / (found | target).sum())


def test_a_drawn_mask_on_the_mannequin_is_found(segmenter, mannequin):
    masked = apply_mask(mannequin, "surgical", seed=1)
    matrix = estimate_similarity(
        five_points(CachedLandmarker("auto", root=None).detect(mannequin, "")[0]), template_at("wide128").points
    )
    faces = np.stack([warp(image, matrix, (128, 128)) for image in (masked.image, mannequin)])
    found, bare = segmenter.segment(faces) > 0
    assert overlap(found, warp(masked.alpha, matrix, (128, 128)) >= 128) > 0.8
    assert bare[40:].mean() < 0.02  # below the hair


def held_out_overlaps(segmenter, data_root: Path, count: int) -> np.ndarray:
    """Overlaps on pictures of validation people, with masks of the kinds that training saw, as tools/segmenter draws.

    The landmarks are those of the bare picture, found anew.
    """
    sys.path.insert(0, str(TOOLS))
    try:
        from garments import dress
    finally:
        sys.path.remove(str(TOOLS))
    people = (data_root / "splits" / "celeba256_val_ids.txt").read_text().split()
    paths = sorted(path for name in people for path in (data_root / "faces" / "celeba256" / name).glob("*"))
    landmarker, shares = CachedLandmarker("mediapipe", root=None), []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        image = read_image(path)
        faces = landmarker.detect(image, "")
        if not faces:
            continue
        image, alpha, _, _ = dress(generator(7, path.name), image, faces[0], False, 0.0, False)
        matrix = estimate_similarity(five_points(faces[0]), template_at("wide128").points)
        target = warp(alpha, matrix, (128, 128)) >= 128
        if target.sum() >= 100:
            found = segmenter.segment(warp(image, matrix, (128, 128))[None])[0] > 0
            shares.append(overlap(found, target))
    return np.array(shares)


def test_masks_on_a_few_people_of_the_validation_split_are_found(segmenter, data_root):
    shares = held_out_overlaps(segmenter, data_root, 24)
    assert len(shares) >= 20 and np.median(shares) >= 0.9


@pytest.mark.slow
def test_the_mean_overlap_on_people_of_the_validation_split(segmenter, data_root):
    shares = held_out_overlaps(segmenter, data_root, 400)
    card = json.loads((segmenter_folder() / CARD).read_text())
    assert len(shares) >= 350 and shares.mean() >= 0.93
    assert abs(shares.mean() - card["metrics"]["seen"]["mean_iou"]) < 0.02
