"""The recognizers that were trained for maskbench, as they are installed."""

import json
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

torch = pytest.importorskip("torch")

from maskbench import RandomMask
from maskbench.align import align_face, five_points, template_at
from maskbench.completions.base import load_completion
from maskbench.completions.builtin import shipped_learned
from maskbench.completions.learned import read_completion_card
from maskbench.digest import file_sha256
from maskbench.images import read_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.builtin import TRAINED
from maskbench.recognizers.catalogue import entries
from maskbench.recognizers.exporting import export_recognizer
from maskbench.recognizers.shipped import trained_weights
from maskbench.train.occluded import PutIn

ENGINES = "onnxruntime", "torch"
PEOPLE = Path(str(files("maskbench.data") / "demo-people"))


class Faces(NamedTuple):
    """Sixteen people who do not exist: (16, H, W, 3) uint8 crops for recognizers, then for completions.

    Attributes:
        bare, masked, completed: 150 x 150; covered: (16, 150, 150) uint8, 1 = mask.
        wide, painted, guessed: 128 x 128, bare, masked and completed; hidden: (16, 128, 128) uint8, 1 = mask.
    """

    bare: np.ndarray
    masked: np.ndarray
    completed: np.ndarray
    covered: np.ndarray
    wide: np.ndarray
    painted: np.ndarray
    guessed: np.ndarray
    hidden: np.ndarray


def changed(plain: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8: 1 where two sets of pictures differ, and one pixel round it."""
    return np.stack([cv2.dilate(np.ptp([a, b], axis=0).max(2).clip(0, 1), np.ones((3, 3), np.uint8))
                     for a, b in zip(plain, painted, strict=True)])  # fmt: skip


@pytest.fixture(scope="module")
def faces():
    reader, wide = template_at("dlib150"), template_at("wide128")
    landmarker, masks = CachedLandmarker("auto"), RandomMask("worn", p=1.0, seed=9)
    crops: dict[tuple[str, str], list[np.ndarray]] = {}
    for path in sorted(PEOPLE.glob("*/*_0001.jpg"))[:16]:
        picture = read_image(path)
        face = landmarker.detect(picture, "")[0]
        for state, shown in (("bare", picture), ("masked", masks(picture, path.name, face))):
            for template in (reader, wide):
                crop = align_face(shown, five_points(face), template)
                crops.setdefault((state, template.name), []).append(crop)
    bare, masked, plain, painted = (
        np.stack(crops[state, template.name]) for template in (reader, wide) for state in ("bare", "masked")
    )
    hidden = changed(plain, painted)
    guessed = load_completion("ga", "cpu").complete(painted, hidden)
    put_in, tensors = PutIn(128, reader), [torch.from_numpy(value) for value in (masked, guessed, hidden)]
    given = [value.permute(0, 3, 1, 2).float() for value in tensors[:2]]
    completed = put_in(*given, tensors[2][:, None].float()).round().byte().permute(0, 2, 3, 1).numpy()
    return Faces(bare, masked, completed, changed(bare, masked), plain, painted, guessed, hidden)


@pytest.mark.parametrize("name", TRAINED)
def test_weights_card_and_licence(name):
    path = trained_weights(name)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["name"] == name and card["sha256"] == file_sha256(path)
    assert card["licence"].startswith("LicenseRef-maskbench-") and "on-commercial" in card["terms"]
    assert "on-commercial" in (path.parent / "LICENSE.txt").read_text()
    assert path.stat().st_size <= (30_000_000 if name == "g2d" else 12_000_000)
    about = json.loads((path.parent / "training.json").read_text())
    assert about["training"]["command"] and about["training"]["runs"] and about["metrics"]
    assert all(run["seconds"] > 0 and run["recipe"]["method"] == name for run in about["training"]["runs"])


@pytest.mark.parametrize("name", TRAINED)
def test_it_is_listed_and_knows_whom_it_was_trained_on(name):
    assert next(entry for entry in entries() if entry.name == name).ready
    assert len(load_recognizer(name, "cpu").training_subjects) == 188


@pytest.mark.parametrize("name", TRAINED)
def test_the_engines_agree(name, faces):
    first, second = (templates(name, faces.masked, faces.covered, engine) for engine in ENGINES)
    np.testing.assert_allclose(first, second, atol=2e-5)


def templates(name: str, pictures: np.ndarray, masks: np.ndarray | None = None, engine: str = ENGINES[0]) -> np.ndarray:
    """Of 150 x 150 crops, made smaller where a recognizer takes less; masks are for one that reads them."""
    recognizer = load_recognizer(name, "cpu", engine)
    size = recognizer.spec.input_size[::-1]
    crops = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
    if masks is None or not recognizer.spec.needs_mask:
        return recognizer.embed(crops)[0]
    # Whatever has a part of a hidden pixel is hidden.
    holes = [(cv2.resize(mask * 255, size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8) for mask in masks]
    return recognizer.embed(crops, np.stack(holes))[0]


def moved(name: str, bare: np.ndarray, other: np.ndarray, masks: np.ndarray | None = None) -> float:
    """How far templates lie from those of bare faces, in units of the distance between people."""
    of_bare, of_other = templates(name, bare), templates(name, other, masks)
    apart = np.linalg.norm(of_bare[:, None] - of_bare[None], axis=2)[~np.eye(len(of_bare), dtype=bool)].mean()
    return float(np.linalg.norm(of_bare - of_other, axis=1).mean() / apart)


def test_a_mask_moves_the_template_of_maskinv_less_than_its_teachers(faces):
    assert moved("maskinv", faces.bare, faces.masked) < 0.9 * moved("dlib-resnet", faces.bare, faces.masked)


def test_a_completed_face_moves_the_template_of_deocclusion_less_than_its_teachers(faces):
    assert load_recognizer("deocclusion", "cpu").spec.completion == "ga"
    own = moved("deocclusion", faces.bare, faces.completed)
    for pictures in (faces.masked, faces.completed):
        assert own < 0.9 * moved("dlib-resnet", faces.bare, pictures)


def test_a_mask_moves_the_template_of_g2d_less_than_its_teachers(faces):
    spec = load_recognizer("g2d", "cpu").spec
    assert spec.needs_mask and not spec.completion
    assert moved("g2d", faces.bare, faces.masked, faces.covered) < 0.9 * moved("dlib-resnet", faces.bare, faces.masked)


def test_g2d_reads_nothing_under_the_mask(faces):
    torn = np.where(faces.covered[..., None] > 0, 255 - faces.masked, faces.masked)
    ours, theirs = (templates("g2d", pictures, faces.covered) for pictures in (faces.bare, torn))
    np.testing.assert_array_equal(ours, theirs)


def test_g2d_carries_the_encoder_that_ships_as_ict():
    stored = {name: trained_weights("g2d") if name == "g2d" else shipped_learned()["ict"] for name in ("g2d", "ict")}
    whole, encoder = (load_file(path) for path in stored.values())
    inside = {key.removeprefix("encoder."): value for key, value in whole.items() if key.startswith("encoder.")}
    assert set(inside) == set(encoder) and all(torch.equal(inside[key], encoder[key]) for key in encoder)


@pytest.mark.parametrize("name", sorted(shipped_learned()))
def test_the_shipped_completions(name, faces):
    """Card, licence, and that they guess skin where there was a mask: nearer to the face than the mask was."""
    path = shipped_learned()[name]
    card = read_completion_card(path)
    assert card.name == name and card.sha256 == file_sha256(path) and "on-commercial" in card.terms
    assert f"{name}.safetensors" in (terms := (path.parent / "LICENSE.txt").read_text()) and "on-commercial" in terms
    bare, masked, hidden = seen_by(card.template, card.size, faces)
    first, second = (load_completion(name, "cpu", e).complete(masked, hidden) for e in ENGINES)
    assert np.abs(first.astype(int) - second).max() <= 1
    off = [np.abs(pictures.astype(int) - bare)[hidden > 0].mean() for pictures in (masked, first)]
    assert off[1] < 0.6 * off[0]


def seen_by(template: str, size: int, faces: Faces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bare and masked crops of a completion, and what is hidden."""
    if template == "wide128":
        return faces.wide, faces.painted, faces.hidden
    bare, masked = (
        np.stack([cv2.resize(x, (size, size), interpolation=cv2.INTER_AREA) for x in pictures])
        for pictures in (faces.bare, faces.masked)
    )
    return bare, masked, changed(bare, masked)


def test_the_two_files_of_deocclusion_are_small():
    assert shipped_learned()["ga"].stat().st_size + trained_weights("deocclusion").stat().st_size <= 25_000_000


def test_how_the_encoder_of_g2d_was_trained():
    path = shipped_learned()["ict"]
    assert path.stat().st_size <= 16_000_000
    about = json.loads((path.parents[1] / "g2d" / "training.json").read_text())
    runs = {run["stage"]: run for run in about["training"]["runs"]}
    assert about["training"]["command"] and list(runs) == ["prior", "upsampler", "reformer", "classifier"]
    assert all(run["seconds"] > 0 and run["final"] and run["recipe"]["method"] == "g2d" for run in runs.values())
    assert len({run["trained_faces"] for run in runs.values()}) == 1


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("suffix", ["onnx", "safetensors"])
def test_export_gives_the_same_network(name, faces, tmp_path, suffix):
    *_, reference = export_recognizer(name, tmp_path / f"student.{suffix}")
    again, ours = load_recognizer(reference, "cpu"), load_recognizer(name, "cpu")
    assert again.spec.completion == ours.spec.completion
    assert again.spec.needs_mask == ours.spec.needs_mask
    theirs, own = (templates(wanted, faces.masked, faces.covered) for wanted in (reference, name))
    np.testing.assert_allclose(theirs, own, atol=1e-5)
